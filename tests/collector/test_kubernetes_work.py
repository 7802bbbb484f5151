"""Work on what is isolated ends only where a rule says so, as far as its disruption budgets allow; else it is told.

Held to the stand-in and, where ULLAGE_TEST_KUBECONFIG names one, to a real cluster's API server, which is written to.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import api_controllers
import duckdb
import pytest
from kube_isolation_world import (
    CLUSTER,
    NodeBench,
    card_target,
    carry_out,
    node_bench,
    node_target,
    server_of,
    writes_at,
    writes_of,
)
from kube_world import ApiAnswer, gpu

from ullage_collector.isolate.actuator import Standing
from ullage_collector.isolate.kubernetes_holders import ask_store, holding
from ullage_collector.isolate.kubernetes_work import Evictions
from ullage_collector.sql import migrations
from ullage_contract.clock import ManualClock


@pytest.fixture(params=["stand-in", "real"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NodeBench]:
    yield from node_bench(request.param, tmp_path)


def ended(bench: NodeBench, **more: Any) -> Any:
    return node_target(bench.name, drain="end", **more)


def test_by_default_running_work_is_let_finish(bench: NodeBench) -> None:
    bench.running("train", bench.name)
    plan = bench.actuator().plan_isolate(node_target(bench.name))
    assert "running pods stay" in plan.notes[-1]
    carry_out(plan)
    if bench.server is not None:
        api_controllers.evict_tainted(bench.server.objects)
    assert not bench.ending("train")


def test_a_rule_that_ends_work_evicts_all_but_what_is_never_evicted(bench: NodeBench) -> None:
    bench.running("train", bench.name)
    bench.running("agent", bench.name, owner="DaemonSet")
    bench.running("notebook", bench.name, owner=None)
    bench.running("static", bench.name, owner=None, annotations={"kubernetes.io/config.mirror": "x"})
    bench.running("done", bench.name)
    bench.kube.status("done", {"phase": "Succeeded"})
    plan = bench.actuator().plan_isolate(ended(bench))
    left = [note for note in plan.notes if "is left" in note]
    assert len(left) == 3
    assert any("agent is left: of a DaemonSet" in note for note in left)
    assert any("static is left: a static pod" in note for note in left)
    assert any("notebook is left: it has no controller" in note for note in left)
    lines = carry_out(plan)
    assert lines[-1] == f"pod {bench.kube.namespace}/train: evicted"
    assert bench.ending("train")
    assert not any(bench.ending(name) for name in ("agent", "notebook", "static"))
    carry_out(bench.actuator(bare_pods=True).plan_isolate(ended(bench)))
    assert bench.ending("notebook") and not bench.ending("static")


def test_evictions_are_printed_as_they_are_sent(bench: NodeBench) -> None:
    server = server_of(bench)
    for name in ("a", "b"):
        bench.running(name, bench.name)
    actuator = bench.actuator(grace_seconds=5)
    carry_out(actuator.plan_isolate(node_target(bench.name)))
    server.writes.clear()
    plan = actuator.plan_isolate(ended(bench))
    assert server.writes == []
    (call,) = plan.calls
    assert isinstance(call, Evictions)
    assert str(call).count("/eviction?fieldManager=ullage") == 2 and '"gracePeriodSeconds":5' in str(call)
    carry_out(plan)
    assert writes_at(server) == writes_of(plan)
    uid = bench.kube.ask("GET", bench.kube.path("pods", "a"))["metadata"]["uid"]
    assert json.loads(server.writes[0][2])["deleteOptions"]["preconditions"] == {"uid": uid}


def test_a_budget_that_refuses_is_asked_again_then_reported_and_the_isolation_stands(
    bench: NodeBench,
) -> None:
    for name in ("a", "b"):
        bench.running(name, bench.name, labels={"app": "train"})
    bench.running("free", bench.name)
    bench.budget("train", {"app": "train"}, 2)
    if bench.server is None:
        time.sleep(2.0)  # the disruption controller counts
    actuator = bench.actuator(evict_seconds=2)
    lines = carry_out(actuator.plan_isolate(ended(bench)))
    refused = [line for line in lines if "not evicted, it runs on" in line]
    assert len(refused) == 2 and all("disruption budget" in line for line in refused)
    assert bench.ending("free") and not bench.ending("a") and not bench.ending("b")
    assert actuator.standing(ended(bench)) is Standing.OURS


def test_a_budget_that_gives_way_in_time_lets_the_pod_go(bench: NodeBench) -> None:
    server = server_of(bench)
    for name in ("a", "b"):
        bench.running(name, bench.name, labels={"app": "train"})
    bench.budget("train", {"app": "train"}, 1)
    actuator = bench.actuator(evict_seconds=30)
    carry_out(actuator.plan_isolate(node_target(bench.name)))
    clock = actuator._servers.api("k8s-test").clock
    waited: list[float] = []
    plain = clock.sleep

    def replaced(seconds: float) -> None:
        """While we wait, the controller of the pods makes one elsewhere."""
        if not waited:
            bench.running("c", "elsewhere", labels={"app": "train"})
        waited.append(seconds)
        plain(seconds)

    clock.sleep = replaced  # type: ignore[method-assign]
    lines = carry_out(actuator.plan_isolate(ended(bench)))
    assert sorted(lines) == [f"pod {bench.kube.namespace}/{name}: evicted" for name in ("a", "b")]
    assert waited and bench.ending("a") and bench.ending("b")
    assert len([w for w in server.writes if w[1].endswith("eviction?fieldManager=ullage")]) == 3


def test_a_pod_with_two_budgets_is_reported_with_what_the_server_says(bench: NodeBench) -> None:
    server_of(bench)
    bench.running("a", bench.name, labels={"app": "train", "tier": "x"})
    bench.budget("one", {"app": "train"}, 0)
    bench.budget("two", {"tier": "x"}, 0)
    lines = carry_out(bench.actuator(evict_seconds=0).plan_isolate(ended(bench)))
    assert "more than one PodDisruptionBudget" in lines[-1] and not bench.ending("a")


def test_a_pod_made_anew_under_the_same_name_is_not_evicted_in_its_place(bench: NodeBench) -> None:
    bench.running("a", bench.name)
    plan = bench.actuator(evict_seconds=0).plan_isolate(ended(bench))
    call = plan.calls[-1]
    assert isinstance(call, Evictions)
    bench.kube.delete("a")
    bench.kube.pod("a", owner=None)  # of that name, on no node
    carry_out(plan)
    assert not bench.ending("a")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(2))
def test_a_connection_lost_while_evicting_evicts_each_once(bench: NodeBench, number: int, when: str) -> None:
    server = server_of(bench)
    for name in ("a", "b"):
        bench.running(name, bench.name)
    actuator = bench.actuator()
    carry_out(actuator.plan_isolate(node_target(bench.name)))
    server.lose(*["not"] * number, when)
    lines = carry_out(actuator.plan_isolate(ended(bench)))
    assert bench.ending("a") and bench.ending("b")
    assert all(line.endswith((": evicted", ": gone")) for line in lines), lines
    assert actuator.plan_isolate(ended(bench)).calls == ()


def test_no_execute_is_opted_in_to_and_asks_no_budget(bench: NodeBench) -> None:
    server = server_of(bench)
    bench.running("a", bench.name, labels={"app": "train"}, tolerations=[])
    bench.budget("train", {"app": "train"}, 1)
    actuator = bench.actuator(end_with="no_execute")
    carry_out(actuator.plan_isolate(node_target(bench.name)))
    assert {t["effect"] for t in bench.taints(bench.name)} == {"NoSchedule"}
    carry_out(actuator.plan_isolate(ended(bench)))
    assert {t["effect"] for t in bench.taints(bench.name)} == {"NoSchedule", "NoExecute"}
    api_controllers.evict_tainted(server.objects)
    assert bench.ending("a")
    assert actuator.standing(ended(bench)) is Standing.OURS
    carry_out(actuator.plan_release(node_target(bench.name)))
    assert bench.taints(bench.name) == []


def test_of_a_card_only_its_holders_are_evicted_and_nobody_where_they_are_not_known(bench: NodeBench) -> None:
    held = bench.running("held", bench.name)
    bench.running("other", bench.name)
    target = card_target(bench.name, drain="end")
    actuator = bench.actuator()
    plan = actuator.plan_isolate(target)
    assert any("who holds the card is not known" in note for note in plan.notes)
    carry_out(plan)
    assert not bench.ending("held") and not bench.ending("other")
    actuator.holding = lambda asked: frozenset({held})
    carry_out(actuator.plan_isolate(target))
    assert bench.ending("held") and not bench.ending("other")


def test_holders_are_those_the_allocations_name(bench: NodeBench) -> None:
    """An open store as the collector has it; a card's holder is evicted, its neighbour's is not."""
    held, other = bench.running("held", bench.name), bench.running("other", bench.name)
    clock = ManualClock()
    with duckdb.connect() as store:
        for _, _, text in migrations():
            store.execute(text)
        store.execute(
            "INSERT INTO node (node_key, cluster_id, node_id, origin) VALUES (1, ?, ?, 'real')",
            [CLUSTER, bench.name],
        )
        for n in (1, 2):
            store.execute(
                "INSERT INTO card (card_key, card_id, node_key, vendor, origin) VALUES (?, ?, 1, 'nvidia', 'real')",
                [n, gpu(n)],
            )
        ask = holding(store.cursor, clock)
        target = card_target(bench.name, drain="end")
        assert ask(target) is None  # nobody follows pods: that nobody holds it says nothing
        for n, (name, uid) in enumerate((("held", held), ("other", other)), 1):
            store.execute(
                "INSERT INTO workload (workload_key, workload_id, kind, cluster_id, origin) "
                "VALUES (?, ?, 'kubernetes_pod', ?, 'real')",
                [n, f"k8s/{CLUSTER}/{bench.kube.namespace}/{name}/{uid}", CLUSTER],
            )
            store.execute(
                "INSERT INTO allocation (allocation_id, workload_key, card_key, node_key, share_nano, valid_from, "
                "known_from, source) VALUES (?, ?, ?, 1, 1000000000, '2020-01-01', '2020-01-01', 'test')",
                [n, n, n],
            )
        assert ask(target) == {held}
        assert ask(card_target(bench.name, gpu(7))) == frozenset()
        actuator = bench.actuator()
        ask_store([actuator], store.cursor, clock)
        carry_out(actuator.plan_isolate(target))
    assert bench.ending("held") and not bench.ending("other")


def test_owners_are_told_on_the_pod_and_by_events_and_untold_at_release(bench: NodeBench) -> None:
    bench.running("train", bench.name, annotations={"keep": "me"})
    bench.running("agent", bench.name, owner="DaemonSet")
    actuator, target = bench.actuator(), node_target(bench.name, drain="notify")
    plan = actuator.plan_isolate(target)
    if bench.server is not None:
        bench.server.writes.clear()
        carry_out(plan)
        assert writes_at(bench.server) == writes_of(plan)
    else:
        carry_out(plan)
    pod = bench.kube.ask("GET", bench.kube.path("pods", "train"))
    (text,) = bench.our_annotations(pod).values()
    assert json.loads(text)["incident"] == 17 and pod["metadata"]["annotations"]["keep"] == "me"
    assert bench.our_annotations(bench.kube.ask("GET", bench.kube.path("pods", "agent"))) == {}
    events = bench.kube.ask("GET", bench.kube.path("events"))["items"]
    about = {
        (e["involvedObject"]["kind"], e["involvedObject"]["name"])
        for e in events
        if e["reason"] == "UllageIsolated"
    }
    assert about == {("Pod", "train"), ("ReplicaSet", "train-owner")}
    assert not bench.ending("train")
    assert actuator.plan_isolate(target).calls == ()  # nobody is told twice
    carry_out(actuator.plan_release(target))
    pod = bench.kube.ask("GET", bench.kube.path("pods", "train"))
    assert bench.our_annotations(pod) == {} and pod["metadata"]["annotations"]["keep"] == "me"


def test_150_nodes_at_once_are_isolated_each_once(bench: NodeBench) -> None:
    """By eight hands, with others writing to the nodes all the while."""
    server = server_of(bench)
    names = [f"{bench.kube.namespace}-x{n}" for n in range(150)]
    for name in names:
        server.objects.create(("nodes", "", name), {"metadata": {"name": name}, "status": {}})
    actuator, stop = bench.actuator(tell=False), threading.Event()

    def others() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            try:
                bench.patch(names[number % 150], {"metadata": {"labels": {"beat": str(number)}}})
            except ApiAnswer:
                return

    noise = threading.Thread(target=others, daemon=True)
    noise.start()
    todo, lock, failures = list(names), threading.Lock(), []

    def hand() -> None:
        while True:
            with lock:
                if not todo:
                    return
                name = todo.pop()
            try:
                carry_out(actuator.plan_isolate(node_target(name)))
            except Exception as e:
                failures.append(e)

    hands = [threading.Thread(target=hand) for _ in range(8)]
    for thread in hands:
        thread.start()
    for thread in hands:
        thread.join()
    stop.set()
    noise.join()
    assert failures == []
    assert all(actuator.standing(node_target(name)) is Standing.OURS for name in names)
    assert all(len(bench.taints(name)) == 1 for name in names)
