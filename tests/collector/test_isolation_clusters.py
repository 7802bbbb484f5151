"""Two clusters with the same node names: what is said of one node never touches the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
from tests.collector.fleet_world import DAY, HOUR, LATER, NANO
from tests.collector.fleet_world import World as Fleet
from tests.collector.isolation_world import World

from ullage_collector.audit import naive_utc
from ullage_collector.fleet_now import FleetNow
from ullage_collector.isolate.intent import State
from ullage_collector.isolate.verdict import Action
from ullage_collector.sql import migrations, statements
from ullage_collector.states import States
from ullage_collector.store.store import Store
from ullage_contract.clock import ManualClock
from ullage_contract.errors import BadInput


@pytest.fixture
def world() -> Iterator[World]:
    """Nodes n0 and n1 of cluster c, and a node n0 of cluster d with two cards."""
    world = World(2, 2)
    world.db.execute(
        "INSERT INTO node (node_key, cluster_id, node_id, origin) VALUES (90, 'd', 'n0', 'real')"
    )
    for i in range(2):
        world.db.execute(
            "INSERT INTO card (card_key, card_id, node_key, vendor, card_index, minor, last_seen, origin) "
            "VALUES (?, ?, 90, 'nvidia', ?, ?, ?, 'real')",
            [9000 + i, f"other-{i}", i, i, world.naive(world.clock.wall())],
        )
    yield world


def put_incident(
    db: duckdb.DuckDBPyConnection, number: int, cluster: str | None, family: str = "node", subject: str = "n0"
) -> None:
    db.execute(
        "INSERT INTO incident (incident_id, family, subject, cause, severity, onset, opened_at, confirmed, action, evidence, "
        'history, origin, cluster_id, node_id, "mode") '
        "VALUES (?, ?, ?, 'r', 'fatal', '2026-11-01', '2026-11-01', true, 'isolate_node', '[]', false, 'real', ?, ?, 'advise')",
        [number, family, subject, cluster, subject if cluster else None],
    )


def open_incidents(world: World) -> list[int]:
    return [
        number
        for (number,) in world.db.execute(
            "SELECT incident_id FROM incident WHERE closed_at IS NULL ORDER BY 1"
        ).fetchall()
    ]


def test_a_release_closes_the_incidents_of_its_own_cluster_alone(world: World) -> None:
    put_incident(world.db, 1, "c")
    put_incident(world.db, 2, "d")
    put_incident(world.db, 3, None)  # of whom is not known: a person closes it
    done = world.isolation.isolate("c/n0", reason="test", actor="ada", execute_calls=True)
    assert done.incident_id == 1
    world.isolation.release("c/n0", reason="done", actor="ada", execute_calls=True)
    assert open_incidents(world) == [2, 3]


def test_an_incident_without_a_cluster_is_of_the_only_node_of_that_name(world: World) -> None:
    put_incident(world.db, 1, None, subject="n1")
    assert world.isolation.isolate("n1", reason="test", actor="ada", execute_calls=True).incident_id == 1
    world.isolation.release("n1", reason="done", actor="ada", execute_calls=True)
    assert open_incidents(world) == []


def test_both_nodes_of_a_name_can_be_isolated_and_each_is_released_by_itself(world: World) -> None:
    world.isolation.isolate("c/n0", reason="test", actor="ada", execute_calls=True)
    world.scheduler.standing_of.clear()  # each cluster has a scheduler of its own; the stand-in knows names only
    world.isolation.isolate("d/n0", reason="test", actor="ada", execute_calls=True)
    with pytest.raises(BadInput, match="isolated already"):
        world.isolation.isolate("d/n0", reason="again", actor="ada")
    world.isolation.release("d/n0", reason="done", actor="ada", execute_calls=True)
    assert world.db.execute(
        "SELECT cluster_id, node_id FROM isolation WHERE released_at IS NULL"
    ).fetchall() == [("c", "n0")]
    with pytest.raises(BadInput, match="not isolated"):
        world.isolation.release("d/n0", reason="again", actor="ada")


def test_a_persons_isolation_is_watched_in_its_own_cluster(world: World) -> None:
    world.isolation.isolate("d/n0", reason="test", actor="ada", execute_calls=True)
    world.policy.sync()
    assert [(i.cluster_id, i.node_id) for i in world.book.live()] == [("d", "n0")]
    world.step(60)
    assert world.state("n0") is State.ISOLATED


def test_a_card_stays_isolated_while_its_node_is(world: World) -> None:
    """The same whole-node call stands for both: giving the card back must not resume the node."""
    world.isolation.isolate("c/n0", reason="test", actor="ada", execute_calls=True, actuator="fake-node")
    world.isolation.isolate("n0-1", reason="test", actor="ada", execute_calls=True, actuator="fake-node")
    released = world.isolation.release("n0-1", reason="done", actor="ada", execute_calls=True)
    assert (released.calls, "n0" in world.scheduler.standing_of) == ((), True)


def test_an_index_may_be_said_with_its_cluster(world: World) -> None:
    with pytest.raises(BadInput, match="several cards"):
        world.isolation.isolate("n0/1", reason="test", actor="ada")
    assert world.isolation.isolate("d/n0/1", reason="test", actor="ada").subject == "other-1"


def test_a_probe_needs_the_card_of_its_own_cluster_isolated(world: World) -> None:
    world.isolation.isolate("d/n0", reason="test", actor="ada", execute_calls=True)

    def isolated(card: str, cluster: str) -> bool:
        row = world.db.execute(statements("probes")["isolated"], [card, cluster, "n0"]).fetchone()
        return bool(row and row[0])

    assert (isolated("other-0", "d"), isolated("n0-0", "c")) == (True, False)


def test_verdicts_of_two_clusters_are_two_intents(world: World) -> None:
    world.consider(None, node="n0", action=Action.ISOLATE_NODE)
    there = replace(world.verdict(None, node="n0", action=Action.ISOLATE_NODE), cluster_id="d")
    world.policy.consider(there)
    assert sorted((i.cluster_id, i.subject) for i in world.book.live()) == [("c", "n0"), ("d", "n0")]


def test_offenders_are_counted_by_cluster(world: World) -> None:
    world.isolation.isolate("d/n0", reason="test", actor="ada", execute_calls=True)
    rows = world.db.execute(statements("incidents")["isolations_since"], [naive_utc(0)]).fetchall()
    assert [row[:4] for row in rows] == [("node", "n0", "d", "n0")]


def test_open_incidents_and_lists_say_the_right_cluster(world: World) -> None:
    put_incident(world.db, 1, "d")
    put_incident(world.db, 2, None)
    rows = world.db.execute(statements("incidents")["open_incidents"]).fetchall()
    assert [(row[0], row[12], row[13]) for row in rows] == [(1, "d", "n0"), (2, None, None)]
    found = world.db.execute(statements("incidents")["list_incidents"], ["d/n0", False, 10]).fetchall()
    assert [row[0] for row in found] == [1]


# ---- states and money


@pytest.fixture
def twins() -> Fleet:
    """Cards A and B, each on a node n1 of a cluster of its own: dc1 and dc2."""
    fleet = Fleet()
    fleet.card("A")
    fleet.db.execute(
        "INSERT INTO node (node_key, cluster_id, node_id, origin) VALUES (7, 'dc2', 'n1', 'real')"
    )
    fleet.db.execute(
        "INSERT INTO card (card_key, card_id, node_key, vendor, model, origin) VALUES (8, 'B', 7, 'nvidia', 'H800', 'real')"
    )
    fleet.cards["B"] = 8
    fleet.own("B", cluster="dc2")
    return fleet


def hours(fleet: Fleet, state: str) -> dict[str, float]:
    """Card-hours of a state by card."""
    States(fleet.db).make(DAY.date(), LATER)
    names, found = {key: name for name, key in fleet.cards.items()}, dict[str, float]()
    for line in fleet.lines():
        if line["state"] == state:
            amount = line["share_nano"] * (line["to_us"] - line["from_us"]) / (NANO * HOUR)
            found[names[line["card_key"]]] = found.get(names[line["card_key"]], 0.0) + amount
    return found


def place(fleet: Fleet, table: str, cluster: str | None) -> None:
    fleet.db.execute(f"UPDATE {table} SET cluster_id = ?, node_id = 'n1'", [cluster])


def test_a_nodes_fault_makes_cards_of_its_own_cluster_faulty(twins: Fleet) -> None:
    twins.incident("n1", 2, 5, family="node", action="isolate_node")
    place(twins, "incident", "dc2")
    assert hours(twins, "faulty") == {"B": 3.0}


def test_a_nodes_isolation_takes_cards_of_its_own_cluster(twins: Fleet) -> None:
    twins.isolate("n1", 1, 3, family="node")
    place(twins, "isolation", "dc1")
    assert hours(twins, "isolated") == {"A": 2.0}


def test_what_names_no_cluster_is_nobodys_where_two_have_the_name(twins: Fleet) -> None:
    """A fault of one of two nodes, nobody knows of which, makes neither's cards faulty: it costs nobody money."""
    twins.incident("n1", 2, 5, family="node", action="isolate_node")
    twins.isolate("n1", 1, 3, family="node")
    assert (hours(twins, "faulty"), hours(twins, "isolated")) == ({}, {})


def test_the_fleet_page_shows_only_the_isolated_node_as_isolated(tmp_path: Path) -> None:
    clock = ManualClock(wall=LATER.timestamp())
    store = Store.open(tmp_path / "store.duckdb", clock=clock)
    with closing(store):
        db = store.cursor()
        for key, cluster in ((1, "c"), (2, "d")):
            db.execute(
                "INSERT INTO node (node_key, cluster_id, node_id, origin) VALUES (?, ?, 'n1', 'real')",
                [key, cluster],
            )
            db.execute(
                "INSERT INTO card (card_key, card_id, node_key, vendor, model, last_seen, origin) "
                "VALUES (?, ?, ?, 'nvidia', 'H800', ?, 'real')",
                [10 + key, cluster.upper(), key, naive_utc(clock.wall())],
            )
        db.execute(
            "INSERT INTO isolation (isolation_id, family, subject, cluster_id, node_id, reason, actuator, requested_by, "
            "isolated_at, placed, undo) VALUES (1, 'node', 'n1', 'd', 'n1', 'r', 'a', 'b', '2026-10-01', '{}', '{}')"
        )
        cards = {card.card_id: card.state for card in FleetNow(store.cursor, clock).cards()[1]}
    assert cards["D"] == "isolated" and cards["C"] != "isolated"


def test_lost_work_of_a_nodes_incident_is_its_own_clusters(twins: Fleet) -> None:
    number = twins.incident("n1", 2, 5, family="node", action="isolate_node")
    place(twins, "incident", "dc2")
    twins.hold("A", "slurm/dc1/1", 0, 3)
    twins.hold("B", "slurm/dc2/2", 0, 3)
    asked = {"from_us": 0, "to_us": 2**60, "slack_us": 0}
    rows = twins.db.execute(statements("incident_cost")["runs"], asked).fetchall()
    assert [(row[0], row[3]) for row in rows] == [(number, twins.workloads["slurm/dc2/2"])]


# ---- the store from before


def test_isolations_from_before_get_their_cluster_where_it_is_known() -> None:
    db = duckdb.connect()
    before, after = migrations()[:10], migrations()[10:]
    for _, _, text in before:
        db.execute(text)
    for key, cluster, node in ((1, "c", "lone"), (2, "c", "twin"), (3, "d", "twin")):
        db.execute(
            "INSERT INTO node (node_key, cluster_id, node_id, origin) VALUES (?, ?, ?, 'real')",
            [key, cluster, node],
        )
    for number, subject in ((1, "lone"), (2, "twin"), (3, "twin")):
        db.execute(
            "INSERT INTO isolation (isolation_id, family, subject, reason, actuator, requested_by, isolated_at, placed, undo) "
            "VALUES (?, 'node', ?, 'r', 'a', 'b', '2026-11-01', '{}', '{}')",
            [number, subject],
        )
        db.execute(
            "INSERT INTO incident (incident_id, family, subject, cause, severity, onset, opened_at, confirmed, action, "
            "evidence, history, origin) VALUES (?, 'node', ?, 'r', 'fatal', '2026-11-01', '2026-11-01', true, 'isolate_node', "
            "'[]', false, 'real')",
            [number, subject],
        )
    db.execute(
        "INSERT INTO isolation_intent SELECT 1, 'isolated', 'person', 'node', 'twin', 'd', 'twin', '', 'isolate_node', 'none', "
        "'finish', NULL, NULL, 'r', NULL, 'b', 'b', 'a', true, 3, NULL, NULL, '[]', '{}', 0, 0, TIMESTAMP '2026-11-01', "
        "TIMESTAMP '2026-11-01', NULL, NULL, NULL"
    )
    for _, _, text in after:
        db.execute("BEGIN")
        db.execute(text)
        db.execute("COMMIT")
    assert db.execute("SELECT isolation_id, cluster_id FROM isolation ORDER BY 1").fetchall() == [
        (1, "c"),
        (2, None),
        (3, "d"),
    ]
    assert db.execute("SELECT incident_id, cluster_id FROM incident ORDER BY 1").fetchall() == [
        (1, "c"),
        (2, None),
        (3, None),
    ]
