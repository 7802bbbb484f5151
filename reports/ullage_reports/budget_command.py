"""``ullage-report budget``: each budget of a file in a month or quarter, as a table for people or as JSON.

Exit code 3 where one is exceeded or will be for certain, or where days or prices are missing.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from ullage_collector import ledger
from ullage_collector.published import Published
from ullage_contract.clock import Clock
from ullage_contract.plain import plain
from ullage_reports import period as periods
from ullage_reports.budget import Spent, Standing, course
from ullage_reports.budget_settings import Budget, read
from ullage_reports.local_days import LocalDays
from ullage_reports.period import Period, PeriodKind, midnight, zone_info
from ullage_reports.sql import statements

SCHEMA_VERSION: Final = 1
"""Of the JSON form."""
WEEKS_BEFORE: Final = 4
"""our choice: a forecast looks at a weekday's last four."""
WORDS: Final = {
    Standing.ON_TRACK: "on track",
    Standing.AT_RISK: "at risk: only a dear course exceeds it",
    Standing.LIKELY: "likely to be exceeded",
    Standing.CERTAIN: "will be exceeded even by the cheapest course",
    Standing.EXCEEDED: "exceeded",
    Standing.UNKNOWN: "too little is known for a forecast",
}


def run(
    published: Published,
    file: Path,
    *,
    clock: Clock,
    at: date | None,
    zone: str,
    as_json: bool,
    verify: bool = True,
) -> bool:
    """Print every budget of the file in its period that holds ``at`` (None: the last published day); whether all is well.

    clock: for where nothing is published yet. Raises ConfigError for a wrong file or zone.
    """
    budgets = read(file)
    days = published.days()
    today = at or (days[-1] if days else datetime.fromtimestamp(clock.wall(), zone_info(zone)).date())
    found = [_of(published, budget, _period(budget, today, zone), verify) for budget in budgets]
    if as_json:
        told = {"schema_version": SCHEMA_VERSION, "zone": zone, "budgets": [to_json(*one) for one in found]}
        sys.stdout.write(json.dumps(told, ensure_ascii=False, indent=1) + "\n")
    else:
        sys.stdout.write("\n\n".join("\n".join(page(*one)) for one in found) + "\n")
    over = (Standing.EXCEEDED, Standing.CERTAIN)
    return not any(spent.standing in over or spent.unpriced or spent.missing for _, spent in found)


def _period(budget: Budget, today: date, zone: str) -> Period:
    kind = PeriodKind.MONTHLY if budget.period == "month" else PeriodKind.QUARTERLY
    return periods.containing(kind, today, zone)


def _of(published: Published, budget: Budget, period: Period, verify: bool) -> tuple[Period, Spent]:
    info = zone_info(period.zone)
    first = period.first - timedelta(weeks=WEEKS_BEFORE)
    costs: dict[date, int] = defaultdict(int)
    unpriced = 0
    with published.open(midnight(first, info), period.end, verify=verify) as facts:
        days = LocalDays.of(first, period.last, period.zone, facts.missing)
        parameters = {"cuts": days.cuts, "currency": budget.currency}
        for begins, department, scenario, atoms, without in facts.rows(
            statements("budget")["days"], parameters
        ):
            day = days.day_of(int(begins))
            if budget.covers(department, scenario) and day in days.known:
                costs[day] += int(atoms)
                unpriced += int(without) if day >= period.first else 0
    inside = [day for day in days.dates if day >= period.first]
    return period, course(budget, costs, unpriced, inside, days.known)


def to_json(period: Period, spent: Spent) -> dict[str, Any]:
    """One budget; money as texts in its currency's smallest unit."""
    budget = spent.budget
    return {
        "name": budget.name,
        "departments": list(budget.departments),
        "scenarios": list(budget.scenarios),
        "period": period.label,
        "currency": budget.currency,
        "amount": _money(Fraction(budget.atoms), budget),
        "spent": _money(Fraction(spent.spent), budget),
        "used_ratio": None if spent.used_ratio is None else f"{float(spent.used_ratio):.6f}",
        "a_day": _money(spent.a_day, budget),
        "forecast": {
            "cheapest": _money(spent.cheapest, budget),
            "expected": _money(spent.expected, budget),
            "dearest": _money(spent.dearest, budget),
        },
        "days": {"known": spent.known, "missing": spent.missing, "ahead": spent.ahead},
        "unpriced_card_hours": str(ledger.hours_exact(spent.unpriced, 6)),
        "standing": spent.standing.value,
    }


def page(period: Period, spent: Spent) -> list[str]:
    """One budget in sentences."""
    budget = spent.budget
    used = "" if spent.used_ratio is None else f", {float(spent.used_ratio):.1%}"
    lines = [
        f"{plain(budget.name)}  {period.label}: {WORDS[spent.standing]}",
        f"  spent     {_money(Fraction(spent.spent), budget):>18} {budget.currency} of {_money(Fraction(budget.atoms), budget)}{used}",
    ]
    if spent.a_day is not None:
        lines.append(
            f"  a day     {_money(spent.a_day, budget):>18} {budget.currency} over {spent.known} known days, {spent.ahead} to come"
        )
    if spent.expected is not None:
        lines.append(
            f"  forecast  {_money(spent.expected, budget):>18} {budget.currency}, between {_money(spent.cheapest, budget)} and "
            f"{_money(spent.dearest, budget)} (each day to come like the cheapest, the dearest of its weekday's last four)"
        )
    if spent.missing:
        lines.append(f"  {spent.missing} days of the period are not published; they are forecast, not free")
    if spent.unpriced:
        lines.append(
            f"  {ledger.hours_exact(spent.unpriced, 2)} card-hours have no price in {budget.currency} and are in no sum"
        )
    return lines


def _money(atoms: Fraction | None, budget: Budget) -> str | None:
    if atoms is None:
        return None
    digits = ledger.minor_units(budget.currency)
    whole = ledger.half_up(atoms.numerator * 10**digits, atoms.denominator * ledger.ATOMS_PER_UNIT)
    return str(Decimal(whole).scaleb(-digits))
