"""What vendors' tools print for a value, and for none; and the boxes they draw around it. Shared by decoders.

Not here: nvidia-smi, whose words are its own (backends/nvidia/printed.py).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from ullage_contract.errors import BadInput
from ullage_contract.identity import pci_address

KIB: Final = 1 << 10
MIB: Final = 1 << 20
GIB: Final = 1 << 30

ABSENT: Final = frozenset(
    {
        "",
        "-",
        "--",
        "n/a",
        "na",
        "none",
        "null",
        "unknown",
        "unsupported",
        "not supported",
        "not available",
        "err!",
        "error",
    }
)
"""Texts that say nothing, in lower case, brackets taken off."""

_NUMBER: Final = re.compile(r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_SIZE: Final = re.compile(r"([+-]?\d+(?:\.\d+)?)\s*((?:[kmgt]i?)?b?)\b", re.IGNORECASE)
_UNITS: Final = {"": 1, "b": 1, "k": KIB, "m": MIB, "g": GIB, "t": 1 << 40}


def said(text: str | None) -> str | None:
    """The text without blanks around it, or None where it is a way of saying nothing."""
    if text is None:
        return None
    clean = text.strip()
    return None if clean.strip("[]<>()").strip().lower() in ABSENT else clean


def number(text: str | None) -> float | None:
    """The first number of ``33.01°C``, ``45.2W``, ``0 %``; None where there is none."""
    clean = said(text)
    match = _NUMBER.search(clean) if clean else None
    return _finite(match.group()) if match else None


def _finite(text: str) -> float | None:
    """The number, unless it is longer than any counter: a text torn in the middle of digits."""
    found = float(text)
    return found if abs(found) < 1e19 else None


def whole(text: str | None) -> int | None:
    """``number`` as an integer; also 0x..."""
    clean = said(text)
    if clean and re.fullmatch(r"0[xX][0-9a-fA-F]+", clean):
        return int(clean, 16)
    found = number(clean)
    return None if found is None else int(found)


def ratio(text: str | None) -> float | None:
    """Per cent as 0..1; below 0 is nonsense and None."""
    found = number(text)
    return None if found is None or found < 0 else found / 100


def size(text: str | None, unit: int = MIB) -> int | None:
    """Bytes from ``15.7GiB`` or ``704 MB`` (tools mean 2^20 by MB); a bare number counts in ``unit``."""
    clean = said(text)
    match = _SIZE.search(clean) if clean else None
    if match is None:
        return None
    letters = match[2].lower()
    factor = _UNITS[letters[:1] if letters not in ("b",) else "b"] if letters else unit
    found = _finite(match[1])
    return None if found is None else round(found * factor)


def watts(text: str | None) -> float | None:
    """Power; negative and 65535 (all bits of 16) are no power."""
    found = number(text)
    return None if found is None or not 0 <= found < 65535 else found


def celsius(text: str | None) -> float | None:
    """A temperature; outside -100..300 it is a sentinel."""
    found = number(text)
    return None if found is None or not -100 <= found <= 300 else found


def hertz(text: str | None) -> float | None:
    """MHz as hertz."""
    found = number(text)
    return None if found is None or found < 0 else found * 1e6


def address(text: str | None) -> str | None:
    """A PCI address as DDDD:BB:DD.F; None for a masked or absent one."""
    clean = said(text)
    if clean is None:
        return None
    try:
        return pci_address(clean)
    except BadInput:
        return None


def csv_rows(lines: Iterable[str], *, skipinitialspace: bool = False) -> list[list[str]]:
    """The cells of comma-separated lines. Raises BadInput for a cell beyond the csv module's 131,072 characters."""
    try:
        return list(csv.reader(lines, skipinitialspace=skipinitialspace))
    except csv.Error as e:
        raise BadInput(f"this is no table of comma-separated values: {e}") from e


@dataclass(frozen=True, slots=True)
class Box:
    """A table drawn with ``|`` and ``+---+``: its cells line by line, and which lines a rule separates.

    groups: each a run of lines between two rules; each line its cells, blanks around them taken off.
    """

    groups: tuple[tuple[tuple[str, ...], ...], ...]


_RULE: Final = re.compile(r"^\s*[+|]?[\s+|]*[-=─═┄]{3,}[-=+|\s─═┼╪├┤╞╡┌┐└┘┬┴]*$")
_BAR: Final = re.compile(r"[|│┃]")


def box(lines: Sequence[str]) -> Box:
    """Every group of table lines in a text; lines without a bar are passed over."""
    groups: list[tuple[tuple[str, ...], ...]] = []
    group: list[tuple[str, ...]] = []
    for line in lines:
        if _RULE.match(line.rstrip()) or (
            set(line.strip()) <= set("+-=|") and "-" in line + "-" and line.strip()
        ):
            if group:
                groups.append(tuple(group))
                group = []
            continue
        if _BAR.search(line):
            cells = _BAR.split(line.strip())
            if cells and not cells[0].strip():
                cells = cells[1:]
            if cells and not cells[-1].strip():
                cells = cells[:-1]
            group.append(tuple(cell.strip() for cell in cells))
    if group:
        groups.append(tuple(group))
    return Box(tuple(groups))
