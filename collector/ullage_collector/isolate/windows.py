"""Maintenance windows as the store has them, for the policy: while one is on, nothing there is isolated by itself."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from ullage_collector.audit import naive_utc
from ullage_collector.sql import statements

if TYPE_CHECKING:
    import duckdb


class StoredWindows:
    """A surroundings.Windows. connect: a cursor of the open store."""

    def __init__(self, connect: Callable[[], duckdb.DuckDBPyConnection]) -> None:
        self._connect = connect

    def covers(self, cluster_id: str, node_id: str, at: float) -> str | None:
        """The reason of a window of the whole node that was begun and not ended, or is planned for ``at``."""
        now = {"cluster": cluster_id, "node": node_id, "now": naive_utc(at)}
        import duckdb

        with (
            self._connect() as cursor,
            suppress(duckdb.CatalogException),
        ):  # a store from before there were windows
            row = cursor.execute(statements("policy")["window"], now).fetchone()
            return str(row[0]) if row else None
        return None
