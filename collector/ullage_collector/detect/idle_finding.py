"""Workloads whose cards are all quiet: what is said of each, how strongly, and what it costs a day.

A gang is judged whole: one idle card of a job that works is no finding. The grade grows with the quiet: a note while it is
only probable that it lasts; the owner is told when cards and host were quiet for the window of what the work is for; reclaim
is proposed later, and only where nothing says that it will soon be used. Online inference goes beyond a note only when it is
known that nobody asked it anything, and its service has more replicas than it needs (idle_requests.py). Work nobody said the
purpose of, and work on a card with an open incident never do. Nothing here acts.

Pure: rows in, findings out. Not here: the quiet itself (idle.py), reading the store (idle_watch.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from ullage_collector.detect.findings import Found
from ullage_collector.detect.idle_requests import Requests, Service, held_back, spare
from ullage_collector.detect.idle_rules import Grade, IdleRules
from ullage_collector.detect.usual import Usual
from ullage_collector.ledger import UNMAPPED, cost_atoms, formatted, quantity, rounded
from ullage_collector.prices import Price, PriceBook

KIND: Final = "idle_workload"
DAY_US: Final = 86_400_000_000
MOST_NAMED: Final = 20  # our choice: because a page shows twenty and the rest is counted


@dataclass(frozen=True, slots=True)
class Held:
    """One card, or part of one, that a workload holds now. card_id None: nobody knows which. model, pool None: not owned.

    incident: an open confirmed one of the card, None: none. cluster: of its node, by which a price may go; None: not known.
    """

    workload_id: str
    card_id: str | None
    node_id: str | None
    share_nano: int
    begun_us: int
    model: str | None = None
    pool: str | None = None
    incident: int | None = None
    cluster: str | None = None

    def price(self, prices: PriceBook, now_us: int) -> Price | None:
        """What an hour of a whole card of it costs, as the ledger prices it; None: not owned, or nobody gave a price."""
        if self.model is None:
            return None
        place = {"cluster": self.cluster, "node": self.node_id, "card": self.card_id}
        return prices.at(self.model, self.pool, now_us, **place)


@dataclass(frozen=True, slots=True)
class Gang:
    """What is judged as one. source: the kind of its workloads. scenario None: nobody says. department: as the mapping has it.

    requests, service: of online inference; None: nobody counts them, or it is none.
    """

    name: str
    source: str
    cluster: str
    scenario: str | None
    department: str | None
    user: str | None
    held: tuple[Held, ...]
    requests: Requests | None = None
    service: Service | None = None


@dataclass(frozen=True, slots=True)
class Quiet:
    """A gang's quiet as of ``through``, all in epoch seconds.

    host: quiet, busy, shared (the nodes are not its alone), unknown. host_busy: when its own host was last at work; None: not
    since it was looked at. goes_on: probability that the quiet lasts for another ``goes_on_seconds``. at_most: the greatest of
    each signal since then. unseen: seconds of it of which nobody knows: they make nothing quiet for longer. usual: it has such
    spells at this time and comes back from them; None: not as far as is known.
    """

    began: float
    through: float
    host: str
    host_busy: float | None
    goes_on: float
    at_most: Mapping[str, float] = field(default_factory=dict)
    usual: Usual | None = None
    unseen: float = 0.0


def find(
    quiet: Iterable[tuple[Gang, Quiet]], rules: IdleRules, prices: PriceBook, now_us: int
) -> list[Found]:
    """A finding for every quiet gang that is past its start-up. Raises nothing: a card without a price is counted."""
    found = []
    quiet = list(quiet)
    free = spare(
        (gang.name, gang.service, seen.began)
        for gang, seen in quiet
        if gang.service is not None and held_back(gang.requests, rules.requests) is None
    )
    for gang, seen in quiet:
        use = rules.use(gang.scenario, gang.source, serving=gang.requests is not None)
        begun = min(held.begun_us for held in gang.held) / 1e6
        if seen.through < begun + use.grace:
            continue
        grade, why = grade_of(gang, seen, rules, may_go=gang.name in free)
        cost, unpriced = cost_a_day(gang.held, prices, now_us)
        evidence: dict[str, Any] = {
            "grade": grade.word,
            "held_back_by": why,
            "use": use.name,
            "scenario": gang.scenario,
            "department": gang.department,
            "cards": len(gang.held),
            "workloads": sorted({held.workload_id for held in gang.held})[:MOST_NAMED],
            "nodes": sorted({held.node_id for held in gang.held if held.node_id})[:MOST_NAMED],
            "allocated_since": _instant(begun),
            "cost_per_day": cost,
            "cards_without_price": unpriced or None,
            "host": seen.host,
            "at_most": {name: round(value, 3) for name, value in sorted(seen.at_most.items())},
        }
        if seen.usual is not None:
            evidence["usual"] = seen.usual.to_json()
        if use.requests:
            told = gang.requests
            evidence["requests"] = None if told is None else told.to_json(rules.requests.window_seconds)
            if gang.service is not None:
                evidence |= {
                    "service": gang.service.name,
                    "replicas": gang.service.replicas,
                    "minimum_replicas": gang.service.minimum,
                    "minimum_from": gang.service.minimum_from,
                }
        incidents = sorted({held.incident for held in gang.held if held.incident is not None})
        if incidents:
            evidence["incidents"] = incidents
        found.append(
            Found(
                kind=KIND,
                family="workload",
                subject=gang.name,
                since_us=round(seen.began * 1e6),
                evidence=evidence,
                confidence=round(seen.goes_on, 2),
                owner=gang.user or (None if gang.department == UNMAPPED else gang.department),
                action=grade.word,
            )
        )
    return found


def grade_of(gang: Gang, seen: Quiet, rules: IdleRules, *, may_go: bool = False) -> tuple[Grade, str | None]:
    """How far it goes, and what keeps it from going further; None: only time, or nothing.

    may_go: it is one of the replicas its service can do without.
    """
    use = rules.use(gang.scenario, gang.source, serving=gang.requests is not None)
    begun = min(held.begun_us for held in gang.held) / 1e6
    since = max(seen.began, begun + use.grace)
    calm = seen.through - max(since, seen.host_busy or since) - seen.unseen
    if any(held.incident is not None for held in gang.held):
        return Grade.NOTE, "incident"
    if use.most is Grade.NOTE:
        return Grade.NOTE, use.why
    if seen.usual is not None:
        return Grade.NOTE, "usual_quiet"
    if use.requests:
        why = held_back(gang.requests, rules.requests) or (None if may_go else "minimum_replicas")
        if why is not None:
            return Grade.NOTE, why
    if calm < use.tell:
        return Grade.NOTE, "host_busy" if seen.through - since - seen.unseen >= use.tell else None
    if use.most is Grade.TELL_OWNER:
        return Grade.TELL_OWNER, use.why
    needed = use.propose if seen.host == "quiet" else use.unseen
    if calm < needed:
        return Grade.TELL_OWNER, f"host_{seen.host}" if calm >= use.propose else None
    if seen.goes_on < rules.goes_on_probability:
        return Grade.TELL_OWNER, "probably_used_soon"
    return Grade.PROPOSE_RECLAIM, None


def cost_a_day(held: Iterable[Held], prices: PriceBook, now_us: int) -> tuple[dict[str, str], int]:
    """What the cards cost for 24 h at the ledger's prices of now, by currency; and how many have no price."""
    atoms: dict[str, int] = {}
    unpriced = 0
    for row in held:
        price = row.price(prices, now_us)
        if price is None:
            unpriced += 1
            continue
        amount = cost_atoms(quantity(row.share_nano, 0, DAY_US), price.price_micro)
        atoms[price.currency] = atoms.get(price.currency, 0) + amount
    return {
        name: formatted(rounded(value, name), grouped=False) for name, value in sorted(atoms.items())
    }, unpriced


def _instant(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, tz=UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")
