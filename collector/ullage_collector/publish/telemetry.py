"""A UTC day of telemetry as immutable Parquet: what evidence stands on when the store has dropped the day.

    telemetry/day=2026-11-20/rev=1/{card_minute,slice_minute,card_hour,port_hour,node_hour}.parquet manifest.json

Provisional soon after midnight; sealed when every stream that was heard since the day began has sent a row
from after it, or 48 hours after its end. Late rows make revision n+1; readers take the newest. A metric that
no row of the day gave has no column. Minutes the store has dropped are taken over from the last revision.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import duckdb

from ullage_collector.publish.files import record
from ullage_collector.revision import PROVISIONAL, SEALED, Manifest, newest, write_revision
from ullage_collector.sql import fill, statements
from ullage_collector.store.columns import Grain, TableKind, kind
from ullage_collector.store.days import DAY_US, day_start_us
from ullage_collector.store.rollup import through_us
from ullage_contract.errors import StoreError
from ullage_contract.sample import Family

if TYPE_CHECKING:
    from ullage_collector.store.store import Store

log = logging.getLogger(__name__)

SEAL_AFTER: Final = timedelta(hours=48)
"""docs/architecture.md, telemetry day."""


@dataclass(frozen=True, slots=True)
class _File:
    of: TableKind
    query: str
    subject: str


FILES: Final = (
    _File(kind(Family.CARD, Grain.MINUTE), "cards", "card_id"),
    _File(kind(Family.SLICE, Grain.MINUTE), "slices", "slice_id"),
    _File(kind(Family.CARD, Grain.HOUR), "cards", "card_id"),
    _File(kind(Family.PORT, Grain.HOUR), "ports", "port_id"),
    _File(kind(Family.NODE, Grain.HOUR), "nodes", "node_id"),
)
"""What is published of a day. Minutes of ports and nodes stay in the store: hours are what reports ask for."""


def due_days(store: Store, *, through: date, now: datetime) -> list[date]:
    """Days with minutes, over at ``now``, that are not published, changed since, or can be sealed now; in order."""
    sql = statements("publish_telemetry")
    cursor = store.cursor()
    try:
        days = [row[0] for row in cursor.execute(sql["minute_days"]).fetchall()]
        known = {row[0]: row[1:] for row in cursor.execute(sql["due"]).fetchall()}
        due = []
        for day in days:
            if day > through or not _over(day, now):
                continue
            status, at, touched = known.get(day, (None, None, None))
            changed = touched is not None and at is not None and touched > at
            if status is None or changed or (status == PROVISIONAL and sealable(cursor, day, now)):
                due.append(day)
        return due
    finally:
        cursor.close()


def sealable(cursor: duckdb.DuckDBPyConnection, day: date, now: datetime) -> bool:
    """Whether every stream has passed the day, or 48 hours have."""
    if _over(day, now - SEAL_AFTER):
        return True
    start = datetime(day.year, day.month, day.day)  # noqa: DTZ001  the store's times have no zone
    waiting = cursor.execute(
        statements("publish_telemetry")["waiting"], {"from": start, "to": start + timedelta(days=1)}
    ).fetchall()[0][0]
    return not waiting and through_us(cursor) >= day_start_us(day) + DAY_US


def publish_day(store: Store, root: Path, day: date, *, now: datetime) -> Manifest:
    """Publish the day as the store has it; the newest revision as it stands when nothing differs.

    root: DIR/published. Raises StoreError when the disk refuses.
    """
    cursor = store.cursor()
    parent = root / "telemetry" / f"day={day.isoformat()}"
    try:
        status = SEALED if sealable(cursor, day, now) else PROVISIONAL
        before = None
        if cursor.execute(statements("publish_telemetry")["dropped"], [day]).fetchall()[0][0]:
            before = newest(parent)

        def write(folder: Path) -> Mapping[str, Any]:
            rows: dict[str, Any] = {}
            for each in FILES:
                found = _write(store, cursor, each, day, folder / f"{each.of.name}.parquet", before)
                if found:
                    rows[each.of.name] = found
            through = datetime.fromtimestamp(through_us(cursor) / 1e6, UTC).isoformat()
            return {"files": rows, "rolled_through": through.replace("+00:00", "Z")}

        manifest = write_revision(parent, what="telemetry", day=day, status=status, now=now, write=write)
    finally:
        cursor.close()
    note(store, manifest, now)
    return manifest


def note(store: Store, manifest: Manifest, now: datetime) -> None:
    """Note a revision in the store, or that it was looked at again and is still what it was."""
    sql = statements("publish_facts")
    place = {"what": manifest.what, "day": manifest.day, "revision": manifest.revision}
    with store.write() as cursor:
        if cursor.execute(sql["noted"], place).fetchall()[0][0]:
            cursor.execute(sql["checked"], {**place, "now": now.astimezone(UTC).replace(tzinfo=None)})
        else:
            record(cursor, manifest)


def _write(
    store: Store,
    cursor: duckdb.DuckDBPyConnection,
    file: _File,
    day: date,
    path: Path,
    before: Manifest | None,
) -> dict[str, Any] | None:
    """One file of the day; what it holds, or None when there is nothing to write."""
    sql = statements("publish_telemetry")
    from_us = day_start_us(day)
    columns = store.days.columns(file.of, from_us, from_us + DAY_US)
    rows = fill(
        sql[file.query],
        source=store.days.source(file.of, from_us, from_us + DAY_US, columns),
        time=file.of.time,
        from_us=str(from_us),
        to_us=str(from_us + DAY_US),
        columns="".join(f', s."{name}"' for name in columns),
    )
    if before is not None and file.of.by_day and any(f.name == path.name for f in before.files):
        old = _quoted(before.path(path.name))
        rows = fill(sql["merged"], rows=rows, file=old, time=file.of.time, subject=file.subject)
    copy = fill(sql["copy"], rows=rows, subject=file.subject, time=file.of.time, file=_quoted(path))
    try:
        cursor.execute(copy)
    except duckdb.IOException as e:
        raise StoreError(f"{path}: cannot be written: {str(e)[:200]}") from e
    counted = fill(sql["counted"], subject=file.subject, file=_quoted(path))
    count, subjects, covered = cursor.execute(counted).fetchall()[0]
    if not count:
        path.unlink()
        return None
    described = cursor.execute(f"DESCRIBE SELECT * FROM read_parquet({_quoted(path)})").fetchall()  # noqa: S608
    return {
        "rows": count,
        "subjects": subjects,
        "covered_ratio": round(float(covered) / (subjects * 86_400), 6),
        "columns": [row[0] for row in described],
    }


def _over(day: date, now: datetime) -> bool:
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1) <= now


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"
