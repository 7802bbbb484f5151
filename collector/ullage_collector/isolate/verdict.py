"""What the fault rules say should happen, and how far a rule may go by itself. Pure types.

The fault engine makes a verdict when an incident opens, worsens or ends; the policy decides what is done about it
(policy.py). Not here: rules (detect/), calls (actuators), writing anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from ullage_contract.event import Severity


class Mode(StrEnum):
    """How far a rule may go by itself, least first.

    SHADOW: counted only. ADVISE: shown with the exact calls. APPROVE: done once a person confirms. AUTOMATIC: done,
    within the limits.
    """

    SHADOW = "shadow"
    ADVISE = "advise"
    APPROVE = "approve"
    AUTOMATIC = "automatic"


class Action(StrEnum):
    """What is asked for, weakest first. ``drain_*`` also ends the work there, as the drain settings say."""

    OBSERVE = "observe"
    ISOLATE_CARD = "isolate_card"
    DRAIN_CARD = "drain_card"
    ISOLATE_NODE = "isolate_node"
    DRAIN_NODE = "drain_node"

    @property
    def strength(self) -> int:
        return list(Action).index(self)

    @property
    def node(self) -> bool:
        """It takes the whole node."""
        return self in (Action.ISOLATE_NODE, Action.DRAIN_NODE)


class Follow(StrEnum):
    """What has to be done to the hardware before it may come back, weakest first; always a person's or a hook's."""

    NONE = "none"
    RESET = "reset"
    REBOOT = "reboot"
    REPLACE = "replace"


class Turn(StrEnum):
    """What became of an incident."""

    OPENED = "opened"
    WORSENED = "worsened"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One incident's turn.

    family and subject: card, port or node and its id. card_id: the card to isolate, None where only the node is meant.
    cluster_id, node_id: where it is. domains: rack, switch and the like by word, for limits; empty where unknown.
    fresh: it just happened; a verdict from backlog, import or replay never leads to an action.
    first_evidence_us, decided_us: microseconds since the epoch.
    """

    turn: Turn
    incident_id: int
    rule: str
    family: str
    subject: str
    cluster_id: str
    node_id: str
    card_id: str | None
    severity: Severity
    action: Action
    follow: Follow
    mode: Mode
    fresh: bool
    first_evidence_us: int
    decided_us: int
    reason: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    domains: Mapping[str, str] = field(default_factory=dict)


class Decider(Protocol):
    """Who decides what is done about verdicts. Called by the fault engine after its own transaction."""

    def consider(self, verdict: Verdict) -> None:
        """Take note and act or not; the same verdict twice is one. Never raises; never blocks for a scheduler."""
        ...
