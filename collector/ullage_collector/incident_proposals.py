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


class Proposals:
    """Plans for open incidents. One thread's alone."""

    def __init__(
        self, connect: Callable[[], duckdb.DuckDBPyConnection], isolation: Isolation, clock: Clock
    ) -> None:
        self._connect = connect
        self._isolation = isolation
        self._clock = clock
        self._unproposed: dict[int, tuple[str, str]] = {}
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

    def propose(
        self, connection: duckdb.DuckDBPyConnection, incident_id: int, subject: str, reason: str
    ) -> None:
        """Plan and write it down. subject: a card, or CLUSTER/NODE. What cannot be planned is tried again."""
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
        """Plan for incidents that have no plan yet."""
        now = self._clock.monotonic()
        if not self._unproposed or now - self._proposed_at < PROPOSE_AGAIN_SECONDS:
            return
        self._proposed_at = now
        with self._connect() as connection:
            for incident_id, (subject, reason) in list(self._unproposed.items()):
                self.propose(connection, incident_id, subject, reason)
