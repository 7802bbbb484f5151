"""Received batches as Arrow tables, one a family and UTC day: columns stay columns all the way.

Batches with the same metrics are laid end to end first, so that each column is one list and one
conversion, and DuckDB gets one insert a table however many nodes pushed.

Not here: identities' keys (identities.py makes them), transactions (writer.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from ullage_collector.store.columns import SUBJECT, Grain, fixed_columns, kind, raw_type
from ullage_collector.store.days import DAY_US, utc_day
from ullage_collector.store.incoming import TIMESTAMP
from ullage_contract import catalogue
from ullage_contract.sample import Family, Value

ARROW: Final[Mapping[str, pa.DataType]] = {
    "FLOAT": pa.float32(),
    "DOUBLE": pa.float64(),
    "BIGINT": pa.int64(),
    "UBIGINT": pa.uint64(),
    "INTEGER": pa.int32(),
    "VARCHAR": pa.string(),
    "TIMESTAMP": TIMESTAMP,
}


@dataclass(slots=True)
class Gathered:
    """Rows of one family whose batches brought the same metrics, end to end. Times in microseconds."""

    subjects: list[list[int]]
    time_us: list[int] = field(default_factory=list)
    node_key: list[int] = field(default_factory=list)
    received_us: list[int] = field(default_factory=list)
    interval_seconds: list[float] = field(default_factory=list)
    monotonic: list[float] = field(default_factory=list)
    boot_key: list[int] = field(default_factory=list)
    epoch_key: list[int | None] = field(default_factory=list)
    clock_shift_seconds: list[float | None] = field(default_factory=list)
    failed: list[str | None] = field(default_factory=list)
    metrics: list[list[Value | None]] = field(default_factory=list)


class Gathering:
    """Rows of many batches, by family and set of metrics."""

    def __init__(self) -> None:
        self._groups: dict[tuple[Family, tuple[str, ...]], Gathered] = {}
        self.repaired = 0

    def group(self, family: Family, keys: tuple[str, ...]) -> Gathered:
        """Where rows of a family with exactly these metrics are laid; append to its lists in step."""
        found = self._groups.get((family, keys))
        if found is None:
            found = Gathered(subjects=[[] for _ in SUBJECT[family]], metrics=[[] for _ in keys])
            self._groups[family, keys] = found
        return found

    def tables(self) -> list[tuple[Family, date, pa.Table]]:
        """One table a family and UTC day, with only the metrics that came."""
        by_family: dict[Family, list[pa.Table]] = {}
        for (family, keys), rows in self._groups.items():
            if rows.time_us:
                by_family.setdefault(family, []).append(self._table(family, keys, rows))
        result: list[tuple[Family, date, pa.Table]] = []
        for family, parts in by_family.items():
            whole = parts[0] if len(parts) == 1 else pa.concat_tables(parts, promote_options="default")
            result += [(family, day, rows) for day, rows in _by_day(whole.combine_chunks())]
        return result

    def _table(self, family: Family, keys: tuple[str, ...], rows: Gathered) -> pa.Table:
        failed = rows.failed
        metrics: list[pa.Array] = []
        for key, values in zip(keys, rows.metrics, strict=True):
            type_ = ARROW[raw_type(catalogue.metric(family, key))]
            try:
                metrics.append(pa.array(values, type=type_))
            except (pa.ArrowException, OverflowError, TypeError, ValueError):
                metrics.append(self._repaired(key, values, type_, failed))
        fixed: list[pa.Array] = [
            pa.array(rows.time_us, type=pa.int64()).cast(TIMESTAMP),
            *(pa.array(column, type=pa.int32()) for column in rows.subjects),
        ]
        if "node_key" not in SUBJECT[family]:
            fixed.append(pa.array(rows.node_key, type=pa.int32()))
        fixed += [
            pa.array(rows.received_us, type=pa.int64()).cast(TIMESTAMP),
            pa.array(rows.interval_seconds, type=pa.float32()),
            pa.array(rows.monotonic, type=pa.float64()),
            pa.array(rows.boot_key, type=pa.int32()),
            pa.array(rows.epoch_key, type=pa.int32()),
            pa.array(rows.clock_shift_seconds, type=pa.float32()),
            pa.array(failed, type=pa.string()),
        ]
        return pa.table(fixed + metrics, names=[*_FIXED[family], *keys])

    def _repaired(
        self, key: str, values: Sequence[Value | None], type_: pa.DataType, failed: list[str | None]
    ) -> pa.Array:
        """The column with what its type cannot hold set to missing and told in ``failed``.

        A negative counter or one beyond 64 bits is a broken reading of one card, not a broken batch.
        """
        kept: list[Any] = []
        for row, value in enumerate(values):
            try:
                pa.scalar(value, type=type_)
                kept.append(value)
            except (pa.ArrowException, OverflowError, TypeError, ValueError):
                kept.append(None)
                failed[row] = f"{failed[row]} {key}=broken" if failed[row] else f"{key}=broken"
                self.repaired += 1
        return pa.array(kept, type=type_)


def _fixed_names(family: Family) -> tuple[str, ...]:
    return tuple(column.name for column in fixed_columns(kind(family, Grain.SAMPLE)))


_FIXED: Final = {family: _fixed_names(family) for family in Family}


def _by_day(rows: pa.Table) -> list[tuple[date, pa.Table]]:
    """The rows split at midnights UTC; nearly always one day."""
    times = rows.column("time").cast(pa.int64())
    extent = pc.min_max(times).as_py()
    first, last = extent["min"] // DAY_US, extent["max"] // DAY_US
    if first == last:
        return [(utc_day(first * DAY_US), rows)]
    result = []
    for day in range(first, last + 1):
        inside = pc.and_(
            pc.greater_equal(times, pa.scalar(day * DAY_US)), pc.less(times, pa.scalar((day + 1) * DAY_US))
        )
        part = rows.filter(inside)
        if part.num_rows:
            result.append((utc_day(day * DAY_US), part))
    return result
