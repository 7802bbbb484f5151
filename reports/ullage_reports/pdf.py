"""A report as PDF by typst: A4, tagged and for the archive (PDF/UA-1, PDF/A-2a), our own font embedded, the same bytes for the same report.

The template is plain Typst and never changes with the data: pages travel as one JSON text and are strings there,
so ``#panic()`` in a department's name is eight characters and nothing else. Needs the extra ``reports`` (typst)
and the font of ``ullage_assets``; where one is missing AssetMissing says how to get it, and the HTML report
still works.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any, Final, Literal

import ullage_assets
from ullage_contract.errors import AssetMissing
from ullage_reports.font import characters
from ullage_reports.model import Report
from ullage_reports.pages import Pages, pages
from ullage_reports.pdf_columns import (
    HELD_LINES,
    NARROWER,
    PAGE_POINTS,
    ZERO_WIDTH_SPACE,
    breakable,
    held_rows,
    layout,
    lines,
    row_lines,
    seconds_beside,
)
from ullage_reports.period import PeriodKind
from ullage_reports.svg import text_width
from ullage_reports.table import Cell, Figure, Lines, Table
from ullage_reports.texts import Texts

FONTS: Final = ("NotoSansSC-Regular.ttf", "NotoSansSC-Bold.ttf")
STANDARDS: Final[tuple[Literal["a-2a", "ua-1"], ...]] = ("a-2a", "ua-1")
WHOLE_LINES: Final = 14
"""Tables of so many lines never break over a page. Our choice: because such a table is read at a glance, and the page
loses less than a quarter of itself."""
_SCREEN: Final = 38
"""The same of a day's exceptions, which are one screen: so many lines and their heading fill a page. A table whose long
texts take more lines breaks too."""
_CROWDED: Final = 8
"""Sentences and notices that make page one closer. Our choice: so many ran over it, seen with five notices."""
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
    missing = sorted({c for c in text if ord(c) > 0x7E and ord(c) not in known and c != ZERO_WIDTH_SPACE})
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
        return max((-int(-text_width(text, points) / NARROWER // room) for text in texts), default=1) or 1

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
    beside = seconds_beside(block, ems)
    total = block.shown_total
    printed = [*block.shown_rows, *([total] if total else [])]
    tall = [row_lines(row, ems, beside) for row in printed]
    holds = held_rows([row[0].indent for row in block.shown_rows], tall)
    rows = [
        {
            "cells": _row(row, ems, beside),
            "hold": hold,
            "firm": height <= HELD_LINES,
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
        and sum(tall) <= _SCREEN,
        "more": block.more if block.cut else "",
        "note": block.note,
    }


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


def _pieces(text: str) -> list[str]:
    """The page number's text cut where page and pages go, which only typst knows."""
    return ["{" + p + "}" if p in ("page", "pages") else p for p in text.split("\0") if p]
