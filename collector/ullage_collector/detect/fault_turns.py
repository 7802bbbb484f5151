"""Turns of incidents: opened at which level, worsened, tempered by a milder report, ended.

Not here: what makes a condition true (fault_conditions.py), reading observations (fault_evaluator.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ullage_collector.detect.fault_conditions import Judged
from ullage_collector.detect.fault_memory import Memory, key_of
from ullage_collector.detect.fault_observation import Change
from ullage_collector.detect.fault_rule import FaultRule
from ullage_collector.detect.fault_track import Standing, Track
from ullage_collector.detect.fault_words import duration
from ullage_collector.isolate.verdict import Action, Follow, Mode, Turn
from ullage_contract.event import Severity
from ullage_contract.sample import Family, Origin

TEMPER_US: Final = 600_000_000
"""our choice: two reports of one error come within seconds by the kernel log and within a minute or two by counters."""


class Turns(Memory):
    """What becomes of a rule's incident about a subject."""

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
            other = self._tracks.get(key_of(name, track.family, track.cluster, track.subject))
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


def _rank(follow: Follow) -> int:
    return list(Follow).index(follow)
