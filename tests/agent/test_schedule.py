"""Ticks lie on a grid with the node's own phase, never in bursts, whatever the tick or the clock does."""

from __future__ import annotations

from itertools import pairwise

from ullage_agent.schedule import Schedule
from ullage_contract.catalogue import Tier
from ullage_contract.clock import ManualClock


def test_the_first_tick_is_at_once_and_reads_everything() -> None:
    schedule = Schedule(ManualClock(), "n1", 10, 60)
    assert schedule.wait_seconds() == 0
    assert schedule.take() is Tier.SLOW
    assert 0 < schedule.wait_seconds() <= 10


def test_an_hour_has_its_ticks_and_every_sixth_is_slow() -> None:
    clock = ManualClock()
    schedule = Schedule(clock, "n1", 10, 60)
    schedule.take()
    tiers = []
    end = clock.monotonic() + 3600
    while clock.monotonic() < end:
        clock.advance(schedule.wait_seconds())
        tiers.append(schedule.take())
    assert len(tiers) in (360, 361)
    slow = [i for i, tier in enumerate(tiers) if tier is Tier.SLOW]
    assert {b - a for a, b in pairwise(slow)} == {6}


def test_a_long_tick_skips_grid_points_and_owes_the_slow_one() -> None:
    clock = ManualClock()
    schedule = Schedule(clock, "n1", 10, 60)
    schedule.take()
    clock.advance(schedule.wait_seconds())
    schedule.take()
    clock.advance(65)
    assert schedule.wait_seconds() == 0
    assert schedule.take() is Tier.SLOW, "one of the skipped was slow"
    assert schedule.wait_seconds() > 0, "no burst"
    assert schedule.missed in (5, 6)


def test_a_step_of_the_wall_clock_moves_nothing() -> None:
    clock = ManualClock()
    schedule = Schedule(clock, "n1", 10, 60)
    schedule.take()
    before = schedule.wait_seconds()
    clock.step_wall(-7200)
    assert schedule.wait_seconds() == before


def test_nodes_have_phases_of_their_own_and_keep_them() -> None:
    waits = []
    for node in (f"gpu-{i:04d}" for i in range(1000)):
        schedule = Schedule(ManualClock(), node, 10, 60)
        schedule.take()
        waits.append(schedule.wait_seconds())
        again = Schedule(ManualClock(), node, 10, 60)
        again.take()
        assert again.wait_seconds() == waits[-1]
    per_second = [sum(1 for wait in waits if second <= wait < second + 1) for second in range(10)]
    assert min(per_second) > 50, "a thousand nodes spread over the ten seconds"
