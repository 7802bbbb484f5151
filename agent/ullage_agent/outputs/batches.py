"""Rows into bodies into the spool: split where they are too many or too big, one origin a batch.

What cannot be encoded (a bug of a backend) costs that one row: the batch is halved until the culprit is
alone, it is counted and told, and the others go on. Not here: when to write (push_sink.py).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ullage_agent.outputs.spool import Spool
from ullage_contract import __version__
from ullage_contract.errors import BadInput, WireError
from ullage_contract.event import Event
from ullage_contract.sample import Facts, Origin, Sample
from ullage_contract.wire import MAX_BODY_BYTES, Batch, encode

log = logging.getLogger(__name__)

MAX_ROWS_A_BATCH: Final = 5_000  # our choice: a tenth of wire.MAX_ROWS, so that one batch stays some 100 kB

Row = Facts | Sample | Event

_BAD_ROW: Final = (BadInput, TypeError, ValueError, OverflowError, AttributeError)
"""What encode raises for a row that breaks the contract, type errors of a foreign backend included."""


@dataclass(frozen=True, slots=True)
class Sender:
    """What stands at the head of every batch of this agent; the fields are wire.Batch's."""

    cluster: str
    node: str
    machine_id: str | None = None
    boot_id: str | None = None
    agent: str = __version__

    def batch(self, stream: str, sequence: int, lane: str, origin: Origin, rows: Sequence[Row]) -> Batch:
        return Batch(
            stream=stream,
            sequence=sequence,
            lane=lane,
            agent=self.agent,
            cluster=self.cluster,
            node=self.node,
            machine_id=self.machine_id,
            boot_id=self.boot_id,
            origin=origin,
            samples=[r for r in rows if isinstance(r, Sample)],
            facts=[r for r in rows if isinstance(r, Facts)],
            events=[r for r in rows if isinstance(r, Event)],
        )


class BatchWriter:
    """Spools rows of one lane. refused: rows that could not be encoded, since start."""

    def __init__(
        self,
        spool: Spool,
        sender: Sender,
        *,
        max_rows: int = MAX_ROWS_A_BATCH,
        max_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        self._spool = spool
        self._sender = sender
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._told: set[str] = set()
        self.refused = 0

    def write(self, rows: Sequence[Row], origin: Origin) -> int:
        """Spool ``rows``, in their order, in as few batches as the limits allow. How many batches it took."""
        count = 0
        for start in range(0, len(rows), self._max_rows):
            count += self._write(rows[start : start + self._max_rows], origin)
        return count

    def _write(self, rows: Sequence[Row], origin: Origin) -> int:
        def body(stream: str, sequence: int) -> bytes:
            made = encode(self._sender.batch(stream, sequence, self._spool.lane, origin, rows))
            if len(made) > self._max_bytes:
                raise WireError(f"the body has {len(made)} bytes", code="too_large")
            return made

        try:
            self._spool.append(body)
        except _BAD_ROW as e:
            if len(rows) > 1:
                middle = len(rows) // 2
                return self._write(rows[:middle], origin) + self._write(rows[middle:], origin)
            self._refuse(rows[0], e)
            return 0
        return 1

    def _refuse(self, row: Row, error: Exception) -> None:
        self.refused += 1
        kind = f"{type(row).__name__} {row.family}: {error}"[:300]
        if kind not in self._told and len(self._told) < 100:
            self._told.add(kind)
            log.error("%s of %s cannot be sent: %s", type(row).__name__.lower(), row.subject[:100], error)
