"""A report as Parquet: one file a table, in one folder, with the figures of the pages and a type for every column.

The tables, columns and rows are those of the CSV files. Figures and ratios are decimal(38, 6), counts int64, instants
timestamps in UTC, days date32, all else text; null means not known. Types are the same for every report of a kind, also
where a table has no row. Each file's metadata say which report it is of. Text is as it stands: nothing that reads Parquet
runs it as a formula.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from ullage_reports.model import Report
from ullage_reports.pages import pages
from ullage_reports.table import Cell, Holds, Table

PLACES: Final = 6
"""Decimals of a figure: what prices have in the ledger, and no currency has more minor digits."""
TYPES: Final = {
    Holds.TEXT: pa.string(),
    Holds.COUNT: pa.int64(),
    Holds.FIGURE: pa.decimal128(38, PLACES),
    Holds.RATIO: pa.decimal128(38, PLACES),
    Holds.INSTANT: pa.timestamp("us", tz="UTC"),
    Holds.DAY: pa.date32(),
}


def render(report: Report, lang: str, out: Path) -> Path:
    """Write the folder ``<stem>.<lang>.parquet`` below ``out``: ``departments.parquet``, ``states.parquet``, …

    Files of an earlier run are replaced, each when it is whole.
    """
    folder = out / f"{report.stem}.{lang}.parquet"
    folder.mkdir(parents=True, exist_ok=True)
    page = pages(report, lang)
    told = {
        "ullage.report": report.stem,
        "ullage.zone": report.period.zone,
        "ullage.currency": report.currency,
        "ullage.status": str(report.status),
        "ullage.marks": ", ".join(page.marks),
        "ullage.data_digest": report.trust.data_digest,
    }
    for found in page.file_tables:
        making = folder / f".{found.key}.making"
        pq.write_table(table(found, {**told, "ullage.caption": found.caption}), making, compression="zstd")
        making.replace(folder / f"{found.key}.parquet")
    return folder


def table(found: Table, metadata: dict[str, str]) -> Any:
    """One table as an Arrow table, columns named by their keys."""
    schema = pa.schema([pa.field(c.key, TYPES[c.kind]) for c in found.columns], metadata=metadata)
    columns = [_array([row[n] for row in found.rows], column.kind) for n, column in enumerate(found.columns)]
    return pa.Table.from_arrays(columns, schema=schema)


def _array(cells: list[Cell], kind: Holds) -> Any:
    """One column; an empty cell is null."""
    if kind in (Holds.INSTANT, Holds.DAY):
        return pa.array([_moment(cell, kind) for cell in cells], TYPES[kind])
    values = pa.array([cell.value or None for cell in cells], pa.string())
    return values if kind is Holds.TEXT else values.cast(TYPES[kind])


def _moment(cell: Cell, kind: Holds) -> date | None:
    if cell.value == "":
        return None
    assert cell.at is not None, f"BUG: {cell.value!r} is no day"
    if kind is Holds.DAY:
        return cell.at
    assert isinstance(cell.at, datetime), f"BUG: {cell.value!r} is no instant"
    return cell.at.astimezone(UTC)
