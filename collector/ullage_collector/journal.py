"""The journal: append-only segments between the receiver and the store. The answer to a push comes after it.

Not here: what a body means (``batch.py``), who consumed how far (rows in the store, moved in the same
transaction as the data), and the agent's spool.

One directory a lane, ``<number:012d>.journal``, each record little-endian

    u32 length | u32 crc32 | u64 received_at_us | u16 header_length | header JSON | body

where length and crc32 cover everything after the crc32. A *position* (segment, offset) stands after a
record: where reading goes on. Three rules make it safe without a shared object between writer and readers:

* A writer never goes on in a file that it did not create: each open starts a new number. A position beyond
  the end of a file that is no longer the newest means "go on with the next one", so a record that a reader
  consumed just before a power cut took it away hides nothing that comes later.
* A torn tail (no valid record behind it) is cut at open; a damaged record with valid ones behind it is
  kept, skipped by readers, told and counted.
* The newest segment is never removed: numbers only grow.

A record may stand twice (a failed fsync, then the agent's re-send). Consumers skip what their stream's
watermark already covers.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import struct
import threading
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from ullage_contract.errors import DiskFull, StoreError

log = logging.getLogger(__name__)

SEGMENT_BYTES: Final = 64 * 1024 * 1024
MAX_RECORD_BYTES: Final = 16 * 1024 * 1024  # our choice: because a body is at most 4 MiB and OTLP unpacks
CLOCK_SKEW_LIMIT_SECONDS: Final = 300.0
"""docs/interfaces.md, Wire: beyond it rows are stored by the collector's clock."""

_FRAME = struct.Struct("<II")
_HEAD = struct.Struct("<QH")
_PREFIX = _FRAME.size + _HEAD.size
_MARK = b'{"stream":"'  # every header begins so: how the next record is found behind a damaged one
_SUFFIX = ".journal"


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place between records: everything before it was read. ``START`` is before everything."""

    segment: int
    offset: int


START: Final = Position(0, 0)


@dataclass(frozen=True, slots=True)
class Record:
    """One batch as it was received.

    body: the wire body, gzip-ed JSON (``ullage_collector.batch.read_batch`` reads it).
    identity: the authenticated name the sender spoke under, as audit shows it.
    received_at_us: microseconds since the epoch by the collector's clock.
    skew_seconds: the sender's clock minus ours when it sent; None: the sender did not say.
    """

    stream: str
    sequence: int
    lane: str
    cluster: str
    node: str
    identity: str
    received_at_us: int
    skew_seconds: float | None
    body: bytes

    @property
    def clock_wrong(self) -> bool:
        """The sender's clock is off by more than five minutes."""
        return self.skew_seconds is not None and abs(self.skew_seconds) > CLOCK_SKEW_LIMIT_SECONDS

    @property
    def shift_seconds(self) -> float:
        """What a consumer adds to every time of the batch: 0 unless the clock is wrong."""
        return -self.skew_seconds if self.skew_seconds is not None and self.clock_wrong else 0.0


class _Header(msgspec.Struct):
    stream: str
    sequence: int
    lane: str
    cluster: str
    node: str
    identity: str
    skew: float | None


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Header)


def _encode(record: Record) -> bytes:
    header = _encoder.encode(
        _Header(
            record.stream,
            record.sequence,
            record.lane,
            record.cluster,
            record.node,
            record.identity,
            record.skew_seconds,
        )
    )
    content = b"".join((_HEAD.pack(record.received_at_us, len(header)), header, record.body))
    if len(content) > MAX_RECORD_BYTES:
        raise StoreError(f"a record of {len(content)} bytes: at most {MAX_RECORD_BYTES} are journalled")
    return _FRAME.pack(len(content), zlib.crc32(content)) + content


def _decode(buffer: memoryview, offset: int) -> tuple[Record | None, int]:
    """The record at ``offset`` and where it ends; None when there is no whole, valid record there.

    A negative end: that many bytes more than the buffer holds would be needed.
    """
    available = len(buffer) - offset
    if available < _PREFIX:
        return None, available - _PREFIX
    length, crc = _FRAME.unpack_from(buffer, offset)
    if not _HEAD.size <= length <= MAX_RECORD_BYTES:
        return None, 0
    end = offset + _FRAME.size + length
    if end > len(buffer):
        return None, len(buffer) - end
    content = buffer[offset + _FRAME.size : end]
    if zlib.crc32(content) != crc:
        return None, 0
    received_at_us, header_length = _HEAD.unpack_from(content)
    body_at = _HEAD.size + header_length
    try:
        header = _decoder.decode(content[_HEAD.size : body_at])
    except msgspec.MsgspecError:
        return None, 0
    return (
        Record(
            stream=header.stream,
            sequence=header.sequence,
            lane=header.lane,
            cluster=header.cluster,
            node=header.node,
            identity=header.identity,
            received_at_us=received_at_us,
            skew_seconds=header.skew,
            body=bytes(content[body_at:]),
        ),
        end,
    )


def _segments(directory: Path) -> list[int]:
    """The numbers of the segments there, ascending."""
    numbers = [
        int(entry.name[: -len(_SUFFIX)])
        for entry in os.scandir(directory)
        if entry.name.endswith(_SUFFIX) and entry.name[: -len(_SUFFIX)].isdecimal()
    ]
    return sorted(numbers)


def _path(directory: Path, number: int) -> Path:
    return directory / f"{number:012d}{_SUFFIX}"


def _resync(buffer: memoryview, offset: int) -> int | None:
    """The start of the first valid record behind ``offset``, or None."""
    raw = bytes(buffer[offset + 1 :])
    at = raw.find(_MARK)
    while at != -1:
        start = offset + 1 + at - _PREFIX
        if start > offset and _decode(buffer, start)[0] is not None:
            return start
        at = raw.find(_MARK, at + 1)
    return None


def _valid_end(path: Path) -> int:
    """Where the last valid record of a file ends, damaged ones in between skipped."""
    buffer = memoryview(path.read_bytes())
    offset = 0
    while offset < len(buffer):
        record, end = _decode(buffer, offset)
        if record is None:
            again = _resync(buffer, offset)
            if again is None:
                return offset
            offset = again
        else:
            offset = end
    return offset


class Journal:
    """The one writer of a lane's journal. Thread-safe; one process at a time (held by a lock file).

    segment_bytes: a segment is closed before it would grow beyond this.
    reserve_bytes: refuse when the file system would have less free than this, so that the store can still
        drain and check-point when the journal is full. 0: use all there is.
    after: a position consumers already reached, in case somebody emptied the directory; numbers go on
        behind it.
    Raises StoreError when the directory is another process's or cannot be read.
    """

    def __init__(
        self,
        directory: Path,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        reserve_bytes: int = 0,
        after: Position | None = None,
    ) -> None:
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._reserve_bytes = reserve_bytes
        self._lock = threading.Lock()
        self._fd: int | None = None
        self._size = 0
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock_fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            os.close(self._lock_fd)
            raise StoreError(f"{directory}: another process writes this journal; stop it first") from e
        numbers = _segments(directory)
        if numbers:
            self._cut(_path(directory, numbers[-1]))
        self._number = max([*numbers, after.segment if after else -1, -1])
        self._sizes = {n: _path(directory, n).stat().st_size for n in numbers}
        self._size = self._sizes.get(self._number, 0)

    def _cut(self, path: Path) -> None:
        end = _valid_end(path)
        size = path.stat().st_size
        if end < size:
            log.warning("%s: %d bytes of a torn tail cut off", path.name, size - end)
            with path.open("r+b") as file:
                file.truncate(end)
                os.fsync(file.fileno())

    @property
    def end(self) -> Position:
        """Behind the last record."""
        with self._lock:
            return Position(max(0, self._number), self._size)

    def append(self, records: Sequence[Record]) -> list[Position]:
        """Write the records and make them durable with one fdatasync a segment; the position behind each.

        Raises DiskFull when there is no room and StoreError for any other failure. Then none of them may be
        acknowledged, though some may be found later: consumers skip duplicates by stream and sequence.
        """
        encoded = [_encode(record) for record in records]
        positions: list[Position] = []
        with self._lock:
            self._check_room(sum(map(len, encoded)))
            group: list[bytes] = []
            pending = 0
            for piece in encoded:
                if self._fd is None:
                    self._begin()
                elif self._size + pending + len(piece) > self._segment_bytes and self._size + pending:
                    self._write(group)
                    group, pending = [], 0
                    self._begin()
                group.append(piece)
                pending += len(piece)
                positions.append(Position(self._number, self._size + pending))
            self._write(group)
        return positions

    def _check_room(self, size: int) -> None:
        if not self._reserve_bytes:
            return
        room = os.statvfs(self._directory)
        free = room.f_bavail * room.f_frsize
        if free < self._reserve_bytes + size:
            raise DiskFull(
                f"{self._directory}: {free} bytes free, {self._reserve_bytes} are kept for the store to "
                "drain; free some space"
            )

    def _begin(self) -> None:
        """Start the next segment."""
        self._abandon()
        number = self._number + 1
        path = _path(self._directory, number)
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
            directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as e:
            self._abandon()
            raise _failure(path, e) from e
        self._number = number
        self._size = 0
        self._sizes[number] = 0

    def _write(self, group: list[bytes]) -> None:
        if not group:
            return
        assert self._fd is not None
        view = memoryview(b"".join(group))
        before = self._size
        try:
            written = 0
            while written < len(view):
                written += os.write(self._fd, view[written:])
            os.fdatasync(self._fd)
        except OSError as e:
            # After a failed fsync nobody knows what the disk holds: drop the tail and go on in a new file.
            try:
                os.ftruncate(self._fd, before)
            except OSError:
                log.error("%s: tail could not be dropped", _path(self._directory, self._number))
            self._abandon()
            raise _failure(_path(self._directory, self._number), e) from e
        self._size = self._sizes[self._number] = before + len(view)

    def _abandon(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def size_bytes(self) -> int:
        """Bytes of all segments."""
        with self._lock:
            return sum(self._sizes.values())

    def pending_bytes(self, position: Position) -> int:
        """Bytes behind ``position``: what its consumer has still to read."""
        with self._lock:
            return sum(
                size - (min(position.offset, size) if number == position.segment else 0)
                for number, size in self._sizes.items()
                if number >= position.segment
            )

    def truncate_before(self, position: Position) -> int:
        """Remove segments that lie wholly before ``position``, the slowest consumer's; how many.

        The newest stays, so that numbers never begin anew.
        """
        with self._lock:
            old = [n for n in self._sizes if n < position.segment and n != max(self._sizes)]
            for number in old:
                _path(self._directory, number).unlink(missing_ok=True)
                del self._sizes[number]
        return len(old)

    def close(self) -> None:
        with self._lock:
            self._abandon()
            if self._lock_fd >= 0:
                os.close(self._lock_fd)
                self._lock_fd = -1


def _failure(path: Path, error: OSError) -> StoreError:
    # EFBIG: a file size limit of the process or the file system is a full disk to us.
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return (DiskFull if full else StoreError)(f"{path}: {os.strerror(error.errno or 0)}")


class JournalReader:
    """Reads a lane's journal from any thread or process while it is written. Holds nothing but the path.

    damaged_bytes: bytes skipped by this reader because they were no valid record.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.damaged_bytes = 0

    def read(self, position: Position, limit_bytes: int) -> list[tuple[Record, Position]]:
        """Records from ``position`` on, each with the position behind it; empty when there is nothing new.

        limit_bytes: about how many bytes of records to return; at least one record when there is one.
        """
        result: list[tuple[Record, Position]] = []
        left = limit_bytes
        for number in self._from(position.segment):
            offset = position.offset if number == position.segment else 0
            for record, end in self._segment(number, offset, left):
                result.append((record, Position(number, end)))
                left -= end - offset
                offset = end
            if left <= 0:
                break
        return result

    def more(self, position: Position) -> bool:
        """Whether bytes lie behind ``position``; cheap enough to ask many times a second."""
        numbers = self._from(position.segment)
        for number in numbers:
            try:
                size = _path(self._directory, number).stat().st_size
            except FileNotFoundError:
                continue
            if size > (position.offset if number == position.segment else 0):
                return True
        return False

    def _from(self, segment: int) -> list[int]:
        try:
            return [n for n in _segments(self._directory) if n >= segment]
        except FileNotFoundError:
            return []

    def _segment(self, number: int, offset: int, limit: int) -> Iterator[tuple[Record, int]]:
        """The valid records of one segment from ``offset``, until ``limit`` bytes have been given."""
        path = _path(self._directory, number)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return  # removed meanwhile: everybody had read it
        try:
            want = max(64 * 1024, limit)
            while limit > 0:
                buffer = memoryview(os.pread(fd, want, offset))
                at = 0
                end = 0
                while limit > 0:
                    record, end = _decode(buffer, at)
                    if record is None:
                        break
                    limit -= end - at
                    at = end
                    yield record, offset + at
                if limit <= 0:
                    return
                if end < 0 and len(buffer) == want:
                    offset += at  # cut by our own window: go on from there, with room for the record
                    want = max(want, len(buffer) - at - end)
                    continue
                if at == len(buffer) and len(buffer) < want:
                    return
                if at == 0 and not self._newest_is_above(number):
                    return  # the writer is in the middle of it
                if at:
                    offset += at
                    continue
                # Sealed, and no valid record here: a tail nobody acknowledged, or damage to step over.
                rest = memoryview(os.pread(fd, 2**31 - 4096, offset))
                again = _resync(rest, 0)
                skipped = len(rest) if again is None else again
                record, end = _decode(rest, 0)
                if record is not None:
                    continue  # it was completed between the two looks
                if not skipped:
                    return
                self.damaged_bytes += skipped
                log.error("%s: %d damaged bytes at %d skipped", path.name, skipped, offset)
                if again is None:
                    return
                offset += again
        finally:
            os.close(fd)

    def _newest_is_above(self, number: int) -> bool:
        return any(n > number for n in self._from(number))


def wait(reader: JournalReader, position: Position, stop: threading.Event, timeout_seconds: float) -> bool:
    """Until there is something behind ``position`` (True), ``stop`` is set or the time is over (False).

    Looks every 50 ms: a stat of one file, so that an event is in the fault engine well within a second.
    """
    left = timeout_seconds
    while not reader.more(position):
        if left <= 0 or stop.wait(min(0.05, left)):
            return False
        left -= 0.05
    return True
