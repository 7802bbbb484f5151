"""One line of the ledger, from its figure back to formula, rates, versions and rows: ``ullage-report explain LINE-ID``.

A line's id is in ``segments.parquet``, in FOCUS files (x_LineId) and in the API's ledger. What is shown comes from the
published day alone, of a closed period from the revision it was closed with, so it is the same after the raw days are gone. Rows of the collector's store that are not published (rules,
allocations, the inventory) are named by their numbers.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from ullage_collector import ledger
from ullage_collector.published import Facts, Manifest, Published
from ullage_contract.errors import BadInput
from ullage_contract.plain import plain
from ullage_reports.sql import statements

SCHEMA_VERSION: Final = 1
"""Of the JSON form."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Explanation:
    """A line with what it stands on.

    line: the row of segments.parquet. price, rate, workload, department, incident: the published rows, None where the line has none.
    source_rows: kind -> number of the store's rows it was made from. day: the published day it is in. dimensions: the names and
    prices it was read with.
    """

    line: Row
    price: Row | None
    rate: Row | None
    workload: Row | None
    department: Row | None
    incident: Row | None
    source_rows: Mapping[str, str]
    day: Manifest
    dimensions: Manifest | None

    @property
    def seconds(self) -> Decimal:
        """How long it lasts."""
        return Decimal(int(self.line["to_us"]) - int(self.line["from_us"])).scaleb(-6)

    @property
    def share(self) -> Decimal:
        """Of the card, 0..1."""
        return Decimal(int(self.line["share_nano"])).scaleb(-9)

    @property
    def quantity(self) -> int:
        """Nano-share microseconds."""
        return ledger.quantity(
            int(self.line["share_nano"]), int(self.line["from_us"]), int(self.line["to_us"])
        )


def run(published: Published, line_id: str, *, as_json: bool, verify: bool = True) -> None:
    """Print what a line is. Raises BadInput for an id that is none, a day that is not published, a line that is not there."""
    found = explain(published, line_id, verify=verify)
    if as_json:
        sys.stdout.write(json.dumps(to_json(found), ensure_ascii=False, indent=1) + "\n")
    else:
        sys.stdout.write("".join(f"{name:<12}{said}\n" for name, said in page(found)))


def explain(published: Published, line_id: str, *, verify: bool = True) -> Explanation:
    """See ``run``. verify: check the day's files against its manifest first."""
    card, from_us = parsed(line_id)
    at = _EPOCH + timedelta(microseconds=from_us)
    with published.open(at, at + timedelta(microseconds=1), verify=verify) as facts:
        if not facts.days:
            raise BadInput(
                f"{line_id}: {at.date()} is not published in {published.root}; publish it, or name the collector's data with --data"
            )
        manifest = facts.days[0]
        line = one(facts, "line", {"line": line_id})
        if line is None:
            near = facts.rows(statements("explain")["near"], {"card": card, "at": from_us})
            names = ", ".join(str(row[0]) for row in near)
            raise BadInput(
                f"{line_id}: no such line in revision {manifest.revision} of {at.date()}"
                + (
                    f"; this card's lines at that instant are {names}"
                    if names
                    else f"; the card {card} has none then"
                )
            )
        sources = dict(part.partition("=")[::2] for part in str(line["source_rows"]).split())
        begins = int(line["from_us"])
        return Explanation(
            line=line,
            price=one(facts, "price", {"id": line["price_id"]}),
            rate=one(facts, "rate", {"id": int(sources["rate"])}) if "rate" in sources else None,
            workload=one(facts, "workload", {"id": line["workload_id"]}),
            department=one(facts, "department", {"id": line["department_id"], "at": begins}),
            incident=one(facts, "incident", {"id": int(sources["incident"])})
            if "incident" in sources
            else None,
            source_rows=sources,
            day=manifest,
            dimensions=facts.dimensions,
        )


def to_json(found: Explanation) -> dict[str, Any]:
    """Everything, exact numbers as texts."""
    line = found.line
    priced = line["price_micro"] is not None
    return {
        "schema_version": SCHEMA_VERSION,
        "line": told(line),
        "seconds": str(found.seconds),
        "share": str(found.share),
        "card_hours": str(ledger.hours_exact(found.quantity)),
        "price_per_card_hour": str(ledger.price_decimal(int(line["price_micro"]))) if priced else None,
        "cost": money(int(line["cost_atoms"])) if priced else None,
        "cost_atoms": str(line["cost_atoms"]) if priced else None,
        "list_per_card_hour": _decimal(line.get("list_micro")),
        "price": told(found.price),
        "components": components(found.price),
        "rate": told(found.rate),
        "workload": told(found.workload),
        "department": told(found.department),
        "incident": told(found.incident),
        "source_rows": dict(found.source_rows),
        "day": {
            "day": str(found.day.day),
            "revision": found.day.revision,
            "status": found.day.status,
            "digest": found.day.digest,
        },
        "dimensions": None
        if found.dimensions is None
        else {"revision": found.dimensions.revision, "digest": found.dimensions.digest},
    }


def page(found: Explanation) -> list[tuple[str, str]]:
    """Name and sentence, in the order a person asks."""
    line = found.line
    hours = ledger.hours_exact(found.quantity)
    lines = [
        ("line", plain(str(line["line_id"]))),
        (
            "card",
            plain(
                f"{line['card_id']} on {line['cluster_id']}/{line['node_id']}, {line['vendor']} {line['model']}"
            )
            + (f", pool {plain(str(line['pool']))}" if line["pool"] else ""),
        ),
        ("when", f"{instant(line['from_us'])} to {instant(line['to_us'])}: {found.seconds} s"),
        ("state", str(line["state"]) + (f" ({plain(str(line['reason']))})" if line["reason"] else "")),
        ("quantity", f"{found.seconds} s x {found.share} of the card / 3600 = {hours} card-hours"),
    ]
    if line["price_micro"] is None:
        lines.append(("price", "none is known for it: it has no cost, and is listed as unpriced"))
    else:
        price = ledger.price_decimal(int(line["price_micro"]))
        lines += [
            ("price", f"{price} {line['currency']} a card-hour{_price(found.price)}"),
            *_made_of(found),
            (
                "cost",
                f"{hours} card-hours x {price} = {money(int(line['cost_atoms']))} {line['currency']}, "
                f"exactly {line['cost_atoms']} atoms ({ledger.ATOMS_PER_UNIT} a unit)",
            ),
        ]
    lines.append(("pays", payer(line, found.department, found.source_rows.get("rule"))))
    if line["workload_id"]:
        lines.append(("workload", plain(str(line["workload_id"])) + held_by(found.workload)))
    if found.incident is not None:
        one = found.incident
        lines.append(
            (
                "incident",
                plain(
                    f"{one['incident_id']}: {one['cause']} {one['code'] or ''} on {one['subject']}"
                ).strip(),
            )
        )
    lines.append(
        ("rows", ", ".join(f"{kind} {number}" for kind, number in found.source_rows.items()) or "none")
    )
    lines.append(
        (
            "data",
            f"{found.day.day} revision {found.day.revision}, {found.day.status}, {found.day.digest[:16]}; "
            + (
                "no names published"
                if found.dimensions is None
                else f"names revision {found.dimensions.revision}"
            ),
        )
    )
    if line["origin"] != "real":
        lines.append(("origin", f"{line['origin']}: no real card"))
    return lines


def parsed(line_id: str, mark: str = "#") -> tuple[str, int]:
    """The card and the instant in microseconds that an id names."""
    card, at, rest = line_id.rpartition("@")
    begins, hash_, number = rest.partition(mark)
    if line_id.startswith("adjustment/"):
        raise BadInput(
            f"{line_id}: a correction or credit is no line of the ledger: the statement's list of them says what it is for, and who "
            "asked and approved"
        )
    if line_id.startswith("residue/"):
        raise BadInput(
            f"{line_id}: a residue is no line of the ledger: it is what cutting a month's quantities to nine decimals left "
            "of one model and price (docs/focus.md)"
        )
    if not (card and at and hash_ and _whole(begins) and _whole(number) and len(begins) <= 17):
        raise BadInput(
            f"{line_id[:100]!r} is no line id; write CARD@MICROSECONDS#NUMBER, of energy CARD@MICROSECONDS~NUMBER, as "
            "segments.parquet, energy.parquet, FOCUS (x_LineId) and the API's ledger have it"
        )
    return card, int(begins)


def _whole(text: str) -> bool:
    """Whether it is written in 0 to 9 alone: ``isdigit`` takes superscripts too, which are no number."""
    return text.isascii() and text.isdigit()


def one(facts: Facts, name: str, parameters: Mapping[str, Any]) -> Row | None:
    """The first row of a statement of explain.sql; None: there is none, or what it asks for is None."""
    if "id" in parameters and parameters["id"] is None:
        return None
    cursor = facts.connection.execute(statements("explain")[name], parameters)
    row = cursor.fetchone()
    return (
        None
        if row is None
        else dict(zip([column[0] for column in cursor.description or ()], row, strict=True))
    )


def told(row: Row | None) -> dict[str, Any] | None:
    """A row as JSON takes it."""
    if row is None:
        return None
    return {
        key: value if value is None or isinstance(value, bool | int | str) else text(value)
        for key, value in row.items()
    }


def text(value: Any) -> str:
    """A value as text; instants, UTC without a zone, as ISO 8601."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC).isoformat().replace("+00:00", "Z")
    return str(value)


def instant(us: int) -> str:
    """Microseconds as ISO 8601."""
    return text((_EPOCH + timedelta(microseconds=int(us))).replace(tzinfo=None))


def money(atoms: int) -> str:
    """To twelve decimals, half up; a sum of them is not the sum of the lines: atoms are."""
    return str(Decimal(ledger.half_up(atoms * 10**12, ledger.ATOMS_PER_UNIT)).scaleb(-12))


def components(price: Row | None) -> dict[str, str]:
    """What a price is made of: component -> currency units per card-hour; nothing where it is one figure."""
    terms = price.get("terms") if price is not None else None
    if not terms:
        return {}
    parts = json.loads(str(terms))["components"].items()
    return {name: str(_decimal(_rounded(Fraction(part)))) for name, part in parts}


def _made_of(found: Explanation) -> list[tuple[str, str]]:
    """List price, components and exchange rate of a line, each where there is one."""
    line, price, lines = found.line, found.price, []
    if line.get("list_micro") is not None and line["list_micro"] != line["price_micro"]:
        lines.append(("list", f"{_decimal(line['list_micro'])} {line['currency']} a card-hour"))
    parts = components(price)
    if price is not None and len(parts) > 1:
        said = ", ".join(f"{name} {amount}" for name, amount in parts.items())
        lines.append(("made of", plain(f"{said} {price['currency']} a card-hour")))
    if found.rate is not None:
        one_of, factor = found.rate, Decimal(int(found.rate["rate_nano"])).scaleb(-9)
        words = [f"1 {one_of['from_currency']} is {format(factor.normalize(), 'f')} {one_of['to_currency']}"]
        words += [f"valid from {text(one_of['valid_from'])}", f"known since {text(one_of['known_from'])}"]
        lines.append(("rate", plain(", ".join([*words, f"from {one_of['source']}"]))))
    return lines


def _decimal(micro: Any) -> str | None:
    return None if micro is None else str(ledger.price_decimal(int(micro)))


def _rounded(exact: Fraction) -> int:
    return ledger.half_up(exact.numerator, exact.denominator)


def _price(price: Row | None) -> str:
    if price is None:
        return ", by a price row that is not published"
    words = [f"price {price['price_id']}", f"for {price['model'] or 'every model'}"]
    if price.get("kind") not in (None, "list"):
        words.insert(1, str(price["kind"]))
    words += [f"{what} {price[what]}" for what in ("card", "node", "label") if price.get(what)]
    if price["pool"]:
        words.append(f"in pool {price['pool']}")
    words.append(f"valid from {text(price['valid_from'])}")
    if price["valid_to"] is not None:
        words.append(f"to {text(price['valid_to'])}")
    words.append(f"known since {text(price['known_from'])}")
    if price["source"]:
        words.append(f"from {price['source']}")
    if price["assumed"]:
        words.append("assumed, not agreed")
    return f" ({plain(', '.join(words))})"


def payer(line: Row, named: Row | None, rule: str | None) -> str:
    """Who pays for a line. named: the published department."""
    department = str(line["department_id"])
    if department == ledger.PLATFORM:
        return "the platform: nobody is charged for this state"
    name = str(named["name"]) if named else ""
    words = ["unmapped: no rule says whose it is" if department == ledger.UNMAPPED else department]
    words += [name] if name and name != department else []
    words += [f"{key} {line[key]}" for key in ("business", "scenario") if line[key]]
    if rule is not None:
        words.append(f"by rule {rule}")
    return plain(", ".join(words))


def held_by(workload: Row | None) -> str:
    """A workload in brackets; nothing for None."""
    if workload is None:
        return ""
    said = [
        f"{key} {workload[key]}"
        for key in ("kind", "name", "user_name", "namespace", "partition")
        if workload[key]
    ]
    return f" ({plain(', '.join(said).replace('user_name', 'user'))})"
