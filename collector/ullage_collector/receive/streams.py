"""What was received of every stream: the last number, and what its newest bodies were.

Kept in memory, recovered at start from the store's ``stream`` rows and the journal. It makes answers right
(duplicate, conflict); that nothing is stored twice is also held by the store, which skips what a stream's
watermark covers. So a stream forgotten here costs nothing but the word ``duplicate``.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ullage_collector.journal import START, JournalReader

REMEMBERED: Final = 128  # our choice: because an agent that lost its acknowledgements re-sends fewer
STREAMS_PER_NODE: Final = 256  # our choice: because an agent has two, and one more each time its disk fails


@dataclass(frozen=True, slots=True)
class StreamRow:
    """What the store knows of a stream: through which number its rows are in the tables."""

    stream: str
    lane: str
    cluster: str
    node: str
    applied_through: int


class StreamState:
    """One stream. through: highest durable number; 0 before the first. in_flight: being journalled, or 0."""

    __slots__ = ("_digests", "cluster", "in_flight", "in_flight_digest", "lane", "node", "through", "waiting")

    def __init__(self, lane: str, cluster: str, node: str) -> None:
        self.lane = lane
        self.cluster = cluster
        self.node = node
        self.through = 0
        self.in_flight = 0
        self.in_flight_digest = 0
        self.waiting = 0
        self._digests: array[int] | None = None

    def remember(self, sequence: int, body_digest: int) -> None:
        """``sequence`` is durable with this body; numbers it jumped over have no body."""
        if sequence <= self.through - REMEMBERED:
            return
        digests = self.advance(sequence)
        digests[sequence % REMEMBERED] = body_digest

    def advance(self, sequence: int) -> array[int]:
        """Everything through ``sequence`` is done; what is jumped over has no body. Never goes back."""
        if self._digests is None:
            self._digests = array("Q", bytes(8 * REMEMBERED))
        for skipped in range(max(self.through + 1, sequence - REMEMBERED + 1), sequence + 1):
            self._digests[skipped % REMEMBERED] = 0
        self.through = max(self.through, sequence)
        return self._digests

    def digest_of(self, sequence: int) -> int:
        """The digest of a number received before; 0 when it is not remembered."""
        if self._digests is None or not self.through - REMEMBERED < sequence <= self.through:
            return 0
        return self._digests[sequence % REMEMBERED]


def digest(body: bytes) -> int:
    """64 bits that tell bodies apart; never 0."""
    return int.from_bytes(hashlib.blake2b(body, digest_size=8).digest(), "little") or 1


class Streams:
    """All streams, by id; bounded a node, the longest unused goes first."""

    def __init__(self) -> None:
        self._by_node: dict[tuple[str, str], OrderedDict[str, StreamState]] = {}
        self._by_id: dict[str, StreamState] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def find(self, stream: str) -> StreamState | None:
        """The stream's state; None when nothing of it is known."""
        return self._by_id.get(stream)

    def open(self, stream: str, lane: str, cluster: str, node: str) -> StreamState:
        """The stream's state, begun when it is new."""
        mine = self._by_node.setdefault((cluster, node), OrderedDict())
        state = self._by_id.get(stream)
        if state is None:
            state = self._by_id[stream] = mine[stream] = StreamState(lane, cluster, node)
            if len(mine) > STREAMS_PER_NODE:
                for old, candidate in mine.items():
                    if not candidate.in_flight and candidate is not state:
                        del mine[old], self._by_id[old]
                        break
        elif stream in mine:
            mine.move_to_end(stream)
        return state

    def recover(self, rows: Iterable[StreamRow], journals: Iterable[JournalReader]) -> int:
        """Take over what the store and the journals hold; how many journalled records were seen."""
        seen = 0
        for reader in journals:
            position = START
            while found := reader.read(position, 8 * 1024 * 1024):
                position = found[-1][1]
                for record, _ in found:
                    state = self.open(record.stream, record.lane, record.cluster, record.node)
                    state.remember(record.sequence, digest(record.body))
                    seen += 1
        for row in rows:
            self.open(row.stream, row.lane, row.cluster, row.node).advance(row.applied_through)
        return seen
