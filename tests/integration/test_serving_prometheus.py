"""Requests through a real Prometheus: from what serving processes show to the finding and the published hours."""

from __future__ import annotations

import http.server
import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
from collector_process import CollectorProcess
from real_prometheus import MISSING, RealPrometheus
from tests.collector.fleet_world import DAY, LATER, World, at, us
from tests.collector.serving_world import source
from tests.collector.test_otlp import request
from tests.collector.test_otlp_served import PLACE, vllm
from whole_stack import wait_for

from ullage_collector.detect.idle_rules import default_rules
from ullage_collector.detect.idle_watch import IdleWatch
from ullage_collector.publish.files import publish_facts_day
from ullage_collector.published import Published
from ullage_collector.serving import prometheus
from ullage_collector.serving.book import keep
from ullage_collector.serving.watch import ServingWatch
from ullage_collector.states import States
from ullage_collector.states import default_rules as states_rules
from ullage_contract.clock import ManualClock
from ullage_contract.errors import BadInput
from ullage_contract.served import Served

pytestmark = pytest.mark.skipif(MISSING, reason="no prometheus and promtool on this machine")


class Emulator:
    """Two serving processes as they show themselves: a vLLM at /vllm, an SGLang at /sglang, each with numbers to be set."""

    def __init__(self) -> None:
        self.requests = {"vllm": 100.0, "sglang": 5.0}
        self.running = {"vllm": 0.0, "sglang": 1.0}
        self.broken = False
        emulator = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = emulator.page(self.path.strip("/")).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def page(self, system: str) -> str:
        if self.broken:
            return "<html>502 Bad Gateway</html>"
        requests, running = self.requests[system], self.running[system]
        if system == "vllm":
            labels = 'engine="0",model_name="m"'
            return (
                f'vllm:request_success_total{{{labels},finished_reason="stop"}} {requests}\n'
                f'vllm:request_success_total{{{labels},finished_reason="abort"}} 0.0\n'
                f"vllm:num_requests_running{{{labels}}} {running}\n"
                f"vllm:num_requests_waiting{{{labels}}} NaN\n"
                f"vllm:prompt_tokens_total{{{labels}}} {requests * 10}\n"
                f"vllm:generation_tokens_total{{{labels}}} {requests * 100}\n"
            )
        return (
            f'sglang:num_requests_total{{model_name="m"}} {requests}\n'
            f'sglang:num_running_reqs{{model_name="m",tp_rank="0"}} {running}\n'
            f'sglang:num_running_reqs{{model_name="m",tp_rank="1"}} {running}\n'
            f'sglang:num_queue_reqs{{model_name="m",tp_rank="0"}} 0\n'
        )

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class OfWorld:
    """A world's tables as the store a serving watch writes to."""

    def __init__(self, world: World, clock: ManualClock) -> None:
        self.world = world
        self.clock = clock

    def cursor(self) -> duckdb.DuckDBPyConnection:
        return self.world.db.cursor()

    @contextmanager
    def write(self) -> Iterator[duckdb.DuckDBPyConnection]:
        yield self.world.db


def test_what_processes_show_is_counted_over_restarts_and_is_unknown_while_nobody_can_see_it(
    tmp_path: Path,
) -> None:
    emulator = Emulator()
    labels = {system: {"namespace": "web", "pod": f"{system}-0"} for system in ("vllm", "sglang")}
    server = RealPrometheus(
        tmp_path, targets=[(emulator.address, f"/{system}", labels[system]) for system in labels]
    )
    world = World()
    for number, system in enumerate(labels):
        world.card(f"G{number}")
        world.hold(f"G{number}", f"k8s/dc1/web/{system}-0/u", 0, None)
    asked = replace(source(url=server.url), fresh_seconds=2.0)

    def now() -> list[Served]:
        instant = int(time.time())
        answer = prometheus.ask(asked, instant, instant)
        keep(world.db, answer.readings, source="prom", now_us=instant * 1_000_000)
        return answer.readings

    def showing(requests: float) -> Callable[[], list[Served]]:
        def ask() -> list[Served]:
            found = now()
            seen = {(r.system, r.value) for r in found if r.kind == "requests"}
            return found if {("vllm", requests), ("sglang", requests)} <= seen else []

        return ask

    def sums() -> dict[str, tuple[Any, ...]]:
        rows = world.db.execute(
            "SELECT source, sum(requests), sum(generated_tokens), max(running), max(waiting), sum(resets) FROM serving "
            "GROUP BY source ORDER BY source"
        ).fetchall()
        return {row[0]: row[1:] for row in rows}

    try:
        emulator.requests = {"vllm": 100, "sglang": 100}
        first = wait_for("the first scrape", showing(100), 30)
        assert {(r.workload, r.target) for r in first} == {
            (f"k8s/dc1/web/{system}-0", emulator.address) for system in labels
        }
        assert not any(r.kind == "waiting" and r.system == "vllm" for r in first), "NaN is no number"
        emulator.requests = {"vllm": 107, "sglang": 107}
        wait_for("seven requests", showing(107), 30)
        assert sums() == {"prom/sglang": (7, None, 1.0, 0.0, 0), "prom/vllm": (7, 700, 0.0, None, 0)}
        emulator.requests = {"vllm": 3, "sglang": 3}
        wait_for("both processes begun anew", showing(3), 30)
        assert {name: row[0] for name, row in sums().items()} == {"prom/sglang": 10, "prom/vllm": 10}
        emulator.broken = True
        wait_for("pages that cannot be read are no readings", lambda: not now(), 30)
        before = sums()
        server.close()
        with pytest.raises(BadInput, match="refused"):
            now()
        assert sums() == before
    finally:
        server.close()
        emulator.close()


def history(hours: int, busy_until: dict[str, int]) -> str:
    """OpenMetrics of a vLLM a pod, a sample a minute: three requests a minute until an hour of the day, then none."""
    text = []
    for name, kind, factor in (
        ("vllm:request_success", "counter", 1),
        ("vllm:generation_tokens", "counter", 100),
        ("vllm:num_requests_running", "gauge", 0),
    ):
        text.append(f"# TYPE {name} {kind}\n")
        for pod, until in busy_until.items():
            for minute in range(hours * 60 + 1):
                value = 3 * min(minute, until * 60) * factor
                series = f'{name}{"_total" if kind == "counter" else ""}{{namespace="web",pod="{pod}",instance="{pod}:8000"}}'
                text.append(f"{series} {value} {int(DAY.timestamp()) + minute * 60}\n")
    return "".join(text)


def test_a_day_without_requests_goes_from_prometheus_to_the_finding_and_the_published_hours(
    tmp_path: Path,
) -> None:
    hours = 27
    server = RealPrometheus(tmp_path / "prometheus", history=history(hours, {"chat-0": 2, "chat-1": hours}))
    try:
        world = World()
        for number in range(3):
            pod = f"k8s/dc1/web/chat-{number}/u"
            world.workload(
                pod, scenario="online_inference", labels={"serving.kserve.io/inferenceservice": "chat"}
            )
            world.card(f"G{number}", node=f"n{number}")
            world.hold(f"G{number}", pod, 0, None, node=f"n{number}")
            world.minutes(f"G{number}", 0, 2, 0.9)
            world.minutes(f"G{number}", 2, hours, 0.0)
        clock = ManualClock(wall=DAY.timestamp() + hours * 3600 + 120)
        store: Any = OfWorld(world, clock)
        watch = ServingWatch(lambda: store, source(url=server.url, back_seconds=(hours + 1) * 3600))
        for _ in range(3):
            assert watch.round()
        world.db.execute("INSERT INTO rollup_through VALUES ('minute', ?)", [at(hours)])
        idle = IdleWatch(replace(default_rules(), look_back_seconds=hours * 3600.0), states_rules())
        found, _ = idle.look(world.db, us(hours) + 120_000_000)
        assert [(one.subject, one.action, one.evidence["held_back_by"]) for one in found] == [
            ("k8s/dc1/web/chat-0/u", "propose_reclaim", None),
            ("k8s/dc1/web/chat-1/u", "note", "requests_served"),
            ("k8s/dc1/web/chat-2/u", "note", "no_request_metrics"),
        ]
        requests = found[0].evidence["requests"]
        assert (requests["in_window"], requests["last_request_before"]) == (0, "2026-10-07T02:00:00Z")
        States(world.db).make(DAY.date(), LATER)
        publish_facts_day(world.db, tmp_path / "p", DAY.date(), status="provisional", now=LATER)
        with Published(tmp_path / "p").open(DAY, LATER) as facts:
            rows = facts.rows(
                "SELECT workload_id, hour_us, requests, generated_tokens, prompt_tokens FROM serving ORDER BY ALL"
            )
        busy = [row for row in rows if row[0].startswith("k8s/dc1/web/chat-0") and row[2]]
        assert busy == [
            ("k8s/dc1/web/chat-0/u", us(0), 180, 18_000, None),
            ("k8s/dc1/web/chat-0/u", us(1), 180, 18_000, None),
        ]
        assert {row[2] for row in rows if row[0].startswith("k8s/dc1/web/chat-1")} == {180}
    finally:
        server.close()


def tell(address: str, bodies: list[list[dict[str, Any]]]) -> int:
    """Send OTLP bodies; the last answer's status."""
    status = 0
    for metrics in bodies:
        body = json.dumps(request(*metrics, **PLACE)).encode()
        asked = urllib.request.Request(f"{address}/v1/metrics", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(asked, timeout=10) as answer:
            status = answer.status
    return status


def test_serve_asks_in_a_part_of_its_own_and_a_wrong_table_is_refused_at_start(tmp_path: Path) -> None:
    dead = '[[serving]]\nname = "dead"\nurl = "http://127.0.0.1:9"\nevery_seconds = 15\n'
    collector = CollectorProcess(tmp_path / "good", config=dead)
    collector.start()
    try:
        address = f"http://127.0.0.1:{collector.port}"
        with urllib.request.urlopen(f"{address}/metrics", timeout=10) as answer:
            page = answer.read().decode()
        assert 'ullage_collector_part_up{part="serving-dead"} 1' in page
        assert 'ullage_collector_serving_source_readings_total{source="dead"} 0' in page
        assert "ullage_collector_serving_source_up{" not in page, "not asked yet: unknown"
        with urllib.request.urlopen(f"{address}/healthz", timeout=10) as answer:
            assert answer.status == 200
        node = tell(
            address, [vllm(requests, time.time() - 120 + n * 60) for n, requests in enumerate((5, 8))]
        )
        assert node == 200
        url = f"{address}/api/v1/serving?from=2026-01-01T00:00:00Z"
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert json.load(answer) == {"schema_version": 1, "serving": []}, "nobody holds a card"
    finally:
        collector.ensure_ended()
    wrong = CollectorProcess(tmp_path / "wrong", config=dead.replace("every_seconds", "every_second"))
    with pytest.raises(AssertionError, match="did you mean every_seconds"):
        wrong.start()
