"""What share of a card somebody holds: by which slices an instance is weighed, by what over-subscribed cards are divided, and who held
a card that is out of order."""

from __future__ import annotations

from typing import Any

import pytest
from tests.collector.fleet_world import LATER, NANO, World, card_hours
from tests.collector.states_world import TODAY, mapped

from ullage_collector.publish.files import publish_facts_day
from ullage_collector.published import Published
from ullage_collector.states import States, rules_of
from ullage_contract.errors import ConfigError

SEVENTH = NANO // 7


def instance(
    world: World, key: int, card: str, memory: float | None, profile: str | None = "1g.20gb"
) -> None:
    world.db.execute(
        "INSERT INTO slice (slice_key, slice_id, card_key, profile, memory_share) VALUES (?, ?, ?, ?, ?)",
        [key, f"{card}/{key}", world.cards[card], profile, memory],
    )


def hours(world: World, **words: str) -> dict[tuple[str, str], float]:
    world.db.execute("DELETE FROM segment")
    States(world.db, rules_of(words)).make(TODAY, LATER)
    return {key: round(value, 6) for key, value in card_hours(world.lines()).items()}


@pytest.fixture
def mig() -> World:
    """An instance with one of seven compute slices and two of eight memory slices."""
    world = mapped()
    world.card("G1")
    instance(world, 7, "G1", 0.25)
    world.hold("G1", "slurm/dc1/nlp/1", 0, 24, SEVENTH, slice_key=7)
    world.minutes("G1", 0, 24, 0.9)
    return world


@pytest.mark.parametrize(
    ("word", "held"),
    [("compute_slices", 24 / 7), ("memory_slices", 6.0), ("dominant_share", 6.0)],
)
def test_an_instance_is_weighed_as_the_settings_say(mig: World, word: str, held: float) -> None:
    found = hours(mig, mig_weight=word)
    assert found["nlp", "used"] == pytest.approx(held, abs=1e-6)
    assert sum(found.values()) == pytest.approx(24), "what is not held is left over"
    rules = {line["share_rule"] for line in mig.lines() if line["department_id"] == "nlp"}
    assert rules == {None if word == "compute_slices" else word}


def test_the_allocations_own_memory_goes_before_the_slices(mig: World) -> None:
    mig.db.execute("UPDATE allocation SET memory_share_nano = ?", [NANO // 2])
    assert hours(mig, mig_weight="memory_slices")["nlp", "used"] == 12.0


def test_what_is_no_instance_or_says_nothing_of_memory_stays_as_it_was_asked_for(mig: World) -> None:
    mig.db.execute("UPDATE slice SET memory_share = NULL")
    assert hours(mig, mig_weight="memory_slices")["nlp", "used"] == pytest.approx(24 / 7, abs=1e-6)
    mig.db.execute("UPDATE slice SET memory_share = 0.25, profile = NULL")
    assert hours(mig, mig_weight="dominant_share")["nlp", "used"] == pytest.approx(24 / 7, abs=1e-6)


@pytest.fixture
def crowded() -> World:
    """Two ask for 60 % of a card each; one computes three times as much as the other."""
    world = mapped()
    world.card("G1")
    world.minutes("G1", 0, 24, 0.9)
    for key, who in ((7, "nlp/1"), (8, "rec/2")):
        instance(world, key, "G1", None, None)
        world.hold("G1", f"slurm/dc1/{who}", 0, 24, NANO * 6 // 10, slice_key=key)
    world.db.execute(
        "CREATE TABLE slice_minute AS SELECT minute, key AS slice_key, covered_seconds, share AS sm_active_ratio, "
        "share AS sm_active_ratio_max FROM card_minute, (VALUES (7, 0.6), (8, 0.2)) s(key, share)"
    )
    return world


def departments(world: World, **words: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for (name, _), value in hours(world, **words).items():
        found[name] = found.get(name, 0.0) + value
    return {name: round(value, 4) for name, value in found.items()}


def test_holders_who_ask_for_more_than_a_card_are_divided_by_request_or_by_measure(crowded: World) -> None:
    assert set(departments(crowded).values()) == {12.0}
    measured = departments(crowded, oversubscription="measured_sm_share")
    assert sorted(measured.values()) == [6.0, 18.0]
    assert {line["share_rule"] for line in crowded.lines()} == {"measured_sm_share"}


def test_where_somebody_was_not_measured_it_is_by_request(crowded: World) -> None:
    crowded.db.execute("DELETE FROM slice_minute WHERE slice_key = 8 AND hour(minute) >= 12")
    assert sorted(departments(crowded, oversubscription="measured_sm_share").values()) == [9.0, 15.0]
    crowded.db.execute("UPDATE slice_minute SET sm_active_ratio = 0")
    assert sorted(departments(crowded, oversubscription="measured_sm_share").values()) == [12.0, 12.0]


def test_a_faulty_card_says_who_held_it_and_stays_the_platforms(tmp_path: Any) -> None:
    world = mapped()
    world.card("G1")
    world.price("H800", 10_000_000)
    world.hold("G1", "slurm/dc1/nlp/1", 0, 12, NANO // 4)
    world.minutes("G1", 0, 24, 0.9)
    world.incident("G1", 6, 18)
    assert hours(world) == {
        ("nlp", "used"): 1.5,
        ("platform", "fragmented"): 4.5,
        ("platform", "faulty"): 12.0,
        ("platform", "unallocated_idle"): 6.0,
    }
    faulty = [line for line in world.lines() if line["state"] == "faulty" and line["holder_department"]]
    assert {(line["department_id"], line["holder_department"], line["share_nano"]) for line in faulty} == {
        ("platform", "nlp", NANO // 4)
    }
    assert {line["workload_key"] for line in faulty} == {None}, "it is no hour of the workload's"
    publish_facts_day(world.db, tmp_path, TODAY, status="sealed", now=LATER)
    manifest = Published(tmp_path).facts(TODAY)
    assert manifest is not None
    rows = world.db.execute(
        "SELECT sum((to_us - from_us) * share_nano) / 3.6e18 FROM read_parquet(?) WHERE holder_department = 'nlp' "
        "AND contains(source_rows, 'allocation=') AND contains(source_rows, 'incident=')",
        [str(manifest.path("segments.parquet"))],
    ).fetchall()
    assert rows == [(1.5,)]


@pytest.mark.parametrize("words", [{"mig_weight": "weight"}, {"oversubscription": "fair"}])
def test_a_word_there_is_none_of_is_refused(words: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="choose from"):
        rules_of(words)
