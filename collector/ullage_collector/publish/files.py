"""The files that are published: a day's facts, and the names and prices beside them, from the store's tables.

    DIR/published/facts/day=2026-11-20/rev=1/{segments,coverage,activity,energy,remainder,serving,quota}.parquet
    DIR/published/dimensions/rev=7/{card,node,workload,department,price,...}.parquet

The same tables give the same bytes, so that what did not change makes no revision (revision.py).
Not here: when a day is made and published (facts.py), and how it is read (published.py).
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ullage_collector.published import DIMENSIONS
from ullage_collector.revision import SEALED, Manifest, manifest_of, newest, revisions, write_revision
from ullage_collector.sql import fill, statements
from ullage_contract.errors import StoreError

if TYPE_CHECKING:
    import duckdb

log = logging.getLogger("ullage_collector.publish")

_REMOVED: Final = ".removed-"
"""Before the name of a revision that left its place."""


def publish_facts_day(
    connection: duckdb.DuckDBPyConnection,
    root: Path,
    day: date,
    *,
    status: str,
    now: datetime,
    minutes: str = "card_minute",
) -> Manifest:
    """Publish a day's segments, coverage, activity, requests served and quota book; the newest revision as it stands when nothing changed.

    connection: a cursor of the store with table ``segment`` filled for the day (states.keep).
    root: DIR/published. status: provisional or sealed. minutes: the view, or a ``read_parquet(...)``.
    Raises StoreError when the disk refuses, or when no segments were made for the day.
    """
    sql = statements("publish_files")
    revision, rows, origins = connection.execute(sql["day_facts"], {"day": day}).fetchall()[0]
    if not rows:
        revision, origins = 0, []

    def write(folder: Path) -> Mapping[str, Any]:
        text = day.isoformat()
        measured = minutes != "card_minute" or connection.execute(sql["has_minutes"]).fetchall()[0][0]
        by_hour = fill(sql["minutes"], source=minutes, day=text) if measured else sql["no_minutes"]
        _copy(connection, fill(sql["segments"], day=text), folder / "segments.parquet")
        _copy(connection, fill(sql["coverage"], day=text, minutes=by_hour), folder / "coverage.parquet")
        _copy(
            connection,
            _activity(connection, minutes, text) if measured else sql["no_activity"],
            folder / "activity.parquet",
        )
        _copy(connection, fill(sql["serving"], day=text), folder / "serving.parquet")
        _copy(connection, fill(sql["quota"], day=text, maker=_maker()), folder / "quota.parquet")
        for name in ("energy", "remainder"):
            _copy(connection, fill(sql[f"day_{name}"], day=text), folder / f"{name}.parquet")
        sums = connection.execute(sql["day_sums"], {"day": day}).fetchall()
        return {
            "states_revision": revision,
            "rows": rows,
            "origins": list(origins or []),
            "sums": [{"state": s, "currency": c, "quantity": q, "atoms": a} for s, c, q, a in sums],
        }

    return write_revision(
        root / "facts" / f"day={day.isoformat()}", what="facts", day=day, status=status, now=now, write=write
    )


def _activity(connection: duckdb.DuckDBPyConnection, minutes: str, day: str) -> str:
    """The query of activity over these minutes; a store whose cards never told a metric has no column of it."""
    sql = statements("publish_files")
    told = connection.execute(fill(sql["columns"], source=minutes)).description or []
    names = {column[0] for column in told}
    units = {"tensor": "tensor_active_ratio", "sm": "sm_active_ratio"}
    columns = {word: name if name in names else "NULL::DOUBLE" for word, name in units.items()}
    return fill(sql["activity"], source=minutes, day=day, **columns)


def publish_dimensions(connection: duckdb.DuckDBPyConnection, root: Path, *, now: datetime) -> Manifest:
    """Publish names, prices, incidents and findings as they stand now; nothing new when none of them changed."""
    sql = statements("publish_files")

    def write(folder: Path) -> Mapping[str, Any]:
        for name in DIMENSIONS:
            _copy(connection, sql[f"dimension_{name}"], folder / f"{name}.parquet")
        return {}

    return write_revision(
        root / "dimensions", what="dimensions", day=None, status=SEALED, now=now, write=write
    )


def prune_dimensions(root: Path, *, keep: Collection[int], before: datetime) -> list[int]:
    """Remove revisions of the dimensions that were published before an instant (aware); which are gone. The newest stays, and those in
    ``keep``.

    A revision leaves its place whole before its files are removed, so that nothing reads the half of one. One that cannot leave it
    stays as it is; what of one that left cannot be removed is told. Both are tried again the next time.
    """
    parent = root / "dimensions"
    last = newest(parent)
    gone = []
    if parent.is_dir():
        for folder in parent.glob(f"{_REMOVED}rev=*"):
            _remove(folder)
    for number, folder in sorted(revisions(parent)):
        found = manifest_of(folder)
        if found is None or last is None or number == last.revision or number in keep:
            continue
        if found.published_at < before:
            out_of_place = parent / f"{_REMOVED}{folder.name}"
            try:
                folder.rename(out_of_place)
            except OSError as e:
                log.warning("%s: is old and cannot be removed: %s; tried again the next time", folder, e)
                continue
            gone.append(number)
            _remove(out_of_place)
    return gone


def _remove(folder: Path) -> None:
    try:
        shutil.rmtree(folder)
    except OSError as e:
        log.warning("%s: cannot be removed: %s; tried again the next time", folder, e)


def record(connection: duckdb.DuckDBPyConnection, manifest: Manifest) -> None:
    """Note a revision in the store's table ``published``. connection: inside a write."""
    connection.execute(
        statements("publish_files")["record"],
        {
            "what": manifest.what,
            "day": manifest.day,
            "revision": manifest.revision,
            "status": manifest.status,
            "digest": manifest.digest,
            "at": manifest.published_at.astimezone(UTC).replace(tzinfo=None),
        },
    )


def _maker() -> str:
    """SQL for the maker of a quota as cards have it: a limit may be stated with another word for it."""
    from ullage_collector.quota.resources import makers

    cases = " ".join(
        "WHEN '{}' THEN '{}'".format(*(word.replace("'", "''") for word in pair))
        for pair in sorted(makers().items())
    )
    return f"CASE lower(trim(vendor)) {cases} ELSE lower(trim(vendor)) END"


def _copy(connection: duckdb.DuckDBPyConnection, query: str, path: Path) -> None:
    import duckdb

    quoted = str(path).replace("'", "''")
    try:
        connection.execute(fill(statements("publish_files")["copy"], query=query, file=quoted))
    except duckdb.IOException as e:
        raise StoreError(f"{path}: cannot be written: {str(e)[:200]}") from e
