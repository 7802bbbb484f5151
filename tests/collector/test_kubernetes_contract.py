"""What we stand on, held to the stand-in and, where ULLAGE_TEST_KUBECONFIG names one, to a real cluster's API server.

A real one is written to: use a cluster that may be. Its namespace, nodes and pods are ours and removed afterwards.
What a server of 1.20 does not have is skipped with the reason.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from api_server import ApiServer
from kube_world import ApiAnswer, Kube, Watched, access_to, stamp

from ullage_collector.allocation.holding import NANO
from ullage_collector.allocation.kubernetes.access import Access
from ullage_collector.allocation.kubernetes.client import Absent, Client, Denied, Gone
from ullage_collector.allocation.kubernetes.kubeconfig import from_file
from ullage_collector.allocation.kubernetes.source import dra_version
from ullage_contract.clock import SystemClock

KUBECONFIG = os.environ.get("ULLAGE_TEST_KUBECONFIG")
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"


@pytest.fixture(params=["stand-in", "real"], scope="module")
def access(request: pytest.FixtureRequest) -> Iterator[Access]:
    if request.param == "real":
        if not KUBECONFIG:
            pytest.skip("ULLAGE_TEST_KUBECONFIG names no kubeconfig of a real cluster")
        yield from_file(Path(KUBECONFIG), None, SystemClock())
        return
    server = ApiServer().start()
    yield access_to(server.url)
    server.kill()


@pytest.fixture
def kube(access: Access) -> Iterator[Kube]:
    kube = Kube(access, f"ullage-{uuid.uuid4().hex[:8]}")
    kube.make_namespace()
    yield kube
    for pod in kube.ask("GET", kube.path("pods")).get("items") or []:
        with suppress(ApiAnswer):
            kube.delete(pod["metadata"]["name"])
    for node in (
        kube.ask("GET", "/api/v1/nodes?labelSelector=ullage-test=" + kube.namespace).get("items") or []
    ):
        kube.ask("DELETE", "/api/v1/nodes/" + node["metadata"]["name"])
    kube.ask("DELETE", f"/api/v1/namespaces/{kube.namespace}")


@pytest.fixture
def node(kube: Kube) -> str:
    name = f"{kube.namespace}-n1"
    kube.node(name, {"ullage-test": kube.namespace}, {"nvidia.com/gpu": "8"})
    return name


@pytest.fixture
def client(access: Access) -> Iterator[Client]:
    client = Client(access, SystemClock())
    yield client
    client.close()


def refused(status: int, kube: Kube, *request: Any) -> str:
    with pytest.raises(ApiAnswer) as caught:
        kube.ask(*request)
    assert caught.value.status == status, caught.value
    assert caught.value.document["kind"] == "Status"
    return str(caught.value.document["message"])


# ------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    "metadata",
    [
        {"name": "Upper"},
        {"name": "under_score"},
        {"name": "x", "labels": {"a b": "c"}},
        {"name": "x", "labels": {"a": "-b"}},
        {"name": "x", "labels": {"a": "b" * 64}},
        {"name": "x", "labels": {"Upper.example/" + "a" * 64: "b"}},
        {"name": "x", "annotations": {"a/b/c": "d"}},
    ],
)
def test_names_and_labels_are_checked(kube: Kube, metadata: dict[str, Any]) -> None:
    refused(422, kube, "POST", "/api/v1/nodes", {"metadata": metadata})


@pytest.mark.parametrize(
    "taint",
    [
        {"key": "a", "value": "b", "effect": "Never"},
        {"key": "a b", "effect": "NoSchedule"},
        {"key": "a", "value": "-", "effect": "NoSchedule"},
    ],
)
def test_taints_are_checked(kube: Kube, node: str, taint: dict[str, str]) -> None:
    refused(422, kube, "PATCH", f"/api/v1/nodes/{node}", {"spec": {"taints": [taint]}}, STRATEGIC)


def test_an_extended_resources_request_is_its_limit(kube: Kube) -> None:
    container = {"name": "main", "image": "none", "resources": {"requests": {"nvidia.com/gpu": "1"}}}
    spec = {"containers": [container], "automountServiceAccountToken": False}
    body = {"metadata": {"name": "p"}, "spec": spec}
    refused(422, kube, "POST", kube.path("pods"), body)
    container["resources"] = {"limits": {"nvidia.com/gpu": "1500m"}}
    refused(422, kube, "POST", kube.path("pods"), body)


def test_what_a_pod_asks_for_never_changes(kube: Kube) -> None:
    kube.pod("p", {"nvidia.com/gpu": "1"})
    pod = kube.ask("GET", kube.path("pods", "p"))
    pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] = "2"
    pod["spec"]["containers"][0]["resources"]["requests"]["nvidia.com/gpu"] = "2"
    refused(422, kube, "PUT", kube.path("pods", "p"), pod)


def test_a_stale_write_is_a_conflict_and_changes_nothing(kube: Kube, node: str) -> None:
    first = kube.ask("GET", f"/api/v1/nodes/{node}")
    kube.ask("PATCH", f"/api/v1/nodes/{node}", {"metadata": {"labels": {"a": "1"}}}, MERGE)
    first["metadata"]["labels"]["a"] = "2"
    refused(409, kube, "PUT", f"/api/v1/nodes/{node}", first)
    stale = {"metadata": {"resourceVersion": first["metadata"]["resourceVersion"], "labels": {"a": "3"}}}
    refused(409, kube, "PATCH", f"/api/v1/nodes/{node}", stale, MERGE)
    assert kube.ask("GET", f"/api/v1/nodes/{node}")["metadata"]["labels"]["a"] == "1"


def test_what_exists_is_not_made_again_and_what_is_not_there_is_not_found(kube: Kube, node: str) -> None:
    refused(409, kube, "POST", "/api/v1/nodes", {"metadata": {"name": node}})
    refused(404, kube, "GET", kube.path("pods", "none"))
    refused(404, kube, "GET", "/api/v1/nothings")
    refused(415, kube, "PATCH", f"/api/v1/nodes/{node}", {}, "application/json")


# ------------------------------------------------------------------------------------ patches


def test_three_patches(kube: Kube, node: str) -> None:
    path = f"/api/v1/nodes/{node}"
    two = [{"key": k, "value": "v", "effect": "NoSchedule"} for k in ("a", "b")]
    assert len(kube.ask("PATCH", path, {"spec": {"taints": two}}, MERGE)["spec"]["taints"]) == 2
    one = kube.ask("PATCH", path, {"spec": {"taints": two[:1]}}, STRATEGIC)["spec"]["taints"]
    assert [t["key"] for t in one] == ["a"]  # taints are replaced whole by either
    noted = {"type": "Odd", "status": "True", "lastTransitionTime": stamp(time.time())}
    merged = kube.ask("PATCH", f"{path}/status", {"status": {"conditions": [noted]}}, STRATEGIC)
    assert {c["type"] for c in merged["status"]["conditions"]} == {"Ready", "Odd"}  # conditions by their type
    gone = {"status": {"conditions": [{"type": "Odd", "$patch": "delete"}]}}
    left = kube.ask("PATCH", f"{path}/status", gone, STRATEGIC)["status"]["conditions"]
    assert [c["type"] for c in left] == ["Ready"]
    tested = [
        {"op": "test", "path": "/spec/taints/0/key", "value": "a"},
        {"op": "remove", "path": "/spec/taints/0"},
    ]
    assert not kube.ask("PATCH", path, tested, JSON_PATCH)["spec"].get("taints")
    refused(422, kube, "PATCH", path, [{"op": "remove", "path": "/spec/taints/0"}], JSON_PATCH)
    assert (
        "x" not in kube.ask("PATCH", path, {"metadata": {"labels": {"x": None}}}, MERGE)["metadata"]["labels"]
    )


def test_a_write_that_changes_nothing_makes_no_version(kube: Kube, node: str) -> None:
    path, patch = f"/api/v1/nodes/{node}", {"metadata": {"labels": {"same": "same"}}}
    first = kube.ask("PATCH", path, patch, MERGE)["metadata"]["resourceVersion"]
    assert kube.ask("PATCH", path, patch, MERGE)["metadata"]["resourceVersion"] == first


# ------------------------------------------------------------------------------------ lists and watches


def test_a_list_of_pages_is_of_one_moment(kube: Kube) -> None:
    for number in range(5):
        kube.pod(f"p{number}")
    path = kube.path("pods")
    first = kube.ask("GET", f"{path}?limit=2")
    kube.delete("p4")
    kube.pod("p9")
    second = kube.ask("GET", f"{path}?limit=2&continue={first['metadata']['continue']}")
    third = kube.ask("GET", f"{path}?limit=2&continue={second['metadata']['continue']}")
    names = [i["metadata"]["name"] for page in (first, second, third) for i in page["items"]]
    assert names == ["p0", "p1", "p2", "p3", "p4"]
    assert not third["metadata"].get("continue")
    assert {page["metadata"]["resourceVersion"] for page in (first, second, third)} == {
        first["metadata"]["resourceVersion"]
    }
    refused(400, kube, "GET", f"{path}?limit=2&continue=nonsense")


def test_a_watch_tells_what_came_after_its_version_in_order(kube: Kube, client: Client) -> None:
    version = client.page(kube.path("pods")).version
    kube.pod("p1")
    kube.annotate("p1", {"a": "b"})
    kube.delete("p1")
    kube.pod("p2")
    seen = []
    for word, pod in client.watch(kube.path("pods"), version, seconds=20, quiet_seconds=15):
        if word != "BOOKMARK":
            seen.append((word, pod["metadata"]["name"], int(pod["metadata"]["resourceVersion"])))
        if seen and seen[-1][:2] == ("ADDED", "p2"):
            break
    words = [(word, name) for word, name, _ in seen]
    assert words[0] == ("ADDED", "p1") and words[-2:] == [("DELETED", "p1"), ("ADDED", "p2")]
    assert [number for *_, number in seen] == sorted({number for *_, number in seen})
    # Resumed in the middle: the rest, once.
    rest = []
    for word, pod in client.watch(kube.path("pods"), str(seen[0][2]), seconds=20, quiet_seconds=15):
        if word != "BOOKMARK":
            rest.append((word, pod["metadata"]["name"]))
        if rest and rest[-1] == ("ADDED", "p2"):
            break
    assert rest == words[1:]


def test_a_watch_from_before_all_memory_is_gone(access: Access, client: Client) -> None:
    try:
        for _ in client.watch("/api/v1/pods", "1", seconds=3, quiet_seconds=10):
            pass
    except Gone:
        return
    assert access.where != "test", "the stand-in remembers what it has forgotten"
    pytest.skip("this server is so young that it remembers all")


def test_a_watch_ends_in_order_when_its_time_is_up(kube: Kube, client: Client) -> None:
    version = client.page(kube.path("pods")).version
    assert [
        w for w, _ in client.watch(kube.path("pods"), version, seconds=1, quiet_seconds=10) if w != "BOOKMARK"
    ] == []


def test_another_kind_is_absent(client: Client) -> None:
    with pytest.raises(Absent):
        client.page("/apis/no.such.group/v1/things")


def test_a_wrong_token_is_denied(access: Access) -> None:
    if not access.server.startswith("https"):
        pytest.skip("the stand-in of this suite knows no tokens; test_kubernetes_trouble has one that does")
    strange = Access(
        server=access.server,
        credential=lambda: type(access.credential())(token="nobody"),
        where="test",
        authority=access.authority,
        server_name=access.server_name,
    )
    with pytest.raises(Denied):
        Client(strange, SystemClock()).page("/api/v1/pods")


# ------------------------------------------------------------------------------------ pods


def test_a_binding_is_dated_in_the_same_write_and_happens_once(kube: Kube, node: str) -> None:
    kube.pod("p", {"nvidia.com/gpu": "1"}, node=node)
    pod = kube.ask("GET", kube.path("pods", "p"))
    assert pod["spec"]["nodeName"] == node
    assert kube.bound_us("p") > 0
    with pytest.raises(ApiAnswer) as caught:
        kube.bind("p", node)
    assert caught.value.status == 409


def test_a_pod_on_a_node_stays_until_its_deletion_is_completed(kube: Kube, node: str) -> None:
    kube.pod("p", node=node)
    kube.status("p", {"phase": "Running"})
    kube.delete("p", at_once=False)
    marked = kube.ask("GET", kube.path("pods", "p"))["metadata"]
    assert marked["deletionTimestamp"] and marked["deletionGracePeriodSeconds"] == 30
    kube.delete("p")
    refused(404, kube, "GET", kube.path("pods", "p"))
    kube.pod("unbound")
    kube.delete("unbound", at_once=False)
    refused(404, kube, "GET", kube.path("pods", "unbound"))


def test_an_eviction_is_a_deletion(kube: Kube, node: str) -> None:
    kube.pod("p", node=node)
    version = "policy/v1beta1" if _minor(kube) < 22 else "policy/v1"
    eviction = {
        "apiVersion": version,
        "kind": "Eviction",
        "metadata": {"name": "p", "namespace": kube.namespace},
    }
    kube.ask("POST", kube.path("pods", "p", "eviction"), eviction)
    assert kube.ask("GET", kube.path("pods", "p"))["metadata"]["deletionTimestamp"]


def test_the_status_is_noted_with_who_wrote_it_when(kube: Kube, node: str) -> None:
    kube.pod("p", node=node)
    kube.status("p", {"phase": "Running"})
    notes = kube.ask("GET", kube.path("pods", "p"))["metadata"]["managedFields"]
    assert any("f:status" in note["fieldsV1"] and note["time"] for note in notes)


def test_leases_and_events_are_kept(kube: Kube) -> None:
    lease = {"metadata": {"name": "l"}, "spec": {"holderIdentity": "a", "leaseDurationSeconds": 15}}
    path = f"/apis/coordination.k8s.io/v1/namespaces/{kube.namespace}/leases"
    kube.ask("POST", path, {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", **lease})
    assert kube.ask("GET", f"{path}/l")["spec"]["holderIdentity"] == "a"
    event = {
        "metadata": {"name": "e", "namespace": kube.namespace},
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": kube.namespace},
        "reason": "Test",
    }
    kube.ask("POST", kube.path("events"), event)
    assert kube.ask("GET", kube.path("events", "e"))["reason"] == "Test"


# ------------------------------------------------------------------------------------ the whole way


def test_the_source_holds_pods_as_the_server_says(
    access: Access, kube: Kube, node: str, tmp_path: Path
) -> None:
    kube.pod("done", {"nvidia.com/gpu": "1"}, node=node)
    with Watched(tmp_path, access) as watched:
        kube.pod("p1", {"nvidia.com/gpu": "2"}, node=node)
        kube.pod("no-cards", node=node)
        (row,) = watched.until("p1", bool)
        assert (row["share"], row["node"], row["from_us"]) == (2 * NANO, node, kube.bound_us("p1"))
        time.sleep(1.1)
        kube.finish("done")
        kube.status("p1", {"phase": "Running"})
        kube.delete("p1", at_once=False)
        (row,) = watched.until("done", lambda rows: bool(rows and rows[0]["to_us"]))
        watched.settle()
        assert watched.held("p1")[0]["to_us"] is None  # being deleted, it still holds
        before = time.time()
        kube.delete("p1")
        (row,) = watched.until("p1", lambda rows: rows[0]["to_us"] is not None)
        assert row["to_us"] >= round((before - 2) * 1e6)
        assert watched.held("no-cards") == []


def test_dra_is_read_where_the_server_has_it(client: Client, kube: Kube) -> None:
    if _minor(kube) < 32:
        assert dra_version(client) is None
        pytest.skip(f"a server of 1.{_minor(kube)} has no resource.k8s.io that we read")
    version = dra_version(client)
    assert version in ("v1", "v1beta2", "v1beta1")
    assert client.page(f"/apis/resource.k8s.io/{version}/resourceslices").version


def _minor(kube: Kube) -> int:
    return int("".join(c for c in kube.ask("GET", "/version")["minor"] if c.isdigit()))
