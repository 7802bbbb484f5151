"""How often quiet subjects of a pool wake now, learned from the pool as it goes.

Two things are kept: a fading count of wakes over fading quiet time, which follows the tide within the hour; and the
same counts by time of day of earlier days, which say whether the tide is about to come in. Only the past is used.
Not here: one subject's own habits and the decision (idle.py).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

DAY_SECONDS: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class TideSettings:
    """``[tide]`` of idle.toml. Rates are wakes a quiet minute; weights are quiet minutes that count as seen.

    ratio_most: the most by which the time of day may raise or lower the rate.
    """

    half_life_seconds: float
    first_rate: float
    first_minutes: float
    bin_seconds: float
    day_half_life_days: float
    day_minutes: float
    ratio_most: float


@dataclass(slots=True)
class Faded:
    """Two sums that fade together: how often something came, and in how much it could have (minutes, or times)."""

    came: float = 0.0
    could: float = 0.0
    at: float = 0.0

    def fade(self, at: float, half_life_seconds: float) -> None:
        """Bring both to ``at``; an earlier time changes nothing."""
        if at > self.at:
            if self.came or self.could:
                kept = 0.5 ** ((at - self.at) / half_life_seconds)
                self.came *= kept
                self.could *= kept
            self.at = at


@dataclass(slots=True)
class Tide:
    """One pool's wakes. Times ascend."""

    settings: TideSettings
    _now: Faded = field(default_factory=Faded)
    _of_day: dict[int, Faded] = field(default_factory=dict)
    _fresh: deque[tuple[int, Faded]] = field(default_factory=deque)

    def add(self, at: float, *, wakes: int, minutes: float) -> None:
        """``minutes`` of quiet ended at ``at``, with or without a wake."""
        self._now.fade(at, self.settings.half_life_seconds)
        self._now.came += wakes
        self._now.could += minutes
        number = int(at // self.settings.bin_seconds)
        if not self._fresh or self._fresh[-1][0] != number:
            self._settle(number)
            self._fresh.append((number, Faded()))
        self._fresh[-1][1].came += wakes
        self._fresh[-1][1].could += minutes

    def remember(self, at: float, *, wakes: float, minutes: float) -> None:
        """What an hour of an earlier day was, that others have kept; times ascend, and come before any ``add``."""
        number = int(at // self.settings.bin_seconds)
        parts = max(1, round(3600.0 / self.settings.bin_seconds))
        for part in range(parts):
            self._keep(number + part, wakes / parts, minutes / parts)

    def rate(self, at: float) -> float:
        """Wakes a quiet minute around ``at``, from the last hour or so; the first rate where nothing is seen yet."""
        told = self.settings
        self._now.fade(at, told.half_life_seconds)
        return (self._now.came + told.first_rate * told.first_minutes) / (
            self._now.could + told.first_minutes
        )

    def coming(self, at: float, seconds: float) -> float:
        """The rate expected over the next ``seconds``: now's, moved as earlier days moved at this time of day."""
        return self.rate(at) * self._turn(at, seconds)

    def _turn(self, at: float, seconds: float) -> float:
        """What earlier days say the rate does from the bins around now to those ahead; 1 without earlier days."""
        told = self.settings
        wakes = sum(row.came for row in self._of_day.values())
        minutes = sum(row.could for row in self._of_day.values())
        if not minutes or not wakes:
            return 1.0
        mean = wakes / minutes

        def earlier(start: float, end: float) -> float:
            rows = [
                self._of_day[number % self._bins()]
                for number in range(int(start // told.bin_seconds), int(end // told.bin_seconds) + 1)
                if number % self._bins() in self._of_day
            ]
            return (sum(row.came for row in rows) + mean * told.day_minutes) / (
                sum(row.could for row in rows) + told.day_minutes
            )

        ratio = earlier(at, at + seconds) / earlier(at - told.half_life_seconds, at)
        return min(max(ratio, 1 / told.ratio_most), told.ratio_most)

    def _bins(self) -> int:
        return max(1, round(DAY_SECONDS / self.settings.bin_seconds))

    def _settle(self, number: int) -> None:
        """What is half a day old becomes part of the days before: a comparison never mixes today into them."""
        while self._fresh and number - self._fresh[0][0] > self._bins() // 2:
            old, row = self._fresh.popleft()
            self._keep(old, row.came, row.could)

    def _keep(self, number: int, came: float, could: float) -> None:
        at = number * self.settings.bin_seconds
        kept = self._of_day.setdefault(number % self._bins(), Faded(at=at))
        kept.fade(at, self.settings.day_half_life_days * DAY_SECONDS)
        kept.came += came
        kept.could += could
