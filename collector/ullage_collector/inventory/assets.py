"""One owned thing keeps one history when its maker sends another card for it.

A row that says ``replaces = OLD`` (a serial or a card_id) joins its card to the old one's asset; the old card's life ends
where the new one begins, because one asset is one card at a time. Pure: rows in, assets out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

_LONGEST_CHAIN: Final = 100  # our choice: because nothing is replaced a hundred times, and a ring must end


@dataclass(frozen=True, slots=True)
class Listed:
    """What one row says of a card. asset_id, replaces, serial: None where it does not say.

    from_us: start of that life, microseconds since the epoch.
    """

    card_id: str
    serial: str | None
    asset_id: str | None
    replaces: str | None
    from_us: int


@dataclass(frozen=True, slots=True)
class Assets:
    """asset_of: card -> asset; None: it replaces something nobody listed. ends: replaced card -> when, in us.

    doubts: why a ``replaces`` joins nothing, a sentence each.
    """

    asset_of: Mapping[str, str | None]
    ends: Mapping[str, int]
    doubts: tuple[str, ...]


def resolve(rows: Iterable[Listed]) -> Assets:
    """The assets of all cards in ``rows``: those believed and those of a file; the last row of a card wins."""
    listed = list(rows)
    own: dict[str, str] = {}
    by_serial: dict[str, set[str]] = {}
    cards: dict[str, None] = {}
    claims: dict[str, tuple[str, int]] = {}
    for row in listed:
        cards[row.card_id] = None
        if row.asset_id:
            own[row.card_id] = row.asset_id
        if row.serial:
            by_serial.setdefault(_plain(row.serial), set()).add(row.card_id)
        if row.replaces:
            before = claims.get(row.card_id)
            first = (
                row.from_us if before is None or before[0] != row.replaces else min(before[1], row.from_us)
            )
            claims[row.card_id] = (row.replaces, first)
    doubts: list[str] = []
    settled: set[str] = set()
    old_of: dict[str, str] = {}
    new_of: dict[str, str] = {}
    ends: dict[str, int] = {}
    for card, (named, from_us) in claims.items():
        bearers = by_serial.get(_plain(named), set())
        if named not in cards and bearers == {card}:
            settled.add(
                card
            )  # a card named by its place, whose serial was swapped: its history is one already
            continue
        found = {named} if named in cards else bearers - {card}
        if len(found) != 1:
            why = (
                "is listed nowhere"
                if not found
                else f"is the serial of {len(found)} cards; write the card_id"
            )
            doubts.append(f"{card}: replaces {named[:60]!r}, which {why}")
            continue
        (old,) = found
        if old in new_of or _follows(old, card, old_of):
            why = f"was replaced by {new_of[old]} already" if old in new_of else "came after it"
            doubts.append(f"{card}: replaces {named[:60]!r}, which {why}")
            continue
        old_of[card], new_of[old], ends[old] = old, card, from_us
    doubtful = claims.keys() - old_of.keys() - settled
    asset_of = {
        card: _asset(card, own, old_of) if card in own or card not in doubtful else None for card in cards
    }
    return Assets(asset_of, ends, tuple(doubts))


def _asset(card: str, own: Mapping[str, str], old_of: Mapping[str, str]) -> str:
    """The asset said of the first card of the chain, else that card's id; a card's own word is for one that starts one."""
    first = card
    while first in old_of:
        first = old_of[first]
    return own.get(first, first)


def _follows(card: str, of: str, old_of: Mapping[str, str]) -> bool:
    """Whether ``card`` is ``of`` or came after it."""
    for _ in range(_LONGEST_CHAIN):
        if card == of:
            return True
        if card not in old_of:
            return False
        card = old_of[card]
    return True


def _plain(serial: str) -> str:
    return serial.strip().casefold()
