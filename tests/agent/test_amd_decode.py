"""rocm-smi, amd-smi and sysfs dumps in our own fixtures: what is printed is found, what is not is absent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.agent.mutations import survives

from ullage_agent.backends.amd.decode import decode
from ullage_contract.errors import BadInput

FIXTURES = Path(__file__).parent.parent / "fixtures/amd"
MIB = 1 << 20


def text(name: str) -> str:
    return (FIXTURES / name).read_bytes().decode()


EXPECTED: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "concise_3.txt": ("rocm-smi", [
        {"utilization_ratio": 0.0, "memory_ratio": 0.0, "temperature_celsius": 50.0, "power_watts": 23.0, "power_limit_watts": 300.0, "fan_ratio": 0.0, "clock_core_hertz": 1319e6, "clock_memory_hertz": 800e6},
        {"utilization_ratio": 0.0, "memory_ratio": 0.0, "temperature_celsius": 48.0, "power_watts": 25.0, "power_limit_watts": 300.0, "fan_ratio": 0.0, "clock_core_hertz": 1319e6, "clock_memory_hertz": 800e6},
    ]),
    "concise_6.txt": ("rocm-smi", [
        {"utilization_ratio": 0.97, "memory_ratio": 0.41, "temperature_celsius": 58.0, "hotspot_temperature_celsius": 58.0, "power_watts": 463.0, "power_limit_watts": 750.0, "fan_ratio": 0.0, "clock_core_hertz": 2102e6, "clock_memory_hertz": 900e6},
        {"utilization_ratio": 0.97, "memory_ratio": 0.41, "temperature_celsius": 39.0, "hotspot_temperature_celsius": 39.0, "power_watts": 141.0, "power_limit_watts": 750.0, "fan_ratio": 0.0, "clock_core_hertz": 2108e6, "clock_memory_hertz": 900e6},
    ]),
    "concise_model.txt": ("rocm-smi", [
        {"utilization_ratio": 0.72, "memory_ratio": 0.33, "temperature_celsius": 47.0, "power_watts": 96.0, "power_limit_watts": 280.0, "fan_ratio": 0.0, "clock_core_hertz": 925e6, "clock_memory_hertz": 1000e6},
    ]),
    # errors between the lines; N/A, None and Unsupported are no numbers
    "concise_torn.txt": ("rocm-smi", [
        {"utilization_ratio": 0.08, "memory_ratio": 0.12, "temperature_celsius": 52.0, "fan_ratio": 0.0, "clock_memory_hertz": 2200e6},
    ]),
    "lines.txt": ("rocm-smi", [
        {"utilization_ratio": 0.87, "temperature_celsius": 41.0, "clock_core_hertz": 1269e6, "memory_total_bytes": 68702699520, "memory_used_bytes": 33554432000},
        {"utilization_ratio": 0.42},
    ]),
    "rocm.csv.txt": ("rocm-smi", [
        {"utilization_ratio": 0.05, "temperature_celsius": 41.0},
        {"utilization_ratio": 0.06, "temperature_celsius": 42.0},
    ]),
    "amd_smi_table.txt": ("amd-smi", [
        {"memory_bandwidth_ratio": 0.0, "temperature_celsius": 37.0, "ecc_uncorrected": 0, "power_watts": 642.0, "power_limit_watts": 750.0, "utilization_ratio": 0.0, "memory_used_bytes": 98285 * MIB, "memory_total_bytes": 196288 * MIB},
        {"ecc_uncorrected": 0, "memory_used_bytes": 1013 * MIB, "memory_total_bytes": 65536 * MIB},
    ]),
    "amd_smi_monitor_6.txt": ("amd-smi monitor", [
        {"power_watts": 426.0, "temperature_celsius": 61.0, "hotspot_temperature_celsius": 61.0, "memory_temperature_celsius": 32.0, "utilization_ratio": 0.88, "memory_bandwidth_ratio": 0.37, "clock_core_hertz": 1982e6, "clock_memory_hertz": 900e6, "memory_used_bytes": 99283 * MIB, "memory_total_bytes": 196300 * MIB},
        {"temperature_celsius": 40.0, "hotspot_temperature_celsius": 40.0, "memory_temperature_celsius": 32.0, "utilization_ratio": 0.88, "memory_bandwidth_ratio": 0.37, "clock_core_hertz": 1982e6, "clock_memory_hertz": 900e6, "memory_used_bytes": 99283 * MIB, "memory_total_bytes": 196300 * MIB},
    ]),
    "amd_smi_metric.json.txt": ("amd-smi metric", [
        {"utilization_ratio": 0.05, "hotspot_temperature_celsius": 44.0, "memory_used_bytes": 283 * MIB, "memory_total_bytes": 196592 * MIB, "energy_joules": 12345.5, "ecc_corrected": 1, "ecc_uncorrected": 0, "pcie_width": 16, "pcie_generation": 5},
    ]),
    "amd_smi_static.txt": ("amd-smi static", [
        {"power_limit_watts": 700.0, "memory_total_bytes": 196592 * MIB, "pcie_width_max": 16, "pcie_generation_max": 5},
    ]),
    "amd_smi_metric.csv.txt": ("amd-smi metric", [
        {"utilization_ratio": 0.95, "memory_bandwidth_ratio": 0.8, "power_watts": 1180.0, "temperature_celsius": 55.0, "hotspot_temperature_celsius": 78.0, "memory_temperature_celsius": 60.0, "clock_core_hertz": 2100e6},
    ]),
    "sysfs_grep.txt": ("sysfs /sys/class/drm", [
        {"utilization_ratio": 0.88, "memory_bandwidth_ratio": pytest.approx(0.41), "memory_used_bytes": 103070826496, "memory_total_bytes": 206141652992, "pcie_generation": 5, "pcie_width": 16, "power_instant_watts": 512.0, "hotspot_temperature_celsius": 66.0},
    ]),
}  # fmt: skip


@pytest.mark.parametrize("name", EXPECTED)
def test_values(name: str) -> None:
    tool, cards = EXPECTED[name]
    found = decode(text(name))
    assert (found.maker, found.tool) == ("amd", tool)
    assert [card.values for card in found.cards] == cards
    assert [card.index for card in found.cards] == list(range(len(cards)))


def test_every_fixture_is_expected_somewhere() -> None:
    assert {path.name for path in FIXTURES.glob("*.txt")} == {*EXPECTED, "amd_smi_monitor_7.txt"}


def test_a_partitioned_card_is_one_card_with_partitions() -> None:
    (card,) = decode(text("amd_smi_monitor_7.txt")).cards
    assert [(part["instance"], part["values"]["utilization_ratio"]) for part in card.slices] == [
        ("0", 0.12),
        ("1", 0.5),
    ]
    assert card.values["utilization_ratio"] == 0.31  # their mean
    assert card.values["decoder_ratio"] == 0.0
    assert card.values["power_watts"] == 179.0  # the whole card's, though it stands in the first one's row


def test_identity() -> None:
    found = decode(text("amd_smi_static.txt"))
    (card,) = found.cards
    assert found.driver_version == "6.10.5"
    assert (card.model, card.serial, card.pci_address) == (
        "AMD Instinct MI300X",
        "TEST00000001",
        "0000:05:00.0",
    )
    assert card.partition_mode == "cpx"


def test_processes_of_the_table_are_their_cards() -> None:
    found = decode(text("amd_smi_table.txt"))
    assert found.driver_version == "6.16.6"
    (process,) = found.cards[0].processes or ()
    assert (process["pid"], process["name"]) == (4711, "python3.12")


def test_a_csv_over_time_is_samples() -> None:
    found = decode(text("amd_smi_metric.csv.txt"))
    assert [sample["utilization_ratio"] for sample in found.samples] == [0.0, 0.95]
    assert found.samples[0].get("temperature_celsius") is None


@pytest.mark.parametrize(
    "foreign", ["", "hello", "| NVIDIA-SMI 550.54 |", "{}", "[1, 2]", "a,b\n1,2\n", "\0"]
)
def test_a_foreign_text_is_refused(foreign: str) -> None:
    with pytest.raises(BadInput):
        decode(foreign)


def test_damaged_texts_never_crash() -> None:
    survives(decode, [path.read_bytes().decode() for path in FIXTURES.glob("*.txt")])
