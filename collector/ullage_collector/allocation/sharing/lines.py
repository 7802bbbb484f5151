"""A container's resources, each as the system reads it that explains it best. Pure.

Of the systems that know a container's names, the one that explains most of them takes those (the table's order
breaks a tie), then the next takes of what is left. So a name that two systems use is counted once, and a maker's
``nvidia.com/gpu`` is a whole card alone and a number of shares beside a memory of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

from ullage_collector.allocation.sharing.facts import Fact, Match, facts, facts_of
from ullage_collector.allocation.sharing.pod import Container
from ullage_collector.allocation.sharing.quantity import quantity
from ullage_collector.allocation.sharing.share import MOST_CARDS, bad


@dataclass(frozen=True, slots=True)
class Line:
    """One resource of a container as one system reads it: its row, the amount, and the amount as it was written."""

    match: Match
    resource: str
    amount: Fraction
    written: object

    @property
    def fact(self) -> Fact:
        """The row of the table."""
        return self.match.fact


def families(container: Container) -> list[Sequence[Line]]:
    """The container's resources by system, each resource in one of them; the order is the table's."""
    claims: dict[tuple[str, str | None, str], list[Line]] = {}
    for resource, written in container.amounts.items():
        for match in facts_of(resource):
            amount = quantity(written, system=match.fact.system, where=resource)
            if amount:
                key = (match.fact.system, match.fact.vendor, match.model)
                claims.setdefault(key, []).append(Line(match, resource, amount, written))
    order = _order()
    chosen: list[Sequence[Line]] = []
    while claims:
        best = max(claims, key=lambda k: (len(claims[k]), -min(order[id(line.fact)] for line in claims[k])))
        lines = sorted(claims.pop(best), key=lambda line: order[id(line.fact)])
        chosen.append(lines)
        taken = {line.resource for line in lines}
        left = {k: [line for line in rest if line.resource not in taken] for k, rest in claims.items()}
        claims = {k: rest for k, rest in left.items() if rest}
    return sorted(chosen, key=lambda lines: order[id(lines[0].fact)])


@cache
def _order() -> Mapping[int, int]:
    """The place of each of the table's rows, by the row's own identity."""
    return {id(fact): place for place, fact in enumerate(facts())}


def whole_count(line: Line) -> int:
    """The amount as a number of cards. Raises BadInput: not whole, or more than there are."""
    if line.amount.denominator != 1 or line.amount > MOST_CARDS:
        raise bad(line.fact.system, line.resource, line.written, "not a number of cards")
    return int(line.amount)
