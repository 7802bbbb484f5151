"""Any line of the ledger goes back to its formula, rates, versions and rows."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import duckdb
import pytest
from tests.collector.fleet_world import DAY, LATER, NANO, World

from ullage_collector.ledger import ATOMS_PER_UNIT
from ullage_collector.pricing.terms import Terms
from ullage_collector.publish import beside
from ullage_collector.publish.files import publish_dimensions, publish_facts_day
from ullage_collector.states import States, keep
from ullage_contract.command import GOOD, USAGE
from ullage_reports import cli


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A card that is partly held, and faulty for two hours; one without a price."""
    world = World()
    world.card("G1@rack", "H800")
    world.card("X1", "BI-V150", "n3", vendor="iluvatar")
    world.price("H800", 20_333_333, assumed=True)
    world.department("rd", "研发一部\x1b[31m")
    world.rule("slurm:nlp", "rd", business="搜索", scenario="training")
    world.hold("G1@rack", "slurm/dc1/nlp/1", 0, 7 + 1 / 7, NANO // 3)
    world.minutes("G1@rack", 0, 24, 0.9)
    world.incident("G1@rack", 10, 12)
    root = tmp_path_factory.mktemp("data")
    States(world.db).make(DAY.date(), LATER)
    publish_facts_day(world.db, root / "published", DAY.date(), status="sealed", now=LATER)
    publish_dimensions(world.db, root / "published", now=LATER)
    return root


def lines(data: Path, where: str = "true") -> list[dict[str, Any]]:
    with duckdb.connect() as db:
        files = str(data / "published/facts/*/rev=1/segments.parquet")
        cursor = db.execute(f"SELECT * FROM read_parquet(?) WHERE {where} ORDER BY line_id", [files])
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def said(data: Path, line: str, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    assert cli.main(["explain", line, "--data", str(data), *more]) == GOOD
    return capsys.readouterr().out


def test_every_lines_cost_is_seconds_times_share_times_price(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    total = 0
    for line in lines(data, "price_micro IS NOT NULL"):
        told = json.loads(said(data, line["line_id"], capsys, "--json", "--trust-files"))
        exact = (
            Decimal(told["seconds"]) / 3600 * Decimal(told["share"]) * Decimal(told["price_per_card_hour"])
        )
        assert abs(exact - Decimal(told["cost"])) < Decimal("1e-11")
        assert int(told["cost_atoms"]) == int(line["cost_atoms"])
        assert told["price"]["price_micro"] == 20_333_333
        total += int(told["cost_atoms"])
    assert total == 24 * 20_333_333 * ATOMS_PER_UNIT // 1_000_000, "the parts are the whole day of one card"


def test_a_held_line_names_who_pays_why_and_from_which_rows(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = lines(data, "workload_id IS NOT NULL")[0]
    page = said(data, line["line_id"], capsys)
    assert "0.333333333 of the card" in page
    assert "20.333333 CNY a card-hour" in page and "assumed, not agreed" in page
    assert "rd, 研发一部" in page and "scenario training" in page and "by rule" in page
    assert "slurm/dc1/nlp/1" in page
    assert "sealed" in page
    assert "\x1b" not in page, "what others wrote cannot move the cursor"


def test_a_faulty_line_names_its_incident_and_the_platform(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = lines(data, "state = 'faulty'")[0]
    page = said(data, line["line_id"], capsys)
    assert "the platform" in page
    assert "incident" in page


def test_a_line_without_a_price_has_no_cost(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = lines(data, "price_micro IS NULL")[0]
    told = json.loads(said(data, line["line_id"], capsys, "--json"))
    assert told["cost"] is None and told["price"] is None
    assert "none is known" in said(data, line["line_id"], capsys)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("x", "is no line id"),
        ("G1@1#", "is no line id"),
        ("G1@99999999999999999999#1", "is no line id"),
        ("G0@²#0", "of energy CARD@MICROSECONDS~NUMBER"),
        ("G0@1#²", "is no line id"),
        ("G0@²~0", "is no line id"),
        ("residue/c/nvidia/H800/1", "is no line of the ledger"),
        ("G1@1000000#1", "1970-01-01 is not published"),
    ],
)
def test_what_is_no_line_is_named(
    data: Path, capsys: pytest.CaptureFixture[str], line: str, told: str
) -> None:
    assert cli.main(["explain", line, "--data", str(data)]) == USAGE
    assert told in capsys.readouterr().err


def test_a_line_of_another_revision_shows_what_stands_there_now(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = lines(data)[0]["line_id"]
    gone = line.rpartition("#")[0] + "#77"
    assert cli.main(["explain", gone, "--data", str(data)]) == USAGE
    err = capsys.readouterr().err
    assert f"no such line in revision 1 of {date(2026, 10, 7)}" in err
    assert line in err


def test_energy_and_a_converted_contract_go_back_to_tariff_pue_rate_and_components(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = World()
    world.card("G1", "H800")
    world.rule("slurm:nlp", "rd")
    world.hold("G1", "slurm/dc1/nlp/1", 0, 24)
    world.minutes("G1", 0, 24, 0.9, power_watts=500.0)
    terms = Terms(
        Fraction(2_000_000), components={"capex": Fraction(3_500_001, 2), "rack": Fraction(1, 4) * 10**6}
    ).to_json()
    world.db.execute(
        "INSERT INTO price (price_id, model, currency, price_micro, assumed, valid_from, known_from, source, kind, terms) VALUES "
        "(5, 'H*', 'USD', 2000000, false, '2026-01-01', '2026-01-01', 'book.toml', 'owned', ?)",
        [terms],
    )
    then = "TIMESTAMP '2026-01-01', NULL, TIMESTAMP '2026-01-01', NULL, 'book.toml'"
    world.db.execute(f"INSERT INTO exchange_rate VALUES (6, 'USD', 'CNY', 7123400000, {then})")
    world.db.execute(f"INSERT INTO money_policy VALUES (7, 'CNY', NULL, {then})")
    world.db.execute(
        f"INSERT INTO tariff VALUES (8, NULL, 'CNY', 650000, 'UTC', '00:00-24:00', NULL, {then})"
    )
    world.db.execute(f"INSERT INTO pue VALUES (9, NULL, 1350, {then})")
    worked = States(world.db).work_out(DAY.date(), LATER)
    keep(world.db, worked)
    beside.keep(world.db, worked)
    publish_facts_day(world.db, tmp_path / "published", DAY.date(), status="sealed", now=LATER)
    publish_dimensions(world.db, tmp_path / "published", now=LATER)

    at = int(DAY.timestamp()) * 10**6
    text = said(tmp_path, f"G1@{at}~1", capsys)
    assert "0.500000000000 kWh, measured" in text
    assert (
        "0.65 CNY a kWh (tariff 8, 00:00-24:00 UTC, known since 2026-01-01T00:00:00Z, from book.toml)" in text
    )
    assert "x 1.350 x 0.65 = 0.438750000000 CNY" in text
    told = json.loads(said(tmp_path, f"G1@{at}~1", capsys, "--json"))
    assert (told["kwh_with_pue"], told["pue"]["pue_milli"]) == ("0.675000000000", 1350)
    assert cli.main(["explain", f"G1@{at}~99", "--data", str(tmp_path)]) == USAGE
    capsys.readouterr()

    text = said(tmp_path, f"G1@{at}#1", capsys)
    assert "14.2468 CNY a card-hour (price 5, owned, for H*" in text
    assert "capex 1.750001, rack 0.25 USD a card-hour" in text
    assert "1 USD is 7.1234 CNY" in text
