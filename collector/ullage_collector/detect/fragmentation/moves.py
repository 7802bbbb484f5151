"""Which few workloads to run elsewhere so that what is free fits typical work: a proposal, nothing more. Pure.

Every step is checked by ``Board.why_not`` in its turn; what a group of steps promises is measured on the board after
the last of them. A group that gives back too little is not proposed; where none is left there is nothing safe to move.
Not here: how the best group is found (search.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ullage_collector.detect.fragmentation.capacity import FreeNode, as_arrays
from ullage_collector.detect.fragmentation.measure import measure
from ullage_collector.detect.fragmentation.placed import Placed
from ullage_collector.detect.fragmentation.search import Moved, Search
from ullage_collector.detect.fragmentation.task import Kinds, normalised


@dataclass(frozen=True, slots=True)
class Step:
    """One workload to one node. cards: positions in that node's list. group: moved for one aim, counted from 1."""

    group: int
    work: Placed
    node: int
    cards: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """steps: in order. regained_milli: by group, thousandths of a card for tasks with cards; published_milli: the same
    by the published rule. after: what is then free. considered: workloads that may be moved. stays: why others may not,
    and how many.
    """

    steps: tuple[Step, ...]
    regained_milli: tuple[float, ...]
    published_milli: tuple[float, ...]
    after: tuple[FreeNode, ...]
    considered: int
    stays: Mapping[str, int]


def propose(
    nodes: Sequence[FreeNode],
    work: Sequence[Placed],
    kinds: Kinds,
    *,
    most: int,
    least_milli: float,
    most_together: int,
    memory: bool = False,
) -> Plan:
    """At most ``most`` moves, each group giving back ``least_milli`` of a card per workload moved.

    most_together: workloads of one group. memory: the measure tests memory too; moves are checked for it always.
    kinds.asking decides what is regained; without such kinds nothing is proposed.
    """
    stays = Counter(one.stays for one in work if one.stays is not None)
    considered = len(work) - stays.total()
    if not kinds.asking or not considered:
        return Plan((), (), (), tuple(nodes), considered, stays)
    search = Search(nodes, work, normalised(kinds.asking), most_together, memory=memory)
    tasks = normalised(kinds.tasks)
    steps: list[Step] = []
    regained: list[float] = []
    published: list[float] = []
    while len(steps) < most and (found := search.best(most - len(steps), least_milli)) is not None:
        touched = _touched(found.moved)
        before = [search.board.node(number) for number in touched]
        search.keep(found.moved)
        after = [search.board.node(number) for number in touched]
        lost = measure(as_arrays([*before, *after]), tasks, memory=memory).fragmented_milli
        steps += [Step(len(regained) + 1, old, new.node, new.cards) for old, new in found.moved]
        regained.append(found.gain_milli)
        published.append(float(lost[: len(touched)].sum() - lost[len(touched) :].sum()))
    then = tuple(search.board.node(number) for number in range(len(nodes)))
    return Plan(tuple(steps), tuple(regained), tuple(published), then, considered, stays)


def _touched(moved: Moved) -> list[int]:
    return sorted({number for old, new in moved for number in (old.node, new.node)})
