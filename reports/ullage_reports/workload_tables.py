"""The table of workloads: who held cards, what of it worked, and what it cost. Every figure comes from the model as it stands."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from ullage_reports.model import HeldAmounts, WorkloadRow
from ullage_reports.rounding import decimal_ratio
from ullage_reports.table import Cell, Column, Holds, Table
from ullage_reports.wording import Wording

WORKLOADS_PRINTED: Final = 10
"""Workloads on a page, the rest in one row. our choice: the ten dearest are what a meeting can go through."""


def workloads(w: Wording) -> Table:
    """Every workload that held cards, by money; a page shows the dearest, the others in a row, and what they add up to."""
    t, report = w.t, w.report
    rest = report.workloads_rest
    above = report.workloads[:WORKLOADS_PRINTED]
    filed = replace(w, printing=False)
    rows = [_workload_row(w, row) for row in above]
    rows += [_workload_row(filed, row) for row in report.workloads[WORKLOADS_PRINTED:]]
    if rest:
        rows.append(_workload_rest(w, rest.rows, rest.amounts))
    nothing = report.held - report.held
    below = [row.amounts for row in report.workloads[WORKLOADS_PRINTED:]]
    left = nothing.plus([*below, rest.amounts] if rest else below)
    count = len(report.workloads) - len(above) + (rest.rows if rest else 0)
    return Table(
        key="workloads",
        caption=t("table.workloads", currency=report.currency, window=w.window),
        columns=(
            Column("workload_id", t("column.workload"), figures=False, weight=3.0),
            Column("name", t("column.name"), figures=False, shown=False),
            Column("kind", t("column.workload_kind"), figures=False, shown=False),
            Column("department_id", t("column.department_id"), figures=False, shown=False),
            Column("department", t("column.department"), figures=False, weight=1.7),
            Column("business", t("column.businesses"), figures=False, shown=False),
            Column("scenario", t("column.scenarios"), figures=False, shown=False),
            Column("cards", t("column.cards"), shown=False, holds=Holds.COUNT),
            Column("since", t("column.since"), figures=False, shown=False, holds=Holds.INSTANT),
            Column("until", t("column.until"), figures=False, shown=False, holds=Holds.INSTANT),
            Column("held_cost", t("column.cost", currency=report.currency), weight=1.4),
            Column("held_hours", t("column.held_hours"), weight=1.1),
            Column("used_hours", t("column.used_hours"), weight=1.1),
            Column("idle_hours", t("column.idle_hours"), weight=1.1),
            Column("unknown_hours", t("column.unknown_hours"), weight=1.1),
            Column("used_cost", t("column.state_cost", state=w.state("used")), shown=False),
            Column("idle_cost", t("column.state_cost", state=w.state("allocated_idle")), shown=False),
            Column("unknown_cost", t("column.state_cost", state=w.state("unknown")), shown=False),
            Column("unpriced_hours", t("column.unpriced_hours"), shown=False),
            Column("share", t("column.share_of_cost"), weight=0.9, holds=Holds.RATIO),
        ),
        rows=tuple(rows),
        total=(
            w.name_cell(t("word.total")),
            *(Cell("", ""),) * 6,
            Cell("", "", True),
            *(Cell("", ""),) * 2,
            *_held_cells(w, report.held),
            w.ratio_cell(decimal_ratio(report.held.held_cost, report.total.cost)),
        ),
        printed=WORKLOADS_PRINTED,
        others=_workload_rest(w, count, left),
        more=w.more(
            len(report.workloads), WORKLOADS_PRINTED, of_the_dearest=len(report.workloads) if rest else None
        ),
        note=_workloads_note(w),
        empty=t("empty.workloads"),
    )


def _workloads_note(w: Wording) -> str:
    report = w.report
    if report.workloads_rest:
        return w.t("note.workloads_rest", count=w.f.number(report.workloads_rest.rows))
    return w.t("note.workloads_cut") if report.copy is not None and report.copy.cut else ""


def _workload_row(w: Wording, row: WorkloadRow) -> tuple[Cell, ...]:
    scenario = w.group("scenarios", row.scenario or "")
    return (
        _named(w, row, scenario),
        w.text_cell(row.name),
        w.text_cell(row.kind),
        w.text_cell(row.department_id),
        w.name_cell(w.department_name(row.department, row.department_id)),
        w.text_cell(row.business),
        w.name_cell(scenario),
        w.count_cell(row.cards),
        w.instant_cell(row.since),
        w.instant_cell(row.until),
        *_held_cells(w, row.amounts),
        w.ratio_cell(row.share if row.amounts.priced else None),
    )


def _named(w: Wording, row: WorkloadRow, scenario: str) -> Cell:
    named = w.plain(row.workload_id)
    if not w.printing:
        return Cell("", named)
    kind = w.t.known("workload_kind", w.plain(row.kind)) if row.kind else ""
    return Cell(named or w.t("name.none_given"), named, sub=" · ".join(filter(None, (kind, scenario))))


def _workload_rest(w: Wording, count: int, amounts: HeldAmounts) -> tuple[Cell, ...]:
    others = w.t("name.other_workloads", count=w.f.number(count))
    return (
        w.name_cell(others, tone="muted"),
        *(Cell("", ""),) * 6,
        Cell("", "", True),
        *(Cell("", ""),) * 2,
        *_held_cells(w, amounts),
        w.ratio_cell(decimal_ratio(amounts.held_cost, w.report.total.cost) if amounts.priced else None),
    )


def _held_cells(w: Wording, a: HeldAmounts) -> tuple[Cell, ...]:
    return (
        w.cost_cell(a.held_cost, a.priced),
        *(w.hours_cell(hours) for hours in (a.held_hours, a.used_hours, a.idle_hours, a.unknown_hours)),
        *(w.cost_cell(cost, a.priced) for cost in (a.used_cost, a.idle_cost, a.unknown_cost)),
        w.hours_cell(a.unpriced_hours),
    )
