"""Charts: nothing clipped, nothing on top of something else, nothing a name can break, the same bytes twice."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator

import pytest
from rendering_sample import BIDI, EVIL, sample

from ullage_reports import charts, figures, timecharts
from ullage_reports.palette import HEAT, STATE_COLOURS, ink_on
from ullage_reports.svg import NARROW, fit, text_width
from ullage_reports.wording import wording

SVG = "{http://www.w3.org/2000/svg}"
LONG = "非常长的部门名称" * 12
WIDE_LATIN = "WWWWMMMM " * 20


def boxes(svg: str) -> list[tuple[float, float, float, float, str]]:
    """(left, top, right, bottom, text) of every text, by the width estimate."""
    found = []
    for text in ET.fromstring(svg).iter(f"{SVG}text"):
        size = float(text.get("font-size", "0"))
        wide = text_width(text.text or "", size, bold=text.get("font-weight") == "700")
        x, y = float(text.get("x", "0")), float(text.get("y", "0"))
        left = x - {"start": 0, "middle": wide / 2, "end": wide}[text.get("text-anchor", "start")]
        found.append((left, y - size * 0.8, left + wide, y + size * 0.2, text.text or ""))
    return found


def assert_well_laid(svg: str) -> None:
    root = ET.fromstring(svg)
    _, _, width, height = (float(n) for n in root.get("viewBox", "").split())
    texts = boxes(svg)
    for left, top, right, bottom, text in texts:
        assert left >= -0.5 and right <= width + 0.5, f"{text!r} spans {left:.1f}..{right:.1f} of {width}"
        assert top >= -0.5 and bottom <= height + 0.5, f"{text!r} spans {top:.1f}..{bottom:.1f} of {height}"
    for one, two in itertools.combinations(texts, 2):
        apart = one[2] <= two[0] or two[2] <= one[0] or one[3] <= two[1] or two[3] <= one[1]
        assert apart, f"{one[4]!r} overlaps {two[4]!r}"
    for rect in root.iter(f"{SVG}rect"):
        x, y = float(rect.get("x", "0")), float(rect.get("y", "0"))
        assert x >= -0.5 and x + float(rect.get("width", "0")) <= width + 0.5
        assert y >= -0.5 and y + float(rect.get("height", "0")) <= height + 0.5


def parts(*values: float) -> tuple[charts.Part, ...]:
    return tuple(
        charts.Part(name, value, f"{value:.0f}%", colour)
        for (name, colour), value in zip(STATE_COLOURS.items(), values, strict=False)
    )


def drawn(width: float = charts.WIDTH) -> Iterator[tuple[str, str]]:
    """Every chart in its worst form: long names, nothing, one thing, sixty things."""
    for count in (0, 1, 60):
        bars = [
            charts.Bar(
                (LONG, WIDE_LATIN, EVIL, BIDI)[n % 4],
                float(n * n),
                f"{n * n:,}.00",
                mark=float(n * 40) if n % 3 else None,
                mark_text="before",
            )
            for n in range(count)
        ]
        yield f"hbar {count}", charts.hbar("a", "t", "d", bars, mark_label=LONG, width=width)
        stacks = [charts.Stack(LONG, parts(*range(n % 7, n % 7 + 7)), "1,234,567.89") for n in range(count)]
        legend = [(colour, f"{name} {LONG[:20]}") for name, colour in STATE_COLOURS.items()]
        yield f"stacked_rows {count}", charts.stacked_rows("b", "t", "d", stacks, legend=legend, width=width)
        slots = [
            timecharts.Slot(f"11-{n:02d}", parts(60, 20, 10) if n % 5 else None, "gap") for n in range(count)
        ]
        top, marks = timecharts.round_ticks(90)
        ticks = [(tick, f"{tick:,.0f}") for tick in marks]
        yield (
            f"columns {count}",
            timecharts.columns(
                "c",
                "t",
                "d",
                slots,
                legend=legend,
                top_value=top,
                ticks=ticks,
                gap_label="not published",
                width=width,
            ),
        )
        points = [timecharts.Point(f"2026-11-{n:02d}", float(n) if n % 4 else None) for n in range(count)]
        yield (
            f"line {count}",
            timecharts.line(
                "e", "t", "d", points, top_value=100, ticks=ticks, mark=(80, "budget " + LONG), width=width
            ),
        )
        rows = [
            (f"周{n}", [timecharts.Heat(n / 60 if h % 3 else None, "x") for h in range(24)])
            for n in range(count)
        ]
        yield (
            f"heat {count}",
            timecharts.heat_strip(
                "f",
                "t",
                "d",
                rows,
                column_labels=[f"{h:02d}:00" for h in range(24)],
                low="0%",
                high="100%",
                gap_label=LONG,
                width=width,
            ),
        )
        yield f"sparkline {count}", charts.sparkline("g", "t", "d", [float(n % 7) for n in range(count)])
    yield "stacked_bar", charts.stacked_bar("h", "t", "d", parts(64, 13, 6, 5, 5, 6, 1), width=width)
    yield "stacked_bar nothing", charts.stacked_bar("h", "t", "d", parts(0, 0), nothing=LONG, width=width)
    steps = [
        charts.Step(WIDE_LATIN, 100, "100,000,000.00 (100.0%)", "#888888", "level"),
        charts.Step(LONG, 99.9, "−99,900,000.00 (99.9%)", "#888888", "minus"),
        charts.Step("left", 0.1, "100,000.00 (0.1%)", "#888888", "level"),
    ]
    yield "waterfall", charts.waterfall("i", "t", "d", steps, width=width)
    yield "waterfall nothing", charts.waterfall("i", "t", "d", [], width=width)
    for lang in ("zh", "en"):
        for name, report in (
            ("full", sample()),
            ("sixty", sample(names=[f"{LONG}{n}" for n in range(60)])),
            ("one", sample(names=("A",))),
            ("large", sample(scale=10_000_000)),
            ("empty", sample(empty=True)),
        ):
            w = wording(report, lang)
            made = (
                figures.where_it_went(w),
                figures.departments(w),
                figures.department_states(w),
                figures.group_states(w, "scenarios", report.scenarios),
                figures.model_states(w, report.models),
                figures.capacity(w),
                figures.trend(w),
                figures.week_hours(w),
            )
            for figure in made:
                if figure is not None:
                    yield (
                        f"{figure.name} {name} {lang}",
                        figure.svg if width == charts.WIDTH else figure.narrow,
                    )


CHARTS = dict(drawn())
FOR_PHONES = dict(drawn(NARROW))


@pytest.mark.parametrize("name", CHARTS)
def test_every_label_is_inside_and_no_two_overlap(name: str) -> None:
    assert_well_laid(CHARTS[name])
    assert_well_laid(FOR_PHONES[name])
    assert 'viewBox="0 0 380 ' in FOR_PHONES[name] or name.startswith("sparkline")


def test_the_geometry_check_itself_sees_an_overlap() -> None:
    bad = (
        f'<svg xmlns="{SVG[1:-1]}" viewBox="0 0 100 20"><text x="0" y="12" font-size="11">abcdef</text>'
        '<text x="20" y="12" font-size="11">ghi</text></svg>'
    )
    with pytest.raises(AssertionError, match="overlaps"):
        assert_well_laid(bad)
    with pytest.raises(AssertionError, match="spans"):
        assert_well_laid(bad.replace('x="20"', 'x="90"'))


def test_the_same_input_gives_the_same_bytes() -> None:
    assert dict(drawn()) == CHARTS


def test_every_chart_has_a_title_and_says_what_it_shows() -> None:
    for name, svg in CHARTS.items():
        root = ET.fromstring(svg)
        title, described = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
        assert root.get("role") == "img" and title is not None and described is not None, name
        assert root.get("aria-labelledby") == f"{title.get('id')} {described.get('id')}"
        assert title.text and described.text, name


def test_a_name_is_text_and_never_markup() -> None:
    svg = charts.hbar("a", "<t>", "&d", [charts.Bar("<script>alert(1)</script>\x00\x0b\ufffe", 1, '"1"')])
    root = ET.fromstring(svg)
    assert not list(root.iter(f"{SVG}script"))
    assert "\x00" not in svg and "<script>alert(1)</script>" in "".join(root.itertext())


def test_a_value_stands_right_of_its_budget_mark() -> None:
    svg = charts.hbar("a", "t", "d", [charts.Bar("x", 10, "10", mark=40), charts.Bar("y", 40, "40", mark=5)])
    marks = [
        float(line.get("x1", "0"))
        for line in ET.fromstring(svg).iter(f"{SVG}line")
        if line.get("stroke-width") == "2"
    ]
    values = [box for box in boxes(svg) if box[4] in ("10", "40")]
    assert values[0][0] > marks[0] and values[1][0] > marks[1]


def test_a_gap_is_hatched_and_never_a_zero() -> None:
    gap = timecharts.Slot("11-21", None, "not published")
    svg = timecharts.columns(
        "c", "t", "d", [gap], legend=(), top_value=1, ticks=[(0, "0")], gap_label="not published"
    )
    root = ET.fromstring(svg)
    assert any(title.text == "not published" for title in root.iter(f"{SVG}title"))
    assert not any(rect.get("fill") in STATE_COLOURS.values() for rect in root.iter(f"{SVG}rect"))
    line = timecharts.line(
        "e",
        "t",
        "d",
        [timecharts.Point("a", 1), timecharts.Point("b", None), timecharts.Point("c", 2)],
        top_value=2,
        ticks=[(0, "0")],
    )
    assert not list(ET.fromstring(line).iter(f"{SVG}polyline")), "a line must not cross a gap"


def test_a_part_too_small_for_its_text_is_drawn_without_it() -> None:
    svg = charts.stacked_bar("h", "t", "d", parts(99.5, 0.5))
    assert [box[4] for box in boxes(svg)] == ["100%"] or [box[4] for box in boxes(svg)] == ["99%"]
    assert len(list(ET.fromstring(svg).iter(f"{SVG}rect"))) == 2


@pytest.mark.parametrize("text", [LONG, WIDE_LATIN, "a", "", "研发一部"])
def test_fit_never_exceeds_its_room(text: str) -> None:
    for room in (0, 5, 40, 190):
        assert text_width(fit(text, 11, room), 11) <= max(room, 0)


def test_widths_follow_the_script() -> None:
    assert text_width("研发", 10) == 20
    assert 5 <= text_width("a", 10) <= 7
    assert text_width("1234", 10, bold=True) > text_width("1234", 10)


def test_round_ticks_cover_the_value_and_start_at_zero() -> None:
    for most in (0.003, 1, 7, 99, 100, 101, 4321.5, 9.9e9):
        top, ticks = timecharts.round_ticks(most)
        assert ticks[0] == 0 and ticks[-1] == pytest.approx(top) and top >= most * 0.999999
        assert 2 <= len(ticks) <= 7
    assert timecharts.round_ticks(0) == (1.0, (0.0,))


# ------------------------------------------------------------------------------------------ colours
MACHADO = {
    "normal": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protan": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deutan": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritan": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}


def lab(colour: str, eyes: str) -> tuple[float, float, float]:
    raw = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in raw]
    seen = [min(max(sum(a * b for a, b in zip(row, linear, strict=True)), 0), 1) for row in MACHADO[eyes]]
    x = (0.4124 * seen[0] + 0.3576 * seen[1] + 0.1805 * seen[2]) / 0.95047
    y = 0.2126 * seen[0] + 0.7152 * seen[1] + 0.0722 * seen[2]
    z = (0.0193 * seen[0] + 0.1192 * seen[1] + 0.9505 * seen[2]) / 1.08883
    fx, fy, fz = (v ** (1 / 3) if v > 0.008856 else 7.787 * v + 16 / 116 for v in (x, y, z))
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


@pytest.mark.parametrize("eyes", MACHADO)
def test_states_stay_apart_for_every_kind_of_eye(eyes: str) -> None:
    for (one, a), (two, b) in itertools.combinations(STATE_COLOURS.items(), 2):
        distance = sum((p - q) ** 2 for p, q in zip(lab(a, eyes), lab(b, eyes), strict=True)) ** 0.5
        assert distance >= 31, f"{one} and {two} are {distance:.1f} apart for {eyes} eyes"


def luminance(colour: str) -> float:
    raw = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in raw)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def test_numbers_on_colours_can_be_read() -> None:
    for colour in STATE_COLOURS.values():
        light, dark = sorted((luminance(colour), luminance(ink_on(colour))), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, colour


def test_the_heat_scale_gets_darker_at_every_step() -> None:
    steps = [luminance(colour) for colour in HEAT]
    assert steps == sorted(steps, reverse=True) and len(set(steps)) == len(steps)


def test_ids_of_a_report_are_unique() -> None:
    for lang in ("zh", "en"):
        from ullage_reports.html import text

        ids = re.findall(r' id="([^"]+)"', text(sample(), lang))
        assert len(ids) == len(set(ids))
