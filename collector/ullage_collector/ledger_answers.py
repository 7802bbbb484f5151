"""The ledger's sums over the API: exact money of published days, by whatever a reader asks for.

Days are local days of the zone that is asked for, cut at its midnights as a report cuts them, so that the same period
has the same money in both. What is rounded is rounded once, top down: the lines of a currency add up to its total.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from starlette.requests import Request

from ullage_collector import api
from ullage_collector.ledger import (
    apportion,
    half_up,
    hours_exact,
    minor_atoms,
    minor_decimal,
    minor_units,
)
from ullage_contract.errors import BadInput

COLUMNS: Final = {
    "day": "day",
    "department": "department_id",
    "business": "business",
    "scenario": "scenario",
    "state": "state",
    "vendor": "vendor",
    "model": "model",
    "pool": "pool",
    "cluster": "cluster_id",
}
"""What lines can be told apart by, and the key each has in a line."""
MOST_DAYS: Final = 400  # our choice: because a year and a month compare one year with the last


def answer(views: api.Views, request: Request) -> dict[str, Any]:
    """Sums of [from, to), local days of ``zone``; a department's token sees its own lines alone.

    Raises BadInput for a word that is none of COLUMNS, a day or zone nobody knows, and too many days.
    """
    identity = api.identity_of(request)
    zone = _zone(request.query_params.get("zone", "UTC"))
    today = datetime.fromtimestamp(views.clock.wall(), UTC).astimezone(zone).date()
    to = api.day_of(request, "to", today + timedelta(days=1))
    start = api.day_of(request, "from", to - timedelta(days=7))
    if not timedelta(0) < to - start <= timedelta(days=MOST_DAYS):
        raise BadInput(f"from {start} to {to}: give 1 to {MOST_DAYS} days; `to` is the first day not wanted")
    by = request.query_params.get("by", "day,department,state").split(",")
    if any(word not in COLUMNS for word in by):
        raise BadInput(f"by: give any of {', '.join(COLUMNS)}, separated by commas")
    days = [start + timedelta(days=n) for n in range((to - start).days + 1)]
    cuts = [_midnight_us(day, zone) for day in days]
    asked = {
        "cuts": cuts,
        "first": _utc_day(cuts[0]),
        "last": _utc_day(cuts[-1] - 1),
        "lapse": cuts[-1],
    }
    sums: dict[str, dict[tuple[str, ...], list[int]]] = {}
    for row in api.select(views, "console", "ledger", asked):
        if not identity.sees_department(row["department_id"]):
            continue
        row["day"] = days[cuts.index(row["begins"])].isoformat()
        key = tuple(row[COLUMNS[word]] or "" for word in by)
        total = sums.setdefault(row["currency"] or "", {}).setdefault(key, [0, 0, 0])
        for place, column in enumerate(("quantity", "cost_atoms", "unpriced")):
            total[place] += int(row[column] or 0)
    lines, totals = [], []
    for currency, amounts in sorted(sums.items()):
        found, total_line = _rounded(amounts, currency)
        lines += [
            {**{COLUMNS[word]: part or None for word, part in zip(by, key, strict=True)}, **line}
            for key, line in found
        ]
        totals.append(total_line)
    return {
        "schema_version": api.SCHEMA_VERSION,
        "from": start,
        "to": to,
        "zone": zone.key,
        "lines": lines,
        "totals": totals,
    }


def _rounded(
    amounts: dict[tuple[str, ...], list[int]], currency: str
) -> tuple[list[tuple[tuple[str, ...], dict[str, Any]]], dict[str, Any]]:
    """A currency's lines and their total, rounded to minor units that add up. currency "": no price, so no cost."""
    order = sorted(amounts)
    cost: dict[tuple[str, ...], Decimal | None] = dict.fromkeys(order, None)
    whole: Decimal | None = None
    if currency:
        digits, unit = minor_units(currency), minor_atoms(currency)
        minor = half_up(sum(amounts[key][1] for key in order), unit)
        parts = apportion(minor, {key: amounts[key][1] for key in order}, unit)
        cost = {key: minor_decimal(parts[key], digits) for key in order}
        whole = minor_decimal(minor, digits)
    total = [sum(amounts[key][place] for key in order) for place in range(3)]
    return [(key, _line(amounts[key], cost[key], currency)) for key in order], _line(total, whole, currency)


def _line(sums: Sequence[int], cost: Decimal | None, currency: str) -> dict[str, Any]:
    quantity, atoms, unpriced = sums
    return {
        "currency": currency or None,
        "card_hours": hours_exact(quantity),
        "cost": cost,
        "cost_atoms": str(atoms) if currency else None,
        "unpriced_card_hours": hours_exact(unpriced),
    }


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise BadInput(f"zone {name[:40]!r} is not known; write an IANA zone, e.g. Asia/Shanghai") from None


def _midnight_us(day: date, zone: ZoneInfo) -> int:
    return int(datetime.combine(day, time(), zone).timestamp()) * 1_000_000


def _utc_day(instant_us: int) -> date:
    return datetime.fromtimestamp(instant_us // 1_000_000, UTC).date()
