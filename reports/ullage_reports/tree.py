"""Where each department's hours stand: by the organisation valid at each hour, or by that of one instant.

A place is a path of ids from the top, written with a zero byte between them: a department that moved within the
period stands in two places, each with its part. Not here: summing up the tree and rounding it (rounding.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ullage_collector.published import Facts
from ullage_reports.rounding import Sums
from ullage_reports.sql import statements

BETWEEN: Final = "\x00"
MAX_DEPTH: Final = 16
"""Levels of departments. our choice: no company has more, and ids are text that others choose."""


@dataclass(frozen=True, slots=True)
class Placed:
    """Sums by place. own: place -> what is booked on it. parents: every place of the tree -> the one above, or None.

    changes: how often the organisation changed within the period.
    """

    own: Mapping[str, Sums]
    parents: Mapping[str, str | None]
    changes: int


def id_of(place: str) -> str:
    """The department's id of a place."""
    return place.rpartition(BETWEEN)[2]


def placed(
    facts: Facts, cells: Iterable[Any], currency: str, span_us: tuple[int, int], tree_at_us: int | None
) -> Placed:
    """Where the hours of a period stand.

    cells: the period's finest sums, taken where the organisation did not change within it. span_us: the period.
    tree_at_us None: each hour by the organisation valid then; else all by that of the instant.
    """
    organisation = facts.organisation()
    edges = organisation.edges(*span_us)
    own: dict[str, Sums] = defaultdict(Sums)
    if edges:
        given = {"currency": currency, "cuts": [span_us[0], *edges, span_us[1]]}
        rows = facts.rows(statements("statement")["department_cells"], given)
    else:
        rows = [(c.department, span_us[0], c.state, c.quantity, c.atoms, c.unpriced) for c in cells]
    for department, at_us, state, quantity, atoms, unpriced in rows:
        place = organisation.place(str(department), int(at_us), tree_at_us)
        own[BETWEEN.join(place.path)].add(str(state), int(quantity), int(atoms), int(unpriced))
    return Placed(dict(own), parents_of(own), len(edges))


def parents_of(own: Iterable[str]) -> dict[str, str | None]:
    """Every place with hours and all above it; a path deeper than MAX_DEPTH is cut where it gets too deep."""
    parents: dict[str, str | None] = {}
    for start in sorted(own):
        path = start.split(BETWEEN)
        for depth in range(len(path), 0, -1):
            above = BETWEEN.join(path[: depth - 1])
            parents[BETWEEN.join(path[:depth])] = above or None
    for start in parents:
        at, steps = start, 0
        while (higher := parents[at]) is not None:
            at, steps = higher, steps + 1
            if steps == MAX_DEPTH:
                parents[at] = None
    return parents
