"""Time as an argument: one clock is handed to every loop, so that tests can turn it.

Not here: time zones (reports cut periods) and formatting.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Wall time, monotonic time and sleeping.

    ``wall`` may jump (NTP, an operator); ``monotonic`` never goes back within one boot.
    """

    def wall(self) -> float:
        """Seconds since the Unix epoch, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds since an unspecified start of this boot; successive calls never decrease."""
        ...

    def sleep(self, seconds: float) -> None:
        """Return after ``seconds``, or earlier when the clock is woken."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def __init__(self) -> None:
        self._woken = threading.Event()

    def wall(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        self._woken.wait(max(0.0, seconds))

    def wake(self) -> None:
        """End every present and future sleep at once (used to stop a daemon)."""
        self._woken.set()


class ManualClock:
    """A clock for tests: it stands still until told, and ``sleep`` merely adds."""

    def __init__(self, wall: float = 1_800_000_000.0, monotonic: float = 1_000.0) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._lock = threading.Lock()

    def wall(self) -> float:
        return self._wall

    def monotonic(self) -> float:
        return self._monotonic

    def sleep(self, seconds: float) -> None:
        self.advance(max(0.0, seconds))

    def advance(self, seconds: float) -> None:
        """Move both clocks forward by ``seconds``."""
        with self._lock:
            self._wall += seconds
            self._monotonic += seconds

    def step_wall(self, seconds: float) -> None:
        """Move only the wall clock, as NTP or an operator does; may be negative."""
        with self._lock:
            self._wall += seconds


def utc(seconds: float) -> datetime:
    """Seconds since the epoch as an aware UTC datetime."""
    return datetime.fromtimestamp(seconds, tz=UTC)
