"""The table ``nvidia-smi`` prints without arguments, drivers 340 to 610, with MIG devices and processes.

Cells are found by the bars, values by their own form: column widths changed with every driver
generation, and older tables have neither a MIG row nor GI/CI columns.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from ullage_agent.backend import Decoded, DecodedCard
from ullage_agent.backends.nvidia import printed
from ullage_agent.backends.nvidia.query_tree import shared_memory
from ullage_contract.errors import BadInput
from ullage_contract.sample import Value

_VERSION: Final = re.compile(r"(?:Driver|KMD) Version:\s*([\w.]+)")
_CUDA: Final = re.compile(r"CUDA (?:UMD )?Version:\s*([\w./]+)")
_BUS: Final = re.compile(r"(?:[0-9A-Fa-f]{4,8}:)?[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-7]")
_CARD: Final = re.compile(r"^\s*(\d+)\s+(\S.*?)\s+(On|Off|N/A|TCC|WDDM|MCDM|ERR!|Default)\s*$")
_SENSORS: Final = re.compile(
    r"^\s*(?P<fan>\S+)\s+(?P<temp>\S+)\s+(?P<perf>P\d+|N/A|ERR!|\S+)\s+"
    r"(?P<power>.*?\S)\s*/\s*(?P<cap>.*?)\s*$"
)
_MEMORY: Final = re.compile(r"(?P<used>\S+)\s*/\s*(?P<total>\S+)")
_MIG_ROW: Final = re.compile(r"^\s*(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s*$")
_PROCESS: Final = re.compile(
    r"^\|\s*(?P<gpu>\d+)\s+(?:(?P<gi>N/A|\d+)\s+(?P<ci>N/A|\d+)\s+)?(?P<pid>\d+)\s+"
    r"(?P<type>(?:C|G|M)(?:\+(?:C|G))*)\s+(?P<name>\S.*?)?\s+(?P<memory>\d+\s*[KMG]iB|N/A|ERR!)\s*\|"
)
_LOST: Final = re.compile(
    r"Unable to determine the device handle for (?:gpu|GPU)\s*(?P<index>\d{1,3}(?=:?\s))?:?\s*"
    r"(?P<pci>[0-9A-Fa-f]{4,8}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-7])?:?\s*(?P<why>.*)$",
    re.MULTILINE,
)


def lost_cards(text: str) -> list[dict[str, Any]]:
    """The cards nvidia-smi could not open: index and pci_bdf as printed (None if not), and its word why.

    Old drivers glue the address to the word: ``for GPU0000:CB:00.0: Unknown Error``.
    """
    return [
        {
            "index": None if match["index"] is None else int(match["index"]),
            "pci_bdf": printed.address(match["pci"]),
            "why": match["why"].strip().rstrip("."),
        }
        for match in _LOST.finditer(text)
    ]


def decode_table(text: str) -> Decoded:
    """Cards in the order printed. Raises BadInput when the head is there and nothing below it."""
    version = _VERSION.search(text)
    cuda = _CUDA.search(text)
    section = "cards"
    cards: dict[int, dict[str, Any]] = {}
    order: list[int] = []
    block: list[list[str]] = []
    processes: list[tuple[int, dict[str, Any]]] = []
    process_section = False
    current: dict[str, Any] | None = None
    for line in [*text.splitlines(), "+"]:
        if "MIG devices:" in line:
            section, block = "mig", []
        elif "Processes:" in line:
            section, process_section, block = "processes", True, []
        if section == "processes":
            if (match := _PROCESS.match(line.strip())) is not None:
                processes.append((int(match["gpu"]), _process(match)))
            continue
        if not line.strip().startswith("|"):
            if section == "cards":
                current = _finish(block) or None
                if current is not None:
                    cards[current["index"]] = current
                    order.append(current["index"])
            block = []
            continue
        cells = line.strip().strip("|").split("|")
        if section == "mig":
            _mig(cells, cards)
        else:
            block.append(cells)
    lost = lost_cards(text)
    if not cards and not lost and not re.search(r"No (?:devices|GPUs?) (?:were )?found", text, re.IGNORECASE):
        raise BadInput(
            "an nvidia-smi table without a single card row: is it cut after its head? record the whole output"
        )
    notes = [f"nvidia-smi could not open a card: {entry}" for entry in lost]
    notes += [f"the name of card {i} is cut by the table" for i in order if cards[i]["model"].endswith("...")]
    extra: dict[str, Any] = {"cuda_version": cuda.group(1)} if cuda else {}
    if lost:
        extra["lost"] = lost
    return Decoded(
        maker="nvidia",
        tool="nvidia-smi",
        format="table",
        driver_version=version.group(1) if version else None,
        cards=tuple(
            _card(cards[i], [p for gpu, p in processes if gpu == i] if process_section else None)
            for i in order
        ),
        extra=extra,
        notes=tuple(notes),
    )


def _finish(block: list[list[str]]) -> dict[str, Any]:
    """One card's two or three lines; an empty dict for the head and other blocks."""
    for start, cells in enumerate(block):
        match = _CARD.match(cells[0])
        if match is None or len(cells) < 3 or (start + 1) >= len(block):
            continue
        sensors = _SENSORS.match(block[start + 1][0])
        second = block[start + 1]
        third = block[start + 2] if start + 2 < len(block) else []
        bus = _BUS.search(cells[1])
        values: dict[str, Value | None] = {"ecc_uncorrected": printed.whole(cells[2])}
        if sensors is not None:
            values["fan_ratio"] = printed.ratio(sensors["fan"])
            values["temperature_celsius"] = printed.celsius(sensors["temp"])
            values["performance_state"] = printed.said(sensors["perf"])
            values["power_watts"] = printed.watts(sensors["power"])
            values["power_limit_watts"] = printed.watts(sensors["cap"])
        memory = _MEMORY.search(second[1]) if len(second) > 1 else None
        if memory is not None:
            values["memory_used_bytes"] = printed.size(memory["used"])
            values["memory_total_bytes"] = printed.size(memory["total"])
        if len(second) > 2 and second[2].split():
            values["utilization_ratio"] = printed.ratio(second[2].split()[0])
        return {
            "index": int(match.group(1)),
            "model": match.group(2),
            "pci": printed.address(bus.group()) if bus else None,
            "values": {key: value for key, value in values.items() if value is not None},
            "mig": printed.mig_mode(third[2]) if len(third) > 2 else None,
            "slices": [],
            "compute_mode": " ".join(second[2].split()[1:]) if len(second) > 2 else "",
        }
    return {}


def _mig(cells: list[str], cards: dict[int, dict[str, Any]]) -> None:
    match = _MIG_ROW.match(cells[0])
    if match is None or len(cells) < 3:
        return  # the head, or the BAR1 line of the row before
    gpu, gi, ci, device = (int(group) for group in match.groups())
    memory = _MEMORY.search(cells[1])
    numbers = cells[2].split()
    values: dict[str, Value] = {}
    if memory is not None:
        for key, name in (("memory_used_bytes", "used"), ("memory_total_bytes", "total")):
            value = printed.size(memory[name])
            if value is not None:
                values[key] = value
    if gpu in cards:
        cards[gpu]["slices"].append(
            {
                "instance": f"gi{gi}-ci{ci}",
                "device": device,
                "gi": gi,
                "ci": ci,
                "sm": printed.whole(numbers[0]) if numbers else None,
                "ecc_uncorrected": printed.whole(numbers[1]) if len(numbers) > 1 else None,
                "values": values,
            }
        )


def _process(match: re.Match[str]) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "pid": int(match["pid"]),
        "name": printed.said(match["name"]),
        "type": match["type"],
        "memory_used_bytes": printed.size(match["memory"]),
    }
    gi = printed.whole(match["gi"])
    if gi is not None:
        entry["gi"], entry["ci"] = gi, printed.whole(match["ci"])
    return entry


def _card(row: Mapping[str, Any], processes: list[dict[str, Any]] | None) -> DecodedCard:
    extra: dict[str, Any] = {}
    shared = shared_memory(row["slices"])
    if shared:
        extra["memory_shared_between"] = shared
    if printed.said(row["compute_mode"]):
        extra["compute_mode"] = row["compute_mode"]
    return DecodedCard(
        index=row["index"],
        model=printed.said(row["model"]),
        pci_address=row["pci"],
        partition_mode=row["mig"],
        values=row["values"],
        processes=None if processes is None else tuple(processes),
        slices=tuple(row["slices"]),
        extra=extra,
    )
