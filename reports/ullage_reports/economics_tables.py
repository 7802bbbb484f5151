"""The tables of what work cost: makers and models, scenarios, the dearest jobs, and what was served. Every figure is the model's."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from ullage_reports.economics import TOP, ComputeRow, JobRow, ServedRow
from ullage_reports.format import DASH
from ullage_reports.model import Report
from ullage_reports.table import Cell, Column, Holds, Table
from ullage_reports.wording import Wording

PRINTED: Final = 10
"""Jobs and serving workloads on a page; the file has all."""


def lead(w: Wording, report: Report) -> str:
    """What a used card-hour cost in all, and that figures of computing are estimates where there are any."""
    found = report.economics
    if found is None or found.used_hour_cost is None:
        return w.t("lead.economics")
    key = "lead.economics_hour_priced" if w.some_unpriced else "lead.economics_hour"
    said = w.t(key, cost=w.f.money(found.used_hour_cost))
    return w.t("word.sentence_gap").join([said, w.t("lead.economics_estimate")]) if found.estimated else said


def makers(w: Wording) -> Table:
    """One row a maker: what a used hour and an effective PFLOP-day cost, comparable across makers."""
    found = w.report.economics
    return _computed(w, "economics_makers", found.makers if found else ())


def models(w: Wording) -> Table:
    """The same by model, with the peak and who says it."""
    found = w.report.economics
    return _computed(w, "economics_models", found.models if found else ())


def _computed(w: Wording, key: str, rows: Sequence[ComputeRow]) -> Table:
    t, currency = w.t, w.report.currency
    by_model = key == "economics_models"
    notes = [t("note.economics_models")] if by_model else []
    notes += [t("note.economics_unpriced")] if w.some_unpriced else []
    return Table(
        key=key,
        caption=t(f"table.{key}", currency=currency, window=w.window),
        columns=(
            Column("vendor", t("column.vendors"), figures=False, weight=1.2, shown=not by_model),
            *((Column("model", t("column.model"), figures=False, weight=2.2),) if by_model else ()),
            Column("cost", t("column.cost", currency=currency), weight=1.6),
            Column("used_hours", t("column.used_hours"), weight=1.2),
            Column("used_hour_cost", t("column.effective_price", currency=currency), weight=1.4),
            Column("signal", t("column.signal"), figures=False, weight=1.6),
            Column("active_ratio", t("column.active_ratio"), weight=0.9, holds=Holds.RATIO),
            Column("covered_ratio", t("column.covered_ratio"), weight=0.9, holds=Holds.RATIO),
            *((Column("peak_tflops", t("column.peak_tflops"), weight=0.9),) if by_model else ()),
            Column("pflop_days", t("column.pflop_days"), weight=1.2),
            Column("pflop_day_cost", t("column.pflop_day_cost", currency=currency), weight=1.5),
            *((Column("source", t("column.source"), figures=False, shown=False),) if by_model else ()),
        ),
        rows=tuple(_compute_row(w, row, by_model) for row in rows),
        printed=PRINTED * 4,
        more=w.more(len(rows), PRINTED * 4),
        note=t("word.sentence_gap").join(notes),
        empty=t("empty.no_data"),
    )


def _compute_row(w: Wording, row: ComputeRow, by_model: bool) -> tuple[Cell, ...]:
    vendor = w.group("vendors", row.vendor)
    signal = w.t(f"signal.{row.signal}") if row.signal else ""
    named = (w.name_cell(w.plain(row.model), sub=vendor),) if by_model else ()
    return (
        w.name_cell(vendor),
        *named,
        w.cost_cell(row.cost, _priced(w, row)),
        w.hours_cell(row.used_hours),
        w.money_cell(row.used_hour_cost),
        Cell(signal or DASH, str(row.signal or "")),
        w.ratio_cell(row.active_ratio),
        w.ratio_cell(row.covered_ratio),
        *((w.money_cell(row.peak_tflops),) if by_model else ()),
        _estimate(w, row.pflop_days),
        _estimate(w, row.pflop_day_cost),
        *((w.text_cell(row.source),) if by_model else ()),
    )


def _priced(w: Wording, row: ComputeRow) -> bool:
    """Whether the report's own row of the model or maker has a cost that is known."""
    if row.model is None:
        return all(one.amounts.priced for one in w.report.vendors if one.key == row.vendor)
    return all(
        one.amounts.priced for one in w.report.models if (one.vendor, one.model) == (row.vendor, row.model)
    )


def _estimate(w: Wording, value: Decimal | None) -> Cell:
    cell = w.money_cell(value)
    return cell if value is None else cell._replace(text=w.t("word.about", value=cell.text))


def scenarios(w: Wording) -> Table:
    """Jobs by scenario: how many, the middle one's cost, and what a used hour of them cost."""
    t, currency = w.t, w.report.currency
    found = w.report.economics
    rows = found.scenarios if found else ()
    return Table(
        key="economics_scenarios",
        caption=t("table.economics_scenarios", currency=currency, window=w.window),
        columns=(
            Column("scenario", t("column.scenarios"), figures=False, weight=2.0),
            Column("jobs", t("column.jobs"), holds=Holds.COUNT),
            Column("unpriced", t("column.unpriced_jobs"), shown=False, holds=Holds.COUNT),
            Column("cost", t("column.cost", currency=currency), weight=1.6),
            Column("median", t("column.median_job", currency=currency), weight=1.6),
            Column("used_hour_cost", t("column.effective_price", currency=currency), weight=1.6),
        ),
        rows=tuple(
            (
                w.name_cell(w.group("scenarios", row.scenario)),
                w.count_cell(row.jobs),
                w.count_cell(row.unpriced),
                w.cost_cell(row.cost, row.unpriced < row.jobs),
                w.money_cell(row.median),
                w.money_cell(row.used_hour_cost),
            )
            for row in rows
        ),
        note=t("note.economics_jobs"),
        empty=t("empty.workloads"),
    )


def jobs(w: Wording) -> Table:
    """The dearest jobs of the period."""
    t, currency = w.t, w.report.currency
    found = w.report.economics
    rows = found.jobs if found else ()
    return Table(
        key="economics_jobs",
        caption=t("table.economics_jobs", currency=currency, window=w.window),
        columns=(
            Column("workload_id", t("column.workload"), figures=False, weight=3.0),
            Column("name", t("column.name"), figures=False, shown=False),
            Column("department_id", t("column.department_id"), figures=False, shown=False),
            Column("department", t("column.department"), figures=False, weight=1.7),
            Column("scenario", t("column.scenarios"), figures=False, shown=False),
            Column("cards", t("column.cards"), weight=0.7, holds=Holds.COUNT),
            Column("held_hours", t("column.held_hours"), weight=1.2),
            Column("used_hours", t("column.used_hours"), weight=1.2),
            Column("cost", t("column.cost", currency=currency), weight=1.5),
            Column("used_hour_cost", t("column.effective_price", currency=currency), weight=1.4),
        ),
        rows=tuple(_job(w, row) for row in rows),
        printed=PRINTED,
        more=w.more(len(rows), PRINTED, of_the_dearest=TOP),
        empty=t("empty.workloads"),
    )


def _job(w: Wording, row: JobRow) -> tuple[Cell, ...]:
    scenario = w.group("scenarios", row.scenario)
    named = w.plain(row.workload_id)
    name = w.plain(row.name)
    if named in name:
        name = ""  # schedulers name a job by its id where nobody did; the line above has it
    return (
        Cell(named, named, sub=" · ".join(filter(None, (name, scenario)))),
        w.text_cell(row.name),
        w.text_cell(row.department_id),
        w.name_cell(w.department_name(row.department, row.department_id)),
        w.name_cell(scenario),
        w.count_cell(row.cards),
        w.hours_cell(row.held_hours),
        w.hours_cell(row.used_hours),
        w.money_cell(row.cost),
        w.money_cell(row.used_hour_cost),
    )


def served(w: Wording) -> Table:
    """What requests and tokens cost, by serving workload; the last row is all of them."""
    t, currency = w.t, w.report.currency
    found = w.report.economics
    rows = found.served if found else ()
    return Table(
        key="economics_served",
        caption=t("table.economics_served", currency=currency, window=w.window),
        columns=(
            Column("workload_id", t("column.workload"), figures=False, weight=2.6),
            Column("department_id", t("column.department_id"), figures=False, shown=False),
            Column("business", t("column.businesses"), figures=False, shown=False),
            Column("known_hours", t("column.known_hours"), shown=False, holds=Holds.COUNT),
            Column("cost", t("column.cost", currency=currency), weight=1.4),
            Column("requests", t("column.requests"), weight=1.2, holds=Holds.COUNT),
            Column("prompt_tokens", t("column.prompt_tokens"), shown=False, holds=Holds.COUNT),
            Column("generated_tokens", t("column.generated_tokens"), weight=1.3, holds=Holds.COUNT),
            Column("thousand_requests", t("column.thousand_requests", currency=currency), weight=1.3),
            Column("million_tokens", t("column.million_tokens", currency=currency), weight=1.3),
            Column("million_generated", t("column.million_generated", currency=currency), weight=1.3),
        ),
        rows=tuple(_serving(w, row) for row in rows if row.workload_id is not None),
        total=next((_serving(w, row) for row in rows if row.workload_id is None), None),
        printed=PRINTED,
        more=w.more(len(rows) - 1, PRINTED, of_the_dearest=TOP),
        note=t("note.economics_served"),
        empty=t("empty.served"),
    )


def _serving(w: Wording, row: ServedRow) -> tuple[Cell, ...]:
    named = w.t("word.total") if row.workload_id is None else w.plain(row.workload_id)
    shown = "" if row.department is None else w.department_name(row.department, row.department_id or "")
    return (
        Cell(named, named, sub=shown),
        w.text_cell(row.department_id),
        w.text_cell(row.business),
        w.count_cell(row.hours),
        w.money_cell(row.cost),
        w.count_cell(row.requests),
        w.count_cell(row.prompt_tokens),
        w.count_cell(row.generated_tokens),
        w.money_cell(row.thousand_requests),
        w.money_cell(row.million_tokens),
        w.money_cell(row.million_generated),
    )
