"""Volcano: Queue (scheduling.volcano.sh/v1beta1).

min: deserved, what may be had back from others; guarantee, which nobody else may use, is at least in it: where a queue
states both the larger counts, and what others may use is the part beyond the guarantee. max: capability.
parent: the queue ``root`` where none is given, as Volcano makes it. Source: Volcano's design of capacity
scheduling and hierarchical queues.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ullage_collector.quota.entry import QuotaEntry, Reading, Scope
from ullage_collector.quota.readers.objects import Given, Notes, cards, named, objects, part, weight
from ullage_contract.errors import BadInput

ROOT: Final = "root"


def read(text: str, given: Given) -> Reading:
    """Entries of every Queue; one that says nothing of accelerators is there for the tree alone."""
    notes = Notes()
    entries: list[QuotaEntry] = []
    rows = 0
    for number, item in enumerate(objects(text), 1):
        if item.get("kind") != "Queue":
            continue
        rows += 1
        try:
            entries += _queue(item, given, notes, number)
        except BadInput as e:
            notes.refused.append((number, str(e)))
    names = {entry.quota for entry in entries}
    if entries and ROOT not in names and any(entry.parent == ROOT for entry in entries):
        entries.append(QuotaEntry(tree=given.tree("volcano"), quota=ROOT, cluster=given.cluster))
    return Reading(tuple(entries), rows, tuple(notes.refused), tuple(notes.said))


def _queue(item: Mapping[str, Any], given: Given, notes: Notes, number: int) -> list[QuotaEntry]:
    name = named(item)
    spec = part(item, "spec")
    parent = spec.get("parent") or (None if name == ROOT else ROOT)
    amounts = {
        what: cards(part(spec, *path), f"queue {name} {what}", notes, number)
        for what, path in (
            ("guarantee", ("guarantee", "resource")),
            ("deserved", ("deserved",)),
            ("capability", ("capability",)),
        )
    }
    # weight is of the proportion plugin, priority of the queue
    attributes: dict[str, str | int] = {}
    if isinstance(spec.get("reclaimable"), bool):
        attributes["reclaimable"] = "true" if spec["reclaimable"] else "false"

    def entry(scope: Scope, low: int | None, high: int | None, lend: int | None) -> QuotaEntry:
        return QuotaEntry(
            tree=given.tree("volcano"),
            quota=name,
            parent=None if parent is None else str(parent),
            cluster=given.cluster,
            scope=scope,
            min_nano=low,
            max_nano=high,
            lend_nano=lend,
            weight=weight(spec.get("weight")),
            binds=() if name == ROOT else (f"queue={name}",),
            attributes=attributes,
        )

    found = []
    for scope in sorted({scope for each in amounts.values() for scope in each}):
        guarantee, deserved, capability = (
            amounts[what].get(scope, (None,))[0] for what in ("guarantee", "deserved", "capability")
        )
        low = max((a for a in (guarantee, deserved) if a is not None), default=None)
        lend = None if guarantee is None or low is None else low - guarantee
        placed = Scope(given.pool, scope.resource, scope.vendor, scope.model)
        found.append(entry(placed, low, capability, lend))
    return found or [entry(Scope(), None, None, None)]
