"""The part of ``serve`` that looks every some seconds for cards used without allocation and keeps the findings.

A card whose processes were not listed lately is not judged: its findings stay as they are, and none is opened.
Not here: the judgement (unallocated_use.py).
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from ullage_collector.allocation.heard import Heard
from ullage_collector.config import Config
from ullage_collector.detect.card_cost import with_cost
from ullage_collector.detect.findings import Kept, keep
from ullage_collector.detect.unallocated_use import KIND, Allocated, OnCard, find, rules_of
from ullage_collector.sql import statements
from ullage_collector.states import rules_of as states_rules

if TYPE_CHECKING:
    import duckdb

    from ullage_collector.store.store import Store

log = logging.getLogger(__name__)

EVERY_SECONDS: Final = 20.0
"""our choice: agents list processes once a minute and push within half a one; with 20 s a process is found within two
minutes of its start."""
ASK_AGAIN_US: Final = 600_000_000
"""our choice: a process nobody told of is looked for in the whole history once in ten minutes, as that is a scan."""
_OVERLAP_US: Final = 60_000_000  # rows received a moment ago may be committed after younger ones

Facts = Mapping[str, Any]


class ProcessBook:
    """What was last told of each process that is on a card now. One thread's alone."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[int, dict[str, Any]]] = {}
        self._through_us: int | None = None
        self._asked_us: dict[str, int] = {}

    def of(
        self, cursor: duckdb.DuckDBPyConnection, subjects: Iterable[str], now_us: int
    ) -> Mapping[str, Facts]:
        """Facts by ``card_id#pid``; a process nobody told of is left out."""
        sql = statements("unallocated_use")
        wanted = set(subjects)
        self._told = {subject: told for subject, told in self._told.items() if subject in wanted}
        if self._through_us is not None:
            since = self._through_us - _OVERLAP_US
            self._take(cursor.execute(sql["told"], {"from_us": since}).fetchall(), wanted)
        unknown = sorted(
            subject
            for subject in wanted - self._told.keys()
            if now_us - self._asked_us.get(subject, -ASK_AGAIN_US) >= ASK_AGAIN_US
        )
        if unknown:
            self._take(cursor.execute(sql["told_of"], {"subjects": unknown}).fetchall(), wanted)
        self._asked_us = {s: at for s, at in self._asked_us.items() if s in wanted}
        self._asked_us.update(dict.fromkeys((s for s in unknown if s not in self._told), now_us))
        self._through_us = max(self._through_us or 0, now_us)
        return {subject: facts for subject, (_, facts) in self._told.items()}

    def _take(self, rows: Iterable[tuple[str, str, str | None, int, int]], wanted: set[str]) -> None:
        """The newest telling of each process; what was told together holds together."""
        for subject, name, value, valid_us, _ in rows:
            if subject not in wanted:
                continue
            at, facts = self._told.get(subject, (-1, {}))
            if valid_us < at:
                continue
            if valid_us > at:
                facts = {}
            facts[name] = None if value is None else json.loads(value)
            self._told[subject] = (valid_us, facts)


class UnallocatedWatch:
    """One round after another on the store. Raises ConfigError at once when a setting is wrong.

    store: the open store now; it may be opened anew meanwhile.
    """

    def __init__(self, store: Callable[[], Store], config: Config, heard: Heard | None = None) -> None:
        """heard: when schedulers last answered."""
        self._store = store
        self._heard = heard
        self._rules = rules_of(config.part("allocation"))
        self._life = states_rules(config.part("states")).life
        self._book = ProcessBook()

    def run(self, stop: threading.Event) -> None:
        """Rounds until stopped."""
        while not stop.wait(EVERY_SECONDS):
            kept = self.round()
            if kept.opened or kept.ended:
                log.info(
                    "cards used without allocation: %d found, %d ended, %d are open",
                    kept.opened,
                    kept.ended,
                    kept.open,
                )

    def round(self) -> Kept:
        """Look once and keep the findings. Raises what the store raises; then nothing is changed."""
        store = self._store()
        now_us = round(store.clock.wall() * 1e6)
        cursor = store.cursor()
        try:
            processes, judged = self._processes(cursor, now_us)
            allocations = self._allocations(cursor, processes)
            rows = cursor.execute(statements("unallocated_use")["open_subjects"], [KIND]).fetchall()
            judgeable = [process for process in processes if process.card_id in judged]
            heard = self._heard.last if self._heard is not None else None
            found, young = find(judgeable, allocations, self._rules, now_us, heard)
            found = with_cost(cursor, found, self._life, now_us)
        finally:
            cursor.close()
        standing = {subject for (subject,) in rows}
        if not found and not standing:
            return Kept(0, 0, 0)
        unjudged = (standing - judged) | young
        with store.write() as writer:
            return keep(writer, [KIND], found, now_us, unjudged=unjudged)

    def _processes(self, cursor: duckdb.DuckDBPyConnection, now_us: int) -> tuple[list[OnCard], set[str]]:
        """Processes seen lately, and the cards whose list of processes is known."""
        sql = statements("unallocated_use")
        since = {"from_us": now_us - self._rules.seen_us}
        rows = cursor.execute(sql["seen"], since).fetchall()
        listed = {row[0] for row in rows}
        judged = {
            card
            for card, count in cursor.execute(sql["looked_at"], since).fetchall()
            # a count without a list: the node does not tell its processes
            if not count or card in listed
        }
        facts = self._book.of(cursor, (f"{card}#{pid}" for card, pid, *_ in rows), now_us)
        return [_on_card(row, facts.get(f"{row[0]}#{row[1]}", {})) for row in rows], judged | listed

    def _allocations(self, cursor: duckdb.DuckDBPyConnection, processes: list[OnCard]) -> list[Allocated]:
        if not processes:
            return []
        oldest = min(process.seen_us for process in processes)
        return [
            Allocated(*row)
            for row in cursor.execute(
                statements("unallocated_use")["allocated"],
                {
                    "from_us": oldest - self._rules.leaving_us,
                    "cards": sorted({process.card_id for process in processes}),
                    "nodes": sorted({process.node for process in processes}),
                },
            ).fetchall()
        ]


def _on_card(row: tuple[str, int, str, str, int, int], facts: Facts) -> OnCard:
    def text(name: str) -> str | None:
        value = facts.get(name)
        return value[:200] if isinstance(value, str) and value else None

    started = facts.get("started_at")
    return OnCard(
        *row,
        command=text("command"),
        user=text("user"),
        started_us=round(started * 1e6) if isinstance(started, int | float) and started > 0 else None,
        holder_kind=text("holder_kind"),
        holder_id=text("holder_id"),
    )
