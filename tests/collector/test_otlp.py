"""OTLP/HTTP metrics into the journal: protobuf and JSON, mapped back by the catalogue."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.collector.front_world import Front, Got

from ullage_collector.batch import read_batch
from ullage_collector.receive.identity import LOCAL, Role
from ullage_collector.receive.otlp import convert
from ullage_contract import catalogue, wire
from ullage_contract.catalogue import Kind, Type
from ullage_contract.errors import BadInput
from ullage_contract.sample import Family, Origin
from ullage_contract.wire import ColumnarBatch

NOW = 1_800_000_000
PROTOBUF = "application/x-protobuf"


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Front]:
    with Front(tmp_path) as made:
        yield made


def attributes(**pairs: str) -> list[dict[str, Any]]:
    return [{"key": key.replace("__", "."), "value": {"stringValue": value}} for key, value in pairs.items()]


def point(value: float | int, seconds: float = NOW, **pairs: str) -> dict[str, Any]:
    number: dict[str, Any] = {"asInt": str(value)} if isinstance(value, int) else {"asDouble": value}
    return {"timeUnixNano": str(int(seconds * 1e9)), "attributes": attributes(**pairs), **number}


def gauge(name: str, *points: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "gauge": {"dataPoints": list(points)}}


def total(name: str, *points: dict[str, Any], temporality: int = 2) -> dict[str, Any]:
    return {
        "name": name,
        "sum": {"aggregationTemporality": temporality, "isMonotonic": True, "dataPoints": list(points)},
    }


def request(*metrics: dict[str, Any], **resource: str) -> dict[str, Any]:
    resource = resource or {"host__name": "gpu-a01", "k8s__cluster__name": "c1"}
    return {
        "resourceMetrics": [
            {"resource": {"attributes": attributes(**resource)}, "scopeMetrics": [{"metrics": list(metrics)}]}
        ]
    }


def protobuf(document: dict[str, Any]) -> bytes:
    from google.protobuf.json_format import ParseDict
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

    return bytes(ParseDict(document, ExportMetricsServiceRequest()).SerializeToString())


def send(front: Front, document: dict[str, Any], **headers: str) -> Got:
    return front.request(
        "POST", "/v1/metrics", json.dumps(document).encode(), {"Content-Type": "application/json", **headers}
    )


def stored(front: Front) -> list[ColumnarBatch]:
    return [read_batch(record.body) for record in front.journalled()]


EXAMPLE = request(
    gauge("hw.gpu.utilization", point(0.75, hw__id="GPU-1", hw__vendor="NVIDIA", hw__model="H20")),
    gauge("hw.gpu.utilization", point(0.25, hw__id="GPU-1", hw__gpu__task="encoder")),
    total("hw.gpu.memory.usage", point(5_000_000_000, hw__id="GPU-1"), temporality=2),
    gauge("hw.power", point(310.5, hw__id="GPU-1", hw__type="gpu")),
    total("hw.errors", point(3, hw__id="GPU-1", hw__type="gpu", error__type="ecc_corrected")),
)


@pytest.mark.parametrize("media", ["application/json", PROTOBUF])
@pytest.mark.parametrize("zipped", [False, True])
def test_points_of_one_card_and_instant_are_one_row(front: Front, media: str, zipped: bool) -> None:
    body = protobuf(EXAMPLE) if media == PROTOBUF else json.dumps(EXAMPLE).encode()
    headers = {"Content-Type": media, **({"Content-Encoding": "gzip"} if zipped else {})}
    got = front.request("POST", "/v1/metrics", gzip.compress(body) if zipped else body, headers)
    assert got.status == 200
    assert got.headers["content-type"].startswith(media)
    assert got.body in (b"", b"{}")  # no partial success
    [batch] = stored(front)
    assert (batch.cluster, batch.node, batch.lane) == ("c1", "gpu-a01", "samples")
    rows = batch.families[Family.CARD]
    assert (rows.subject, rows.time) == (["GPU-1"], [float(NOW)])
    assert rows.columns == {
        "utilization_ratio": [0.75],
        "encoder_ratio": [0.25],
        "memory_used_bytes": [5_000_000_000],
        "power_watts": [310.5],
        "ecc_corrected": [3],
    }
    assert [f.attributes for f in batch.facts] == [{"vendor": "nvidia", "model": "H20"}]
    assert front.journalled()[0].skew_seconds is None


def test_every_metric_of_the_catalogue_finds_its_way_back() -> None:
    """Whatever name and attributes the catalogue gives out, it takes in again as the same key."""
    for family in (Family.CARD, Family.PORT, Family.NODE):
        for key, metric in catalogue.keys(family).items():
            if family is not metric.families[0]:
                continue
            pairs = {k.replace(".", "__"): v for k, v in metric.otel_attributes.items()}
            if family is not Family.NODE:
                pairs["hw__id"] = "subject"
            value: float | int = 0.5 if metric.type is Type.FLOAT else 1
            if metric.kind is Kind.STATE and not metric.words:
                continue  # free text: OpenTelemetry has no place for it
            if metric.kind is Kind.STATE:
                word = metric.words[-1] if key != "health" else "degraded"
                pairs["hw__state" if metric.otel == "hw.status" else "ullage__state"] = word
                value = 1
            made = total if metric.kind is Kind.COUNTER else gauge
            found = convert(
                json.dumps(request(made(metric.otel, point(value, **pairs)))).encode(),
                "application/json",
                "",
                LOCAL,
            )
            assert found.rejected == 0, f"{family} {key} as {metric.otel}"
            [rows] = found.nodes.values()
            [((got_family, subject, _), values)] = rows.values.items()
            assert (got_family, list(values)) == (family, [key])
            assert subject == ("gpu-a01" if family is Family.NODE else "subject")


def test_a_slice_is_told_by_its_parent(front: Front) -> None:
    send(front, request(gauge("hw.gpu.utilization", point(0.5, hw__id="GPU-1/3", hw__parent="GPU-1"))))
    [batch] = stored(front)
    assert batch.families[Family.SLICE].subject == ["GPU-1/3"]
    assert batch.facts[0].attributes == {"card_id": "GPU-1"}


def test_a_state_is_the_word_that_holds_and_bits_add_up(front: Front) -> None:
    words = [
        point(int(word == "degraded"), hw__id="GPU-1", hw__type="gpu", hw__state=word)
        for word in ("ok", "degraded", "failed")
    ]
    metric = catalogue.metric(Family.CARD, "throttle_reasons")
    bits = [
        point(int(word in ("idle", "sync_boost")), hw__id="GPU-1", ullage__state=word)
        for word in metric.words
    ]
    got = send(front, request(gauge("hw.status", *words), gauge(metric.otel, *bits)))
    assert got.json == {}
    assert stored(front)[0].families[Family.CARD].columns == {
        "health": ["degraded"],
        "throttle_reasons": [catalogue.bits_of(metric.words, ["idle", "sync_boost"])],
    }


def test_what_maps_to_nothing_is_rejected_counted_and_the_rest_taken(front: Front) -> None:
    got = send(
        front,
        request(
            gauge("hw.power", point(300.0, hw__id="GPU-1", hw__type="gpu")),
            gauge("http.server.active_requests", point(1, a="b")),
            gauge("hw.power", point(300.0, hw__type="gpu")),  # whose?
            gauge("hw.power", point(300.0, hw__id="GPU\u202e", hw__type="gpu")),
            gauge("hw.power", point(300.0, 0, hw__id="GPU-1", hw__type="gpu")),  # when?
            gauge("hw.power", point(300.0, hw__id="PSU-1", hw__type="power_supply")),
            total("hw.energy", point(5, hw__id="GPU-1", hw__type="gpu"), temporality=1),  # an increment
            {"name": "x", "histogram": {"aggregationTemporality": 2, "dataPoints": [{"count": "1"}]}},
        ),
    )
    partial = got.json["partialSuccess"]
    assert partial["rejectedDataPoints"] == "7"
    assert "http.server.active_requests" in partial["errorMessage"]
    assert stored(front)[0].families[Family.CARD].columns == {"power_watts": [300.0]}
    assert (front.health.otlp_points, front.health.otlp_unmapped) == (1, 7)


def test_a_request_sent_again_is_stored_once(front: Front) -> None:
    for _ in range(3):
        assert send(front, EXAMPLE).status == 200
    assert len(stored(front)) == 1


def test_each_node_of_a_gateway_gets_its_own_stream(front: Front) -> None:
    document = {
        "resourceMetrics": [
            resource
            for node in ("a", "b", "a")
            for resource in request(
                gauge("hw.power", point(1.0, hw__id=f"GPU-{node}", hw__type="gpu")), host__name=node
            )["resourceMetrics"]
        ]
    }
    assert send(front, document).status == 200
    assert sorted((r.cluster, r.node, r.sequence) for r in front.journalled()) == [
        ("default", "a", 1),
        ("default", "b", 1),
    ]
    assert len({r.stream for r in front.journalled()}) == 2


def test_simulated_rows_stay_simulated(front: Front) -> None:
    send(
        front, request(gauge("hw.power", point(1.0, hw__id="G", hw__type="gpu", ullage__origin="simulated")))
    )
    assert stored(front)[0].origin is Origin.SIMULATED


def test_a_node_speaks_for_itself_alone(tmp_path: Path) -> None:
    with Front(tmp_path, tokens=True) as front:
        bearer = {"Authorization": f"Bearer {front.token['gpu-a01']}"}
        assert send(front, EXAMPLE).status == 401
        assert send(front, EXAMPLE, Authorization=f"Bearer {front.token['viewer']}").status == 403
        other = request(gauge("hw.power", point(1.0, hw__id="G", hw__type="gpu")), host__name="gpu-a02")
        assert send(front, other, **bearer).status == 403
        assert front.journalled() == []
        nameless = request(gauge("hw.power", point(1.0, hw__id="G", hw__type="gpu")), service__name="x")
        assert send(front, nameless, **bearer).status == 200  # the token says who it is
        assert front.journalled()[0].node == "gpu-a01"


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", {"Content-Type": "application/json"}, 400),
        (b'{"resourceMetrics": 5}', {"Content-Type": "application/json"}, 400),
        (b"[1]", {"Content-Type": "application/json"}, 400),
        (b'{"resourceMetrics":[' * 30_000, {"Content-Type": "application/json"}, 400),
        (b"\xff\xff\xff", {"Content-Type": PROTOBUF}, 400),
        (b"not gzip", {"Content-Type": PROTOBUF, "Content-Encoding": "gzip"}, 400),
        (
            gzip.compress(bytes(wire.MAX_JSON_BYTES + 1)),
            {"Content-Type": PROTOBUF, "Content-Encoding": "gzip"},
            400,
        ),
        (b"{}", {"Content-Type": "application/json", "Content-Encoding": "br"}, 400),
        (b"{}", {"Content-Type": "text/plain"}, 415),
        (bytes(wire.MAX_BODY_BYTES + 1), {"Content-Type": PROTOBUF}, 413),
    ],
    ids=[
        "half JSON",
        "a number",
        "a list",
        "deep",
        "no protobuf",
        "no gzip",
        "a bomb",
        "brotli",
        "text",
        "too large",
    ],
)
def test_what_is_no_otlp_is_refused(front: Front, body: bytes, headers: dict[str, str], status: int) -> None:
    got = front.request("POST", "/v1/metrics", body, headers)
    assert got.status == status
    assert got.json["schema_version"] == 1
    assert front.journalled() == []


def test_back_pressure_holds_for_otlp_too(front: Front) -> None:
    front.pressure.pending = 1001
    got = send(front, EXAMPLE)
    assert (got.status, got.headers["retry-after"]) == (429, "10")


def test_a_resource_without_a_name_is_refused_when_the_sender_has_none_either() -> None:
    with pytest.raises(BadInput, match="names no node"):
        convert(json.dumps(request(service__name="x")).encode(), "application/json", "", LOCAL)
    assert LOCAL.role is Role.ADMIN
