"""Each rule of the catalogue at its threshold, one below it, and on its way out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fault_world import (
    DAY,
    MIN,
    RULES,
    T0,
    Judge,
    S,
    bad,
    by_condition,
    edge,
    event_of,
    good,
    sample,
    told,
)

from ullage_collector.detect.correlation import Isolated, offenders
from ullage_collector.detect.fault_rule import Condition, FaultRule, Signal
from ullage_collector.detect.faults import shipped_rules
from ullage_contract.event import Severity
from ullage_contract.sample import Family

TESTED = {
    Condition.ONCE,
    Condition.REPEAT,
    Condition.STANDS,
    Condition.FLAP,
    Condition.DISTINCT,
    Condition.SAME_WORK,
    Condition.LEVEL,
    Condition.RATE,
    Condition.RISE,
    Condition.FROZEN,
    Condition.SHORT,
    Condition.OFFENDER,
}


def rules(*conditions: Condition) -> pytest.MarkDecorator:
    found = by_condition(*conditions)
    return pytest.mark.parametrize("rule", found, ids=[rule.name for rule in found])


def test_every_condition_of_the_catalogue_is_tested_here() -> None:
    assert {rule.condition for rule in shipped_rules() if rule.signal is not Signal.NONE} == TESTED


def opened(rule: FaultRule) -> list[tuple[str, str]]:
    return [("opened", rule.name)]


@rules(Condition.ONCE)
def test_one_event_is_enough_and_another_kind_of_it_is_not(rule: FaultRule) -> None:
    assert told(Judge(rule.name).see(event_of(rule))) == opened(rule)
    others = [event_of(rule, code="none such")] if rule.codes else []
    others += [event_of(rule, **{key: "none such"}) for key in rule.attributes]
    others += (
        [event_of(rule, severity=Severity.INFO)] if rule.only_severity not in (None, Severity.INFO) else []
    )
    others += [event_of(rule, vendor="another")] if rule.vendor else []
    others += [event_of(rule, **{rule.unless: 1})] if rule.unless else []
    assert (
        Judge(rule.name).see(
            *others, event_of(rule, family=Family.NODE) if rule.family else event_of(RULES["source_blind"])
        )
        == []
    )


@rules(Condition.REPEAT)
def test_so_many_times_in_the_window_and_a_burst_once(rule: FaultRule) -> None:
    gap = rule.burst_us + S
    times = [T0 + n * gap for n in range(rule.times)]
    judge = Judge(rule.name)
    assert judge.see(*(event_of(rule, at=at) for at in times[:-1])) == []
    assert told(judge.see(event_of(rule, at=times[-1]))) == opened(rule)
    burst = [T0 + n * rule.burst_us // 50 for n in range(50)]
    assert Judge(rule.name).see(*(event_of(rule, at=at) for at in burst)) == []
    late = [*times[:-1], T0 + rule.over_us + S]
    assert Judge(rule.name).see(*(event_of(rule, at=at) for at in late)) == [] or rule.times > 2
    slow = [T0 + n * (rule.over_us // (rule.times - 1) + S) for n in range(rule.times + 3)]
    assert Judge(rule.name).see(*(event_of(rule, at=at) for at in slow)) == []


@rules(Condition.STANDS)
def test_a_state_opens_when_it_lasted_and_its_end_ends_it(rule: FaultRule) -> None:
    judge = Judge(rule.name)
    first = judge.see(event_of(rule))
    if rule.lasting_us:
        assert first == []
        assert judge.wait(T0 + rule.lasting_us - 1) == []
        assert told(judge.wait(T0 + rule.lasting_us)) == opened(rule)
    else:
        assert told(first) == opened(rule)
    back = replace(
        event_of(rule, at=T0 + DAY), event=replace(event_of(rule).event, kind=sorted(rule.exit)[0])
    )
    assert told(judge.see(back)) == [("ended", rule.name)]


@rules(Condition.STANDS)
def test_a_state_that_ends_in_time_is_none(rule: FaultRule) -> None:
    if not rule.lasting_us:
        return
    judge = Judge(rule.name)
    back = replace(
        event_of(rule, at=T0 + rule.lasting_us - 1),
        event=replace(event_of(rule).event, kind=sorted(rule.exit)[0]),
    )
    assert judge.see(event_of(rule), back) == []
    assert judge.wait(T0 + DAY) == []


@rules(Condition.FLAP)
def test_so_many_times_down_for_long_enough_and_back(rule: FaultRule) -> None:
    def flaps(count: int, down: int, step: int) -> Judge:
        judge = Judge(rule.name)
        for n in range(count):
            at = T0 + n * step
            judge.see(event_of(rule, at=at))
            back = event_of(rule, at=at + down)
            judge.see(replace(back, event=replace(back.event, kind="port_up")))
        return judge

    step = rule.down_us + MIN
    assert told(flaps(rule.times, rule.down_us, step).said) == opened(rule)
    assert flaps(rule.times - 1, rule.down_us, step).said == []
    assert flaps(rule.times + 2, rule.down_us, rule.over_us // (rule.times - 1) + MIN).said == []
    if rule.down_us:
        assert flaps(rule.times + 2, rule.down_us - 1, step).said == []


@rules(Condition.DISTINCT)
def test_work_of_two_users_on_one_card_and_not_less(rule: FaultRule) -> None:
    gap = rule.burst_us + S

    def of(*holders: tuple[str, str | None]) -> list[tuple[str, str]]:
        judge = Judge(rule.name)
        return told(judge.see(*(event_of(rule, at=T0 + n * gap, by=(who,)) for n, who in enumerate(holders))))

    assert of(("job1", "ada"), ("job2", "bob")) == opened(rule)
    assert of(("job1", "ada"), ("job2", "ada")) == []
    assert of(("job1", "ada"), ("job1", "ada"), ("job1", "ada")) == []
    assert of(("job1", "ada")) == []
    assert of(("job1", None), ("job2", None)) == []


@rules(Condition.SAME_WORK)
def test_one_workload_on_several_cards_is_told_of_the_work(rule: FaultRule) -> None:
    judge = Judge(rule.name)
    assert (
        judge.see(event_of(rule, by=(("job1", "ada"),)), event_of(rule, at=T0 + S, by=(("job1", "ada"),)))
        == []
    )
    (change,) = judge.see(event_of(rule, at=T0 + MIN, card="GPU-2", by=(("job1", "ada"),)))
    assert (change.family, change.subject, change.card_id, change.money) == ("workload", "job1", None, False)


@rules(Condition.LEVEL)
def test_a_level_counts_past_its_limit_in_so_many_samples(rule: FaultRule) -> None:
    judge = Judge(rule.name)
    assert judge.see(*(sample(rule, at=T0 + n * 10 * S, values=edge(rule)) for n in range(rule.of * 2))) == []
    judge = Judge(rule.name)
    assert judge.see(*(sample(rule, at=T0 + n * 10 * S, values=bad(rule)) for n in range(rule.bad - 1))) == []
    (change,) = judge.see(sample(rule, at=T0 + rule.bad * 10 * S, values=bad(rule)))
    assert told([change]) == opened(rule)
    assert change.evidence["metric"] == rule.metric


@rules(Condition.LEVEL)
def test_bad_samples_spread_too_thin_are_no_fault(rule: FaultRule) -> None:
    judge = Judge(rule.name)
    if rule.of == 1:
        return
    apart = -(-rule.of // (rule.bad - 1))
    for n in range(3 * rule.of):
        values = bad(rule) if n % apart == 0 else edge(rule)
        judge.see(sample(rule, at=T0 + n * 10 * S, values=values))
    assert judge.said == []


@rules(Condition.LEVEL)
def test_a_level_ends_after_good_samples_for_its_time(rule: FaultRule) -> None:
    judge = Judge(rule.name)
    judge.see(*(sample(rule, at=T0 + n * 10 * S, values=bad(rule)) for n in range(rule.of)))
    at = T0 + rule.of * 10 * S
    assert len(judge.said) == 1
    if rule.exit_after_us is None:
        judge.see(*(sample(rule, at=at + n * MIN, values=good(rule)) for n in range(100)))
        assert len(judge.said) == 1
        return
    if rule.leave is not None:  # between the limit and what counts as good again
        judge.see(*(sample(rule, at=at + n * 10 * S, values=edge(rule)) for n in range(200)))
        at += 2000 * S
        assert len(judge.said) == 1
    assert judge.see(sample(rule, at=at, values=good(rule))) == []
    steps = [at + n * 9 * MIN for n in range(1, (rule.exit_after_us - 1) // (9 * MIN) + 1)]
    assert judge.see(*(sample(rule, at=step, values=good(rule)) for step in steps)) == []
    assert judge.see(sample(rule, at=at + rule.exit_after_us - 1, values=good(rule))) == []
    assert told(judge.see(sample(rule, at=at + rule.exit_after_us, values=good(rule)))) == [
        ("ended", rule.name)
    ]


@rules(Condition.RISE)
def test_any_growth_of_the_counter_and_none_without(rule: FaultRule) -> None:
    key = rule.metric or ""
    judge = Judge(rule.name)
    assert (
        judge.see(sample(rule, at=T0, growth={key: 0.0}), sample(rule, at=T0 + MIN, values={key: 500})) == []
    )
    assert told(judge.see(sample(rule, at=T0 + 2 * MIN, growth={key: 1.0}))) == opened(rule)
    if rule.exit_after_us:
        last = T0 + 3 * MIN + rule.exit_after_us
        assert judge.see(sample(rule, at=T0 + 3 * MIN, growth={key: 0.0})) == []
        # a gap of ten minutes is no proof that nothing grew: what was good before it counts anew
        steps = range(T0 + 3 * MIN, last + 2 * MIN, 5 * MIN)
        assert told(
            judge.see(
                *(sample(rule, at=at, growth={key: 0.0}) for at in steps),
                sample(rule, at=last + 3 * MIN, growth={key: 0.0}),
            )
        ) == [("ended", rule.name)]


@rules(Condition.RATE)
def test_a_rate_counts_above_its_limit_as_often_as_it_must(rule: FaultRule) -> None:
    key = rule.metric or ""
    assert rule.above is not None
    most = rule.above * max(rule.within_us, 10 * S) / rule.per_us  # in one window
    step = max(rule.within_us, rule.burst_us) + S

    def run(amount: float, times: int) -> list[tuple[str, str]]:
        judge = Judge(rule.name)
        for n in range(times):
            judge.see(sample(rule, at=T0 + n * step, growth={key: amount}, seconds=10.0))
        return told(judge.said)

    assert run(most, rule.times + 2) == []
    assert run(most * 1.01 + 1, rule.times) == opened(rule)
    if rule.times > 1:
        assert run(most * 1.01 + 1, rule.times - 1) == []


@rules(Condition.FROZEN)
def test_a_counter_that_stands_still(rule: FaultRule) -> None:
    key = rule.metric or ""
    judge = Judge(rule.name)
    for n in range(rule.bad - 1):
        assert judge.see(sample(rule, at=T0 + n * MIN, growth={key: 0.0})) == []
    assert judge.see(sample(rule, at=T0 + rule.bad * MIN, growth={key: 5.0})) == []
    for n in range(rule.bad - 1):
        assert judge.see(sample(rule, at=T0 + HALF + n * MIN, growth={key: 0.0})) == []
    assert told(judge.see(sample(rule, at=T0 + HALF + rule.bad * MIN, growth={key: 0.0}))) == opened(rule)


HALF = 8 * MIN


@rules(Condition.SHORT)
def test_less_than_its_own_healthy_past_in_so_many_samples(rule: FaultRule) -> None:
    key = rule.metric or ""
    whole, less = (sorted(rule.words)[0], "down") if rule.words else (8, 7)
    more = {rule.during.metric: 1.0} if rule.during else {}
    judge = Judge(rule.name)
    # without a past nothing is missing
    assert (
        judge.see(
            *(sample(rule, at=T0 - 10 * DAY + n * MIN, values={key: less, **more}) for n in range(rule.of))
        )
        == []
    )
    judge = Judge(rule.name)
    judge.learned(rule, whole)
    assert (
        judge.see(
            *(sample(rule, at=T0 + n * 10 * S, values={key: less, **more}) for n in range(rule.bad - 1))
        )
        == []
    )
    (change,) = judge.see(sample(rule, at=T0 + rule.bad * 10 * S, values={key: less, **more}))
    assert told([change]) == opened(rule)
    assert change.evidence["known_from"] == "its own past"
    assert rule.exit_after_us is not None
    at = T0 + DAY
    judge.see(sample(rule, at=at, values={key: whole, **more}))
    steps = [at + n * 5 * MIN for n in range(1, rule.exit_after_us // (5 * MIN) + 2)]
    judge.see(*(sample(rule, at=step, values={key: whole, **more}) for step in steps))
    assert told(judge.said)[-1] == ("ended", rule.name)


@rules(Condition.OFFENDER)
def test_so_many_isolations_in_the_window(rule: FaultRule) -> None:
    def past(count: int, step: int) -> list[Isolated]:
        return [Isolated("c", "g1", "GPU-1", T0 - n * step) for n in range(count)]

    only = {rule.name: rule}
    step = rule.over_us // rule.times - S
    (found,) = offenders(only, past(rule.times, step), T0)
    assert (found.family, found.times) == (rule.family, rule.times)
    assert found.subject == ("g1" if rule.family == "node" else "GPU-1")
    assert offenders(only, past(rule.times - 1, step), T0) == []
    assert offenders(only, past(rule.times + 1, rule.over_us // (rule.times - 1)), T0) == []
