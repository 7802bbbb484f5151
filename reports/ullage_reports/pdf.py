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
from ullage_reports.svg import text_width
from ullage_reports.table import Cell, Figure, Lines, Table
from ullage_reports.texts import Texts

FONTS: Final = ("NotoSansSC-Regular.ttf", "NotoSansSC-Bold.ttf")
STANDARDS: Final[tuple[Literal["a-2a", "ua-1"], ...]] = ("a-2a", "ua-1")
PAGE_POINTS: Final = 595.28 - 2 * 45.35
"""Width of the text on A4 with the template's margins of 16 mm."""
_TABLE_POINTS: Final = 8.6
"""Size of the larger table text in the template."""
_NARROWER: Final = 1.12
"""Our font is that much narrower than what text_width allows for."""
WHOLE_LINES: Final = 14
"""Tables of so many lines never break over a page. Our choice: because such a table is read at a glance, and the page
loses less than a quarter of itself."""
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
    return [
        {
            "label": tile.label,
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
    widths = _widths(block)
    ems = [_NARROWER * (width / _TABLE_POINTS - 1.2) for width in widths]
    total = block.shown_total
    return {
        "kind": "table",
        "caption": block.caption,
        "columns": [
            {"title": c.title, "figures": c.figures, "width": w} for c, w in zip(columns, widths, strict=True)
        ],
        "rows": [_row(row, ems) for row in block.shown_rows],
        "total": None if total is None else _row(total, ems),
        "empty": block.empty,
        "whole": lines(block) <= WHOLE_LINES,
        "more": block.more if block.cut else "",
        "note": block.note,
    }


def lines(table: Table) -> int:
    """How many lines its rows take at least; a swatch's second text stands on the same line."""
    return sum(2 if any(cell.sub and not cell.swatch for cell in row) else 1 for row in table.shown_rows)


def _widths(table: Table) -> list[float]:
    """Points for each column: by weight, but a figure or an instant never breaks, so texts give way to it."""
    columns = table.shown_columns
    weights = sum(column.weight for column in columns)
    widths = [PAGE_POINTS * column.weight / weights for column in columns]
    total = table.shown_total
    rows = [*table.shown_rows, *([total] if total else [])]
    firm = [column.figures or column.steady for column in columns]
    for n in range(len(columns)):
        if firm[n]:
            needed = max(
                (text_width(row[n].text, _TABLE_POINTS, bold=row is total) for row in rows), default=0.0
            )
            widths[n] = max(widths[n], needed / _NARROWER + 9)
    over = sum(widths) - PAGE_POINTS
    soft = sum(width for width, fixed in zip(widths, firm, strict=True) if not fixed)
    if over <= 0 or not soft:
        return widths
    # our choice: texts keep at least a third of their room; beyond that the whole table is narrowed
    keep = max((soft - over) / soft, 1 / 3)
    widths = [width if fixed else width * keep for width, fixed in zip(widths, firm, strict=True)]
    shrink = min(PAGE_POINTS / sum(widths), 1.0)
    return [width * shrink for width in widths]


def _row(row: tuple[Cell, ...], ems: list[float]) -> list[dict[str, Any]]:
    return [
        {
            "text": breakable(cell.text, room - cell.indent * 1.1),
            "sub": breakable(cell.sub, room * 8 / 7 - cell.indent * 1.3),
            "indent": cell.indent,
            "swatch": cell.swatch,
            "tone": cell.tone,
        }
        for cell, room in zip(row, ems, strict=True)
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
