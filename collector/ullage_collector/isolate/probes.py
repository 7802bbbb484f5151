"""Probes asked of nodes: what waits for which node, and what became of it.

A probe is asked by name for one isolated card, rides on the answers to the node's own pushes until the node has said
what became of it, and comes back as an event ``probe_result`` in the node's own lane. The node decides whether the
name is on its allow-list and whether the card may be touched. A passed probe is no proof that a card is well: it says
that this check found nothing this time, and probation follows.

Not here: which probes a card needs before it returns (the policy), and running any.
"""

from __future__ import annotations

import json
import logging
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Protocol

from ullage_collector import audit
from ullage_collector.audit import AuditRow, naive_utc
from ullage_collector.sql import statements
from ullage_contract.asked import LONGEST_LIFE_SECONDS, MAX_ASKED, AskedProbe, ProbeOutcome, check_probe_name
from ullage_contract.clock import Clock
from ullage_contract.errors import BadInput

if TYPE_CHECKING:
    import duckdb

log = logging.getLogger(__name__)

LIFE_SECONDS: Final = 900.0
"""our choice: because an agent pushes every half minute, and a node that says nothing for a quarter of an hour has
other troubles than this card."""
RUN_SECONDS: Final = 3600.0
"""How long after its expiry a probe may still be answered: the longest deadline an agent may set for one."""
STEP_SECONDS: Final = 1.0  # our choice: because the store has an event a second or two after it came
_NAMES: Final = frozenset({"id", "probe", "incident", "outcome"})


class ProbeState(StrEnum):
    """Where an asked probe is. WAITING, then one of the outcomes of ullage_contract.asked.ProbeOutcome, for good."""

    WAITING = "waiting"
    PASSED = "passed"
    FAILED = "failed"
    REFUSED = "refused"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What became of an asked probe.

    reason: one line, empty while waiting. figures: what the node measured, by name with the unit in it.
    answered_at: seconds since the epoch by the node's clock, None while waiting.
    """

    state: ProbeState
    reason: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)
    answered_at: float | None = None


class Prober(Protocol):
    """The policy's door to probes."""

    def ask(self, incident_id: int | None, card_id: str, probe: str, *, asked_by: str) -> str:
        """Ask for ``probe`` on an isolated card; its id. Asked again while it waits, the same id.

        Raises BadInput for a card nobody knows, one that is not isolated, or too many waiting on its node.
        """
        ...

    def result(self, probe_id: str) -> ProbeResult:
        """What became of it. Raises BadInput for an id nobody asked."""
        ...


class Probes:
    """A Prober over the store. ``asked_of`` is called by the receiver's loop, the rest by any thread.

    connect: a cursor of the open store.
    """

    def __init__(self, connect: Callable[[], duckdb.DuckDBPyConnection], clock: Clock) -> None:
        self._connect = connect
        self._clock = clock
        self._lock = threading.Lock()
        self._asked_at: dict[str, float] = {}
        self._by_node: dict[tuple[str, str], tuple[AskedProbe, ...]] = {}
        self._looked_through = 0
        with self._cursor() as cursor:
            self._read_waiting(cursor)

    # ---- the receiver's door

    def asked_of(self, cluster: str, node: str) -> Sequence[AskedProbe]:
        """What the answer to a push of this node carries, at most MAX_ASKED; never touches the store."""
        if not self._by_node:
            return ()
        now = self._clock.wall()
        waiting = self._by_node.get((cluster, node), ())
        return tuple(one for one in waiting if one.expires > now)[:MAX_ASKED]

    # ---- the policy's door

    def ask(
        self,
        incident_id: int | None,
        card_id: str,
        probe: str,
        *,
        asked_by: str,
        life_seconds: float = LIFE_SECONDS,
    ) -> str:
        """See Prober. life_seconds: it has to begin within, at most LONGEST_LIFE_SECONDS."""
        check_probe_name(probe)
        if not 0 < life_seconds <= LONGEST_LIFE_SECONDS:
            raise BadInput(
                f"a probe that lasts {life_seconds:g} s: give more than 0, at most {LONGEST_LIFE_SECONDS:g}"
            )
        with self._lock, self._cursor() as cursor:
            cluster, node = self._isolated_place(cursor, card_id)
            now = self._clock.wall()
            waiting = self._by_node.get((cluster, node), ())
            for one in waiting:
                same = (one.card, one.probe, one.incident) == (card_id, probe, incident_id or 0)
                if same and one.expires > now:
                    return one.probe_id
            if sum(one.expires > now for one in waiting) >= MAX_ASKED:
                raise BadInput(f"{MAX_ASKED} probes wait on node {node} already: let them end first")
            asked = AskedProbe(
                probe_id=secrets.token_hex(16),
                probe=probe,
                cluster=cluster,
                node=node,
                card=card_id,
                incident=incident_id or 0,
                expires=now + life_seconds,
            )
            self._insert(cursor, asked, incident_id, asked_by, now)
            self._read_waiting(cursor)
        log.info("probe %s of %s on %s asked by %s", probe, card_id, node, asked_by)
        return asked.probe_id

    def result(self, probe_id: str) -> ProbeResult:
        """See Prober."""
        with self._cursor() as cursor:
            row = cursor.execute(statements("probes")["result"], [probe_id]).fetchone()
        if row is None:
            raise BadInput(f"no probe {probe_id[:40]!r} was asked")
        state, reason, figures, answered_at = row
        return ProbeResult(ProbeState(state), reason or "", json.loads(figures or "{}"), answered_at)

    # ---- the part that takes answers

    def run(self, stop: threading.Event) -> None:
        """Step until ``stop`` is set. Raises what the store raises; it is then called again."""
        while not stop.wait(STEP_SECONDS):
            self.step()

    def step(self) -> int:
        """Take the answers the store has, give up what will not be answered; how many were settled."""
        if not self._by_node:
            return 0
        with self._lock, self._cursor() as cursor:
            waiting = {one.probe_id: one for some in self._by_node.values() for one in some}
            settled = self._take_answers(cursor, waiting)
            settled += self._give_up(cursor, waiting)
            if settled:
                self._read_waiting(cursor)
        return settled

    def _take_answers(self, cursor: duckdb.DuckDBPyConnection, waiting: dict[str, AskedProbe]) -> int:
        since = naive_utc(min(self._asked_at.values(), default=self._clock.wall()) - 1.0)
        rows = cursor.execute(statements("probes")["answers"], [self._looked_through, since]).fetchall()
        settled = 0
        for event_id, cluster, node, card, message, attributes, at in rows:
            said = json.loads(attributes or "{}")
            asked = waiting.get(str(said.get("id")))
            if asked is None:
                continue
            if (asked.cluster, asked.node, asked.card) != (cluster, node, card):
                log.warning(
                    "probe %s: %s/%s answered for %s, it was not asked", asked.probe_id, cluster, node, card
                )
                continue
            try:
                outcome = ProbeOutcome(str(said.get("outcome")))
            except ValueError:
                log.warning("probe %s: outcome %r is none we know", asked.probe_id, said.get("outcome"))
                continue
            figures = {name: value for name, value in said.items() if name not in _NAMES}
            self._settle(cursor, asked, ProbeState(outcome.value), message, figures, at, int(event_id))
            del waiting[asked.probe_id]
            settled += 1
        if rows:
            self._looked_through = int(
                rows[-1][0]
            )  # only now: an answer that could not be settled comes again
        return settled

    def _give_up(self, cursor: duckdb.DuckDBPyConnection, waiting: dict[str, AskedProbe]) -> int:
        now = self._clock.wall()
        overdue = [one for one in waiting.values() if now > one.expires + RUN_SECONDS]
        for one in overdue:
            self._settle(
                cursor, one, ProbeState.EXPIRED, "the node never said what became of it", {}, now, None
            )
        return len(overdue)

    def _settle(
        self,
        cursor: duckdb.DuckDBPyConnection,
        asked: AskedProbe,
        state: ProbeState,
        reason: str,
        figures: Mapping[str, Any],
        at: float,
        event_id: int | None,
    ) -> None:
        text = json.dumps(figures, ensure_ascii=False)
        with _transaction(cursor):
            cursor.execute(
                statements("probes")["settle"],
                [state.value, reason, text, naive_utc(at), event_id, asked.probe_id],
            )
            audit.write(
                cursor,
                AuditRow(
                    at=self._clock.wall(),
                    actor=f"node {asked.node}",
                    action="probe_result",
                    subject=asked.card,
                    reason=reason,
                    evidence={"probe": asked.probe, "probe_id": asked.probe_id, **figures},
                    result=state.value,
                ),
            )

    # ---- the table

    def _isolated_place(self, cursor: duckdb.DuckDBPyConnection, card_id: str) -> tuple[str, str]:
        sql = statements("probes")
        row = cursor.execute(sql["where_card_is"], [card_id]).fetchone()
        if row is None:
            raise BadInput(f"no card {card_id[:80]!r} is known here; see ullage-collector's /api/v1/cards")
        cluster, node = str(row[0]), str(row[1])
        isolated = cursor.execute(sql["isolated"], [card_id, cluster, node]).fetchone()
        if not (isolated and isolated[0]):
            raise BadInput(f"card {card_id} is not isolated: a probe runs only where no work can come")
        return cluster, node

    def _insert(
        self,
        cursor: duckdb.DuckDBPyConnection,
        asked: AskedProbe,
        incident_id: int | None,
        asked_by: str,
        now: float,
    ) -> None:
        with _transaction(cursor):
            cursor.execute(
                statements("probes")["insert_probe"],
                [
                    asked.probe_id,
                    asked.probe,
                    asked.cluster,
                    asked.node,
                    asked.card,
                    incident_id,
                    asked_by,
                    naive_utc(now),
                    naive_utc(asked.expires),
                ],
            )
            audit.write(
                cursor,
                AuditRow(
                    at=now,
                    actor=asked_by,
                    action="ask_probe",
                    subject=asked.card,
                    reason=f"incident {incident_id}"
                    if incident_id is not None
                    else "asked without an incident",
                    evidence={"probe": asked.probe, "probe_id": asked.probe_id, "node": asked.node},
                    result="waiting",
                ),
            )

    def _read_waiting(self, cursor: duckdb.DuckDBPyConnection) -> None:
        """What waits, from the table; replaced whole, so that the receiver's loop needs no lock."""
        by_node: dict[tuple[str, str], list[AskedProbe]] = {}
        asked_at: dict[str, float] = {}
        for *asked, at in cursor.execute(statements("probes")["waiting"]).fetchall():
            one = AskedProbe(*asked)
            by_node.setdefault((one.cluster, one.node), []).append(one)
            asked_at[one.probe_id] = at
        self._asked_at = asked_at
        self._by_node = {place: tuple(some) for place, some in by_node.items()}

    @contextmanager
    def _cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        cursor = self._connect()
        try:
            yield cursor
        finally:
            cursor.close()


@contextmanager
def _transaction(cursor: duckdb.DuckDBPyConnection) -> Iterator[None]:
    cursor.execute("BEGIN")
    try:
        yield
    except Exception:
        cursor.execute("ROLLBACK")
        raise
    cursor.execute("COMMIT")
