"""A statement from published days charges what `settle` charges for the same world, under every policy, to the last digit."""

from __future__ import annotations

import json
import random
import tempfile
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.collector.fleet_world import DAY, LATER, NANO, World, at

from ullage_collector import ledger
from ullage_collector.publish.files import publish_dimensions, publish_facts_day
from ullage_collector.published import Published
from ullage_collector.quota.division import Shape, divide
from ullage_collector.states import States
from ullage_contract.errors import ConfigError
from ullage_reports import period as periods
from ullage_reports.bill import charged
from ullage_reports.cost_policy import WORDS, CostPolicy
from ullage_reports.period import Period
from ullage_reports.settle.charges import charge
from ullage_reports.settle.pool import lent, spread
from ullage_reports.settle.reader import read_world
from ullage_reports.settle.spans import coarsest, spans

ONE_DAY = periods.daily("2026-10-07", "UTC")
NAMES = ("cv", "nlp", "rd")
HOUR = ledger.HOUR_US
few = settings(max_examples=9, deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Both:
    """One small fleet as rows of a store and as a settle file: cards held for whole hours, wholly or by half."""

    def __init__(self, rng: random.Random, *, faults: bool, quota: bool) -> None:
        self.store = World()
        self.cards = {f"G{n}": rng.choice(["H800", "H20"]) for n in range(rng.randint(2, 6))}
        self.file: dict[str, Any] = {
            "window": [instant(0), instant(24)],
            "price_models": [
                {"model": "H800", "hourly": "20.333333", "effective_from": "2026-01-01T00:00:00Z"},
                {"model": "H20", "hourly": "7", "effective_from": "2026-01-01T00:00:00Z"},
            ],
            "cards": [{"card": card, "model": model} for card, model in self.cards.items()],
            "allocations": [],
            "telemetry": [],
            "health": [],
            "fixed": {"cv": "1/3", "nlp": "1/7"},
        }
        for card, model in self.cards.items():
            self.store.card(card, model)
        self.store.price("H800", 20_333_333)
        self.store.price("H20", 7_000_000)
        self.held: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        for name in NAMES:
            self.store.rule(f"slurm:{name}", name)
        for card in self.cards:
            start = 0
            while start < 24:
                end = min(24, start + rng.randint(1, 9))
                self._hold(rng, card, start, end)
                start = end
            if faults and rng.random() < 0.6:
                start = rng.randint(0, 20)
                end = rng.randint(start + 1, 24)
                self.store.incident(card, start, end)
                self.file["health"].append(
                    {"card": card, "state": "faulty", "start": instant(start), "end": instant(end)}
                )
        if quota:
            self._quota(rng)

    def _hold(self, rng: random.Random, card: str, start: int, end: int) -> None:
        who = rng.choice([*NAMES, None])
        if who is None:
            return
        share = rng.choice([NANO, NANO, NANO // 2])
        job = f"{who}/{self.store.key()}"
        self.store.hold(card, f"slurm/dc1/{job}", start, end, share)
        self.file["allocations"].append(
            {
                "department": who,
                "job": job,
                "card": card,
                "fraction": str(Fraction(share, NANO)),
                "start": instant(start),
                "end": instant(end),
            }
        )
        for hour in range(start, end):
            self.held[hour][who] += share
            active = rng.random() < 0.7
            self.store.minutes(card, hour, hour + 1, 0.9 if active else 0.0)
            self.file["telemetry"].append(
                {"card": card, "active": active, "start": instant(hour), "end": instant(hour + 1)}
            )

    def _quota(self, rng: random.Random) -> None:
        """Guarantees of whole cards; the quota book's rows are made by its own arithmetic, hour by hour."""
        mins = {name: rng.randint(0, 3) for name in NAMES}
        self.file["quota"] = {name: least for name, least in mins.items() if least}
        names = list(self.file["quota"]) + [name for name in NAMES if not mins[name]]
        shape = Shape(
            [-1] * len(names),
            [mins[name] * NANO for name in names],
            [None] * len(names),
            [None] * len(names),
        )
        for hour in range(24):
            held = [self.held[hour][name] for name in names]
            found = divide(shape, held, 0, len(self.cards) * NANO)
            for number, name in enumerate(names):
                low = mins[name] * NANO
                self.store.db.execute(
                    'INSERT INTO quota_hour (hour, tree, pool, resource, quota, department_id, seconds, "min", used, '
                    "guaranteed_used, borrowed, lent, waiting, sprint, made_at) "
                    "VALUES (?, 'company', '*', 'cards', ?, ?, 3600, ?, ?, ?, ?, ?, 0, false, ?)",
                    [
                        *(
                            at(hour),
                            name,
                            name,
                            low * HOUR,
                            held[number] * HOUR,
                            min(low, held[number]) * HOUR,
                        ),
                        *(found.borrowed[number] * HOUR, found.lent[number] * HOUR, at(30)),
                    ],
                )

    def settled(self, policy: CostPolicy) -> dict[str, Fraction]:
        """Department -> exact cost as `settle` has it."""
        words = {name: getattr(policy, name) for name in WORDS}
        world = read_world(json.dumps({"currency": "CNY", "inputs": {**self.file, "policy": words}}), "f")
        book = charge(world, spans(world, coarsest(world)), lent)
        found: dict[str, Fraction] = defaultdict(Fraction)
        for key, amount in spread(world, book).items():
            name = "platform" if key.department == "__shared__" else key.department
            found[name] += amount.cost
        return {name: cost for name, cost in found.items() if cost}

    def billed(self, policy: CostPolicy, period: Period = ONE_DAY) -> dict[str, Fraction]:
        """Department -> exact cost as a statement has it."""
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            States(self.store.db).make(DAY.date(), LATER)
            publish_facts_day(self.store.db, root, DAY.date(), status="sealed", now=LATER)
            publish_dimensions(self.store.db, root, now=LATER)
            with Published(root).open(period.start, period.end) as facts:
                made = charged(facts, period, "CNY", (policy,))
                rows = facts.rows("SELECT department_id, sum(atoms) FROM segment GROUP BY 1")
        found: dict[str, int] = defaultdict(int)
        for department, atoms in rows:
            found[str(department)] += int(atoms)
        for payer, cells in made.cells.items():
            found[payer.department] += sum(cells.values())
        return {name: Fraction(atoms, ledger.ATOMS_PER_UNIT) for name, atoms in found.items() if atoms}


def instant(hour: int) -> str:
    return (datetime(2026, 10, 7, tzinfo=UTC) + timedelta(hours=hour)).isoformat()


def assert_same(both: Both, policy: CostPolicy, least: Fraction = Fraction(1, 10**15)) -> None:
    """To a few atoms: what does not divide goes to somebody whole. least: what does not count."""
    settled, billed = both.settled(policy), both.billed(policy)
    for name in settled.keys() | billed.keys():
        assert abs(settled.get(name, Fraction(0)) - billed.get(name, Fraction(0))) < least, (name, policy)
    assert sum(billed.values()) == sum(settled.values())


@few
@given(
    st.integers(0, 10**9),
    st.sampled_from(["none", "proportional", "even", "fixed"]),
    st.sampled_from(["platform_pays_from_fault_onset", "department_pays", "loss_shared_by_all"]),
    st.sampled_from(["department_pays", "platform_pays"]),
)
def test_the_free_the_faulty_and_the_idle_are_paid_as_settle_says(
    seed: int, free: str, faulty: str, idle: str
) -> None:
    fixed = {"cv": Fraction(1, 3), "nlp": Fraction(1, 7)} if free == "fixed" else {}
    policy = CostPolicy(unallocated_idle=free, faulty=faulty, allocated_idle=idle, fixed=fixed)
    assert_same(Both(random.Random(seed), faults=True, quota=False), policy)


@few
@given(
    st.integers(0, 10**9),
    st.sampled_from(WORDS["borrowing"]),
    st.sampled_from(["none", "proportional", "even", "unused_guarantee"]),
)
def test_guarantees_are_paid_and_lent_as_settle_says(seed: int, borrowing: str, free: str) -> None:
    policy = CostPolicy(unallocated_idle=free, borrowing=borrowing)
    nano_shares = Fraction(1, 10**5)  # the quota book has what is lent in whole nano-shares
    assert_same(Both(random.Random(seed), faults=False, quota=True), policy, nano_shares)


def test_hours_without_a_quota_are_paid_by_use_and_counted() -> None:
    both = Both(random.Random(3), faults=False, quota=True)
    policy = CostPolicy(borrowing="reserved_without_credit")
    before = both.billed(policy)
    both.store.db.execute("DELETE FROM quota_hour WHERE hour >= ?", [at(6)])
    assert both.billed(policy) != before
    with tempfile.TemporaryDirectory() as folder:
        publish_facts_day(both.store.db, Path(folder), DAY.date(), status="sealed", now=LATER)
        with Published(Path(folder)).open(ONE_DAY.start, ONE_DAY.end) as facts:
            assert charged(facts, ONE_DAY, "CNY", (policy,)).shared.hours_without_quota == 18


def test_a_guarantee_of_one_maker_or_model_is_about_its_cards_alone() -> None:
    """Of another it is a guarantee of nothing that stands here; a maker may be called by another of its names."""
    both = Both(random.Random(3), faults=False, quota=True)
    policy = CostPolicy(borrowing="reserved_with_half_credit")
    everywhere, plain = both.billed(policy), both.billed(CostPolicy())
    assert everywhere != plain
    for vendor, model, same in (
        ("NVIDIA", "*h*|none", True),
        ("huawei", None, False),
        (None, "MI300*", False),
    ):
        both.store.db.execute("UPDATE quota_hour SET vendor = ?, model = ?", [vendor, model])
        assert both.billed(policy) == (everywhere if same else plain), (vendor, model)
    both.store.db.execute("UPDATE card SET vendor = 'ascend'")
    both.store.db.execute("UPDATE inventory SET vendor = 'ascend'")
    both.store.db.execute("UPDATE quota_hour SET vendor = 'Huawei', model = NULL")
    assert both.billed(policy) == everywhere


@pytest.mark.parametrize("rows", [1, 2])
def test_two_trees_that_guarantee_cards_must_be_told_apart(rows: int) -> None:
    both = Both(random.Random(5), faults=False, quota=True)
    for number in range(rows):
        both.store.db.execute(
            "INSERT INTO quota_hour SELECT * REPLACE (? AS tree) FROM quota_hour WHERE tree = 'company' AND hour = ?",
            [f"kueue/{number}", at(0)],
        )
    with pytest.raises(ConfigError, match="quota_tree"):
        both.billed(CostPolicy(borrowing="reserved_with_full_credit"))
    named = CostPolicy(borrowing="reserved_with_full_credit", quota_tree="company")
    assert both.billed(named) == Both(random.Random(5), faults=False, quota=True).billed(
        CostPolicy(borrowing="reserved_with_full_credit")
    )
