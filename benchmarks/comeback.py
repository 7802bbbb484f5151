"""A fleet comes back after hours away while cards fail: the whole way from a push over HTTP to the isolation call.

    python benchmarks/comeback.py [--nodes 1250] [--hours 6] [--faults 20] [--strict]

Real: ``ullage-collector serve`` in a process of its own with what ships, the policy in automatic mode, its webhook
actuator, and HTTP pushes over --connections connections. Every node sends what its spool kept: a batch of readings for
each ten minutes (a real agent's spool has more of them; they wait in the journal in the same way), and eight events, half
of them fatal then. Until all of it has been judged new fatal Xids of other nodes are pushed, one after the other. Stood in for: the agents
(batches are made beforehand) and the scheduler (a web server that notes when it is called).

The peer is the same collector with nothing else to do: the same faults before the fleet comes back. The last line is
JSON; with --strict the exit code is 1 when a new fault waited above 2 s or something of the backlog was acted on.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import random
import sys
import tempfile
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from faults import HARD, HARMLESS, fault, percentile
from ingest import Sender, fetch, free_port, running

from ullage_contract import wire
from ullage_contract.event import Event
from ullage_contract.sample import Facts, Family, Origin, Sample

LIMIT_SECONDS: Final = 2.0
WAIT_SECONDS: Final = 60.0
EVERY_SECONDS: Final = 600
MOST: Final = 600
CLUSTER: Final = "c1"
CONFIG: Final = """
[listen]
address = "127.0.0.1:{port}"
[receive]
reserve_bytes = 0
[faults]
fleet_nodes = 0
[isolation]
actuator = "webhook"
[isolation.webhook]
url = "{hook}"
standing = true
[isolation.policy]
mode = "automatic"
breaker = false
isolated_ratio = 1.0
nodes_per_domain = 100000
nodes_per_window = 100000
cards_per_window = 100000
[[isolation.policy.override]]
rule = "?*"
mode = "automatic"
"""


class Scheduler:
    """A web server that keeps what it is told, and when."""

    def __init__(self) -> None:
        self.at: dict[str, float] = {}
        kept = self.at

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                subject = said["target"]["subject"]
                if said["action"] == "isolate":
                    kept.setdefault(subject, time.monotonic())
                answer = json.dumps({"standing": "ours" if subject in kept else "gone"}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def called_about(self, subject: str) -> float | None:
        """Wait until it was called about a subject, or WAIT_SECONDS; when, by the monotonic clock."""
        until = time.monotonic() + WAIT_SECONDS
        while subject not in self.at and time.monotonic() < until:
            time.sleep(0.005)
        return self.at.get(subject)


def batch(node: str, lane: str, sequence: int, **content: Any) -> bytes:
    """A push of one node. Streams are of letters and digits: the node's name and the lane."""
    stream = f"{node}{lane}".ljust(32, "0")
    return wire.encode(
        wire.Batch(
            stream, sequence, lane, "benchmark", CLUSTER, node, None, "boot", Origin.SIMULATED, **content
        )
    )


def healthy(card: int, sequence: int) -> dict[str, float | int]:
    """A card's readings that no rule minds."""
    busy = ((card * 7 + sequence) % 10) / 10
    return {
        "utilization_ratio": busy,
        "memory_used_bytes": round(busy * 80e9),
        "power_watts": 100 + 500 * busy,
        "temperature_celsius": 35 + 30 * busy,
    }


def kept(number: int, hours: float, chance: random.Random) -> list[bytes]:
    """What a node's spool holds after so many hours: events first, as its agent sends them, then readings."""
    node, now = f"gpu{number:05d}", time.time()
    told: list[Event] = []
    for place in range(8):
        kind, code = chance.choice(HARMLESS if place % 2 else [(kind, code) for kind, code, _ in HARD])
        at = now - chance.uniform(600, hours * 3600)
        old = fault(node, chance.randrange(8), kind, code)
        told.append(
            Event(at, kind, old.severity, old.family, old.subject, old.source, old.message, code, "nvidia")
        )
    pushes = [batch(node, "events", 1, events=sorted(told, key=lambda event: event.time))]
    for sequence in range(1, round(hours * 3600 / EVERY_SECONDS) + 1):
        at = now - hours * 3600 + sequence * EVERY_SECONDS
        rows = [
            Sample(Family.CARD, f"{node}-{i}", at, at, 10.0, healthy(number + i, sequence), {}, "boot")
            for i in range(8)
        ]
        pushes.append(batch(node, "samples", sequence, samples=rows))
    return pushes


def come_back(port: int, head: bytes, nodes: int, hours: float, connections: int, pipe: Any) -> None:
    """The fleet, in a process of its own: every node's pushes one after the other, many nodes at once."""
    chance = random.Random(2)
    per_connection: list[list[bytes]] = [[] for _ in range(connections)]
    for number in range(nodes):
        per_connection[number % connections] += [
            head % len(body) + body for body in kept(number, hours, chance)
        ]
    pipe.send("ready")
    pipe.recv()

    async def send() -> None:
        loop = asyncio.get_running_loop()
        waiting = []
        for requests in per_connection:
            done: asyncio.Future[list[float]] = loop.create_future()
            waiting.append(done)
            await loop.create_connection(lambda r=requests, d=done: Sender(r, 0, d), "127.0.0.1", port)  # type: ignore[misc]
        await asyncio.gather(*waiting)

    began = time.monotonic()
    asyncio.run(send())
    pipe.send(time.monotonic() - began)


def drained(port: int, lane: str) -> bool:
    """Whether all of the lane's journal has been consumed."""
    return f'ullage_collector_journal_pending_bytes{{lane="{lane}"}} 0' in fetch(
        f"http://127.0.0.1:{port}/metrics"
    )


class Failing:
    """Nodes that fail one after the other, and how long each waited for its isolation."""

    def __init__(self, port: int, scheduler: Scheduler) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}{wire.PUSH_PATH}"
        self.scheduler = scheduler
        self.count = 0
        self.subjects: set[str] = set()

    def push(self, body: bytes) -> None:
        """One push, as an agent makes it."""
        request = urllib.request.Request(
            self.url, body, {"Content-Type": wire.CONTENT_TYPE, "Content-Encoding": "gzip"}
        )
        with urllib.request.urlopen(request, timeout=WAIT_SECONDS) as response:
            response.read()

    def fail(self) -> float:
        """A node the collector knows has a contained-no-more memory error: seconds from its push to the call."""
        node = f"bad{self.count:05d}"
        self.count += 1
        subject = f"{node}-1"
        self.subjects.add(subject)
        began = time.monotonic()
        self.push(batch(node, "events", 1, events=[fault(node, 1, "xid", "95")]))
        called = self.scheduler.called_about(subject)
        return WAIT_SECONDS if called is None else called - began

    def introduce(self, count: int) -> None:
        """That many nodes tell of their cards, and the collector knows them all."""
        for number in range(count):
            node, now = f"bad{number:05d}", time.time()
            facts = [
                Facts(
                    Family.CARD,
                    f"{node}-{i}",
                    now,
                    {"vendor": "nvidia", "model": "H20", "node_id": node, "index": i},
                )
                for i in range(8)
            ]
            self.push(batch(node, "samples", 1, facts=facts))
        while not drained(self.port, "samples"):
            time.sleep(0.1)
        time.sleep(2.0)


def measure(args: argparse.Namespace, folder: Path) -> dict[str, float]:
    """All figures; see the module."""
    scheduler, port = Scheduler(), free_port()
    config = folder / "collector.toml"
    config.write_text(CONFIG.format(port=port, hook=scheduler.url))
    command = [
        sys.executable,
        "-m",
        "ullage_collector",
        "serve",
        "--data",
        str(folder),
        "--config",
        str(config),
    ]
    head = (
        f"POST {wire.PUSH_PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {wire.CONTENT_TYPE}\r\n"
        "Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
    ).encode()
    ours, theirs = multiprocessing.Pipe()
    fleet = multiprocessing.Process(
        target=come_back, args=(port, head, args.nodes, args.hours, args.connections, theirs)
    )
    fleet.start()
    assert ours.recv() == "ready"
    with running(command, folder / "collector.log", f"http://127.0.0.1:{port}/healthz"):
        failing = Failing(port, scheduler)
        failing.introduce(MOST)
        quiet = [failing.fail() for _ in range(args.faults)]
        ours.send("go")
        busy, arrived = [], 0.0
        began = time.monotonic()
        while failing.count < MOST and (not arrived or not drained(port, "events")):
            busy.append(failing.fail())
            if not arrived and ours.poll():
                arrived = ours.recv()
        judged = time.monotonic() - began
        fleet.join()
    return {
        "nodes": args.nodes,
        "hours": args.hours,
        "backlog_arrived_seconds": arrived,
        "backlog_judged_seconds": judged,
        "faults_meanwhile": len(busy),
        "quiet_p50_seconds": percentile(quiet, 0.5),
        "quiet_longest_seconds": max(quiet),
        "new_fault_p50_seconds": percentile(busy, 0.5),
        "new_fault_longest_seconds": max(busy),
        "backlog_isolations": len(scheduler.at.keys() - failing.subjects),
        "ratio": percentile(busy, 0.5) / percentile(quiet, 0.5),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, default=1250)
    parser.add_argument("--hours", type=float, default=6.0, help="how long they were away")
    parser.add_argument("--faults", type=int, default=20, help="of the quiet time before")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--strict", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        figures = measure(args, Path(directory))
    for name, value in figures.items():
        print(f"{name:28}{value:12,.3f}")
    print(json.dumps({"benchmark": "comeback", "figures": {k: round(v, 4) for k, v in figures.items()}}))
    kept_promise = figures["new_fault_longest_seconds"] <= LIMIT_SECONDS and not figures["backlog_isolations"]
    return 1 if args.strict and not kept_promise else 0


if __name__ == "__main__":
    raise SystemExit(main())
