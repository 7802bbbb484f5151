"""``intel_gpu_top -J``: one JSON object a period, in a list that is not closed while the tool runs (igt-gpu-tools).

Per period: engines by name with busy per cent, the GPU's frequency, rc6 per cent and power in watts.
"""

from __future__ import annotations

import json
from typing import Any

from ullage_agent.backend import Decoded
from ullage_agent.backends.json_text import mapping, word
from ullage_agent.backends.printed import number


def is_gpu_top(text: str) -> bool:
    """Whether a text has such objects."""
    return '"engines"' in text and '"rc6"' in text


def decode_gpu_top(text: str) -> Decoded:
    """Periods as ``samples``; one that was cut off is left out and noted."""
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    decoder = json.JSONDecoder()
    position = text.find("{")
    while position >= 0:
        try:
            document, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError):
            notes.append("truncated: a period is cut off")
            break
        rows.append(_row(mapping(document)))
        position = text.find("{", position)
    return Decoded("intel", "intel_gpu_top", "json", samples=rows, extra={"samples": len(rows)}, notes=notes)


def _row(document: dict[str, Any]) -> dict[str, Any]:
    engines = {
        name: number(word(mapping(e).get("busy"))) for name, e in mapping(document.get("engines")).items()
    }
    busy = [share / 100 for share in engines.values() if share is not None]
    clock = number(word(mapping(document.get("frequency")).get("actual")))
    idle = number(word(mapping(document.get("rc6")).get("value")))
    return {
        "index": 0,
        "utilization_ratio": max(busy, default=None),
        "clock_core_hertz": None if clock is None else clock * 1e6,
        "power_watts": number(word(mapping(document.get("power")).get("GPU"))),
        "package_power_watts": number(word(mapping(document.get("power")).get("Package"))),
        "idle_ratio": None if idle is None else idle / 100,
        "engines": engines,
    }
