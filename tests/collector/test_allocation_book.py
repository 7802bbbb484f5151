"""What live sources say becomes one two-time belief: nothing twice, nothing lost, nothing known made unknown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ullage_collector.allocation.book import AllocationBook, Believed
from ullage_collector.allocation.holding import NANO, Holding, Place, Rank, Workload
from ullage_collector.store.store import Store
from ullage_contract.clock import SystemClock

T0 = 1_790_000_000_000_000
HOUR = 3_600_000_000


class Clock(SystemClock):
    """Turned by hand."""

    def __init__(self) -> None:
        self.now = T0 / 1e6

    def wall(self) -> float:
        return self.now


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "store.duckdb", clock=Clock())
    yield opened
    opened.close()


def job(number: int, *, account: str = "nlp") -> Workload:
    return Workload(f"slurm/dc1/{number}", "slurm_job", "dc1", f"train-{number}", "ann", account, "gpu")


def cards(*names: str, node: str = "g1") -> tuple[Place, ...]:
    return tuple(Place(node, name) for name in names)


def rows(store: Store, *, known_at_us: int | None = None) -> list[tuple[object, ...]]:
    """(workload, node, card, share, from, to, rank) as believed now or at an instant."""
    believed = (
        "a.known_to IS NULL"
        if known_at_us is None
        else f"epoch_us(a.known_from) <= {known_at_us} AND (a.known_to IS NULL OR epoch_us(a.known_to) > {known_at_us})"
    )
    return (
        store.cursor()
        .execute(
            "SELECT w.workload_id, n.node_id, c.card_id, a.share_nano, epoch_us(a.valid_from), epoch_us(a.valid_to), a.rank "
            "FROM allocation a JOIN workload w USING (workload_key) LEFT JOIN node n ON n.node_key = a.node_key "
            f"LEFT JOIN card c ON c.card_key = a.card_key WHERE {believed} ORDER BY ALL"
        )
        .fetchall()
    )


def test_a_running_job_that_ends_is_one_allocation_with_two_beliefs(store: Store) -> None:
    book = AllocationBook(store, "slurm")
    running = Holding(job(1), T0, None, cards("GPU-a", "GPU-b"))
    assert book.believe([running]) == Believed(2, 0, 0)
    store.clock.now += 3600  # type: ignore[attr-defined]
    before = T0 + HOUR - 1
    assert book.believe([replace(running, to_us=T0 + HOUR)]) == Believed(2, 2, 0)
    assert [r[5] for r in rows(store)] == [T0 + HOUR] * 2
    assert [r[5] for r in rows(store, known_at_us=before)] == [None, None]


def test_the_same_words_twice_change_nothing(store: Store) -> None:
    book = AllocationBook(store, "slurm")
    said = [Holding(job(n), T0, None, cards(f"GPU-{n}"), attributes={"state": "RUNNING"}) for n in range(20)]
    book.believe(said)
    assert book.believe(said) == Believed(0, 0, 0)


def test_cards_once_known_outlive_an_accounting_that_only_counts_them(store: Store) -> None:
    book = AllocationBook(store, "slurm")
    book.believe([Holding(job(1), T0, None, cards("GPU-a", "GPU-b"))])
    book.believe([Holding(job(1), T0, T0 + HOUR, (Place("g1", cards=2),))])
    assert [r[2] for r in rows(store)] == ["GPU-a", "GPU-b"]
    assert [r[5] for r in rows(store)] == [T0 + HOUR] * 2


def test_one_of_three_cards_known_leaves_two_to_be_known(store: Store) -> None:
    book = AllocationBook(store, "slurm")
    book.believe([Holding(job(1), T0, None, cards("GPU-a"))])
    book.believe([Holding(job(1), T0, None, (Place("g1", cards=3),))])
    assert [(r[2], r[3]) for r in rows(store)] == [("GPU-a", NANO), (None, 2 * NANO)]
    book.believe([Holding(job(1), T0, None, cards("GPU-a", "GPU-b", "GPU-c"))])
    assert [(r[2], r[3]) for r in rows(store)] == [("GPU-a", NANO), ("GPU-b", NANO), ("GPU-c", NANO)]


def test_fewer_cards_than_known_is_nobody_knows_which(store: Store) -> None:
    book = AllocationBook(store, "slurm")
    book.believe([Holding(job(1), T0, None, cards("GPU-a", "GPU-b"))])
    book.believe([Holding(job(1), T0, None, (Place("g1", cards=1),))])
    assert [(r[2], r[3]) for r in rows(store)] == [(None, NANO)]


def test_two_runs_of_one_job_are_two_holdings(store: Store) -> None:
    book = AllocationBook(store, "slurm")
    book.believe([Holding(job(1), T0, None, cards("GPU-a"))])
    book.believe(
        [
            Holding(job(1), T0, T0 + HOUR, cards("GPU-a")),
            Holding(job(1), T0 + 2 * HOUR, None, cards("GPU-b")),
        ]
    )
    assert [(r[2], r[4] - T0, r[5]) for r in rows(store)] == [  # type: ignore[operator]
        ("GPU-a", 0, T0 + HOUR),
        ("GPU-b", 2 * HOUR, None),
    ]
    assert [(s.from_us, s.placed) for s in book.standing("dc1")] == [(T0 + 2 * HOUR, True)]


def test_what_never_was_is_taken_back_and_stays_in_history(store: Store) -> None:
    book = AllocationBook(store, "slurm")
    book.believe([Holding(job(1), T0, None, cards("GPU-a"))])
    store.clock.now += 10  # type: ignore[attr-defined]
    assert book.believe([Holding(job(1), T0, None, ())]) == Believed(0, 1, 0)
    assert rows(store) == []
    assert len(rows(store, known_at_us=T0 + 1)) == 1


def test_an_end_without_places_ends_what_is_believed(store: Store) -> None:
    book = AllocationBook(store, "kubernetes")
    book.believe([Holding(job(1), T0, None, cards("GPU-a"))])
    book.believe([Holding(job(1), T0, T0 + 5, None)])
    assert [(r[2], r[5]) for r in rows(store)] == [("GPU-a", T0 + 5)]


def test_two_replicas_on_one_card_add_up(store: Store) -> None:
    book = AllocationBook(store, "kubernetes")
    quarter = Place("g1", "GPU-a", None, NANO // 4, NANO // 2)
    book.believe([Holding(job(1), T0, None, (quarter, quarter))])
    assert [(r[2], r[3]) for r in rows(store)] == [("GPU-a", NANO // 2)]


def test_one_bad_holding_does_not_stop_the_others(store: Store) -> None:
    book = AllocationBook(store, "slurm")
    wrong = [
        Holding(job(2), T0, T0 - 1, cards("GPU-b")),
        Holding(job(3), T0, None, (Place("g1", "\x00"),)),
        Holding(Workload("x" * 201, "slurm_job", "dc1"), T0, None, cards("GPU-c")),
    ]
    done = book.believe([*wrong, Holding(job(1), T0, None, cards("GPU-a"))])
    assert [r[0] for r in rows(store)] == ["slurm/dc1/1"]
    assert {text[:11] for text, _ in done.refused} == {"slurm/dc1/2", "slurm/dc1/3", "x" * 11}


def test_a_changed_account_reaches_the_workload_and_silence_does_not_erase_it(store: Store) -> None:
    book = AllocationBook(store, "slurm")
    book.believe([Holding(job(1), T0, None, cards("GPU-a"))])
    book.believe([Holding(job(1, account="vision"), T0, None, cards("GPU-a"))])
    book.believe([Holding(replace(job(1), namespace=None, user=None), T0, None, cards("GPU-a"))])
    found = store.cursor().execute("SELECT namespace, user_name FROM workload").fetchall()
    assert found == [("vision", "ann")]


def test_ranks_are_kept(store: Store) -> None:
    book = AllocationBook(store, "slurm")
    book.believe([Holding(job(1), T0, None, (Place("g1", cards=8),), Rank.RESERVED)])
    assert [r[6] for r in rows(store)] == ["reserved"]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(1, 3),
            st.integers(0, 2),
            st.one_of(st.none(), st.integers(1, 5)),
            st.lists(st.sampled_from(["a", "b", "c", None]), max_size=4),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_the_last_word_of_each_run_stands_and_no_run_stands_twice(
    tmp_path_factory: pytest.TempPathFactory,
    words: list[tuple[int, int, int | None, list[str | None]]],
) -> None:
    store = Store.open(tmp_path_factory.mktemp("book") / "store.duckdb", clock=Clock())
    try:
        book = AllocationBook(store, "slurm")
        last: dict[tuple[str, int], Holding] = {}
        for number, start, length, names in words:
            store.clock.now += 1  # type: ignore[attr-defined]
            from_us = T0 + start * HOUR
            places = tuple(Place("g1", name) for name in names)
            said = Holding(job(number), from_us, None if length is None else from_us + length, places)
            book.believe([said])
            last[said.workload.workload_id, from_us] = said
        found: dict[tuple[object, object], list[tuple[object, ...]]] = {}
        for row in rows(store):
            found.setdefault((row[0], row[4]), []).append(row)
        assert found.keys() == {run for run, said in last.items() if said.places}
        for run, standing in found.items():
            assert {row[5] for row in standing} == {last[run].to_us}
            known = [row[2] for row in standing if row[2] is not None]
            assert len(known) == len(set(known))
            assert sum(int(row[3]) for row in standing) == NANO * len(last[run].places or ())  # type: ignore[call-overload]
    finally:
        store.close()
