"""What a child and its parent say to each other: one JSON object a line, over pipes of their own.

Parent to child (its stdin):
    {"reader": "module:callable", "host": {...}}                    first, once
    {"id": 7, "ask": "facts" | "read" | "events" | "close", "tier": "fast",
     "skip": [[card, call, reason], ...], "watch": [[card, call], ...]}
Child to parent:
    {"id": 0, "end": true}                                          the reader is open
    {"id": 7, "facts": {...}} | {"reading": {...}} | {"event": {...}}   as soon as each is there
    {"id": 7, "recovered": [card, call]}                            a watched call returned
    {"id": 7, "unsendable": "text"}                                 one answer that JSON cannot carry
    {"id": 7, "end": true} | {"id": 7, "error": reason, "message": "text", "traceback": "text"}

The child is not trusted: its libraries may write anything into its memory. What does not parse raises
BadInput and costs that maker its child; what is said is checked against the catalogue in ``intake``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ullage_agent.backend import Host, Reading
from ullage_contract.errors import BadInput
from ullage_contract.event import Event, Severity
from ullage_contract.sample import Facts, Family

MAX_LINE_BYTES: Final = 1024 * 1024  # our choice: because the widest card's row is some 8 KiB
MAX_ANSWER_BYTES: Final = 16 * 1024 * 1024  # our choice: because 64 cards with 100 slices each fit ten times

Item = Facts | Reading | Event


def line(document: dict[str, Any]) -> bytes:
    """One message. Raises TypeError or ValueError for what JSON cannot carry."""
    return json.dumps(document, ensure_ascii=True, separators=(",", ":")).encode("ascii") + b"\n"


def host_to_json(host: Host) -> dict[str, Any]:
    return {
        "node_id": host.node_id,
        "sysfs": str(host.sysfs),
        "proc": str(host.proc),
        "dev": str(host.dev),
        "settings": dict(host.settings),
    }


def host_from_json(document: dict[str, Any]) -> Host:
    return Host(
        node_id=document["node_id"],
        sysfs=Path(document["sysfs"]),
        proc=Path(document["proc"]),
        dev=Path(document["dev"]),
        settings=document["settings"],
    )


def culprit(document: Mapping[str, Any]) -> str:
    """Where in a message of ``item_to_json`` the value sits that JSON cannot carry: ``reading.values.power_watts``."""
    for name, value in document.items():
        try:
            line({"": value})
        except (TypeError, ValueError):
            inside = culprit(value) if isinstance(value, Mapping) else ""
            return f"{name}.{inside}" if inside else str(name)
    return ""


def item_to_json(item: Item) -> dict[str, Any]:
    """The message's part that carries ``item``, under its kind's name. Raises TypeError naming a field of the wrong
    type that the other end would take for a crippled answer."""
    if not isinstance(item.subject, str):
        raise TypeError(f"subject is {item.subject!r:.60}, not a text")
    if isinstance(item, Reading):
        if item.counters_epoch is not None and not isinstance(item.counters_epoch, str):
            raise TypeError(f"counters_epoch is {item.counters_epoch!r:.60}, not a text or None")
        return {
            "reading": {
                "family": item.family,
                "subject": item.subject,
                "values": dict(item.values),
                "failed": dict(item.failed),
                "epoch": item.counters_epoch,
            }
        }
    if isinstance(item, Facts):
        return {
            "facts": {
                "family": item.family,
                "subject": item.subject,
                "time": item.time,
                "attributes": {
                    k: list(v) if isinstance(v, tuple | set | frozenset) else v
                    for k, v in item.attributes.items()
                },
            }
        }
    return {
        "event": {
            "time": item.time,
            "kind": item.kind,
            "severity": item.severity,
            "family": item.family,
            "subject": item.subject,
            "source": item.source,
            "message": item.message,
            "code": item.code,
            "vendor": item.vendor,
            "attributes": dict(item.attributes),
        }
    }


def message(text: bytes) -> dict[str, Any]:
    """One line of the child as an object with a whole-number ``id``. Raises BadInput."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise BadInput(f"garbage on the pipe: {text[:60]!r}") from e
    if not isinstance(document, dict) or type(document.get("id")) is not int:
        raise BadInput(f"garbage on the pipe: {text[:60]!r}")
    return document


def item_of(document: dict[str, Any]) -> Item | None:
    """The answer a message carries, or None when it carries none. Raises BadInput for a crippled one."""
    try:
        if (reading := document.get("reading")) is not None:
            return Reading(
                family=Family(reading["family"]),
                subject=_text(reading["subject"]),
                values=_mapping(reading["values"]),
                failed=_mapping(reading["failed"]),
                counters_epoch=_optional(reading["epoch"]),
            )
        if (facts := document.get("facts")) is not None:
            return Facts(
                family=Family(facts["family"]),
                subject=_text(facts["subject"]),
                time=_time(facts["time"]),
                attributes=_mapping(facts["attributes"]),
            )
        if (event := document.get("event")) is not None:
            return Event(
                time=_time(event["time"]),
                kind=_text(event["kind"]),
                severity=Severity(event["severity"]),
                family=Family(event["family"]),
                subject=_text(event["subject"]),
                source=_text(event["source"]),
                message=_text(event["message"]),
                code=_optional(event["code"]),
                vendor=_optional(event["vendor"]),
                attributes=_mapping(event["attributes"]),
            )
    except (KeyError, TypeError, ValueError) as e:
        raise BadInput(f"a crippled answer: {type(e).__name__}: {e}") from e
    return None


def _time(value: Any) -> float:
    """Seconds since the epoch, as the wire takes them: before the year 5138."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e11:
        raise ValueError(f"{value!r:.40} is no time")
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def _optional(value: Any) -> str | None:
    return None if value is None else _text(value)


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{value!r} is not an object")
    return value
