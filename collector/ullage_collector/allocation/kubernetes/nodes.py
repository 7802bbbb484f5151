"""What is kept of a Node: few labels, what it offers, and how far its clock is off.

A kubelet writes its heartbeat by its own clock and the API server notes by its own when that write came: the
difference is the node's clock. It matters as the ends of containers are told by the node's clock alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from ullage_collector.allocation.kubernetes.pods import micros, number
from ullage_collector.topology.labels import shipped_labels

KEPT_LABELS: Final = (
    "kubernetes.io/hostname",
    "topology.kubernetes.io/*",
    "failure-domain.beta.kubernetes.io/*",
    "node.kubernetes.io/instance-type",
    "network.topology.nvidia.com/*",
    "network.topology.kubernetes.io/*",
    "cloud.google.com/gce-topology-*",
    "topology.k8s.aws/*",
    "nvidia.com/*",
    "amd.com/*",
    "*node-pool*",
    "*nodepool*",
    "*nodegroup*",
    "*agentpool*",
    "*ascend*",
    "*accelerator*",
    "*gpu*",
    "*npu*",
    "*rack*",
    "*room*",
    "*site*",
    "*switch*",
    "*spine*",
    "*leaf*",
    "*power*",
)
"""Labels that say where a node is, which pool it is of, and how its cards are cut."""
_LEAST_SKEW_SECONDS: Final = 5.0
"""Our choice: heartbeat and note have whole seconds, and a write may wait a few; less than this says nothing."""
_LONGEST_NOTE: Final = 65536  # our choice: a register of 64 cards has a tenth of it


@dataclass(frozen=True, slots=True)
class Node:
    """One node. skew_seconds: its clock less the API server's; None: not told, or too little to tell.

    offers: extended resources it can hand out, by name. closed: why its scheduler puts no new work there, None: it does.
    document: the node as JSON gives it, as far as it speaks of
    cards: labels, annotations and amounts.
    """

    name: str
    version: int
    labels: Mapping[str, str]
    offers: Mapping[str, int]
    skew_seconds: float | None
    document: Mapping[str, Any]
    closed: str | None = None


def _is_kept(label: str) -> bool:
    return label in shipped_labels() or any(fnmatchcase(label, glob) for glob in KEPT_LABELS)


def read(node: Mapping[str, Any]) -> Node:
    """A node as JSON gives it. Raises KeyError for an object that is none."""
    metadata = node["metadata"]
    labels = metadata.get("labels") or {}
    allocatable = (node.get("status") or {}).get("allocatable") or {}
    return Node(
        name=metadata["name"],
        version=number(metadata.get("resourceVersion")),
        labels={k: str(v) for k, v in labels.items() if _is_kept(k)},
        # What carries a domain is no processor, memory or disk — "Extended resources".
        offers={k: int(v) for k, v in allocatable.items() if "/" in k and str(v).isdecimal() and int(v)},
        skew_seconds=_skew(node),
        document={
            "metadata": {"labels": labels, "annotations": _notes(metadata.get("annotations") or {})},
            "status": {"capacity": (node.get("status") or {}).get("capacity"), "allocatable": allocatable},
        },
        closed=_closed(node),
    )


def _closed(node: Mapping[str, Any]) -> str | None:
    """Cordoned, or its kubelet does not say Ready; silence of a kubelet is told by its controller as Unknown."""
    if (node.get("spec") or {}).get("unschedulable"):
        return "cordoned"
    ready = [
        c.get("status")
        for c in (node.get("status") or {}).get("conditions") or ()
        if c.get("type") == "Ready"
    ]
    return "not ready" if ready and "True" not in ready else None


def replicas(labels: Mapping[str, str], resource: str) -> int | None:
    """Into how many replicas the node's plugin cuts one card of a resource; None: not said, or it does not.

    GPU feature discovery labels them ``<resource>.replicas``, of MIG profiles alike — NVIDIA/k8s-device-plugin,
    docs/gpu-feature-discovery. A renamed resource ends in ``.shared``.
    """
    said = labels.get(f"{resource.removesuffix('.shared')}.replicas", "")
    return int(said) if said.isdecimal() and int(said) > 1 else None


def _notes(annotations: Mapping[str, Any]) -> dict[str, str]:
    """Annotations, but for those every node has that speak of no card."""
    return {
        key: str(value)
        for key, value in annotations.items()
        if not key.startswith(
            ("kubectl.kubernetes.io/", "volumes.kubernetes.io/", "flannel.", "projectcalico.org/")
        )
        and len(str(value)) <= _LONGEST_NOTE
    }


def _skew(node: Mapping[str, Any]) -> float | None:
    conditions = (node.get("status") or {}).get("conditions") or ()
    beats = [micros(c.get("lastHeartbeatTime")) for c in conditions if c.get("type") == "Ready"]
    notes = [
        micros(entry.get("time"))
        for entry in node["metadata"].get("managedFields") or ()
        if entry.get("manager") == "kubelet" and "f:status" in (entry.get("fieldsV1") or {"f:status": None})
    ]
    beat, note = max(filter(None, beats), default=None), max(filter(None, notes), default=None)
    if beat is None or note is None:
        return None
    skew = (beat - note) / 1e6
    return skew if abs(skew) >= _LEAST_SKEW_SECONDS else None
