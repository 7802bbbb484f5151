"""The last reading of every subject, in memory: for the map, /metrics and the state engine.

A value is only given while it stands: after its row's interval (and a margin for the way) it is unknown,
not the last thing heard. Kept by reference to the columns as they came, so that a fleet of eighty thousand
cards costs a few references a card and not a dictionary.

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

KEPT_ROWS: Final = 7
"""our choice: because a slow row comes every 60 s and six fast ones stand between two of them."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One row by reference: ``columns[key][row]``. time: seconds since the epoch, UTC."""

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


class Latest:
    """Filled by the writer after each commit; read from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._families: dict[Family, dict[str, tuple[Reading, ...]]] = {family: {} for family in Family}

    def put(self, family: Family, rows: Sequence[tuple[str, Reading]]) -> None:
        """Add rows of a family: (subject, reading). A row older than those kept is not the latest."""
        with self._lock:
            known = self._families[family]
            for subject, reading in rows:
                before = known.get(subject, ())
                if before and reading.time < before[0].time:
                    continue  # backlog
                known[subject] = (reading, *before[: KEPT_ROWS - 1])

    def forget(self, family: Family, older_than: float) -> int:
        """Drop subjects whose last row is older than an instant (processes end); how many."""
        with self._lock:
            known = self._families[family]
            gone = [subject for subject, rows in known.items() if rows[0].time < older_than]
            for subject in gone:
                del known[subject]
        return len(gone)

    def time(self, family: Family, subject: str) -> float | None:
        """When the subject was last read, however long ago; None: never since the collector started."""
        rows = self._families[family].get(subject)
        return rows[0].time if rows else None

    def alive(self, family: Family, subject: str, now: float) -> bool:
        """Whether the last row still stands."""
        rows = self._families[family].get(subject)
        return rows is not None and _stands(rows[0], now)

    def value(self, family: Family, subject: str, key: str, now: float) -> Value | None:
        """The newest value that still stands, also of a slow metric some fast rows ago; None: unknown."""
        return _value(self._families[family].get(subject, ()), family, key, now)

    def values(self, family: Family, key: str, now: float) -> dict[str, Value]:
        """One metric of every subject that has one that stands; the others are unknown and absent."""
        found: dict[str, Value] = {}
        for subject, rows in self._snapshot(family):
            value = _value(rows, family, key, now)
            if value is not None:
                found[subject] = value
        return found

    def subjects(self, family: Family, now: float | None = None) -> list[str]:
        """Subjects read since the collector started; with ``now`` only those whose last row stands."""
        return [s for s, rows in self._snapshot(family) if now is None or _stands(rows[0], now)]

    def readings(self, family: Family, now: float) -> Iterator[tuple[str, Reading]]:
        """The last row of every subject whose last row stands."""
        for subject, rows in self._snapshot(family):
            if _stands(rows[0], now):
                yield subject, rows[0]

    def _snapshot(self, family: Family) -> list[tuple[str, tuple[Reading, ...]]]:
        with self._lock:
            return list(self._families[family].items())


def _stands(reading: Reading, now: float) -> bool:
    return now - reading.time <= 2 * reading.interval_seconds + GRACE_SECONDS


def _value(rows: tuple[Reading, ...], family: Family, key: str, now: float) -> Value | None:
    if not rows or not _stands(rows[0], now):
        return None
    slow = catalogue.metric(family, key).tier is Tier.SLOW
    for reading in rows:
        stands = max(SLOW_SECONDS if slow else 0.0, 2 * reading.interval_seconds) + GRACE_SECONDS
        if now - reading.time > stands:
            return None
        value = reading.value(key)
        if value is not None:
            return value
    return None
