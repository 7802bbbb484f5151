"""A period over its local days and hours: the trend, and the week's pattern."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from math import gcd

from ullage_collector import ledger
from ullage_reports import period as periods
from ullage_reports.model import HeatCell, TrendPoint
from ullage_reports.period import Period, PeriodKind
from ullage_reports.reading import DAY_US, Reading, day_us, instant, us
from ullage_reports.rounding import Sums, hours_decimal, ratio

Slots = list[tuple[int, str, int, int, int]]


def slots_of(reading: Reading) -> Slots:
    """(start, state, quantity, atoms, unpriced) by slots that no local hour's edge cuts; start in microseconds."""
    step = _step_us(reading.period)
    if step == ledger.HOUR_US:
        rows = reading.rows("hours", {"currency": reading.currency})
    else:
        rows = reading.rows("slots", {"currency": reading.currency, "step": step})
    return [(int(r[0]), str(r[1]), int(r[2]), int(r[3]), int(r[4])) for r in rows]


def _step_us(period: Period) -> int:
    """The longest slot that begins at every local hour of the period: an hour in most zones, 30 or 15 min in some."""
    step = ledger.HOUR_US
    for _, start, end in period.days():
        for edge in (start, end):
            step = gcd(step, us(edge) % ledger.HOUR_US)
    info = periods.zone_info(period.zone)
    for moment in (period.start, period.end - timedelta(microseconds=1)):
        offset = moment.astimezone(info).utcoffset() or timedelta()
        step = gcd(step, offset // timedelta(microseconds=1) % ledger.HOUR_US)
    return step


def trend(reading: Reading, slots: Slots) -> tuple[TrendPoint, ...]:
    """Local days, or the local hours of a daily report; they add up to the total. slots: of the same reading."""
    edges = _edges(reading.period)
    if not edges:
        return ()
    sums: list[Sums] = [Sums() for _ in edges]
    starts = [us(start) for start, _ in edges]
    at = 0
    for slot, state, quantity, atoms, unpriced in sorted(slots):
        slot = max(slot, starts[0])
        while at + 1 < len(starts) and starts[at + 1] <= slot:
            at += 1
        sums[at].add(state, quantity, atoms, unpriced)
    rounded = reading.rounding.table({f"{n:05d}": s for n, s in enumerate(sums)})
    ends = [*starts[1:], us(reading.period.end)]
    missing = [(day_us(day), day_us(day) + DAY_US) for day in reading.facts.missing]
    return tuple(
        TrendPoint(
            start=start,
            label=label,
            published=not any(a < ends[n] and starts[n] < b for a, b in missing),
            amounts=rounded[f"{n:05d}"],
        )
        for n, (start, label) in enumerate(edges)
    )


def _edges(period: Period) -> list[tuple[datetime, str]]:
    """Starts and labels of the trend's points: local days, or local hours of a daily report."""
    if period.kind is not PeriodKind.DAILY:
        return [(start, day.isoformat()) for day, start, end in period.days() if start < end]
    info = periods.zone_info(period.zone)
    edges = []
    at = period.start
    while at < period.end:
        local = at.astimezone(info)
        edges.append((at, local.strftime("%H:%M")))
        at += timedelta(hours=1) - timedelta(minutes=local.minute, seconds=local.second)
    return edges


def heat(reading: Reading, slots: Slots) -> tuple[HeatCell, ...]:
    """How much was held and used by local weekday and hour. slots: of the same reading."""
    info = periods.zone_info(reading.period.zone)
    sums: dict[tuple[int, int], Sums] = defaultdict(Sums)
    local: dict[int, tuple[int, int]] = {}
    for slot, state, quantity, atoms, unpriced in slots:
        if slot not in local:
            when = instant(max(slot, us(reading.period.start))).astimezone(info)
            local[slot] = (when.isoweekday(), when.hour)
        sums[local[slot]].add(state, quantity, atoms, unpriced)
    cells = []
    for (weekday, hour), s in sorted(sums.items()):
        held = sum(s.quantity[state] for state in ledger.HELD_STATES)
        known = s.all_quantity - s.quantity[ledger.UNKNOWN]
        cells.append(
            HeatCell(
                weekday=weekday,
                hour=hour,
                used_ratio=ratio(s.quantity[ledger.USED], known),
                held_ratio=ratio(held, s.all_quantity),
                hours=hours_decimal(s.all_quantity),
            )
        )
    return tuple(cells)
