"""The one writer: journal in, rows out, each batch exactly once.

Rows of all families, the streams' watermarks and the journal's position move in one transaction: after a
kill at any instant the rows of a batch are there with its number, or neither is. A batch whose sequence its
stream's watermark already covers is skipped, so that a record that stands twice in the journal counts once.

A batch that cannot be stored is found by halving, goes to the quarantine, and the others go on. What is
wrong with the machine (full disk, too little memory) is no batch's fault: nothing is skipped, it is tried
again.

Not here: the journal (journal.py), what a body means (batch.py), judging events (incidents.py reads the
journal itself), rolling up (rollup.py).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import duckdb
import msgspec
import pyarrow as pa

from ullage_collector.batch import read_batch
from ullage_collector.journal import START, JournalReader, Position, Record, wait
from ullage_collector.sql import fill, statements
from ullage_collector.store import incoming
from ullage_collector.store.columns import Grain, fixed_columns, kind
from ullage_collector.store.days import DAY_US, HOUR_US, utc_day
from ullage_collector.store.facts import FactBook, ReceivedFacts
from ullage_collector.store.identities import Node
from ullage_collector.store.latest import Frame, Latest
from ullage_collector.store.quarantine import Quarantine
from ullage_collector.store.rollup import LOOKBACK_US, through_us
from ullage_collector.store.rows import Gathered, Gathering
from ullage_collector.store.store import Store, naive_utc, trouble
from ullage_contract.errors import BadInput, StoreError, WireError
from ullage_contract.sample import Family
from ullage_contract.wire import ColumnarBatch, FamilyColumns

if TYPE_CHECKING:
    from datetime import date

log = logging.getLogger(__name__)

SAMPLES: Final = "store-samples"
EVENTS: Final = "store-events"
GATHER_SECONDS: Final = 1.0  # measured: one commit a second costs a third of one every quarter second
READ_BYTES: Final = 1024 * 1024
"""About 450,000 values a transaction: half of it costs a sixth more a value, twice as much a tenth more (measured:
a commit's fixed cost on one side, memory that no cache holds on the other)."""
SEEN_SECONDS: Final = (
    60.0  # our choice: because "last seen" is shown in minutes and latest.py knows it exactly
)
ACCEPT_PAST_DAYS: Final = 90
"""our choice: because a spool holds a day by default and a long outage a month; older history is imported."""
ACCEPT_FUTURE_SECONDS: Final = 600.0
"""our choice: because clocks wrong by more than five minutes are shifted; what is still ahead is nonsense."""
LIVE_SECONDS: Final = 300.0  # our choice: because what is older than five minutes is no state of now

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


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream's watermark. newest_us: time of its newest row; None: none yet."""

    applied_through: int
    gaps: int
    newest_us: int | None


@dataclass(slots=True)
class Counts:
    """What the writer did since it started; for the collector's own metrics.

    read_seconds: processor time of its thread from the journal to columns; write_seconds: from there to the commit.
    """

    batches: int = 0
    duplicates: int = 0
    quarantined: int = 0
    rows: int = 0
    values: int = 0
    rows_refused: int = 0
    values_repaired: int = 0
    events: int = 0
    unknown_metrics: int = 0
    commits: int = 0
    gaps: int = 0
    read_seconds: float = 0.0
    write_seconds: float = 0.0


@dataclass(slots=True)
class _Work:
    """What one transaction adds, gathered before it touches the file."""

    gathering: Gathering = field(default_factory=Gathering)
    streams: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    marks: dict[str, Stream] = field(default_factory=dict)
    events: list[tuple[Any, ...]] = field(default_factory=list)
    facts: list[ReceivedFacts] = field(default_factory=list)
    dirty: set[tuple[int, int]] = field(default_factory=set)
    latest: list[tuple[Family, int, str, Frame]] = field(default_factory=list)
    quarantine: list[tuple[Record, str]] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)


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
        latest: Latest | None = None,
    ) -> None:
        self._store = store
        self._lanes = {EVENTS: events, SAMPLES: samples}
        self._quarantine = quarantine
        self._facts = FactBook()
        self.latest = latest or Latest()
        self.counts = Counts()
        self._conflicts: set[tuple[int, str, str]] = set()
        self._told: set[str] = set()
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
        work = _Work()
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

    def _committed(self, consumer: str, end: Position, work: _Work) -> None:
        """What may only be known once it is durable."""
        self._positions[consumer] = end
        self._streams.update(work.marks)
        work.counts.values_repaired += work.gathering.repaired
        work.counts.commits += 1
        for name in Counts.__slots__:
            setattr(self.counts, name, getattr(self.counts, name) + getattr(work.counts, name))
        for family, node_key, origin, frame in work.latest:
            self.latest.put(family, node_key, origin, frame)

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
        work: _Work,
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
            self._check_machine(work, record, batch, node)
            identities.see_node(
                node, record.received_at_us, machine, boot, record.skew_seconds, record.clock_wrong
            )
            newest = self._take_batch(cursor, work, record, batch, node, through)
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

    def _take_batch(
        self,
        cursor: duckdb.DuckDBPyConnection,
        work: _Work,
        record: Record,
        batch: ColumnarBatch,
        node: Node,
        through: int,
    ) -> int | None:
        """Lay one batch's rows, facts and events; the time of the newest row."""
        newest: int | None = None
        for family, rows in batch.families.items():
            if rows.subject:
                last = self._take_family(cursor, work, record, batch, node, family, rows, through)
                newest = max(newest or 0, last) if last is not None else newest
        shift_us = round(record.shift_seconds * 1e6)
        for facts in batch.facts:
            at = round(facts.time * 1e6) + shift_us
            key = (
                None
                if facts.family is Family.PROCESS
                else self._subject(cursor, facts.family, facts.subject, node, at, batch.origin.value)
            )
            work.facts.append(ReceivedFacts(facts, key, at, record.received_at_us))
        for event in batch.events:
            at = round(event.time * 1e6) + shift_us
            newest = max(newest or 0, at)
            work.events.append(
                (
                    at,
                    record.received_at_us,
                    node.key,
                    event.family.value,
                    event.subject,
                    event.kind,
                    event.severity.value,
                    event.code,
                    event.vendor,
                    event.source,
                    event.message,
                    msgspec.json.encode(dict(event.attributes)).decode() if event.attributes else None,
                    batch.origin.value,
                    record.stream,
                    record.sequence,
                )
            )
        work.counts.events += len(batch.events)
        return newest

    def _take_family(
        self,
        cursor: duckdb.DuckDBPyConnection,
        work: _Work,
        record: Record,
        batch: ColumnarBatch,
        node: Node,
        family: Family,
        rows: FamilyColumns,
        through: int,
    ) -> int | None:
        shift = record.shift_seconds
        times = [round((t + shift) * 1e6) for t in rows.time]
        oldest, newest = min(times), max(times)
        received = record.received_at_us
        oldest_accepted = received - ACCEPT_PAST_DAYS * DAY_US
        newest_accepted = received + round(ACCEPT_FUTURE_SECONDS * 1e6)
        if oldest < oldest_accepted or newest > newest_accepted:
            kept = [i for i, t in enumerate(times) if oldest_accepted <= t <= newest_accepted]
            work.counts.rows_refused += len(times) - len(kept)
            if record.node not in self._told:
                self._told.add(record.node)
                log.warning(
                    "node %s: %d rows of %s are too old or in the future and are not stored; told once, counted on",
                    record.node,
                    len(times) - len(kept),
                    family.value,
                )
            if not kept:
                return None
            rows = _only(rows, kept)
            times = [times[i] for i in kept]
            oldest, newest = min(times), max(times)
        count = len(times)
        identities = self._store.identities
        origin = batch.origin.value
        group = work.gathering.group(family, tuple(rows.columns))
        self._lay_subjects(cursor, group, family, rows.subject, node, newest, origin)
        group.time_us += times
        if family is not Family.NODE:
            group.node_key += [node.key] * count
        group.received_us += [received] * count
        group.interval_seconds += rows.interval_seconds
        group.monotonic += rows.monotonic
        group.boot_key += [identities.boot(cursor, batch.boot_id, origin)] * count
        group.epoch_key += self._epochs(cursor, rows.counters_epoch)
        group.clock_shift_seconds += [shift or None] * count
        failed: list[str | None] = [None] * count
        for row, key, reason in rows.failed if len(rows.failed) else ():
            failed[row] = f"{failed[row]} {key}={reason}" if failed[row] else f"{key}={reason}"
        group.failed += failed
        for column, values in zip(group.metrics, rows.columns.values(), strict=True):
            column += values
        work.counts.rows += count
        work.counts.values += count * len(rows.columns)
        if oldest < through:
            for t in times:
                for late in (t, t + LOOKBACK_US):  # a counter's next reading may stand in the next hour
                    if t < through and late < through:
                        work.dirty.add((late - late % HOUR_US, node.key))
        if newest > received - LIVE_SECONDS * 1e6:
            frame = Frame(rows.subject, times, rows.interval_seconds, rows.columns, newest)
            work.latest.append((family, node.key, origin, frame))
        return newest

    def _epochs(self, cursor: duckdb.DuckDBPyConnection, texts: Sequence[str | None]) -> list[int | None]:
        identities = self._store.identities
        first = texts[0]
        if texts.count(first) == len(texts):  # nearly always one life a push
            return [None if first is None else identities.epoch(cursor, first)] * len(texts)
        return [None if text is None else identities.epoch(cursor, text) for text in texts]

    def _lay_subjects(
        self,
        cursor: duckdb.DuckDBPyConnection,
        group: Gathered,
        family: Family,
        subjects: Sequence[str],
        node: Node,
        newest: int,
        origin: str,
    ) -> None:
        identities = self._store.identities
        if family is Family.NODE:
            if any(subject != node.node_id for subject in subjects):
                raise BadInput(f"node {node.node_id} sends rows of another node; a node speaks for itself")
            group.subjects[0] += [node.key] * len(subjects)
            return
        if family is Family.PROCESS:
            for subject in subjects:
                card, _, pid = subject.rpartition("#")
                if not card or not pid.isascii() or not pid.isdigit() or len(pid) > 9:
                    raise BadInput(f"process {subject[:60]!r} is not card_id#pid")
                group.subjects[0].append(identities.card(cursor, card, node.key, newest, origin))
                group.subjects[1].append(int(pid))
            return
        group.subjects[0] += identities.row_keys(cursor, family, subjects, node.key, newest, origin)

    def _subject(
        self,
        cursor: duckdb.DuckDBPyConnection,
        family: Family,
        subject: str,
        node: Node,
        at_us: int,
        origin: str,
    ) -> int:
        if family is Family.NODE:
            if subject != node.node_id:
                raise BadInput(
                    f"node {node.node_id} sends facts of {subject[:60]!r}; a node speaks for itself"
                )
            return node.key
        return self._store.identities.subject_maker(family)(cursor, subject, node.key, at_us, origin)

    def _check_machine(self, work: _Work, record: Record, batch: ColumnarBatch, node: Node) -> None:
        """Two machine-ids under one node_id are an event, once for each pair."""
        new, old = batch.machine_id, node.machine_id
        if not new or not old or new == old or (node.key, *sorted((new, old))) in self._conflicts:
            return
        first, second = sorted((new, old))
        self._conflicts.add((node.key, first, second))
        work.events.append(
            (
                record.received_at_us,
                record.received_at_us,
                node.key,
                Family.NODE.value,
                node.node_id,
                "identity_conflict",
                "warning",
                None,
                None,
                "collector",
                f"node {node.node_id} was machine {old} and is now {new}: replaced, or two nodes with one name",
                None,
                batch.origin.value,
                None,
                None,
            )
        )

    def _write(self, cursor: duckdb.DuckDBPyConnection, work: _Work) -> None:
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


def _only(rows: FamilyColumns, kept: Sequence[int]) -> FamilyColumns:
    """The rows with these numbers."""
    place = {old: new for new, old in enumerate(kept)}
    return FamilyColumns(
        subject=[rows.subject[i] for i in kept],
        time=[rows.time[i] for i in kept],
        monotonic=[rows.monotonic[i] for i in kept],
        interval_seconds=[rows.interval_seconds[i] for i in kept],
        counters_epoch=[rows.counters_epoch[i] for i in kept],
        columns={key: [values[i] for i in kept] for key, values in rows.columns.items()},
        failed=[(place[row], key, reason) for row, key, reason in rows.failed if row in place],
    )
