"""Departments that waited while cards of the same kind idled elsewhere, as findings: hours, card-hours, money, both sides. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from ullage_collector.detect.findings import Found
from ullage_collector.detect.uneven.match import Kind, Pair, Supply
from ullage_collector.detect.uneven.settings import Rules
from ullage_collector.ledger import (
    HOUR_US,
    NANO,
    PLATFORM,
    QUANTITY_PER_CARD_HOUR,
    cost_atoms,
    formatted,
    rounded,
)

KIND: Final = "uneven_use"
DAY_US: Final = 86_400_000_000
FREE: Final = "free"
_NAMED: Final = 5  # our choice: sides and nodes a line of evidence can hold; the route has all
_WORK: Final = 200  # our choice: enough that no money is counted twice; evidence stays below a page

LEND: Final = "lend"
RAISE_MAX: Final = "raise_max"
MOVE_POOL: Final = "move_pool"
RUN_THERE: Final = "run_in_other_cluster"
LOOK: Final = "see_why_nothing_starts"
ACTIONS: Final = (LEND, RAISE_MAX, MOVE_POOL, RUN_THERE, LOOK)


def action(pair: Pair) -> str:
    """What would bring the two together: lend what somebody holds and does not use; of free cards, raise the ceiling of
    a full quota, bring them into the pool, or run the work where they are. Free cards of the own pool below every ceiling
    need somebody who looks why nothing starts (too few beside each other, a model asked for), and so does a smallest request
    of more cards than idle there."""
    demand, supply = pair.demand, pair.supply
    if not pair.fits:
        return LOOK
    if supply.department is not None:
        return LEND
    if supply.cluster != demand.cluster:
        return RUN_THERE
    if demand.pools and supply.pool is not None and supply.pool not in demand.pools:
        return MOVE_POOL
    return RAISE_MAX if demand.full else LOOK


class Side(NamedTuple):
    """Whose idle cards, and where. department None: they were free."""

    cluster: str
    kind: Kind
    pool: str | None
    department: str | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a side idled in the hours somebody waited. nodes: with the most of it, quantities; workloads: what held the cards."""

    nodes: tuple[tuple[str, int], ...] = ()
    workloads: tuple[str, ...] = ()


def side_of(supply: Supply) -> Side:
    """The side a supply is of."""
    return Side(supply.cluster, supply.kind, supply.pool, supply.department)


def find(
    pairs: Iterable[Pair],
    own: Iterable[Pair],
    rules: Rules,
    to_us: int,
    days: int | None = None,
    places: Mapping[Side, Place] = MappingProxyType({}),
) -> list[Found]:
    """A finding for every department, cluster and model above the limits. to_us: where the window ends. days: how many of it
    are published, None: all. places: of the idle sides, as far as they are known."""
    groups: dict[tuple[str, str, str], list[Pair]] = defaultdict(list)
    for pair in pairs:
        demand = pair.demand
        groups[demand.department, demand.cluster, demand.kind.model].append(pair)
    mine: dict[tuple[str, str, str], int] = defaultdict(int)
    for pair in own:
        mine[pair.demand.department, pair.demand.cluster, pair.demand.kind.model] += pair.quantity
    recent = to_us - rules.recent_days * DAY_US
    found = []
    for key, here in sorted(groups.items()):
        hours = sorted({pair.demand.hour_us for pair in here})
        total = sum(pair.quantity for pair in here)
        if total < rules.least_card_hours * QUANTITY_PER_CARD_HOUR or len(hours) < rules.least_hours:
            continue
        if hours[-1] < recent:
            continue
        found.append(_found(key, here, hours, mine[key], to_us, days or rules.days, places))
    return found


def _found(
    key: tuple[str, str, str],
    pairs: Sequence[Pair],
    hours: Sequence[int],
    own: int,
    to_us: int,
    days: int,
    places: Mapping[Side, Place],
) -> Found:
    department, cluster, model = key
    by_action: dict[str, int] = defaultdict(int)
    sides: dict[str, int] = defaultdict(int)
    pools: dict[str, int] = defaultdict(int)
    nodes: dict[str, int] = defaultdict(int)
    for pair in pairs:
        supply = pair.supply
        by_action[action(pair)] += pair.quantity
        sides[supply.department or FREE] += pair.quantity
        there = "" if supply.cluster == cluster else f"{supply.cluster}/"
        pools[f"{there}{supply.pool or '-'}"] += pair.quantity
    known = [place for one in {side_of(pair.supply) for pair in pairs} if (place := places.get(one))]
    for place in known:
        for name, amount in place.nodes:
            nodes[name] += amount
    money, unpriced = worth(pairs)
    a_day, _ = worth(pairs, days)
    best = min(by_action, key=lambda name: (-by_action[name], ACTIONS.index(name)))
    full = sum(pair.quantity for pair in pairs if pair.demand.full)
    evidence: dict[str, Any] = {
        "cluster": cluster,
        "model": model,
        "waiting": department,
        "idle": _largest(sides),
        "idle_pools": _largest(pools),
        "idle_nodes": list(_largest(nodes)),
        "hours": len(hours),
        "when": [_stretch(start, end) for start, end in runs(hours)[-_NAMED:]],
        "overlap_card_hours": card_hours(sum(pair.quantity for pair in pairs)),
        "own_idle_card_hours": card_hours(own),
        "at_its_ceiling_card_hours": card_hours(full),
        "smallest_request_cards": round(min(pair.demand.smallest_nano for pair in pairs) / NANO, 2) or None,
        "cost": money,
        "cost_per_day": a_day,
        "card_hours_without_price": card_hours(unpriced) or None,
        "by_action_card_hours": _largest(by_action),
        "workloads": sorted({name for place in known for name in place.workloads})[:_WORK],
        "department": department,
        "through": _instant(to_us),
    }
    return Found(
        KIND,
        "department",
        department,
        hours[0],
        evidence,
        key=f"{cluster} {model}",
        # our choice: where a ceiling or a holder stands between them it is sure; free cards below it may not fit the work
        confidence=round(0.9 - 0.4 * by_action.get(LOOK, 0) / sum(by_action.values()), 2),
        owner=PLATFORM,
        action=best,
    )


def worth(pairs: Iterable[Pair], days: int = 1) -> tuple[dict[str, str], int]:
    """(what the idle card-hours of the overlap cost at their segments' prices, quantity without a price). days: divides
    the money."""
    atoms: dict[str, int] = defaultdict(int)
    unpriced = 0
    for pair in pairs:
        supply = pair.supply
        if supply.price_micro is None or supply.currency is None:
            unpriced += pair.quantity
        else:
            atoms[supply.currency] += cost_atoms(pair.quantity, supply.price_micro)
    money = {
        name: formatted(rounded(value // days, name), grouped=False) for name, value in sorted(atoms.items())
    }
    return money, unpriced


def runs(hours: Sequence[int]) -> list[tuple[int, int]]:
    """Sorted hours that follow each other as stretches [from, to), microseconds since the epoch."""
    found: list[tuple[int, int]] = []
    for hour in hours:
        if found and found[-1][1] == hour:
            found[-1] = (found[-1][0], hour + HOUR_US)
        else:
            found.append((hour, hour + HOUR_US))
    return found


def card_hours(quantity: int) -> float:
    """For people, to a hundredth."""
    return round(quantity / QUANTITY_PER_CARD_HOUR, 2)


def _largest(amounts: Mapping[str, int]) -> dict[str, float]:
    order = sorted(amounts, key=lambda name: (-amounts[name], name))[:_NAMED]
    return {name: card_hours(amounts[name]) for name in order}


def _stretch(start: int, end: int) -> str:
    return f"{_instant(start)}/{_instant(end)}"


def _instant(us: int) -> str:
    return datetime.fromtimestamp(us / 1e6, UTC).strftime("%Y-%m-%dT%H:%MZ")
