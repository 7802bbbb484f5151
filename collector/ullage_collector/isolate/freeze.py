"""The emergency stop: while frozen nothing is placed, planned or not; what stands can still be released.

Kept in the store, so that it outlives every restart; the last word counts. A store that cannot be written
still freezes this process: an emergency stop never fails to the acting side.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any

from ullage_collector import audit
from ullage_collector.audit import AuditRow, naive_utc
from ullage_collector.sql import statements
from ullage_contract.clock import Clock
from ullage_contract.errors import BadInput

if TYPE_CHECKING:
    import duckdb

MAX_REASON_CHARACTERS = 200  # our choice: as for an isolation: it is shown on one line


@dataclass(frozen=True, slots=True)
class Word:
    """The last word: who froze or unfroze, why, and when (seconds since the epoch)."""

    frozen: bool
    actor: str
    reason: str
    at: float

    def to_json(self) -> dict[str, Any]:
        return {"frozen": self.frozen, "actor": self.actor, "reason": self.reason, "at": self.at}


class Freeze:
    """One instance a store. connect: a cursor of the open store."""

    def __init__(self, connect: Callable[[], duckdb.DuckDBPyConnection], clock: Clock) -> None:
        self._connect = connect
        self._clock = clock
        self._lock = threading.Lock()
        with connect() as cursor:
            row = cursor.execute(statements("policy")["frozen"]).fetchone()
        self._word = Word(bool(row[0]), str(row[1]), str(row[2]), _seconds(row[3])) if row else None

    @property
    def word(self) -> Word | None:
        """The last word; None: nobody ever froze."""
        return self._word

    @property
    def frozen(self) -> bool:
        """Nothing may be placed now."""
        return self._word is not None and self._word.frozen

    def freeze(self, *, reason: str, actor: str) -> Word:
        """Stop every action at once. Again while frozen: another word, another audit row."""
        return self._say(True, reason, actor)

    def unfreeze(self, *, reason: str, actor: str) -> Word:
        """Allow actions again; what was planned before is only advice now. Raises BadInput when not frozen."""
        if not self.frozen:
            raise BadInput("nothing is frozen: nothing to unfreeze")
        return self._say(False, reason, actor)

    def _say(self, frozen: bool, reason: str, actor: str) -> Word:
        plain = " ".join("".join(ch if ch.isprintable() else " " for ch in reason).split())
        if not plain:
            raise BadInput("give a reason: who finds everything frozen will want to know why")
        word = Word(frozen, actor, plain[:MAX_REASON_CHARACTERS], self._clock.wall())
        with self._lock:
            if frozen:
                self._word = word
            with self._connect() as cursor:
                cursor.execute("BEGIN")
                cursor.execute(
                    statements("policy")["put_freeze"], [naive_utc(word.at), frozen, actor, word.reason]
                )
                audit.write(
                    cursor,
                    AuditRow(
                        at=word.at,
                        actor=actor,
                        action="freeze" if frozen else "unfreeze",
                        subject=None,
                        reason=word.reason,
                        result="nothing is placed until it is unfrozen"
                        if frozen
                        else "actions are allowed again",
                        undo=[{"command": ["ullage-collector", "unfreeze", "--reason", "..."]}]
                        if frozen
                        else None,
                    ),
                )
                cursor.execute("COMMIT")
            self._word = word
        return word


def _seconds(naive: Any) -> float:
    return float(naive.replace(tzinfo=UTC).timestamp())
