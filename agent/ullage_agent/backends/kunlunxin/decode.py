"""``xpu-smi`` (5.x, drawn after nvidia-smi's) and ``xpu_smi`` (4.x: a row a device, then videos and processes)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ullage_agent.backend import Decoded, DecodedCard
from ullage_agent.backends.printed import MIB, address, box, celsius, hertz, number, ratio, said, watts, whole
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

_DRIVER = re.compile(r"Driver Version\s*:\s*(\S+)")
_PAIR = re.compile(r"([\d.]+)\s*/\s*([\d.]+)\s*M", re.IGNORECASE)


def decode(text: str) -> Decoded:
    """The devices. Raises BadInput for a text that is not this tool's."""
    lines = lines_of(text)
    driver = _DRIVER.search(text)
    version = driver[1] if driver else None
    found = blocks(lines, "XPU", "Bus-Id", "XPU-Util")
    if found or "XPU-SMI" in text:
        listed = process_rows(lines)
        # a table that ends after the cards shows none: this tool lists processes only where there are some
        processes = _smi_processes(listed or [])
        cards = [card for card in (_card(block, processes) for block in found) if card is not None]
        return Decoded(maker="kunlunxin", tool="xpu-smi", format="table", driver_version=version, cards=cards)
    return _rows(lines, version)


def _card(block: Block, processes: Mapping[int, list[Mapping[str, Any]]]) -> DecodedCard | None:
    index, name = index_and_name(block.find("name"))
    if index is None:
        return None
    climate = block.find("temp")
    draw, cap = power(climate)
    used, total = memory(block.find("memory-usage"))
    l3_used, l3_total = memory(block.find("l3-usage"))
    errors = block.find("ecc")
    values: dict[str, Value | None] = {
        "utilization_ratio": per_cent(block.find("xpu-util")),
        "memory_used_bytes": used,
        "memory_total_bytes": total,
        "power_watts": draw,
        "power_limit_watts": cap,
        "temperature_celsius": temperature(climate),
        "ecc_uncorrected": whole(errors),
    }
    return DecodedCard(
        index=index,
        model=name or None,
        pci_address=address(bus(block.find("bus-id"))),
        values={key: value for key, value in values.items() if value is not None},
        processes=processes.get(index, []),
        extra={
            key: value
            for key, value in {"l3_used_bytes": l3_used, "l3_total_bytes": l3_total}.items()
            if value is not None
        },
    )


def _smi_processes(rows: list[list[str]]) -> dict[int, list[Mapping[str, Any]]]:
    found: dict[int, list[Mapping[str, Any]]] = {}
    for words in rows:
        pid = next((int(word) for word in words[1:4] if word.isdigit()), None)
        held = next(
            (re.sub(r"\D", "", word) for word in reversed(words) if "M" in word and word[0].isdigit()), ""
        )
        names = [word for word in words[2:] if not word.isdigit() and word not in ("N/A", "C", "G")]
        found.setdefault(int(words[0]), []).append(
            {
                "pid": pid,
                "name": names[0] if names else None,
                "memory_used_bytes": int(held) * MIB if held else None,
            }
        )
    return found


def _rows(lines: list[str], version: str | None) -> Decoded:
    """4.x: tables DEVICES, VIDEO and PROCESSES, each with a head of one line."""
    head: list[str] = []
    devices: list[dict[str, str]] = []
    videos: dict[int, dict[str, str]] = {}
    processes: dict[int, list[Mapping[str, Any]]] | None = None
    for row in (row for group in box(lines).groups for row in group):
        names = [cell.lower() for cell in row]
        if "devid" in names:
            head = names
            if "pid" in names:
                processes = processes or {}
            continue
        if not head or len(row) != len(head) or not row[0].isdigit():
            continue
        cells = dict(zip(head, row, strict=True))
        if "pid" in head:
            assert processes is not None
            held = number(cells.get("memory"))
            processes.setdefault(int(row[0]), []).append(
                {
                    "pid": whole(cells["pid"]),
                    "name": said(cells.get("command")),
                    "memory_used_bytes": None if held is None else int(held) * MIB,
                }
            )
        elif any("pci" in name for name in head):
            devices.append(cells)
        else:
            videos[int(row[0])] = cells
    if not devices:
        raise BadInput("no table of xpu-smi or xpu_smi in this text")
    return Decoded(
        maker="kunlunxin",
        tool="xpu_smi",
        format="table",
        driver_version=version,
        cards=[_row(cells, videos, processes) for cells in devices],
    )


def _row(
    cells: Mapping[str, str],
    videos: Mapping[int, Mapping[str, str]],
    processes: Mapping[int, list[Mapping[str, Any]]] | None,
) -> DecodedCard:
    index = int(cells["devid"])
    memory_pair = _PAIR.search(cells.get("memory", ""))
    video = videos.get(index, {})
    values: dict[str, Value | None] = {
        "utilization_ratio": ratio(cells.get("userate")),
        "memory_used_bytes": int(float(memory_pair[1])) * MIB if memory_pair else None,
        "memory_total_bytes": int(float(memory_pair[2])) * MIB if memory_pair else None,
        "power_watts": watts(cells.get("power(w)")),
        "temperature_celsius": celsius(cells.get("temp")),
        "clock_core_hertz": hertz(cells.get("freq(mhz)")),
        "health_detail": said(cells.get("state")),
        "decoder_ratio": per_cent(video.get("dec")),
        "encoder_ratio": per_cent(video.get("enc")),
    }
    return DecodedCard(
        index=index,
        model=said(cells.get("model")),
        serial=said(cells.get("sn")),
        pci_address=address(cells.get("pci addr")),
        values={key: value for key, value in values.items() if value is not None},
        processes=None if processes is None else processes.get(index, []),
        extra={
            key: value
            for key, value in {
                "device_node": said(cells.get("inode")),
                "firmware": said(cells.get("firmware version")),
            }.items()
            if value is not None
        },
    )
