"""Intel Gaudi against an emulated libhlml: through ctypes in process, and in a real child."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from tests.agent.maker_bench import (
    PCIE_SAYS,
    Bench,
    Child,
    children,
    holder,
    of_the_bus,
    pci_function,
    put,
    put_link,
)
from tests.agent.once import once
from tests.agent.scenario_file import Scenario
from tests.emulators.build import build

from ullage_agent.backend import Host
from ullage_agent.backends.gaudi import backend
from ullage_agent.backends.gaudi.kernel import PATTERNS
from ullage_agent.backends.gaudi.reader import open_reader
from ullage_agent.backends.gaudi.sources import SOURCES
from ullage_agent.detection import detect
from ullage_agent.sources.kernel_log import decode as decode_log
from ullage_contract.catalogue import Tier, keys
from ullage_contract.errors import Broken, DeadlineExceeded, NotPermitted, NotPresent
from ullage_contract.event import Severity
from ullage_contract.sample import FACT_NAMES, Family

pytestmark = pytest.mark.compiler

T = TypeVar("T")
MIB = 1 << 20
UUID = "01P4-HL3090A0-18-TEST11-22-07-00"
OTHER = "01P4-HL3090A0-18-TEST22-03-04-04"
PLACES = ("0000:e9:00.0", "0000:c1:00.0")

HL325: dict[str, object] = {
    "uuid": UUID,
    "name": "HL-325L",
    "serial": "AM00000001",
    "pci": PLACES[0],
    "firmware": "hl-gaudi3-1.21.0-fw-59.2.1-sec-9",
    "minor": 0,
    "utilization": 62,
    "memory_total": 131072 * MIB,
    "memory_used": 98304 * MIB,
    "power_mw": 612_500,
    "power_limit_mw": 900_000,
    "energy_mj": 81_234_567,
    "temp_0": 58,
    "temp_1": 44,
    "limit_1": 95,
    "clock_0": 1600,
    "clock_max_0": 1750,
    "throttle": 0,
    "replays": 2,
    "ecc_1_0_1": 0,
    "ecc_1_0_0": 0,
    "ecc_1_0": 0,
    "ecc_1_1": 3,
    "rows_0": 4,
    "rows_1": 1,
    "rows_pending": 0,
    "ports": "0xffffff",
    "ports_external": "0x700",
    "ports_up": "0xffffff",
}
"""Everything our reader asks of a card."""


class Node:
    """Two cards on a recorded bus, the scenario, and a host that finds the emulator."""

    def __init__(self, root: Path) -> None:
        self.sysfs, self.proc = root / "sys", root / "proc"
        self.proc.mkdir()
        self.scenario = Scenario(root)
        self.scenario["system"]["driver"] = "1.21.0-366eb9c"
        self.scenario["card 0"].update(HL325)
        self.scenario["card 1"].update({**HL325, "uuid": OTHER, "serial": "AM00000002", "pci": PLACES[1]})
        for number, place in enumerate(PLACES):
            function = pci_function(
                self.sysfs,
                place,
                "1da3",
                "1060",
                "120000",
                status="operational",
                current_link_speed="32.0 GT/s PCIe",
                max_link_speed="32.0 GT/s PCIe",
                current_link_width=16,
                max_link_width=16,
            )
            put(function / f"accel/accel{number}", {"dev": f"261:{number}"})

    def host(self, *, hidden: tuple[str, ...] = (), long: bool = False) -> Host:
        library = build("gaudi", defines=("LONG_ADDRESS",) if long else (), hidden=hidden)
        return Host("n1", sysfs=self.sysfs, proc=self.proc, settings={"library": str(library)})

    def bench(self, call: Any = None, **more: Any) -> Bench:
        os.environ["ULLAGE_GAUDI_SCENARIO"] = str(self.scenario.write())
        reader = open_reader(self.host(**more))
        return Bench(reader) if call is None else Bench(reader, call)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    yield Node(tmp_path)
    os.environ.pop("ULLAGE_GAUDI_SCENARIO", None)


@pytest.fixture
def child() -> Iterator[Callable[..., Child]]:
    yield from children()


VALUES = {
    "utilization_ratio": 0.62,
    "memory_used_bytes": 98304 * MIB,
    "memory_total_bytes": 131072 * MIB,
    "power_watts": 612.5,
    "power_limit_watts": 900.0,
    "energy_joules": 81234.567,
    "temperature_celsius": 58.0,
    "board_temperature_celsius": 44.0,
    "temperature_limit_celsius": 95.0,
    "clock_core_hertz": 1600e6,
    "clock_core_max_hertz": 1750e6,
    "throttle_reasons": 0,
    "pcie_replays": 2,
    "pcie_generation": 5,
    "pcie_generation_max": 5,
    "pcie_width": 16,
    "pcie_width_max": 16,
    "ecc_uncorrected": 0,
    "sram_ecc_uncorrected": 0,
    "ecc_uncorrected_lifetime": 3,
    "retired_pages": 5,
    "retired_pages_corrected": 4,
    "retired_pages_uncorrected": 1,
    "remap_pending": 0,
    "links_total": 21,
    "links_active": 21,
    "health": "ok",
    "health_detail": "operational",
    "reset_required": 0,
    "processes": 0,
}


@pytest.mark.parametrize("long", [False, True])
def test_what_the_library_says_is_what_we_say(node: Node, long: bool) -> None:
    reading = node.bench(long=long).read().cards()[UUID]
    assert reading.failed == {}
    assert reading.values == VALUES
    assert set(reading.values) <= set(keys(Family.CARD))
    assert set(reading.values) - set(SOURCES) == set()


def test_corrected_errors_are_counted_where_the_release_does(node: Node) -> None:
    node.scenario["card 0"].update({"ecc_0_0_1": 12, "ecc_0_0_0": 4, "ecc_0_0": 16})
    values = node.bench().read().cards()[UUID].values
    assert (values["ecc_corrected"], values["sram_ecc_corrected"]) == (12, 4)
    del node.scenario["card 0"]["ecc_0_0_1"], node.scenario["card 0"]["ecc_0_0_0"]
    values = node.bench().read().cards()[UUID].values
    assert values["ecc_corrected"] == 16, "all of them, where they are not told apart"
    assert "sram_ecc_corrected" not in values


def test_the_bus_says_link_and_errors(node: Node) -> None:
    put_link(node.sysfs, PLACES[0])
    assert of_the_bus(node.bench().read().cards()[UUID].values) == PCIE_SAYS


@pytest.mark.parametrize("long", [False, True])
def test_facts_name_the_card_and_what_it_cannot(node: Node, long: bool) -> None:
    card = node.bench(long=long).facts().facts()[UUID].attributes
    assert card["model"] == "HL-325L"
    assert card["serial"] == "AM00000001"
    assert card["pci_address"] == PLACES[0]
    assert (card["device_node"], card["minor"]) == ("/dev/accel/accel0", 0)
    assert card["driver_version"] == "1.21.0-366eb9c"
    assert card["firmware_version"] == "hl-gaudi3-1.21.0-fw-59.2.1-sec-9"
    assert card["util_kind"] == "proxy_power"
    assert card["memory_total_bytes"] == 131072 * MIB
    assert set(card) <= set(FACT_NAMES)
    unsupported = set(card["unsupported"] or ())  # type: ignore[arg-type]
    assert {"ecc_corrected", "sram_ecc_corrected", "clock_memory_hertz", "fan_rpm"} <= unsupported
    assert not unsupported & set(VALUES)


def test_an_early_release_gives_less_and_fails_nothing(node: Node) -> None:
    for key in ("ecc_1_0_1", "ecc_1_0_0", "rows_0", "rows_1", "rows_pending", "ports", "power_limit_mw"):
        del node.scenario["card 0"][key]
    node.scenario["card 0"].update({"ecc_1_0": 7, "power_default_mw": 600_000})
    bench = node.bench(hidden=("hlml_device_get_total_energy_consumption", "hlml_get_mac_addr_info"))
    unsupported = set(bench.facts().facts()[UUID].attributes["unsupported"] or ())  # type: ignore[arg-type]
    reading = bench.read().cards()[UUID]
    assert reading.failed == {}
    assert reading.values["ecc_uncorrected"] == 7
    assert reading.values["power_limit_watts"] == 600.0
    assert {"energy_joules", "links_total", "retired_pages", "remap_pending"} <= unsupported


def test_an_old_drivers_status_and_node(node: Node) -> None:
    place = node.sysfs / "bus/pci/devices" / PLACES[0]
    (place / "status").unlink()
    (place / "accel/accel0/dev").unlink()
    (place / "accel/accel0").rmdir()
    put(place / "habanalabs/hl0", {"status": "Operational"})
    holder(node.proc, 4711, "python3", "/dev/hl0")
    seen = node.bench().read()
    assert seen.cards()[UUID].values["health"] == "ok"
    assert seen.cards()[UUID].values["processes"] == 1
    assert set(seen.processes()) == {f"{UUID}#4711"}


def test_without_the_bus_there_is_a_card_without_health(node: Node) -> None:
    host = Host("n1", sysfs=node.sysfs / "nothing", proc=node.proc, settings=node.host().settings)
    os.environ["ULLAGE_GAUDI_SCENARIO"] = str(node.scenario.write())
    values = Bench(open_reader(host)).read().cards()[UUID].values
    assert values["power_watts"] == 612.5
    assert not {"health", "processes", "pcie_width"} & set(values)


@pytest.mark.parametrize(
    ("word", "health", "needs"),
    [
        ("operational", "ok", 0),
        ("in reset", "degraded", 0),
        ("in reset after device release", "degraded", 0),
        ("in device creation", "degraded", 0),
        ("needs reset", "critical", 1),
        ("disabled", "critical", 0),
        ("Malfunction", "critical", 0),
        ("a word of tomorrow", "degraded", 0),
    ],
)
def test_the_drivers_word_is_the_health(node: Node, word: str, health: str, needs: int) -> None:
    put(node.sysfs / "bus/pci/devices" / PLACES[0], {"status": word})
    values = node.bench().read().cards()[UUID].values
    assert (values["health"], values["health_detail"], values["reset_required"]) == (health, word, needs)


def test_rows_that_wait_for_a_reset_degrade_and_never_mend(node: Node) -> None:
    node.scenario["card 0"]["rows_pending"] = 1
    values = node.bench().read().cards()[UUID].values
    assert (values["health"], values["remap_pending"]) == ("degraded", 1)
    put(node.sysfs / "bus/pci/devices" / PLACES[0], {"status": "disabled"})
    assert node.bench().read().cards()[UUID].values["health"] == "critical"


def test_new_uncorrected_errors_are_an_event(node: Node) -> None:
    bench = node.bench()
    bench.read()
    node.scenario["card 0"]["ecc_1_0_1"] = 2
    node.scenario.write()
    seen = bench.read()
    assert seen.cards()[UUID].values["ecc_uncorrected"] == 2
    (event,) = seen.events()
    assert (event.kind, event.severity) == ("ecc_uncorrected", Severity.CRITICAL)


@pytest.mark.parametrize(("bits", "reasons"), [(1, 1 << 2), (2, 1 << 6), (3, 1 << 2 | 1 << 6), (8, 1 << 12)])
def test_throttle_bits_are_our_reasons(node: Node, bits: int, reasons: int) -> None:
    node.scenario["card 0"]["throttle"] = bits
    assert node.bench().read().cards()[UUID].values["throttle_reasons"] == reasons


@pytest.mark.parametrize(
    ("key", "value", "failed"),
    [
        ("utilization", 4294967295, {"utilization_ratio"}),
        ("power_mw", 0, {"power_watts"}),
        ("power_mw", 4294967295, {"power_watts"}),
        ("temp_0", 0, {"temperature_celsius"}),
        ("temp_0", 4294967238, {"temperature_celsius"}),
        ("memory_used", 1 << 63, {"memory_used_bytes", "memory_total_bytes"}),
        ("ecc_1_1", "0xffffffffffffffff", {"ecc_uncorrected_lifetime"}),
    ],
)
def test_a_sentinel_fails_and_is_no_number(node: Node, key: str, value: object, failed: set[str]) -> None:
    node.scenario["card 0"][key] = value
    reading = node.bench().read().cards()[UUID]
    assert set(reading.failed) == failed
    assert not failed & set(reading.values)


def test_an_energy_counter_at_zero_is_no_counter(node: Node) -> None:
    node.scenario["card 0"]["energy_mj"] = 0
    reading = node.bench().read().cards()[UUID]
    assert "energy_joules" not in reading.values and "energy_joules" not in reading.failed


def test_a_port_down_is_one_active_link_less(node: Node) -> None:
    node.scenario["card 0"]["ports_up"] = "0xfffffe"
    values = node.bench().read().cards()[UUID].values
    assert (values["links_active"], values["links_total"]) == (20, 21)


def test_a_lost_card_is_lost_and_invents_nothing(node: Node) -> None:
    bench = node.bench()
    bench.read()
    node.scenario["card 0"]["lost"] = 1
    node.scenario.write()
    seen = bench.read()
    assert seen.cards()[UUID].values["health"] == "lost"
    assert set(seen.cards()[UUID].values) == {"health", "health_detail"}
    assert seen.cards()[OTHER].values["power_watts"] == 612.5
    assert [event.kind for event in seen.events()] == ["card_lost"]
    del node.scenario["card 0"]["lost"]
    node.scenario.write()
    seen = bench.read()
    assert [event.kind for event in seen.events()] == ["card_back"]
    assert seen.cards()[UUID].values["power_watts"] == 612.5


def test_it_is_found_lost_at_a_fast_tick_too(node: Node) -> None:
    bench = node.bench()
    bench.read()
    node.scenario["card 0"]["lost"] = 1
    node.scenario.write()
    assert bench.read(Tier.FAST).cards()[UUID].values["health"] == "lost"


def test_processes_are_those_with_the_node_open(node: Node) -> None:
    holder(node.proc, 4711, "python3", "/dev/accel/accel0", "/dev/accel/accel1")
    holder(node.proc, 4712, "hl-smi", "/dev/accel/accel_controlD0")
    seen = node.bench().read()
    assert seen.cards()[UUID].values["processes"] == 1
    assert set(seen.processes()) == {f"{UUID}#4711", f"{OTHER}#4711"}
    assert seen.facts(Family.PROCESS)[f"{UUID}#4711"].attributes["command"] == "python3"


def test_a_firmware_timeout_fails_its_metric_alone(node: Node) -> None:
    node.scenario["card 0"]["fail hlml_device_get_power_usage"] = 10
    reading = node.bench().read().cards()[UUID]
    assert reading.failed == {"power_watts": "deadline"}
    assert reading.values["temperature_celsius"] == 58.0


def test_a_refused_call_fails_its_metric_alone(node: Node) -> None:
    def hung(card: str, name: str, function: Callable[[], T]) -> T:
        if name == "hlml_device_get_memory_info":
            raise DeadlineExceeded("it hung before")
        return function()

    reading = node.bench(call=hung).read().cards()[UUID]
    assert set(reading.failed) == {"memory_used_bytes", "memory_total_bytes"}


def test_no_driver_says_so(node: Node) -> None:
    node.scenario["system"]["fail hlml_init"] = 9
    with pytest.raises(NotPresent, match="habanalabs driver"):
        node.bench().read()


def test_no_permission_says_so(node: Node) -> None:
    node.scenario["system"]["fail hlml_init"] = 4
    with pytest.raises(NotPermitted, match="/dev/accel"):
        node.bench().read()


def test_no_library_says_what_was_tried(node: Node) -> None:
    host = Host("n1", sysfs=node.sysfs, proc=node.proc, settings={"library": "/nowhere/libhlml.so"})
    with pytest.raises(NotPresent, match="/nowhere/libhlml"):
        Bench(open_reader(host)).read()


def test_a_broken_library_is_broken(node: Node) -> None:
    node.scenario["system"]["fail hlml_device_get_count"] = 49
    with pytest.raises(Broken, match="unknown"):
        node.bench().read()


def test_a_card_without_uuid_has_its_serial_as_key(node: Node) -> None:
    del node.scenario["card 0"]["uuid"]
    assert "gaudi-AM00000001" in node.bench().read().cards()


def test_a_card_keeps_its_key_while_its_name_cannot_be_read(node: Node) -> None:
    bench = node.bench()
    bench.read()
    node.scenario["card 0"]["fail hlml_device_get_uuid"] = 10
    node.scenario.write()
    seen = bench.read()
    assert set(seen.cards()) == {UUID, OTHER} and seen.events() == []
    assert seen.cards()[UUID].values["power_watts"] == 612.5
    assert set(node.bench().read().cards()) == {OTHER}, (
        "of a new card nothing is told before it says who it is"
    )


def test_only_accelerators_of_the_maker_are_cards(tmp_path: Path) -> None:
    (tmp_path / "dev/accel").mkdir(parents=True)
    (tmp_path / "dev/accel/accel0").touch()  # another maker's
    host = Host("n1", sysfs=tmp_path / "sys", dev=tmp_path / "dev")
    assert not detect(host, backend).present
    pci_function(tmp_path / "sys", PLACES[0], "1da3", "1020", "120000")
    assert detect(host, backend).cards_expected == 1


LOG = """\
[  100.000001] habanalabs 0000:19:00.0: Device heartbeat failed! PCI link is broken
[  100.000002] habanalabs 0000:19:00.0: Going to reset device
[  200.000003] habanalabs hl3: Received H/W interrupt 267 ["HBM_0_DERR"]
[  300.000004] habanalabs hl3: Received H/W interrupt 12 ["TPC0_SERR"]
[  400.000005] accel accel1: 0000:1a:00.0 Failed to reset! Device is NOT usable
[  500.000006] habanalabs 0000:1b:00.0: Going to reset device after release by user
[  600.000007] habanalabs 0000:1b:00.0: Loading firmware to device, may take some time...
[  700.000008] intel_vpu 0000:00:0b.0: Going to reset device
"""


def test_kernel_lines_become_events() -> None:
    found = [
        (event.kind, event.code, event.severity, event.attributes.get("pci_address"))
        for event in decode_log(LOG, PATTERNS, maker="gaudi").events
    ]
    assert found == [
        ("driver_error", "heartbeat", Severity.FATAL, "0000:19:00.0"),
        ("driver_error", "Going to reset device", Severity.WARNING, "0000:19:00.0"),
        ("ecc_uncorrected", "HBM_0_DERR", Severity.CRITICAL, None),
        ("ras", "TPC0_SERR", Severity.INFO, None),
        ("driver_error", "Failed to reset! Device is NOT usable", Severity.FATAL, "0000:1a:00.0"),
    ]


def test_a_hang_in_the_real_child_costs_that_metric_and_no_more(
    node: Node, child: Callable[..., Child]
) -> None:
    node.scenario["card 0"]["hang hlml_device_get_memory_info"] = 1
    environment = {"ULLAGE_GAUDI_SCENARIO": str(node.scenario.write())}
    one = child(backend, node.host(), environment=environment)
    one.tick(facts=True)
    seen = one.tick()
    card = seen.cards()[UUID]
    assert card.failed["memory_used_bytes"] == "deadline"
    assert card.values["power_watts"] == 612.5
    assert seen.cards()[OTHER].values["memory_used_bytes"] == 98304 * MIB


def test_once_prints_the_cards_of_the_injected_library(node: Node, tmp_path: Path) -> None:
    library = json.dumps(node.host().settings["library"])
    shown = once(
        tmp_path,
        f"[backends.gaudi]\nenabled = true\nlibrary = {library}\n",
        ULLAGE_GAUDI_SCENARIO=str(node.scenario.write()),
    )
    assert UUID in shown
    assert "612.5" in shown
