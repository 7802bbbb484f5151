"""A quota tree at one instant: its nodes in order, its limits by kind of cards, and what is wrong with it.

What is wrong is said with names and left as it is: a wrong tree is somebody's decision to mend. So that figures can
be made nevertheless, a node whose parent is missing, or that is its own ancestor, stands as a root.
Pure; not here: where entries come from, and what is used.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ullage_collector.quota.entry import QuotaEntry, Scope
from ullage_collector.quota.resources import cards_text


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. kind: min_sum, min_over_max, cycle, no_parent, two_parents, two_leaves, said_twice.

    names: the quotas it is about, in order.
    """

    kind: str
    tree: str
    names: tuple[str, ...]
    message: str


@dataclass(frozen=True, slots=True)
class Limit:
    """A node's limits on one kind of cards; None as in QuotaEntry. Neither said: it is there for the tree alone."""

    min_nano: int | None = None
    max_nano: int | None = None
    lend_nano: int | None = None


NO_LIMIT = Limit()


@dataclass(frozen=True, slots=True)
class Node:
    """One node: place in the tree, and who it is for. cluster None: work of any cluster binds."""

    name: str
    parent: str | None
    department: str | None
    owner: str | None
    cluster: str | None
    binds: tuple[str, ...]
    weight: float | None = None

    @property
    def bound(self) -> tuple[str, ...]:
        """What binds work to it: what it says, else its department's work."""
        if self.binds or self.department is None:
            return self.binds
        return (f"department={self.department}",)


class Tree:
    """One tree at an instant. nodes: parents before children, siblings by name. problems: what is wrong with it."""

    def __init__(self, name: str, entries: Iterable[QuotaEntry]) -> None:
        self.name = name
        self.problems: list[Problem] = []
        rows: dict[str, list[QuotaEntry]] = defaultdict(list)
        for entry in entries:
            rows[entry.quota].append(entry)
        parents = {quota: self._parent(quota, rows) for quota in sorted(rows)}
        self.nodes: tuple[Node, ...] = self._ordered(rows, self._broken(parents))
        self._limits: dict[Scope, dict[str, Limit]] = defaultdict(dict)
        for quota, listed in rows.items():
            for entry in listed:
                self._limit(quota, entry)
        self._check_sums()
        self._check_leaves()

    @property
    def scopes(self) -> list[Scope]:
        """The kinds of cards it limits, in order."""
        return sorted(self._limits)

    def limits(self, scope: Scope) -> dict[str, Limit]:
        """Limits by node on one kind of cards; a node without one is left out."""
        return self._limits.get(scope, {})

    def guarantees(self, scope: Scope) -> bool:
        """Whether anybody is guaranteed anything of these cards; where not, nothing can be borrowed or lent."""
        return any(limit.min_nano is not None for limit in self.limits(scope).values())

    def children(self, name: str | None) -> list[Node]:
        """The nodes below one; None: the roots."""
        return [node for node in self.nodes if node.parent == name]

    def _parent(self, quota: str, rows: dict[str, list[QuotaEntry]]) -> str | None:
        said = {entry.parent for entry in rows[quota]}
        if len(said) > 1:
            named = sorted(text or "(a root)" for text in said)
            self._wrong("two_parents", (quota,), f"{quota} has more than one parent: {', '.join(named)}")
        parent = min((text for text in said if text is not None), default=None)
        if parent is not None and parent not in rows:
            self._wrong("no_parent", (quota, parent), f"{quota}: its parent {parent} is not in the tree")
            return None
        return parent

    def _broken(self, parents: dict[str, str | None]) -> dict[str, str | None]:
        """The same without cycles: the first name of each becomes a root."""
        whole = dict(parents)
        done: set[str] = set()
        for start in sorted(parents):
            path: list[str] = []
            at: str | None = start
            while at is not None and at not in done and at not in path:
                path.append(at)
                at = whole[at]
            if at is not None and at in path:
                ring = path[path.index(at) :]
                self._wrong("cycle", tuple(ring), f"{' > '.join([*ring, ring[0]])} goes round in a circle")
                whole[min(ring)] = None
            done.update(path)
        return whole

    def _ordered(self, rows: dict[str, list[QuotaEntry]], parents: dict[str, str | None]) -> tuple[Node, ...]:
        below: dict[str | None, list[str]] = defaultdict(list)
        for name in sorted(parents):
            below[parents[name]].append(name)
        found: list[Node] = []
        waiting = list(reversed(below[None]))
        while waiting:
            name = waiting.pop()
            listed = rows[name]
            found.append(
                Node(
                    name=name,
                    parent=parents[name],
                    department=next((e.department for e in listed if e.department), None),
                    owner=next((e.owner for e in listed if e.owner), None),
                    cluster=next((e.cluster for e in listed if e.cluster), None),
                    binds=tuple(dict.fromkeys(bind for e in listed for bind in e.binds)),
                    weight=next((e.weight for e in listed if e.weight is not None), None),
                )
            )
            waiting.extend(reversed(below[name]))
        return tuple(found)

    def _limit(self, quota: str, entry: QuotaEntry) -> None:
        if not entry.limited:
            return
        limit = Limit(entry.min_nano, entry.max_nano, entry.lend_nano)
        before = self._limits[entry.scope].get(quota)
        if before is not None:
            if before != limit:
                self._wrong(
                    "said_twice", (quota,), f"{quota} has two limits on {entry.scope}; the first one counts"
                )
            return
        self._limits[entry.scope][quota] = limit
        low, high = limit.min_nano, limit.max_nano
        if low is not None and high is not None and low > high:
            self._wrong(
                "min_over_max",
                (quota,),
                f"{quota} ({entry.scope}): min {cards_text(low)} is more than max {cards_text(high)}",
            )

    def _check_sums(self) -> None:
        for scope in self.scopes:
            limits = self.limits(scope)
            for node in self.nodes:
                own = limits.get(node.name, NO_LIMIT).min_nano
                if own is None:
                    continue
                below = {
                    child.name: limits.get(child.name, NO_LIMIT).min_nano or 0
                    for child in self.children(node.name)
                }
                total = sum(below.values())
                if total > own:
                    listed = ", ".join(f"{name} {cards_text(nano)}" for name, nano in below.items() if nano)
                    self._wrong(
                        "min_sum",
                        (node.name, *(name for name, nano in below.items() if nano)),
                        f"{node.name} ({scope}): its children's min add up to {cards_text(total)}, "
                        f"its own is {cards_text(own)}: {listed}",
                    )

    def _check_leaves(self) -> None:
        by_bind: dict[tuple[str | None, str], list[str]] = defaultdict(list)
        for node in self.nodes:
            for bind in node.bound:
                by_bind[node.cluster, bind].append(node.name)
        for (cluster, bind), names in sorted(
            by_bind.items(), key=lambda item: (item[0][0] or "", item[0][1])
        ):
            if len(names) > 1:
                where = f" of cluster {cluster}" if cluster else ""
                self._wrong("two_leaves", tuple(names), f"{bind}{where} is bound to {' and to '.join(names)}")

    def _wrong(self, kind: str, names: tuple[str, ...], message: str) -> None:
        self.problems.append(Problem(kind, self.name, names, message))


def trees(entries: Sequence[QuotaEntry], instant_us: int) -> list[Tree]:
    """Every tree as it stands at an instant, by name."""
    by_name: dict[str, list[QuotaEntry]] = defaultdict(list)
    for entry in entries:
        if entry.valid(instant_us):
            by_name[entry.tree].append(entry)
    return [Tree(name, by_name[name]) for name in sorted(by_name)]
