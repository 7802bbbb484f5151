"""Charts that compare: bars, stacked bars, a waterfall. Values in, one SVG out; no figure is computed here.

A chart prints the texts it is given and takes its lengths from floats: figures are formatted once, elsewhere,
so that a chart, a table and a file can not disagree. Labels that do not fit are cut with an ellipsis and stay
whole in the pointer hint and in the table beside the chart. Charts over time are in timecharts.

Sizes are user units of a 760 wide picture: 11 is about 7.2 pt across an A4 page, 13 px on a screen. A phone gets
the same chart drawn ``svg.NARROW`` wide, for scaled down its labels could not be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ullage_reports.palette import ACCENT, ALERT, INK, MUTED, RULE, ink_on
from ullage_reports.svg import Drawing, fit, text_width

WIDTH: Final = 760.0
SIZE: Final = 11.0
ROW: Final = 25.0
BAR: Final = 15.0
GAP: Final = 8.0
LABEL_MAX: Final = 190.0
HATCHED: Final = "hatched"
"""A legend key's colour for what is not known."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One row of ``hbar``. value, mark: same unit, 0 or more; value_text is printed, mark_text hinted.

    mark: budget, last period, or None for no mark.
    """

    label: str
    value: float
    value_text: str
    mark: float | None = None
    mark_text: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """One coloured part of a stacked bar. text goes inside where it fits; hint is the whole story."""

    label: str
    value: float
    text: str
    colour: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Stack:
    """One row of ``stacked_rows``: parts from left to right and the text at the right end."""

    label: str
    parts: tuple[Part, ...]
    total_text: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One row of ``waterfall``. kind: ``level`` stands on the axis, ``minus`` hangs from what is left so far."""

    label: str
    value: float
    value_text: str
    colour: str
    kind: str


def hbar(
    name: str,
    title: str,
    described: str,
    bars: Sequence[Bar],
    *,
    mark_label: str = "",
    colour: str = ACCENT,
    width: float = WIDTH,
) -> str:
    """Horizontal bars with an optional mark each; the value stands right of bar and mark, so they never meet.

    mark_label: what the marks are ("last week", "budget"); its key is drawn under the bars when a bar has one.
    """
    marks = any(bar.mark is not None for bar in bars)
    height = ROW * len(bars) + (24 if marks and mark_label else 6)
    drawing = Drawing(name, title, described, width, height)
    left = _label_column([bar.label for bar in bars], width) + GAP
    most = max((max(bar.value, bar.mark or 0.0) for bar in bars), default=0.0)
    texts = max((text_width(bar.value_text, SIZE, bold=True) for bar in bars), default=0.0)
    scale = _scale(width - left - texts - 2 * GAP, most)
    for index, bar in enumerate(bars):
        top = ROW * index + (ROW - BAR) / 2
        base = top + BAR - 3.2
        drawing.text(left - GAP, base, fit(bar.label, SIZE, left - GAP), size=SIZE, anchor="end")
        drawing.rect(left, top, bar.value * scale, BAR, colour, radius=1.5, hint=_hint(bar))
        reach = max(bar.value, bar.mark or 0.0) * scale
        if bar.mark is not None:
            at = left + bar.mark * scale
            drawing.line(at, top - 3, at, top + BAR + 3, INK, width=2)
        drawing.text(left + reach + GAP, base, bar.value_text, size=SIZE, bold=True)
    drawing.line(left, 2, left, ROW * len(bars) - 2, RULE)
    if marks and mark_label:
        base = ROW * len(bars) + 15
        drawing.line(left + 1, base - 9, left + 1, base + 1, INK, width=2)
        drawing.text(left + GAP, base, fit(mark_label, 10, width - left - GAP), size=10, fill=MUTED)
    return drawing.svg()


def stacked_bar(
    name: str,
    title: str,
    described: str,
    parts: Sequence[Part],
    *,
    width: float = WIDTH,
    height: float = 44,
    nothing: str = "",
) -> str:
    """One bar divided into its parts; a part's text is printed inside where it fits, the table says the rest.

    nothing: what to print in an empty frame when all parts are 0.
    """
    drawing = Drawing(name, title, described, width, height)
    if sum(part.value for part in parts) <= 0:
        drawing.rect(0.5, 0.5, width - 1, height - 1, "#ffffff", stroke=RULE, radius=3)
        drawing.text(width / 2, height / 2 + 4, fit(nothing, SIZE, width - 20), anchor="middle", fill=MUTED)
        return drawing.svg()
    _stack(drawing, parts, 0, 0, width, height, size=13)
    return drawing.svg()


def stacked_rows(
    name: str,
    title: str,
    described: str,
    rows: Sequence[Stack],
    *,
    legend: Sequence[tuple[str, str]],
    width: float = WIDTH,
) -> str:
    """One full-width bar a row, each divided into the parts of its own whole, with a legend of (colour, label)."""
    keys, keys_height = legend_lines(legend, width)
    height = keys_height + ROW * len(rows) + 4
    drawing = Drawing(name, title, described, width, height)
    legend_keys(drawing, keys)
    left = _label_column([row.label for row in rows], width) + GAP
    texts = max((text_width(row.total_text, SIZE, bold=True) for row in rows), default=0.0)
    room = width - left - texts - 1.5 * GAP
    for index, row in enumerate(rows):
        top = keys_height + ROW * index + (ROW - BAR) / 2 - 1
        base = top + BAR - 3.2
        drawing.text(left - GAP, base, fit(row.label, SIZE, left - GAP), size=SIZE, anchor="end")
        if sum(part.value for part in row.parts) > 0:
            _stack(drawing, row.parts, left, top, room, BAR, size=9.5)
        else:
            drawing.rect(left + 0.5, top + 0.5, room - 1, BAR - 1, "#ffffff", stroke=RULE)
        drawing.text(width, base, row.total_text, size=SIZE, anchor="end", bold=True)
    return drawing.svg()


def waterfall(name: str, title: str, described: str, steps: Sequence[Step], *, width: float = WIDTH) -> str:
    """From a whole down to what is left of it: a level, what goes off it, the next level.

    Rows are horizontal, because Chinese and long labels stay readable; the order is the caller's.
    """
    drawing = Drawing(name, title, described, width, ROW * len(steps) + 6)
    left = _label_column([step.label for step in steps], width, bold=True) + GAP
    most = max((step.value for step in steps if step.kind == "level"), default=0.0)
    texts = max((text_width(step.value_text, SIZE, bold=True) for step in steps), default=0.0)
    scale = _scale(width - left - texts - 2 * GAP, most)
    right = 0.0
    for index, step in enumerate(steps):
        top = ROW * index + (ROW - BAR) / 2
        base = top + BAR - 3.2
        level = step.kind == "level"
        drawing.text(
            left - GAP,
            base,
            fit(step.label, SIZE, left - GAP, bold=level),
            size=SIZE,
            anchor="end",
            bold=level,
        )
        start = 0.0 if level else max(right - step.value, 0.0)
        end = step.value if level else right
        hint = f"{step.label}: {step.value_text}"
        drawing.rect(left + start * scale, top, (end - start) * scale, BAR, step.colour, hint=hint)
        drawing.text(left + end * scale + GAP, base, step.value_text, size=SIZE, bold=level)
        right = end if level else start
        if index + 1 < len(steps):
            x = left + right * scale
            drawing.line(x, top + BAR, x, top + ROW, MUTED, dash="2 2")
    drawing.line(left, 2, left, ROW * len(steps) - 2, RULE)
    return drawing.svg()


FLAT: Final = 0.05
"""Of the largest value, the least a sparkline's height spans. our choice: because a change of less than one part in twenty decides nothing,
and stretched to the full height a cent looked like a cliff."""


def sparkline(
    name: str,
    title: str,
    described: str,
    values: Sequence[float | None],
    *,
    width: float = 96,
    height: float = 22,
) -> str:
    """A line the size of a word, its last point marked; None is a gap. No text inside. What differs by less than FLAT of the largest
    value looks as flat as it is."""
    drawing = Drawing(name, title, described, width, height)
    known = [value for value in values if value is not None]
    if not known:
        drawing.line(0, height / 2, width, height / 2, RULE, dash="2 2")
        return drawing.svg()
    low, high = min(known), max(known)
    least = FLAT * max(abs(low), abs(high))
    span = max(high - low, least) or 1.0
    base = (low + high - span) / 2
    inset = 3.0
    step = (width - 2 * inset) / max(len(values) - 1, 1)
    run: list[tuple[float, float]] = []
    last: tuple[float, float] | None = None
    for index, value in enumerate([*values, None]):
        if value is not None:
            y = height - inset - (value - base) / span * (height - 2 * inset)
            last = (inset + index * step, y)
            run.append(last)
            continue
        if len(run) > 1:
            drawing.polyline(run, ACCENT)
        elif run:
            drawing.dot(*run[0], 1.5, ACCENT)
        run = []
    if last is not None:
        drawing.dot(*last, 2.6, ALERT if known[-1] == low and high - low > least else ACCENT)
    return drawing.svg()


def _stack(
    drawing: Drawing,
    parts: Sequence[Part],
    x: float,
    y: float,
    width: float,
    height: float,
    *,
    size: float,
) -> None:
    total = sum(part.value for part in parts)
    drawn = [part for part in parts if part.value > 0]
    for part in drawn:
        wide = part.value / total * width
        # a gap of one unit keeps neighbours apart in a grey print; a sliver keeps its whole width
        edge = 1.0 if wide > 3 else 0.0
        drawing.rect(x, y, wide - edge, height, part.colour, hint=part.hint or f"{part.label} {part.text}")
        if text_width(part.text, size, bold=True) + 4 <= wide:
            drawing.text(
                x + (wide - edge) / 2,
                y + height / 2 + size * 0.36,
                part.text,
                size=size,
                anchor="middle",
                fill=ink_on(part.colour),
                bold=True,
                inside=True,
            )
        x += wide


def legend_lines(
    legend: Sequence[tuple[str, str]], width: float
) -> tuple[list[tuple[float, float, str, str]], float]:
    """(x, baseline, colour, label) of every key, flowed into lines no wider than ``width``, and their height."""
    placed: list[tuple[float, float, str, str]] = []
    x, base = 0.0, 11.0
    for colour, label in legend:
        shown = fit(label, 10.5, width - 16)
        wide = 15 + text_width(shown, 10.5)
        if x and x + wide > width:
            x, base = 0.0, base + 17
        placed.append((x, base, colour, shown))
        x += wide + 16
    return placed, (base + 11 if placed else 0.0)


def legend_keys(drawing: Drawing, placed: Sequence[tuple[float, float, str, str]]) -> None:
    for x, base, colour, label in placed:
        if colour == HATCHED:
            hatched(drawing, x, base - 9, 10, 10, "")
        else:
            drawing.rect(x, base - 9, 10, 10, colour, radius=1.5)
        drawing.text(x + 15, base, label, size=10.5, fill=MUTED)


def hatched(drawing: Drawing, x: float, y: float, width: float, height: float, hint: str) -> None:
    """A pale box crossed by slanted lines: nothing is known here."""
    drawing.rect(x, y, width, height, "#f4f6f8", hint=hint, stroke=RULE)
    gap = min(7.0, width / 2.5)
    slanted = []
    offset = gap
    while offset < width + height:
        x1, y1 = x + min(offset, width), y + max(offset - width, 0)
        x2, y2 = x + max(offset - height, 0), y + min(offset, height)
        slanted.append((x1, y1, x2, y2))
        offset += gap
    drawing.lines(slanted, "#b9c3cc", width=0.7)


def _label_column(labels: Sequence[str], width: float, *, bold: bool = False) -> float:
    widest = max((text_width(label, SIZE, bold=bold) for label in labels), default=0.0)
    return min(widest, LABEL_MAX, width * 0.3)


def _scale(room: float, most: float) -> float:
    # A sum below the least a page can show is nothing to draw, and dividing by it would leave the numbers.
    return max(room, 0.0) / most if most > 1e-9 else 0.0


def _hint(bar: Bar) -> str:
    told = f"{bar.label}: {bar.value_text}"
    return f"{told}; {bar.mark_text}" if bar.mark_text else told
