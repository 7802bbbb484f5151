"""The catalogue: both languages say the same things, nothing is unused, nothing is interpreted. And number formats."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from rendering_sample import sample

import ullage_reports
from ullage_collector.console.words import words
from ullage_collector.isolate.verdict import Action, Follow
from ullage_collector.ledger import STATES
from ullage_contract.errors import ConfigError
from ullage_reports.budget import Standing
from ullage_reports.format import Format
from ullage_reports.model import Status
from ullage_reports.pages import pages
from ullage_reports.period import PeriodKind
from ullage_reports.texts import LANGUAGES, PLACE, Texts, catalogue

HERE = Path(ullage_reports.__file__).parent
# Texts looked up by a word the data bring: prefix and where the words are from.
BY_WORD = {
    "state": STATES,
    "state_means": STATES,
    "status": tuple(Status),
    "title": tuple(PeriodKind),
    "weekday": tuple(str(n) for n in range(1, 8)),
    "tile": (
        "cost",
        "used_ratio",
        "waste_cost",
        "idle_held_cost",
        "trust_ratio",
        "department_cost",
        "known_ratio",
        "budget_worst_ratio",
        "budgets_over",
    ),
    "tile_note": (
        "cost",
        "used_ratio",
        "waste_cost",
        "idle_held_cost",
        "trust_ratio",
        "department_cost",
        "known_ratio",
        "budget_worst_ratio",
        "budgets_over",
    ),
}
BY_WORD["budget_standing"] = tuple(Standing)
# Words other parts may add to: shown as they are when the catalogue does not know them.
OPEN = (
    "action",
    "adjustment",
    "cause",
    "finding",
    "late",
    "level",
    "name_kind",
    "origin",
    "policy_name",
    "proposal",
    "scenarios",
    "severity",
    "vendors",
    "workload_kind",
)


def test_the_console_and_the_reports_call_a_state_the_same() -> None:
    for language in LANGUAGES:
        console = {state: word.casefold() for state, word in words(language)["states"].items()}
        assert console == {state: catalogue(language)[f"state.{state}"].casefold() for state in STATES}


def test_what_may_be_done_about_an_incident_has_a_word() -> None:
    for language in LANGUAGES:
        assert {f"action.{word}" for word in (*Action, *Follow)} <= set(catalogue(language))


def source() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in HERE.glob("*.py"))


def test_both_languages_have_the_same_keys_and_places() -> None:
    zh, en = catalogue("zh"), catalogue("en")
    assert set(zh) == set(en)
    for key, text in zh.items():
        assert set(PLACE.findall(text)) == set(PLACE.findall(en[key])), key


def test_no_text_is_unused_and_none_is_missing() -> None:
    code = source()
    used = set(re.findall(r'"([a-z_]+\.[a-z_0-9]+)"', code)) & set(catalogue("zh"))
    families = re.findall(r'f"([a-z_]+)\.([a-z_]*)\{', code)
    for key in catalogue("zh"):
        family, word = key.split(".", 1)
        by_word = any(prefix == family and word.startswith(start) for prefix, start in families)
        assert key in used or by_word or family in OPEN, f"{key} is used nowhere"
    for family, known in BY_WORD.items():
        for word in known:
            assert f"{family}.{word}" in catalogue("zh"), f"{family}.{word} is missing"


def test_no_text_is_empty_or_untranslated() -> None:
    for key, text in catalogue("en").items():
        assert text.strip() or key == "word.sentence_gap", key
        assert not re.search("[\u4e00-\u9fff]", text), f"{key} is not English: {text}"
    chinese = [key for key, text in catalogue("zh").items() if re.search("[\u4e00-\u9fff]", text)]
    assert len(chinese) > 0.9 * len(catalogue("zh"))


def test_page_one_has_no_acronyms() -> None:
    """Currency codes and the names people chose apart."""
    for lang in LANGUAGES:
        page = pages(sample(names=("alpha",)), lang)
        words = " ".join(
            [page.title, *page.sentences]
            + [f"{tile.label} {tile.value} {tile.change} {tile.note}" for tile in page.tiles]
            + [page.bar.title, page.states.caption]
            + [cell.text + cell.sub for row in page.states.rows for cell in row]
        )
        found = set(re.findall(r"\b[A-Z]{2,}\b", words))
        assert found <= {"CNY"}, found


@pytest.mark.parametrize("value", ["{0.__class__}", "{key}", "%s", "{}"])
def test_a_value_is_never_interpreted(value: str) -> None:
    assert Texts("en")("word.owner", name=value) == f"Owner: {value}"


def test_an_unknown_language_says_which_there_are() -> None:
    with pytest.raises(ConfigError, match="choose from zh, en"):
        Texts("fr")


def test_an_unknown_word_stays_itself() -> None:
    assert Texts("zh").known("cause", "site_rule_7") == "site_rule_7"


EN = Format("en", ZoneInfo("Asia/Shanghai"), "CNY")
ZH = Format("zh", ZoneInfo("Asia/Shanghai"), "CNY")


@pytest.mark.parametrize(
    ("value", "english", "chinese"),
    [
        ("7130412.50", "CNY 7.13 million", "713.0 万元"),
        ("123456789.00", "CNY 123.5 million", "1.23 亿元"),
        ("9120.40", "CNY 9,120", "9,120 元"),
        ("12.30", "CNY 12.30", "12.30 元"),
        ("-45000.00", "−CNY 45,000", "−4.50 万元"),
        ("0.00", "CNY 0.00", "0.00 元"),
    ],
)
def test_money_to_be_spoken(value: str, english: str, chinese: str) -> None:
    assert EN.money_short(Decimal(value)) == english
    assert ZH.money_short(Decimal(value)) == chinese


def test_exact_money_keeps_every_digit() -> None:
    assert EN.money(Decimal("1234567.80")) == "CNY 1,234,567.80"
    assert ZH.money(Decimal("-1234567.80")) == "−1,234,567.80 元"
    assert Format("zh", ZoneInfo("UTC"), "KWD").money(Decimal("1.234")) == "KWD 1.234"
    assert EN.number(Decimal("1E+3")) == "1,000"


def test_unknown_is_a_dash_and_never_zero() -> None:
    for form in (EN, ZH):
        assert {
            form.number(None),
            form.percent(None),
            form.money(None),
            form.money_short(None),
            form.change(None),
            form.instant(None),
        } == {"–"}


def test_a_part_that_is_not_zero_never_prints_as_zero() -> None:
    assert EN.percent(Decimal("0.00001")) == "<0.1%"
    assert EN.percent(Decimal("-0.00001")) == ">−0.1%"
    assert EN.percent(Decimal(0)) == "0.0%"
    assert EN.percent(Decimal("0.3125")) == "31.3%"


def test_changes_carry_their_sign() -> None:
    assert EN.change(Decimal("0.0612")) == "+6.1%"
    assert EN.change(Decimal("-0.03")) == "−3.0%"
    assert EN.points(Decimal("-0.012")) == "−1.2"


def test_dates_are_those_of_the_zone() -> None:
    assert EN.instant(datetime(2026, 11, 20, 16, 30, tzinfo=UTC)) == "2026-11-21 00:30"
    assert EN.span(date(2026, 11, 16), date(2026, 11, 22)) == "2026-11-16 to 2026-11-22"
    assert ZH.span(date(2026, 11, 16), date(2026, 11, 16)) == "2026-11-16"


def test_axis_labels_stay_short() -> None:
    assert EN.axis(Decimal("1500000")) == "1.5M"
    assert ZH.axis(Decimal("1500000")) == "150 万"
    assert EN.axis(Decimal("2000.0")) == "2,000"
