"""One import from a file to a report: digest, the kinds a map brings along, what is written down about it."""

from __future__ import annotations

import logging
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ullage_collector.imports.allocations import import_allocations
from ullage_collector.imports.incidents import import_incidents
from ullage_collector.imports.inventory import import_inventory
from ullage_collector.imports.map import KINDS, Map
from ullage_collector.imports.money import import_mapping, table_entries, toml_entries
from ullage_collector.imports.prices import TABLES, import_prices
from ullage_collector.imports.report import Report
from ullage_collector.imports.source import digest, file_format, open_source
from ullage_collector.imports.telemetry import import_telemetry, no_progress
from ullage_collector.imports.telemetry_rows import Progress
from ullage_collector.sql import statements
from ullage_collector.store.store import naive_utc
from ullage_contract.errors import ConfigError

if TYPE_CHECKING:
    import duckdb

    from ullage_collector.store.store import Store

log = logging.getLogger(__name__)

VERSION: Final = "1"
"""Raised when an importer understands the same file and map differently, so that it may be imported again."""


def import_file(
    store: Store,
    kind: str,
    path: Path,
    given: Map,
    progress: Progress = no_progress,
    *,
    again: bool = False,
) -> list[Report]:
    """Import a file, and along with it what the map says in ``also``; a report a kind, in the order imported.

    Each kind is written down with the digest of file and map; the same again is not even read, unless
    ``again``: then it is compared with what is there, e.g. to place work on cards listed since.
    Raises ConfigError when the map does not fit, BadInput when the file cannot be read at all.
    """
    if kind not in KINDS:
        raise ConfigError(f"{kind!r} cannot be imported; there are {', '.join(KINDS)}")
    wanted = [k for k in KINDS if k == kind or k in given.also]
    mark = digest(path, given.text, VERSION)
    return [_import_one(store, each, path, given, mark, progress, again) for each in wanted]


def _import_one(
    store: Store, kind: str, path: Path, given: Map, mark: str, progress: Progress, again: bool
) -> Report:
    report = Report(kind, str(path))
    started = time.monotonic()
    sql = statements("imports")
    cursor = store.cursor()
    try:
        before = cursor.execute(sql["imported"], [kind, mark]).fetchall()[0][0]
        if before and not again:
            report.again = True
            return report
        progress(kind, 0.0)
        with store.write() as writer:
            store.identities.refresh(writer)
        if kind == "telemetry":
            import_telemetry(store, path, given, progress, report)
        else:
            with tempfile.TemporaryDirectory(prefix="import-", dir=store.path.parent) as folder:
                _import_rows(store, cursor, kind, path, given, report, Path(folder))
    finally:
        cursor.close()
    report.seconds = time.monotonic() - started
    with store.write() as writer:
        writer.execute(
            sql["put_import"],
            [
                kind,
                mark,
                path.name,
                given.name,
                report.rows_read,
                report.rows_added,
                report.rows_refused,
                naive_utc(store.clock.wall()),
            ],
        )
    log.info(
        "import %s %s: %d read, %d added, %d there already, %d refused, %.1f s",
        kind,
        path.name,
        report.rows_read,
        report.rows_added,
        report.rows_present,
        report.rows_refused,
        report.seconds,
    )
    return report


def _import_rows(
    store: Store,
    cursor: duckdb.DuckDBPyConnection,
    kind: str,
    path: Path,
    given: Map,
    report: Report,
    scratch: Path,
) -> None:
    if kind in ("prices", "mapping") and file_format(path, given.file) == "toml":
        if kind == "prices":
            import_prices(store, toml_entries(path, *TABLES), path, report)
        else:
            entries = toml_entries(path, "department", "rule")
            import_mapping(store, entries["department"], entries["rule"], path, report)
        return
    source = open_source(cursor, path, given.file, scratch)
    if kind == "inventory":
        import_inventory(store, cursor, source, given, report)
    elif kind == "allocations":
        import_allocations(store, cursor, source, given, report)
    elif kind == "incidents":
        import_incidents(store, cursor, source, given, report)
    else:
        spec = given.records.get(kind)
        if spec is None:
            raise ConfigError(f"{given.name} has no [{kind}]")
        entries_of = table_entries(cursor, source, spec, report)
        if kind == "prices":
            import_prices(store, {"price": entries_of}, path, report)
        else:
            import_mapping(store, [], entries_of, path, report)
