"""HTML: one file that needs nothing, runs nothing, and shows the figures of the model."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
import shutil
import subprocess
from dataclasses import replace
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path

import pytest
from bill_sample import billed
from rendering_sample import BIDI, EVIL, sample

from ullage_reports.budgets import BudgetRow, tile
from ullage_reports.html import render, text
from ullage_reports.json_form import to_json
from ullage_reports.model import Report, Status
from ullage_reports.wording import wording

VOID = {"meta", "link", "br", "img", "hr", "input", "circle", "line", "polyline", "polygon"}


class Page(HTMLParser):
    """Tables as {id: [[cell text]]}, all visible text, tags with attributes, and whether tags nest."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tables: dict[str, list[list[str]]] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self._table = ""
        self._cell: list[str] | None = None
        self.feed(source)
        self.close()
        assert not self._open, f"left open: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "table":
            self._table = dict(attrs)["id"] or ""
            self.tables[self._table] = []
        elif tag == "tr":
            self.tables[self._table].append([])
        elif tag in ("td", "th"):
            self._cell = []
        if tag == "small" and self._cell is not None:
            self._cell.append("\n")
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open and self._open[-1] == tag, f"</{tag}> closes {self._open[-3:]}"
        self._open.pop()
        if tag in ("td", "th") and self._cell is not None:
            self.tables[self._table][-1].append("".join(self._cell).strip())
            self._cell = None

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("style", "title", "desc"):
            self.words.append(data)
        if self._cell is not None:
            self._cell.append(data)


def figure(printed: str) -> Decimal:
    return Decimal(printed.split("\n")[0].replace(",", "").replace("−", "-"))


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_printed_figures_are_the_models(lang: str) -> None:
    report = sample()
    page = Page(text(report, lang))
    states = page.tables["table-states"]
    for row, state in zip(states[1:-1], report.total.states, strict=True):
        assert (figure(row[1]), figure(row[4])) == (state.cost, state.hours)
    assert figure(states[-1][1]) == report.total.cost
    departments = page.tables["table-departments"][1:-1]
    assert len(departments) == len(report.departments)
    for row, department in zip(departments, report.departments, strict=True):
        amounts = department.amounts
        assert [figure(row[n]) for n in (1, 3, 5)] == [
            amounts.cost,
            amounts.hours,
            amounts.state_cost("allocated_idle"),
        ]
    for row, model in zip(page.tables["table-models"][1:-1], report.models, strict=True):
        assert figure(row[3]) == model.amounts.cost and figure(row[6]) == model.effective_price


@pytest.mark.parametrize("lang", ["zh", "en"])
@pytest.mark.parametrize(
    "report",
    [
        sample(),
        sample(empty=True),
        sample(names=("A",)),
        sample(names=[f"{'很长的名字' * 30}{n}" for n in range(60)]),
        sample(before=False, status=Status.SEALED, origin="real"),
    ],
    ids=["full", "empty", "one", "sixty", "sealed"],
)
def test_it_is_well_formed_and_needs_and_runs_nothing(report: Report, lang: str) -> None:
    source = text(report, lang)
    page = Page(source)
    for tag, attrs in page.tags:
        assert tag not in ("script", "link", "img", "iframe", "object", "embed", "form", "base"), tag
        for name, value in attrs.items():
            assert not name.startswith("on") and name != "style", (tag, name)
            if name in ("href", "src"):
                assert (value or "").startswith("#"), value
    assert "@import" not in source and "url(" not in source
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", source)


def test_the_page_allows_itself_its_own_style_and_no_more() -> None:
    source = text(sample(), "en")
    style = re.search(r"<style>(.*?)</style>", source, re.S)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    page = Page(source)
    policy = next(a["content"] for t, a in page.tags if t == "meta" and a.get("http-equiv"))
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_hostile_names_come_out_as_plain_text(lang: str) -> None:
    nasty = ("<script>alert(1)</script>", "{{7*7}}", "{% raw %}", EVIL, BIDI, "</style><b>", "a\x00b\x1b[31m")
    source = text(sample(names=nasty), lang)
    words = "".join(Page(source).words)
    for name in ("<script>alert(1)</script>", "{{7*7}}", EVIL, "财务部gpj.exe", "</style><b>", "ab[31m"):
        assert name in words, name
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x08\x0b-\x1f]", source)


def test_two_names_that_print_alike_are_told_apart() -> None:
    words = "".join(Page(text(sample(names=("x", "x\u200b", "a", "b")), "en")).words)
    assert "x (g/0)" in words and "x (g/1)" in words


def test_tables_can_be_read_by_a_machine() -> None:
    page = Page(text(sample(), "en"))
    count = len(page.tables)
    assert sum(tag == "caption" for tag, _ in page.tags) == count
    assert all(attrs.get("scope") in ("row", "col") for tag, attrs in page.tags if tag == "th")
    assert next(attrs["lang"] for tag, attrs in page.tags if tag == "html") == "en"
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1 and all(b - a <= 1 for a, b in itertools.pairwise(levels))


def test_what_is_wrong_is_told_on_page_one() -> None:
    report = sample()
    words = "".join(Page(text(report, "en")).words)
    first = words.split("By department")[0]
    for told in (
        "Days not published (UTC, 1): 2026-11-21",
        "112.50 card-hours have no price",
        "simulated",
        "assumed prices",
        "Provisional",
    ):
        assert told in first, told


def test_no_data_says_so_and_prints_no_zero_as_a_fact() -> None:
    words = "".join(Page(text(sample(empty=True), "en")).words)
    assert "Nothing is published for this period" in words
    assert "None of it went to idle" not in words and "No workload held" not in words
    assert "0.00" not in words.split("Trust and method")[0]
    assert words.split("Trust and method")[0].count("not known") == 5, "all five tiles"


def test_every_figure_has_its_unit_and_window() -> None:
    for lang in ("zh", "en"):
        w = wording(sample(), lang)
        for key in ("states", "departments", "models", "idle"):
            caption = re.search(rf'<caption id="cap-{key}">(.*?)</caption>', text(sample(), lang))
            assert caption is not None and "CNY" in caption[1] and w.window in caption[1]


def test_the_same_report_gives_the_same_bytes(tmp_path: Path) -> None:
    path = render(sample(), "zh", tmp_path)
    first = path.read_bytes()
    assert path.name == "ullage-weekly-2026-W47.zh.html"
    assert render(sample(), "zh", tmp_path).read_bytes() == first


def test_json_carries_the_same_figures() -> None:
    report = sample()
    told = to_json(report)
    assert isinstance(told, dict)
    states = Page(text(report, "en")).tables["table-states"][1:-1]
    assert [figure(row[1]) for row in states] == [Decimal(s["cost"]) for s in told["total"]["states"]]


@pytest.mark.browser
def test_a_browser_shows_it_without_sideways_scrolling(tmp_path: Path) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    page = render(sample(names=[f"{'很长的名字' * 20}{n}" for n in range(20)]), "zh", tmp_path)
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-component-update",
        "--disable-sync",
        "--disable-background-networking",
    ]
    picture = tmp_path / "page.png"
    pdf = tmp_path / "page.pdf"
    for how in (f"--screenshot={picture}", f"--print-to-pdf={pdf}"):
        subprocess.run(
            [
                chromium,
                *flags,
                f"--user-data-dir={tmp_path / 'profile'}",
                "--window-size=1240,1754",
                how,
                page.as_uri(),
            ],
            check=True,
            capture_output=True,
            timeout=120,
        )
    assert picture.stat().st_size > 20_000
    assert pdf.read_bytes().startswith(b"%PDF")


BOXES = """selector => [...document.querySelectorAll(selector)].map(e => {
    const range = document.createRange();
    range.selectNodeContents(e);
    const box = e.getBoundingClientRect(), inner = range.getBoundingClientRect();
    return [box.left, box.right, inner.left, inner.right, range.getClientRects().length];
})"""
"""Of every element: its left and right, those of what is in it, and how many lines its text takes."""
CHARTS = """[...document.querySelectorAll('figure svg')].filter(s => s.getBoundingClientRect().width).map(s => {
    const sizes = [...s.querySelectorAll('text')].map(t => parseFloat(t.getAttribute('font-size')));
    const box = s.getBoundingClientRect();
    return [box.left, box.right, Math.min(...sizes) * box.width / s.viewBox.baseVal.width];
})"""
"""Of every chart that is seen: its left and right, and its smallest text in pixels."""


def budgeted(report: Report) -> Report:
    """With the budget's tile, the sixth, of a budget with a long name."""
    money, nothing = Decimal("66493.78"), Decimal("0.00")
    row = BudgetRow(
        *("Computer Vision and Perception Research Group", ("*",), ("*",), True, "2026-11", "CNY"),
        *(Decimal("100000.00"), money, Decimal("0.664938"), None, None, None, None),
        *(22, 0, 8, nothing, None, None, "on_track"),
    )
    shown = tile((row,))
    assert shown is not None
    page = replace(report.page_one, tiles=(*report.page_one.tiles, shown))
    return replace(report, page_one=page, budgets=(row,))


@pytest.mark.browser
@pytest.mark.parametrize("language", ["zh", "en"])
def test_tiles_and_charts_can_be_read_on_every_screen(tmp_path: Path, language: str) -> None:
    """Four to six tiles: no figure broken within, nothing beside its tile. No chart cut, its least label 7.5 px at least."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    from playwright.sync_api import sync_playwright

    report = sample(scale=40)
    four = replace(report, page_one=replace(report.page_one, tiles=report.page_one.tiles[:4]))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        for told in (budgeted(report), report, four):
            page.goto(render(told, language, tmp_path).as_uri())
            for wide in (360, 420, 640, 800, 1280):
                page.set_viewport_size({"width": wide, "height": 900})
                for left, right, inner_left, inner_right, _ in page.evaluate(BOXES, ".tiles li"):
                    assert inner_left >= left and inner_right <= right, wide
                # a Chinese amount has no place to break; an English one breaks after its currency where it must
                for *_, lines in page.evaluate(BOXES, ".tiles .value"):
                    assert lines <= (1 if language == "zh" else 2), (wide, page.inner_text(".tiles"))
                drawn = page.evaluate(CHARTS)
                assert len(drawn) > 4
                for left, right, size in drawn:
                    assert left >= 0 and right <= wide and size >= 7.5, (wide, size)
        browser.close()


@pytest.mark.browser
def test_a_table_wider_than_a_phone_shows_that_there_is_more(tmp_path: Path) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 420, "height": 900}, bypass_csp=True)
        page.goto(render(sample(), "en", tmp_path).as_uri())
        first = page.locator(".scroll").first
        assert page.evaluate("e => e.scrollWidth > e.clientWidth", first.element_handle())
        begun = first.screenshot()
        # the shadow at the right edge goes when the end is reached, and one at the left comes
        assert page.evaluate("e => getComputedStyle(e).backgroundAttachment", first.element_handle()) == (
            "local, local, scroll, scroll"
        )
        page.add_style_tag(content=".scroll{background:none!important}")
        assert first.screenshot() != begun
        # no table goes on beside a desk's screen, nor beside the text of an A4 page, 680 px wide
        page.goto(render(billed(sample(scale=100)), "en", tmp_path).as_uri())
        for media, wide in (("screen", 1280), ("print", 680)):
            page.emulate_media(media=media)
            page.set_viewport_size({"width": wide, "height": 900})
            for left, right, _, inner_right, _ in page.evaluate(BOXES, ".scroll"):
                assert left < inner_right <= right + 1, media
        browser.close()


@pytest.mark.browser
def test_a_printed_page_ends_behind_no_parent(tmp_path: Path) -> None:
    """Where a browser prints it: a department stands with the first below it, and three rows together."""
    chromium = shutil.which("chromium")
    if chromium is None or shutil.which("pdftotext") is None:
        pytest.skip("chromium or poppler-utils is not installed")
    from playwright.sync_api import sync_playwright

    def packed(told: str) -> str:
        return re.sub(r"\s+", "", told)

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        tried = 0
        for departments in (24, 26, 30, 34):
            report = sample(names=tuple(f"department {n}." for n in range(departments)))
            tree = [replace(row, depth=n % 2) for n, row in enumerate(report.departments)]
            page.goto(render(replace(report, departments=tuple(tree)), "en", tmp_path).as_uri())
            printed = tmp_path / "printed.pdf"
            page.pdf(path=printed, prefer_css_page_size=True)
            told = subprocess.run(
                ["pdftotext", "-raw", printed, "-"], capture_output=True, text=True, check=True, timeout=60
            ).stdout
            sheets = [packed(sheet) for sheet in told.split("\f")]
            rows = page.evaluate(
                "[...document.querySelectorAll('#table-departments tbody tr')].map(r => [r.innerText, r.firstElementChild.className])"
            )
            lines = [packed(line) for line, _ in rows]
            assert any(all(line in sheet for line in lines[:3]) for sheet in sheets)
            for n, (_, kind) in enumerate(rows[:-1]):
                together = any(lines[n] in sheet and lines[n + 1] in sheet for sheet in sheets)
                assert together or "in0" not in kind or "in1" not in rows[n + 1][1], rows[n]
                tried += not together
        browser.close()
    assert tried, "no table went over a page: nothing was tried"


@pytest.mark.browser
@pytest.mark.parametrize("language", ["zh", "en"])
def test_on_a_phone_the_page_stands_and_names_keep_their_words(tmp_path: Path, language: str) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    from playwright.sync_api import sync_playwright

    path = render(sample(), language, tmp_path)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 420, "height": 900})
        page.goto(path.as_uri())
        wide, room = page.evaluate(
            "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        narrow = page.evaluate(
            "[...document.querySelectorAll('tbody tr > :first-child')].filter(c => c.clientWidth < 100).length"
        )
        browser.close()
    assert wide <= room
    assert narrow == 0, "first columns too narrow for a word"
