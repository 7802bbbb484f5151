"""Where a pod holds what: its demand, met by what its annotations, its node and its claims say was handed out.

Who is believed: for a sharing system the annotation its scheduler wrote, as the kubelet's ids are placeholders
there; else the node's own word of the kubelet; what neither names is held on the node, card unknown.
Nothing is ever placed because it was asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ullage_collector.allocation.holding import NANO, Place
from ullage_collector.allocation.kubernetes.assignments import Handed
from ullage_collector.allocation.kubernetes.cards import Cards
from ullage_collector.allocation.kubernetes.demand import demand
from ullage_collector.allocation.kubernetes.nodes import Node, replicas
from ullage_collector.allocation.kubernetes.pods import Pod
from ullage_collector.allocation.sharing import (
    Asked,
    Assigned,
    IdKind,
    assigned,
    device_of,
    on_node,
    paid_share,
)
from ullage_contract.errors import BadInput

_PLAIN: Final = frozenset({"device-plugin", "mig", "partition"})
"""Systems that are no sharing: whole cards and pieces of their makers."""


@dataclass(slots=True)
class Placed:
    """What was found. places: known cards; unknown_nano: how much of cards nobody can name, of one node's.

    devices: ids nobody could place. systems: which sharing systems it was. notes: what could not be understood.
    """

    places: list[Place] = field(default_factory=list)
    unknown_nano: int = 0
    devices: list[str] = field(default_factory=list)
    systems: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    def all(self, node: str) -> tuple[Place, ...]:
        """Places with the unknown rest as one: so many whole cards of the node, or a share of one."""
        if not self.unknown_nano:
            return tuple(self.places)
        cards = max(1, self.unknown_nano // NANO)
        rest = Place(node, None, None, share_nano=self.unknown_nano // cards, cards=cards)
        return (*self.places, rest)


def place(
    pod: Pod, node: Node | None, handed: Sequence[Handed], cards: Cards, seen_replicas: Mapping[str, int]
) -> Placed:
    """Everything the pod holds but for its claims.

    node: None while nobody told of it. seen_replicas: by device id, of how many of its card the node was heard.
    """
    found = Placed()
    document = node.document if node is not None else None
    try:
        asks = demand(pod.document, document)
    except BadInput as e:
        found.notes.append(str(e)[:200])
        return found
    asks = tuple(a for a in asks if not pod.claimed.intersection(a.resources))
    written = _written(pod, document, found)
    totals = _memory_totals(document)
    found.systems.update(a.system for a in asks if a.system not in _PLAIN)
    found.systems.update(w.system for w in written if w.system not in _PLAIN)
    for mine, given in _by_vendor(asks, written):
        told = Placed()
        if given:
            _by_annotation(pod, mine, given, cards, totals, told)
        if not given or told.unknown_nano:
            seen = Placed()
            _by_node(pod, node, mine, handed, cards, seen_replicas, seen)
            if not given or (seen.places and not seen.unknown_nano):
                told = seen
        found.places += told.places
        found.unknown_nano += told.unknown_nano
        found.devices += told.devices
    return found


def _by_vendor(
    asks: Sequence[Asked], written: Sequence[Assigned]
) -> list[tuple[list[Asked], list[Assigned]]]:
    """What was asked beside what was given, maker by maker; all together where one side does not name a maker."""
    vendors = [*dict.fromkeys([*(a.vendor for a in asks), *(w.vendor for w in written)])]
    if None in vendors and written:
        return [(list(asks), list(written))]
    return [([a for a in asks if a.vendor == v], [w for w in written if w.vendor == v]) for v in vendors]


def _written(pod: Pod, document: Mapping[str, Any] | None, found: Placed) -> list[Assigned]:
    try:
        return list(assigned(pod.document, node=document))
    except BadInput as e:
        found.notes.append(str(e)[:200])
        return []


def _by_annotation(
    pod: Pod,
    asks: Sequence[Asked],
    given: Sequence[Assigned],
    cards: Cards,
    totals: Mapping[str, int],
    found: Placed,
) -> None:
    for one in given:
        card_id, slice_id = _named(pod.node, one, cards)
        card = cards.get(card_id) if card_id is not None else None
        total = card.memory_bytes if card is not None else None
        full = one.with_total(total or totals.get(one.device) or totals.get(one.vendor or ""))
        ask = next((a for a in asks if a.container == one.container), asks[0] if asks else None)
        compute, memory = full.compute_nano, full.memory_nano
        if compute is None and memory is None and ask is not None:
            compute, memory = ask.compute_nano, ask.memory_nano
        part = cards.part(slice_id) if slice_id is not None else None
        if part is not None:
            compute = compute if compute is not None else part.share_nano
            memory = memory if memory is not None else part.memory_share_nano
        share = paid_share(compute, memory)
        if card_id is None:
            found.unknown_nano += share
            found.devices.append(one.device)
        elif share > 0:
            found.places.append(Place(pod.node, card_id, slice_id, share, memory))
    missing = sum(a.cards for a in asks) - len(given)
    if missing > 0:
        found.unknown_nano += missing * paid_share(asks[-1].compute_nano, asks[-1].memory_nano)


def _named(node: str, one: Assigned, cards: Cards) -> tuple[str | None, str | None]:
    """card_id and slice_id of what an annotation calls a device."""
    if one.slice_id is not None:
        part = cards.part_named(one.slice_id)
        if part is not None:
            return part.card_id, part.slice_id
    match one.id_kind:
        case IdKind.UUID:
            return cards.named(one.device), None
        case IdKind.BUS_ID:
            return cards.at(node, one.device), None
        case IdKind.SLICE:
            part = cards.part_named(one.device)
            return (part.card_id, part.slice_id) if part is not None else (None, None)
        case IdKind.GROUP:
            return None, None
        case _:
            by_name = cards.named(one.device)
            if by_name is None and one.index is not None:
                by_name = cards.numbered(node, one.index, one.vendor)
            return by_name, None


def _by_node(
    pod: Pod,
    node: Node | None,
    asks: Sequence[Asked],
    handed: Sequence[Handed],
    cards: Cards,
    seen_replicas: Mapping[str, int],
    found: Placed,
) -> None:
    """Of the kubelet's word. A container it said nothing of yet is held with its card unknown."""
    labels = node.labels if node is not None else {}
    for resources in dict.fromkeys(a.resources for a in asks):
        mine = [a for a in asks if a.resources == resources]
        given = [(h.resource, d, c) for h in handed if h.resource in resources for d, c in zip(h.devices, h.cards, strict=True)]  # fmt: skip
        ask = mine[0]
        left = sum(a.cards for a in mine)
        for resource, device, subject in given:
            left -= 1
            copies = _copies(resource, device, labels, seen_replicas)
            share, memory, card_id, slice_id = _share(ask, subject, copies, cards)
            if card_id is None:
                found.unknown_nano += share
                found.devices.append(device)
            else:
                found.places.append(Place(pod.node, card_id, slice_id, max(1, share), memory))
        for ask in reversed(mine):
            if left <= 0:
                break
            number = min(left, ask.cards)
            left -= number
            found.unknown_nano += number * _whole_share(ask, resources, labels)


def _share(
    ask: Asked, subject: str | None, copies: int, cards: Cards
) -> tuple[int, int | None, str | None, str | None]:
    """Share, memory share, card and slice of one device that the kubelet handed out."""
    part = cards.part(subject) if subject is not None else None
    if part is not None or (subject is not None and "/" in subject and cards.get(subject) is None):
        slice_id = subject
        card_id = part.card_id if part is not None else (subject or "").rpartition("/")[0]
        share = part.share_nano if part is not None else None
        memory = part.memory_share_nano if part is not None else None
        if share is None:
            # An ask of pieces says how large one is; one that says nothing is of whole cards.
            share = paid_share(ask.compute_nano, ask.memory_nano) * (copies if _is_copy(ask, copies) else 1)
            memory = memory if memory is not None else ask.memory_nano
        return share // copies, _divided(memory, copies), card_id, slice_id
    if copies > 1:
        return NANO // copies, None, subject, None
    return paid_share(ask.compute_nano, ask.memory_nano), ask.memory_nano, subject, None


def _is_copy(ask: Asked, copies: int) -> bool:
    """The ask's share is of one replica already, as the node's labels told."""
    return copies > 1 and ask.compute_nano is not None and ask.compute_nano * copies <= NANO


def _divided(memory: int | None, copies: int) -> int | None:
    return None if memory is None else memory // copies


def _copies(resource: str, device: str, labels: Mapping[str, str], seen: Mapping[str, int]) -> int:
    """Into how many replicas the device's card is cut: the node's word, else as many as were seen; 1: none."""
    if device_of(device).replica is None or "::" not in device:
        return 1
    said = replicas(labels, resource)
    return said if said is not None else max(1, seen.get(device, 1))


def _whole_share(ask: Asked, resources: Sequence[str], labels: Mapping[str, str]) -> int:
    """The share of one asked piece while nobody knows which it is."""
    share = paid_share(ask.compute_nano, ask.memory_nano)
    if ask.compute_nano is None and ask.memory_nano is None:
        copies = next((n for resource in resources if (n := replicas(labels, resource))), None)
        if copies is not None:
            return NANO // copies
    return share


def _memory_totals(document: Mapping[str, Any] | None) -> dict[str, int]:
    """Memory of one card in bytes, by device as the node's register calls it and by maker."""
    try:
        said = on_node(document) if document is not None else []
    except BadInput:
        return {}
    totals: dict[str, int] = {}
    for device in said:
        if device.memory_bytes and device.profile is None:
            totals.setdefault(device.device or device.vendor or "", device.memory_bytes)
    return totals
