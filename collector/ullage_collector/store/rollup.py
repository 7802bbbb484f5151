"""Raw rows into minutes, minutes into hours; late rows roll their hours again, of their nodes alone.

What covers a minute: a raw row stands from its time for its interval, at most until its subject's next
row. Means are weighted by that, so a minute that was half silent has covered_seconds 30 and the mean of
what was seen: a silent half is not idle. Growth of a counter over a silence longer than LOOKBACK is not
attributed to any minute: nobody knows when it was.

The minute watermark stands LATENESS behind the clock; rows behind the watermark are late: the writer
names their (hour, node), and those hours are rolled again. The SQL is in sql/rollup.sql; what is made here
is its lists of columns.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import duckdb

from ullage_collector.sql import fill, statements
from ullage_collector.store import incoming
from ullage_collector.store.columns import ROLLED, SUBJECT, Grain, TableKind, kind, rolled
from ullage_collector.store.days import DAY_US, HOUR_US, MINUTE_US, utc_day
from ullage_collector.store.increase import increase_sql
from ullage_contract import catalogue
from ullage_contract.catalogue import Kind, Type
from ullage_contract.errors import StoreError
from ullage_contract.sample import Family

if TYPE_CHECKING:
    from ullage_collector.store.store import Store

log = logging.getLogger(__name__)

LATENESS_SECONDS: Final = 90.0
"""our choice: because an agent pushes every 10 s and may have to try twice; later rows roll their hour again."""
LOOKBACK_US: Final = 5 * MINUTE_US
"""our choice: because a slow counter comes every 60 s and may miss a few; also the longest a row stands for."""
PIECE_US: Final = 15 * MINUTE_US
"""our choice: because a quarter of an hour of eighty thousand cards fits in memory."""
DIRTY_AT_A_TIME: Final = (
    4  # our choice: because between two batches of late hours the newest minute must be rolled
)


def through_us(cursor: duckdb.DuckDBPyConnection, grain: Grain = Grain.MINUTE) -> int:
    """Up to where minutes (or hours) are rolled up, microseconds since the epoch; 0: nothing yet."""
    row = incoming.one(cursor, statements("rollup")["through"], [grain.value])
    return int(row[0]) if row else 0


@dataclass(frozen=True, slots=True)
class Fill:
    """What a stretch of a table holds: rows, and of the metrics that have any value how many rows do."""

    rows: int
    counts: Mapping[str, int]


class Rollup:
    """Rolls a store up. ``step`` and ``run`` belong to one thread; each piece is one transaction."""

    def __init__(self, store: Store, *, lateness_seconds: float = LATENESS_SECONDS) -> None:
        self._store = store
        self._lateness_us = round(lateness_seconds * 1e6)

    def run(self, stop: threading.Event, every_seconds: float = 10.0) -> None:
        """Step until ``stop`` is set; trouble of the machine is told and tried again."""
        while not stop.is_set():
            try:
                if self.step():
                    continue
            except (StoreError, duckdb.Error) as e:
                log.error("rollup: %s", e)
            stop.wait(every_seconds)

    def step(self, now_us: int | None = None) -> bool:
        """Roll up the next piece, then a few late hours; whether there is more to do at once."""
        now_us = round(self._store.clock.wall() * 1e6) if now_us is None else now_us
        target = now_us - self._lateness_us
        target -= target % MINUTE_US
        more = self._advance(target)
        return self._again() or more

    def catch_up(self, now_us: int | None = None) -> None:
        """Roll up everything there is until now. For tests, imports and ``publish``."""
        while self.step(now_us):
            pass

    def reroll(self, from_us: int, to_us: int) -> None:
        """Roll the hours of [from_us, to_us) out of their minutes again, all subjects: after an import."""
        start = from_us - from_us % HOUR_US
        while start < to_us:
            with self._store.write() as cursor:
                for family in ROLLED:
                    self.roll_hours(cursor, family, start, start + HOUR_US)
            start += HOUR_US

    # ------------------------------------------------------------------ on time
    def _advance(self, target: int) -> bool:
        """Move the watermark by one piece towards ``target``; whether it is not there yet."""
        with self._store.write() as cursor:
            through = through_us(cursor)
            if through >= target:
                return False
            start = max(through, self._next_row(cursor, through) or target)
            start = min(target, start - start % MINUTE_US)
            end = min(target, start + PIECE_US, start - start % DAY_US + DAY_US)
            if end > start:
                for family in ROLLED:
                    self.roll_minutes(cursor, family, start, end)
            self._whole_hours(cursor, through, start, end)
            cursor.execute(statements("rollup")["set_through"], [Grain.MINUTE.value, end])
        return end < target

    def _whole_hours(self, cursor: duckdb.DuckDBPyConnection, before: int, start: int, end: int) -> None:
        """Roll the hours that are whole now that minutes go from ``before``, with rows from ``start``, to ``end``."""
        whole = end - end % HOUR_US
        hours = set(range(start - start % HOUR_US, whole, HOUR_US))
        if before and before - before % HOUR_US < whole:
            hours.add(before - before % HOUR_US)
        for hour in sorted(hours):
            for family in ROLLED:
                self.roll_hours(cursor, family, hour, hour + HOUR_US)
        cursor.execute(statements("rollup")["set_through"], [Grain.HOUR.value, whole])

    def _next_row(self, cursor: duckdb.DuckDBPyConnection, from_us: int) -> int | None:
        found: list[int] = []
        for family in ROLLED:
            source = self._store.days.source(kind(family, Grain.SAMPLE), from_us or None, None, ())
            row = incoming.one(cursor, fill(statements("rollup")["next_time"], source=source), [from_us])
            if row and row[0] is not None:
                found.append(row[0])
        return min(found, default=None)

    # ------------------------------------------------------------------ late
    def _again(self) -> bool:
        """Roll a few hours with late rows again; whether there were any."""
        sql = statements("rollup")
        reader = self._store.reader()
        through = through_us(reader)
        dirty = reader.execute(sql["dirty"], [through, DIRTY_AT_A_TIME]).fetchall()
        for hour, nodes in dirty:
            with self._store.write() as cursor:
                through = through_us(cursor)
                for family in ROLLED:
                    self.roll_minutes(cursor, family, hour, min(hour + HOUR_US, through), nodes)
                    if hour + HOUR_US <= through:
                        self.roll_hours(cursor, family, hour, hour + HOUR_US, nodes)
                cursor.execute(sql["clean"], [hour, nodes])
        return bool(dirty)

    # ------------------------------------------------------------------ one stretch of one family
    def roll_minutes(
        self,
        cursor: duckdb.DuckDBPyConnection,
        family: Family,
        from_us: int,
        to_us: int,
        nodes: Sequence[int] | None = None,
    ) -> None:
        """Minutes of [from_us, to_us) within one UTC day, in the caller's transaction.

        nodes: only subjects that had rows from these nodes in the stretch; None: all. Minutes that were
        there are replaced; minutes of subjects without raw rows (imported ones) stay.
        """
        days, raw = self._store.days, kind(family, Grain.SAMPLE)
        read_from = from_us - LOOKBACK_US
        source = days.source(raw, read_from, to_us, days.columns(raw, read_from, to_us))
        filled = self._filled(cursor, raw, source, read_from, to_us)
        if not filled.rows:
            return
        values, aggregates, names = minute_columns(family, filled)
        subject = ", ".join(SUBJECT[family])
        sender = "" if family is Family.NODE else ", arg_max(sender, t) AS node_key"
        statement = fill(
            statements("rollup")["minutes"],
            source=source,
            subject=subject,
            sender=sender,
            longest=str(LOOKBACK_US),
            pieces=str(LOOKBACK_US // MINUTE_US + 2),
            values=values,
            aggregates=aggregates,
            restriction=self._restriction(raw, family, from_us, to_us, nodes),
        )
        cursor.execute(statement, [from_us, to_us, read_from])
        self._keep(cursor, kind(family, Grain.MINUTE), from_us, names)

    def roll_hours(
        self,
        cursor: duckdb.DuckDBPyConnection,
        family: Family,
        from_us: int,
        to_us: int,
        nodes: Sequence[int] | None = None,
    ) -> None:
        """Hours of [from_us, to_us) out of their minutes, in the caller's transaction; replaced if there."""
        days, minutes = self._store.days, kind(family, Grain.MINUTE)
        source = days.source(minutes, from_us, to_us, days.columns(minutes, from_us, to_us))
        filled = self._filled(cursor, minutes, source, from_us, to_us)
        if not filled.rows:
            return
        aggregates, names = _hour_columns(family, filled)
        sender = "" if family is Family.NODE else ", arg_max(node_key, minute) AS node_key"
        statement = fill(
            statements("rollup")["hours"],
            source=source,
            subject=", ".join(SUBJECT[family]),
            sender=sender,
            aggregates=aggregates,
            restriction=self._restriction(minutes, family, from_us, to_us, nodes),
        )
        cursor.execute(statement, [from_us, to_us])
        self._keep(cursor, kind(family, Grain.HOUR), None, names)

    def _keep(
        self, cursor: duckdb.DuckDBPyConnection, of: TableKind, from_us: int | None, names: Sequence[str]
    ) -> None:
        """Put what the temporary table ``fresh`` holds in the place of what was there."""
        subject = SUBJECT[of.family]
        day = None if from_us is None else utc_day(from_us)
        table = self._store.days.ensure(cursor, of, day, names).name
        sql = statements("rollup")
        cursor.execute(
            fill(
                sql["forget"],
                table=table,
                time=of.time,
                same_subject=" AND ".join(f"{table}.{s} = fresh.{s}" for s in subject),
            )
        )
        cursor.execute(
            fill(
                sql["keep_minutes" if of.grain is Grain.MINUTE else "keep_hours"],
                table=table,
                subject=", ".join(subject),
                sender="" if "node_key" in subject else ", node_key",
                columns="".join(f', "{name}"' for name in names),
            )
        )

    def _filled(
        self, cursor: duckdb.DuckDBPyConnection, of: TableKind, source: str, from_us: int, to_us: int
    ) -> Fill:
        names = self._store.days.columns(of, from_us, to_us)
        counts = ", ".join(f'count("{name}")' for name in names) or "0"
        statement = fill(statements("rollup")["filled"], counts=counts, source=source, time=of.time)
        row = incoming.one(cursor, statement, [from_us, to_us])
        assert row is not None
        return Fill(row[0], {name: n for name, n in zip(names, row[1:], strict=False) if n})

    def _restriction(
        self, of: TableKind, family: Family, from_us: int, to_us: int, nodes: Sequence[int] | None
    ) -> str:
        """Only subjects that these nodes sent in the stretch."""
        if nodes is None:
            return ""
        listed = ", ".join(str(int(node)) for node in nodes)
        if family is Family.NODE:
            return f" AND node_key IN ({listed})"
        source = self._store.days.source(of, from_us, to_us, ())
        subject = SUBJECT[family][0]
        return (
            f" AND {subject} IN (SELECT {subject} FROM ({source}) WHERE node_key IN ({listed})"  # noqa: S608
            f" AND {of.time} >= make_timestamp($1) AND {of.time} < make_timestamp($2))"
        )


def minute_columns(family: Family, filled: Fill) -> tuple[str, str, list[str]]:
    """What the inner and the outer SELECT of ``minutes`` list, and the columns it makes."""
    values: list[str] = []
    aggregates: list[str] = []
    names: list[str] = []
    for key, count in filled.counts.items():
        metric = catalogue.metric(family, key)
        if metric.kind is Kind.COUNTER:
            name = f"{key}_increase"
            ignore = " IGNORE NULLS" if count < filled.rows else ""
            new, old = f'"{key}"', f'lag("{key}"{ignore}) OVER w'
            # A reading without an epoch compares equal to another without one (contract).
            epoch = f'lag(CASE WHEN "{key}" IS NOT NULL THEN coalesce(epoch_key, -1) END IGNORE NULLS) OVER w'
            same = f"coalesce(epoch_key, -1) = {epoch}"
            values.append(f'{increase_sql(metric, new, old, same)} AS "{name}"')
            aggregates.append(f'sum("{name}") FILTER (begins) AS "{name}"')
            names.append(name)
            continue
        values.append(f'"{key}"')
        if metric.kind is Kind.STATE:
            aggregates.append(_state(key, metric.type, "t"))
            names.append(key)
            continue
        weight = "stood" if count == filled.rows else f'stood) FILTER ("{key}" IS NOT NULL'
        aggregates += _level(family, key, "stood", weight)
        names += [column.name for column in rolled(family, key)]
    return _listed(values), _listed(aggregates), names


def _hour_columns(family: Family, filled: Fill) -> tuple[str, list[str]]:
    """What the SELECT of ``hours`` lists, and the columns it makes."""
    aggregates: list[str] = []
    names: list[str] = []
    for name, count in filled.counts.items():
        if name.endswith("_increase") and name.removesuffix("_increase") in catalogue.keys(family):
            aggregates.append(f'sum("{name}") AS "{name}"')
            names.append(name)
            continue
        metric = catalogue.keys(family).get(name)
        if metric is None:
            continue  # _max and _min come with their gauge
        if metric.kind is Kind.STATE:
            aggregates.append(_state(name, metric.type, "minute"))
            names.append(name)
            continue
        weight = (
            "covered_seconds" if count == filled.rows else f'covered_seconds) FILTER ("{name}" IS NOT NULL'
        )
        aggregates += _level(family, name, "covered_seconds", weight, of_minutes=True)
        names += [column.name for column in rolled(family, name)]
    return _listed(aggregates), names


def _state(key: str, type_: Type, order: str) -> str:
    if type_ is Type.TEXT:
        return f'arg_max("{key}", {order}) FILTER ("{key}" IS NOT NULL) AS "{key}"'
    return f'bit_or("{key}") AS "{key}"'


def _level(family: Family, key: str, stood: str, weight: str, of_minutes: bool = False) -> list[str]:
    """Mean, highest and perhaps lowest of a gauge. Rows at one instant stand for no time: their plain mean."""
    mean, *extremes = rolled(family, key)
    found = [
        f'CAST(coalesce(sum(CAST("{key}" AS DOUBLE) * {stood}) / nullif(sum({weight}), 0), avg("{key}")) '
        f'AS {mean.type}) AS "{key}"'
    ]
    for column in extremes:
        function = column.name.removeprefix(f"{key}_")
        of = column.name if of_minutes else key
        found.append(f'CAST({function}("{of}") AS {column.type}) AS "{column.name}"')
    return found


def _listed(expressions: Sequence[str]) -> str:
    return "".join(f", {expression}" for expression in expressions)
