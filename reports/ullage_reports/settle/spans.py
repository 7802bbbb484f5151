"""The local days or months a window falls into."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Final

from ullage_contract.errors import ConfigError
from ullage_reports import period as periods
from ullage_reports.period import PeriodKind, zone_info
from ullage_reports.settle.fields import utc
from ullage_reports.settle.world import World

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class By(StrEnum):
    """How fine a statement is cut."""

    MONTH = "month"
    DAY = "day"


@dataclass(frozen=True, slots=True)
class Span:
    """The part [from_us, to_us) of a window that lies in one period. label: 2026-10 or 2026-10-05."""

    label: str
    from_us: int
    to_us: int


def coarsest(world: World) -> By:
    """As closed periods are written; else a day when the window lies in one local day, else months."""
    if world.closed:
        return By.DAY if _DAY.fullmatch(world.closed[0].label) else By.MONTH
    return By.DAY if len(spans(world, By.DAY, most=2)) == 1 else By.MONTH


def spans(world: World, by: By, *, most: int | None = None) -> list[Span]:
    """The window cut at local midnights, in order. most: stop after so many."""
    if world.from_us == world.to_us:
        return []
    zone = zone_info(world.zone)
    kind = PeriodKind.DAILY if by is By.DAY else PeriodKind.MONTHLY
    found: list[Span] = []
    period = periods.containing(kind, utc(world.from_us).astimezone(zone).date(), world.zone)
    at = world.from_us
    while at < world.to_us and len(found) != most:
        # a clock that jumps over midnight can leave a local date without a single instant
        end = min((period.end - _EPOCH) // timedelta(microseconds=1), world.to_us)
        if end > at:
            found.append(Span(period.label, at, end))
            at = end
        period = periods.containing(kind, period.last + timedelta(days=1), world.zone)
    return found


def label_at(cut: list[Span], at_us: int) -> str:
    """The label of an instant of the window."""
    return cut[bisect_right(cut, at_us, key=lambda s: s.from_us) - 1].label


def after(label: str, zone: str) -> str:
    """The period that follows."""
    period = _parse(label, zone)
    return periods.containing(period.kind, period.last + timedelta(days=1), zone).label


def end_us(label: str, zone: str) -> int:
    """The instant a period ends at."""
    return (_parse(label, zone).end - _EPOCH) // timedelta(microseconds=1)


def month_of(day: str) -> str:
    """The month a day's label lies in."""
    return date.fromisoformat(day).strftime("%Y-%m") if _DAY.fullmatch(day) else day


def _parse(label: str, zone: str) -> periods.Period:
    kind = PeriodKind.DAILY if _DAY.fullmatch(label) else PeriodKind.MONTHLY
    try:
        return periods.parse(kind, label, zone)
    except ConfigError as e:
        raise ConfigError(
            f"inputs.closed_periods: {label[:40]!r} is no period; write 2026-10 or 2026-10-05"
        ) from e
