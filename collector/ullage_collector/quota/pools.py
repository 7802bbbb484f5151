"""Which pool a card is in: dated, prioritised rules over what a card is and where, to one pool at each instant.

Of the rules of one set that hold for a card, the highest priority wins, then the one with more conditions, the
longer text, the one valid from later, the larger id. Two pools that tie in priority and conditions are a conflict and
told. No rule: ``__none__``. Pure; not here: who owns which card when (sql/quota.sql).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from ullage_collector.quota.conditions import Condition, Values, holds, parse
from ullage_collector.quota.entry import NO_POOL

RULE_KINDS: Final = ("cluster", "node", "label", "vendor", "model", "card", "pool")
"""What a rule may ask of a card; ``label`` is a fact of its node as ``key=value``, ``pool`` the inventory's word."""
DEFAULT_SET: Final = "default"


@dataclass(frozen=True, slots=True)
class PoolRule:
    """One rule, as table ``pool_rule`` has it. *_us: microseconds since the epoch; valid_to_us None: open."""

    rule_id: int
    pool_set: str
    pool: str
    match: str
    priority: int = 0
    valid_from_us: int = 0
    valid_to_us: int | None = None


@dataclass(frozen=True, slots=True)
class Card:
    """What rules see of a card over [from_us, to_us). serving: it is in service, so that it can be promised.

    pool: the inventory's word, None where it has none. labels: facts of its node, ``key=value``.
    """

    card_id: str
    cluster: str
    node: str
    vendor: str
    model: str
    from_us: int
    to_us: int
    pool: str | None = None
    labels: tuple[str, ...] = ()
    serving: bool = True


@dataclass(frozen=True, slots=True)
class Membership:
    """A card in a pool over [from_us, to_us). rule_id None: no rule holds."""

    card: Card
    pool: str
    rule_id: int | None
    from_us: int
    to_us: int


@dataclass(frozen=True, slots=True)
class Conflict:
    """Rules of one rank that put a card into different pools. pools: the one that counts first."""

    card_id: str
    pools: tuple[str, ...]
    rules: tuple[int, ...]
    from_us: int


@dataclass(slots=True)
class Pools:
    """The memberships of cards, and what is wrong with the rules."""

    members: list[Membership] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)


class PoolBook:
    """The rules of one set as believed at one instant, ready to be asked of many cards.

    Raises BadInput for a rule whose conditions could never hold.
    """

    def __init__(self, rules: Iterable[PoolRule], pool_set: str = DEFAULT_SET) -> None:
        self._general: list[tuple[PoolRule, tuple[Condition, ...]]] = []
        self._of_card: dict[str, list[tuple[PoolRule, tuple[Condition, ...]]]] = {}
        self._same: dict[tuple[object, ...], list[tuple[PoolRule, int]]] = {}
        self._by_card = False
        self.names: set[str] = set()
        for rule in rules:
            if rule.pool_set != pool_set:
                continue
            conditions = parse(rule.match, RULE_KINDS)
            self.names.add(rule.pool)
            named = next((c.value for c in conditions if c.kind == "card" and c.exact), None)
            if named is not None:
                # lists of thousands of cards are looked up, not gone through
                self._of_card.setdefault(named, []).append((rule, conditions))
            else:
                self._general.append((rule, conditions))
                self._by_card |= any(c.kind == "card" for c in conditions)

    def members(self, cards: Iterable[Card]) -> Pools:
        """Every card's pools over its time; together they cover it."""
        found = Pools()
        for card in cards:
            self._add(found, card)
        return found

    def _add(self, found: Pools, card: Card) -> None:
        rules = self._matching(card)
        edges = {card.from_us, card.to_us}
        for rule, _ in rules:
            edges.update(
                edge
                for edge in (rule.valid_from_us, rule.valid_to_us)
                if edge is not None and card.from_us < edge < card.to_us
            )
        last: Membership | None = None
        for start, end in pairwise(sorted(edges)):
            valid = [
                (rule, rank)
                for rule, rank in rules
                if rule.valid_from_us <= start and (rule.valid_to_us is None or start < rule.valid_to_us)
            ]
            winner = valid[0][0] if valid else None
            if winner is not None:
                ties = [
                    rule
                    for rule, conditions in valid
                    if (rule.priority, conditions) == (winner.priority, valid[0][1])
                    and rule.pool != winner.pool
                ]
                if ties:
                    found.conflicts.append(
                        Conflict(
                            card.card_id,
                            (winner.pool, *sorted({rule.pool for rule in ties})),
                            (winner.rule_id, *(rule.rule_id for rule in ties)),
                            start,
                        )
                    )
            pool, rule_id = (NO_POOL, None) if winner is None else (winner.pool, winner.rule_id)
            if last is not None and (last.pool, last.rule_id) == (pool, rule_id):
                found.members[-1] = last = Membership(card, pool, rule_id, last.from_us, end)
                continue
            last = Membership(card, pool, rule_id, start, end)
            found.members.append(last)

    def _matching(self, card: Card) -> list[tuple[PoolRule, int]]:
        """Every rule that holds whenever it is valid, best first, with its number of conditions."""
        key = (
            card.cluster,
            card.node,
            card.vendor,
            card.model,
            card.pool,
            card.labels,
            card.card_id if self._by_card or card.card_id in self._of_card else "",
        )
        known = self._same.get(key)
        if known is None:
            values = values_of(card)
            rules = [*self._general, *self._of_card.get(card.card_id, ())]
            matching = [(rule, len(c)) for rule, c in rules if holds(c, values)]
            known = self._same[key] = sorted(matching, key=_rank)
        return known


def values_of(card: Card) -> Values:
    """A card's values, as conditions ask for them."""
    return {
        "cluster": (card.cluster,),
        "node": (card.node,),
        "label": card.labels,
        "vendor": (card.vendor,),
        "model": (card.model,),
        "card": (card.card_id,),
        "pool": () if card.pool is None else (card.pool,),
    }


def _rank(found: tuple[PoolRule, int]) -> tuple[int, int, int, int, int]:
    rule, conditions = found
    return (-rule.priority, -conditions, -len(rule.match), -rule.valid_from_us, -rule.rule_id)


def sizes(members: Sequence[Membership], instant_us: int) -> dict[str, int]:
    """Cards in service in each pool at an instant."""
    found: dict[str, int] = {}
    for member in members:
        if member.card.serving and member.from_us <= instant_us < member.to_us:
            found[member.pool] = found.get(member.pool, 0) + 1
    return found
