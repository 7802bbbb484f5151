"""The sizing detectors on the store, one look every few hours: their windows are days long.

Between looks a finding stays while its work still runs, and so does one of work of which too little is known by now. Not here: the judgement (finding.py).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ullage_collector.detect.findings import Found
from ullage_collector.detect.sizing.finding import KINDS, find, is_unknown
from ullage_collector.detect.sizing.reading import MINUTE_US, MINUTES, owned_models, worked_of
from ullage_collector.detect.sizing.settings import Rules
from ullage_collector.detect.stragglers.reading import jobs_at, views
from ullage_collector.detect.stragglers.settings import Rules as JobRules
from ullage_collector.pricing.now import book_now
from ullage_collector.sql import statements
from ullage_collector.store.rollup import through_us
from ullage_collector.store.store import naive_utc

if TYPE_CHECKING:
    import duckdb

EVERY_US: Final = 6 * 3_600_000_000
"""our choice: days of minutes change little in six hours, and reading them is the dearest question there is."""
LATE_US: Final = 3_600_000_000
"""our choice: with rollups further behind than an hour nothing is judged, and what stands stays."""


class SizingWatch:
    """One look after another on the store; one thread's alone."""

    def __init__(self, rules: Rules, jobs: JobRules) -> None:
        """jobs: which workloads are one job, as for stragglers."""
        self._rules = rules
        self._jobs = replace(jobs, least_cards=1)
        self._looked_us: int | None = None
        self._found: list[Found] = []
        self._unknown: dict[str, set[str]] = {}

    def look(self, cursor: duckdb.DuckDBPyConnection, now_us: int) -> tuple[list[Found], set[str]]:
        """(findings, subjects that cannot be judged now: their findings stay). cursor: for reading; it gets temp tables.

        Raises what the store raises; then the next look is as if this had not been.
        """
        through = through_us(cursor)
        through -= through % MINUTE_US
        if now_us - through > LATE_US:
            return [], self._open(cursor)
        if self._looked_us is None or now_us - self._looked_us >= EVERY_US:
            prices = book_now(cursor)
            jobs = jobs_at(cursor, self._jobs, through)
            worked = worked_of(cursor, jobs, self._rules, through) if MINUTES in views(cursor) else []
            self._found = find(worked, owned_models(cursor, prices, now_us), self._rules, prices, now_us)
            self._unknown = {
                one.gang.name: {held.workload_id for held in one.gang.held}
                for one in worked
                if is_unknown(one, self._rules)
            }
            self._looked_us = now_us
        rows = cursor.execute(statements("sizing")["running"], {"at": naive_utc(through / 1e6)}).fetchall()
        running = {name for (name,) in rows}
        stays = {name for name, works in self._unknown.items() if running.issuperset(works)}
        return [one for one in self._found if running.issuperset(one.evidence["workloads"])], stays

    def _open(self, cursor: duckdb.DuckDBPyConnection) -> set[str]:
        sql = statements("unallocated_use")["open_subjects"]
        return {str(name) for kind in KINDS for (name,) in cursor.execute(sql, [kind]).fetchall()}
