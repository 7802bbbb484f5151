"""``xpu-smi`` (5.x, drawn after nvidia-smi's), its ``-q``, ``xpu_smi`` (4.x: a row a device, then videos and
processes) and ``xpu_smi -m``, whose columns have no head.

Intel has a tool of the same name; its texts are refused.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

from ullage_agent.backend import Decoded, DecodedCard
from ullage_agent.backends import smi_query
from ullage_agent.backends.printed import MIB, address, box, celsius, hertz, number, ratio, said, watts, whole
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

_DRIVER = re.compile(r"Driver Version\s*:\s*([\w./-]+)")
_RUNTIME = re.compile(r"(?:XPU-RT|Runtime) Version\s*:\s*([\w./-]+)")
_PAIR = re.compile(r"(\d{1,9})(?:\.\d+)?\s*/\s*(\d{1,9})(?:\.\d+)?\s*M", re.IGNORECASE)
_MACHINE = re.compile(r"^\s*[0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]\s+\d{1,4}\s+\S")


def decode(text: str) -> Decoded:
    """The devices. Raises BadInput for a text that is not this tool's."""
    lines = lines_of(text)
    driver, runtime = _DRIVER.search(text), _RUNTIME.search(text)
    version = said(driver[1]) if driver else None
    found = blocks(lines, "XPU", "Bus-Id", "XPU-Util")
    extra = {"runtime_version": runtime[1]} if runtime and said(runtime[1]) else {}
    if found or ("XPU-SMI" in text and version):
        # a table that ends after the cards shows none: this tool lists processes only where there are some
        processes = processes_by_card(lines) or {}
        cards = [card for card in (_card(block, processes) for block in found) if card is not None]
        return Decoded("kunlunxin", "xpu-smi", "table", version, cards, extra=extra, notes=cut_note(found))
    machine = [line for line in lines if _MACHINE.match(line)]
    if machine:
        listed = [card for card in map(_machine, machine) if card is not None]
        return Decoded("kunlunxin", "xpu_smi -m", "text", version, listed, notes=_twins(listed))
    queried = list(smi_query.cards(lines)) if "xpu" in text.lower() else []
    if any(card.values for card in queried):
        return Decoded("kunlunxin", "xpu-smi -q", "text", version, queried, extra=extra)
    return _rows(lines, version, extra)


def _card(block: Block, processes: Mapping[int, list[dict[str, Any]]]) -> DecodedCard | None:
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
        "performance_state": performance_state(climate),
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


def _machine(line: str) -> DecodedCard | None:
    """A row of ``xpu_smi -m``: address, device, -, serial, temperature, ..., power, six clocks, L3 used and total,
    memory used and total (MiB), utilisation, firmware, model (quoted). The order is the P800's and the K200's."""
    try:
        cells = shlex.split(line)
    except ValueError:  # a quote that never closes: the line is cut
        cells = line.replace('"', " ").split()
    if len(cells) < 9:
        return None
    cells += [""] * (22 - len(cells))
    power_watts = number(cells[8])
    if power_watts is not None and power_watts >= 2000:
        power_watts /= 1000  # our choice: because the K200's tool prints mW and no card draws 2 kW
    used, total = whole(cells[17]), whole(cells[18])
    values: dict[str, Value | None] = {
        "utilization_ratio": ratio(cells[19]),
        "memory_used_bytes": None if used is None else used * MIB,
        "memory_total_bytes": None if total is None else total * MIB,
        "power_watts": power_watts,
        "temperature_celsius": celsius(cells[4]),
        "clock_core_hertz": hertz(cells[9]),
    }
    l3_used, l3_total = whole(cells[15]), whole(cells[16])
    extra: dict[str, Any] = {
        "firmware": said(cells[20]),
        "l3_used_bytes": None if l3_used is None else l3_used * MIB,
        "l3_total_bytes": None if l3_total is None else l3_total * MIB,
    }
    return DecodedCard(
        index=whole(cells[1]),
        model=said(cells[21]),
        serial=said(cells[3]),
        pci_address=address(cells[0]),
        values={key: value for key, value in values.items() if value is not None},
        extra={key: value for key, value in extra.items() if value is not None},
    )


def _twins(cards: list[DecodedCard]) -> list[str]:
    """A K200 is two devices with one address and one serial number, and each prints the board's power."""
    places = [card.pci_address for card in cards if card.pci_address]
    shared = sorted({place for place in places if places.count(place) > 1})
    return [f"{place}: two devices of one board; power is the board's" for place in shared]


def _rows(lines: list[str], version: str | None, extra: Mapping[str, Any]) -> Decoded:
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
        if not head or len(row) != len(head):
            continue
        cells = dict(zip(head, row, strict=True))
        if not re.fullmatch(r"\d{1,4}", cells["devid"]):
            continue
        index = int(cells["devid"])
        if "pid" in head:
            assert processes is not None
            held = number(cells.get("memory"))
            processes.setdefault(index, []).append(
                {
                    "pid": whole(cells["pid"]),
                    "name": said(cells.get("command")),
                    "memory_used_bytes": None if held is None else int(held) * MIB,
                }
            )
        elif any("pci" in name for name in head):
            devices.append(cells)
        else:
            videos[index] = cells
    if not devices:
        raise BadInput("no table of xpu-smi or xpu_smi in this text")
    cards = [_row(cells, videos, processes) for cells in devices]
    return Decoded("kunlunxin", "xpu_smi", "table", version, cards, extra=extra, notes=_twins(cards))


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
        "memory_used_bytes": int(memory_pair[1]) * MIB if memory_pair else None,
        "memory_total_bytes": int(memory_pair[2]) * MIB if memory_pair else None,
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
