"""Made work of days on whole cards, and how much of it is sized rightly; and how long the store's week of minutes takes.

    python benchmarks/sizing.py [--works 600] [--cards 200] [--seed 1] [--strict]

Real: the figures, the findings and their rules; for the time also the store's tables and the reading. Made: minutes of work that is small
for days, and traps: bursts of an hour a day, a memory peak of minutes, high bandwidth, power that contradicts the activity, gaps of an hour,
idle cards, serving work with short peaks. The peer is the rule jobstats publishes, on means of what is known: activity at most 20 %,
memory at most 10 GiB. The last line is JSON; with --strict the exit code is 1 when precision or recall is below 0.97.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

import duckdb
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.scored import JUDGED, run

from ullage_collector.detect.idle_finding import Gang, Held
from ullage_collector.detect.sizing.finding import OVERSIZED, SHAREABLE, Worked, find
from ullage_collector.detect.sizing.need import Need, figure, spare
from ullage_collector.detect.sizing.reading import worked_of
from ullage_collector.detect.sizing.settings import Rules, default_rules
from ullage_collector.detect.stragglers.reading import jobs_at
from ullage_collector.detect.stragglers.settings import default_rules as job_rules
from ullage_collector.prices import PriceBook
from ullage_collector.sql import migrations

NOW: Final = 1_792_540_800_000_000
GIB: Final = 1 << 30
CARD: Final = int(79.6 * GIB)
LEAST: Final = 0.97
KINDS: Final = (
    "small", "small", "small with noise", "busy", "bursts", "memory peak", "bandwidth", "power", "gaps", "idle", "serving peaks",
    "serving small",
)  # fmt: skip
TRUE: Final = frozenset({"small", "small with noise", "serving small"})

Floats = NDArray[np.float64]


def made(chance: np.random.Generator, kind: str, rules: Rules) -> tuple[dict[str, Floats], str]:
    """(minutes by figure, NaN where nobody measured; scenario) of one work."""
    serving = kind.startswith("serving")
    minutes = (rules.serving_days if serving else rules.days) * 1440
    level = chance.uniform(0.04, 0.12)
    rows = {
        "activity": np.clip(chance.normal(level, 0.01, minutes), 0.021, 1),
        "memory": np.full(minutes, chance.uniform(3, 12) * GIB),
        "bandwidth": np.clip(chance.normal(level * 0.8, 0.01, minutes), 0, 1),
        "watts": np.clip(chance.normal(110 + 700 * level, 10, minutes), 70, 700),
    }
    if kind == "small with noise":
        some = chance.random(minutes) < 0.03
        rows["activity"][some] = 0.5
        rows["watts"][some] = 500
    if kind == "busy":
        rows["activity"] = np.clip(chance.normal(0.7, 0.1, minutes), 0, 1)
    if kind == "bursts":
        rows["activity"][np.arange(minutes) % 1440 < chance.integers(90, 240)] = 0.9
    if kind == "memory peak":
        start = chance.integers(0, minutes - 60)
        rows["memory"][start : start + chance.integers(15, 60)] = 60 * GIB
    if kind == "bandwidth":
        rows["bandwidth"] = np.clip(chance.normal(0.6, 0.05, minutes), 0, 1)
    if kind == "power":
        rows["watts"] = np.clip(chance.normal(600, 30, minutes), 0, 700)
    if kind == "gaps":
        start = chance.integers(0, minutes - 300)
        for values in rows.values():
            values[start : start + chance.integers(60, 300)] = np.nan
    if kind == "idle":
        rows["activity"][:] = 0.0
    if kind == "serving peaks":
        for start in chance.integers(0, minutes - 10, 14):
            rows["activity"][start : start + 3] = 0.8
    lost = chance.random(minutes) < 0.0004  # single minutes are lost here and there
    for values in rows.values():
        values[lost] = np.nan
    return rows, "online_inference" if serving else "training"


def need_of(rows: dict[str, Floats], scenario: str, rules: Rules) -> tuple[Need, int]:
    """As the store's reading makes it."""
    minutes = len(rows["activity"])
    quantile = rules.serving_quantile if scenario == "online_inference" else rules.quantile

    def of(name: str, share: float) -> float | None:
        known = rows[name][~np.isnan(rows[name])]
        largest = np.sort(known)[::-1][: spare(minutes, share) + 1]
        return figure(list(largest), len(known), minutes, share)

    memory = of("memory", rules.memory_quantile)
    active = int((rows["activity"] >= rules.active).sum())
    return (
        Need(
            of("activity", quantile), of("bandwidth", quantile), None if memory is None else int(memory),
            of("watts", quantile), active, CARD, 700.0,
        ),
        minutes,
    )  # fmt: skip


def score(works: int, seed: int) -> dict[str, float]:
    """Precision and recall of the detector and of the peer."""
    chance = np.random.default_rng(seed)
    rules = default_rules()
    counts = {"true": 0, "small": 0, "right": 0, "said": 0, "peer_right": 0, "peer_said": 0}
    for number in range(works):
        kind = KINDS[number % len(KINDS)]
        rows, scenario = made(chance, kind, rules)
        need, minutes = need_of(rows, scenario, rules)
        held = (Held(f"w{number}", "g", "n", 10**9, 0, "H800"),)
        worked = Worked(
            Gang(f"w{number}", "slurm_job", "c", scenario, "rd", None, held),
            (need,),
            "nvidia",
            "H800",
            0,
            minutes,
        )
        told = any(one.kind == OVERSIZED for one in find([worked], [], rules, PriceBook(()), NOW))
        peer = bool(np.nanmean(rows["activity"]) <= 0.2 and np.nanmean(rows["memory"]) <= 10 * GIB)
        # What is true needs its history, too: nobody can tell small work from unknown by more minutes lost than may be.
        truth = kind in TRUE and all(int(np.isnan(v).sum()) <= spare(minutes, 0.999) for v in rows.values())
        counts["true"] += truth
        counts["small"] += kind in TRUE
        counts["said"] += told
        counts["right"] += told and truth
        counts["peer_said"] += peer
        counts["peer_right"] += peer and truth
    figures = {"works": float(works), "true": float(counts["true"])}
    figures["recall_with_lost_minutes"] = round(counts["right"] / max(1, counts["small"]), 4)
    for name in ("", "peer_"):
        figures[f"{name}precision"] = round(counts[f"{name}right"] / max(1, counts[f"{name}said"]), 4)
        figures[f"{name}recall"] = round(counts[f"{name}right"] / max(1, counts["true"]), 4)
    return figures


def score_sharing(cases: int, seed: int) -> dict[str, float]:
    """Precision and recall of shareable_cards by department, and what is saved of what could be; a peer that puts two together
    whenever their mean memory fits."""
    chance = np.random.default_rng(seed)
    rules = default_rules()
    worked, truth, peer, possible = [], set(), set(), 0
    for number in range(cases):
        kind = ("fits", "memory", "activity", "power", "alone", "unknown")[number % 6]
        many = int(chance.integers(2, 6)) if kind == "fits" else 1 if kind == "alone" else 2
        name = f"d{number}"
        part = 0.9 / many
        for each in range(many):
            need = Need(
                activity=0.4 if kind == "activity" else part * 0.5 * float(chance.uniform(0.5, 1)),
                bandwidth=None if kind == "unknown" else 0.04,
                memory_bytes=int(
                    CARD * (0.45 if kind == "memory" else part * 0.75 * float(chance.uniform(0.6, 1)))
                ),
                watts=700 * (0.55 if kind == "power" else min(0.45, part)),
                active_minutes=2000,
                total_bytes=CARD,
                limit_watts=700.0,
            )
            held = (Held(f"{name}/{each}", f"{name}-{each}", "n", 10**9, 0, "L40S"),)
            gang = Gang(f"{name}/{each}", "slurm_job", "c", "training", name, None, held)
            worked.append(Worked(gang, (need,), "nvidia", "NVIDIA L40S", 0, rules.days * 1440))
        if kind == "fits":
            truth.add(name)
            possible += many - 1
        if many > 1 and kind != "memory":
            peer.add(name)
    told = [one for one in find(worked, [], rules, PriceBook(()), NOW) if one.kind == SHAREABLE]
    said = {str(one.evidence["department"]) for one in told}
    saved = sum(int(one.evidence["cards_saved"]) for one in told)
    return {
        "share_precision": round(len(said & truth) / max(1, len(said)), 4),
        "share_recall": round(len(said & truth) / max(1, len(truth)), 4),
        "share_saved_of_possible": round(saved / max(1, possible), 4),
        "share_peer_precision": round(len(peer & truth) / max(1, len(peer)), 4),
    }


def seconds(cards: int) -> dict[str, float]:
    """How long the reading of a week of minutes takes, with half of the cards busy, with and without their hours."""
    db = duckdb.connect()
    db.execute("SET threads = 2")
    for _, _, text in migrations():
        db.execute(text)
    db.execute("INSERT INTO node (node_key, cluster_id, node_id, origin) VALUES (1, 'c', 'n', 'real')")
    db.execute(
        "INSERT INTO card (card_key, card_id, node_key, vendor, model, memory_total_bytes, origin) "
        f"SELECT r, 'g' || r, 1, 'nvidia', 'H800', {CARD}, 'real' FROM range({cards}) t(r)"
    )
    db.execute(
        "INSERT INTO inventory (inventory_id, card_id, cluster_id, node_id, vendor, model, life, valid_from, known_from, source) "
        f"SELECT r, 'g' || r, 'c', 'n', 'nvidia', 'H800', 'in_service', TIMESTAMP '2026-01-01', TIMESTAMP '2026-01-01', 'made' FROM range({cards}) t(r)"
    )
    db.execute(
        "INSERT INTO workload (workload_key, workload_id, kind, cluster_id, origin) "
        f"SELECT r, 'slurm/c/' || r, 'slurm_job', 'c', 'real' FROM range({cards}) t(r)"
    )
    db.execute(
        'INSERT INTO allocation (allocation_id, workload_key, card_key, node_key, share_nano, valid_from, known_from, source, "rank") '
        f"SELECT r, r, r, 1, 1000000000, TIMESTAMP '2026-01-01', TIMESTAMP '2026-01-01', 'made', 'work' FROM range({cards}) t(r)"
    )
    columns = (
        "sm_active_ratio",
        "memory_bandwidth_ratio",
        "memory_used_bytes",
        "power_watts",
        "power_limit_watts",
    )
    values = "CASE WHEN c % 2 = 0 THEN 0.05 ELSE 0.8 END", "0.04", "6e9", "150", "700"
    both = ", ".join(
        f"({v})::FLOAT AS {n}, ({v})::FLOAT AS {n}_max" for n, v in zip(columns, values, strict=True)
    )
    db.execute(
        f"CREATE TABLE card_minute AS SELECT make_timestamp({NOW} - (m + 1) * 60000000) AS minute, c::INTEGER AS card_key, "
        f"60.0::FLOAT AS covered_seconds, {both} FROM range({cards}) a(c), range(10080) b(m)"
    )
    hourly = (
        f"CREATE TABLE card_hour AS SELECT make_timestamp({NOW} - (h + 1) * 3600000000) AS hour, c::INTEGER AS card_key, "
        f"3600.0::FLOAT AS covered_seconds, {{busy}}::FLOAT AS sm_active_ratio FROM range({cards}) a(c), range(168) b(h)"
    )
    spent, found = {}, {}
    for name, busy in (("without_hours", "NULL"), ("with_hours", values[0])):
        db.execute("DROP TABLE IF EXISTS card_hour")
        db.execute(hourly.format(busy=busy))
        started = time.perf_counter()
        jobs = jobs_at(db, replace(job_rules(), least_cards=1), NOW)
        found[name] = [
            one.gang.name
            for one in worked_of(db, jobs, default_rules(), NOW)
            if (one.needs[0].activity or 0) <= default_rules().oversized.activity
        ]
        spent[name] = time.perf_counter() - started
    if found["with_hours"] != found["without_hours"]:
        raise SystemExit("BUG: hours left out a card whose minutes are small")
    return {
        "cards": float(cards),
        "seconds": round(spent["with_hours"], 3),
        "faster_by_hours": round(spent["without_hours"] / spent["with_hours"], 2),
    }


def scores(args: argparse.Namespace) -> dict[str, float]:
    """All figures of one run."""
    return {**score(args.works, args.seed), **score_sharing(args.works, args.seed), **seconds(args.cards)}


if __name__ == "__main__":
    judged = (*JUDGED, "share_precision", "share_recall")
    sys.exit(
        run("sizing", "oversized_card", {"works": 600, "cards": 200}, scores, least=LEAST, judged=judged)
    )
