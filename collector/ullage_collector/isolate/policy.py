"""The Decider: what is done about a verdict, within the site's modes and limits.

A decision is an intent, committed before anything is called; carrying it out is lifecycle.py's. Only fresh
verdicts act, the same one twice is one, and one that comes late is none. Whatever forbids acting leaves
advice with its reason, and a page where a person has to know.
Not here: calling actuators, and looking at schedulers: ``consider`` waits for neither.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC
from fnmatch import fnmatchcase
from typing import Any, Final, Protocol

from ullage_collector import audit
from ullage_collector.audit import AuditRow, naive_utc
from ullage_collector.isolate.book import Book, Change
from ullage_collector.isolate.breaker import Breaker
from ullage_collector.isolate.choice import Choice
from ullage_collector.isolate.freeze import Freeze
from ullage_collector.isolate.intent import (
    SHOWN,
    STANDS,
    Intent,
    State,
    level_up,
    stronger,
)
from ullage_collector.isolate.limits import Placed, too_many_at_once, too_many_lately
from ullage_collector.isolate.policy_settings import PolicySettings, lower
from ullage_collector.isolate.surroundings import Place, Surroundings
from ullage_collector.isolate.verdict import Action, Follow, Mode, Turn, Verdict
from ullage_contract.errors import BadInput

log = logging.getLogger(__name__)

ENDED_WEIGHT: Final = 1_000
MOST_POSTPONED: Final = 10_000  # our choice: because a store that is away so long has lost more than these
COOLING: Final = (State.FAILED, State.DENIED, State.GIVEN_BACK)
"""Ends after which a subject is left to people for a while."""


class Pager(Protocol):
    """Who tells a person. Never raises, never blocks."""

    def page(self, subject: str, text: str, incident_id: int | None) -> None: ...


class LogPager:
    """Pages are warnings of the log, where no other way is set up."""

    def page(self, subject: str, text: str, incident_id: int | None) -> None:
        log.warning("page: %s: %s (incident %s)", subject, text, incident_id)


@dataclass(frozen=True, slots=True)
class Case:
    """What is to be decided: a verdict, or what the lifecycle found. ceiling: the mode goes no further."""

    family: str
    subject: str
    cluster_id: str
    node_id: str
    rule: str
    action: Action
    follow: Follow
    mode: Mode
    fresh: bool
    reason: str
    causes: tuple[tuple[int, str, bool], ...] = ()
    domains: Mapping[str, str] = field(default_factory=dict)
    evidence: Mapping[str, Any] = field(default_factory=dict)
    ceiling: Mode = Mode.AUTOMATIC
    parent_id: int | None = None
    cools: bool = True

    @property
    def incident_id(self) -> int | None:
        return self.causes[0][0] if self.causes else None


class Policy:
    """See the module. One instance a store. ``woken`` is set when there is something to carry out."""

    def __init__(
        self,
        book: Book,
        freeze: Freeze,
        surroundings: Surroundings,
        choice: Choice,
        settings: PolicySettings,
        pager: Pager | None = None,
    ) -> None:
        self.book = book
        self.freeze = freeze
        self.surroundings = surroundings
        self.settings = settings
        self.woken = threading.Event()
        self._choice = choice
        self._clock = book.clock
        self._pager = pager or LogPager()
        self.breaker = Breaker(book, settings)
        self._postponed: deque[Verdict] = deque(maxlen=MOST_POSTPONED)
        self._pages: list[tuple[str, str, int | None]] = []
        self._paged_at: dict[str, float] = {}
        self._lately, self._cooling = self._remembered()
        self.considered = 0
        self.ignored = 0

    def _remembered(self) -> tuple[deque[Placed], dict[tuple[str, str, str], float]]:
        """Rates and cool-downs from before this process, put on the monotonic clock: ages cannot be negative."""
        wall, now = self._clock.wall(), self._clock.monotonic()
        lately: deque[Placed] = deque(maxlen=100_000)
        self._called: deque[Placed] = deque(maxlen=100_000)
        since = {"since": naive_utc(wall - self.settings.window_seconds), "now": naive_utc(wall)}
        for family, at, called in self.book.read("recent_placed", since):
            age = max(0.0, wall - at.replace(tzinfo=UTC).timestamp())
            lately.append(Placed(now - age, str(family)))
            if called:
                self._called.append(lately[-1])
        cooling = {}
        for cluster, family, subject, state, at, _ in self.book.read(
            "last_ended", [naive_utc(wall - self.settings.cooldown_seconds)]
        ):
            if State(state) in COOLING:
                age = max(0.0, wall - at.replace(tzinfo=UTC).timestamp())
                cooling[(cluster, family, subject)] = now - age + self.settings.cooldown_seconds
        return lately, cooling

    # ---- verdicts

    def consider(self, verdict: Verdict) -> None:
        """Decider: decide and persist; whatever goes wrong is tried again by ``retry``, and never raised."""
        try:
            self._consider(verdict)
        except Exception:
            log.exception("verdict of incident %d is considered again later", verdict.incident_id)
            self._postponed.append(verdict)
        self.send_pages()
        self.woken.set()

    def retry(self) -> None:
        """Consider again what could not be kept before; one that has grown old only advises."""
        for _ in range(len(self._postponed)):
            self.consider(self._postponed.popleft())

    def _consider(self, verdict: Verdict) -> None:
        weight = _weight(verdict)
        with self.book.change() as change:
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
            reason=_one_line(verdict.reason),
            causes=((verdict.incident_id, verdict.rule, card_side),),
            domains=verdict.domains,
            evidence=verdict.evidence,
            ceiling=self.settings.node_instead_of_card if node_only else Mode.AUTOMATIC,
        )
        if fresh and verdict.mode is not Mode.SHADOW:
            self._note(change, verdict.rule, (verdict.cluster_id, verdict.node_id))
        existing = self._existing(case)
        if existing is None:
            self.decide(change, case)
        else:
            self._again(change, existing, case)

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
            self.note_page(change, intent, f"it came back in probation: next is {raised.value}", "repeat")
            self.decide(change, replace(case, follow=raised, parent_id=intent.intent_id, cools=False))
            return
        for incident_id, rule, node_side in case.causes:
            change.add_cause(intent, incident_id, rule, node_side)
        follow = stronger(intent.follow, case.follow)
        if intent.state in SHOWN:
            state, held_back, mode = self._weigh(case, intent)
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
                    held_back=held_back,
                    decided_at=change.now,
                    expires_at=self._expiry(state, change.now),
                    calls=None,
                )
                self._counted(moved)
            return
        if follow is not intent.follow:
            change.save(
                replace(intent, follow=follow),
                action="decide",
                result=f"{case.rule}: also {follow.value}",
                actor=f"rule {case.rule}",
            )

    def decide(self, change: Change, case: Case) -> Intent:
        """A new intent about a target that has none, in the state its mode and the limits give it."""
        state, held_back, mode = self._weigh(case, None)
        labels = self.surroundings.labels(case.cluster_id, case.node_id)
        wanted = self.settings.drain_of(case.rule, case.cluster_id, case.node_id, labels)
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
                evidence=dict(case.evidence),
                decided_at=change.now,
                changed_at=change.now,
                expires_at=self._expiry(state, change.now),
            ),
            actor=f"rule {case.rule}",
            result=f"{state.value}: {held_back}" if held_back else state.value,
        )
        for incident_id, rule, node_side in case.causes:
            change.add_cause(intent, incident_id, rule, node_side)
        self._counted(intent)
        if mode is Mode.AUTOMATIC and state is State.ADVISED and held_back and case.fresh:
            if not self.breaker.tripped(case.rule):
                kind = held_back.partition(":")[0][:20]
                self.note_page(change, intent, f"not isolated: {held_back}", f"{case.cluster_id} {kind}")
        elif state is State.ASKED:
            self.note_page(change, intent, "waits for approval", f"asked {intent.intent_id}")
        return intent

    def _counted(self, intent: Intent) -> None:
        """Counted when decided: two decisions at once must not both see the room for one.

        A transaction that fails after this has counted one too many for ten minutes: the safe side.
        """
        if intent.state is State.WANTED and intent.automatic:
            self._lately.append(Placed(self._clock.monotonic(), intent.family))

    def _weigh(self, case: Case, intent: Intent | None) -> tuple[State, str | None, Mode]:
        """State, why it goes no further by itself, and the mode that holds."""
        labels = self.surroundings.labels(case.cluster_id, case.node_id)
        mode = self.settings.mode_of(case.mode, case.rule, case.cluster_id, case.node_id, labels)
        mode = mode if mode is Mode.SHADOW else max(lower(mode, case.ceiling), Mode.ADVISE, key=_order)
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

    def _left_alone(self, case: Case, labels: Mapping[str, str]) -> str | None:
        if not case.fresh:
            return "history: what did not just happen is never acted on"
        if word := self.settings.opted_out(case.cluster_id, case.node_id, labels):
            return f"opted out by {word}"
        if why := self.surroundings.maintenance(case.cluster_id, case.node_id):
            return f"maintenance: {why}"
        return None

    def _not_by_itself(self, case: Case, intent: Intent | None) -> str | None:
        now = self._clock.monotonic()
        if self.freeze.frozen:
            return self.frozen_words()
        fleet = self.surroundings.fleet()
        if why := fleet.others.get((case.cluster_id, case.node_id)):
            return f"others keep work off {case.node_id} already: {why}"
        key = (case.cluster_id, case.family, case.subject)
        if case.cools and self._cooling.get(key, 0.0) > now:
            return f"cool-down: a person or a failure ended its last isolation; {self._cooling[key] - now:.0f} s left"
        if self.breaker.tripped(case.rule):
            return f"breaker: {case.rule} is stopped, as many nodes showed it at once"
        lately = too_many_lately(case.family, self._lately, now, self.settings)
        if lately:
            return f"limit: {lately}"
        at_once = too_many_at_once(intent or _sketch(case), self.book.live(), fleet, self.settings)
        return f"limit: {at_once}" if at_once else None

    def frozen_words(self) -> str:
        """Who froze and why, as one line."""
        word = self.freeze.word
        return f"frozen by {word.actor}: {word.reason}" if word else "frozen"

    def _expiry(self, state: State, now: float) -> float | None:
        return now + self.settings.approval_seconds if state is State.ASKED else None

    def _note(self, change: Change, rule: str, place: Place) -> None:
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
        self._pages.append((rule, tripped, None))
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
                raise BadInput(f"{self.frozen_words()}: unfreeze first")
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
            plain = _one_line(reason)
            if not plain:
                raise BadInput("give a reason: who sees the fault again will want to know why")
            with self.book.change() as change:
                denied = change.end(intent, State.DENIED, f"denied by {actor}: {plain}", actor=actor)
        self.cool(denied)
        return denied

    def _of_incident(self, incident_id: int, states: tuple[State, ...]) -> Intent:
        found = [i for i in self.book.caused_by(incident_id) if i.state in states]
        if not found:
            now = ", ".join(f"{i.subject}: {i.state.value}" for i in self.book.caused_by(incident_id))
            raise BadInput(f"incident {incident_id}: nothing to decide ({now or 'no isolation is proposed'})")
        return max(found, key=lambda intent: (intent.state is State.ASKED, intent.family == "node"))

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
                self.note_page(change, moved, why, f"hold {intent.intent_id}")
        self.send_pages()

    def retarget(self, intent: Intent, why: str) -> None:
        """No actuator there can isolate just the card: the node is proposed in its place."""
        self._node_instead(intent, State.REPLACED, why, self.settings.node_instead_of_card)

    def failed(self, intent: Intent, why: str) -> None:
        """Isolating failed for good: one level up, and a page. A node has no level above: it becomes advice."""
        if intent.family == "node":
            self.cool(intent)
            self.hold(intent, f"failed: {why}")
            return
        self._node_instead(intent, State.FAILED, why, self.settings.node_instead_of_card)

    def _node_instead(self, intent: Intent, end: State, why: str, ceiling: Mode) -> None:
        causes = tuple(
            (c.incident_id, c.rule, c.node_side) for c in self.book.causes(intent.intent_id) if not c.ended
        )
        with self.book.change() as change:
            if intent.isolation_id is not None:
                change.close_isolation(intent, "failed")
            ended = change.end(intent, end, why)
            if end is State.FAILED:
                self.note_page(change, ended, f"isolating the card failed: {why}; the node is next", "failed")
            node = self.book.about(intent.cluster_id, "node", intent.node_id)
            if node is not None and node.intent_id not in change.intents:
                for incident_id, rule, side in causes:
                    change.add_cause(node, incident_id, rule, side)
            else:
                asked = Mode.APPROVE if intent.approved_by else _mode(intent)
                self.decide(
                    change,
                    replace(
                        _case_of(intent, Action.ISOLATE_NODE, asked),
                        family="node",
                        subject=intent.node_id,
                        causes=causes,
                        ceiling=ceiling,
                        evidence={**intent.evidence, "instead_of": intent.subject, "why": why},
                    ),
                )
        if end is State.FAILED:
            self.cool(intent)
        self.send_pages()
        self.woken.set()

    def escalate(self, cluster_id: str, node_id: str) -> None:
        """Take the node when enough of its cards are isolated for causes of the node's side, or all are."""
        with self.book.lock:
            live = self.book.on_node(cluster_id, node_id)
            if any(intent.family == "node" for intent in live):
                return
            cards = self.surroundings.fleet().cards.get((cluster_id, node_id), frozenset())
            apart = [i for i in live if i.family == "card" and i.state in STANDS and i.subject in cards]
            side = [
                i for i in apart if any(c.node_side and not c.ended for c in self.book.causes(i.intent_id))
            ]
            enough = max(
                self.settings.escalate_cards, round(len(cards) * self.settings.escalate_ratio + 0.499)
            )
            all_of_them = len(cards) > 1 and len(apart) == len(cards)
            if len(side) < enough and not all_of_them:
                return
            because = apart if all_of_them else side
            causes = {
                c.incident_id: (c.incident_id, c.rule, c.node_side)
                for intent in because
                for c in self.book.causes(intent.intent_id)
                if not c.ended
            }
            strongest = max(because, key=lambda intent: _order(_mode(intent)))
            text = (
                f"{len(because)} of {len(cards)} cards are isolated"
                f"{'' if all_of_them else ' for causes of the node'}"
            )
            with self.book.change() as change:
                self.decide(
                    change,
                    replace(
                        _case_of(strongest, Action.ISOLATE_NODE, _mode(strongest)),
                        family="node",
                        subject=node_id,
                        reason=_one_line(f"{text}: {strongest.reason}"),
                        causes=tuple(causes.values()),
                        evidence={"cards": [intent.subject for intent in because]},
                    ),
                )
        self.send_pages()
        self.woken.set()

    def repeat(self, change: Change, intent: Intent) -> None:
        """A cause came while the intent was being released: decided as if it had come in probation."""
        causes = tuple(
            (c.incident_id, c.rule, c.node_side) for c in self.book.causes(intent.intent_id) if not c.ended
        )
        case = _case_of(intent, intent.action, _mode(intent))
        self.decide(change, replace(case, causes=causes, follow=level_up(intent.follow), cools=False))

    def room_for(self, intent: Intent) -> str | None:
        """Just before the calls: why an automatic one would be too many now; None: it would not, and it is counted.

        Decisions were counted when made; calls are counted too, as those of a scheduler that was away come at once.
        """
        if not intent.automatic:
            return None
        fleet = self.surroundings.fleet()
        if taken := fleet.others.get(intent.place):
            return f"others keep work off {intent.node_id} already: {taken}"
        now = self._clock.monotonic()
        why = too_many_lately(intent.family, self._called, now, self.settings)
        why = why or too_many_at_once(intent, self.book.live(), fleet, self.settings)
        if why is None:
            self._called.append(Placed(now, intent.family))
        return why

    def cool(self, intent: Intent) -> None:
        """Leave a subject to people for a while."""
        self._cooling[intent.key] = self._clock.monotonic() + self.settings.cooldown_seconds

    def stop_planned(self) -> int:
        """After a freeze: what was planned and not called is only advice, also after unfreezing; how many."""
        stopped = 0
        with self.book.lock:
            planned = [intent for intent in self.book.live() if intent.state is State.WANTED]
            if planned:
                with self.book.change() as change:
                    for intent in planned:
                        why = self.frozen_words()
                        change.move(intent, State.ADVISED, why, held_back=why, approved_by=None)
                        stopped += 1
        return stopped

    def page(self, intent: Intent, text: str, kind: str) -> None:
        """Tell a person about an intent, in a transaction of its own; the same kind once in a while."""
        with self.book.change() as change:
            self.note_page(change, intent, text, kind)
        self.send_pages()

    def note_page(self, change: Change, intent: Intent, text: str, kind: str) -> None:
        now = self._clock.monotonic()
        if now - self._paged_at.get(kind, float("-inf")) < self.settings.window_seconds:
            return
        if len(self._paged_at) > MOST_POSTPONED:
            self._paged_at.clear()
        self._paged_at[kind] = now
        change.audit(intent, "page", text)
        self._pages.append((intent.subject, text, intent.incident_id))

    def send_pages(self) -> None:
        if not self._pages:  # most often; the lock is busy in a burst
            return
        with self.book.lock:
            pages, self._pages = self._pages, []
        for page in pages:
            try:
                self._pager.page(*page)
            except Exception:
                log.exception("nobody was told: %s: %s", page[0], page[1])


def _weight(verdict: Verdict) -> int:
    """Verdicts of one incident in the order they count: what weighs no more than the last is the same or late."""
    if verdict.turn is Turn.ENDED:
        return ENDED_WEIGHT
    follow = list(Follow).index(verdict.follow)
    return (verdict.action.strength * 10 + follow) * 2 + int(verdict.fresh)


def _order(mode: Mode) -> int:
    return list(Mode).index(mode)


def _mode(intent: Intent) -> Mode:
    """The mode an intent was decided with; what a person placed asks for a person again."""
    return Mode(intent.mode) if intent.mode in set(Mode) else Mode.APPROVE


def _case_of(intent: Intent, action: Action, mode: Mode) -> Case:
    return Case(
        family=intent.family,
        subject=intent.subject,
        cluster_id=intent.cluster_id,
        node_id=intent.node_id,
        rule=intent.rule,
        action=action,
        follow=intent.follow,
        mode=mode,
        fresh=True,
        reason=intent.reason,
        domains=intent.domains,
        parent_id=intent.intent_id,
    )


def _sketch(case: Case) -> Intent:
    """The intent as the limits see it before it is one."""
    return Intent(
        intent_id=0,
        state=State.WANTED,
        mode=case.mode.value,
        family=case.family,
        subject=case.subject,
        cluster_id=case.cluster_id,
        node_id=case.node_id,
        rule=case.rule,
        action=case.action,
        follow=case.follow,
        drain="finish",
        incident_id=case.incident_id,
        reason=case.reason,
        requested_by="",
        decided_at=0.0,
        changed_at=0.0,
        whole_node=case.family == "node",
        domains=case.domains,
    )


def _one_line(text: str) -> str:
    plain = " ".join("".join(ch if ch.isprintable() else " " for ch in text).split())
    return plain[:200]
