"""ElasticQuota: Koordinator's trees of them, and the plain ones of the sigs scheduler plugins.

min and max are the resource lists of the spec. Koordinator's labels say ``is-parent``, ``parent`` and ``tree-id``; its
annotations ``shared-weight`` (else max), ``namespaces``, ``allow-lent-resource`` false: nobody else may use the
min; both are looked for among labels and annotations. A pod names its quota by a label, else its namespace's
only quota counts. The parent is ``koordinator-root-quota`` where none is given. Source: Koordinator's multi hierarchy quota management
and the capacity scheduling of kubernetes-sigs/scheduler-plugins.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from ullage_collector.quota.entry import QuotaEntry, Reading, Scope
from ullage_collector.quota.readers.objects import Given, Notes, cards, named, objects, part
from ullage_contract.errors import BadInput

PREFIX: Final = "quota.scheduling.koordinator.sh/"
ROOT: Final = "koordinator-root-quota"
_OWN: Final = ("koordinator-system-quota", "koordinator-default-quota", ROOT)


def read(text: str, given: Given) -> Reading:
    """Entries of every ElasticQuota; one that says nothing of accelerators is there for the tree alone."""
    notes = Notes()
    found = [(n, item) for n, item in enumerate(objects(text), 1) if item.get("kind") == "ElasticQuota"]
    leaves: Counter[str] = Counter()
    for _, item in found:
        if not _is_parent(item):
            leaves[_namespace(item)] += 1
    entries: list[QuotaEntry] = []
    for number, item in found:
        try:
            entries += _quota(item, given, notes, number, leaves)
        except BadInput as e:
            notes.refused.append((number, str(e)))
    return Reading(tuple(entries), len(found), tuple(notes.refused), tuple(notes.said))


def _marks(item: Mapping[str, Any]) -> dict[str, str]:
    """Koordinator's labels and annotations without their prefix."""
    meta = part(item, "metadata")
    both = {**part(meta, "annotations"), **part(meta, "labels")}
    return {key.removeprefix(PREFIX): str(v) for key, v in both.items() if key.startswith(PREFIX)}


def _is_parent(item: Mapping[str, Any]) -> bool:
    return _marks(item).get("is-parent") == "true"


def _namespace(item: Mapping[str, Any]) -> str:
    return str(part(item, "metadata").get("namespace") or "default")


def _quota(
    item: Mapping[str, Any], given: Given, notes: Notes, number: int, leaves: Mapping[str, int]
) -> list[QuotaEntry]:
    name, namespace = named(item), _namespace(item)
    marks = _marks(item)
    parent: str | None = marks.get("parent") or None
    if parent == ROOT:
        parent = None  # Koordinator's own root is every cluster's: not shown unless the file has it
    system = "koordinator" if marks else "elasticquota"
    # a plain ElasticQuota is its namespace's; names repeat in other namespaces
    quota = name if marks else f"{namespace}/{name}"
    tree = given.tree(system) + (f"/{marks['tree-id']}" if marks.get("tree-id") else "")
    binds: list[str] = []
    if name not in _OWN and not _is_parent(item):
        if marks:
            binds.append(f"queue={name}")
        binds += [f"k8s={each}" for each in _namespaces(marks, name)]
        if leaves[namespace] == 1 and f"k8s={namespace}" not in binds:
            binds.append(f"k8s={namespace}")
    spec = part(item, "spec")
    lows = cards(part(spec, "min"), f"quota {name} min", notes, number)
    highs = cards(part(spec, "max"), f"quota {name} max", notes, number)
    weights = _weights(marks, name)
    keeps = marks.get("allow-lent-resource") == "false"
    found = []
    scopes: list[Scope | None] = [*sorted({*lows, *highs})]
    for scope in scopes or [None]:
        low = high = None
        placed = Scope()
        if scope is not None:
            low = lows.get(scope, (None,))[0]
            high = highs.get(scope, (None,))[0]
            placed = Scope(given.pool, scope.resource, scope.vendor, scope.model)
        found.append(
            QuotaEntry(
                tree=tree,
                quota=quota,
                parent=parent,
                cluster=given.cluster,
                scope=placed,
                min_nano=low,
                max_nano=high,
                lend_nano=0 if keeps and low is not None else None,
                weight=weights.get(placed),
                binds=tuple(dict.fromkeys(binds)),
            )
        )
    return found


def _namespaces(marks: Mapping[str, str], name: str) -> list[str]:
    text = marks.get("namespaces")
    if not text:
        return []
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise BadInput(f"quota {name}: annotation {PREFIX}namespaces is no JSON list of names: {text[:60]!r}")
    return found


def _weights(marks: Mapping[str, str], name: str) -> dict[Scope, float]:
    """shared-weight by kind of cards, in cards; {}: it is max's."""
    text = marks.get("shared-weight")
    if not text:
        return {}
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise BadInput(f"quota {name}: annotation {PREFIX}shared-weight is no JSON object: {text[:60]!r}")
    quiet = Notes()
    return {scope: nano / 1e9 for scope, (nano, _) in cards(found, f"quota {name} weight", quiet, 0).items()}
