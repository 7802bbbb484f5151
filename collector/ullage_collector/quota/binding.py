"""Which quota a workload counts against: of the conditions that hold, the most particular one decides.

More conditions before fewer, a namespace, account or queue before a department, a text before a glob, the longer text
before the shorter one (so the nearest department), then the node's name. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from ullage_collector.ledger import UNMAPPED
from ullage_collector.mapping import Subject
from ullage_collector.quota.conditions import Condition, Values, holds, parse
from ullage_collector.quota.entry import BIND_KINDS
from ullage_collector.quota.tree import Node

QUEUE_LABELS: Final = (
    # where batch systems say on a pod which of their queues it went through
    "kueue.x-k8s.io/queue-name",
    "volcano.sh/queue-name",
    "scheduling.volcano.sh/queue-name",
    "quota.scheduling.koordinator.sh/name",
)


class Binder:
    """The nodes of a tree at one time, ready to be asked of many workloads."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        rules: list[tuple[tuple[Any, ...], Node, tuple[Condition, ...]]] = []
        for node in nodes:
            for text in node.bound:
                conditions = parse(text, BIND_KINDS)
                rank = (
                    -len(conditions),
                    all(c.kind == "department" for c in conditions),
                    -sum(c.exact for c in conditions),
                    -sum(len(c.value) for c in conditions),
                    node.name,
                )
                rules.append((rank, node, conditions))
        rules.sort(key=lambda rule: rule[0])
        self._rules = [(node, conditions) for _, node, conditions in rules]

    def node(self, cluster: str, values: Values) -> str | None:
        """The name of the node a workload counts against; None: none binds it."""
        for node, conditions in self._rules:
            if node.cluster in (None, cluster) and holds(conditions, values):
                return node.name
        return None


def values_of(subject: Subject, department: str, attributes: str | None = None) -> Values:
    """A workload's values, as conditions ask for them. attributes: JSON of table workload; its ``queue`` counts."""
    labels = {**(subject.annotations or {}), **(subject.labels or {})}
    queues = [labels[name] for name in QUEUE_LABELS if name in labels]
    said = _object(attributes).get("queue")
    if isinstance(said, str) and said:
        queues.append(said)
    found: dict[str, tuple[str, ...]] = {
        "workload": (subject.workload_id,),
        "cluster": (subject.cluster,),
        "label": tuple(f"{key}={value}" for key, value in labels.items()),
        "queue": tuple(queues),
    }
    if subject.namespace is not None:
        found[subject.source] = (subject.namespace,)
    for kind, value in (("user", subject.user), ("partition", subject.partition), ("qos", subject.qos)):
        if value is not None:
            found[kind] = (value,)
    if department != UNMAPPED:
        parts = department.split("/")
        found["department"] = tuple("/".join(parts[: n + 1]) for n in range(len(parts)))
    return found


def _object(text: str | None) -> Mapping[str, Any]:
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
