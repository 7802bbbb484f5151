"""recommendations.toml as values: kinds of recommendations, what they are made of, and which of two counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from functools import cache
from typing import Any, Final

from ullage_collector.ledger import STATES
from ullage_contract import rule_file
from ullage_contract.errors import ConfigError
from ullage_contract.settings import Table

FILE: Final = "recommendations.toml"
GRADES: Final = ("low", "medium", "high")
"""Of risk and effort."""
SUBJECTS: Final = ("work", "cards", "pool")
"""Whose cost is compared before and after."""


@dataclass(frozen=True, slots=True)
class Measure:
    """What is compared before and after: lines of ``of`` in these states."""

    of: str
    states: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Kind:
    """One [[kind]]. saved_ratio: 0..1. least: currency units a month. less, part_of: keys of evidence, None: not used. measure
    None: what it saved is not measured.
    """

    name: str
    findings: tuple[str, ...]
    incidents: bool
    actions: tuple[str, ...]
    money: tuple[str, ...]
    less: str | None
    part_of: tuple[str, str] | None
    saved_ratio: Fraction
    risk: str
    effort: str
    due_days: int
    least: Decimal
    measure: Measure | None


@dataclass(frozen=True, slots=True)
class Rules:
    """All of it. precedence: every kind's name, the one that counts first."""

    days_a_month: int
    measure_days: int
    precedence: tuple[str, ...]
    kinds: Mapping[str, Kind]

    def of_finding(self, kind: str, action: str | None) -> Kind | None:
        """The recommendation a finding of a kind that suggests an action becomes; None: none."""
        made = [one for one in self.kinds.values() if kind in one.findings]
        return next((one for one in made if not one.actions or action in one.actions), None)

    def alone(self, kind: str) -> Kind | None:
        """The one kind that a kind of findings becomes whatever it suggests; None: none, or it depends."""
        made = [one for one in self.kinds.values() if kind in one.findings]
        return made[0] if len(made) == 1 else None

    @property
    def findings(self) -> tuple[str, ...]:
        """Every kind of findings that becomes one."""
        return tuple(sorted({kind for one in self.kinds.values() for kind in one.findings}))


@cache
def default_rules() -> Rules:
    """The rules shipped with the package."""
    return parse(rule_file.shipped("ullage_collector.recommendations", FILE), FILE)


def rules_of(part: Mapping[str, Any]) -> Rules:
    """The shipped rules, or the file that [recommendations] rules names. Raises ConfigError."""
    return rule_file.chosen(part, "recommendations", parse, default_rules)


def parse(text: str, where: str) -> Rules:
    """Raises ConfigError naming file and key."""
    top = rule_file.opened(text, where)
    kinds = {kind.name: kind for kind in (_kind(content, where) for content in top.tables("kind"))}
    rules = Rules(
        days_a_month=top.whole("days_a_month", 30, 1, 366),
        measure_days=top.whole("measure_days", 7, 1, 90),
        precedence=top.texts("precedence"),
        kinds=kinds,
    )
    top.finish()
    if sorted(rules.precedence) != sorted(kinds):
        odd = sorted(set(rules.precedence) ^ set(kinds)) or "a name twice"
        raise top.wrong("precedence", odd, "name every [[kind]] once, and nothing else")
    taken: set[tuple[str, str | None]] = set()
    for kind in kinds.values():
        for finding in kind.findings:
            words = {(finding, action) for action in kind.actions or (None,)}
            others = {action for name, action in taken if name == finding}
            if words & taken or (others and (None in others or not kind.actions)):
                raise ConfigError(
                    f"{where}: [[kind]] findings: {finding!r} is in two kinds; leave one, or part them by actions"
                )
            taken |= words
    return rules


def _kind(content: Mapping[str, Any], where: str) -> Kind:
    row = Table(content, where, "kind")
    name = row.text("name") or ""
    if not name.replace("_", "").isalnum() or not name.isascii():
        raise row.wrong("name", name, "write a word, e.g. reclaim_idle")
    part = row.texts("part_of")
    if len(part) not in (0, 2):
        raise row.wrong("part_of", list(part), 'write two keys of the evidence, e.g. ["regained", "whole"]')
    measured = row.table("measured") if "measured" in content else None
    kind = Kind(
        name=name,
        findings=row.texts("findings"),
        incidents=row.flag("incidents", False),
        actions=row.texts("actions"),
        money=row.texts("money"),
        less=row.text("less"),
        part_of=(part[0], part[1]) if part else None,
        saved_ratio=_ratio(row),
        risk=row.word("risk", "medium", GRADES),
        effort=row.word("effort", "medium", GRADES),
        due_days=row.whole("due_days", 14, 0, 366),
        least=_least(row),
        measure=None
        if measured is None
        else Measure(measured.word("of", "work", SUBJECTS), _states(measured)),
    )
    row.finish()
    if measured is not None:
        measured.finish()
    if bool(kind.findings) == kind.incidents:
        raise row.wrong("findings", list(kind.findings), "name findings, or write incidents = true")
    return kind


def _states(table: Table) -> tuple[str, ...]:
    states = table.texts("states", '["allocated_idle"]')
    if not states or any(state not in STATES for state in states):
        raise table.wrong("states", list(states), f"write some of {', '.join(STATES)}")
    return states


def _ratio(row: Table) -> Fraction:
    text = row.text("saved_ratio", "1") or ""
    try:
        ratio = Fraction(text)
    except (ValueError, ZeroDivisionError):
        ratio = Fraction(-1)
    if not 0 < ratio <= 1:
        raise row.wrong("saved_ratio", text, 'write a part above 0 and up to 1 in quotes, e.g. "0.5"')
    return ratio


def _least(row: Table) -> Decimal:
    text = row.text("least", "0") or ""
    try:
        least = Decimal(text)
    except InvalidOperation:
        least = Decimal(-1)
    if not least.is_finite() or least < 0:
        raise row.wrong("least", text, 'write an amount of at least 0 in quotes, e.g. "100"')
    return least
