"""A PDF table's columns and rows: how wide a column is, where a text may break, which rows a page keeps together.

Widths are guessed (svg.text_width) on the wide side, so that what is planned here still stands when typst sets it.
"""

from __future__ import annotations

import re
from typing import Final

from ullage_reports.svg import text_width
from ullage_reports.table import Cell, Table

PAGE_POINTS: Final = 595.28 - 2 * 45.35
"""Width of the text on A4 with the template's margins of 16 mm."""
_TABLE_POINTS: Final = 8.6
"""Size of the larger table text in the template."""
_HEADING_POINTS: Final = 7.3
NARROWER: Final = 1.12
"""Our font is that much narrower than what text_width allows for."""
_WORD_EMS: Final = 9.0
"""Of a longer word a column may still be narrower: it is broken with ``breakable``. Our choice: longer ones are ids."""
_WORD: Final = re.compile(r"[^\s\-_/.:\u2e80-\U0003ffff]+[\-_/.:]?|[\u2e80-\U0003ffff]{1,2}")
_LEAST_SCALE: Final = 0.7
"""How much smaller a table's text may be made until its words fit. Our choice: because 5.6 pt can still be read."""
_FIRST_ROWS: Final = 3
"""Rows of a longer table that stay with its heading, where a page ends."""
HELD_LINES: Final = 20
"""Lines that are held together by a page at most. Our choice: because the page loses a third of itself."""
ZERO_WIDTH_SPACE: Final = "\u200b"


def layout(table: Table) -> tuple[list[float], float, list[float]]:
    """Points for each column; how much smaller the text is made, 1 for not at all; and each column's room in ems.

    By weight, but a figure, an instant and a word never break: where one needs more, the others give of what they can
    spare; where none can, the text is made smaller. Where there is room for it, a heading takes two lines at most and
    a second text stands beside the first.
    """
    columns = table.shown_columns
    weights = sum(column.weight for column in columns)
    widths = [PAGE_POINTS * column.weight / weights for column in columns]
    least = [_least(table, n) for n in range(len(columns))]
    scale = min(PAGE_POINTS / sum(least), 1.0)
    if scale < 1:
        least = [needed * scale for needed in least]
    else:
        wanted = [
            max(needed, min(_natural(table, n), width))
            for n, needed, width in zip(range(len(columns)), least, widths, strict=True)
        ]
        for extra in (_heading, _both):
            for n in range(len(columns)):
                more = max(extra(table, n) - wanted[n], 0.0)
                if sum(wanted) + more <= PAGE_POINTS:
                    wanted[n] += more
        if sum(wanted) <= PAGE_POINTS:
            least = wanted
    widths = [max(width, needed) for width, needed in zip(widths, least, strict=True)]
    spare = [width - needed for width, needed in zip(widths, least, strict=True)]
    over = sum(widths) - PAGE_POINTS
    if over > 0 and sum(spare) > 0:
        widths = [width - over * free / sum(spare) for width, free in zip(widths, spare, strict=True)]
    scale = max(scale, _LEAST_SCALE)
    ems = [NARROWER * (width / (_TABLE_POINTS * scale) - 1.2) for width in widths]
    return widths, scale, ems


def _natural(table: Table, n: int) -> float:
    """Points the nth column needs so that no cell of it breaks."""
    cells = [row[n] for row in table.shown_rows]
    ems = max(
        (max(text_width(c.text, 1), text_width(c.sub, 7 / 8)) + c.indent * 1.1 for c in cells), default=0.0
    )
    return _points(ems)


def _both(table: Table, n: int) -> float:
    """Points it needs so that each second text stands beside the first; 0 without any."""
    cells = [row[n] for row in table.shown_rows if row[n].sub and not row[n].swatch]
    ems = max(
        (text_width(c.text, 1) + 1 + text_width(c.sub, 7 / 8) + c.indent * 1.1 for c in cells), default=0.0
    )
    return _points(ems) + 0.5 if ems else 0.0


def _heading(table: Table, n: int) -> float:
    """Points it needs so that its heading takes two lines."""
    return text_width(table.shown_columns[n].title, _HEADING_POINTS, bold=True) * 0.6 / NARROWER + 9


def _least(table: Table, n: int) -> float:
    """Points the nth column needs so that no figure, instant or word breaks, of its heading neither."""
    column = table.shown_columns[n]
    total = table.shown_total
    needed = max(text_width(word, _HEADING_POINTS, bold=True) for word in _words(column.title))
    for row in (*table.shown_rows, *([total] if total else [])):
        cell = row[n]
        if column.figures or column.steady:
            needed = max(needed, text_width(cell.text, _TABLE_POINTS, bold=row is total))
            continue
        inner = max(text_width(word, 1) for word in _words(cell.text)) + cell.indent * 1.1
        needed = max(needed, min(inner, _WORD_EMS) * _TABLE_POINTS)
    return needed / NARROWER + 9


def _points(ems: float) -> float:
    """The width of a column with so much room, the other way round than ``layout`` has it."""
    return (ems / NARROWER + 1.2) * _TABLE_POINTS


def _words(text: str) -> list[str]:
    """What a line is not broken within: words, and parts of them after which one may be. Of Chinese, two characters."""
    return _WORD.findall(text) or [""]


def seconds_beside(table: Table, ems: list[float]) -> list[bool]:
    """Of each column whether its cells' second texts stand beside the first: all of them or none."""
    found = []
    for n, room in enumerate(ems):
        cells = [row[n] for row in table.shown_rows if row[n].sub]
        found.append(
            all(
                cell.swatch
                or text_width(cell.text, 1) + 1 + text_width(cell.sub, 7 / 8) + cell.indent * 1.1 <= room
                for cell in cells
            )
        )
    return found


def lines(table: Table) -> int:
    """How many lines its rows take at least; a second text stands on the line of the first where the column has room."""
    _, _, ems = layout(table)
    beside = seconds_beside(table, ems)
    return sum(
        2 if any(cell.sub and not near for cell, near in zip(row, beside, strict=True)) else 1
        for row in table.shown_rows
    )


def row_lines(row: tuple[Cell, ...], ems: list[float], beside: list[bool]) -> int:
    """How many lines the row takes, on the high side."""
    most = 1
    for cell, room, near in zip(row, ems, beside, strict=True):
        wide = max(room - cell.indent * 1.1, 2.0)
        needed = -int(-text_width(cell.text, 1) // wide)
        if cell.sub and not near:
            needed += -int(-text_width(cell.sub, 7 / 8) // wide)
        most = max(most, needed)
    return most


def held_rows(indents: list[int], tall: list[int]) -> list[int]:
    """How many rows a page keeps together from each row on: 1 for a row alone, 0 within a group.

    Together stand the first rows, as the heading does; a row of a tree with the first below it; the last row with the
    total, which ``tall`` has one more row for. A group that would be too tall is left apart.
    """
    count, rows = len(indents), len(tall)
    joined = [False] * rows
    """Whether a row stands with the one before it."""
    for n in range(1, rows):
        child = n < count and indents[n] > indents[n - 1]
        joined[n] = n < _FIRST_ROWS or child or n >= count - 1
    holds = [1] * rows
    start = 0
    for n in range(1, rows):
        if joined[n] and sum(tall[start : n + 1]) <= HELD_LINES:
            holds[start] += 1
            holds[n] = 0
        else:
            start = n
    return holds


def breakable(text: str, ems: float) -> str:
    """``text`` with invisible break points in words wider than ``ems``, where a line could not be broken else.

    Only in such words: a search for the whole of an ordinary name still finds it.
    """
    words = text.split(" ")
    return " ".join(word if text_width(word, 1) <= ems else _broken(word, max(ems, 2.0)) for word in words)


def _broken(word: str, ems: float) -> str:
    lines = [""]
    for character in word:
        line = lines[-1]
        if line and text_width(line + character, 1) > ems:
            # after a joint in the second half of the line where there is one, else where it is full
            joint = max(line.rfind(mark) for mark in "-_/.:") + 1
            at = joint if joint > len(line) / 2 else len(line)
            lines[-1:] = [line[:at], line[at:]]
        lines[-1] += character
    return ZERO_WIDTH_SPACE.join(lines)
