"""The spool: nothing that was spooled is lost, no number is used twice, and nothing blocks what is behind it."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from batch_rows import samples_body
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ullage_agent.outputs.quarantine import Quarantine
from ullage_agent.outputs.spool import Spool
from ullage_agent.outputs.spool_files import Disk
from ullage_contract.wire import decode


def power(body: bytes) -> float:
    columns = decode(body).families
    (family,) = columns.values()
    return family.columns["power_watts"][0] - 300.0  # type: ignore[operator]


def numbers(spool: Spool) -> list[int]:
    """What waits, as the numbers the tests put in, in the order it would be sent."""
    found = []
    for stream in spool.streams():
        after = 0
        while (taken := spool.take(stream, after=after)) is not None:
            entry, body = taken
            after = entry.sequence
            found.append(int(power(body)))
    return found


class FullDisk(Disk):
    """Refuses writes while ``full``; lets ``room`` more writes through first."""

    def __init__(self) -> None:
        self.full = False
        self.room = 0

    def write(self, path: Path, body: bytes) -> None:
        if self.full:
            if self.room <= 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            self.room -= 1
        super().write(path, body)


def make(place: Path, **more: object) -> Spool:
    more.setdefault("quarantine", Quarantine(place / "quarantine"))
    return Spool(place / "samples", lane="samples", **more)  # type: ignore[arg-type]


def batch_files(place: Path) -> list[Path]:
    return sorted((place / "samples").glob("*/*.batch"))


def test_a_spooled_batch_is_one_file_named_by_its_number_and_holding_the_wire_body(tmp_path: Path) -> None:
    spool = make(tmp_path)
    entry = spool.append(samples_body(1))
    (file,) = batch_files(tmp_path)
    assert file.name == "0000000000000001.batch"
    batch = decode(file.read_bytes())
    assert (batch.stream, batch.sequence) == (entry.stream, 1) == (spool.stream, 1)
    assert json.loads((file.parent / "stream.json").read_text())["last_sequence"] == 1
    assert file.stat().st_mode & 0o077 == 0


def test_numbers_go_on_after_a_restart_even_when_everything_was_delivered(tmp_path: Path) -> None:
    spool = make(tmp_path)
    for n in range(3):
        spool.append(samples_body(n))
    stream = spool.stream
    assert spool.delete_through(stream, 3) == 3
    again = make(tmp_path)
    assert again.batches == 0 and again.bytes == 0
    assert again.append(samples_body(9)).sequence == 4
    assert again.stream == stream


def test_the_number_is_on_disk_before_the_batch_is(tmp_path: Path) -> None:
    seen: list[int] = []

    class Watching(Disk):
        def write(self, path: Path, body: bytes) -> None:
            if path.suffix == ".batch":
                seen.append(json.loads((path.parent / "stream.json").read_text())["last_sequence"])
            super().write(path, body)

    spool = make(tmp_path, disk=Watching())
    spool.append(samples_body(1))
    spool.append(samples_body(2))
    assert seen == [1, 2]


def test_what_waited_at_a_restart_is_sent_in_order(tmp_path: Path) -> None:
    spool = make(tmp_path)
    for n in range(5):
        spool.append(samples_body(n))
    again = make(tmp_path)
    assert numbers(again) == [0, 1, 2, 3, 4]
    assert again.bytes == sum(f.stat().st_size for f in batch_files(tmp_path))


def test_half_a_write_is_removed_and_its_number_was_never_used(tmp_path: Path) -> None:
    spool = make(tmp_path)
    spool.append(samples_body(0))
    directory = batch_files(tmp_path)[0].parent
    half = directory / "0000000000000002.batch.tmp"
    half.write_bytes(b"\x1f\x8b half")
    again = make(tmp_path)
    assert not half.exists()
    assert numbers(again) == [0]


@pytest.mark.parametrize(
    "damage", [b"", b"\x00" * 300, b"\x1f\x8b\x08\x00 nonsense"], ids=["empty", "zeros", "nonsense"]
)
def test_a_damaged_file_is_quarantined_and_never_blocks(tmp_path: Path, damage: bytes) -> None:
    spool = make(tmp_path)
    for n in range(3):
        spool.append(samples_body(n))
    batch_files(tmp_path)[1].write_bytes(damage)
    again = make(tmp_path)
    assert numbers(again) == [0, 2]
    assert again.batches == 2
    assert [p.name.split("-")[-1] for p in (tmp_path / "quarantine").iterdir()] == ["torn.batch"]


def test_a_torn_last_file_is_quarantined_and_the_next_batch_gets_a_new_number(tmp_path: Path) -> None:
    spool = make(tmp_path)
    spool.append(samples_body(0))
    spool.append(samples_body(1))
    last = batch_files(tmp_path)[1]
    last.write_bytes(last.read_bytes()[:-7])
    again = make(tmp_path)
    assert numbers(again) == [0]
    assert again.append(samples_body(2)).sequence == 3


def test_a_file_under_another_number_is_not_sent(tmp_path: Path) -> None:
    spool = make(tmp_path)
    spool.append(samples_body(0))
    (file,) = batch_files(tmp_path)
    shutil.copy(file, file.with_name("0000000000000007.batch"))
    again = make(tmp_path)
    assert numbers(again) == [0]
    assert again.append(samples_body(1)).sequence == 8


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'{"stream": "x", "last_sequence": 1}', b"\xff"])
def test_a_stream_file_that_cannot_be_believed_ends_the_stream_but_not_its_batches(
    tmp_path: Path, content: bytes | None
) -> None:
    spool = make(tmp_path)
    spool.append(samples_body(0))
    old = spool.stream
    file = batch_files(tmp_path)[0].parent / "stream.json"
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    again = make(tmp_path)
    assert again.stream != old
    again.append(samples_body(1))
    assert again.streams() == [old, again.stream]
    assert numbers(again) == [0, 1]


def test_an_emptied_old_stream_leaves_no_directory(tmp_path: Path) -> None:
    spool = make(tmp_path)
    spool.append(samples_body(0))
    old = spool.stream
    spool.mint()
    spool.append(samples_body(1))
    spool.delete_through(old, 1)
    assert [d.name.split("-")[1] for d in (tmp_path / "samples").iterdir()] == [spool.stream]


def test_a_wiped_spool_begins_a_new_stream_so_that_nothing_new_is_taken_for_old(tmp_path: Path) -> None:
    spool = make(tmp_path)
    spool.append(samples_body(0))
    old = spool.stream
    shutil.rmtree(tmp_path / "samples")
    again = make(tmp_path)
    assert again.append(samples_body(1)).sequence == 1
    assert again.stream != old


def test_a_spool_wiped_under_a_running_agent_loses_only_what_was_in_it(tmp_path: Path) -> None:
    spool = make(tmp_path)
    spool.append(samples_body(0))
    old = spool.stream
    shutil.rmtree(tmp_path / "samples")
    for n in (1, 2, 3):
        spool.append(samples_body(n))
    assert spool.stream != old
    assert numbers(spool) == [1, 2, 3]
    assert spool.vanished == 1
    assert len(batch_files(tmp_path)) == 3  # back on disk by itself


def test_at_the_bound_the_oldest_is_dropped_and_counted(tmp_path: Path) -> None:
    told: list[int] = []
    spool = make(tmp_path, max_batches=3, on_drop=told.append)
    for n in range(5):
        spool.append(samples_body(n))
    assert numbers(spool) == [2, 3, 4]
    assert spool.dropped == 2 and told == [1, 1]
    assert len(batch_files(tmp_path)) == 3


def test_the_byte_bound_counts_files_of_the_last_run(tmp_path: Path) -> None:
    spool = make(tmp_path)
    size = spool.append(samples_body(0)).size
    again = make(tmp_path, max_bytes=int(size * 2.5))
    again.append(samples_body(1))
    assert again.dropped == 0
    again.append(samples_body(2))
    assert again.dropped == 1
    assert numbers(again) == [1, 2]


def test_the_batch_in_flight_is_not_dropped_under_the_sender(tmp_path: Path) -> None:
    spool = make(tmp_path, max_batches=2)
    spool.append(samples_body(0))
    taken = spool.take(spool.stream)
    assert taken is not None
    for n in (1, 2):
        spool.append(samples_body(n))
    assert spool.dropped == 1
    assert numbers(spool) == [0, 2]


def test_a_body_that_cannot_be_made_uses_no_number(tmp_path: Path) -> None:
    spool = make(tmp_path)

    def broken(stream: str, sequence: int) -> bytes:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        spool.append(broken)
    assert spool.append(samples_body(0)).sequence == 1


def test_on_a_full_disk_nothing_spooled_is_lost_and_the_new_waits_in_memory(tmp_path: Path) -> None:
    disk = FullDisk()
    spool = make(tmp_path, disk=disk)
    spool.append(samples_body(0))
    old = spool.stream
    disk.full = True
    spool.append(samples_body(1))
    spool.append(samples_body(2))
    assert numbers(spool) == [0, 1, 2]  # sendable while the disk is full
    assert spool.stream != old  # under an id that dies with the process
    assert spool.held_bytes > 0 and len(batch_files(tmp_path)) == 1
    assert spool.write_failures >= 2
    disk.full = False
    spool.append(samples_body(3))
    assert spool.held_bytes == 0
    assert len(batch_files(tmp_path)) == 4
    assert numbers(make(tmp_path)) == [0, 1, 2, 3]


def test_numbers_used_on_a_full_disk_are_not_used_again_by_the_next_process(tmp_path: Path) -> None:
    disk = FullDisk()
    spool = make(tmp_path, disk=disk)
    spool.append(samples_body(0))
    disk.full = True
    used = {(e.stream, e.sequence) for e in (spool.append(samples_body(n)) for n in (1, 2, 3))}
    again = make(tmp_path)  # the first was killed: nothing was written at its end
    assert {(e.stream, e.sequence) for e in (again.append(samples_body(n)) for n in (4, 5, 6))}.isdisjoint(
        used
    )


@pytest.mark.parametrize("room", [1, 2, 3, 4])
def test_a_disk_that_fills_up_half_way_through_settling_mints_no_crowd_of_streams(
    tmp_path: Path, room: int
) -> None:
    disk = FullDisk()
    spool = make(tmp_path, disk=disk)
    spool.append(samples_body(0))
    disk.full = True
    for n in range(1, 6):
        spool.append(samples_body(n))
    disk.room = room
    for n in range(6, 9):
        spool.append(samples_body(n))
    assert len(spool.streams()) == 2
    assert numbers(spool) == list(range(9))
    disk.full = False
    spool.close()
    assert spool.held_bytes == 0
    assert numbers(make(tmp_path)) == list(range(9))


def test_memory_is_bounded_on_a_full_disk_and_what_is_on_disk_is_not_what_goes(tmp_path: Path) -> None:
    disk = FullDisk()
    told: list[int] = []
    spool = make(tmp_path, disk=disk, max_held_bytes=1_000, on_drop=told.append)
    size = spool.append(samples_body(0)).size
    disk.full = True
    for n in range(1, 10):
        spool.append(samples_body(n))
    assert spool.held_bytes <= 1_000
    kept = 1_000 // size
    assert numbers(spool) == [0, *range(10 - kept, 10)]
    assert spool.dropped == sum(told) == 9 - kept


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system with 128 KiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=128k", "ullage-test", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_on_a_really_full_file_system_nothing_is_lost(small_disk: Path) -> None:
    spool = make(small_disk)
    spool.append(samples_body(0))
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(b"x" * 4096)
    for n in range(1, 11):
        spool.append(samples_body(n))
    assert spool.write_failures > 0 and spool.held_bytes > 0
    assert not list(small_disk.rglob("*.tmp"))
    assert numbers(spool) == list(range(11))
    ballast.unlink()
    spool.append(samples_body(11))
    assert spool.held_bytes == 0
    assert numbers(make(small_disk)) == list(range(12))


def test_a_refused_batch_goes_to_the_quarantine_which_is_bounded_and_counted(tmp_path: Path) -> None:
    quarantine = Quarantine(tmp_path / "quarantine", max_files=2)
    spool = make(tmp_path, quarantine=quarantine)
    for n in range(4):
        spool.append(samples_body(n))
    for _ in range(3):
        taken = spool.take(spool.stream)
        assert taken is not None
        spool.refuse(taken[0], "400 mal/formed!")
    assert numbers(spool) == [3]
    assert (quarantine.quarantined, quarantine.discarded) == (3, 1)
    kept = sorted(p.name for p in (tmp_path / "quarantine").iterdir())
    assert [name.partition("-")[2].partition("-")[2] for name in kept] == [
        "0000000000000002-400_mal_formed_.batch",
        "0000000000000003-400_mal_formed_.batch",
    ]
    later = Quarantine(tmp_path / "quarantine", max_files=1)
    assert [p.name for p in (tmp_path / "quarantine").iterdir()] == kept[1:] and later.discarded == 1


def test_a_batch_held_in_memory_can_be_refused_too(tmp_path: Path) -> None:
    disk = FullDisk()
    spool = make(tmp_path, disk=disk)
    disk.full = True
    spool.append(samples_body(1))
    spool.append(samples_body(2))
    taken = spool.take(spool.stream)
    assert taken is not None
    spool.refuse(taken[0], "413")
    assert numbers(spool) == [2]
    assert len(list((tmp_path / "quarantine").iterdir())) == 1


class SpoolMachine(RuleBasedStateMachine):
    """Whatever happens in whatever order: numbers are unique, order is kept, nothing vanishes uncounted."""

    @initialize()
    def begin(self) -> None:
        import tempfile

        self.place = Path(tempfile.mkdtemp())
        self.disk = FullDisk()
        self.next = 0
        self.used: dict[tuple[str, int], int] = {}
        self.expected: list[int] = []
        self.in_memory: list[int] = []
        self.spool = make(self.place, disk=self.disk)

    def teardown(self) -> None:
        shutil.rmtree(self.place, ignore_errors=True)

    @rule(count=st.integers(1, 4))
    def append(self, count: int) -> None:
        for _ in range(count):
            entry = self.spool.append(samples_body(self.next))
            assert (entry.stream, entry.sequence) not in self.used, "a number was used twice"
            self.used[entry.stream, entry.sequence] = self.next
            self.expected.append(self.next)
            self.next += 1

    @rule(full=st.booleans(), room=st.integers(0, 5))
    def disk_changes(self, full: bool, room: int) -> None:
        self.disk.full, self.disk.room = full, room

    @rule()
    def deliver_one(self) -> None:
        streams = self.spool.streams()
        taken = self.spool.take(streams[0]) if streams else None
        if taken is None:
            assert not self.expected
            return
        entry, body = taken
        assert int(power(body)) == self.expected.pop(0) == self.used[entry.stream, entry.sequence]
        assert self.spool.delete_through(entry.stream, entry.sequence) == 1

    @rule()
    def new_stream(self) -> None:
        self.spool.mint()

    @rule()
    def killed(self) -> None:
        """What is on disk survives; what was only in memory is gone, and nothing else."""
        on_disk = {int(power(f.read_bytes())) for f in batch_files(self.place)}
        assert all(n in on_disk for n in self.expected) or self.spool.held_bytes > 0
        self.expected = [n for n in self.expected if n in on_disk]
        self.spool = make(self.place, disk=self.disk)

    @invariant()
    def counts_are_true(self) -> None:
        if hasattr(self, "spool"):
            assert self.spool.batches == len(self.expected)
            assert self.spool.dropped == 0


SpoolMachine.TestCase.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
test_any_order_of_troubles = SpoolMachine.TestCase
