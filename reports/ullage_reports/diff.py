"""What is other in one statement than in another: ``ullage-report diff A B``, both as ``--format json`` wrote them.

Two revisions of one period show what a correction moved and which published days are others; two periods show what grew. A row
that one of them does not have counts as zero there. The departments' own amounts are the parts of the whole: their differences
add up to the total's, and when they do not that is said.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from ullage_contract.errors import BadInput
from ullage_contract.plain import plain
from ullage_reports.amount import DIGITS

SCHEMA_VERSION: Final = 1
"""Of the JSON form, and of the statements read."""
MAX_BYTES: Final = 512 * 1024 * 1024  # our choice: because a quarter of 10,000 cards is some ten MiB
ROWS: Final = 20
"""our choice: a page of people's shows the twenty that moved most in each table; JSON has all."""

NOT_GIVEN: Final = "(not given)"
BILL: Final = "owed"
"""The table of what departments owe."""

Json = Mapping[str, Any]
_SHAPES: Final = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)
"""What reading a JSON of another shape ends with."""


@dataclass(frozen=True, slots=True)
class Moved:
    """A row of a table whose cost or hours are others. before, after: money, hours."""

    table: str
    name: str
    cost: tuple[Decimal, Decimal]
    hours: tuple[Decimal, Decimal]

    @property
    def difference(self) -> Decimal:
        """In money."""
        return self.cost[1] - self.cost[0]


@dataclass(frozen=True, slots=True)
class Difference:
    """total: the whole, also where it did not move. moved: what did, by table, the most first. causes: sentences on what the
    two were made from. adds_up: the departments' differences are the total's."""

    a: Json
    b: Json
    total: Moved
    moved: tuple[Moved, ...]
    causes: tuple[str, ...]
    adds_up: bool


def _named(key: str) -> Callable[[Json], str]:
    return lambda row: str(row[key])


_TABLES: Final[Mapping[str, tuple[str, Callable[[Json], str], str]]] = {
    # table -> the list in the JSON, a row's identity, where its amounts are
    "department": ("departments", _named("department_id"), "own"),
    "business": ("businesses", _named("key"), "amounts"),
    "scenario": ("scenarios", _named("key"), "amounts"),
    "vendor": ("vendors", _named("key"), "amounts"),
    "model": ("models", lambda row: f"{row['vendor']} {row['model']}", "amounts"),
    "pool": ("pools", _named("key"), "amounts"),
    "cluster": ("clusters", _named("key"), "amounts"),
    "day": ("trend", _named("label"), "amounts"),
}


def run(a: Path, b: Path, *, as_json: bool) -> bool:
    """Print the difference; whether it adds up. Raises BadInput for a file that is no statement, and for two currencies."""
    found = difference(read(a), read(b))
    if as_json:
        sys.stdout.write(json.dumps(to_json(found), ensure_ascii=False, indent=1) + "\n")
    else:
        sys.stdout.write("\n".join(page(found)) + "\n")
    return found.adds_up


def read(path: Path) -> Json:
    """A statement's JSON. Raises BadInput naming the file and what to do."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise BadInput(f"{path}: more than {MAX_BYTES} bytes: no statement")
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise BadInput(f"{path}: {e.strerror}; name a file that --format json wrote") from e
    except (ValueError, RecursionError) as e:
        raise BadInput(f"{path}: is no JSON ({str(e)[:80]}); name a file that --format json wrote") from e
    try:
        if found["schema_version"] != SCHEMA_VERSION:
            raise BadInput(
                f"{path}: schema_version {repr(found['schema_version'])[:40]} is not known; only {SCHEMA_VERSION} is"
            )
        for day in found["trust"]["days"]:
            str(day["day"]), day["digest"], day["revision"], day["status"]
        same = difference(found, found)  # what cannot be compared with itself can be compared with nothing
        to_json(same), page(same)
    except _SHAPES as e:
        raise BadInput(
            f"{path}: is no statement ({plain(repr(e))[:120]} is missing or wrong); name a file that --format json wrote"
        ) from e
    statement: Json = found
    return statement


def difference(a: Json, b: Json) -> Difference:
    """See the module. Raises BadInput where the two are in different currencies."""
    if a["currency"] != b["currency"]:
        raise BadInput(
            f"one statement is in {a['currency']}, the other in {b['currency']}: money of two currencies has no difference"
        )
    total = _moved("total", "total", a["total"], b["total"])
    owed = _owed(a, b)
    moved: list[Moved] = [
        one
        for state in _pairs(a["total"]["states"], b["total"]["states"], _named("state"))
        if (one := _of("state", *state))
    ]
    own = Decimal(0)
    for table, (key, name, amounts) in _TABLES.items():
        if table == "day" and a["period"] != b["period"]:
            continue  # other days: every one of them would be other
        rows = [
            one
            for pair in _pairs(a.get(key) or (), b.get(key) or (), name)
            if (one := _of(table, pair[0], *(row and row[amounts] for row in pair[1:])))
        ]
        if table == "department":
            own = sum((one.difference for one in rows), Decimal(0))
        moved += sorted(rows, key=lambda one: (-abs(one.difference), one.name))
    bills = [_charges(one["bill"]["total"]) if one.get("bill") else None for one in (a, b)]
    whole = _moved(BILL, "total", *bills)
    moved += owed
    adds_up = own == total.difference and (
        None in bills or whole.difference == sum((one.difference for one in owed), Decimal(0))
    )
    return Difference(a, b, total, tuple(moved), tuple(_causes(a, b)), adds_up)


def _owed(a: Json, b: Json) -> list[Moved]:
    """What departments owe more or less, each by itself; nothing where one of the statements has no bill."""
    if not a.get("bill") or not b.get("bill"):
        return []
    rows = [
        one
        for name, *both in _pairs(a["bill"]["departments"], b["bill"]["departments"], _named("department_id"))
        if (one := _of(BILL, name, *(row and _charges(row["own"]) for row in both)))
    ]
    return sorted(rows, key=lambda one: (-abs(one.difference), one.name))


def _charges(charges: Json) -> Json:
    """Charges as a row of cost; they have no hours of their own."""
    return {"cost": charges["total"], "hours": "0"}


def _pairs(a: Any, b: Any, name: Callable[[Json], str]) -> list[tuple[str, Json | None, Json | None]]:
    """Rows of both by their identity, in the order of the first, then of the second."""
    first = {name(row): row for row in a}
    second = {name(row): row for row in b}
    return [(key, first.get(key), second.get(key)) for key in dict.fromkeys([*first, *second])]


def _of(table: str, name: str, a: Json | None, b: Json | None) -> Moved | None:
    one = _moved(table, name, a, b)
    return one if one.cost[0] != one.cost[1] or one.hours[0] != one.hours[1] else None


def _moved(table: str, name: str, a: Json | None, b: Json | None) -> Moved:
    def number(row: Json | None, key: str) -> Decimal:
        if row is None:
            return Decimal(0)
        found = Decimal(row[key])
        if not found.is_finite() or abs(found.adjusted()) > DIGITS:
            raise ValueError(f"{key} of {table} {name}")
        return found

    return Moved(
        table, name, (number(a, "cost"), number(b, "cost")), (number(a, "hours"), number(b, "hours"))
    )


def _causes(a: Json, b: Json) -> list[str]:
    said = []
    if a["period"] != b["period"]:
        said.append(f"the periods are others: {_period(a)} and {_period(b)}")
    first = {str(day["day"]): day for day in a["trust"]["days"]}
    second = {str(day["day"]): day for day in b["trust"]["days"]}
    for day in sorted(first.keys() & second.keys()):
        if first[day]["digest"] != second[day]["digest"]:
            said.append(
                f"{day} is revision {second[day]['revision']} ({second[day]['status']}), it was {first[day]['revision']} "
                f"({first[day]['status']})"
            )
    if a["period"] == b["period"]:
        said += [f"{day} is published now" for day in sorted(second.keys() - first.keys())]
        said += [f"{day} is not published any more" for day in sorted(first.keys() - second.keys())]
    if a["trust"].get("dimensions_digest") != b["trust"].get("dimensions_digest"):
        said.append("names, prices or the organisation were published anew in between")
    policies = [
        [(row["policy_id"], row["digest"]) for row in (one.get("bill") or {}).get("policies", ())]
        for one in (a, b)
    ]
    if all(policies) and policies[0] != policies[1]:
        named = [", ".join(f"{name} {digest}" for name, digest in some) for some in policies]
        said.append(f"cost is shared out by policy {named[1]}, it was by {named[0]}")
    if a.get("tree") != b.get("tree"):
        said.append("departments are summed by another organisation")
    return said or ["both were made from the same published data"]


def _period(statement: Json) -> str:
    return f"{statement['period']['label']} in {statement['period']['zone']}"


def to_json(found: Difference) -> dict[str, Any]:
    """All that moved; numbers as texts."""

    def row(one: Moved) -> dict[str, Any]:
        return {
            "table": one.table,
            "name": one.name,
            "cost": {
                "before": str(one.cost[0]),
                "after": str(one.cost[1]),
                "difference": str(one.difference),
            },
            "hours": {
                "before": str(one.hours[0]),
                "after": str(one.hours[1]),
                "difference": str(one.hours[1] - one.hours[0]),
            },
        }

    return {
        "schema_version": SCHEMA_VERSION,
        "currency": found.a["currency"],
        "before": {
            "period": _period(found.a),
            "status": found.a["status"],
            "generated_at": found.a["generated_at"],
        },
        "after": {
            "period": _period(found.b),
            "status": found.b["status"],
            "generated_at": found.b["generated_at"],
        },
        "total": row(found.total),
        "moved": [row(one) for one in found.moved],
        "causes": list(found.causes),
        "adds_up": found.adds_up,
    }


def page(found: Difference) -> list[str]:
    """For people: the whole, why, then each table's rows that moved most."""
    lines = [
        f"{_period(found.a)}, {found.a['status']}  ->  {_period(found.b)}, {found.b['status']}   ({found.a['currency']})",
        *(f"  {cause}" for cause in found.causes),
        "",
        f"{'':12}{'':38}{'before':>18}{'after':>18}{'difference':>18}{'card-hours':>16}",
        _line(found.total),
    ]
    for table in ("state", *_TABLES, BILL):
        rows = [one for one in found.moved if one.table == table]
        lines += [_line(one) for one in rows[:ROWS]]
        if len(rows) > ROWS:
            lines.append(f"{table:12}and {len(rows) - ROWS} more; --json has all")
    if not found.moved:
        lines.append("nothing moved")
    if not found.adds_up:
        lines.append(
            "The departments' differences do not add up to the total's: one of the statements is not whole."
        )
    return lines


def _line(one: Moved) -> str:
    hours = one.hours[1] - one.hours[0]
    return f"{one.table:12}{plain(one.name or NOT_GIVEN)[:36]:38}{one.cost[0]:>18}{one.cost[1]:>18}{one.difference:>+18}{hours:>+16}"
