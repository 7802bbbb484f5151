"""``mthreads-gmi``: its table, ``-q`` as text and ``-q -j`` as JSON.

The table has no outer bars and three lines a card; blanks may have been collapsed on the way. It prints no
power. JSON keys carry stray blanks ("Power Draw ") and values their units; a text cut short keeps what it has.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ullage_agent.backend import Decoded, DecodedCard
from ullage_agent.backends.mthreads.gmi_tree import decode_tree, is_json, torn_json, tree_of_text
from ullage_agent.backends.printed import address, celsius, said, size
from ullage_agent.backends.smi_table import MOST_WIDTH
from ullage_contract.errors import BadInput
from ullage_contract.sample import Value

_VERSIONS: Final = re.compile(r"mthreads-gmi\s*:\s*(\S+?)?\s+Driver Version\s*:\s*(\S+)", re.IGNORECASE)
_HEAD: Final = re.compile(r"^\s*ID\s+Name\b.*\|", re.IGNORECASE)
_CARD: Final = re.compile(r"^\s*(\d+)\s+(\S[^|]*?)\s*\|")
_BUS: Final = re.compile(r"\b([0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7])\b")
_MASKED_BUS: Final = re.compile(r"[0-9a-fA-Fx*]{2,8}:[xX*]{2}|[xX*]{2}:[0-9a-fA-Fx*]{2}")
_PER_CENT: Final = re.compile(r"(\d+(?:\.\d+)?)\s*%")
_MEMORY: Final = re.compile(r"(\d+(?:\.\d+)?\s*[KMGT]i?B)\s*[(/]\s*(\d+(?:\.\d+)?\s*[KMGT]i?B)")
_LANES: Final = re.compile(r"\b(\d+)x\s*\(\s*(\d+)x\s*\)")
_TEMPERATURE: Final = re.compile(r"(?<![\w.])(-?\d+)\s*(?:°?C|℃)(?!\w)")
_WATTS: Final = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)\s*W\b(?:\s*/\s*(\d+(?:\.\d+)?)\s*W\b)?")
_PSTATE: Final = re.compile(r"(?<!\w)(P\d{1,2})(?!\w)")
_PROCESS: Final = re.compile(r"^\s*(\d+)\s+(\d+)\s+(\S.*?)\s+(\d+(?:\.\d+)?\s*[KMGT]i?B|N/A|-)\s*$")


def decode(text: str) -> Decoded:
    """The cards. Raises BadInput for a text that is not mthreads-gmi's."""
    lines = [line[:MOST_WIDTH].rstrip("\r").expandtabs() for line in text.splitlines()]
    if any(_HEAD.match(line) and "pcie" in line.lower() for line in lines):
        return _table(text, lines)
    if is_json(text):
        tree, whole_text = torn_json(text)
        return decode_tree(tree, "mthreads-gmi -q -j", "json", [] if whole_text else ["truncated JSON"])
    return decode_tree(tree_of_text(lines), "mthreads-gmi -q", "text", [])


def _table(text: str, lines: Sequence[str]) -> Decoded:
    versions = _VERSIONS.search(text)
    cards: list[list[str]] = []
    inside = False
    processes: dict[int, list[Mapping[str, Any]]] | None = None
    for line in lines:
        if processes is not None:
            _process(line, processes)
        elif re.match(r"^\s*Processes\s*:", line, re.IGNORECASE):
            processes = {}
        elif _HEAD.match(line):
            inside = True
        elif inside and (match := _CARD.match(line)) and "pcie" not in line.lower() and match[2]:
            cards.append([line])
        elif cards and "|" in line and not re.match(r"^\s*[+|=-]+\s*$", line):
            cards[-1].append(line)
    notes = ["masked: bus ids are overwritten"] if any(_MASKED_BUS.search(c[0]) for c in cards) else []
    if cards and len(cards[-1]) < 2:
        notes.append("truncated: the last card has only its first line")
    decoded = [_card(block, processes) for block in cards]
    if not decoded and versions is None:
        raise BadInput("no table of mthreads-gmi in this text")
    return Decoded(
        maker="mthreads",
        tool="mthreads-gmi",
        format="table",
        driver_version=versions[2] if versions else None,
        cards=decoded,
        extra={"tool_version": versions[1]} if versions and versions[1] else {},
        notes=notes,
    )


def _card(block: Sequence[str], processes: Mapping[int, list[Mapping[str, Any]]] | None) -> DecodedCard:
    match = _CARD.match(block[0])
    if match is None:
        raise BadInput("BUG: a card's first line changed")
    index = int(match[1])
    everything = "  ".join(block)
    behind = "  ".join(line.split("|", 1)[1] if "|" in line else line for line in block)
    found = _BUS.search(block[0])
    held = _MEMORY.search(behind)
    busy = _PER_CENT.search(behind)
    lanes = _LANES.search(behind)
    heat = _TEMPERATURE.search(behind)
    draw = _WATTS.search(behind)
    state = _PSTATE.search("  ".join([block[0].partition("|")[2], *block[1:]]))
    values: dict[str, Value | None] = {
        "utilization_ratio": float(busy[1]) / 100 if busy else None,
        "memory_used_bytes": size(held[1]) if held else None,
        "memory_total_bytes": size(held[2]) if held else None,
        "temperature_celsius": celsius(heat[1]) if heat else None,
        "power_watts": float(draw[1]) if draw else None,
        "power_limit_watts": float(draw[2]) if draw and draw[2] else None,
        "pcie_width": int(lanes[1]) if lanes else None,
        "pcie_width_max": int(lanes[2]) if lanes else None,
        "performance_state": state[1] if state else None,
    }
    kind = said(_PSTATE.sub("", block[1].split("|", 1)[0])) if len(block) > 1 else None
    mpc = bool(kind) and "mpc" in str(kind).lower()
    return DecodedCard(
        index=index,
        model=said(match[2]),
        pci_address=address(found[1]) if found else None,
        partition_mode="mpc" if mpc else None,
        values={key: value for key, value in values.items() if value is not None},
        processes=None if processes is None else processes.get(index, []),
        extra={
            **({"device_type": kind} if kind else {}),
            **({"ecc_mode": word} if (word := _ecc_mode(everything)) else {}),
        },
    )


def _ecc_mode(text: str) -> str | None:
    """The word of the third line: Enabled or Disabled; N/A says nothing."""
    match = re.search(r"\b(Enabled?|Disabled?|ON|OFF)\b", text.split("|")[-1])
    return match[1] if match else None


def _process(line: str, processes: dict[int, list[Mapping[str, Any]]]) -> None:
    match = _PROCESS.match(line)
    if match:
        processes.setdefault(int(match[1]), []).append(
            {"pid": int(match[2]), "name": match[3], "memory_used_bytes": size(match[4])}
        )
