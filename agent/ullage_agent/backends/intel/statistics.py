"""``stats``, ``health`` and ``config`` of xpu-smi and xpumcli: one device each, values of tiles side by side.

``Tile 0: avg: 88, min: 88, max: 90, current: 89`` is a tile's; ``0; Engine 0: 0`` the device's and its
engines'; ``0, total: 0`` what happened in the period and since start. The device's value is the tool's own
where it prints one, else its tiles' mean or sum, as the tool's help says for each.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ullage_agent.backend import DecodedCard
from ullage_agent.backends.intel.discovery import plain
from ullage_agent.backends.intel.metric_names import JSON_TYPES, Meaning, meaning, sane
from ullage_agent.backends.json_text import listing, mapping, word
from ullage_agent.backends.printed import MIB, celsius, hertz, number, said, watts
from ullage_contract.sample import Value

_PART: Final = re.compile(r"(?:Tile|Engine)\s*\d+\s*:")
_NAMED: Final = re.compile(r"(avg|min|max|current|total)\s*:\s*(-?[\d.]+)", re.IGNORECASE)
_OK: Final = frozenset({"ok", "healthy"})
_BAD: Final = {"warning": "degraded", "critical": "critical", "severe": "critical", "error": "critical"}
Row = tuple[str, ...]


def stats_card(index: int | None, rows: Sequence[Row]) -> DecodedCard:
    """``stats -d N``."""
    values: dict[str, Value] = {}
    extra: dict[str, Any] = {}
    for name, text in _joined(rows):
        found = _numbers(text)
        known = meaning(name)
        if known is None:
            if said(text) is not None and name:
                extra[plain(name)] = found[0] if len(found) == 1 else text
        elif found and all(sane(known.key, printed) for printed in found):
            values[known.key] = _device(known, found)
    return DecodedCard(index, values=values, extra=extra)


def stats_entry(index: int | None, entry: Mapping[str, Any]) -> DecodedCard:
    """``stats -d N -j``: device_level, else tile_level joined."""
    values: dict[str, Value] = {}
    tiles: dict[str, list[float]] = {}
    for tile in listing(entry.get("tile_level")):
        for item in map(mapping, listing(mapping(tile).get("data_list"))):
            printed = number(word(item.get("value", item.get("avg"))))
            if printed is not None:
                tiles.setdefault(str(item.get("metrics_type")), []).append(printed)
    levels = {
        str(item.get("metrics_type")): number(word(item.get("value", item.get("avg"))))
        for item in map(mapping, listing(entry.get("device_level")))
    }
    for name, known in JSON_TYPES.items():
        own = levels.get(name)
        found = [own] if own is not None else tiles.get(name, [])
        if known.key == "memory_used_bytes":
            found = [_mebibytes(printed) for printed in found]
        if found and all(sane(known.key, printed) for printed in found):
            values[known.key] = _device(known, found)
    return DecodedCard(index, values=values)


def health_card(index: int | None, rows: Sequence[Row]) -> DecodedCard:
    """``health -d N``: the worst component's word is the card's."""
    components: dict[str, dict[str, str]] = {}
    current: dict[str, str] = {}
    for row in rows:
        name = row[0].partition(".")[2].strip() or row[0]
        if name:
            current = components.setdefault(plain(name), {})
        key, colon, value = (row[1] if len(row) > 1 else "").partition(":")
        if colon:
            current[plain(key)] = value.strip()
    words = [(name, word_) for name, part in components.items() if (word_ := said(part.get("status")))]
    values: dict[str, Value | None] = {
        "temperature_limit_celsius": celsius(components.get("gpu_core_temperature", {}).get("throttle_threshold")),
        "power_limit_watts": watts(components.get("gpu_power", {}).get("throttle_threshold")),
    }  # fmt: skip
    if words:
        worst = next((word_ for _, word_ in words if word_.lower() not in _OK), words[0][1])
        values["health_detail"] = worst
        values["health"] = "ok" if worst.lower() in _OK else _BAD.get(worst.lower())
    return DecodedCard(
        index,
        values={key: value for key, value in values.items() if value is not None},
        extra={"components": dict(words)} if words else {},
    )


def settings_card(index: int | None, rows: Sequence[Row]) -> DecodedCard:
    """``config -d N``: the power limit, memory ECC and the highest clock allowed."""
    values: dict[str, Value] = {}
    extra: dict[str, Any] = {}
    section = ""
    for row in rows:
        key, colon, value = row[-1].partition(":")
        name = plain(key)
        if not colon:
            continue
        if name.startswith("power_limit"):
            limit = watts(value)
            if limit is not None:
                values["power_limit_watts"] = limit
        elif name.startswith("gpu_max_frequency"):
            clock = hertz(value)
            if clock is not None:
                values["clock_core_max_hertz"] = clock
        elif name in ("memory_ecc", "memory_ecc_state"):
            section = "ecc"
        elif section == "ecc" and name in ("current", "pending"):
            extra[f"ecc_{name}"] = said(value)
    return DecodedCard(index, values=values, extra={k: v for k, v in extra.items() if v is not None})


def _joined(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """(name, text) with the tiles' lines of their own put together: a name that runs on has only a unit in it."""
    joined: list[tuple[str, str]] = []
    for row in rows:
        name, text = row[0].strip(), (row[1] if len(row) > 1 else "").strip()
        runs_on = not name or name.startswith("(")
        if runs_on and joined and text:
            joined[-1] = (joined[-1][0], f"{joined[-1][1]} {text}".strip())
        elif not runs_on:
            joined.append((name, text))
    return joined


def _numbers(text: str) -> list[float]:
    """The device's number alone where the text has one, else one a tile or engine."""
    clean = said(text)
    if clean is None:
        return []
    parts = [part for part in _PART.split(clean) if part.strip(" ,;")]
    leading = None if _PART.match(clean) or not parts else parts[0]
    if leading is not None:
        parts = [leading]
    return [found for part in parts if (found := _one(part)) is not None]


def _one(text: str) -> float | None:
    named = {
        name.lower(): float(value)
        for name, value in _NAMED.findall(text)
        if value.count(".") <= 1 and value != "."
    }
    for name in ("total", "current", "avg"):
        if name in named:
            return named[name]
    return number(text.split(",")[0])


def _mebibytes(printed: float) -> float:
    """Memory in MiB: releases differ in whether the JSON holds MiB or bytes; no card has 4 TiB."""
    return printed / MIB if printed >= 1 << 22 else printed


def _device(known: Meaning, found: Sequence[float]) -> Value:
    total = sum(found)
    return known.value(total if known.joined == "sum" else total / len(found))
