"""``xpu-smi discovery``: what a device is, as ``Key: value`` pairs, CSV columns or JSON names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from ullage_agent.backend import Decoded, DecodedCard
from ullage_agent.backends.printed import address, csv_rows, hertz, number, said, size, whole
from ullage_contract.errors import BadInput
from ullage_contract.sample import Value

_PLAIN: Final = re.compile(r"[^a-z0-9]+")
_FIRMWARE_NAMES: Final = ("gfx_firmware_version", "gsc_firmware_version", "firmware_version")
_COUNTED: Final = {
    "number_of_eus": "eu_count",
    "number_of_tiles": "tiles",
    "number_of_media_engines": "media_engines",
    "number_of_media_enh_engines": "media_enhancement_engines",
    "number_of_media_enhancement_engines": "media_enhancement_engines",
    "number_of_memory_channels": "memory_channels",
    "memory_bus_width": "memory_bus_width_bits",
    "number_of_xe_link_ports": "xe_link_ports",
    "oam_socket_id": "oam_socket_id",
}
_WORDS: Final = {
    "stepping": "stepping",
    "device_stepping": "stepping",
    "kernel_version": "kernel_version",
    "gfx_data_firmware_version": "gfx_data_firmware",
    "gfx_firmware_status": "gfx_firmware_status",
    "pci_slot": "pci_slot",
    "pci_device_id": "pci_device_id",
    "ecc_state": "ecc_state",
    "memory_ecc_state": "ecc_state",
    "function_type": "function_type",
    "device_function_type": "function_type",
    "drm_device": "drm_device",
    "sku_type": "sku_type",
}


def plain(name: str) -> str:
    """A printed name as snake case: ``PCIe Max Link Width`` as ``pcie_max_link_width``."""
    return _PLAIN.sub("_", name.lower()).strip("_")


def discovery_entry(index: int | None, pairs: Sequence[tuple[str, str]]) -> tuple[DecodedCard, str | None]:
    """One device and its driver version, from names as any form prints them."""
    fields: dict[str, str] = {}
    for key, value in pairs:
        fields.setdefault(plain(key), value)
    values: dict[str, Value | None] = {
        "clock_core_max_hertz": hertz(fields.get("core_clock_rate") or fields.get("core_clock_rate_mhz")),
        "memory_total_bytes": _memory(fields),
        "pcie_generation_max": _positive(fields.get("pcie_generation")),
        "pcie_width_max": _positive(fields.get("pcie_max_link_width")),
        "links_total": _positive(fields.get("number_of_xe_link_ports") or fields.get("number_of_fabric_ports")),
    }  # fmt: skip
    extra: dict[str, Any] = {
        ours: whole(fields.get(theirs)) for theirs, ours in _COUNTED.items() if theirs in fields
    }
    extra |= {ours: said(fields.get(theirs)) for theirs, ours in _WORDS.items() if theirs in fields}
    extra["firmware"] = next((found for name in _FIRMWARE_NAMES if (found := said(fields.get(name)))), None)
    card = DecodedCard(
        index=index if index is not None else whole(fields.get("device_id")),
        model=said(fields.get("device_name")),
        uuid=said(fields.get("uuid")),
        serial=said(fields.get("serial_number")),
        pci_address=address(fields.get("pci_bdf_address")),
        values={key: value for key, value in values.items() if value is not None},
        extra={key: value for key, value in extra.items() if value is not None},
    )
    return card, said(fields.get("driver_version"))


def discovery_csv(lines: Sequence[str]) -> Decoded:
    """``xpu-smi discovery --dump 1,2,6,16``. Raises BadInput without a head."""
    head: list[str] = []
    cards: list[DecodedCard] = []
    driver: str | None = None
    notes: list[str] = []
    for row in csv_rows(lines, skipinitialspace=True):
        names = [plain(cell) for cell in row]
        if not head:
            if {"device_id", "device_name", "uuid", "pci_bdf_address"} & set(names):
                head = row
            continue
        if not any(cell.strip() for cell in row):
            continue
        if len(row) < len(head):
            notes.append("truncated: a row has fewer columns than the head")
        card, version = discovery_entry(None, list(zip(head, row, strict=False)))
        cards.append(card)
        driver = driver or version
    if not head:
        raise BadInput("no head of xpu-smi discovery --dump in this text")
    return Decoded("intel", "xpu-smi discovery --dump", "csv", driver, cards, notes=notes)


def _memory(fields: dict[str, str]) -> int | None:
    bytes_ = number(fields.get("memory_physical_size_byte"))
    if bytes_ is not None:
        return int(bytes_) or None
    return size(fields.get("memory_physical_size")) or None


def _positive(text: str | None) -> int | None:
    """A link's number; -1 is how the tools print one they could not read."""
    found = whole(text)
    return found if found is not None and found > 0 else None
