"""Used, idle or not known: what an allocation did over its time, from the telemetry of its job or its card.

An inactive stretch is idle once it lasted the window, counted back to its first instant. A hole in the telemetry is
unknown; a short one neither ends an inactive stretch nor counts towards it, as in the collector's states.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from ullage_collector.ledger import ALLOCATED_IDLE, UNKNOWN, USED
from ullage_reports.settle.world import Allocation, Telemetry, World

BRIDGE_US: Final = 10 * 60_000_000
"""The longest silence inside an idle stretch: states.toml, ``bridge_seconds``; a longer one could hide work."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """One state over [from_us, to_us). began_us: when the idle stretch it belongs to began; None: it is not idle."""

    from_us: int
    to_us: int
    state: str
    began_us: int | None = None


class Told:
    """A world's readings of activity by job and by card, so that an allocation is not held against all of them."""

    def __init__(self, world: World) -> None:
        self.any = False
        self._by_job: dict[str, list[Telemetry]] = defaultdict(list)
        self._by_card: dict[str, list[Telemetry]] = defaultdict(list)
        for row in world.telemetry:
            if row.active is None:
                continue
            self.any = True
            if row.job is not None:
                self._by_job[row.job].append(row)
            elif row.card is not None:
                self._by_card[row.card].append(row)

    def about(self, held: Allocation) -> list[Telemetry]:
        """Readings that may be about an allocation, as ``readings`` chooses among them."""
        of_job = self._by_job.get(held.job, []) if held.job is not None else []
        return [*of_job, *(self._by_card.get(held.card, []) if held.card is not None else [])]


def stretches(world: World, held: Allocation, told: Told) -> tuple[Stretch, ...]:
    """The states of an allocation, in order, covering its time; an open end is the window's. told: of the same world.

    A file without any reading of activity counts everything held as used; with some, what they do not cover is unknown.
    """
    end = world.to_us if held.end_us is None else held.end_us
    if end <= held.start_us:
        return ()
    if not told.any:
        return (Stretch(held.start_us, end, USED),)
    rows = readings(held, told.about(held))
    return _judged(_pieces(rows, held.start_us, end), world.policy.idle_window_us)


def readings(held: Allocation, rows: Sequence[Telemetry]) -> list[Telemetry]:
    """Rows about an allocation: those of its job where there are any, else those of its card."""
    if held.job is not None:
        of_job = [r for r in rows if r.job == held.job and r.card in (None, held.card)]
        if of_job:
            return of_job
    return [r for r in rows if r.job is None and r.card is not None and r.card == held.card]


def _pieces(rows: Sequence[Telemetry], start: int, end: int) -> list[tuple[int, int, bool | None]]:
    """(from, to, active) covering [start, end): any active reading wins, None where nothing was read."""
    cuts = sorted({start, end, *(t for r in rows for t in (r.start_us, r.end_us) if start < t < end)})
    pieces: list[tuple[int, int, bool | None]] = []
    for a, b in pairwise(cuts):
        told = [r.active for r in rows if r.start_us <= a < r.end_us]
        pieces.append((a, b, any(told) if told else None))
    return pieces


def _judged(pieces: Sequence[tuple[int, int, bool | None]], window_us: int) -> tuple[Stretch, ...]:
    found: list[Stretch] = []
    run: list[tuple[int, int, bool | None]] = []
    silence = 0

    def close() -> None:
        """Judge the run so far; silence at its end belongs to nobody."""
        inactive = sum(b - a for a, b, active in run if active is False)
        idle = bool(run) and inactive >= window_us
        for a, b, active in run:
            state = UNKNOWN if active is None else ALLOCATED_IDLE if idle else USED
            found.append(Stretch(a, b, state, run[0][0] if state == ALLOCATED_IDLE else None))
        run.clear()

    for a, b, active in pieces:
        if active is None:
            silence += b - a
            if run and silence <= BRIDGE_US:
                run.append((a, b, None))
            else:
                close()
                found.append(Stretch(a, b, UNKNOWN))
            continue
        silence = 0
        if active:
            close()
            found.append(Stretch(a, b, USED))
        else:
            run.append((a, b, False))
    close()
    return tuple(found)
