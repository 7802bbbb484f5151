"""The tables of a quarter's or year's outlook: month by month, and by card model whether to buy or to share."""

from __future__ import annotations

from decimal import Decimal

from ullage_reports.model import Report
from ullage_reports.outlook import MonthRow, OutlookRow, Verdict
from ullage_reports.table import Cell, Column, Holds, Table
from ullage_reports.wording import Wording


def lead(w: Wording, report: Report) -> str:
    """What the next period would cost, and of how many models cards are missing."""
    found = report.outlook
    if found is None or found.next_cost is None or found.level_cost is None:
        return w.t("lead.outlook_unknown")
    said = []
    if not w.nothing_priced:
        said.append(
            w.t(
                "lead.outlook",
                trend=w.f.money_short(found.next_cost),
                level=w.f.money_short(found.level_cost),
            )
        )
    wanted = [row for row in found.models if row.verdict is Verdict.BUY]
    shared = [row for row in found.models if row.verdict is Verdict.SHARE]
    more = w.t("lead.outlook_models", buy=w.f.number(len(wanted)), share=w.f.number(len(shared)))
    return w.t("word.sentence_gap").join([*said, more])


def months(w: Wording) -> Table:
    """The months of the period. idle_cost: held but idle, free and partly free, as Amounts has it."""
    t, currency = w.t, w.report.currency
    found = w.report.outlook
    rows = found.months if found else ()
    return Table(
        key="months",
        caption=t("table.months", currency=currency, window=w.window),
        columns=(
            Column("month", t("column.month"), figures=False, weight=1.2),
            Column("days", t("column.published_days"), weight=0.9, holds=Holds.COUNT),
            Column("cost", t("column.cost", currency=currency), weight=1.6),
            Column("hours", t("column.hours"), weight=1.4),
            Column("held_ratio", t("column.held_ratio"), weight=0.9, holds=Holds.RATIO),
            Column("used_ratio", t("column.used_ratio"), weight=0.9, holds=Holds.RATIO),
            Column("idle_cost", t("column.idle_or_free_cost", currency=currency), weight=1.5),
            Column("waste_cost", t("column.waste_cost", currency=currency), weight=1.5),
        ),
        rows=tuple(_month(w, row) for row in rows),
        empty=t("empty.no_data"),
    )


def _month(w: Wording, row: MonthRow) -> tuple[Cell, ...]:
    """A month of which no day is published has no figure: they are not known, and none is 0."""
    days = w.count_cell(row.days)
    if row.days < row.of:
        days = days._replace(tone="bad")
    known = row.days > 0
    return (
        w.text_cell(row.label),
        days,
        w.cost_cell(row.cost, known),
        w.hours_cell(row.hours if known else None),
        w.ratio_cell(row.held_ratio),
        w.ratio_cell(row.used_ratio),
        w.cost_cell(row.idle_cost, known),
        w.cost_cell(row.waste_cost, known),
    )


def models(w: Wording) -> Table:
    """Buy or share, by card model."""
    t, currency = w.t, w.report.currency
    found = w.report.outlook
    rows = found.models if found else ()
    return Table(
        key="buy_or_share",
        caption=t("table.buy_or_share", window=w.window),
        columns=(
            Column("vendor", t("column.vendors"), figures=False, shown=False),
            Column("model", t("column.model"), figures=False, weight=2.2),
            Column("owned", t("column.cards_owned"), weight=0.9),
            Column("held", t("column.cards_held"), weight=0.9),
            Column("working", t("column.cards_working"), weight=0.9),
            Column("idle", t("column.cards_idle"), weight=0.9),
            Column("busiest", t("column.cards_busiest"), weight=1.0),
            Column("expected", t("column.cards_expected"), weight=1.0),
            Column("busiest_expected", t("column.busiest_expected"), weight=1.1),
            Column("missing", t("column.cards_missing"), shown=False),
            Column("to_buy", t("column.to_buy"), shown=False, holds=Holds.COUNT),
            Column("cost_each", t("column.cost_each", currency=currency), weight=1.4),
            Column("decision", t("column.decision"), figures=False, weight=1.9),
        ),
        rows=tuple(_model(w, row) for row in rows),
        printed=40,
        more=w.more(len(rows), 40),
        note=t("note.buy_or_share"),
        empty=t("empty.no_data"),
    )


def _model(w: Wording, row: OutlookRow) -> tuple[Cell, ...]:
    word = w.t(
        f"decision.{row.verdict}",
        count=w.f.number(row.to_buy),
        missing=w.f.number(Decimal(0) if row.missing is None else row.missing),
    )
    return (
        w.name_cell(w.group("vendors", row.vendor)),
        w.name_cell(w.plain(row.model), sub=w.group("vendors", row.vendor)),
        w.money_cell(row.owned),
        w.money_cell(row.held),
        w.money_cell(row.working),
        w.money_cell(row.idle),
        w.money_cell(row.busiest),
        w.money_cell(row.expected),
        w.money_cell(row.busiest_expected),
        w.money_cell(row.missing),
        w.count_cell(row.to_buy),
        w.cost_cell(row.cost_each, True),
        Cell(word, str(row.verdict), tone="bad" if row.verdict is Verdict.BUY else ""),
    )
