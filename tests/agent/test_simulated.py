"""Simulated cards: always labelled, the same for one seed, moving as real fleets do, failing as asked."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from ullage_agent.backend import Host, Reader, Reading
from ullage_agent.backends.simulated import backend
from ullage_agent.backends.simulated.dynamics import HABITS, Work, busy_watts, day_curve
from ullage_agent.backends.simulated.faults import parse
from ullage_agent.backends.simulated.models import MIXED, MODELS, identity
from ullage_agent.backends.simulated.reader import SimulatedReader
from ullage_agent.backends.simulated.simulation import Server
from ullage_agent.registry import resolve
from ullage_contract.catalogue import Kind, Tier, keys
from ullage_contract.errors import ConfigError, DeadlineExceeded
from ullage_contract.event import KINDS
from ullage_contract.sample import FACT_NAMES, Facts, Family

T = TypeVar("T")
MIDNIGHT = 1_799_971_200.0


class Now:
    def __init__(self) -> None:
        self.time = MIDNIGHT

    def __call__(self) -> float:
        return self.time


def straight(card: str, name: str, function: Callable[[], T]) -> T:
    """A Call that watches nobody."""
    return function()


def reader(now: Now, sleep: Callable[[float], None] = lambda s: None, **settings: Any) -> SimulatedReader:
    return SimulatedReader(Host("n1", settings=settings), now=now, sleep=sleep)


def cards(source: SimulatedReader, tier: Tier = Tier.SLOW) -> list[Reading]:
    return [r for r in source.read(tier, straight) if r.family is Family.CARD]


def test_the_description_is_labelled_simulated_and_its_reader_opens() -> None:
    assert backend.simulated and backend.name == "simulated"
    assert backend.pci == () and backend.device_nodes == (), "simulated cards are never detected"
    assert set(backend.sources) <= set(keys(Family.CARD))
    opened = resolve(backend.reader or "")(Host("n1"))
    assert isinstance(opened, Reader)


def test_every_value_and_fact_is_one_of_the_contract() -> None:
    now = Now()
    source = reader(now)
    for _ in range(50):
        now.time += 10
        for reading in source.read(Tier.SLOW, straight):
            known = keys(reading.family)
            for key, value in reading.values.items():
                metric = known[key]
                if metric.words and isinstance(value, str):
                    assert value in metric.words
                if metric.unit == "1" and metric.kind is Kind.GAUGE and isinstance(value, float):
                    assert 0 <= value <= 1, key
    facts = list(source.facts(straight))
    assert all(set(each.attributes) <= set(FACT_NAMES) for each in facts)
    models = [each.attributes["model"] for each in facts if each.family is Family.CARD]
    assert models == list(MIXED)


def test_a_card_gives_what_its_maker_gives_and_says_what_it_cannot() -> None:
    source = reader(Now())
    facts = {f.subject: f for f in source.facts(straight) if f.family is Family.CARD}
    for reading in cards(source):
        attributes = facts[reading.subject].attributes
        model = MODELS[str(attributes["model"])]
        assert set(reading.values) == model.keys
        unsupported = attributes["unsupported"]
        assert isinstance(unsupported, list) and not set(unsupported) & set(reading.values)
    assert "energy_joules" not in MODELS["Ascend 910B3"].keys


def test_a_simulated_card_can_never_be_taken_for_a_real_one() -> None:
    for model in MODELS.values():
        assert identity("n1", 0, model).card_id.startswith("SIM-")
    assert len(
        {identity(f"n{n}", i, m).card_id for n in range(9) for i in range(8) for m in MODELS.values()}
    ) == 9 * 8 * len(MODELS)


def test_one_seed_is_one_story_and_another_is_another() -> None:
    def story(seed: int) -> list[Any]:
        now = Now()
        source = reader(now, seed=seed)
        told = []
        for _ in range(30):
            now.time += 10
            told.append([(r.subject, dict(r.values)) for r in source.read(Tier.SLOW, straight)])
        return told

    assert story(1) == story(1)
    assert story(1) != story(2)


def test_counters_never_fall_and_energy_is_power_over_time() -> None:
    now = Now()
    source = reader(now, model="NVIDIA H800")
    counters = [m.key for m in keys(Family.CARD).values() if m.kind is Kind.COUNTER]
    before = {r.subject: r for r in cards(source)}
    start = {subject: float(r.values["energy_joules"]) for subject, r in before.items()}
    watts: dict[str, list[float]] = {subject: [] for subject in before}
    for _ in range(200):
        now.time += 10
        for reading in cards(source):
            watts[reading.subject].append(float(reading.values["power_watts"]))
            for key in counters:
                if key in reading.values:
                    assert reading.values[key] >= before[reading.subject].values[key], key  # type: ignore[operator]
            before[reading.subject] = reading
    for subject, reading in before.items():
        used = float(reading.values["energy_joules"]) - start[subject]
        assert used == pytest.approx(statistics.fmean(watts[subject]) * 2000, rel=1e-4)


def test_a_fleet_moves_as_real_ones_do() -> None:
    """Published: a quarter to a third of samples at 0, over half of busy ones near full, A100 power p50 about
    100 to 190 W and p99 near the limit. The bands are wide: this fleet is small."""
    model = MODELS["NVIDIA A100-SXM4-80GB"]
    servers = [Server([model] * 8, seed=f"s/{i}", now=MIDNIGHT) for i in range(40)]
    used, watts, heat = [], [], []
    for step in range(1, 12 * 24):
        for server in servers:
            server.advance(MIDNIGHT + step * 300)
            used += [card.utilization for card in server.cards]
            watts += [card.power for card in server.cards]
            heat += [card.temperature for card in server.cards]
    assert 0.25 < sum(u == 0 for u in used) / len(used) < 0.55
    assert sum(u >= 0.92 for u in used) / len(used) > 0.15
    assert 0.3 < statistics.fmean(used) < 0.65
    quantiles = statistics.quantiles(watts, n=100)
    assert 55 < quantiles[24] < 120 and 300 < quantiles[98] <= model.tdp_watts * 1.03
    assert 24 < statistics.quantiles(heat, n=10)[0] < 35 and max(heat) < 80


def test_shares_of_work_and_the_power_equation() -> None:
    assert sum(habit.share for habit in HABITS.values()) == pytest.approx(0.80)
    assert set(HABITS) == set(Work)
    assert busy_watts(60.0, 400.0, 1.0, 1.0) == pytest.approx(400.0)
    assert busy_watts(60.0, 400.0, 0.5, 0.0) == 60.0
    assert day_curve(5.0) == pytest.approx(0.25) and day_curve(17.0) == pytest.approx(1.0)


def test_a_clock_that_goes_back_or_far_ahead_does_no_harm() -> None:
    now = Now()
    source = reader(now)
    cards(source)
    now.time -= 86400
    cards(source)
    now.time += 40 * 86400
    for reading in cards(source):
        assert 0 <= float(reading.values["temperature_celsius"]) < 110


def test_lost_and_back() -> None:
    now = Now()
    source = reader(now, model="NVIDIA H800", faults="lost card=3 after=60 for=120")
    lost = cards(source)[3].subject
    now.time += 61
    assert {r.subject: r for r in cards(source)}[lost].values == {"health": "lost"}, "nothing is invented"
    assert lost not in {f.subject for f in source.facts(straight)}
    (event,) = source.events(straight)
    assert (event.kind, event.subject, event.time) == ("card_lost", lost, MIDNIGHT + 60)
    now.time += 120
    assert {r.subject: r for r in cards(source)}[lost].values["health"] == "ok"
    (event,) = source.events(straight)
    assert (event.kind, event.time) == ("card_back", MIDNIGHT + 180)
    assert {event.kind} <= set(KINDS)


def test_an_xid_ends_the_job_and_a_card_of_another_maker_has_its_own_code() -> None:
    now = Now()
    source = reader(
        now,
        faults="xid card=0 code=79; xid card=4 code=0x80E01801; ecc card=1 count=2; corrected card=2 count=7",
    )
    found = {r.subject: r for r in cards(source)}
    events = {e.subject: e for e in source.events(straight)}
    who = list(found)
    assert (events[who[0]].kind, events[who[0]].code) == ("xid", "79")
    assert (events[who[4]].kind, events[who[4]].vendor) == ("ras", "ascend")
    assert found[who[0]].values["health"] == "critical"
    ecc = found[who[1]].values
    assert (ecc["ecc_uncorrected"], ecc["remap_pending"], ecc["recovery_action"]) == (2, 1, "reset")
    assert found[who[2]].values["ecc_corrected"] == 7
    assert list(source.events(straight)) == [], "told once"


def test_a_hang_is_a_call_that_does_not_return() -> None:
    now = Now()
    slept: list[float] = []
    source = reader(now, slept.append, faults="hang card=2 for=30")
    assert len(cards(source)) == 8
    assert slept == [30]

    def skipping(card: str, name: str, function: Callable[[], T]) -> T:
        if name == "power":
            raise DeadlineExceeded("it hung before")
        return function()

    for reading in source.read(Tier.FAST, skipping):
        if reading.family is Family.CARD:
            assert reading.failed == {"power_watts": "deadline"}
            assert "power_watts" not in reading.values and "utilization_ratio" in reading.values


def test_a_port_goes_down_and_comes_back() -> None:
    now = Now()
    source = reader(now, ports=2, faults="port_down port=1 after=10 for=240")
    now.time += 11
    ports = [r for r in source.read(Tier.SLOW, straight) if r.family is Family.PORT]
    assert [p.values["state"] for p in ports] == ["active", "down"]
    assert "rate_bits_per_second" not in ports[1].values
    (down,) = source.events(straight)
    now.time += 240
    ports = [r for r in source.read(Tier.SLOW, straight) if r.family is Family.PORT]
    (up,) = source.events(straight)
    assert (down.kind, up.kind, ports[1].values["link_downed"]) == ("port_down", "port_up", 1)


def test_hot_and_slow_show_in_clocks() -> None:
    now = Now()
    source = reader(now, model="NVIDIA H800", faults="hot card=0; slow card=1")
    for _ in range(30):
        now.time += 10
        found = cards(source)
    clean, hot, slow = found[2].values, found[0].values, found[1].values
    assert hot["health"] == slow["health"] == "degraded"
    assert int(hot["throttle_reasons"]) >> 6 & 1, "hardware_thermal"
    assert (
        float(hot["temperature_celsius"]) > float(clean["temperature_celsius"]) + 10
        or hot["utilization_ratio"] == 0
    )


def test_the_control_file_is_read_while_running_and_each_line_once(tmp_path: Path) -> None:
    control = tmp_path / "faults"
    now = Now()
    source = reader(now, control_file=str(control))
    cards(source)
    control.write_text("# nothing yet\n")
    assert list(source.events(straight)) == []
    with control.open("a") as file:
        file.write("xid card=0 code=48\nnonsense\nlost card=1\n")
    now.time += 10
    cards(source)
    now.time += 10
    cards(source)
    kinds = [e.kind for e in source.events(straight)]
    assert kinds == ["xid", "card_lost"], "a wrong line does not eat the one behind it"


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"model": "NVIDIA H9000"}, "H9000"),
        ({"cards": 0}, "cards"),
        ({"cards": True}, "cards"),
        ({"ports": "many"}, "ports"),
        ({"faults": "explode card=1"}, "explode"),
        ({"faults": "xid card=one"}, "xid card=one"),
        ({"faults": "xid colour=red"}, "colour=red"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        reader(Now(), **settings)


def test_faults_are_split_at_semicolons_and_comments_are_left_out() -> None:
    faults = parse("xid card=1 code=13 after=5; # later\nlost for=3", 100.0)
    assert [(f.kind, f.place, f.begins, f.ends) for f in faults] == [
        ("xid", 1, 105.0, float("inf")),
        ("lost", 0, 100.0, 103.0),
    ]


def test_facts_do_not_claim_a_real_machine() -> None:
    for facts in reader(Now(), ports=1).facts(straight):
        assert isinstance(facts, Facts)
        if facts.family is Family.PORT:
            assert str(facts.attributes["hca_type"]).startswith("SIM")
        else:
            assert str(facts.attributes["serial"]).startswith("SIM")


def test_a_hang_in_the_real_child_costs_one_value_of_one_card(tmp_path: Path) -> None:
    """The agent itself: its supervisor ends the child that hangs, the next one skips the call."""
    (tmp_path / "agent.toml").write_text(
        'node = "n1"\n[sources]\nhost = false\nrdma = false\nkernel_log = false\n'
        '[backends.simulated]\nenabled = true\ncards = 3\nmodel = "NVIDIA H800"\nfaults = "hang card=1"\n'
    )
    done = subprocess.run(
        [
            *(sys.executable, "-m", "ullage_agent", "once", "--json"),
            *(f"--config={tmp_path / 'agent.toml'}", f"--data={tmp_path / 'data'}"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    told = json.loads(done.stdout)
    cards = sorted(told["cards"], key=lambda card: int(card["index"]))
    assert [card["failed"] for card in cards] == [{}, {"power_watts": "deadline"}, {}]
    assert {card["origin"] for card in cards} == {"simulated"}
    assert "power_watts" not in cards[1]["values"]
    assert [event["kind"] for event in told["events"]] == ["call_hung"]
