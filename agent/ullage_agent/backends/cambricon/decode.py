"""``cnmon`` (its table of 4.x and 5.x) and ``cnmon info`` (an indented tree of ``Key : value`` a card).

The 4.x table has no bus id and a second, *virtual* memory column: only the column named exactly
"Memory-Usage" is the card's memory. An ECC of N/A is not 0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ullage_agent.backend import Decoded, DecodedCard
from ullage_agent.backends.cambricon.tree import Node, cards_of
from ullage_agent.backends.printed import (
    MIB,
    address,
    celsius,
    hertz,
    number,
    ratio,
    said,
    size,
    watts,
    whole,
)
from ullage_agent.backends.smi_table import (
    Block,
    blocks,
    bus,
    lines_of,
    memory,
    per_cent,
    power,
    temperature,
)
from ullage_contract.errors import BadInput
from ullage_contract.sample import Value

_DRIVER: Final = re.compile(r"\bDriver\s+v?([\w.-]*\d[\w.-]*)")
_TOOL: Final = re.compile(r"CNMON\s+v?([\w.-]+)", re.IGNORECASE)
_PROCESS: Final = re.compile(r"^[\s|]*+(\d++)\s++(?:(/|N/A|\d++)\s++(?=\d))?(\d++)\s++(.*)$")
_HELD: Final = re.compile(r"(?<!\d)(\d++)\s*+([KMG]i?B)\s*+(?:\|\s*+)?$")
_NO_PROCESS: Final = re.compile(r"no running process", re.IGNORECASE)
_FIRMWARE: Final = re.compile(r"^v?\d+(?:\.\d+)+\S*$")
_HEALTH: Final = {"good": "ok", "in problem": "critical", "problem": "critical", "bad": "critical"}


def decode(text: str) -> Decoded:
    """The cards. Raises BadInput for a text that is not cnmon's."""
    lines = lines_of(text)
    found = blocks(lines, "Card", "Memory-Usage")
    tool = _TOOL.search(text)
    if found:
        return _table(lines, found, tool[1] if tool else None)
    tree = cards_of(lines)
    if not tree:
        if tool is None:
            raise BadInput("neither the table of cnmon nor 'Card N' of cnmon info is in this text")
        return Decoded(maker="cambricon", tool="cnmon", format="text", notes=["the text names no card"])
    cards = [_of_tree(index, node) for index, node in tree]
    driver = next((said(node.find("driver")) for _, node in tree if said(node.find("driver"))), None)
    return Decoded(
        maker="cambricon",
        tool="cnmon info",
        format="text",
        driver_version=driver.removeprefix("v") if driver else None,
        cards=cards,
        extra={"tool_version": tool[1]} if tool else {},
    )


# ---- the table


def _table(lines: Sequence[str], found: Sequence[Block], tool: str | None) -> Decoded:
    driver = next((match[1] for line in lines if (match := _DRIVER.search(line))), None)
    processes = _processes(lines)
    cards = [card for card in (_of_block(block, processes) for block in found) if card is not None]
    notes = [
        f"truncated: card {card.index} has only its first line"
        for card, block in zip(cards, found, strict=False)
        if block.find("temp") is None
    ]
    return Decoded(
        maker="cambricon",
        tool="cnmon",
        format="table",
        driver_version=driver,
        cards=cards,
        extra={"tool_version": tool} if tool else {},
        notes=notes,
    )


def _of_block(block: Block, processes: Mapping[int, list[Mapping[str, Any]]] | None) -> DecodedCard | None:
    words = (block.find("card") or "").split()
    if not words or not words[0].isdecimal():
        return None
    index = int(words[0])
    rest = words[1:]
    if rest and (rest[0] in ("/", "N/A") or rest[0].isdecimal()):  # the VF column, where the head has one
        rest = rest[1:]
    firmware = rest.pop() if len(rest) > 1 and _FIRMWARE.match(rest[-1]) else None
    climate = block.find("temp")
    draw, cap = power(climate)
    used, total = memory(_memory_cell(block))
    busy = block.find("util")
    errors = _ecc(block, busy)
    values: dict[str, Value | None] = {
        "utilization_ratio": per_cent(busy),
        "memory_used_bytes": used,
        "memory_total_bytes": total,
        "power_watts": draw,
        "power_limit_watts": cap,
        "temperature_celsius": temperature(climate),
        "fan_ratio": _fan(climate),
    }
    mode = (block.find("mode") or "").split()
    extra = {"ecc_errors": errors, "firmware_version": firmware, "mode": mode[0] if mode[:1] else None}
    return DecodedCard(
        index=index,
        model=said(" ".join(rest)),
        pci_address=address(bus(block.find("bus-id"))),
        values={key: value for key, value in values.items() if value is not None},
        processes=None if processes is None else processes.get(index, []),
        extra={name: value for name, value in extra.items() if said(str(value)) and value is not None},
    )


def _memory_cell(block: Block) -> str | None:
    for head, cell in block.cells:
        if re.search(r"(?<!v)(?<!virtual-)memory-usage", head.lower()):
            return cell
    return None


def _ecc(block: Block, busy: str | None) -> int | None:
    """The count under ``Ecc-Error``: a cell of its own, or behind the utilisation."""
    cell = block.find("ecc")
    if cell is None:
        return None
    return whole(re.sub(r"^\s*\d+(?:\.\d+)?\s*%|^\s*N/A\s+(?=\S)", "", cell) if cell == busy else cell)


def _fan(climate: str | None) -> float | None:
    match = re.match(r"\s*(\d+)\s*%", climate or "")
    return int(match[1]) / 100 if match else None


def _processes(lines: Sequence[str]) -> dict[int, list[Mapping[str, Any]]] | None:
    """Card -> processes, of the table's own list; None when the text has none."""
    found: dict[int, list[Mapping[str, Any]]] | None = None
    for line in lines:
        if re.search(r"\|?\s*Processes\s*:", line):
            found = {}
        elif found is not None and not _NO_PROCESS.search(line):
            match = _PROCESS.match(line)
            held = _HELD.search(match[4]) if match else None
            if match and held:
                found.setdefault(int(match[1]), []).append(
                    {
                        "pid": int(match[3]),
                        "name": said(match[4][: held.start()].strip()),
                        "memory_used_bytes": size(f"{held[1]}{held[2]}"),
                    }
                )
    return found


# ---- cnmon info


def _of_tree(index: int, node: Node) -> DecodedCard:
    detail = said(node.find("health state", "device") or node.find("health state", "health"))
    driver = (said(node.find("health state", "driver")) or "").lower()
    health = _HEALTH.get((detail or "").lower())
    if driver and driver != "running" and health == "ok":
        health = "critical" if "error" in driver else "degraded"
    values: dict[str, Value | None] = {
        "utilization_ratio": ratio(node.find("utilization", "mlu average")),
        "control_cpu_ratio": ratio(
            node.find("utilization", "chip cpu") or node.find("utilization", "cpu average")
        ),
        "memory_used_bytes": size(node.find("physical memory usage", "used")),
        "memory_total_bytes": size(node.find("physical memory usage", "total")),
        "memory_reserved_bytes": size(node.find("physical memory usage", "reserved")),
        "power_watts": watts(node.find("power", "usage")),
        "power_limit_watts": watts(node.find("power", "cap")),
        "temperature_celsius": celsius(
            node.find("temperature", "chip") or node.find("temperature", "cluster 0")
        ),
        "board_temperature_celsius": celsius(node.find("temperature", "board")),
        "memory_temperature_celsius": celsius(node.find("temperature", "memory")),
        "fan_ratio": ratio(node.find("fan")),
        "clock_core_hertz": hertz(node.find("frequency", "mlu") or node.find("frequency", "mlu average")),
        "clock_memory_hertz": hertz(node.find("frequency", "memory") or node.find("frequency", "ddr")),
        "pcie_width": whole(node.find("pci", "current width") or node.find("pci", "current link width")),
        "pcie_width_max": whole(node.find("pci", "max width") or node.find("pci", "max link width")),
        "ecc_corrected": whole(node.find("ecc error", "corrected") or node.find("ecc", "corrected error")),
        "ecc_uncorrected": whole(
            node.find("ecc error", "uncorrected") or node.find("ecc", "uncorrected error")
        ),
        "health": health,
        "health_detail": detail,
    }
    return DecodedCard(
        index=index,
        model=said(node.find("product name")),
        uuid=said(node.find("uuid")),
        serial=said(node.find("card sn") or node.find("sn") or node.find("serial number")),
        pci_address=_address(node),
        values={key: value for key, value in values.items() if value is not None},
        processes=_process_tree(node),
        extra={
            name: value
            for name, value in {
                "firmware_version": said(node.find("firmware")),
                "driver_state": said(node.find("health state", "driver")),
            }.items()
            if value is not None
        },
    )


def _address(node: Node) -> str | None:
    whole_text = address(node.find("pci", "bus id") or node.find("bus id"))
    if whole_text:
        return whole_text
    parts = [said(node.find("pci", name)) for name in ("domain id", "bus num", "device", "function")]
    domain, number_of_bus, device, function = parts
    if number_of_bus is None or device is None:
        return None
    return address(f"{domain or '0000'}:{number_of_bus}:{device}.{function or '0'}")


def _process_tree(node: Node) -> list[Mapping[str, Any]] | None:
    """The processes of a card: [] where the section is there and lists none, None without a section."""
    section = node.child("processes")
    if section is None:
        return None
    found: list[Mapping[str, Any]] = []
    for entry in section.children:
        pid = number(entry.find("pid"))
        if pid is not None:
            name = entry.find("cmdline") or entry.find("command line") or entry.find("process name")
            held = entry.find("mlu memory usage") or entry.find("physical memory usage")
            found.append({"pid": int(pid), "name": said(name), "memory_used_bytes": size(held, MIB)})
    return found
