"""How long a month of ten thousand cards takes in every format, and how much memory, beside the same sums read plainly.

    python benchmarks/reports.py [--cards 10000] [--days 31] [--keep FOLDER] [--strict]

published_fleet.py writes the days; ``ullage-report`` then runs as a process of its own, once for each thing asked: the month in all
formats with FOCUS, the week as PDF. Wall and processor seconds and the peak of memory are the process's own (getrusage of the child), so
what else the machine does shows in the wall alone. The peers read the same files: one day line by line in Python into the sums that the
statement's tables are made of (rows of pyarrow, Python's integers; the month is that many times the day), and the departments' costs alone by one plain SQL
statement; both must come to the same money, to the atom.
The last line is JSON; with --strict the exit code is 1 above 60 s or 2 GiB for the month, or 10 s for the week.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.published_fleet import publish

from ullage_collector.published import Published

FIRST = date(2026, 10, 1)
NOW = datetime(2026, 11, 2, tzinfo=UTC)
FORMATS = "html,pdf,csv,xlsx,parquet,json,focus"
MONTH_SECONDS, WEEK_SECONDS, MONTH_MIB = 60.0, 10.0, 2048


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the command: seconds on the clock, seconds of processor, peak of memory, bytes written."""

    wall: float
    cpu: float
    mib: int
    bytes: int


def run(data: Path, arguments: list[str]) -> Run:
    """``ullage-report`` in a process of its own. Raises SystemExit when it fails."""
    with tempfile.TemporaryDirectory(dir=data) as out:
        command = [sys.executable, "-m", "ullage_reports", *arguments]
        command += ["--data", str(data), "--out", out, "--currency", "CNY", "--log-level", "error"]
        began = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - began
        if process.returncode != 0:
            raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}")
        size = sum(file.stat().st_size for file in Path(out).rglob("*") if file.is_file())
    return Run(wall, used.ru_utime + used.ru_stime, used.ru_maxrss // 1024, size)


def by_python(file: Path) -> tuple[int, float, dict[str, int]]:
    """A day's lines one by one into the sums a statement's tables are made of: by department, scenario, business, model, pool and
    cluster with their states, by workload, by hour, and the cards. (lines, processor seconds, atoms by department)."""
    began = time.process_time()
    cells: dict[tuple[str, ...], list[int]] = defaultdict(lambda: [0, 0])
    workloads: dict[tuple[str, ...], list[int]] = defaultdict(lambda: [0, 0])
    hours: dict[tuple[int, str], list[int]] = defaultdict(lambda: [0, 0])
    cards: dict[str, set[str]] = defaultdict(set)
    columns = [
        "department_id",
        "scenario",
        "business",
        "vendor",
        "model",
        "pool",
        "cluster_id",
        "state",
        "workload_id",
        "card_id",
    ]
    lines = 0
    for batch in pq.ParquetFile(file).iter_batches(
        columns=[*columns, "from_us", "to_us", "share_nano", "price_micro"]
    ):
        for row in batch.to_pylist():
            quantity = (row["to_us"] - row["from_us"]) * row["share_nano"]
            atoms = quantity * row["price_micro"]
            sums = [
                cells[tuple(row[name] or "" for name in columns[:8])],
                hours[row["from_us"] // 3_600_000_000, row["state"]],
            ]
            if row["workload_id"]:
                sums.append(workloads[row["workload_id"], row["department_id"], row["state"]])
                cards[row["workload_id"]].add(row["card_id"])
            for one in sums:
                one[0] += quantity
                one[1] += atoms
            lines += 1
    found: dict[str, int] = defaultdict(int)
    for key, (_, atoms) in cells.items():
        found[key[0]] += atoms
    return lines, time.process_time() - began, dict(found)


def by_sql(files: list[Path]) -> tuple[float, dict[str, int]]:
    """The month's atoms by department in one statement: (processor seconds, sums)."""
    began = time.process_time()
    with duckdb.connect(config={"threads": 2}) as db:
        rows = db.execute(
            "SELECT department_id, sum((to_us - from_us)::HUGEINT * share_nano * price_micro) FROM read_parquet(?) GROUP BY 1",
            [[str(file) for file in files]],
        ).fetchall()
    return time.process_time() - began, {name: int(atoms) for name, atoms in rows}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cards", type=int, default=10_000)
    parser.add_argument("--days", type=int, default=31, help="of October 2026, from the first")
    parser.add_argument(
        "--runs", type=int, default=1, help="of each; the fastest counts, for the machine may be shared"
    )
    parser.add_argument("--keep", type=Path, help="make the days there, or take them from there")
    parser.add_argument("--strict", action="store_true")
    args = parser.parse_args()
    data = args.keep or Path(tempfile.mkdtemp())
    try:
        door = Published(data / "published")
        if not door.days():
            publish(door.root, FIRST, args.days, args.cards, NOW)
        manifests = [found for day in door.days() if (found := door.facts(day)) is not None]
        lines = sum(int(found.facts["rows"]) for found in manifests)
        files = [found.path("segments.parquet") for found in manifests]
        size = sum(file.stat().st_size for file in files)
        print(f"{args.cards} cards, {len(files)} days: {lines} lines, {size / lines:.1f} bytes each")
        asked = {
            "month": ["monthly", "--month", "2026-10", "--format", FORMATS],
            "statement": ["monthly", "--month", "2026-10", "--format", "html"],
            "week": ["weekly", "--week", "2026-W42", "--format", "pdf"],
        }
        made = {
            name: min((run(data, words) for _ in range(args.runs)), key=lambda one: one.wall)
            for name, words in asked.items()
        }
        for name, one in made.items():
            print(
                f"{name}: {one.wall:.1f} s, {one.cpu:.1f} s of processor, at most {one.mib} MiB, {one.bytes / 1e6:.0f} MB written"
            )
        day_lines, python_cpu, plain = by_python(files[0])
        sql_cpu, sums = by_sql(files)
        _, first = by_sql(files[:1])
        if first != plain:
            print("the peers come to other money", file=sys.stderr)
            return 1
        python_month = python_cpu / day_lines * lines
        ratio = python_month / made["statement"].cpu
        print(
            f"peers: the tables' sums line by line in Python: {python_cpu:.1f} s for a day's {day_lines} lines, {python_month:.0f} s for the month: "
            f"the whole statement, laid out as HTML, is {ratio:.1f} x as fast; departments' costs alone in one SQL statement: {sql_cpu:.1f} s of "
            f"processor; {len(sums)} departments"
        )
    finally:
        if args.keep is None:
            shutil.rmtree(data, ignore_errors=True)
    figures = {
        "cards": args.cards,
        "lines": lines,
        **{
            f"{name}_{word}": value
            for name, one in made.items()
            for word, value in (
                ("wall_seconds", round(one.wall, 1)),
                ("cpu_seconds", round(one.cpu, 1)),
                ("peak_mib", one.mib),
                ("bytes", one.bytes),
            )
        },
        "python_cpu_seconds": round(python_month, 1),
        "sql_cpu_seconds": round(sql_cpu, 2),
        "ratio": round(ratio, 1),
    }
    print(json.dumps({"benchmark": "reports", "figures": figures}))
    month, week = made["month"], made["week"]
    slow = month.wall > MONTH_SECONDS or week.wall > WEEK_SECONDS or month.mib > MONTH_MIB
    return 1 if args.strict and slow else 0


if __name__ == "__main__":
    sys.exit(main())
