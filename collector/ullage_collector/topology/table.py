"""A table people keep: one row a node, card, port or switch, with any of the columns that are relations.

``node,site,room,rack,power_feed`` is enough. The subject is the most exact of port_id, card_id, node and switch in
the row; several power feeds are separated by ``;``. An empty cell says nothing.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Final

from ullage_collector.topology.relation import MANY, Relation, Said, gathered, related
from ullage_contract.errors import BadInput

SUBJECTS: Final[Mapping[str, str]] = {
    "port_id": "port",
    "port": "port",
    "card_id": "card",
    "card": "card",
    "node_id": "node",
    "node": "node",
    "switch": "switch",
}
"""Column -> family, most exact first."""
_PLACES: Final = ("region", "zone", "site", "room", "rack", "power_feed")
_OF: Final[Mapping[str, frozenset[str]]] = {
    "node": frozenset((*_PLACES, "block", "link_domain", "leaf_switch", "spine", "core")),
    "card": frozenset(("link_domain", "rail", "nearest_port", "numa_node")),
    "port": frozenset(("leaf_switch", "rail", "numa_node")),
    "switch": frozenset((*_PLACES, "parent_switch", "name")),
}
ALSO: Final[Mapping[str, str]] = {
    "nvlink_domain": "link_domain",
    "hccs_domain": "link_domain",
    "feed": "power_feed",
}
"""Other words people put at the head of a column."""


def parse(text: str, where: str = "topology.csv") -> Said:
    """Relations of a CSV with a head line. Columns that are no relation are a note. Raises BadInput with the line."""
    try:
        reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
        head = [ALSO.get(name.strip().casefold(), name.strip().casefold()) for name in next(reader, [])]
        subjects = [name for name in SUBJECTS if name in head]
        can = frozenset().union(*(_OF[SUBJECTS[name]] for name in subjects))
        relations = [name for name in head if name in can]
        if not subjects or not relations:
            raise BadInput(
                f"{where}:1: the head line needs one of {', '.join(SUBJECTS)} and some of {', '.join(_PLACES)}, "
                "leaf_switch, link_domain, rail, ..."
            )
        if len(set(head)) != len(head):
            raise BadInput(f"{where}:1: a column is there twice")
        strange = [name for name in head if name and name not in can and name not in SUBJECTS]
        notes = [f"column {name[:40]!r} says nothing of topology and is left out" for name in strange]
        return gathered(_rows(reader, head, subjects, relations, where), notes)
    except csv.Error as e:
        raise BadInput(f"{where}: no CSV: {e}") from e


def _rows(
    reader: Iterator[list[str]], head: list[str], subjects: list[str], relations: list[str], where: str
) -> Iterator[Relation]:
    for cells in reader:
        place = f"{where}:{getattr(reader, 'line_num', 0)}"
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(head):
            raise BadInput(f"{place}: {len(cells)} cells, the head line has {len(head)}")
        row = {name: cell.strip() for name, cell in zip(head, cells, strict=True)}
        if not any(row[name] for name in subjects):
            raise BadInput(f"{place}: none of {', '.join(subjects)} is filled in")
        for name in relations:
            if row[name]:
                yield from _cell(place, row, name, subjects)


def _cell(place: str, row: Mapping[str, str], name: str, subjects: list[str]) -> Iterator[Relation]:
    """One cell, of the most exact subject of the row that can have the relation: a port's rack is its node's."""
    column = next((c for c in subjects if row[c] and name in _OF[SUBJECTS[c]]), None)
    if column is None:
        filled = ", ".join(c for c in subjects if row[c])
        raise BadInput(f"{place}: {name} is filled in, and none of {filled} can have one")
    targets = row[name].split(";") if name in MANY else [row[name]]
    for target in targets:
        if target.strip():
            yield related(place, SUBJECTS[column], row[column], name, target.strip())
