"""Dated facts: written when one changes, so that a driver version has a history and no row repeats it.

The newest value of every fact stands beside the identity (``card.facts``), the history in ``fact``.
A fact that came late, from before what is known already, is history and changes nothing newer.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pyarrow as pa

from ullage_collector.sql import fill, statements
from ullage_collector.store import incoming
from ullage_contract.sample import Facts, Family

if TYPE_CHECKING:
    import duckdb

_PROCESSES_REMEMBERED: Final = 100_000  # our choice: because a fleet has fewer compute processes alive

_COLUMNS: Final[Mapping[Family, Mapping[str, tuple[str, pa.DataType]]]] = {
    Family.CARD: {
        "vendor": ("vendor", pa.string()),
        "model": ("model", pa.string()),
        "uuid": ("uuid", pa.string()),
        "serial": ("serial", pa.string()),
        "board_id": ("board_id", pa.string()),
        "pci_address": ("pci_address", pa.string()),
        "index": ("card_index", pa.int32()),
        "minor": ("minor", pa.int32()),
        "memory_total_bytes": ("memory_total_bytes", pa.uint64()),
    },
    Family.SLICE: {
        "profile": ("profile", pa.string()),
        "compute_share": ("compute_share", pa.float64()),
        "memory_share": ("memory_share", pa.float64()),
    },
    Family.PORT: {"link_layer": ("link_layer", pa.string())},
    Family.NODE: {},
}
"""fact -> column of the identity's table that is made of it."""

_FACT: Final[Mapping[str, pa.DataType]] = {
    "family": pa.string(),
    "subject": pa.string(),
    "name": pa.string(),
    "value": pa.string(),
    "valid_from": incoming.TIMESTAMP,
    "received_at": incoming.TIMESTAMP,
}


@dataclass(frozen=True, slots=True)
class ReceivedFacts:
    """Facts with the key of their subject (None for a process) and when they hold from and came, in us."""

    facts: Facts
    subject_key: int | None
    valid_from_us: int
    received_us: int


class FactBook:
    """What was last said of whom. One instance beside the writer."""

    def __init__(self) -> None:
        self._processes: OrderedDict[str, bytes] = OrderedDict()

    def apply(self, connection: duckdb.DuckDBPyConnection, received: Sequence[ReceivedFacts]) -> int:
        """Write what changed, in the transaction of ``connection``; how many facts did."""
        rows: list[tuple[Any, ...]] = []
        by_family: dict[Family, list[ReceivedFacts]] = {}
        for item in received:
            by_family.setdefault(item.facts.family, []).append(item)
        for family, items in by_family.items():
            if family is Family.PROCESS:
                rows += self._processes_changed(items)
            else:
                rows += _identities_changed(connection, family, items)
        incoming.execute(connection, statements("identities")["put_facts"], incoming.table(_FACT, rows))
        return len(rows)

    def _processes_changed(self, items: Sequence[ReceivedFacts]) -> list[tuple[Any, ...]]:
        rows = []
        for item in items:
            said = msgspec.json.encode(dict(item.facts.attributes))
            if self._processes.get(item.facts.subject) == said:
                self._processes.move_to_end(item.facts.subject)
                continue
            self._processes[item.facts.subject] = said
            rows += [_row(item, name, value) for name, value in item.facts.attributes.items()]
        while len(self._processes) > _PROCESSES_REMEMBERED:
            self._processes.popitem(last=False)
        return rows


def _row(item: ReceivedFacts, name: str, value: Any) -> tuple[Any, ...]:
    encoded = None if value is None else msgspec.json.encode(value).decode()
    facts = item.facts
    return (facts.family.value, facts.subject, name, encoded, item.valid_from_us, item.received_us)


def _identities_changed(
    connection: duckdb.DuckDBPyConnection, family: Family, items: Sequence[ReceivedFacts]
) -> list[tuple[Any, ...]]:
    table, key = family.value, f"{family.value}_key"
    keys = incoming.table({"subject_key": pa.int32()}, [(k,) for k in {i.subject_key for i in items}])
    sql = statements("identities")
    newest: dict[int, tuple[dict[str, Any], int | None]] = {
        subject: (msgspec.json.decode(text) if text else {}, at)
        for subject, text, at in incoming.fetch(
            connection, fill(sql["newest_facts"], table=table, key=key), keys
        )
    }
    rows: list[tuple[Any, ...]] = []
    changed: set[int] = set()
    for item in sorted(items, key=lambda i: i.valid_from_us):
        if item.subject_key is None or item.subject_key not in newest:
            continue
        known, at = newest[item.subject_key]
        different = {
            name: value
            for name, value in item.facts.attributes.items()
            if (value is not None or name in known) and known.get(name) != value
        }
        rows += [_row(item, name, value) for name, value in different.items()]
        if at is None or (different and item.valid_from_us >= at):
            newest[item.subject_key] = ({**known, **different}, item.valid_from_us)
            changed.add(item.subject_key)
    columns = _COLUMNS[family]
    types = {
        "subject_key": pa.int32(),
        "facts": pa.string(),
        "facts_at": incoming.TIMESTAMP,
        **{column: type_ for column, type_ in columns.values()},
    }
    updates = incoming.table(
        types,
        [
            (
                subject,
                msgspec.json.encode(newest[subject][0]).decode(),
                newest[subject][1],
                *(_fitting(newest[subject][0].get(name), type_) for name, (_, type_) in columns.items()),
            )
            for subject in changed
        ],
    )
    assignments = "".join(f", {c} = coalesce(i.{c}, {table}.{c})" for c, _ in columns.values())
    incoming.execute(connection, fill(sql["set_facts"], table=table, key=key, columns=assignments), updates)
    return rows


def _fitting(value: Any, type_: pa.DataType) -> Any:
    """The value if the column can hold it, else None: a fact keeps what the agent said, whatever it is."""
    if value is None or isinstance(value, list):
        return None
    if type_ == pa.string():
        return str(value)
    if isinstance(value, str):
        return None
    if type_ == pa.float64():
        return float(value)
    if value != int(value) or not 0 <= value < (2**31 if type_ == pa.int32() else 2**64):
        return None
    return int(value)
