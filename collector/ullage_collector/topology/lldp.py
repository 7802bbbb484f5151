"""``lldpctl -f json`` (also json0) and ``-f keyvalue`` of one node: which switch each of its interfaces is cabled to."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ullage_collector.topology.relation import Relation, Said, gathered, related
from ullage_contract.errors import BadInput

_KEY: Final = re.compile(
    r"^lldp\.(.+?)\.(via|rid|age|(?:chassis|port|vlan|lldp-med|ppvid|pi|unknown-tlvs?)\b.*)$"
)
_PORT_IDS: Final = ("ifname", "local", "mac", "descr", "ifalias", "ip")
_CHASSIS_IDS: Final = ("name", "mac", "local", "ip", "ifname")


def parse_json(text: str, node: str, where: str = "lldpctl") -> Said:
    """Relations of a JSON output of ``node``. Interfaces without a neighbour say nothing. Raises BadInput."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as e:
        line = getattr(e, "lineno", 1)
        raise BadInput(f"{where}:{line}: no JSON: write lldpctl -f json > FILE") from e
    top = document.get("lldp") if isinstance(document, dict) else None
    if top is None:
        raise BadInput(f"{where}: no 'lldp' at the top: is this the output of lldpctl -f json?")
    return gathered(_of_json(top, node, where))


def _of_json(top: Any, node: str, where: str) -> Iterator[Relation]:
    for part in _listed(top):
        if not isinstance(part, dict):
            raise BadInput(f"{where}: 'lldp' holds no interfaces")
        for entry in _listed(part.get("interface")):
            if not isinstance(entry, dict):
                raise BadInput(f"{where}: 'interface' holds no mapping")
            # json0 has the name as a value, json as a key
            named = [(entry["name"], entry)] if isinstance(entry.get("name"), str) else list(entry.items())
            for name, value in named:
                for neighbour in _listed(value):
                    if isinstance(neighbour, dict):
                        yield from _neighbour(where, node, name, neighbour)


def _neighbour(where: str, node: str, interface: str, said: Mapping[str, Any]) -> Iterator[Relation]:
    chassis = _chassis(said.get("chassis"))
    port = _first(said.get("port"))
    if chassis is None:
        return
    attributes = {
        "switch_port": _id(port.get("id")) if isinstance(port, dict) else None,
        "port_description": _text(port.get("descr")) if isinstance(port, dict) else None,
    }
    yield related(where, "netdev", f"{node}/{interface}", "leaf_switch", chassis, attributes)


def _chassis(said: Any) -> str | None:
    """The neighbour's name, else its id. json: {name: {id: ...}} or {id: ...}; json0: [{name: [{value}], id: [...]}]."""
    found = _first(said)
    if not isinstance(found, dict):
        return None
    name = _text(found.get("name")) if "name" in found else None
    if name:
        return name
    if "id" in found:
        return _id(found["id"])
    for key, value in found.items():
        if isinstance(value, dict):
            return key.strip() or _id(value.get("id"))
    return None


def _id(said: Any) -> str | None:
    found = _first(said)
    return _text(found.get("value")) if isinstance(found, dict) else _text(found)


def _text(said: Any) -> str | None:
    found = _first(said)
    if isinstance(found, dict):
        found = _first(found.get("value"))
    return found.strip() or None if isinstance(found, str) else None


def _first(said: Any) -> Any:
    return (said[0] if said else None) if isinstance(said, list) else said


def _listed(said: Any) -> list[Any]:
    return said if isinstance(said, list) else [] if said is None else [said]


def parse_keyvalue(text: str, node: str, where: str = "lldpctl") -> Said:
    """Relations of a keyvalue output of ``node``. Raises BadInput with the line."""
    neighbours: list[tuple[int, str, dict[str, str]]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        key, equals, value = line.partition("=")
        match = _KEY.match(key.strip())
        if not equals or match is None:
            if neighbours and not line.startswith("lldp."):
                continue  # a description may go on over several lines
            raise BadInput(f"{where}:{number}: {line[:60]!r} is no line of lldpctl -f keyvalue")
        interface, rest = match[1], match[2]
        # via begins a neighbour; an interface may have several
        if rest == "via" or not neighbours or neighbours[-1][1] != interface:
            neighbours.append((number, interface, {}))
        neighbours[-1][2].setdefault(rest, value.strip())
    return gathered(_of_pairs(neighbours, node, where))


def _of_pairs(neighbours: list[tuple[int, str, dict[str, str]]], node: str, where: str) -> Iterator[Relation]:
    for number, interface, said in neighbours:
        chassis = _known(said, "chassis", _CHASSIS_IDS)
        if chassis:
            attributes = {
                "switch_port": _known(said, "port", _PORT_IDS),
                "port_description": said.get("port.descr"),
            }
            yield related(
                f"{where}:{number}", "netdev", f"{node}/{interface}", "leaf_switch", chassis, attributes
            )


def _known(said: Mapping[str, str], what: str, names: tuple[str, ...]) -> str | None:
    return next((said[f"{what}.{name}"] for name in names if said.get(f"{what}.{name}")), None)
