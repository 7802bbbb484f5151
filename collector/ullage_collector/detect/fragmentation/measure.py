"""How much of the free card share the average task cannot use: the FGD measure, as published. Pure.

Source: Weng et al., "Beware of Fragmentation", USENIX ATC 2023, and pkg/utils/frag.go of its simulator
(hkust-adsl/kubernetes-scheduler-simulator). A task runs on a node when processors, enough cards with its share free
and the model are there. A task that asks for no card, or cannot run, makes all of the node's free share a fragment;
one that runs makes the cards with less than its share one. The measure is the mean over tasks by weight: an
expectation, not a list of cards. It enters no money.

Memory is not in the published rule; ``memory=True`` adds it, with a class of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ullage_collector.detect.fragmentation.capacity import Floats, Free
from ullage_collector.detect.fragmentation.task import Task

CLASSES: Final = (
    "q1_lack_both",
    "q2_lack_gpu",
    "q3_satisfied",
    "q4_lack_cpu",
    "xl_satisfied",
    "xr_lack_cpu",
    "no_access",
    "lack_memory",
)
"""Why free share is a fragment of a task; q3_satisfied alone is none. Cards too full for a task that runs are under
q2_lack_gpu. lack_memory is ours: memory alone is short; it stays 0 without the memory test."""

SATISFIED: Final = CLASSES.index("q3_satisfied")


@dataclass(frozen=True, slots=True)
class Measured:
    """free_milli: [N]. by_class: [N, classes], expected free thousandths; a row adds up to the node's free_milli."""

    free_milli: Floats
    by_class: Floats

    @property
    def fragmented_milli(self) -> Floats:
        """[N] expected thousandths no task can use; never above what is free."""
        lost: Floats = np.minimum(np.delete(self.by_class, SATISFIED, axis=1).sum(axis=1), self.free_milli)
        return lost


@dataclass(frozen=True, slots=True)
class Total:
    """Nodes together, in thousandths of a card. ratio: fragmented of free, 0..1; None: nothing is free."""

    free_milli: int
    fragmented_milli: float
    ratio: float | None
    by_class: Mapping[str, float]


def measure(free: Free, tasks: Sequence[Task], *, memory: bool = False) -> Measured:
    """The measure of every node. tasks: weights that sum to 1 (``task.normalised``); no tasks: nothing is judged.

    memory: a task also needs its memory; one whose memory is not stated needs none.
    """
    total = free.total_milli
    count = len(total)
    weights = np.array([task.weight for task in tasks], dtype=np.float64)
    shares = sorted({task.ask.share_milli for task in tasks if task.ask.cards})
    # Few shares are asked for by many kinds: cards are looked at once a share, not once a kind.
    roomy = {share: free.cards >= share for share in shares}
    enough = {share: room.sum(axis=1) for share, room in roomy.items()}
    scraps = {share: total - (free.cards * room).sum(axis=1) for share, room in roomy.items()}
    by_class = np.zeros((len(CLASSES), count))
    for weight, task in zip(weights, tasks, strict=True):
        ask = task.ask
        whole = weight * total
        cpu = free.cpu_milli >= ask.cpu_milli
        if not ask.cards:
            by_class[4] += whole * cpu
            by_class[5] += whole * ~cpu
            continue
        cards = enough[ask.share_milli] >= ask.cards
        if ask.models:
            allowed = np.array([model in ask.models for model in free.models], dtype=bool)[free.model]
            by_class[6] += whole * ~allowed
            cpu, cards, lacks_cpu, lacks_cards = (
                cpu & allowed,
                cards & allowed,
                ~cpu & allowed,
                ~cards & allowed,
            )
        else:
            lacks_cpu, lacks_cards = ~cpu, ~cards
        by_class[0] += whole * (lacks_cards & lacks_cpu)
        by_class[1] += whole * (lacks_cards & cpu)
        by_class[3] += whole * (cards & lacks_cpu)
        runs = cards & cpu
        if memory and ask.memory_mib is not None:
            short = runs & (free.memory_mib < ask.memory_mib)
            by_class[7] += whole * short
            runs &= ~short
        lost = weight * scraps[ask.share_milli] * runs
        by_class[1] += lost
        by_class[SATISFIED] += whole * runs - lost
    return Measured(total.astype(np.float64), by_class.T)


def totalled(measured: Measured, places: Sequence[int] | None = None) -> Total:
    """All nodes together, or those at ``places``."""
    rows = slice(None) if places is None else np.array(places, dtype=np.int64)
    free = int(measured.free_milli[rows].sum())
    fragmented = math.fsum(measured.fragmented_milli[rows])
    return Total(
        free_milli=free,
        fragmented_milli=fragmented,
        ratio=fragmented / free if free else None,
        by_class={
            name: math.fsum(column) for name, column in zip(CLASSES, measured.by_class[rows].T, strict=True)
        },
    )
