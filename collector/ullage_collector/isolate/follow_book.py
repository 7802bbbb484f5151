"""Keeps what follows isolations: each row is written, with its audit row, before anything is run and after it ended.

Not here: deciding (following.py), running (follow_call.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ullage_collector import audit
from ullage_collector.audit import AuditRow, naive_utc
from ullage_collector.isolate.book import Book, Change
from ullage_collector.isolate.follow_call import Ended, FollowCall, Outcome
from ullage_collector.isolate.intent import Intent
from ullage_collector.isolate.verdict import Follow
from ullage_collector.sql import statements
from ullage_contract.errors import BadInput

SHOWN: Final = "shown"
WAITING: Final = "waiting"
HELD: Final = "held"
APPROVED: Final = "approved"
RUNNING: Final = "running"
OPEN: Final = (SHOWN, WAITING, HELD, APPROVED)
"""Not begun: it may still be run. Every other state is the end of it, or on the way there: it is never run again."""


@dataclass(frozen=True, slots=True)
class FollowRow:
    """See sql/0013_isolation_follow.sql. Times are seconds since the epoch, None: not so."""

    state: str
    call: Mapping[str, Any] | None
    result: str | None
    actor: str
    changed_at: float
    begun_at: float | None
    ended_at: float | None


class FollowBook:
    """One instance a store, beside its Book. What a process before this one began and did not end is ``unknown``."""

    def __init__(self, book: Book) -> None:
        self._book = book
        with book.change() as change:
            for incident_id, follow, subject in change.cursor.execute(
                statements("follow")["running"]
            ).fetchall():
                why = "the collector ended while it ran: what it did nobody knows, and it is not run again"
                self._end(change, int(incident_id), Follow(follow), Outcome.UNKNOWN.value, why)
                _audit(
                    change, str(subject), "policy", int(incident_id), Follow(follow), f"unknown: {why}", None
                )

    def get(self, incident_id: int, follow: Follow) -> FollowRow | None:
        """What became of it so far; None: nothing."""
        found = self._book.read("row", [incident_id, follow.value], file="follow")
        if not found:
            return None
        state, call, result, actor, changed, begun, ended = found[0]
        return FollowRow(
            str(state), json.loads(call) if call else None, result, str(actor), changed, begun, ended
        )

    def put(
        self,
        change: Change,
        intent: Intent,
        state: str,
        call: FollowCall | None,
        result: str | None,
        *,
        actor: str = "policy",
    ) -> None:
        """A row that is not ended, with its audit row. Raises BadInput (BUG) for one that was begun before."""
        incident_id = _incident(intent)
        row = change.cursor.execute(
            statements("follow")["row"], [incident_id, intent.follow.value]
        ).fetchone()
        if row is not None and row[0] not in OPEN:
            raise BadInput(
                f"BUG: {intent.follow.value} of incident {incident_id} was begun already ({row[0]})"
            )
        shown = call.to_json() if call else None
        change.cursor.execute(
            statements("follow")["put_row"],
            [
                incident_id,
                intent.follow.value,
                intent.intent_id,
                intent.isolation_id,
                intent.family,
                intent.subject,
                intent.cluster_id,
                intent.node_id,
                state,
                json.dumps(shown, ensure_ascii=False, default=str) if shown else None,
                result,
                actor,
                naive_utc(change.now),
                naive_utc(change.now) if state == RUNNING else None,
                None,
            ],
        )
        said = "about to be run" if state == RUNNING else f"{state}: {result or 'not run by itself'}"
        _audit(change, intent.subject, actor, incident_id, intent.follow, said, shown)

    def end(self, change: Change, subject: str, incident_id: int, follow: Follow, ended: Ended) -> None:
        """It ended, with its audit row. What was not begun waits for a person."""
        state = WAITING if ended.outcome is Outcome.NOT_BEGUN else ended.outcome.value
        self._end(change, incident_id, follow, state, ended.said)
        _audit(change, subject, "policy", incident_id, follow, f"{ended.outcome.value}: {ended.said}", None)

    def _end(self, change: Change, incident_id: int, follow: Follow, state: str, result: str) -> None:
        now = naive_utc(change.now)
        change.cursor.execute(
            statements("follow")["end_row"], [state, result, now, now, incident_id, follow.value]
        )


def _incident(intent: Intent) -> int:
    if intent.incident_id is None:
        raise BadInput(f"BUG: {intent.follow.value} of {intent.subject} without an incident")
    return intent.incident_id


def _audit(
    change: Change,
    subject: str,
    actor: str,
    incident_id: int,
    follow: Follow,
    result: str,
    call: Mapping[str, Any] | None,
) -> None:
    audit.write(
        change.cursor,
        AuditRow(
            at=change.now,
            actor=actor,
            action=follow.value,
            subject=subject,
            reason=f"incident {incident_id}",
            result=result[:2000],
            evidence={"incident": incident_id},
            command=[dict(call)] if call else None,
        ),
    )
