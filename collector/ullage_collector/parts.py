"""The parts of ``serve``: each in a thread of its own, started again when it fails, stopping none of the others."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from ullage_collector.health import Health
from ullage_contract.clock import Clock
from ullage_contract.errors import UllageError

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS: Final = 1.0
LONGEST_PAUSE_SECONDS: Final = 60.0  # our choice: because a full disk is emptied by people, in minutes
CALM_SECONDS: Final = 300.0  # our choice: a part that ran so long failed anew, not still


class Part:
    """One part. run: works until the event is set; it may raise anything, it is then called again."""

    def __init__(
        self,
        name: str,
        run: Callable[[threading.Event], None],
        *,
        health: Health,
        clock: Clock,
        first_pause_seconds: float = FIRST_PAUSE_SECONDS,
    ) -> None:
        self.name = name
        self._run = run
        self._health = health.part(name)
        self._clock = clock
        self._first_pause = first_pause_seconds
        self._stop = threading.Event()
        self._run_stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Ask it to end; returns at once."""
        self._stop.set()
        self._run_stop.set()

    def restart(self) -> None:
        """Ask it to end and begin anew, as what it stands on was replaced; returns at once."""
        self._run_stop.set()

    def join(self, timeout_seconds: float) -> bool:
        """Wait for its end; False when it still runs."""
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def _loop(self) -> None:
        pause = self._first_pause
        while not self._stop.is_set():
            began = self._clock.monotonic()
            self._run_stop = threading.Event()
            if self._stop.is_set():
                break
            self._health.running = True
            try:
                self._run(self._run_stop)
                if self._run_stop.is_set():
                    continue
                raise RuntimeError(f"BUG: {self.name} ended by itself")
            except Exception as e:
                self._health.running = False
                self._failed(e)
            if self._clock.monotonic() - began > CALM_SECONDS:
                pause = self._first_pause
            self._stop.wait(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
        self._health.running = False

    def _failed(self, error: Exception) -> None:
        self._health.failures += 1
        text = f"{type(error).__name__}: {error}"
        if isinstance(error, UllageError):
            if text != self._health.last_failure:
                log.error("%s: %s; it is started again", self.name, error)
        else:
            log.error("%s failed and is started again", self.name, exc_info=error)
        self._health.last_failure = text[:500]
