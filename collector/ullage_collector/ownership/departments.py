"""The organisation as a tree and exact sums over it, answered from the store as JSON documents.

Each function takes a cursor of the store and plain values. Not here: who may ask (api.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from ullage_collector.ledger import UNMAPPED, hours_exact, money_exact
from ullage_collector.organisation import Amount, Organisation, Place, RolledUp, Tree, roll_up
from ullage_collector.ownership.explain import written
from ullage_collector.ownership.reading import MOST_DAYS, instant, organisation, us
from ullage_collector.sql import statements
from ullage_contract.errors import BadInput
from ullage_contract.instants import iso

if TYPE_CHECKING:
    import duckdb

DAY_US: Final = 86_400_000_000
THEN: Final = "then"
NOW: Final = "now"


def departments(
    cursor: duckdb.DuckDBPyConnection, at: datetime, known_at: datetime | None = None
) -> dict[str, Any]:
    """The tree as of an instant, parents before their children. Times aware; known_at None: as believed now."""
    at_us, known_us = us(at), None if known_at is None else us(known_at)
    tree = organisation(cursor).tree(at_us, known_us)
    return {
        "at": written(at_us),
        "known_at": written(known_us),
        "departments": [_listed(tree, department_id) for department_id in _in_order(tree)],
    }


def _in_order(tree: Tree) -> list[str]:
    return sorted(tree.departments, key=lambda department_id: tree.place(department_id).path)


def _listed(tree: Tree, department_id: str) -> dict[str, Any]:
    place = tree.place(department_id)
    known = tree.departments[department_id]
    return {
        "department_id": department_id,
        "name": known.name,
        "parent_id": known.parent_id,
        "path": list(place.path),
        "depth": len(place.path) - 1,
        **leaders(place),
        "source_key": known.source_key,
        "valid_from": written(known.valid_from_us) if known.valid_from_us else None,
        "valid_to": written(known.valid_to_us),
        "known_from": written(known.known_from_us),
        "known_to": written(known.known_to_us),
        "source": known.source,
    }


def leaders(place: Place) -> dict[str, Any]:
    """Who leads a department and what it is booked on; all None where the tree does not know it."""
    known = place.department
    return {
        "owner": known.owner if known else None,
        "deputy": known.deputy if known else None,
        "cost_center": known.cost_center if known else None,
    }


def rollup(
    cursor: duckdb.DuckDBPyConnection,
    start: datetime,
    end: datetime,
    tree: str,
    now: datetime,
    sees: Callable[[str], bool] = lambda department_id: True,
) -> dict[str, Any]:
    """Exact sums of [start, end) for every department and everything above it.

    tree: ``then`` (each hour by the tree valid at that hour), ``now``, or an instant as ISO 8601 with offset. sees: which lines
    count, by their department: what a reader may not see is in no sum. Raises BadInput.
    """
    from_us, to_us = us(start), us(end)
    if not 0 < to_us - from_us <= MOST_DAYS * DAY_US:
        raise BadInput(f"from and to: give more than nothing and at most {MOST_DAYS} days")
    tree_at_us = _tree_at(tree, now)
    rows = organisation(cursor)
    amounts = [amount for amount in _amounts(cursor, rows, from_us, to_us) if sees(amount.department_id)]
    found = roll_up(amounts, rows, tree_at_us=tree_at_us)
    last = rows.tree(to_us - 1 if tree_at_us is None else tree_at_us)
    return {
        "from": written(from_us),
        "to": written(to_us),
        "tree": THEN if tree_at_us is None else written(tree_at_us),
        "tree_says": _tree_says(tree_at_us, len(rows.edges(from_us, to_us))),
        "days_missing": [day.isoformat() for day in _missing(cursor, from_us, to_us)],
        "departments": [_rolled(each, last) for each in found],
    }


def _tree_at(tree: str, now: datetime) -> int | None:
    if tree == THEN:
        return None
    if tree == NOW:
        return us(now)
    with suppress(ValueError):
        found = iso(tree)
        return us(found if found.tzinfo else found.replace(tzinfo=UTC))
    raise BadInput(f"tree: {tree[:40]!r} is neither then, now nor a time, e.g. 2026-10-01T00:00:00+08:00")


def _tree_says(tree_at_us: int | None, changes: int) -> str:
    if tree_at_us is None:
        return f"each hour by the organisation valid at that hour; it changed {changes} times within the span"
    return f"all hours by the organisation of {written(tree_at_us)}"


def _amounts(cursor: duckdb.DuckDBPyConnection, rows: Organisation, from_us: int, to_us: int) -> list[Amount]:
    import pyarrow as pa

    cuts = [from_us, *rows.edges(from_us, to_us), to_us]
    stretches = pa.table(
        {"at_us": pa.array(cuts[:-1], pa.int64()), "until_us": pa.array(cuts[1:], pa.int64())}
    )
    cursor.register("stretches_given", stretches)
    try:
        found = cursor.execute(statements("ownership")["amounts"], _days(from_us, to_us)).fetchall()
    finally:
        cursor.unregister("stretches_given")
    return [
        Amount(
            department,
            at_us,
            {
                "quantity": int(quantity),
                state: int(quantity),
                **({"unpriced": int(quantity)} if currency is None else {f"atoms:{currency}": int(atoms)}),
            },
        )
        for department, state, currency, at_us, quantity, atoms in found
    ]


def _rolled(each: RolledUp, tree: Tree) -> dict[str, Any]:
    place = tree.place(each.path[-1])
    return {
        "department_id": each.path[-1],
        "name": place.department.name if place.department else None,
        "path": list(each.path),
        "depth": len(each.path) - 1,
        "mapped": each.path[-1] != UNMAPPED,
        **leaders(place),
        "own": _sums(each.own),
        "total": _sums(each.total),
    }


def _sums(measures: Mapping[str, int]) -> dict[str, Any]:
    atoms = {name.removeprefix("atoms:"): v for name, v in measures.items() if name.startswith("atoms:")}
    states = {
        name: v for name, v in measures.items() if ":" not in name and name not in ("quantity", "unpriced")
    }
    return {
        "card_hours": str(hours_exact(measures.get("quantity", 0))),
        "quantity": str(measures.get("quantity", 0)),
        "states": {name: str(hours_exact(value)) for name, value in sorted(states.items())},
        "unpriced_card_hours": str(hours_exact(measures.get("unpriced", 0))),
        "cost": {currency: str(money_exact(value)) for currency, value in sorted(atoms.items())},
        "cost_atoms": {currency: str(value) for currency, value in sorted(atoms.items())},
    }


def _missing(cursor: duckdb.DuckDBPyConnection, from_us: int, to_us: int) -> Sequence[date]:
    span = _days(from_us, to_us)
    made = {row[0] for row in cursor.execute(statements("ownership")["days"], span).fetchall()}
    count = (span["last"] - span["first"]).days + 1
    return [day for n in range(count) if (day := span["first"] + timedelta(days=n)) not in made]


def _days(from_us: int, to_us: int) -> dict[str, date]:
    return {"first": instant(from_us).date(), "last": instant(to_us - 1).date()}
