"""Where batches go that the collector refused for good, or that the disk gave back damaged.

Bounded and counted: kept for a maintainer to look at, never sent again, never in the way. Not here:
deciding what is refused (push.py) or damaged (spool.py).
"""

from __future__ import annotations

import logging
import re
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

MAX_BYTES: Final = 64 * 1024 * 1024  # our choice: because some thousand batches tell what is wrong
MAX_FILES: Final = 1_000  # our choice: because a directory somebody lists should stay listable

_NOT_A_WORD = re.compile(r"[^a-z0-9_]+")


class Quarantine:
    """A directory of refused batches, ``<lane>-<stream>-<sequence>-<reason>.batch``, oldest out first.

    quarantined: batches that came in since start; discarded: of all, those that left for want of room or
    could not be kept at all. Both lanes share one; any thread may call.
    """

    def __init__(self, directory: Path, *, max_bytes: int = MAX_BYTES, max_files: int = MAX_FILES) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._max_files = max_files
        self._files: deque[tuple[Path, int]] = deque()
        self._bytes = 0
        self._lock = threading.Lock()
        self.quarantined = 0
        self.discarded = 0
        found = []
        try:
            for path in directory.glob("*.batch"):
                status = path.stat()
                found.append((status.st_mtime, path, status.st_size))
        except OSError as e:
            log.warning("quarantine %s cannot be listed: %s", directory, e)
        for _, path, size in sorted(found):
            self._files.append((path, size))
            self._bytes += size
        self._make_room()

    def take(self, source: Path | bytes, *, lane: str, stream: str, sequence: int, reason: str) -> None:
        """Move a spooled file here, or write a body that never had one. Never raises: at worst it is counted."""
        word = _NOT_A_WORD.sub("_", reason.lower())[:40] or "refused"
        target = self._directory / f"{lane}-{stream}-{sequence:016d}-{word}.batch"
        with self._lock:
            self.quarantined += 1
            try:
                self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                if isinstance(source, Path):
                    size = source.stat().st_size
                    source.rename(target)
                else:
                    size = len(source)
                    target.write_bytes(source)
            except OSError as e:
                self.discarded += 1
                log.warning("batch %s of stream %s could not be quarantined: %s", sequence, stream, e)
                if isinstance(source, Path):
                    with suppress(OSError):
                        source.unlink(missing_ok=True)
                return
            self._files.append((target, size))
            self._bytes += size
            self._make_room()

    def _make_room(self) -> None:
        while self._files and (self._bytes > self._max_bytes or len(self._files) > self._max_files):
            path, size = self._files.popleft()
            self._bytes -= size
            self.discarded += 1
            try:
                path.unlink(missing_ok=True)
            except OSError as e:
                log.warning("quarantined %s could not be removed: %s", path.name, e)
