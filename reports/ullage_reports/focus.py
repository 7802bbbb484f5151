"""A month's lines as a FOCUS 1.2 dataset, CSV and Parquet: for whoever puts the cost of accelerators beside a cloud's.

One row a published line: the same hours, prices and departments that a statement sums. Costs are not rounded: quantities are
cut to nine decimals of a card-hour so that quantity x price is the cost to the last digit, and what the cuts leave is a
charge of the platform's own (ChargeDescription says so). A line without a price has no cost that could be written: it is in
no row, as in no sum of a statement. Times are UTC with a Z, whole seconds around the line's own.

Column names, terms and null rules: the FinOps Open Cost and Usage Specification 1.2. Columns that begin with x_ are ours:
docs/focus.md. Not here: rounding to cents (rounding.py), who pays (the collector).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final

from ullage_collector.ledger import PLATFORM, UNMAPPED
from ullage_collector.published import Facts
from ullage_contract.errors import ConfigError
from ullage_reports.config import Issuer
from ullage_reports.period import Period, PeriodKind
from ullage_reports.reading import us
from ullage_reports.sql import statements

FILES: Final = {"focus.csv": "FORMAT csv, HEADER", "focus.parquet": "FORMAT parquet, COMPRESSION zstd"}


@dataclass(frozen=True, slots=True)
class Written:
    """files: what was written. rows: of each. hours: card-hours in them; cost: money, both exact to their last digit."""

    files: tuple[Path, ...]
    rows: int
    hours: Decimal
    cost: Decimal


def write(facts: Facts, period: Period, currency: str, issuer: Issuer, out: Path) -> Written:
    """Write ``focus.csv`` and ``focus.parquet`` below ``out``; those of before are replaced when both are whole.

    facts: open over the period. currency: ISO 4217; lines in another are in no row.
    Raises ConfigError for a period that is no month: FOCUS bills by it.
    """
    if period.kind is not PeriodKind.MONTHLY:
        raise ConfigError(f"FOCUS bills by the month: {period.label} is none")
    sql = statements("focus")
    span = {"from_us": us(period.start), "to_us": us(period.end)}
    db = facts.connection
    db.execute(sql["charges"], {"currency": currency, "to_us": span["to_us"]})
    db.execute(sql["residues"], {**span, "platform": PLATFORM})
    alike = {
        "provider": issuer.provider,
        "account_id": issuer.account_id,
        "account_name": issuer.account_name,
        "currency": currency,
        "invoice": f"{issuer.account_id}/{period.label}/{currency}",
        "starts": f"{period.start:%Y-%m-%dT%H:%M:%SZ}",
        "ends": f"{period.end:%Y-%m-%dT%H:%M:%SZ}",
        "run": facts.digest()[:16],
        "platform": PLATFORM,
        "unmapped": UNMAPPED,
    }
    for name, said in alike.items():
        db.execute(f"SET VARIABLE {name} = ?", [said])
    db.execute(sql["plain"])
    db.execute(sql["rows"])
    made = [(out / f".{name}.{os.getpid()}", out / name, options) for name, options in FILES.items()]
    try:
        for making, _, options in made:
            quoted = str(making).replace("'", "''")
            db.execute(sql["write"].format(file=quoted, options=options))
        for making, place, _ in made:
            making.replace(place)
    finally:
        for making, _, _ in made:
            making.unlink(missing_ok=True)
    rows, hours, cost = db.execute(sql["sums"]).fetchall()[0]
    return Written(tuple(place for _, place, _ in made), int(rows), Decimal(hours), Decimal(cost))
