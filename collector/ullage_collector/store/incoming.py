"""Rows into a statement: an Arrow table named ``incoming`` for the time of one execute."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    import duckdb

TIMESTAMP = pa.timestamp("us")


def execute(connection: duckdb.DuckDBPyConnection, statement: str, rows: pa.Table) -> None:
    """Run ``statement``, which reads FROM incoming, on ``rows``; nothing is run for no rows."""
    if not rows.num_rows:
        return
    connection.register("incoming", rows)
    try:
        connection.execute(statement)
    finally:
        connection.unregister("incoming")


def fetch(connection: duckdb.DuckDBPyConnection, statement: str, rows: pa.Table) -> list[tuple[Any, ...]]:
    """What ``statement``, which reads FROM incoming, says about ``rows``; nothing for no rows."""
    if not rows.num_rows:
        return []
    connection.register("incoming", rows)
    try:
        result: list[tuple[Any, ...]] = connection.execute(statement).fetchall()
        return result
    finally:
        connection.unregister("incoming")


def table(types: Mapping[str, pa.DataType], rows: Iterable[Sequence[Any]]) -> pa.Table:
    """Rows of tuples as an Arrow table; times are microseconds since the epoch."""
    columns: list[list[Any]] = [[] for _ in types]
    for row in rows:
        for column, value in zip(columns, row, strict=True):
            column.append(value)
    arrays = [pa.array(c, type=t) for c, t in zip(columns, types.values(), strict=True)]
    return pa.table(arrays, names=list(types))
