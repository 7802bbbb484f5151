"""A fleet on the whole way of a fault: journal, fault engine, policy, lifecycle over a real store, and a stand-in scheduler.

Nothing between the journal and the scheduler's call is stood in for; the clock is turned by hand, agents are batches.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from isolation_world import FakeActuator, Pages, Scheduler

from ullage_collector.detect.fault_observation import SampleSeen
from ullage_collector.detect.fault_reading import Reading
from ullage_collector.detect.fault_rule import FaultRule
from ullage_collector.detect.fault_settings import FaultSettings
from ullage_collector.detect.faults import shipped_rules
from ullage_collector.fault_engine import FaultEngine
from ullage_collector.isolate.book import Book
from ullage_collector.isolate.choice import Choice
from ullage_collector.isolate.freeze import Freeze
from ullage_collector.isolate.isolation import Isolation
from ullage_collector.isolate.lifecycle import Lifecycle
from ullage_collector.isolate.places import Places
from ullage_collector.isolate.policy import Policy
from ullage_collector.isolate.policy_settings import PolicySettings
from ullage_collector.isolate.surroundings import Surroundings
from ullage_collector.isolate.verdict import Mode
from ullage_collector.isolate.way_back import Prober
from ullage_collector.journal import Journal, JournalReader, Record
from ullage_collector.store.store import Store, naive_utc
from ullage_contract import wire
from ullage_contract.clock import ManualClock
from ullage_contract.event import Event, Severity
from ullage_contract.sample import Family, Origin

NOW = 1_795_000_000.0
DAY = 86_400.0

UNLIMITED: dict[str, Any] = {
    "isolated_ratio": 1.0,
    "nodes_per_domain": 100_000,
    "nodes_per_window": 100_000,
    "cards_per_window": 100_000,
}
"""Limits of the policy out of the way, where a test is about something else."""


def automatic(*names: str) -> tuple[FaultRule, ...]:
    """The shipped rules; those named act by themselves, as after a site's override. No name: all that shipped at advise."""
    return tuple(
        replace(rule, mode=Mode.AUTOMATIC)
        if (rule.name in names if names else rule.mode is Mode.ADVISE)
        else rule
        for rule in shipped_rules()
    )


class FaultFleet:
    """nodes n0.. of cards n0-0.. in cluster c. ``look`` lets the collector do everything that is due."""

    def __init__(
        self,
        folder: Path,
        nodes: int = 4,
        cards: int = 8,
        *,
        rules: Sequence[FaultRule] | None = None,
        fleet_nodes: int = 3,
        fleet_within_seconds: float = 300.0,
        **settings: Any,
    ) -> None:
        self.folder = folder
        self.clock = ManualClock(wall=NOW)
        self.store = Store.open(folder / "store.duckdb", clock=self.clock)
        self.journal = Journal(folder / "events")
        self.scheduler = Scheduler()
        self.pages = Pages()
        self.prober: Prober | None = None
        self.faults = FaultSettings(
            tuple(rules or automatic()), fleet_nodes, round(fleet_within_seconds * 1e6)
        )
        self.settings = replace(PolicySettings(mode=Mode.AUTOMATIC), **settings)
        self._sequence: dict[str, int] = {}
        with self.store.write() as db:
            db.execute(
                "INSERT INTO node (node_key, cluster_id, node_id, origin) "
                "SELECT i, 'c', 'n' || i, 'real' FROM range(?) t(i)",
                [nodes],
            )
            db.execute(
                "INSERT INTO card (card_key, card_id, node_key, vendor, card_index, minor, last_seen, origin) "
                "SELECT 10 + i * ? + j, 'n' || i || '-' || j, i, 'nvidia', j, j, ?, 'real' "
                "FROM range(?) t(i), range(?) u(j)",
                [cards, naive_utc(NOW + 30 * DAY), nodes, cards],
            )
        self.restart()

    def restart(self) -> None:
        """A new collector on the same store and journal."""
        connect = self.store.cursor
        actuators: dict[str, Any] = {
            "fake-card": FakeActuator(self.scheduler, "fake-card", False),
            "fake-node": FakeActuator(self.scheduler, "fake-node", True),
        }
        default = ("fake-card", "fake-node")
        choice, places = Choice(actuators, default), Places()
        self.freeze = Freeze(connect, self.clock)
        self.book = Book(connect, self.clock)
        surroundings = Surroundings(connect, self.clock, choice)
        self.policy = Policy(self.book, self.freeze, surroundings, choice, self.settings, self.pages)
        self.lifecycle = Lifecycle(self.policy, choice, surroundings, places, prober=self.prober)
        self.isolation = Isolation(
            connect, actuators, self.clock, default_actuator=default, freeze=self.freeze, places=places
        )
        self.engine = FaultEngine(
            connect,
            JournalReader(self.folder / "events"),
            (),
            self.isolation,
            self.clock,
            decider=self.policy,
            settings=self.faults,
        )

    def close(self) -> None:
        self.journal.close()
        self.store.close()

    def record(
        self,
        node: str,
        *events: Event,
        received: float | None = None,
        sequence: int | None = None,
        boot: str | None = "boot-1",
        skew: float = 0.0,
        origin: Origin = Origin.REAL,
    ) -> Record:
        """One batch of a node's agent, as the receiver would put it into the journal."""
        stream = f"{node:0>32}"
        number = sequence if sequence is not None else self._sequence.get(stream, 0) + 1
        self._sequence[stream] = max(number, self._sequence.get(stream, 0))
        body = wire.encode(
            wire.Batch(stream, number, "events", "0.1.0", "c", node, f"m-{node}", boot, origin, events=events)
        )
        at = self.clock.wall() if received is None else received
        return Record(stream, number, "events", "c", node, node, round(at * 1e6), skew, body)

    def push(self, node: str, *events: Event, **more: Any) -> None:
        """A node's agent pushes events now."""
        self.journal.append([self.record(node, *events, **more)])

    def show(self, *samples: SampleSeen) -> None:
        """Samples come to the engine as its sample reader hands them on: the rows that could matter."""
        self.engine.judge(Reading(samples, {}), threading.Event())

    def heard(self, *nodes: str) -> None:
        """Samples of these nodes have come to the store just now: of what waits for time to pass, this is the sign."""
        with self.store.write() as db:
            db.execute(
                "UPDATE node SET last_seen = ? WHERE node_id IN (SELECT unnest(?))",
                [naive_utc(self.clock.wall()), list(nodes)],
            )

    def look(self, seconds: float = 0.0) -> None:
        """Time passes, then everything due is done."""
        if seconds:
            self.clock.advance(seconds)
        self.engine.tick()
        while self.engine.step():
            pass
        self.lifecycle.step()

    def event(
        self,
        kind: str,
        subject: str,
        *,
        code: str | None = None,
        ago: float = 0.0,
        family: Family = Family.CARD,
        severity: Severity = Severity.FATAL,
        **attributes: Any,
    ) -> Event:
        """An event that happened ``ago`` seconds before now."""
        at = self.clock.wall() - ago
        message = f"{kind} {code or ''}".strip()
        return Event(at, kind, severity, family, subject, "kernel_log", message, code, "nvidia", attributes)

    def xid(self, code: int, card: str = "n0-0", **more: Any) -> Event:
        return self.event("xid", card, code=str(code), **more)

    def incidents(self, *, closed: bool = True) -> list[dict[str, Any]]:
        """All incidents, oldest first."""
        where = "" if closed else "WHERE closed_at IS NULL"
        with self.store.cursor() as db:
            found = db.execute(f"SELECT * FROM incident {where} ORDER BY incident_id")
            names = [column[0] for column in found.description or ()]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    def apart(self) -> set[str]:
        """What the scheduler keeps from new work."""
        return set(self.scheduler.standing_of)
