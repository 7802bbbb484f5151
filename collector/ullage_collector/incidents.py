"""The fault engine: reads the events' journal and new samples, keeps incidents, gives verdicts to who decides.

It reads the journal itself, not the store, so that an event waits for no sample. What it decides, what it remembers and
how far it has read move in one transaction: after a crash it goes on where it was, and opens nothing twice. Backlog is
history: an event older than FRESH_SECONDS when it arrived, or that waited so long to be read, may open an incident's
record, never an action; so may an imported one.

Not here: which evidence is a fault (detect/fault_evaluator.py and the rules in detect/faults), what is done about an
incident (isolate/), its rows (incident_book.py).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from ullage_collector.audit import naive_utc
from ullage_collector.batch import read_batch
from ullage_collector.detect import correlation
from ullage_collector.detect.correlation import FLEET, Fleet, Isolated, Offender, offenders, parent_of
from ullage_collector.detect.fault_evaluator import Evaluator
from ullage_collector.detect.fault_observation import Change, EventSeen, Holder, SampleSeen
from ullage_collector.detect.fault_reading import Reading, SampleReader
from ullage_collector.detect.fault_rule import FaultRule
from ullage_collector.detect.fault_settings import FaultSettings
from ullage_collector.detect.fault_track import Standing, Track, from_json
from ullage_collector.detect.findings import Found, keep
from ullage_collector.incident_book import IncidentBook, Open, key_of, opening
from ullage_collector.incident_proposals import Proposals
from ullage_collector.isolate.isolation import Isolation
from ullage_collector.isolate.verdict import Action, Decider, Follow, Mode, Turn, Verdict
from ullage_collector.journal import START, JournalReader, Position, Record, wait
from ullage_collector.sql import statements
from ullage_collector.topology.domains import Topology
from ullage_collector.topology.reading import load
from ullage_contract.clock import Clock
from ullage_contract.errors import StoreError, WireError
from ullage_contract.event import Event, Severity
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
RECORDS: Final = (
    50  # our choice: because what is decided of a burst is told when so many are written, in half a second
)
SAMPLES_SECONDS: Final = 10.0  # our choice: because agents sample every 10 s
TICK_SECONDS: Final = 1.0
CLOSED_SECONDS: Final = 10.0  # our choice: because whoever closes an incident mostly says so at once
OFFENDERS_SECONDS: Final = 300.0  # our choice: because it is about days
TOPOLOGY_SECONDS: Final = 300.0  # our choice: because racks and cables change by the day
OFFENDER: Final = "repeat_offender"
"""Kind of the findings about cards and nodes that come back again and again."""
_MODES: Final = tuple(Mode)


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
        self._book = IncidentBook(clock)
        self._fleet = Fleet(self._settings.fleet_nodes, self._settings.fleet_within_us)
        self._samples = SampleReader(connect, self._settings.rules, clock)
        self._position = START
        self._boots: dict[tuple[str, str], str] = {}
        self._judged: dict[str, int] = {}  # a record may stand twice in the journal
        self._topology: Topology | None = None
        self._evaluator = Evaluator(())
        self._closed_elsewhere = False
        self._verdicts: list[tuple[Verdict, Open]] = []
        self._at = dict.fromkeys(("tick", "closed", "offenders", "topology"), float("-inf"))
        self._read_all()
        for one in self._book:
            recent = self._clock.wall() - one.at_us / 1e6 <= FRESH_SECONDS
            if self._decider is not None and one.fresh and one.parent is None:
                self._tell(one, Turn.OPENED, fresh=recent)
        self._give()

    @property
    def position(self) -> Position:
        """How far the events' journal has been judged, durably."""
        return self._position

    # ------------------------------------------------------------------------------------ the loop
    def run(self, stop: threading.Event) -> None:
        """Step until ``stop`` is set; a step that fails is told and tried again. Samples are read beside it."""
        box: list[Reading] = []
        ready = threading.Lock()
        reading = threading.Thread(
            target=self._read_beside, args=(stop, box, ready), name="fault-samples", daemon=True
        )
        reading.start()
        while not stop.is_set():
            try:
                self._proposals.again()
                self.tick()
                with ready:
                    found, box[:] = list(box), []
                for one in found:
                    self._judge_samples(one, stop)
                if not self.step():
                    wait(self._events, self._position, stop, 1.0)
            except StoreError as e:
                log.error("fault engine: %s", e)
                stop.wait(1.0)
        reading.join(5.0)

    def _read_beside(self, stop: threading.Event, box: list[Reading], ready: threading.Lock) -> None:
        """Read samples in a thread of its own, so that no event waits for it; one reading waits to be judged at most."""
        import duckdb

        while not stop.wait(SAMPLES_SECONDS):
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
        """Judge what is new in the journal; how many records were read."""
        self._take_closed()
        records = self._events.read(self._position, READ_BYTES)[:RECORDS]
        if not records:
            return 0
        position = records[-1][1]

        def judge(connection: duckdb.DuckDBPyConnection) -> None:
            for record, _ in records:
                if record.sequence > self._judged.get(record.stream, 0):
                    self._judge_record(connection, record)
                    self._judged[record.stream] = record.sequence
            connection.execute(
                statements("incidents")["move_position"],
                [CONSUMER, position.segment, position.offset, naive_utc(self._clock.wall())],
            )

        self._in_transaction(judge)
        self._position = position
        self._give()
        return len(records)

    def sample_step(self) -> int:
        """Read and judge new samples now; how many rows could matter."""
        reading = self._samples.read()
        self._judge_samples(reading, threading.Event())
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
            self._in_transaction(lambda connection: self._apply(connection, self._evaluator.tick(now_us)))
            self._give()
        if self._due("offenders", OFFENDERS_SECONDS):
            self.look_for_offenders()

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
            happened_us = round((event.time + record.shift_seconds) * 1e6)
            # Late on its way, or left lying while this collector was away: both are history.
            waited = round(self._clock.wall() * 1e6) - record.received_at_us
            late = max(record.received_at_us - happened_us, waited) > FRESH_SECONDS * 1e6
            seen = EventSeen(
                event=event,
                cluster=record.cluster,
                node=record.node,
                happened_us=happened_us,
                received_us=record.received_at_us,
                fresh=not late and batch.origin is not Origin.IMPORTED,
                origin=batch.origin,
                reference={"stream": record.stream, "sequence": record.sequence},
            )
            if self._evaluator.asks_holders(seen):
                seen = replace(seen, holders=self._holders(connection, event, happened_us))
            self._apply(connection, self._evaluator.event(seen), event)

    def _holders(
        self, connection: duckdb.DuckDBPyConnection, event: Event, happened_us: int
    ) -> tuple[Holder, ...]:
        if event.family is not Family.CARD:
            return ()
        at = naive_utc(happened_us / 1e6)
        rows = connection.execute(statements("incidents")["holders"], [event.subject, at, at]).fetchall()
        return tuple(Holder(workload, user) for workload, user in rows)

    # ------------------------------------------------------------------------------------ samples
    def _judge_samples(self, reading: Reading, stop: threading.Event) -> None:
        """Judge one reading in parts, and events between them."""
        for cluster, node, at_us in reading.booted:
            self._evaluator.booted(cluster, node, at_us)
        for part in reading.parts():
            self._in_transaction(lambda connection, part=part: self._judge_part(connection, part))  # type: ignore[misc]
            self._give()
            if stop.is_set():
                return
            self.step()
        self._in_transaction(lambda connection: self._samples.moved(connection, reading))

    def _judge_part(self, connection: duckdb.DuckDBPyConnection, part: Sequence[SampleSeen]) -> None:
        for seen in part:
            self._apply(connection, self._evaluator.sample(seen))

    # ------------------------------------------------------------------------------------ turns
    def _apply(
        self, connection: duckdb.DuckDBPyConnection, changes: Iterable[Change], event: Event | None = None
    ) -> None:
        for change in changes:
            one = self._book.get(key_of(change.rule.name, change.family, change.cluster, change.subject))
            message = event.message if event is not None else change.rule.says or change.reason
            if change.turn is Turn.OPENED and one is None:
                self._opened(connection, change, message)
            elif one is None:
                continue
            elif change.turn is Turn.ENDED:
                self._ended(connection, one, change, message)
            elif change.turn is None:
                self._book.add(connection, one, dict(change.evidence), change.first_us)
            else:
                was_fresh = one.fresh
                self._book.add(connection, one, dict(change.evidence), change.first_us)
                self._book.worsen(connection, one, change)
                self._correlate(connection, one, new=not was_fresh and one.fresh)
                if one.parent is None or one.told:
                    self._tell(one, Turn.WORSENED if one.told else Turn.OPENED, fresh=change.fresh)

    def _opened(self, connection: duckdb.DuckDBPyConnection, change: Change, message: str) -> None:
        one = self._book.open(connection, opening(change, change.mode), money=change.money, message=message)
        self._correlate(connection, one, new=change.fresh)
        parent = None if one.parent is None else self._book.by_id(one.parent)
        if parent is None or parent.family == FLEET:
            self._tell(one, Turn.OPENED)

    def _ended(self, connection: duckdb.DuckDBPyConnection, one: Open, change: Change, message: str) -> None:
        children = self._book.children(one.incident_id)
        self._book.close(connection, one, change.at_us, change.ended_by or "its condition", message)
        self._proposals.forget(one.incident_id)
        self._free(connection, children)
        if one.told:
            self._tell(one, Turn.ENDED, fresh=True)
        self._end_fleet(connection, one, change.at_us)

    def _free(self, connection: duckdb.DuckDBPyConnection, children: list[Open]) -> None:
        """What was part of an incident that is over stands by itself again: a partial recovery is none."""
        for child in children:
            self._book.part_of(connection, child, None)
        for child in children:
            parent = parent_of(
                child.known, [other.known for other in self._book.of_node(child.cluster, child.node)]
            )
            if parent is not None:
                self._book.part_of(connection, child, parent)
            elif not child.told:
                self._tell(child, Turn.OPENED)

    def _correlate(self, connection: duckdb.DuckDBPyConnection, one: Open, *, new: bool) -> None:
        """Find what it is part of, and what is part of it. new: it is freshly open."""
        if new and one.action is not Action.OBSERVE and one.mode is not Mode.SHADOW and one.family != FLEET:
            wave = self._fleet.opened(one.cause, one.cluster, one.node, one.incident_id, one.at_us)
            if wave is not None:
                self._hold_fleet(connection, wave)
                return
        around = self._book.of_node(one.cluster, one.node)
        if one.parent is None:
            parent = parent_of(one.known, [other.known for other in around])
            if parent is not None:
                self._book.part_of(connection, one, parent)
        if one.action.node:
            for other in around:
                if other.parent is None and parent_of(other.known, [one.known]) is not None:
                    self._book.part_of(connection, other, one.incident_id)

    def _hold_fleet(self, connection: duckdb.DuckDBPyConnection, wave: correlation.Fleetwide) -> None:
        """The same on several nodes: one incident that a person is asked about, and none of them acts by itself."""
        members = [one for number in wave.incidents if (one := self._book.by_id(number)) is not None]
        first = members[0]
        fleet = self._book.by_id(first.parent) if first.parent is not None else None
        if fleet is None or fleet.family != FLEET:
            fleet = self._open_fleet(connection, wave, members)
        for one in members:
            if one.parent != fleet.incident_id:
                self._book.part_of(connection, one, fleet.incident_id)
            if _MODES.index(one.mode) > _MODES.index(Mode.ADVISE):
                self._book.limit(connection, one, Mode.ADVISE)
                if one.told:
                    self._tell(one, Turn.WORSENED)
        self._book.add(
            connection,
            fleet,
            {
                "nodes": [f"{cluster}/{node}" for cluster, node in wave.nodes],
                "incidents": list(wave.incidents),
            },
            fleet.first_us,
        )

    def _open_fleet(
        self, connection: duckdb.DuckDBPyConnection, wave: correlation.Fleetwide, members: list[Open]
    ) -> Open:
        shared = correlation.shared_domain(self._known_topology(connection), wave.nodes)
        where = f"{shared[0]} {shared[1]}" if shared else "nodes that share nothing known"
        reason = f"{wave.rule} on {len(wave.nodes)} nodes within {self._settings.fleet_within_us / 6e7:g} min: {where}"
        fleet = Open(
            incident_id=0,
            cause=f"fleet_{wave.rule}",
            family=FLEET,
            subject=f"{shared[0]}:{shared[1]}" if shared else wave.rule,
            cluster=members[0].cluster,
            node=members[0].node,
            vendor=members[0].vendor,
            code=members[0].code,
            severity=Severity.CRITICAL,
            action=Action.OBSERVE,
            follow=Follow.NONE,
            mode=Mode.ADVISE,
            fresh=True,
            first_us=min(one.first_us for one in members),
            at_us=max(one.at_us for one in members),
            reason=reason,
            origin=members[0].origin,
        )
        known = self._book.get(fleet.key)
        if known is not None:
            return known
        self._book.open(connection, fleet, money=False, message=reason)
        self._tell(fleet, Turn.OPENED)
        return fleet

    def _end_fleet(self, connection: duckdb.DuckDBPyConnection, one: Open, at_us: int) -> None:
        """A fleet's incident is over with the last of its members."""
        fleet = self._book.by_id(one.parent) if one.parent is not None else None
        if fleet is None or fleet.family != FLEET or self._book.children(fleet.incident_id):
            return
        self._book.close(connection, fleet, at_us, "the last of its incidents")
        self._fleet.ended(one.cause)
        self._tell(fleet, Turn.ENDED, fresh=True)

    # ------------------------------------------------------------------------------------ offenders
    def look_for_offenders(self) -> list[Offender]:
        """Cards and nodes that come back again and again: a finding, and an incident for a person. Those found."""
        now_us = round(self._clock.wall() * 1e6)
        longest = max((rule.over_us for rule in self._settings.rules if rule.signal == "history"), default=0)
        found: list[Offender] = []

        def look(connection: duckdb.DuckDBPyConnection) -> None:
            sql = statements("incidents")
            rows = connection.execute(
                sql["isolations_since"], [naive_utc((now_us - longest) / 1e6)]
            ).fetchall()
            past = [
                Isolated(cluster, node, subject if family == "card" else None, at_us)
                for family, subject, cluster, node, at_us in rows
            ]
            found.extend(offenders(self._evaluator.rules, past, now_us))
            keep(connection, [OFFENDER], [_finding(one) for one in found], now_us)
            for offender in found:
                self._open_offender(connection, offender)

        self._in_transaction(look)
        self._give()
        return found

    def _open_offender(self, connection: duckdb.DuckDBPyConnection, offender: Offender) -> None:
        if (
            self._book.get(key_of(offender.rule, offender.family, offender.cluster, offender.subject))
            is not None
        ):
            return
        sql = statements("incidents")
        row = connection.execute(
            sql["last_closed"], [offender.rule, offender.subject, offender.cluster]
        ).fetchone()
        if row is not None and row[0] is not None and row[0] >= offender.last_us:
            return  # a person has dealt with these
        rule = self._evaluator.rules[offender.rule]
        one = Open(
            incident_id=0,
            cause=rule.name,
            family=offender.family,
            subject=offender.subject,
            cluster=offender.cluster,
            node=offender.node,
            vendor=None,
            code=None,
            severity=rule.severity,
            action=rule.action,
            follow=rule.follow,
            mode=rule.mode,
            fresh=True,
            first_us=offender.first_us,
            at_us=offender.last_us,
            reason=f"{rule.name}: isolated {offender.times} times in {rule.over_us / 8.64e10:g} d",
            origin=Origin.REAL.value,
            evidence=[
                {"times": offender.times, "first": offender.first_us / 1e6, "last": offender.last_us / 1e6}
            ],
        )
        self._book.open(connection, one, money=False, message=one.reason)
        self._tell(one, Turn.OPENED)

    # ------------------------------------------------------------------------------------ parts
    def _tell(self, one: Open, turn: Turn, *, fresh: bool | None = None) -> None:
        """Keep a verdict for when the transaction is committed."""
        one.told = True
        self._verdicts.append((one.verdict(turn, self._clock.wall(), {}, fresh=fresh), one))

    def _give(self) -> None:
        """What was committed is told: verdicts to who decides, and then plans are made for the incidents' pages."""
        verdicts, self._verdicts = self._verdicts, []
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
        connection = self._connect()
        connection.execute("BEGIN")
        try:
            work(connection)
            self._keep_states(connection)
            connection.execute("COMMIT")
        except Exception:
            connection.execute("ROLLBACK")
            self._verdicts.clear()
            self._judged.clear()
            self._read_all()
            raise
        finally:
            connection.close()

    def _keep_states(self, connection: duckdb.DuckDBPyConnection) -> None:
        written, gone = self._evaluator.changed()
        sql = statements("incidents")
        if gone:
            connection.execute(sql["drop_states"], [list(column) for column in zip(*gone, strict=True)])
        if written:
            rows = [
                (
                    track.rule,
                    track.family,
                    track.cluster if track.family == Family.NODE else "",
                    track.subject,
                    track.cluster,
                    track.node,
                    track.vendor,
                    track.watched,
                    track.base,
                    track.to_json(),
                )
                for track in written
            ]
            connection.execute(sql["put_states"], [list(column) for column in zip(*rows, strict=True)])

    def _read_all(self) -> None:
        """Position, open incidents and what the evaluator remembered, as the store has them."""
        sql = statements("incidents")
        with self._connect() as connection:
            row = connection.execute(sql["position"], [CONSUMER]).fetchone()
            self._book = IncidentBook(self._clock)
            self._book.read(connection)
            states = connection.execute(sql["states"]).fetchall()
        self._position = Position(int(row[0]), int(row[1])) if row else START
        tracks = {}
        for rule, family, subject, cluster, node, vendor, text in states:
            try:
                track = from_json(rule, family, subject, cluster, node, vendor, text)
            except (ValueError, TypeError) as e:
                log.error("fault engine: what was remembered of %s on %s is forgotten: %s", rule, subject, e)
                continue
            tracks[key_of(rule, family, cluster, subject)] = track
        standing = {one.key: one for one in self._book}
        for key, track in tracks.items():
            if track.standing is not None and key not in standing:
                track.standing = None  # it was closed while nobody looked
        for key, one in standing.items():
            track = tracks.setdefault(
                key, Track(one.cause, one.family, one.subject, one.cluster, one.node, one.vendor)
            )
            if track.standing is None:
                track.standing = Standing(
                    since_us=one.at_us,
                    first_us=one.first_us,
                    last_us=one.first_us,
                    fresh=one.fresh,
                    action=one.action.value,
                    follow=one.follow.value,
                    severity=one.severity.value,
                    origin=one.origin,
                )
        evaluator = Evaluator(self._settings.rules, tracks.values())
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
            gone = self._book.read(connection)
        self._proposals.read()
        for one in gone:
            self._evaluator.closed(one.cause, one.family, one.cluster, one.subject, now_us)

        def free(connection: duckdb.DuckDBPyConnection) -> None:
            for one in gone:
                self._free(connection, self._book.children(one.incident_id))
                self._end_fleet(connection, one, now_us)

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


def _finding(one: Offender) -> Found:
    return Found(
        OFFENDER,
        one.family,
        one.subject,
        one.first_us,
        {"cluster": one.cluster, "node": one.node, "isolations": one.times, "last_us": one.last_us},
        key=one.rule,
        action="decide_about_replacement",
    )
