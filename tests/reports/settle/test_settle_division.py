"""A total with no cards behind it: two levels of shares, and days that add up to a month."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from tests.reports.settle.settle_file import told

from ullage_contract.errors import ConfigError


def costs(keys: dict[str, Any]) -> dict[tuple[str, str], str]:
    return {(x["department"], x.get("project", "")): x["cost"] for x in told(keys)["lines"]}


def test_thirds_of_a_hundred_and_thirds_of_those() -> None:
    # 33.34 (tie: the smaller name), 33.33, 33.33; a's 33.34: exact thirds 11.111, one cent over: p1
    keys = {
        "total": "100.00",
        "shares": {"a": "1/3", "b": "1/3", "c": "1/3"},
        "projects": {"a": {"p1": "1/3", "p2": "1/3", "p3": "1/3"}, "c": {"q": 1}},
    }
    assert costs(keys) == {
        ("a", "p1"): "11.12",
        ("a", "p2"): "11.11",
        ("a", "p3"): "11.11",
        ("b", ""): "33.33",
        ("c", "q"): "33.33",
    }


def test_the_cent_goes_to_the_largest_remainder() -> None:
    # 0.05 over 1 : 1 : 4: 0.8333, 0.8333, 3.3333 cents; floors 0, 0, 3; two left: to a and b
    assert costs({"total": "0.05", "shares": {"a": 1, "b": 1, "c": 4}}) == {
        ("a", ""): "0.01",
        ("b", ""): "0.01",
        ("c", ""): "0.03",
    }


def test_shares_may_be_a_list_and_projects_the_same_for_all() -> None:
    keys = {
        "total": 10,
        "shares": [{"department": "a", "share": "0.5"}, {"department": "b", "share": "0.5"}],
        "projects": {"x": "0.5", "y": "0.5"},
    }
    assert set(costs(keys).values()) == {"2.50"} and len(costs(keys)) == 4


def test_a_total_and_days_in_one_file_are_two_sums() -> None:
    keys = {
        "window": ["2026-10-01T00:00:00Z", "2026-11-01T00:00:00Z"],
        "cards": [],
        "total": "1.00",
        "shares": ["a", "b", "c"],
        "projects": {"a": ["p", "q"]},
        "days": ["0.004", "0.004", "0.004"],
    }
    found = told(keys)
    # 0.34, 0.33, 0.33 and 0.17 twice of the first; 0.012 is a cent: the first day's
    assert found["totals"] == {
        "2026-10": "1.00",
        "2026-10-01": "0.01",
        "2026-10-02": "0.00",
        "2026-10-03": "0.00",
    }
    assert {
        (x["department"], x.get("project")): x["cost"] for x in found["lines"] if x["period"] == "2026-10"
    } == {
        ("a", "p"): "0.17",
        ("a", "q"): "0.17",
        ("b", None): "0.33",
        ("c", None): "0.33",
    }


@pytest.mark.parametrize(
    "days",
    [
        {f"2026-10-{n:02d}": "0.333" for n in range(1, 31)},
        [{"day": f"2026-10-{n:02d}", "amount": "0.333"} for n in range(1, 31)],
    ],
)
def test_days_add_up_to_their_month(days: Any) -> None:
    # 30 x 0.333 = 9.99; each day 0.33 is 9.90, so nine days get a cent more: the first, as all remainders are equal
    found = told({"days": days})
    assert sum(map(Fraction, found["totals"].values())) == Fraction("9.99")
    assert [found["totals"][f"2026-10-{n:02d}"] for n in (1, 9, 10, 30)] == ["0.34", "0.34", "0.33", "0.33"]


def test_days_of_two_months_add_up_to_each_and_departments_to_each_day() -> None:
    keys = {
        "days": {
            "2026-10-31": {"a": "0.005", "b": "0.005"},
            "2026-11-01": {"a": "0.004"},
            "2026-11-02": {"a": "0.004"},
        }
    }
    found = told(keys)
    assert found["totals"] == {"2026-10-31": "0.01", "2026-11-01": "0.01", "2026-11-02": "0.00"}
    assert [(x["period"], x["department"], x["cost"]) for x in found["lines"]][:2] == [
        ("2026-10-31", "a", "0.01"),
        ("2026-10-31", "b", "0.00"),
    ]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"total": "1"}, "shares"),
        ({"total": "1", "shares": {"a": 0}}, "all 0"),
        ({"shares": {"a": 1}}, "total: is missing"),
        ({"total": "1", "shares": {"a": 1}, "projects": {"z": {"p": 1}}}, "'z' has no share"),
        ({"total": "1", "shares": {"a": "-1"}}, "at least 0"),
        ({"total": "1", "shares": [["a", 1], ["a", 2]]}, "'a' is there already"),
        ({"total": "1", "shares": 7}, "numbers by name"),
    ],
)
def test_a_division_that_makes_no_sense_says_why(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        told(keys)
