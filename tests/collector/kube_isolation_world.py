"""A cluster to isolate in: an API server with nodes, pods, budgets and devices, and our actuators beside it."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from api_server import ApiServer
from kube_world import ApiAnswer, Kube, access_to, gpu

from ullage_collector.allocation.kubernetes.kubeconfig import from_file
from ullage_collector.isolate import kubernetes_node
from ullage_collector.isolate.actuator import MARK, Plan, Target, execute
from ullage_collector.isolate.kubernetes_node import KubernetesNode
from ullage_contract.clock import ManualClock, SystemClock

KUBECONFIG = os.environ.get("ULLAGE_TEST_KUBECONFIG")

CLUSTER = "k8s-test"
MERGE = "application/merge-patch+json"
DRIVER = "gpu.nvidia.com"


def kubeconfig(folder: Path, url: str, token: str | None = None) -> Path:
    """A kubeconfig of one server, as JSON."""
    path = folder / f"kubeconfig-{url.rsplit(':', 1)[-1]}"
    user = {"token": token} if token else {}
    document = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(json.dumps(document))
    return path


def node_target(node: str, **changes: Any) -> Target:
    """A whole node."""
    return _target("node", node, node, changes)


def card_target(node: str, card: str | None = None, **changes: Any) -> Target:
    """A card of a node, by its UUID."""
    return _target("card", card or gpu(1), node, changes)


def _target(family: str, subject: str, node: str, changes: Mapping[str, Any]) -> Target:
    values: dict[str, Any] = {
        "family": family,
        "subject": subject,
        "cluster_id": CLUSTER,
        "node_id": node,
        "vendor": "nvidia",
        "minor": None,
        "pci_address": None,
        "reason": "fell off the bus",
        "marker": f"{MARK}{subject}",
        "incident_id": 17,
    }
    return Target(**(values | changes))


def carry_out(plan: Plan) -> list[str]:
    """Make the plan's calls; no program may be run."""

    def nothing(argv: Any) -> Any:
        raise AssertionError(f"a program was run: {argv}")

    return execute(plan, run=nothing)


def writes_of(plan: Plan) -> list[tuple[str, str, str]]:
    """Method, path with query and body of every write the plan shows."""
    found = []
    for call in plan.calls:
        said = call.to_json()
        for one in said.get("calls", [said]):
            path = "/" + one["url"].split("/", 3)[3]
            found.append((one["method"], path, json.dumps(one["body"], sort_keys=True)))
    return found


def writes_at(server: ApiServer) -> list[tuple[str, str, str]]:
    """The same of every write that arrived."""
    return [(m, p, json.dumps(json.loads(b) if b else None, sort_keys=True)) for m, p, b in server.writes]


class World:
    """Requests to an API server as people, controllers and schedulers make them."""

    def __init__(self, kube: Kube, server: ApiServer | None = None) -> None:
        self.kube, self.server = kube, server
        self.clock = ManualClock()

    def node(self, name: str) -> dict[str, Any]:
        return self.kube.ask("GET", f"/api/v1/nodes/{name}")

    def taints(self, name: str) -> list[dict[str, Any]]:
        return list(self.node(name).get("spec", {}).get("taints") or [])

    def condition(self, name: str, type_: str = "UllageIsolated") -> dict[str, Any] | None:
        conditions = self.node(name)["status"].get("conditions") or []
        return next((c for c in conditions if c["type"] == type_), None)

    def our_annotations(self, item: Mapping[str, Any]) -> dict[str, str]:
        annotations = item["metadata"].get("annotations") or {}
        return {k: v for k, v in annotations.items() if k.startswith("ullage.dev/")}

    def patch(self, name: str, body: Mapping[str, Any]) -> None:
        self.kube.ask("PATCH", f"/api/v1/nodes/{name}", body, MERGE)

    def taint(self, name: str, *taints: Mapping[str, str]) -> None:
        """Add taints, as a person does."""
        self.patch(name, {"spec": {"taints": [*self.taints(name), *taints]}})

    def cordon(self, name: str, on: bool = True) -> None:
        self.patch(name, {"spec": {"unschedulable": on or None}})

    def running(
        self, name: str, node: str, *, labels: Mapping[str, str] | None = None, owner: str | None = "ReplicaSet", **more: Any
    ) -> str:  # fmt: skip
        """A pod that runs and is ready; its uid."""
        owner_of = {"apiVersion": "apps/v1", "kind": owner, "name": f"{name}-owner", "uid": f"uid-{name}", "controller": True}  # fmt: skip
        if "kubernetes.io/config.mirror" in (more.get("annotations") or {}):
            more["nodeName"], bound = node, None  # as kubelets make them, past the scheduler
        else:
            bound = node
        uid = self.kube.pod(name, node=bound, labels=labels, owner=owner_of if owner else None, **more)
        self.kube.status(
            name,
            {
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        )
        return uid

    def budget(self, name: str, labels: Mapping[str, str], least: int) -> None:
        spec = {"minAvailable": least, "selector": {"matchLabels": dict(labels)}}
        path = f"/apis/policy/v1/namespaces/{self.kube.namespace}/poddisruptionbudgets"
        body = {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": name},
            "spec": spec,
        }
        try:
            self.kube.ask("POST", path, body)
        except ApiAnswer as e:
            if e.status != 404:
                raise
            body["apiVersion"] = "policy/v1beta1"
            self.kube.ask("POST", path.replace("/v1/", "/v1beta1/"), body)

    def ending(self, name: str) -> bool:
        """Whether a pod is being deleted or is gone."""
        try:
            return "deletionTimestamp" in self.kube.ask("GET", self.kube.path("pods", name))["metadata"]
        except ApiAnswer as e:
            if e.status != 404:
                raise
            return True

    def devices(self, node: str, count: int = 8, version: str = "v1", driver: str = DRIVER) -> None:
        """The ResourceSlice of a node's cards: gpu-0 ... with UUIDs gpu(0) ..."""
        devices = [
            {
                "name": f"gpu-{n}",
                "attributes": {
                    "type": {"string": "gpu"},
                    "uuid": {"string": gpu(n)},
                    "resource.kubernetes.io/pciBusID": {"string": f"0000:{n:02x}:00.0"},
                },
            }
            for n in range(count)
        ]
        self.slice(node, devices, version=version, driver=driver)

    def slice(
        self, node: str, devices: list[dict[str, Any]], *, version: str = "v1", driver: str = DRIVER, generation: int = 1
    ) -> None:  # fmt: skip
        body = {
            "apiVersion": f"resource.k8s.io/{version}",
            "kind": "ResourceSlice",
            "metadata": {"name": f"{node}-{driver}-{generation}"},
            "spec": {
                "driver": driver,
                "nodeName": node,
                "pool": {"name": node, "generation": generation, "resourceSliceCount": 1},
                "devices": devices,
            },
        }
        self.kube.ask("POST", f"/apis/resource.k8s.io/{version}/resourceslices", body)

    def claim(self, name: str, node: str, device: str, *pods: tuple[str, str]) -> None:
        """A claim that was given a device, reserved for pods (name, uid)."""
        path = f"/apis/resource.k8s.io/v1/namespaces/{self.kube.namespace}/resourceclaims"
        self.kube.ask("POST", path, {"metadata": {"name": name}, "spec": {}})
        result = {"request": "r", "driver": DRIVER, "pool": node, "device": device}
        status = {
            "allocation": {"devices": {"results": [result]}},
            "reservedFor": [{"resource": "pods", "name": pod, "uid": uid} for pod, uid in pods],
        }
        self.kube.ask("PATCH", f"{path}/{name}/status", {"status": status}, MERGE)

    def rules(self, version: str = "v1") -> list[dict[str, Any]]:
        return self.kube.ask("GET", f"/apis/resource.k8s.io/{version}/devicetaintrules").get("items") or []


class NodeBench(World):
    """A server, a node and the path of a kubeconfig."""

    def __init__(self, kube: Kube, path: Path, server: ApiServer | None) -> None:
        super().__init__(kube, server)
        self.path = path
        self.name = f"{kube.namespace}-n1"

    def actuator(self, **settings: Any) -> KubernetesNode:
        clock = ManualClock() if self.server is not None else SystemClock()
        return kubernetes_node.actuator({"kubeconfig": str(self.path), **settings}, clock)


def node_bench(kind: str, folder: Path) -> Iterator[NodeBench]:
    """A bench on the stand-in or (real) on the server that ULLAGE_TEST_KUBECONFIG names; what is made is removed."""
    server = None
    if kind == "real":
        if not KUBECONFIG:
            pytest.skip("ULLAGE_TEST_KUBECONFIG names no kubeconfig of a real cluster")
        path = Path(KUBECONFIG)
        access = from_file(path, None, SystemClock())
    else:
        server = ApiServer().start()
        path, access = kubeconfig(folder, server.url), access_to(server.url)
    kube = Kube(access, f"ullage-{uuid.uuid4().hex[:8]}")
    kube.make_namespace()
    bench = NodeBench(kube, path, server)
    kube.node(bench.name, {"ullage-test": kube.namespace}, {"nvidia.com/gpu": "8"})
    bench.patch(bench.name, {"spec": {"taints": None}})  # not-ready, which a real server gives each new node
    if server is not None:
        server.writes.clear()
    yield bench
    if server is not None:
        server.kill()
        return
    for pod in kube.ask("GET", kube.path("pods")).get("items") or []:
        with suppress(ApiAnswer):
            kube.delete(pod["metadata"]["name"])
    kube.ask("DELETE", f"/api/v1/nodes/{bench.name}")
    kube.ask("DELETE", f"/api/v1/namespaces/{kube.namespace}")


def server_of(bench: World) -> ApiServer:
    if bench.server is None:
        pytest.skip("only the stand-in can be made to do this")
    return bench.server
