"""``GET /metrics`` of the collector: the fleet as the newest snapshot says, and the collector's own health.

What is not known is an absent series: before the first snapshot there is no ``ullage_fleet_*`` at all.
Not here: metrics of single cards (the agents show those).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ullage_collector.health import Health
from ullage_collector.snapshot import FleetSnapshot

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class JournalState:
    """One lane's journal now: its size, and what its slowest consumer has still to read, in bytes."""

    lane: str
    size_bytes: int
    pending_bytes: int


def render(
    health: Health,
    journals: list[JournalState],
    snapshot: FleetSnapshot | None,
    *,
    now: float,
    version: str,
    streams: int = 0,
    quarantined: int = 0,
) -> str:
    """The exposition text. now: seconds since the epoch, UTC."""
    lines: list[str] = []
    if snapshot is not None:
        lines.extend(_fleet(snapshot))
    lines.extend(_own(health, journals, now, version, streams, quarantined))
    return "\n".join(lines) + "\n"


def _fleet(snapshot: FleetSnapshot) -> Iterator[str]:
    yield from _head("ullage_fleet_cards", "gauge", "cards whose main state is this")
    for cards in snapshot.cards:
        yield _line(
            "ullage_fleet_cards",
            {
                "cluster": cards.cluster,
                "vendor": cards.vendor,
                "model": cards.model or "",
                "state": cards.state,
            },
            cards.cards,
        )
    yield from _head("ullage_fleet_card_share", "gauge", "cards' worth of capacity in a state")
    for state, share in snapshot.share_by_state.items():
        yield _line("ullage_fleet_card_share", {"state": state}, share)
    yield from _head("ullage_department_cards", "gauge", "cards' worth a department holds in a state")
    for held in snapshot.departments:
        yield _line(
            "ullage_department_cards", {"department": held.department, "state": held.state}, held.cards
        )
    yield from _head("ullage_department_cost_per_hour", "gauge", "cost of held cards, currency units an hour")
    for cost in snapshot.costs:
        yield _line(
            "ullage_department_cost_per_hour",
            {"department": cost.department, "currency": cost.currency},
            float(cost.per_hour),
        )
    if snapshot.unmapped_share is not None:
        yield from _head(
            "ullage_mapping_unmapped_share", "gauge", "of what is held, what maps to no department"
        )
        yield _line("ullage_mapping_unmapped_share", {}, snapshot.unmapped_share)
    yield from _head("ullage_card_allocation_info", "gauge", "who holds a card now, for joins")
    for info in snapshot.allocations:
        yield _line(
            "ullage_card_allocation_info",
            {
                "cluster": info.cluster,
                "node": info.node,
                "card": info.card,
                "workload": info.workload,
                "user": info.user,
                "department": info.department,
                "scenario": info.scenario,
            },
            1,
        )
    yield from _head("ullage_incidents_open", "gauge", "open incidents")
    for severity, count in snapshot.incidents_open.items():
        yield _line("ullage_incidents_open", {"severity": severity}, count)
    yield from _head("ullage_nodes", "gauge", "nodes by what is heard of them")
    for status, count in snapshot.nodes.items():
        yield _line("ullage_nodes", {"status": status}, count)
    yield from _head(
        "ullage_fleet_snapshot_timestamp_seconds", "gauge", "instant the fleet's figures describe"
    )
    yield _line("ullage_fleet_snapshot_timestamp_seconds", {}, snapshot.at)


def _own(
    health: Health,
    journals: list[JournalState],
    now: float,
    version: str,
    streams: int,
    quarantined: int,
) -> Iterator[str]:
    prefix = "ullage_collector"
    yield from _head(f"{prefix}_info", "gauge", "the running version")
    yield _line(f"{prefix}_info", {"version": version}, 1)
    yield from _head(f"{prefix}_start_time_seconds", "gauge", "when it started, since the epoch")
    yield _line(f"{prefix}_start_time_seconds", {}, health.started_at)
    yield from _head(f"{prefix}_pushes_total", "counter", "answers to pushes by status")
    for status, count in sorted(health.answers.items()):
        yield _line(f"{prefix}_pushes_total", {"status": str(status)}, count)
    lanes = health.lanes.items()
    for name, kind, meaning, values in (
        ("batches_total", "counter", "batches made durable", {k: v.batches for k, v in lanes}),
        ("body_bytes_total", "counter", "bytes of their bodies", {k: v.body_bytes for k, v in lanes}),
        ("rows_total", "counter", "rows in them", {k: v.rows for k, v in lanes}),
    ):
        yield from _head(f"{prefix}_{name}", kind, meaning)
        for lane, value in values.items():
            yield _line(f"{prefix}_{name}", {"lane": lane}, value)
    yield from _head(
        f"{prefix}_seconds_since_batch", "gauge", "since the newest batch; absent before the first"
    )
    for lane, entry in lanes:
        if entry.last_received_at:
            yield _line(
                f"{prefix}_seconds_since_batch", {"lane": lane}, max(0.0, now - entry.last_received_at)
            )
    yield from _head(f"{prefix}_journal_bytes", "gauge", "bytes of the journal's segments")
    for journal in journals:
        yield _line(f"{prefix}_journal_bytes", {"lane": journal.lane}, journal.size_bytes)
    yield from _head(
        f"{prefix}_journal_pending_bytes", "gauge", "bytes the slowest consumer has still to read"
    )
    for journal in journals:
        yield _line(f"{prefix}_journal_pending_bytes", {"lane": journal.lane}, journal.pending_bytes)
    for name, kind, meaning, number in (
        ("duplicates_total", "counter", "batches that had been received before", health.duplicates),
        ("gaps_total", "counter", "sequence numbers that never came", health.gaps),
        ("unknown_metrics_total", "counter", "columns of a newer agent, kept apart", health.unknown_metrics),
        ("otlp_points_total", "counter", "OTLP points taken", health.otlp_points),
        ("otlp_rejected_points_total", "counter", "OTLP points that map to nothing", health.otlp_unmapped),
        (
            "quarantined_batches_total",
            "counter",
            "acknowledged batches that could not be stored",
            quarantined,
        ),
        ("streams", "gauge", "streams remembered", streams),
        ("connections", "gauge", "open connections", health.connections),
        ("connections_refused_total", "counter", "connections over the bound", health.connections_refused),
        ("requests_total", "counter", "HTTP requests", health.requests),
        ("timeouts_total", "counter", "requests that took too long to arrive", health.timeouts),
        ("parse_errors_total", "counter", "bytes that were no HTTP", health.parse_errors),
        ("app_errors_total", "counter", "requests the collector failed on", health.app_errors),
    ):
        yield from _head(f"{prefix}_{name}", kind, meaning)
        yield _line(f"{prefix}_{name}", {}, number)
    parts = sorted(health.parts.items())
    yield from _head(f"{prefix}_part_up", "gauge", "1 while a part of the collector runs")
    for name, part in parts:
        yield _line(f"{prefix}_part_up", {"part": name}, int(part.running))
    yield from _head(f"{prefix}_part_failures_total", "counter", "times a part failed and was started again")
    for name, part in parts:
        yield _line(f"{prefix}_part_failures_total", {"part": name}, part.failures)
    yield from _serving(prefix, health)


def _serving(prefix: str, health: Health) -> Iterator[str]:
    sources = sorted(health.serving.items())
    asked = [(name, source) for name, source in sources if source.up is not None]
    yield from _head(
        f"{prefix}_serving_source_up", "gauge", "1 while a Prometheus answers what requests there were"
    )
    for name, source in asked:
        yield _line(f"{prefix}_serving_source_up", {"source": name}, int(bool(source.up)))
    for key, kind, meaning in (
        ("failures", "counter", "questions about requests that got no answer"),
        ("readings", "counter", "readings of serving processes that were taken"),
        ("ownerless", "counter", "readings of processes of nobody who held cards"),
        ("unnamed", "gauge", "series of the last answer whose labels name no workload"),
    ):
        metric = f"{prefix}_serving_source_{key}" + ("_total" if kind == "counter" else "")
        yield from _head(metric, kind, meaning)
        for name, source in sources:
            yield _line(metric, {"source": name}, getattr(source, key))
    yield from _head(f"{prefix}_serving_source_answered_timestamp_seconds", "gauge", "when it answered last")
    for name, source in asked:
        if source.answered_at:
            yield _line(
                f"{prefix}_serving_source_answered_timestamp_seconds", {"source": name}, source.answered_at
            )


def _head(name: str, kind: str, meaning: str) -> Iterator[str]:
    yield f"# HELP {name} {meaning}"
    yield f"# TYPE {name} {kind}"


def _line(name: str, labels: Mapping[str, str], value: float) -> str:
    if not labels:
        return f"{name} {value}"
    inside = ",".join(f'{key}="{_escape(text)}"' for key, text in labels.items())
    return f"{name}{{{inside}}} {value}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
