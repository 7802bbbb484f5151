"""What cards drew: measured once, holes marked, a tariff of the local hour, and every millijoule in a line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from benchmarks.energy import compared
from tests.collector.fleet_world import DAY, LATER, NANO, US, World, at, us

from ullage_collector.pricing.exchange import Exchange
from ullage_collector.pricing.tariffs import Pue, Tariff, charges
from ullage_collector.states import States

KWH = 3_600_000_000  # millijoules
HOUR = 3_600 * US


def world() -> World:
    made = World()
    made.db.execute("ALTER TABLE card_minute ADD COLUMN energy_joules_increase DOUBLE")
    made.db.execute("ALTER TABLE card_minute ADD COLUMN board_power_watts FLOAT")
    made.rule("slurm:nlp", "nlp")
    made.rule("slurm:rec", "rec")
    return made


def tariff(
    made: World, micro: int | None = 600_000, *, hours: str | None = None, currency: str = "CNY", **more: Any
) -> int:
    number = made.key()
    made.db.execute(
        "INSERT INTO tariff VALUES (?, NULL, ?, ?, 'Asia/Shanghai', ?, ?, ?, ?, ?, ?, 'test')",
        [
            *(number, currency, micro, hours, more.get("weekdays")),
            *(
                more.get("start", at(-2400)),
                more.get("end"),
                more.get("known", at(-2400)),
                more.get("known_to"),
            ),
        ],
    )
    return number


def pue(made: World, milli: int, start: datetime | None = None) -> None:
    made.db.execute(
        "INSERT INTO pue VALUES (?, NULL, ?, ?, NULL, ?, NULL, 'test')",
        [made.key(), milli, start or at(-2400), at(-2400)],
    )


def policy(made: World, gap: str | None = None, currency: str | None = None) -> None:
    made.db.execute(
        "INSERT INTO money_policy VALUES (?, ?, ?, ?, NULL, ?, NULL, 'test')",
        [made.key(), currency, gap, at(-2400), at(-2400)],
    )


def drawn(made: World, known: datetime = LATER) -> list[dict[str, Any]]:
    worked = States(made.db).work_out(DAY.date(), known)
    lines: list[dict[str, Any]] = worked.energy.to_pylist()
    return lines


def kwh(lines: list[dict[str, Any]], *names: str) -> dict[Any, float]:
    found: dict[Any, float] = {}
    for line in lines:
        key = tuple(line[name] for name in names) if len(names) > 1 else line[names[0]]
        found[key] = found.get(key, 0) + line["energy_mj"] / KWH
    return found


def money(lines: list[dict[str, Any]]) -> int:
    """Micro-units of the currency, to be compared with figures worked out by hand."""
    total = sum(line["energy_mj"] * line["pue_milli"] * line["tariff_micro"] for line in lines)
    return round(total / (KWH * 1000))


def test_a_holder_pays_by_its_share_of_the_time_and_the_platform_the_rest() -> None:
    made = world()
    made.card("G1")
    made.card("G2")
    made.hold("G1", "slurm/dc1/nlp/1", 0, 12, NANO // 4)
    made.hold("G1", "slurm/dc1/rec/2", 6, 12, NANO // 2)
    made.minutes("G1", 0, 24, 0.9, power_watts=400.0)
    made.minutes("G2", 0, 24, 0.0, power_watts=100.0)
    tariff(made)
    lines = drawn(made)
    assert kwh(lines, "department_id") == pytest.approx({"nlp": 1.2, "rec": 1.2, "platform": 7.2 + 2.4})
    assert {line["estimated"] for line in lines} == {False}
    assert sum(line["energy_mj"] for line in lines) == 12 * KWH
    assert money(lines) == 7_200_000  # 12 kWh at 0.60
    assert max(line["to_us"] - line["from_us"] for line in lines) == HOUR


def test_the_counter_is_believed_before_the_power_and_never_over_a_hole() -> None:
    made = world()
    made.card("G1")
    made.minutes("G1", 0, 1, 0.9, power_watts=400.0, energy_joules_increase=30_000.0)
    made.minutes("G1", 2, 24, 0.9, power_watts=400.0, energy_joules_increase=30_000.0)
    lines = drawn(made)
    # 500 W by the counter; the first minute of the day and the first after the hole are the power's: what the counter
    # rose by in them holds what was drawn before
    measured = 23 * 0.5 - 2 * (0.5 - 0.4) / 60
    assert kwh(lines, "estimated") == pytest.approx({False: measured, True: 0.45})


@pytest.mark.parametrize(("gap", "hole"), [(None, 0.3), ("energy_counter", 0.75)])
def test_a_hole_is_the_mean_of_its_neighbours_or_what_the_counter_rose_by_and_says_so(
    gap: str | None, hole: float
) -> None:
    made = world()
    made.card("G1")
    made.minutes("G1", 0, 10, 0.9, power_watts=400.0)
    made.minutes("G1", 11, 24, 0.9, power_watts=200.0)
    # over the hour without rows it rose by 0.75 kWh, and by the 12 kJ of the minute that tells of it
    made.db.execute("UPDATE card_minute SET energy_joules_increase = 2712000 WHERE minute = ?", [at(11)])
    if gap:
        policy(made, gap)
    tariff(made)
    lines = drawn(made)
    assert kwh(lines, "estimated") == pytest.approx({False: 4.0 + 2.6, True: hole})
    assert {line["from_us"] for line in lines if line["estimated"]} == {us(10)}


def test_a_hole_at_midnight_has_its_neighbours_in_the_days_around() -> None:
    made = world()
    made.card("G1")
    made.minutes("G1", -3, -1, 0.9, power_watts=600.0)
    made.minutes("G1", 1, 23, 0.9, power_watts=400.0)
    made.minutes("G1", 25, 26, 0.9, power_watts=200.0)
    lines = [line for line in drawn(made) if line["estimated"]]
    assert kwh(lines, "from_us") == pytest.approx({us(0): 0.5, us(23): 0.3})


def test_what_nobody_measured_and_what_is_not_in_service_is_not_guessed() -> None:
    made = world()
    made.card("G1")
    made.card("G2", life="rma")
    made.card("G3")
    made.minutes("G2", 0, 1, 0.0, power_watts=60.0)
    made.minutes("G3", 0, 1, None)
    lines = drawn(made)
    assert kwh(lines, "card_key") == pytest.approx({made.cards["G2"]: 0.06})


def test_what_is_to_come_is_not_estimated_and_a_wrong_tariff_stops_nothing() -> None:
    made = world()
    made.card("G1")
    made.minutes("G1", 0, 10, 0.9, power_watts=400.0)
    tariff(made, 900_000, hours="25 o'clock")
    assert kwh(drawn(made, DAY + timedelta(hours=12)), "estimated") == pytest.approx({False: 4.0, True: 0.8})
    assert {line["tariff_id"] for line in drawn(made)} == {None}


def test_a_board_that_several_cards_share_is_counted_once() -> None:
    made = world()
    for name in ("G1", "G2", "G3"):
        made.card(name)
    made.db.execute("UPDATE inventory SET board_id = 'B7' WHERE card_id IN ('G1', 'G2')")
    made.minutes("G1", 0, 24, 0.9, board_power_watts=700.0)
    made.minutes("G2", 0, 24, 0.9, board_power_watts=701.0)
    made.minutes("G3", 0, 24, 0.9, board_power_watts=100.0)  # a board of its own
    lines = drawn(made)
    by_card = kwh(lines, "card_key")
    assert sum(line["energy_mj"] for line in lines) == ((701 + 100) * 24 * 3_600_000)
    assert by_card[made.cards["G1"]] == pytest.approx(by_card[made.cards["G2"]])


def test_a_hole_of_a_shared_board_is_filled_once_whoever_of_its_cards_tells_it() -> None:
    made = world()
    for name in ("G1", "G2"):
        made.card(name)
    made.db.execute("UPDATE inventory SET board_id = 'B7'")
    made.minutes("G1", 0, 11, 0.9, board_power_watts=600.0)
    made.minutes("G1", 12, 24, 0.9, board_power_watts=600.0)
    lines = drawn(made)
    assert kwh(lines, "estimated") == pytest.approx({False: 23 * 0.6, True: 0.6})
    assert kwh(lines, "card_key") == pytest.approx({made.cards["G1"]: 7.2, made.cards["G2"]: 7.2})


def test_a_servers_own_power_is_shared_evenly_by_its_cards() -> None:
    made = world()
    for name in ("G1", "G2", "G3"):
        made.card(name)
    made.hold("G1", "slurm/dc1/nlp/1", 0, 24)
    made.db.execute(
        "CREATE TABLE node_hour (hour TIMESTAMP, node_key INTEGER, covered_seconds FLOAT, host_power_watts FLOAT)"
    )
    for hour in range(24):
        if hour != 5:
            made.db.execute("INSERT INTO node_hour VALUES (?, ?, 3600, 100)", [at(hour), made.nodes["n1"]])
    lines = drawn(made)
    assert sum(line["energy_mj"] for line in lines) == round(2.4 * KWH)
    assert kwh(lines, "department_id") == pytest.approx({"nlp": 0.8, "platform": 1.6})
    assert kwh(lines, "estimated") == pytest.approx({False: 2.3, True: 0.1})


def test_without_a_tariff_energy_is_unpriced_and_never_free() -> None:
    made = world()
    made.card("G1")
    made.minutes("G1", 0, 24, 0.9, power_watts=400.0)
    tariff(made, hours="08:00-22:00")
    lines = drawn(made)
    without = [line for line in lines if line["tariff_micro"] is None]
    assert kwh(without, "currency") == pytest.approx({None: 4.0})
    assert {line["tariff_id"] for line in without} == {None}
    assert len({line["from_us"] for line in without}) == 10


def test_what_became_known_later_changes_nothing_of_what_was_believed() -> None:
    made = world()
    made.card("G1")
    made.minutes("G1", 0, 24, 0.9, power_watts=400.0)
    noon = datetime(2026, 10, 20, 12, tzinfo=UTC)
    tariff(made, 500_000, known_to=noon.replace(tzinfo=None))
    tariff(made, 700_000, known=noon.replace(tzinfo=None))
    assert money(drawn(made, datetime(2026, 10, 19, tzinfo=UTC))) == 4_800_000
    assert money(drawn(made)) == 6_720_000


def test_a_tariff_in_another_currency_is_converted_at_its_rate_or_stays() -> None:
    made = world()
    made.card("G1")
    made.minutes("G1", 0, 24, 0.9, power_watts=1000.0)
    tariff(made, 100_000, currency="USD")
    assert {(line["currency"], line["tariff_micro"]) for line in drawn(made)} == {("USD", 100_000)}
    made.db.execute(
        "INSERT INTO exchange_rate VALUES (1, 'USD', 'CNY', 7123456789, ?, NULL, ?, NULL, 'test')",
        [at(12), at(-2400)],
    )
    policy(made, currency="CNY")
    lines = drawn(made)
    assert {(line["currency"], line["tariff_micro"], line["rate_id"]) for line in lines} == {
        ("USD", 100_000, None),
        ("CNY", 712_346, 1),
    }
    assert kwh(lines, "currency") == pytest.approx({"USD": 12.0, "CNY": 12.0})


# ------------------------------------------------------------------------------- tariffs alone
def day_of(text: str) -> tuple[int, int]:
    start = round(datetime.fromisoformat(text).timestamp()) * US
    return start, start + 24 * HOUR


def test_two_tariffs_and_two_pues_over_the_end_of_summer_time() -> None:
    night = Tariff(1, None, "EUR", 200_000, "Europe/Berlin", "22:00-06:00", None)
    high = Tariff(2, None, "EUR", 350_000, "Europe/Berlin", None, None)
    a, b = day_of("2026-10-25T00:00:00+00:00")  # 03:00 local is 02:00 again at 01:00 UTC
    pues = [Pue(1, None, 1300), Pue(2, "dc*", 1400), Pue(3, "dc*", 1250, valid_from_us=a + 12 * HOUR)]
    found = charges("dc1", a, b, [night, high], pues, Exchange(()))
    assert [((c.from_us - a) / HOUR, (c.to_us - a) / HOUR, c.tariff_micro, c.pue_milli) for c in found] == [
        (0, 5, 200_000, 1400),  # until 06:00 local: 05:00 UTC in winter time, 04:00 the day before
        (5, 12, 350_000, 1400),
        (12, 21, 350_000, 1250),
        (21, 24, 200_000, 1250),
    ]
    a, b = day_of("2026-10-24T00:00:00+00:00")
    assert [(c.from_us - a) // HOUR for c in charges("dc1", a, b, [night, high], [], Exchange(()))] == [
        0,
        4,
        20,
    ]


def test_hours_over_midnight_belong_to_the_weekday_they_begin_on() -> None:
    friday = Tariff(1, None, "CNY", 1, "Asia/Shanghai", "23:00-07:00", "5")
    every = Tariff(2, None, "CNY", 9, "Asia/Shanghai", "00:00-24:00", None)
    a, b = day_of("2026-11-20T00:00:00+08:00")  # a Friday
    found = charges("dc1", a, b + 24 * HOUR, [friday, every], [], Exchange(()))
    assert [((c.from_us - a) // HOUR, c.tariff_micro) for c in found] == [(0, 9), (23, 1), (31, 9)]


def test_a_made_fleet_comes_to_the_millijoule_to_what_plain_python_says() -> None:
    figures = compared(16, 16)
    assert figures["compared_lines"] == figures["lines"] > 16 * 24


@pytest.mark.parametrize("wrong", [-1.0, -600.0, 3e30])
@pytest.mark.parametrize("column", ["power_watts", "board_power_watts", "energy_joules_increase"])
def test_what_no_card_can_draw_is_no_reading_and_stops_no_day(column: str, wrong: float) -> None:
    made = world()
    made.card("G1")
    made.card("G2")
    made.minutes("G1", 0, 24, 0.9, **{column: wrong})
    made.minutes("G2", 0, 24, 0.9, power_watts=200.0)
    assert kwh(drawn(made), "card_key") == pytest.approx({made.cards["G2"]: 4.8})


@pytest.mark.parametrize("wrong", [-5.0, 3e30])
def test_a_server_that_tells_nonsense_of_itself_stops_no_day(wrong: float) -> None:
    made = world()
    made.card("G1")
    made.minutes("G1", 0, 24, 0.9, power_watts=200.0)
    made.db.execute(
        "CREATE TABLE node_hour AS SELECT node_key, ? AS hour, ?::DOUBLE AS host_power_watts, 3600.0::FLOAT AS covered_seconds FROM node",
        [at(3), wrong],
    )
    assert sum(kwh(drawn(made), "card_key").values()) == pytest.approx(4.8)
