"""A telemetry file's rows as one SELECT that a map makes: identities, time, metrics, and why a row is refused.

Not here: writing anything into the store (telemetry.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb

from ullage_collector.imports.expression import ValueSpec, identifier, is_number, literal
from ullage_collector.imports.map import Filter, TelemetryMap
from ullage_collector.imports.source import Source
from ullage_collector.sql import fill, statements
from ullage_collector.store.columns import raw_type
from ullage_contract import catalogue
from ullage_contract.catalogue import Metric, Type
from ullage_contract.errors import ConfigError

PIECE_ROWS: Final = 800_000
"""our choice: because a day of 512 cards fits, and a transaction of it holds the writer up for two seconds."""
IN_PLACE_GROUPS: Final = 3.0
"""our choice: because up to three readings are taken to be cheaper than writing a copy."""
RATIO_SLACK: Final = 1.05  # our choice: because makers' counters show up to 102 % at window edges
YEARS_US: Final = (946_684_800_000_000, 4_102_444_800_000_000)
"""2000 to 2100, microseconds since the epoch: a time outside is a wrong unit."""

Progress = Callable[[str, float], None]
"""Called with what is being done and the share done, 0..1."""


@dataclass(frozen=True, slots=True)
class FileRows:
    """A SELECT over a file. in_place: it can be narrowed by ``bound`` and be read again and again."""

    select: str
    metrics: tuple[str, ...]
    time_column: str | None


def filter_sql(source: Source, filters: tuple[Filter, ...]) -> str:
    """A condition for rows that are taken."""
    tests = ["true"]
    for test in filters:
        column = source.column(test.column)
        text = f"CAST({column} AS VARCHAR)"
        if test.is_:
            tests.append(f"{text} IN ({', '.join(literal(x) for x in test.is_)})")
        if test.is_not:
            tests.append(f"coalesce({text} NOT IN ({', '.join(literal(x) for x in test.is_not)}), true)")
        if test.above is not None:
            tests.append(f"TRY_CAST({column} AS DOUBLE) > {test.above!r}")
        if test.below is not None:
            tests.append(f"TRY_CAST({column} AS DOUBLE) < {test.below!r}")
        if test.present is not None:
            tests.append(f"(nullif({text}, '') IS NOT NULL) = {str(test.present).lower()}")
    return " AND ".join(tests)


def file_rows(source: Source, spec: TelemetryMap) -> FileRows:
    known = catalogue.keys(spec.family)
    metrics: Mapping[str, ValueSpec]
    if spec.metrics is None:
        if source.format == "jsonl":
            raise ConfigError(f"{source.path.name}: JSON lines need [telemetry.metrics] naming their keys")
        metrics = {key: ValueSpec(key) for key in known if source.has(key)}
    else:
        metrics = spec.metrics
    if not metrics:
        raise ConfigError(
            f"{source.path.name} has no column named as a metric of a {spec.family.value}; "
            "name them in [telemetry.metrics]"
        )
    time = spec.time.sql(source)
    names = {"cluster_id": spec.cluster, "node_id": spec.node, "subject": spec.subject}
    listed = [f"{template.sql(source)} AS {name}" for name, template in names.items()]
    for name, optional in (("vendor", spec.vendor), ("model", spec.model)):
        listed.append(f"{optional.sql(source) if optional else 'CAST(NULL AS VARCHAR)'} AS {name}")
    problems = [
        f"WHEN t IS NULL OR t NOT BETWEEN {YEARS_US[0]} AND {YEARS_US[1]} THEN 'no time between 2000 and 2100'",
        "WHEN cluster_id IS NULL OR node_id IS NULL THEN 'no cluster or node'",
        f"WHEN subject IS NULL OR length(subject) > 200 THEN 'no {spec.family.value}'",
    ]
    inner: list[str] = []
    outer: list[str] = []
    for key, value in metrics.items():
        metric = known[key]
        inner.append(f"{_value(source, metric, value)} AS {identifier(key)}")
        problems += _problems(source, metric, value, inner)
        outer.append(identifier(key))
    select = (
        f"SELECT import_row, t, cluster_id, node_id, subject, vendor, model, {', '.join(outer)}, "  # noqa: S608
        f"CASE {' '.join(problems)} END AS problem FROM "
        f"(SELECT import_row, {time} AS t, {', '.join(listed + inner)} FROM {source.relation} "
        f"WHERE {filter_sql(source, spec.filters)} {{bound}})"
    )
    return FileRows(select, tuple(metrics), spec.time.column)


def _value(source: Source, metric: Metric, value: ValueSpec) -> str:
    type_ = raw_type(metric)
    if metric.type is Type.TEXT:
        return f"CAST({value.raw(source)} AS VARCHAR)"
    kind_ = source.kind(value.column)
    if metric.type is Type.INTEGER:
        if is_number(kind_) and "INT" in kind_ and value.factor == 1 and not value.offset and not value.null:
            return f"TRY_CAST({value.raw(source)} AS {type_})"
        return f"TRY_CAST(round({value.number(source)}) AS {type_})"
    return f"CAST({value.number(source)} AS {type_})" if type_ != "DOUBLE" else value.number(source)


def _problems(source: Source, metric: Metric, value: ValueSpec, inner: list[str]) -> list[str]:
    """WHEN clauses for what is wrong with one metric of a row."""
    column = identifier(metric.key)
    found = []
    whole = is_number(source.kind(value.column)) and metric.type is not Type.TEXT
    if not whole or metric.type is Type.INTEGER:
        raw = f"raw_{metric.key}"
        text = value.raw(source)
        if is_number(source.kind(value.column)) and "INT" not in source.kind(value.column):
            text = f"nullif({text}, 'NaN')"
        inner.append(f"{text} AS {raw}")
        if metric.type is Type.TEXT:
            if metric.words:
                words = ", ".join(literal(w) for w in metric.words)
                says = f"'{metric.key}: ' || {column} || ' is none of {', '.join(metric.words)}'"
                found.append(f"WHEN {column} NOT IN ({words}) THEN {says}")
        else:
            nan = f" AND lower(CAST({raw} AS VARCHAR)) <> 'nan'"
            says = (
                f"'{metric.key}: ' || left(CAST({raw} AS VARCHAR), 40) || ' is no {raw_type(metric).lower()}'"
            )
            found.append(f"WHEN {column} IS NULL AND {raw} IS NOT NULL{nan} THEN {says}")
    if metric.type is Type.FLOAT:
        limit = (
            f"NOT BETWEEN 0 AND {RATIO_SLACK}"
            if metric.key.endswith("_ratio")
            else "NOT BETWEEN -1e30 AND 1e30"
        )
        hint = (
            " is no ratio 0..1: set factor = 0.01 if it is per cent"
            if metric.key.endswith("_ratio")
            else " is no finite number"
        )
        found.append(f"WHEN {column} {limit} THEN '{metric.key}: ' || {column} || '{hint}'")
    return found


@contextmanager
def readable(
    cursor: duckdb.DuckDBPyConnection,
    source: Source,
    rows: FileRows,
    spec: TelemetryMap,
    folder: Path,
    progress: Progress,
) -> Iterator[Callable[[int | None, int | None], str]]:
    """A function giving the SELECT of the rows in [from_us, to_us): of the file itself or of a staged copy."""
    if _in_order(cursor, source, spec):

        def in_place(from_us: int | None, to_us: int | None) -> str:
            bound = ""
            if from_us is not None and to_us is not None and rows.time_column is not None:
                column = source.column(rows.time_column)
                kind_ = source.kind(rows.time_column)
                low, high = spec.time.bound(from_us, kind_), spec.time.bound(to_us, kind_)
                if low and high:
                    bound = f"AND {column} >= {low} AND {column} < {high}"
            return fill(rows.select, bound=bound)

        yield in_place
        return
    progress("reading", 0.0)
    quoted = literal(str(folder / "stage.duckdb"))
    cursor.execute(f"ATTACH {quoted} AS scratch")
    try:
        cursor.execute(fill(statements("imports")["stage"], rows=fill(rows.select, bound="")))
        yield lambda from_us, to_us: "SELECT * FROM scratch.stage"
    finally:
        cursor.execute("DETACH scratch")


def _in_order(cursor: duckdb.DuckDBPyConnection, source: Source, spec: TelemetryMap) -> bool:
    """Whether each stretch of time stands in few row groups of a Parquet file."""
    column = spec.time.column
    if source.format != "parquet" or column is None:
        return False
    if spec.time.bound(0, source.kind(column)) is None:
        return False
    groups = cursor.execute(statements("imports")["spread"], [str(source.path), column]).fetchall()
    kind_ = source.kind(column)
    spans = []
    for low, high, count in groups:
        try:
            span = cursor.execute(f"SELECT CAST(? AS {kind_}), CAST(? AS {kind_})", [low, high]).fetchall()[0]
        except duckdb.Error:
            return False
        if None in span:
            return False
        spans.append((span, count))
    total = sum(count for _, count in spans)
    if total <= PIECE_ROWS:
        return True
    unit = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}.get(spec.time.unit)
    days = 0.0
    for (low, high), _ in spans:
        seconds = (high - low) / unit if unit else (high - low).total_seconds()
        days += 1 + seconds / 86_400
    return days <= IN_PLACE_GROUPS * len(spans)
