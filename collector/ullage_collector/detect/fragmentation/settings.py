"""fragmentation.toml as values; the file [fragmentation] of collector.toml names, or the shipped one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from ullage_collector.topology.domains import LEVELS
from ullage_contract import rule_file
from ullage_contract.settings import Table

FILE: Final = "fragmentation.toml"


@dataclass(frozen=True, slots=True)
class Rules:
    """The file as values; what each means, and why it is so, stands in the shipped one.

    Ratios 0..1. together: topology levels nodes of one job share; island: of the cards inside a node.
    """

    covered_ratio: float
    most_kinds: int
    history_days: int
    least_tasks: int
    sizes: tuple[int, ...]
    together: tuple[str, ...]
    island: str
    most_moves: int
    least_cards_a_move: float
    most_together: int
    least_cards: float
    least_ratio: float


@cache
def default_rules() -> Rules:
    """The rules shipped with the package."""
    return parse_rules(rule_file.shipped("ullage_collector.detect.fragmentation", FILE), FILE)


def rules_of(part: Mapping[str, Any]) -> Rules:
    """The rules [fragmentation] of collector.toml names: ``rules = FILE``; without it those shipped. Raises ConfigError."""
    return rule_file.chosen(part, "fragmentation", parse_rules, default_rules)


def parse_rules(text: str, where: str) -> Rules:
    """Rules of a TOML text. Raises ConfigError naming ``where`` and the key."""
    top = rule_file.opened(text, where)
    typical, start, moves, finding = (top.table(name) for name in ("typical", "start", "moves", "finding"))
    rules = Rules(
        covered_ratio=typical.number("covered_ratio", 0.95, 0.01, 1),
        most_kinds=typical.whole("most_kinds", 200, 1, 10_000),
        history_days=typical.whole("history_days", 28, 1, 366),
        least_tasks=typical.whole("least_tasks", 100, 1, 1_000_000),
        sizes=tuple(sorted(set(start.wholes("sizes", (1, 2, 4, 8), 1, 100_000)))),
        together=_levels(start, "together", start.texts("together", '["leaf_switch"]')),
        island=_levels(start, "island", (start.text("island", "link_domain") or "",))[0],
        most_moves=moves.whole("most", 20, 1, 10_000),
        least_cards_a_move=moves.number("least_cards_a_move", 0.1, 0.001, 1000),
        most_together=moves.whole("most_together", 8, 1, 64),
        least_cards=finding.number("least_cards", 1, 0, 1_000_000),
        least_ratio=finding.number("least_ratio", 0.1, 0, 1),
    )
    for table in (typical, start, moves, finding, top):
        table.finish()
    return rules


def _levels(table: Table, key: str, levels: tuple[str, ...]) -> tuple[str, ...]:
    for level in levels:
        if level not in LEVELS:
            raise table.wrong(key, level, f"write some of {', '.join(LEVELS)}")
    return levels
