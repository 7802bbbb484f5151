"""What earlier days say of quiet work, out of the bill's states: one work's own habits, and its pool's tide.

The states of a day are made once it is over, kept for ever, and the same that money stands on; so a collector that starts
knows them at once. Each gang is read once and again when another day may be there.
Not here: the verdict (usual.py), the tide itself (tide.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from ullage_collector.detect.usual import History, Hour, UsualRules
from ullage_collector.sql import statements
from ullage_collector.store import incoming

if TYPE_CHECKING:
    import duckdb

AGAIN_US: Final = 6 * 3_600_000_000
"""our choice: because a day's states come soon after midnight, or some hours later."""
TIDE_DAYS: Final = 7
"""our choice: because the tide's memory of a day halves in three (idle.toml): a week is five sixths of all it would know."""
GANGS_AT_ONCE: Final = 200  # our choice: because a month of them is 130,000 rows
_MEMBER: Final = {"gang": pa.string(), "workload_key": pa.int32()}


class Histories:
    """Gangs' pasts, read when they are asked for. One thread's alone."""

    def __init__(self, rules: UsualRules) -> None:
        self._rules = rules
        self._kept: dict[str, tuple[int, History]] = {}

    def of(
        self,
        cursor: duckdb.DuckDBPyConnection,
        members: Mapping[str, Iterable[int]],
        now_us: int,
    ) -> dict[str, History]:
        """By gang. members: gang -> workload keys. Raises what the store raises."""
        missing = [
            gang for gang in members if gang not in self._kept or now_us - self._kept[gang][0] >= AGAIN_US
        ]
        from_day = _day(now_us) - timedelta(days=max(self._rules.days, 7 * self._rules.weeks) + 1)
        for start in range(0, len(missing), GANGS_AT_ONCE):
            some = missing[start : start + GANGS_AT_ONCE]
            hours: dict[str, list[Hour]] = defaultdict(list)
            asked = [(gang, key) for gang in some for key in members[gang]]
            for gang, hour, first, last, idle in _fetch(cursor, asked, from_day):
                hours[gang].append(Hour(hour / 1e6, _seconds(first), _seconds(last), bool(idle)))
            for gang in some:
                self._kept[gang] = now_us, History(hours.get(gang, ()))
        return {gang: self._kept[gang][1] for gang in members}

    def forget(self, standing: Iterable[str]) -> None:
        """Drop what is of gangs that hold nothing any more."""
        kept = set(standing)
        self._kept = {gang: row for gang, row in self._kept.items() if gang in kept}


def tides(
    cursor: duckdb.DuckDBPyConnection, now_us: int
) -> Iterator[tuple[str, str, str | None, float, int, float]]:
    """(cluster, kind of workload, scenario, epoch seconds of the hour, wakes, quiet minutes), in order of time."""
    from_day = _day(now_us) - timedelta(days=TIDE_DAYS)
    yield from cursor.execute(statements("idle")["tides"], {"from_day": from_day.date()}).fetchall()


def _fetch(
    cursor: duckdb.DuckDBPyConnection, members: Iterable[tuple[str, int]], from_day: datetime
) -> list[tuple[str, int, int | None, int | None, bool | None]]:
    rows = incoming.table(_MEMBER, members)
    with incoming.registered(cursor, rows):
        found: list[tuple[str, int, int | None, int | None, bool | None]] = cursor.execute(
            statements("idle")["history"], {"from_day": from_day.date()}
        ).fetchall()
    return found


def _day(now_us: int) -> datetime:
    return datetime.fromtimestamp(now_us / 1e6, UTC)


def _seconds(us: int | None) -> float | None:
    return None if us is None else us / 1e6
