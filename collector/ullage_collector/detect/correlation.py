"""Incidents seen together: a node's fault and its cards', the same on several nodes, and who comes back again and again.

Pure. What the topology does not know is no domain: nothing is put together because nobody knows better. Not here:
judging one subject (fault_evaluator.py), writing incidents (incident_turns.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ullage_collector.detect.fault_rule import Condition, FaultRule, Signal
from ullage_collector.isolate.verdict import Action, Mode
from ullage_collector.topology.domains import Subject, Topology
from ullage_collector.topology.relation import PLACES

FLEET: Final = "fleet"
"""Family of an incident of several nodes; its subject is what they share, else the rule."""
DOMAINS: Final = ("rack", "power_feed", "leaf_switch", "spine", "link_domain", "block")
"""What limits and explanations may go by, narrowest fault first."""
_MODES: Final = tuple(Mode)


@dataclass(frozen=True, slots=True)
class Known:
    """An open incident as far as others matter to it. parent: it is part of that one already."""

    incident_id: int
    rule: str
    family: str
    subject: str
    cluster: str
    node: str
    action: Action
    mode: Mode
    fresh: bool
    parent: int | None = None


def parent_of(child: Known, others: Iterable[Known]) -> int | None:
    """The incident that ``child`` is part of: the node's, when it takes the whole node and may go as far; None: none.

    A node's incident is part of no card's. A card's incident that takes the node itself holds its sister cards'.
    """
    found = [
        other
        for other in others
        if other.incident_id != child.incident_id
        and (other.cluster, other.node) == (child.cluster, child.node)
        and other.action.node
        and other.fresh
        and other.parent is None
        and child.action is not Action.OBSERVE
        and other.action.strength >= child.action.strength
        and _MODES.index(other.mode) >= _MODES.index(child.mode)
        and (other.family == "node" or (child.family != "node" and other.incident_id < child.incident_id))
    ]
    return min(
        (other.incident_id for other in sorted(found, key=lambda o: (o.family != "node", o.incident_id))[:1]),
        default=None,
    )


@dataclass(slots=True)
class _Wave:
    """The same fault on several nodes. held: its fleet incident is open."""

    seen: list[tuple[int, str, str, int]] = field(default_factory=list)
    held: bool = False


@dataclass(frozen=True, slots=True)
class Fleetwide:
    """The same new fault on so many nodes at once that a person is asked. began: it was not so before this one."""

    rule: str
    nodes: tuple[tuple[str, str], ...]
    incidents: tuple[int, ...]
    began: bool


class Fleet:
    """Which faults begin on several nodes within a short time. ``least`` 0: never."""

    def __init__(self, least: int, within_us: int) -> None:
        self._least = least
        self._within_us = within_us
        self._waves: dict[str, _Wave] = {}

    def opened(self, rule: str, cluster: str, node: str, incident_id: int, at_us: int) -> Fleetwide | None:
        """Note an opening. What it is part of when it is one of many: all of them, this one included."""
        if self._least <= 0:
            return None
        wave = self._waves.setdefault(rule, _Wave())
        wave.seen = [item for item in wave.seen if item[0] > at_us - self._within_us]
        if not wave.seen:
            wave.held = False
        wave.seen.append((at_us, cluster, node, incident_id))
        nodes = tuple(sorted({(c, n) for _, c, n, _ in wave.seen}))
        if len(nodes) < self._least and not wave.held:
            return None
        began, wave.held = not wave.held, True
        return Fleetwide(rule, nodes, tuple(item[3] for item in wave.seen), began)

    def ended(self, rule: str) -> None:
        """Its fleet incident was closed: the next wave is a new one."""
        self._waves.pop(rule, None)


def domains_of(topology: Topology, cluster: str, node: str, card: str | None = None) -> dict[str, str]:
    """Rack, switch and the like of a node (or card) by word; several leaves of one node are one word, joined by commas.

    What nobody knows, or sources contradict each other about, is left out.
    """
    found: dict[str, str] = {}
    thing = (
        Subject("card", card)
        if card and topology.node_of(Subject("card", card))
        else Subject("node", node, cluster)
    )
    for level in DOMAINS:
        if level in PLACES:
            place = topology.place(cluster, node, level)
            if place:
                found[level] = place
            continue
        here = topology.domains(thing, level)
        if here is not None and here.targets:
            found[level] = ",".join(sorted(here.targets))
    return found


def shared_domain(topology: Topology, nodes: Sequence[tuple[str, str]]) -> tuple[str, str] | None:
    """(level, name) of the narrowest domain that all nodes are known to share; None: they share none, or nobody knows."""
    if len(nodes) < 2:
        return None
    first = Subject("node", nodes[0][1], nodes[0][0])
    for level in DOMAINS:
        if all(
            topology.same_domain(first, Subject("node", node, cluster), level) for cluster, node in nodes[1:]
        ):
            name = domains_of(topology, *nodes[0]).get(level)
            if name:
                return level, name
    return None


@dataclass(frozen=True, slots=True)
class Isolated:
    """One isolation of the past. card: its subject, None for a whole node's."""

    cluster: str
    node: str
    card: str | None
    at_us: int


@dataclass(frozen=True, slots=True)
class Offender:
    """A card or node that was isolated too often. family, subject: which. times: how often in the rule's window."""

    rule: str
    family: str
    subject: str
    cluster: str
    node: str
    times: int
    first_us: int
    last_us: int


def offenders(rules: Mapping[str, FaultRule], isolated: Iterable[Isolated], now_us: int) -> list[Offender]:
    """Cards and nodes that come back again and again, by the rules of signal history; a node counts its cards' too."""
    past = sorted(isolated, key=lambda item: item.at_us)
    found = []
    for rule in rules.values():
        if rule.signal is not Signal.HISTORY or rule.condition is not Condition.OFFENDER:
            continue
        groups: dict[tuple[str, str, str], list[int]] = {}
        for item in past:
            if not now_us - rule.over_us < item.at_us <= now_us:
                continue
            subject = item.node if rule.family == "node" else item.card
            if subject is not None:
                groups.setdefault((item.cluster, item.node, subject), []).append(item.at_us)
        found += [
            Offender(rule.name, rule.family or "", subject, cluster, node, len(times), times[0], times[-1])
            for (cluster, node, subject), times in sorted(groups.items())
            if len(times) >= rule.times
        ]
    return found
