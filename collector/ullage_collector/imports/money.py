"""Departments with the rules that say who pays, from TOML as people write it or a table by a map; what all such files share.

A file says everything its name ever said: what an earlier version of the same file name gave and this one
does not is no longer believed from now on. Nothing is erased: it gets a known_to.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from ullage_collector.imports.expression import Template, TimeSpec, ValueSpec, instant_us
from ullage_collector.imports.map import RecordMap
from ullage_collector.imports.records import read, zone_of
from ullage_collector.imports.report import Report
from ullage_collector.imports.source import Source, unreadable
from ullage_collector.ledger import MICRO
from ullage_collector.mapping import KINDS as MATCH_KINDS
from ullage_collector.sql import fill, statements
from ullage_collector.store import incoming
from ullage_contract.errors import BadInput, ConfigError

if TYPE_CHECKING:
    import duckdb

    from ullage_collector.store.store import Store

SCENARIOS: Final = ("development", "training", "inference", "batch")
_ALWAYS_US: Final = 0  # a price or rule without a start holds since the epoch


@dataclass(frozen=True, slots=True)
class DatedTable:
    """A dated-twice table. columns: what is compared and written. number: its key's column, if it has one."""

    name: str
    columns: Mapping[str, pa.DataType]
    number: str | None
    sourced: bool


DATED: Final = ("from", "to", "valid_from", "valid_to")
"""How an entry says when it holds; the two pairs mean the same."""
DATES: Final = {"valid_from": incoming.TIMESTAMP, "valid_to": incoming.TIMESTAMP}
_RULE: Final = DatedTable(
    "mapping_rule",
    {
        "match": pa.string(),
        "priority": pa.int32(),
        "department_id": pa.string(),
        "business": pa.string(),
        "scenario": pa.string(),
        **DATES,
        "source": pa.string(),
    },
    "rule_id",
    True,
)
_DEPARTMENT: Final = DatedTable(
    "department",
    {
        "department_id": pa.string(),
        "name": pa.string(),
        "parent_id": pa.string(),
        "owner": pa.string(),
        "deputy": pa.string(),
        "cost_center": pa.string(),
        "source_key": pa.string(),
        **DATES,
        "source": pa.string(),
    },
    None,
    False,
)

Entry = tuple[int, Mapping[str, Any]]
"""An entry's number in its file, from 1, and its fields."""


def import_mapping(
    store: Store, departments: Iterable[Entry], rules: Iterable[Entry], path: Path, report: Report
) -> None:
    """Import departments and rules."""
    known = []
    for number, entry in departments:
        report.rows_read += 1
        try:
            known.append(_department(entry, f"import:{path.name}"))
        except (BadInput, ConfigError) as e:
            report.refuse(number, f"department: {e}")
    source = f"import:{path.name}"
    rows = []
    for number, entry in rules:
        report.rows_read += 1
        try:
            rows.append(_rule(entry, source))
        except (BadInput, ConfigError) as e:
            report.refuse(number, f"rule: {e}")
    if known:
        keep_dated(store, _DEPARTMENT, known, None, report)
    keep_dated(store, _RULE, rows, source, report)


def toml_entries(path: Path, *names: str) -> dict[str, list[Entry]]:
    """The tables ``[[name]]`` of a TOML file. Raises BadInput for a file that is none, or has another table."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        raise BadInput(f"{path.name} cannot be read: {e}") from e
    for name in document:
        if name not in (*names, "schema_version"):
            raise BadInput(f"{path.name}: {name!r} is none of {', '.join(f'[[{n}]]' for n in names)}")
    found: dict[str, list[Entry]] = {}
    for name in names:
        tables = document.get(name, [])
        if not isinstance(tables, list) or not all(isinstance(t, dict) for t in tables):
            raise BadInput(f"{path.name}: write each {name} as a table [[{name}]]")
        found[name] = list(enumerate(tables, 1))
    return found


def table_entries(
    cursor: duckdb.DuckDBPyConnection, source: Source, spec: RecordMap, report: Report
) -> Iterator[Entry]:
    """The rows of a table file as entries; times are microseconds since the epoch."""
    fields: dict[str, Template | TimeSpec | ValueSpec | None] = {**spec.texts, **spec.times}
    for row in read(cursor, source, fields, spec.filters, zone_of(*spec.times.values())):
        entry = {name: row[name] for name in fields}
        for name in spec.times:
            if entry[name] is None and row[f"{name}_written"] is not None:
                entry[name] = row[f"{name}_written"]  # refused by name, not taken as open
        yield row.number, entry
    for line, why in unreadable(cursor, source):
        report.rows_read += 1
        report.refuse(line, why)


def _department(entry: Mapping[str, Any], source: str) -> tuple[Any, ...]:
    texts = ("owner", "deputy", "cost_center", "key")
    only(entry, "id", "name", "parent", *texts, "from", "to", "valid_from", "valid_to")
    department = needed(entry, "id")
    if department in ("platform", "__unallocated__"):
        raise BadInput(f"id {department!r} is Ullage's own; choose another")
    parent = text_of(entry, "parent") or department.rpartition("/")[0] or None
    starts, ends = dates_of(entry)
    name = text_of(entry, "name") or department
    return (department, name, parent, *(text_of(entry, text) for text in texts), starts, ends, source)


def _rule(entry: Mapping[str, Any], source: str) -> tuple[Any, ...]:
    only(
        entry,
        "match",
        "priority",
        "department",
        "business",
        "scenario",
        "from",
        "to",
        "valid_from",
        "valid_to",
    )
    match = needed(entry, "match")
    kind, colon, pattern = match.partition(":")
    if not colon or not pattern or kind not in MATCH_KINDS:
        raise BadInput(f"match {match[:60]!r}: write KIND:GLOB, KIND one of {', '.join(MATCH_KINDS)}")
    try:
        priority = int(str(entry.get("priority") or 0))
    except ValueError:
        raise BadInput(f"priority {str(entry.get('priority'))[:20]!r} is no whole number") from None
    department, business = text_of(entry, "department"), text_of(entry, "business")
    scenario = text_of(entry, "scenario")
    if scenario is not None and scenario not in SCENARIOS:
        raise BadInput(f"scenario {scenario[:30]!r} is none of {', '.join(SCENARIOS)}")
    if department is None and business is None and scenario is None:
        raise BadInput("it says neither department, business nor scenario")
    starts, ends = dates_of(entry)
    return (match, priority, department, business, scenario, starts, ends, source)


def only(entry: Mapping[str, Any], *names: str) -> None:
    """Raises BadInput for a field that is none of the names."""
    for name in entry:
        if name not in names:
            raise BadInput(f"{name!r} is not known here; known: {', '.join(names)}")


def text_of(entry: Mapping[str, Any], name: str) -> str | None:
    """A field as text; None: it is missing or empty."""
    value = entry.get(name)
    return None if value is None or str(value).strip() == "" else str(value).strip()


def needed(entry: Mapping[str, Any], name: str) -> str:
    """A field that must be there. Raises BadInput."""
    value = text_of(entry, name)
    if value is None:
        raise BadInput(f"no {name}")
    return value


def dates_of(entry: Mapping[str, Any]) -> tuple[int, int | None]:
    """(from, to) in microseconds; None: open. Raises BadInput, ConfigError."""
    starts = instant_of(entry.get("from", entry.get("valid_from")), "from")
    ends = instant_of(entry.get("to", entry.get("valid_to")), "to")
    begin = _ALWAYS_US if starts is None else starts
    if ends is not None and ends <= begin:
        raise BadInput("it ends before it begins")
    return begin, ends


MOST_MICRO: Final = 10**14
"""Micro-units. our choice: because no currency prices a card-hour or kilowatt-hour so, and a day of 10,000 cards at it still fits the 38
digits of exact money: a slip of the pen is no day that cannot be summed."""


def instant_of(value: Any, name: str) -> int | None:
    """An instant in microseconds; None: it is missing. Raises ConfigError."""
    if value is None or value == "":
        return None
    return value if isinstance(value, int) else instant_us(value, name)


def micro_of(text: Any, name: str) -> int:
    """A decimal with at most six digits behind the point as micro-units. Raises BadInput."""
    try:
        micro = Decimal(str(text)) * MICRO
        whole = int(micro)
    except (InvalidOperation, ValueError, OverflowError):
        raise BadInput(f"{name} {str(text)[:40]!r} is no decimal number") from None
    if isinstance(text, bool) or whole != micro or whole < 0:
        raise BadInput(f"{name} {str(text)[:40]!r}: at least 0, at most six digits behind the point")
    if whole > MOST_MICRO:
        raise BadInput(
            f"{name} {str(text)[:40]!r} is more than {MOST_MICRO // MICRO:,} an hour or kilowatt-hour"
        )
    return whole


def keep_dated(
    store: Store, table: DatedTable, rows: Sequence[tuple[Any, ...]], source: str | None, report: Report
) -> None:
    """Write what is not believed yet and stop believing what the file no longer says; of no rows at all it says nothing."""
    sql = statements("imports")
    now_us = round(store.clock.wall() * 1e6)
    same = " AND ".join(f"a.{name} IS NOT DISTINCT FROM i.{name}" for name in table.columns)
    scope = (
        "a.source = (SELECT any_value(source) FROM import_record)"
        if table.sourced
        else "a.department_id IN (SELECT department_id FROM import_record)"
    )
    if not rows:
        return
    with store.write() as cursor:
        incoming.execute(cursor, sql["stage_records"], incoming.table(table.columns, dict.fromkeys(rows)))
        present = cursor.execute(fill(sql["present_records"], table=table.name, same=same)).fetchall()[0][0]
        cursor.execute(fill(sql["end_records"], table=table.name, same=same, scope=scope), [now_us])
        names = list(table.columns)
        added = cursor.execute(
            fill(
                sql["put_records"],
                table=table.name,
                same=same,
                number=f"{table.number}, " if table.number else "",
                next_number="nextval('record_number'), " if table.number else "",
                columns=", ".join(names),
                values=", ".join(f"i.{name}" for name in names),
            ),
            [now_us],
        ).fetchall()[0][0]
    report.rows_added += added
    report.rows_present += present + len(rows) - len(dict.fromkeys(rows))


def end_dated(store: Store, table: DatedTable, source: str) -> None:
    """Stop believing all that a file said of a sourced table."""
    now_us = round(store.clock.wall() * 1e6)
    with store.write() as cursor:
        cursor.execute(fill(statements("imports")["end_source"], table=table.name), [now_us, source])
