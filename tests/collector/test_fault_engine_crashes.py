"""The fault engine over crashes, restarts and backlog: nothing is counted twice, and news comes first."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from engine_world import ALL_ADVISE, NOW, World, event

from ullage_collector import fault_engine, incident_memory
from ullage_collector.fault_intake import FRESH_SECONDS
from ullage_contract.sample import Family


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path, changes=ALL_ADVISE)
    yield made
    made.close()


def test_a_restart_tells_the_open_incidents_again_and_old_ones_are_not_fresh(world: World) -> None:
    world.cards("g1", "GPU-1")
    world.push("g1", event("xid", "GPU-1", code="95"))
    world.engine.step()
    world.told.verdicts.clear()
    world.engine = world.made()
    assert world.told.turns() == [("opened", "xid_reset_needed", "GPU-1", "automatic", True)]
    world.clock.advance(FRESH_SECONDS * 2)
    world.told.verdicts.clear()
    world.engine = world.made()
    assert world.told.turns() == [("opened", "xid_reset_needed", "GPU-1", "automatic", False)]


def test_a_decision_that_cannot_be_written_is_made_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.cards("g1", "GPU-1")
    world.push("g1", *(event("xid", "GPU-1", at=NOW - n * 600, code="94") for n in (3, 2, 1)))

    def full(connection: Any, evaluator: Any) -> None:
        raise OSError("no room left")

    with monkeypatch.context() as patched:
        patched.setattr(incident_memory, "keep_states", full)
        with pytest.raises(OSError):
            world.engine.step()
    assert world.incidents() == []
    assert world.told.verdicts == []
    assert world.engine.step() == 1
    assert "xid_contained GPU-1" in world.open()


class Full:
    """A connection to a store whose disk is full: a commit fails, and has ended the transaction by then."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def execute(self, sql: str, *more: Any) -> Any:
        if sql == "COMMIT":
            self._connection.execute("ROLLBACK")
            raise duckdb.TransactionException("Failed to commit: No space left on device")
        return self._connection.execute(sql, *more)

    def __enter__(self) -> Full:
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def test_a_commit_that_a_full_disk_refused_leaves_nothing_in_memory_and_is_made_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.cards("g1", "GPU-1")
    world.push("g1", *(event("xid", "GPU-1", at=NOW - n * 600, code="94") for n in (3, 2, 1)))
    connect = world.engine._connect
    with monkeypatch.context() as patched:
        patched.setattr(world.engine, "_connect", lambda: Full(connect()))
        for _ in range(2):
            with pytest.raises(duckdb.TransactionException, match="No space left"):
                world.engine.step()
    assert world.incidents() == [] and world.told.verdicts == []
    assert world.engine.step() == 1
    assert "xid_contained GPU-1" in world.open()


def test_a_loop_that_fails_takes_its_reader_of_samples_along(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> None:
        raise RuntimeError("BUG: of the test")

    monkeypatch.setattr(world.engine, "tick", fails)
    for _ in range(2):
        with pytest.raises(RuntimeError):
            world.engine.run(threading.Event())
    assert [thread.name for thread in threading.enumerate() if thread.name == "fault-samples"] == []


def test_a_crash_in_the_middle_of_a_count_does_not_begin_it_anew(world: World) -> None:
    world.cards("g1", "GPU-1")
    for n in range(3):
        world.push("g1", event("xid", "GPU-1", at=NOW + n * 600, code="94"))
        world.clock.advance(600)
        world.engine = world.made()
        world.engine.step()
    assert "xid_contained_repeated GPU-1" in world.open()


def test_a_port_that_stays_down_is_told_when_the_node_was_heard_since(world: World) -> None:
    world.cards("g1", "GPU-1")
    world.push("g1", event("port_down", "g1/mlx5_0/1", family=Family.PORT))
    world.engine.step()
    world.clock.advance(300)
    world.engine.tick()
    assert world.open() == []  # nobody has heard the node since: nothing is known
    world.push("g1", samples=(world.sample("g1", Family.NODE, load1=1.0),))
    world.write()
    world.clock.advance(5)
    world.engine.tick()
    assert world.open() == ["port_down g1/mlx5_0/1"]


def test_a_new_fault_is_told_before_the_backlog_of_other_nodes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fault_engine, "SLICE_SECONDS", 0.0)
    for n in range(20):
        world.push(f"g{n}", event("xid", f"GPU-{n}", at=NOW - 3600, code="79"))
    world.push("g99", event("xid", "GPU-99", code="79"))
    assert world.engine.step() == 2  # the new one, and the oldest
    assert [v.node_id for v in world.told.verdicts if v.fresh] == ["g99"]
    assert world.told.verdicts[0].node_id == "g99"
    while world.engine.step():
        pass
    assert len(world.incidents()) == 21
    assert [v.node_id for v in world.told.verdicts if v.fresh] == ["g99"]


def test_a_node_judged_before_others_is_not_counted_again_after_a_crash(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fault_engine, "SLICE_SECONDS", 0.0)
    for n in range(5):
        world.push(f"g{n}", event("xid", f"GPU-{n}", at=NOW - 3600, code="94"))
    world.push("g99", *(event("xid", "GPU-99", at=NOW - n * 600, code="94") for n in (1, 0)))
    assert world.engine.step() == 2
    assert world.engine.position < world.journals["events"].end
    world.engine = world.made()
    while world.engine.step():
        pass
    assert world.engine.position == world.journals["events"].end
    (once,) = (row for row in world.incidents() if row["subject"] == "GPU-99")
    assert len(json.loads(once["evidence"])) == 2
    world.clock.advance(600)
    world.push("g99", event("xid", "GPU-99", at=NOW + 600, code="94"))
    world.engine.step()
    assert "xid_contained_repeated GPU-99" in world.open()
