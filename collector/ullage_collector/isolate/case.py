"""A case: what is to be decided about one card or node, from a verdict or from what the lifecycle found.

Not here: deciding (policy.py), what the modes and limits allow (allowance.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ullage_collector.isolate.intent import FOLLOW_ASKED, PERSON, SHOWN, Intent, State, follow_asked, stronger
from ullage_collector.isolate.verdict import Action, Follow, Mode, Turn, Verdict

ENDED_WEIGHT: Final = 1_000


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


def case_of(intent: Intent, action: Action, mode: Mode) -> Case:
    """What is decided next where an intent stands: fresh, and its child."""
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


def sketch(case: Case) -> Intent:
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


def weight_of(verdict: Verdict) -> int:
    """Verdicts of one incident in the order they count: what weighs no more than the last is the same or late."""
    if verdict.turn is Turn.ENDED:
        return ENDED_WEIGHT
    follow = list(Follow).index(verdict.follow)
    return (verdict.action.strength * 10 + follow) * 2 + int(verdict.fresh)


def order_of(mode: Mode) -> int:
    """How far a mode goes: shadow 0, automatic the most."""
    return list(Mode).index(mode)


def mode_of(intent: Intent) -> Mode:
    """The mode an intent was decided with; what a person placed asks for a person again."""
    return Mode(intent.mode) if intent.mode in set(Mode) else Mode.APPROVE


def one_line(text: str) -> str:
    """Printable, on one line, 200 characters at most: it is shown in schedulers' reasons."""
    plain = " ".join("".join(ch if ch.isprintable() else " " for ch in text).split())
    return plain[:200]


def evidence_with(intent: Intent, case: Case, mode: Mode) -> Mapping[str, Any]:
    """The intent's evidence with why a person is asked about what follows, now that the case has joined it.

    mode: how far the case's rule goes there. Whoever asks for the most says whether it may be run by itself; a rule that
    goes farther does not speak for what a lesser one asked.
    """
    known = follow_asked(intent)
    evidence = (
        {**intent.evidence, FOLLOW_ASKED: ""} if known else intent.evidence
    )  # no more is not unheard of
    strongest = stronger(intent.follow, case.follow)
    if strongest is Follow.NONE:
        return evidence
    if strongest is not case.follow:
        farther = intent.state in SHOWN and order_of(mode) > order_of(mode_of(intent))
        if farther and intent.state is not State.SHADOW and not known:
            known = {FOLLOW_ASKED: f"{intent.rule} asks for it, whose mode is {intent.mode}"}
        return {**evidence, **known}
    own = Mode.AUTOMATIC if intent.mode == PERSON else mode_of(intent)
    if not case.fresh:
        why = f"{case.rule}: history asks for it"
    elif intent.state not in SHOWN and order_of(mode) < order_of(own):
        why = f"{case.rule} asks for it, whose mode is {mode.value}"
    else:
        return evidence
    if case.follow is intent.follow and not known:
        return evidence  # it may be run without this one's word
    return {**evidence, FOLLOW_ASKED: why}
