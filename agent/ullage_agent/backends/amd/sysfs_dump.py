"""Printed ``/sys/class/drm/cardN/device`` files: ``file: line``, ``grep -r . .``'s ``path:line``, ``==> path <==``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ullage_agent.backend import Decoded, DecodedCard
from ullage_agent.backends.printed import address, said
from ullage_agent.backends.rocm_words import clock, generation
from ullage_contract.sample import Value

FILES: Final = frozenset(
    {
        "gpu_busy_percent",
        "mem_info_vram_total",
        "mem_info_vram_used",
        "pp_dpm_sclk",
        "pcie_replay_count",
        "mem_busy_percent",
        "uevent",
    }
)
"""A text with lines of at least two of these files is such a dump."""

_LINE: Final = re.compile(r"^(?:\./)?((?:[\w.:+-]*/)*[\w.:+-]+?):\s?(.*)$")
_HEAD: Final = re.compile(r"^==>\s*(\S+)\s*<==$")
_CARD: Final = re.compile(r"\bcard(\d+)\b")
_TOTAL: Final = re.compile(r"^TOTAL_ERR_\w+\s+(\d+)$")
_SPEED: Final = re.compile(r"(\d+(?:\.\d+)?)\s*GT/s")
_ERRORS: Final = re.compile(r"^(ue|ce|de)\s*:\s*(\d+)$")


def from_dump(lines: Sequence[str]) -> Decoded | None:
    """The cards of a dump; None for a text that is none."""
    cards: dict[int, dict[str, list[str]]] = {}
    path = None
    for line in lines:
        if head := _HEAD.match(line.strip()):
            path = head[1]
            continue
        if path is None:
            match = _LINE.match(line)
            if match is None:
                continue
            where, value = match[1], match[2]
        else:
            where, value = path, line
            if not line.strip():
                path = None
                continue
        number = _CARD.search(where)
        files = cards.setdefault(int(number[1]) if number else 0, {})
        name = where.rsplit("/", 1)[-1]
        if "/ras/" in where or where.startswith("ras/"):
            name = f"ras/{name}"
        elif "hwmon" in where:
            name = f"hwmon/{name}"
        files.setdefault(name, []).append(value.strip())
    found = {index: files for index, files in cards.items() if len(FILES & files.keys()) >= 2}
    if not found:
        return None
    return Decoded(
        maker="amd",
        tool="sysfs /sys/class/drm",
        format="sysfs",
        cards=[_card(index, files) for index, files in found.items()],
    )


def _card(index: int, files: Mapping[str, list[str]]) -> DecodedCard:
    def text(name: str) -> str | None:
        return said(files[name][0]) if name in files else None

    def whole(name: str, base: int = 10) -> int | None:
        try:
            return int(files[name][0], base) if name in files else None
        except ValueError:
            return None

    def scaled(name: str, factor: float) -> float | None:
        found = whole(name)
        return None if found is None or found < 0 else found * factor

    speed, width = text("current_link_speed"), whole("current_link_width")
    greatest = _SPEED.search(text("max_link_speed") or "")
    now = _SPEED.search(speed or "")
    values: dict[str, Value | None] = {
        "utilization_ratio": scaled("gpu_busy_percent", 0.01),
        "memory_bandwidth_ratio": scaled("mem_busy_percent", 0.01),
        "memory_used_bytes": whole("mem_info_vram_used"),
        "memory_total_bytes": whole("mem_info_vram_total"),
        "memory_host_used_bytes": whole("mem_info_gtt_used"),
        "clock_core_hertz": _current(files.get("pp_dpm_sclk")),
        "clock_core_max_hertz": _last(files.get("pp_dpm_sclk")),
        "clock_memory_hertz": _current(files.get("pp_dpm_mclk")),
        "pcie_generation": generation(float(now[1])) if now else None,
        "pcie_generation_max": generation(float(greatest[1])) if greatest else None,
        "pcie_width": width,
        "pcie_width_max": whole("max_link_width"),
        "pcie_replays": whole("pcie_replay_count"),
        "pcie_aer_correctable": _total(files.get("aer_dev_correctable")),
        "pcie_aer_nonfatal": _total(files.get("aer_dev_nonfatal")),
        "pcie_aer_fatal": _total(files.get("aer_dev_fatal")),
        "power_watts": scaled("hwmon/power1_average", 1e-6),
        "power_instant_watts": scaled("hwmon/power1_input", 1e-6),
        "power_limit_watts": scaled("hwmon/power1_cap", 1e-6),
        "fan_rpm": scaled("hwmon/fan1_input", 1.0),
        "voltage_volts": scaled("hwmon/in0_input", 1e-3),
    }
    for number in range(1, 6):
        label = (text(f"hwmon/temp{number}_label") or ("edge" if number == 1 else "")).lower()
        key = {
            "edge": "temperature_celsius",
            "junction": "hotspot_temperature_celsius",
            "mem": "memory_temperature_celsius",
        }.get(label)
        if key and (degrees := scaled(f"hwmon/temp{number}_input", 1e-3)) is not None:
            values[key] = degrees
    blocks = _ras(files)
    if blocks:
        values["ecc_corrected"] = sum(block.get("ce", 0) for block in blocks.values())
        values["ecc_uncorrected"] = sum(block.get("ue", 0) for block in blocks.values())
    slot = next(
        (line.partition("=")[2] for line in files.get("uevent", ()) if line.startswith("PCI_SLOT_NAME=")),
        None,
    )
    partition = text("current_compute_partition")
    extra: dict[str, Any] = {
        "device_id": text("device"),
        "vbios_version": text("vbios_version"),
        "link": f"{speed} x{width}" if speed and width else None,
        "memory_partition": text("current_memory_partition"),
        "ras_blocks": blocks or None,
        "runtime_status": text("runtime_status"),
    }
    return DecodedCard(
        index=index,
        model=text("product_name"),
        uuid=text("unique_id"),
        serial=text("serial_number"),
        pci_address=address(slot),
        partition_mode=partition.lower() if partition else None,
        values={key: value for key, value in values.items() if value is not None},
        extra={key: value for key, value in extra.items() if value is not None},
    )


def _current(levels: Sequence[str] | None) -> float | None:
    """The level with the star of ``0: 852Mhz *``."""
    return next((clock(level) for level in levels or () if level.rstrip().endswith("*")), None)


def _last(levels: Sequence[str] | None) -> float | None:
    found = [value for level in levels or () if (value := clock(level)) is not None]
    return max(found) if found else None


def _total(lines: Sequence[str] | None) -> int | None:
    return next((int(match[1]) for line in lines or () if (match := _TOTAL.match(line))), None)


def _ras(files: Mapping[str, list[str]]) -> dict[str, dict[str, int]]:
    blocks: dict[str, dict[str, int]] = {}
    for name, lines in files.items():
        if not name.endswith("_err_count"):
            continue
        counts = {match[1]: int(match[2]) for line in lines if (match := _ERRORS.match(line))}
        if counts:
            blocks[name.removeprefix("ras/").removesuffix("_err_count")] = counts
    return blocks
