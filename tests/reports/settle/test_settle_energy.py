"""Energy: watts, servers, PUE, two tariffs, holes, and who pays."""

from __future__ import annotations

from typing import Any

import pytest
from tests.reports.settle.settle_file import at, cards, hold, inputs, lines, told

from ullage_contract.errors import ConfigError


def drew(watts: str, start: float, end: float, card: str = "G1") -> dict[str, Any]:
    return {"card": card, "mean_watts": watts, "start": at(start), "end": at(end)}


def energy(keys: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Department -> (kWh, cost)."""
    return {
        line["department"]: (line["quantity"], line["cost"])
        for line in told(keys)["lines"]
        if line["cost_class"] == "energy"
    }


def test_watts_hours_pue_and_two_tariffs() -> None:
    # held 0-12 at 400 W, free 12-24 at 100 W; PUE 1.5; 0.40 by night to 8:00, 1.00 after
    keys = inputs(
        allocations=[hold("nlp", 0, 12, card="G1")],
        tariff=[{"per_kwh": "0.40", "end": at(8)}, {"per_kwh": "1.00", "start": at(8)}],
        pue="1.5",
        power=[drew("400", 0, 12), drew("100", 12, 24)],
    )
    # nlp: 0.4 x 8 x 1.5 x 0.40 = 1.92 and 0.4 x 4 x 1.5 x 1.00 = 2.40; platform: 0.1 x 12 x 1.5 x 1.00 = 1.80
    assert energy(keys) == {"nlp": ("7.2", "4.32"), "platform": ("1.8", "1.80")}
    assert told(keys)["totals"] == {"2026-10-05": "246.12"}


def test_a_server_is_shared_evenly_by_its_cards_and_no_tariff_is_no_line() -> None:
    keys = inputs(
        cards=cards("G1", "G2", node="n1"),
        node={"node": "n1", "host_watts": "600", "cards": 2},
        allocations=[hold("a", card="G1"), hold("b", card="G2", fraction="0.5")],
        tariff=[{"per_kwh": "1"}],
        power=[drew("700", 0, 24), drew("200", 0, 24, "G2")],
    )
    # a: (700 + 300) x 24 = 24 kWh; b: half of (200 + 300) x 24 = 6 kWh, the other half the platform's
    assert energy(keys) == {"a": ("24", "24.00"), "b": ("6", "6.00"), "platform": ("6", "6.00")}
    del keys["tariff"]
    assert energy(keys) == {}


def test_a_hole_takes_the_mean_of_its_neighbours_and_says_so() -> None:
    keys = inputs(
        allocations=[hold("a", card="G1")],
        tariff=[{"per_kwh": "1"}],
        power=[drew("300", 0, 10), drew("500", 14, 24)],
    )
    # 3 + 4 h x 0.4 + 5 = 9.6 kWh, of which 1.6 guessed
    assert energy(keys) == {"a": ("9.6", "9.60")}
    assert told(keys)["estimated_kwh"] == "1.6"
    keys["power"] = [drew("300", 0, 10)]  # one neighbour alone
    assert energy(keys) == {"a": ("7.2", "7.20")}


@pytest.mark.parametrize(
    "counter",
    [
        {"card": "G1", "energy_kwh": "10", "start": at(0), "end": at(24)},
        {
            "card": "G1",
            "mean_watts": "1250/3",
            "start": at(0),
            "end": at(24),
        },
    ],
)
def test_a_hole_takes_what_the_counter_rose_by(counter: dict[str, Any]) -> None:
    keys = inputs(
        allocations=[hold("a", 0, 12, card="G1")],
        tariff=[{"per_kwh": "1"}],
        power=[drew("300", 0, 10), drew("500", 14, 24), counter],
        policy={"gap_energy": "energy_counter"},
    )
    # 10 kWh less 3 and 5: 2 kWh in the hole of four hours, half of it before a leaves at 12:00
    assert energy(keys) == {"a": ("4", "4.00"), "platform": ("6", "6.00")}


def test_a_counter_that_is_missing_or_too_small_is_refused() -> None:
    keys = inputs(
        tariff=[{"per_kwh": "1"}],
        power=[drew("300", 0, 10), drew("500", 14, 24)],
        policy={"gap_energy": "energy_counter"},
    )
    with pytest.raises(ConfigError, match="no energy_kwh over it"):
        told(keys)
    keys["power"].append({"card": "G1", "energy_kwh": "7", "start": at(0), "end": at(24)})
    with pytest.raises(ConfigError, match="drew more"):
        told(keys)


def test_energy_without_a_tariff_at_its_hour_is_said() -> None:
    keys = inputs(tariff=[{"per_kwh": "1", "start": at(12)}], power=[drew("1000", 0, 24)])
    found = told(keys)
    assert [(row["model"], row["quantity"]) for row in found["unpriced"]] == [("tariff", "12")]
    assert energy(keys) == {"platform": ("12", "12.00")}


def test_a_jobs_own_power_is_the_jobs() -> None:
    keys = inputs(
        allocations=[
            hold("a", card="G1", fraction="0.5", job="ja"),
            hold("b", card="G1", fraction="0.5", job="jb"),
        ],
        tariff=[{"per_kwh": "1"}],
        telemetry=[
            {"job": "ja", "mean_watts": "300", "start": at(0), "end": at(24)},
            {"job": "jb", "mean_watts": "100", "start": at(0), "end": at(24)},
        ],
    )
    assert energy(keys) == {"a": ("7.2", "7.20"), "b": ("2.4", "2.40")}


def test_a_cards_mean_watts_in_telemetry_are_its_power() -> None:
    keys = inputs(
        allocations=[hold("a", card="G1")],
        tariff="0.5",
        telemetry=[{"card": "G1", "active": True, "mean_watts": "1000", "start": at(0), "end": at(24)}],
    )
    assert lines(keys) == {("a", "used"): "240.00", ("a", "energy"): "12.00"}


def test_a_holes_neighbours_may_stand_outside_the_window() -> None:
    keys = inputs(
        window=[at(4), at(12)], tariff=[{"per_kwh": "1"}], power=[drew("1000", 0, 4), drew("500", 8, 12)]
    )
    # 4 h x 0.75 kW guessed from 1000 W before the window and 500 W in it, and 4 h x 0.5 kW
    assert energy(keys) == {"platform": ("5", "5.00")}
    keys["window"] = [at(4), at(8)]
    assert energy(keys) == {"platform": ("3", "3.00")}, "both neighbours are outside"


def test_a_counter_that_began_before_the_window_is_counted_by_time() -> None:
    keys = inputs(
        window=[at(6), at(24)],
        tariff=[{"per_kwh": "1"}],
        policy={"gap_energy": "energy_counter"},
        power=[
            {"card": "G1", "energy_kwh": "6", "start": at(4), "end": at(10)},
            drew("1000", 10, 24),
        ],
    )
    assert energy(keys) == {"platform": ("18", "18.00")}, "four of its six hours, and fourteen"


def test_a_job_draws_all_its_watts_one_spell_after_the_other_and_in_all_its_cards_at_once() -> None:
    watts = [{"job": "j1", "mean_watts": "1000", "active": True, "start": at(0), "end": at(12)}]
    keys = inputs(
        allocations=[hold("a", 0, 6, card="G1", job="j1"), hold("a", 6, 12, card="G1", job="j1")],
        telemetry=watts,
        tariff=[{"per_kwh": "1"}],
    )
    assert energy(keys) == {"a": ("12", "12.00")}
    keys["cards"] = cards("G1", "G2")
    keys["allocations"] = [hold("a", 0, 12, card="G1", job="j1"), hold("b", 0, 12, card="G2", job="j1")]
    assert energy(keys) == {"a": ("6", "6.00"), "b": ("6", "6.00")}


def test_what_a_job_draws_on_a_faulty_card_is_paid_by_who_pays_for_the_card() -> None:
    keys = inputs(
        allocations=[hold("a", 0, 12, card="G1", job="j1")],
        health=[{"card": "G1", "state": "faulty", "start": at(6), "end": at(12)}],
        telemetry=[{"job": "j1", "mean_watts": "1000", "active": True, "start": at(0), "end": at(12)}],
        tariff=[{"per_kwh": "1"}],
    )
    assert energy(keys) == {"a": ("6", "6.00"), "platform": ("6", "6.00")}
    keys["policy"] = {"faulty": "department_pays"}
    assert energy(keys) == {"a": ("12", "12.00")}
    keys["policy"] = {"faulty": "loss_shared_by_all", "unallocated_idle": "even"}
    assert energy(keys) == {"a": ("12", "12.00")}, "it is spread like the hours it was drawn in"
