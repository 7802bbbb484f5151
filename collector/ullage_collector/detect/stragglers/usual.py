"""What running jobs usually draw and move, learned from the store once an hour and kept in memory.

A busy minute shows activity and, where links are measured, traffic: a job that spins from its start teaches nothing. What was
learned only grows while a job runs, so that hours of hanging do not become usual.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from ullage_collector.detect.stragglers.reading import Jobs, Wanted, asked, source_columns, views
from ullage_collector.detect.stragglers.settings import Rules
from ullage_collector.sql import fill, statements

if TYPE_CHECKING:
    import duckdb

LEARN_EVERY_US: Final = 3_600_000_000
"""our choice: what a job draws at work changes with its phases, not with minutes."""
LEAST_MINUTES: Final = 3
"""our choice: card-minutes; of one minute in five, so many are a quarter of an hour of one card at work."""
MOST_MOVED_QUANTILE: Final = 0.9  # our choice: as for power


@dataclass(slots=True)
class _Known:
    at_us: int
    watts: dict[str, float]
    moved: float


class Usual:
    """Learned figures of running jobs, by name. One thread's alone."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._gangs: dict[str, _Known] = {}
        self._models: dict[str, float] = {}

    def learn(self, cursor: duckdb.DuckDBPyConnection, jobs: Jobs, through_us: int, now_us: int) -> None:
        """Ask for jobs that are new or were not asked about for an hour; forget those that ended. Raises what the store raises."""
        names = [gang.name for gang in jobs.gangs]
        self._gangs = {name: known for name, known in self._gangs.items() if name in set(names)}
        due = {
            number
            for number, name in enumerate(names)
            if name not in self._gangs or now_us - self._gangs[name].at_us >= LEARN_EVERY_US
        }
        if not due:
            return
        for number in due:
            self._gangs.setdefault(names[number], _Known(now_us, {}, float("nan"))).at_us = now_us
        there = views(cursor)
        from_us = through_us - self._rules.hang.learn_hours * 3_600_000_000
        if "card_minute" in there:
            with asked(cursor, _of(jobs.cards, due)):
                self._watts(cursor, names, from_us, through_us)
                self._moved(cursor, names, "card", ("link_rx_bytes", "link_tx_bytes"), from_us, through_us)
        if "port_minute" in there:
            with asked(cursor, _of(jobs.ports, due)):
                self._moved(cursor, names, "port", ("xmit_data_bytes", "rcv_data_bytes"), from_us, through_us)

    def watts(self, jobs: Jobs) -> NDArray[np.float64]:
        """Usual power of each row of cards: its job's own; of a job that moves data, else its model's. NaN: not known."""
        found = np.full(len(jobs.held), np.nan)
        for row, _, gang, model, _ in jobs.cards.rows:
            known = self._gangs.get(jobs.gangs[gang].name)
            if known is None:
                continue
            own = known.watts.get(model)
            if own is not None:
                found[row] = own
            elif known.moved >= self._rules.hang.least_usual_bytes:
                found[row] = self._models.get(model, np.nan)
        return found

    def moved(self, jobs: Jobs) -> NDArray[np.float64]:
        """Bytes a second that the busiest port or card of each job usually moves. NaN: not known."""
        known = (self._gangs.get(gang.name) for gang in jobs.gangs)
        return np.array([np.nan if one is None else one.moved for one in known], np.float64)

    def _watts(
        self, cursor: duckdb.DuckDBPyConnection, names: list[str], from_us: int, through_us: int
    ) -> None:
        columns = source_columns(cursor, "card_minute")
        activity = [name for name in ("sm_active_ratio", "utilization_ratio") if name in columns]
        if not activity or "power_watts" not in columns:
            return
        hang = self._rules.hang
        busy = f"coalesce({', '.join(f'm.{name}' for name in activity)}) >= {hang.busy_ratio!r}"
        if {"link_rx_bytes_increase", "link_tx_bytes_increase"} <= columns:
            moved = "(m.link_rx_bytes_increase + m.link_tx_bytes_increase) / greatest(m.covered_seconds, 1)"
            busy += f" AND coalesce({moved} > {hang.quiet_bytes!r}, true)"
        statement = fill(
            statements("stragglers")["usual_watts"],
            quantile=repr(hang.busy_watts_quantile),
            source="card_minute",
            subject="card_key",
            from_us=str(from_us),
            to_us=str(through_us),
            busy=busy,
        )
        for gang, model, watts, minutes in cursor.execute(statement).fetchall():
            if minutes < LEAST_MINUTES or watts is None:
                continue
            if gang is None:
                self._models[model] = float(watts)
            else:
                own = self._gangs[names[gang]].watts
                own[model] = max(own.get(model, 0.0), float(watts))

    def _moved(
        self,
        cursor: duckdb.DuckDBPyConnection,
        names: list[str],
        family: str,
        keys: tuple[str, ...],
        from_us: int,
        through_us: int,
    ) -> None:
        source = f"{family}_minute"
        there = source_columns(cursor, source)
        increases = [f"m.{key}_increase" for key in keys if f"{key}_increase" in there]
        if not increases:
            return
        statement = fill(
            statements("stragglers")["usual_bytes"],
            quantile=repr(MOST_MOVED_QUANTILE),
            moved=" + ".join(increases),
            source=source,
            subject=f"{family}_key",
            from_us=str(from_us),
            to_us=str(through_us),
        )
        for gang, moved in cursor.execute(statement).fetchall():
            known = self._gangs[names[gang]]
            known.moved = float(np.fmax(known.moved, moved))


def _of(wanted: Wanted, gangs: set[int]) -> Wanted:
    return Wanted([row for row in wanted.rows if row[2] in gangs])
