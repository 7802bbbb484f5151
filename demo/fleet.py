"""Two weeks of a fleet that does not exist: 64 servers, 512 cards of five makers, three departments.

    python -m demo.fleet OUT [--servers 64] [--days 14] [--end 2026-11-20] [--seed 1]

writes what `ullage-collector import` reads, and the truth to check it by. Same arguments, same files.
What the files and columns mean: demo/README.md.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from demo import tables, telemetry
from demo.activity import live
from demo.happenings import stories
from demo.places import fleet
from demo.schedule import workloads


@dataclass(frozen=True, slots=True)
class Made:
    """What was made. begin, end: seconds since the epoch, [begin, end)."""

    servers: int
    cards: int
    begin: float
    end: float
    seed: int
    telemetry_rows: int
    workloads: int
    allocations: int
    inventory_rows: int
    events: int
    incidents: int
    idle_stretches: int


def make(
    out: Path, *, servers: int = 64, days: int = 14, end: date | datetime | None = None, seed: int = 1
) -> Made:
    """Write the whole fleet below ``out``; ``end`` is the UTC day after the last one (default: today) or an instant."""
    out.mkdir(parents=True, exist_ok=True)
    last = (
        end
        if isinstance(end, datetime)
        else datetime.combine(end or datetime.now(UTC).date(), datetime.min.time(), UTC)
    )
    stop = last.timestamp()
    begin = (last - timedelta(days=days)).timestamp()
    cards = fleet(servers)
    happenings = stories(cards, begin, stop, random.Random(f"{seed}/stories"))
    held = workloads(cards, happenings, begin, stop, seed)
    activity, idle = live(len(cards), held, happenings, begin, stop)
    rows = telemetry.write(out / "telemetry.parquet", cards, activity, happenings, seed)
    allocated = tables.allocations(out / "allocations.parquet", held, cards, stop)
    owned = tables.inventory(out / "inventory.csv", cards, happenings, begin)
    tables.prices(out / "prices.toml", begin)
    tables.mapping(out / "mapping.toml", begin)
    events, incidents = tables.incidents(out, happenings, begin, stop)
    tables.truth(out, held, cards, idle, begin, stop)
    made = Made(
        servers,
        len(cards),
        begin,
        stop,
        seed,
        rows,
        len(held),
        allocated,
        owned,
        events,
        incidents,
        len(idle),
    )
    (out / "fleet.json").write_text(json.dumps({"schema_version": 1, **asdict(made)}, indent=1) + "\n")
    return made


def main(arguments: list[str] | None = None) -> int:
    """The command. 0 good, 2 usage."""
    parser = argparse.ArgumentParser(prog="python -m demo.fleet", description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--servers", type=int, default=64)
    parser.add_argument("--days", type=int, default=14)
    parser.add_argument("--end", type=date.fromisoformat, help="UTC day after the last one, YYYY-MM-DD")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    if given.days < 1 or given.servers < 6:
        parser.error("at least one day and six servers, one of each group")
    began = time.perf_counter()
    made = make(given.out, servers=given.servers, days=given.days, end=given.end, seed=given.seed)
    took = time.perf_counter() - began
    print(json.dumps({"schema_version": 1, **asdict(made), "seconds": round(took, 1)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
