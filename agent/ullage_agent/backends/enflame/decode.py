"""``efsmi``: its table (1.2 to 1.6) and ``efsmi -q``, whole or by subject.

The table prints the memory there is, not what is used; virtual functions of one card share its serial number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ullage_agent.backend import Decoded, DecodedCard
from ullage_agent.backends.printed import address, celsius, hertz, ratio, said, size, watts, whole
from ullage_agent.backends.smi_table import (
    Block,
    blocks,
    bus,
    index_and_name,
    lines_of,
    per_cent,
    power,
    temperature,
)
from ullage_contract.errors import BadInput
from ullage_contract.sample import Value

_DRIVER = re.compile(r"Driver Ver(?:sion)?\s*:\s*(\S+)")
_DEVICE = re.compile(r"^\s*DEV ID\s*:?\s*(\d+)\s*$", re.IGNORECASE)
_PAIR = re.compile(r"^\s*([A-Za-z][\w /.()-]*?)\s*:\s*(.*?)\s*$")
_SIZE = re.compile(r"([\d.]+\s*[KMGT]i?B)", re.IGNORECASE)


def decode(text: str) -> Decoded:
    """The cards. Raises BadInput for a text that is not this tool's."""
    lines = lines_of(text)
    if any(_DEVICE.match(line) for line in lines):
        return _query(lines)
    found = blocks(lines, "DEV", "BUS-ID", "DUsed")
    if not found:
        raise BadInput("no table of efsmi and no block of efsmi -q in this text")
    driver = _DRIVER.search(text)
    return Decoded(
        maker="enflame",
        tool="efsmi",
        format="table",
        driver_version=driver[1] if driver else None,
        cards=[card for card in map(_card, found) if card is not None],
    )


def _card(block: Block) -> DecodedCard | None:
    index, name = index_and_name(block.find("name"))
    if index is None:
        return None
    climate = block.find("temp")
    draw, cap = power(climate)
    total = _SIZE.search(block.find("mem") or "")
    busy = (block.find("dused") or "").split()
    values: dict[str, Value | None] = {
        "utilization_ratio": per_cent(block.find("dused")),
        "memory_total_bytes": size(total[1]) if total else None,
        "power_watts": draw,
        "power_limit_watts": cap,
        "temperature_celsius": temperature(climate),
    }
    return DecodedCard(
        index=index,
        model=name or None,
        serial=said(busy[-1]) if len(busy) > 1 else None,
        pci_address=address(_bus(block.find("bus-id"))),
        values={key: value for key, value in values.items() if value is not None},
        extra={"firmware": said(block.find("fw ver"))},
    )


def _bus(cell: str | None) -> str | None:
    """``00:2e:00.0`` is domain, bus, device and function: the domain has two digits only."""
    found = bus(cell)
    match = re.match(r"^([0-9a-fA-F]{2}):([0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7])$", found or "")
    return f"00{match[1]}:{match[2]}" if match else found


def _query(lines: list[str]) -> Decoded:
    blocks_found: list[tuple[int, dict[str, str]]] = []
    for line in lines:
        device = _DEVICE.match(line)
        if device:
            blocks_found.append((int(device[1]), {}))
            continue
        pair = _PAIR.match(line)
        if pair and blocks_found:
            blocks_found[-1][1].setdefault(pair[1].lower(), pair[2])
    return Decoded(
        maker="enflame",
        tool="efsmi -q",
        format="text",
        driver_version=next((said(pairs["ver"]) for _, pairs in blocks_found if "ver" in pairs), None),
        cards=[_device(index, pairs) for index, pairs in blocks_found],
    )


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
        "clock_core_hertz": hertz(first("gcu clk", "dtu clk")),
        "clock_memory_hertz": hertz(first("mem clk")),
        "pcie_generation": whole(first("cur link speed")),
        "pcie_generation_max": whole(first("max link speed")),
        "pcie_width": whole(first("cur link width")),
        "pcie_width_max": whole(first("max link width")),
        "health_detail": said(first("health")),
    }
    place = None
    if {"bus", "dev", "func"} <= pairs.keys():
        place = f"{pairs.get('domain', '0')}:{pairs['bus'].zfill(2)}:{pairs['dev'].zfill(2)}.{pairs['func']}"
    return DecodedCard(
        index=index,
        model=said(first("dev name")),
        uuid=said(first("dev uuid")),
        serial=said(first("dev sn")),
        pci_address=address(place),
        values={key: value for key, value in values.items() if value is not None},
    )
