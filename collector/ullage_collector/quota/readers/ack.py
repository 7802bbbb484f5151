"""ACK's ElasticQuotaTree (scheduling.sigs.k8s.io/v1beta1): one object that is the whole tree.

min not given is 0, nothing is guaranteed; max not given is no ceiling; a namespace hangs on one leaf. Amounts beyond any
fleet (as its examples write "no limit") are no ceiling. Source: ACK's page on capacity scheduling and on
ElasticQuotaTree.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ullage_collector.quota.entry import QuotaEntry, Reading, Scope
from ullage_collector.quota.readers.objects import Given, Notes, cards, listed, objects, part
from ullage_contract.errors import BadInput

_DEEPEST: Final = 64  # our choice: because no company has more levels, and a file could


def read(text: str, given: Given) -> Reading:
    """Entries of every node that has accelerators, or has one above or below it that has."""
    notes = Notes()
    entries: list[QuotaEntry] = []
    rows = 0
    trees = [(n, item) for n, item in enumerate(objects(text), 1) if item.get("kind") == "ElasticQuotaTree"]
    for number, item in trees:
        try:
            root = part(item, "spec", "root")
            if not root:
                raise BadInput("no spec.root")
            name = str(part(item, "metadata").get("name") or "elasticquotatree")
            tree = given.tree("ack") + ("" if len(trees) == 1 else f"/{name}")
            found: list[QuotaEntry] = []
            _node(root, None, tree, given, notes, number, found, 0)
        except BadInput as e:
            notes.refused.append((number, str(e)))
            continue
        rows += len({entry.quota for entry in found})
        entries += found
    return Reading(tuple(entries), rows, tuple(notes.refused), tuple(notes.said))


def _node(
    node: Mapping[str, Any],
    parent: str | None,
    tree: str,
    given: Given,
    notes: Notes,
    number: int,
    found: list[QuotaEntry],
    depth: int,
) -> None:
    name = node.get("name")
    if not isinstance(name, str) or not name:
        raise BadInput(f"a node below {parent or 'the top'} has no name")
    if depth > _DEEPEST:
        raise BadInput(f"{name} is more than {_DEEPEST} levels down")
    children = listed(node, "children")
    namespaces = [str(each) for each in listed(node, "namespaces")]
    if namespaces and children:
        notes.said[f"{name} has namespaces and children: ACK takes namespaces of leaves alone"] = None
    lows = cards(part(node, "min"), f"{name} min", notes, number)
    highs = cards(part(node, "max"), f"{name} max", notes, number)
    scopes: list[Scope | None] = [*sorted({*lows, *highs})]
    for scope in scopes or [None]:
        placed, low, high = Scope(), None, None
        if scope is not None:
            placed = Scope(given.pool, scope.resource, scope.vendor, scope.model)
            low, high = lows.get(scope, (0,))[0], highs.get(scope, (None,))[0]
        found.append(
            QuotaEntry(
                tree=tree,
                quota=name,
                parent=parent,
                cluster=given.cluster,
                scope=placed,
                min_nano=low,
                max_nano=high,
                binds=tuple(f"k8s={each}" for each in namespaces),
            )
        )
    for child in children:
        if not isinstance(child, dict):
            raise BadInput(f"{name}: a child is no object")
        _node(child, name, tree, given, notes, number, found, depth + 1)
