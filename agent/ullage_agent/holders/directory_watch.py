"""Tells when a directory changes, at once: inotify, by ctypes, as the standard library has no door to it.

Where the kernel refuses (no inotify left, an old or sealed kernel) the directory's time of change is looked at once
a second. Not here: what is in the directory.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

_MOVED_TO, _CREATE, _DELETE_SELF, _MOVE_SELF, _CLOSE_WRITE = 0x80, 0x100, 0x400, 0x800, 0x8
"""sys/inotify.h. An atomic write shows as moved to; a plain one as closed after writing."""
LOOK_SECONDS: Final = 1.0


class DirectoryWatch:
    """One thread. wake: called from it when something changed, and once at the start. Ends when the directory goes."""

    def __init__(self, directory: Path, wake: Callable[[], None]) -> None:
        self._directory = directory
        self._wake = wake
        self._stop_read, self._stop_write = os.pipe2(os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="ullage-jobs", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def close(self) -> None:
        """End the thread. Never raises."""
        with contextlib.suppress(OSError):
            os.write(self._stop_write, b"x")
        self._thread.join(timeout=2)
        for descriptor in (self._stop_read, self._stop_write):
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def _run(self) -> None:
        descriptor = _inotify(self._directory)
        try:
            if descriptor is None:
                self._look()
            else:
                self._follow(descriptor)
        except OSError as e:
            log.debug("%s is watched no more: %s", self._directory, e)
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def _follow(self, descriptor: int) -> None:
        self._wake()  # watched from here on; what came before is looked at now
        poller = select.poll()  # select has no room for descriptors above 1023
        poller.register(descriptor, select.POLLIN)
        poller.register(self._stop_read, select.POLLIN)
        while True:
            if any(ready == self._stop_read for ready, _ in poller.poll()):
                return
            os.read(descriptor, 65536)
            self._wake()
            if not self._directory.is_dir():
                return

    def _look(self) -> None:
        """The slow way. Raises OSError when the directory is gone."""
        poller = select.poll()
        poller.register(self._stop_read, select.POLLIN)
        before = self._directory.stat().st_mtime_ns
        self._wake()
        while not poller.poll(LOOK_SECONDS * 1000):
            now = self._directory.stat().st_mtime_ns
            if now != before:
                before = now
                self._wake()


def _inotify(directory: Path) -> int | None:
    """A descriptor that is readable when the directory changed; None where the kernel gives none."""
    try:
        import ctypes  # here, because only a node whose scheduler has our hook needs it

        library = ctypes.CDLL(None, use_errno=True)
        descriptor = int(library.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK))
        if descriptor < 0:
            return None
        mask = _MOVED_TO | _CREATE | _CLOSE_WRITE | _DELETE_SELF | _MOVE_SELF
        if library.inotify_add_watch(descriptor, os.fsencode(directory), mask) < 0:
            os.close(descriptor)
            return None
    except (ImportError, OSError, AttributeError):
        return None
    return descriptor
