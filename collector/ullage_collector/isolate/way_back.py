"""Probing, releasing, on probation: an isolated card or node on its way back into service.

Only what is ours is taken back, and neither a freeze nor a breaker stops that.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import replace
from enum import StrEnum
from typing import Final, Protocol

from ullage_collector.audit import naive_utc
from ullage_collector.isolate.actuator import Standing, Target, verifies
from ullage_collector.isolate.book import Change
from ullage_collector.isolate.following import Following
from ullage_collector.isolate.intent import PERSON, STANDS, Intent, State, level_up
from ullage_collector.isolate.stage import Means, Stage
from ullage_collector.sql import statements
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


WORST_FIRST: Final = (
    ProbeAnswer.FAILED,
    ProbeAnswer.PENDING,
    ProbeAnswer.UNPROBED,
    ProbeAnswer.NONE,
    ProbeAnswer.PASSED,
)
"""Of several cards: one that failed is known at once; one that nobody probes has not passed."""


class Prober(Protocol):
    """Who has an isolated card checked."""

    def probe(self, isolation_id: int, incident_id: int | None, target: Target) -> ProbeAnswer:
        """Ask for the probe, or for its answer: the same isolation_id is one probe. Never blocks; may raise."""
        ...

    def forget(self, isolation_id: int) -> None:
        """This probing is over: what was asked for it is no answer to the next."""
        ...


class WayBack(Stage):
    """prober None: nobody probes here. following: what was done to the hardware."""

    def __init__(self, means: Means, following: Following, prober: Prober | None) -> None:
        super().__init__(means)
        self._following = following
        self._prober = prober
        self._passed: dict[int, set[str]] = {}

    def probe(self, intent: Intent) -> None:
        """Ask for the probe, and act on its answer; without a prober it is released."""
        over = self._book.over(intent.intent_id)
        if not over and not self._following.covers(intent):
            with self._book.change() as change:
                change.move(intent, State.ISOLATED, "another incident came")
            self._forget(intent)  # what a card passed before it says nothing of what it has now
            return
        answer = self._answer(intent)
        late = self._clock.wall() - intent.changed_at > self._settings.probe_seconds
        if answer is ProbeAnswer.PENDING and not late:
            self._agenda.early(intent.intent_id)
            return
        self._forget(intent)
        if answer is ProbeAnswer.PASSED or (answer is ProbeAnswer.NONE and over):
            with self._book.change() as change:
                if not over:
                    self._close_incidents(change, intent)
                change.move(intent, State.RELEASING, f"probe: {answer.value}", action="probe")
            if not over:
                self._policy.on_closed()
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

    def _answer(self, intent: Intent) -> ProbeAnswer:
        """Of the card, or of every card of the node: the worst of them."""
        target = self._surroundings.target(intent)
        if self._prober is None or target is None or intent.isolation_id is None:
            return ProbeAnswer.NONE
        targets = [target]
        if intent.family == "node":
            cards = self._surroundings.fleet().cards.get(intent.place, frozenset())
            targets = [replace(target, family="card", subject=card) for card in sorted(cards)]
        passed = self._passed.setdefault(intent.intent_id, set())
        answers = {ProbeAnswer.PASSED} if passed else set()
        for each in targets:
            if each.subject in passed:
                continue
            try:
                answer = self._prober.probe(intent.isolation_id, intent.incident_id, each)
            except Exception:
                log.exception("the probe of %s", each.subject)
                answer = ProbeAnswer.PENDING
            if answer is ProbeAnswer.PASSED:
                passed.add(each.subject)
            answers.add(answer)
        return next((answer for answer in WORST_FIRST if answer in answers), ProbeAnswer.NONE)

    def _forget(self, intent: Intent) -> None:
        self._passed.pop(intent.intent_id, None)
        if self._prober is not None and intent.isolation_id is not None:
            self._prober.forget(intent.isolation_id)

    def forget_all_but(self, known: Collection[int]) -> None:
        """Of intents that are over, what their cards had passed."""
        for gone in list(self._passed):  # a copy in one step: other nodes' threads add to it
            if gone not in known:
                self._passed.pop(gone, None)

    def _close_incidents(self, change: Change, intent: Intent) -> None:
        """What was done and a passed probe end the incidents that nothing else would end."""
        by = f"{intent.follow.value} done, probe passed"
        for cause in self._book.causes(intent.intent_id):
            if not cause.ended:
                change.cursor.execute(
                    statements("incidents")["close_incident"], [naive_utc(change.now), by, cause.incident_id]
                )
                change.end_cause(cause.incident_id)
                change.audit(intent, "close_incident", by, evidence={"incident": cause.incident_id})

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
