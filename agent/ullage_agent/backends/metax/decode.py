"""``mx-smi`` and its rebrands (``ht-smi`` of HPCC / Mars): the table of 2.1 to 2.3, ``-L`` and ``--show-*``.

Matched on the layout, not on the title. GPU-State is the tool's word of health.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from ullage_agent.backend import Decoded, DecodedCard
from ullage_agent.backends.printed import KIB, address, celsius, hertz, number, ratio, said, size, watts
from ullage_agent.backends.smi_table import (
    Block,
    blocks,
    bus,
    cut_note,
    index_and_name,
    lines_of,
    memory,
    per_cent,
    performance_state,
    power,
    processes_by_card,
    temperature,
)
from ullage_contract.errors import BadInput
from ullage_contract.sample import Value

_DRIVER = re.compile(r"Kernel Mode Driver Version\s*:\s*([\w.-]+)")
_RUNTIME = re.compile(r"\b(?:MACA|HPCC) Version\s*:\s*([\w.-]+)")
_BIOS = re.compile(r"\bBIOS Version\s*:\s*([\w.-]+)")
_TOOL = re.compile(r"\b([a-z]{2}-smi)\b", re.IGNORECASE)
_ATTACHED = re.compile(r"Attached GPUs\s*:\s*(\d{1,4})\b")
_LISTED = re.compile(r"^\s*(?:GPU|DIE)?\s*GPU#(\d{1,4})\s+(\S+)\s*(.*)$")
_PAIR = re.compile(r"^\s+([A-Za-z][\w .()/&-]*?)\s*[:：]\s*(.*?)\s*$")


def decode(text: str) -> Decoded:
    """The cards. Raises BadInput for a text that is not this tool's."""
    lines = lines_of(text)
    found = blocks(lines, ("GPU", "Board"), "Bus-id", "Memory-Usage", "GPU-Util")
    attached = _ATTACHED.search(text)
    shown = list(_listed(lines)) if not found else []
    if not found and attached is None and not shown:
        raise BadInput("no table of mx-smi and no GPU# block of mx-smi -L or --show-* in this text")
    cards = _cards(found, processes_by_card(lines)) if found or not shown else shown
    notes = cut_note(found)
    if attached and int(attached[1]) != len(cards):
        notes.append(f"{attached[1]} cards attached, {len(cards)} shown")
    tool, driver = _TOOL.search(text), _DRIVER.search(text)
    versions = {"runtime_version": _RUNTIME.search(text), "bios_version": _BIOS.search(text)}
    return Decoded(
        maker="metax",
        tool=tool[1].lower() if tool else "mx-smi",
        format="table" if found or not shown else "text",
        driver_version=said(driver[1]) if driver else None,
        cards=cards,
        extra={key: said(match[1]) for key, match in versions.items() if match and said(match[1])},
        notes=notes,
    )


def _cards(found: list[Block], processes: Mapping[int, list[dict[str, object]]] | None) -> list[DecodedCard]:
    """The table's cards. Since 2.2.9 the first column is the board, whose power and name its next card shares."""
    cards = []
    board: tuple[int | None, str] = (None, "")
    for block in found:
        boarded = block.find("board") is not None
        if boarded:
            board = index_and_name(block.find("board")) if said(block.find("board")) else board
            alone = re.match(r"^\s*(\d{1,4})\b", block.find("gpu", "persist") or block.find("gpu") or "")
            index, name = (int(alone[1]) if alone else None), board[1]
        else:
            index, name = index_and_name(block.find("name"))
        if index is not None:
            cards.append(_card(block, index, name, board[0] if boarded else None, processes))
    return cards


def _card(
    block: Block,
    index: int,
    name: str,
    board: int | None,
    processes: Mapping[int, list[dict[str, object]]] | None,
) -> DecodedCard:
    draw, cap = power(block.find("pwr") or block.find("power"))
    used, total = memory(block.find("memory-usage"))
    climate = block.find("temp")
    values: dict[str, Value | None] = {
        "utilization_ratio": per_cent(block.find("gpu-util")),
        "memory_used_bytes": used,
        "memory_total_bytes": total,
        "power_watts": draw,
        "power_limit_watts": cap,
        "temperature_celsius": temperature(climate),
        "performance_state": performance_state(climate),
        "health_detail": _state(block.find("gpu-state")),
    }
    sliced = re.search(r"%\s+([A-Za-z]+)", block.find("sgpu-m") or "")
    return DecodedCard(
        index=index,
        model=said(name),
        pci_address=address(bus(block.find("bus-id"))),
        board_id=None if board is None else str(board),
        values={key: value for key, value in values.items() if value is not None},
        processes=None if processes is None else processes.get(index, []),
        extra={"sgpu_mode": sliced[1].lower()} if sliced else {},
    )


def _state(text: str | None) -> str | None:
    """``Available``, ``Not Available(ECC)``; the latter says something, unlike the same words elsewhere."""
    clean = (text or "").strip()
    return clean if clean.lower().startswith("not available") else said(clean)


def _kib(text: str | None) -> int | None:
    return size(text, KIB)


def _per_second(text: str | None) -> float | None:
    found = number(text)
    return None if found is None or found < 0 else found * 1e6  # MBytes/s


_SHOWN: Final[Mapping[str, tuple[str, Callable[[str | None], Value | None]]]] = {
    "hotspot": ("temperature_celsius", celsius),
    "hot spot": ("temperature_celsius", celsius),
    "vram total": ("memory_total_bytes", _kib),
    "vram used": ("memory_used_bytes", _kib),
    "gpu": ("utilization_ratio", ratio),
    "xcore": ("utilization_ratio", ratio),
    "vpue": ("encoder_ratio", ratio),
    "vpud": ("decoder_ratio", ratio),
    "total power": ("power_watts", watts),
    "board power": ("power_watts", watts),
    "power": ("power_watts", watts),
    "power limit": ("power_limit_watts", watts),
    "xcore clock": ("clock_core_hertz", hertz),
    "mc clock": ("clock_memory_hertz", hertz),
    "rx": ("pcie_rx_bytes_per_second", _per_second),
    "tx": ("pcie_tx_bytes_per_second", _per_second),
    "sram ce": ("sram_ecc_corrected", number),
    "sram ue": ("sram_ecc_uncorrected", number),
    "dram ce": ("ecc_corrected", number),
    "dram ue": ("ecc_uncorrected", number),
    "retired page": ("retired_pages", number),
}
"""Key of --show-memory, --show-temperature, --show-usage, ... -> catalogue key; ``vis_vram`` is the part of the
memory that the host sees, so only ``vram`` counts."""


def _listed(lines: list[str]) -> Iterator[DecodedCard]:
    """``GPU#0  MXC500  0000:0e:00.0  Available (UUID: ...)`` and the ``key : value`` lines below such a head."""
    heads: dict[int, tuple[str, str]] = {}
    values: dict[int, dict[str, Value]] = {}
    extra: dict[int, dict[str, str]] = {}
    index: int | None = None
    for line in lines:
        head = _LISTED.match(line)
        if head:
            index = int(head[1])
            if not bus(head[2]):
                heads[index] = (head[2], head[3])
            values.setdefault(index, {})
            extra.setdefault(index, {})
            continue
        pair = _PAIR.match(line)
        if pair and index is not None and said(pair[2]):
            key, read = _SHOWN.get(pair[1].strip().lower(), ("", number))
            if not key:
                extra[index].setdefault(re.sub(r"\W+", "_", pair[1].strip().lower()).strip("_"), pair[2])
            elif key not in values[index] and (value := read(pair[2])) is not None:
                values[index][key] = value
    for index, (name, rest) in heads.items():
        uuid = re.search(r"UUID\s*:\s*([\w-]+)", rest, re.IGNORECASE)
        state = re.sub(r"\(UUID.*", "", rest.replace(bus(rest) or "\0", "")).strip()
        told = _state(state)
        if told:
            values[index]["health_detail"] = told
        serial = next((extra[index].pop(key) for key in list(extra[index]) if "serial" in key), None)
        yield DecodedCard(
            index=index,
            model=said(name),
            uuid=uuid[1] if uuid else None,
            serial=said(serial),
            pci_address=address(bus(rest)),
            values=values[index],
            extra=dict(extra[index]),
        )
