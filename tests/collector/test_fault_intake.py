"""The order in which the fault engine judges the events' journal: news first, and every record once."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ullage_collector import fault_intake
from ullage_collector.fault_intake import FRESH_SECONDS, Ahead, Intake, Lane
from ullage_collector.journal import START, Journal, JournalReader, Position, Record
from ullage_contract import wire
from ullage_contract.clock import ManualClock
from ullage_contract.event import Event, Severity
from ullage_contract.sample import Family, Origin

NOW = 1_795_000_000.0
OLD = NOW - FRESH_SECONDS - 3600


class Site:
    """A journal, and intakes on it as one process after the other has them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = ManualClock(wall=NOW)
        self.journal = Journal(folder)
        self.sequences: dict[str, int] = {}
        self.position: Position = START
        self.ahead: dict[Lane, Ahead] = {}
        self.intake = self.begin()

    def begin(self) -> Intake:
        """A new process: it knows what was committed."""
        self.intake = Intake(JournalReader(self.folder), self.clock, self.position, self.ahead)
        return self.intake

    def push(
        self, node: str, at: float, *, stream: str | None = None, origin: Origin = Origin.REAL
    ) -> Record:
        """One event of a node, received now."""
        stream = (stream or f"s{node}").ljust(32, "0")
        sequence = self.sequences[stream] = self.sequences.get(stream, 0) + 1
        event = Event(at, "xid", Severity.FATAL, Family.CARD, f"{node}-0", "kernel_log", "x", "79", "nvidia")
        body = wire.encode(
            wire.Batch(
                stream,
                sequence,
                "events",
                "1",
                "c",
                node,
                None,
                None,
                origin,
                events=[event],
            )
        )
        record = Record(
            stream, sequence, "events", "c", node, node, round(self.clock.wall() * 1e6), 0.0, body
        )
        self.journal.append([record])
        return record

    def commit(self) -> None:
        """As the engine does at the end of a transaction."""
        self.position = self.intake.position
        put, drop = self.intake.committing()
        self.ahead |= put
        for lane in drop:
            del self.ahead[lane]

    def taken(self, count: int = 1000) -> list[tuple[str, int]]:
        found = []
        while len(found) < count and (record := self.intake.take()) is not None:
            found.append((record.node, record.sequence))
        return found


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "events")


def test_a_node_with_news_goes_before_a_thousand_with_history(site: Site) -> None:
    for n in range(1000):
        site.push(f"old{n}", OLD)
    site.push("new", NOW)
    while not site.intake.has_news:
        before = site.intake.read()
    assert before == 1001
    assert site.taken(2) == [("new", 1), ("old0", 1)]


def test_a_nodes_own_history_goes_before_its_news(site: Site) -> None:
    site.push("other", OLD)
    for at in (OLD, OLD, NOW):
        site.push("n1", at)
    site.intake.read()
    assert site.taken() == [("n1", 1), ("n1", 2), ("n1", 3), ("other", 1)]


def test_a_node_that_has_much_keeps_the_news_of_others_waiting_for_one_record_only(site: Site) -> None:
    for at in (*[OLD] * 50, NOW):
        site.push("much", at)
    site.push("little", NOW)
    site.intake.read()
    assert site.taken(2) == [("much", 1), ("little", 1)]


def test_what_is_imported_or_was_left_lying_is_no_news(site: Site) -> None:
    site.push("imported", NOW, origin=Origin.IMPORTED)
    site.push("lying", NOW)
    site.clock.advance(FRESH_SECONDS + 1)
    site.push("new", site.clock.wall())
    site.intake.read()
    assert site.taken() == [("new", 1), ("imported", 1), ("lying", 1)]


def test_the_oldest_can_be_asked_for_so_that_it_does_not_wait_for_ever(site: Site) -> None:
    site.push("old", OLD)
    for n in range(3):
        site.push(f"new{n}", NOW)
    site.intake.read()
    taken = site.intake.take(oldest=True)
    assert taken is not None
    assert taken.node == "old"


def test_what_was_judged_ahead_is_not_judged_again_after_a_crash(site: Site) -> None:
    site.push("old", OLD)
    site.push("new", NOW)
    site.intake.read()
    assert site.taken(1) == [("new", 1)]
    site.commit()
    assert site.position == START
    site.begin().read()
    assert site.taken() == [("old", 1)]
    site.commit()
    assert site.position == site.journal.end
    assert site.ahead == {}


def test_a_record_that_stands_twice_is_given_once(site: Site) -> None:
    record = site.push("n1", NOW)
    site.journal.append([record])
    site.intake.read()
    assert site.taken() == [("n1", 1)]
    assert site.intake.position == site.journal.end


def test_a_record_that_stands_twice_is_given_once_also_where_a_restart_lies_between(site: Site) -> None:
    """Its first copy was written, and its sender was told that it is not durable."""
    twice = site.push("n1", NOW)
    site.push("n2", NOW)
    site.intake.read()
    assert site.taken(1) == [("n1", 1)]
    site.commit()
    site.journal.append([twice])
    site.push("n1", NOW)
    site.begin().read()
    assert site.taken() == [("n2", 1), ("n1", 2)]


def test_two_nodes_with_one_stream_hide_nothing_of_each_other(site: Site) -> None:
    site.push("a", OLD, stream="copied")
    site.push("b", NOW, stream="copied")
    site.intake.read()
    assert site.taken() == [("b", 2), ("a", 1)]


def test_no_more_is_held_than_the_limit(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(site.push("n0", OLD).body)
    monkeypatch.setattr(fault_intake, "READ_BYTES", 1)
    monkeypatch.setattr(fault_intake, "HELD_BYTES", 3 * size)
    for n in range(1, 9):
        site.push(f"n{n}", OLD)
    assert max(site.intake.read() for _ in range(9)) == 3
    assert [site.taken(1) for _ in range(3)] == [[("n0", 1)], [("n1", 1)], [("n2", 1)]]
    assert site.intake.read() == 1


def test_a_record_that_cannot_be_read_is_given_as_history(site: Site) -> None:
    site.journal.append([Record("s" * 32, 1, "events", "c", "n1", "n1", round(NOW * 1e6), 0.0, b"no gzip")])
    assert site.intake.read() == 1
    assert not site.intake.has_news
    assert site.taken() == [("n1", 1)]


@settings(deadline=None, max_examples=120)
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("push"), st.integers(0, 3), st.booleans()),
            st.tuples(st.just("take"), st.integers(1, 4), st.booleans()),
            st.tuples(st.sampled_from(["commit", "crash"]), st.just(0), st.just(False)),
        ),
        min_size=10,
        max_size=60,
    )
)
def test_over_crashes_every_record_is_judged_once_and_each_node_in_its_order(
    steps: list[tuple[str, int, bool]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder) / "events")
        sent: list[tuple[str, int]] = []
        judged: list[tuple[str, int]] = []
        pending: list[tuple[str, int]] = []
        for what, number, flag in [*steps, ("take", 10_000, False), ("commit", 0, False)]:
            if what == "push":
                record = site.push(f"n{number}", NOW if flag else OLD)
                sent.append((record.node, record.sequence))
            elif what == "take":
                site.intake.read()
                for _ in range(number):
                    if (taken := site.intake.take(oldest=flag)) is not None:
                        pending.append((taken.node, taken.sequence))
            elif what == "commit":
                site.commit()
                judged += pending
                pending = []
            else:
                pending = []  # what was not committed was not judged
                site.begin()
        assert sorted(judged) == sorted(sent)
        for node in {node for node, _ in sent}:
            mine = [sequence for name, sequence in judged if name == node]
            assert mine == sorted(mine)
        assert site.position == site.journal.end if sent else site.position == START
        assert site.ahead == {}
        site.journal.close()
