"""Jobs that stand further apart than they must, as findings: where, what it costs by which formula, and where they fit.

Pure. Said only where the leaf switches of all their nodes are known, and their ports carry traffic: what nobody knows is no
finding. Not here: reading the store (reading.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final

from ullage_collector.detect.findings import Found
from ullage_collector.detect.idle_finding import DAY_US, MOST_NAMED, Gang, Held
from ullage_collector.detect.placement.fabric import (
    Candidate,
    Group,
    Ring,
    around,
    clear,
    enough,
    least_groups,
    off_rail,
    ring,
)
from ullage_collector.detect.placement.settings import Rules
from ullage_collector.detect.placement.traffic import Congestion, PortFigures, congestion
from ullage_collector.ledger import (
    PLATFORM,
    QUANTITY_PER_CARD_HOUR,
    cost_atoms,
    formatted,
    quantity,
    rounded,
)
from ullage_collector.prices import PriceBook

KIND: Final = "scattered_job"
FORMULA: Final = "communication_ratio * congested_ratio * max((crossings - least_crossings) / crossings, cards_off_their_rail / cards)"


@dataclass(frozen=True, slots=True)
class Node:
    """One node's cards of one model as placement sees them. leaves: its leaf switches, empty: not known for sure. spines: above them, None: not
    known. cards, free: how many of its cards may take work, and are wholly free now; card_ids: the first."""

    name: str
    cluster: str
    model: str
    pool: str
    leaves: Group
    spines: frozenset[str] | None
    cards: int
    free: int
    card_ids: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Placed:
    """A job and what is known of its place. leaves: of every node it runs on, empty where not known for sure.

    rails: of each node, those of the job's cards; could: those of all its cards; both empty where any is not known.
    shared: on a node with other work, so that its ports are nobody's alone.
    """

    gang: Gang
    leaves: Mapping[str, Group]
    ports: Sequence[PortFigures]
    rails: Mapping[str, frozenset[str]] = field(default_factory=dict)
    could: Mapping[str, frozenset[str]] = field(default_factory=dict)
    shared: bool = False


def find(
    placed: Iterable[Placed], nodes: Iterable[Node], rules: Rules, prices: PriceBook, now_us: int
) -> list[Found]:
    """A finding for every job with more groups of switches, or cards off its rails, than it must have."""
    there = list(nodes)
    found = []
    for job in placed:
        one = _judged(job, there, rules, prices, now_us)
        if one is not None:
            found.append(one)
    return found


def _judged(job: Placed, nodes: Sequence[Node], rules: Rules, prices: PriceBook, now_us: int) -> Found | None:
    gang = job.gang
    on = Counter(held.node_id for held in gang.held)
    if None in on or len(on) < rules.least_nodes or not all(job.leaves.get(str(name)) for name in on):
        return None
    if now_us - min(held.begun_us for held in gang.held) < rules.grace * 60_000_000:
        return None
    seen = congestion(job.ports, rules.signs, rules.minutes * 60.0)
    if seen is None or seen.bytes_a_second < rules.least_bytes:
        return None
    # By its cards, as the inventory may call a model otherwise than the cards do.
    mine = {held.card_id for held in gang.held if held.card_id}
    models = {node.model for node in nodes if not mine.isdisjoint(node.card_ids)}
    pools = {held.pool or "" for held in gang.held}
    if len(models) != 1:
        return None
    width = max(on.values())
    able = [
        node
        for node in nodes
        if node.cluster == gang.cluster
        and node.model in models
        and node.pool in pools
        and node.leaves
        and node.cards >= width
    ]
    groups = [job.leaves[str(name)] for name in on]
    sure = clear(Counter(node.leaves for node in able) | Counter(groups))
    if not sure.issuperset(groups):
        return None
    able = [node for node in able if node.leaves in sure]
    least = least_groups(Counter(node.leaves for node in able).values(), len(on))
    if least is None:
        return None
    spines: dict[Group, frozenset[str] | None] = {node.leaves: node.spines for node in able}
    path = ring(groups, spines)
    astray = off_rail(job.rails, job.could)
    if path.groups - least < rules.least_more_groups and not astray:
        return None
    return _found(job, able, path, least, astray, seen, rules, prices, now_us)


def _found(
    job: Placed,
    able: Sequence[Node],
    path: Ring,
    least: int,
    astray: int,
    seen: Congestion,
    rules: Rules,
    prices: PriceBook,
    now_us: int,
) -> Found:
    gang = job.gang
    on = Counter(str(held.node_id) for held in gang.held)
    width = max(on.values())
    ours = frozenset(on)
    better = None
    if path.groups > least:
        candidates = [
            Candidate(node.name, node.leaves, node.name in ours, node.free >= width) for node in able
        ]
        better = enough(candidates, len(on), path.groups - 1)
    needless = needless_ratio(path.crossings, around(least), astray, len(gang.held))
    lost = rules.communication_ratio * congested_ratio(seen, rules) * needless
    cost, hours, unpriced = loss_a_day(gang.held, lost, prices, now_us)
    by_name = {node.name: node.leaves for node in able}
    evidence: dict[str, Any] = {
        "nodes": len(on),
        "cards": len(gang.held),
        "switch_groups": path.groups,
        "switch_groups_least": least,
        "switches": _by_switches(job.leaves),
        "ring_crossings": path.crossings,
        "ring_crossings_least": around(least),
        "of_them_over_spines": path.above,
        "cards_off_their_rail": astray,
        "port_bytes_per_second": _figure(seen.bytes_a_second),
        "congestion": "seen" if seen.seen else "none_seen" if seen.known else "not_known",
        "congestion_signs": {key: _figure(value) for key, value in seen.seen.items()},
        "worst_port": seen.worst,
        "lost_ratio": _figure(float(lost)),
        "formula": FORMULA,
        "communication_ratio": float(rules.communication_ratio),
        "congested_ratio": _figure(float(congested_ratio(seen, rules))),
        "lost_card_hours_per_day": hours,
        "cost_per_day": cost,
        "cards_without_price": unpriced or None,
        "enough_nodes": better[:MOST_NAMED] if better else "none_free_now",
        "of_them_new": len(set(better) - ours) if better else None,
        "switch_groups_with_them": len({by_name[name] for name in better}) if better else None,
        "department": gang.department,
        "scenario": gang.scenario,
    }
    if lost:
        action = "restart_on_these_nodes" if better else "place_together_next_time"
    else:
        action = "place_together_next_time"
    # our choice: where congestion is seen on ports of its own it is likely the job's; else only the place is sure.
    sure = 0.8 if lost else 0.5
    return Found(
        KIND,
        "workload",
        gang.name,
        min(held.begun_us for held in gang.held),
        evidence,
        confidence=round(sure - (0.2 if job.shared else 0.0), 2),
        owner=PLATFORM,
        action=action,
    )


def congested_ratio(seen: Congestion, rules: Rules) -> Fraction:
    """Share of communication that congestion takes: measured where a port counts it, else as assumed where it shows."""
    if not seen.seen:
        return Fraction(0)
    if seen.measured:
        return seen.measured.limit_denominator(1_000_000)
    return rules.congested_ratio


def needless_ratio(crossings: int, least: int, astray: int, cards: int) -> Fraction:
    """How much of what crosses need not: edges of the ring, or cards off their rail, whichever is more."""
    edges = Fraction(max(0, crossings - least), crossings) if crossings else Fraction(0)
    return max(edges, Fraction(astray, cards) if cards else Fraction(0))


def loss_a_day(
    held: Iterable[Held], ratio: Fraction, prices: PriceBook, now_us: int
) -> tuple[dict[str, str], float, int]:
    """(money by currency, card-hours, cards without a price) of that share of 24 h of the cards, at the ledger's prices."""
    atoms: dict[str, int] = {}
    total = 0
    unpriced = 0
    for one in held:
        lost = int(quantity(one.share_nano, 0, DAY_US) * ratio)
        total += lost
        price = one.price(prices, now_us)
        if price is None:
            unpriced += 1
            continue
        atoms[price.currency] = atoms.get(price.currency, 0) + cost_atoms(lost, price.price_micro)
    money = {name: formatted(rounded(value, name), grouped=False) for name, value in sorted(atoms.items())}
    return money, round(total / QUANTITY_PER_CARD_HOUR, 2), unpriced


def _by_switches(leaves: Mapping[str, Group]) -> dict[str, int]:
    """Group, by its first switches' names -> how many of the job's nodes are on it."""
    counted = Counter(leaves.values())
    named = {
        "+".join(sorted(group)[:2]) + ("+…" if len(group) > 2 else ""): n for group, n in counted.items()
    }
    return dict(sorted(named.items(), key=lambda one: (-one[1], one[0])))


def _figure(value: float) -> float:
    """Three digits that count: evidence should not change with every minute's noise."""
    return float(f"{value:.3g}")
