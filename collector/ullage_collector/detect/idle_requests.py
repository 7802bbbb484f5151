"""What requests say of quiet online inference: whether any came, how well that is known, and how many replicas may go.

Quiet cards of a serving process prove nothing, as it waits for requests. That none came for the whole window does, when the
window is known: the slightest request, one that waits, or minutes that nobody told keep the grade at a note. And a service
keeps as many replicas as it is said to need at least: of those that nobody asked anything, only the rest may go, the
longest quiet first.

Pure but for ``read``. Not here: grades (idle_finding.py), where requests are counted (serving/).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ullage_collector.serving.counting import SPAN_US
from ullage_collector.sql import statements

if TYPE_CHECKING:
    import duckdb

    from ullage_collector.detect.idle_rules import RequestRules
    from ullage_collector.mapping import Subject


@dataclass(frozen=True, slots=True)
class Requests:
    """Of one workload or gang in the window. in_window None: nobody counts its requests.

    known_seconds: how much of the window they are known of. running, waiting: the most that was seen at once, None: not told.
    last_us: when one ended last, to five minutes; None: not as far back as rows are kept. sources: who tells.
    """

    in_window: float | None
    known_seconds: float
    running: float | None
    waiting: float | None
    last_us: int | None
    sources: tuple[str, ...]

    def together(self, other: Requests) -> Requests:
        """Two workloads of one gang: what either served counts, and the one that is known less bounds what is known."""
        return Requests(
            _add(self.in_window, other.in_window),
            min(self.known_seconds, other.known_seconds),
            _most(self.running, other.running),
            _most(self.waiting, other.waiting),
            _latest(self.last_us, other.last_us),
            tuple(sorted({*self.sources, *other.sources})),
        )

    def besides(self, other: Requests) -> Requests:
        """Two sources of one workload: the greater numbers count, and the better known time."""
        return Requests(
            _most(self.in_window, other.in_window),
            max(self.known_seconds, other.known_seconds),
            _most(self.running, other.running),
            _most(self.waiting, other.waiting),
            _latest(self.last_us, other.last_us),
            tuple(sorted({*self.sources, *other.sources})),
        )

    def to_json(self, window: float) -> dict[str, Any]:
        """As it stands in evidence."""
        last = None if self.last_us is None else datetime.fromtimestamp(self.last_us / 1e6, UTC)
        return {
            "in_window": None if self.in_window is None else round(self.in_window),
            "window_hours": round(window / 3600, 1),
            "known_ratio": round(min(1.0, self.known_seconds / window), 2),
            "running": self.running,
            "waiting": self.waiting,
            "last_request_before": None if last is None else last.isoformat().replace("+00:00", "Z"),
            "sources": ", ".join(self.sources),
        }


@dataclass(frozen=True, slots=True)
class Service:
    """What a replica is one of. replicas: those that are heard and stand on no broken card.

    minimum_from: the label, setting or file that says how many there have to be.
    """

    name: str
    replicas: int
    minimum: int
    minimum_from: str


def held_back(requests: Requests | None, rules: RequestRules) -> str | None:
    """Why requests keep it at a note; None: they prove that nobody asked anything in the whole window."""
    if requests is None or (requests.in_window is None and requests.known_seconds == 0):
        return "no_request_metrics"
    if requests.in_window or requests.running or requests.waiting:
        return "requests_served"
    if requests.in_window is None or requests.known_seconds < rules.known_ratio * rules.window_seconds:
        return "request_metrics_partial"
    return None


def spare(idle: Iterable[tuple[str, Service, float]]) -> set[str]:
    """Of replicas that nobody asked anything, (name, service, epoch seconds since when quiet), those that may go."""
    of: dict[str, list[tuple[float, str, Service]]] = defaultdict(list)
    for name, service, began in idle:
        of[service.name].append((began, name, service))
    found: set[str] = set()
    for rows in of.values():
        rows.sort(key=lambda row: row[:2])
        may_go = max(0, rows[0][2].replicas - max(row[2].minimum for row in rows))
        found.update(name for _, name, _ in rows[:may_go])
    return found


def service_name(about: Subject, attributes: Mapping[str, Any], rules: RequestRules) -> str:
    """What a workload is a replica of: by a label of the serving platform, else its controller; else it is alone."""
    labels = about.labels or {}
    place = f"service/{about.cluster}/{about.namespace or '-'}"
    named = next((labels[key] for key in rules.service_labels if labels.get(key)), None)
    if named is not None:
        return f"{place}/{named}"
    owner = attributes.get("owner")
    if owner:
        return f"{place}/{attributes.get('owner_kind')}/{owner}"
    return about.workload_id


def minimum_of(about: Subject, rules: RequestRules) -> tuple[int, str]:
    """How many replicas there have to be, and who says so: a setting, else a label or annotation, else the rules' default."""
    for glob, number in rules.minimum_replicas:
        if fnmatchcase(about.workload_id, glob):
            return number, f"[idle.minimum_replicas] {glob}"
    for key in rules.minimum_keys:
        for said in (about.labels or {}, about.annotations or {}):
            text = said.get(key, "")
            if text.isascii() and text.isdigit():
                return int(text[:6]), key
    return rules.minimum_default, "minimum_default"


def read(
    cursor: duckdb.DuckDBPyConnection, workload_keys: Iterable[int], to_us: int, rules: RequestRules
) -> dict[int, Requests]:
    """By workload key, of those about which anybody told anything in the window before ``to_us``."""
    keys = sorted(set(workload_keys))
    if not keys:
        return {}
    from_us = (to_us - round(rules.window_seconds * 1e6)) // SPAN_US * SPAN_US
    cursor.register("serving_asked_of", pa.table({"workload_key": pa.array(keys, type=pa.int32())}))
    try:
        rows = cursor.execute(
            statements("serving")["window"], {"from_us": from_us, "to_us": to_us}
        ).fetchall()
    finally:
        cursor.unregister("serving_asked_of")
    found: dict[int, Requests] = {}
    for key, source, requests, covered_us, running, waiting, last_us in rows:
        one = Requests(requests, covered_us / 1e6, running, waiting, last_us, (source,))
        before = found.get(key)
        found[key] = one if before is None else before.besides(one)
    return found


def _add(one: float | None, other: float | None) -> float | None:
    return one if other is None else other if one is None else one + other


def _most(one: float | None, other: float | None) -> float | None:
    return one if other is None else other if one is None else max(one, other)


def _latest(one: int | None, other: int | None) -> int | None:
    return one if other is None else other if one is None else max(one, other)
