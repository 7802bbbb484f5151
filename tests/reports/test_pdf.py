"""PDF: the figures of the model, text that can be searched, our font in the file, and names that stay names."""

from __future__ import annotations

import builtins
import itertools
import logging
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from bill_sample import billed
from rendering_sample import BIDI, EVIL, sample

import ullage_assets
from ullage_contract.errors import AssetMissing
from ullage_reports import html, pdf
from ullage_reports.model import Report
from ullage_reports.pages import pages
from ullage_reports.pdf_columns import PAGE_POINTS, layout, lines
from ullage_reports.period import daily
from ullage_reports.svg import text_width
from ullage_reports.table import Cell, Column, Lines, Table

pytest.importorskip("typst", reason="the extra `reports` is not installed")
if not ullage_assets.available():
    pytest.skip("the font is not here: make assets", allow_module_level=True)


def poppler(tool: str, path: Path, *options: str) -> str:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed (poppler-utils)")
    command = [tool, *options, str(path), *(["-"] if tool == "pdftotext" else [])]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def words(path: Path, order: str = "-layout") -> str:
    """-layout: lines as seen. -raw: in the order of the file, so that a cell of two lines stays together."""
    return poppler("pdftotext", path, order).replace("\u200b", "")


def packed(text: str) -> str:
    """Without spaces and line breaks: a page may break a line anywhere."""
    return re.sub(r"\s+", "", text)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    def made(report: Report, lang: str = "zh") -> Path:
        return pdf.render(report, lang, tmp_path)

    return made


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_every_printed_figure_of_the_tables_is_in_the_text(make: Callable[..., Path], lang: str) -> None:
    report = sample()
    told = packed(words(make(report, lang), "-raw"))
    page = pages(report, lang)
    tables = [page.states] + [b for s in page.sections for b in s.blocks if b.__class__.__name__ == "Table"]
    for table in tables:
        for row in (*table.shown_rows, *([table.shown_total] if table.shown_total else [])):
            for cell in row:
                assert packed(cell.text) in told, f"{table.key}: {cell.text!r}"
    for tile in page.tiles:
        assert packed(tile.value) in told
    for sentence in page.sentences:
        assert packed(sentence) in told


def test_a_row_keeps_its_figures_together(make: Callable[..., Path]) -> None:
    report = sample()
    lines = words(make(report, "en")).splitlines()
    for state in report.total.states:
        name = {"used": "Used", "faulty": "Out of order"}.get(state.state)
        if name:
            row = next(line for line in lines if name in line and f"{state.cost:,}" in line)
            figures = [Decimal(n.replace(",", "")) for n in re.findall(r"[\d,]+\.\d{2}(?!%)", row)]
            assert figures == [state.cost, state.hours]


@pytest.mark.parametrize("departments", [1, 2, 3, 4])
def test_a_short_table_or_list_is_never_cut_by_a_page(make: Callable[..., Path], departments: int) -> None:
    """Its total stands below it, not alone on the next page. More departments move every later break."""
    report = sample(names=tuple(f"department {n}" for n in range(departments)))
    sheets = [packed(sheet) for sheet in words(make(report, "en"), "-raw").split("\f")]
    told = 0
    for block in (block for section in pages(report, "en").sections for block in section.blocks):
        if isinstance(block, Lines):
            whole = [packed(block.heading), *map(packed, block.items)]
            assert any(all(item in sheet for item in whole) for sheet in sheets), block.heading
        if not isinstance(block, Table) or not block.shown_rows or lines(block) > pdf.WHOLE_LINES:
            continue
        last = packed("".join(cell.text + cell.sub for cell in block.shown_total or block.shown_rows[-1]))
        assert any(packed(block.caption) in sheet and last in sheet for sheet in sheets), block.key
        told += 1
    assert told > 5


def sheets_of(path: Path) -> list[str]:
    return [packed(sheet) for sheet in words(path, "-raw").split("\f")]


def row_text(row: tuple[Cell, ...]) -> str:
    return packed("".join(cell.text + cell.sub for cell in row))


@pytest.mark.parametrize("departments", [30, 35, 37, 41, 44, 47])
def test_a_page_ends_behind_no_heading_no_parent_and_before_no_total(
    make: Callable[..., Path], departments: int
) -> None:
    """Three rows stand with their heading, a department with the first below it, the total with a row.

    Of these counts each ends a page between two that belong together, where nothing holds them.
    """
    report = sample(names=tuple(f"department {n}." for n in range(departments)))
    tree = [replace(row, depth=min(n % 4, 1)) for n, row in enumerate(report.departments)]
    report = replace(report, departments=tuple(tree))
    sheets = sheets_of(make(report, "en"))

    def together(*parts: str) -> bool:
        return any(all(part in sheet for part in parts) for sheet in sheets)

    cut = 0
    for section in pages(report, "en").sections:
        for table in section.blocks:
            if not isinstance(table, Table) or not table.shown_rows:
                continue
            rows = table.shown_rows
            assert together(packed(section.title), packed(section.lead)), section.key
            assert together(packed(table.caption), *map(row_text, rows[:3])), table.key
            if table.shown_total is not None:
                assert together(row_text(rows[-1]), row_text(table.shown_total)), table.key
            for row, below in itertools.pairwise(rows):
                if below[0].indent > row[0].indent:
                    assert together(row_text(row), row_text(below)), row[0].text
            cut += not together(row_text(rows[0]), row_text(rows[-1]))
    assert cut, "no table went over a page: nothing was tried"


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_a_days_exceptions_stand_on_one_page_and_on_the_first_where_they_fit(
    make: Callable[..., Path], lang: str
) -> None:
    report = replace(sample(), period=daily("2026-11-16", "Asia/Shanghai"))
    few_of = replace(report, incidents=(), holders=report.holders[:2])
    named = tuple(
        replace(row, workload_id=f"w-{n}", department="d") for n, row in enumerate(report.holders * 5)
    )
    many_of = replace(report, incidents=(), holders=named)
    for told, count, sheet in ((few_of, 5, 0), (many_of, 25, 1)):
        (table,) = (b for b in pages(told, lang).sections[0].blocks if isinstance(b, Table))
        sheets = sheets_of(make(told, lang))
        assert len(table.shown_rows) == count
        assert packed(table.caption) in sheets[sheet]
        assert all(row_text(row) in sheets[sheet] for row in table.shown_rows)


@pytest.mark.parametrize(
    "report",
    [billed(sample()), billed(sample(names=("A",))), billed(sample(scale=10**9)), sample(names=("A", "B"))],
    ids=["bill", "one", "much", "two"],
)
@pytest.mark.parametrize("lang", ["zh", "en"])
def test_no_page_but_the_last_is_mostly_empty(make: Callable[..., Path], report: Report, lang: str) -> None:
    boxes = poppler("pdftotext", make(report, lang), "-bbox").split("<page ")[1:]
    for number, sheet in enumerate(boxes[:-1], 1):
        ends = [float(bottom) for bottom in re.findall(r'yMax="([\d.]+)">', sheet)]
        # the lines of the footer stand below 795
        assert max(end for end in ends if end < 795) > 842 / 2, f"page {number}"


def test_no_word_of_a_wide_tables_heading_breaks_or_meets_the_next() -> None:
    titles = (
        "Card model",
        "Cost (CNY)",
        "Used card-hours",
        "Cost per used card-hour (CNY)",
        "Measured by",
        "Active",
    )
    titles += (
        "Measured",
        "Peak (dense TFLOPS)",
        "PFLOP-days (estimate)",
        "Cost per PFLOP-day (CNY, estimate)",
    )
    values = (
        "Cambricon",
        "29,943,702.53",
        "952,244.10",
        "31.4454",
        "compute units (weaker)",
        "20.9%",
        "99.5%",
    )
    values += ("990", "11,316.980", "3,907.95")
    soft = (0, 4)
    columns = tuple(Column(str(n), title, figures=n not in soft) for n, title in enumerate(titles))
    row = tuple(Cell(value, value) for value in values)
    table = Table("wide", "Wide", columns, (row,), empty="")
    widths, scale, _ = layout(table)
    assert sum(widths) <= PAGE_POINTS + 0.01 and scale > 0.9
    for width, title, value, n in zip(widths, titles, values, range(len(titles)), strict=True):
        whole = value.split() if n in soft else [value]
        inner = [text_width(word, 8.0 * scale) for word in whole]
        head = [text_width(word, 7.3 * scale, bold=True) for word in re.split(r"[ -]", title)]
        assert max(*inner, *head) / 1.12 + 8 <= width, title


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_fonts_are_ours_embedded_and_searchable(make: Callable[..., Path], lang: str) -> None:
    table = poppler("pdffonts", make(sample(), lang)).splitlines()[2:]
    assert len(table) == 2
    for line in table:
        assert re.search(r"^[A-Z]{6}\+NotoSansSC-(Regular|Bold) ", line), line
        assert re.search(r" yes yes yes ", line), f"embedded, subset and with a Unicode map: {line}"


def test_names_can_be_searched(make: Callable[..., Path]) -> None:
    report = sample(names=("大模型研究院", "喆镕堃珺", "搜索与推荐", "z"))
    told = words(make(report))
    for name in ("大模型研究院", "喆镕堃珺", "搜索与推荐"):
        assert name in told


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_hostile_names_come_out_as_plain_text(make: Callable[..., Path], lang: str) -> None:
    nasty = (
        EVIL,
        BIDI,
        '#read("/etc/passwd")',
        "#import",
        "*b* _i_ $x$",
        "\\u{41}\\",
        "<<x>>{{7*7}}",
        '"',
        "line\nbreak",
    )
    told = packed(words(make(sample(names=nasty), lang), "-raw"))
    for name in (
        EVIL,
        "财务部gpj.exe",
        '#read("/etc/passwd")',
        "#import",
        "*b*_i_$x$",
        "\\u{41}\\",
        "<<x>>{{7*7}}",
        "linebreak",
    ):
        assert packed(name) in told, name
    assert "root:" not in told and "\u202e" not in told


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_every_page_says_period_zone_currency_state_and_its_number(
    make: Callable[..., Path], lang: str
) -> None:
    path = make(sample(), lang)
    count = int(re.search(r"Pages:\s+(\d+)", poppler("pdfinfo", path))[1])  # type: ignore[index]
    state, mark = {"zh": ("未定稿", "模拟数据"), "en": ("Provisional", "Simulated data")}[lang]
    for number in range(1, count + 1):
        page = poppler("pdftotext", path, "-layout", "-f", str(number), "-l", str(number))
        for said in ("2026-W47", "Asia/Shanghai", "CNY", state, mark):
            assert said in page, f"page {number} does not say {said}"
        of = {"zh": f"第 {number} 页，共 {count} 页", "en": f"Page {number} of {count}"}[lang]
        assert packed(of) in packed(page)
        assert len(packed(page)) > 150, f"page {number} is all but empty"


def test_page_one_holds_the_sentences_tiles_bar_and_states(make: Callable[..., Path]) -> None:
    for lang in ("zh", "en"):
        path = make(sample(scale=100_000), lang)
        first = packed(poppler("pdftotext", path, "-layout", "-f", "1", "-l", "1"))
        page = pages(sample(scale=100_000), lang)
        for said in (
            *page.sentences,
            *(t.value for t in page.tiles),
            page.states.rows[-1][1].text,
            *(n.text for n in page.notices),
        ):
            assert packed(said) in first, said


def test_it_is_tagged_and_describes_its_pictures(make: Callable[..., Path]) -> None:
    path = make(sample(), "en")
    info = poppler("pdfinfo", path)
    assert re.search(r"Tagged:\s+yes", info) and re.search(r"Title:\s+Accelerator cost, week 2026-W47", info)
    raw = path.read_bytes()
    assert b"<pdfuaid:part>1<" in raw and b"<pdfaid:part>2<" in raw and b"<pdfaid:conformance>A<" in raw


def test_the_date_is_the_reports_own(make: Callable[..., Path]) -> None:
    info = poppler("pdfinfo", make(sample()), "-isodates")
    assert re.search(r"CreationDate:\s+2026-11-23T01:05:00", info)


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_the_same_report_gives_the_same_bytes(lang: str) -> None:
    assert pdf.content(sample(), lang) == pdf.content(sample(), lang)


@pytest.mark.parametrize(
    "report",
    [
        sample(empty=True),
        sample(names=("A",)),
        sample(before=False),
        sample(names=[f"{'很长的部门名称' * 25}{n}" for n in range(60)]),
        sample(names=["W" * 200, "x" * 180, "a-" * 100, "。" * 200]),
        sample(scale=10**9),
    ],
    ids=["empty", "one", "first period", "sixty long names", "unbreakable names", "very much money"],
)
@pytest.mark.parametrize("lang", ["zh", "en"])
def test_any_report_compiles_and_no_text_leaves_the_page(
    make: Callable[..., Path], report: Report, lang: str
) -> None:
    path = make(report, lang)
    boxes = poppler("pdftotext", path, "-bbox")
    width, height = 595.276, 841.89
    found = re.findall(
        r'<word xMin="([-\d.]+)" yMin="([-\d.]+)" xMax="([-\d.]+)" yMax="([-\d.]+)">(.*?)</word>', boxes
    )
    assert found
    for left, top, right, bottom, word in found:
        assert float(left) >= 40 and float(right) <= width - 40, f"{word} spans {left}..{right}"
        assert float(top) >= 10 and float(bottom) <= height - 10, word


def test_a_character_our_font_lacks_is_told_and_does_not_stop_the_report(
    make: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        told = words(make(sample(names=("野家\U00020bb7", "火箭\U0001f680部"))))
    assert "火箭" in told and "野家" in told
    assert "U+20BB7" in caplog.text and "U+1F680" in caplog.text


def test_without_typst_the_message_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "typst":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(AssetMissing, match=r"pip install 'ullage\[reports\]'"):
        pdf.render(sample(), "zh", tmp_path)
    assert html.render(sample(), "zh", tmp_path).exists(), "HTML needs neither"
    assert not list(tmp_path.glob("*.pdf"))


def test_without_the_font_the_message_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(ullage_assets, "_files", lambda: tmp_path / "none")
    with pytest.raises(AssetMissing, match="make assets"):
        pdf.render(sample(), "zh", tmp_path)
    assert html.render(sample(), "en", tmp_path).exists()


def test_a_large_figure_is_never_broken_over_two_lines(make: Callable[..., Path]) -> None:
    report = sample(scale=100_000)
    path = make(report, "en")
    lines = words(path)
    for figure in (report.total.cost, report.total.hours, *(row.amounts.hours for row in report.departments)):
        assert f"{figure:,}" in lines
