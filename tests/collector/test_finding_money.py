"""Findings that cost money, made from one store's rows: each says what, since when, whose, how sure and what next, and its money is
what the published ledger has for the same cards at that instant."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.collector.fleet_fixture import NOON, Fleet, card_sample

from ullage_collector.allocation.book import AllocationBook
from ullage_collector.allocation.holding import NANO, Holding, Place, Workload
from ullage_collector.allocation.room import Room, keep_rooms
from ullage_collector.config import Config
from ullage_collector.detect import idle_finding, inventory, over_subscription, rounds, unallocated_use
from ullage_collector.detect.findings import Found, keep
from ullage_collector.detect.fragmentation import finding as fragmentation
from ullage_collector.detect.idle_rules import default_rules as idle_rules
from ullage_collector.detect.idle_watch import IdleWatch
from ullage_collector.detect.placement import finding as placement
from ullage_collector.detect.rounds import Rounds
from ullage_collector.detect.sizing import finding as sizing
from ullage_collector.detect.stragglers import finding as stragglers
from ullage_collector.detect.stragglers.settings import default_rules as straggler_rules
from ullage_collector.detect.stragglers.watch import StragglerWatch
from ullage_collector.detect.unallocated_watch import UnallocatedWatch
from ullage_collector.detect.uneven import finding as uneven
from ullage_collector.imports import map as maps
from ullage_collector.imports.door import import_file
from ullage_collector.ledger import cost_atoms, formatted, rounded
from ullage_collector.publish.facts import publish_day, publish_names
from ullage_collector.published import Published
from ullage_collector.states import default_rules as states_rules
from ullage_contract.sample import Facts, Family, Sample

MINUTES = 75
BEGUN = NOON - MINUTES * 60
DAY_US = 86_400_000_000
PRICE, OTHER = "12.345678", "7.000001"
CARDS = 4

STORED_ELSEWHERE = {
    placement.KIND: "test_placement_store.py",
    uneven.KIND: "test_uneven_store.py",
    sizing.OVERSIZED: "test_sizing_store.py",
    sizing.SHAREABLE: "test_sizing_store.py",
}
"""Kinds that need days of minutes or a network's topology: their own store tests hold them against the ledger's arithmetic."""
WITHOUT_MONEY = {*inventory.KINDS} - {*rounds.COSTING} | {*rounds.TOPOLOGY_KINDS}


def values_of(node: int, place: int, minute: int) -> dict[str, Any]:
    """n0, n1: a job with one slow card. n2, n3: one that hangs. n4: throttled. n5: idle. n6 and on: nothing to do."""
    wiggle = (place * 7 + minute * 3) % 5 / 100
    working = {
        "utilization_ratio": 0.99, "sm_active_ratio": 0.8 + wiggle, "power_watts": 500.0 * (1 + wiggle),
        "clock_sm_hertz": 1.7e9, "temperature_celsius": 60.0 + place, "throttle_reasons": 0,
        "link_rx_bytes": int(minute * 60 * 40e9), "link_tx_bytes": int(minute * 60 * 40e9),
    }  # fmt: skip
    if node in (0, 1):
        if (node, place) == (1, 2) and minute >= MINUTES - 12:
            working |= {"clock_sm_hertz": 1.0e9, "power_watts": working["power_watts"] * 0.65}
        return working
    if node in (2, 3):
        if minute >= MINUTES - 14:
            stopped = int((MINUTES - 14) * 60 * 40e9)
            working |= {"utilization_ratio": 1.0, "sm_active_ratio": 0.1, "power_watts": 140.0}
            working |= {"link_rx_bytes": stopped, "link_tx_bytes": stopped}
        return working
    if node == 4:
        return working | {"sm_active_ratio": 0.2, "utilization_ratio": 0.3, "throttle_reasons": 64}
    quiet = {"utilization_ratio": 0.0, "sm_active_ratio": 0.0, "power_watts": 62.0}
    return working if node == 5 and minute < 5 else quiet


@dataclass
class Site:
    """Eight nodes of four cards, the last two free but for one card that two pods share and one that a process uses."""

    folder: Path

    def __post_init__(self) -> None:
        self.fleet = Fleet(self.folder)
        self.store = self.fleet.store
        self.nodes = range(8)
        rows = "".join(
            f"GPU-{n}-{c},c1,n{n},nvidia,{'H20' if n == 4 else 'H800'},in_service,2026-01-01T00:00:00Z,train\n"
            for n in self.nodes
            for c in range(CARDS)
        )
        rows += "GPU-gone,c1,n9,nvidia,H800,in_service,2026-01-01T00:00:00Z,train\n"
        self.load("inventory", f"card_id,cluster_id,node_id,vendor,model,life,from,pool\n{rows}")
        self.load(
            "prices",
            # by node with its cluster, as a node's name may stand in several
            f"model,hourly,currency,from,node\n*H800*,{PRICE},CNY,2026-01-01,c1/*\n*H800*,1,CNY,2026-01-01,\n"
            f"*H20*,{OTHER},CNY,2026-01-01,\n",
        )
        book = AllocationBook(self.store, "slurm")
        for name, nodes in (("1", (0, 1)), ("2", (2, 3)), ("3", (4,)), ("4", (5,))):
            places = tuple(Place(f"n{n}", f"GPU-{n}-{c}") for n in nodes for c in range(CARDS))
            job = Workload(f"slurm/c1/{name}", "slurm_job", "c1", user=f"user{name}", scenario="training")
            book.believe([Holding(job, round(BEGUN * 1e6), None, places)])
        pods = AllocationBook(self.store, "kubernetes")
        begun = round((NOON - 7200) * 1e6)
        said = {"cpu_milli": 64_000, "memory_mib": 1000}
        held = []
        for number in range(200):
            who = Workload(f"k8s/c1/ns/past{number}/u", "kubernetes_pod", "c1", user="ada")
            place = (Place("n6", "GPU-6-3"),)
            held.append(Holding(who, begun, begun + 60_000_000, place, attributes=said))
        for number in range(2):
            who = Workload(f"k8s/c1/ns/half{number}/u", "kubernetes_pod", "c1", user="bob")
            part = (Place("n6", "GPU-6-0", None, NANO * 3 // 4),)
            held.append(Holding(who, begun, None, part, attributes=said))
        assert not pods.believe(held).refused
        with self.store.write() as cursor:
            rooms = [Room(f"n{n}", 64_000, 1000, 1_000_000, 1_000_000) for n in self.nodes]
            keep_rooms(cursor, "kubernetes", "c1", rooms, round(NOON * 1e6))
        for minute in range(MINUTES + 1):
            self.tick(minute)
        self.fleet.writer.drain()
        with self.store.write() as cursor:
            self.store.identities.flush_seen(cursor)
        self.fleet.rollup.catch_up(round((NOON + 90) * 1e6))

    def load(self, kind: str, text: str) -> None:
        path = self.folder / f"{kind}.csv"
        path.write_text(text, encoding="utf-8")
        import_file(self.store, kind, path, maps.load(None))

    def tick(self, minute: int) -> None:
        time = BEGUN + minute * 60
        for n in self.nodes:
            samples = [
                card_sample(f"GPU-{n}-{c}", time, {**values_of(n, c, minute), "processes": int((n, c) == (7, 0))}, interval=60.0)
                for c in range(CARDS)
            ]  # fmt: skip
            facts: list[Facts] = []
            if minute in (0, MINUTES):
                model = "H20" if n == 4 else "H800"
                facts += [
                    Facts(Family.CARD, f"GPU-{n}-{c}", time, {"vendor": "nvidia", "model": model})
                    for c in range(CARDS)
                ]
            if n == 7:
                samples.append(Sample(Family.PROCESS, "GPU-7-0#41", time, 5.0, 10.0, {}))
                told = {
                    "card_id": "GPU-7-0", "pid": 41, "command": "python3", "user": "eve", "holder_kind": "user_session",
                    "holder_id": "1000", "started_at": BEGUN,
                }  # fmt: skip
                facts.append(Facts(Family.PROCESS, "GPU-7-0#41", time, told))
            self.fleet.push(samples, at=time, node=f"n{n}", stream=f"{n}" * 32, facts=facts)

    def found(self) -> None:
        """Every detector once, as serve would have them, and what they find is kept."""
        self.fleet.clock.advance(60)
        now = round(self.fleet.clock.wall() * 1e6)
        UnallocatedWatch(lambda: self.store, Config()).round()
        Rounds(lambda: self.store, Config()).round()
        cursor = self.store.cursor()
        idle, _ = IdleWatch(idle_rules(), states_rules()).look(cursor, now + 30_000_000)
        held_up, _ = StragglerWatch(straggler_rules()).look(cursor, now + 30_000_000)
        cursor.close()
        with self.store.write() as writer:
            keep(writer, [idle_finding.KIND], idle, now)
            keep(writer, stragglers.KINDS, held_up, now)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.fleet.close()


def test_every_finding_that_costs_money_is_whole_and_costs_what_the_ledger_has(
    site: Site, tmp_path: Path
) -> None:
    site.found()
    rows = site.fleet.rows(
        "SELECT kind, family, subject, epoch_us(since), evidence, confidence, owner, action FROM finding WHERE until IS NULL"
    )
    said = [Found(kind, family, subject, since, json.loads(text), "", sure, owner, action)
            for kind, family, subject, since, text, sure, owner, action in rows]  # fmt: skip
    kinds = {one.kind for one in said}
    here = {
        idle_finding.KIND, fragmentation.KIND, *stragglers.KINDS, unallocated_use.KIND, over_subscription.KIND, *rounds.COSTING,
    }  # fmt: skip
    assert here <= kinds, f"not made: {here - kinds}"
    assert kinds <= here | WITHOUT_MONEY | {*STORED_ELSEWHERE}
    for one in said:
        assert one.evidence and one.action and one.owner and 0 < one.confidence <= 1, one
        assert BEGUN * 1e6 - 3 * DAY_US * 365 < one.since_us <= (NOON + 120) * 1e6, one
    day = datetime.fromtimestamp(NOON, UTC).date()
    later = datetime.fromtimestamp(NOON, UTC) + timedelta(hours=13)
    root = tmp_path / "published"
    publish_day(site.store, root, day, now=later)
    publish_names(site.store, root, now=later)
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    at = round((NOON - 90) * 1e6)
    with Published(root).open(start, start + timedelta(days=1)) as facts:
        ledger = facts.rows(
            "SELECT card_id, workload_id, state, share_nano, price_micro FROM segment WHERE from_us <= ? AND to_us > ?", [at, at]
        )  # fmt: skip

    def a_day(card: str | None = None, job: str | None = None) -> str:
        atoms = sum(
            cost_atoms(share * DAY_US, micro)
            for card_id, workload, _, share, micro in ledger
            if card in (None, card_id) and job in (None, workload)
        )
        return formatted(rounded(atoms, "CNY"), grouped=False)

    costs = {
        (one.kind, one.subject): one.evidence.get("cost_per_day", one.evidence.get("job_cost_per_day", {})) for one in said
    }  # fmt: skip
    idle = {subject for kind, subject in costs if kind == idle_finding.KIND}
    assert idle == {"slurm/c1/4", "k8s/c1/ns/half0/u", "k8s/c1/ns/half1/u"}
    expected = {
        **{(idle_finding.KIND, job): a_day(job=job) for job in idle},
        (stragglers.HANG, "slurm/c1/2"): a_day(job="slurm/c1/2"),
        (stragglers.STARVED, "slurm/c1/3"): a_day(job="slurm/c1/3"),
        (stragglers.STRAGGLER, "GPU-1-2"): a_day(job="slurm/c1/1"),
        (unallocated_use.KIND, "GPU-7-0"): a_day(card="GPU-7-0"),
        (over_subscription.KIND, "GPU-6-0"): a_day(card="GPU-6-0"),
        ("owned_not_seen", "n9"): a_day(card="GPU-gone"),
    }
    assert {name: costs[name] for name in expected} == {
        name: {"CNY": cost} for name, cost in expected.items()
    }
    free = [row for row in ledger if row[2] in ("unallocated_idle", "fragmented") and row[0] != "GPU-gone"]
    atoms = sum(cost_atoms(share * DAY_US, micro) for *_, share, micro in free)
    assert costs[fragmentation.KIND, "c1/train"] == {"CNY": formatted(rounded(atoms, "CNY"), grouped=False)}
    assert a_day(card="GPU-7-0") == formatted(
        rounded(cost_atoms(NANO * DAY_US, 12_345_678), "CNY"), grouped=False
    )


@pytest.mark.parametrize(("kind", "file"), STORED_ELSEWHERE.items())
def test_what_is_not_made_here_is_held_against_the_ledger_elsewhere(kind: str, file: str) -> None:
    text = (Path(__file__).parent / file).read_text(encoding="utf-8")
    assert "cost_atoms(" in text, f"{file} no longer compares {kind} with the ledger's arithmetic"
