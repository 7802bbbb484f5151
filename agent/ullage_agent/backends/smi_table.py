"""Tables drawn after nvidia-smi's: a head of several lines, then a block of as many lines for each card.

The head says which cell holds what; inside a cell the values are known by their units. So column order,
widths, added columns and added words do not matter. Not here: whose table it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ullage_agent.backends.printed import Box, box, said, size

_LOG_PREFIX: Final = re.compile(r"^\s*#?\s*\[[^\]]*\]\s*>>\s?")
_POWER: Final = re.compile(
    r"(?:\b(N/A|NA|--|[\d.]+\s*W)\s*/\s*(N/A|NA|--|[\d.]+\s*W)|([\d.]+\s*W)(?:\s+([\d.]+\s*W))?)(?![\w/])",
    re.IGNORECASE,
)
_TEMPERATURE: Final = re.compile(r"(-?\d+(?:\.\d+)?)\s*(?:C\b|℃|°C|°|c\b)")
_MEMORY: Final = re.compile(r"([\d.]+)\s*([KMGT]i?B)?\s*/\s*([\d.]+)\s*([KMGT]i?B)", re.IGNORECASE)
_PER_CENT: Final = re.compile(r"(\d+(?:\.\d+)?)\s*%")
_BUS: Final = re.compile(
    r"\b(?:[0-9a-fA-F]{4,8}:)?[0-9a-fA-F]{2}:[0-9a-fA-F]{2}(?:[.:][0-9a-fA-F]{1,2})?(?:\.[0-7])?\b"
)
_HERTZ: Final = re.compile(r"(\d+(?:\.\d+)?)\s*MHz", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Block:
    """One card: (what the head says, what the card says) of each cell, line by line."""

    cells: tuple[tuple[str, str], ...]

    def find(self, *words: str) -> str | None:
        """The card's cell under the first head cell that holds all of ``words`` (any case); None where there is none."""
        for head, cell in self.cells:
            low = head.lower()
            if all(word.lower() in low for word in words):
                return cell
        return None

    @property
    def text(self) -> str:
        """All cells, for values that name themselves."""
        return "  ".join(cell for _, cell in self.cells)


def lines_of(text: str) -> list[str]:
    """The lines, with a log's ``# [aft] >>`` in front taken off and tabs widened."""
    return [_LOG_PREFIX.sub("", line.expandtabs()).rstrip("\r") for line in text.splitlines()]


def blocks(lines: Sequence[str], head_word: str, *also: str) -> list[Block]:
    """The cards of the first table whose head has ``head_word`` in its first cell and ``also`` anywhere in it."""
    table = box(lines)
    for number, group in enumerate(table.groups):
        head = _head(group, head_word, also)
        if head:
            body = [row for row in group[head.start + len(head.rows) :]]
            return list(_body([body, *table.groups[number + 1 :]], head.rows))
    return []


@dataclass(frozen=True, slots=True)
class _Head:
    start: int
    rows: tuple[tuple[str, ...], ...]


def _head(group: Sequence[tuple[str, ...]], word: str, also: Sequence[str]) -> _Head | None:
    """The head in a group, which may begin with a line of versions and hold the first card too."""
    for start, row in enumerate(group):
        if len(row) >= 2 and row[0].lower().split()[:1] == [word.lower()]:
            rows = [row]
            for more in group[start + 1 :]:
                if len(more) != len(row) or re.match(r"^\d+\b", more[0]):
                    break
                rows.append(more)
            text = " ".join(" ".join(cells) for cells in rows).lower()
            if all(part.lower() in text for part in also):
                return _Head(start, tuple(rows))
    return None


def _body(groups: Sequence[Sequence[tuple[str, ...]]], head: Sequence[tuple[str, ...]]) -> Iterator[Block]:
    """Blocks of as many lines as the head; a block cut short by the end of the text keeps what it has."""
    width, height = len(head[0]), len(head)
    for group in groups:
        if group and len(group[0]) != width:
            if len(group[0]) == 1 and group[0][0]:
                return  # another table begins
            continue
        current: list[tuple[str, str]] = []
        used = 0
        for row in group:
            if len(row) != width:
                continue
            if used == height or (
                used and re.match(r"^\d+\b", row[0]) and not _number_expected(head[used][0])
            ):
                yield Block(tuple(current))
                current, used = [], 0
            current += list(zip(head[used], row, strict=True))
            used += 1
        if current:
            yield Block(tuple(current))


def _number_expected(head: str) -> bool:
    """Whether a line under this head may itself begin with a digit: a temperature, fan or power."""
    return bool(re.match(r"(?i)\s*(temp|fan|pwr|power|perf|dpm|lpm)", head))


def index_and_name(cell: str | None) -> tuple[int | None, str]:
    """``0    Iluvatar BI-V100`` as (0, "Iluvatar BI-V100"); what stands behind two blanks more is dropped."""
    match = re.match(r"^\s*(\d+)\s+(.*)$", cell or "")
    if match is None:
        return None, ""
    return int(match[1]), re.split(r"\s{2,}", match[2].strip())[0]


def power(cell: str | None) -> tuple[float | None, float | None]:
    """(usage, cap) of ``54W / 250W``, ``105W  300W``, ``N/A / N/A``, ``71W``; 65535 W is a dead card's."""
    match = _POWER.search(cell or "")
    if match is None:
        return None, None
    return _watts(match[1] or match[3]), _watts(match[2] or match[4])


def _watts(text: str | None) -> float | None:
    clean = said(text)
    if clean is None:
        return None
    value = float(clean.lower().rstrip("w").strip())
    return value if value < 65535 else None


def temperature(cell: str | None) -> float | None:
    """``31C``, ``34℃``, ``39 C``."""
    match = _TEMPERATURE.search(cell or "")
    return float(match[1]) if match else None


def memory(cell: str | None) -> tuple[int | None, int | None]:
    """(used, total) bytes of ``513MiB / 32768MiB``, ``831/65536 MiB``."""
    match = _MEMORY.search(cell or "")
    if match is None:
        return None, None
    unit = match[2] or match[4]
    return size(f"{match[1]}{unit}"), size(f"{match[3]}{match[4]}")


def per_cent(cell: str | None) -> float | None:
    """The first per cent as 0..1."""
    match = _PER_CENT.search(cell or "")
    return float(match[1]) / 100 if match else None


def bus(cell: str | None) -> str | None:
    """The text of a PCI address in the cell, as printed."""
    match = _BUS.search(cell or "")
    return match[0] if match else None


def clocks(cell: str | None) -> list[float]:
    """Every ``1500MHz`` as hertz, in order."""
    return [float(value) * 1e6 for value in _HERTZ.findall(cell or "")]


def process_rows(lines: Sequence[str]) -> list[list[str]] | None:
    """Words of each line of the process table; [] when it says there are none, None when there is no such table."""
    inside: list[list[str]] | None = None
    for line in lines:
        low = line.lower()
        if re.search(r"\bprocess(es)?\s*:", low):
            inside = []
            continue
        if inside is None:
            continue
        words = line.strip().strip("|").split()
        if len(words) >= 3 and words[0].isdigit() and any(word.isdigit() for word in words[1:4]):
            inside.append(words)
    return inside


__all__ = ["Block", "Box", "blocks", "lines_of", "process_rows"]
