"""Which of our cards a name is: the store's cards and slices, looked up by whatever Kubernetes calls a device.

A name is a UUID, a PCI address, a serial number, or a number on its node: that of the device file where the node's
cards have one, else the maker's index. Never the order of a list.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ullage_collector.allocation.holding import NANO
from ullage_contract.errors import BadInput
from ullage_contract.identity import pci_address

_OWN_UUID = ("GPU-",)
"""Prefixes of UUIDs that are card_ids wherever they are read: NVIDIA's. Others' keys are what the agent calls them."""


@dataclass(frozen=True, slots=True)
class Card:
    """One card as the store knows it."""

    card_id: str
    node: str
    vendor: str
    uuid: str | None
    serial: str | None
    pci_address: str | None
    minor: int | None
    index: int | None
    memory_bytes: int | None


@dataclass(frozen=True, slots=True)
class Part:
    """One slice. Shares are nano of its card; None: nobody measured them."""

    slice_id: str
    card_id: str
    uuid: str | None
    share_nano: int | None
    memory_share_nano: int | None


class Cards:
    """The cards and slices of one cluster at one moment."""

    def __init__(self, cards: Iterable[Card] = (), parts: Iterable[Part] = ()) -> None:
        self._by_id: dict[str, Card] = {}
        self._by_name: dict[str, Card] = {}
        self._by_node: dict[str, list[Card]] = {}
        for card in cards:
            self._by_id[card.card_id] = card
            self._by_node.setdefault(card.node, []).append(card)
            for name in (card.card_id, card.uuid, card.serial):
                if name:
                    self._by_name.setdefault(name.casefold(), card)
        self._parts = {part.slice_id: part for part in parts}
        self._part_by_uuid = {part.uuid.casefold(): part for part in self._parts.values() if part.uuid}

    @classmethod
    def from_rows(cls, cards: Iterable[tuple[Any, ...]], parts: Iterable[tuple[Any, ...]]) -> Cards:
        """Of the rows of kubernetes.sql."""
        return cls(
            (Card(*row) for row in cards),
            (Part(i, card, uuid, _nano(compute), _nano(memory)) for i, card, uuid, compute, memory in parts),
        )

    def get(self, card_id: str) -> Card | None:
        """A card by its key."""
        return self._by_id.get(card_id)

    def named(self, name: str) -> str | None:
        """card_id of a UUID, serial number or key; NVIDIA's UUID also of a card nobody has reported yet."""
        card = self._by_name.get(name.casefold())
        if card is not None:
            return card.card_id
        return name if name.startswith(_OWN_UUID) and len(name) == 40 else None

    def at(self, node: str, address: str) -> str | None:
        """card_id of the only card at a PCI address of a node; None where several chips share it."""
        try:
            wanted = pci_address(address)
        except BadInput:
            return None
        found = [card for card in self._by_node.get(node, ()) if card.pci_address == wanted]
        return found[0].card_id if len(found) == 1 else None

    def numbered(self, node: str, number: int, vendor: str | None) -> str | None:
        """card_id by a number on its node: the device file's where the cards have one, else the maker's index."""
        cards = [c for c in self._by_node.get(node, ()) if vendor is None or c.vendor == vendor]
        if not cards:
            return None
        by_minor = all(card.minor is not None for card in cards)
        found = [card for card in cards if (card.minor if by_minor else card.index) == number]
        return found[0].card_id if len(found) == 1 else None

    def part(self, slice_id: str) -> Part | None:
        """A slice by its key."""
        return self._parts.get(slice_id)

    def part_named(self, uuid: str) -> Part | None:
        """A slice by its maker's UUID (MIG-...)."""
        return self._part_by_uuid.get(uuid.casefold())


def _nano(share: float | None) -> int | None:
    # Thirds and sevenths come as doubles: a share of a millionth of a nano less is the same share.
    return None if share is None else int(share * NANO + 1e-3)
