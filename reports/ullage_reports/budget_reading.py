"""Where a budget stands, from published days: its month or quarter up to a day, and the weeks before for the forecast.

Not here: the arithmetic (budget.py) and how it is printed (budget_command.py, budget_tables.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Final

from ullage_collector.published import Facts, PeriodClosing, Published
from ullage_reports import period as periods
from ullage_reports.budget import Spent, course
from ullage_reports.budget_settings import Budget
from ullage_reports.cost_policy import DEFAULT, CostPolicy, stretches
from ullage_reports.local_days import LocalDays
from ullage_reports.period import Period, PeriodKind, midnight, zone_info
from ullage_reports.reading import instant
from ullage_reports.shared_costs import share_out
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
    policies: Sequence[CostPolicy] = DEFAULT,
    fiscal_start: int = 1,
) -> tuple[Period, Spent]:
    """A budget in its period that holds the local day ``at``. until: days after it are not looked at, None: all that are published.

    What is spent is what the bill of the period says: capacity, energy, what policy shares out, corrections and credits. policies: as
    cost_policy.load gives them. beside: as published.open has it. fiscal_start: month that quarters are counted from.
    Raises StoreError, ConfigError for a wrong zone and a policy that cannot be applied.
    """
    kind = PeriodKind.MONTHLY if budget.period == "month" else PeriodKind.QUARTERLY
    period = periods.containing(kind, at, zone, fiscal_start)
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
        for begins, department, scenario, atoms in facts.rows(statements("budget")["energy"], parameters):
            if budget.covers(department, scenario) and (day := days.day_of(int(begins))) in known:
                costs[day] += int(atoms)
        once = sum(
            int(atoms)
            for begins, department, scenario, atoms in facts.rows(
                statements("budget")["adjustments"], parameters
            )
            if budget.covers(department, scenario) and period.first <= days.day_of(int(begins)) in known
        )
        for part in (
            [day for day in days.dates if day < period.first and day in known],
            [day for day in days.dates if day >= period.first and day in known],
        ):
            _share(facts, budget, policies, days, part, costs)
    inside = [day for day in days.dates if day >= period.first]
    return period, course(budget, costs, unpriced, inside, known, once)


def _share(
    facts: Facts,
    budget: Budget,
    policies: Sequence[CostPolicy],
    days: LocalDays,
    part: Sequence[date],
    costs: dict[date, int],
) -> None:
    """What policy gives the budget's departments over the days from the first to the last of ``part``, in equal parts to each."""
    if not part:
        return
    begins, ends = days.span(part[0])[0], days.span(part[-1])[1]
    cut = stretches(policies, instant(begins), instant(ends))
    given = sum(
        atoms
        for payer, atoms in share_out(facts, budget.currency, cut).by_payer().items()
        if budget.covers(payer.department, payer.scenario)
    )
    for number, day in enumerate(part):
        costs[day] += given * (number + 1) // len(part) - given * number // len(part)
