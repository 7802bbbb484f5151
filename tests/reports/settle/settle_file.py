"""Small settle files for the tests: keys as the format has them, lines back as a plain dictionary. Not a test."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

from ullage_reports.settle.command import to_json
from ullage_reports.settle.lines import exact_text
from ullage_reports.settle.reader import read_world
from ullage_reports.settle.spans import By
from ullage_reports.settle.statement import settle

DAY = ["2026-10-05T00:00:00Z", "2026-10-06T00:00:00Z"]


def at(hour: float, day: int = 5) -> str:
    """An instant of October 2026, UTC. hour: 0 to 24 and beyond, quarters allowed."""
    minutes = round(hour * 60)
    return f"2026-10-{day + minutes // 1440:02d}T{minutes // 60 % 24:02d}:{minutes % 60:02d}:00Z"


def cards(*names: str, model: str = "H20", **more: Any) -> list[dict[str, Any]]:
    return [{"card": name, "model": model, **more} for name in names]


def price(
    hourly: str = "10.00", model: str = "H20", since: str = "2026-01-01T00:00:00Z", **more: Any
) -> dict[str, Any]:
    return {"model": model, "hourly": hourly, "effective_from": since, **more}


def hold(who: str, start: float = 0, end: float = 24, **more: Any) -> dict[str, Any]:
    return {"department": who, "start": at(start), "end": at(end), **more}


def inputs(**keys: Any) -> dict[str, Any]:
    """A UTC day of one H20 card G1 at 10.00, with whatever is given instead."""
    return {
        "report_timezone": "UTC",
        "window": DAY,
        "price_models": [price()],
        "cards": cards("G1"),
        **keys,
    }


def told(keys: dict[str, Any], *, by: By | None = None, currency: str = "CNY") -> dict[str, Any]:
    """The JSON of a file with these inputs; lines are checked to add up to the totals."""
    world = read_world(json.dumps({"currency": currency, "inputs": keys}), "file")
    found = to_json(world, settle(world, by))
    for statement in [found, *found.get("statements", [])]:
        for period, total in statement["totals"].items():
            mine = [Fraction(line["cost"]) for line in statement["lines"] if line["period"] == period]
            assert sum(mine) == Fraction(total), (period, statement)
        for line in statement["lines"]:
            assert line["cost_class"] == "correction" or Fraction(line["cost"]) >= 0
    return found


def lines(keys: dict[str, Any], **options: Any) -> dict[tuple[str, str], str]:
    """(department, class) -> cost of a statement of one period."""
    found = told(keys, **options)
    assert len(found["totals"]) == 1
    return {(line["department"], line["cost_class"]): line["cost"] for line in found["lines"]}


def by_department(keys: dict[str, Any], **options: Any) -> dict[str, str]:
    """Department -> cost, all classes together."""
    found: dict[str, Fraction] = {}
    for (department, _), cost in lines(keys, **options).items():
        found[department] = found.get(department, Fraction(0)) + Fraction(cost)
    return {name: exact_text(cost) for name, cost in found.items()}
