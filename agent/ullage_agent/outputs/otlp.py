"""What is known now as OpenTelemetry metrics over OTLP/HTTP: one batch an interval, made from the picture.

Built from the protocol's own messages (opentelemetry-proto) and sent over our own connection: the SDK and its
exporter are made for instruments that a program sets one by one; they would cost this agent 9 MiB and
three times the processor time (docs/decisions/0002-exposition-by-hand.md). Imported only when configured.

Names and attributes are the semantic convention's where it has them (catalogue.SEMCONV_SCHEMA_URL). What is
unsupported, failed or stale has no point. A batch that cannot be sent is not kept: the next one says
more, and history goes the other way (push.py).
"""

from __future__ import annotations

import gzip
import logging
import math
import random
import threading
from collections.abc import Mapping, Sequence
from typing import Final

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, NumberDataPoint
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric as Message

from ullage_agent.outputs.latest import Latest, Row, text_of, words_of
from ullage_agent.outputs.transport import IdleClosed, Transport
from ullage_contract import __version__, catalogue
from ullage_contract.catalogue import SEMCONV_SCHEMA_URL, Kind, Metric
from ullage_contract.clock import Clock
from ullage_contract.sample import Family, Origin, Value

log = logging.getLogger(__name__)

UP_DOWN: Final = frozenset(
    {"hw.gpu.memory.usage", "hw.gpu.memory.limit", "hw.status", "system.memory.limit"}
    | {"system.linux.memory.available"}
)
"""Instruments the convention makes UpDownCounters: sums that may fall. Everything else that is no counter is a gauge."""

HW_STATES: Final[Mapping[str, str]] = {
    "ok": "ok",
    "degraded": "degraded",
    "critical": "failed",
    "lost": "lost",
}
"""``health`` as hw.state: the convention's words, and a custom one for a card that does not answer at all."""

STATE_ATTRIBUTE: Final = "ullage.state"
"""Which word or bit of a state a point is about; its value is 1 or 0."""

_HW_TYPES: Final = {Family.CARD: "gpu", Family.SLICE: "gpu", Family.PORT: "network"}
_FAMILIES: Final = (Family.CARD, Family.SLICE, Family.PORT, Family.NODE)
_RETRY: Final = frozenset({429, 502, 503, 504})


def request(
    rows: Sequence[Row], *, cluster: str, node: str, machine_id: str | None = None
) -> ExportMetricsServiceRequest:
    """One export request: one resource (the node), one scope, a metric a name with a point a subject."""
    made = ExportMetricsServiceRequest()
    resource = made.resource_metrics.add()
    identity = {
        "service.name": "ullage-agent",
        "service.version": __version__,
        "service.instance.id": node,
        "host.name": node,
        "host.id": machine_id,
        "ullage.cluster": cluster,
    }
    resource.resource.attributes.extend(_pairs({k: v for k, v in identity.items() if v}))
    resource.schema_url = SEMCONV_SCHEMA_URL
    scope = resource.scope_metrics.add()
    scope.scope.name = "ullage"
    scope.scope.version = __version__
    scope.schema_url = SEMCONV_SCHEMA_URL
    messages: dict[str, Message] = {}
    for family in _FAMILIES:
        some = [row for row in rows if row.family is family]
        if not some:
            continue
        subjects = [_pairs(_identity(row)) for row in some]
        for metric in catalogue.keys(family).values():
            fixed: list[KeyValue] | None = None
            for row, subject in zip(some, subjects, strict=True):
                value = row.values.get(metric.key)
                if value is None or not _says_something(metric, value):
                    continue
                if fixed is None:
                    fixed = _pairs(_fixed(metric, family))
                message = messages.get(metric.otel)
                if message is None:
                    message = messages[metric.otel] = scope.metrics.add()
                    message.name, message.unit = metric.otel, metric.unit
                _points(message, metric, row, value, [*subject, *fixed])
    return made


class OtlpExporter:
    """Sends ``latest`` every ``interval_seconds``. ``export`` does the work; ``start`` runs it in a thread.

    exported, failures: requests taken and not taken; rejected: points the receiver would not have.
    """

    def __init__(
        self,
        latest: Latest,
        transport: Transport,
        *,
        clock: Clock,
        cluster: str,
        node: str,
        machine_id: str | None = None,
        interval_seconds: float = 60.0,
    ) -> None:
        self._latest = latest
        self._transport = transport
        self._clock = clock
        self._cluster = cluster
        self._node = node
        self._machine_id = machine_id
        self._interval = interval_seconds
        self._trouble: str | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.exported = 0
        self.failures = 0
        self.rejected = 0

    def export(self) -> float:
        """Send once, if anything is known. Seconds until the next time."""
        rows = self._latest.rows()
        if not rows:
            return self._interval
        message = request(rows, cluster=self._cluster, node=self._node, machine_id=self._machine_id)
        body = gzip.compress(message.SerializeToString(), compresslevel=6, mtime=0)
        headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"}
        try:
            try:
                response = self._transport.post(body, headers)
            except IdleClosed:
                response = self._transport.post(body, headers)
        except OSError as e:
            return self._failed(f"unreachable: {e}")
        if 200 <= response.status < 300:
            self._succeeded(response.body)
            return self._interval
        told = response.headers.get("retry-after", "")
        wait = float(told) if response.status in _RETRY and told.isdecimal() else 0.0
        return max(self._failed(f"status {response.status}"), min(wait, 3_600.0))

    def start(self) -> None:
        """Export in a daemon thread, the first time at a random moment of the interval."""
        self._thread = threading.Thread(target=self._run, name="otlp", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop. Never raises."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(2.0)
            if self._thread.is_alive():
                return
        self._transport.close()

    def _run(self) -> None:
        delay = self._interval * random.random()
        while not self._stop.wait(delay):
            try:
                delay = self.export()
            except Exception:  # one bad part never stops the rest
                log.exception("OTLP: an export failed")
                delay = self._interval

    def _succeeded(self, body: bytes) -> None:
        self.exported += 1
        if self._trouble is not None:
            log.info("OTLP: the receiver takes metrics again")
            self._trouble = None
        try:
            partial = ExportMetricsServiceResponse.FromString(body).partial_success
        except Exception:  # protobuf's DecodeError; a 200 with another body is still a 200
            return
        if partial.rejected_data_points:
            if not self.rejected:
                log.warning(
                    "OTLP: the receiver rejects points: %s (%s)",
                    partial.error_message[:200],
                    partial.rejected_data_points,
                )
            self.rejected += partial.rejected_data_points

    def _failed(self, trouble: str) -> float:
        self.failures += 1
        if trouble != self._trouble:
            log.warning("OTLP: %s", trouble[:300])
            self._trouble = trouble
        return self._interval


def _identity(row: Row) -> dict[str, str]:
    """Who a point is about, by the convention's hw attributes."""
    if row.family is Family.NODE:
        attributes: dict[str, str] = {}
    else:
        attributes = {"hw.id": row.subject}
        known = {
            "hw.vendor": text_of(row.attributes, "vendor"),
            "hw.model": text_of(row.attributes, "model") or text_of(row.attributes, "hca_type"),
            "hw.parent": text_of(row.attributes, "card_id"),
        }
        attributes.update({name: text for name, text in known.items() if text})
    if row.origin is Origin.SIMULATED:
        attributes["ullage.origin"] = row.origin.value
    return attributes


def _fixed(metric: Metric, family: Family) -> dict[str, str]:
    """What every point of this metric says, by catalogue and convention."""
    attributes = dict(metric.otel_attributes)
    if metric.otel.startswith("hw.") and family in _HW_TYPES:
        attributes.setdefault("hw.type", _HW_TYPES[family])
    return attributes


def _says_something(metric: Metric, value: Value) -> bool:
    """Whether there is a point in it: a state's word or bits, or a finite number."""
    if metric.kind is Kind.STATE:
        return words_of(metric, value) is not None
    return not isinstance(value, str) and math.isfinite(value)


def _points(message: Message, metric: Metric, row: Row, value: Value, attributes: list[KeyValue]) -> None:
    if metric.kind is Kind.STATE:
        name = "hw.state" if metric.otel == "hw.status" else STATE_ATTRIBUTE
        for word, holds in (words_of(metric, value) or {}).items():
            point = _point(message, metric, row)
            point.as_int = int(holds)
            shown = HW_STATES.get(word, word) if name == "hw.state" else word
            point.attributes.extend([*attributes, *_pairs({name: shown})])
        return
    point = _point(message, metric, row)
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        point.as_int = value
    else:
        point.as_double = float(value)
    point.attributes.extend(attributes)


def _point(message: Message, metric: Metric, row: Row) -> NumberDataPoint:
    if metric.kind is Kind.COUNTER or metric.otel in UP_DOWN:
        message.sum.aggregation_temporality = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
        message.sum.is_monotonic = metric.kind is Kind.COUNTER
        point: NumberDataPoint = message.sum.data_points.add()
        point.start_time_unix_nano = _nanoseconds(row.counters_since)
    else:
        point = message.gauge.data_points.add()
    point.time_unix_nano = _nanoseconds(row.time)
    return point


def _pairs(attributes: Mapping[str, str]) -> list[KeyValue]:
    return [
        KeyValue(key=key, value=AnyValue(string_value=text.encode("utf-8", "replace").decode()))
        for key, text in attributes.items()
    ]


def _nanoseconds(seconds: float) -> int:
    return max(0, round(seconds * 1e6)) * 1000
