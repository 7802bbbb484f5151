"""A share of a card: its types, and which of its two sides is paid. Pure.

Shares are nano: 1e9 is one whole card (holding.NANO). What does not divide is rounded down, so that the parts of a
card never add up to more than it: seven MIG slices of one seventh are 6 nano short of a card, never 3 above it.
Shares above one, or adding up above one, are over-subscription and are kept as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction
from typing import Any

from ullage_collector.allocation.holding import NANO
from ullage_contract.errors import BadInput

MOST_CARDS = 1_000_000
"""# our choice: because a pod that asks for more cards than any fleet has is a typing error, not a pod."""

MOST_BYTES = 2**62
"""What a column of whole numbers holds with room to spare."""

SHOWN = 200  # characters of a value that an error shows


class IdKind(StrEnum):
    """What kind of name a device id is.

    UUID: the maker's. INDEX: a number on its node. BUS_ID: a PCI address. NAME: anything else (card0).
    SLICE: of a part of a card, whose card it does not say (MIG-..., amdgpu_xcp_1). GROUP: of pods that share a
    card; ``group_card`` of the group's reservation pod says which.
    """

    UUID = "uuid"
    INDEX = "index"
    BUS_ID = "bus_id"
    NAME = "name"
    SLICE = "slice"
    GROUP = "group"


@dataclass(frozen=True, slots=True)
class Asked:
    """What one container asks for of one system. Shares and bytes are of one card, the same for each of ``cards``.

    init: of an init container that ends before the others start (one that goes on is none).
    vendor: None where the system's names do not say. resources: the names it was read from.
    cards: how many cards, or shares of different cards. compute_nano, memory_bytes, memory_nano: None is not stated.
    profile: what piece of a card (MIG 1g.10gb, cpx_nps4, 2c), None: no fixed piece.
    """

    container: str
    init: bool
    system: str
    vendor: str | None
    resources: tuple[str, ...]
    cards: int
    compute_nano: int | None = None
    memory_bytes: int | None = None
    memory_nano: int | None = None
    profile: str | None = None

    def with_total(self, total_bytes: int | None) -> Asked:
        """With the share of memory that the bytes are of a card of ``total_bytes``; a share that is stated stays."""
        if self.memory_nano is not None or self.memory_bytes is None:
            return self
        return replace(self, memory_nano=memory_share(self.memory_bytes, total_bytes))


@dataclass(frozen=True, slots=True)
class Assigned:
    """One device handed to one container, as its scheduler wrote it onto the pod.

    container: None where the annotation is the pod's and does not say. device: as written; ``index`` is the number
    on its node where the id is or ends in one. slice_id: the instance's own id; profile: its kind.
    compute_nano, memory_bytes, memory_nano: of that card; None is not stated.
    """

    system: str
    vendor: str | None
    container: str | None
    device: str
    id_kind: IdKind
    index: int | None = None
    slice_id: str | None = None
    profile: str | None = None
    compute_nano: int | None = None
    memory_bytes: int | None = None
    memory_nano: int | None = None

    def with_total(self, total_bytes: int | None) -> Assigned:
        """With the share of memory that the bytes are of a card of ``total_bytes``; a share that is stated stays."""
        if self.memory_nano is not None or self.memory_bytes is None:
            return self
        return replace(self, memory_nano=memory_share(self.memory_bytes, total_bytes))


@dataclass(frozen=True, slots=True)
class NodeDevice:
    """What a node says of one card, or with ``device`` None of all its cards of a maker alike.

    cards: how many it speaks of, None where it does not say. memory_bytes: of one card; may be scaled up by a
    sharing system that over-subscribes. cores_total: what its register calls a whole card's compute (100 per cent,
    304 compute units). replicas: into how many equal shares it is handed out. profile: what each is cut into.
    mode: hami-core, mig, mps, time-slicing and the like. healthy: None is not said.
    """

    system: str
    vendor: str | None
    device: str | None
    id_kind: IdKind | None = None
    index: int | None = None
    cards: int | None = None
    memory_bytes: int | None = None
    cores_total: int | None = None
    replicas: int | None = None
    model: str | None = None
    profile: str | None = None
    mode: str | None = None
    healthy: bool | None = None


def paid_share(compute_nano: int | None, memory_nano: int | None) -> int:
    """The share of a card that is paid: of compute where it is stated, else of memory, else the whole card.

    # our choice: because a sharing system that limits no compute hands out memory, and what nobody limits may use
    # the whole card. An over-subscribed share is paid as stated.
    """
    if compute_nano is not None:
        return compute_nano
    return NANO if memory_nano is None else memory_nano


def memory_share(memory_bytes: int | None, total_bytes: int | None) -> int | None:
    """What share of a card's memory that many bytes are; None where either is unknown or the card has none."""
    if memory_bytes is None or not total_bytes:
        return None
    return memory_bytes * NANO // total_bytes


def nano(share: Fraction | None) -> int | None:
    """A share as nano, rounded down; None stays None."""
    return None if share is None else int(share * NANO)


def refuse_nonsense(system: str, where: str, row: Asked | Assigned) -> None:
    """Raises BadInput for a share of more cards than there are: a typing error, not an over-subscription."""
    for share in (row.compute_nano, row.memory_nano):
        if share is not None and share > MOST_CARDS * NANO:
            raise bad(system, where, Fraction(share, NANO), "a share of more cards than there are")
    if row.memory_bytes is not None and row.memory_bytes > MOST_BYTES:
        raise bad(system, where, row.memory_bytes, "more bytes than there are")


def bad(system: str, where: str, value: object, why: str) -> BadInput:
    """The error for what a pod or node says wrongly; the value is cut short."""
    shown = str(value)
    if len(shown) > SHOWN:
        shown = shown[:SHOWN] + "..."
    return BadInput(f"{system}: {where}: {why}: {shown!r}")


def mapping(value: object) -> Mapping[str, Any]:
    """The value where it is a mapping, else an empty one: what the API server leaves out or null."""
    return value if isinstance(value, Mapping) else {}


def texts(value: object) -> dict[str, str]:
    """Labels or annotations: the pairs of texts; anything else in them is no label."""
    return {str(k): v for k, v in mapping(value).items() if isinstance(v, str)}
