"""What the store knows of waiting and idling, hour by hour: requests, quotas at their ceiling, and the ledger's segments.

Idle cards are those of published days: free, or held and idle, as money knows them; what is unknown, isolated or broken is
nobody's to take, nor are cards of work that serves: warm replicas wait for requests, and are never idle by utilisation alone. A request counts where it is known which kind of card it waits for: the one it names, or the only one its cluster
has of that maker. Not here: the arithmetic (match.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from ullage_collector.audit import naive_utc
from ullage_collector.detect.uneven.finding import Place, Side
from ullage_collector.detect.uneven.match import Demand, Kind, Supply
from ullage_collector.detect.uneven.settings import Rules
from ullage_collector.ledger import HOUR_US
from ullage_collector.quota.conditions import glob_holds
from ullage_collector.quota.entry import ANY_POOL, NO_POOL
from ullage_collector.quota.known import Asked, asked_between, department_of
from ullage_collector.quota.resources import maker
from ullage_collector.sql import statements

if TYPE_CHECKING:
    import duckdb

DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Use:
    """One stretch. places: where idle sides idled in the hours with demand. days: UTC days of it that are published. unplaced: what waited for a kind of card nobody knows. refused:
    requests that could not be understood."""

    from_us: int
    to_us: int
    days: int
    demands: tuple[Demand, ...]
    supplies: tuple[Supply, ...]
    unplaced: int
    refused: tuple[str, ...]
    places: Mapping[Side, Place]


def last_day_us(cursor: duckdb.DuckDBPyConnection) -> int | None:
    """The end of the newest day whose states are known; None: no day is."""
    found = cursor.execute(statements("uneven")["last_day"]).fetchall()[0][0]
    return None if found is None else int(found) + DAY_US


def read(cursor: duckdb.DuckDBPyConnection, from_us: int, to_us: int, now_us: int, rules: Rules) -> Use:
    """[from_us, to_us), whole UTC hours, as believed now."""
    sql = statements("uneven")
    span = {"from_us": from_us, "to_us": to_us}
    kinds: dict[str, set[Kind]] = defaultdict(set)
    for cluster, vendor, model in cursor.execute(sql["kinds"], span).fetchall():
        kinds[cluster].add(Kind(maker(vendor), model))
    requests, refused = asked_between(cursor, from_us, to_us, as_of_us=now_us)
    waits, unplaced = waited(requests, kinds, from_us, to_us)
    full = _quotas(cursor, from_us, to_us, rules.full_ratio)
    demands = tuple(demand_of(key, *asked, full) for key, asked in sorted(waits.items()))
    hours = {demand.hour_us for demand in demands}
    wanted = {demand.kind for demand in demands}
    there = [word for (word,) in cursor.execute(sql["scenarios"], span).fetchall()]
    given = {
        **span,
        "hours": sorted(hours),
        "serving": [
            word
            for word in there
            if any(fnmatchcase(word.casefold(), glob.casefold()) for glob in rules.serving)
        ],
    }
    rows = cursor.execute(sql["idle"], given).fetchall() if hours else []
    supplies = tuple(supply for row in rows if (supply := _supply(*row)).kind in wanted)
    days = cursor.execute(sql["days"], span).fetchall()[0][0]
    places = _places(cursor, given) if supplies else {}
    return Use(from_us, to_us, days, demands, supplies, unplaced, tuple(refused), places)


def _places(cursor: duckdb.DuckDBPyConnection, given: Mapping[str, Any]) -> dict[Side, Place]:
    found: dict[Side, Place] = {}
    for cluster, vendor, model, pool, department, nodes, work in cursor.execute(
        statements("uneven")["places"], given
    ).fetchall():
        side = Side(cluster, Kind(maker(vendor), model), pool, department)
        named = tuple((one["node"], int(one["quantity"])) for one in nodes or ())
        found[side] = Place(named, tuple(work or ()))
    return found


Wait = tuple[int, str, Kind, str]
"""Hour, cluster, kind, department."""


def waited(
    asked: Iterable[Asked], kinds: Mapping[str, Collection[Kind]], from_us: int, to_us: int
) -> tuple[dict[Wait, tuple[int, int]], int]:
    """(quantity, and cards of the smallest request in nano-shares, by hour, cluster, kind and department; quantity of which the
    kind is not known)."""
    found: dict[Wait, tuple[int, int]] = {}
    unplaced = 0
    for wait in asked:
        start, end = max(wait.from_us, from_us), min(wait.to_us, to_us)
        if start >= end:
            continue
        kind = kind_of(wait, kinds.get(wait.cluster, ()))
        if kind is None:
            unplaced += wait.nano * (end - start)
            continue
        department = department_of(wait.values)
        while start < end:
            hour = start - start % HOUR_US
            until = min(end, hour + HOUR_US)
            key = (hour, wait.cluster, kind, department)
            quantity, smallest = found.get(key, (0, wait.nano))
            found[key] = (quantity + wait.nano * (until - start), min(smallest, wait.nano))
            start = until
    return found, unplaced


def kind_of(wait: Asked, there: Iterable[Kind]) -> Kind | None:
    """The one kind of a cluster's cards a request can mean; None: it might be several, or none, or it does not say whose."""
    if wait.vendor is None and wait.model is None:
        return None
    fits = [
        kind
        for kind in there
        if (wait.vendor is None or maker(wait.vendor) == kind.vendor) and glob_holds(wait.model, kind.model)
    ]
    return fits[0] if len(fits) == 1 else None


@dataclass(frozen=True, slots=True)
class Waiting:
    """A quota for which work waited in an hour. vendor, model (a glob) None: of every card. full: it was at its ceiling."""

    pool: str
    vendor: str | None
    model: str | None
    department: str
    full: bool


def _quotas(
    cursor: duckdb.DuckDBPyConnection, from_us: int, to_us: int, full_ratio: float
) -> dict[int, list[Waiting]]:
    rows = cursor.execute(
        statements("uneven")["waiting_quotas"],
        {"from": naive_utc(from_us / 1e6), "to": naive_utc(to_us / 1e6), "full": full_ratio},
    ).fetchall()
    found: dict[int, list[Waiting]] = defaultdict(list)
    for hour, *rest in rows:
        found[hour].append(Waiting(*rest))
    return found


def demand_of(wait: Wait, quantity: int, smallest_nano: int, quotas: Mapping[int, list[Waiting]]) -> Demand:
    """A demand with what the quotas of its department, and those above it, say of it that hour."""
    hour, cluster, kind, department = wait
    theirs = [
        quota
        for quota in quotas.get(hour, ())
        if (department == quota.department or department.startswith(f"{quota.department}/"))
        and (quota.vendor is None or maker(quota.vendor) == kind.vendor)
        and glob_holds(quota.model, kind.model)
    ]
    pools = frozenset(quota.pool for quota in theirs if quota.pool not in (ANY_POOL, NO_POOL))
    return Demand(
        hour,
        cluster,
        kind,
        department,
        quantity,
        any(quota.full for quota in theirs),
        pools,
        smallest_nano,
    )


def _supply(
    hour: int,
    cluster: str,
    vendor: str,
    model: str,
    pool: str | None,
    department: str | None,
    price_micro: int | None,
    currency: str | None,
    known: bool,
    quantity: Any,
) -> Supply:
    kind = Kind(maker(vendor), model)
    return Supply(hour, cluster, kind, int(quantity), department, pool, price_micro, currency, known)
