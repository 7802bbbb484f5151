"""The API's ledger and a report of the same period say the same, in any zone."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient
from tests.collector.fleet_world import DAY, LATER, NANO, World

from ullage_collector import api
from ullage_collector.fleet_now import FleetNow
from ullage_collector.isolate.isolation import Isolation
from ullage_collector.publish.files import publish_dimensions, publish_facts_day
from ullage_collector.receive.identity import Identity, Role
from ullage_collector.states import States
from ullage_contract.clock import ManualClock
from ullage_reports import cli

NOW = datetime(2026, 11, 1, 6, tzinfo=UTC)
DAYS = (DAY.date(), date(2026, 10, 8))


def world() -> World:
    """Two models, two departments, holders that begin and end between seconds, and a card nobody priced."""
    made = World()
    made.card("G1", "H800")
    made.card("N1", "Ascend 910B3", "n2", vendor="ascend")
    made.card("X1", "BI-V150", "n3", vendor="iluvatar")
    made.price("H800", 20_333_333)
    made.price("Ascend*", 7_250_001)
    made.department("rd", "R&D")
    made.department("cv", "CV")
    made.rule("slurm:nlp", "rd", scenario="training")
    made.rule("k8s:cv-*", "cv", business="search", scenario="development")
    made.hold("G1", "slurm/dc1/nlp/1", 1 / 7, 7.123457, NANO // 3)
    made.minutes("G1", 0, 24, 0.9)
    made.hold("N1", "k8s/dc1/cv-dev/notebook-1/uid", 3.000001, 24, node="n2")
    made.minutes("N1", 0, 6, 0.4)
    made.minutes("N1", 6, 24, 0.0)
    return made


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, Path]:
    made, root = world(), tmp_path_factory.mktemp("data")
    for day in DAYS:
        States(made.db).make(day, LATER)
        publish_facts_day(made.db, root / "published", day, status="sealed", now=LATER)
    publish_dimensions(made.db, root / "published", now=LATER)
    return made, root


def asked(made: World, query: str, role: Role = Role.VIEWER) -> Any:
    clock = ManualClock(NOW.timestamp())
    connect = made.db.cursor
    views = api.Views(connect, FleetNow(connect, clock), cast(Isolation, None), clock, lambda: None)
    app = Starlette(routes=api.routes(views))
    identity = Identity("ada", role, departments=("cv",))

    async def known(scope: Any, receive: Any, send: Any) -> None:
        scope.setdefault("state", {})["identity"] = identity
        await app(scope, receive, send)

    answer = TestClient(known).get(f"/api/v1/ledger?{query}")
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("zone", ["UTC", "Asia/Shanghai", "Asia/Kathmandu"])
def test_the_api_has_the_money_of_the_report(given: tuple[World, Path], tmp_path: Path, zone: str) -> None:
    made, root = given
    options = [
        "--data",
        str(root),
        "--out",
        str(tmp_path),
        "--zone",
        zone,
        "--currency",
        "CNY",
        "--format",
        "json",
    ]
    cli.main(["daily", "--date", "2026-10-07", *options], clock=ManualClock(NOW.timestamp()))
    report = json.loads((tmp_path / "ullage-daily-2026-10-07.json").read_text("utf-8"))
    told = asked(made, f"from=2026-10-07&to=2026-10-08&zone={zone}&by=state")
    (total,) = [line for line in told["totals"] if line["currency"] == "CNY"]
    assert total["cost"] == report["total"]["cost"]
    lines = [line for line in told["lines"] if line["currency"] == "CNY"]
    assert sum(Decimal(line["cost"]) for line in lines) == Decimal(total["cost"])
    exact = {line["state"]: int(line["cost_atoms"]) for line in lines}
    for state in report["total"]["states"]:
        cost = Decimal(exact.get(state["state"], 0)) / Decimal("3.6e24")
        assert abs(cost - Decimal(state["cost"])) < Decimal("0.01"), state["state"]
    hours = sum(Decimal(line["card_hours"]) for line in told["totals"])
    assert hours.quantize(Decimal("0.01")) == Decimal(report["total"]["hours"])
    nobody = [line for line in told["totals"] if line["currency"] is None]
    assert [(line["cost"], line["unpriced_card_hours"]) for line in nobody] == [
        (None, nobody[0]["card_hours"])
    ], "what has no price has no cost, and is never 0"


def test_days_are_the_zones_and_departments_see_their_own(given: tuple[World, Path]) -> None:
    made, _ = given
    days = asked(made, "from=2026-10-07&to=2026-10-09&zone=Asia/Shanghai&by=day,department")
    found = {(line["day"], line["department_id"]): line for line in days["lines"] if line["currency"]}
    assert Decimal(found["2026-10-07", "cv"]["card_hours"]) == Decimal("12.999999")
    assert Decimal(found["2026-10-08", "cv"]["card_hours"]) == 8
    whole = asked(
        made, "from=2026-10-07&to=2026-10-09&by=department,vendor,scenario,business", Role.DEPARTMENT
    )
    assert {line["department_id"] for line in whole["lines"]} == {"cv"}
    assert {(x["vendor"], x["scenario"], x["business"]) for x in whole["lines"]} == {
        ("ascend", "development", "search")
    }
