"""Whole cards, MIG, replicas, sharing systems and device claims: which cards, which slices, how much of each."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from api_server import ApiServer
from kube_world import ApiAnswer, Kube, Watched, access_to, gpu

from ullage_collector.allocation.holding import NANO
from ullage_collector.allocation.kubernetes import assignments

GIB = 1 << 30


@pytest.fixture(params=["v1", "v1beta1"])
def dra_version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server() -> Iterator[ApiServer]:
    server = ApiServer(dra=("v1", "v1beta2", "v1beta1")).start()
    yield server
    server.kill()


@pytest.fixture
def kube(server: ApiServer) -> Kube:
    kube = Kube(access_to(server.url))
    kube.make_namespace()
    return kube


@pytest.fixture
def watched(server: ApiServer, tmp_path: Path, kube: Kube) -> Iterator[Watched]:
    with Watched(tmp_path, access_to(server.url)) as watched:
        yield watched


def shares(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(r["card"], r["slice"], r["share"], r["memory"]) for r in rows]


def placed(rows: list[dict[str, Any]]) -> bool:
    return bool(rows) and all(r["card"] for r in rows)


def become(watched: Watched, pod: str, wanted: list[tuple[Any, ...]]) -> list[dict[str, Any]]:
    """What is believed of a pod once its shares are as wanted: what nodes and servers tell comes in any order."""
    aim = sorted(wanted, key=str)
    rows: list[dict[str, Any]] = watched.until(pod, lambda rows: sorted(shares(rows), key=str) == aim)
    return rows


# ------------------------------------------------------------------------------------ device plugins


def test_a_mig_instance_is_the_share_its_node_measured(kube: Kube, watched: Watched) -> None:
    kube.node("n1", {}, {"nvidia.com/mig-3g.40gb": "2"})
    watched.card(1, "n1")
    slice_id = watched.mig(1, "n1", 1, 3 / 7, 0.5, "MIG-aaaa")
    kube.pod("p1", {"nvidia.com/mig-3g.40gb": "1"}, node="n1")
    by_profile = [(None, 3 * NANO // 7)]  # until the node tells which
    watched.until("p1", lambda rows: [(r["card"], r["share"]) for r in rows] == by_profile)
    watched.handed("n1", "p1", ["MIG-aaaa"], [slice_id], resource="nvidia.com/mig-3g.40gb")
    become(watched, "p1", [(gpu(1), slice_id, 3 * NANO // 7, NANO // 2)])


def test_replicas_of_a_card_are_its_even_parts(kube: Kube, watched: Watched) -> None:
    kube.node(
        "n1",
        {"nvidia.com/gpu.replicas": "4", "nvidia.com/gpu.product": "H100-SHARED"},
        {"nvidia.com/gpu": "4"},
    )
    card = watched.card(1, "n1")
    for number in range(4):
        kube.pod(f"p{number}", {"nvidia.com/gpu": "1"}, node="n1")
        watched.handed("n1", f"p{number}", [f"{card}::{number}"], [card])
    for number in range(4):
        become(watched, f"p{number}", [(card, None, NANO // 4, None)])
    total = watched.rows(
        "SELECT sum(share_nano), count(DISTINCT card_key) FROM allocation WHERE known_to IS NULL"
    )
    assert total == [(NANO, 1)]  # four quarters are one card


def test_replicas_nobody_counted_are_as_many_as_were_seen(kube: Kube, watched: Watched) -> None:
    kube.node("n1", {}, {"nvidia.com/gpu": "8"})
    card = watched.card(1, "n1")
    for number in range(2):
        kube.pod(f"p{number}", {"nvidia.com/gpu": "1"}, node="n1")
    for number in range(2):
        watched.handed("n1", f"p{number}", [f"{card}::{number}"], [card])
    for number in range(2):
        become(watched, f"p{number}", [(card, None, NANO // 2, None)])


def test_what_a_namesake_had_is_not_what_a_pod_has(
    kube: Kube, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assignments, "_SLACK_US", 500_000)  # here is one clock only
    kube.node("n1", {}, {"nvidia.com/gpu": "8"})
    one, two = watched.card(1, "n1"), watched.card(2, "n1")
    kube.pod("p-0", {"nvidia.com/gpu": "1"}, node="n1")
    watched.handed("n1", "p-0", [one], [one])
    first = watched.until("p-0", placed)
    time.sleep(1.1)
    kube.delete("p-0")
    watched.until("p-0", lambda rows: rows[0]["to_us"] is not None)
    time.sleep(1.1)
    kube.pod("p-0", {"nvidia.com/gpu": "1"}, node="n1")
    rows = watched.until("p-0", lambda rows: len(rows) == 2)
    assert [r["card"] for r in rows] == [one, None]
    watched.handed("n1", "p-0", [one], [one], kind="devices_released")
    watched.handed("n1", "p-0", [two], [two])
    rows = watched.until("p-0", placed)
    assert [r["card"] for r in rows] == [one, two]
    assert (rows[0]["from_us"], rows[0]["share"]) == (first[0]["from_us"], NANO)


def test_init_containers_and_sidecars_count_as_the_scheduler_counts(kube: Kube, watched: Watched) -> None:
    kube.node("n1", {}, {"nvidia.com/gpu": "8"})

    def part(name: str, cards: int, **more: Any) -> dict[str, Any]:
        return {"name": name, "image": "i", "resources": {"limits": {"nvidia.com/gpu": str(cards)}}, **more}

    kube.pod("p1", containers=[part("a", 1), part("b", 2)], initContainers=[part("i", 4)], node="n1")
    kube.pod(
        "p2",
        containers=[part("a", 2)],
        initContainers=[part("side", 1, restartPolicy="Always"), part("late", 1)],
        node="n1",
    )
    assert [r["share"] for r in watched.until("p1", bool)] == [4 * NANO]
    assert [r["share"] for r in watched.until("p2", bool)] == [3 * NANO]


# ------------------------------------------------------------------------------------ sharing systems


def test_hami_is_placed_by_its_annotation_and_not_by_the_kubelets_placeholders(
    kube: Kube, watched: Watched
) -> None:
    kube.node("n1", {}, {"nvidia.com/gpu": "20"})
    watched.card(1, "n1", memory=80 * GIB)
    watched.card(2, "n1", memory=80 * GIB)
    limits = {"nvidia.com/gpu": "1", "nvidia.com/gpumem": "20480", "nvidia.com/gpucores": "25"}
    kube.pod("p1", limits, node="n1")
    watched.until("p1", lambda rows: [(r["card"], r["share"]) for r in rows] == [(None, NANO // 4)])
    watched.handed("n1", "p1", [f"{gpu(2)}-7"], ["?"])
    kube.annotate(
        "p1", {"hami.io/vgpu-devices-allocated": f"{gpu(1)},NVIDIA,20480,25:;", "hami.io/vgpu-node": "n1"}
    )
    rows = become(watched, "p1", [(gpu(1), None, NANO // 4, NANO // 4)])
    assert rows[0]["attributes"]["sharing"] == "hami"


def test_gpushare_is_placed_by_the_cards_device_file(kube: Kube, watched: Watched) -> None:
    kube.node("n1", {}, {"aliyun.com/gpu-mem": "160", "aliyun.com/gpu-count": "2"})
    # The list's order is the other way round than the device files'.
    watched.card(1, "n1", minor=1, memory=80 * GIB)
    watched.card(2, "n1", minor=0, memory=80 * GIB)
    written = {
        "ALIYUN_COM_GPU_MEM_IDX": "0",
        "ALIYUN_COM_GPU_MEM_POD": "20",
        "ALIYUN_COM_GPU_MEM_DEV": "80",
        "ALIYUN_COM_GPU_MEM_ASSIGNED": "true",
        "ALIYUN_COM_GPU_MEM_ASSUME_TIME": "1792584000000000000",
    }
    kube.pod("p1", {"aliyun.com/gpu-mem": "20"}, annotations=written, node="n1")
    become(watched, "p1", [(gpu(2), None, NANO // 4, NANO // 4)])


def test_shares_above_a_card_are_kept_as_they_are(kube: Kube, watched: Watched) -> None:
    kube.node("n1", {}, {"nvidia.com/gpu": "20"})
    watched.card(1, "n1", memory=80 * GIB)
    for number in range(3):
        limits = {"nvidia.com/gpu": "1", "nvidia.com/gpumem": "10240", "nvidia.com/gpucores": "50"}
        written = {"hami.io/vgpu-devices-allocated": f"{gpu(1)},NVIDIA,10240,50:;", "hami.io/vgpu-node": "n1"}
        kube.pod(f"p{number}", limits, annotations=written, node="n1")
    for number in range(3):
        watched.until(f"p{number}", placed)
    assert watched.rows("SELECT sum(share_nano) FROM allocation WHERE known_to IS NULL") == [(3 * NANO // 2,)]


def test_a_pod_that_speaks_nonsense_of_shares_holds_something_and_says_so(
    kube: Kube, watched: Watched
) -> None:
    kube.node("n1", {}, {"nvidia.com/gpu": "20"})
    limits = {"nvidia.com/gpu": "1", "nvidia.com/gpumem": "20480"}
    kube.pod("p1", limits, annotations={"hami.io/vgpu-devices-allocated": "a,b:;"}, node="n1")
    (row,) = watched.until("p1", bool)
    assert row["card"] is None and "hami" in row["attributes"]["not_understood"]


# ------------------------------------------------------------------------------------ device claims


class Dra:
    """A DRA driver's and the scheduler's requests, in one served version."""

    def __init__(self, kube: Kube, version: str = "v1") -> None:
        self.kube, self.version = kube, version
        self.path = f"/apis/resource.k8s.io/{version}"
        self.claims = f"{self.path}/namespaces/{kube.namespace}/resourceclaims"

    def slice(
        self,
        node: str,
        devices: Mapping[str, Mapping[str, Any]],
        driver: str = "gpu.nvidia.com",
        **capacity: Any,
    ) -> None:
        listed = []
        for name, attributes in devices.items():
            inner = {
                "attributes": {
                    k: {"int" if isinstance(v, int) else "string": v} for k, v in attributes.items()
                },
                "capacity": {k: {"value": v} for k, v in capacity.items()},
            }
            listed.append({"name": name, **({"basic": inner} if self.version == "v1beta1" else inner)})
        body = {
            "metadata": {"name": f"{node}-{driver}"},
            "spec": {
                "driver": driver,
                "nodeName": node,
                "pool": {"name": node, "generation": 1, "resourceSliceCount": 1},
                "devices": listed,
            },
        }
        self.kube.ask("POST", f"{self.path}/resourceslices", body)

    def claim(
        self,
        name: str,
        node: str,
        devices: list[Mapping[str, Any]],
        pods: Mapping[str, str],
        driver: str = "gpu.nvidia.com",
    ) -> None:
        try:
            self.kube.ask("POST", self.claims, {"metadata": {"name": name}, "spec": {"devices": {}}})
        except ApiAnswer as e:
            if e.status != 409:
                raise
        results = [{"request": "r", "driver": driver, "pool": node, **device} for device in devices]
        reserved = [{"resource": "pods", "name": n, "uid": uid} for n, uid in pods.items()]
        status = {"allocation": {"devices": {"results": results}}, "reservedFor": reserved}
        self.kube.ask(
            "PATCH", f"{self.claims}/{name}/status", {"status": status}, "application/merge-patch+json"
        )

    def pod(self, name: str, node: str, *claims: str) -> str:
        uid = self.kube.pod(name, resourceClaims=[{"name": c, "resourceClaimName": c} for c in claims])
        self.kube.bind(name, node)
        return uid


def test_claimed_cards_and_mig_devices(
    server: ApiServer, kube: Kube, tmp_path: Path, dra_version: str
) -> None:
    server.dra, server.taint_rules = (dra_version,), ()
    kube.node("n1")
    dra = Dra(kube, dra_version)
    with Watched(tmp_path, access_to(server.url)) as watched:
        watched.card(1, "n1")
        slice_id = watched.mig(1, "n1", 7, 1 / 7, 0.125, "MIG-known")
        dra.slice(
            "n1",
            {
                "gpu-0": {"type": "gpu", "uuid": gpu(2), "productName": "H100"},
                "gpu-1-mig-a": {
                    "type": "mig",
                    "uuid": "MIG-known",
                    "parentUUID": gpu(1),
                    "profile": "1g.10gb",
                },
                "gpu-1-mig-b": {"type": "mig", "uuid": "MIG-new", "parentUUID": gpu(1), "profile": "2g.20gb"},
            },
        )
        uid = dra.pod("p1", "n1", "c1")
        devices = [{"device": d} for d in ("gpu-0", "gpu-1-mig-a", "gpu-1-mig-b")]
        dra.claim("c1", "n1", [*devices, {"device": "gpu-0", "adminAccess": True}], {"p1": uid})
        become(
            watched,
            "p1",
            [
                (gpu(2), None, NANO, None),
                (gpu(1), slice_id, NANO // 7, NANO // 8),
                (gpu(1), None, 2 * NANO // 7, None),
            ],
        )


def test_a_claim_of_several_pods_is_split_evenly_among_those_that_hold_it(
    kube: Kube, watched: Watched
) -> None:
    kube.node("n1")
    dra = Dra(kube)
    dra.slice("n1", {"gpu-0": {"type": "gpu", "uuid": gpu(1)}})
    one = dra.pod("one", "n1", "shared")
    dra.claim("shared", "n1", [{"device": "gpu-0"}], {"one": one})
    become(watched, "one", [(gpu(1), None, NANO, None)])
    time.sleep(1.1)
    two = dra.pod("two", "n1", "shared")
    dra.claim("shared", "n1", [{"device": "gpu-0"}], {"one": one, "two": two})
    become(watched, "two", [(gpu(1), None, NANO // 2, None)])
    rows = watched.until("one", lambda rows: len(rows) == 2)
    came = kube.bound_us("two")
    # Alone until the other came, evenly since; no moment is counted twice.
    assert [(r["share"], r["to_us"]) for r in rows] == [(NANO, came), (NANO // 2, None)]
    assert rows[1]["from_us"] == came
    time.sleep(1.1)
    kube.delete("two")
    rows = watched.until("one", lambda rows: len(rows) == 3)
    assert [r["share"] for r in rows] == [NANO, NANO // 2, NANO]
    assert rows[1]["to_us"] == rows[2]["from_us"] == watched.held("two")[0]["to_us"]
    watched.settle()
    watched.stop()
    watched.start(anew=True)
    watched.settle()
    assert watched.held("one") == rows  # also after a restart, which knows nothing of the other any more


def test_consumed_capacity_is_the_share(kube: Kube, watched: Watched) -> None:
    kube.node("n1")
    driver = "hami-core-gpu.project-hami.io"
    dra = Dra(kube)
    dra.slice("n1", {"hami-0": {"type": "hami-gpu", "uuid": gpu(1)}}, driver, memory="80Gi", cores="100")
    uid = dra.pod("p1", "n1", "c1")
    given = {"device": "hami-0", "shareID": "a", "consumedCapacity": {"memory": "20Gi", "cores": "30"}}
    dra.claim("c1", "n1", [given], {"p1": uid}, driver)
    become(watched, "p1", [(gpu(1), None, 3 * NANO // 10, NANO // 4)])


def test_other_drivers_devices_are_no_cards_and_an_unknown_device_is_an_unknown_card(
    kube: Kube, watched: Watched
) -> None:
    kube.node("n1")
    dra = Dra(kube)
    dra.slice("n1", {"nic-0": {"ifName": "eth1"}}, "dra.net")
    uid = dra.pod("p1", "n1", "nic", "gpu")
    dra.claim("nic", "n1", [{"device": "nic-0"}], {"p1": uid}, "dra.net")
    dra.claim("gpu", "n1", [{"device": "gpu-9"}], {"p1": uid})
    become(watched, "p1", [(None, None, NANO, None)])


def test_extended_resources_met_by_a_claim_are_counted_once(kube: Kube, watched: Watched) -> None:
    kube.node("n1")
    dra = Dra(kube)
    dra.slice("n1", {"gpu-0": {"type": "gpu", "uuid": gpu(1)}})
    uid = kube.pod("p1", {"nvidia.com/gpu": "1"}, node="n1")
    watched.until("p1", bool)
    mapped = {"containerName": "main", "resourceName": "nvidia.com/gpu", "requestName": "r"}
    extended = {"resourceClaimName": "made", "requestMappings": [mapped]}
    kube.status("p1", {"extendedResourceClaimStatus": extended})
    dra.claim("made", "n1", [{"device": "gpu-0"}], {"p1": uid})
    become(watched, "p1", [(gpu(1), None, NANO, None)])
