"""Alveo cards: XRT's files and reports, a sensor that is not fitted apart from one that says 0."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from maker_tree import Tree, facts, readings, roster_of, through_a_child, told
from mutations import survives
from tests.agent.maker_bench import PCIE_SAYS, of_the_bus, put_link

from ullage_agent.backend import Reading
from ullage_agent.backends.alveo import backend
from ullage_agent.backends.alveo.decode import decode
from ullage_agent.backends.alveo.kernel import PATTERNS
from ullage_agent.backends.alveo.memory import banks, used_bytes
from ullage_agent.backends.alveo.reader import AlveoMaker
from ullage_agent.backends.roster import Roster
from ullage_agent.detection import detect
from ullage_agent.sources.kernel_log import decode as decode_log
from ullage_contract.catalogue import keys
from ullage_contract.errors import BadInput, Broken
from ullage_contract.event import Severity
from ullage_contract.sample import FACT_NAMES, Family

FIXTURES = Path(__file__).parent.parent / "fixtures/alveo"
CARD = "alveo-501211206N4Q"
USER, MANAGEMENT = "0000:65:00.1", "0000:65:00.0"


def topology(*rows: tuple[int, int, int, str]) -> bytes:
    """(type, used, KiB, name) a bank."""
    body = b"".join(
        struct.pack("<BB6xQQ16s", kind, used, kib, 0, name.encode()) for kind, used, kib, name in rows
    )
    return struct.pack("<i4x", len(rows)) + body


HBM = topology(
    (6, 1, 262144, "HBM[0]"), (6, 1, 262144, "HBM[1]"), (6, 0, 262144, "HBM[2]"), (3, 1, 9, "stream")
)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A U50 with both functions bound, and a Xilinx design of somebody's own."""
    tree = Tree(tmp_path)
    tree.function(
        USER,
        "10ee:5021",
        "120000",
        "xocl",
        {
            "numa_node": 1,
            "dev_offline": 0,
            "current_link_speed": "8.0 GT/s PCIe",
            "current_link_width": 16,
            "memstat_raw": "4096 1\n8192 2\n0 0\n0 0\n12288 3",
            "icap.u.17/mem_topology": HBM,
            "icap.u.17/clock_freqs": "300\n500\n0\n0",
            "mig.u.1/ecc_ce_cnt": 3,
            "mig.u.1/ecc_ue_cnt": 0,
            "mig.u.2/ecc_ce_cnt": 4,
            "mig.u.2/ecc_ue_cnt": 0,
            "xmc.u.19922944/xmc_power": 18_515_625,
            "xmc.u.19922944/xmc_fpga_temp": 41,
            "xmc.u.19922944/xmc_hbm_temp": 44,
            "xmc.u.19922944/xmc_ddr_temp0": 0,
            "xmc.u.19922944/xmc_se98_temp0": 33,
            "xmc.u.19922944/xmc_se98_temp1": 36,
            "xmc.u.19922944/xmc_se98_temp2": 0,
            "xmc.u.19922944/xmc_vccint_vol": 851,
            "xmc.u.19922944/xmc_vccint_curr": 6250,
            "xmc.u.19922944/xmc_fan_rpm": 0,
            "xmc.u.19922944/fan_presence": "A",
            "xmc.u.19922944/max_power": 0,
            "xmc.u.19922944/xmc_heartbeat_count": 4711,
            "xmc.u.19922944/xmc_heartbeat_stall": 0,
            "xmc.u.19922944/serial_num": "501211206N4Q",
            "xmc.u.19922944/bd_name": "ALVEO U50 PQ",
            "xmc.u.19922944/bmc_ver": "5.2.20",
            "drm/renderD129/dev": "226:129",
        },
    )
    tree.function(
        MANAGEMENT,
        "10ee:5020",
        "120000",
        "xclmgmt",
        {
            "firewall.m.5/detected_level": 0,
            "firewall.m.5/detected_status": "0x0",
            "firewall.m.5/detected_level_name": "N/A",
        },
    )
    tree.function("0000:17:00.0", "10ee:903f", "058000", "somebodys_own")
    tree.write("module/xocl", {"version": "2.14.354,43926231f7183688add2dccfd391b36a1f000bea"})
    return tree


@pytest.fixture
def roster(tree: Tree) -> Roster:
    return roster_of(AlveoMaker(tree.host()))


def test_two_functions_are_one_card_and_anybodys_own_design_is_none(tree: Tree) -> None:
    found = detect(tree.host(), backend)
    assert found.present and found.cards_expected == 1
    tree.remove(USER)
    tree.remove(MANAGEMENT)
    assert not detect(tree.host(), backend).present


def test_every_value_comes_out_exactly(roster: Roster, tree: Tree) -> None:
    tree.process(31, "vitis_app", {3: ("/dev/dri/renderD129", "")})
    reading = readings(roster)[CARD]
    assert not reading.failed
    assert reading.values == {
        "health": "ok",
        "health_detail": "online, no firewall tripped",
        "power_watts": 18.515625,
        "temperature_celsius": 41.0,
        "memory_temperature_celsius": 44.0,
        "board_temperature_celsius": 36.0,
        "memory_used_bytes": 12288,
        "memory_total_bytes": 512 << 20,
        "clock_core_hertz": 300e6,
        "power_limit_watts": 75.0,
        "voltage_volts": 0.851,
        "current_amperes": 6.25,
        "ecc_corrected": 7,
        "ecc_uncorrected": 0,
        "heartbeat": 4711,
        "processes": 1,
        "pcie_generation": 3,
        "pcie_width": 16,
    }


def test_the_bus_says_link_and_errors(roster: Roster, tree: Tree) -> None:
    put_link(tree.sysfs, USER)
    assert of_the_bus(readings(roster)[CARD].values) == PCIE_SAYS


def test_a_card_with_a_fan_of_its_own_says_how_fast_it_turns(tree: Tree) -> None:
    place = "bus/pci/devices/" + USER
    tree.write(place, {"xmc.u.19922944/fan_presence": "P", "xmc.u.19922944/xmc_fan_rpm": 1125})
    assert readings(roster_of(AlveoMaker(tree.host())))[CARD].values["fan_rpm"] == 1125


def test_facts_say_who_it_is(roster: Roster) -> None:
    found = facts(roster)
    assert set(found) == {CARD}
    attributes = found[CARD].attributes
    assert attributes["model"] == "ALVEO U50 PQ"
    assert attributes["serial"] == "501211206N4Q"
    assert attributes["pci_address"] == USER
    assert attributes["driver_version"] == "2.14.354"
    assert attributes["firmware_version"] == "5.2.20"
    assert set(attributes) <= set(FACT_NAMES)
    unsupported = attributes["unsupported"]
    assert isinstance(unsupported, list)
    assert {"utilization_ratio", "fan_rpm"} <= set(unsupported)


def test_without_xmc_the_hwmon_labels_are_read(roster: Roster, tree: Tree) -> None:
    for name in ("xmc_power", "xmc_fpga_temp", "xmc_hbm_temp", "xmc_vccint_vol"):
        (tree.sysfs / "bus/pci/devices" / USER / "xmc.u.19922944" / name).unlink()
    tree.write(
        f"bus/pci/devices/{USER}/hwmon/hwmon2",
        {
            "name": "xocl_xmc",
            "power1_label": "POWER",
            "power1_input": 20_000_000,
            "temp4_label": "FPGA TEMP",
            "temp4_input": 52000,
            "temp6_label": "DIMM0 TEMP",
            "temp6_input": 61000,
            "temp7_label": "DIMM1 TEMP",
            "temp7_input": 0,
            "in9_label": "VCC INT",
            "in9_input": 849,
        },
    )
    values = readings(roster)[CARD].values
    assert values["power_watts"] == 20.0
    assert values["temperature_celsius"] == 52.0
    assert values["memory_temperature_celsius"] == 61.0
    assert values["voltage_volts"] == pytest.approx(0.849)


def test_without_a_design_there_is_no_memory_and_none_is_made_up(roster: Roster, tree: Tree) -> None:
    tree.write(f"bus/pci/devices/{USER}", {"icap.u.17/mem_topology": b""})
    reading = readings(roster)[CARD]
    assert "memory_used_bytes" not in reading.values and "memory_total_bytes" not in reading.values
    assert "memory_used_bytes" not in reading.failed


def test_a_tripped_firewall_is_critical_and_told_once(roster: Roster, tree: Tree) -> None:
    facts(roster)
    readings(roster)
    tree.write(
        f"bus/pci/devices/{MANAGEMENT}",
        {
            "firewall.m.5/detected_level": 3,
            "firewall.m.5/detected_status": "0x80000",
            "firewall.m.5/detected_level_name": "CL Firewall",
        },
    )
    reading = readings(roster)[CARD]
    assert reading.values["health"] == "critical"
    assert reading.values["health_detail"] == "CL Firewall tripped, status 0x80000"
    codes = {event.code: event.severity for event in told(roster)}
    assert codes["firewall:3:0x80000"] is Severity.CRITICAL
    readings(roster)
    assert told(roster) == []


def test_nonsense_fails_alone(roster: Roster, tree: Tree) -> None:
    tree.write(f"bus/pci/devices/{USER}", {"xmc.u.19922944/xmc_power": "much", "memstat_raw": "4096 1"})
    reading = readings(roster)[CARD]
    assert reading.failed == {
        "power_watts": "broken",
        "memory_used_bytes": "broken",
        "memory_total_bytes": "broken",
    }
    assert reading.values["temperature_celsius"] == 41.0


def test_two_devices_of_one_serial_number_are_chips_of_a_board(roster: Roster, tree: Tree) -> None:
    tree.function(
        "0000:66:00.1", "10ee:513d", "120000", "xocl",
        {"xmc.u.3/serial_num": "501211206N4Q", "xmc.u.3/bd_name": "ALVEO U30"},
    )  # fmt: skip
    found = facts(roster)
    assert set(found) == {f"{CARD}-c0", f"{CARD}-c1"}
    assert {fact.attributes["board_id"] for fact in found.values()} == {CARD}


def test_a_card_that_vanished_is_lost(roster: Roster, tree: Tree) -> None:
    facts(roster)
    tree.remove(USER)
    tree.remove(MANAGEMENT)
    assert readings(roster)[CARD].values["health"] == "lost"
    assert [event.kind for event in told(roster)] == ["card_lost"]


def test_a_real_child_gives_the_same(tree: Tree) -> None:
    items = through_a_child(backend, tree.host())
    card = next(i for i in items if isinstance(i, Reading) and i.family is Family.CARD)
    assert card.values["power_watts"] == 18.515625
    assert card.values["memory_used_bytes"] == 12288


def test_the_description_names_only_what_there_is() -> None:
    assert set(backend.sources) <= set(keys(Family.CARD))


@pytest.mark.parametrize("raw", [b"\x01", struct.pack("<i4x", 5), struct.pack("<i4x", -1), b"\xff" * 64])
def test_a_torn_topology_is_broken(raw: bytes) -> None:
    with pytest.raises(Broken):
        banks(raw)


def test_groups_of_banks_do_not_count_twice() -> None:
    assert used_bytes("4096 1\n8192 2\n0 0\n0 0\n12288 3", banks(HBM)) == 12288


# ---- decode


def test_examine_as_json() -> None:
    found = decode((FIXTURES / "examine.json.txt").read_text())
    assert (found.format, found.driver_version) == ("json", "2.14.354")
    card, other = found.cards
    assert (card.model, card.serial) == ("xilinx_u50_gen3x16_xdma_base_5", "501211206N4Q")
    assert card.pci_address == USER
    assert card.values == {
        "power_watts": 18.515625,
        "power_limit_watts": 75.0,
        "voltage_volts": 0.851,
        "current_amperes": 6.25,
        "temperature_celsius": 41.0,
        "memory_temperature_celsius": 44.0,
        "board_temperature_celsius": 33.0,
        "memory_used_bytes": 12288,
        "memory_total_bytes": 512 << 20,
        "ecc_corrected": 2,
        "ecc_uncorrected": 0,
        "pcie_generation": 3,
        "pcie_generation_max": 3,
        "pcie_width": 16,
        "pcie_width_max": 16,
        "clock_core_hertz": 300e6,
        "health": "ok",
        "health_detail": "HEALTHY",
    }
    assert card.extra["firmware"] == "5.2.20"
    assert other.pci_address == "0000:b3:00.1" and other.values == {}


def test_examine_as_text() -> None:
    found = decode((FIXTURES / "examine.txt").read_text())
    assert found.driver_version == "2.14.354"
    assert len(found.cards) == 1
    assert found.cards[0].values == {
        "power_watts": 27.134563,
        "power_limit_watts": 225.0,
        "temperature_celsius": 38.0,
        "board_temperature_celsius": 31.0,
        "memory_total_bytes": 64 << 30,
        "pcie_generation": 3,
        "pcie_width": 16,
    }


@pytest.mark.parametrize("foreign", ["", "hello", '{"devices": []}', "[0000:65:00] nothing"])
def test_a_text_that_is_not_the_tools_is_bad_input(foreign: str) -> None:
    with pytest.raises(BadInput):
        decode(foreign)


def test_damage_raises_nothing_but_bad_input() -> None:
    survives(decode, [path.read_text() for path in sorted(FIXTURES.glob("*.txt"))])


def test_the_kernel_log() -> None:
    text = (
        "[ 1.0] xclmgmt 0000:65:00.0: check_temp_within_range: Warning: A Xilinx acceleration device is reporting a temperature of 96C.\n"
        "[ 2.0] firewall.m firewall.m.10485760: dev ffff9b24390edc10, check_firewall: AXI Firewall 3 tripped, status: 0x4, bar offset 0x0\n"
    )
    events = decode_log(text, PATTERNS, maker="alveo").events
    assert [(e.kind, e.code, e.severity) for e in events] == [
        ("driver_error", "check_temp_within_range", Severity.WARNING),
        ("ras", "3", Severity.CRITICAL),
    ]
