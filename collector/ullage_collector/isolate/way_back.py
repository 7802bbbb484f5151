"""Probing, releasing, on probation: an isolated card or node on its way back into service.

Only what is ours is taken back, and neither a freeze nor a breaker stops that.
"""

from __future__ import annotations

import logging
from enum import StrEnum
from typing import Protocol

from ullage_collector.isolate.actuator import Standing, Target, verifies
from ullage_collector.isolate.intent import PERSON, STANDS, Intent, State, level_up
from ullage_collector.isolate.stage import Means, Stage
from ullage_contract.errors import ActuatorError

log = logging.getLogger(__name__)


class ProbeAnswer(StrEnum):
    """NONE: there is no probe for this target here. UNPROBED: its node refused or never answered, which says nothing
    of the card.
    """

    PASSED = "passed"
    FAILED = "failed"
    PENDING = "pending"
    NONE = "none"
    UNPROBED = "unprobed"


class Prober(Protocol):
    """Who has an isolated card checked."""

    def probe(self, isolation_id: int, incident_id: int | None, target: Target) -> ProbeAnswer:
        """Ask for the probe, or for its answer: the same isolation_id is one probe. Never blocks; may raise."""
        ...


class WayBack(Stage):
    """prober None: nobody probes here."""

    def __init__(self, means: Means, prober: Prober | None) -> None:
        super().__init__(means)
        self._prober = prober

    def probe(self, intent: Intent) -> None:
        """Ask for the probe, and act on its answer; without a prober it is released."""
        if not self._book.over(intent.intent_id):
            with self._book.change() as change:
                change.move(intent, State.ISOLATED, "another incident came")
            return
        target = self._surroundings.target(intent)
        answer = ProbeAnswer.NONE
        if self._prober is not None and target is not None and intent.isolation_id is not None:
            try:
                answer = self._prober.probe(intent.isolation_id, intent.incident_id, target)
            except Exception:
                log.exception("the probe of %s", intent.subject)
                answer = ProbeAnswer.PENDING
        late = self._clock.wall() - intent.changed_at > self._settings.probe_seconds
        if answer is ProbeAnswer.PENDING and not late:
            self._agenda.early(intent.intent_id)
            return
        if answer in (ProbeAnswer.PASSED, ProbeAnswer.NONE):
            with self._book.change() as change:
                change.move(intent, State.RELEASING, f"probe: {answer.value}", action="probe")
            return
        why = "probe failed" if answer is ProbeAnswer.FAILED else "probe refused or not answered"
        # What nobody looked at is not known to be worse.
        follow = level_up(intent.follow) if answer is ProbeAnswer.FAILED else intent.follow
        with self._book.change() as change:
            moved = change.move(
                intent,
                State.ISOLATED,
                why,
                action="probe",
                held_back=f"{why}: a person decides",
                follow=follow,
            )
            self._policy.pages.note(
                change, moved, f"{why}; next is {follow.value}", f"probe {intent.intent_id}"
            )
        self._policy.pages.send()

    def release(self, intent: Intent) -> None:
        """Releasing: only what is ours is taken back; never stopped by a freeze or a breaker."""
        expired = intent.expires_at is not None and intent.expires_at <= self._clock.wall()
        if self._book.causes(intent.intent_id) and not self._book.over(intent.intent_id) and not expired:
            with self._book.change() as change:
                change.move(intent, State.ISOLATED, "another incident came before it was released")
            return
        actuator, target = self._actuator(intent), self._surroundings.target(intent)
        if actuator is None or target is None:
            self._later(intent, "its actuator or its card is not known any more")
            return
        standing = actuator.standing(target)
        if standing is Standing.OTHERS:
            if self._shared(intent):
                self._released(intent, "the node stays isolated for another of ours")
            else:
                self._others_took(intent)
            return
        if standing is Standing.UNKNOWN and verifies(actuator):
            self._later(intent, f"{actuator.name} does not say what stands there")
            return
        if standing is Standing.GONE:
            self._released(intent, "nothing stood any more")
            return
        try:
            plan = actuator.plan_release(target)
            with self._book.change() as change:
                change.audit(intent, "release", "about to be called", plan=plan)
            results = self._make(plan, frozen_stops=False)
        except ActuatorError as e:
            failed = self._note_failure(intent, "release", e)
            if failed.attempts >= self._settings.attempts:
                self._policy.pages.tell(failed, f"it cannot be released: {e}", f"release {intent.intent_id}")
            self._later(failed, str(e))
            return
        if verifies(actuator) and actuator.standing(target) is Standing.OURS:
            self._note_failure(
                intent, "release", ActuatorError("it still stands after its release was called")
            )
            self._later(intent, "it still stands")
            return
        self._released(intent, "; ".join(results) or "nothing to call")

    def _shared(self, intent: Intent) -> bool:
        return intent.takes_node and any(
            other.takes_node and other.state in STANDS and other.intent_id != intent.intent_id
            for other in self._book.on_node(intent.cluster_id, intent.node_id)
        )

    def _released(self, intent: Intent, result: str) -> None:
        """Back in service: a person's at once, ours on probation."""
        self._agenda.settled(intent.intent_id)
        with self._book.change() as change:
            change.close_isolation(intent, "policy")
            current = self._book.get(intent.intent_id) or intent
            if intent.mode == PERSON:
                change.end(current, State.RELEASED, f"its time was over: {result}")
                return
            moved = change.move(
                current,
                State.PROBATION,
                result,
                action="release",
                isolation_id=None,
                expires_at=change.now + self._settings.probation_seconds,
                attempts=0,
            )
            if not self._book.over(intent.intent_id):
                change.end(moved, State.RELEASED, "it came again while it was released")
                self._escalation.repeat(change, moved)
        log.info("released %s on %s", intent.subject, intent.node_id)

    def watch(self, intent: Intent) -> None:
        """On probation: in service, watched; nothing stands."""
        if (intent.expires_at or 0.0) <= self._clock.wall():
            with self._book.change() as change:
                change.end(intent, State.RELEASED, "probation is over")
