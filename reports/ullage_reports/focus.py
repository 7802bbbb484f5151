"""A month's lines as a FOCUS 1.2 dataset, CSV and Parquet: for whoever puts the cost of accelerators beside a cloud's.

A row is what a card, workload, state, payer and price came to on a local day, or a published line where that is asked for: the same
hours, energy, prices and departments that a statement sums; behind them what policy shares out, and what is posted. Costs are not rounded: quantities are cut to nine decimals of a card-hour or kilowatt-hour so that quantity x price is the cost to the last digit, and what the cuts leave is a
charge of the platform's own (ChargeDescription says so). A line without a price has no cost that could be written: it is in
no row, as in no sum of a statement. Times are UTC with a Z, whole seconds around the line's own.

Column names, terms and null rules: the FinOps Open Cost and Usage Specification 1.2. Columns that begin with x_ are ours:
docs/focus.md. Not here: rounding to cents (rounding.py), who pays (the collector).
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from ullage_collector import ledger
from ullage_collector.ledger import HOUR_US, PLATFORM, UNMAPPED
from ullage_collector.published import Facts
from ullage_contract.errors import ConfigError
from ullage_reports.bill import charge_id
from ullage_reports.config import Issuer
from ullage_reports.cost_policy import DEFAULT, CostPolicy, Stretch, stretches
from ullage_reports.period import Period, PeriodKind
from ullage_reports.reading import us
from ullage_reports.shared_costs import SQL as BILL
from ullage_reports.shared_costs import Lot, Move, Payer, Shared, share_out
from ullage_reports.sql import statements

_SHARED: Final = (
    *(
        "line_id",
        "cluster_id",
        "vendor",
        "model",
        "from_us",
        "to_us",
        "department_id",
        "business",
        "scenario",
    ),
    *("price_micro", "price_id", "reason", "units", "said", "method", "ratio_nano", "policy"),
)
FILES: Final = {"focus.parquet": "FORMAT parquet, COMPRESSION zstd", "focus.csv": "FORMAT csv, HEADER"}
"""In the order they are written: the second is made from the first, whose columns are worked out already."""


class Grain(StrEnum):
    """How long a charge may be: lines of a local day that are alike but for their time are one, or each stands alone.

    our choice: a day unless asked, at every size: ten thousand cards are a million charges a month and ten million lines, and
    a file that changed its shape with the fleet would break who reads it.
    """

    DAY = "day"
    HOUR = "hour"


@dataclass(frozen=True, slots=True)
class Written:
    """files: what was written. rows: of each. hours: card-hours in them; cost: money, both exact to their last digit."""

    files: tuple[Path, ...]
    rows: int
    hours: Decimal
    cost: Decimal


def write(
    facts: Facts,
    period: Period,
    currency: str,
    issuer: Issuer,
    out: Path,
    policies: Sequence[CostPolicy] = DEFAULT,
    grain: Grain = Grain.DAY,
) -> Written:
    """Write ``focus.csv`` and ``focus.parquet`` below ``out``; those of before are replaced when both are whole.

    facts: open over the period. currency: ISO 4217; lines in another are in no row. policies: by which cost is shared out. grain:
    how long a charge may be.
    Raises ConfigError for a period that is no month: FOCUS bills by it, and where a policy cannot be applied.
    """
    if period.kind is not PeriodKind.MONTHLY:
        raise ConfigError(f"FOCUS bills by the month: {period.label} is none")
    sql = statements("focus")
    span = {"from_us": us(period.start), "to_us": us(period.end)}
    db = facts.connection
    given = {"currency": currency, **span}
    db.execute(sql["named"], {"to_us": span["to_us"]})
    columns = {str(row[0]) for row in db.execute(statements(BILL)["columns"]).fetchall()}
    # a day that an older Ullage published has no list price; what is paid is the list's then
    listed = "coalesce(list_micro, price_micro)" if "list_micro" in columns else "price_micro"
    db.execute(sql["charges"])
    for kind in ("lines", "energy"):
        text = sql[f"{kind}_{grain}"].format(list_micro=listed)
        if grain is Grain.HOUR:
            db.execute(text, {"currency": currency})
        else:
            for _, begins, ends in period.days():
                db.execute(text, {"currency": currency, "begins": us(begins), "ends": us(ends)})
    db.execute(sql["residues"], {**span, "platform": PLATFORM})
    cut = stretches(policies, period.start, period.end)
    moved = _moved(share_out(facts, currency, cut), period.label)
    if moved["line_id"]:
        db.execute(sql["shared"], moved)
    db.execute(sql["adjustments"], given)
    db.execute(sql["remainders"], {"currency": currency})
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
    db.execute(sql["exact"])
    db.execute(sql["rows"])
    made = [(out / f".{name}.{os.getpid()}", out / name, options) for name, options in FILES.items()]
    try:
        source = "focus"
        for making, _, options in made:
            quoted = str(making).replace("'", "''")
            db.execute(sql["write"].format(source=source, file=quoted, options=options))
            source = f"read_parquet('{quoted}')"
        for making, place, _ in made:
            making.replace(place)
    finally:
        for making, _, _ in made:
            making.unlink(missing_ok=True)
    rows, units, money = db.execute(sql["sums"]).fetchall()[0]
    files = tuple(place for _, place, _ in made)
    with localcontext() as context:
        context.prec = 60
        return Written(files, int(rows), Decimal(units).scaleb(-9), Decimal(money).scaleb(-15))


def _moved(shared: Shared, label: str) -> dict[str, list[Any]]:
    """Columns of query ``shared``: for each charge that policy takes from a payer a row below 0, then one for each payer who is given
    a part of it. Their ratios add up to 1, their quantities to nothing."""
    taken: dict[tuple[Stretch, str, Lot, Payer], list[Move]] = defaultdict(list)
    for move in shared.moves:
        taken[move.stretch, move.method, move.lot, move.giver].append(move)
    found: dict[str, list[Any]] = {name: [] for name in _SHARED}

    def add(
        stretch: Stretch, method: str, lot: Lot, payer: Payer, units: int, ratio: int | None, said: str
    ) -> None:
        policy = stretch.policy
        row = (
            f"{charge_id(label, payer.department)}#{len(found['line_id']) + 1:07d}",
            *(lot.cluster, lot.vendor, lot.model, us(stretch.start), us(stretch.end)),
            *(payer.department, payer.business, payer.scenario, lot.price_micro, lot.price_id),
            *(lot.state, units, said, method, ratio, f"{policy.policy_id} {policy.digest}"),
        )
        for name, value in zip(_SHARED, row, strict=True):
            found[name].append(value)

    for (stretch, method, lot, giver), moves in taken.items():
        state = lot.state.replace("_", " ")
        given: list[tuple[Payer, int]] = []
        for move in moves:
            units = move.atoms // lot.price_micro // HOUR_US
            given += shared.divided(stretch, move.taker, units).items()
        if not any(units for _, units in given):
            continue
        said = f"{lot.model} card, {state}: shared out, {method}"
        for payer, units in shared.divided(stretch, giver, -sum(units for _, units in given)).items():
            add(stretch, method, lot, payer, units, None, said)
        ratios = ledger.split(ledger.NANO, {n: units for n, (_, units) in enumerate(given)})
        said = f"{lot.model} card, {state}: a part of what {giver.department} paid, {method}"
        for number, (payer, units) in enumerate(given):
            add(stretch, method, lot, payer, units, ratios[number], said)
    return found
