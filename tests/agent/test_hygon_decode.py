"""hy-smi and Hygon's rocm-smi in our own fixtures: what is printed is found, what is not is absent."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.agent.mutations import survives

from ullage_agent.backends.hygon.decode import decode
from ullage_contract.errors import BadInput

FIXTURES = Path(__file__).parent.parent / "fixtures/hygon"


def text(name: str) -> str:
    return (FIXTURES / name).read_text(encoding="utf-8")


def test_the_table() -> None:
    busy, idle, broken = decode(text("table_hcu.txt")).cards
    assert busy.values == {
        "utilization_ratio": 0.995,
        "memory_ratio": 0.91,
        "temperature_celsius": 61.0,
        "power_watts": 377.0,
        "power_limit_watts": 600.0,
        "decoder_ratio": 0.12,
        "encoder_ratio": 0.0,
    }
    assert (idle.index, idle.values["utilization_ratio"]) == (1, 0.0)
    assert broken.values == {} and broken.extra["mode"] == "Fault"


def test_json_without_its_commas_is_read_pair_by_pair() -> None:
    found = decode(text("broken.json.txt"))
    assert found.format == "json" and found.notes
    first, second = found.cards
    assert first.values["power_watts"] == 191.0
    assert first.values["memory_power_watts"] == 38.0
    assert first.values["memory_ratio"] == 0.98, "HCU memory use is fullness, not bandwidth"
    assert first.values["memory_used_bytes"] == 61169 << 20
    assert (first.values["pcie_generation"], first.values["pcie_width"]) == (5, 16)
    assert first.values["clock_core_hertz"] == 1350e6
    assert second.values == {"utilization_ratio": 0.075}


def test_lines() -> None:
    first, second = decode(text("lines.txt")).cards
    assert (first.serial, first.pci_address) == ("TESTDCU000000001", "0000:0d:00.0")
    assert first.values == {
        "utilization_ratio": 0.375,
        "hotspot_temperature_celsius": 66.0,
        "power_watts": 212.0,
        "memory_total_bytes": 65536 << 20,
        "memory_used_bytes": 1024 << 20,
    }
    assert second.values == {"utilization_ratio": 0.0}


def test_virtual_devices_are_slices_of_their_card() -> None:
    (card,) = decode(text("virtual.txt")).cards
    assert (card.index, card.partition_mode) == (7, "vdcu")
    assert [(part["instance"], part["profile"], part["values"]) for part in card.slices] == [
        (0, "5cu", {"memory_total_bytes": 4 << 30}),
        (1, "15cu", {"memory_total_bytes": 8 << 30}),
    ]


@pytest.mark.parametrize("foreign", ["", "hello", "| NVIDIA-SMI 550.54 |", "{}", "[1, 2]", "\0"])
def test_a_foreign_text_is_refused(foreign: str) -> None:
    with pytest.raises(BadInput):
        decode(foreign)


def test_damaged_texts_never_crash() -> None:
    survives(decode, [path.read_text(encoding="utf-8") for path in FIXTURES.glob("*.txt")])
