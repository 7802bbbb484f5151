"""Budgets in a statement: as at the period's end, exact, with how long they last, in both languages."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from tests.reports.anomaly_world import Days, on
from tests.reports.test_budget import BEFORE, OCTOBER, stands

from ullage_collector.published import Published
from ullage_reports import period as periods
from ullage_reports.budget_settings import Budget, parse
from ullage_reports.department_copy import department_copy
from ullage_reports.json_form import to_json
from ullage_reports.model import Report
from ullage_reports.pages import pages
from ullage_reports.statement import statement
from ullage_reports.table import Table

BUDGETS = parse(
    "\n".join(
        f'[[budget]]\nname = "{name}"\ndepartments = ["{departments}"]\namount = "{amount}"\ncurrency = "CNY"\nperiod = "month"\n'
        for name, departments, amount in (
            ("Training", "rd", "8000.00"),
            ("Serving", "cv", "20000.00"),
            ("Tight", "cv", "5000"),
        )
    ),
    "budgets.toml",
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six weeks, to 2026-09-13: a working day costs rd 400, a weekend's 160; cv costs 480 every day."""
    days = Days()
    for number in range(42):
        days.usual(on(number))
    made = tmp_path_factory.mktemp("budgets")
    days.publish(made, [on(number) for number in range(42)])
    return made


def week(root: Path, label: str = "2026-W36") -> Report:
    now = datetime(2026, 9, 20, tzinfo=UTC)
    return statement(Published(root), periods.weekly(label, "UTC"), now=now, budgets=BUDGETS)


def test_the_day_a_budget_runs_out_can_be_counted_with_a_pencil() -> None:
    assert (
        stands(155, BEFORE + OCTOBER[:10]).runs_out == OCTOBER[15]
    )  # 10 a day: the 16th is the first beyond 155
    assert stands(310, BEFORE + OCTOBER[:10]).runs_out is None
    assert stands(45, BEFORE + OCTOBER[:10]).runs_out == OCTOBER[4]
    assert stands(155, OCTOBER[:5]).runs_out is None  # a forecast needs a week


def test_a_budget_is_as_it_stood_at_the_end_of_the_period(root: Path) -> None:
    report = week(root)  # to Sunday 6 September
    training, serving, tight = report.budgets
    # rd: 1 to 4 September are working days, 5 and 6 a weekend
    assert (training.label, training.spent, training.known, training.missing) == (
        "2026-09",
        Decimal("1920.00"),
        6,
        0,
    )
    # 22 working days and 8 of weekends: 22 x 400 + 8 x 160
    assert training.cheapest == training.expected == training.dearest == Decimal("10080.00")
    assert training.standing == "certainly_over"
    assert (training.runs_out, training.days_left) == (date(2026, 9, 24), 18)
    assert (serving.standing, serving.spent, serving.days_left) == ("on_track", Decimal("2880.00"), None)
    assert tight.standing == "certainly_over"
    later = week(root, "2026-W37").budgets[2]
    assert (later.standing, later.runs_out, later.days_left) == ("exceeded", date(2026, 9, 11), 0)


def test_pages_and_files_show_them_and_a_copy_does_not(root: Path) -> None:
    report = week(root)
    tile = report.page_one.tiles[-1]
    assert (tile.key, tile.value) == ("budgets_over", Decimal(2))
    for lang, said in (("en", "will be exceeded"), ("zh", "必将超支")):
        page = pages(report, lang)
        (table,) = (b for s in page.sections for b in s.blocks if isinstance(b, Table) and b.key == "budgets")
        first = [cell.text for cell in table.shown_rows[0]]
        assert said in first and "8,000.00" in first and "18" in first
        assert any(t.key == "budgets" for t in page.file_tables)
        assert any(view.key == "budgets_over" and view.value == "2" for view in page.tiles)
    assert to_json(report)
    copy = department_copy(report, "rd")
    assert copy is not None and copy.budgets == ()


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_page_one_shows_the_worst_budget_by_name_and_period_not_the_largest(root: Path, lang: str) -> None:
    """A budget of the whole fleet that is on track does not hide those that are exceeded."""
    whole = replace(BUDGETS[0], name="Everything", departments=("*",), atoms=BUDGETS[1].atoms * 10)
    now = datetime(2026, 9, 20, tzinfo=UTC)

    def of(period: periods.Period, *budgets: Budget) -> Report:
        return statement(Published(root), period, now=now, budgets=budgets, currency="CNY")

    def note(report: Report) -> str:
        return pages(report, lang).tiles[-1].note

    later = periods.weekly("2026-W37", "UTC")
    report = of(later, whole, *BUDGETS)
    tile = report.page_one.tiles[-1]
    assert (tile.key, tile.value) == ("budgets_over", Decimal(2))
    tight = report.budgets[3]
    assert tight.standing == "exceeded" and tight.used_ratio == Decimal("1.2480")  # 480 x 13 days of 5000
    assert "Tight 2026-09" in note(report) and "124.8%" in note(report) and "4" in note(report)
    one = of(periods.weekly("2026-W36", "UTC"), whole)
    tile = one.page_one.tiles[-1]
    assert (tile.key, tile.value) == (
        "budget_worst_ratio",
        Decimal("0.0576"),
    )  # 8 cards x 240 x 6 days of 200,000
    assert "Everything 2026-09" in note(one)
    serving = BUDGETS[1]  # 480 x 6 days of 20,000
    both = of(periods.weekly("2026-W36", "UTC"), whole, serving)
    assert both.page_one.tiles[-1].value == Decimal("0.1440") and "Serving 2026-09" in note(both)
    quarter = of(periods.quarterly("2026-Q3", "UTC"), serving)
    assert "Serving 2026-09" in note(quarter), (
        "a month's budget in a quarter is its last month's, and says so"
    )
