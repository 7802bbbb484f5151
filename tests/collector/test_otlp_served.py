"""Requests of serving systems through the OTLP door: of the pod that shows them, once, over kills and re-sent bodies."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.collector.fleet_fixture import NOON, Fleet
from tests.collector.front_world import Front
from tests.collector.test_otlp import gauge, point, protobuf, request, send, stored, total

from ullage_collector.allocation.book import AllocationBook
from ullage_collector.allocation.holding import Holding, Place, Workload
from ullage_collector.receive.identity import LOCAL
from ullage_collector.receive.otlp import Converted, convert
from ullage_contract.sample import Origin
from ullage_contract.served import Served
from ullage_contract.wire import Batch, decode, encode

POD = "k8s/c1/web/chat-0/u1"
PLACE = {
    "k8s__node__name": "n1",
    "k8s__cluster__name": "c1",
    "k8s__namespace__name": "web",
    "k8s__pod__name": "chat-0",
    "service__instance__id": "10.0.0.1:8000",
}


def converted(*metrics: dict[str, Any], media: str = "application/json", **resource: str) -> Converted:
    document = request(*metrics, **(resource or PLACE))
    body = protobuf(document) if media != "application/json" else json.dumps(document).encode()
    return convert(body, media, "identity", LOCAL)


def readings(found: Converted) -> list[tuple[str, str, str, str, float]]:
    return [
        (r.workload, r.target, r.system, r.kind, r.value)
        for rows in found.nodes.values()
        for r in rows.served.readings()
    ]


def vllm(requests: float, at: float = NOON, running: float = 0.0) -> list[dict[str, Any]]:
    return [
        total("vllm:request_success", point(requests, at, finished_reason="stop")),
        gauge("vllm:num_requests_running", point(running, at)),
        total("vllm:generation_tokens_total", point(requests * 100, at)),
    ]


@pytest.mark.parametrize("media", ["application/json", "application/x-protobuf"])
def test_numbers_of_a_serving_system_are_of_the_pod_and_process_that_show_them(media: str) -> None:
    found = converted(*vllm(7), media=media)
    assert found.rejected == 0
    place = ("k8s/c1/web/chat-0", "10.0.0.1:8000", "vllm")
    assert sorted(readings(found)) == [
        (*place, "generated_tokens", 700.0),
        (*place, "requests", 7.0),
        (*place, "running", 0.0),
    ]


def test_a_histogram_is_the_names_the_exposition_gives_it() -> None:
    tokens = {
        "name": "tgi_request_generated_tokens",
        "histogram": {
            "aggregationTemporality": 2,
            "dataPoints": [{"timeUnixNano": str(int(NOON * 1e9)), "count": "3", "sum": 42.0}],
        },
    }
    served = tokens | {"name": "request_predict_seconds"}
    assert [(s, k, v) for _, _, s, k, v in readings(converted(tokens, served))] == [
        ("tgi", "generated_tokens", 42.0),
        ("kserve", "requests", 3.0),
    ]


def test_what_names_no_workload_an_increment_and_no_number_are_rejected_and_counted() -> None:
    nameless = converted(*vllm(1), k8s__node__name="n1")
    assert (nameless.points, nameless.rejected, nameless.nodes) == (3, 3, {})
    increments = converted(total("vllm:request_success", point(1), temporality=1))
    assert increments.rejected == 1
    nothing = gauge("vllm:num_requests_running", point(0.0) | {"asDouble": "NaN"})
    assert converted(nothing).rejected == 1
    assert converted(gauge("sglang:num_running_reqs", point(-1.0))).rejected == 1


def test_systems_without_names_of_their_own_are_named_by_the_resource() -> None:
    metric = total("request_success_total", point(5))
    assert converted(metric).rejected == 1
    found = converted(metric, **PLACE, ullage__serving="mindie")
    assert [(s, k, v) for _, _, s, k, v in readings(found)] == [("mindie", "requests", 5.0)]
    both = [metric, total("request_finish_total", point(9))]
    found = converted(*both, **PLACE, ullage__serving="nim")
    assert [v for *_, v in readings(found)] == [9.0], "one number, of the newest name"


def test_a_slurm_job_is_named_by_its_number() -> None:
    found = converted(*vllm(1), host__name="n1", k8s__cluster__name="c1", slurm__job__id="77")
    assert {w for w, *_ in readings(found)} == {"slurm/c1/77"}


def test_the_wire_carries_them_and_a_batch_without_them_is_as_it_was() -> None:
    row = Served(POD, "t", "vllm", "s", "requests", NOON, 3.0)
    plain = Batch("0" * 16, 1, "samples", "a", "c1", "n1", None, None, Origin.REAL)
    assert decode(encode(plain)).served == []
    assert b"served" not in gzip.decompress(encode(plain))
    assert decode(encode(replace(plain, served=[row]))).served == [row]


def test_the_door_journals_them_with_their_node_and_a_body_sent_again_adds_nothing(tmp_path: Path) -> None:
    with Front(tmp_path) as front:
        for _ in range(2):
            assert send(front, request(*vllm(7), **PLACE)).json == {}
        (batch,) = stored(front)
        assert (batch.cluster, batch.node, batch.families) == ("c1", "n1", {})
        assert sorted((row.kind, row.value) for row in batch.served) == [
            ("generated_tokens", 700.0),
            ("requests", 7.0),
            ("running", 0.0),
        ]
    with Front(tmp_path / "guarded", tokens=True) as front:
        bearer = {"Authorization": f"Bearer {front.token['gpu-a01']}"}
        assert send(front, request(*vllm(7), **PLACE), **bearer).status == 403


def test_they_reach_the_store_once_over_kills_and_only_for_the_node_the_pod_is_on(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    try:
        pod = Workload(POD, "kubernetes_pod", "c1")
        AllocationBook(fleet.store, "kubernetes").believe(
            [Holding(pod, round((NOON - 3600) * 1e6), None, (Place("n1", "GPU-a"),))]
        )

        def push(node: str, minute: int, value: float) -> Batch:
            rows = [Served("k8s/c1/web/chat-0", node, "vllm", "s", "requests", NOON + minute * 60, value)]
            return fleet.push([], node=node, stream=(node * 16)[:32], served=rows, at=NOON + minute * 60)

        for minute in range(5):
            push("n1", minute, 10 + minute * 2)
            push("n2", minute, 1e6 + minute)
        fleet.writer.drain()
        fleet.reopen()
        again = push("n1", 4, 18)
        fleet.writer.drain()
        fleet.journal(again, encode(again), at=NOON + 240)
        fleet.writer.drain()
        assert fleet.rows(
            "SELECT source, sum(requests), sum(covered_us) / 6e7 FROM serving GROUP BY source"
        ) == [("otlp/vllm", 8.0, 4.0)]
        assert fleet.rows("SELECT requests, replicas, covered_seconds FROM serving_hour") == [(8.0, 1, 240.0)]
    finally:
        fleet.close()
