"""Nodes in groups that share their leaf switches: how few groups a job needs, how often its ring crosses, what is free.

Pure. A group is the set of leaf switches of a node; on a fabric with rails that is one switch a rail. Two nodes share all
of them or none: what shares some is no clear picture, and counts for nothing. Not here: what a source says (topology/).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

Group = frozenset[str]
"""The leaf switches of a node."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node that may take work. own: the job runs on it now. free: it could take the job's share of a node now."""

    name: str
    group: Group
    own: bool
    free: bool


@dataclass(frozen=True, slots=True)
class Ring:
    """The best order of a job's nodes: whole groups one after another, and groups below one spine one after another.

    groups: of leaf switches. crossings: edges between two groups. above: of them, edges that also leave their spines;
    None: the spines are not known.
    """

    groups: int
    crossings: int
    above: int | None


def clear(groups: Mapping[Group, int]) -> set[Group]:
    """Groups that share no switch with another, and of two that share some the one with more nodes: the other is a cable
    in the wrong place, or half of a list. groups: how many nodes each has. Of two alike nobody knows which: neither.
    """
    of_leaf: dict[str, list[Group]] = defaultdict(list)
    for group in groups:
        for leaf in group:
            of_leaf[leaf].append(group)
    doubtful = {
        one
        for sharing in of_leaf.values()
        for one in sharing
        if any(other != one and groups[other] >= groups[one] for other in sharing)
    }
    return set(groups) - doubtful


def ring(groups: Sequence[Group], spines: Mapping[Group, frozenset[str] | None]) -> Ring:
    """Of the nodes' groups, one a node. spines: above each group; None: not known.

    A ring through G groups cannot cross less than G times (once out of each), and one group needs none.
    """
    there = set(groups)
    above: int | None = None
    found = [spines.get(group) for group in there]
    if all(found):
        above = around(len({frozenset(each) for each in found if each}))
    return Ring(len(there), around(len(there)), above)


def around(groups: int) -> int:
    """Crossings of the shortest ring through so many groups."""
    return groups if groups > 1 else 0


def least_groups(sizes: Iterable[int], nodes: int) -> int | None:
    """The fewest groups of these sizes that have so many nodes together; None: all of them have too few."""
    left = nodes
    for number, size in enumerate(sorted(sizes, reverse=True), 1):
        left -= size
        if left <= 0:
            return number
    return None


def enough(candidates: Iterable[Candidate], nodes: int, most_groups: int) -> list[str] | None:
    """Nodes the job could run on now, on as few groups as there are, at most ``most_groups``; None: there are none.

    Of such sets, one that keeps most of the job's own nodes where they are: the groups with most of them first, as long as
    the rest still fits. Names in order.
    """
    by_group: dict[Group, list[Candidate]] = defaultdict(list)
    for one in candidates:
        if one.own or one.free:
            by_group[one.group].append(one)
    fewest = least_groups((len(here) for here in by_group.values()), nodes)
    if fewest is None or fewest > most_groups:
        return None
    own = Counter({group: sum(one.own for one in here) for group, here in by_group.items()})
    left = sorted(by_group, key=lambda g: (-own[g], -len(by_group[g]), sorted(g)))
    taken: list[Group] = []
    needed = nodes
    while len(taken) < fewest and needed > 0:
        rest = fewest - len(taken) - 1
        for group in left:
            others = sorted((len(by_group[g]) for g in left if g != group), reverse=True)[:rest]
            if len(by_group[group]) + sum(others) >= needed:
                break
        else:
            raise ValueError(f"BUG: {needed} nodes do not fit {fewest - len(taken)} groups")
        left.remove(group)
        taken.append(group)
        needed -= len(by_group[group])
    names: list[str] = []
    for group in taken:
        here = sorted(by_group[group], key=lambda one: (not one.own, one.name))
        names += [one.name for one in here[: nodes - len(names)]]
    return sorted(names)


def off_rail(rails: Mapping[str, frozenset[str]], could: Mapping[str, frozenset[str]]) -> int:
    """Cards of a job on a rail that not all of its nodes use, where they could all be on the same.

    rails: of each node, those of the job's cards; could: those of all its cards. 0 where the nodes have no rails in common
    that are enough, so that it has to be so.
    """
    if not rails:
        return 0
    width = max(len(each) for each in rails.values())
    common = frozenset.intersection(*could.values()) if could else frozenset()
    if len(common) < width:
        return 0
    shared = frozenset.intersection(*rails.values())
    return sum(len(each - shared) for each in rails.values())
