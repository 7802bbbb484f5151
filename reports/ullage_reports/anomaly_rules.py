"""anomalies.toml as values: what is unusual, and which days are not like their weekday."""

from __future__ import annotations

import calendar
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Final

from ullage_contract import rule_file
from ullage_contract.errors import ConfigError
from ullage_contract.settings import Table
from ullage_reports.amount import amount as number
from ullage_reports.tides_settings import WEEKDAYS

FILE: Final = "anomalies.toml"
PPM: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Likeness:
    """What a day is compared with. key: days of one key are alike. weekday: 0 Monday, what it falls back to. special: its name,
    None for a day like any other of its weekday."""

    key: str
    weekday: int
    special: str | None


@dataclass(frozen=True, slots=True)
class Special:
    """One [[special]]. days: local dates. month_days: 1 is the first, -1 the last. like: a weekday, None: days of its own.

    zones: of reports that know it; (): all.
    """

    name: str
    days: frozenset[date]
    month_days: tuple[int, ...]
    like: int | None
    zones: tuple[str, ...] = ()

    def holds(self, day: date) -> bool:
        if day in self.days:
            return True
        last = calendar.monthrange(day.year, day.month)[1]
        return day.day in self.month_days or day.day - last - 1 in self.month_days


@dataclass(frozen=True, slots=True)
class Rules:
    """All of it. Ratios in parts per million; least_money in currency units, least_hours in card-hours."""

    look_back_days: int
    least_days: int
    level_days: int
    least_like: int
    distance_ppm: int
    least_deviation_ppm: int
    least_ratio_ppm: int
    least_money: Decimal
    least_hours: Decimal
    settles_days: int
    causes: int
    special: tuple[Special, ...]

    def of_zone(self, zone: str) -> Rules:
        """The same with the special days of a zone alone."""
        return replace(self, special=tuple(s for s in self.special if not s.zones or zone in s.zones))

    def likeness(self, day: date) -> Likeness:
        """What a local day is compared with; the first [[special]] that holds it counts."""
        for special in self.special:
            if not special.holds(day):
                continue
            if special.like is None:
                return Likeness(f"special {special.name}", day.weekday(), special.name)
            return Likeness(WEEKDAYS[special.like], special.like, special.name)
        return Likeness(WEEKDAYS[day.weekday()], day.weekday(), None)


@cache
def default_rules() -> Rules:
    """The rules shipped with the package."""
    return parse(rule_file.shipped("ullage_reports", FILE), FILE)


def read(path: Path | None) -> Rules:
    """A site's file; None: the shipped one. Raises ConfigError naming file and key."""
    if path is None:
        return default_rules()
    return parse(text_of(path), str(path))


def text_of(path: Path | None) -> str:
    """The text of a site's file; None: of the shipped one. Raises ConfigError where it cannot be read or is wrong."""
    if path is None:
        return rule_file.shipped("ullage_reports", FILE)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"{path}: cannot be read: {e}; write rules as docs/anomalies.md shows") from e
    parse(text, str(path))
    return text


def parse(text: str, where: str) -> Rules:
    """Raises ConfigError."""
    top = rule_file.opened(text, where)
    rules = Rules(
        look_back_days=top.whole("look_back_days", 56, 14, 366),
        least_days=top.whole("least_days", 14, 7, 366),
        level_days=top.whole("level_days", 7, 1, 28),
        least_like=top.whole("least_like", 2, 1, 8),
        distance_ppm=round(top.number("distance", 5.0, 1, 100) * PPM),
        least_deviation_ppm=round(top.number("least_deviation_ratio", 0.02, 0.0001, 1) * PPM),
        least_ratio_ppm=round(top.number("least_ratio", 0.15, 0, 100) * PPM),
        least_money=_amount(top, "least_money", "100"),
        least_hours=_amount(top, "least_card_hours", "24"),
        settles_days=top.whole("settles_days", 7, 1, 60),
        causes=top.whole("causes", 5, 1, 50),
        special=tuple(_special(content, where) for content in top.tables("special")),
    )
    top.finish()
    return rules


def _amount(table: Table, key: str, default: str) -> Decimal:
    text = table.text(key, default) or ""
    found = number(text)
    if found is None:
        raise table.wrong(key, text, f'write an amount of at least 0 in quotes, e.g. "{default}"')
    return found


def _special(content: Mapping[str, Any], where: str) -> Special:
    row = Table(content, where, "special")
    name = row.text("name") or ""
    if not name:
        raise row.wrong("name", name, "write a name, e.g. National Day")
    days = {_day(row, "days", text) for text in row.texts("days", '["2026-10-10"]')}
    first, last = row.text("from"), row.text("to")
    if (first is None) != (last is None):
        raise row.wrong("to", last, "write both from and to, or neither")
    if first is not None and last is not None:
        begin, end = _day(row, "from", first), _day(row, "to", last)
        if not begin <= end <= begin + timedelta(days=366):
            raise row.wrong("to", last, "write a day from the first on, and at most a year later")
        days |= {begin + timedelta(days=n) for n in range((end - begin).days + 1)}
    month_days = row.wholes("month_days", (), -31, 31)
    zones = row.texts("zones", '["Asia/Shanghai"]')
    word = row.text("like")
    if word is not None and word not in WEEKDAYS:
        raise row.wrong("like", word, f"write one of {', '.join(WEEKDAYS)}, or leave it out")
    row.finish()
    if bool(days) == bool(month_days):
        raise row.wrong("days", sorted(map(str, days)), "write from and to, days, or month_days; one of them")
    return Special(name, frozenset(days), month_days, None if word is None else WEEKDAYS.index(word), zones)


def _day(row: Table, key: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as e:
        raise row.wrong(key, text, 'write a day in quotes, e.g. "2026-10-01"') from e
