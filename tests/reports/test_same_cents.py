"""One world told twice, to the store and to ``ullage-report settle``: the same cents, card-hours and energy alike."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest
from tests.collector.fleet_world import DAY, LATER, NANO, World, at
from tests.collector.price_world import prices
from tests.reports.settle.settle_file import told

from ullage_collector import ledger
from ullage_collector.states import States

DEPARTMENTS = ("cv", "nlp", "rd")
CENT = ledger.minor_atoms("CNY")


def iso(hours: float) -> str:
    return (DAY + timedelta(hours=hours)).isoformat().replace("+00:00", "Z")


def bought(capex: str, salvage: str, maintenance: str) -> dict[str, str]:
    return {
        "capex": capex,
        "salvage_fraction": salvage,
        "in_service": "2024-02-01T00:00:00Z",
        "end_of_life": "2028-06-01T00:00:00Z",
        "maintenance_fraction_per_year": maintenance,
    }


def store_of(inputs: dict[str, Any], gap: str) -> World:
    """The world of a settle file as rows of a store."""
    made = World()
    made.db.execute("ALTER TABLE card_minute ADD COLUMN energy_joules_increase DOUBLE")
    made.db.execute(
        "CREATE TABLE node_hour (hour TIMESTAMP, node_key INTEGER, covered_seconds FLOAT, host_power_watts FLOAT)"
    )
    for model in inputs["price_models"]:
        text = "[[price]]\ncurrency = 'CNY'\n" + "".join(
            f"{key} = '{value}'\n" for key, value in model.items()
        )
        for price in prices(text):
            made.db.execute(
                "INSERT INTO price (price_id, model, currency, price_micro, assumed, valid_from, valid_to, known_from, source, "
                "kind, terms) VALUES (?, ?, 'CNY', ?, false, make_timestamp(?), make_timestamp(?), ?, 't', ?, ?)",
                [
                    *(made.key(), price.model, price.price_micro, price.valid_from_us, price.valid_to_us),
                    *(at(-2400), price.kind, price.terms),
                ],
            )
    for card in inputs["cards"]:
        made.card(card["card"], card["model"], card["node"])
    for department in DEPARTMENTS:
        made.rule(f"slurm:{department}", department)
    for n, held in enumerate(inputs["allocations"]):
        made.hold(
            held["card"],
            f"slurm/dc1/{held['department']}/{n}",
            hours(held["start"]),
            hours(held["end"]),
            int(Fraction(held["fraction"]) * NANO),
        )
    for reading in inputs["telemetry"]:
        util = 0.9 if reading["active"] else 0.0
        made.minutes(
            reading["card"],
            hours(reading["start"]),
            hours(reading["end"]),
            util,
            power_watts=reading["mean_watts"],
        )
    for hour in range(24):
        made.db.execute(
            "INSERT INTO node_hour VALUES (?, ?, 3600, ?)",
            [at(hour), made.nodes["n1"], inputs["node"]["host_watts"]],
        )
    made.db.execute(
        "INSERT INTO pue VALUES (1, NULL, ?, ?, NULL, ?, NULL, 't')",
        [int(Fraction(inputs["pue"]) * 1000), at(-2400), at(-2400)],
    )
    for n, tariff in enumerate(inputs["tariff"]):
        made.db.execute(
            "INSERT INTO tariff VALUES (?, NULL, 'CNY', ?, 'UTC', NULL, NULL, ?, ?, ?, NULL, 't')",
            [
                *(n + 1, int(Fraction(tariff["per_kwh"]) * 10**6)),
                *(at(hours(tariff["start"])), at(hours(tariff["end"])), at(-2400)),
            ],
        )
    made.db.execute(
        "INSERT INTO money_policy VALUES (1, NULL, ?, ?, NULL, ?, NULL, 't')", [gap, at(-2400), at(-2400)]
    )
    return made


def hours(text: str) -> float:
    return (datetime.fromisoformat(text) - DAY).total_seconds() / 3600


def cents(made: World) -> dict[tuple[str, str], int]:
    """(department, class) -> cents: the day's lines, its remainders and its energy, rounded as a statement is."""
    worked = States(made.db).work_out(DAY.date(), LATER)
    atoms: dict[tuple[str, str], int] = defaultdict(int)
    for line in worked.lines.to_pylist():
        cost = line["share_nano"] * (line["to_us"] - line["from_us"]) * line["price_micro"]
        atoms[line["department_id"], line["state"]] += cost
    for line in worked.remainder.to_pylist():
        atoms["platform", "unallocated_idle"] += int(line["cost_atoms"])
    for line in worked.energy.to_pylist():
        atoms[line["department_id"], "energy"] += (
            line["energy_mj"] * line["pue_milli"] * line["tariff_micro"] * 10**6
        )
    total = ledger.half_up(sum(atoms.values()), CENT)
    return ledger.apportion(total, dict(atoms), CENT)


def world(seed: int) -> dict[str, Any]:
    """A day of three cards of two models, a hole in the telemetry of one, two tariffs and a server's own power."""
    rng = random.Random(seed)
    cards = [{"card": f"G{n}", "model": "H800" if n < 2 else "H20", "node": "n1"} for n in range(3)]
    allocations, telemetry = [], []
    for card in cards:
        edge = rng.randrange(1, 23)
        for start, end, department in (
            (0, edge, rng.choice(DEPARTMENTS)),
            (edge, 24, rng.choice(DEPARTMENTS)),
        ):
            allocations.append(
                {
                    "department": department,
                    "card": card["card"],
                    "fraction": rng.choice(("0.25", "0.5", "1", "0.3")),
                    "start": iso(start),
                    "end": iso(end),
                }
            )
        hole = rng.randrange(2, 22)
        for start, end in ((0, hole), (hole + 1, 24)):
            telemetry.append(
                {
                    "card": card["card"],
                    "active": True,
                    "mean_watts": rng.randrange(100, 700),
                    "start": iso(start),
                    "end": iso(end),
                }
            )
    return {
        "window": [iso(0), iso(24)],
        "price_models": [
            {"model": "H800", **bought(str(rng.randrange(10**5, 4 * 10**5)), "0.05", "0.04")},
            {"model": "H20", **bought("99999.99", "0", "0")},
        ],
        "cards": cards,
        "allocations": allocations,
        "telemetry": telemetry,
        "node": {"node": "n1", "host_watts": rng.randrange(300, 900), "cards": 3},
        "pue": "1.37",
        "tariff": [
            {"per_kwh": "0.334455", "start": iso(0), "end": iso(9)},
            {"per_kwh": "1.05", "start": iso(9), "end": iso(24)},
        ],
    }


@pytest.mark.parametrize("seed", range(6))
def test_the_store_and_settle_give_the_same_cents(seed: int) -> None:
    inputs = world(seed)
    found = told(inputs)
    settled = {
        (line["department"], line["cost_class"]): int(Fraction(line["cost"]) * 100) for line in found["lines"]
    }
    stored = {key: amount for key, amount in cents(store_of(inputs, "mean_of_neighbours")).items() if amount}
    assert stored == {key: amount for key, amount in settled.items() if amount}
    assert sum(stored.values()) > 20_000
    assert {name for _, name in stored} >= {"used", "unknown", "energy"}
