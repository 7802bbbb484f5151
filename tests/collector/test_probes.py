"""Probes asked of nodes: only for isolated cards, on the answers of that node alone, settled by its own events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from tests.collector.front_world import Front, batch

from ullage_collector.isolate.probes import RUN_SECONDS, Probes, ProbeState
from ullage_collector.sql import migrations
from ullage_contract.asked import MAX_ASKED
from ullage_contract.clock import ManualClock
from ullage_contract.errors import BadInput

NOW = 1_800_000_000.0


@pytest.fixture
def store() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        for _, _, text in migrations():
            connection.execute(text)
        for key, node in ((1, "gpu-a01"), (2, "gpu-a02")):
            connection.execute(
                "INSERT INTO node (node_key, cluster_id, node_id, origin) VALUES (?, 'c1', ?, 'real')",
                [key, node],
            )
            for i in range(12):
                connection.execute(
                    "INSERT INTO card (card_key, card_id, node_key, vendor, origin) VALUES (?, ?, ?, 'nvidia', 'real')",
                    [100 * key + i, f"GPU-{key}-{i}", key],
                )
        for i in range(12):
            isolate(connection, f"GPU-1-{i}")
        yield connection


def isolate(connection: duckdb.DuckDBPyConnection, subject: str, family: str = "card") -> None:
    connection.execute(
        "INSERT INTO isolation (isolation_id, family, subject, reason, actuator, requested_by, isolated_at, placed, undo) "
        "VALUES (nextval('isolation_number'), ?, ?, 'r', 'a', 'rule x', now(), '[]', '[]')",
        [family, subject],
    )


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(wall=NOW)


@pytest.fixture
def probes(store: duckdb.DuckDBPyConnection, clock: ManualClock) -> Probes:
    return Probes(store.cursor, clock)


def answer(
    store: duckdb.DuckDBPyConnection, probe_id: str, *, node_key: int = 1, card: str = "GPU-1-0", **more: Any
) -> None:
    attributes = {
        "id": probe_id,
        "probe": "memory",
        "incident": 7,
        "outcome": "passed",
        "tested_bytes": 1024,
        **more,
    }
    store.execute(
        "INSERT INTO event (event_id, time, received_at, node_key, family, subject, kind, severity, source, message, "
        "attributes, origin) VALUES (nextval('event_number'), to_timestamp(?)::TIMESTAMP, to_timestamp(?)::TIMESTAMP, "
        "?, 'card', ?, 'probe_result', 'info', 'agent', 'nothing wrong found', ?, 'real')",
        [NOW + 60, NOW + 61, node_key, card, json.dumps(attributes)],
    )


def test_an_asked_probe_waits_for_its_node_alone(probes: Probes) -> None:
    probe_id = probes.ask(7, "GPU-1-0", "memory", asked_by="rule x")
    (asked,) = probes.asked_of("c1", "gpu-a01")
    assert (asked.probe_id, asked.card, asked.incident, asked.probe) == (probe_id, "GPU-1-0", 7, "memory")
    assert asked.expires == NOW + 900
    assert probes.asked_of("c1", "gpu-a02") == ()
    assert probes.asked_of("c2", "gpu-a01") == ()
    assert probes.result(probe_id).state is ProbeState.WAITING


def test_a_card_that_is_not_isolated_is_not_probed(probes: Probes, store: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(BadInput, match="not isolated"):
        probes.ask(7, "GPU-2-0", "memory", asked_by="rule x")
    with pytest.raises(BadInput, match="no card"):
        probes.ask(7, "GPU-9", "memory", asked_by="rule x")
    isolate(store, "gpu-a02", "node")
    assert probes.ask(7, "GPU-2-0", "memory", asked_by="rule x")


def test_a_free_command_cannot_be_asked(probes: Probes) -> None:
    with pytest.raises(BadInput, match="no name"):
        probes.ask(7, "GPU-1-0", "dcgmi diag -r 1", asked_by="mallory")


def test_asking_again_while_it_waits_is_the_same_probe(probes: Probes) -> None:
    first = probes.ask(7, "GPU-1-0", "memory", asked_by="rule x")
    assert probes.ask(7, "GPU-1-0", "memory", asked_by="rule x") == first
    assert probes.ask(8, "GPU-1-0", "memory", asked_by="rule x") != first


def test_a_node_is_not_flooded(probes: Probes) -> None:
    for i in range(MAX_ASKED):
        probes.ask(7, f"GPU-1-{i}", "memory", asked_by="rule x")
    with pytest.raises(BadInput, match="wait on node gpu-a01"):
        probes.ask(7, f"GPU-1-{MAX_ASKED}", "memory", asked_by="rule x")
    assert len(probes.asked_of("c1", "gpu-a01")) == MAX_ASKED


def test_the_nodes_own_event_settles_it_once(probes: Probes, store: duckdb.DuckDBPyConnection) -> None:
    probe_id = probes.ask(7, "GPU-1-0", "memory", asked_by="rule x")
    answer(store, probe_id)
    answer(store, probe_id, outcome="failed")
    assert probes.step() == 1
    result = probes.result(probe_id)
    assert (result.state, result.reason) == (ProbeState.PASSED, "nothing wrong found")
    assert result.figures == {"tested_bytes": 1024}
    assert result.answered_at == NOW + 60
    assert probes.asked_of("c1", "gpu-a01") == ()
    assert probes.step() == 0
    actions = store.execute("SELECT action, result FROM audit ORDER BY audit_id").fetchall()
    assert actions == [("ask_probe", "waiting"), ("probe_result", "passed")]


def test_no_other_node_and_no_other_card_can_answer(probes: Probes, store: duckdb.DuckDBPyConnection) -> None:
    probe_id = probes.ask(7, "GPU-1-0", "memory", asked_by="rule x")
    answer(store, probe_id, node_key=2)
    answer(store, probe_id, card="GPU-1-1")
    answer(store, probe_id, outcome="splendid")
    answer(store, "f" * 32)
    assert probes.step() == 0
    assert probes.result(probe_id).state is ProbeState.WAITING
    answer(store, probe_id, outcome="refused")
    assert probes.step() == 1
    assert probes.result(probe_id).state is ProbeState.REFUSED


def test_what_expired_is_not_asked_any_more_and_given_up_in_the_end(
    probes: Probes, clock: ManualClock
) -> None:
    probe_id = probes.ask(7, "GPU-1-0", "memory", asked_by="rule x")
    clock.advance(901)
    assert probes.asked_of("c1", "gpu-a01") == ()
    probes.step()
    assert probes.result(probe_id).state is ProbeState.WAITING  # it may have begun in time
    clock.advance(RUN_SECONDS)
    probes.step()
    assert probes.result(probe_id).state is ProbeState.EXPIRED
    assert probes.ask(7, "GPU-1-0", "memory", asked_by="rule x") != probe_id


def test_a_restart_asks_on_and_takes_what_came_meanwhile(
    probes: Probes, store: duckdb.DuckDBPyConnection, clock: ManualClock
) -> None:
    probe_id = probes.ask(7, "GPU-1-0", "memory", asked_by="rule x")
    other = probes.ask(7, "GPU-1-1", "memory", asked_by="rule x")
    answer(store, probe_id)
    again = Probes(store.cursor, clock)
    assert {one.probe_id for one in again.asked_of("c1", "gpu-a01")} == {probe_id, other}
    assert again.step() == 1
    assert again.result(probe_id).state is ProbeState.PASSED
    assert [one.probe_id for one in again.asked_of("c1", "gpu-a01")] == [other]


def test_a_result_nobody_asked_for_is_an_error(probes: Probes) -> None:
    with pytest.raises(BadInput, match="was asked"):
        probes.result("0" * 32)


def test_it_rides_on_the_answer_to_the_nodes_own_push_and_on_no_other(probes: Probes, tmp_path: Path) -> None:
    probe_id = probes.ask(7, "GPU-1-0", "memory", asked_by="rule x")
    with Front(tmp_path, asked_of=probes.asked_of) as front:
        assert [one["id"] for one in front.push(batch(1)).json["asked"]] == [probe_id]
        assert "asked" not in front.push(batch(1, node="gpu-a02", stream="b" * 32)).json
        assert (
            front.push(batch(1)).json["asked"][0]["id"] == probe_id
        )  # a duplicate's answer may be the one that arrives
