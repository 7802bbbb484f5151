"""Time out of service: isolated with its reason, a line of its own, in no idle figure, on the page and on the wall."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from tests.collector.fleet_world import DAY, LATER, World, at, card_hours

from ullage_collector.fleet_now import FleetNow
from ullage_collector.publish.files import publish_dimensions, publish_facts_day
from ullage_collector.published import Published
from ullage_collector.states import States
from ullage_contract.clock import ManualClock
from ullage_reports import period as periods
from ullage_reports.statement import statement

OUT = ("maintenance", "rma", "commissioning")


def world_with(life: str) -> World:
    """G1 works half a day for nlp and is free the other half; G2 is out of service from 06:00 to 18:00."""
    world = World()
    world.rule("slurm:nlp", "nlp")
    world.price("H800", 20_000_000)
    world.card("G1", "H800")
    world.hold("G1", "slurm/dc1/nlp/1", 0, 12)
    world.minutes("G1", 0, 12, 0.9)
    world.card("G2", "H800", end=at(6))
    world.own("G2", "H800", life=life, start=at(6), end=at(18))
    world.own("G2", "H800", start=at(18))
    return world


@pytest.mark.parametrize("life", OUT)
def test_out_of_service_is_isolated_with_the_life_as_its_reason(life: str) -> None:
    world = world_with(life)
    States(world.db).make(DAY.date(), LATER)
    lines = world.lines()
    assert card_hours(lines) == {
        ("nlp", "used"): 12.0,
        ("platform", "unallocated_idle"): 24.0,
        ("platform", "isolated"): 12.0,
    }
    assert {line["reason"] for line in lines if line["state"] == "isolated"} == {f"life:{life}"}
    assert {line["isolation_id"] for line in lines if line["state"] == "isolated"} == {None}


@pytest.mark.parametrize("life", OUT)
def test_whoever_still_holds_a_card_out_of_service_pays_for_it(life: str) -> None:
    world = world_with(life)
    world.hold("G2", "slurm/dc1/nlp/2", 6, 8)
    world.minutes("G2", 6, 8, 0.9)
    States(world.db).make(DAY.date(), LATER)
    hours = card_hours(world.lines())
    assert (hours["nlp", "used"], hours["platform", "isolated"]) == (14.0, 10.0)


@pytest.mark.parametrize("life", OUT)
def test_a_report_shows_it_on_its_own_line_and_in_no_idle_figure(life: str, tmp_path: Path) -> None:
    world = world_with(life)
    States(world.db).make(DAY.date(), LATER)
    publish_facts_day(world.db, tmp_path, DAY.date(), status="provisional", now=LATER)
    publish_dimensions(world.db, tmp_path, now=LATER)
    day = periods.daily("2026-10-07", "UTC")
    report = statement(Published(tmp_path), day, currency="CNY", now=datetime(2026, 11, 1, tzinfo=UTC))
    states = {state.state: state.hours for state in report.total.states if state.hours}
    assert states == {"used": Decimal(12), "unallocated_idle": Decimal(24), "isolated": Decimal(12)}
    assert report.total.idle_cost == Decimal(24 * 20)
    assert report.total.state_cost("isolated") == Decimal(12 * 20)
    # the platform's own line, out of every department's
    assert all(
        row.amounts.state_hours("isolated") == 0 for row in report.departments if row.department_id == "nlp"
    )


@pytest.mark.parametrize("life", OUT)
def test_the_fleet_now_shows_it_isolated_and_a_held_one_by_its_work(life: str) -> None:
    world = world_with(life)
    world.db.execute(
        "CREATE TABLE card_sample (time TIMESTAMP, card_key INTEGER, utilization_ratio FLOAT, memory_used_bytes UBIGINT, "
        "memory_total_bytes UBIGINT, memory_ratio FLOAT, power_watts FLOAT, temperature_celsius FLOAT, health VARCHAR, "
        "sm_active_ratio FLOAT, tensor_active_ratio FLOAT, memory_bandwidth_ratio FLOAT)"
    )
    world.hold("G2", "slurm/dc1/nlp/2", 6, 8)
    for hours in (7.0, 9.0):
        world.db.execute(
            "INSERT INTO card_sample (time, card_key, utilization_ratio, sm_active_ratio) VALUES (?, ?, 0.9, 0.9)",
            [at(hours), world.cards["G2"]],
        )
    seen = {}
    for hours in (7.0, 9.0):
        clock = ManualClock((DAY + timedelta(hours=hours)).timestamp())
        _, cards = FleetNow(world.db.cursor, clock).cards()
        seen[hours] = {card.card_id: card.state for card in cards}["G2"]
    assert seen == {7.0: "used", 9.0: "isolated"}
