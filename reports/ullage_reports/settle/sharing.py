"""A total over two levels, or a month over its days: rounded from the top down, by largest remainder at every level."""

from __future__ import annotations

from fractions import Fraction

from ullage_collector import ledger
from ullage_collector.ledger import USED
from ullage_reports.cost_sharing import NOTHING
from ullage_reports.settle.division import Division
from ullage_reports.settle.lines import Line, apportioned, half_up, round_down_days


def divided(division: Division, digits: int, label: str) -> list[Line]:
    """Lines that add up to the total at every level. label: the period of the total; days have their own.

    quantity is the exact amount, in the currency (unit ``amount``). Days without a department are the platform's.
    """
    found = _days(division, digits, label)
    if division.total is None:
        return sorted(found, key=Line.order)
    amounts = _parts(division.total, division.shares)
    departments = apportioned(half_up(division.total, digits), amounts, digits)
    for name, minor in departments.items():
        projects = division.projects.get(name)
        if not projects or not sum(projects.values()):
            found.append(_line(label, name, None, minor, amounts[name], digits))
            continue
        exact_parts = _parts(amounts[name], projects)
        units = apportioned(minor, exact_parts, digits)
        found += [
            _line(label, name, project, units[project], exact_parts[project], digits) for project in projects
        ]
    return sorted(found, key=Line.order)


def _days(division: Division, digits: int, label: str) -> list[Line]:
    """Days fitted to their month, and departments to their day. Numbered days are those of the period, as far as it is one."""
    found: list[Line] = []
    dated = {_dated(day, label): parts for day, parts in division.days.items()}
    sums = {day: sum(parts.values(), NOTHING) for day, parts in dated.items()}
    for day, minor in round_down_days(sums, digits).items():
        units = apportioned(minor, dated[day], digits)
        found += [_line(day, name, None, units[name], amount, digits) for name, amount in dated[day].items()]
    return found


def _dated(day: str, label: str) -> str:
    """Day 3 of 2026-10 is 2026-10-03."""
    if day.isdecimal() and len(day) < 3 and len(label) >= len("2026-10"):
        return f"{label[:7]}-{int(day):02d}"
    return day


def _parts(total: Fraction, weights: dict[str, Fraction]) -> dict[str, Fraction]:
    whole = sum(weights.values(), NOTHING)
    return {name: total * weight / whole for name, weight in weights.items()}


def _line(
    period: str, department: str, project: str | None, minor: int, amount: Fraction, digits: int
) -> Line:
    return Line(
        period, department, USED, ledger.minor_decimal(minor, digits), amount, "amount", project=project
    )
