"""The collector's own counters: plain numbers that its parts add to. ``metrics.py`` shows them.

Each number has one writing thread or is an integer whose lost update would be a rounding of a count.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field


@dataclass(slots=True)
class LaneHealth:
    """One lane's batches. last_received_at: seconds since the epoch, UTC; 0: none yet."""

    batches: int = 0
    body_bytes: int = 0
    rows: int = 0
    last_received_at: float = 0.0


@dataclass(slots=True)
class PartHealth:
    """One part of ``serve``: failures since start, whether it runs, the newest failure in words."""

    running: bool = False
    failures: int = 0
    last_failure: str | None = None
    last_round_at: float = 0.0


@dataclass(slots=True)
class ServingHealth:
    """One Prometheus that is asked for requests. up None: not asked yet. answered_at: seconds since the epoch, 0: never.

    ownerless: readings of nobody who held cards. unnamed: series of its last answer that name no workload.
    """

    up: bool | None = None
    answered_at: float = 0.0
    failures: int = 0
    readings: int = 0
    ownerless: int = 0
    unnamed: int = 0


@dataclass(slots=True)
class Health:
    """Everything counted since start.

    answers: pushes by status. gaps: sequence numbers that never came. lanes, parts and serving by name.
    """

    started_at: float = 0.0
    answers: dict[int, int] = field(default_factory=dict)
    lanes: dict[str, LaneHealth] = field(
        default_factory=lambda: {"samples": LaneHealth(), "events": LaneHealth()}
    )
    parts: dict[str, PartHealth] = field(default_factory=dict)
    serving: dict[str, ServingHealth] = field(default_factory=dict)
    duplicates: int = 0
    gaps: int = 0
    unknown_metrics: int = 0
    otlp_points: int = 0
    otlp_unmapped: int = 0
    requests: int = 0
    connections: int = 0
    connections_refused: int = 0
    timeouts: int = 0
    parse_errors: int = 0
    app_errors: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def accepted(self, lane: str, body_bytes: int, rows: int, received_at: float) -> None:
        """One batch became durable."""
        entry = self.lanes[lane]
        entry.batches += 1
        entry.body_bytes += body_bytes
        entry.rows += rows
        entry.last_received_at = received_at

    def part(self, name: str) -> PartHealth:
        """A part's entry, made at first use."""
        with self.lock:
            return self.parts.setdefault(name, PartHealth())
