"""Borrowed, lent and waiting over time: step functions of one tree over one kind of cards, and their integrals.

Between two instants at which anything changes all figures are constant; sums over time are integers of nano-shares
times microseconds, so they add up whatever way they are cut. Pure: spans and pieces in, steps out.
Not here: which tree stands when (known.py), what one instant gives (division.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from ullage_collector.quota.division import Division, Shape, divide
from ullage_collector.quota.tree import Node

HOUR_US = 3_600_000_000


@dataclass(frozen=True, slots=True)
class Span:
    """The tree as it stands over [from_us, to_us). nodes: in the shape's order. sprint: the one that rules, or None."""

    from_us: int
    to_us: int
    nodes: tuple[Node, ...]
    shape: Shape
    sprint: int | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """Cards held, or waited for, over [from_us, to_us), or cards there are. nano: 1e9 a card.

    node: name of the quota it binds to; None: to none. What names a node the tree has not at that time binds to none.
    """

    from_us: int
    to_us: int
    nano: int
    node: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """Constant figures over [from_us, to_us). waiting: nano-shares by node, descendants' included."""

    from_us: int
    to_us: int
    span: Span
    division: Division
    waiting: tuple[int, ...]
    waiting_outside: int
    capacity: int


def steps(
    spans: Sequence[Span], capacity: Iterable[Piece], held: Iterable[Piece], waiting: Iterable[Piece] = ()
) -> Iterator[Step]:
    """The step functions over the spans, which follow each other in time and do not overlap.

    capacity, held, waiting: pieces in any order; what lies outside the spans is not looked at.
    """
    cards = _Sweep(capacity)
    holding = _Sweep(held)
    asking = _Sweep(waiting)
    for span in spans:
        numbers = {node.name: i for i, node in enumerate(span.nodes)}
        edges = {span.from_us, span.to_us}
        for sweep in (cards, holding, asking):
            edges.update(sweep.edges(span.from_us, span.to_us))
        cuts = sorted(edges)
        for start, end in pairwise(cuts):
            there = sum(cards.at(start).values())
            own, outside = _by_node(holding.at(start), numbers)
            wanted, wanted_outside = _by_node(asking.at(start), numbers)
            for number in range(len(wanted) - 1, -1, -1):
                parent = span.shape.parents[number]
                if parent >= 0:
                    wanted[parent] += wanted[number]
            yield Step(
                start,
                end,
                span,
                divide(span.shape, own, outside, there),
                tuple(wanted),
                wanted_outside,
                there,
            )


class _Sweep:
    """Pieces in time order; ``at`` moves forward only."""

    def __init__(self, pieces: Iterable[Piece]) -> None:
        changes: dict[int, dict[str | None, int]] = {}
        for piece in pieces:
            if piece.from_us >= piece.to_us:
                continue
            for instant, sign in ((piece.from_us, 1), (piece.to_us, -1)):
                by_node = changes.setdefault(instant, {})
                by_node[piece.node] = by_node.get(piece.node, 0) + sign * piece.nano
        self._instants = sorted(changes)
        self._changes = changes
        self._next = 0
        self._now: dict[str | None, int] = {}

    def edges(self, from_us: int, to_us: int) -> list[int]:
        return [instant for instant in self._instants if from_us < instant < to_us]

    def at(self, instant_us: int) -> Mapping[str | None, int]:
        while self._next < len(self._instants) and self._instants[self._next] <= instant_us:
            for node, nano in self._changes[self._instants[self._next]].items():
                self._now[node] = self._now.get(node, 0) + nano
                if not self._now[node]:
                    del self._now[node]
            self._next += 1
        return self._now


def _by_node(pieces: Mapping[str | None, int], numbers: Mapping[str, int]) -> tuple[list[int], int]:
    own = [0] * len(numbers)
    outside = 0
    for name, nano in pieces.items():
        number = None if name is None else numbers.get(name)
        if number is None:
            outside += nano
        else:
            own[number] += nano
    return own, outside


@dataclass(slots=True)
class Sum:
    """One node over a stretch: integrals of nano-shares over microseconds.

    stood_us: how long it was in its tree; min_us, max_us: for how long it stated one. sprint: any of it was one.
    """

    node: Node
    stood_us: int = 0
    min: int = 0
    min_us: int = 0
    max: int = 0
    max_us: int = 0
    used: int = 0
    guaranteed_used: int = 0
    borrowed: int = 0
    lent: int = 0
    shared_used: int = 0
    waiting: int = 0
    headroom: int = 0
    sprint: bool = False


@dataclass(slots=True)
class Total:
    """The cards over a stretch: integrals as in Sum. outside: use no quota binds."""

    capacity: int = 0
    used: int = 0
    outside: int = 0
    unguaranteed: int = 0
    over: int = 0
    waiting: int = 0
    waiting_outside: int = 0
    stood_us: int = 0
    sprint: bool = False
    nodes: dict[str, Sum] = field(default_factory=dict)


def total(found: Iterable[Step]) -> Total:
    """The integrals of steps."""
    summed = Total()
    for step in found:
        _add(summed, step)
    return summed


def by_hour(found: Iterable[Step]) -> dict[int, Total]:
    """The integrals of steps by UTC hour (microseconds since the epoch); hours without a step are not there."""
    hours: dict[int, Total] = {}
    for step in found:
        start = step.from_us
        while start < step.to_us:
            hour = start - start % HOUR_US
            end = min(step.to_us, hour + HOUR_US)
            _add(hours.setdefault(hour, Total()), step, end - start)
            start = end
    return hours


def _add(summed: Total, step: Step, lasting_us: int | None = None) -> None:
    us = step.to_us - step.from_us if lasting_us is None else lasting_us
    division, shape = step.division, step.span.shape
    summed.stood_us += us
    summed.capacity += step.capacity * us
    summed.outside += division.outside * us
    summed.unguaranteed += division.unguaranteed * us
    summed.over += division.over * us
    summed.waiting_outside += step.waiting_outside * us
    summed.sprint |= step.span.sprint is not None
    summed.used += division.outside * us
    summed.waiting += step.waiting_outside * us
    for number, node in enumerate(step.span.nodes):
        entry = summed.nodes.get(node.name)
        if entry is None:
            entry = summed.nodes[node.name] = Sum(node)
        used, low, high = division.used[number], shape.mins[number], shape.maxes[number]
        if shape.parents[number] < 0:
            summed.used += used * us
            summed.waiting += step.waiting[number] * us
        entry.node = node
        entry.stood_us += us
        if shape.stated[number]:
            entry.min += low * us
            entry.min_us += us
        if high is not None:
            entry.max += high * us
            entry.max_us += us
        entry.used += used * us
        entry.guaranteed_used += min(used, low) * us
        entry.borrowed += division.borrowed[number] * us
        entry.lent += division.lent[number] * us
        entry.shared_used += division.shared_used[number] * us
        entry.waiting += step.waiting[number] * us
        entry.headroom += division.headroom[number] * us
        entry.sprint |= step.span.sprint is not None
