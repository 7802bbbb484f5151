"""Intel FPGA cards: the management engine's files and the board controller's sensors."""

from __future__ import annotations

from pathlib import Path

import pytest
from maker_tree import Tree, facts, readings, roster_of, through_a_child, told
from tests.agent.maker_bench import PCIE_SAYS, of_the_bus, put_link

from ullage_agent.backend import Reading
from ullage_agent.backends.intel_fpga import backend
from ullage_agent.backends.intel_fpga.kernel import PATTERNS
from ullage_agent.backends.intel_fpga.reader import FpgaMaker
from ullage_agent.backends.roster import Roster
from ullage_agent.detection import detect
from ullage_agent.sources.kernel_log import decode as decode_log
from ullage_contract.catalogue import THROTTLE_REASONS, bits_of, keys
from ullage_contract.event import Severity
from ullage_contract.sample import FACT_NAMES, Family

N3000, A10 = "0000:3b:00.0", "0000:5e:00.0"
BIG, SMALL = f"n1-{N3000}", f"n1-{A10}"
NO_ERRORS = {
    f"errors/{name}": "0x0" for name in ("catfatal_errors", "fme_errors", "nonfatal_errors", "pcie0_errors")
}


def _fme(tree: Tree, number: int, address: str, files: dict[str, object]) -> Path:
    place = f"devices/pci0000:00/{address}/fpga_region/region{number * 2}/dfl-fme.{number}"
    made = tree.write(place, {"ports_num": 1, **files})
    link = tree.sysfs / "bus/platform/devices" / f"dfl-fme.{number}"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(made)
    return made


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """An N3000 with a board controller, and an Arria 10 card whose FME has the sensors."""
    tree = Tree(tmp_path)
    sensors = "dfl_dev.3/spi-master/spi0/spi0.0/n3000bmc-hwmon.4.auto/hwmon/hwmon6"
    tree.function(
        N3000,
        "8086:0b30",
        "120000",
        "dfl-pci",
        {
            "numa_node": 0,
            "current_link_speed": "8.0 GT/s PCIe",
            "current_link_width": 8,
            f"{sensors}/name": "n3000bmc_hwmon",
            f"{sensors}/power1_label": "Board Power",
            f"{sensors}/power1_input": 41_250_000,
            f"{sensors}/temp1_label": "Board Temperature",
            f"{sensors}/temp1_input": 38500,
            f"{sensors}/temp2_label": "FPGA Die Temperature",
            f"{sensors}/temp2_input": 57000,
            f"{sensors}/temp3_label": "QSFP0 Temperature",
            f"{sensors}/temp3_input": 90000,
            f"{sensors}/in3_label": "FPGA Core Voltage",
            f"{sensors}/in3_input": 900,
            f"{sensors}/curr1_label": "FPGA Core Current",
            f"{sensors}/curr1_input": 12500,
        },
    )
    _fme(tree, 0, N3000, {"bitstream_id": "0x23000410010309", **NO_ERRORS})
    tree.write(f"devices/pci0000:00/{N3000}/fpga_region/region0/dfl-port.0", {"afu_id": "abc"})
    tree.function(A10, "8086:09c4", "120000", "dfl-pci", {"numa_node": 1})
    _fme(
        tree,
        1,
        A10,
        {
            "bitstream_id": "0x63000023b637277",
            **NO_ERRORS,
            "hwmon/hwmon7/name": "dfl_fme_thermal",
            "hwmon/hwmon7/temp1_input": 51000,
            "hwmon/hwmon7/temp1_max": 90000,
            "hwmon/hwmon7/temp1_max_alarm": 0,
            "hwmon/hwmon7/temp1_crit_alarm": 0,
            "hwmon/hwmon8/name": "dfl_fme_power",
            "hwmon/hwmon8/power1_input": 22_000_000,
            "hwmon/hwmon8/power1_max": 60_000_000,
            "hwmon/hwmon8/power1_max_alarm": 0,
            "hwmon/hwmon8/power1_crit_alarm": 0,
        },
    )
    return tree


@pytest.fixture
def roster(tree: Tree) -> Roster:
    return roster_of(FpgaMaker(tree.host()))


def test_they_are_found_and_an_npu_is_not(tree: Tree, tmp_path: Path) -> None:
    assert detect(tree.host(), backend).cards_expected == 2
    other = Tree(tmp_path / "other")
    other.function("0000:00:0b.0", "8086:643e", "120000", "intel_vpu")
    assert not detect(other.host(), backend).present


def test_every_value_of_a_card_with_a_board_controller(roster: Roster, tree: Tree) -> None:
    tree.process(9, "vran", {3: ("/dev/dfl-port.0", "")})
    reading = readings(roster)[BIG]
    assert not reading.failed
    assert reading.values == {
        "health": "ok",
        "health_detail": "no error register set",
        "power_watts": 41.25,
        "temperature_celsius": 57.0,
        "board_temperature_celsius": 38.5,
        "voltage_volts": 0.9,
        "current_amperes": 12.5,
        "processes": 1,
        "pcie_generation": 3,
        "pcie_width": 8,
    }
    fact = facts(roster)[BIG]
    assert fact.attributes["model"] == "Intel FPGA PAC N3000"
    assert fact.attributes["firmware_version"] == "0x23000410010309"
    assert set(fact.attributes) <= set(FACT_NAMES)
    unsupported = fact.attributes["unsupported"]
    assert isinstance(unsupported, list) and {"utilization_ratio", "memory_used_bytes"} <= set(unsupported)


def test_the_bus_says_link_and_errors(roster: Roster, tree: Tree) -> None:
    put_link(tree.sysfs, N3000)
    found = readings(roster)
    assert of_the_bus(found[BIG].values) == PCIE_SAYS
    assert of_the_bus(found[SMALL].values) == {}


def test_every_value_of_a_card_whose_engine_has_the_sensors(roster: Roster) -> None:
    assert readings(roster)[SMALL].values == {
        "health": "ok",
        "health_detail": "no error register set",
        "power_watts": 22.0,
        "temperature_celsius": 51.0,
        "throttle_reasons": 0,
        "power_limit_watts": 60.0,
        "temperature_limit_celsius": 90.0,
        "processes": 0,
    }


def test_power_of_a_board_without_a_power_sensor_is_volts_times_amperes(roster: Roster, tree: Tree) -> None:
    place = f"devices/pci0000:00/{A10}/dfl_dev.9/spi-master/spi1/spi1.0/d5005bmc-hwmon.2.auto/hwmon/hwmon9"
    tree.write(
        place,
        {
            "name": "d5005bmc_hwmon",
            "in9_label": "12v Backplane Voltage",
            "in9_input": 12_000,
            "in10_label": "12v AUX Voltage",
            "in10_input": 12_100,
            "curr7_label": "12v Backplane Current",
            "curr7_input": 2_000,
            "curr8_label": "12v AUX Current",
            "curr8_input": 5_000,
        },
    )
    assert readings(roster)[SMALL].values["power_watts"] == pytest.approx(24.0 + 60.5)


def test_throttling_and_errors_keep_the_registers_own_names(roster: Roster, tree: Tree) -> None:
    facts(roster)
    readings(roster)
    fme = "bus/platform/devices/dfl-fme.1"
    tree.write(
        fme,
        {
            "errors/catfatal_errors": "0x20",
            "errors/pcie0_errors": "0x1",
            "hwmon/hwmon7/temp1_max_alarm": 1,
            "hwmon/hwmon8/power1_crit_alarm": 1,
        },
    )
    reading = readings(roster)[SMALL]
    assert reading.values["health"] == "critical"
    assert reading.values["health_detail"] == "catfatal_errors=0x20 pcie0_errors=0x1"
    assert reading.values["throttle_reasons"] == bits_of(
        THROTTLE_REASONS, ["hardware_thermal", "hardware_power_brake"]
    )
    events = [(e.code, e.severity) for e in told(roster) if e.code and not e.code.startswith("health")]
    assert events == [
        ("catfatal_errors:0x20", Severity.FATAL),
        ("pcie0_errors:0x1", Severity.WARNING),
    ]


def test_nonsense_fails_alone_and_a_card_that_vanished_is_lost(roster: Roster, tree: Tree) -> None:
    tree.write("bus/platform/devices/dfl-fme.1", {"hwmon/hwmon7/temp1_input": "hot"})
    reading = readings(roster)[SMALL]
    assert reading.failed == {"temperature_celsius": "broken"}
    (tree.sysfs / "bus/platform/devices/dfl-fme.0").unlink()
    assert readings(roster)[BIG].values["health"] == "lost"
    assert [(e.kind, e.subject) for e in told(roster)] == [("card_lost", BIG)]


def test_a_real_child_gives_the_same(tree: Tree) -> None:
    items = through_a_child(backend, tree.host())
    powers = {
        i.subject: i.values["power_watts"]
        for i in items
        if isinstance(i, Reading) and i.family is Family.CARD
    }
    assert powers == {BIG: 41.25, SMALL: 22.0}


def test_the_description_names_only_what_there_is() -> None:
    assert set(backend.sources) <= set(keys(Family.CARD))


def test_the_kernel_log() -> None:
    text = "[ 3.0] dfl-pci 0000:3b:00.0: enumeration failure -22.\n"
    event = decode_log(text, PATTERNS, maker="intel-fpga").events[0]
    assert (event.severity, event.code) == (Severity.CRITICAL, "enumeration failure")
