"""How fast ``ullage-report settle`` prices a world in a file, beside the same rules hour by hour with Decimal.

    python benchmarks/settle.py [--cards 1400] [--days 31]

Jobs begin and end on whole hours, so that the window has a cut an hour: cards x hours are the ledger lines, each a share of a card over a stretch with
a holder, a state and a price; a million of them by default. A job's last fifth is idle. The peer walks the same hours card by card, and must come to
the same total to the cent and to each department's lines within one. Processor seconds of one thread. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from ullage_reports.settle.reader import read_world
from ullage_reports.settle.statement import settle

START = datetime(2026, 10, 1, tzinfo=UTC)
HOURLY = Decimal("14.20")
CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Job:
    """Whole hours after START: held from ``begins`` to ``ends``, working until ``idles``."""

    card: str
    department: str
    begins: int
    idles: int
    ends: int


def jobs(cards: int, hours: int, seed: int = 7) -> list[Job]:
    """Four of five stretches of 5 to 40 hours are held, by forty teams."""
    rng = random.Random(seed)
    found = []
    for number in range(cards):
        at = 0
        while at < hours:
            ends = min(at + rng.randint(5, 40), hours)
            if rng.random() < 0.8:
                team = rng.randrange(40)
                found.append(
                    Job(f"G{number}", f"division{team % 6}/team{team}", at, ends - (ends - at) // 5, ends)
                )
            at = ends
    return found


def world(cards: int, hours: int, held: list[Job]) -> dict[str, Any]:
    """The file."""

    def at(hour: int) -> str:
        return (START + timedelta(hours=hour)).isoformat()

    telemetry = []
    for job in held:
        telemetry.append({"card": job.card, "active": True, "start": at(job.begins), "end": at(job.idles)})
        if job.idles < job.ends:
            telemetry.append({"card": job.card, "active": False, "start": at(job.idles), "end": at(job.ends)})
    return {
        "currency": "CNY",
        "minor_units": 2,
        "inputs": {
            "window": [at(0), at(hours)],
            "price_models": [
                {"model": "H20", "hourly": str(HOURLY), "effective_from": "2026-01-01T00:00:00Z"}
            ],
            "cards": [{"card": f"G{n}", "model": "H20"} for n in range(cards)],
            "allocations": [
                {
                    "department": j.department,
                    "card": j.card,
                    "job": f"j{n}",
                    "start": at(j.begins),
                    "end": at(j.ends),
                }
                for n, j in enumerate(held)
            ],
            "telemetry": telemetry,
        },
    }


def peer(cards: int, hours: int, held: list[Job]) -> dict[tuple[str, str], Decimal]:
    """Hour by hour and card by card: (department, state) -> money."""
    by_card: dict[str, list[Job]] = defaultdict(list)
    for job in held:
        by_card[job.card].append(job)
    money: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for number in range(cards):
        mine = by_card[f"G{number}"]
        for hour in range(hours):
            job = next((job for job in mine if job.begins <= hour < job.ends), None)
            if job is None:
                money["platform", "unallocated_idle"] += HOURLY
            else:
                money[job.department, "used" if hour < job.idles else "allocated_idle"] += HOURLY
    return money


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cards", type=int, default=1400)
    parser.add_argument("--days", type=int, default=31)
    args = parser.parse_args()
    hours = args.days * 24
    held = jobs(args.cards, hours)
    lines = args.cards * hours
    text = json.dumps(world(args.cards, hours, held))
    began = time.process_time()
    read = read_world(text, Path("world.json").name)
    read_seconds = time.process_time() - began
    began = time.process_time()
    found = settle(read)[-1]
    seconds = time.process_time() - began
    began = time.process_time()
    plain = peer(args.cards, hours, held)
    peer_seconds = time.process_time() - began
    ours = {(line.department, line.cost_class): line.cost for line in found.lines}
    total = sum(ours.values(), Decimal(0))
    worst = max(
        abs(ours.get(key, Decimal(0)) - plain.get(key, Decimal(0))) for key in ours.keys() | plain.keys()
    )
    if total != sum(plain.values(), Decimal(0)) or worst > CENT:
        print(f"the peer comes to other money: {total}, worst {worst}", file=sys.stderr)
        return 1
    rate = lines / seconds
    print(
        f"settle: {args.cards} cards x {hours} hours, {len(held)} allocations, {lines} ledger lines in {seconds:.1f} s of one core: "
        f"{rate:,.0f} lines/s; the file of {len(text) / 1e6:.1f} MB read in {read_seconds:.1f} s"
    )
    print(
        f"peer, hour by hour with Decimal, which knows none of the policies: {peer_seconds:.1f} s, {lines / peer_seconds:,.0f} lines/s; "
        f"ours takes {seconds / peer_seconds:.1f} x as long; the money is the same"
    )
    figures = {
        "cards": args.cards,
        "lines": lines,
        "settle_cpu_seconds": round(seconds, 1),
        "lines_per_second": round(rate),
        "read_cpu_seconds": round(read_seconds, 1),
        "peer_cpu_seconds": round(peer_seconds, 1),
        "ratio": round(peer_seconds / seconds, 2),
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(json.dumps({"benchmark": "settle", "figures": figures}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
