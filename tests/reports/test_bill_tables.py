"""The bill on the pages: said once, adding up as printed, and a department's copy without anybody else."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from bill_sample import billed
from rendering_sample import NAMES, sample

from ullage_reports.department_copy import department_copy
from ullage_reports.model import Report
from ullage_reports.pages import Pages, pages
from ullage_reports.table import Table


def table(page: Pages, key: str) -> Table:
    return next(one for one in page.file_tables if one.key == key)


def shown(page: Pages) -> str:
    """Everything a reader sees."""
    return repr((page.sentences, page.notices, page.sections, page.tiles))


@pytest.fixture(scope="module")
def report() -> Report:
    return billed(sample())


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_rows_of_the_bill_add_up_as_printed(report: Report, lang: str) -> None:
    bill = table(pages(report, lang), "bill")
    assert bill.total is not None
    for place in range(2, 8):
        cells = [Decimal(row[place].value) for row in bill.rows if row[1].indent == 0]
        assert sum(cells) == Decimal(bill.total[place].value), bill.columns[place].key
    for row in (*bill.rows, bill.total):
        assert sum(Decimal(cell.value) for cell in row[2:7]) == Decimal(row[7].value)


def test_what_is_owed_is_said_on_page_one_where_it_is_more_than_capacity(report: Report) -> None:
    assert (
        pages(report, "en")
        .sentences[-1]
        .startswith("Owed in all is −CNY 921,587: capacity CNY 322,076, energy")
    )
    assert next(section.key for section in pages(report, "en").sections) == "bill"
    for plain in (sample(), replace(report, bill=None)):
        page = pages(plain, "en")
        assert "Owed" not in shown(page)
        assert "bill" not in [section.key for section in page.sections]


def test_energy_nobody_published_is_a_dash_and_no_zero() -> None:
    page = pages(billed(sample(), energy=False), "en")
    bill = table(page, "bill")
    place = [column.key for column in bill.columns].index("energy")
    assert {row[place].text for row in bill.rows} == {"–"}
    assert {row[place].value for row in bill.rows} == {""}
    assert "No energy is published" in shown(page)


def test_energy_without_a_tariff_is_told_on_page_one(report: Report) -> None:
    assert any("12.500 kWh have no tariff" in n.text and n.grave for n in pages(report, "en").notices)


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_a_departments_copy_shows_what_it_owes_and_nobody_else(report: Report, lang: str) -> None:
    copy = department_copy(report, "g")
    assert copy is not None and copy.bill is not None
    seen = shown(pages(copy, lang))
    for name in NAMES[2:]:
        assert name not in seen
    whole = {row.department_id: row.charges.total for row in report.bill.departments} if report.bill else {}
    assert copy.bill.total.total == whole["g"]
    for other, owed in whole.items():
        if other != "g" and not other.startswith("g/"):
            assert f"{owed:,}" not in seen, other


def test_a_policys_words_are_on_the_last_page(report: Report) -> None:
    policies = table(pages(report, "en"), "policies")
    cells = policies.rows[0]
    assert cells[0].value == "2026" and cells[1].value == "0f3a9c2b7d11"
    assert "shared out by what departments pay" in cells[4].text
    assert cells[4].value.startswith("unallocated_idle=proportional; faulty=platform_pays")
