"""The report's charts, drawn from the model and worded. Lengths are floats for the eye; printed figures are the model's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Final

from ullage_reports.charts import (
    WIDTH,
    Bar,
    Part,
    Stack,
    Step,
    hbar,
    sparkline,
    stacked_bar,
    stacked_rows,
    waterfall,
)
from ullage_reports.model import Amounts, DepartmentRow, GroupRow, HeatCell, Kind, ModelRow
from ullage_reports.palette import ACCENT, STATE_COLOURS
from ullage_reports.svg import NARROW
from ullage_reports.table import Figure
from ullage_reports.timecharts import Heat, Slot, columns, heat_strip, round_ticks
from ullage_reports.wording import Wording

BARS: Final = 12
"""Rows of a chart. our choice: because more are read in the table below it."""


def where_it_went(w: Wording) -> Figure:
    """Page one's bar: each state's part of the cost; of the hours when nothing has a cost."""
    money = bool(w.report.total.cost)
    states = w.report.page_one.states
    whole = w.report.total.cost if money else w.report.total.hours
    parts = []
    told = []
    for amount in states:
        value = amount.cost if money else amount.hours
        ratio = value / whole if whole else None
        text = w.f.percent_plain(ratio)
        said = f"{w.state(amount.state)} {w.f.money(amount.cost) if money else w.hours(amount.hours)} ({w.f.percent(ratio)})"
        told.append(said)
        parts.append(Part(w.state(amount.state), float(value), text, STATE_COLOURS[amount.state], said))
    title = w.t("figure.where_it_went")
    if not money and not w.nothing_known:
        foreign = any(row.hours for row in w.report.trust.foreign)
        key = "figure.where_hours_went_in" if foreign else "figure.where_hours_went"
        title = w.t(key, currency=w.report.currency)
    described = w.t(
        "figure.described",
        window=w.window,
        parts=w.t("empty.no_data") if w.nothing_known else "; ".join(told),
    )

    def draw(name: str, width: float) -> str:
        return stacked_bar(name, title, described, parts, nothing=w.t("empty.no_data"), width=width)

    return _figure("where", title, described, draw)


def departments(w: Wording) -> Figure | None:
    """Cost of the top-level departments, with last period's as the mark; None when there is none."""
    rows = sorted(_top(w), key=lambda row: -row.amounts.cost)[:BARS]
    if not rows or not w.report.total.cost:
        return None
    bars = []
    for row in rows:
        before = row.change.previous if row.change is not None else None
        bars.append(
            Bar(
                label=w.department(row),
                value=_length(row.amounts.cost),
                value_text=w.f.number(row.amounts.cost if row.amounts.priced else None),
                mark=None if before is None else _length(before),
                mark_text="" if before is None else f"{w.t('word.before')}: {w.f.number(before)}",
            )
        )
    title = w.t("figure.departments", currency=w.report.currency)
    described = _told(w, [f"{bar.label} {bar.value_text}" for bar in bars])
    mark = w.t("figure.mark_before", period=w.report.previous.label) if w.report.previous else ""

    def draw(name: str, width: float) -> str:
        return hbar(name, title, described, bars, mark_label=mark, width=width)

    return _figure("departments-cost", title, described, draw, note=_without(w, money=True))


def department_states(w: Wording) -> Figure | None:
    """Each department's card-hours by state."""
    rows = sorted(_top(w), key=lambda row: -row.amounts.hours)[:BARS]
    return _stacks(
        w,
        "departments-states",
        "figure.department_states",
        [(w.department(row), row.amounts) for row in rows],
        note=_without(w, money=False),
    )


def group_states(w: Wording, key: str, groups: Sequence[GroupRow]) -> Figure | None:
    """Each scenario's or maker's card-hours by state."""
    rows = [row for row in groups if row.amounts.hours][:BARS]
    return _stacks(
        w, f"{key}-states", f"figure.{key}_states", [(w.group(key, row.key), row.amounts) for row in rows]
    )


def model_states(w: Wording, models: Sequence[ModelRow]) -> Figure | None:
    """Each card model's card-hours by state."""
    rows = sorted((row for row in models if row.amounts.hours), key=lambda row: -row.amounts.hours)[:BARS]
    return _stacks(
        w,
        "models-states",
        "figure.models_states",
        [(w.text_cell(row.model).text, row.amounts) for row in rows],
    )


def capacity(w: Wording) -> Figure | None:
    """From all owned card-hours to those that worked."""
    total = w.report.total
    if not total.hours:
        return None
    out = [name for name in ("isolated", "faulty") if total.state_hours(name)]
    free = [name for name in ("unallocated_idle", "fragmented") if total.state_hours(name)]
    held = total.state_hours("used", "allocated_idle", "unknown")
    lost = [name for name in ("allocated_idle", "unknown") if total.state_hours(name)]
    steps = [_level(w, "owned", total.hours, "#8fa1b3")]
    steps += [_minus(w, name) for name in (*out, *free)]
    steps.append(_level(w, "held", held, ACCENT))
    steps += [_minus(w, name) for name in lost]
    steps.append(_level(w, "worked", total.state_hours("used"), STATE_COLOURS["used"]))
    title = w.t("figure.capacity")
    described = _told(w, [f"{step.label} {step.value_text}" for step in steps])

    def draw(name: str, width: float) -> str:
        return waterfall(name, title, described, steps, width=width)

    return _figure("capacity", title, described, draw)


def trend(w: Wording) -> Figure | None:
    """Card-hours by state, a column a day (an hour in a daily report)."""
    points = w.report.trend
    most = max((point.amounts.hours for point in points if point.published), default=Decimal(0))
    if len(points) < 2 or not most:
        return None
    top, marks = round_ticks(float(most))
    slots = [
        Slot(
            label=_short_label(point.label),
            parts=tuple(
                Part(w.state(s.state), float(s.hours), w.hours(s.hours), STATE_COLOURS[s.state])
                for s in point.amounts.states
            )
            if point.published
            else None,
            gap_text=f"{point.label}: {w.t('word.not_published')}",
        )
        for point in points
    ]
    title = w.t("figure.trend")
    described = _told(
        w,
        [
            f"{point.label} {w.hours(point.amounts.hours) if point.published else w.t('word.not_published')}"
            for point in points
        ],
    )

    def draw(name: str, width: float) -> str:
        return columns(
            name,
            title,
            described,
            slots,
            legend=_legend(w, [p.amounts for p in points if p.published]),
            top_value=top,
            ticks=[(tick, w.f.axis(Decimal(str(tick)))) for tick in marks],
            gap_label=w.t("word.not_published"),
            width=width,
        )

    return _figure("trend", title, described, draw)


def week_hours(w: Wording) -> Figure | None:
    """Used share of the hours whose use is known, by weekday and hour of the report's zone."""
    cells = {(cell.weekday, cell.hour): cell for cell in w.report.heat}
    weekdays = sorted({weekday for weekday, _ in cells})
    if len(weekdays) < 2:
        return None
    rows = []
    for weekday in weekdays:
        name = w.t(f"weekday.{weekday}")
        rows.append((name, [_heat(w, name, cells.get((weekday, hour)), hour) for hour in range(24)]))
    title = w.t("figure.week_hours")
    known = [cell for cell in w.report.heat if cell.used_ratio is not None]
    best = max(known, key=lambda c: (c.used_ratio or 0, -c.weekday, -c.hour), default=None)
    worst = min(known, key=lambda c: (c.used_ratio or 0, c.weekday, c.hour), default=None)
    told = [_moment(w, cell) for cell in (worst, best) if cell is not None]
    described = _told(w, told)

    def draw(name: str, width: float) -> str:
        return heat_strip(
            name,
            title,
            described,
            rows,
            column_labels=[f"{hour:02d}" for hour in range(24)],
            low=w.t("figure.heat_low"),
            high=w.t("figure.heat_high"),
            gap_label=w.t("word.nothing_known"),
            width=width,
        )

    return _figure(
        "week-hours", title, described, draw, note=w.t("note.week_hours", zone=w.report.period.zone)
    )


def spark(w: Wording, key: str) -> str:
    """A tile's trend, or "" where the trend does not hold that figure. key: the tile's."""
    values: list[float | None] = []
    for point in w.report.trend:
        amounts = point.amounts
        figure: Decimal | None = {
            "cost": amounts.cost,
            "used_ratio": amounts.used_ratio,
            "waste_cost": amounts.waste_cost,
            "idle_held_cost": amounts.state_cost("allocated_idle"),
        }.get(key)
        values.append(float(figure) if figure is not None and point.published else None)
    if key != "used_ratio" and w.nothing_priced:
        return ""
    if len(values) < 3 or key not in ("cost", "used_ratio", "waste_cost", "idle_held_cost"):
        return ""
    label = w.t(f"tile.{key}")
    return sparkline(f"spark-{key}", label, w.t("figure.spark", window=w.window), values)


def _stacks(
    w: Wording, name: str, title_key: str, rows: Sequence[tuple[str, Amounts]], *, note: str = ""
) -> Figure | None:
    if not rows:
        return None
    stacks = []
    told = []
    for label, amounts in rows:
        parts = []
        for state in amounts.states:
            ratio = state.hours / amounts.hours if amounts.hours else None
            hint = f"{label} · {w.state(state.state)}: {w.hours(state.hours)} ({w.f.percent(ratio)})"
            parts.append(
                Part(
                    w.state(state.state),
                    float(state.hours),
                    w.f.percent_plain(ratio),
                    STATE_COLOURS[state.state],
                    hint,
                )
            )
        stacks.append(Stack(label, tuple(parts), w.f.number(amounts.hours)))
        told.append(
            f"{label} {w.hours(amounts.hours)}, {w.t('column.used_ratio')} {w.f.percent(amounts.used_ratio)}"
        )
    title = w.t(title_key)
    described = _told(w, told)

    def draw(name: str, width: float) -> str:
        return stacked_rows(
            name, title, described, stacks, legend=_legend(w, [a for _, a in rows]), width=width
        )

    return _figure(name, title, described, draw, note=note)


def _figure(
    name: str, title: str, described: str, draw: Callable[[str, float], str], *, note: str = ""
) -> Figure:
    """The chart across a page, and narrow. draw: takes the picture's name, unique in the document, and its width."""
    return Figure(name, title, described, draw(name, WIDTH), draw(f"{name}-narrow", NARROW), note)


def _legend(w: Wording, rows: Sequence[Amounts]) -> list[tuple[str, str]]:
    present = {s.state for amounts in rows for s in amounts.states if s.hours}
    return [(STATE_COLOURS[name], w.state(name)) for name in w.states if name in present]


def _top(w: Wording) -> list[DepartmentRow]:
    """Departments of depth 0, without the platform: its cost is nobody's use and stands in the table."""
    return [row for row in w.report.departments if row.depth == 0 and row.kind is not Kind.PLATFORM]


def _without(w: Wording, *, money: bool) -> str:
    """What a chart of departments leaves out: the platform's row, with what stands there in the table."""
    left = [row for row in w.report.departments if row.depth == 0 and row.kind is Kind.PLATFORM]
    if not any(row.amounts.hours for row in left):
        return ""
    cost = sum((row.amounts.cost for row in left), Decimal(0))
    hours = sum((row.amounts.hours for row in left), Decimal(0))
    told = w.f.money(cost) if money else w.hours(hours)
    return w.t("note.without_platform", platform=w.t("name.platform"), what=told)


def _level(w: Wording, key: str, hours: Decimal, colour: str) -> Step:
    ratio = hours / w.report.total.hours if w.report.total.hours else None
    text = f"{w.f.number(hours)} ({w.f.percent(ratio)})"
    return Step(w.t(f"figure.level_{key}"), float(hours), text, colour, "level")


def _minus(w: Wording, state: str) -> Step:
    hours = w.report.total.state_hours(state)
    text = f"−{w.f.number(hours)} ({w.f.percent(hours / w.report.total.hours)})"
    return Step(w.state(state), float(hours), text, STATE_COLOURS[state], "minus")


def _heat(w: Wording, weekday: str, cell: HeatCell | None, hour: int) -> Heat:
    when = f"{weekday} {hour:02d}:00"
    if cell is None or cell.used_ratio is None:
        return Heat(None, f"{when}: {w.t('word.nothing_known')}")
    return Heat(float(cell.used_ratio), f"{when}: {w.f.percent(cell.used_ratio)}")


def _moment(w: Wording, cell: HeatCell) -> str:
    return f"{w.t(f'weekday.{cell.weekday}')} {cell.hour:02d}:00 {w.f.percent(cell.used_ratio)}"


def _short_label(label: str) -> str:
    """A day's label without its year, for an axis under a title that names the period."""
    return label[5:] if len(label) == 10 and label[4] == "-" else label


def _told(w: Wording, parts: Sequence[str]) -> str:
    return w.t("figure.described", window=w.window, parts="; ".join(parts))


def _length(value: Decimal) -> float:
    return max(float(value), 0.0)
