"""``ixsmi``: its table (3.x and 4.x, with or without time stamp or log marks), ``--query-gpu`` CSV and ``-q``.

On a board of two chips only one of them prints the board's power. A dead card answers 65535 W, 0 C, 100 %.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ullage_agent.backend import Decoded, DecodedCard
from ullage_agent.backends import smi_csv, smi_query
from ullage_agent.backends.printed import address, said
from ullage_agent.backends.smi_table import (
    Block,
    blocks,
    bus,
    clocks,
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

_DRIVER = re.compile(r"Driver Version\s*:\s*([\w./-]+)")
_RUNTIME = re.compile(r"CUDA Version\s*:\s*([\w./-]+)")
_ALL_ONES = re.compile(r"\b65535(?:\.0*)?\s*W\b")


def decode(text: str) -> Decoded:
    """The chips. Raises BadInput for a text that is not this tool's."""
    lines = lines_of(text)
    found = blocks(lines, "GPU", "Bus-Id", "GPU-Util")
    driver, runtime = _DRIVER.search(text), _RUNTIME.search(text)
    version = said(driver[1]) if driver else None
    if found or "IX-ML" in text:
        processes = processes_by_card(lines)
        cards = [card for card in (_card(block, processes) for block in found) if card is not None]
        return Decoded(
            maker="iluvatar",
            tool="ixsmi",
            format="table",
            driver_version=version,
            cards=cards,
            extra={"runtime_version": runtime[1]} if runtime and said(runtime[1]) else {},
            notes=[*cut_note(found), *_dead(found)],
        )
    columns = smi_csv.cards(text.splitlines())
    if columns is not None:
        return Decoded("iluvatar", "ixsmi --query-gpu", "csv", columns[1], columns[0])
    listed = list(smi_query.cards(lines))
    if not any(card.values for card in listed):
        raise BadInput("neither the table of ixsmi, its query CSV nor its -q is in this text")
    return Decoded("iluvatar", "ixsmi -q", "text", version, listed)


def _card(block: Block, processes: Mapping[int, list[dict[str, object]]] | None) -> DecodedCard | None:
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
        "performance_state": performance_state(climate),
        "clock_core_hertz": rates[0] if rates else None,
        "clock_memory_hertz": rates[1] if len(rates) > 1 else None,
    }
    return DecodedCard(
        index=index,
        model=said(name),
        pci_address=address(bus(block.find("bus-id"))),
        values={key: value for key, value in values.items() if value is not None},
        processes=None if processes is None else processes.get(index, []),
    )


def _fan(climate: str | None) -> float | None:
    match = re.match(r"\s*(\d{1,3})\s*%", climate or "")
    return int(match[1]) / 100 if match else None


def _dead(found: list[Block]) -> list[str]:
    """A card whose power is all ones answers nothing: what else it prints is there, and not to be believed."""
    dead = [index_and_name(block.find("name"))[0] for block in found if _ALL_ONES.search(block.text)]
    return [f"card {index} is dead (65535 W): its other figures are not real" for index in dead]
