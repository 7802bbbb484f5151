"""What may be done about a case now: the modes, who opted out, maintenance, freeze, cool-down, breaker and limits.

Remembers how many were isolated lately and whom people look after. Not here: what follows from it (policy.py),
the limits' arithmetic (limits.py).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from datetime import UTC
from typing import Final

from ullage_collector.audit import naive_utc
from ullage_collector.isolate.book import Book
from ullage_collector.isolate.breaker import Breaker
from ullage_collector.isolate.case import Case, order_of, sketch
from ullage_collector.isolate.facility import Facility
from ullage_collector.isolate.freeze import Freeze
from ullage_collector.isolate.intent import Intent, State
from ullage_collector.isolate.limits import Placed, too_many_at_once, too_many_lately
from ullage_collector.isolate.policy_settings import PolicySettings, lower
from ullage_collector.isolate.surroundings import Surroundings
from ullage_collector.isolate.verdict import Mode, Verdict

COOLING: Final = (State.FAILED, State.DENIED, State.GIVEN_BACK)
"""Ends after which a subject is left to people for a while."""


class Allowance:
    """See the module. Rates and cool-downs run on the monotonic clock, and are read from the book at the start."""

    def __init__(
        self,
        book: Book,
        freeze: Freeze,
        surroundings: Surroundings,
        settings: PolicySettings,
        breaker: Breaker,
        facility: Facility,
    ) -> None:
        self._book = book
        self._freeze = freeze
        self._surroundings = surroundings
        self._settings = settings
        self._breaker = breaker
        self._facility = facility
        self._clock = book.clock
        self._decided: deque[Placed] = deque(maxlen=100_000)
        self._called: deque[Placed] = deque(maxlen=100_000)
        self._cooling: dict[tuple[str, str, str], float] = {}
        self._remember()

    def _remember(self) -> None:
        """Rates and cool-downs from before this process, put on the monotonic clock: ages cannot be negative."""
        wall, now = self._clock.wall(), self._clock.monotonic()
        since = {"since": naive_utc(wall - self._settings.window_seconds), "now": naive_utc(wall)}
        for family, at, called in self._book.read("recent_placed", since):
            age = max(0.0, wall - at.replace(tzinfo=UTC).timestamp())
            self._decided.append(Placed(now - age, str(family)))
            if called:
                self._called.append(self._decided[-1])
        for cluster, family, subject, state, at, _ in self._book.read(
            "last_ended", [naive_utc(wall - self._settings.cooldown_seconds)]
        ):
            if State(state) in COOLING:
                age = max(0.0, wall - at.replace(tzinfo=UTC).timestamp())
                self._cooling[(cluster, family, subject)] = now - age + self._settings.cooldown_seconds

    def weigh(self, case: Case, intent: Intent | None) -> tuple[State, str | None, Mode]:
        """State, why it goes no further by itself, and the mode that holds."""
        labels = self._surroundings.labels(case.cluster_id, case.node_id)
        mode = self.mode_of(case)
        mode = mode if mode is Mode.SHADOW else max(lower(mode, case.ceiling), Mode.ADVISE, key=order_of)
        if mode is Mode.SHADOW:
            return State.SHADOW, "the rule is in shadow", mode
        if mode is Mode.ADVISE:
            return State.ADVISED, "the mode is advise", mode
        held_back = self._left_alone(case, labels)
        if held_back is None and mode is Mode.AUTOMATIC:
            held_back = self._not_by_itself(case, intent)
        if held_back is not None:
            return State.ADVISED, held_back, mode
        return (State.WANTED, None, mode) if mode is Mode.AUTOMATIC else (State.ASKED, None, mode)

    def mode_of(self, case: Case | Verdict) -> Mode:
        """How far its rule goes there."""
        labels = self._surroundings.labels(case.cluster_id, case.node_id)
        return self._settings.mode_of(case.mode, case.rule, case.cluster_id, case.node_id, labels)

    def _left_alone(self, case: Case, labels: Mapping[str, str]) -> str | None:
        if not case.fresh:
            return "history: what did not just happen is never acted on"
        if word := self._settings.opted_out(case.cluster_id, case.node_id, labels):
            return f"opted out by {word}"
        if why := self._surroundings.maintenance(case.cluster_id, case.node_id):
            return f"maintenance: {why}"
        return None

    def _not_by_itself(self, case: Case, intent: Intent | None) -> str | None:
        now = self._clock.monotonic()
        if self._freeze.frozen:
            return self.frozen_words()
        fleet = self._surroundings.fleet()
        if why := fleet.others.get((case.cluster_id, case.node_id)):
            return f"others keep work off {case.node_id} already: {why}"
        key = (case.cluster_id, case.family, case.subject)
        if case.cools and self._cooling.get(key, 0.0) > now:
            return f"cool-down: a person or a failure ended its last isolation; {self._cooling[key] - now:.0f} s left"
        if self._breaker.tripped(case.rule):
            return f"breaker: {case.rule} is stopped, as many nodes showed it at once"
        if why := self._facility.holds(case.rule, (case.cluster_id, case.node_id)):
            return f"facility: {why}"
        lately = too_many_lately(case.family, self._decided, now, self._settings)
        if lately:
            return f"limit: {lately}"
        at_once = too_many_at_once(intent or sketch(case), self._book.live(), fleet, self._settings)
        return f"limit: {at_once}" if at_once else None

    def frozen_words(self) -> str:
        """Who froze and why, as one line."""
        word = self._freeze.word
        return f"frozen by {word.actor}: {word.reason}" if word else "frozen"

    def count(self, intent: Intent) -> None:
        """Counted when decided: two decisions at once must not both see the room for one.

        A transaction that fails after this has counted one too many for ten minutes: the safe side.
        """
        if intent.state is State.WANTED and intent.automatic:
            self._decided.append(Placed(self._clock.monotonic(), intent.family))

    def room_for(self, intent: Intent) -> str | None:
        """Just before the calls: why an automatic one would be too many now; None: it would not, and it is counted.

        Decisions were counted when made; calls are counted too, as those of a scheduler that was away come at once.
        """
        if not intent.automatic:
            return None
        fleet = self._surroundings.fleet()
        if taken := fleet.others.get(intent.place):
            return f"others keep work off {intent.node_id} already: {taken}"
        now = self._clock.monotonic()
        why = too_many_lately(intent.family, self._called, now, self._settings)
        why = why or too_many_at_once(intent, self._book.live(), fleet, self._settings)
        if why is None:
            self._called.append(Placed(now, intent.family))
        return why

    def cool(self, intent: Intent) -> None:
        """Leave a subject to people for a while."""
        self._cooling[intent.key] = self._clock.monotonic() + self._settings.cooldown_seconds
