"""Which incidents are one: of a node and its cards, and of a fleet that shows the same at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_world import ALL_ADVISE, NOW, World, event
from tests.collector.fault_world import released

from ullage_collector.sql import statements
from ullage_collector.topology.keep import keep
from ullage_collector.topology.relation import Relation
from ullage_contract.sample import Family


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path, changes=ALL_ADVISE)
    yield made
    made.close()


def test_a_nodes_fault_swallows_its_cards_and_gives_them_back(world: World) -> None:
    world.cards("g1", "GPU-1", "GPU-2")
    world.push("g1", event("xid", "GPU-1", code="79"))
    world.push("g1", event("xid", "GPU-2", code="95"))
    world.engine.step()
    first, second = world.incidents()
    assert (second["cause"], second["parent_id"]) == ("xid_reset_needed", first["incident_id"])
    assert world.told.turns() == [("opened", "xid_fallen_off_the_bus", "GPU-1", "automatic", True)]
    with world.store.write() as db:
        db.execute(
            statements("incidents")["close_incidents_of"],
            released(world.clock.wall(), "released by ada", "GPU-1"),
        )
    world.engine.forget_closed()
    world.clock.advance(2)
    world.engine.tick()
    assert world.told.turns()[-1] == ("opened", "xid_reset_needed", "GPU-2", "automatic", True)
    assert world.incidents()[1]["parent_id"] is None


def test_one_of_two_cards_that_comes_back_does_not_free_the_other(world: World) -> None:
    world.cards("g1", "GPU-1", "GPU-2")
    world.push("g1", event("card_lost", "GPU-1"), event("card_lost", "GPU-2"))
    world.engine.step()
    world.push("g1", event("card_back", "GPU-1"))
    world.engine.step()
    assert world.open() == ["card_lost GPU-2"]
    assert [v.subject for v in world.told.verdicts if v.turn == "ended"] == ["GPU-1"]


def test_a_card_is_no_part_of_a_node_that_is_only_observed(world: World) -> None:
    world.cards("g1", "GPU-1")
    world.push("g1", event("source_blind", "g1", family=Family.NODE), event("card_lost", "GPU-1"))
    world.engine.step()
    assert [row["parent_id"] for row in world.incidents()] == [None, None]
    assert [v.rule for v in world.told.verdicts] == ["source_blind", "card_lost"]


def test_the_same_on_three_nodes_asks_a_person_and_acts_on_none(world: World) -> None:
    for n in range(4):
        world.cards(f"g{n}", f"GPU-{n}")
        world.push(f"g{n}", event("xid", f"GPU-{n}", code="79"))
        world.engine.step()
    assert world.open()[-2:] == [
        "fleet_xid_fallen_off_the_bus xid_fallen_off_the_bus",
        "xid_fallen_off_the_bus GPU-3",
    ]
    rows = {row["subject"]: row for row in world.incidents()}
    fleet = rows["xid_fallen_off_the_bus"]
    assert (fleet["family"], fleet["action"], fleet["severity"]) == ("fleet", "observe", "critical")
    for n in range(4):
        assert (rows[f"GPU-{n}"]["mode"], rows[f"GPU-{n}"]["parent_id"]) == ("advise", fleet["incident_id"])
    last = {v.subject: v.mode.value for v in world.told.verdicts}
    assert last == {**{f"GPU-{n}": "advise" for n in range(4)}, "xid_fallen_off_the_bus": "advise"}


def test_three_cards_of_one_node_are_no_fleet(world: World) -> None:
    world.cards("g1", "GPU-1", "GPU-2", "GPU-3")
    world.push("g1", *(event("xid", f"GPU-{n}", code="95") for n in (1, 2, 3)))
    world.engine.step()
    assert {row["family"] for row in world.incidents()} == {"card"}
    assert {row["mode"] for row in world.incidents()} == {"automatic"}


def test_a_fleet_incident_ends_with_the_last_of_its_nodes_and_the_next_is_new(world: World) -> None:
    for n in range(3):
        world.cards(f"g{n}", f"GPU-{n}")
        world.push(f"g{n}", event("card_lost", f"GPU-{n}"))
    world.engine.step()
    for n in range(3):
        assert any(row["family"] == "fleet" and row["closed_at"] is None for row in world.incidents())
        world.push(f"g{n}", event("card_back", f"GPU-{n}"))
        world.engine.step()
    assert world.open() == []
    assert world.told.verdicts[-1].family == "fleet"


def test_three_nodes_of_one_rack_are_told_by_their_rack(tmp_path: Path) -> None:
    world = World(tmp_path, changes=ALL_ADVISE)
    try:
        for n in range(3):
            world.cards(f"g{n}", f"GPU-{n}")
        us = int(NOW * 1e6)
        with world.store.write() as db:
            keep(db, "csv:racks", "c", [Relation("node", f"g{n}", "rack", "R12") for n in range(3)], us, us)
        for n in range(3):
            world.push(f"g{n}", event("xid", f"GPU-{n}", code="79"))
        world.engine.step()
        fleet = next(row for row in world.incidents() if row["family"] == "fleet")
        assert fleet["subject"] == "rack:R12"
        assert {dict(v.domains).get("rack") for v in world.told.verdicts if v.family == "card"} == {"R12"}
    finally:
        world.close()


def test_without_the_fleet_rule_each_acts_for_itself(tmp_path: Path) -> None:
    world = World(tmp_path, fleet_nodes=0, changes=ALL_ADVISE)
    try:
        for n in range(5):
            world.cards(f"g{n}", f"GPU-{n}")
            world.push(f"g{n}", event("xid", f"GPU-{n}", code="79"))
        world.engine.step()
        assert {v.mode.value for v in world.told.verdicts} == {"automatic"}
        assert len(world.told.verdicts) == 5
    finally:
        world.close()
