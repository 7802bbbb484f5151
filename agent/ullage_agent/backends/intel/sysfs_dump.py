"""Printed sysfs files of an Intel GPU: ``grep . PATHS``'s ``path:line`` and ``head``'s ``==> path <==``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from ullage_agent.backend import Decoded, DecodedCard
from ullage_agent.backends.printed import address, number, said, whole
from ullage_contract.sample import Value

_LINE: Final = re.compile(r"^\s*(?:\./)?((?:/?[\w.:!+-]+/)*[\w.+-]+?)\s*[:=]\s?(.*)$")
_HEAD: Final = re.compile(r"^==>\s*(\S+)\s*<==$")
_CARD: Final = re.compile(r"\bcard(\d+)\b")
_PCI: Final = re.compile(r"\b([0-9a-fA-F]{4}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7])\b")
_SPEED: Final = re.compile(r"(\d+(?:\.\d+)?)\s*GT/s")
_GENERATION: Final = {2.5: 1, 5.0: 2, 8.0: 3, 16.0: 4, 32.0: 5, 64.0: 6}
_OWN: Final = re.compile(
    r"^(act_freq|rp0_freq|idle_residency_ms|(gt_)?(rps_)?(act|RP0)_freq_mhz|rc6_residency_ms|lmem_total_bytes"
    r"|physical_vram_size_bytes|throttle_reason_\w+|reason_\w+)$"
)
"""Files that only these drivers have: without one of them a text is no such dump."""


def from_dump(lines: Sequence[str]) -> Decoded | None:
    """The cards of a dump; None for a text that is none."""
    cards: dict[str, dict[str, list[str]]] = {}
    for path, value in _pairs(lines):
        card = _CARD.search(path)
        place = card[1] if card else next(iter(_PCI.findall(path)[-1:]), "0")
        files = cards.setdefault(place, {})
        name = path.rsplit("/", 1)[-1]
        files.setdefault(f"hwmon/{name}" if "hwmon" in path else name, []).append(value.strip())
    found = {place: files for place, files in cards.items() if any(_OWN.match(name) for name in files)}
    if not found:
        return None
    decoded = [_card(index, place, files) for index, (place, files) in enumerate(found.items())]
    return Decoded("intel", "sysfs", "sysfs", cards=decoded)


def _pairs(lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    path: str | None = None
    for line in lines:
        if head := _HEAD.match(line.strip()):
            path = head[1]
        elif path is not None and line.strip():
            yield path, line
        elif path is None and (match := _LINE.match(line)):
            yield match[1], match[2]


def _card(index: int, place: str, files: Mapping[str, Sequence[str]]) -> DecodedCard:
    def mean(*names: str) -> float | None:
        found = [v for name in names for text in files.get(name, ()) if (v := number(text)) is not None]
        return sum(found) / len(found) if found else None

    def first(name: str, factor: float = 1.0) -> float | None:
        found = number(next(iter(files.get(name, ())), None))
        return None if found is None else found * factor

    clock = mean("act_freq", "rps_act_freq_mhz", "gt_act_freq_mhz")
    highest = mean("rp0_freq", "rps_RP0_freq_mhz", "gt_RP0_freq_mhz")
    sizes = [v for name in ("lmem_total_bytes", "physical_vram_size_bytes") for v in files.get(name, ())]
    energy = first("hwmon/energy1_input", 1e-6)
    speed = _SPEED.search(next(iter(files.get("current_link_speed", ())), ""))
    values: dict[str, Value | None] = {
        "clock_core_hertz": None if clock is None else clock * 1e6,
        "clock_core_max_hertz": None if highest is None else highest * 1e6,
        "memory_total_bytes": sum(v for text in sizes if (v := whole(text)) is not None) or None,
        "energy_joules": energy if energy is not None else first("hwmon/energy2_input", 1e-6),
        "power_limit_watts": first("hwmon/power1_max", 1e-6) or first("hwmon/power2_max", 1e-6) or None,
        "temperature_celsius": _heat(files, "pkg", "temp1_input", "temp2_input"),
        "memory_temperature_celsius": _heat(files, "vram", "temp3_input"),
        "voltage_volts": first("hwmon/in1_input", 1e-3) or first("hwmon/in0_input", 1e-3),
        "fan_rpm": first("hwmon/fan1_input"),
        "pcie_generation": _GENERATION.get(float(speed[1])) if speed else None,
        "pcie_width": whole(next(iter(files.get("current_link_width", ())), None)) or None,
    }
    return DecodedCard(
        index=int(place) if place.isdecimal() else index,
        pci_address=address(place) if ":" in place else None,
        values={key: value for key, value in values.items() if value is not None},
        extra={"driver": word} if (word := said(next(iter(files.get("hwmon/name", ())), None))) else {},
    )


def _heat(files: Mapping[str, Sequence[str]], label: str, *names: str) -> float | None:
    """The sensor with the label, else the first of the names that has no label of another."""
    for name, texts in files.items():
        if name.endswith("_label") and texts and texts[0].lower() == label:
            names = (name.removeprefix("hwmon/").replace("_label", "_input"),)
            break
    for name in names:
        labels = files.get("hwmon/" + name.replace("_input", "_label"), [label])
        found = number(next(iter(files.get(f"hwmon/{name}", ())), None))
        if found is not None and labels[0].lower() == label:
            return found / 1000
    return None
