"""The bill: rows and columns add up whatever the fleet, the policy and the adjustments; sharing moves money and makes none."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from dataclasses import fields
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.collector.fleet_world import DAY, LATER, World, at, us
from tests.collector.random_fleet import random_world
from tests.reports.bill_world import add_energy

from ullage_collector import ledger
from ullage_collector.publish.files import publish_dimensions, publish_facts_day
from ullage_collector.published import Published
from ullage_collector.states import States
from ullage_contract.errors import ConfigError
from ullage_reports import cost_policy, diff
from ullage_reports import period as periods
from ullage_reports.bill import charged
from ullage_reports.bill_model import Bill, Charges
from ullage_reports.cost_policy import DEFAULT, CostPolicy
from ullage_reports.department_copy import department_copy
from ullage_reports.json_form import text
from ullage_reports.mailing import revision
from ullage_reports.model import Report, Status
from ullage_reports.pages import pages
from ullage_reports.period import Period
from ullage_reports.statement import statement

ONE_DAY = periods.daily("2026-10-07", "UTC")
few = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
POLICIES = [
    CostPolicy(unallocated_idle=word, faulty=faulty, allocated_idle=idle)
    for word in ("proportional", "even", "none")
    for faulty in ("platform_pays_from_fault_onset", "loss_shared_by_all", "department_pays")
    for idle in ("department_pays", "platform_pays")
]


def publish(world: World, root: Path, days: Sequence[date] = (DAY.date(),)) -> Path:
    states = States(world.db)
    for day in days:
        states.make(day, LATER)
        publish_facts_day(world.db, root, day, status="sealed", now=LATER)
    publish_dimensions(world.db, root, now=LATER)
    return root


def made(world: World, policies: Sequence[CostPolicy] = DEFAULT, period: Period = ONE_DAY) -> Report:
    with tempfile.TemporaryDirectory() as folder:
        root = publish(world, Path(folder))
        return statement(Published(root), period, currency="CNY", now=LATER, policies=tuple(policies))


def owed(report: Report) -> Bill:
    assert report.bill is not None
    return report.bill


def rows(report: Report) -> dict[str, list[str]]:
    """Department -> its own charges as printed, in the order of the columns."""
    return {
        row.department_id: [format(getattr(row.own, f.name), "f") for f in fields(Charges)]
        for row in owed(report).departments
    }


def adjust(
    world: World, department: str, atoms: int, kind: str = "correction", posted: datetime | None = None
) -> None:
    world.db.execute(
        "INSERT INTO adjustment (adjustment_id, kind, department_id, cost_class, posted_at, known_at, quantity, currency, "
        "cost_atoms, reason, requester, recorded_by) VALUES (?, ?, ?, 'capacity', ?, ?, 0, 'CNY', ?, 'a late fault', 'li', 'li')",
        [world.key(), kind, department, posted or at(3), LATER.replace(tzinfo=None), atoms],
    )


def assert_adds_up(report: Report) -> None:
    assert report.trust.adds_up, [check for check in report.trust.checks if not check.good]
    bill = owed(report)
    names = [f.name for f in fields(Charges)]
    for listed in (
        [row.own for row in bill.departments],
        [row.charges for row in bill.departments if row.depth == 0],
        [row.charges for row in bill.businesses],
        [row.charges for row in bill.scenarios],
    ):
        for name in names:
            assert sum(getattr(row, name) for row in listed) == getattr(bill.total, name), name
        assert sum(row.total for row in listed) == bill.total.total
    assert bill.total.shared == 0
    exact = sum(int(atoms) for atoms in bill.exact.values())
    assert abs(bill.total.total - ledger.rounded(exact, "CNY")) <= Decimal("0.01")


@pytest.fixture
def world() -> World:
    """Four cards at 10.00: cv holds one for half the day and computes for a quarter of it, nlp one all day; two are free."""
    world = World()
    for number in range(4):
        world.card(f"G{number}")
    world.price("H800", 10_000_000)
    world.department("cv", "Vision")
    world.department("nlp", "Language")
    world.rule("slurm:cv", "cv", scenario="training", business="search")
    world.rule("slurm:nlp", "nlp")
    world.hold("G0", "slurm/dc1/cv/1", 0, 12)
    world.hold("G1", "slurm/dc1/nlp/2", 0, 24)
    world.minutes("G0", 0, 6, 0.9)
    world.minutes("G0", 6, 12, 0.0)
    world.minutes("G1", 0, 24, 0.9)
    return world


def test_by_default_a_bill_is_what_the_tables_of_cost_say(world: World) -> None:
    report = made(world)
    assert owed(report).plain
    assert owed(report).total.total == report.total.cost == Decimal("960.00")
    assert {row.department_id: row.own.total for row in owed(report).departments} == {
        row.department_id: row.own.cost for row in report.departments
    }
    assert [row.policy_id for row in owed(report).policies] == ["default"]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (
            CostPolicy(unallocated_idle="proportional"),
            {"cv": "200.00", "nlp": "400.00", "platform": "-600.00"},
        ),
        (CostPolicy(unallocated_idle="even"), {"cv": "300.00", "nlp": "300.00", "platform": "-600.00"}),
        (
            CostPolicy(unallocated_idle="fixed", fixed={"cv": Fraction(1, 2), "rd": Fraction(1, 4)}),
            {"cv": "300.00", "nlp": "0.00", "rd": "150.00", "platform": "-450.00"},
        ),
        (CostPolicy(allocated_idle="platform_pays"), {"cv": "-60.00", "nlp": "0.00", "platform": "60.00"}),
        (
            CostPolicy(allocated_idle="platform_pays", unallocated_idle="proportional"),
            {"cv": "60.00", "nlp": "480.00", "platform": "-540.00"},
        ),
    ],
)
def test_the_free_pool_is_paid_by_whom_the_policy_says(
    world: World, policy: CostPolicy, expected: dict[str, str]
) -> None:
    report = made(world, [policy])
    assert_adds_up(report)
    assert {name: cells[1] for name, cells in rows(report).items()} == expected
    by_scenario = {row.key: row.charges.shared for row in owed(report).scenarios}
    assert by_scenario["training"] == Decimal(expected["cv"]), (
        "what a department is given goes where its work is"
    )


def test_a_policy_that_changes_within_a_period_holds_from_its_instant(world: World) -> None:
    noon = datetime(2026, 10, 7, 12, tzinfo=UTC)
    both = (*DEFAULT, CostPolicy("afternoon", noon, unallocated_idle="even"))
    report = made(world, both)
    assert_adds_up(report)
    # from noon three cards are free: 36 card-hours; cv held nothing then, so nlp alone is there to pay
    assert {name: cells[1] for name, cells in rows(report).items()} == {
        "cv": "0.00",
        "nlp": "360.00",
        "platform": "-360.00",
    }
    told = owed(report).policies
    assert [(row.policy_id, row.until) for row in told] == [
        ("default", noon),
        ("afternoon", ONE_DAY.end),
    ]
    assert told[0].digest != told[1].digest


def test_corrections_and_credits_are_columns_of_their_own_and_may_be_below_nothing(world: World) -> None:
    unit = ledger.ATOMS_PER_UNIT
    adjust(world, "cv", -200 * unit - unit // 3)
    adjust(world, "platform", 200 * unit + unit // 3)
    adjust(world, "nlp", -5 * unit, "credit")
    adjust(world, "nlp", -7 * unit, "credit", posted=at(30))
    report = made(world)
    assert_adds_up(report)
    assert rows(report) == {
        "cv": ["120.00", "0.00", "0.00", "-200.33", "0.00"],
        "nlp": ["240.00", "0.00", "0.00", "0.00", "-5.00"],
        "platform": ["600.00", "0.00", "0.00", "200.33", "0.00"],
    }
    assert [(row.kind, row.cost) for row in owed(report).adjustments] == [
        ("correction", Decimal("-200.33")),
        ("correction", Decimal("200.33")),
        ("credit", Decimal("-5.00")),
    ], "what is posted on another day is on another statement"


def test_energy_is_a_column_and_what_has_no_tariff_makes_the_statement_partial(
    tmp_path: Path, world: World
) -> None:
    line = {"from_us": us(0), "to_us": us(1), "department": "cv", "scenario": "training", "mj": 3_600_000_000}
    root = publish(world, tmp_path)
    add_energy(root, DAY.date(), [line, {**line, "department": "platform", "estimated": True}])
    report = statement(Published(root), ONE_DAY, currency="CNY", now=LATER)
    assert_adds_up(report)
    bill = owed(report)
    # 1 kWh x 1.3 at 0.80
    assert {row.department_id: row.own.energy for row in bill.departments} == {
        "cv": Decimal("1.04"),
        "nlp": Decimal("0.00"),
        "platform": Decimal("1.04"),
    }
    assert (bill.energy_kwh, bill.estimated_kwh, bill.unpriced_kwh) == (Decimal("2.600"), Decimal("1.300"), 0)
    assert report.status is Status.SEALED
    assert bill.energy_billed, "the lines carry a tariff, whatever the price book says by now"
    add_energy(root, DAY.date(), [{**line, "tariff_micro": None}])
    report = statement(Published(root), ONE_DAY, currency="CNY", now=LATER)
    assert (owed(report).energy_billed, owed(report).unpriced_kwh) == (False, 0)
    assert report.status is Status.SEALED, "a site without any tariff pays for power in some other way"
    world.db.execute(
        "INSERT INTO tariff (tariff_id, currency, tariff_micro, zone, valid_from, known_from, source) "
        "VALUES (1, 'CNY', 800000, 'UTC', '2027-01-01', '2026-01-01', 'book.toml')"
    )
    publish_dimensions(world.db, root, now=LATER)
    report = statement(Published(root), ONE_DAY, currency="CNY", now=LATER)
    assert owed(report).total.energy == 0 and owed(report).unpriced_kwh == Decimal("1.300")
    assert report.status is Status.PARTIAL, "what nobody gave a tariff for is no free energy"


def test_what_was_only_asked_for_is_no_money(world: World) -> None:
    adjust(world, "cv", -(10**24))
    world.db.execute("UPDATE adjustment SET posted_at = NULL")
    assert owed(made(world)).plain


@few
@given(st.integers(0, 10**9), st.sampled_from(POLICIES), st.sampled_from(["UTC", "Asia/Kathmandu"]))
def test_every_bill_adds_up_and_sharing_makes_no_money(seed: int, policy: CostPolicy, zone: str) -> None:
    rng = random.Random(seed)
    world = random_world(rng)
    for _ in range(rng.randint(0, 6)):
        name = rng.choice(["rd", "rd/cv", "platform", "gone", "__unallocated__"])
        adjust(world, name, rng.randint(-(10**26), 10**25), rng.choice(["correction", "credit"]))
    period = periods.daily("2026-10-07", zone)
    with tempfile.TemporaryDirectory() as folder:
        root = publish(world, Path(folder), [DAY.date() + timedelta(days=n) for n in (-1, 0, 1)])
        report = statement(Published(root), period, currency="CNY", now=LATER, policies=(policy,))
        assert_adds_up(report)
        with Published(root).open(period.start, period.end) as facts:
            exact = charged(facts, period, "CNY", (policy,))
    assert sum(exact.shared.by_payer().values()) == 0
    assert all(move.atoms > 0 for move in exact.shared.moves), "a move takes, it never gives back"
    for row in owed(report).departments:
        if row.department_id != "platform" and policy.allocated_idle == "department_pays":
            assert row.own.shared >= 0, "who lends nothing and is given the free pool is given no money"


def test_filtering_never_changes_a_number(world: World) -> None:
    """A department's copy is cut out of the whole bill, never made from that department's lines alone."""
    adjust(world, "cv", -3 * ledger.ATOMS_PER_UNIT)
    report = made(world, [CostPolicy(unallocated_idle="proportional")])
    whole = {row.department_id: row.charges for row in owed(report).departments}
    for name in ("cv", "nlp"):
        copy = department_copy(report, name)
        assert copy is not None and copy.bill is not None
        assert copy.bill.total == whole[name]
        assert {row.department_id for row in copy.bill.departments} == {name}
        assert {row.department_id for row in copy.bill.shared} == {name}
        assert {row.department_id for row in copy.bill.adjustments} <= {name}


def test_a_copy_tells_nobody_others_shares(world: World) -> None:
    fixed = {"cv": Fraction(1, 2), "nlp": Fraction(1, 3)}
    copy = department_copy(made(world, [CostPolicy(unallocated_idle="fixed", fixed=fixed)]), "cv")
    assert copy is not None and copy.bill is not None
    assert "nlp" not in repr(copy.bill)


# ---------------------------------------------------------------------------------- report.toml
def load(tmp_path: Path, text: str) -> tuple[CostPolicy, ...]:
    path = tmp_path / "report.toml"
    path.write_text(text, encoding="utf-8")
    return cost_policy.load(path, "Asia/Shanghai")


def test_versions_are_dated_by_local_midnights(tmp_path: Path) -> None:
    found = load(
        tmp_path,
        '[[policy]]\nid = "2027"\nvalid_from = 2027-01-01\nunallocated_idle = "fixed"\nfixed = { cv = "1/3" }\n'
        '[[policy]]\nid = "2026"\nvalid_from = 2026-06-01T00:00:00+02:00\nfaulty = "tenant_pays_until_release"\n',
    )
    assert [policy.policy_id for policy in found] == ["default", "2026", "2027"]
    assert found[1].valid_from == datetime(2026, 5, 31, 22, tzinfo=UTC)
    assert found[2].valid_from == datetime(2026, 12, 31, 16, tzinfo=UTC)
    assert found[1].faulty == "department_pays", "the other word for the same"
    assert found[2].fixed == {"cv": Fraction(1, 3)}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[policy]]\nunallocated_idle = "fair"\n', "choose from none, proportional"),
        ('[[policy]]\nfree_pool = "none"\n', "is not known"),
        ("[[policy]]\n[[policy]]\n", "begin at one instant"),
        ('[[policy]]\nvalid_from = "soon"\n', "write a date"),
        ("[[policy]]\nvalid_from = 2026-01-01T00:00:00\n", "has no offset"),
        ("[[policy]]\nvalid_from = 0001-01-01T00:00:00+08:00\n", "no instant in UTC"),
        ("[[policy]]\nvalid_from = 0001-01-01\n", "no instant in UTC"),
        ('[[policy]]\nunallocated_idle = "fixed"\n', "go together"),
        ('[[policy]]\nfixed = { cv = "0.5" }\n', "go together"),
        ('[[policy]]\nunallocated_idle = "fixed"\nfixed = { cv = "0.6", nlp = "0.6" }\n', "more than 1"),
        ('[[policy]]\nunallocated_idle = "fixed"\nfixed = { cv = 0.5 }\n', "in quotes"),
        ('[[policy]]\nunallocated_idle = "fixed"\nfixed = { cv = "1/0" }\n', "in quotes"),
        ('[policy]\nunallocated_idle = "even"\n', "write \\[\\[policy\\]\\]"),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load(tmp_path, text)


# ---------------------------------------------------------------------------------- who else shows what is owed
def test_a_department_without_hours_that_owes_has_a_copy(world: World) -> None:
    report = made(world, [CostPolicy(unallocated_idle="fixed", fixed={"rd": Fraction(1, 4)})])
    copy = department_copy(report, "rd")
    assert copy is not None and copy.bill is not None
    assert copy.bill.total.total == Decimal("150.00")
    assert copy.total.hours == 0
    assert pages(copy, "en").sentences[-1] == "The department owes CNY 150: shared cost CNY 150."
    assert department_copy(report, "sales") is None


def test_a_diff_says_who_owes_more_and_by_which_policy(world: World, tmp_path: Path) -> None:
    adjust(world, "nlp", -5 * ledger.ATOMS_PER_UNIT, "credit")
    files = []
    for number, policy in enumerate((CostPolicy(), CostPolicy("2027", unallocated_idle="even"))):
        file = tmp_path / f"{number}.json"
        file.write_text(text(made(world, [policy])), encoding="utf-8")
        files.append(diff.read(file))
    found = diff.difference(*files)
    assert found.adds_up
    owes = {one.name: (one.cost, one.difference) for one in found.moved if one.table == "owed"}
    assert owes == {
        "platform": ((Decimal("600.00"), Decimal("0.00")), Decimal("-600.00")),
        "cv": ((Decimal("120.00"), Decimal("420.00")), Decimal("300.00")),
        "nlp": ((Decimal("235.00"), Decimal("535.00")), Decimal("300.00")),
    }
    assert not [one for one in found.moved if one.table == "department"], "what capacity cost did not move"
    assert any("shared out by policy 2027" in cause for cause in found.causes)


def test_another_bill_of_the_same_days_is_mailed_again(world: World) -> None:
    before = made(world)
    assert revision(before) == revision(made(world))
    after = made(world, [CostPolicy(unallocated_idle="even")])
    assert before.trust.days == after.trust.days
    assert revision(after) != revision(before)


def test_a_remainder_and_two_columns_of_one_payer_are_rounded_and_add_up(tmp_path: Path) -> None:
    """Capacity and remainder are both rounded up by 0.4 of a cent, and what else is owed is 10 cents exactly, in two columns."""
    world = World()
    world.card("G0")
    world.price("H800", 10_000_250)  # 240.006 a day
    world.rule("slurm:nlp", "nlp")
    world.hold("G0", "slurm/dc1/nlp/2", 0, 24)
    world.minutes("G0", 0, 24, 0.9)
    cent = ledger.minor_atoms("CNY")
    adjust(world, "nlp", 45 * cent // 10)
    adjust(world, "nlp", 55 * cent // 10, kind="credit")
    States(world.db).make(DAY.date(), LATER)
    world.db.execute(
        "INSERT INTO remainder_line SELECT DISTINCT day, card_key, inventory_id, 'host', ?, ?, 1, NULL, 'CNY', ? FROM segment",
        [us(0), us(1), 6 * cent // 10],
    )
    publish_facts_day(world.db, tmp_path, DAY.date(), status="sealed", now=LATER)
    publish_dimensions(world.db, tmp_path, now=LATER)
    report = statement(Published(tmp_path), ONE_DAY, currency="CNY", now=LATER)
    assert_adds_up(report)
    assert owed(report).total.total == Decimal("240.11"), "240.006 and 0.006 and 0.1, half up"
    assert rows(report)["nlp"][:1] == ["240.01"]


def test_energy_and_credits_in_another_currency_are_told_and_not_lost(world: World, tmp_path: Path) -> None:
    adjust(world, "nlp", -7 * ledger.ATOMS_PER_UNIT, kind="credit")
    world.db.execute("UPDATE adjustment SET currency = 'EUR'")
    root = publish(world, tmp_path)
    line = {"from_us": us(0), "to_us": us(1), "department": "nlp", "mj": 3_600_000_000, "pue_milli": 1000}
    add_energy(root, DAY.date(), [{**line, "tariff_micro": 120_000, "currency": "USD"}])
    report = statement(Published(root), ONE_DAY, currency="CNY", now=LATER)
    assert [(row.currency, str(row.cost), str(row.hours)) for row in report.trust.foreign] == [
        ("EUR", "-7.00", "0.00"),
        ("USD", "0.12", "0.00"),
    ]
    assert report.status is Status.PARTIAL
    assert owed(report).total.total == Decimal("960.00")
