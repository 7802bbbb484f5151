"""Following one kind of object: list, then watch from there, for ever, whatever the server does.

A watch is resumed from the last version that came. Where the server no longer has it (410) everything is listed
anew, and whoever listens compares: what is in no list is gone. Nothing is told twice as new and nothing is told
that the server did not say.
Not here: what the objects mean (roster.py).
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from ullage_collector.allocation.kubernetes.client import Absent, ApiError, Busy, Client, Gone
from ullage_contract.clock import Clock
from ullage_contract.errors import UllageError

log = logging.getLogger(__name__)

WATCH_SECONDS: Final = (
    300  # our choice: as client-go asks for 5 to 10 minutes; the server's balance needs an end
)
QUIET_SECONDS: Final = 150.0
"""Our choice: API servers send a bookmark about every minute to who asks; two missed and half a minute more."""
FIRST_PAUSE_SECONDS: Final = 0.8  # our choice, like LONGEST: as client-go's reflector backs off
LONGEST_PAUSE_SECONDS: Final = 30.0
ABSENT_SECONDS: Final = 600.0  # our choice: because a server gains a kind by an update, which takes longer
LATE_SECONDS: Final = 5.0
"""Our choice: what comes after a silence of more than this may have happened any time within it."""
_CATCH_UP_SECONDS: Final = 2.0  # our choice: what was missed comes at once after a resume

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Listed(Generic[T]):
    """Everything of a kind, as of now. at: seconds since the epoch by the server's clock.

    fresh_at: until when before that nothing can have been missed; None: this is the first list.
    """

    kind: str
    items: Sequence[T]
    at: float
    fresh_at: float | None


@dataclass(frozen=True, slots=True)
class Changed(Generic[T]):
    """One object was added or changed, or (gone) removed. It happened after fresh_at and not after ``at``."""

    kind: str
    item: T
    gone: bool
    at: float
    fresh_at: float


@dataclass(slots=True)
class FollowHealth:
    """One follower's counters, for logs and metrics. lists: complete ones; the first is always needed."""

    lists: int = 0
    events: int = 0
    bookmarks: int = 0
    unknown_events: int = 0
    failures: int = 0
    last_failure: str | None = None
    synced: bool = False
    absent: bool = False


class Follower(Generic[T]):
    """Follows ``path`` until ``stop``; what ``reduce`` leaves of each object goes to ``tell``.

    reduce: an object as it came to what is kept of it, None: not ours. It may raise ValueError and its like for
        an object nobody understands, which is told once and left out.
    tell: may block; then reading waits. Called in the follower's thread.
    """

    def __init__(
        self,
        kind: str,
        path: str,
        client: Client,
        reduce: Callable[[Mapping[str, Any]], T | None],
        tell: Callable[[Listed[T] | Changed[T]], None],
        clock: Clock,
        *,
        watch_seconds: int = WATCH_SECONDS,
        quiet_seconds: float = QUIET_SECONDS,
        longest_pause_seconds: float = LONGEST_PAUSE_SECONDS,
        absent_seconds: float = LONGEST_PAUSE_SECONDS,
    ) -> None:
        self.kind = kind
        self.health = FollowHealth()
        self._path = path
        self._client = client
        self._reduce = reduce
        self._tell = tell
        self._clock = clock
        self._watch_seconds = watch_seconds
        self._quiet_seconds = quiet_seconds
        self._longest_pause = longest_pause_seconds
        self._absent_seconds = absent_seconds
        self._version: str | None = None
        self._fresh_at: float | None = None
        self._misread = 0

    def now(self) -> float:
        """Seconds since the epoch by the server's clock, as near as its answers tell; ours while they agree."""
        ahead = self._client.ahead_seconds
        # Date has whole seconds: a difference below that says nothing.
        return self._clock.wall() + (ahead if ahead is not None and abs(ahead) > 1.0 else 0.0)

    @property
    def fresh_at(self) -> float | None:
        """Until when nothing can have been missed, by the server's clock; None before the first list."""
        return self._fresh_at

    def cut(self) -> None:
        """Wake it from waiting for the server; from another thread, after ``stop`` is set."""
        self._client.cut()

    def run(self, stop: threading.Event) -> None:
        """Follow until ``stop``; server's errors never end it."""
        failed = 0
        while not stop.is_set():
            pause = 0.0
            events = self.health.events + self.health.bookmarks
            try:
                if self._version is None:
                    self._list(stop)
                else:
                    self._watch(stop)
                failed = 0
                self.health.absent = False
            except Gone as e:
                log.info("%s: listed anew: %s", self.kind, e)
                self._version = None
                pause = self._pause(failed) if failed else 0.0
                failed += 1
            except Absent as e:
                pause = self._absent(e, stop)
            except Busy as e:
                self._failed(e, stop)
                pause = self._pause(failed)
                if e.retry_seconds is not None:
                    pause = e.retry_seconds * random.uniform(1.0, 1.25)
                failed += 1
            except UllageError as e:
                if self.health.events + self.health.bookmarks > events:
                    failed = 0  # it went well for a while
                self._failed(e, stop)
                pause = self._pause(failed)
                failed += 1
            if pause:
                stop.wait(pause)
        self._client.close()

    def _pause(self, failed: int) -> float:
        """Doubling, with the upper half at random, so that a fleet of clients does not come back as one."""
        most = min(FIRST_PAUSE_SECONDS * 2.0 ** min(failed, 20), self._longest_pause)
        return random.uniform(most / 2, most)

    def _failed(self, error: UllageError, stop: threading.Event) -> None:
        if stop.is_set():
            return
        self.health.failures += 1
        text = str(error)
        if text != self.health.last_failure:
            log.warning("%s: %s; it is tried again", self.kind, text)
        self.health.last_failure = text[:500]

    def _absent(self, error: ApiError, stop: threading.Event) -> float:
        """Nothing is told: a way that leads nowhere (a proxy's 404) does not end what was there."""
        if not self.health.absent:
            self._failed(error, stop)
        self.health.absent = True
        self._version = None
        return self._absent_seconds

    # --------------------------------------------------------------------------------------- listing
    def _list(self, stop: threading.Event) -> None:
        """Every page of one list. A page whose token lapsed begins the list anew, by Gone."""
        items: list[T] = []
        more: str | None = None
        while True:
            page = self._client.page(self._path, more)
            items += [kept for item in page.items if (kept := self._kept(item)) is not None]
            more = page.more
            if more is None:
                break
            if stop.is_set():
                return
        at = self.now()
        self._tell(Listed(self.kind, items, at, self._fresh_at))
        self._version = page.version
        self._fresh_at = at
        self.health.lists += 1
        self.health.synced = True

    # --------------------------------------------------------------------------------------- watching
    def _watch(self, stop: threading.Event) -> None:
        assert self._version is not None and self._fresh_at is not None
        begun = self._clock.monotonic()
        missed_since = self._fresh_at
        changes = self._client.watch(
            self._path, self._version, seconds=self._watch_seconds, quiet_seconds=self._quiet_seconds
        )
        for word, changed in changes:
            if stop.is_set():
                return
            now = self.now()
            catching_up = (
                self._clock.monotonic() - begun < _CATCH_UP_SECONDS and now - missed_since > LATE_SECONDS
            )
            self._one(word, changed, now, missed_since if catching_up else now)
            if not catching_up:
                self._fresh_at = now
        # The server ended it in order: whatever had happened until then was told.
        self._fresh_at = self.now()

    def _one(self, word: str, changed: Mapping[str, Any], now: float, fresh_at: float) -> None:
        metadata = changed.get("metadata")
        version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
        if word == "BOOKMARK":
            self.health.bookmarks += 1
        elif word in ("ADDED", "MODIFIED", "DELETED"):
            self.health.events += 1
            kept = self._kept(changed)
            if kept is not None:
                self._tell(Changed(self.kind, kept, word == "DELETED", now, fresh_at))
        else:
            self.health.unknown_events += 1
            if self.health.unknown_events == 1:
                log.warning("%s: a watch event of unknown type %r is ignored", self.kind, word[:40])
            return
        if isinstance(version, str) and version:
            self._version = version

    def _kept(self, item: Mapping[str, Any]) -> T | None:
        try:
            return self._reduce(item)
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, UllageError) as e:
            self._misread += 1
            if self._misread == 1:
                log.warning(
                    "%s: an object is not understood and left out: %s: %s", self.kind, type(e).__name__, e
                )
            return None
