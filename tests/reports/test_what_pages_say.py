"""What a page says is so on every other page: no label over another figure, no reassurance over a loss, no count that is not there."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from rendering_sample import sample
from tests.reports.anomaly_world import Days, on

from ullage_collector.published import Published
from ullage_reports import period as periods
from ullage_reports.anomalies import Anomalies, AnomalyRow
from ullage_reports.model import RANKED, Amounts, HolderRow, Report, TreeCut
from ullage_reports.pages import Pages, pages
from ullage_reports.statement import statement
from ullage_reports.table import Cell, Table

NOW = datetime(2026, 10, 2, 6, tzinfo=UTC)
LANGS = pytest.mark.parametrize("lang", ["zh", "en"])
FAULT = date(2026, 9, 4)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five weeks from 3 August to 6 September. On FAULT card 8 is out of order, card 9 isolated, and neither by an incident; then
    card 9 is held twelve hours for development by nobody known, without a price."""
    days = Days()
    for number in range(35):
        days.usual(on(number))
    days.line(FAULT, 8, 0, 24, "platform", None, state="faulty")
    days.line(FAULT, 9, 0, 12, "platform", None, state="isolated")
    days.line(FAULT, 9, 12, 24, "__unallocated__", "x", price=None, scenario="development")
    made = tmp_path_factory.mktemp("said")
    days.publish(made, [on(number) for number in range(35)])
    return made


@pytest.fixture(scope="module")
def quarter(root: Path) -> Report:
    return statement(Published(root), periods.quarterly("2026-Q3", "UTC"), now=NOW)


@pytest.fixture(scope="module")
def month(root: Path) -> Report:
    return statement(Published(root), periods.monthly("2026-09", "UTC"), now=NOW)


def table(page: Pages, key: str) -> Table:
    return next(one for one in page.file_tables if one.key == key)


def column(one: Table, key: str) -> list[Cell]:
    place = [column.key for column in one.columns].index(key)
    return [row[place] for row in one.rows]


def lead(page: Pages, key: str) -> str:
    return next(section.lead for section in page.sections if section.key == key)


@LANGS
def test_what_is_idle_or_free_of_a_month_is_not_called_held_idle(quarter: Report, lang: str) -> None:
    page = pages(quarter, lang)
    months = table(page, "months")
    title = next(column.title for column in months.columns if column.key == "idle_cost")
    held = next(view.label for view in page.tiles if view.key == "idle_held_cost")
    assert held not in title
    assert (
        sum(Decimal(cell.value) for cell in column(months, "idle_cost") if cell.value)
        == quarter.total.idle_cost
    )


@LANGS
def test_a_month_nobody_published_has_dashes_and_no_zero(quarter: Report, lang: str) -> None:
    july, august, _ = table(pages(quarter, lang), "months").rows
    assert [cell.text for cell in july[2:]] == ["–"] * 6 and {cell.value for cell in july[2:]} == {""}
    assert Decimal(august[2].value) > 0


@LANGS
def test_cards_out_of_service_without_an_incident_are_told_with_their_hours(month: Report, lang: str) -> None:
    incidents = table(pages(month, lang), "incidents")
    assert not incidents.rows
    assert "24.00" in incidents.empty and "12.00" in incidents.empty
    assert incidents.empty != table(pages(replace(month, total=_well(month)), lang), "incidents").empty


def _well(report: Report) -> Amounts:
    nothing = Decimal("0.00")
    states = tuple(
        replace(s, cost=nothing, hours=nothing) if s.state in ("faulty", "isolated") else s
        for s in report.total.states
    )
    return replace(report.total, states=states)


@LANGS
def test_hours_beyond_the_listed_incidents_are_told_below_them(lang: str) -> None:
    report = sample()
    out = report.total.state_hours("faulty", "isolated")
    listed = sum((row.hours for row in report.incidents), Decimal(0))
    assert out > listed > 0
    assert f"{out - listed:,}" in table(pages(report, lang), "incidents").note
    every = replace(report, incidents=(replace(report.incidents[0], hours=out),))
    assert table(pages(every, lang), "incidents").note == ""


@LANGS
def test_nothing_is_called_done_where_cards_stand_free(month: Report, lang: str) -> None:
    said = pages(month, lang).sentences[2]
    assert said == {"en": "No workload held cards idle.", "zh": "没有任务占着卡不用。"}[lang]


@LANGS
def test_a_list_of_the_dearest_is_not_said_to_be_all(lang: str) -> None:
    report = sample()
    first: HolderRow = report.holders[0]
    for count, whole in ((RANKED, False), (RANKED - 1, True)):
        many = tuple(replace(first, workload_id=f"w{n}") for n in range(count))
        said = table(pages(replace(report, holders=many), lang), "idle").more
        assert ({"en": "has all", "zh": "全部"}[lang] in said) is whole, said
        assert str(count) in said and "--format csv" in said


@LANGS
def test_no_page_claims_a_file_that_nobody_asked_for(lang: str) -> None:
    shown = repr(pages(sample(), lang).sections)
    assert "CSV file" not in shown and "CSV 文件" not in shown
    assert "--format csv" in shown


def _unusual(*states: str) -> Anomalies:
    day = date(2026, 11, 17)
    row = AnomalyRow(
        "department", "d0", "cost", day, day, 1, Decimal(9), Decimal(4), Decimal(5), Decimal("1.25"), "", ()
    )
    return Anomalies(day, day, 7, 28, True, tuple(replace(row, state=state) for state in states))


@pytest.mark.parametrize(
    ("states", "english", "chinese"),
    [
        (("open",), "One anomaly, which goes on.", "有一处异常，仍在持续。"),
        (("closed",), "One anomaly, which has ended or become the usual.", "有一处异常，已结束或已成常态。"),
        (
            ("closed", "settled"),
            "2 anomalies, which have all ended or become the usual.",
            "有 2 处异常，均已结束或已成常态。",
        ),
        (("open", "closed"), "2 anomalies; one of them goes on.", "有 2 处异常，其中一处仍在持续。"),
        (("open", "open"), "2 anomalies; 2 of them go on.", "有 2 处异常，其中 2 处仍在持续。"),
    ],
)
def test_anomalies_are_counted_as_one_says_it(states: tuple[str, ...], english: str, chinese: str) -> None:
    report = replace(sample(), anomalies=_unusual(*states))
    assert (lead(pages(report, "en"), "anomalies"), lead(pages(report, "zh"), "anomalies")) == (
        english,
        chinese,
    )


@pytest.mark.parametrize(
    ("changes", "said"), [(0, "did not change"), (1, "changed once"), (2, "changed 2 times")]
)
def test_changes_of_the_organisation_are_counted_as_one_says_it(changes: int, said: str) -> None:
    report = replace(sample(), tree=TreeCut(changes=changes))
    assert said in table(pages(report, "en"), "departments").note
    assert "0" not in table(pages(replace(report, tree=TreeCut()), "zh"), "departments").note


@LANGS
def test_a_job_named_by_its_id_is_not_named_twice(month: Report, lang: str) -> None:
    economics = month.economics
    assert economics is not None
    first, second, *_ = economics.jobs
    jobs = (replace(first, name=f"job {first.workload_id}"), replace(second, name="sft of the week"))
    page = pages(replace(month, economics=replace(economics, jobs=jobs)), lang)
    named = [row[0] for row in table(page, "economics_jobs").rows]
    assert first.workload_id not in named[0].sub and "sft of the week" in named[1].sub
