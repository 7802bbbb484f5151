"""A small SVG surface: shapes with numbers rounded once, text escaped once, widths guessed alike everywhere.

What is drawn depends on the arguments alone: the same input gives the same bytes. Text is never placed
without asking ``text_width`` first, because no font is at hand when a chart is drawn; ``fit`` cuts what is
too long. Not here: what a chart looks like (charts).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from html import escape
from typing import Final, Literal

from ullage_reports.palette import INK, MUTED, PAPER, RULE

Anchor = Literal["start", "middle", "end"]

FONT_STACK: Final = (
    "'Noto Sans SC','PingFang SC','Hiragino Sans GB','Microsoft YaHei','Noto Sans CJK SC',"
    "'Source Han Sans SC','WenQuanYi Micro Hei',system-ui,'Segoe UI',Roboto,Helvetica,Arial,sans-serif"
)

# XML 1.0 has no way to write these at all, not even escaped (production 2, Char).
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# Em widths of groups of characters. our choice: those of DejaVu Sans, the widest a browser without our fonts
# falls back to, rounded up; in Noto Sans SC (digits 0.555, letters 0.54) a label then has some air.
_WIDE: Final = dict.fromkeys("MWmw@%—ÆŒ…→", 1.0)
_NARROW: Final = dict.fromkeys("iljtfIr.,:;'!|()[]/ ·", 0.42)
_BOLD: Final = 1.1

NARROW: Final = 380.0
"""Width of a picture for a phone. our choice: its text of 11 is then 10 to 13 px on screens of 360 to 480 px."""

# A page in the dark turns these, and these alone, by class; text on a coloured part keeps its colour.
_CLASSES: Final = {INK: "ink", MUTED: "mut", RULE: "rul"}


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """How wide ``text`` will be at font size ``size``, in the units of ``size``; an estimate on the wide side.

    One em for a character above U+2E80; for others 0.64 em, more for capitals and ``MW%``, less for ``il.,``,
    so that a label fits whatever font draws it.
    """
    ems = 0.0
    for character in text:
        if ord(character) > 0x2E80:
            ems += 1.0
        elif not unicodedata.combining(character):
            plain = 0.72 if character.isupper() else 0.64
            ems += (_WIDE.get(character) or _NARROW.get(character) or plain) * (_BOLD if bold else 1.0)
    return ems * size


def fit(text: str, size: float, width: float, *, bold: bool = False) -> str:
    """``text``, or its beginning and an ellipsis when it would be wider than ``width``."""
    if text_width(text, size, bold=bold) <= width:
        return text
    kept = text
    while kept and text_width(kept + "…", size, bold=bold) > width:
        kept = kept[:-1]
    return kept.rstrip() + "…" if kept else ""


def number(value: float) -> str:
    """A coordinate: two decimals at most, no trailing zeros, never ``-0``."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def clean(text: str) -> str:
    """Text that XML can hold: what it cannot is taken out."""
    return _NOT_XML.sub("", text)


class Drawing:
    """One picture being drawn, in user units; ``width`` is fixed, ``height`` may grow until ``svg()``."""

    __slots__ = ("_described", "_name", "_parts", "_title", "height", "width")

    def __init__(self, name: str, title: str, described: str, width: float, height: float) -> None:
        """name: unique in the document, letters, digits and ``-``; it makes the ids of title and desc.

        title, described: what a screen reader says; both must tell the point, not "chart".
        """
        self._name = name
        self._title = title
        self._described = described
        self._parts: list[str] = []
        self.width = width
        self.height = height

    def rect(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        fill: str,
        *,
        radius: float = 0,
        hint: str = "",
        stroke: str = "",
    ) -> None:
        """A filled box. hint: what a pointer over it shows; left out of a narrow picture, for a phone has no pointer."""
        hint = hint if self.width > NARROW else ""
        rounded = f' rx="{number(radius)}"' if radius else ""
        edge = f' stroke="{stroke}" stroke-width="1"' if stroke else ""
        shape = (
            f'<rect x="{number(x)}" y="{number(y)}" width="{number(max(width, 0))}" '
            f'height="{number(max(height, 0))}" fill="{fill}"{rounded}{edge}'
        )
        self._parts.append(f"{shape}><title>{_escaped(hint)}</title></rect>" if hint else f"{shape}/>")

    def line(
        self, x1: float, y1: float, x2: float, y2: float, stroke: str, *, width: float = 1, dash: str = ""
    ) -> None:
        """A straight line. dash: an SVG dash array such as ``4 3``."""
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        self._parts.append(
            f'<line x1="{number(x1)}" y1="{number(y1)}" x2="{number(x2)}" y2="{number(y2)}" '
            f'stroke="{stroke}" stroke-width="{number(width)}"{_role(stroke)}{dashed}/>'
        )

    def lines(
        self, ends: Iterable[tuple[float, float, float, float]], stroke: str, *, width: float = 1
    ) -> None:
        """Many straight lines (x1, y1, x2, y2) of one look, written as one shape."""
        through = "".join(f"M{number(a)} {number(b)}L{number(c)} {number(d)}" for a, b, c, d in ends)
        self._parts.append(f'<path d="{through}" stroke="{stroke}" stroke-width="{number(width)}"/>')

    def polygon(self, points: list[tuple[float, float]], fill: str, *, opacity: float = 1) -> None:
        """A filled area through the points, closed."""
        through = " ".join(f"{number(x)},{number(y)}" for x, y in points)
        see_through = f' fill-opacity="{number(opacity)}"' if opacity != 1 else ""
        self._parts.append(f'<polygon points="{through}" fill="{fill}"{see_through}/>')

    def polyline(self, points: list[tuple[float, float]], stroke: str, *, width: float = 1.5) -> None:
        """A line through the points."""
        through = " ".join(f"{number(x)},{number(y)}" for x, y in points)
        self._parts.append(
            f'<polyline points="{through}" fill="none" stroke="{stroke}" '
            f'stroke-width="{number(width)}" stroke-linejoin="round" stroke-linecap="round"/>'
        )

    def dot(self, x: float, y: float, radius: float, fill: str) -> None:
        """A filled circle with a thin paper edge, so that it shows on a line of its own colour."""
        self._parts.append(
            f'<circle cx="{number(x)}" cy="{number(y)}" r="{number(radius)}" fill="{fill}" '
            f'stroke="{PAPER}" stroke-width="1"/>'
        )

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = 11,
        anchor: Anchor = "start",
        fill: str = INK,
        bold: bool = False,
        inside: bool = False,
    ) -> None:
        """One line of text; ``y`` is its baseline. Nothing is drawn for empty text. inside: it stands on a colour."""
        if not text:
            return
        place = "" if anchor == "start" else f' text-anchor="{anchor}"'
        weight = ' font-weight="700"' if bold else ""
        role = "" if inside else _role(fill)
        self._parts.append(
            f'<text x="{number(x)}" y="{number(y)}" font-size="{number(size)}" fill="{fill}"{role}{place}{weight}>'
            f"{_escaped(text)}</text>"
        )

    def svg(self) -> str:
        """The picture as one ``<svg>`` element, for a page or, as it names its namespace, a file."""
        name = self._name
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="{name}-t {name}-d" '
            f'viewBox="0 0 {number(self.width)} {number(self.height)}" width="{number(self.width)}" '
            f'height="{number(self.height)}" font-family="{FONT_STACK}">'
            f'<title id="{name}-t">{_escaped(self._title)}</title>'
            f'<desc id="{name}-d">{_escaped(self._described)}</desc>' + "".join(self._parts) + "</svg>"
        )


def _role(colour: str) -> str:
    name = _CLASSES.get(colour)
    return f' class="{name}"' if name else ""


def _escaped(text: str) -> str:
    return escape(clean(text), quote=True)
