"""Table ``quota_hour``: what came of the quotas, hour by hour, made again while its hours' money is open.

An hour is made when it is over, and again when something that concerns it is learned later; hours of a closed period
stay as they are. A round makes a bounded number of them, the newest first. Findings say what is wrong with the trees.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from ullage_collector.audit import naive_utc
from ullage_collector.detect.findings import Found, keep
from ullage_collector.quota.entry import NO_POOL
from ullage_collector.quota.known import Known, read
from ullage_collector.quota.pools import sizes
from ullage_collector.quota.steps import HOUR_US, Total, by_hour
from ullage_collector.sql import statements
from ullage_collector.store import incoming

if TYPE_CHECKING:
    from ullage_collector.store.store import Store

log = logging.getLogger(__name__)

EVERY_SECONDS: Final = 300.0  # our choice: because an hour's figures may be five minutes late, no more
HOURS_A_ROUND: Final = 48  # our choice: because two days are a minute of work on a fleet of 10,000 cards
HOURS_AT_ONCE: Final = 4  # our choice: because that is seconds on a large fleet: a stop waits no longer
OVERLAP_SECONDS: Final = 60.0
"""our choice: because what was learned at an instant may be written a moment later, never a minute."""
BACK_DAYS: Final = 400  # our choice: because a year's report is asked for, and a bound there must be
WHOLE: Final = "__pool__"
"""In place of a quota's name: the row of the cards themselves."""
FINDINGS: Final = ("quota_tree", "pool_conflict", "pool_none", "quota_refused")

_DECIMAL: Final = pa.decimal128(38, 0)
_ROW: Final = {
    "hour": incoming.TIMESTAMP,
    "tree": pa.string(),
    "pool": pa.string(),
    "resource": pa.string(),
    "vendor": pa.string(),
    "model": pa.string(),
    "quota": pa.string(),
    "parent": pa.string(),
    "department_id": pa.string(),
    "seconds": pa.float64(),
    "min": _DECIMAL,
    "max": _DECIMAL,
    "used": _DECIMAL,
    "guaranteed_used": _DECIMAL,
    "borrowed": _DECIMAL,
    "lent": _DECIMAL,
    "waiting": _DECIMAL,
    "headroom": _DECIMAL,
    "sprint": pa.bool_(),
    "made_at": incoming.TIMESTAMP,
}
_MADE: Final = {"hour": incoming.TIMESTAMP, "known_at": incoming.TIMESTAMP}


def make(store: Store, from_us: int, to_us: int) -> int:
    """Make the hours of [from_us, to_us), both whole UTC hours, as believed now. The rows written."""
    known_us = round(store.clock.wall() * 1e6)
    cursor = store.cursor()
    try:
        cursor.execute("BEGIN TRANSACTION READ ONLY")
        known = read(cursor, from_us, to_us, as_of_us=known_us)
        cursor.execute("ROLLBACK")
    finally:
        cursor.close()
    rows = list(_rows(known, known_us))
    hours = [(hour, known_us) for hour in range(from_us, to_us, HOUR_US)]
    sql = statements("quota")
    with store.write() as writer:
        writer.execute(sql["drop_hours"], {"from": naive_utc(from_us / 1e6), "to": naive_utc(to_us / 1e6)})
        incoming.execute(writer, sql["put_hours"], incoming.table(_ROW, rows))
        incoming.execute(writer, sql["put_made"], incoming.table(_MADE, hours))
    return len(rows)


def _rows(known: Known, made_us: int) -> Iterator[tuple[Any, ...]]:
    for tree, scope in known.scopes():
        guaranteed = {
            e.quota for e in known.entries if e.tree == tree and e.scope == scope and e.min_nano is not None
        }
        lends = bool(guaranteed)
        kind = (tree, scope.pool, scope.resource, scope.vendor or None, scope.model or None)
        for hour, total in sorted(by_hour(known.steps(tree, scope)).items()):
            lends_now = lends or total.sprint
            yield (
                *(hour, *kind, WHOLE, None, None, total.stood_us / 1e6, total.capacity, total.capacity),
                *(total.used, *_loans(total, lends_now), total.waiting, max(0, total.capacity - total.used)),
                *(total.sprint, made_us),
            )
            if total.outside or total.waiting_outside:
                borrowed = total.outside if lends_now else None
                yield (
                    *(hour, *kind, NO_POOL, None, None, total.stood_us / 1e6, None, None, total.outside),
                    *(
                        0 if lends_now else None,
                        borrowed,
                        0 if lends_now else None,
                        total.waiting_outside,
                        None,
                    ),
                    *(total.sprint, made_us),
                )
            for name, node in sorted(total.nodes.items()):
                loans = (node.guaranteed_used, node.borrowed, node.lent) if lends_now else (None, None, None)
                yield (
                    *(hour, *kind, name, node.node.parent, node.node.department, node.stood_us / 1e6),
                    *(node.min if node.min_us == node.stood_us else None,),
                    *(node.max if node.max_us == node.stood_us else None, node.used, *loans),
                    *(node.waiting, node.headroom, node.sprint, made_us),
                )


def _loans(total: Total, lends: bool) -> tuple[int | None, int | None, int | None]:
    """Of the cards: use that is guaranteed, use beyond any guarantee, and what of that lies in lent guarantees."""
    if not lends:
        return (None, None, None)
    roots = [node for node in total.nodes.values() if node.node.parent is None]
    borrowed = sum(node.borrowed for node in roots) + total.outside
    return (sum(node.guaranteed_used for node in roots), borrowed, sum(node.lent for node in roots))


def due(store: Store) -> list[int]:
    """Whole hours that are to be made, newest first, microseconds since the epoch."""
    sql = statements("quota")
    now = datetime.fromtimestamp(store.clock.wall(), UTC).replace(minute=0, second=0, microsecond=0)
    cursor = store.cursor()
    try:
        first = cursor.execute(sql["first_work"]).fetchall()[0][0]
        stated = cursor.execute(sql["any_quota"]).fetchall()[0][0]
        if first is None or not stated:
            return []
        earliest = max(
            first.replace(minute=0, second=0, microsecond=0),
            (now - timedelta(days=BACK_DAYS)).replace(tzinfo=None),
        )
        rows = cursor.execute(sql["due_hours"], {"from": earliest, "to": now.replace(tzinfo=None)}).fetchall()
    finally:
        cursor.close()
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return sorted(
        ((row[0].replace(tzinfo=UTC) - epoch) // timedelta(microseconds=1) for row in rows), reverse=True
    )


def watch(store: Store) -> None:
    """Mark the hours that what was learned since the last look concerns: they are made again."""
    sql = statements("quota")
    now = store.clock.wall()
    with store.write() as writer:
        last = writer.execute(sql["watched"]).fetchall()
        if last:
            since = last[0][0] - timedelta(seconds=OVERLAP_SECONDS)
            if writer.execute(sql["rules_learned"], {"since": since}).fetchall()[0][0]:
                writer.execute(sql["mark_all"])
            else:
                writer.execute(sql["mark_hours"], {"since": since})
        writer.execute(sql["put_watched"], {"now": naive_utc(now)})


def catch_up(store: Store, at_most: int = HOURS_A_ROUND, stopped: Callable[[], bool] = lambda: False) -> int:
    """Make what is due, the newest ``at_most`` hours of it; how many were made. stopped: asked between stretches."""
    watch(store)
    hours = sorted(due(store)[:at_most])
    made = 0
    for start, end in _runs(hours):
        if stopped():
            break
        make(store, start, end)
        made += (end - start) // HOUR_US
    return made


def _runs(hours: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Hours that follow each other as stretches of at most HOURS_AT_ONCE."""
    start = end = None
    for hour in hours:
        if end != hour or (start is not None and hour - start >= HOURS_AT_ONCE * HOUR_US):
            if start is not None and end is not None:
                yield start, end
            start = hour
        end = hour + HOUR_US
    if start is not None and end is not None:
        yield start, end


def judge(store: Store) -> int:
    """Keep the findings about trees and pools true, as of now. How many are open."""
    now_us = round(store.clock.wall() * 1e6)
    cursor = store.cursor()
    try:
        wrong = []
        if cursor.execute(statements("quota")["any_rule"]).fetchall()[0][0]:
            wrong = found(read(cursor, now_us, now_us + 1, as_of_us=now_us))
    finally:
        cursor.close()
    with store.write() as writer:
        return keep(writer, FINDINGS, wrong, now_us).open


def found(known: Known) -> list[Found]:
    """What is wrong with trees and pools at the beginning of what is known."""
    since = known.from_us
    listed = [
        Found("quota_tree", "quota", f"{p.tree}/{p.names[0]}", since, {"kind": p.kind, "names": list(p.names), "message": p.message},
              key=f"{p.kind}:{','.join(p.names)}:{p.message[:80]}", action="mend_quota_tree")
        for tree in known.trees(since)
        for p in tree.problems
    ]  # fmt: skip
    by_pools: dict[tuple[str, ...], list[Any]] = {}
    for conflict in known.pools.conflicts:
        by_pools.setdefault(conflict.pools, []).append(conflict)
    for pools, conflicts in sorted(by_pools.items()):
        cards = sorted({c.card_id for c in conflicts})
        rules = sorted({r for c in conflicts for r in c.rules})
        evidence = {"pools": list(pools), "rules": rules, "cards": len(cards), "first_cards": cards[:10]}
        listed.append(
            Found(
                "pool_conflict", "pool", pools[0], since, evidence, key=",".join(pools), action="set_priority"
            )
        )
    nowhere = sizes(known.members, since).get(NO_POOL, 0)
    if nowhere and any(m.rule_id is not None for m in known.members):
        cards = sorted(m.card.card_id for m in known.members if m.pool == NO_POOL and m.card.serving)
        evidence = {"cards": nowhere, "first_cards": cards[:10]}
        listed.append(Found("pool_none", "pool", NO_POOL, since, evidence, action="add_pool_rule"))
    listed += [
        Found("quota_refused", "quota", text[:100], since, {"message": text[:500]}, action="mend_quota_tree")
        for text in known.refused
    ]
    return listed


class HourMaker:
    """The part of ``serve`` that makes the hours and keeps the findings true."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def run(self, stop: threading.Event, every_seconds: float = EVERY_SECONDS) -> None:
        """A round every few minutes until ``stop`` is set."""
        while not stop.wait(every_seconds):
            made = catch_up(self._store, stopped=stop.is_set)
            if made:
                log.info("quotas: %d hours made", made)
            judge(self._store)
