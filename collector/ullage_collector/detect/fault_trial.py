"""Rules over recorded events and samples: what would open, worsen and end. Nothing is written and nobody is asked.

A file holds one JSON object a line: an event as the agent pushes it (with ``node`` and optionally ``cluster``,
``received`` and ``holders``), or a sample {"family", "subject", "time", "node", "values", ...}. A line of a batch's
document (``events``, ``families``) stands for all of its rows. Not here: printing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ullage_collector.detect.fault_evaluator import Evaluator
from ullage_collector.detect.fault_observation import Change, EventSeen, Holder, SampleSeen
from ullage_collector.detect.fault_rule import FaultRule
from ullage_contract.catalogue import Kind, keys
from ullage_contract.counters import increase
from ullage_contract.errors import BadInput
from ullage_contract.event import KINDS, Event, Severity
from ullage_contract.sample import Family, Origin, Value
from ullage_contract.wire import batch_from_json

LATE_SECONDS: Final = 120.0
"""As the engine: what was received so long after it happened is history."""
STEP_US: Final = 10_000_000
"""our choice: time passes in steps as long as agents sample."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A line that could not be read. The rest was."""

    line: int
    why: str


class _Growth:
    """Of each counter the reading before."""

    def __init__(self) -> None:
        self._before: dict[tuple[str, str, str], tuple[float, int, str | None]] = {}

    def of(
        self, family: str, subject: str, at_us: int, values: Mapping[str, Value], epoch: str | None
    ) -> tuple[dict[str, float], dict[str, float]]:
        grown: dict[str, float] = {}
        over: dict[str, float] = {}
        for key, value in values.items():
            metric = keys(Family(family)).get(key)
            if metric is None or metric.kind is not Kind.COUNTER or isinstance(value, str):
                continue
            before = self._before.get((family, subject, key))
            self._before[family, subject, key] = (value, at_us, epoch)
            if before is None:
                continue
            amount = increase(metric, before[0], value, before[2] == epoch).amount
            if amount is not None:
                grown[key], over[key] = float(amount), (at_us - before[1]) / 1e6
        return grown, over


def read(lines: Iterable[str], node: str = "recorded") -> tuple[list[EventSeen | SampleSeen], list[Problem]]:
    """Observations of a recording in the order of their time, and the lines that are none. node: where a line says none."""
    found: list[EventSeen | SampleSeen] = []
    problems: list[Problem] = []
    growth = _Growth()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            document = json.loads(line)
            if not isinstance(document, dict):
                raise BadInput("not an object")
            found += list(_observations(document, node, growth))
        except (ValueError, TypeError, KeyError, BadInput) as e:
            problems.append(
                Problem(number, f"{type(e).__name__ if isinstance(e, KeyError) else ''} {e}".strip()[:200])
            )
    return sorted(found, key=_time), problems


def run(
    rules: Sequence[FaultRule], observations: Iterable[EventSeen | SampleSeen], *, until_us: int | None = None
) -> list[Change]:
    """Turns that the rules make of a recording; further evidence of what is open is left out.

    until_us: go on for so long after the last observation, its nodes being heard: states that last are then told.
    """
    evaluator = Evaluator(rules)
    changes: list[Change] = []
    nodes: set[tuple[str, str]] = set()
    now = 0
    for seen in observations:
        nodes.add((seen.cluster, seen.node))
        at = _time(seen)
        if now and at - now >= STEP_US:
            changes += evaluator.tick(at)
        now = max(now, at)
        changes += evaluator.event(seen) if isinstance(seen, EventSeen) else evaluator.sample(seen)
    for node in nodes:
        evaluator.heard(*node, until_us or now)
    changes += evaluator.tick(until_us or now)
    return [change for change in changes if change.turn is not None]


def _time(seen: EventSeen | SampleSeen) -> int:
    return seen.happened_us if isinstance(seen, EventSeen) else seen.time_us


def _observations(
    document: Mapping[str, Any], node: str, growth: _Growth
) -> Iterator[EventSeen | SampleSeen]:
    if "events" in document or "families" in document:
        batch = batch_from_json(document)
        for event in batch.events:
            yield _event(event, {"node": batch.node, "cluster": batch.cluster}, batch.origin)
        for family, columns in batch.families.items():
            for row, subject in enumerate(columns.subject):
                values = {k: v[row] for k, v in columns.columns.items() if v[row] is not None}
                plain = {
                    "family": family.value,
                    "subject": subject,
                    "time": columns.time[row],
                    "monotonic": columns.monotonic[row],
                    "counters_epoch": columns.counters_epoch[row],
                    "values": values,
                }
                yield _sample(
                    {**plain, "node": batch.node, "cluster": batch.cluster}, node, growth, batch.origin
                )
    elif "kind" in document:
        event = Event(
            time=float(document["time"]),
            kind=_one_of(document["kind"], KINDS, "kind"),
            severity=Severity(document.get("severity", "warning")),
            family=Family(document.get("family", "card")),
            subject=str(document["subject"]),
            source=str(document.get("source", "recorded")),
            message=str(document.get("message", "")),
            code=None if document.get("code") is None else str(document["code"]),
            vendor=document.get("vendor"),
            attributes=dict(document.get("attributes", {})),
        )
        yield _event(event, {"node": node, **document}, Origin(document.get("origin", "real")))
    elif "values" in document:
        yield _sample(document, node, growth, Origin(document.get("origin", "real")))
    else:
        raise BadInput("neither an event (kind), a sample (values) nor a batch (events, families)")


def _event(event: Event, where: Mapping[str, Any], origin: Origin) -> EventSeen:
    received = float(where.get("received", event.time))
    return EventSeen(
        event=event,
        cluster=str(where.get("cluster", "")),
        node=str(where["node"]),
        happened_us=round(event.time * 1e6),
        received_us=round(received * 1e6),
        fresh=received - event.time <= LATE_SECONDS and origin is not Origin.IMPORTED,
        holders=tuple(Holder(str(one["workload"]), one.get("user")) for one in where.get("holders", ())),
        origin=origin,
    )


def _sample(document: Mapping[str, Any], node: str, growth: _Growth, origin: Origin) -> SampleSeen:
    family = Family(document["family"])
    at = float(document["time"])
    at_us = round(at * 1e6)
    received = float(document.get("received", at))
    values = {key: value for key, value in dict(document["values"]).items() if value is not None}
    if stray := sorted(set(values) - set(keys(family))):
        raise BadInput(f"{stray[0]!r} is no metric of a {family.value}")
    subject = str(document["subject"])
    grown, over = growth.of(family.value, subject, at_us, values, document.get("counters_epoch"))
    uptime = document.get("monotonic")
    return SampleSeen(
        family=family.value,
        subject=subject,
        cluster=str(document.get("cluster", "")),
        node=str(document.get("node", node)),
        vendor=document.get("vendor"),
        time_us=at_us,
        received_us=round(received * 1e6),
        fresh=received - at <= LATE_SECONDS and origin is not Origin.IMPORTED,
        values=values,
        growth=grown,
        growth_seconds=over,
        uptime_seconds=None if uptime is None else float(uptime),
        expected={k: float(v) for k, v in dict(document.get("expected", {})).items()},
        origin=origin,
    )


def _one_of(value: Any, known: Mapping[str, Any], key: str) -> str:
    if value not in known:
        raise BadInput(f"{key} {value!r} is none of {', '.join(sorted(known))}")
    return str(value)
