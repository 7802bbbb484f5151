"""Sends what a spool holds to the collector: one batch in flight, in order within each stream.

A batch leaves the spool when the collector says it will never lose it (``durable_through``), or for the
quarantine when it is refused for good; everything else is kept and tried again with jittered,
growing pauses, or when the collector says so (``Retry-After``). The table is docs/interfaces.md, Wire.

A collector may accept before it is sure. What it accepted is not sent again over the same connection;
over a new one everything it is not sure of is, because it may be another collector.
"""

from __future__ import annotations

import json
import logging
import random
import threading
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Final

from ullage_agent.outputs.spool import Entry, Spool
from ullage_agent.outputs.transport import IdleClosed, Response, Transport
from ullage_contract.asked import AskedProbe, asked_from_json
from ullage_contract.clock import Clock
from ullage_contract.wire import CONTENT_TYPE, SENT_AT_HEADER, Answer

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS: Final = 1.0
MAX_PAUSE_SECONDS: Final = 60.0  # our choice: because ten thousand nodes then come back at 170 a second
MAX_EVENTS_PAUSE_SECONDS: Final = 15.0  # our choice: because an event should not wait a minute for luck
MAX_TOLD_PAUSE_SECONDS: Final = 3_600.0  # our choice: because nobody means more than an hour
MAX_YIELD_SECONDS: Final = 1.0  # our choice: because samples give way to events, but not for ever
_YIELD_SECONDS: Final = 0.02

_REFUSED_FOR_GOOD: Final = frozenset({400, 413, 422})

OnAsked = Callable[[tuple[AskedProbe, ...], float | None], None]
"""Told the probes asked in an answer and our clock minus the collector's in seconds, None when it does not say."""


class Pusher:
    """One lane's sender. ``step`` does the work and is what tests call; ``start`` runs it in a thread.

    newest_first: of several streams, the newest goes first (events: what is new overtakes a backlog);
        else the oldest. Within a stream it is always in order.
    yield_to: this lane lets that one send first.
    on_conflict: told (stream, sequence, message) when the collector has another body under a number.
    on_asked: told what an answer asks; it returns at once. None: what is asked is not looked at.
    sent, refused, failures: batches the collector took, batches quarantined, attempts that failed.
    last_success: clock.wall() of the last batch taken, or None. trouble: the word of what is wrong now.
    """

    def __init__(
        self,
        spool: Spool,
        transport: Transport,
        *,
        clock: Clock,
        newest_first: bool = False,
        max_pause_seconds: float = MAX_PAUSE_SECONDS,
        yield_to: Pusher | None = None,
        on_conflict: Callable[[str, int, str], None] | None = None,
        on_asked: OnAsked | None = None,
        chance: random.Random | None = None,
    ) -> None:
        self._spool = spool
        self._transport = transport
        self._clock = clock
        self._newest_first = newest_first
        self._max_pause = max_pause_seconds
        self._yield_to = yield_to
        self._on_conflict = on_conflict
        self._on_asked = on_asked
        self._chance = chance or random.Random()
        self._accepted: dict[str, int] = {}
        self._connection: int | None = None
        self._not_before = 0.0
        self._in_a_row = 0
        self._yielded = 0.0
        self._wake = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self.sent = 0
        self.refused = 0
        self.failures = 0
        self.last_success: float | None = None
        self.trouble: str | None = None

    @property
    def up(self) -> bool:
        """Whether the last attempt reached a collector that took or judged the batch; False before the first."""
        return self._in_a_row == 0 and self.last_success is not None

    @property
    def tried(self) -> bool:
        """Whether there was an attempt since start."""
        return self.last_success is not None or self.failures > 0

    def urgent(self) -> bool:
        """Whether something new waits here that could be sent now."""
        return self._spool.waiting(self._spool.stream) > 0 and self._clock.monotonic() >= self._not_before

    def step(self) -> float | None:
        """Send at most one batch. Seconds until the next step can do something; None when nothing waits."""
        now = self._clock.monotonic()
        if now < self._not_before:
            return self._not_before - now
        if self._spool.batches == 0:
            return None
        if self._yield_to is not None and self._yielded < MAX_YIELD_SECONDS and self._yield_to.urgent():
            self._yielded += _YIELD_SECONDS
            return _YIELD_SECONDS
        self._yielded = 0.0
        entry: Entry | None = None
        try:
            for last in (False, True):
                connection = self._transport.open()
                if connection != self._connection:
                    self._connection = connection
                    self._accepted.clear()
                taken = self._choose()
                if taken is None:
                    return None
                entry, body = taken
                try:
                    response = self._transport.post(body, self._headers())
                    break
                except IdleClosed:
                    if last:
                        raise
        except OSError as e:
            return self._pause("unreachable", str(e) or type(e).__name__)
        assert entry is not None
        return self._judge(entry, response)

    def start(self, name: str) -> None:
        """Run ``step`` in a daemon thread until ``close``."""
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """There is something new in the spool."""
        self._wake.set()

    def close(self, *, patience_seconds: float = 2.0) -> None:
        """Stop; what waits and can be sent at once still goes, for ``patience_seconds`` at most."""
        self._deadline = self._clock.monotonic() + patience_seconds
        self._stopping = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(patience_seconds)
            if self._thread.is_alive():
                return  # in a call that hangs: the thread is a daemon, the batch is on disk
        self._transport.close()

    def _run(self) -> None:
        while True:
            try:
                delay = self.step()
            except Exception:  # one bad part never stops the rest: the lane pauses and goes on
                log.exception("push of %s: a step failed", self._spool.lane)
                delay = self._pause("broken", "see the log")
            if self._stopping:
                if delay is None or delay > _YIELD_SECONDS or self._clock.monotonic() >= self._deadline:
                    return
                delay = 0.0
            if delay != 0.0:
                self._wake.wait(delay)
            self._wake.clear()

    def _choose(self) -> tuple[Entry, bytes] | None:
        streams = self._spool.streams()
        for stream in reversed(streams) if self._newest_first else streams:
            taken = self._spool.take(stream, after=self._accepted.get(stream, 0))
            if taken is not None:
                return taken
        return None

    def _headers(self) -> dict[str, str]:
        return {
            "Content-Type": CONTENT_TYPE,
            "Content-Encoding": "gzip",
            SENT_AT_HEADER: f"{self._clock.wall():.6f}",
        }

    def _judge(self, entry: Entry, response: Response) -> float:
        status = response.status
        if 200 <= status < 300:
            return self._taken(entry, response)
        word, message = _error(response)
        if status in _REFUSED_FOR_GOOD:
            self._refuse(entry, f"{status}_{word}", message)
            return 0.0
        if status == 409:
            self._refuse(entry, f"{status}_{word}", message)
            if entry.stream == self._spool.stream:
                self._spool.mint()
            if self._on_conflict is not None:
                self._on_conflict(entry.stream, entry.sequence, message)
            return 0.0
        told = None
        if status in (429, 503):
            told = _retry_after(response.headers.get("retry-after"), self._clock.wall())
        return self._pause(word, f"{status} {message}", told)

    def _taken(self, entry: Entry, response: Response) -> float:
        answer = _answer(response.body)
        if answer is None or answer.stream != entry.stream or answer.accepted_through < entry.sequence:
            # A proxy's page, or something else that is no collector: nothing is deleted for it.
            return self._pause("no_collector", f"{response.status} without a collector's answer")
        if self._in_a_row:
            log.info(
                "push of %s: the collector takes batches again after %s attempts; %s wait",
                self._spool.lane,
                self._in_a_row,
                self._spool.batches,
            )
        self.sent += 1
        self._reached()
        self._accepted[entry.stream] = answer.accepted_through
        self._spool.delete_through(entry.stream, answer.durable_through)
        for stream in self._accepted.keys() - set(self._spool.streams()) - {self._spool.stream}:
            del self._accepted[stream]
        if answer.asked and self._on_asked is not None:
            self._on_asked(tuple(answer.asked), answer.clock_skew_seconds)
        return 0.0

    def _refuse(self, entry: Entry, reason: str, message: str) -> None:
        log.error(
            "push of %s: batch %s of stream %s was refused for good (%s): %s",
            self._spool.lane,
            entry.sequence,
            entry.stream,
            reason,
            message,
        )
        self._spool.refuse(entry, reason)
        self.refused += 1
        self._reached()

    def _reached(self) -> None:
        self.last_success = self._clock.wall()
        self.trouble = None
        self._in_a_row = 0
        self._not_before = 0.0

    def _pause(self, word: str, message: str, told: float | None = None) -> float:
        """Nothing was deleted; wait before the next attempt. Told once a kind of trouble, then counted."""
        self.failures += 1
        self._in_a_row += 1
        if word != self.trouble:
            log.warning(
                "push of %s: kept, %s batches wait: %s: %s",
                self._spool.lane,
                self._spool.batches,
                word,
                message[:300],
            )
            self.trouble = word
        if told is not None:
            # A tenth more by chance, so that those who were told the same do not come at once.
            pause = max(told, FIRST_PAUSE_SECONDS) * self._chance.uniform(1.0, 1.1)
        else:
            exponent = min(self._in_a_row - 1, 16)
            pause = min(self._max_pause, FIRST_PAUSE_SECONDS * 2.0**exponent) * self._chance.uniform(0.5, 1.0)
        self._not_before = self._clock.monotonic() + pause
        return pause


def _answer(body: bytes) -> Answer | None:
    try:
        document = json.loads(body)
        accepted, durable = document["accepted_through"], document["durable_through"]
        if type(accepted) is not int or type(durable) is not int or durable > accepted:
            return None
        skew = document.get("clock_skew_seconds")
        return Answer(
            stream=str(document["stream"]),
            accepted_through=accepted,
            durable_through=durable,
            duplicate=bool(document.get("duplicate")),
            clock_skew_seconds=float(skew) if isinstance(skew, int | float) else None,
            asked=asked_from_json(document.get("asked")),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        return None


def _error(response: Response) -> tuple[str, str]:
    """The error's word and message; a status without our body is named by its number."""
    try:
        document = json.loads(response.body)
        return str(document["error"])[:40], str(document.get("message", ""))[:300]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return f"http_{response.status}", ""


def _retry_after(text: str | None, now: float) -> float | None:
    """Seconds to wait, 0 to MAX_TOLD_PAUSE_SECONDS, from either form of RFC 9110 10.2.3; None for neither."""
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - now
        except (ValueError, TypeError, OverflowError):
            return None
    if seconds != seconds:
        return None
    return min(max(0.0, seconds), MAX_TOLD_PAUSE_SECONDS)
