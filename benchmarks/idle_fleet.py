"""Idle findings on a made fleet with the traps that make busy work look idle, and one job in ten truly idle.

    python benchmarks/idle_fleet.py [--jobs 2000] [--seed 1] [--seeds 1] [--strict]

Real: the store's tables, the states' judgement of minutes, the idle watch and its grades, looked at every half hour of a made
day; at its end the straggler watch, as hangs are its. Made: the minutes of every card, slice and host. A job idles truly when it
stopped for good, or never began; a replica of online inference when nobody asked it anything for a day and its service has more
than its minimum. The traps are in idle_traps.py, services in idle_services.py, each by name.

Shown: what is proposed for reclaim and told to owners, against the truth; how late; and the same with every fifth sample lost and
with three hours of every job lost, which may only take findings away. Losing every fifth minute whole is harder: a short stretch
of work can be lost entirely; then, too, findings may only get fewer, and one trap in a hundred may be told. The peer waits for
two hours of mean utilisation 0, silence read as 0, as simple rules do; it sees the same rows. The last line is JSON; with --strict
the exit code is 1 when a promise is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.idle_services import services
from benchmarks.idle_traps import IDLE, MINUTES, Job, Minute, fleet

from ullage_collector.detect.idle_rules import default_rules
from ullage_collector.detect.idle_watch import IdleWatch
from ullage_collector.detect.stragglers.finding import HANG
from ullage_collector.detect.stragglers.settings import default_rules as straggler_rules
from ullage_collector.detect.stragglers.watch import StragglerWatch
from ullage_collector.sql import migrations
from ullage_collector.states import default_rules as states_rules

DAY: Final = datetime(2026, 10, 7, tzinfo=UTC)
LOOK_MINUTES: Final = 30
PEER_MINUTES: Final = 120
PRECISION, RECALL, FALSE_FLAGS, LATE_MINUTES = 0.98, 0.90, 0.01, 2
"""What is promised of proposals; of traps told to owners; and how late owners are told after the window, beside the time
between two looks."""
NANO: Final = 10**9
SAMPLES: Final = 6
"""A minute's, at one every ten seconds."""
LOSSES: Final = ("samples", "hours", "minutes")
JOBS_AT_ONCE: Final = 250
CARD_COLUMNS: Final = (
    "utilization_ratio", "utilization_ratio_max", "power_watts", "power_watts_max", "pcie_rx_bytes_increase",
    "link_rx_bytes_increase", "memory_used_bytes", "power_limit_watts",
)  # fmt: skip
HOST_COLUMNS: Final = ("cpu_busy_ratio_max", "nfs_read_bytes_increase")
MINUTES_OF: Final = "CREATE TABLE {table} (minute TIMESTAMP, {key} INTEGER, covered_seconds FLOAT{columns})"


@dataclass(frozen=True, slots=True)
class Came:
    """What came of each minute of a day. samples: of SAMPLES. peak: the one with the greatest utilisation was among them."""

    samples: NDArray[np.int8]
    peak: NDArray[np.bool_]


@dataclass(slots=True)
class Rows:
    """Minutes of one family, as they gather."""

    keys: list[NDArray[np.int32]] = field(default_factory=list)
    minutes: list[NDArray[np.int16]] = field(default_factory=list)
    shown: list[NDArray[np.int16]] = field(default_factory=list)
    samples: list[NDArray[np.int8]] = field(default_factory=list)
    peaks: list[NDArray[np.bool_]] = field(default_factory=list)

    def add(self, key: int, codes: NDArray[np.int16], came: Came) -> None:
        """One subject's day: of each minute which look it shows, -1 for none, and what of it came."""
        at = np.flatnonzero((came.samples > 0) & (codes >= 0)).astype(np.int16)
        self.keys.append(np.full(len(at), key, np.int32))
        self.minutes.append(at)
        self.shown.append(codes[at])
        self.samples.append(came.samples[at])
        self.peaks.append(came.peak[at])


class Looks:
    """Every distinct minute that is shown, by a number."""

    def __init__(self) -> None:
        self.numbers: dict[Minute, int] = {}

    def day(self, job: Job, card: int) -> NDArray[np.int16]:
        """A card's minutes as numbers, -1: no telemetry."""
        codes = np.full(MINUTES, -1, np.int16)
        for minute in range(MINUTES):
            seen = job.shows(minute, card)
            if seen is not None:
                codes[minute] = self.numbers.setdefault(seen, len(self.numbers))
        return codes

    def cards(self) -> dict[str, NDArray[np.float64]]:
        """What each number is in the store's columns of cards and slices."""
        rows = [
            (one.mean, one.most, one.watts, one.watts, one.pcie * 60, None if one.link is None else one.link * 60, one.held, one.limit)
            for one in self.numbers
        ]  # fmt: skip
        return dict(zip(CARD_COLUMNS, np.array(rows, np.float64).T, strict=True))

    def hosts(self) -> dict[str, NDArray[np.float64]]:
        """And of hosts."""
        rows = [(one.host, one.nfs * 60) for one in self.numbers]
        return dict(zip(HOST_COLUMNS, np.array(rows, np.float64).T, strict=True))


def came(lost: str | None, chance: np.random.Generator) -> Came:
    """A day of one job's telemetry. lost: ``samples`` or ``minutes`` one in five, ``hours`` three of the day, None: nothing."""
    samples = np.full(MINUTES, SAMPLES, np.int8)
    peak = np.ones(MINUTES, np.bool_)
    if lost == "samples":
        kept = chance.random((MINUTES, SAMPLES)) >= 0.2
        samples, peak = kept.sum(axis=1).astype(np.int8), kept[:, 0]
    elif lost == "minutes":
        samples[chance.random(MINUTES) < 0.2] = 0
    elif lost == "hours":
        for hour in chance.choice(24, 3, replace=False):
            samples[hour * 60 : hour * 60 + 60] = 0
    return Came(samples, peak)


def filled(jobs: Sequence[Job], *, lost: str | None = None, seed: int = 0) -> duckdb.DuckDBPyConnection:
    """A store's tables with the fleet in them. lost: as ``came`` has it."""
    database = duckdb.connect()
    for _, _, text in migrations():
        database.execute(text)
    database.execute("CREATE SEQUENCE made START 1")
    for table, key, names in (
        ("card_minute", "card_key", CARD_COLUMNS),
        ("slice_minute", "slice_key", CARD_COLUMNS),
        ("node_minute", "node_key", HOST_COLUMNS),
    ):
        columns = "".join(f", {name} DOUBLE" for name in names)
        database.execute(MINUTES_OF.format(table=table, key=key, columns=columns))
    chance = np.random.default_rng(seed)
    place = 0
    free = Job("free", "", 8, lambda m, c: IDLE)
    everything = [*jobs, free]
    for start in range(0, len(everything), JOBS_AT_ONCE):
        part = everything[start : start + JOBS_AT_ONCE]
        place = _written(database, part, start, place, lost, chance)
    return database


def _written(
    database: duckdb.DuckDBPyConnection,
    jobs: Sequence[Job],
    first: int,
    card: int,
    lost: str | None,
    chance: np.random.Generator,
) -> int:
    """Write some jobs with their cards and minutes; the next free number of a card."""
    looks = Looks()
    rows = {"card_minute": Rows(), "slice_minute": Rows(), "node_minute": Rows()}
    start = DAY.replace(tzinfo=None)
    nodes, owned, slices = [], [], []
    held: list[tuple[object, ...]] = []
    workloads: list[tuple[object, ...]] = []
    served: list[tuple[int, datetime, float]] = []
    nights: list[tuple[int, int]] = []
    for number, job in enumerate(jobs, first):
        node = 1_000_000 + number
        nodes.append((node, f"n{number}"))
        cards = range(card, card + job.cards)
        card += job.cards
        begun = start + timedelta(minutes=job.begin)
        owned += [(one, f"GPU-{one}", node, f"n{number}") for one in cards]
        if job.slices:
            slices.append((2_000_000 + number, f"GPU-{cards[0]}/7", cards[0]))
        names = [job.name, *(f"{job.name}-beside-{n}" for n in range(job.beside))] if job.name else []
        for n, name in enumerate(names):
            key = 10 * number + n
            labels = json.dumps({"serving.kserve.io/inferenceservice": job.service}) if job.service else None
            kind = "kubernetes_pod" if job.service else "slurm_job"
            workloads.append((key, name, kind, job.scenario, labels))
            piece = 2_000_000 + number if job.slices else None
            share = NANO // 7 if job.slices else NANO // len(names)
            held += [(key, one, piece, node, share, begun, None) for one in cards]
        if job.before:
            key = 10 * number + 9
            workloads.append((key, f"{job.name}-before", "slurm_job", job.scenario, None))
            held += [(key, one, None, node, NANO, start, begun) for one in cards]
        heard = came(lost, chance)
        served += [(10 * number, *one) for one in _told(job, heard, lost, chance)]
        nights += [(one, 10 * number) for one in cards if job.nights]
        host = np.full(MINUTES, -1, np.int16)
        for n, one in enumerate(cards):
            codes = looks.day(job, n)
            rows["card_minute"].add(one, codes, heard)
            if job.slices == "own":
                rows["slice_minute"].add(2_000_000 + number, codes, heard)
            host = np.where(codes >= 0, codes, host)
        rows["node_minute"].add(node, host, heard)
    for table, columns, key in (
        ("card_minute", looks.cards(), "card_key"),
        ("slice_minute", looks.cards(), "slice_key"),
        ("node_minute", looks.hosts(), "node_key"),
    ):
        _minutes(database, table, key, rows[table], columns)
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
    for table, values, content in (
        ("slice (slice_key, slice_id, card_key, profile)", "?, ?, ?, '1g.10gb'", slices),
        (
            "workload (workload_key, workload_id, kind, cluster_id, namespace, scenario, labels, origin)",
            "?, ?, ?, 'c', 'web', ?, ?, 'real'",
            workloads,
        ),
        (
            "segment (day, revision, card_key, from_us, to_us, state, share_nano, workload_key, department_id, scenario, inventory_id)",
            "?, 1, ?, ?, ?, ?, 1000000000, ?, 'd', 'training', 1",
            _nights(nights),
        ),
        (
            "allocation (allocation_id, workload_key, card_key, slice_key, node_key, share_nano, valid_from, valid_to, known_from, "
            "source, \"rank\")",
            "nextval('made'), ?, ?, ?, ?, ?, ?, ?, '2026-01-01', 'made', 'work'",
            held,
        ),
    ):  # fmt: skip
        if content:
            database.executemany(f"INSERT INTO {table} VALUES ({values})", content)
    if served:
        _requests(database, served)
    return card


def _told(
    job: Job, heard: Came, lost: str | None, chance: np.random.Generator
) -> Iterator[tuple[datetime, float]]:
    """What is known of a job's requests: five minutes and how many. Hours without telemetry are hours without them, too."""
    for minute in range(-MINUTES, MINUTES, 5) if job.requests is not None else ():
        asked = job.requests(minute)
        gone = (
            heard.samples[minute] == 0
            if lost == "hours" and minute >= 0
            else lost is not None and chance.random() < 0.2
        )
        if asked is not None and not gone:
            yield DAY.replace(tzinfo=None) + timedelta(minutes=minute), asked


def _requests(database: duckdb.DuckDBPyConnection, served: Sequence[tuple[int, datetime, float]]) -> None:
    keys, starts, asked = zip(*served, strict=True)
    rows = {"workload_key": pa.array(keys, pa.int32()), "start": starts, "requests": asked}
    database.register("made_rows", pa.table(rows))
    database.execute(
        "INSERT INTO serving SELECT workload_key, 'prom/vllm', 'p', start, requests, NULL, NULL, 0, 0, 300000000, 0 FROM made_rows"
    )
    database.unregister("made_rows")


def _nights(held: Sequence[tuple[int, int]]) -> list[tuple[object, ...]]:
    """Four days before in the bill's states, of (card, workload): quiet until eight, then at work."""
    hour = 3_600_000_000
    rows: list[tuple[object, ...]] = []
    for day in (DAY - timedelta(days=n) for n in range(1, 5)):
        start = round(day.timestamp() * 1e6)
        for card, workload in held:
            for n in range(24):
                state = "allocated_idle" if n < 8 else "used"
                rows.append((day.date(), card, start + n * hour, start + (n + 1) * hour, state, workload))
    return rows


def _minutes(
    database: duckdb.DuckDBPyConnection,
    table: str,
    key: str,
    rows: Rows,
    columns: dict[str, NDArray[np.float64]],
) -> None:
    if not rows.keys:
        return
    shown = np.concatenate(rows.shown)
    first = np.datetime64(DAY.replace(tzinfo=None), "us")
    share = np.concatenate(rows.samples) / SAMPLES
    made = {
        "minute": first + np.concatenate(rows.minutes).astype("timedelta64[m]"),
        key: np.concatenate(rows.keys),
        "covered_seconds": 60.0 * share,
        **{
            name: values[shown] * (share if name.endswith("_increase") else 1)
            for name, values in columns.items()
        },
    }
    if "utilization_ratio" in made:
        peaks = np.concatenate(rows.peaks)
        made["utilization_ratio_max"] = np.where(
            peaks, made["utilization_ratio_max"], made["utilization_ratio"]
        )
    database.register("made_rows", pa.table({n: pa.array(v, from_pandas=True) for n, v in made.items()}))
    database.execute(f"INSERT INTO {table} BY NAME SELECT * FROM made_rows")
    database.unregister("made_rows")


@dataclass(frozen=True, slots=True)
class Said:
    """What was found: subject -> grade -> minute it was first said. hung: jobs said to hang. seconds: a look, on average."""

    grades: dict[str, dict[str, int]]
    hung: frozenset[str]
    seconds: float

    def told(self, job: Job) -> int | None:
        """The minute at which its owner, or one of those beside it, was first told."""
        names = (job.name, *(f"{job.name}-beside-{n}" for n in range(job.beside)))
        return min(
            (minute for name in names for grade, minute in self.grades.get(name, {}).items() if grade != "note"),
            default=None,
        )  # fmt: skip

    def proposed(self, job: Job) -> int | None:
        """The minute at which it was first proposed for reclaim."""
        return self.grades.get(job.name, {}).get("propose_reclaim")


def watched(database: duckdb.DuckDBPyConnection, every: int = LOOK_MINUTES) -> Said:
    """A day of looks."""
    watch = IdleWatch(default_rules(), states_rules())
    grades: dict[str, dict[str, int]] = {}
    took = 0.0
    looks = range(every, MINUTES + 1, every)
    now = 0
    for minute in looks:
        database.execute("DELETE FROM rollup_through")
        at = DAY + timedelta(minutes=minute)
        database.execute("INSERT INTO rollup_through VALUES ('minute', ?)", [at.replace(tzinfo=None)])
        now = round(at.timestamp() * 1e6) + 60_000_000
        began = time.perf_counter()
        found, _ = watch.look(database, now)
        took += time.perf_counter() - began
        for one in found:
            grades.setdefault(one.subject, {}).setdefault(str(one.action), minute)
    others, _ = StragglerWatch(straggler_rules()).look(database, now)
    hung = frozenset(one.subject for one in others if one.kind == HANG)
    return Said(grades, hung, took / len(looks))


def peer(job: Job) -> bool:
    """The simple rule on the same rows: the mean of every card 0 for so long, silence read as 0."""
    quiet = 0
    for minute in range(max(0, job.begin), MINUTES):
        seen = [job.shows(minute, card) for card in range(job.cards)]
        quiet = quiet + 1 if all(one is None or not one.mean for one in seen) else 0
        if quiet >= PEER_MINUTES:
            return True
    return False


def scored(jobs: Sequence[Job], said: Said) -> dict[str, float | int | None]:
    """The promises' figures."""
    true = [job for job in jobs if job.idle_from is not None]
    false = [job for job in jobs if job.idle_from is None]

    def hours(some: Sequence[Job]) -> float:
        return sum(job.cards * (MINUTES - (job.idle_from or 0)) / 60 for job in some)

    proposed = [job for job in jobs if said.proposed(job) is not None]
    right = [job for job in proposed if job.idle_from is not None]
    late = []
    for job in true:
        told = said.told(job)
        if told is not None:
            use = default_rules().use(job.scenario, "slurm_job")
            late.append(told - max(job.idle_from or 0, use.grace / 60) - use.tell / 60)
    hangs = {job.name for job in jobs if job.hangs}
    return {
        "jobs": len(jobs),
        "precision": len(right) / len(proposed) if proposed else 1.0,
        "recall_of_idle_card_hours": hours(right) / hours(true) if true else 1.0,
        "traps_told": sum(said.told(job) is not None for job in false) / len(false),
        "latest_after_window_minutes": max(late, default=None),
        "hangs_found": len(said.hung & hangs) / len(hangs) if hangs else 1.0,
        "wrong_hangs": len(said.hung - hangs),
        "seconds_a_look": round(said.seconds, 3),
    }


def measured(
    jobs: Sequence[Job], seed: int, every: int = LOOK_MINUTES, losses: Sequence[str] = LOSSES
) -> tuple[dict[str, float | int | None], Said]:
    """The figures of a fleet, and what losing minutes and hours changes."""
    said = watched(filled(jobs), every)
    figures = scored(jobs, said)
    told = {name for name, grades in said.grades.items() if grades.keys() - {"note"}}
    figures["findings"] = len(said.grades)
    for lost in losses:
        thinned = watched(filled(jobs, lost=lost, seed=seed), every)
        fewer = thinned.grades
        traps = [job for job in jobs if job.idle_from is None]
        figures[f"traps_told_with_{lost}_lost"] = sum(thinned.told(job) is not None for job in traps) / len(
            traps
        )
        figures[f"findings_with_{lost}_lost"] = len(fewer)
        figures[f"told_only_because_{lost}_were_lost"] = len(
            {name for name, grades in fewer.items() if grades.keys() - {"note"}} - told
        )
    return figures, said


def kept(figures: dict[str, float | int | None], every: int = LOOK_MINUTES) -> list[str]:
    """Which promises are missed."""

    def of(name: str) -> float:
        return float(figures[name] or 0)

    good = {
        "precision": of("precision") >= PRECISION,
        "recall": of("recall_of_idle_card_hours") >= RECALL,
        "traps": of("traps_told") <= FALSE_FLAGS,
        "late": of("latest_after_window_minutes") <= LATE_MINUTES + every,
        "hangs": of("wrong_hangs") == 0,
    }
    for lost in (loss for loss in LOSSES if f"findings_with_{loss}_lost" in figures):
        good[f"{lost} lost"] = of(f"findings_with_{lost}_lost") <= of("findings") and (
            of(f"traps_told_with_{lost}_lost") <= FALSE_FLAGS
            if lost == "minutes"
            else of(f"told_only_because_{lost}_were_lost") == 0
        )
    return [name for name, fine in good.items() if not fine]


def table(jobs: Sequence[Job], said: Said) -> None:
    """Print each kind of job and what was made of it."""
    print(f"{'':>34} jobs  noted  told  proposed  peer")
    for kind in Counter(job.kind for job in jobs):
        of = [job for job in jobs if job.kind == kind]
        print(
            f"{kind:>34} {len(of):>4}  {sum(j.name in said.grades for j in of):>5}  "
            f"{sum(said.told(j) is not None for j in of):>4}  {sum(said.proposed(j) is not None for j in of):>8}  "
            f"{sum(map(peer, of)):>4}"
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables; 1 with --strict where a promise is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1, help="so many fleets, from --seed on (default 1)")
    parser.add_argument("--strict", action="store_true")
    args = parser.parse_args(argv)
    missed: list[str] = []
    answers = []
    for seed in range(args.seed, args.seed + args.seeds):
        jobs = [*fleet(args.jobs, seed), *services(max(1, args.jobs // 80), seed)]
        figures, said = measured(jobs, seed)
        true = sum(job.idle_from is not None for job in jobs)
        print(f"seed {seed}: {len(jobs)} jobs, {sum(job.cards for job in jobs)} cards, {true} truly idle")
        table(jobs, said)
        simple = [job for job in jobs if peer(job)]
        figures["peer_precision"] = sum(job.idle_from is not None for job in simple) / max(1, len(simple))
        figures["peer_traps_flagged"] = sum(job.idle_from is None for job in simple) / (len(jobs) - true)
        for name, value in figures.items():
            print(f"{name:>38}: {value:.3f}" if isinstance(value, float) else f"{name:>38}: {value}")
        missed += [f"seed {seed}: {name}" for name in kept(figures)]
        answers.append({"seed": seed, **figures})
    print(json.dumps({"benchmark": "idle_fleet", "figures": answers, "missed": missed}))
    return 1 if args.strict and missed else 0


if __name__ == "__main__":
    sys.exit(main())
