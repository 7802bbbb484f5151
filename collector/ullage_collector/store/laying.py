"""One batch laid out: its rows into columns, its facts and events into rows, before anything touches the file.

What is wrong with single rows is settled here: times nobody can believe are refused, a wrong clock is shifted,
late rows name the hours to roll up again. What is wrong with a whole batch raises BadInput.
Not here: transactions and the quarantine (writer.py).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ullage_collector.journal import Record
from ullage_collector.store.days import DAY_US, HOUR_US
from ullage_collector.store.facts import ReceivedFacts
from ullage_collector.store.identities import Node
from ullage_collector.store.rollup import LOOKBACK_US
from ullage_collector.store.rows import Gathered, Gathering
from ullage_contract.errors import BadInput
from ullage_contract.sample import Family
from ullage_contract.served import Served
from ullage_contract.wire import ColumnarBatch, FamilyColumns

if TYPE_CHECKING:
    import duckdb

    from ullage_collector.store.store import Store

log = logging.getLogger(__name__)

ACCEPT_PAST_DAYS: Final = 90
"""our choice: because a spool holds a day by default and a long outage a month; older history is imported."""
ACCEPT_FUTURE_SECONDS: Final = 600.0
"""our choice: because clocks wrong by more than five minutes are shifted; what is still ahead is nonsense."""


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
class Work:
    """What one transaction adds, gathered before it touches the file."""

    gathering: Gathering = field(default_factory=Gathering)
    streams: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    marks: dict[str, Stream] = field(default_factory=dict)
    events: list[tuple[Any, ...]] = field(default_factory=list)
    served: list[tuple[Served, int]] = field(default_factory=list)
    facts: list[ReceivedFacts] = field(default_factory=list)
    dirty: set[tuple[int, int]] = field(default_factory=set)
    quarantine: list[tuple[Record, str]] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)


class Laying:
    """Lays batches into a Work. Its methods are called inside ``Store.write``, by the writer's thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._conflicts: set[tuple[int, str, str]] = set()
        self._told: set[str] = set()

    def lay(
        self,
        cursor: duckdb.DuckDBPyConnection,
        work: Work,
        record: Record,
        batch: ColumnarBatch,
        node: Node,
        through: int,
    ) -> int | None:
        """Lay one batch's rows, facts, events and requests served; the time of the newest row."""
        newest: int | None = None
        for family, rows in batch.families.items():
            if rows.subject:
                last = self._lay_family(cursor, work, record, batch, node, family, rows, through)
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
        last = self._lay_served(work, record, batch.served, node)
        return last if newest is None else newest if last is None else max(newest, last)

    def _lay_served(self, work: Work, record: Record, rows: Sequence[Served], node: Node) -> int | None:
        """Readings of serving processes, each with the node that speaks for it; the time of the newest."""
        oldest = record.received_at_us / 1e6 - ACCEPT_PAST_DAYS * DAY_US / 1e6
        newest = record.received_at_us / 1e6 + ACCEPT_FUTURE_SECONDS
        kept = [replace(row, time=row.time + record.shift_seconds) for row in rows]
        kept = [row for row in kept if oldest <= row.time <= newest]
        work.counts.rows_refused += len(rows) - len(kept)
        work.counts.rows += len(kept)
        work.served += [(row, node.key) for row in kept]
        return round(max(row.time for row in kept) * 1e6) if kept else None

    def _lay_family(
        self,
        cursor: duckdb.DuckDBPyConnection,
        work: Work,
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

    def check_machine(self, work: Work, record: Record, batch: ColumnarBatch, node: Node) -> None:
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
