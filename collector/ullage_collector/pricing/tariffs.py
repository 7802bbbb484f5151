"""What a kilowatt-hour costs at each minute of a day, and the PUE it is multiplied by. Pure.

A tariff may hold only at some hours and weekdays of a zone. Every minute of the UTC day is looked up at the local time it
has, so a day of 23 or 25 hours needs no rule of its own. The most specific tariff wins: one of the cluster, then of weekdays,
then of hours; then the one valid from later, then the larger tariff_id. No tariff is an answer: energy without a price.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from fractions import Fraction
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo

from ullage_collector.ledger import minor_units
from ullage_collector.pricing.exchange import Exchange, Rate
from ullage_collector.pricing.terms import rounded_micro
from ullage_contract.errors import BadInput, LedgerError

MINUTE_US: Final = 60_000_000
WEEK: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_HOURS: Final = re.compile(r"([01]\d|2[0-4]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Tariff:
    """tariff_micro: micro-units of the currency per kWh. cluster: glob, None: every. hours: ``23:00-07:00``, local to ``zone``; None:
    all day. weekdays: digits, 1 Monday; None: every day. *_us: microseconds; None: open. Raises LedgerError for what is none."""

    tariff_id: int
    cluster: str | None
    currency: str
    tariff_micro: int
    zone: str
    hours: str | None
    weekdays: str | None
    valid_from_us: int = 0
    valid_to_us: int | None = None

    def __post_init__(self) -> None:
        minor_units(self.currency)
        try:
            hours_of(self.hours)
            _zone(self.zone)
        except (BadInput, KeyError, ValueError, OSError) as e:
            raise LedgerError(f"tariff {self.tariff_id}: {e}") from e


@dataclass(frozen=True, slots=True)
class Pue:
    """pue_milli: thousandths. cluster: glob, None: every."""

    pue_id: int
    cluster: str | None
    pue_milli: int
    valid_from_us: int = 0
    valid_to_us: int | None = None


@dataclass(frozen=True, slots=True)
class Charge:
    """What energy costs over [from_us, to_us). tariff_micro None: no tariff is known. pue_id None: none is known, 1 is taken."""

    from_us: int
    to_us: int
    tariff_id: int | None
    tariff_micro: int | None
    currency: str | None
    rate_id: int | None
    pue_id: int | None
    pue_milli: int


def hours_of(text: str | None) -> tuple[int, int] | None:
    """``23:00-07:00`` as minutes of the local day, [from, to), over midnight where to is not after from. Raises BadInput."""
    if text is None:
        return None
    match = _HOURS.fullmatch(text.replace(" ", ""))
    if match is None:
        raise BadInput(f"hours {text[:20]!r}: write e.g. 08:00-22:00, or 23:00-07:00 over midnight")
    first, last = int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])
    if first == last or max(first, last) > 1440:
        raise BadInput(f"hours {text[:20]!r} are none or more than a day")
    return first, last


def charges(
    cluster: str, from_us: int, to_us: int, tariffs: Iterable[Tariff], pues: Iterable[Pue], exchange: Exchange
) -> list[Charge]:
    """What energy costs in a cluster over [from_us, to_us), cut where that changes. Both are whole minutes."""
    own = sorted((t for t in tariffs if _of(t.cluster, cluster)), key=_rank)
    factors = sorted(
        (p for p in pues if _of(p.cluster, cluster)),
        key=lambda p: (p.cluster is None, -p.valid_from_us, -p.pue_id),
    )
    rates: dict[str, list[tuple[int, int, Rate | None]]] = {
        currency: [(c.from_us, c.to_us, c.rate) for c in exchange.spans(currency, from_us, to_us)]
        for currency in {t.currency for t in own}
    }
    found: list[Charge] = []
    for at in range(from_us, to_us, MINUTE_US):
        tariff = next((t for t in own if _valid(t, at) and _rings(t, at)), None)
        pue = next((p for p in factors if _valid(p, at)), None)
        rate = None
        if tariff is not None:
            rate = next((r for a, b, r in rates[tariff.currency] if a <= at < b), None)
        now = (
            tariff.tariff_id if tariff else None,
            _micro(tariff, rate) if tariff else None,
            (rate.to if rate else tariff.currency) if tariff else None,
            rate.rate_id if rate else None,
            pue.pue_id if pue else None,
            pue.pue_milli if pue else 1000,
        )
        if found and _what(found[-1]) == now:
            found[-1] = Charge(found[-1].from_us, at + MINUTE_US, *now)
        else:
            found.append(Charge(at, at + MINUTE_US, *now))
    return found


def _what(charge: Charge) -> tuple[int | None, int | None, str | None, int | None, int | None, int]:
    return (
        charge.tariff_id,
        charge.tariff_micro,
        charge.currency,
        charge.rate_id,
        charge.pue_id,
        charge.pue_milli,
    )


def _micro(tariff: Tariff, rate: Rate | None) -> int:
    return rounded_micro(Fraction(tariff.tariff_micro) * rate.factor) if rate else tariff.tariff_micro


def _rank(tariff: Tariff) -> tuple[bool, bool, bool, int, int]:
    return (
        tariff.cluster is None,
        tariff.weekdays is None,
        tariff.hours is None,
        -tariff.valid_from_us,
        -tariff.tariff_id,
    )


def _of(glob: str | None, cluster: str) -> bool:
    return glob is None or fnmatchcase(cluster, glob)


def _valid(row: Tariff | Pue, at_us: int) -> bool:
    return row.valid_from_us <= at_us and (row.valid_to_us is None or at_us < row.valid_to_us)


def _rings(tariff: Tariff, at_us: int) -> bool:
    """Whether its hours and weekdays hold. Hours over midnight belong to the weekday on which they begin."""
    if tariff.hours is None and tariff.weekdays is None:
        return True
    weekday, minute = _local(tariff.zone, at_us)
    span = hours_of(tariff.hours)
    if span is not None:
        first, last = span
        if first < last:
            if not first <= minute < last:
                return False
        elif minute < last:
            weekday = (weekday + 5) % 7 + 1
        elif minute < first:
            return False
    return tariff.weekdays is None or str(weekday) in tariff.weekdays


@cache
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _local(zone: str, at_us: int) -> tuple[int, int]:
    local = (_EPOCH + timedelta(microseconds=at_us)).astimezone(_zone(zone))
    return local.isoweekday(), local.hour * 60 + local.minute
