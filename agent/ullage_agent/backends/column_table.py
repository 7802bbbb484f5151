"""Tables of blank-separated columns under one line of names: rocm-smi and hy-smi (Concise Info), amd-smi monitor.

A cell may hold blanks (``NPS1, SPX, 0``, ``0x74a1,  55354``, ``182 W``, ``141/750 W``): they are closed up
first, in the names as in the rows. Not here: what a column means.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

_RULE: Final = re.compile(r"[-=─═]{3}(?:.*[-=─═]{3})?[-=─═]*$")
_BRACKETS: Final = re.compile(r"\([^()]*\)")
_SQUARE: Final = re.compile(r"\[[^\[\]]*\]")
_LIST: Final = re.compile(r",\s+(?=\S)")
_UNIT: Final = re.compile(
    r"(?<=[\dA])\s+(W|kW|J|°C|℃|C|c|%|[MG]?Hz|Mhz|[KMGT]i?B|[KMG]b/s|GT/s|RPM|mV)(?=\s|/|$)"
)
_RATIO: Final = re.compile(r"(?<=[\dABW%])\s*/\s+(?=[\d.])|(?<=[\dABW%])\s+/\s*(?=[\d.])")
_ROW: Final = re.compile(r"^\s*\d+\b")


@dataclass(frozen=True, slots=True)
class Table:
    """names: lower case, what stood in brackets left out. rows: cells as printed, blanks closed up.

    below: for each row, the text of the lines under it that are no row (a name that needs a line of its own).
    torn: rows that have not as many cells as there are names; their first cells are kept.
    """

    names: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    below: tuple[str, ...] = ()
    torn: int = 0
    labels: str = ""

    def records(self) -> list[dict[str, str]]:
        """Each row as name -> cell."""
        return [dict(zip(self.names, row, strict=False)) for row in self.rows]


def column_table(lines: Sequence[str], is_head: Callable[[Sequence[str]], bool]) -> Table | None:
    """The first table whose names ``is_head`` takes; None where there is none."""
    for number, line in enumerate(lines):
        names = tuple(_closed(_SQUARE.sub(" ids ", _BRACKETS.sub(" ", line))).lower().split())
        if len(names) >= 3 and is_head(names):
            return _body(lines[number + 1 :], names, line)
    return None


def _body(lines: Sequence[str], names: tuple[str, ...], head: str) -> Table:
    rows: list[tuple[str, ...]] = []
    below: list[str] = []
    labels = head
    torn = 0
    for line in lines:
        if not line.strip() or _RULE.match(line.strip()):
            if rows and "=" in line:
                break  # the rule under the rows; the one under the names comes before any row
            continue
        if not _ROW.match(line):
            if rows:
                below[-1] = f"{below[-1]} {line.strip()}".strip()
            else:
                labels += "\n" + line
            continue
        cells = tuple(_closed(_SQUARE.sub("ids", line)).split())
        if len(cells) != len(names):
            torn += 1
        rows.append(cells[: len(names)])
        below.append("")
    return Table(names, tuple(rows), tuple(below), torn, labels)


def _closed(line: str) -> str:
    """The line with the blanks inside cells taken out."""
    line = _RATIO.sub("/", line)
    line = _UNIT.sub(r"\1", line)
    return _LIST.sub(",", line)
