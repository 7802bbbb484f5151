"""Where time cuts money: zones, clock changes, price edges, and what an owned card costs an hour."""

from __future__ import annotations

from fractions import Fraction

import pytest
from tests.reports.settle.settle_file import at, cards, hold, inputs, lines, price, told

from ullage_reports.settle.spans import By


def test_the_day_a_clock_goes_back_has_25_hours() -> None:
    # Berlin, 25 October 2026: 22:00Z to 23:00Z the next day; 25 x 4 = 100
    keys = inputs(
        report_timezone="Europe/Berlin",
        window=["2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"],
        price_models=[price("4.00")],
        allocations=[
            {
                "department": "nlp",
                "card": "G1",
                "start": "2026-10-25T00:00:00+02:00",
                "end": "2026-10-26T00:00:00+01:00",
            }
        ],
    )
    found = told(keys)
    assert found["totals"] == {"2026-10-25": "100.00"}
    assert [(line["quantity"], line["cost"]) for line in found["lines"]] == [("25", "100.00")]


def test_the_day_a_clock_goes_forward_has_23_and_a_month_is_cut_at_its_midnights() -> None:
    # Berlin: March ends 31 March 22:00Z. 30 and 31 March by day; the 29th has 23 hours
    keys = inputs(
        report_timezone="Europe/Berlin",
        window=["2026-03-28T23:00:00Z", "2026-04-01T00:00:00Z"],
    )
    assert told(keys, by=By.DAY)["totals"] == {
        "2026-03-29": "230.00",
        "2026-03-30": "240.00",
        "2026-03-31": "240.00",
        "2026-04-01": "20.00",
    }
    assert told(keys)["totals"] == {"2026-03": "710.00", "2026-04": "20.00"}


def test_days_add_up_to_the_month_that_would_be_printed() -> None:
    # a card-hour at 1/7 of a cent: each day 24/7 = 3.43 cents; a month of 31 days 106.29 cents
    keys = inputs(
        window=["2026-10-01T00:00:00Z", "2026-11-01T00:00:00Z"],
        price_models=[price(str(Fraction(1, 700)))],
    )
    days = told(keys, by=By.DAY)["totals"]
    assert told(keys)["totals"] == {"2026-10": "1.06"}
    assert sum(map(Fraction, days.values())) == Fraction("1.06") and set(days.values()) == {"0.03", "0.04"}


def test_a_price_change_cuts_the_day_it_falls_in() -> None:
    # 6 h x 10 + 18 h x 12 = 276
    keys = inputs(
        price_models=[price("10.00", effective_to=at(6)), price("12.00", since=at(6))],
        allocations=[hold("nlp", card="G1")],
    )
    assert lines(keys) == {("nlp", "used"): "276.00"}


def test_the_newer_of_two_open_prices_holds() -> None:
    keys = inputs(price_models=[price("12.00", since=at(6)), price("10.00")])
    assert lines(keys) == {("platform", "unallocated_idle"): "276.00"}


@pytest.mark.parametrize(
    ("service", "end", "hours"),
    [
        ("2024-01-01T00:00:00Z", "2027-01-01T00:00:00Z", 26304),  # three years with the leap day of 2024
        ("2025-01-01T00:00:00Z", "2028-01-01T00:00:00Z", 26280),  # three years without one
    ],
)
def test_an_owned_card_is_written_off_over_the_hours_there_really_are(
    service: str, end: str, hours: int
) -> None:
    # 263,040 x (1 - 1/10) over the real hours, and 5 % of it a year of 8,760 h; for 24 hours
    hourly = Fraction(263_040 * 9, 10) / hours + Fraction(263_040, 20) / 8760
    keys = inputs(
        price_models=[
            {
                "model": "H20",
                "capex": "263040",
                "salvage_fraction": "0.1",
                "in_service": service,
                "end_of_life": end,
                "maintenance_fraction_per_year": "0.05",
            }
        ]
    )
    cents = lines(keys)["platform", "unallocated_idle"]
    assert abs(Fraction(cents) - hourly * 24) <= Fraction(1, 200)
    if hours == 26304:
        assert cents == "252.03"  # 9.00 + 1.501369863 = 10.501369863 an hour


def test_after_its_end_of_life_a_card_costs_its_maintenance_alone() -> None:
    # written off at noon: 12 h x (8760 / 8760 + 1) + 12 h x 1 = 36
    keys = inputs(
        price_models=[
            {
                "model": "H20",
                "capex": "8760",
                "in_service": "2025-10-05T12:00:00Z",
                "end_of_life": at(12),
                "maintenance_fraction_per_year": "1",
            }
        ]
    )
    assert lines(keys) == {("platform", "unallocated_idle"): "36.00"}


def test_a_missing_price_is_said_and_is_in_no_line() -> None:
    keys = inputs(cards=[*cards("G1"), *cards("X1", model="X")], price_models=[price(effective_to=at(12))])
    found = told(keys)
    assert found["totals"] == {"2026-10-05": "120.00"}
    assert [(row["model"], row["quantity"]) for row in found["unpriced"]] == [("H20", "12"), ("X", "24")]


def test_a_currency_without_minor_units_is_rounded_to_whole_ones() -> None:
    # a third of a day each at 10.10: 80.8 three times, 242.4 in all
    keys = inputs(
        price_models=[price("10.10")],
        allocations=[hold("a", 0, 8, card="G1"), hold("b", 8, 16, card="G1"), hold("c", 16, 24, card="G1")],
    )
    assert lines(keys, currency="JPY") == {("a", "used"): "81", ("b", "used"): "81", ("c", "used"): "80"}


def test_a_price_from_after_the_purchase_holds_on_when_the_cards_are_written_off() -> None:
    keys = inputs()
    keys["price_models"] = [
        {"model": "H20", "capex": "6684", "salvage_fraction": "0", "in_service": "2026-01-01T00:00:00Z"}
        | {"end_of_life": at(12), "maintenance_fraction_per_year": "0"},
        price("10", since=at(6)),
    ]
    (line,) = told(keys)["lines"]
    assert line["quantity"] == "24"
    assert line["cost"] == "186.02", "6 h at 6684 over 6,660 h of life, then 18 h at 10"
