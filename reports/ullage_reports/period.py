"""Periods of reports: day, ISO week, month, quarter and year, cut at local midnights of an IANA zone.

Quarters and years are counted from the month a fiscal year begins with, and named by the year in which it begins.

A local midnight that a clock change skips is the first instant of that local day; one that comes twice is the
earlier. Whole days are then 23, 24 or 25 hours (or 23.5, 24.5), and periods follow each other without gap.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from ullage_contract.errors import ConfigError


class PeriodKind(StrEnum):
    """The command's word, and the word in file names."""

    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    QUARTERLY = "quarterly"
    YEARLY = "yearly"


# with fullmatch: "$" would take a label that ends with a line break, and \d digits of every script
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_WEEK = re.compile(r"([0-9]{4})-W([0-9]{2})")
_MONTH = re.compile(r"([0-9]{4})-([0-9]{2})")
_QUARTER = re.compile(r"([0-9]{4})-Q([1-4])")
_YEAR = re.compile(r"[0-9]{4}")


@dataclass(frozen=True, slots=True)
class Period:
    """[start, end) as instants, and the local dates it covers.

    label: 2026-11-20, 2026-W47, 2026-10, 2026-Q4 or 2026. first: first local day; last: last local day, included.
    start, end: aware UTC. fiscal_start: month 1..12 that quarters and years are counted from.
    """

    kind: PeriodKind
    label: str
    zone: str
    first: date
    last: date
    start: datetime
    end: datetime
    fiscal_start: int = 1

    def days(self) -> tuple[tuple[date, datetime, datetime], ...]:
        """Each local day with the instants it starts and ends at, UTC; together they are the period."""
        info = zone_info(self.zone)
        count = (self.last - self.first).days + 1
        dates = [self.first + timedelta(days=n) for n in range(count + 1)]
        starts = [midnight(day, info) for day in dates]
        return tuple((dates[n], starts[n], starts[n + 1]) for n in range(count))

    def utc_days(self) -> tuple[date, ...]:
        """The UTC days the period touches, in order: the published days it needs."""
        first = self.start.date()
        last = (self.end - timedelta(microseconds=1)).date()
        return tuple(first + timedelta(days=n) for n in range((last - first).days + 1))

    def hours(self) -> int:
        """Whole hours in the period, rounded down; for people."""
        return int((self.end - self.start) // timedelta(hours=1))


def zone_info(name: str) -> ZoneInfo:
    """An IANA zone. Raises ConfigError for names the zone data does not hold; offsets such as +08:00 are no zone."""
    try:
        if not re.fullmatch(r"[A-Za-z0-9_+\-/]{1,64}", name) or name.startswith("/"):
            raise ValueError(name)
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError) as e:
        raise ConfigError(f"zone {name[:64]!r} is no IANA time zone; write e.g. Asia/Shanghai or UTC") from e


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """The first instant of a local day, as aware UTC.

    Where 00:00 is skipped, the instant the clock jumps; where it comes twice, the first.
    """
    naive = datetime(day.year, day.month, day.day, tzinfo=zone, fold=0)
    instant = naive.astimezone(UTC)
    if instant.astimezone(zone).replace(tzinfo=None) == naive.replace(tzinfo=None):
        return instant
    # 00:00 does not exist (Beirut, Santiago, Havana): the day begins where the clock jumps. Find the jump.
    before, after = instant - timedelta(hours=26), instant + timedelta(hours=26)
    while after - before > timedelta(seconds=1):
        middle = before + (after - before) / 2
        if middle.astimezone(zone).date() >= day:
            after = middle
        else:
            before = middle
    return after.replace(microsecond=0)


def daily(text: str, zone: str) -> Period:
    """``2026-11-20``. Raises ConfigError for anything else, as do the others."""
    try:
        if not _DAY.fullmatch(text):
            raise ValueError(text)
        day = date.fromisoformat(text)
        return _period(PeriodKind.DAILY, text, zone, day, day + timedelta(days=1))
    except (ValueError, OverflowError) as e:
        raise _wrong("--date", text, "2026-11-20") from e


def weekly(text: str, zone: str) -> Period:
    """``2026-W47``: Monday to Sunday, as ISO 8601 counts."""
    match = _WEEK.fullmatch(text)
    try:
        if match is None:
            raise ValueError(text)
        day = date.fromisocalendar(int(match[1]), int(match[2]), 1)
        return _period(PeriodKind.WEEKLY, text, zone, day, day + timedelta(days=7))
    except (ValueError, OverflowError) as e:
        raise _wrong("--week", text, "2026-W47") from e


def monthly(text: str, zone: str) -> Period:
    """``2026-10``."""
    match = _MONTH.fullmatch(text)
    try:
        if match is None:
            raise ValueError(text)
        day = date(int(match[1]), int(match[2]), 1)
        return _period(PeriodKind.MONTHLY, text, zone, day, _months_on(day, 1))
    except (ValueError, OverflowError) as e:
        raise _wrong("--month", text, "2026-10") from e


def quarterly(text: str, zone: str, fiscal_start: int = 1) -> Period:
    """``2026-Q4``: October to December, or the last three months of the fiscal year that begins in 2026."""
    match = _QUARTER.fullmatch(text)
    try:
        if match is None:
            raise ValueError(text)
        day = _months_on(date(int(match[1]), fiscal_start, 1), 3 * int(match[2]) - 3)
        return _period(PeriodKind.QUARTERLY, text, zone, day, _months_on(day, 3), fiscal_start)
    except (ValueError, OverflowError) as e:
        raise _wrong("--quarter", text, "2026-Q4") from e


def yearly(text: str, zone: str, fiscal_start: int = 1) -> Period:
    """``2026``: the calendar year, or the fiscal year that begins in it."""
    try:
        if not _YEAR.fullmatch(text):
            raise ValueError(text)
        day = date(int(text), fiscal_start, 1)
        return _period(PeriodKind.YEARLY, text, zone, day, _months_on(day, 12), fiscal_start)
    except (ValueError, OverflowError) as e:
        raise _wrong("--year", text, "2026") from e


def parse(kind: PeriodKind, text: str, zone: str, fiscal_start: int = 1) -> Period:
    """The period a command names. Raises ConfigError for a text or zone it is not written in."""
    if kind is PeriodKind.QUARTERLY:
        return quarterly(text, zone, fiscal_start)
    if kind is PeriodKind.YEARLY:
        return yearly(text, zone, fiscal_start)
    makers = {PeriodKind.DAILY: daily, PeriodKind.WEEKLY: weekly, PeriodKind.MONTHLY: monthly}
    return replace(makers[kind](text, zone), fiscal_start=fiscal_start)


def containing(kind: PeriodKind, day: date, zone: str, fiscal_start: int = 1) -> Period:
    """The period of this kind that holds a local day."""
    iso_year, week, _ = day.isocalendar()
    year = day.year if day.month >= fiscal_start else day.year - 1
    label = {
        PeriodKind.DAILY: day.isoformat(),
        PeriodKind.WEEKLY: f"{iso_year:04d}-W{week:02d}",
        PeriodKind.MONTHLY: f"{day.year:04d}-{day.month:02d}",
        PeriodKind.QUARTERLY: f"{year:04d}-Q{(day.month - fiscal_start) % 12 // 3 + 1}",
        PeriodKind.YEARLY: f"{year:04d}",
    }[kind]
    return parse(kind, label, zone, fiscal_start)


def last(kind: PeriodKind, now: datetime, zone: str, fiscal_start: int = 1) -> Period:
    """The newest whole period that has ended at ``now`` (aware): what a timer asks for with the word ``last``."""
    return previous(containing(kind, now.astimezone(zone_info(zone)).date(), zone, fiscal_start))


def previous(period: Period) -> Period:
    """The period of the same kind and zone that ends where this one starts."""
    return containing(period.kind, period.first - timedelta(days=1), period.zone, period.fiscal_start)


def _period(
    kind: PeriodKind, label: str, zone: str, first: date, after: date, fiscal_start: int = 1
) -> Period:
    info = zone_info(zone)
    return Period(
        kind=kind,
        label=label,
        zone=zone,
        first=first,
        last=after - timedelta(days=1),
        start=midnight(first, info),
        end=midnight(after, info),
        fiscal_start=fiscal_start,
    )


def _months_on(day: date, months: int) -> date:
    count = day.year * 12 + day.month - 1 + months
    return date(count // 12, count % 12 + 1, 1)


def _wrong(option: str, text: str, example: str) -> ConfigError:
    return ConfigError(f"{option} {text[:40]!r} is no such period; write e.g. {option} {example}")
