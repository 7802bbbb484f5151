"""The exact calls that would isolate what an incident is about, for its page. Nothing is carried out here.

The engine is ahead of the store, which may not know a card that has just come; and a crash may have stood between an
incident and its proposal: what has none is planned again. Not here: deciding (isolate/policy.py).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ullage_collector.isolate.isolation import Isolation
from ullage_collector.sql import statements
from ullage_contract.clock import Clock

if TYPE_CHECKING:
    import duckdb

log = logging.getLogger(__name__)

PROPOSE_AGAIN_SECONDS: Final = 2.0  # our choice: because the store is behind the journal by a second or two
AT_ONCE_SECONDS: Final = (
    0.2  # our choice: because a plan may ask a scheduler, and the next event waits meanwhile
)


class Proposals:
    """Plans for open incidents. One thread's alone."""

    def __init__(
        self, connect: Callable[[], duckdb.DuckDBPyConnection], isolation: Isolation, clock: Clock
    ) -> None:
        self._connect = connect
        self._isolation = isolation
        self._clock = clock
        self._unproposed: dict[int, tuple[str, str]] = {}
        self._wanted: dict[int, tuple[str, str]] = {}
        self._proposed_at = float("-inf")
        self.read()

    def read(self) -> None:
        """Which open incidents have no plan yet."""
        with self._connect() as connection:
            rows = connection.execute(statements("incidents")["unproposed"]).fetchall()
        self._unproposed = {int(number): (subject, reason) for number, subject, reason in rows}

    def forget(self, incident_id: int) -> None:
        """It is closed."""
        self._unproposed.pop(incident_id, None)
        self._wanted.pop(incident_id, None)

    def want(self, incident_id: int, subject: str, reason: str) -> None:
        """Have a plan made for a new or worsened incident. subject: a card, or CLUSTER/NODE."""
        self._wanted[incident_id] = (subject, reason)

    def make(self) -> None:
        """Make wanted plans, as many as AT_ONCE_SECONDS allow; the others are made by the next call."""
        if not self._wanted:
            return
        began = self._clock.monotonic()
        with self._connect() as connection:
            while self._wanted and self._clock.monotonic() - began <= AT_ONCE_SECONDS:
                incident_id = next(iter(self._wanted))
                self._propose(connection, incident_id, *self._wanted.pop(incident_id))

    def _propose(
        self, connection: duckdb.DuckDBPyConnection, incident_id: int, subject: str, reason: str
    ) -> None:
        """Plan and write it down. What cannot be planned is tried again."""
        proposal = self._isolation.propose(connection, subject, reason=reason)
        connection.execute(
            statements("incidents")["propose"], [json.dumps(proposal, ensure_ascii=False), incident_id]
        )
        if "error" in proposal:
            self._unproposed[incident_id] = (subject, reason)
            return
        self._unproposed.pop(incident_id, None)
        for call in proposal["calls"]:
            log.warning("incident %d: proposed, not done: %s", incident_id, call)

    def again(self) -> None:
        """Make wanted plans, and plan again what could not be planned before."""
        self.make()
        now = self._clock.monotonic()
        if not self._unproposed or now - self._proposed_at < PROPOSE_AGAIN_SECONDS:
            return
        self._proposed_at = now
        with self._connect() as connection:
            for incident_id, (subject, reason) in list(self._unproposed.items()):
                self._propose(connection, incident_id, subject, reason)
