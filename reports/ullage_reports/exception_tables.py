"""A day's exceptions, one screen of them for operators: what is wrong or unusual today, what it costs, and since when.

Everything here is in the report's other tables too; a day without exceptions says so. Not here: how anything is found.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Final

from ullage_reports import anomaly_tables
from ullage_reports.format import DASH
from ullage_reports.model import RANKED
from ullage_reports.table import Cell, Column, Holds, Table
from ullage_reports.wording import Wording

PRINTED: Final = 25
"""Rows on the page. our choice: one screen; the file has all."""
LEAST_IDLE_HOURS: Final = Decimal(4)
"""Card-hours a workload held idle and still holds. our choice: half a working day of a card; less is a coffee."""
LEAST_COVERED: Final = Decimal("0.95")
"""Of held time whose use is known. our choice: below it the day's figures of use are told apart by more than one in twenty."""
OVER: Final = ("exceeded", "certainly_over", "likely_over")
"""Standings of a budget somebody has to look at."""


def rows(w: Wording) -> Table:
    """One row an exception: what cannot be billed first, then faults, money that is spent unusually, and idle holders."""
    t, currency = w.t, w.report.currency
    found = [*_data(w), *_incidents(w), *_money(w), *_holders(w)]
    return Table(
        key="exceptions",
        caption=t("table.exceptions", currency=currency, window=w.window),
        columns=(
            Column("kind", t("column.exception"), figures=False, weight=1.6),
            Column("subject", t("column.subject"), figures=False, weight=3.4),
            Column("since", t("column.since"), figures=False, weight=1.5, steady=True, holds=Holds.INSTANT),
            Column("hours", t("column.hours"), weight=1.2),
            Column("cost", t("column.cost", currency=currency), weight=1.4),
        ),
        rows=tuple(found),
        printed=PRINTED,
        more=w.more(len(found), PRINTED),
        note=t("note.exceptions_cut", count=w.f.number(RANKED)) if len(w.report.holders) >= RANKED else "",
        empty=t("empty.exceptions"),
    )


def _row(
    w: Wording,
    kind: str,
    subject: str,
    *,
    name: str = "",
    sub: str = "",
    since: datetime | None = None,
    cut: bool = False,
    hours: Decimal | None = None,
    cost: Decimal | None = None,
) -> tuple[Cell, ...]:
    """subject: its id, which is what a file has. name: as it is printed, where people know it by another word. cut: the report saw
    since from its first instant on alone."""
    return (
        Cell(w.t(f"exception.{kind}"), kind),
        Cell(name or w.plain(subject) or DASH, w.plain(subject), sub=sub),
        w.since_cell(since) if cut else w.instant_cell(since),
        w.hours_cell(hours),
        w.money_cell(cost),
    )


def _cost(w: Wording, cost: Decimal, priced: bool) -> Decimal | None:
    return cost if priced and not w.nothing_priced else None


def _data(w: Wording) -> list[tuple[Cell, ...]]:
    """What is missing under the figures."""
    trust = w.report.trust
    found = [_row(w, "missing_day", day.isoformat()) for day in trust.missing_days]
    found += [
        _row(w, "unpriced", row.model, since=row.since, cut=True, hours=row.hours) for row in trust.unpriced
    ]
    found += [_row(w, "foreign", row.currency, hours=row.hours) for row in trust.foreign]
    found += [
        _row(
            w,
            "unmapped",
            row.name,
            sub=w.t(f"name_kind.{row.kind}"),
            hours=row.hours,
            cost=_cost(w, row.cost, row.priced),
        )
        for row in trust.unmapped
    ]
    found += [
        _row(
            w,
            "unlisted",
            row.card_id,
            sub=w.plain(row.node_id),
            hours=row.hours,
            cost=_cost(w, row.cost, row.priced),
        )
        for row in trust.unlisted
    ]
    if trust.coverage_ratio is not None and trust.coverage_ratio < LEAST_COVERED:
        found.append(_row(w, "coverage", w.f.percent(trust.coverage_ratio)))
    return found


def _incidents(w: Wording) -> list[tuple[Cell, ...]]:
    return [
        _row(
            w,
            "incident",
            row.subject,
            sub=" · ".join(filter(None, (w.t.known("cause", row.cause), w.plain(row.node_id)))),
            since=row.onset,
            hours=row.hours,
            cost=_cost(w, row.cost, row.priced),
        )
        for row in w.report.incidents
        if row.closed_at is None or row.cost or row.hours
    ]


def _money(w: Wording) -> list[tuple[Cell, ...]]:
    report = w.report
    found = [
        _row(w, "budget", row.name, sub=w.t(f"budget_standing.{row.standing}"), cost=row.spent)
        for row in report.budgets
        if row.standing in OVER and row.currency == report.currency
    ]
    for anomaly in report.anomalies.rows if report.anomalies else ():
        if anomaly.state == "open":
            cost = anomaly.difference if anomaly.metric == "cost" else None
            hours = None if anomaly.metric == "cost" else anomaly.difference
            first = anomaly.first.isoformat()
            name = anomaly_tables.subject(w, anomaly)
            found.append(_row(w, "anomaly", anomaly.subject, name=name, sub=first, hours=hours, cost=cost))
    return found


def _holders(w: Wording) -> list[tuple[Cell, ...]]:
    return [
        _row(
            w,
            "idle",
            row.workload_id,
            sub=w.department_name(row.department, row.department_id),
            since=row.since,
            cut=True,
            hours=row.idle_hours,
            cost=_cost(w, row.idle_cost, row.priced),
        )
        for row in w.report.holders
        if row.running and row.idle_hours >= LEAST_IDLE_HOURS
    ]
