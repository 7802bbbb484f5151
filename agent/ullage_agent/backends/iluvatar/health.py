"""What the bits of ixmlDeviceGetHealth mean. Data: health.json. A bit that is not in it is critical: it is set."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ullage_contract.event import Severity


@dataclass(frozen=True, slots=True)
class Bit:
    """One row of health.json."""

    value: int
    name: str
    health: str

    @property
    def severity(self) -> Severity:
        return Severity.WARNING if self.health == "degraded" else Severity.CRITICAL


@cache
def table() -> dict[int, Bit]:
    """The shipped table by bit value."""
    # JSON and a plain path: tomllib and importlib.resources would cost the child half a mebibyte
    rows = json.loads(Path(__file__).with_name("health.json").read_text(encoding="utf-8"))["bits"]
    return {int(row["value"], 16): Bit(int(row["value"], 16), row["name"], row["health"]) for row in rows}


def bits(raw: int) -> Iterator[Bit]:
    """The bits that are set, lowest first."""
    known = table()
    for position in range(raw.bit_length()):
        value = 1 << position
        if raw & value:
            yield known.get(value) or Bit(value, f"bit {value:#x}", "critical")


def verdict(raw: int) -> tuple[str, str]:
    """(health word, detail). No bit: ("ok", "ok")."""
    standing = list(bits(raw))
    if not standing:
        return "ok", "ok"
    word = "critical" if any(bit.health == "critical" for bit in standing) else "degraded"
    return word, f"{', '.join(bit.name for bit in standing)} ({raw:#x})"
