"""Carries intents out: from wanted to released, step by step, each step looked at before it is believed.

Nothing is called before the decision to call it is committed, and after a crash, a failure or a timeout the
scheduler is looked at (``Actuator.standing``) before anything is called again. Every few seconds what stands
is held against what we believe: what was lost is placed again, what others changed is theirs from then on.
The states and their guards: docs/isolation.md. Not here: deciding (policy.py), how a scheduler is spoken to.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict, deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from enum import StrEnum
from typing import Final, Protocol

from ullage_collector.isolate.actuator import (
    Actuator,
    Plan,
    Run,
    Standing,
    Target,
    execute_call,
    run_program,
    verifies,
)
from ullage_collector.isolate.book import Book, Change
from ullage_collector.isolate.choice import Choice
from ullage_collector.isolate.intent import (
    PERSON,
    SHOWN,
    STANDS,
    Intent,
    State,
    digest_of,
    level_up,
)
from ullage_collector.isolate.places import Places
from ullage_collector.isolate.policy import Policy
from ullage_collector.isolate.surroundings import Place, Surroundings
from ullage_collector.isolate.verdict import Follow
from ullage_contract.errors import ActuatorError, BadInput

log = logging.getLogger(__name__)

LONGEST_STEP: Final = 12  # our choice: because no life has more states, and a loop would be a bug
IDLE_SECONDS: Final = 1.0  # our choice: because what is due is due in seconds; verdicts wake it at once
FIRST_PAUSE_SECONDS: Final = 2.0
LONGEST_PAUSE_SECONDS: Final = 60.0  # our choice: because a scheduler that is away comes back in minutes
LOOK_EARLY_SECONDS: Final = (
    3.0  # our choice: because a card falls free when its job ends, and the page says so
)


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


class _Stopped(Exception):
    """Frozen between two calls."""


class Lifecycle:
    """See the module. ``step`` does everything that is due; ``run`` does so until stopped, nodes side by side.

    places: a lock a node, shared with whoever else calls actuators. prober None: nobody probes here.
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
    ) -> None:
        self._policy = policy
        self._book: Book = policy.book
        self._choice = choice
        self._surroundings = surroundings
        self._places = places
        self._prober = prober
        self._run = run
        self._settings = policy.settings
        self._clock = self._book.clock
        self._next: dict[int, float] = {}
        self._pause: dict[int, float] = {}
        self._again_at: dict[int, deque[float]] = defaultdict(deque)
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
            self.sync()
            self._surroundings.survey()
        if self._policy.freeze.frozen:
            self._policy.stop_planned()

    def sync(self) -> None:
        """See what people did beside us, and which incidents have closed."""
        for intent in self._book.sync():
            self._policy.cool(intent)

    def _due(self) -> dict[Place, list[int]]:
        now = self._clock.monotonic()
        due: dict[Place, list[int]] = {}
        live = self._book.live()
        known = {intent.intent_id for intent in live}
        for gone in [number for number in self._next if number not in known]:
            self._next.pop(gone, None)
            self._pause.pop(gone, None)
            self._again_at.pop(gone, None)
        for intent in live:
            if self._next.get(intent.intent_id, 0.0) <= now or (
                intent.state is State.WANTED and intent.intent_id not in self._pause
            ):
                due.setdefault(intent.place, []).append(intent.intent_id)
        return due

    def _advance_all(self, place: Place, ids: list[int]) -> None:
        for intent_id in ids:
            for _ in range(LONGEST_STEP):
                with self._places.lock(place):
                    intent = self._book.get(intent_id)
                    if intent is None:
                        break
                    self._next[intent_id] = self._clock.monotonic() + self._settings.reconcile_seconds
                    self._advance(intent)
                after = self._book.get(intent_id)
                if after is None or after.state is intent.state:
                    break
                if intent.state is State.WANTED and self._parallel:
                    # others that wait for their first call go before its second look
                    self._next[intent_id] = self._clock.monotonic() + LOOK_EARLY_SECONDS
                    break

    def _advance(self, intent: Intent) -> None:
        if intent.state is State.SHADOW:
            self._withdraw_if_over(intent)
        elif intent.state in SHOWN:
            self._show(intent)
        elif intent.state is State.WANTED:
            self._place(intent)
        elif intent.state is State.ISOLATING:
            self._resume(intent)
        elif intent.state in (State.WAITING, State.ISOLATED):
            self._keep(intent)
        elif intent.state is State.PROBING:
            self._probe(intent)
        elif intent.state is State.RELEASING:
            self._release(intent)
        elif intent.state is State.PROBATION:
            self._watch(intent)
        elif intent.state is State.OTHERS:
            self._leave(intent)

    # ---- shown

    def _withdraw_if_over(self, intent: Intent) -> bool:
        if not self._book.over(intent.intent_id):
            return False
        with self._book.change() as change:
            change.end(intent, State.WITHDRAWN, "its incident has ended")
        return True

    def _show(self, intent: Intent) -> None:
        """Advised or asked: the exact calls are planned and shown; an approval expires."""
        if self._withdraw_if_over(intent):
            return
        if intent.state is State.ASKED and (intent.expires_at or 0.0) <= self._clock.wall():
            with self._book.change() as change:
                change.move(
                    intent, State.EXPIRED, "nobody approved in time", held_back="the approval expired"
                )
            self._policy.page(intent, "nobody approved its isolation in time", f"expired {intent.intent_id}")
            return
        if intent.calls is not None or (intent.held_back or "").startswith("history:"):
            return
        found = self._planned(intent)
        if found is not None:
            _, plan, _ = found
            with self._book.change() as change:
                self._shown(change, intent, plan)

    def _shown(self, change: Change, intent: Intent, plan: Plan) -> Intent:
        shown = _with_plan(intent, plan)
        return change.save(
            shown,
            action="propose" if intent.state is not State.WANTED else None,
            result=f"{intent.state.value}; would be called: {'; '.join(shown.calls or ()) or 'nothing'}",
        )

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
                self._policy.retarget(intent, why)
                return None
            try:
                return actuator, actuator.plan_isolate(target), target
            except ActuatorError as e:
                said.append(f"{actuator.name}: {e}")
        self._later(intent, "; ".join(said))
        return None

    def _later(self, intent: Intent, why: str) -> None:
        """Not now: again after a growing pause; what may not wait any longer becomes advice."""
        pause = min(self._pause.get(intent.intent_id, FIRST_PAUSE_SECONDS / 2) * 2, LONGEST_PAUSE_SECONDS)
        self._pause[intent.intent_id] = pause
        self._next[intent.intent_id] = self._clock.monotonic() + pause
        if intent.state is State.WANTED and self._too_old(intent):
            self._policy.hold(intent, f"could not be carried out in time: {why}")
        elif intent.state in SHOWN and intent.held_back is None:
            with self._book.change() as change:
                change.save(replace(intent, held_back=why[:500]))
        log.info("isolation of %s: later: %s", intent.subject, why)

    def _too_old(self, intent: Intent) -> bool:
        """A decision that has waited too long, or that a clock says is from the future."""
        return abs(self._clock.wall() - intent.decided_at) > self._settings.decision_seconds

    # ---- placing

    def _place(self, intent: Intent) -> None:
        """Wanted: look, check again, commit that it is about to be called, call."""
        if self._withdraw_if_over(intent):
            return
        if self._policy.freeze.frozen:
            self._policy.hold(intent, self._policy.frozen_words(), page=False)
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
            if why := self._policy.room_for(current):
                self._policy.hold(current, f"limit: {why}")
                return
            with self._book.change() as change:
                current = _with_plan(current, plan)
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
            shown = self._shown(change, intent, plan)
            change.move(
                shown,
                State.ASKED,
                "the calls are others now than were approved",
                approved_by=None,
                expires_at=change.now + self._settings.approval_seconds,
            )

    def _adopt(self, intent: Intent, plan: Plan, why: str) -> None:
        """What stands is ours: from an earlier life of ours, or a person's. It becomes this intent's."""
        self.sync()
        if self._book.get(intent.intent_id) != intent:
            return  # a person's isolation joined it
        with self._book.change() as change:
            current = self._shown(change, intent, plan)
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
        self._policy.escalate(intent.cluster_id, intent.node_id)

    def _call(self, intent: Intent, actuator: Actuator, plan: Plan) -> None:
        """Make the calls of a committed decision; what became of it is committed after."""
        try:
            results = self._make(plan, frozen_stops=True)
        except _Stopped:
            self._resume(intent)
            return
        except ActuatorError as e:
            failed = self._note_failure(intent, "isolate", e)
            self._resume(failed)
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
        self._pause.pop(intent.intent_id, None)
        log.info("isolated %s on %s: %s", intent.subject, intent.node_id, intent.reason)
        self._policy.escalate(intent.cluster_id, intent.node_id)

    def _make(self, plan: Plan, *, frozen_stops: bool) -> list[str]:
        results: list[str] = []
        for call in plan.calls:
            if frozen_stops and self._policy.freeze.frozen:
                raise _Stopped
            results += execute_call(call, run=self._run)
        return results

    def _note_failure(self, intent: Intent, action: str, error: Exception) -> Intent:
        with self._book.change() as change:
            current = self._book.get(intent.intent_id) or intent
            return change.save(
                replace(current, attempts=current.attempts + 1), action=action, result=f"failed: {error}"
            )

    def _resume(self, intent: Intent) -> None:
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
                self._policy.escalate(intent.cluster_id, intent.node_id)
        elif standing is Standing.OTHERS:
            self._let_go(intent)
        elif standing is Standing.UNKNOWN and not blind:
            self._later(intent, f"{actuator.name} does not say what stands there")
        elif self._policy.freeze.frozen:
            if blind:
                self._later(intent, "frozen, and nobody can say what stands there")
            elif intent.placed_again or intent.mode == PERSON:
                self._later(intent, self._policy.frozen_words())
            else:
                self._policy.hold(intent, self._policy.frozen_words(), page=False)
        elif self._book.over(intent.intent_id):
            self._nothing_stands(intent)
        elif intent.attempts >= self._settings.attempts:
            self._policy.failed(intent, f"{intent.attempts} attempts failed; the audit has each")
        elif intent.attempts and self._pause.get(intent.intent_id) is None:
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
        self._pause.pop(intent.intent_id, None)
        self._call(intent, actuator, plan)

    # ---- what stands

    def _keep(self, intent: Intent) -> None:
        """Waiting or isolated: does it still stand, is the card free, has its time or its cause ended."""
        actuator, target = self._actuator(intent), self._surroundings.target(intent)
        if actuator is None or target is None:
            self._later(intent, "its actuator or its card is not known any more")
            return
        if self._leaves(intent):
            return
        standing = actuator.standing(target)
        if standing is Standing.OTHERS:
            self._let_go(intent)
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
                self._next[intent.intent_id] = self._clock.monotonic() + LOOK_EARLY_SECONDS
        elif intent.changed_at + self._settings.review_seconds < self._clock.wall():
            days = (self._clock.wall() - intent.changed_at) / 86400
            self._policy.page(intent, f"isolated for {days:.0f} days: decide", f"review {intent.intent_id}")

    def _leaves(self, intent: Intent) -> bool:
        """Its exit condition is met: it goes on its way back."""
        if intent.expires_at is not None and intent.expires_at <= self._clock.wall():
            with self._book.change() as change:
                change.move(intent, State.RELEASING, "its time is over", action="release")
            return True
        if intent.mode == PERSON or not self._book.over(intent.intent_id):
            return False
        if intent.follow is Follow.REPLACE or (intent.held_back or "").startswith("probe"):
            return False  # a person gives it back
        if self._prober is not None and intent.family == "card":
            if intent.state is not State.ISOLATED:
                return False  # probes run on a card that nobody holds
            with self._book.change() as change:
                change.move(intent, State.PROBING, "its incidents have ended")
            return True
        with self._book.change() as change:
            change.move(intent, State.RELEASING, "its incidents have ended", action="release")
        return True

    def _lost(self, intent: Intent) -> None:
        """What we placed is gone: cancelled by hand, a reboot, a scheduler that lost its state. Placed again."""
        if self._policy.freeze.frozen:
            self._policy.page(
                intent, "it was lost and is not placed again: frozen", f"lost {intent.intent_id}"
            )
            return
        now = self._clock.monotonic()
        lately = self._again_at[intent.intent_id]
        while lately and now - lately[0] >= 3600.0:
            lately.popleft()
        if len(lately) >= self._settings.places_an_hour:
            self._policy.cool(intent)
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

    def _let_go(self, intent: Intent) -> None:
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
            self._policy.note_page(
                change, moved, "others took over what we placed", f"others {intent.intent_id}"
            )
        self._policy.send_pages()

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
        except _Stopped:
            return
        except ActuatorError as e:
            self._note_failure(intent, "end_work", e)
            self._policy.page(
                intent, f"the work there could not be ended: {e}", f"end_work {intent.intent_id}"
            )
            return
        with self._book.change() as change:
            change.audit(intent, "end_work", "; ".join(results) or "nothing to call", plan=plan)

    # ---- the way back

    def _probe(self, intent: Intent) -> None:
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
            self._next[intent.intent_id] = self._clock.monotonic() + LOOK_EARLY_SECONDS
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
            self._policy.note_page(
                change, moved, f"{why}; next is {follow.value}", f"probe {intent.intent_id}"
            )
        self._policy.send_pages()

    def _release(self, intent: Intent) -> None:
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
                self._let_go(intent)
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
                self._policy.page(failed, f"it cannot be released: {e}", f"release {intent.intent_id}")
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
        self._pause.pop(intent.intent_id, None)
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
                self._policy.repeat(change, moved)
        log.info("released %s on %s", intent.subject, intent.node_id)

    def _watch(self, intent: Intent) -> None:
        """On probation: in service, watched; nothing stands."""
        if (intent.expires_at or 0.0) <= self._clock.wall():
            with self._book.change() as change:
                change.end(intent, State.RELEASED, "probation is over")

    def _leave(self, intent: Intent) -> None:
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

    def _actuator(self, intent: Intent) -> Actuator | None:
        return self._choice.actuators.get(intent.actuator or "")


def _with_plan(intent: Intent, plan: Plan) -> Intent:
    calls = tuple(str(call) for call in plan.calls)
    return replace(
        intent,
        calls=calls,
        digest=digest_of(calls),
        actuator=plan.actuator,
        whole_node=plan.whole_node or intent.family == "node",
    )


def _actor(intent: Intent) -> str:
    return intent.approved_by or intent.requested_by
