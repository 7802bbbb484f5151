"""What a source says of the organisation, as the rows that should be believed from now on. Pure.

A source either states its whole history (rows with dates of their own), or knows only the present: then what it says
holds from an instant on, up to the next instant at which it said something else, and what was before stays.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from ullage_collector.organisation import Department


def stated(rows: Iterable[Department], source: str) -> list[Department]:
    """The rows of a whole history, as ``source`` says them."""
    return [replace(row, source=source) for row in rows]


def since(
    rows: Iterable[Department], believed: Sequence[Department], source: str, from_us: int
) -> list[Department]:
    """The rows that say: from ``from_us`` on the organisation is this; before, it was what was believed.

    rows: undated. believed: rows believed now, of this source and of others that gave one of the ids. What another source
    gave is taken over from ``from_us`` on. The result says everything of those, for all time; rows that
    nothing changes come back as they were, so that a department without a change keeps its one row.
    """
    until_us = _next(believed, source, from_us)
    pieces: dict[str, list[Department]] = defaultdict(list)
    for row in believed:
        if row.valid_from_us < from_us:
            pieces[row.department_id].append(replace(row, valid_to_us=_earlier(row.valid_to_us, from_us)))
        if until_us is not None and (row.valid_to_us is None or row.valid_to_us > until_us):
            pieces[row.department_id].append(replace(row, valid_from_us=max(row.valid_from_us, until_us)))
    for row in rows:
        said = replace(row, source=source, valid_from_us=from_us, valid_to_us=until_us)
        pieces[row.department_id].append(said)
    found = []
    for listed in pieces.values():
        found += _joined(sorted(listed, key=lambda row: row.valid_from_us))
    return found


def _next(believed: Iterable[Department], source: str, from_us: int) -> int | None:
    """The next instant at which the source said that something changes."""
    edges = [
        edge
        for row in believed
        if row.source == source
        for edge in (row.valid_from_us, row.valid_to_us)
        if edge is not None and edge > from_us
    ]
    return min(edges, default=None)


def _joined(rows: Iterable[Department]) -> list[Department]:
    """Rows of one id in order, those that say the same and touch made one."""
    found: list[Department] = []
    for row in rows:
        if found and found[-1].valid_to_us == row.valid_from_us and same(found[-1], row):
            found[-1] = replace(found[-1], valid_to_us=row.valid_to_us)
        else:
            found.append(row)
    return found


def same(a: Department, b: Department) -> bool:
    """Whether two rows say the same, whenever they do."""
    plain = {"valid_from_us": 0, "valid_to_us": None, "known_from_us": 0, "known_to_us": None}
    return replace(a, **plain) == replace(b, **plain)  # type: ignore[arg-type]


def _earlier(end_us: int | None, edge_us: int) -> int:
    return edge_us if end_us is None else min(end_us, edge_us)
