"""Day tables: made when a row of that UTC day first comes, dropped whole when they are too old.

A day is dropped whole because a DuckDB file does not get smaller and deletes between kept rows free
nothing, while the blocks of a dropped table are used again. All days stand in one file because one
transaction can write to one attached file only, and the journal's position moves with the rows.

Retention drops telemetry and nothing else: no table here holds an inventory, a price or a segment.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final

from ullage_collector.sql import fill, statements
from ullage_collector.store.columns import KINDS, Column, TableKind, fixed_columns, metric_columns

if TYPE_CHECKING:
    import duckdb

_DAY_TABLE: Final = re.compile(r"^([a-z]+_[a-z]+)_(\d{8})$")
DAY_SECONDS: Final = 86_400
DAY_US: Final = 86_400_000_000
MINUTE_US: Final = 60_000_000
HOUR_US: Final = 3_600_000_000


def utc_day(microseconds: int) -> date:
    """The UTC day of an instant in microseconds since the epoch."""
    return datetime.fromtimestamp(microseconds // 1_000_000, tz=UTC).date()


def day_start_us(day: date) -> int:
    """Midnight UTC of a day, in microseconds since the epoch."""
    return (day - date(1970, 1, 1)).days * DAY_US


@dataclass(frozen=True, slots=True)
class DayTable:
    """One table: its kind, its day (None for hours) and the metric columns it has so far."""

    kind: TableKind
    day: date | None
    columns: frozenset[str]

    @property
    def name(self) -> str:
        return f"{self.kind.name}_{self.day:%Y%m%d}" if self.day else f"{self.kind.name}_all"


class Days:
    """Which tables there are. Changed only inside ``Store.write``; read by any thread.

    Tables of hours have no day: they are named ``card_hour_all``, so that the view ``card_hour`` can
    show every metric of the catalogue like the others.
    """

    def __init__(self) -> None:
        self._tables: dict[tuple[str, date | None], DayTable] = {}
        self._stale_views: set[str] = set()

    def load(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Read what the file holds, forgetting what was known before."""
        kinds = {kind.name: kind for kind in KINDS}
        found: dict[str, set[str]] = {}
        for table, column in connection.execute(statements("days")["columns"]).fetchall():
            found.setdefault(table, set()).add(column)
        tables: dict[tuple[str, date | None], DayTable] = {}
        for table, columns in found.items():
            match = _DAY_TABLE.match(table)
            name = match[1] if match else table.removesuffix("_all")
            if name not in kinds:
                continue
            day = datetime.strptime(match[2], "%Y%m%d").replace(tzinfo=UTC).date() if match else None
            kind = kinds[name]
            tables[name, day] = DayTable(kind, day, frozenset(columns & metric_columns(kind).keys()))
        self._tables = tables
        self._stale_views = set()

    def open(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Load, and make the hour tables and every view anew, as the catalogue may have grown."""
        self.load(connection)
        for kind in KINDS:
            if not kind.by_day:
                self.ensure(connection, kind, None, ())
        self._stale_views = {kind.name for kind in KINDS}
        self.refresh_views(connection)

    def ensure(
        self, connection: duckdb.DuckDBPyConnection, kind: TableKind, day: date | None, columns: Iterable[str]
    ) -> DayTable:
        """The table of a kind and day with at least these metric columns; made or widened when needed.

        The views are stale afterwards: call ``refresh_views`` in the same transaction.
        """
        if kind.by_day == (day is None):
            raise ValueError(f"BUG: {kind.name} with day {day}")
        known = self._tables.get((kind.name, day))
        wanted = frozenset(columns)
        possible = metric_columns(kind)
        if known is None:
            table = DayTable(kind, day, wanted)
            listed = ", ".join(
                f'"{c.name}" {c.type}'
                for c in (*fixed_columns(kind), *(possible[n] for n in _ordered(possible, wanted)))
            )
            connection.execute(fill(statements("days")["create"], table=table.name, columns=listed))
        else:
            missing = wanted - known.columns
            if not missing:
                return known
            table = DayTable(kind, day, known.columns | missing)
            for name in _ordered(possible, missing):
                connection.execute(
                    fill(
                        statements("days")["widen"],
                        table=table.name,
                        column=f'"{name}" {possible[name].type}',
                    )
                )
        self._tables = {**self._tables, (kind.name, day): table}
        self._stale_views.add(kind.name)
        return table

    def refresh_views(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Make the views of the kinds whose tables changed since the last call."""
        for name in sorted(self._stale_views):
            kind = next(k for k in KINDS if k.name == name)
            connection.execute(fill(statements("days")["view"], view=name, body=self.source(kind)))
        self._stale_views = set()

    def drop_before(self, connection: duckdb.DuckDBPyConnection, kind: TableKind, day: date) -> list[date]:
        """Drop the day tables of days before ``day``; which."""
        kept = [table.day for table in self.tables(kind) if table.day is not None and table.day >= day]
        return self.drop_others(connection, kind, kept)

    def drop_others(
        self, connection: duckdb.DuckDBPyConnection, kind: TableKind, kept: Iterable[date]
    ) -> list[date]:
        """Drop every day table of a kind but those of these days; which."""
        days = set(kept)
        gone = [table.day for table in self.tables(kind) if table.day is not None and table.day not in days]
        for old in gone:
            connection.execute(fill(statements("days")["drop"], table=f"{kind.name}_{old:%Y%m%d}"))
        if gone:
            self._tables = {
                key: table
                for key, table in self._tables.items()
                if not (key[0] == kind.name and key[1] in gone)
            }
            self._stale_views.add(kind.name)
            self.refresh_views(connection)
        return gone

    def tables(self, kind: TableKind) -> list[DayTable]:
        """The tables of a kind, oldest first."""
        return sorted(
            (table for (name, _), table in self._tables.items() if name == kind.name),
            key=lambda table: table.day or date.min,
        )

    def table(self, kind: TableKind, day: date | None) -> DayTable | None:
        """The table of a kind and day, or None where no row ever came."""
        return self._tables.get((kind.name, day))

    def columns(self, kind: TableKind, from_us: int | None = None, to_us: int | None = None) -> list[str]:
        """Metric columns that some table of the time [from_us, to_us) has, in the catalogue's order."""
        present: set[str] = set()
        for table in self._between(kind, from_us, to_us):
            present |= table.columns
        return _ordered(metric_columns(kind), present)

    def source(
        self,
        kind: TableKind,
        from_us: int | None = None,
        to_us: int | None = None,
        columns: Iterable[str] | None = None,
    ) -> str:
        """SELECT over the day tables that hold [from_us, to_us): for FROM (...), bound to few tables.

        columns: metric columns wanted, NULL where a table has none; None: every one of the catalogue.
        Rows are not filtered by time: only whole days are left out.
        """
        possible = metric_columns(kind)
        wanted = list(possible) if columns is None else _ordered(possible, set(columns))
        parts = [self._select(table, wanted) for table in self._between(kind, from_us, to_us)]
        if not parts:
            every = [*fixed_columns(kind), *(possible[name] for name in wanted)]
            return "SELECT " + ", ".join(_null(column) for column in every) + " WHERE false"
        return " UNION ALL ".join(parts)

    def _select(self, table: DayTable, wanted: list[str]) -> str:
        possible = metric_columns(table.kind)
        fixed = [f'"{column.name}"' for column in fixed_columns(table.kind)]
        metrics = [f'"{n}"' if n in table.columns else _null(possible[n]) for n in wanted]
        return f"SELECT {', '.join(fixed + metrics)} FROM {table.name}"  # noqa: S608  names of our own

    def _between(self, kind: TableKind, from_us: int | None, to_us: int | None) -> list[DayTable]:
        first = None if from_us is None else utc_day(from_us)
        last = None if to_us is None else utc_day(to_us - 1)
        return [
            table
            for table in self.tables(kind)
            if table.day is None
            or ((first is None or table.day >= first) and (last is None or table.day <= last))
        ]


def days_between(from_us: int, to_us: int) -> list[date]:
    """The UTC days that [from_us, to_us) touches."""
    first, last = utc_day(from_us), utc_day(max(from_us, to_us - 1))
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def _ordered(possible: Mapping[str, Column], names: set[str] | frozenset[str]) -> list[str]:
    return [name for name in possible if name in names]


def _null(column: Column) -> str:
    return f'CAST(NULL AS {column.type}) AS "{column.name}"'
