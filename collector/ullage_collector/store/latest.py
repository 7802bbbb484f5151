"""The last reading of every subject, in memory: for the map, /metrics and the state engine.

A value is only given while it stands: after its row's interval (and a margin for the way) it is unknown,
not the last thing heard. Kept by reference to the columns as they came: of each node and family the newest
push, and the newest one with slow metrics, as five of six pushes carry none.

Not here: history (the store).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ullage_contract import catalogue
from ullage_contract.catalogue import Tier
from ullage_contract.sample import Family, Value

GRACE_SECONDS: Final = 30.0
"""our choice: because an agent pushes every 10 s, the writer gathers 1 s, and one push may be sent twice."""

SLOW_SECONDS: Final = 60.0
"""The slow tier's period (contract): a slow metric stands that long, in whichever row it came."""

_SLOW: Final = {
    family.value: frozenset(k for k, m in catalogue.keys(family).items() if m.tier is Tier.SLOW)
    for family in Family
}


@dataclass(frozen=True, slots=True)
class Frame:
    """The rows of one family in one push, by reference. Times are microseconds since the epoch, UTC.

    subjects: one a row, in the order of the rows, equal texts where a subject has several rows.
    """

    subjects: Sequence[str]
    times_us: Sequence[int]
    interval_seconds: Sequence[float]
    columns: Mapping[str, Sequence[Value | None]]
    newest_us: int


@dataclass(frozen=True, slots=True)
class Reading:
    """One row by reference. time: seconds since the epoch, UTC."""

    time: float
    interval_seconds: float
    node_key: int
    origin: str
    columns: Mapping[str, Sequence[Value | None]]
    row: int

    def value(self, key: str) -> Value | None:
        """The value in the catalogue's unit; None: missing, failed or unsupported."""
        column = self.columns.get(key)
        return None if column is None else column[self.row]


class _Holder:
    """The newest pushes of one node and family that speak of the same subjects."""

    __slots__ = ("newest", "node_key", "origin", "rows", "slow", "subjects")

    def __init__(self, node_key: int, origin: str, subjects: Sequence[str], frame: Frame) -> None:
        self.newest = self.slow = frame
        self.node_key = node_key
        self.origin = origin
        self.subjects = list(subjects)
        self.rows: dict[str, list[int]] = {}
        for row, subject in enumerate(subjects):
            self.rows.setdefault(subject, []).append(row)

    def add(self, name: str, frame: Frame) -> None:
        """Take a push of family ``name``; backlog is not the latest."""
        if frame.newest_us >= self.newest.newest_us:
            self.newest = frame
            if not _SLOW[name].isdisjoint(frame.columns):
                self.slow = frame

    def readings(self, subject: str) -> Iterator[Reading]:
        """The subject's rows, newest first."""
        rows = self.rows[subject]
        newest, slow = self.newest, self.slow
        for frame in (newest,) if slow is newest else (newest, slow):
            for row in reversed(rows):
                yield self.reading(frame, row)

    def reading(self, frame: Frame, row: int) -> Reading:
        return Reading(
            frame.times_us[row] / 1e6,
            frame.interval_seconds[row],
            self.node_key,
            self.origin,
            frame.columns,
            row,
        )


class Latest:
    """Filled by the writer after each commit; read from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders: dict[tuple[str, int], _Holder] = {}
        self._where: dict[str, dict[str, _Holder]] = {family.value: {} for family in Family}

    def put(self, family: Family, node_key: int, origin: str, frame: Frame) -> None:
        """Add one push's rows of a family. A push older than the newest kept is backlog and not the latest."""
        name = family.value
        with self._lock:
            holder = self._holders.get((name, node_key))
            if holder is None or holder.subjects != frame.subjects:
                # Subjects that are no longer sent stay where they were, and grow old there.
                holder = self._holders[name, node_key] = _Holder(node_key, origin, frame.subjects, frame)
                self._where[name].update(dict.fromkeys(holder.rows, holder))
            holder.add(name, frame)

    def forget(self, family: Family, older_than: float) -> int:
        """Drop subjects whose last row is older than an instant (processes end); how many."""
        with self._lock:
            known = self._where[family.value]
            gone = [s for s, holder in known.items() if holder.newest.newest_us < older_than * 1e6]
            for subject in gone:
                del known[subject]
        return len(gone)

    def last(self, family: Family, subject: str) -> Reading | None:
        """The subject's last row, however long ago; None: none since the collector started."""
        holder = self._where[family.value].get(subject)
        return None if holder is None else next(holder.readings(subject), None)

    def time(self, family: Family, subject: str) -> float | None:
        """When the subject was last read, however long ago; None: never since the collector started."""
        reading = self.last(family, subject)
        return None if reading is None else reading.time

    def alive(self, family: Family, subject: str, now: float) -> bool:
        """Whether the last row still stands."""
        reading = self.last(family, subject)
        return reading is not None and _stands(reading, now)

    def value(self, family: Family, subject: str, key: str, now: float) -> Value | None:
        """The newest value that still stands, also of a slow metric some fast rows ago; None: unknown."""
        holder = self._where[family.value].get(subject)
        return None if holder is None else _value(holder, subject, family, key, now)

    def values(self, family: Family, key: str, now: float) -> dict[str, Value]:
        """One metric of every subject that has one that stands; the others are unknown and absent."""
        found: dict[str, Value] = {}
        for subject, holder in self._snapshot(family):
            value = _value(holder, subject, family, key, now)
            if value is not None:
                found[subject] = value
        return found

    def subjects(self, family: Family, now: float | None = None) -> list[str]:
        """Subjects read since the collector started; with ``now`` only those whose last row stands."""
        if now is None:
            return [subject for subject, _ in self._snapshot(family)]
        return [subject for subject, _ in self.readings(family, now)]

    def readings(self, family: Family, now: float) -> Iterator[tuple[str, Reading]]:
        """The last row of every subject whose last row stands."""
        for subject, holder in self._snapshot(family):
            reading = next(holder.readings(subject), None)
            if reading is not None and _stands(reading, now):
                yield subject, reading

    def _snapshot(self, family: Family) -> list[tuple[str, _Holder]]:
        with self._lock:
            return list(self._where[family.value].items())


def _stands(reading: Reading, now: float) -> bool:
    return now - reading.time <= 2 * reading.interval_seconds + GRACE_SECONDS


def _value(holder: _Holder, subject: str, family: Family, key: str, now: float) -> Value | None:
    slow = catalogue.metric(family, key).tier is Tier.SLOW
    for number, reading in enumerate(holder.readings(subject)):
        if number == 0 and not _stands(reading, now):
            return None
        stands = max(SLOW_SECONDS if slow else 0.0, 2 * reading.interval_seconds) + GRACE_SECONDS
        if now - reading.time > stands:
            return None
        value = reading.value(key)
        if value is not None:
            return value
    return None
