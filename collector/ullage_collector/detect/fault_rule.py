"""One rule of the fault catalogue as a type: which signal, which condition, what should happen, how it ends.

The rules themselves are data (detect/faults/*.toml); reading them is detect/faults. Not here: judging (fault_evaluator.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from ullage_collector.isolate.verdict import Action, Follow, Mode
from ullage_contract.catalogue import THROTTLE_REASONS
from ullage_contract.event import Event, Severity
from ullage_contract.sample import Value

BOOT_GRACE_SECONDS: Final = 600.0
"""our choice (row "rules over the table"): drivers, fabric and links of a large node are up within ten minutes."""
LEARN_SAMPLES: Final = 30
"""our choice: because half an hour of slow samples in a row is no accident of a start."""


class Signal(StrEnum):
    """Where the evidence is from. HISTORY: our own records of isolations. NONE: nobody tells Ullage; see ``why``."""

    EVENT = "event"
    METRIC = "metric"
    HISTORY = "history"
    NONE = "none"


class Condition(StrEnum):
    """When evidence becomes a fault.

    ONCE: one event. REPEAT: ``times`` in ``over``, a burst counted once. STANDS: an event and no ``exit`` event for
    ``lasting``. FLAP: ``times`` down for at least ``down`` and back, in ``over``. DISTINCT: ``times`` in ``over``, from
    ``workloads`` of ``users``. SAME_WORK: one workload's event on ``cards`` cards in ``over``.
    LEVEL: above, below, one of ``words`` or of ``bits`` in ``bad`` of ``of`` samples. RATE: growth above ``above`` a
    ``per``, over ``within``. RISE: growth above 0. FROZEN: a counter that stands still for ``bad`` samples. SHORT: less
    than the inventory says or the subject itself long had, in ``bad`` of ``of`` samples.
    OFFENDER: ``times`` isolations in ``over``.
    """

    ONCE = "once"
    REPEAT = "repeat"
    STANDS = "stands"
    FLAP = "flap"
    DISTINCT = "distinct"
    SAME_WORK = "same_work"
    LEVEL = "level"
    RATE = "rate"
    RISE = "rise"
    FROZEN = "frozen"
    SHORT = "short"
    OFFENDER = "offender"


OF_EVENTS: Final = frozenset(
    {
        Condition.ONCE,
        Condition.REPEAT,
        Condition.STANDS,
        Condition.FLAP,
        Condition.DISTINCT,
        Condition.SAME_WORK,
    }
)
OF_METRICS: Final = frozenset(
    {Condition.LEVEL, Condition.RATE, Condition.RISE, Condition.FROZEN, Condition.SHORT}
)
OF_COUNTERS: Final = frozenset({Condition.RATE, Condition.RISE, Condition.FROZEN})


@dataclass(frozen=True, slots=True)
class Again:
    """The next level: the same fault of the same subject for the ``times``-th time within ``within_us``."""

    times: int
    within_us: int
    action: Action
    follow: Follow


@dataclass(frozen=True, slots=True)
class Spread:
    """From one card to its node: ``cards`` cards of one node with this fault within ``within_us``."""

    cards: int
    within_us: int
    action: Action


@dataclass(frozen=True, slots=True)
class PerLane:
    """A limit that grows with a link: the rate of its generation, times its lanes, rounded up.

    generation, width: metrics of the same subject that say what the link can be, not what it idles at. rates: a lane, by
    generation from 1 on, in the unit of ``above``. What does not say both, or a generation beyond, has the limit ``above``.
    """

    generation: str
    width: str
    rates: tuple[float, ...]

    def limit(self, row: Mapping[str, Any]) -> float | None:
        """The limit by the sample's values; None: the link does not say what it is."""
        generation, width = row.get(self.generation), row.get(self.width)
        if not isinstance(generation, int | float) or not isinstance(width, int | float):
            return None
        if not 1 <= generation <= len(self.rates) or generation != int(generation) or width < 1:
            return None
        return float(math.ceil(self.rates[int(generation) - 1] * width))


@dataclass(frozen=True, slots=True)
class Share:
    """Not the card's fault but the room's: this share of the cards of a node or rack shows it within ``within_us``.

    ratio: 0..1. cards: at least so many, whatever the share. of: node, rack. Then nothing is isolated for it by itself.
    """

    ratio: float
    cards: int
    of: frozenset[str]
    within_us: int


@dataclass(frozen=True, slots=True)
class During:
    """Samples count only while ``metric`` of the same row is above ``above``; where it is missing they do not count."""

    metric: str
    above: float


@dataclass(frozen=True, slots=True)
class FaultRule:
    """One rule. Durations are microseconds, thresholds are in the catalogue's unit.

    rows: of the fault catalogue (health, section 3) it stands for. says: the fault in one sentence. vendor: the maker,
    None: any. why: of a rule without signal, why there is none. unless: an event attribute that makes it no fault when
    it is 1. attributes: event attributes and the values that count. only_severity: of the event.
    grace_us: evidence sooner than that after the node's boot does not count, or waits. burst_us: what comes within it
    of the first counts once. leave: the level at which a sample counts as good again; None: the threshold itself.
    learn: samples in a row that make a healthy baseline. confirmed: a hardware fault, so it counts for money where its
    action is isolate or stronger and its mode is not shadow. independent: class of evidence; two classes are
    independent of each other. yields_to: milder rules that this one gives way to while it stands on one class alone.
    exit: event kinds that end it; exit_after_us: it ends when the condition is gone for so long; neither: a person
    ends it. source: whose judgement it is. same: an event attribute (a link, say): only events with the same value count
    together, and one without it with none. per_lane: of a rate. share: so many cards at once are no card's fault.
    """

    name: str
    source: str
    severity: Severity
    action: Action
    confirmed: bool
    rows: tuple[int, ...] = ()
    says: str = ""
    vendor: str | None = None
    signal: Signal = Signal.EVENT
    why: str | None = None
    family: str | None = None
    kind: str | None = None
    codes: frozenset[str] = frozenset()
    unless: str | None = None
    attributes: Mapping[str, frozenset[Value]] = field(default_factory=lambda: MappingProxyType({}))
    only_severity: Severity | None = None
    metric: str | None = None
    above: float | None = None
    below: float | None = None
    above_metric: str | None = None
    below_metric: str | None = None
    words: frozenset[str] = frozenset()
    bits: frozenset[str] = frozenset()
    during: During | None = None
    condition: Condition = Condition.ONCE
    times: int = 1
    over_us: int = 0
    burst_us: int = 0
    lasting_us: int = 0
    down_us: int = 0
    workloads: int = 0
    users: int = 0
    cards: int = 0
    bad: int = 1
    of: int = 1
    leave: float | None = None
    per_us: int = 1_000_000
    within_us: int = 0
    learn: int = LEARN_SAMPLES
    grace_us: int = 0
    follow: Follow = Follow.NONE
    mode: Mode = Mode.ADVISE
    independent: str = ""
    yields_to: frozenset[str] = frozenset()
    exit: frozenset[str] = frozenset()
    exit_after_us: int | None = None
    again: Again | None = None
    spread: Spread | None = None
    same: str | None = None
    per_lane: PerLane | None = None
    share: Share | None = None

    def matches(self, event: Event) -> bool:
        """Whether the event is evidence for this rule."""
        if self.signal is not Signal.EVENT or event.kind != self.kind:
            return False
        if (self.vendor and event.vendor != self.vendor) or (self.family and event.family != self.family):
            return False
        if self.codes and event.code not in self.codes:
            return False
        if self.only_severity and event.severity is not self.only_severity:
            return False
        if any(event.attributes.get(name) not in wanted for name, wanted in self.attributes.items()):
            return False
        return not (self.unless and event.attributes.get(self.unless) == 1)

    @property
    def bit_mask(self) -> int:
        """The bits of ``throttle_reasons`` that count; 0 where none is named."""
        return sum(1 << THROTTLE_REASONS.index(name) for name in self.bits)

    @property
    def money(self) -> bool:
        """It makes a card faulty for money: confirmed, at least an isolation, and not in shadow."""
        return self.confirmed and self.action is not Action.OBSERVE and self.mode is not Mode.SHADOW

    def off(self, value: Value, row: Mapping[str, Any]) -> bool | None:
        """Whether a level's value is bad. row: the sample's values; None: it cannot be said (the other one is missing)."""
        if self.words:
            return value in self.words
        if isinstance(value, str):
            return None
        if self.bits:
            return bool(int(value) & self.bit_mask)
        high, low = (
            self._limit(self.above, self.above_metric, row),
            self._limit(self.below, self.below_metric, row),
        )
        if high is None and low is None:
            return None
        return (high is not None and value > high) or (low is not None and value < low)

    def good(self, value: Value, row: Mapping[str, Any]) -> bool | None:
        """Whether a level's value is good again: past ``leave`` where there is one. None: it cannot be said."""
        off = self.off(value, row)
        if off is not False or self.leave is None or isinstance(value, str):
            return None if off is None else not off
        if self.above_metric is not None or self.below_metric is not None:
            # a distance to the other metric: 5 below a limit, say
            other = row.get(self.above_metric or self.below_metric or "")
            if not isinstance(other, int | float):
                return None
            return value <= other - self.leave if self.above_metric else value >= other + self.leave
        return value <= self.leave if self.above is not None else value >= self.leave

    def rate_limit(self, row: Mapping[str, Any]) -> float | None:
        """The limit of a rate for this subject: by its link, else ``above``."""
        found = self.per_lane.limit(row) if self.per_lane is not None else None
        return self.above if found is None else found

    @staticmethod
    def _limit(number: float | None, other: str | None, row: Mapping[str, Any]) -> float | None:
        if other is None:
            return number
        value = row.get(other)
        return float(value) if isinstance(value, int | float) else None
