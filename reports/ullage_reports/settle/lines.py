"""Exact amounts to printed lines: a total half up to the minor unit, its parts by largest remainder, from the top down.

By month each month's total is rounded and its lines to it; by day the month's total is rounded first, then its days
to that, then each day's lines to the day, so that days add up to the month that would have been printed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import lcm
from typing import Final, TypeVar

from ullage_collector import ledger
from ullage_collector.ledger import PLATFORM, STATES
from ullage_reports.cost_sharing import NOTHING
from ullage_reports.settle.charges import ENERGY, Amount, Key
from ullage_reports.settle.spans import month_of

CORRECTION: Final = "correction"
CLASSES: Final = (*STATES, ENERGY, CORRECTION)
"""In the order lines are printed."""
_K = TypeVar("_K", bound=tuple[str, ...] | str)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a statement. cost: minor units. quantity: exact. corrects: the closed period a correction belongs to."""

    period: str
    department: str
    cost_class: str
    cost: Decimal
    quantity: Fraction
    unit: str
    corrects: str | None = None
    project: str | None = None

    def order(self) -> tuple[str, bool, str, int, str, str, str]:
        """Periods, departments with the platform last, classes in their order."""
        place = CLASSES.index(self.cost_class)
        corrects = self.corrects or ""
        return (
            self.period,
            self.department == PLATFORM,
            self.department,
            place,
            corrects,
            self.project or "",
            self.unit,
        )


def rounded(amounts: Mapping[Key, Amount], digits: int) -> list[Line]:
    """Lines whose costs add up to their period's total, and by day to their month's. digits: after the point."""
    periods: dict[str, Fraction] = {}
    for key, amount in amounts.items():
        periods[key.period] = periods.get(key.period, NOTHING) + amount.cost
    totals = round_down_days(periods, digits)
    found: list[Line] = []
    for period, total in totals.items():
        mine = {key: amount for key, amount in amounts.items() if key.period == period}
        order = {key: (key.department, key.cost_class, key.unit) for key in mine}
        costs = apportioned(total, {order[key]: amount.cost for key, amount in mine.items()}, digits)
        found += [
            Line(
                period,
                key.department,
                key.cost_class,
                ledger.minor_decimal(costs[order[key]], digits),
                amount.quantity,
                key.unit,
            )
            for key, amount in mine.items()
        ]
    return sorted(found, key=Line.order)


def round_down_days(periods: Mapping[str, Fraction], digits: int) -> dict[str, int]:
    """Period -> whole minor units. Days of one month are fitted to the month's own rounded total."""
    months: dict[str, dict[str, Fraction]] = {}
    for period, cost in periods.items():
        months.setdefault(month_of(period), {})[period] = cost
    found: dict[str, int] = {}
    for parts in months.values():
        found.update(apportioned(half_up(sum(parts.values(), NOTHING), digits), parts, digits))
    return found


def half_up(value: Fraction, digits: int) -> int:
    """Whole minor units, half away from zero."""
    scaled = value * 10**digits
    return ledger.half_up(scaled.numerator, scaled.denominator)


def apportioned(total: int, parts: Mapping[_K, Fraction], digits: int) -> dict[_K, int]:
    """Parts in whole minor units that add up to ``total``: ledger.apportion on a common denominator."""
    unit = lcm(*(part.denominator for part in parts.values())) if parts else 1
    scaled = {key: int(part * unit * 10**digits) for key, part in parts.items()}
    return ledger.apportion(total, scaled, unit) if parts else {}


def exact_text(number: Fraction) -> str:
    """A decimal where it ends, else a fraction: ``2.5``, ``1/3``."""
    rest = number.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    if rest != 1:
        return str(number)
    places = 0
    while (number * 10**places).denominator != 1:
        places += 1
    return f"{Decimal(f'{int(number * 10**places)}E-{places}'):f}"
