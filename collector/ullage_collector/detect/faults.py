"""Is one event a fault of the worst kind? Pure: an event and the rules in, a verdict out.

Counter rules, bursts, repeats and escalation are not here: these rules need one event only.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any

from ullage_contract.errors import ConfigError
from ullage_contract.event import KINDS, Event, Severity

ACTIONS = ("observe", "isolate_card", "isolate_node")
"""Weakest first; what a rule may propose."""


@dataclass(frozen=True, slots=True)
class FaultRule:
    """One rule of faults.toml. ``source`` says whose judgement it is."""

    name: str
    kind: str
    severity: Severity
    action: str
    confirmed: bool
    source: str
    vendor: str | None = None
    codes: frozenset[str] = frozenset()
    unless: str | None = None
    only_severity: Severity | None = None
    exit: frozenset[str] = frozenset()

    def matches(self, event: Event) -> bool:
        """Whether the event is this fault."""
        if event.kind != self.kind or (self.vendor and event.vendor != self.vendor):
            return False
        if self.codes and event.code not in self.codes:
            return False
        if self.only_severity and event.severity is not self.only_severity:
            return False
        return not (self.unless and event.attributes.get(self.unless) == 1)


def judge(event: Event, rules: Iterable[FaultRule]) -> FaultRule | None:
    """The first rule that matches, or None: not a fault of the worst kind."""
    return next((rule for rule in rules if rule.matches(event)), None)


def shipped_rules() -> tuple[FaultRule, ...]:
    """The rules that come with the package."""
    text = resources.files("ullage_collector.detect").joinpath("faults.toml").read_text(encoding="utf-8")
    return parse_rules(text, "faults.toml")


def site_rules(shipped: Sequence[FaultRule], file: Path) -> tuple[FaultRule, ...]:
    """The shipped rules with a site's own in front; one of the same name replaces the shipped one.

    Raises ConfigError naming the file, the rule and the key.
    """
    own = parse_rules(file.read_text(encoding="utf-8"), str(file))
    names = {rule.name for rule in own}
    return own + tuple(rule for rule in shipped if rule.name not in names)


def parse_rules(text: str, where: str) -> tuple[FaultRule, ...]:
    """Rules of a TOML text. Raises ConfigError naming ``where``, the rule and the key."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise ConfigError(f"{where}: not TOML: {e}") from e
    tables = document.get("fault", [])
    if not isinstance(tables, list):
        raise ConfigError(f"{where}: write [[fault]], not [fault]")
    return tuple(_rule(table, f"{where}: fault {i + 1}") for i, table in enumerate(tables))


def _rule(table: Mapping[str, Any], where: str) -> FaultRule:
    known = {field.name for field in fields(FaultRule)}
    if stray := set(table) - known:
        raise ConfigError(
            f"{where}: unknown key {', '.join(sorted(stray))}; known are {', '.join(sorted(known))}"
        )
    try:
        rule = FaultRule(
            name=str(table["name"]),
            kind=str(table["kind"]),
            severity=Severity(table["severity"]),
            action=str(table["action"]),
            confirmed=table["confirmed"] is True,
            source=str(table["source"]),
            vendor=table.get("vendor"),
            codes=frozenset(str(code) for code in table.get("codes", [])),
            unless=table.get("unless"),
            only_severity=Severity(table["only_severity"]) if "only_severity" in table else None,
            exit=frozenset(table.get("exit", [])),
        )
    except KeyError as e:
        raise ConfigError(f"{where}: {e.args[0]} is missing") from e
    except ValueError as e:
        raise ConfigError(f"{where}: {e}; write one of {', '.join(Severity)}") from e
    for kind in (rule.kind, *rule.exit):
        if kind not in KINDS:
            raise ConfigError(
                f"{where} ({rule.name}): {kind!r} is no event kind; see ullage_contract.event.KINDS"
            )
    if rule.action not in ACTIONS:
        raise ConfigError(f"{where} ({rule.name}): action {rule.action!r} is none of {', '.join(ACTIONS)}")
    return rule
