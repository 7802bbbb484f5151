"""Scattered jobs on a real store: switches from a cabling list, ports from agents, a finding in the table, the API and the console."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.collector.finding_pages import seen
from tests.collector.fleet_fixture import NOON, Fleet, card_sample

from ullage_collector.allocation.book import AllocationBook
from ullage_collector.allocation.holding import Holding, Place, Workload
from ullage_collector.config import Config
from ullage_collector.detect.placement.finding import KIND
from ullage_collector.detect.placement.reading import rails_of, switches
from ullage_collector.detect.rounds import Rounds
from ullage_collector.imports import map as maps
from ullage_collector.imports.door import import_file
from ullage_collector.ledger import cost_atoms, formatted, quantity, rounded
from ullage_collector.store.store import naive_utc
from ullage_collector.topology.door import Asked, import_topology
from ullage_collector.topology.reading import load
from ullage_contract.sample import Facts, Family, Sample

JOB = "slurm/c1/7"
NODES = [f"n{n}" for n in range(1, 7)]
BEGUN = NOON - 3600
MINUTES = 20
DAY_US = 86_400_000_000


class Site:
    """Six nodes of two cards and one port; n1 to n4 on one leaf switch, n5 and n6 on another; a job on n1 and n5."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fleet = Fleet(folder)
        self.store = self.fleet.store
        self.clock = self.fleet.clock
        self.load("prices", "model,hourly,currency,from\nH800,12.34,CNY,2026-01-01\n")
        rows = "".join(
            f"GPU-{node}-{c},c1,{node},nvidia,H800,in_service,2026-01-01T00:00:00Z,train\n"
            for node in NODES
            for c in range(2)
        )
        self.load("inventory", f"card_id,cluster_id,node_id,vendor,model,life,from,pool\n{rows}")

    def load(self, kind: str, text: str) -> None:
        path = self.folder / f"{kind}.csv"
        path.write_text(text, encoding="utf-8")
        import_file(self.store, kind, path, maps.load(None))

    def cables(self, text: str = "n1,a\nn2,a\nn3,a\nn4,a\nn5,b\nn6,b\n") -> None:
        path = self.folder / "cables.csv"
        path.write_text(f"node,leaf_switch\n{text}", encoding="utf-8")
        import_topology(self.store, Asked(path, "csv"), {})

    def run_on(self, *nodes: str, job: str = JOB) -> None:
        places = tuple(Place(node, f"GPU-{node}-{c}") for node in nodes for c in range(2))
        who = Workload(job, "slurm_job", "c1", user="li", scenario="training")
        AllocationBook(self.store, f"slurm-{job}").believe([Holding(who, round(BEGUN * 1e6), None, places)])

    def hear(self, grows: Mapping[str, float], *, ports: bool = True) -> None:
        """The last minutes of every node; ``grows``: of each port's counters, a second."""
        for minute in range(MINUTES + 1):
            time = NOON - (MINUTES - minute) * 60
            for number, node in enumerate(NODES, 1):
                cards = [f"GPU-{node}-{c}" for c in range(2)]
                samples = [
                    card_sample(card, time, {"utilization_ratio": 0.9}, interval=60.0) for card in cards
                ]
                facts = []
                if minute == 0:
                    facts = [
                        Facts(Family.CARD, c, time, {"vendor": "nvidia", "model": "NVIDIA H800"})
                        for c in cards
                    ]
                if ports:
                    values: dict[str, Any] = {key: int(rate * minute * 60) for key, rate in grows.items()}
                    port = Sample(
                        Family.PORT, f"{node}/mlx5_0/1", time, time - NOON + 9000, 60.0, values, {}, "b1"
                    )
                    samples.append(port)
                self.fleet.push(samples, at=time, node=node, stream=f"{number}" * 32, facts=facts)
        self.fleet.writer.drain()
        with self.store.write() as cursor:
            self.store.identities.flush_seen(cursor)
        self.fleet.clock.advance(95)
        self.fleet.rollup.catch_up(round(self.fleet.clock.wall() * 1e6))

    def found(self) -> list[tuple[str, dict[str, Any]]]:
        Rounds(lambda: self.store, Config()).round()
        rows = self.fleet.rows(
            f"SELECT subject, evidence FROM finding WHERE kind = '{KIND}' AND until IS NULL"
        )
        return [(subject, json.loads(text)) for subject, text in rows]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.fleet.close()


BUSY = {"xmit_data_bytes": 10e9, "rcv_data_bytes": 10e9, "rcv_packets": 3e6}


def test_a_job_over_two_switches_with_packets_lost_is_found_with_what_it_costs_and_where_it_fits(
    site: Site,
) -> None:
    site.cables()
    site.run_on("n1", "n5")
    site.run_on("n2", job="slurm/c1/8")
    site.hear({**BUSY, "packet_seq_err": 5})
    ((subject, told),) = site.found()
    assert subject == JOB
    assert (told["switch_groups"], told["switch_groups_least"], told["switches"]) == (2, 1, {"a": 1, "b": 1})
    assert (told["ring_crossings"], told["ring_crossings_least"]) == (2, 0)
    assert (told["congestion"], set(told["congestion_signs"])) == ("seen", {"packet_seq_err"})
    assert told["enough_nodes"] == ["n1", "n3"] and told["of_them_new"] == 1
    # 4 cards x 24 h x 0.2 x 0.25 x 2/2, by the ledger's own arithmetic
    lost = 4 * (quantity(10**9, 0, DAY_US) // 20)
    assert told["lost_card_hours_per_day"] == 4.8
    assert told["cost_per_day"] == {"CNY": formatted(rounded(cost_atoms(lost, 12_340_000), "CNY"))}

    (listed,) = seen(site.store, KIND)
    assert (listed["subject"], listed["action"]) == (JOB, "restart_on_these_nodes")

    with (
        site.store.write() as cursor
    ):  # nodes that are kept apart are no place to be: then two switches have to be
        for number, node in enumerate(("n2", "n3", "n4", "n6")):
            cursor.execute(
                "INSERT INTO isolation (isolation_id, family, subject, cluster_id, reason, actuator, requested_by, isolated_at, "
                "placed, undo) VALUES (?, 'node', ?, 'c1', 'x', 'command', 'ada', ?, '{}', '{}')",
                [number, node, naive_utc(site.clock.wall() - 60)],
            )
    assert site.found() == []


def test_without_a_cabling_list_nothing_is_said_and_a_finding_ends_with_the_job(site: Site) -> None:
    site.run_on("n1", "n5")
    site.hear({**BUSY, "np_cnp_sent": 0})
    assert site.found() == []
    site.cables()
    site.fleet.clock.advance(1)
    ((_, told),) = site.found()
    assert (told["congestion"], told["lost_card_hours_per_day"], told["cost_per_day"]) == (
        "none_seen",
        0.0,
        {"CNY": "0.00"},
    )
    with site.store.write() as cursor:
        cursor.execute("UPDATE allocation SET known_to = valid_from")
    assert site.found() == []


def test_rails_and_spines_come_from_ports_and_switches(site: Site) -> None:
    """Cards 0 hang on port 0 of rail 0, cards 1 on rail 1: a job on card 0 here and card 1 there crosses rails."""
    with site.store.write() as cursor:
        for node in NODES:
            (key,) = cursor.execute("SELECT node_key FROM node WHERE node_id = ?", [node]).fetchone() or (
                None,
            )
            for n in range(2):
                facts = json.dumps({"role": "fabric"})
                cursor.execute(
                    "INSERT INTO port (port_key, port_id, node_key, device, port, origin, facts) "
                    "VALUES (nextval('subject_key'), ?, ?, ?, 1, 'real', ?)",
                    [f"{node}/rail{n}/1", key, f"rail{n}", facts],
                )
    ports = "".join(f"{node}/rail{n}/1,l{n},{n}\n" for node in NODES for n in range(2))
    cards = "".join(f"GPU-{node}-{n},{node}/rail{n}/1\n" for node in NODES for n in range(2))
    for name, text in (
        ("ports", f"port,leaf_switch,rail\n{ports}"),
        ("cards", f"card,nearest_port\n{cards}"),
        ("switches", "switch,parent_switch\nl0,s0\nl1,s1\n"),
    ):
        path = site.folder / f"{name}.csv"
        path.write_text(text, encoding="utf-8")
        import_topology(site.store, Asked(path, "csv", source=name), {})
    site.fleet.clock.advance(1)
    topology = load(site.store.cursor(), round(site.clock.wall() * 1e6), round(site.clock.wall() * 1e6))
    assert switches(topology, "c1", "n1") == (frozenset({"l0", "l1"}), frozenset({"s0", "s1"}))
    apart = {"n1": ["GPU-n1-0"], "n2": ["GPU-n2-1"]}
    assert rails_of(topology, apart) == {"n1": frozenset("0"), "n2": frozenset("1")}
    assert rails_of(topology, {"n1": ["GPU-n1-0", "unknown"]}) == {}
