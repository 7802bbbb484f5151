"""Slurm's topology.conf (tree and block plugins) and topology.yaml (tree, block, flat), after their manual pages.

A switch with nodes is their leaf switch; a switch with switches is their parent. A block says that a scheduler places
work inside it; that it is an NVLink domain its file does not say, so neither do we.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ullage_collector.topology.hostlist import expand
from ullage_collector.topology.relation import Relation, Said, gathered, related
from ullage_collector.yaml_text import read_yaml
from ullage_contract.errors import BadInput

_PAIR: Final = re.compile(r"\s*([A-Za-z]+)\s*=\s*(\S+)")
_KNOWN: Final = frozenset(
    {"switchname", "switches", "nodes", "linkspeed", "blockname", "blocksizes", "blocksize"}
)


def parse_conf(text: str, where: str = "topology.conf") -> Said:
    """Relations of a topology.conf. Raises BadInput with the line."""
    return gathered(_conf(text, where))


def _conf(text: str, where: str) -> Iterator[Relation]:
    for number, line in _joined(text):
        said = _pairs(line, f"{where}:{number}")
        try:
            if "switchname" in said:
                for name in expand(said["switchname"]):
                    yield from _switch(
                        f"{where}:{number}", name, said.get("nodes"), said.get("switches"), said
                    )
            elif "blockname" in said:
                for name in expand(said["blockname"]):
                    yield from _block(f"{where}:{number}", name, said.get("nodes"), {})
            elif not said.keys() <= {"blocksizes", "blocksize"}:
                raise BadInput("a line begins with SwitchName=, BlockName= or BlockSizes=")
        except BadInput as e:
            raise _placed(e, f"{where}:{number}") from e


def _joined(text: str) -> Iterator[tuple[int, str]]:
    """Lines without comments, those that end in a backslash with the next; with the number of the first."""
    begun, number = "", 0
    for count, raw in enumerate(text.splitlines(), 1):
        line = raw.split("#", 1)[0].rstrip()
        number = number or count
        if line.endswith("\\"):
            begun += line[:-1] + " "
            continue
        if (begun + line).strip():
            yield number, (begun + line).strip()
        begun, number = "", 0
    if begun.strip():
        yield number, begun.strip()


def _pairs(line: str, where: str) -> dict[str, str]:
    said: dict[str, str] = {}
    at = 0
    while at < len(line):
        match = _PAIR.match(line, at)
        if match is None:
            raise BadInput(f"{where}: {line[at : at + 40].strip()!r} is no Key=Value")
        key = match[1].casefold()
        if key not in _KNOWN:
            raise BadInput(f"{where}: {match[1][:30]!r} is no parameter of topology.conf that is read here")
        said[key] = match[2].strip('"')
        at = match.end()
    return said


def _switch(
    where: str, name: str, nodes: str | None, switches: str | None, said: Mapping[str, Any]
) -> Iterator[Relation]:
    attributes = {"link_speed": said.get("linkspeed"), "topology": said.get("topology")}
    for node in expand(nodes or ""):
        yield related(where, "node", node, "leaf_switch", name, attributes)
    for child in expand(switches or ""):
        yield related(where, "switch", child, "parent_switch", name, attributes)


def _block(where: str, name: str, nodes: str | None, said: Mapping[str, str | None]) -> Iterator[Relation]:
    for node in expand(nodes or ""):
        yield related(where, "node", node, "block", name, said)


def parse_yaml(text: str, where: str = "topology.yaml") -> Said:
    """Relations of a topology.yaml. A topology of a type that is not read here is a note. Raises BadInput."""
    document = read_yaml(text, where, plain=True)
    if not isinstance(document, list):
        raise BadInput(f"{where}: a topology.yaml is a list of topologies: - topology: NAME")
    relations: list[Relation] = []
    notes: list[str] = []
    for number, entry in enumerate(document, 1):
        place = f"{where}: topology {number}"
        if not isinstance(entry, dict) or not isinstance(entry.get("topology"), str):
            raise BadInput(f"{place} has no name: - topology: NAME")
        name = entry["topology"]
        try:
            if "tree" in entry:
                relations += _yaml_tree(place, name, entry["tree"])
            elif "block" in entry:
                relations += _yaml_blocks(place, name, entry["block"])
            elif "flat" not in entry:
                kinds = [key for key in entry if key not in ("topology", "cluster_default")]
                notes.append(
                    f"{name}: type {', '.join(kinds)[:60] or 'none'} is not read; tree, block and flat are"
                )
        except BadInput as e:
            raise _placed(e, place) from e
    return gathered(relations, notes)


def _yaml_tree(place: str, topology: str, tree: Any) -> Iterator[Relation]:
    for entry in _entries(place, tree, "switches", "switch"):
        yield from _switch(
            place,
            entry["switch"],
            _names(entry.get("nodes")),
            _names(entry.get("children")),
            {"topology": topology},
        )


def _yaml_blocks(place: str, topology: str, block: Any) -> Iterator[Relation]:
    for entry in _entries(place, block, "blocks", "block"):
        yield from _block(place, entry["block"], _names(entry.get("nodes")), {"topology": topology})


def _entries(place: str, table: Any, key: str, name: str) -> list[dict[str, Any]]:
    listed = table.get(key) if isinstance(table, dict) else None
    if not isinstance(listed, list):
        if listed is None and isinstance(table, dict) and key in table:
            return []
        raise BadInput(f"{place}: no list of {key}")
    for entry in listed:
        if not isinstance(entry, dict) or not isinstance(entry.get(name), str):
            raise BadInput(f"{place}: one of the {key} has no name: - {name}: NAME")
    return listed


def _names(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ",".join(value)
    raise BadInput("nodes and children are a list of names, e.g. gpu[01-08]")


def _placed(error: BadInput, where: str) -> BadInput:
    text = str(error)
    return error if text.startswith(where) else BadInput(f"{where}: {text}")
