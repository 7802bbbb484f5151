"""``ibnetdiscover`` text: which adapter port is cabled to which switch port.

Cables between switches are left out: the text does not say which of two is the higher one. Subjects are node GUIDs, as agents state them too (fact ``node_guid``); a switch's description is its name for people.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ullage_collector.topology.relation import Relation, Said, gathered, related
from ullage_contract.errors import BadInput

_HEAD: Final = re.compile(
    r'^(Switch|Ca|Rt)\s+(\d{1,4})\s+"([SHR])-([0-9a-fA-F]{1,16})"\s*(?:#\s*"(.*?)"(.*))?$'
)
_LINK: Final = re.compile(
    r'^\[(\d{1,4})\](?:\[ext \d+\])?(?:\([0-9a-fA-F]{1,16}\))?\s+"([SHR])-([0-9a-fA-F]{1,16})"\[(\d{1,4})\]'
    r"(?:\[ext \d+\])?(?:\([0-9a-fA-F]{1,16}\))?\s*(?:#(.*))?$"
)
_WIDTH: Final = re.compile(r"\b(\d{1,2}x[A-Z]+\d*)\s*$")
_OTHER: Final = re.compile(
    r"^(vendid|devid|sysimgguid|switchguid|caguid|rtguid)=\S+|^DDR|^Chassis\b|^Switch NOT"
)


@dataclass(frozen=True, slots=True)
class _Device:
    kind: str
    guid: str
    description: str | None


def parse(text: str, where: str = "ibnetdiscover") -> Said:
    """Relations of an ibnetdiscover output. Raises BadInput with the line; a text with no device is one."""
    relations: list[Relation] = []
    current: _Device | None = None
    devices = 0
    for number, raw in enumerate(text.splitlines(), 1):
        line, place = raw.strip(), f"{where}:{number}"
        if not line or line.startswith("#"):
            continue
        if head := _HEAD.match(line):
            current = _Device(head[1], head[4].lower().zfill(16), (head[5] or "").strip() or None)
            devices += 1
            if current.kind == "Switch" and current.description:
                name = _switch_name(current.description)
                relations.append(related(place, "switch", current.guid, "name", name))
        elif link := _LINK.match(line):
            if current is None:
                raise BadInput(f"{place}: a link stands before any Switch or Ca line")
            relations += _cable(place, current, link)
        elif not _OTHER.match(line):
            raise BadInput(f"{place}: {line[:60]!r} is no line of ibnetdiscover")
    if not devices:
        raise BadInput(f"{where}: no Switch and no Ca line: is this the output of ibnetdiscover?")
    return gathered(relations)


def _cable(place: str, here: _Device, link: re.Match[str]) -> Iterator[Relation]:
    """An adapter's cable, from its own side: the switch's side says it again."""
    port, kind, there, there_port = int(link[1]), link[2], link[3].lower().zfill(16), int(link[4])
    width = _WIDTH.search(link[5] or "")
    if here.kind == "Ca" and kind == "S":
        attributes = {
            "switch_port": str(there_port),
            "width": width[1] if width else None,
            "description": here.description,
        }
        yield related(place, "hca", f"{here.guid}/{port}", "leaf_switch", there, attributes)


def _switch_name(description: str) -> str:
    """``MF0;leaf01:MQM9700/U1`` is leaf01, one ASIC of one box; anything else stands as it is."""
    match = re.match(r"^MF0;([^:;]+):[^/]+/(U\d+|L\d+/U\d+|S\d+/U\d+)$", description)
    if match is None:
        return description
    return match[1] if match[2] == "U1" else f"{match[1]}/{match[2]}"
