"""``ni_rsrc_mon`` (Quadra) and ``ni_rsrc_mon_logan`` (T408, T432): text, full, simple, extra, json, json1, json2.

The tool lists resources (decoders, encoders, uploaders, scalers, AI engines), each with the device it is part
of; a card is one device. Its JSON is loose: several objects after each other, trailing commas, bare words.
MEM, SHARE_MEM and the loads are per cent (ni_rsrc_mon -h). Names and columns: libxcoder source/ni_rsrc_mon.c.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ullage_agent.backend import Decoded, DecodedCard
from ullage_agent.backends.json_text import listing, mapping, word
from ullage_agent.backends.netint.full_text import full_row, is_full_head
from ullage_agent.backends.printed import address, celsius, number, said, whole
from ullage_contract.errors import BadInput
from ullage_contract.sample import Value

Resource = Mapping[str, Any]
"""One line: the tool's own names (LOAD, MODEL_LOAD, ...) and ``kind``: decoder, encoder, scaler, ai, ..."""

KINDS: Final = ("decoder", "encoder", "uploader", "scaler", "ai", "nvme", "tp", "pcie")
_ENGINES: Final = ("decoder", "encoder", "scaler", "ai")
_HEAD: Final = re.compile(r"^\s*Num\s+(\w+?)s?\s*:\s*(\d+)", re.IGNORECASE)
_VERSION: Final = re.compile(r"\bup\s+\d+:\d+:\d+\s+v(\S+)")
_BARE: Final = re.compile(r'("[\w-]+"\s*:\s*)([A-Za-z0-9_.]+)(?=\s*[,}\]\n])')
_TRAILING: Final = re.compile(r",(\s*[}\]])")
_SIMPLE: Final = re.compile(r"^\s*(/dev/nvme\w+)\s*:\s*(\d+)\s*%", re.MULTILINE)
_COLD: Final = -273
"""TEMP when the firmware did not answer: 0 kelvin (ABSOLUTE_TEMP_ZERO)."""


def decode(text: str) -> Decoded:
    """The cards. Raises BadInput for a text that is neither tool's."""
    text = text.replace("\r\n", "\n")
    if re.search(r'"(?:decoder|encoder|uploader|scaler|AI|nvme|tp|pcie)s?"\s*:', text):
        form, found = "json", json_resources(text)
    else:
        form, found = "text", text_resources(text)
    simple = _SIMPLE.findall(text)
    if not found and not simple:
        if _HEAD.search(text) or "devices retrieved from current pool" in text:
            return _decoded(form, [], text)
        raise BadInput("this text is no output of ni_rsrc_mon: no resources of a device in it")
    cards = [card for card in cards_of(found)]
    known = {card.extra.get("device") for card in cards}
    cards += [
        DecodedCard(len(cards) + n, values={"control_cpu_ratio": int(load) / 100}, extra={"device": device})
        for n, (device, load) in enumerate(simple)
        if device not in known
    ]
    return _decoded(form, cards, text)


def _decoded(form: str, cards: Sequence[DecodedCard], text: str) -> Decoded:
    version = _VERSION.search(text)
    logan = "logan" in text.lower() or "NAMESPACE" in text or "BEST" in text
    return Decoded(
        maker="netint",
        tool="ni_rsrc_mon_logan" if logan else "ni_rsrc_mon",
        format=form,
        cards=cards,
        extra={"tool_version": version[1]} if version else {},
        notes=["truncated: the JSON is cut off"]
        if form == "json" and text.count("{") > text.count("}")
        else [],
    )


# ---- resources


def json_resources(text: str) -> list[Resource]:
    """Every resource of every object in the text; what cannot be read is passed over."""
    loose = _TRAILING.sub(r"\1", _BARE.sub(_quoted, text))
    found: list[Resource] = []
    decoder = json.JSONDecoder()
    position = 0
    while (position := loose.find("{", position)) >= 0:
        try:
            document, end = decoder.raw_decode(loose, position)
        except (ValueError, RecursionError):
            position += 1
            continue
        fields = mapping(document)
        for name, entries in fields.items():
            kind = _kind(name)
            if kind is not None:
                found += [{**mapping(entry), "kind": kind} for entry in listing(entries)]
        # a resource of a list that was cut off stands alone, under a heading that was not closed
        if "DEVICE" in fields and "INDEX" in fields:
            heads = re.findall(r'"(\w+)"\s*:\s*\[', loose[:position])
            kind = _kind(heads[-1]) if heads else None
            if kind is not None:
                found.append({**fields, "kind": kind})
        position = end
    return found


def _quoted(match: re.Match[str]) -> str:
    value = match[2]
    if value in ("true", "false", "null") or re.fullmatch(r"-?(0|[1-9]\d*)(\.\d+)?", value):
        return match[0]
    return f'{match[1]}"{value}"'


def text_resources(text: str) -> list[Resource]:
    """Rows under ``Num decoders: 2`` and a line of column names, whatever columns there are."""
    found: list[Resource] = []
    kind: str | None = None
    columns: list[str] = []
    full = False
    for line in text.splitlines():
        head = _HEAD.match(line)
        if head:
            kind, columns, full = _kind(head[1]), [], False
            continue
        words = line.split()
        if not words or words[0].startswith("*"):
            kind, columns = (None, []) if words else (kind, columns)
            continue
        if is_full_head(line):
            full, columns = True, []
        elif "TEMP" in words and "POWER" in words:
            kind, columns, full = "card", words, False
        elif "INDEX" in words:
            columns, full = [word_ for word_ in words if word_ != "BEST"], False
        elif full and kind is not None:
            row = full_row(kind, words)
            if row is not None:
                found.append({**row, "kind": kind})
        elif columns and kind is not None:
            cells = words[1:] if words[0] == "L" else words
            if cells[:1] and (cells[0].lstrip("-").isdecimal()):
                found.append({**dict(zip(columns, cells, strict=False)), "kind": kind})
    return found


def _kind(name: str) -> str | None:
    low = name.lower()
    return next((kind for kind in KINDS if low in (kind, f"{kind}s")), None)


# ---- cards


def cards_of(resources: Sequence[Resource]) -> list[DecodedCard]:
    """One card a device, in the order of first mention. ``card`` rows (TEMP, POWER, SN) go by their index."""
    by_device: dict[str, list[Resource]] = {}
    own: list[Resource] = [r for r in resources if r["kind"] == "card"]
    for resource in resources:
        device = said(word(resource.get("DEVICE")))
        if device is not None:
            by_device.setdefault(device, []).append(resource)
    cards = []
    for index, (device, parts) in enumerate(by_device.items()):
        card_rows = [r for r in parts if r["kind"] == "card"]
        if not card_rows and index < len(own) and "DEVICE" not in own[index]:
            card_rows = [own[index]]
        cards.append(_card(index, device, [*parts, *(r for r in card_rows if r not in parts)]))
    return cards


def _card(index: int, device: str, parts: Sequence[Resource]) -> DecodedCard:
    loads = {kind: _highest(parts, "LOAD", kind) for kind in _ENGINES}
    first = parts[0]
    values: dict[str, Value | None] = {
        "utilization_ratio": max((load for load in loads.values() if load is not None), default=None),
        "decoder_ratio": loads["decoder"],
        "encoder_ratio": loads["encoder"],
        "control_cpu_ratio": _highest(parts, "FW_LOAD"),
        "memory_ratio": max(
            (v for name in ("MEM", "SHARE_MEM", "P2P_MEM") if (v := _highest(parts, name)) is not None), default=None
        ),
        "temperature_celsius": next((t for part in parts if (t := _temperature(part)) is not None), None),
        "power_watts": next((p for part in parts if (p := _power(part)) is not None), None),
        "pcie_tx_bytes_per_second": _throughput(parts),
    }  # fmt: skip
    sessions = {part["kind"]: whole(word(part.get("INST"))) for part in parts if "INST" in part}
    extra: dict[str, Any] = {
        "device": device,
        "namespace": _first(parts, "NAMESPACE"),
        "firmware": _first(parts, "FR"),
        "firmware_flash": _first(parts, "N_FR"),
        "firmware_loader": _first(parts, "L_FL2V"),
        "flavour": _first(parts, "FLAVOR"),
        "numa_node": whole(_first(parts, "NUMA_NODE")),
        "scaler_ratio": loads["scaler"],
        "ai_ratio": loads["ai"],
        "model_load_ratio": _highest(parts, "MODEL_LOAD"),
        "sessions": {
            kind: count for kind, count in sessions.items() if count is not None and kind in KINDS[:5]
        },
    }
    return DecodedCard(
        index=whole(word(first.get("INDEX"))) if first["kind"] != "card" else index,
        serial=_first(parts, "SN"),
        pci_address=address(_first(parts, "PCIE_ADDR")),
        values={key: value for key, value in values.items() if value is not None},
        extra={key: value for key, value in extra.items() if value not in (None, {})},
    )


def _highest(parts: Sequence[Resource], name: str, kind: str | None = None) -> float | None:
    """The highest per cent under a name, as 0..1. The infrastructure's zeroes under LOAD are placeholders."""
    found = [
        printed / 100
        for part in parts
        if (kind is None or part["kind"] == kind)
        and (name == "FW_LOAD" or part["kind"] not in ("nvme", "tp", "pcie", "card"))
        and (printed := number(word(part.get(name)))) is not None
        and printed >= 0
    ]
    return max(found, default=None)


def _temperature(part: Resource) -> float | None:
    found = celsius(word(part.get("TEMP")))
    return None if found is None or found <= _COLD else found


def _power(part: Resource) -> float | None:
    """``12500mW``; N/A where the firmware has no power query."""
    text = said(word(part.get("POWER")))
    milliwatts = number(text)
    if text is None or milliwatts is None or milliwatts < 0:
        return None
    return milliwatts / 1000 if text.lower().endswith("mw") else milliwatts


def _throughput(parts: Sequence[Resource]) -> float | None:
    """PCIE_THROUGHPUT: card to host, in Gbit/s in steps of 100 Mbit/s (ni_rsrc_mon -h)."""
    for part in parts:
        found = number(word(part.get("PCIE_THROUGHPUT")))
        if part["kind"] == "pcie" and found is not None and found >= 0:
            return found * 1e9 / 8
    return None


def _first(parts: Sequence[Resource], name: str) -> str | None:
    return next((found for part in parts if (found := said(word(part.get(name))))), None)
