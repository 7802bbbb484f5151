"""Budgets: what a department has spent of one, and where the month or quarter is going. Exact sums, and a forecast one can check by hand.

The forecast takes each day that is still to come as the mean of its weekday's last four, the range as their cheapest and their
dearest: no model that nobody understands, and wide where days differ. With fewer than seven known days there is none. A day that
is not published is not known: it is forecast too, never taken for free.

Not here: which budgets there are (budget_settings.py), reading and printing (budget_command.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from fractions import Fraction
from typing import Final

from ullage_reports.budget_settings import Budget

LAST: Final = 4
"""our choice: of a weekday, because five weeks ago the fleet was another."""
LEAST_DAYS: Final = 7
"""our choice: because before a week is known nobody knows what a week is like."""


class Standing(StrEnum):
    """ON_TRACK: even the dearest course stays within. AT_RISK: the dearest does not. LIKELY: the expected does not. CERTAIN: even the
    cheapest does not. EXCEEDED: it is spent. UNKNOWN: too little is known to say."""

    ON_TRACK = "on_track"
    AT_RISK = "at_risk"
    LIKELY = "likely_over"
    CERTAIN = "certainly_over"
    EXCEEDED = "exceeded"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Spent:
    """A budget in its period. Money in atoms of the currency.

    spent: on the period's known days; with known 0 it is 0 and says nothing. known, missing: how many of its days up to the last
    known one, or those that have passed, are published and are not.
    ahead: days still to come. a_day: mean of the known days. cheapest, expected, dearest: of the whole period; None: no forecast.
    unpriced: nano-share microseconds, and unpriced_energy: millijoules times thousandths of a PUE, in none of these sums. runs_out: the first day on which the expected course has spent the
    amount; None: none of the period, or no forecast. unmatched: what the budget names and nobody knows, (departments or scenarios, glob).
    """

    budget: Budget
    spent: int
    known: int
    missing: int
    ahead: int
    a_day: Fraction | None
    cheapest: Fraction | None
    expected: Fraction | None
    dearest: Fraction | None
    unpriced: int
    standing: Standing
    runs_out: date | None = None
    unmatched: tuple[tuple[str, str], ...] = ()
    unpriced_energy: int = 0

    @property
    def counts_nothing(self) -> bool:
        """None of the budget's departments, or none of its scenarios, is known: what it says of money is of nobody."""
        return any(
            globs and set(globs) <= {glob for of, glob in self.unmatched if of == key}
            for key, globs in (("departments", self.budget.departments), ("scenarios", self.budget.scenarios))
        )

    @property
    def used_ratio(self) -> Fraction | None:
        """Of the amount; None where the amount is 0."""
        return Fraction(self.spent, self.budget.atoms) if self.budget.atoms else None


def course(
    budget: Budget,
    costs: Mapping[date, int],
    unpriced: int,
    period: Sequence[date],
    known: frozenset[date],
    once: int = 0,
    passed: date | None = None,
) -> Spent:
    """Where a budget stands.

    costs: atoms by local day; a known day without one cost nothing. unpriced: see Spent. period: its local days in order. known: the
    days that are published whole, those before the period among them. once: atoms of corrections and credits, signed: spent, and part of
    no day that others are like. passed: days before it are no longer to come, whatever is known; None: those before the last known.
    """
    inside = [day for day in period if day in known]
    last = max((day for day in (*inside[-1:], passed) if day is not None), default=None)
    missing = [day for day in period if day not in known and last is not None and day < last]
    ahead = [day for day in period if day not in known and (last is None or day >= last)]
    spent = sum(costs.get(day, 0) for day in inside) + once
    low, mid, high = _forecast(costs, [*missing, *ahead], known)
    expected = None if mid is None else spent + mid
    cheapest = None if low is None else spent + low
    dearest = None if high is None else spent + high
    return Spent(
        budget=budget,
        spent=spent,
        known=len(inside),
        missing=len(missing),
        ahead=len(ahead),
        a_day=Fraction(spent - once, len(inside)) if inside else None,
        cheapest=cheapest,
        expected=expected,
        dearest=dearest,
        unpriced=unpriced,
        standing=_standing(budget.atoms, spent, cheapest, expected, dearest),
        runs_out=_runs_out(budget.atoms - once, costs, period, known),
    )


def _runs_out(
    amount: int, costs: Mapping[date, int], period: Sequence[date], known: frozenset[date]
) -> date | None:
    """The first day by whose end the amount is spent, days that are not known taken as expected."""
    so_far = Fraction(0)
    for day in period:
        if day in known:
            so_far += costs.get(day, 0)
        else:
            _, mid, _ = _forecast(costs, [day], known)
            if mid is None:
                return None
            so_far += mid
        if so_far > amount:
            return day
    return None


def _forecast(
    costs: Mapping[date, int], wanted: Sequence[date], known: frozenset[date]
) -> tuple[Fraction | None, Fraction | None, Fraction | None]:
    """Cheapest, expected and dearest sum of the wanted days."""
    if len(known) < LEAST_DAYS:
        return None, None, None
    by_weekday: dict[int, list[int]] = defaultdict(list)
    for day in sorted(known):
        by_weekday[day.weekday()].append(costs.get(day, 0))
    every = [cost for some in by_weekday.values() for cost in some[-LAST:]]
    low = mid = high = Fraction(0)
    for day in wanted:
        # a weekday seen once says nothing of how much its days differ: all days do
        some = by_weekday[day.weekday()][-LAST:]
        likes = some if len(some) > 1 else every
        low += min(likes)
        mid += Fraction(sum(some or every), len(some or every))
        high += max(likes)
    return low, mid, high


def _standing(
    amount: int, spent: int, cheapest: Fraction | None, expected: Fraction | None, dearest: Fraction | None
) -> Standing:
    if spent > amount:
        return Standing.EXCEEDED
    if cheapest is None or expected is None or dearest is None:
        return Standing.UNKNOWN
    if cheapest > amount:
        return Standing.CERTAIN
    if expected > amount:
        return Standing.LIKELY
    return Standing.AT_RISK if dearest > amount else Standing.ON_TRACK
