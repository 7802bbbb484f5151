"""Intel NPUs: the driver's five files, and nothing that they do not say."""

from __future__ import annotations

from pathlib import Path

import pytest
from maker_tree import Ticks, Tree, facts, readings, roster_of, through_a_child, told

from ullage_agent.backend import Reading
from ullage_agent.backends.intel_npu import backend
from ullage_agent.backends.intel_npu.kernel import PATTERNS
from ullage_agent.backends.intel_npu.reader import NpuMaker
from ullage_agent.backends.roster import Roster
from ullage_agent.detection import detect
from ullage_agent.sources.kernel_log import decode as decode_log
from ullage_contract.catalogue import Tier, keys
from ullage_contract.event import Severity
from ullage_contract.sample import FACT_NAMES, Family

NPU = "0000:00:0b.0"
CARD = f"n1-{NPU}"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path)
    tree.function(
        NPU,
        "8086:643e",
        "120000",
        "intel_vpu",
        {
            "npu_busy_time_us": 1_000_000,
            "npu_memory_utilization": 4096,
            "npu_current_frequency_mhz": 0,
            "npu_max_frequency_mhz": 1950,
            "sched_mode": "HW",
            "accel/accel0/dev": "261:0",
            "numa_node": -1,
        },
    )
    return tree


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


@pytest.fixture
def roster(tree: Tree, ticks: Ticks) -> Roster:
    return roster_of(NpuMaker(tree.host(), ticks))


def test_it_is_found_and_intels_other_accelerators_are_not(tree: Tree, tmp_path: Path) -> None:
    assert detect(tree.host(), backend).cards_expected == 1
    other = Tree(tmp_path / "other")
    other.function("0000:3b:00.0", "8086:0b30", "120000", "dfl-pci")
    assert not detect(other.host(), backend).present


def test_every_value_comes_out_exactly(roster: Roster, ticks: Ticks, tree: Tree) -> None:
    fact = facts(roster)[CARD]
    assert fact.attributes["model"] == "Intel NPU (Lunar Lake)"
    assert fact.attributes["device_node"] == "/dev/accel/accel0"
    assert fact.attributes["util_kind"] == "duty_cycle"
    assert set(fact.attributes) <= set(FACT_NAMES)
    tree.process(77, "benchmark_app", {4: ("/dev/accel/accel0", "")})
    ticks.now += 10
    tree.write(
        f"bus/pci/devices/{NPU}",
        {"npu_busy_time_us": 3_500_000, "npu_memory_utilization": 65536, "npu_current_frequency_mhz": 1400},
    )
    reading = readings(roster)[CARD]
    assert not reading.failed
    assert reading.values == {
        "utilization_ratio": 0.25,
        "memory_host_used_bytes": 65536,
        "clock_core_hertz": 1400e6,
        "clock_core_max_hertz": 1950e6,
        "processes": 1,
    }
    assert "health" in fact.attributes["unsupported"]  # type: ignore[operator]
    assert readings(roster, family=Family.PROCESS)[f"{CARD}#77"].values == {}


def test_the_first_reading_has_no_utilisation(roster: Roster) -> None:
    values = readings(roster)[CARD].values
    assert "utilization_ratio" not in values and values["clock_core_hertz"] == 0.0


def test_an_older_driver_has_fewer_files(roster: Roster, tree: Tree) -> None:
    for name in ("npu_memory_utilization", "npu_current_frequency_mhz", "npu_max_frequency_mhz"):
        (tree.sysfs / "bus/pci/devices" / NPU / name).unlink()
    unsupported = facts(roster)[CARD].attributes["unsupported"]
    assert isinstance(unsupported, list)
    assert {"memory_host_used_bytes", "clock_core_hertz", "clock_core_max_hertz"} <= set(unsupported)
    assert "utilization_ratio" not in unsupported
    assert not readings(roster)[CARD].failed


def test_nonsense_fails_alone(roster: Roster, tree: Tree) -> None:
    tree.write(f"bus/pci/devices/{NPU}", {"npu_memory_utilization": "many"})
    reading = readings(roster)[CARD]
    assert reading.failed == {"memory_host_used_bytes": "broken"}
    assert reading.values["clock_core_max_hertz"] == 1950e6


def test_a_driver_that_let_go_is_a_lost_card(roster: Roster, tree: Tree) -> None:
    facts(roster)
    (tree.sysfs / "bus/pci/drivers/intel_vpu" / NPU).unlink()
    assert readings(roster, Tier.FAST)[CARD].values["health"] == "lost"
    assert [event.kind for event in told(roster)] == ["card_lost"]


def test_a_real_child_gives_the_same(tree: Tree) -> None:
    items = through_a_child(backend, tree.host())
    card = next(i for i in items if isinstance(i, Reading) and i.family is Family.CARD)
    assert card.values["clock_core_max_hertz"] == 1950e6


def test_the_description_names_only_what_there_is() -> None:
    assert set(backend.sources) <= set(keys(Family.CARD))


def test_the_kernel_log() -> None:
    text = (
        "[ 9.1] intel_vpu 0000:00:0b.0: [drm] Firmware: intel/vpu/vpu_37xx_v1.bin, version: 2026\n"
        "[ 9.2] intel_vpu 0000:00:0b.0: [drm] *ERROR* ivpu_hw_power_up(): Failed to configure host SS: -5\n"
        "[ 9.3] intel_vpu 0000:00:0b.0: probe with driver intel_vpu failed with error -5\n"
    )
    events = decode_log(text, PATTERNS, maker="intel-npu").events
    assert [(e.code, e.severity) for e in events] == [
        ("ivpu_hw_power_up", Severity.WARNING),
        ("-5", Severity.CRITICAL),
    ]
