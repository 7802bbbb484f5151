"""What it costs to know who holds 10,000 cards: a Slurm cluster's polls, from squeue's text to table ``allocation``.

    python benchmarks/allocation.py [--cards 10000] [--starts-an-hour 1300] [--polls 30]

A cluster of eight-card nodes, nearly all held, jobs of 1 to 64 cards; between two polls as many jobs begin and end as
the rate says. Slurm's programs are stood in for by their texts (squeue and sacct of 22.05, written from recorded
ones); everything from the text on is the collector's own: reading, believing, the store's transaction. Lag is the
poll's interval and its own time: how old a start can be before it is believed. The peer is the least anybody could
do: Python's json over the same texts, keeping nothing. The last line is JSON.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from ullage_collector.allocation.book import AllocationBook
from ullage_collector.allocation.slurm.asking import JITTER, Asking
from ullage_collector.allocation.slurm.settings import SlurmSettings
from ullage_collector.allocation.slurm.source import SlurmSource
from ullage_collector.store.store import Store
from ullage_contract.clock import ManualClock

FIXTURES: Final = Path(__file__).parents[1] / "tests/fixtures/slurm"
START: Final = 1_790_000_000
MIN_JOB_AGE: Final = 300  # slurm.conf's default: how long slurmctld keeps a job that has ended
SIZES: Final = (1, 1, 1, 2, 2, 4, 8, 8, 16, 64)
"""Cards of a job; our choice: because most jobs of public traces are small and most card-hours are not."""


class Cluster:
    """Slurm's side: nodes, jobs that come and go, and the texts its programs would print."""

    def __init__(self, cards: int, chance: random.Random) -> None:
        self.nodes = cards // 8
        self._chance = chance
        self._free = {node: list(range(8)) for node in range(self.nodes)}
        self._job = 100
        self._running: dict[int, dict[str, Any]] = {}
        self._ended: list[dict[str, Any]] = []
        self._queue = json.loads((FIXTURES / "squeue_v0.0.38.json").read_text(encoding="utf-8"))
        self._past = json.loads((FIXTURES / "sacct_v0.0.38.json").read_text(encoding="utf-8"))
        self._row = next(job for job in self._queue["jobs"] if job.get("gres_detail"))
        self._record = self._past["jobs"][0]
        self.now = START
        self.seconds = 0.0

    def begin(self, now: int) -> bool:
        """Start one job somewhere; False when it does not fit."""
        size = self._chance.choice(SIZES)
        places: dict[int, list[int]] = {}
        left = size
        for node in self._chance.sample(range(self.nodes), min(self.nodes, 40)):
            taken = self._free[node][: min(8, left)]
            if taken and (size < 8 or len(taken) == 8):
                places[node] = taken
                left -= len(taken)
            if left == 0:
                break
        if left:
            return False
        for node, taken in places.items():
            self._free[node] = [i for i in self._free[node] if i not in taken]
        self._job += 1
        self._running[self._job] = {"id": self._job, "start": now, "places": dict(sorted(places.items()))}
        return True

    def end(self, now: int) -> None:
        """End one job at random."""
        job = self._running.pop(self._chance.choice(list(self._running)))
        for node, taken in job["places"].items():
            self._free[node] = sorted(self._free[node] + taken)
        self._ended.append({**job, "end": now})

    def fill(self, now: int) -> None:
        """Jobs until hardly any fits."""
        misses = 0
        while misses < 20:
            misses = 0 if self.begin(now) else misses + 1

    def __call__(self, argv: Sequence[str], *, seconds: float) -> bytes:
        """A program of Slurm's; what writing its text takes is Slurm's cost and not ours."""
        began = time.process_time()
        said = self._said(argv)
        self.seconds += time.process_time() - began
        return said

    def _said(self, argv: Sequence[str]) -> bytes:
        name = argv[0]
        if name == "squeue":
            lately = [job for job in self._ended if job["end"] > self.now - MIN_JOB_AGE]
            shown = [self._shown(job) for job in (*self._running.values(), *lately)]
            said = json.dumps({**self._queue, "jobs": shown}).encode()
        elif name == "sacct":
            said = json.dumps({**self._past, "jobs": [self._told(j) for j in self._ended[-400:]]}).encode()
        elif "node" in argv:
            said = "\n".join(f"NodeName=n{i} Gres=gpu:h200:8 State=MIXED" for i in range(self.nodes)).encode()
        else:
            said = b"No reservations in the system\n" if name == "scontrol" else b""
        return said

    def _shown(self, job: dict[str, Any]) -> dict[str, Any]:
        row = copy.copy(self._row)
        count = sum(map(len, job["places"].values()))
        row.update(
            job_id=job["id"],
            start_time=job["start"],
            end_time=job.get("end", job["start"] + 86_400),
            nodes=",".join(f"n{node}" for node in job["places"]),
            job_resources={"allocated_nodes": [{"nodename": f"n{node}"} for node in job["places"]]},
            gres_detail=[f"gpu:h200:{len(t)}(IDX:{','.join(map(str, t))})" for t in job["places"].values()],
            tres_alloc_str=f"cpu=1,node={len(job['places'])},billing={count},gres/gpu={count},gres/gpu:h200={count}",
            account=f"account{job['id'] % 40}",
            job_state="COMPLETED" if "end" in job else "RUNNING",
            state_reason="None",
        )
        return row

    def _told(self, job: dict[str, Any]) -> dict[str, Any]:
        record = copy.deepcopy(self._record)
        record["job_id"] = job["id"]
        record["nodes"] = ",".join(f"n{node}" for node in job["places"])
        record["time"].update(start=job["start"], end=job["end"], elapsed=job["end"] - job["start"])
        record["state"]["current"] = "COMPLETED"
        return record

    @property
    def held(self) -> dict[str, int]:
        """Cards by running job."""
        return {f"slurm/hpc/{j['id']}": sum(map(len, j["places"].values())) for j in self._running.values()}


def cards_of(store: Store, nodes: int) -> None:
    """The agents' cards: minors as /dev numbers them."""
    with store.write() as cursor:
        for node in range(nodes):
            key = store.identities.node(cursor, "hpc", f"n{node}", START * 1_000_000, "simulated").key
            for index in range(8):
                store.identities.card(
                    cursor, f"GPU-{node:05}-{index}", key, START * 1_000_000, "simulated", "nvidia", "H200"
                )
        store.identities.flush(cursor)
        cursor.execute("UPDATE card SET minor = split_part(card_id, '-', 3)::INTEGER")


def believed(store: Store) -> dict[str, int]:
    """Known cards by workload that the store believes held now."""
    rows = store.cursor().execute(
        "SELECT w.workload_id, count(a.card_key) FROM allocation a JOIN workload w USING (workload_key) "
        "WHERE a.known_to IS NULL AND a.valid_to IS NULL GROUP BY w.workload_id"
    )
    return {workload: int(count) for workload, count in rows.fetchall()}


def main() -> int:
    parser = argparse.ArgumentParser(description="the cost of knowing who holds 10,000 cards")
    parser.add_argument("--cards", type=int, default=10_000)
    parser.add_argument("--starts-an-hour", type=int, default=1_300)
    parser.add_argument("--polls", type=int, default=30)
    args = parser.parse_args()
    chance = random.Random(7)
    cluster = Cluster(args.cards, chance)
    clock = ManualClock(wall=START)
    settings = SlurmSettings(cluster="hpc")
    # The longest wait: the interval and its jitter.
    interval = settings.poll_seconds * (1 + JITTER)
    with tempfile.TemporaryDirectory() as place:
        store = Store.open(Path(place) / "store.duckdb", clock=clock)
        cards_of(store, cluster.nodes)
        cluster.fill(START)
        source = SlurmSource(Asking(settings, cluster), store, AllocationBook(store, "slurm"), chance=chance)
        source.step(clock.wall())
        cost: list[float] = []
        peer: list[float] = []
        lag: list[float] = []
        due = 0.0
        for _ in range(args.polls):
            due += args.starts_an_hour * interval / 3600
            while due >= 1:
                due -= 1
                cluster.end(int(clock.wall()))
                cluster.begin(int(clock.wall()))
            clock.advance(interval)
            cluster.now = int(clock.wall())
            began, ours, theirs = time.monotonic(), time.process_time(), cluster.seconds
            source.step(clock.wall())
            cost.append(time.process_time() - ours - (cluster.seconds - theirs))
            lag.append(interval + time.monotonic() - began)
            text = cluster(("squeue",), seconds=1)
            told = time.process_time()
            json.loads(text)
            peer.append(time.process_time() - told)
        right = believed(store) == cluster.held
        store.close()
    each = sum(cost) / len(cost)
    figures = {
        "cards": args.cards,
        "running_jobs": len(cluster.held),
        "squeue_mib": round(len(text) / 2**20, 2),
        "seconds_a_poll": round(each, 3),
        "share_of_a_core": round(each / interval, 4),
        "worst_lag_seconds": round(max(lag), 2),
        "times_json_loads": round(each / (sum(peer) / len(peer)), 2),
        "belief_equals_slurm": right,
    }
    for name, value in figures.items():
        sys.stdout.write(f"{name:22} {value}\n")
    sys.stdout.write(json.dumps({"benchmark": "allocation", "figures": figures}) + "\n")
    return 0 if right else 1


if __name__ == "__main__":
    raise SystemExit(main())
