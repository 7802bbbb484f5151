"""Whatever a department is called, pages stay whole: fuzzed names through every renderer."""

from __future__ import annotations

import csv
import io
import xml.etree.ElementTree as ET
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from rendering_sample import sample
from test_charts import assert_well_laid
from test_html import Page

import ullage_assets
from ullage_contract.plain import plain
from ullage_reports import csv_files, html
from ullage_reports.charts import Bar, hbar
from ullage_reports.pages import pages

pieces = st.sampled_from(
    [
        '"',
        "\\",
        "#",
        "]",
        ")",
        "}",
        "{{",
        "<<",
        "<",
        "&amp;",
        "-->",
        "]]>",
        "$",
        "`",
        "@",
        "=",
        "\u202e",
        "\ud800",
        "\x00",
        "\n",
        "🚀",
        "𠮷",
        "é",
        "研",
        "١",
    ]
)
names = st.lists(st.one_of(pieces, st.characters()), min_size=0, max_size=24).map("".join)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(names, min_size=1, max_size=5, unique=True))
def test_html_and_csv_stay_whole(chosen: list[str]) -> None:
    report = sample(names=chosen)
    page = Page(html.text(report, "zh"))
    shown = [row[0].split("\n")[0] for row in page.tables["table-departments"][1:-1]]
    assert len(shown) == len(report.departments)
    assert all(plain(name) in " ".join(page.words) for name in chosen)
    table = next(t for t in pages(report, "en").file_tables if t.key == "departments")
    rows = list(csv.reader(io.StringIO(csv_files.text(table), newline="")))
    assert len(rows) == len(report.departments) + 1
    assert len({len(row) for row in rows}) == 1


@settings(max_examples=60, deadline=None)
@example([("a", 1.1125369292536007e-308, "b")])
@given(st.lists(st.tuples(names, st.floats(0, 1e12), names), max_size=8))
def test_a_chart_stays_xml_and_well_laid(rows: list[tuple[str, float, str]]) -> None:
    svg = hbar("a", "t", "d", [Bar(plain(name), value, plain(text)[:20]) for name, value, text in rows])
    ET.fromstring(svg)
    assert_well_laid(svg)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(names, min_size=1, max_size=5, unique=True))
def test_the_pdf_always_compiles(chosen: list[str]) -> None:
    pytest.importorskip("typst", reason="the extra `reports` is not installed")
    if not ullage_assets.available():
        pytest.skip("the font is not here: make assets")
    from ullage_reports import pdf

    with TemporaryDirectory() as folder:
        assert pdf.render(sample(names=chosen), "en", Path(folder)).read_bytes().startswith(b"%PDF")
