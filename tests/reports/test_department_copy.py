"""A department's copy: the figures of the whole report, of that department alone."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from rendering_sample import sample

from ullage_reports.department_copy import department_copy
from ullage_reports.html import text
from ullage_reports.model import Report, to_json
from ullage_reports.pages import pages


def copy_of(report: Report, department: str) -> Report:
    found = department_copy(report, department)
    assert found is not None
    return found


def own(report: Report, department: str) -> Report:
    """Workloads of the sample named by department ids, as the published days have them."""
    ids = {row.name: row.department_id for row in report.departments}
    return replace(
        report,
        workloads=tuple(replace(w, department_id=ids.get(w.department, "")) for w in report.workloads),
    )


def test_its_total_is_the_row_of_the_whole_report() -> None:
    report = sample()
    for row in report.departments:
        copy = copy_of(report, row.department_id)
        assert copy.total == row.amounts and copy.change == row.change
        assert copy.trust.adds_up
        assert copy.departments[0].depth == 0 and copy.departments[0].parent_id is None


def test_shares_are_of_the_department_so_that_the_whole_cannot_be_reckoned() -> None:
    copy = copy_of(own(sample(), "g"), "g")
    assert copy.departments[0].share == 1
    assert sum((row.share or Decimal(0) for row in copy.departments if row.depth == 1), Decimal(0)) == 1
    assert copy.workloads and sum(w.amounts.held_cost for w in copy.workloads) == copy.total.cost
    assert abs(sum((w.share or Decimal(0) for w in copy.workloads), Decimal(0)) - 1) < Decimal("0.001")


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_nothing_of_another_department_is_in_it_in_any_form(lang: str) -> None:
    report = own(sample(), "d0")
    mine = next(row for row in report.departments if row.department_id == "d0")
    copy = copy_of(report, "d0")
    seen = text(copy, lang) + str(to_json(copy)) + str(pages(copy, lang).file_tables)
    assert f"{mine.amounts.cost:,}" in seen
    for row in report.departments:
        if row.department_id != "d0":
            assert row.name.replace("\u202e", "")[:4] not in seen or row.kind != "department"
            assert f"{row.amounts.cost:,}" not in seen and str(row.amounts.cost) not in seen
    assert str(report.total.cost) not in seen and str(report.total.hours) not in seen
    for page in (seen,):
        assert not any(h.workload_id in page for h in report.holders)


def test_a_mark_of_the_whole_report_is_on_the_copy() -> None:
    page = pages(copy_of(sample(), "d0"), "en")
    assert page.marks == ("Simulated data", "Assumed prices")


def test_a_department_that_moved_has_all_its_places_together() -> None:
    report = own(sample(), "d0")
    first = next(row for row in report.departments if row.department_id == "d0")
    again = replace(first, depth=1, parent_id="g")
    at = next(n for n, row in enumerate(report.departments) if row.department_id == "g")
    rows = (*report.departments[: at + 1], again, *report.departments[at + 1 :])
    copy = copy_of(replace(report, departments=rows), "d0")
    assert copy.total.cost == first.amounts.cost * 2 and copy.total.hours == first.amounts.hours * 2
    assert copy.total.used_ratio == first.amounts.used_ratio or abs(
        (copy.total.used_ratio or 0) - (first.amounts.used_ratio or 0)
    ) <= Decimal("0.0001")
    assert copy.change is not None and first.change is not None
    assert copy.change.difference == first.change.difference * 2
    assert copy.workloads, "both places are its own"
    above = copy_of(replace(report, departments=rows), "g")
    assert not any(w.department_id == "d0" for w in above.workloads), "its figures are of another time, too"
    assert any(row.department_id == "d0" for row in above.departments)


def test_no_department_of_that_name_is_no_copy() -> None:
    assert department_copy(sample(), "nobody") is None
    assert department_copy(sample(empty=True), "d0") is None


def test_idle_cards_whose_workloads_are_not_listed_are_not_called_none() -> None:
    copy = copy_of(replace(sample(), workloads=()), "d0")
    assert copy.total.state_hours("allocated_idle")
    assert [s.key for s in copy.page_one.sentences] == ["cost_change", "waste"]
