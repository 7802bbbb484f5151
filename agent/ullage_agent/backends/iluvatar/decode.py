"""``ixsmi``: its table (3.x and 4.x, with or without time stamp or log marks) and ``--query-gpu`` CSV.

On a board of two chips only one of them prints the board's power. A dead card answers 65535 W, 0 C, 100 %.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from typing import Any

from ullage_agent.backend import Decoded, DecodedCard
from ullage_agent.backends.printed import MIB, address, celsius, hertz, ratio, said, size, watts, whole
from ullage_agent.backends.smi_table import (
    Block,
    blocks,
    bus,
    clocks,
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

_DRIVER = re.compile(r"Driver Version\s*:\s*(\S+)")


def decode(text: str) -> Decoded:
    """The chips. Raises BadInput for a text that is not this tool's."""
    lines = lines_of(text)
    found = blocks(lines, "GPU", "Bus-Id", "GPU-Util")
    driver = _DRIVER.search(text)
    if found or "IX-ML" in text:
        processes = _processes(lines)
        return Decoded(
            maker="iluvatar",
            tool="ixsmi",
            format="table",
            driver_version=said(driver[1]) if driver else None,
            cards=[card for card in (_card(block, processes) for block in found) if card is not None],
        )
    return _csv(lines)


def _card(block: Block, processes: Mapping[int, list[Mapping[str, Any]]] | None) -> DecodedCard | None:
    index, name = index_and_name(block.find("name"))
    if index is None:
        return None
    climate = block.find("temp")
    draw, cap = power(climate)
    used, total = memory(block.find("memory-usage"))
    rates = clocks(block.find("clock"))
    values: dict[str, Value | None] = {
        "utilization_ratio": per_cent(block.find("gpu-util")),
        "memory_used_bytes": used,
        "memory_total_bytes": total,
        "power_watts": draw,
        "power_limit_watts": cap,
        "temperature_celsius": temperature(climate),
        "fan_ratio": _fan(climate),
        "clock_core_hertz": rates[0] if rates else None,
        "clock_memory_hertz": rates[1] if len(rates) > 1 else None,
    }
    return DecodedCard(
        index=index,
        model=name or None,
        pci_address=address(bus(block.find("bus-id"))),
        values={key: value for key, value in values.items() if value is not None},
        processes=None if processes is None else processes.get(index, []),
    )


def _fan(climate: str | None) -> float | None:
    match = re.match(r"\s*(\d+)\s*%", climate or "")
    return int(match[1]) / 100 if match else None


def _processes(lines: list[str]) -> dict[int, list[Mapping[str, Any]]] | None:
    rows = process_rows(lines)
    if rows is None:
        return None
    found: dict[int, list[Mapping[str, Any]]] = {}
    for words in rows:
        held = re.sub(r"\D", "", words[-1])
        found.setdefault(int(words[0]), []).append(
            {
                "pid": int(words[1]),
                "name": " ".join(words[2:-1]) or None,
                "memory_used_bytes": int(held) * MIB if held else None,
            }
        )
    return found


def _csv(lines: list[str]) -> Decoded:
    """``--query-gpu=... --format=csv``: the head names columns as the query did, units in brackets."""
    rows = [row for row in csv.reader(lines) if len(row) > 1]
    head = [re.sub(r"\s*\[.*?\]", "", cell).strip().lower() for cell in rows[0]] if rows else []
    if not {"index", "name", "uuid"} & set(head):
        raise BadInput("neither the table of ixsmi nor its query CSV is in this text")
    cards = []
    for position, row in enumerate(rows[1:]):
        cells = {name: cell.strip() for name, cell in zip(head, row, strict=False)}
        values: dict[str, Value | None] = {
            "utilization_ratio": ratio(cells.get("utilization.gpu")),
            "memory_bandwidth_ratio": ratio(cells.get("utilization.memory")),
            "memory_used_bytes": size(cells.get("memory.used")),
            "memory_total_bytes": size(cells.get("memory.total")),
            "power_watts": watts(cells.get("power.draw")),
            "board_power_watts": watts(cells.get("board.power.draw")),
            "power_limit_watts": watts(cells.get("power.limit")),
            "temperature_celsius": celsius(cells.get("temperature.gpu")),
            "clock_core_hertz": hertz(cells.get("clocks.sm") or cells.get("clocks.current.sm")),
            "clock_memory_hertz": hertz(cells.get("clocks.mem") or cells.get("clocks.current.memory")),
        }
        index = whole(cells.get("index"))
        cards.append(
            DecodedCard(
                index=position if index is None else index,
                model=said(cells.get("name") or cells.get("gpu_name")),
                uuid=said(cells.get("uuid") or cells.get("gpu_uuid")),
                serial=said(cells.get("serial") or cells.get("gpu_serial")),
                pci_address=address(cells.get("pci.bus_id") or cells.get("gpu_bus_id")),
                values={key: value for key, value in values.items() if value is not None},
            )
        )
    driver = next(
        (said(row[head.index("driver_version")]) for row in rows[1:] if "driver_version" in head), None
    )
    return Decoded(
        maker="iluvatar", tool="ixsmi --query-gpu", format="csv", driver_version=driver, cards=cards
    )
