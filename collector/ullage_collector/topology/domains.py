"""Whether two things share a rack, a switch, a feed or a link domain: yes, no, or nobody knows. Never guessed.

``Topology`` is what all sources say at one instant as believed at another. Where two sources disagree, the one that comes first
in sources.toml is believed and the conflict is shown; where sources of equal standing disagree, nobody is believed.
Not here: reading the rows (reading.py) and keeping them (keep.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from ullage_collector.topology.relation import FABRIC, PLACES, guid, single

LEVELS: Final = ("node", *PLACES, "power_feed", "block", "link_domain", *FABRIC, "rail")
"""What ``same_domain`` can be asked for."""

CHECKED: Final = ("site", "room", "rack", "power_feed", "leaf_switch")
"""Levels whose absence is shown for every node. our choice: what a site with a plan of its hall can say of any node;
blocks, link domains and rails are not there everywhere."""

_WITHIN: Final[Mapping[str, tuple[str, ...]]] = {
    "rack": ("room", "site"),
    "room": ("site",),
    "zone": ("region",),
}
"""Names of a level may be used again in another of these."""
_EVERYWHERE: Final = re.compile(r"[0-9a-f]{16}|[0-9a-f]{8}-[0-9a-f]{4}-")
_QUIET_ROLES: Final = ("management", "virtual")


class Subject(NamedTuple):
    """family: node, card or port. cluster: needed for a node alone."""

    family: str
    subject: str
    cluster: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One relation that holds. source: kind:name. valid_*_us: microseconds since the epoch; to None: still so."""

    source: str
    cluster: str
    family: str
    subject: str
    relation: str
    target: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    valid_from_us: int = 0
    valid_to_us: int | None = None


@dataclass(frozen=True, slots=True)
class Port:
    """An RDMA port the agents know, and what joins it to cabling lists. None: not said."""

    port_id: str
    cluster: str
    node: str
    number: int
    node_guid: str | None
    netdev: str | None
    role: str | None


@dataclass(frozen=True, slots=True)
class Conflict:
    """Sources that put one subject in two places. said: source and target. believed: None: nobody is."""

    cluster: str
    family: str
    subject: str
    relation: str
    said: tuple[tuple[str, str], ...]
    since_us: int
    believed: str | None


@dataclass(frozen=True, slots=True)
class _Set:
    """Targets of one subject and level. complete: there are no others, so that two disjoint ones prove a no."""

    targets: frozenset[str]
    complete: bool


_NOTHING: Final = _Set(frozenset(), False)


class Topology:
    """The query door. ``same_domain`` answers; ``conflicts``, ``unknown`` and ``strangers`` say what stands in its way."""

    def __init__(
        self,
        rows: Iterable[Row],
        *,
        nodes: Iterable[tuple[str, str]] = (),
        cards: Iterable[tuple[str, str, str]] = (),
        ports: Sequence[Port] = (),
        precedence: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """nodes: (cluster, node) known. cards: (card, cluster, node). precedence: relation or default -> source kinds."""
        self._precedence = precedence or {}
        self.rows = tuple(rows)
        self.nodes = frozenset(nodes)
        self._ports = {port.port_id: port for port in ports}
        self._node_of: dict[Subject, tuple[str, str]] = {
            Subject("card", card): (cluster, node) for card, cluster, node in cards
        }
        self._node_of |= {Subject("port", p.port_id): (p.cluster, p.node) for p in ports}
        self._names = self._switch_names()
        self._said: dict[tuple[str, str, str, str], list[Row]] = {}
        joined = _Joins(ports, self.nodes)
        self._hca_node: dict[tuple[str, str], set[str]] = {}
        for row in self.rows:
            family, subject = (
                joined.port(row) if row.family in ("hca", "netdev") else (row.family, row.subject)
            )
            if family == "hca" and (node := joined.described(row)) is not None:
                self._hca_node.setdefault((row.cluster, node), set()).add(subject)
            self._said.setdefault((row.cluster, family, subject, row.relation), []).append(row)
        self._fabric_ports: dict[tuple[str, str], list[str]] = {}
        for port in ports:
            if port.role not in _QUIET_ROLES:
                self._fabric_ports.setdefault((port.cluster, port.node), []).append(port.port_id)

    # ------------------------------------------------------------------------------------ asking
    def same_domain(self, a: Subject, b: Subject, level: str) -> bool | None:
        """Whether ``a`` and ``b`` are in one ``level``; None: nobody knows, or the sources contradict each other.

        Raises ValueError (BUG) for a level that is none of LEVELS.
        """
        if level not in LEVELS:
            raise ValueError(f"BUG: {level!r} is no level; there are {', '.join(LEVELS)}")
        one, two = self.node_of(a), self.node_of(b)
        if one is None or two is None:
            return None
        if level == "node":
            return one == two
        if level in PLACES:
            return self._same_place(one, two, level)
        here, there = self.domains(a, level), self.domains(b, level)
        if not here or not there:
            return None
        if level != "power_feed" and one[0] != two[0]:
            # a cluster's names are its own: only what is unique in the world can be the same
            shared = {name for name in here.targets & there.targets if _EVERYWHERE.search(name)}
            return True if shared else None
        if here.targets & there.targets:
            return True
        return False if here.complete and there.complete else None

    def cards(self) -> tuple[str, ...]:
        """Every card that is known to sit in a node."""
        return tuple(thing.subject for thing in self._node_of if thing.family == "card")

    def node_of(self, thing: Subject) -> tuple[str, str] | None:
        """(cluster, node) of a card, port or node; None: nobody knows."""
        if thing.family == "node":
            return thing.cluster, thing.subject
        return self._node_of.get(Subject(thing.family, thing.subject))

    def place(self, cluster: str, node: str, level: str) -> str | None:
        """The one name of a node's region, zone, site, room, rack, block or link domain; None: not known."""
        return self._one(cluster, "node", node, level)

    def domains(self, thing: Subject, level: str) -> _Set | None:
        """Names of ``thing`` at a level other than a place; None: none is known."""
        node = self.node_of(thing)
        if node is None:
            return None
        if level in ("block", "link_domain", "rail"):
            own = self._one(node[0], thing.family, thing.subject, level) if thing.family != "node" else None
            found = own or (self._one(*_as_node(node), level) if level != "rail" else None)
            found_set = _Set(frozenset({found}), True) if found else self._rails(thing, node, level)
        elif level == "power_feed":
            found_set = self._of_best(*_as_node(node), level)
        elif level == "leaf_switch":
            found_set = self._leaves(thing, node)
        else:
            found_set = self._above(thing, node, level)
        return found_set if found_set.targets else None

    # ------------------------------------------------------------------------------------ what stands in the way
    def conflicts(self) -> list[Conflict]:
        """Subjects that sources put in two places at once, by relation."""
        found = []
        for (cluster, family, subject, relation), rows in sorted(self._said.items()):
            if not single(family, relation) or relation == "name":
                continue
            if len({self._target(row) for row in rows}) > 1:
                said = tuple(sorted({(row.source, row.target) for row in rows}))
                since = max(
                    min(r.valid_from_us for r in rows if r.target == t) for t in {r.target for r in rows}
                )
                believed = self._one(cluster, family, subject, relation)
                found.append(Conflict(cluster, family, subject, relation, said, since, believed))
        return found

    def unknown(self) -> dict[str, list[tuple[str, str]]]:
        """level -> nodes of which nobody says it, for the levels of CHECKED; a conflict nobody wins counts too."""
        found: dict[str, list[tuple[str, str]]] = {level: [] for level in CHECKED}
        for cluster, node in sorted(self.nodes):
            for level in CHECKED:
                thing = Subject("node", node, cluster)
                known = self.place(cluster, node, level) if level in PLACES else self.domains(thing, level)
                if not known:
                    found[level].append((cluster, node))
        return found

    def strangers(self) -> list[tuple[str, str, str]]:
        """(source, cluster, node) of nodes that sources name and nobody ever saw or listed: often a typing error."""
        return sorted(
            {
                (row.source, row.cluster, row.subject)
                for row in self.rows
                if row.family == "node" and (row.cluster, row.subject) not in self.nodes
            }
        )

    # ------------------------------------------------------------------------------------ parts
    def _same_place(self, one: tuple[str, str], two: tuple[str, str], level: str) -> bool | None:
        here, there = self.place(*one, level), self.place(*two, level)
        if here is None or there is None:
            return None
        if here.casefold() != there.casefold():
            return False
        answer: bool | None = True
        for wider in _WITHIN.get(level, ()):
            a, b = self.place(*one, wider), self.place(*two, wider)
            if a is not None and b is not None and a.casefold() != b.casefold():
                return False
            if (a is None) != (b is None):
                answer = None  # the same name, and one of the two may stand elsewhere
        return answer

    def _one(self, cluster: str, family: str, subject: str, relation: str) -> str | None:
        best = self._of_best(cluster, family, subject, relation).targets
        return next(iter(best)) if len(best) == 1 else None

    def _of_best(self, cluster: str, family: str, subject: str, relation: str) -> _Set:
        """All that the first source of the order says of it."""
        rows = self._said.get((cluster, family, subject, relation), ())
        if not rows:
            return _NOTHING
        first = min(self._rank(row) for row in rows)
        return _Set(frozenset(self._target(row) for row in rows if self._rank(row) == first), True)

    def _leaves(self, thing: Subject, node: tuple[str, str]) -> _Set:
        """Leaf switches: of a port its own, of a card those of its nearest ports, of a node those of its fabric ports.

        Where no port's is known, what a source says of the node as a whole.
        """
        if thing.family == "port":
            own = self._one(node[0], "port", thing.subject, "leaf_switch")
            return _Set(frozenset({own}), True) if own else _NOTHING
        ports: list[str] = self._fabric_ports.get(node, [])
        if thing.family == "card":
            nearest = self._of_best(node[0], "card", thing.subject, "nearest_port").targets
            ports = sorted(nearest) or ports
        known = [self._one(node[0], "port", port, "leaf_switch") for port in ports]
        targets = {leaf for leaf in known if leaf}
        if targets:
            return _Set(frozenset(targets), all(known))
        described = [
            self._one(node[0], "hca", hca, "leaf_switch") for hca in sorted(self._hca_node.get(node, ()))
        ]
        if any(described):
            return _Set(frozenset(leaf for leaf in described if leaf), False)
        return self._of_best(*_as_node(node), "leaf_switch")

    def _above(self, thing: Subject, node: tuple[str, str], level: str) -> _Set:
        """Spines or cores: as a source says of the node, else the switches above its leaves."""
        said = self._of_best(*_as_node(node), level)
        if said.targets:
            return said
        below = self._leaves(thing, node) if level == "spine" else self._above(thing, node, "spine")
        parents = [self._parents(node[0], switch) for switch in below.targets]
        complete = below.complete and all(parents)
        return _Set(frozenset(parent for found in parents for parent in found), complete)

    def _parents(self, cluster: str, switch: str) -> frozenset[str]:
        return self._of_best(cluster, "switch", switch, "parent_switch").targets

    def _rails(self, thing: Subject, node: tuple[str, str], level: str) -> _Set:
        """The rails of a card's nearest ports; of a node as a whole there is none to speak of."""
        if level != "rail" or thing.family != "card":
            return _NOTHING
        ports = self._of_best(node[0], "card", thing.subject, "nearest_port").targets
        rails = [self._one(node[0], "port", port, "rail") for port in ports]
        return _Set(frozenset(rail for rail in rails if rail), all(rails))

    def _rank(self, row: Row) -> int:
        order = self._precedence.get(row.relation) or self._precedence.get("default") or ()
        kind = row.source.partition(":")[0]
        return order.index(kind) if kind in order else len(order)

    def _target(self, row: Row) -> str:
        """A switch by the name people use, so that its GUID and its name are one."""
        if row.relation in (*FABRIC, "parent_switch"):
            return self._names.get((row.cluster, guid(row.target) or row.target), row.target)
        return row.target

    def _switch_names(self) -> dict[tuple[str, str], str]:
        """GUID -> name, where a name is of one switch only."""
        said: dict[tuple[str, str], set[str]] = {}
        for row in self.rows:
            if row.family == "switch" and row.relation == "name":
                said.setdefault((row.cluster, row.target), set()).add(row.subject)
        return {
            (cluster, next(iter(guids))): name for (cluster, name), guids in said.items() if len(guids) == 1
        }


class _Joins:
    """From what a cabling list calls an adapter or interface to the port the agents know."""

    def __init__(self, ports: Iterable[Port], nodes: frozenset[tuple[str, str]]) -> None:
        self._nodes = nodes
        self._by_guid: dict[str, list[str]] = {}
        self._by_netdev: dict[str, list[str]] = {}
        for port in ports:
            number = guid(port.node_guid) if port.node_guid else None
            if number is not None:
                self._by_guid.setdefault(f"{number}/{port.number}", []).append(port.port_id)
            if port.netdev:
                name = f"{port.cluster}/{port.node}/{port.netdev}"
                self._by_netdev.setdefault(name, []).append(port.port_id)

    def port(self, row: Row) -> tuple[str, str]:
        """Family and subject: the port where exactly one is meant, else as the list says."""
        if row.family == "hca":
            found = self._by_guid.get(row.subject, [])
        else:
            found = self._by_netdev.get(f"{row.cluster}/{row.subject}", [])
        return ("port", found[0]) if len(found) == 1 else (row.family, row.subject)

    def described(self, row: Row) -> str | None:
        """The node an adapter's description begins with (``node01 mlx5_0``), if there is such a node."""
        first = row.attributes.get("description", "").partition(" ")[0]
        return first if (row.cluster, first) in self._nodes else None


def _as_node(node: tuple[str, str]) -> tuple[str, str, str]:
    return node[0], "node", node[1]
