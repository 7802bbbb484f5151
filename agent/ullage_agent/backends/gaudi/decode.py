"""What people send of Intel Gaudi: ``hl-smi`` (the table of Gaudi 1 to 3), ``-Q ... -f csv``, ``-q`` and ``-L``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ullage_agent.backend import Decoded, DecodedCard
from ullage_agent.backends.printed import (
    address,
    celsius,
    csv_rows,
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
    index_and_name,
    lines_of,
    memory,
    per_cent,
    power,
    temperature,
)
from ullage_contract.errors import BadInput
from ullage_contract.sample import Value

_DRIVER: Final = re.compile(r"^[|\s]*Driver Version\s*:\s*([^\s|]+)", re.MULTILINE)
_TOOL: Final = re.compile(r"HL-SMI Version\s*:\s*([^\s|]+)")
_UUID: Final = re.compile(r"^\d\dP\d-[A-Z0-9]+-\d+-[A-Z0-9]+(?:-\d+)+$")
_PCI: Final = re.compile(r"^(?:[0-9a-fA-F]{4}:)?[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]$")
_MODEL: Final = re.compile(r"^HL-?\d", re.IGNORECASE)
_VERSION: Final = re.compile(r"^\d+\.\d+\.\d+-[0-9a-f]{6,}$")
_BLOCK: Final = re.compile(r"^\s*\[(\d+)\]\s*AIP\b(.*)$")
_PAIR: Final = re.compile(r"^(\s*)(\S[^:]*?)\s*:\s*(.*?)\s*$")
_PROCESS: Final = re.compile(r"^\s*(\d+)\s+(\d+|N/A)\s+(\S+)\s+(\S.*?)\s+(N/A|\d+\s*[KMG]i?B)\s*$")
_NO_HEADER: Final = ("index", "uuid", "name", "driver_version", "memory.total", "memory.used", "memory.free")
"""The order that callers of ``-f csv,noheader`` mostly ask for; then power.draw, power.max, temperature, utilisation."""


def decode(text: str) -> Decoded:
    """The devices. Raises BadInput for a text that is not this tool's."""
    lines = lines_of(text)
    if any(_BLOCK.match(line) for line in lines):
        return _query(text, lines)
    found = blocks(lines, "AIP", "Bus-Id")
    if found or "HL-SMI" in text:
        return _table(text, lines, found)
    rows = _csv(text)
    if rows is None:
        raise BadInput("no table, query or CSV of hl-smi in this text")
    return rows


# ---- the table


def _table(text: str, lines: Sequence[str], found: Sequence[Block]) -> Decoded:
    driver, tool = _DRIVER.search(text), _TOOL.search(text)
    processes = _processes(lines)
    nic = re.search(r"Nic Driver Version\s*:\s*([^\s|]+)", text)
    extra = {"hl_smi_version": tool[1] if tool else None, "nic_driver_version": nic[1] if nic else None}
    return Decoded(
        maker="gaudi",
        tool="hl-smi",
        format="table",
        driver_version=said(driver[1]) if driver else None,
        cards=[card for block in found if (card := _card(block, processes)) is not None],
        extra={key: value for key, value in extra.items() if value is not None},
        notes=[] if found else ["the text has no device rows"],
    )


def _card(block: Block, processes: Mapping[int, list[Mapping[str, Any]]] | None) -> DecodedCard | None:
    index, name = index_and_name(block.find("name"))
    if index is None:
        return None
    name = re.split(r"\s+(?:N/A|On|Off)\b", name)[0]
    climate = block.find("temp")
    draw, cap = power(climate)
    used, total = memory(block.find("memory-usage"))
    fan = re.match(r"\s*(\d+)\s*%", climate or "")
    state = re.search(r"\bP\d+\b", climate or "")
    values: dict[str, Value | None] = {
        "utilization_ratio": per_cent(block.find("aip-util")),
        "memory_used_bytes": used,
        "memory_total_bytes": total,
        "power_watts": draw,
        "power_limit_watts": cap,
        "temperature_celsius": temperature(climate),
        "fan_ratio": int(fan[1]) / 100 if fan else None,
        "performance_state": state[0] if state else None,
    }
    # "Volatile Uncorr. ECC" counts errors; "Volatile Uncor-Events" of 1.21 and later counts events of any kind
    counted = whole(block.find("ecc"))
    events = whole(block.find("uncor-events"))
    if counted is not None:
        values["ecc_uncorrected"] = counted
    extra: dict[str, Any] = {"uncorrectable_events": events}
    return DecodedCard(
        index=index,
        model=said(name),
        pci_address=address(bus(block.find("bus-id"))),
        values={key: value for key, value in values.items() if value is not None},
        processes=None if processes is None else tuple(processes.get(index, ())),
        extra={key: value for key, value in extra.items() if value is not None},
    )


def _processes(lines: Sequence[str]) -> dict[int, list[Mapping[str, Any]]] | None:
    """Rows of ``Compute Processes``; N/A rows are cards without one. None where there is no such section."""
    found: dict[int, list[Mapping[str, Any]]] | None = None
    for line in lines:
        if "Compute Processes" in line:
            found = {}
            continue
        match = _PROCESS.match(line.strip().strip("|"))
        if found is None or match is None or not match[2].isdecimal():
            continue
        process: dict[str, Any] = {"pid": int(match[2]), "type": said(match[3]), "name": said(match[4])}
        if (used := size(match[5])) is not None:
            process["memory_used_bytes"] = used
        found.setdefault(int(match[1]), []).append(process)
    return found


# ---- -Q


def _csv(text: str) -> Decoded | None:
    rows = [
        [cell.strip() for cell in row] for row in csv_rows(text.splitlines()) if any(c.strip() for c in row)
    ]
    header: list[str] | None = None
    cards: list[tuple[list[str] | None, list[str]]] = []
    torn = 0
    for row in rows:
        names = [re.sub(r"\s*\[.*\]$", "", cell).lower() for cell in row]
        if {"index", "uuid", "name", "bus_id", "module_id", "memory.total", "utilization.aip"} & set(names):
            header = names
            continue
        if header is not None and len(row) != len(header):
            torn += 1
        cards.append((header, row))
    guessed = header is None
    if guessed:
        cards = [(None, row) for _, row in cards if any(_UUID.match(c) or _MODEL.match(c) for c in row)]
    if not cards:
        return None
    decoded: dict[str, DecodedCard] = {}
    driver = None
    for position, (names_of, row) in enumerate(cards):
        fields = dict(zip(names_of, row, strict=False)) if names_of else _without_header(row)
        driver = driver or said(fields.get("driver_version"))
        card = _row(position, fields)
        # a loop (-l) prints the cards again and again: the last reading of each stays
        decoded[str(fields.get("uuid") or fields.get("index") or fields.get("bus_id") or position)] = card
    notes = ["no header: the columns were known by what stands in them"] if guessed else []
    if torn:
        notes.append(f"{torn} rows do not fit the header")
    return Decoded(
        maker="gaudi",
        tool="hl-smi -Q",
        format="csv",
        driver_version=driver,
        cards=list(decoded.values()),
        notes=notes,
    )


def _without_header(row: Sequence[str]) -> dict[str, str]:
    """Columns by what stands in them: sizes, watts and per cents in the order people ask for them."""
    fields: dict[str, str] = {}
    sizes = iter(("memory.total", "memory.used", "memory.free"))
    powers = iter(("power.draw", "power.max"))
    for position, cell in enumerate(row):
        if _UUID.match(cell):
            fields["uuid"] = cell
        elif _MODEL.match(cell):
            fields["name"] = cell
        elif _PCI.match(cell):
            fields["bus_id"] = cell
        elif _VERSION.match(cell):
            fields["driver_version"] = cell
        elif re.fullmatch(r"\d+\s*[KMG]i?B", cell):
            fields[next(sizes, "memory.other")] = cell
        elif re.fullmatch(r"[\d.]+\s*W", cell):
            fields[next(powers, "power.other")] = cell
        elif re.fullmatch(r"-?[\d.]+\s*C", cell):
            fields.setdefault("temperature.aip", cell)
        elif re.fullmatch(r"[\d.]+\s*%", cell):
            fields.setdefault("utilization.aip", cell)
        elif position == 0 and cell.isdecimal():
            fields["index"] = cell
    return fields


def _row(position: int, fields: Mapping[str, str]) -> DecodedCard:
    def get(*names: str) -> str | None:
        return next((text for name in names if (text := said(fields.get(name))) is not None), None)

    index = whole(get("index"))
    values: dict[str, Value | None] = {
        "utilization_ratio": ratio(get("utilization.aip")),
        "memory_used_bytes": size(get("memory.used")),
        "memory_total_bytes": size(get("memory.total")),
        "power_watts": watts(get("power.draw")),
        "power_limit_watts": watts(get("power.max", "power.limit")),
        "temperature_celsius": celsius(get("temperature.aip")),
        "board_temperature_celsius": celsius(get("temperature.board")),
        "ecc_corrected": whole(get("ecc.errors.corrected.volatile.total")),
        "ecc_uncorrected": whole(get("ecc.errors.uncorrected.volatile.total")),
        "ecc_corrected_lifetime": whole(get("ecc.errors.corrected.aggregate.total")),
        "ecc_uncorrected_lifetime": whole(get("ecc.errors.uncorrected.aggregate.total")),
        "clock_core_hertz": hertz(get("clocks.current.soc", "clocks.soc")),
        "pcie_generation": whole(get("pcie.link.gen.current")),
        "pcie_width": whole(get("pcie.link.width.current")),
    }
    extra: dict[str, Any] = {"module_id": whole(get("module_id")), "timestamp": get("timestamp")}
    return DecodedCard(
        index=position if index is None else index,
        model=get("name"),
        uuid=get("uuid"),
        serial=get("serial"),
        pci_address=address(get("bus_id")),
        values={key: value for key, value in values.items() if value is not None},
        extra={key: value for key, value in extra.items() if value is not None},
    )


# ---- -q and -L


def _query(text: str, lines: Sequence[str]) -> Decoded:
    """``[0] AIP (accel0) 0000:19:00.0`` and ``Key : value`` lines below it, some under a heading."""
    cards: list[tuple[int, str, dict[str, str]]] = []
    heading = ""
    for line in lines:
        if block := _BLOCK.match(line):
            cards.append((int(block[1]), block[2], {}))
            heading = ""
            continue
        if not cards or not line.strip():
            continue
        pair = _PAIR.match(line)
        if pair is None or not pair[3]:
            heading = (pair[2] if pair else line.strip()).lower()
            continue
        pairs = cards[-1][2]
        pairs.setdefault(f"{heading}.{pair[2].lower()}", pair[3])
        pairs.setdefault(pair[2].lower(), pair[3])
    driver = _DRIVER.search(text)
    return Decoded(
        maker="gaudi",
        tool="hl-smi -q",
        format="text",
        driver_version=said(driver[1]) if driver else None,
        cards=[_device(index, rest, pairs) for index, rest, pairs in cards],
    )


def _device(index: int, rest: str, pairs: Mapping[str, str]) -> DecodedCard:
    def first(*names: str) -> str | None:
        return next((text for name in names if (text := said(pairs.get(name))) is not None), None)

    place = next((word for word in rest.split() if _PCI.match(word)), None)
    speed = number(first("link speed", "current link speed"))
    values: dict[str, Value | None] = {
        "utilization_ratio": ratio(first("aip utilization", "utilization", "aip util", "utilization.aip")),
        "memory_used_bytes": size(
            first("memory usage.used", "hbm memory usage.used", "memory.used", "used memory", "used")
        ),
        "memory_total_bytes": size(
            first("memory usage.total", "hbm memory usage.total", "memory.total", "total memory", "total")
        ),
        "power_watts": watts(first("power draw", "current power draw")),
        "power_limit_watts": watts(first("power max", "power limit", "max power")),
        "temperature_celsius": celsius(first("temperature on aip", "aip temperature", "aip current temp")),
        "board_temperature_celsius": celsius(first("temperature on board", "board temperature")),
        "clock_core_hertz": hertz(first("soc", "clocks.soc")),
        "pcie_replays": whole(first("replays since reset", "pcie replay counter", "replay counter")),
        "pcie_generation": None if speed is None or speed > 7 else int(speed),
        "pcie_width": whole((first("link width", "current link width") or "").lstrip("xX") or None),
        "health_detail": first("module status", "status", "aip status"),
    }
    return DecodedCard(
        index=index,
        model=first("product name", "name"),
        uuid=first("aip uuid", "uuid"),
        serial=first("serial number", "aip serial"),
        pci_address=address(place or first("bus id", "bus.id", "pci id")),
        values={key: value for key, value in values.items() if value is not None},
        extra={
            key: value
            for key, value in {
                "module_id": whole(first("module id")),
                "firmware": first("firmware [spi] version", "spi version", "firmware version"),
            }.items()
            if value is not None
        },
    )
