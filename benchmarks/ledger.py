"""How fast states, money and statements are, beside the same rules read plainly in Python with Decimal.

    python benchmarks/ledger.py [--cards 512] [--days 14] [--month-cards 2000] [--peer-cards 64]

A simulated fleet: six jobs a card and day, minutes of telemetry with idle stretches, forty departments, two
models. Measured on one thread: states of --days days with what their cards drew, publishing them, and a monthly statement over
--month-cards cards (one day made, then shifted to the other days of October: the reading is what is
measured). The peer reads the same day card by card and must come to the same money, to the atom.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, localcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb

from ullage_collector.ledger import ATOMS_PER_UNIT, NANO
from ullage_collector.publish.files import publish_dimensions, publish_facts_day
from ullage_collector.published import Published
from ullage_collector.revision import write_revision
from ullage_collector.sql import migrations
from ullage_collector.states import States, keep, reconcile
from ullage_reports import period as periods
from ullage_reports.statement import statement

FIRST = date(2026, 10, 1)
NOW = datetime(2026, 11, 2, tzinfo=UTC)
CREATE_MINUTES = (
    "CREATE TABLE card_minute (minute TIMESTAMP, card_key INTEGER, covered_seconds FLOAT, utilization_ratio_max FLOAT, "
    "sm_active_ratio_max FLOAT, memory_bandwidth_ratio_max FLOAT, power_watts FLOAT, power_watts_max FLOAT, "
    "power_limit_watts FLOAT, pcie_rx_bytes_increase DOUBLE, pcie_tx_bytes_increase DOUBLE)"
)
FLEET = """
INSERT INTO node (node_key, cluster_id, node_id, origin)
    SELECT 1 + i, 'dc1', 'n' || i, 'simulated' FROM range({nodes}) t(i);
INSERT INTO card (card_key, card_id, node_key, vendor, model, origin)
    SELECT 100000 + i, 'GPU-' || lpad(i::VARCHAR, 6, '0'), 1 + i // 8, CASE WHEN i % 2 = 0 THEN 'nvidia' ELSE 'ascend' END,
           CASE WHEN i % 2 = 0 THEN 'H800' ELSE 'Ascend 910B3' END, 'simulated' FROM range({cards}) t(i);
INSERT INTO inventory (inventory_id, card_id, cluster_id, node_id, vendor, model, pool, life, valid_from, known_from, source)
    SELECT card_key, card_id, 'dc1', 'n' || ((card_key - 100000) // 8), vendor, model, 'main', 'in_service',
           TIMESTAMP '2026-01-01', TIMESTAMP '2026-01-01', 'benchmark' FROM card;
INSERT INTO workload (workload_key, workload_id, kind, cluster_id, namespace, origin)
    SELECT i, 'slurm/dc1/' || i, 'slurm_job', 'dc1', 'account' || (i % 40), 'simulated' FROM range({cards} * 6) t(i);
INSERT INTO mapping_rule (rule_id, match, priority, department_id, scenario, valid_from, known_from, source)
    SELECT i, 'slurm:account' || i, 0, 'division' || (i % 5) || '/team' || i, CASE WHEN i % 3 = 0 THEN 'training' ELSE 'inference' END,
           TIMESTAMP '2026-01-01', TIMESTAMP '2026-01-01', 'benchmark' FROM range(38) t(i);
INSERT INTO price (price_id, model, currency, price_micro, assumed, valid_from, known_from, source) VALUES
    (1, 'H800', 'CNY', 20123456, false, TIMESTAMP '2026-01-01', TIMESTAMP '2026-01-01', 'benchmark'),
    (2, 'Ascend*', 'CNY', 7250000, false, TIMESTAMP '2026-01-01', TIMESTAMP '2026-01-01', 'benchmark');
"""
DAY = """
INSERT INTO allocation (allocation_id, workload_key, card_key, node_key, share_nano, valid_from, valid_to, known_from, source)
    SELECT {number} * {cards} * 6 + i, i, 100000 + i % {cards}, 1, CASE WHEN i % 11 = 0 THEN 500000000 ELSE 1000000000 END,
           TIMESTAMP '{day}' + to_seconds((i // {cards}) * 14400 + (i * 421) % 3600),
           TIMESTAMP '{day}' + to_seconds((i // {cards}) * 14400 + (i * 421) % 3600 + 9000 + (i * 13) % 5400),
           TIMESTAMP '2026-01-01', 'benchmark' FROM range({cards} * 6) t(i);
INSERT INTO card_minute
    SELECT TIMESTAMP '{day}' + to_minutes(m), 100000 + c, 60, u, u, u / 2, 80 + 500 * u, 90 + 500 * u, 700, 1e6, 1e6
    FROM (SELECT m, c, CASE WHEN hash(c * 1000 + m // 17) % 4 = 0 THEN 0 ELSE 0.7 END AS u
          FROM range(1440) a(m), range({cards}) b(c)) ORDER BY m, c;
"""


def fleet(cards: int) -> duckdb.DuckDBPyConnection:
    db = duckdb.connect(":memory:", config={"threads": 1})
    for _, _, text in migrations():
        db.execute(text)
    db.execute(CREATE_MINUTES)
    db.execute(FLEET.format(cards=cards, nodes=(cards + 7) // 8))
    reconcile(db, NOW)
    return db


def fill_day(db: duckdb.DuckDBPyConnection, cards: int, number: int) -> date:
    day = FIRST + timedelta(days=number)
    db.execute("DELETE FROM card_minute WHERE minute < ?", [day - timedelta(days=1)])
    db.execute(DAY.format(cards=cards, number=number, day=day))
    return day


def states(cards: int, days: int, root: Path) -> dict[str, Any]:
    db = fleet(cards)
    seconds = publish_seconds = 0.0
    lines = 0
    for number in range(days):
        day = fill_day(db, cards, number)
        began = time.process_time()
        lines += keep(db, States(db).work_out(day, NOW)).rows
        seconds += time.process_time() - began
        began = time.process_time()
        publish_facts_day(db, root, day, status="sealed", now=NOW)
        publish_seconds += time.process_time() - began
    began = time.process_time()
    keep(db, States(db).work_out(day, NOW))
    again = time.process_time() - began
    return {
        "db": db,
        "day": day,
        "lines": lines,
        "seconds": seconds,
        "publish_seconds": publish_seconds,
        "again": again,
    }


def peer(db: duckdb.DuckDBPyConnection, day: date, cards: int) -> tuple[int, float, dict[str, Decimal]]:
    """The same rules card by card: (lines, processor seconds, state -> money) of the first ``cards`` cards."""
    began = time.process_time()
    start = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000_000
    end = start + 86_400_000_000
    keys = [r[0] for r in db.execute("SELECT card_key FROM card ORDER BY 1 LIMIT ?", [cards]).fetchall()]
    held = db.execute(
        "SELECT card_key, epoch_us(valid_from), epoch_us(valid_to), share_nano FROM allocation WHERE card_key = ANY(?) "
        "AND epoch_us(valid_from) < ? AND epoch_us(valid_to) > ? ORDER BY ALL",
        [keys, end, start],
    ).fetchall()
    margin = 6_600_000_000
    minutes = db.execute(
        "SELECT card_key, epoch_us(minute), utilization_ratio_max >= 0.02 OR sm_active_ratio_max >= 0.02 FROM card_minute "
        "WHERE card_key = ANY(?) AND epoch_us(minute) >= ? AND epoch_us(minute) < ? ORDER BY ALL",
        [keys, start - margin, end + margin],
    ).fetchall()
    prices = dict(
        db.execute(
            "SELECT card_key, CASE WHEN model = 'H800' THEN 20123456 ELSE 7250000 END FROM card"
        ).fetchall()
    )
    by_card: dict[int, list[tuple[int, int, int]]] = {k: [] for k in keys}
    for card, a, b, share in held:
        by_card[card].append((a, b, share))
    active: dict[int, list[tuple[int, bool]]] = {k: [] for k in keys}
    for card, at, busy in minutes:
        active[card].append((at, busy))
    money: dict[str, Decimal] = {}
    lines = 0
    with localcontext() as context:
        context.prec = 60
        for card in keys:
            price = Decimal(prices[card])
            runs = [(a, b, share, plain_runs(active[card], a, b)) for a, b, share in by_card[card]]
            edges = {start + n * 3_600_000_000 for n in range(25)}
            for a, b, _, found in runs:
                edges.update((a, b))
                for x, y, _ in found:
                    edges.update((x, y))
            cut = sorted(e for e in edges if start <= e <= end)
            for x, y in pairwise(cut):
                here = [(share, found) for a, b, share, found in runs if a <= x and y <= b]
                total = sum(share for share, _ in here)
                parts = []
                for share, found in here:
                    state = next((s for p, q, s in found if p <= x and y <= q), "unknown")
                    parts.append((state, Decimal(share) * NANO / total if total > NANO else Decimal(share)))
                if total < NANO:
                    parts.append(("fragmented" if total else "unallocated_idle", Decimal(NANO - total)))
                for state, part in parts:
                    lines += 1
                    money[state] = money.get(state, Decimal(0)) + part * (y - x) * price
    return lines, time.process_time() - began, money


def plain_runs(minutes: list[tuple[int, bool]], start: int, end: int) -> list[tuple[int, int, str]]:
    """[(from, to, used or allocated_idle)] of one holder; complete telemetry is assumed, as the benchmark has it."""
    runs: list[list[int]] = []
    for at, busy in minutes:
        a, b = max(at, start), min(at + 60_000_000, end)
        if a >= b:
            continue
        if runs and runs[-1][2] == busy:
            runs[-1][1] = b
        else:
            runs.append([a, b, busy])
    found: list[tuple[int, int, str]] = []
    for a, b, busy in runs:
        state = "allocated_idle" if not busy and b - a >= 600_000_000 else "used"
        if found and found[-1][2] == state:
            found[-1] = (found[-1][0], b, state)
        else:
            found.append((a, b, state))
    return found


def month(cards: int, root: Path) -> dict[str, Any]:
    db = fleet(cards)
    fill_day(db, cards, 0)
    keep(db, States(db).work_out(FIRST, NOW))
    first = publish_facts_day(db, root, FIRST, status="sealed", now=NOW)
    publish_dimensions(db, root, now=NOW)
    for number in range(1, 31):
        day = FIRST + timedelta(days=number)
        shift = number * 86_400_000_000

        def write(folder: Path, shift: int = shift) -> dict[str, Any]:
            db.execute(
                f"COPY (SELECT * REPLACE (from_us + {shift} AS from_us, to_us + {shift} AS to_us) FROM "
                f"'{first.path('segments.parquet')}') TO '{folder / 'segments.parquet'}' (COMPRESSION zstd)"
            )
            db.execute(
                f"COPY (SELECT * REPLACE (hour_us + {shift} AS hour_us) FROM '{first.path('coverage.parquet')}') "
                f"TO '{folder / 'coverage.parquet'}' (COMPRESSION zstd)"
            )
            return dict(first.facts)

        write_revision(
            root / "facts" / f"day={day}", what="facts", day=day, status="sealed", now=NOW, write=write
        )
    size = sum(f.stat().st_size for f in root.rglob("*.parquet"))
    db.close()
    began_wall, began = time.perf_counter(), time.process_time()
    report = statement(Published(root), periods.monthly("2026-10", "UTC"), currency="CNY", now=NOW)
    cpu, wall = time.process_time() - began, time.perf_counter() - began_wall
    if not report.trust.adds_up:
        raise SystemExit(f"the month does not add up: {report.trust.checks}")
    lines = int(first.facts["rows"]) * 31
    return {"lines": lines, "cpu": cpu, "wall": wall, "cost": report.total.cost, "bytes": size}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cards", type=int, default=512)
    parser.add_argument("--days", type=int, default=14)
    parser.add_argument("--month-cards", type=int, default=2000)
    parser.add_argument("--peer-cards", type=int, default=64)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = states(args.cards, args.days, Path(folder))
        rate = made["lines"] / made["seconds"]
        print(
            f"states: {args.cards} cards x {args.days} days, {made['lines']} lines in {made['seconds']:.1f} s of one core: "
            f"{rate:,.0f} lines/s; a day again {made['again']:.2f} s; published in {made['publish_seconds']:.1f} s"
        )
        count = min(args.peer_cards, args.cards)
        lines, seconds, money = peer(made["db"], made["day"], count)
        ours = {
            state: Decimal(int(atoms))
            for state, atoms in made["db"]
            .execute(
                "SELECT state, sum((to_us - from_us)::HUGEINT * share_nano * price_micro) FROM segment WHERE day = ? AND card_key "
                "IN (SELECT card_key FROM card ORDER BY 1 LIMIT ?) GROUP BY 1",
                [made["day"], count],
            )
            .fetchall()
        }
        worst = max(
            abs(ours.get(s, Decimal(0)) - money.get(s, Decimal(0))) for s in ours.keys() | money.keys()
        )
        if worst > ATOMS_PER_UNIT // 1_000_000:  # shares that do not divide: nanos, not cents
            print(f"the peer comes to other money: {ours} {money}", file=sys.stderr)
            return 1
        peer_rate = lines / seconds
        print(
            f"peer, card by card in Python: {lines} lines in {seconds:.2f} s: {peer_rate:,.0f} lines/s; "
            f"ours is {rate / peer_rate:.1f} x as fast; the money is the same"
        )
    with tempfile.TemporaryDirectory() as folder:
        found = month(args.month_cards, Path(folder))
        print(
            f"statement of a month of {args.month_cards} cards: {found['lines']} lines ({found['bytes'] / found['lines']:.1f} "
            f"bytes each) in {found['cpu']:.1f} s of processor, {found['wall']:.1f} s; {found['cost']} CNY, adds up"
        )
    print(
        json.dumps(
            {
                "benchmark": "ledger",
                "figures": {
                    "cards": args.cards,
                    "days": args.days,
                    "segments": made["lines"],
                    "states_cpu_seconds": round(made["seconds"], 2),
                    "segments_per_second": round(rate),
                    "peer_segments_per_second": round(peer_rate),
                    "ratio": round(rate / peer_rate, 1),
                    "publish_cpu_seconds": round(made["publish_seconds"], 2),
                    "month_cards": args.month_cards,
                    "month_segments": found["lines"],
                    "month_statement_cpu_seconds": round(found["cpu"], 2),
                    "month_statement_wall_seconds": round(found["wall"], 2),
                    "month_bytes_per_segment": round(found["bytes"] / found["lines"], 1),
                    "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
                },
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
