"""Verdicts and people speak while a scheduler is being asked: what they said is never written over by who asked."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.collector.isolation_world import FakeActuator, World

from ullage_collector.isolate.actuator import Plan, Target
from ullage_collector.isolate.book import Overtaken
from ullage_collector.isolate.intent import State
from ullage_collector.isolate.verdict import Follow, Mode


class Slow(FakeActuator):
    """meanwhile: what happens while it plans, once."""

    meanwhile: Callable[[], object] | None = None

    def plan_isolate(self, target: Target) -> Plan:
        plan = super().plan_isolate(target)
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return plan


def slow() -> tuple[World, Slow]:
    world = World()
    actuator = world.actuators["fake-card"] = Slow(world.scheduler, "fake-card", False)
    world.restart()
    return world, actuator


def test_a_no_while_the_calls_are_planned_stays_a_no() -> None:
    world, actuator = slow()
    incident = world.consider(mode=Mode.APPROVE).incident_id
    actuator.meanwhile = lambda: world.policy.deny(incident, actor="ada", reason="no")
    world.step()
    world.step(31)
    assert (world.state("n0-0"), world.scheduler.calls) == (State.DENIED, [])
    assert world.book.live() == []


def test_a_no_while_others_are_found_there_stays_a_no() -> None:
    world, actuator = slow()
    incident = world.consider(mode=Mode.APPROVE).incident_id
    world.step()
    world.scheduler.others["n0-0"] = "root: mine"
    world.policy.approve(incident, actor="ada")
    actuator.meanwhile = lambda: world.policy.deny(incident, actor="ada", reason="no")
    world.step()
    assert (world.state("n0-0"), world.scheduler.calls) == (State.DENIED, [])


def test_a_verdict_that_goes_farther_while_the_calls_are_planned_is_carried_out() -> None:
    world, actuator = slow()
    world.consider(mode=Mode.APPROVE)
    actuator.meanwhile = lambda: world.consider(rule="another")
    world.step()
    world.step(31)
    assert (world.state("n0-0"), world.scheduler.calls) == (State.ISOLATED, ["isolate n0-0"])


def test_what_a_breaker_stopped_is_not_wanted_again_by_the_verdict_that_tripped_it() -> None:
    world = World(breaker_nodes=2)
    world.consider("n0-0")
    world.clock.advance(400)  # its scheduler is away, and the breaker has forgotten it
    world.consider("n1-0")
    assert world.state("n0-0") is State.WANTED
    world.consider("n0-0", follow=Follow.REBOOT)
    assert world.state("n0-0") is State.ADVISED
    assert (world.intent("n0-0").held_back or "").startswith("breaker")


def test_an_intent_that_has_ended_is_never_made_live_again() -> None:
    world = World()
    verdict = world.consider(mode=Mode.APPROVE)
    before = world.book.live()[0]
    world.policy.deny(verdict.incident_id, actor="ada", reason="no")
    with pytest.raises(Overtaken), world.book.change() as change:
        change.move(before, State.WANTED, "late")
    assert world.book.live() == []
