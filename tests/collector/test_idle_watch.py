"""Idle workloads on the store's minutes: whole gangs, windows by use, what holds a grade back, and what silence does not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.collector.fleet_fixture import NOON, Fleet, card_sample
from tests.collector.fleet_world import NANO, at, us
from tests.collector.idle_world import TRAINING, Watched, busy_then_quiet

from ullage_collector.allocation.book import AllocationBook
from ullage_collector.allocation.holding import Holding, Place, Workload
from ullage_collector.config import Config
from ullage_collector.detect.findings import Found, keep
from ullage_collector.detect.idle_finding import KIND
from ullage_collector.detect.idle_rules import default_rules, parse, rules_of
from ullage_collector.detect.idle_watch import IdleWatch
from ullage_collector.detect.rounds import Rounds
from ullage_collector.states import default_rules as states_rules
from ullage_contract.errors import ConfigError


@pytest.fixture
def watched() -> Watched:
    found = Watched()
    found.world.price("H800", 10_000_000)
    return found


def test_the_grade_grows_with_the_quiet_and_the_finding_is_dated_back(watched: Watched) -> None:
    busy_then_quiet(watched, "A")
    watched.hosts("n1", 0, 12)
    assert watched.until(1.7) == []
    (note,) = watched.until(2.2, 1.7)
    assert (note.subject, note.since_us, note.action) == (TRAINING, us(1.0), "note")
    (told,) = watched.until(3.1, 2.2)
    assert (told.action, told.since_us) == ("tell_owner", us(1.0))
    (proposed,) = watched.until(6.1, 3.1)
    assert (proposed.action, proposed.evidence["held_back_by"]) == ("propose_reclaim", None)
    assert proposed.evidence["host"] == "quiet"
    assert proposed.confidence >= 0.5


def test_minutes_that_nobody_saw_make_no_quiet_older(watched: Watched) -> None:
    busy_then_quiet(watched, "A")
    watched.hosts("n1", 0, 12)
    watched.world.db.execute(
        "DELETE FROM card_minute WHERE minute >= ? AND minute(minute) % 2 = 1", [at(1.0)]
    )
    assert watched.until(2.2) == [], "36 of 72 minutes are known"
    (note,) = watched.until(3.2, 2.2)
    assert (note.action, note.since_us, note.evidence["held_back_by"]) == ("note", us(1.0), None)
    (told,) = watched.until(5.2, 3.2)
    assert (told.action, told.since_us) == ("tell_owner", us(1.0))


def test_it_ends_when_somebody_works_again_or_gives_the_card_back(watched: Watched) -> None:
    busy_then_quiet(watched, "A", end=4.0)
    assert len(watched.until(4.0)) == 1
    watched.world.minutes("A", 4.0, 5.0, 0.5)
    assert watched.until(4.2, 4.0) == []
    assert watched.unjudged == set()


def test_cost_is_the_ledgers_price_for_a_day_of_the_shares_held(watched: Watched) -> None:
    busy_then_quiet(watched, "A", "B")
    watched.world.card("C", model="K100")
    watched.world.hold("C", TRAINING, 0, None, NANO // 4)
    watched.world.minutes("C", 0, 12, 0.0)
    (found,) = watched.until(3.0)
    assert found.evidence["cards"] == 3
    assert found.evidence["cost_per_day"] == {"CNY": "480.00"}
    assert found.evidence["cards_without_price"] == 1


def test_one_busy_card_keeps_its_whole_gang_from_being_idle(watched: Watched) -> None:
    busy_then_quiet(watched, "A", "B")
    watched.world.card("C", node="n2")
    watched.world.hold("C", TRAINING, 0, None, node="n2")
    watched.world.minutes("C", 0, 12, 0.4)
    assert watched.until(6.0) == []


def test_pods_of_one_job_are_one_gang(watched: Watched) -> None:
    for number, util in ((0, 0.0), (1, 0.8)):
        pod = f"k8s/dc1/ml/worker-{number}/u{number}"
        watched.world.workload(
            pod, labels={"training.kubeflow.org/job-name": "big"}, scenario="training", user="li"
        )
        watched.world.card(f"G{number}")
        watched.world.hold(f"G{number}", pod, 0, None)
        watched.world.minutes(f"G{number}", 0, 3, util)
        watched.world.minutes(f"G{number}", 3, 12, 0.0)
    assert watched.until(3.0) == []
    (found,) = watched.until(4.5, 3.0)
    assert (found.subject, found.since_us, found.owner) == ("gang/dc1/ml/big", us(3.0), "li")
    assert found.evidence["cards"] == 2
    assert len(found.evidence["workloads"]) == 2


@pytest.mark.parametrize(
    ("scenario", "why"), [("online_inference", "no_request_metrics"), (None, "scenario_unknown")]
)
def test_serving_work_and_work_of_unknown_purpose_are_never_more_than_noted(
    watched: Watched, scenario: str | None, why: str
) -> None:
    pod = "k8s/dc1/web/serve-0/u"
    watched.world.workload(pod, **({"scenario": scenario} if scenario else {}))
    busy_then_quiet(watched, "A", workload=pod, end=40.0)
    watched.hosts("n1", 0, 40)
    (found,) = watched.until(38.0)
    assert (found.action, found.evidence["held_back_by"]) == ("note", why)


def test_a_mapping_rule_says_what_the_work_is_for(watched: Watched) -> None:
    watched.world.rule("k8s:web", "rd", scenario="development")
    pod = "k8s/dc1/web/notebook-0/u"
    busy_then_quiet(watched, "A", workload=pod)
    (found,) = watched.until(2.5)
    assert (found.action, found.evidence["use"], found.owner) == ("tell_owner", "development", "rd")


def test_a_host_at_work_excuses_quiet_cards_and_is_told(watched: Watched) -> None:
    busy_then_quiet(watched, "A")
    watched.hosts("n1", 0, 5, read=50e6)
    watched.hosts("n1", 5, 12)
    (found,) = watched.until(4.5)
    assert (found.action, found.evidence["held_back_by"], found.evidence["host"]) == (
        "note",
        "host_busy",
        "busy",
    )
    (found,) = watched.until(7.2, 4.5)
    assert (found.action, found.since_us) == ("tell_owner", us(1.0))


def test_on_a_shared_or_unknown_host_reclaim_waits_a_day(watched: Watched) -> None:
    busy_then_quiet(watched, "A")
    (found,) = watched.until(8.0)
    assert (found.action, found.evidence["held_back_by"]) == ("tell_owner", "host_unknown")
    other = Watched()
    busy_then_quiet(other, "A")
    other.hosts("n1", 0, 12, read=50e6)
    other.world.card("B")
    other.world.hold("B", "slurm/dc1/2", 0, None)
    other.world.minutes("B", 0, 12, 0.9)
    (found,) = other.until(8.0)
    assert (found.subject, found.action) == (TRAINING, "tell_owner")
    assert found.evidence["held_back_by"] == "host_shared"


def test_start_up_is_not_idleness(watched: Watched) -> None:
    watched.world.card("A")
    watched.world.hold("A", TRAINING, 0, None)
    watched.world.minutes("A", 0, 0.6, 0.0)
    watched.world.minutes("A", 0.6, 3, 0.9)
    assert watched.until(3.0) == []


def test_the_last_holders_idle_time_is_not_the_next_ones(watched: Watched) -> None:
    watched.world.card("A")
    watched.world.hold("A", "slurm/dc1/0", 0, 3)
    watched.world.hold("A", TRAINING, 3, None)
    watched.world.minutes("A", 0, 12, 0.0)
    (found,) = watched.until(2.5)
    assert found.subject == "slurm/dc1/0"
    assert watched.until(3.9, 2.5) == []
    (found,) = watched.until(4.5, 3.9)
    assert (found.subject, found.since_us) == (TRAINING, us(3.0))


def test_minutes_without_values_are_no_idleness(watched: Watched) -> None:
    watched.world.card("A")
    watched.world.hold("A", TRAINING, 0, None)
    watched.world.minutes("A", 0, 12, None)
    assert watched.until(6.0) == []
    assert watched.unjudged == {TRAINING}


def test_silence_neither_opens_nor_ends_a_finding(watched: Watched) -> None:
    busy_then_quiet(watched, "A", end=3.0)
    busy_then_quiet(watched, "B", workload="slurm/dc1/2", end=1.9)
    db = watched.world.db
    keep(db, [KIND], watched.until(3.0), us(3.0), unjudged=watched.unjudged)
    assert [row[0] for row in db.execute("SELECT subject FROM finding").fetchall()] == [TRAINING]
    found = watched.until(5.0, 3.0)
    kept = keep(db, [KIND], found, us(5.0), unjudged=watched.unjudged)
    assert (found, kept.open, kept.ended) == ([], 1, 0)
    assert watched.unjudged == {TRAINING, "slurm/dc1/2"}


def test_a_rollup_that_stands_still_judges_nobody(watched: Watched) -> None:
    busy_then_quiet(watched, "A")
    keep(watched.world.db, [KIND], watched.until(3.0), us(3.0))
    db = watched.world.db
    found, unjudged = watched.watch.look(db, us(4.0))
    assert (found, unjudged) == ([], {TRAINING})


def test_power_over_what_a_free_card_of_the_model_draws_is_work(watched: Watched) -> None:
    world = watched.world
    world.card("free")
    world.minutes("free", 0, 12, 0.0, power_watts=60.0, power_watts_max=62.0)
    for card, watts in (("hot", 200.0), ("cold", 66.0)):
        world.card(card)
        world.hold(card, f"slurm/dc1/{card}", 0, None)
        world.minutes(card, 0, 1, 0.9, power_watts=400.0, power_watts_max=400.0)
        world.minutes(card, 1, 12, 0.0, power_watts=watts, power_watts_max=watts)
    (found,) = watched.until(3.0)
    assert found.subject == "slurm/dc1/cold"
    assert found.evidence["at_most"] == {"power_watts": 66.0, "utilization_ratio": 0.0}


def test_a_collector_that_starts_again_finds_the_same_since_the_same_time(watched: Watched) -> None:
    busy_then_quiet(watched, "A")
    watched.hosts("n1", 0, 12)
    (before,) = watched.until(7.0)
    (after,) = watched.look(7.1, watch=IdleWatch(default_rules(), states_rules()))
    assert (after.since_us, after.action) == (before.since_us, before.action)


def test_a_card_with_an_open_incident_is_the_incidents_matter(watched: Watched) -> None:
    busy_then_quiet(watched, "A")
    number = watched.world.incident("A", 1.0, None)
    (found,) = watched.until(6.5)
    assert (found.action, found.evidence["held_back_by"]) == ("note", "incident")
    assert found.evidence["incidents"] == [number]


def test_reservations_and_cards_nobody_can_name_are_not_judged(watched: Watched) -> None:
    watched.world.card("A")
    watched.world.card("B")
    watched.world.hold("A", "slurm/dc1/reservation/r", 0, None, rank="reserved")
    watched.world.hold(None, TRAINING, 0, None)
    watched.world.minutes("A", 0, 12, 0.0)
    watched.world.minutes("B", 0, 12, 0.0)
    assert watched.until(6.0) == []


def test_exempt_work_is_left_alone() -> None:
    watched = Watched(exempt=["slurm/dc1/1"])
    busy_then_quiet(watched, "A")
    busy_then_quiet(watched, "B", workload="slurm/dc1/2")
    assert [found.subject for found in watched.until(4.0)] == ["slurm/dc1/2"]


def test_work_that_always_comes_back_within_the_hour_is_not_found_again(watched: Watched) -> None:
    watched.world.card("A")
    watched.world.hold("A", TRAINING, 0, None)
    for hour in range(12):
        watched.world.minutes("A", hour, hour + 0.1, 0.9)
        watched.world.minutes("A", hour + 0.1, hour + 1.0, 0.0)
    assert [watched.look(hour + 0.95) for hour in range(4, 12)] == [[]] * 8


def test_evidence_is_plain_json_and_stable_while_nothing_changes(watched: Watched) -> None:
    busy_then_quiet(watched, "A")
    (first,) = watched.until(3.2)
    (second,) = watched.until(3.4, 3.2)
    assert json.dumps(first.evidence, sort_keys=True) == json.dumps(second.evidence, sort_keys=True)


def test_settings_say_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="exempts"):
        rules_of({"exempts": []})
    with pytest.raises(ConfigError, match="absolute path"):
        rules_of({"rules": "idle.toml"})
    with pytest.raises(ConfigError, match="cannot be read"):
        rules_of({"rules": str(tmp_path / "none.toml")})
    with pytest.raises(ConfigError, match="fit everything"):
        parse("schema_version = 1\n", "own.toml")
    with pytest.raises(ConfigError, match="most"):
        parse('schema_version = 1\n[[use]]\nname = "a"\nscenarios = ["*"]\nmost = "stop"\n', "own.toml")


@pytest.mark.parametrize(
    ("scenario", "source", "use"),
    [
        ("Batch-Inference", "kubernetes_pod", "batch_inference"),
        ("inference", "kubernetes_pod", "online_inference"),
        ("在线推理", "slurm_job", "online_inference"),
        ("离线推理", "slurm_job", "batch_inference"),
        ("Training", "kubernetes_pod", "training"),
        (None, "slurm_job", "training"),
        (None, "notebook", "development"),
        (None, "kubernetes_pod", "unknown"),
        ("whatever", "slurm_job", "unknown"),
    ],
)
def test_what_work_is_for_by_its_scenario_or_what_it_is(scenario: str | None, source: str, use: str) -> None:
    assert default_rules().use(scenario, source).name == use


def test_a_round_of_serve_finds_it_in_the_store_the_agents_filled(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    try:
        begun = NOON - 3 * 3600
        job = Workload(TRAINING, "slurm_job", "c1", user="li")
        AllocationBook(fleet.store, "slurm").believe(
            [Holding(job, round(begun * 1e6), None, (Place("n1", "GPU-a"), Place("n1", "GPU-b")))]
        )
        for minute in range(180):
            value = {"utilization_ratio": 0.9 if minute < 20 else 0.0}
            time = begun + minute * 60
            fleet.push(
                [card_sample(card, time, value, interval=60.0) for card in ("GPU-a", "GPU-b")], at=time
            )
        fleet.writer.drain()
        fleet.rollup.catch_up()
        Rounds(lambda: fleet.store, Config()).round()
        ((subject, since, evidence, owner, action),) = fleet.rows(
            "SELECT subject, epoch(since), evidence, owner, action FROM finding WHERE kind = 'idle_workload'"
        )
        assert (subject, since, owner, action) == (TRAINING, begun + 20 * 60, "li", "tell_owner")
        assert json.loads(evidence)["cards"] == 2
    finally:
        fleet.close()


def test_an_idle_watch_that_fails_leaves_its_findings_and_the_other_detectors_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fleet = Fleet(tmp_path)
    try:
        standing = Found(KIND, "workload", TRAINING, 1)
        with fleet.store.write() as cursor:
            keep(
                cursor,
                [KIND, "over_subscribed_card"],
                [standing, Found("over_subscribed_card", "card", "G", 1)],
                2,
            )
            cursor.execute("DROP TABLE rollup_through")
        assert Rounds(lambda: fleet.store, Config()).round().ended == 1
        assert fleet.rows("SELECT kind FROM finding WHERE until IS NULL") == [(KIND,)]
        assert "idle findings stay as they are" in caplog.text
    finally:
        fleet.close()
