"""Wanted and isolating: look, check again, commit that it is about to be called, call, look again.

After a crash, a failure or a timeout nobody knows how far it came; the scheduler is looked at before anything is
called again.
"""

from __future__ import annotations

import logging

from ullage_collector.isolate.actuator import Actuator, Plan, Standing, Target, verifies
from ullage_collector.isolate.intent import PERSON, Intent, State, digest_of
from ullage_collector.isolate.stage import Stage, Stopped, with_plan
from ullage_contract.errors import ActuatorError

log = logging.getLogger(__name__)


class Placing(Stage):
    """From the decision to what stands, or to why it does not."""

    def place(self, intent: Intent) -> None:
        """Wanted: look, check again, commit that it is about to be called, call."""
        if self._withdraw_if_over(intent):
            return
        if self._policy.freeze.frozen:
            self._policy.hold(intent, self._policy.allowance.frozen_words(), page=False)
            return
        found = self._planned(intent)
        if found is None:
            return
        actuator, plan, target = found
        standing = actuator.standing(target)
        if standing is Standing.OURS:
            self._adopt(intent, plan, "ours stands there already")
            return
        if standing is Standing.OTHERS:
            self._policy.hold(intent, "others keep work off it already: theirs is left as it is")
            return
        if standing is Standing.UNKNOWN and verifies(actuator):
            self._later(intent, f"{actuator.name} does not say what stands there")
            return
        if self._too_old(intent):
            self._policy.hold(intent, "the decision is too old to be carried out by itself")
            return
        digest = digest_of([str(call) for call in plan.calls])
        if intent.approved_by and intent.digest and digest != intent.digest:
            self._ask_again(intent, plan)
            return
        if intent.automatic and intent.cluster_id in self._surroundings.fleet().unheard:
            # It answers again, but the limits know only the last survey: a restart of it is no reason to give up.
            self._later(intent, f"what others keep from work in {intent.cluster_id} is not heard yet")
            return
        with self._book.lock:
            current = self._book.get(intent.intent_id)
            if current is None or current.state is not State.WANTED:
                return
            if why := self._policy.allowance.room_for(current):
                self._policy.hold(current, f"limit: {why}")
                return
            with self._book.change() as change:
                current = with_plan(current, plan)
                number = change.open_isolation(current, plan)
                placing = change.move(
                    current,
                    State.ISOLATING,
                    "about to be called",
                    action=None,
                    isolation_id=number,
                    placed_at=change.now,
                )
                change.audit(placing, "isolate", "about to be called", plan=plan, actor=_actor(placing))
        self._call(placing, actuator, plan)

    def _ask_again(self, intent: Intent, plan: Plan) -> None:
        """Other calls than a person approved: they are shown and asked for anew."""
        with self._book.change() as change:
            shown = self._keep_plan(change, intent, plan)
            change.move(
                shown,
                State.ASKED,
                "the calls are others now than were approved",
                approved_by=None,
                expires_at=change.now + self._settings.approval_seconds,
            )

    def _adopt(self, intent: Intent, plan: Plan, why: str) -> None:
        """What stands is ours: from an earlier life of ours, or a person's. It becomes this intent's."""
        self._policy.sync()
        if self._book.get(intent.intent_id) != intent:
            return  # a person's isolation joined it
        with self._book.change() as change:
            current = self._keep_plan(change, intent, plan)
            number = intent.isolation_id or change.open_isolation(current, plan)
            change.move(
                current,
                State.WAITING,
                why,
                action="reconcile",
                isolation_id=number,
                placed_at=change.now,
                attempts=0,
            )
        self._escalation.take_node(intent.cluster_id, intent.node_id)

    def _call(self, intent: Intent, actuator: Actuator, plan: Plan) -> None:
        """Make the calls of a committed decision; what became of it is committed after."""
        try:
            results = self._make(plan, frozen_stops=True)
        except Stopped:
            self.resume(intent)
            return
        except ActuatorError as e:
            failed = self._note_failure(intent, "isolate", e)
            self.resume(failed)
            return
        with self._book.change() as change:
            current = self._book.get(intent.intent_id) or intent
            moved = change.move(
                current,
                State.WAITING,
                "called",
                action=None,
                attempts=0,
                held_back=None,
            )
            change.audit(
                moved, "isolate", "; ".join(results) or "nothing to call", plan=plan, actor=_actor(moved)
            )
        self._agenda.settled(intent.intent_id)
        log.info("isolated %s on %s: %s", intent.subject, intent.node_id, intent.reason)
        self._escalation.take_node(intent.cluster_id, intent.node_id)

    def resume(self, intent: Intent) -> None:
        """Isolating, and nobody knows how far: look first. Then it stands, or is called again, or given up."""
        actuator, target = self._actuator(intent), self._surroundings.target(intent)
        if actuator is None or target is None:
            self._later(intent, "its actuator or its card is not known any more")
            return
        standing = actuator.standing(target)
        blind = standing is Standing.UNKNOWN and not verifies(actuator)
        if standing is Standing.OURS or (blind and intent.mode == PERSON):
            with self._book.change() as change:
                change.move(
                    intent, State.WAITING, "it stands", action="reconcile", attempts=0, held_back=None
                )
                self._escalation.take_node(intent.cluster_id, intent.node_id)
        elif standing is Standing.OTHERS:
            self._others_took(intent)
        elif standing is Standing.UNKNOWN and not blind:
            self._later(intent, f"{actuator.name} does not say what stands there")
        elif self._policy.freeze.frozen:
            if blind:
                self._later(intent, "frozen, and nobody can say what stands there")
            elif intent.placed_again or intent.mode == PERSON:
                self._later(intent, self._policy.allowance.frozen_words())
            else:
                self._policy.hold(intent, self._policy.allowance.frozen_words(), page=False)
        elif self._book.over(intent.intent_id):
            self._nothing_stands(intent)
        elif intent.attempts >= self._settings.attempts:
            self._escalation.failed(intent, f"{intent.attempts} attempts failed; the audit has each")
        elif intent.attempts and not self._agenda.paused(intent.intent_id):
            self._later(intent, "it failed and is tried again")
        elif not intent.placed_again and intent.mode != PERSON and self._too_old(intent):
            self._policy.hold(intent, "the decision is too old to be carried out by itself")
        else:
            self._call_again(intent, actuator, target)

    def _nothing_stands(self, intent: Intent) -> None:
        """Its incident ended before anything stood."""
        with self._book.change() as change:
            change.close_isolation(intent, "not placed")
            change.end(intent, State.WITHDRAWN, "its incident has ended and nothing stands")

    def _call_again(self, intent: Intent, actuator: Actuator, target: Target) -> None:
        try:
            plan = actuator.plan_isolate(target)
        except ActuatorError as e:
            self._note_failure(intent, "isolate", e)
            self._later(intent, str(e))
            return
        with self._book.change() as change:
            change.audit(intent, "isolate", "about to be called again", plan=plan)
        self._agenda.settled(intent.intent_id)
        self._call(intent, actuator, plan)


def _actor(intent: Intent) -> str:
    return intent.approved_by or intent.requested_by
