"""Rows of a file as tuples of named fields, for the kinds that are thousands of rows and not millions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ullage_collector.imports.expression import Template, TimeSpec, ValueSpec, identifier, literal
from ullage_collector.imports.source import Source
from ullage_collector.imports.telemetry_rows import filter_sql
from ullage_collector.sql import fill, statements
from ullage_contract.errors import BadInput

if TYPE_CHECKING:
    import duckdb

    from ullage_collector.imports.map import Filter

NANO: Final = 1_000_000_000
_AT_A_TIME: Final = 20_000  # our choice: because so many rows are a few megabytes


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its number from 1 and its fields; None: missing. Times are microseconds since the epoch."""

    number: int
    fields: Mapping[str, Any]

    def text(self, name: str) -> str | None:
        """A field as text, or None."""
        value = self.fields.get(name)
        return None if value is None else str(value)

    def bounds(self, interval_seconds: float) -> tuple[int, int | None]:
        """``from`` and ``to`` of a row that holds for a time; None: it has not ended.

        interval_seconds: how long its ``last`` row stands for, where equal rows became one. Raises BadInput for what is
        no time, and for a row that holds for none.
        """
        from_us, to_us = self["from"], self["to"]
        if from_us is None:
            raise BadInput(f"from {str(self['from_written'])[:40]!r} is no time")
        if self["last"] is not None:
            to_us = self["last"] + round(interval_seconds * 1e6)
        if to_us is None and self["to_written"] is not None:
            raise BadInput(f"to {str(self['to_written'])[:40]!r} is no time")
        if to_us is not None and to_us <= from_us:
            raise BadInput(
                "it ends before it begins" if to_us < from_us else "it holds nothing: from equals to"
            )
        return from_us, to_us

    def __getitem__(self, name: str) -> Any:
        return self.fields.get(name)


def read(
    cursor: duckdb.DuckDBPyConnection,
    source: Source,
    fields: Mapping[str, Template | TimeSpec | ValueSpec | None],
    filters: tuple[Filter, ...] = (),
    zone: str = "UTC",
    spans: Sequence[str] = (),
) -> Iterator[Row]:
    """The rows that pass the filters, in the file's order. A JSON line that is none has every field missing.

    A time that is written but is none comes as the text it was (``from_written``), so that whoever reads can
    refuse it by name. spans: fields whose equal rows become one, with ``from`` their first and ``last`` their
    last time, and ``rows`` how many they are.
    """
    cursor.execute(fill(statements("imports")["set_zone"], zone=literal(zone)))
    listed: list[str] = []
    names: list[str] = []
    for name, spec in fields.items():
        if spec is None:
            continue
        names.append(name)
        if isinstance(spec, TimeSpec):
            listed.append(spec.sql(source))
            if spec.column is not None and source.has(spec.column):
                names.append(f"{name}_written")
                listed.append(f"nullif(trim(CAST({source.column(spec.column)} AS VARCHAR)), '')")
        elif isinstance(spec, ValueSpec):
            listed.append(spec.number(source))
            if source.has(spec.column):
                names.append(f"{name}_written")
                listed.append(f"CAST({spec.raw(source)} AS VARCHAR)")
        else:
            listed.append(spec.sql(source))
    columns = ", ".join(f"{e} AS {identifier(n)}" for e, n in zip(listed, names, strict=True))
    condition = filter_sql(source, filters)
    query = f"SELECT import_row, {columns} FROM {source.relation} WHERE {condition}"  # noqa: S608
    if spans:
        query = _spanned(query, names, spans)
        names = [*names, "last", "rows"]
    result = cursor.execute(query)
    while rows := result.fetchmany(_AT_A_TIME):
        for number, *values in rows:
            yield Row(number, dict(zip(names, values, strict=True)))


def _spanned(query: str, names: Sequence[str], spans: Sequence[str]) -> str:
    """One row for all that agree in ``spans``; a row without a time stands for itself, to be refused."""
    listed = ["min(import_row)"]
    for name in names:
        column = identifier(name)
        if name == "from":
            listed.append(f"min({column})")
        else:
            listed.append(column if name in spans else f"any_value({column})")
    by = [*(identifier(name) for name in spans), 'CASE WHEN "from" IS NULL THEN import_row END']
    last = 'max("from"), count(*)'
    return f"SELECT {', '.join(listed)}, {last} FROM ({query}) GROUP BY {', '.join(by)} ORDER BY 1"  # noqa: S608


def nano(share: float) -> int:
    """A share of a card in nano-shares, rounded to the nearest."""
    return round(share * NANO)


def zone_of(*times: TimeSpec | None) -> str:
    """The one zone of a table's naive times."""
    return next((t.zone for t in times if t is not None and t.zone != "UTC"), "UTC")
