"""CSV: what Excel opens, what no spreadsheet runs, and the figures of the model."""

from __future__ import annotations

import csv
from decimal import Decimal
from pathlib import Path

import pytest
from rendering_sample import BIDI, EVIL, sample

from ullage_reports.csv_files import neutral, render
from ullage_reports.pages import pages


def read(folder: Path, name: str) -> list[dict[str, str]]:
    raw = (folder / f"{name}.csv").read_bytes()
    assert raw.startswith(b"\xef\xbb\xbf"), "Excel needs the mark to read UTF-8"
    return list(csv.DictReader(raw.decode("utf-8-sig").splitlines()))


def test_one_file_a_table_in_a_folder_named_after_the_report(tmp_path: Path) -> None:
    folder = render(sample(), "zh", tmp_path)
    assert folder == tmp_path / "ullage-weekly-2026-W47.zh.csv"
    keys = [table.key for table in pages(sample(), "zh").file_tables]
    assert len(keys) == len(set(keys))
    assert {path.stem for path in folder.iterdir()} == set(keys)
    assert {"page_one", "states", "departments", "models", "idle", "trend", "checks", "sources"} <= set(keys)


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_figures_are_the_models_to_the_last_digit(tmp_path: Path, lang: str) -> None:
    report = sample()
    folder = render(report, lang, tmp_path)
    states = read(folder, "states")
    assert [(Decimal(r["cost"]), Decimal(r["hours"])) for r in states] == [
        (s.cost, s.hours) for s in report.total.states
    ]
    departments = {r["department_id"]: r for r in read(folder, "departments")}
    for row in report.departments:
        mine = departments[row.department_id]
        assert Decimal(mine["cost"]) == row.amounts.cost and Decimal(mine["hours"]) == row.amounts.hours
        for state in row.amounts.states:
            assert Decimal(mine[f"{state.state}_cost"]) == state.cost
            assert Decimal(mine[f"{state.state}_hours"]) == state.hours
    top = [row.department_id for row in report.departments if row.depth == 0]
    assert sum(Decimal(departments[key]["cost"]) for key in top) == report.total.cost
    assert sum(Decimal(r["cost"]) for r in read(folder, "models")) == report.total.cost
    page_one = {r["key"]: r["value"] for r in read(folder, "page_one")}
    assert page_one == {t.key: "" if t.value is None else str(t.value) for t in report.page_one.tiles}


def test_every_row_is_in_the_file_even_where_a_page_shows_ten(tmp_path: Path) -> None:
    report = sample()
    assert len(read(render(report, "en", tmp_path), "idle")) == len(report.holders) == 14


def test_unknown_is_an_empty_cell_and_never_zero(tmp_path: Path) -> None:
    report = sample()
    days = read(render(report, "en", tmp_path), "trend")
    gap = next(row for row in days if row["start"] == "2026-11-21")
    assert {value for key, value in gap.items() if key != "start"} == {""}
    assert days[0]["cost"] == str(report.trend[0].amounts.cost)


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "=cmd|' /C calc'!A0", "＝1", " =1", "\u3000=1", "-"],
)
def test_no_text_runs_as_a_formula(text: str) -> None:
    assert neutral(text) == "'" + text


@pytest.mark.parametrize("text", ["研发一部", "a=b", "1-2", "", "'=1"])
def test_other_text_is_left_alone(text: str) -> None:
    assert neutral(text) == text


def test_a_hostile_name_is_neutralised_wherever_it_stands(tmp_path: Path) -> None:
    folder = render(sample(names=('=HYPERLINK("http://x")', '@a,"b"\nc', EVIL, BIDI)), "en", tmp_path)
    for path in folder.iterdir():
        for row in csv.reader(path.read_text(encoding="utf-8-sig").splitlines()):
            for value in row:
                assert "\u202e" not in value
                if value[:1] in "=+-@" and value:
                    Decimal(value)  # only a number may begin like this
    names = {row["department"] for row in read(folder, "departments")}
    assert '\'=HYPERLINK("http://x")' in names and '\'@a,"b" c' in names and EVIL in names


def test_no_data_gives_headers_alone(tmp_path: Path) -> None:
    folder = render(sample(empty=True), "zh", tmp_path)
    assert read(folder, "departments") == []
    assert (folder / "departments.csv").read_text("utf-8-sig").startswith("department_id,department,")


def test_the_same_report_gives_the_same_bytes(tmp_path: Path) -> None:
    one = {p.name: p.read_bytes() for p in render(sample(), "zh", tmp_path).iterdir()}
    assert {p.name: p.read_bytes() for p in render(sample(), "zh", tmp_path).iterdir()} == one
