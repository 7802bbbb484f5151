"""Sizing on a real store: days of minutes of whole cards, what the store's rows give, findings read everywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.collector.finding_pages import seen
from tests.collector.quota_world import CARD, DAWN, QuotaWorld, at

from ullage_collector.config import Config
from ullage_collector.detect.rounds import Rounds
from ullage_collector.detect.sizing.finding import OVERSIZED, SHAREABLE
from ullage_collector.detect.sizing.reading import worked_of
from ullage_collector.detect.sizing.settings import default_rules
from ullage_collector.detect.stragglers.reading import jobs_at
from ullage_collector.detect.stragglers.settings import default_rules as job_rules
from ullage_collector.ledger import cost_atoms, formatted, quantity, rounded
from ullage_collector.store.columns import Grain, kind
from ullage_contract.sample import Family

GIB = 1 << 30
DAY_US = 86_400_000_000
MICRO = 12_345_678
DAYS = 7
SMALL = {
    "sm_active_ratio": 0.06,
    "memory_bandwidth_ratio": 0.05,
    "memory_used_bytes": 6.0 * GIB,
    "power_watts": 150.0,
    "power_limit_watts": 700.0,
}
BUSY = {**SMALL, "sm_active_ratio": 0.8, "power_watts": 600.0}


class World(QuotaWorld):
    """Cards of 79.6 GiB held by one job each for weeks; every minute of the last seven days is known."""

    def fill(self, works: Mapping[str, Mapping[str, float]], *, scenario: str | None = "training") -> None:
        names = self.cards(len(works) + 1, pool="train")
        self.run("UPDATE card SET memory_total_bytes = ?, model = 'NVIDIA H800'", int(79.6 * GIB))
        self.run("UPDATE inventory SET model = 'gpu-large'")  # what the site calls it, and prices it by
        self.run(
            "INSERT INTO price (price_id, model, currency, price_micro, assumed, valid_from, known_from, source) "
            "VALUES (1, 'gpu-large', 'CNY', ?, false, ?, ?, 'list.csv')",
            *(MICRO, at(-2400), at(-2400)),
        )
        self.rule("slurm:nlp", "nlp")
        self.run("INSERT INTO rollup_through VALUES ('minute', ?)", at(0))
        for name, (work, values) in zip(names, works.items(), strict=False):
            self.hold(f"slurm/dc1/{work}", [name], -24 * 30, None, namespace="nlp", kind="slurm_job")
            self.minutes(name, values)
        self.run("UPDATE workload SET scenario = ?", scenario)

    def minutes(self, card: str, values: Mapping[str, float]) -> None:
        minutes = kind(Family.CARD, Grain.MINUTE)
        columns = [name for key in values for name in (key, f"{key}_max")]
        with self.store.write() as db:
            for back in range(1, DAYS + 1):
                day = datetime.fromtimestamp(DAWN, UTC).date() - timedelta(days=back)
                self.store.days.ensure(db, minutes, day, columns)
                db.execute(
                    f"INSERT INTO {self.store.days.table(minutes, day).name} (minute, card_key, node_key, covered_seconds, "
                    f"samples, origin, {', '.join(columns)}) SELECT ?::TIMESTAMP + to_minutes(m), ?, ?, 60, 6, 'real', "
                    f"{', '.join('?' * len(columns))} FROM range(1440) r(m)",
                    [
                        at(-24 * back),
                        *self._cards[card],
                        *(value for value in values.values() for _ in (0, 1)),
                    ],
                )

    def change(self, card: str, sql: str, hours: float, minutes: int) -> None:
        """``sql`` is done to the card's first minutes from ``hours`` on."""
        table = kind(Family.CARD, Grain.MINUTE)
        day = datetime.fromtimestamp(DAWN + hours * 3600, UTC).date()
        with self.store.write() as db:
            name = self.store.days.table(table, day).name
            db.execute(
                f"{sql.format(table=name)} WHERE card_key = ? AND minute >= ? AND minute < ?",
                [self._cards[card][0], at(hours), at(hours + minutes / 60)],
            )

    def found(self, what: str) -> list[dict[str, Any]]:
        Rounds(lambda: self.store, Config()).round()
        return seen(self.store, what)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path, now=0.05)
    yield made
    made.close()


def test_small_work_on_whole_cards_is_found_with_what_the_ledger_says_it_saves(world: World) -> None:
    world.fill({"1": SMALL, "2": SMALL, "3": BUSY})
    over = {row["subject"]: row for row in world.found(OVERSIZED)}
    assert set(over) == {"slurm/dc1/1", "slurm/dc1/2"}
    evidence = over["slurm/dc1/1"]["evidence"]
    assert (evidence["activity_peak"], evidence["memory_peak_gib"], evidence["slice"]) == (
        0.06,
        6.0,
        "MIG 1g.10gb",
    )
    assert (evidence["window_days"], evidence["judged_by"]) == (2, "quantile")
    (together,) = seen(world.store, SHAREABLE)
    told = together["evidence"]
    assert (told["cards_saved"], told["workloads"], told["department"]) == (
        1,
        ["slurm/dc1/1", "slurm/dc1/2"],
        "nlp",
    )
    atoms = cost_atoms(quantity(CARD, 0, 30 * DAY_US), MICRO)
    assert told["saved_per_month"] == {"CNY": formatted(rounded(atoms, "CNY"), grouped=False)}


def test_serving_work_is_judged_by_the_peaks_of_a_week(world: World) -> None:
    world.fill({"1": SMALL, "2": SMALL}, scenario=None)
    world.change("G2", "UPDATE {table} SET sm_active_ratio_max = 0.9", -150, 20)
    (one,) = world.found(OVERSIZED)
    assert (one["subject"], one["evidence"]["judged_by"], one["evidence"]["window_days"]) == (
        "slurm/dc1/1",
        "peaks",
        7,
    )


@pytest.mark.parametrize(
    ("sql", "minutes", "left"),
    [
        ("DELETE FROM {table}", 2, 1),  # two minutes of memory may be missing or above
        ("DELETE FROM {table}", 3, 0),
        ("UPDATE {table} SET memory_used_bytes_max = 40e9", 3, 0),
        ("UPDATE {table} SET sm_active_ratio = 0.9", 144, 1),  # a twentieth of two days
        ("UPDATE {table} SET sm_active_ratio = 0.9", 145, 0),
        ("UPDATE {table} SET sm_active_ratio = NULL", 145, 0),
        ("UPDATE {table} SET memory_bandwidth_ratio = NULL", 145, 0),
        ("UPDATE {table} SET sm_active_ratio = 0.0", 1440, 1),
    ],
)
def test_missing_minutes_count_as_minutes_above(tmp_path: Path, sql: str, minutes: int, left: int) -> None:
    """The figures alone; a finding follows from them (test_sizing.py)."""
    world = World(tmp_path, now=0.05)
    try:
        world.fill({"1": SMALL})
        world.change("G1", sql, -48, minutes)
        cursor = world.store.cursor()
        through = DAWN * 1_000_000
        jobs = jobs_at(cursor, replace(job_rules(), least_cards=1), through)
        (one,) = worked_of(cursor, jobs, default_rules(), through)
        figures = (one.needs[0].activity, one.needs[0].memory, one.needs[0].bandwidth)
        known = all(value is not None and value < 0.2 for value in figures)
        assert known is bool(left)
    finally:
        world.close()


def test_what_a_maker_cannot_give_is_taken_from_the_activity_and_what_is_only_missing_is_not(
    world: World,
) -> None:
    bare = {
        key: value for key, value in SMALL.items() if key not in ("memory_bandwidth_ratio", "power_watts")
    }
    world.fill({"1": bare, "2": bare})
    cannot = '{"unsupported": ["memory_bandwidth_ratio", "power_watts"]}'
    world.run("UPDATE card SET facts = ? WHERE card_id = 'G1'", cannot)
    (one,) = world.found(OVERSIZED)
    assert (one["subject"], one["evidence"]["assumed"]) == ("slurm/dc1/1", ["bandwidth", "power"])
    assert (one["evidence"]["bandwidth_peak"], one["evidence"]["power_of_limit"]) == (0.06, 0.06)


@pytest.mark.parametrize("lost", ["some", "all"])
def test_a_finding_stays_while_too_little_is_known_and_ends_with_its_work(world: World, lost: str) -> None:
    world.fill({"1": SMALL, "2": SMALL})
    rounds = Rounds(lambda: world.store, Config())
    rounds.round()
    assert {row["subject"] for row in seen(world.store, OVERSIZED)} == {"slurm/dc1/1", "slurm/dc1/2"}
    for day in range(1, 3):
        world.change("G1", "DELETE FROM {table}", -24.0 * day, 1440 if lost == "all" else 700)
    Rounds(lambda: world.store, Config()).round()
    assert {row["subject"] for row in seen(world.store, OVERSIZED)} == {"slurm/dc1/1", "slurm/dc1/2"}
    world.run("UPDATE allocation SET valid_to = ? WHERE card_key = ?", at(-1), world._cards["G1"][0])
    Rounds(lambda: world.store, Config()).round()
    assert {row["subject"] for row in seen(world.store, OVERSIZED)} == {"slurm/dc1/2"}


def test_a_card_held_for_less_than_the_window_or_shared_is_not_judged(world: World) -> None:
    world.fill({"1": SMALL, "2": SMALL})
    world.run("UPDATE allocation SET valid_from = ? WHERE card_key = ?", at(-47), world._cards["G1"][0])
    world.run("UPDATE allocation SET share_nano = ? WHERE card_key = ?", CARD // 2, world._cards["G2"][0])
    assert world.found(OVERSIZED) == []
    assert seen(world.store, SHAREABLE) == []


def test_a_finding_ends_with_its_work_also_between_two_looks(world: World) -> None:
    world.fill({"1": SMALL, "2": SMALL})
    rounds = Rounds(lambda: world.store, Config())
    rounds.round()
    assert len(seen(world.store, OVERSIZED)) == 2
    world.run("UPDATE allocation SET valid_to = ? WHERE card_key = ?", at(-0.01), world._cards["G1"][0])
    rounds.round()
    assert [row["subject"] for row in seen(world.store, OVERSIZED)] == ["slurm/dc1/2"]
    assert seen(world.store, SHAREABLE) == []
