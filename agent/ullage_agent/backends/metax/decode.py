"""``mx-smi`` and its rebrands (``ht-smi`` of HPCC / Mars): the table of 2.1, 2.2 and 2.3 and their process list.

Matched on the layout, not on the title. GPU-State is the tool's word of health.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ullage_agent.backend import Decoded, DecodedCard
from ullage_agent.backends.printed import MIB, address, said
from ullage_agent.backends.smi_table import (
    Block,
    blocks,
    bus,
    index_and_name,
    lines_of,
    memory,
    per_cent,
    power,
    process_rows,
    temperature,
)
from ullage_contract.errors import BadInput
from ullage_contract.sample import Value

_DRIVER = re.compile(r"Kernel Mode Driver Version\s*:\s*(\S+)")
_TOOL = re.compile(r"\b(mx-smi|ht-smi|[a-z]{2}-smi)\b", re.IGNORECASE)
_ATTACHED = re.compile(r"Attached GPUs\s*:\s*(\d+)")


def decode(text: str) -> Decoded:
    """The cards. Raises BadInput for a text that is not this tool's."""
    lines = lines_of(text)
    found = blocks(lines, "GPU", "Bus-id", "Memory-Usage")
    driver, attached = _DRIVER.search(text), _ATTACHED.search(text)
    if not found and attached is None:
        raise BadInput("no table of mx-smi in this text")
    processes = _processes(lines)
    cards = [card for card in (_card(block, processes) for block in found) if card is not None]
    tool = _TOOL.search(text)
    notes = []
    if attached and int(attached[1]) != len(cards):
        notes.append(f"{attached[1]} cards attached, {len(cards)} shown")
    return Decoded(
        maker="metax",
        tool=tool[1].lower() if tool else "mx-smi",
        format="table",
        driver_version=driver[1] if driver else None,
        cards=cards,
        notes=notes,
    )


def _card(block: Block, processes: Mapping[int, list[Mapping[str, Any]]] | None) -> DecodedCard | None:
    index, name = index_and_name(block.find("name"))
    if index is None:
        return None
    climate = block.find("temp")
    draw, cap = power(climate)
    used, total = memory(block.find("memory-usage"))
    state = said(block.find("gpu-state"))
    values: dict[str, Value | None] = {
        "utilization_ratio": per_cent(block.find("gpu-util")),
        "memory_used_bytes": used,
        "memory_total_bytes": total,
        "power_watts": draw,
        "power_limit_watts": cap,
        "temperature_celsius": temperature(climate),
        "health_detail": state,
    }
    return DecodedCard(
        index=index,
        model=name or None,
        pci_address=address(bus(block.find("bus-id"))),
        values={key: value for key, value in values.items() if value is not None},
        processes=None if processes is None else processes.get(index, []),
    )


def _processes(lines: list[str]) -> dict[int, list[Mapping[str, Any]]] | None:
    """Card -> processes; the memory stands last, in MiB."""
    rows = process_rows(lines)
    if rows is None:
        return None
    found: dict[int, list[Mapping[str, Any]]] = {}
    for words in rows:
        memory_mib = re.sub(r"\D", "", words[-1])
        found.setdefault(int(words[0]), []).append(
            {
                "pid": int(words[1]),
                "name": " ".join(words[2:-1]) or None,
                "memory_used_bytes": int(memory_mib) * MIB if memory_mib else None,
            }
        )
    return found
