"""Waiting, isolated, or taken over by others: what stands is held against what we believe.

What was lost is placed again, what others changed is theirs from then on, and what has met its exit condition goes on
its way back (way_back.py).
"""

from __future__ import annotations

import logging
from collections import defaultdict, deque
from collections.abc import Collection
from dataclasses import replace

from ullage_collector.isolate.actuator import Actuator, Standing, Target, verifies
from ullage_collector.isolate.following import Following
from ullage_collector.isolate.intent import PERSON, Intent, State, waits_for_person
from ullage_collector.isolate.stage import Means, Stage, Stopped
from ullage_contract.errors import ActuatorError

log = logging.getLogger(__name__)


class Keeping(Stage):
    """probed: whether a card is probed before it is released. following: what is done to the hardware meanwhile."""

    def __init__(self, means: Means, following: Following, *, probed: bool) -> None:
        super().__init__(means)
        self._probed = probed
        self._following = following
        self._lost_at: dict[int, deque[float]] = defaultdict(deque)

    def forget_all_but(self, known: Collection[int]) -> None:
        """Of intents that are over, when they were lost."""
        for gone in list(self._lost_at):  # a copy in one step: other nodes' threads add to it
            if gone not in known:
                self._lost_at.pop(gone, None)

    def keep(self, intent: Intent) -> None:
        """Waiting or isolated: does it still stand, is the card free, has its time or its cause ended."""
        actuator, target = self._actuator(intent), self._surroundings.target(intent)
        if actuator is None or target is None:
            self._later(intent, "its actuator or its card is not known any more")
            return
        if self._following.busy(intent):
            self._agenda.early(intent.intent_id)
            return
        intent = self._following.settle(intent)
        if self._leaves(intent):
            return
        standing = actuator.standing(target)
        if standing is Standing.OTHERS:
            self._others_took(intent)
            return
        if standing is Standing.GONE:
            self._lost(intent)
            return
        if standing is Standing.UNKNOWN and verifies(actuator):
            log.info("%s does not say what stands at %s", actuator.name, intent.subject)
            return
        if intent.state is State.WAITING:
            self._end_work(intent, actuator, target)
            if not self._surroundings.held(intent):
                with self._book.change() as change:
                    current = self._book.get(intent.intent_id) or intent
                    change.move(current, State.ISOLATED, "no work holds it")
            else:
                self._agenda.early(intent.intent_id)
            return
        self._following.look(intent)
        if intent.changed_at + self._settings.review_seconds < self._clock.wall():
            days = (self._clock.wall() - intent.changed_at) / 86400
            self._policy.pages.tell(
                intent, f"isolated for {days:.0f} days: decide", f"review {intent.intent_id}"
            )

    def _leaves(self, intent: Intent) -> bool:
        """Its exit condition is met: it goes on its way back."""
        if intent.expires_at is not None and intent.expires_at <= self._clock.wall():
            with self._book.change() as change:
                change.move(intent, State.RELEASING, "its time is over", action="release")
            return True
        covered = self._probed and not self._book.over(intent.intent_id) and self._following.covers(intent)
        if intent.mode == PERSON or not (covered or self._book.over(intent.intent_id)):
            return False
        if waits_for_person(intent):
            return False
        if self._probed and (covered or intent.family == "card"):
            if intent.state is not State.ISOLATED:
                return False  # probes run on a card that nobody holds
            with self._book.change() as change:
                why = f"{intent.follow.value} is done" if covered else "its incidents have ended"
                change.move(intent, State.PROBING, why)
            return True
        with self._book.change() as change:
            change.move(intent, State.RELEASING, "its incidents have ended", action="release")
        return True

    def _lost(self, intent: Intent) -> None:
        """What we placed is gone: cancelled by hand, a reboot, a scheduler that lost its state. Placed again."""
        if self._policy.freeze.frozen:
            self._policy.pages.tell(
                intent, "it was lost and is not placed again: frozen", f"lost {intent.intent_id}"
            )
            return
        now = self._clock.monotonic()
        lately = self._lost_at[intent.intent_id]
        while lately and now - lately[0] >= 3600.0:
            lately.popleft()
        if len(lately) >= self._settings.places_an_hour:
            self._policy.allowance.cool(intent)
            self._policy.hold(
                intent, f"it was taken away {len(lately) + 1} times within an hour: somebody means it"
            )
            return
        lately.append(now)
        with self._book.change() as change:
            change.move(
                intent,
                State.ISOLATING,
                "it is gone from the scheduler and is placed again",
                action="reconcile",
                placed_again=intent.placed_again + 1,
                attempts=0,
            )

    def _end_work(self, intent: Intent, actuator: Actuator, target: Target) -> None:
        """Where a rule opted in: after the deadline the work there is requeued or evicted, once."""
        if intent.drain != "end" or intent.evidence.get("work_ended") or self._policy.freeze.frozen:
            return
        if (
            self._clock.wall() - (intent.placed_at or intent.changed_at)
            < self._settings.drain_deadline_seconds
        ):
            return
        if not self._surroundings.held(intent):
            return
        try:
            plan = actuator.plan_isolate(replace(target, drain="end"))
            with self._book.change() as change:
                marked = replace(intent, evidence={**intent.evidence, "work_ended": True})
                change.save(marked)
                change.audit(marked, "end_work", "about to be called", plan=plan)
            results = self._make(plan, frozen_stops=True)
        except Stopped:
            return
        except ActuatorError as e:
            self._note_failure(intent, "end_work", e)
            self._policy.pages.tell(
                intent, f"the work there could not be ended: {e}", f"end_work {intent.intent_id}"
            )
            return
        with self._book.change() as change:
            change.audit(intent, "end_work", "; ".join(results) or "nothing to call", plan=plan)

    def leave(self, intent: Intent) -> None:
        """Others keep work off it: theirs is never touched. When they give it back, a person decides."""
        actuator, target = self._actuator(intent), self._surroundings.target(intent)
        if self._book.over(intent.intent_id) or actuator is None or target is None:
            with self._book.change() as change:
                change.end(intent, State.RELEASED, "nothing of ours stands")
            return
        if actuator.standing(target) is Standing.GONE:
            if self._book.causes(intent.intent_id):
                self._policy.hold(intent, "others gave it back while its incident is open")
                return
            with self._book.change() as change:
                change.end(intent, State.RELEASED, "others gave it back")
