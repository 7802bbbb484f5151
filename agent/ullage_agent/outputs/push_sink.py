"""The sink that pushes: gathers a tick's rows and events, spools them, and keeps both lanes sending.

Samples are gathered for ``batch_seconds``, events for at most 200 ms, each into its own spool and
stream with a sender thread of its own, so that an event never waits behind samples. Two things keep it
ahead of an events backlog, too: streams are sent newest first, and once the collector is back, what
happens from then on goes to a new stream while the old one drains in its order.

Rows wait in memory only until the writer thread has spooled them; a disk that hangs fills a bounded
list, oldest out first and counted.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from ullage_agent.outputs.batches import BatchWriter, Row, Sender
from ullage_agent.outputs.push import Pusher
from ullage_agent.outputs.spool import Spool
from ullage_agent.source import SourceReport
from ullage_contract.clock import Clock
from ullage_contract.event import Event, Severity
from ullage_contract.sample import Facts, Family, Origin, Sample

log = logging.getLogger(__name__)

GATHER_EVENTS_SECONDS: Final = 0.2  # architecture section 4
OVERTAKE_BATCHES: Final = 8  # our choice: because fewer are sent in the time it takes to open a stream
MAX_EVENT_STREAMS: Final = 16  # our choice: because a link that flaps must not mint streams for ever
DROPPED_EVENT_SECONDS: Final = 300.0  # our choice: because at the bound every batch drops one
MAX_WAITING_ROWS: Final = 20_000  # our choice: some minutes of a 64-card node while a disk hangs
MAX_WAITING_EVENTS: Final = 10_000

_R = TypeVar("_R", bound=Row)


@dataclass(frozen=True, slots=True)
class LaneStatus:
    """One lane as the metrics show it. The counters are since start; last_success is wall seconds or None.

    up: whether the last attempt reached the collector; None before the first.
    """

    lane: str
    up: bool | None
    batches: int
    bytes: int
    sent: int
    refused: int
    failures: int
    dropped: int
    last_success: float | None


class PushSink:
    """A Sink. ``start`` begins the threads; tests call ``step`` instead.

    rows_dropped: rows that were lost in memory because the disk hung.
    """

    def __init__(
        self,
        *,
        sender: Sender,
        samples: Spool,
        events: Spool,
        samples_pusher: Pusher,
        events_pusher: Pusher,
        clock: Clock,
        batch_seconds: float = 30.0,
    ) -> None:
        self._node = sender.node
        self._spools = {"samples": samples, "events": events}
        self._pushers = {"samples": samples_pusher, "events": events_pusher}
        self._samples_writer = BatchWriter(samples, sender)
        self._events_writer = BatchWriter(events, sender)
        self._clock = clock
        self._batch_seconds = batch_seconds
        self._changed = threading.Condition()
        self._rows: deque[tuple[Origin, Facts | Sample]] = deque()
        self._events: deque[tuple[Origin, Event]] = deque()
        self._rows_due: float | None = None
        self._events_due: float | None = None
        self._facts_waiting = False
        self._dropped_untold = 0
        self._dropped_told_at: float | None = None
        self._stopping = False
        self._thread: threading.Thread | None = None
        self.rows_dropped = 0

    # ---- the sink

    def facts(self, facts: Sequence[Facts], *, origin: Origin = Origin.REAL) -> None:
        if facts:
            self._add_rows(facts, origin)
            self._facts_waiting = True

    def samples(self, samples: Sequence[Sample], *, origin: Origin = Origin.REAL) -> None:
        if samples:
            self._add_rows(samples, origin)

    def events(self, events: Sequence[Event], *, origin: Origin = Origin.REAL) -> None:
        if not events:
            return
        with self._changed:
            self._events.extend((origin, event) for event in events)
            self._trim(self._events, MAX_WAITING_EVENTS)
            if self._events_due is None:
                self._events_due = self._clock.monotonic() + GATHER_EVENTS_SECONDS
            self._changed.notify()

    def sources(self, reports: Sequence[SourceReport]) -> None:
        """The end of a tick: new facts go at once, so that the collector knows what it is looking at."""
        with self._changed:
            if self._facts_waiting:
                self._facts_waiting = False
                self._rows_due = self._clock.monotonic()
                self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(10.0)
        try:
            if self._thread is None or not self._thread.is_alive():
                self.step(everything=True)
            for lane in ("events", "samples"):
                self._pushers[lane].close()
                self._spools[lane].close()
        except Exception:
            log.exception("the push sink did not close cleanly")

    # ---- what others ask

    def status(self) -> tuple[LaneStatus, ...]:
        """Both lanes, for the metrics."""
        return tuple(
            LaneStatus(
                lane=lane,
                up=pusher.up if pusher.tried else None,
                batches=spool.batches,
                bytes=spool.bytes,
                sent=pusher.sent,
                refused=pusher.refused,
                failures=pusher.failures,
                dropped=spool.dropped,
                last_success=pusher.last_success,
            )
            for lane, spool in self._spools.items()
            for pusher in (self._pushers[lane],)
        )

    @property
    def spool_bytes(self) -> int:
        """The node metric ``spool_bytes``: what waits in both lanes."""
        return sum(spool.bytes for spool in self._spools.values())

    @property
    def dropped_batches(self) -> int:
        """The node metric ``spool_dropped_batches``, since the agent started."""
        return sum(spool.dropped for spool in self._spools.values())

    def dropped(self, batches: int) -> None:
        """A spool dropped its oldest at the bound: becomes an event, at most one in five minutes."""
        with self._changed:
            self._dropped_untold += batches
            now = self._clock.monotonic()
            if self._dropped_told_at is not None and now - self._dropped_told_at < DROPPED_EVENT_SECONDS:
                return
            count, self._dropped_untold = self._dropped_untold, 0
            self._dropped_told_at = now
        self.events(
            [
                self._own_event(
                    "spool_dropped",
                    Severity.WARNING,
                    f"the spool is full: its {count} oldest batches were dropped",
                    batches=count,
                )
            ]
        )

    def conflict(self, stream: str, sequence: int, message: str) -> None:
        """The collector has another body under our number: two agents share a spool directory."""
        self.events(
            [
                self._own_event(
                    "identity_conflict",
                    Severity.CRITICAL,
                    "the collector has another batch under this number; was the machine or its disk copied?",
                    stream=stream,
                    sequence=sequence,
                    answer=message[:200],
                )
            ]
        )

    # ---- the writer

    def start(self) -> None:
        """Begin writing and sending, in daemon threads."""
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
        self._thread.start()
        for lane, pusher in self._pushers.items():
            pusher.start(f"push-{lane}")

    def step(self, *, everything: bool = False) -> float | None:
        """Spool what is due. Seconds until something will be; None when nothing waits."""
        now = self._clock.monotonic()
        with self._changed:
            events = self._take(self._events) if _due(self._events_due, now, everything) else {}
            if events:
                self._events_due = None
            rows = self._take(self._rows) if _due(self._rows_due, now, everything) else {}
            if rows:
                self._rows_due = None
                self._facts_waiting = False
        if events:
            self._write_events(events)
        for origin, some in rows.items():
            self._samples_writer.write(some, origin)
        if rows:
            self._pushers["samples"].wake()
        with self._changed:
            dues = [due for due in (self._events_due, self._rows_due) if due is not None]
        return max(0.0, min(dues) - self._clock.monotonic()) if dues else None

    def _write_events(self, events: dict[Origin, list[Event]]) -> None:
        spool, pusher = self._spools["events"], self._pushers["events"]
        streams = spool.streams()
        if pusher.up and spool.waiting(spool.stream) > OVERTAKE_BATCHES and len(streams) < MAX_EVENT_STREAMS:
            log.info(
                "%s batches of events wait: what is new goes ahead in a stream of its own", spool.batches
            )
            spool.mint()
        for origin, some in events.items():
            self._events_writer.write(some, origin)
        pusher.wake()

    def _run(self) -> None:
        while True:
            try:
                delay = self.step()
            except Exception:  # one bad part never stops the rest: these rows are lost, the next are not
                log.exception("the spool could not take a batch")
                delay = 1.0
            with self._changed:
                if self._stopping:
                    return
                soonest = min((d for d in (self._events_due, self._rows_due) if d is not None), default=None)
                if soonest is not None:
                    delay = max(0.0, soonest - self._clock.monotonic())
                if delay != 0.0:
                    self._changed.wait(delay)

    def _add_rows(self, rows: Sequence[Facts] | Sequence[Sample], origin: Origin) -> None:
        with self._changed:
            self._rows.extend((origin, row) for row in rows)
            self._trim(self._rows, MAX_WAITING_ROWS)
            if self._rows_due is None:
                self._rows_due = self._clock.monotonic() + self._batch_seconds
                self._changed.notify()

    def _trim(self, waiting: deque[tuple[Origin, _R]], most: int) -> None:
        if len(waiting) <= most:
            return
        if not self.rows_dropped:
            log.error("the spool's disk does not keep up: rows are dropped in memory, oldest first")
        while len(waiting) > most:
            waiting.popleft()
            self.rows_dropped += 1

    @staticmethod
    def _take(waiting: deque[tuple[Origin, _R]]) -> dict[Origin, list[_R]]:
        taken: dict[Origin, list[_R]] = {}
        while waiting:
            origin, row = waiting.popleft()
            taken.setdefault(origin, []).append(row)
        return taken

    def _own_event(self, kind: str, severity: Severity, message: str, **attributes: int | str) -> Event:
        return Event(
            time=self._clock.wall(),
            kind=kind,
            severity=severity,
            family=Family.NODE,
            subject=self._node,
            source="agent",
            message=message,
            attributes=attributes,
        )


def _due(due: float | None, now: float, everything: bool) -> bool:
    return due is not None and (everything or now >= due)
