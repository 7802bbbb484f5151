"""Events between ticks: a source that has one waiting says so, and it is fetched at once.

The kernel tells an Xid within milliseconds; waiting for the next tick would cost up to ten seconds.
"""

from __future__ import annotations

import logging
import threading
from typing import Protocol

log = logging.getLogger(__name__)


class Pumped(Protocol):
    """What the pump drives: the sampler."""

    def pump(self, name: str) -> None:
        """Fetch the waiting events of the source ``name``."""
        ...


class EventPump:
    """``wake`` may be called from any thread and never blocks; the fetching happens in a thread here."""

    def __init__(self, sampler: Pumped) -> None:
        self._sampler = sampler
        self._changed = threading.Condition()
        self._waiting: set[str] = set()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="ullage-events", daemon=True)
        self._thread.start()

    def wake(self, name: str) -> None:
        """The source ``name`` has events waiting."""
        with self._changed:
            self._waiting.add(name)
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(2.0)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._stopping:
                    self._changed.wait()
                if self._stopping:
                    return
                names, self._waiting = self._waiting, set()
            for name in names:
                try:
                    self._sampler.pump(name)
                except Exception:
                    log.exception("%s: its events could not be fetched", name)
