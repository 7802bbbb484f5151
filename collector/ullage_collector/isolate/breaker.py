"""Stops a rule that finds the same on many nodes at once: a bad rule or a trouble of the site, not of nodes.

It only ever stops placing; what stands is released as always. Rules are stopped one by one.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from datetime import UTC
from typing import TYPE_CHECKING

from ullage_collector.audit import naive_utc
from ullage_collector.isolate.policy_settings import PolicySettings
from ullage_collector.isolate.surroundings import Place
from ullage_collector.sql import statements

if TYPE_CHECKING:
    from ullage_collector.isolate.book import Book, Change


class Breaker:
    """What is tripped outlives a restart; by the monotonic clock while running. book: whose lock guards it."""

    def __init__(self, book: Book, settings: PolicySettings) -> None:
        self._settings = settings
        self._clock = book.clock
        self._seen: dict[str, deque[tuple[float, Place]]] = {}
        self._until: dict[str, float] = {}
        now = self._clock.wall()
        for rule, _, until in book.read("breakers", [naive_utc(now)]):
            left = until.replace(tzinfo=UTC).timestamp() - now
            self._until[str(rule)] = self._clock.monotonic() + min(left, settings.breaker_seconds)

    def note(self, change: Change, rule: str, place: Place) -> str | None:
        """A rule found something on a node just now; why it trips with this, None: it does not, or is already."""
        if not self._settings.breaker:
            return None
        now = self._clock.monotonic()
        seen = self._seen.setdefault(rule, deque(maxlen=10_000))
        seen.append((now, place))
        while seen and now - seen[0][0] >= self._settings.breaker_window_seconds:
            seen.popleft()
        nodes = sorted({node for _, node in seen})
        if len(nodes) < self._settings.breaker_nodes:
            return None
        fresh = not self.tripped(rule)
        self._until[rule] = now + self._settings.breaker_seconds
        if not fresh:
            return None
        change.cursor.execute(
            statements("policy")["put_breaker"],
            [
                rule,
                naive_utc(change.now),
                naive_utc(change.now + self._settings.breaker_seconds),
                json.dumps([f"{cluster}/{node}" for cluster, node in nodes[:100]]),
            ],
        )
        names = ", ".join(node for _, node in nodes[:5])
        return (
            f"{rule} on {len(nodes)} nodes ({names}) within {self._settings.breaker_window_seconds:g} s: a bad rule or "
            f"a trouble of the site; {rule} isolates nothing by itself for {self._settings.breaker_seconds:g} s"
        )

    def tripped(self, rule: str) -> bool:
        """The rule is stopped now."""
        return self._until.get(rule, float("-inf")) > self._clock.monotonic()

    def open(self) -> Mapping[str, float]:
        """Stopped rules, and for how many seconds more."""
        now = self._clock.monotonic()
        return {rule: until - now for rule, until in self._until.items() if until > now}
