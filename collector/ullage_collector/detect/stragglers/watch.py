"""The straggler detectors on the store's minutes, one look after another.

Silence neither opens nor ends a finding: of jobs, cards, nodes and ports that were not heard lately, what stands stays.
Not here: the judgements (finding.py), keeping findings (rounds.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from ullage_collector.detect.findings import Found
from ullage_collector.detect.stragglers.finding import KINDS, STRAGGLER, find
from ullage_collector.detect.stragglers.reading import Jobs, jobs_at, rows_of, unheard
from ullage_collector.detect.stragglers.settings import Rules
from ullage_collector.detect.stragglers.usual import Usual
from ullage_collector.detect.stragglers.window import MINUTE_US, Window
from ullage_collector.pricing.now import book_now
from ullage_collector.sql import statements
from ullage_collector.store.rollup import through_us

if TYPE_CHECKING:
    import duckdb

LATE_US: Final = 10 * MINUTE_US
"""our choice: minutes older than this say nothing about now; the rollup is a minute and a half behind when it is well."""


class StragglerWatch:
    """One look after another on the store; one thread's alone."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._usual = Usual(rules)

    def look(self, cursor: duckdb.DuckDBPyConnection, now_us: int) -> tuple[list[Found], set[str]]:
        """(findings, subjects that cannot be judged now: their findings stay). cursor: for reading; it gets temp tables.

        Raises what the store raises.
        """
        through = through_us(cursor)
        through -= through % MINUTE_US
        if now_us - through > LATE_US:
            return [], self._open(cursor)
        jobs = jobs_at(cursor, self._rules, through)
        self._usual.learn(cursor, jobs, through, now_us)
        window = self.window(cursor, jobs, through)
        prices = book_now(cursor)
        return find(window, self._rules, prices), unjudged(window, self._rules)

    def window(self, cursor: duckdb.DuckDBPyConnection, jobs: Jobs, through: int) -> Window:
        """What the detectors look at; after ``learn`` of the same jobs."""
        cards, ports, hosts = (
            rows_of(cursor, jobs, family, self._rules, through) for family in ("card", "port", "host")
        )
        rows = cursor.execute(statements("stragglers")["standing"], {"kind": STRAGGLER}).fetchall()
        return Window(
            through_us=through,
            minutes=self._rules.window,
            gangs=jobs.gangs,
            nodes=jobs.nodes,
            held=jobs.held,
            cards=cards,
            ports=ports,
            hosts=hosts,
            shared=np.array(jobs.shared, np.bool_),
            usual_watts=self._usual.watts(jobs),
            usual_bytes=self._usual.moved(jobs),
            standing=dict(rows),
        )

    def _open(self, cursor: duckdb.DuckDBPyConnection) -> set[str]:
        sql = statements("stragglers")["standing"]
        return {
            str(subject) for kind in KINDS for subject, _ in cursor.execute(sql, {"kind": kind}).fetchall()
        }


def unjudged(window: Window, rules: Rules) -> set[str]:
    """Jobs of whose cards half were not heard lately, with all that is theirs; and single cards, nodes and ports."""
    silent = unheard(window.cards, window.minutes, rules.unlike.span, rules.known)
    mute = np.zeros(len(window.held), np.bool_)
    mute[silent] = True
    found = {window.cards.names[row] for row in silent.tolist()}
    ports = unheard(window.ports, window.minutes, rules.unlike.span, rules.known)
    found |= {window.ports.names[row] for row in ports.tolist()}
    of_port: dict[int, list[str]] = {}
    for name, gang in zip(window.ports.names, window.ports.gang.tolist(), strict=True):
        of_port.setdefault(gang, []).append(name)
    for gang, rows in enumerate(window.of_gangs()):
        for node in set(window.cards.node[rows].tolist()) - {-1}:
            if mute[rows[window.cards.node[rows] == node]].all():
                found.add(window.nodes[node])
        if mute[rows].sum() * 2 > len(rows):
            found.add(window.gangs[gang].name)
            found |= {window.cards.names[row] for row in rows.tolist()}
            found |= {window.nodes[node] for node in window.cards.node[rows].tolist() if node >= 0}
            found |= set(of_port.get(gang, ()))
    return found
