"""One line of energy, from its figure back to what was measured, the PUE and the tariff: ``ullage-report explain CARD@TIME~NUMBER``.

Not here: lines of card-hours (explain.py), which share the ways of telling.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from ullage_collector import ledger
from ullage_collector.published import Published
from ullage_contract.errors import BadInput
from ullage_contract.plain import plain
from ullage_reports.explain import (
    SCHEMA_VERSION,
    Row,
    held_by,
    instant,
    money,
    one,
    parsed,
    payer,
    text,
    told,
)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MILLIJOULES: Final = 3_600_000_000
"""In one kilowatt-hour."""


def is_energy(line_id: str) -> bool:
    """Whether an id is of a line of energy: ``CARD@MICROSECONDS~NUMBER``."""
    return "~" in line_id.rpartition("@")[2]


def run(published: Published, line_id: str, *, as_json: bool, verify: bool = True) -> None:
    """Print what a line of energy is. Raises BadInput for an id that is none, a day that is not published, a line that is not there."""
    found = explain(published, line_id, verify=verify)
    if as_json:
        sys.stdout.write(json.dumps(found, ensure_ascii=False, indent=1) + "\n")
    else:
        sys.stdout.write("".join(f"{name:<12}{said}\n" for name, said in page(found)))


def explain(published: Published, line_id: str, *, verify: bool = True) -> dict[str, Any]:
    """Everything a line of energy stands on, exact numbers as texts. verify: check the day's files against its manifest first."""
    _, from_us = parsed(line_id, "~")
    at = _EPOCH + timedelta(microseconds=from_us)
    with published.open(at, at + timedelta(microseconds=1), verify=verify) as facts:
        if not facts.days:
            raise BadInput(f"{line_id}: {at.date()} is not published in {published.root}; publish it")
        line = one(facts, "energy", {"line": line_id})
        if line is None:
            raise BadInput(
                f"{line_id}: no such line of energy in revision {facts.days[0].revision} of {at.date()}"
            )
        sources = dict(part.partition("=")[::2] for part in str(line["source_rows"]).split())

        def row(kind: str) -> Row | None:
            return one(facts, kind, {"id": int(sources[kind])}) if kind in sources else None

        begins = int(line["from_us"])
        return {
            "schema_version": SCHEMA_VERSION,
            "line": told(line),
            "kwh": _kwh(int(line["energy_mj"])),
            "kwh_with_pue": _kwh(int(line["energy_mj"]) * int(line["pue_milli"]), 1000),
            "cost": None if line["tariff_micro"] is None else money(int(line["cost_atoms"])),
            "tariff": told(row("tariff")),
            "pue": told(row("pue")),
            "rate": told(row("rate")),
            "workload": told(one(facts, "workload", {"id": line["workload_id"]})),
            "department": told(one(facts, "department", {"id": line["department_id"], "at": begins})),
            "source_rows": sources,
            "day": {
                "day": str(facts.days[0].day),
                "revision": facts.days[0].revision,
                "status": facts.days[0].status,
                "digest": facts.days[0].digest,
            },
        }


def page(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Name and sentence, in the order a person asks."""
    line, day = found["line"], found["day"]
    pue = Decimal(int(line["pue_milli"])).scaleb(-3)
    lines = [
        ("line", plain(line["line_id"])),
        (
            "card",
            plain(
                f"{line['card_id']} on {line['cluster_id']}/{line['node_id']}, {line['vendor']} {line['model']}"
            ),
        ),
        ("when", f"{instant(line['from_us'])} to {instant(line['to_us'])}"),
        (
            "energy",
            f"{found['kwh']} kWh"
            + (", estimated: nobody measured it" if line["estimated"] else ", measured"),
        ),
        ("PUE", f"{pue}" + ("" if found["pue"] else ": none is known, so it is counted once")),
    ]
    if line["tariff_micro"] is None:
        lines.append(("tariff", "none is known for it: it has no cost, and is listed as unpriced"))
    else:
        tariff = ledger.price_decimal(int(line["tariff_micro"]))
        lines += [
            ("tariff", f"{tariff} {line['currency']} a kWh{_tariff(found['tariff'])}"),
            (
                "cost",
                f"{found['kwh']} kWh x {pue} x {tariff} = {found['cost']} {line['currency']}, exactly {line['cost_atoms']} atoms",
            ),
        ]
    lines.append(("pays", payer(line, found["department"], None)))
    if line["workload_id"]:
        lines.append(("workload", plain(line["workload_id"]) + held_by(found["workload"])))
    lines.append(
        ("rows", ", ".join(f"{kind} {number}" for kind, number in found["source_rows"].items()) or "none")
    )
    lines.append(("data", f"{day['day']} revision {day['revision']}, {day['status']}, {day['digest'][:16]}"))
    return lines


def _tariff(tariff: Row | None) -> str:
    if tariff is None:
        return ", by a tariff that is not published"
    words = [f"tariff {tariff['tariff_id']}"]
    words += [f"{tariff['hours']} {tariff['zone']}"] if tariff["hours"] else []
    words += [f"known since {text(tariff['known_from'])}", f"from {tariff['source']}"]
    return f" ({plain(', '.join(words))})"


def _kwh(millijoules: int, divisor: int = 1) -> str:
    """Kilowatt-hours to twelve decimals, half up."""
    return str(Decimal(ledger.half_up(millijoules * 10**12, MILLIJOULES * divisor)).scaleb(-12))
