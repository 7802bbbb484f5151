"""The Decider: what is done about a verdict, within the site's modes and limits.

A decision is an intent, committed before anything is called; carrying it out is lifecycle.py's. Only fresh
verdicts act, the same one twice is one, and one that comes late is none. Whatever forbids acting leaves
advice with its reason, and a page where a person has to know.
Not here: what the modes and limits allow (allowance.py), what follows a failure (escalation.py), calling
actuators and looking at schedulers: ``consider`` waits for neither.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from ullage_collector import audit
from ullage_collector.audit import AuditRow
from ullage_collector.isolate.allowance import Allowance
from ullage_collector.isolate.book import Book, Change
from ullage_collector.isolate.breaker import Breaker
from ullage_collector.isolate.case import Case, evidence_with, mode_of, one_line, order_of, weight_of
from ullage_collector.isolate.choice import Choice
from ullage_collector.isolate.facility import Facility
from ullage_collector.isolate.freeze import Freeze
from ullage_collector.isolate.intent import (
    FOLLOW_ASKED,
    SHOWN,
    STANDS,
    Intent,
    State,
    follow_asked,
    level_up,
    stronger,
)
from ullage_collector.isolate.paging import Pager, Pages
from ullage_collector.isolate.policy_settings import PolicySettings
from ullage_collector.isolate.surroundings import Surroundings
from ullage_collector.isolate.verdict import Action, Follow, Mode, Turn, Verdict
from ullage_contract.errors import BadInput

if TYPE_CHECKING:
    from ullage_collector.detect.fault_rule import Share

log = logging.getLogger(__name__)

MOST_POSTPONED: Final = 10_000  # our choice: because a store that is away so long has lost more than these


class Policy:
    """See the module. One instance a store. ``woken`` is set when there is something to carry out; ``on_closed`` is told
    when the lifecycle has closed incidents. shares: rules that are the room's fault where many cards show them.
    """

    def __init__(
        self,
        book: Book,
        freeze: Freeze,
        surroundings: Surroundings,
        choice: Choice,
        settings: PolicySettings,
        pager: Pager | None = None,
        shares: Mapping[str, Share] | None = None,
    ) -> None:
        self.book = book
        self.freeze = freeze
        self.surroundings = surroundings
        self.settings = settings
        self.woken = threading.Event()
        self.on_closed: Callable[[], None] = lambda: None
        self._choice = choice
        self._clock = book.clock
        self.breaker = Breaker(book, settings)
        self.pages = Pages(book, settings.window_seconds, pager)
        self.facility = Facility(book, surroundings, shares or {})
        self.allowance = Allowance(book, freeze, surroundings, settings, self.breaker, self.facility)
        self._postponed: deque[Verdict] = deque(maxlen=MOST_POSTPONED)
        self.considered = 0
        self.ignored = 0

    # ---- verdicts

    def consider(self, verdict: Verdict) -> None:
        """Decider: decide and persist; whatever goes wrong is tried again by ``retry``, and never raised."""
        try:
            self._consider(verdict)
        except Exception:
            log.exception("verdict of incident %d is considered again later", verdict.incident_id)
            self._postponed.append(verdict)
        self.pages.send()
        self.woken.set()

    def retry(self) -> None:
        """Consider again what could not be kept before; one that has grown old only advises."""
        for _ in range(len(self._postponed)):
            self.consider(self._postponed.popleft())

    def _consider(self, verdict: Verdict) -> None:
        weight = weight_of(verdict)
        with self.book.change() as change:
            if verdict.turn is not Turn.ENDED:
                self._limit(change, verdict)
            if change.weight(verdict.incident_id) >= weight:
                self.ignored += 1
                return
            change.put_weight(verdict.incident_id, weight)
            self.considered += 1
            if verdict.turn is Turn.ENDED:
                self._ended(change, verdict.incident_id)
            elif verdict.action is not Action.OBSERVE:
                self._found(change, verdict)

    def _ended(self, change: Change, incident_id: int) -> None:
        change.end_cause(incident_id)
        for intent in self.book.caused_by(incident_id):
            others = [c for c in self.book.causes(intent.intent_id) if c.incident_id != incident_id]
            if (intent.state in SHOWN or intent.state is State.WANTED) and all(c.ended for c in others):
                change.end(intent, State.WITHDRAWN, "its incident has ended")

    def _limit(self, change: Change, verdict: Verdict) -> None:
        """An incident that may go less far by now than when it was decided on: what is planned for it is only advice,
        and a person is asked about what follows. What a person decided stays."""
        # as it is weighed: a site's override that names the rule says how far it goes, whatever the rule says itself
        mode = self.allowance.mode_of(verdict)
        for intent in self.book.caused_by(verdict.incident_id):
            mine = intent.rule == verdict.rule and intent.automatic
            if not mine or order_of(mode) >= order_of(mode_of(intent)):
                continue
            why = f"{verdict.rule} goes no further than {mode.value} by now"
            if intent.state is State.WANTED:
                change.move(intent, State.ADVISED, why, held_back=why)
            elif intent.state in STANDS and intent.follow is not Follow.NONE and not follow_asked(intent):
                asked = replace(intent, evidence={**intent.evidence, FOLLOW_ASKED: why})
                change.save(asked, action="decide", result=why, actor=f"rule {verdict.rule}")

    def _found(self, change: Change, verdict: Verdict) -> None:
        on_card = verdict.card_id is not None and not verdict.action.node
        node_only = on_card and self._choice.only_nodes(verdict.cluster_id)
        family = "card" if on_card and not node_only else "node"
        card_side = bool(verdict.evidence.get("side") == "node") or any(
            fnmatchcase(verdict.rule, glob) for glob in self.settings.node_side
        )
        age = change.now - verdict.decided_us / 1e6
        fresh = verdict.fresh and abs(age) <= self.settings.fresh_seconds
        case = Case(
            family=family,
            subject=verdict.card_id or "" if family == "card" else verdict.node_id,
            cluster_id=verdict.cluster_id,
            node_id=verdict.node_id,
            rule=verdict.rule,
            action=verdict.action,
            follow=verdict.follow,
            mode=verdict.mode,
            fresh=fresh,
            reason=one_line(verdict.reason),
            causes=((verdict.incident_id, verdict.rule, card_side),),
            domains=verdict.domains,
            evidence=verdict.evidence,
            ceiling=self.settings.node_instead_of_card if node_only else Mode.AUTOMATIC,
        )
        if fresh and verdict.mode is not Mode.SHADOW:
            self._note(change, verdict)
        existing = self._existing(case)
        if existing is None:
            self.decide(change, case)
        else:
            self._again(change, change.current(existing), case)

    def _existing(self, case: Case) -> Intent | None:
        """The live intent this belongs to: of the same target, or of the whole node when that is kept off."""
        same = self.book.about(case.cluster_id, case.family, case.subject)
        if same is not None:
            return same
        if case.family == "card":
            for intent in self.book.on_node(case.cluster_id, case.node_id):
                if intent.takes_node and intent.state in (*STANDS, State.WANTED, State.OTHERS):
                    return intent
        return None

    def _again(self, change: Change, intent: Intent, case: Case) -> None:
        """Another verdict about a target that has an intent already: one intent, one fence."""
        if intent.state is State.PROBATION:
            change.end(intent, State.RELEASED, f"{case.rule} came in probation")
            raised = stronger(level_up(intent.follow), case.follow)
            self.pages.note(change, intent, f"it came back in probation: next is {raised.value}", "repeat")
            self.decide(change, replace(case, follow=raised, parent_id=intent.intent_id, cools=False))
            return
        for incident_id, rule, node_side in case.causes:
            change.add_cause(intent, incident_id, rule, node_side)
        if intent.state in SHOWN:
            # nothing follows what was only counted
            follow = case.follow if intent.state is State.SHADOW else stronger(intent.follow, case.follow)
            state, held_back, mode = self.allowance.weigh(case, intent)
            order = (*SHOWN, State.WANTED)
            if order.index(state) > order.index(intent.state):
                moved = change.move(
                    replace(intent, action=case.action),
                    state,
                    f"{case.rule}: {held_back or 'nothing holds it back'}",
                    action="decide",
                    mode=mode.value,
                    rule=case.rule,
                    actor=f"rule {case.rule}",
                    follow=follow,
                    evidence=evidence_with(intent, case, mode),
                    held_back=held_back,
                    decided_at=change.now,
                    expires_at=self._expiry(state, change.now),
                    calls=None,
                )
                self.allowance.count(moved)
            elif case.fresh and held_back != intent.held_back and state is intent.state:
                change.save(
                    replace(intent, held_back=held_back),
                    action="decide",
                    result=f"{case.rule}: {held_back}",
                    actor=f"rule {case.rule}",
                )
            return
        if (mode := self.allowance.mode_of(case)) is Mode.SHADOW:
            return
        follow, evidence = stronger(intent.follow, case.follow), evidence_with(intent, case, mode)
        if follow is not intent.follow or evidence != intent.evidence:
            change.save(
                replace(intent, follow=follow, evidence=evidence),
                action="decide",
                result=f"{case.rule}: also {follow.value}",
                actor=f"rule {case.rule}",
            )

    def decide(self, change: Change, case: Case) -> Intent:
        """A new intent about a target that has none, in the state its mode and the limits give it."""
        state, held_back, mode = self.allowance.weigh(case, None)
        labels = self.surroundings.labels(case.cluster_id, case.node_id)
        wanted = self.settings.drain_of(case.rule, case.cluster_id, case.node_id, labels)
        evidence = dict(case.evidence)
        if not case.fresh and case.follow is not Follow.NONE:
            evidence[FOLLOW_ASKED] = f"{case.rule}: history asks for it"
        ends_work = case.action in (Action.DRAIN_CARD, Action.DRAIN_NODE)
        intent = change.add(
            Intent(
                intent_id=0,
                state=state,
                mode=mode.value,
                family=case.family,
                subject=case.subject,
                cluster_id=case.cluster_id,
                node_id=case.node_id,
                rule=case.rule,
                action=case.action,
                follow=case.follow,
                drain=wanted if ends_work else "finish",
                incident_id=case.incident_id,
                parent_id=case.parent_id,
                reason=case.reason,
                held_back=held_back,
                requested_by=f"rule {case.rule}",
                whole_node=case.family == "node",
                domains={str(k): str(v) for k, v in case.domains.items()},
                evidence=evidence,
                decided_at=change.now,
                changed_at=change.now,
                expires_at=self._expiry(state, change.now),
            ),
            actor=f"rule {case.rule}",
            result=f"{state.value}: {held_back}" if held_back else state.value,
        )
        for incident_id, rule, node_side in case.causes:
            change.add_cause(intent, incident_id, rule, node_side)
        self.allowance.count(intent)
        if mode is Mode.AUTOMATIC and state is State.ADVISED and held_back and case.fresh:
            if not self.breaker.tripped(case.rule):
                kind = held_back.partition(":")[0][:20]
                self.pages.note(change, intent, f"not isolated: {held_back}", f"{case.cluster_id} {kind}")
        elif state is State.ASKED:
            self.pages.note(change, intent, "waits for approval", f"asked {intent.intent_id}")
        return intent

    def _expiry(self, state: State, now: float) -> float | None:
        return now + self.settings.approval_seconds if state is State.ASKED else None

    def _note(self, change: Change, verdict: Verdict) -> None:
        rule, place = verdict.rule, (verdict.cluster_id, verdict.node_id)
        if verdict.card_id is not None and (word := self.facility.note(rule, place, verdict.card_id)):
            for intent in self.book.live():
                planned = intent.state is State.WANTED and intent.rule == rule and intent.automatic
                if planned and self.facility.holds(rule, intent.place):
                    change.move(intent, State.ADVISED, "many cards show it", held_back=f"facility: {word}")
        tripped = self.breaker.note(change, rule, place)
        if tripped is None:
            return
        audit.write(
            change.cursor,
            AuditRow(
                at=change.now,
                actor="policy",
                action="breaker",
                subject=rule,
                reason=tripped,
                result="stopped",
            ),
        )
        self.pages.note_of(rule, tripped, None)
        for intent in self.book.live():
            if intent.state is State.WANTED and intent.rule == rule and intent.automatic:
                change.move(intent, State.ADVISED, "the breaker tripped", held_back=f"breaker: {tripped}")

    # ---- people

    def approve(self, incident_id: int, *, actor: str, digest: str | None = None) -> Intent:
        """A person confirms what is asked or advised for an incident; its calls are made soon after.

        digest: of the calls the person saw; other calls by now are refused. Raises BadInput when there is
        nothing to approve, everything is frozen, the approval expired, or the calls are not known yet.
        """
        with self.book.lock:
            intent = self._of_incident(incident_id, (State.ASKED, State.ADVISED, State.EXPIRED))
            if self.freeze.frozen:
                raise BadInput(f"{self.allowance.frozen_words()}: unfreeze first")
            if intent.state is State.EXPIRED:
                raise BadInput(
                    f"the approval for {intent.subject} has expired; what was true then may not be now: "
                    f"look again, then ullage-collector isolate {intent.subject} --reason ... --execute"
                )
            if intent.state is State.ASKED and (intent.expires_at or 0.0) <= self._clock.wall():
                raise BadInput(
                    f"the approval for {intent.subject} has expired; look again and isolate it yourself"
                )
            if intent.calls is None or intent.digest is None:
                raise BadInput(
                    f"what would be called for {intent.subject} is not known yet: {intent.held_back or 'soon'}"
                )
            if digest is not None and digest != intent.digest:
                raise BadInput(f"the calls for {intent.subject} are others now than you saw: look again")
            with self.book.change() as change:
                approved = change.move(
                    intent,
                    State.WANTED,
                    f"approved by {actor}",
                    action="approve",
                    actor=actor,
                    approved_by=actor,
                    held_back=None,
                    expires_at=None,
                    decided_at=change.now,
                )
        self.woken.set()
        return approved

    def deny(self, incident_id: int, *, actor: str, reason: str) -> Intent:
        """A person says no; the subject is left alone for the cool-down. Raises BadInput as ``approve``."""
        with self.book.lock:
            intent = self._of_incident(incident_id, (*SHOWN, State.WANTED))
            plain = one_line(reason)
            if not plain:
                raise BadInput("give a reason: who sees the fault again will want to know why")
            with self.book.change() as change:
                denied = change.end(intent, State.DENIED, f"denied by {actor}: {plain}", actor=actor)
        self.allowance.cool(denied)
        return denied

    def _of_incident(self, incident_id: int, states: tuple[State, ...]) -> Intent:
        found = [i for i in self.book.caused_by(incident_id) if i.state in states]
        if not found:
            now = ", ".join(f"{i.subject}: {i.state.value}" for i in self.book.caused_by(incident_id))
            raise BadInput(f"incident {incident_id}: nothing to decide ({now or 'no isolation is proposed'})")
        return max(found, key=lambda intent: (intent.state is State.ASKED, intent.family == "node"))

    def sync(self) -> None:
        """See what people did beside us, and which incidents have closed."""
        for intent in self.book.sync():
            self.allowance.cool(intent)

    # ---- what the lifecycle finds

    def hold(self, intent: Intent, why: str, *, page: bool = True) -> None:
        """A decision that may not be carried out any more becomes advice."""
        with self.book.change() as change:
            moved = change.move(
                intent, State.ADVISED, why, held_back=why, approved_by=None, isolation_id=None
            )
            if intent.isolation_id is not None:
                change.close_isolation(intent, "not placed")
            if page:
                self.pages.note(change, moved, why, f"hold {intent.intent_id}")
        self.pages.send()

    def stop_planned(self) -> int:
        """After a freeze: what was planned and not called is only advice, also after unfreezing; how many."""
        stopped = 0
        with self.book.lock:
            planned = [intent for intent in self.book.live() if intent.state is State.WANTED]
            if planned:
                with self.book.change() as change:
                    for intent in planned:
                        why = self.allowance.frozen_words()
                        change.move(intent, State.ADVISED, why, held_back=why, approved_by=None)
                        stopped += 1
        return stopped
