"""The tables of findings: for a file one row a finding; for a page those that say the same of many subjects as one row."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from itertools import groupby
from typing import Final

from ullage_reports.model import FindingRow
from ullage_reports.table import Cell, Column, Holds, Table
from ullage_reports.wording import Wording

ALONE: Final = 3
"""Findings that say the same and still have a row each. our choice: because four in a row read as a list of names."""
NAMED: Final = 3
"""Subjects a row of many names."""
ROWS_PRINTED: Final = 40
"""Rows on a page; the file has all."""


def listed(w: Wording) -> Table:
    """Every finding, those that say what to do first."""
    return _table(w, [_row(w, row) for row in _ranked(w.report.findings)], printed=ROWS_PRINTED)


def printed(w: Wording) -> Table:
    """The same for a page: findings of one kind, owner, confidence and suggested action on more than ALONE subjects are one row, with the
    first of their subjects, how many there are, and since when the first of them is so."""
    rows: list[tuple[Cell, ...]] = []
    for _, alike in groupby(sorted(_ranked(w.report.findings), key=_group), key=_group):
        found = list(alike)
        if len(found) > ALONE:
            rows.append(_many(w, found))
        else:
            rows += [_row(w, row) for row in found]
    return _table(w, rows, printed=ROWS_PRINTED)


def _ranked(findings: Sequence[FindingRow]) -> list[FindingRow]:
    return sorted(findings, key=lambda row: not row.action)


def _group(row: FindingRow) -> tuple[bool, Decimal, str, str, str]:
    return (not row.action, -row.confidence, row.kind, row.action or "", row.owner or "")


def _table(w: Wording, rows: Sequence[tuple[Cell, ...]], *, printed: int) -> Table:
    t = w.t
    return Table(
        key="recommendations",
        caption=t("table.recommendations", window=w.window),
        columns=(
            Column("finding_id", t("column.finding"), figures=False, shown=False),
            Column("kind", t("column.kind"), figures=False, weight=2.0),
            Column("subject", t("column.where"), figures=False, weight=2.4),
            Column("action", t("column.suggested"), figures=False, weight=2.6),
            Column("owner", t("column.owner"), figures=False, weight=1.4),
            Column("confidence", t("column.confidence"), weight=0.9, holds=Holds.RATIO),
            Column("since", t("column.since"), figures=False, weight=1.85, steady=True, holds=Holds.INSTANT),
            Column("until", t("column.until"), figures=False, shown=False, holds=Holds.INSTANT),
        ),
        rows=tuple(rows),
        printed=printed,
        more=w.more(len(rows), printed),
        empty=t("empty.recommendations"),
    )


def _row(w: Wording, row: FindingRow) -> tuple[Cell, ...]:
    t = w.t
    return (
        w.text_cell(row.finding_id),
        Cell(t.known("finding", w.plain(row.kind)), w.plain(row.kind)),
        w.text_cell(row.subject),
        Cell(t.known("action", w.plain(row.action)) or "–", w.plain(row.action)),
        w.text_cell(row.owner),
        w.ratio_cell(row.confidence, places=0),
        w.instant_cell(row.since, sub="" if row.until else t("word.still")),
        w.instant_cell(row.until),
    )


def _many(w: Wording, found: Sequence[FindingRow]) -> tuple[Cell, ...]:
    first = min(found, key=lambda row: row.since)
    standing = sum(row.until is None for row in found)
    cells = list(_row(w, first))
    named = ", ".join(w.plain(row.subject) for row in found[:NAMED])
    cells[2] = Cell(f"{named}, …", named, sub=w.t("word.in_all", count=w.f.number(len(found))))
    sub = w.t("word.still") if standing == len(found) else w.t("word.some_still", count=w.f.number(standing))
    cells[6] = w.instant_cell(first.since, sub=sub if standing else "")
    return tuple(cells)
