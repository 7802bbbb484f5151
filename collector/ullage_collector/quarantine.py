"""Batches that were acknowledged and could not be stored after all: kept for a person, bounded, counted.

The writer puts one here and goes on with the next, so that a poisoned batch never blocks those behind it.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

from ullage_collector.journal import Record

log = logging.getLogger(__name__)


class Quarantine:
    """Files ``<received_at_us>-<stream>-<sequence>.batch`` (the wire body) with ``.json`` (who, why) beside.

    max_bytes: the oldest files go when a new one would exceed it; 0 keeps none.
    count: batches put here by this process, kept or not.
    """

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self.count = 0

    def put(self, record: Record, reason: str) -> str | None:
        """Keep ``record``; the file's name, or None when there is no room. Never raises."""
        self.count += 1
        log.error(
            "batch %d of stream %s from %s/%s quarantined: %s",
            record.sequence,
            record.stream,
            record.cluster,
            record.node,
            reason,
        )
        name = f"{record.received_at_us:016d}-{record.stream}-{record.sequence}.batch"
        about = json.dumps(
            {
                "cluster": record.cluster,
                "node": record.node,
                "lane": record.lane,
                "identity": record.identity,
                "skew_seconds": record.skew_seconds,
                "reason": reason[:2000],
            }
        ).encode()
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self._make_room(len(record.body) + len(about)):
                return None
            for path, content in (
                (self._directory / name, record.body),
                (self._directory / f"{name}.json", about),
            ):
                fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
                try:
                    os.write(fd, content)
                finally:
                    os.close(fd)
        except OSError as e:
            log.error("%s: the quarantined batch could not be kept: %s", self._directory, e)
            return None
        return name

    def _make_room(self, size: int) -> bool:
        files = sorted((e.name, e.stat().st_size) for e in os.scandir(self._directory) if e.is_file())
        used = sum(length for _, length in files)
        while files and used + size > self._max_bytes:
            name, length = files.pop(0)
            (self._directory / name).unlink(missing_ok=True)
            used -= length
        return used + size <= self._max_bytes
