"""Where a budget stands, from published days: its month or quarter up to a day, and the weeks before for the forecast.

Not here: the arithmetic (budget.py) and how it is printed (budget_command.py, budget_tables.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import date, timedelta
from fnmatch import fnmatchcase
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
    passed: date | None = None,
) -> tuple[Period, Spent]:
    """A budget in its period that holds the local day ``at``. until: days after it are not looked at, None: all that are published.
    passed: as ``course`` has it.

    What is spent is what the bill of the period says: capacity, energy, what policy shares out, corrections and credits. policies: as
    cost_policy.load gives them. beside: as published.open has it. fiscal_start: month that quarters are counted from.
    Raises StoreError, ConfigError for a wrong zone and a policy that cannot be applied.
    """
    kind = PeriodKind.MONTHLY if budget.period == "month" else PeriodKind.QUARTERLY
    period = periods.containing(kind, at, zone, fiscal_start)
    first = period.first - timedelta(weeks=WEEKS_BEFORE)
    costs: dict[date, int] = defaultdict(int)
    payers: set[tuple[str, str]] = set()
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
            payers.add((department, scenario))
            if budget.covers(department, scenario) and day in known:
                costs[day] += int(atoms)
                unpriced += int(without) if day >= period.first else 0
        for begins, department, scenario, atoms in facts.rows(statements("budget")["energy"], parameters):
            payers.add((department, scenario))
            if budget.covers(department, scenario) and (day := days.day_of(int(begins))) in known:
                costs[day] += int(atoms)
        energy = 0
        if facts.rows(statements("statement")["energy_billed"])[0][0]:
            for begins, department, scenario, amount in facts.rows(
                statements("budget")["energy_without_tariff"], parameters
            ):
                day = days.day_of(int(begins))
                if budget.covers(department, scenario) and period.first <= day in known:
                    energy += int(amount)
        once = 0
        for begins, department, scenario, atoms in facts.rows(
            statements("budget")["adjustments"], parameters
        ):
            payers.add((department, scenario))
            if budget.covers(department, scenario) and period.first <= days.day_of(int(begins)) in known:
                once += int(atoms)
        for part in (
            [day for day in days.dates if day < period.first and day in known],
            [day for day in days.dates if day >= period.first and day in known],
        ):
            payers |= _share(facts, budget, policies, days, part, costs)
        named = {str(row[0]) for row in facts.rows(statements("budget")["departments"])}
    inside = [day for day in days.dates if day >= period.first]
    spent = course(budget, costs, unpriced, inside, known, once, passed)
    return period, replace(spent, unmatched=_unmatched(budget, payers, named), unpriced_energy=energy)


def last_whole(published: Published, zone: str) -> date | None:
    """The last local day whose UTC days are all published; the last published UTC day where none of the last is; None: there is none."""
    there = published.days()
    if not there:
        return None
    last = there[-1]
    span = [last - timedelta(days=n) for n in range(4)]
    missing = [last + timedelta(days=n) for n in (1, 2)] + [day for day in span if day not in set(there)]
    known = LocalDays.of(span[-1], last, zone, missing).known
    return max(known, default=last)


def _unmatched(
    budget: Budget, payers: Collection[tuple[str, str]], named: Collection[str]
) -> tuple[tuple[str, str], ...]:
    """What the budget names and nobody knows; () where nothing is known at all.

    payers: departments and scenarios of the lines that were read. named: departments that are published. A department without a wildcard
    is missed by itself, unless it has departments below; any other glob, and a scenario, which may not have begun, where none of them fits.
    """
    if not payers:
        return ()
    known = {department for department, _ in payers} | set(named)
    scenarios = {scenario for _, scenario in payers}

    def fits(glob: str, names: Collection[str]) -> bool:
        return any(fnmatchcase(name, glob) for name in names)

    found = []
    some = any(fits(glob, known) for glob in budget.departments)
    for glob in budget.departments:
        plain = not set(glob) & set("*?[")
        if not some or (plain and not fits(glob, known) and not any(n.startswith(f"{glob}/") for n in known)):
            found.append(("departments", glob))
    if not any(fits(glob, scenarios) for glob in budget.scenarios):
        found += [("scenarios", glob) for glob in budget.scenarios]
    return tuple(found)


def _share(
    facts: Facts,
    budget: Budget,
    policies: Sequence[CostPolicy],
    days: LocalDays,
    part: Sequence[date],
    costs: dict[date, int],
) -> set[tuple[str, str]]:
    """What policy gives the budget's departments over the days from the first to the last of ``part``, in equal parts to each; who is
    given or gives anything."""
    if not part:
        return set()
    begins, ends = days.span(part[0])[0], days.span(part[-1])[1]
    cut = stretches(policies, instant(begins), instant(ends))
    by_payer = share_out(facts, budget.currency, cut).by_payer()
    given = sum(atoms for payer, atoms in by_payer.items() if budget.covers(payer.department, payer.scenario))
    for number, day in enumerate(part):
        costs[day] += given * (number + 1) // len(part) - given * number // len(part)
    return {(payer.department, payer.scenario) for payer in by_payer}
