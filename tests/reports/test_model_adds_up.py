"""Whatever the fleet: departments, states, days, models and pages add up to the fleet, exactly and as printed."""

from __future__ import annotations

import random
import tempfile
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.collector.fleet_world import DAY, LATER, World
from tests.collector.random_fleet import random_world, shuffled

from ullage_collector import ledger
from ullage_collector.publish.files import publish_dimensions, publish_facts_day
from ullage_collector.published import Published
from ullage_collector.states import States
from ullage_reports import period as periods
from ullage_reports.model import Amounts, Report
from ullage_reports.period import Period
from ullage_reports.reading import GROUPS, read
from ullage_reports.rounding import Rounding, Sums
from ullage_reports.statement import statement
from ullage_reports.tree import id_of
from ullage_reports.workloads import workloads

NOW = datetime(2026, 11, 1, tzinfo=UTC)
ZONES = ("UTC", "Asia/Shanghai", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe", "America/St_Johns")
few = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def publish(world: World, root: Path) -> None:
    states = States(world.db)
    for n in (-1, 0, 1):
        day = DAY.date() + timedelta(days=n)
        states.make(day, LATER)
        publish_facts_day(world.db, root, day, status="sealed", now=LATER)
    publish_dimensions(world.db, root, now=LATER)


def tables(report: Report) -> dict[str, list[Amounts]]:
    return {
        "departments": [r.amounts for r in report.departments if r.depth == 0],
        "own": [r.own for r in report.departments],
        "businesses": [r.amounts for r in report.businesses],
        "scenarios": [r.amounts for r in report.scenarios],
        "vendors": [r.amounts for r in report.vendors],
        "models": [r.amounts for r in report.models],
        "pools": [r.amounts for r in report.pools],
        "clusters": [r.amounts for r in report.clusters],
        "trend": [p.amounts for p in report.trend],
    }


def assert_adds_up(report: Report) -> None:
    assert report.trust.adds_up, report.trust.checks
    total = report.total
    for name, rows in tables(report).items():
        if not rows:
            assert total.hours == 0
            continue
        assert sum(r.cost for r in rows) == total.cost, name
        assert sum(r.hours for r in rows) == total.hours, name
        assert sum(r.unpriced_hours for r in rows) == total.unpriced_hours, name
        for n, state in enumerate(total.states):
            assert sum(r.states[n].cost for r in rows) == state.cost, (name, state)
            assert sum(r.states[n].hours for r in rows) == state.hours, (name, state)
        for row in rows:
            assert sum(s.cost for s in row.states) == row.cost, name
            assert sum(s.hours for s in row.states) == row.hours, name
    zero = report.held - report.held
    rest = report.workloads_rest.amounts if report.workloads_rest else zero
    assert sum((row.amounts for row in report.workloads), zero) + rest == report.held
    assert report.held.held_cost == total.state_cost(*ledger.HELD_STATES)
    assert report.held.held_hours == total.state_hours(*ledger.HELD_STATES)
    for held in (report.held, *(row.amounts for row in report.workloads)):
        assert held.held_hours == held.used_hours + held.idle_hours + held.unknown_hours
        assert held.held_cost == held.used_cost + held.idle_cost + held.unknown_cost
    by_parent: dict[str | None, Decimal] = defaultdict(Decimal)
    for department in report.departments:
        by_parent[department.parent_id] += department.amounts.cost
    for department in report.departments:
        children = by_parent.get(department.department_id, Decimal(0))
        assert department.own.cost + children == department.amounts.cost


def exact_total(world: World, period: Period) -> tuple[int, int]:
    """Quantity and atoms of the period straight from the store's segments, in Python integers."""
    start, end = (int(t.timestamp()) * 1_000_000 for t in (period.start, period.end))
    quantity = atoms = 0
    for line in world.lines():
        length = min(line["to_us"], end) - max(line["from_us"], start)
        if length > 0:
            quantity += length * line["share_nano"]
            atoms += length * line["share_nano"] * (line["price_micro"] or 0)
    return quantity, atoms


@few
@given(st.integers(0, 10**9), st.sampled_from(ZONES))
def test_every_table_of_every_page_adds_up_to_the_fleet(seed: int, zone: str) -> None:
    world = random_world(random.Random(seed))
    with tempfile.TemporaryDirectory() as folder:
        publish(world, Path(folder))
        for period in (periods.daily("2026-10-07", zone), periods.weekly("2026-W41", zone)):
            report = statement(Published(Path(folder)), period, currency="CNY", now=NOW)
            assert_adds_up(report)
            quantity, atoms = exact_total(world, period)
            assert report.total.cost == ledger.rounded(atoms, "CNY")
            assert (
                report.total.hours
                == Decimal(ledger.half_up(quantity * 100, ledger.QUANTITY_PER_CARD_HOUR)) / 100
            )


@few
@given(st.integers(0, 10**9), st.integers(0, 4))
def test_a_list_of_workloads_that_is_cut_still_adds_up(seed: int, listed: int) -> None:
    world = random_world(random.Random(seed))
    period = periods.daily("2026-10-07", "UTC")
    with tempfile.TemporaryDirectory() as folder:
        publish(world, Path(folder))
        with Published(Path(folder)).open(period.start, period.end) as facts:
            reading = read(facts, period, "CNY")
            cut, whole = workloads(reading, listed=listed), workloads(reading)
    assert cut.check.good and whole.check.good and cut.held == whole.held and cut.count == whole.count
    assert len(cut.rows) == min(listed, len(whole.rows))
    assert (cut.rest.rows if cut.rest else 0) == len(whole.rows) - len(cut.rows)
    ids = [(row.workload_id, row.department_id, row.scenario) for row in whole.rows]
    assert [(row.workload_id, row.department_id, row.scenario) for row in cut.rows] == ids[:listed]


@few
@given(st.integers(0, 10**9))
def test_no_figure_is_made_from_nothing(seed: int) -> None:
    """The platform holds nothing and departments have nothing free: no cell of theirs may print a cent there."""
    world = random_world(random.Random(seed))
    period = periods.daily("2026-10-07", "Asia/Kolkata")
    with tempfile.TemporaryDirectory() as folder:
        publish(world, Path(folder))
        with Published(Path(folder)).open(period.start, period.end) as facts:
            reading = read(facts, period, "CNY")
    tables = [(name, key, reading.figures.groups[name]) for name, key in GROUPS.items()]
    own = {id_of(place): amounts[1] for place, amounts in reading.figures.departments.items()}
    tables.append(("own", lambda c: c.department, own))
    for name, key, rows in tables:
        there = {(key(c), c.state) for c in reading.cells if c.quantity}
        priced = {(key(c), c.state) for c in reading.cells if c.atoms}
        for row, amounts in rows.items():
            for state in amounts.states:
                assert state.hours == 0 or (row, state.state) in there, (name, row, state)
                assert state.cost == 0 or (row, state.state) in priced, (name, row, state)


@few
@given(st.integers(0, 10**9))
def test_the_order_of_rows_changes_no_figure(seed: int) -> None:
    rng = random.Random(seed)
    world = random_world(rng)
    period = periods.daily("2026-10-07", "Asia/Shanghai")
    found = []
    for _ in range(2):
        with tempfile.TemporaryDirectory() as folder:
            publish(world, Path(folder))
            found.append(statement(Published(Path(folder)), period, currency="CNY", now=NOW))
        shuffled(world, rng)
    assert tables(found[0]) == tables(found[1])
    assert found[0].page_one == found[1].page_one
    assert found[0].holders == found[1].holders
    assert found[0].workloads == found[1].workloads


@few
@given(st.integers(0, 10**9))
def test_the_days_of_a_week_are_the_week(seed: int) -> None:
    """Exactly, before rounding: three days published one by one are the same atoms as their week."""
    world = random_world(random.Random(seed))
    zone = "Asia/Kolkata"
    week = periods.weekly("2026-W41", zone)
    with tempfile.TemporaryDirectory() as folder:
        publish(world, Path(folder))
        door = Published(Path(folder))

        def total(period: Period) -> tuple[int, int]:
            with door.open(period.start, period.end) as facts:
                row = facts.rows("SELECT coalesce(sum(quantity), 0), coalesce(sum(atoms), 0) FROM segment")[0]
                return int(row[0]), int(row[1])

        parts = [total(periods.daily(day.isoformat(), zone)) for day, _, _ in week.days()]
        assert total(week) == (sum(p[0] for p in parts), sum(p[1] for p in parts))


@few
@given(
    st.lists(st.tuples(st.integers(0, 10**28), st.integers(0, 10**24)), min_size=1, max_size=40),
    st.sampled_from(["CNY", "JPY", "KWD"]),
)
def test_a_tree_of_departments_adds_up_in_any_currency(amounts: list[tuple[int, int]], currency: str) -> None:
    rng = random.Random(len(amounts))
    total = Sums()
    own: dict[str, Sums] = {}
    parent: dict[str, str | None] = {}
    for n, (atoms, quantity) in enumerate(amounts):
        key = f"d{n:02d}"
        parent[key] = rng.choice([None, *parent]) if parent else None
        own[key] = Sums()
        for sums in (own[key], total):
            sums.add(ledger.STATES[n % 7], quantity, atoms, quantity // 3)
    rounding = Rounding(total, currency)
    tree = rounding.tree(own, parent)
    assert sum(tree[k][0].cost for k, p in parent.items() if p is None) == rounding.total.cost
    for key, (whole, mine) in tree.items():
        below = [tree[k][0] for k, p in parent.items() if p == key]
        assert whole.cost == mine.cost + sum(a.cost for a in below)
        assert whole.hours == mine.hours + sum(a.hours for a in below)
        assert sum(s.cost for s in whole.states) == whole.cost


@pytest.mark.parametrize(
    ("text", "zone", "hours"),
    [
        ("2026-03-08", "America/New_York", 23),
        ("2026-11-01", "America/New_York", 25),
        ("2026-10-25", "Europe/Berlin", 25),
        ("2026-10-04", "Australia/Lord_Howe", 23.5),
        ("2026-04-05", "Australia/Lord_Howe", 24.5),
        ("2026-10-07", "Asia/Kolkata", 24),
        ("2026-03-29", "Asia/Beirut", 23),  # midnight itself is skipped
        ("2026-11-01", "America/Havana", 25),  # midnight comes twice
    ],
)
def test_a_day_is_as_long_as_its_zone_makes_it(text: str, zone: str, hours: float) -> None:
    period = periods.daily(text, zone)
    assert (period.end - period.start) / timedelta(hours=1) == hours
    assert periods.previous(period).end == period.start


@pytest.mark.parametrize(
    ("kind", "text", "first", "last"),
    [
        ("weekly", "2026-W53", date(2026, 12, 28), date(2027, 1, 3)),
        ("weekly", "2026-W01", date(2025, 12, 29), date(2026, 1, 4)),
        ("monthly", "2026-02", date(2026, 2, 1), date(2026, 2, 28)),
        ("monthly", "2026-12", date(2026, 12, 1), date(2026, 12, 31)),
        ("quarterly", "2026-Q4", date(2026, 10, 1), date(2026, 12, 31)),
        ("quarterly", "2026-Q1", date(2026, 1, 1), date(2026, 3, 31)),
    ],
)
def test_periods_are_the_calendars(kind: str, text: str, first: date, last: date) -> None:
    period = periods.parse(periods.PeriodKind(kind), text, "Asia/Shanghai")
    assert (period.first, period.last, period.label) == (first, last, text)
    before = periods.previous(period)
    assert before.end == period.start
    assert periods.containing(period.kind, period.last, period.zone) == period


@few
@given(
    st.dates(date(1980, 1, 1), date(2035, 1, 1)), st.sampled_from([*ZONES, "Africa/Casablanca", "Asia/Gaza"])
)
def test_local_days_follow_each_other_without_gap(day: date, zone: str) -> None:
    month = periods.containing(periods.PeriodKind.MONTHLY, day, zone)
    days = month.days()
    assert days[0][1] == month.start
    assert days[-1][2] == month.end
    assert all(a[2] == b[1] for a, b in pairwise(days))
