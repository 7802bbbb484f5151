"""Charts over time: stacked areas or columns by day or hour, a line, and a heat strip of weekday and hour.

As in charts: texts come formatted, lengths from floats. What is not known is a gap or a hatched cell and is
never drawn as zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ullage_reports.charts import HATCHED, WIDTH, Part, hatched, legend_keys, legend_lines
from ullage_reports.palette import ACCENT, ACCENT_PALE, HEAT, INK, MUTED, RULE
from ullage_reports.svg import Drawing, fit, text_width

AXIS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Slot:
    """One day or hour: its axis label and its stacked parts; parts None is a gap with ``gap_text`` as hint."""

    label: str
    parts: tuple[Part, ...] | None
    gap_text: str = ""


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a line; value None is a gap."""

    label: str
    value: float | None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Heat:
    """One cell of a heat strip. level: 0..1, or None where nothing is known."""

    level: float | None
    hint: str


def columns(
    name: str,
    title: str,
    described: str,
    slots: Sequence[Slot],
    *,
    legend: Sequence[tuple[str, str]],
    top_value: float,
    ticks: Sequence[tuple[float, str]],
    gap_label: str = "",
    width: float = WIDTH,
    height: float = 190,
) -> str:
    """Stacked columns side by side, one a slot, over an axis whose ticks the caller has formatted.

    top_value: value at the top of the plot. gap_label: key of the hatched slots, shown when there is one.
    """
    gaps = any(slot.parts is None for slot in slots)
    keys, keys_height = legend_lines(
        [*legend, *([(HATCHED, gap_label)] if gaps and gap_label else [])], width
    )
    drawing = Drawing(name, title, described, width, keys_height + height)
    legend_keys(drawing, keys)
    left, right, top, bottom = _frame(drawing, ticks, top_value, keys_height, height)
    if not slots:
        return drawing.svg()
    pitch = (right - left) / len(slots)
    wide = min(pitch * 0.78, 64)
    for index, slot in enumerate(slots):
        x = left + pitch * index + (pitch - wide) / 2
        if slot.parts is None:
            hatched(drawing, x, top, wide, bottom - top, slot.gap_text)
            continue
        y = bottom
        for part in slot.parts:
            tall = part.value / top_value * (bottom - top) if top_value > 0 else 0.0
            if tall > 0:
                y -= tall
                hint = f"{slot.label} · {part.label}: {part.text}"
                drawing.rect(x, y, wide, max(tall - 0.6, 0.3), part.colour, hint=hint)
    centres = [left + pitch * (index + 0.5) for index in range(len(slots))]
    _axis_labels(drawing, centres, [slot.label for slot in slots], bottom + 15, left, right)
    return drawing.svg()


def line(
    name: str,
    title: str,
    described: str,
    points: Sequence[Point],
    *,
    top_value: float,
    ticks: Sequence[tuple[float, str]],
    mark: tuple[float, str] | None = None,
    width: float = WIDTH,
    height: float = 170,
) -> str:
    """One line with its area filled; None breaks it. mark: a level line such as a budget, with its label.

    The first and last axis labels are anchored inwards, so that neither is clipped.
    """
    drawing = Drawing(name, title, described, width, height)
    left, right, top, bottom = _frame(drawing, ticks, top_value, 0, height)
    if mark is not None and top_value > 0:
        y = bottom - min(mark[0] / top_value, 1.0) * (bottom - top)
        drawing.line(left, y, right, y, INK, dash="5 3")
    step = (right - left) / max(len(points) - 1, 1)
    run: list[tuple[float, float]] = []
    for index, value in enumerate([*(point.value for point in points), None]):
        if value is not None and top_value > 0:
            run.append((left + step * index, bottom - value / top_value * (bottom - top)))
            continue
        if len(run) > 1:
            drawing.polygon([(run[0][0], bottom), *run, (run[-1][0], bottom)], ACCENT_PALE, opacity=0.7)
            drawing.polyline(run, ACCENT, width=2)
        elif run:
            drawing.dot(*run[0], 3, ACCENT)
        run = []
    if mark is not None and top_value > 0:
        y = bottom - min(mark[0] / top_value, 1.0) * (bottom - top)
        above = y - 5 if y - 5 - AXIS >= top - 4 else y + AXIS + 3
        drawing.text(
            right, above, fit(mark[1], AXIS, right - left, bold=True), size=AXIS, anchor="end", bold=True
        )
    xs = [left + step * index for index in range(len(points))]
    _axis_labels(drawing, xs, [point.label for point in points], bottom + 15, left, right)
    return drawing.svg()


def heat_strip(
    name: str,
    title: str,
    described: str,
    rows: Sequence[tuple[str, Sequence[Heat]]],
    *,
    column_labels: Sequence[str],
    low: str,
    high: str,
    gap_label: str = "",
    width: float = WIDTH,
) -> str:
    """Rows of cells, light to dark with their level; a cell nobody knows is hatched.

    column_labels: one a column, "" for none; they are dropped where they would meet. low, high: ends of the key.
    """
    cell_height = 17.0
    left = max((text_width(label, AXIS) for label, _ in rows), default=0.0) + 8
    count = max((len(cells) for _, cells in rows), default=0)
    key_top = 18 + cell_height * len(rows) + 10
    drawing = Drawing(name, title, described, width, key_top + 16)
    wide = (width - left) / max(count, 1)
    centres = [left + wide * (index + 0.5) for index in range(count)]
    _axis_labels(drawing, centres, list(column_labels)[:count], 11, left, width)
    gap = False
    for index, (label, cells) in enumerate(rows):
        y = 18 + cell_height * index
        drawing.text(left - 8, y + 12, label, size=AXIS, anchor="end", fill=MUTED)
        for column, cell in enumerate(cells):
            x = left + wide * column
            if cell.level is None:
                gap = True
                hatched(drawing, x, y, wide - 1, cell_height - 1, cell.hint)
            else:
                drawing.rect(x, y, wide - 1, cell_height - 1, _heat(cell.level), hint=cell.hint)
    x = left
    drawing.text(x, key_top + 11, low, size=AXIS, fill=MUTED)
    x += text_width(low, AXIS) + 6
    for colour in HEAT:
        drawing.rect(x, key_top + 2, 20, 11, colour)
        x += 20
    drawing.text(x + 6, key_top + 11, high, size=AXIS, fill=MUTED)
    x += 6 + text_width(high, AXIS) + 20
    if gap and gap_label:
        hatched(drawing, x, key_top + 2, 20, 11, gap_label)
        drawing.text(x + 26, key_top + 11, fit(gap_label, AXIS, width - x - 26), size=AXIS, fill=MUTED)
    return drawing.svg()


def round_ticks(most: float, *, about: int = 4) -> tuple[float, tuple[float, ...]]:
    """A round value at or above ``most`` and the ticks up to it, 0 included. most 0 or less gives (1, (0,))."""
    if most <= 0:
        return 1.0, (0.0,)
    raw = most / about
    power = 1.0
    while power * 10 <= raw:
        power *= 10
    while power > raw:
        power /= 10
    step = next(power * nice for nice in (1, 2, 2.5, 5, 10) if power * nice >= raw * 0.999)
    count = 1
    while step * count < most * 0.999999:
        count += 1
    return step * count, tuple(step * index for index in range(count + 1))


def _frame(
    drawing: Drawing,
    ticks: Sequence[tuple[float, str]],
    top_value: float,
    above: float,
    height: float,
) -> tuple[float, float, float, float]:
    """Draw grid lines and value labels; give back left, right, top and bottom of the plot."""
    left = max((text_width(text, AXIS) for _, text in ticks), default=0.0) + 8
    top, bottom = above + 8, above + height - 22
    for value, text in ticks:
        y = bottom - (value / top_value if top_value > 0 else 0.0) * (bottom - top)
        drawing.line(left, y, drawing.width, y, RULE if value else MUTED, width=0.8)
        drawing.text(left - 8, y + 3.5, text, size=AXIS, anchor="end", fill=MUTED)
    return left, drawing.width, top, bottom


def _axis_labels(
    drawing: Drawing, xs: Sequence[float], labels: Sequence[str], base: float, left: float, right: float
) -> None:
    """Labels under or over their x: kept within [left, right], and left out where they would touch the last one."""
    reached = float("-inf")
    for x, label in zip(xs, labels, strict=False):
        if not label:
            continue
        wide = text_width(label, AXIS)
        start = min(max(x - wide / 2, left), right - wide)
        if start < reached + 6:
            continue
        drawing.text(start + wide / 2, base, label, size=AXIS, anchor="middle", fill=MUTED)
        reached = start + wide


def _heat(level: float) -> str:
    index = int(min(max(level, 0.0), 0.999999) * len(HEAT))
    return HEAT[index]
