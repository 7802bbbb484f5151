"""How well unusual days are told from usual ones, on series whose unusual days are known because they were put there.

    python benchmarks/anomalies.py [--series 60] [--days 140] [--strict]

Each series is the daily cost of a department: a level, a weekday's habit, a drift, noise, holidays, days nobody published and, in
some, a step to a level that stays. In half of them some days are multiplied or divided: those are the truth. Days of a step
count as unusual until it has lasted a week. Every judgement is made from the days before alone.

The peer of the same run is what a cost tool does with a look-back window: a day is unusual when it is a percentage off the mean
of the last 30 known days and worth the least amount; every percentage from 10 to 100 is tried and its best taken, chosen with
hindsight on the very same series. Ours is used as shipped. The last line is JSON; with --strict the exit code is 1 when
ours is not above the peer's best in both precision and recall, or calls a day unusual that is a neighbour of days not published
more often than others.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from statistics import mean
from typing import Final

from ullage_reports.anomaly import runs
from ullage_reports.anomaly_rules import PPM, Rules, default_rules

FIRST: Final = date(2026, 5, 18)
ZONE: Final = "Asia/Shanghai"
UNIT: Final = 100
"""Cost is in hundredths here; the detector takes any unit."""
LEAST: Final = 100 * UNIT
WARM: Final = 35
"""Days at the front nobody judges: both have to have something to look back on."""
WINDOW: Final = 30
PERCENTS: Final = range(10, 101, 5)
TOLERATED: Final = 2
"""False alarms after days not published that are chance, however few such days there are."""
FACTORS: Final = (0.3, 0.5, 0.6, 1.5, 1.7, 2.0, 3.0)


@dataclass(frozen=True, slots=True)
class Series:
    """One department. unusual: the days that are so. known: the days that are published."""

    costs: dict[date, int]
    known: frozenset[date]
    unusual: frozenset[date]


@dataclass(frozen=True, slots=True)
class Score:
    """right: unusual days that were found; found, there: how many were found and are there."""

    right: int
    found: int
    there: int

    @property
    def precision(self) -> float:
        return self.right / self.found if self.found else 1.0

    @property
    def recall(self) -> float:
        return self.right / self.there if self.there else 1.0

    @property
    def f1(self) -> float:
        whole = self.precision + self.recall
        return 2 * self.precision * self.recall / whole if whole else 0.0

    def __str__(self) -> str:
        return f"precision {self.precision:.3f}  recall {self.recall:.3f}  f1 {self.f1:.3f}  ({self.found} found, {self.there} there)"


def series(rng: random.Random, days: int, rules: Rules, *, clean: bool) -> Series:
    """One series; clean: nothing unusual in it."""
    level = rng.choice((2_000, 8_000, 40_000)) * rng.uniform(0.7, 1.4)
    weekend = rng.choice((1.0, 0.9, 0.6, 0.35))
    habits = [rng.uniform(0.92, 1.08) * (weekend if day >= 5 else 1.0) for day in range(7)]
    drift = rng.choice((0.0, 0.0, 0.004, -0.003))
    noise = rng.choice((0.01, 0.03, 0.06))
    dates = [FIRST + timedelta(days=n) for n in range(days)]
    step_at = rng.choice([None, None, rng.randrange(WARM + 7, days - 14)])
    step = 1.0
    unusual: set[date] = set()
    costs: dict[date, int] = {}
    events: dict[int, float] = {}
    if not clean:
        for _ in range(rng.randint(1, 4)):
            begin, length, factor = rng.randrange(WARM, days - 3), rng.randint(1, 3), rng.choice(FACTORS)
            events.update(dict.fromkeys(range(begin, begin + length), factor))
    for number, day in enumerate(dates):
        if number == step_at:
            step = rng.choice((0.5, 1.6, 2.2))
        like = rules.likeness(day)
        habit = habits[6 if like.special and like.key == "sun" else like.weekday]
        usual = level * (1 + drift) ** number * habit * step
        cost = usual * max(0.3, rng.gauss(1, noise)) * events.get(number, 1.0)
        if number in events or (step_at is not None and step_at <= number < step_at + rules.settles_days):
            unusual.add(day)
        costs[day] = round(cost * UNIT)
    gone = {day for day in dates if rng.random() < 0.03}
    return Series(costs, frozenset(dates) - gone, frozenset(unusual) - gone)


def ours(one: Series, rules: Rules) -> set[date]:
    """Days our detector calls unusual."""
    known = {day: cost for day, cost in one.costs.items() if day in one.known}
    return {odd.day for run in runs(known, one.known, rules, least=LEAST) for odd in run.days}


def theirs(one: Series, percent: int) -> set[date]:
    """Days that are a percentage off the mean of the look-back window."""
    days = sorted(one.known)
    found = set()
    for number, day in enumerate(days):
        before = [one.costs[past] for past in days[max(0, number - WINDOW) : number]]
        if len(before) < 14:
            continue
        usual = mean(before)
        off = abs(one.costs[day] - usual)
        if off > usual * percent / 100 and off > LEAST:
            found.add(day)
    return found


def score(some: Iterable[Series], found: Iterable[set[date]]) -> Score:
    """Against the truth, from the day on which both can judge."""
    right = all_found = there = 0
    since = FIRST + timedelta(days=WARM)
    for one, days in zip(some, found, strict=True):
        judged = {day for day in days if day >= since}
        truth = {day for day in one.unusual if day >= since}
        right += len(judged & truth)
        all_found += len(judged)
        there += len(truth)
    return Score(right, all_found, there)


def beside_gaps(some: Sequence[Series], found: Sequence[set[date]]) -> tuple[float, float, int]:
    """(false alarms among usual days after a day that is not published, among the other usual days) as ratios, and how many the former are."""
    counts = {True: [0, 0], False: [0, 0]}
    since = FIRST + timedelta(days=WARM)
    for one, days in zip(some, found, strict=True):
        for day in one.known:
            if day < since or day in one.unusual:
                continue
            place = counts[day - timedelta(days=1) not in one.known]
            place[0] += day in days
            place[1] += 1
    beside, other = (counts[key][0] / max(1, counts[key][1]) for key in (True, False))
    return beside, other, counts[True][0]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--series", type=int, default=60)
    parser.add_argument("--days", type=int, default=140)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--strict", action="store_true")
    args = parser.parse_args(argv)
    rules = default_rules().of_zone(ZONE)
    rng = random.Random(args.seed)
    some = [series(rng, args.days, rules, clean=number % 2 == 0) for number in range(args.series)]
    found = [ours(one, rules) for one in some]
    mine = score(some, found)
    print(f"ours as shipped       {mine}")
    for distance in (3, 4, 6, 8):
        other = replace(rules, distance_ppm=distance * PPM)
        print(f"ours, distance {distance}      {score(some, [ours(one, other) for one in some])}")
    peers = {percent: score(some, [theirs(one, percent) for one in some]) for percent in PERCENTS}
    best = max(peers, key=lambda percent: (peers[percent].f1, percent))
    print(f"{best} % off the mean       {peers[best]}")
    beside, others, many = beside_gaps(some, found)
    print(f"false alarms after a day that is not published {beside:.4f}, on other usual days {others:.4f}")
    figures = {
        "precision": round(mine.precision, 4),
        "recall": round(mine.recall, 4),
        "f1": round(mine.f1, 4),
        "peer_percent": best,
        "peer_precision": round(peers[best].precision, 4),
        "peer_recall": round(peers[best].recall, 4),
        "peer_f1": round(peers[best].f1, 4),
        "false_beside_gaps": round(beside, 5),
        "false_elsewhere": round(others, 5),
        "series": args.series,
        "days": args.days,
    }
    print(json.dumps({"benchmark": "anomalies", "figures": figures}))
    good = mine.precision > peers[best].precision and mine.recall > peers[best].recall
    return 0 if not args.strict or (good and (beside <= 2 * others or many <= TOLERATED)) else 1


if __name__ == "__main__":
    sys.exit(main())
