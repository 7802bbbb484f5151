"""What the agents' facts say of a node's inside: its PCI addresses, NUMA nodes and the ports nearest to each card.

Facts are the agents' own; a card without ``nearest_ports`` has none that is known, which is not the same as none.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ullage_collector.topology.relation import Relation, related
from ullage_contract.errors import BadInput


@dataclass(frozen=True, slots=True)
class Stated:
    """The newest facts of one card or port. facts: JSON object of texts, numbers and lists, or None."""

    family: str
    subject: str
    node: str
    facts: str | None


def relations(stated: Iterable[Stated]) -> Iterator[Relation]:
    """Relations of the facts. A fact that cannot be a name is left out: one card's nonsense stops no other's."""
    for item in stated:
        facts = _facts(item.facts)
        for name, value in _said(item, facts):
            try:
                yield related("facts", item.family, item.subject, name, value)
            except BadInput:
                continue


def _said(item: Stated, facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "node", item.node
    numa = facts.get("numa_node")
    if isinstance(numa, int) and not isinstance(numa, bool) and numa >= 0:
        yield "numa_node", str(numa)
    if item.family == "card":
        address = facts.get("pci_address")
        if isinstance(address, str):
            yield "pci_address", address
        ports = facts.get("nearest_ports")
        for port in ports if isinstance(ports, list) else ():
            if isinstance(port, str):
                yield "nearest_port", port


def _facts(text: str | None) -> dict[str, Any]:
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
