"""A series file as samples in time order: Parquet with ``pod, ts, duty, mem_bytes``, a row a pod and instant.

ts: epoch seconds or a timestamp (UTC where it has no zone). duty: per cent of the time busy, null: not known.
mem_bytes: accelerator memory held, null: not known. More columns are left alone, rows may come in any order.
Not here: any judgement.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb

from ullage_collector.sql import fill, statements
from ullage_contract.errors import BadInput

_WANTED: Final = ("pod", "ts", "duty", "mem_bytes")
_NUMBERS: Final = frozenset(
    {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE", "NULL", '"NULL"'}
    | {"UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT"}
)
_LATEST: Final = 1e11
"""our choice: because the year 5138 is no measurement, while milliseconds since 1973 are beyond it."""
_ROWS_AT_ONCE: Final = 20_000
_SIGNS: Final = re.compile(r"[*?\[]")
"""What DuckDB would take for a pattern in a file's name."""


@dataclass(frozen=True, slots=True)
class Point:
    """One row. at: epoch seconds. busy_ratio: 0..1. None: not known. rows: how many rows of the file said it."""

    pod: str
    at: float
    busy_ratio: float | None
    held_bytes: float | None
    rows: int = 1


def read(file: Path) -> Iterator[Point]:
    """The file's points by (time, pod). Raises BadInput: no such file, no Parquet, a column missing or of another type,
    a row without pod or time, a value that cannot be."""
    if not file.is_file():
        raise BadInput(f"{file}: no such file; name a Parquet file with the columns {', '.join(_WANTED)}")
    database = duckdb.connect()
    try:
        yield from _points(database, file)
    except duckdb.Error as e:
        raise BadInput(f"{file}: cannot be read as Parquet: {str(e).splitlines()[0]}") from e
    finally:
        database.close()


def _points(database: duckdb.DuckDBPyConnection, file: Path) -> Iterator[Point]:
    sql, where = statements("replay"), {"file": _SIGNS.sub(r"[\g<0>]", str(file))}
    types = {str(name): str(kind) for name, kind in database.execute(sql["columns"], where).fetchall()}
    missing = [name for name in _WANTED if name not in types]
    if missing:
        raise BadInput(
            f"{file}: no column {', '.join(missing)}; it has {', '.join(types)}; wanted {', '.join(_WANTED)}"
        )
    (nameless,) = database.execute(sql["nameless"], where).fetchone() or (0,)
    if nameless:
        raise BadInput(f"{file}: {nameless} rows without pod or ts; leave them out of the file")
    if types["ts"].startswith("TIMESTAMP"):
        time = "epoch(ts)"
    else:
        time = f"CAST({_number(file, types, 'ts')} AS DOUBLE)"
    rows = fill(
        sql["rows"],
        time=time,
        duty=f"CAST({_number(file, types, 'duty')} AS DOUBLE)",
        held=f"CAST({_number(file, types, 'mem_bytes')} AS DOUBLE)",
    )
    cursor = database.execute(rows, where)
    while batch := cursor.fetchmany(_ROWS_AT_ONCE):
        for pod, at, duty, held, count in batch:
            yield _checked(file, pod, at, duty, held, count)


def _number(file: Path, types: dict[str, str], column: str) -> str:
    """The column, when it holds numbers."""
    kind = types[column]
    if kind not in _NUMBERS and not kind.startswith("DECIMAL"):
        raise BadInput(f"{file}: column {column} is {kind}; write numbers")
    return column


def _checked(file: Path, pod: str, at: float, duty: float | None, held: float | None, count: int) -> Point:
    """Raises BadInput for what cannot be. NaN is not known, as some writers have no null."""
    place = f"{file}: {pod} at {at:.0f}" if math.isfinite(at) else f"{file}: {pod}"
    if not math.isfinite(at) or not 0 <= at < _LATEST:
        raise BadInput(f"{place}: ts is no epoch second; write seconds since 1970, UTC")
    if duty is not None and math.isnan(duty):
        duty = None
    if held is not None and math.isnan(held):
        held = None
    # 101: a counter divided by a clock may read a hair above the whole
    if duty is not None and not 0 <= duty <= 101:
        raise BadInput(f"{place}: duty {duty:g}; write per cent, 0 to 100")
    if held is not None and not 0 <= held < math.inf:
        raise BadInput(f"{place}: mem_bytes {held:g}; write bytes, 0 or more")
    return Point(pod, at, None if duty is None else duty / 100.0, held, count)
