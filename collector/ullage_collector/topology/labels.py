"""Labels of Kubernetes nodes: ``kubectl get nodes -o json`` (a List, a Node, or one node a line) to relations."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from typing import Any, Final

from ullage_collector.topology.relation import RELATIONS, Relation, Said, gathered, related
from ullage_contract.errors import BadInput, ConfigError

_NAMELESS: Final = "a node has no metadata.name"
_OF_NODES: Final = frozenset(
    {
        "region",
        "zone",
        "site",
        "room",
        "rack",
        "power_feed",
        "block",
        "link_domain",
        "leaf_switch",
        "spine",
        "core",
    }
)


@cache
def shipped_labels() -> Mapping[str, str]:
    """label -> relation, as shipped."""
    text = resources.files("ullage_collector.topology").joinpath("labels.toml").read_text(encoding="utf-8")
    return dict(tomllib.loads(text)["label"])


def labels_of(own: Mapping[str, Any]) -> Mapping[str, str]:
    """The shipped labels with a site's own ([topology.labels]); "" leaves one out. Raises ConfigError."""
    found = dict(shipped_labels())
    for label, relation in own.items():
        if relation == "":
            found.pop(label, None)
        elif not isinstance(relation, str) or relation not in _OF_NODES:
            raise ConfigError(
                f"[topology.labels] {label[:60]} = {relation!r}: write one of {', '.join(sorted(_OF_NODES))}"
            )
        else:
            found[label] = relation
    return found


def parse(text: str, labels: Mapping[str, str] | None = None, where: str = "nodes.json") -> Said:
    """Relations of the nodes in a JSON text. Labels that say nothing of topology are left out. Raises BadInput."""
    wanted = shipped_labels() if labels is None else labels
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return gathered(_of_lines(text, wanted, where))
    return gathered(_of_document(document, wanted, where))


def of_node(
    name: str, labels: Mapping[str, Any], wanted: Mapping[str, str], where: str
) -> Iterator[Relation]:
    """Relations of one node's labels, as the API server gives them. An empty value says nothing."""
    for label, relation in wanted.items():
        value = labels.get(label)
        if isinstance(value, str) and value.strip():
            assert relation in RELATIONS
            yield related(where, "node", name, relation, value.strip(), {"label": label})


def _of_lines(text: str, wanted: Mapping[str, str], where: str) -> Iterator[Relation]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                document = json.loads(line)
            except (ValueError, RecursionError) as e:
                raise BadInput(f"{where}:{number}: no JSON: write kubectl get nodes -o json > FILE") from e
            yield from _of_document(document, wanted, f"{where}:{number}")


def _of_document(document: Any, wanted: Mapping[str, str], where: str) -> Iterator[Relation]:
    nodes = document
    if isinstance(document, dict):
        nodes = document["items"] if isinstance(document.get("items"), list) else [document]
    if not isinstance(nodes, list):
        raise BadInput(f"{where}: neither a Node nor a list of them")
    for number, node in enumerate(nodes, 1):
        place = f"{where}: node {number}"
        metadata = node.get("metadata") if isinstance(node, dict) else None
        if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
            raise BadInput(f"{place}: {_NAMELESS}")
        if node.get("kind", "Node") != "Node":
            raise BadInput(f"{place}: {str(node.get('kind'))[:40]!r} is no Node")
        labels = metadata.get("labels") or {}
        if not isinstance(labels, dict):
            raise BadInput(f"{place}: metadata.labels is no mapping")
        yield from of_node(metadata["name"], labels, wanted, place)
