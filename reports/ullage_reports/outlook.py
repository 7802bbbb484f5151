"""A quarter's or year's outlook: how demand went month by month, where it goes, and whether cards are to be bought or shared.

Plain enough for a pencil: of each card model the mean cards owned, held and working in each month, a straight line through the months
held, and the hour in which most were held. What demand would be at its busiest next time is that hour, grown as the line grows. Where that is more
than is owned, cards that are held and do nothing come first, and only what they do not cover is to be bought. Not here: why
demand grows, and what a card costs to buy: cost is what the owned ones cost.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Final

from ullage_collector import ledger
from ullage_reports import period as periods
from ullage_reports.model import Amounts, TrendPoint
from ullage_reports.reading import Reading, instant, us
from ullage_reports.rounding import decimal_ratio

CARD_DIGITS: Final = 1
"""Decimals of a mean of cards. our choice: a tenth of a card is finer than anybody buys."""


class Verdict(StrEnum):
    """enough: what is owned covers the busiest hour expected. share: cards held and idle would cover what is missing. buy: they would not.

    unknown: less than two months are published, there is no line."""

    ENOUGH = "enough"
    SHARE = "share"
    BUY = "buy"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class MonthRow:
    """One local month. days: published ones of ``of`` days. cost, hours: add up to the report's. used_ratio: of known hours."""

    label: str
    days: int
    of: int
    cost: Decimal
    idle_cost: Decimal
    waste_cost: Decimal
    hours: Decimal
    held_ratio: Decimal | None
    used_ratio: Decimal | None


@dataclass(frozen=True, slots=True)
class OutlookRow:
    """One card model, in cards with one decimal. owned, held, working, idle: means of the period; idle: held and doing nothing.

    busiest: most held in one hour. expected: the mean held next time if the line through the months goes on, not below 0; busiest_expected: the
    busiest hour grown alike. missing: of that, beyond what is owned. to_buy: whole cards beyond those held and idle. cost_each: what one owned card
    cost in the period. None: no line, or no price.
    """

    vendor: str
    model: str
    owned: Decimal
    held: Decimal
    working: Decimal
    idle: Decimal
    busiest: Decimal
    monthly_held: tuple[Decimal, ...]
    expected: Decimal | None
    busiest_expected: Decimal | None
    missing: Decimal | None
    to_buy: int | None
    cost_each: Decimal | None
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Outlook:
    """months: in order. models: by cards owned. next_cost: the next period's cost if the line through the months' mean daily cost goes on;
    level_cost: if days stay as in the last month. None: less than two months are published."""

    months: tuple[MonthRow, ...]
    models: tuple[OutlookRow, ...]
    next_cost: Decimal | None
    level_cost: Decimal | None


def outlook(reading: Reading, trend: tuple[TrendPoint, ...]) -> Outlook:
    """The outlook of an open period of several months. trend: its local days, as the statement has them."""
    months = _months(trend)
    daily = _daily(trend)
    whole = len(daily) == len(months) >= 2
    length = len(trend)
    return Outlook(
        months=months,
        models=_models(reading),
        next_cost=_money(_next(daily) * length, reading) if whole else None,
        level_cost=_money(daily[-1] * length, reading) if whole else None,
    )


def _months(trend: tuple[TrendPoint, ...]) -> tuple[MonthRow, ...]:
    points: dict[str, list[TrendPoint]] = defaultdict(list)
    for point in trend:
        points[point.label[:7]].append(point)
    rows = []
    for label, some in sorted(points.items()):
        amounts = [point.amounts for point in some]

        everything = sum((a.hours for a in amounts), Decimal("0.00"))
        rows.append(
            MonthRow(
                label=label,
                days=sum(point.published for point in some),
                of=len(some),
                cost=sum((a.cost for a in amounts), amounts[0].cost * 0),
                idle_cost=sum((a.idle_cost for a in amounts), amounts[0].cost * 0),
                waste_cost=sum((a.waste_cost for a in amounts), amounts[0].cost * 0),
                hours=everything,
                held_ratio=decimal_ratio(_hours(amounts, *ledger.HELD_STATES), everything),
                used_ratio=decimal_ratio(
                    _hours(amounts, ledger.USED), everything - _hours(amounts, ledger.UNKNOWN)
                ),
            )
        )
    return tuple(rows)


def _hours(amounts: list[Amounts], *states: str) -> Decimal:
    return sum((one.state_hours(*states) for one in amounts), Decimal("0.00"))


def _daily(trend: tuple[TrendPoint, ...]) -> list[Fraction]:
    """The mean cost of a published day of each month, in order; shorter than the months where one has none."""
    known: dict[str, list[Fraction]] = defaultdict(list)
    for point in trend:
        if point.published:
            known[point.label[:7]].append(Fraction(point.amounts.cost))
    return [sum(costs, Fraction(0)) / len(costs) for _, costs in sorted(known.items())]


@dataclass(slots=True)
class _Month:
    owned: int = 0
    held: int = 0
    used: int = 0
    idle: int = 0


def _models(reading: Reading) -> tuple[OutlookRow, ...]:
    zone = periods.zone_info(reading.period.zone)
    labels: dict[int, str] = {}
    hours: dict[str, set[int]] = defaultdict(set)
    months: dict[tuple[str, str], dict[str, _Month]] = defaultdict(lambda: defaultdict(_Month))
    busiest: dict[tuple[str, str], int] = defaultdict(int)
    for vendor, model, hour, owned, held, used, idle in reading.rows("model_hours"):
        at = max(int(hour), us(reading.period.start))
        if at not in labels:
            labels[at] = instant(at).astimezone(zone).strftime("%Y-%m")
        hours[labels[at]].add(at)
        month = months[str(vendor), str(model)][labels[at]]
        month.owned += int(owned)
        month.held += int(held)
        month.used += int(used)
        month.idle += int(idle)
        busiest[str(vendor), str(model)] = max(busiest[str(vendor), str(model)], int(held))
    every = {(c.vendor, c.model): 0 for c in reading.cells}
    unpriced = {(c.vendor, c.model) for c in reading.cells if c.unpriced}
    for c in reading.cells:
        every[c.vendor, c.model] += c.atoms
    length = {label: len(found) for label, found in sorted(hours.items())}
    rows = [
        _row(reading, key, months[key], length, busiest[key], None if key in unpriced else atoms)
        for key, atoms in every.items()
    ]
    return tuple(sorted(rows, key=lambda row: (-row.owned, row.vendor, row.model)))


def _row(
    reading: Reading,
    key: tuple[str, str],
    months: dict[str, _Month],
    length: dict[str, int],
    busiest: int,
    atoms: int | None,
) -> OutlookRow:
    hour = ledger.QUANTITY_PER_CARD_HOUR
    every = Fraction(sum(length.values()) * hour)
    owned, held, used, idle = (
        sum(getattr(month, name) for month in months.values()) / every
        for name in ("owned", "held", "used", "idle")
    )
    monthly = [Fraction(months[label].held, count * hour) for label, count in length.items()]
    most = Fraction(busiest, hour)
    expected = max(_next(monthly), Fraction(0)) if len(monthly) >= 2 else None
    grown = None if expected is None else max(most * expected / held, expected) if held else Fraction(0)
    missing = None if grown is None else max(grown - owned, Fraction(0))
    to_buy = None if missing is None else max(-((idle - missing) // 1), 0)
    verdict = Verdict.UNKNOWN
    if missing is not None:
        verdict = Verdict.BUY if to_buy else Verdict.SHARE if missing else Verdict.ENOUGH
    return OutlookRow(
        vendor=key[0],
        model=key[1],
        owned=_cards(owned),
        held=_cards(held),
        working=_cards(used),
        idle=_cards(idle),
        busiest=_cards(most),
        monthly_held=tuple(map(_cards, monthly)),
        expected=None if expected is None else _cards(expected),
        busiest_expected=None if grown is None else _cards(grown),
        missing=None if missing is None else _cards(missing),
        to_buy=to_buy,
        cost_each=_money(Fraction(atoms, ledger.ATOMS_PER_UNIT) / owned, reading)
        if atoms is not None and owned
        else None,
        verdict=verdict,
    )


def _next(values: list[Fraction]) -> Fraction:
    """The mean of the next as many values, on the straight line of least squares through these."""
    count = len(values)
    middle = Fraction(count - 1, 2)
    mean = sum(values, Fraction(0)) / count
    squares = sum(((n - middle) ** 2 for n in range(count)), Fraction(0))
    slope = sum(((n - middle) * value for n, value in enumerate(values)), Fraction(0)) / squares
    return mean + slope * count


def _cards(value: Fraction) -> Decimal:
    return Decimal(ledger.half_up(value.numerator * 10**CARD_DIGITS, value.denominator)).scaleb(-CARD_DIGITS)


def _money(value: Fraction, reading: Reading) -> Decimal:
    digits = ledger.minor_units(reading.currency)
    return Decimal(ledger.half_up(value.numerator * 10**digits, value.denominator)).scaleb(-digits)
