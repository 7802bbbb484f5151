"""Batches that were acknowledged and could not be stored: kept as they came, up to a bound, never in the way."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from ullage_collector.journal import Record

log = logging.getLogger(__name__)


class Quarantine:
    """A folder of wire bodies. Above ``max_bytes`` further ones are counted but not kept."""

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._bytes = sum(entry.stat().st_size for entry in os.scandir(directory) if entry.is_file())

    @property
    def kept_bytes(self) -> int:
        """Bytes of all bodies in the folder, by our own count."""
        return self._bytes

    def keep(self, record: Record) -> str | None:
        """Write the body; its file name, or None when the folder is full or cannot be written."""
        if self._bytes + len(record.body) > self._max_bytes:
            return None
        name = f"{record.stream}-{record.sequence:016d}.batch"
        try:
            (self._directory / name).write_bytes(record.body)
        except OSError as e:
            log.warning("quarantine: %s not kept: %s", name, e)
            return None
        self._bytes += len(record.body)
        return name
