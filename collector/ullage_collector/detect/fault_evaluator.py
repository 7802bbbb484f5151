"""From events and samples to turns of incidents, by the fault catalogue. Pure: no clock, no database.

An observation of one subject changes only that subject's tracks, so the order of independent subjects does not matter.
What was not read, and who is not heard, opens nothing and ends nothing. Evidence from backlog opens a record; only what
fresh evidence alone makes true is fresh. Not here: conditions (fault_conditions.py), several subjects at once
(correlation.py), writing (incidents.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from ullage_collector.detect.fault_conditions import Judged, counted, nothing_new, sampled
from ullage_collector.detect.fault_observation import WORK, Change, EventSeen, Holder, SampleSeen
from ullage_collector.detect.fault_rule import Condition, FaultRule, Signal
from ullage_collector.detect.fault_track import Seen, Standing, Track
from ullage_collector.detect.fault_words import duration
from ullage_collector.isolate.verdict import Action, Follow, Mode, Turn
from ullage_contract.event import Severity
from ullage_contract.sample import Family, Origin

TEMPER_US: Final = 600_000_000
"""our choice: two reports of one error come within seconds by the kernel log and within a minute or two by counters."""

_Key = tuple[str, str, str, str]  # rule, family, cluster of a node, subject
_Node = tuple[str, str]


class Evaluator:
    """Judges one observation after the other. One thread's alone.

    rules: one ONCE rule at most counts for one event, the first that matches and is not in shadow, else the first. tracks: what was remembered before a
    restart.
    """

    def __init__(self, rules: Sequence[FaultRule], tracks: Iterable[Track] = ()) -> None:
        self.rules = {rule.name: rule for rule in rules}
        self._once = [r for r in rules if r.signal is Signal.EVENT and r.condition is Condition.ONCE]
        self._events: dict[str, list[FaultRule]] = {}
        self._exits: dict[str, list[FaultRule]] = {}
        self._samples: dict[str, list[FaultRule]] = {}
        for rule in rules:
            if rule.signal is Signal.EVENT and rule.condition is not Condition.ONCE:
                self._events.setdefault(rule.kind or "", []).append(rule)
            if rule.signal is Signal.METRIC:
                self._samples.setdefault(rule.family or "", []).append(rule)
            for kind in rule.exit:
                self._exits.setdefault(kind, []).append(rule)
        self._tracks: dict[_Key, Track] = {}
        self._of_node: dict[_Node, dict[_Key, Track]] = {}
        self._timed: dict[_Key, Track] = {}  # those that time alone may turn
        self._work: dict[tuple[str, str], set[str]] = {}
        self._heard: dict[_Node, int] = {}
        self._booted: dict[_Node, int] = {}
        self._dirty: set[_Key] = set()
        for track in tracks:
            if track.rule in self.rules:
                self._put(_key(track.rule, track.family, track.cluster, track.subject), track)
        for track in self._tracks.values():
            self._note_work(track)

    # ------------------------------------------------------------------------------------ observations
    def asks_holders(self, event_seen: EventSeen) -> bool:
        """Whether a rule wants to know who held the card when this happened."""
        return any(
            rule.condition in (Condition.DISTINCT, Condition.SAME_WORK) and rule.matches(event_seen.event)
            for rule in self._events.get(event_seen.event.kind, ())
        )

    def heard(self, cluster: str, node: str, at_us: int) -> None:
        """A node was heard, by the collector's clock: what waits for time to pass may go on."""
        if at_us > self._heard.get((cluster, node), 0):
            self._heard[cluster, node] = at_us

    def booted(self, cluster: str, node: str, at_us: int) -> None:
        """A node booted at that instant, as far as is known; an older boot changes nothing."""
        if at_us > self._booted.get((cluster, node), 0):
            self._booted[cluster, node] = at_us

    def adopt(self, other: Evaluator) -> None:
        """Take over when nodes were heard and booted, which no table keeps."""
        self._heard, self._booted = other._heard, other._booted

    def event(self, seen: EventSeen) -> list[Change]:
        """What one event changes."""
        self.heard(seen.cluster, seen.node, seen.received_us)
        uptime = seen.event.attributes.get("uptime_seconds")
        if isinstance(uptime, int | float) and uptime >= 0:
            self.booted(seen.cluster, seen.node, seen.happened_us - round(uptime * 1e6))
        changes = self._exit(seen)
        fit = [rule for rule in self._once if rule.matches(seen.event)]
        # what is only counted takes nothing from a rule that may do more
        once = next((rule for rule in fit if rule.mode is not Mode.SHADOW), fit[0] if fit else None)
        if once is not None:
            changes += self._occurrence(once, seen)
        for rule in self._events.get(seen.event.kind, ()):
            if rule.matches(seen.event):
                if rule.condition in (Condition.STANDS, Condition.FLAP):
                    changes += self._stands(rule, seen)
                elif rule.condition is Condition.SAME_WORK:
                    for holder in seen.holders:
                        changes += self._of_work(rule, seen, holder)
                else:
                    changes += self._occurrence(rule, seen)
        return changes

    def sample(self, seen: SampleSeen) -> list[Change]:
        """What one sample changes."""
        self.heard(seen.cluster, seen.node, seen.received_us)
        if seen.uptime_seconds is not None:
            self.booted(seen.cluster, seen.node, seen.time_us - round(seen.uptime_seconds * 1e6))
        changes: list[Change] = []
        for rule in self._samples.get(seen.family, ()):
            if rule.vendor is not None and rule.vendor != seen.vendor:
                continue
            key = _key(rule.name, seen.family, seen.cluster, seen.subject)
            track = self._tracks.get(key)
            if track is None:
                if nothing_new(rule, seen):
                    continue
                track = Track(rule.name, seen.family, seen.subject, seen.cluster, seen.node, seen.vendor)
            watched, base = track.watched, track.base
            judged = sampled(rule, track, seen)
            if judged.met or not track.idle:
                self._put(key, track)
            if watched or track.watched or track.base != base:
                self._dirty.add(key)  # what may become a baseline is learned anew after a restart
            if judged.met:
                evidence = {
                    "time": seen.time_us / 1e6,
                    "metric": rule.metric,
                    "node": seen.node,
                    **(judged.measured or {}),
                }
                changes += self._met(
                    rule, track, judged, seen.time_us, None, evidence, seen.origin, told=False
                )
            elif judged.good:
                changes += self._good(rule, track, seen.time_us)
            self._forget_idle(key, track)
        return changes

    def tick(self, now_us: int) -> list[Change]:
        """What the passing of time changes, for nodes that were heard since it was due."""
        changes: list[Change] = []
        for track in list(self._timed.values()):
            rule = self.rules[track.rule]
            due = self._due(rule, track)
            if due is None or due > now_us or self._heard.get((track.cluster, track.node), 0) < due:
                continue
            if track.standing is None:
                changes += self._stood(rule, track, due)
            else:
                changes.append(self._end(rule, track, due, f"quiet for {duration(rule.exit_after_us or 0)}"))
        return changes

    def waiting(self, now_us: int) -> set[_Node]:
        """Nodes of which something is due by now if they were heard: the engine asks when they last were."""
        found = set()
        for track in self._timed.values():
            due = self._due(self.rules[track.rule], track)
            if due is not None and due <= now_us:
                found.add((track.cluster, track.node))
        return found

    def closed(self, rule: str, family: str, cluster: str, subject: str, at_us: int) -> None:
        """A person, or the policy, has closed the incident: evidence from before counts no more."""
        key = _key(rule, family, cluster, subject)
        track = self._tracks.get(key)
        if track is None or track.standing is None:
            return
        self._reset(track, at_us)
        # what is there now was accepted by whoever closed it: it may be learned as healthy
        track.base, track.likely, track.likely_seen = None, None, 0
        self._dirty.add(key)

    def standing(self) -> list[Track]:
        """Tracks with an open incident."""
        return [track for track in self._tracks.values() if track.standing is not None]

    def changed(self) -> tuple[list[Track], list[_Key]]:
        """Tracks to be written, and keys of those to be deleted, since the last call."""
        written, gone = [], []
        for key in sorted(self._dirty):
            track = self._tracks.get(key)
            if track is None or (track.idle and not track.closed_us):
                gone.append(key)
            else:
                written.append(track)
        self._dirty.clear()
        return written, gone

    # ------------------------------------------------------------------------------------ events
    def _occurrence(self, rule: FaultRule, seen: EventSeen) -> list[Change]:
        track = self._track(rule, seen, seen.event.family.value, seen.event.subject)
        if seen.happened_us < track.closed_us or self._in_grace(rule, track, seen.happened_us):
            return []
        if rule.condition is Condition.ONCE:
            judged = Judged(True, seen.fresh, False, seen.happened_us)
        else:
            holder = (
                seen.holders[0] if len(seen.holders) == 1 else None
            )  # of several holders nobody knows which
            track.see(
                Seen(
                    seen.happened_us,
                    seen.fresh,
                    holder.workload if holder else None,
                    holder.user if holder else None,
                )
            )
            track.forget_before(track.seen[-1].at_us - rule.over_us)
            self._note_work(track)
            self._touch(track)
            judged = counted(
                rule, track, lambda item: len(self._work.get((rule.name, item.who or ""), ())) < 2
            )
        if not judged.met and track.standing is None:
            return []
        return self._met(rule, track, judged, seen.happened_us, seen.event.code, _told(seen), seen.origin)

    def _of_work(self, rule: FaultRule, seen: EventSeen, holder: Holder) -> list[Change]:
        if seen.event.family is not Family.CARD:
            return []
        track = self._track(rule, seen, WORK, holder.workload)
        track.see(Seen(seen.happened_us, seen.fresh, seen.event.subject, holder.user))
        track.forget_before(track.seen[-1].at_us - rule.over_us)
        self._touch(track)
        judged = counted(rule, track, lambda _: True)
        if not judged.met and track.standing is None:
            return []
        evidence = {**_told(seen), "user": holder.user, "cards": sorted({s.who for s in track.seen if s.who})}
        return self._met(rule, track, judged, seen.happened_us, seen.event.code, evidence, seen.origin)

    def _stands(self, rule: FaultRule, seen: EventSeen) -> list[Change]:
        """A state begins; it opens at once where it need not last and the node did not just boot."""
        track = self._track(rule, seen, seen.event.family.value, seen.event.subject)
        if seen.happened_us < track.closed_us:
            return []
        self._touch(track)
        if track.down_us is None or seen.happened_us < track.down_us:
            track.down_us = seen.happened_us
        track.down_fresh = track.down_fresh or seen.fresh
        track.down_origin = seen.origin.value
        track.down_told = {**_told(seen), "vendor": seen.event.vendor}
        if rule.condition is Condition.FLAP:
            return []
        if track.standing is not None:
            judged = Judged(True, seen.fresh, False, seen.happened_us)
            return self._met(rule, track, judged, seen.happened_us, seen.event.code, _told(seen), seen.origin)
        due = self._due(rule, track)
        return (
            self._stood(rule, track, seen.happened_us) if due is not None and due <= seen.happened_us else []
        )

    def _stood(self, rule: FaultRule, track: Track, at_us: int) -> list[Change]:
        told = dict(track.down_told)
        told.pop("vendor", None)
        judged = Judged(True, track.down_fresh, False, track.down_us or at_us)
        self._touch(track)
        return self._met(rule, track, judged, at_us, told.get("code"), told, Origin(track.down_origin))

    def _exit(self, seen: EventSeen) -> list[Change]:
        """End what this event ends: of its subject, or of all subjects of the node and maker when it is the node's."""
        changes: list[Change] = []
        for rule in self._exits.get(seen.event.kind, ()):
            for track in self._ended_by(rule, seen):
                if rule.condition is Condition.FLAP:
                    changes += self._back_up(rule, track, seen)
                    continue
                if track.down_us is not None and seen.happened_us >= track.down_us:
                    track.down_us, track.down_fresh, track.down_told = None, False, {}
                    self._touch(track)
                if track.standing is not None and seen.happened_us >= track.standing.last_us:
                    changes.append(
                        self._end(rule, track, seen.happened_us, f"event {seen.event.kind}", _told(seen))
                    )
        return changes

    def _ended_by(self, rule: FaultRule, seen: EventSeen) -> list[Track]:
        own = self._tracks.get(_key(rule.name, seen.event.family.value, seen.cluster, seen.event.subject))
        if seen.event.family is not Family.NODE:
            return [own] if own is not None else []
        return [
            track
            for track in self._of_node.get((seen.cluster, seen.node), {}).values()
            if track.rule == rule.name and (track is own or track.vendor == seen.event.vendor)
        ]

    def _back_up(self, rule: FaultRule, track: Track, seen: EventSeen) -> list[Change]:
        """A state that began and ended is one flap, if it lasted long enough and was not part of a boot."""
        down, fresh = track.down_us, track.down_fresh and seen.fresh
        told = track.down_told
        if down is None or seen.happened_us < down:
            return []
        track.down_us, track.down_fresh, track.down_told = None, False, {}
        self._touch(track)
        if seen.happened_us - down < rule.down_us or self._in_grace(rule, track, down):
            return []
        track.see(Seen(seen.happened_us, fresh))
        track.forget_before(track.seen[-1].at_us - rule.over_us)
        judged = counted(rule, track, lambda _: True)
        if not judged.met and track.standing is None:
            return []
        evidence = {**told, "down_seconds": (seen.happened_us - down) / 1e6}
        evidence.pop("vendor", None)
        return self._met(rule, track, judged, seen.happened_us, None, evidence, seen.origin)

    # ------------------------------------------------------------------------------------ turns
    def _met(
        self,
        rule: FaultRule,
        track: Track,
        judged: Judged,
        at_us: int,
        code: str | None,
        evidence: Mapping[str, Any],
        origin: Origin,
        *,
        told: bool = True,
    ) -> list[Change]:
        """The condition is true: open, worsen or add evidence. told: evidence of an open incident is told each time."""
        track.clear_us = None
        self._touch(track)
        standing = track.standing
        if standing is None:
            track.openings.append(judged.first_us)
            changes = [self._open(rule, track, judged, at_us, code, evidence, origin)]
            return changes + self._temper(track, at_us)
        worse = judged.met and judged.fresh and not standing.fresh
        booted = self._booted.get((track.cluster, track.node), 0)
        if rule.again and standing.last_us < booted <= at_us:
            track.openings.append(at_us)  # it came again after a restart, which has not helped then
            action, follow, _ = self._level(rule, track, judged.first_us or at_us)
            if (action.strength, _rank(follow)) > (
                Action(standing.action).strength,
                _rank(Follow(standing.follow)),
            ):
                standing.action, standing.follow, worse = action.value, follow.value, True
        standing.first_us = min(standing.first_us, judged.first_us or at_us)
        standing.last_us = max(standing.last_us, at_us)
        standing.fresh = standing.fresh or (judged.met and judged.fresh)
        if worse:
            return [
                self._change(
                    rule, track, Turn.WORSENED, at_us, code, evidence, judged.fresh, self._why(rule, code)
                )
            ]
        return [self._change(rule, track, None, at_us, code, evidence, judged.fresh, "")] if told else []

    def _open(
        self,
        rule: FaultRule,
        track: Track,
        judged: Judged,
        at_us: int,
        code: str | None,
        evidence: Mapping[str, Any],
        origin: Origin,
    ) -> Change:
        action, follow, why = self._level(rule, track, judged.first_us)
        track.standing = Standing(
            since_us=at_us,
            first_us=judged.first_us,
            last_us=at_us,
            fresh=judged.fresh,
            action=action.value,
            follow=follow.value,
            severity=rule.severity.value,
            origin=origin.value,
        )
        held = self._milder(rule, track)
        if held is not None:
            track.standing.action = self._held_to(rule, track, action).value
            why += f"; {held} says that it is milder"
        return self._change(
            rule, track, Turn.OPENED, at_us, code, evidence, judged.fresh, self._why(rule, code) + why
        )

    def _level(self, rule: FaultRule, track: Track, first_us: int) -> tuple[Action, Follow, str]:
        """Action and follow of the rule, of its next level, or of the node when several of its cards show it."""
        action, follow, why = rule.action, rule.follow, ""
        if rule.again is not None:
            track.openings = [at for at in track.openings if at > first_us - rule.again.within_us][-64:]
            if len(track.openings) >= rule.again.times:
                if rule.again.action.strength > action.strength:
                    action = rule.again.action
                if _rank(rule.again.follow) > _rank(follow):
                    follow = rule.again.follow
                why = f"; {len(track.openings)} times in {duration(rule.again.within_us)}"
        else:
            track.openings = []
        if rule.spread is not None and track.family == Family.CARD:
            others = [
                other
                for other in self._of_node.get((track.cluster, track.node), {}).values()
                if other.rule == rule.name
                and other is not track
                and other.standing is not None
                and abs(other.standing.first_us - first_us) <= rule.spread.within_us
            ]
            if len(others) + 1 >= rule.spread.cards and rule.spread.action.strength > action.strength:
                action = rule.spread.action
                why += f"; {len(others) + 1} cards of the node in {duration(rule.spread.within_us)}"
        if track.family == Family.NODE and action.strength and not action.node:
            action = Action.ISOLATE_NODE  # which card it is nobody knows
            why += "; which card it is, is not known"
        return action, follow, why

    def _good(self, rule: FaultRule, track: Track, at_us: int) -> list[Change]:
        """A good sample: an open incident ends when they were good for long enough."""
        if track.standing is None or rule.exit_after_us is None:
            return []
        self._touch(track)
        if track.clear_us is None:
            track.clear_us = at_us
        if at_us - track.clear_us < rule.exit_after_us:
            return []
        return [self._end(rule, track, at_us, f"good for {duration(rule.exit_after_us)}")]

    def _end(
        self, rule: FaultRule, track: Track, at_us: int, by: str, evidence: Mapping[str, Any] | None = None
    ) -> Change:
        change = self._change(rule, track, Turn.ENDED, at_us, None, evidence or {}, True, by, ended_by=by)
        self._reset(track, at_us)
        self._touch(track)
        return change

    def _reset(self, track: Track, at_us: int) -> None:
        track.standing = None
        track.seen, track.bad, track.grown = [], [], []
        track.still, track.clear_us = 0, None
        track.down_us, track.down_fresh, track.down_told = None, False, {}
        track.closed_us = at_us

    # ------------------------------------------------------------------------------------ temperance
    def _milder(self, rule: FaultRule, track: Track) -> str | None:
        """A milder rule that this one gives way to now, by name."""
        standing = track.standing
        if standing is None:
            return None
        for name in sorted(rule.yields_to):
            other = self._tracks.get(_key(name, track.family, track.cluster, track.subject))
            if other is not None and other.standing is not None:
                near = abs(other.standing.last_us - standing.last_us) <= TEMPER_US
                if near or other.standing.first_us <= standing.first_us <= other.standing.last_us:
                    return name
        return None

    def _held_to(self, rule: FaultRule, track: Track, action: Action) -> Action:
        """What is left of an action that a milder report stands against: nothing, or with evidence of another class
        for it an isolation that lets running work finish."""
        if len(self._classes(track) | {rule.independent}) < 2:
            return Action.OBSERVE
        return min(action, Action.ISOLATE_CARD, key=lambda a: a.strength)

    def _classes(self, track: Track) -> set[str]:
        """Classes of evidence of what stands against the subject now and asks for an isolation."""
        assert track.standing is not None
        found = set()
        for other in self._of_node.get((track.cluster, track.node), {}).values():
            rule = self.rules[other.rule]
            if (
                other.subject == track.subject
                and other.family == track.family
                and other.standing is not None
                and rule.action is not Action.OBSERVE
                and abs(other.standing.last_us - track.standing.last_us) <= TEMPER_US
            ):
                found.add(rule.independent)
        return found

    def _temper(self, opened: Track, at_us: int) -> list[Change]:
        """What the opening of one rule changes for others of the same subject: a milder report ends a stronger incident
        and opens it again as observed; evidence of another class gives its action back."""
        changes: list[Change] = []
        for other in list(self._of_node.get((opened.cluster, opened.node), {}).values()):
            rule = self.rules[other.rule]
            if other is opened or other.subject != opened.subject or other.family != opened.family:
                continue
            if other.standing is None or not rule.yields_to or self._milder(rule, other) is None:
                continue
            standing = other.standing
            wanted = self._held_to(rule, other, rule.action)
            now = Action(standing.action)
            if wanted.strength > now.strength:
                standing.action = wanted.value
                why = f"{self._why(rule, None)}; {opened.rule} is independent evidence"
                changes.append(
                    self._change(
                        rule, other, Turn.WORSENED, at_us, None, {"rule": opened.rule}, standing.fresh, why
                    )
                )
            elif wanted.strength < now.strength and opened.rule in rule.yields_to:
                by = f"{opened.rule} says that it is milder"
                changes.append(
                    self._change(
                        rule, other, Turn.ENDED, at_us, None, {"rule": opened.rule}, True, by, ended_by=by
                    )
                )
                standing.action, standing.since_us = wanted.value, at_us
                why = f"{self._why(rule, None)}; {by}"
                changes.append(
                    self._change(
                        rule, other, Turn.OPENED, at_us, None, {"rule": opened.rule}, standing.fresh, why
                    )
                )
            self._touch(other)
        return changes

    # ------------------------------------------------------------------------------------ parts
    def _change(
        self,
        rule: FaultRule,
        track: Track,
        turn: Turn | None,
        at_us: int,
        code: str | None,
        evidence: Mapping[str, Any],
        fresh: bool,
        reason: str,
        *,
        ended_by: str | None = None,
    ) -> Change:
        standing = track.standing
        assert standing is not None
        action = Action(standing.action)
        guessed = track.family == Family.NODE and not rule.action.node
        return Change(
            turn=turn,
            rule=rule,
            family=track.family,
            subject=track.subject,
            cluster=track.cluster,
            node=track.node,
            vendor=track.vendor,
            code=code,
            severity=Severity(standing.severity),
            action=action,
            follow=Follow(standing.follow),
            mode=rule.mode,
            fresh=fresh,
            first_us=standing.first_us,
            at_us=at_us,
            reason=reason,
            money=rule.confirmed
            and action is not Action.OBSERVE
            and rule.mode is not Mode.SHADOW
            and not guessed,
            origin=Origin(standing.origin),
            evidence=evidence,
            ended_by=ended_by,
        )

    @staticmethod
    def _why(rule: FaultRule, code: str | None) -> str:
        return f"{rule.name} {code or ''}".strip()

    def _due(self, rule: FaultRule, track: Track) -> int | None:
        """When time alone makes the next turn of a track; None: never."""
        if track.standing is not None:
            if rule.signal is not Signal.EVENT or rule.exit_after_us is None:
                return None
            return track.standing.last_us + rule.exit_after_us
        if rule.condition is not Condition.STANDS or track.down_us is None:
            return None
        due = track.down_us + rule.lasting_us
        booted = self._booted.get((track.cluster, track.node))
        if rule.grace_us and booted is not None and booted <= due:
            due = max(due, booted + rule.grace_us)
        return due

    def _in_grace(self, rule: FaultRule, track: Track, at_us: int) -> bool:
        booted = self._booted.get((track.cluster, track.node))
        return bool(rule.grace_us) and booted is not None and booted <= at_us < booted + rule.grace_us

    def _track(self, rule: FaultRule, seen: EventSeen, family: str, subject: str) -> Track:
        key = _key(rule.name, family, seen.cluster, subject)
        track = self._tracks.get(key)
        if track is None:
            track = Track(rule.name, family, subject, seen.cluster, seen.node, seen.event.vendor)
            self._put(key, track)
        elif (track.cluster, track.node) != (seen.cluster, seen.node):
            self._of_node.get((track.cluster, track.node), {}).pop(key, None)  # the card was moved
            track.cluster, track.node = seen.cluster, seen.node
            self._put(key, track)
        return track

    def _put(self, key: _Key, track: Track) -> None:
        self._tracks[key] = track
        self._of_node.setdefault((track.cluster, track.node), {})[key] = track
        rule = self.rules[track.rule]
        if rule.signal is Signal.EVENT and (
            rule.condition is Condition.STANDS or rule.exit_after_us is not None
        ):
            self._timed[key] = track

    def _touch(self, track: Track) -> None:
        self._dirty.add(_key(track.rule, track.family, track.cluster, track.subject))

    def _forget_idle(self, key: _Key, track: Track) -> None:
        if key in self._tracks and track.idle and not track.closed_us:
            del self._tracks[key]
            self._timed.pop(key, None)
            self._of_node.get((track.cluster, track.node), {}).pop(key, None)
            self._dirty.add(key)

    def _note_work(self, track: Track) -> None:
        """Which cards a workload's failures were seen on, for rules that want them on one card alone."""
        if self.rules[track.rule].condition is Condition.DISTINCT:
            for seen in track.seen:
                if seen.who:
                    self._work.setdefault((track.rule, seen.who), set()).add(track.subject)


def _key(rule: str, family: str, cluster: str, subject: str) -> _Key:
    return rule, family, cluster if family == Family.NODE else "", subject


def _told(seen: EventSeen) -> dict[str, Any]:
    """An event as evidence."""
    return {
        "time": seen.happened_us / 1e6,
        "kind": seen.event.kind,
        "code": seen.event.code,
        "message": seen.event.message,
        "node": seen.node,
        **seen.reference,
    }


def _rank(follow: Follow) -> int:
    return list(Follow).index(follow)
