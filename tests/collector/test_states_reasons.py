"""A state says why: reserved, still cleaned up after, starting up, handed out more than once."""

from __future__ import annotations

import pytest
from tests.collector.fleet_world import NANO
from tests.collector.states_world import hours, make, mapped, reasons


def test_a_reservation_without_a_job_is_idle_time_of_its_account() -> None:
    world = mapped()
    world.card("c1")
    world.card("c2")
    world.hold(None, "slurm/dc1/reservation/maint", 0, 24, rank="reserved")
    world.hold("c1", "slurm/dc1/7", 6, 12)
    make(world)
    found = reasons(world)
    assert found["allocated_idle", "reserved"] == 18 + 24  # what the job leaves of c1, and c2 whole
    assert found["unknown", "no_telemetry"] == 6
    assert sum(found.values()) == 48


def test_a_reservation_takes_only_what_work_leaves_free_of_a_shared_card() -> None:
    world = mapped()
    world.card("c1")
    world.hold("c1", "slurm/dc1/reservation/r", 0, 24, rank="reserved")
    world.hold("c1", "slurm/dc1/7", 0, 24, NANO // 4)
    make(world)
    assert reasons(world) == {("unknown", "no_telemetry"): 6, ("allocated_idle", "reserved"): 18}


def test_an_isolated_card_in_a_reservation_is_isolated() -> None:
    world = mapped()
    world.card("c1")
    world.hold("c1", "slurm/dc1/reservation/r", 0, 24, rank="reserved")
    world.isolate("c1", 0, 12)
    make(world)
    assert reasons(world) == {("isolated", "xid-79"): 12, ("allocated_idle", "reserved"): 12}


def test_a_card_the_scheduler_still_cleans_up_is_the_platforms_with_that_reason() -> None:
    world = mapped()
    world.card("c1")
    world.hold("c1", "slurm/dc1/7", 0, 6)
    world.hold("c1", "slurm/dc1/completing/n1", 6, 8, rank="completing")
    world.hold("c1", "slurm/dc1/reservation/r", 7, 24, rank="reserved")
    make(world)
    assert hours(world) == {
        ("__unallocated__", "unknown"): 6,
        ("platform", "unallocated_idle"): 1,
        ("__unallocated__", "allocated_idle"): 17,
    }
    assert reasons(world)["unallocated_idle", "completing"] == 1


def test_the_time_before_a_workload_first_did_anything_is_shown_as_start_up() -> None:
    world = mapped()
    world.card("c1")
    world.hold("c1", "slurm/dc1/7", 1, 4)
    world.minutes("c1", 0, 1.5, 0.0)
    world.minutes("c1", 1.5, 24, 0.9)
    make(world)
    found = reasons(world)
    assert found["allocated_idle", "start_up"] == 0.5
    assert found["used", None] == 2.5


def test_a_workload_that_never_did_anything_did_not_start_up_it_idled() -> None:
    world = mapped()
    world.card("c1")
    world.hold("c1", "slurm/dc1/7", 1, 4)
    world.minutes("c1", 0, 24, 0.0)
    make(world)
    assert reasons(world)["allocated_idle", "idle"] == 3


def test_a_short_start_up_is_use_and_still_shown() -> None:
    world = mapped()
    world.card("c1")
    world.hold("c1", "slurm/dc1/7", 1, 4)
    world.minutes("c1", 0, 1.05, 0.0)
    world.minutes("c1", 1.05, 24, 0.9)
    make(world)
    assert reasons(world)["used", "start_up"] == pytest.approx(0.05)


def test_four_quarters_are_one_card_and_five_say_that_they_are_too_many() -> None:
    world = mapped()
    world.card("c1")
    world.card("c2")
    for number in range(4):
        world.hold("c1", f"k8s/dc1/nlp/p{number}/u", 0, 24, NANO // 4)
    for number in range(5):
        world.hold("c2", f"k8s/dc1/nlp/q{number}/u", 0, 24, NANO // 4)
    world.minutes("c1", 0, 24, 0.9)
    world.minutes("c2", 0, 24, 0.9)
    make(world)
    assert reasons(world) == pytest.approx({("used", None): 24, ("used", "over_subscribed"): 24})
