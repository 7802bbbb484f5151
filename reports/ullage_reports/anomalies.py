"""Unusual days of departments, scenarios and models, in money or card-hours, with what moved; read from published days.

Only days that are published whole are looked at; a day on which some of what it is about has no price is not known in money and is
looked at in hours. One event shows in several series: what a department's anomaly explains of a scenario, a model or the
platform is named beside it (``also``) and is no anomaly of its own. Capacity alone: energy and corrections are in no series.
Not here: what is unusual (anomaly.py), how a difference is taken apart (anomaly_causes.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Final

from ullage_collector import ledger
from ullage_collector.ledger import PLATFORM
from ullage_collector.published import Facts, PeriodClosing, Published
from ullage_contract.errors import LedgerError
from ullage_reports.anomaly import Odd, Run, runs
from ullage_reports.anomaly_causes import Moved, Part, parts, together
from ullage_reports.anomaly_rules import Rules
from ullage_reports.local_days import LocalDays
from ullage_reports.period import midnight, zone_info
from ullage_reports.sql import statements

DEPARTMENT: Final = "department"
SCENARIO: Final = "scenario"
MODEL: Final = "model"
OF: Final = (DEPARTMENT, SCENARIO, MODEL)
MOST: Final = 50
"""our choice: because nobody follows up the fifty-first; they are the largest."""
ALIKE: Final = (1, 2)
"""An anomaly is another's too when it is at least this part of it, and at most the inverse. our choice: half to double."""


@dataclass(frozen=True, slots=True)
class CauseRow:
    """One part of an anomaly. kind: anomaly_causes.KINDS. amount: money or card-hours, two decimals or the currency's."""

    kind: str
    name: str
    department: str
    amount: Decimal
    example: str | None


@dataclass(frozen=True, slots=True)
class AnomalyRow:
    """One anomaly. of: department, scenario or model; subject: its id ("" where none is given), a model as maker/model.

    metric: cost or hours. value, expected: of its days together; difference: value - expected, and exactly what the causes add up
    to as printed. ratio: difference / expected, None where nothing was expected. state: open (it goes on), closed, settled (it went on so
    long that it is the usual). also: other series that show the same.
    """

    of: str
    subject: str
    metric: str
    first: date
    last: date
    days: int
    value: Decimal
    expected: Decimal
    difference: Decimal
    ratio: Decimal | None
    state: str
    causes: tuple[CauseRow, ...]
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Anomalies:
    """first, last: the local days that were judged; known: how many of them are published whole, looked_back: days before them that are.
    judged: whether there are enough days to judge by. rows: the largest first, money before hours."""

    first: date
    last: date
    known: int
    looked_back: int
    judged: bool
    rows: tuple[AnomalyRow, ...]


@dataclass(frozen=True, slots=True)
class _Found:
    """A run of one series. amounts in atoms or nano-share microseconds."""

    of: str
    subject: str
    metric: str
    run: Run


@dataclass(slots=True)
class _Series:
    """One series by local day. unpriced: days on which some of its hours have no price in the currency."""

    atoms: dict[date, int]
    quantity: dict[date, int]
    unpriced: set[date]


def anomalies(
    published: Published,
    first: date,
    last: date,
    zone: str,
    currency: str,
    rules: Rules,
    *,
    verify: bool = True,
    beside: PeriodClosing | None = None,
) -> Anomalies:
    """What was unusual on the local days [first, last], judged by what was published up to then. beside: as published.open has it.

    Raises StoreError for published files that are not what their manifests say, ConfigError for a wrong zone.
    """
    rules = rules.of_zone(zone)
    begins = first - timedelta(days=rules.look_back_days)
    info = zone_info(zone)
    start, end = midnight(begins, info), midnight(last + timedelta(days=1), info)
    with published.open(start, end, verify=verify, beside=beside) as facts:
        days = LocalDays.of(begins, last, zone, facts.missing)
        found = _largest(_runs(_series(facts, days, currency), days, currency, rules, first))
        _keep(facts, days, found, currency)
        rows = [_row(facts, days, one, currency, rules) for one in found]
    return Anomalies(
        first=first,
        last=last,
        known=sum(first <= day for day in days.known),
        looked_back=sum(day < first for day in days.known),
        judged=len(days.known) > rules.least_days,
        rows=tuple(_merged(rows)),
    )


def _series(facts: Facts, days: LocalDays, currency: str) -> Mapping[tuple[str, str], _Series]:
    found: dict[tuple[str, str], _Series] = {}
    for begins, department, scenario, vendor, model, atoms, quantity, unpriced in facts.rows(
        statements("anomalies")["days"], {"cuts": days.cuts, "currency": currency}
    ):
        day = days.day_of(int(begins))
        keys = [(DEPARTMENT, department), (MODEL, f"{vendor}/{model}")]
        if department != PLATFORM:
            keys.append((SCENARIO, scenario))
        for key in keys:
            one = found.setdefault(key, _Series(defaultdict(int), defaultdict(int), set()))
            one.atoms[day] += int(atoms)
            one.quantity[day] += int(quantity)
            if int(unpriced):
                one.unpriced.add(day)
    return found


def _runs(
    series: Mapping[tuple[str, str], _Series], days: LocalDays, currency: str, rules: Rules, first: date
) -> list[_Found]:
    """Runs that reach into the days asked for; of hours only where money says nothing of the same days."""
    least_money = int(rules.least_money * ledger.ATOMS_PER_UNIT)
    least_hours = int(rules.least_hours * ledger.QUANTITY_PER_CARD_HOUR)
    found = []
    for (of, subject), one in sorted(series.items()):
        priced = days.known - one.unpriced
        money = runs(one.atoms, priced, rules, least=least_money, minutes=days.minutes)
        hours = runs(one.quantity, days.known, rules, least=least_hours, minutes=days.minutes)
        told = {odd.day for run in money for odd in run.days}
        hours = [run for run in hours if not told & {odd.day for odd in run.days}]
        hours = [run for run in hours if one.unpriced & {odd.day for odd in run.days}]
        for metric, some in (("cost", money), ("hours", hours)):
            found += [_Found(of, subject, metric, run) for run in some if run.days[-1].day >= first]
    return found


def _largest(found: Sequence[_Found]) -> list[_Found]:
    return sorted(
        found,
        key=lambda one: (one.metric != "cost", -abs(one.run.amount), OF.index(one.of), one.subject),
    )[:MOST]


# ------------------------------------------------------------------------------------------ what moved
def _keep(facts: Facts, days: LocalDays, found: Sequence[_Found], currency: str) -> None:
    """Have the parts of every day that is asked about, and of those they are compared with, in memory."""
    some = {day for one in found for odd in one.run.days for day in (odd.day, odd.usual) if day is not None}
    spans = [days.span(day) for day in sorted(some)]
    if spans:
        facts.connection.execute(
            statements("anomalies")["keep"],
            {"begins": [s[0] for s in spans], "ends": [s[1] for s in spans], "currency": currency},
        )


def _row(facts: Facts, days: LocalDays, found: _Found, currency: str, rules: Rules) -> AnomalyRow:
    moved = together((_moved(facts, days, found, odd) for odd in found.run.days), rules.causes)
    money = found.metric == "cost"
    unit = ledger.minor_atoms(currency) if money else ledger.QUANTITY_PER_CARD_HOUR // 100
    digits = ledger.minor_units(currency) if money else 2
    exact = {place: one.amount for place, one in enumerate(moved)}
    whole = sum(exact.values())
    if whole != found.run.amount:
        raise LedgerError(f"BUG: the parts of an anomaly of {found.of} {found.subject} are not the anomaly")
    difference = ledger.half_up(whole, unit)
    shares = ledger.apportion(difference, exact, unit)
    value = ledger.half_up(sum(odd.value for odd in found.run.days), unit)
    expected = value - difference
    return AnomalyRow(
        of=found.of,
        subject=found.subject,
        metric=found.metric,
        first=found.run.days[0].day,
        last=found.run.days[-1].day,
        days=len(found.run.days),
        value=ledger.minor_decimal(value, digits),
        expected=ledger.minor_decimal(expected, digits),
        difference=ledger.minor_decimal(difference, digits),
        ratio=Decimal(ledger.half_up(difference * 10_000, expected)).scaleb(-4) if expected > 0 else None,
        state="settled" if found.run.settled else "open" if found.run.open else "closed",
        causes=tuple(
            CauseRow(
                one.cause.kind,
                one.cause.name,
                one.cause.department,
                ledger.minor_decimal(shares[place], digits),
                one.example,
            )
            for place, one in enumerate(moved)
        ),
    )


def _moved(facts: Facts, days: LocalDays, found: _Found, odd: Odd) -> list[Moved]:
    of_hours = found.metric == "hours"
    day = _lines(facts, days, found, odd.day, odd.usual)
    other = [] if odd.usual is None else _lines(facts, days, found, odd.usual, odd.day)
    usual = "" if odd.usual is None else odd.usual.isoformat()
    return parts(day, other, odd.expected, of_hours=of_hours, usual=usual)


def _lines(facts: Facts, days: LocalDays, found: _Found, day: date, other: date | None) -> list[Part]:
    asked: dict[str, Any] = {
        "begins": days.span(day)[0],
        "other": None if other is None else days.span(other)[0],
        **{name: found.subject if name == found.of else None for name in OF},
    }
    rows = facts.rows(statements("anomalies")["moved"], asked)
    return [
        Part(
            department=department,
            scenario=scenario,
            vendor=vendor,
            model=model,
            pool=pool,
            state=state,
            work=work,
            price=None if price < 0 else int(price),
            alone=bool(alone),
            incident=None if incident < 0 else int(incident),
            example=example,
            quantity=int(quantity),
            atoms=int(atoms),
        )
        for department, scenario, vendor, model, pool, state, work, price, alone, incident, example, quantity, atoms in rows
    ]


# ------------------------------------------------------------------------------------------ the same event
def _merged(rows: Sequence[AnomalyRow]) -> list[AnomalyRow]:
    """Rows without those that a department's row of the same days explains, else the platform's; it names them."""
    found = _joined(rows, [row for row in rows if row.of == DEPARTMENT and row.subject != PLATFORM])
    found = _joined(found, [row for row in found if row.of == DEPARTMENT and row.subject == PLATFORM])
    return sorted(found, key=lambda r: (r.metric != "cost", -abs(r.difference), r.of, r.subject, r.first))


def _joined(rows: Sequence[AnomalyRow], mains: Sequence[AnomalyRow]) -> list[AnomalyRow]:
    also: dict[int, list[str]] = defaultdict(list)
    kept = []
    for row in rows:
        if row in mains:
            continue
        near = {
            place: abs(abs(row.difference) - abs(main.difference))
            for place, main in enumerate(mains)
            if _same(row, main)
        }
        if near and (row.of != DEPARTMENT or row.subject == PLATFORM):
            also[min(near, key=lambda place: (near[place], place))].append(f"{row.of} {row.subject}")
        else:
            kept.append(row)
    return [*(replace(main, also=(*main.also, *also[place])) for place, main in enumerate(mains)), *kept]


def _same(row: AnomalyRow, main: AnomalyRow) -> bool:
    if row.metric != main.metric or row.first > main.last or main.first > row.last:
        return False
    up, of = (row.difference > 0) == (main.difference > 0), row.of
    if up == (of == DEPARTMENT):  # the platform's free cards go the other way; scenarios and models the same
        return False
    one, other = abs(row.difference), abs(main.difference)
    return one * ALIKE[1] >= other * ALIKE[0] and other * ALIKE[1] >= one * ALIKE[0]
