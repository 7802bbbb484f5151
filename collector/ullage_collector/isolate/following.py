"""What follows an isolation: the reset, reboot or replacement it asks for, run once by a site's own program or service.

It is run on a card or node that is isolated, that a scheduler has lately said is free, and that nobody works on. Before
anything is run the store says that it is about to be; what a crash leaves unsaid is told to a person and never run twice.
What was done is no proof: probes follow (way_back.py). The gates and what each state means: docs/isolation.md.
Not here: the run itself (follow_call.py), the rows (follow_book.py).
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from ullage_collector.isolate.book import Change
from ullage_collector.isolate.follow_book import (
    APPROVED,
    HELD,
    OPEN,
    RUNNING,
    SHOWN,
    WAITING,
    FollowBook,
    FollowRow,
)
from ullage_collector.isolate.follow_call import Ended, FollowCall, Outcome, call_of, run_call
from ullage_collector.isolate.follow_settings import FollowMode, FollowSettings, Hook
from ullage_collector.isolate.intent import (
    FOLLOW_ASKED,
    Intent,
    State,
    follow_asked,
    level_up,
    stronger,
    waits_for_person,
)
from ullage_collector.isolate.stage import Means, Stage
from ullage_collector.isolate.verdict import Follow
from ullage_contract.errors import ActuatorError, BadInput

log = logging.getLogger(__name__)

Key = tuple[int, Follow]
TOUCHES: Final = (Follow.RESET, Follow.REBOOT)
"""What ends work that is there; a replacement is only asked for."""
BEGUN: Final = "follow_begun"
"""In an intent's evidence: what was begun and whose end was not acted on."""


def begin_thread(work: Callable[[], None]) -> None:
    """Run it beside everything else."""
    threading.Thread(target=work, name="follow", daemon=True).start()


@dataclass(frozen=True, slots=True)
class FollowMeans:
    """settings: the site's. ends_itself: whether a rule's incidents have a way out without a person. heard: when a
    cluster's scheduler last said whole what it runs, in seconds since the epoch, None: not since the start. bundle: what
    goes with an incident to its maker. run, start: of a call, and of what runs beside the lifecycle.
    """

    settings: FollowSettings = field(default_factory=FollowSettings)
    ends_itself: Callable[[str], bool] = lambda rule: True
    heard: Callable[[str], float | None] = lambda cluster: None
    bundle: Callable[[int], Mapping[str, Any]] = lambda incident: {}
    bundles: Path = Path("/nonexistent")
    run: Callable[[FollowCall], Ended] = run_call
    start: Callable[[Callable[[], None]], None] = begin_thread


class Following(Stage):
    """See the module. Its methods but ``approve`` are called with the node's lock held."""

    def __init__(self, means: Means, follow: FollowMeans) -> None:
        super().__init__(means)
        self._means = follow
        self._rows = FollowBook(self._book)
        self._running: dict[Key, tuple[str, str]] = {}
        self._claiming = threading.Lock()

    def busy(self, intent: Intent) -> bool:
        """Something runs for it now: until it has ended nothing else is done about it."""
        return any(incident == intent.incident_id for incident, _ in list(self._running))

    def look(self, intent: Intent) -> None:
        """Isolated, and what was begun is settled: what follows is shown or begun."""
        hook = self._means.settings.hooks.get(intent.follow)
        if hook is None or intent.incident_id is None:
            return
        row = self._rows.get(intent.incident_id, intent.follow)
        if row is None or row.state in OPEN:
            self._consider(intent, hook, row)

    def settle(self, intent: Intent) -> Intent:
        """Act on the end of what was begun, once, also where more is asked for by now; the intent as it is then.

        Before anything else is decided about it: what may or may not have been done is no reason to give it back.
        """
        if intent.state is not State.ISOLATED or intent.incident_id is None:
            return intent
        begun = Follow(intent.evidence.get(BEGUN, intent.follow.value))
        row = self._rows.get(intent.incident_id, begun)
        if row is not None and row.state not in OPEN and _followed(intent).get("follow") != begun.value:
            self._settle(intent, begun, row)
        return self._book.get(intent.intent_id) or intent

    def covers(self, intent: Intent) -> bool:
        """A reset or reboot was done, nothing has come since, and only a person could end the incidents otherwise."""
        done = intent.evidence.get("followed")
        if not isinstance(done, Mapping) or done.get("state") != Outcome.DONE.value:
            return False
        if done.get("follow") != intent.follow.value or intent.follow not in TOUCHES:
            return False
        if self._clock.wall() - float(done["at"]) < self._means.settings.settle_seconds:
            return False
        still = [cause for cause in self._book.causes(intent.intent_id) if not cause.ended]
        known = set(done["incidents"])
        return bool(still) and all(
            cause.incident_id in known and not self._means.ends_itself(cause.rule) for cause in still
        )

    def approve(self, incident_id: int, *, actor: str) -> Intent:
        """A person has it run now. Raises BadInput when there is nothing to run, or something forbids it."""
        with self._book.lock:
            found = [i for i in self._book.caused_by(incident_id) if i.follow is not Follow.NONE]
            isolated = [i for i in found if i.state is State.ISOLATED and i.incident_id is not None]
            if not isolated:
                now = ", ".join(f"{i.subject}: {i.state.value}" for i in found) or "nothing follows it"
                raise BadInput(f"incident {incident_id}: nothing can be run now ({now})")
            intent = isolated[-1]
            hook = self._means.settings.hooks.get(intent.follow)
            if hook is None:
                raise BadInput(f"[isolation.follow.{intent.follow.value}] is not set: nothing would be run")
            row = self._rows.get(intent.incident_id or 0, intent.follow)
            if row is not None and row.state not in OPEN:
                raise BadInput(
                    f"{intent.follow.value} of incident {incident_id}: {row.state}: {row.result}; once only"
                )
            if why := self._forbidden(intent):
                raise BadInput(f"{intent.follow.value} of {intent.subject}: {why}")
            try:
                call = self._call(intent, hook)
            except ActuatorError as e:
                raise BadInput(f"{intent.follow.value} of {intent.subject}: {e}") from e
            with self._book.change() as change:
                self._rows.put(change, intent, APPROVED, call, f"asked for by {actor}", actor=actor)
        self._agenda.in_seconds(intent.intent_id, 0.0)
        self._policy.woken.set()
        return intent

    # ---- before it is run

    def _consider(self, intent: Intent, hook: Hook, row: FollowRow | None) -> None:
        approved = row is not None and row.state == APPROVED
        call, why = None, None
        try:
            call = self._call(intent, hook)
        except ActuatorError as e:
            why = str(e)
        if not approved and (person := self._needs_person(intent, hook, row)) is not None:
            state, said = person
            self._put(intent, state, call, why or said, row)
            return
        why = why or self._forbidden(intent)
        if why is not None or call is None:
            state = HELD
            if row is not None and approved:
                late = abs(self._clock.wall() - row.changed_at) > self._settings.decision_seconds
                # what a freeze has stopped is not begun by its end
                state = WAITING if late or self._policy.freeze.frozen else APPROVED
            self._put(intent, state, call, why, row)
            return
        self._begin(intent, hook, row.actor if row is not None and approved else "policy")

    def _needs_person(self, intent: Intent, hook: Hook, row: FollowRow | None) -> tuple[str, str] | None:
        """The state in which it waits for a person, and why; None: it may run by itself."""
        if hook.mode is FollowMode.SHADOW:
            return SHOWN, "mode shadow"
        if hook.mode is FollowMode.APPROVE:
            return WAITING, "mode approve: a person decides"
        if row is not None and row.state in (SHOWN, WAITING):
            return row.state, row.result or ""
        if self._policy.freeze.frozen:
            return WAITING, f"{self._policy.allowance.frozen_words()}: a person decides"
        if self._policy.breaker.tripped(intent.rule):
            return WAITING, f"breaker: {intent.rule} is stopped, as many nodes showed it at once"
        if asked := follow_asked(intent):
            return WAITING, f"{asked[FOLLOW_ASKED]}: a person decides"
        if waits_for_person(intent) and intent.follow is not Follow.REPLACE:
            return WAITING, f"{intent.held_back}"
        since = max(intent.changed_at, float(_followed(intent).get("at", 0.0)))
        if abs(self._clock.wall() - since) > self._settings.decision_seconds:
            return WAITING, "it could not be run in time: a person decides"
        return None

    def _forbidden(self, intent: Intent) -> str | None:
        """Why it may not be run at this moment, whoever asks for it; None: nothing forbids it."""
        if self._policy.freeze.frozen:
            return self._policy.allowance.frozen_words()
        if intent.follow not in TOUCHES:
            return None
        if intent.follow is Follow.REBOOT and not intent.takes_node:
            return "a reboot takes the whole node, which is not isolated"
        if intent.place in list(self._running.values()):
            return "something else runs on this node"
        if self._surroundings.held(intent):
            return "work holds it"
        oldest, now = self._means.settings.heard_seconds, self._clock.wall()
        if oldest is not None:
            heard = self._means.heard(intent.cluster_id)
            if heard is None or abs(now - heard) > oldest or heard < (intent.placed_at or 0.0):
                return "no scheduler has said lately what runs there"
        if (word := self._surroundings.maintenance(*intent.place)) is not None:
            return f"the node is being worked on: {word}"
        labels = self._surroundings.labels(*intent.place)
        if (word := self._settings.opted_out(*intent.place, labels)) is not None:
            return f"left alone: {word}"
        return None

    def _put(
        self, intent: Intent, state: str, call: FollowCall | None, why: str | None, row: FollowRow | None
    ) -> None:
        """Keep it where it is another than before; a person is told once when it begins to wait for one."""
        if row is not None and (row.state, row.result) == (state, why):
            return
        with self._book.change() as change:
            current = self._book.get(intent.intent_id)
            if current is None or current.follow is not intent.follow:
                return
            if self._rows.get(current.incident_id or 0, current.follow) != row:
                return  # a person asked for it meanwhile
            actor = row.actor if row is not None and state == APPROVED else "policy"
            self._rows.put(change, current, state, call, why, actor=actor)
            if state == WAITING and (row is None or row.state != WAITING):
                text = f"{current.follow.value} waits for a person: {why}"
                self._policy.pages.note(change, current, text, f"follow {current.intent_id}")
        self._policy.pages.send()

    def _call(self, intent: Intent, hook: Hook) -> FollowCall:
        card: tuple[Any, ...] = (None,) * 7
        if intent.family == "card":
            rows = self._book.read("card", [intent.subject], file="follow")
            card = rows[0] if rows else card
        bundle = self._means.bundles / f"incident-{intent.incident_id}.json"
        return call_of(
            hook,
            {
                "follow": intent.follow.value,
                "cluster": intent.cluster_id,
                "node": intent.node_id,
                "family": intent.family,
                "card": card[0],
                "vendor": card[1],
                "model": card[2],
                "serial": card[4],
                "minor": card[5],
                "pci_address": card[6],
                "incident": intent.incident_id,
                "isolation": intent.isolation_id,
                "rule": intent.rule,
                "bundle": None if hook.url is not None else str(bundle),
            },
        )

    # ---- the run

    def _begin(self, intent: Intent, hook: Hook, actor: str) -> None:
        key = (intent.incident_id or 0, intent.follow)
        try:
            call = self._with_bundle(self._call(intent, hook), intent, hook)
        except (ActuatorError, OSError) as e:
            self._put(intent, WAITING, None, f"its bundle cannot be made: {e}", self._rows.get(*key))
            return
        with self._claiming:  # nodes run side by side
            if len(self._running) >= self._means.settings.at_once:
                self._agenda.early(intent.intent_id)
                return
            self._running[key] = intent.place
        marked = False
        try:
            marked = self._mark(intent, call, actor)
        finally:
            if not marked:
                self._running.pop(key, None)
        if not marked:
            return
        log.warning("%s of %s on %s begins", intent.follow.value, intent.subject, intent.node_id)
        try:
            self._means.start(lambda: self._run_one(key, intent, call))
        except RuntimeError as e:  # no thread can be had
            self._running.pop(key, None)
            with self._book.change() as change:
                never = Ended(Outcome.NOT_BEGUN, f"it could not be begun: {e}")
                self._rows.end(change, intent.subject, *key, never)

    def _mark(self, intent: Intent, call: FollowCall, actor: str) -> bool:
        """Commit that it is about to run; False: it may not any more."""
        with self._book.change() as change:
            current = self._book.get(intent.intent_id)
            if current is None or current.state is not State.ISOLATED or current.follow is not intent.follow:
                return False
            self._rows.put(change, current, RUNNING, call, None, actor=actor)
            causes = [cause.incident_id for cause in self._book.causes(current.intent_id) if not cause.ended]
            began = {"follow_for": causes, BEGUN: current.follow.value}
            change.save(replace(current, evidence={**current.evidence, **began}))
        return True

    def _with_bundle(self, call: FollowCall, intent: Intent, hook: Hook) -> FollowCall:
        if intent.follow is not Follow.REPLACE and "{bundle}" not in hook.argv:
            return call
        document = self._means.bundle(intent.incident_id or 0)
        if hook.url is not None:
            return replace(call, body={**call.body, "bundle": document})
        if "{bundle}" in hook.argv:
            folder = self._means.bundles
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            whole = folder / f"incident-{intent.incident_id}.json"
            part = whole.with_suffix(".part")
            with os.fdopen(
                os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
            ) as file:
                json.dump(document, file, ensure_ascii=False, indent=1, default=str)
            part.replace(whole)
        return call

    def _run_one(self, key: Key, intent: Intent, call: FollowCall) -> None:
        try:
            if self._policy.freeze.frozen:
                ended = Ended(Outcome.NOT_BEGUN, self._policy.allowance.frozen_words())
            else:
                try:
                    ended = self._means.run(call)
                except Exception as e:
                    log.exception("%s of %s", key[1].value, intent.subject)
                    ended = Ended(Outcome.UNKNOWN, f"{type(e).__name__}: {e}")
            with self._book.change() as change:
                self._rows.end(change, intent.subject, key[0], key[1], ended)
            log.warning("%s of %s: %s: %s", key[1].value, intent.subject, ended.outcome.value, ended.said)
        finally:
            self._running.pop(key, None)
            self._agenda.in_seconds(intent.intent_id, 0.0)
            self._policy.woken.set()

    # ---- after it

    def _settle(self, intent: Intent, begun: Follow, row: FollowRow) -> None:
        """It is not running any more: what its end means for the intent."""
        state = row.state
        with self._book.change() as change:
            current = self._book.get(intent.intent_id)
            if current is None or current.state is not State.ISOLATED:
                return
            if state == RUNNING:  # it ended, and the store could not be told how
                state = Outcome.UNKNOWN.value
                lost = Ended(Outcome.UNKNOWN, "its end could not be written down")
                self._rows.end(change, current.subject, current.incident_id or 0, begun, lost)
            self._note_end(change, current, begun, state, row)
        self._policy.pages.send()

    def _note_end(self, change: Change, intent: Intent, begun: Follow, state: str, row: FollowRow) -> None:
        what, said = begun.value, row.result or ""
        marked = replace(
            intent,
            evidence={
                **{key: value for key, value in intent.evidence.items() if key != BEGUN},
                "followed": {
                    "follow": what,
                    "state": state,
                    "at": row.ended_at if row.ended_at is not None else change.now,
                    "incidents": list(intent.evidence.get("follow_for", ())),
                },
            },
        )
        text = f"{what} is {state}: {said}"
        if state == Outcome.FAILED.value:
            marked = replace(marked, follow=stronger(level_up(begun), intent.follow))
            text = f"{what} failed: {said}; next is {marked.follow.value}"
        elif state == Outcome.UNKNOWN.value:
            marked = replace(
                marked, held_back=f"follow: whether the {what} was done is not known: a person decides"
            )
            text = f"whether the {what} was done nobody knows, and it is not run again: look at it: {said}"
        change.save(marked, action="lifecycle", result=text)
        if state != Outcome.DONE.value or begun is Follow.REPLACE:
            self._policy.pages.note(change, marked, text, f"followed {intent.intent_id} {what}")


def _followed(intent: Intent) -> Mapping[str, Any]:
    found = intent.evidence.get("followed")
    return found if isinstance(found, Mapping) else {}
