"""Which devices of dynamic resource allocation a card is, and the rules that taint exactly those.

A DeviceTaintRule selects by driver, pool and device; a selector with nothing in it selects every device of the cluster.
So a rule is made only with all three, is sent so that a server refuses what it does not know, and what came back is
compared with what was sent. Shapes: resource.k8s.io v1, v1beta2 and v1alpha3 — "Device Taints and Tolerations".
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ullage_collector.allocation.holding import NANO
from ullage_collector.allocation.kubernetes.cards import Card, Cards
from ullage_collector.allocation.kubernetes.claims import (
    Device,
    Devices,
    DeviceSlice,
    Result,
    read_claim,
    read_slice,
)
from ullage_collector.allocation.kubernetes.client import Absent, Document
from ullage_collector.isolate.actuator import Target
from ullage_collector.isolate.kubernetes_api import Api, node_path
from ullage_collector.isolate.kubernetes_mark import Mark, Taint, digest, marks, same_taint
from ullage_collector.isolate.kubernetes_others import annotations_of
from ullage_contract.errors import ActuatorError, BadInput

log = logging.getLogger(__name__)

GROUP: Final = "/apis/resource.k8s.io"
_RULE_VERSIONS: Final = ("v1", "v1beta2", "v1alpha3")
_SLICE_VERSIONS: Final = ("v1", "v1beta2", "v1beta1")
EFFECTS: Final = ("NoSchedule", "NoExecute", "None")
KEEPS_OFF: Final = ("NoSchedule", "NoExecute")
MANAGED_BY: Final = {"app.kubernetes.io/managed-by": "ullage"}


@dataclass(frozen=True, slots=True)
class Served:
    """Versions of resource.k8s.io this server has DeviceTaintRule and ResourceSlice in."""

    rules: str
    slices: str

    @property
    def rules_path(self) -> str:
        return f"{GROUP}/{self.rules}/devicetaintrules"


@dataclass(frozen=True, slots=True)
class Place:
    """One device as a rule selects it. taints: those its driver gave it itself."""

    driver: str
    pool: str
    device: str
    taints: tuple[Mapping[str, Any], ...] = field(default=(), compare=False)

    def selector(self) -> dict[str, str]:
        """Raises ActuatorError where a part is empty: such a rule would hit more than this device."""
        parts = {"driver": self.driver, "pool": self.pool, "device": self.device}
        for name, value in parts.items():
            if not isinstance(value, str) or not value.strip():
                raise ActuatorError(
                    f"the ResourceSlice says no {name} for device {self.device!r} of {self.driver!r}: a rule without "
                    "it would hit other cards; isolate the node (kubernetes-node)"
                )
        return parts


def served(api: Api) -> Served:
    """Raises ActuatorError where the server has no device taints, ApiError."""
    try:
        group = api.get(GROUP)
    except Absent:
        group = {}
    kinds: dict[str, set[str]] = {}
    for entry in group.get("versions") or ():
        version = str(entry.get("version"))
        if version in {*_RULE_VERSIONS, *_SLICE_VERSIONS}:
            listed = api.get(f"{GROUP}/{version}").get("resources") or ()
            kinds[version] = {str(resource.get("name")) for resource in listed}
    rules = next((v for v in _RULE_VERSIONS if "devicetaintrules" in kinds.get(v, ())), None)
    slices = next((v for v in _SLICE_VERSIONS if "resourceslices" in kinds.get(v, ())), None)
    if rules is None or slices is None:
        raise ActuatorError(
            f"{api.server} has no DeviceTaintRule (resource.k8s.io; on by default from 1.37): a single card cannot be "
            "kept from new work there; isolate the node (kubernetes-node)"
        )
    return Served(rules, slices)


@dataclass(frozen=True, slots=True)
class Found:
    """What the slices say of a card: its devices, and every device that is there at all, as (driver, pool, device)."""

    places: tuple[Place, ...]
    present: frozenset[tuple[str, str, str]]


def find(api: Api, versions: Served, target: Target) -> Found:
    """Every device that is the card or a part of it; no places where no slice names it.

    Raises ActuatorError where it cannot be told which device it is, or not yet; ApiError.
    """
    node_path(target.node_id)
    path = f"{GROUP}/{versions.slices}/resourceslices"
    here = list(api.items(path, {"fieldSelector": f"spec.nodeName={target.node_id}"}))
    found = _matching(here, target)
    return found if found.places else _matching(list(api.items(path)), target)  # pools of several nodes


def rule(versions: Served, place: Place, taint: Taint, mark: Mark) -> Document:
    """The rule that taints one device. Raises ActuatorError where a part of its selector is empty."""
    return {
        "apiVersion": f"resource.k8s.io/{versions.rules}",
        "kind": "DeviceTaintRule",
        "metadata": {
            "name": rule_name(mark.marker, place.selector(), taint["effect"]),
            "labels": dict(MANAGED_BY),
            "annotations": {mark.key: mark.text()},
        },
        "spec": {"deviceSelector": place.selector(), "taint": dict(taint)},
    }


def rule_name(marker: str, selector: Mapping[str, str], effect: str) -> str:
    """One name a subject, device and effect: a rule whose selector was changed no longer has its name."""
    plain = re.sub(r"[^a-z0-9]+", "-", selector["device"].lower()).strip("-")[:63]
    whole = digest(marker, selector["driver"], selector["pool"], selector["device"], effect)
    return f"ullage-{plain}-{whole}" if plain else f"ullage-{whole}"


def mark_of(given: Document, marker: str) -> Mark | None:
    """Our mark for one subject on a rule, None where it has none."""
    return marks(annotations_of(given)).get(marker)


def as_placed(given: Document, marker: str) -> bool:
    """The rule is ours and nobody changed it: its mark, its name and its spec are as we place them."""
    mark, spec = mark_of(given, marker), given.get("spec") or {}
    selector, taint = spec.get("deviceSelector"), spec.get("taint") or {}
    if mark is None or not isinstance(selector, dict) or set(selector) != {"driver", "pool", "device"}:
        return False
    if not all(isinstance(value, str) and value for value in selector.values()):
        return False
    name = rule_name(marker, selector, str(taint.get("effect")))
    return given["metadata"].get("name") == name and any(same_taint(taint, placed) for placed in mark.taints)


def hits(given: Document) -> tuple[str, str, str]:
    """The one device a rule of ours selects."""
    selector = given["spec"]["deviceSelector"]
    return selector["driver"], selector["pool"], selector["device"]


def selects(given: Document, place: Place) -> bool:
    """Whether any rule hits the device; without a selector a rule hits none, with an empty one all."""
    selector = (given.get("spec") or {}).get("deviceSelector")
    here = {"driver": place.driver, "pool": place.pool, "device": place.device}
    return isinstance(selector, dict) and all(here.get(k) == v for k, v in selector.items() if v)


def effect_of(given: Document) -> str:
    """A rule's effect; what is unknown counts as None — DeviceTaint, "effect"."""
    return str(((given.get("spec") or {}).get("taint") or {}).get("effect"))


def holding_pods(api: Api, versions: Served, places: Iterable[Place]) -> frozenset[str]:
    """uids of the pods that claims with one of these devices are reserved for. Raises ApiError."""
    wanted = {(p.driver, p.pool, p.device) for p in places}
    uids: set[str] = set()
    for given in api.items(f"{GROUP}/{versions.slices}/resourceclaims"):
        try:
            claim = read_claim(given)
        except (KeyError, TypeError, AttributeError, BadInput) as e:
            log.warning("a ResourceClaim that cannot be read: %s", e)
            continue
        if any((r.driver, r.pool, r.device) in wanted for r in claim.results):
            uids.update(claim.pods)
    return frozenset(uids)


def _matching(items: Sequence[Document], target: Target) -> Found:
    slices: list[tuple[DeviceSlice, Document]] = []
    for given in items:
        try:
            slices.append((read_slice(given), given))
        except (KeyError, TypeError, ValueError, AttributeError, BadInput) as e:
            log.warning("a ResourceSlice that cannot be read: %s", e)
    newest: dict[tuple[str, str], int] = {}
    for slice_, _ in slices:
        pool = (slice_.driver, slice_.pool)
        newest[pool] = max(newest.get(pool, 0), slice_.generation)
    current = [(s, given) for s, given in slices if s.generation == newest[s.driver, s.pool]]
    reachable = [(s, given) for s, given in current if s.node in (None, target.node_id)]
    by_name = _named(reachable, target, address=None)
    by_place = _named(reachable, target, target.pci_address) if target.pci_address else {}
    chosen = dict(by_name)
    if by_name:
        # At the card's own address also what has no name: another way of handing out the same card.
        chosen |= {place: whole for place, whole in by_place.items() if not _own_name(reachable, place)}
    else:
        chosen = by_place
        if sum(chosen.values()) > 1:
            names = ", ".join(sorted(place.device for place in chosen))
            raise ActuatorError(
                f"devices {names} are all at {target.pci_address} of {target.node_id}: which of them is "
                f"{target.subject} cannot be told; isolate the node (kubernetes-node)"
            )
    if not chosen and (pool_name := _incomplete(reachable)):
        raise ActuatorError(
            f"the driver of pool {pool_name} is publishing its devices just now: whether {target.subject} is among "
            "them is not known yet; try again"
        )
    return Found(
        tuple(sorted(chosen, key=lambda place: (str(place.driver), str(place.pool), str(place.device)))),
        frozenset((s.driver, s.pool, device.name) for s, _ in current for device in s.devices),
    )


def _incomplete(current: Iterable[tuple[DeviceSlice, Document]]) -> str | None:
    """A pool that says it has more slices than are there — ResourceSlice, "resourceSliceCount"."""
    counts: dict[tuple[str, str], tuple[int, int]] = {}
    for slice_, given in current:
        said = ((given.get("spec") or {}).get("pool") or {}).get("resourceSliceCount")
        wanted, have = counts.get((slice_.driver, slice_.pool), (0, 0))
        counts[slice_.driver, slice_.pool] = (max(wanted, said if isinstance(said, int) else 1), have + 1)
    return next((pool for (_, pool), (wanted, have) in counts.items() if have < wanted), None)


def _named(
    current: Iterable[tuple[DeviceSlice, Document]], target: Target, address: str | None
) -> dict[Place, bool]:
    """Devices that are the card by its UUID, its parent's or (address) its place; True: all of it."""
    card = Card(target.subject, target.node_id, "", target.subject, None, address, None, None, None)
    cards, found = Cards([card]), {}
    for slice_, given in current:
        if address is not None and slice_.node is None:
            continue  # an address says nothing where the node is not said
        devices = Devices((slice_.driver,))
        devices.hear(slice_)
        for device in slice_.devices:
            result = Result(slice_.driver, slice_.pool, device.name)
            seen = devices.place(result, target.node_id, cards, 1, {})
            if seen is not None and seen.card_id == target.subject:
                found[Place(slice_.driver, slice_.pool, device.name, _taints(given, device.name))] = (
                    seen.share_nano == NANO
                )
    return found


def _own_name(current: Iterable[tuple[DeviceSlice, Document]], place: Place) -> bool:
    return any(
        _has_uuid(device)
        for slice_, _ in current
        if (slice_.driver, slice_.pool) == (place.driver, place.pool)
        for device in slice_.devices
        if device.name == place.device
    )


def _has_uuid(device: Device) -> bool:
    return any(name.casefold().endswith("uuid") and value for name, value in device.attributes.items())


def _taints(given: Document, name: str) -> tuple[Mapping[str, Any], ...]:
    for item in (given.get("spec") or {}).get("devices") or ():
        if item.get("name") == name:
            return tuple((item.get("basic") or item).get("taints") or ())
    return ()
