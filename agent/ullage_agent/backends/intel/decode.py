"""``xpu-smi`` and ``xpumcli``: discovery, stats, health, config, ps and dump, as table, CSV and JSON.

The two tools print alike. Rows and columns are known by their names, so order, padding, added lines and
missing ones do not matter. Which name means what: metric_names.py. ``intel_gpu_top -J`` and
printed sysfs files are known too (gpu_top.py, sysfs_dump.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ullage_agent.backend import Decoded, DecodedCard
from ullage_agent.backends.intel.discovery import discovery_csv, discovery_entry
from ullage_agent.backends.intel.dump import decode_dump, is_dump_head
from ullage_agent.backends.intel.gpu_top import decode_gpu_top, is_gpu_top
from ullage_agent.backends.intel.statistics import health_card, settings_card, stats_card, stats_entry
from ullage_agent.backends.intel.sysfs_dump import from_dump
from ullage_agent.backends.json_text import find_json, listing, looks_like_json, mapping, word
from ullage_agent.backends.printed import Box, box, said, size, whole
from ullage_contract.errors import BadInput

Row = tuple[str, ...]


def decode(text: str) -> Decoded:
    """Whatever xpu-smi or xpumcli printed. Raises BadInput for a text that is neither's."""
    lines = [line.rstrip("\r") for line in text.replace("，", ",").splitlines()]
    if any(is_dump_head(line) for line in lines):
        return decode_dump(lines)
    if any(line.lstrip().lower().startswith(("device id,", "device name,", "uuid,")) for line in lines):
        return discovery_csv(lines)
    if any(line.lstrip().startswith("|") for line in lines):
        return _tables(box(lines), text)
    if is_gpu_top(text):
        return decode_gpu_top(text)
    if looks_like_json(text):
        return _json(find_json(text, "xpu-smi"))
    if any(line.split()[:3] == ["PID", "Command", "DeviceID"] for line in lines):
        return _processes(lines)
    if any(line.strip().startswith("Device Name:") for line in lines):
        return _bare(lines)
    dump = from_dump(lines)
    if dump is not None:
        return dump
    raise BadInput("this text is no output of xpu-smi or xpumcli: no table, CSV head or JSON of theirs in it")


# ---- boxes


def _tables(table: Box, text: str) -> Decoded:
    rows = [row for group in table.groups for row in group]
    found: dict[int | None, DecodedCard] = {}
    driver: str | None = None
    tool = None
    for title, index, entry in _blocks(rows):
        if title == "stats":
            card = stats_card(index, entry)
        elif title == "health":
            card = health_card(index, entry)
        elif title == "config":
            card = settings_card(index, entry)
        else:
            card, version = discovery_entry(index, _pairs(entry))
            driver = driver or version
        tool = tool or f"xpu-smi {title}"
        found[index] = card if index not in found else _merged(found[index], card)
    if not found:
        raise BadInput("this table is none of xpu-smi's: no device in it")
    torn = [] if text.rstrip().endswith(("+", "|")) else ["truncated: the last line of the table is cut off"]
    return Decoded("intel", tool or "xpu-smi", "table", driver, tuple(found.values()), notes=torn)


def _bare(lines: Sequence[str]) -> Decoded:
    """Discovery whose box was taken off on the way: a device begins where a name comes again."""
    blocks: list[list[Row]] = [[]]
    for line in lines:
        name = line.strip().partition(":")[0]
        if any(row[0].startswith(f"{name}:") for row in blocks[-1]) and name.startswith("Device "):
            blocks.append([])
        if line.strip():
            blocks[-1].append((line.strip(),))
    cards = []
    driver = None
    for number, rows in enumerate(blocks):
        card, version = discovery_entry(None, _pairs(rows))
        cards.append(card if card.index is not None else replace(card, index=number))
        driver = driver or version
    return Decoded("intel", "xpu-smi discovery", "text", driver, cards)


def _blocks(rows: Sequence[Row]) -> list[tuple[str, int | None, list[Row]]]:
    """(what it is, device, rows): one a device."""
    blocks: list[tuple[str, int | None, list[Row]]] = []
    title = "discovery"
    for row in rows:
        first = row[0].lower() if row else ""
        second = row[1] if len(row) > 1 else ""
        if first == "device id" and whole(second) is not None and second.strip().isdecimal():
            title = "stats"  # stats and health name the device on top; which one, the first row tells
            blocks.append((title, int(second), []))
        elif first in ("device id", "device type", "device information"):
            title = "config" if first == "device type" else "discovery"
        elif title == "config" and len(row) >= 3:
            device = second.partition("/")[0].strip()
            if device.isdecimal() and (not blocks or blocks[-1][1] != int(device)):
                blocks.append((title, int(device), []))
            if blocks:
                blocks[-1][2].append(row)
        elif title == "stats" and blocks:
            if first[:1].isdecimal() and ". " in first[:4]:
                blocks[-1] = ("health", blocks[-1][1], blocks[-1][2])
            blocks[-1][2].append(row)
        elif len(row) == 1 and row[0].lower().startswith("pci bdf address:"):
            blocks.append(("vgpu", len(blocks), [("", row[0])]))
        elif len(row) == 1 and blocks and ":" in row[0]:
            blocks[-1][2].append(("", row[0]))
        elif first.isdecimal() and ":" in second:
            blocks.append((title, int(first), [row]))
        elif not first and blocks:
            blocks[-1][2].append(row)
        elif not first and ":" in second:
            blocks.append((title, None, [row]))  # the lines above were cut off
    return blocks


def _pairs(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """``Key: value`` cells; a deeper line without a colon belongs to the one before."""
    pairs: list[tuple[str, str]] = []
    for row in rows:
        cell = row[1] if len(row) > 1 else "".join(row)
        key, colon, value = cell.partition(":")
        if colon:
            pairs.append((key.strip(), value.strip()))
        elif cell.strip() and pairs:
            pairs[-1] = (pairs[-1][0], f"{pairs[-1][1]} {cell.strip()}".strip())
    return pairs


def _merged(one: DecodedCard, other: DecodedCard) -> DecodedCard:
    return replace(
        one, values={**one.values, **other.values}, extra={**one.extra, **other.extra}, model=one.model or other.model
    )  # fmt: skip


# ---- ps


def _processes(lines: Sequence[str]) -> Decoded:
    """``xpu-smi ps``: SHR and MEM in kB (the tool's own help)."""
    held: dict[int, list[Mapping[str, Any]]] = {}
    for line in lines:
        words = line.split()
        if len(words) < 4 or not words[0].isdecimal():
            continue
        numbers = words[-3:]
        if not numbers[0].isdecimal():
            continue
        used = size(numbers[2], 1000)
        held.setdefault(int(numbers[0]), []).append(
            {
                "pid": int(words[0]),
                "command": " ".join(words[1:-3]),
                "memory_used_bytes": used,
                "memory_shared_bytes": size(numbers[1], 1000),
            }
        )
    cards = [DecodedCard(index, processes=rows) for index, rows in sorted(held.items())]
    return Decoded("intel", "xpu-smi ps", "text", cards=cards)


# ---- JSON


def _json(document: Any) -> Decoded:
    top = mapping(document)
    entries = [mapping(entry) for entry in listing(top.get("device_list")) or listing(top.get("datas"))]
    if not entries:
        entries = [mapping(entry) for entry in document] if isinstance(document, list) else [top]
    cards: list[DecodedCard] = []
    driver: str | None = None
    held: dict[int, list[Mapping[str, Any]]] = {}
    tool = None
    for entry in entries:
        index = whole(word(entry.get("device_id")))
        if "device_level" in entry or "tile_level" in entry:
            cards.append(stats_entry(index, entry))
            tool = "xpu-smi stats -j"
        elif "process_id" in entry:
            pid = whole(word(entry["process_id"]))
            row = {
                "pid": pid,
                "command": said(word(entry.get("process_name"))),
                "memory_used_bytes": size(word(entry.get("mem_size")), 1000),
            }
            held.setdefault(index if index is not None else 0, []).append(row)
            tool = "xpu-smi ps -j"
        elif any(name in entry for name in ("device_name", "pci_bdf_address", "uuid")):
            pairs = [(key, word(value) or "") for key, value in entry.items()]
            card, version = discovery_entry(index, pairs)
            cards.append(card)
            driver = driver or version
            tool = tool or "xpu-smi discovery -j"
    cards += [DecodedCard(index, processes=rows) for index, rows in sorted(held.items())]
    if not cards:
        raise BadInput("this JSON is not xpu-smi's: it has no device_list, device_level or device_name")
    return Decoded("intel", tool or "xpu-smi", "json", driver, cards)
