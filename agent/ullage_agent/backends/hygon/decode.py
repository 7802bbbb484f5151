"""What people send of Hygon DCUs: ``hy-smi`` (older: ``rocm-smi``) as table, lines, CSV and JSON, ``hy-smi virtual``.

hy-smi descends from rocm-smi and keeps its words with DCU, later HCU, for GPU. Its ``--json`` is no valid JSON on
BW cards (commas missing, empty keys, values with bare units), so it is read pair by pair.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ullage_agent.backend import Decoded, DecodedCard
from ullage_agent.backends.amd import rocm_smi
from ullage_agent.backends.printed import said, size
from ullage_contract.errors import BadInput

MEMORY_USE_IS: Final = "memory_ratio"
"""Hygon's "HCU memory use (%)" is how full it is: 98 beside 64169 of 65520 MiB (a BW card's output)."""

_CARD: Final = re.compile(r'"card(\d+)"\s*:\s*\{', re.IGNORECASE)
_SYSTEM: Final = re.compile(r'"system"\s*:\s*\{', re.IGNORECASE)
_PAIR: Final = re.compile(r'"([^"{}]*)"\s*:\s*(?:"([^"]*)"|([^",{}\s][^",{}]*))')
_DEVICE: Final = re.compile(r"^\s*(Virtual\s+)?Device\s+(\d+)\s*:\s*$", re.IGNORECASE)
_FIELD: Final = re.compile(r"^\s*([A-Za-z][\w %()]*?)\s*:\s*(.*?)\s*$")


def decode(text: str) -> Decoded:
    """The cards. Raises BadInput for a text that is not this tool's."""
    if _CARD.search(text):
        return _json(text)
    lines = [line.expandtabs().rstrip("\r") for line in text.splitlines()]
    if any(_DEVICE.match(line) for line in lines):
        return _virtual(lines)
    tool = "rocm-smi" if "ROCm" in text else "hy-smi"
    found = (
        rocm_smi.from_concise(
            lines, first_names=frozenset({"dcu", "hcu", "gpu", "device"}), maker="hygon", tool=tool
        )
        or rocm_smi.from_lines(text, maker="hygon", memory_use_is=MEMORY_USE_IS)
        or rocm_smi.from_csv(lines, maker="hygon", memory_use_is=MEMORY_USE_IS)
    )
    if found is None:
        raise BadInput("no table, lines, CSV or JSON of hy-smi in this text")
    return _named(found, tool)


def _json(text: str) -> Decoded:
    """Every ``"key": value`` between one ``"cardN": {`` and the next, whatever stands or lacks between them."""
    starts = [*_CARD.finditer(text)]
    system = _SYSTEM.search(text)
    ends = sorted([match.start() for match in starts] + ([system.start()] if system else []) + [len(text)])
    document: dict[str, Any] = {}
    for match in starts:
        end = next(place for place in ends if place > match.start())
        document.setdefault(f"card{match[1]}", {}).update(_pairs(text[match.end() : end]))
    if system:
        end = next(place for place in ends if place > system.start())
        document["system"] = _pairs(text[system.end() : end])
    decoded = _named(rocm_smi.from_json(document, maker="hygon", memory_use_is=MEMORY_USE_IS), "hy-smi")
    import json

    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return _noted(decoded, "not valid JSON: read pair by pair")
    return decoded


def _pairs(text: str) -> dict[str, str]:
    """The first value of every key that is not empty."""
    found: dict[str, str] = {}
    for match in _PAIR.finditer(text):
        value = match[2] if match[2] is not None else match[3]
        if match[1].strip():
            found.setdefault(match[1], value.strip())
    return found


def _virtual(lines: Sequence[str]) -> Decoded:
    """``hy-smi virtual -show-device-info`` and ``-show-vdevice-info``: devices, and parts of devices."""
    cards: dict[int, dict[str, str]] = {}
    parts: list[dict[str, Any]] = []
    current: dict[str, str] = {}
    for line in lines:
        if device := _DEVICE.match(line):
            current = {}
            if device[1]:
                parts.append({"instance": int(device[2]), "fields": current})
            else:
                cards[int(device[2])] = current
            continue
        if field := _FIELD.match(line):
            current.setdefault(field[1].lower(), field[2])
    slices: dict[int, list[Mapping[str, Any]]] = {}
    for part in parts:
        fields = part["fields"]
        actual = _whole(fields.get("actual device"))
        if actual is None:
            continue
        cards.setdefault(actual, {})
        values = {
            "memory_total_bytes": size(fields.get("global memory"), 1),
            "memory_used_bytes": size(fields.get("usage memory", fields.get("used memory")), 1),
        }
        slices.setdefault(actual, []).append(
            {
                "instance": part["instance"],
                "profile": f"{fields.get('compute units', '?')}cu",
                "compute_units": _whole(fields.get("compute units")),
                "values": {key: value for key, value in values.items() if value is not None},
            }
        )
    return Decoded(
        maker="hygon",
        tool="hy-smi virtual",
        format="text",
        cards=[_physical(index, fields, slices.get(index, ())) for index, fields in sorted(cards.items())],
    )


def _physical(index: int, fields: Mapping[str, str], slices: Sequence[Mapping[str, Any]]) -> DecodedCard:
    total = size(fields.get("global memory"), 1)
    units = _whole(fields.get("compute units"))
    return DecodedCard(
        index=index,
        partition_mode="vdcu" if slices else None,
        values={} if total is None else {"memory_total_bytes": total},
        slices=slices,
        extra={} if units is None else {"compute_units": units},
    )


def _whole(text: str | None) -> int | None:
    clean = said(text)
    match = re.match(r"\d+", clean) if clean else None
    return int(match[0]) if match else None


def _named(decoded: Decoded, tool: str) -> Decoded:
    from dataclasses import replace

    return replace(decoded, maker="hygon", tool=tool)


def _noted(decoded: Decoded, note: str) -> Decoded:
    from dataclasses import replace

    return replace(decoded, notes=(*decoded.notes, note))
