"""What rocm-smi and the tools descended from it (Hygon's hy-smi) call their values, as catalogue values.

The words changed between releases (``GPU memory use (%)`` -> ``GPU Memory Read/Write Activity (%)``, ``Card
series`` -> ``Card Series``, GPU -> DCU -> HCU), so they are compared in lower case and with GPU, DCU and HCU
taken for one. Not here: in which form (JSON, text, CSV, table) they came.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from ullage_agent.backends.printed import GIB, KIB, MIB, address, celsius, number, ratio, said, watts, whole
from ullage_contract.sample import Value

_CHIP: Final = re.compile(r"\b(?:gpu|dcu|hcu)\b")
_LINK: Final = re.compile(r"(\d+(?:\.\d+)?)\s*GT/s,?\s*(?:PCIe\s*)?x\s*(\d+)", re.IGNORECASE)
_MEMORY: Final = re.compile(r"^(vis_vram|vram|gtt) total (used )?memory \((b|kib|mib|gib)\)$")
_UNITS: Final = {"b": 1, "kib": KIB, "mib": MIB, "gib": GIB}
_CLOCK: Final = re.compile(r"(\d+(?:\.\d+)?)\s*MHz", re.IGNORECASE)

GENERATION_OF_SPEED: Final[Mapping[float, int]] = {2.5: 1, 5.0: 2, 8.0: 3, 16.0: 4, 32.0: 5, 64.0: 6}
"""PCIe generation by GT/s a lane (PCI Express base specification)."""


def plain(key: str) -> str:
    """A key as it is looked up: lower case, single blanks, no colon at its end, gpu for dcu and hcu."""
    return _CHIP.sub("gpu", " ".join(key.lower().split()).rstrip(": "))


def generation(speed: float | None) -> int | None:
    """The PCIe generation of a speed in GT/s, or None for a speed that is none."""
    return None if speed is None else GENERATION_OF_SPEED.get(float(speed))


def clock(text: str | None) -> float | None:
    """``(300Mhz)``, ``3: (1269Mhz)`` or ``1350Mhz`` as hertz."""
    match = _CLOCK.search(text or "")
    return float(match[1]) * 1e6 if match else None


def link(text: str | None) -> tuple[float, int] | None:
    """(GT/s, lanes) of ``1 (16.0GT/s x16)``."""
    match = _LINK.search(text or "")
    return (float(match[1]), int(match[2])) if match else None


def values_of(pairs: Mapping[str, str], *, memory_use_is: str) -> dict[str, Value]:
    """Catalogue values of one card's pairs, whose keys went through ``plain``.

    memory_use_is: what ``GPU memory use (%)`` means for this maker: memory_bandwidth_ratio (AMD: the share of
    time the memory was read or written) or memory_ratio (Hygon: how full it is).
    """

    def first(*names: str) -> str | None:
        return next((pairs[name] for name in names if said(pairs.get(name)) is not None), None)

    speed_and_width = link(first("pcie clock level", "pcie clock speed"))
    found: dict[str, Value | None] = {
        "utilization_ratio": ratio(first("gpu use (%)", "gpu util (%)", "average_gfx_activity (%)")),
        memory_use_is: ratio(first("gpu memory use (%)")),
        "temperature_celsius": celsius(first("temperature (sensor edge) (c)", "temperature_edge (c)")),
        "hotspot_temperature_celsius": celsius(
            first("temperature (sensor junction) (c)", "temperature_hotspot (c)")
        ),
        "memory_temperature_celsius": celsius(
            first("temperature (sensor memory) (c)", "temperature (sensor mem) (c)", "temperature_mem (c)")
        ),
        "power_watts": watts(
            first(
                "average graphics package power (w)",
                "current socket graphics package power (w)",
                "average_socket_power (w)",
                "current_socket_power (w)",
            )
        ),
        "memory_power_watts": watts(first("average memory power (w)")),
        "power_limit_watts": watts(first("max graphics package power (w)")),
        "fan_ratio": ratio(first("fan speed (%)")),
        "fan_rpm": number(first("fan rpm", "current_fan_speed (rpm)")),
        "clock_core_hertz": clock(first("sclk clock speed", "sclk clock level")),
        "clock_memory_hertz": clock(first("mclk clock speed", "mclk clock level")),
        "pcie_replays": whole(first("pcie replay count")),
        "pcie_generation": generation(speed_and_width[0]) if speed_and_width else None,
        "pcie_width": speed_and_width[1] if speed_and_width else None,
    }
    if (allocated := ratio(first("gpu memory allocated (vram%)"))) is not None:
        found["memory_ratio"] = allocated
    if (busy := ratio(first("gpu memory read/write activity (%)"))) is not None:
        found["memory_bandwidth_ratio"] = busy
    if (millivolts := number(first("voltage (mv)"))) is not None:
        found["voltage_volts"] = millivolts / 1000
    for key, value in pairs.items():
        match = _MEMORY.match(key)
        amount = number(value) if match else None
        if match is None or amount is None or amount < 0:
            continue
        size = int(amount * _UNITS[match[3]])
        if match[1] == "vram":
            found["memory_used_bytes" if match[2] else "memory_total_bytes"] = size
        elif match[1] == "gtt" and match[2]:
            found["memory_host_used_bytes"] = size
    return {key: value for key, value in found.items() if value is not None}


def identity_of(pairs: Mapping[str, str]) -> dict[str, Any]:
    """model, uuid, serial and pci_address of one card's pairs; ``0`` is no serial number."""

    def first(*names: str) -> str | None:
        return next((text for name in names if (text := said(pairs.get(name))) is not None), None)

    serial = first("serial number")
    return {
        "model": first("card series", "device name", "product name"),
        "uuid": first("unique id"),
        "serial": serial if serial and set(serial) - {"0"} else None,
        "pci_address": address(first("pci bus")),
    }
