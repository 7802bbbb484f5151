"""``ullage-report economics``: what work cost in a week or month, as tables for people or as JSON. The figures of the statement."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from ullage_collector import ledger
from ullage_collector.published import Published
from ullage_contract.errors import BadInput
from ullage_contract.plain import plain
from ullage_reports import peaks
from ullage_reports.currencies import currency_of, priced_in, unpriced
from ullage_reports.economics import Economics, economics
from ullage_reports.format import plain_digits
from ullage_reports.json_form import to_json
from ullage_reports.period import Period
from ullage_reports.reading import Reading, read
from ullage_reports.sql import statements
from ullage_reports.workloads import workloads

SCHEMA_VERSION = 1
"""Of the JSON form."""
ESTIMATE = "Figures per PFLOP-day are estimates: documented peak x measured active time, against the same part of the cost."


def run(
    published: Published,
    period: Period,
    *,
    currency: str | None,
    config: Path | None,
    as_json: bool,
    verify: bool = True,
) -> bool:
    """Read the period and print; whether all of it is published and has a price in the currency.

    Raises BadInput where nothing of it is, ConfigError for several currencies of which none was chosen or a wrong [[peak]].
    """
    told = peaks.load(config)
    with published.open(period.start, period.end, verify=verify) as facts:
        reading = read(facts, period, currency_of(facts, currency or None))
        if not reading.whole.lines:
            raise BadInput(f"{period.label}: nothing of it is published; publish its days first")
        found = economics(reading, workloads(reading).rows, told)
        origins = [str(row[0]) for row in reading.rows("origins")]
        missing = [day.isoformat() for day in facts.missing]
        there = priced_in(facts)
        known = facts.rows(statements("economics")["price_known"], {"currency": reading.currency})
    hours = sum(int(without) for *_, without in known)
    some = [(str(vendor), str(model)) for vendor, model, of, without in known if of > without]
    priced = frozenset([*some, *((vendor, None) for vendor, _ in some)])
    if as_json:
        said = {
            "schema_version": SCHEMA_VERSION,
            "period": period.label,
            "zone": period.zone,
            "currency": reading.currency,
            "origins": origins,
            "missing_days": missing,
            "estimated": found.estimated,
            "unpriced_card_hours": str(ledger.hours_exact(hours, 6)),
            "economics": _json(found, priced),
        }
        sys.stdout.write(json.dumps(said, ensure_ascii=False, indent=1) + "\n")
    else:
        sys.stdout.write("\n".join(page(found, reading, origins, priced)) + "\n")
    if missing:
        sys.stderr.write(f"ullage-report: {len(missing)} days are not published, the first is {missing[0]}\n")
    if (why := unpriced(reading.currency, there)) is not None:
        sys.stderr.write(f"ullage-report: {why}\n")
    elif hours:
        sys.stderr.write(
            f"ullage-report: {ledger.hours_exact(hours, 2)} card-hours have no price in {reading.currency} and are in no sum\n"
        )
    return not missing and not hours


def _json(found: Economics, priced: frozenset[tuple[str, str | None]]) -> Any:
    """As the statement has it; a cost of which nothing is known is None."""
    told: Any = to_json(found)
    for rows in (told["makers"], told["models"]):
        for row in rows:
            row["cost"] = row["cost"] if (row["vendor"], row["model"]) in priced else None
    for row in told["scenarios"]:
        row["cost"] = row["cost"] if row["jobs"] > row["unpriced"] else None
    return told


def page(
    found: Economics,
    reading: Reading,
    origins: Sequence[str],
    priced: frozenset[tuple[str, str | None]],
) -> list[str]:
    """The tables as lines of text. priced: makers and models of which any cost is known."""
    money = reading.currency
    lines = [f"What work cost in {reading.period.label}, {money}, hours of {reading.period.zone}."]
    made_up = [word for word in origins if word != "real"]
    if made_up:
        lines.append(f"Of cards that are {' and '.join(made_up)}.")
    if found.used_hour_cost is not None:
        lines.append(f"All cost over used card-hours: {plain_digits(found.used_hour_cost)} an hour.")
    for title, rows in (("By maker", found.makers), ("By card model", found.models)):
        lines += ["", title]
        lines += _table(
            (
                "maker",
                "model",
                "cost",
                "used hours",
                "a used hour",
                "measured by",
                "active",
                "measured",
                "peak TFLOPS",
                "PFLOP-days",
                "a PFLOP-day",
            ),
            [
                (
                    row.vendor,
                    row.model or "",
                    row.cost if (row.vendor, row.model) in priced else None,
                    row.used_hours,
                    row.used_hour_cost,
                    row.signal,
                    _percent(row.active_ratio),
                    _percent(row.covered_ratio),
                    row.peak_tflops,
                    row.pflop_days,
                    row.pflop_day_cost,
                )
                for row in rows
            ],
        )
    if found.estimated:
        lines.append(ESTIMATE)
    lines += ["", "By scenario"]
    lines += _table(
        ("scenario", "jobs", "without price", "cost", "median job", "a used hour"),
        [
            (
                r.scenario,
                r.jobs,
                r.unpriced,
                r.cost if r.jobs > r.unpriced else None,
                r.median,
                r.used_hour_cost,
            )
            for r in found.scenarios
        ],
    )
    lines += ["", "Dearest jobs"]
    lines += _table(
        ("workload", "department", "scenario", "cards", "held hours", "used hours", "cost", "a used hour"),
        [
            (
                r.workload_id,
                r.department,
                r.scenario,
                r.cards,
                r.held_hours,
                r.used_hours,
                r.cost,
                r.used_hour_cost,
            )
            for r in found.jobs[:20]
        ],
    )
    if found.served:
        lines += ["", "Served, over the hours whose counts are known"]
        lines += _table(
            (
                "workload",
                "hours",
                "cost",
                "requests",
                "prompt tokens",
                "generated",
                "1,000 requests",
                "million tokens",
                "million generated",
            ),
            [
                (
                    r.workload_id or "all",
                    r.hours,
                    r.cost,
                    r.requests,
                    r.prompt_tokens,
                    r.generated_tokens,
                    r.thousand_requests,
                    r.million_tokens,
                    r.million_generated,
                )
                for r in found.served
            ],
        )
    return lines


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Columns as wide as they need; figures to the right, what is not known a dash."""
    if not rows:
        return ["none"]
    cells = [[_cell(value) for value in row] for row in rows]
    figures = [all(not isinstance(row[n], str) or row[n] is None for row in rows) for n in range(len(header))]
    widths = [max(len(header[n]), *(len(row[n]) for row in cells)) for n in range(len(header))]
    return [
        "  ".join(
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(row, widths, figures, strict=True)
        ).rstrip()
        for row in (list(header), *cells)
    ]


def _percent(ratio: Decimal | None) -> str | None:
    return None if ratio is None else f"{ratio * 100:.1f}%"


def _cell(value: object) -> str:
    return "-" if value is None or value == "" else plain(str(to_json(value)), limit=40)
