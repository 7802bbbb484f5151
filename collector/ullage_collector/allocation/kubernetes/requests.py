"""What a pod asks for beside cards: processors and memory, as the scheduler counts them.

Requests, not use: the larger of what the containers ask together and what one init container asks (with the sidecars
before it), plus the pod's overhead — Kubernetes documentation, "Resource sharing within containers", "Pod Overhead".
Not here: cards (demand.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from ullage_collector.allocation.room import MIB
from ullage_collector.allocation.sharing.quantity import quantity

Amounts = tuple[int, int]
"""Thousandths of a processor, and MiB."""


def requested(spec: Mapping[str, Any]) -> Amounts:
    """What a pod's spec asks for, rounded up; an absent request is none. Raises BadInput for a quantity that is none."""
    return _of(spec, "cpu", Fraction(1, 1000)), _of(spec, "memory", Fraction(MIB))


def _of(spec: Mapping[str, Any], resource: str, unit: Fraction) -> int:
    together = sum((_request(c, resource) for c in spec.get("containers") or ()), Fraction(0))
    before, first = Fraction(0), Fraction(0)
    for container in spec.get("initContainers") or ():
        asked = _request(container, resource)
        if container.get("restartPolicy") == "Always":
            before += asked
            first = max(first, before)
        else:
            first = max(first, before + asked)
    overhead = (spec.get("overhead") or {}).get(resource, 0)
    total = (max(first, before + together) + quantity(overhead, where=f"overhead {resource}")) / unit
    return -(-total.numerator // total.denominator)


def _request(container: Mapping[str, Any], resource: str) -> Fraction:
    resources = container.get("resources") or {}
    # The API server writes a limit without a request as the request too; a manifest of a static pod may not.
    asked = (resources.get("requests") or {}).get(resource, (resources.get("limits") or {}).get(resource, 0))
    return quantity(asked, where=f"request of {resource}")
