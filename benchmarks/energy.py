"""How fast a day's energy is told by who held the cards, beside the same rules read plainly in Python.

    python benchmarks/energy.py [--cards 2000] [--peer-cards 32]

The fleet of benchmarks/ledger.py for one day, with two tariffs by the hour in Shanghai and a PUE that changes. Measured in
processor seconds, on one thread, reading included: the energy of the day's lines, after its states. The peer reads the same
minutes card by card and must come to the same millijoules, line by line. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.ledger import DAY, FIRST, fleet

from ullage_collector.pricing import energy
from ullage_collector.pricing.exchange import Exchange
from ullage_collector.pricing.tariffs import Charge, Pue, Tariff, charges
from ullage_collector.states import States

NOW = datetime(2026, 11, 2, tzinfo=UTC)
START_US = int(datetime(FIRST.year, FIRST.month, FIRST.day, tzinfo=UTC).timestamp()) * 10**6
DAY_US = 86_400 * 10**6
MINUTE_US = 60 * 10**6
WHOLE = 10**9
TARIFFS = (
    Tariff(1, None, "CNY", 980_000, "Asia/Shanghai", "08:00-23:00", None),
    Tariff(2, None, "CNY", 310_000, "Asia/Shanghai", "23:00-08:00", None),
)
PUES = (Pue(1, None, 1280), Pue(2, None, 1310, valid_from_us=START_US + 11 * 3_600 * 10**6))
Line = tuple[int, int, int, int | None, int]
"""card, from_us, to_us, allocation, millijoules"""


def world(cards: int) -> duckdb.DuckDBPyConnection:
    """The fleet with a day's work, minutes, tariffs and PUE."""
    db = fleet(cards)
    db.execute(DAY.format(day=FIRST, cards=cards, number=1))
    for each in TARIFFS:
        db.execute(
            "INSERT INTO tariff VALUES (?, NULL, 'CNY', ?, ?, ?, NULL, '2026-01-01', NULL, '2026-01-01', NULL, 'benchmark')",
            [each.tariff_id, each.tariff_micro, each.zone, each.hours],
        )
    for pue in PUES:
        db.execute(
            "INSERT INTO pue VALUES (?, NULL, ?, make_timestamp(?), NULL, '2026-01-01', NULL, 'benchmark')",
            [pue.pue_id, pue.pue_milli, pue.valid_from_us],
        )
    return db


def told(db: duckdb.DuckDBPyConnection) -> tuple[list[Line], float]:
    """The day's lines of energy as they are told, and the processor seconds it took after the states."""
    States(db).work_out(FIRST, NOW)
    p = {"from_us": START_US, "to_us": START_US + DAY_US, "as_of": NOW.replace(tzinfo=None)}
    started = time.process_time()
    found = energy.work_out(db, p, Exchange(()), None)
    seconds = time.process_time() - started
    names = ("card_key", "from_us", "to_us", "allocation_id", "energy_mj")
    columns = [found[name].to_pylist() for name in names]
    return list(zip(*columns, strict=True)), seconds


def peer(db: duckdb.DuckDBPyConnection, cards: int) -> tuple[list[Line], float]:
    """The same for the first cards, minute by minute, and the processor seconds it took."""
    last = 100_000 + cards
    started = time.process_time()
    minutes = db.execute(
        "SELECT card_key, epoch_us(minute), power_watts FROM card_minute WHERE card_key < ? AND minute::DATE = ?",
        [last, FIRST],
    ).fetchall()
    rows = db.execute(
        "SELECT card_key, from_us, to_us, share_nano, allocation_id FROM states_line WHERE card_key < ? "
        "ORDER BY card_key, from_us, allocation_id NULLS LAST, state",
        [last],
    ).fetchall()
    cost = charges("dc1", START_US, START_US + DAY_US, TARIFFS, PUES, Exchange(()))
    drawn: dict[int, dict[int, int]] = defaultdict(dict)
    for card, at, watts in minutes:
        drawn[card][at] = round(watts * 60_000)
    cells: dict[tuple[int, int, int], list[tuple[int, int | None]]] = defaultdict(list)
    for card, a, b, share, allocation in rows:
        cells[card, a, b].append((share, allocation))
    found: list[Line] = []
    for (card, a, b), shares in cells.items():
        for start, end in pairwise(_edges(a, b, cost)):
            found += _divided(card, start, end, _energy(drawn[card], start, end), shares)
    return found, time.process_time() - started


def _edges(a: int, b: int, cost: Sequence[Charge]) -> list[int]:
    return sorted({a, b, *(each.from_us for each in cost if a < each.from_us < b)})


def _energy(minutes: dict[int, int], start: int, end: int) -> int:
    total, at = 0, start - start % MINUTE_US
    while at < end:
        whole = minutes.get(at, 0)
        total += (
            whole * (min(end, at + MINUTE_US) - at) // MINUTE_US - whole * (max(start, at) - at) // MINUTE_US
        )
        at += MINUTE_US
    return total


def _divided(
    card: int, start: int, end: int, whole: int, shares: Sequence[tuple[int, int | None]]
) -> list[Line]:
    found: list[Line] = []
    upto = 0
    for share, allocation in shares:
        part = whole * (upto + share) // WHOLE - whole * upto // WHOLE
        upto += share
        if part:
            found.append((card, start, end, allocation, part))
    return found


def compared(cards: int, peer_cards: int) -> dict[str, Any]:
    """Figures of both; raises SystemExit where a line differs."""
    db = world(cards)
    lines, seconds = told(db)
    plain, plain_seconds = peer(db, peer_cards)
    db.close()
    mine = sorted((line for line in lines if line[0] < 100_000 + peer_cards), key=repr)
    if mine != sorted(plain, key=repr):
        raise SystemExit("BUG: the peer comes to other millijoules")
    return {
        "cards": cards,
        "seconds": round(seconds, 3),
        "lines": len(lines),
        "compared_lines": len(plain),
        "cards_per_second": round(cards / seconds),
        "peer_cards_per_second": round(peer_cards / plain_seconds),
        "ratio": round(cards / seconds * plain_seconds / peer_cards, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cards", type=int, default=2000, help="cards of the fleet")
    parser.add_argument("--peer-cards", type=int, default=32, help="cards the peer reads")
    args = parser.parse_args()
    figures = compared(args.cards, args.peer_cards)
    print(
        f"{args.cards} cards: {figures['seconds']} s, {figures['lines']} lines; {figures['ratio']} times the peer's speed"
    )
    print(json.dumps({"benchmark": "energy", "figures": figures}))


if __name__ == "__main__":
    main()
