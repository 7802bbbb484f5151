"""The tables of money and hours: states, departments, scenarios, makers, models, holders, incidents, days.

Each function takes the wording of a report and gives one Table; every figure comes from the model as it stands.
Tables of what the figures stand on are in trust_tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from ullage_collector.ledger import FAULTY, ISOLATED
from ullage_reports.model import RANKED, TOP_NAMES, Amounts, Change, GroupRow, ModelRow
from ullage_reports.period import PeriodKind
from ullage_reports.table import Cell, Column, Holds, Table
from ullage_reports.wording import PLATFORM_KEY, Wording

HOLDERS_PRINTED: Final = 10
"""Holders on a page; the file has all. our choice: because ten can be talked to in a week."""
ROWS_PRINTED: Final = 60
"""Rows of other tables on a page; the file has all."""
OUT_OF_SERVICE: Final = (FAULTY, ISOLATED)
"""States whose time has an incident for its reason, or ought to."""


def states(w: Wording) -> Table:
    """Page one: where each unit of money went, in the order of the bar."""
    report = w.report
    total = report.total
    priced = total.priced
    rows = []
    for amount in () if w.nothing_known else report.page_one.states:
        share = amount.cost / total.cost if total.cost else None
        change = report.page_one.state_changes.get(amount.state)
        better = {"used": "up", "unknown": "down"}.get(amount.state, "down")
        rows.append(
            (
                w.name_cell(
                    w.state(amount.state), swatch=amount.state, sub=w.t(f"state_means.{amount.state}")
                ),
                w.cost_cell(amount.cost, priced),
                w.change_cell(None if w.nothing_priced else change, better=better),
                Cell(
                    w.f.percent(share),
                    "" if share is None else format(share.quantize(Decimal("0.0001")), "f"),
                    True,
                ),
                w.hours_cell(amount.hours),
            )
        )
    t = w.t
    return Table(
        key="states",
        caption=t("table.states", currency=report.currency, window=w.window),
        columns=(
            Column("state", t("column.state"), figures=False, weight=4.2),
            Column("cost", t("column.cost", currency=report.currency), weight=1.7),
            Column("change", t("column.change"), weight=1.1, holds=Holds.RATIO),
            Column("share", t("column.share_of_cost"), weight=1.1, holds=Holds.RATIO),
            Column("hours", t("column.hours"), weight=1.4),
        ),
        rows=tuple(rows),
        total=(
            w.name_cell(t("word.total")),
            w.cost_cell(total.cost, priced),
            w.change_cell(None if w.nothing_priced else report.change),
            Cell(w.f.percent(Decimal(1) if total.cost else None), "1" if total.cost else "", True),
            w.hours_cell(total.hours),
        ),
        empty=t("empty.no_data"),
    )


def departments(w: Wording) -> Table:
    """The tree in reading order; what is booked on an inner department itself is a row of its own below it."""
    rows: list[tuple[Cell, ...]] = []
    for row in w.report.departments:
        name = w.department(row)
        owner = w.t("word.owner", name=w.plain(row.owner)) if row.owner else ""
        rows.append(
            (
                w.text_cell(row.department_id),
                w.name_cell(name, indent=row.depth, sub=owner),
                w.text_cell(row.cost_center),
                *_amount_cells(w, row.amounts, row.share, row.change),
            )
        )
        if not row.leaf and (row.own.cost or row.own.hours):
            rows.append(
                (
                    w.text_cell(row.department_id),
                    w.name_cell(w.t("name.own", name=name), indent=row.depth + 1, tone="muted"),
                    w.text_cell(row.cost_center),
                    *_amount_cells(w, row.own, None, None),
                )
            )
    return Table(
        key="departments",
        caption=w.t("table.departments", currency=w.report.currency, window=w.window),
        columns=(
            Column("department_id", w.t("column.department_id"), figures=False, shown=False),
            Column("department", w.t("column.department"), figures=False, weight=3.0),
            Column("cost_center", w.t("column.cost_center"), figures=False, shown=False),
            *_amount_columns(w),
        ),
        rows=tuple(rows),
        total=(
            Cell("", ""),
            w.name_cell(w.t("word.total")),
            Cell("", ""),
            *_amount_cells(w, w.report.total, _whole(w), w.report.change),
        ),
        printed=2 * ROWS_PRINTED,
        more=w.more(len(rows), 2 * ROWS_PRINTED),
        note=w.t("word.sentence_gap").join((w.t("note.departments"), _organisation(w))),
        empty=w.t("empty.no_data"),
    )


def _organisation(w: Wording) -> str:
    """By which organisation departments are summed, as a sentence."""
    tree = w.report.tree
    if tree.at is None:
        key = {0: "note.tree_unchanged", 1: "note.tree_changed_once"}.get(tree.changes, "note.tree_then")
        return w.t(key, changes=w.f.number(tree.changes))
    return w.t("note.tree_now", at=w.f.instant(tree.at))


def groups(w: Wording, key: str, groups: Sequence[GroupRow]) -> Table:
    """Scenarios, businesses, makers, pools or clusters. key: ``scenarios``, ``businesses``, ``vendors``, …"""
    return Table(
        key=key,
        caption=w.t(f"table.{key}", currency=w.report.currency, window=w.window),
        columns=(
            Column("key", w.t(f"column.{key}"), figures=False, weight=3.0),
            *_amount_columns(w),
        ),
        rows=tuple(
            (
                w.name_cell(w.group(key, row.key), tone="muted" if row.key in ("", PLATFORM_KEY) else ""),
                *_amount_cells(w, row.amounts, row.share, row.change),
            )
            for row in groups
        ),
        total=(
            w.name_cell(w.t("word.total")),
            *_amount_cells(w, w.report.total, _whole(w), w.report.change),
        ),
        printed=ROWS_PRINTED,
        more=w.more(len(groups), ROWS_PRINTED),
        empty=w.t("empty.no_data"),
    )


def models(w: Wording) -> Table:
    """Card models with list price and what a used card-hour really cost; of the priced ones alone where some are not."""
    t, currency = w.t, w.report.currency
    effective = t(
        "column.effective_price_priced" if w.some_unpriced else "column.effective_price", currency=currency
    )
    return Table(
        key="models",
        caption=t("table.models", currency=currency, window=w.window),
        columns=(
            Column("model", t("column.model"), figures=False, weight=2.6),
            Column("vendor", t("column.vendors"), figures=False, shown=False),
            Column("cards", t("column.cards"), weight=0.8, holds=Holds.COUNT),
            Column("price_low", t("column.price", currency=currency), weight=1.5),
            Column("price_high", t("column.price_high"), shown=False),
            Column("assumed", t("column.assumed"), figures=False, shown=False),
            Column("cost", t("column.cost", currency=currency), weight=1.7),
            Column("hours", t("column.hours"), weight=1.3),
            Column("used_ratio", t("column.used_ratio"), weight=0.9, holds=Holds.RATIO),
            Column("effective_price", effective, weight=1.6),
            Column("share", t("column.share_of_cost"), shown=False, holds=Holds.RATIO),
        ),
        rows=tuple(_model_row(w, row) for row in w.report.models),
        total=(
            w.name_cell(t("word.total")),
            Cell("", ""),
            w.count_cell(w.report.cards),
            Cell("", "", True),
            Cell("", "", True),
            Cell("", ""),
            w.cost_cell(w.report.total.cost, w.report.total.priced),
            w.hours_cell(w.report.total.hours),
            w.ratio_cell(w.report.total.used_ratio),
            Cell("", "", True),
            w.ratio_cell(_whole(w)),
        ),
        printed=ROWS_PRINTED,
        more=w.more(len(w.report.models), ROWS_PRINTED),
        note=t("note.models"),
        empty=t("empty.no_data"),
    )


def holders(w: Wording) -> Table:
    """Who held cards and did nothing, by money: department and workload, never a person's name."""
    t, currency = w.t, w.report.currency
    return Table(
        key="idle",
        caption=t("table.idle", currency=currency, window=w.window),
        columns=(
            Column("department", t("column.department"), figures=False, weight=1.8),
            Column("workload", t("column.workload"), figures=False, weight=3.1),
            Column("scenario", t("column.scenarios"), figures=False, shown=False),
            Column("node", t("column.node"), figures=False, shown=False),
            Column("card", t("column.card"), figures=False, shown=False),
            Column("model", t("column.model"), figures=False, shown=False),
            Column("cards", t("column.cards"), weight=0.75, holds=Holds.COUNT),
            Column("idle_cost", t("column.idle_cost", currency=currency), weight=1.5),
            Column("idle_hours", t("column.idle_hours"), weight=1.2),
            Column("held_hours", t("column.held_hours"), weight=1.2),
            Column("since", t("column.since"), figures=False, weight=1.75, steady=True, holds=Holds.INSTANT),
            Column("running", t("column.running"), figures=False, shown=False),
        ),
        rows=tuple(
            (
                w.name_cell(w.department_name(row.department, row.department_id)),
                Cell(
                    text=w.plain(row.workload_id),
                    value=w.plain(row.workload_id),
                    sub=" · ".join(
                        text
                        for text in (
                            w.group("scenarios", row.scenario or "") if row.scenario else "",
                            f"{w.plain(row.model)} @ {w.plain(row.node_id)}",
                        )
                        if text
                    ),
                ),
                w.name_cell(w.group("scenarios", row.scenario or "")),
                w.text_cell(row.node_id),
                w.text_cell(row.card_id),
                w.text_cell(row.model),
                w.count_cell(row.cards),
                w.cost_cell(row.idle_cost, row.priced),
                w.hours_cell(row.idle_hours),
                w.hours_cell(row.held_hours),
                w.since_cell(row.since, sub=t("word.still") if row.running else ""),
                Cell(w.yes(row.running), w.yes(row.running)),
            )
            for row in w.report.holders
        ),
        printed=HOLDERS_PRINTED,
        more=w.more(len(w.report.holders), HOLDERS_PRINTED, of_the_dearest=RANKED),
        empty=t("empty.holders"),
    )


def idle_workloads(w: Wording) -> Table:
    """For a department's copy: its workloads that held cards and did nothing, by the money of it."""
    t, currency = w.t, w.report.currency
    idle = sorted(
        (row for row in w.report.workloads if row.amounts.idle_hours),
        key=lambda row: (-row.amounts.idle_cost, -row.amounts.idle_hours, row.workload_id),
    )
    return Table(
        key="idle",
        caption=t("table.idle", currency=currency, window=w.window),
        columns=(
            Column("workload", t("column.workload"), figures=False, weight=3.1),
            Column("department", t("column.department"), figures=False, weight=1.8),
            Column("cards", t("column.cards"), weight=0.75, holds=Holds.COUNT),
            Column("idle_cost", t("column.idle_cost", currency=currency), weight=1.5),
            Column("idle_hours", t("column.idle_hours"), weight=1.2),
            Column("held_hours", t("column.held_hours"), weight=1.2),
        ),
        rows=tuple(
            (
                w.text_cell(row.workload_id),
                w.name_cell(w.department_name(row.department, row.department_id)),
                w.count_cell(row.cards),
                w.cost_cell(row.amounts.idle_cost, row.amounts.priced),
                w.hours_cell(row.amounts.idle_hours),
                w.hours_cell(row.amounts.held_hours),
            )
            for row in idle
        ),
        printed=ROWS_PRINTED,
        more=t("note.more_rows", shown=str(ROWS_PRINTED), count=w.f.number(len(idle))),
        empty=t("empty.holders"),
    )


def incidents(w: Wording) -> Table:
    """Faults that cost card-hours or were open, dearest first as the model has them."""
    t, currency = w.t, w.report.currency
    return Table(
        key="incidents",
        caption=t("table.incidents", currency=currency, window=w.window),
        columns=(
            Column("incident_id", t("column.incident"), figures=False, shown=False),
            Column("cause", t("column.cause"), figures=False, weight=2.4),
            Column("subject", t("column.where"), figures=False, weight=2.5),
            Column("node", t("column.node"), figures=False, shown=False),
            Column("severity", t("column.severity"), figures=False, shown=False),
            Column("code", t("column.code"), figures=False, shown=False),
            Column("cost", t("column.lost_cost", currency=currency), weight=1.4),
            Column("hours", t("column.lost_hours"), weight=1.1),
            Column("onset", t("column.onset"), figures=False, weight=1.85, steady=True, holds=Holds.INSTANT),
            Column(
                "closed_at", t("column.closed"), figures=False, weight=1.85, steady=True, holds=Holds.INSTANT
            ),
            Column("confirmed", t("column.confirmed"), figures=False, shown=False),
            Column("action", t("column.action"), figures=False, weight=1.3),
        ),
        rows=tuple(
            (
                w.text_cell(row.incident_id),
                Cell(
                    text=t.known("cause", w.plain(row.cause)),
                    value=w.plain(row.cause),
                    sub=" · ".join(
                        [t.known("severity", w.plain(row.severity))]
                        + ([w.plain(row.code)] if row.code else [])
                        + ([] if row.confirmed else [t("word.not_confirmed")])
                    ),
                ),
                Cell(
                    text=w.plain(row.node_id or row.subject) or "–",
                    value=w.plain(row.subject),
                    sub=w.plain(row.subject) if row.node_id and row.node_id != row.subject else "",
                ),
                w.text_cell(row.node_id),
                w.text_cell(row.severity),
                w.text_cell(row.code),
                w.cost_cell(row.cost, row.priced),
                w.hours_cell(row.hours),
                w.instant_cell(row.onset),
                w.instant_cell(row.closed_at, none=t("word.open"), tone="" if row.closed_at else "bad"),
                Cell(w.yes(row.confirmed), w.yes(row.confirmed)),
                Cell(t.known("action", w.plain(row.action)), w.plain(row.action)),
            )
            for row in w.report.incidents
        ),
        printed=ROWS_PRINTED,
        more=w.more(len(w.report.incidents), ROWS_PRINTED, of_the_dearest=TOP_NAMES),
        note=_no_incident(w),
        empty=_no_incidents(w),
    )


def _no_incident(w: Wording) -> str:
    """The hours out of service that no row tells of; of less than each row may be rounded by nothing is said."""
    rest = w.report.total.state_hours(*OUT_OF_SERVICE) - sum(
        (r.hours for r in w.report.incidents), Decimal(0)
    )
    rounded = Decimal("0.01") * (len(w.report.incidents) + 1)
    return w.t("note.incidents_rest", hours=w.hours(rest)) if rest > rounded else ""


def _no_incidents(w: Wording) -> str:
    """What stands where no incident is listed: that there was none, unless cards were out of service without one."""
    found = [name for name in OUT_OF_SERVICE if w.report.total.state_hours(name)]
    if not found:
        return w.t("empty.incidents")
    parts = [f"{w.state_inside(name)} {w.hours(w.report.total.state_hours(name))}" for name in found]
    return w.t("empty.incidents_hours", parts=w.t("word.comma").join(parts))


def days(w: Wording) -> Table:
    """Each local day, or hour of a daily report; a gap says so and shows no figure."""
    t, currency = w.t, w.report.currency
    nothing = Cell("–", "", True, tone="muted")
    hourly = w.report.period.kind is PeriodKind.DAILY
    rows = []
    for point in w.report.trend:
        gap = () if point.published else (t("word.not_published"),)
        cells = (
            tuple(w.cost_cell(s.cost, point.amounts.priced) for s in point.amounts.states)
            if point.published
            else (nothing,) * len(w.states)
        )
        known = point.published
        rows.append(
            (
                Cell(
                    point.label,
                    point.label,
                    sub="".join(gap),
                    at=point.start if hourly else point.start.astimezone(w.f.zone).date(),
                ),
                w.cost_cell(point.amounts.cost, point.amounts.priced) if known else nothing,
                w.hours_cell(point.amounts.hours) if known else nothing,
                w.ratio_cell(point.amounts.used_ratio) if known else nothing,
                *cells,
            )
        )
    return Table(
        key="trend",
        caption=t("table.trend", currency=currency, window=w.window),
        columns=(
            Column(
                "start",
                t("column.day"),
                figures=False,
                weight=1.6,
                holds=Holds.INSTANT if hourly else Holds.DAY,
            ),
            Column("cost", t("column.cost", currency=currency)),
            Column("hours", t("column.hours")),
            Column("used_ratio", t("column.used_ratio"), holds=Holds.RATIO),
            *(Column(f"{name}_cost", w.state(name)) for name in w.states),
        ),
        rows=tuple(rows),
        empty=t("empty.no_data"),
    )


def week_hours(w: Wording) -> Table:
    """Weekday and hour of the report's zone, for the file; a page shows the heat strip."""
    t = w.t
    return Table(
        key="week_hours",
        caption=t("figure.week_hours"),
        columns=(
            Column("weekday", "weekday", figures=False, holds=Holds.COUNT),
            Column("hour", "hour", holds=Holds.COUNT),
            Column("used_ratio", t("column.used_ratio"), holds=Holds.RATIO),
            Column("held_ratio", t("column.held_hours"), holds=Holds.RATIO),
            Column("hours", t("column.hours")),
        ),
        rows=tuple(
            (
                w.count_cell(cell.weekday),
                w.count_cell(cell.hour),
                w.ratio_cell(cell.used_ratio),
                w.ratio_cell(cell.held_ratio),
                w.hours_cell(cell.hours),
            )
            for cell in w.report.heat
        ),
        empty=t("empty.no_data"),
    )


def _model_row(w: Wording, row: ModelRow) -> tuple[Cell, ...]:
    if row.price_low is None or row.price_high is None:
        price = Cell(w.t("word.no_price"), "", True, tone="bad")
    elif row.price_low == row.price_high:
        price = w.money_cell(row.price_low)
    else:
        span = f"{w.f.number(row.price_low)}–{w.f.number(row.price_high)}"
        price = Cell(span, w.money_cell(row.price_low).value, True)
    if row.assumed:
        price = Cell(price.text, price.value, True, sub=w.t("word.assumed"))
    return (
        w.name_cell(w.plain(row.model), sub=w.group("vendors", row.vendor)),
        w.name_cell(w.group("vendors", row.vendor)),
        w.count_cell(row.cards),
        price,
        w.money_cell(row.price_high),
        Cell(w.yes(row.assumed), w.yes(row.assumed)),
        w.cost_cell(row.amounts.cost, row.amounts.priced),
        w.hours_cell(row.amounts.hours),
        w.ratio_cell(row.amounts.used_ratio),
        w.money_cell(row.effective_price),
        w.ratio_cell(row.share if row.amounts.priced else None),
    )


def _amount_columns(w: Wording) -> tuple[Column, ...]:
    t, currency = w.t, w.report.currency
    return (
        Column("cost", t("column.cost", currency=currency), weight=1.7),
        Column("change", t("column.change"), weight=1.0, holds=Holds.RATIO),
        Column("hours", t("column.hours"), weight=1.3),
        Column("used_ratio", t("column.used_ratio"), weight=0.9, holds=Holds.RATIO),
        Column("allocated_idle_cost", t("column.idle_cost", currency=currency), weight=1.5),
        Column("share", t("column.share_of_cost"), weight=0.9, holds=Holds.RATIO),
        *(
            Column(f"{name}_{unit}", w.t(f"column.state_{unit}", state=w.state(name)), shown=False)
            for unit in ("cost", "hours")
            for name in w.states
            if (name, unit) != ("allocated_idle", "cost")
        ),
        Column("unpriced_hours", t("column.unpriced_hours"), shown=False),
    )


def _amount_cells(
    w: Wording, amounts: Amounts, share: Decimal | None, change: Change | None
) -> tuple[Cell, ...]:
    priced = amounts.priced
    known = priced and not w.nothing_priced
    return (
        w.cost_cell(amounts.cost, priced),
        w.change_cell(change if known else None),
        w.hours_cell(amounts.hours),
        w.ratio_cell(amounts.used_ratio),
        w.cost_cell(amounts.state_cost("allocated_idle"), priced),
        w.ratio_cell(share if known else None),
        *(w.cost_cell(amounts.state_cost(name), priced) for name in w.states if name != "allocated_idle"),
        *(w.hours_cell(amounts.state_hours(name)) for name in w.states),
        w.hours_cell(amounts.unpriced_hours),
    )


def _whole(w: Wording) -> Decimal | None:
    return Decimal(1) if w.report.total.cost else None
