"""What becomes known about a closed period goes forward: closed lines and corrections together are what is believed now."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.collector.books_world import CARD_MINUTE, DAYS, Books, t
from tests.collector.fleet_world import HOUR, NANO

from ullage_collector.adjust.corrections import first_open
from ullage_collector.ledger import ATOMS_PER_UNIT
from ullage_collector.publish.closed_periods import close
from ullage_collector.publish.facts import publish_names
from ullage_collector.publish.publisher import EVERY_SECONDS, publish
from ullage_collector.published import Published
from ullage_collector.states import States

Key = tuple[Any, ...]
KEYS = "department_id, business, scenario, vendor, model, pool, cluster_id, state"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    found = Books(tmp_path_factory.mktemp("made"))
    found.publish()
    close(found.store, found.root, DAYS[0], DAYS[2], "Asia/Shanghai", reason="signed", actor="ada")
    return found.kept()


@pytest.fixture
def books(made: tuple[Path, float], tmp_path: Path) -> Books:
    return Books.copied(made, tmp_path / "data")


def corrections(books: Books) -> list[tuple[Any, ...]]:
    """(department, state, card-hours, currency units, reason) in the order they were posted."""
    return [
        (department, state, int(q) / (NANO * HOUR), int(a) / ATOMS_PER_UNIT, reason)
        for department, state, q, a, reason in books.store.reader()
        .execute(
            "SELECT department_id, state, quantity, cost_atoms, reason FROM adjustment WHERE kind = 'correction' "
            "ORDER BY adjustment_id"
        )
        .fetchall()
    ]


def posted(books: Books) -> dict[Key, tuple[int, int]]:
    """key -> sum of the corrections' quantity and atoms, what is 0 left out."""
    return _sums(
        books,
        f"SELECT {KEYS}, quantity AS q, cost_atoms AS a FROM adjustment WHERE kind = 'correction'",
    )


def stands(books: Books, first: datetime, end: datetime) -> dict[Key, tuple[int, int]]:
    """key -> quantity and atoms of [first, end) as the closed lines stand."""
    return _in_span(books, "segment", first, end)


def believed(books: Books, first: datetime, end: datetime) -> dict[Key, tuple[int, int]]:
    """key -> quantity and atoms of [first, end) as believed now, worked out from nothing."""
    import pyarrow as pa

    cursor = books.store.cursor()
    parts = []
    day = first.date()
    while day <= end.date():
        parts.append(States(cursor).work_out(day, books.now()).lines)
        day += timedelta(days=1)
    cursor.close()
    reader = books.store.reader()
    reader.register("believed_now", pa.concat_tables(parts))
    try:
        return _in_span(books, "believed_now", first, end)
    finally:
        reader.unregister("believed_now")


def _in_span(books: Books, table: str, first: datetime, end: datetime) -> dict[Key, tuple[int, int]]:
    a, b = int(first.timestamp()) * 10**6, int(end.timestamp()) * 10**6
    return _sums(
        books,
        f"SELECT department_id, business, scenario, i.vendor, i.model, i.pool, i.cluster_id, state, "
        f"(least(to_us, {b}) - greatest(from_us, {a}))::HUGEINT * share_nano AS q, q * coalesce(price_micro, 0) AS a "
        f"FROM {table} s JOIN inventory i USING (inventory_id) WHERE from_us < {b} AND to_us > {a}",
    )


def _sums(books: Books, query: str) -> dict[Key, tuple[int, int]]:
    rows = (
        books.store.reader()
        .execute(
            f"SELECT {KEYS}, sum(q), sum(a) FROM ({query}) GROUP BY ALL HAVING sum(q) <> 0 OR sum(a) <> 0"
        )
        .fetchall()
    )
    return {tuple(row[:8]): (int(row[8]), int(row[9])) for row in rows}


def together(*parts: dict[Key, tuple[int, int]]) -> dict[Key, tuple[int, int]]:
    found: dict[Key, tuple[int, int]] = {}
    for part in parts:
        for key, (q, a) in part.items():
            before = found.get(key, (0, 0))
            found[key] = (before[0] + q, before[1] + a)
    return {key: amounts for key, amounts in found.items() if any(amounts)}


PERIOD = (datetime(2026, 10, 5, 16, tzinfo=UTC), datetime(2026, 10, 7, 16, tzinfo=UTC))


def test_a_rule_known_late_takes_from_one_department_and_gives_to_the_other(books: Books) -> None:
    books.rule("new")
    books.publish()
    # 40 h of the closed period (its first 8 were before anybody owned the card) at 20 a card-hour.
    assert corrections(books) == [
        ("new", "unknown", 40.0, 800.0, "late: mapping"),
        ("old", "unknown", -40.0, -800.0, "late: mapping"),
    ]
    assert together(stands(books, *PERIOD), posted(books)) == believed(books, *PERIOD)
    assert books.publish() == {}
    assert len(corrections(books)) == 2, "looked at once, it is posted once"


def test_going_back_to_the_first_belief_posts_the_opposite_lines(books: Books) -> None:
    books.rule("new")
    books.publish()
    books.rule("old")
    books.publish()
    assert [(d, h, c) for d, _, h, c, _ in corrections(books)] == [
        ("new", 40.0, 800.0),
        ("old", -40.0, -800.0),
        ("new", -40.0, -800.0),
        ("old", 40.0, 800.0),
    ]
    assert posted(books) == {}


def test_a_second_late_datum_is_a_second_line_and_the_first_stays(books: Books) -> None:
    books.rule("new")
    books.publish()
    first = books.store.reader().execute("SELECT * FROM adjustment ORDER BY ALL").fetchall()
    books.price("H800", 30_000_000)
    books.publish()
    rows = books.store.reader().execute("SELECT * FROM adjustment ORDER BY adjustment_id").fetchall()
    assert rows[: len(first)] == first
    assert [(d, s, h, c, r) for d, s, h, c, r in corrections(books)[2:]] == [
        ("new", "unknown", 0.0, 400.0, "late: price"),
        ("platform", "unallocated_idle", 0.0, 400.0, "late: price"),
    ]
    assert together(stands(books, *PERIOD), posted(books)) == believed(books, *PERIOD)


def test_late_telemetry_moves_unknown_to_used_and_idle(books: Books) -> None:
    books.minutes("G0", t(6, 2), 120, 0.9)
    books.minutes("G0", t(6, 4), 120, 0.0)
    books.publish()
    assert corrections(books) == [
        ("old", "allocated_idle", 2.0, 40.0, "late: telemetry"),
        ("old", "unknown", -4.0, -80.0, "late: telemetry"),
        ("old", "used", 2.0, 40.0, "late: telemetry"),
    ]


def test_hours_that_get_a_price_are_no_hours_more(tmp_path: Path) -> None:
    books = Books(tmp_path)
    with books.store.write() as w:
        w.execute("UPDATE price SET known_to = ?", [books.now().replace(tzinfo=None)])
    books.publish()
    close(books.store, books.root, DAYS[0], DAYS[2], "UTC", reason="signed", actor="ada")
    assert all(row[3] == 0 for row in corrections(books))
    books.price("H800", 10_000_000)
    books.publish()
    assert corrections(books) == [
        ("old", "unknown", 0.0, 480.0, "late: price"),
        ("platform", "unallocated_idle", 0.0, 480.0, "late: price"),
    ]


def test_a_card_nobody_knew_of_is_a_correction_with_hours(books: Books) -> None:
    books.own("G9", "H800", t(6))
    books.publish()
    assert corrections(books) == [("platform", "unallocated_idle", 40.0, 800.0, "late: inventory")]
    assert together(stands(books, *PERIOD), posted(books)) == believed(books, *PERIOD)


def test_an_incident_known_late_moves_the_holders_cost_to_the_platform(books: Books) -> None:
    books.incident("G0", t(6, 6), t(6, 9))
    books.publish()
    assert corrections(books) == [
        ("old", "unknown", -3.0, -60.0, "late: incident"),
        ("platform", "faulty", 3.0, 60.0, "late: incident"),
    ]


def test_corrections_are_posted_to_the_first_open_instant_after_the_period(books: Books) -> None:
    books.rule("new")
    books.publish()
    rows = books.store.reader().execute("SELECT DISTINCT posted_at, zone FROM adjustment").fetchall()
    assert rows == [(t(7, 16), "Asia/Shanghai")]
    close(books.store, books.root, DAYS[2], date(2026, 10, 9), "Asia/Shanghai", reason="next", actor="ada")
    books.rule("newer")
    books.publish()
    rows = books.store.reader().execute("SELECT DISTINCT posted_at FROM adjustment ORDER BY ALL").fetchall()
    assert rows == [(t(7, 16),), (t(8, 16),)]
    assert first_open(books.store.reader(), t(6)) == t(8, 16)


def test_what_is_posted_is_published_beside_the_names(books: Books) -> None:
    books.rule("new")
    books.publish()
    publish_names(books.store, books.root, now=books.now())
    with Published(books.root).open(*PERIOD) as facts:
        assert facts.rows("SELECT count(*) FROM adjustment") == [(0,)], "the closed period knows of none"
    with Published(books.root).open(PERIOD[1], PERIOD[1] + timedelta(days=1)) as facts:
        assert facts.rows(
            "SELECT kind, status, department_id, cost_atoms > 0, requester, approver FROM adjustment ORDER BY department_id"
        ) == [
            ("correction", "posted", "new", True, "ullage", None),
            ("correction", "posted", "old", False, "ullage", None),
        ]


def test_a_closed_day_whose_telemetry_is_gone_is_told_and_not_corrected_to_unknown(tmp_path: Path) -> None:
    books = Books(tmp_path)
    books.minutes("G0", t(6, 2), 120, 0.9)
    books.publish()
    close(books.store, books.root, DAYS[0], DAYS[1], "UTC", reason="signed", actor="ada")
    with books.store.write() as w:
        books.store.days.drop_others(w, CARD_MINUTE, [])
    books.rule("new")
    with pytest.raises(Exception, match="its closed lines stand on telemetry the store no longer holds"):
        books.publish()
    assert corrections(books) == []


def test_closed_days_are_looked_at_in_turns_after_the_open_ones_and_posted_once(books: Books) -> None:
    with books.store.write() as w:
        w.execute("UPDATE inventory SET valid_to = TIMESTAMP '2026-10-09'")
    books.minutes("G1", t(8), 1, 0.0)
    publish(books.store, books.root, now=books.now())
    assert corrections(books) == []
    books.rule("new")
    books.clock.advance(EVERY_SECONDS - books.clock.wall() % EVERY_SECONDS)
    rounds = []
    for _ in range(4):
        done = publish(books.store, books.root, now=books.now(), most_closed=1)
        rounds.append(([str(day) for day, _, _ in done.facts], done.corrections))
        books.clock.advance(EVERY_SECONDS)
    assert rounds[0][0][0] == "2026-10-08", "the open day is not kept waiting"
    looked = [day for days, _ in rounds for day in days]
    assert sorted(looked) == ["2026-10-06", "2026-10-07", "2026-10-08"], "each once, one closed day a round"
    assert [(d, h) for d, _, h, _, _ in corrections(books)] == [("new", 40.0), ("old", -40.0)]
