"""The detector on a real store: what is free is what may be used, findings open and end, the route and the command answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.collector.fleet_fixture import Fleet, card_sample
from tests.collector.test_estate import client

from ullage_collector.allocation.book import AllocationBook
from ullage_collector.allocation.holding import NANO, Holding, Place, Rank, Workload
from ullage_collector.allocation.room import Room, keep_rooms
from ullage_collector.cli import main
from ullage_collector.config import Config
from ullage_collector.console.words import LANGUAGES, words
from ullage_collector.detect.fragmentation import finding, reading
from ullage_collector.detect.fragmentation.settings import default_rules
from ullage_collector.detect.fragmentation.start import Need, starts
from ullage_collector.detect.rounds import Rounds
from ullage_collector.fleet_now import CardNow, FleetNow
from ullage_collector.imports import map as maps
from ullage_collector.imports.door import import_file
from ullage_collector.store.store import naive_utc
from ullage_collector.topology.door import Asked, import_topology
from ullage_collector.topology.reading import load
from ullage_contract.sample import Facts, Family

CARDS = 4
SECOND = 1_000_000


class World:
    """Three nodes of four cards in cluster c1, all heard, owned and priced; time stands at the fleet's clock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fleet = Fleet(folder)
        self.store = self.fleet.store
        self.clock = self.fleet.clock
        self.nodes = ["n1", "n2", "n3"]
        self.hear(*self.nodes)
        rows = "\n".join(
            f"{self.card(node, n)},c1,{node},nvidia,H800,in_service,2026-01-01T00:00:00Z,train"
            for node in self.nodes
            for n in range(CARDS)
        )
        self.load("inventory", f"card_id,cluster_id,node_id,vendor,model,life,from,pool\n{rows}\n")
        self.load("prices", "model,hourly,currency,from\n*H800*,10,CNY,2026-01-01\n")
        self.rooms(*(Room(node, 64_000, 64_000, 1_000_000, 1_000_000) for node in self.nodes))
        self.book = AllocationBook(self.store, "kubernetes")

    @property
    def now_us(self) -> int:
        return round(self.clock.wall() * 1e6)

    @staticmethod
    def card(node: str, number: int) -> str:
        return f"GPU-{node}-{number}"

    def hear(self, *nodes: str) -> None:
        now = self.clock.wall()
        for node in nodes:
            cards = [self.card(node, n) for n in range(CARDS)]
            facts = [Facts(Family.CARD, card, now, {"vendor": "nvidia", "model": "H800"}) for card in cards]
            samples = [card_sample(card, now, {"utilization_ratio": 0.5}) for card in cards]
            self.fleet.push(samples, node=node, stream=f"{node[-1]}" * 32, facts=facts)
        self.fleet.writer.drain()
        with self.store.write() as cursor:
            self.store.identities.flush_seen(cursor)

    def load(self, kind: str, text: str) -> None:
        path = self.folder / f"{kind}.csv"
        path.write_text(text, encoding="utf-8")
        import_file(self.store, kind, path, maps.load(None))

    def rooms(self, *rooms: Room) -> None:
        with self.store.write() as cursor:
            keep_rooms(cursor, "kubernetes", "c1", rooms, self.now_us)

    def hold(
        self,
        name: str,
        node: str,
        *cards: int | None,
        nano: int = NANO,
        cpu: int | None = 4000,
        memory: int | None = 1000,
        ended: bool = False,
        **more: Any,
    ) -> None:
        places = tuple(Place(node, None if c is None else self.card(node, c), None, nano) for c in cards)
        said = {"cpu_milli": cpu, "memory_mib": memory}
        who = Workload(
            f"k8s/c1/ns/{name}/u", "kubernetes_pod", "c1", user="ada", attributes={"owner_kind": "Deployment"}
        )
        held = Holding(
            who,
            self.now_us - 3600 * SECOND,
            self.now_us - 60 * SECOND if ended else None,
            places,
            attributes={key: value for key, value in said.items() if value is not None},
        )
        done = self.book.believe([replace(held, **more)])
        assert not done.refused

    def history(self, tasks: int = 120) -> None:
        """Whole-card tasks that ran and are over: what is typical here."""
        for number in range(tasks):
            self.hold(f"past{number}", "n1", 0, ended=True)

    def read(self) -> reading.Fleet:
        cursor = self.store.cursor()
        fleet = FleetNow(self.store.cursor, self.clock, keep_seconds=0)
        return reading.read(cursor, fleet, load(cursor, self.now_us, self.now_us), default_rules())

    def free(self) -> dict[str, tuple[int, ...]]:
        return {node.name: node.cards for node in self.read().nodes}

    def findings(self) -> list[tuple[str, dict[str, Any]]]:
        rows = self.fleet.rows(
            f"SELECT subject, evidence FROM finding WHERE kind = '{finding.KIND}' AND until IS NULL"
        )
        return [(subject, json.loads(text)) for subject, text in rows]

    def round(self) -> None:
        Rounds(lambda: self.store, Config()).round()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.fleet.close()


def test_what_nobody_holds_of_cards_that_are_heard_is_free(world: World) -> None:
    world.hold("a", "n1", 0, nano=NANO * 3 // 10)
    world.hold("b", "n1", 1)
    assert world.free() == {"n1": (700, 0, 1000, 1000), "n2": (1000,) * 4, "n3": (1000,) * 4}
    (node, *_) = world.read().nodes
    assert (node.cluster, node.pool, node.model, node.cpu_milli, node.memory_mib) == (
        "c1",
        "train",
        "H800",
        64_000,
        1_000_000,
    )


@pytest.mark.parametrize("why", ["isolated", "faulty", "not_heard", "node_takes_no_work"])
def test_a_card_that_takes_no_work_is_never_free(world: World, why: str) -> None:
    card, at = world.card("n1", 2), naive_utc(world.clock.wall())
    with world.store.write() as cursor:
        if why == "isolated":
            cursor.execute(
                "INSERT INTO isolation (isolation_id, family, subject, reason, actuator, requested_by, isolated_at, "
                "placed, undo) VALUES (1, 'card', ?, 'x', 'command', 'ada', ?, '{}', '{}')",
                [card, at],
            )
        elif why == "faulty":
            cursor.execute(
                "INSERT INTO incident (incident_id, family, subject, cause, severity, onset, opened_at, confirmed, "
                "action, evidence, history, origin) VALUES (1, 'card', ?, 'x', 'fatal', ?, ?, true, 'isolate_card', "
                "'[]', false, 'real')",
                [card, at, at],
            )
    if why == "not_heard":
        world.clock.advance(400)
        world.hear("n2", "n3")
    if why == "node_takes_no_work":
        world.rooms(Room("n1", 64_000, 64_000, 1, 1, "cordoned"), Room("n2", 1, 1, 1, 1))
    found = world.read()
    cards = {card for node in found.nodes for card in node.card_ids}
    assert card not in cards
    alone = why in ("isolated", "faulty")
    assert found.left_out == {why: 1 if alone else CARDS}
    assert len(cards) == (11 if alone else 8)


STATES = ("used", "allocated_idle", "unallocated_idle", "fragmented", "unknown", "isolated", "faulty")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(STATES),
            st.sampled_from((0, 10, 299, 301, None)),
            st.integers(0, 2 * NANO),
            st.booleans(),
        ),
        max_size=12,
    )
)
@settings(max_examples=200, deadline=None)
def test_isolated_broken_silent_and_closed_cards_are_never_counted(
    drawn: list[tuple[str, int | None, int, bool]],
) -> None:
    at = 1_800_000_000.0
    cards, expected, out = [], 0, 0
    for number, (state, age, held, closed) in enumerate(drawn):
        last = None if age is None else naive_utc(at - age)
        node = "closed" if closed else "open"
        named = (
            "c",
            node,
            "v",
            "m",
            number,
            None,
            state,
            None,
            None,
            None,
            None,
            None,
            last,
            min(held, NANO),
        )
        cards.append(CardNow(f"g{number}", *named, None, None, None, None, None, "real"))  # type: ignore[arg-type]
        if state in ("isolated", "faulty") or age is None or age > 300 or closed:
            out += 1
        else:
            expected += (NANO - min(held, NANO)) // 1_000_000
    parts, left_out = reading.usable(cards, at, {("c", "closed"): (1, 1, False, "cordoned")})
    assert sum(sum(part.free) for part in parts.values()) == expected
    assert left_out.total() == out
    states = {card.state for part in parts.values() for card in part.cards}
    assert not states & {"isolated", "faulty"}


def test_a_reserved_card_is_not_free_and_one_held_by_unknown_index_is_taken_from_the_freest(
    world: World,
) -> None:
    world.hold("a", "n1", 0, rank=Rank.RESERVED)
    world.hold("b", "n2", 1, nano=NANO // 2)
    world.hold("c", "n2", None)
    free = world.free()
    assert free["n1"] == (0, 1000, 1000, 1000)
    assert sorted(free["n2"]) == [0, 500, 1000, 1000]


def test_switches_and_islands_come_from_the_fleets_topology(world: World) -> None:
    table = world.folder / "cables.csv"
    table.write_text("node,leaf_switch\nn1,s1\nn2,s1\nn3,s2\n", encoding="utf-8")
    import_topology(world.store, Asked(table, "csv"), {})
    islands = "".join(f"{world.card('n1', n)},{'left' if n < 2 else 'right'}\n" for n in range(CARDS))
    (world.folder / "islands.csv").write_text(f"card,link_domain\n{islands}", encoding="utf-8")
    import_topology(world.store, Asked(world.folder / "islands.csv", "csv", source="islands"), {})
    world.clock.advance(1)
    found = world.read()
    assert [node.domain for node in found.nodes] == ["s1", "s1", "s2"]
    assert found.nodes[0].islands == ("left", "left", "right", "right")
    assert found.nodes[2].islands == ("", "", "", "")
    (eight,) = starts(found.nodes, [8], Need(None, None))
    assert (eight.jobs, eight.stranded["switch"], eight.stranded["pool"]) == (1, 0, 4)
    far = [found.nodes[0], found.nodes[2]]
    assert starts(far, [8], Need(None, None))[0].stranded["switch"] == 8


def test_old_words_on_processors_are_no_knowledge(world: World) -> None:
    world.clock.advance(reading.ROOM_SECONDS + 1)
    world.hear(*world.nodes)
    assert {node.cpu_milli for node in world.read().nodes} == {None}


def test_too_few_tasks_make_nothing_typical_and_nothing_is_said(world: World) -> None:
    world.hold("a", "n1", 0, 1, 2, 3, nano=NANO // 2)
    world.history(tasks=98)
    found = world.read()
    assert (found.typical.tasks, found.typical.kinds.tasks) == (99, ())
    assert found.typical.of("c1", "train") == (found.typical.kinds, 99)
    world.round()
    assert world.findings() == []


def test_a_pool_is_judged_by_its_own_tasks_and_one_where_little_ran_by_the_fleets(world: World) -> None:
    world.history(150)
    for number in range(60):
        world.hold(f"other{number}", "n2", 1, nano=NANO // 4, ended=True)
    with world.store.write() as cursor:
        cursor.execute("UPDATE inventory SET pool = 'serve' WHERE node_id = 'n2'")
    typical = world.read().typical
    assert typical.tasks == 210
    assert [(task.ask.share_milli, task.weight) for task in typical.of("c1", "train")[0].tasks] == [
        (1000, 1.0)
    ]
    assert typical.of("c1", "train")[1] == 150
    assert [task.ask.share_milli for task in typical.of("c1", "serve")[0].tasks] == [1000, 250]
    assert typical.of("c1", "serve")[1] == 210


def fragment(world: World) -> None:
    """Half of every card of n1 and n2 is held; n3 is full: 4 cards are free in eight halves."""
    world.history()
    for node in ("n1", "n2"):
        for number in range(CARDS):
            world.hold(f"{node}-{number}", node, number, nano=NANO // 2)
    for number in range(CARDS):
        world.hold(f"full{number}", "n3", number)


def test_a_fragmented_pool_is_a_finding_with_evidence_cost_and_moves_and_ends_when_it_is_so_no_more(
    world: World,
) -> None:
    fragment(world)
    world.round()
    ((subject, said),) = world.findings()
    assert subject == "c1/train"
    assert (said["free_cards"], said["jobs_that_could_start"]["1"]) == (4.0, 0)
    # Tasks of 120 + 4 whole cards and 8 halves: 95 % is covered by whole cards and halves.
    assert said["frag_expected_cards"] == pytest.approx(4.0 * 124 / 132, abs=0.05)
    assert said["cost_per_day"] == {"CNY": f"{240 * 4 * 124 / 132:.2f}"}
    assert said["cards_without_price"] is None
    assert said["all_moves"] == 4
    assert said["regained_cards"] == pytest.approx(4.0 * 124 / 132, abs=0.05)
    assert said["jobs_after_moves"] == {"1": 4, "2": 2, "4": 1, "8": 0, "16": 0, "32": 0, "64": 0}
    row = world.fleet.rows("SELECT owner, action, confidence, family FROM finding WHERE until IS NULL")
    assert ("platform", "move_a_few_workloads", 1.0, "pool") in row
    for number in range(CARDS):
        name = Workload(f"k8s/c1/ns/n2-{number}/u", "kubernetes_pod", "c1")
        world.book.believe([Holding(name, world.now_us - 3600 * SECOND, world.now_us - SECOND, None)])
    for number in range(CARDS):
        name = Workload(f"k8s/c1/ns/n1-{number}/u", "kubernetes_pod", "c1")
        world.book.believe([Holding(name, world.now_us - 3600 * SECOND, world.now_us - SECOND, None)])
    world.round()
    assert world.findings() == []


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"cpu": None}, "its processors or memory are not known"),
        ({"memory": None}, "its processors or memory are not known"),
        ({"kind": "notebook"}, "it is a notebook"),
        ({"bare": True}, "nothing would start it again"),
        ({"gang": True}, "it runs on several nodes"),
        ({"unknown": True}, "nobody knows its cards"),
    ],
)
def test_what_is_not_safe_to_restart_stays(world: World, more: dict[str, Any], why: str) -> None:
    places = [Place("n1", world.card("n1", 0))]
    if more.get("gang"):
        places.append(Place("n2", world.card("n2", 0)))
    if more.get("unknown"):
        places.append(Place("n1"))
    who = Workload(
        "k8s/c1/ns/p/u",
        str(more.get("kind", "kubernetes_pod")),
        "c1",
        attributes={} if more.get("bare") else {"owner_kind": "Job"},
    )
    said = {"cpu_milli": more.get("cpu", 1), "memory_mib": more.get("memory", 1)}
    held = {key: value for key, value in said.items() if value is not None}
    world.book.believe([Holding(who, world.now_us - SECOND, None, tuple(places), attributes=held)])
    assert {one.stays for one in world.read().work} == {why}


def test_a_finding_speaks_of_its_own_pools_nodes_alone(world: World) -> None:
    world.history()
    with world.store.write() as cursor:
        cursor.execute("UPDATE inventory SET pool = 'serve' WHERE node_id = 'n3'")
    for number in range(CARDS):
        world.hold(f"n3-{number}", "n3", number, nano=NANO * 7 // 10)
    world.round()
    ((subject, said),) = world.findings()
    assert subject == "c1/serve"
    assert said["nodes"] == ["n3 1.2"]
    assert said["free_cards"] == 1.2


def test_nobodys_processors_are_known_so_nothing_is_moved_and_confidence_is_half(world: World) -> None:
    fragment(world)
    world.rooms()
    world.round()
    ((_, said),) = world.findings()
    assert (said["all_moves"], said["nodes_without_processors"]) == (0, 3)
    row = world.fleet.rows("SELECT action, confidence FROM finding WHERE until IS NULL")
    assert ("pack_in_a_fixed_node_order", 0.5) in row


def test_cards_without_a_price_are_counted_not_priced_at_nothing(world: World) -> None:
    fragment(world)
    with world.store.write() as cursor:
        cursor.execute("DELETE FROM price")
    world.round()
    ((_, said),) = world.findings()
    assert said["cost_per_day"] == {}
    assert said["cards_without_price"] == said["frag_expected_cards"] > 0


def test_the_routes_answer_what_the_commands_print(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fragment(world)
    asking = client(world)  # type: ignore[arg-type]
    answer = asking.get("/api/v1/fragmentation").json()
    assert (answer["schema_version"], answer["free_milli"], answer["nodes"]) == (1, 4000, 3)
    assert answer["gpu_tasks"]["fragmented_milli"] == pytest.approx(answer["fragmented_milli"])
    assert answer["pools"][0]["pool"] == "train"
    assert answer["starts"][0]["jobs"] == 0
    moves = asking.get("/api/v1/fragmentation/moves", params={"most": "2"}).json()
    assert len(moves["moves"]) == 2
    assert moves["moves"][0]["from_cards"][0].startswith("GPU-")
    for most in ("0", "x", "201"):
        refused = asking.get("/api/v1/fragmentation/moves", params={"most": most})
        assert (refused.status_code, refused.json()["error"]) == (400, "bad_input")
    with world.store.write() as cursor:
        cursor.execute("DELETE FROM allocation")
    refused = asking.get("/api/v1/fragmentation")
    assert refused.status_code == 400
    assert "make nothing typical" in refused.json()["message"]
    empty = ["--data", str(tmp_path / "empty")]
    assert main([*empty, "fragmentation", "--tasks", "x.csv"]) == 2
    assert main([*empty, "fragmentation"]) == 2
    assert "make nothing typical" in capsys.readouterr().err


def test_the_rooms_of_a_source_are_replaced_as_a_whole_and_never_below_zero(world: World) -> None:
    world.rooms(Room("n1", 10, -5, None, None), Room("n9", 1, 1, 1, 1, "down"))
    rows = world.fleet.rows(
        "SELECT node_id, cpu_free_milli, memory_free_mib, takes_work FROM node_room ORDER BY ALL"
    )
    assert rows == [("n1", 0, None, True), ("n9", 1, 1, False)]
    with world.store.write() as cursor:
        assert keep_rooms(cursor, "slurm", "c1", [], world.now_us) == 0
    assert len(world.fleet.rows("SELECT 1 FROM node_room")) == 2


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_finding_has_words(language: str) -> None:
    assert words(language)["findings"][finding.KIND].keys() == {"name", "means"}
