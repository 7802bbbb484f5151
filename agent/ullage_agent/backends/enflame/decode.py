"""``efsmi``: its table (1.2 to 1.7), ``efsmi -q``, whole or by subject, and ``efsmi -q --json-format``.

The table prints the memory there is, not what is used; virtual functions of one card share its serial number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ullage_agent.backend import Decoded, DecodedCard
from ullage_agent.backends.json_text import find_json, listing, looks_like_json, mapping, word
from ullage_agent.backends.printed import address, celsius, hertz, number, ratio, said, size, watts, whole
from ullage_agent.backends.smi_table import (
    Block,
    blocks,
    bus,
    cut_note,
    index_and_name,
    lines_of,
    per_cent,
    power,
    temperature,
)
from ullage_contract.errors import BadInput
from ullage_contract.sample import Value

_DRIVER = re.compile(r"Driver Ver(?:sion)?\s*:\s*([\w.-]+)")
_DEVICE = re.compile(r"^\s*DEV ID\s*:?\s*(\d{1,4})\s*$", re.IGNORECASE)
_PAIR = re.compile(r"^\s*([A-Za-z][\w /.()-]*?)\s*:\s*(.*?)\s*$")
_SIZE = re.compile(r"([\d.]+\s*[KMGT]i?B)", re.IGNORECASE)


def decode(text: str) -> Decoded:
    """The cards. Raises BadInput for a text that is not this tool's."""
    lines = lines_of(text)
    if any(_DEVICE.match(line) for line in lines):
        return _query(lines)
    found = blocks(lines, "DEV", "BUS-ID", "DUsed")
    if not found:
        if looks_like_json(text):
            return _json(text)
        raise BadInput("no table of efsmi and no block of efsmi -q in this text")
    driver = _DRIVER.search(text)
    return Decoded(
        maker="enflame",
        tool="efsmi",
        format="table",
        driver_version=driver[1] if driver else None,
        cards=[card for card in map(_card, found) if card is not None],
        notes=cut_note(found),
    )


def _card(block: Block) -> DecodedCard | None:
    index, name = index_and_name(block.find("name"))
    if index is None:
        return None
    climate = block.find("temp")
    draw, cap = power(climate)
    memory = block.find("mem") or ""
    total = _SIZE.search(memory)
    busy = (block.find("dused") or "").split()
    virtual = memory[total.end() :].strip() if total else None
    values: dict[str, Value | None] = {
        "utilization_ratio": per_cent(block.find("dused")),
        "memory_total_bytes": size(total[1]) if total else None,
        "power_watts": draw,
        "power_limit_watts": cap,
        "temperature_celsius": temperature(climate) or _bare(climate),
    }
    extra = {
        "firmware": said(block.find("fw ver")),
        "virtualization": said(virtual),
        "ecc": said(" ".join((block.find("bus-id") or "").split()[1:])),
    }
    return DecodedCard(
        index=index,
        model=said(name),
        serial=said(busy[-1]) if len(busy) > 1 and "%" not in busy[-1] else None,
        pci_address=address(_bus(block.find("bus-id"))),
        values={key: value for key, value in values.items() if value is not None},
        extra={key: value for key, value in extra.items() if value is not None},
    )


def _bare(climate: str | None) -> float | None:
    """``35  LP1 ...``: a degree sign that got lost on the way."""
    match = re.match(r"^\s*(\d{1,3})\s{2,}\S", climate or "")
    return celsius(match[1]) if match else None


def _bus(cell: str | None) -> str | None:
    """``00:2e:00.0`` is domain, bus, device and function: the domain has two digits only."""
    found = bus(cell)
    match = re.match(r"^([0-9a-fA-F]{2}):([0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7])$", found or "")
    return f"00{match[1]}:{match[2]}" if match else found


def _query(lines: list[str]) -> Decoded:
    found: list[tuple[int, dict[str, str]]] = []
    for line in lines:
        device = _DEVICE.match(line)
        if device:
            found.append((int(device[1]), {}))
            continue
        pair = _PAIR.match(line)
        if pair and found:
            found[-1][1].setdefault(pair[1].lower(), pair[2])
    return Decoded(
        maker="enflame",
        tool="efsmi -q",
        format="text",
        driver_version=next((said(pairs["ver"]) for _, pairs in found if "ver" in pairs), None),
        cards=[_device(index, pairs) for index, pairs in found],
    )


def _json(text: str) -> Decoded:
    """``{"devices": [{"id": 0, "Device Mem Info": {"Total Size": 42976, ...}, ...}]}``: the sections of -q."""
    document = find_json(text, "efsmi")
    devices = listing(mapping(document).get("devices")) or listing(document)
    cards = []
    driver = None
    for position, device in enumerate(map(mapping, devices)):
        pairs: dict[str, str] = {}
        for key, value in device.items():
            for name, inner in (mapping(value) or {key: value}).items():
                told = "" if word(inner) is None and not isinstance(inner, bool) else str(inner)
                if told:
                    pairs.setdefault(str(name).lower(), told)
        if not any(isinstance(value, dict) for value in device.values()):
            continue
        driver = driver or said(pairs.get("ver"))
        index = whole(pairs.get("id", pairs.get("dev id")))
        cards.append(_device(position if index is None else index, pairs))
    if not cards:
        raise BadInput("this JSON is not efsmi's: no list of devices with sections")
    return Decoded("enflame", "efsmi -q", "json", driver, cards)


def _device(index: int, pairs: Mapping[str, str]) -> DecodedCard:
    def first(*names: str) -> str | None:
        return next((pairs[name] for name in names if name in pairs), None)

    values: dict[str, Value | None] = {
        "utilization_ratio": ratio(first("gcu usage")),
        "memory_used_bytes": size(first("used size", "mem usage")),
        "memory_total_bytes": size(first("total size", "mem size")),
        "memory_reserved_bytes": size(first("reserved size")),
        "power_watts": watts(first("cur power")),
        "power_limit_watts": watts(first("power capa")),
        "temperature_celsius": celsius(first("gcu temp")),
        "memory_temperature_celsius": celsius(first("mem temp", "hbm temp")),
        "board_temperature_celsius": celsius(first("board temp")),
        "clock_core_hertz": hertz(first("gcu clk", "dtu clk")),
        "clock_memory_hertz": hertz(first("mem clk", "hbm clk")),
        "voltage_volts": number(first("vdd gcu", "vdd dtu")),
        "pcie_generation": whole(first("cur link speed")),
        "pcie_generation_max": whole(first("max link speed")),
        "pcie_width": whole(first("cur link width")),
        "pcie_width_max": whole(first("max link width")),
        "pcie_tx_bytes_per_second": size(first("tx throughput")),
        "pcie_rx_bytes_per_second": size(first("rx throughput")),
        "health_detail": said(first("health")),
    }
    place = None
    if {"bus", "dev", "func"} <= pairs.keys():
        place = f"{pairs.get('domain', '0')}:{pairs['bus'].zfill(2)}:{pairs['dev'].zfill(2)}.{pairs['func']}"
    extra: dict[str, Any] = {"part_number": said(first("dev pn")), "ecc": said(first("mem ecc", "current"))}
    return DecodedCard(
        index=index,
        model=said(first("dev name")),
        uuid=said(first("dev uuid")),
        serial=said(first("dev sn")),
        pci_address=address(place),
        values={key: value for key, value in values.items() if value is not None},
        extra={key: value for key, value in extra.items() if value is not None},
    )
