"""uneven.toml as values; the file [uneven] of collector.toml names, or the shipped one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from ullage_contract import rule_file

FILE: Final = "uneven.toml"
SERVING: Final = ("*inference*", "online*", "serving*", "*在线*", "*推理*")
"""Where a file says nothing: online_inference of detect/idle_finding.toml."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The file as values; what each means, and why it is so, stands in the shipped one. Days are UTC days."""

    days: int
    recent_days: int
    late_days: int
    across_clusters: bool
    full_ratio: float
    least_card_hours: float
    least_hours: int
    serving: tuple[str, ...]


@cache
def default_rules() -> Rules:
    """The rules shipped with the package."""
    return parse_rules(rule_file.shipped("ullage_collector.detect.uneven", FILE), FILE)


def rules_of(part: Mapping[str, Any]) -> Rules:
    """The rules [uneven] of collector.toml names: ``rules = FILE``; without it those shipped. Raises ConfigError."""
    return rule_file.chosen(part, "uneven", parse_rules, default_rules)


def parse_rules(text: str, where: str) -> Rules:
    """Rules of a TOML text. Raises ConfigError naming ``where`` and the key."""
    top = rule_file.opened(text, where)
    window, supply, quota, finding = (top.table(name) for name in ("window", "supply", "quota", "finding"))
    rules = Rules(
        days=window.whole("days", 7, 1, 92),
        recent_days=window.whole("recent_days", 2, 1, 92),
        late_days=window.whole("late_days", 3, 1, 92),
        across_clusters=supply.flag("across_clusters", True),
        full_ratio=quota.number("full_ratio", 0.99, 0.01, 1),
        least_card_hours=finding.number("least_card_hours", 24, 0, 1e9),
        least_hours=finding.whole("least_hours", 3, 1, 2208),
        serving=supply.texts("serving") if "serving" in supply.content else SERVING,
    )
    for table in (window, supply, quota, finding, top):
        table.finish()
    return rules
