"""The events' journal, news first: which record the fault engine judges next.

A fleet that comes back after hours sends all it kept, and in the middle of it comes the fault to be acted on now. So
records are read ahead: a node that has news goes before the nodes that have only history. A node's own records stay in
their order, because what its rules remember depends on it; nodes do not depend on each other (detect/fault_evaluator.py).

The position is durable and stands before the oldest record that is not judged; what was judged beyond it is kept
too (table fault_ahead), so that after a crash nothing is judged twice. Not here: judging, and when it is committed
(fault_engine.py).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ullage_collector.batch import read_batch
from ullage_collector.journal import START, JournalReader, Position, Record
from ullage_contract.clock import Clock
from ullage_contract.errors import WireError
from ullage_contract.event import Event
from ullage_contract.sample import Origin

FRESH_SECONDS: Final = (
    120.0  # our choice: because an agent pushes events at once; older ones waited in a spool
)
READ_BYTES: Final = (
    256 * 1024
)  # our choice: because some hundred records are looked at in a tenth of a second, and news waits meanwhile
HELD_BYTES: Final = (
    64 * 1024 * 1024
)  # our choice: because a segment of the journal is six hours of events of some ten thousand nodes

Place = tuple[str, str]
"""Cluster and node."""
Lane = tuple[str, str, str]
"""Stream, cluster and node: a copied disk may give two nodes one stream."""


@dataclass(frozen=True, slots=True)
class Ahead:
    """How far a node's stream was judged beyond the position. end: behind its last record that was."""

    sequence: int
    end: Position


@dataclass(frozen=True, slots=True)
class _Waiting:
    record: Record
    begin: Position
    end: Position
    news: bool


class Intake:
    """Records that wait to be judged. One thread's alone.

    position: where to go on reading. ahead: what beyond it was judged before a restart.
    """

    def __init__(
        self, reader: JournalReader, clock: Clock, position: Position, ahead: Mapping[Lane, Ahead]
    ) -> None:
        self._reader = reader
        self._clock = clock
        self._end = position
        self._by_node: dict[Place, deque[_Waiting]] = {}
        self._begins: dict[Position, _Waiting] = {}  # in the journal's order
        self._news: dict[Place, int] = {}  # nodes that have some, in the order it came
        self._held = 0
        self._judged = self._judged_before(position)
        for lane, known in ahead.items():
            self._judged[lane] = max(known.sequence, self._judged.get(lane, 0))
        self._ahead = dict(ahead)
        self._kept = set(ahead)
        self._changed: set[Lane] = set()

    def _judged_before(self, position: Position) -> dict[Lane, int]:
        """What the journal still holds of what was judged: a record whose fsync failed may stand in it again later."""
        judged: dict[Lane, int] = {}
        at = START
        while at < position and (found := self._reader.read(at, READ_BYTES)):
            for record, end in found:
                if end > position:
                    return judged
                lane = (record.stream, record.cluster, record.node)
                judged[lane] = max(record.sequence, judged.get(lane, 0))
                at = end
        return judged

    @property
    def position(self) -> Position:
        """Before the oldest record that waits."""
        return next(iter(self._begins), self._end)

    @property
    def has_news(self) -> bool:
        """Whether a node has a fresh event that waits."""
        return bool(self._news)

    def read(self) -> int:
        """Look at what is new in the journal; how many records wait now."""
        if self._held < HELD_BYTES:
            for record, end in self._reader.read(self._end, READ_BYTES):
                self._take_in(_Waiting(record, self._end, end, self._is_news(record)))
                self._end = end
        return len(self._begins)

    @property
    def end(self) -> Position:
        """Where reading goes on: what is behind it is new."""
        return self._end

    def take(self, *, oldest: bool = False) -> Record | None:
        """The next record: of a node with news, else, or where ``oldest`` is asked for, the one that waits longest.

        It counts as judged from now on. None: nothing waits. A record that stands twice in the journal is given once.
        """
        while self._begins:
            place = next(iter(self._news), None)
            if place is None or oldest:
                record = next(iter(self._begins.values())).record
                place = (record.cluster, record.node)
            waiting = self._take_out(place)
            lane, sequence = (waiting.record.stream, *place), waiting.record.sequence
            if sequence <= self._judged.get(lane, 0):
                continue
            self._judged[lane] = sequence
            self._ahead[lane] = Ahead(sequence, waiting.end)
            self._changed.add(lane)
            return waiting.record
        return None

    def committing(self) -> tuple[dict[Lane, Ahead], list[Lane]]:
        """What to keep beside the position, and what to keep no more; asked once a transaction."""
        position = self.position
        for lane in [lane for lane, known in self._ahead.items() if known.end <= position]:
            del self._ahead[lane]
        put = {lane: self._ahead[lane] for lane in self._changed if lane in self._ahead}
        drop = [lane for lane in self._kept if lane not in self._ahead]
        self._kept = self._kept.difference(drop) | set(put)
        self._changed.clear()
        return put, drop

    def is_fresh(self, record: Record, event: Event, origin: Origin) -> bool:
        """Whether an event has just happened. Late on its way, or left lying while this collector was away, or
        imported: all that is history."""
        received = record.received_at_us
        waited = round(self._clock.wall() * 1e6) - received
        late = max(received - happened_us(record, event), waited)
        return late <= FRESH_SECONDS * 1e6 and origin is not Origin.IMPORTED

    def _is_news(self, record: Record) -> bool:
        try:
            batch = read_batch(record.body)
        except WireError:
            return False  # whoever judges it says so
        return any(self.is_fresh(record, event, batch.origin) for event in batch.events)

    def _take_in(self, waiting: _Waiting) -> None:
        place = (waiting.record.cluster, waiting.record.node)
        self._by_node.setdefault(place, deque()).append(waiting)
        self._begins[waiting.begin] = waiting
        self._held += len(waiting.record.body)
        if waiting.news:
            self._news[place] = self._news.get(place, 0) + 1

    def _take_out(self, place: Place) -> _Waiting:
        queue = self._by_node[place]
        waiting = queue.popleft()
        if not queue:
            del self._by_node[place]
        del self._begins[waiting.begin]
        self._held -= len(waiting.record.body)
        if place in self._news:
            left = self._news.pop(place) - waiting.news
            if left:
                self._news[place] = left  # behind the others: a node that has much keeps nobody waiting
        return waiting


def happened_us(record: Record, event: Event) -> int:
    """When an event happened, by the collector's clock where the sender's is wrong: microseconds since the epoch."""
    return round((event.time + record.shift_seconds) * 1e6)
