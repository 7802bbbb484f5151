"""The price book: the most specific price wins, a purchase adds up to itself, nothing is converted by guessing."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import pytest
from tests.collector.price_world import HOUR, atoms, card, micros, priced, prices, us

from ullage_collector.imports.prices import price_rows
from ullage_collector.imports.rates import policy_rows, pue_rows, rate_rows, tariff_rows
from ullage_collector.ledger import ATOMS_PER_UNIT, NANO
from ullage_collector.prices import PriceBook, same_rank
from ullage_collector.pricing.exchange import Policy, Rate
from ullage_collector.pricing.terms import terms_of
from ullage_contract.errors import UllageError

YEAR_2024 = (us("2024-01-01T00:00:00+08:00"), us("2025-01-01T00:00:00+08:00"))


def owned(capex: str, salvage: str, start: str, end: str, more: str = "") -> str:
    return f"""
[[price]]
model = "H800"
currency = "CNY"
capex = "{capex}"
salvage_fraction = "{salvage}"
in_service = {start}
end_of_life = {end}
{more}
"""


# ------------------------------------------------------------------------------- which price
BOOK = """
[[price]]
model = "*"
currency = "CNY"
hourly = "1"
[[price]]
model = "H800*"
currency = "CNY"
hourly = "2"
[[price]]
model = "*"
pool = "gold"
currency = "CNY"
hourly = "3"
[[price]]
model = "*"
node = "gpu-0*"
currency = "CNY"
hourly = "4"
[[price]]
model = "*"
label = "room=a*"
currency = "CNY"
hourly = "5"
[[price]]
model = "*"
node = "dc2/gpu-0*"
currency = "CNY"
hourly = "7"
[[price]]
card = "G7"
currency = "CNY"
hourly = "6"
"""


@pytest.mark.parametrize(
    ("place", "micro"),
    [
        ({"model": "L40S"}, 1_000_000),
        ({}, 2_000_000),
        ({"pool": "gold"}, 3_000_000),
        ({"pool": "gold", "node": "gpu-01"}, 4_000_000),
        ({"pool": "gold", "node": "gpu-01", "labels": ("room=a1", "rack=7")}, 5_000_000),
        ({"pool": "gold", "node": "gpu-01", "labels": ("room=b1",)}, 4_000_000),
        ({"node": "gpu-01", "cluster": "dc2"}, 7_000_000),
    ],
)
def test_the_card_beats_its_node_its_node_the_pool_and_the_pool_the_model(place: dict, micro: int) -> None:
    a, b = YEAR_2024
    assert micros(priced(BOOK, [card(1, a, b, **place)])) == [micro]
    assert micros(priced(BOOK, [card(7, a, b, **place)])) == [6_000_000]


def test_a_contract_goes_before_any_list_price_which_stays_known_beside_it() -> None:
    text = """
[[price]]
card = "G1"
currency = "CNY"
hourly = "20.00"
[[price]]
model = "*"
kind = "contract"
currency = "CNY"
hourly = "14.50"
to = 2024-07-01T00:00:00+08:00
[[price]]
model = "L40S"
kind = "contract"
currency = "CNY"
hourly = "3"
list = "4"
"""
    a, b = YEAR_2024
    found = priced(text, [card(1, a, b), card(2, a, b, model="L40S"), card(3, a, b)]).prices
    assert list(zip(found["price_micro"], found["list_micro"], strict=True)) == [
        (14_500_000, 20_000_000),
        (20_000_000, 20_000_000),
        (3_000_000, 4_000_000),  # the longer pattern, with a list price of its own
        (14_500_000, None),
        (None, None),  # the contract has ended and there is nothing else: no price is an answer
    ]


def test_only_a_number_deciding_is_told_apart_from_a_newer_price() -> None:
    text = """
[[price]]
model = "H800*"
currency = "CNY"
hourly = "1"
[[price]]
model = "*H800"
currency = "CNY"
hourly = "2"
[[price]]
model = "H800*"
currency = "CNY"
hourly = "3"
from = 2024-01-01T00:00:00Z
"""
    one, other, newer = prices(text)
    assert same_rank(one, other)
    assert not same_rank(one, newer)
    assert PriceBook([one, other, newer]).at("H800", None, 0) == other  # the larger number


# ------------------------------------------------------------------------------- owned cards
def test_a_straight_line_counts_the_hours_there_are_a_leap_day_included() -> None:
    # 2024 has 8,784 hours: 70,272 x (1 - 0.5) / 8,784 = 4 an hour; 2023 has 8,760: 4.010959
    leap = owned("70272", "0.5", "2024-01-01T00:00:00+08:00", "2025-01-01T00:00:00+08:00")
    a, b = YEAR_2024
    found = priced(leap, [card(1, a, b)])
    assert micros(found) == [4_000_000]
    assert found.remainders["cost_atoms"] == []
    year = owned("70272", "0.5", "2023-01-01T00:00:00+08:00", "2024-01-01T00:00:00+08:00")
    assert micros(priced(year, [card(1, a - 8_760 * HOUR, a)])) == [4_010_959]


def test_after_its_end_of_life_a_card_costs_its_maintenance_and_no_more() -> None:
    text = owned(
        "87600",
        "0",
        "2020-01-01T00:00:00Z",
        "2024-01-01T00:00:00Z",
        'maintenance_fraction_per_year = "0.05"\nrack_per_month = "730"\nlicence_per_year = "8760"\n'
        'network_once = "35064"\nother_per_hour = "0.25"',
    )
    a = us("2023-12-31T00:00:00Z")
    found = priced(text, [card(1, a, a + 48 * HOUR)])
    # 87,600 / 35,064 h + 0.5 maintenance + 1 rack + 1 licence + 1 network + 0.25
    assert micros(found) == [6_248_289, 500_000]
    behind = prices(text)[0].terms
    assert behind is not None
    assert set(terms_of(behind).components) == {"capex", "rack", "licence", "network", "other", "maintenance"}
    before = priced(text, [card(1, us("2019-12-31T00:00:00Z"), us("2020-01-01T00:00:00Z"))])
    assert micros(before) == [None]


def test_the_lines_of_a_life_are_the_purchase_less_its_salvage_to_the_atom() -> None:
    rng = random.Random(20261121)
    for _ in range(120):
        start = us("2021-03-04T05:06:07+08:00") + rng.randrange(10**13)
        end = start + rng.randrange(1, 6 * 8_766) * HOUR + rng.randrange(HOUR)
        capex = Decimal(rng.randrange(10**9)).scaleb(-rng.choice((0, 2, 2, 4)))
        salvage = Decimal(rng.randrange(101)).scaleb(-2)
        text = (
            f'[[price]]\nmodel = "H800"\ncurrency = "CNY"\ncapex = "{capex}"\nsalvage_fraction = "{salvage}"\n'
            f'in_service = "{iso(start)}"\nend_of_life = "{iso(end)}"\n'
        )
        cuts = sorted({start, end, *(rng.randrange(start, end) for _ in range(rng.randrange(6)))})
        spent = sum(atoms(priced(text, [card(1, a, b)])) for a, b in pairwise(cuts))
        assert spent == Fraction(capex) * (1 - Fraction(salvage)) * ATOMS_PER_UNIT
        rounding = priced(text, [card(1, start, end)]).remainders["cost_atoms"]
        assert abs(sum(rounding)) <= (end - start) * NANO // 2  # at most half a micro-unit an hour


def iso(at_us: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)).isoformat()


# ------------------------------------------------------------------------------- nodes
def test_a_nodes_price_is_split_nine_to_one_and_adds_up_over_its_cards_to_the_atom() -> None:
    rng = random.Random(7)
    a, b = YEAR_2024
    for cards in (1, 3, 6, 7, 8):
        text = (
            f'[[price]]\nmodel = "H800"\nper = "node"\ncards = {cards}\ncurrency = "CNY"\nhourly = "100.01"\n'
        )
        cuts = sorted({a, b, *(rng.randrange(a, b) for _ in range(4))})
        spent = sum(
            atoms(priced(text, [card(n, x, y) for n in range(1, cards + 1)])) for x, y in pairwise(cuts)
        )
        assert spent == 100_010_000 * NANO * (b - a)
    found = priced(text, [card(n, a, b) for n in range(1, 9)])
    assert micros(found) == [11_251_125] * 8  # 100.01 x 0.9 / 8
    host = [
        x
        for x, kind in zip(found.remainders["cost_atoms"], found.remainders["kind"], strict=True)
        if kind == "host"
    ]
    assert sum(host) == 10_001_000 * NANO * (b - a)


def test_cards_of_a_node_weigh_what_their_models_weigh() -> None:
    text = """
[[price]]
per = "node"
node = "mixed-*"
cards = [{model = "H800", count = 2, weight = 3}, {model = "L40S", count = 4}]
split = "1:0"
currency = "CNY"
capex = "1000000"
in_service = 2024-01-01T00:00:00+08:00
end_of_life = 2025-01-01T00:00:00+08:00
"""
    a, b = YEAR_2024
    on = {"node": "mixed-1", "node_key": 4}
    cards = [card(n, a, b, **on) for n in (1, 2)] + [card(n, a, b, model="L40S", **on) for n in (3, 4, 5, 6)]
    found = priced(text, cards)
    assert micros(found) == [34_153_005] * 2 + [11_384_335] * 4  # 1,000,000 / 8,784 h x 3/10 and 1/10
    assert atoms(found) == 1_000_000 * ATOMS_PER_UNIT
    assert set(found.remainders["kind"]) == {"rounding"}


# ------------------------------------------------------------------------------- currencies
USD = """
[[price]]
model = "*"
currency = "USD"
hourly = "2.10"
[[price]]
model = "*"
kind = "contract"
currency = "USD"
hourly = "1.999999"
"""


def test_a_price_is_converted_at_the_rate_of_its_instant_and_the_rounding_is_not_lost() -> None:
    a, b = YEAR_2024
    middle = us("2024-07-01T00:00:00+08:00")
    rates = (
        Rate(1, "USD", "CNY", 7_123_456_789),
        Rate(2, "USD", "CNY", 7_200_000_000, valid_from_us=middle),
        Rate(3, "CNY", "USD", 140_000_000),
    )
    found = priced(USD, [card(1, a, b)], rates, (Policy(1, "CNY", None),))
    assert found.prices["currency"] == ["CNY", "CNY"]
    assert found.prices["rate_id"] == [1, 2]
    assert found.prices["price_micro"] == [14_246_906, 14_399_993]  # 1.999999 x 7.123456789, x 7.2
    assert found.prices["list_micro"] == [14_959_259, 15_120_000]
    exact = (
        Fraction(1_999_999)
        * NANO
        * (Fraction(7_123_456_789, NANO) * (middle - a) + Fraction(72, 10) * (b - middle))
    )
    assert exact.denominator == 1
    assert atoms(found) == exact


@pytest.mark.parametrize("policy", [(), (Policy(1, None, "energy_counter"),), (Policy(1, "EUR", None),)])
def test_without_a_rate_or_a_wish_a_price_stays_in_its_currency(policy: tuple) -> None:
    a, b = YEAR_2024
    found = priced(USD, [card(1, a, b)], (Rate(1, "USD", "CNY", 7 * NANO),), policy)
    assert found.prices["currency"] == ["USD"]
    assert found.prices["price_micro"] == [1_999_999]
    assert found.missing == ({"USD"} if policy and policy[0].currency else set())


# ------------------------------------------------------------------------------- what is refused
@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"model": "A", "currency": "CNY"}, "no price"),
        ({"model": "A", "currency": "CNY", "hourly": "1.1234567"}, "six digits"),
        ({"model": "A", "currency": "RMB1", "hourly": "1"}, "ISO 4217"),
        ({"currency": "CNY", "hourly": "1"}, "no model"),
        ({"model": "A", "currency": "CNY", "hourly": "1", "capex": "5"}, "worked out"),
        ({"model": "A", "currency": "CNY", "capex": "5"}, "in_service"),
        ({"model": "A", "currency": "CNY", "hourly": "1", "rack_per_month": "5"}, "belongs to owned"),
        ({"model": "A", "currency": "CNY", "hourly": "1", "cards": 8}, "whole node"),
        ({"model": "A", "currency": "CNY", "hourly": "1", "per": "node"}, "whole number"),
        ({"model": "A", "currency": "CNY", "hourly": "1", "per": "node", "cards": 8, "split": "9"}, "split"),
        ({"model": "A", "currency": "CNY", "hourly": "1", "label": "zone"}, "KEY=GLOB"),
        ({"model": "A", "currency": "CNY", "hourly": "1", "kind": "gift"}, "none of list"),
        ({"model": "A", "currency": "CNY", "hourly": "1", "list": "2"}, "list beside a list price"),
    ],
)
def test_a_wrong_entry_is_refused_by_what_is_wrong(entry: dict, said: str) -> None:
    with pytest.raises(UllageError, match=said):
        price_rows(entry, "t")


@pytest.mark.parametrize(
    ("rows", "entry", "said"),
    [
        (rate_rows, {"from": "USD", "to": "CNY", "rate": "7.1234567891"}, "nine digits"),
        (rate_rows, {"from": "USD", "to": "CNY", "rate": "0"}, "above 0"),
        (rate_rows, {"from": "USD", "to": "USD", "rate": "1"}, "to itself"),
        (tariff_rows, {"currency": "CNY"}, "no tariff"),
        (tariff_rows, {"currency": "CNY", "per_kwh": "1", "hours": "08:00-22:00"}, "need their zone"),
        (tariff_rows, {"currency": "CNY", "per_kwh": "1", "zone": "Mars/Base"}, "no IANA name"),
        (tariff_rows, {"currency": "CNY", "per_kwh": "1", "zone": "UTC", "hours": "8-22"}, "write e.g."),
        (tariff_rows, {"currency": "CNY", "per_kwh": "1", "zone": "UTC", "weekdays": "mo"}, "weekdays"),
        (pue_rows, {"pue": "0.9"}, "1 to 10"),
        (policy_rows, {"gap_energy": "guess"}, "none of mean_of_neighbours"),
        (policy_rows, {}, "neither currency nor gap_energy"),
    ],
)
def test_a_wrong_rate_tariff_pue_or_policy_is_refused_by_what_is_wrong(rows, entry: dict, said: str) -> None:
    with pytest.raises(UllageError, match=said):
        rows(entry, "t")


def test_weekdays_may_go_over_the_end_of_the_week() -> None:
    given = {"currency": "CNY", "per_kwh": "1", "zone": "UTC", "weekdays": "sat-mon, wed"}
    assert tariff_rows(given, "t")[0][5] == "1367"


@pytest.mark.parametrize("amount", ["100000000.000001", "9000000000000", "1e15"])
def test_a_slip_of_the_pen_is_refused_and_is_no_day_that_cannot_be_summed(amount: str) -> None:
    with pytest.raises(UllageError, match=r"more than 100,000,000|too many"):
        prices(f'[[price]]\nmodel = "H800"\ncurrency = "CNY"\nhourly = "{amount}"')
    with pytest.raises(UllageError, match="too many"):
        prices(owned(f"{10**14}", "0", "2024-01-01T00:00:00+08:00", "2024-01-01T01:00:00+08:00"))
    with pytest.raises(UllageError, match="more than 100,000,000"):
        tariff_rows({"currency": "CNY", "per_kwh": amount}, "import:test.toml")
    (dear,) = prices('[[price]]\nmodel = "H800"\ncurrency = "IRR"\nhourly = "100000000"')
    fleet_day = 10_000 * 24 * 3_600 * 10**6 * NANO * dear.price_micro
    assert fleet_day < 10**38
