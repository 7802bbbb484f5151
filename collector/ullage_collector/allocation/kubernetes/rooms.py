"""Processors and memory that pods leave free on nodes: every bound pod counts, whether it asks for cards or not.

Not here: what one pod asks for (requests.py), and cards (pods.py, places.py).
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from ullage_collector.allocation.kubernetes import waiting
from ullage_collector.allocation.kubernetes.follow import Changed, Listed
from ullage_collector.allocation.kubernetes.nodes import Node
from ullage_collector.allocation.kubernetes.pods import TERMINAL, Pod, number
from ullage_collector.allocation.kubernetes.requests import Amounts, requested
from ullage_collector.allocation.kubernetes.waiting import WaitingPod
from ullage_collector.allocation.kubernetes.workloads import Naming
from ullage_collector.allocation.room import MIB, Room, keep_rooms
from ullage_collector.allocation.sharing.quantity import quantity
from ullage_contract.errors import BadInput

if TYPE_CHECKING:
    from ullage_collector.store.store import Store
    from ullage_contract.clock import Clock

log = logging.getLogger(__name__)

TELL_SECONDS: Final = 60.0
"""our choice: pods come and go every second, and who asks about fragmentation looks every five minutes."""
MOST: Final = 500_000  # our choice: ten times the pods of the largest cluster Kubernetes promises (150,000), thrice over


@dataclass(frozen=True, slots=True)
class Resident:
    """A bound pod that asks for no card. over: it takes nothing any more."""

    uid: str
    version: int
    node: str
    takes: Amounts
    over: bool


def reader(naming: Naming) -> Callable[[Mapping[str, Any]], Pod | WaitingPod | Resident | None]:
    """As ``waiting.reader``, and bound pods without cards are residents."""
    with_cards = waiting.reader(naming)

    def each(pod: Mapping[str, Any]) -> Pod | WaitingPod | Resident | None:
        return with_cards(pod) or resident(pod)

    return each


def resident(pod: Mapping[str, Any]) -> Resident | None:
    """A bound pod as JSON gives it; None: it has no node. Raises KeyError, BadInput for an object that is no pod."""
    spec, metadata = pod.get("spec") or {}, pod["metadata"]
    if not spec.get("nodeName"):
        return None
    return Resident(
        uid=metadata["uid"],
        version=number(metadata.get("resourceVersion")),
        node=str(spec["nodeName"]),
        takes=requested(spec),
        over=(pod.get("status") or {}).get("phase") in TERMINAL,
    )


class Rooms:
    """One cluster's bound pods. ``hear_*`` take what is told, ``tell`` brings table ``node_room`` to it."""

    def __init__(self, source: str, cluster: str) -> None:
        self._source = source
        self._cluster = cluster
        self._pods: dict[str, tuple[int, str, Amounts | None]] = {}
        self._listed = False
        self._again = float("-inf")
        self._is_full = False

    def hear_pods(self, told: Listed[Any]) -> None:
        """A complete list: what is not in it takes nothing."""
        self._pods = {}
        for pod in told.items:
            if isinstance(pod, Pod | Resident):
                self._keep(pod)
        self._listed = True

    def hear_pod(self, told: Changed[Any]) -> None:
        """One change: bound, ended or gone; an older word than the last changes nothing."""
        pod = told.item
        if not isinstance(pod, Pod | Resident):
            return
        known = self._pods.get(pod.uid)
        if told.gone:
            self._pods.pop(pod.uid, None)
        elif known is None or not 0 <= pod.version < known[0]:
            self._keep(pod)

    def rooms(self, nodes: Mapping[str, Node]) -> list[Room]:
        """Each node with what its pods leave. A node with a pod whose requests nobody understands has no free amounts."""
        taken: dict[str, list[Amounts | None]] = defaultdict(list)
        for _, node, takes in self._pods.values():
            taken[node].append(takes)
        return [_room(node, taken.get(node.name, ())) for node in nodes.values()]

    def tell(self, store: Store, clock: Clock, nodes: Mapping[str, Node]) -> None:
        """Tell the store once a minute, when the first list is complete. Raises what the store raises."""
        now = clock.monotonic()
        if not self._listed or not nodes or now < self._again:
            return
        rooms = self.rooms(nodes)
        with store.write() as cursor:
            keep_rooms(cursor, self._source, self._cluster, rooms, round(clock.wall() * 1e6))
        self._again = now + TELL_SECONDS

    def _keep(self, pod: Pod | Resident) -> None:
        over = pod.terminal if isinstance(pod, Pod) else pod.over
        if over:
            self._pods.pop(pod.uid, None)
            return
        if len(self._pods) >= MOST and pod.uid not in self._pods:
            if not self._is_full:
                log.warning(
                    "cluster %s: more than %d pods; what others take is not counted", self._cluster, MOST
                )
            self._is_full = True
            return
        takes = _taken(pod) if isinstance(pod, Pod) else pod.takes
        self._pods[pod.uid] = pod.version, pod.node, takes


def _taken(pod: Pod) -> Amounts | None:
    """Of a pod with cards; None: nobody understands its requests."""
    try:
        return requested(pod.document["spec"])
    except BadInput:
        return None


def _room(node: Node, taken: Any) -> Room:
    offered = (node.document.get("status") or {}).get("allocatable") or {}
    cpu = _offered(offered.get("cpu"), Fraction(1, 1000))
    memory = _offered(offered.get("memory"), Fraction(MIB))
    known = None not in taken
    return Room(
        node=node.name,
        cpu_milli=cpu,
        cpu_free_milli=cpu - sum(takes[0] for takes in taken) if known and cpu is not None else None,
        memory_mib=memory,
        memory_free_mib=memory - sum(takes[1] for takes in taken) if known and memory is not None else None,
        why=node.closed,
    )


def _offered(said: Any, unit: Fraction) -> int | None:
    if said is None:
        return None
    try:
        return int(quantity(said, where="allocatable") / unit)
    except BadInput:
        return None
