"""Telemetry from a file into minutes: stretch by stretch, each in one transaction, in bounded memory.

Imported history is kept at a minute's grain: a row a minute stands for the minute it was read in; finer and
coarser rows go through the same statement that rolls up what agents send. A minute that is there already,
from an agent or an earlier import, stays: importing a file twice, or another that overlaps, doubles nothing.

A Parquet file whose row groups are in order of time is read in place; every other file is read once into a
scratch database beside the store.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from ullage_collector.imports.expression import identifier, literal
from ullage_collector.imports.map import Map, TelemetryMap
from ullage_collector.imports.report import LISTED, Report
from ullage_collector.imports.source import open_source, unreadable
from ullage_collector.imports.telemetry_rows import PIECE_ROWS, YEARS_US, Progress, file_rows, readable
from ullage_collector.sql import fill, statements
from ullage_collector.store import incoming
from ullage_collector.store.columns import SUBJECT, Grain, kind, rolled
from ullage_collector.store.days import DAY_US, HOUR_US, MINUTE_US, utc_day
from ullage_collector.store.increase import increase_sql
from ullage_collector.store.rollup import LOOKBACK_US, Fill, Rollup, minute_columns
from ullage_collector.store.store import Store, naive_utc
from ullage_contract import catalogue
from ullage_contract.catalogue import Kind
from ullage_contract.errors import BadInput, ConfigError
from ullage_contract.sample import Family, Origin

if TYPE_CHECKING:
    import duckdb

log = logging.getLogger(__name__)

_SUBJECT_TYPES: Final = {
    "cluster_id": pa.string(),
    "node_id": pa.string(),
    "subject": pa.string(),
    "subject_key": pa.int32(),
    "node_key": pa.int32(),
}


def no_progress(what: str, share: float) -> None:
    """Say nothing."""


def import_telemetry(
    store: Store, path: Path, given: Map, progress: Progress = no_progress, report: Report | None = None
) -> Report:
    """Import one file. Raises BadInput when nothing of it can be read, ConfigError when the map does not fit it."""
    spec = given.telemetry
    if spec is None:
        raise ConfigError(f"{given.name} has no [telemetry]")
    report = report or Report("telemetry", str(path))
    cursor = store.cursor()
    try:
        cursor.execute(fill(statements("imports")["set_zone"], zone=literal(spec.time.zone)))
        with tempfile.TemporaryDirectory(prefix="import-", dir=store.path.parent) as folder:
            source = open_source(cursor, path, given.file, Path(folder))
            rows = file_rows(source, spec)
            with readable(cursor, source, rows, spec, Path(folder), progress) as select:
                _Importer(store, cursor, spec, rows.metrics, select, report, progress, given.origin).run()
            total = cursor.execute(f"SELECT count(*) FROM {source.relation}").fetchall()[0][0]  # noqa: S608
            for line, why in unreadable(cursor, source):
                report.refuse(line, why)
                total += 1
            report.rows_read = total
            report.rows_skipped = total - report.rows_added - report.rows_present - report.rows_refused
    finally:
        cursor.close()
    return report


class _Importer:
    """One file's rows, piece by piece."""

    def __init__(
        self,
        store: Store,
        cursor: duckdb.DuckDBPyConnection,
        spec: TelemetryMap,
        metrics: tuple[str, ...],
        select: Callable[[int | None, int | None], str],
        report: Report,
        progress: Progress,
        origin: Origin,
    ) -> None:
        self._origin = origin.value
        self._store = store
        self._cursor = cursor
        self._spec = spec
        self._metrics = metrics
        self._select = select
        self._report = report
        self._progress = progress
        self._rollup = Rollup(store)
        self._sql = statements("imports")
        self._same = "p.subject = k.subject"
        self._impossible: dict[str, str] = {}

    def run(self) -> None:
        everything = self._select(None, None)
        first, last, count, untimed = self._cursor.execute(
            fill(self._sql["extent"], rows=everything)
        ).fetchall()[0]
        if untimed:
            listed = fill(self._sql["untimed"], rows=everything, listed=str(LISTED))
            for row, why in self._cursor.execute(listed).fetchall():
                self._report.refuse(row, why, 0)
            self._report.rows_refused += untimed
        if count == untimed:
            return
        first, last = max(first, YEARS_US[0]), min(last, YEARS_US[1])
        out_of_range = self._cursor.execute(
            f"SELECT import_row, problem FROM ({everything}) WHERE t < {YEARS_US[0]} OR t > {YEARS_US[1]}"  # noqa: S608
        ).fetchall()
        for row, why in out_of_range:
            self._report.refuse(row, why)
        if first > last:
            return
        subjects = self._subjects(everything)
        self._register(subjects)
        step = self._step(count, last - first)
        start = first - first % step
        begun = start
        while start <= last:
            self._piece(start, min(start + step, start - start % DAY_US + DAY_US))
            start = min(start + step, start - start % DAY_US + DAY_US)
            self._progress("minutes", min(1.0, (start - begun) / max(1, last - begun)))

    def _step(self, count: int, span_us: int) -> int:
        """Whole hours that hold about PIECE_ROWS, at most a day."""
        hours = max(1, span_us // HOUR_US)
        return max(1, min(24, int(PIECE_ROWS / max(1, count / hours)))) * HOUR_US

    # ---- identities
    def _subjects(self, everything: str) -> list[tuple[str, str, str, int, int]]:
        """Make the identities the file speaks of; (cluster, node, subject, its key, its node's key)."""
        rows = self._cursor.execute(fill(self._sql["subjects"], rows=everything)).fetchall()
        if len({row[2] for row in rows}) < len(rows):
            self._same = "p.subject = k.subject AND p.node_id = k.node_id AND p.cluster_id = k.cluster_id"
        found = []
        family, origin = self._spec.family, self._origin
        with self._store.write() as cursor:
            identities = self._store.identities
            for cluster, node_id, subject, vendor, model, first, last, _ in rows:
                try:
                    node = identities.node(cursor, cluster, node_id, first, origin)
                    known = identities.subject_key(family, subject, cluster)
                    if family is Family.CARD:
                        key = identities.card(
                            cursor, subject, node.key, first, origin, (vendor or "unknown").lower(), model
                        )
                    elif family is Family.NODE:
                        key = node.key
                    else:
                        key = identities.subject_maker(family)(cursor, subject, node.key, first, origin)
                except BadInput as e:
                    self._impossible[subject] = str(e)
                    continue
                if known is None and family is not Family.NODE:
                    identities.see(family, key, last, node.key)
                found.append((cluster, node_id, subject, key, node.key))
            identities.flush(cursor)
            identities.flush_seen(cursor)
        return found

    def _register(self, subjects: list[tuple[str, str, str, int, int]]) -> None:
        self._keys = incoming.table(_SUBJECT_TYPES, subjects)
        for why in list(self._impossible.values())[:LISTED]:
            log.warning("import: %s", why)

    # ---- one stretch
    def _piece(self, from_us: int, to_us: int) -> None:
        """The rows of one stretch within a UTC day, in one transaction with their hours."""
        look = max(LOOKBACK_US, round(2e6 * self._spec.interval_seconds))
        rows_sql = self._select(from_us - look, to_us)
        bounds = {"from_us": str(from_us - look), "to_us": str(to_us)}
        with self._store.write() as cursor:
            cursor.execute(fill(self._sql["piece"], rows=rows_sql, **bounds))
            filled, refused, doubled = self._check(cursor, from_us)
            if refused:
                listed = fill(self._sql["refused"], listed=str(LISTED))
                for row, why in cursor.execute(listed, [from_us]).fetchall():
                    self._report.refuse(row, why, 0)
                self._report.rows_refused += refused
            good = filled.rows - refused
            if not good:
                return
            cursor.register("import_subject", self._keys)
            try:
                good -= self._lost(cursor, from_us)
                every_minute = self._spec.interval_seconds == 60 and not doubled
                put = self._put_minutes if every_minute else self._put_finer
                added = put(cursor, filled, from_us, to_us, good)
            finally:
                cursor.unregister("import_subject")
            if added:
                self._rollup.roll_hours(cursor, self._spec.family, from_us - from_us % HOUR_US, to_us)
                now = naive_utc(self._store.clock.wall())
                cursor.execute(statements("store")["touch_day"], [utc_day(from_us), now])
        self._report.rows_added += added
        self._report.rows_present += good - added

    def _check(self, cursor: duckdb.DuckDBPyConnection, from_us: int) -> tuple[Fill, int, int]:
        """What the stretch holds, how many rows are refused, and how many share a minute."""
        counts = "".join(f", count({identifier(key)}) FILTER (problem IS NULL)" for key in self._metrics)
        row = cursor.execute(fill(self._sql["check"], filled=counts), [from_us]).fetchall()[0]
        filled = {key: n for key, n in zip(self._metrics, row[3:], strict=True) if n}
        return Fill(row[0], filled), row[1], row[2]

    def _lost(self, cursor: duckdb.DuckDBPyConnection, from_us: int) -> int:
        """Rows whose subject can have no key, refused."""
        if not self._impossible:
            return 0
        lost: int = cursor.execute(fill(self._sql["lost"], same=self._same), [from_us]).fetchall()[0][0]
        if lost:
            self._report.refuse(0, f"{lost} rows: {next(iter(self._impossible.values()))}", lost)
        return lost

    def _put_minutes(
        self, cursor: duckdb.DuckDBPyConnection, filled: Fill, from_us: int, to_us: int, good: int
    ) -> int:
        """A row is a minute. How many were added."""
        family = self._spec.family
        names: list[str] = []
        values: list[str] = []
        increases: list[str] = []
        for key in filled.counts:
            metric = catalogue.metric(family, key)
            column = identifier(key)
            if metric.kind is Kind.COUNTER:
                grown = increase_sql(metric, column, f"lag({column} IGNORE NULLS) OVER w", "true")
                increases.append(f', {grown} AS "{key}_increase"')
            for target in rolled(family, key):
                names.append(target.name)
                said = target.name if metric.kind is Kind.COUNTER else key
                values.append(f', CAST(p."{said}" AS {target.type})')
        of = kind(family, Grain.MINUTE)
        before = self._store.days.table(of, utc_day(from_us))
        table = self._store.days.ensure(cursor, of, utc_day(from_us), names).name
        subject = SUBJECT[family][0]
        absent = ""
        if before is not None:
            absent = fill(
                self._sql["absent"], subject=subject, table=table, from_us=str(from_us), to_us=str(to_us)
            )
        put = fill(
            self._sql["put_minutes"],
            table=table,
            subject=subject,
            sender="" if family is Family.NODE else ", node_key",
            sender_value="" if family is Family.NODE else ", k.node_key",
            columns="".join(f', "{name}"' for name in names),
            values="".join(values),
            increases="".join(increases),
            same=self._same,
            absent=absent,
            origin=self._origin,
        )
        added: int = cursor.execute(put, [from_us]).fetchall()[0][0]
        return added

    def _put_finer(
        self, cursor: duckdb.DuckDBPyConnection, filled: Fill, from_us: int, to_us: int, good: int
    ) -> int:
        """Rows at another interval become minutes. How many rows stand in minutes that were added."""
        family = self._spec.family
        subject = SUBJECT[family][0]
        source = fill(
            self._sql["finer_source"],
            subject=subject,
            sender_value="" if family is Family.NODE else ", k.node_key",
            interval=repr(float(self._spec.interval_seconds)),
            metrics="".join(f", p.{identifier(key)}" for key in filled.counts),
            same=self._same,
        )
        values, aggregates, names = minute_columns(family, Fill(-1, filled.counts))
        longest = max(LOOKBACK_US, round(1e6 * self._spec.interval_seconds))
        rolled_up = fill(
            statements("rollup")["minutes"],
            source=source,
            subject=subject,
            sender="" if family is Family.NODE else ", arg_max(sender, t) AS node_key",
            longest=str(longest),
            pieces=str(longest // MINUTE_US + 2),
            values=values,
            aggregates=aggregates,
            restriction="",
        )
        look = max(LOOKBACK_US, round(2e6 * self._spec.interval_seconds))
        cursor.execute(rolled_up, [from_us, to_us, from_us - look])
        of = kind(family, Grain.MINUTE)
        table = self._store.days.ensure(cursor, of, utc_day(from_us), names).name
        present = cursor.execute(fill(self._sql["present_finer"], table=table, subject=subject)).fetchall()[
            0
        ][0]
        cursor.execute(
            fill(
                self._sql["keep_finer"],
                table=table,
                subject=subject,
                sender="" if family is Family.NODE else ", node_key",
                sender_value="" if family is Family.NODE else ", f.node_key",
                columns="".join(f', "{name}"' for name in names),
                values="".join(f', f."{name}"' for name in names),
                origin=self._origin,
            )
        )
        return good - int(present or 0)
