"""Rules of a card's life (detect/inventory.toml): which life may follow which, and when it disagrees with what is seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from ullage_collector.imports.map import LIVES
from ullage_contract import rule_file
from ullage_contract.settings import Table

FILE: Final = "inventory.toml"


@dataclass(frozen=True, slots=True)
class Rules:
    """detect/inventory.toml as values; every number's source stands there.

    working: lives whose cards should be heard. absent: lives whose cards should not work. guaranteed: whose warranty
    matters. follows: life -> lives that may come after it.
    """

    silent_us: int
    never_seen_us: int
    paperwork_us: int
    ending_days: int
    working: frozenset[str]
    absent: frozenset[str]
    guaranteed: frozenset[str]
    follows: Mapping[str, frozenset[str]]

    def unusual(self, before: str, after: str) -> bool:
        """Whether ``after`` is no life that comes after ``before``. The same life again (a move) is usual."""
        return before != after and after not in self.follows.get(before, frozenset())


@cache
def default_rules() -> Rules:
    """The rules shipped with the package."""
    return parse_rules(rule_file.shipped("ullage_collector.detect", FILE), FILE)


def rules_of(part: Mapping[str, Any]) -> Rules:
    """The rules [inventory] of collector.toml names: ``rules = FILE``; without it those shipped. Raises ConfigError."""
    return rule_file.chosen(part, "inventory", parse_rules, default_rules)


def parse_rules(text: str, where: str) -> Rules:
    """Rules of a TOML text. Raises ConfigError naming ``where`` and the key."""
    top = rule_file.opened(text, where)
    seen, warranty, lives, after = (top.table(name) for name in ("seen", "warranty", "lives", "next"))
    most = 366 * 86_400
    rules = Rules(
        silent_us=seen.whole("silent_seconds", 3_600, 60, most) * 1_000_000,
        never_seen_us=seen.whole("never_seen_seconds", 86_400, 60, most) * 1_000_000,
        paperwork_us=seen.whole("paperwork_seconds", 86_400, 0, most) * 1_000_000,
        ending_days=warranty.whole("ending_days", 60, 0, 3_660),
        working=_lives(lives, "working"),
        absent=_lives(lives, "absent"),
        guaranteed=_lives(lives, "guaranteed"),
        follows={life: _lives(after, life) for life in LIVES},
    )
    for table in (seen, warranty, lives, after, top):
        table.finish()
    return rules


def _lives(table: Table, key: str) -> frozenset[str]:
    found = table.texts(key, '["in_service"]')
    for word in found:
        if word not in LIVES:
            raise table.wrong(key, word, f"write some of {', '.join(LIVES)}")
    return frozenset(found)
