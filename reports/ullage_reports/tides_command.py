"""``ullage-report tides``: who could lend cards to whom and when, as tables for people or as JSON. A proposal; nothing is moved."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from ullage_collector import ledger
from ullage_collector.published import Published
from ullage_contract.errors import BadInput, ConfigError
from ullage_contract.plain import plain
from ullage_reports.currencies import checked, priced_in, unpriced
from ullage_reports.period import zone_info
from ullage_reports.sql import statements
from ullage_reports.tides import HOURS_A_WEEK, Demand, Hour, Tides, Window, tides
from ullage_reports.tides_settings import WEEKDAYS, Rules, read

SCHEMA_VERSION: Final = 1
"""Of the JSON form."""
BLOCK: Final = 3
"""Hours a column of the printed week."""
GUESSED: Final = frozenset({"inference"})
"""Scenarios whose need is not told by the use of their cards: requests are served by cards that look idle."""


def run(
    published: Published,
    *,
    until: date | None,
    weeks: int | None,
    rules: Path | None,
    zone: str,
    currency: str | None,
    as_json: bool,
    verify: bool = True,
) -> bool:
    """Read the weeks that end with ``until`` (None: the last published day) and print; whether anything is priced in the currency.

    Raises BadInput where nothing or too little is published, ConfigError for a wrong zone, currency or file of rules.
    """
    chosen = read(rules)
    if weeks is not None:
        if not chosen.least_weeks <= weeks <= 53:
            raise ConfigError(f"--weeks {weeks}: write a number from {chosen.least_weeks} to 53")
        chosen = replace(chosen, weeks=weeks)
    days = published.days()
    last = until or (days[-1] if days else None)
    if last is None:
        raise BadInput(f"{published.root}: no day is published; publish some weeks first")
    info = zone_info(zone)
    end = datetime.combine(last + timedelta(days=1), time(), UTC)
    start = end - timedelta(weeks=chosen.weeks)
    with published.open(start, end, verify=verify) as facts:
        there = priced_in(facts)
        money = checked(currency) if currency else _only(there)
        rows = [
            Hour(pool, scenario, int(hour), int(held), int(needed), int(atoms), int(priced))
            for pool, scenario, hour, held, needed, atoms, priced in facts.rows(
                statements("tides")["hours"], {"currency": money}
            )
        ]
        told = [int(row[0]) for row in facts.rows(statements("tides")["told"])]
    seen = len(told) / HOURS_A_WEEK
    if seen < chosen.least_weeks:
        raise BadInput(
            f"{start:%Y-%m-%d} to {last}: {seen:.1f} weeks are published, a rhythm needs {chosen.least_weeks}; publish more days"
        )
    found = tides(rows, told, info, chosen)
    if as_json:
        sys.stdout.write(
            json.dumps(to_json(found, start, last, zone, money, chosen), ensure_ascii=False, indent=1) + "\n"
        )
    else:
        sys.stdout.write("\n".join(page(found, start, last, zone, money)) + "\n")
    said = unpriced(money, there)
    if said is not None:
        sys.stderr.write(f"ullage-report: {said}\n")
    return said is None


def _only(there: Sequence[str]) -> str:
    """The one the weeks are priced in; XXX where nothing is."""
    if len(there) > 1:
        raise ConfigError(f"prices of these weeks are in {', '.join(there[:5])}; choose one with --currency")
    return there[0] if there else "XXX"


def to_json(
    found: Tides, start: datetime, last: date, zone: str, currency: str, rules: Rules
) -> dict[str, Any]:
    """Everything; cards and money as texts."""
    return {
        "schema_version": SCHEMA_VERSION,
        "from": f"{start:%Y-%m-%d}",
        "to": str(last),
        "zone": zone,
        "currency": currency,
        "reserve": {"ratio": str(float(rules.reserve_ratio)), "least_cards": rules.reserve_cards},
        "loans": [
            {
                "pool": one.pool,
                "loan": one.loan.name,
                "lender": one.loan.lender,
                "borrower": one.loan.borrower,
                "weekday": WEEKDAYS[one.weekday],
                "from": f"{one.loan.from_hour:02d}:00",
                "to": f"{one.loan.to_hour:02d}:00",
                "back_by": _back(one),
                "cards": one.cards,
                "weeks": one.weeks,
                "held_least": _cards(one.held),
                "needed_most": _cards(one.needed),
                "short_ratio": _cards(one.short_ratio),
                "short_cards": _cards(one.short_cards),
                "worth_a_week": _money(one.atoms_a_week, currency),
                "need_is_a_guess": one.loan.lender in GUESSED,
            }
            for one in found.windows
        ],
        "demand": [
            {
                "pool": one.pool,
                "scenario": one.scenario,
                "held": [None if cards is None else _cards(cards) for cards in one.held],
                "needed": [None if cards is None else _cards(cards) for cards in one.needed],
            }
            for one in found.demands
        ],
    }


def page(found: Tides, start: datetime, last: date, zone: str, currency: str) -> list[str]:
    """The loans that would give a card, then how demand goes through the week."""
    lines = [f"Tides from {start:%Y-%m-%d} to {last}, hours of {zone}. A proposal: nothing is moved.", ""]
    worth = [one for one in found.windows if one.cards]
    if worth:
        lines.append(
            f"{'pool':16}{'loan':40}{'day':5}{'from':>6}{'to':>7}{'back by':>9}{'cards':>7}{'needed':>8}{'held':>7}"
            f"{'short in':>14}{'worth a week':>16}"
        )
        lines += [_loan(one, currency) for one in worth]
        if any(one.loan.lender in GUESSED for one in worth):
            lines.append(
                "What inference needs is told by its cards' work alone here; requests are not known: ask its owner first."
            )
    else:
        lines.append(
            "No scenario held cards through one of the windows that it did not need: nothing to lend."
        )
    lines += ["", "Cards needed (mean of the weeks), in blocks of three hours from 00:00"]
    for one in found.demands:
        for name, some in (("mon-fri", range(5)), ("sat-sun", range(5, 7))):
            lines.append(
                f"{plain(one.pool or '(no pool)')[:24]:26}{plain(one.scenario)[:14]:16}{name:10}{_blocks(one, some)}"
            )
    return lines


def _loan(one: Window, currency: str) -> str:
    loan = one.loan
    return (
        f"{plain(one.pool or '(no pool)')[:14]:16}{plain(f'{loan.name}: {loan.lender} to {loan.borrower}')[:38]:40}"
        f"{WEEKDAYS[one.weekday]:5}{loan.from_hour:>4}:00{loan.to_hour:>4}:00{_back(one):>9}{one.cards:>7}"
        f"{float(one.needed):>8.1f}{float(one.held):>7.1f}{f'{int(one.short_ratio * one.weeks)} of {one.weeks} weeks':>14}"
        f"{_money(one.atoms_a_week, currency) or 'no price':>16}"
    )


def _back(one: Window) -> str:
    minutes = (one.loan.to_hour * 60 - round(one.loan.back_hours * 60)) % 1440
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def _blocks(one: Demand, weekdays: Sequence[int]) -> str:
    texts = []
    for begin in range(0, 24, BLOCK):
        some = [
            cards
            for weekday in weekdays
            for hour in range(begin, begin + BLOCK)
            if (cards := one.needed[weekday * 24 + hour]) is not None
        ]
        texts.append(f"{float(sum(some, Fraction(0)) / len(some)):>8.1f}" if some else f"{'-':>8}")
    return "".join(texts)


def _cards(value: Fraction) -> str:
    """To six decimals: thousandths of a second of a card in an hour."""
    return str(Decimal(ledger.half_up(value.numerator * 10**6, value.denominator)).scaleb(-6))


def _money(atoms: int | None, currency: str) -> str | None:
    if atoms is None:
        return None
    digits = ledger.minor_units(currency)
    return str(Decimal(ledger.half_up(atoms * 10**digits, ledger.ATOMS_PER_UNIT)).scaleb(-digits))
