"""One thread a maker or source, so that a slow one keeps nobody waiting.

The sampler starts all, waits as long as a tick may last, and takes what is there; who is not done
goes on, is not asked again before it is, and delivers into the next tick.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

from ullage_agent.children.dialogue import Item
from ullage_agent.source import Source, SourceReport
from ullage_contract.catalogue import Tier
from ullage_contract.clock import Clock
from ullage_contract.event import Event
from ullage_contract.sample import Facts, Family, Origin

log = logging.getLogger(__name__)
Deliver = Callable[[Item], None]
OnEvent = Callable[[str, Origin, Event], None]


class Asked(Protocol):
    """What a worker asks: a Supervisor, or a Source behind ``InProcess``."""

    name: str

    def tick(self, tier: Tier, deliver: Deliver, *, facts: bool = False) -> SourceReport:
        """Read once, deliver as it comes. Never raises."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Delivered:
    """An item with the instant it came, and the run (tick) it was asked in."""

    item: Item
    run: int
    wall: float
    monotonic: float


@dataclass(frozen=True, slots=True)
class Taken:
    """items: readings. facts: as they came. listed: every subject of a complete list of facts, else None."""

    items: list[Delivered]
    facts: list[Facts]
    listed: set[tuple[Family, str]] | None
    report: SourceReport


class InProcess:
    """A Source as a worker asks it."""

    def __init__(self, source: Source) -> None:
        self.name = source.name
        self._source = source
        self._one_at_a_time = threading.Lock()

    def tick(self, tier: Tier, deliver: Deliver, *, facts: bool = False) -> SourceReport:
        started = monotonic()
        message: str | None = None
        with self._one_at_a_time:
            try:
                if facts:
                    for fact in self._source.facts():
                        deliver(fact)
                for reading in self._source.read(tier):
                    deliver(reading)
                for event in self._source.events():
                    deliver(event)
            except Exception as e:  # whatever it is, it is this source's alone
                message = f"{type(e).__name__}: {e}"[:300]
        return SourceReport(self.name, message is None, monotonic() - started, message)

    def pump(self, deliver: Callable[[Event], None]) -> None:
        """Only the events, now: its file became readable."""
        with self._one_at_a_time:
            for event in self._source.events():
                deliver(event)

    def close(self) -> None:
        close = getattr(self._source, "close", None)
        if close is not None:
            close()


class Worker:
    """Runs one Asked in a thread of its own. ``start``, ``wait`` and ``take`` are the sampler's thread's."""

    def __init__(self, asked: Asked, clock: Clock, origin: Origin, on_event: OnEvent) -> None:
        self.asked = asked
        self.name = asked.name
        self.origin = origin
        self._clock = clock
        self._on_event = on_event
        self._changed = threading.Condition()
        self._job: tuple[int, Tier, bool] | None = None
        self._busy = False
        self._stopping = False
        self._owed_slow = False
        self._owed_facts = False
        self._started_at = 0.0
        self._items: list[Delivered] = []
        self._facts: list[Facts] = []
        self._listed: set[tuple[Family, str]] | None = None
        self._report: SourceReport | None = None
        self._thread = threading.Thread(target=self._run, name=f"ullage-{self.name}", daemon=True)
        self._thread.start()

    def start(self, run: int, tier: Tier, facts: bool) -> None:
        """Ask for a tick. While the last one is still running it is only remembered what is owed."""
        with self._changed:
            self._owed_slow |= tier is Tier.SLOW
            self._owed_facts |= facts
            if self._busy:
                return
            self._job = (run, Tier.SLOW if self._owed_slow else Tier.FAST, self._owed_facts)
            self._owed_slow = self._owed_facts = False
            self._busy = True
            self._report = None
            self._started_at = monotonic()
            self._changed.notify_all()

    def wait(self, until: float) -> bool:
        """Wait for the tick's end, at most until real monotonic ``until``. True when it is done."""
        with self._changed:
            while self._busy:
                left = until - monotonic()
                if left <= 0:
                    return False
                self._changed.wait(left)
            return True

    def take(self) -> Taken:
        """What came since the last take."""
        with self._changed:
            items, self._items = self._items, []
            facts, self._facts = self._facts, []
            listed, self._listed = self._listed, None
            report = self._report
        if report is None:
            seconds = monotonic() - self._started_at
            report = SourceReport(
                name=self.name,
                success=False,
                duration_seconds=seconds,
                message=f"still reading after {seconds:.1f} s",
                children=getattr(self.asked, "children", None),
                stuck_children=getattr(self.asked, "stuck", None),
            )
        return Taken(items, facts, listed, report)

    def pump(self) -> None:
        """Ask only for events, from whatever thread."""
        if isinstance(self.asked, InProcess):
            self.asked.pump(self._event)

    def close(self, patience_seconds: float = 5.0) -> None:
        """Stop the thread and close what it asked. A thread that hangs is left behind (it is a daemon)."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join(patience_seconds)
        if self._thread.is_alive():
            log.warning("%s: still busy at the end, left behind", self.name)
            return
        try:
            self.asked.close()
        except Exception:
            log.exception("%s: did not close cleanly", self.name)

    def _run(self) -> None:
        while True:
            with self._changed:
                while self._job is None and not self._stopping:
                    self._changed.wait()
                if self._job is None:
                    return
                (run, tier, want_facts), self._job = self._job, None
            listed: set[tuple[Family, str]] = set()

            def deliver(item: Item, run: int = run, listed: set[tuple[Family, str]] = listed) -> None:
                if isinstance(item, Event):
                    self._event(item)
                    return
                if isinstance(item, Facts):
                    listed.add((item.family, item.subject))
                    with self._changed:
                        self._facts.append(item)
                    return
                stamped = Delivered(item, run, self._clock.wall(), self._clock.monotonic())
                with self._changed:
                    self._items.append(stamped)

            try:
                report = self.asked.tick(tier, deliver, facts=want_facts)
            except Exception as e:
                log.exception("%s: BUG: its tick raised", self.name)
                report = SourceReport(self.name, False, monotonic() - self._started_at, f"BUG: {e}"[:300])
            with self._changed:
                # a reader may also give facts while it reads (a new process): only what was asked is a list
                if want_facts and report.success:
                    self._listed = listed
                self._report = report
                self._busy = False
                self._changed.notify_all()

    def _event(self, event: Event) -> None:
        self._on_event(self.name, self.origin, event)
