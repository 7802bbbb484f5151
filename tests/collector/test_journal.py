"""The journal keeps what was acknowledged, whatever is broken."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ullage_collector.journal import START, Journal, JournalReader, Position, Record, wait
from ullage_contract.errors import DiskFull, StoreError

NOW_US = 1_795_000_000_000_000


def record(
    sequence: int, body: bytes = b"body", *, stream: str = "s" * 32, skew: float | None = 0.5
) -> Record:
    return Record(stream, sequence, "samples", "c1", "gpu-a01", "node token", NOW_US + sequence, skew, body)


def everything(
    directory: Path, position: Position = START, limit: int = 1000
) -> list[tuple[Record, Position]]:
    reader = JournalReader(directory)
    found: list[tuple[Record, Position]] = []
    while part := reader.read(position, limit):
        found += part
        position = part[-1][1]
    return found


def segments(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.journal"))


def test_what_is_appended_is_read_back_in_order_with_its_positions(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    written = [record(i, bytes([i]) * i) for i in range(1, 30)]
    positions = journal.append(written[:10]) + journal.append(written[10:])
    found = everything(tmp_path)
    assert [r for r, _ in found] == written
    assert [p for _, p in found] == positions
    assert journal.end == positions[-1]


def test_reading_goes_on_where_any_position_says(tmp_path: Path) -> None:
    journal = Journal(tmp_path, segment_bytes=1000)
    positions = journal.append([record(i, b"x" * 100) for i in range(1, 21)])
    assert len(segments(tmp_path)) > 2
    for number, position in enumerate(positions, start=1):
        assert [r.sequence for r, _ in everything(tmp_path, position)] == list(range(number + 1, 21))


def test_a_segment_is_closed_before_it_outgrows_its_bound(tmp_path: Path) -> None:
    journal = Journal(tmp_path, segment_bytes=1000)
    journal.append([record(i, b"x" * 100) for i in range(1, 21)])
    assert all(path.stat().st_size <= 1000 for path in segments(tmp_path))


def test_a_record_larger_than_a_segment_gets_one_of_its_own(tmp_path: Path) -> None:
    journal = Journal(tmp_path, segment_bytes=1000)
    journal.append([record(1), record(2, b"x" * 5000), record(3)])
    assert [r.sequence for r, _ in everything(tmp_path)] == [1, 2, 3]


def test_a_record_larger_than_the_bound_is_refused_and_harms_nobody(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    with pytest.raises(StoreError, match="at most"):
        journal.append([record(1, b"x" * (17 * 1024 * 1024))])
    journal.append([record(2)])
    assert [r.sequence for r, _ in everything(tmp_path)] == [2]


@pytest.mark.parametrize("limit", [1, 100, 70_000, 10**9])
def test_bodies_larger_than_what_is_read_at_once_come_whole(tmp_path: Path, limit: int) -> None:
    bodies = [os.urandom(size) for size in (10, 200_000, 64 * 1024, 65_000, 1_000_000)]
    Journal(tmp_path).append([record(i, body) for i, body in enumerate(bodies)])
    assert [r.body for r, _ in everything(tmp_path, limit=limit)] == bodies


def test_a_read_gives_about_what_was_asked_for_and_never_nothing(tmp_path: Path) -> None:
    Journal(tmp_path).append([record(i, b"x" * 1000) for i in range(100)])
    reader = JournalReader(tmp_path)
    assert len(reader.read(START, 1)) == 1
    assert 9 <= len(reader.read(START, 10_000)) <= 11


# ---- torn and damaged files


def test_a_tail_torn_at_any_byte_costs_only_the_torn_record(tmp_path: Path) -> None:
    origin = tmp_path / "origin"
    positions = Journal(origin).append([record(i, os.urandom(20)) for i in (1, 2, 3)])
    whole = segments(origin)[0].read_bytes()
    before = positions[1].offset
    for cut in range(before, len(whole)):
        directory = tmp_path / f"cut{cut}"
        directory.mkdir()
        (directory / segments(origin)[0].name).write_bytes(whole[:cut])
        assert [r.sequence for r, _ in everything(directory)] == [1, 2]  # a reader before the writer is back
        journal = Journal(directory)
        assert segments(directory)[0].stat().st_size == before
        journal.append([record(4)])
        assert [r.sequence for r, _ in everything(directory)] == [1, 2, 4]
        journal.close()


def test_garbage_behind_the_last_record_is_cut(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    end = journal.append([record(1)])[0]
    journal.close()
    with segments(tmp_path)[0].open("ab") as file:
        file.write(b"\0" * 4096)  # what a file system may leave behind after a power cut
    journal = Journal(tmp_path)
    assert segments(tmp_path)[0].stat().st_size == end.offset
    journal.append([record(2)])
    assert [r.sequence for r, _ in everything(tmp_path)] == [1, 2]


@given(place=st.integers(0, 10_000), bit=st.integers(0, 7))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_one_flipped_bit_costs_at_most_the_record_it_is_in(
    tmp_path_factory: pytest.TempPathFactory, place: int, bit: int
) -> None:
    directory = tmp_path_factory.mktemp("rot")
    journal = Journal(directory)
    written = [record(i, bytes([i]) * 40) for i in range(1, 9)]
    positions = journal.append(written)
    journal.close()
    path = segments(directory)[0]
    content = bytearray(path.read_bytes())
    place %= len(content)
    content[place] ^= 1 << bit
    path.write_bytes(content)
    journal = Journal(directory)
    journal.append([record(99)])
    found = [r for r, _ in everything(directory)]
    hit = next(i for i, p in enumerate(positions) if place < p.offset)
    assert found == [*written[:hit], *written[hit + 1 :], record(99)]
    journal.close()


def test_damage_in_the_middle_is_counted_and_the_rest_is_kept_at_open(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    positions = journal.append([record(i) for i in (1, 2, 3)])
    journal.close()
    path = segments(tmp_path)[0]
    content = bytearray(path.read_bytes())
    content[positions[0].offset] ^= 0xFF  # the length of the second record
    path.write_bytes(content)
    journal = Journal(tmp_path)
    journal.append([record(4)])
    reader = JournalReader(tmp_path)
    assert [r.sequence for r, _ in reader.read(START, 10**6)] == [1, 3, 4]
    assert reader.damaged_bytes == positions[1].offset - positions[0].offset


def test_a_position_behind_a_lost_tail_hides_nothing_that_comes_later(tmp_path: Path) -> None:
    """A reader may consume a record that a power cut then takes from the file."""
    journal = Journal(tmp_path)
    kept, lost = journal.append([record(1), record(2)])
    journal.close()
    path = segments(tmp_path)[0]
    path.write_bytes(path.read_bytes()[: kept.offset + 5])
    journal = Journal(tmp_path)
    journal.append([record(3), record(4)])
    assert [r.sequence for r, _ in everything(tmp_path, lost)] == [3, 4]


def test_numbers_go_on_after_every_segment_was_consumed_and_the_writer_began_anew(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    end = journal.append([record(1)])[0]
    journal.truncate_before(end)
    journal.close()
    journal = Journal(tmp_path)
    assert journal.append([record(2)])[0] > end
    assert [r.sequence for r, _ in everything(tmp_path, end)] == [2]


def test_an_emptied_directory_does_not_hide_what_comes_later(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for i in range(5):
        journal.close()
        journal = Journal(tmp_path)
        end = journal.append([record(i)])[0]
    journal.close()
    for path in segments(tmp_path):
        path.unlink()
    journal = Journal(tmp_path, after=end)
    journal.append([record(7)])
    assert [r.sequence for r, _ in everything(tmp_path, end)] == [7]


# ---- room


def test_only_segments_that_everybody_has_read_are_removed(tmp_path: Path) -> None:
    journal = Journal(tmp_path, segment_bytes=1000)
    positions = journal.append([record(i, b"x" * 100) for i in range(1, 41)])
    slowest = positions[14]
    removed = journal.truncate_before(slowest)
    assert removed > 0
    assert [r.sequence for r, _ in everything(tmp_path, slowest)] == list(range(16, 41))
    assert journal.size_bytes() == sum(path.stat().st_size for path in segments(tmp_path))
    journal.truncate_before(positions[-1])
    assert len(segments(tmp_path)) == 1


def test_pending_bytes_are_what_a_consumer_has_still_to_read(tmp_path: Path) -> None:
    journal = Journal(tmp_path, segment_bytes=1000)
    positions = journal.append([record(i, b"x" * 100) for i in range(1, 41)])
    assert journal.pending_bytes(START) == journal.size_bytes()
    assert journal.pending_bytes(positions[-1]) == 0
    sizes = [journal.pending_bytes(p) for p in positions]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-2] == positions[-1].offset  # the last record alone stands in the last segment


def test_a_full_disk_is_an_error_and_costs_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """A file size limit stands for the disk: the kernel writes a part, then refuses, as ENOSPC does."""
    script = f"""
import resource, signal
from pathlib import Path
import sys
sys.path[:0] = {sys.path!r}
from tests.collector.test_journal import record
from ullage_collector.journal import Journal
from ullage_contract.errors import DiskFull
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))
journal = Journal(Path({str(tmp_path)!r}))
acknowledged = []
refused = 0
for sequence in range(1, 100):
    try:
        journal.append([record(sequence, b"x" * 700)])
    except DiskFull:
        refused += 1
        if refused == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        if refused > 3:
            raise
    else:
        acknowledged.append(sequence)
print(refused, *acknowledged)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    refused, *acknowledged = map(int, done.stdout.split())
    assert refused == 3
    assert [r.sequence for r, _ in everything(tmp_path)] == acknowledged


def test_the_reserve_is_kept_for_the_store(tmp_path: Path) -> None:
    journal = Journal(tmp_path, reserve_bytes=2**62)
    with pytest.raises(DiskFull, match="kept for the store"):
        journal.append([record(1)])
    assert everything(tmp_path) == []


# ---- two at once


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    with pytest.raises(StoreError, match="another process"):
        Journal(tmp_path)
    journal.close()
    Journal(tmp_path).close()


def test_a_reader_sees_every_record_once_while_the_writer_rotates_and_removes(tmp_path: Path) -> None:
    journal = Journal(tmp_path, segment_bytes=4000)
    stop = threading.Event()
    found: list[int] = []
    reached = [START]

    def follow() -> None:
        reader = JournalReader(tmp_path)
        while not (stop.is_set() and not reader.more(reached[0])):
            for item, position in reader.read(reached[0], 2000):
                found.append(item.sequence)
                reached[0] = position
            wait(reader, reached[0], stop, 0.01)

    thread = threading.Thread(target=follow)
    thread.start()
    for sequence in range(1, 1001):
        journal.append([record(sequence, b"x" * (sequence % 700))])
        if sequence % 50 == 0:
            journal.truncate_before(reached[0])
    stop.set()
    thread.join(30)
    assert found == list(range(1, 1001))


def test_wait_tells_apart_news_silence_and_the_end(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    reader = JournalReader(tmp_path)
    stop = threading.Event()
    assert wait(reader, START, stop, 0.01) is False
    end = journal.append([record(1)])[0]
    assert wait(reader, START, stop, 5) is True
    assert wait(reader, end, stop, 0.01) is False
    stop.set()
    assert wait(reader, end, stop, 60) is False


WRITER = """
import sys
from pathlib import Path
sys.path[:0] = {path!r}
from tests.collector.test_journal import record
from ullage_collector.journal import Journal
journal = Journal(Path({directory!r}), segment_bytes=20_000)
sequence = {first}
while True:
    group = [record(sequence + i, b"x" * ((sequence * 37 + i) % 3000)) for i in range(5)]
    journal.append(group)
    sequence += len(group)
    print(sequence - 1, flush=True)
"""


def test_a_killed_writer_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    """kill -9 in the middle of appending, twenty times; each successor goes on behind it."""
    acknowledged = 0
    for round_number in range(20):
        script = WRITER.format(path=sys.path, directory=str(tmp_path), first=1_000_000 * (round_number + 1))
        process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
        assert process.stdout is not None
        lines = 0
        while lines < 3 + 7 * round_number:
            acknowledged = int(process.stdout.readline())
            lines += 1
        process.send_signal(signal.SIGKILL)
        for line in process.stdout:
            if line.endswith(b"\n"):
                acknowledged = int(line)
        process.wait()
        process.stdout.close()
        found = [r for r, _ in everything(tmp_path, limit=10**7)]
        mine = [r.sequence for r in found if r.sequence >= 1_000_000 * (round_number + 1)]
        assert mine[: acknowledged - 1_000_000 * (round_number + 1) + 1] == list(
            range(1_000_000 * (round_number + 1), acknowledged + 1)
        )
        assert all(len(r.body) <= 3000 for r in found)


def test_a_clock_that_is_five_minutes_off_shifts_and_one_less_does_not() -> None:
    assert record(1, skew=300.0).shift_seconds == 0.0
    assert not record(1, skew=-300.0).clock_wrong
    assert record(1, skew=300.001).shift_seconds == -300.001
    assert record(1, skew=-3600.0).shift_seconds == 3600.0
    assert record(1, skew=None).shift_seconds == 0.0
