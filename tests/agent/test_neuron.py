"""AWS Neuron: the driver's tree of our own making, a stand-in neuron-monitor, and the tools' outputs."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.agent.damage import damaged, survives
from tests.agent.maker_bench import (
    PCIE_SAYS,
    Bench,
    Child,
    children,
    of_the_bus,
    pci_function,
    put,
    put_link,
    straight,
)

from ullage_agent.backend import Host
from ullage_agent.backends.neuron import backend
from ullage_agent.backends.neuron.decode import decode
from ullage_agent.backends.neuron.kernel import PATTERNS
from ullage_agent.backends.neuron.reader import MONITOR_SETTINGS, Neuron, open_reader
from ullage_agent.detection import detect
from ullage_agent.sources.kernel_log import decode as decode_log
from ullage_contract.catalogue import Tier
from ullage_contract.errors import BadInput, NotPresent
from ullage_contract.event import Severity

FIXTURES = Path(__file__).parents[1] / "fixtures/neuron"
REPORT = json.loads((FIXTURES / "neuron_monitor.json").read_text(encoding="utf-8"))
FIRST, SECOND = "19fcda00f5ff6eb9", "19fcda00f5ff6ec0"


def device(sysfs: Path, number: int, serial: str, **more: object) -> Path:
    """One neuronN of two cores, as the sysfs user guide draws it."""
    place = sysfs / f"devices/virtual/neuron_device/neuron{number}"
    put(
        place,
        {
            "core_count": 2,
            "info/serial_number": serial,
            "info/architecture/device_name": "Trainium1",
            "stats/hardware/mem_ecc_uncorrected/total": 0,
            "stats/hardware/mem_ecc_repairable_uncorrected/total": 0,
            "stats/hardware/sram_ecc_uncorrected/total": 0,
            "stats/memory_usage/host_mem/total": 4096,
            "neuron_core0/stats/memory_usage/device_mem/total": 1000,
            "neuron_core1/stats/memory_usage/device_mem/total": 500,
            "neuron_core0/stats/other_info/reset_fail_count": 0,
            "neuron_core0/stats/status/hw_error/total": 0,
            **more,
        },
    )
    return place


def tool(folder: Path, name: str, body: str) -> str:
    path = folder / name
    path.write_text("#!/bin/sh\n" + body, encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Callable[..., Host]]:
    """A host with two devices and a monitor that prints one report and stays; ``report=None``: it is not installed."""
    sysfs = tmp_path / "sys"
    device(sysfs, 0, FIRST)
    device(sysfs, 1, SECOND)
    put(sysfs, {"module/neuron/version": "2.19.64.0"})

    def make(report: Any = REPORT, **settings_: object) -> Host:
        if report is not None:
            (tmp_path / "report").write_text(json.dumps(report) + "\n", encoding="utf-8")
            settings_["monitor"] = tool(
                tmp_path,
                "neuron-monitor",
                f'cat "$2" > {tmp_path}/settings\ncat {tmp_path}/report\nexec sleep 60\n',
            )
        else:
            settings_["monitor"] = str(tmp_path / "absent")
        settings_.setdefault("lister", tool(tmp_path, "neuron-ls", f"cat {FIXTURES}/neuron_ls.json\n"))
        return Host(node_id="n1", sysfs=sysfs, proc=tmp_path / "proc", settings=settings_)

    return make


@pytest.fixture
def bench(node: Callable[..., Host]) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(*arguments: Any, **more: Any) -> Bench:
        made.append(Bench(open_reader(node(*arguments, **more))))
        return made[-1]

    yield make
    for one in made:
        one.reader.close()


child_of = pytest.fixture(children)


def test_a_devices_numbers_come_out_exactly(bench: Callable[..., Bench]) -> None:
    made = bench()
    facts = made.facts().facts()
    assert facts[FIRST].attributes["model"] == "Trainium1"
    assert facts[FIRST].attributes["driver_version"] == "2.19.64.0"
    assert facts[FIRST].attributes["pci_address"] == "0000:4c:00.0"
    cards = made.read().cards()
    assert cards[FIRST].values == {
        "utilization_ratio": pytest.approx((0.9 + 0.4) / 2),
        "memory_used_bytes": 1500,
        "memory_total_bytes": 34359738368,
        "memory_host_used_bytes": 4096,
        "health": "ok",
        "health_detail": "no errors counted",
        "ecc_uncorrected": 0,
        "sram_ecc_uncorrected": 0,
        "ecc_corrected": 3,
        "sram_ecc_corrected": 1,
        "processes": 2,
    }
    assert not cards[FIRST].failed
    assert cards[SECOND].values["utilization_ratio"] == pytest.approx(0.25)


def test_the_bus_says_link_and_errors(bench: Callable[..., Bench], tmp_path: Path) -> None:
    pci_function(tmp_path / "sys", "0000:4c:00.0", "1d0f", "7164", "088000")  # where neuron-ls says FIRST is
    put_link(tmp_path / "sys", "0000:4c:00.0")
    made = bench()
    made.facts()
    cards = made.read().cards()
    assert of_the_bus(cards[FIRST].values) == PCIE_SAYS
    assert of_the_bus(cards[SECOND].values) == {}


def test_what_neuron_never_gives_is_unsupported(bench: Callable[..., Bench]) -> None:
    unsupported = bench().facts().facts()[FIRST].attributes["unsupported"]
    assert {"power_watts", "temperature_celsius", "clock_core_hertz", "pcie_width"} <= set(unsupported)  # type: ignore[arg-type]


def test_processes_are_those_that_use_the_device_and_no_arguments_show(
    bench: Callable[..., Bench], tmp_path: Path
) -> None:
    put(tmp_path / "proc/4711", {"comm": "python", "cmdline": "python --secret"})
    seen = bench().read()
    assert set(seen.processes()) == {f"{FIRST}#4711", f"{FIRST}#4900", f"{SECOND}#4900"}
    assert seen.processes()[f"{FIRST}#4711"].values == {
        "process_utilization_ratio": pytest.approx(0.6),
        "process_memory_used_bytes": 3000,
    }
    assert "secret" not in str(seen.items)


def test_no_process_is_idle_only_while_the_monitor_reports(bench: Callable[..., Bench]) -> None:
    idle = {**REPORT, "neuron_runtime_data": []}
    assert bench(idle).read().cards()[FIRST].values["utilization_ratio"] == 0.0
    blind = bench(None)
    facts = blind.facts().facts()[FIRST]
    assert "utilization_ratio" in facts.attributes["unsupported"]  # type: ignore[operator]
    assert "utilization_ratio" not in blind.read().cards()[FIRST].values


def test_a_process_that_cannot_be_looked_into_is_not_an_idle_one(bench: Callable[..., Bench]) -> None:
    report = json.loads(json.dumps(REPORT))
    report["neuron_runtime_data"][0]["report"] = {}
    report["neuron_runtime_data"][0]["error"] = "open /proc/4711/stat: no such file or directory"
    reading = bench(report).read().cards()[FIRST]
    assert reading.failed["utilization_ratio"] == "broken"
    assert "utilization_ratio" not in reading.values


@pytest.mark.parametrize("report", ["this is no report", {"period": 5.0, "error": ""}, [1], None])
def test_garbage_from_the_monitor_is_not_idleness(bench: Callable[..., Bench], report: object) -> None:
    made = bench(report if report is not None else {"neuron_hardware_info": {}})
    reading = made.read().cards()[FIRST]
    assert reading.failed["utilization_ratio"] == "broken"
    assert reading.values["memory_used_bytes"] == 1500


def test_new_uncorrected_errors_are_an_event_and_a_health(
    bench: Callable[..., Bench], tmp_path: Path
) -> None:
    made = bench()
    made.read()
    total = tmp_path / "sys/devices/virtual/neuron_device/neuron0/stats/hardware/mem_ecc_uncorrected/total"
    total.write_text("2\n")
    seen = made.read()
    assert seen.cards()[FIRST].values["ecc_uncorrected"] == 2
    assert seen.cards()[FIRST].values["health"] == "critical"
    assert seen.cards()[FIRST].values["health_detail"] == "mem_ecc_uncorrected=2"
    assert {e.kind for e in seen.events()} == {"ecc_uncorrected", "ras"}
    repairable = total.parent.parent / "mem_ecc_repairable_uncorrected/total"
    total.write_text("0\n")  # somebody wrote to the counter, which clears it
    repairable.write_text("1\n")
    assert made.read().cards()[FIRST].values["health"] == "degraded"


def test_a_counter_that_is_a_plain_file_is_read_too(bench: Callable[..., Bench], tmp_path: Path) -> None:
    folder = tmp_path / "sys/devices/virtual/neuron_device/neuron1/stats/hardware/sram_ecc_uncorrected"
    (folder / "total").unlink()
    folder.rmdir()
    folder.write_text("7\n")
    assert bench().read().cards()[SECOND].values["sram_ecc_uncorrected"] == 7


def test_a_counter_without_a_number_is_unsupported(bench: Callable[..., Bench], tmp_path: Path) -> None:
    (tmp_path / "sys/devices/virtual/neuron_device/neuron1/stats/memory_usage/host_mem/total").unlink()
    made = bench()
    assert "memory_host_used_bytes" in made.facts().facts()[SECOND].attributes["unsupported"]  # type: ignore[operator]
    assert not made.read().cards()[SECOND].failed


def test_a_vanished_device_is_lost_and_its_neighbour_is_not(
    bench: Callable[..., Bench], tmp_path: Path
) -> None:
    made = bench()
    made.read()
    place = tmp_path / "sys/devices/virtual/neuron_device/neuron0"
    place.rename(tmp_path / "away")
    seen = made.read()
    assert seen.cards()[FIRST].values["health"] == "lost"
    assert set(seen.cards()[FIRST].values) == {"health", "health_detail"}
    assert seen.cards()[SECOND].values["memory_used_bytes"] == 1500
    assert [e.subject for e in seen.events("card_lost")] == [FIRST]
    (tmp_path / "away").rename(place)
    assert [e.subject for e in made.read().events("card_back")] == [FIRST]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_no_permission_is_said(bench: Callable[..., Bench], tmp_path: Path) -> None:
    file = tmp_path / "sys/devices/virtual/neuron_device/neuron0/stats/hardware/mem_ecc_uncorrected/total"
    file.chmod(0)
    assert bench().read().cards()[FIRST].failed["ecc_uncorrected"] == "not_permitted"


def test_no_driver_tree_says_what_to_look_for(tmp_path: Path) -> None:
    maker = Neuron(Host(node_id="n1", sysfs=tmp_path))
    with pytest.raises(NotPresent, match="neuron driver"):
        maker.look(straight)


def test_the_real_child_reads_and_ends_its_monitor(
    child_of: Callable[..., Child], node: Callable[..., Host], tmp_path: Path
) -> None:
    child = child_of(backend, node())
    seen = child.tick(Tier.SLOW, facts=True)
    assert seen.cards()[FIRST].values["utilization_ratio"] == pytest.approx(0.65)
    assert json.loads((tmp_path / "settings").read_text(encoding="utf-8")) == MONITOR_SETTINGS
    child.close()
    until = time.monotonic() + 5
    while time.monotonic() < until and str(tmp_path) in _commands():
        time.sleep(0.05)
    assert str(tmp_path) not in _commands()


def _commands() -> str:
    lines = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(place.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
        except OSError:
            continue
    return "\n".join(line for line in lines if "neuron-monitor" in line)


def test_a_hanging_file_costs_one_metric(
    child_of: Callable[..., Child], node: Callable[..., Host], tmp_path: Path
) -> None:
    host = node()
    child = child_of(backend, host)
    assert child.tick(Tier.SLOW, facts=True).cards()[SECOND].values["memory_host_used_bytes"] == 4096
    place = tmp_path / "sys/devices/virtual/neuron_device/neuron1/stats/memory_usage/host_mem/total"
    place.unlink()
    os.mkfifo(place)  # opening it waits for a writer that never comes
    child.close()
    child = child_of(backend, host)
    for _ in range(4):  # the child that hangs is ended, the next one skips the call
        seen = child.tick(Tier.SLOW, facts=True)
        if SECOND in seen.cards() and "host_mem" not in str(child.report):
            break
    reading = seen.cards()[SECOND]
    assert reading.failed["memory_host_used_bytes"] == "deadline"
    assert reading.values["memory_used_bytes"] == 1500
    assert seen.cards()[FIRST].values["memory_host_used_bytes"] == 4096


def test_hardware_is_detected_by_its_ids_and_its_tree(tmp_path: Path) -> None:
    assert not detect(Host("n1", sysfs=tmp_path, dev=tmp_path), backend).present
    put(tmp_path, {"bus/pci/devices/0000:00:05.0/vendor": "0x1d0f", "bus/pci/devices/0000:00:05.0/device": "0xec20",
                   "bus/pci/devices/0000:00:05.0/class": "0x020000"})  # fmt: skip
    assert not detect(Host("n1", sysfs=tmp_path, dev=tmp_path), backend).present  # Amazon's network card
    put(tmp_path, {"bus/pci/devices/0000:00:1e.0/vendor": "0x1d0f", "bus/pci/devices/0000:00:1e.0/device": "0x7364",
                   "bus/pci/devices/0000:00:1e.0/class": "0x088000"})  # fmt: skip
    found = detect(Host("n1", sysfs=tmp_path, dev=tmp_path), backend)
    assert found.present and found.cards_expected == 1


def test_the_kernels_line_names_the_card() -> None:
    line = (
        "kernel: NEURON_HW_ERR=SRAM_UNCORRECTABLE_ERROR instance-id=i-0 hostname=ip-10-0-0-1 nd-id=3 nc-id=1 "
        f"serial-num={FIRST} action=TERMINATE_INSTANCE"
    )
    (event,) = decode_log(line, PATTERNS, maker="neuron").events
    assert (event.kind, event.code, event.subject) == ("ecc_uncorrected", "SRAM_UNCORRECTABLE_ERROR", FIRST)
    assert event.attributes["action"] == "TERMINATE_INSTANCE"
    (hang,) = decode_log("NEURON_HW_ERR=HANG_ON_COLLECTIVES", PATTERNS, maker="neuron").events
    assert (hang.kind, hang.severity) == ("ras", Severity.WARNING)


def test_a_table_with_processes_is_decoded() -> None:
    decoded = decode((FIXTURES / "neuron_ls_all_procs.txt").read_text(encoding="utf-8"))
    assert [c.pci_address for c in decoded.cards] == ["0000:4c:00.0", "0000:5d:00.0"]
    assert [[p["pid"] for p in c.processes or ()] for c in decoded.cards] == [[4711, 4800], [4711, 4801]]
    assert (decoded.cards[0].processes or ())[1]["name"] == "tee a|sort"


def test_lists_and_reports_are_decoded() -> None:
    listed = decode((FIXTURES / "neuron_ls.json").read_text(encoding="utf-8"))
    assert [c.values for c in listed.cards] == [{"memory_total_bytes": 34359738368}] * 2
    assert [len(c.processes or ()) for c in listed.cards] == [1, 0]
    report = decode((FIXTURES / "neuron_monitor.json").read_text(encoding="utf-8"))
    assert report.cards[0].values["utilization_ratio"] == pytest.approx(0.65)
    assert report.cards[1].values["ecc_uncorrected"] == 2


@pytest.mark.parametrize("text", ["", "nothing", "{}", "[]", '[{"a": 1}]', "+---+\n| a |\n+---+"])
def test_strange_texts_are_refused(text: str) -> None:
    with pytest.raises(BadInput):
        decode(text)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damaged_texts_never_crash(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["neuron_ls_all_procs.txt", "neuron_ls.json", "neuron_monitor.json"]))
    survives(decode, data.draw(damaged((FIXTURES / name).read_text(encoding="utf-8"))))
