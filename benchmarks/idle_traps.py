"""Jobs of a made day for benchmarks/idle_fleet.py: some truly idle, the others traps that make work look idle, or idleness like work.

A trap is one way in which simple rules are known to be wrong. Each has a name; of each job it says what a minute of its cards and
its host shows. Not here: the store, the detectors and the score.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

MINUTES: Final = 1440
GIB: Final = 2.0**30


class Minute(NamedTuple):
    """What one minute of a card and its host shows. None: not known.

    mean, most: utilisation, 0..1. watts: greatest power. pcie, link, nfs: bytes a second. host: processors busy, 0..1.
    held: bytes of memory. limit: watts the card may draw.
    """

    mean: float | None
    most: float | None
    watts: float | None
    pcie: float = 1e5
    host: float = 0.02
    nfs: float = 1e4
    link: float | None = None
    held: float | None = 70 * GIB
    limit: float | None = 700.0


IDLE: Final = Minute(0.0, 0.0, 62.0)
WORK: Final = Minute(0.85, 1.0, 480.0, 2e8, 0.2, 2e7, 1e9)
LOADS: Final = IDLE._replace(host=0.6, nfs=6e7)
UNKNOWN: Final = Minute(None, None, None, 0.0)

Shows = Callable[[int, int], Minute | None]
"""(minute of the day, place of the card in the job) -> what is seen; None: no telemetry."""


@dataclass(frozen=True, slots=True)
class Job:
    """One job on a node of its own.

    begin: minute it starts. idle_from: minute from which it truly idles, None: never. before: its cards were held by
    somebody idle until it began. beside: so many other workloads hold equal parts of its cards. slices: it holds a MIG
    slice of its card, measured apart ("own") or not ("card"). hangs: it is a matter for the hang detector. nights: on the four
    days before it was quiet until eight, too. service: what it is a replica of. requests: that ended in the five minutes from a
    minute, the day before included (below 0); None: nobody counts them.
    """

    kind: str
    scenario: str
    cards: int
    shows: Shows
    begin: int = 0
    idle_from: int | None = None
    before: bool = False
    beside: int = 0
    slices: str = ""
    hangs: bool = False
    nights: bool = False
    service: str = ""
    requests: Callable[[int], float | None] | None = None
    name: str = ""


def bursts(chance: random.Random, works: tuple[int, int], rests: float, longest: int) -> frozenset[int]:
    """Minutes at work: stretches of so many, with pauses of about ``rests`` minutes between them."""
    busy: set[int] = set()
    at = 0
    while at < MINUTES:
        stop = at + chance.randint(*works)
        busy.update(range(at, stop))
        at = stop + min(int(chance.expovariate(1 / rests)) + 1, longest)
    return frozenset(busy)


def traps(chance: random.Random) -> Iterator[Callable[[], Job]]:
    """A maker of each trap; none of their jobs is to be told to its owner."""
    begin = MINUTES - 40

    def in_turns(on: Minute, off: Minute, works: tuple[int, int], rests: float, longest: int) -> Shows:
        busy = bursts(chance, works, rests, longest)
        return lambda m, c: on if m in busy else off

    def stops() -> Shows:
        """A debugger: half an hour to 50 minutes at a breakpoint, a few times a day."""
        held = {m for start in range(60, MINUTES, 200) for m in range(start, start + chance.randint(30, 50))}
        return lambda m, c: IDLE if m in held else WORK

    part = Minute(0.02, 0.05, 75.0)
    # --- busy work that looks idle
    yield lambda: Job("steady work", "training", 2, lambda m, c: WORK)
    yield lambda: Job("data loading first", "training", 2, lambda m, c: LOADS if m < 29 else WORK)
    yield lambda: Job("tokenising first", "training", 2, lambda m, c: LOADS if m < 170 else WORK)
    yield lambda: Job("checkpoints", "training", 2, lambda m, c: IDLE if m % 60 < 9 else WORK)
    yield lambda: Job("storage stalls", "training", 2, lambda m, c: LOADS if m % 240 < 55 else WORK)
    yield lambda: Job(
        "evaluation on processors", "training", 2, lambda m, c: LOADS if m % 300 < 170 else WORK
    )
    yield lambda: Job("gang waits for a straggler", "training", 4, lambda m, c: WORK if c == 0 else IDLE)
    yield lambda: Job(
        "warm replicas", "online_inference", 2, lambda m, c: WORK if m < 700 and m % 9 < 3 else IDLE
    )
    yield lambda: Job(
        "model loading, adapters switched", "batch", 1,
        lambda m, c: IDLE._replace(pcie=3e8) if m % 25 < 3 else IDLE,
    )  # fmt: skip
    yield lambda: Job("people who think", "development", 1, in_turns(WORK, IDLE, (3, 20), 18, 50))
    yield lambda: Job("debugger stops", "development", 1, stops())
    yield lambda: Job("mean hides spikes", "training", 2, lambda m, c: Minute(0.0, 0.6, 90.0))
    yield lambda: Job("copies only", "training", 2, lambda m, c: Minute(0.0, 0.0, 70.0, 2e8))
    yield lambda: Job("power alone", "training", 2, lambda m, c: Minute(None, None, 350.0, 0.0))
    yield lambda: Job("power-capped", "training", 2, lambda m, c: Minute(0.4, 0.7, 68.0, limit=100.0))
    yield lambda: Job("little memory held", "training", 2, lambda m, c: WORK._replace(held=0.3 * GIB))
    yield lambda: Job(
        "quiet every night", "training", 2, lambda m, c: IDLE if m < 480 else WORK, begin=-4 * MINUTES, nights=True
    )  # fmt: skip
    # --- parts of cards
    yield lambda: Job("part of a card (vGPU)", "training", 1, in_turns(part, IDLE, (2, 5), 12, 40), beside=1)
    yield lambda: Job("shared by MPS", "training", 1, in_turns(part, IDLE, (1, 3), 6, 20), beside=3)
    yield lambda: Job("MIG without utilisation", "training", 1, lambda m, c: UNKNOWN, slices="own")
    yield lambda: Job(
        "MIG, the card says 0", "training", 1, lambda m, c: Minute(0.0, 0.0, 95.0, 0.0), slices="card"
    )
    yield lambda: Job(
        "MIG, the card has power alone", "training", 1, lambda m, c: Minute(None, None, 95.0, 0.0), slices="card"
    )  # fmt: skip
    # --- what is not known
    yield lambda: Job(
        "missing minutes read as 0", "training", 2, lambda m, c: None if 300 < m < 700 else WORK
    )
    yield lambda: Job("tells nothing", "training", 2, lambda m, c: UNKNOWN)
    yield lambda: Job("one card silent", "training", 2, lambda m, c: None if c == 1 and m > 60 else IDLE)
    # --- just begun
    yield lambda: Job("just started", "training", 2, lambda m, c: IDLE, begin=begin)
    yield lambda: Job("handed over", "training", 2, lambda m, c: IDLE, begin=begin, before=True)
    # --- no work that looks busy: not for this detector
    spins = Minute(1.0, 1.0, 130.0, 1e5, link=0.0)
    yield lambda: Job(
        "hang at 100 %", "training", 4, lambda m, c: WORK if m < MINUTES - 60 else spins, hangs=True
    )


IDLE_KINDS: Final = {
    "idle": IDLE,
    "idle, exporter's noise of 1 %": Minute(0.004, 0.01, 63.0),
    "idle, nothing but a context held": IDLE._replace(held=0.4 * GIB),
    "idle, power unknown": IDLE._replace(watts=None),
}
"""What a truly idle job shows, by kind. The first holds all its memory, as serving engines do."""


def idle(chance: random.Random, number: int) -> Job:
    """A job that stopped for good, or never began; the shorter it idles, the less there is to propose."""
    kind, quiet = list(IDLE_KINDS.items())[number % len(IDLE_KINDS)]
    stops = chance.choice((0, chance.randint(30, 1300)))
    return Job(
        kind,
        chance.choice(("training", "development", "batch")),
        chance.choice((1, 2, 4)),
        lambda m, c: WORK if m < stops else quiet,
        idle_from=stops,
    )


def fleet(jobs: int, seed: int) -> list[Job]:
    """One job in ten truly idle, the others traps in turn; names ascend."""
    chance = random.Random(seed)
    makers = list(traps(chance))
    made = [
        idle(chance, n // 10) if n % 10 == 0 else makers[(n - n // 10) % len(makers)]() for n in range(jobs)
    ]
    return [replace(job, name=f"slurm/c/{number}") for number, job in enumerate(made)]
