"""What every card did in every minute of the window, and the truth about who was idle.

Arrays of (cards, minutes), float32. A minute belongs to a workload that held the card at its middle.
Equations and numbers: ullage_agent.backends.simulated.dynamics.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from demo.happenings import Happening
from demo.schedule import LOCAL_OFFSET_SECONDS, Workload
from ullage_agent.backends.simulated import dynamics
from ullage_agent.backends.simulated.dynamics import Work

Floats = NDArray[np.float32]

ACTIVE_RATIO: Final = 0.02
"""At least this much use is work; the same threshold as the detector's (states.toml)."""

IDLE_MINUTES: Final = 10
"""An idle stretch of fewer minutes is a pause, not idleness; the same window as the detector's."""


@dataclass(slots=True)
class Activity:
    """What happened. All arrays are (cards, minutes).

    utilization, intensity, memory: ratios 0..1. processes: workloads on the card. lost: no longer answers.
    silent: no rows at all. hot: degrees added. slow: clocks down.
    """

    begin: float
    utilization: Floats
    intensity: Floats
    memory: Floats
    processes: NDArray[np.uint8]
    lost: NDArray[np.bool_]
    silent: NDArray[np.bool_]
    hot: NDArray[np.bool_]
    slow: NDArray[np.bool_]

    @property
    def minutes(self) -> int:
        return int(self.utilization.shape[1])


@dataclass(frozen=True, slots=True)
class Idle:
    """A truth: this workload did nothing on this card over [start, end), at least IDLE_MINUTES long."""

    workload_id: str
    card: int
    start: float
    end: float


def live(
    cards: int, workloads: Iterable[Workload], happenings: Iterable[Happening], begin: float, end: float
) -> tuple[Activity, list[Idle]]:
    """Every workload's use laid over the cards, and the idle stretches it truly had."""
    minutes = round((end - begin) / 60)
    shape = (cards, minutes)
    activity = Activity(
        begin=begin,
        utilization=np.zeros(shape, np.float32),
        intensity=np.zeros(shape, np.float32),
        memory=np.zeros(shape, np.float32),
        processes=np.zeros(shape, np.uint8),
        lost=np.zeros(shape, np.bool_),
        silent=np.zeros(shape, np.bool_),
        hot=np.zeros(shape, np.bool_),
        slow=np.zeros(shape, np.bool_),
    )
    idle: list[Idle] = []
    demand = _demand(begin, minutes)
    for workload in workloads:
        first = max(0, round((workload.start - begin) / 60))
        last = min(minutes, round((workload.end - begin) / 60))
        if last <= first:
            continue
        draw = np.random.default_rng(workload.seed)
        used, memory = _use(workload, first, last, begin, demand, draw)
        rows = list(workload.cards)
        where = np.ix_(rows, range(first, last)) if len(rows) > 1 else (rows[0], slice(first, last))
        share = np.float32(workload.share)
        activity.utilization[where] += used * share
        activity.intensity[where] = np.maximum(activity.intensity[where], np.float32(workload.intensity))
        activity.memory[where] += memory * share
        activity.processes[where] += 1
        stretches = list(_stretches((used.max(axis=0) if used.ndim > 1 else used) < ACTIVE_RATIO))
        for card in rows:
            for a, b in stretches:
                idle.append(
                    Idle(
                        workload.workload_id,
                        card,
                        max(workload.start, begin + (first + a) * 60.0),
                        min(workload.end, begin + (first + b) * 60.0),
                    )
                )
    np.minimum(activity.utilization, 1, out=activity.utilization)
    np.minimum(activity.memory, 0.99, out=activity.memory)
    _break(activity, happenings, begin)
    return activity, idle


def _break(activity: Activity, happenings: Iterable[Happening], begin: float) -> None:
    masks = {
        "lost": activity.lost,
        "broken": activity.silent,  # the board is out of the server
        "silent": activity.silent,
        "hot": activity.hot,
        "slow": activity.slow,
    }
    for happening in happenings:
        mask = masks.get(happening.effect)
        if mask is None:
            continue
        first, last = round((happening.start - begin) / 60), round((happening.end - begin) / 60)
        for card in happening.cards:
            mask[card, first:last] = True


def _demand(begin: float, minutes: int) -> Floats:
    """dynamics.day_curve for every minute of the window, in local time."""
    day = np.array([dynamics.day_curve(minute / 60) for minute in range(1440)], np.float32)
    first = int((begin + LOCAL_OFFSET_SECONDS) % 86400 // 60)
    return _floats(day[(first + np.arange(minutes)) % 1440])


def _use(
    workload: Workload, first: int, last: int, begin: float, demand: Floats, draw: np.random.Generator
) -> tuple[Floats, Floats]:
    """(utilisation, memory) over minutes [first, last): one row for all cards, or one a card for training."""
    minutes = last - first
    memory = np.full(minutes, workload.memory_ratio, np.float32)
    if workload.work is Work.TRAINING:
        return _train(workload, first, last, begin, draw), _loading(workload, first, memory, begin)
    if workload.work is Work.HELD:
        return np.zeros(minutes, np.float32), memory
    if workload.work is Work.LLM:
        rough = draw.normal(0, 0.1, minutes + 30)
        smooth = np.convolve(rough, np.full(30, 1 / 5.5), "valid")[:minutes]
        level = 0.2 + 0.7 * demand[first:last] + smooth * 0.5
        return _floats(np.clip(level, 0.03, 1)), memory
    on = _bursts(workload.work, demand[first:last], minutes, draw)
    level = draw.lognormal(-0.9, 0.35, minutes) * (0.5 + 0.5 * demand[first:last])
    return _floats(np.where(on, np.clip(level, 0.03, 1), 0)), memory


def _train(workload: Workload, first: int, last: int, begin: float, draw: np.random.Generator) -> Floats:
    """A plateau all cards share, with checkpoints, dips and a start; each card a little of its own."""
    minutes = last - first
    age = begin + (first + np.arange(minutes)) * 60.0 - workload.start
    level = workload.plateau * (1 - 0.15 * workload.exchange_ratio) + draw.normal(0, 0.008, minutes)
    dips = draw.random(minutes) < workload.dip_share
    level = np.where(dips, level * draw.uniform(0.2, 0.7, minutes), level)
    into = age % workload.checkpoint_every
    writing = np.clip(into + 60 - (workload.checkpoint_every - workload.checkpoint_seconds), 0, 60) / 60
    level *= 1 - np.minimum(writing, workload.checkpoint_seconds / 60)
    starting = np.clip((workload.startup_seconds - age) / 60, 0, 1)
    level *= 1 - starting
    if len(workload.cards) == 1:
        return _floats(np.clip(level, 0, 1))
    own = draw.normal(0, 0.006, (len(workload.cards), minutes)).astype(np.float32)
    return _floats(np.clip(level.astype(np.float32)[None, :] + own * (level > 0.05), 0, 1))


def _loading(workload: Workload, first: int, memory: Floats, begin: float) -> Floats:
    age = begin + (first + np.arange(len(memory))) * 60.0 - workload.start
    part = np.clip(np.floor(age / workload.startup_seconds * dynamics.STARTUP_MEMORY_STEPS), 0, 5) / 5
    return _floats(memory * part)


def _bursts(work: Work, demand: Floats, minutes: int, draw: np.random.Generator) -> NDArray[np.bool_]:
    """A two-state chain in minutes: on and off runs of exponential length, longer rests at night."""
    on_minutes = dynamics.BURST_ON_SECONDS / 60
    if work is Work.NOTEBOOK:
        # a person works in the day: rests are long, and nothing happens at night
        rest = on_minutes * (1 / dynamics.NOTEBOOK_ON_SHARE - 1)
    else:
        rest = float(np.mean(dynamics.off_seconds(demand))) / 60
    runs = int(minutes / (on_minutes + rest) * 1.5) + 8
    lengths = np.empty(2 * runs)
    lengths[0::2] = draw.exponential(rest, runs)
    lengths[1::2] = draw.exponential(on_minutes, runs) + 0.5
    edges = np.cumsum(lengths)
    on = np.searchsorted(edges, np.arange(minutes)) % 2 == 1
    if work is Work.NOTEBOOK:
        return np.asarray(on & (demand > 0.6))
    # at night some bursts do not come: what is left has the rests of the hour
    share = (on_minutes + rest) / (on_minutes + dynamics.off_seconds(demand) / 60)
    keep = draw.random(runs + 1)[np.searchsorted(edges, np.arange(minutes)) // 2 % (runs + 1)] < share
    return np.asarray(on & keep)


def _stretches(quiet: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """[from, to) of every run of True that is at least IDLE_MINUTES long."""
    if not quiet.any():
        return
    padded = np.diff(np.concatenate(([0], quiet.view(np.int8), [0])))
    starts, ends = np.flatnonzero(padded == 1), np.flatnonzero(padded == -1)
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        if end - start >= IDLE_MINUTES:
            yield start, end


def _floats(values: Any) -> Floats:
    return np.asarray(values, np.float32)
