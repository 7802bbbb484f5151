"""The parts of ``serve`` that tell: one that looks for news every second, and one for each target.

A target that hangs or refuses stops neither the others nor the news. Not here: what they do (sources.py, outbox.py).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from ullage_collector.audit import naive_utc
from ullage_collector.config import Config
from ullage_collector.notify import outbox, sources
from ullage_collector.notify.alerts import alerts_of, tell
from ullage_collector.notify.senders import SENDERS
from ullage_collector.notify.settings import Target, targets_of
from ullage_collector.sql import statements
from ullage_contract.errors import ConfigError
from ullage_contract.http_post import NotTold

if TYPE_CHECKING:
    from ullage_collector.store.store import Store

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = (
    1.0  # our choice: because an incident is there within a second, and a look is five small queries
)
PRUNE_SECONDS: Final = 3600.0


class Notifier:
    """All targets over one store. store: the open store now; it may be opened anew meanwhile."""

    def __init__(self, store: Callable[[], Store], targets: tuple[Target, ...]) -> None:
        self._store = store
        self.targets = targets
        self.boxes = {target.name: outbox.Outbox(store, target, SENDERS[target.kind]) for target in targets}
        self._woken = {target.name: threading.Event() for target in targets}
        self._pruned_at = float("-inf")

    def parts(self) -> Iterator[tuple[str, Callable[[threading.Event], None]]]:
        """Name and body of each part; none where nobody is to be told."""
        if not self.targets:
            return
        yield "notify-news", self._look
        for target in self.targets:
            yield f"notify-{target.name}", self._sending(target)

    def look(self) -> bool:
        """One look for news; whether there is more."""
        store = self._store()
        cursor = store.cursor()
        try:
            found = sources.look(cursor, store.clock.wall())
        finally:
            cursor.close()
        if found.seen:
            with store.write() as writer:
                sources.keep(writer, found)
                outbox.put(writer, self.targets, found.news, store.clock.wall())
            if found.news:
                self.wake()
        return found.more

    def wake(self) -> None:
        """Let every target look at its messages."""
        for event in self._woken.values():
            event.set()

    def _look(self, stop: threading.Event) -> None:
        while not stop.is_set():
            if not self.look():
                self._prune()
                stop.wait(LOOK_SECONDS)

    def _prune(self) -> None:
        store = self._store()
        if store.clock.monotonic() - self._pruned_at < PRUNE_SECONDS:
            return
        self._pruned_at = store.clock.monotonic()
        with store.write() as writer:
            writer.execute(
                statements("notices")["prune"], [naive_utc(store.clock.wall() - outbox.KEEP_SECONDS)]
            )

    def _sending(self, target: Target) -> Callable[[threading.Event], None]:
        def run(stop: threading.Event) -> None:
            box, woken = self.boxes[target.name], self._woken[target.name]
            box.recover()
            repeated_at = float("-inf")
            while not stop.is_set():
                wait = box.step()
                if target.kind == "alertmanager":
                    now = self._store().clock.monotonic()
                    if now - repeated_at >= target.repeat_seconds:
                        repeated_at = now
                        self.repeat(target)
                    wait = min(wait, target.repeat_seconds)
                _wait(stop, woken, wait)

        return run

    def repeat(self, target: Target) -> int:
        """Tell an Alertmanager again what stands, so that it neither forgets nor ends it; how many alerts."""
        store = self._store()
        cursor = store.cursor()
        try:
            news = [item for item in sources.standing(cursor) if target.wants(item)]
        finally:
            cursor.close()
        if not news:
            return 0
        try:
            tell(target, alerts_of(target, news, store.clock.wall()))
        except (NotTold, ConfigError) as e:
            log.warning("notify %s: what stands could not be told again: %s", target.name, e)
            return 0
        return len(news)


def from_config(config: Config, store: Callable[[], Store]) -> Notifier:
    """The notifier of collector.toml. Raises ConfigError for a wrong [[notify]]."""
    return Notifier(store, targets_of(config.part("notify"), str(config.path or "collector.toml")))


def _wait(stop: threading.Event, woken: threading.Event, seconds: float) -> None:
    """Until woken or stopped, or the time is over: looks every quarter second whether to stop."""
    left = seconds
    while left > 0 and not stop.is_set() and not woken.wait(min(left, 0.25)):
        left -= 0.25
    woken.clear()


def exposition(store: Store, notifier: Notifier) -> str:
    """Lines for /metrics; nothing where nobody is to be told."""
    if not notifier.targets:
        return ""
    try:
        cursor = store.cursor()
        try:
            rows: list[tuple[Any, ...]] = cursor.execute(statements("notices")["counts"]).fetchall()
        finally:
            cursor.close()
    except Exception:
        log.exception("the notices could not be read for /metrics")
        return ""
    now = store.clock.wall()
    waiting = {t.name: 0 for t in notifier.targets}
    dead = dict(waiting)
    oldest = {t.name: 0.0 for t in notifier.targets}
    for name, state, count, since, _ in rows:
        if name not in waiting:
            continue
        if state in ("gathering", "waiting", "sending"):
            waiting[name] += count
            age = (naive_utc(now) - since).total_seconds()
            oldest[name] = max(oldest[name], age)
        elif state == "dead":
            dead[name] = count
    lines = []
    boxes = notifier.boxes
    for metric, kind, meaning, values in (
        (
            "ullage_notices_sent_total",
            "counter",
            "messages a target took",
            {n: b.counts.told for n, b in boxes.items()},
        ),
        (
            "ullage_notices_failed_total",
            "counter",
            "attempts that failed; they are tried again",
            {n: b.counts.failed for n, b in boxes.items()},
        ),
        ("ullage_notices_waiting", "gauge", "messages that wait", waiting),
        ("ullage_notices_oldest_seconds", "gauge", "age of the oldest that waits, 0: none does", oldest),
        ("ullage_notices_dead", "gauge", "messages given up in the last 30 days", dead),
    ):
        lines += [f"# HELP {metric} {meaning}", f"# TYPE {metric} {kind}"]
        lines += [f'{metric}{{target="{_escaped(name)}"}} {value}' for name, value in values.items()]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
