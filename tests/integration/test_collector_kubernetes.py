"""A whole collector beside an API server: what users ask for and what nodes push meet in one allocation."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from api_server import ApiServer
from kube_world import Kube, access_to, gpu
from tests.integration.collector_process import CollectorProcess

from ullage_contract import wire
from ullage_contract.event import Event, Severity
from ullage_contract.sample import Facts, Family, Origin, Sample


@pytest.fixture
def server() -> Iterator[ApiServer]:
    server = ApiServer(dra=()).start()
    yield server
    server.kill()


@pytest.fixture
def collector(tmp_path: Path, server: ApiServer) -> Iterator[CollectorProcess]:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        f"current-context: c\nclusters:\n- name: k\n  cluster:\n    server: {server.url}\n"
        "contexts:\n- name: c\n  context:\n    cluster: k\n"
    )
    table = f'[[allocation.kubernetes]]\ncluster = "c1"\nkubeconfig = "{kubeconfig}"\ngather_seconds = 0.1\n'
    made = CollectorProcess(tmp_path / "data", config=table)
    yield made
    made.ensure_ended()


def ask(port: int, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
    response = connection.getresponse()
    found = response.status, response.read()
    connection.close()
    return found


def push(port: int, lane: str, **more: Any) -> None:
    batch = wire.Batch(
        stream=f"{lane[0].encode().hex():0>32}",
        sequence=1,
        lane=lane,
        agent="test",
        cluster="c1",
        node="n1",
        machine_id="m",
        boot_id="b",
        origin=Origin.REAL,
        **more,
    )
    headers = {
        "Content_Type": wire.CONTENT_TYPE,
        "Content_Encoding": "gzip",
        "Ullage_Sent_At": f"{time.time():.3f}",
    }
    status, answer = ask(port, "POST", wire.PUSH_PATH, wire.encode(batch), **headers)
    assert status == 200, answer


def held(port: int) -> dict[str, tuple[Any, ...]]:
    since = datetime.fromtimestamp(time.time() - 3600, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    status, body = ask(port, "GET", f"/api/v1/allocations?from={since}")
    assert status == 200, body
    rows = json.loads(body)["allocations"]
    return {row["name"]: (row["card_id"], row["share_nano"], row["valid_to"] is None) for row in rows}


def eventually(look: Callable[[], Any], right: Callable[[Any], bool]) -> Any:
    until = time.monotonic() + 60
    while not right(found := look()):
        assert time.monotonic() < until, f"still {found}"
        time.sleep(0.1)
    return found


def test_a_pod_and_the_nodes_word_become_one_allocation_and_a_killed_collector_takes_it_up(
    server: ApiServer, collector: CollectorProcess
) -> None:
    kube = Kube(access_to(server.url))
    kube.make_namespace()
    kube.node("n1", {}, {"nvidia.com/gpu": "8"})
    collector.start()
    kube.pod("p1", {"nvidia.com/gpu": "1"}, node="n1")
    eventually(lambda: held(collector.port), lambda rows: rows == {"p1": (None, 10**9, True)})
    now = time.time()
    power = Sample(Family.CARD, gpu(1), now, 1.0, 10.0, {"power_watts": 300.0})
    push(
        collector.port,
        "samples",
        samples=[power],
        facts=[Facts(Family.CARD, gpu(1), now, {"vendor": "nvidia"})],
    )
    about = {"namespace": kube.namespace, "pod": "p1", "container": "main", "resource": "nvidia.com/gpu"}
    told = {**about, "devices": gpu(1), "cards": gpu(1)}
    event = Event(
        now, "devices_assigned", Severity.INFO, Family.NODE, "n1", "agent", "1 device", attributes=told
    )
    push(collector.port, "events", events=[event])
    eventually(lambda: held(collector.port), lambda rows: rows == {"p1": (gpu(1), 10**9, True)})
    status, metrics = ask(collector.port, "GET", "/metrics")
    assert status == 200 and b'ullage_collector_part_up{part="kubernetes-c1"} 1' in metrics
    collector.kill()
    kube.delete("p1")
    kube.pod("p2", {"nvidia.com/gpu": "2"}, node="n1")
    collector.start()
    rows = eventually(lambda: held(collector.port), lambda rows: "p2" in rows and not rows["p1"][2])
    assert rows == {"p1": (gpu(1), 10**9, False), "p2": (None, 2 * 10**9, True)}
    assert collector.stop() == 0
    assert "Traceback" not in collector.log.read_text()


def test_a_server_that_is_away_stops_nothing_else(server: ApiServer, collector: CollectorProcess) -> None:
    server.kill()
    collector.start()
    assert ask(collector.port, "GET", "/healthz")[0] == 200
    eventually(lambda: b"Connection refused" in collector.log.read_bytes(), bool)
    assert collector.stop() == 0


def test_a_wrong_setting_is_told_at_the_start(tmp_path: Path) -> None:
    made = CollectorProcess(tmp_path / "data", config='[[allocation.kubernetes]]\nclustr = "c1"\n')
    with pytest.raises(AssertionError, match=r"allocation\.kubernetes"):
        made.start()
    made.ensure_ended()
