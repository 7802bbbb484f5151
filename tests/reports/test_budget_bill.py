"""A budget is spent as the bill of its period says, and what is posted once is forecast by nobody."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from tests.collector.fleet_world import DAY, LATER, World, at, us
from tests.reports.bill_world import add_energy

from ullage_collector import ledger
from ullage_collector.publish.files import publish_dimensions, publish_facts_day
from ullage_collector.published import Published
from ullage_collector.states import States
from ullage_reports import period as periods
from ullage_reports.bill import kwh
from ullage_reports.budget import Standing, course
from ullage_reports.budget_reading import stand
from ullage_reports.budget_settings import Budget
from ullage_reports.cost_policy import CostPolicy
from ullage_reports.period import PeriodKind
from ullage_reports.statement import statement

UNIT = ledger.ATOMS_PER_UNIT
SHARED = (CostPolicy("2026", unallocated_idle="proportional", allocated_idle="platform_pays"),)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three days of two cards, energy on the first, and a credit on the second."""
    root = tmp_path_factory.mktemp("data")
    world = World()
    world.card("G0")
    world.card("G1")
    world.price("H800", 10_000_000)
    world.rule("slurm:cv", "cv", scenario="training")
    world.rule("slurm:nlp", "nlp")
    world.hold("G0", "slurm/dc1/cv/1", 0, 40)
    world.hold("G1", "slurm/dc1/nlp/2", 6, 12)
    world.minutes("G0", 0, 20, 0.9)
    world.minutes("G0", 20, 40, 0.0)
    world.db.execute(
        "INSERT INTO adjustment (adjustment_id, kind, department_id, scenario, cost_class, posted_at, known_at, quantity, currency, "
        "cost_atoms, reason, requester, recorded_by) VALUES (1, 'credit', 'cv', 'training', 'capacity', ?, ?, 0, 'CNY', ?, 'x', 'li', 'li')",
        [at(30), LATER.replace(tzinfo=None), -30 * UNIT],
    )
    states = States(world.db)
    for number in range(3):
        day = DAY.date() + timedelta(days=number)
        states.make(day, LATER)
        publish_facts_day(world.db, root, day, status="sealed", now=LATER)
    publish_dimensions(world.db, root, now=LATER)
    line = {
        "from_us": us(0),
        "to_us": us(1),
        "department": "cv",
        "scenario": "training",
        "mj": 10_800_000_000,
    }
    add_energy(root, DAY.date(), [line])
    return root


@pytest.mark.parametrize("policies", [(CostPolicy(),), SHARED])
def test_a_budget_is_spent_as_the_bill_says(root: Path, policies: tuple[CostPolicy, ...]) -> None:
    month = periods.parse(PeriodKind.MONTHLY, "2026-10", "UTC")
    bill = statement(Published(root), month, currency="CNY", now=LATER, policies=policies).bill
    assert bill is not None
    owed = {row.department_id: row.own.total for row in bill.departments}
    for name in ("cv", "nlp", "platform"):
        budget = Budget(name, (name,), ("*",), 10**6 * UNIT, "CNY", "month")
        _, spent = stand(Published(root), budget, date(2026, 10, 9), "UTC", policies=policies)
        assert abs(Fraction(spent.spent, UNIT) - Fraction(owed[name])) <= Fraction(1, 50), name
    everything = Budget("all", ("*",), ("*",), 10**6 * UNIT, "CNY", "month")
    _, spent = stand(Published(root), everything, date(2026, 10, 9), "UTC", policies=policies)
    assert ledger.rounded(spent.spent, "CNY") == bill.total.total
    # 72 h of two cards at 10, 3 kWh x 1.3 at 0.80, less the credit
    assert bill.total.total == Decimal("1440") + Decimal("3.12") - 30


def test_what_is_posted_once_is_forecast_by_nobody() -> None:
    october = [date(2026, 10, 1) + timedelta(days=n) for n in range(31)]
    known = frozenset(october[:10])
    budget = Budget("b", ("*",), ("*",), 300, "CNY", "month")
    plain = course(budget, dict.fromkeys(october[:10], 10), 0, october, known)
    credited = course(budget, dict.fromkeys(october[:10], 10), 0, october, known, once=-50)
    assert (plain.spent, credited.spent) == (100, 50)
    assert (plain.expected, credited.expected) == (310, 260)
    assert plain.a_day == credited.a_day == 10
    assert (plain.standing, credited.standing) == (Standing.CERTAIN, Standing.ON_TRACK)
    assert plain.runs_out == date(2026, 10, 31) and credited.runs_out is None


def test_energy_without_a_tariff_is_told_where_energy_is_billed_at_all(tmp_path: Path) -> None:
    world, day = World(), DAY.date()
    world.card("G0")
    world.price("H800", 10_000_000)
    states, cut = States(world.db), {"from_us": us(0), "to_us": us(1), "mj": 10_800_000_000}
    states.make(day, LATER)
    publish_facts_day(world.db, tmp_path, day, status="sealed", now=LATER)
    publish_dimensions(world.db, tmp_path, now=LATER)
    lines = [
        {**cut, "department": "cv"},
        {**cut, "department": "cv", "tariff_micro": None},
        {**cut, "department": "nlp", "currency": "USD"},
    ]
    add_energy(tmp_path, day, [lines[1]])

    def without(department: str) -> int:
        budget = Budget(department, (department,), ("*",), 10**6 * UNIT, "CNY", "month")
        return stand(Published(tmp_path), budget, day, "UTC")[1].unpriced_energy

    assert without("cv") == 0, "a price book without tariffs bills no energy"
    add_energy(tmp_path, day, lines)
    assert kwh(without("cv")) == Decimal("3.900"), "where a line carries a tariff, energy is billed"
    world.db.execute(
        "INSERT INTO tariff VALUES (1, NULL, 'CNY', 1000000, 'UTC', NULL, NULL, ?, NULL, ?, NULL, 'file')",
        [DAY.replace(tzinfo=None), DAY.replace(tzinfo=None)],
    )
    publish_dimensions(world.db, tmp_path, now=LATER)
    assert kwh(without("cv")) == Decimal("3.900"), "3 kWh with a PUE of 1.3"
    assert kwh(without("nlp")) == Decimal("3.900"), "a tariff in another currency is none"
    assert without("platform") == 0
