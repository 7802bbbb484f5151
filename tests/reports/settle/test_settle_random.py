"""Whatever the world: its lines are its total, the total is its capacity, and the order of the file means nothing."""

from __future__ import annotations

import random
from fractions import Fraction
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.reports.settle.settle_file import at, cards, inputs, told

from ullage_reports.settle.spans import By
from ullage_reports.settle.world import POLICIES

some = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
NAMES = ("a", "b", "c")
FLEET = ("G1", "G2", "G3", "N1")
HOURS = (0, 1, 5.25, 8, 11.5, 12, 17, 24, 30, 36, 48)


def span(rng: random.Random) -> dict[str, str]:
    start, end = sorted(rng.sample(HOURS, 2))
    return {"start": at(start), "end": at(end)}


def known(rng: random.Random) -> dict[str, str]:
    return {"known_at": at(rng.choice((0, 20, 50, 90)))} if rng.random() < 0.4 else {}


def world(rng: random.Random, *, dated: bool = False) -> dict[str, Any]:
    """Two days of four cards with everything in it. dated: rows became known at different times."""

    def late() -> dict[str, str]:
        return known(rng) if dated else {}

    fleet = [*cards("G1", "G2", "G3", node="n1"), *cards("N1", model="910B", node="n2")]
    fleet[2] |= rng.choice(({}, {"sharing": "time-slicing", "replicas": 3}, {"compute_slices": 7}))
    held: list[dict[str, Any]] = []
    for n in range(rng.randint(0, 9)):
        what = rng.choice(
            (
                {"card": rng.choice(FLEET)},
                {"card": rng.choice(FLEET), "fraction": rng.choice(("0.3", "1/3", "0.75", "1"))},
                {"card": rng.choice(FLEET), "mig_profile": rng.choice(("1g.10gb", "3g.40gb", "7g.80gb"))},
                {"cards": rng.randint(1, 3)},
            )
        )
        who = (
            {"department": rng.choice(NAMES)}
            if rng.random() < 0.7
            else {"namespace": rng.choice(("x-1", "y"))}
        )
        held.append({**what, **who, "job": f"j{n}", **span(rng), **late()})
    telemetry = [
        {
            **rng.choice(({"card": rng.choice(FLEET)}, {"job": f"j{rng.randint(0, 8)}"})),
            **rng.choice(({"active": rng.random() < 0.5}, {"sm_active_pct": rng.randint(0, 100)}, {})),
            **rng.choice(({}, {"mean_watts": rng.randint(50, 700)})),
            **span(rng),
            **late(),
        }
        for _ in range(rng.randint(0, 8))
    ]
    return inputs(
        report_timezone=rng.choice(("UTC", "Asia/Kolkata", "America/New_York")),
        window=[at(0), at(48)],
        cards=fleet,
        price_models=[
            {"model": "H20", "hourly": "10.01", "effective_from": at(0)},
            {"model": "H20", "hourly": "11.37", "effective_from": at(17), **late()},
            {
                "model": "910B",
                "capex": "70000",
                "in_service": "2024-02-01T00:00:00Z",
                "end_of_life": "2029-02-01T00:00:00Z",
            },
        ],
        node=[{"node": "n1", "host_watts": "700", "cards": 3}],
        allocations=held,
        telemetry=telemetry,
        health=[
            {"card": rng.choice(FLEET), "state": rng.choice(("faulty", "isolated")), **span(rng), **late()}
            for _ in range(rng.randint(0, 2))
        ],
        mapping=[{"match": "k8s:x-*", "department": "c", "effective_from": at(rng.choice(HOURS)), **late()}],
        quota={"a": 1, "b": {"min": "1.5", "max": 3}},
        fixed={"a": "0.4", "c": "0.35"},
        tariff=[{"per_kwh": "0.61", "end": at(12)}, {"per_kwh": "0.93", "start": at(12)}],
        pue="1.27",
        power=[{"card": "G1", "mean_watts": "411", **span(rng)}] if rng.random() < 0.7 else [],
        policy={name: rng.choice(words) for name, words in POLICIES.items() if name != "gap_energy"}
        | {"idle_window_minutes": rng.choice((10, 60, 240))},
    )


def cost(lines: list[dict[str, Any]], *, energy: bool) -> Fraction:
    return sum((Fraction(x["cost"]) for x in lines if (x["cost_class"] == "energy") == energy), Fraction(0))


@some
@given(st.integers(0, 10**9), st.sampled_from([None, By.DAY, By.MONTH]))
def test_lines_are_the_capacity_and_its_energy(seed: int, by: By | None) -> None:
    """told() holds lines against totals, and that only a correction is negative."""
    found = told(world(random.Random(seed)), by=by)
    hours = sum(Fraction(x["quantity"]) for x in found["lines"] if x["unit"] == "card_hours")
    assert hours == 4 * 48, "every hour of every card is in one line"
    whole = 3 * (17 * Fraction("10.01") + 31 * Fraction("11.37")) + 48 * Fraction(70000, 24 * 1827)
    printed = cost(found["lines"], energy=False)
    assert abs(printed - whole) < len(found["lines"]) * Fraction(1, 100)
    assert found["unpriced"] == []


@some
@given(st.integers(0, 10**9))
def test_the_order_of_the_file_means_nothing(seed: int) -> None:
    """Lists may be shuffled, but for a number of cards, which takes free ones in the order of the file."""
    rng = random.Random(seed)
    keys = world(rng)
    keys["allocations"] = [held for held in keys["allocations"] if "card" in held]
    before = told(keys)
    for name in ("price_models", "cards", "allocations", "telemetry", "health", "mapping", "tariff", "power"):
        rng.shuffle(keys[name])
    after = told(dict(rng.sample(list(keys.items()), len(keys))))
    assert (after["lines"], after["totals"]) == (before["lines"], before["totals"])
    assert after["recommendations"] == before["recommendations"]


@some
@given(st.integers(0, 10**9))
def test_what_was_paid_in_the_end_is_what_is_known_in_the_end(seed: int) -> None:
    """Closed days, and the corrections posted for them, add up to the day as it would be priced today, to the cent."""
    keys = world(random.Random(seed), dated=True)
    keys["report_timezone"] = "UTC"
    days = ["2026-10-05", "2026-10-06"]
    today = told(keys, by=By.DAY)
    late = told(
        {
            **keys,
            "closed_periods": [{"period": day, "closed_at": at(24 * n + 24)} for n, day in enumerate(days)],
        }
    )

    def paid(found: dict[str, Any], day: str) -> dict[str, Fraction]:
        sums: dict[str, Fraction] = {}
        for line in found["lines"]:
            if line.get("corrects", line["period"]) == day:
                sums[line["department"]] = sums.get(line["department"], Fraction(0)) + Fraction(line["cost"])
        return {name: value for name, value in sums.items() if value}

    for day in days:
        assert paid(late, day) == paid(today, day)


@some
@given(st.integers(0, 10**9))
def test_a_policy_moves_money_and_never_makes_any(seed: int) -> None:
    keys = world(random.Random(seed))
    totals = set()
    for name in ("unallocated_idle", "borrowing", "faulty", "allocated_idle"):
        for word in POLICIES[name]:
            keys["policy"] = {name: word}
            keys["tariff"] = []
            totals.add(tuple(sorted(told(keys, by=By.MONTH)["totals"].items())))
    assert len(totals) == 1
