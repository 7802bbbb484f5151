"""The table of budgets: what is spent of each, how fast, where it is going, and how long it lasts."""

from __future__ import annotations

from typing import Final

from ullage_contract.plain import plain
from ullage_reports.budgets import OVER, BudgetRow
from ullage_reports.table import Cell, Column, Holds, Table
from ullage_reports.wording import Wording

PRINTED: Final = 40
"""our choice: because nobody keeps more budgets than a page has lines; the file has all."""


def rows(w: Wording) -> Table:
    """In the order of the file; money in each budget's own currency."""
    t = w.t
    found = w.report.budgets
    return Table(
        key="budgets",
        caption=t("table.budgets", window=w.window),
        columns=(
            Column("budget", t("column.budget"), figures=False, weight=2.4),
            Column("departments", t("column.department"), figures=False, shown=False),
            Column("scenarios", t("column.scenarios"), figures=False, shown=False),
            Column("period", t("column.budget_period"), figures=False, shown=False),
            Column("currency", t("column.currency"), figures=False, shown=False),
            Column("amount", t("column.amount"), weight=1.5),
            Column("spent", t("column.spent"), weight=1.5),
            Column("used_ratio", t("column.spent_ratio"), weight=0.9, holds=Holds.RATIO),
            Column("a_day", t("column.a_day"), weight=1.3),
            Column("expected", t("column.forecast"), weight=2.1),
            Column("cheapest", t("column.cheapest"), shown=False),
            Column("dearest", t("column.dearest"), shown=False),
            Column("days_left", t("column.days_left"), weight=0.9, holds=Holds.COUNT),
            Column("days_missing", t("column.days_missing"), shown=False, holds=Holds.COUNT),
            Column("unpriced_hours", t("column.unpriced_hours"), shown=False),
            Column("standing", t("column.standing"), figures=False, weight=1.4),
        ),
        rows=tuple(_row(w, row) for row in found),
        printed=PRINTED,
        more=w.more(len(found), PRINTED),
        note=t("note.budgets"),
        empty=t("empty.budgets"),
    )


def _row(w: Wording, row: BudgetRow) -> tuple[Cell, ...]:
    t = w.t
    departments, scenarios = (plain(", ".join(some)) for some in (row.departments, row.scenarios))
    of = [
        text
        for text in (departments if departments != "*" else "", scenarios if scenarios != "*" else "")
        if text
    ]
    forecast = w.money_cell(row.expected)
    between = ""
    if row.cheapest is not None and row.dearest is not None:
        between = t("word.between", low=w.f.number(row.cheapest), high=w.f.number(row.dearest))
    notes = []
    if row.missing:
        notes.append(t("word.days_missing", count=w.f.number(row.missing)))
    if row.unpriced_hours:
        notes.append(t("word.unpriced", hours=w.hours(row.unpriced_hours)))
    return (
        w.name_cell(plain(row.name), sub=" · ".join([plain(row.label), row.currency, *of])),
        w.text_cell(departments),
        w.text_cell(scenarios),
        w.text_cell(row.label),
        w.text_cell(row.currency),
        w.money_cell(row.amount),
        w.money_cell(row.spent),
        w.ratio_cell(row.used_ratio),
        w.money_cell(row.a_day),
        Cell(forecast.text, forecast.value, True, sub=between),
        w.money_cell(row.cheapest),
        w.money_cell(row.dearest),
        w.count_cell(row.days_left),
        w.count_cell(row.missing),
        w.hours_cell(row.unpriced_hours),
        Cell(
            t(f"budget_standing.{row.standing}"),
            row.standing,
            tone="bad" if row.standing in (*OVER, "likely_over") else "",
            sub=" · ".join(notes),
        ),
    )
