"""Kueue: ClusterQueue, LocalQueue, Cohort and ResourceFlavor, v1beta1 and v1beta2 (Cohort also v1alpha1).

nominalQuota is the min; nominalQuota + borrowingLimit the max (no limit: none; a queue without a cohort can borrow
nothing); lendingLimit what others may use of it. A Cohort's own nominalQuota comes on top of its members', so
that its min here is its own and all below it together. A cohort that queues name and nobody defines is there all
the same. Source: Kueue's concepts of ClusterQueue and Cohort, and its API reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ullage_collector.quota.entry import QuotaEntry, Reading, Scope
from ullage_collector.quota.readers.objects import Given, Notes, named, objects, part, parts, weight
from ullage_collector.quota.resources import counted, model_of, nanos
from ullage_contract.errors import BadInput


@dataclass(slots=True)
class _Owner:
    """A ClusterQueue or Cohort: (nominal, borrowing limit, lending limit) by kind of cards."""

    name: str
    parent: str | None
    cohort: bool
    weight: float | None
    quotas: dict[Scope, tuple[int, int | None, int | None]] = field(default_factory=dict)
    flavors: dict[Scope, str] = field(default_factory=dict)


def read(text: str, given: Given) -> Reading:
    """Entries of every ClusterQueue and Cohort with accelerators, and of those above them."""
    notes = Notes()
    owners: dict[str, _Owner] = {}
    flavors: dict[str, Mapping[str, Any]] = {}
    queues: list[tuple[int, Mapping[str, Any]]] = []
    rows = 0
    found = list(objects(text))
    for number, item in enumerate(found, 1):
        try:
            if item.get("kind") == "ResourceFlavor":
                flavors[named(item)] = part(item, "spec")
        except BadInput as e:
            notes.refused.append((number, str(e)))
    for number, item in enumerate(found, 1):
        kind = item.get("kind")
        try:
            if kind in ("ClusterQueue", "Cohort"):
                rows += 1
                owner = _owner(item, kind == "Cohort", flavors, given, notes, number)
                owners[_key(owner)] = owner
            elif kind == "LocalQueue":
                rows += 1
                queues.append((number, item))
        except BadInput as e:
            notes.refused.append((number, f"{kind} {str(part(item, 'metadata').get('name'))[:60]}: {e}"))
    for owner in list(owners.values()):
        if owner.parent is not None and f"cohort {owner.parent}" not in owners:
            owners[f"cohort {owner.parent}"] = _Owner(owner.parent, None, True, None)
    binds = _binds(queues, owners, notes)
    return Reading(tuple(_entries(owners, binds, given)), rows, tuple(notes.refused), tuple(notes.said))


def _key(owner: _Owner) -> str:
    return f"cohort {owner.name}" if owner.cohort else owner.name


def _owner(
    item: Mapping[str, Any],
    cohort: bool,
    flavors: Mapping[str, Mapping[str, Any]],
    given: Given,
    notes: Notes,
    number: int,
) -> _Owner:
    spec = part(item, "spec")
    # v1beta1 has cohort and (Cohort) parent or parentName, v1beta2 cohortName and parentName
    said = ("parentName", "parent") if cohort else ("cohortName", "cohort")
    parent = next((spec[name] for name in said if spec.get(name)), None)
    owner = _Owner(
        named(item),
        None if parent is None else str(parent),
        cohort,
        weight(part(spec, "fairSharing").get("weight")),
    )
    for group in parts(spec, "resourceGroups"):
        for flavor in parts(group, "flavors"):
            for resource in parts(flavor, "resources"):
                try:
                    _quota(owner, str(flavor.get("name", "")), resource, flavors, given, notes)
                except BadInput as e:
                    notes.refused.append((number, f"{owner.name}: {e}"))
    return owner


def _quota(
    owner: _Owner,
    flavor: str,
    resource: Mapping[str, Any],
    flavors: Mapping[str, Mapping[str, Any]],
    given: Given,
    notes: Notes,
) -> None:
    name = str(resource.get("name", ""))
    unit = counted(name)
    if unit is None:
        return
    pool, model = _cards_of(flavor, flavors, given, notes)
    scope = Scope(pool, unit.resource, unit.vendor or "", unit.model or model or "")
    what = f"flavor {flavor} {name}"
    nominal = nanos(resource.get("nominalQuota", 0), unit, f"{what} nominalQuota")
    limits = [
        None if resource.get(key) is None else nanos(resource[key], unit, f"{what} {key}")
        for key in ("borrowingLimit", "lendingLimit")
    ]
    before = owner.flavors.get(scope)
    if before is not None and before != flavor:
        raise BadInput(
            f"flavors {before} and {flavor} are the same cards as far as can be told ({scope}); {flavor} is left out: "
            "give the file their ResourceFlavors, or node labels that name a model"
        )
    if before is not None:  # two resources of one flavor that are one kind of cards add up
        old = owner.quotas[scope]
        nominal += old[0]
        limits = [None if a is None or b is None else a + b for a, b in zip(limits, old[1:], strict=True)]
    owner.flavors[scope] = flavor
    owner.quotas[scope] = (nominal, limits[0], limits[1])


def _cards_of(
    flavor: str, flavors: Mapping[str, Mapping[str, Any]], given: Given, notes: Notes
) -> tuple[str, str | None]:
    """Pool and model of a flavor: by its node labels; one with other labels is a pool of the flavor's name."""
    spec = flavors.get(flavor)
    labels = dict(part(spec, "nodeLabels")) if spec is not None else {}
    model = model_of(labels)
    if model is not None or not labels:
        return given.pool, model
    written = " & ".join(f"label:{key}={value}" for key, value in sorted(labels.items()))
    notes.said[
        f"flavor {flavor} is the pool {flavor}: import a pool of that name with match = {written!r}"
    ] = None
    return flavor, None


def _binds(
    queues: list[tuple[int, Mapping[str, Any]]], owners: Mapping[str, _Owner], notes: Notes
) -> dict[str, list[str]]:
    """ClusterQueue -> conditions: its LocalQueues, and a namespace as such where it has one LocalQueue alone."""
    found: dict[str, list[str]] = {}
    by_namespace: dict[str, list[str]] = {}
    for number, item in queues:
        try:
            name = named(item)
            namespace = str(part(item, "metadata").get("namespace") or "default")
            target = part(item, "spec").get("clusterQueue")
            if not isinstance(target, str) or target not in owners:
                raise BadInput(f"its clusterQueue {str(target)[:60]} is not in the file")
        except BadInput as e:
            notes.refused.append((number, f"LocalQueue {str(part(item, 'metadata').get('name'))[:60]}: {e}"))
            continue
        by_namespace.setdefault(namespace, []).append(target)
        found.setdefault(target, []).append(f"k8s={namespace} & queue={name}")
    for namespace, targets in by_namespace.items():
        if len(targets) == 1:
            found[targets[0]].append(f"k8s={namespace}")
    return found


def _entries(owners: Mapping[str, _Owner], binds: Mapping[str, list[str]], given: Given) -> list[QuotaEntry]:
    below = _below(owners)
    kept = {key for key, owner in owners.items() if owner.quotas}
    for key in list(kept):
        at: str | None = key
        while at is not None and (at == key or at not in kept):
            kept.add(at)
            parent = owners[at].parent
            at = None if parent is None else f"cohort {parent}"
    found: list[QuotaEntry] = []
    for key in sorted(kept):
        owner = owners[key]
        plain = QuotaEntry(
            tree=given.tree("kueue"),
            quota=key,
            parent=None if owner.parent is None else f"cohort {owner.parent}",
            cluster=given.cluster,
            weight=owner.weight,
            binds=() if owner.cohort else tuple(binds.get(owner.name, ())),
        )
        scopes = {scope for each in (key, *below[key]) for scope in owners[each].quotas}
        for scope in sorted(scopes):
            nominal, borrow, lend = owner.quotas.get(scope, (0, None, None))
            low = nominal + sum(owners[each].quotas.get(scope, (0, 0, 0))[0] for each in below[key])
            high = None if borrow is None else low + borrow
            if owner.parent is None and not owner.cohort:
                high = low  # without a cohort there is nobody to borrow from
            attributes: dict[str, str | int] = {}
            if scope in owner.flavors:
                attributes["flavor"] = owner.flavors[scope]
            if owner.cohort and nominal:
                attributes["own_nano"] = nominal
            found.append(
                replace(
                    plain, scope=scope, min_nano=low, max_nano=high, lend_nano=lend, attributes=attributes
                )
            )
    return found


def _below(owners: Mapping[str, _Owner]) -> dict[str, set[str]]:
    """Everything below each owner; in a circle of cohorts all of it once."""
    found: dict[str, set[str]] = {key: set() for key in owners}
    for key, owner in owners.items():
        parent = owner.parent
        seen = {key}
        while parent is not None and (above := f"cohort {parent}") in owners and above not in seen:
            found[above].add(key)
            seen.add(above)
            parent = owners[above].parent
    return found
