"""A fault rule in sentences, as ``ullage-collector faults explain`` prints it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ullage_collector.detect.fault_rule import Condition, FaultRule, Signal
from ullage_collector.isolate.verdict import Action, Follow, Mode

_ACTIONS: Final = {
    Action.OBSERVE: "It is only observed",
    Action.ISOLATE_CARD: "No new work comes onto the card; what runs there may finish",
    Action.DRAIN_CARD: "No new work comes onto the card, and what runs there is ended as the drain settings say",
    Action.ISOLATE_NODE: "No new work comes onto the node; what runs there may finish",
    Action.DRAIN_NODE: "No new work comes onto the node, and what runs there is ended as the drain settings say",
}
_FOLLOW: Final = {
    Follow.NONE: "",
    Follow.RESET: "; the card needs a reset before it may come back",
    Follow.REBOOT: "; the node needs a restart before it may come back",
    Follow.REPLACE: "; the hardware should be replaced",
}
_MODES: Final = {
    Mode.SHADOW: "It is in shadow: counted, shown as such, never acted on and worth no money.",
    Mode.ADVISE: "It advises: the exact calls are shown, nothing is called.",
    Mode.APPROVE: "It asks: the calls are made once a person confirms them.",
    Mode.AUTOMATIC: "It is automatic: the calls are made, within the limits.",
}


def duration(us: int) -> str:
    """Microseconds as people write them: 90 s, 3 min, 24 h, 30 d."""
    seconds = us / 1e6
    for size, unit, least in ((86_400, "d", 2), (3600, "h", 1), (60, "min", 1)):
        if seconds >= size * least and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"


def signal(rule: FaultRule) -> str:
    """What the evidence is, in a few words."""
    if rule.signal is Signal.NONE:
        return "nothing"
    if rule.signal is Signal.HISTORY:
        return "isolations of the past"
    if rule.signal is Signal.METRIC:
        return f"{rule.family} metric {rule.metric}"
    text = f"event {rule.kind}"
    if rule.codes:
        text += f" {_some(sorted(rule.codes, key=lambda code: (len(code), code)))}"
    for name, values in rule.attributes.items():
        text += f", {name} {_some(sorted(map(str, values)))}"
    if rule.only_severity:
        text += f", {rule.only_severity}"
    if rule.unless:
        text += f", not {rule.unless}"
    return text


def threshold(rule: FaultRule) -> str:
    """When it is a fault, in a few words."""
    often = f"{rule.times} times in {duration(rule.over_us)}"
    if rule.burst_us:
        often += f", bursts of {duration(rule.burst_us)} once"
    if rule.same is not None:
        often += f", of the same {rule.same}"
    if rule.condition is Condition.ONCE:
        return "" if rule.signal is Signal.NONE else "once"
    if rule.condition in (Condition.REPEAT, Condition.OFFENDER):
        return often
    if rule.condition is Condition.STANDS:
        return f"and no {' or '.join(sorted(rule.exit))} for {duration(rule.lasting_us)}"
    if rule.condition is Condition.FLAP:
        return f"down for {duration(rule.down_us)} and back, {often}"
    if rule.condition is Condition.DISTINCT:
        return f"{often}, from {rule.workloads} workloads of {rule.users} users on this card alone"
    if rule.condition is Condition.SAME_WORK:
        return f"of one workload on {rule.cards} cards in {duration(rule.over_us)}"
    return _of_samples(rule, often)


def _of_samples(rule: FaultRule, often: str) -> str:
    samples = f" in {rule.bad} of {rule.of} samples" if rule.of > 1 else ""
    more = f", {often}" if rule.times > 1 else ""
    if rule.condition is Condition.RISE:
        return f"grows{more}"
    if rule.condition is Condition.FROZEN:
        return f"stands still{samples}"
    if rule.condition is Condition.RATE and rule.per_lane is not None:
        rates = ", ".join(f"{rate:g}" for rate in rule.per_lane.rates)
        return (
            f"grows faster in {duration(rule.per_us)} than {rates} a lane by {rule.per_lane.generation} from 1 on, "
            f"than {rule.above:g} where the link does not say what it is, over {duration(rule.within_us)}{more}"
        )
    if rule.condition is Condition.RATE:
        return f"grows faster than {rule.above:g} in {duration(rule.per_us)}, over {duration(rule.within_us)}{more}"
    if rule.condition is Condition.SHORT:
        what = (
            f"is not {_some(sorted(rule.words))} though it"
            if rule.words
            else "is less than the inventory says or than it"
        )
        return f"{what} was for {rule.learn} samples in a row{samples and ','}{samples}{_during(rule)}"
    if rule.words or rule.bits:
        return f"is {_some(sorted(rule.words or rule.bits))}{samples}{_during(rule)}"
    limits = [
        f"{word} {other or (f'{limit:,.0f}' if limit is not None and abs(limit) >= 1000 else f'{limit:g}')}"
        for word, limit, other in (
            ("above", rule.above, rule.above_metric),
            ("below", rule.below, rule.below_metric),
        )
        if limit is not None or other is not None
    ]
    return f"is {' or '.join(limits)}{samples}{_during(rule)}"


def _during(rule: FaultRule) -> str:
    return f" while {rule.during.metric} is above {rule.during.above:g}" if rule.during else ""


def way_out(rule: FaultRule) -> str:
    """How an incident of it ends, in a few words."""
    ways = []
    if rule.exit and rule.condition is not Condition.FLAP:
        ways.append(" or ".join(f"event {kind}" for kind in sorted(rule.exit)))
    if rule.exit_after_us is not None:
        gone = "good again" if rule.signal is Signal.METRIC else "without it"
        ways.append(f"{duration(rule.exit_after_us)} {gone}")
    return ", or ".join(ways) or "a person"


def explain(rule: FaultRule) -> Iterator[str]:
    """The rule in sentences, one a line."""
    maker = f" of {rule.vendor}" if rule.vendor else ""
    yield f"{rule.name}{maker}: {rule.says}."
    if rule.signal is Signal.NONE:
        yield f"Nobody tells Ullage: {rule.why}."
        yield f"Source: {rule.source}."
        return
    yield (
        f"It is told by {signal(rule)}; it is a fault when that comes {threshold(rule)}.".replace(
            "comes is ", "is "
        )
        .replace("comes grows", "grows")
        .replace("comes stands", "stands")
        .replace("comes and no", "comes and there is no")
    )
    if rule.grace_us:
        yield f"Evidence within {duration(rule.grace_us)} of the node's boot does not count yet."
    yield f"{_ACTIONS[rule.action]}{_FOLLOW[rule.follow]}. Severity: {rule.severity}."
    if rule.spread is not None:
        yield (
            f"On {rule.spread.cards} cards of a node within {duration(rule.spread.within_us)} it is the node's: "
            f"{rule.spread.action.value}."
        )
    if rule.share is not None:
        yield (
            f"On {rule.share.ratio:.0%} and {rule.share.cards} of the cards of one {_some(sorted(rule.share.of))} within "
            f"{duration(rule.share.within_us)} it is the room's: nothing is isolated for it by itself."
        )
    if rule.again is not None:
        yield (
            f"The {_ordinal(rule.again.times)} time within {duration(rule.again.within_us)} it goes a level up: "
            f"{rule.again.action.value}, {rule.again.follow.value}."
        )
    if rule.yields_to:
        yield (
            f"It gives way to {_some(sorted(rule.yields_to), 'and')} on the same card, unless evidence of another class "
            f"than {rule.independent} stands beside it; then too no running work is ended."
        )
    yield f"It ends by: {way_out(rule)}."
    yield _MODES[rule.mode]
    yield "Confirmed: a card is faulty for money while it stands." if rule.money else "It moves no money."
    yield f"Source: {rule.source}."
    if rule.rows:
        yield f"Fault catalogue: row {', '.join(map(str, rule.rows))}."


def _some(words: list[str], last: str = "or") -> str:
    if len(words) > 8:
        words = [*words[:7], f"{len(words) - 7} more"]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def _ordinal(number: int) -> str:
    return {2: "second", 3: "third"}.get(number, f"{number}th")
