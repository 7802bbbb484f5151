"""Labels of nodes over time, from what agents and schedulers said of them (table ``fact``). Pure."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any


def labels_of(rows: Iterable[tuple[Any, ...]]) -> dict[str, list[tuple[int, str, str]]]:
    """Node -> (from, key, value) in time order. A fact that is an object is a label for each of its keys."""
    found: dict[str, list[tuple[int, str, str]]] = defaultdict(list)
    for node, name, text, from_us in rows:
        try:
            value = json.loads(text) if text is not None else None
        except ValueError:
            value = text
        pairs = value.items() if isinstance(value, dict) else [(name, value)]
        for key, each in pairs:
            found[node].append((from_us, str(key), "" if each is None else _plain(each)))
    for listed in found.values():
        listed.sort(key=lambda item: item[0])
    return found


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def cut_labels(
    labels: Iterable[tuple[int, str, str]], from_us: int, to_us: int
) -> Iterator[tuple[int, int, tuple[str, ...]]]:
    """Stretches of [from_us, to_us) in which a node's labels are the same, each with its ``key=value`` texts."""
    now: dict[str, str] = {}
    start = from_us
    for at, key, value in labels:
        if at > start and at < to_us and now.get(key) != value:
            yield start, at, tuple(f"{k}={v}" for k, v in sorted(now.items()))
            start = at
        if at < to_us:
            now[key] = value
    yield start, to_us, tuple(f"{k}={v}" for k, v in sorted(now.items()))
