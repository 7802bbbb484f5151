"""The wire: gzip-ed columnar JSON, one batch a body. Made and read here by the standard library.

A batch belongs to a *stream* (a random id minted with a spool directory) and has a sequence number
in it, counted from 1 without reuse. A stream carries one lane: samples or events. Times are seconds
since the epoch with microseconds; a missing value is null; failed readings are sparse.

    {"schema_version": 1, "stream": "9f..", "sequence": 17, "lane": "samples",
     "agent": "0.1.0", "cluster": "c1", "node": "gpu-a017", "machine_id": "..", "boot_id": "..",
     "origin": "real",
     "families": {"card": {"subject": [..], "time": [..], "monotonic": [..], "interval_seconds": [..],
                           "counters_epoch": [..], "columns": {"power_watts": [..]},
                           "failed": [[row, "power_watts", "deadline"]]}},
     "facts": [{"family": "card", "subject": "GPU-..", "time": .., "attributes": {..}}],
     "events": [{"time": .., "kind": "xid", ...}],
     "served": [[workload, target, system, series, kind, time, value]]}

``encode`` is deterministic: the same batch gives the same bytes, so that a re-send is the same body.
The collector may read bodies with a faster JSON library; ``batch_from_json`` then checks the shape.
"""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ullage_contract import catalogue
from ullage_contract.asked import AskedProbe, asked_to_json
from ullage_contract.errors import REASONS, SchemaTooNew, UnknownMetric, WireError
from ullage_contract.event import KINDS, Event, Severity
from ullage_contract.identity import check_id
from ullage_contract.sample import FACT_NAMES, Facts, Family, Origin, Sample, Value
from ullage_contract.served import KINDS as SERVED_KINDS
from ullage_contract.served import Served

SCHEMA_VERSION: Final = 1
"""Decides compatibility: a collector accepts N and N-1."""

CONTENT_TYPE: Final = "application/vnd.ullage.batch+json"
PUSH_PATH: Final = "/v1/push"
SENT_AT_HEADER: Final = "Ullage-Sent-At"
"""Sender's clock when it sends, seconds since the epoch: the collector judges clock skew by it, not by rows."""

LANES: Final = ("samples", "events")
MAX_BODY_BYTES: Final = 4 * 1024 * 1024  # our choice: because 60 rows a minute of 64 cards stay under 1 MiB
MAX_JSON_BYTES: Final = 64 * 1024 * 1024  # our choice: because gzip bombs must end somewhere; 16 x the body
MAX_ROWS: Final = 50_000  # our choice: because a batch is one node's minutes, not its history


@dataclass(frozen=True, slots=True)
class Batch:
    """What travels in one body. ``sequence`` counts from 1 within ``stream``; ``lane`` is samples or events."""

    stream: str
    sequence: int
    lane: str
    agent: str
    cluster: str
    node: str
    machine_id: str | None
    boot_id: str | None
    origin: Origin
    samples: Sequence[Sample] = ()
    facts: Sequence[Facts] = ()
    events: Sequence[Event] = ()
    served: Sequence[Served] = ()


@dataclass(frozen=True, slots=True)
class FamilyColumns:
    """One family's rows as columns, as they travel: every list has one entry a row."""

    subject: list[str]
    time: list[float]
    monotonic: list[float]
    interval_seconds: list[float]
    counters_epoch: list[str | None]
    columns: dict[str, list[Value | None]]
    failed: list[tuple[int, str, str]]


@dataclass(frozen=True, slots=True)
class ColumnarBatch:
    """A batch as the collector reads it: columns stay columns, nothing is made a row object."""

    stream: str
    sequence: int
    lane: str
    agent: str
    cluster: str
    node: str
    machine_id: str | None
    boot_id: str | None
    origin: Origin
    schema_version: int
    families: dict[Family, FamilyColumns]
    facts: list[Facts]
    events: list[Event]
    served: list[Served] = field(default_factory=list)
    unknown_metrics: list[str] = field(default_factory=list)
    """Keys of a newer agent's catalogue that this side does not know: kept apart, never an error."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The collector's answer to a push.

    accepted_through: highest sequence of the stream it has taken; durable_through: highest it will
    never lose. The agent deletes only up to durable_through.
    clock_skew_seconds: the sender's clock minus the collector's; None when the sender did not say its time.
    asked: probes asked of the node that pushed (asked.py); the field travels only when there are any.
    """

    stream: str
    accepted_through: int
    durable_through: int
    duplicate: bool = False
    clock_skew_seconds: float | None = None
    asked: Sequence[AskedProbe] = ()

    def to_json(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "stream": self.stream,
            "accepted_through": self.accepted_through,
            "durable_through": self.durable_through,
            "duplicate": self.duplicate,
            "clock_skew_seconds": self.clock_skew_seconds,
        }
        if self.asked:
            document["asked"] = asked_to_json(self.asked)
        return document


def encode(batch: Batch) -> bytes:
    """The body of one push: gzip level 6 without a time stamp, keys in a fixed order.

    What it gives, ``decode`` takes: the document is checked by the same code. NaN, infinity and numbers
    beyond 64 bits are no readings and become missing; half a surrogate in a text becomes ``?``.
    Raises WireError when the batch breaks the contract (a bug on this side), UnknownMetric for a key
    outside the catalogue.
    """
    document = _to_json(batch)
    batch_from_json(document)
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    body = gzip.compress(text.encode("utf-8", "replace"), compresslevel=6, mtime=0)
    if len(body) > MAX_BODY_BYTES:
        raise WireError(
            f"the body has {len(body)} bytes, at most {MAX_BODY_BYTES} are read", code="too_large"
        )
    return body


def decode(body: bytes) -> ColumnarBatch:
    """The batch in a body made by ``encode``, checked. Raises WireError; never anything else."""
    try:
        document = _document(gunzip(body))
    except (ValueError, RecursionError, UnicodeDecodeError) as e:
        raise WireError(f"the body is not JSON: {str(e)[:120]}") from e
    return batch_from_json(document)


def _document(text: bytes) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError:
        raise
    except ValueError:
        # Python makes no integer of more than 4300 digits (sys.int_info). One in a place that is read is refused
        # there like any other number too great; one in a place nobody reads spoils nothing.
        return json.loads(text, parse_constant=_no_constant, parse_int=_bounded)


def _bounded(digits: str) -> int | float:
    return int(digits) if len(digits) < 400 else float(digits)


def gunzip(body: bytes) -> bytes:
    """The body's JSON bytes, at most MAX_JSON_BYTES of them. Raises WireError."""
    if len(body) > MAX_BODY_BYTES:
        raise WireError(
            f"the body has {len(body)} bytes, at most {MAX_BODY_BYTES} are read", code="too_large"
        )
    inflater = zlib.decompressobj(wbits=31)
    try:
        text = inflater.decompress(body, MAX_JSON_BYTES)
    except zlib.error as e:
        raise WireError(f"the body is not gzip: {e}") from e
    if inflater.unconsumed_tail:
        raise WireError(f"the body unpacks to more than {MAX_JSON_BYTES} bytes", code="too_large")
    if not inflater.eof:
        raise WireError("the body's gzip stream is cut off")
    if inflater.unused_data:
        raise WireError("the body goes on after its gzip stream")
    return text


def batch_from_json(document: Any) -> ColumnarBatch:
    """The checked batch from parsed JSON, whichever library parsed it. Raises WireError naming the place."""
    top = _object(document, "the body")
    version = top.get("schema_version")
    if not isinstance(version, int) or isinstance(version, bool):
        raise WireError("schema_version is missing or not a whole number")
    if version > SCHEMA_VERSION or version < max(1, SCHEMA_VERSION - 1):
        raise SchemaTooNew(
            f"schema_version {version} is not read here: this side reads "
            f"{max(1, SCHEMA_VERSION - 1)} to {SCHEMA_VERSION}; update the older side"
        )
    lane = _text(top, "lane")
    if lane not in LANES:
        raise WireError(f"lane {lane[:20]!r} is none of {', '.join(LANES)}")
    sequence = top.get("sequence")
    if not isinstance(sequence, int) or isinstance(sequence, bool) or not 1 <= sequence < 2**53:
        raise WireError("sequence is not a whole number from 1")
    stream = _text(top, "stream")
    if not 16 <= len(stream) <= 64 or not stream.isalnum() or not stream.isascii():
        raise WireError("stream is not 16 to 64 letters and digits")
    try:
        origin = Origin(_text(top, "origin"))
    except ValueError as e:
        raise WireError(f"origin {str(top.get('origin'))[:20]!r} is none of {', '.join(Origin)}") from e
    unknown: set[str] = set()
    families: dict[Family, FamilyColumns] = {}
    rows = 0
    for name, content in _object(top.get("families", {}), "families").items():
        try:
            family = Family(name)
        except ValueError as e:
            raise WireError(f"family {str(name)[:20]!r} is none of {', '.join(Family)}") from e
        families[family] = _family(family, _object(content, f"families.{name}"), unknown)
        rows += len(families[family].subject)
    served = [_served(row, i) for i, row in enumerate(_array(top.get("served", []), "served"))]
    rows += len(served)
    if rows > MAX_ROWS:
        raise WireError(f"the batch has {rows} rows, at most {MAX_ROWS} are read", code="too_large")
    return ColumnarBatch(
        stream=stream,
        sequence=sequence,
        lane=lane,
        agent=_text(top, "agent"),
        cluster=_key(top, "cluster"),
        node=_key(top, "node"),
        machine_id=_optional_text(top, "machine_id"),
        boot_id=_optional_text(top, "boot_id"),
        origin=origin,
        schema_version=version,
        families=families,
        facts=[_facts(f, i) for i, f in enumerate(_array(top.get("facts", []), "facts"))],
        events=[_event(e, i) for i, e in enumerate(_array(top.get("events", []), "events"))],
        served=served,
        unknown_metrics=sorted(unknown),
    )


def _to_json(batch: Batch) -> dict[str, Any]:
    if batch.lane not in LANES:
        raise WireError(f"BUG: lane {batch.lane!r}")
    if batch.events and batch.lane != "events":
        raise WireError("BUG: events travel in their own lane")
    document = {
        "schema_version": SCHEMA_VERSION,
        "stream": batch.stream,
        "sequence": batch.sequence,
        "lane": batch.lane,
        "agent": batch.agent,
        "cluster": batch.cluster,
        "node": batch.node,
        "machine_id": batch.machine_id,
        "boot_id": batch.boot_id,
        "origin": batch.origin.value,
        "families": _columns(batch.samples),
        "facts": [_facts_json(f) for f in batch.facts],
        "events": [_event_json(e) for e in batch.events],
    }
    if batch.served:
        document["served"] = [
            [s.workload, s.target, s.system, s.series, s.kind, round(s.time, 6), s.value]
            for s in batch.served
        ]
    return document


def _columns(samples: Sequence[Sample]) -> dict[str, Any]:
    by_family: dict[Family, list[Sample]] = {}
    for sample in samples:
        by_family.setdefault(sample.family, []).append(sample)
    result: dict[str, Any] = {}
    for family in Family:
        rows = by_family.get(family)
        if not rows:
            continue
        known = catalogue.keys(family)
        used = {key for row in rows for key in row.values} | {key for row in rows for key in row.failed}
        if stray := used - known.keys():
            raise UnknownMetric(f"not in the catalogue for {family}: {', '.join(sorted(stray))}")
        present = {key for row in rows for key in row.values}
        columns = {
            key: [_clean(metric, row.values.get(key)) for row in rows]
            for key, metric in known.items()
            if key in present
        }
        result[family.value] = {
            "subject": [row.subject for row in rows],
            "time": [round(row.time, 6) for row in rows],
            "monotonic": [round(row.monotonic, 6) for row in rows],
            "interval_seconds": [row.interval_seconds for row in rows],
            "counters_epoch": [row.counters_epoch for row in rows],
            "columns": columns,
            "failed": [[i, key, row.failed[key]] for i, row in enumerate(rows) for key in sorted(row.failed)],
        }
    return result


def _clean(metric: catalogue.Metric, value: Value | None) -> Value | None:
    """The value in its column's type. NaN, infinity and what 64 bits cannot hold are no readings: missing."""
    if value is None:
        return None
    if metric.type is catalogue.Type.TEXT:
        return str(value)[:200]
    if isinstance(value, str):
        raise WireError(f"BUG: {metric.key} is a number, not {value!r}")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if metric.type is catalogue.Type.INTEGER or isinstance(value, int):
        value = int(value)
        if not -(2**63) <= value < 2**64:
            return None
    return value if metric.type is catalogue.Type.INTEGER else round(float(value), 6)


def _facts_json(facts: Facts) -> dict[str, Any]:
    if stray := set(facts.attributes) - FACT_NAMES.keys():
        raise WireError(f"BUG: not in FACT_NAMES: {', '.join(sorted(stray))}")
    return {
        "family": facts.family.value,
        "subject": facts.subject,
        "time": round(facts.time, 6),
        "attributes": {
            k: list(v) if isinstance(v, tuple) else v for k, v in sorted(facts.attributes.items())
        },
    }


def _event_json(event: Event) -> dict[str, Any]:
    if event.kind not in KINDS:
        raise WireError(f"BUG: event kind {event.kind!r} is not in KINDS")
    return {
        "time": round(event.time, 6),
        "kind": event.kind,
        "severity": event.severity.value,
        "family": event.family.value,
        "subject": event.subject,
        "source": event.source,
        "code": event.code,
        "vendor": event.vendor,
        "message": event.message[:500],
        "attributes": dict(sorted(event.attributes.items())),
    }


def _family(family: Family, content: Mapping[str, Any], unknown: set[str]) -> FamilyColumns:
    place = f"families.{family}"
    subject = _array(content.get("subject"), f"{place}.subject")
    rows = len(subject)
    for i, value in enumerate(subject):
        if not isinstance(value, str) or not value or len(value) > 300:
            raise WireError(f"{place}.subject[{i}] is not a key")
    columns: dict[str, list[Value | None]] = {}
    known = catalogue.keys(family)
    for key, values in _object(content.get("columns", {}), f"{place}.columns").items():
        metric = known.get(key)
        if metric is None:
            unknown.add(f"{family}.{str(key)[:60]}")
            continue
        columns[key] = _column(metric, values, rows, f"{place}.columns.{key}")
    failed: list[tuple[int, str, str]] = []
    for i, entry in enumerate(_array(content.get("failed", []), f"{place}.failed")):
        match entry:
            case [int(row), str(key), str(reason)] if (
                row is not True and 0 <= row < rows and reason in REASONS
            ):
                if key in known:
                    failed.append((row, key, reason))
                else:
                    unknown.add(f"{family}.{key[:60]}")
            case _:
                raise WireError(f"{place}.failed[{i}] is not [row, key, reason]")
    return FamilyColumns(
        subject=subject,
        time=_numbers(content, "time", rows, place),
        monotonic=_numbers(content, "monotonic", rows, place),
        interval_seconds=_numbers(content, "interval_seconds", rows, place),
        counters_epoch=_epochs(content, rows, place),
        columns=columns,
        failed=failed,
    )


def _column(metric: catalogue.Metric, values: Any, rows: int, place: str) -> list[Value | None]:
    column = _array(values, place)
    if len(column) != rows:
        raise WireError(f"{place} has {len(column)} values for {rows} rows")
    want: tuple[type, ...] = (
        (str,)
        if metric.type is catalogue.Type.TEXT
        else (int,)
        if metric.type is catalogue.Type.INTEGER
        else (int, float)
    )
    for i, value in enumerate(column):
        if value is not None and (not isinstance(value, want) or isinstance(value, bool)):
            raise WireError(f"{place}[{i}] is {str(value)[:40]!r}, not {metric.type.value}")
        if isinstance(value, int) and not -(2**63) <= value < 2**64:
            raise WireError(f"{place}[{i}] does not fit 64 bits")
        if isinstance(value, float) and not math.isfinite(value):
            raise WireError(f"{place}[{i}] is not a finite number")
        if isinstance(value, str) and len(value) > 200:
            raise WireError(f"{place}[{i}] has more than 200 characters")
    return column


def _numbers(content: Mapping[str, Any], name: str, rows: int, place: str) -> list[float]:
    values = _array(content.get(name), f"{place}.{name}")
    if len(values) != rows:
        raise WireError(f"{place}.{name} has {len(values)} values for {rows} rows")
    for i, value in enumerate(values):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e11:
            raise WireError(f"{place}.{name}[{i}] is {str(value)[:40]!r}, not a time in seconds")
    return values


def _epochs(content: Mapping[str, Any], rows: int, place: str) -> list[str | None]:
    values = _array(content.get("counters_epoch", [None] * rows), f"{place}.counters_epoch")
    if len(values) != rows or not all(v is None or (isinstance(v, str) and len(v) <= 200) for v in values):
        raise WireError(f"{place}.counters_epoch is not one text or null a row")
    return values


def _facts(value: Any, index: int) -> Facts:
    place = f"facts[{index}]"
    entry = _object(value, place)
    attributes = _object(entry.get("attributes"), f"{place}.attributes")
    for name, item in attributes.items():
        plain = item is None or isinstance(item, str) or _is_number(item)
        listed = isinstance(item, list) and len(item) <= 1000 and all(isinstance(x, str) for x in item)
        if not (plain or listed) or (isinstance(item, str) and len(item) > 2000):
            raise WireError(f"{place}.attributes.{str(name)[:40]} is neither text, number nor list of text")
    return Facts(
        family=_family_of(entry, place),
        subject=_key(entry, "subject"),
        time=_time(entry, place),
        attributes={k: v for k, v in attributes.items() if k in FACT_NAMES},
    )


def _served(value: Any, index: int) -> Served:
    place = f"served[{index}]"
    row = _array(value, place)
    if len(row) != 7:
        raise WireError(f"{place} has {len(row)} values, not 7")
    *texts, kind, time, number = row
    if any(not isinstance(text, str) or len(text) > 300 for text in texts) or not texts[0]:
        raise WireError(f"{place}: workload, target, system and series are texts of at most 300 characters")
    if kind not in SERVED_KINDS:
        raise WireError(f"{place}: {str(kind)[:40]!r} is none of {', '.join(SERVED_KINDS)}")
    if not _is_number(time) or not 0 <= time < 1e11:
        raise WireError(f"{place}: {str(time)[:40]!r} is not a time in seconds")
    if not _is_number(number) or not 0 <= number < 2.0**64:
        raise WireError(f"{place}: {str(number)[:40]!r} is no number from 0")
    return Served(texts[0], texts[1], texts[2], texts[3], kind, float(time), float(number))


def _event(value: Any, index: int) -> Event:
    place = f"events[{index}]"
    entry = _object(value, place)
    kind = _text(entry, "kind")
    if kind not in KINDS:
        raise WireError(f"{place}.kind {kind[:40]!r} is not known here")
    try:
        severity = Severity(_text(entry, "severity"))
    except ValueError as e:
        raise WireError(f"{place}.severity is none of {', '.join(Severity)}") from e
    attributes = _object(entry.get("attributes", {}), f"{place}.attributes")
    for name, item in attributes.items():
        if not (isinstance(item, str) or _is_number(item)) or (isinstance(item, str) and len(item) > 500):
            raise WireError(f"{place}.attributes.{str(name)[:40]} is neither short text nor number")
    return Event(
        time=_time(entry, place),
        kind=kind,
        severity=severity,
        family=_family_of(entry, place),
        subject=_key(entry, "subject"),
        source=_text(entry, "source"),
        code=_optional_text(entry, "code"),
        vendor=_optional_text(entry, "vendor"),
        message=_text(entry, "message", empty=True)[:500],
        attributes=dict(attributes),
    )


def _is_number(value: Any) -> bool:
    """A finite number that fits 64 bits; True and False are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -(2.0**63) <= value < 2.0**64


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


def _family_of(entry: Mapping[str, Any], place: str) -> Family:
    try:
        return Family(_text(entry, "family"))
    except ValueError as e:
        raise WireError(f"{place}.family is none of {', '.join(Family)}") from e


def _time(entry: Mapping[str, Any], place: str) -> float:
    value = entry.get("time")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e11:
        raise WireError(f"{place}.time is {str(value)[:40]!r}, not seconds since the epoch")
    return float(value)


def _object(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise WireError(f"{place} is not an object")
    return value


def _array(value: Any, place: str) -> list[Any]:
    if not isinstance(value, list):
        raise WireError(f"{place} is not a list")
    return value


def _text(entry: Mapping[str, Any], name: str, *, empty: bool = False) -> str:
    value = entry.get(name)
    if not isinstance(value, str) or (not value and not empty) or len(value) > 2000:
        raise WireError(f"{name} is missing or not text")
    return value


def _optional_text(entry: Mapping[str, Any], name: str) -> str | None:
    value = entry.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > 200:
        raise WireError(f"{name} is not text of at most 200 characters")
    return value


def _key(entry: Mapping[str, Any], name: str) -> str:
    try:
        return check_id(name, _text(entry, name))
    except WireError:
        raise
    except Exception as e:
        raise WireError(str(e)) from e
