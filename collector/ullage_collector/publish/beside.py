"""Money beside the segments of a day: energy, and what of a price no share carries. Kept like them, closed like them.

Not here: how the lines are worked out (pricing/), and what they are published as (files.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Final

from ullage_collector.sql import fill, statements
from ullage_contract.errors import LedgerError

if TYPE_CHECKING:
    import duckdb

    from ullage_collector.states import Worked


@dataclass(frozen=True, slots=True)
class Kind:
    """A table of the store. amount: the column that is divided where a line is cut. type: its SQL type."""

    table: str
    amount: str
    type: str


ENERGY: Final = Kind("energy_line", "energy_mj", "BIGINT")
REMAINDER: Final = Kind("remainder_line", "cost_atoms", "DECIMAL(38, 0)")


def kept(connection: duckdb.DuckDBPyConnection, kind: Kind, day: date) -> Any:
    """A day's lines as they are kept, as an Arrow table."""
    sql = fill(statements("beside")["kept"], table=kind.table)
    return connection.sql(sql.rstrip(";"), params={"day": day}).to_arrow_table()


def combined(
    connection: duckdb.DuckDBPyConnection,
    kind: Kind,
    standing: Any,
    present: Any,
    spans: Sequence[tuple[int, int]],
) -> Any:
    """Lines inside the spans from ``standing``, outside them from ``present``; ``present`` itself where both are the same.

    standing, present: Arrow tables with the columns of the kind but day. spans: disjoint, microseconds.
    """
    import pyarrow as pa

    sql = statements("beside")
    present = present.select(standing.column_names).cast(standing.schema)
    cut = pa.table(
        {
            "from_us": pa.array([a for a, _ in spans], pa.int64()),
            "to_us": pa.array([b for _, b in spans], pa.int64()),
        }
    )
    with _given(connection, beside_kept=standing, beside_present=present, beside_span=cut):
        if not connection.execute(sql["same"]).fetchall()[0][0]:
            return present
        query = fill(sql["combined"], amount=kind.amount, type=kind.type)
        return connection.sql(query.rstrip(";")).to_arrow_table()


def keep(connection: duckdb.DuckDBPyConnection, worked: Worked) -> bool:
    """Keep what a day's lines have beside them, where it differs from what is kept. connection: inside a write.

    True: something changed. What is None stands as it is kept. Raises LedgerError where energy is kept and no minute is left to
    work it out from: what was drawn is never made nothing because its minutes were dropped.
    """
    changed = False
    sql = statements("beside")
    p = {"day": worked.day}
    for kind, lines in ((ENERGY, worked.energy), (REMAINDER, worked.remainder)):
        if lines is None:
            continue
        with _given(connection, beside_given=lines):
            if connection.execute(fill(sql["changed"], table=kind.table), p).fetchall()[0][0]:
                if kind is ENERGY and not lines.num_rows and not worked.minutes:
                    raise LedgerError(
                        f"{worked.day}: its energy stands on telemetry the store no longer holds; make it again from the "
                        "published telemetry day"
                    )
                connection.execute(fill(sql["drop_day"], table=kind.table), p)
                connection.execute(fill(sql["keep_day"], table=kind.table), p)
                changed = True
    return changed


@contextmanager
def _given(connection: duckdb.DuckDBPyConnection, **tables: Any) -> Iterator[None]:
    """Arrow tables under their names. After an error they stay: the transaction is aborted, and the next ones replace them."""
    for name, table in tables.items():
        connection.register(name, table)
    yield
    for name in tables:
        connection.unregister(name)
