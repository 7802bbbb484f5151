"""Free cards by five rules, and lent cards by four: the whole is always the whole."""

from __future__ import annotations

from typing import Any

import pytest
from tests.reports.settle.settle_file import by_department, cards, hold, inputs, lines

FOUR = cards("G1", "G2", "G3", "G4")


@pytest.mark.parametrize(
    ("policy", "wanted"),
    [
        # 960 a day. a holds two cards (480), b one for 12 h (120); free: 360
        ("none", {"a": "480", "b": "120", "platform": "360"}),
        ("proportional", {"a": "768", "b": "192"}),  # 480 : 120, so 288 and 72
        ("even", {"a": "600", "b": "240", "c": "120"}),  # c has a guarantee and holds nothing: 120 each
        ("fixed", {"a": "660", "b": "192", "platform": "108"}),  # 0.5 and 0.2 of 360; 0.3 is nobody's
        # a: guaranteed 1, holds 2: none unused; b: 1 - 1 for 12 h, then 1: 12; c: 1 x 24: 24. 120 and 240 of 360
        ("unused_guarantee", {"a": "480", "b": "240", "c": "240"}),
    ],
)
def test_the_free_pool_by_five_rules(policy: str, wanted: dict[str, str]) -> None:
    keys = inputs(
        cards=FOUR,
        allocations=[hold("a", cards=2), hold("b", 0, 12, cards=1)],
        quota={"a": 1, "b": {"min": 1, "max": 2}, "c": "1"},
        fixed={"a": "0.5", "b": "0.2"},
        policy={"unallocated_idle": policy},
    )
    assert by_department(keys) == wanted


@pytest.mark.parametrize("policy", ["proportional", "even", "unused_guarantee"])
def test_what_nobody_weighs_stays_with_the_platform(policy: str) -> None:
    assert lines(inputs(policy={"unallocated_idle": policy})) == {("platform", "unallocated_idle"): "240.00"}


def test_a_shared_pool_keeps_its_class_and_a_fragment_is_not_in_it() -> None:
    keys = inputs(
        cards=cards("G1", "G2"),
        allocations=[hold("a", card="G1", fraction="0.5")],
        policy={"unallocated_idle": "proportional"},
    )
    assert lines(keys) == {
        ("a", "used"): "120.00",
        ("a", "unallocated_idle"): "240.00",
        ("platform", "fragmented"): "120.00",
    }


def test_cents_that_do_not_divide_go_to_the_largest_remainder_then_the_smaller_name() -> None:
    # 10.00 free, shared by three: 3.333 each; the cent goes to a
    keys = inputs(
        window=["2026-10-05T00:00:00Z", "2026-10-05T01:00:00Z"],
        cards=cards("G1", "G2", "G3", "G4"),
        allocations=[hold(name, 0, 1, cards=1) for name in "cab"],
        policy={"unallocated_idle": "even"},
    )
    got = lines(keys)
    assert [got[name, "unallocated_idle"] for name in "abc"] == ["3.34", "3.33", "3.33"]


BORROWED = {
    # eight cards, four each; a holds two, b six: b borrows two of a's
    "cards": cards(*(f"G{n}" for n in range(8))),
    "quota": {"a": 4, "b": 4},
    "allocations": [hold("a", cards=2), hold("b", cards=6)],
}


@pytest.mark.parametrize(
    ("policy", "wanted"),
    [
        ("pay_for_use", {"a": "480", "b": "1440"}),
        ("reserved_with_full_credit", {"a": "480", "b": "1440"}),
        ("reserved_with_half_credit", {"a": "720", "b": "1200"}),  # two cards at half the price: 240 each
        ("reserved_without_credit", {"a": "960", "b": "960"}),
    ],
)
def test_lent_cards_by_four_rules(policy: str, wanted: dict[str, str]) -> None:
    assert by_department(inputs(**BORROWED, policy={"borrowing": policy})) == wanted


def test_a_guarantee_that_stands_free_is_its_departments_under_a_reservation() -> None:
    # a 2 of 4, b 4 of 4, two free: a's; paid for use they are the platform's
    held: dict[str, Any] = {**BORROWED, "allocations": [hold("a", cards=2), hold("b", cards=4)]}
    assert by_department(inputs(**held)) == {"a": "480", "b": "960", "platform": "480"}
    reserved = inputs(**held, policy={"borrowing": "reserved_with_full_credit"})
    assert lines(reserved) == {
        ("a", "used"): "480.00",
        ("a", "unallocated_idle"): "480.00",
        ("b", "used"): "960.00",
    }


def test_cards_nobody_is_guaranteed_are_not_borrowed() -> None:
    # ten cards, eight guaranteed: b's two more are from the two that are nobody's, a's two stand free
    keys = inputs(
        cards=cards(*(f"G{n}" for n in range(10))),
        quota={"a": 4, "b": 4},
        allocations=[hold("a", cards=2), hold("b", cards=6)],
        policy={"borrowing": "reserved_without_credit"},
    )
    assert by_department(keys) == {"a": "960", "b": "1440"}


def test_an_idle_borrower_pays_its_part_as_idle() -> None:
    keys = inputs(
        **BORROWED,
        telemetry=[
            {"job": "ja", "active": True, "start": "2026-10-05T00:00:00Z", "end": "2026-10-06T00:00:00Z"},
            {"job": "jb", "active": False, "start": "2026-10-05T00:00:00Z", "end": "2026-10-06T00:00:00Z"},
        ],
        policy={"borrowing": "reserved_with_half_credit"},
    )
    keys["allocations"] = [hold("a", cards=2, job="ja"), hold("b", cards=6, job="jb")]
    assert lines(keys) == {
        ("a", "used"): "480.00",
        ("a", "allocated_idle"): "240.00",
        ("b", "allocated_idle"): "1200.00",
    }
