"""Weeks of queues and idle cards with a known answer, and how much of it is found; and how long a week takes.

    python benchmarks/uneven.py [--weeks 30] [--seed 1] [--strict]

Real: the matching, the finding and its rules. Made: departments that wait and hold cards by the hour on one cluster, some of whose
telemetry is lost. In half of the weeks queues and idle cards fall into different hours of the day, or belong to one department: nobody
could have been helped. The truth is drawn first: who lacks how many cards in which hours. The peer compares a day's mean queue with its mean
of idle cards. The last line is JSON; with --strict the exit code is 1 when precision or recall of departments is below 0.95.
"""

from __future__ import annotations

import random
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.scored import run

from ullage_collector.detect.uneven.finding import find
from ullage_collector.detect.uneven.match import Demand, Kind, Supply, matched
from ullage_collector.detect.uneven.settings import default_rules
from ullage_collector.ledger import HOUR_US, QUANTITY_PER_CARD_HOUR

START: Final = 1_792_540_800_000_000
HOURS: Final = 7 * 24
KIND: Final = Kind("nvidia", "H800")
LEAST: Final = 0.95


def made(chance: random.Random, *, lossy: float) -> tuple[list[Demand], list[Supply], set[str]]:
    """One week: demand, supply, and the departments that somebody's idle cards would have helped for the rules' least."""
    helped: dict[str, list[int]] = {}
    demands, supplies = [], []
    for number in range(chance.randint(1, 4)):
        name, other = f"d{number}", f"e{number}"
        cluster = f"c{number}"
        case = chance.choice(["helped", "other hours", "own", "little"])
        first = chance.randrange(0, 12)
        for hour in range(HOURS):
            of_day = hour % 24
            cards = chance.randint(2, 12) if case != "little" else 1
            waits = first <= of_day < first + 6 and (case != "little" or hour in (150, 151))
            if waits:
                demands.append(_demand(hour, cluster, name, cards))
            when = first + 12 <= of_day or of_day < first - 1 if case == "other hours" else waits
            if not when or (case == "helped" and chance.random() < lossy):
                continue
            idle = chance.randint(2, 12)
            holder = name if case == "own" else other if chance.random() < 0.5 else None
            supplies.append(_supply(hour, cluster, holder, idle if case != "own" else 20))
            if case == "helped":
                helped.setdefault(name, []).append(min(cards, idle))
    rules = default_rules()
    truth = {
        n
        for n, hours in helped.items()
        if sum(hours) >= rules.least_card_hours and len(hours) >= rules.least_hours
    }
    return demands, supplies, truth


def _demand(hour: int, cluster: str, who: str, cards: int) -> Demand:
    return Demand(START + hour * HOUR_US, cluster, KIND, who, cards * QUANTITY_PER_CARD_HOUR)


def _supply(hour: int, cluster: str, who: str | None, cards: int) -> Supply:
    amount = cards * QUANTITY_PER_CARD_HOUR
    return Supply(START + hour * HOUR_US, cluster, KIND, amount, who, None, 12_000_000, "CNY")


def peer(demands: list[Demand], supplies: list[Supply]) -> set[str]:
    """Departments whose mean queue of a week stands beside as many idle cards of the cluster on average."""
    idle: dict[str, int] = defaultdict(int)
    for supply in supplies:
        idle[supply.cluster] += supply.quantity
    waits: dict[tuple[str, str], int] = defaultdict(int)
    for demand in demands:
        waits[demand.department, demand.cluster] += demand.quantity
    least = default_rules().least_card_hours * QUANTITY_PER_CARD_HOUR
    return {who for (who, cluster), amount in waits.items() if min(amount, idle[cluster]) >= least}


def score(weeks: int, seed: int) -> dict[str, float]:
    """Precision and recall of departments, of the detector and the peer; milliseconds a week."""
    chance = random.Random(seed)
    rules = default_rules()
    counts: dict[str, int] = defaultdict(int)
    spent = 0.0
    for _ in range(weeks):
        demands, supplies, truth = made(chance, lossy=0.1)
        started = time.perf_counter()
        met = matched(demands, supplies, across_clusters=False)
        told = {one.subject for one in find(met.pairs, met.own, rules, START + HOURS * HOUR_US)}
        spent += time.perf_counter() - started
        for name, said in (("", told), ("peer_", peer(demands, supplies))):
            counts[f"{name}right"] += len(said & truth)
            counts[f"{name}said"] += len(said)
        counts["true"] += len(truth)
    figures = {
        "weeks": float(weeks),
        "departments": float(counts["true"]),
        "milliseconds_a_week": spent / weeks * 1e3,
    }
    for name in ("", "peer_"):
        figures[f"{name}precision"] = counts[f"{name}right"] / max(1, counts[f"{name}said"])
        figures[f"{name}recall"] = counts[f"{name}right"] / max(1, counts["true"])
    return {key: round(value, 4) for key, value in figures.items()}


if __name__ == "__main__":
    sys.exit(
        run("uneven", "uneven_use", {"weeks": 30}, lambda args: score(args.weeks, args.seed), least=LEAST)
    )
