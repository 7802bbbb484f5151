"""A pod's containers, labels and annotations, as the readers need them. Pure; a malformed pod raises BadInput."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ullage_collector.allocation.sharing.share import bad, mapping, texts

RESERVATION_LABEL = "app.runai.resource.reservation"
"""On pods that keep a whole card for a group of fractional pods (NVIDIA/KAI-Scheduler): they hold nothing themselves."""
RESERVATION_NAMESPACES = ("runai-reservation", "kai-resource-reservation")


@dataclass(frozen=True, slots=True)
class Container:
    """One container: its name, whether it ends before the others start, what it asks for, its plain environment."""

    name: str
    init: bool
    amounts: Mapping[str, object]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pod:
    """What the readers need of a pod. containers: init containers first, in the pod's order."""

    containers: tuple[Container, ...]
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    namespace: str
    mains: int = 0  # how many of them are ordinary containers

    @property
    def ordinary(self) -> tuple[Container, ...]:
        """The ordinary containers, in order."""
        return self.containers[len(self.containers) - self.mains :]

    @property
    def stated(self) -> Mapping[str, str]:
        """Labels and annotations together; an annotation wins."""
        return {**self.labels, **self.annotations}

    @property
    def reserves(self) -> bool:
        """Whether it is a scheduler's reservation pod."""
        return RESERVATION_LABEL in self.labels or self.namespace in RESERVATION_NAMESPACES


def read_pod(pod: Mapping[str, Any]) -> Pod:
    """The pod of the API server's JSON. Raises BadInput: containers that are no list of objects with names."""
    metadata, spec = mapping(pod.get("metadata")), mapping(pod.get("spec"))
    inits = _containers(spec.get("initContainers"), "initContainers")
    mains = _containers(spec.get("containers"), "containers")
    return Pod(
        containers=inits + mains,
        labels=texts(metadata.get("labels")),
        annotations=texts(metadata.get("annotations")),
        namespace=str(metadata.get("namespace") or ""),
        mains=len(mains),
    )


def _containers(value: object, where: str) -> tuple[Container, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise bad("kubernetes", f"spec.{where}", value, "not a list")
    return tuple(_container(item, where) for item in value)


def _container(item: object, where: str) -> Container:
    container = mapping(item)
    name = container.get("name")
    if not isinstance(name, str) or not name:
        raise bad("kubernetes", f"spec.{where}", item, "a container without a name")
    resources = mapping(container.get("resources"))
    environment = container.get("env")
    return Container(
        name=name,
        # A restartable init container is a sidecar: it goes on beside the others (Kubernetes, sidecar containers).
        init=where == "initContainers" and container.get("restartPolicy") != "Always",
        # Extended resources have requests equal to limits; either may be the only one written.
        amounts={**mapping(resources.get("requests")), **mapping(resources.get("limits"))},
        environment={
            pair["name"]: pair["value"]
            for pair in (environment if isinstance(environment, list) else ())
            if isinstance(pair, Mapping)
            and isinstance(pair.get("name"), str)
            and isinstance(pair.get("value"), str)
        },
    )
