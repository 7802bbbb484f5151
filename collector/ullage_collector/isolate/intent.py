"""One decision about one target, from its first verdict to its end, and the states it goes through. Pure types.

docs/isolation.md draws them. Not here: who moves an intent on (policy.py decides, lifecycle.py carries out),
keeping it (book.py).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from ullage_collector.isolate.actuator import Drain
from ullage_collector.isolate.verdict import Action, Follow, Mode

PERSON: Final = "person"
"""The mode of an isolation a person placed with ``isolate``."""
FOR_PERSON: Final = ("probe", "follow")
"""How ``held_back`` of an isolation begins that only a person gives back."""


FOLLOW_ASKED: Final = "follow_asked"
"""In the evidence: what follows was asked for by history, or by a rule that does not go as far as the isolation does."""


class State(StrEnum):
    """Where an intent is. The first eleven are live, the rest are ends."""

    SHADOW = "shadow"
    ADVISED = "advised"
    EXPIRED = "expired"
    ASKED = "asked"
    WANTED = "wanted"
    ISOLATING = "isolating"
    WAITING = "waiting"
    ISOLATED = "isolated"
    PROBING = "probing"
    RELEASING = "releasing"
    PROBATION = "probation"
    OTHERS = "others"
    RELEASED = "released"
    GIVEN_BACK = "given_back"
    WITHDRAWN = "withdrawn"
    DENIED = "denied"
    FAILED = "failed"
    REPLACED = "replaced"


SHOWN: Final = (State.SHADOW, State.EXPIRED, State.ADVISED, State.ASKED)
"""Nothing was called. In the order in which another verdict may raise one to the next."""
STANDS: Final = (State.ISOLATING, State.WAITING, State.ISOLATED, State.PROBING, State.RELEASING)
"""Something of ours may stand in the scheduler."""
COUNTED: Final = (State.WANTED, *STANDS)
"""What the limits count."""
ENDS: Final = (
    State.RELEASED,
    State.GIVEN_BACK,
    State.WITHDRAWN,
    State.DENIED,
    State.FAILED,
    State.REPLACED,
)


@dataclass(frozen=True, slots=True)
class Intent:
    """See sql/0006_policy.sql for every field. Times are seconds since the epoch, None: not so yet."""

    intent_id: int
    state: State
    mode: str
    family: str
    subject: str
    cluster_id: str
    node_id: str
    rule: str
    action: Action
    follow: Follow
    drain: Drain
    incident_id: int | None
    reason: str
    requested_by: str
    decided_at: float
    changed_at: float
    parent_id: int | None = None
    held_back: str | None = None
    approved_by: str | None = None
    actuator: str | None = None
    whole_node: bool = False
    isolation_id: int | None = None
    calls: tuple[str, ...] | None = None
    digest: str | None = None
    domains: Mapping[str, str] = field(default_factory=dict)
    evidence: Mapping[str, Any] = field(default_factory=dict)
    attempts: int = 0
    placed_again: int = 0
    placed_at: float | None = None
    expires_at: float | None = None
    closed_at: float | None = None

    @property
    def live(self) -> bool:
        """It has not ended."""
        return self.closed_at is None

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is about: cluster, family, subject. One live intent each."""
        return (self.cluster_id, self.family, self.subject)

    @property
    def place(self) -> tuple[str, str]:
        """Cluster and node."""
        return (self.cluster_id, self.node_id)

    @property
    def automatic(self) -> bool:
        """Nobody was asked."""
        return self.mode == Mode.AUTOMATIC.value and self.approved_by is None

    @property
    def takes_node(self) -> bool:
        """What it places takes every card of the node."""
        return self.family == "node" or self.whole_node


def waits_for_person(intent: Intent) -> bool:
    """What stands is given back by a person alone: it has to be replaced, or a probe or what followed it did not go well."""
    return intent.follow is Follow.REPLACE or (intent.held_back or "").startswith(FOR_PERSON)


def follow_asked(intent: Intent) -> Mapping[str, str]:
    """The part of the evidence that says why a person is asked about what follows; empty: it may be run by itself."""
    why = intent.evidence.get(FOLLOW_ASKED)
    return {FOLLOW_ASKED: str(why)} if why else {}


@dataclass(frozen=True, slots=True)
class Cause:
    """One incident an intent stands for."""

    incident_id: int
    rule: str
    node_side: bool
    ended: bool = False


def digest_of(calls: Sequence[str]) -> str:
    """What names exact calls: 16 hex digits of the SHA-256 of them as JSON."""
    return hashlib.sha256(json.dumps(list(calls)).encode()).hexdigest()[:16]


def level_up(follow: Follow) -> Follow:
    """The next stronger thing to do to the hardware; replace stays replace."""
    order = list(Follow)
    return order[min(order.index(follow) + 1, len(order) - 1)]


def stronger(one: Follow, other: Follow) -> Follow:
    """The stronger of two."""
    order = list(Follow)
    return max(one, other, key=order.index)
