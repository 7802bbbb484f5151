"""Rows into a statement: an Arrow table named ``incoming`` for the time of one execute."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import duckdb
import pyarrow as pa

TIMESTAMP = pa.timestamp("us")


def execute(connection: duckdb.DuckDBPyConnection, statement: str, rows: pa.Table) -> None:
    """Run ``statement``, which reads FROM incoming, on ``rows``; nothing is run for no rows."""
    if rows.num_rows:
        with registered(connection, rows):
            connection.execute(statement)


def fetch(connection: duckdb.DuckDBPyConnection, statement: str, rows: pa.Table) -> list[tuple[Any, ...]]:
    """What ``statement``, which reads FROM incoming, says about ``rows``; nothing for no rows."""
    if not rows.num_rows:
        return []
    with registered(connection, rows):
        result: list[tuple[Any, ...]] = connection.execute(statement).fetchall()
    return result


def one(
    connection: duckdb.DuckDBPyConnection, statement: str, parameters: Sequence[Any] = ()
) -> tuple[Any, ...] | None:
    """The first row, or None. All rows are fetched: DuckDB 2.0 refuses other work while a result is unfinished."""
    rows: list[tuple[Any, ...]] = connection.execute(statement, list(parameters)).fetchall()
    return rows[0] if rows else None


@contextmanager
def registered(connection: duckdb.DuckDBPyConnection, rows: pa.Table) -> Iterator[None]:
    """``rows`` are table ``incoming`` in the body: for a statement that has parameters besides."""
    connection.register("incoming", rows)
    try:
        yield
    except duckdb.Error:
        # The transaction is aborted and refuses everything: the next register replaces the name.
        with suppress(duckdb.Error):
            connection.unregister("incoming")
        raise
    connection.unregister("incoming")


def table(types: Mapping[str, pa.DataType], rows: Iterable[Sequence[Any]]) -> pa.Table:
    """Rows of tuples as an Arrow table; times are microseconds since the epoch."""
    columns: list[list[Any]] = [[] for _ in types]
    for row in rows:
        for column, value in zip(columns, row, strict=True):
            column.append(value)
    arrays = [pa.array(c, type=t) for c, t in zip(columns, types.values(), strict=True)]
    return pa.table(arrays, names=list(types))
