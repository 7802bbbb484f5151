"""Whether what was seen so far makes a rule's condition true. Pure: each changes the track it is given and nothing else.

Not here: what follows from it (fault_evaluator.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ullage_collector.detect.fault_observation import SampleSeen
from ullage_collector.detect.fault_rule import Condition, FaultRule
from ullage_collector.detect.fault_track import Seen, Track, bursts
from ullage_contract.sample import Value

GAP_US: Final = 600_000_000
"""our choice: samples ten minutes apart are no run; what was half seen before a gap is forgotten."""
FASTEST_US: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Judged:
    """What one observation means. met: the condition is true; fresh: by fresh evidence alone. good: the opposite of the
    condition was seen, so that an open incident may begin to end. first_us: the first evidence of what is met.
    measured: value and limit for people. None of the three: nothing is known."""

    met: bool = False
    fresh: bool = False
    good: bool = False
    first_us: int = 0
    measured: dict[str, Value | None] | None = None


UNKNOWN: Final = Judged()


def counted(rule: FaultRule, track: Track, alone: Callable[[Seen], bool]) -> Judged:
    """Whether the occurrences of a track are enough. alone: a workload's occurrence that is on this card only."""
    if not track.seen:
        return UNKNOWN
    last = track.seen[-1].at_us
    window = (
        [seen for seen in track.seen if seen.at_us >= last - rule.over_us]
        if rule.over_us
        else track.seen[-1:]
    )
    enough = _enough(rule, window, alone)
    return Judged(
        enough, _enough(rule, [seen for seen in window if seen.fresh], alone), False, window[0].at_us
    )


def _enough(rule: FaultRule, seen: list[Seen], alone: Callable[[Seen], bool]) -> bool:
    if rule.condition is Condition.SAME_WORK:
        return len({item.who for item in seen if item.who}) >= rule.cards
    if rule.condition is Condition.DISTINCT:
        seen = [item for item in seen if item.who and alone(item)]
        if len({item.who for item in seen}) < rule.workloads:
            return False
        if len({item.user for item in seen if item.user}) < rule.users:
            return False
    if rule.same is not None:
        parts = {item.part for item in seen if item.part is not None}
        groups = [[item for item in seen if item.part == part] for part in parts]
    else:
        groups = [seen]
    return any(len(bursts([item.at_us for item in group], rule.burst_us)) >= rule.times for group in groups)


def nothing_new(rule: FaultRule, sample: SampleSeen) -> bool:
    """Whether a sample can change nothing of a subject of which nothing is remembered: it is not bad. Cheap."""
    if rule.condition is Condition.SHORT:
        return False
    if rule.condition is Condition.LEVEL:
        value = sample.values.get(rule.metric or "")
        return value is None or not rule.off(value, sample.values)
    growth = sample.growth.get(rule.metric or "")
    return growth is None or (growth > 0) is (rule.condition is Condition.FROZEN)


def sampled(rule: FaultRule, track: Track, sample: SampleSeen) -> Judged:
    """What one sample says under a metric's rule. A metric that was not read says nothing, whatever the rule is."""
    if sample.time_us <= track.sample_us:
        return UNKNOWN
    if rule.grace_us and sample.uptime_seconds is not None and sample.uptime_seconds * 1e6 < rule.grace_us:
        return UNKNOWN
    if rule.during is not None:
        load = sample.values.get(rule.during.metric)
        if not isinstance(load, int | float) or load <= rule.during.above:
            return UNKNOWN
    key = rule.metric or ""
    if rule.condition in (Condition.RISE, Condition.RATE, Condition.FROZEN):
        growth = sample.growth.get(key)
        if growth is None:
            return UNKNOWN
        _mind_gap(track, sample.time_us)
        return _GROWN[rule.condition](rule, track, sample, growth)
    value = sample.values.get(key)
    if value is None:
        return UNKNOWN
    if rule.condition is Condition.SHORT:
        return _short(rule, track, sample, value)
    off = rule.off(value, sample.values)
    if off is None:
        return UNKNOWN
    _mind_gap(track, sample.time_us)
    limit = next(
        (
            text
            for text in (
                rule.above,
                rule.below,
                sample.values.get(rule.above_metric or rule.below_metric or ""),
                ", ".join(sorted(rule.words or rule.bits)) or None,
            )
            if text is not None
        ),
        None,
    )
    return _of_last(
        rule, track, sample, off, rule.good(value, sample.values) is True, {"value": value, "limit": limit}
    )


def _mind_gap(track: Track, at_us: int) -> None:
    if track.sample_us and at_us - track.sample_us > GAP_US:
        track.bad.clear()
        track.still = 0
        track.clear_us = None
    track.sample_us = at_us


def _of_last(
    rule: FaultRule,
    track: Track,
    sample: SampleSeen,
    off: bool,
    good: bool,
    measured: dict[str, Value | None],
) -> Judged:
    """So many of the last samples are bad. What is bad and not enough yet is neither met nor good."""
    track.bad.append((2 if sample.fresh else 1) if off else 0)
    del track.bad[: -rule.of]
    count = sum(1 for bad in track.bad if bad)
    fresh = sum(1 for bad in track.bad if bad == 2)
    return Judged(off and count >= rule.bad, fresh >= rule.bad, good and not off, sample.time_us, measured)


def _short(rule: FaultRule, track: Track, sample: SampleSeen, value: Value) -> Judged:
    """Less than the inventory says, else than the subject's own healthy baseline; without either nothing is known."""
    if rule.words:
        number = float(value in rule.words)
    elif isinstance(value, str):
        return UNKNOWN
    else:
        number = float(value)
    _mind_gap(track, sample.time_us)
    if track.likely == number:
        track.likely_seen += 1
    else:
        track.likely, track.likely_seen = number, 1
    if track.likely_seen >= rule.learn and (track.base is None or number > track.base):
        track.base = number
    if track.base is not None and number == track.base:
        track.likely, track.likely_seen = None, 0
    known = sample.expected.get(rule.metric or "")
    expected = track.base if known is None else known
    if expected is None or (rule.words and not expected):
        return UNKNOWN
    measured: dict[str, Value | None] = {
        "value": value,
        "expected": expected if not rule.words else ", ".join(rule.words),
    }
    measured["known_from"] = "inventory" if known is not None else "its own past"
    return _of_last(rule, track, sample, number < expected, number >= expected, measured)


def _risen(rule: FaultRule, track: Track, sample: SampleSeen, growth: float) -> Judged:
    if growth <= 0:
        return Judged(good=True)
    return _occurred(rule, track, sample, {"growth": growth})


def _rate(rule: FaultRule, track: Track, sample: SampleSeen, growth: float) -> Judged:
    seconds = sample.growth_seconds.get(rule.metric or "", 0.0)
    at = sample.time_us
    track.grown = [item for item in track.grown if item[0] > at - rule.within_us]
    if growth > 0:
        track.grown.append((at, growth, seconds, sample.fresh))
    window_us = max(rule.within_us, round(seconds * 1e6), FASTEST_US)
    rate = sum(item[1] for item in track.grown) * rule.per_us / window_us
    limit = rule.rate_limit(sample.values)
    if limit is None or rate <= limit:
        return Judged(good=True)
    return _occurred(rule, track, sample, {"rate": round(rate, 3), "limit": limit})


def _occurred(rule: FaultRule, track: Track, sample: SampleSeen, measured: dict[str, Value | None]) -> Judged:
    if rule.times == 1:
        return Judged(True, sample.fresh, False, sample.time_us, measured)
    track.see(Seen(sample.time_us, sample.fresh))
    track.forget_before(sample.time_us - rule.over_us)
    found = counted(rule, track, lambda _: True)
    return Judged(found.met, found.fresh, False, found.first_us or sample.time_us, measured)


def _frozen(rule: FaultRule, track: Track, sample: SampleSeen, growth: float) -> Judged:
    if growth > 0:
        track.still = 0
        track.bad.clear()
        return Judged(good=True)
    track.still += 1
    return _of_last(rule, track, sample, True, False, {"still_for_samples": track.still})


_GROWN: Final[dict[Condition, Callable[[FaultRule, Track, SampleSeen, float], Judged]]] = {
    Condition.RISE: _risen,
    Condition.RATE: _rate,
    Condition.FROZEN: _frozen,
}
