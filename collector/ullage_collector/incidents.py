"""The fault engine: reads the events' journal, opens an incident within a second of its event, proposes.

It reads the journal itself, not the store, so that nothing waits for samples. What it decides and how far
it has read move in one transaction: after a crash it goes on where it was, and opens nothing twice.
Backlog is history: an event older than FRESH_SECONDS when it arrived may open an incident's record, never
an action; so may an imported or a very late one.

Not here: which events are faults (detect/faults.toml), and carrying an isolation out (isolate/).
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ullage_collector import audit
from ullage_collector.audit import AuditRow, naive_utc
from ullage_collector.batch import read_batch
from ullage_collector.detect.faults import FaultRule, judge
from ullage_collector.isolate.isolation import Isolation
from ullage_collector.journal import START, JournalReader, Position, Record, wait
from ullage_collector.sql import statements
from ullage_contract.clock import Clock
from ullage_contract.errors import StoreError, WireError
from ullage_contract.event import Event
from ullage_contract.sample import Family, Origin

if TYPE_CHECKING:
    import duckdb

log = logging.getLogger(__name__)

CONSUMER: Final = "faults-events"
FRESH_SECONDS: Final = (
    120.0  # our choice: because an agent pushes events at once; older ones waited in a spool
)
READ_BYTES: Final = (
    1024 * 1024
)  # our choice: because a burst of a thousand events fits and a step stays short
PROPOSE_AGAIN_SECONDS: Final = 2.0  # our choice: because the store is behind the journal by a second or two
MAX_EVIDENCE: Final = 50  # our choice: because fifty events say what a thousand would


@dataclass(slots=True)
class _Open:
    incident_id: int
    evidence: list[dict[str, Any]] = field(default_factory=list)


class FaultEngine:
    """Opens, extends and closes incidents. One instance a store; ``step`` is called by one thread.

    connect: a cursor of the open store. events: reader of the events' journal. rules: first match wins.
    """

    def __init__(
        self,
        connect: Callable[[], duckdb.DuckDBPyConnection],
        events: JournalReader,
        rules: Sequence[FaultRule],
        isolation: Isolation,
        clock: Clock,
    ) -> None:
        self._connect = connect
        self._events = events
        self._rules = rules
        self._isolation = isolation
        self._clock = clock
        self._position = self._read_position()
        self._open = self._read_open()
        self._judged: dict[str, int] = {}  # a record may stand twice in the journal
        self._unproposed: dict[int, tuple[str, str]] = self._read_unproposed()
        self._proposed_at = float("-inf")

    @property
    def position(self) -> Position:
        """How far the events' journal has been judged, durably."""
        return self._position

    def run(self, stop: threading.Event) -> None:
        """Step until ``stop`` is set; a step that fails is told and tried again."""
        while not stop.is_set():
            try:
                self.propose_again()
                if not self.step():
                    wait(self._events, self._position, stop, 1.0)
            except StoreError as e:
                log.error("fault engine: %s", e)
                stop.wait(1.0)

    def step(self) -> int:
        """Judge what is new in the journal; how many records were read."""
        records = self._events.read(self._position, READ_BYTES)
        if not records:
            return 0
        connection = self._connect()
        opened: list[tuple[int, str, str]] = []
        connection.execute("BEGIN")
        try:
            for record, _ in records:
                if record.sequence > self._judged.get(record.stream, 0):
                    self._judge_record(connection, record, opened)
                    self._judged[record.stream] = record.sequence
            position = records[-1][1]
            connection.execute(
                statements("incidents")["move_position"],
                [CONSUMER, position.segment, position.offset, naive_utc(self._clock.wall())],
            )
            connection.execute("COMMIT")
        except Exception:
            connection.execute("ROLLBACK")
            self._open = self._read_open()
            raise
        self._position = position
        for incident_id, subject, reason in opened:
            self._propose(connection, incident_id, subject, reason)
        connection.close()
        return len(records)

    def _judge_record(
        self, connection: duckdb.DuckDBPyConnection, record: Record, opened: list[tuple[int, str, str]]
    ) -> None:
        try:
            batch = read_batch(record.body)
        except WireError as e:
            log.error("fault engine: batch %s/%d: %s", record.stream, record.sequence, e)
            return
        received = record.received_at_us / 1e6
        for event in batch.events:
            happened = event.time + record.shift_seconds
            self._judge_event(connection, event, happened, received, record, batch.origin, opened)

    def _judge_event(
        self,
        connection: duckdb.DuckDBPyConnection,
        event: Event,
        happened: float,
        received: float,
        record: Record,
        origin: Origin,
        opened: list[tuple[int, str, str]],
    ) -> None:
        self._close_by(connection, event, happened)
        rule = judge(event, self._rules)
        if rule is None:
            return
        evidence = {
            "time": happened,
            "kind": event.kind,
            "code": event.code,
            "message": event.message,
            "node": record.node,
            "stream": record.stream,
            "sequence": record.sequence,
        }
        known = self._open.get((event.subject, rule.name))
        if known is not None:
            if len(known.evidence) < MAX_EVIDENCE:
                known.evidence.append(evidence)
                connection.execute(
                    statements("incidents")["add_evidence"],
                    [json.dumps(known.evidence, ensure_ascii=False), naive_utc(happened), known.incident_id],
                )
            return
        history = origin is Origin.IMPORTED or received - happened > FRESH_SECONDS
        incident_id = self._insert(connection, rule, event, happened, evidence, history, origin)
        self._open[(event.subject, rule.name)] = _Open(incident_id, [evidence])
        if not history and rule.action != "observe":
            reason = f"{rule.name} {event.code or ''}".strip()
            subject = event.subject if event.family is Family.CARD else record.node
            opened.append((incident_id, subject, reason))

    def _insert(
        self,
        connection: duckdb.DuckDBPyConnection,
        rule: FaultRule,
        event: Event,
        happened: float,
        evidence: dict[str, Any],
        history: bool,
        origin: Origin,
    ) -> int:
        sql = statements("incidents")
        (number,) = connection.execute(sql["next_incident"]).fetchone() or (1,)
        now = self._clock.wall()
        connection.execute(
            sql["open_incident"],
            [
                number,
                event.family.value,
                event.subject,
                rule.name,
                rule.severity.value,
                event.vendor,
                event.code,
                naive_utc(happened),
                naive_utc(now),
                rule.confirmed,
                rule.action,
                None,
                json.dumps([evidence], ensure_ascii=False),
                history,
                origin.value,
            ],
        )
        audit.write(
            connection,
            AuditRow(
                at=now,
                actor=f"rule {rule.name}",
                action="open_incident",
                subject=event.subject,
                reason=event.message,
                evidence=evidence,
                result=f"incident {number}" + (" (history)" if history else ""),
            ),
        )
        log.warning("incident %d: %s on %s: %s", number, rule.name, event.subject, event.message)
        return int(number)

    def _close_by(self, connection: duckdb.DuckDBPyConnection, event: Event, happened: float) -> None:
        """End incidents whose exit condition this event is."""
        for rule in self._rules:
            if event.kind not in rule.exit:
                continue
            known = self._open.pop((event.subject, rule.name), None)
            if known is None:
                continue
            self._unproposed.pop(known.incident_id, None)
            connection.execute(
                statements("incidents")["close_incident"],
                [naive_utc(happened), f"event {event.kind}", known.incident_id],
            )
            audit.write(
                connection,
                AuditRow(
                    at=self._clock.wall(),
                    actor=f"rule {rule.name}",
                    action="close_incident",
                    subject=event.subject,
                    reason=event.message,
                    result=f"incident {known.incident_id} closed by {event.kind}",
                ),
            )

    def _propose(
        self, connection: duckdb.DuckDBPyConnection, incident_id: int, subject: str, reason: str
    ) -> None:
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

    def propose_again(self) -> None:
        """Plan for incidents that have no plan yet: the engine is ahead of the store, which may not know a
        card that has just come; and a crash may have stood between an incident and its proposal."""
        now = self._clock.monotonic()
        if not self._unproposed or now - self._proposed_at < PROPOSE_AGAIN_SECONDS:
            return
        self._proposed_at = now
        connection = self._connect()
        for incident_id, (subject, reason) in list(self._unproposed.items()):
            self._propose(connection, incident_id, subject, reason)
        connection.close()

    def _read_unproposed(self) -> dict[int, tuple[str, str]]:
        with self._connect() as connection:
            rows = connection.execute(statements("incidents")["unproposed"]).fetchall()
        return {
            int(number): (subject, f"{cause} {code or ''}".strip()) for number, subject, cause, code in rows
        }

    def _read_position(self) -> Position:
        with self._connect() as connection:
            row = connection.execute(statements("incidents")["position"], [CONSUMER]).fetchone()
        return Position(int(row[0]), int(row[1])) if row else START

    def _read_open(self) -> dict[tuple[str, str], _Open]:
        with self._connect() as connection:
            rows = connection.execute(statements("incidents")["open_incidents"]).fetchall()
        return {
            (subject, cause): _Open(int(number), json.loads(evidence))
            for number, subject, cause, evidence in rows
        }

    def forget_closed(self) -> None:
        """Read the open incidents anew: called after a person released a subject."""
        self._open = self._read_open()
        self._unproposed = self._read_unproposed()
