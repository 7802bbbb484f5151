"""A drill moves no money: an incident made on purpose makes no real card faulty; a simulated one is as it was."""

from __future__ import annotations

import pytest
from tests.collector.fleet_world import DAY, LATER, World, card_hours

from ullage_collector.states import States


def faulty_hours(world: World) -> float:
    world.db.execute("UPDATE incident SET origin = 'simulated'")
    States(world.db).make(DAY.date(), LATER)
    return card_hours(world.lines()).get(("platform", "faulty"), 0.0)


@pytest.mark.parametrize("origin", ["real", "imported"])
@pytest.mark.parametrize("family", ["card", "node"])
def test_an_injected_incident_makes_no_real_card_faulty(family: str, origin: str) -> None:
    world = World()
    world.card("G1", origin=origin)
    world.incident("G1" if family == "card" else "n1", 3, 5, family=family, action="isolate_node")
    assert faulty_hours(world) == 0.0


@pytest.mark.parametrize(("card", "origin"), [("SIM-GPU-1", "imported"), ("GPU-emulated", "simulated")])
def test_a_simulated_card_of_a_demonstration_is_faulty_as_ever(card: str, origin: str) -> None:
    world = World()
    world.card(card, origin=origin)
    world.incident(card, 3, 5)
    assert faulty_hours(world) == 2.0
