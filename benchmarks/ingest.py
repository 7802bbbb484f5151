"""What a push costs the collector beside VictoriaMetrics: the same readings of the same nodes, one after the other.

    python benchmarks/ingest.py [--nodes 200] [--pushes 40] [--connections 64] [--strict]

A node's push: 8 cards x 40 values, 8 ports x 15, the node x 8: 448 values. To us it goes as a node's batch
(checked, journalled with fsync, answered, stored, rolled up: all of ``ullage-collector serve``), to VictoriaMetrics
(Debian's ``victoria-metrics``, skipped where it is not) as Prometheus remote write (parsed, answered from memory).
Both are first warmed up so that all series are known. Processor time is the server's alone, all its threads,
from /proc, until everything is stored; the sender shares the machine and only limits how fast it goes.
The last line is JSON; with --strict the exit code is 1 when we cost more a value than the peer.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import multiprocessing
import os
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ullage_contract import catalogue, wire
from ullage_contract.catalogue import Kind, Type
from ullage_contract.sample import Facts, Family, Origin, Sample

CARDS, PORTS = 8, 8
VALUES = {Family.CARD: 40, Family.PORT: 15, Family.NODE: 8}
PER_PUSH = CARDS * VALUES[Family.CARD] + PORTS * VALUES[Family.PORT] + VALUES[Family.NODE]
WARM_UP = 3
TICK = os.sysconf("SC_CLK_TCK")

Body = Callable[[int, int, float], bytes]


def readings(node: int, sequence: int) -> Iterator[tuple[Family, str, dict[str, float | int]]]:
    """One node's readings: plateaus that change now and then, power that follows, counters that grow."""
    busy = ((node * 7 + sequence // 6) % 10) / 10
    subjects = [(Family.CARD, f"GPU-{node:05d}-{i}") for i in range(CARDS)]
    subjects += [(Family.PORT, f"gpu-{node:05d}/mlx5_{i}/1") for i in range(PORTS)]
    subjects.append((Family.NODE, f"gpu-{node:05d}"))
    for place, (family, subject) in enumerate(subjects):
        values: dict[str, float | int] = {}
        numbers = [
            m for m in catalogue.keys(family).values() if m.type is not Type.TEXT and m.kind is not Kind.STATE
        ]
        for column, metric in enumerate(numbers[: VALUES[family]]):
            if metric.kind is Kind.COUNTER:
                values[metric.key] = (10**9 + 12_345_678 * sequence * (column + 1) + place) % 2**53
            elif metric.type is Type.INTEGER:
                values[metric.key] = int(busy * 80e9) // 2**20 * 2**20
            else:
                values[metric.key] = round(
                    busy * (column + 1) + ((sequence * 31 + place * 17 + column) % 7) / 10, 2
                )
        yield family, subject, values


def our_body(node: int, sequence: int, at: float) -> bytes:
    rows = list(readings(node, sequence))
    return wire.encode(
        wire.Batch(
            stream=f"{node:032d}",
            sequence=sequence,
            lane="samples",
            agent="benchmark",
            cluster="c1",
            node=f"gpu-{node:05d}",
            machine_id=f"{node:032x}",
            boot_id="b",
            origin=Origin.SIMULATED,
            samples=[Sample(f, s, at, at, 10.0, v, {}, "b") for f, s, v in rows],
            facts=[
                Facts(Family.CARD, s, at, {"vendor": "nvidia", "model": "H20"})
                for f, s, _ in rows
                if f is Family.CARD
            ]
            if sequence == 1
            else [],
        )
    )


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


_labels: dict[tuple[int, str, str], bytes] = {}


def remote_write_body(node: int, sequence: int, at: float) -> bytes:
    """prometheus.WriteRequest; snappy as literals only (the cheapest there is to unpack)."""
    out: list[bytes] = []
    stamp = varint(2 << 3) + varint(int(at * 1000))
    for family, subject, values in readings(node, sequence):
        for key, value in values.items():
            labels = _labels.get((node, subject, key))
            if labels is None:
                pairs = {
                    "__name__": f"ullage_{family.value}_{key}",
                    "cluster": "c1",
                    "node": f"gpu-{node:05d}",
                    family.value: subject,
                    "vendor": "nvidia",
                    "model": "H20",
                }
                labels = b"".join(
                    field(1, field(1, k.encode()) + field(2, v.encode())) for k, v in sorted(pairs.items())
                )
                _labels[node, subject, key] = labels
            sample = varint(1 << 3 | 1) + struct.pack("<d", value) + stamp
            out.append(field(1, labels + field(2, sample)))
    return snappy(b"".join(out))


def snappy(data: bytes) -> bytes:
    out = [varint(len(data))]
    for at in range(0, len(data), 65536):
        piece = data[at : at + 65536]
        out.append(struct.pack("<BH", 61 << 2, len(piece) - 1) + piece)
    return b"".join(out)


class Sender(asyncio.Protocol):
    """One connection: sends its requests one after the other. ``done`` resolves with the waits, seconds."""

    def __init__(self, requests: Sequence[bytes], pause: float, done: asyncio.Future[list[float]]) -> None:
        self._requests = requests
        self._pause = pause
        self._done = done
        self._next = 0
        self._got = b""
        self._waits: list[float] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._send()

    def _send(self) -> None:
        if self._next == len(self._requests):
            if not self._done.done():
                self._done.set_result(self._waits)
            self._transport.close()
            return
        self._sent = time.perf_counter()
        self._transport.write(self._requests[self._next])

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, end, rest = self._got.partition(b"\r\n\r\n")
        if not end:
            return
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        if len(rest) < length:
            return
        status = int(head.split(b" ", 2)[1])
        self._got = rest[length:]
        self._waits.append(time.perf_counter() - self._sent)
        if status in (429, 503):
            asyncio.get_running_loop().call_later(0.5, self._send)
            return
        if status not in (200, 204):
            self._done.set_exception(RuntimeError(f"{head!r} {rest[:500]!r}"))
            return
        self._next += 1
        if self._pause:
            asyncio.get_running_loop().call_later(self._pause, self._send)
        else:
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(exc or ConnectionResetError("closed"))


async def send_all(port: int, per_connection: Sequence[Sequence[bytes]], pause: float) -> list[float]:
    loop = asyncio.get_running_loop()
    futures = []
    for requests in per_connection:
        done: asyncio.Future[list[float]] = loop.create_future()
        futures.append(done)
        await loop.create_connection(lambda r=requests, d=done: Sender(r, pause, d), "127.0.0.1", port)
    return [wait for waits in await asyncio.gather(*futures) for wait in waits]


def requests_of(
    head: bytes, body: Body, nodes: int, connections: int, sequences: range, start: float, spread: float
) -> list[list[bytes]]:
    """For each connection the requests of its nodes, in order: bodies are made before anything is measured."""
    found: list[list[bytes]] = [[] for _ in range(min(connections, nodes))]
    for k, sequence in enumerate(sequences):
        for node in range(nodes):
            content = body(node, sequence, start + spread * k)
            found[node % len(found)].append(head % len(content) + content)
    return found


def drive(port: int, head: bytes, body: Body, args: argparse.Namespace, pipe: Any) -> None:
    """The sender's process: warm up, say so, run, say how long it took; then a paced run for the waits."""
    spread = 0.2
    warm = requests_of(head, body, args.nodes, args.connections, range(1, WARM_UP + 1), time.time(), spread)
    asyncio.run(send_all(port, warm, 0))
    first = WARM_UP + 1
    main = requests_of(
        head, body, args.nodes, args.connections, range(first, first + args.pushes), time.time(), spread
    )
    sizes = [len(request) for requests in main for request in requests]
    pipe.send("warm")
    pipe.recv()
    began = time.perf_counter()
    asyncio.run(send_all(port, main, 0))
    pipe.send(
        {"seconds": time.perf_counter() - began, "pushes": len(sizes), "bytes": sum(sizes) / len(sizes)}
    )
    pipe.recv()
    first += args.pushes
    paced = requests_of(
        head, body, args.nodes, args.connections, range(first, first + 5), time.time(), spread
    )
    waits = asyncio.run(send_all(port, paced, len(paced) / args.paced))
    pipe.send(
        {"p50_ms": 1e3 * statistics.median(waits), "p99_ms": 1e3 * sorted(waits)[int(len(waits) * 0.99)]}
    )


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def rss_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as made:
        return int(made.getsockname()[1])


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as response:
        return str(response.read().decode())


@contextmanager
def running(command: list[str], log: Path, ready: str) -> Iterator[int]:
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        for _ in range(600):
            try:
                fetch(ready)
                break
            except OSError:
                if process.poll() is not None:
                    raise SystemExit(f"{command[0]} ended:\n{log.read_text()[-2000:]}") from None
                time.sleep(0.05)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def measure(
    pid: int, port: int, head: bytes, body: Body, args: argparse.Namespace, settled: Callable[[], None]
) -> dict[str, float]:
    ours, theirs = multiprocessing.Pipe()
    sender = multiprocessing.Process(target=drive, args=(port, head, body, args, theirs))
    sender.start()
    theirs.close()
    assert ours.recv() == "warm"
    settled()
    before = cpu_seconds(pid)
    ours.send("go")
    result: dict[str, float] = ours.recv()
    settled()
    cpu = cpu_seconds(pid) - before
    ours.send("go")
    waits = ours.recv()
    sender.join()
    values = result["pushes"] * PER_PUSH
    return {
        "pushes_per_second": result["pushes"] / result["seconds"],
        "cpu_us_per_push": 1e6 * cpu / result["pushes"],
        "values_per_cpu_second": values / cpu,
        "body_bytes": result["bytes"],
        "rss_mib": rss_mib(pid),
        **waits,
    }


def collector(args: argparse.Namespace, place: Path) -> dict[str, float]:
    port = free_port()
    config = place / "collector.toml"
    config.write_text(f'[listen]\naddress = "127.0.0.1:{port}"\n[receive]\nreserve_bytes = 0\n')
    command = [
        sys.executable,
        "-m",
        "ullage_collector",
        "serve",
        "--data",
        str(place),
        "--config",
        str(config),
    ]
    head = (
        f"POST {wire.PUSH_PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {wire.CONTENT_TYPE}\r\n"
        "Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
    ).encode()

    def settled() -> None:
        """Until the store has read the whole journal."""
        while True:
            time.sleep(0.3)
            lines = fetch(f"http://127.0.0.1:{port}/metrics").splitlines()
            if 'ullage_collector_journal_pending_bytes{lane="samples"} 0' in lines:
                return

    with running(command, place / "collector.log", f"http://127.0.0.1:{port}/healthz") as pid:
        return measure(pid, port, head, our_body, args, settled)


def victoria_metrics(program: str, args: argparse.Namespace, place: Path) -> dict[str, float]:
    port = free_port()
    command = [
        program,
        f"-httpListenAddr=127.0.0.1:{port}",
        f"-storageDataPath={place / 'vm'}",
        "-retentionPeriod=1",
    ]
    head = (
        b"POST /api/v1/write HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-protobuf\r\n"
        b"Content-Encoding: snappy\r\nX-Prometheus-Remote-Write-Version: 0.1.0\r\nContent-Length: %d\r\n\r\n"
    )
    with running(command, place / "vm.log", f"http://127.0.0.1:{port}/health") as pid:
        # It flushes to its parts within seconds of taking; nothing tells when, so it gets the time.
        found = measure(pid, port, head, remote_write_body, args, lambda: time.sleep(3.0))
        taken = sum(
            float(line.split()[-1])
            for line in fetch(f"http://127.0.0.1:{port}/metrics").splitlines()
            if line.startswith('vm_rows_inserted_total{type="promremotewrite"')
        )
    expected = args.nodes * (WARM_UP + args.pushes + 5) * PER_PUSH
    if taken != expected:
        raise SystemExit(f"VictoriaMetrics took {taken:.0f} values of {expected}: not comparable")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--pushes", type=int, default=40, help="measured pushes a node")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--paced", type=float, default=200.0, help="pushes a second when waits are measured")
    parser.add_argument("--strict", action="store_true")
    args = parser.parse_args()
    assert gzip.decompress(our_body(0, 1, 1.0))
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        ours = collector(args, place)
        program = shutil.which("victoria-metrics")
        peer = victoria_metrics(program, args, place) if program else None
    figures: dict[str, float] = {name: round(value, 3) for name, value in ours.items()}
    print(f"{'':24}{'ullage':>16}" + (f"{'VictoriaMetrics':>18}" if peer else ""))
    for name, value in ours.items():
        print(f"{name:24}{value:16,.1f}" + (f"{peer[name]:18,.1f}" if peer else ""))
    ratio = None
    if peer is None:
        print("victoria-metrics is not here: no ratio (apt-get install victoria-metrics)")
    else:
        figures.update({f"victoria_metrics_{name}": round(value, 3) for name, value in peer.items()})
        ratio = ours["values_per_cpu_second"] / peer["values_per_cpu_second"]
        figures["ratio"] = round(ratio, 3)
        print(f"values a processor second: {ratio:.2f} times VictoriaMetrics'")
    print(json.dumps({"benchmark": "ingest", "figures": figures}))
    return 1 if args.strict and ratio is not None and ratio < 1 else 0


if __name__ == "__main__":
    raise SystemExit(main())
