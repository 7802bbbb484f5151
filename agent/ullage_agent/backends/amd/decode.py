"""What people send of AMD cards: rocm-smi, amd-smi and printed sysfs files. Each form has its module."""

from __future__ import annotations

import json

from ullage_agent.backend import Decoded
from ullage_agent.backends.amd import amd_smi, rocm_smi, sysfs_dump
from ullage_agent.backends.json_text import find_json, looks_like_json
from ullage_contract.errors import BadInput

MEMORY_USE_IS = "memory_bandwidth_ratio"
"""AMD's "GPU memory use (%)" is rsmi_dev_memory_busy_percent: a card with 12 % of its memory allocated said 0."""


def decode(text: str) -> Decoded:
    """The cards. Raises BadInput for a text that is neither tool's and no sysfs dump."""
    if looks_like_json(text) and (found := _json(text)) is not None:
        return found
    lines = [line.expandtabs().rstrip("\r") for line in text.splitlines()]
    found = (
        amd_smi.from_table(text, lines)
        or rocm_smi.from_concise(lines, first_names=frozenset({"gpu", "device"}))
        or rocm_smi.from_lines(text, memory_use_is=MEMORY_USE_IS)
        or amd_smi.from_text(lines)
        or rocm_smi.from_csv(lines, memory_use_is=MEMORY_USE_IS)
        or amd_smi.from_csv(lines)
        or amd_smi.from_monitor(lines)
        or sysfs_dump.from_dump(lines)
    )
    if found is not None:
        return found
    raise BadInput("this is no output of rocm-smi or amd-smi and no dump of /sys/class/drm/cardN/device")


def _json(text: str) -> Decoded | None:
    try:
        document = find_json(text, "rocm-smi or amd-smi")
    except BadInput:
        return None  # a list in brackets inside a text form
    if isinstance(document, dict):
        merged = _all_objects(text) if any(key.lower().startswith("card") for key in document) else document
        if any(key.lower().startswith("card") for key in merged):
            return rocm_smi.from_json(merged, memory_use_is=MEMORY_USE_IS)
    return amd_smi.from_json(document)


def _all_objects(text: str) -> dict[str, object]:
    """Several rocm-smi objects one after another (one a command) as one: cards' pairs are put together."""
    decoder = json.JSONDecoder()
    merged: dict[str, object] = {}
    position = 0
    while (start := text.find("{", position)) >= 0:
        try:
            document, position = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            position = start + 1
            continue
        if isinstance(document, dict):
            for key, value in document.items():
                known = merged.get(key)
                merged[key] = (
                    {**known, **value} if isinstance(known, dict) and isinstance(value, dict) else value
                )
    return merged


__all__ = ["decode"]
