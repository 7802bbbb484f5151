"""When each intent is looked after next: at once, after a pause that grows, or when the scheduler is looked at again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable
from typing import Final

from ullage_collector.isolate.intent import Intent, State
from ullage_collector.isolate.surroundings import Place

FIRST_PAUSE_SECONDS: Final = 2.0
LONGEST_PAUSE_SECONDS: Final = 60.0  # our choice: because a scheduler that is away comes back in minutes
LOOK_EARLY_SECONDS: Final = (
    3.0  # our choice: because a card falls free when its job ends, and the page says so
)


class Agenda:
    """Times on the monotonic clock, by intent_id; what it does not know is due. Thread-safe: nodes run side by side."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._next: dict[int, float] = {}
        self._pause: dict[int, float] = {}

    def due(self, live: Iterable[Intent]) -> dict[Place, list[int]]:
        """Who is due, by node. What is wanted and has not been put off is due at once."""
        now = self._monotonic()
        due: dict[Place, list[int]] = {}
        with self._lock:
            for intent in live:
                if self._next.get(intent.intent_id, 0.0) <= now or (
                    intent.state is State.WANTED and intent.intent_id not in self._pause
                ):
                    due.setdefault(intent.place, []).append(intent.intent_id)
        return due

    def in_seconds(self, intent_id: int, seconds: float) -> None:
        """Look after it again then."""
        with self._lock:
            self._next[intent_id] = self._monotonic() + seconds

    def early(self, intent_id: int) -> None:
        """Look after it again soon: something about it is about to change."""
        self.in_seconds(intent_id, LOOK_EARLY_SECONDS)

    def put_off(self, intent_id: int) -> None:
        """Look after it again after a pause, twice the last one."""
        with self._lock:
            pause = min(self._pause.get(intent_id, FIRST_PAUSE_SECONDS / 2) * 2, LONGEST_PAUSE_SECONDS)
            self._pause[intent_id] = pause
            self._next[intent_id] = self._monotonic() + pause

    def paused(self, intent_id: int) -> bool:
        """Whether it was put off and nothing has gone well since."""
        with self._lock:
            return intent_id in self._pause

    def settled(self, intent_id: int) -> None:
        """It went well: its next pause is the first again."""
        with self._lock:
            self._pause.pop(intent_id, None)

    def forget_all_but(self, known: Collection[int]) -> None:
        """Intents that are over need no next time."""
        with self._lock:
            for gone in [number for number in self._next if number not in known]:
                self._next.pop(gone, None)
                self._pause.pop(gone, None)
