"""The part of ``serve`` that keeps the ledger of recommendations true to the findings, and measures what is done.

Reading happens outside any write; a round that fails is told and tried again, and what stands stays.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import duckdb

from ullage_collector.detect.idle_rules import rules_of as idle_rules_of
from ullage_collector.detect.stragglers.settings import rules_of as straggler_rules_of
from ullage_collector.recommendations.book import Renewed, note_saved, renew
from ullage_collector.recommendations.kinds import Rules, rules_of
from ullage_collector.recommendations.reading import proposals
from ullage_collector.recommendations.saved import measured
from ullage_contract.errors import UllageError

if TYPE_CHECKING:
    from ullage_collector.config import Config
    from ullage_collector.store.store import Store

log = logging.getLogger(__name__)

EVERY_SECONDS: Final = 300.0
"""our choice: as often as the findings it stands on."""


class RecommendationRounds:
    """One round after another on the store. Raises ConfigError at once when the rule file is wrong."""

    def __init__(self, store: Callable[[], Store], config: Config) -> None:
        """store: the open store now; it may be opened anew meanwhile."""
        self._store = store
        self._rules: Rules = rules_of(config.part("recommendations"))
        idle, stragglers = idle_rules_of(config.part("idle")), straggler_rules_of(config.part("stragglers"))
        self._labels = tuple(dict.fromkeys((*idle.gang_labels, *stragglers.labels)))

    def run(self, stop: threading.Event) -> None:
        """Rounds until stopped."""
        while not stop.wait(EVERY_SECONDS):
            try:
                done = self.round()
            except (UllageError, duckdb.Error) as e:
                log.error("recommendations stay as they are: %s", e)
                continue
            if done.opened or done.ended:
                log.info("%d recommendations opened, %d ended, %d stand", done.opened, done.ended, done.open)

    def round(self) -> Renewed:
        """Look once. Raises what the store raises; then nothing is changed."""
        store = self._store()
        now = store.clock.wall()
        cursor = store.cursor()
        try:
            proposed = proposals(cursor, self._rules, round(now * 1e6), self._labels)
            saved = measured(cursor, self._rules)
        finally:
            cursor.close()
        with store.write() as writer:
            renewed = renew(writer, proposed, self._rules, round(now * 1e6))
            for number, values in saved:
                note_saved(writer, number, values, now)
        return renewed
