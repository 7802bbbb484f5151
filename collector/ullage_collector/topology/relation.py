"""One thing a source says of where something stands or what it hangs on. Parsers make these and nothing else.

Names are the source's own. Which source wins, and what two of them together mean, is domains.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from ullage_contract.errors import BadInput
from ullage_contract.identity import check_id

FAMILIES: Final = ("node", "card", "port", "switch", "hca", "netdev")
"""Whose relation it is. hca: ``<node GUID>/<port>`` of an RDMA adapter; netdev: ``<node>/<interface>``."""

PLACES: Final = ("region", "zone", "site", "room", "rack")
"""Where it stands, widest first. Names are the site's: the same rack of two clusters is one rack."""

FABRIC: Final = ("core", "spine", "leaf_switch")
"""Switches above a node or port, highest first; names are their cluster's."""

RELATIONS: Final[Mapping[str, str]] = {
    "region": "cloud region or part of the world",
    "zone": "availability zone",
    "site": "data centre",
    "room": "room or hall",
    "rack": "rack",
    "power_feed": "power feed; a node may have several",
    "block": "group of nodes a scheduler places work in; what joins them its source does not say",
    "link_domain": "NVLink, HCCS or xGMI domain: cards in one reach each other without the network",
    "leaf_switch": "switch it is cabled to",
    "spine": "switch above the leaf, as a source says it of a node",
    "core": "switch above the spine, as a source says it of a node",
    "parent_switch": "of a switch: the one above it",
    "rail": "of a port or card: which of the fabric's parallel planes it is on",
    "name": "of a switch: what people call it",
    "nearest_port": "of a card: port on the closest PCI path",
    "numa_node": "of a card or port: NUMA node of its slot",
    "pci_address": "of a card: its place on the node's PCI tree",
    "node": "of a card, port or adapter: the node it sits in",
}
"""Every relation word and its meaning."""

MANY: Final = frozenset({"power_feed", "nearest_port"})
"""Relations of which a subject may have several at once. A node's leaf_switch is another: one a rail (see ``single``)."""

MOST_RELATIONS: Final = 1_000_000
"""our choice: because ten thousand cards with all that is known of them make a tenth of it."""

_GUID: Final = re.compile(r"^(?:0x)?([0-9a-f]{16})$")


@dataclass(frozen=True, slots=True)
class Relation:
    """``subject`` of ``family`` stands in ``relation`` to ``target``. attributes: what helps a person check it."""

    family: str
    subject: str
    relation: str
    target: str
    attributes: Mapping[str, str] = field(default_factory=dict)

    def key(self) -> tuple[str, str, str, str, tuple[tuple[str, str], ...]]:
        """What makes two the same."""
        return (
            self.family,
            self.subject,
            self.relation,
            self.target,
            tuple(sorted(self.attributes.items())),
        )


@dataclass(frozen=True, slots=True)
class Said:
    """All that one file says. notes: what was left out and why, a sentence each."""

    relations: tuple[Relation, ...]
    notes: tuple[str, ...] = ()


def related(
    where: str,
    family: str,
    subject: str,
    relation: str,
    target: str,
    attributes: Mapping[str, str | None] | None = None,
) -> Relation:
    """A checked relation. where: file and line for messages. Raises BadInput for names that cannot be keys."""
    if family not in FAMILIES or relation not in RELATIONS:
        raise ValueError(f"BUG: {family} {relation} is no relation")
    try:
        check_id(family, subject)
        check_id(relation, target)
    except BadInput as e:
        raise BadInput(f"{where}: {e}") from e
    kept = {name: value for name, value in (attributes or {}).items() if value}
    return Relation(family, subject, relation, target, kept)


def gathered(relations: Iterable[Relation], notes: Iterable[str] = ()) -> Said:
    """Each relation once, in the order first said. Raises BadInput beyond MOST_RELATIONS."""
    once: dict[object, Relation] = {}
    for relation in relations:
        once.setdefault(relation.key(), relation)
        if len(once) > MOST_RELATIONS:
            raise BadInput(f"more than {MOST_RELATIONS} relations; this is no topology of one site")
    return Said(tuple(once.values()), tuple(notes))


def single(family: str, relation: str) -> bool:
    """Whether a subject has one target at a time, so that two are a conflict."""
    return relation not in MANY and not (family == "node" and relation in FABRIC)


def guid(text: str) -> str | None:
    """An InfiniBand GUID as 16 hexadecimal digits, however it was written; None when it is none."""
    match = _GUID.match(text.strip().casefold().replace(":", ""))
    return match[1] if match else None
