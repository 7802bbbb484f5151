"""What tells people in Kubernetes that something is isolated: a node condition and events. None of it keeps work off.

Both are made from our marks alone, so writing them twice gives one; that they cannot be written stops nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ullage_collector.allocation.kubernetes.client import ApiError, Document
from ullage_collector.isolate.actuator import MARK, Target
from ullage_collector.isolate.kubernetes_api import STRATEGIC, Api, ApiCall
from ullage_collector.isolate.kubernetes_mark import Mark, digest, marks
from ullage_collector.isolate.kubernetes_others import CONDITION, annotations_of
from ullage_collector.isolate.kubernetes_write import Write

COMPONENT: Final = "ullage-collector"
NODE_EVENTS: Final = "default"
"""The namespace of events about nodes, which have none — Event v1 API, "involvedObject"."""
_LONGEST_MESSAGE: Final = 1000
"""Our choice: events are refused beyond 1,024 characters — Event v1 API, "note"; a condition reads better short, too."""
_LONGEST_NAME: Final = 200  # our choice: an object's name has at most 253 characters, our digest is thirteen


def condition_write(api: Api, node_id: str, after: Document, read: Callable[[], Document]) -> list[Write]:
    """The write that makes the node's condition say what its marks say; none where it does.

    after: the node as it will be when the writes before have been made. read: the node anew.
    """
    first = _condition_call(api, node_id, after)
    if first is None:
        return []
    return [
        Write(
            api,
            f"condition of node {node_id}",
            first,
            lambda: _condition_call(api, node_id, read()),
            needed=False,
        )
    ]


def event_write(
    api: Api, node: Document, target: Target, mark: Mark | None, *, over: bool = False
) -> list[Write]:
    """The event about a node that is isolated or (over) released; none where it was told already."""
    if mark is None:
        return []
    metadata = node.get("metadata") or {}
    about = {"apiVersion": "v1", "kind": "Node", "name": metadata.get("name"), "uid": metadata.get("uid")}
    return event_about(api, about, NODE_EVENTS, mark, over=over, at=mark.at)


def event_about(
    api: Api, about: Mapping[str, Any], namespace: str, mark: Mark, *, at: str, over: bool = False
) -> list[Write]:
    """An event about any object. Its name is made of what it says, so that it is there once."""
    reason = "UllageReleased" if over else "UllageIsolated"
    name = f"{str(about['name'])[:_LONGEST_NAME].rstrip('.-')}.{digest(mark.marker, mark.at, reason, str(about['kind']))}"
    path = f"/api/v1/namespaces/{namespace}/events"
    body = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": {key: value for key, value in about.items() if value},
        "reason": reason,
        "message": ("released: " if over else "") + said(mark),
        "type": "Normal" if over else "Warning",
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "reportingInstance": COMPONENT,
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
    }
    call = api.call("POST", path, body, varying=(at, name.rpartition(".")[2]))

    def again() -> ApiCall | None:
        return None if api.found(f"{path}/{name}") is not None else call

    try:
        if api.found(f"{path}/{name}") is not None:
            return []
    except ApiError:
        pass  # who may not read events may still write them
    return [Write(api, f"event {name}", call, again, needed=False)]


def said(mark: Mark) -> str:
    """One line about a mark: subject, reason, incident."""
    incident = f" (incident {mark.incident})" if mark.incident is not None else ""
    return f"{mark.marker.removeprefix(MARK)}: {mark.reason}{incident}"[:_LONGEST_MESSAGE]


def _condition_call(api: Api, node_id: str, node: Document) -> ApiCall | None:
    ours = sorted(marks(annotations_of(node)).values(), key=lambda mark: (mark.at, mark.marker))
    have = next(
        (c for c in (node.get("status") or {}).get("conditions") or () if c.get("type") == CONDITION), None
    )
    if not ours:
        if have is None:
            return None
        wanted: dict[str, Any] = {"type": CONDITION, "$patch": "delete"}
    else:
        wanted = {
            "type": CONDITION,
            "status": "True",
            "reason": "Isolated",
            "message": "; ".join(said(mark) for mark in ours)[:_LONGEST_MESSAGE],
            "lastTransitionTime": ours[0].at,
            "lastHeartbeatTime": ours[0].at,
        }
        if have is not None and all(have.get(k) == wanted[k] for k in ("status", "reason", "message")):
            return None
    return api.call(
        "PATCH",
        f"/api/v1/nodes/{node_id}/status",
        {"status": {"conditions": [wanted]}},
        content=STRATEGIC,
        varying=(ours[0].at,) if ours else (),
    )
