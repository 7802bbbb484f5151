"""A shared charge goes back to its policy, its formula, everybody's weights and the prices of the cards it is of."""

from __future__ import annotations

import csv
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from tests.collector.fleet_world import DAY, LATER, World

from ullage_collector import ledger
from ullage_collector.publish.files import publish_dimensions, publish_facts_day
from ullage_collector.states import States
from ullage_contract.command import GOOD, PARTIAL, USAGE
from ullage_reports import cli

POLICY = """
[[policy]]
id = "even-2026"
valid_from = 2026-10-07T12:00:00Z
unallocated_idle = "proportional"
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three cards of two prices, one free all day; the policy begins at noon."""
    world = World()
    world.card("G1")
    world.card("G2")
    world.card("G3", model="H20")
    world.price("H800", 20_333_333)
    world.price("H20", 7_000_000)
    for name in ("rd/cv", "nlp"):
        world.rule(f"slurm:{name.rpartition('/')[2]}", name)
    world.hold("G1", "slurm/dc1/cv/1", 0, 24)
    world.hold("G3", "slurm/dc1/nlp/2", 6, 18)
    root = tmp_path_factory.mktemp("data")
    States(world.db).make(DAY.date(), LATER)
    publish_facts_day(world.db, root / "published", DAY.date(), status="sealed", now=LATER)
    publish_dimensions(world.db, root / "published", now=LATER)
    (root / "report.toml").write_text(POLICY, encoding="utf-8")
    return root


def run(data: Path, *words: str) -> int:
    return cli.main([*words, "--data", str(data), "--config", str(data / "report.toml")])


def told(data: Path, charge: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert run(data, "explain", charge, "--json") == GOOD
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_the_formula_gives_the_charge(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = told(data, "shared/2026-10-07/rd/cv", capsys)
    assert [part["method"] for part in found["parts"]] == ["unallocated_idle/proportional"]
    part = found["parts"][0]
    weights = {name: Fraction(weight) for name, weight in part["pool"]["weights"].items()}
    assert set(weights) == {"rd/cv", "nlp"}
    share = Fraction(part["pool"]["cost_atoms"]) * weights["rd/cv"] / sum(weights.values())
    assert abs(share - int(found["cost_atoms"])) < len(part["lots"])
    # from noon on: G2 is free for 12 h at 20.333333, G3 for 6 h at 7
    assert Fraction(part["pool"]["cost_atoms"]) / ledger.ATOMS_PER_UNIT == 12 * Fraction("20.333333") + 42
    assert part["from"] == "2026-10-07T12:00:00Z"
    assert part["policy"]["id"] == "even-2026"
    lots = {(lot["model"], lot["state"]) for lot in part["lots"]}
    assert lots == {("H800", "unallocated_idle"), ("H20", "unallocated_idle")}
    assert sum(int(lot["cost_atoms"]) for lot in part["lots"]) == int(found["cost_atoms"])
    assert [day["day"] for day in found["days"]] == ["2026-10-07"]


def test_what_everybody_is_given_is_what_the_platform_gave(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [int(told(data, f"shared/2026-10-07/{name}", capsys)["cost_atoms"]) for name in ("rd/cv", "nlp")]
    assert -sum(given) == int(told(data, "shared/2026-10-07/platform", capsys)["cost_atoms"])


def test_people_read_it_in_sentences(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(data, "explain", "shared/2026-10-07/rd/cv#0000003") == GOOD
    said = capsys.readouterr().out
    assert "unallocated_idle/proportional of policy even-2026" in said
    assert "formula     285.999996000000 CNY x " in said
    assert "rd/cv 0.8" in said and "nlp 0.1" in said
    assert "H20 x 7.00 (price" in said


def test_the_ids_of_a_statement_are_understood(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("daily", "--date", "2026-10-07", "--format", "csv", "--lang", "en", "--out", str(tmp_path))
    assert run(data, *words) in (GOOD, PARTIAL)
    capsys.readouterr()
    (file,) = tmp_path.rglob("*shared*.csv")
    with file.open(encoding="utf-8-sig", newline="") as text:
        rows = list(csv.DictReader(text))
    assert {row["department_id"] for row in rows} == {"rd/cv", "nlp", "platform"}
    for row in rows:
        found = told(data, row["charge_id"], capsys)
        assert round(Fraction(int(found["cost_atoms"]), ledger.ATOMS_PER_UNIT), 2) == Fraction(row["cost"])


@pytest.mark.parametrize(
    ("charge", "said"),
    [
        ("shared/2026-10-07/sales", "nothing was shared with sales"),
        ("shared/october/rd", "is no shared charge"),
        ("shared/2026-10-07", "is no shared charge"),
        ("shared/2026-13/rd", "there is no period 2026-13; write e.g. shared/2026-10/rd"),
        ("shared/2026-02-30/rd", "there is no period 2026-02-30"),
        ("adjustment/17", "is no line of the ledger"),
    ],
)
def test_what_is_no_shared_charge_is_told(
    data: Path, capsys: pytest.CaptureFixture[str], charge: str, said: str
) -> None:
    assert run(data, "explain", charge) == USAGE
    err = capsys.readouterr().err
    assert said in err
    assert "--month" not in err and "--date" not in err, "an option that nobody gave"


def test_a_charge_of_a_quarter_or_year_is_of_the_fiscal_one_its_statement_was_of(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    day = told(data, "shared/2026-10-07/rd/cv", capsys)
    fiscal = tmp_path / "report.toml"
    fiscal.write_text(f"[report]\nfiscal_start_month = 10\n{POLICY}", encoding="utf-8")
    for label in ("2026-Q1", "2026"):
        words = ["explain", f"shared/{label}/rd/cv", "--json", "--data", str(data), "--config", str(fiscal)]
        assert cli.main(words) == GOOD
        assert json.loads(capsys.readouterr().out)["cost_atoms"] == day["cost_atoms"]
