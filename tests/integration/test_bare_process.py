"""The node's own view from end to end: a real process on a card, a job file and a kubelet, through agent and store.

The card is a driver's files in a tree; the process, its start and its cgroup are this machine's. Only the link that
says it has the card's node open is made, as nobody may make nodes in /dev for a test.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.agent.kubelet_server import KubeletServer, messages
from tests.agent.maker_tree import Tree
from tests.collector.fleet_fixture import Fleet

from ullage_agent.assembly import Agent
from ullage_agent.config import Config, Holders, Sources
from ullage_agent.source import SourceReport
from ullage_collector.config import Config as CollectorConfig
from ullage_collector.detect.unallocated_use import KIND
from ullage_collector.detect.unallocated_watch import UnallocatedWatch
from ullage_contract.catalogue import Tier
from ullage_contract.clock import ManualClock
from ullage_contract.event import Event
from ullage_contract.sample import Facts, Origin, Sample

NPU = "0000:00:0b.0"
CARD = f"n1-{NPU}"
NODE = "/dev/accel/accel0"


class Wire:
    """Hands what the agent says to the collector's journal, lane by lane."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.events_seen: list[Event] = []
        self.reports: dict[str, SourceReport] = {}

    def facts(self, facts: Sequence[Facts], *, origin: Origin = Origin.REAL) -> None:
        self.fleet.push(facts=facts)

    def samples(self, samples: Sequence[Sample], *, origin: Origin = Origin.REAL) -> None:
        self.fleet.push(samples=samples)

    def events(self, events: Sequence[Event], *, origin: Origin = Origin.REAL) -> None:
        self.events_seen += events
        self.fleet.push(events=events, lane="events", stream="e" * 32)

    def sources(self, reports: Sequence[SourceReport]) -> None:
        self.reports = {report.name: report for report in reports}

    def close(self) -> None: ...


@pytest.fixture
def root() -> Iterator[Path]:
    """Short, because a Unix socket's path has 108 characters at most."""
    with tempfile.TemporaryDirectory(prefix="ull-") as folder:
        yield Path(folder)


@pytest.fixture
def worker() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)", "--token=secret"])
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(tmp_path, ManualClock(wall=time.time()))
    yield made
    made.close()


@pytest.fixture
def agent(root: Path, fleet: Fleet) -> Iterator[tuple[Agent, Wire]]:
    tree = Tree(root)
    tree.function(
        NPU, "8086:643e", "120000", "intel_vpu",
        {"npu_busy_time_us": 5, "npu_memory_utilization": 4096, "npu_current_frequency_mhz": 0,
         "npu_max_frequency_mhz": 1950, "accel/accel0/dev": "261:0", "numa_node": -1},
    )  # fmt: skip
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc/stat").symlink_to("/proc/stat")
    (root / "run/ullage/jobs").mkdir(parents=True)
    wire = Wire(fleet)
    config = Config(
        node="n1",
        cluster="c1",
        sources=Sources(rdma=False, host=False, kernel_log=False),
        holders=Holders(owners=(str(os.getuid()),), kubelet_seconds=0.05),
    )
    made = Agent(config, fleet.clock, root=root, sinks=[wire])
    yield made, wire
    made.close()


def open_card(root: Path, pid: int) -> None:
    """The process as /proc shows it, with the card's node among its open files."""
    place = root / "proc" / str(pid)
    (place / "fd").mkdir(parents=True)
    (place / "fd/3").symlink_to(NODE)
    for name in ("comm", "stat", "cgroup"):
        (place / name).symlink_to(f"/proc/{pid}/{name}")


def findings(fleet: Fleet) -> list[dict[str, Any]]:
    rows = fleet.rows("SELECT subject, owner, evidence FROM finding WHERE kind = ? AND until IS NULL", KIND)
    return [{"card": card, "owner": owner, **json.loads(text)} for card, owner, text in rows]


def test_a_real_process_on_a_card_nobody_holds_is_found_end_to_end(
    root: Path, agent: tuple[Agent, Wire], fleet: Fleet, worker: subprocess.Popen[bytes]
) -> None:
    running, _ = agent
    watch = UnallocatedWatch(lambda: fleet.store, CollectorConfig())
    open_card(root, worker.pid)
    began = time.time()
    waited = 0.0
    while not findings(fleet):
        assert waited < 120
        running.tick(Tier.SLOW, patience_seconds=20)
        fleet.writer.drain()
        watch.round()
        fleet.clock.advance(20)
        waited += 20
    (found,) = findings(fleet)
    assert (found["card"], found["pid"], found["node"]) == (CARD, worker.pid, "n1")
    assert found["command"].startswith("python") and "secret" not in json.dumps(found)
    assert found["user"] == found["owner"] and found["user"] is not None
    assert abs(int(found["key"].partition("-")[2]) - began) < 30
    worker.kill()
    worker.wait()
    for name in ("fd/3", "comm", "stat", "cgroup"):
        (root / "proc" / str(worker.pid) / name).unlink()
    for _ in range(4):
        fleet.clock.advance(60)
        running.tick(Tier.SLOW, patience_seconds=20)
        fleet.writer.drain()
    watch.round()
    assert findings(fleet) == []


def test_jobs_and_pods_of_the_node_arrive_as_events_with_its_cards(
    root: Path, agent: tuple[Agent, Wire], fleet: Fleet
) -> None:
    messages()
    running, wire = agent
    place = root / "var/lib/kubelet/pod-resources"
    place.mkdir(parents=True)
    server = KubeletServer(place / "kubelet.sock")
    try:
        server.pod("a", "p", server.container("c", {"npu.intel.com/accel": ["accel0-0"]}))
        job = root / "run/ullage/jobs/7.started"
        job.write_text("ullage_job=1\njob_id=7\nuser=alice\ngpus=0\nstarted_at=1790000000\ncomplete=1\n")
        job.chmod(0o644)
        until = time.monotonic() + 30
        while {event.kind for event in wire.events_seen} != {"job_started", "devices_assigned"}:
            assert time.monotonic() < until
            running.tick(Tier.FAST, patience_seconds=20)
            fleet.clock.advance(1)
            time.sleep(0.02)
    finally:
        server.stop()
    assert {event.kind: event.attributes["cards"] for event in wire.events_seen} == {
        "job_started": "?",  # Slurm's number is an index into gres.conf's records: the collector's to place
        "devices_assigned": CARD,
    }
    until = time.monotonic() + 30
    while wire.reports["kubelet"].success:
        assert time.monotonic() < until
        fleet.clock.advance(1)
        running.tick(Tier.FAST, patience_seconds=20)
        time.sleep(0.02)
    assert wire.reports["jobs"].success
    fleet.writer.drain()
    assert fleet.rows("SELECT kind FROM event ORDER BY kind") == [("devices_assigned",), ("job_started",)]
