"""The console in a real browser: the map paints, the keyboard works, forms act, and the policy is never broken."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from whole_stack import WholeStack, wait_for

pytestmark = pytest.mark.browser
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeStack]:
    if CHROMIUM is None:
        pytest.skip("Debian's chromium is not installed")
    made = WholeStack(tmp_path_factory.mktemp("console"))
    try:
        made.start()
        wait_for("four cards", lambda: made.api("cards")["total"] == 4)
        yield made
    finally:
        made.close()


@pytest.fixture
def page(stack: WholeStack) -> Iterator[Any]:
    """A page whose console errors and policy violations are gathered in ``page.troubles``."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"],
        )
        made = browser.new_page(locale="en-GB", viewport={"width": 1280, "height": 800})
        troubles: list[str] = []
        made.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
        made.on("pageerror", lambda error: troubles.append(str(error)))
        made.troubles = troubles
        yield made
        browser.close()


def url(stack: WholeStack, path: str) -> str:
    return f"http://127.0.0.1:{stack.collector.port}{path}"


def test_the_map_paints_every_card_and_filters_by_state(stack: WholeStack, page: Any) -> None:
    page.goto(url(stack, "/"))
    page.wait_for_selector("canvas[data-painted='4']", timeout=20_000)
    counts = [int(node.inner_text()) for node in page.query_selector_all("[data-count]")]
    assert sum(counts) == 4
    colours = page.evaluate(
        """() => { const c = document.getElementById('map');
        const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; const seen = new Set();
        for (let i = 0; i < d.length; i += 4) if (d[i + 3] === 255) seen.add((d[i] << 16) | (d[i + 1] << 8) | d[i + 2]);
        return seen.size; }"""
    )
    assert colours > 1
    button = page.query_selector("[data-state='unallocated_idle']")
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert page.troubles == []


def test_colours_that_are_not_the_states_are_explained(stack: WholeStack, page: Any) -> None:
    page.goto(url(stack, "/"))
    page.wait_for_selector("canvas[data-painted='4']", timeout=20_000)
    assert page.is_hidden("#key")
    page.select_option("#color-by", "memory")
    assert [part.inner_text() for part in page.query_selector_all("#key .legend")][:2] == ["0 %", "25 %"]
    page.select_option("#color-by", "owner")
    parts = [part.inner_text().split() for part in page.query_selector_all("#key .legend")]
    assert sum(int(words[-1]) for words in parts) == 4, "every card is somebody's or nobody's"
    assert page.troubles == []


def test_the_keyboard_reads_a_card_and_opens_it(stack: WholeStack, page: Any) -> None:
    page.goto(url(stack, "/fleet"))
    page.wait_for_selector("canvas[data-painted='4']", timeout=20_000)
    page.focus("#map")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert "sim-1 / 1" in page.text_content("#live")
    page.keyboard.press("Enter")
    page.wait_for_url("**/card/**")
    page.wait_for_selector("[data-series][data-painted='1'] canvas", timeout=20_000)
    assert page.troubles == []


def test_a_dry_run_from_a_cards_page_shows_the_call_and_changes_nothing(stack: WholeStack, page: Any) -> None:
    card = stack.api("cards")["cards"][0]["card_id"]
    page.goto(url(stack, f"/card/{card}"))
    page.fill("input[name='reason']", "fan is loud")
    page.click("button[value='isolate-dry']")
    page.wait_for_selector("#outcome pre", timeout=20_000)
    assert "scontrol update nodename=sim-1 state=drain" in page.text_content("#outcome pre")
    assert page.url.endswith(card), "the page stays: the outcome is swapped in"
    page.click("button[value='isolate']")
    page.wait_for_selector("#outcome .bad", timeout=20_000)
    assert stack.api("isolations")["isolations"] == []
    # the browser itself notes the refusal's status; nothing else may be there
    assert [trouble for trouble in page.troubles if "409" not in trouble] == []


@pytest.mark.parametrize(
    "path", ["/idle", "/findings", "/incidents", "/audit", "/fleet?view=table", "/nowhere"]
)
@pytest.mark.parametrize("language", ["zh", "en"])
def test_no_page_breaks_its_policy(stack: WholeStack, page: Any, path: str, language: str) -> None:
    page.goto(url(stack, f"/language?to={language}&back=/audit"))
    page.goto(url(stack, path))
    assert page.query_selector("html").get_attribute("lang").startswith(language)
    assert [trouble for trouble in page.troubles if "404" not in trouble] == []


@pytest.mark.parametrize("path", ["/", "/idle", "/findings", "/incidents", "/isolations", "/audit", "CARD"])
def test_no_page_is_wider_than_a_phone(stack: WholeStack, page: Any, path: str) -> None:
    """A wide table scrolls in its own box; the page itself never moves sideways."""
    page.set_viewport_size({"width": 420, "height": 900})
    card = stack.api("cards")["cards"][0]["card_id"]
    page.goto(url(stack, f"/card/{card}" if path == "CARD" else path))
    page.wait_for_load_state("networkidle")
    wide = page.evaluate("() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert wide[0] <= wide[1], wide


def test_chinese_text_is_drawn_with_a_font_that_has_it(stack: WholeStack, page: Any, tmp_path: Path) -> None:
    page.goto(url(stack, "/language?to=zh&back=/fleet"))
    page.wait_for_selector("canvas[data-painted='4']", timeout=20_000)
    page.evaluate("() => document.fonts.ready")
    session = page.context.new_cdp_session(page)
    session.send("DOM.enable")
    session.send("CSS.enable")
    root = session.send("DOM.getDocument")["root"]["nodeId"]
    node = session.send("DOM.querySelector", {"nodeId": root, "selector": "nav"})["nodeId"]
    fonts = session.send("CSS.getPlatformFontsForNode", {"nodeId": node})["fonts"]
    assert fonts
    assert all(
        any(word in font["familyName"] for word in ("CJK", "SC", "Hei", "Song", "Ullage")) for font in fonts
    ), fonts
