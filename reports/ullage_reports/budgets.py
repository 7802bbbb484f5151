"""Budgets in a statement: each as it stood at the end of the period, rounded for a page.

Not here: the arithmetic (budget.py), reading (budget_reading.py), how it is printed (budget_tables.py).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Final

from ullage_collector import ledger
from ullage_collector.published import PeriodClosing, Published
from ullage_contract.plain import plain
from ullage_reports.budget import Spent, Standing
from ullage_reports.budget_reading import stand
from ullage_reports.budget_settings import Budget
from ullage_reports.cost_policy import DEFAULT, CostPolicy
from ullage_reports.model import Tile, Unit
from ullage_reports.period import Period
from ullage_reports.rounding import decimal_ratio

log = logging.getLogger("ullage_reports")

OVER: Final = (Standing.EXCEEDED, Standing.CERTAIN)
"""What somebody has to know today."""
WORST_FIRST: Final = (
    *OVER,
    Standing.LIKELY,
    Standing.AT_RISK,
    Standing.UNKNOWN,
    Standing.ON_TRACK,
)
"""Standings in the order in which to look at them. our choice: what nobody can judge comes before what is well."""


@dataclass(frozen=True, slots=True)
class BudgetRow:
    """One budget in its month or quarter, as at the end of the report's period. Money in its own currency, minor units.

    whole: it covers every department and scenario. label: of its period. known, missing, ahead: its days that are published, that are
    not although later ones are, and that are still to come. a_day: mean of the known. cheapest, expected, dearest: of the whole
    period, None: no forecast. days_left: from the period's end until the expected course has spent it; None: it is not spent
    within its period, or there is no forecast; 0: it is spent.
    """

    name: str
    departments: tuple[str, ...]
    scenarios: tuple[str, ...]
    whole: bool
    label: str
    currency: str
    amount: Decimal
    spent: Decimal
    used_ratio: Decimal | None
    a_day: Decimal | None
    cheapest: Decimal | None
    expected: Decimal | None
    dearest: Decimal | None
    known: int
    missing: int
    ahead: int
    unpriced_hours: Decimal
    runs_out: date | None
    days_left: int | None
    standing: str


def budget_rows(
    published: Published,
    budgets: Sequence[Budget],
    period: Period,
    *,
    verify: bool = True,
    beside: PeriodClosing | None = None,
    policies: Sequence[CostPolicy] = DEFAULT,
) -> tuple[BudgetRow, ...]:
    """Every budget in its period that holds the report's last published day, in the order of the file.

    A budget of a quarter is in a month's report as at the month's end; one of a month is in a quarter's as its last month.
    """
    days = [day for day in published.days() if day <= period.last]
    if not days or days[-1] < period.first - timedelta(days=1):
        return ()
    at = max(period.first, min(period.last, days[-1]))
    rows = []
    for budget in budgets:
        held, spent = stand(
            published,
            budget,
            at,
            period.zone,
            verify=verify,
            until=period.last,
            beside=beside,
            policies=policies,
            fiscal_start=period.fiscal_start,
        )
        for said in unmatched(spent):
            log.warning("%s", said)
        rows.append(_row(held, spent, period.last))
    return tuple(rows)


def unmatched(spent: Spent) -> list[str]:
    """What a budget names and nobody knows, in sentences."""
    of = {"departments": "department", "scenarios": "scenario"}
    return [
        f"budget {plain(spent.budget.name)!r}: {key} {plain(glob)!r} fits no {of[key]}; nothing of it is counted"
        for key, glob in spent.unmatched
    ]


def worst(rows: Sequence[BudgetRow]) -> BudgetRow | None:
    """The one to look at first: by standing, then by what is spent of it; None: there is no budget."""
    return max(
        rows, key=lambda row: (-WORST_FIRST.index(row.standing), row.used_ratio or Decimal(0)), default=None
    )


def tile(rows: Sequence[BudgetRow]) -> Tile | None:
    """Page one's: how many are or will be exceeded; where none is, what is spent of the worst. None: there is no budget."""
    first = worst(rows)
    if first is None:
        return None
    over = sum(row.standing in OVER for row in rows)
    if over:
        return Tile("budgets_over", Unit.COUNT, Decimal(over), None, "down")
    return Tile("budget_worst_ratio", Unit.RATIO, first.used_ratio, None, "")


def _row(period: Period, spent: Spent, end: date) -> BudgetRow:
    budget = spent.budget
    paid = money(Fraction(spent.spent), budget.currency)
    amount = money(Fraction(budget.atoms), budget.currency)
    left = None if spent.runs_out is None else max(0, (spent.runs_out - end).days)
    return BudgetRow(
        name=budget.name,
        departments=budget.departments,
        scenarios=budget.scenarios,
        whole="*" in budget.departments and "*" in budget.scenarios,
        label=period.label,
        currency=budget.currency,
        amount=amount,
        spent=paid,
        used_ratio=decimal_ratio(paid, amount),
        a_day=None if spent.a_day is None else money(spent.a_day, budget.currency),
        cheapest=None if spent.cheapest is None else money(spent.cheapest, budget.currency),
        expected=None if spent.expected is None else money(spent.expected, budget.currency),
        dearest=None if spent.dearest is None else money(spent.dearest, budget.currency),
        known=spent.known,
        missing=spent.missing,
        ahead=spent.ahead,
        unpriced_hours=ledger.hours_exact(spent.unpriced, 2),
        runs_out=spent.runs_out,
        days_left=left,
        standing=spent.standing.value,
    )


def money(atoms: Fraction, currency: str) -> Decimal:
    """Atoms in the currency's minor units, half up: one figure alone."""
    unit = ledger.minor_atoms(currency)
    whole = ledger.half_up(atoms.numerator, atoms.denominator * unit)
    return ledger.minor_decimal(whole, ledger.minor_units(currency))
