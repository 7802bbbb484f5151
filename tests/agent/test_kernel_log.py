"""The kernel log: every fault told once, in time, to the right card, and blindness said."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ullage_agent.backend import Backend, LogPattern
from ullage_agent.backends.nvidia.kernel import PATTERNS
from ullage_agent.source import Source
from ullage_agent.sources import kernel_log
from ullage_agent.sources.kernel_log import KernelLog, patterns_of
from ullage_contract.clock import ManualClock
from ullage_contract.errors import BadInput
from ullage_contract.event import Event, Severity
from ullage_contract.sample import Family

XID_79 = "NVRM: Xid (PCI:0000:91:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus."


def record(sequence: int, uptime: float, message: str, level: int = 4) -> str:
    return f"{level},{sequence},{int(uptime * 1e6)},-;{message}\n SUBSYSTEM=pci\n DEVICE=+pci:0000:91:00.0\n"


class Log:
    """A file that stands for /dev/kmsg, and sources over it."""

    def __init__(self, folder: Path, clock: ManualClock) -> None:
        self.path = folder / "kmsg"
        self.path.write_text("", encoding="ascii")
        self.state = folder / "kernel_log.json"
        self.clock = clock
        self.sources: list[KernelLog] = []

    def open(self, **more: Any) -> KernelLog:
        more.setdefault("path", self.path)
        more.setdefault("boot_id", "boot-1")
        more.setdefault("card_of", lambda pci, uuid: {"0000:91:00.0": "GPU-91"}.get(pci))
        source = KernelLog(
            more.pop("patterns", PATTERNS), node_id="n1", clock=self.clock, state=self.state, **more
        )
        self.sources.append(source)
        return source

    def say(self, *records: str) -> None:
        with self.path.open("a", encoding="ascii") as file:
            file.write("".join(records))


@pytest.fixture
def log(tmp_path: Path, clock: ManualClock) -> Iterator[Log]:
    one = Log(tmp_path, clock)
    yield one
    for source in one.sources:
        source.close()


def until(source: KernelLog, enough: Callable[[list[Event]], bool]) -> list[Event]:
    """Events until ``enough``; the deadline only ends a test that would never end."""
    found: list[Event] = []
    deadline = time.monotonic() + 20
    while not enough(found) and time.monotonic() < deadline:
        found += source.events()
        time.sleep(0.01)
    return found


def settled(source: KernelLog) -> list[Event]:
    """Events until the reader has read the whole file (it then looks every 0.2 s)."""
    found = list(source.events())
    for _ in range(5):
        time.sleep(0.1)
        found += source.events()
    return found


def test_it_is_a_source(log: Log) -> None:
    source = log.open()
    assert isinstance(source, Source)
    assert list(source.facts()) == [] and source.name == "kernel_log"


def test_an_xid_is_an_event_of_its_card_with_the_kernels_time(log: Log) -> None:
    log.say(record(7, 990.0, XID_79))
    (event,) = until(log.open(), lambda found: len(found) == 1)
    assert (event.kind, event.code, event.severity) == ("xid", "79", Severity.FATAL)
    assert (event.family, event.subject, event.vendor) == (Family.CARD, "GPU-91", "nvidia")
    assert event.time == pytest.approx(1_800_000_000.0 - 10.0)  # the clock stands at uptime 1000
    assert event.attributes["class"] == "isolate_restart" and event.attributes["action"] == "RESTART_BM"
    assert event.attributes["pci_address"] == "0000:91:00.0" and "pid" not in event.attributes
    assert event.source == "kernel_log" and event.message == XID_79


def test_a_card_the_map_does_not_know_is_named_by_the_line_before(log: Log) -> None:
    log.say(
        record(1, 999.0, "NVRM: GPU at PCI:0000:91:00: GPU-b6c3b2be-c55b-d076-fa0e-d464e4c7e08b"),
        record(2, 999.0, "NVRM: GPU Board Serial Number: 1653723052734"),
        record(3, 999.0, XID_79),
    )
    source = log.open(card_of=lambda pci, uuid: uuid)
    (event,) = until(source, lambda found: len(found) == 1)
    assert event.subject == "GPU-b6c3b2be-c55b-d076-fa0e-d464e4c7e08b"
    assert event.attributes["board_serial"] == "1653723052734"


def test_a_card_nobody_knows_is_the_nodes_event_with_its_address(log: Log) -> None:
    log.say(record(1, 999.0, XID_79))
    (event,) = until(log.open(card_of=lambda pci, uuid: None), lambda found: len(found) == 1)
    assert (event.family, event.subject) == (Family.NODE, "n1")
    assert event.attributes["pci_address"] == "0000:91:00.0"


def test_a_burst_is_one_event_and_then_one_count(log: Log, clock: ManualClock) -> None:
    lines = [
        record(n, 990.0 + n / 10, f"NVRM: Xid (PCI:0000:91:00): 45, pid=77, name=train, Ch {n:08x}")
        for n in range(6)
    ]
    log.say(*lines)
    source = log.open()
    (first,) = until(source, lambda found: len(found) == 1)
    assert first.attributes["lines"] == 1 and "repeats" not in first.attributes
    assert settled(source) == []
    clock.advance(61)
    (count,) = until(source, lambda found: len(found) == 1)
    assert (count.attributes["lines"], count.attributes["repeats"]) == (6, 5)
    assert count.attributes["channels"] == "00000000,00000001,00000002,00000003,00000004,00000005"
    assert count.attributes["kernel_sequence"] == first.attributes["kernel_sequence"]
    assert count.time == first.time


def test_a_fault_that_lasts_is_told_again_each_minute_and_another_process_at_once(log: Log) -> None:
    def line(pid: int) -> str:
        return f"NVRM: Xid (PCI:0000:91:00): 119, pid={pid}, name=x, Timeout after 6s"

    log.say(record(1, 900.0, line(1)), record(2, 930.0, line(1)), record(3, 935.0, line(2)))
    log.say(record(4, 961.0, line(1)))
    found = until(log.open(), lambda found: len([e for e in found if "repeats" not in e.attributes]) == 3)
    told = [e for e in found if "repeats" not in e.attributes]
    assert [(e.attributes["kernel_sequence"], e.attributes["pid"]) for e in told] == [(1, 1), (3, 2), (4, 1)]


def test_an_nvlink_error_says_its_link_and_two_links_are_two_events(log: Log) -> None:
    head = "NVRM: Xid (PCI:0000:91:00): 74, pid='<unknown>', name=<unknown>, NVLink: fatal error detected on link"
    log.say(
        record(1, 990.0, f"{head} 6(0x10000, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0)"),
        record(2, 990.5, f"{head} 7(0x10000, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0)"),
        record(3, 991.0, "NVRM: Xid (PCI:0000:91:00): 74, pid=77, name=x, NVLink: MINION error"),
    )
    found = until(log.open(), lambda found: len(found) == 3)
    assert [(e.code, e.attributes.get("link")) for e in found] == [("74", 6), ("74", 7), ("74", None)]
    assert len({e.severity for e in found}) == 1


def test_switch_details_belong_to_their_event(log: Log) -> None:
    head = "nvidia-nvswitch1: SXid (PCI:0000:06:00.0): 20034"
    log.say(
        record(1, 990.0, f"{head}, Severity 1 Engine instance 48 Sub-engine instance 00"),
        record(2, 990.0, f"{head}, Fatal, Link 48 LTSSM Fault Up"),
        record(3, 990.0, f"{head}, Data {{0x10000000, 0x00000000}}"),
        record(4, 990.0, f"{head}, Fatal, Link 49 LTSSM Fault Up"),
    )
    found = until(log.open(), lambda found: len(found) == 2)
    assert [(e.kind, e.severity, e.attributes["link"], e.attributes["fatal"]) for e in found] == [
        ("sxid", Severity.FATAL, 48, 1),
        ("sxid", Severity.FATAL, 49, 1),
    ]
    assert found[0].family is Family.NODE and found[0].attributes["switch"] == 1


def test_a_remark_about_a_card_beside_its_xid_is_no_second_event(log: Log) -> None:
    log.say(
        record(1, 990.0, XID_79),
        record(2, 990.0, "NVRM: GPU 0000:91:00.0: GPU has fallen off the bus."),
        record(3, 990.0, "NVRM: GPU 0000:92:00.0: GPU has fallen off the bus."),
    )
    found = until(log.open(), lambda found: len(found) == 2)
    assert [(e.kind, e.code) for e in found] == [("xid", "79"), ("driver_error", None)]
    assert found[1].attributes["pci_address"] == "0000:92:00.0" and found[1].severity is Severity.FATAL


def test_a_restart_tells_nothing_twice_and_nothing_is_missed(log: Log) -> None:
    log.say(record(1, 990.0, XID_79))
    first = log.open()
    assert len(until(first, lambda found: len(found) == 1)) == 1
    first.close()
    log.say(record(2, 995.0, "NVRM: Xid (PCI:0000:91:00): 95, pid=1, name=x, Uncontained"))
    (event,) = until(log.open(), lambda found: len(found) == 1)
    assert event.code == "95"


def test_what_was_read_and_not_taken_is_told_after_a_crash(log: Log) -> None:
    log.say(record(1, 990.0, XID_79))
    crashed = log.open()
    handing_over = crashed.events()
    while (event := next(handing_over, None)) is None:
        time.sleep(0.01)
        handing_over = crashed.events()
    # the process dies here, with the event in its hand: nothing was remembered
    assert event.code == "79" and not log.state.exists()
    assert len(until(log.open(), lambda found: len(found) == 1)) == 1


def test_after_a_reboot_the_numbers_begin_anew(log: Log) -> None:
    log.state.write_text('{"boot_id": "boot-0", "sequence": 100000}', encoding="ascii")
    log.say(record(1, 990.0, XID_79))
    assert len(until(log.open(), lambda found: len(found) == 1)) == 1


@pytest.mark.parametrize("torn", ["", "{", "[]", '{"boot_id": "boot-1"}'])
def test_a_torn_state_file_is_no_state(torn: str, log: Log) -> None:
    log.state.write_text(torn, encoding="ascii")
    log.say(record(1, 990.0, XID_79))
    assert len(until(log.open(), lambda found: len(found) == 1)) == 1


def test_lines_of_an_hour_ago_are_not_news(log: Log, clock: ManualClock) -> None:
    clock.advance(4000)
    log.say(record(1, 1000.0, XID_79), record(2, 4990.0, XID_79.replace("91", "92")))
    source = log.open()
    found = until(source, lambda found: len(found) == 1) + settled(source)
    assert [e.attributes["pci_address"] for e in found] == ["0000:92:00.0"]


def test_lines_that_are_none_are_skipped(log: Log) -> None:
    log.say("rubbish\n", "6,abc,def,-;x\n", ",,,;\n", "6,1\n", "\n", " KEY=value\n")
    log.say("6,2,999000000,-;NVRM: Xid (PCI:0000:91:00): 13, pid=1, name=a\\x1b[31mb, Graphics\n")
    (event,) = until(log.open(), lambda found: len(found) == 1)
    assert event.severity is Severity.INFO and "\x1b" not in event.message


def test_an_event_wakes_whoever_waits(log: Log) -> None:
    woken = threading.Event()
    pipe = log.path.with_name("pipe")
    os.mkfifo(pipe)
    source = log.open(path=pipe, wake=woken.set)
    writer = os.open(pipe, os.O_RDWR)
    try:
        assert list(source.events()) == []
        os.write(writer, record(1, 999.0, XID_79).encode("ascii"))
        assert woken.wait(20)
        assert [e.code for e in source.events()] == ["79"]
    finally:
        os.close(writer)


def test_blindness_is_told_once_and_so_is_its_end(log: Log, tmp_path: Path) -> None:
    missing = tmp_path / "not-there"
    source = log.open(path=missing, retry_seconds=0.01)
    (blind,) = until(source, lambda found: len(found) == 1)
    assert (blind.kind, blind.subject, blind.code) == ("source_blind", "n1", "ENOENT")
    assert "mount it into the container" in blind.message
    assert settled(source) == []
    missing.write_text(record(1, 999.0, XID_79), encoding="ascii")
    found = until(source, lambda found: len(found) == 2)
    assert [e.kind for e in found] == ["source_back", "xid"]


def test_missing_permission_names_what_is_missing(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def refuse(path: Any, *rest: Any) -> int:
        if str(path) == str(log.path):
            raise PermissionError(1, "Operation not permitted")
        return real(path, *rest)

    monkeypatch.setattr(kernel_log.os, "open", refuse)
    (blind,) = until(log.open(), lambda found: len(found) == 1)
    assert (blind.code, blind.kind) == ("EPERM", "source_blind") and "CAP_SYSLOG" in blind.message


def test_an_overrun_is_told_and_reading_goes_on(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.read
    left = [1]

    def overrun(descriptor: int, size: int) -> bytes:
        if left and size == kernel_log._READ_BYTES:
            left.pop()
            raise BrokenPipeError(32, "Broken pipe")
        return real(descriptor, size)

    monkeypatch.setattr(kernel_log.os, "read", overrun)
    log.say(record(9, 999.0, XID_79))
    found = until(log.open(), lambda found: len(found) == 3)
    assert [e.kind for e in found] == ["source_blind", "source_back", "xid"]
    assert found[0].code == "EPIPE" and "overwrote" in found[0].message


def test_closing_twice_and_closing_a_source_that_never_began_do_no_harm(log: Log) -> None:
    source = log.open()
    source.close()
    source.close()
    assert list(source.events()) == []


def test_a_maker_whose_patterns_are_broken_blinds_only_itself() -> None:
    good = Backend(name="nvidia", title="N", kernel_log="ullage_agent.backends.nvidia.kernel:PATTERNS")
    missing = Backend(name="x", title="X", kernel_log="no.such.module:PATTERNS")
    bad = Backend(name="y", title="Y", kernel_log=f"{__name__}:BAD")
    silent = Backend(name="z", title="Z")
    assert patterns_of([missing, bad, good, silent]) == PATTERNS


BAD = [LogPattern(regex="(", kind="driver_error", severity=Severity.INFO, vendor="y")]


def test_a_recorded_log_is_read_with_every_makers_patterns() -> None:
    decoded = kernel_log.decode(f"[ 12.5] {XID_79}\n[ 13.0] usb 1-1: new device\n")
    assert [(e.kind, e.code, e.time) for e in decoded.events] == [("xid", "79", 12.5)]
    assert decoded.maker == "kernel" and any("since boot" in note for note in decoded.notes)
    hung = kernel_log.decode("[ 1.0] INFO: task python:4711 blocked for more than 122 seconds.\n")
    assert hung.extra["hung_tasks"] == [{"task": "python", "pid": 4711, "seconds_over": 122}]
    with pytest.raises(BadInput):
        kernel_log.decode("\n\n")
