"""[closing]: a month is closed by the rule when it is due and fit, and a finding says why it is not."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.collector.books_world import DAYS, Books, t

from ullage_collector.config import Config
from ullage_collector.publish.closed_periods import close, closings
from ullage_collector.publish.closing_rule import BLOCKED, due, rule_of, step
from ullage_collector.publish.closings_cli import document
from ullage_contract.errors import ConfigError

SHANGHAI = {"zone": "Asia/Shanghai", "coverage": 0.0}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    found = Books(tmp_path_factory.mktemp("made"))
    with found.store.write() as w:
        w.execute("UPDATE inventory SET valid_to = TIMESTAMP '2026-10-09'")
    found.publish()
    found.clock.advance(datetime(2026, 11, 4, 9, tzinfo=UTC).timestamp() - found.clock.wall())
    return found.kept()


@pytest.fixture
def books(made: tuple[Path, float], tmp_path: Path) -> Books:
    """Cards that were owned on three days of October, all published and sealed; it is the 4th of November, 17:00 in Shanghai."""
    return Books.copied(made, tmp_path / "data")


def findings(books: Books) -> list[Any]:
    return [
        [reason["reason"] for reason in json.loads(evidence)["blocked"]]
        for (evidence,) in books.store.reader()
        .execute("SELECT evidence FROM finding WHERE kind = ? AND until IS NULL", [BLOCKED])
        .fetchall()
    ]


def test_a_month_is_closed_on_the_working_day_after_it_and_not_before(books: Books) -> None:
    rule = rule_of(SHANGHAI)
    waiting = due(books.store, rule)
    assert waiting is not None
    # Monday the 2nd is the first working day of November 2026, so the third is Wednesday the 4th.
    assert (waiting.first, waiting.end) == (date(2026, 10, 1), date(2026, 11, 1))
    assert waiting.closes_at == datetime(2026, 11, 4, 10, tzinfo=UTC)
    assert waiting.blocked == ()
    assert step(books.store, books.root, rule) == []
    books.clock.advance(3600)
    (done,) = step(books.store, books.root, rule)
    assert (done.closed_by, done.rule) == ("rule", "working day 3, 18:00 Asia/Shanghai")
    assert (done.starts, done.ends) == (
        datetime(2026, 9, 30, 16, tzinfo=UTC),
        datetime(2026, 10, 31, 16, tzinfo=UTC),
    )
    assert step(books.store, books.root, rule) == []
    assert len(closings(books.store.reader())) == 1
    assert due(books.store, rule) is None, "November is not over"
    said = document(books.store, Config(parts={"closing": SHANGHAI}))
    assert said["closings"][0]["rule"] == done.rule and said["due"] is None


def test_a_holiday_and_a_worked_weekend_move_the_day(books: Books) -> None:
    off = rule_of(SHANGHAI | {"holidays": ["2026-11-02/2026-11-03"], "working_days": ["2026-11-07"]})
    found = due(books.store, off)
    assert found is not None and found.closes_at == datetime(2026, 11, 6, 10, tzinfo=UTC)


def test_use_that_is_not_known_blocks_the_rule_until_a_person_closes(books: Books) -> None:
    books.clock.advance(7200)
    rule = rule_of({"zone": "Asia/Shanghai"})
    assert step(books.store, books.root, rule) == []
    assert findings(books) == [["use_not_known"]]
    said = document(books.store, Config(parts={"closing": {"zone": "Asia/Shanghai"}}))["due"]["blocked"]
    assert said == [{"reason": "use_not_known", "known_ratio": 0.0, "least": 0.95}]
    step(books.store, books.root, rule)
    assert len(findings(books)) == 1, "told once"
    close(
        books.store,
        books.root,
        date(2026, 10, 1),
        date(2026, 11, 1),
        "Asia/Shanghai",
        reason="ok",
        actor="ada",
    )
    assert step(books.store, books.root, rule) == []
    assert findings(books) == []


def test_hours_without_a_price_and_days_that_are_missing_or_stale_block_it(books: Books) -> None:
    books.clock.advance(7200)
    rule = rule_of(SHANGHAI)
    books.own("G5", "B300", t(6))
    assert step(books.store, books.root, rule) == []
    (reasons,) = findings(books)
    assert set(reasons) == {"days_not_published", "days_not_made_again"}
    with books.store.write() as w:
        w.execute("UPDATE inventory SET valid_to = TIMESTAMP '2026-10-09' WHERE card_id = 'G5'")
    books.publish()
    assert step(books.store, books.root, rule) == []
    assert findings(books) == [["no_price"]]
    assert len(step(books.store, books.root, rule_of(SHANGHAI | {"unpriced_hours": 72.0}))) == 1
    assert findings(books) == []


def test_what_a_person_left_of_a_month_is_the_next_period(books: Books) -> None:
    books.clock.advance(7200)
    close(books.store, books.root, DAYS[0], DAYS[2], "Asia/Shanghai", reason="audit", actor="ada")
    (done,) = step(books.store, books.root, rule_of(SHANGHAI))
    assert (done.starts, done.ends) == (
        datetime(2026, 10, 7, 16, tzinfo=UTC),
        datetime(2026, 10, 31, 16, tzinfo=UTC),
    )


def test_without_a_zone_or_a_working_day_nothing_is_closed_by_itself(books: Books) -> None:
    books.clock.advance(86_400 * 20)
    assert step(books.store, books.root, rule_of({})) == []
    only_persons = rule_of(SHANGHAI | {"working_day": 0})
    assert step(books.store, books.root, only_persons) == []
    found = due(books.store, only_persons)
    assert found is not None and found.closes_at is None


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"working_day": 3}, "names no zone"),
        ({"zone": "Mars/Olympus"}, "IANA zone"),
        ({"zone": "UTC", "time": "25:00"}, "18:00"),
        ({"zone": "UTC", "coverage": 1.5}, "coverage"),
        ({"zone": "UTC", "holidays": ["2026-13-01"]}, "holidays"),
        ({"zone": "UTC", "coverag": 0.5}, "coverag"),
    ],
)
def test_a_misspelt_rule_is_refused_by_name(part: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        rule_of(part)
