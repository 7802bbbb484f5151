"""Parquet: typed columns, the same types with rows or without, and the figures of the model."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
from rendering_sample import EVIL, sample

from ullage_reports.pages import pages
from ullage_reports.parquet import TYPES, render


def read(folder: Path, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(folder / f"{name}.parquet").to_pylist()
    return found


def test_one_file_a_table_with_every_figure_of_it(tmp_path: Path) -> None:
    folder = render(sample(), "zh", tmp_path)
    tables = pages(sample(), "zh").file_tables
    assert {p.name for p in folder.iterdir()} == {f"{table.key}.parquet" for table in tables}
    for table in tables:
        found = read(folder, table.key)
        assert len(found) == len(table.rows)
        for row, cells in zip(found, table.rows, strict=True):
            for (key, value), cell, column in zip(row.items(), cells, table.columns, strict=True):
                assert key == column.key
                if cell.value == "":
                    assert value is None
                elif cell.number:
                    assert Decimal(value) == Decimal(cell.value)
                else:
                    assert value == (cell.at or cell.value)


def test_types_do_not_depend_on_the_rows(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    full, none = render(sample(), "en", tmp_path), render(sample(empty=True), "en", tmp_path / "none")
    for path in full.iterdir():
        assert pq.read_schema(path).equals(pq.read_schema(none / path.name)), path.name
    for table in pages(sample(), "en").file_tables:
        schema = pq.read_schema(full / f"{table.key}.parquet")
        assert [field.type for field in schema] == [TYPES[column.kind] for column in table.columns]


def test_an_instant_is_an_instant_and_a_day_a_day(tmp_path: Path) -> None:
    folder = render(sample(), "zh", tmp_path)
    assert read(folder, "idle")[0]["since"] == sample().holders[0].since
    assert read(folder, "sources")[0]["day"] == date(2026, 11, 15)
    assert read(folder, "sources")[0]["published_at"] == datetime(2026, 11, 23, 1, tzinfo=UTC)


def test_sums_are_exact_where_others_read_the_file(tmp_path: Path) -> None:
    folder = render(sample(), "en", tmp_path)
    (total,) = duckdb.sql(f"SELECT sum(cost) FROM '{folder}/models.parquet'").fetchall()[0]
    assert total == sample().total.cost


def test_text_stands_as_it_is_and_the_file_says_what_it_is_of(tmp_path: Path) -> None:
    folder = render(sample(names=("=1+1", EVIL)), "en", tmp_path)
    assert {"=1+1", EVIL} <= {row["department"] for row in read(folder, "departments")}
    told = pq.read_schema(folder / "states.parquet").metadata
    assert told[b"ullage.report"] == b"ullage-weekly-2026-W47"
    assert told[b"ullage.zone"] == b"Asia/Shanghai" and told[b"ullage.marks"]


def test_the_same_report_gives_the_same_bytes(tmp_path: Path) -> None:
    one = {p.name: p.read_bytes() for p in render(sample(), "zh", tmp_path).iterdir()}
    assert {p.name: p.read_bytes() for p in render(sample(), "zh", tmp_path).iterdir()} == one
