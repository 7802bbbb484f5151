"""A table as every output needs it: what is printed, and the same figure for a file. Nothing is computed here."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import NamedTuple


class Holds(StrEnum):
    """What a column's cells are in a file with types. A figure has decimals, a count none; a ratio is 0..1.

    An instant is aware UTC, a day a local or UTC day as its column says.
    """

    TEXT = "text"
    COUNT = "count"
    FIGURE = "figure"
    RATIO = "ratio"
    INSTANT = "instant"
    DAY = "day"


@dataclass(frozen=True, slots=True)
class Column:
    """key: the CSV header. title: the printed one, unit included. figures: right aligned, tabular digits.

    weight: share of the page's width among the columns. shown False: only in the CSV file, such as an id.
    steady: never broken over lines, such as an instant. holds: None is a figure where ``figures``, else a text.
    """

    key: str
    title: str
    figures: bool = True
    weight: float = 1.0
    shown: bool = True
    steady: bool = False
    holds: Holds | None = None

    @property
    def kind(self) -> Holds:
        """What its cells are in a file with types."""
        return self.holds or (Holds.FIGURE if self.figures else Holds.TEXT)


class Cell(NamedTuple):
    """text is printed; value goes to files (plain digits or plain text). number: value is a number, not a text.

    indent: levels of a tree. swatch: name of a state whose colour stands before the text. tone: ``good``,
    ``bad``, ``muted`` or "". sub: a second, smaller line. at: the day or aware instant itself where the column holds one.
    A tuple, because a list of workloads has millions of them.
    """

    text: str
    value: str
    number: bool = False
    indent: int = 0
    swatch: str = ""
    tone: str = ""
    sub: str = ""
    at: date | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """key: anchor and CSV file name. caption: what it is, with unit and window. empty: said when there is no row.

    rows: all of them, for the file. printed: how many of them a page shows, None for all; ``more`` is then said below.
    total: the row they add up to, or None. others: what a page prints for the rows it leaves out, so that it adds up
    too. note: a line below.
    """

    key: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    empty: str
    total: tuple[Cell, ...] | None = None
    printed: int | None = None
    more: str = ""
    note: str = ""
    others: tuple[Cell, ...] | None = None

    @property
    def shown_columns(self) -> tuple[Column, ...]:
        """Columns of the page."""
        return tuple(column for column in self.columns if column.shown)

    @property
    def shown_rows(self) -> tuple[tuple[Cell, ...], ...]:
        """Rows of the page, with the cells of its columns."""
        others = (self.others,) if self.cut and self.others else ()
        return tuple(self._on_page(row) for row in (*self.rows[: self.printed], *others))

    @property
    def shown_total(self) -> tuple[Cell, ...] | None:
        """The total row of the page."""
        return None if self.total is None else self._on_page(self.total)

    @property
    def cut(self) -> bool:
        """Whether the page shows fewer rows than there are."""
        return self.printed is not None and len(self.rows) > self.printed

    def _on_page(self, row: tuple[Cell, ...]) -> tuple[Cell, ...]:
        return tuple(cell for cell, column in zip(row, self.columns, strict=True) if column.shown)


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart. name: its id. svg: the picture. title: printed above. described: what it says, for those who cannot see it.

    narrow: the same drawn for a phone.
    """

    name: str
    title: str
    described: str
    svg: str
    narrow: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Lines:
    """Short paragraphs or list items. ordered: numbered, as the method is."""

    items: tuple[str, ...]
    ordered: bool = False
    heading: str = ""


@dataclass(frozen=True, slots=True)
class TileView:
    """One figure of page one as printed. tone: ``good``, ``bad`` or "" for the change. spark: an SVG or ""."""

    key: str
    label: str
    value: str
    change: str
    tone: str
    note: str
    spark: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something a reader must know before believing a figure. grave: the report should not be relied on."""

    text: str
    grave: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """One part after page one. lead: a sentence; blocks: in reading order. new_page: starts one in print."""

    key: str
    title: str
    lead: str
    blocks: tuple[Figure | Table | Lines, ...] = field(default=())
    new_page: bool = False
