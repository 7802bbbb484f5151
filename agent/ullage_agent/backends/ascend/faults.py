"""What Huawei asks to be done for a fault code: fault_codes.json, or the maker's own newer faultCode.json.

A code is a 32-bit number, written as eight hex digits (80E18402). Codes in no level are told as warnings: unknown
is neither harmless nor a reason to isolate. Not here: asking for the codes (chip.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ullage_contract.errors import ConfigError
from ullage_contract.event import Severity

MOST_BYTES: Final = 4 << 20  # our choice: because Huawei's table has some kilobytes
_GRAVEST_FIRST: Final = (Severity.FATAL, Severity.CRITICAL, Severity.WARNING, Severity.INFO)


@dataclass(frozen=True, slots=True)
class Level:
    """name: Huawei's word (SeparateNPU without NPU). meaning: in ours. health: what the card is while such a code
    stands. action: a word of RECOVERY_ACTIONS, or None."""

    name: str
    meaning: str
    severity: Severity
    health: str
    action: str | None = None


UNLISTED: Final = Level("unlisted", "a code the fault table does not know", Severity.WARNING, "degraded")


class FaultTable:
    """Codes by level."""

    def __init__(self, levels: Mapping[str, Level], codes: Mapping[int, str]) -> None:
        self._levels = levels
        self._codes = codes

    def level(self, code: int) -> Level:
        """The level of a code; UNLISTED where no level has it."""
        name = self._codes.get(code)
        return UNLISTED if name is None else self._levels[name]

    def worst(self, codes: Iterable[int]) -> Level | None:
        """The gravest level among the codes; None when there are none."""
        found = [self.level(code) for code in codes]
        return min(found, key=lambda level: _GRAVEST_FIRST.index(level.severity), default=None)

    def __len__(self) -> int:
        return len(self._codes)


def shipped() -> FaultTable:
    """The table of this package."""
    # read beside this file: importlib.resources would bring a megabyte of modules into the child
    document = json.loads(Path(__file__).with_name("fault_codes.json").read_text(encoding="utf-8"))
    levels = {
        name: Level(name, row["meaning"], Severity(row["severity"]), row["health"], row.get("action"))
        for name, row in document["levels"].items()
    }
    return FaultTable(
        levels, {int(code, 16): name for name, row in document["levels"].items() for code in row["codes"]}
    )


def from_file(path: Path) -> FaultTable:
    """Huawei's faultCode.json. Raises ConfigError naming the file and what it should hold."""
    advice = 'give Huawei\'s faultCode.json: {"SeparateNPUCodes": ["80E3A201", ...], ...}'
    try:
        with path.open("rb") as file:
            document: Any = json.loads(file.read(MOST_BYTES))
    except (OSError, ValueError) as e:
        raise ConfigError(f"[backends.ascend] fault_codes = {str(path)!r}: {e}; {advice}") from e
    known = shipped()._levels
    codes: dict[int, str] = {}
    if isinstance(document, dict):
        # graver levels first, so that a code listed twice keeps the graver
        for name in known:
            for key in (f"{name}Codes", f"{name}FaultCodes", f"{name}NPUCodes"):
                for code in document.get(key, ()):
                    try:
                        codes.setdefault(int(str(code), 16), name)
                    except ValueError:
                        continue  # switch and network codes of other forms are not chip codes
    if not codes:
        raise ConfigError(f"[backends.ascend] fault_codes = {str(path)!r}: it lists no code; {advice}")
    return FaultTable(known, codes)
