"""The one writer: journal in, rows out, each batch exactly once.

Rows of all families, the streams' watermarks and the journal's position move in one transaction: after a
kill at any instant the rows of a batch are there with its number, or neither is. A batch whose sequence its
stream's watermark already covers is skipped, so that a record that stands twice in the journal counts once.

A batch that cannot be stored is found by halving, goes to the quarantine, and the others go on. What is
wrong with the machine (full disk, too little memory) is no batch's fault: nothing is skipped, it is tried
again.

Not here: the journal (journal.py), what a body means (batch.py), judging events (fault_engine.py reads the
journal itself), rolling up (rollup.py).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import duckdb
import pyarrow as pa

from ullage_collector.batch import read_batch
from ullage_collector.journal import START, JournalReader, Position, Record, wait
from ullage_collector.serving import book as serving_book
from ullage_collector.sql import fill, statements
from ullage_collector.store import incoming
from ullage_collector.store.columns import Grain, fixed_columns, kind
from ullage_collector.store.days import utc_day
from ullage_collector.store.facts import FactBook
from ullage_collector.store.laying import Counts, Laying, Stream, Work
from ullage_collector.store.quarantine import Quarantine
from ullage_collector.store.rollup import through_us
from ullage_collector.store.store import Store, naive_utc, trouble
from ullage_contract.errors import BadInput, StoreError, WireError
from ullage_contract.wire import ColumnarBatch

if TYPE_CHECKING:
    from datetime import date

log = logging.getLogger(__name__)

SAMPLES: Final = "store-samples"
EVENTS: Final = "store-events"
GATHER_SECONDS: Final = 1.0  # measured: a commit has a fixed cost of about 17 ms of a core
READ_BYTES: Final = 1024 * 1024
"""About 450,000 values a transaction: half of it costs a sixth more a value, twice as much a tenth more (measured:
a commit's fixed cost on one side, memory that no cache holds on the other)."""
SEEN_SECONDS: Final = 60.0  # our choice: because "last seen" is shown in minutes; the rows know it exactly
_STREAM: Final = {
    "stream": pa.string(),
    "lane": pa.string(),
    "node_key": pa.int32(),
    "boot_id": pa.string(),
    "applied_through": pa.int64(),
    "gaps": pa.int64(),
    "newest_time": incoming.TIMESTAMP,
    "seen": incoming.TIMESTAMP,
}
_EVENT: Final = {
    "time": incoming.TIMESTAMP,
    "received_at": incoming.TIMESTAMP,
    "node_key": pa.int32(),
    "family": pa.string(),
    "subject": pa.string(),
    "kind": pa.string(),
    "severity": pa.string(),
    "code": pa.string(),
    "vendor": pa.string(),
    "source": pa.string(),
    "message": pa.string(),
    "attributes": pa.string(),
    "origin": pa.string(),
    "stream": pa.string(),
    "sequence": pa.int64(),
}
_DIRTY: Final = {"hour": incoming.TIMESTAMP, "node_key": pa.int32()}

# A batch is to blame for these; for everything else the machine is.
_POISON: Final = (
    BadInput,
    pa.ArrowException,
    duckdb.ConversionException,
    duckdb.ConstraintException,
    duckdb.InvalidInputException,
    duckdb.OutOfRangeException,
    duckdb.TypeMismatchException,
    OverflowError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
)


class Writer:
    """Reads both lanes' journals and writes the store. ``step`` and ``run`` belong to one thread.

    Between it and the receiver there are only the journal and the positions it keeps in the store.
    """

    def __init__(
        self,
        store: Store,
        samples: JournalReader,
        events: JournalReader,
        quarantine: Quarantine,
    ) -> None:
        self._store = store
        self._lanes = {EVENTS: events, SAMPLES: samples}
        self._quarantine = quarantine
        self._facts = FactBook()
        self.counts = Counts()
        self._laying = Laying(store)
        cursor = store.cursor()
        sql = statements("store")
        self._positions = {}
        for consumer in self._lanes:
            row = incoming.one(cursor, sql["position"], [consumer])
            self._positions[consumer] = Position(*row) if row else START
        self._streams = {
            stream: Stream(applied, gaps, newest)
            for stream, applied, gaps, newest in cursor.execute(sql["streams"]).fetchall()
        }
        cursor.close()
        self._seen_at = store.clock.monotonic()

    def position(self, consumer: str) -> Position:
        """How far SAMPLES or EVENTS is in the store: the journal may drop what lies before."""
        return self._positions[consumer]

    def applied_through(self, stream: str) -> int:
        """The highest sequence of a stream whose rows are in the store; 0: none."""
        mark = self._streams.get(stream)
        return mark.applied_through if mark else 0

    def run(self, stop: threading.Event, gather_seconds: float = GATHER_SECONDS) -> None:
        """Step until ``stop`` is set. Trouble of the machine is told and tried again, slower."""
        pause = 1.0
        while not stop.is_set():
            try:
                full = self.step()
                pause = 1.0
            except StoreError as e:
                log.error("writer: %s; again in %.0f s, nothing is lost meanwhile", e, pause)
                stop.wait(pause)
                pause = min(60.0, pause * 2)
                continue
            if not full and not stop.wait(gather_seconds):
                wait(self._lanes[SAMPLES], self._positions[SAMPLES], stop, gather_seconds)
        with self._store.write() as cursor:
            self._store.identities.flush_seen(cursor)

    def step(self, limit_bytes: int = READ_BYTES) -> bool:
        """Store what is in the journals now, up to about ``limit_bytes`` a lane; whether there is more.

        Raises StoreError (DiskFull) when the machine cannot; nothing has moved then.
        """
        full = False
        for consumer, reader in self._lanes.items():
            records = reader.read(self._positions[consumer], limit_bytes)
            if records:
                self._store_all(consumer, records)
                full = full or reader.more(self._positions[consumer])
        if self._store.clock.monotonic() - self._seen_at >= SEEN_SECONDS:
            self._seen_at = self._store.clock.monotonic()
            with self._store.write() as cursor:
                self._store.identities.flush_seen(cursor)
        return full

    def drain(self) -> None:
        """Store everything the journals hold. Raises StoreError as ``step`` does."""
        while self.step():
            pass

    # ------------------------------------------------------------------ one transaction
    def _store_all(self, consumer: str, records: Sequence[tuple[Record, Position]]) -> None:
        """Store the records; when one of them makes it fail, find it by halving."""
        try:
            try:
                self._apply(consumer, records)
            except duckdb.ConstraintException:
                # Somebody else made an identity meanwhile; the roll back has read it from the file.
                self._apply(consumer, records)
        except _POISON as e:
            if len(records) == 1:
                record = records[0][0]
                log.error(
                    "batch %s/%d of %s is quarantined: %s", record.stream, record.sequence, record.node, e
                )
                self._apply(consumer, records, refused=f"{type(e).__name__}: {e}"[:500])
                return
            middle = len(records) // 2
            self._store_all(consumer, records[:middle])
            self._store_all(consumer, records[middle:])
        except duckdb.OutOfMemoryException as e:
            if len(records) == 1:
                raise trouble(self._store.path, e) from e
            middle = len(records) // 2
            self._store_all(consumer, records[:middle])
            self._store_all(consumer, records[middle:])
        except duckdb.Error as e:
            raise trouble(self._store.path, e) from e

    def _apply(
        self, consumer: str, records: Sequence[tuple[Record, Position]], refused: str | None = None
    ) -> None:
        started = time.thread_time()
        work = Work()
        with self._store.write() as cursor:
            through = through_us(cursor)
            # One batch is read, laid and let go before the next: keeping them all read costs as much again.
            for record, _ in records:
                batch = self._decoded(record) if refused is None else refused
                self._take(cursor, work, record, batch, through)
            laid = time.thread_time()
            self._write(cursor, work)
            end = records[-1][1]
            now = naive_utc(self._store.clock.wall())
            cursor.execute(statements("store")["move_position"], [consumer, end.segment, end.offset, now])
        work.counts.read_seconds = laid - started
        work.counts.write_seconds = time.thread_time() - laid
        self._committed(consumer, end, work)

    def _committed(self, consumer: str, end: Position, work: Work) -> None:
        """What may only be known once it is durable."""
        self._positions[consumer] = end
        self._streams.update(work.marks)
        work.counts.values_repaired += work.gathering.repaired
        work.counts.commits += 1
        for name in Counts.__slots__:
            setattr(self.counts, name, getattr(self.counts, name) + getattr(work.counts, name))

    def _decoded(self, record: Record) -> ColumnarBatch | str | None:
        """The batch, or why there is none, or None when its stream has it already."""
        if record.sequence <= self.applied_through(record.stream):
            return None
        try:
            return read_batch(record.body)
        except WireError as e:
            log.error("batch %s/%d of %s is quarantined: %s", record.stream, record.sequence, record.node, e)
            return str(e)

    def _take(
        self,
        cursor: duckdb.DuckDBPyConnection,
        work: Work,
        record: Record,
        batch: ColumnarBatch | str | None,
        through: int,
    ) -> None:
        mark = work.marks.get(record.stream) or self._streams.get(record.stream)
        if batch is None or (mark is not None and record.sequence <= mark.applied_through):
            work.counts.duplicates += 1
            return
        machine, boot, origin = (
            (None, None, "real")
            if isinstance(batch, str)
            else (batch.machine_id, batch.boot_id, batch.origin.value)
        )
        identities = self._store.identities
        node = identities.node(
            cursor, record.cluster, record.node, record.received_at_us, origin, machine, boot
        )
        newest: int | None = None
        if isinstance(batch, str):
            work.quarantine.append((record, batch))
            work.counts.quarantined += 1
        else:
            self._laying.check_machine(work, record, batch, node)
            identities.see_node(
                node, record.received_at_us, machine, boot, record.skew_seconds, record.clock_wrong
            )
            newest = self._laying.lay(cursor, work, record, batch, node, through)
            work.counts.batches += 1
            work.counts.unknown_metrics += len(batch.unknown_metrics)
        before = mark.newest_us if mark else None
        gap = max(0, record.sequence - mark.applied_through - 1) if mark else 0
        work.counts.gaps += gap
        new = Stream(
            record.sequence,
            (mark.gaps if mark else 0) + gap,
            max((t for t in (before, newest) if t is not None), default=None),
        )
        work.marks[record.stream] = new
        work.streams[record.stream] = (
            record.stream,
            record.lane,
            node.key,
            boot,
            new.applied_through,
            new.gaps,
            new.newest_us,
            record.received_at_us,
        )

    def _write(self, cursor: duckdb.DuckDBPyConnection, work: Work) -> None:
        store, sql = self._store, statements("store")
        tables = work.gathering.tables()
        store.identities.flush(cursor)
        for family, day, rows in tables:
            of = kind(family, Grain.SAMPLE)
            fixed = {column.name for column in fixed_columns(of)}
            names = [name for name in rows.column_names if name not in fixed]
            table = store.days.ensure(cursor, of, day, names)
            columns = ", ".join(f'"{name}"' for name in rows.column_names)
            incoming.execute(cursor, fill(sql["put_rows"], table=table.name, columns=columns), rows)
        self._facts.apply(cursor, work.facts)
        incoming.execute(cursor, sql["put_events"], incoming.table(_EVENT, work.events))
        if work.served:
            readings, nodes = zip(*work.served, strict=True)
            now_us = round(store.clock.wall() * 1e6)
            serving_book.keep(cursor, readings, source=serving_book.OTLP, now_us=now_us, nodes=nodes)
        incoming.execute(cursor, sql["put_streams"], incoming.table(_STREAM, work.streams.values()))
        if work.dirty:
            incoming.execute(cursor, sql["put_dirty_hours"], incoming.table(_DIRTY, work.dirty))
            self._touch(cursor, {utc_day(hour) for hour, _ in work.dirty})
        for record, reason in work.quarantine:
            received = naive_utc(record.received_at_us / 1e6)
            file = self._quarantine.keep(record)
            cursor.execute(
                sql["put_quarantine"], [received, record.node, record.stream, record.sequence, reason, file]
            )

    def _touch(self, cursor: duckdb.DuckDBPyConnection, days: set[date]) -> None:
        now = naive_utc(self._store.clock.wall())
        for day in sorted(days):
            cursor.execute(statements("store")["touch_day"], [day, now])
