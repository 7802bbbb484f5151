"""Events and samples as a rule of the fault catalogue wants them, for tests of the evaluator and the engine."""

from __future__ import annotations

from typing import Any

from ullage_collector.audit import naive_utc
from ullage_collector.detect.fault_evaluator import Evaluator
from ullage_collector.detect.fault_observation import Change, EventSeen, Holder, SampleSeen
from ullage_collector.detect.fault_rule import Condition, FaultRule
from ullage_collector.detect.faults import shipped_rules
from ullage_contract.catalogue import THROTTLE_REASONS, bits_of
from ullage_contract.event import Event, Severity
from ullage_contract.sample import Family, Origin

S = 1_000_000
MIN = 60 * S
HOUR = 3600 * S
DAY = 24 * HOUR
T0 = 1_795_000_000 * S

RULES = {rule.name: rule for rule in shipped_rules()}


def seen(
    kind: str,
    *,
    at: int = T0,
    card: str = "GPU-1",
    node: str = "g1",
    code: str | None = None,
    vendor: str | None = "nvidia",
    severity: Severity = Severity.CRITICAL,
    family: Family = Family.CARD,
    fresh: bool = True,
    late: int = 0,
    by: tuple[tuple[str, str | None], ...] = (),
    origin: Origin = Origin.REAL,
    **attributes: Any,
) -> EventSeen:
    """One event. at: microseconds; late: microseconds until it was received; by: workload and user of the holders."""
    return EventSeen(
        Event(at / 1e6, kind, severity, family, card, "library", f"{kind} {code}", code, vendor, attributes),
        "c",
        node,
        at,
        at + late,
        fresh,
        tuple(Holder(*one) for one in by),
        origin,
    )


def xid(code: int | str, **more: Any) -> EventSeen:
    return seen("xid", code=str(code), **more)


def event_of(rule: FaultRule, **more: Any) -> EventSeen:
    """An event that the rule matches."""
    attributes: dict[str, Any] = {key: sorted(values, key=str)[0] for key, values in rule.attributes.items()}
    family = Family.PORT if (rule.kind or "").startswith("port_") else Family.CARD
    return seen(
        rule.kind or "",
        **{
            "code": sorted(rule.codes)[0] if rule.codes else None,
            "vendor": rule.vendor or "other",
            "severity": rule.only_severity or Severity.CRITICAL,
            "family": family,
            **({rule.same: 1} if rule.same else {}),
            **attributes,
            **more,
        },
    )


def sample(
    rule: FaultRule | None = None,
    *,
    at: int,
    subject: str = "GPU-1",
    node: str = "g1",
    family: str = "card",
    vendor: str | None = "nvidia",
    values: dict[str, Any] | None = None,
    growth: dict[str, float] | None = None,
    seconds: float = 10.0,
    uptime: float | None = 1e6,
    expected: dict[str, float] | None = None,
    fresh: bool = True,
) -> SampleSeen:
    """One sample; with a rule, of its family and maker."""
    grown = growth or {}
    return SampleSeen(
        family=(rule.family or "card") if rule else family,
        subject=subject,
        cluster="c",
        node=node,
        vendor=(rule.vendor or vendor) if rule else vendor,
        time_us=at,
        received_us=at + S,
        fresh=fresh,
        values=values or {},
        growth=grown,
        growth_seconds=dict.fromkeys(grown, seconds),
        uptime_seconds=uptime,
        expected=expected or {},
    )


def bad(rule: FaultRule) -> dict[str, Any]:
    """Values that are just past a LEVEL rule's limit."""
    return _level(rule, 1)


def edge(rule: FaultRule) -> dict[str, Any]:
    """Values that stand just at the limit and are therefore not bad."""
    return _level(rule, 0)


def good(rule: FaultRule) -> dict[str, Any]:
    """Values that are good enough for an incident to end."""
    return _level(rule, -1000)


def _level(rule: FaultRule, past: int) -> dict[str, Any]:
    key = rule.metric or ""
    if rule.words:
        others = {"recovery_action": "none", "health": "ok", "fabric_state": "completed", "state": "down"}
        return {key: sorted(rule.words)[0] if past > 0 else others[key]}
    if rule.bits:
        return {key: bits_of(THROTTLE_REASONS, sorted(rule.bits)[:1] if past > 0 else ["software_power_cap"])}
    if rule.above_metric or rule.below_metric:
        other = rule.above_metric or rule.below_metric or ""
        return {key: 80 + (past if rule.above_metric else -past), other: 80}
    limit = rule.above if rule.above is not None else rule.below
    assert limit is not None
    step = 1 if limit >= 1 or limit == 0 else 0.01
    move = past * step if rule.above is not None else -past * step
    return {key: limit + move}


class Judge:
    """An evaluator that remembers what it said."""

    def __init__(self, *names: str, rules: tuple[FaultRule, ...] | None = None) -> None:
        self.evaluator = Evaluator(rules or tuple(RULES[name] for name in names) or shipped_rules())
        self.said: list[Change] = []

    def see(self, *observations: EventSeen | SampleSeen) -> list[Change]:
        """Turns of these; further evidence is left out."""
        found: list[Change] = []
        for one in observations:
            found += self.evaluator.event(one) if isinstance(one, EventSeen) else self.evaluator.sample(one)
        return self._keep(found)

    def wait(self, until: int, *, heard: bool = True, node: str = "g1") -> list[Change]:
        """Time passes."""
        if heard:
            self.evaluator.heard("c", node, until)
        return self._keep(self.evaluator.tick(until))

    def _keep(self, found: list[Change]) -> list[Change]:
        turns = [change for change in found if change.turn is not None]
        self.said += turns
        return turns

    def learned(self, rule: FaultRule, value: Any, *, at: int = T0 - DAY, subject: str = "GPU-1") -> None:
        """Let a SHORT rule learn a healthy baseline; it ends long before T0."""
        values = {rule.metric or "": value, **({rule.during.metric: 1.0} if rule.during else {})}
        for n in range(rule.learn):
            self.see(sample(rule, at=at + n * MIN, subject=subject, values=values))


def told(changes: list[Change]) -> list[tuple[str, str]]:
    """Turn and rule of each."""
    return [(change.turn.value if change.turn else "", change.rule.name) for change in changes]


def by_condition(*conditions: Condition) -> list[FaultRule]:
    return [rule for rule in shipped_rules() if rule.condition in conditions and rule.signal != "none"]


def released(at: float, by: str, card: str) -> dict[str, Any]:
    """The parameters of close_incidents_of for a card that a person gave back. at: epoch seconds."""
    return {
        "now": naive_utc(at),
        "by": by,
        "family": "card",
        "subject": card,
        "cluster": "c",
        "incident": None,
        "isolation": None,
    }
