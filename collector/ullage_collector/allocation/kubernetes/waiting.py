"""Pods that ask for cards and have no node yet: who waits, for what, in which queue, since when, and why.

A pod waits from its making until it is bound, ended, being deleted, or in no list any more. One that is gated waits for
its gate (Kueue and others hold pods so), and the gates are its reason. What a pod asks for by resource claims alone is
not counted: how many cards that is only its driver knows. A share of memory in bytes counts a whole card, as nobody
knows yet of which card. Not here: what bound pods hold (roster.py), and what requests become (quota/waiting.py).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ullage_collector.allocation.kubernetes import pods
from ullage_collector.allocation.kubernetes.demand import amount, demand
from ullage_collector.allocation.kubernetes.follow import Changed, Listed
from ullage_collector.allocation.kubernetes.pods import TERMINAL, Pod, micros, number
from ullage_collector.allocation.kubernetes.workloads import Naming, workload
from ullage_collector.quota.resources import counted
from ullage_collector.quota.waiting import Request, keep_waiting
from ullage_contract.errors import BadInput

if TYPE_CHECKING:
    from ullage_collector.store.store import Store
    from ullage_contract.clock import Clock

log = logging.getLogger(__name__)

MOST: Final = 100_000
"""# our choice: because that is ten times the pods of a large fleet; more is a controller that makes pods in a circle."""
SHARE_OF_TIME: Final = 20.0
"""# our choice: because the store has other writers; telling ten thousand that wait takes it a fraction of a second."""
_MOST_NANO: Final = 2**63 - 1
_LONGEST_REASON: Final = 200


@dataclass(frozen=True, slots=True)
class WaitingPod:
    """One pod without a node. requests: what it waits for, one a resource. over: it waits no more and is still there."""

    uid: str
    version: int
    requests: tuple[Request, ...]
    over: bool


def reader(naming: Naming) -> Callable[[Mapping[str, Any]], Pod | WaitingPod | None]:
    """The function that reads a pod as JSON gives it, bound or not; None of it: it asks for no card."""

    def either(pod: Mapping[str, Any]) -> Pod | WaitingPod | None:
        return pods.read(pod, naming) if (pod.get("spec") or {}).get("nodeName") else read(pod, naming)

    return either


def read(pod: Mapping[str, Any], naming: Naming) -> WaitingPod | None:
    """A pod without a node. Raises KeyError, ValueError, BadInput for an object that is no pod or asks nonsense."""
    wanted: dict[str, int] = {}
    for ask in demand(pod):
        name = _resource(ask.resources)
        wanted[name] = wanted.get(name, 0) + amount((ask,))
    wanted = {name: nano for name, nano in wanted.items() if nano > 0}
    if not wanted:
        return None
    metadata, status = pod["metadata"], pod.get("status") or {}
    since_us = micros(metadata.get("creationTimestamp"))
    if since_us is None:
        raise BadInput(f"pod {metadata.get('name')!r} says no time at all")
    if max(wanted.values()) > _MOST_NANO:
        raise BadInput(f"pod {metadata.get('name')!r} asks for more cards than there are")
    who = workload(pod, naming)
    queue = who.attributes.get("queue")
    said = _reason(pod)
    return WaitingPod(
        uid=metadata["uid"],
        version=number(metadata.get("resourceVersion")),
        requests=tuple(
            Request(who, since_us, nano, name, None if queue is None else str(queue), said)
            for name, nano in sorted(wanted.items())
        ),
        over=status.get("phase") in TERMINAL or metadata.get("deletionTimestamp") is not None,
    )


class WaitingPods:
    """One cluster's pods without a node. ``hear_*`` take what is told, ``tell`` brings table ``request`` to it.

    source, cluster: whose requests they are.
    """

    def __init__(self, source: str, cluster: str) -> None:
        self._source = source
        self._cluster = cluster
        self._pods: dict[str, WaitingPod] = {}
        self._listed = False
        self._changed = False
        self._again = 0.0
        self._is_full = False

    def __len__(self) -> int:
        """Pods that wait."""
        return len(self._pods)

    def hear_pods(self, told: Listed[Pod | WaitingPod]) -> None:
        """A complete list: who is not in it waits no more."""
        before = {uid: pod.requests for uid, pod in self._pods.items()}
        self._pods = {}
        for pod in told.items:
            if isinstance(pod, WaitingPod) and not pod.over:
                self._keep(pod)
        after = {uid: pod.requests for uid, pod in self._pods.items()}
        self._changed = self._changed or not self._listed or before != after
        self._listed = True

    def hear_pod(self, told: Changed[Pod | WaitingPod]) -> None:
        """One change: made, bound, ended, gone, or it waits for another reason."""
        pod = told.item
        known = self._pods.get(pod.uid)
        if isinstance(pod, Pod) or told.gone or pod.over:
            if known is not None:
                del self._pods[pod.uid]
                self._changed = True
        elif known is None or not 0 <= pod.version < known.version:
            self._keep(pod)
            self._changed = self._changed or known is None or known.requests != pod.requests

    def requests(self) -> Iterator[Request]:
        """What all of them wait for."""
        for pod in self._pods.values():
            yield from pod.requests

    def tell(self, store: Store, clock: Clock) -> None:
        """Tell the store who waits, if that changed and the first list is complete; seldom where telling takes long.

        Raises what the store raises; then it is told at the next call.
        """
        began = clock.monotonic()
        if not self._changed or not self._listed or began < self._again:
            return
        with store.write() as cursor:
            keep_waiting(cursor, self._source, self._cluster, self.requests(), round(clock.wall() * 1e6))
        self._changed = False
        now = clock.monotonic()
        self._again = now + SHARE_OF_TIME * (now - began)

    def _keep(self, pod: WaitingPod) -> None:
        if len(self._pods) >= MOST and pod.uid not in self._pods:
            if not self._is_full:
                log.warning(
                    "cluster %s: more than %d pods wait; the others are left out", self._cluster, MOST
                )
            self._is_full = True
            return
        self._pods[pod.uid] = pod


def _resource(names: tuple[str, ...]) -> str:
    """Of the names one share is asked for by, the one that counts cards."""
    for name in names:
        try:
            if counted(name) is not None:
                return name
        except BadInput:
            continue
    return names[0]


def _reason(pod: Mapping[str, Any]) -> str | None:
    """Why it waits; None: its scheduler has not said so yet — Kubernetes documentation, "Pod Scheduling Readiness"."""
    gates = [str(gate.get("name")) for gate in (pod.get("spec") or {}).get("schedulingGates") or ()]
    if gates:
        return f"SchedulingGated: {', '.join(gates)}"[:_LONGEST_REASON]
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return str(condition.get("reason") or "")[:_LONGEST_REASON] or None
    return None
