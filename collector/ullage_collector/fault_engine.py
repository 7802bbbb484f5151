"""The fault engine: reads the events' journal and new samples, keeps incidents, gives verdicts to who decides.

It reads the journal itself, not the store, so that an event waits for no sample, and news waits for no backlog
(fault_intake.py). What it decides, what it remembers and how far it has read move in one transaction: after a crash it
goes on where it was, and opens nothing twice. Backlog is history: an event older than FRESH_SECONDS when it arrived, or
that waited so long to be read, may open an incident's record, never an action; so may an imported one.

Not here: which evidence is a fault (detect/fault_evaluator.py and the rules in detect/faults), what is done about an
incident (isolate/), what a change does to the incidents (incident_turns.py) and their rows (incident_book.py).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from ullage_collector import incident_memory
from ullage_collector.audit import naive_utc
from ullage_collector.batch import read_batch
from ullage_collector.detect import correlation
from ullage_collector.detect.correlation import Offender
from ullage_collector.detect.fault_evaluator import Evaluator
from ullage_collector.detect.fault_observation import EventSeen, Holder, SampleSeen
from ullage_collector.detect.fault_reading import Reading, SampleReader
from ullage_collector.detect.fault_rule import FaultRule
from ullage_collector.detect.fault_settings import FaultSettings
from ullage_collector.fault_intake import FRESH_SECONDS, Intake, happened_us
from ullage_collector.incident_offenders import look_for_offenders
from ullage_collector.incident_proposals import Proposals
from ullage_collector.incident_turns import Turns
from ullage_collector.isolate.isolation import Isolation
from ullage_collector.isolate.verdict import Action, Decider, Mode, Turn
from ullage_collector.journal import START, JournalReader, Position, Record, wait
from ullage_collector.sql import statements
from ullage_collector.topology.domains import Topology
from ullage_collector.topology.reading import load
from ullage_contract.clock import Clock
from ullage_contract.errors import StoreError, WireError
from ullage_contract.event import Event
from ullage_contract.sample import Family

if TYPE_CHECKING:
    import duckdb

log = logging.getLogger(__name__)

RECORDS: Final = (
    50  # our choice: because what is decided of a burst is told when so many are written, in half a second
)
SLICE_SECONDS: Final = 0.2  # our choice: because news waits so long behind history or samples, and a commit costs some milliseconds
SAMPLES_SECONDS: Final = 10.0  # our choice: because agents sample every 10 s
TICK_SECONDS: Final = 1.0
CLOSED_SECONDS: Final = 10.0  # our choice: because whoever closes an incident mostly says so at once
OFFENDERS_SECONDS: Final = 300.0  # our choice: because it is about days
TOPOLOGY_SECONDS: Final = 300.0  # our choice: because racks and cables change by the day


class FaultEngine:
    """Opens, worsens and ends incidents. One instance a store; every method is called by one thread.

    connect: a cursor of the open store. events: reader of the events' journal. rules: the fault catalogue; ignored
    where ``settings`` are given. isolation: plans the calls that an incident's page shows. decider: who is told every
    turn, after it is written; None: nobody, incidents are shown with their proposals.
    """

    def __init__(
        self,
        connect: Callable[[], duckdb.DuckDBPyConnection],
        events: JournalReader,
        rules: Sequence[FaultRule],
        isolation: Isolation,
        clock: Clock,
        *,
        decider: Decider | None = None,
        settings: FaultSettings | None = None,
        precedence: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._connect = connect
        self._events = events
        self._settings = settings or FaultSettings(tuple(rules))
        self._clock = clock
        self._decider = decider
        self._precedence = precedence
        self._proposals = Proposals(connect, isolation, clock)
        self._turns = Turns(self._settings, self._proposals, clock, self._known_topology)
        self._samples = SampleReader(connect, self._settings.rules, clock)
        self._position = START
        self._intake = Intake(events, clock, START, {})
        self._boots: dict[tuple[str, str], str] = {}
        self._topology: Topology | None = None
        self._evaluator = Evaluator(())
        self._closed_elsewhere = False
        self._at = dict.fromkeys(("tick", "closed", "offenders", "topology"), float("-inf"))
        self._read_all()
        for one in self._turns.book:
            recent = self._clock.wall() - one.at_us / 1e6 <= FRESH_SECONDS
            if self._decider is not None and one.fresh and one.parent is None:
                self._turns.tell(one, Turn.OPENED, fresh=recent)
        self._give()

    @property
    def position(self) -> Position:
        """How far the events' journal has been judged, durably."""
        return self._position

    # ------------------------------------------------------------------------------------ the loop
    def run(self, stop: threading.Event) -> None:
        """Step until ``stop`` is set; a step that fails is told and tried again. Samples are read beside it."""
        import duckdb

        box: list[Reading] = []
        ready = threading.Lock()
        ended = threading.Event()
        reading = threading.Thread(
            target=self._read_beside, args=(ended, box, ready), name="fault-samples", daemon=True
        )
        reading.start()
        try:
            while not stop.is_set():
                try:
                    self._proposals.again()
                    self.tick()
                    with ready:
                        found, box[:] = list(box), []
                    for one in found:
                        self.judge(one, stop)
                    if not self.step():
                        wait(self._events, self._intake.end, stop, 1.0)
                except (StoreError, duckdb.Error) as e:
                    log.error("fault engine: %s", e)
                    stop.wait(1.0)
        finally:  # whatever ends the loop: the reader ends with it, and is not there twice when it is begun again
            ended.set()
            reading.join(5.0)

    def _read_beside(self, ended: threading.Event, box: list[Reading], ready: threading.Lock) -> None:
        """Read samples in a thread of its own, so that no event waits for it; one reading waits to be judged at most."""
        import duckdb

        while not ended.wait(SAMPLES_SECONDS):
            with ready:
                if box:
                    continue
            try:
                found = self._samples.read()
            except (duckdb.Error, StoreError) as e:
                log.error("fault engine: samples: %s", e)
                continue
            with ready:
                box.append(found)

    def step(self) -> int:
        """Judge some of what is new in the journal, news first; how many records were judged. 0: nothing waits."""
        self._take_closed()
        if not self._intake.read():
            return 0
        judged = 0

        def judge(connection: duckdb.DuckDBPyConnection) -> None:
            nonlocal judged
            news, began = self._intake.has_news, self._clock.monotonic()
            while (record := self._intake.take()) is not None:
                self._judge_record(connection, record)
                judged += 1
                enough = judged >= RECORDS if news else self._clock.monotonic() - began >= SLICE_SECONDS
                if enough or self._intake.has_news is not news:
                    break
            # so that nothing waits for ever behind others' news
            if news and (record := self._intake.take(oldest=True)) is not None:
                self._judge_record(connection, record)
                judged += 1
            incident_memory.move_position(connection, self._intake, self._clock.wall())

        self._in_transaction(judge)
        self._position = self._intake.position
        self._give()
        return judged

    def sample_step(self) -> int:
        """Read and judge new samples now; how many rows could matter."""
        reading = self._samples.read()
        self.judge(reading, threading.Event())
        return len(reading.rows)

    def tick(self) -> None:
        """What the passing of time brings: states that last, faults that are over, offenders."""
        if not self._due("tick", TICK_SECONDS):
            return
        self._closed_elsewhere = self._closed_elsewhere or self._due("closed", CLOSED_SECONDS)
        self._take_closed()
        now_us = round(self._clock.wall() * 1e6)
        waiting = self._evaluator.waiting(now_us)
        if waiting:
            with self._connect() as connection:
                for cluster, node, at_us in connection.execute(
                    statements("incidents")["last_heard"]
                ).fetchall():
                    if (cluster, node) in waiting:
                        self._evaluator.heard(cluster, node, at_us)
            self._in_transaction(
                lambda connection: self._turns.apply(connection, self._evaluator.tick(now_us))
            )
            self._give()
        if self._due("offenders", OFFENDERS_SECONDS):
            self.look_for_offenders()

    def look_for_offenders(self) -> list[Offender]:
        """Keep what comes back again and again as findings, and open incidents for the new ones. Those found."""
        now_us = round(self._clock.wall() * 1e6)
        found: list[Offender] = []
        self._in_transaction(
            lambda connection: found.extend(
                look_for_offenders(connection, self._evaluator.rules, self._turns, now_us)
            )
        )
        self._give()
        return found

    def propose_again(self) -> None:
        """Plan for incidents that have no plan yet (incident_proposals.py)."""
        self._proposals.again()

    def forget_closed(self) -> None:
        """Have the open incidents read anew before the next step: a person or the policy closed some. From any thread."""
        self._closed_elsewhere = True

    # ------------------------------------------------------------------------------------ events
    def _judge_record(self, connection: duckdb.DuckDBPyConnection, record: Record) -> None:
        try:
            batch = read_batch(record.body)
        except WireError as e:
            log.error("fault engine: batch %s/%d: %s", record.stream, record.sequence, e)
            return
        where = (record.cluster, record.node)
        if batch.boot_id is not None:
            if self._boots.get(where, batch.boot_id) != batch.boot_id:
                self._evaluator.booted(*where, record.received_at_us)
            self._boots[where] = batch.boot_id
        for event in batch.events:
            happened = happened_us(record, event)
            seen = EventSeen(
                event=event,
                cluster=record.cluster,
                node=record.node,
                happened_us=happened,
                received_us=record.received_at_us,
                fresh=self._intake.is_fresh(record, event, batch.origin),
                origin=batch.origin,
                reference={"stream": record.stream, "sequence": record.sequence},
            )
            if self._evaluator.asks_holders(seen):
                seen = replace(seen, holders=self._holders(connection, event, happened))
            self._turns.apply(connection, self._evaluator.event(seen), event)

    def _holders(
        self, connection: duckdb.DuckDBPyConnection, event: Event, happened_us: int
    ) -> tuple[Holder, ...]:
        if event.family is not Family.CARD:
            return ()
        at = naive_utc(happened_us / 1e6)
        rows = connection.execute(statements("incidents")["holders"], [event.subject, at, at]).fetchall()
        return tuple(Holder(workload, user) for workload, user in rows)

    # ------------------------------------------------------------------------------------ samples
    def judge(self, reading: Reading, stop: threading.Event) -> None:
        """Judge one reading of samples slice by slice, and events between them; ends early when ``stop`` is set."""
        for cluster, node, at_us in reading.booted:
            self._evaluator.booted(cluster, node, at_us)
        rows = iter(reading.rows)
        while (first := next(rows, None)) is not None:
            self._in_transaction(partial(self._judge_slice, first=first, rows=rows))
            self._give()
            if stop.is_set():
                return
            self.step()
        self._in_transaction(lambda connection: self._samples.moved(connection, reading))

    def _judge_slice(
        self, connection: duckdb.DuckDBPyConnection, *, first: SampleSeen, rows: Iterator[SampleSeen]
    ) -> None:
        began = self._clock.monotonic()
        for seen in chain((first,), rows):
            self._turns.apply(connection, self._evaluator.sample(seen))
            if self._clock.monotonic() - began >= SLICE_SECONDS:
                return

    # ------------------------------------------------------------------------------------ writing and telling
    def _give(self) -> None:
        """What was committed is told: verdicts to who decides, and then plans are made for the incidents' pages."""
        verdicts = self._turns.take_verdicts()
        if not verdicts:
            return
        for verdict, one in verdicts:
            shown = verdict.fresh and verdict.action is not Action.OBSERVE and verdict.mode is not Mode.SHADOW
            if verdict.turn is not Turn.ENDED and shown:
                self._proposals.want(one.incident_id, one.target, one.reason)
        if self._decider is not None:
            with self._connect() as connection:
                topology = self._known_topology(connection)
            for verdict, one in verdicts:
                domains = correlation.domains_of(topology, one.cluster, one.node, verdict.card_id)
                self._decider.consider(replace(verdict, domains=domains))
        self._proposals.make()

    def _in_transaction(self, work: Callable[[duckdb.DuckDBPyConnection], Any]) -> None:
        """Do it, write what the evaluator remembers, commit; when any of it fails nothing of it was."""
        import duckdb

        connection = self._connect()
        connection.execute("BEGIN")
        try:
            work(connection)
            incident_memory.keep_states(connection, self._evaluator)
            connection.execute("COMMIT")
        except Exception:
            with suppress(duckdb.TransactionException):  # a failed COMMIT has ended it already
                connection.execute("ROLLBACK")
            self._turns.take_verdicts()  # of what was not committed
            self._read_all()
            raise
        finally:
            connection.close()

    def _read_all(self) -> None:
        """Position, open incidents and what the evaluator remembered, as the store has them."""
        with self._connect() as connection:
            self._position, ahead = incident_memory.read_position(connection)
            self._turns.book, evaluator = incident_memory.read(connection, self._settings, self._clock)
        self._intake = Intake(self._events, self._clock, self._position, ahead)
        evaluator.adopt(self._evaluator)
        self._evaluator = evaluator
        self._closed_elsewhere = False

    def _take_closed(self) -> None:
        """Take note of incidents that somebody else closed: a person's release, or the policy's return to service."""
        if not self._closed_elsewhere:
            return
        self._closed_elsewhere = False
        now_us = round(self._clock.wall() * 1e6)
        with self._connect() as connection:
            gone = self._turns.book.read(connection)
        self._proposals.read()
        for one in gone:
            self._evaluator.closed(one.cause, one.family, one.cluster, one.subject, now_us)

        def free(connection: duckdb.DuckDBPyConnection) -> None:
            for one in gone:
                self._turns.free(connection, self._turns.book.children(one.incident_id))
                self._turns.end_fleet(connection, one, now_us)

        if gone:
            self._in_transaction(free)
            self._give()

    def _known_topology(self, connection: duckdb.DuckDBPyConnection) -> Topology:
        if self._topology is None or self._due("topology", TOPOLOGY_SECONDS):
            self._at["topology"] = self._clock.monotonic()
            now_us = round(self._clock.wall() * 1e6)
            self._topology = load(connection, now_us, now_us, self._precedence)
        return self._topology

    def _due(self, what: str, every_seconds: float) -> bool:
        now = self._clock.monotonic()
        if now - self._at[what] < every_seconds:
            return False
        self._at[what] = now
        return True
