"""A department's copy: the figures of the whole report, of that department alone."""

from __future__ import annotations

from dataclasses import fields, replace
from decimal import Decimal

import pytest
from rendering_sample import sample

from ullage_reports.department_copy import department_copy
from ullage_reports.html import text
from ullage_reports.json_form import to_json
from ullage_reports.letter import letter
from ullage_reports.model import Report, WorkloadRest
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


def test_a_list_that_was_cut_says_so_in_the_copy() -> None:
    report = own(sample(), "d0")
    rest = WorkloadRest(3, report.workloads[0].amounts)
    for rows, said in ((None, False), (rest, True)):
        shown = text(copy_of(replace(report, workloads_rest=rows), "d0"), "en")
        assert ("Only the dearest workloads" in shown) is said


def test_a_hostile_name_makes_no_header_and_no_markup() -> None:
    names = ("研发\r\nBcc: evil@example.com", "<img src=x>\u202e", "b", "c")
    report = sample(names=names)
    made = letter(copy_of(report, "g/0"), "en", attach=("html",), link=None)
    assert (
        made["Bcc"] is None
        and "\n" not in made["Subject"]
        and "研发 Bcc: evil@example.com" in made["Subject"]
    )
    page = letter(copy_of(report, "g/1"), "en", attach=(), link=None).get_body(("html",))
    assert page is not None and "<img" not in page.get_content() and "\u202e" not in page.get_content()


def test_what_is_the_fleets_is_empty_in_every_field() -> None:
    """A field that is new is the fleet's until somebody says here that a department may see it."""
    own_fields = {
        "period", "previous", "currency", "minor_units", "status", "generated_at", "total", "change", "page_one",
        "departments", "workload_count", "held", "workloads", "trust", "tree", "copy",
    }  # fmt: skip
    own_trust = {
        "checks", "coverage_ratio", "unpriced_hours", "days", "missing_days", "dimensions_revision",
        "dimensions_digest", "data_digest", "method",
    }  # fmt: skip
    report = own(sample(), "d0")
    copy = copy_of(replace(report, workloads_rest=WorkloadRest(1, report.held)), "d0")
    for part, allowed in ((copy, own_fields), (copy.trust, own_trust)):
        shown = {f.name for f in fields(part) if getattr(part, f.name)}
        assert shown <= allowed, shown - allowed
    assert all(check.total == copy.total.cost for check in copy.trust.checks)


def test_a_copy_carries_no_link_to_the_whole_report() -> None:
    for report, linked in ((sample(), True), (copy_of(sample(), "d0"), False)):
        made = letter(report, "en", attach=(), link="https://r.example.com")
        body = made.get_body(("plain",))
        assert body is not None and ("https://r.example.com" in body.get_content()) is linked
