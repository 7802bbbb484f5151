"""Closed periods: their lines stand as they were believed when somebody closed them; the rest of a day goes on.

A period is cut at local midnights, a day of facts at UTC's, so that a day may lie partly in a closed period: then its
lines are put together from both beliefs at the edge. Corrections of a closed period go forward as
lines of their own, never back. Not here: what the lines say (states.py).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from ullage_collector import audit
from ullage_collector.ledger import STATES
from ullage_collector.sql import statements
from ullage_collector.states import DAY_US, States, Worked
from ullage_contract.errors import BadInput, LedgerError

if TYPE_CHECKING:
    import duckdb

    from ullage_collector.store.store import Store

log = logging.getLogger(__name__)

HOUR_US: Final = 3_600_000_000


@dataclass(frozen=True, slots=True)
class Closed:
    """A stretch of a day that lies in a closed period: [from_us, to_us), and when the period was closed (aware UTC)."""

    from_us: int
    to_us: int
    closed_at: datetime


@dataclass(frozen=True, slots=True)
class Closing:
    """A closed period. Times aware UTC; starts and ends are local midnights of ``zone``."""

    zone: str
    starts: datetime
    ends: datetime
    closed_at: datetime
    closed_by: str
    reason: str | None

    def to_json(self) -> dict[str, Any]:
        zone = ZoneInfo(self.zone)
        return {
            "zone": self.zone,
            "from": self.starts.astimezone(zone).date().isoformat(),
            "to": self.ends.astimezone(zone).date().isoformat(),
            "starts": _written(self.starts),
            "ends": _written(self.ends),
            "closed_at": _written(self.closed_at),
            "closed_by": self.closed_by,
            "reason": self.reason,
        }


# ------------------------------------------------------------------------------- a day
def work_out(connection: duckdb.DuckDBPyConnection, states: States, day: date, now: datetime) -> Worked:
    """A day's lines as believed now, but for its closed stretches: those stand as they were when closed.

    connection: the one ``states`` works on, in its reading transaction. The closed lines are those that are kept; where none are (a
    store put together again), they are worked out as believed when the period was closed.
    Raises what States.work_out raises.
    """
    closed = spans(connection, day)
    if not closed:
        return states.work_out(day, now)
    sql = statements("closing")
    kept = connection.sql(sql["kept"].rstrip(";"), params={"day": day}).to_arrow_table()
    parts = _joined(closed)
    if kept.num_rows and parts == [(_day_us(day), _day_us(day) + DAY_US)]:
        return _worked(connection, day, now, kept, None)
    present = states.work_out(day, now)
    lines = _like(present.lines, kept.schema)
    if kept.num_rows:
        lines = combined(kept, lines, parts)
    else:
        for span in closed:
            believed = _like(states.work_out(day, span.closed_at).lines, kept.schema)
            lines = combined(believed, lines, [(span.from_us, span.to_us)])
    return _worked(connection, day, now, lines, present)


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


def _worked(
    connection: duckdb.DuckDBPyConnection, day: date, now: datetime, lines: Any, present: Worked | None
) -> Worked:
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
    if present is not None:
        return replace(present, lines=lines, quantities=quantities, unpriced=unpriced)
    return Worked(
        day=day,
        known_at=now,
        lines=lines,
        quantities=quantities,
        unpriced=unpriced,
        minutes=0,
        orphans=0,
        refused=(),
    )


def spans(connection: duckdb.DuckDBPyConnection, day: date) -> list[Closed]:
    """The closed stretches of a UTC day, ascending."""
    start = datetime.combine(day, time())
    rows = connection.execute(
        statements("closing")["spans"], {"from": start, "to": start + timedelta(days=1)}
    ).fetchall()
    return [Closed(int(f), int(t), closed_at.replace(tzinfo=UTC)) for f, t, closed_at in rows]


def closed_at(connection: duckdb.DuckDBPyConnection, at: datetime) -> datetime | None:
    """When the period that holds an instant was closed, aware UTC; None: it is open. at: aware."""
    rows = connection.execute(statements("closing")["at"], {"at": _naive(at)}).fetchall()
    return rows[0][0].replace(tzinfo=UTC) if rows else None


# ------------------------------------------------------------------------------- closing
def closings(connection: duckdb.DuckDBPyConnection) -> list[Closing]:
    """Every closed period, the earliest first."""
    return [
        Closing(
            zone, starts.replace(tzinfo=UTC), ends.replace(tzinfo=UTC), closed.replace(tzinfo=UTC), by, reason
        )
        for zone, starts, ends, closed, by, reason in connection.execute(
            statements("closing")["closings"]
        ).fetchall()
    ]


def close(store: Store, first: date, end: date, zone: str, *, reason: str, actor: str) -> Closing:
    """Close the period of the local days [first, end) of an IANA zone, from now on and for good.

    Raises BadInput for a zone nobody knows, a period that is not over, one that shares time with a closed one, or one with
    days that are not published as they are believed now; nothing is changed then.
    """
    from ullage_collector.publish.facts import stale_days

    if not reason.strip():
        raise BadInput("reason: say why the period is closed; it goes into the audit")
    if end <= first:
        raise BadInput(
            f"--to {end} is not after --from {first}; --to is the first day no longer in the period"
        )
    starts, ends = _midnight(first, zone), _midnight(end, zone)
    now = datetime.fromtimestamp(store.clock.wall(), UTC)
    if ends > now:
        raise BadInput(f"the period ends on {_written(ends)}, which is not over; close it afterwards")
    days = _utc_days(starts, ends)
    stale = stale_days(store, days[0], days[-1])
    sql = statements("closing")
    bounds = {"from": _naive(starts), "to": _naive(ends)}
    with store.write() as connection:
        other = connection.execute(sql["overlapping"], bounds).fetchall()
        if other:
            raise BadInput(
                f"it shares time with the closed period {other[0][1]}Z to {other[0][2]}Z (zone {other[0][0]}); "
                "begin where that one ends"
            )
        span = {"first": days[0], "last": days[-1]}
        published = dict(connection.execute(sql["revisions"], span).fetchall())
        if not published:
            raise BadInput(
                f"no day of it is published ({days[0]} to {days[-1]}); run ullage-collector publish"
            )
        missing = [row[0] for row in connection.execute(sql["unpublished"], span).fetchall()]
        if missing:
            raise BadInput(
                f"{len(missing)} days are not published, the first {missing[0]}; run ullage-collector publish --day {missing[0]}"
            )
        if stale:
            raise BadInput(
                f"{len(stale)} days are published, but something became known since, the first {stale[0]}; "
                "run ullage-collector publish, look at the figures and close then"
            )
        closing = Closing(zone, starts, ends, now, actor, reason.strip())
        connection.execute(
            sql["put"],
            {**bounds, "zone": zone, "now": _naive(now), "actor": actor, "reason": closing.reason},
        )
        audit.write(
            connection,
            audit.AuditRow(
                at=now.timestamp(),
                actor=actor,
                action="close",
                subject=f"{first} to {end} {zone}",
                reason=closing.reason,
                result="closed",
                evidence={"revisions": {day.isoformat(): published[day] for day in sorted(published)}},
            ),
        )
    log.info("%s to %s (%s) is closed by %s: %s", first, end, zone, actor, closing.reason)
    return closing


def _midnight(day: date, zone: str) -> datetime:
    try:
        found = ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        raise BadInput(f'zone {zone[:40]!r} is not known; write an IANA zone, e.g. "Asia/Shanghai"') from None
    return datetime.combine(day, time(), found).astimezone(UTC)


def _utc_days(starts: datetime, ends: datetime) -> list[date]:
    """Every UTC day that shares time with [starts, ends)."""
    first, last = starts.date(), (ends - timedelta(microseconds=1)).date()
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


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


def _day_us(day: date) -> int:
    return int(datetime.combine(day, time(), UTC).timestamp()) * 1_000_000


def _naive(instant: datetime) -> datetime:
    return instant.astimezone(UTC).replace(tzinfo=None)


def _written(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
