"""What a quarter says about the next one, and a day about what is wrong: with figures for a pencil."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.collector.fleet_world import DAY, World

from ullage_collector.publish.files import publish_dimensions, publish_facts_day
from ullage_collector.states import States
from ullage_contract.clock import ManualClock
from ullage_contract.command import PARTIAL
from ullage_reports import cli

NOW = datetime(2027, 1, 4, 6, tzinfo=UTC)
MONTHS = (0, 31, 62)
"""Days after 7 October: one in each month of the quarter."""


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three days. H800: 1, 2, then 3 of 4 cards held. A100: 2, 2, then 3 of 3 held, all idle. Ascend: 1 of 2, as ever, without a price."""
    world = World()
    for model, count, vendor in (("H800", 4, "nvidia"), ("A100", 3, "nvidia"), ("Ascend 910B3", 2, "ascend")):
        for number in range(count):
            world.card(f"{model[:2]}{number}", model, f"n{model[:2]}", vendor=vendor)
    world.price("H800", 10_000_000)
    world.price("A100", 5_000_000)
    world.rule("slurm:*", "nlp", scenario="training")
    root = tmp_path_factory.mktemp("data")
    for n, days in enumerate(MONTHS):
        begins, ends = days * 24, days * 24 + 24
        for number in range(n + 1):
            world.hold(f"H8{number}", f"slurm/dc1/nlp/{n}{number}", begins, ends, node="nH8")
        for number in range((2, 2, 3)[n]):
            world.hold(f"A1{number}", f"slurm/dc1/idle/{n}{number}", begins, ends, node="nA1")
            world.minutes(f"A1{number}", begins, ends, 0.0)
        world.hold("As0", f"slurm/dc1/asc/{n}", begins, ends, node="nAs")
    late = NOW - timedelta(days=1)
    for days in MONTHS:
        day = (DAY + timedelta(days=days)).date()
        States(world.db).make(day, late)
        publish_facts_day(world.db, root / "published", day, status="sealed", now=late)
    publish_dimensions(world.db, root / "published", now=late)
    for words in (("quarterly", "--quarter", "2026-Q4"), ("daily", "--date", "2026-10-07")):
        arguments = [
            *words,
            "--data",
            str(root),
            "--out",
            str(root),
            "--format",
            "json,csv,html",
            "--lang",
            "en",
        ]
        assert cli.main(arguments, clock=ManualClock(NOW.timestamp())) == PARTIAL
    return root


@pytest.fixture(scope="module")
def told(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "ullage-quarterly-2026-Q4.json").read_text("utf-8"))
    return found


def of(told: dict[str, Any], model: str) -> dict[str, Any]:
    return next(row for row in told["outlook"]["models"] if row["model"] == model)


def test_the_line_through_the_months_says_what_will_be_held(told: dict[str, Any]) -> None:
    row = of(told, "H800")
    assert (row["owned"], row["held"], row["busiest"], row["monthly_held"]) == (
        "4.0",
        "2.0",
        "3.0",
        ["1.0", "2.0", "3.0"],
    )
    assert row["expected"] == "5.0", "2 + 3 x 1 a month"
    assert row["busiest_expected"] == "7.5", "3 x 5 / 2"
    assert (row["missing"], row["to_buy"], row["verdict"]) == ("3.5", 4, "buy")


def test_idle_cards_are_shared_before_any_is_bought(told: dict[str, Any]) -> None:
    row = of(told, "A100")
    assert (row["idle"], row["missing"], row["to_buy"], row["verdict"]) == ("2.3", "1.9", 0, "share")


def test_a_steady_model_is_enough_and_no_price_is_no_cost(told: dict[str, Any]) -> None:
    row = of(told, "Ascend 910B3")
    assert (row["verdict"], row["missing"], row["cost_each"]) == ("enough", "0.0", None)
    assert of(told, "H800")["cost_each"] == "720.00", "3 days of 24 hours at 10.00"


def test_months_add_up_to_the_quarter_and_the_forecast_is_the_line_times_the_days(
    told: dict[str, Any],
) -> None:
    months = told["outlook"]["months"]
    assert [row["label"] for row in months] == ["2026-10", "2026-11", "2026-12"]
    assert [(row["days"], row["of"]) for row in months] == [(1, 31), (1, 30), (1, 31)]
    assert sum(Decimal(row["cost"]) for row in months) == Decimal(told["total"]["cost"])
    assert told["outlook"]["next_cost"] == told["outlook"]["level_cost"] == "121440.00", (
        "1320.00 a day, 92 days"
    )


def test_the_quarter_shows_it_and_the_month_and_day_do_not(out: Path, told: dict[str, Any]) -> None:
    page = (out / "ullage-quarterly-2026-Q4.en.html").read_text("utf-8")
    assert "Trend, forecast, buy or share" in page and "buy or rent 4" in page and "share 1.9" in page
    daily = (out / "ullage-daily-2026-10-07.en.html").read_text("utf-8")
    assert "buy or share" not in daily
    assert json.loads((out / "ullage-daily-2026-10-07.json").read_text("utf-8"))["outlook"] is None


def test_a_day_begins_with_its_exceptions(out: Path) -> None:
    page = (out / "ullage-daily-2026-10-07.en.html").read_text("utf-8")
    assert page.index("Exceptions of the day") < page.index("By department")
    with (out / "ullage-daily-2026-10-07.en.csv" / "exceptions.csv").open(
        encoding="utf-8-sig", newline=""
    ) as file:
        found = [(row["kind"], row["subject"], row["cost"]) for row in csv.DictReader(file)]
    assert ("unpriced", "Ascend 910B3", "") in found, "what has no price has no cost, and no 0"
    assert {kind for kind, _, _ in found} == {"unpriced", "coverage", "idle"}
    assert [row for row in found if row[0] == "idle"] == [
        ("idle", f"slurm/dc1/idle/0{n}", "120.00") for n in range(2)
    ]
