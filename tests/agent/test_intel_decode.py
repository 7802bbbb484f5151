"""xpu-smi and xpumcli in every form: what is printed is found, what is not is absent, nothing crashes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from mutations import survives

from ullage_agent.backends.intel import backend
from ullage_agent.backends.intel.decode import decode
from ullage_agent.backends.intel.kernel import PATTERNS
from ullage_agent.registry import resolve
from ullage_agent.sources.kernel_log import decode as decode_log
from ullage_contract.errors import BadInput
from ullage_contract.event import Severity

FIXTURES = Path(__file__).parent.parent / "fixtures/intel"


def text(name: str) -> str:
    return (FIXTURES / name).read_text(encoding="utf-8")


def test_discovery_of_two_cards() -> None:
    found = decode(text("discovery_two.txt"))
    assert (found.maker, found.format, found.driver_version) == (
        "intel",
        "table",
        "I915_25.2.57_PSB_250224.65",
    )
    first, second = found.cards
    assert (first.index, first.model) == (0, "Intel(R) Data Center GPU Max 1550")
    assert first.uuid == "00000000-0000-0029-0000-002f0bd58086"
    assert first.serial is None, "unknown is none"
    assert first.pci_address == "0000:29:00.0"
    assert first.values == {
        "clock_core_max_hertz": 1.6e9,
        "memory_total_bytes": 128 << 30,
        "pcie_generation_max": 5,
        "pcie_width_max": 16,
        "links_total": 16,
    }
    assert first.extra["firmware"] == "PVC2_1.23374"
    assert first.extra["tiles"] == 2
    assert first.extra["pci_slot"].endswith("over two lines")
    assert second.index == 1 and second.values == {}, "-1 is how the tool prints a link it could not read"


def test_a_dump_by_tiles_keeps_blank_apart_from_zero() -> None:
    found = decode(text("dump_tiles.txt"))
    first, second, torn = found.samples
    assert first == {
        "time": "2026-11-08 13:31:43.100",
        "index": 0,
        "tile": 0,
        "utilization_ratio": 0.46,
        "power_watts": None,
        "clock_core_hertz": 1.1e9,
        "energy_joules": 812.25,
        "memory_bandwidth_ratio": 0.125,
        "memory_used_bytes": round(512.25 * (1 << 20)),
        "sm_active_ratio": 0.4,
        "ecc_uncorrected": 0,
        "throttle_reason": "Not Throttled",
    }
    assert second["power_watts"] == 121.5
    assert second["utilization_ratio"] is None and second["clock_core_hertz"] is None
    assert torn["utilization_ratio"] == 0.47 and "power_watts" not in torn
    assert found.notes == ["truncated: a row has fewer columns than the head"]


def test_stats_join_tiles_as_the_tool_does() -> None:
    card = decode(text("stats_tiles.txt")).cards[0]
    assert card.index == 3
    assert card.values == {
        "utilization_ratio": 0.8,
        "sram_ecc_corrected": 7,
        "ecc_uncorrected": 1,
        "power_watts": 180.0,
        "temperature_celsius": 36.0,
        "memory_used_bytes": 900 << 20,
        "decoder_ratio": 0.3,
    }
    assert card.extra["reset"] == 2


def test_health_is_the_worst_components() -> None:
    card = decode(text("health_warning.txt")).cards[0]
    assert card.values == {
        "temperature_limit_celsius": 105.0,
        "power_limit_watts": 150.0,
        "health": "degraded",
        "health_detail": "Warning",
    }
    assert card.extra["components"]["gpu_memory"] == "Warning"


def test_settings() -> None:
    card = decode(text("config.txt")).cards[0]
    assert card.values == {"power_limit_watts": 300.0, "clock_core_max_hertz": 1.3e9}
    assert card.extra == {"ecc_current": "enabled", "ecc_pending": "disabled"}


def test_processes_are_in_kilobytes() -> None:
    cards = decode(text("ps.txt")).cards
    assert [card.index for card in cards] == [0, 1]
    assert cards[1].processes == [
        {"pid": 12961, "command": "python3 worker", "memory_used_bytes": 2_048_000, "memory_shared_bytes": 0}
    ]


def test_json_of_discovery_and_stats() -> None:
    card = decode(text("discovery.json.txt")).cards[0]
    assert (card.index, card.pci_address) == (0, "0000:4d:00.0")
    assert card.values == {
        "clock_core_max_hertz": 2.05e9,
        "memory_total_bytes": 14946402304,
        "pcie_generation_max": 4,
    }
    stats = decode(text("stats.json.txt")).cards[0]
    assert stats.index == 1
    assert stats.values == {
        "utilization_ratio": 0.525,
        "memory_used_bytes": 1 << 30,
        "power_watts": 200.0,
        "clock_core_hertz": 1.1e9,
    }


def test_a_listing_without_its_box_is_read_alike() -> None:
    bare = "\n".join(
        line.strip("|").partition("|")[2].strip()
        for line in text("discovery_two.txt").splitlines()[3:]
        if line.startswith("|")
    )
    found = decode(bare)
    assert found.driver_version == "I915_25.2.57_PSB_250224.65"
    assert [(card.index, card.pci_address) for card in found.cards] == [
        (0, "0000:29:00.0"),
        (1, "0000:4d:00.0"),
    ]
    assert found.cards[0].values == decode(text("discovery_two.txt")).cards[0].values


def test_printed_sysfs_files() -> None:
    found = decode(text("sysfs_grep.txt"))
    assert found.format == "sysfs" and found.cards[0].index == 1
    assert found.cards[0].values == {
        "clock_core_hertz": 2.05e9,
        "clock_core_max_hertz": 2.4e9,
        "energy_joules": 5000.0,
        "power_limit_watts": 150.0,
        "temperature_celsius": 61.0,
        "memory_temperature_celsius": 72.0,
        "pcie_generation": 4,
        "pcie_width": 16,
    }


def test_intel_gpu_top_while_it_still_runs() -> None:
    found = decode(text("gpu_top.json.txt"))
    assert found.notes == ["truncated: a period is cut off"]
    row = found.samples[0]
    assert (row["utilization_ratio"], row["clock_core_hertz"], row["power_watts"]) == (0.625, 1987.5e6, 87.25)


def test_windows_line_ends_change_nothing() -> None:
    for name in ("discovery_two.txt", "dump_tiles.txt", "stats_tiles.txt"):
        plain = text(name)
        assert decode(plain.replace("\n", "\r\n")).cards == decode(plain).cards
        assert decode(plain.replace("\n", "\r\n")).samples == decode(plain).samples


@pytest.mark.parametrize("foreign", ["", "hello", "| a | b |", '{"a": 1}', "[1, 2]", "Timestamp, Device"])
def test_a_text_that_is_not_the_tools_is_bad_input(foreign: str) -> None:
    with pytest.raises(BadInput):
        decode(foreign)


def test_damage_raises_nothing_but_bad_input() -> None:
    survives(decode, [path.read_text(encoding="utf-8") for path in sorted(FIXTURES.glob("*.txt"))])


def test_the_kernel_log_names_the_card_the_cause_and_the_process() -> None:
    events = decode_log(text("kernel.txt"), PATTERNS, maker="intel").events
    found = [(e.attributes.get("name"), e.severity, e.attributes.get("pci_address")) for e in events]
    assert found == [
        ("GUC_CRASH", Severity.CRITICAL, "0000:4d:00.0"),
        ("ENGINE_RESET", Severity.WARNING, "0000:4d:00.0"),
        ("JOB_TIMEOUT", Severity.WARNING, "0000:4d:00.0"),
        ("HARDWARE_ERROR", Severity.CRITICAL, "0000:4d:00.0"),
        ("SURVIVABILITY_MODE", Severity.FATAL, "0000:4d:00.0"),
        ("DEVICE_WEDGED", Severity.FATAL, "0000:4d:00.0"),
        ("GPU_HANG", Severity.WARNING, "0000:9a:00.0"),
    ]
    assert [e.attributes.get("pid") for e in events if e.attributes.get("pid")] == [4711, 815]
    assert resolve(backend.kernel_log or "") is PATTERNS


def test_every_recording_is_decoded_whole() -> None:
    folder = Path(os.environ.get("ULLAGE_SHARED", "../shared")) / "recordings/intel"
    if not folder.is_dir():
        pytest.skip(f"no recordings at {folder}: set ULLAGE_SHARED")
    from benchmarks.recording_fields import compare

    for path in sorted(folder.glob("*.txt")):
        expected = json.loads(path.with_name(path.name.removesuffix(".txt") + ".expected.json").read_text())
        result = compare(expected, decode(path.read_text(encoding="utf-8")), path.read_text(encoding="utf-8"))
        assert not result.differences, f"{path.name}: {result.differences}"
