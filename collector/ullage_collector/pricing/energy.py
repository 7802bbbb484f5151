"""What the cards of a UTC day drew, and who pays for it: the rows of table ``energy_line``.

A card's minute is what its energy counter rose by, or its power over the minute; a board that several cards share counts once,
in even parts; a server's own power is shared evenly by its cards. A hole is filled as the policy says and marked estimated. Who
pays is read off the day's lines by their shares at that time. SQL (sql/energy.sql) does it over all cards at once, on the temp
tables of states.py.

Minutes are measurements and rounded to millijoules each; everything after that is whole numbers that add up.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from ullage_collector.prices import usable
from ullage_collector.pricing.exchange import Exchange
from ullage_collector.pricing.tariffs import Pue, Tariff, charges
from ullage_collector.sql import fill, statements
from ullage_contract.errors import LedgerError

if TYPE_CHECKING:
    import duckdb

log = logging.getLogger(__name__)

MINUTE_COVERED_SECONDS: Final = 30.0
"""our choice: because a mean over half a minute and more stands for the minute, as in the judging of states"""
DAY_US: Final = 86_400_000_000
MINUTE_US: Final = 60_000_000
HOST_WATTS: Final = "host_power_watts"
"""What a server draws beside its cards; hours of it are what is kept for good."""
MOST: Final = 1e9
"""Watts, and joules a minute. our choice: because no machine draws so much, and its minute in millijoules still fits 64 bits"""
_PARAMETER: Final = re.compile(r"\$([a-z_]+)")


def work_out(
    connection: duckdb.DuckDBPyConnection,
    p: Mapping[str, Any],
    exchange: Exchange,
    sources: Mapping[str, str] | None,
) -> Any:
    """The day's energy as an Arrow table with the columns of ``energy_line`` but day; no rows where nothing was measured.

    connection: with states_capacity and states_line of the day. p: from_us, to_us (a UTC day) and as_of. sources: what to read
    in place of card_minute and node_hour for a day that the store has dropped; None: the store's views.
    Raises LedgerError (BUG) when what was drawn is not what the lines say.
    """
    return _Day(connection, p, exchange, sources).work_out()


class _Day:
    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        p: Mapping[str, Any],
        exchange: Exchange,
        sources: Mapping[str, str] | None,
    ) -> None:
        self._connection = connection
        self._sql = statements("energy")
        self._exchange = exchange
        self._from_us, self._to_us = int(p["from_us"]), int(p["to_us"])
        self._p = {
            "from_us": self._from_us,
            "to_us": self._to_us,
            "as_of": p["as_of"],
            "by_counter": exchange.gap_energy(self._from_us) == "energy_counter",
        }
        self._sources = (
            dict(sources)
            if sources is not None
            else {row[0]: row[0] for row in self._run("views").fetchall()}
        )

    def work_out(self) -> Any:
        cards, hosts = self._readings(), self._host_column()
        if cards is not None and not self._execute(fill(self._sql["any"], readings=cards[0])).fetchall():
            cards = None  # a day on which nothing was measured is not guessed
        if cards is None and hosts is None:
            return self._connection.sql(self._sql["no_lines"].rstrip(";")).to_arrow_table()
        self._run("cards")
        self._charges()
        self._run("pieces")
        self._cards(cards)
        if hosts is not None:
            self._execute(
                fill(
                    self._sql["hosts"],
                    source=self._sources["node_hour"],
                    watts=hosts,
                    from_us=str(self._from_us),
                    to_us=str(self._to_us),
                )
            )
        self._run("lines")
        wrong = int(self._run("check_energy").fetchall()[0][0])
        if wrong:
            raise LedgerError(f"BUG: {wrong} millijoules that cards drew are in no line")
        return self._connection.sql(self._sql["all_lines"].rstrip(";")).to_arrow_table()

    def _cards(self, readings: tuple[str, str] | None) -> None:
        if readings is None:
            self._run("nothing_drawn")
            return
        own, near = readings
        self._execute(fill(self._sql["boards"], readings=own))
        self._execute(fill(self._sql["minutes"], readings=own))
        self._run("whole_cards")
        self._execute(fill(self._sql["edges"], readings=near))
        self._run("filled")
        self._run("drawn")

    def _readings(self) -> tuple[str, str] | None:
        """What the day's minutes say of power, with the one before; and the same with a day on both sides. None: nothing can."""
        source = self._sources.get("card_minute")
        if source is None:
            return None
        columns = self._columns(source)
        names = ("power_watts", "board_power_watts", "energy_joules_increase")
        if not columns.intersection(names):
            return None
        watts, board, joules = (_believable(f's."{name}"') if name in columns else "NULL" for name in names)

        def reading(before_us: int, after_us: int) -> str:
            return fill(
                self._sql["readings"],
                source=source,
                covered=repr(MINUTE_COVERED_SECONDS),
                watts=watts,
                board_watts=board,
                joules=joules,
                from_us=str(self._from_us - before_us),
                to_us=str(self._to_us + after_us),
            )

        return reading(MINUTE_US, 0), reading(DAY_US, DAY_US)

    def _host_column(self) -> str | None:
        source = self._sources.get("node_hour")
        told = source is not None and HOST_WATTS in self._columns(source)
        return _believable(f'"{HOST_WATTS}"') if told else None

    def _columns(self, source: str) -> set[str]:
        return {row[0] for row in self._execute(fill(self._sql["columns"], source=source)).fetchall()}

    def _charges(self) -> None:
        """energy_charge: what energy costs in each cluster, over stretches that cover the day."""
        import pyarrow as pa

        tariffs = usable(Tariff, self._run("tariffs").fetchall(), "tariff", [])
        pues = [Pue(*row) for row in self._run("pues").fetchall()]
        rows = [
            (cluster, each)
            for (cluster,) in self._run("clusters").fetchall()
            for each in charges(cluster, self._from_us, self._to_us, tariffs, pues, self._exchange)
        ]
        columns = {
            "charge": pa.array(range(len(rows)), pa.int64()),
            "cluster_id": pa.array([cluster for cluster, _ in rows], pa.string()),
        }
        for name in ("from_us", "to_us", "tariff_id", "tariff_micro", "rate_id", "pue_id", "pue_milli"):
            columns[name] = pa.array([getattr(each, name) for _, each in rows], pa.int64())
        columns["currency"] = pa.array([each.currency for _, each in rows], pa.string())
        self._connection.register("energy_given", pa.table(columns))
        try:
            self._run("keep_charges")
        finally:
            self._connection.unregister("energy_given")

    def _run(self, name: str) -> duckdb.DuckDBPyConnection:
        return self._execute(self._sql[name])

    def _execute(self, sql: str) -> duckdb.DuckDBPyConnection:
        wanted = set(_PARAMETER.findall(sql))
        return self._connection.execute(sql, {k: v for k, v in self._p.items() if k in wanted})


def _believable(column: str) -> str:
    """A column's figures but those that nothing can draw, below 0 or above MOST: a broken sensor told nothing, and stops no day."""
    return f"(CASE WHEN {column} BETWEEN 0 AND {MOST!r} THEN {column} END)"
