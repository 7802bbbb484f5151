"""``make demo TRACE=...``: a real day of pods ends with a report that lists every workload, adds up, and says what is assumed."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("ULLAGE_SHARED", ROOT.parent / "shared"))
TRACE = SHARED / "traces/genai_pods.parquet"
pytest.importorskip("duckdb", reason="needs the collector extra")
pytest.importorskip("typst", reason="needs the reports extra")
pytestmark = pytest.mark.skipif(
    not TRACE.is_file(), reason=f"no trace at {TRACE}: set ULLAGE_SHARED to the folder that holds traces/"
)


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demonstration's reports. The PDF needs the font of ``make assets``; without it the run says so and fails."""
    import ullage_assets

    if not ullage_assets.available():
        pytest.skip("the PDF's font is not there: make assets")
    folder = tmp_path_factory.mktemp("demo")
    done = subprocess.run(
        [sys.executable, "-m", "demo", "--trace", str(TRACE), "--once", "--dir", str(folder), "--port", "0"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "trace" / TRACE.stem / "reports"


def test_the_report_of_a_trace_lists_every_workload_and_adds_up(reports: Path) -> None:
    (file,) = (reports / "en").glob("*.json")
    told = json.loads(file.read_text("utf-8"))
    # the trace runs from 01:12 to 01:12 UTC, so a UTC day would show 71 of its pods
    assert told["period"]["zone"] == "Etc/GMT+1"
    assert (told["workload_count"], len(told["workloads"]), told["workloads_rest"]) == (76, 76, None)
    held = [{k: Decimal(v) for k, v in row["amounts"].items()} for row in told["workloads"]]
    total = {k: Decimal(v) for k, v in told["held"].items()}
    for unit in ("hours", "cost"):
        for row in (*held, total):
            assert row[f"held_{unit}"] == sum(row[f"{part}_{unit}"] for part in ("used", "idle", "unknown"))
        for part in ("held", "used", "idle", "unknown"):
            assert sum(row[f"{part}_{unit}"] for row in held) == total[f"{part}_{unit}"] > 0
    assert told["trust"]["adds_up"] is True
    assert [(c["parts"], c["difference"]) for c in told["trust"]["checks"] if c["level"] == "workload"] == [
        (76, "0.00")
    ]
    (price,) = told["trust"]["assumed_prices"]
    assert "assum" in price["source"].lower()
    assert Decimal(price["cost"]) == Decimal(told["total"]["cost"])


def test_pages_and_files_say_how_many_and_that_prices_are_assumed(reports: Path) -> None:
    for lang, count, assumed in (
        ("en", "76 workloads held cards", "Assumed prices"),
        ("zh", "76 个任务占用过卡", "假定价格"),
    ):
        (page,) = (reports / lang).glob("*.html")
        text = page.read_text("utf-8")
        assert count in text and assumed in text and "Etc/GMT+1" in text
        (folder,) = (reports / lang).glob("*.csv")
        rows = list(csv.DictReader((folder / "workloads.csv").read_text("utf-8-sig").splitlines()))
        assert len(rows) == 76
        (paper,) = (reports / lang).glob("*.pdf")
        if shutil.which("pdftotext"):
            shown = subprocess.run(
                ["pdftotext", "-raw", str(paper), "-"], capture_output=True, text=True, check=True, timeout=60
            ).stdout
            assert count.replace(" ", "") in "".join(shown.split())
