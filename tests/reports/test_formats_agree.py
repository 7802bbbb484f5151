"""From published days through the command to HTML, PDF, CSV, XLSX, Parquet, JSON and FOCUS: one set of figures."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import openpyxl
import pyarrow.parquet as pq
import pytest
from test_html import Page, figure
from tests.collector.fleet_world import DAY, LATER, NANO, World

import ullage_assets
from ullage_collector.publish.files import publish_dimensions, publish_facts_day
from ullage_collector.states import States
from ullage_contract.clock import ManualClock
from ullage_contract.command import FAILED, PARTIAL
from ullage_reports import cli

EVIL = '研发一部 "];#panic()'
BIDI = "视觉\u202efdp"
NOW = datetime(2026, 11, 1, 6, tzinfo=UTC)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two published days of a fleet whose departments have hostile names."""
    world = World()
    world.card("G1", "H800")
    world.card("N1", "Ascend 910B3", "n2", vendor="ascend")
    world.card("X1", "BI-V150", "n3", vendor="iluvatar")
    world.price("H800", 20_333_333)
    world.price("Ascend*", 7_250_000, assumed=True)
    world.department("rd", EVIL)
    world.department("rd/cv", BIDI, "rd")
    world.rule("slurm:nlp", "rd", scenario="training")
    world.rule("k8s:cv-*", "rd/cv", business="搜索", scenario="development")
    world.hold("G1", "slurm/dc1/nlp/1", 0, 7, NANO // 3)
    world.minutes("G1", 0, 24, 0.9)
    world.hold("N1", "k8s/dc1/cv-dev/notebook-1/uid", 0, 24, node="n2")
    world.minutes("N1", 0, 6, 0.4)
    world.minutes("N1", 6, 24, 0.0)
    world.incident("G1", 10, 12)
    root = tmp_path_factory.mktemp("data")
    states = States(world.db)
    for day in (DAY.date(), date(2026, 10, 8)):
        states.make(day, LATER)
        publish_facts_day(world.db, root / "published", day, status="sealed", now=LATER)
    publish_dimensions(world.db, root / "published", now=LATER)
    return root


PERIODS = (
    ("daily", "--date", "2026-10-07"),
    ("weekly", "--week", "2026-W41"),
    ("monthly", "--month", "2026-10"),
    ("quarterly", "--quarter", "2026-Q4"),
)


def run(data: Path, out: Path, period: tuple[str, str, str], lang: str, formats: str) -> int:
    kind, option, label = period
    clock = ManualClock(NOW.timestamp())
    options = [
        "--data",
        str(data),
        "--out",
        str(out),
        "--lang",
        lang,
        "--zone",
        "Asia/Shanghai",
        "--currency",
        "CNY",
    ]
    return cli.main([kind, option, label, "--format", formats, *options], clock=clock)


@pytest.mark.parametrize("lang", ["zh", "en"])
@pytest.mark.parametrize("period", PERIODS, ids=[p[0] for p in PERIODS])
def test_all_formats_carry_the_same_figures(
    data: Path, tmp_path: Path, period: tuple[str, str, str], lang: str
) -> None:
    formats = "html,csv,json,xlsx,parquet"
    formats += ",pdf" if ullage_assets.available() and shutil.which("pdftotext") else ""
    formats += ",focus" if period[0] == "monthly" else ""
    assert run(data, tmp_path, period, lang, formats) == PARTIAL, "days and a price are missing: code 3"
    stem = f"ullage-{period[0]}-{period[2]}"
    told = json.loads((tmp_path / f"{stem}.json").read_text("utf-8"))
    page = Page((tmp_path / f"{stem}.{lang}.html").read_text("utf-8"))
    folder = tmp_path / f"{stem}.{lang}.csv"

    def rows(name: str) -> list[dict[str, str]]:
        return list(csv.DictReader((folder / f"{name}.csv").read_text("utf-8-sig").splitlines()))

    wanted = [(Decimal(s["cost"]), Decimal(s["hours"])) for s in told["total"]["states"]]
    states = page.tables["table-states"]
    assert [(figure(r[1]), figure(r[4])) for r in states[1:-1]] == wanted
    assert [(Decimal(r["cost"]), Decimal(r["hours"])) for r in rows("states")] == wanted
    assert figure(states[-1][1]) == Decimal(told["total"]["cost"]) == sum(cost for cost, _ in wanted)

    departments = {d["department_id"]: d for d in told["departments"]}
    for row in rows("departments"):
        source = departments[row["department_id"]]
        both = (source["amounts"], source["own"])
        assert (row["cost"], row["hours"]) in [(a["cost"], a["hours"]) for a in both]
    printed = [figure(r[1]) for r in page.tables["table-departments"][1:-1]]
    assert printed == [Decimal(r["cost"]) for r in rows("departments")]
    holders = [(Decimal(h["idle_cost"]), h["workload_id"]) for h in told["holders"]]
    assert [(Decimal(r["idle_cost"]), r["workload"]) for r in rows("idle")] == holders
    assert [figure(r[3]) for r in page.tables["table-idle"][1:]] == [cost for cost, _ in holders][:10]

    listed = [(Decimal(x["amounts"]["held_cost"]), x["workload_id"]) for x in told["workloads"]]
    assert [(Decimal(r["held_cost"]), r["workload_id"]) for r in rows("workloads")] == listed
    workloads = page.tables["table-workloads"]
    assert [figure(r[2]) for r in workloads[1:-1]] == [cost for cost, _ in listed]
    assert figure(workloads[-1][2]) == Decimal(told["held"]["held_cost"]) == sum(cost for cost, _ in listed)
    assert told["workload_count"] == len({name for _, name in listed}) == 2

    parquet = tmp_path / f"{stem}.{lang}.parquet"
    book = openpyxl.load_workbook(tmp_path / f"{stem}.{lang}.xlsx")
    for path in folder.iterdir():
        in_csv = rows(path.stem)
        in_parquet = pq.read_table(parquet / f"{path.stem}.parquet").to_pylist()
        in_sheet = list(book[path.stem].iter_rows(min_row=2, values_only=True))
        assert len(in_csv) == len(in_parquet) == len(in_sheet)
        for ours, theirs, cells in zip(in_csv, in_parquet, in_sheet, strict=True):
            assert list(ours) == list(theirs)
            for told_csv, value, cell in zip(ours.values(), theirs.values(), cells, strict=True):
                if isinstance(value, (int, Decimal)):
                    assert Decimal(told_csv) == value == Decimal(f"{cell:.15g}")
                elif value is None:
                    assert told_csv == "" and cell is None
                elif isinstance(value, str):
                    assert told_csv == cell and told_csv.removeprefix("'") == value.removeprefix("'")
    if "focus" in formats:
        lines = pq.read_table(tmp_path / "focus.parquet").to_pylist()
        cost = sum((row["BilledCost"] for row in lines), Decimal(0))
        assert cost.quantize(Decimal("0.01"), ROUND_HALF_UP) == Decimal(told["total"]["cost"])

    words = "".join(page.words)
    assert EVIL in words and "\u202e" not in words and "视觉fdp" in words
    if "pdf" in formats:
        path = tmp_path / f"{stem}.{lang}.pdf"
        shown = subprocess.run(
            ["pdftotext", "-raw", str(path), "-"], capture_output=True, text=True, check=True, timeout=60
        ).stdout
        packed = re.sub(r"\s+", "", shown)
        for cost, hours in wanted:
            assert f"{cost:,}" in packed and f"{hours:,}" in packed
        for department in told["departments"]:
            assert f"{Decimal(department['amounts']['cost']):,}" in packed
        assert re.sub(r"\s+", "", EVIL) in packed and "视觉fdp" in packed and "\u202e" not in packed


def test_the_command_gives_the_same_bytes_twice(data: Path, tmp_path: Path) -> None:
    formats = "html,csv,json,xlsx,parquet" + (",pdf" if ullage_assets.available() else "")
    both = []
    for name in ("one", "two"):
        run(data, tmp_path / name, PERIODS[1], "zh", formats)
        both.append(
            {
                p.relative_to(tmp_path / name): p.read_bytes()
                for p in (tmp_path / name).rglob("*.*")
                if p.is_file()
            }
        )
    assert both[0] == both[1] and len(both[0]) > 20


def test_a_missing_font_stops_the_pdf_and_nothing_else(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ullage_assets, "_files", lambda: tmp_path / "none")
    assert run(data, tmp_path, PERIODS[1], "en", "pdf,html") == FAILED
    assert (tmp_path / "ullage-weekly-2026-W41.en.html").exists()
    assert "make assets" in capsys.readouterr().err


def test_last_is_the_newest_period_that_has_ended(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path, ("weekly", "--week", "last"), "zh", "json")
    run(data, tmp_path, ("monthly", "--month", "last"), "zh", "json")
    assert {p.name for p in tmp_path.iterdir()} == {
        "ullage-weekly-2026-W43.json",
        "ullage-monthly-2026-10.json",
    }
