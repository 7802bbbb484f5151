"""The price book from TOML as people write it, or prices of a table by a map.

A file says everything its name ever said (money.py). A price is a list price or a contract price (``hourly``), or the
purchase of owned cards (``capex``), which becomes a rate of its life and one of the time after it; a price of a whole node becomes
one row for each kind of its cards. Not here: rates and tariffs
(rates.py), and which price a card gets (ullage_collector/prices.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from ullage_collector.imports.money import (
    DATED,
    DATES,
    MOST_MICRO,
    DatedTable,
    Entry,
    dates_of,
    end_dated,
    instant_of,
    keep_dated,
    micro_of,
    only,
    text_of,
)
from ullage_collector.imports.rates import (
    POLICY,
    PUE,
    RATE,
    TARIFF,
    policy_rows,
    pue_rows,
    rate_rows,
    tariff_rows,
)
from ullage_collector.imports.report import Report
from ullage_collector.ledger import minor_units
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


def import_prices(store: Store, tables: Mapping[str, Iterable[Entry]], path: Path, report: Report) -> None:
    """Import a price book. tables: name of TABLES -> its entries.

    What an earlier version of the file said of a table that this one leaves out is no longer believed. A table of which no
    entry could be taken changes nothing.
    """
    source = f"import:{path.name}"
    makers = {
        "price": price_rows,
        "rate": rate_rows,
        "tariff": tariff_rows,
        "pue": pue_rows,
        "policy": policy_rows,
    }
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
    for name, table in zip(TABLES, (_PRICE, RATE, TARIFF, PUE, POLICY), strict=True):
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
        *DATED,
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
    listed = None if entry.get("list") in (None, "") else micro_of(entry["list"], "list")
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
            if micro > MOST_MICRO:
                raise BadInput(f"{micro} micro-units an hour are too many; at most {MOST_MICRO}")
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
        return [({kind: Fraction(micro_of(text, "hourly"))}, starts, ends, starts)]
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


# ------------------------------------------------------------------------------- numbers
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
