"""Departments summed by the organisation then or now: the report says which, and its sums add up either way."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from tests.collector.fleet_world import DAY, LATER, World, at

from ullage_collector.publish.files import publish_dimensions, publish_facts_day
from ullage_collector.published import Published
from ullage_collector.states import States
from ullage_reports import period as periods
from ullage_reports.cli import main
from ullage_reports.json_form import to_json
from ullage_reports.model import Report
from ullage_reports.pages import pages
from ullage_reports.statement import statement

NOW = datetime(2026, 11, 1, 6, tzinfo=UTC)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """One card at 20.00 an hour that rd/nlp holds all day; at 15:00 the team moves to AI and keeps its stable id."""
    world = World()
    world.card("G1")
    world.price("H800", 20_000_000)
    world.hold("G1", "slurm/dc1/nlp/7", 0, 24)
    world.rule("slurm:nlp", "rd/nlp", end=at(20))
    world.rule("slurm:nlp", "ai/nlp", start=at(20))
    for name, key, begin, end in (
        ("rd", None, -2400, None),
        ("rd/nlp", "k1", -2400, 15),
        ("ai", None, -2400, None),
        ("ai/nlp", "k1", 15, None),
    ):
        world.db.execute(
            "INSERT INTO department (department_id, name, parent_id, source_key, valid_from, valid_to, known_from) "
            "VALUES (?, upper(?), ?, ?, ?, ?, TIMESTAMP '2020-01-01')",
            [name, name, name.rpartition("/")[0] or None, key, at(begin), None if end is None else at(end)],
        )
    States(world.db).make(DAY.date(), LATER)
    folder = tmp_path / "published"
    publish_facts_day(world.db, folder, DAY.date(), status="sealed", now=LATER)
    publish_dimensions(world.db, folder, now=LATER)
    return folder


def report(root: Path, tree_at: datetime | None) -> Report:
    found = statement(
        Published(root), periods.daily("2026-10-07", "UTC"), currency="CNY", now=NOW, tree_at=tree_at
    )
    assert found.trust.adds_up, found.trust.checks
    return found


def rows(found: Report) -> list[tuple[str, str | None, int, Decimal]]:
    return [(r.department_id, r.parent_id, r.depth, r.amounts.hours) for r in found.departments]


def test_then_each_hour_stands_where_its_department_stood(root: Path) -> None:
    found = report(root, None)
    assert rows(found) == [
        ("rd", None, 0, Decimal("15.00")),
        ("rd/nlp", "rd", 1, Decimal("15.00")),
        ("ai", None, 0, Decimal("9.00")),
        ("ai/nlp", "ai", 1, Decimal("9.00")),
    ]
    assert (found.tree.at, found.tree.changes) == (None, 1)


def test_now_all_hours_stand_where_the_department_is_today(root: Path) -> None:
    found = report(root, NOW)
    assert rows(found) == [("ai", None, 0, Decimal("24.00")), ("ai/nlp", "ai", 1, Decimal("24.00"))]
    assert to_json(found.tree) == {"at": "2026-11-01T06:00:00Z", "changes": 1}


@pytest.mark.parametrize(
    ("tree_at", "lang", "said"),
    [
        (None, "en", "by the organisation valid at that hour; it changed once"),
        (None, "zh", "本期内组织变更一次"),
        (NOW, "en", "All hours count by the organisation of 2026-11-01 06:00."),
        (NOW, "zh", "全部时段按 2026-11-01 06:00 的组织归集"),
    ],
)
def test_the_page_says_which_organisation(root: Path, tree_at: datetime | None, lang: str, said: str) -> None:
    notes = [table.note for table in pages(report(root, tree_at), lang).file_tables]
    assert any(said in note for note in notes)


def test_the_command_takes_the_word(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["--data", str(root.parent), "daily", "--date", "2026-10-07", "--out", "-", "--format", "json"]
    assert main(command) == 0
    assert '"department_id": "rd"' in capsys.readouterr().out
    assert main([*command, "--tree", "now"]) == 0
    assert '"department_id": "rd"' not in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([*command, "--tree", "oak"])


def test_dimensions_of_an_older_release_are_read(root: Path) -> None:
    with Published(root).open(DAY, datetime(2026, 10, 8, tzinfo=UTC)) as facts:
        facts.connection.execute(
            "CREATE OR REPLACE VIEW older AS SELECT * EXCLUDE (deputy, source_key, source) FROM department"
        )
        facts.connection.execute("CREATE TABLE kept AS SELECT * FROM older; DROP VIEW department CASCADE")
        facts.connection.execute("CREATE VIEW department AS SELECT * FROM kept")
        assert facts.organisation().tree(0).departments == {}
        assert len(facts.organisation().believed()) == 4
