"""``ullage_quota_cards`` for ``/metrics``: what each quota has, uses, borrows, lends and waits for now, in cards.

What cannot be said is an absent series. Read at most once a minute, however often somebody scrapes.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Final

from ullage_collector.quota.api import instant
from ullage_collector.quota.show import AMOUNTS
from ullage_collector.sql import statements

if TYPE_CHECKING:
    from collections.abc import Callable

    from ullage_collector.store.store import Store

log = logging.getLogger(__name__)

KEEP_SECONDS: Final = (
    60.0  # our choice: because quotas and queues move in minutes, and a scrape comes every 15 s
)


class Exposition:
    """The lines of the quotas. store: the open store now."""

    def __init__(self, store: Callable[[], Store]) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._text = ""
        self._read_at = float("-inf")

    def text(self) -> str:
        """Exposition lines, each ended; nothing where there are no quotas, or they cannot be read."""
        store = self._store()
        with self._lock:
            now = store.clock.monotonic()
            if now - self._read_at >= KEEP_SECONDS:
                self._read_at = now
                try:
                    self._text = _text(store)
                except Exception:
                    self._text = ""
                    log.exception("the quotas could not be read for /metrics")
            return self._text


def _text(store: Store) -> str:
    cursor = store.cursor()
    try:
        if not cursor.execute(statements("quota")["any_rule"]).fetchall()[0][0]:
            return ""
    finally:
        cursor.close()
    at_us = round(store.clock.wall() * 1e6)
    lines = []
    for tree in instant(store, at_us, at_us, None)["trees"]:
        for part in tree["cards"]:
            for node in part["nodes"]:
                for kind in AMOUNTS:
                    if node[kind] is None:
                        continue
                    labels = {
                        "tree": tree["tree"],
                        "pool": part["pool"],
                        "resource": part["resource"],
                        "vendor": part["vendor"] or "",
                        "model": part["model"] or "",
                        "quota": node["quota"],
                        "kind": kind,
                    }
                    inside = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
                    lines.append(f"ullage_quota_cards{{{inside}}} {node[kind]}")
    if not lines:
        return ""
    head = (
        "# HELP ullage_quota_cards cards a quota is promised, may have, uses, borrows, lends, waits for",
        "# TYPE ullage_quota_cards gauge",
    )
    return "\n".join((*head, *lines)) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
