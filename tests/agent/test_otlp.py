"""OTLP/HTTP against a real receiver that decodes the protocol with its own messages."""

from __future__ import annotations

import gzip
import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from picture import GPU, NODE, everything, fill, row

from ullage_agent.outputs.latest import Latest
from ullage_agent.outputs.otlp import OtlpExporter, request
from ullage_agent.outputs.transport import Endpoint, HttpTransport
from ullage_contract import catalogue
from ullage_contract.catalogue import SEMCONV_SCHEMA_URL
from ullage_contract.clock import ManualClock
from ullage_contract.sample import Family


class Receiver:
    """A metrics receiver: keeps what came, answers what it is told."""

    def __init__(self) -> None:
        self.requests: list[ExportMetricsServiceRequest] = []
        self.headers: list[dict[str, str]] = []
        self.answers: list[tuple[int, bytes, dict[str, str]]] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                assert self.path == "/v1/metrics"
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.headers["Content-Type"] == "application/x-protobuf"
                outer.headers.append({k.lower(): v for k, v in self.headers.items()})
                outer.requests.append(ExportMetricsServiceRequest.FromString(gzip.decompress(body)))
                status, answer, headers = outer.answers.pop(0) if outer.answers else (200, b"", {})
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.block_on_close = False
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1/metrics"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def points(self) -> dict[str, list[tuple[dict[str, str], float, Any]]]:
        """metric name -> (attributes, value, point) of the last request."""
        found: dict[str, list[tuple[dict[str, str], float, Any]]] = {}
        for resource in self.requests[-1].resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    assert metric.name not in found, "a name must stand once"
                    data = getattr(metric, metric.WhichOneof("data"))
                    found[metric.name] = [
                        (
                            {a.key: a.value.string_value for a in p.attributes},
                            getattr(p, p.WhichOneof("value")),
                            p,
                        )
                        for p in data.data_points
                    ]
        return found

    def metric(self, name: str) -> Any:
        scope = self.requests[-1].resource_metrics[0].scope_metrics[0]
        return next(m for m in scope.metrics if m.name == name)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.server.shutdown()
    made.server.server_close()


def exporter(latest: Latest, receiver: Receiver, clock: ManualClock, **headers: str) -> OtlpExporter:
    transport = HttpTransport(Endpoint(url=receiver.url, headers=headers, timeout_seconds=5.0))
    return OtlpExporter(latest, transport, clock=clock, cluster="c1", node=NODE, machine_id="m-1")


def test_what_is_known_arrives_under_the_conventions_names(receiver: Receiver) -> None:
    clock = ManualClock()
    made = exporter(fill(clock), receiver, clock, authorization="Bearer x")
    assert made.export() == 60.0 and made.exported == 1
    assert receiver.headers[0]["authorization"] == "Bearer x"
    resource = receiver.requests[0].resource_metrics[0]
    identity = {a.key: a.value.string_value for a in resource.resource.attributes}
    assert identity["service.name"] == "ullage-agent"
    assert (
        identity["host.name"] == NODE and identity["host.id"] == "m-1" and identity["ullage.cluster"] == "c1"
    )
    assert resource.schema_url == resource.scope_metrics[0].schema_url == SEMCONV_SCHEMA_URL
    points = receiver.points()
    (power,) = points["hw.power"]
    assert power[0] == {
        "hw.id": GPU,
        "hw.vendor": "nvidia",
        "hw.model": 'NVIDIA "H100"\\80GB',
        "hw.type": "gpu",
    }
    assert power[1] == 612.5 and power[2].time_unix_nano == 1_800_000_000 * 10**9
    assert receiver.metric("hw.power").unit == "W"


def test_counters_are_monotonic_sums_since_their_epoch_and_levels_are_gauges(receiver: Receiver) -> None:
    clock = ManualClock()
    latest = fill(clock)
    made = exporter(latest, receiver, clock)
    made.export()
    energy = receiver.metric("hw.energy").sum
    assert energy.is_monotonic and energy.aggregation_temporality == 2  # cumulative
    (point,) = energy.data_points
    assert point.as_double == 123456789.125
    assert point.start_time_unix_nano == (1_800_000_000 - 1_000) * 10**9  # the boot
    memory = receiver.metric("hw.gpu.memory.usage").sum
    assert not memory.is_monotonic and {p.as_int for p in memory.data_points} == {68_719_476_736, 1_048_576}
    assert receiver.metric("hw.gpu.utilization").WhichOneof("data") == "gauge"
    clock.advance(60)
    latest.samples([row(Family.CARD, GPU, {"energy_joules": 5.0}, counters_epoch="b-1 driver 2")])
    made.export()
    (point,) = receiver.metric("hw.energy").sum.data_points
    assert point.start_time_unix_nano == int(clock.wall()) * 10**9  # it began anew, and says so


def test_states_are_a_point_a_word_and_health_speaks_the_conventions_words(receiver: Receiver) -> None:
    clock = ManualClock()
    exporter(fill(clock), receiver, clock).export()
    points = receiver.points()
    health = {(a["hw.id"], a["hw.state"]): value for a, value, _ in points["hw.status"]}
    assert {state for (card, state), value in health.items() if card == GPU and value} == {"ok"}
    assert {state for (card, state), value in health.items() if card == "huawei-1-c0" and value} == {"lost"}
    assert len(health) == 8
    reasons = {a["ullage.state"] for a, value, _ in points["ullage.card.throttle_reasons"] if value}
    assert reasons == {"idle", "software_power_cap"}


def test_what_failed_is_nan_or_is_a_process_has_no_point(receiver: Receiver) -> None:
    clock = ManualClock()
    exporter(fill(clock), receiver, clock).export()
    points = receiver.points()
    assert "hw.temperature" not in points and "hw.fan.speed_ratio" not in points
    assert not [name for name in points if "process" in name]
    assert {a["hw.id"] for a, _, _ in points["hw.gpu.utilization"]} == {GPU, "SIM-0"}


def test_simulated_cards_say_so_and_slices_name_their_card(receiver: Receiver) -> None:
    clock = ManualClock()
    exporter(fill(clock), receiver, clock).export()
    points = receiver.points()
    origins = {a["hw.id"]: a.get("ullage.origin") for a, _, _ in points["hw.gpu.utilization"]}
    assert origins == {GPU: None, "SIM-0": "simulated"}
    parents = {a["hw.id"]: a.get("hw.parent") for a, _, _ in points["hw.gpu.memory.usage"]}
    assert parents == {GPU: None, f"{GPU}/7": GPU}


def test_a_counter_beyond_63_bits_travels_as_a_double(receiver: Receiver) -> None:
    clock = ManualClock()
    exporter(fill(clock), receiver, clock).export()
    (point,) = [p for a, _, p in receiver.points()["hw.gpu.io"] if a["ullage.link"] == "pcie"]
    assert point.as_double == 2.0**63


def test_every_metric_of_the_catalogue_can_be_sent_and_comes_back_under_its_name() -> None:
    made = request(everything(ManualClock()).rows(), cluster="c1", node=NODE)
    names = {m.name for r in made.resource_metrics for s in r.scope_metrics for m in s.metrics}
    assert names == {m.otel for m in catalogue.METRICS if Family.PROCESS not in m.families}
    for scope in made.resource_metrics[0].scope_metrics:
        for metric in scope.metrics:
            points = getattr(metric, metric.WhichOneof("data")).data_points
            places = [tuple(sorted((a.key, a.value.string_value) for a in p.attributes)) for p in points]
            assert len(places) == len(set(places)), f"{metric.name}: two points of one series"


def test_nothing_known_is_nothing_sent(receiver: Receiver) -> None:
    clock = ManualClock()
    assert exporter(Latest(clock), receiver, clock).export() == 60.0
    assert receiver.requests == []


def test_retry_after_is_obeyed_and_the_next_request_is_newer(receiver: Receiver) -> None:
    clock = ManualClock()
    latest = fill(clock)
    made = exporter(latest, receiver, clock)
    receiver.answers += [
        (429, b"", {"Retry-After": "300"}),
        (503, b"", {"Retry-After": "²"}),
        (400, b"", {}),
    ]
    assert [made.export(), made.export(), made.export()] == [300.0, 60.0, 60.0]
    assert made.failures == 3 and made.exported == 0
    latest.samples([row(Family.CARD, GPU, {"power_watts": 9.0})])
    made.export()
    assert receiver.points()["hw.power"][0][1] == 9.0 and made.exported == 1


def test_rejected_points_are_counted_and_told_once(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()
    made = exporter(fill(clock), receiver, clock)
    partial = ExportMetricsServiceResponse()
    partial.partial_success.rejected_data_points = 3
    partial.partial_success.error_message = "no such metric"
    receiver.answers += [(200, partial.SerializeToString(), {})] * 2 + [(200, b"<html>", {})]
    for _ in range(3):
        made.export()
    assert made.rejected == 6 and made.exported == 3
    assert sum("no such metric" in r.getMessage() for r in caplog.records) == 1


def test_a_receiver_that_is_away_is_told_once_and_then_counted(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    transport = HttpTransport(Endpoint(url="http://127.0.0.1:9/v1/metrics", timeout_seconds=1.0))
    made = OtlpExporter(fill(clock), transport, clock=clock, cluster="c1", node=NODE)
    for _ in range(3):
        assert made.export() == 60.0
    assert made.failures == 3 and len(caplog.records) == 1


def test_a_lone_surrogate_in_a_fact_does_not_stop_the_export(receiver: Receiver) -> None:
    from ullage_contract.sample import Facts

    clock = ManualClock()
    latest = fill(clock)
    latest.facts([Facts(Family.CARD, GPU, 1.0, {"vendor": "nvidia", "model": "bad \udcff"})])
    exporter(latest, receiver, clock).export()
    assert receiver.points()["hw.power"][0][0]["hw.model"] == "bad ?"


def test_the_thread_sends_and_ends(receiver: Receiver) -> None:
    import time

    clock = ManualClock()
    made = exporter(fill(clock), receiver, clock)
    made._interval = 0.05
    made.start()
    end = time.monotonic() + 10
    while len(receiver.requests) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    made.close()
    assert len(receiver.requests) >= 2


def test_without_configuration_nothing_of_opentelemetry_is_imported() -> None:
    code = (
        "import sys, pathlib\n"
        "from ullage_agent.config import Config, Metrics, Push\n"
        "from ullage_agent.outputs.wiring import outputs\n"
        "from ullage_contract.clock import ManualClock\n"
        "import tempfile\n"
        "with tempfile.TemporaryDirectory() as d:\n"
        "    c = Config(node='n', data=pathlib.Path(d), metrics=Metrics(('127.0.0.1', 0)),\n"
        "               push=Push(url='http://127.0.0.1:9'))\n"
        "    made = outputs(c, clock=ManualClock())\n"
        "    made.close()\n"
        "heavy = {'opentelemetry', 'google.protobuf', 'prometheus_client', 'requests', 'pynvml', 'asyncio'}\n"
        "print(sorted(heavy & sys.modules.keys()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]", done.stdout
