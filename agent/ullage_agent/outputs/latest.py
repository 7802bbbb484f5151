"""What is known right now: the newest row of every subject, and nothing older than it may stand for.

The exporters' common picture. A fast tick brings the fast metrics, a slow tick both; so each subject has
two layers, each with its own end. A value leaves as soon as a newer row of its tier comes without it; a
subject that was in no row of a whole tick is not shown until it is in one again; and when ticks end
altogether everything ends. An absent value is never its last value.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from ullage_agent.source import SourceReport
from ullage_contract import catalogue
from ullage_contract.catalogue import Metric, Tier
from ullage_contract.clock import Clock
from ullage_contract.event import Event
from ullage_contract.sample import Facts, Family, Origin, Sample, Value

STANDS_FOR: Final = 2.5  # our choice: a row is good for two missed ticks and a half, then it is history


@dataclass(slots=True)
class _Layer:
    values: Mapping[str, Value] = field(default_factory=dict)
    ends: float = 0.0


@dataclass(frozen=True, slots=True)
class Row:
    """One subject as it is now. ``values`` holds only what was read and is not stale."""

    family: Family
    subject: str
    origin: Origin
    values: Mapping[str, Value]
    attributes: Mapping[str, Value | list[str] | None]
    time: float
    """Wall seconds of the newest row."""
    counters_epoch: str | None
    counters_since: float
    """Wall seconds from which the counters count, as far as known: the boot, or when their epoch changed."""


@dataclass(slots=True)
class _Subject:
    origin: Origin
    interval: float
    tick: int
    time: float
    layers: dict[Tier, _Layer]
    counters_epoch: str | None
    counters_since: float


class Latest:
    """A Sink that remembers, read by the exporters' threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._subjects: dict[tuple[Family, str], _Subject] = {}
        self._facts: dict[tuple[Family, str], Facts] = {}
        self._reports: tuple[SourceReport, ...] = ()
        self._slow_keys = {
            family: frozenset(k for k, m in catalogue.keys(family).items() if m.tier is Tier.SLOW)
            for family in Family
        }
        self._tick = 0

    def facts(self, facts: Sequence[Facts], *, origin: Origin = Origin.REAL) -> None:
        with self._lock:
            for one in facts:
                self._facts[one.family, one.subject] = one

    def samples(self, samples: Sequence[Sample], *, origin: Origin = Origin.REAL) -> None:
        """One tick's rows of one origin."""
        now, wall = self._clock.monotonic(), self._clock.wall()
        with self._lock:
            for sample in samples:
                self._put(sample, origin, now, wall)

    def sources(self, reports: Sequence[SourceReport]) -> None:
        """The end of a tick: who was in none of its rows is not shown from now on."""
        now = self._clock.monotonic()
        with self._lock:
            self._reports = tuple(reports)
            self._tick += 1
            for place, subject in list(self._subjects.items()):
                if all(now >= layer.ends for layer in subject.layers.values()):
                    del self._subjects[place]

    def events(self, events: Sequence[Event], *, origin: Origin = Origin.REAL) -> None:
        """Events are no picture of now."""

    def close(self) -> None:
        """Nothing to give back."""

    def rows(self) -> list[Row]:
        """Everything that is known now, in the order of families, then as it first came."""
        now = self._clock.monotonic()
        with self._lock:
            return sorted(self._rows(now), key=lambda row: _ORDER[row.family])

    def reports(self) -> tuple[SourceReport, ...]:
        """How every source and maker did in the last tick."""
        return self._reports

    def _rows(self, now: float) -> Iterator[Row]:
        for (family, name), subject in self._subjects.items():
            if subject.tick < self._tick - 1:
                continue
            values: dict[str, Value] = {}
            for layer in subject.layers.values():
                if now < layer.ends:
                    values.update(layer.values)
            if not values:
                continue
            facts = self._facts.get((family, name))
            yield Row(
                family=family,
                subject=name,
                origin=subject.origin,
                values=values,
                attributes=facts.attributes if facts is not None else _NOTHING,
                time=subject.time,
                counters_epoch=subject.counters_epoch,
                counters_since=subject.counters_since,
            )

    def _put(self, sample: Sample, origin: Origin, now: float, wall: float) -> None:
        place = (sample.family, sample.subject)
        slow_keys = self._slow_keys[sample.family]
        slow = {k: v for k, v in sample.values.items() if k in slow_keys}
        fast = {k: v for k, v in sample.values.items() if k not in slow_keys} if slow else sample.values
        subject = self._subjects.get(place)
        if subject is None:
            # sample.monotonic counts from the boot: what the counters count since, unless they began anew.
            since = sample.time - sample.monotonic
            layers = {Tier.FAST: _Layer(), Tier.SLOW: _Layer()}
            subject = _Subject(
                origin, sample.interval_seconds, 0, sample.time, layers, sample.counters_epoch, since
            )
            self._subjects[place] = subject
        elif subject.counters_epoch != sample.counters_epoch:
            subject.counters_epoch, subject.counters_since = sample.counters_epoch, wall
        if subject.tick == self._tick:  # two rows of one subject in one tick: of two tiers
            fast = {**subject.layers[Tier.FAST].values, **fast}
        subject.origin = origin
        subject.tick = self._tick
        subject.time = sample.time
        subject.interval = min(subject.interval, sample.interval_seconds)
        subject.layers[Tier.FAST] = _Layer(fast, now + STANDS_FOR * subject.interval)
        if slow or any(key in slow_keys for key in sample.failed):
            subject.layers[Tier.SLOW] = _Layer(slow, now + STANDS_FOR * sample.interval_seconds)


_ORDER: Final = {family: i for i, family in enumerate(Family)}
_NOTHING: Final[Mapping[str, Value | list[str] | None]] = MappingProxyType({})


def text_of(attributes: Mapping[str, Value | list[str] | None], name: str) -> str:
    """A fact as one label's text; empty when it is not known."""
    value = attributes.get(name)
    return "" if value is None or isinstance(value, list) else str(value)


def words_of(metric: Metric, value: Value) -> dict[str, bool] | None:
    """A state as word -> whether it holds now; None when the value is not one. Unlisted words stand alone."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0 and metric.words:
        names = dict.fromkeys(metric.words, False)
        names.update(dict.fromkeys(catalogue.bit_names(metric.words, value), True))
        return names
    if isinstance(value, str) and value:
        return {**dict.fromkeys(metric.words, False), value[:60]: True}
    return None
