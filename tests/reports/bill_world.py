"""Published days with energy beside them, for tests of the bill. Not a test."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
from tests.collector.fleet_world import LATER

from ullage_collector.published import Published
from ullage_collector.revision import write_revision


def add_energy(root: Path, day: date, lines: Sequence[Mapping[str, Any]]) -> None:
    """Publish the day again with these lines of energy; what a line does not say is that of card G0's first hour.

    root: DIR/published. Keys: card, from_us, to_us, department, scenario, mj, pue_milli, tariff_micro, estimated, currency.
    """
    before = Published(root).facts(day)
    assert before is not None

    def write(folder: Path) -> Mapping[str, Any]:
        for file in before.files:
            if file.name != "energy.parquet":
                shutil.copyfile(before.folder / file.name, folder / file.name)
        with duckdb.connect() as db:
            from ullage_collector.sql import statements

            db.execute(statements("published")["empty_raw_energy"])
            db.execute("CREATE TABLE made AS SELECT * FROM raw_energy")
            for number, line in enumerate(lines):
                tariff = line.get("tariff_micro", 800_000)
                mj, pue = line["mj"], line.get("pue_milli", 1_300)
                db.execute(
                    "INSERT INTO made SELECT ?, ?, 'n1', 'dc1', 'nvidia', 'H800', NULL, ?, ?, 'used', NULL, ?, NULL, ?, ?, ?, ?, "
                    "?, 3, ?, ?, 'real', 'tariff=3'",
                    [
                        f"{line.get('card', 'G0')}@{line['from_us']}#e{number}",
                        line.get("card", "G0"),
                        line["from_us"],
                        line["to_us"],
                        line["department"],
                        line.get("scenario"),
                        mj,
                        pue,
                        tariff,
                        line.get("currency", "CNY"),
                        None if tariff is None else mj * pue * tariff * 10**6,
                        line.get("estimated", False),
                    ],
                )
            db.execute(f"COPY made TO '{folder / 'energy.parquet'}' (FORMAT parquet)")
        return before.facts

    write_revision(
        root / "facts" / f"day={day.isoformat()}",
        what="facts",
        day=day,
        status="sealed",
        now=LATER,
        write=write,
    )
