"""What is owned against what is seen: missing, moved, swapped, working out of its life, out of warranty soon.

Pure: rows of sql/inventory.sql in, findings out. Silence is judged only over time in which somebody listened: a
collector that was down saw nobody, and that says nothing of the cards.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

from ullage_collector.detect.findings import Found
from ullage_collector.inventory import purchase
from ullage_collector.inventory.life import Rules

KINDS: Final = (
    "owned_not_seen",
    "moved_card",
    "identity_mismatch",
    "life_mismatch",
    "warranty_ending",
    "replaces_unknown",
)
_LISTED: Final = 20  # our choice: because a person checks a few, and the list command has them all
_WORD: Final = re.compile(r"[a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Owned:
    """One owned card now, listed and seen. *_us: microseconds since the epoch; None: never, or not said.

    valid_from_us: since when this life. seen_*: as its agent says. node_seen_us: when the listed node was last heard.
    """

    card_id: str
    asset_id: str | None
    replaces: str | None
    cluster: str
    node: str
    vendor: str
    model: str
    serial: str | None
    pool: str | None
    life: str
    valid_from_us: int
    source: str
    purchase: str | None
    last_seen_us: int | None
    seen_cluster: str | None
    seen_node: str | None
    seen_vendor: str | None
    seen_model: str | None
    seen_serial: str | None
    node_seen_us: int | None


@dataclass(frozen=True, slots=True)
class Stranger:
    """A card that is seen and that nobody lists."""

    card_id: str
    cluster: str
    node: str
    model: str | None
    serial: str | None
    first_seen_us: int
    last_seen_us: int | None


@dataclass(frozen=True, slots=True)
class Heard:
    """When somebody listened: from ``since_us`` until ``until_us``. Silence before or after it proves nothing."""

    since_us: int
    until_us: int


@dataclass(frozen=True, slots=True)
class Reconciled:
    """found: all findings of KINDS. unjudged: subjects whose silence is not long enough to say anything yet."""

    found: tuple[Found, ...]
    unjudged: tuple[str, ...]


def reconcile(
    owned: Sequence[Owned], strangers: Sequence[Stranger], rules: Rules, heard: Heard, now_us: int
) -> Reconciled:
    """Everything the list and the agents disagree about."""
    missing, unjudged = _missing(owned, strangers, rules, heard, now_us)
    found = [*missing, *_elsewhere(owned, rules, now_us), *_unlike(owned, now_us)]
    found += [*_out_of_life(owned, rules, heard), *_warranties(owned, rules, now_us), *_unjoined(owned)]
    return Reconciled(tuple(found), tuple(unjudged))


# ------------------------------------------------------------------------------------------ owned, not seen
def _missing(
    owned: Sequence[Owned], strangers: Sequence[Stranger], rules: Rules, heard: Heard, now_us: int
) -> tuple[list[Found], list[str]]:
    found: list[Found] = []
    unjudged: list[str] = []
    silent_nodes: dict[tuple[str, str], list[Owned]] = {}
    for card in owned:
        if card.life not in rules.working:
            continue
        silence = _silence(card.last_seen_us, card.valid_from_us, rules, heard, now_us)
        if silence is None:
            unjudged.append(card.card_id)
        if not silence:
            continue
        node = _silence(card.node_seen_us, card.valid_from_us, rules, heard, now_us)
        if node is None:
            unjudged.append(card.card_id)
        elif node and card.seen_node in (None, card.node):
            silent_nodes.setdefault((card.cluster, card.node), []).append(card)
        else:
            found.append(_missing_card(card, strangers))
    for (cluster, node_id), cards in silent_nodes.items():
        found.append(_silent_node(cluster, node_id, cards))
    listed = {(c.cluster, c.node) for c in owned if c.card_id in unjudged}
    return found, [*unjudged, *(node for _, node in listed)]


def _silence(last_us: int | None, listed_us: int, rules: Rules, heard: Heard, now_us: int) -> bool | None:
    """Whether a subject is silent for too long; None: nobody listened long enough to tell."""
    if last_us is None:
        return now_us - listed_us >= rules.never_seen_us
    if heard.until_us - last_us < rules.silent_us:
        return False
    return True if heard.until_us - max(last_us, heard.since_us) >= rules.silent_us else None


def _missing_card(card: Owned, strangers: Iterable[Stranger]) -> Found:
    """The card is silent and its node speaks. Another card there that nobody lists may be the one that came for it."""
    here = [s for s in strangers if (s.cluster, s.node) == (card.cluster, card.node)]
    same = [s for s in here if card.serial and s.serial and _plain(s.serial) == _plain(card.serial)]
    evidence = {
        **_place(card),
        "reason": "card_missing",
        "node_last_seen": _iso(card.node_seen_us),
        "last_seen": _iso(card.last_seen_us),
        "in_service_since": _iso(card.valid_from_us),
    }
    action = "look_for_card"
    if same:
        evidence["seen_as"] = same[0].card_id
        action = "correct_card_id"
    elif likely := [s.card_id for s in here if s.model is None or alike(card.vendor, card.model, s.model)]:
        evidence["unlisted_on_the_node"] = likely[:_LISTED]
        action = "list_replacement"
    since = card.valid_from_us if card.last_seen_us is None else max(card.last_seen_us, card.valid_from_us)
    return Found("owned_not_seen", "card", card.card_id, since, evidence, action=action)


def _silent_node(cluster: str, node: str, cards: Sequence[Owned]) -> Found:
    seen = [card.node_seen_us for card in cards if card.node_seen_us is not None]
    since = max(seen) if seen else min(card.valid_from_us for card in cards)
    evidence = {
        "cluster": cluster,
        "node": node,
        "reason": "node_silent" if seen else "node_never_seen",
        "node_last_seen": _iso(max(seen)) if seen else None,
        "cards": len(cards),
        "card_ids": [card.card_id for card in cards[:_LISTED]],
    }
    action = "look_at_node" if seen else "install_agent"
    return Found("owned_not_seen", "node", node, since, evidence, key=cluster, action=action)


# ------------------------------------------------------------------------------------------ elsewhere, unlike
def _elsewhere(owned: Iterable[Owned], rules: Rules, now_us: int) -> list[Found]:
    """Heard since this life began, on a node the list does not say."""
    found = []
    for card in owned:
        if card.last_seen_us is None or card.seen_node is None or card.life in rules.absent:
            continue
        if (card.seen_cluster, card.seen_node) == (card.cluster, card.node):
            continue
        if card.last_seen_us < card.valid_from_us + rules.paperwork_us:
            continue
        evidence = {
            **_place(card),
            "seen_cluster": card.seen_cluster,
            "seen_node": card.seen_node,
            "last_seen": _iso(card.last_seen_us),
            "listed_since": _iso(card.valid_from_us),
            "listed_by": card.source,
        }
        found.append(Found("moved_card", "card", card.card_id, now_us, evidence, action="correct_inventory"))
    return found


def _unlike(owned: Iterable[Owned], now_us: int) -> list[Found]:
    """The card answers to the listed id and has another serial or model: swapped, or listed wrongly."""
    found = []
    for card in owned:
        if card.serial and card.seen_serial and _plain(card.serial) != _plain(card.seen_serial):
            evidence = {**_place(card), "listed_serial": card.serial, "seen_serial": card.seen_serial}
            found.append(_mismatch(card, "serial", evidence, now_us, 0.9))
        if card.seen_model and not alike(card.vendor, card.model, card.seen_model):
            evidence = {**_place(card), "listed_model": card.model, "seen_model": card.seen_model}
            # our choice: people write models shortly, so that unlike words prove less than unlike serials
            found.append(_mismatch(card, "model", evidence, now_us, 0.6))
    return found


def _mismatch(card: Owned, what: str, evidence: Mapping[str, Any], now_us: int, confidence: float) -> Found:
    said = {**evidence, "last_seen": _iso(card.last_seen_us), "listed_by": card.source}
    return Found(
        "identity_mismatch",
        "card",
        card.card_id,
        now_us,
        said,
        key=what,
        confidence=confidence,
        action="check_for_swap",
    )


def alike(vendor: str, listed: str, seen: str) -> bool:
    """Whether two ways to write a model may mean one: every word of the shorter begins a word of the longer.

    ``H800`` is like ``NVIDIA H800 80GB HBM3``; ``H20`` is not like ``NVIDIA H200``: a number does not go on.
    """
    a = [word for word in _WORD.findall(listed.casefold()) if word != vendor.casefold()]
    b = [word for word in _WORD.findall(seen.casefold()) if word != vendor.casefold()]
    few, many = (a, b) if len(a) <= len(b) else (b, a)
    return all(any(_begins(word, other) or _begins(other, word) for other in many) for word in few)


def _begins(short: str, long: str) -> bool:
    if not long.startswith(short):
        return False
    rest = long[len(short) :]
    return not rest or short[-1].isdigit() != rest[0].isdigit()


# ------------------------------------------------------------------------------------------ out of its life
def _out_of_life(owned: Iterable[Owned], rules: Rules, heard: Heard) -> list[Found]:
    """In a cupboard, with its maker or retired, as the list says, and heard all the same."""
    found = []
    for card in owned:
        if card.life not in rules.absent or card.last_seen_us is None:
            continue
        if card.last_seen_us < card.valid_from_us + rules.paperwork_us:
            continue
        if heard.until_us - card.last_seen_us >= rules.silent_us:
            continue
        evidence = {
            **_place(card),
            "life_since": _iso(card.valid_from_us),
            "seen_node": card.seen_node,
            "last_seen": _iso(card.last_seen_us),
            "listed_by": card.source,
        }
        since = card.valid_from_us + rules.paperwork_us
        found.append(
            Found("life_mismatch", "card", card.card_id, since, evidence, action="correct_inventory")
        )
    return found


def _warranties(owned: Iterable[Owned], rules: Rules, now_us: int) -> list[Found]:
    """One finding an order and day: a thousand cards of one order end together."""
    today = datetime.fromtimestamp(now_us / 1e6, UTC).date()
    groups: dict[tuple[str, str, date, str], list[Owned]] = {}
    for card in owned:
        bought = purchase.read(card.purchase)
        until = bought.warranty_until
        if card.life not in rules.guaranteed or until is None:
            continue
        if 0 <= (until - today).days <= rules.ending_days:
            named = bought.order or bought.supplier or "order not said"
            groups.setdefault((named, card.model, until, bought.supplier or ""), []).append(card)
    return [
        Found(
            "warranty_ending",
            "fleet",
            order,
            now_us,
            {
                "warranty_until": until.isoformat(),
                "days_left": (until - today).days,
                "supplier": supplier or None,
                "model": model,
                "cards": len(cards),
                "card_ids": [card.card_id for card in cards[:_LISTED]],
            },
            key=f"{until} {model}",
            action="renew_or_plan",
        )
        for (order, model, until, supplier), cards in groups.items()
    ]


def _unjoined(owned: Iterable[Owned]) -> list[Found]:
    """Cards said to replace something that nobody listed: their histories are apart."""
    return [
        Found(
            "replaces_unknown",
            "card",
            card.card_id,
            card.valid_from_us,
            {**_place(card), "replaces": card.replaces, "listed_by": card.source},
            action="list_the_replaced_card",
        )
        for card in owned
        if card.replaces and card.asset_id is None
    ]


def _place(card: Owned) -> dict[str, Any]:
    return {"cluster": card.cluster, "node": card.node, "model": card.model, "life": card.life}


def _iso(us: int | None) -> str | None:
    return None if us is None else datetime.fromtimestamp(us / 1e6, UTC).isoformat(timespec="seconds")


def _plain(serial: str) -> str:
    """A serial as people compare it: spreadsheets drop leading zeros, tools differ in case."""
    return serial.strip().casefold().lstrip("0")
