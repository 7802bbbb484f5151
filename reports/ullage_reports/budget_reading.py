"""Where a budget stands, from published days: its month or quarter up to a day, and the weeks before for the forecast.

Not here: the arithmetic (budget.py) and how it is printed (budget_command.py, budget_tables.py).
"""

from __future__ import annotations

from collections import defaultdict
from datetime import date, timedelta
from typing import Final

from ullage_collector.published import PeriodClosing, Published
from ullage_reports import period as periods
from ullage_reports.budget import Spent, course
from ullage_reports.budget_settings import Budget
from ullage_reports.local_days import LocalDays
from ullage_reports.period import Period, PeriodKind, midnight, zone_info
from ullage_reports.sql import statements

WEEKS_BEFORE: Final = 4
"""our choice: a forecast looks at a weekday's last four."""


def stand(
    published: Published,
    budget: Budget,
    at: date,
    zone: str,
    *,
    verify: bool = True,
    until: date | None = None,
    beside: PeriodClosing | None = None,
) -> tuple[Period, Spent]:
    """A budget in its period that holds the local day ``at``. until: days after it are not looked at, None: all that are published.

    beside: as published.open has it. Raises StoreError, ConfigError for a wrong zone.
    """
    kind = PeriodKind.MONTHLY if budget.period == "month" else PeriodKind.QUARTERLY
    period = periods.containing(kind, at, zone)
    first = period.first - timedelta(weeks=WEEKS_BEFORE)
    costs: dict[date, int] = defaultdict(int)
    unpriced = 0
    start = midnight(first, zone_info(zone))
    with published.open(start, period.end, verify=verify, beside=beside) as facts:
        days = LocalDays.of(first, period.last, zone, facts.missing)
        known = frozenset(day for day in days.known if until is None or day <= until)
        parameters = {"cuts": days.cuts, "currency": budget.currency}
        for begins, department, scenario, atoms, without in facts.rows(
            statements("budget")["days"], parameters
        ):
            day = days.day_of(int(begins))
            if budget.covers(department, scenario) and day in known:
                costs[day] += int(atoms)
                unpriced += int(without) if day >= period.first else 0
    inside = [day for day in days.dates if day >= period.first]
    return period, course(budget, costs, unpriced, inside, known)
