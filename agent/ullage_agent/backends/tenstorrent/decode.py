"""``tt-smi -s``: a JSON snapshot whose numbers are text with blanks, and whose registers are hexadecimal.

There is no utilisation: power against the limit or the clock says whether a chip works.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ullage_agent.backend import Decoded, DecodedCard
from ullage_agent.backends.json_text import TORN, find_torn_json, listing, mapping, word
from ullage_agent.backends.printed import address, celsius, hertz, number, ratio, said, watts, whole
from ullage_contract.errors import BadInput
from ullage_contract.sample import Value

_ALL_ONES = 0xFFFFFFFF


def decode(text: str) -> Decoded:
    """The chips. Raises BadInput for a text that is not this tool's."""
    found, torn = find_torn_json(text, "tt-smi")
    document = mapping(found)
    if "device_info" not in document:
        raise BadInput("this JSON is not tt-smi's: it has no device_info")
    host = mapping(document.get("host_info"))
    cards = [_card(i, mapping(entry)) for i, entry in enumerate(listing(document["device_info"]))]
    notes = [TORN] if torn else []
    places = [card.pci_address for card in cards if card.pci_address]
    if len(set(places)) < len(places):
        notes.append("several chips stand behind one PCI address: a board is not counted by its entries")
    if any(_dead(mapping(entry)) for entry in listing(document["device_info"])):
        notes.append("a chip's registers are all ones: its PCIe link is dead")
    return Decoded(
        maker="tenstorrent",
        tool="tt-smi -s",
        format="json",
        driver_version=said(word(host.get("Driver"))),
        cards=cards,
        notes=notes,
    )


def _dead(entry: Mapping[str, Any]) -> bool:
    registers = [whole(word(value)) for value in mapping(entry.get("smbus_telem")).values()]
    known = [value for value in registers if value is not None]
    return bool(known) and all(value == _ALL_ONES for value in known)


def _card(index: int, entry: Mapping[str, Any]) -> DecodedCard:
    board, telemetry = mapping(entry.get("board_info")), mapping(entry.get("telemetry"))
    limits, firmware = mapping(entry.get("limits")), mapping(entry.get("firmwares"))
    registers = mapping(entry.get("smbus_telem"))
    values: dict[str, Value | None] = {
        "power_watts": watts(word(telemetry.get("power"))),
        "voltage_volts": number(word(telemetry.get("voltage"))),
        "current_amperes": number(word(telemetry.get("current"))),
        "temperature_celsius": celsius(word(telemetry.get("asic_temperature"))),
        "clock_core_hertz": hertz(word(telemetry.get("aiclk"))),
        "clock_core_max_hertz": _limit(limits.get("asic_fmax"), 1e6),
        "power_limit_watts": _limit(limits.get("tdp_limit"), 1),
        "temperature_limit_celsius": _limit(limits.get("therm_trip_l1_limit"), 1),
        "heartbeat": _register(telemetry.get("heartbeat") or registers.get("TIMER_HEARTBEAT")),
        "pcie_width": whole(word(board.get("pcie_width"))),
        "pcie_generation": _generation(board.get("pcie_speed")),
        "fan_ratio": ratio(word(telemetry.get("fan_speed"))),
        "fan_rpm": number(word(telemetry.get("fan_rpm"))) or _register(registers.get("FAN_RPM")),
        "health": _health(board, registers),
    }
    extra = {
        "dram_status": board.get("dram_status"),
        "dram_speed": said(word(board.get("dram_speed"))),
        "pcie_speed": board.get("pcie_speed"),
        "thermal_shutdown_c": _limit(limits.get("thm_limit"), 1),
        "firmware": said(word(firmware.get("fw_bundle_version"))),
        "coords": said(word(board.get("coords"))),
    }
    return DecodedCard(
        index=index,
        model=said(word(board.get("board_type"))),
        pci_address=address(word(board.get("bus_id"))),
        board_id=said(word(board.get("board_id"))),
        values={key: value for key, value in values.items() if value is not None},
        extra={key: value for key, value in extra.items() if value is not None},
    )


def _health(board: Mapping[str, Any], registers: Mapping[str, Any]) -> str | None:
    """Our word where the snapshot shows trouble; it has no word of its own for a chip that is well."""
    faults = [whole(word(registers.get(name))) for name in ("FAULTS", "ASIC_FAULTS")]
    if board.get("dram_status") is False or any(count and count != _ALL_ONES for count in faults):
        return "critical"
    trips = whole(word(registers.get("THERM_TRIP_COUNT")))
    return "degraded" if trips and trips != _ALL_ONES else None


def _generation(speed: Any) -> int | None:
    """board_info.pcie_speed is the link's generation."""
    found = whole(word(speed))
    return found if found is not None and 1 <= found <= 7 else None


def _limit(value: Any, factor: float) -> float | None:
    """A limit in the catalogue's unit; 0 and absent mean there is none."""
    found = number(word(value))
    return None if not found else found * factor


def _register(value: Any) -> int | None:
    """A hexadecimal register; all ones is what a dead PCIe link answers."""
    found = whole(word(value))
    return None if found is None or found in (_ALL_ONES, -1) else found
