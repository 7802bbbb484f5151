"""The policy on a Kubernetes cluster, whole: from the verdict over the API server to the way back, through what breaks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import api_controllers
import pytest
from api_server import ApiServer
from kube_isolation_world import DRIVER, kubeconfig
from kube_isolation_world import World as Cluster
from kube_world import Kube, access_to
from tests.collector.isolation_world import World

from ullage_collector.isolate import kubernetes_card, kubernetes_holders, kubernetes_node
from ullage_collector.isolate.intent import State
from ullage_collector.isolate.policy_settings import Override
from ullage_collector.isolate.verdict import Action

RULES = "/apis/resource.k8s.io/v1/devicetaintrules"
OURS = "ullage.dev/isolated"


class Bench:
    """A fleet of two nodes, its policy, and its API server; cards of n0 are handed out by DRA, those of n1 are not."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.api = ApiServer().start()
        self.kube = Kube(access_to(self.api.url), "work")
        self.cluster = Cluster(self.kube, self.api)
        self.kube.make_namespace()
        for node in ("n0", "n1"):
            self.kube.node(node)
        devices = [
            {"name": f"gpu-{n}", "attributes": {"uuid": {"string": f"n0-{n}"}, "type": {"string": "gpu"}}}
            for n in range(8)
        ]
        self.cluster.slice("n0", devices)
        self.world = World(2, **settings)
        self.world.default = ("kubernetes-card", "kubernetes-node")
        self.path = kubeconfig(folder, self.api.url)
        self.restart()

    def restart(self) -> None:
        """A new collector: nothing is known but the store."""
        at = {"kubeconfig": str(self.path), "evict_seconds": 2}
        self.world.actuators = {
            "kubernetes-card": kubernetes_card.actuator(at, self.world.clock),
            "kubernetes-node": kubernetes_node.actuator(at, self.world.clock),
        }
        kubernetes_holders.ask_store(self.world.actuators.values(), self.world.connect, self.world.clock)
        self.world.restart()

    def free(self) -> list[str]:
        return api_controllers.free_devices(self.api.objects)

    def ours_on(self, node: str) -> list[str]:
        return [t["value"] for t in self.cluster.taints(node) if t["key"] == OURS]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.api.kill()


def test_a_fatal_fault_takes_exactly_its_card_and_its_end_gives_it_back(bench: Bench) -> None:
    verdict = bench.world.consider("n0-5")
    bench.world.step()
    assert bench.world.state("n0-5") is State.ISOLATED
    assert bench.free() == [f"gpu-{n}" for n in range(8) if n != 5]
    assert bench.ours_on("n0") == []
    bench.world.end(verdict)
    bench.world.step(31)
    assert len(bench.free()) == 8 and bench.cluster.rules() == []


def test_a_card_that_is_in_no_slice_goes_to_its_node_once_a_person_approves(bench: Bench) -> None:
    verdict = bench.world.consider("n1-2")
    bench.world.step()
    bench.world.step(31)
    intent = bench.world.intent("n1")
    assert intent.state is State.ASKED and bench.ours_on("n1") == []
    bench.kube.beat("n1")  # what was approved is still what is planned
    bench.world.clock.advance(600)
    bench.world.policy.approve(verdict.incident_id, actor="ada", digest=intent.digest)
    bench.world.step(31)
    assert bench.world.state("n1") is State.ISOLATED
    assert bench.ours_on("n1") == [f"incident-{verdict.incident_id}"]


@pytest.mark.parametrize("when", ["before", "after"])
def test_calls_that_are_lost_and_a_collector_that_starts_anew_end_in_the_decided_state(
    tmp_path: Path, when: str
) -> None:
    bench = Bench(tmp_path, attempts=100)
    verdict = bench.world.consider("n0-5")
    bench.api.lose(when, *["before"] * 200)
    bench.world.step()
    bench.api._losses.clear()
    bench.restart()
    for _ in range(6):
        bench.world.step(31)
    assert bench.world.state("n0-5") is State.ISOLATED
    assert len(bench.cluster.rules()) == 1 and len(bench.free()) == 7
    bench.world.end(verdict)
    bench.api.lose(when, *["before"] * 200)
    bench.world.step(31)
    bench.api._losses.clear()
    bench.restart()
    for _ in range(6):
        bench.world.step(31)
    assert bench.cluster.rules() == [] and len(bench.free()) == 8
    bench.api.kill()


def test_a_server_that_is_away_and_forgets_its_history_changes_nothing_we_believe(bench: Bench) -> None:
    bench.world.consider("n0-5")
    bench.world.step()
    bench.api.kill()
    bench.world.step(61)
    assert bench.world.state("n0-5") is State.ISOLATED
    bench.api.objects.compact()
    bench.api.start()
    bench.world.step(61)
    assert bench.world.state("n0-5") is State.ISOLATED and len(bench.cluster.rules()) == 1


def test_a_rule_deleted_by_hand_is_placed_again_and_one_that_was_changed_is_theirs(bench: Bench) -> None:
    bench.world.consider("n0-5")
    bench.world.step()
    (made,) = bench.cluster.rules()
    path = f"{RULES}/{made['metadata']['name']}"
    bench.kube.ask("DELETE", path)
    for _ in range(3):
        bench.world.step(61)
    assert len(bench.free()) == 7 and bench.world.state("n0-5") is State.ISOLATED
    bench.kube.ask(
        "PATCH", path, {"spec": {"taint": {"effect": "NoExecute"}}}, "application/merge-patch+json"
    )
    bench.world.step(61)
    assert bench.world.state("n0-5") is State.OTHERS
    assert bench.cluster.rules()[0]["spec"]["taint"]["effect"] == "NoExecute"


def test_a_node_a_person_cordoned_is_left_to_that_person(bench: Bench) -> None:
    bench.cluster.cordon("n1")
    bench.world.consider(None, node="n1", action=Action.ISOLATE_NODE)
    bench.world.step()
    assert bench.ours_on("n1") == [] and bench.cluster.node("n1")["spec"]["unschedulable"] is True
    assert bench.world.state("n1") is not State.ISOLATED


def test_ended_work_is_evicted_after_its_deadline_and_a_budget_that_refuses_is_in_the_audit(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, overrides=(Override(rule="dbe", drain="end"),), drain_deadline_seconds=600)
    for name, device in (("held", "gpu-5"), ("guarded", "gpu-5"), ("other", "gpu-4")):
        labels = {"app": "guarded"} if name == "guarded" else {}
        uid = bench.cluster.running(name, "n0", labels=labels)
        bench.cluster.claim(f"c-{name}", "n0", device, (name, uid))
    bench.cluster.budget("guarded", {"app": "guarded"}, 1)
    bench.world.hold("n0-5")
    bench.world.consider("n0-5", rule="dbe", action=Action.DRAIN_CARD)
    bench.world.step()
    assert not bench.cluster.ending("held")
    annotations = bench.kube.ask("GET", bench.kube.path("pods", "held"))["metadata"]["annotations"]
    assert any(key.startswith("ullage.dev/") for key in annotations)  # told at once, ended later
    bench.world.step(601)
    bench.world.step(31)
    assert bench.cluster.ending("held")
    assert not bench.cluster.ending("guarded") and not bench.cluster.ending("other")
    results = [
        r for (r,) in bench.world.db.execute("SELECT result FROM audit WHERE action = 'end_work'").fetchall()
    ]
    assert any("guarded: not evicted, it runs on" in r and "disruption budget" in r for r in results), results
    assert len(bench.free()) == 7
    bench.api.kill()


def test_whose_devices_are_whose_is_by_driver_and_pool(bench: Bench) -> None:
    """A device of the same name on another node is another card."""
    bench.cluster.slice("n1", [{"name": "gpu-5", "attributes": {"uuid": {"string": "n1-5"}}}])
    bench.world.consider("n0-5")
    bench.world.step()
    assert [r["spec"]["deviceSelector"] for r in bench.cluster.rules()] == [
        {"driver": DRIVER, "pool": "n0", "device": "gpu-5"}
    ]
    assert bench.free().count("gpu-5") == 1
