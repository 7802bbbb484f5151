"""What is kept of a pod: from when it holds, since when it no longer does, what it asked for and was given.

A pod holds its cards from the binding to its node until its terminal phase or its completed deletion; one that is
being deleted holds until it is gone. Whose clock a time is by is kept apart: the binding is the scheduler's and
the API server's, the end of a container is the node's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from ullage_collector.allocation.holding import Workload
from ullage_collector.allocation.kubernetes.requests import requested
from ullage_collector.allocation.kubernetes.workloads import Naming, workload
from ullage_collector.allocation.sharing import asked, assigned
from ullage_contract.errors import BadInput
from ullage_contract.sample import Value

TERMINAL: Final = frozenset({"Succeeded", "Failed"})
"""Phases after which no container runs again — Kubernetes documentation, "Pod phase"."""
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$")
_NO_TIME_US: Final = 86_400_000_000
"""Zero times of Go and of the epoch mean that there was none; our choice: as was everything of 1970's first day."""


@dataclass(frozen=True, slots=True)
class Pod:
    """One bound pod that asks for cards. Times are microseconds since the epoch; None: not said.

    from_us: by the control plane's clock. from_how: bound, started (by the node's clock) or created.
    finished_us: of a terminal pod, when its last container ended, by the node's clock.
    status_us: when the API server took the newest status, by its clock: nothing the status says is later.
    deletion_us: by when a deleted pod was to be gone. claims: DRA claims it names.
    claimed: resources which a claim stands for, so that they are not counted twice.
    document: the pod as JSON gives it, less what nothing of ours reads.
    """

    uid: str
    namespace: str
    name: str
    node: str
    version: int
    phase: str
    workload: Workload
    from_us: int
    from_how: str
    finished_us: int | None
    status_us: int | None
    deletion_us: int | None
    claims: tuple[str, ...]
    claimed: frozenset[str]
    attributes: Mapping[str, Value]
    document: Mapping[str, Any]

    @property
    def terminal(self) -> bool:
        """It holds nothing any more."""
        return self.phase in TERMINAL


def read(pod: Mapping[str, Any], naming: Naming) -> Pod | None:
    """A pod as JSON gives it; None: not bound yet, or it asks for no card. Raises KeyError, ValueError, BadInput for an object that is no pod."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    node = spec.get("nodeName")
    if not node:
        return None
    claims = tuple(str(c["resourceClaimName"]) for c in status.get("resourceClaimStatuses") or () if c.get("resourceClaimName"))  # fmt: skip
    claims += tuple(str(c["resourceClaimName"]) for c in spec.get("resourceClaims") or () if c.get("resourceClaimName"))  # fmt: skip
    extended = status.get("extendedResourceClaimStatus") or {}
    if extended.get("resourceClaimName"):
        claims += (str(extended["resourceClaimName"]),)
    document = _reduced(pod)
    if not claims and not spec.get("resourceClaims") and not _wants_cards(document):
        return None
    metadata = pod["metadata"]
    phase = str(status.get("phase") or "Pending")
    status_us = _status_written(metadata)
    from_us, how = _bound(metadata, status)
    return Pod(
        uid=metadata["uid"],
        namespace=metadata["namespace"],
        name=metadata["name"],
        node=str(node),
        version=number(metadata.get("resourceVersion")),
        phase=phase,
        workload=workload(pod, naming),
        from_us=from_us,
        from_how=how,
        finished_us=_finished(status) if phase in TERMINAL else None,
        status_us=status_us,
        deletion_us=micros(metadata.get("deletionTimestamp")),
        claims=tuple(dict.fromkeys(claims)),
        claimed=frozenset(
            str(m["resourceName"]) for m in extended.get("requestMappings") or () if m.get("resourceName")
        ),
        attributes={**_attributes(status, how), **_beside(spec)},
        document=document,
    )


def micros(text: Any) -> int | None:
    """An RFC 3339 time as microseconds since the epoch; None for none, nonsense and Go's zero time."""
    if not isinstance(text, str) or not _TIME.match(text):
        return None
    whole, zone = (text[:-1], "+00:00") if text.endswith("Z") else (text[:-6], text[-6:])
    head, _, fraction = whole.partition(".")
    try:
        moment = datetime.fromisoformat(f"{head}.{(fraction + '000000')[:6]}{zone}")
        us = round((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1e6)
    except (ValueError, OverflowError):
        return None
    return us if us >= _NO_TIME_US else None


def number(version: Any) -> int:
    """A resourceVersion as a number: of one kind of object a later one is higher — API concepts, "Resource versions".

    Where a server's versions are none, -1: the order they come in counts.
    """
    return int(version) if isinstance(version, str) and version.isdecimal() else -1


def _wants_cards(document: Mapping[str, Any]) -> bool:
    try:
        return bool(asked(document) or assigned(document))
    except BadInput:
        return True  # it speaks of cards in a way nobody understands: kept, and told where it is placed


def _reduced(pod: Mapping[str, Any]) -> dict[str, Any]:
    metadata, spec = pod.get("metadata") or {}, pod.get("spec") or {}
    return {
        "metadata": {key: metadata.get(key) for key in ("name", "namespace", "labels", "annotations")},
        "spec": {
            key: [
                {
                    "name": c.get("name"),
                    "resources": c.get("resources"),
                    "restartPolicy": c.get("restartPolicy"),
                    # OrionX says its shares here; everything else of the environment is not ours to keep.
                    "env": [e for e in c.get("env") or () if str(e.get("name")).startswith("ORION_")],
                }
                for c in spec.get(key) or ()
            ]
            for key in ("initContainers", "containers")
        }
        | ({"overhead": spec["overhead"]} if spec.get("overhead") else {}),
    }


def _bound(metadata: Mapping[str, Any], status: Mapping[str, Any]) -> tuple[int, str]:
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "True":
            at = micros(condition.get("lastTransitionTime"))
            if at is not None:
                return at, "bound"
    # A pod that names its node itself passes no scheduler: its kubelet sees it within a moment of its making.
    created = micros(metadata.get("creationTimestamp"))
    if created is not None:
        return created, "created"
    started = micros(status.get("startTime"))
    if started is not None:
        return started, "started"
    raise BadInput(f"pod {metadata.get('name')!r} says no time at all")


def _finished(status: Mapping[str, Any]) -> int | None:
    ends = [
        at
        for key in ("containerStatuses", "initContainerStatuses")
        for container in status.get(key) or ()
        if (at := micros(((container.get("state") or {}).get("terminated") or {}).get("finishedAt")))
        is not None
    ]
    return max(ends, default=None)


def _status_written(metadata: Mapping[str, Any]) -> int | None:
    """The newest write of the status, with the second that was cut off."""
    times = [micros(entry.get("time")) for entry in metadata.get("managedFields") or () if _of_status(entry)]
    newest = max((at for at in times if at is not None), default=None)
    return None if newest is None else newest + 1_000_000


def _of_status(entry: Mapping[str, Any]) -> bool:
    # Before 1.22 an entry has no subresource: its fields tell.
    return entry.get("subresource") == "status" or "f:status" in (entry.get("fieldsV1") or {})


def _attributes(status: Mapping[str, Any], how: str) -> dict[str, Value]:
    found: dict[str, Value] = {}
    if status.get("reason"):
        found["reason"] = str(status["reason"])[:100]
    restarts = sum(_restarts(status))
    if restarts:
        found["restarts"] = restarts
    if how != "bound":
        found["from_estimated"] = how
    return found


def _beside(spec: Mapping[str, Any]) -> dict[str, Value]:
    """Processors and memory it asks for; left out where it asks for none, as it may need any, or in no known way."""
    try:
        cpu_milli, memory_mib = requested(spec)
    except BadInput:
        return {}
    return {key: said for key, said in (("cpu_milli", cpu_milli), ("memory_mib", memory_mib)) if said}


def _restarts(status: Mapping[str, Any]) -> Iterator[int]:
    for container in status.get("containerStatuses") or ():
        count = container.get("restartCount")
        if isinstance(count, int):
            yield count
