"""A small fleet that pushes into a real journal and a real store: what the store's tests stand on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ullage_collector.config import Store as StoreSettings
from ullage_collector.journal import Journal, JournalReader, Record
from ullage_collector.store.quarantine import Quarantine
from ullage_collector.store.rollup import Rollup
from ullage_collector.store.store import Store
from ullage_collector.store.writer import Writer
from ullage_contract.clock import ManualClock
from ullage_contract.event import Event
from ullage_contract.sample import Facts, Family, Origin, Sample, Value
from ullage_contract.wire import Batch, encode

NOON = 1_792_584_000.0
"""2026-10-21T12:00:00Z."""

STREAM = "a" * 32


def card_sample(
    card: str,
    time: float,
    values: Mapping[str, Value] | None = None,
    *,
    interval: float = 10.0,
    epoch: str | None = "boot-1",
    failed: Mapping[str, str] | None = None,
) -> Sample:
    return Sample(
        Family.CARD, card, time, max(0.0, time - NOON + 1000), interval, values or {}, failed or {}, epoch
    )


class Fleet:
    """Journal, store and writer in one folder; ``push`` journals a batch as the receiver would."""

    def __init__(self, folder: Path, clock: ManualClock | None = None) -> None:
        self.folder = folder
        self.clock = clock or ManualClock(wall=NOON)
        self.journals = {
            lane: Journal(folder / "journal" / lane, segment_bytes=256 * 1024)
            for lane in ("samples", "events")
        }
        self.store: Store
        self.writer: Writer
        self.rollup: Rollup
        self._sequence: dict[str, int] = {}
        self.open()

    def open(self) -> None:
        self.store = Store.open(self.folder / "store.duckdb", StoreSettings(threads=1), self.clock)
        readers = {lane: JournalReader(self.folder / "journal" / lane) for lane in self.journals}
        self.quarantine = Quarantine(self.folder / "quarantine", 1024 * 1024)
        self.writer = Writer(self.store, readers["samples"], readers["events"], self.quarantine)
        self.rollup = Rollup(self.store)

    def close(self) -> None:
        self.store.close()
        for journal in self.journals.values():
            journal.close()

    def reopen(self) -> None:
        self.store.close()
        self.open()

    def batch(
        self,
        samples: Sequence[Sample] = (),
        *,
        node: str = "n1",
        lane: str = "samples",
        stream: str = STREAM,
        sequence: int | None = None,
        facts: Sequence[Facts] = (),
        events: Sequence[Event] = (),
        **more: Any,
    ) -> Batch:
        if sequence is None:
            sequence = self._sequence.get(stream, 0) + 1
        self._sequence[stream] = max(sequence, self._sequence.get(stream, 0))
        plain: dict[str, Any] = {
            "agent": "0.1.0",
            "cluster": "c1",
            "machine_id": f"machine-{node}",
            "boot_id": "boot-1",
            "origin": Origin.REAL,
        }
        return Batch(
            stream=stream,
            sequence=sequence,
            lane=lane,
            node=node,
            samples=samples,
            facts=facts,
            events=events,
            **{**plain, **more},
        )

    def push(
        self,
        samples: Sequence[Sample] = (),
        *,
        skew: float | None = 0.0,
        at: float | None = None,
        **more: Any,
    ) -> Batch:
        """Journal a batch as if it came at ``at``: by default now, or when its newest row was read."""
        batch = self.batch(samples, **more)
        if at is None and not skew:
            at = max(self.clock.wall(), *(sample.time for sample in samples), 0.0)
        self.journal(batch, encode(batch), skew=skew, at=at)
        return batch

    def journal(
        self, batch: Batch, body: bytes, *, skew: float | None = 0.0, at: float | None = None
    ) -> None:
        received = self.clock.wall() if at is None else at
        self.journals[batch.lane].append(
            [
                Record(
                    stream=batch.stream,
                    sequence=batch.sequence,
                    lane=batch.lane,
                    cluster=batch.cluster,
                    node=batch.node,
                    identity=batch.node,
                    received_at_us=round(received * 1e6),
                    skew_seconds=skew,
                    body=body,
                )
            ]
        )

    def rows(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        cursor = self.store.cursor()
        try:
            return cursor.execute(sql, list(parameters)).fetchall()
        finally:
            cursor.close()

    def one(self, sql: str, *parameters: Any) -> Any:
        (row,) = self.rows(sql, *parameters)
        return row[0]
