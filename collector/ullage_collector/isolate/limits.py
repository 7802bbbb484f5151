"""What automatic isolation may do at most: lately, and at once. Pure arithmetic over what stands.

Counted at once: every card and node that is kept from work, by us in any mode, by others as the schedulers
show, and by the inventory. Not here: who is asked when a limit says no (policy.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from ullage_collector.isolate.intent import COUNTED, Intent
from ullage_collector.isolate.policy_settings import PolicySettings
from ullage_collector.isolate.surroundings import Fleet, Place


@dataclass(frozen=True, slots=True)
class Placed:
    """One automatic isolation: at, on the monotonic clock, and card or node."""

    at: float
    family: str


def too_many_lately(
    family: str, lately: Iterable[Placed], now: float, settings: PolicySettings
) -> str | None:
    """Why another automatic one of this family would be too much now; None: it would not.

    now: seconds of the monotonic clock, so that a step of the wall clock neither allows nor forbids.
    """
    most = settings.nodes_per_window if family == "node" else settings.cards_per_window
    count = sum(1 for one in lately if one.family == family and now - one.at < settings.window_seconds)
    if count < most:
        return None
    return f"{count} {family}s were isolated automatically within {settings.window_seconds:g} s; at most {most} may be"


def too_many_at_once(
    wanted: Intent, live: Iterable[Intent], fleet: Fleet, settings: PolicySettings
) -> str | None:
    """Why isolating this too would leave too little; None: it would not. The intent itself is not counted twice."""
    others = [one for one in live if one.state in COUNTED and one.intent_id != wanted.intent_id]
    if wanted.cluster_id in fleet.unheard:
        return f"the scheduler of {wanted.cluster_id} does not say what others keep from work"
    return _cards(wanted, others, fleet, settings) or (
        _domains(wanted, others, fleet, settings) if wanted.takes_node else None
    )


def _cards(wanted: Intent, others: list[Intent], fleet: Fleet, settings: PolicySettings) -> str | None:
    total = sum(len(cards) for (cluster, _), cards in fleet.cards.items() if cluster == wanted.cluster_id)
    most = max(settings.isolated_cards_least, math.floor(total * settings.isolated_ratio + 1e-9))
    apart: set[str] = set()
    for (cluster, node), cards in fleet.cards.items():
        if cluster == wanted.cluster_id:
            apart |= cards if (cluster, node) in fleet.others else cards & fleet.resting
    for intent in (*others, wanted):
        if intent.cluster_id == wanted.cluster_id:
            apart |= fleet.cards.get(intent.place, frozenset()) if intent.takes_node else {intent.subject}
    if len(apart) <= most:
        return None
    return (
        f"{len(apart)} of the {total} cards of {wanted.cluster_id} would be kept from work, counting what others "
        f"did; at most {most} may be"
    )


def _domains(wanted: Intent, others: list[Intent], fleet: Fleet, settings: PolicySettings) -> str | None:
    away: set[Place] = {place for place in fleet.others if place[0] == wanted.cluster_id}
    away |= {one.place for one in others if one.takes_node and one.cluster_id == wanted.cluster_id}
    away.discard(wanted.place)
    given = {one.place: _given(one, settings) for one in (*others, wanted) if one.takes_node}
    mine = _domains_of(wanted.place, fleet, given, settings)
    for domain in sorted(mine):
        beside = [place for place in away if domain in _domains_of(place, fleet, given, settings)]
        if len(beside) >= settings.nodes_per_domain:
            return (
                f"{domain}: {', '.join(sorted(node for _, node in beside)[:5])} isolated there already; "
                f"at most {settings.nodes_per_domain} may be"
            )
    return None


def _given(intent: Intent, settings: PolicySettings) -> frozenset[str]:
    return frozenset(f"{word}:{value}" for word, value in intent.domains.items() if word in settings.domains)


def _domains_of(
    place: Place, fleet: Fleet, given: dict[Place, frozenset[str]], settings: PolicySettings
) -> frozenset[str]:
    """Of a node whose rack and switch nobody knows, one domain with all such: not known is not apart."""
    found = given.get(place, frozenset()) | frozenset(
        domain
        for domain in fleet.domains.get(place, frozenset())
        if domain.partition(":")[0] in settings.domains
    )
    return found or frozenset({"rack and switch not known"})
