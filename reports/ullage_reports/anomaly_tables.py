"""The tables of anomalies: what, when, how much, why, and whether it goes on."""

from __future__ import annotations

from typing import Final

from ullage_collector.ledger import PLATFORM, UNMAPPED
from ullage_contract.plain import plain
from ullage_reports.anomalies import DEPARTMENT, SCENARIO, AnomalyRow, CauseRow
from ullage_reports.anomaly_causes import IDLE, INCIDENT, WORK
from ullage_reports.model import Report
from ullage_reports.table import Cell, Column, Holds, Table
from ullage_reports.wording import Wording

PRINTED: Final = 15
"""our choice: because fifteen can be asked about in a week; the file has all."""
CAUSES_SHOWN: Final = 3
"""Of a row on a page; the table of causes has all."""


def rows(w: Wording) -> Table:
    """One row an anomaly, the largest first."""
    t, currency = w.t, w.report.currency
    found = w.report.anomalies.rows if w.report.anomalies else ()
    return Table(
        key="anomalies",
        caption=t("table.anomalies", currency=currency, window=w.window),
        columns=(
            Column("first", t("column.first_day"), figures=False, weight=1.3, steady=True, holds=Holds.DAY),
            Column("last", t("column.last_day"), figures=False, shown=False, holds=Holds.DAY),
            Column("of", t("column.anomaly_of"), figures=False, shown=False),
            Column("subject", t("column.anomaly"), figures=False, weight=2.0),
            Column("metric", t("column.metric"), figures=False, shown=False),
            Column("difference", t("column.difference_usual"), weight=1.6),
            Column("change", t("column.ratio_usual"), weight=0.9, holds=Holds.RATIO),
            Column("value", t("column.value"), shown=False),
            Column("expected", t("column.expected"), shown=False),
            Column("cause", t("column.cause"), figures=False, weight=3.6),
            Column("status", t("column.status"), figures=False, weight=1.0),
            Column("also", t("column.also"), figures=False, shown=False),
        ),
        rows=tuple(_row(w, row) for row in found),
        printed=PRINTED,
        more=w.more(len(found), PRINTED),
        note=t("note.anomalies"),
        empty=t("empty.anomalies"),
    )


def causes(w: Wording) -> Table:
    """For the file: every part of every anomaly; those of one add up to it."""
    t = w.t
    found = w.report.anomalies.rows if w.report.anomalies else ()
    return Table(
        key="anomaly_causes",
        caption=t("table.anomaly_causes", window=w.window),
        columns=(
            Column("first", t("column.first_day"), figures=False, holds=Holds.DAY),
            Column("of", t("column.anomaly_of"), figures=False),
            Column("subject", t("column.anomaly"), figures=False),
            Column("metric", t("column.metric"), figures=False),
            Column("cause", t("column.cause"), figures=False),
            Column("name", t("column.name"), figures=False),
            Column("department", t("column.department"), figures=False),
            Column("workload", t("column.workload"), figures=False),
            Column("amount", t("column.value")),
        ),
        rows=tuple(
            (
                Cell(row.first.isoformat(), row.first.isoformat(), at=row.first),
                w.text_cell(row.of),
                w.text_cell(row.subject),
                w.text_cell(row.metric),
                w.text_cell(cause.kind),
                w.text_cell(cause.name),
                w.text_cell(cause.department),
                w.text_cell(cause.example),
                w.money_cell(cause.amount),
            )
            for row in found
            for cause in row.causes
        ),
        empty=t("empty.anomalies"),
    )


def lead(w: Wording, report: Report) -> str:
    """How many there are, or why nothing is said."""
    found = report.anomalies
    if found is None or not found.judged:
        return w.t("lead.anomalies_unjudged")
    if not found.rows:
        return w.t("lead.anomalies_none", known=w.f.number(found.known))
    going_on = sum(row.state == "open" for row in found.rows)
    if len(found.rows) == 1:
        return w.t("lead.anomaly_open" if going_on else "lead.anomaly_over")
    key = {0: "lead.anomalies_over", 1: "lead.anomalies_one_open"}.get(going_on, "lead.anomalies")
    return w.t(key, count=w.f.number(len(found.rows)), open=w.f.number(going_on))


def _row(w: Wording, row: AnomalyRow) -> tuple[Cell, ...]:
    t, money = w.t, row.metric == "cost"
    printed = w.f.signed(w.f.number(row.difference), row.difference)
    shown = [_cause(w, cause, money) for cause in row.causes if cause.amount][:CAUSES_SHOWN]
    until = "" if row.days == 1 else f"– {row.last.isoformat()}"
    return (
        Cell(row.first.isoformat(), row.first.isoformat(), sub=until, at=row.first),
        Cell(row.last.isoformat(), row.last.isoformat(), at=row.last),
        w.text_cell(row.of),
        Cell(subject(w, row), row.subject, sub=t(f"anomaly_of.{row.of}")),
        w.text_cell(row.metric),
        Cell(printed, format(row.difference, "f"), True, sub="" if money else t("word.in_card_hours")),
        Cell(
            w.f.change(row.ratio) if row.ratio is not None else t("word.new"),
            "" if row.ratio is None else format(row.ratio, "f"),
            True,
        ),
        w.money_cell(row.value),
        w.money_cell(row.expected),
        Cell(shown[0] if shown else "–", shown[0] if shown else "", sub=t("word.semicolon").join(shown[1:])),
        Cell(t(f"anomaly_state.{row.state}"), row.state, tone="bad" if row.state == "open" else ""),
        w.text_cell(", ".join(row.also)),
    )


def subject(w: Wording, row: AnomalyRow) -> str:
    """Whose it is, as the other tables call it: a department's or scenario's name, a model as it is."""
    if row.of == DEPARTMENT:
        return _department(w, row.subject)
    if row.of == SCENARIO:
        return w.group("scenarios", row.subject)
    return plain(row.subject)


def _department(w: Wording, department_id: str) -> str:
    if department_id == PLATFORM:
        return w.t("name.platform")
    if department_id == UNMAPPED:
        return w.t("name.unmapped")
    return w.department_name("", department_id)


def _cause(w: Wording, cause: CauseRow, money: bool) -> str:
    """One cause with its part, as a phrase."""
    name = plain(cause.name)
    if cause.kind in (WORK, IDLE):
        name = plain(cause.example) or name or w.t("name.none_given")
    if cause.kind == INCIDENT and not name:
        name = "–"
    amount = w.f.signed(w.f.number(cause.amount), cause.amount)
    return w.t(
        f"anomaly_cause.{cause.kind}",
        name=name,
        department=_department(w, cause.department) if cause.department else w.t("name.none_given"),
        amount=amount if money else w.t("word.card_hours", hours=amount),
    )
