"""What one cluster's source reads in the store: what nodes told of devices, cards and slices, clocks, finished runs."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from ullage_collector.allocation.kubernetes.cards import Cards
from ullage_collector.allocation.kubernetes.roster import Roster
from ullage_collector.sql import statements
from ullage_collector.store import incoming
from ullage_collector.store.store import trouble
from ullage_contract.clock import Clock
from ullage_contract.errors import BadInput

if TYPE_CHECKING:
    import duckdb

    from ullage_collector.store.store import Store

log = logging.getLogger(__name__)

SOURCE: Final = "kubernetes"
"""In the book and in ``allocation.source``."""
_HANDED_SECONDS: Final = 2.0  # our choice: with what a push takes to be stored, a card is known in seconds
_CARDS_SECONDS: Final = 30.0  # our choice: a new server's cards are known half a minute after its first push


class StoreEyes:
    """``look`` brings a roster up to what the store has; each part of it now and then. One thread's."""

    def __init__(self, cluster: str, clock: Clock) -> None:
        self._cluster = cluster
        self._clock = clock
        self._sql = statements("kubernetes")
        self._event_id: int | None = None
        self._handed_at: float | None = None
        self._cards_at: float | None = None
        self._stamp: tuple[Any, ...] | None = None
        self._by_node: dict[str, list[tuple[Any, ...]]] = {}
        self._misread = 0

    def look(self, store: Store, roster: Roster) -> None:
        """Whatever is due. Raises StoreError."""
        import duckdb

        now = self._clock.monotonic()
        cursor = store.cursor()
        try:
            if self._handed_at is None or now - self._handed_at >= _HANDED_SECONDS:
                self._handed_at = now
                self._look_at_events(cursor, roster)
            if self._cards_at is None or now - self._cards_at >= _CARDS_SECONDS:
                self._cards_at = now
                roster.hear_skews(dict(cursor.execute(self._sql["skews"], [self._cluster]).fetchall()))
                self._look_at_cards(cursor, roster)
        except duckdb.Error as e:
            self._handed_at = self._cards_at = None
            raise trouble(store.path, e) from e
        finally:
            cursor.close()

    def runs(self, store: Store, workload_ids: Sequence[str]) -> tuple[set[str], dict[str, int]]:
        """Those of these workloads that have runs, all of them ended; and when each was last learned of, in us."""
        cursor = store.cursor()
        try:
            ids = incoming.table(
                {"workload_id": pa.string()}, [(text,) for text in dict.fromkeys(workload_ids)]
            )
            rows = incoming.fetch(cursor, self._sql["runs"], ids)
        finally:
            cursor.close()
        return {row[0] for row in rows if not row[1]}, {row[0]: row[2] for row in rows}

    def _look_at_events(self, cursor: duckdb.DuckDBPyConnection, roster: Roster) -> None:
        newest: int = cursor.execute(self._sql["newest_event"]).fetchall()[0][0]
        if self._event_id is None:
            now_us = round(self._clock.wall() * 1e6)
            found = cursor.execute(self._sql["handed_newest"], [self._cluster, newest, now_us]).fetchall()
        elif newest > self._event_id:
            found = cursor.execute(
                self._sql["handed_since"], [self._cluster, self._event_id, newest]
            ).fetchall()
        else:
            return
        for row in found:
            self._hear(row, roster)
        self._event_id = newest

    def _hear(self, row: tuple[Any, ...], roster: Roster) -> None:
        event_id, node, at_us, kind, text = row
        try:
            attributes = json.loads(text or "{}")
            roster.hear_handed(roster.assignments.hear(event_id, node, at_us, kind, attributes))
        except (ValueError, AttributeError, BadInput) as e:
            self._misread += 1
            if self._misread == 1:
                log.warning("what a node told of its devices is not understood and left out: %s", e)

    def _look_at_cards(self, cursor: duckdb.DuckDBPyConnection, roster: Roster) -> None:
        stamp = cursor.execute(self._sql["cards_stamp"]).fetchall()[0]
        if stamp == self._stamp:
            return
        cards = cursor.execute(self._sql["cards"], [self._cluster]).fetchall()
        parts = cursor.execute(self._sql["slices"], [self._cluster]).fetchall()
        by_node: dict[str, list[tuple[Any, ...]]] = {}
        node_of = {}
        for row in cards:
            node_of[row[0]] = row[1]
            by_node.setdefault(row[1], []).append(row)
        for row in parts:
            by_node.setdefault(node_of[row[1]], []).append(row)
        changed = {n for n in by_node.keys() | self._by_node.keys() if by_node.get(n) != self._by_node.get(n)}
        if changed:
            roster.use_cards(Cards.from_rows(cards, parts), changed)
        self._by_node, self._stamp = by_node, stamp
