"""What the readers of Kubernetes' objects share: the objects in a text, and quantities of cards in a resource list."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Final

from ullage_collector.quota.entry import ANY_POOL, Scope
from ullage_collector.quota.resources import Counted, counted, nanos, quantity
from ullage_collector.yaml_text import read_yaml
from ullage_contract.errors import BadInput

_BETWEEN: Final = re.compile(r"^---[ \t]*$", re.M)


@dataclass(frozen=True, slots=True)
class Given:
    """What the file does not say itself.

    name: the file's. cluster: whose objects they are; None: not said. pool: the pool they are about. guaranteed:
    limits are promises, too (Slurm states ceilings only).
    """

    name: str = "quotas"
    cluster: str | None = None
    pool: str = ANY_POOL
    guaranteed: bool = False

    def tree(self, system: str) -> str:
        """The tree's name: the system, and the cluster if it is known."""
        return f"{system}/{self.cluster}" if self.cluster else system


@dataclass(slots=True)
class Notes:
    """What is refused by the object's number, and what is said once."""

    refused: list[tuple[int, str]] = field(default_factory=list)
    said: dict[str, None] = field(default_factory=dict)


def objects(text: str) -> Iterator[Mapping[str, Any]]:
    """Every object of a text, JSON or YAML as kubectl writes them; Lists are opened. Raises BadInput for any other."""
    for found in _json(text) if text.lstrip()[:1] in ("{", "[") else _yaml(text):
        waiting = list(reversed(found)) if isinstance(found, list) else [found]
        while waiting:
            item = waiting.pop()
            if not isinstance(item, dict):
                raise BadInput(f"{str(item)[:40]!r} is no object")
            inside = item.get("items")
            if isinstance(inside, list) and str(item.get("kind", "List")).endswith("List"):
                waiting.extend(reversed(inside))
            else:
                yield item


def _json(text: str) -> Iterator[Any]:
    """Values one after another."""
    decoder = json.JSONDecoder()
    at, end = 0, len(text)
    while True:
        while at < end and text[at].isspace():
            at += 1
        if at >= end:
            return
        try:
            found, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as e:
            raise BadInput(f"not JSON at character {at}: {str(e)[:100]}") from None
        yield found


def _yaml(text: str) -> Iterator[Any]:
    """Documents between lines of ---; empty ones are passed over."""
    for number, document in enumerate(_BETWEEN.split(text), 1):
        found = read_yaml(document, f"document {number}")
        if found is not None:
            yield found


def part(item: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    """An object inside an object; empty where there is none. Raises BadInput for something else in its place."""
    at: Any = item
    for name in path:
        at = at.get(name)
        if at is None:
            return {}
        if not isinstance(at, dict):
            raise BadInput(f"{'.'.join(path)} is no object")
    found: Mapping[str, Any] = at
    return found


def listed(item: Mapping[str, Any], name: str) -> list[Any]:
    """A list inside an object; empty where there is none. Raises BadInput for something else in its place."""
    found = item.get(name)
    if found is None:
        return []
    if not isinstance(found, list):
        raise BadInput(f"{name} is no list")
    return found


def parts(item: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """A list of objects inside an object. Raises BadInput for something else in its place."""
    found = listed(item, name)
    if not all(isinstance(each, dict) for each in found):
        raise BadInput(f"{name} is no list of objects")
    return found


def named(item: Mapping[str, Any]) -> str:
    """metadata.name. Raises BadInput where it is missing."""
    name = part(item, "metadata").get("name")
    if not isinstance(name, str) or not name:
        raise BadInput("no metadata.name")
    return name


def cards(
    resources: Mapping[str, Any], what: str, notes: Notes, number: int
) -> dict[Scope, tuple[int, Counted]]:
    """A resource list as nano-shares by kind of cards (of pool '*'); what is no accelerator is left out.

    A resource nobody knows is refused alone. Several resources of one kind of cards add up.
    """
    found: dict[Scope, tuple[int, Counted]] = {}
    for name, value in resources.items():
        try:
            unit = counted(str(name))
            if unit is None:
                continue
            amount = nanos(value, unit, f"{what} {name}")
        except BadInput as e:
            notes.refused.append((number, str(e)))
            continue
        scope = Scope(ANY_POOL, unit.resource, unit.vendor or "", unit.model or "")
        before = found.get(scope)
        found[scope] = (amount + (before[0] if before else 0), unit)
    return found


def weight(value: Any) -> float | None:
    """A weight as a number; None: none is given, or it is none."""
    if value is None or isinstance(value, bool):
        return None
    found = float(quantity(value, "weight"))
    if not isfinite(found):
        raise BadInput(f"weight {str(value)[:40]!r} is no number")
    return found
