"""The agent's bounded queue on disk: one file a batch, in streams, deleted only when the collector is sure.

    spool/samples/000001-9f2c..e1/stream.json             stream id and the last number given out
                                 /0000000000000017.batch  the wire body as it will be sent
                  000002-b07a..44/                         a later stream; the highest one is written to

A *stream* is a random id minted with its directory; its numbers are never used twice, whatever dies
when. A new stream begins when there is none, when stream.json cannot be believed, when the collector
says the numbers clash, and when the disk refuses a write: a stream that could not reach the disk lives
in memory (bounded) under an id nobody will use again, is sent from there, and moves to disk as soon as
it can. So a full disk costs nothing that was spooled and stops nothing that can be sent.

The bound is an amount of data (batches and bytes), not an age: a clock that jumps a day drops nothing.
Not here: what is in a body (batches.py), sending (push.py).
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ullage_agent.outputs.quarantine import Quarantine
from ullage_agent.outputs.spool_files import Disk, is_sound, last_number, stream_json

log = logging.getLogger(__name__)

MAX_BATCHES: Final = 8_640  # 24 h of one batch every 10 s
MAX_BYTES: Final = 512 * 1024 * 1024  # our choice: because 24 h of a 64-card node are about 120 MB
SETTLE_AT_ONCE: Final = 64  # our choice: because each is an fsync, and the sender waits meanwhile
MAX_HELD_BYTES: Final = 4 * 1024 * 1024  # our choice: because the agent's memory budget is 45 MiB in all

_DIRECTORY = re.compile(r"^(\d{6})-([0-9a-z]{16,64})$")
_BATCH = re.compile(r"^(\d{16})\.batch$")


@dataclass(frozen=True, slots=True)
class Entry:
    """One spooled batch: where it is and how long."""

    stream: str
    sequence: int
    size: int


@dataclass(slots=True)
class _Stream:
    """One stream: numbers still queued, in order, with their sizes.

    anchored: its stream.json is on disk, so that its numbers survive us; until then bodies are in ``held``
    and no later process will ever write to this stream.
    """

    id: str
    ordinal: int
    directory: Path
    anchored: bool = False
    last: int = 0
    queue: deque[tuple[int, int]] = field(default_factory=deque)
    held: dict[int, bytes] = field(default_factory=dict)

    def path(self, sequence: int) -> Path:
        return self.directory / f"{sequence:016d}.batch"


class Spool:
    """A lane's queue. Every method may be called from any thread.

    directory: of the lane; made when missing. on_drop: told how many batches were dropped at the bound,
    outside the lock. batches, bytes: waiting now, memory included; dropped: since start, only ever at a
    bound; vanished: files somebody else removed; write_failures: writes the disk refused.
    """

    def __init__(
        self,
        directory: Path,
        *,
        lane: str,
        quarantine: Quarantine,
        max_batches: int = MAX_BATCHES,
        max_bytes: int = MAX_BYTES,
        max_held_bytes: int = MAX_HELD_BYTES,
        on_drop: Callable[[int], None] | None = None,
        disk: Disk | None = None,
    ) -> None:
        self.lane = lane
        self._directory = directory
        self._quarantine = quarantine
        self._max_batches = max_batches
        self._max_bytes = max_bytes
        self._max_held_bytes = max_held_bytes
        self._on_drop = on_drop
        self._disk = disk or Disk()
        self._lock = threading.RLock()
        self._streams: dict[str, _Stream] = {}
        self._in_flight: Entry | None = None
        self._write_failing = False
        self.batches = 0
        self.bytes = 0
        self.held_bytes = 0
        self.dropped = 0
        self.vanished = 0
        self.write_failures = 0
        with self._lock:
            current = self._open()
            self._current = current if current is not None else self._mint()

    # ---- writing

    @property
    def stream(self) -> str:
        """The stream the next batch goes to."""
        return self._current.id

    def append(self, make: Callable[[str, int], bytes]) -> Entry:
        """Spool the body ``make(stream, sequence)`` gives; on disk and synced on return if the disk lets us.

        ``make`` may be called twice (another stream when the disk refuses) and what it raises passes
        through with no number used.
        """
        with self._lock:
            self._settle()
            stream = self._current
            sequence = stream.last + 1
            body = make(stream.id, sequence)
            if stream.anchored and not self._store(stream, sequence, body):
                # The number may be on disk already: it is spent. What cannot be written goes on under an
                # id of its own, because numbers that are not on disk must die with this process.
                stream = self._mint(anchor=False)
                sequence = 1
                body = make(stream.id, sequence)
            if not stream.anchored:
                stream.held[sequence] = body
                self.held_bytes += len(body)
            stream.last = sequence
            stream.queue.append((sequence, len(body)))
            self.batches += 1
            self.bytes += len(body)
            entry = Entry(stream.id, sequence, len(body))
            dropped = self._bound()
        if dropped and self._on_drop is not None:
            self._on_drop(dropped)
        return entry

    def mint(self) -> str:
        """Begin a new stream for what comes next; what is queued keeps its stream. The new id."""
        with self._lock:
            return self._mint().id

    # ---- reading

    def streams(self) -> list[str]:
        """Streams with batches waiting, oldest first."""
        with self._lock:
            return [s.id for s in self._ordered() if s.queue]

    def waiting(self, stream: str) -> int:
        """Batches of one stream that wait; 0 for a stream that is not there."""
        with self._lock:
            found = self._streams.get(stream)
            return 0 if found is None else len(found.queue)

    def take(self, stream: str, *, after: int = 0) -> tuple[Entry, bytes] | None:
        """The stream's first sound batch with a number above ``after``, marked as being in flight; or None.

        A damaged one goes to the quarantine, one somebody removed is counted; both are passed over.
        """
        with self._lock:
            found = self._streams.get(stream)
            self._in_flight = None
            if found is None:
                return None
            while (item := next((i for i in found.queue if i[0] > after), None)) is not None:
                body = self._read(found, item[0])
                if body is not None:
                    self._in_flight = Entry(stream, *item)
                    return self._in_flight, body
            self._tidy(found)
            return None

    def delete_through(self, stream: str, sequence: int) -> int:
        """Delete every batch of ``stream`` up to and with ``sequence``. How many went."""
        with self._lock:
            found = self._streams.get(stream)
            if found is None:
                return 0
            count = 0
            while found.queue and found.queue[0][0] <= sequence:
                number, _ = found.queue[0]
                self._forget(found, number)
                self._unlink(found, number)
                count += 1
            self._tidy(found)
            return count

    def refuse(self, entry: Entry, reason: str) -> None:
        """Put one batch into the quarantine: it will not be sent again."""
        with self._lock:
            found = self._streams.get(entry.stream)
            if found is None or not any(number == entry.sequence for number, _ in found.queue):
                return
            self._to_quarantine(found, entry.sequence, reason)
            self._tidy(found)

    def close(self) -> None:
        """A last try to bring to disk what is only in memory. Never raises."""
        with self._lock:
            self._settle()

    # ---- inside, under the lock

    def _ordered(self) -> list[_Stream]:
        return sorted(self._streams.values(), key=lambda s: s.ordinal)

    def _open(self) -> _Stream | None:
        """Read what the last run left. The stream to go on with, or None when a new one must be minted."""
        try:
            found = sorted(p for p in self._directory.iterdir() if _DIRECTORY.match(p.name))
        except FileNotFoundError:
            return None
        except OSError as e:
            log.error("spool %s cannot be read, starting a new stream: %s", self._directory, e)
            return None
        current = None
        for directory in found:
            match = _DIRECTORY.match(directory.name)
            assert match is not None
            stream = _Stream(match[2], int(match[1]), directory, anchored=True)
            try:
                self._scan(stream, directory)
            except OSError as e:
                log.error("spool %s cannot be read, its batches stay where they are: %s", directory, e)
                continue
            self._streams[stream.id] = stream
            last = last_number(directory / "stream.json", stream.id)
            current = stream if last is not None else None
            stream.last = max(last or 0, stream.last)
        for stream in self._ordered():
            if stream is not current:
                self._tidy(stream)
        return current

    def _scan(self, stream: _Stream, directory: Path) -> None:
        numbers = []
        with os.scandir(directory) as listing:
            for item in listing:
                if match := _BATCH.match(item.name):
                    numbers.append((int(match[1]), item.stat().st_size))
                elif item.name.endswith(".tmp"):
                    Path(item.path).unlink(missing_ok=True)  # half a write: its number was never used
        for number, size in sorted(numbers):
            stream.queue.append((number, size))
            stream.last = number
            self.batches += 1
            self.bytes += size

    def _mint(self, *, anchor: bool = True) -> _Stream:
        """A new stream, the one to write to from now on; on disk already if asked and the disk lets us."""
        ordinal = max((s.ordinal for s in self._streams.values()), default=0) + 1
        name = secrets.token_hex(16)
        stream = _Stream(name, ordinal, self._directory / f"{ordinal:06d}-{name}")
        before = getattr(self, "_current", None)
        self._streams[stream.id] = stream
        self._current = stream
        if anchor:
            self._settle()
        if before is not None:
            self._tidy(before)
        return stream

    def _store(self, stream: _Stream, sequence: int, body: bytes) -> bool:
        """Number and body to disk, in that order; both durable on True."""
        path = stream.path(sequence)
        try:
            self._disk.write(path.with_name("stream.json"), stream_json(stream.id, sequence))
            self._disk.write(path, body)
            self._disk.sync(path.parent)
        except OSError as e:
            self._trouble(path, e)
            with suppress(OSError):
                path.unlink()
            return False
        if self._write_failing:
            self._write_failing = False
            log.info("spool %s can be written again", self._directory)
        return True

    def _settle(self) -> None:
        """Bring streams that are only in memory to disk, oldest first, until the disk refuses.

        Bodies first, stream.json last: a stream cut short on the way is sent under its own numbers by
        the next process and written to by none.
        """
        for stream in self._ordered():
            if stream.anchored:
                continue
            try:
                self._disk.make_directory(stream.directory)
                for sequence in list(stream.held)[:SETTLE_AT_ONCE]:
                    self._disk.write(stream.path(sequence), stream.held[sequence])
                    self.held_bytes -= len(stream.held.pop(sequence))
                if stream.held:
                    return
                self._disk.write(stream.directory / "stream.json", stream_json(stream.id, stream.last))
                self._disk.sync(stream.directory)
            except OSError as e:
                self._trouble(stream.directory, e)
                return
            stream.anchored = True

    def _trouble(self, path: Path, error: OSError) -> None:
        self.write_failures += 1
        if not self._write_failing:
            self._write_failing = True
            log.error(
                "spool: %s cannot be written: %s; new batches stay in memory (at most %s bytes)",
                path,
                error,
                self._max_held_bytes,
            )

    def _bound(self) -> int:
        """Drop the oldest while there is too much. How many were dropped."""
        dropped = 0
        while self.held_bytes > self._max_held_bytes and self._drop(lambda s, n: n in s.held):
            dropped += 1
        while (self.batches > self._max_batches or self.bytes > self._max_bytes) and self._drop(
            lambda s, n: True
        ):
            dropped += 1
        self.dropped += dropped
        return dropped

    def _drop(self, eligible: Callable[[_Stream, int], bool]) -> bool:
        for stream, number in self._entries():
            flying = self._in_flight
            if flying is not None and (flying.stream, flying.sequence) == (stream.id, number):
                continue
            if eligible(stream, number):
                self._forget(stream, number)
                self._unlink(stream, number)
                self._tidy(stream)
                return True
        return False

    def _entries(self) -> Iterator[tuple[_Stream, int]]:
        for stream in self._ordered():
            for number, _ in stream.queue:
                yield stream, number

    def _read(self, stream: _Stream, sequence: int) -> bytes | None:
        """The body, or None when it is gone or damaged (and then no longer queued)."""
        body = stream.held.get(sequence)
        if body is not None:
            return body
        path = stream.path(sequence)
        try:
            body = path.read_bytes()
        except FileNotFoundError:
            self.vanished += 1
            self._forget(stream, sequence)
            log.warning("spool: %s was removed by somebody else", path)
            return None
        except OSError as e:
            log.error("spool: %s cannot be read, quarantined: %s", path, e)
            self._to_quarantine(stream, sequence, "unreadable")
            return None
        if not is_sound(body, stream.id, sequence):
            log.error("spool: %s is damaged (%s bytes), quarantined", path, len(body))
            self._to_quarantine(stream, sequence, "torn")
            return None
        return body

    def _to_quarantine(self, stream: _Stream, sequence: int, reason: str) -> None:
        body = stream.held.get(sequence)
        self._forget(stream, sequence)
        source = body if body is not None else stream.path(sequence)
        self._quarantine.take(source, lane=self.lane, stream=stream.id, sequence=sequence, reason=reason)

    def _forget(self, stream: _Stream, sequence: int) -> None:
        """Out of the queue and the counts; the file stays."""
        if stream.queue and stream.queue[0][0] == sequence:
            size = stream.queue.popleft()[1]
        else:
            item = next(i for i in stream.queue if i[0] == sequence)
            stream.queue.remove(item)
            size = item[1]
        self.batches -= 1
        self.bytes -= size
        body = stream.held.pop(sequence, None)
        if body is not None:
            self.held_bytes -= len(body)

    def _unlink(self, stream: _Stream, sequence: int) -> None:
        with suppress(OSError):  # sent again after a restart then, and answered as a duplicate
            stream.path(sequence).unlink(missing_ok=True)

    def _tidy(self, stream: _Stream) -> None:
        """Remove an empty stream that is not written to any more."""
        if stream.queue or stream is getattr(self, "_current", None):
            return
        self._streams.pop(stream.id, None)
        with suppress(OSError):
            (stream.directory / "stream.json").unlink(missing_ok=True)
            stream.directory.rmdir()
