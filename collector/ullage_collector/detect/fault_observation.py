"""What the fault evaluator is shown and what it says: events, samples, and turns of incidents. Pure types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from ullage_collector.detect.fault_rule import FaultRule
from ullage_collector.isolate.verdict import Action, Follow, Mode, Turn
from ullage_contract.event import Event, Severity
from ullage_contract.sample import Origin, Value

WORK: Final = "workload"
"""Family of an incident about a piece of work; no hardware, so it is only ever observed."""


def _nothing() -> Mapping[str, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Holder:
    """Who held the card when it happened. user None: not known."""

    workload: str
    user: str | None


@dataclass(frozen=True, slots=True)
class EventSeen:
    """An event of a node.

    happened_us, received_us: microseconds since the epoch by the collector's clock. fresh: it just happened; backlog,
    imports and replays are not. holders: of the card, where a rule asks (Evaluator.asks_holders). reference: where it
    stands in the journal, for evidence.
    """

    event: Event
    cluster: str
    node: str
    happened_us: int
    received_us: int
    fresh: bool
    holders: tuple[Holder, ...] = ()
    origin: Origin = Origin.REAL
    reference: Mapping[str, Any] = field(default_factory=_nothing)


@dataclass(frozen=True, slots=True)
class SampleSeen:
    """One sample of one subject.

    values: what was read, in the catalogue's units; a missing key was not read and says nothing. growth: of counters,
    since the reading before; a missing key or None is not known. uptime_seconds: since the node's boot at that
    instant. expected: what the inventory says of a metric.
    """

    family: str
    subject: str
    cluster: str
    node: str
    vendor: str | None
    time_us: int
    received_us: int
    fresh: bool
    values: Mapping[str, Value]
    growth: Mapping[str, float] = field(default_factory=_nothing)
    growth_seconds: Mapping[str, float] = field(default_factory=_nothing)
    uptime_seconds: float | None = None
    expected: Mapping[str, float] = field(default_factory=_nothing)
    origin: Origin = Origin.REAL


@dataclass(frozen=True, slots=True)
class Change:
    """What became of the incident of one subject and one rule.

    turn: None: more evidence of what is open already. first_us: first evidence. at_us: when it was decided, by the
    observation's time. action, follow, severity: as they are now, after escalation and temperance. money: it counts
    as faulty for money. ended_by: of an end, what ended it. confirmed work of a person is none of these.
    """

    turn: Turn | None
    rule: FaultRule
    family: str
    subject: str
    cluster: str
    node: str
    vendor: str | None
    code: str | None
    severity: Severity
    action: Action
    follow: Follow
    mode: Mode
    fresh: bool
    first_us: int
    at_us: int
    reason: str
    money: bool
    origin: Origin
    evidence: Mapping[str, Any] = field(default_factory=dict)
    ended_by: str | None = None

    @property
    def card_id(self) -> str | None:
        """The card to isolate; None where only the node is meant."""
        return self.subject if self.family == "card" else None
