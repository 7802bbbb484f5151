"""A total shared out, with no cards: shares over two levels, or days whose exact amounts add up to a month.

Not here: rounding them (sharing.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

from ullage_collector.ledger import PLATFORM
from ullage_contract.errors import ConfigError
from ullage_reports.settle.fields import Fields, exact, wrong

DEPARTMENT: Final = ("department", "name", "id")
DAY: Final = ("day", "period", "date")
SHARE: Final = ("share", "weight", "fraction")
AMOUNT: Final = ("amount", "exact", "cost", "total")
"""What a name or a number may be called where a list has objects: the format names the list and not its keys."""


@dataclass(frozen=True, slots=True)
class Division:
    """total: what is shared out, or None. shares: department -> weight. projects: department -> project -> weight.

    days: label (a date, or a number counted from 1) -> department -> exact amount; they add up to months of their own.
    """

    total: Fraction | None
    shares: dict[str, Fraction] = field(default_factory=dict)
    projects: dict[str, dict[str, Fraction]] = field(default_factory=dict)
    days: dict[str, dict[str, Fraction]] = field(default_factory=dict)


def read_division(inputs: Fields) -> Division | None:
    """None where the file is about cards. Raises ConfigError."""
    total = inputs.optional_number("total")
    days = _days(inputs.raw("days"))
    shares = _weights(inputs.raw("shares"), "inputs.shares", DEPARTMENT, SHARE)
    projects = _projects(inputs.raw("projects"), shares)
    if total is None and not days:
        if shares or projects:
            raise ConfigError("inputs.total: is missing; shares need a total to share out")
        return None
    if total is not None and not sum(shares.values()):
        raise ConfigError("inputs.shares: are missing or all 0; a total needs somebody to carry it")
    unknown = sorted(set(projects) - set(shares)) if total is not None else []
    if unknown:
        raise ConfigError(f"inputs.projects: {unknown[0]!r} has no share in inputs.shares")
    return Division(total, shares, projects, days)


def _weights(
    value: object, where: str, names: tuple[str, ...], numbers: tuple[str, ...]
) -> dict[str, Fraction]:
    """Numbers by name. {name: number}, [{name: ..., number: ...}], [[name, number]], or numbers alone, named 1, 2, ...

    A list of names is as many equal parts. Raises ConfigError, and for a name that comes twice.
    """
    found: dict[str, Fraction] = {}
    if value is None:
        return found
    if not isinstance(value, (dict, list)):
        raise wrong(where, value, "numbers by name")
    items = list(value.items()) if isinstance(value, dict) else [(None, item) for item in value]
    for n, (given, item) in enumerate(items):
        place = f"{where}[{n}]" if given is None else f"{where}.{given}"
        name = given
        number: object = item
        if isinstance(item, dict):
            row = Fields(item, place)
            name = given or _text(row, names)
            number = next((row.raw(key) for key in numbers if key in row), None)
        elif isinstance(item, list) and len(item) == 2:
            name, number = str(item[0]), item[1]
        elif given is None:
            plain = isinstance(item, str) and not _is_number(item)
            name, number = (str(item), 1) if plain else (str(n + 1), item)
        if name in found:
            raise ConfigError(f"{place}: {name!r} is there already")
        found[str(name)] = exact(number, place)
    return found


def _projects(value: object, shares: dict[str, Fraction]) -> dict[str, dict[str, Fraction]]:
    """{department: projects}, [{department, project, share}], or one list of projects that every department has."""
    found: dict[str, dict[str, Fraction]] = {}
    names = ("project", "name", "id")
    if isinstance(value, list) and any(isinstance(item, dict) and "department" in item for item in value):
        for n, item in enumerate(value):
            row = Fields(item, f"inputs.projects[{n}]")
            found.setdefault(row.text("department"), {})[_text(row, names)] = row.number("share", Fraction(1))
        return found
    if isinstance(value, dict) and any(isinstance(inner, (dict, list)) for inner in value.values()):
        for department, inner in value.items():
            found[str(department)] = _weights(inner, f"inputs.projects.{department}", names, SHARE)
        return found
    everywhere = _weights(value, "inputs.projects", names, SHARE)
    return {department: dict(everywhere) for department in shares} if everywhere else {}


def _days(value: object) -> dict[str, dict[str, Fraction]]:
    """Amounts by day, or by day and department."""
    found: dict[str, dict[str, Fraction]] = {}
    if isinstance(value, dict) and any(isinstance(inner, dict) for inner in value.values()):
        for day, inner in value.items():
            found[str(day)] = _weights(inner, f"inputs.days.{day}", DEPARTMENT, AMOUNT)
        return found
    if isinstance(value, list) and any(isinstance(item, dict) and "department" in item for item in value):
        for n, item in enumerate(value):
            row = Fields(item, f"inputs.days[{n}]")
            parts = found.setdefault(_text(row, DAY), {})
            name = row.text("department", PLATFORM)
            amount = exact(next((row.raw(key) for key in AMOUNT if key in row), None), row.where)
            parts[name] = parts.get(name, Fraction(0)) + amount
        return found
    return {day: {PLATFORM: amount} for day, amount in _weights(value, "inputs.days", DAY, AMOUNT).items()}


def _is_number(text: str) -> bool:
    try:
        exact(text, "")
    except ConfigError:
        return False
    return True


def _text(row: Fields, keys: tuple[str, ...]) -> str:
    for key in keys:
        if key in row:
            return row.text(key)
    raise ConfigError(f"{row.where}: has no {keys[0]}")
