"""OTLP points of serving systems as readings: which system's number a metric is, and whose process shows it.

Not here: the request itself (otlp.py), and what becomes of readings (serving/book.py).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ullage_collector.serving.systems import System, by_prefix, shipped
from ullage_contract.served import Served

SYSTEM: Final = "ullage.serving"
"""Resource attribute that names a system whose metrics have no names of their own (mindie, nim)."""
_SUFFIXES: Final = ("", "_count", "_sum")
"""A histogram is one metric in OTLP and several names in the exposition."""


@dataclass(frozen=True, slots=True)
class Named:
    """One name of the table. order: the newest version's is 0."""

    system: System
    kind: str
    suffix: str
    order: int


def systems_of(metric: str, resource: Mapping[str, str]) -> Sequence[Named]:
    """What a metric's name stands for; () for what is no serving system's."""
    found = []
    plain = shipped().get(resource.get(SYSTEM, ""))
    for suffix in _SUFFIXES:
        name = metric + suffix
        system, kind = (
            (plain, plain.kind_of(name)) if plain is not None else by_prefix().get(name, (None, None))
        )
        if system is not None and kind is not None:
            names = system.names[kind]
            order = next(n for n, one in enumerate(names) if one in (name, f"{name}_total"))
            found.append(Named(system, kind, suffix, order))
    return found


@dataclass(slots=True)
class ServedPoints:
    """One node's points, gathered. Of several names of one number the first that a process shows counts."""

    _by_name: dict[tuple[str, str, str, str], dict[int, list[Served]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )

    def take(
        self,
        names: Sequence[Named],
        cluster: str,
        values: Mapping[str, int | float | None],
        time: float,
        attributes: Mapping[str, str],
        resource: Mapping[str, str],
    ) -> bool:
        """Take a point; whether it said anything that can be kept. values: by the name's suffix."""
        workload = _workload(cluster, attributes, resource)
        if workload is None or not 0 < time < 1e11:
            return False
        target = attributes.get("service.instance.id") or resource.get("service.instance.id")
        target = (target or attributes.get("instance") or resource.get("instance") or "")[:200]
        series = json.dumps(sorted(attributes.items()), ensure_ascii=False).encode("utf-8", "replace")
        taken = False
        for name in names:
            value = values.get(name.suffix)
            if value is None or not math.isfinite(value) or not 0 <= value < 2.0**63:
                continue
            taken = True
            if name.system.counts(attributes):
                digest = hashlib.sha256(series).hexdigest()[:24]
                row = Served(workload, target, name.system.name, digest, name.kind, time, float(value))
                self._by_name[workload, target, name.system.name, name.kind][name.order].append(row)
        return taken

    def readings(self) -> list[Served]:
        """What is kept of them."""
        return [row for by_order in self._by_name.values() for row in by_order[min(by_order)]]


def _workload(cluster: str, attributes: Mapping[str, str], resource: Mapping[str, str]) -> str | None:
    def said(*names: str) -> str | None:
        return next(
            (text for name in names for text in (attributes.get(name), resource.get(name)) if text), None
        )

    namespace, pod = said("k8s.namespace.name", "namespace"), said("k8s.pod.name", "pod")
    if namespace and pod:
        found = f"k8s/{cluster}/{namespace}/{pod}"
    else:
        job = said("slurm.job.id")
        if job is None:
            return None
        found = f"slurm/{cluster}/{job}"
    return found if len(found) <= 300 else None
