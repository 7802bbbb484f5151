"""Wide tables from the metric catalogue: which kinds there are, and the columns and types of each.

A *kind* is a family at a grain: ``card_sample`` (raw rows), ``card_minute``, ``card_hour``. A table of a
kind holds the kind's fixed columns and those metrics that a row ever gave; the kind's view always shows
every metric of the catalogue, NULL where a day's table has no such column. A table of 220 columns of which
34 are filled costs six times the time of one with 34 (DuckDB 2.0: 4.3 s against 0.7 s for 735,000 rows),
so a metric becomes a column when it is first seen.

Not here: creating and dropping tables (days.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from types import MappingProxyType
from typing import Final

from ullage_contract import catalogue
from ullage_contract.catalogue import Kind, Metric, Type
from ullage_contract.sample import Family


class Grain(StrEnum):
    """How fine: raw rows and minutes are day tables, hours are one table."""

    SAMPLE = "sample"
    MINUTE = "minute"
    HOUR = "hour"


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its name, SQL type, and what it says."""

    name: str
    type: str
    comment: str


@dataclass(frozen=True, slots=True)
class TableKind:
    """A family at a grain. name: of the view and the prefix of its day tables.

    subject: the columns that name whose row it is, without node_key.
    time: the column rows are ordered by.
    """

    family: Family
    grain: Grain
    subject: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.family.value}_{self.grain.value}"

    @property
    def by_day(self) -> bool:
        return self.grain is not Grain.HOUR

    @property
    def time(self) -> str:
        return {Grain.SAMPLE: "time", Grain.MINUTE: "minute", Grain.HOUR: "hour"}[self.grain]


SUBJECT: Final[Mapping[Family, tuple[str, ...]]] = MappingProxyType(
    {
        Family.CARD: ("card_key",),
        Family.SLICE: ("slice_key",),
        Family.PORT: ("port_key",),
        Family.NODE: ("node_key",),
        Family.PROCESS: ("card_key", "pid"),
    }
)
"""What names a row of a family, beside the time."""

ROLLED: Final = (Family.CARD, Family.SLICE, Family.PORT, Family.NODE)
"""Families with minutes and hours. Processes come and go within minutes: their raw rows say all there is."""

LOW_MATTERS: Final = frozenset(
    {
        "temperature_margin_celsius",
        "clock_core_hertz",
        "clock_sm_hertz",
        "pcie_generation",
        "pcie_width",
        "links_active",
        "rate_bits_per_second",
        "width_lanes",
        "memory_available_bytes",
        "filesystem_free_ratio",
        "cards_seen",
    }
)
"""Gauges whose lowest value in a minute says what the mean hides; they get a ``_min`` column."""


def kind(family: Family, grain: Grain) -> TableKind:
    """The kind of a family at a grain. Raises ValueError for minutes and hours of processes: there are none."""
    if grain is not Grain.SAMPLE and family not in ROLLED:
        raise ValueError(f"BUG: no {grain.value} rows of a {family.value}")
    return TableKind(family, grain, SUBJECT[family])


KINDS: Final[tuple[TableKind, ...]] = (
    *(kind(family, Grain.SAMPLE) for family in Family),
    *(kind(family, Grain.MINUTE) for family in ROLLED),
    *(kind(family, Grain.HOUR) for family in ROLLED),
)


def raw_type(metric: Metric) -> str:
    """The SQL type of a raw value. 32-bit floats for gauges: four digits more than any sensor has."""
    if metric.type is Type.TEXT:
        return "VARCHAR"
    if metric.kind is Kind.COUNTER:
        return "UBIGINT" if metric.type is Type.INTEGER else "DOUBLE"
    if metric.kind is Kind.STATE:
        return "UBIGINT"
    return "BIGINT" if metric.type is Type.INTEGER else "FLOAT"


@cache
def fixed_columns(of: TableKind) -> tuple[Column, ...]:
    """The columns every table of the kind has, in order."""
    subject = [Column(name, "INTEGER", "whose row it is") for name in of.subject]
    if "node_key" not in of.subject:
        subject.append(Column("node_key", "INTEGER", "the node that sent it"))
    if of.grain is Grain.SAMPLE:
        return (
            Column("time", "TIMESTAMP", "UTC, the node's clock, moved by clock_shift_seconds if that is set"),
            *subject,
            Column("received_at", "TIMESTAMP", "UTC, the collector's clock"),
            Column("interval_seconds", "FLOAT", "how long the row stands for, at most"),
            Column("monotonic", "DOUBLE", "seconds since the node's boot at the same instant"),
            Column("boot_key", "INTEGER", "boot.boot_key: boot and origin"),
            Column("epoch_key", "INTEGER", "epoch.epoch_key: the life of the counters; NULL: not said"),
            Column(
                "clock_shift_seconds", "FLOAT", "added to the node's time as its clock was wrong; else NULL"
            ),
            Column("failed", "VARCHAR", "key=reason, separated by spaces; NULL: nothing failed"),
        )
    return (
        Column(of.time, "TIMESTAMP", f"UTC, start of the {of.grain.value}"),
        *subject,
        Column("covered_seconds", "FLOAT", f"seconds of the {of.grain.value} that some row stands for"),
        Column("samples", "INTEGER", "raw rows in it"),
        Column("origin", "VARCHAR", "real, imported, simulated"),
    )


@cache
def metric_columns(of: TableKind) -> Mapping[str, Column]:
    """Every metric column the kind can have, by name, in the catalogue's order.

    Raw: the key. Minute and hour: of a gauge ``key`` (mean over the covered time), ``key_max`` and, for
    LOW_MATTERS, ``key_min``; of a counter ``key_increase``; of a word ``key`` (the last one); of a bit set
    ``key`` (bits seen at any time).
    """
    columns: list[Column] = []
    for key, metric in catalogue.keys(of.family).items():
        columns.extend(_of_metric(of, key, metric))
    return MappingProxyType({column.name: column for column in columns})


def _of_metric(of: TableKind, key: str, metric: Metric) -> list[Column]:
    if of.grain is Grain.SAMPLE:
        return [Column(key, raw_type(metric), f"{metric.unit}: {metric.meaning}")]
    if metric.kind is Kind.COUNTER:
        return [Column(f"{key}_increase", "DOUBLE", f"{metric.unit}: growth; NULL: not known")]
    if metric.kind is Kind.STATE:
        what = "the last word" if metric.type is Type.TEXT else "bits seen at any time"
        return [Column(key, raw_type(metric), f"{metric.meaning}: {what}")]
    number = "DOUBLE" if metric.type is Type.INTEGER else "FLOAT"  # bytes stay exact, ratios need no more
    columns = [Column(key, number, f"{metric.unit}: mean over the covered time")]
    if f"{key}_max" not in catalogue.keys(of.family):  # pcie_width_max is a metric of its own
        columns.append(Column(f"{key}_max", number, f"{metric.unit}: highest"))
    if key in LOW_MATTERS:
        columns.append(Column(f"{key}_min", number, f"{metric.unit}: lowest"))
    return columns


@cache
def rolled(family: Family, key: str) -> tuple[Column, ...]:
    """The minute and hour columns a raw metric becomes: the mean or word first, then highest and lowest."""
    metric = catalogue.metric(family, key)
    return tuple(_of_metric(TableKind(family, Grain.MINUTE, ()), key, metric))
