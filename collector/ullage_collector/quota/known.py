"""What is known of pools, quotas, holdings and requests at one instant of belief, over one stretch of time.

Reads the store's two-time tables as they were believed then, so that the same instant gives the same figures for
ever. What a card is comes from the inventory, who holds it from allocations, whose it is from the mapping.
Not here: the arithmetic (division.py, steps.py).
"""

from __future__ import annotations

import json
import logging
import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from ullage_collector import mapping
from ullage_collector.audit import naive_utc
from ullage_collector.ledger import UNMAPPED
from ullage_collector.node_labels import cut_labels, labels_of
from ullage_collector.quota.binding import Binder, values_of
from ullage_collector.quota.conditions import Values, glob_holds
from ullage_collector.quota.entry import ANY_POOL, QuotaEntry, Scope
from ullage_collector.quota.pools import DEFAULT_SET, Card, Membership, PoolBook, PoolRule, Pools
from ullage_collector.quota.resources import counted, maker
from ullage_collector.quota.sprint import Sprint, shaped
from ullage_collector.quota.steps import Piece, Span, Step, steps
from ullage_collector.quota.tree import Node, Tree, trees
from ullage_collector.sql import statements
from ullage_collector.states import default_rules
from ullage_contract.errors import BadInput

if TYPE_CHECKING:
    import duckdb

log = logging.getLogger(__name__)

_UNKNOWN: Final = (None, None, None, None)
_PARAMETER: Final = re.compile(r"\$([a-z_]+)")


@dataclass(frozen=True, slots=True)
class Held:
    """A share of a card somebody held over [from_us, to_us), in one pool and under one department.

    card: None where the card is not known; then pool, vendor and model are those of the node's cards if they are all
    alike, else None: it counts only where every card counts.
    """

    from_us: int
    to_us: int
    nano: int
    cluster: str
    pool: str | None
    vendor: str | None
    model: str | None
    who: int
    department: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that waited over [from_us, to_us). vendor, model (a glob): as it asks; None: it does not say."""

    from_us: int
    to_us: int
    nano: int
    cluster: str
    vendor: str | None
    model: str | None
    values: Values


@dataclass(slots=True)
class Known:
    """Everything figures are made of. Times in microseconds. refused: rules and requests that could not be understood."""

    from_us: int
    to_us: int
    as_of_us: int
    entries: list[QuotaEntry]
    sprints: list[Sprint]
    pools: Pools
    held: list[Held]
    asked: list[Asked]
    who: Mapping[tuple[int, str], Values]
    refused: list[str] = field(default_factory=list)
    _binders: dict[tuple[Node, ...], Binder] = field(default_factory=dict)
    _edges: dict[str, list[int]] = field(default_factory=dict)
    _stood: dict[tuple[str, int], tuple[Node, ...]] = field(default_factory=dict)
    _limited: set[tuple[str, str, Scope]] = field(default_factory=set)
    _bound: dict[tuple[int, int, str, str], str | None] = field(default_factory=dict)

    @property
    def members(self) -> list[Membership]:
        return self.pools.members

    def trees(self, instant_us: int) -> list[Tree]:
        """Every tree as it stands at an instant of the stretch."""
        return trees(self.entries, instant_us)

    def scopes(self) -> list[tuple[str, Scope]]:
        """Every tree and kind of cards that is limited at any time of the stretch."""
        return sorted({(entry.tree, entry.scope) for entry in self.entries if entry.limited})

    def steps(self, tree: str, scope: Scope) -> Iterator[Step]:
        """The step functions of one tree over one kind of cards, over the stretch where the tree stands."""
        capacity = list(self._capacity(scope))
        group: list[Span] = []
        for span in self._spans(tree, scope, capacity):
            if group and (group[-1].nodes != span.nodes or group[-1].to_us != span.from_us):
                yield from self._group(group, tree, scope, capacity)
                group = []
            group.append(span)
        if group:
            yield from self._group(group, tree, scope, capacity)

    def unplaced(self, tree: str) -> tuple[list[Held], list[Asked]]:
        """What the tree binds and counts in no kind of its cards: nobody knows which cards it is, or asks for."""
        scopes = [scope for name, scope in self.scopes() if name == tree]
        held = []
        for item in self.held:
            if item.pool is None and not any(_takes(scope, item) for scope in scopes):
                binder = self._binder(self._nodes(tree, item.from_us))
                if self._bind(binder, item) is not None:
                    held.append(item)
        asked = []
        for wait in self.asked:
            node = self._binder(self._nodes(tree, wait.from_us)).node(wait.cluster, wait.values)
            if node is not None and self._scope_of(tree, scopes, node, wait) is None:
                asked.append(wait)
        return held, asked

    # ---- how it is put together

    def _capacity(self, scope: Scope) -> Iterator[Piece]:
        for member in self.members:
            card = member.card
            if card.serving and _wanted(scope, member.pool, card.vendor, card.model):
                yield Piece(member.from_us, member.to_us, 1_000_000_000)

    def _spans(self, tree: str, scope: Scope, capacity: list[Piece]) -> Iterator[Span]:
        theirs = [entry for entry in self.entries if entry.tree == tree]
        edges = {self.from_us, self.to_us}
        for entry in theirs:
            edges.update(e for e in (entry.from_us, entry.to_us) if e is not None)
        ruling = [s for s in self.sprints if s.pool == scope.pool]
        for sprint in ruling:
            edges.update((sprint.from_us, sprint.to_us))
            edges.update(
                e for p in capacity for e in (p.from_us, p.to_us) if sprint.from_us < e < sprint.to_us
            )
        cuts = sorted(e for e in edges if self.from_us <= e <= self.to_us)
        standing: dict[tuple[int, ...], Tree] = {}
        for start, end in pairwise(cuts):
            valid = [entry for entry in theirs if entry.valid(start)]
            key = tuple(id(entry) for entry in valid)
            found = standing.get(key)
            if found is None:
                found = standing[key] = Tree(tree, valid)
            if not found.limits(scope):
                continue
            ruler = next((s for s in ruling if s.rules(scope, start)), None)
            there = sum(p.nano for p in capacity if p.from_us <= start < p.to_us) if ruler else 0
            nodes, shape = shaped(found, scope, ruler, there)
            yield Span(start, end, nodes, shape, ruler.sprint_id if ruler else None)

    def _group(self, group: list[Span], tree: str, scope: Scope, capacity: list[Piece]) -> Iterator[Step]:
        nodes, start, end = group[0].nodes, group[0].from_us, group[-1].to_us
        binder = self._binder(nodes)
        held: dict[tuple[int, int, str | None], int] = defaultdict(int)
        for item in self.held:
            if item.from_us < end and start < item.to_us and _takes(scope, item):
                node = self._bind(binder, item)
                held[max(item.from_us, start), min(item.to_us, end), node] += item.nano
        asked: dict[tuple[int, int, str | None], int] = defaultdict(int)
        scopes = [each for name, each in self.scopes() if name == tree]
        for wait in self.asked:
            if wait.from_us < end and start < wait.to_us:
                node = binder.node(wait.cluster, wait.values)
                if node is not None and self._scope_of(tree, scopes, node, wait) == scope:
                    asked[max(wait.from_us, start), min(wait.to_us, end), node] += wait.nano
        yield from steps(
            group,
            [p for p in capacity if p.from_us < end and start < p.to_us],
            (Piece(f, t, nano, node) for (f, t, node), nano in held.items()),
            (Piece(f, t, nano, node) for (f, t, node), nano in asked.items()),
        )

    def _binder(self, nodes: tuple[Node, ...]) -> Binder:
        found = self._binders.get(nodes)
        if found is None:
            found = self._binders[nodes] = Binder(nodes)
        return found

    def _bind(self, binder: Binder, item: Held) -> str | None:
        key = (id(binder), item.who, item.department, item.cluster)
        if key not in self._bound:
            self._bound[key] = binder.node(item.cluster, self.who[item.who, item.department])
        return self._bound[key]

    def _nodes(self, tree: str, instant_us: int) -> tuple[Node, ...]:
        """The tree's nodes at an instant; made once between two instants at which anything of it changes."""
        if tree not in self._edges:
            theirs = [e for e in self.entries if e.tree == tree]
            self._edges[tree] = sorted(
                {t for e in theirs for t in (e.from_us or 0, e.to_us) if t is not None}
            )
        key = (tree, bisect_right(self._edges[tree], instant_us))
        if key not in self._stood:
            valid = [e for e in self.entries if e.tree == tree and e.valid(instant_us)]
            self._stood[key] = Tree(tree, valid).nodes
        return self._stood[key]

    def _scope_of(self, tree: str, scopes: list[Scope], node: str, item: Asked) -> Scope | None:
        """The one kind of cards a request waits for; None where it might be several, or none."""
        fitting = [scope for scope in scopes if _may_be(scope, item)]
        if not self._limited:
            self._limited.update((e.tree, e.quota, e.scope) for e in self.entries if e.limited)
        own = [scope for scope in fitting if (tree, node, scope) in self._limited]
        for found in (own, fitting):
            exact = [scope for scope in found if item.model and scope.model]
            for choice in (exact, found):
                if len(choice) == 1:
                    return choice[0]
        return next((s for s in fitting if s.pool == ANY_POOL and not s.vendor and not s.model), None)


def _takes(scope: Scope, held: Held) -> bool:
    return _wanted(scope, held.pool, held.vendor, held.model)


def _wanted(scope: Scope, pool: str | None, vendor: str | None, model: str | None) -> bool:
    return (
        scope.pool in (ANY_POOL, pool)
        and (not scope.vendor or (vendor is not None and maker(scope.vendor) == maker(vendor)))
        and (not scope.model or glob_holds(scope.model, model))
    )


def _may_be(scope: Scope, item: Asked) -> bool:
    if scope.vendor and item.vendor and maker(scope.vendor) != maker(item.vendor):
        return False
    if scope.model and item.model:
        return scope.model == item.model or glob_holds(scope.model, item.model.strip("*").split("|")[0])
    return True


# ------------------------------------------------------------------------------------- reading
def read(
    cursor: duckdb.DuckDBPyConnection,
    from_us: int,
    to_us: int,
    *,
    as_of_us: int,
    pool_set: str = DEFAULT_SET,
) -> Known:
    """What is known at ``as_of_us`` of [from_us, to_us). cursor: any reader; one transaction sees one state.

    What cannot be understood is left out and listed in ``refused``.
    """
    p = {
        "from_us": from_us,
        "to_us": to_us,
        "from": naive_utc(from_us / 1e6),
        "to": naive_utc(to_us / 1e6),
        "as_of": naive_utc(as_of_us / 1e6),
    }
    refused: list[str] = []
    entries = [_entry(row) for row in _rows(cursor, "quotas", p)]
    sprints = [Sprint(*row) for row in _rows(cursor, "sprints", p)]
    cards = _cards(cursor, p)
    pools = _book(_rows(cursor, "pool_rules", p), pool_set, refused).members(cards)
    mapper = _mapper(cursor, p, as_of_us, refused)
    held, who = _held(cursor, p, mapper, pools.members)
    asked = _asked(cursor, p, mapper, refused)
    return Known(from_us, to_us, as_of_us, entries, sprints, pools, held, asked, who, refused)


def asked_between(
    cursor: duckdb.DuckDBPyConnection, from_us: int, to_us: int, *, as_of_us: int
) -> tuple[list[Asked], list[str]]:
    """(who waited in [from_us, to_us), as known at ``as_of_us``; requests and rules that could not be understood)."""
    p = {
        "from_us": from_us,
        "to_us": to_us,
        "from": naive_utc(from_us / 1e6),
        "to": naive_utc(to_us / 1e6),
        "as_of": naive_utc(as_of_us / 1e6),
    }
    refused: list[str] = []
    return _asked(cursor, p, _mapper(cursor, p, as_of_us, refused), refused), refused


def department_of(values: Values) -> str:
    """Whose a workload with these values is; UNMAPPED: no rule says."""
    found = values.get("department", ())
    return max(found, key=len) if found else UNMAPPED


def _rows(cursor: duckdb.DuckDBPyConnection, name: str, p: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    sql = statements("quota")[name]
    wanted = set(_PARAMETER.findall(sql))
    found: list[tuple[Any, ...]] = cursor.execute(sql, {k: v for k, v in p.items() if k in wanted}).fetchall()
    return found


def _entry(row: tuple[Any, ...]) -> QuotaEntry:
    (tree, quota, parent, cluster, pool, resource, vendor, model, low, high, lend) = row[:11]
    (weight, owner, department, binds, from_us, to_us, attributes) = row[11:]
    return QuotaEntry(
        tree=tree,
        quota=quota,
        parent=parent,
        cluster=cluster,
        scope=Scope(pool, resource, vendor or "", model or ""),
        min_nano=low,
        max_nano=high,
        lend_nano=lend,
        weight=weight,
        owner=owner,
        department=department,
        binds=tuple(json.loads(binds)) if binds else (),
        from_us=from_us,
        to_us=to_us,
        attributes=json.loads(attributes) if attributes else {},
    )


def _cards(cursor: duckdb.DuckDBPyConnection, p: Mapping[str, Any]) -> list[Card]:
    """Owned cards, cut where what is known of their node changes."""
    treatment = default_rules().life
    labels = labels_of(_rows(cursor, "node_labels", p))
    found = []
    for card_id, cluster, node, vendor, model, from_us, to_us, pool, life in _rows(cursor, "lives", p):
        kind = treatment.get(life, "serving")
        if kind == "not_owned":
            continue
        for start, end, texts in cut_labels(labels.get(node, ()), from_us, to_us):
            found.append(
                Card(card_id, cluster, node, vendor, model, start, end, pool, texts, kind == "serving")
            )
    return found


def _book(rows: Iterable[tuple[Any, ...]], pool_set: str, refused: list[str]) -> PoolBook:
    rules = []
    for row in rows:
        rule = PoolRule(*row)
        try:
            PoolBook([rule], pool_set)
        except BadInput as e:
            refused.append(f"pool rule {rule.rule_id}: {e}; it is left out")
        else:
            rules.append(rule)
    return PoolBook(rules, pool_set)


def _mapper(
    cursor: duckdb.DuckDBPyConnection, p: Mapping[str, Any], as_of_us: int, refused: list[str]
) -> mapping.Mapper:
    rules = []
    for row in _rows(cursor, "mapping_rules", p):
        rule = mapping.Rule(*row)
        try:
            mapping.checked(rule)
        except BadInput as e:
            refused.append(f"{e}; it is left out")
        else:
            rules.append(rule)
    return mapping.Mapper(rules, known_at_us=as_of_us)


def _held(
    cursor: duckdb.DuckDBPyConnection,
    p: Mapping[str, Any],
    mapper: mapping.Mapper,
    members: list[Membership],
) -> tuple[list[Held], dict[tuple[int, str], Values]]:
    by_card: dict[str, list[Membership]] = defaultdict(list)
    by_node: dict[tuple[str, str], list[Membership]] = defaultdict(list)
    for member in members:
        by_card[member.card.card_id].append(member)
        by_node[member.card.cluster, member.card.node].append(member)
    subjects = {row[0]: row[1:] for row in _rows(cursor, "workloads", p)}
    owners: dict[tuple[int, str | None], list[mapping.Span]] = {}
    who: dict[tuple[int, str], Values] = {}
    found: list[Held] = []
    alike: dict[tuple[str, str], Membership | None] = {}
    for key, card_id, _, node, nano, from_us, to_us in _rows(cursor, "held", p):
        if from_us >= to_us or key not in subjects:
            continue
        row = subjects[key]
        cluster, attributes = row[1], row[-1]
        places: list[tuple[int, int, str | None, str | None, str | None, str | None]] = []
        if card_id is not None:
            reached = from_us
            for m in by_card.get(card_id, ()):
                start, end = max(m.from_us, from_us), min(m.to_us, to_us)
                if start >= end:
                    continue
                if reached < start:
                    places.append((reached, start, *_UNKNOWN))
                places.append((start, end, m.pool, m.card.vendor, m.card.model, m.card.pool))
                reached = end
            if reached < to_us:
                places.append((reached, to_us, *_UNKNOWN))  # nobody owns it: no pool knows it
        else:
            place = (cluster, node)
            if place not in alike:
                alike[place] = _same(by_node.get(place, ()))
            one = alike[place]
            if one is None:
                places.append((from_us, to_us, *_UNKNOWN))
            else:
                places.append((from_us, to_us, one.pool, one.card.vendor, one.card.model, one.card.pool))
        for start, end, pool, vendor, model, inventory_pool in places:
            spans = owners.get((key, inventory_pool))
            if spans is None:
                subject = mapping.subject(*(*row, inventory_pool))
                spans = owners[key, inventory_pool] = mapper.spans(subject, p["from_us"], p["to_us"])
            for span in spans:
                a, b = max(start, span.from_us), min(end, span.to_us)
                if a >= b:
                    continue
                department = span.owner.department
                if (key, department) not in who:
                    subject = mapping.subject(*(*row, inventory_pool))
                    who[key, department] = values_of(subject, department, attributes)
                found.append(Held(a, b, nano, cluster, pool, vendor, model, key, department))
    return found, who


def _same(members: Iterable[Membership]) -> Membership | None:
    """One of a node's cards, if all are in one pool and of one model all the time; else None."""
    listed = list(members)
    kinds = {(m.pool, m.card.vendor, m.card.model, m.card.pool) for m in listed}
    return listed[0] if len(kinds) == 1 else None


def _asked(
    cursor: duckdb.DuckDBPyConnection, p: Mapping[str, Any], mapper: mapping.Mapper, refused: list[str]
) -> list[Asked]:
    found = []
    for row in _rows(cursor, "requests", p):
        workload_id, cluster, namespace, user, partition, labels, queue, nano, resource, from_us, to_us = row
        vendor = model = None
        if resource is not None:
            try:
                unit = counted(resource)
            except BadInput as e:
                refused.append(f"{workload_id} waits: {e}")
                unit = None
            if unit is not None:
                vendor, model = unit.vendor, unit.model
        attributes = None if queue is None else json.dumps({"queue": queue})
        subject = mapping.subject(workload_id, cluster, namespace, user, partition, labels, None, attributes)
        for span in mapper.spans(subject, from_us, to_us) if from_us < to_us else ():
            department = span.owner.department
            found.append(
                Asked(
                    span.from_us,
                    span.to_us,
                    nano,
                    cluster,
                    vendor,
                    model,
                    values_of(subject, department, attributes),
                )
            )
    return found
