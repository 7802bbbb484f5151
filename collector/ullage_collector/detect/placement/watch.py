"""The placement detector on the store, one look after another. Silence neither opens nor ends a finding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ullage_collector.detect.findings import Found
from ullage_collector.detect.fragmentation.reading import Fleet
from ullage_collector.detect.placement.finding import KIND, Placed, find
from ullage_collector.detect.placement.reading import MINUTE_US, nodes_of, placed_of
from ullage_collector.detect.placement.settings import Rules
from ullage_collector.detect.stragglers.reading import jobs_at
from ullage_collector.detect.stragglers.settings import Rules as JobRules
from ullage_collector.detect.stragglers.watch import LATE_US
from ullage_collector.pricing.now import book_now
from ullage_collector.sql import statements
from ullage_collector.store.rollup import through_us
from ullage_collector.topology.domains import Topology

if TYPE_CHECKING:
    import duckdb


class PlacementWatch:
    """One look after another on the store; one thread's alone."""

    def __init__(self, rules: Rules, jobs: JobRules) -> None:
        """jobs: which workloads are one job, as for stragglers."""
        self._rules = rules
        self._jobs = jobs

    def look(
        self, cursor: duckdb.DuckDBPyConnection, now_us: int, topology: Topology, fleet: Fleet
    ) -> tuple[list[Found], set[str]]:
        """(findings, jobs that cannot be judged now: their findings stay). cursor: for reading; it gets temp tables.

        Raises what the store raises.
        """
        through = through_us(cursor)
        through -= through % MINUTE_US
        if now_us - through > LATE_US:
            return [], self._open(cursor)
        jobs = jobs_at(cursor, self._jobs, through)
        placed = placed_of(cursor, jobs, topology, self._rules, through)
        prices = book_now(cursor)
        found = find(placed, nodes_of(fleet.nodes, topology), self._rules, prices, now_us)
        return found, {job.gang.name for job in placed if _is_unheard(job, self._rules)}

    def _open(self, cursor: duckdb.DuckDBPyConnection) -> set[str]:
        rows = cursor.execute(statements("unallocated_use")["open_subjects"], [KIND]).fetchall()
        return {str(name) for (name,) in rows}


def _is_unheard(job: Placed, rules: Rules) -> bool:
    """Whether its ports were heard for less than half of the window: they neither carry nor do not carry anything."""
    heard = sum(port.covered_seconds for port in job.ports)
    return heard * 2 < rules.minutes * 60.0 * len(job.ports) or not job.ports
