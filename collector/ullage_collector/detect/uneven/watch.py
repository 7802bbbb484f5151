"""The detector of uneven use on the store: looked at when a day was published or requests changed, at most once an hour.

While nothing was published lately nothing is judged, and what stands stays. Not here: the judgement (finding.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ullage_collector.detect.findings import Found
from ullage_collector.detect.uneven.finding import DAY_US, KIND, find
from ullage_collector.detect.uneven.match import matched
from ullage_collector.detect.uneven.reading import last_day_us, read
from ullage_collector.detect.uneven.settings import Rules
from ullage_collector.ledger import HOUR_US
from ullage_collector.sql import statements

if TYPE_CHECKING:
    import duckdb

EVERY_US: Final = HOUR_US
"""our choice: its newest hours are a day old; an hour more changes nothing."""


class UnevenWatch:
    """One look after another on the store; one thread's alone."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._seen: tuple[int, int] | None = None
        self._found: list[Found] = []

    def look(self, cursor: duckdb.DuckDBPyConnection, now_us: int) -> tuple[list[Found], set[str]]:
        """(findings, subjects that cannot be judged now: their findings stay). Raises what the store raises."""
        rules = self._rules
        end = last_day_us(cursor)
        if end is None or now_us - end > rules.late_days * DAY_US:
            rows = cursor.execute(statements("unallocated_use")["open_subjects"], [KIND]).fetchall()
            return [], {str(name) for (name,) in rows}
        if self._seen is None or self._seen[0] != end or now_us - self._seen[1] >= EVERY_US:
            use = read(cursor, end - rules.days * DAY_US, end, now_us, rules)
            met = matched(use.demands, use.supplies, across_clusters=rules.across_clusters)
            self._found = find(met.pairs, met.own, rules, end, use.days, use.places)
            self._seen = (end, now_us)
        return self._found, set()
