"""Tides: what may be lent was not needed in any week, unknown is need, and the risk is tried on the weeks themselves."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.collector.fleet_world import DAY, LATER, World

from ullage_collector.ledger import ATOMS_PER_UNIT, QUANTITY_PER_CARD_HOUR
from ullage_collector.publish.files import publish_dimensions, publish_facts_day
from ullage_collector.states import States
from ullage_contract.command import GOOD, USAGE
from ullage_contract.errors import ConfigError
from ullage_reports import cli, tides_settings
from ullage_reports.tides import HOURS_A_WEEK, Hour, Tides, tides

UTC_ZONE = ZoneInfo("UTC")
MONDAY = int(datetime(2026, 10, 5, tzinfo=UTC).timestamp()) // 3600
ONE = QUANTITY_PER_CARD_HOUR
RULES = tides_settings.parse(
    """
[reserve]
ratio = 0.1
least_cards = 1
[[loan]]
name = "night"
lender = "inference"
borrower = "training"
from_hour = 22
to_hour = 7
back_hours = 1
days = ["mon", "sun"]
""",
    "test",
)


def fleet(
    needed: Callable[[int, int], float], *, held: float = 100, weeks: int = 4, price: int = 20
) -> list[Hour]:
    """Hours of inference in pool p. needed: of week and hour of the week."""
    return [
        Hour(
            "p",
            "inference",
            MONDAY + week * HOURS_A_WEEK + hour,
            round(held * ONE),
            round(needed(week, hour) * ONE),
            round(held) * price * ATOMS_PER_UNIT,
            round(held * ONE),
        )
        for week in range(weeks)
        for hour in range(HOURS_A_WEEK)
    ]


def found(rows: list[Hour], zone: ZoneInfo = UTC_ZONE, told: list[int] | None = None) -> Tides:
    return tides(rows, told if told is not None else [row.hour for row in rows], zone, RULES)


def by_day(week: int, hour: int) -> float:
    """Ninety cards by day, twenty at night."""
    return 90 if 7 <= hour % 24 < 22 else 20


def test_what_nobody_needed_at_night_may_be_lent_less_a_reserve() -> None:
    first, second = sorted(found(fleet(by_day)).windows, key=lambda window: window.weekday)
    assert (first.weekday, second.weekday) == (0, 6)
    assert first.hours == 9
    assert first.cards == 100 - 20 - 2
    assert (first.short_ratio, first.short_cards) == (0, 0)
    assert first.atoms_a_week == 78 * 9 * 20 * ATOMS_PER_UNIT


def test_the_week_that_needed_most_decides_and_is_the_risk() -> None:
    def spike(week: int, hour: int) -> float:
        return 60 if (week, hour) == (2, 23) else by_day(week, hour)

    monday = next(window for window in found(fleet(spike)).windows if window.weekday == 0)
    assert monday.cards == 100 - 60 - 6
    assert monday.short_ratio == Fraction(1, 4), "the other weeks would have lent 78"
    assert monday.short_cards == 60 + 78 - 100
    sunday = next(window for window in found(fleet(spike)).windows if window.weekday == 6)
    assert sunday.cards == 78, "another night's spike is not this one's"


def test_a_window_over_sunday_midnight_ends_in_the_next_week() -> None:
    def spike(week: int, hour: int) -> float:
        return 95 if (week, hour) == (3, 3) else by_day(week, hour)  # Monday 03:00 of the last week

    sunday = next(window for window in found(fleet(spike)).windows if window.weekday == 6)
    assert sunday.cards == 0
    assert sunday.weeks == 3, "the last Sunday's night goes on in a week that is not there"
    monday = next(window for window in found(fleet(spike)).windows if window.weekday == 0)
    assert monday.cards == 78


def test_hours_that_are_not_published_are_no_hours_without_demand() -> None:
    rows = fleet(by_day)
    told = [
        row.hour
        for row in rows
        if (row.hour - MONDAY) % HOURS_A_WEEK != 23 or row.hour - MONDAY < 2 * HOURS_A_WEEK
    ]
    monday = next(window for window in found(rows, told=told).windows if window.weekday == 0)
    assert monday.weeks == 2
    gone = [hour for hour in told if (hour - MONDAY) % HOURS_A_WEEK != 23]
    assert all(window.weekday != 0 for window in found(rows, told=gone).windows)


def test_a_published_hour_without_a_row_held_nothing_and_lends_nothing() -> None:
    rows = [row for row in fleet(by_day) if row.hour != MONDAY + 23]
    told = [row.hour for row in fleet(by_day)]
    monday = next(window for window in found(rows, told=told).windows if window.weekday == 0)
    assert monday.cards == 0


def test_hours_are_the_zones_also_when_the_clock_changes() -> None:
    berlin = ZoneInfo("Europe/Berlin")  # 2026-10-25 is 25 hours long, in the third week

    def local(week: int, hour: int) -> float:
        there = datetime.fromtimestamp((MONDAY + week * HOURS_A_WEEK + hour) * 3600, berlin)
        return by_day(0, there.hour)

    windows = found(fleet(local), berlin).windows
    assert {window.cards for window in windows} == {78}
    assert {window.hours for window in windows} == {9}


def test_without_a_price_the_worth_is_not_known() -> None:
    rows = [Hour(row.pool, row.scenario, row.hour, row.held, row.needed, 0, 0) for row in fleet(by_day)]
    assert {window.atoms_a_week for window in found(rows).windows} == {None}


@settings(max_examples=40)
@given(
    needed=st.lists(st.integers(0, 120), min_size=HOURS_A_WEEK * 2, max_size=HOURS_A_WEEK * 2),
    held=st.integers(0, 100),
    more=st.integers(0, HOURS_A_WEEK * 2 - 1),
)
def test_nothing_lent_was_needed_and_more_demand_never_lends_more(
    needed: list[int], held: int, more: int
) -> None:
    def of(values: list[int]) -> dict[int, int]:
        rows = fleet(lambda week, hour: min(held, values[week * HOURS_A_WEEK + hour]), held=held, weeks=2)
        return {window.weekday: window.cards for window in found(rows).windows}

    lent = of(needed)
    for weekday, cards in lent.items():
        for week in range(2):
            for hour in range(22, 31):
                place = week * HOURS_A_WEEK + weekday * 24 + hour
                if place < len(needed):
                    assert min(held, needed[place]) + cards <= held
    raised = list(needed)
    raised[more] += 10
    after = of(raised)
    assert all(after[weekday] <= cards for weekday, cards in lent.items())


# ---- the command


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifteen published days of one serving card in its own pool, idle from 22 to 7, and one whose use nobody measured."""
    world = World()
    root = tmp_path_factory.mktemp("data")
    for card in ("G1", "G2", "G3", "G4"):
        world.card(card, "H800")
    world.price("H800", 20_000_000)
    world.rule("slurm:*", "rd", scenario="inference")
    for number, card in enumerate(("G1", "G2", "G3", "G4")):
        world.hold(card, f"slurm/dc1/serve/{number}", 0, 24 * 15)
    states = States(world.db)
    for n in range(15):
        day = (DAY + timedelta(days=n)).date()
        for card in ("G1", "G2", "G3"):
            world.minutes(card, 24 * n, 24 * n + 7, 0.0)
            world.minutes(card, 24 * n + 7, 24 * n + 22, 0.9)
            world.minutes(card, 24 * n + 22, 24 * n + 24, 0.0)
        states.make(day, LATER)
        publish_facts_day(world.db, root / "published", day, status="sealed", now=LATER)
    publish_dimensions(world.db, root / "published", now=LATER)
    return root


def test_the_command_says_what_may_be_lent_and_unknown_use_is_need(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["tides", "--data", str(data), "--weeks", "2", "--json"]) == GOOD
    told = json.loads(capsys.readouterr().out)
    nights = [loan for loan in told["loans"] if loan["loan"] == "night" and loan["cards"]]
    assert nights
    for loan in nights:
        assert loan["cards"] == 2, "of four one is of unknown use, and one is the reserve"
        assert loan["back_by"] == "06:00"
        assert loan["worth_a_week"] == f"{2 * 9 * 20}.00"
        assert loan["need_is_a_guess"] is True
    (demand,) = told["demand"]
    assert len(demand["needed"]) == HOURS_A_WEEK
    assert {demand["needed"][12], demand["needed"][3]} == {"4.000000", "1.000000"}
    assert cli.main(["tides", "--data", str(data), "--weeks", "2"]) == GOOD
    page = capsys.readouterr().out
    assert "night: inference to training" in page and "nothing is moved" in page
    assert "ask its owner first" in page


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--weeks", "1"], "--weeks 1"),
        (["--zone", "Mars"], "Mars"),
        (["--until", "2026-10-09"], "a rhythm needs 2"),
        (["--currency", "RMB1"], "ISO 4217"),
        (["--rules", "/nowhere.toml"], "/nowhere.toml"),
    ],
)
def test_a_wrong_question_is_told(
    data: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    assert cli.main(["tides", "--data", str(data), *more]) != GOOD
    assert said in capsys.readouterr().err


def test_nothing_published_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tides", "--data", str(tmp_path)]) == USAGE
    assert "no day is published" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ('days = ["mon", "sun"]', 'days = ["funday"]'),
        ("back_hours = 1", "back_hours = 9"),
        ('lender = "inference"', 'lender = ""'),
        ("from_hour = 22", "from_hour = 24"),
        ("ratio = 0.1", "ration = 0.1"),
    ],
)
def test_a_wrong_rule_is_named(change: str, said: str) -> None:
    text = """
[reserve]
ratio = 0.1
[[loan]]
name = "night"
lender = "inference"
borrower = "training"
from_hour = 22
to_hour = 7
back_hours = 1
days = ["mon", "sun"]
"""
    assert change in text
    with pytest.raises(ConfigError, match=said.split(" = ")[0]):
        tides_settings.parse(text.replace(change, said), "test")


def test_the_shipped_rules_are_read() -> None:
    rules = tides_settings.default_rules()
    assert {loan.name for loan in rules.loans} == {"night", "day", "evening"}
    assert rules.weeks == 4 and date(2026, 10, 5).weekday() == 0
