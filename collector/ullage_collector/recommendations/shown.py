"""A row of the ledger as JSON and as lines for people; the API, the command and the page print the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final

from ullage_collector.ledger import formatted, rounded
from ullage_collector.recommendations.book import ACTIVE
from ullage_contract.plain import plain

_INSTANTS: Final = ("opened_at", "changed_at", "accepted_at", "done_at", "ended_at", "measured_at")
_MONEY: Final = {
    "month_atoms": "a_month",
    "counted_atoms": "counted_a_month",
    "before_atoms": "before",
    "after_atoms": "after",
    "saved_atoms": "saved",
}


def to_json(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of book.rows as plain JSON: money as texts in the currency's smallest unit, None: not known."""
    told: dict[str, Any] = {}
    for name, value in row.items():
        if name in _MONEY:
            told[_MONEY[name]] = money(value, row["currency"])
        elif name in _INSTANTS:
            told[name] = None if value is None else _instant(value)
        else:
            told[name] = value.isoformat() if isinstance(value, date) else value
    return told


def totals(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """What the open and accepted ones save a month together, by currency; nothing is counted twice."""
    found: dict[str, int] = defaultdict(int)
    for row in rows:
        if row["state"] in ACTIVE and row["counted_atoms"] is not None:
            found[row["currency"]] += int(row["counted_atoms"])
    return {name: formatted(rounded(atoms, name), grouped=False) for name, atoms in sorted(found.items())}


def lines(told: Sequence[Mapping[str, Any]], sums: Mapping[str, str]) -> Iterator[str]:
    """For people, one or two lines a row. told: of to_json."""
    for row in told:
        gain = "not known" if row["a_month"] is None else f"{row['a_month']} {row['currency']} a month"
        if row["counted_a_month"] != row["a_month"]:
            gain += f" ({row['counted_a_month']} of it counted, see {', '.join(row['shared_with'])})"
        whose = plain(row["owner"] or row["department_id"] or "nobody named")
        yield (
            f"{row['recommendation_id']} {row['state']} {row['kind']} {plain(row['subject'])}: {plain(gain)}; {whose}, "
            f"risk {row['risk']}, effort {row['effort']}, due {row['due']}"
        )
        yield f"  {plain(row['formula'])}"
        if row["saved"] is not None:
            yield f"  saved {row['saved']} {row['currency']}: {plain(row['method'])}"
        elif row["reason"]:
            yield f"  {plain(row['reason'])}"
    for currency, amount in sums.items():
        yield f"together {amount} {currency} a month, nothing counted twice"


def money(atoms: int | None, currency: str | None) -> str | None:
    """Atoms as a person reads them, half up; None: not known."""
    return (
        None if atoms is None or currency is None else formatted(rounded(int(atoms), currency), grouped=False)
    )


def _instant(value: datetime) -> str:
    return value.isoformat(timespec="seconds") + "Z"
