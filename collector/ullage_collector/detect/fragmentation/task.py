"""What a kind of task asks for, how common it is, and which kinds are typical of a history. Pure.

Not here: reading them from files (files.py) or the store (reading.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from ullage_contract.errors import BadInput

WHOLE_MILLI: Final = 1000
"""A card's compute in thousandths, as the published traces count it."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What one task needs on one node.

    cpu_milli: thousandths of a processor. memory_mib None: not stated. cards: how many; 0: a CPU-only task.
    share_milli: of each card, 1..1000; 0 where it asks for none. models: any of these; empty: any at all.
    """

    cpu_milli: int
    memory_mib: int | None
    cards: int
    share_milli: int
    models: frozenset[str] = frozenset()

    def rank(self) -> tuple[int, int, int, int, tuple[str, ...]]:
        """The order of asks by size, for ties: processors, share, cards, memory, models."""
        return (
            self.cpu_milli,
            self.share_milli,
            self.cards,
            -1 if self.memory_mib is None else self.memory_mib,
            tuple(sorted(self.models)),
        )


@dataclass(frozen=True, slots=True)
class Task:
    """A kind of task. weight: how common it is, any positive scale; see ``normalised``."""

    ask: Ask
    weight: float


@dataclass(frozen=True, slots=True)
class Kinds:
    """What is measured by. tasks: as published. asking: the kinds that ask for cards, with weights of their own."""

    tasks: tuple[Task, ...]
    asking: tuple[Task, ...]


def models_of(written: str) -> frozenset[str]:
    """The models of ``V100M16|V100M32``; empty for an empty text: any. Raises BadInput for nothing between bars."""
    if not written.strip():
        return frozenset()
    names = [name.strip() for name in written.split("|")]
    if not all(names):
        raise BadInput(f"{written!r}: no model between two bars; write MODEL|MODEL, or nothing for any")
    return frozenset(names)


def normalised(tasks: Iterable[Task]) -> tuple[Task, ...]:
    """The same kinds with weights that sum to 1. Raises BadInput where no weight is above 0."""
    tasks = tuple(tasks)
    total = sum(task.weight for task in tasks)
    if not total > 0:
        raise BadInput("the tasks' weights sum to 0: nothing can be typical; give at least one above 0")
    return tuple(replace(task, weight=task.weight / total) for task in tasks)


def given(tasks: Iterable[Task]) -> Kinds:
    """Exactly these kinds; without CPU-only ones: the same with those left out."""
    tasks = tuple(tasks)
    return Kinds(tasks, tuple(task for task in tasks if task.ask.cards))


def learned(
    asks: Iterable[Ask] | Mapping[Ask, int],
    *,
    covered_ratio: float,
    with_memory: bool = False,
    most: int | None = None,
) -> Kinds:
    """Typical kinds of a history, and those typical of its tasks with cards alone (``typical``)."""
    seen = _counted(asks, with_memory)
    asking = {ask: count for ask, count in seen.items() if ask.cards}
    return Kinds(
        typical(seen, covered_ratio=covered_ratio, with_memory=with_memory, most=most),
        typical(asking, covered_ratio=covered_ratio, with_memory=with_memory, most=most),
    )


def typical(
    asks: Iterable[Ask] | Mapping[Ask, int],
    *,
    covered_ratio: float,
    with_memory: bool = False,
    most: int | None = None,
) -> tuple[Task, ...]:
    """The kinds most common among ``asks``, from the most common on, until ``covered_ratio`` of them are covered.

    asks: each task's, or how often each was seen. Weights sum to 1 over the kinds kept. Kinds seen equally often: the
    bigger first (``Ask.rank``). with_memory: memory tells kinds apart too; else a kind's memory is None, as the
    published rule has it. most: kinds kept at most, None: any number. (): there are no asks.
    """
    seen = _counted(asks, with_memory)
    wanted = covered_ratio * seen.total()
    ordered = sorted(seen.items(), key=lambda one: (one[1], one[0].rank()), reverse=True)
    kept: list[Task] = []
    covered = 0
    for ask, count in ordered:
        if kept and (covered >= wanted or len(kept) == most):
            break
        kept.append(Task(ask, count))
        covered += count
    return normalised(kept) if kept else ()


def _counted(asks: Iterable[Ask] | Mapping[Ask, int], with_memory: bool) -> Counter[Ask]:
    counted = Counter(asks)
    if with_memory:
        return counted
    found: Counter[Ask] = Counter()
    for ask, count in counted.items():
        found[replace(ask, memory_mib=None)] += count
    return found
