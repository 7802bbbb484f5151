"""Published days with three departments, for tests of mail: each has a name and figures no other one has."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path

from tests.collector.fleet_world import DAY, LATER, NANO, World

from ullage_collector.publish.files import publish_dimensions, publish_facts_day
from ullage_collector.states import States

NAMES: Mapping[str, str] = {
    "rd": "研发 <b>一部</b>",
    "rd/cv": "视觉组",
    "fin": "风控财务部",
    "ads": "广告平台部",
}


def publish(root: Path) -> Path:
    """One sealed day, 2026-10-07 UTC, of four departments; the folder to give as --data."""
    world = World()
    for number, hours in enumerate((11, 7, 5, 3), 1):
        world.card(f"G{number}", "H800", f"n{number}")
        department = list(NAMES)[number - 1]
        parent = "rd" if department == "rd/cv" else None
        world.department(department, NAMES[department], parent)
        world.rule(f"slurm:{department.replace('/', '-')}x", department, scenario="training")
        account = f"{department.replace('/', '-')}x"
        world.hold(f"G{number}", f"slurm/dc1/{account}/{number}", 0, hours, NANO, node=f"n{number}")
        world.minutes(f"G{number}", 0, hours - 1, 0.9)
        world.minutes(f"G{number}", hours - 1, hours, 0.0)
    world.price("H800", 20_333_333)
    States(world.db).make(DAY.date(), LATER)
    publish_facts_day(world.db, root / "published", day=date(2026, 10, 7), status="sealed", now=LATER)
    publish_dimensions(world.db, root / "published", now=LATER)
    return root
