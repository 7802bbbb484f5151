"""A kubelet's PodResources server for tests: grpcio over a Unix socket, messages made from the published form.

Skips with the reason where grpcio and grpcio-tools (the dev extra) are not installed.
"""

from __future__ import annotations

import importlib
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

PROTO = Path(__file__).with_name("podresources") / "api.proto"


@cache
def messages() -> Any:
    """The module protoc makes of api.proto."""
    pytest.importorskip("grpc", reason="grpcio is not installed: pip install ullage[dev]")
    protoc = pytest.importorskip("grpc_tools.protoc", reason="grpcio-tools is not installed")
    out = mkdtemp(prefix="ullage-podresources-")
    made = protoc.main(["protoc", f"-I{PROTO.parent}", f"--python_out={out}", PROTO.name])
    assert made == 0
    sys.path.insert(0, out)
    try:
        return importlib.import_module("api_pb2")
    finally:
        sys.path.remove(out)


class KubeletServer:
    """Serves ``pods`` and ``allocatable`` until ``stop``. has_get False answers UNIMPLEMENTED; ``hang`` set holds List.

    garbage: answers List with these bytes instead. fails: answers List with this status.
    """

    def __init__(self, socket: Path) -> None:
        import grpc

        self.socket = socket
        self.pods: dict[tuple[str, str], Any] = {}
        self.allocatable: list[Any] = []
        self.has_get = True
        self.hang = threading.Event()
        self.garbage: bytes | None = None
        self.fails: Any = None
        self.calls: list[str] = []
        self._pb = messages()
        self._grpc = grpc
        self._server: Any = None
        self.start()

    def start(self) -> None:
        grpc, pb = self._grpc, self._pb
        self.socket.unlink(missing_ok=True)
        server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.max_send_message_length", 64 << 20)])

        def handler(function: Any, request: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(
                function, request_deserializer=request.FromString, response_serializer=_bytes_of
            )

        methods = {
            "List": handler(self._list, pb.ListPodResourcesRequest),
            "Get": handler(self._get, pb.GetPodResourcesRequest),
            "GetAllocatableResources": handler(self._allocatable, pb.AllocatableResourcesRequest),
        }
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("v1.PodResourcesLister", methods),)
        )
        assert server.add_insecure_port(f"unix:{self.socket}")
        server.start()
        self._server = server

    def stop(self) -> None:
        self.hang.clear()
        self._server.stop(None).wait(10)

    def pod(self, namespace: str, name: str, *containers: Any) -> None:
        self.pods[namespace, name] = self._pb.PodResources(
            namespace=namespace, name=name, containers=containers
        )

    def container(self, name: str, devices: dict[str, list[str]] | None = None, claims: Any = ()) -> Any:
        """devices: resource -> ids, each resource in two messages as topology-aware plugins answer."""
        pb = self._pb
        listed = []
        for resource, ids in (devices or {}).items():
            for number, some in enumerate((ids[::2], ids[1::2])):
                topology = pb.TopologyInfo(nodes=[pb.NUMANode(ID=number)])
                listed.append(pb.ContainerDevices(resource_name=resource, device_ids=some, topology=topology))
        return pb.ContainerResources(
            name=name,
            devices=listed,
            cpu_ids=[0, 1, 300],
            memory=[pb.ContainerMemory(memory_type="memory", size=1 << 40)],
            dynamic_resources=claims,
        )

    def claim(
        self, namespace: str, name: str, *devices: tuple[str, str, str], cdi: tuple[str, ...] = ()
    ) -> Any:
        pb = self._pb
        if not devices:
            return pb.DynamicResource(
                claim_namespace=namespace,
                claim_name=name,
                claim_resources=[pb.ClaimResource(cdi_devices=[pb.CDIDevice(name=one) for one in cdi])],
            )
        return pb.DynamicResource(
            claim_namespace=namespace,
            claim_name=name,
            claim_resources=[
                pb.ClaimResource(
                    driver_name=driver, pool_name=pool, device_name=device,
                    cdi_devices=[pb.CDIDevice(name=f"k8s.{driver}/claim=uid-{device}")],
                )
                for driver, pool, device in devices
            ],
        )  # fmt: skip

    def _list(self, request: Any, context: Any) -> Any:
        self.calls.append("List")
        while self.hang.is_set() and context.is_active():
            time.sleep(0.02)
        if self.fails is not None:
            context.abort(self.fails, "not now")
        if self.garbage is not None:
            return self.garbage
        return self._pb.ListPodResourcesResponse(pod_resources=self.pods.values())

    def _get(self, request: Any, context: Any) -> Any:
        self.calls.append("Get")
        if not self.has_get:
            context.abort(self._grpc.StatusCode.UNIMPLEMENTED, "PodResources API Get method disabled")
        pod = self.pods.get((request.pod_namespace, request.pod_name))
        if pod is None:
            context.abort(self._grpc.StatusCode.UNKNOWN, "pod not found")
        return self._pb.GetPodResourcesResponse(pod_resources=pod)

    def _allocatable(self, request: Any, context: Any) -> Any:
        self.calls.append("GetAllocatableResources")
        return self._pb.AllocatableResourcesResponse(devices=self.allocatable)


def _bytes_of(answer: Any) -> bytes:
    return answer if isinstance(answer, bytes) else bytes(answer.SerializeToString())
