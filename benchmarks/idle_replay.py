"""How well the idle detector finds quiet that lasts, on a series it sees one sample at a time.

    python benchmarks/idle_replay.py FILE.parquet [--splits 8] [--strict]

Truth is told with hindsight: duty <= 1 % with >= 256 MiB held for >= 60 minutes; holes of up to 3 minutes and blips of up to
2 minutes under 5 % are bridged; null is unknown. A finding is right when its instant lies in such a run or within a minute
after it. Precision counts every finding; a run is recalled once; the time runs from a run's start to its first finding.
The peer of the same run waits: a finding after W minutes of quiet, with the same bridges and nothing learned.

Then the pods are split in halves, again and again, each half replayed alone: the probability asked for is chosen on one
half (the middle of those that keep the early promise there) and tried on the other. The other settings were looked at
on the whole file, so the held-out figures are honest about that one number and flattered about the rest. The last line is
JSON; with --strict the exit code is 1 when a promise is missed on the whole file.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, median
from typing import Final

from ullage_collector.detect.hindsight import Score, score, truth
from ullage_collector.detect.idle_settings import IdleSettings, Setting, default_settings
from ullage_collector.detect.replay import flags
from ullage_collector.detect.series import Point, read

MINUTE: Final = 60.0
PROMISES: Final = {"early": (0.90, 0.90, 45.0), "cautious": (0.98, 0.95, None)}
"""Precision, recall, and the greatest median of minutes."""
WAITS: Final = (20, 30, 45, 60, 90, 120)
CHOICES: Final = tuple(round(0.5 + 0.02 * step, 2) for step in range(16))
ASKED: Final = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


def waiting(settings: IdleSettings, minutes: float) -> IdleSettings:
    """The peer: nothing learned, a finding after so long."""
    seconds = minutes * MINUTE
    setting = Setting(ask_seconds=seconds, probability=1.0, sure_seconds=seconds)
    return replace(settings, settings={"early": setting, "cautious": setting})


def asking(settings: IdleSettings, name: str, probability: float) -> IdleSettings:
    """The settings with another probability asked for."""
    changed = replace(settings.settings[name], probability=probability)
    return replace(settings, settings={**settings.settings, name: changed})


def halves(pods: Sequence[str], seed: int) -> tuple[frozenset[str], frozenset[str]]:
    """Two halves of the pods."""
    mixed = list(pods)
    random.Random(seed).shuffle(mixed)
    return frozenset(mixed[: len(mixed) // 2]), frozenset(mixed[len(mixed) // 2 :])


def keeps(got: Score, name: str) -> bool:
    """Whether a promise is kept."""
    precision, recall, minutes = PROMISES[name]
    if got.precision < precision or got.recall < recall:
        return False
    return minutes is None or (got.minutes is not None and got.minutes <= minutes)


def chosen(points: Sequence[Point], settings: IdleSettings) -> float | None:
    """The middle of the probabilities that keep the early promise on these points; None: none does."""
    runs = truth(points, settings)
    good = [
        probability
        for probability in CHOICES
        if keeps(score(flags(points, asking(settings, "early", probability), "early"), runs), "early")
    ]
    return median(good) if good else None


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables; 1 with --strict where a promise is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("series", type=Path, metavar="FILE")
    parser.add_argument("--splits", type=int, default=8, help="how many times the pods are split (default 8)")
    parser.add_argument("--strict", action="store_true")
    args = parser.parse_args(argv)
    settings = default_settings()
    points = list(read(args.series))
    runs = truth(points, settings)
    pods = sorted({point.pod for point in points})
    print(f"{len(pods)} pods, {len(points)} samples, {sum(map(len, runs.values()))} true runs")
    answer: dict[str, object] = {"pods": len(pods), "samples": len(points)}
    missed = []
    for name in PROMISES:
        got = score(flags(points, settings, name), runs)
        good = keeps(got, name)
        print(f"{name:>9}: {got}  {'kept' if good else 'MISSED'}")
        answer[name] = {"precision": got.precision, "recall": got.recall, "median_minutes": got.minutes}
        if not good:
            missed.append(name)
    print("plain waiting, the peer:")
    peer = {}
    for wait in WAITS:
        got = score(flags(points, waiting(settings, wait), "early"), runs)
        print(f"  {wait:>4} min: {got}")
        peer[wait] = {"precision": got.precision, "recall": got.recall, "median_minutes": got.minutes}
    answer["waiting"] = peer
    for name in PROMISES:
        print(f"{name}, by the probability asked for:")
        for probability in (*ASKED, 0.98):
            got = score(flags(points, asking(settings, name, probability), name), runs)
            print(f"  {probability:>5}: {got}")
    kept: dict[str, list[Score]] = defaultdict(list)
    for seed in range(args.splits):
        train, test = ([p for p in points if p.pod in half] for half in halves(pods, seed))
        for name in PROMISES:
            kept[f"shipped_{name}"].append(score(flags(test, settings, name), truth(test, settings)))
        probability = chosen(train, settings)
        if probability is None:
            print(f"split {seed}: no probability keeps the promise on the first half")
            continue
        for where, part in (("train", train), ("held_out", test)):
            asked = asking(settings, "early", probability)
            kept[where].append(score(flags(part, asked, "early"), truth(part, settings)))
        print(f"split {seed}: asked {probability:.2f}; train    {kept['train'][-1]}")
        print(f"{'':>21}held out {kept['held_out'][-1]}")
    for where, scores in kept.items():
        row = {
            "precision": mean(one.precision for one in scores),
            "recall": mean(one.recall for one in scores),
            "median_minutes": mean(one.minutes or 0 for one in scores),
            "splits": len(scores),
            "kept": sum(keeps(one, "cautious" if where.endswith("cautious") else "early") for one in scores),
        }
        print(f"{where:>17}, mean: " + "  ".join(f"{k} {v:.3g}" for k, v in row.items()))
        answer[where] = row
    answer["missed"] = missed
    print(json.dumps(answer))
    return 1 if args.strict and missed else 0


if __name__ == "__main__":
    sys.exit(main())
