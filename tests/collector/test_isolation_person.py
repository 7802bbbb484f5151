"""What a person's isolate does where the card's own actuator cannot: the node is shown, and taken only if that was said."""

from __future__ import annotations

from typing import Any

import pytest
from tests.collector.isolation_world import World

from ullage_collector.isolate.actuator import Plan, Target
from ullage_collector.isolate.isolation import Outcome
from ullage_contract.errors import ActuatorError


@pytest.fixture
def world() -> World:
    """Cards cannot be fenced here: their actuator says why."""
    made = World()
    plan = made.actuators["fake-card"].plan_isolate

    def refusing(target: Target) -> Plan:
        if target.node_id == "n0":
            raise ActuatorError("account ullage_fence does not exist")
        found: Plan = plan(target)
        return found

    made.actuators["fake-card"].plan_isolate = refusing
    return made


def isolate(world: World, card: str, **more: Any) -> Outcome:
    return world.isolation.isolate(card, reason="hot", actor="ada", **more)


def test_a_dry_run_shows_what_takes_the_node_and_why_the_card_alone_cannot_be_taken(world: World) -> None:
    shown = world.isolation.isolate("n0-1", reason="hot", actor="ada")
    assert shown.actuator == "fake-node"
    assert len(shown.also.cards) == 7
    assert any("account ullage_fence does not exist" in note for note in shown.notes)
    assert world.scheduler.calls == []


def test_a_card_is_never_turned_into_its_node_unasked(world: World) -> None:
    with pytest.raises(ActuatorError, match="fake-node would take the whole node"):
        isolate(world, "n0-1", execute_calls=True)
    assert world.scheduler.calls == []
    assert world.db.execute("SELECT count(*) FROM isolation").fetchone() == (0,)


@pytest.mark.parametrize("said", [{"actuator": "fake-node"}, {"may_take_node": True}])
def test_who_says_so_takes_the_node(world: World, said: dict[str, Any]) -> None:
    isolate(world, "n0-1", execute_calls=True, **said)
    assert world.scheduler.calls == ["isolate n0-1"]


def test_where_the_card_alone_can_be_taken_it_is(world: World) -> None:
    done = world.isolation.isolate("n1-1", reason="hot", actor="ada", execute_calls=True)
    assert (done.actuator, done.also.cards, done.notes) == ("fake-card", (), ())


def test_a_proposal_names_the_actuator_that_was_not_the_first(world: World) -> None:
    with world.connect() as connection:
        found = world.isolation.propose(connection, "n0-1", reason="xid 79")
        plain = world.isolation.propose(connection, "n1-1", reason="xid 79")
    assert "--actuator fake-node --execute" in found["command"]
    assert found["calls"] == ["isolate n0-1"]
    assert "--actuator" not in plain["command"]
