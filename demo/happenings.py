"""What breaks in the demonstration, and when: the same stories in every fleet, placed by the seed.

Each happening takes cards away from the scheduler for a while, changes their telemetry, and leaves
events. Times are seconds since the epoch.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from demo.places import Card

HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Happening:
    """One story.

    effect: lost, ecc, broken, port, silent, hot, slow, application, flap. cards: indexes. incident: the record a
    person would keep, or None where it is no incident. kills: work there ends at ``start``. away: no new work
    until ``end``.
    """

    effect: str
    cards: tuple[int, ...]
    start: float
    end: float
    kills: bool
    away: bool
    events: tuple[dict[str, Any], ...] = ()
    incident: dict[str, Any] | None = field(default=None)


def stories(cards: Sequence[Card], begin: float, end: float, draw: random.Random) -> list[Happening]:
    """Everything that breaks in [begin, end), in time order."""
    span = end - begin
    by_pool: dict[str, list[Card]] = {}
    for card in cards:
        by_pool.setdefault(card.pool, []).append(card)

    def one(pool: str) -> Card:
        return draw.choice(by_pool[pool])

    def server(pool: str) -> list[Card]:
        node = one(pool).node_id
        return [card for card in by_pool[pool] if card.node_id == node]

    def at(part: float) -> float:
        return begin + round(span * part / 60) * 60.0

    found: list[Happening] = []

    def add(
        effect: str, where: Sequence[Card], part: float, hours: float, *, kills: bool, away: bool,
        events: Sequence[dict[str, Any]] = (), incident: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        start = at(part)
        stop = min(start + hours * HOUR, end)
        record = None
        if incident is not None:
            closed = start + hours * HOUR
            record = {**incident, "onset": start, "closed_at": closed if closed <= end else None}
        found.append(
            Happening(effect, tuple(c.index for c in where), start, stop, kills, away, tuple(events), record)
        )

    lost = one("train-h800")
    add("lost", [lost], 0.17, 9, kills=True, away=True,
        events=[_event(at(0.17), "xid", "fatal", lost, "79", "GPU has fallen off the bus"),
                _event(at(0.17) + 12, "card_lost", "fatal", lost, None, "the card no longer answers"),
                _event(at(0.17) + 9 * HOUR, "card_back", "info", lost, None, "the card answers again")],
        incident=_incident(lost, "xid-79", "fatal", "79", "isolate_node", confirmed=True))  # fmt: skip
    ecc = one("serve-a100")
    add("ecc", [ecc], 0.31, 3, kills=True, away=True,
        events=[_event(at(0.31), "xid", "critical", ecc, "48", "double bit ECC error"),
                _event(at(0.31) + 1, "ecc_uncorrected", "critical", ecc, None, "1 uncorrectable memory error"),
                _event(at(0.31) + 2, "xid", "warning", ecc, "63", "row remapping event")],
        incident=_incident(ecc, "xid-48", "critical", "48", "reset", confirmed=True))  # fmt: skip
    broken = one("train-ascend")
    add("broken", [broken], 0.45, 61, kills=True, away=True,
        events=[_event(at(0.45), "ras", "fatal", broken, "0x80E01801", "HBM multi-bit error, chip must be separated")],
        incident=_incident(broken, "ascend-L6", "fatal", "0x80E01801", "replace", confirmed=True))  # fmt: skip
    dark = server("train-h800")
    add("port", dark, 0.55, 4, kills=True, away=True,
        events=[_port_event(at(0.55), "port_down", "critical", dark[2]),
                _port_event(at(0.55) + 4 * HOUR, "port_up", "info", dark[2])],
        incident=_incident(dark[2], "port-down", "critical", None, "isolate_node", confirmed=True, port=True))  # fmt: skip
    silent = server("serve-c500")
    add("silent", silent, 0.62, 5, kills=False, away=False)
    hot = server("serve-mlu")
    add(
        "hot",
        hot,
        0.7,
        6,
        kills=False,
        away=False,
        events=[_event(at(0.7) + 300, "ras", "warning", hot[0], "over_temp", "temperature above its limit")],
    )
    slow = one("train-h800")
    add("slow", [slow], 0.36, 26, kills=False, away=False)
    flapping = server("train-ascend")[5]
    flaps = [at(0.8) + number * 1.3 * HOUR for number in range(4)]
    add("flap", [flapping], 0.8, 6, kills=False, away=False,
        events=[event for when in flaps for event in (
            _port_event(when, "port_down", "critical", flapping),
            _port_event(when + 45, "port_up", "info", flapping))],
        incident=_incident(flapping, "port-flap", "critical", None, "isolate_node", confirmed=False, port=True))  # fmt: skip
    for _ in range(6):
        card = one(draw.choice(("train-h800", "serve-a100")))
        part = draw.uniform(0.02, 0.98)
        code = draw.choice(("13", "31", "43"))
        add("application", [card], part, 0.02, kills=True, away=False,
            events=[_event(at(part), "xid", "info", card, code, "application error")])  # fmt: skip
    return sorted(found, key=lambda each: each.start)


def _event(
    time: float, kind: str, severity: str, card: Card, code: str | None, message: str
) -> dict[str, Any]:
    return {
        "time": time,
        "kind": kind,
        "severity": severity,
        "family": "card",
        "subject": card.who.card_id,
        "node_id": card.node_id,
        "vendor": card.model.vendor,
        "code": code,
        "source": "kernel_log" if kind in ("xid", "ras") else "library",
        "message": f"simulated: {message}",
        "attributes": {"pci_address": card.who.pci_address, "simulated": 1},
    }


def _port_event(time: float, kind: str, severity: str, card: Card) -> dict[str, Any]:
    port = port_of(card)
    return {
        **_event(
            time,
            kind,
            severity,
            card,
            None,
            f"port {port} is {'down' if kind == 'port_down' else 'up again'}",
        ),
        "family": "port",
        "subject": port,
        "source": "sysfs",
        "attributes": {"simulated": 1},
    }


def port_of(card: Card) -> str:
    """The RDMA port beside a card, as the live simulation names it."""
    return f"{card.node_id}/sim_{card.place}/1"


def _incident(
    card: Card,
    cause: str,
    severity: str,
    code: str | None,
    action: str,
    *,
    confirmed: bool,
    port: bool = False,
) -> dict[str, Any]:
    return {
        "family": "port" if port else "card",
        "subject": port_of(card) if port else card.who.card_id,
        "node_id": card.node_id,
        "cause": cause,
        "severity": severity,
        "vendor": card.model.vendor,
        "code": code,
        "confirmed": confirmed,
        "action": action,
    }
