"""Group commit: records of many connections become durable with one fdatasync.

One thread a lane takes whatever has gathered while the last sync ran. Not here: the file format (journal.py).
"""

from __future__ import annotations

import logging
import threading
from asyncio import AbstractEventLoop
from collections.abc import Callable
from typing import Final

from ullage_collector.journal import Journal, Record
from ullage_contract.errors import StoreError

log = logging.getLogger(__name__)

GROUP_BYTES: Final = 8 * 1024 * 1024  # our choice: because one write of it stays under a tenth of a second
Done = Callable[[StoreError | None], None]


class Committer:
    """Appends records in the order they were submitted and calls back, in the loop, when they are durable.

    waiting_bytes: bodies submitted and not yet called back for; only the loop changes it.
    """

    def __init__(self, journal: Journal, loop: AbstractEventLoop, name: str) -> None:
        self._journal = journal
        self._loop = loop
        self._condition = threading.Condition()
        self._queue: list[tuple[Record, Done]] = []
        self._stopping = False
        self.waiting_bytes = 0
        self.groups = 0
        self._thread = threading.Thread(target=self._run, name=f"journal-{name}", daemon=True)
        self._thread.start()

    def submit(self, record: Record, done: Done) -> None:
        """Make ``record`` durable; ``done`` is called in the loop with None or why not. Loop thread only."""
        self.waiting_bytes += len(record.body)
        with self._condition:
            if not self._stopping:
                self._queue.append((record, done))
                self._condition.notify()
                return
        self._finish([(record, done)], StoreError("the collector is stopping"))

    def stop(self) -> None:
        """Make durable what was submitted, then end; later submissions are refused. Blocks."""
        with self._condition:
            self._stopping = True
            self._condition.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._condition:
                while not self._queue and not self._stopping:
                    self._condition.wait()
                if not self._queue:
                    return
                size = count = 0
                for record, _ in self._queue:
                    count += 1
                    size += len(record.body)
                    if size >= GROUP_BYTES:
                        break
                group, self._queue = self._queue[:count], self._queue[count:]
            error: StoreError | None = None
            try:
                self._journal.append([record for record, _ in group])
            except StoreError as e:
                error = e
            except Exception as e:
                log.exception("BUG: the journal failed in an unknown way")
                error = StoreError(f"BUG: {type(e).__name__}")
            self.groups += 1
            try:
                self._loop.call_soon_threadsafe(self._finish, group, error)
            except RuntimeError:
                return  # the loop is closed: nobody waits any more

    def _finish(self, group: list[tuple[Record, Done]], error: StoreError | None) -> None:
        for record, done in group:
            self.waiting_bytes -= len(record.body)
            try:
                done(error)
            except Exception:
                log.exception("BUG: an answer failed")
