"""``ullage-report anomalies``: unusual days with what moved, for people or as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

from ullage_collector.ledger import PLATFORM, UNMAPPED
from ullage_collector.published import Published
from ullage_contract.errors import BadInput, ConfigError
from ullage_contract.plain import plain
from ullage_reports import anomaly_rules
from ullage_reports.anomalies import Anomalies, AnomalyRow, CauseRow, anomalies
from ullage_reports.anomaly_causes import (
    CAME,
    FREE,
    IDLE,
    INCIDENT,
    PARTLY,
    PRICE,
    REST,
    USUAL,
    WENT,
    WORK,
)
from ullage_reports.currencies import checked, priced_in, unpriced
from ullage_reports.json_form import to_json
from ullage_reports.period import midnight, zone_info

SCHEMA_VERSION: Final = 1
"""Of the JSON form."""
DAYS: Final = 28
"""our choice: four weeks, as a page of a month has them."""
_WORDS: Final = {
    PRICE: "the price of {name} changed",
    CAME: "cards of {name} that were not there before",
    WENT: "cards of {name} that are gone",
    INCIDENT: "out of order or isolated, incident {name}",
    IDLE: "held idle by {name} of {department}",
    WORK: "{name} of {department}",
    FREE: "free cards of {name}",
    PARTLY: "partly free cards of {name}",
    USUAL: "the day it is compared with",
    REST: "the rest",
}


def run(
    published: Published,
    *,
    until: date | None,
    days: int | None,
    rules: Path | None,
    zone: str,
    currency: str | None,
    as_json: bool,
    verify: bool = True,
) -> bool:
    """Judge the ``days`` local days that end with ``until`` (None: the last published) and print; whether there was enough to judge by: days,
    and prices in the currency.

    Raises BadInput where nothing is published, ConfigError for a wrong zone, currency or file of rules.
    """
    chosen = anomaly_rules.read(rules)
    there = published.days()
    last = until or (there[-1] if there else None)
    if last is None:
        raise BadInput(f"{published.root}: no day is published; publish some weeks first")
    if days is not None and not 1 <= days <= 366:
        raise ConfigError(f"--days {days}: write a number from 1 to 366")
    first = last - timedelta(days=(days or DAYS) - 1)
    there_are = _currencies(published, first, last, zone, verify)
    money = checked(currency) if currency else _only(there_are)
    found = anomalies(published, first, last, zone, money, chosen, verify=verify)
    if as_json:
        told: Any = to_json(found)
        answer = {"schema_version": SCHEMA_VERSION, "zone": zone, "currency": money, **told}
        sys.stdout.write(json.dumps(answer, ensure_ascii=False, indent=1) + "\n")
    else:
        sys.stdout.write("\n".join(page(found, money, in_money=money in there_are)) + "\n")
    said = unpriced(money, there_are) if found.known else None
    if said is not None:
        sys.stderr.write(f"ullage-report: {said}; days were judged by their card-hours alone\n")
    return found.judged and said is None


def _currencies(published: Published, first: date, last: date, zone: str, verify: bool) -> tuple[str, ...]:
    info = zone_info(zone)
    start, end = midnight(first, info), midnight(last + timedelta(days=1), info)
    with published.open(start, end, verify=verify) as facts:
        return priced_in(facts)


def _only(there: Sequence[str]) -> str:
    if len(there) > 1:
        raise ConfigError(f"prices are in {', '.join(there[:5])}; choose one with --currency")
    return there[0] if there else "XXX"


def page(found: Anomalies, currency: str, *, in_money: bool = True) -> Iterator[str]:
    """For people. in_money: anything is priced in the currency."""
    yield f"{found.first} to {found.last}: {found.known} days known whole, {found.looked_back} before them to judge by"
    if not found.judged:
        yield "too few days are known to say what is usual"
    elif not found.rows:
        yield "no unusual day" if in_money else "no unusual day in card-hours; money is not known"
    for row in found.rows:
        yield from _anomaly(row, currency)


def _anomaly(row: AnomalyRow, currency: str) -> Iterator[str]:
    unit = currency if row.metric == "cost" else "card-hours"
    when = f"{row.first}" if row.first == row.last else f"{row.first} to {row.last}"
    ratio = "" if row.ratio is None else f" ({row.ratio:+.0%})"
    yield (
        f"{when}  {row.of} {_subject(row)}: {row.difference:+,} {unit}{ratio}, {row.value:,} instead of {row.expected:,}; {row.state}"
    )
    for cause in row.causes:
        yield f"    {cause.amount:>+18,}  {said(cause)}"
    if row.also:
        yield f"    seen too in {plain(', '.join(row.also))}"


def _subject(row: AnomalyRow) -> str:
    names = {PLATFORM: "platform", UNMAPPED: "unmapped", "": "(none given)"}
    return names.get(row.subject, plain(row.subject))


def said(cause: CauseRow) -> str:
    """A cause in words."""
    name = plain(cause.name) or "(no name)"
    if cause.kind in (WORK, IDLE) and cause.example and plain(cause.example) != name:
        name = f"{name} (such as {plain(cause.example)})"
    return _WORDS[cause.kind].format(name=name, department=plain(cause.department) or "(none)")
