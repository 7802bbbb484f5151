"""What the bits of ixmlDeviceGetHealth mean. Data: health.toml. A bit that is not in it is critical: it is set."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ullage_contract.event import Severity


@dataclass(frozen=True, slots=True)
class Bit:
    """One row of health.toml."""

    value: int
    name: str
    health: str

    @property
    def severity(self) -> Severity:
        return Severity.WARNING if self.health == "degraded" else Severity.CRITICAL


@cache
def table() -> dict[int, Bit]:
    """The shipped table by bit value."""
    # not importlib.resources: it costs the child half a mebibyte, and a package that reads C libraries is on disk
    text = Path(__file__).with_name("health.toml").read_text(encoding="utf-8")
    return {row["value"]: Bit(row["value"], row["name"], row["health"]) for row in tomllib.loads(text)["bit"]}


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
