"""From events and samples to turns of incidents, by the fault catalogue. Pure: no clock, no database.

An observation of one subject changes only that subject's tracks, so the order of independent subjects does not matter.
What was not read, and who is not heard, opens nothing and ends nothing. Evidence from backlog opens a record; only what
fresh evidence alone makes true is fresh. Not here: conditions (fault_conditions.py), several subjects at once
(correlation.py), writing (incident_turns.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ullage_collector.detect.fault_conditions import Judged, counted, nothing_new, sampled
from ullage_collector.detect.fault_memory import key_of
from ullage_collector.detect.fault_observation import WORK, Change, EventSeen, Holder, SampleSeen
from ullage_collector.detect.fault_rule import Condition, FaultRule, Signal
from ullage_collector.detect.fault_track import Seen, Track
from ullage_collector.detect.fault_turns import Turns
from ullage_collector.detect.fault_words import duration
from ullage_collector.isolate.verdict import Mode
from ullage_contract.sample import Family, Origin


class Evaluator(Turns):
    """Judges one observation after the other. One thread's alone.

    rules: one ONCE rule at most counts for one event, the first that matches and is not in shadow, else the first.
    tracks: what was remembered before a restart.
    """

    def __init__(self, rules: Sequence[FaultRule], tracks: Iterable[Track] = ()) -> None:
        super().__init__(rules, tracks)
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

    # ------------------------------------------------------------------------------------ observations
    def asks_holders(self, event_seen: EventSeen) -> bool:
        """Whether a rule wants to know who held the card when this happened."""
        return any(
            rule.condition in (Condition.DISTINCT, Condition.SAME_WORK) and rule.matches(event_seen.event)
            for rule in self._events.get(event_seen.event.kind, ())
        )

    def event(self, seen: EventSeen) -> list[Change]:
        """What one event changes."""
        self.heard(seen.cluster, seen.node, seen.received_us)
        uptime = seen.event.attributes.get("uptime_seconds")
        if isinstance(uptime, int | float) and uptime >= 0:
            self.booted(seen.cluster, seen.node, seen.happened_us - round(uptime * 1e6), uptime)
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
            self.booted(
                seen.cluster, seen.node, seen.time_us - round(seen.uptime_seconds * 1e6), seen.uptime_seconds
            )
        changes: list[Change] = []
        for rule in self._samples.get(seen.family, ()):
            if rule.vendor is not None and rule.vendor != seen.vendor:
                continue
            key = key_of(rule.name, seen.family, seen.cluster, seen.subject)
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

    def closed(self, rule: str, family: str, cluster: str, subject: str, at_us: int) -> None:
        """A person, or the policy, has closed the incident: evidence from before counts no more."""
        key = key_of(rule, family, cluster, subject)
        track = self._tracks.get(key)
        if track is None or track.standing is None:
            return
        self._reset(track, at_us)
        # what is there now was accepted by whoever closed it: it may be learned as healthy
        track.base, track.likely, track.likely_seen = None, None, 0
        self._dirty.add(key)

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
                    _part(rule, seen),
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
        own = self._tracks.get(key_of(rule.name, seen.event.family.value, seen.cluster, seen.event.subject))
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


def _part(rule: FaultRule, seen: EventSeen) -> str | None:
    value = seen.event.attributes.get(rule.same) if rule.same is not None else None
    return None if value is None else str(value)


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
