"""The part of ``serve`` that asks Prometheus servers for requests, every minute, and keeps what they say.

A server that is away is told once and counted; the minutes it was away are asked for when it is back. Nobody waits for it:
each source has a thread of its own. What it did not answer is unknown.
Not here: the question (prometheus.py) and the keeping (book.py).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from ullage_collector.health import ServingHealth
from ullage_collector.serving import prometheus
from ullage_collector.serving.book import Kept, work_out, write
from ullage_collector.serving.settings import Source, sources_of
from ullage_collector.sql import statements
from ullage_collector.store import incoming
from ullage_contract.errors import BadInput, ConfigError

if TYPE_CHECKING:
    from ullage_collector.config import Config
    from ullage_collector.health import Health
    from ullage_collector.store.store import Store

log = logging.getLogger(__name__)

STEP: Final = prometheus.STEP_SECONDS
QUESTIONS_A_ROUND: Final = 20
"""our choice: because most of a day is caught up in one round then, and a stop waits for one question alone."""
TELL_AGAIN: Final = 60  # our choice: an hour of rounds of a minute between two words about the same trouble


class ServingWatch:
    """One Prometheus, round after round; one thread's alone."""

    def __init__(
        self,
        store: Callable[[], Store],
        source: Source,
        health: ServingHealth | None = None,
        fetch: prometheus.Fetch | None = None,
    ) -> None:
        """store: the open store now; it may be opened anew meanwhile. health: what it counts, for the collector's metrics."""
        self._store = store
        self._source = source
        self._health = health or ServingHealth()
        self._fetch = fetch
        self._silent = 0
        self._steps = prometheus.STEPS_AT_ONCE
        self._ownerless: set[bool] = set()

    def run(self, stop: threading.Event) -> None:
        """Rounds until stopped."""
        while not stop.wait(self._source.every_seconds):
            self.round(stop)

    def round(self, stop: threading.Event | None = None) -> bool:
        """Ask for what is over and not asked for yet; False where the server gave no answer.

        Raises what the store raises; then nothing of that question is kept and it is asked again.
        """
        for from_s, to_s in self._due():
            if stop is not None and stop.is_set():
                break
            try:
                answer = prometheus.ask(self._source, from_s, to_s, self._fetch)
            except (BadInput, ConfigError) as e:
                self._tell(e)
                # It may have been too much for it, or for the bounds.
                self._steps = max(1, self._steps // 2)
                return False
            store = self._store()
            now_us = round(store.clock.wall() * 1e6)
            reader = store.cursor()
            try:
                made = work_out(reader, answer.readings, source=self._source.name, now_us=now_us)
            finally:
                reader.close()
            with store.write() as cursor:
                write(cursor, made, now_us)
                cursor.execute(
                    statements("serving")["put_asked"],
                    {"source": self._source.name, "through": to_s * 1_000_000},
                )
            self._told(answer, made.kept)
        else:
            self._steps = prometheus.STEPS_AT_ONCE
        return True

    def _due(self) -> Iterator[tuple[int, int]]:
        """Stretches of whole minutes, both ends included."""
        source, store = self._source, self._store()
        now = store.clock.wall()
        last = int((now - source.late_seconds) // STEP) * STEP
        cursor = store.cursor()
        try:
            row = incoming.one(cursor, statements("serving")["asked"], [source.name])
        finally:
            cursor.close()
        oldest = int((now - source.back_seconds) // STEP) * STEP - STEP
        # Asked for the first time, it tells the past, too: nobody waits a day for what a Prometheus knows.
        at = oldest if row is None else row[0] // 1_000_000
        if at > last:
            # Its clock or ours was set back: what is already known adds nothing.
            at = last - STEP
        if at < oldest:
            log.warning(
                "%s: not asked for %.1f h; what is older than %.1f h stays unknown",
                source.name,
                (now - at) / 3600,
                source.back_seconds / 3600,
            )
            at = oldest
        for _ in range(QUESTIONS_A_ROUND):
            if at >= last:
                return
            to = min(last, at + self._steps * STEP)
            yield at + STEP, to
            at = to

    def _tell(self, error: Exception) -> None:
        if self._silent % TELL_AGAIN == 0:
            log.warning(
                "%s: %s; requests of its workloads are unknown meanwhile, it is asked again",
                self._source.name,
                error,
            )
        self._silent += 1
        self._health.up = False
        self._health.failures += 1

    def _told(self, answer: prometheus.Answer, kept: Kept) -> None:
        if self._silent:
            log.info("%s answers again", self._source.name)
            self._silent = 0
        self._health.up = True
        self._health.answered_at = self._store().clock.wall()
        self._health.readings += kept.taken
        self._health.ownerless += kept.ownerless
        self._health.unnamed = answer.unnamed
        if answer.unnamed and True not in self._ownerless:
            self._ownerless.add(True)
            log.warning(
                "%s: %d series have no labels that name a workload; look at namespace, pod or job of [[serving]]; told once",
                self._source.name,
                answer.unnamed,
            )
        if kept.ownerless and not kept.taken and not kept.late and False not in self._ownerless:
            self._ownerless.add(False)
            log.warning(
                "%s: none of its %d readings is of a workload that holds cards; look at cluster, namespace and pod of "
                "[[serving]]; told once",
                self._source.name,
                kept.ownerless,
            )


def parts(
    config: Config, store: Callable[[], Store], health: Health
) -> list[tuple[str, Callable[[threading.Event], None]]]:
    """Name and work of a part for each [[serving]]. Raises ConfigError."""
    found: list[tuple[str, Callable[[threading.Event], None]]] = []
    for source in sources_of(config.part("serving"), str(config.path or "collector.toml")):
        counted = health.serving[source.name] = ServingHealth()
        found.append((f"serving-{source.name}", ServingWatch(store, source, counted).run))
    return found
