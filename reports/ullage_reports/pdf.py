"""A report as PDF by typst: A4, tagged and for the archive (PDF/UA-1, PDF/A-2a), our own font embedded, the same bytes for the same report.

The template is plain Typst and never changes with the data: pages travel as one JSON text and are strings there,
so ``#panic()`` in a department's name is eight characters and nothing else. Needs the extra ``reports`` (typst)
and the font of ``ullage_assets``; where one is missing AssetMissing says how to get it, and the HTML report
still works.
"""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any, Final, Literal

import ullage_assets
from ullage_contract.errors import AssetMissing
from ullage_reports.font import characters
from ullage_reports.model import Report
from ullage_reports.pages import Pages, pages
from ullage_reports.period import PeriodKind
from ullage_reports.svg import text_width
from ullage_reports.table import Cell, Figure, Lines, Table
from ullage_reports.texts import Texts

FONTS: Final = ("NotoSansSC-Regular.ttf", "NotoSansSC-Bold.ttf")
STANDARDS: Final[tuple[Literal["a-2a", "ua-1"], ...]] = ("a-2a", "ua-1")
PAGE_POINTS: Final = 595.28 - 2 * 45.35
"""Width of the text on A4 with the template's margins of 16 mm."""
_TABLE_POINTS: Final = 8.6
"""Size of the larger table text in the template."""
_HEADING_POINTS: Final = 7.3
_WORD_EMS: Final = 9.0
"""Of a longer word a column may still be narrower: it is broken with ``breakable``. Our choice: longer ones are ids."""
_WORD: Final = re.compile(r"[^\s\-_/.:\u2e80-\U0003ffff]+[\-_/.:]?|[\u2e80-\U0003ffff]{1,2}")
_NARROWER: Final = 1.12
"""Our font is that much narrower than what text_width allows for."""
WHOLE_LINES: Final = 14
"""Tables of so many lines never break over a page. Our choice: because such a table is read at a glance, and the page
loses less than a quarter of itself."""
_SCREEN: Final = 38
"""The same of a day's exceptions, which are one screen: so many lines and their heading fill a page."""
_FIRST_ROWS: Final = 3
"""Rows of a longer table that stay with its heading, where a page ends."""
_HELD_LINES: Final = 20
"""Lines that are held together by a page at most. Our choice: because the page loses a third of itself."""
_CROWDED: Final = 8
"""Sentences and notices that make page one closer. Our choice: so many ran over it, seen with five notices."""
_LEAST_SCALE: Final = 0.7
"""How much smaller a table's text may be made until its words fit. Our choice: because 5.6 pt can still be read."""
_ZERO_WIDTH_SPACE: Final = "\u200b"
_BOX: Final = "\u25a1"
"""White square: what a reader takes for a missing character; in the font (GB 2312)."""

_log = logging.getLogger(__name__)


def content(report: Report, lang: str) -> bytes:
    """The PDF. Raises AssetMissing without typst or font, ConfigError for a language there is no catalogue of."""
    try:
        import typst
    except ImportError as e:
        raise AssetMissing(
            "a PDF needs typst, which is not installed: pip install 'ullage[reports]' "
            "(no wheel for musl; use --format html there and print it from a browser)"
        ) from e
    fonts = [ullage_assets.path(name) for name in FONTS]
    document = drawable(json.dumps(_document(report, lang), ensure_ascii=False), characters(fonts[0]))
    source = (resources.files(__package__) / "templates" / "report.typ").read_bytes()
    made: bytes = typst.compile(
        source,
        # ours alone: neither the host's fonts nor those typst carries, so that every host makes the same file
        font_paths=typst.Fonts(
            include_system_fonts=False, include_embedded_fonts=False, font_paths=[str(fonts[0].parent)]
        ),
        sys_inputs={"document": document},
        format="pdf",
        pdf_standards=list(STANDARDS),
        timestamp=int(report.generated_at.timestamp()),
    )
    return made


def render(report: Report, lang: str, out: Path) -> Path:
    """Write ``<stem>.<lang>.pdf`` below ``out``."""
    path = out / f"{report.stem}.{lang}.pdf"
    path.write_bytes(content(report, lang))
    return path


def drawable(text: str, known: frozenset[int]) -> str:
    """``text`` with a box for every character the font lacks, told once in the log: PDF/UA refuses the page else."""
    missing = sorted({c for c in text if ord(c) > 0x7E and ord(c) not in known and c != _ZERO_WIDTH_SPACE})
    if not missing:
        return text
    listed = ", ".join(f"U+{ord(character):04X}" for character in missing[:20])
    _log.warning(
        "the PDF's font has no glyph for %s of its characters, shown as boxes: %s", len(missing), listed
    )
    return text.translate(dict.fromkeys(map(ord, missing), _BOX))


# ------------------------------------------------------------------------------------------ what the template reads
def _document(report: Report, lang: str) -> dict[str, Any]:
    page = pages(report, lang)
    texts = Texts(lang)
    made: datetime = report.generated_at.astimezone(UTC)
    return {
        "lang": lang,
        "running": page.running,
        "title": page.title,
        "subtitle": page.subtitle,
        "description": " ".join(page.sentences),
        "keywords": [
            report.stem,
            report.currency,
            report.period.zone,
            str(report.status),
            report.trust.data_digest,
        ],
        "made": [made.year, made.month, made.day, made.hour, made.minute, made.second],
        "status": page.status,
        "status_text": page.status_text,
        "facts": [list(fact) for fact in page.facts],
        "marks": list(page.marks),
        "notices": [
            {"text": breakable(notice.text, PAGE_POINTS / 8.2 - 3), "grave": notice.grave}
            for notice in page.notices
        ],
        "sentences": [breakable(sentence, PAGE_POINTS / 12) for sentence in page.sentences],
        "tight": report.period.kind is PeriodKind.DAILY
        or len(page.notices) + len(page.sentences) >= _CROWDED,
        "tiles": _tiles(page),
        "bar": _block(page.bar),
        "states": _block(page.states),
        "sections": [
            {
                "title": section.title,
                "lead": breakable(section.lead, PAGE_POINTS / 9),
                "new_page": section.new_page,
                "blocks": [_block(block) for block in section.blocks],
            }
            for section in page.sections
        ],
        "footer": page.footer,
        "page_text": _pieces(texts("page.number", page="\0page\0", pages="\0pages\0")),
    }


def _tiles(page: Pages) -> list[dict[str, Any]]:
    room = PAGE_POINTS / max(len(page.tiles), 1) - 15
    # as large as the longest fits on one line, 13 pt at most and 8 at least; all alike, for none counts more
    size = min((room / max(text_width(tile.value, 1), 0.1) for tile in page.tiles), default=13.0)
    room += 1  # of the 15 above, 14 are inset

    def tall(texts: list[str], points: float) -> int:
        """Lines of the longest, so that what follows stands at one height in every tile."""
        return max((-int(-text_width(text, points) / _NARROWER // room) for text in texts), default=1) or 1

    label_lines = tall([tile.label for tile in page.tiles], 8)
    change_lines = tall([tile.change for tile in page.tiles], 7.6)
    return [
        {
            "label": tile.label,
            "label_lines": label_lines,
            "change_lines": change_lines,
            "value": tile.value,
            "size": max(8.0, min(13.0, size)),
            "change": tile.change,
            "tone": tile.tone,
            "note": tile.note,
            "spark": tile.spark,
            "spark_alt": f"{tile.label}: {page.subtitle}",
        }
        for tile in page.tiles
    ]


def _block(block: Figure | Table | Lines) -> dict[str, Any]:
    if isinstance(block, Figure):
        return {
            "kind": "figure",
            "title": block.title,
            "described": block.described,
            "svg": block.svg,
            "note": block.note,
        }
    if isinstance(block, Lines):
        items = [breakable(item, PAGE_POINTS / 8.5 - 3) for item in block.items]
        return {"kind": "lines", "items": items, "ordered": block.ordered, "heading": block.heading}
    columns = block.shown_columns
    widths, scale, ems = layout(block)
    beside = _beside(block, ems)
    total = block.shown_total
    printed = [*block.shown_rows, *([total] if total else [])]
    tall = [_lines(row, ems, beside) for row in printed]
    holds = _holds([row[0].indent for row in block.shown_rows], tall)
    rows = [
        {
            "cells": _row(row, ems, beside),
            "hold": hold,
            "firm": height <= _HELD_LINES,
        }
        for row, hold, height in zip(printed, holds, tall, strict=True)
    ]
    return {
        "kind": "table",
        "caption": block.caption,
        "columns": [
            {"title": c.title, "figures": c.figures, "width": w} for c, w in zip(columns, widths, strict=True)
        ],
        "scale": scale,
        "rows": rows[: len(block.shown_rows)],
        "total": rows[-1] if total else None,
        "empty": block.empty,
        "whole": lines(block) <= (_SCREEN if block.key == "exceptions" else WHOLE_LINES)
        and sum(tall) <= 2 * WHOLE_LINES + 10,
        "more": block.more if block.cut else "",
        "note": block.note,
    }


def lines(table: Table) -> int:
    """How many lines its rows take at least; a second text stands on the line of the first where the column has room."""
    _, _, ems = layout(table)
    beside = _beside(table, ems)
    return sum(
        2 if any(cell.sub and not near for cell, near in zip(row, beside, strict=True)) else 1
        for row in table.shown_rows
    )


def _lines(row: tuple[Cell, ...], ems: list[float], beside: list[bool]) -> int:
    """How many lines the row takes, on the high side."""
    most = 1
    for cell, room, near in zip(row, ems, beside, strict=True):
        wide = max(room - cell.indent * 1.1, 2.0)
        needed = -int(-text_width(cell.text, 1) // wide)
        if cell.sub and not near:
            needed += -int(-text_width(cell.sub, 7 / 8) // wide)
        most = max(most, needed)
    return most


def _beside(table: Table, ems: list[float]) -> list[bool]:
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


def _holds(indents: list[int], tall: list[int]) -> list[int]:
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
        if joined[n] and sum(tall[start : n + 1]) <= _HELD_LINES:
            holds[start] += 1
            holds[n] = 0
        else:
            start = n
    return holds


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
    ems = [_NARROWER * (width / (_TABLE_POINTS * scale) - 1.2) for width in widths]
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
    return text_width(table.shown_columns[n].title, _HEADING_POINTS, bold=True) * 0.6 / _NARROWER + 9


def _points(ems: float) -> float:
    """The width of a column with so much room, the other way round than ``layout`` has it."""
    return (ems / _NARROWER + 1.2) * _TABLE_POINTS


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
    return needed / _NARROWER + 9


def _words(text: str) -> list[str]:
    """What a line is not broken within: words, and parts of them after which one may be. Of Chinese, two characters."""
    return _WORD.findall(text) or [""]


def _row(row: tuple[Cell, ...], ems: list[float], beside: list[bool]) -> list[dict[str, Any]]:
    return [
        {
            "text": breakable(cell.text, room - cell.indent * 1.1),
            "sub": breakable(cell.sub, room * 8 / 7 - cell.indent * 1.3),
            "beside": near,
            "indent": cell.indent,
            "swatch": cell.swatch,
            "tone": cell.tone,
        }
        for cell, room, near in zip(row, ems, beside, strict=True)
    ]


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
    return _ZERO_WIDTH_SPACE.join(lines)


def _pieces(text: str) -> list[str]:
    """The page number's text cut where page and pages go, which only typst knows."""
    return ["{" + p + "}" if p in ("page", "pages") else p for p in text.split("\0") if p]
