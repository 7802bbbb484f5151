"""The group of workloads whose move gives back most per workload: greedy, on arrays. Pure.

A group is one workload, all that share one card, or all on one node. What leaving gives back is known of every group;
what arriving costs is judged for the groups that give back most, by sort of workload and node, and judged anew only
where something moved. The best by this estimate are tried in full on the board.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ullage_collector.detect.fragmentation.capacity import UNKNOWN, Floats, Free, FreeNode, Ints, as_arrays
from ullage_collector.detect.fragmentation.measure import measure
from ullage_collector.detect.fragmentation.placed import Board, Placed
from ullage_collector.detect.fragmentation.task import Ask, Task

LOOKED_AT: Final = 400
"""Groups whose arrival is judged; our choice: on the public trace all of them find a plan at most 1 % better."""
TRIED: Final = 40
"""Groups tried in full; our choice: the estimate is exact but where workloads of a group meet on one node."""
_ROWS: Final = 50_000  # our choice: nodes judged at once, some megabytes
_BIG: Final = 1 << 30

Moved = list[tuple[Placed, Placed]]
"""Workloads before and after, in the order they are moved."""


@dataclass(frozen=True, slots=True)
class Best:
    """gain_milli: what its moves give back together, thousandths of a card."""

    moved: Moved
    gain_milli: float


@dataclass(frozen=True, slots=True)
class _Sort:
    """Workloads that fit the same places alike. islanded: their cards stay in one island."""

    ask: Ask
    pool: tuple[str, str]
    islanded: bool


class Search:
    """The board while groups are moved on it. tasks: weights that sum to 1; what is regained is regained for them."""

    def __init__(
        self,
        nodes: Sequence[FreeNode],
        work: Sequence[Placed],
        tasks: Sequence[Task],
        together: int,
        *,
        memory: bool = False,
    ) -> None:
        self.board = Board.of(nodes)
        self._tasks = tasks
        self._memory = memory
        self._together = together
        self._free = as_arrays(nodes)
        pools = {
            name: number for number, name in enumerate(dict.fromkeys((n.cluster, n.pool) for n in nodes))
        }
        self._pools = pools
        self._pool = np.array([pools[n.cluster, n.pool] for n in nodes], dtype=np.int64)
        self._lost = self._judged(self._free)
        self._here: dict[int, list[Placed]] = defaultdict(list)
        for one in work:
            self._here[one.node].append(one)
        self._sorts: dict[_Sort, _Arrival] = {}
        self._benefits: dict[int, list[tuple[float, tuple[Placed, ...]]]] = {}
        self._leave(sorted(self._here))

    def best(self, most: int, least_milli: float) -> Best | None:
        """The group that gives back most per workload, at least ``least_milli``; None: none does. The board stays."""
        groups = [entry for entries in self._benefits.values() for entry in entries if len(entry[1]) <= most]
        groups.sort(key=lambda entry: -entry[0] / len(entry[1]))
        groups = groups[:LOOKED_AT]
        self._arrive({self._sort_of(one) for _, group in groups for one in group})
        estimates = []
        for benefit, group in groups:
            places = [self._cheapest(one) for one in group]
            estimate = (benefit - sum(place[0] for place in places)) / len(group)
            if estimate >= least_milli - 1e-6:
                estimates.append((estimate, group))
        estimates.sort(key=lambda one: (-round(one[0], 6), len(one[1]), [work.name for work in one[1]]))
        found: tuple[float, Best] | None = None
        for estimate, group in estimates[:TRIED]:
            if found is not None and found[0] >= estimate - 1e-6:
                break
            tried = self._try(group)
            if tried is None:
                continue
            each = tried.gain_milli / len(group)
            if each >= least_milli and (found is None or each > found[0] + 1e-6):
                found = each, tried
        return None if found is None else found[1]

    def keep(self, moved: Moved) -> None:
        """The moves stand: what they touched is judged anew. A workload is moved once, as it is restarted for it."""
        for old, new in moved:
            self.board.move(old, new.node, new.cards)
            self._here[old.node].remove(old)
            self._here[new.node].append(
                Placed(new.name, new.node, new.cards, new.ask, new.owner, "it is moved already")
            )
        numbers = sorted({number for old, new in moved for number in (old.node, new.node)})
        self._copy(numbers)
        rows = np.array(numbers, dtype=np.int64)
        self._lost[rows] = self._judged(_at(self._free, rows))
        self._leave(numbers)
        for arrival in self._sorts.values():
            arrival.cost[rows] = np.inf
        self._judge_arrivals([(sort, rows) for sort in self._sorts])

    # ------------------------------------------------------------------------------- judging
    def _judged(self, free: Free) -> Floats:
        parts = [
            measure(_at(free, slice(begin, begin + _ROWS)), self._tasks, memory=self._memory).fragmented_milli
            for begin in range(0, len(free.model), _ROWS)
        ]
        return np.concatenate(parts) if parts else np.zeros(0)

    def _copy(self, numbers: Iterable[int]) -> None:
        """The board's rows into the arrays."""
        for number in numbers:
            cards = self.board.cards[number]
            self._free.cards[number, : len(cards)] = cards
            cpu, memory = self.board.cpu_milli[number], self.board.memory_mib[number]
            self._free.cpu_milli[number] = UNKNOWN if cpu is None else cpu
            self._free.memory_mib[number] = UNKNOWN if memory is None else memory

    def _leave(self, numbers: Sequence[int]) -> None:
        """What each group of these nodes gives back by leaving."""
        groups = [group for number in numbers for group in _groups(self._here[number], self._together)]
        rows = np.array([group[0].node for group in groups], dtype=np.int64)
        then = _at(self._free, rows)
        for row, group in enumerate(groups):
            for one in group:
                for card in one.cards:
                    then.cards[row, card] += one.ask.share_milli
                _add(then.cpu_milli, row, one.ask.cpu_milli)
                _add(then.memory_mib, row, one.ask.memory_mib or 0)
        lost = self._judged(then)
        for number in numbers:
            self._benefits[number] = []
        for row, group in enumerate(groups):
            self._benefits[group[0].node].append((float(self._lost[rows[row]] - lost[row]), group))

    def _arrive(self, sorts: set[_Sort]) -> None:
        new = sorted(
            (sort for sort in sorts if sort not in self._sorts),
            key=lambda sort: (sort.ask.rank(), sort.pool, sort.islanded),
        )
        everywhere = np.arange(len(self._lost))
        for sort in new:
            self._sorts[sort] = _Arrival(
                np.full(len(self._lost), np.inf), np.zeros(len(self._lost), np.int64)
            )
        self._judge_arrivals([(sort, everywhere) for sort in new])

    def _judge_arrivals(self, asked: Iterable[tuple[_Sort, Ints]]) -> None:
        """By sort and node the cheapest choice of cards; what cannot take it costs infinity."""
        waiting: list[tuple[_Sort, Ints, Ints, Free]] = []
        count = 0
        for sort, numbers in asked:
            rows, choices, then = self._arrivals(sort, numbers)
            if len(rows):
                waiting.append((sort, rows, choices, then))
                count += len(rows)
            if count >= _ROWS:
                self._settle(waiting)
                waiting, count = [], 0
        self._settle(waiting)

    def _settle(self, waiting: Sequence[tuple[_Sort, Ints, Ints, Free]]) -> None:
        if not waiting:
            return
        lost = self._judged(_joined([then for *_, then in waiting]))
        begin = 0
        for sort, rows, choices, _ in waiting:
            cost = np.round(lost[begin : begin + len(rows)] - self._lost[rows], 6)
            begin += len(rows)
            order = np.lexsort((choices, cost))[::-1]  # the cheapest is written last
            arrival = self._sorts[sort]
            arrival.cost[rows[order]] = cost[order]
            arrival.choice[rows[order]] = choices[order]

    def _arrivals(self, sort: _Sort, numbers: Ints) -> tuple[Ints, Ints, Free]:
        """(nodes, choices, what is then free) for every choice of cards that is different. See ``_cards``."""
        ask, free = sort.ask, self._free
        can = self._pool[numbers] == self._pools[sort.pool]
        if ask.models:
            can &= np.array([model in ask.models for model in free.models], dtype=bool)[free.model[numbers]]
        can &= _has(free.cpu_milli[numbers], ask.cpu_milli) & _has(
            free.memory_mib[numbers], ask.memory_mib or 0
        )
        numbers = numbers[can]
        fits = free.cards[numbers] >= ask.share_milli
        if ask.cards == 0:
            rows, choices = numbers, np.zeros(len(numbers), np.int64)
            then = _at(free, rows)
        elif ask.cards == 1:
            place, choices = np.nonzero(fits)
            rows = numbers[place]
            then = _at(free, rows)
            then.cards[np.arange(len(rows)), choices] -= ask.share_milli
        else:
            found = [
                (number, choice, cards)
                for number in numbers[fits.sum(axis=1) >= ask.cards].tolist()
                for choice, cards in enumerate(self._sets(sort, number))
            ]
            rows = np.array([number for number, _, _ in found], dtype=np.int64)
            choices = np.array([choice for _, choice, _ in found], dtype=np.int64)
            then = _at(free, rows)
            for row, (_, _, cards) in enumerate(found):
                then.cards[row, list(cards)] -= ask.share_milli
        for amounts, taken in ((then.cpu_milli, ask.cpu_milli), (then.memory_mib, ask.memory_mib or 0)):
            amounts[amounts != UNKNOWN] -= taken
        return rows, choices, then

    def _sets(self, sort: _Sort, number: int) -> list[tuple[int, ...]]:
        """Several cards: those with least free that have enough; of each island that has them where they stay in one."""
        ask, free, node = sort.ask, self.board.cards[number], self.board.nodes[number]
        fits = sorted((milli, card) for card, milli in enumerate(free) if milli >= ask.share_milli)
        islands: dict[str, list[int]] = defaultdict(list)
        for _, card in fits:
            islands[node.island(card) if sort.islanded else "any"].append(card)
        return [
            tuple(sorted(cards[: ask.cards]))
            for island, cards in islands.items()
            if island and len(cards) >= ask.cards
        ]

    def _cards(self, sort: _Sort, number: int, choice: int) -> tuple[int, ...]:
        """The cards a choice stands for, while the node is as it was when it was judged."""
        if sort.ask.cards <= 1:
            return (choice,) * sort.ask.cards
        return self._sets(sort, number)[choice]

    # ------------------------------------------------------------------------------- a group as a whole
    def _sort_of(self, one: Placed) -> _Sort:
        node = self.board.nodes[one.node]
        islands = {node.island(card) for card in one.cards} if len(one.cards) > 1 else set()
        return _Sort(one.ask, (node.cluster, node.pool), len(islands) == 1 and islands != {""})

    def _cheapest(self, one: Placed) -> tuple[float, int]:
        """Cost and node where it would do least harm, the first of several; infinity: nowhere."""
        return self._sorts[self._sort_of(one)].least(one.node)

    def _try(self, group: Sequence[Placed]) -> Best | None:
        """Move one after another, the largest first, measure, and move back; None where one finds no place."""
        moved: Moved = []
        order = sorted(group, key=lambda w: (-w.ask.cards * w.ask.share_milli, -w.ask.cpu_milli, w.name))
        for one in order:
            place = self._place(one, {new.node for _, new in moved})
            if place is None or self.board.why_not(one, *place) is not None:
                break
            moved.append((one, self.board.move(one, *place)))
        touched = np.array(sorted({n for old, new in moved for n in (old.node, new.node)}), dtype=np.int64)
        then = as_arrays([self.board.node(number) for number in touched.tolist()])
        gain = (
            float(self._lost[touched].sum() - self._judged(then).sum()) if len(moved) == len(group) else None
        )
        for old, new in reversed(moved):
            self.board.undo(new, old)
        self._copy(touched.tolist())
        return None if gain is None else Best(moved, gain)

    def _place(self, one: Placed, filled: set[int]) -> tuple[int, tuple[int, ...]] | None:
        """Node and cards on the board as it is while a group moves. filled: nodes it has changed, judged anew here."""
        sort = self._sort_of(one)
        arrival = self._sorts[sort]
        if not filled:
            cost, number = arrival.least(one.node)
            return (
                None if cost == np.inf else (number, self._cards(sort, number, int(arrival.choice[number])))
            )
        rows = np.array(sorted(filled), dtype=np.int64)
        kept = arrival.cost[rows].copy(), arrival.choice[rows].copy(), self._lost[rows].copy()
        self._copy(filled)
        self._lost[rows] = self._judged(_at(self._free, rows))
        arrival.cost[rows] = np.inf
        self._judge_arrivals([(sort, rows)])
        cost, number = arrival.least(one.node)
        found = None if cost == np.inf else (number, self._cards(sort, number, int(arrival.choice[number])))
        arrival.cost[rows], arrival.choice[rows], self._lost[rows] = kept
        return found


@dataclass(slots=True)
class _Arrival:
    """Of one sort, by node. cost: thousandths of a card more lost, infinity: it does not fit. choice: of cards."""

    cost: Floats
    choice: Ints

    def least(self, but: int) -> tuple[float, int]:
        """The least cost and its node, the first of several, but for one node."""
        kept = self.cost[but]
        self.cost[but] = np.inf
        number = int(self.cost.argmin())
        cost = float(self.cost[number])
        self.cost[but] = kept
        return cost, number


def _groups(work: Sequence[Placed], together: int) -> Iterator[tuple[Placed, ...]]:
    """Single workloads, all of a card, all of a node; those of which one has to stay are left out."""
    free = [one for one in work if one.stays is None and one.ask.memory_mib is not None]
    yield from ((one,) for one in free)
    names = {one.name for one in free}
    by_card: dict[int, list[Placed]] = defaultdict(list)
    for one in work:
        for card in one.cards:
            by_card[card].append(one)
    met: set[tuple[str, ...]] = set()
    for group in (*by_card.values(), work):
        called = tuple(sorted(one.name for one in group))
        if 2 <= len(group) <= together and names.issuperset(called) and called not in met:
            met.add(called)
            yield tuple(group)


def _at(free: Free, rows: Ints | slice) -> Free:
    """These rows; a copy where they are numbers."""
    return Free(free.cards[rows], free.cpu_milli[rows], free.memory_mib[rows], free.model[rows], free.models)


def _joined(parts: Sequence[Free]) -> Free:
    return Free(
        np.concatenate([part.cards for part in parts]),
        np.concatenate([part.cpu_milli for part in parts]),
        np.concatenate([part.memory_mib for part in parts]),
        np.concatenate([part.model for part in parts]),
        parts[0].models,
    )


def _has(free: Ints, asked: int) -> NDArray[np.bool_]:
    """Known to be enough; asking for none needs no knowledge."""
    if not asked:
        return np.ones(len(free), dtype=bool)
    found: NDArray[np.bool_] = (free >= asked) & (free != UNKNOWN)
    return found


def _add(amounts: Ints, row: int, more: int) -> None:
    if amounts[row] != UNKNOWN:
        amounts[row] += more
