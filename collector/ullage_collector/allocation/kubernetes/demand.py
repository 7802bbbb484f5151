"""What a pod asks for as a whole: its containers' asks, counted as the scheduler counts extended resources.

Containers and sidecars (init containers that restart always) run together and add up; the other init containers
run one after the other before them, beside the sidecars declared earlier. The pod is charged the larger of both —
Kubernetes documentation, "Resource sharing within containers" and "Sidecar containers".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ullage_collector.allocation.sharing import Asked, asked, paid_share


def demand(pod: Mapping[str, Any], node: Mapping[str, Any] | None = None) -> tuple[Asked, ...]:
    """The asks that the pod is charged for, of each kind of resource the larger side.

    pod, node: as JSON gives them; without the node a share that depends on its labels is not stated.
    Raises BadInput for a quantity that is none.
    """
    asks = asked(pod, node=node)
    order = [c.get("name") for c in (pod.get("spec") or {}).get("initContainers") or ()]
    found: list[Asked] = []
    for resources in dict.fromkeys(ask.resources for ask in asks):
        same = [ask for ask in asks if ask.resources == resources]
        found += _charged(same, order)
    return tuple(found)


def amount(asks: Sequence[Asked]) -> int:
    """How much of cards these are together, nano."""
    return sum(ask.cards * paid_share(ask.compute_nano, ask.memory_nano) for ask in asks)


def _charged(asks: Sequence[Asked], order: Sequence[Any]) -> list[Asked]:
    together = [ask for ask in asks if not ask.init]
    best = together
    for ask in asks:
        if ask.init:
            before = order[: order.index(ask.container)] if ask.container in order else []
            beside = [ask, *(other for other in together if other.container in before)]
            if amount(beside) > amount(best):
                best = beside
    return best
