"""FOCUS rows beside capacity: energy in kWh, shared cost split exactly, corrections and credits in the words FOCUS has."""

from __future__ import annotations

import csv
from collections import defaultdict
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from tests.collector.fleet_world import DAY, LATER, NANO, World, at, us
from tests.reports import focus_validator
from tests.reports.bill_world import add_energy

from ullage_collector import ledger
from ullage_collector.publish.files import publish_dimensions, publish_facts_day
from ullage_collector.published import Published
from ullage_collector.states import States
from ullage_reports import focus
from ullage_reports import period as periods
from ullage_reports.config import Issuer
from ullage_reports.cost_policy import CostPolicy
from ullage_reports.period import PeriodKind
from ullage_reports.statement import statement

MONTH = periods.parse(PeriodKind.MONTHLY, "2026-10", "Asia/Shanghai")
THIRD = NANO // 3
POLICY = CostPolicy("2026", unallocated_idle="fixed", fixed={"rd": Fraction(1, 3), "cv": Fraction(1, 7)})


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A day: a third of a card at a price that does not divide, energy with and without a tariff, corrections, credits."""
    root = tmp_path_factory.mktemp("data")
    world = World()
    world.card("G0")
    world.card("G1", model="H20")
    world.price("H800", 20_333_333)
    world.price("H20", 7_000_001)
    world.db.execute("UPDATE price SET kind = 'contract', list_micro = 8_500_000 WHERE model = 'H20'")
    world.department("rd", "研发一部")
    world.rule("slurm:nlp", "rd", scenario="training")
    world.hold("G0", "slurm/dc1/nlp/1", 0, 7, THIRD)
    world.hold("G0", "slurm/dc1/nlp/2", 7, 7 + 1 / 7)
    world.minutes("G0", 0, 24, 0.9)
    unit = ledger.ATOMS_PER_UNIT
    for kind, department, atoms, closed in (
        ("correction", "rd", -10 * unit - unit // 7, True),
        ("correction", "platform", 10 * unit + unit // 7, True),
        ("credit", "rd", -unit // 3, False),
        ("credit", "cv", unit, False),
        ("dispute", "cv", -unit, False),
    ):
        world.db.execute(
            "INSERT INTO adjustment (adjustment_id, kind, department_id, cost_class, zone, period_from, period_to, posted_at, "
            "known_at, quantity, currency, cost_atoms, reason, requester, recorded_by) "
            "VALUES (?, ?, ?, 'capacity', 'Asia/Shanghai', ?, ?, ?, ?, 0, 'CNY', ?, '迟到 a fault', 'li', 'li')",
            [
                *(world.key(), kind, department, at(-24 * 37 - 8) if closed else None, at(-24 * 7 - 8) if closed else None),
                *(at(3), LATER.replace(tzinfo=None), atoms),
            ],
        )  # fmt: skip
    day = DAY.date()
    States(world.db).make(day, LATER)
    publish_facts_day(world.db, root, day, status="sealed", now=LATER)
    publish_dimensions(world.db, root, now=LATER)
    line = {"from_us": us(0), "to_us": us(1), "department": "rd", "scenario": "training"}
    add_energy(
        root,
        day,
        [
            {**line, "mj": 1_234_567_891, "tariff_micro": 612_345},
            {**line, "mj": 3_333, "tariff_micro": 612_345, "estimated": True},
            {**line, "mj": 7_001, "tariff_micro": 612_345, "department": "platform", "card": "G1"},
            {**line, "mj": 5_000_000, "tariff_micro": None},
        ],
    )
    return root


@pytest.fixture(scope="module")
def out(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    with Published(root).open(MONTH.start, MONTH.end) as facts:
        focus.write(facts, MONTH, "CNY", Issuer(), folder, (POLICY,))
    return folder


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "focus.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_row_with_a_quantity_costs_quantity_times_price(out: Path) -> None:
    for row in rows(out):
        if row["PricingQuantity"]:
            quantity = Decimal(row["PricingQuantity"])
            assert Decimal(row["ContractedUnitPrice"]) * quantity == Decimal(row["ContractedCost"])
            assert Decimal(row["ListUnitPrice"]) * quantity == Decimal(row["ListCost"])
            assert row["PricingUnit"] in ("GPU-Hours", "kWh")
        else:
            assert row["ChargeClass"] == "Correction" or row["ChargeCategory"] in ("Credit", "Adjustment")
        assert row["BilledCost"] == row["EffectiveCost"]


def test_the_list_price_stands_beside_what_is_paid(out: Path) -> None:
    found = {
        (row["ListUnitPrice"], row["ContractedUnitPrice"])
        for row in rows(out)
        if row["SkuId"] == "nvidia/H20" and row["x_CostClass"] == "unallocated_idle"
    }
    assert found == {("8.500000", "7.000001")}


def test_the_sum_is_the_bill_and_so_is_each_departments(root: Path, out: Path) -> None:
    bill = statement(Published(root), MONTH, currency="CNY", now=LATER, policies=(POLICY,)).bill
    assert bill is not None
    by: dict[str, Decimal] = defaultdict(Decimal)
    for row in rows(out):
        by[row["SubAccountId"]] += Decimal(row["BilledCost"])
    exact = Fraction(sum(int(atoms) for atoms in bill.exact.values()), ledger.ATOMS_PER_UNIT)
    assert abs(Fraction(sum(by.values())) - exact) < Fraction(1, 10**7)
    assert sum(by.values()).quantize(Decimal("0.01")) == bill.total.total
    for department in bill.departments:
        assert abs(by[department.department_id] - department.own.total) <= Decimal("0.02"), department


def test_shared_rows_move_money_and_make_none(out: Path) -> None:
    found = [row for row in rows(out) if row["x_CostClass"] == "shared"]
    assert {row["SubAccountId"] for row in found} == {"platform", "rd", "cv"}
    assert sum(Decimal(row["BilledCost"]) for row in found) == 0
    assert sum(Decimal(row["PricingQuantity"]) for row in found) == 0
    ratios: dict[str, Decimal] = defaultdict(Decimal)
    for row in found:
        assert row["x_AllocatedMethodId"] == "unallocated_idle/fixed"
        assert row["x_PolicyVersion"] == f"2026 {POLICY.digest}"
        if row["SubAccountId"] == "platform":
            assert Decimal(row["BilledCost"]) < 0 and row["x_AllocatedRatio"] == ""
        else:
            ratios[row["SkuPriceId"]] += Decimal(row["x_AllocatedRatio"])
    assert ratios and set(ratios.values()) == {Decimal(1)}


def test_energy_is_in_kilowatt_hours_and_what_has_no_tariff_is_in_no_row(out: Path) -> None:
    found = [row for row in rows(out) if row["PricingUnit"] == "kWh"]
    assert {row["x_CostClass"] for row in found} == {"energy"}
    assert {row["ContractedUnitPrice"] for row in found} == {"0.612345"}
    kwh = sum(Decimal(row["PricingQuantity"]) for row in found)
    exact = Fraction((1_234_567_891 + 3_333 + 7_001) * 1300, 3_600_000_000 * 1000)
    assert 0 <= exact - Fraction(kwh) < Fraction(1, 10**9)
    left = [row for row in found if row["x_LineId"].startswith("residue/energy/")]
    assert [row["SubAccountId"] for row in left] == ["platform"] * len(left)
    assert {row["x_Reason"] for row in found} >= {"estimated"}


def test_corrections_and_credits_are_told_as_focus_tells_them(out: Path) -> None:
    found = {row["x_LineId"]: row for row in rows(out) if row["x_LineId"].startswith("adjustment/")}
    told = sorted(
        (r["ChargeCategory"], r["ChargeClass"], r["SubAccountId"], r["BilledCost"][:7])
        for r in found.values()
    )
    assert told == [
        ("Adjustment", "", "cv", "1.00000"),
        ("Credit", "", "rd", "-0.3333"),
        ("Usage", "Correction", "cv", "-1.0000"),
        ("Usage", "Correction", "platform", "10.1428"),
        ("Usage", "Correction", "rd", "-10.142"),
    ]
    corrected = [r for r in found.values() if r["ChargeClass"] and r["SubAccountId"] != "cv"]
    assert {(r["ChargePeriodStart"], r["ChargePeriodEnd"]) for r in corrected} == {
        ("2026-08-30T16:00:00Z", "2026-09-29T16:00:00Z")
    }, "a correction stands in the time it corrects, and is billed now"
    assert {r["BillingPeriodStart"] for r in found.values()} == {"2026-09-30T16:00:00Z"}
    assert all(r["ChargeDescription"].isascii() for r in found.values())


def test_every_time_has_a_z_and_the_rows_are_alike_in_both_files(out: Path) -> None:
    for row in rows(out):
        for name in ("ChargePeriodStart", "ChargePeriodEnd", "BillingPeriodStart", "BillingPeriodEnd"):
            assert row[name].endswith("Z")
        assert row["ChargePeriodStart"] < row["ChargePeriodEnd"]
    import duckdb

    with duckdb.connect() as db:
        count = db.execute("SELECT count(*) FROM read_parquet(?)", [str(out / "focus.parquet")]).fetchall()
    assert count == [(len(rows(out)),)]


@focus_validator.where_named
@pytest.mark.parametrize("name", list(focus.FILES))
def test_the_validator_of_the_finops_foundation_passes_it(out: Path, name: str) -> None:
    focus_validator.check(out / name)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_charge_of_more_than_ten_million_is_written_to_the_last_digit(tmp_path: Path, sign: int) -> None:
    world = World()
    world.card("G0")
    world.price("H800", 50_000_000_000)
    atoms = sign * (123_456_789 * ledger.ATOMS_PER_UNIT + ledger.ATOMS_PER_UNIT // 7)
    world.db.execute(
        "INSERT INTO adjustment (adjustment_id, kind, department_id, cost_class, posted_at, known_at, quantity, currency, cost_atoms, "
        "reason, requester, recorded_by) VALUES (1, 'credit', 'rd', 'capacity', ?, ?, 0, 'VND', ?, 'a year', 'li', 'li')",
        [at(3), LATER.replace(tzinfo=None), atoms],
    )
    world.db.execute("UPDATE price SET currency = 'VND'")
    States(world.db).make(DAY.date(), LATER)
    publish_facts_day(world.db, tmp_path, DAY.date(), status="sealed", now=LATER)
    publish_dimensions(world.db, tmp_path, now=LATER)
    with Published(tmp_path).open(MONTH.start, MONTH.end) as facts:
        focus.write(
            facts,
            MONTH,
            "VND",
            Issuer(),
            tmp_path,
            (CostPolicy(unallocated_idle="fixed", fixed={"rd": Fraction(1)}),),
        )
    found = {row["x_CostClass"]: Decimal(row["BilledCost"]) for row in rows(tmp_path)}
    assert found["credit"] == sign * Decimal("123456789.142857142857142")
    assert {row["BilledCost"] for row in rows(tmp_path) if row["x_CostClass"] == "shared"} == {
        "1200000.000000000000000",
        "-1200000.000000000000000",
    }
