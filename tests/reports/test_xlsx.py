"""XLSX: what a spreadsheet opens, what it never runs, and the figures of the model. openpyxl reads what XlsxWriter wrote."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from rendering_sample import BIDI, EVIL, sample

from ullage_reports.pages import pages
from ullage_reports.table import Cell, Column, Holds, Table
from ullage_reports.xlsx import FIRST, render

HOSTILE = ('=HYPERLINK("http://x")', "@SUM(A1)", "+1", "https://evil.example/x", "00123", EVIL, BIDI)


def book(report: Any, out: Path, lang: str = "zh") -> Any:
    return openpyxl.load_workbook(render(report, lang, out))


def rows(sheet: Any, table: Table) -> list[dict[str, Any]]:
    keys = [column.key for column in table.columns]
    return [dict(zip(keys, row, strict=True)) for row in sheet.iter_rows(min_row=2, values_only=True)]


def exact(value: object) -> Decimal:
    """A number as a spreadsheet shows it: fifteen digits."""
    assert isinstance(value, (int, float)) and not isinstance(value, bool)
    return Decimal(f"{value:.15g}")


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_one_sheet_a_table_with_the_figures_of_the_csv(tmp_path: Path, lang: str) -> None:
    found = book(sample(), tmp_path, lang)
    tables = pages(sample(), lang).file_tables
    assert found.sheetnames == [FIRST, *(table.key for table in tables)]
    for table in tables:
        sheet = found[table.key]
        assert [cell.value for cell in sheet[1]] == [column.title for column in table.columns]
        assert sheet.max_row == len(table.rows) + 1
        for read, row in zip(sheet.iter_rows(min_row=2), table.rows, strict=True):
            for cell, wanted in zip(read, row, strict=True):
                if wanted.value == "":
                    assert cell.value is None
                elif wanted.number:
                    assert cell.data_type == "n" and exact(cell.value) == Decimal(wanted.value)
                elif wanted.at is not None:
                    assert cell.is_date
                else:
                    assert cell.data_type == "s" and str(cell.value).lstrip("'") == wanted.value.lstrip("'")


def test_an_instant_is_local_time_and_a_day_is_a_date(tmp_path: Path) -> None:
    report = sample()
    found = book(report, tmp_path)
    by_key = {table.key: table for table in pages(report, "zh").file_tables}
    holder = rows(found["idle"], by_key["idle"])[0]
    assert holder["since"] == datetime.fromisoformat(by_key["idle"].rows[0][10].value)
    assert report.holders[0].since.utcoffset() is not None, "written in UTC it would be eight hours off"
    assert rows(found["sources"], by_key["sources"])[0]["day"] == datetime.fromisoformat("2026-11-15")
    assert found["idle"]["K2"].number_format == "yyyy-mm-dd hh:mm"


def test_headers_stay_in_sight_and_columns_are_wide_enough(tmp_path: Path) -> None:
    found = book(sample(), tmp_path)
    for sheet in found.worksheets[1:]:
        assert sheet.freeze_panes == "A2"
        assert sheet.auto_filter.ref
    widths = {k: d.width for k, d in found["workloads"].column_dimensions.items()}
    assert all(8 <= width <= 52 for width in widths.values()) and len(set(widths.values())) > 3


def test_no_text_is_run_linked_or_taken_for_a_number(tmp_path: Path) -> None:
    found = book(sample(names=HOSTILE), tmp_path, "en")
    seen = set()
    for sheet in found.worksheets:
        for row in sheet.iter_rows():
            for cell in row:
                assert cell.data_type in ("n", "s", "d") and cell.hyperlink is None
                if isinstance(cell.value, str):
                    assert cell.value[:1] not in "=+-@" or cell.value == "", cell.value
                    assert "\u202e" not in cell.value
                    seen.add(cell.value)
    assert {'\'=HYPERLINK("http://x")', "'@SUM(A1)", "'+1", "https://evil.example/x", "00123"} <= seen


def test_unknown_is_an_empty_cell_and_never_zero(tmp_path: Path) -> None:
    found = book(sample(), tmp_path)
    gap = next(
        row
        for row in found["trend"].iter_rows(min_row=2)
        if row[0].value == datetime.fromisoformat("2026-11-21")
    )
    assert {cell.value for cell in gap[1:]} == {None}


def test_a_figure_with_more_digits_than_a_spreadsheet_keeps_is_text(tmp_path: Path) -> None:
    from ullage_reports import xlsx

    long = Cell("", "1234567890123456.78", number=True)
    table = Table(
        "t", "", (Column("a", "a", holds=Holds.FIGURE),), ((long,), (Cell("", "0.30", number=True),)), ""
    )
    path = tmp_path / "t.xlsx"
    with xlsx.xlsxwriter.Workbook(path) as made:
        xlsx._Sheets(made, pages(sample(), "en"), sample())._table(table)
    sheet = openpyxl.load_workbook(path)["t"]
    assert sheet["A2"].value == "1234567890123456.78"
    assert sheet["A3"].value == 0.3 and sheet["A3"].number_format == "#,##0.00"


def test_the_first_sheet_says_what_must_be_known(tmp_path: Path) -> None:
    page = pages(sample(), "en")
    told = {
        str(cell.value)
        for row in book(sample(), tmp_path, "en")[FIRST].iter_rows()
        for cell in row
        if cell.value
    }
    assert {notice.text for notice in page.notices} <= told
    assert {page.title, "Asia/Shanghai", "CNY", *(table.caption for table in page.file_tables)} <= told


def test_no_data_gives_headers_alone(tmp_path: Path) -> None:
    assert book(sample(empty=True), tmp_path)["departments"].max_row == 1


def test_the_same_report_gives_the_same_bytes(tmp_path: Path) -> None:
    one = render(sample(), "zh", tmp_path).read_bytes()
    (tmp_path / "b").mkdir()
    assert render(sample(), "zh", tmp_path / "b").read_bytes() == one


def test_the_documents_date_is_the_reports_time_of_making(tmp_path: Path) -> None:
    told = book(sample(), tmp_path).properties
    assert {told.created, told.modified} == {sample().generated_at.replace(tzinfo=None)}
