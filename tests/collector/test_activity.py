"""Activity of a published day: an estimate in seconds of a whole card, divided by shares, and never 0 for what nobody measured."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.collector.fleet_world import DAY, LATER, NANO, World

from ullage_collector.publish.files import publish_facts_day
from ullage_collector.published import Published
from ullage_collector.states import States


def activity(world: World, root: Path) -> list[tuple[Any, ...]]:
    States(world.db).make(DAY.date(), LATER)
    publish_facts_day(world.db, root, DAY.date(), status="sealed", now=LATER)
    with Published(root).open(DAY, DAY + timedelta(days=1)) as facts:
        return facts.rows(
            "SELECT card_id, workload_id, (hour_us - epoch_us(TIMESTAMP '2026-10-07')) // 3600000000, model, covered_seconds, "
            "tensor_seconds, tensor_active_seconds, sm_seconds, sm_active_seconds FROM activity ORDER BY ALL"
        )


@pytest.fixture
def world() -> World:
    world = World()
    for name in ("tensor_active_ratio", "sm_active_ratio"):
        world.db.execute(f"ALTER TABLE card_minute ADD COLUMN IF NOT EXISTS {name} FLOAT")
    world.card("G1", "H800")
    world.price("H800", 20_000_000)
    return world


def test_a_holder_has_the_activity_of_its_own_minutes_and_share(world: World, tmp_path: Path) -> None:
    world.hold("G1", "slurm/dc1/nlp/1", 0, 0.5)
    world.hold("G1", "slurm/dc1/nlp/2", 0.5, 1, NANO // 4)
    world.hold("G1", "slurm/dc1/nlp/3", 0.5, 1, NANO // 2)
    world.minutes("G1", 0, 1.5, 0.9, tensor_active_ratio=0.25, sm_active_ratio=0.5)
    assert activity(world, tmp_path) == [
        ("G1", "slurm/dc1/nlp/1", 0, "H800", 1800.0, 1800.0, 450.0, 1800.0, 900.0),
        ("G1", "slurm/dc1/nlp/2", 0, "H800", 450.0, 450.0, 112.5, 450.0, 225.0),
        ("G1", "slurm/dc1/nlp/3", 0, "H800", 900.0, 900.0, 225.0, 900.0, 450.0),
    ], "half an hour nobody held is nobody's activity"


def test_what_was_not_measured_is_null_and_what_was_half_measured_is_half_covered(
    world: World, tmp_path: Path
) -> None:
    world.hold("G1", "slurm/dc1/nlp/1", 0, 2)
    world.minutes("G1", 0, 0.5, 0.9, covered=30.0, sm_active_ratio=0.5)
    world.minutes("G1", 0.5, 1, 0.9, sm_active_ratio=None)
    found = activity(world, tmp_path)
    assert found == [("G1", "slurm/dc1/nlp/1", 0, "H800", 2700.0, None, None, 900.0, 450.0)], (
        "an hour without minutes has no row"
    )


def test_the_same_minutes_give_the_same_revision(world: World, tmp_path: Path) -> None:
    world.hold("G1", "slurm/dc1/nlp/1", 0, 20, NANO // 3)
    world.minutes("G1", 0, 20, 0.9, tensor_active_ratio=0.123456789, covered=59.7)
    assert activity(world, tmp_path) == activity(world, tmp_path)
    assert [path.name for path in (tmp_path / "facts").glob("*/rev=*")] == ["rev=1"]


def test_a_store_that_never_heard_of_the_metric_publishes_no_activity_of_it(tmp_path: Path) -> None:
    world = World()
    world.card("N1", "Ascend 910B3", vendor="ascend")
    world.db.execute("ALTER TABLE card_minute DROP COLUMN IF EXISTS tensor_active_ratio")
    world.hold("N1", "slurm/dc1/nlp/1", 0, 1)
    world.minutes("N1", 0, 1, 0.9)
    assert activity(world, tmp_path) == [
        ("N1", "slurm/dc1/nlp/1", 0, "Ascend 910B3", 3600.0, None, None, None, None)
    ]
