"""``make demo``: the whole of Ullage on one machine, in a folder of its own.

    python -m demo [--trace FILE] [--once] [--dir .demo] [--port 9736]

A collector, an agent for this host with its real cards if it has any, and a simulated fleet of 64 servers
with two weeks of history through the import door; then the weekly report in zh and en and the console's
address. With --trace a real trace is imported instead of simulating. A second run finds its history there
and is quick. Ctrl-C stops everything.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from demo.live import Live
from demo.progress import Steps
from ullage_contract import __version__

log = logging.getLogger("demo")

HERE = Path(__file__).parent
ZONE = "Asia/Shanghai"
STALE = timedelta(hours=20)  # an older history no longer reaches the day before: it is made anew
TRACES = (
    # (what a file of the trace is called by, map, what is imported, day the report is about)
    ("genai", "genai_pods"),
    ("openb", "openb"),
)


class Failed(Exception):
    """A step did not work; the text says which and shows the end of its output."""


class Demo:
    """One run. folder: everything lives below it."""

    def __init__(self, folder: Path, port: int, *, once: bool) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.fleet = folder / "fleet"
        self.reports = folder / "reports"
        self.logs = folder / "logs"
        self.port = port
        self.once = once
        self.processes: list[subprocess.Popen[bytes]] = []
        self.stop = threading.Event()

    # ---- what runs

    def start_collector(self) -> None:
        """``ullage-collector serve``, answering before this returns."""
        config = self.folder / "collector.toml"
        config.write_text(
            f'[listen]\naddress = "127.0.0.1:{self.port}"\n\n[store]\nhot_days = 3\n', encoding="utf-8"
        )
        self._start(
            "collector", "ullage_collector", "--config", str(config), "--data", str(self.data), "serve"
        )
        for _ in range(600):
            self._alive()
            with contextlib.suppress(OSError, http.client.HTTPException):
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
                connection.request("GET", "/healthz")
                if connection.getresponse().status == 200:
                    return
            time.sleep(0.1)
        raise Failed(f"the collector does not answer; see {self.logs / 'collector.log'}")

    def start_agent(self) -> None:
        """``ullage-agent run`` for this host: its real cards, ports and host figures."""
        config = self.folder / "agent.toml"
        config.write_text(
            'cluster = "this-machine"\n\n'
            f'[push]\nurl = "http://127.0.0.1:{self.port}"\n\n'
            f'[metrics]\nlisten = "127.0.0.1:{_free_port(9735)}"\n',
            encoding="utf-8",
        )
        self._start("agent", "ullage_agent", "--config", str(config), "--data", str(self.data), "run")

    def start_live(self) -> None:
        """The simulated servers go on pushing in a thread of this process."""
        made = json.loads((self.fleet / "fleet.json").read_text(encoding="utf-8"))
        live = Live(self.fleet / "telemetry.parquet", made["end"], ("127.0.0.1", self.port), self.stop)
        threading.Thread(target=live.run, name="live", daemon=True).start()

    def _start(self, name: str, module: str, *arguments: str) -> None:
        self.logs.mkdir(parents=True, exist_ok=True)
        with (self.logs / f"{name}.log").open("ab") as output:
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", module, *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,  # Ctrl-C is ours to hand on
                )
            )

    def _alive(self) -> None:
        for process in self.processes:
            if process.poll() is not None:
                raise Failed(f"{' '.join(process.args[2:4])} ended; see {self.logs}")  # type: ignore[index]

    def close(self) -> None:
        """Stop everything that was started."""
        self.stop.set()
        for process in reversed(self.processes):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(15)
            if process.poll() is None:
                process.kill()

    # ---- commands

    def collector(self, *arguments: str) -> str:
        """An ``ullage-collector`` command against this demonstration; its stdout."""
        config = self.folder / "collector.toml"
        return _run("ullage_collector", "--config", str(config), "--data", str(self.data), *arguments)

    def report(self, period: Sequence[str], lang: str) -> list[str]:
        """One report in every format; the files written. A partial one (exit 3) still counts."""
        out = self.reports / lang
        text = _run(
            "ullage_reports",
            *period,
            "--data",
            str(self.data),
            "--out",
            str(out),
            "--format",
            "html,pdf,csv,json",
            "--lang",
            lang,
            good=(0, 3),
        )
        return text.split("\n")[:-1]

    # ---- history

    def simulated(self, steps: Steps) -> Sequence[str]:
        """Two weeks of the simulated fleet in the store; which report to write of it."""
        from demo.fleet import make

        end = datetime.now(UTC).replace(second=0, microsecond=0)
        stamp = self.folder / "history.json"
        known = _history(stamp)
        if known is None or end - known > STALE:
            with steps.step("make two weeks of 64 servers, 512 cards, five makers (simulated)"):
                shutil.rmtree(self.fleet, ignore_errors=True)
                make(self.fleet, end=end)
        with steps.step("start the collector, and an agent for this host"):
            self.start_collector()
            self.start_agent()
        if known is None or end - known > STALE:
            for kind, file in (
                ("prices", "prices.toml"),
                ("mapping", "mapping.toml"),
                ("inventory", "inventory.csv"),
                ("allocations", "allocations.parquet"),
                ("incidents", "incidents.jsonl"),
                ("telemetry", "telemetry.parquet"),
            ):
                with steps.step(f"import {kind}"):
                    self.collector("import", kind, str(self.fleet / file), "--map", "demo")
            with steps.step("work out states and money, publish the days"):
                self.collector("publish")
            stamp.write_text(json.dumps({"version": __version__, "end": end.isoformat()}), encoding="utf-8")
        self.start_live()
        week = (end.date() - timedelta(days=7)).isocalendar()
        return ("weekly", "--week", f"{week.year}-W{week.week:02d}", "--zone", ZONE)

    def traced(self, trace: Path, steps: Steps) -> Sequence[str]:
        """A real trace in the store; which report to write of it."""
        name = next((name for mark, name in TRACES if mark in trace.name.lower()), None)
        if name is None:
            raise Failed(
                f"{trace.name}: no shipped map fits this name (genai_pods*.parquet, openb_*.csv); write a map as "
                "docs/operations.md shows and use ullage-collector import"
            )
        with steps.step("start the collector, and an agent for this host"):
            self.start_collector()
            self.start_agent()
        with steps.step("import assumed prices"):
            self.collector("import", "prices", str(HERE / "assumed_prices.toml"))
        if name == "openb":
            nodes = sorted(trace.parent.glob("openb_node_list_*.csv"))
            pods = (
                trace
                if "pod" in trace.name
                else next(iter(sorted(trace.parent.glob("openb_pod_list_*.csv"))), None)
            )
            if not nodes or pods is None:
                raise Failed(f"openb needs its node list and its pod list side by side in {trace.parent}")
            with steps.step(f"import {nodes[0].name}"):
                self.collector("import", "inventory", str(nodes[0]), "--map", "openb_nodes")
            with steps.step(f"import {pods.name}"):
                self.collector("import", "allocations", str(pods), "--map", "openb_pods")
        else:
            with steps.step(f"import {trace.name}"):
                self.collector("import", "telemetry", str(trace), "--map", name)
        with steps.step("work out states and money, publish the days"):
            done = self.collector("publish", "--all")
        day, zone = busiest_day(self.data)
        if day is None:
            raise Failed(f"nothing was held on any published day:\n{done[-1000:]}")
        return ("daily", "--date", day.isoformat(), "--zone", zone)


def busiest_day(data: Path) -> tuple[date | None, str]:
    """The local day, among whole-hour zones, in which most card-time was held, and its zone: what a trace of a day is about.

    Where days of several zones hold the same, UTC comes first, then ZONE, then what is nearest to UTC. Lines never cross
    a UTC hour, so no day of such a zone cuts one. None: nothing was held.
    """
    from ullage_collector.published import Published

    door = Published(data / "published")
    days = door.days()
    if not days:
        return None, "UTC"
    first = datetime.combine(days[0], datetime.min.time(), UTC)
    last = datetime.combine(days[-1] + timedelta(days=1), datetime.min.time(), UTC)
    with door.open(first, last, verify=False) as facts:
        hours = facts.rows(
            "SELECT from_us // 3600000000, sum(quantity) FROM segment "
            "WHERE state IN ('used', 'allocated_idle', 'unknown') GROUP BY 1"
        )
    held: dict[tuple[int, int], int] = {}
    for hour, quantity in hours:
        for offset in range(-12, 15):
            key = (offset, (int(hour) + offset) // 24)
            held[key] = held.get(key, 0) + int(quantity)
    if not held:
        return None, "UTC"
    liked = (0, 8)

    def rank(key: tuple[int, int]) -> tuple[int, int, int, int]:
        offset, day = key
        return (-held[key], liked.index(offset) if offset in liked else len(liked), abs(offset), day)

    offset, number = min(held, key=rank)
    zones = {0: "UTC", 8: ZONE}
    # the sign of Etc/GMT names is that of POSIX: Etc/GMT-5 is five hours ahead of UTC
    return date(1970, 1, 1) + timedelta(days=number), zones.get(offset, f"Etc/GMT{-offset:+d}")


def _history(stamp: Path) -> datetime | None:
    """When the history that is there ends; None when there is none of this version."""
    try:
        found = json.loads(stamp.read_text(encoding="utf-8"))
        return datetime.fromisoformat(found["end"]) if found["version"] == __version__ else None
    except (OSError, ValueError, KeyError):
        return None


def _run(module: str, *arguments: str, good: tuple[int, ...] = (0,)) -> str:
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], capture_output=True, text=True, timeout=1800, check=False
    )
    if done.returncode not in good:
        said = (done.stderr or done.stdout)[-3000:]
        raise Failed(f"{module} {' '.join(arguments)} ended with {done.returncode}:\n{said}")
    return done.stdout


def _free_port(wanted: int) -> int:
    """``wanted`` if it is free, else any free one."""
    for port in (wanted, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise Failed("no free port on 127.0.0.1")


@contextlib.contextmanager
def _stopping(demo: Demo) -> Iterator[None]:
    def asked(*_: Any) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, asked)
    signal.signal(signal.SIGINT, asked)  # also where a shell started us with it ignored
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave processes behind
        demo.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """0 good, 1 a step failed."""
    parser = argparse.ArgumentParser(prog="make demo", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trace", type=Path, help="import this real trace instead of simulating")
    parser.add_argument("--once", action="store_true", help="end after the reports")
    parser.add_argument(
        "--dir", type=Path, default=Path(".demo"), help="where everything lives (default .demo)"
    )
    parser.add_argument(
        "--port", type=int, default=9736, help="of the console; another free one if it is taken"
    )
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    folder = args.dir if args.trace is None else args.dir / "trace" / args.trace.stem
    if args.trace is not None and not args.trace.exists():
        print(f"make demo: {args.trace}: no such file", file=sys.stderr)
        return 1
    if args.trace is not None:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    demo = Demo(folder.resolve(), _free_port(args.port), once=args.once)
    steps = Steps(11)
    files: list[str] = []
    try:
        with _stopping(demo):
            period = demo.traced(args.trace, steps) if args.trace else demo.simulated(steps)
            for lang in ("zh", "en"):
                with steps.step(f"write the {period[0]} report, {lang}"):
                    files += demo.report(period, lang)
            steps.close()
            print("\nReports:")
            for file in files:
                print(f"  {os.path.relpath(file)}")
            if args.once:
                return 0
            print(f"\nConsole:  http://127.0.0.1:{demo.port}/")
            print("What you see of the 64 servers is simulated; this host is real." if not args.trace else "")
            print("Ctrl-C stops everything.", flush=True)
            while True:
                demo._alive()
                time.sleep(1)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 0
    except Failed as e:
        print(f"\nmake demo: {e}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
