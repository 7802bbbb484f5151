"""The straggler watch on a store that agents filled: whose minutes count, what was usual, and what silence leaves alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.collector.fleet_fixture import NOON, Fleet, card_sample

from ullage_collector.allocation.book import AllocationBook
from ullage_collector.allocation.holding import Holding, Place, Workload
from ullage_collector.config import Config
from ullage_collector.detect.findings import Found, keep
from ullage_collector.detect.rounds import Rounds
from ullage_collector.detect.stragglers.finding import HANG, KINDS, STARVED, STRAGGLER
from ullage_collector.detect.stragglers.measures import measured
from ullage_collector.detect.stragglers.settings import default_rules, rules_of
from ullage_collector.detect.stragglers.watch import StragglerWatch
from ullage_contract.sample import Family, Sample, Value

JOB = "slurm/c1/7"
NODES, CARDS = 4, 4
BEGUN = NOON - 60 * 60

Change = Callable[[str, int, int, dict[str, Any]], None]
"""node, card's place, minute since BEGUN, values: changes them, or empties them."""


def work(node: str, place: int, minute: int) -> dict[str, Any]:
    """A minute of a card that trains. Counters grow with the minute."""
    wiggle = (place * 7 + minute * 3) % 5 / 100
    return {
        "utilization_ratio": 0.99,
        "sm_active_ratio": 0.8 + wiggle,
        "power_watts": 500.0 * (1 + wiggle),
        "clock_sm_hertz": 1.7e9,
        "temperature_celsius": 60.0 + place,
        "link_rx_bytes": int(minute * 60 * 40e9),
        "link_tx_bytes": int(minute * 60 * 40e9),
    }


class Site:
    """Four nodes of four cards, one job on all of them for an hour."""

    def __init__(self, folder: Path) -> None:
        self.fleet = Fleet(folder)
        self.sequence = 0
        self.hold(JOB)

    def hold(self, name: str, nodes: range = range(NODES), begun: float = BEGUN) -> None:
        places = tuple(Place(f"n{n}", f"GPU-{n}-{c}") for n in nodes for c in range(CARDS))
        job = Workload(name, "slurm_job", "c1", user="li", scenario="training")
        AllocationBook(self.fleet.store, "slurm").believe([Holding(job, round(begun * 1e6), None, places)])

    def minutes(
        self, first: int, last: int, change: Change = lambda *_: None, **hosts: Mapping[str, Value]
    ) -> None:
        """Minutes [first, last) since BEGUN of every card, and of hosts by node."""
        for minute in range(first, last):
            time = BEGUN + minute * 60
            for n in range(NODES):
                samples = []
                for place in range(CARDS):
                    values = work(f"n{n}", place, minute)
                    change(f"n{n}", place, minute, values)
                    if values:
                        samples.append(card_sample(f"GPU-{n}-{place}", time, values, interval=60.0))
                host = hosts.get(f"n{n}")
                if host:
                    samples.append(
                        Sample(Family.NODE, f"n{n}", time, time - BEGUN + 1000, 60.0, host, {}, "boot-1")
                    )
                if samples:
                    self.fleet.push(samples, at=time, node=f"n{n}", stream=f"{n}" * 32)
        self.fleet.writer.drain()

    def look(
        self, minute: int = 60, watch: StragglerWatch | None = None, **settings: Any
    ) -> tuple[list[Found], set[str]]:
        now = BEGUN + minute * 60 + 90
        self.fleet.rollup.catch_up(round(now * 1e6))
        watch = watch or StragglerWatch(rules_of(settings))
        cursor = self.fleet.store.cursor()
        try:
            return watch.look(cursor, round(now * 1e6))
        finally:
            cursor.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.fleet.close()


def slow(node: str, place: int, minute: int, values: dict[str, Any]) -> None:
    if (node, place) == ("n2", 1) and minute >= 50:
        values["clock_sm_hertz"] = 1.1e9
        values["power_watts"] *= 0.7


def spinning(node: str, place: int, minute: int, values: dict[str, Any]) -> None:
    if minute >= 47:
        dead = (node, place) == ("n1", 3)
        values |= {
            "sm_active_ratio": 0.1,
            "power_watts": 90.0 if dead else 150.0,
            "utilization_ratio": 0.0 if dead else 1.0,
        }
        values |= {key: int(47 * 60 * 40e9) for key in ("link_rx_bytes", "link_tx_bytes")}


def test_a_healthy_job_has_no_finding(site: Site) -> None:
    site.minutes(0, 61)
    assert site.look() == ([], set())


def test_a_slow_card_is_found_in_what_agents_told(site: Site) -> None:
    site.minutes(0, 61, slow)
    (found,), _ = site.look()
    assert (found.kind, found.subject, found.key) == (STRAGGLER, "GPU-2-1", JOB)
    assert found.since_us == round((BEGUN + 50 * 60) * 1e6)
    assert found.evidence["unlike"].keys() == {"clock_hertz", "power_watts"}
    assert (found.evidence["cluster"], found.evidence["node"]) == ("c1", "n2")


def test_a_job_that_spins_is_found_against_its_own_usual_power_and_the_dead_rank_is_named(site: Site) -> None:
    site.minutes(0, 61, spinning)
    (found,), _ = site.look()
    assert (found.kind, found.subject, found.evidence["symptom"]) == (HANG, JOB, "spinning")
    assert found.since_us == pytest.approx(round((BEGUN + 47 * 60) * 1e6), abs=60_000_000)
    assert (found.evidence["responsible_cards"], found.evidence["why"]) == (["GPU-1-3"], "not_waiting")
    assert found.evidence["power_of_usual"] == pytest.approx(150 / 520, abs=0.03)


def test_a_collector_that_starts_during_a_hang_learns_what_was_usual_from_the_store(site: Site) -> None:
    def long_ago(node: str, place: int, minute: int, values: dict[str, Any]) -> None:
        if minute >= 5:
            spinning(node, place, minute + 42, values)
        del values["sm_active_ratio"]  # then only traffic tells work from spinning

    site.minutes(0, 61, long_ago)
    (found,), _ = site.look()
    assert (found.kind, found.evidence["before_the_window"]) == (HANG, True)


def test_starved_cards_are_told_with_the_hosts_that_wait(site: Site) -> None:
    def lazy(node: str, place: int, minute: int, values: dict[str, Any]) -> None:
        values["sm_active_ratio"] = 0.3

    site.minutes(0, 61, lazy, n1={"cpu_iowait_ratio": 0.4, "cpu_busy_ratio": 0.2})
    (found,), _ = site.look()
    assert (found.kind, found.subject, found.key) == (STARVED, JOB, "data")
    assert (found.evidence["nodes"], found.evidence["seen"]) == (["n1"], {"cpu_iowait_ratio": 0.4})
    assert found.evidence["cards"] == NODES * CARDS


def test_hosts_of_a_node_that_others_use_too_are_less_sure(site: Site) -> None:
    site.hold("slurm/c1/8", range(1, 2))
    site.minutes(
        0, 61, lambda n, c, m, values: values.update(sm_active_ratio=0.3), n1={"cpu_iowait_ratio": 0.4}
    )
    found, _ = site.look()
    assert [(one.subject, one.confidence) for one in found] == [(JOB, 0.5)]


def test_a_card_with_two_holders_has_no_figures_of_its_own(site: Site) -> None:
    site.hold("slurm/c1/8", range(2, 3))
    site.minutes(0, 61, slow)
    assert site.look()[0] == []


def test_silence_opens_nothing_and_ends_nothing(site: Site) -> None:
    site.minutes(0, 61, slow)
    found, _ = site.look()
    with site.fleet.store.write() as writer:
        keep(writer, KINDS, found, round(NOON * 1e6))

    def mute(node: str, place: int, minute: int, values: dict[str, Any]) -> None:
        if (node, place) in (("n2", 1), ("n0", 0)):
            values.clear()

    site.minutes(61, 81, mute)
    found, unjudged = site.look(80)
    assert found == []
    assert {"GPU-2-1", "GPU-0-0"} <= unjudged
    assert not unjudged & {JOB, "GPU-2-0", "n2"}
    with site.fleet.store.write() as writer:
        kept = keep(writer, KINDS, found, round(NOON * 1e6), unjudged=unjudged)
    assert (kept.open, kept.ended) == (1, 0)
    site.minutes(81, 96)
    found, unjudged = site.look(95)
    with site.fleet.store.write() as writer:
        assert keep(writer, KINDS, found, round(NOON * 1e6), unjudged=unjudged).ended == 1


def test_a_job_nobody_hears_of_is_not_judged(site: Site) -> None:
    site.minutes(0, 40, spinning)
    found, unjudged = site.look(60)
    assert found == []
    assert {JOB, "n0", "GPU-0-0"} <= unjudged


def test_a_rollup_that_stands_still_judges_nobody(site: Site) -> None:
    site.minutes(0, 61, slow)
    watch = StragglerWatch(default_rules())
    found, _ = site.look(60, watch)
    with site.fleet.store.write() as writer:
        keep(writer, KINDS, found, round(NOON * 1e6))
    cursor = site.fleet.store.cursor()
    assert watch.look(cursor, round((NOON + 3600) * 1e6)) == ([], {"GPU-2-1"})
    cursor.close()


def test_exempt_and_single_card_work_is_left_alone(site: Site) -> None:
    site.minutes(0, 61, spinning)
    assert site.look(exempt=["slurm/c1/7"])[0] == []


def test_a_round_of_serve_keeps_them_and_a_watch_that_fails_leaves_the_rest_alone(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.minutes(0, 61, slow)
    now = BEGUN + 60 * 60 + 90
    site.fleet.clock.advance(now - site.fleet.clock.wall())
    site.fleet.rollup.catch_up()
    rounds = Rounds(lambda: site.fleet.store, Config())
    rounds.round()
    ((subject, evidence, owner, action),) = site.fleet.rows(
        "SELECT subject, evidence, owner, action FROM finding WHERE kind = 'straggler_suspect' AND until IS NULL"
    )
    assert (subject, owner, action) == ("GPU-2-1", "platform", "check_card")
    assert json.loads(evidence)["workload"] == JOB
    with site.fleet.store.write() as cursor:
        cursor.execute("DROP TABLE rollup_through")
    rounds.round()
    assert (
        len(site.fleet.rows("SELECT 1 FROM finding WHERE kind = 'straggler_suspect' AND until IS NULL")) == 1
    )
    assert "straggler findings stay as they are" in caplog.text


def test_a_counter_that_was_not_told_makes_the_sum_unknown_and_growth_after_silence_is_nobodys() -> None:
    (link,) = [one for one in default_rules().measures["card"] if one.key == "link_bytes"]
    covered = np.full((2, 5), 60.0, np.float32)
    covered[1, 2] = 0
    rx, tx = np.full((2, 5), 600.0, np.float32), np.full((2, 5), 60.0, np.float32)
    tx[0, 3] = np.nan
    values = measured(
        [link],
        {"link_rx_bytes_increase": rx, "link_tx_bytes_increase": tx},
        covered,
        np.zeros(2, np.int64),
        Family.CARD,
    )["link_bytes"]
    assert values[0].tolist() == pytest.approx([11, 11, np.nan, 11], nan_ok=True)
    assert values[1].tolist() == pytest.approx([11, np.nan, np.nan, 11], nan_ok=True)


def test_throttle_words_are_read_by_the_catalogue_and_a_power_cap_is_none() -> None:
    (throttled,) = [one for one in default_rules().measures["card"] if one.key == "throttled"]
    bits = np.array([[0, 1 << 2, 1 << 6, np.nan, (1 << 6) + 1]], np.float32)
    values = measured(
        [throttled],
        {"throttle_reasons": bits},
        np.full((1, 5), 60.0, np.float32),
        np.zeros(1, np.int64),
        Family.CARD,
    )["throttled"]
    assert values[0].tolist() == pytest.approx([0, 1, np.nan, 1], nan_ok=True)
