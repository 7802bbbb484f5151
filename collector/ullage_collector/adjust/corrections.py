"""Corrections: what became known about a closed period, as lines of their own in the first open period after it.

The closed lines stand (publish/closing.py). For every day that is looked at again, table ``correction_cell`` holds what is
believed now less what stands; whatever its sum and the corrections posted so far differ by is posted. So closed plus
corrections is what is believed now, exactly, in whatever order things became known, and going back to the first belief
posts the opposite line. Nothing that is posted is ever edited.

Not here: which days are looked at (publish/facts.py), credits and disputes (requests.py).
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, astuple, dataclass, replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Final

from ullage_collector.sql import statements

if TYPE_CHECKING:
    import duckdb

    from ullage_collector.publish.closing import Belief, Closed

log = logging.getLogger(__name__)

CORRECTION: Final = "correction"
BY: Final = "ullage"
"""Who asks for a correction: no person does."""
UNCHANGED: Final = "worked out again"
"""The reason where nothing is dated after the day was made: its rules or the program are others."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One of the finest sums that a correction is made by. quantity: nano-share microseconds (of energy: millijoules); it and
    cost_atoms are signed. currency None: without a price; then cost_atoms is 0."""

    cost_class: str
    department_id: str
    business: str | None
    scenario: str | None
    vendor: str | None
    model: str | None
    pool: str | None
    cluster_id: str | None
    state: str | None
    currency: str | None
    quantity: int
    cost_atoms: int

    @property
    def key(self) -> tuple[str | None, ...]:
        """All but currency and amounts."""
        return astuple(self)[:9]


@dataclass(frozen=True, slots=True)
class Difference:
    """What is believed now of one closed stretch of a day, less what stands. cells: none where nothing differs."""

    closed: Closed
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Late:
    """What a look at a day found. news: what became known since its facts were last made, e.g. ``("price",)``."""

    day: date
    news: tuple[str, ...]
    differences: tuple[Difference, ...]


def look(connection: duckdb.DuckDBPyConnection, day: date, belief: Belief) -> Late | None:
    """What a day worked out differs by from what stands of it; None where no part of it is closed.

    connection: the reading transaction the day was worked out in.
    """
    if not belief.closed:
        return None
    sql = statements("corrections")
    news = tuple(str(row[0]) for row in connection.execute(sql["news"], {"day": day}).fetchall())
    cells: list[list[Cell]] = [[] for _ in belief.closed]
    for source, stands, present in (
        ("capacity", belief.stands.lines, belief.present.lines),
        ("energy", belief.stands.energy, belief.present.energy),
        ("remainder", belief.stands.remainder, belief.present.remainder),
    ):
        if stands is None or present is None:
            continue
        connection.register("stands_given", stands)
        connection.register("present_given", present)
        try:
            for n, span in enumerate(belief.closed):
                edges = {"from_us": span.from_us, "to_us": span.to_us}
                cells[n] += _cells(connection.execute(sql[source], edges).fetchall())
        finally:
            connection.unregister("present_given")
            connection.unregister("stands_given")
    return Late(
        day,
        news,
        tuple(Difference(span, tuple(found)) for span, found in zip(belief.closed, cells, strict=True)),
    )


def keep(connection: duckdb.DuckDBPyConnection, late: Late) -> None:
    """Keep what a look found in place of the look before; ``post`` makes lines of it. connection: inside the write that keeps the day."""
    sql = statements("corrections")
    for difference in late.differences:
        place = {"period": difference.closed.period_from, "day": late.day}
        connection.execute(sql["forget"], place)
        for cell in difference.cells:
            connection.execute(sql["cell"], {**place, **asdict(cell)})
        connection.execute(sql["looked"], {**place, "news": " ".join(late.news)})


def post(connection: duckdb.DuckDBPyConnection, now: datetime) -> int:
    """Post what the looks since the last time differ by from what is posted; how many lines. connection: inside a write. now: aware."""
    sql = statements("corrections")
    posted = 0
    for period_from, period_to, zone, days, news in connection.execute(sql["waiting"]).fetchall():
        due = _folded(_cells(connection.execute(sql["due"], {"period": period_from}).fetchall()))
        if not due:
            continue
        shared = {
            "kind": CORRECTION,
            "zone": str(zone),
            "period_from": period_from,
            "period_to": period_to,
            "posted_at": first_open(connection, period_to),
            "known_at": now.astimezone(UTC).replace(tzinfo=None),
            "reason": reason_of(str(news).split()),
            "requester": BY,
            "recorded_by": BY,
            "line_id": None,
            "source_rows": " ".join(f"day={day}" for day in days),
        }
        for cell in due:
            connection.execute(statements("adjustments")["put"], {**asdict(cell), **shared})
        posted += len(due)
        log.info(
            "%d corrections of the closed period from %s, posted to %s: %s",
            len(due),
            period_from,
            shared["posted_at"],
            shared["reason"],
        )
    connection.execute(sql["done"])
    return posted


def first_open(connection: duckdb.DuckDBPyConnection, after: datetime) -> datetime:
    """The first instant at or after ``after`` that no closed period holds. Both naive UTC, as the store keeps times."""
    sql = statements("corrections")["covering"]
    at = after
    while rows := connection.execute(sql, {"at": at}).fetchall():
        at = rows[0][0]
    return at


def reason_of(news: Iterable[str]) -> str:
    """``late: mapping, price``, or that the days were worked out again without any news."""
    words = sorted(set(news))
    return f"late: {', '.join(words)}" if words else UNCHANGED


def _folded(cells: Iterable[Cell]) -> list[Cell]:
    """Cells that differ in currency alone, with the quantity of all of them on one: hours that got a price, or another
    currency, are no hours more."""
    by_key: dict[tuple[str | None, ...], list[Cell]] = defaultdict(list)
    for cell in cells:
        by_key[cell.key].append(cell)
    found = []
    for alike in by_key.values():
        quantity = sum(cell.quantity for cell in alike)
        priced = [cell for cell in alike if cell.cost_atoms]
        for cell in priced or alike[:1]:
            if quantity or cell.cost_atoms:
                found.append(replace(cell, quantity=quantity))
            quantity = 0
    return found


def _cells(rows: Iterable[tuple[Any, ...]]) -> tuple[Cell, ...]:
    return tuple(Cell(*(*row[:10], int(row[10]), int(row[11]))) for row in rows)
