"""Running totals made increases: what serving processes answered in each five minutes, and how much of them is known.

A counter that falls began anew with its process: what it shows then was counted since. A reading that is not newer than the
last of its series adds nothing: asked twice or sent twice is counted once, and what comes late is too late. Between two
readings that are near, the time between is covered; over a longer silence the increase still counts where it was seen, and
the silence stays unknown. The first reading of a counter says nothing of what was before, unless its system makes counters
when they are first used and the process was seen before it had this one.

Pure: no clock, no database. Not here: whose the readings are and where rows are kept (book.py).
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

from ullage_contract.served import COUNTERS

SPAN_US: Final = 300_000_000
"""Five minutes. our choice: because a day of quiet is told to five minutes, and 1,000 processes are 288,000 rows a day."""
BRIDGE_US: Final = 660_000_000
"""our choice: because the bill bridges eleven minutes without telemetry, too (states.toml): a restarted Prometheus is one."""
ANY: Final = "any"
"""In place of a series: when a process was last heard of at all."""


@dataclass(frozen=True, slots=True)
class Process:
    """One serving process as one source tells it. source: ``<[[serving]] name or otlp>/<system>``."""

    workload_key: int
    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Reading:
    """One number of a process at one instant, microseconds since the epoch. kind: as in served.KINDS."""

    process: Process
    series: str
    kind: str
    at_us: int
    value: float


@dataclass(frozen=True, slots=True)
class Last:
    """The newest reading of a series."""

    at_us: int
    value: float


@dataclass(slots=True)
class Span:
    """What five minutes add up to. None: nobody said. covered_us: how much of it requests are known of."""

    requests: float | None = None
    prompt_tokens: float | None = None
    generated_tokens: float | None = None
    running: float | None = None
    waiting: float | None = None
    covered_us: int = 0
    resets: int = 0

    def add(self, kind: str, value: float) -> None:
        """A counter's increase, or a gauge's level, of which the greatest counts."""
        before: float | None = getattr(self, kind)
        if kind in COUNTERS:
            setattr(self, kind, (before or 0.0) + value)
        else:
            setattr(self, kind, value if before is None else max(before, value))


Series = tuple[str, str]
"""Kind and series."""


@dataclass(slots=True)
class Counted:
    """What readings came to. spans: by process and beginning of the five minutes. last: what is to be remembered.

    late: readings that added nothing as they are not newer. strange: values that are none.
    """

    spans: dict[tuple[Process, int], Span] = field(default_factory=dict)
    last: dict[Process, dict[Series, Last]] = field(default_factory=dict)
    late: int = 0
    strange: int = 0


def begins(at_us: int) -> int:
    """The beginning of the five minutes whose end, at the latest, an instant is: what was seen then lies before it."""
    return (at_us - 1) // SPAN_US * SPAN_US


def count(
    readings: Iterable[Reading],
    known: Mapping[Process, Mapping[Series, Last]],
    lazy: Container[str],
) -> Counted:
    """Readings in any order. known: the newest of each series before. lazy: sources whose counters appear when first used."""
    done = Counted()
    by_process: dict[Process, list[Reading]] = {}
    for reading in readings:
        by_process.setdefault(reading.process, []).append(reading)
    for process, own in by_process.items():
        _Count(process, dict(known.get(process, {})), process.source in lazy, done).take(own)
    return done


class _Count:
    """One process's readings. newest: of each series, changed as they are taken."""

    def __init__(self, process: Process, newest: dict[Series, Last], lazy: bool, done: Counted) -> None:
        self._process = process
        self._newest = newest
        self._lazy = lazy
        self._done = done
        self._spans: dict[int, Span] = {}
        self._changed: dict[Series, Last] = {}

    def take(self, readings: list[Reading]) -> None:
        readings.sort(key=lambda r: (r.at_us, r.kind, r.series))
        for at_us, same in groupby(readings, key=lambda r: r.at_us):
            self._instant(at_us, same)
        if self._changed:
            self._done.last[self._process] = self._changed
        for start, span in self._spans.items():
            self._done.spans[self._process, start] = span

    def _instant(self, at_us: int, readings: Iterable[Reading]) -> None:
        heard, counted = self._newest.get((ANY, ANY)), self._newest.get(("requests", ANY))
        news = told = False
        for reading in readings:
            if not math.isfinite(reading.value) or reading.value < 0:
                self._done.strange += 1
                continue
            series = (reading.kind, reading.series)
            before = self._newest.get(series)
            if before is not None and at_us <= before.at_us:
                self._done.late += 1
                continue
            news = True
            told = told or reading.kind == "requests"
            self._note(series, Last(at_us, reading.value))
            fell = before is not None and reading.value < before.value and reading.kind in COUNTERS
            if reading.kind not in COUNTERS or fell:
                more: float | None = reading.value
            elif before is not None:
                more = reading.value - before.value
            else:
                began = heard is not None and 0 < at_us - heard.at_us <= BRIDGE_US
                more = reading.value if began and self._lazy else None
            if more is not None:
                span = self._span(begins(at_us))
                span.add(reading.kind, more)
                span.resets += fell
        if told and (counted is None or at_us > counted.at_us):
            self._note(("requests", ANY), Last(at_us, 0.0))
            if counted is not None and at_us - counted.at_us <= BRIDGE_US:
                self._cover(counted.at_us, at_us)
        if news and (heard is None or at_us > heard.at_us):
            self._note((ANY, ANY), Last(at_us, 0.0))

    def _note(self, series: Series, last: Last) -> None:
        self._newest[series] = self._changed[series] = last

    def _span(self, start_us: int) -> Span:
        found = self._spans.get(start_us)
        if found is None:
            found = self._spans[start_us] = Span()
        return found

    def _cover(self, from_us: int, to_us: int) -> None:
        """Requests of (from, to] are known; the first of them makes the sum 0 rather than unknown."""
        start = from_us // SPAN_US * SPAN_US
        while start < to_us:
            span = self._span(start)
            span.covered_us += min(to_us, start + SPAN_US) - max(from_us, start)
            if span.requests is None:
                span.requests = 0.0
            start += SPAN_US
