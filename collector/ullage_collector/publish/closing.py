"""Closed periods: their lines stand as they were believed when somebody closed them; the rest of a day goes on.

A period is cut at local midnights, a day of facts at UTC's, so that a day may lie partly in a closed period: then its
lines are put together from both beliefs at the edge. Corrections of a closed period go forward as
lines of their own, never back (adjust/corrections.py). Not here: what the lines say (states.py), and closing a period
(closed_periods.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Final

from ullage_collector.ledger import ALLOCATED_IDLE, STATES, USED
from ullage_collector.publish import beside
from ullage_collector.sql import statements
from ullage_collector.states import States, Worked
from ullage_contract.errors import LedgerError

if TYPE_CHECKING:
    import duckdb

HOUR_US: Final = 3_600_000_000
_BESIDE: Final = (beside.ENERGY, beside.REMAINDER)


@dataclass(frozen=True, slots=True)
class Closed:
    """A stretch of a day that lies in a closed period: [from_us, to_us), and when the period was closed (aware UTC).

    period_from, period_to: the whole period, naive UTC as the store keeps it; its bounds are local midnights of ``zone``.
    """

    from_us: int
    to_us: int
    closed_at: datetime
    period_from: datetime
    period_to: datetime
    zone: str


@dataclass(frozen=True, slots=True)
class Belief:
    """A day worked out. stands: its lines, those of closed stretches as they were when closed. present: all of them as
    believed now; the same object where nothing of the day is closed. closed: the closed stretches, ascending."""

    stands: Worked
    present: Worked
    closed: tuple[Closed, ...]


# ------------------------------------------------------------------------------- a day
def work_out(connection: duckdb.DuckDBPyConnection, states: States, day: date, now: datetime) -> Belief:
    """A day's lines as believed now, but for its closed stretches: those stand as they were when closed.

    connection: the one ``states`` works on, in its reading transaction. The closed lines are those that are kept; where none are (a
    store put together again), they are worked out as believed when the period was closed.
    Raises what States.work_out raises, and LedgerError where closed lines stand on telemetry that is no longer there: what
    is believed without it is nothing to correct them by.
    """
    closed = spans(connection, day)
    present = states.work_out(day, now)
    if not closed:
        return Belief(present, present, ())
    sql = statements("closing")
    kept = connection.sql(sql["kept"].rstrip(";"), params={"day": day}).to_arrow_table()
    lines = _like(present.lines, kept.schema)
    found = dict(zip(_BESIDE, (present.energy, present.remainder), strict=True))
    if kept.num_rows:
        lines = combined(kept, lines, _joined(closed))
        for kind, now_believed in found.items():
            standing = beside.kept(connection, kind, day)
            found[kind] = beside.combined(connection, kind, standing, now_believed, _joined(closed))
    else:
        for span in closed:
            then = states.work_out(day, span.closed_at)
            part = [(span.from_us, span.to_us)]
            lines = combined(_like(then.lines, kept.schema), lines, part)
            for kind, believed in zip(_BESIDE, (then.energy, then.remainder), strict=True):
                found[kind] = beside.combined(connection, kind, believed, found[kind], part)
    besides = replace(present, energy=found[beside.ENERGY], remainder=found[beside.REMAINDER])
    stands = _worked(connection, day, lines, besides)
    known = any(stands.quantities[state] for state in (USED, ALLOCATED_IDLE))
    drew = bool(stands.energy is not None and stands.energy.num_rows)
    draws = bool(present.energy is not None and present.energy.num_rows)
    if present.minutes == 0 and (known or (drew and not draws)):
        raise LedgerError(
            f"{day}: its closed lines stand on telemetry the store no longer holds, so what became known since is no "
            "correction yet; bring the published telemetry day back"
        )
    return Belief(stands, present, tuple(closed))


def combined(closed: Any, present: Any, spans: Sequence[tuple[int, int]]) -> Any:
    """Lines inside the spans from ``closed``, outside them from ``present``; cut at the edges where both differ.

    closed, present: Arrow tables of a day's lines of one schema, with card_key, from_us, to_us among the columns.
    spans: disjoint and ascending, microseconds. A card whose lines across an edge are the same in both is not cut
    there: closing a period alone makes no new lines.
    """
    import pyarrow as pa

    outside: list[tuple[int, int]] = []
    at = -(2**62)
    for start, end in spans:
        outside.append((at, start))
        at = end
    outside.append((at, 2**62))
    uncut = _same_across(closed, present, spans)
    parts = [_clipped(closed, start, end, uncut) for start, end in spans]
    parts += [_clipped(present, start, end, uncut) for start, end in outside if start < end]
    whole = closed.filter(_crossing(closed, uncut))
    return pa.concat_tables([*parts, whole])


def _clipped(lines: Any, start: int, end: int, uncut: set[tuple[int, int]]) -> Any:
    """Lines within [start, end), cut at both ends; those that are kept whole somewhere else are left out."""
    import pyarrow as pa
    import pyarrow.compute as pc

    inside = pc.and_(pc.less(lines["from_us"], end), pc.greater(lines["to_us"], start))
    if uncut:
        inside = pc.and_(inside, pc.invert(_crossing(lines, uncut)))
    found = lines.filter(inside)
    for name, values in (
        ("from_us", pc.max_element_wise(found["from_us"], pa.scalar(start, pa.int64()))),
        ("to_us", pc.min_element_wise(found["to_us"], pa.scalar(end, pa.int64()))),
    ):
        found = found.set_column(found.column_names.index(name), name, values)
    return found


def _crossing(lines: Any, uncut: set[tuple[int, int]]) -> Any:
    """Which lines are of a card that is not cut at an edge, and lie across that edge."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = pa.array([False] * lines.num_rows, pa.bool_())
    for edge in {edge for _, edge in uncut}:
        cards = pa.array([card for card, at in uncut if at == edge], lines.schema.field("card_key").type)
        across = pc.and_(pc.less(lines["from_us"], edge), pc.greater(lines["to_us"], edge))
        found = pc.or_(found, pc.and_(across, pc.is_in(lines["card_key"], cards)))
    return found


def _same_across(closed: Any, present: Any, spans: Sequence[tuple[int, int]]) -> set[tuple[int, int]]:
    """(card, edge) where a card's lines across an edge are the same in both; lines never cross a UTC hour."""
    import pyarrow.compute as pc

    found: set[tuple[int, int]] = set()
    for edge in {edge for span in spans for edge in span if edge % HOUR_US}:
        sides = []
        for lines in (closed, present):
            across = pc.and_(pc.less(lines["from_us"], edge), pc.greater(lines["to_us"], edge))
            by_card: dict[int, list[tuple[Any, ...]]] = {}
            for row in lines.filter(across).to_pylist():
                by_card.setdefault(row["card_key"], []).append(tuple(map(repr, row.values())))
            sides.append({card: sorted(rows) for card, rows in by_card.items()})
        found.update((card, edge) for card, rows in sides[0].items() if sides[1].get(card) == rows)
    return found


def _worked(connection: duckdb.DuckDBPyConnection, day: date, lines: Any, present: Worked) -> Worked:
    """The present day with other lines, checked as States.work_out checks its own."""
    sql = statements("closing")
    connection.register("lines_given", lines)
    try:
        wrong = connection.execute(sql["unequal"]).fetchall()
        if wrong:
            raise LedgerError(
                f"BUG: {day}: shares of card {wrong[0][0]} from {wrong[0][1]} add up to {wrong[0][2]}"
            )
        sums = connection.execute(sql["sums"]).fetchall()
    finally:
        connection.unregister("lines_given")
    quantities = dict.fromkeys(STATES, 0) | {str(state): int(quantity) for state, quantity, _ in sums}
    unpriced = sum(int(without or 0) for _, _, without in sums)
    return replace(present, lines=lines, quantities=quantities, unpriced=unpriced)


def spans(connection: duckdb.DuckDBPyConnection, day: date) -> list[Closed]:
    """The closed stretches of a UTC day, ascending."""
    start = datetime.combine(day, time())
    rows = connection.execute(
        statements("closing")["spans"], {"from": start, "to": start + timedelta(days=1)}
    ).fetchall()
    return [
        Closed(int(f), int(t), closed_at.replace(tzinfo=UTC), starts, ends, str(zone))
        for f, t, closed_at, starts, ends, zone in rows
    ]


def closed_at(connection: duckdb.DuckDBPyConnection, at: datetime) -> datetime | None:
    """When the period that holds an instant was closed, aware UTC; None: it is open. at: aware."""
    naive = at.astimezone(UTC).replace(tzinfo=None)
    rows = connection.execute(statements("closing")["at"], {"at": naive}).fetchall()
    return rows[0][0].replace(tzinfo=UTC) if rows else None


def _joined(closed: Sequence[Closed]) -> list[tuple[int, int]]:
    """The stretches with those that touch made one: nothing is cut where one closed period follows another."""
    found: list[tuple[int, int]] = []
    for span in closed:
        if found and found[-1][1] == span.from_us:
            found[-1] = (found[-1][0], span.to_us)
        else:
            found.append((span.from_us, span.to_us))
    return found


def _like(lines: Any, schema: Any) -> Any:
    """Lines with the columns and types of the kept ones."""
    return lines.select(schema.names).cast(schema)
