"""A report as one XLSX workbook: a sheet a table, with the figures of the pages, every row, and dates a spreadsheet knows.

The first sheet says what the others are: period, zone, currency, state, what must be known, and each sheet's caption.
Sheets are named as the CSV files are. Figures are numbers with the decimals they have (ratios 0..1, shown as per cent);
an instant is local time of the report's zone, for a spreadsheet knows no zones; an empty cell means not known. No text is a
formula, a link or a number by accident (csv_files.neutral). The same report gives the same bytes: the document's dates are
the time of making. The total is not a row, as in CSV.
"""

from __future__ import annotations

import logging
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import xlsxwriter

from ullage_reports.csv_files import neutral
from ullage_reports.model import Report
from ullage_reports.pages import Pages, pages
from ullage_reports.period import zone_info
from ullage_reports.svg import text_width
from ullage_reports.table import Cell, Column, Holds, Table

log = logging.getLogger(__name__)

FIRST: Final = "report"
MOST_ROWS: Final = 1_048_575
"""Rows of a sheet below its header. Excel specifications and limits, support.microsoft.com, read 2026-11-21."""
MOST_CHARACTERS: Final = 32_767
"""Of a cell; the same page."""
EXACT_DIGITS: Final = 15
"""Digits a spreadsheet keeps of a number; the same page. A figure with more is written as text, so that none is lost."""
NARROW: Final = 8
WIDE: Final = 48
"""Column widths in characters. our choice: a longer text is cut on the screen, not in the file."""
LOOKED_AT: Final = 200
"""Rows a width is made from. our choice: because a hundred thousand names would take longer than all the rest."""
_SHOWN: Final = {
    Holds.COUNT: "#,##0",
    Holds.RATIO: "0.0%",
    Holds.INSTANT: "yyyy-mm-dd hh:mm",
    Holds.DAY: "yyyy-mm-dd",
}


def render(report: Report, lang: str, out: Path) -> Path:
    """Write ``<stem>.<lang>.xlsx`` below ``out``."""
    path = out / f"{report.stem}.{lang}.xlsx"
    page = pages(report, lang)
    with xlsxwriter.Workbook(path, {"constant_memory": True}) as book:
        made = report.generated_at.astimezone(UTC).replace(tzinfo=None)
        book.set_properties({"title": page.title, "subject": page.subtitle, "created": made})
        _Sheets(book, page, report).write()
    return path


class _Sheets:
    """One workbook in the making."""

    def __init__(self, book: Any, page: Pages, report: Report) -> None:
        self._book = book
        self._page = page
        self._zone = zone_info(report.period.zone)
        self._header = book.add_format({"bold": True, "bottom": 1, "text_wrap": True, "valign": "top"})
        self._bold = book.add_format({"bold": True})
        self._formats = {kind: book.add_format({"num_format": shown}) for kind, shown in _SHOWN.items()}
        self._figures: dict[int, Any] = {}

    def write(self) -> None:
        self._first()
        for table in self._page.file_tables:
            self._table(table)

    def _first(self) -> None:
        page = self._page
        sheet = self._book.add_worksheet(FIRST)
        sheet.set_column(0, 0, 22)
        sheet.set_column(1, 1, 100)
        lines: list[tuple[str, str]] = [
            (page.title, page.subtitle),
            *((label, value) for label, value in page.facts),
            (page.status_text, " | ".join(page.marks)),
            *(("", notice.text) for notice in page.notices),
            *(("", sentence) for sentence in page.sentences),
            ("", ""),
            *((table.key, table.caption) for table in page.file_tables),
        ]
        for row, (left, right) in enumerate(lines):
            for column, text in enumerate((left, right)):
                if text:
                    sheet.write_string(row, column, _text(text), None if column else self._bold)

    def _table(self, table: Table) -> None:
        sheet = self._book.add_worksheet(table.key)
        rows = table.rows[:MOST_ROWS]
        if len(rows) < len(table.rows):
            log.warning(
                "%s: %d of %d rows fit a sheet; the CSV file has all", table.key, len(rows), len(table.rows)
            )
        for n, column in enumerate(table.columns):
            sheet.write_string(0, n, _text(column.title), self._header)
            sheet.set_column(n, n, _width(column, [row[n] for row in rows[:LOOKED_AT]]))
        kinds = [column.kind for column in table.columns]
        for at, row in enumerate(rows, 1):
            for n, cell in enumerate(row):
                self._cell(sheet, at, n, cell, kinds[n])
        sheet.freeze_panes(1, 0)
        sheet.autofilter(0, 0, len(rows), len(table.columns) - 1)

    def _cell(self, sheet: Any, row: int, column: int, cell: Cell, kind: Holds) -> None:
        if cell.value == "":
            return
        if cell.at is not None:
            sheet.write_datetime(row, column, self._local(cell.at), self._formats[kind])
        elif cell.number and _exact(cell.value):
            sheet.write_number(row, column, float(cell.value), self._format(cell, kind))
        else:
            sheet.write_string(row, column, cell.value if cell.number else _text(cell.value))

    def _format(self, cell: Cell, kind: Holds) -> Any:
        if kind is not Holds.FIGURE:
            return self._formats.get(kind)
        places = len(cell.value.partition(".")[2])
        if places not in self._figures:
            shown = "#,##0" + ("." + "0" * places if places else "")
            self._figures[places] = self._book.add_format({"num_format": shown})
        return self._figures[places]

    def _local(self, at: date) -> date:
        return at.astimezone(self._zone).replace(tzinfo=None) if isinstance(at, datetime) else at


def _exact(figure: str) -> bool:
    """Whether a spreadsheet keeps all its digits; most figures are shorter as they stand."""
    return len(figure) <= EXACT_DIGITS or len(Decimal(figure).as_tuple().digits) <= EXACT_DIGITS


def _text(value: str) -> str:
    shown = neutral(value)
    return shown if len(shown) <= MOST_CHARACTERS else shown[: MOST_CHARACTERS - 1] + "…"


def _width(column: Column, cells: list[Cell]) -> float:
    """Characters that show the header on two lines and the longest of the cells; a wide character counts two."""
    needed = max((text_width(cell.value, 2) for cell in cells), default=0.0)
    return max(NARROW, min(WIDE, max(needed, text_width(column.title, 2) / 2) + 2))
