"""Minutes and hours: exact coverage, weighted means, growth like the pure rule, late rows rolled again."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.collector.fleet_fixture import NOON, Fleet, card_sample

from ullage_collector.store.columns import ROLLED, Grain, kind, metric_columns, rolled
from ullage_collector.store.increase import increase_sql
from ullage_collector.store.rollup import Rollup
from ullage_contract import catalogue, counters
from ullage_contract.catalogue import Kind
from ullage_contract.clock import ManualClock
from ullage_contract.sample import Family, Sample

COUNTERS = [(f, m) for f in (Family.CARD, Family.PORT, Family.NODE) for m in catalogue.keys(f).values() if m.kind is Kind.COUNTER]  # fmt: skip


@pytest.fixture
def fleet(tmp_path: Path):
    fleet = Fleet(tmp_path)
    yield fleet
    fleet.close()


def roll(fleet: Fleet, until: float) -> None:
    fleet.writer.drain()
    fleet.rollup.catch_up(round((until + 90) * 1e6))


def test_a_whole_minute_is_covered_whatever_the_phase(fleet: Fleet) -> None:
    fleet.push([card_sample("GPU-1", NOON - 13 + 10 * i, {"utilization_ratio": 0.5}) for i in range(40)])
    roll(fleet, NOON + 300)
    covered = fleet.rows("SELECT covered_seconds, samples FROM card_minute WHERE minute >= '2026-10-21 12:00' ORDER BY minute")  # fmt: skip
    assert [c for c, _ in covered[:5]] == [60.0] * 5
    assert sum(n for _, n in covered[:5]) == 30


def test_a_silent_half_minute_is_not_covered_and_not_idle(fleet: Fleet) -> None:
    fleet.push([card_sample("GPU-1", NOON + 10 * i, {"utilization_ratio": 0.8}) for i in (0, 1, 2)])
    roll(fleet, NOON + 120)
    (row,) = fleet.rows(
        "SELECT covered_seconds, utilization_ratio, utilization_ratio_max, samples FROM card_minute"
    )
    assert row == (30.0, pytest.approx(0.8), pytest.approx(0.8), 3)


def test_a_mean_is_weighted_by_the_time_each_value_stood(fleet: Fleet) -> None:
    fleet.push(
        [
            card_sample("GPU-1", NOON, {"power_watts": 100.0}, interval=60),
            card_sample("GPU-1", NOON + 45, {"power_watts": 500.0}, interval=60),
        ]
    )
    roll(fleet, NOON + 120)
    rows = fleet.rows("SELECT covered_seconds, power_watts, power_watts_max FROM card_minute ORDER BY minute")
    assert rows == [(60.0, pytest.approx((45 * 100 + 15 * 500) / 60), 500.0), (45.0, 500.0, 500.0)]


def test_two_rows_at_one_instant_cover_it_once(fleet: Fleet) -> None:
    fleet.push(
        [card_sample("GPU-1", NOON, {"power_watts": 100.0}), card_sample("GPU-1", NOON, {"fan_ratio": 0.5})]
    )
    roll(fleet, NOON + 120)
    assert fleet.rows("SELECT covered_seconds, power_watts, fan_ratio FROM card_minute") == [
        (10.0, 100.0, 0.5)
    ]


def test_words_are_the_last_and_bits_are_all_that_were_seen(fleet: Fleet) -> None:
    for i, (word, bits) in enumerate((("ok", 1), ("degraded", 4), ("ok", 0))):
        fleet.push([card_sample("GPU-1", NOON + 10 * i, {"health": word, "throttle_reasons": bits})])
    roll(fleet, NOON + 3600 + 60)
    assert fleet.rows("SELECT health, throttle_reasons FROM card_minute") == [("ok", 5)]
    assert fleet.rows("SELECT health, throttle_reasons FROM card_hour") == [("ok", 5)]


def test_the_lowest_is_kept_where_less_is_worse(fleet: Fleet) -> None:
    for i, lanes in enumerate((16, 8, 16)):
        fleet.push([card_sample("GPU-1", NOON + 10 * i, {"pcie_width": lanes})])
    roll(fleet, NOON + 3600 + 60)
    assert fleet.rows("SELECT pcie_width_min, pcie_width FROM card_minute") == [(8.0, pytest.approx(40 / 3))]
    assert fleet.rows("SELECT pcie_width_min, pcie_width FROM card_hour") == [(8.0, pytest.approx(40 / 3))]


def test_hours_conserve_what_minutes_say(fleet: Fleet) -> None:
    chance = random.Random(7)
    energy = 0.0
    for i in range(360):
        if chance.random() < 0.1:
            continue
        energy += chance.random() * 100
        fleet.push(
            [card_sample("GPU-1", NOON + 10 * i, {"energy_joules": energy, "power_watts": chance.random()})]
        )
    roll(fleet, NOON + 3660)
    minutes = fleet.rows(
        "SELECT sum(covered_seconds), sum(energy_joules_increase), sum(power_watts * covered_seconds), max(power_watts_max), sum(samples) FROM card_minute"
    )[0]
    hours = fleet.rows(
        "SELECT sum(covered_seconds), sum(energy_joules_increase), sum(power_watts * covered_seconds), max(power_watts_max), sum(samples) FROM card_hour"
    )[0]
    assert hours == pytest.approx(minutes, rel=1e-5)
    first, last = fleet.rows("SELECT min(energy_joules), max(energy_joules) FROM card_sample")[0]
    assert minutes[1] == pytest.approx(last - first)
    assert minutes[0] <= 3600


def test_a_silence_longer_than_the_lookback_is_no_growth_anybody_knows(fleet: Fleet) -> None:
    fleet.push([card_sample("GPU-1", NOON, {"ecc_corrected": 5})])
    fleet.push([card_sample("GPU-1", NOON + 1800, {"ecc_corrected": 50})])
    fleet.push([card_sample("GPU-1", NOON + 1810, {"ecc_corrected": 51})])
    roll(fleet, NOON + 3600)
    assert fleet.rows("SELECT ecc_corrected_increase FROM card_minute ORDER BY minute") == [(None,), (1.0,)]


def test_late_rows_roll_their_hours_again_and_touch_their_day(fleet: Fleet) -> None:
    def minute(i: int, node: str, card: str) -> Sample:
        return card_sample(
            card, NOON + 60 * i, {"power_watts": 100.0, "energy_joules": 10.0 * i}, interval=60
        )

    for node, card, stream in (("n1", "GPU-1", "a" * 32), ("n2", "GPU-2", "b" * 32)):
        fleet.push([minute(i, node, card) for i in range(180) if node == "n2" or not 50 <= i < 70], node=node, stream=stream)  # fmt: skip
    fleet.clock.advance(4 * 3600)
    roll(fleet, fleet.clock.wall())
    card = fleet.one("SELECT card_key FROM card WHERE card_id = 'GPU-1'")
    before = fleet.rows("SELECT covered_seconds, energy_joules_increase FROM card_hour WHERE card_key = ? ORDER BY hour", card)  # fmt: skip
    assert [row[0] for row in before] == [3000.0, 3000.0, 3600.0]
    assert sum(row[1] for row in before) == 1580.0  # 21 minutes of it are nobody's: silence

    fleet.push([minute(i, "n1", "GPU-1") for i in range(50, 70)])
    fleet.writer.drain()
    assert fleet.one("SELECT count(*) FROM rollup_dirty") >= 2
    fleet.rollup.catch_up()
    after = fleet.rows("SELECT covered_seconds, energy_joules_increase FROM card_hour WHERE card_key = ? ORDER BY hour", card)  # fmt: skip
    assert [row[0] for row in after] == [3600.0] * 3
    assert sum(row[1] for row in after) == 1790.0
    other = fleet.rows("SELECT sum(covered_seconds), count(*) FROM card_hour WHERE card_key != ?", card)
    assert other == [(3 * 3600.0, 3)]
    assert fleet.one("SELECT count(*) FROM rollup_dirty") == 0
    assert fleet.one("SELECT count(*) FROM (SELECT minute, card_key FROM card_minute GROUP BY ALL HAVING count(*) > 1)") == 0  # fmt: skip
    assert str(fleet.one("SELECT day FROM touched_day")) == "2026-10-21"


def test_a_long_silence_of_the_collector_is_stepped_over(fleet: Fleet) -> None:
    fleet.push([card_sample("GPU-1", NOON, {"power_watts": 1.0})])
    roll(fleet, NOON + 3600)
    later = NOON + 30 * 86_400
    fleet.clock.advance(30 * 86_400)
    fleet.push([card_sample("GPU-1", later, {"power_watts": 1.0})])
    fleet.writer.drain()
    steps = 0
    while fleet.rollup.step(round((later + 7200) * 1e6)):
        steps += 1
    assert steps < 30
    assert fleet.one("SELECT count(*) FROM card_hour") == 2


def test_rolling_twice_changes_nothing(fleet: Fleet) -> None:
    fleet.push([card_sample("GPU-1", NOON + 10 * i, {"power_watts": float(i)}) for i in range(60)])
    roll(fleet, NOON + 900)
    first = fleet.rows("SELECT * FROM card_minute ORDER BY minute")
    with fleet.store.write() as cursor:
        fleet.rollup.roll_minutes(cursor, Family.CARD, round(NOON * 1e6), round((NOON + 600) * 1e6))
    assert fleet.rows("SELECT * FROM card_minute ORDER BY minute") == first


def test_the_watermark_survives_a_restart(fleet: Fleet) -> None:
    fleet.push([card_sample("GPU-1", NOON + 10 * i, {"power_watts": 1.0}) for i in range(12)])
    roll(fleet, NOON + 120)
    fleet.reopen()
    fleet.push([card_sample("GPU-1", NOON + 120 + 10 * i, {"power_watts": 1.0}) for i in range(6)])
    roll(fleet, NOON + 180)
    assert fleet.rows("SELECT covered_seconds FROM card_minute ORDER BY minute") == [(60.0,)] * 3


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_growth_in_sql_is_the_pure_rules_growth(data: st.DataObject) -> None:
    import duckdb

    _, metric = data.draw(st.sampled_from(COUNTERS))
    top = counters.maximum(metric)
    whole = st.integers(0, (top or 2**63) + 3)
    edge = st.sampled_from(
        [0, top or 2**53, (top or 2**53) - 1, int((top or 2**53) * 0.9), int((top or 2**53) * 0.9) + 1]
    )
    value = st.one_of(st.none(), whole, edge)
    if metric.type is catalogue.Type.FLOAT:
        value = st.one_of(st.none(), st.floats(0, 1e15), st.just(-1.0), st.just(float("nan")))
    pairs = data.draw(st.lists(st.tuples(value, value, st.booleans()), min_size=1, max_size=20))
    type_ = "DOUBLE" if metric.type is catalogue.Type.FLOAT else "UBIGINT"
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE t (i INTEGER, o {type_}, n {type_}, same BOOLEAN)")
        connection.executemany(
            "INSERT INTO t VALUES (?, ?, ?, ?)", [(i, *pair) for i, pair in enumerate(pairs)]
        )
        found = connection.execute(
            f"SELECT {increase_sql(metric, 'n', 'o', 'same')} FROM t ORDER BY i"
        ).fetchall()
    expected = [counters.increase(metric, old, new, same).amount for old, new, same in pairs]
    assert [row[0] for row in found] == [None if e is None else float(e) for e in expected]


def test_a_series_rolls_up_to_the_sum_of_pure_increases(tmp_path: Path) -> None:
    chance = random.Random(11)
    fleet = Fleet(tmp_path, ManualClock(wall=NOON))
    keys = ["symbol_errors", "link_downed", "out_of_sequence", "xmit_data_bytes", "lossless_rx_pause_seconds"]
    readings: list[tuple[dict[str, float], str | None]] = []
    state: dict[str, float] = dict.fromkeys(keys, 0)
    epoch = "e0"
    for i in range(200):
        if chance.random() < 0.03:
            epoch = f"e{i}"
            state = dict.fromkeys(keys, 0)
        for key in keys:
            metric = catalogue.metric(Family.PORT, key)
            top = counters.maximum(metric)
            step = chance.choice([0, 0, 1, (top or 2**40) // 13])
            state[key] = state[key] + step if metric.type is catalogue.Type.INTEGER else state[key] + step / 7
            if top is not None and state[key] > top:
                state[key] = top if metric.saturates else state[key] % (top + 1)
        values = {k: v for k, v in state.items() if chance.random() > 0.15}
        readings.append((values, epoch))
        fleet.push([Sample(Family.PORT, "n1/mlx5_0/1", NOON + 10 * i, 1.0, 10.0, values, {}, epoch)])
    fleet.writer.drain()
    Rollup(fleet.store).catch_up(round((NOON + 7200) * 1e6))
    for key in keys:
        metric = catalogue.metric(Family.PORT, key)
        old: tuple[float, str | None] | None = None
        total = 0.0
        for values, life in readings:
            if key in values:
                if old is not None:
                    total += counters.increase(metric, old[0], values[key], old[1] == life).amount or 0
                old = (values[key], life)
        assert fleet.one(f"SELECT sum({key}_increase) FROM port_minute") == pytest.approx(total), key
        assert fleet.one(f"SELECT sum({key}_increase) FROM port_hour") == pytest.approx(total), key
    fleet.close()


def test_every_metric_has_columns_of_its_own() -> None:
    for family in ROLLED:
        names = [column.name for key in catalogue.keys(family) for column in rolled(family, key)]
        assert len(names) == len(set(names))
        assert names == list(metric_columns(kind(family, Grain.HOUR)))


def test_every_metric_of_a_family_rolls_up(fleet: Fleet) -> None:
    for family, subject in ((Family.CARD, "GPU-1"), (Family.PORT, "n1/mlx5_0/1"), (Family.NODE, "n1"), (Family.SLICE, "GPU-1/1")):  # fmt: skip
        for i in range(3):
            values = {
                key: (m.words[0] if m.words else "x") if m.type is catalogue.Type.TEXT else 3 + i
                for key, m in catalogue.keys(family).items()
            }
            fleet.push([Sample(family, subject, NOON + 20 * i, 1.0, 20.0, values)])
    roll(fleet, NOON + 3660)
    for family in ROLLED:
        of = kind(family, Grain.HOUR)
        counts = ", ".join(f'count("{name}")' for name in metric_columns(of))
        (row,) = fleet.rows(f"SELECT {counts} FROM {of.name}")
        empty = [name for name, n in zip(metric_columns(of), row, strict=True) if n != 1]
        assert not [name for name in empty if not name.startswith("link_downed")], empty
