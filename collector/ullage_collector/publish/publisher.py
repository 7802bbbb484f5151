"""One round of publishing: roll up, telemetry days, facts days, corrections, names. The same for the command and for ``serve``.

A day that fails is told and counted; the other days go on.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import duckdb

from ullage_collector.publish import closing, closing_rule, facts, telemetry
from ullage_collector.revision import newest
from ullage_collector.sql import statements
from ullage_collector.states import Rules, rules_of
from ullage_collector.store.retention import Retention
from ullage_collector.store.rollup import Rollup
from ullage_contract.errors import BadInput, UllageError

if TYPE_CHECKING:
    from ullage_collector.config import Config
    from ullage_collector.store.store import Store

log = logging.getLogger(__name__)

EVERY_SECONDS: Final = 600.0
"""our choice: because a day is provisional soon after midnight, and late rows are in a new revision within minutes."""
MOST_CLOSED: Final = 31
"""our choice: because a rule that changes looks at every closed day again, and yesterday is not to wait for years."""
LIVE_DAYS: Final = 2  # our choice: because a fleet that sent nothing for two days is history, not live
MINUTE_KINDS: Final = ("card_minute", "slice_minute")
HOST_HOURS: Final = "node_hour"


@dataclass(slots=True)
class Outcome:
    """What a round did. telemetry, facts: (day, revision, status) of each day that was looked at. corrections:
    lines posted of closed periods."""

    telemetry: list[tuple[date, int, str]] = field(default_factory=list)
    facts: list[tuple[date, int, str]] = field(default_factory=list)
    names_revision: int | None = None
    corrections: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        def listed(days: Sequence[tuple[date, int, str]]) -> list[dict[str, Any]]:
            return [{"day": day.isoformat(), "revision": r, "status": s} for day, r, s in days]

        return {
            "telemetry": listed(self.telemetry),
            "facts": listed(self.facts),
            "dimensions_revision": self.names_revision,
            "corrections": self.corrections,
            "failed": [{"what": what, "reason": reason} for what, reason in self.failed],
        }


def publish(
    store: Store,
    root: Path,
    *,
    now: datetime,
    day: date | None = None,
    through: date | None = None,
    everything: bool = False,
    rules: Rules | None = None,
    most_closed: int | None = None,
    progress: Callable[[str, float], None] = lambda what, share: None,
) -> Outcome:
    """Publish what is due. root: DIR/published.

    day: this day alone, whatever its state. through: the last day (default: yesterday, UTC). everything: also
    days that are sealed and unchanged. Days before anything is known of work or telemetry are left out: that
    a card was bought in spring is no reason to publish a spring nobody watched. rules: None takes those shipped.
    most_closed: so many closed days are looked at, after the open ones, and the rest in the next rounds; None: all of them.
    Raises BadInput for a day that has not begun.
    """
    for given in (day, through):
        if given is not None and given > now.date():
            raise BadInput(
                f"{given} has not begun (it is {now:%Y-%m-%d} UTC): nothing of it can be published"
            )
    outcome = Outcome()
    with facts.PUBLISHING:
        Rollup(store).catch_up()
        last = through or (now - timedelta(days=1)).date()
        days = [day] if day else _telemetry_days(store, last, now, everything)
        for number, each in enumerate(days):
            progress("telemetry", number / len(days))
            with _told(outcome, f"telemetry {each}"):
                done = telemetry.publish_day(store, root, each, now=now)
                outcome.telemetry.append((each, done.revision, done.status))
        due = [day] if day else _facts_days(store, last, now, everything)
        days, left = _in_turn(due, _closed_days(store, due), most_closed, now)
        for number, each in enumerate(days):
            progress("facts", number / len(days))
            with _told(outcome, f"facts {each}"):
                made = facts.publish_day(
                    store,
                    root,
                    each,
                    now=now,
                    sealed=_passed(store, each, now),
                    rules=rules,
                    sources=sources(store, root, each),
                )
                outcome.facts.append((each, made.manifest.revision, made.manifest.status))
        if not left:  # else one late datum would become lines of every round that looks at some of its days
            with _told(outcome, "corrections"):
                outcome.corrections = facts.post_corrections(store, now=now)
        with _told(outcome, "dimensions"):
            outcome.names_revision = facts.publish_names(store, root, now=now).revision
        progress("published", 1.0)
    return outcome


def _in_turn(
    due: Sequence[date], closed: set[date], most: int | None, now: datetime
) -> tuple[list[date], bool]:
    """The open days, then the closed ones of this round; and whether closed ones are left, so that posting waits for them.

    Which are taken moves on with the time, and posting waits for no more than a day: days that fail again and again keep nothing up.
    """
    open_days = [day for day in due if day not in closed]
    waiting = [day for day in due if day in closed]
    if most is None or len(waiting) <= most:
        return open_days + waiting, False
    rounds = int(now.timestamp() // EVERY_SECONDS)
    turn = rounds % -(-len(waiting) // most) * most
    return open_days + waiting[turn : turn + most], rounds % round(86_400 / EVERY_SECONDS) != 0


def _closed_days(store: Store, due: Sequence[date]) -> set[date]:
    """Those of which some part is in a closed period."""
    cursor = store.cursor()
    try:
        return {day for day in due if closing.spans(cursor, day)}
    finally:
        cursor.close()


class _told:
    """A failure of one day is told and counted; it does not end the round, be it one that nobody thought of."""

    def __init__(self, outcome: Outcome, what: str) -> None:
        self._outcome = outcome
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        if isinstance(error, Exception):
            known = isinstance(error, UllageError | duckdb.Error | OSError)
            log.error("%s: %s", self._what, error, exc_info=None if known else error)
            self._outcome.failed.append((self._what, str(error)[:500]))
            return True
        return False


def sources(store: Store, root: Path, day: date) -> dict[str, str] | None:
    """For a day whose minutes the store has dropped: what to read in place of each minute view; else None."""
    cursor = store.cursor()
    try:
        dropped = cursor.execute(statements("publish_telemetry")["dropped"], [day]).fetchall()[0][0]
    finally:
        cursor.close()
    if not dropped:
        return None
    found: dict[str, str] = {}
    for name in MINUTE_KINDS:
        parts = []
        # A day is judged with a margin of the days around it.
        for near in (day - timedelta(days=1), day, day + timedelta(days=1)):
            manifest = newest(root / "telemetry" / f"day={near.isoformat()}")
            if manifest and any(f.name == f"{name}.parquet" for f in manifest.files):
                parts.append("'" + str(manifest.path(f"{name}.parquet")).replace("'", "''") + "'")
        if parts:
            found[name] = (
                f"(SELECT p.*, k.{name.removesuffix('_minute')}_key FROM "  # noqa: S608  paths of our own, quoted
                f"read_parquet([{', '.join(parts)}], union_by_name = true) p "
                f"JOIN {name.removesuffix('_minute')} k USING ({name.removesuffix('_minute')}_id))"
            )
    manifest = newest(root / "telemetry" / f"day={day.isoformat()}")
    if found and manifest and manifest.names(f"{HOST_HOURS}.parquet"):
        file = "'" + str(manifest.path(f"{HOST_HOURS}.parquet")).replace("'", "''") + "'"
        found[HOST_HOURS] = (
            f"(SELECT p.*, k.node_key FROM read_parquet({file}) p JOIN node k USING (cluster_id, node_id))"  # noqa: S608
        )
    return found or None


def _telemetry_days(store: Store, last: date, now: datetime, everything: bool) -> list[date]:
    if not everything:
        return telemetry.due_days(store, through=last, now=now)
    return [day for day in _minute_days(store) if day <= last]


def _facts_days(store: Store, last: date, now: datetime, everything: bool) -> list[date]:
    """Days about which work or telemetry is known, on which somebody owned a card, and which are due."""
    minutes = _minute_days(store)
    cursor = store.cursor()
    try:
        sql = statements("publish_telemetry")
        first_work, last_work = cursor.execute(sql["span_of_work"]).fetchall()[0]
        made = cursor.execute(sql["first_published"]).fetchall()[0][0]
        begins = [d for d in (minutes[0] if minutes else first_work, made) if d is not None]
        if not begins:
            return []
        live = bool(minutes) and minutes[-1] >= now.date() - timedelta(days=LIVE_DAYS)
        ends = [
            d for d in (minutes[-1] if minutes else None, last_work, last if live else None) if d is not None
        ]
        first, final = min(begins), min(last, max(ends))
        if first > final:
            return []
        owned = [
            row[0] for row in cursor.execute(sql["owned_days"], {"first": first, "last": final}).fetchall()
        ]
    finally:
        cursor.close()
    if everything:
        return owned
    # A card that was only seen has no inventory until its facts are made: its first days are due all the same.
    listed = set(facts.due_days(store, through=final, now=now))
    done = _published_facts(store)
    return [day for day in owned if day in listed or day not in done]


def _published_facts(store: Store) -> set[date]:
    cursor = store.cursor()
    try:
        rows = cursor.execute(
            statements("publish_facts")["published_days"], {"first": date.min, "last": date.max}
        ).fetchall()
    finally:
        cursor.close()
    return {row[0] for row in rows}


def _minute_days(store: Store) -> list[date]:
    cursor = store.cursor()
    try:
        return [row[0] for row in cursor.execute(statements("publish_telemetry")["minute_days"]).fetchall()]
    finally:
        cursor.close()


def _passed(store: Store, day: date, now: datetime) -> bool:
    cursor = store.cursor()
    try:
        return telemetry.sealable(cursor, day, now)
    finally:
        cursor.close()


class Publisher:
    """The part of ``serve`` that publishes and drops what is old."""

    def __init__(self, store: Store, config: Config) -> None:
        self._store = store
        self._root = config.published_dir
        self._rules = rules_of(config.part("states"))
        self._closing = closing_rule.rule_of(config.part("closing"), config.path)
        self._retention = Retention(store, config.store)

    def run(self, stop: threading.Event, every_seconds: float = EVERY_SECONDS) -> None:
        """A round every ten minutes until ``stop`` is set."""
        while not stop.wait(every_seconds):
            now = datetime.fromtimestamp(self._store.clock.wall(), UTC)
            publish(self._store, self._root, now=now, rules=self._rules, most_closed=MOST_CLOSED)
            try:
                closing_rule.step(self._store, self._root, self._closing)
            except (UllageError, duckdb.Error) as e:
                log.error("closing: %s", e)
            self._retention.step(now)
            with facts.PUBLISHING:
                facts.prune_names(self._store, self._root, now=now)
