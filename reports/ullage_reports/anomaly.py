"""Unusual days of one series: a day against its weekday, at the level of the week before, with medians that one odd day does not move.

What is expected of a day is the level (median of the ordinary days before) times what its weekday usually is of the level
(median over the weeks before). It is unusual when it stands further off than robust deviations, a part of it and an amount
allow, all of which are data (anomaly_rules.py). A day that is not known is neither judged nor an example, so nothing missing
is ever unusual. Unusual days are no examples either, until there are so many in a row that they are the usual.

Pure, in integers. Not here: where series are from (anomalies.py), and what caused a difference (anomaly_causes.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from ullage_reports.anomaly_rules import PPM, Likeness, Rules
from ullage_reports.tides_settings import WEEKDAYS

SCALE: Final = 10**9
"""What a day is of its level is counted in these parts of the level."""
NEAR: Final = 20
"""Days whose cost is within 5 % of each other are as near to the expected; of those one of the same weekday is compared with."""
DAY_MINUTES: Final = 1440
LEVEL_WITHIN: Final = 3
"""The level's days lie within so many times level_days; our choice: because an older level is another one."""


@dataclass(frozen=True, slots=True)
class Odd:
    """One unusual day. value, expected: in the series' unit. usual: the ordinary day most like the expected, to compare with; None:
    there is none, as what it is about cost nothing before."""

    day: date
    value: int
    expected: int
    usual: date | None

    @property
    def difference(self) -> int:
        return self.value - self.expected


@dataclass(frozen=True, slots=True)
class Run:
    """Unusual days on one side, following each other but for days nobody knows. open: it goes on to the last known day. settled: it
    went on so long that it is the usual now."""

    days: tuple[Odd, ...]
    open: bool
    settled: bool

    @property
    def amount(self) -> int:
        """What all its days differ by."""
        return sum(day.difference for day in self.days)


@dataclass(frozen=True, slots=True)
class _Seen:
    """A known ordinary day. ratio: of its level, in SCALE; None where there was none, or it was 0."""

    day: date
    like: Likeness
    value: int
    ratio: int | None


def runs(
    values: Mapping[date, int],
    known: frozenset[date],
    rules: Rules,
    *,
    least: int,
    minutes: Mapping[date, int] | None = None,
) -> list[Run]:
    """Every run of unusual days of a series, in order.

    values: by local day; a known day without one is 0. known: the days that are published whole. least: what is too little to be
    called unusual, in the series' unit. minutes: length of days that are no 24 hours: they are compared by the hour.
    """
    found: list[Run] = []
    seen: list[_Seen] = []
    streak: list[Odd] = []
    last_day: date | None = None
    for day in sorted(known):
        length = (minutes or {}).get(day, DAY_MINUTES)
        value = values.get(day, 0) * DAY_MINUTES // length
        like = rules.likeness(day)
        _forget(seen, day, rules)
        by_key = _by_key(seen)
        level = _level(seen, day, by_key, rules)
        odd = _judge(day, value, like, level, seen, by_key, rules, least)
        if odd is None or (streak and (odd.difference > 0) != (streak[-1].difference > 0)):
            found += _closed(streak)
            streak = []
        if odd is None:
            seen.append(_Seen(day, like, value, _ratio(value, level)))
        else:
            exact = Odd(day, values.get(day, 0), odd.expected * length // DAY_MINUTES, odd.usual)
            streak.append(exact)
            if len(streak) >= rules.settles_days:
                found.append(Run(tuple(streak), open=False, settled=True))
                for one in streak:
                    kind = rules.likeness(one.day)
                    seen.append(_Seen(one.day, kind, one.value, None))
                seen.sort(key=lambda s: s.day)
                streak = []
        last_day = day
    if streak:
        found.append(Run(tuple(streak), open=streak[-1].day == last_day, settled=False))
    return found


def _closed(streak: Sequence[Odd]) -> list[Run]:
    return [Run(tuple(streak), open=False, settled=False)] if streak else []


def _forget(seen: list[_Seen], day: date, rules: Rules) -> None:
    oldest = day - timedelta(days=rules.look_back_days)
    while seen and seen[0].day < oldest:
        del seen[0]


def _by_key(seen: Sequence[_Seen]) -> Mapping[str, Sequence[int]]:
    """What days of each likeness were of their level."""
    found: dict[str, list[int]] = defaultdict(list)
    for one in seen:
        if one.ratio is not None:
            found[one.like.key].append(one.ratio)
    return found


def _level(seen: Sequence[_Seen], day: date, by_key: Mapping[str, Sequence[int]], rules: Rules) -> int | None:
    """The median of the last ordinary days that are like their weekday, each over what its weekday usually is of the level: a week
    of which some days are not known is then no other level. None: too few are known."""
    since = day - timedelta(days=LEVEL_WITHIN * rules.level_days)
    some = [one for one in seen if one.like.special is None and one.day >= since][-rules.level_days :]
    if len(some) * 2 <= rules.level_days:
        return None
    usual = {key: _median(ratios) for key, ratios in by_key.items() if len(ratios) >= rules.least_like}
    if all(usual.get(one.like.key) for one in some):
        return _median([one.value * SCALE // usual[one.like.key] for one in some])
    return _median([one.value for one in some])


def _ratio(value: int, level: int | None) -> int | None:
    return value * SCALE // level if level else None


def _judge(
    day: date,
    value: int,
    like: Likeness,
    level: int | None,
    seen: Sequence[_Seen],
    by_key: Mapping[str, Sequence[int]],
    rules: Rules,
    least: int,
) -> Odd | None:
    """The day where it is unusual; None: it is not, or too little is known."""
    if level is None or len(seen) < rules.least_days:
        return None
    if not level:
        return _from_nothing(day, value, seen, least)
    found = _usual(like, by_key, rules)
    if found is None:
        return None
    usual, far = found
    expected = level * usual // SCALE
    difference = value - expected
    limit = max(expected * _deviation(by_key, rules) // PPM * far * rules.distance_ppm // PPM, least)
    limit = max(limit, expected * rules.least_ratio_ppm // PPM)
    if abs(difference) <= limit:
        return None
    nearest = min(
        (one for one in seen),
        key=lambda one: (
            abs(one.value - expected) * NEAR // max(expected, 1),
            one.like.key != like.key,
            abs(one.value - expected),
            (day - one.day).days,
        ),
    )
    return Odd(day, value, expected, nearest.day)


def _from_nothing(day: date, value: int, seen: Sequence[_Seen], least: int) -> Odd | None:
    """Where the usual is nothing, a day is unusual that is half as much again as any day before."""
    most = max(one.value for one in seen)
    if value < max(least, 1) or 2 * value <= 3 * most:
        return None
    return Odd(day, value, 0, max((one.day for one in seen if not one.value), default=None))


def _usual(like: Likeness, by_key: Mapping[str, Sequence[int]], rules: Rules) -> tuple[int, int] | None:
    """(what such a day usually is of the level, how many times as far away a judgement by it has to be); None: too few are known."""
    same = by_key.get(like.key, ())
    if len(same) >= rules.least_like:
        return _median(same), 1
    if like.special is not None:
        weekday = by_key.get(_weekday(like), ())
        if len(weekday) >= rules.least_like:
            return _median(weekday), 2
    return None


def _weekday(like: Likeness) -> str:
    return WEEKDAYS[like.weekday]


def _deviation(by_key: Mapping[str, Sequence[int]], rules: Rules) -> int:
    """How far ordinary days are from what was usual of their like, as a robust deviation in parts per million.

    Each is held against the others of its like: against a median it is part of it would seem closer than it is.
    """
    off = []
    for ratios in by_key.values():
        if len(ratios) < 2:
            continue
        ordered = sorted(ratios)
        for place, ratio in enumerate(ordered):
            middle = _median_sorted([*ordered[:place], *ordered[place + 1 :]])
            if middle:
                off.append(abs(ratio - middle) * PPM // middle)
    spread = _median(off) * 14_826 // 10_000 if off else 0
    return max(spread, rules.least_deviation_ppm)


def _median(values: Sequence[int]) -> int:
    return _median_sorted(sorted(values))


def _median_sorted(ordered: Sequence[int]) -> int:
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) // 2
