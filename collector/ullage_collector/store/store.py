"""The open store: one DuckDB file, one writer at a time, a cursor for each reader.

The file is attached with STORAGE_VERSION v1.5.0, so that DuckDB 1.5 and 2.0 both read what either wrote.
DuckDB gives one process the file and, while it writes, no other process may read: reports read what is
published, never this.

Not here: what the rows are (writer.py), which day tables there are (days.py), rolling up, publishing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import duckdb

from ullage_collector.config import Store as Settings
from ullage_collector.sql import migrations, statements
from ullage_collector.store.days import Days
from ullage_collector.store.identities import Identities
from ullage_contract.clock import Clock, SystemClock
from ullage_contract.errors import DiskFull, StoreError

log = logging.getLogger(__name__)

CATALOG: Final = "ullage"
STORAGE_VERSION: Final = "v1.5.0"
CHECKPOINT_THRESHOLD: Final = "256MB"
"""Stalls of a writer fall from 61 to 13 ms at the 99th percentile against the default of 16 MB; a replay of
that much at open takes 2.8 s on DuckDB 1.5 and 1.1 s on 2.0 (measured)."""


def naive_utc(seconds: float) -> datetime:
    """Seconds since the epoch as the store keeps times: UTC without a zone."""
    return datetime.fromtimestamp(seconds, tz=UTC).replace(tzinfo=None)


class Store:
    """An open store. ``cursor`` for reading from any thread, ``write`` for everything that changes it.

    days: which day tables there are. identities: text identities and their keys. Both follow the file, also
    when a transaction is rolled back.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: Path, clock: Clock) -> None:
        self._connection = connection
        self._writer: duckdb.DuckDBPyConnection | None = None
        self._writing = threading.Lock()
        self._owner: int | None = None
        self._local = threading.local()
        self.path = path
        self.clock = clock
        self.days = Days()
        self.identities = Identities()

    @classmethod
    def open(cls, path: Path, settings: Settings | None = None, clock: Clock | None = None) -> Store:
        """Open or make the store at ``path`` and bring it to this version.

        Raises StoreError when another process has it, when a newer Ullage wrote it, when it is another
        program's database, or when it cannot be read.
        """
        settings = settings or Settings()
        clock = clock or SystemClock()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        spill = path.with_name(path.name + ".tmp")
        connection = duckdb.connect(
            ":memory:",
            config={
                "threads": settings.threads,
                "memory_limit": f"{settings.memory_bytes}B",
                "temp_directory": str(spill),
                "autoload_known_extensions": False,
                "autoinstall_known_extensions": False,
                "preserve_insertion_order": True,
            },
        )
        try:
            connection.execute(f"SET GLOBAL checkpoint_threshold = '{CHECKPOINT_THRESHOLD}'")
            quoted = str(path).replace("'", "''")
            connection.execute(f"ATTACH '{quoted}' AS {CATALOG} (STORAGE_VERSION '{STORAGE_VERSION}')")
            connection.execute(f"USE {CATALOG}")
        except duckdb.Error as e:
            connection.close()
            raise _refusal(path, e) from e
        store = cls(connection, path, clock)
        try:
            _migrate(store.cursor(), path, clock)
            with store.write() as cursor:
                store.days.open(cursor)
                store.identities.load(cursor)
        except duckdb.Error as e:
            store.close()
            raise StoreError(f"{path}: {e}") from e
        except BaseException:
            store.close()
            raise
        path.chmod(0o600)
        return store

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection of its own to the same file; the caller closes it. For reading: writes go by ``write``."""
        cursor = self._connection.cursor()
        cursor.execute(f"USE {CATALOG}")
        return cursor

    def reader(self) -> duckdb.DuckDBPyConnection:
        """This thread's own cursor, made once; never close it."""
        cursor: duckdb.DuckDBPyConnection | None = getattr(self._local, "cursor", None)
        if cursor is None:
            cursor = self._local.cursor = self.cursor()
        return cursor

    @contextmanager
    def write(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """One transaction, alone: committed at the end, rolled back when the body raises.

        Everybody who changes tables that the writer also changes takes it: imports, rollups, retention.
        Keep it short: while it is held, what the agents push stays in the journal.
        Raises what the body raises; DiskFull or StoreError when the commit fails.
        """
        if self._owner == threading.get_ident():
            raise StoreError("BUG: a write inside a write")
        with self._writing:
            self._owner = threading.get_ident()
            try:
                if self._writer is None:
                    self._writer = self.cursor()
                cursor = self._writer
                cursor.execute("BEGIN")
                try:
                    yield cursor
                    self.days.refresh_views(cursor)
                    self._commit(cursor)
                except BaseException:
                    self._roll_back(cursor)
                    raise
            finally:
                self._owner = None

    def _commit(self, cursor: duckdb.DuckDBPyConnection) -> None:
        try:
            cursor.execute("COMMIT")
        except duckdb.Error as e:
            raise trouble(self.path, e) from e

    def _roll_back(self, cursor: duckdb.DuckDBPyConnection) -> None:
        try:
            try:
                cursor.execute("ROLLBACK")
            except duckdb.TransactionException:
                pass  # a failed COMMIT has ended it already
            self.days.load(cursor)
            self.identities.load(cursor)
        except duckdb.Error as e:
            log.error("%s: after a failed transaction: %s", self.path, e)

    def checkpoint(self) -> None:
        """Fold the log into the file now. Waits for writers; raises StoreError when the disk is full."""
        with self._writing:
            cursor = self.cursor()
            try:
                cursor.execute(f"CHECKPOINT {CATALOG}")
            except duckdb.TransactionException as e:
                log.info("%s: checkpoint later: %s", self.path, e)
            except duckdb.Error as e:
                raise trouble(self.path, e) from e
            finally:
                cursor.close()

    def close(self) -> None:
        """Close every connection; the log is folded into the file."""
        with self._writing:
            if self._writer is not None:
                self._writer.close()
                self._writer = None
            self._connection.close()


def trouble(path: Path, error: duckdb.Error) -> StoreError:
    """A DuckDB error as one of ours: DiskFull when the disk or a limit is full."""
    text = str(error)
    full = any(sign in text for sign in ("No space left", "disk is full", "Disk quota", "File too large"))
    if full:
        return DiskFull(f"{path}: no room left; free some space: {text[:200]}")
    return StoreError(f"{path}: {text[:300]}")


def _migrate(cursor: duckdb.DuckDBPyConnection, path: Path, clock: Clock) -> None:
    tables = {row[0] for row in cursor.execute(statements("store")["tables"]).fetchall()}
    if tables and "schema_version" not in tables:
        raise StoreError(f"{path} is a database of another program; name another file in [store] url")
    done = (
        {version: file for version, file in cursor.execute(statements("store")["versions"]).fetchall()}
        if tables
        else {}
    )
    known = migrations()
    newest = max(done, default=0)
    if newest > len(known):
        raise StoreError(
            f"{path} has store version {newest} ({done[newest]}), this Ullage knows {len(known)}: "
            "start the newer Ullage again, or restore a backup made before the update"
        )
    for version, file, text in known:
        if version in done:
            continue
        cursor.execute("BEGIN")
        try:
            cursor.execute(text)
            cursor.execute(statements("store")["add_version"], [version, file, naive_utc(clock.wall())])
            cursor.execute("COMMIT")
        except duckdb.Error as e:
            cursor.execute("ROLLBACK")
            raise StoreError(f"{path}: migration {file} failed, nothing was changed: {e}") from e
        log.info("%s: %s applied", path, file)
    cursor.close()


def _refusal(path: Path, error: duckdb.Error) -> StoreError:
    text = str(error)
    if "lock" in text.lower():
        return StoreError(f"{path}: another process has the store open; stop it or use its API")
    if "version" in text.lower():
        return StoreError(f"{path}: written by a newer DuckDB than {duckdb.__version__}: {text[:200]}")
    return trouble(path, error)
