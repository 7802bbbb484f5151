"""Carries intents out: from wanted to released, step by step, each step looked at before it is believed.

Nothing is called before the decision to call it is committed. A state is one stage's: showing.py, placing.py,
keeping.py, way_back.py; here is who is due and whose turn it is. The states and their guards: docs/isolation.md.
Not here: deciding (policy.py), how a scheduler is spoken to.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from ullage_collector.isolate.actuator import Run, run_program
from ullage_collector.isolate.agenda import LOOK_EARLY_SECONDS, Agenda
from ullage_collector.isolate.book import Book, Overtaken
from ullage_collector.isolate.choice import Choice
from ullage_collector.isolate.escalation import Escalation
from ullage_collector.isolate.following import Following, FollowMeans
from ullage_collector.isolate.intent import Intent, State
from ullage_collector.isolate.keeping import Keeping
from ullage_collector.isolate.places import Places
from ullage_collector.isolate.placing import Placing
from ullage_collector.isolate.policy import Policy
from ullage_collector.isolate.showing import Showing
from ullage_collector.isolate.stage import Means
from ullage_collector.isolate.surroundings import Place, Surroundings
from ullage_collector.isolate.way_back import Prober, WayBack

log = logging.getLogger(__name__)

LONGEST_STEP: Final = 12  # our choice: because no life has more states, and a loop would be a bug
IDLE_SECONDS: Final = 1.0  # our choice: because what is due is due in seconds; verdicts wake it at once


class Lifecycle:
    """See the module. ``step`` does everything that is due; ``run`` does so until stopped, nodes side by side.

    places: a lock a node, shared with whoever else calls actuators. prober None: nobody probes here. follow: how resets,
    reboots and replacements are run; None: nobody runs any.
    """

    def __init__(
        self,
        policy: Policy,
        choice: Choice,
        surroundings: Surroundings,
        places: Places,
        *,
        prober: Prober | None = None,
        run: Run = run_program,
        follow: FollowMeans | None = None,
    ) -> None:
        self._policy = policy
        self._book: Book = policy.book
        self._surroundings = surroundings
        self._places = places
        self._settings = policy.settings
        self._clock = self._book.clock
        self._agenda = Agenda(self._clock.monotonic)
        means = Means(policy, Escalation(policy), choice, surroundings, self._agenda, run)
        showing, placing = Showing(means), Placing(means)
        self.following = Following(means, follow or FollowMeans())
        self._keeping = Keeping(means, self.following, probed=prober is not None)
        self._way_back = way_back = WayBack(means, self.following, prober)
        self._stages: dict[State, Callable[[Intent], None]] = {
            State.SHADOW: showing.shadow,
            State.ADVISED: showing.show,
            State.ASKED: showing.show,
            State.WANTED: placing.place,
            State.ISOLATING: placing.resume,
            State.WAITING: self._keeping.keep,
            State.ISOLATED: self._keeping.keep,
            State.PROBING: way_back.probe,
            State.RELEASING: way_back.release,
            State.PROBATION: way_back.watch,
            State.OTHERS: self._keeping.leave,
        }
        self._synced_at = float("-inf")
        self._parallel = False

    def run(self, stop: threading.Event) -> None:
        """Step until ``stop``; nodes run side by side, one call a node at a time."""
        with ThreadPoolExecutor(self._settings.parallel_calls, thread_name_prefix="isolate") as pool:
            busy: dict[Place, Future[None]] = {}
            self._parallel = True
            while not stop.is_set():
                self._policy.woken.clear()
                for place in [place for place, done in busy.items() if done.done()]:
                    failure = busy.pop(place).exception()
                    if failure is not None:
                        log.error("isolation on %s: %s", place[1], failure, exc_info=failure)
                self._prepare()
                for place, ids in self._due().items():
                    if place not in busy:
                        busy[place] = pool.submit(self._advance_all, place, ids)
                        busy[place].add_done_callback(lambda _: self._policy.woken.set())
                self._policy.woken.wait(IDLE_SECONDS)

    def step(self) -> int:
        """Everything that is due, one node after another; how many intents were looked after."""
        self._prepare()
        due = self._due()
        for place, ids in due.items():
            self._advance_all(place, ids)
        return sum(map(len, due.values()))

    def carry_out(self, intent_id: int) -> None:
        """Advance one intent alone, as far as it goes now: for a command while nobody serves."""
        intent = self._book.get(intent_id)
        if intent is not None:
            self._advance_all(intent.place, [intent_id])

    def _prepare(self) -> None:
        self._policy.retry()
        now = self._clock.monotonic()
        if now - self._synced_at >= LOOK_EARLY_SECONDS:
            self._synced_at = now
            self._policy.sync()
            self._surroundings.survey()
        if self._policy.freeze.frozen:
            self._policy.stop_planned()

    def _due(self) -> dict[Place, list[int]]:
        live = self._book.live()
        known = {intent.intent_id for intent in live}
        self._agenda.forget_all_but(known)
        self._keeping.forget_all_but(known)
        self._way_back.forget_all_but(known)
        return self._agenda.due(live)

    def _advance_all(self, place: Place, ids: list[int]) -> None:
        for intent_id in ids:
            for _ in range(LONGEST_STEP):
                with self._places.lock(place):
                    intent = self._book.get(intent_id)
                    if intent is None:
                        break
                    self._agenda.in_seconds(intent_id, self._settings.reconcile_seconds)
                    if (stage := self._stages.get(intent.state)) is not None:
                        try:
                            stage(intent)
                        except Overtaken as e:
                            log.info("%s: looked at again", e)
                            continue
                after = self._book.get(intent_id)
                if after is None or after.state is intent.state:
                    break
                if intent.state is State.WANTED and self._parallel:
                    # others that wait for their first call go before its second look
                    self._agenda.early(intent_id)
                    break
