"""The made-up fleet that reports are measured on: its days are whole, say the same each time, and every format of them adds up."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
from benchmarks.published_fleet import publish

from ullage_collector.published import Published
from ullage_contract.clock import ManualClock
from ullage_contract.command import PARTIAL
from ullage_reports import cli
from ullage_reports import period as periods
from ullage_reports.statement import statement

NOW = datetime(2026, 11, 2, tzinfo=UTC)
FIRST = date(2026, 10, 30)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("fleet")
    assert publish(root / "published", FIRST, 2, 80, NOW) > 80 * 24 * 2
    return root


def test_its_days_say_the_same_each_time(data: Path, tmp_path: Path) -> None:
    publish(tmp_path, FIRST, 2, 80, NOW)
    for door in (Published(tmp_path), Published(data / "published")):
        for day in door.days():
            manifest = door.facts(day)
            assert manifest is not None
            manifest.verify()
    digests = [
        [manifest.digest for day in door.days() if (manifest := door.facts(day))]
        for door in (Published(tmp_path), Published(data / "published"))
    ]
    assert digests[0] == digests[1] and len(digests[0]) == 2


def test_a_statement_of_it_adds_up_and_is_labelled_simulated(data: Path) -> None:
    report = statement(
        Published(data / "published"), periods.monthly("2026-10", "UTC"), currency="CNY", now=NOW
    )
    assert report.trust.adds_up
    assert report.total.hours == 80 * 48
    assert [row.origin for row in report.trust.origins] == ["simulated"]
    assert report.economics is not None
    signals = {row.vendor: row.signal for row in report.economics.makers}
    assert (signals["nvidia"], signals["hygon"]) == ("tensor", "sm")


def test_focus_by_day_and_by_line_are_the_statements_money(data: Path, tmp_path: Path) -> None:
    sums: dict[str, tuple[int, Decimal]] = {}
    for grain in ("day", "hour"):
        words = [
            "monthly",
            "--month",
            "2026-10",
            "--format",
            "focus,json",
            "--grain",
            grain,
            "--data",
            str(data),
        ]
        assert cli.main([*words, "--out", str(tmp_path)], clock=ManualClock(NOW.timestamp())) == PARTIAL
        with duckdb.connect() as db:
            rows = db.execute(
                "SELECT count(*), sum(BilledCost) FROM read_parquet(?)", [str(tmp_path / "focus.parquet")]
            )
            sums[grain] = rows.fetchall()[0]
    assert sums["day"][1] == sums["hour"][1]
    assert sums["day"][0] * 4 < sums["hour"][0]
