"""``ullage-report budget``: each budget of a file in a month or quarter, as a table for people or as JSON.

Exit code 3 where one is exceeded or will be for certain, where days or prices are missing, or where what it names is nobody's.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import date, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from ullage_collector import ledger
from ullage_collector.published import Published
from ullage_contract.clock import Clock
from ullage_contract.plain import plain
from ullage_reports.bill import kwh
from ullage_reports.budget import Spent, Standing
from ullage_reports.budget_reading import last_whole, stand
from ullage_reports.budget_settings import Budget, read
from ullage_reports.budgets import OVER, money, unmatched
from ullage_reports.cost_policy import DEFAULT, CostPolicy
from ullage_reports.period import Period, zone_info

SCHEMA_VERSION: Final = 1
"""Of the JSON form."""
WORDS: Final = {
    Standing.ON_TRACK: "on track",
    Standing.AT_RISK: "at risk: only a dear course exceeds it",
    Standing.LIKELY: "likely to be exceeded",
    Standing.CERTAIN: "will be exceeded even by the cheapest course",
    Standing.EXCEEDED: "exceeded",
    Standing.UNKNOWN: "too little is known for a forecast",
}
NOBODY: Final = "nobody is known whom it names"


def run(
    published: Published,
    file: Path,
    *,
    clock: Clock,
    at: date | None,
    zone: str,
    as_json: bool,
    verify: bool = True,
    policies: Sequence[CostPolicy] = DEFAULT,
    fiscal_start: int = 1,
) -> bool:
    """Print every budget of the file in its period that holds ``at`` (None: the last day that is published whole); whether all is well.

    clock: for where nothing is published yet. policies: by which cost is shared out. fiscal_start: month that quarters are counted
    from. Raises ConfigError for a wrong file or zone.
    """
    budgets = read(file)
    days = published.days()
    now = datetime.fromtimestamp(clock.wall(), zone_info(zone)).date()
    found = [
        stand(
            published,
            budget,
            at or last_whole(published, zone) or now,
            zone,
            verify=verify,
            policies=policies,
            fiscal_start=fiscal_start,
            passed=days[-1] if days else None,
        )
        for budget in budgets
    ]
    if not days:
        _tell(f"{published.root}: no day is published, so nothing is known; publish some days first")
    for _, spent in found:
        for said in unmatched(spent):
            _tell(said)
    if as_json:
        told = {"schema_version": SCHEMA_VERSION, "zone": zone, "budgets": [to_json(*one) for one in found]}
        sys.stdout.write(json.dumps(told, ensure_ascii=False, indent=1) + "\n")
    else:
        sys.stdout.write("\n\n".join("\n".join(page(*one)) for one in found) + "\n")
    return bool(days) and not any(
        spent.standing in OVER or spent.unpriced or spent.unpriced_energy or spent.missing or spent.unmatched
        for _, spent in found
    )


def to_json(period: Period, spent: Spent) -> dict[str, Any]:
    """One budget; money as texts in its currency's smallest unit, None: not known."""
    budget, known = spent.budget, _known(spent)
    return {
        "name": budget.name,
        "departments": list(budget.departments),
        "scenarios": list(budget.scenarios),
        "period": period.label,
        "currency": budget.currency,
        "amount": _money(Fraction(budget.atoms), budget),
        "spent": _money(Fraction(spent.spent), budget) if known else None,
        "used_ratio": f"{float(spent.used_ratio):.6f}" if known and spent.used_ratio is not None else None,
        "a_day": None if spent.counts_nothing else _money(spent.a_day, budget),
        "forecast": {
            name: None if spent.counts_nothing else _money(atoms, budget)
            for name, atoms in (
                ("cheapest", spent.cheapest),
                ("expected", spent.expected),
                ("dearest", spent.dearest),
            )
        },
        "runs_out": None if spent.runs_out is None else spent.runs_out.isoformat(),
        "days": {"known": spent.known, "missing": spent.missing, "ahead": spent.ahead},
        "unpriced_card_hours": str(ledger.hours_exact(spent.unpriced, 6)),
        "unpriced_kwh": str(kwh(spent.unpriced_energy)),
        "standing": (Standing.UNKNOWN if spent.counts_nothing else spent.standing).value,
        "unmatched": [{"key": key, "glob": glob} for key, glob in spent.unmatched],
    }


def page(period: Period, spent: Spent) -> list[str]:
    """One budget in sentences."""
    budget = spent.budget
    amount = _money(Fraction(budget.atoms), budget)
    lines = [
        f"{plain(budget.name)}  {period.label}: {NOBODY if spent.counts_nothing else WORDS[spent.standing]}"
    ]
    if _known(spent):
        used = "" if spent.used_ratio is None else f", {float(spent.used_ratio):.1%}"
        lines.append(
            f"  spent     {_money(Fraction(spent.spent), budget):>18} {budget.currency} of {amount}{used}"
        )
    else:
        why = NOBODY if spent.counts_nothing else "no day of the period is published whole"
        lines.append(f"  spent     {'not known':>18}, of {amount} {budget.currency}: {why}")
    if spent.a_day is not None and not spent.counts_nothing:
        lines.append(
            f"  a day     {_money(spent.a_day, budget):>18} {budget.currency} over {spent.known} known days, {spent.ahead} to come"
        )
    if spent.expected is not None and not spent.counts_nothing:
        lines.append(
            f"  forecast  {_money(spent.expected, budget):>18} {budget.currency}, between {_money(spent.cheapest, budget)} and "
            f"{_money(spent.dearest, budget)} (each day to come like the cheapest, the dearest of its weekday's last four)"
        )
    if spent.runs_out is not None:
        lines.append(f"  spent by  {spent.runs_out.isoformat():>18} as days are expected")
    if spent.missing:
        taken = "what they cost is not known" if spent.expected is None else "they are forecast, not free"
        lines.append(f"  {spent.missing} days of the period are not published; {taken}")
    lines += [
        f"  {key} {plain(glob)!r}: there is none; nothing of it is counted" for key, glob in spent.unmatched
    ]
    if spent.unpriced:
        lines.append(
            f"  {ledger.hours_exact(spent.unpriced, 2)} card-hours have no price in {budget.currency} and are in no sum"
        )
    if spent.unpriced_energy:
        lines.append(
            f"  {kwh(spent.unpriced_energy)} kWh have no tariff in {budget.currency} and are in no sum"
        )
    return lines


def _known(spent: Spent) -> bool:
    """Whether what is spent is known, and of somebody."""
    return spent.known > 0 and not spent.counts_nothing


def _tell(text: str) -> None:
    sys.stderr.write(f"ullage-report: {text}\n")


def _money(atoms: Fraction | None, budget: Budget) -> str | None:
    return None if atoms is None else str(money(atoms, budget.currency))
