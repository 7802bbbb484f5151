"""What every stage of an intent's life has at hand: its plan, its calls and their failures, and not yet.

Not here: what is done in each state (showing.py, placing.py, keeping.py, way_back.py).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from ullage_collector.isolate.actuator import Actuator, Plan, Run, Target, execute_call
from ullage_collector.isolate.agenda import Agenda
from ullage_collector.isolate.book import Change
from ullage_collector.isolate.choice import Choice
from ullage_collector.isolate.escalation import Escalation
from ullage_collector.isolate.intent import SHOWN, Intent, State, digest_of
from ullage_collector.isolate.policy import Policy
from ullage_collector.isolate.surroundings import Surroundings
from ullage_contract.errors import ActuatorError, BadInput

log = logging.getLogger(__name__)


class Stopped(Exception):
    """Frozen between two calls."""


@dataclass(frozen=True, slots=True)
class Means:
    """What the stages share. run: how a program is run."""

    policy: Policy
    escalation: Escalation
    choice: Choice
    surroundings: Surroundings
    agenda: Agenda
    run: Run


class Stage:
    """One part of an intent's life; its methods are called with the node's lock held."""

    def __init__(self, means: Means) -> None:
        self._policy = means.policy
        self._escalation = means.escalation
        self._choice = means.choice
        self._surroundings = means.surroundings
        self._agenda = means.agenda
        self._run = means.run
        self._book = means.policy.book
        self._settings = means.policy.settings
        self._clock = self._book.clock

    def _withdraw_if_over(self, intent: Intent) -> bool:
        """True when its incident has ended before anything was called: it is withdrawn."""
        if not self._book.over(intent.intent_id):
            return False
        with self._book.change() as change:
            change.end(intent, State.WITHDRAWN, "its incident has ended")
        return True

    def _planned(self, intent: Intent) -> tuple[Actuator, Plan, Target] | None:
        """The first actuator that can do it, and its plan. None: not now, or the node is proposed in its place."""
        target = self._surroundings.target(intent)
        if target is None:
            self._later(intent, "the store does not know the card yet")
            return None
        try:
            actuators = self._choice.of(intent.cluster_id, intent.family)
        except BadInput as e:
            self._later(intent, str(e))
            return None
        said: list[str] = []
        for actuator in actuators:
            if intent.family == "card" and actuator.whole_node:
                why = "; ".join(said) or f"{actuator.name} can only take whole nodes"
                self._escalation.retarget(intent, why)
                return None
            try:
                return actuator, actuator.plan_isolate(target), target
            except ActuatorError as e:
                said.append(f"{actuator.name}: {e}")
        self._later(intent, "; ".join(said))
        return None

    def _keep_plan(self, change: Change, intent: Intent, plan: Plan) -> Intent:
        """Its plan is kept and, where a person decides, proposed."""
        shown = with_plan(intent, plan)
        return change.save(
            shown,
            action="propose" if intent.state is not State.WANTED else None,
            result=f"{intent.state.value}; would be called: {'; '.join(shown.calls or ()) or 'nothing'}",
        )

    def _later(self, intent: Intent, why: str) -> None:
        """Not now: again after a growing pause; what may not wait any longer becomes advice."""
        self._agenda.put_off(intent.intent_id)
        if intent.state is State.WANTED and self._too_old(intent):
            self._policy.hold(intent, f"could not be carried out in time: {why}")
        elif intent.state in SHOWN and intent.held_back is None:
            with self._book.change() as change:
                change.save(replace(intent, held_back=why[:500]))
        log.info("isolation of %s: later: %s", intent.subject, why)

    def _too_old(self, intent: Intent) -> bool:
        """A decision that has waited too long, or that a clock says is from the future."""
        return abs(self._clock.wall() - intent.decided_at) > self._settings.decision_seconds

    def _make(self, plan: Plan, *, frozen_stops: bool) -> list[str]:
        """What the calls said. Raises ActuatorError, and Stopped when frozen in between."""
        results: list[str] = []
        for call in plan.calls:
            if frozen_stops and self._policy.freeze.frozen:
                raise Stopped
            results += execute_call(call, run=self._run)
        return results

    def _note_failure(self, intent: Intent, action: str, error: Exception) -> Intent:
        """One attempt more, and why it failed, in the audit."""
        with self._book.change() as change:
            current = self._book.get(intent.intent_id) or intent
            return change.save(
                replace(current, attempts=current.attempts + 1), action=action, result=f"failed: {error}"
            )

    def _others_took(self, intent: Intent) -> None:
        """Somebody changed it or placed their own: it is theirs, and shown."""
        with self._book.change() as change:
            change.close_isolation(intent, "others")
            moved = change.move(
                intent,
                State.OTHERS,
                "others changed it: it is theirs now",
                action="reconcile",
                isolation_id=None,
            )
            self._policy.pages.note(
                change, moved, "others took over what we placed", f"others {intent.intent_id}"
            )
        self._policy.pages.send()

    def _actuator(self, intent: Intent) -> Actuator | None:
        """The one that placed it; None: it is not set up any more."""
        return self._choice.actuators.get(intent.actuator or "")


def with_plan(intent: Intent, plan: Plan) -> Intent:
    """The intent as it will be called: by whom, what, and the digest that a person approves."""
    calls = tuple(str(call) for call in plan.calls)
    return replace(
        intent,
        calls=calls,
        digest=digest_of(calls),
        actuator=plan.actuator,
        whole_node=plan.whole_node or intent.family == "node",
    )
