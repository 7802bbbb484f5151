"""Replicas of online inference for benchmarks/idle_fleet.py: some that nobody asked anything for a day, the others traps.

Their cards are quiet alike, or work at times; only requests tell them apart, and those are counted, counted in part, or not.
Not here: the store, the detectors and the score.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from benchmarks.idle_traps import IDLE, MINUTES, WORK, Job

IDLE_REPLICA: Final = "replica nobody asks"
"""The kind that truly idles: its service has others, more than its minimum."""
BEGIN: Final = -2 * MINUTES
"""Two days before: what requests are judged by is whole."""

Requests = Callable[[int], float | None]


def replica(kind: str, service: str, requests: Requests | None, *, works: bool = False) -> Job:
    """One replica with two cards. works: its cards do, a third of the time."""
    return Job(
        kind,
        "online_inference",
        2,
        (lambda m, c: WORK if m % 9 < 3 else IDLE) if works else (lambda m, c: IDLE),
        begin=BEGIN,
        idle_from=0 if kind == IDLE_REPLICA else None,
        service=service,
        requests=requests,
    )


def service(number: int, chance: random.Random) -> Iterator[Job]:
    """Eight replicas of three services: a wide one of which half idle, an odd one, and one with its last replica."""
    few = chance.randrange(0, 240, 5)
    unknown = chance.randrange(0, 720, 5)
    wide, odd, lone = (f"{name}-{number}" for name in ("wide", "odd", "lone"))
    for _ in range(2):
        yield replica(IDLE_REPLICA, wide, lambda m: 0.0)
        yield replica("replica at work", wide, lambda m: 40.0, works=True)
    yield replica("replica with few requests", odd, lambda m: float((m - few) % 240 == 0))
    yield replica("requests nobody counts", odd, None)
    yield replica("requests not counted for hours", odd, lambda m: None if (m - unknown) % 720 < 120 else 0.0)
    yield replica("last replica of a service", lone, lambda m: 0.0)


def services(count: int, seed: int) -> list[Job]:
    """So many times the eight replicas; names ascend."""
    chance = random.Random(seed)
    made = [job for number in range(count) for job in service(number, chance)]
    return [replace(job, name=f"k8s/c/web/{job.service}-{n:05d}/u") for n, job in enumerate(made)]
