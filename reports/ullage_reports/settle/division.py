"""A total shared out, with no cards: shares over two levels, or days whose exact amounts add up to a month.

Not here: rounding them (sharing.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

from ullage_contract.errors import ConfigError
from ullage_reports.settle.fields import Fields, exact, wrong

NAMES: Final = ("department", "name", "id", "key")


@dataclass(frozen=True, slots=True)
class Division:
    """total: what is shared out; None: the days' sum. shares: department -> weight. projects: department -> project -> weight.

    days: label -> department (or "" where it names none) -> exact amount.
    """

    total: Fraction | None
    shares: dict[str, Fraction] = field(default_factory=dict)
    projects: dict[str, dict[str, Fraction]] = field(default_factory=dict)
    days: dict[str, dict[str, Fraction]] = field(default_factory=dict)


def read_division(inputs: Fields) -> Division | None:
    """None where the file is about cards. Raises ConfigError."""
    total = inputs.optional_number("total")
    days = _days(inputs)
    shares = _weights(inputs.raw("shares"), "inputs.shares", "share")
    projects = _projects(inputs.raw("projects"), shares)
    if total is None and not days:
        if shares or projects:
            raise ConfigError("inputs.total: is missing; shares need a total to share out")
        return None
    if total is not None and days:
        raise ConfigError("inputs: total and days exclude each other: days add up to their own total")
    if total is not None and not sum(shares.values()):
        raise ConfigError("inputs.shares: are missing or all 0; a total needs somebody to carry it")
    unknown = sorted(set(projects) - set(shares)) if total is not None else []
    if unknown:
        raise ConfigError(f"inputs.projects: {unknown[0]!r} has no share in inputs.shares")
    return Division(total, shares, projects, days)


def _weights(value: object, where: str, key: str) -> dict[str, Fraction]:
    """{name: weight}, or [{name, weight}]."""
    found: dict[str, Fraction] = {}
    if value is None:
        return found
    if isinstance(value, dict):
        for name, weight in value.items():
            if isinstance(weight, dict):
                weight = weight.get(key)
            found[str(name)] = exact(weight, f"{where}.{name}")
        return found
    if not isinstance(value, list):
        raise wrong(where, value, "shares by name")
    for n, item in enumerate(value):
        row = Fields(item, f"{where}[{n}]")
        name = _name(row, NAMES)
        if name in found:
            raise ConfigError(f"{row.where}: {name!r} has a share already")
        found[name] = row.number(key)
    return found


def _projects(value: object, shares: dict[str, Fraction]) -> dict[str, dict[str, Fraction]]:
    """{department: {project: weight}}, [{department, project, share}], or {project: weight} for every department."""
    found: dict[str, dict[str, Fraction]] = {}
    if value is None:
        return found
    if isinstance(value, list):
        for n, item in enumerate(value):
            row = Fields(item, f"inputs.projects[{n}]")
            department = row.text("department")
            found.setdefault(department, {})[_name(row, ("project", "name", "id"))] = row.number("share")
        return found
    if not isinstance(value, dict):
        raise wrong("inputs.projects", value, "shares of projects by department")
    if value and not any(isinstance(inner, (dict, list)) for inner in value.values()):
        everywhere = _weights(value, "inputs.projects", "share")
        return {department: dict(everywhere) for department in shares}
    for department, inner in value.items():
        where = f"inputs.projects.{department}"
        if isinstance(inner, list):
            inner = {
                _name(Fields(item, where), ("project", "name", "id")): item.get("share") for item in inner
            }
        found[str(department)] = _weights(inner, where, "share")
    return found


def _days(inputs: Fields) -> dict[str, dict[str, Fraction]]:
    """{day: amount}, {day: {department: amount}}, or [{day, amount, department?}]."""
    value = inputs.raw("days")
    found: dict[str, dict[str, Fraction]] = {}
    if value is None:
        return found
    if isinstance(value, dict):
        for day, amount in value.items():
            where = f"inputs.days.{day}"
            if isinstance(amount, dict):
                found[str(day)] = _weights(amount, where, "amount")
            else:
                found[str(day)] = {"": exact(amount, where)}
        return found
    if not isinstance(value, list):
        raise wrong("inputs.days", value, "days with their amounts")
    for n, item in enumerate(value):
        row = Fields(item, f"inputs.days[{n}]")
        day = _name(row, ("day", "period", "date"))
        amount = next((key for key in ("amount", "exact", "cost") if key in row), "amount")
        department = row.optional_text("department") or ""
        inner = found.setdefault(day, {})
        inner[department] = inner.get(department, Fraction(0)) + row.number(amount)
    return found


def _name(row: Fields, keys: tuple[str, ...]) -> str:
    for key in keys:
        if key in row:
            return row.text(key)
    raise ConfigError(f"{row.where}: has no {keys[0]}")
