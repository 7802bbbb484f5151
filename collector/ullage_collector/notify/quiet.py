"""Quiet hours: from one local time of day to another, in a zone that may change its clocks.

A night begins and ends at the first instant whose local time is the one written; where the clocks jump over that time it
is the instant of the jump. Not here: what may be told all the same (a target's setting).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True)
class Quiet:
    """start, end: local times of day; an end that is not after the start is of the next day. days: of the start, 0 is
    Monday; every day where none is named."""

    start: time
    end: time
    zone: ZoneInfo
    days: frozenset[int] = frozenset(range(7))

    def until(self, at: float) -> float | None:
        """When the quiet that holds at ``at`` ends; None: it is not quiet then. Both seconds since the epoch."""
        local = datetime.fromtimestamp(at, self.zone).date()
        ends = [
            end
            for days in (-1, 0, 1)
            for begin, end in (self._night(local + timedelta(days=days)),)
            if begin is not None and begin <= at < end
        ]
        return max(ends, default=None)

    def _night(self, day: date) -> tuple[float | None, float]:
        if day.weekday() not in self.days:
            return None, 0.0
        last = day if self.end > self.start else day + timedelta(days=1)
        return _instant(day, self.start, self.zone), _instant(last, self.end, self.zone)


def _instant(day: date, clock: time, zone: ZoneInfo) -> float:
    """The first instant at which clocks of the zone show that time of the day, or are past it."""
    first = datetime.combine(day, clock, zone)
    found = first.astimezone(UTC)
    if found.astimezone(zone).replace(tzinfo=None) == first.replace(tzinfo=None):
        return found.timestamp()
    # jumped over: the jump lies between the readings by the offsets after and before it
    low, high = first.replace(fold=1).timestamp(), first.timestamp()
    offset = datetime.fromtimestamp(high, zone).utcoffset()
    while high - low > 0.5:
        middle = (low + high) / 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == offset:
            high = middle
        else:
            low = middle
    return float(round(high))
