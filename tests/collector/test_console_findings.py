"""The page of findings: by kind, with evidence, every kind we open named in both languages, hostile text harmless."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from tests.collector.test_console import EVIL, NOW, World

from ullage_collector.console.words import LANGUAGES, words
from ullage_collector.detect import idle_finding, over_subscription, unallocated_use
from ullage_collector.detect.findings import Found, keep
from ullage_collector.detect.fragmentation import finding as fragmentation
from ullage_collector.detect.idle_rules import Grade
from ullage_collector.detect.placement import finding as placement
from ullage_collector.detect.sizing import finding as sizing
from ullage_collector.detect.stragglers import finding as stragglers
from ullage_collector.detect.uneven import finding as uneven
from ullage_collector.notify.texts import catalogue as notice_texts
from ullage_collector.receive.identity import Role
from ullage_reports.texts import catalogue as report_texts

NEWER = {placement.KIND, uneven.KIND, *sizing.KINDS}
SOURCES = Path(__file__).parents[2] / "collector/ullage_collector"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.store.close()


def put(world: World, *found: Found) -> None:
    with world.store.write() as cursor:
        keep(cursor, {item.kind for item in found}, found, round(NOW * 1e6))


def page(world: World, language: str = "en") -> str:
    return world.client(Role.VIEWER).get("/findings", headers={"accept-language": language}).text


def test_a_finding_shows_its_kind_subject_evidence_and_owner(world: World) -> None:
    found = Found(
        "used_without_allocation",
        "card",
        "GPU-1",
        round(NOW * 1e6) - 60_000_000,
        {"pid": 41, "command": "python3", "user": "ada", "held_by": []},
        key="41-1",
        owner="ada",
    )
    put(world, found, Found("pool_none", "fleet", "fleet", 1, {"cards": 3}))
    text = page(world)
    assert words("en")["findings"]["used_without_allocation"]["means"] in text
    assert '<a href="/card/GPU-1">GPU-1</a>' in text
    assert re.search(r"command</span> python3 · .*pid</span> 41 · .*user</span> ada", text)
    assert "held by</span> –" in text
    assert "41-1" not in text  # the key repeats what stands beside it
    assert text.index("used_without_allocation") < text.index("pool_none")  # the newest first


def test_no_finding_is_said(world: World) -> None:
    assert words("zh")["no_findings"] in page(world, "zh")


def test_hostile_evidence_is_text(world: World) -> None:
    put(world, Found("moved_card", "node", EVIL, 1, {EVIL: EVIL, "x": [EVIL]}, owner=EVIL))
    text = page(world)
    assert "<script>" not in text and "\u202e" not in text


def test_a_kind_nobody_named_shows_by_its_own_word(world: World) -> None:
    put(world, Found("some_new_kind", "node", "g1", 1, {}))
    assert "some new kind" in page(world)


def test_more_than_a_page_is_cut_and_said(world: World) -> None:
    put(world, *(Found("moved_card", "card", f"GPU-{n}", n, {}) for n in range(250)))
    text = page(world)
    assert text.count("<tr><td") == 200
    assert '<span class="soft">250</span>' in text and words("en")["more_rows"] in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_kind_of_ours_has_a_name(language: str) -> None:
    opened = set()
    for path in SOURCES.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        opened |= set(re.findall(r'Found\(\s*(?:kind=)?"([a-z_]+)"', text))
        opened |= set(re.findall(r'^KIND: Final = "([a-z_]+)"', text, re.M))
    opened |= set(re.findall(r"'(unlisted_card)'", (SOURCES / "sql/states.sql").read_text(encoding="utf-8")))
    assert len(opened) > 15
    assert opened <= words(language)["findings"].keys()


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_suggestion_of_ours_has_words(language: str) -> None:
    suggested = {grade.word for grade in Grade} | {f"check_{family}" for family in ("card", "node", "port")}
    more = ("quota/hours.py", "publish/closing_rule.py", "sql/states.sql")
    for path in (*(SOURCES / "detect").rglob("*"), *(SOURCES / name for name in more)):
        if path.suffix in (".py", ".toml", ".sql") and "fault" not in str(path.relative_to(SOURCES)):
            text = path.read_text(encoding="utf-8")
            suggested |= set(re.findall(r'\baction ?= ?"([a-z_]+)"', text))
            suggested |= set(re.findall(r'\baction=?\s?=? ?"[a-z_]+" if [^\n]+ else "([a-z_]+)"', text))
    suggested -= {"store_true", "append"}
    assert len(suggested) > 30
    assert suggested <= words(language)["actions"].keys()


def test_what_a_finding_costs_a_day_and_how_sure_it_is_have_columns(world: World) -> None:
    put(
        world,
        Found(
            "idle_workload",
            "workload",
            "job-1",
            1,
            {"cost_per_day": {"CNY": "480.00"}, "cards": 2},
            confidence=0.725,
        ),
        Found("straggler_suspect", "card", "GPU-1", 1, {"job_cost_per_day": {"CNY": "12.34"}}),
        Found("version_drift", "node", "n1", 1, {"name": "driver"}),
    )
    text = re.sub(r"\s+", " ", page(world))
    assert text.count("CNY 480.00") == 1 and text.count("CNY 12.34") == 1
    assert '<td class="number">CNY 480.00</td><td class="number">72 %</td>' in text
    assert '<td class="number"></td><td class="number">100 %</td>' in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_notices_and_reports_call_findings_and_what_they_suggest_as_the_console_does(language: str) -> None:
    said = words(language)
    names = {kind: texts["name"] for kind, texts in said["findings"].items()}
    notices, reports = notice_texts(language)["word"], report_texts(language)
    assert notices["kind"] == names
    assert {kind: reports.get(f"finding.{kind}", name) for kind, name in names.items()} == names
    assert {*NEWER, "idle_workload", "hang_suspect"} <= {key.removeprefix("finding.") for key in reports}
    for action, text in said["actions"].items():
        assert notices["action"][action] == reports[f"action.{action}"] == text


@pytest.mark.parametrize(
    ("module", "kinds"),
    [
        (placement, [placement.KIND]),
        (uneven, [uneven.KIND]),
        (sizing, sizing.KINDS),
        (fragmentation, [fragmentation.KIND]),
        (idle_finding, [idle_finding.KIND]),
        (stragglers, stragglers.KINDS),
        (over_subscription, [over_subscription.KIND]),
        (unallocated_use, [unallocated_use.KIND]),
    ],
)
def test_kinds_that_cost_money_have_every_word_of_their_evidence_in_both_languages(
    module: ModuleType, kinds: list[str]
) -> None:
    """Keys of evidence as they stand in the source; a test of each detector looks at a real page."""
    text = Path(str(module.__file__)).read_text(encoding="utf-8")
    keys = set(re.findall(r'^ +"([a-z_]+)": (?!texts)', text, re.M))
    for language in LANGUAGES:
        assert set(kinds) <= words(language)["findings"].keys()
        assert keys <= words(language)["evidence_names"].keys() | words(language)["evidence_words"].keys()
