"""What a share of a card is: fractions, MIG by three weights, time slices, and more asked than there is."""

from __future__ import annotations

from typing import Any

import pytest
from tests.reports.settle.settle_file import at, by_department, cards, hold, inputs, lines, told


def test_four_quarters_are_one_card_and_three_leave_a_fragment() -> None:
    quarters = [hold(name, card="G1", fraction="0.25") for name in "abcd"]
    assert by_department(inputs(allocations=quarters)) == dict.fromkeys("abcd", "60")
    assert lines(inputs(allocations=quarters[:3]))["platform", "fragmented"] == "60.00"


@pytest.mark.parametrize(
    ("weight", "a", "b", "left"),
    [
        # 240 a day. a: 3g of 7 and 4 of 8 memory; b: 1g.20gb of 7 and 2 of 8
        ("compute_slices", "102.86", "34.28", "102.86"),  # 240 x 3/7, 1/7, 3/7; 240.00 takes one cent off b
        ("memory_slices", "120.00", "60.00", "60.00"),
        ("dominant_share", "120.00", "60.00", "60.00"),  # 4/8 > 3/7, 2/8 > 1/7
    ],
)
def test_mig_is_weighed_as_the_policy_says(weight: str, a: str, b: str, left: str) -> None:
    keys = inputs(
        allocations=[
            hold("a", card="G1", mig_profile="3g.40gb"),
            hold("b", card="G1", mig_profile="1g.20gb", memory_slices=2),
        ],
        policy={"mig_weight": weight},
    )
    assert lines(keys) == {("a", "used"): a, ("b", "used"): b, ("platform", "fragmented"): left}


def test_a_full_mig_card_by_dominant_share_is_still_one_card() -> None:
    # 4g: max(4/7, 4/8) = 4/7; 3g: max(3/7, 4/8) = 1/2; together 15/14, so 8/15 and 7/15 of 240
    keys = inputs(
        cards=cards("G1", compute_slices=7, memory_slices=8),
        allocations=[
            hold("a", card="G1", compute_slices=4, memory_slices=4),
            hold("b", card="G1", compute_slices=3, memory_slices=4),
        ],
        policy={"mig_weight": "dominant_share"},
    )
    assert lines(keys) == {("a", "used"): "128.00", ("b", "used"): "112.00"}


def test_a_time_slice_is_a_replica_and_free_replicas_are_left_over() -> None:
    keys = inputs(
        cards=cards("G1", sharing="time-slicing", replicas=4),
        allocations=[hold(name, card="G1") for name in "abc"],
    )
    assert by_department(keys) == {"a": "60", "b": "60", "c": "60", "platform": "60"}


def test_time_slices_can_be_paid_by_what_each_job_computed() -> None:
    # 30 and 10 per cent of the multiprocessors: three quarters and one quarter of 240
    keys = inputs(
        cards=cards("G1", sharing="time-slicing", replicas=2),
        allocations=[hold("a", card="G1", job="ja"), hold("b", card="G1", job="jb")],
        telemetry=[
            {"job": "ja", "sm_active_pct": "30", "start": at(0), "end": at(24)},
            {"job": "jb", "sm_active_pct": "10", "start": at(0), "end": at(24)},
        ],
        policy={"oversubscription": "measured_sm_share"},
    )
    assert by_department(keys) == {"a": "180", "b": "60"}


def test_more_asked_than_there_is_is_divided_by_the_sum() -> None:
    # 0.75 + 0.75 asked: half each; for 12 h alone 0.75 of it, the rest left over
    keys = inputs(
        allocations=[hold("a", card="G1", fraction="0.75"), hold("b", 0, 12, card="G1", fraction="0.75")]
    )
    assert lines(keys) == {
        ("a", "used"): "150.00",  # 12 x 5 + 12 x 7.5
        ("b", "used"): "60.00",
        ("platform", "fragmented"): "30.00",
    }


def test_a_measured_share_needs_everybody_measured() -> None:
    telemetry = [{"job": "ja", "sm_active_pct": "90", "start": at(0), "end": at(24)}]
    keys = inputs(
        allocations=[hold("a", card="G1", job="ja"), hold("b", card="G1", job="jb")],
        telemetry=telemetry,
        policy={"oversubscription": "measured_sm_share"},
    )
    assert by_department(keys) == {"a": "120", "b": "120"}
    telemetry.append({"job": "jb", "sm_active_pct": "30", "start": at(0), "end": at(12)})
    # 12 h by 90 to 30, then by request again: 90 + 60 and 30 + 60
    assert by_department(keys) == {"a": "150", "b": "90"}


def test_a_number_of_cards_takes_free_ones_and_never_broken_or_named_ones() -> None:
    keys = inputs(
        cards=cards("G1", "G2", "G3", "G4"),
        allocations=[hold("a", cards=2), hold("b", card="G2")],
        health=[{"card": "G1", "state": "faulty", "start": at(0), "end": at(24)}],
    )
    assert lines(keys) == {
        ("a", "used"): "480.00",
        ("b", "used"): "240.00",
        ("platform", "faulty"): "240.00",
    }


def test_more_cards_asked_than_free_are_shared_by_how_many_each_asked() -> None:
    keys = inputs(cards=cards("G1", "G2"), allocations=[hold("a", cards=3), hold("b", cards=1)])
    assert by_department(keys) == {"a": "360", "b": "120"}


def test_a_number_of_cards_of_a_model_takes_that_model() -> None:
    keys = inputs(
        cards=[*cards("G1"), *cards("N1", model="910B")],
        price_models=[
            {"model": "H20", "hourly": "10", "effective_from": at(0)},
            {"model": "910B", "hourly": "7", "effective_from": at(0)},
        ],
        allocations=[hold("a", cards=1, model="910B"), hold("b", cards=1)],
    )
    assert by_department(keys) == {"a": "168", "b": "240"}


def test_named_cards_may_be_a_list() -> None:
    keys = inputs(cards=cards("G1", "G2"), allocations=[hold("a", cards=["G1", "G2"])])
    assert lines(keys) == {("a", "used"): "480.00"}


def used(keys: dict[str, Any]) -> dict[str, str]:
    return {
        line["department"]: line["quantity"] for line in told(keys)["lines"] if line["cost_class"] == "used"
    }


def test_parts_of_counted_cards_that_fit_are_not_divided() -> None:
    keys = inputs(
        cards=cards("G1", "G2"),
        allocations=[hold("a", cards=2, fraction="0.5"), hold("b", cards=1, fraction="0.5")],
    )
    assert used(keys) == {"a": "24", "b": "12"}


def test_a_counted_part_takes_what_a_named_one_left() -> None:
    keys = inputs(allocations=[hold("a", card="G1", fraction="0.5"), hold("b", cards=1, fraction="0.5")])
    assert used(keys) == {"a": "12", "b": "12"}


def test_a_counted_card_where_all_are_named_shares_them_and_is_never_free() -> None:
    keys = inputs(allocations=[hold("a", card="G1"), hold("b", cards=1)])
    assert used(keys) == {"a": "12", "b": "12"}


def test_counted_cards_beyond_what_is_left_divide_it_by_what_they_ask_for() -> None:
    keys = inputs(
        cards=cards("G1", "G2"),
        allocations=[hold("a", card="G1"), hold("b", cards=3), hold("c", cards=2, fraction="0.5")],
    )
    assert used(keys) == {"a": "24", "b": "18", "c": "6"}, "the 24 hours left, three to one"
