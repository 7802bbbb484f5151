"""Dynamic resource allocation: which devices a claim was given, what they are, which share of a card that is.

A claim's result names driver, pool and device; the driver's ResourceSlices say what that device is. Access for
administrators holds nothing. A claim of several pods is split evenly among those that hold at a moment; cutting time
where their number changes is roster.py's.
Field names are those of resource.k8s.io/v1; v1beta1 writes a device's attributes one level deeper.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final

from ullage_collector.allocation.holding import NANO, Place
from ullage_collector.allocation.kubernetes.cards import Cards
from ullage_collector.allocation.kubernetes.pods import number
from ullage_collector.allocation.sharing import asked, paid_share, quantity
from ullage_contract.errors import BadInput

log = logging.getLogger(__name__)

DRIVERS: Final = {
    "gpu.nvidia.com": "nvidia.com/mig-{}",  # NVIDIA DRA driver; compute-domain.nvidia.com hands out no card
    "gpu.amd.com": "amd.com/{}",  # ROCm/k8s-gpu-dra-driver, docs/driver-attributes.md
    "gpu.intel.com": None,  # intel/intel-resource-drivers-for-kubernetes, as gaudi
    "gaudi.intel.com": None,
    "npu.rebellions.ai": None,  # docs.rbln.ai, NPU DRA driver
    "neuron.aws.com": None,  # AWS Neuron DRA driver
    "tpu.google.com": None,  # GKE, about dynamic resource allocation
    "npu.furiosa.ai": None,  # FuriosaAI DRA driver
    "hami-core-gpu.project-hami.io": None,  # Project-HAMi/k8s-dra-driver
}
"""Drivers of accelerators, with how a piece's profile is asked for as an extended resource: one table of shares
for both ways. What another driver hands out (ports, processors) is a card only where we know the card."""

_UUIDS: Final = ("uuid", "UUID", "gpu_uuid", "deviceUUID")
_PARENTS: Final = ("parentUUID", "parentUuid", "gpuUUID")
_ADDRESSES: Final = ("resource.kubernetes.io/pciBusID", "pciBusID", "pcieBusID", "pciAddr", "pciAddress")
_PROFILES: Final = ("profile", "mig_profile", "partitionProfile")
_MEMORIES: Final = ("memory", "addressableMemory")
_COMPUTES: Final = ("cores", "core", "computeUnits", "multiprocessors", "sharePercent", "compute")
_WHOLE_TYPES: Final = frozenset({"gpu", "amdgpu", "npu", "vfio", "gaudi", "tpu", "neuron"})


@dataclass(frozen=True, slots=True)
class Device:
    """One device of a slice. attributes: flat, without their types. capacity: amounts by name."""

    name: str
    attributes: Mapping[str, Any]
    capacity: Mapping[str, Fraction]

    def first(self, names: Iterable[str]) -> str | None:
        """The first text attribute of these names."""
        for name in names:
            value = self.attributes.get(name)
            if isinstance(value, str) and value:
                return value
        return None


@dataclass(frozen=True, slots=True)
class DeviceSlice:
    """One ResourceSlice: devices of a driver's pool at one generation. node None: reachable from several."""

    name: str
    version: int
    driver: str
    pool: str
    generation: int
    node: str | None
    devices: tuple[Device, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """One device given to a claim. share_id: which share of it, where it is given to several; consumed: how much."""

    driver: str
    pool: str
    device: str
    share_id: str | None = None
    consumed: Mapping[str, Fraction] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Claim:
    """One ResourceClaim. results: without those for administrators. pods: uids it is reserved for."""

    uid: str
    namespace: str
    name: str
    version: int
    results: tuple[Result, ...]
    pods: tuple[str, ...]


def read_claim(claim: Mapping[str, Any]) -> Claim:
    """A ResourceClaim as JSON gives it. Raises KeyError, BadInput for an object that is none."""
    metadata, status = claim["metadata"], claim.get("status") or {}
    devices = (status.get("allocation") or {}).get("devices") or {}
    return Claim(
        uid=metadata["uid"],
        namespace=metadata["namespace"],
        name=metadata["name"],
        version=number(metadata.get("resourceVersion")),
        results=tuple(
            Result(
                r["driver"],
                r["pool"],
                r["device"],
                r.get("shareID"),
                _amounts(r.get("consumedCapacity")),
            )
            for r in devices.get("results") or ()
            if not r.get("adminAccess")
        ),
        pods=tuple(
            c["uid"]
            for c in status.get("reservedFor") or ()
            if c.get("resource") == "pods" and not c.get("apiGroup")
        ),
    )


def read_slice(given: Mapping[str, Any]) -> DeviceSlice:
    """A ResourceSlice as JSON gives it, of any served version. Raises KeyError, BadInput."""
    metadata, spec = given["metadata"], given["spec"]
    pool = spec.get("pool") or {}
    devices = []
    for item in spec.get("devices") or ():
        # v1beta1 keeps them under "basic".
        inner = item.get("basic") or item
        devices.append(
            Device(
                item["name"],
                {name: _plain(value) for name, value in (inner.get("attributes") or {}).items()},
                _amounts(inner.get("capacity")),
            )
        )
    return DeviceSlice(
        name=metadata["name"],
        version=number(metadata.get("resourceVersion")),
        driver=spec["driver"],
        pool=str(pool.get("name") or ""),
        generation=int(pool.get("generation") or 0),
        node=spec.get("nodeName"),
        devices=tuple(devices),
    )


class Devices:
    """What every device is, as its driver's slices said last.

    A device that is in no slice any more is kept: its driver restarts, or its node leaves, while a pod still holds it.
    """

    def __init__(self, drivers: Iterable[str] = ()) -> None:
        self._drivers = {*DRIVERS, *drivers}
        self._devices: dict[tuple[str, str, str], tuple[int, Device]] = {}
        self._told: set[str] = set()

    def hear(self, given: DeviceSlice) -> bool:
        """Take a slice; whether a device is told otherwise than before. Older generations of a pool are history."""
        changed = False
        for device in given.devices:
            key = (given.driver, given.pool, device.name)
            known = self._devices.get(key)
            if known is not None and known[0] > given.generation:
                continue
            if known is None or known[1] != device:
                changed = True
            self._devices[key] = (given.generation, device)
        return changed

    def place(
        self, result: Result, node: str, cards: Cards, shares_of_device: int, told: Mapping[str, str]
    ) -> Place | None:
        """The whole result as a place on ``node``; None: what was given is no card.

        shares_of_device: among how many shares the device is given out now, where nobody says how large each is.
        told: where nodes placed ``driver/pool/device``, for devices whose attributes do not say.
        """
        known = self._devices.get((result.driver, result.pool, result.device))
        device = known[1] if known is not None else None
        slice_id, card_id = self._subject(device, node, cards)
        seen = told.get(f"{result.driver}/{result.pool}/{result.device}") if card_id is None else None
        if seen is not None:
            slice_id, card_id = (seen, seen.rpartition("/")[0]) if "/" in seen else (None, seen)
        if card_id is None and result.driver not in self._drivers:
            if result.driver not in self._told:
                self._told.add(result.driver)
                log.info(
                    "devices of DRA driver %s are no cards of ours; drivers = [...] adds it", result.driver
                )
            return None
        share, memory = _part_shares(result, device, slice_id, card_id, cards)
        if result.share_id is not None:
            share, memory = _shared(result, device, share, memory, shares_of_device)
        return Place(node, card_id, slice_id, share_nano=max(1, share), memory_share_nano=memory)

    @staticmethod
    def _subject(device: Device | None, node: str, cards: Cards) -> tuple[str | None, str | None]:
        if device is None:
            return None, None
        uuid = device.first(_UUIDS)
        if uuid is not None:
            part = cards.part_named(uuid)
            if part is not None:
                return part.slice_id, part.card_id
        parent = device.first(_PARENTS)
        card_id = cards.named(parent) if parent else None
        if card_id is None and uuid is not None:
            card_id = cards.named(uuid)
        address = device.first(_ADDRESSES)
        if card_id is None and address is not None:
            card_id = cards.at(node, address)
        return None, card_id


def _part_shares(
    result: Result, device: Device | None, slice_id: str | None, card_id: str | None, cards: Cards
) -> tuple[int, int | None]:
    """Share and memory share of the device's card, nano: as the node measured it, by its profile, by its memory."""
    part = cards.part(slice_id) if slice_id is not None else None
    if part is not None and part.share_nano is not None:
        return part.share_nano, part.memory_share_nano
    if device is None:
        return NANO, None
    kind = device.attributes.get("type")
    profile = device.first(_PROFILES)
    if (kind in _WHOLE_TYPES and not device.first(_PARENTS)) or (kind is None and profile is None):
        return NANO, None
    total = card.memory_bytes if card_id is not None and (card := cards.get(card_id)) is not None else None
    own = next((device.capacity[name] for name in _MEMORIES if name in device.capacity), None)
    memory = int(own * NANO / total) if own is not None and total else None
    form = DRIVERS.get(result.driver)
    if profile is not None and form is not None:
        for ask in _asked(form.format(profile.lower())):
            if ask[0] is not None:
                return ask[0], memory if memory is not None else ask[1]
    return (memory if memory is not None else NANO), memory


def _asked(resource: str) -> list[tuple[int | None, int | None]]:
    """Compute and memory share of one of a resource, by the table of sharing systems."""
    limits = {"limits": {resource: "1"}}
    try:
        asks = asked({"spec": {"containers": [{"name": "one", "resources": limits}]}})
    except BadInput:
        return []
    return [(a.compute_nano, a.memory_nano) for a in asks]


def _shared(
    result: Result, device: Device | None, share: int, memory: int | None, shares_of_device: int
) -> tuple[int, int | None]:
    """The part of a device that one of its shares is: as consumed of its capacity, else evenly."""
    parts = {
        name: amount / device.capacity[name]
        for name, amount in result.consumed.items()
        if device is not None and device.capacity.get(name)
    }
    of_memory = next((parts[name] for name in _MEMORIES if name in parts), None)
    of_compute = next((parts[name] for name in _COMPUTES if name in parts), None)
    whole_memory = NANO if memory is None else memory
    memory = int(of_memory * whole_memory) if of_memory is not None else None
    if of_compute is None and of_memory is None:
        return share // max(1, shares_of_device), None
    if of_compute is not None:
        return int(of_compute * share), memory
    return paid_share(None, memory), memory


def _amounts(given: Any) -> dict[str, Fraction]:
    """Quantities by name; a v1 capacity is an object with its value."""
    found = {}
    for name, value in (given or {}).items():
        found[name] = quantity(value.get("value") if isinstance(value, dict) else value)
    return found


def _plain(value: Any) -> Any:
    """An attribute without its type: {"string": "x"} is "x"."""
    return next(iter(value.values()), None) if isinstance(value, dict) else value
