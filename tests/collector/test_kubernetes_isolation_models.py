"""What we write has the shapes Kubernetes publishes: every body is held to the models of the package ``kubernetes``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from kube_isolation_world import (
    NodeBench,
    card_target,
    carry_out,
    kubeconfig,
    node_bench,
    node_target,
    server_of,
)
from kube_world import gpu
from test_kubernetes_models import check

from ullage_collector.isolate import kubernetes_card
from ullage_contract.clock import ManualClock

client = pytest.importorskip("kubernetes.client", reason="the package kubernetes is of the dev extra")

RULE_MODELS = {
    "v1": client.V1DeviceTaintRule,
    "v1beta2": client.V1beta2DeviceTaintRule,
    "v1alpha3": client.V1alpha3DeviceTaintRule,
}
RBAC = Path(__file__).parents[2] / "deploy/kubernetes/isolation-rbac.yaml"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[NodeBench]:
    yield from node_bench("stand-in", tmp_path)


def bodies(bench: NodeBench, method: str, part: str) -> list[Mapping[str, Any]]:
    found = [
        json.loads(b) for m, p, b in server_of(bench).writes if m == method and part in p.partition("?")[0]
    ]
    assert found, f"no {method} of {part} was sent"
    return found


@pytest.mark.parametrize("version", sorted(RULE_MODELS))
def test_a_rule_is_what_its_version_publishes(tmp_path: Path, version: str) -> None:
    from api_server import ApiServer
    from kube_isolation_world import World
    from kube_world import Kube, access_to

    server = ApiServer(taint_rules=(version,)).start()
    world = World(Kube(access_to(server.url)), server)
    world.kube.node("n1")
    world.devices("n1")
    server.writes.clear()
    actuator = kubernetes_card.actuator({"kubeconfig": str(kubeconfig(tmp_path, server.url))}, ManualClock())
    carry_out(actuator.plan_isolate(card_target("n1", gpu(1))))
    (body,) = [json.loads(b) for m, p, b in server.writes if "devicetaintrules" in p]
    check(RULE_MODELS[version], body)
    RULE_MODELS[version].from_dict(body)  # what is required is there
    carry_out(actuator.plan_release(card_target("n1", gpu(1))))
    (deletion,) = [json.loads(b) for m, p, b in server.writes if m == "DELETE"]
    check(client.V1DeleteOptions, deletion)
    server.kill()


def test_what_is_written_to_nodes_pods_and_events_is_published(bench: NodeBench) -> None:
    bench.running("train", bench.name)
    server_of(bench).writes.clear()
    actuator = bench.actuator(cordon=True, grace_seconds=3)
    for drain in ("notify", "end"):
        carry_out(actuator.plan_isolate(node_target(bench.name, drain=drain)))
    for body in bodies(bench, "PATCH", f"/nodes/{bench.name}"):
        check(client.V1Node, body)
    for body in bodies(bench, "PATCH", "/pods/"):
        check(client.V1Pod, body)
    for body in bodies(bench, "POST", "/events"):
        check(client.CoreV1Event, body)
        client.CoreV1Event.from_dict(body)
    for body in bodies(bench, "POST", "/eviction"):
        check(client.V1Eviction, body)
        assert body["apiVersion"] == "policy/v1" and body["kind"] == "Eviction"
    carry_out(actuator.plan_release(node_target(bench.name)))


def test_the_roles_shipped_are_what_is_asked_for_and_no_more(bench: NodeBench) -> None:
    """Every request of an isolation's life, held to deploy/kubernetes/isolation-rbac.yaml; reading stays apart."""
    server = server_of(bench)
    roles = {
        d["metadata"]["name"]: d["rules"]
        for d in yaml.safe_load_all(RBAC.read_text())
        if d["kind"] == "ClusterRole"
    }
    granted = {
        (verb, resource)
        for rules in roles.values()
        for given in rules
        for verb in given["verbs"]
        for resource in given["resources"]
    }
    assert not any("*" in pair for pair in granted)
    assert {r for rules in [roles["ullage-eviction"]] for g in rules for r in g["resources"]} == {
        "pods/eviction"
    }
    bench.devices(bench.name)
    uid = bench.running("train", bench.name)
    bench.claim("c1", bench.name, "gpu-1", ("train", uid))
    server.tokens = {"bound": granted}
    server.asked.clear()
    path = kubeconfig(bench.path.parent, server.url, "bound")
    node = bench.actuator(cordon=True)
    card = kubernetes_card.actuator({"kubeconfig": str(path)}, ManualClock())
    used: list[str] = []
    for actuator, target in ((node, node_target), (card, card_target)):
        for drain in ("notify", "end"):
            used += carry_out(actuator.plan_isolate(target(bench.name, drain=drain)))
        used += carry_out(actuator.plan_release(target(bench.name)))
        assert actuator.taken_by_others("k8s-test") == {}
    assert not [line for line in used if "not done" in line or "not evicted" in line]
    read_after_a_doubt = {("get", "pods"), ("get", "devicetaintrules")}
    assert granted - server.asked <= read_after_a_doubt | {
        ("get", "resourceclaims"),
        ("get", "resourceslices"),
    }
