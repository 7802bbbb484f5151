"""Pools where much of what is free fits no typical task, as findings. Pure: what the store said in, findings out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Final

from ullage_collector.detect.findings import Found
from ullage_collector.detect.fragmentation.capacity import Floats, FreeNode, as_arrays
from ullage_collector.detect.fragmentation.measure import SATISFIED, measure, totalled
from ullage_collector.detect.fragmentation.proposal import proposal
from ullage_collector.detect.fragmentation.reading import NANO_A_MILLI, Fleet
from ullage_collector.detect.fragmentation.settings import Rules
from ullage_collector.detect.fragmentation.task import WHOLE_MILLI, normalised
from ullage_collector.ledger import cost_atoms, formatted, rounded

KIND: Final = "fragmented_free_cards"
OWNER: Final = "platform"
DAY_US: Final = 86_400_000_000
_NAMED: Final = 5  # our choice: nodes and moves a line of evidence can hold; the route has all
_BLIND: Final = (
    0.5  # our choice: free cards are known; half of what could keep tasks from them is processors and memory
)


def find(fleet: Fleet, rules: Rules, now_us: int) -> list[Found]:
    """A finding for every pool (a cluster's cards without one are a pool) above both limits of the rules.

    Nothing is said where too few tasks ran to call any typical.
    """
    pools: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number, node in enumerate(fleet.nodes):
        pools[node.cluster, node.pool].append(number)
    found = []
    for (cluster, pool), places in sorted(pools.items()):
        kinds, tasks = fleet.typical.of(cluster, pool)
        if not kinds.asking:
            continue
        here = [fleet.nodes[number] for number in places]
        lost = measure(as_arrays(here), normalised(kinds.asking))
        total = totalled(lost)
        if total.ratio is None or total.ratio < rules.least_ratio:
            continue
        if total.fragmented_milli < rules.least_cards * WHOLE_MILLI:
            continue
        moved = {number: place for place, number in enumerate(places)}
        work = [replace(one, node=moved[one.node]) for one in fleet.work if one.node in moved]
        plan = proposal(here, work, kinds, rules)
        milli = lost.fragmented_milli
        worst = _worst(here, milli)
        cost, unpriced = _cost([fleet.prices[number] for number in places], milli)
        known = sum(node.free_milli for node in here if node.cpu_milli is not None)
        found.append(
            Found(
                kind=KIND,
                family="pool",
                subject=f"{cluster}/{pool}" if pool else cluster,
                since_us=now_us,
                evidence={
                    "cluster": cluster,
                    "pool": pool or None,
                    "free_cards": _cards(total.free_milli),
                    "frag_expected_cards": _cards(total.fragmented_milli),
                    "of_free": f"{100 * total.ratio:.0f} %",
                    "why_cards": {
                        name: _cards(amount)
                        for place, (name, amount) in enumerate(total.by_class.items())
                        if place != SATISFIED and amount >= WHOLE_MILLI / 20
                    },
                    "nodes": [f"{here[n].name} {_cards(float(milli[n]))}" for n in worst if milli[n] > 0],
                    "jobs_that_could_start": {str(one["cards"]): one["jobs"] for one in plan["starts"]},
                    "jobs_after_moves": {str(one["cards"]): one["jobs_after"] for one in plan["starts"]},
                    "stranded_cards": {
                        f"{one['cards']} {cause}": lost
                        for one in plan["starts"]
                        for cause, lost in one["stranded_cards"].items()
                        if lost
                    },
                    "partly_held": plan["partly_held"]["cards"],
                    "stranded_on_partly_held": _cards(plan["partly_held"]["stranded_milli"]),
                    "moves": [f"{m['workload']}: {m['from']} -> {m['to']}" for m in plan["moves"][:_NAMED]],
                    "all_moves": len(plan["moves"]),
                    "regained_cards": _cards(plan["regained_milli"]),
                    "cost_per_day": cost,
                    "cards_without_price": unpriced or None,
                    "typical_of_tasks": tasks,
                    "nodes_without_processors": sum(node.cpu_milli is None for node in here),
                },
                confidence=round(_BLIND + (1 - _BLIND) * known / total.free_milli, 2),
                owner=OWNER,
                action="move_a_few_workloads" if plan["moves"] else "pack_in_a_fixed_node_order",
            )
        )
    return found


def _worst(nodes: Sequence[FreeNode], milli: Floats) -> list[int]:
    order = sorted(range(len(nodes)), key=lambda n: (-round(float(milli[n]), 3), nodes[n].name))
    return order[:_NAMED]


def _cost(prices: Sequence[tuple[Decimal, str] | None], milli: Floats) -> tuple[dict[str, str], float]:
    """What fragmented cards cost for 24 h, by currency, and how many of them have no price."""
    atoms: dict[str, int] = defaultdict(int)
    unpriced = 0.0
    for price, amount in zip(prices, milli.tolist(), strict=True):
        if price is None:
            unpriced += amount
        else:
            atoms[price[1]] += cost_atoms(round(amount * NANO_A_MILLI) * DAY_US, int(price[0] * 1_000_000))
    return {
        name: formatted(rounded(sum_, name), grouped=False) for name, sum_ in sorted(atoms.items())
    }, _cards(unpriced)


def _cards(milli: float) -> float:
    return round(milli / WHOLE_MILLI, 1)
