"""From an API server to table allocation: who held what, from when to when, whatever the server does meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from api_server import ApiServer
from kube_world import Kube, Watched, access_to, gpu

from ullage_collector.allocation.holding import NANO


@pytest.fixture
def server() -> Iterator[ApiServer]:
    server = ApiServer().start()
    yield server
    server.kill()


@pytest.fixture
def kube(server: ApiServer) -> Kube:
    kube = Kube(access_to(server.url))
    kube.make_namespace()
    kube.node("n1", {"node-pool": "h100"}, {"nvidia.com/gpu": "8"})
    return kube


@pytest.fixture
def watched(server: ApiServer, tmp_path: Path, kube: Kube) -> Iterator[Watched]:
    with Watched(tmp_path, access_to(server.url)) as watched:
        yield watched


def test_a_pod_holds_from_its_binding_to_its_containers_end(kube: Kube, watched: Watched) -> None:
    uid = kube.pod("p1", {"nvidia.com/gpu": "2"}, labels={"team": "nlp"})
    watched.settle()
    assert watched.held("p1") == []  # it waits for a node and holds nothing
    kube.bind("p1", "n1")
    (row,) = watched.until("p1", bool)
    assert (row["card"], row["node"], row["share"]) == (None, "n1", 2 * NANO)
    assert (row["from_us"], row["to_us"]) == (kube.bound_us("p1"), None)
    assert watched.rows("SELECT workload_id, kind, namespace, partition, labels FROM workload") == [
        (f"k8s/k8s-test/ullage-test/p1/{uid}", "kubernetes_pod", "ullage-test", "h100", '{"team": "nlp"}')
    ]
    time.sleep(1.1)  # times of an API server have whole seconds
    kube.finish("p1")
    (row,) = watched.until("p1", lambda rows: rows[0]["to_us"] is not None)
    assert row["to_us"] % 1_000_000 == 0 and row["to_us"] >= row["from_us"]
    assert row["attributes"] == {"phase": "Succeeded"}


def test_what_all_pods_leave_of_a_node_is_kept_also_those_without_cards(
    server: ApiServer, tmp_path: Path, kube: Kube
) -> None:
    kube.pod("trainer", {"nvidia.com/gpu": "2", "cpu": "16", "memory": "64Gi"}, node="n1")
    kube.pod("logs", {"cpu": "500m", "memory": "1Gi"}, node="n1")
    kube.pod("waits", {"nvidia.com/gpu": "1", "cpu": "8"})
    with Watched(tmp_path, access_to(server.url)) as watched:
        rows = watched.wait(
            lambda: watched.rows(
                "SELECT node_id, cpu_free_milli, memory_free_mib, takes_work FROM node_room"
            ),
            bool,
        )
        assert rows == [("n1", 47_500, (512 - 65) * 1024, True)]
        (held,) = watched.until("trainer", bool)
        assert (held["attributes"]["cpu_milli"], held["attributes"]["memory_mib"]) == (16_000, 65_536)
        assert watched.held("logs") == []


def test_the_nodes_word_of_the_kubelet_names_the_cards(kube: Kube, watched: Watched) -> None:
    cards = [watched.card(n, "n1") for n in (1, 2)]
    kube.pod("p1", {"nvidia.com/gpu": "2"}, node="n1")
    watched.until("p1", bool)
    watched.handed("n1", "p1", cards, cards)
    rows = watched.until("p1", lambda rows: len(rows) == 2)
    assert [(r["card"], r["share"]) for r in rows] == [(gpu(1), NANO), (gpu(2), NANO)]
