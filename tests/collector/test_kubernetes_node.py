"""A Kubernetes node is isolated by our taint alone, and given back as it was: others' taints, cordons, conditions stay.

Held to the stand-in and, where ULLAGE_TEST_KUBECONFIG names one, to a real cluster's API server, which is written to.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import Any

import api_controllers
import pytest
from api_server import ApiServer
from kube_isolation_world import (
    CLUSTER,
    NodeBench,
    card_target,
    carry_out,
    kubeconfig,
    node_bench,
    node_target,
    server_of,
    writes_at,
    writes_of,
)
from kube_world import Kube, access_to, gpu

from ullage_collector.isolate import kubernetes_card, kubernetes_node
from ullage_collector.isolate.actuator import Actuator, Labeller, Standing, Surveyor, load
from ullage_contract.clock import ManualClock
from ullage_contract.errors import ActuatorError, ConfigError

KEY = "ullage.dev/isolated"
OURS = {"key": KEY, "value": "incident-17", "effect": "NoSchedule"}
PERSONS = {"key": "maintenance", "value": "rack-7", "effect": "NoSchedule"}
CLOUDS = {"key": "node.cloudprovider.kubernetes.io/shutdown", "effect": "NoSchedule"}
DEDICATED = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}


@pytest.fixture(params=["stand-in", "real"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NodeBench]:
    yield from node_bench(request.param, tmp_path)


# ------------------------------------------------------------------------------------ isolate and release


def test_a_node_is_tainted_with_its_incident_and_given_back_as_it_was(bench: NodeBench) -> None:
    before, actuator, target = bench.node(bench.name), bench.actuator(), node_target(bench.name)
    assert actuator.standing(target) is Standing.GONE
    lines = carry_out(actuator.plan_isolate(target))
    assert [line.rpartition(": ")[2] for line in lines] == ["done"] * 3
    assert [{k: t[k] for k in ("key", "value", "effect")} for t in bench.taints(bench.name)] == [OURS]
    ((_, text),) = bench.our_annotations(bench.node(bench.name)).items()
    mark = json.loads(text)
    assert (mark["marker"], mark["incident"], mark["reason"]) == (
        f"ullage:{bench.name}",
        17,
        "fell off the bus",
    )
    told = bench.condition(bench.name)
    assert told is not None and told["status"] == "True" and "incident 17" in told["message"]
    events = bench.kube.ask("GET", "/api/v1/namespaces/default/events")["items"]
    ours = [e for e in events if e["involvedObject"]["name"] == bench.name]
    assert [e["reason"] for e in ours] == ["UllageIsolated"]
    assert not bench.node(bench.name)["spec"].get("unschedulable")  # a cordon is opted in to
    assert actuator.standing(target) is Standing.OURS

    carry_out(actuator.plan_release(target))
    after = bench.node(bench.name)
    assert after.get("spec", {}).get("taints") is None
    assert bench.our_annotations(after) == {} and bench.condition(bench.name) is None
    assert after["metadata"].get("labels") == before["metadata"].get("labels")
    assert actuator.standing(target) is Standing.GONE


def test_a_dry_run_prints_exactly_what_is_sent_and_sends_nothing(bench: NodeBench) -> None:
    server = server_of(bench)
    actuator, target = bench.actuator(), node_target(bench.name)
    plan = actuator.plan_isolate(target)
    assert writes_at(server) == []
    assert f"PATCH {server.url}/api/v1/nodes/{bench.name}?fieldManager=ullage&fieldValidation=Strict " in str(plan.calls[0])  # fmt: skip
    assert '"taints":[{"key":"ullage.dev/isolated","value":"incident-17","effect":"NoSchedule"}]' in str(
        plan.calls[0]
    )
    carry_out(plan)
    assert writes_at(server) == writes_of(plan)
    server.writes.clear()
    release = actuator.plan_release(target)
    carry_out(release)
    assert writes_at(server) == writes_of(release)


def test_the_undo_of_a_plan_gives_back(bench: NodeBench) -> None:
    actuator, target = bench.actuator(), node_target(bench.name)
    plan = actuator.plan_isolate(target)
    carry_out(plan)
    for call in plan.undo:
        call.run(lambda argv: pytest.fail("a program"))  # type: ignore[union-attr, arg-type, return-value]
    assert bench.taints(bench.name) == []


def test_isolating_twice_sends_nothing_the_second_time(bench: NodeBench) -> None:
    actuator, target = bench.actuator(), node_target(bench.name)
    carry_out(actuator.plan_isolate(target))
    again = bench.actuator().plan_isolate(target)
    assert again.calls == () and "stands already" in again.notes[0]
    carry_out(actuator.plan_release(target))
    assert bench.actuator().plan_release(target).calls == ()


# ------------------------------------------------------------------------------------ others


def test_others_taints_are_kept_byte_for_byte(bench: NodeBench) -> None:
    odd = {"key": "example.com/odd", "value": "", "effect": "PreferNoSchedule"}
    timed = {"key": "t", "value": "1", "effect": "NoExecute", "timeAdded": "2026-11-21T14:00:00Z"}
    bench.taint(bench.name, DEDICATED, PERSONS, timed, odd, CLOUDS)
    before = json.dumps(bench.taints(bench.name))
    actuator, target = bench.actuator(cordon=True), node_target(bench.name)
    carry_out(actuator.plan_isolate(target))
    assert json.dumps(bench.taints(bench.name)[:5]) == before
    carry_out(actuator.plan_release(target))
    left = [t for t in bench.taints(bench.name) if t["key"] != "node.kubernetes.io/unschedulable"]
    assert json.dumps(left) == before


def test_what_people_and_tools_placed_is_shown_counted_and_left(bench: NodeBench) -> None:
    actuator, target = bench.actuator(), node_target(bench.name)
    assert isinstance(actuator, Surveyor)
    actuator_: Actuator = actuator
    assert actuator_.whole_node
    bench.taint(bench.name, DEDICATED)
    assert actuator.standing(target) is Standing.GONE  # nodes of cards carry that all their life
    assert bench.name not in (actuator.taken_by_others(CLUSTER) or {})
    bench.cordon(bench.name)
    bench.taint(bench.name, PERSONS, CLOUDS)
    actuator._servers.api(CLUSTER).clock.sleep(1.1)  # past what was kept
    bench.kube.ask(
        "PATCH",
        f"/api/v1/nodes/{bench.name}/status",
        {"status": {"conditions": [{"type": "GpuXid", "status": "True", "reason": "Xid79"}]}},
        "application/strategic-merge-patch+json",
    )
    assert actuator.standing(target) is Standing.OTHERS
    (taken,) = [why for name, why in (actuator.taken_by_others(CLUSTER) or {}).items() if name == bench.name]
    assert "cordoned by" in taken and "maintenance=rack-7:NoSchedule" in taken and "the cloud" in taken
    plan = actuator.plan_isolate(target)
    assert any("condition GpuXid (Xid79): left alone" in note for note in plan.notes)
    carry_out(plan)
    assert actuator.standing(target) is Standing.OURS  # ours stands beside theirs
    release = actuator.plan_release(target)
    assert any("maintenance=rack-7" in note for note in release.notes)
    carry_out(release)
    assert actuator.standing(target) is Standing.OTHERS
    assert bench.node(bench.name)["spec"]["unschedulable"] is True
    assert PERSONS in bench.taints(bench.name)
    assert bench.condition(bench.name, "GpuXid") is not None


def test_the_nodes_are_read_once_for_limits_and_labels(bench: NodeBench) -> None:
    actuator = bench.actuator()
    assert isinstance(actuator, Labeller)
    labels = actuator.node_labels(CLUSTER)
    assert labels is not None and labels[bench.name]["ullage-test"] == bench.kube.namespace
    if bench.server is not None:
        bench.server.requests.clear()
        assert actuator.taken_by_others(CLUSTER) == {} and bench.server.requests == []
        bench.cordon(bench.name)
        actuator._servers.api(CLUSTER).clock.sleep(1.1)
        assert set(actuator.taken_by_others(CLUSTER) or {}) == {bench.name}


def test_a_taint_with_our_key_that_we_did_not_place_is_nobodys_to_touch(bench: NodeBench) -> None:
    bench.taint(bench.name, {"key": KEY, "value": "by-hand", "effect": "NoSchedule"})
    actuator, target = bench.actuator(), node_target(bench.name)
    assert actuator.standing(target) is Standing.OTHERS
    with pytest.raises(ActuatorError, match="by-hand:NoSchedule that we did not place"):
        actuator.plan_isolate(target)
    with pytest.raises(ActuatorError, match="left alone"):
        actuator.plan_release(target)


@pytest.mark.parametrize("effect", ["NoSchedule", "NoExecute"])
def test_our_taint_changed_by_somebody_is_theirs_from_then_on(bench: NodeBench, effect: str) -> None:
    actuator, target = bench.actuator(), node_target(bench.name)
    carry_out(actuator.plan_isolate(target))
    changed = {"key": KEY, "value": "keep-until-monday", "effect": effect}
    bench.patch(bench.name, {"spec": {"taints": [changed]}})
    assert actuator.standing(target) is Standing.OTHERS
    release = actuator.plan_release(target)
    assert any("changed or removed by others" in note for note in release.notes)
    carry_out(release)
    assert [t["value"] for t in bench.taints(bench.name)] == ["keep-until-monday"]
    assert bench.our_annotations(bench.node(bench.name)) == {}  # our mark is still ours to take away


def test_a_taint_taken_away_by_hand_is_gone_and_placed_again_when_asked(bench: NodeBench) -> None:
    actuator, target = bench.actuator(), node_target(bench.name)
    carry_out(actuator.plan_isolate(target))
    bench.patch(bench.name, {"spec": {"taints": None}})
    assert actuator.standing(target) is Standing.GONE
    carry_out(actuator.plan_isolate(target))
    assert actuator.standing(target) is Standing.OURS


def test_a_mark_that_is_not_as_we_write_them_is_not_ours(bench: NodeBench) -> None:
    actuator, target = bench.actuator(), node_target(bench.name)
    carry_out(actuator.plan_isolate(target))
    ((key, text),) = bench.our_annotations(bench.node(bench.name)).items()
    for forged in ("not json", "[]", text.replace("ullage:", "other:"), json.dumps({"marker": 5})):
        bench.patch(bench.name, {"metadata": {"annotations": {key: forged}}})
        assert actuator.standing(target) is Standing.OTHERS  # the taint is there, and nothing says it is ours


def test_two_cards_of_a_node_share_the_taint_and_the_last_takes_it_away(bench: NodeBench) -> None:
    actuator = bench.actuator(cordon=True)
    one, two = (card_target(bench.name, gpu(n), incident_id=n) for n in (1, 2))
    carry_out(actuator.plan_isolate(one))
    carry_out(actuator.plan_isolate(two))
    assert [t["value"] for t in bench.taints(bench.name) if t["key"] == KEY] == ["incident-1"]
    told = bench.condition(bench.name)
    assert told is not None and "incident 1" in told["message"] and "incident 2" in told["message"]
    release = actuator.plan_release(one)
    assert any(gpu(2) in note for note in release.notes)
    carry_out(release)
    assert actuator.standing(one) is Standing.GONE
    assert actuator.standing(two) is Standing.OURS
    assert bench.node(bench.name)["spec"]["unschedulable"] is True
    told = bench.condition(bench.name)
    assert told is not None and "incident 1)" not in told["message"]
    carry_out(actuator.plan_release(two))
    assert [t for t in bench.taints(bench.name) if t["key"] == KEY] == []
    assert not bench.node(bench.name)["spec"].get("unschedulable")


# ------------------------------------------------------------------------------------ cordon


def test_a_cordon_of_ours_is_lifted_and_one_of_others_is_not(bench: NodeBench) -> None:
    actuator, target = bench.actuator(cordon=True), node_target(bench.name)
    carry_out(actuator.plan_isolate(target))
    assert bench.node(bench.name)["spec"]["unschedulable"] is True
    if bench.server is not None:
        api_controllers.taint_cordoned(bench.server.objects)
    assert actuator.standing(target) is Standing.OURS
    assert bench.name not in (actuator.taken_by_others(CLUSTER) or {})
    carry_out(actuator.plan_release(target))
    assert not bench.node(bench.name)["spec"].get("unschedulable")
    if bench.server is not None:
        api_controllers.taint_cordoned(bench.server.objects)
    assert actuator.standing(target) is Standing.GONE


def test_a_person_who_lifts_our_cordon_and_sets_their_own_keeps_it(bench: NodeBench) -> None:
    actuator, target = bench.actuator(cordon=True), node_target(bench.name)
    carry_out(actuator.plan_isolate(target))
    bench.cordon(bench.name, False)
    bench.cordon(bench.name)
    release = actuator.plan_release(target)
    assert any("our cordon was lifted or set anew" in note for note in release.notes)
    carry_out(release)
    assert bench.node(bench.name)["spec"]["unschedulable"] is True
    assert [t for t in bench.taints(bench.name) if t["key"] == KEY] == []


# ------------------------------------------------------------------------------------ what goes wrong


def test_a_stale_write_is_read_again_and_overwrites_nobody(bench: NodeBench) -> None:
    actuator, target = bench.actuator(), node_target(bench.name)
    plan = actuator.plan_isolate(target)
    bench.taint(bench.name, PERSONS)  # between the plan and its call
    bench.patch(bench.name, {"metadata": {"labels": {"rack": "7"}}})
    carry_out(plan)
    assert [t["key"] for t in bench.taints(bench.name)] == ["maintenance", KEY]
    assert bench.node(bench.name)["metadata"]["labels"]["rack"] == "7"
    release = actuator.plan_release(target)
    bench.taint(bench.name, CLOUDS)
    carry_out(release)
    assert [t["key"] for t in bench.taints(bench.name)] == ["maintenance", CLOUDS["key"]]


def test_a_key_taken_between_plan_and_call_is_left_to_who_took_it(bench: NodeBench) -> None:
    plan = bench.actuator().plan_isolate(node_target(bench.name))
    bench.taint(bench.name, {"key": KEY, "value": "mine", "effect": "NoSchedule"})
    with pytest.raises(ActuatorError, match="did not place"):
        carry_out(plan)
    assert [t["value"] for t in bench.taints(bench.name)] == ["mine"]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(3))
def test_a_connection_lost_in_any_call_is_looked_after_and_not_repeated(
    bench: NodeBench, number: int, when: str
) -> None:
    server = server_of(bench)
    actuator, target = bench.actuator(cordon=True), node_target(bench.name)
    server.lose(*["not"] * number, when)
    carry_out(actuator.plan_isolate(target))
    assert [t["key"] for t in bench.taints(bench.name)] == [KEY]
    assert bench.condition(bench.name) is not None
    assert len(bench.kube.ask("GET", "/api/v1/namespaces/default/events")["items"]) == 1
    assert len(server.writes) == (4 if when == "before" else 3)
    server.writes.clear()
    server.lose(*["not"] * min(number, 1), when)
    carry_out(actuator.plan_release(target))
    assert bench.taints(bench.name) == [] and bench.condition(bench.name) is None
    assert not bench.node(bench.name)["spec"].get("unschedulable")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(3))
def test_a_collector_that_dies_in_any_call_ends_in_the_right_state_when_run_again(
    bench: NodeBench, number: int, when: str
) -> None:
    server = server_of(bench)
    target = node_target(bench.name)
    for plan in ("plan_isolate", "plan_release"):
        calls = getattr(bench.actuator(), plan)(target).calls
        dies = min(number, len(calls) - 1)
        for call in calls[:dies]:
            call.run(lambda argv: pytest.fail("a program"))
        server.lose(when, *["before"] * 50)
        with suppress(ActuatorError):
            calls[dies].run(lambda argv: pytest.fail("a program"))
        server._losses.clear()
        carry_out(getattr(bench.actuator(), plan)(target))  # another process, which knows nothing
        isolated = plan == "plan_isolate"
        assert len(bench.taints(bench.name)) == isolated
        assert (bench.condition(bench.name) is not None) == isolated
        assert bench.actuator().standing(target) is (Standing.OURS if isolated else Standing.GONE)


def test_a_server_that_is_away_is_unknown_and_says_so(bench: NodeBench) -> None:
    server = server_of(bench)
    actuator, target = bench.actuator(), node_target(bench.name)
    plan = actuator.plan_isolate(target)
    server.kill()
    assert actuator.standing(target) is Standing.UNKNOWN
    assert actuator.taken_by_others(CLUSTER) is None
    with pytest.raises(ActuatorError, match="taint node"):
        carry_out(plan)
    with pytest.raises(ActuatorError):
        actuator.plan_release(target)
    server.start()
    carry_out(plan)
    assert actuator.standing(target) is Standing.OURS


def test_a_busy_server_is_tried_again_and_then_reported(bench: NodeBench) -> None:
    server = server_of(bench)
    actuator, target = bench.actuator(), node_target(bench.name)
    plan = actuator.plan_isolate(target)
    server.fail(2, 503)
    carry_out(plan)
    assert actuator.standing(target) is Standing.OURS
    plan = actuator.plan_release(target)
    server.fail(1000, 429)
    with pytest.raises(ActuatorError, match=r"release node .* 429 later"):
        carry_out(plan)


def test_a_node_nobody_knows_is_said_with_where_to_look(bench: NodeBench) -> None:
    actuator, target = bench.actuator(), node_target("other")
    with pytest.raises(ActuatorError, match=r"has no node other: .*\[isolation.kubernetes-node\]"):
        actuator.plan_isolate(target)
    release = actuator.plan_release(target)
    assert release.calls == () and "no node other any more" in release.notes[0]
    assert actuator.standing(target) is Standing.UNKNOWN


@pytest.mark.parametrize("name", ["../pods", "a/b", "a?b=c", "a,b", "Upper", "", "x" * 254, "n1%2f"])
def test_what_can_be_no_nodes_name_is_never_put_into_a_path(bench: NodeBench, name: str) -> None:
    server = server_of(bench)
    card = kubernetes_card.actuator({"kubeconfig": str(bench.path)}, ManualClock())
    server.requests.clear()
    for actuator, target in ((bench.actuator(), node_target(name)), (card, card_target(name))):
        assert actuator.standing(target) is Standing.UNKNOWN
        with pytest.raises(ActuatorError, match="can be no node's name"):
            actuator.plan_isolate(target)
    assert not [r for r in server.requests if not r.startswith("GET /apis/resource.k8s.io")]


def test_a_condition_of_ours_goes_also_where_nobody_is_told_any_more(bench: NodeBench) -> None:
    target = node_target(bench.name)
    carry_out(bench.actuator().plan_isolate(target))
    carry_out(bench.actuator(tell=False).plan_release(target))
    assert bench.condition(bench.name) is None


def test_what_only_tells_people_stops_nothing_when_it_is_refused(tmp_path: Path) -> None:
    may = {("get", "nodes"), ("patch", "nodes"), ("list", "pods")}
    server = ApiServer(tokens={"all": {("*", "*")}, "few": may}).start()
    Kube(access_to(server.url, "all"), "default").node("n1")
    path = kubeconfig(tmp_path, server.url, "few")
    actuator = kubernetes_node.actuator({"kubeconfig": str(path)}, ManualClock())
    lines = carry_out(actuator.plan_isolate(node_target("n1")))
    assert lines[0] == "taint node n1: done"
    assert all("not done" in line and "isolation-rbac.yaml" in line for line in lines[1:]) and len(lines) == 3
    assert actuator.standing(node_target("n1")) is Standing.OURS
    server.tokens = {"few": {("get", "nodes"), ("list", "pods")}}
    with pytest.raises(ActuatorError, match=r"403 .*isolation-rbac.yaml"):
        carry_out(actuator.plan_release(node_target("n1")))
    assert "few" not in repr(actuator.plan_release(node_target("n1")))
    server.kill()


# ------------------------------------------------------------------------------------ settings


def test_each_cluster_is_reached_by_its_own_access_and_no_other(tmp_path: Path) -> None:
    east, west = ApiServer().start(), ApiServer().start()
    for server in (east, west):
        Kube(access_to(server.url)).node("n1")
    clusters = {
        "east": {"kubeconfig": str(kubeconfig(tmp_path, east.url))},
        "west": {"kubeconfig": str(kubeconfig(tmp_path, west.url))},
    }
    actuator = kubernetes_node.actuator({"clusters": clusters}, ManualClock())
    carry_out(actuator.plan_isolate(node_target("n1", cluster_id="west")))
    assert actuator.standing(node_target("n1", cluster_id="west")) is Standing.OURS
    assert actuator.standing(node_target("n1", cluster_id="east")) is Standing.GONE
    with pytest.raises(ActuatorError, match=r"add \[isolation.kubernetes-node.clusters.south\]"):
        actuator.plan_isolate(node_target("n1", cluster_id="south"))
    single = kubernetes_node.actuator(clusters["east"], ManualClock())
    single.plan_isolate(node_target("n1", cluster_id="east"))
    with pytest.raises(ActuatorError, match="nobody said how cluster west is reached"):
        single.plan_isolate(node_target("n1", cluster_id="west"))  # n1 is there as well, and another node
    for server in (east, west):
        server.kill()


def test_outside_a_pod_without_a_kubeconfig_only_who_uses_it_is_told() -> None:
    actuator = kubernetes_node.actuator({})
    assert actuator.standing(node_target("n1")) is Standing.UNKNOWN
    with pytest.raises(ActuatorError, match="name a kubeconfig"):
        actuator.plan_isolate(node_target("n1"))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"kubctl": "x"}, "no such key"),
        ({"cordon": "yes"}, "true or false"),
        ({"kubeconfig": "x"}, "absolute path"),
        ({"context": "x"}, "context and exec are of a kubeconfig"),
        ({"end_with": "kill"}, "evict, no_execute"),
        ({"evict_seconds": -1}, "from 0 to 600"),
        ({"field_manager": ""}, "1 to 128"),
        ({"clusters": {"a": 5}}, "write a table"),
        ({"clusters": {"a": {"kubconfig": "/x"}}}, r"clusters.a\] kubconfig .*did you mean kubeconfig"),
        ({"clusters": {"a": {}}, "kubeconfig": "/x"}, "into the tables of the clusters"),
    ],
)
def test_a_wrong_setting_says_what_to_write(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        kubernetes_node.actuator(settings)


# ------------------------------------------------------------------------------------ what a person approved


def test_a_plan_reads_the_same_while_nothing_of_it_changes(bench: NodeBench) -> None:
    """Who approved the calls approved them a heartbeat later, too; another taint on the node is another plan."""
    actuator, target = bench.actuator(), node_target(bench.name)
    bench.taint(bench.name, {"key": "t", "effect": "NoExecute", "timeAdded": "2026-11-21T14:00:00Z"})
    first = [str(call) for call in actuator.plan_isolate(target).calls]
    bench.kube.beat(bench.name)
    bench.patch(bench.name, {"metadata": {"labels": {"beat": "1"}}})
    clock = actuator._clock
    if isinstance(clock, ManualClock):
        clock.advance(3600)
    assert [str(call) for call in actuator.plan_isolate(target).calls] == first
    assert '"resourceVersion":"<as read>"' in first[0] and "2026-11-21T14:00:00Z" in first[0]
    bench.taint(bench.name, PERSONS)
    assert [str(call) for call in actuator.plan_isolate(target).calls] != first


def test_a_pools_own_taints_are_nobodys_decision_about_a_node(bench: NodeBench) -> None:
    pool = {"key": "example.com/team", "value": "nlp", "effect": "NoSchedule"}
    unwell = {"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}
    bench.taint(bench.name, pool, unwell)
    actuator, target = bench.actuator(), node_target(bench.name)
    assert actuator.standing(target) is Standing.GONE
    assert any(
        "example.com/team=nlp:NoSchedule: left alone" in note for note in actuator.plan_isolate(target).notes
    )
    told = bench.actuator(maintenance_taints=["example.com/*"])
    assert told.standing(target) is Standing.OTHERS
    assert (told.taken_by_others(CLUSTER) or {})[bench.name].startswith("taint example.com/team")


@pytest.mark.parametrize("name", ["kubernetes-node", "kubernetes-card"])
def test_every_key_of_the_example_is_known_and_every_known_key_is_in_it(name: str) -> None:
    example = Path(__file__).parents[2] / "collector" / "collector.example.toml"
    lines = example.read_text().splitlines()
    below = lines[lines.index(f"#[isolation.{name}]") :]
    block = [line[1:] for line in takewhile(lambda line: line.startswith("#"), below)]
    table = tomllib.loads("\n".join(block))["isolation"][name]
    made = load({name: table})[name]
    assert made.name == name
    with pytest.raises(ConfigError) as caught:
        load({name: {"zzz": 1}})
    known = set(str(caught.value).rpartition("known: ")[2].split(", "))
    assert known - {"clusters", "grace_seconds"} == set(table) - {"grace_seconds"}
