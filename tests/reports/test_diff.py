"""Two statements side by side: what moved, why, and that it adds up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.collector.fleet_world import DAY, LATER, World

from ullage_collector.publish.files import publish_dimensions, publish_facts_day
from ullage_collector.states import States
from ullage_contract.clock import ManualClock
from ullage_contract.command import GOOD, PARTIAL, USAGE
from ullage_reports import cli

NOW = datetime(2026, 11, 1, 6, tzinfo=UTC)


@pytest.fixture
def both(tmp_path: Path) -> tuple[Path, Path]:
    """A day's statement, and the same day's after it was told late that another department held a card for six hours."""
    world = World()
    world.card("G1", "H800")
    world.card("G2", "H800")
    world.price("H800", 20_000_000)
    for name in ("nlp", "cv"):
        world.department(name, name.upper())
        world.rule(f"slurm:{name}", name)
    world.hold("G1", "slurm/dc1/nlp/1", 0, 24)
    for card in ("G1", "G2"):
        world.minutes(card, 0, 24, 0.9)
    found = []
    for name in ("a", "b"):
        States(world.db).make(DAY.date(), LATER)
        publish_facts_day(world.db, tmp_path / "published", DAY.date(), status="provisional", now=LATER)
        publish_dimensions(world.db, tmp_path / "published", now=LATER)
        found.append(statement(tmp_path, tmp_path / name))
        world.hold("G2", "slurm/dc1/cv/2", 0, 6)
    return found[0], found[1]


def statement(data: Path, out: Path) -> Path:
    arguments = [
        "daily",
        "--date",
        DAY.date().isoformat(),
        "--format",
        "json",
        "--data",
        str(data),
        "--out",
        str(out),
    ]
    assert cli.main(arguments, clock=ManualClock(NOW.timestamp())) == GOOD
    (file,) = out.iterdir()
    return file


def told(capsys: pytest.CaptureFixture[str], a: Path, b: Path) -> dict[str, Any]:
    capsys.readouterr()
    assert cli.main(["diff", str(a), str(b), "--json"]) == GOOD
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_correction_moves_money_between_departments_and_names_the_day(
    both: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    found = told(capsys, *both)
    assert found["adds_up"] is True
    assert found["total"]["cost"] == {"before": "960.00", "after": "960.00", "difference": "0.00"}
    moved = {(row["table"], row["name"]): row["cost"]["difference"] for row in found["moved"]}
    assert moved["department", "cv"] == "120.00"
    assert moved["department", "platform"] == "-120.00"
    assert ("department", "nlp") not in moved
    assert moved["state", "used"] == "120.00"
    assert any("revision 2 (provisional), it was 1" in cause for cause in found["causes"])


def test_the_other_way_round_has_the_other_signs(
    both: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    there, back = told(capsys, *both), told(capsys, both[1], both[0])
    signs = {(r["table"], r["name"]): Decimal(r["cost"]["difference"]) for r in there["moved"]}
    assert {(r["table"], r["name"]): -Decimal(r["cost"]["difference"]) for r in back["moved"]} == signs


def test_the_same_twice_is_nothing(both: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, both[0], both[0])["moved"] == []
    assert cli.main(["diff", str(both[0]), str(both[0])]) == GOOD
    out = capsys.readouterr().out
    assert "nothing moved" in out
    assert "the same published data" in out


def test_what_does_not_add_up_is_said_and_ends_with_code_3(
    both: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    broken = json.loads(both[1].read_text("utf-8"))
    broken["departments"][0]["own"]["cost"] = "1.00"
    both[1].write_text(json.dumps(broken), encoding="utf-8")
    assert cli.main(["diff", str(both[0]), str(both[1])]) == PARTIAL
    assert "do not add up" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[]", "is no statement"),
        ('{"schema_version": 2}', "schema_version 2"),
        ('{"schema_version": 1, "total": {"cost": "x"}}', "is no statement"),
        (
            '{"schema_version": 1, "trust": {"days": []}, "currency": "CNY", "total": {"cost": "1", "hours": "1"}}',
            "states",
        ),
    ],
)
def test_what_is_no_statement_is_named(
    both: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    content: str | None,
    said: str,
) -> None:
    file = tmp_path / "other.json"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    assert cli.main(["diff", str(both[0]), str(file)]) == USAGE
    err = capsys.readouterr().err
    assert said in err and "other.json" in err


def spoilt(content: Any) -> Iterator[tuple[Any, str | int]]:
    """Every place of a JSON: the object or list, and the key; of a list its first row."""
    if isinstance(content, dict):
        for key, below in content.items():
            yield content, key
            yield from spoilt(below)
    elif isinstance(content, list) and content:
        yield content, 0
        yield from spoilt(content[0])


WRONG = ("gone", None, [], {}, "x", 7, "NaN", "1e999999999")


def test_a_statement_of_any_wrong_shape_is_one_clear_line(
    both: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    good, other = both
    whole = json.loads(other.read_text("utf-8"))
    for unread in ("economics", "findings", "anomalies", "workloads", "finest"):
        whole.pop(unread, None)
    refused = set()
    for number, (place, key) in enumerate(list(spoilt(whole))):
        kept = place[key]
        for wrong in (WRONG[0], WRONG[1 + number % 7]):
            if wrong == "gone":
                del place[key]
            else:
                place[key] = wrong
            other.write_text(json.dumps(whole), encoding="utf-8")
            words = (good, other) if number % 2 else (other, good)
            code = cli.main(["diff", *map(str, words)])
            err = capsys.readouterr().err
            assert code in (GOOD, PARTIAL, USAGE), (key, wrong, err)
            if code == USAGE:
                refused.add(key)
                assert err.count("\n") == 1 and len(err) < 600, (key, err)
            if wrong == "gone" and isinstance(place, list):
                place.insert(0, kept)
            else:
                place[key] = kept
    assert {"states", "total", "period", "trust", "currency", "days", "digest", "cost"} <= refused
    other.write_text(json.dumps(whole), encoding="utf-8")
    assert cli.main(["diff", str(good), str(other)]) == GOOD, "put back as it was"


def test_two_currencies_have_no_difference(
    both: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    other = json.loads(both[1].read_text("utf-8"))
    other["currency"] = "USD"
    both[1].write_text(json.dumps(other), encoding="utf-8")
    assert cli.main(["diff", str(both[0]), str(both[1])]) == USAGE
    assert "CNY" in capsys.readouterr().err
