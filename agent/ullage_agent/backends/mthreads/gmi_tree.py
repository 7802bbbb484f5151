"""``mthreads-gmi -q``, as JSON (``-j``) or as indented text: one tree of names and values, read alike.

Not here: the table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ullage_agent.backend import Decoded, DecodedCard
from ullage_agent.backends.json_text import find_json, listing, mapping, word
from ullage_agent.backends.printed import address, celsius, hertz, ratio, said, size, watts, whole
from ullage_contract.errors import BadInput
from ullage_contract.sample import Value

Tree = dict[str, Any]
_TOKEN: Final = re.compile(r'"((?:[^"\\]|\\.)*)"|([{}\[\]:,])|([^\s{}\[\]:,"]+)')
_JSON_START: Final = re.compile(r"^[ \t]*(?:\{|\[\s*[{\]\"])", re.MULTILINE)
_TEXT_CARD: Final = re.compile(r"^GPU ?\d{0,3} ?(?:: ?)?([0-9a-fA-F]{4,8}:[0-9a-fA-F:.]+|\d{1,3})?$")
_MOST_DEPTH: Final = 40  # our choice: because gmi nests four deep; more is not gmi's


def decode_tree(tree: Any, tool: str, form: str, notes: Sequence[str]) -> Decoded:
    """The cards of a tree. Raises BadInput when it is not gmi's."""
    root = _named(tree) if isinstance(tree, dict) else {}
    cards = root.get("gpu", root.get("gpus", tree if isinstance(tree, list) else None))
    entries = [_named(card) for card in (listing(cards) or ([cards] if isinstance(cards, dict) else []))]
    entries = [entry for entry in entries if entry]
    if not entries and not {"attached gpus", "driver version"} & set(root):
        raise BadInput("no GPU of mthreads-gmi in this text")
    if not any(_is_ours(entry) for entry in entries) and not _says_ours(root):
        raise BadInput("GPUs of another maker's tool: no name begins with MTT and no key is mthreads-gmi's")
    attached = whole(word(root.get("attached gpus")))
    told = list(notes)
    if attached is not None and attached != len(entries):
        told.append(f"{attached} cards attached, {len(entries)} shown")
    return Decoded(
        maker="mthreads",
        tool=tool,
        format=form,
        driver_version=said(word(root.get("driver version"))),
        cards=[_card(position, entry) for position, entry in enumerate(entries)],
        notes=told,
    )


def _is_ours(entry: Mapping[str, Any]) -> bool:
    text = (
        f"{entry.get('product name')} {entry.get('product brand')} {_at(entry, 'pci', 'vendor id')}".lower()
    )
    return "mtt" in text or "1ed5" in text or "mtbios version" in entry


def _says_ours(root: Mapping[str, Any]) -> bool:
    return "attached gpus" in root and "cuda version" not in root


def _card(position: int, entry: Tree) -> DecodedCard:
    index = whole(_at(entry, "index"))
    values: dict[str, Value | None] = {
        "utilization_ratio": ratio(_at(entry, "utilization", "gpu")),
        # of mtmlMemoryGetUtilization: the share of the memory in use, not of its bandwidth
        "memory_ratio": ratio(_at(entry, "utilization", "memory")),
        "encoder_ratio": ratio(_at(entry, "utilization", "encoder")),
        "decoder_ratio": ratio(_at(entry, "utilization", "decoder")),
        "memory_used_bytes": size(_at(entry, "fb memory usage", "used")),
        "memory_total_bytes": size(_at(entry, "fb memory usage", "total")),
        "memory_reserved_bytes": size(_at(entry, "fb memory usage", "reserved")),
        "power_watts": watts(_at(entry, "power readings", "power draw")),
        "power_limit_watts": watts(
            _at(entry, "power readings", "current power limit") or _at(entry, "power readings", "power limit")
        ),
        "temperature_celsius": celsius(_at(entry, "temperature", "gpu current temp")),
        "memory_temperature_celsius": celsius(_at(entry, "temperature", "memory current temp")),
        "temperature_limit_celsius": celsius(_at(entry, "temperature", "gpu slowdown temp")),
        "fan_ratio": ratio(_at(entry, "fan speed")),
        "clock_core_hertz": hertz(_at(entry, "clocks", "graphics")),
        "clock_memory_hertz": hertz(_at(entry, "clocks", "memory")),
        "clock_video_hertz": hertz(_at(entry, "clocks", "video")),
        "clock_core_max_hertz": hertz(_at(entry, "max clocks", "graphics")),
        "performance_state": said(_at(entry, "performance state")),
        "pcie_generation": _link(entry, "pcie generation", "current"),
        "pcie_generation_max": _link(entry, "pcie generation", "max"),
        "pcie_width": _link(entry, "link width", "current"),
        "pcie_width_max": _link(entry, "link width", "max"),
        "ecc_corrected": _ecc(entry, "volatile", "corrected"),
        "ecc_uncorrected": _ecc(entry, "volatile", "uncorrected"),
        "ecc_corrected_lifetime": _ecc(entry, "aggregate", "corrected"),
        "ecc_uncorrected_lifetime": _ecc(entry, "aggregate", "uncorrected"),
    }
    mpc = said(_at(entry, "mpc mode", "current") or _at(entry, "mpc mode"))
    return DecodedCard(
        index=position if index is None else index,
        model=said(_at(entry, "product name")),
        uuid=said(_at(entry, "gpu uuid") or _at(entry, "uuid")),
        serial=said(_at(entry, "serial number")),
        pci_address=address(_at(entry, "pci", "bus id") or _at(entry, "bus id")),
        partition_mode=None if mpc is None else ("mpc" if mpc.lower().startswith("enable") else "none"),
        values={key: value for key, value in values.items() if value is not None},
        processes=_processes(entry.get("processes")),
        extra={
            name: text
            for name, text in {
                "mtbios_version": said(_at(entry, "mtbios version")),
                "product_brand": said(_at(entry, "product brand")),
            }.items()
            if text is not None
        },
    )


def _at(entry: Any, *path: str) -> str | None:
    node = entry
    for key in path:
        node = mapping(node).get(key)
    return word(node)


def _link(entry: Tree, what: str, which: str) -> int | None:
    """``PCI > GPU Link Info > Link Width > Current``: "16x"; also one level up."""
    info = mapping(mapping(entry.get("pci")).get("gpu link info"))
    for place in (info, mapping(entry.get("pci"))):
        found = whole(_at(place, what, which))
        if found is not None:
            return found
    return None


def _ecc(entry: Tree, life: str, kind: str) -> int | None:
    """``ECC Errors > Volatile > Dram Corrected`` and its spellings; single values below are added up."""
    below = mapping(mapping(entry.get("ecc errors")).get(life))
    numbers = [
        whole(word(value))
        for key, value in below.items()
        if kind in key.split() or key.split()[-1:] == [kind]
    ]
    known = [value for value in numbers if value is not None]
    return sum(known) if known else None


def _processes(value: Any) -> list[Mapping[str, Any]] | None:
    """None without such a section; [] where it says None."""
    if value is None:
        return None
    entries = listing(value) or ([value] if isinstance(value, dict) else [])
    found: list[Mapping[str, Any]] = []
    for entry in entries:
        row = mapping(entry)
        pid = whole(_at(row, "process id") or _at(row, "pid"))
        if pid is not None:
            held = _at(row, "used gpu memory") or _at(row, "gpu memory usage") or _at(row, "memory usage")
            name = said(_at(row, "process name") or _at(row, "name"))
            found.append({"pid": pid, "name": name, "memory_used_bytes": size(held)})
    return found


def _named(node: Any, depth: int = 0) -> Tree:
    """The same tree with keys in lower case and without blanks around them."""
    if not isinstance(node, dict) or depth > _MOST_DEPTH:
        return {}
    return {str(key).strip().lower(): _lowered(value, depth + 1) for key, value in node.items()}


def _lowered(value: Any, depth: int) -> Any:
    if isinstance(value, dict):
        return _named(value, depth)
    if isinstance(value, list):
        return [_lowered(item, depth + 1) for item in value] if depth < _MOST_DEPTH else []
    return value


# ---- reading the two forms


def is_json(text: str) -> bool:
    """Whether a line begins an object or a list of them; ``[INFO]`` of a log does not."""
    return _JSON_START.search(text) is not None


def torn_json(text: str) -> tuple[Any, bool]:
    """The JSON in a text, and whether it is whole; of a text cut short or slightly broken, what is there.

    Raises BadInput when there is none.
    """
    start = _JSON_START.search(text)
    if start is None:
        raise BadInput("no JSON of mthreads-gmi in this text")
    try:
        found = find_json(text[start.start() :], "mthreads-gmi")
    except BadInput:
        found = None
    if isinstance(found, list) or (isinstance(found, dict) and _holds_cards(found)):
        return found, True
    return _Tokens(text[start.start() :]).value(0), False


def _holds_cards(found: Mapping[str, Any]) -> bool:
    return any(str(key).strip().lower() in ("gpu", "gpus", "attached gpus") for key in found)


class _Tokens:
    """Reads JSON that ends too early or lacks commas: strings, braces and bare words, in order."""

    def __init__(self, text: str) -> None:
        self._tokens = list(_TOKEN.finditer(text))
        self._at = 0

    def value(self, depth: int) -> Any:
        token = self._next()
        if token is None or depth > _MOST_DEPTH:
            return None
        if token[2] == "{":
            return self._object(depth)
        if token[2] == "[":
            return self._list(depth)
        return token[1] if token[1] is not None else token[3]

    def _object(self, depth: int) -> Tree:
        found: Tree = {}
        while (token := self._next()) is not None and token[2] != "}":
            if token[2] is not None:
                continue  # a comma, or what is broken here
            after = self._peek()
            if after is None or after[2] != ":":
                continue
            self._next()
            found[token[1] if token[1] is not None else token[3]] = self.value(depth + 1)
        return found

    def _list(self, depth: int) -> list[Any]:
        found: list[Any] = []
        while (token := self._peek()) is not None and token[2] != "]":
            if token[2] in (",", ":", "}"):
                self._next()
                continue
            found.append(self.value(depth + 1))
        self._next()
        return found

    def _peek(self) -> re.Match[str] | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _next(self) -> re.Match[str] | None:
        token = self._peek()
        self._at += 1
        return token


def tree_of_text(lines: Sequence[str]) -> Tree:
    """``mthreads-gmi -q`` as text: ``Key : value`` by indentation, a heading line a GPU."""
    root: Tree = {}
    gpus: list[Tree] = []
    stack: list[tuple[int, Tree]] = [(-1, root)]
    for line in lines:
        clean = line.strip()
        depth = len(line) - len(line.lstrip())
        heading = _TEXT_CARD.match(" ".join(clean.split()))
        if heading and (heading[1] or clean.rstrip(":").upper() != "GPU" or depth == 0):
            card: Tree = {}
            if heading[1] and ":" in heading[1]:
                card["Bus ID"] = heading[1]
            gpus.append(card)
            stack = [(-1, root), (depth, card)]
            continue
        key, colon, value = clean.partition(":")
        key, value = key.strip(), value.strip()
        if not key or (not colon and not re.match(r"^[A-Za-z][\w /-]*$", key)):
            continue
        while (
            len(stack) > 1
            and stack[-1][0] >= depth
            and not (len(stack) == 2 and gpus and stack[-1][1] is gpus[-1])
        ):
            stack.pop()
        if colon and value:
            _put(stack[-1][1], key, value)
        elif len(stack) < _MOST_DEPTH:
            below: Tree = {}
            _put(stack[-1][1], key, below)
            stack.append((depth, below))
    if gpus:
        root["GPU"] = gpus
    return root


def _put(tree: Tree, key: str, value: Any) -> None:
    """A repeated key (processes) becomes a list."""
    if key in tree:
        before = tree[key]
        tree[key] = [*before, value] if isinstance(before, list) else [before, value]
    else:
        tree[key] = value
