"""The example files of the format: expected lines and totals, to the cent."""

from __future__ import annotations

import json
import os
from fractions import Fraction
from pathlib import Path

import pytest
from tests.reports.settle.settle_file import told

from ullage_reports.settle.command import to_json
from ullage_reports.settle.reader import read_world
from ullage_reports.settle.statement import settle

FOLDER = Path(os.environ.get("ULLAGE_SHARED", Path(__file__).parents[4] / "shared")) / "cost-scenarios"
FILES = sorted(FOLDER.glob("C*.json")) if FOLDER.is_dir() else []
PLACE = {
    "tenant_pays_until_release": "faulty",
    "loss_shared_by_all": "faulty",
    "platform_pays_idle": "allocated_idle",
}


@pytest.mark.skipif(not FILES, reason=f"no scenarios in {FOLDER}: set ULLAGE_SHARED")
def test_the_examples_come_out_to_the_cent() -> None:
    for file in FILES:
        given = json.loads(file.read_text("utf-8"))
        world = read_world(file.read_text("utf-8"), file.name)
        assert world.ignored == (), "every key of an example is read"
        found = to_json(world, settle(world))
        keys = ("period", "department", "cost_class", "cost", "quantity", "unit")
        got = sorted(tuple(line[key] for key in keys) for line in found["lines"])
        assert got == sorted(tuple(line[key] for key in keys) for line in given["expected"]["lines"]), (
            file.name
        )
        assert found["totals"] == {
            period: total for period, (_, total) in given["expected"]["totals"].items()
        }
        wanted = given["expected"].get("recommendation")
        told_of = [(r["kind"], r["saving"]) for r in found["recommendations"]]
        assert told_of == ([(wanted["kind"], wanted["saving"])] if wanted else [])
        for other in given["alternatives"]:
            changed = to_json(world, settle(world.with_policy(PLACE[other["policy"]], other["policy"])))
            sums: dict[str, Fraction] = {}
            for line in changed["lines"]:
                sums[line["department"]] = sums.get(line["department"], Fraction(0)) + Fraction(line["cost"])
            assert sums == {name: Fraction(cost) for name, _, cost in other["lines"]}, other["policy"]


def test_a_world_of_ones_own_needs_nothing_but_window_cards_and_a_price() -> None:
    # 24 h x 10, nobody holds it: all free
    found = told(
        {
            "window": ["2026-10-05T00:00:00+08:00", "2026-10-06T00:00:00+08:00"],
            "cards": [{"card": "G1", "model": "H20"}],
            "price_models": [{"model": "H20", "hourly": 10, "effective_from": "2026-01-01T00:00:00Z"}],
            "report_timezone": "Asia/Shanghai",
        }
    )
    assert found["lines"] == [
        {
            "period": "2026-10-05",
            "department": "platform",
            "cost_class": "unallocated_idle",
            "cost": "240.00",
            "quantity": "24",
            "unit": "card_hours",
        }
    ]
    assert found["totals"] == {"2026-10-05": "240.00"}
