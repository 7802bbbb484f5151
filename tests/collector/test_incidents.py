"""The fault engine over a real journal and a real store: once each, never from history, still so after a crash."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.collector.fault_world import released

from ullage_collector.detect.faults import shipped_rules
from ullage_collector.fault_engine import FaultEngine
from ullage_collector.fault_intake import FRESH_SECONDS
from ullage_collector.isolate import slurm_node
from ullage_collector.isolate.isolation import Isolation
from ullage_collector.journal import Journal, JournalReader, Record
from ullage_collector.sql import statements
from ullage_collector.store.store import Store
from ullage_contract import wire
from ullage_contract.clock import ManualClock
from ullage_contract.event import Event, Severity
from ullage_contract.sample import Family, Origin

NOW = 1_795_000_000.0
STREAM = "e" * 32


class World:
    """An engine over an empty store and an empty journal of events."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = ManualClock(wall=NOW)
        self.store = Store.open(folder / "store.duckdb", clock=self.clock)
        self.journal = Journal(folder / "events")
        self.isolation = Isolation(
            self.store.cursor, {"slurm-node": slurm_node.actuator({"scontrol": "true"})}, self.clock
        )
        self.sequence = 0
        self.engine = self.made()

    def made(self) -> FaultEngine:
        """A fresh engine, as after a restart."""
        return FaultEngine(
            self.store.cursor,
            JournalReader(self.folder / "events"),
            shipped_rules(),
            self.isolation,
            self.clock,
        )

    def know(self, *cards: str) -> None:
        with self.store.write() as db:
            db.execute(
                "INSERT INTO node (node_key, cluster_id, node_id, origin) VALUES (1, 'c', 'g1', 'real') "
                "ON CONFLICT DO NOTHING"
            )
            for i, card in enumerate(cards):
                db.execute(
                    "INSERT INTO card (card_key, card_id, node_key, vendor, origin) VALUES (?, ?, 1, 'nvidia', 'real')",
                    [10 + i, card],
                )

    def push(
        self,
        *events: Event,
        received: float = NOW,
        skew: float | None = 0.0,
        origin: Origin = Origin.REAL,
        sequence: int | None = None,
    ) -> None:
        """One batch of events in the journal."""
        self.sequence = self.sequence + 1 if sequence is None else sequence
        body = wire.encode(
            wire.Batch(STREAM, self.sequence, "events", "0.1.0", "c", "g1", None, None, origin, events=events)
        )
        self.journal.append(
            [Record(STREAM, self.sequence, "events", "c", "g1", "g1", int(received * 1e6), skew, body)]
        )

    def close(self, subject: str, by: str) -> None:
        """As a release does it, in another thread than the engine's."""
        with self.store.write() as db:
            db.execute(
                statements("incidents")["close_incidents_of"],
                released(self.clock.wall(), by, subject),
            )
        self.engine.forget_closed()

    def incidents(self) -> list[dict[str, Any]]:
        with self.store.cursor() as db:
            found = db.execute("SELECT * FROM incident ORDER BY incident_id")
            names = [column[0] for column in found.description or ()]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def event(kind: str, card: str = "GPU-1", *, at: float = NOW, code: str | None = None) -> Event:
    return Event(
        time=at,
        kind=kind,
        severity=Severity.FATAL,
        family=Family.CARD,
        subject=card,
        source="kernel_log",
        message=f"{kind} {code or ''}",
        code=code,
        vendor="nvidia",
    )


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.journal.close()
    made.store.close()


def test_a_fault_is_one_incident_however_often_it_is_told(world: World) -> None:
    world.know("GPU-1")
    world.push(event("xid", code="79"), event("xid", code="79"))
    world.push(event("xid", code="79"))
    assert world.engine.step() == 2
    (incident,) = world.incidents()
    assert (incident["cause"], incident["action"], incident["history"]) == (
        "xid_fallen_off_the_bus",
        "isolate_node",
        False,
    )
    assert incident["evidence"].count('"kind": "xid"') == 3
    assert "state=drain" in incident["proposal"]


def test_an_event_that_ends_a_fault_closes_it_and_the_next_fault_is_new(world: World) -> None:
    world.know("GPU-1")
    world.push(event("card_lost"))
    world.push(event("card_back"))
    world.push(event("card_lost"))
    world.engine.step()
    assert [row["closed_by"] for row in world.incidents()] == ["event card_back", None]


def test_backlog_is_history_it_may_open_a_record_and_never_proposes(world: World) -> None:
    world.know("GPU-1")
    world.push(event("card_lost", at=NOW - FRESH_SECONDS - 1))
    world.push(event("card_lost", "GPU-2", at=NOW - 5), origin=Origin.IMPORTED)
    world.engine.step()
    world.clock.advance(10)
    world.engine.propose_again()
    assert [(row["history"], row["proposal"]) for row in world.incidents()] == [(True, None), (True, None)]


def test_a_wrong_clock_does_not_make_a_new_event_old(world: World) -> None:
    world.push(event("card_lost", at=NOW - 7200), skew=-7200.0)
    world.engine.step()
    (incident,) = world.incidents()
    assert incident["history"] is False
    assert incident["onset"].timestamp() - incident["opened_at"].timestamp() == 0


def test_a_crash_between_deciding_and_moving_on_opens_nothing_twice(world: World) -> None:
    world.push(event("card_lost"))
    world.engine.step()
    again = world.made()
    assert again.step() == 0
    world.push(event("card_lost"))
    assert again.step() == 1
    assert len(world.incidents()) == 1


def test_the_same_record_twice_in_the_journal_is_judged_once(world: World) -> None:
    world.push(event("card_lost"))
    world.push(event("card_back"))
    world.push(event("card_lost"), sequence=1)
    world.engine.step()
    assert len(world.incidents()) == 1
    assert world.incidents()[0]["closed_by"] == "event card_back"


def test_a_card_the_store_does_not_know_yet_gets_its_proposal_when_it_does(world: World) -> None:
    world.push(event("card_lost"))
    world.engine.step()
    assert "no card or node" in world.incidents()[0]["proposal"]
    world.know("GPU-1")
    world.clock.advance(10)
    world.engine.propose_again()
    assert "state=drain" in world.incidents()[0]["proposal"]


def test_a_poisoned_batch_does_not_stop_the_next(world: World) -> None:
    world.journal.append([Record(STREAM, 1, "events", "c", "g1", "g1", int(NOW * 1e6), 0.0, b"not gzip")])
    world.push(event("card_lost"), sequence=2)
    assert world.engine.step() == 2
    assert len(world.incidents()) == 1


def test_releasing_a_card_lets_the_next_fault_open_a_new_incident(world: World) -> None:
    world.know("GPU-1")
    world.push(event("card_lost"))
    world.engine.step()
    world.close("GPU-1", "released by ada")
    world.push(event("card_lost"))
    world.engine.step()
    assert [row["closed_by"] for row in world.incidents()] == ["released by ada", None]


def test_imported_incidents_and_new_ones_never_share_a_number(tmp_path: Path) -> None:
    history = tmp_path / "incidents.jsonl"
    history.write_text(
        "".join(
            json.dumps(
                {
                    "family": "card",
                    "subject": f"GPU-{i}",
                    "node_id": "g1",
                    "cause": "xid-79",
                    "severity": "fatal",
                    "vendor": "nvidia",
                    "code": "79",
                    "onset": "2026-11-01T00:00:00Z",
                    "closed_at": "2026-11-02T00:00:00Z",
                    "confirmed": True,
                    "action": "isolate_card",
                }
            )
            + "\n"
            for i in range(3)
        )
    )
    data = tmp_path / "collector"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "ullage_collector",
            "import",
            "incidents",
            str(history),
            "--data",
            str(tmp_path),
        ],
        check=True,
        timeout=120,
        capture_output=True,
    )
    world = World(data)
    try:
        world.push(event("card_lost", "GPU-9"))
        world.engine.step()
        assert [row["history"] for row in world.incidents()] == [True, True, True, False]
    finally:
        world.journal.close()
        world.store.close()
