"""Every card's state at this instant: for the map, the card pages and the fleet gauges.

The ledger's states (states.py) are judged over whole days with hindsight, back-dated and exact; these are
what can be said now, from the last ten minutes. Missing data never makes a card idle or well: it makes
it unknown.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from ullage_collector.audit import naive_utc
from ullage_collector.ledger import UNMAPPED, price_decimal
from ullage_collector.mapping import Mapper, Owner, Rule, Subject, subject
from ullage_collector.prices import Price, PriceBook
from ullage_collector.pricing.now import book_now
from ullage_collector.snapshot import (
    AllocationInfo,
    CardCount,
    DepartmentCost,
    DepartmentShare,
    FleetSnapshot,
)
from ullage_collector.sql import statements
from ullage_contract.clock import Clock
from ullage_contract.event import Severity

if TYPE_CHECKING:
    import duckdb

STATES: Final = (
    "used",
    "allocated_idle",
    "unallocated_idle",
    "fragmented",
    "faulty",
    "isolated",
    "unknown",
)
"""In the order of the map's legend and of its byte planes."""

NODE_STATUSES: Final = ("up", "silent", "clock_wrong", "never_seen")
QUIET_SECONDS: Final = 600.0
"""How long a held card must do nothing to be shown as idle: the ten minutes of detect/states.toml."""
STALE_SECONDS: Final = 300.0  # our choice: because five missed slow rounds are more than a hiccup
OUT_OF_SERVICE: Final = ("commissioning", "maintenance", "rma")
"""detect/states.toml: lives whose free cards are isolated."""
ACTIVE_RATIO: Final = 0.02
"""detect/states.toml: an activity at or above this counts as work."""
WHOLE: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class CardNow:
    """One card at this instant. None: not known.

    state: its main state. held_nano: share somebody holds, in 1e-9; held_from: since when, by the newest of its holders. department: display id, None: nobody holds it.
    """

    card_id: str
    cluster_id: str
    node_id: str
    vendor: str
    model: str
    index: int | None
    pool: str | None
    state: str
    utilization_ratio: float | None
    memory_ratio: float | None
    power_watts: float | None
    temperature_celsius: float | None
    health: str | None
    last_time: datetime | None
    held_nano: int
    held_from: datetime | None
    workload_id: str | None
    user: str | None
    department: str | None
    scenario: str | None
    origin: str


class FleetNow:
    """Reads the store and keeps the answer for ``keep_seconds``: a hundred open consoles cost one query.

    connect: a cursor of the open store.
    """

    def __init__(
        self,
        connect: Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]],
        clock: Clock,
        *,
        keep_seconds: float = 2.0,
    ) -> None:
        self._connect = connect
        self._clock = clock
        self._keep_seconds = keep_seconds
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._cards: list[CardNow] = []
        self._at = 0.0
        self._snapshot = FleetSnapshot(at=0.0)
        self._names: dict[str, str] = {}
        self._book = PriceBook(())

    def cards(self) -> tuple[float, list[CardNow]]:
        """When it was read (epoch seconds), and every card ordered by cluster, node and index."""
        self._refresh()
        return self._at, self._cards

    def snapshot(self) -> FleetSnapshot:
        """The same as counts and sums, for /metrics."""
        self._refresh()
        return self._snapshot

    def department_names(self) -> Mapping[str, str]:
        """Department id -> name as people write it; raw text."""
        self._refresh()
        return self._names

    def price(self, card: CardNow) -> tuple[Decimal, str] | None:
        """A card's price an hour and its currency; None: nobody gave one."""
        found = _price_of(self._book, card, self._at)
        return None if found is None else (price_decimal(found.price_micro), found.currency)

    def _refresh(self) -> None:
        with self._lock:
            if self._clock.monotonic() - self._read_at < self._keep_seconds:
                return
            with self._connect() as connection:
                self._read(connection)
            self._read_at = self._clock.monotonic()

    def _read(self, connection: duckdb.DuckDBPyConnection) -> None:
        at = self._clock.wall()
        now = naive_utc(at)
        sql = statements("fleet_now")
        mapper = Mapper([Rule(*row) for row in connection.execute(sql["rules"]).fetchall()])
        book = book_now(connection)
        workloads = {
            row[0]: subject(*row[1:]) for row in connection.execute(sql["workloads"], {"now": now}).fetchall()
        }
        owners = _Owners(mapper, workloads, int(at * 1e6))
        rows = connection.execute(
            sql["cards"], {"now": now, "quiet": naive_utc(at - QUIET_SECONDS)}
        ).fetchall()
        self._cards = [_card(row, now, workloads, owners) for row in rows]
        self._names = dict(connection.execute(sql["departments"], {"now": now}).fetchall())
        # none open is a zero we know, not a series that is missing
        incidents = dict.fromkeys(map(str, Severity), 0)
        incidents.update(connection.execute(sql["incidents"]).fetchall())
        nodes = dict.fromkeys(NODE_STATUSES, 0)
        nodes.update(connection.execute(sql["nodes"], {"now": now}).fetchall())
        self._snapshot = _summary(at, self._cards, book, incidents, nodes)
        self._book = book
        self._at = at


class _Owners:
    """Who pays for a workload on a card of a pool now; each is asked once."""

    def __init__(self, mapper: Mapper, workloads: Mapping[int, Subject], at_us: int) -> None:
        self._mapper = mapper
        self._workloads = workloads
        self._at_us = at_us
        self._found: dict[tuple[int, str | None], Owner] = {}

    def of(self, workload_key: int | None, pool: str | None) -> Owner | None:
        """None where nobody holds the card."""
        if workload_key is None or workload_key not in self._workloads:
            return None
        owner = self._found.get((workload_key, pool))
        if owner is None:
            seen = replace(self._workloads[workload_key], pool=pool)
            owner = self._found[workload_key, pool] = self._mapper.at(seen, self._at_us)
        return owner


def _card(row: tuple[Any, ...], now: datetime, workloads: Mapping[int, Subject], owners: _Owners) -> CardNow:
    (_, card_id, cluster_id, node_id, vendor, model, index, pool, life, last_time) = row[:10]
    (utilization, memory, power, temperature, health, busiest) = row[10:16]
    (held_nano, workload_key, held_from, is_broken, is_apart, _, origin) = row[16:]
    fresh = last_time is not None and last_time >= now - timedelta(seconds=STALE_SECONDS)
    if is_apart or (life in OUT_OF_SERVICE and not held_nano):
        state = "isolated"
    elif is_broken or (fresh and health == "lost"):
        state = "faulty"
    elif not fresh:
        state = "unknown"
    elif not held_nano:
        state = "unallocated_idle"
    elif busiest is None:
        state = "unknown"
    else:
        state = "used" if busiest >= ACTIVE_RATIO else "allocated_idle"
    workload = workloads.get(workload_key)
    owner = owners.of(workload_key, pool)
    return CardNow(
        card_id=card_id,
        cluster_id=cluster_id,
        node_id=node_id,
        vendor=vendor,
        model=model,
        index=index,
        pool=pool,
        state=state,
        utilization_ratio=utilization if fresh else None,
        memory_ratio=memory if fresh else None,
        power_watts=power if fresh else None,
        temperature_celsius=temperature if fresh else None,
        health=health if fresh else None,
        last_time=last_time,
        held_nano=held_nano,
        held_from=held_from,
        workload_id=workload.workload_id if workload else None,
        user=workload.user if workload else None,
        department=owner.department if owner else None,
        scenario=owner.scenario if owner else None,
        origin=origin,
    )


def shares(card: CardNow) -> dict[str, float]:
    """The card's capacity by state; adds up to 1. The free part of a partly held card is fragmented."""
    if card.state in ("isolated", "faulty", "unknown", "unallocated_idle") or card.held_nano >= WHOLE:
        return {card.state: 1.0}
    held = card.held_nano / WHOLE
    return {card.state: held, "fragmented": 1.0 - held}


def _price_of(book: PriceBook, card: CardNow, at: float) -> Price | None:
    place = {"cluster": card.cluster_id, "node": card.node_id, "card": card.card_id}
    return book.at(card.model, card.pool, int(at * 1e6), **place)


def _summary(
    at: float,
    cards: list[CardNow],
    book: PriceBook,
    incidents: Mapping[str, int],
    nodes: Mapping[str, int],
) -> FleetSnapshot:
    counts: Counter[tuple[str, str, str, str]] = Counter()
    by_state: dict[str, float] = dict.fromkeys(STATES, 0.0)
    departments: dict[tuple[str, str], float] = defaultdict(float)
    costs: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    allocations: list[AllocationInfo] = []
    for card in cards:
        parts = shares(card)
        main = max(parts, key=lambda state: (parts[state], state == card.state))
        counts[card.cluster_id, card.vendor, card.model, main] += 1
        for state, share in parts.items():
            by_state[state] += share
        if card.workload_id is None:
            continue
        department = card.department or ""
        held = card.held_nano / WHOLE
        departments[department, card.state] += held
        if (price := _price_of(book, card, at)) is not None:
            costs[department, price.currency] += price_decimal(price.price_micro) * card.held_nano / WHOLE
        allocations.append(
            AllocationInfo(
                cluster=card.cluster_id,
                node=card.node_id,
                card=card.card_id,
                workload=card.workload_id,
                user=card.user or "",
                department=department,
                scenario=card.scenario or "",
            )
        )
    return FleetSnapshot(
        at=at,
        cards=[CardCount(*key, cards=n) for key, n in sorted(counts.items())],
        share_by_state=by_state,
        departments=[DepartmentShare(d, s, n) for (d, s), n in sorted(departments.items())],
        costs=[DepartmentCost(d, c, n) for (d, c), n in sorted(costs.items())],
        allocations=allocations,
        incidents_open=incidents,
        nodes=nodes,
        unmapped_share=_unmapped(departments),
    )


def _unmapped(departments: Mapping[tuple[str, str], float]) -> float | None:
    """Share of what is held that maps to nothing, 0..1; None: nothing is held."""
    held = sum(departments.values())
    unmapped = sum(cards for (department, _), cards in departments.items() if department == UNMAPPED)
    return unmapped / held if held else None
