"""The outbox: news gathered into messages, each sent until it is told or given up, through crashes.

A message's row says ``sending`` before it goes out. After a crash nobody knows whether it arrived: it is sent again with
the same key (a receiver that keeps keys takes it once) and marked as a possible repeat for those that do not; with
``again = false`` it becomes a dead letter instead. Not here: how it is sent (senders) and what becomes news (sources).
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Final

from ullage_collector.audit import naive_utc
from ullage_collector.notify.message import Message, Sender
from ullage_collector.notify.news import News, from_json
from ullage_collector.notify.settings import Target
from ullage_collector.sql import statements
from ullage_contract.errors import ConfigError
from ullage_contract.http_post import NotTold

if TYPE_CHECKING:
    import duckdb

    from ullage_collector.store.store import Store

log = logging.getLogger(__name__)

MOST_NEWS: Final = 200  # our choice: because nobody reads more in one message, and it is one row
FIRST_PAUSE_SECONDS: Final = 5.0
LONGEST_PAUSE_SECONDS: Final = (
    900.0  # our choice: because a service that was down for hours is heard again within minutes
)
FINAL_TRIES: Final = 3
"""our choice: a receiver that refuses the message itself is asked three times, in case it was wrong about that."""
KEEP_SECONDS: Final = 30 * 86_400.0  # our choice: because a month later nobody asks whether somebody was told
LEAST_WAIT_SECONDS: Final = 0.5  # our choice: because a look costs a query, and nobody reads faster
_WINDOW_SECONDS: Final = 60.0


def put(
    cursor: duckdb.DuckDBPyConnection, targets: Sequence[Target], news: Sequence[News], now: float
) -> int:
    """Put news into the messages of everybody who wants them; how many were put. cursor: inside a write.

    A group takes news for its ``gather_seconds`` from the first one on; then a new message begins.
    """
    sql = statements("notices")
    count = 0
    for target in targets:
        for item in news:
            if not target.wants(item):
                continue
            count += 1
            group = target.group_key(item)
            found = cursor.execute(sql["gathering"], [target.name, group, naive_utc(now)]).fetchone()
            if found is not None and len(json.loads(found[1])) < MOST_NEWS:
                kept = [*json.loads(found[1]), item.to_json()]
                cursor.execute(sql["add_news"], [json.dumps(kept, ensure_ascii=False), found[2], found[0]])
                continue
            (number,) = cursor.execute(sql["next_notice"]).fetchone() or (1,)
            cursor.execute(
                sql["insert_notice"],
                [
                    number,
                    target.name,
                    f"{target.name}/{item.key}",
                    group,
                    "gathering",
                    naive_utc(now),
                    naive_utc(target.due_at(item, now)),
                    json.dumps([item.to_json()], ensure_ascii=False),
                ],
            )
    return count


@dataclass(slots=True)
class Counts:
    """Since the start: messages told, attempts that failed, messages given up."""

    told: int = 0
    failed: int = 0
    dead: int = 0


class Outbox:
    """One target's messages. ``step`` is called by one thread.

    store: the open store now. send: how; spread: a number 0..1 for the jitter of pauses.
    """

    def __init__(
        self,
        store: Callable[[], Store],
        target: Target,
        send: Sender,
        *,
        spread: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._target = target
        self._send = send
        self._spread = spread
        self._quiet_until = float("-inf")  # monotonic: the receiver as a whole is left alone until then
        self._failures = 0
        self._told_problem: str | None = None
        self.counts = Counts()

    def recover(self) -> int:
        """Take up what a crash cut off; how many messages are in doubt."""
        sql, store = statements("notices"), self._store()
        with store.write() as cursor:
            rows = cursor.execute(sql["in_doubt"], [self._target.name]).fetchall()
            for (number,) in rows:
                if self._target.again:
                    cursor.execute(sql["doubt"], ["the collector stopped while it was being sent", number])
                else:
                    cursor.execute(
                        sql["give_up"],
                        ["the collector stopped while it was being sent; again = false", number],
                    )
        if rows:
            log.warning(
                "notify %s: %d messages may have been sent before a stop", self._target.name, len(rows)
            )
        return len(rows)

    def step(self) -> float:
        """Send what is due; seconds until there can be something to do (at most a minute). Never raises for a receiver."""
        store = self._store()
        while True:
            pause = self._quiet_until - store.clock.monotonic()
            if pause > 0:
                return min(pause, _WINDOW_SECONDS)
            taken = self._take(store)
            if taken is None:
                return self._wait(store)
            number, message, born, tried = taken
            self._tell(store, number, message, born, tried)

    def _take(self, store: Store) -> tuple[int, Message, float, int] | None:
        """The next message, marked as being sent; None: nothing is due, or no more may go this minute."""
        sql, now = statements("notices"), store.clock.wall()
        if not self._is_due(store, now):
            return None
        with store.write() as cursor:
            sent = cursor.execute(
                sql["sent_since"], [self._target.name, naive_utc(now - _WINDOW_SECONDS), naive_utc(now)]
            ).fetchone()
            room = self._target.per_minute - (int(sent[0]) if sent else 0)
            if room <= 0:
                return None
            rows = cursor.execute(sql["due"], [self._target.name, naive_utc(now), MOST_NEWS]).fetchall()
            if not rows:
                return None
            number, key, _, created, tried, text, doubtful = rows[0]
            news = json.loads(text)
            if room == 1 and len(rows) > 1 and not tried:
                news = self._merge(cursor, int(number), news, rows[1:])
            cursor.execute(sql["begin"], [naive_utc(now), number])
        message = Message(str(key), [from_json(item) for item in news], now, bool(doubtful))
        return int(number), message, created.replace(tzinfo=UTC).timestamp(), int(tried)

    def _merge(
        self,
        cursor: duckdb.DuckDBPyConnection,
        number: int,
        news: list[object],
        rows: Sequence[tuple[object, ...]],
    ) -> list[object]:
        """The last message of this minute carries what else is due and was not tried yet."""
        sql = statements("notices")
        for other, _, _, _, tried, text, doubtful in rows:
            more = json.loads(str(text))
            if tried or doubtful or len(news) + len(more) > MOST_NEWS:
                continue
            news = [*news, *more]
            cursor.execute(sql["merged"], [f"told with {number}", other])
        cursor.execute(sql["merge_into"], [json.dumps(news, ensure_ascii=False), number])
        return news

    def _tell(self, store: Store, number: int, message: Message, born: float, tried: int) -> None:
        sql, name = statements("notices"), self._target.name
        try:
            note = self._send(self._target, message)
        except (NotTold, ConfigError) as e:
            self._failed(store, number, e, born, tried + 1)
            return
        except Exception as e:
            log.exception("notify %s: the sender itself failed", name)
            self._failed(store, number, NotTold(f"BUG: {type(e).__name__}"), born, tried + 1)
            return
        self._failures = 0
        self._told_problem = None
        with store.write() as cursor:
            cursor.execute(sql["told"], [naive_utc(store.clock.wall()), note, number])
        self.counts.told += 1
        if note:
            log.warning("notify %s: message %d: %s", name, number, note)

    def _failed(
        self, store: Store, number: int, error: NotTold | ConfigError, born: float, tried: int
    ) -> None:
        sql, now = statements("notices"), store.clock.wall()
        final = isinstance(error, NotTold) and error.final
        asked = error.pause_seconds if isinstance(error, NotTold) else None
        problem = str(error)[:500]
        self.counts.failed += 1
        if problem != self._told_problem:
            log.error("notify %s: %s; it is tried again", self._target.name, problem)
            self._told_problem = problem
        age = now - born
        if age >= self._target.give_up_seconds or (final and tried >= FINAL_TRIES):
            with store.write() as cursor:
                cursor.execute(sql["give_up"], [problem, number])
            self.counts.dead += 1
            log.error(
                "notify %s: message %d is given up after %d attempts: %s",
                self._target.name,
                number,
                tried,
                problem,
            )
            return
        longest = min(FIRST_PAUSE_SECONDS * 2 ** min(tried - 1, 20), LONGEST_PAUSE_SECONDS)
        pause = max(asked or 0.0, longest * (0.5 + self._spread() / 2))
        with store.write() as cursor:
            cursor.execute(sql["again"], [naive_utc(now + pause), problem, number])
        if not final:  # the receiver, not the message: leave it alone altogether
            self._failures += 1
            whole = min(FIRST_PAUSE_SECONDS * 2 ** min(self._failures - 1, 20), LONGEST_PAUSE_SECONDS)
            rest = max(asked or 0.0, whole * (0.5 + self._spread() / 2))
            self._quiet_until = store.clock.monotonic() + rest

    def _is_due(self, store: Store, now: float) -> bool:
        cursor = store.cursor()
        try:
            row = cursor.execute(statements("notices")["next_due"], [self._target.name]).fetchone()
        finally:
            cursor.close()
        return row is not None and row[0] is not None and row[0] <= naive_utc(now)

    def _wait(self, store: Store) -> float:
        cursor = store.cursor()
        try:
            row = cursor.execute(statements("notices")["next_due"], [self._target.name]).fetchone()
        finally:
            cursor.close()
        if row is None or row[0] is None:
            return _WINDOW_SECONDS
        ahead: float = row[0].replace(tzinfo=UTC).timestamp() - store.clock.wall()
        return min(max(ahead, LEAST_WAIT_SECONDS), _WINDOW_SECONDS)
