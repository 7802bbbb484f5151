"""The node's cards and slices as their makers stated them, looked up by what schedulers and device plugins say.

A look-up that finds two cards finds none: nobody is guessed, least of all by order. Not here: how a device
plugin spells its ids (devices.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from ullage_agent.sources.kept_file import names_in
from ullage_contract.errors import BadInput
from ullage_contract.identity import pci_address
from ullage_contract.sample import Family, Value

Attributes = Mapping[str, Value | list[str] | None]
_WHOLE: Final = frozenset(
    {"none", "sriov"}
)  # our choice: a physical function with virtual ones is still numbered
_NUMBER: Final = re.compile(r"(\d+)$")


class Stated(Protocol):
    """Where the facts are: the sampler's FactBook."""

    def attributes(self, family: Family, subject: str) -> Attributes: ...

    def subjects(self, family: Family) -> list[str]: ...


@dataclass(frozen=True, slots=True)
class Card:
    """One card. None: its maker does not say.

    minor: of its device node. node_number: the number its device node's name ends with (Slurm counts by it).
    index: the maker's own index. mode: partition_mode, None for a whole card.
    """

    card_id: str
    vendor: str | None = None
    uuid: str | None = None
    serial: str | None = None
    pci: str | None = None
    minor: int | None = None
    node_number: int | None = None
    device_node: str | None = None
    index: int | None = None
    mode: str | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """One slice. instance: the maker's id of it on the card, what follows the card's id and a slash."""

    slice_id: str
    card_id: str
    instance: str
    uuid: str | None = None


@dataclass(frozen=True, slots=True)
class Cards:
    """What the node has now. Immutable, so that any thread may look things up.

    render: number of a DRM render node -> PCI address (render_nodes).
    """

    cards: tuple[Card, ...] = ()
    parts: tuple[Part, ...] = ()
    render: Mapping[int, str] = field(default_factory=dict)
    _names: Mapping[str, str | None] = field(default_factory=dict)

    @staticmethod
    def of(book: Stated, render: Mapping[int, str] | None = None) -> Cards:
        """From the facts that hold now."""
        return Cards.made(
            (_card(subject, book.attributes(Family.CARD, subject)) for subject in book.subjects(Family.CARD)),
            (
                _part(subject, book.attributes(Family.SLICE, subject))
                for subject in book.subjects(Family.SLICE)
            ),
            render,
        )

    @staticmethod
    def made(
        cards: Iterable[Card], parts: Iterable[Part] = (), render: Mapping[int, str] | None = None
    ) -> Cards:
        """From cards and slices one by one."""
        whole, some = tuple(cards), tuple(parts)
        names: dict[str, str | None] = {}

        def put(name: str | None, subject: str) -> None:
            if name:
                key = name.lower()
                names[key] = subject if names.get(key, subject) == subject else None

        for card in whole:
            for name in (card.card_id, card.uuid, card.serial):
                put(name, card.card_id)
        for part in some:
            for name in (part.slice_id, part.uuid):
                put(name, part.slice_id)
        return Cards(whole, some, dict(render or {}), names)

    def __bool__(self) -> bool:
        return bool(self.cards)

    def named(self, name: str) -> str | None:
        """card_id or slice_id of a UUID, serial number or our own id, in any case of letters."""
        return self._names.get(name.lower())

    def at(self, address: str) -> str | None:
        """card_id at a PCI address, however it is written; None when several chips share it."""
        try:
            wanted = pci_address(address)
        except BadInput:
            return None
        return self._only(card for card in self.cards if card.pci == wanted)

    def numbered(self, number: int, vendor: str | None = None) -> str | None:
        """card_id whose device node has this minor number, or this number at its name's end.

        Slurm counts GPUs by the number at the end of the device file (gres.conf File=), which for AMD may be the
        render node. A card whose maker tells neither is never found; a number of two cards finds none.
        """
        place = self.render.get(number)
        return self._only(
            card
            for card in self.cards
            if vendor in (None, card.vendor)
            and (number in (card.minor, card.node_number) or (place is not None and card.pci == place))
        )

    def by_node(self, number: int, vendor: str) -> str | None:
        """card_id of this maker whose device node's name ends with the number."""
        return self._only(card for card in self.cards if card.vendor == vendor and card.node_number == number)

    def by_index(self, index: int, vendor: str) -> str | None:
        """card_id by the maker's own index fact."""
        return self._only(card for card in self.cards if card.vendor == vendor and card.index == index)

    def part(self, card_id: str, instance: str) -> str | None:
        """slice_id of a card's instance."""
        wanted = f"{card_id}/{instance}"
        return next((part.slice_id for part in self.parts if part.slice_id == wanted), None)

    def is_cut(self, card_id: str) -> bool:
        """Whether the card has slices: a number in a scheduler's list may then count slices, not cards."""
        if any(part.card_id == card_id for part in self.parts):
            return True
        return any(card.card_id == card_id and (card.mode or "none") not in _WHOLE for card in self.cards)

    def _only(self, cards: Iterable[Card]) -> str | None:
        found = {card.card_id for card in cards}
        return found.pop() if len(found) == 1 else None


def _card(subject: str, said: Attributes) -> Card:
    node = _text(said.get("device_node"))
    number = _NUMBER.search(node) if node else None
    return Card(
        card_id=subject,
        vendor=_text(said.get("vendor")),
        uuid=_text(said.get("uuid")),
        serial=_text(said.get("serial")),
        pci=_text(said.get("pci_address")),
        minor=_whole(said.get("minor")),
        node_number=int(number[1]) if number else None,
        device_node=node,
        index=_whole(said.get("index")),
        mode=_text(said.get("partition_mode")),
    )


def _part(subject: str, said: Attributes) -> Part:
    card, _, instance = subject.rpartition("/")
    return Part(subject, _text(said.get("card_id")) or card, instance, _text(said.get("uuid")))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def render_nodes(sysfs: Path = Path("/sys")) -> dict[int, str]:
    """Number of each DRM render node -> PCI address of its card; empty where there is none."""
    found = {}
    for name in names_in(sysfs / "class/drm"):
        number = name.removeprefix("renderD")
        if number != name and number.isdecimal():
            try:
                found[int(number)] = pci_address((sysfs / "class/drm" / name / "device").resolve().name)
            except (BadInput, OSError):  # a platform device (a partition): no card of its own
                continue
    return found
