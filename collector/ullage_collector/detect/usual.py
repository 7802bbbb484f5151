"""Whether a quiet spell is one that this work has at this time of day, or of the week, and always comes back from.

The fleet's tide says how often quiet work of a pool wakes; this is one work's own: service pods that serve nobody at night, a
job that waits for the morning's data. The days before are held against now: at the same time of day it was quiet at least as
long, and work followed. On nearly all of them: usual. On none of enough of them: new, and told at once. The same weekday of
the weeks before counts likewise, as weekends are quiet of their own.

Pure: hours of the past in, a verdict out. Not here: reading them (idle_history.py), and what is made of it (idle_finding.py).
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

HOUR: Final = 3600.0
DAY: Final = 86_400.0
UNKNOWN: Final = -1.0
SHORT: Final = 600.0
"""What is shorter is no idleness on the bill either: ten minutes (states.toml)."""


@dataclass(frozen=True, slots=True)
class UsualRules:
    """[usual] of idle_finding.toml. share: of the days that are known. worked_seconds: of the day after, or it was no coming back."""

    days: int = 14
    least_days: int = 3
    weeks: int = 4
    least_weeks: int = 2
    share: float = 0.8
    slack_seconds: float = 3600.0
    worked_seconds: float = 3600.0


@dataclass(frozen=True, slots=True)
class Hour:
    """One hour of work, epoch seconds. first_used, last_used: of the time in which any of it was used, None: in none of it.

    idle: held and known to be unused for some of it. An hour that is not there is unknown, or nothing was held.
    """

    at: float
    first_used: float | None
    last_used: float | None
    idle: bool


@dataclass(frozen=True, slots=True)
class Spell:
    """One quiet spell of the past. worked: somebody came back at its end; else nobody knows, or it was given up."""

    began: float
    ended: float
    worked: bool


@dataclass(frozen=True, slots=True)
class Usual:
    """On so many of the known days it was so, too. ends_by: the latest end of those spells, put to today."""

    days: int
    of: int
    by: str
    ends_by: float

    def to_json(self) -> dict[str, Any]:
        """As it stands in evidence."""
        at = datetime.fromtimestamp(self.ends_by, UTC).replace(second=0, microsecond=0)
        return {
            "by": self.by,
            "quiet_then": self.days,
            "of": self.of,
            "ends_by": at.isoformat().replace("+00:00", "Z"),
        }


@dataclass(frozen=True, slots=True)
class Verdict:
    """usual None: it is not. new: enough days are known, and on none of them was it so."""

    usual: Usual | None
    new: bool


class History:
    """One work's past: its spells, and of each hour for how long it was used. A month of it is some kilobytes."""

    __slots__ = ("_begins", "_first", "_used", "spells")

    def __init__(self, hours: Iterable[Hour]) -> None:
        """hours: any order, one an hour."""
        rows = sorted(hours, key=lambda h: h.at)
        self.spells = list(_spells(rows))
        self._begins = [spell.began for spell in self.spells]
        self._first = round(rows[0].at / HOUR) if rows else 0
        self._used = array("f", [UNKNOWN]) * (round(rows[-1].at / HOUR) - self._first + 1 if rows else 0)
        for hour in rows:
            if hour.first_used is not None and hour.last_used is not None:
                self._used[round(hour.at / HOUR) - self._first] = hour.last_used - hour.first_used
            elif hour.idle:
                self._used[round(hour.at / HOUR) - self._first] = 0.0

    def spell(self, at: float) -> Spell | None:
        """The spell an instant lies in."""
        place = bisect_right(self._begins, at) - 1
        if place < 0 or at >= self.spells[place].ended:
            return None
        return self.spells[place]

    def known(self, at: float) -> bool:
        """Whether anything is known of the hour an instant lies in."""
        place = int(at // HOUR) - self._first
        return 0 <= place < len(self._used) and self._used[place] != UNKNOWN

    def worked_seconds(self, start: float, end: float) -> float:
        """For how long it was used in the hours that a span touches, holes within an hour or not."""
        first = max(0, int(start // HOUR) - self._first)
        last = max(first, math.ceil(end / HOUR) - self._first)
        return sum(used for used in self._used[first:last] if used != UNKNOWN)


def _spells(hours: Iterable[Hour]) -> Iterator[Spell]:
    began: float | None = None
    before: float | None = None
    for hour in hours:
        if before is not None and hour.at - before > HOUR and began is not None:
            yield Spell(began, before + HOUR, worked=False)
            began = None
        if hour.first_used is None or hour.last_used is None:
            if hour.idle and began is None:
                began = hour.at
            if not hour.idle and began is not None:
                yield Spell(began, hour.at, worked=False)
                began = None
        else:
            if began is None and hour.idle and hour.first_used - hour.at >= SHORT:
                began = hour.at
            if began is not None:
                yield Spell(began, hour.first_used, worked=True)
                began = None
            if hour.idle and hour.at + HOUR - hour.last_used >= SHORT:
                began = hour.last_used
        before = hour.at
    if began is not None and before is not None:
        yield Spell(began, before + HOUR, worked=False)


def judge(history: History, began: float, now: float, rules: UsualRules) -> Verdict:
    """A spell that began then and goes on now, epoch seconds."""
    daily = [day * DAY for day in range(1, rules.days + 1)]
    weekly = [week * 7 * DAY for week in range(1, rules.weeks + 1)]
    found: dict[str, tuple[int, list[float]]] = {}
    for by, offsets in (("time_of_day", daily), ("weekday", weekly)):
        known, ends = 0, []
        for offset in offsets:
            same = _same(history, began - offset, now - offset, rules)
            known += same is not None
            if same:
                ends.append(same + offset)
        found[by] = known, ends
    days, ends = found["time_of_day"]
    weeks, week_ends = found["weekday"]
    usual = None
    if days >= rules.least_days and len(ends) >= rules.share * days:
        usual = Usual(len(ends), days, "time_of_day", max(ends))
    elif weeks >= rules.least_weeks and len(week_ends) == weeks:
        usual = Usual(len(week_ends), weeks, "weekday", max(week_ends))
    return Verdict(usual, days >= rules.least_days and not ends and not week_ends)


def _same(history: History, began: float, at: float, rules: UsualRules) -> float | None:
    """When a spell like this ended on an earlier day, 0 where there was none, None where nobody knows.

    began, at: today's, put to that day. A spell of which the end is not known is not known to have ended.
    """
    spell = history.spell(at) or history.spell(at - rules.slack_seconds)
    if spell is None:
        return 0.0 if history.known(at) else None
    if not spell.worked and not history.known(spell.ended):
        return None
    back = history.worked_seconds(spell.ended, spell.ended + DAY) >= rules.worked_seconds
    longer = at - began > at - spell.began + rules.slack_seconds
    return spell.ended if spell.worked and back and not longer else 0.0
