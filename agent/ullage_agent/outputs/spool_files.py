"""What the spool does to its directory: whole writes, durable renames, and how a file is believed.

Not here: which file is written when (spool.py).
"""

from __future__ import annotations

import json
import logging
import os
import zlib
from contextlib import suppress
from pathlib import Path

from ullage_contract.wire import MAX_JSON_BYTES

log = logging.getLogger(__name__)


class Disk:
    """The three writes the spool makes. Tests give one that is full."""

    def write(self, path: Path, body: bytes) -> None:
        """``body`` under ``path``: whole or not at all. Durable once the directory is synced. Raises OSError."""
        temporary = path.with_name(path.name + ".tmp")
        try:
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                view = memoryview(body)
                while view:
                    view = view[os.write(handle, view) :]
                os.fsync(handle)
            finally:
                os.close(handle)
            temporary.rename(path)
        except OSError:
            with suppress(OSError):
                temporary.unlink()  # a full disk must not stay full of our halves
            raise

    def sync(self, directory: Path) -> None:
        """Make renames in ``directory`` durable. Raises OSError."""
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def make_directory(self, directory: Path) -> None:
        """``directory`` and what is missing above it, durable. Raises OSError."""
        missing = [directory]
        while not missing[-1].parent.exists():
            missing.append(missing[-1].parent)
        for path in reversed(missing):
            path.mkdir(mode=0o700, exist_ok=True)
            self.sync(path.parent)


def is_sound(body: bytes, stream: str, sequence: int) -> bool:
    """Whether a file holds a whole body of this very number: gzip checksum and the first fields."""
    inflater = zlib.decompressobj(wbits=31)
    try:
        text = inflater.decompress(body, 512)
        head = text[:512]
        total = len(text)
        while inflater.unconsumed_tail and total <= MAX_JSON_BYTES:
            total += len(inflater.decompress(inflater.unconsumed_tail, 1 << 20))
    except zlib.error:
        return False
    mark = f'"stream":"{stream}","sequence":{sequence},'.encode()
    return inflater.eof and not inflater.unused_data and mark in head


def stream_json(stream: str, last: int) -> bytes:
    """The content of stream.json."""
    return (json.dumps({"schema_version": 1, "stream": stream, "last_sequence": last}) + "\n").encode()


def last_number(path: Path, stream: str) -> int | None:
    """The last number given out, or None when the file cannot be believed and the stream must end."""
    try:
        document = json.loads(path.read_bytes())
        last = document["last_sequence"]
        if document["stream"] == stream and isinstance(last, int) and last >= 0:
            return last
        log.error("spool: %s is of another stream, starting a new one", path)
    except FileNotFoundError:
        log.error("spool: %s is missing, starting a new stream", path)
    except (OSError, ValueError, KeyError, TypeError) as e:
        log.error("spool: %s cannot be believed, starting a new stream: %s", path, e)
    return None
