"""A report as CSV: one file a table, in one folder, with the figures of the pages.

UTF-8 with a byte order mark, so that Excel reads Chinese; comma, CR LF and quoting of RFC 4180. Numbers are plain
(``-1234.50``, ratios 0..1), every row is there even where a page shows the first few. A text that a spreadsheet
would run as a formula gets an apostrophe in front; an empty cell means not known.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Final

from ullage_reports.model import Report
from ullage_reports.pages import pages
from ullage_reports.table import Cell, Table

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What starts a formula in Excel, LibreOffice or WPS, full-width forms too; OWASP, CSV Injection."""


def text(table: Table) -> str:
    """One table as CSV text, header first, without the byte order mark. The total is not a row: rows are all there is."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([column.key for column in table.columns])
    for row in table.rows:
        writer.writerow([_value(cell) for cell in row])
    return out.getvalue()


def neutral(value: str) -> str:
    """Text that no spreadsheet takes for a formula: what starts like one gets an apostrophe in front."""
    return f"'{value}" if value.lstrip(" \u3000").startswith(_FORMULA) else value


def render(report: Report, lang: str, out: Path) -> Path:
    """Write the folder ``<stem>.<lang>.csv`` below ``out``: ``departments.csv``, ``states.csv``, …

    Files of an earlier run are replaced; a table without rows still has its header, so that "none" can be read.
    """
    folder = out / f"{report.stem}.{lang}.csv"
    folder.mkdir(parents=True, exist_ok=True)
    for table in pages(report, lang).file_tables:
        (folder / f"{table.key}.csv").write_bytes(b"\xef\xbb\xbf" + text(table).encode("utf-8"))
    return folder


def _value(cell: Cell) -> str:
    return cell.value if cell.number else neutral(cell.value)
