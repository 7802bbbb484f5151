"""What the pages say: the sentence that fits the case, warnings first, nothing claimed that is not known."""

from __future__ import annotations

import dataclasses
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from rendering_sample import sample

from ullage_reports.model import Change, FindingRow, PageOne, Report, Sentence, Status, TrendPoint
from ullage_reports.pages import Pages, pages
from ullage_reports.period import daily
from ullage_reports.table import Table
from ullage_reports.trust_model import OriginRow, SumCheck


def with_sentence(report: Report, sentence: Sentence) -> Report:
    one = dataclasses.replace(report.page_one, sentences=(sentence,))
    return dataclasses.replace(report, page_one=one)


def said(report: Report, lang: str = "en") -> str:
    return " ".join(pages(report, lang).sentences)


def notices(page: Pages) -> str:
    return " ".join(notice.text for notice in page.notices)


def test_a_rise_a_fall_and_a_standstill_are_told_apart() -> None:
    for difference, word in (("5000.00", "more"), ("-5000.00", "less"), ("0.00", "the same")):
        values = {
            "cost": Decimal("20000.00"),
            "previous": Decimal("15000.00"),
            "difference": Decimal(difference),
            "ratio": Decimal("0.25"),
        }
        told = said(with_sentence(sample(), Sentence("cost_change", values)))
        assert word in told and "−" not in told, told


def test_a_start_from_nothing_is_no_percentage() -> None:
    values = {"cost": Decimal(9), "previous": Decimal("0.00"), "difference": Decimal(9), "ratio": None}
    told = said(with_sentence(sample(), Sentence("cost_change", values)))
    assert told == "This period cost CNY 9; the period before cost nothing."


def test_one_workload_is_not_workloads() -> None:
    values = {"count": 1, "saving": Decimal("10.00"), "department": "a", "workload": "j1"}
    assert said(with_sentence(sample(), Sentence("action", values))).startswith("One workload held")


def test_a_fleet_without_prices_is_not_free_of_charge() -> None:
    report = sample()
    zero = tuple(dataclasses.replace(s, cost=Decimal("0.00")) for s in report.total.states)
    total = dataclasses.replace(
        report.total, cost=Decimal("0.00"), states=zero, unpriced_hours=report.total.hours
    )
    page = PageOne(report.page_one.sentences, report.page_one.tiles, zero, {})
    unpriced = dataclasses.replace(report, total=total, page_one=page)
    told = said(unpriced)
    assert "not known" in told and "CNY 0" not in told
    assert "of the card-hours bought no work" in told
    assert pages(unpriced, "en").bar.title == "Where the card-hours went (no price is known)"


def test_parts_that_are_zero_are_not_named() -> None:
    values = {"ratio": Decimal("0.2"), "faulty_ratio": Decimal("0.2"), "isolated_ratio": Decimal("0.0000")}
    assert (
        said(with_sentence(sample(), Sentence("waste", values)))
        == "20.0% of it bought no work: 20.0% out of order."
    )


def test_a_failed_sum_check_is_the_first_warning() -> None:
    report = sample()
    bad = SumCheck("department", 3, report.total.cost, Decimal("0.01"), 0)
    page = pages(dataclasses.replace(report, trust=dataclasses.replace(report.trust, checks=(bad,))), "en")
    assert page.notices[0].grave and "Do not rely" in page.notices[0].text


def test_marks_name_what_was_not_measured_here() -> None:
    report = sample(origin="imported")
    assert pages(report, "en").marks == ("Imported data", "Assumed prices")
    real = dataclasses.replace(
        report.trust, origins=(OriginRow("real", 640, report.total.hours),), assumed_prices=()
    )
    page = pages(dataclasses.replace(report, trust=real, status=Status.SEALED), "en")
    assert page.marks == () and "simulated" not in notices(page)


def test_a_sealed_report_is_not_called_provisional() -> None:
    assert "Provisional" in notices(pages(sample(), "en"))
    assert "Provisional" not in notices(pages(sample(status=Status.SEALED), "en"))


def test_movers_are_named_with_their_money() -> None:
    report = sample()
    rows = tuple(
        dataclasses.replace(
            row, change=Change(Decimal(100), Decimal(-40 if row.depth == 0 else 5), Decimal("-0.4"))
        )
        for row in report.departments
    )
    page = pages(dataclasses.replace(report, departments=rows), "en")
    lead = page.sections[0].lead
    assert "Most down:" in lead and "−CNY 40" in lead and "Most up" not in lead


def test_a_daily_report_has_hours_and_no_week() -> None:
    report = sample()
    period = daily("2026-11-20", "Asia/Shanghai")
    hours = tuple(
        TrendPoint(datetime(2026, 11, 19, 16 + n % 8, tzinfo=UTC), f"{n:02d}:00", True, report.total)
        for n in range(24)
    )
    heat = tuple(cell for cell in report.heat if cell.weekday == 5)
    page = pages(dataclasses.replace(report, period=period, trend=hours, heat=heat), "zh")
    names = [block.name for s in page.sections for block in s.blocks if hasattr(block, "name")]
    assert "trend" in names and "week-hours" not in names
    assert page.title == "加速卡费用日报 2026-11-20" and page.subtitle == "2026-11-20"


def test_sections_come_in_the_order_a_reader_needs() -> None:
    keys = [section.key for section in pages(sample(), "en").sections]
    assert keys == [
        "departments",
        "scenarios",
        "models",
        "workloads",
        "idle",
        "incidents",
        "recommendations",
        "trust",
    ]
    assert [s.key for s in pages(sample(empty=True), "en").sections] == ["trust"]


def test_missing_days_that_follow_each_other_are_one_span() -> None:
    report = sample()
    days = (date(2026, 11, 16), date(2026, 11, 17), date(2026, 11, 18), date(2026, 11, 20))
    trust = dataclasses.replace(report.trust, missing_days=days)
    told = notices(pages(dataclasses.replace(report, trust=trust), "en"))
    assert "Days not published (UTC, 4): 2026-11-16 to 2026-11-18, 2026-11-20." in told


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_the_workloads_of_a_page_add_up_with_their_others(lang: str) -> None:
    report = sample()
    section = next(s for s in pages(report, lang).sections if s.key == "workloads")
    table = section.blocks[0]
    assert isinstance(table, Table) and table.shown_total is not None
    assert str(report.workload_count) in section.lead
    shown = table.shown_rows
    assert len(shown) == 11 and str(len(report.workloads) - 10) in shown[-1][0].text
    for n, cell in enumerate(table.shown_total[2:], start=2):
        assert sum(Decimal(row[n].value) for row in shown) == pytest.approx(
            Decimal(cell.value), abs=Decimal(0) if n < 7 else Decimal("0.001")
        )


def test_findings_that_say_the_same_of_many_nodes_are_one_row_of_the_page_and_all_are_in_the_file() -> None:
    def finding(number: int, kind: str, action: str | None, until: datetime | None = None) -> FindingRow:
        since = datetime(2026, 10, 1, number % 24, tzinfo=UTC)
        return FindingRow(
            str(number), kind, "node", f"n-{number:03}", since, until, Decimal(1), "platform", action
        )

    many = [finding(n, "not_seen", "install_agent") for n in range(20)]
    over = [finding(20, "not_seen", "install_agent", datetime(2026, 10, 3, tzinfo=UTC))]
    others = [finding(30 + n, "idle_workload", "tell_owner") for n in range(3)] + [
        finding(40, "odd_driver", None)
    ]
    report = dataclasses.replace(sample(), findings=(*many, *over, *others))
    laid = pages(report, "en")
    (page,) = [
        part
        for section in laid.sections
        for part in section.blocks
        if isinstance(part, Table) and part.key == "recommendations"
    ]
    shown = [[cell.text for cell in row] for row in page.shown_rows]
    assert len(shown) == 5, "one for the nodes, three idle ones, one without a suggestion"
    (nodes,) = [row for row in page.rows if "…" in row[2].text]
    assert (nodes[2].text, nodes[2].sub) == ("n-000, n-001, n-002, …", "21 in all")
    assert nodes[6].sub == "20 still so"
    assert shown[-1][2] == "–", "what suggests nothing comes last"
    (file,) = [table for table in laid.file_tables if table.key == "recommendations"]
    assert [row[2].value for row in file.rows] == [row.subject for row in report.findings]
