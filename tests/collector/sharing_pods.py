"""Pods and nodes as the API server's JSON has them, for the tests of what they say of shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

QUARTER = 250_000_000
HALF = 500_000_000
ONE = 1_000_000_000
MIB = 1 << 20
GIB = 1 << 30


def container(
    name: str,
    resources: Mapping[str, object] | None = None,
    *,
    env: Mapping[str, str] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """A container asking for ``resources`` in requests and limits alike, as extended resources must be."""
    amounts = dict(resources or {})
    return {
        "name": name,
        "image": "example/work:1",
        "resources": {"limits": amounts, "requests": amounts},
        "env": [{"name": key, "value": value} for key, value in (env or {}).items()],
        **more,
    }


def pod(
    resources: Mapping[str, object] | Sequence[Mapping[str, object]],
    annotations: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    *,
    inits: Sequence[dict[str, Any]] = (),
    env: Mapping[str, str] | None = None,
    namespace: str = "team-a",
) -> dict[str, Any]:
    """A pod of one container a mapping, named main, second, third."""
    many = [resources] if isinstance(resources, Mapping) else list(resources)
    names = ("main", "second", "third")
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "work-0",
            "namespace": namespace,
            "uid": "9b1c9a1e-3a76-4bb0-9a4a-6a43a3a8d001",
            "annotations": dict(annotations or {}),
            "labels": dict(labels or {}),
        },
        "spec": {
            "nodeName": "node-1",
            "initContainers": list(inits),
            "containers": [container(names[i], r, env=env) for i, r in enumerate(many)],
        },
        "status": {"phase": "Running"},
    }


def node(
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    capacity: Mapping[str, object] | None = None,
) -> dict[str, Any]:
    """A node with those labels, annotations, and capacity equal to allocatable."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": "node-1",
            "labels": dict(labels or {}),
            "annotations": dict(annotations or {}),
        },
        "status": {"capacity": dict(capacity or {}), "allocatable": dict(capacity or {})},
    }
