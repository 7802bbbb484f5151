"""Rows of texts as lines with straight columns, for commands that print to people."""

from __future__ import annotations

from collections.abc import Sequence


def lines(rows: Sequence[Sequence[object]], *, right: Sequence[int] = ()) -> list[str]:
    """One line a row, cells two spaces apart and as wide as the widest of their column; [] for no rows.

    right: columns whose cells stand at the right, as numbers do. Every row has as many cells as the first.
    """
    if not rows:
        return []
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
