"""Where work would stand whose place nobody wrote down: first fit, deterministic, marked as ours.

Work is placed in order of its start (then of its row). It goes on the first node, in order of node id, that
is in service, of an allowed model, and has the cards free it asks for: whole cards on one node, or one card
with room for its share, the first in order of card id. What ended by then is gone. What fits nowhere stays
without a card. This says where the work could have been, not where it was: it is good for totals and for
fragmentation, not for blaming a card.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

WHOLE: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Card:
    """A card that can hold work over [from_us, to_us); to_us None: still."""

    node_id: str
    card_id: str
    model: str
    from_us: int
    to_us: int | None


@dataclass(frozen=True, slots=True)
class Request:
    """What one workload asks for over [from_us, to_us). cards: whole ones; else share_nano of one card."""

    number: int
    from_us: int
    to_us: int | None
    cards: int
    share_nano: int
    models: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Node:
    model: str
    cards: list[Card] = field(default_factory=list)
    free: list[int] = field(default_factory=list)


def first_fit(cards: Sequence[Card], requests: Iterable[Request]) -> dict[int, list[Card]]:
    """Request number -> the cards it is on; a request that fits nowhere is absent.

    cards: in the order they are filled; those of one node stand together and are of one model.
    """
    nodes: list[_Node] = []
    place: dict[str, int] = {}
    for card in cards:
        if card.node_id not in place:
            place[card.node_id] = len(nodes)
            nodes.append(_Node(card.model))
        node = nodes[place[card.node_id]]
        node.cards.append(card)
        node.free.append(WHOLE)
    ends: list[tuple[int, int, list[tuple[int, int]], int]] = []  # when, request, (node, card), share
    placed: dict[int, list[Card]] = {}
    for request in sorted(requests, key=lambda r: (r.from_us, r.number)):
        while ends and ends[0][0] <= request.from_us:
            _, _, where, share = heapq.heappop(ends)
            for n, c in where:
                nodes[n].free[c] += share
        share = WHOLE if request.cards else request.share_nano
        found = _find(nodes, request, share)
        if not found:
            continue
        for n, c in found:
            nodes[n].free[c] -= share
        placed[request.number] = [nodes[n].cards[c] for n, c in found]
        if request.to_us is not None:
            heapq.heappush(ends, (request.to_us, request.number, found, share))
    return placed


def _find(nodes: Sequence[_Node], request: Request, share: int) -> list[tuple[int, int]]:
    wanted = max(1, request.cards)
    for n, node in enumerate(nodes):
        if request.models and node.model not in request.models:
            continue
        if len(node.cards) < wanted:
            continue
        fitting = []
        for c, card in enumerate(node.cards):
            if node.free[c] >= share and _in_service(card, request):
                fitting.append((n, c))
                if len(fitting) == wanted:
                    return fitting
    return []


def _in_service(card: Card, request: Request) -> bool:
    if card.from_us > request.from_us:
        return False
    return card.to_us is None or (request.to_us is not None and request.to_us <= card.to_us)
