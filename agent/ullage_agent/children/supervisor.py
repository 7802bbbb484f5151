"""The parent's side of one maker: keeps a child, asks it, and outlives whatever happens to it.

* A call that does not return within its deadline: (card, call) is noted, the child ended, the next
  started with a skip list, and the same question asked again at once; what was delivered before is
  kept, so every other card and metric keeps coming.
* A child that cannot be killed (D state) is left and counted, and at most one more is started.
* A crash, garbage on the pipe or a flood is this maker's trouble alone: told once, then restarted
  with a growing pause. A crash inside a marked call is skipped like a hang.

Used from one thread (the sampler gives every maker its own); ``children`` and ``stuck`` may be read
from any.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Final

from ullage_agent.backend import Backend, Host, Reading
from ullage_agent.children import dialogue
from ullage_agent.children.process import ChildProcess, Died, Failed, Kill, Overrun, kill_group
from ullage_agent.children.roll_call import RollCall
from ullage_agent.children.skiplist import SkipList
from ullage_agent.source import SourceReport
from ullage_contract.catalogue import Tier
from ullage_contract.clock import Clock
from ullage_contract.errors import BadInput, Broken, UllageError
from ullage_contract.event import Event, Severity
from ullage_contract.sample import Facts, Family

log = logging.getLogger(__name__)
Deliver = Callable[[dialogue.Item], None]

MOST_STUCK: Final = 2  # one stuck and the one more that is started; if that sticks too, we wait
PAUSE_FIRST_SECONDS: Final = (
    5.0  # our choice: the second crash in a row waits a tick, so that a tick never loops
)
PAUSE_LONGEST_SECONDS: Final = 300.0  # our choice: because a repaired driver should be seen within minutes
FORGIVEN_AFTER_SECONDS: Final = 600.0  # our choice: a child that lived so long was a good one
CHILD_MEMORY_BYTES: Final = (
    256 * 1024 * 1024
)  # our choice: a leaking library is started anew, before the unit's limit
MOST_TROUBLES_A_TICK: Final = (
    12  # our choice: because 3 hung calls widen a skip, this ends any chain of surprises
)


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Real seconds. call: one marked call of read or events. start: opening the library. facts: one call of facts."""

    call: float = 2.0
    start: float = 20.0

    @property
    def facts(self) -> float:
        # our choice: because the first look at a card without persistence mode takes seconds
        return max(self.call, self.start / 4)


class Supervisor:
    """One maker's child, kept alive. kill and environment are arguments for tests."""

    def __init__(
        self,
        backend: Backend,
        host: Host,
        clock: Clock,
        *,
        deadlines: Deadlines | None = None,
        kill: Kill = kill_group,
        environment: Mapping[str, str] | None = None,
        stopwatch: Callable[[], float] = monotonic,
    ) -> None:
        if backend.reader is None:
            raise UllageError(f"backend {backend.name} has no reader: it only decodes recorded outputs")
        self.name = backend.name
        self._reader: str = backend.reader
        self._backend = backend
        self._host = host
        self._clock = clock
        self._deadlines = deadlines or Deadlines()
        self._kill = kill
        self._environment = environment
        self._stopwatch = stopwatch
        self._child: ChildProcess | None = None
        self._born = 0.0
        self._stuck: list[ChildProcess] = []
        self._skip = SkipList()
        self._failures = 0
        self._not_before = 0.0
        self._told_failed = False
        self._last_trouble: str | None = None
        self._started = 0
        self._fresh = False
        self._facts_due = False
        self._cards = RollCall()

    @property
    def children(self) -> int:
        """Living child processes, the stuck ones included."""
        return self.stuck + (1 if self._child is not None and self._child.alive else 0)

    @property
    def stuck(self) -> int:
        """Children that could not be killed and are still there."""
        return sum(1 for child in self._stuck if child.alive)

    @property
    def started(self) -> int:
        """Children started since the beginning; the health of a maker in one number."""
        return self._started

    def pids(self) -> list[int]:
        """Of the living children, for accounting their memory."""
        every = [*self._stuck, *([self._child] if self._child is not None else [])]
        return [child.pid for child in every if child.alive]

    def tick(self, tier: Tier, deliver: Deliver, *, facts: bool = False) -> SourceReport:
        """Ask everything once. Items are delivered as they come, each subject's reading once.

        facts: ask the facts too; a fresh child is always asked for them first.
        Returns when all is answered or given up; never raises.
        """
        started = self._stopwatch()
        todo = deque(["facts", "read", "events"] if facts or self._facts_due else ["read", "events"])
        self._facts_due = False
        delivered: set[tuple[Family, str]] = set()
        trouble: str | None = None
        troubles = 0
        self._reap_stuck()
        while todo:
            if troubles >= MOST_TROUBLES_A_TICK:
                break
            try:
                child, fresh = self._ready(deliver)
                if fresh and todo[0] != "facts":
                    todo.appendleft("facts")
                ask = todo[0]
                failed = self._converse(child, ask, tier, deliver, delivered)
                todo.popleft()
                if failed is not None:
                    trouble = f"{ask}: {failed.message or failed.reason}"
            except Overrun as e:
                troubles += 1
                if e.mark is None:
                    trouble = f"the reader was silent: {e}"
                    self._end_child()
                    self._count_failure(trouble, deliver)
                else:
                    self._hung(e.mark.card, e.mark.call, deliver)
            except Died as e:
                troubles += 1
                self._end_child()
                if e.mark is None or self._skipped(e.mark.card, e.mark.call):
                    trouble = f"its child {e}"
                    self._count_failure(trouble, deliver)
                else:
                    self._crashed(e, e.mark.card, e.mark.call, deliver)
            except BadInput as e:
                troubles += 1
                trouble = str(e)
                self._end_child()
                self._count_failure(trouble, deliver)
            except _NotNow as e:
                trouble = str(e)
                break
        if todo and trouble is None:
            trouble = f"{troubles} hangs and crashes in one tick; the rest is asked in the next"
        failed_as = Broken.reason if trouble is not None or todo else None
        for reading in self._cards.missing(delivered, self._skip, failed_as):
            deliver(reading)
        if not todo and trouble is None:
            self._worked(deliver)
        elif trouble is not None and not self._told_failed:
            self._tell_failed(trouble, deliver)
        if tier is Tier.SLOW:
            self._check_memory()
        return SourceReport(
            name=self.name,
            success=not todo and trouble is None,
            duration_seconds=self._stopwatch() - started,
            message=trouble,
            children=self.children,
            stuck_children=self.stuck,
        )

    def close(self) -> None:
        """End the child, gently first. Stuck ones are tried once more and left."""
        if self._child is not None:
            self._child.end(gently=True)
            self._child = None
        for child in self._stuck:
            child.end()
        self._reap_stuck()

    def _ready(self, deliver: Deliver) -> tuple[ChildProcess, bool]:
        """The child to ask, and whether it is fresh. Raises _NotNow, Overrun, Died, BadInput."""
        if self._child is not None:
            return self._child, False
        now = self._clock.monotonic()
        if self.stuck >= MOST_STUCK:
            raise _NotNow(
                f"{self.stuck} children cannot be killed (the driver holds them); no more are started "
                "until one ends; a reboot of the node may be needed"
            )
        if now < self._not_before:
            raise _NotNow(f"{self._last_trouble}; tried again in {self._not_before - now:.0f} s")
        self._born = now
        try:
            child = ChildProcess(
                self.name,
                self._reader,
                self._host,
                self._skip.skipped(now),
                kill=self._kill,
                environment=self._environment,
                stopwatch=self._stopwatch,
            )
        except OSError as e:
            self._count_failure(f"no child could be started: {e}", deliver)
            raise _NotNow(f"no child could be started: {e}") from e
        self._child = child
        self._fresh = True
        self._started += 1
        for answer in child.listen(0, self._deadlines.start):
            if isinstance(answer, Failed):
                self._show(answer)
                self._end_child()
                text = f"its reader could not be opened: {answer.message or answer.reason}"
                self._count_failure(text, deliver)
                raise _NotNow(text)
        return child, True

    def _converse(
        self,
        child: ChildProcess,
        ask: str,
        tier: Tier,
        deliver: Deliver,
        delivered: set[tuple[Family, str]],
    ) -> Failed | None:
        now = self._clock.monotonic()
        number = child.ask(ask, tier.value, self._skip.skipped(now), self._skip.watched(now))
        listed: set[str] = set()
        seconds = self._deadlines.facts if ask == "facts" else self._deadlines.call
        for answer in child.listen(number, seconds):
            if isinstance(answer, Failed):
                self._show(answer)
                return answer
            if recovered := answer.get("recovered"):
                card, call = map(str, recovered)
                if self._skip.returned(card, call):
                    log.info("%s: %s of %s returns again", self.name, call, card or "the library")
                continue
            if text := answer.get("unsendable"):
                log.warning("%s: an answer was left out: %s", self.name, text)
                continue
            item = dialogue.item_of(answer)
            if isinstance(item, Reading):
                key = (item.family, item.subject)
                if key in delivered:  # asked again after a hang: the first answer of this tick stands
                    continue
                delivered.add(key)
            elif isinstance(item, Facts) and item.family is Family.CARD:
                listed.add(item.subject)
                self._cards.name(item.subject)
            elif isinstance(item, Event):
                if self._fresh and self._cards.was_told(item, now):
                    continue  # a fresh reader finds its predecessor's troubles anew
                self._tell(item, deliver)
                continue
            if item is not None:
                deliver(item)
        if ask == "facts":
            self._learn(listed, deliver)
        if ask == "events":
            self._fresh = False
        return None

    def _show(self, failed: Failed) -> None:
        if failed.traceback is not None:
            log.debug("%s: its reader raised:\n%s", self.name, failed.traceback.rstrip())

    def _learn(self, listed: set[str], deliver: Deliver) -> None:
        lost, back = self._cards.learn(listed, self._skip, fresh=self._fresh)
        for card in lost:
            text = "it is not listed any more since its reader was started anew"
            self._tell(self._event("card_lost", Severity.FATAL, text, card), deliver)
        for card in back:
            self._tell(self._event("card_back", Severity.INFO, "it is listed again", card), deliver)

    def _tell(self, event: Event, deliver: Deliver) -> None:
        self._cards.tell(event, self._clock.monotonic())
        # what a card that is back can do must be learnt anew; one that is lost may have moved the others
        self._facts_due |= event.kind in ("card_back", "card_lost")
        deliver(event)

    def _hung(self, card: str, call: str, deliver: Deliver) -> None:
        entry = self._skip.note(card, call, self._clock.monotonic())
        ended = self._end_child()
        if not ended:
            self._skip.pin(card, call)
        wait = entry.until - self._clock.monotonic()
        text = (
            f"{call} of {card or 'the library'} did not return within its deadline; skipped for {wait:.0f} s"
        )
        if not ended:
            text += "; its child cannot be killed"
        log.warning("%s: %s", self.name, text)
        deliver(
            self._event(
                "call_hung", Severity.WARNING, text, card, call=call, times=entry.times, stuck=not ended
            )
        )

    def _crashed(self, died: Died, card: str, call: str, deliver: Deliver) -> None:
        self._skip.note(card, call, self._clock.monotonic(), Broken.reason)
        text = f"its child {died}; the call is skipped for a while"
        self._last_trouble = text
        if self._told_failed:
            log.warning("%s: %s", self.name, text)
        else:
            self._tell_failed(text, deliver, card)

    def _skipped(self, card: str, call: str) -> bool:
        """It is on the list and yet was called: the reader goes round ``Call``'s refusal."""
        skipped = self._skip.skipped(self._clock.monotonic())
        return any(c in (card, "*") and n in (call, "*") for c, n, _ in skipped)

    def _count_failure(self, text: str, deliver: Deliver) -> None:
        if self._clock.monotonic() - self._born >= FORGIVEN_AFTER_SECONDS:
            self._failures = 0
        self._failures += 1
        pause = 0.0
        if self._failures > 1:
            pause = min(PAUSE_FIRST_SECONDS * 2.0 ** (self._failures - 2), PAUSE_LONGEST_SECONDS)
        self._not_before = self._clock.monotonic() + pause
        self._last_trouble = text
        if not self._told_failed:
            self._tell_failed(text, deliver)

    def _tell_failed(self, text: str, deliver: Deliver, card: str = "") -> None:
        self._told_failed = True
        log.warning("%s: %s", self.name, text)
        deliver(self._event("backend_failed", Severity.WARNING, text, card))

    def _worked(self, deliver: Deliver) -> None:
        if self._told_failed:
            self._told_failed = False
            log.info("%s: works again", self.name)
            deliver(self._event("backend_back", Severity.INFO, "the reader answers again"))

    def _end_child(self) -> bool:
        child, self._child = self._child, None
        if child is None:
            return True
        ended = child.end()
        if not ended:
            self._stuck.append(child)
            log.error(
                "%s: child %s cannot be killed; it is left, %s in all", self.name, child.pid, self.stuck
            )
        return ended

    def _reap_stuck(self) -> None:
        left = [child for child in self._stuck if child.alive]
        if len(left) < len(self._stuck):
            log.info("%s: a stuck child has ended, %s left", self.name, len(left))
        self._stuck = left
        if not left:
            self._skip.unpin()

    def _check_memory(self) -> None:
        child = self._child
        if child is None:
            return
        used = child.resident_bytes()
        if used is not None and used > CHILD_MEMORY_BYTES:
            log.warning("%s: child %s holds %s MiB and is started anew", self.name, child.pid, used >> 20)
            self._child = None
            if not child.end(gently=True):
                self._stuck.append(child)

    def _event(
        self, kind: str, severity: Severity, text: str, card: str = "", **attributes: str | int
    ) -> Event:
        # before a card has said its UUID a call can only be marked by its place, which is no key
        named = self._cards.named(card)
        if card and not named:
            attributes["place"] = card
        return Event(
            time=self._clock.wall(),
            kind=kind,
            severity=severity,
            family=Family.CARD if named else Family.NODE,
            subject=card if named else self._host.node_id,
            source="agent",
            message=text[:500],
            vendor=self.name,
            attributes={k: int(v) if isinstance(v, bool) else v for k, v in attributes.items()},
        )


class _NotNow(Exception):
    """No child can be had in this tick; the text says why and until when."""
