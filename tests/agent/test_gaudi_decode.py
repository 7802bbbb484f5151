"""hl-smi in our own fixtures: what is printed is found, what is not is absent."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.agent.mutations import survives

from ullage_agent.backends.gaudi.decode import decode
from ullage_contract.errors import BadInput

FIXTURES = Path(__file__).parent.parent / "fixtures/gaudi"
MIB = 1 << 20


def text(name: str) -> str:
    return (FIXTURES / name).read_text(encoding="utf-8")


def test_the_table() -> None:
    found = decode(text("table_gaudi2.txt"))
    assert (found.tool, found.driver_version) == ("hl-smi", "1.17.0-0123abc")
    busy, silent = found.cards
    assert (busy.model, busy.pci_address) == ("HL-225B", "0000:0a:00.0")
    assert busy.values == {
        "utilization_ratio": 0.76,
        "memory_used_bytes": 96114 * MIB,
        "memory_total_bytes": 98304 * MIB,
        "power_watts": 477.0,
        "power_limit_watts": 600.0,
        "temperature_celsius": 61.0,
        "ecc_uncorrected": 2,
    }
    (process,) = busy.processes or ()
    assert (process["pid"], process["memory_used_bytes"]) == (4711, 95346 * MIB)
    assert silent.values == {"power_limit_watts": 600.0}
    assert silent.processes == (), "listed, and nobody is on it"


def test_csv_with_a_head() -> None:
    first, second = decode(text("query.csv.txt")).cards
    assert first.uuid == "01P0-HL2080A0-15-TEST01-05-02-09"
    assert first.values == {
        "utilization_ratio": 0.6,
        "memory_used_bytes": 50000 * MIB,
        "memory_total_bytes": 98304 * MIB,
        "power_watts": 401.0,
        "temperature_celsius": 55.0,
    }
    assert set(second.values) == {"utilization_ratio", "memory_used_bytes", "memory_total_bytes"}


def test_csv_without_a_head_is_known_by_what_stands_in_it() -> None:
    found = decode(text("noheader.csv.txt"))
    (card,) = found.cards
    assert found.notes
    assert (card.index, card.model, card.uuid) == (0, "HL-325L", "01P4-HL3090A0-18-TEST11-22-07-00")
    assert card.values == {
        "utilization_ratio": 0.74,
        "memory_used_bytes": 90672 * MIB,
        "memory_total_bytes": 131072 * MIB,
        "power_watts": 726.0,
        "power_limit_watts": 900.0,
        "temperature_celsius": 66.0,
    }


def test_a_query_as_text() -> None:
    (card,) = decode(text("query.txt")).cards
    assert (card.serial, card.pci_address, card.extra["module_id"]) == ("AM00000001", "0000:0a:00.0", 3)
    assert card.values == {
        "utilization_ratio": 0.03,
        "memory_used_bytes": 768 * MIB,
        "memory_total_bytes": 98304 * MIB,
        "power_watts": 104.0,
        "temperature_celsius": 41.0,
    }


@pytest.mark.parametrize("foreign", ["", "hello", "| NVIDIA-SMI 550.54 |", "{}", "a, b\n1, 2\n", "\0"])
def test_a_foreign_text_is_refused(foreign: str) -> None:
    with pytest.raises(BadInput):
        decode(foreign)


def test_damaged_texts_never_crash() -> None:
    survives(decode, [path.read_text(encoding="utf-8") for path in FIXTURES.glob("*.txt")])
