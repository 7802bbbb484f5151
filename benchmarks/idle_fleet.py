"""Idle findings on a made fleet with the traps that make busy work look idle, and one job in ten truly idle.

    python benchmarks/idle_fleet.py [--jobs 1000] [--seed 1] [--strict]

Real: the store's tables, the states' judgement of minutes, the idle watch and its grades, looked at every half hour of a made
day. Made: the minutes of every card and host. A job idles truly when it stopped for good, or never began. The traps: loading
before the first step, checkpoints, evaluation on processors, one worker of a gang, serving by day and not by night, people who
think, means that hide spikes, hours without telemetry, cards that tell nothing, cards that only draw power or only copy, jobs
just begun, and cards handed over from an idle holder.

Shown: what is proposed for reclaim and told to owners, against the truth; how late; and the same with every fifth minute and a
whole hour lost, which may only take findings away. The peer waits for two hours of mean utilisation 0, silence read as 0, as
simple rules do; it sees the same rows. The last line is JSON; with --strict the exit code is 1 when a promise is missed.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import duckdb
import pyarrow as pa

from ullage_collector.detect.idle_rules import default_rules
from ullage_collector.detect.idle_watch import IdleWatch
from ullage_collector.sql import migrations
from ullage_collector.states import default_rules as states_rules

DAY: Final = datetime(2026, 10, 7, tzinfo=UTC)
MINUTES: Final = 1440
LOOK_MINUTES: Final = 30
PEER_MINUTES: Final = 120
PRECISION, RECALL, FALSE_FLAGS, LATE_MINUTES = 0.98, 0.90, 0.01, 2 + LOOK_MINUTES
"""What is promised of proposals; of traps told to owners; and of how late owners are told after the window."""

Minute = tuple[float | None, float | None, float | None, float, float, float]
"""Mean and greatest utilisation, greatest power, PCIe bytes a second, host's processors 0..1, host's NFS bytes a second."""
IDLE: Final[Minute] = (0.0, 0.0, 62.0, 1e5, 0.02, 1e4)
WORK: Final[Minute] = (0.85, 1.0, 480.0, 2e8, 0.2, 2e7)


@dataclass(slots=True)
class Job:
    """One job on a node of its own. idle_from: minute from which it truly idles; None: never."""

    kind: str
    scenario: str
    cards: int
    begin: int
    minute: Callable[[int, int], Minute | None]
    idle_from: int | None = None
    name: str = ""
    before: bool = False
    told: int | None = None
    proposed: int | None = None
    noted: bool = False
    peer: bool = field(default=False)


def traps(chance: random.Random) -> Iterator[Callable[[], Job]]:
    """A maker of each trap. A minute None: no telemetry."""

    def job(kind: str, scenario: str, minute: Callable[[int, int], Minute | None], **more: int) -> Job:
        return Job(kind, scenario, more.get("cards", 2), more.get("begin", 0), minute)

    def thinks() -> Job:
        busy: set[int] = set()
        at = 0
        while at < MINUTES:
            stop = at + chance.randint(3, 20)
            busy.update(range(at, stop))
            at = stop + min(int(chance.expovariate(1 / 18)) + 1, 50)
        return job("people who think", "development", lambda m, c: WORK if m in busy else IDLE, cards=1)

    begin = MINUTES - 40
    late = (0.0, 0.0, 62.0, 1e5, 0.6, 6e7)
    yield lambda: job("steady work", "training", lambda m, c: WORK)
    yield lambda: job("loading first", "training", lambda m, c: late if m < 29 else WORK)
    yield lambda: job("checkpoints", "training", lambda m, c: IDLE if m % 60 < 9 else WORK)
    yield lambda: job("evaluation on processors", "training", lambda m, c: late if m % 300 < 170 else WORK)
    yield lambda: job("one worker of a gang", "training", lambda m, c: WORK if c == 0 else IDLE, cards=4)
    yield lambda: job(
        "serving by day", "online_inference", lambda m, c: WORK if m < 700 and m % 9 < 3 else IDLE
    )
    yield thinks
    yield lambda: job("mean hides spikes", "training", lambda m, c: (0.0, 0.6, 90.0, 1e5, 0.02, 1e4))
    yield lambda: job("hours of silence", "training", lambda m, c: None if 300 < m < 700 else WORK)
    yield lambda: job("tells nothing", "training", lambda m, c: (None, None, None, 0.0, 0.02, 1e4))
    yield lambda: job("power alone", "training", lambda m, c: (None, None, 350.0, 0.0, 0.02, 1e4))
    yield lambda: job("copies", "training", lambda m, c: (0.0, 0.0, 70.0, 2e8, 0.02, 1e4))
    yield lambda: job("just begun", "training", lambda m, c: IDLE, begin=begin)
    yield lambda: handed_over(job("handed over", "training", lambda m, c: IDLE, begin=begin))


def handed_over(job: Job) -> Job:
    """Its cards were held by somebody idle before."""
    job.before = True
    return job


def idle(chance: random.Random) -> Job:
    """A job that stopped for good, or never began."""
    stops = chance.choice((0, chance.randint(30, 700)))
    scenario = chance.choice(("training", "development", "batch"))
    return Job(
        "idle",
        scenario,
        chance.choice((1, 2, 4)),
        0,
        lambda m, c: WORK if m < stops else IDLE,
        idle_from=stops,
    )


def fleet(jobs: int, seed: int) -> list[Job]:
    """One job in ten idle, the others traps in turn."""
    chance = random.Random(seed)
    makers = list(traps(chance))
    made = [idle(chance) if n % 10 == 0 else makers[n % len(makers)]() for n in range(jobs)]
    for number, job in enumerate(made):
        job.name = f"slurm/c/{number}"
    return made


def filled(jobs: Sequence[Job], *, lost: random.Random | None = None) -> duckdb.DuckDBPyConnection:
    """A store's tables with the fleet in them. lost: takes every fifth minute and an hour away."""
    database = duckdb.connect()
    for _, _, text in migrations():
        database.execute(text)
    database.execute("CREATE SEQUENCE made START 1")
    start = DAY.replace(tzinfo=None)
    columns: dict[str, list[object]] = {
        name: [] for name in ("minute", "card_key", "covered_seconds", "utilization_ratio", "utilization_ratio_max",
                              "power_watts", "power_watts_max", "pcie_rx_bytes_increase")
    }  # fmt: skip
    hosts: dict[str, list[object]] = {
        name: [] for name in ("minute", "node_key", "covered_seconds", "cpu_busy_ratio_max", "nfs_read_bytes_increase")
    }  # fmt: skip
    owned: list[tuple[int, str, int, str]] = []
    held: list[tuple[int, int, int, int, datetime, datetime | None]] = []
    workloads: list[tuple[int, str, str]] = []
    key = 0
    for number, job in enumerate([*jobs, Job("free", "", 8, MINUTES, lambda m, c: IDLE)]):
        node_key, first = 1_000_000 + number, key
        cards = range(first, first + job.cards)
        key += job.cards
        owned += [(card, f"GPU-{card}", node_key, f"n{number}") for card in cards]
        if job.name:
            workloads.append((number, job.name, job.scenario))
            begun = start + timedelta(minutes=job.begin)
            held += [(card, number, card, node_key, begun, None) for card in cards]
            if job.before:
                workloads.append((500_000 + number, f"{job.name}-before", job.scenario))
                held += [(700_000 + card, 500_000 + number, card, node_key, start, begun) for card in cards]
        for minute in range(MINUTES):
            if lost is not None and (lost.random() < 0.2 or 800 <= minute < 860):
                continue
            at = start + timedelta(minutes=minute)
            host: Minute | None = None
            for place, card in enumerate(cards):
                seen = job.minute(minute, place)
                if seen is None:
                    continue
                host = seen
                row = (at, card, 60.0, seen[0], seen[1], seen[2], seen[2], seen[3] * 60)
                for name, value in zip(columns, row, strict=True):
                    columns[name].append(value)
            if host is not None:
                for name, value in zip(hosts, (at, node_key, 60.0, host[4], host[5] * 60), strict=True):
                    hosts[name].append(value)
    for table, content in (("card_minute", columns), ("node_minute", hosts)):
        rows = pa.table(
            {
                name: pa.array(values, type=None if name == "minute" else pa.int32() if name.endswith("_key") else pa.float64())
                for name, values in content.items()
            }
        )  # fmt: skip
        database.register("rows_made", rows)
        database.execute(f"CREATE TABLE {table} AS SELECT * FROM rows_made")
        database.unregister("rows_made")
    nodes = sorted({(node_key, name) for _, _, node_key, name in owned})
    database.executemany(
        "INSERT INTO node (node_key, cluster_id, node_id, origin) VALUES (?, 'c', ?, 'real')", nodes
    )
    database.executemany(
        "INSERT INTO card (card_key, card_id, node_key, vendor, model, origin) VALUES (?, ?, ?, 'nvidia', 'H800', 'real')",
        [row[:3] for row in owned],
    )
    database.executemany(
        "INSERT INTO inventory (inventory_id, card_id, cluster_id, node_id, vendor, model, life, valid_from, known_from, source) "
        "VALUES (nextval('made'), ?, 'c', ?, 'nvidia', 'H800', 'in_service', '2026-01-01', '2026-01-01', 'made')",
        [(name, node) for _, name, _, node in owned],
    )
    database.executemany(
        "INSERT INTO workload (workload_key, workload_id, kind, cluster_id, scenario, origin) "
        "VALUES (?, ?, 'slurm_job', 'c', ?, 'real')",
        workloads,
    )
    database.executemany(
        "INSERT INTO allocation (allocation_id, workload_key, card_key, node_key, share_nano, valid_from, valid_to, "
        "known_from, source, \"rank\") VALUES (?, ?, ?, ?, 1000000000, ?, ?, '2026-01-01', 'made', 'work')",
        held,
    )
    return database


def watched(database: duckdb.DuckDBPyConnection) -> tuple[dict[str, dict[str, int]], float]:
    """Subject -> grade -> minute it was first said; and seconds a look took on average."""
    watch = IdleWatch(default_rules(), states_rules())
    said: dict[str, dict[str, int]] = {}
    took = 0.0
    looks = range(LOOK_MINUTES, MINUTES + 1, LOOK_MINUTES)
    for minute in looks:
        database.execute("DELETE FROM rollup_through")
        at = DAY + timedelta(minutes=minute)
        database.execute("INSERT INTO rollup_through VALUES ('minute', ?)", [at.replace(tzinfo=None)])
        began = time.perf_counter()
        found, _ = watch.look(database, round(at.timestamp() * 1e6) + 60_000_000)
        took += time.perf_counter() - began
        for one in found:
            said.setdefault(one.subject, {}).setdefault(str(one.action), minute)
    return said, took / len(looks)


def peer(job: Job) -> bool:
    """The simple rule on the same rows: the mean of every card 0 for so long, silence read as 0."""
    quiet = 0
    for minute in range(job.begin, MINUTES):
        seen = [job.minute(minute, card) for card in range(job.cards)]
        quiet = quiet + 1 if all(one is None or not one[0] for one in seen) else 0
        if quiet >= PEER_MINUTES:
            return True
    return False


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables; 1 with --strict where a promise is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--strict", action="store_true")
    args = parser.parse_args(argv)
    jobs = fleet(args.jobs, args.seed)
    said, seconds = watched(filled(jobs))
    windows = {"training": 120, "development": 60, "batch": 60}
    for job in jobs:
        grades = said.get(job.name, {})
        job.noted = bool(grades)
        job.proposed = grades.get("propose_reclaim")
        job.told = min((m for grade, m in grades.items() if grade != "note"), default=None)
        job.peer = peer(job)
    true = [job for job in jobs if job.idle_from is not None]
    false = [job for job in jobs if job.idle_from is None]
    print(
        f"{len(jobs)} jobs, {sum(job.cards for job in jobs)} cards, {len(true)} truly idle; a look takes {seconds:.2f} s"
    )
    print(f"{'':>26} jobs  noted  told  proposed  peer")
    for kind in Counter(job.kind for job in jobs):
        of = [job for job in jobs if job.kind == kind]
        print(
            f"{kind:>26} {len(of):>4}  {sum(j.noted for j in of):>5}  {sum(j.told is not None for j in of):>4}  "
            f"{sum(j.proposed is not None for j in of):>8}  {sum(j.peer for j in of):>4}"
        )

    def hours(some: Sequence[Job]) -> float:
        return sum(job.cards * (MINUTES - (job.idle_from or 0)) / 60 for job in some)

    proposed = [job for job in jobs if job.proposed is not None]
    right = [job for job in proposed if job.idle_from is not None]
    late = sorted(
        job.told
        - max(job.idle_from or 0, default_rules().use(job.scenario, "slurm_job").grace / 60)
        - windows[job.scenario]
        for job in true
        if job.told is not None
    )
    lossy, _ = watched(filled(jobs, lost=random.Random(args.seed)))
    new = sorted(
        name
        for name, grades in lossy.items()
        if grades.keys() - {"note"} and not said.get(name, {}).keys() - {"note"}
    )
    answer = {
        "jobs": len(jobs),
        "precision": len(right) / len(proposed) if proposed else 1.0,
        "recall_of_idle_card_hours": hours(right) / hours(true) if true else 1.0,
        "traps_told": sum(job.told is not None for job in false) / len(false),
        "latest_after_window_minutes": late[-1] if late else None,
        "told_only_because_minutes_were_lost": len(new),
        "peer_precision": sum(job.peer for job in true) / max(1, sum(job.peer for job in jobs)),
        "peer_traps_flagged": sum(job.peer for job in false) / len(false),
        "seconds_a_look": round(seconds, 3),
    }
    kept = (
        answer["precision"] >= PRECISION
        and answer["recall_of_idle_card_hours"] >= RECALL
        and answer["traps_told"] <= FALSE_FLAGS
        and (not late or late[-1] <= LATE_MINUTES)
        and not new
    )
    for name, value in answer.items():
        print(f"{name:>38}: {value:.3f}" if isinstance(value, float) else f"{name:>38}: {value}")
    print(json.dumps({**answer, "kept": kept}))
    return 1 if args.strict and not kept else 0


if __name__ == "__main__":
    sys.exit(main())
