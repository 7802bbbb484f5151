"""The kubelet's PodResources API, version 1: what it handed to which container, as types.

Requests and answers as published in k8s.io/kubelet/pkg/apis/podresources/v1/api.proto; processors and memory are
skipped. Not here: when it is asked and what becomes of it (kubelet.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ullage_agent.grpc_call import call
from ullage_agent.protobuf import encoded, fields, text
from ullage_contract.errors import Broken, ReadingError

SERVICE: Final = "/v1.PodResourcesLister/"
MOST_ANSWER_BYTES: Final = 16 << 20
"""The kubelet's own clients take as much (pkg/kubelet/apis/podresources/constants.go, read 2026-11-21)."""


@dataclass(frozen=True, slots=True)
class Devices:
    """Devices of one resource in one container. resource: e.g. nvidia.com/gpu. ids: as the device plugin spells them.

    numa_nodes: where they sit, as the plugin said.
    """

    resource: str
    ids: tuple[str, ...]
    numa_nodes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Claim:
    """One ResourceClaim of a container (DRA). devices: driver/pool/device of each, "" where the kubelet is too old to
    say. cdi: fully qualified CDI device names, in no promised relation to devices."""

    namespace: str
    name: str
    devices: tuple[str, ...]
    cdi: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Container:
    """One container that was handed something."""

    namespace: str
    pod: str
    name: str
    devices: tuple[Devices, ...]
    claims: tuple[Claim, ...]


class PodResources:
    """Asks the kubelet. Every method raises NotPresent, NotPermitted, NotSupported or Broken; none blocks longer than
    ``timeout_seconds``."""

    def __init__(self, socket: Path, timeout_seconds: float) -> None:
        self._socket = socket
        self._timeout = timeout_seconds

    def list(self) -> bytes:
        """The answer of List; ``containers`` reads it."""
        return self._ask("List", b"")

    def get(self, namespace: str, pod: str) -> tuple[Container, ...] | None:
        """One pod's containers; None when the kubelet knows no such pod (it says so with status unknown).

        Raises NotSupported where the kubelet has no Get.
        """
        request = encoded(1, pod) + encoded(2, namespace)
        answer = self._call("Get", request)
        if isinstance(answer, Broken):
            return None
        if isinstance(answer, ReadingError):
            raise answer
        return tuple(
            container
            for number, value in fields(answer)
            if number == 1 and isinstance(value, bytes)
            for container in _pod(value)
        )

    def allocatable(self) -> tuple[Devices, ...]:
        """Every device the kubelet could hand out."""
        answer = self._ask("GetAllocatableResources", b"")
        return tuple(
            _devices(value) for number, value in fields(answer) if number == 1 and isinstance(value, bytes)
        )

    def _ask(self, method: str, request: bytes) -> bytes:
        answer = self._call(method, request)
        if isinstance(answer, ReadingError):
            raise type(answer)(f"{self._socket}: {method}: {answer}")
        return answer

    def _call(self, method: str, request: bytes) -> bytes | ReadingError:
        (answer,) = call(
            self._socket, SERVICE + method, [request], self._timeout, most_answer_bytes=MOST_ANSWER_BYTES
        )
        return answer


def containers(answer: bytes) -> Iterator[Container]:
    """Every container of a List answer that holds a device or a claim. Raises Broken for bytes that are none."""
    for number, value in fields(answer):
        if number == 1:
            if not isinstance(value, bytes):
                raise Broken("the kubelet's list is no list of pods")
            yield from _pod(value)


def _pod(message: bytes) -> Iterator[Container]:
    pod = namespace = ""
    found = []
    for number, value in fields(message):
        if number == 1:
            pod = text(value)
        elif number == 2:
            namespace = text(value)
        elif number == 3 and isinstance(value, bytes):
            found.append(value)
    for inner in found:
        container = _container(namespace, pod, inner)
        if container.devices or container.claims:
            yield container


def _container(namespace: str, pod: str, message: bytes) -> Container:
    name = ""
    devices: list[Devices] = []
    claims: list[Claim] = []
    for number, value in fields(message):
        if number == 1:
            name = text(value)
        elif number == 2 and isinstance(value, bytes):
            devices.append(_devices(value))
        elif number == 5 and isinstance(value, bytes):
            claims.append(_claim(value))
    return Container(namespace, pod, name, tuple(one for one in devices if one.ids), tuple(claims))


def _devices(message: bytes) -> Devices:
    resource = ""
    ids: list[str] = []
    nodes: list[int] = []
    for number, value in fields(message):
        if number == 1:
            resource = text(value)
        elif number == 2:
            ids.append(text(value))
        elif number == 3 and isinstance(value, bytes):
            nodes += _numa_nodes(value)
    return Devices(resource, tuple(ids), tuple(nodes))


def _numa_nodes(topology: bytes) -> Iterator[int]:
    for number, value in fields(topology):
        if number == 1 and isinstance(value, bytes):
            node = 0  # proto3 leaves out 0
            for inner, content in fields(value):
                if inner == 1 and isinstance(content, int):
                    node = content
            yield node


def _claim(message: bytes) -> Claim:
    name = namespace = ""
    devices: list[str] = []
    cdi: list[str] = []
    for number, value in fields(message):
        if number == 2:
            name = text(value)
        elif number == 3:
            namespace = text(value)
        elif number == 4 and isinstance(value, bytes):
            parts = {2: "", 3: "", 4: ""}
            for inner, content in fields(value):
                if inner == 1 and isinstance(content, bytes):
                    cdi += [text(one) for key, one in fields(content) if key == 1]
                elif inner in parts:
                    parts[inner] = text(content)
            if any(parts.values()):
                devices.append("/".join(parts.values()))
    return Claim(namespace, name, tuple(devices), tuple(cdi))
