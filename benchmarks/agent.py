"""What the agent costs beside Debian's prometheus-node-exporter, both scraped at the same interval.

    python benchmarks/agent.py [--seconds 120] [--interval 10] [--cards 8] [--strict]

The real ``ullage-agent run``: one maker's child (the emulated NVML with eight H100 where a C compiler is,
else the simulated maker), host, RDMA and kernel log sources, /metrics, OTLP and push on, both to receivers of
this process. Measured after a warm-up, from /proc: resident memory of the main process, proportional memory
and processor time of all its processes, and the time of a scrape. The last line is JSON; with --strict the
exit code is 1 when a limit is broken. A busy machine changes times, not memory.
"""

from __future__ import annotations

import argparse
import gzip
import http.client
import http.server
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LIMITS = {"main_rss_mib": 45.0, "pss_mib": 80.0, "cpu_percent_at_10s": 0.3}
"""docs/architecture.md, promise 4: the agent is light."""

TICK = os.sysconf("SC_CLK_TCK")


@dataclass
class Costs:
    """One program under watch. Times in seconds, memory in MiB, sizes in bytes."""

    name: str
    pid: int
    port: int
    began: float = 0.0
    cpu_at_start: float = 0.0
    cpu: float = 0.0
    span: float = 0.0
    main_rss: float = 0.0
    pss: float = 0.0
    processes: int = 0
    scrapes: list[float] = field(default_factory=list)
    size: int = 0
    lines: int = 0

    def scrape(self) -> bytes:
        began = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("GET", "/metrics")
        body = connection.getresponse().read()
        connection.close()
        self.scrapes.append(time.perf_counter() - began)
        self.size, self.lines = len(body), body.count(b"\n")
        return body

    def start(self) -> None:
        self.began, self.cpu_at_start = time.monotonic(), cpu_seconds(self.pid)
        self.scrapes.clear()

    def look(self) -> None:
        self.span = time.monotonic() - self.began
        self.cpu = cpu_seconds(self.pid) - self.cpu_at_start
        self.main_rss = max(self.main_rss, memory(self.pid)["Rss"])
        every = family(self.pid)
        self.processes = len(every)
        self.pss = max(self.pss, sum(memory(pid)["Pss"] for pid in every))

    @property
    def cpu_percent(self) -> float:
        """Of one core."""
        return 100.0 * self.cpu / self.span


def family(pid: int) -> list[int]:
    """The process and all below it."""
    found = [pid]
    for one in found:
        for task in Path(f"/proc/{one}/task").glob("*/children"):
            try:
                found += [int(child) for child in task.read_text().split()]
            except OSError:
                continue
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of the family, ended children included."""
    total = 0.0
    for one in family(pid):
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(int(x) for x in fields[11:15]) / TICK
    return total


def memory(pid: int) -> dict[str, float]:
    """Rss and Pss in MiB; 0 for a process that has just ended."""
    found = {"Rss": 0.0, "Pss": 0.0}
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return found
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        if name in found:
            found[name] = int(rest.split()[0]) / 1024
    return found


class Receivers:
    """A collector and an OTLP receiver that take everything; ``pushed`` and ``exported`` count."""

    def __init__(self) -> None:
        self.pushed = self.exported = self.pushed_bytes = 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                answer = b""
                if self.path == "/v1/push":
                    head = json.loads(gzip.decompress(body))
                    outer.pushed += 1
                    outer.pushed_bytes += len(body)
                    through = head["sequence"]
                    answer = json.dumps(
                        {"stream": head["stream"], "accepted_through": through, "durable_through": through}
                    ).encode()
                else:
                    outer.exported += 1
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def emulated(place: Path, cards: int) -> dict[str, str] | None:
    """The environment in which the NVML emulator is found; None where there is no compiler."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests/agent")]
    try:
        from nvml_world import World
        from tests.emulators.build import build, compiler
    except ImportError as e:
        sys.stderr.write(f"no emulated cards ({e}): simulated ones instead\n")
        return None
    if compiler() is None:
        return None
    world = World(place)
    for number in range(cards):
        world.add(
            number, f"GPU-00000000-0000-0000-0000-0000000000{number:02x}", f"0000:{16 + number:02x}:00.0"
        )
    world.write()
    return {"LD_LIBRARY_PATH": str(build("nvml").parent), "ULLAGE_NVML_SCENARIO": str(world.path)}


@contextmanager
def running(command: list[str], environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=out, stderr=out)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(costs: Costs, process: subprocess.Popen[bytes], wanted: bytes, log: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        try:
            if wanted in costs.scrape():
                return
        except OSError:
            pass
        time.sleep(0.2)
    raise SystemExit(f"{costs.name} did not come up:\n{log.read_text(errors='replace')[-2000:]}")


def configuration(
    place: Path, receivers: Receivers, port: int, arguments: argparse.Namespace, maker: str
) -> Path:
    file = place / "agent.toml"
    table = f"cards = {arguments.cards}\n" if maker == "simulated" else ""
    file.write_text(
        f'node = "bench"\n[sampling]\nfast_seconds = {arguments.interval}\n'
        f'[metrics]\nlisten = "127.0.0.1:{port}"\n'
        f'[push]\nurl = "http://127.0.0.1:{receivers.port}"\n'
        f'[otlp]\nendpoint = "http://127.0.0.1:{receivers.port}"\n'
        f"[backends.{maker}]\nenabled = true\n{table}",
        encoding="utf-8",
    )
    return file


def measure(agent: Costs, peer: Costs | None, arguments: argparse.Namespace) -> None:
    """Scrape both every interval, starting after two intervals of warm-up."""
    watched = [agent] + ([peer] if peer else [])
    for _ in range(2):
        time.sleep(arguments.interval)
        for one in watched:
            one.scrape()
    for one in watched:
        one.start()
    end = time.monotonic() + arguments.seconds
    while time.monotonic() < end:
        time.sleep(min(arguments.interval, max(0.1, end - time.monotonic())))
        for one in watched:
            one.scrape()
            one.look()


def table(agent: Costs, peer: Costs | None) -> None:
    rows = [
        ("main process, RSS MiB", "main_rss", "{:.1f}"),
        ("all processes, PSS MiB", "pss", "{:.1f}"),
        ("processes", "processes", "{:d}"),
        ("processor, % of one core", "cpu_percent", "{:.3f}"),
        ("scrape, bytes", "size", "{:d}"),
        ("scrape, lines", "lines", "{:d}"),
    ]
    print(f"{'':28}{agent.name:>16}" + (f"{peer.name:>18}" if peer else ""))
    for title, name, form in rows:
        line = f"{title:28}{form.format(getattr(agent, name)):>16}"
        print(line + (f"{form.format(getattr(peer, name)):>18}" if peer else ""))
    line = f"{'scrape, ms (median)':28}{1e3 * statistics.median(agent.scrapes):>16.2f}"
    print(line + (f"{1e3 * statistics.median(peer.scrapes):>18.2f}" if peer else ""))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--interval", type=float, default=10.0)
    parser.add_argument("--cards", type=int, default=8)
    parser.add_argument("--strict", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ullage-bench-") as name:
        place = Path(name)
        receivers = Receivers()
        environment = emulated(place, arguments.cards)
        maker = "nvidia" if environment is not None else "simulated"
        port = free_port()
        file = configuration(place, receivers, port, arguments, maker)
        command = [
            sys.executable,
            "-m",
            "ullage_agent",
            "run",
            "--config",
            str(file),
            "--data",
            str(place / "data"),
        ]
        with running(command, environment or {}, place / "agent.log") as process:
            agent = Costs("ullage-agent", process.pid, port)
            wait_for(agent, process, b"ullage_card_power_watts", place / "agent.log")
            exporter = shutil.which("prometheus-node-exporter")
            if exporter is None:
                sys.stderr.write("no prometheus-node-exporter here: no peer\n")
                measure(agent, None, arguments)
                peer = None
            else:
                peer_port = free_port()
                listen = [exporter, f"--web.listen-address=127.0.0.1:{peer_port}"]
                with running(listen, {}, place / "peer.log") as other:
                    peer = Costs("node_exporter", other.pid, peer_port)
                    wait_for(peer, other, b"node_", place / "peer.log")
                    measure(agent, peer, arguments)
    table(agent, peer)
    print(f"{maker}, {arguments.cards} cards, every {arguments.interval:g} s for {agent.span:.0f} s; "
          f"{receivers.pushed} batches pushed ({receivers.pushed_bytes} bytes), {receivers.exported} OTLP requests")  # fmt: skip
    # Processor time goes with the number of ticks: at another interval it is brought to the one of the limit.
    at_10s = agent.cpu_percent * arguments.interval / 10.0
    figures: dict[str, float | int | str] = {
        "main_rss_mib": round(agent.main_rss, 2),
        "pss_mib": round(agent.pss, 2),
        "cpu_percent_at_10s": round(at_10s, 4),
        "scrape_ms": round(1e3 * statistics.median(agent.scrapes), 3),
        "seconds": round(agent.span, 1),
        "maker": maker,
    }
    if peer is not None:
        figures["rss_ratio_node_exporter"] = round(agent.main_rss / peer.main_rss, 3)
        figures["cpu_ratio_node_exporter"] = round(agent.cpu / peer.cpu, 3) if peer.cpu else -1
        figures["scrape_ratio_node_exporter"] = round(
            statistics.median(agent.scrapes) / statistics.median(peer.scrapes), 3
        )
    broken = [f"{k} is {figures[k]}, the limit is {v}" for k, v in LIMITS.items() if float(figures[k]) > v]
    for line in broken:
        print(f"LIMIT BROKEN: {line}")
    print(json.dumps({"benchmark": "agent", "figures": figures}))
    return 1 if broken and arguments.strict else 0


if __name__ == "__main__":
    raise SystemExit(main())
