"""A UTC day's facts from the store to DIR/published: worked out on a reader, kept in a short write, published.

Not here: rollups and telemetry days (they come first), and what the states mean (states.py).
"""

from __future__ import annotations

import logging
import threading
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from ullage_collector.adjust import corrections
from ullage_collector.publish import beside, closing
from ullage_collector.publish.files import prune_dimensions, publish_dimensions, publish_facts_day, record
from ullage_collector.revision import PROVISIONAL, SEALED, Manifest
from ullage_collector.sql import statements
from ullage_collector.states import DayStates, Rules, States, keep, reconcile

if TYPE_CHECKING:
    from collections.abc import Mapping

    import duckdb

log = logging.getLogger(__name__)

SEAL_AFTER: Final = timedelta(hours=48)
"""A day is sealed so long after its end even when some stream is silent (docs/architecture.md, telemetry day)."""

NAMES_KEPT: Final = timedelta(days=2)
"""our choice: because names are published again whenever one of them changes, and no report takes two days to make."""
PUBLISHING: Final = threading.Lock()
"""One publisher at a time in a process: revisions below one folder are numbered by it. Held by who calls what is below."""


class FactStore(Protocol):
    """What is needed of the store: a reader of its own, and one transaction at a time."""

    def cursor(self) -> duckdb.DuckDBPyConnection: ...

    def write(self) -> AbstractContextManager[duckdb.DuckDBPyConnection]: ...


@dataclass(frozen=True, slots=True)
class DayFacts:
    """A day as made and published. manifest: its newest revision, new or as it was."""

    states: DayStates
    manifest: Manifest


def publish_day(
    store: FactStore,
    root: Path,
    day: date,
    *,
    now: datetime,
    sealed: bool = False,
    rules: Rules | None = None,
    sources: Mapping[str, str] | None = None,
) -> DayFacts:
    """Make a day's states as believed now, keep them, and publish them where they differ from what is published.

    What of the day lies in a closed period stands as it was believed when that was closed (closing.py); what is believed
    otherwise now waits for ``post_corrections``.

    root: DIR/published. sealed: every stream has passed the day; a day 48 h past is sealed anyway. sources: minute view ->
    ``read_parquet(...)`` for days whose minutes the store has dropped (states.States).
    Raises LedgerError for a day that does not add up, StoreError when the disk refuses. Nothing is half done:
    a day kept and not published is published by the next call.
    """
    with store.write() as connection:
        reconcile(connection, now)
    reader = store.cursor()
    try:
        reader.execute("BEGIN")  # one picture of the fleet for all the statements
        try:
            belief = closing.work_out(reader, States(reader, rules, sources=sources), day, now)
            late = corrections.look(reader, day, belief)
        finally:
            reader.execute("ROLLBACK")
        with store.write() as connection:
            states = keep(connection, belief.stands)
            beside.keep(connection, belief.stands)
            if late is not None:
                corrections.keep(connection, late)
        status = SEALED if sealed or day_over(day, now - SEAL_AFTER) else PROVISIONAL
        minutes = sources.get("card_minute", "card_minute") if sources else "card_minute"
        manifest = publish_facts_day(reader, root, day, status=status, now=now, minutes=minutes)
    finally:
        reader.close()
    _note(store, manifest, now)
    if states.changed:
        log.info("%s: states revision %d, published revision %d", day, states.revision, manifest.revision)
    return DayFacts(states, manifest)


def post_corrections(store: FactStore, *, now: datetime) -> int:
    """Post what the days made since the last time differ by from closed lines; how many lines of money."""
    with store.write() as connection:
        return corrections.post(connection, now)


def publish_names(store: FactStore, root: Path, *, now: datetime) -> Manifest:
    """Publish the dimensions where they differ from what is published."""
    reader = store.cursor()
    try:
        manifest = publish_dimensions(reader, root, now=now)
    finally:
        reader.close()
    _note(store, manifest, now)
    return manifest


def prune_names(store: FactStore, root: Path, *, now: datetime) -> list[int]:
    """Remove old revisions of the dimensions; which. root: DIR/published.

    The newest stays, what somebody may be reading (NAMES_KEPT), and for good those that closed periods stand on.
    """
    reader = store.cursor()
    try:
        rows = reader.execute(statements("closing")["pinned_names"]).fetchall()
    finally:
        reader.close()
    return prune_dimensions(root, keep={int(row[0]) for row in rows}, before=now - NAMES_KEPT)


def due_days(store: FactStore, *, through: date, now: datetime) -> list[date]:
    """Days up to ``through`` whose facts are not published, not sealed, or older than what is known since; in order.

    The first is the first day anybody owned a card. Days that are not over at ``now`` are left out.
    """
    sql = statements("publish_facts")
    reader = store.cursor()
    try:
        first = reader.execute(sql["first_day"]).fetchall()[0][0]
        last = through
        while not day_over(last, now):
            last -= timedelta(days=1)
        if first is None or first > last:
            return []
        span = {"first": first, "last": last}
        known = dict(reader.execute(sql["published_days"], span).fetchall())
        stale = {row[0] for row in reader.execute(sql["stale_days"], span).fetchall()}
    finally:
        reader.close()
    every = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    return [day for day in every if known.get(day) != SEALED or day in stale]


def stale_days(store: FactStore, first: date, last: date) -> list[date]:
    """Published days of [first, last] about which something became known since they were made; in order."""
    reader = store.cursor()
    try:
        span = {"first": first, "last": last}
        return [row[0] for row in reader.execute(statements("publish_facts")["stale_days"], span).fetchall()]
    finally:
        reader.close()


def day_over(day: date, now: datetime) -> bool:
    """The UTC day has ended at ``now``."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1) <= now


def _note(store: FactStore, manifest: Manifest, now: datetime) -> None:
    with store.write() as connection:
        place = {"what": manifest.what, "day": manifest.day, "revision": manifest.revision}
        sql = statements("publish_facts")
        if connection.execute(sql["noted"], place).fetchall()[0][0]:
            at = now.astimezone(UTC).replace(tzinfo=None)
            connection.execute(sql["checked"], {**place, "now": at})
        else:
            record(connection, manifest)
