"""The kernel log as a source of events: /dev/kmsg, live, with every maker's patterns.

A thread waits for the kernel (poll), so that a line is an event within milliseconds and the ring buffer
does not overrun while a tick is busy. After a restart nothing is told twice: the last sequence number
and the boot it belongs to are kept in a file. At a first start the last ten minutes are looked at.
``decode`` reads a recorded text. Not here: what a fault means for the card (the collector judges).
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import re
import select
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final

from ullage_agent import registry
from ullage_agent.backend import Backend, Decoded, LogPattern, Reading
from ullage_agent.sources.kernel_events import CardOf, Recognizer
from ullage_agent.sources.kernel_lines import Line, parse_printed, parse_record
from ullage_contract.catalogue import Tier
from ullage_contract.clock import Clock
from ullage_contract.errors import BadInput
from ullage_contract.event import Event, Severity
from ullage_contract.identity import boot_id as read_boot_id
from ullage_contract.sample import Facts, Family

log = logging.getLogger(__name__)

RECENT_SECONDS: Final = 600.0
"""our choice: because a crash of the agent at the moment of a fault must not hide the fault, and older
lines belong to incidents a person already knows."""

RETRY_SECONDS: Final = 60.0
"""our choice: because permission and device come back with a restart of a container, not in between."""

_READ_BYTES: Final = 1 << 16  # a record is at most 8 KiB (CONSOLE_EXT_LOG_MAX)
_IDLE_SECONDS: Final = 0.2  # only for what poll cannot wait for: regular files and pipes without a writer


def patterns_of(backends: Iterable[Backend]) -> tuple[LogPattern, ...]:
    """Every maker's patterns, in the makers' order. One that cannot be loaded is logged and left out."""
    found: list[LogPattern] = []
    for backend in backends:
        if backend.kernel_log is None:
            continue
        try:
            patterns = tuple(registry.resolve(backend.kernel_log))
            for pattern in patterns:
                re.compile(pattern.regex)
        except Exception as e:  # a stranger's module; only its own maker is blind
            log.warning("%s: kernel log patterns cannot be loaded: %s", backend.name, e)
            continue
        found.extend(patterns)
    return tuple(found)


class KernelLog:
    """A ``source.Source``. Start it with the first ``events``; end it with ``close``.

    patterns: see patterns_of. node_id: subject of what belongs to no card.
    card_of: PCI address and UUID -> card_id, see kernel_events.CardOf.
    path: the device, or a file or pipe of the same records.
    state: where the last sequence number is kept, or None to keep none.
    boot_id: this boot's; read from /proc when not given.
    wake: called from the reading thread when an event waits, so that nobody has to ask every second.
    retry_seconds: how often a path that cannot be opened is tried again.
    """

    name = "kernel_log"

    def __init__(
        self,
        patterns: Sequence[LogPattern],
        *,
        node_id: str,
        clock: Clock,
        card_of: CardOf = lambda pci, uuid: uuid,
        path: Path = Path("/dev/kmsg"),
        state: Path | None = None,
        boot_id: str | None = None,
        wake: Callable[[], None] | None = None,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._retry_seconds = retry_seconds
        self._node_id = node_id
        self._clock = clock
        self._path = path
        self._state = state
        self._boot_id = boot_id if boot_id is not None else read_boot_id()
        self._wake = wake
        self._recognizer = Recognizer(patterns, node_id=node_id, card_of=card_of, time_of=self._time_of)
        self._waiting: SimpleQueue[Event] = SimpleQueue()
        self._sequence = self._remembered()
        self._told = self._kept = self._sequence
        self._blind: str | None = None
        self._stop_read, self._stop_write = os.pipe()
        self._thread: threading.Thread | None = None
        self._closed = False

    # ---- the Source protocol

    def facts(self) -> Iterator[Facts]:
        """None: the log describes nothing that lasts."""
        return iter(())

    def read(self, tier: Tier) -> Iterator[Reading]:
        """None: the log measures nothing."""
        return iter(())

    def events(self) -> Iterator[Event]:
        """What was recognised since the last call, without waiting.

        When the last one has been taken, its line is remembered as told: a crash before that tells it
        once more, with the same ``kernel_sequence``.
        """
        if self._thread is None and not self._closed:
            self._thread = threading.Thread(target=self._run, name="ullage-kernel-log", daemon=True)
            self._thread.start()
        read = self._sequence
        while True:
            try:
                event = self._waiting.get_nowait()
            except Empty:
                break
            yield event
        self._told = read
        self._remember()

    def close(self) -> None:
        """Stop the thread and keep the last sequence number. Never raises."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(OSError):
            os.write(self._stop_write, b"x")
        if self._thread is not None:
            self._thread.join(timeout=2)
        self._remember()
        for descriptor in (self._stop_read, self._stop_write):
            with contextlib.suppress(OSError):
                os.close(descriptor)

    # ---- the thread

    def _run(self) -> None:
        while not self._closed:
            try:
                descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError as e:
                self._went_blind(_why(e, self._path), e.errno or 0)
                if self._stopped(self._retry_seconds):
                    return
                continue
            try:
                self._came_back()
                self._follow(descriptor)
            except OSError as e:
                self._went_blind(_why(e, self._path), e.errno or 0)
            except Exception:
                log.exception("BUG: the kernel log reader met an error; it starts anew")
            finally:
                os.close(descriptor)
            if self._stopped(1.0):
                return

    def _follow(self, descriptor: int) -> None:
        """Read until told to stop. Raises OSError when the device cannot be read any more."""
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        poller = select.poll()
        poller.register(self._stop_read, select.POLLIN)
        if not is_file:
            poller.register(descriptor, select.POLLIN)
        rest = b""
        while True:
            try:
                chunk = os.read(descriptor, _READ_BYTES)
            except BlockingIOError:
                chunk = None
            except BrokenPipeError:  # the ring buffer overran us: the next read gives the oldest there is
                self._overran()
                continue
            except InterruptedError:
                continue
            if chunk:
                *records, rest = (rest + chunk).split(b"\n")
                for record in records:
                    self._take(record.decode("utf-8", "replace"))
                continue
            self._tell(self._recognizer.due(self._clock.wall()))
            if chunk == b"":  # end of a file or a pipe nobody writes to; never of /dev/kmsg
                if self._stopped(_IDLE_SECONDS):
                    return
                continue
            # a minute at most, so that follow-ups of bursts go out without a new line
            for ready, _ in poller.poll(1000):
                if ready == self._stop_read:
                    return

    def _take(self, record: str) -> None:
        if not record or record[0] in " \t":  # a dictionary line of the record before
            return
        line = parse_record(record)
        if line is None or line.sequence is None or line.uptime_seconds is None:
            return
        known = self._sequence
        if known is not None and line.sequence <= known:
            return
        if self._clock.monotonic() - line.uptime_seconds <= RECENT_SECONDS:
            event = self._recognizer.feed(line)
            if event is not None:
                self._tell([event])
        self._sequence = line.sequence  # only now: what ``events`` remembers must have been in its queue

    def _tell(self, events: Iterable[Event]) -> None:
        told = False
        for event in events:
            self._waiting.put(event)
            told = True
        if told and self._wake is not None:
            self._wake()

    def _stopped(self, seconds: float) -> bool:
        poller = select.poll()
        poller.register(self._stop_read, select.POLLIN)
        return bool(poller.poll(seconds * 1000))

    # ---- blindness

    def _went_blind(self, why: str, number: int) -> None:
        if self._blind == why:
            return
        self._blind = why
        log.warning("kernel log: %s", why)
        self._tell([self._own_event("source_blind", Severity.WARNING, why, errno.errorcode.get(number))])

    def _came_back(self) -> None:
        if self._blind is not None:
            self._blind = None
            self._tell(
                [self._own_event("source_back", Severity.INFO, f"{self._path} can be read again", None)]
            )

    def _overran(self) -> None:
        why = f"{self._path}: the kernel overwrote lines before they were read"
        log.warning("kernel log: %s", why)
        self._tell([self._own_event("source_blind", Severity.WARNING, why, "EPIPE")])
        self._blind = why
        self._came_back()

    def _own_event(self, kind: str, severity: Severity, message: str, code: str | None) -> Event:
        return Event(
            time=self._clock.wall(),
            kind=kind,
            severity=severity,
            family=Family.NODE,
            subject=self._node_id,
            source="agent",
            message=message[:500],
            code=code,
            attributes={"source": self.name},
        )

    # ---- time and memory

    def _time_of(self, line: Line) -> float:
        """The record's instant by the wall clock now: the kernel stamps with the clock ``monotonic`` reads."""
        if line.uptime_seconds is None:
            return self._clock.wall()
        return self._clock.wall() - max(0.0, self._clock.monotonic() - line.uptime_seconds)

    def _remembered(self) -> int | None:
        """The last sequence number told in this boot, or None: then recent lines are news."""
        if self._state is None:
            return None
        try:
            kept = json.loads(self._state.read_text(encoding="utf-8"))
            same_boot = kept["boot_id"] == self._boot_id and self._boot_id is not None
            return int(kept["sequence"]) if same_boot else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _remember(self) -> None:
        sequence = self._told
        if self._state is None or sequence == self._kept:
            return
        body = json.dumps({"boot_id": self._boot_id, "sequence": sequence})
        temporary = self._state.with_name(self._state.name + ".new")
        try:
            temporary.write_text(body, encoding="utf-8")
            temporary.replace(self._state)
            self._kept = sequence
        except OSError as e:
            log.warning("kernel log: %s cannot be written: %s", self._state, e)


def _why(error: OSError, path: Path) -> str:
    if error.errno in (errno.EPERM, errno.EACCES):
        return f"{path}: no permission; run as root or give the agent CAP_SYSLOG and read access"
    if error.errno == errno.ENOENT:
        return f"{path}: not there; mount it into the container"
    return f"{path}: {error.strerror}"


# ---- recorded texts

_HUNG_TASK: Final = re.compile(
    r"INFO: task (?P<task>.+):(?P<pid>\d+) blocked for more than (?P<seconds>\d+) s"
)


def decode(
    text: str,
    patterns: Sequence[LogPattern] | None = None,
    *,
    maker: str = "kernel",
    node_id: str = "node",
    now: float | None = None,
) -> Decoded:
    """A recorded kernel log, in any style dmesg, journalctl or syslog print.

    patterns: those of one maker, or None for those of every installed maker.
    Events of one burst are one event; ``attributes.lines`` counts its lines. Where the text has only
    seconds since boot, an event's time is these seconds, and a note says so.
    Raises BadInput for a text without a single line.
    """
    lines = text.splitlines()
    if not any(line.strip() for line in lines):
        raise BadInput("an empty text: no kernel log line in it")
    chosen = patterns if patterns is not None else patterns_of(registry.load().backends)
    notes: list[str] = []

    def time_of(line: Line) -> float:
        return line.wall_seconds if line.wall_seconds is not None else (line.uptime_seconds or 0.0)

    recognizer = Recognizer(
        chosen, node_id=node_id, card_of=lambda pci, uuid: uuid or pci or None, time_of=time_of
    )
    hung: list[dict[str, Any]] = []
    only_uptime = zoneless = False
    for line in parse_printed(lines, now=time.time() if now is None else now):
        recognizer.feed(line)
        only_uptime |= line.wall_seconds is None and line.uptime_seconds is not None
        zoneless |= line.wall_seconds is not None
        if (match := _HUNG_TASK.search(line.message)) is not None:
            hung.append(
                {"task": match["task"], "pid": int(match["pid"]), "seconds_over": int(match["seconds"])}
            )
    if only_uptime:
        notes.append("the text stamps seconds since boot: event times are these, not since the epoch")
    if zoneless:
        notes.append("stamps without a zone are read as UTC")
    extra: dict[str, Any] = {"lines": len(lines)}
    if hung:
        extra["hung_tasks"] = hung
    if recognizer.details:
        extra["detail_lines"] = recognizer.details
    return Decoded(
        maker=maker,
        tool="kernel log",
        format="kernel_log",
        events=tuple(recognizer.bursts()),
        extra=extra,
        notes=tuple(notes),
    )
