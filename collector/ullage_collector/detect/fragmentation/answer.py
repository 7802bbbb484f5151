"""The measure of nodes by tasks as commands, routes and findings show it: both ways, by class, pool and cluster, and the worst nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from ullage_collector.detect.fragmentation.capacity import FreeNode, as_arrays
from ullage_collector.detect.fragmentation.measure import CLASSES, Measured, Total, measure, totalled
from ullage_collector.detect.fragmentation.task import Kinds, normalised

TOP: Final = 20
"""Nodes named, the most fragmented first; our choice: because a page shows as many."""


def answer(nodes: Sequence[FreeNode], kinds: Kinds, *, memory: bool = False) -> dict[str, Any]:
    """free_milli, fragmented_milli, ratio and by_class by the published rule, and the same below ``gpu_tasks``
    without tasks that ask for no card (None where all are such); clusters, pools and the TOP nodes.

    Amounts are thousandths of a card. by_class: expected free thousandths a class; they add up to free_milli.
    Raises BadInput for tasks without any weight.
    """
    free = as_arrays(nodes)
    published = measure(free, normalised(kinds.tasks), memory=memory)
    operators = None
    if any(task.weight for task in kinds.asking):
        operators = measure(free, normalised(kinds.asking), memory=memory)
    return {
        **_both(published, operators, None, memory),
        "nodes": len(nodes),
        "tasks": len(kinds.tasks),
        "nodes_without_cpu": sum(node.cpu_milli is None for node in nodes),
        "nodes_without_memory": sum(node.memory_mib is None for node in nodes) if memory else 0,
        "clusters": _grouped(nodes, published, operators, memory, lambda node: {"cluster": node.cluster}),
        "pools": _grouped(
            nodes, published, operators, memory, lambda node: {"cluster": node.cluster, "pool": node.pool}
        ),
        "top": _top(nodes, published, operators, memory),
    }


def shown(total: Total, memory: bool) -> dict[str, Any]:
    """One total as JSON; lack_memory stands there where memory was tested."""
    return {
        "free_milli": total.free_milli,
        "fragmented_milli": total.fragmented_milli,
        "ratio": total.ratio,
        "by_class": {name: milli for name, milli in total.by_class.items() if memory or name != CLASSES[-1]},
    }


def _both(
    published: Measured, operators: Measured | None, places: Sequence[int] | None, memory: bool
) -> dict[str, Any]:
    other = None if operators is None else shown(totalled(operators, places), memory)
    return {**shown(totalled(published, places), memory), "gpu_tasks": other}


def _grouped(
    nodes: Sequence[FreeNode],
    published: Measured,
    operators: Measured | None,
    memory: bool,
    named: Callable[[FreeNode], Mapping[str, str]],
) -> list[dict[str, Any]]:
    """One entry a group, in order of names."""
    places: dict[tuple[str, ...], list[int]] = {}
    names: dict[tuple[str, ...], Mapping[str, str]] = {}
    for number, node in enumerate(nodes):
        name = named(node)
        places.setdefault(tuple(name.values()), []).append(number)
        names[tuple(name.values())] = name
    return [
        {**names[key], "nodes": len(places[key]), **_both(published, operators, places[key], memory)}
        for key in sorted(places)
    ]


def _top(
    nodes: Sequence[FreeNode], published: Measured, operators: Measured | None, memory: bool
) -> list[dict[str, Any]]:
    """By the published measure; nodes alike by what tasks with cards lose, then by name."""
    first = published.fragmented_milli
    second = first if operators is None else operators.fragmented_milli
    order = sorted(
        range(len(nodes)),
        key=lambda n: (
            -round(float(first[n]), 6),
            -round(float(second[n]), 6),
            nodes[n].cluster,
            nodes[n].name,
        ),
    )
    return [
        {
            "sn": nodes[n].name,
            "cluster": nodes[n].cluster,
            "pool": nodes[n].pool,
            "model": nodes[n].model,
            "cpu_free_milli": nodes[n].cpu_milli,
            "gpu_free_milli": list(nodes[n].cards),
            **_both(published, operators, [n], memory),
        }
        for n in order[:TOP]
    ]
