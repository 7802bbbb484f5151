"""What a price book says beside prices: exchange rates, tariffs, PUE, and what money is told in. Entries become rows.

Not here: prices (prices.py), and when a file's entries are believed (money.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from zoneinfo import ZoneInfo

import pyarrow as pa

from ullage_collector.imports.money import DATED, DATES, DatedTable, dates_of, micro_of, only, text_of
from ullage_collector.ledger import NANO, minor_units
from ullage_collector.pricing.exchange import GAPS
from ullage_collector.pricing.tariffs import WEEK, hours_of
from ullage_collector.pricing.terms import decimal_fraction
from ullage_contract.errors import BadInput

RATE: Final = DatedTable(
    "exchange_rate",
    {
        "from_currency": pa.string(),
        "to_currency": pa.string(),
        "rate_nano": pa.int64(),
        **DATES,
        "source": pa.string(),
    },
    "rate_id",
    True,
)
TARIFF: Final = DatedTable(
    "tariff",
    {
        "cluster": pa.string(),
        "currency": pa.string(),
        "tariff_micro": pa.int64(),
        "zone": pa.string(),
        "hours": pa.string(),
        "weekdays": pa.string(),
        **DATES,
        "source": pa.string(),
    },
    "tariff_id",
    True,
)
PUE: Final = DatedTable(
    "pue", {"cluster": pa.string(), "pue_milli": pa.int64(), **DATES, "source": pa.string()}, "pue_id", True
)
POLICY: Final = DatedTable(
    "money_policy",
    {"currency": pa.string(), "gap_energy": pa.string(), **DATES, "source": pa.string()},
    "policy_id",
    True,
)


def rate_rows(entry: Mapping[str, Any], source: str) -> list[tuple[Any, ...]]:
    """An entry as a row of table ``exchange_rate``, its columns in order without number and known times. Raises BadInput, ConfigError, LedgerError."""
    only(entry, "currency", "to", "rate", "valid_from", "valid_to", "from")
    # As finance writes it: from and to are currencies here, so the dates are valid_from and valid_to.
    currency = text_of(entry, "from") or text_of(entry, "currency") or ""
    target = text_of(entry, "to") or ""
    minor_units(currency)
    minor_units(target)
    if currency == target:
        raise BadInput(f"from {currency} to itself")
    factor = decimal_fraction(entry.get("rate", ""), "rate") * NANO
    if factor.denominator != 1 or not 0 < factor < 2**63:
        raise BadInput(f"rate {str(entry.get('rate'))[:40]!r}: above 0, at most nine digits behind the point")
    starts, ends = dates_of({k: v for k, v in entry.items() if k.startswith("valid_")})
    return [(currency, target, int(factor), starts, ends, source)]


def tariff_rows(entry: Mapping[str, Any], source: str) -> list[tuple[Any, ...]]:
    """An entry as a row of table ``tariff``, its columns in order without number and known times. Raises BadInput, ConfigError, LedgerError."""
    only(entry, "cluster", "currency", "per_kwh", "zone", "hours", "weekdays", *DATED)
    currency = text_of(entry, "currency") or ""
    minor_units(currency)
    if entry.get("per_kwh") in (None, ""):
        raise BadInput('no tariff: write per_kwh = "0.65"')
    hours, weekdays, zone = (text_of(entry, name) for name in ("hours", "weekdays", "zone"))
    if zone is None and (hours or weekdays):
        raise BadInput("hours and weekdays need their zone, e.g. Asia/Shanghai")
    try:
        ZoneInfo(zone or "UTC")
    except (KeyError, ValueError, OSError):
        raise BadInput(f"zone {str(zone)[:40]!r} is no IANA name, e.g. Asia/Shanghai") from None
    hours_of(hours)
    starts, ends = dates_of(entry)
    micro = micro_of(entry["per_kwh"], "per_kwh")
    return [
        (
            text_of(entry, "cluster"),
            currency,
            micro,
            zone or "UTC",
            hours,
            _weekdays(weekdays),
            starts,
            ends,
            source,
        )
    ]


def _weekdays(text: str | None) -> str | None:
    """``mon-fri`` or ``sat,sun`` as digits, 1 Monday to 7 Sunday. Raises BadInput."""
    if text is None:
        return None
    found: set[int] = set()
    for part in text.lower().split(","):
        first, dash, last = (word.strip() for word in part.partition("-"))
        if first not in WEEK or (dash and last not in WEEK):
            raise BadInput(f"weekdays {text[:40]!r}: write e.g. mon-fri or sat,sun")
        a, b = WEEK.index(first), WEEK.index(last or first)
        found |= {n % 7 + 1 for n in range(a, (b if b >= a else b + 7) + 1)}
    return "".join(str(n) for n in sorted(found))


def pue_rows(entry: Mapping[str, Any], source: str) -> list[tuple[Any, ...]]:
    """An entry as a row of table ``pue``, its columns in order without number and known times. Raises BadInput, ConfigError, LedgerError."""
    only(entry, "cluster", "pue", *DATED)
    milli = decimal_fraction(entry.get("pue", ""), "pue") * 1000
    if milli.denominator != 1 or not 1000 <= milli <= 10_000:
        raise BadInput(f"pue {str(entry.get('pue'))[:20]!r}: 1 to 10, at most three digits behind the point")
    return [(text_of(entry, "cluster"), int(milli), *dates_of(entry), source)]


def policy_rows(entry: Mapping[str, Any], source: str) -> list[tuple[Any, ...]]:
    """An entry as a row of table ``money_policy``, its columns in order without number and known times. Raises BadInput, ConfigError, LedgerError."""
    only(entry, "currency", "gap_energy", *DATED)
    currency, gap = text_of(entry, "currency"), text_of(entry, "gap_energy")
    if currency is not None:
        minor_units(currency)
    if gap is not None and gap not in GAPS:
        raise BadInput(f"gap_energy {gap[:30]!r} is none of {', '.join(GAPS)}")
    if currency is None and gap is None:
        raise BadInput("it says neither currency nor gap_energy")
    return [(currency, gap, *dates_of(entry), source)]
