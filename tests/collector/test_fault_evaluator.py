"""The evaluator over time: temperance, conflicts, backlog, restarts, boots, and what must never matter."""

from __future__ import annotations

from typing import Any

import pytest
from fault_world import DAY, HOUR, MIN, RULES, T0, Judge, S, sample, seen, told, xid
from hypothesis import given, settings
from hypothesis import strategies as st

from ullage_collector.detect.fault_evaluator import Evaluator
from ullage_collector.detect.fault_observation import Change, EventSeen, SampleSeen
from ullage_collector.detect.fault_track import Track, bursts, from_json
from ullage_collector.detect.faults import shipped_rules
from ullage_collector.isolate.verdict import Action, Follow
from ullage_contract.event import Severity
from ullage_contract.sample import Family, Origin


def last(judge: Judge, rule: str) -> Change:
    """What was last said of a rule."""
    return [change for change in judge.said if change.rule.name == rule][-1]


# ---------------------------------------------------------------------------------------- temperance


def test_a_contained_error_holds_back_the_report_of_the_same_error() -> None:
    judge = Judge()
    judge.see(xid(94), xid(48, at=T0 + S))
    assert last(judge, "xid_double_bit_error").action is Action.OBSERVE
    assert not last(judge, "xid_double_bit_error").money


def test_a_contained_error_that_is_told_late_ends_the_isolation_and_leaves_it_observed() -> None:
    judge = Judge()
    judge.see(xid(48), xid(94, at=T0 + 5 * S))
    turns = [(c.turn, c.action) for c in judge.said if c.rule.name == "xid_double_bit_error"]
    assert turns == [
        ("opened", Action.ISOLATE_CARD),
        ("ended", Action.ISOLATE_CARD),
        ("opened", Action.OBSERVE),
    ]


def test_a_counter_of_the_same_error_is_no_independent_evidence() -> None:
    judge = Judge()
    judge.see(xid(94), xid(48, at=T0 + S), seen("ecc_uncorrected", at=T0 + 30 * S))
    judge.see(sample(at=T0 + 40 * S, growth={"ecc_uncorrected": 1.0}))
    assert all(change.action is Action.OBSERVE for change in judge.said)


def test_evidence_of_another_class_gives_the_isolation_back_and_never_a_drain() -> None:
    judge = Judge()
    judge.see(xid(94), xid(171, at=T0 + S))
    assert last(judge, "xid_uncorrectable_memory").action is Action.OBSERVE
    judge.see(xid(95, at=T0 + 10 * S))
    change = last(judge, "xid_uncorrectable_memory")
    assert (change.turn, change.action) == ("worsened", Action.ISOLATE_CARD)
    assert RULES["xid_uncorrectable_memory"].action is Action.DRAIN_CARD


def test_a_contained_error_of_yesterday_holds_nothing_back() -> None:
    judge = Judge()
    judge.see(xid(94, at=T0 - 20 * HOUR), xid(48))
    assert last(judge, "xid_double_bit_error").action is Action.ISOLATE_CARD


def test_an_error_that_the_card_contained_is_only_observed() -> None:
    judge = Judge()
    judge.see(seen("ecc_uncorrected", contained=1))
    assert told(judge.said) == [("opened", "ecc_contained")]


def test_receivers_hints_and_one_link_downed_ask_for_nothing() -> None:
    judge = Judge()
    growth = {"link_downed": 1.0, "rnr_nak_retry_err": 500.0, "out_of_buffer": 90_000.0}
    judge.see(sample(at=T0, family="port", subject="g1/mlx5_0/1", growth=growth))
    assert {change.rule.name for change in judge.said} == {
        "link_downed",
        "receiver_not_ready",
        "receive_buffers_short",
    }
    assert all(change.action is Action.OBSERVE for change in judge.said)


def test_an_application_fault_needs_two_users_work_on_this_card_alone() -> None:
    judge = Judge()
    # ada's program fails wherever it runs: it says nothing about any of the cards
    for n, card in enumerate(("GPU-1", "GPU-2", "GPU-3")):
        judge.see(xid(31, at=T0 + n * S, card=card, by=(("job1", "ada"),)))
    judge.see(xid(31, at=T0 + HOUR, by=(("job2", "bob"),)))
    assert "xid_application_of_two" not in {change.rule.name for change in judge.said}
    judge.see(xid(13, at=T0 + 2 * HOUR, by=(("job3", "eve"),)))
    change = last(judge, "xid_application_of_two")
    assert (change.action, change.money) == (Action.ISOLATE_CARD, False)
    assert last(judge, "xid_same_work").subject == "job1"


def test_who_held_the_card_is_asked_only_where_a_rule_wants_it() -> None:
    judge = Judge()
    assert judge.evaluator.asks_holders(xid(31))
    assert not judge.evaluator.asks_holders(xid(79))


def test_what_was_never_there_is_not_missing() -> None:
    judge = Judge()
    for n in range(200):
        judge.see(sample(at=T0 + n * MIN, values={"links_active": 4, "links_total": 18, "pcie_width": 8}))
    assert judge.said == []


def test_the_inventory_is_believed_before_the_past() -> None:
    judge = Judge("cards_missing")
    for n in range(40):
        judge.see(sample(at=T0 - DAY + n * MIN, family="node", subject="g1", values={"cards_seen": 8}))
    six = {"cards_seen": 6}
    for n in range(3):  # two cards were sold
        judge.see(
            sample(at=T0 + n * MIN, family="node", subject="g1", values=six, expected={"cards_seen": 6.0})
        )
    assert judge.said == []
    judge.see(*(sample(at=T0 + HOUR + n * MIN, family="node", subject="g1", values=six) for n in range(2)))
    assert told(judge.said) == [("opened", "cards_missing")]


def test_a_blind_source_is_observed_until_it_sees_again() -> None:
    judge = Judge()
    node = {"family": Family.NODE, "card": "g1", "vendor": None, "severity": Severity.WARNING}
    judge.see(seen("source_blind", **node), seen("source_back", at=T0 + MIN, **node))
    assert told(judge.said) == [("opened", "source_blind"), ("ended", "source_blind")]
    assert judge.said[0].action is Action.OBSERVE


def test_a_card_lost_in_the_first_ten_minutes_of_a_boot_waits_for_them() -> None:
    judge = Judge("card_lost")
    judge.evaluator.booted("c", "g1", T0 - MIN)
    assert judge.see(seen("card_lost")) == []
    assert judge.wait(T0 + 9 * MIN - 1) == []
    assert told(judge.wait(T0 + 9 * MIN)) == [("opened", "card_lost")]


def test_a_card_that_comes_up_late_after_a_boot_is_no_fault() -> None:
    judge = Judge("card_lost")
    judge.evaluator.booted("c", "g1", T0 - MIN)
    assert judge.see(seen("card_lost"), seen("card_back", at=T0 + 5 * MIN)) == []
    assert judge.wait(T0 + HOUR) == []


def test_a_fatal_xid_right_after_a_boot_is_no_noise() -> None:
    judge = Judge()
    assert told(judge.see(xid(79, uptime_seconds=30.0))) == [("opened", "xid_fallen_off_the_bus")]


def test_samples_of_the_first_ten_minutes_count_neither_way() -> None:
    judge = Judge("health_critical")
    for n in range(10):
        judge.see(sample(at=T0 + n * 10 * S, values={"health": "critical"}, uptime=n * 10.0))
    assert judge.said == []


# ---------------------------------------------------------------------------------------- levels


def test_the_same_again_within_its_time_is_the_next_level() -> None:
    judge = Judge("xid_fallen_off_the_bus")
    judge.see(xid(79))
    judge.evaluator.closed("xid_fallen_off_the_bus", "card", "c", "GPU-1", T0 + HOUR)
    judge.see(xid(79, at=T0 + 5 * DAY))
    assert [(c.turn, c.follow) for c in judge.said] == [("opened", Follow.REBOOT), ("opened", Follow.REPLACE)]
    judge.evaluator.closed("xid_fallen_off_the_bus", "card", "c", "GPU-1", T0 + 6 * DAY)
    judge.see(xid(79, at=T0 + 60 * DAY))
    assert judge.said[-1].follow is Follow.REBOOT


def test_the_same_again_after_a_restart_worsens_what_is_still_open() -> None:
    judge = Judge("xid_fallen_off_the_bus")
    judge.see(xid(79), xid(79, at=T0 + MIN))
    assert len(judge.said) == 1
    judge.evaluator.booted("c", "g1", T0 + 10 * MIN)
    (change,) = judge.see(xid(79, at=T0 + HOUR))
    assert (change.turn, change.follow) == ("worsened", Follow.REPLACE)


def test_a_clock_that_was_set_is_no_restart() -> None:
    judge = Judge("xid_fallen_off_the_bus", "card_lost")
    judge.see(xid(79, uptime_seconds=86_400.0))
    assert (
        judge.see(xid(79, at=T0 + 2 * HOUR, uptime_seconds=86_460.0)) == []
    )  # two hours ahead, a minute later
    assert told(judge.see(seen("card_lost", at=T0 + 2 * HOUR))) == [("opened", "card_lost")]


def test_two_cards_of_a_node_at_once_are_the_nodes_fault() -> None:
    judge = Judge("xid_nvlink_fatal")
    judge.see(*(xid(145, at=T0 + n * MIN, card=f"GPU-{n}", fatal=1) for n in range(2)))
    assert [change.action for change in judge.said] == [Action.DRAIN_CARD, Action.ISOLATE_NODE]
    apart = Judge("xid_nvlink_fatal")
    apart.see(*(xid(145, at=T0 + n * 6 * MIN, card=f"GPU-{n}", fatal=1) for n in range(2)))
    other = Judge("xid_nvlink_fatal")
    other.see(*(xid(145, at=T0, card=f"GPU-{n}", node=f"g{n}", fatal=1) for n in range(2)))
    assert {c.action for c in (*apart.said, *other.said)} == {Action.DRAIN_CARD}


def test_a_fault_of_a_card_nobody_can_name_is_the_nodes_and_moves_no_money() -> None:
    judge = Judge("xid_reset_needed")
    (change,) = judge.see(xid(95, family=Family.NODE, card="g1"))
    assert (change.action, change.card_id, change.money) == (Action.ISOLATE_NODE, None, False)


def test_five_fatal_errors_in_a_day_ask_for_a_replacement() -> None:
    judge = Judge()
    judge.see(*(xid(code, at=T0 + n * HOUR) for n, code in enumerate((48, 95, 74, 109, 48))))
    assert last(judge, "xid_fatal_repeated").follow is Follow.REPLACE


# ---------------------------------------------------------------------------------------- backlog and order


def test_backlog_opens_a_record_and_fresh_evidence_makes_it_count() -> None:
    judge = Judge("xid_reset_needed")
    judge.see(xid(95, at=T0 - 6 * HOUR, fresh=False))
    assert [(c.turn, c.fresh) for c in judge.said] == [("opened", False)]
    judge.see(xid(95, at=T0 - 5 * HOUR, fresh=False))
    judge.see(xid(95))
    assert [(c.turn, c.fresh) for c in judge.said] == [("opened", False), ("worsened", True)]


def test_backlog_never_completes_a_count_that_acts() -> None:
    judge = Judge("xid_contained_repeated")
    judge.see(*(xid(94, at=T0 - n * HOUR, fresh=False) for n in (3, 2)), xid(94))
    assert [(c.turn, c.fresh) for c in judge.said] == [("opened", False)]
    judge.see(xid(94, at=T0 + HOUR), xid(94, at=T0 + 2 * HOUR))
    assert [(c.turn, c.fresh) for c in judge.said][-1] == ("worsened", True)


def test_what_happened_before_a_person_closed_it_counts_no_more() -> None:
    judge = Judge("xid_reset_needed")
    judge.see(xid(95))
    judge.evaluator.closed("xid_reset_needed", "card", "c", "GPU-1", T0 + HOUR)
    assert judge.see(xid(95, at=T0 + MIN, fresh=False)) == []
    assert told(judge.see(xid(95, at=T0 + 2 * HOUR))) == [("opened", "xid_reset_needed")]


def test_an_end_that_is_older_than_the_evidence_ends_nothing() -> None:
    judge = Judge("card_lost")
    judge.see(seen("card_lost", at=T0 + HOUR))
    assert judge.see(seen("card_back", at=T0)) == []


def test_imported_history_is_never_fresh() -> None:
    judge = Judge("xid_reset_needed")
    judge.see(xid(95, fresh=False, origin=Origin.IMPORTED))
    assert (judge.said[0].fresh, judge.said[0].origin) == (False, Origin.IMPORTED)


def test_a_restart_in_the_middle_of_a_window_changes_nothing() -> None:
    events: list[EventSeen | SampleSeen] = [xid(94, at=T0 + n * HOUR) for n in range(3)]
    events += [sample(at=T0 + 4 * HOUR + n * 10 * S, values={"health": "critical"}) for n in range(2)]
    events += [seen("port_down", at=T0 + 5 * HOUR, family=Family.PORT, card="p1")]
    whole, broken = Judge(), Judge()
    for one in events:
        whole.see(one)
        broken.see(one)
        written, _ = broken.evaluator.changed()
        kept = {(t.rule, t.subject): t for t in broken.evaluator.tracks}
        for track in written:
            kept[track.rule, track.subject] = from_json(
                track.rule,
                track.family,
                track.subject,
                track.cluster,
                track.node,
                track.vendor,
                track.to_json(),
            )
        broken.evaluator = Evaluator(shipped_rules(), kept.values())
    assert told(broken.said) == told(whole.said) != []
    assert told(broken.wait(T0 + 6 * HOUR)) == told(whole.wait(T0 + 6 * HOUR)) == [("opened", "port_down")]


def test_only_what_changed_is_written_and_what_is_over_is_deleted() -> None:
    judge = Judge("health_critical")
    judge.see(sample(at=T0, values={"health": "ok"}))
    assert judge.evaluator.changed() == ([], [])
    judge.see(sample(at=T0 + 10 * S, values={"health": "critical"}))
    assert [track.rule for track in judge.evaluator.changed()[0]] == ["health_critical"]
    judge.see(*(sample(at=T0 + n * 10 * S, values={"health": "ok"}) for n in (2, 3)))
    assert judge.evaluator.changed() == ([], [("health_critical", "card", "", "GPU-1")])


# ---------------------------------------------------------------------------------------- what must never matter


def test_silence_opens_nothing_and_ends_nothing() -> None:
    judge = Judge()
    down = seen("port_down", family=Family.PORT, card="p1", vendor=None)
    judge.see(
        down, sample(at=T0, values={"remap_failure": 1}), sample(at=T0 + 10 * S, values={"remap_failure": 1})
    )
    assert told(judge.said) == [("opened", "remap_failure")]
    assert judge.wait(T0 + 30 * DAY, heard=False) == []
    assert told(judge.wait(T0 + 30 * DAY)) == [("opened", "port_down")]


def test_a_metric_that_was_not_read_says_nothing() -> None:
    judge = Judge()
    judge.see(*(sample(at=T0 + n * 10 * S, values={}) for n in range(100)))
    judge.see(*(sample(at=T0 + DAY + n * 10 * S, values={"temperature_celsius": 120.0}) for n in range(10)))
    assert judge.said == []  # hot against a limit that nobody told


def test_a_gap_in_the_samples_forgets_what_was_half_seen() -> None:
    judge = Judge("no_margin_left")
    hot = {"temperature_margin_celsius": -3.0}
    for n in range(2):
        judge.see(sample(at=T0 + n * 10 * S, values=hot))
    judge.see(sample(at=T0 + HOUR, values=hot))
    assert judge.said == []


def test_bursts_have_an_end_even_when_events_never_cease() -> None:
    assert bursts([n * S for n in range(0, 600, 10)], 3 * MIN) == [0, 190 * S, 380 * S, 570 * S]


_CODES = st.sampled_from(["13", "31", "45", "48", "63", "74", "79", "92", "94", "95", "145"])
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "health": st.sampled_from(["ok", "degraded", "critical"]),
    "remap_failure": st.sampled_from([0, 1]),
    "links_active": st.integers(14, 18),
    "pcie_width": st.sampled_from([8, 16]),
    "temperature_margin_celsius": st.floats(-5, 20),
    "throttle_reasons": st.sampled_from([0, 4, 8, 64, 128]),
}


@st.composite
def _history(draw: st.DrawFn, subject: str, node: str) -> list[EventSeen | SampleSeen]:
    """An hour or two of one card."""
    found: list[EventSeen | SampleSeen] = []
    at = T0
    for _ in range(draw(st.integers(1, 25))):
        at += draw(st.integers(1, 400)) * S
        if draw(st.booleans()):
            found.append(
                xid(draw(_CODES), at=at, card=subject, node=node, fresh=draw(st.booleans()), fatal=1)
            )
        else:
            wanted = draw(st.sets(st.sampled_from(sorted(_VALUES)), min_size=1))
            values = {key: draw(_VALUES[key]) for key in sorted(wanted)}
            growth = {"ecc_uncorrected": float(draw(st.integers(0, 1)))}
            found.append(sample(at=at, subject=subject, node=node, values=values, growth=growth))
    return found


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_order_of_independent_subjects_does_not_matter(data: st.DataObject) -> None:
    histories = [data.draw(_history(f"GPU-{n}", f"g{n}")) for n in range(3)]
    alone: dict[str, list[Any]] = {}
    for history in histories:
        for change in Judge().see(*history):
            alone.setdefault(change.subject, []).append(
                (change.turn, change.rule.name, change.action, change.at_us)
            )
    mixed = Judge()
    queues = [list(history) for history in histories]
    while any(queues):
        queue = data.draw(st.sampled_from([q for q in queues if q]))
        mixed.see(queue.pop(0))
    together: dict[str, list[Any]] = {}
    for change in mixed.said:
        together.setdefault(change.subject, []).append(
            (change.turn, change.rule.name, change.action, change.at_us)
        )
    assert together == alone


@settings(max_examples=60, deadline=None)
@given(_history("GPU-1", "g1"), st.data())
def test_samples_that_never_came_open_nothing_more(
    history: list[EventSeen | SampleSeen], data: st.DataObject
) -> None:
    """Levels and counts of what is left are at most those of the whole, for rules without memory of good samples."""
    names = ("recovery_reset", "ecc_uncorrected_growth", "xid_fatal_repeated", "xid_contained_repeated")
    rules = tuple(RULES[name] for name in names)
    kept = [one for one in history if isinstance(one, EventSeen) or data.draw(st.booleans())]
    whole, less = Judge(rules=rules), Judge(rules=rules)
    whole.see(*history)
    less.see(*kept)
    assert {c.rule.name for c in less.said} <= {c.rule.name for c in whole.said}
    emptied = Judge()
    emptied.see(*(sample(at=one.time_us, values={}) for one in history if isinstance(one, SampleSeen)))
    assert emptied.said == []


@settings(max_examples=100, deadline=None)
@given(_history("GPU-1", "g1"))
def test_what_is_remembered_survives_as_text(history: list[EventSeen | SampleSeen]) -> None:
    judge = Judge()
    judge.see(*history)
    for track in judge.evaluator.tracks:
        again = from_json(
            track.rule, track.family, track.subject, track.cluster, track.node, track.vendor, track.to_json()
        )
        assert again == track


@pytest.mark.parametrize(
    "text", ["[]", "3", '{"seen": [{"nonsense": 1}]}', '{"standing": {"since_us": 1}}', "{"]
)
def test_what_cannot_be_read_of_the_memory_is_told(text: str) -> None:
    with pytest.raises((ValueError, TypeError)):
        from_json("r", "card", "s", "c", "n", None, text)
    assert Track("r", "card", "s", "c", "n").idle
