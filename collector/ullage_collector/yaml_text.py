"""YAML that others wrote (kubeconfig files, Slurm's topology.yaml), read by PyYAML and refused by line where it is odd.

Aliases, tags of the writer's own, several documents, a key twice and nesting without end are refused: none of these
files needs them, and each is a way to say one thing and mean another. Not here: what a document means.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Final

import yaml

from ullage_contract.errors import BadInput

DEEPEST: Final = 32  # our choice: because kubeconfig and topology.yaml are five deep
MOST_BYTES: Final = (
    16 * 1024 * 1024
)  # our choice: because the topology of the largest cluster is a tenth of it


def read_yaml(text: str, where: str, *, plain: bool = False) -> Any:
    """The one document of a text as dicts, lists and scalars; None where there is nothing.

    where: named in messages, with the line from 1. plain: every scalar stays text (a node may be called ``on`` or
    ``012``). Raises BadInput.
    """
    if len(text) > MOST_BYTES:
        raise BadInput(f"{where}: larger than {MOST_BYTES} bytes")
    try:
        _check(text, where)
        return yaml.load(text, _Plain if plain else _Safe)  # both make plain values only
    except yaml.MarkedYAMLError as e:
        line = e.problem_mark.line + 1 if e.problem_mark is not None else 1
        raise BadInput(f"{where}: line {line}: {e.problem or e.context}") from e
    except (yaml.YAMLError, ValueError) as e:
        raise BadInput(f"{where}: not YAML: {' '.join(str(e).split())[:200]}") from e


def _check(text: str, where: str) -> None:
    depth = documents = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        mark = event.start_mark
        line = mark.line + 1 if mark is not None else 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise BadInput(f"{where}: line {line}: anchors and aliases are not read; write it out")
        if (tag := getattr(event, "tag", None)) is not None:
            raise BadInput(f"{where}: line {line}: tags ({tag}) are not read")
        documents += isinstance(event, yaml.DocumentStartEvent)
        if documents > 1:
            raise BadInput(f"{where}: line {line}: one document only")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEEPEST:
                raise BadInput(f"{where}: line {line}: nested deeper than {DEEPEST}")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _mapping(loader: Any, node: yaml.MappingNode, deep: bool = True) -> dict[Hashable, Any]:
    """A mapping whose keys are there once: YAML's own rule, which PyYAML does not keep."""
    found: dict[Hashable, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, Hashable):
            raise yaml.constructor.ConstructorError(
                None, None, "a list or mapping as a key", key_node.start_mark
            )
        if key in found:
            raise yaml.constructor.ConstructorError(
                None, None, f"{key!r} is there twice", key_node.start_mark
            )
        found[key] = loader.construct_object(value_node, deep=True)
    return found


class _Safe(yaml.SafeLoader):
    """Numbers, booleans, dates and null as YAML has them."""


class _Plain(yaml.BaseLoader):
    """Every scalar a text."""


_Safe.add_constructor("tag:yaml.org,2002:map", _mapping)
_Plain.add_constructor("tag:yaml.org,2002:map", _mapping)
