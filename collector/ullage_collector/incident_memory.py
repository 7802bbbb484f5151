"""What the fault engine knows after a crash: how far it has read, the open incidents, what each rule remembers.

Not here: what is remembered of a rule (detect/fault_track.py), when it is written (fault_engine.py).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from ullage_collector.audit import naive_utc
from ullage_collector.detect.fault_evaluator import Evaluator
from ullage_collector.detect.fault_settings import FaultSettings
from ullage_collector.detect.fault_track import Standing, Track, from_json
from ullage_collector.fault_intake import Ahead, Intake, Lane
from ullage_collector.incident_book import IncidentBook, key_of
from ullage_collector.journal import START, Position
from ullage_collector.sql import statements
from ullage_contract.clock import Clock
from ullage_contract.sample import Family

if TYPE_CHECKING:
    import duckdb

log = logging.getLogger(__name__)

CONSUMER: Final = "faults-events"


def keep_states(connection: duckdb.DuckDBPyConnection, evaluator: Evaluator) -> None:
    """Write what the evaluator has learned and forgotten since the last time."""
    written, gone = evaluator.changed()
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


def move_position(connection: duckdb.DuckDBPyConnection, intake: Intake, now: float) -> None:
    """The events' journal has been judged up to the intake's position, and some of what is beyond it. now: epoch seconds."""
    sql = statements("incidents")
    position = intake.position
    connection.execute(sql["move_position"], [CONSUMER, position.segment, position.offset, naive_utc(now)])
    put, drop = intake.committing()
    if put:
        rows = [(*lane, one.sequence, one.end.segment, one.end.offset) for lane, one in put.items()]
        connection.execute(sql["put_ahead"], [list(column) for column in zip(*rows, strict=True)])
    if drop:
        connection.execute(sql["drop_ahead"], [list(column) for column in zip(*drop, strict=True)])


def read_position(connection: duckdb.DuckDBPyConnection) -> tuple[Position, dict[Lane, Ahead]]:
    """Up to where the events' journal has been judged, and what was judged beyond it."""
    sql = statements("incidents")
    row = connection.execute(sql["position"], [CONSUMER]).fetchone()
    ahead = {
        (stream, cluster, node): Ahead(int(sequence), Position(int(segment), int(offset)))
        for stream, cluster, node, sequence, segment, offset in connection.execute(sql["ahead"]).fetchall()
    }
    return (Position(int(row[0]), int(row[1])) if row else START), ahead


def read(
    connection: duckdb.DuckDBPyConnection, settings: FaultSettings, clock: Clock
) -> tuple[IncidentBook, Evaluator]:
    """The open incidents and what the evaluator remembered, as the store has them.

    A state that cannot be read is forgotten and logged. The incidents are right where the two disagree: a person may have
    closed one while nobody looked, and an open one is remembered though its state is gone.
    """
    sql = statements("incidents")
    book = IncidentBook(clock)
    book.read(connection)
    states = connection.execute(sql["states"]).fetchall()
    tracks = {}
    for rule, family, subject, cluster, node, vendor, text in states:
        try:
            track = from_json(rule, family, subject, cluster, node, vendor, text)
        except (ValueError, TypeError) as e:
            log.error("fault engine: what was remembered of %s on %s is forgotten: %s", rule, subject, e)
            continue
        tracks[key_of(rule, family, cluster, subject)] = track
    standing = {one.key: one for one in book}
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
    return book, Evaluator(settings.rules, tracks.values())
