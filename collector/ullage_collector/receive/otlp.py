"""``POST /v1/metrics``: OTLP/HTTP metrics, protobuf or JSON, into the same journal as everybody's batches.

Names go back to catalogue keys by the catalogue's own ``otel`` column; a point that maps to none is
rejected and counted (``partial_success``), never an error. Which row a point belongs to:

* node: resource ``ullage.node``, ``k8s.node.name`` or ``host.name``; cluster: ``ullage.cluster`` or
  ``k8s.cluster.name``, else the token's, else ``default``;
* subject: point (or resource) attribute ``hw.id``, for metrics of a node the node itself; a point with
  ``hw.parent`` is of a slice of that card. ``hw.vendor``, ``hw.model``, ``hw.serial_number`` become facts.

Requests and tokens of serving systems (serving/systems.toml) are of a workload: the resource's or point's
``k8s.namespace.name`` and ``k8s.pod.name``, else ``namespace`` and ``pod``, else ``slurm.job.id``; the process is
``service.instance.id`` or ``instance``. A node speaks for the workloads on it alone.

OTLP has no sequence numbers, so a re-sent body is known by its digest alone (the last 64 of a sender).
Counters' start times are not believed to be the hardware's: a reset shows as a smaller value.
Decoding takes tens of times the processor time of our own push: this door is for what cannot push.
"""

from __future__ import annotations

import asyncio
import zlib
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

import ullage_contract
from ullage_collector.health import Health
from ullage_collector.journal import Record
from ullage_collector.receive.commit import Committer
from ullage_collector.receive.identity import Identity, Role
from ullage_collector.receive.notices import stream_id
from ullage_collector.receive.push import Pressure
from ullage_collector.receive.reply import SCHEMA_VERSION
from ullage_collector.receive.served import Named, ServedPoints, systems_of
from ullage_collector.receive.streams import digest
from ullage_contract import catalogue, wire
from ullage_contract.catalogue import Kind, Metric, Type
from ullage_contract.clock import Clock
from ullage_contract.errors import BadInput, DiskFull, StoreError
from ullage_contract.identity import check_id
from ullage_contract.sample import Facts, Family, Origin, Sample, Value

MAX_POINTS: Final = 200_000  # our choice: because a gateway's minute of a thousand nodes stays below
REMEMBERED_BODIES: Final = 64
DEFAULT_INTERVAL_SECONDS: Final = 60.0  # the OpenTelemetry SDK's default export interval
_STATUS_WORDS: Final = {"ok": "ok", "degraded": "degraded", "failed": "critical", "lost": "lost"}
_DELTA: Final = 1  # AGGREGATION_TEMPORALITY_DELTA, opentelemetry/proto/metrics/v1/metrics.proto


class Refused(Exception):
    """The whole request is answered with this status."""

    def __init__(self, status: int, word: str, message: str, retry_after_seconds: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.word = word
        self.message = message
        self.retry_after_seconds = retry_after_seconds


@dataclass(slots=True)
class Converted:
    """A request as batches' rows by (cluster, node); points: how many there were; rejected: how many map to nothing."""

    nodes: dict[tuple[str, str], _NodeRows] = field(default_factory=dict)
    points: int = 0
    rejected: int = 0
    unmapped: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _NodeRows:
    origin: Origin = Origin.REAL
    served: ServedPoints = field(default_factory=ServedPoints)
    values: dict[tuple[Family, str, float], dict[str, Value]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    facts: dict[tuple[Family, str], dict[str, Any]] = field(default_factory=lambda: defaultdict(dict))


@dataclass(slots=True)
class _Sender:
    bodies: OrderedDict[int, None] = field(default_factory=OrderedDict)
    newest: float = 0.0
    sequence: int = 0


class Otlp:
    """The route. One instance; the conversion runs in a thread, everything else in the loop."""

    def __init__(
        self,
        *,
        samples: Committer,
        pressure: Pressure,
        max_pending_bytes: int,
        health: Health,
        clock: Clock,
        nonce: str,
    ) -> None:
        self._samples = samples
        self._pressure = pressure
        self._max_pending_bytes = max_pending_bytes
        self._health = health
        self._clock = clock
        self._nonce = nonce
        self._senders: dict[tuple[str, str], _Sender] = {}
        self._busy = asyncio.Semaphore(2)  # our choice: two bodies are unpacked at once, for memory's sake

    async def endpoint(self, request: Request) -> Response:
        """The Starlette endpoint of ``POST /v1/metrics``."""
        media = request.headers.get("content-type", "").split(";")[0].strip().lower()
        try:
            converted = await self._receive(request, media)
        except Refused as e:
            headers = {}
            if e.retry_after_seconds is not None:
                headers["Retry-After"] = str(e.retry_after_seconds)
            if e.status == 401:
                headers["WWW-Authenticate"] = 'Bearer realm="ullage"'
            content = {"schema_version": SCHEMA_VERSION, "error": e.word, "message": e.message}
            return JSONResponse(content, e.status, headers)
        return _answer(converted, media)

    async def _receive(self, request: Request, media: str) -> Converted:
        identity: Identity | None = request.scope["state"]["identity"]
        if identity is None:
            raise Refused(401, "unauthenticated", "send Authorization: Bearer TOKEN or a client certificate")
        if not identity.allows(Role.NODE):
            raise Refused(
                403, "forbidden", f"{identity.name} has the role {identity.role}, which sends nothing"
            )
        if media not in ("application/x-protobuf", "application/json"):
            raise Refused(415, "unsupported_media_type", "send application/x-protobuf or application/json")
        if self._pressure.pending_bytes("samples") > self._max_pending_bytes:
            raise Refused(429, "busy", "the store is behind", 10)
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > wire.MAX_BODY_BYTES:
                raise Refused(413, "too_large", f"the body has more than {wire.MAX_BODY_BYTES} bytes")
        encoding = request.headers.get("content-encoding", "identity").strip().lower()
        async with self._busy:
            try:
                converted = await asyncio.to_thread(convert, bytes(body), media, encoding, identity)
            except BadInput as e:
                raise Refused(400, "malformed", str(e)) from e
        for cluster, node in converted.nodes:
            if not identity.speaks_for(cluster, node):
                message = f"{identity.name} does not speak for node {node} of cluster {cluster}"
                raise Refused(403, "forbidden", message)
        await self._journal(converted, digest(bytes(body)), identity)
        self._health.otlp_points += converted.points - converted.rejected
        self._health.otlp_unmapped += converted.rejected
        return converted

    async def _journal(self, converted: Converted, body_digest: int, identity: Identity) -> None:
        now = self._clock.wall()
        waiting: list[asyncio.Future[None]] = []
        senders: list[_Sender] = []
        for (cluster, node), rows in converted.nodes.items():
            sender = self._senders.setdefault((cluster, node), _Sender())
            if body_digest in sender.bodies:
                continue
            senders.append(sender)
            sender.sequence += 1
            stream = stream_id("otlp", self._nonce, cluster, node)
            batch = _batch(rows, stream, sender, cluster, node, now)
            record = Record(
                stream=stream,
                sequence=sender.sequence,
                lane="samples",
                cluster=cluster,
                node=node,
                identity=identity.name,
                received_at_us=int(now * 1e6),
                skew_seconds=None,
                body=wire.encode(batch),
            )
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            waiting.append(future)
            self._samples.submit(record, _resolver(future))
            self._health.accepted("samples", len(record.body), len(batch.samples) + len(batch.served), now)
        for failure in await asyncio.gather(*waiting, return_exceptions=True):
            if isinstance(failure, DiskFull):
                raise Refused(507, "disk_full", "the collector's disk is full")
            if isinstance(failure, BaseException):
                raise Refused(503, "busy", "the batch could not be written", 5)
        for sender in senders:
            sender.bodies[body_digest] = None
            while len(sender.bodies) > REMEMBERED_BODIES:
                sender.bodies.popitem(last=False)


def _resolver(future: asyncio.Future[None]) -> Any:
    def done(failure: StoreError | None) -> None:
        if future.cancelled():
            return
        if failure is not None:
            future.set_exception(failure)
        else:
            future.set_result(None)

    return done


def _batch(rows: _NodeRows, stream: str, sender: _Sender, cluster: str, node: str, now: float) -> wire.Batch:
    served = rows.served.readings()
    times = [*(time for _, _, time in rows.values), *(reading.time for reading in served)]
    newest = max(times, default=now)
    gap = newest - sender.newest
    interval = gap if 1.0 <= gap <= 300.0 else DEFAULT_INTERVAL_SECONDS
    sender.newest = max(sender.newest, newest)
    return wire.Batch(
        stream=stream,
        sequence=sender.sequence,
        lane="samples",
        agent=f"otlp {ullage_contract.__version__}",
        cluster=cluster,
        node=node,
        machine_id=None,
        boot_id=None,
        origin=rows.origin,
        samples=[
            Sample(family, subject, time, time, interval, values)
            for (family, subject, time), values in rows.values.items()
        ],
        facts=[
            Facts(family, subject, newest, attributes) for (family, subject), attributes in rows.facts.items()
        ],
        served=served,
    )


def convert(body: bytes, media: str, encoding: str, identity: Identity) -> Converted:
    """A request's body as rows. Raises BadInput for what is no OTLP, or too much of it."""
    request = _parse(_unpack(body, encoding), media)
    converted = Converted()
    for resource_metrics in request.resource_metrics:
        resource = _attributes(resource_metrics.resource.attributes)
        key = _sender(resource, identity)
        for scope_metrics in resource_metrics.scope_metrics:
            for metric in scope_metrics.metrics:
                served = systems_of(metric.name, resource)
                if served:
                    _served(metric, served, resource, key, converted)
                else:
                    _metric(metric, resource, key, converted)
                if converted.points > MAX_POINTS:
                    raise BadInput(f"more than {MAX_POINTS} points in one request: send smaller ones")
    return converted


def _unpack(body: bytes, encoding: str) -> bytes:
    if encoding in ("", "identity"):
        return body
    if encoding != "gzip":
        raise BadInput(f"Content-Encoding {encoding[:20]!r}: send gzip or none")
    inflater = zlib.decompressobj(wbits=31)
    try:
        text = inflater.decompress(body, wire.MAX_JSON_BYTES)
    except zlib.error as e:
        raise BadInput(f"the body is not gzip: {e}") from e
    if inflater.unconsumed_tail or not inflater.eof:
        raise BadInput("the body's gzip stream is cut off or too large")
    return text


def _parse(body: bytes, media: str) -> Any:
    from google.protobuf.json_format import ParseDict, ParseError
    from google.protobuf.message import DecodeError
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

    request = ExportMetricsServiceRequest()
    if media == "application/x-protobuf":
        try:
            request.ParseFromString(body)
        except DecodeError as e:
            raise BadInput(f"the body is not an OTLP metrics request: {e}") from e
        return request
    try:
        document = msgspec.json.decode(body)
        ParseDict(_without_exemplars(document), request, ignore_unknown_fields=True)
    except (msgspec.MsgspecError, ParseError, ValueError, TypeError, AttributeError, RecursionError) as e:
        raise BadInput(f"the body is not an OTLP metrics request in JSON: {str(e)[:200]}") from e
    return request


def _without_exemplars(value: Any) -> Any:
    """OTLP's JSON writes ids of exemplars as hexadecimal, which protobuf's own JSON does not read."""
    if isinstance(value, dict):
        return {k: _without_exemplars(v) for k, v in value.items() if k != "exemplars"}
    if isinstance(value, list):
        return [_without_exemplars(item) for item in value]
    return value


def _attributes(pairs: Iterable[Any]) -> dict[str, str]:
    return {pair.key: text for pair in pairs if (text := _text(pair.value)) is not None}


def _text(value: Any) -> str | None:
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return str(value.string_value)
    if kind in ("int_value", "double_value", "bool_value"):
        return str(getattr(value, kind))
    return None


def _sender(resource: Mapping[str, str], identity: Identity) -> tuple[str, str]:
    node = resource.get("ullage.node") or resource.get("k8s.node.name") or resource.get("host.name")
    node = node or identity.node
    if node is None:
        raise BadInput("the resource names no node: set k8s.node.name, host.name or ullage.node")
    cluster = resource.get("ullage.cluster") or resource.get("k8s.cluster.name") or identity.cluster
    return check_id("cluster", cluster or "default"), check_id("node", node)


@cache
def _by_otel_name() -> Mapping[str, tuple[Metric, ...]]:
    found: dict[str, list[Metric]] = defaultdict(list)
    for metric in catalogue.METRICS:
        found[metric.otel].append(metric)
    # The most demanding attributes first: hw.gpu.utilization of the encoder before the plain one.
    return {
        name: tuple(sorted(metrics, key=lambda m: -len(m.otel_attributes))) for name, metrics in found.items()
    }


def _served(
    metric: Any,
    names: Sequence[Named],
    resource: Mapping[str, str],
    key: tuple[str, str],
    converted: Converted,
) -> None:
    """Points of a serving system's metric; what names no workload, or is an increment, is rejected."""
    kind = metric.WhichOneof("data")
    points = getattr(metric, kind).data_points if kind is not None else ()
    delta = kind in ("sum", "histogram") and getattr(metric, kind).aggregation_temporality == _DELTA
    for point in points:
        converted.points += 1
        values = {"": _number(point)} if kind in ("gauge", "sum") else {}
        if kind == "histogram":
            values = {"_count": float(point.count), "_sum": point.sum if point.HasField("sum") else None}
        rows = converted.nodes.get(key) or _NodeRows()
        taken = not delta and rows.served.take(
            names, key[0], values, point.time_unix_nano / 1e9, _attributes(point.attributes), resource
        )
        if taken:
            converted.nodes[key] = rows
        else:
            converted.rejected += 1
            if len(converted.unmapped) < 20:
                converted.unmapped.add(metric.name[:100])


def _metric(metric: Any, resource: Mapping[str, str], key: tuple[str, str], converted: Converted) -> None:
    candidates = _by_otel_name().get(metric.name, ())
    for point in _points(metric, converted):
        converted.points += 1
        attributes = _attributes(point.attributes)
        chosen = next(
            (
                m
                for m in candidates
                if all(attributes.get(k, resource.get(k)) == v for k, v in m.otel_attributes.items())
            ),
            None,
        )
        if chosen is None or not _row(chosen, point, attributes, resource, key, converted):
            converted.rejected += 1
            if len(converted.unmapped) < 20:
                converted.unmapped.add(metric.name[:100])


def _points(metric: Any, converted: Converted) -> Iterator[Any]:
    """Levels and running totals. Increments, histograms and summaries have no row here: rejected."""
    kind = metric.WhichOneof("data")
    if kind == "gauge":
        yield from metric.gauge.data_points
    elif kind == "sum" and metric.sum.aggregation_temporality != _DELTA:
        yield from metric.sum.data_points
    elif kind is not None:
        count = len(getattr(metric, kind).data_points)
        converted.points += count
        converted.rejected += count
        converted.unmapped.add(metric.name[:100])


def _row(
    metric: Metric,
    point: Any,
    attributes: Mapping[str, str],
    resource: Mapping[str, str],
    key: tuple[str, str],
    converted: Converted,
) -> bool:
    """Put one point into its row; False when it says nothing we can keep."""
    parent = attributes.get("hw.parent")
    family = metric.families[0]
    if Family.SLICE in metric.families and parent:
        family = Family.SLICE
    subject = key[1] if family is Family.NODE else attributes.get("hw.id") or resource.get("hw.id")
    time = point.time_unix_nano / 1e9
    number = _number(point)
    if subject is None or number is None or not 0 < time < 1e11:
        return False
    try:
        check_id("subject", subject)
    except BadInput:
        return False
    rows = converted.nodes.setdefault(key, _NodeRows())
    if attributes.get("ullage.origin", resource.get("ullage.origin")) == Origin.SIMULATED.value:
        rows.origin = Origin.SIMULATED
    values = rows.values[family, subject, round(time, 6)]
    if metric.kind is Kind.STATE:
        if not _state(metric, number, attributes, values):
            return False
    elif metric.type is Type.INTEGER:
        values[metric.key] = int(number)
    else:
        values[metric.key] = float(number)
    if family in (Family.CARD, Family.SLICE):
        facts = rows.facts[family, subject]
        for name, source in (("vendor", "hw.vendor"), ("model", "hw.model"), ("serial", "hw.serial_number")):
            if text := attributes.get(source) or resource.get(source):
                facts[name] = (text.lower() if name == "vendor" else text)[:200]
        if parent:
            facts["card_id"] = parent[:200]
    return True


def _number(point: Any) -> int | float | None:
    """The point's value; None when it has none that a column could hold."""
    kind = point.WhichOneof("value")
    if kind is None:
        return None
    number: int | float = point.as_int if kind == "as_int" else point.as_double
    return number if -(2.0**63) <= number < 2.0**64 else None


def _state(
    metric: Metric, number: int | float, attributes: Mapping[str, str], values: dict[str, Value]
) -> bool:
    """A state is a point a word (or bit) that is 1 while it holds and 0 else; False for a word not ours."""
    word = attributes.get("hw.state") or attributes.get("ullage.state") or ""
    if metric.key == "health":
        word = _STATUS_WORDS.get(word, word)
    if not word or (metric.words and word not in metric.words):
        return False  # a state without listed words carries the maker's own
    if metric.type is Type.TEXT:
        if number:
            values[metric.key] = word
        return True
    before = values.get(metric.key, 0)
    bit = 1 << metric.words.index(word) if number else 0
    values[metric.key] = (before if isinstance(before, int) else 0) | bit
    return True


def _answer(converted: Converted, media: str) -> Response:
    message = ""
    if converted.rejected:
        message = "not in the catalogue, or no level and no running total: " + ", ".join(
            sorted(converted.unmapped)
        )
    if media == "application/json":
        partial: dict[str, Any] = {}
        if converted.rejected:
            partial = {
                "partialSuccess": {
                    "rejectedDataPoints": str(converted.rejected),
                    "errorMessage": message[:1000],
                }
            }
        return JSONResponse(partial)
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse

    response = ExportMetricsServiceResponse()
    if converted.rejected:
        response.partial_success.rejected_data_points = converted.rejected
        response.partial_success.error_message = message[:1000]
    return Response(response.SerializeToString(), media_type="application/x-protobuf")
