"""The price book from TOML as people write it, or prices of a table by a map: prices, exchange rates, tariffs, PUE, policy.

A file says everything its name ever said (money.py). A price is a list price or a contract price (``hourly``), or the
purchase of owned cards (``capex``), which becomes a rate of its life and one of the time after it; a price of a whole node becomes
one row for each kind of its cards. Not here: which price a card gets (ullage_collector/prices.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import pyarrow as pa

from ullage_collector.imports.money import (
    DATES,
    DatedTable,
    Entry,
    dates_of,
    end_dated,
    instant_of,
    keep_dated,
    only,
    text_of,
)
from ullage_collector.imports.report import Report
from ullage_collector.ledger import MICRO, NANO, minor_units
from ullage_collector.pricing.exchange import GAPS
from ullage_collector.pricing.tariffs import WEEK, hours_of
from ullage_collector.pricing.terms import (
    DEFAULT_SPLIT,
    KINDS,
    LIST,
    OWNED,
    Purchase,
    Terms,
    decimal_fraction,
    rounded_micro,
)
from ullage_contract.errors import BadInput, ConfigError, LedgerError

if TYPE_CHECKING:
    from ullage_collector.store.store import Store

TABLES: Final = ("price", "rate", "tariff", "pue", "policy")
"""The tables of a price book."""
PARTS: Final = ("licence", "rack", "network", "other")
"""What an owned card costs beside its purchase; each with one of the periods below."""
PERIODS: Final = ("hour", "month", "year", "once")
_DATED: Final = ("from", "to", "valid_from", "valid_to")
_PRICE: Final = DatedTable(
    "price",
    {
        "model": pa.string(),
        "pool": pa.string(),
        "currency": pa.string(),
        "price_micro": pa.int64(),
        "assumed": pa.bool_(),
        "kind": pa.string(),
        "node": pa.string(),
        "label": pa.string(),
        "card": pa.string(),
        "list_micro": pa.int64(),
        "terms": pa.string(),
        **DATES,
        "source": pa.string(),
    },
    "price_id",
    True,
)
_RATE: Final = DatedTable(
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
_TARIFF: Final = DatedTable(
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
_PUE: Final = DatedTable(
    "pue", {"cluster": pa.string(), "pue_milli": pa.int64(), **DATES, "source": pa.string()}, "pue_id", True
)
_POLICY: Final = DatedTable(
    "money_policy",
    {"currency": pa.string(), "gap_energy": pa.string(), **DATES, "source": pa.string()},
    "policy_id",
    True,
)


def import_prices(store: Store, tables: Mapping[str, Iterable[Entry]], path: Path, report: Report) -> None:
    """Import a price book. tables: name of TABLES -> its entries.

    What an earlier version of the file said of a table that this one leaves out is no longer believed. A table of which no
    entry could be taken changes nothing.
    """
    source = f"import:{path.name}"
    makers = {"price": price_rows, "rate": _rate, "tariff": _tariff, "pue": _pue, "policy": _policy}
    kept: dict[str, list[tuple[Any, ...]]] = {}
    left_out = set(tables) if "rate" in tables else set()  # a table file has prices alone
    for name, entries in tables.items():
        rows = kept.setdefault(name, [])
        for number, entry in entries:
            left_out.discard(name)
            report.rows_read += 1
            try:
                rows.extend(makers[name](entry, source))
            except (BadInput, ConfigError, LedgerError) as e:
                report.refuse(number, str(e) if name == "price" else f"{name}: {e}")
    for name, table in zip(TABLES, (_PRICE, _RATE, _TARIFF, _PUE, _POLICY), strict=True):
        if name in kept:
            keep_dated(store, table, kept[name], source, report)
        if name in left_out and any(kept.values()):
            end_dated(store, table, source)


# ------------------------------------------------------------------------------- prices
@dataclass(frozen=True, slots=True)
class _Group:
    """Cards of one model on a node that is priced whole. first: weights before them."""

    model: str
    weight: int
    first: int


def price_rows(entry: Mapping[str, Any], source: str) -> list[tuple[Any, ...]]:
    """The rows of table ``price`` that an entry becomes, in the order of its columns without numbers and known times.

    Raises BadInput, ConfigError, LedgerError naming the field.
    """
    owned = (
        "capex",
        "salvage",
        "salvage_fraction",
        "in_service",
        "end_of_life",
        "maintenance_fraction_per_year",
    )
    beside = tuple(f"{part}_{'once' if per == 'once' else f'per_{per}'}" for part in PARTS for per in PERIODS)
    only(
        entry,
        *(
            "model",
            "pool",
            "node",
            "label",
            "card",
            "kind",
            "currency",
            "hourly",
            "per_card_hour",
            "list",
            "assumed",
        ),
        *("per", "cards", "split"),
        *owned,
        *beside,
        *_DATED,
    )
    currency = text_of(entry, "currency") or ""
    minor_units(currency)
    kind = text_of(entry, "kind") or (OWNED if entry.get("capex") not in (None, "") else LIST)
    if kind not in KINDS:
        raise BadInput(f"kind {kind[:20]!r} is none of {', '.join(KINDS)}")
    label = text_of(entry, "label")
    if label is not None and not label.partition("=")[1]:
        raise BadInput(f"label {label[:40]!r}: write KEY=GLOB, e.g. zone=a*")
    starts, ends = dates_of(entry)
    listed = None if entry.get("list") in (None, "") else _micro(entry["list"], "list")
    if listed is not None and kind == LIST:
        raise BadInput('list beside a list price: write hourly alone, or kind = "contract"')
    for name in (*owned, *beside):
        if kind != OWNED and entry.get(name) not in (None, ""):
            raise BadInput(f"{name} belongs to owned cards: write capex, in_service and end_of_life too")
    groups, total, cards_part, host_part = _groups(entry)
    place = (text_of(entry, "node"), label, text_of(entry, "card"))
    assumed = str(entry.get("assumed", False)).lower() in ("true", "1", "yes")
    rows = []
    for rates, a, b, anchor in _spans(entry, kind, starts, ends):
        whole = sum(rates.values(), Fraction(0))
        for group in groups:
            part = Fraction(group.weight, total) * cards_part
            terms = Terms(
                whole=whole * cards_part,
                host=whole * host_part,
                first=group.first,
                weight=group.weight,
                total=total,
                anchor_us=anchor,
                components={name: rate * part for name, rate in rates.items()},
            )
            plain = kind != OWNED and total == 1 and terms.exact == terms.micro and not host_part
            micro = terms.micro
            if micro >= 2**63:
                raise BadInput(f"{micro} micro-units an hour are too many")
            rows.append(
                (
                    *(group.model, text_of(entry, "pool"), currency, micro, assumed, kind, *place),
                    None if listed is None else rounded_micro(listed * part),
                    *(None if plain else terms.to_json(), a, b, source),
                )
            )
    return rows


def _spans(
    entry: Mapping[str, Any], kind: str, starts: int, ends: int | None
) -> list[tuple[dict[str, Fraction], int, int | None, int]]:
    """(component -> micro-units an hour, from_us, to_us, anchor) of each stretch of a price."""
    if kind != OWNED:
        text = entry.get("hourly", entry.get("per_card_hour"))
        if text is None or text == "" or isinstance(text, bool):
            raise BadInput('no price: write hourly = "20.00"')
        return [({kind: Fraction(_micro(text, "hourly"))}, starts, ends, starts)]
    if entry.get("hourly", entry.get("per_card_hour")) not in (None, ""):
        raise BadInput("hourly beside capex: an owned card's rate is worked out; write one of both")
    bought = _purchase(entry)
    found = []
    for rates, from_us, to_us in (
        (bought.rates(), bought.in_service_us, bought.end_of_life_us),
        (bought.after(), bought.end_of_life_us, None),
    ):
        a = max(from_us, starts)
        b = min((t for t in (to_us, ends) if t is not None), default=None)
        if b is None or a < b:
            found.append((rates, a, b, from_us))
    if not found:
        raise BadInput("it is valid at no time of its life")
    return found


def _purchase(entry: Mapping[str, Any]) -> Purchase:
    capex = decimal_fraction(entry.get("capex", ""), "capex")
    start, end = (
        instant_of(entry.get("in_service"), "in_service"),
        instant_of(entry.get("end_of_life"), "end_of_life"),
    )
    if start is None or end is None:
        raise BadInput("owned cards need in_service and end_of_life, instants with an offset")
    if end <= start:
        raise BadInput("end_of_life is not after in_service")
    salvage = _number(entry, "salvage_fraction")
    if entry.get("salvage") not in (None, ""):
        if salvage:
            raise BadInput("salvage and salvage_fraction: write one of both")
        salvage = decimal_fraction(entry["salvage"], "salvage") / capex if capex else Fraction(0)
    if salvage > 1:
        raise BadInput("what is left at the end is at most what was paid")
    beside: dict[str, tuple[Fraction, str]] = {}
    for part in PARTS:
        for per in PERIODS:
            amount = _number(entry, f"{part}_once" if per == "once" else f"{part}_per_{per}")
            if amount and part in beside:
                raise BadInput(f"{part} is given twice: write one of {', '.join(PERIODS)}")
            if amount:
                beside[part] = (amount, per)
    return Purchase(capex, salvage, _number(entry, "maintenance_fraction_per_year"), start, end, beside)


def _groups(entry: Mapping[str, Any]) -> tuple[list[_Group], int, Fraction, Fraction]:
    """Whose price it is: groups of cards, all their weights, what of it is theirs, what is the host's."""
    per, cards, split = text_of(entry, "per") or "card", entry.get("cards"), text_of(entry, "split")
    model = text_of(entry, "model")
    if per == "card":
        if cards not in (None, "") or split is not None:
            raise BadInput('cards and split belong to the price of a whole node: write per = "node"')
        if model is None and text_of(entry, "card") is None:
            raise BadInput("no model")
        return [_Group(model or "*", 1, 0)], 1, Fraction(1), Fraction(0)
    if per != "node":
        raise BadInput(f"per {per[:20]!r} is neither card nor node")
    if text_of(entry, "card") is not None:
        raise BadInput("card beside a node's price: write node = GLOB")
    accelerators, host = _split(split)
    if not isinstance(cards, list):
        cards = [{"model": model or "*", "count": cards}]
    elif model is not None:
        raise BadInput("model beside cards: write the model of each of them")
    groups, total = [], 0
    for each in cards:
        if not isinstance(each, Mapping) or each.keys() - {"model", "count", "weight"}:
            raise BadInput('cards: write a number, or [{model = "H800*", count = 8, weight = 1}]')
        count, weight = _whole(each.get("count"), "count"), _whole(each.get("weight", 1), "weight")
        groups.append(_Group(str(each.get("model") or "*"), weight, total))
        total += count * weight
    if not groups:
        raise BadInput("a node's price needs cards: how many it has")
    return groups, total, Fraction(accelerators, accelerators + host), Fraction(host, accelerators + host)


def _split(text: str | None) -> tuple[int, int]:
    if text is None:
        return DEFAULT_SPLIT
    match = re.fullmatch(r"(\d{1,6}):(\d{1,6})", text)
    if match is None or int(match[1]) == 0:
        raise BadInput(
            f'split {text[:20]!r}: write accelerators : processors and memory, e.g. "9:1" or "1:0"'
        )
    return int(match[1]), int(match[2])


# ------------------------------------------------------------------------------- the others
def _rate(entry: Mapping[str, Any], source: str) -> list[tuple[Any, ...]]:
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


def _tariff(entry: Mapping[str, Any], source: str) -> list[tuple[Any, ...]]:
    only(entry, "cluster", "currency", "per_kwh", "zone", "hours", "weekdays", *_DATED)
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
    micro = _micro(entry["per_kwh"], "per_kwh")
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


def _pue(entry: Mapping[str, Any], source: str) -> list[tuple[Any, ...]]:
    only(entry, "cluster", "pue", *_DATED)
    milli = decimal_fraction(entry.get("pue", ""), "pue") * 1000
    if milli.denominator != 1 or not 1000 <= milli <= 10_000:
        raise BadInput(f"pue {str(entry.get('pue'))[:20]!r}: 1 to 10, at most three digits behind the point")
    return [(text_of(entry, "cluster"), int(milli), *dates_of(entry), source)]


def _policy(entry: Mapping[str, Any], source: str) -> list[tuple[Any, ...]]:
    only(entry, "currency", "gap_energy", *_DATED)
    currency, gap = text_of(entry, "currency"), text_of(entry, "gap_energy")
    if currency is not None:
        minor_units(currency)
    if gap is not None and gap not in GAPS:
        raise BadInput(f"gap_energy {gap[:30]!r} is none of {', '.join(GAPS)}")
    if currency is None and gap is None:
        raise BadInput("it says neither currency nor gap_energy")
    return [(currency, gap, *dates_of(entry), source)]


# ------------------------------------------------------------------------------- numbers
def _micro(text: Any, name: str) -> int:
    """A decimal with at most six digits behind the point as micro-units. Raises BadInput."""
    try:
        micro = Decimal(str(text)) * MICRO
        whole = int(micro)
    except (InvalidOperation, ValueError, OverflowError):
        raise BadInput(f"{name} {str(text)[:40]!r} is no decimal number") from None
    if isinstance(text, bool) or whole != micro or not 0 <= whole < 2**63:
        raise BadInput(f"{name} {str(text)[:40]!r}: at least 0, at most six digits behind the point")
    return whole


def _number(entry: Mapping[str, Any], name: str) -> Fraction:
    value = entry.get(name)
    return Fraction(0) if value is None or value == "" else decimal_fraction(value, name)


def _whole(value: Any, name: str) -> int:
    try:
        found = int(str(value))
    except ValueError:
        found = 0
    if isinstance(value, bool) or not 1 <= found <= 1000:
        raise BadInput(f"{name} {str(value)[:20]!r}: write a whole number from 1 to 1000")
    return found
