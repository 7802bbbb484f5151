"""Hour by hour and kind by kind: how much of what one waited for idled elsewhere, and whose it was. Pure, exact integers.

Quantities are nano-share microseconds (ledger.py). A department first meets its own idle cards, and those of which it is not known:
that is its own affair and is told apart. Of what is left, the overlap of an hour and kind is the lesser of what waited and what idled; free cards are taken
before held ones, one's own cluster's before another's, and what is short is divided by what each waited for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ullage_collector.ledger import HOUR_US, split


class Kind(NamedTuple):
    """Cards that can stand in for each other. vendor: as ``quota.resources.maker`` writes it."""

    vendor: str
    model: str


@dataclass(frozen=True, slots=True)
class Demand:
    """What one department waited for on a cluster in an hour. full: a quota of it was at its ceiling. pools: those its quotas
    are about, empty: not known. smallest_nano: cards of the smallest of its requests, 1e9 a card."""

    hour_us: int
    cluster: str
    kind: Kind
    department: str
    quantity: int
    full: bool = False
    pools: frozenset[str] = frozenset()
    smallest_nano: int = 0


@dataclass(frozen=True, slots=True)
class Supply:
    """Cards of a pool that idled in an hour. department: who held them, None: nobody, they were free. price_micro, currency
    None: nobody gave a price. known False: held, and nobody knows whether they idled: they may be the holder's own way
    out, and are nobody else's."""

    hour_us: int
    cluster: str
    kind: Kind
    quantity: int
    department: str | None = None
    pool: str | None = None
    price_micro: int | None = None
    currency: str | None = None
    known: bool = True


@dataclass(frozen=True, slots=True)
class Pair:
    """So much of a demand met so much of a supply. fits: all that idled there in that hour was enough for its smallest
    request; else more cards have to come together before any of it starts."""

    demand: Demand
    supply: Supply
    quantity: int
    fits: bool = True


@dataclass(frozen=True, slots=True)
class Hour:
    """One hour and kind. waiting, idle: after each department met its own; own: what it met. overlap: of both."""

    hour_us: int
    kind: Kind
    waiting: int
    idle: int
    own: int
    overlap: int


@dataclass(frozen=True, slots=True)
class Matched:
    """pairs: of every overlap; own: each department's share of what it waited for beside its own idle cards."""

    pairs: tuple[Pair, ...]
    hours: tuple[Hour, ...]
    own: tuple[Pair, ...]


def matched(demands: Iterable[Demand], supplies: Iterable[Supply], *, across_clusters: bool) -> Matched:
    """Every hour and kind with demand, in order. Hours of which nothing is known are not there, and match nothing."""
    wanted: dict[tuple[int, Kind], list[Demand]] = defaultdict(list)
    there: dict[tuple[int, Kind], list[Supply]] = defaultdict(list)
    for demand in demands:
        if demand.quantity > 0:
            wanted[demand.hour_us, demand.kind].append(demand)
    for supply in supplies:
        if supply.quantity > 0:
            there[supply.hour_us, supply.kind].append(supply)
    pairs: list[Pair] = []
    own: list[Pair] = []
    hours: list[Hour] = []
    for (hour, kind), asking in sorted(wanted.items()):
        offered = there.get((hour, kind), [])
        left = [demand.quantity for demand in asking]
        idle = [supply.quantity for supply in offered]
        mine = _own(asking, offered, left, idle)
        idle = [amount if supply.known else 0 for amount, supply in zip(idle, offered, strict=True)]
        waiting, free = sum(left), sum(idle)
        met = _met(asking, offered, left, idle, same_cluster=True)
        if across_clusters:
            met += _met(asking, offered, left, idle, same_cluster=False)
        mine = [pair for pair in mine if pair.supply.known]
        own += mine
        pairs += met
        hours.append(
            Hour(hour, kind, waiting, free, sum(p.quantity for p in mine), sum(p.quantity for p in met))
        )
    return Matched(tuple(pairs), tuple(hours), tuple(own))


def _own(asking: Sequence[Demand], offered: Sequence[Supply], left: list[int], idle: list[int]) -> list[Pair]:
    """Each department's demand against what it holds itself on the same cluster."""
    theirs: dict[tuple[str, str | None], list[int]] = defaultdict(list)
    for s, supply in enumerate(offered):
        theirs[supply.cluster, supply.department].append(s)
    found = []
    for d, demand in enumerate(asking):
        for s in theirs.get((demand.cluster, demand.department), ()):
            taken = min(left[d], idle[s])
            if taken:
                left[d] -= taken
                idle[s] -= taken
                found.append(Pair(demand, offered[s], taken))
    return found


def _met(
    asking: Sequence[Demand],
    offered: Sequence[Supply],
    left: list[int],
    idle: list[int],
    *,
    same_cluster: bool,
) -> list[Pair]:
    """What is left of both, supply by supply; of other clusters only free cards, as nobody lends what he holds elsewhere."""
    found = []
    there: dict[str, int] = defaultdict(int)
    for supply in offered:
        there[supply.cluster] += supply.quantity if supply.known else 0
    order = sorted(
        range(len(offered)),
        key=lambda s: (
            offered[s].department is not None,
            -idle[s],
            offered[s].cluster,
            offered[s].pool or "",
            s,
        ),
    )
    for s in order:
        supply = offered[s]
        if not same_cluster and supply.department is not None:
            continue
        takers = {
            d: left[d]
            for d, demand in enumerate(asking)
            if left[d] and (demand.cluster == supply.cluster) is same_cluster
        }
        amount = min(idle[s], sum(takers.values()))
        if not amount:
            continue
        idle[s] -= amount
        for d, taken in split(amount, takers).items():
            left[d] -= taken
            if taken:
                enough = asking[d].smallest_nano * HOUR_US <= there[supply.cluster]
                found.append(Pair(asking[d], supply, taken, enough))
    return found
