"""How soon a fault is acted on, and how well: from a batch of events in the collector's journal to the isolation call.

    python benchmarks/faults.py [--singles 40] [--burst 150] [--backlog 1250] [--strict]

In one process, real: the journal with its fsync, the fault engine with the shipped rules, the policy in automatic mode,
the lifecycle, the store on disk, all with the threads and waits that ``ullage-collector serve`` gives them. Stood in
for: the scheduler (an actuator that notes when it is called and answers at once). First, and by itself: from a line in the
kernel's log to an event in front of an agent's sinks. Not here: HTTP and ingest of samples beside it
(benchmarks/comeback.py), and what a real scheduler takes for its own part.

Single faults come one at a time; the burst has every node at once, the breaker off and the limits raised. Between the
single faults healthy nodes report what must isolate nobody. The peer is the best a system can do that looks every 60 s
(as peers do that poll): it is shown the same single arrivals, at every phase of its minute, and decides in no
time at all; computed, not run. The last line is JSON; with --strict the exit code is 1 when a promise is missed.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import queue
import random
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from ullage_agent.assembly import Agent
from ullage_agent.config import Config as AgentConfig
from ullage_agent.config import Sources
from ullage_agent.source import SourceReport
from ullage_collector.detect.fault_settings import FaultSettings
from ullage_collector.detect.faults import shipped_rules
from ullage_collector.fault_engine import FaultEngine
from ullage_collector.isolate.actuator import Plan, Run, Standing, Target
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
from ullage_collector.journal import Journal, JournalReader, Record
from ullage_collector.store.store import Store, naive_utc
from ullage_contract import wire
from ullage_contract.catalogue import Tier
from ullage_contract.clock import SystemClock
from ullage_contract.event import Event, Severity
from ullage_contract.sample import Facts, Family, Origin, Sample

CARDS: Final = 8
POLL_SECONDS: Final = 60.0
WAIT_SECONDS: Final = 60.0
NEWS: Final = 20
AWAY_SECONDS: Final = 6 * 3600.0
SINGLE_LIMIT: Final = 2.0
LOG_LIMIT: Final = 1.0
BURST_LIMIT: Final = 10.0
NODES_LIMIT: Final = 20.0

HARD: Final = (
    ("xid", "79", True),
    ("xid", "95", False),
    ("xid", "119", False),
    ("xid", "48", False),
    ("card_lost", None, False),
    ("sxid", "20034", True),
)
"""Kind, code and whether the whole node has to be taken out for it, of what ships at advise."""
HARMLESS: Final = (
    ("xid", "13"),
    ("xid", "43"),
    ("xid", "45"),
    ("xid", "31"),
    ("xid", "63"),
    ("xid", "92"),
    ("xid", "94"),
)
"""What programs do and what the card has dealt with itself: nobody is to be isolated for one of these."""


@dataclass
class Calls:
    """When each node was first called about, by the monotonic clock, and every subject that was."""

    at: dict[str, float] = field(default_factory=dict)
    subjects: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, target: Target) -> None:
        now = time.monotonic()
        with self.lock:
            self.at.setdefault(target.node_id, now)
            self.subjects.append(target.subject)


@dataclass(frozen=True)
class Noted:
    """The call of a plan: it is noted, and nothing else happens."""

    calls: Calls
    target: Target

    def to_json(self) -> dict[str, Any]:
        return {"command": ["isolate", self.target.subject]}

    def __str__(self) -> str:
        return f"isolate {self.target.subject}"

    def run(self, run: Run) -> list[str]:
        self.calls.note(self.target)
        return ["noted"]


@dataclass
class Noting:
    """An actuator in this process: one of cards or one of nodes."""

    calls: Calls
    name: str
    whole_node: bool
    standing_of: dict[str, str] = field(default_factory=dict)

    def plan_isolate(self, target: Target) -> Plan:
        return Plan(self.name, (Noted(self.calls, target),), (), self.whole_node)

    def plan_release(self, target: Target) -> Plan:
        return Plan(self.name, (), (), self.whole_node)

    def standing(self, target: Target) -> Standing:
        with self.calls.lock:
            return Standing.OURS if target.subject in self.calls.subjects else Standing.GONE

    def taken_by_others(self, cluster_id: str) -> Mapping[str, str]:
        return {}


class Site:
    """A collector's deciding parts over a fleet of ``nodes``, running in their threads until ``close``."""

    def __init__(self, folder: Path, nodes: int) -> None:
        self.clock = SystemClock()
        self.calls = Calls()
        self.store = Store.open(folder / "store.duckdb", clock=self.clock)
        self.journal = Journal(folder / "events")
        with self.store.write() as db:
            db.execute(
                "INSERT INTO node (node_key, cluster_id, node_id, origin) "
                "SELECT i, 'c', 'n' || i, 'simulated' FROM range(?) t(i)",
                [nodes],
            )
            db.execute(
                "INSERT INTO card (card_key, card_id, node_key, vendor, card_index, minor, last_seen, origin) "
                "SELECT 10 + i * ? + j, 'n' || i || '-' || j, i, 'nvidia', j, j, ?, 'simulated' "
                "FROM range(?) t(i), range(?) u(j)",
                [CARDS, naive_utc(self.clock.wall()), nodes, CARDS],
            )
        settings = replace(
            PolicySettings(mode=Mode.AUTOMATIC),
            breaker=False,
            isolated_ratio=1.0,
            nodes_per_domain=100_000,
            nodes_per_window=100_000,
            cards_per_window=100_000,
        )
        rules = tuple(
            replace(rule, mode=Mode.AUTOMATIC) if rule.mode is Mode.ADVISE else rule
            for rule in shipped_rules()
        )
        actuators: dict[str, Any] = {
            "noting-card": Noting(self.calls, "noting-card", False),
            "noting-node": Noting(self.calls, "noting-node", True),
        }
        choice, places = Choice(actuators, tuple(actuators)), Places()
        connect = self.store.cursor
        freeze = Freeze(connect, self.clock)
        surroundings = Surroundings(connect, self.clock, choice)
        policy = Policy(Book(connect, self.clock), freeze, surroundings, choice, settings)
        lifecycle = Lifecycle(policy, choice, surroundings, places)
        isolation = Isolation(
            connect, actuators, self.clock, default_actuator=tuple(actuators), freeze=freeze, places=places
        )
        engine = self.engine = FaultEngine(
            connect,
            JournalReader(folder / "events"),
            (),
            isolation,
            self.clock,
            decider=policy,
            settings=FaultSettings(rules, fleet_nodes=0),
        )
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=part.run, args=(self._stop,)) for part in (engine, lifecycle)
        ]
        for thread in self._threads:
            thread.start()
        self._sequence = 0

    def push(self, faults: Sequence[tuple[str, Event]]) -> float:
        """Batches of events, one a node, into the journal at once; the instant before, by the monotonic clock."""
        records = []
        for node, event in faults:
            self._sequence += 1
            stream = f"{self._sequence:032d}"
            body = wire.encode(
                wire.Batch(
                    stream, 1, "events", "benchmark", "c", node, None, None, Origin.REAL, events=[event]
                )
            )
            at = round(self.clock.wall() * 1e6)
            records.append(Record(stream, 1, "events", "c", node, node, at, 0.0, body))
        arrived = time.monotonic()
        self.journal.append(records)
        return arrived

    def pending(self) -> bool:
        """Whether the engine has something of the journal before it."""
        return self.engine.position != self.journal.end

    def come_back(self, nodes: Sequence[str], batches: int, chance: random.Random) -> int:
        """Every node tells what it kept for six hours, ``batches`` of ten events each, as fast as the journal takes
        them; how many events. Part of the events were fatal then."""
        kinds = (*HARMLESS, *((kind, code) for kind, code, _ in HARD))
        now = time.time()
        for start in range(0, len(nodes), 64):
            records = []
            for node in nodes[start : start + 64]:
                for number in range(batches):
                    events = []
                    for _ in range(10):
                        kind, code = chance.choice(kinds)
                        old = fault(node, chance.randrange(CARDS), kind, code)
                        events.append(replace(old, time=now - chance.uniform(600, AWAY_SECONDS)))
                    body = wire.encode(
                        wire.Batch(
                            f"b{node:0>31}",
                            number + 1,
                            "events",
                            "benchmark",
                            "c",
                            node,
                            None,
                            None,
                            Origin.REAL,
                            events=events,
                        )
                    )
                    at = round(self.clock.wall() * 1e6)
                    records.append(
                        Record(f"b{node:0>31}", number + 1, "events", "c", node, node, at, 0.0, body)
                    )
            self.journal.append(records)
        return len(nodes) * batches * 10

    def acted_on(self, nodes: Sequence[str]) -> list[str]:
        """Wait until every node was called about, or WAIT_SECONDS; those that were not."""
        until = time.monotonic() + WAIT_SECONDS
        left = list(nodes)
        while left and time.monotonic() < until:
            time.sleep(0.005)
            with self.calls.lock:
                left = [node for node in nodes if node not in self.calls.at]
        return left

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
        self.journal.close()
        self.store.close()


def fault(node: str, card: int, kind: str, code: str | None, severity: Severity = Severity.FATAL) -> Event:
    """One event that has just happened."""
    message = f"{kind} {code or ''}".strip()
    return Event(
        time.time(), kind, severity, Family.CARD, f"{node}-{card}", "kernel_log", message, code, "nvidia"
    )


class Heard:
    """A sink of an agent: when each event of the kernel's log came."""

    def __init__(self) -> None:
        self.came: queue.SimpleQueue[float] = queue.SimpleQueue()

    def facts(self, facts: Sequence[Facts], *, origin: Origin = Origin.REAL) -> None:
        """Not measured here; nor are samples and sources."""

    def samples(self, samples: Sequence[Sample], *, origin: Origin = Origin.REAL) -> None:
        """See facts."""

    def sources(self, reports: Sequence[SourceReport]) -> None:
        """See facts."""

    def events(self, events: Sequence[Event], *, origin: Origin = Origin.REAL) -> None:
        for event in events:
            if event.kind == "xid":
                self.came.put(time.monotonic())

    def close(self) -> None:
        """Nothing is held."""


def measure_kernel_log(lines: int, folder: Path, seed: int) -> dict[str, float]:
    """From a line in the kernel's log (a pipe stands for /dev/kmsg) to the event in front of an agent's sinks."""
    chance = random.Random(seed)
    (folder / "dev").mkdir(parents=True)
    os.mkfifo(folder / "dev/kmsg")
    heard = Heard()
    log = os.open(folder / "dev/kmsg", os.O_RDWR)  # both ends, so that opening waits for nobody
    sources = Sources(rdma=False, host=False)
    agent = Agent(AgentConfig(node="n1", sources=sources), SystemClock(), root=folder, sinks=[heard])
    waits = []
    try:
        agent.tick(Tier.FAST)
        for number in range(lines):
            time.sleep(chance.uniform(0.0, 0.1))
            text = f"NVRM: Xid (PCI:0000:{number % 256:02x}:{number // 256:02x}): 79, GPU has fallen off the bus."
            uptime_us = round(time.monotonic() * 1e6)
            written = time.monotonic()
            os.write(log, f"4,{number + 1},{uptime_us},-;{text}\n".encode())
            waits.append(heard.came.get(timeout=WAIT_SECONDS) - written)
    finally:
        agent.close()
        os.close(log)
    return {
        "kernel_log_lines": lines,
        "kernel_log_to_event_p50_seconds": percentile(waits, 0.5),
        "kernel_log_to_event_p99_seconds": percentile(waits, 0.99),
    }


def percentile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` of all are not above; infinite when there is none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("inf")


def measure_backlog(nodes: int, folder: Path, seed: int) -> dict[str, float]:
    """A fleet that comes back after six hours: how long new faults wait that come in the middle of its backlog.

    A hard night: nearly every event of the backlog is a new incident's. A wait of WAIT_SECONDS means that or longer.
    """
    chance = random.Random(seed)
    site = Site(folder, nodes + NEWS)
    names = [f"n{i}" for i in range(nodes)]
    waits = []
    try:
        began = time.monotonic()
        sender = threading.Thread(target=site.come_back, args=(names, 2, chance))
        sender.start()
        right = set()
        for number in range(NEWS):
            time.sleep(0.3 if number < NEWS // 2 else 5.0)  # while the backlog arrives, and while it drains
            node = f"n{nodes + number}"
            right.add(f"{node}-1")
            arrived = site.push([(node, fault(node, 1, "xid", "95"))])
            late = site.acted_on([node])
            waits.append(float(WAIT_SECONDS) if late else site.calls.at[node] - arrived)
        sender.join()
        while site.pending() and time.monotonic() - began < 20 * WAIT_SECONDS:
            time.sleep(0.1)
        drained = time.monotonic() - began
        called = set(site.calls.subjects)
    finally:
        site.close()
    return {
        "backlog_nodes": nodes,
        "backlog_events": nodes * 20,
        "backlog_drained_seconds": drained,
        "backlog_new_fault_p50_seconds": percentile(waits, 0.5),
        "backlog_new_fault_longest_seconds": max(waits, default=float("inf")),
        "backlog_wrong_isolations": len(called - right),
    }


def measure(singles: int, burst: int, folder: Path, seed: int) -> dict[str, float]:
    """All figures. Nodes 0.. have the single faults, the next the burst, the last the harmless events."""
    chance = random.Random(seed)
    healthy = 50
    site = Site(folder, singles + burst + healthy)
    missed: list[str] = []
    right: set[str] = set()
    waits: list[float] = []
    try:
        for number in range(singles):
            quiet = f"n{singles + burst + chance.randrange(healthy)}"
            kind, code = chance.choice(HARMLESS)
            card = chance.randrange(CARDS)
            site.push([(quiet, fault(quiet, card, kind, code, Severity.WARNING))])
            time.sleep(chance.uniform(0.0, 0.2))
            node = f"n{number}"
            kind, hard, whole = HARD[number % len(HARD)]
            card = chance.randrange(CARDS)
            right.add(node if whole else f"{node}-{card}")
            arrived = site.push([(node, fault(node, card, kind, hard))])
            left = site.acted_on([node])
            missed += left
            if not left:
                waits.append(site.calls.at[node] - arrived)
        nodes = [f"n{singles + i}" for i in range(burst)]
        right |= set(nodes)
        busy = time.process_time()
        arrived = site.push([(node, fault(node, chance.randrange(CARDS), "xid", "79")) for node in nodes])
        late = site.acted_on(nodes)
        busy = time.process_time() - busy
        missed += late
        at_once = [site.calls.at[node] - arrived for node in nodes if node not in late]
        time.sleep(1.0)  # what is wrongly wanted would come now
        called = set(site.calls.subjects)
    finally:
        site.close()
    missed += [
        s for s in right - called if s.partition("-")[0] not in missed
    ]  # another subject than the faulty one was called about
    # The same arrivals at every phase of a minute: it waits for its next look, then decides at once.
    polled = [POLL_SECONDS * (phase + 1) / 1000 for phase in range(1000)]
    longest = max(at_once, default=float("inf"))
    return {
        "singles": singles,
        "burst": burst,
        "single_p50_seconds": percentile(waits, 0.5),
        "single_p99_seconds": percentile(waits, 0.99),
        f"burst_{burst}_p50_seconds": percentile(at_once, 0.5),
        f"burst_{burst}_p90_seconds": percentile(at_once, 0.9),
        "nodes_a_second": len(at_once) / longest,
        "nodes_a_processor_second": len(at_once) / busy,
        "hard_fault_recall": 1 - len(set(missed)) / (singles + burst),
        "wrong_isolations": len(called - right),
        "polled_60_s_p50_seconds": percentile(polled, 0.5),
        "polled_60_s_p99_seconds": percentile(polled, 0.99),
        "ratio": percentile(polled, 0.5) / percentile(waits, 0.5),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--singles", type=int, default=40, help="faults that come one at a time")
    parser.add_argument("--burst", type=int, default=150, help="nodes that fail at once")
    parser.add_argument(
        "--backlog", type=int, default=0, help="nodes that come back after six hours, e.g. 1250"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--strict", action="store_true")
    args = parser.parse_args()
    logging.getLogger("ullage_collector").setLevel(logging.ERROR)  # every incident and page is told
    with tempfile.TemporaryDirectory() as directory:
        figures = measure_kernel_log(args.singles, Path(directory) / "agent", args.seed)
        figures |= measure(args.singles, args.burst, Path(directory) / "faults", args.seed)
        if args.backlog:
            figures |= measure_backlog(args.backlog, Path(directory) / "backlog", args.seed)
    for name, value in figures.items():
        print(f"{name:28}{value:12,.3f}")
    kept = (
        figures["single_p99_seconds"] <= SINGLE_LIMIT
        and figures["kernel_log_to_event_p99_seconds"] <= LOG_LIMIT
        and figures[f"burst_{args.burst}_p90_seconds"] <= BURST_LIMIT
        and figures["nodes_a_second"] >= NODES_LIMIT
        and figures["hard_fault_recall"] >= 0.99
        and figures["wrong_isolations"] == 0
    )
    print(json.dumps({"benchmark": "faults", "figures": {name: round(v, 4) for name, v in figures.items()}}))
    return 1 if args.strict and not kept else 0


if __name__ == "__main__":
    raise SystemExit(main())
