"""Findings of stragglers, hangs and starved cards: evidence a person can check by hand, cost a day, owner and next step.

Pure: a window in, findings out. Not here: the judgements (unlike.py, hang.py, starved.py), reading the store (watch.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from ullage_collector.detect.findings import Found
from ullage_collector.detect.idle_finding import MOST_NAMED, Gang, cost_a_day
from ullage_collector.detect.stragglers.hang import Hang, hangs
from ullage_collector.detect.stragglers.settings import Rules
from ullage_collector.detect.stragglers.starved import Starved, starved
from ullage_collector.detect.stragglers.unlike import Suspect, suspects
from ullage_collector.detect.stragglers.window import Window
from ullage_collector.ledger import PLATFORM, UNMAPPED
from ullage_collector.prices import PriceBook

STRAGGLER: Final = "straggler_suspect"
HANG: Final = "hang_suspect"
STARVED: Final = "starved_cards"
KINDS: Final = (STRAGGLER, HANG, STARVED)


def find(window: Window, rules: Rules, prices: PriceBook) -> list[Found]:
    """All three kinds. A job that hangs is not searched for stragglers or hunger: they would be the same cards.

    Jobs younger than their grace are left out: they load and compile. Raises nothing: a card without a price is counted.
    """
    young = {
        number
        for number, gang in enumerate(window.gangs)
        if window.through_us - min((held.begun_us for held in gang.held), default=0)
        < rules.grace * 60_000_000
    }
    hung = [one for one in hangs(window, rules) if one.gang not in young]
    skip = young | {one.gang for one in hung}
    return [
        *(_hang(window, one, prices) for one in hung),
        *(_straggler(window, one, prices) for one in suspects(window, rules) if one.gang not in skip),
        *(_starved(window, one, prices) for one in starved(window, rules) if one.gang not in skip),
    ]


def _straggler(window: Window, one: Suspect, prices: PriceBook) -> Found:
    gang = window.gangs[one.gang]
    cards = () if one.family == "port" else one.rows
    ports = one.rows if one.family == "port" else ()
    subject = {
        "card": lambda: window.cards.names[one.rows[0]],
        "node": lambda: window.nodes[one.node],
        "port": lambda: window.ports.names[one.rows[0]],
    }[one.family]()
    evidence: dict[str, Any] = {
        "workload": gang.name,
        "cluster": gang.cluster,
        "node": window.nodes[one.node],
        "cards": _named(window.cards.names[row] for row in cards),
        "ports": _named(window.ports.names[row] for row in ports),
        "unlike": {
            sign.key: {
                "value": _figure(sign.value),
                "peers": _figure(sign.peers),
                "distance": round(min(sign.distance, 99.0)),
            }
            for sign in one.signs
        },
        "peers": one.peers,
        "before_the_window": one.from_start,
        **_costs(gang, prices, window, job=True),
    }
    # our choice: a suspect of two independent kinds of figures is more likely than not; each further one, and hardware, adds.
    groups = len({sign.group for sign in one.signs})
    sure = 0.6 + 0.1 * (groups - 1) + (0.1 if any(sign.hardware for sign in one.signs) else 0.0)
    return Found(
        STRAGGLER,
        one.family,
        subject,
        window.at_us(one.since),
        evidence,
        key=gang.name,
        confidence=round(min(sure, 0.9), 2),
        owner=PLATFORM,
        action=f"check_{one.family}",
    )


def _hang(window: Window, one: Hang, prices: PriceBook) -> Found:
    gang = window.gangs[one.gang]
    rows = one.responsible
    nodes = {window.nodes[window.cards.node[row]] for row in rows}
    evidence: dict[str, Any] = {
        "symptom": one.symptom,
        "cards": len(gang.held),
        "cards_that_show_it": one.known,
        "share_of_known": round(one.ratio, 2),
        "power_of_usual": None if one.power_ratio is None else round(one.power_ratio, 2),
        "responsible_cards": _named(window.cards.names[row] for row in rows),
        "responsible_nodes": _named(nodes),
        "why": one.why,
        "not_heard_of": _named(window.cards.names[row] for row in one.unheard),
        "workloads": _named(held.workload_id for held in gang.held),
        "nodes": _named(held.node_id for held in gang.held if held.node_id),
        "before_the_window": one.from_start,
        **_costs(gang, prices, window),
    }
    # our choice: spinning cards prove more than silence; knowing where it began, and nearly all cards, add.
    sure = 0.7 if one.symptom == "spinning" else 0.55
    sure += (0.1 if one.ratio >= 0.9 else 0.0) + (0.1 if one.why else 0.0)
    return Found(
        HANG,
        "workload",
        gang.name,
        window.at_us(one.since),
        evidence,
        confidence=round(sure, 2),
        owner=_holder(gang),
        action="collect_stacks",
    )


def _starved(window: Window, one: Starved, prices: PriceBook) -> Found:
    gang = window.gangs[one.gang]
    evidence: dict[str, Any] = {
        "cause": one.cause.name,
        "cards": len(one.rows),
        "named": _named(window.cards.names[row] for row in one.rows),
        "nodes": _named(window.nodes[node] for node in one.places),
        "activity": None if one.activity is None else round(one.activity, 2),
        "seen": {key: _figure(value) for key, value in sorted(one.seen.items())},
        "nodes_shared_with_others": one.shared,
        "workloads": _named(window.held[row].workload_id for row in one.rows),
        **_costs(gang, prices, window, rows=one.rows),
    }
    return Found(
        STARVED,
        "workload",
        gang.name,
        window.at_us(one.since),
        evidence,
        key=one.cause.name,
        confidence=0.5 if one.shared else 0.8,  # our choice: on a shared node it may be the other's
        owner=PLATFORM if one.cause.owner == "platform" else _holder(gang),
        action=one.cause.action,
    )


def _costs(
    gang: Gang, prices: PriceBook, window: Window, *, rows: tuple[int, ...] | None = None, job: bool = False
) -> Mapping[str, Any]:
    """What the cards that wait cost a day: of the job, or of some of its rows. job: the whole job waits for one of it."""
    held = gang.held if rows is None else tuple(window.held[row] for row in rows)
    cost, unpriced = cost_a_day(held, prices, window.through_us)
    return {
        "job_cost_per_day" if job else "cost_per_day": cost,
        "cards_without_price": unpriced or None,
        "department": gang.department,
        "scenario": gang.scenario,
    }


def _holder(gang: Gang) -> str | None:
    return gang.user or (None if gang.department == UNMAPPED else gang.department)


def _named(names: Iterable[str]) -> list[str]:
    return sorted(set(names) - {""})[:MOST_NAMED]


def _figure(value: float) -> float:
    """Three digits that count: evidence is for people, and should not change with every minute's noise."""
    return float(f"{value:.3g}")
