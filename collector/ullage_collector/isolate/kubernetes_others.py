"""What others keep a Kubernetes node from new work with: shown, counted, and never touched.

A person's cordon, node health checks, NVSentinel, autoscalers, a cloud's maintenance: each leaves taints, conditions
or `unschedulable` on the node, and a field's manager says who wrote it last.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final

from ullage_collector.allocation.kubernetes.client import ApiError, Document
from ullage_collector.isolate.kubernetes_api import Api
from ullage_collector.isolate.kubernetes_mark import Mark, marks, same_taint
from ullage_collector.isolate.kubernetes_settings import Servers
from ullage_contract.clock import Clock
from ullage_contract.errors import ActuatorError

log = logging.getLogger(__name__)

CONDITION: Final = "UllageIsolated"
_CORDON_TAINT: Final = "node.kubernetes.io/unschedulable"
"""What the node lifecycle controller adds to a node that is unschedulable — "Taints and tolerations"."""
_KEEPS_OFF: Final = ("NoSchedule", "NoExecute")
_KNOWN: Final = (
    ("ToBeDeletedByClusterAutoscaler", "Cluster Autoscaler"),
    ("DeletionCandidateOfClusterAutoscaler", "Cluster Autoscaler"),
    ("karpenter.sh/*", "Karpenter"),
    ("aws-node-termination-handler/*", "AWS Node Termination Handler"),
    ("cloud.google.com/impending-node-termination", "Google Cloud"),
    ("node.cloudprovider.kubernetes.io/*", "the cloud's controller"),
    ("*medik8s.io/*", "Medik8s node health check"),
    ("*nvsentinel*", "NVSentinel"),
    ("dgxc.nvidia.com/*", "NVSentinel"),
    ("node.kubernetes.io/out-of-service", "a person, after a shutdown"),
)
"""Who takes nodes with which taint — each project's documentation of its taints. Kubernetes' own (not-ready and the
like) come and go with the node's health: they are nobody's decision."""
_NVSENTINEL: Final = "quarantineHealthEvent"
"""The annotation NVSentinel's fault quarantine leaves on a node it cordoned — its runbook on cordoned nodes."""
_KEPT_SECONDS: Final = 1.0  # our choice: as an actuator may keep one bulk read
_USUAL_CONDITIONS: Final = ("Ready", CONDITION)


def holders(node: Mapping[str, Any], maintenance: Sequence[str]) -> list[str]:
    """By what others took the node from new work, in words; empty: they did not.

    maintenance: globs of taint keys that say so, besides those of known tools.
    """
    ours = marks(annotations_of(node))
    found = []
    if (node.get("spec") or {}).get("unschedulable") and not cordoned_by_us(node, ours.values()):
        sentinel = any(key.startswith(_NVSENTINEL) for key in annotations_of(node))
        found.append(f"cordoned by {'NVSentinel' if sentinel else _cordoner(node) or 'others'}")
    for taint in _foreign(node, ours):
        if (who := _taker(str(taint.get("key") or ""), maintenance)) is not None:
            found.append(f"taint {taint_text(taint)} by {who}")
    return found


class Nodes:
    """Every node of a cluster in one read, kept for a second: limits, labels and others are asked for one after another."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._read: dict[str, tuple[float, list[Document]]] = {}

    def of(self, api: Api) -> list[Document]:
        """Raises ApiError."""
        with self._lock:
            known = self._read.get(api.server)
            if known is None or self._clock.monotonic() - known[0] > _KEPT_SECONDS:
                items = [n for n in api.items("/api/v1/nodes") if (n.get("metadata") or {}).get("name")]
                known = self._read[api.server] = (self._clock.monotonic(), items)
            return known[1]

    def taken(self, servers: Servers, cluster_id: str, maintenance: Sequence[str]) -> dict[str, str] | None:
        """Nodes that others took from new work, with what; None: no answer."""
        nodes = self._answer(servers, cluster_id)
        if nodes is None:
            return None
        found = ((str(node["metadata"]["name"]), holders(node, maintenance)) for node in nodes)
        return {name: "; ".join(what) for name, what in found if what}

    def labels(self, servers: Servers, cluster_id: str) -> dict[str, dict[str, str]] | None:
        """node_id -> its labels; None: no answer."""
        nodes = self._answer(servers, cluster_id)
        if nodes is None:
            return None
        return {
            str(node["metadata"]["name"]): {
                str(key): str(value) for key, value in (node["metadata"].get("labels") or {}).items()
            }
            for node in nodes
        }

    def _answer(self, servers: Servers, cluster_id: str) -> list[Document] | None:
        try:
            return self.of(servers.api(cluster_id))
        except (ActuatorError, ApiError) as e:
            log.debug("nodes of %s: %s", cluster_id, e)
            return None


def notes(node: Mapping[str, Any], maintenance: Sequence[str]) -> list[str]:
    """What a plan says of others on the node: what keeps work off, other taints, and conditions that are True."""
    said = [f"{what}: left alone" for what in holders(node, maintenance)]
    for taint in _foreign(node, marks(annotations_of(node))):
        if _taker(str(taint.get("key") or ""), maintenance) is None:
            said.append(f"taint {taint_text(taint)}: left alone")
    for condition in (node.get("status") or {}).get("conditions") or ():
        if condition.get("status") == "True" and condition.get("type") not in _USUAL_CONDITIONS:
            reason = str(condition.get("reason") or condition.get("message") or "no reason")[:80]
            said.append(f"condition {condition.get('type')} ({reason}): left alone")
    return said


def cordoned_by_us(node: Mapping[str, Any], ours: Iterable[Mark]) -> bool:
    """The node is unschedulable because we made it so, and nobody wrote that field since.

    A server that does not say who wrote the field is taken at our mark's word.
    """
    if not (node.get("spec") or {}).get("unschedulable"):
        return False
    writer = _cordoner(node)
    return any(mark.cordon and writer in (None, mark.by) for mark in ours)


def taints_of(node: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The node's taints as they stand, in their order."""
    return [t for t in (node.get("spec") or {}).get("taints") or () if isinstance(t, Mapping)]


def taint_text(taint: Mapping[str, Any]) -> str:
    """key=value:effect."""
    value = f"={taint['value']}" if taint.get("value") else ""
    return f"{taint.get('key')}{value}:{taint.get('effect')}"


def annotations_of(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """An object's annotations, empty where it has none."""
    return (item.get("metadata") or {}).get("annotations") or {}


def _cordoner(node: Mapping[str, Any]) -> str | None:
    """The manager that wrote ``spec.unschedulable`` last, None where the server does not say."""
    for entry in (node.get("metadata") or {}).get("managedFields") or ():
        if "f:unschedulable" in ((entry.get("fieldsV1") or {}).get("f:spec") or {}):
            return str(entry.get("manager") or "") or None
    return None


def _foreign(node: Mapping[str, Any], ours: Mapping[str, Mark]) -> list[Mapping[str, Any]]:
    """Taints of others that keep work off, but for the one that a cordon brings."""
    placed = [mine for mark in ours.values() for mine in mark.taints]
    return [
        taint
        for taint in taints_of(node)
        if taint.get("effect") in _KEEPS_OFF
        and taint.get("key") != _CORDON_TAINT
        and not any(same_taint(taint, mine) for mine in placed)
    ]


def _taker(key: str, maintenance: Sequence[str]) -> str | None:
    """Who takes nodes with this key; None: a taint that says nothing of the kind."""
    known = next((who for glob, who in _KNOWN if fnmatchcase(key, glob)), None)
    return known or ("others" if any(fnmatchcase(key.lower(), glob) for glob in maintenance) else None)
