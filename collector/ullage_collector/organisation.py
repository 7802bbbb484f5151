"""The organisation as a dated tree, and sums over it that are exact at every level.

Pure, standard library only: rows in, a tree as of an instant out; no clock, no database. A department is named by its
``department_id``, which ledger lines and mapping rules carry. Where its source gives a stable id
(``source_key``), a department that moves to another path is still the same one, so that old lines can be
rolled up by the tree of today. Not here: where rows come from (imports/departments.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ullage_collector.ledger import PLATFORM, UNMAPPED

OWN_IDS: Final = (PLATFORM, UNMAPPED)
"""Ids that are no department of anybody: each is a root of its own, last in every list."""


@dataclass(frozen=True, slots=True)
class Department:
    """One department as believed over [known_from_us, known_to_us), so over [valid_from_us, valid_to_us).

    department_id: what lines and rules carry. parent_id None: what stands before the last slash of the id, if it has one,
    else a root. source_key: the source's stable id, or None.
    *_us: microseconds since the epoch; a None end is open.
    """

    department_id: str
    name: str
    parent_id: str | None = None
    owner: str | None = None
    deputy: str | None = None
    cost_center: str | None = None
    source_key: str | None = None
    valid_from_us: int = 0
    valid_to_us: int | None = None
    known_from_us: int = 0
    known_to_us: int | None = None
    source: str | None = None

    def believed(self, known_us: int | None) -> bool:
        """Whether it was believed at an instant; None: whether it is now."""
        if known_us is None:
            return self.known_to_us is None
        return self.known_from_us <= known_us and (self.known_to_us is None or known_us < self.known_to_us)

    def valid(self, at_us: int) -> bool:
        """Whether it says something of an instant."""
        return self.valid_from_us <= at_us and (self.valid_to_us is None or at_us < self.valid_to_us)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an id stands in a tree. path: ids from the root down, the last its own.

    department: None where the tree does not know it: it then stands below what is before its last slash, or as a root.
    """

    path: tuple[str, ...]
    department: Department | None

    @property
    def department_id(self) -> str:
        return self.path[-1]


class Tree:
    """The organisation at one instant. at_us: which; microseconds since the epoch.

    A circle of parents is cut where it closes and a parent nobody listed is a level all the same: nothing is ever lost.
    """

    def __init__(
        self, at_us: int, departments: Iterable[Department], identities: Mapping[str, str] | None = None
    ) -> None:
        self.at_us = at_us
        self.departments: dict[str, Department] = {}
        for each in sorted(departments, key=lambda d: (d.valid_from_us, d.known_from_us)):
            self.departments[each.department_id] = each
        self._by_key = {d.source_key: d.department_id for d in self.departments.values() if d.source_key}
        self._identities = identities or {}
        self._paths: dict[str, tuple[str, ...]] = {}

    def current(self, department_id: str, key: str | None = None) -> str:
        """The id under which a department stands in this tree: where its stable id is now, else its own.

        key: the stable id it is known to have had; None: the one it bore last, unless the id is in the tree.
        """
        if key is None:
            if department_id in self.departments:
                return department_id
            key = self._identities.get(department_id)
        return self._by_key.get(key, department_id) if key is not None else department_id

    def exists(self, department_id: str) -> bool:
        """Whether the tree has it, by its id or its stable id; Ullage's own ids always are."""
        return department_id in OWN_IDS or self.current(department_id) in self.departments

    def place(self, department_id: str, key: str | None = None) -> Place:
        """Where a department stands, known or not; ``key`` as of ``current``."""
        current = self.current(department_id, key)
        return Place(self._path(current), self.departments.get(current))

    def children(self) -> Mapping[str | None, Sequence[str]]:
        """Parent -> its children's ids in order; None: the roots."""
        found: dict[str | None, list[str]] = defaultdict(list)
        for department_id in sorted(self.departments):
            path = self._path(department_id)
            found[path[-2] if len(path) > 1 else None].append(department_id)
        return found

    def _path(self, department_id: str) -> tuple[str, ...]:
        found = self._paths.get(department_id)
        if found is None:
            trail = [department_id]
            while (above := self._above(trail[-1])) is not None and above not in trail:
                trail.append(above)
            found = self._paths[department_id] = tuple(reversed(trail))
        return found

    def _above(self, department_id: str) -> str | None:
        known = self.departments.get(department_id)
        if known is not None and known.parent_id is not None:
            return known.parent_id
        return None if department_id in OWN_IDS else department_id.rpartition("/")[0] or None


class Organisation:
    """Every row ever said, asked for the tree of an instant. rows: as kept, any order."""

    def __init__(self, rows: Iterable[Department]) -> None:
        self._rows = tuple(rows)
        self._trees: dict[tuple[int, int | None], Tree] = {}

    def __bool__(self) -> bool:
        return bool(self._rows)

    def believed(self, known_us: int | None = None) -> list[Department]:
        """The rows believed at an instant; None: now."""
        return [row for row in self._rows if row.believed(known_us)]

    def tree(self, at_us: int, known_us: int | None = None) -> Tree:
        """The tree valid at an instant as believed at another; known_us None: as believed now."""
        found = self._trees.get((at_us, known_us))
        if found is None:
            believed = self.believed(known_us)
            found = Tree(at_us, [row for row in believed if row.valid(at_us)], _identities(believed))
            self._trees[at_us, known_us] = found
        return found

    def place(
        self, department_id: str, at_us: int, tree_at_us: int | None = None, known_us: int | None = None
    ) -> Place:
        """Where the department that bore an id at an instant stands in the tree of ``tree_at_us``; None: of that instant."""
        then = self.tree(at_us, known_us)
        if tree_at_us is None:
            return then.place(department_id)
        bearer = then.departments.get(department_id)
        return self.tree(tree_at_us, known_us).place(department_id, bearer.source_key if bearer else None)

    def edges(self, from_us: int, to_us: int, known_us: int | None = None) -> list[int]:
        """Instants within (from_us, to_us) at which the believed tree changes, ascending."""
        found: set[int] = set()
        for row in self._rows:
            if row.believed(known_us):
                found.add(row.valid_from_us)
                if row.valid_to_us is not None:
                    found.add(row.valid_to_us)
        return sorted(edge for edge in found if from_us < edge < to_us)


def _identities(rows: Iterable[Department]) -> dict[str, str]:
    """department_id -> the stable id it bore last: two departments may have used one path after another."""
    newest: dict[str, Department] = {}
    for row in rows:
        if row.source_key is not None:
            other = newest.get(row.department_id)
            if other is None or other.valid_from_us <= row.valid_from_us:
                newest[row.department_id] = row
    return {department_id: str(row.source_key) for department_id, row in newest.items()}


# ------------------------------------------------------------------------------- sums
@dataclass(frozen=True, slots=True)
class RolledUp:
    """One node's sums by measure. total = own + the children's totals, exactly, for every measure."""

    path: tuple[str, ...]
    own: Mapping[str, int]
    total: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Amount:
    """What is booked on one department over a stretch in which the tree stands still.

    at_us: an instant of the stretch. measures: name -> integer; any names, the same unit each time.
    """

    department_id: str
    at_us: int
    measures: Mapping[str, int]


def roll_up(
    amounts: Iterable[Amount],
    organisation: Organisation,
    *,
    tree_at_us: int | None,
    known_us: int | None = None,
) -> list[RolledUp]:
    """Sums for every department with an amount and everything above it, in reading order.

    tree_at_us None: each amount by the tree valid at its own time, so that a department that moved stands in both
    places, each with its part; else every amount by the tree of that one instant.
    The roots' totals add up to the sum of all amounts.
    """
    own: dict[tuple[str, ...], dict[str, int]] = {}
    total: dict[tuple[str, ...], dict[str, int]] = {}
    for amount in amounts:
        path = organisation.place(amount.department_id, amount.at_us, tree_at_us, known_us).path
        _add(own.setdefault(path, {}), amount.measures)
        for depth in range(1, len(path) + 1):
            _add(total.setdefault(path[:depth], {}), amount.measures)
    return [RolledUp(path, own.get(path, {}), total[path]) for path in sorted(total, key=_reading_order)]


def _add(sums: dict[str, int], measures: Mapping[str, int]) -> None:
    for name, value in measures.items():
        sums[name] = sums.get(name, 0) + value


def _reading_order(path: tuple[str, ...]) -> tuple[int, tuple[str, ...]]:
    return (OWN_IDS.index(path[0]) + 1 if path[0] in OWN_IDS else 0, path)


# ------------------------------------------------------------------------------- trouble
def trouble(
    rows: Sequence[tuple[str, Department]], others: Iterable[Department] = (), *, one_root: bool = True
) -> list[str]:
    """What is wrong with departments that should be a tree at every instant; empty: nothing.

    rows: (where it stands, e.g. ``row 3``, the department). others: departments of other sources, which may be
    parents. one_root: more than one department of ``rows`` without a parent is wrong.
    Found: one id or stable id twice at an instant, a parent that is not there, circles, two roots; each once.
    """
    elsewhere = list(others)
    edges = {d.valid_from_us for _, d in rows}
    edges.update(d.valid_to_us for _, d in rows if d.valid_to_us is not None)
    for each in elsewhere:
        edges.update(e for e in (each.valid_from_us, each.valid_to_us) if e is not None)
    found: dict[str, None] = {}
    for edge in sorted(edges):
        here = [(where, d) for where, d in rows if d.valid(edge)]
        if here:
            there = {d.department_id for d in elsewhere if d.valid(edge)}
            for text in (*_doubles(here), *_orphans(here, there), *_circles(here), *_roots(here, one_root)):
                found[text] = None
    return list(found)


def _doubles(here: Sequence[tuple[str, Department]]) -> list[str]:
    found = []
    for what, of in (("id", "department_id"), ("key", "source_key")):
        seen: dict[str, str] = {}
        for where, each in here:
            value = getattr(each, of)
            if value is None:
                continue
            if value in seen:
                found.append(f"{seen[value]} and {where}: {what} {value!r} twice at one time")
            else:
                seen[value] = where
    return found


def _orphans(here: Sequence[tuple[str, Department]], elsewhere: set[str]) -> list[str]:
    known = {each.department_id for _, each in here} | elsewhere
    return [
        f"{where}: the parent {each.parent_id!r} of {each.department_id!r} is not there at that time; add it"
        for where, each in here
        if each.parent_id is not None and each.parent_id not in known
    ]


def _circles(here: Sequence[tuple[str, Department]]) -> list[str]:
    parents = {each.department_id: each.parent_id for _, each in here}
    places = {each.department_id: where for where, each in here}
    done: set[str] = set()
    found = []
    for start in parents:
        trail: list[str] = []
        at: str | None = start
        while at is not None and at in parents and at not in done and at not in trail:
            trail.append(at)
            at = parents[at]
        if at in trail:
            ring = trail[trail.index(at) :]
            said = " below ".join(repr(name) for name in (*ring, ring[0]))
            found.append(f"{', '.join(places[name] for name in sorted(ring))}: a circle: {said}")
        done.update(trail)
    return found


def _roots(here: Sequence[tuple[str, Department]], one_root: bool) -> list[str]:
    roots = [(where, each.department_id) for where, each in here if each.parent_id is None]
    if not one_root or len(roots) < 2:
        return []
    listed = ", ".join(f"{name!r} in {where}" for where, name in roots[:5])
    return [
        f"{len(roots)} roots at one time ({listed}): give them a common parent, "
        'or write roots = "many" in the map'
    ]
