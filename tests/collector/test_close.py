"""A closed period stands: a rule changed retroactively moves the money of open periods only."""

from __future__ import annotations

import json
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.collector.books_world import DAYS, Books, t
from tests.collector.fleet_world import us

from ullage_collector.publish.closed_periods import close, closings
from ullage_collector.publish.closing import combined
from ullage_collector.publish.facts import publish_day
from ullage_collector.published import Published
from ullage_contract.errors import BadInput

SHANGHAI = ("Asia/Shanghai", 16)  # its midnight is 16:00 UTC
CALCUTTA = ("Asia/Kolkata", 18.5)  # and here 18:30, within a UTC hour


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    found = Books(tmp_path_factory.mktemp("made"))
    found.publish()
    return found.kept()


@pytest.fixture
def books(made: tuple[Path, float], tmp_path: Path) -> Books:
    return Books.copied(made, tmp_path / "data")


def test_a_rule_changed_retroactively_moves_open_days_only(books: Books) -> None:
    assert [books.owners(day) for day in DAYS] == [{"old": 24.0}] * 3
    closing = close(books.store, books.root, DAYS[0], DAYS[2], "UTC", reason="October is signed", actor="ada")
    books.rule("new")
    before = {day: Published(books.root).facts(day) for day in DAYS}
    revisions = books.publish()
    assert [books.owners(day) for day in DAYS] == [{"old": 24.0}, {"old": 24.0}, {"new": 24.0}]
    for day in DAYS[:2]:
        manifest = before[day]
        assert manifest is not None
        assert revisions[day] == manifest.revision, "a closed day gets no new revision"
    assert books.publish() == {}, "looked at once, closed days are not due for ever"
    assert closings(books.store.reader()) == [closing]


@pytest.mark.parametrize(("zone", "hour"), [SHANGHAI, CALCUTTA])
def test_a_day_partly_in_a_closed_period_is_cut_at_the_local_midnight(
    books: Books, zone: str, hour: float
) -> None:
    close(books.store, books.root, DAYS[0] + timedelta(days=1), DAYS[2], zone, reason="signed", actor="ada")
    books.rule("new")
    books.publish()
    # The local day of the 7th: from 16:00 (18:30) of the 6th to 16:00 (18:30) of the 7th.
    assert books.owners(DAYS[0]) == {"new": hour, "old": 24 - hour}
    assert books.owners(DAYS[1]) == {"old": hour, "new": 24 - hour}
    assert books.owners(DAYS[2]) == {"new": 24.0}
    edges = (
        books.store.reader()
        .execute("SELECT min(from_us), max(to_us) FROM segment WHERE department_id = 'old'")
        .fetchall()[0]
    )
    assert edges == (us(hour - 24), us(hour))


@pytest.mark.parametrize(("zone", "hour"), [SHANGHAI, CALCUTTA])
def test_closing_alone_makes_no_new_revision(books: Books, zone: str, hour: float) -> None:
    close(books.store, books.root, DAYS[0] + timedelta(days=1), DAYS[2], zone, reason="signed", actor="ada")
    rows = "SELECT * FROM segment ORDER BY ALL"
    before = books.store.reader().execute(rows).fetchall()
    for day in DAYS:
        made = publish_day(books.store, books.root, day, now=books.now())
        assert not made.states.changed
    assert books.store.reader().execute(rows).fetchall() == before


def test_neither_late_telemetry_nor_a_late_incident_moves_a_closed_day(books: Books) -> None:
    close(books.store, books.root, DAYS[0], DAYS[1], "UTC", reason="signed", actor="ada")
    books.clock.advance(60)
    with books.store.write() as w:
        for number, day in enumerate(DAYS[:2]):
            w.execute(
                "INSERT INTO incident (incident_id, family, subject, cause, severity, onset, opened_at, closed_at, confirmed, "
                "action, evidence, history, origin) VALUES (?, 'card', 'G1', 'xid-79', 'critical', ?, ?, ?, true, "
                "'isolate_card', '[]', false, 'real')",
                [number, day, books.now().replace(tzinfo=None), day + timedelta(days=1)],
            )
    books.publish()
    states = (
        books.store.reader()
        .execute("SELECT day, count(*) FROM segment WHERE state = 'faulty' GROUP BY day ORDER BY day")
        .fetchall()
    )
    assert [day for day, _ in states] == [DAYS[1]]


def test_a_store_that_lost_its_lines_works_closed_days_out_as_believed_then(books: Books) -> None:
    close(
        books.store,
        books.root,
        DAYS[0] + timedelta(days=1),
        DAYS[2],
        "Asia/Shanghai",
        reason="signed",
        actor="ada",
    )
    books.rule("new")
    with books.store.write() as w:
        w.execute("DELETE FROM segment")
    for day in DAYS:
        publish_day(books.store, books.root, day, now=books.now())
    assert books.owners(DAYS[0]) == {"new": 16.0, "old": 8.0}
    assert books.owners(DAYS[1]) == {"old": 16.0, "new": 8.0}


def test_two_periods_closed_one_after_the_other_each_keep_their_belief(books: Books) -> None:
    close(books.store, books.root, DAYS[0], DAYS[1], "Asia/Kolkata", reason="signed", actor="ada")
    books.rule("middle")
    books.publish()
    close(books.store, books.root, DAYS[1], DAYS[2], "Asia/Kolkata", reason="signed too", actor="ada")
    books.rule("new")
    books.publish()
    assert books.owners(DAYS[0]) == {"old": 18.5, "middle": 5.5}
    assert books.owners(DAYS[1]) == {"middle": 18.5, "new": 5.5}


def test_a_closing_is_audited_and_says_which_revisions_it_stands_on(books: Books) -> None:
    close(books.store, books.root, DAYS[0], DAYS[2], "UTC", reason="signed", actor="ada")
    action, actor, reason, evidence = (
        books.store.reader()
        .execute("SELECT action, actor, reason, evidence FROM audit WHERE action = 'close'")
        .fetchall()[0]
    )
    assert (action, actor, reason) == ("close", "ada", "signed")
    assert json.loads(evidence)["revisions"].keys() == {day.isoformat() for day in DAYS[:2]}


@pytest.mark.parametrize(
    ("first", "end", "zone", "said"),
    [
        (DAYS[0], date(2026, 10, 13), "UTC", "is not over"),
        (DAYS[1], DAYS[0], "UTC", "is not after"),
        (DAYS[0], DAYS[1], "Mars/Olympus", "IANA zone"),
        (date(2026, 9, 1), date(2026, 10, 1), "UTC", "no day of it is published"),
        (DAYS[0], date(2026, 10, 10), "UTC", "not published, the first 2026-10-09"),
    ],
)
def test_what_cannot_be_closed_is_refused_by_name(
    books: Books, first: date, end: date, zone: str, said: str
) -> None:
    with pytest.raises(BadInput, match=said):
        close(books.store, books.root, first, end, zone, reason="x", actor="ada")
    assert closings(books.store.reader()) == []


def test_days_before_anybody_owned_a_card_are_in_no_ones_way(books: Books) -> None:
    close(books.store, books.root, date(2026, 10, 1), DAYS[1], "Asia/Shanghai", reason="signed", actor="ada")
    books.rule("new")
    books.clock.advance(60)
    with books.store.write() as w:  # now it is said that the cards were there since the 1st
        w.execute(
            "UPDATE inventory SET valid_from = TIMESTAMP '2026-10-01', known_from = ?",
            [books.now().replace(tzinfo=None)],
        )
    books.publish()
    assert books.owners(date(2026, 10, 5)) == {}
    assert books.owners(DAYS[0]) == {"old": 16.0, "new": 8.0}


def test_a_period_that_shares_an_hour_with_a_closed_one_is_refused(books: Books) -> None:
    close(books.store, books.root, DAYS[0], DAYS[1], "UTC", reason="signed", actor="ada")
    with pytest.raises(BadInput, match="shares time with the closed period"):
        close(books.store, books.root, DAYS[1], DAYS[2], "Asia/Shanghai", reason="x", actor="ada")
    close(books.store, books.root, DAYS[1], DAYS[2], "UTC", reason="the next one", actor="ada")


def test_a_period_about_which_something_became_known_since_is_not_closed_unseen(books: Books) -> None:
    books.rule("new")
    with pytest.raises(BadInput, match="something became known since, the first 2026-10-06"):
        close(books.store, books.root, DAYS[0], DAYS[1], "UTC", reason="x", actor="ada")
    books.publish()
    close(books.store, books.root, DAYS[0], DAYS[1], "UTC", reason="x", actor="ada")


def lines(rows: list[tuple[int, int, int, str]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) if rows else [[], [], [], []]
    return pa.table(
        {
            "card_key": pa.array(columns[0], pa.int32()),
            "from_us": pa.array(columns[1], pa.int64()),
            "to_us": pa.array(columns[2], pa.int64()),
            "department_id": pa.array(columns[3], pa.string()),
        }
    )


@st.composite
def days(draw: st.DrawFn) -> list[tuple[int, int, int, str]]:
    """Lines of two cards over [0, 100), cut anywhere."""
    rows = []
    for card in (1, 2):
        cuts = sorted({0, 100, *draw(st.lists(st.integers(1, 99), max_size=6))})
        rows += [(card, a, b, draw(st.sampled_from("xyz"))) for a, b in pairwise(cuts)]
    return rows


@given(days(), days(), st.lists(st.integers(0, 100), min_size=2, max_size=4, unique=True))
def test_each_instant_is_from_the_belief_its_side_of_the_edge_asks_for(
    closed: list[tuple[int, int, int, str]],
    present: list[tuple[int, int, int, str]],
    edges: list[int],
) -> None:
    edges = sorted(edges)[: len(edges) // 2 * 2]
    spans = list(zip(edges[::2], edges[1::2], strict=True))
    made = combined(lines(closed), lines(present), spans).to_pylist()

    def owner(rows: list[tuple[int, int, int, str]], card: int, at: int) -> list[str]:
        return [d for c, a, b, d in rows if c == card and a <= at < b]

    rows = [(r["card_key"], r["from_us"], r["to_us"], r["department_id"]) for r in made]
    for card in (1, 2):
        for at in range(100):
            side = closed if any(a <= at < b for a, b in spans) else present
            assert owner(rows, card, at) == owner(side, card, at)
    assert all(a < b for _, a, b, _ in rows)


@given(days(), st.integers(0, 99))
def test_the_same_belief_on_both_sides_is_not_cut(rows: list[tuple[int, int, int, str]], edge: int) -> None:
    made = combined(lines(rows), lines(rows), [(edge, 100)]).to_pylist()
    found = sorted(tuple(row.values()) for row in made)
    assert found == sorted(rows)


def test_money_that_fits_no_number_fails_its_day_and_not_the_round(tmp_path: Path) -> None:
    from ullage_collector.publish.publisher import publish

    books = Books(tmp_path)
    books.publish()
    books.price("H800", 10**14, start=t(7), currency="USD")
    with books.store.write() as w:
        known = books.now().replace(tzinfo=None)
        w.execute(
            "INSERT INTO exchange_rate VALUES (1, 'USD', 'CNY', 9000000000000000000, ?, NULL, ?, NULL, 'file')",
            [t(7), known],
        )
        w.execute("INSERT INTO money_policy VALUES (1, 'CNY', NULL, ?, NULL, ?, NULL, 'file')", [t(7), known])
    books.clock.advance(60)
    outcome = publish(books.store, books.root, now=books.now(), day=DAYS[1])
    assert [what for what, _ in outcome.failed] == [f"facts {DAYS[1]}"]
    assert outcome.names_revision is not None
