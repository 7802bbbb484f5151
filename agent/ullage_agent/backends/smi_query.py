"""``-q`` of tools made after nvidia-smi (ixsmi, xpu-smi, brsmi): a card a head line, then sections by indentation.

Read by the words of keys and sections, so that order and depth do not matter. Not here: nvidia-smi itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from ullage_agent.backend import DecodedCard
from ullage_agent.backends.printed import address, celsius, hertz, ratio, said, size, watts, whole
from ullage_contract.sample import Value

_HEAD: Final = re.compile(
    r"^\s*(?:GPU|XPU|DEV|Device)\s*#?\s*((?:[0-9a-fA-F]{4,8}:)?[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]|\d{1,3})\s*:?\s*$"
)
_PAIR: Final = re.compile(r"^(\s*)([A-Za-z][^:]*?)\s*:(?:\s+(.*?))?\s*$")
_SECTION: Final = re.compile(r"^(\s*)([A-Za-z][\w .()/&-]*?)\s*:?\s*$")


@dataclass(slots=True)
class Tree:
    """One card's pairs: ("power readings", "power draw") -> text. place: what its head line says."""

    place: str
    pairs: dict[tuple[str, ...], str] = field(default_factory=dict)

    def first(self, *paths: tuple[str, str]) -> str | None:
        """The text of the first (section word, key) that is there; "" is any section. Keys match whole, or
        behind one word of the maker's (``XPU Current Temp`` for ``current temp``)."""
        for section, key in paths:
            for path, text in self.pairs.items():
                last = path[-1]
                if (last == key or last.split(" ", 1)[-1] == key) and (
                    not section or any(section in part for part in path[:-1])
                ):
                    return text
        return None


def trees(lines: Sequence[str]) -> list[Tree]:
    """The cards' trees; [] when no line is a card's head."""
    found: list[Tree] = []
    sections: list[tuple[int, str]] = []
    for line in lines:
        head = _HEAD.match(line)
        if head:
            found.append(Tree(head[1]))
            sections = []
            continue
        pair = _PAIR.match(line) if found else None
        if pair:
            sections = [entry for entry in sections if entry[0] < len(pair[1])]
            if pair[3]:
                path = (*(name for _, name in sections), pair[2].lower())
                found[-1].pairs.setdefault(path, pair[3])
            else:
                sections.append((len(pair[1]), pair[2].lower()))
            continue
        section = _SECTION.match(line) if found else None
        if section:
            sections = [entry for entry in sections if entry[0] < len(section[1])]
            sections.append((len(section[1]), section[2].lower()))
    return found


_Read = Callable[[str | None], Value | None]
VALUES: Final[tuple[tuple[str, tuple[tuple[str, str], ...], _Read], ...]] = (
    ("utilization_ratio", (("utilization", "gpu"), ("utilization", "xpu")), ratio),
    ("memory_bandwidth_ratio", (("utilization", "memory"),), ratio),
    ("encoder_ratio", (("utilization", "encoder"),), ratio),
    ("decoder_ratio", (("utilization", "decoder"),), ratio),
    ("memory_used_bytes", (("memory usage", "used"),), size),
    ("memory_total_bytes", (("memory usage", "total"),), size),
    ("memory_reserved_bytes", (("memory usage", "reserved"),), size),
    ("power_watts", (("power", "power draw"), ("power", "average power draw")), watts),
    ("board_power_watts", (("power", "board power draw"),), watts),
    ("power_limit_watts", (("power", "enforced power limit"), ("power", "power limit")), watts),
    ("temperature_celsius", (("temperature", "current temp"),), celsius),
    ("memory_temperature_celsius", (("temperature", "memory current temp"),), celsius),
    ("temperature_limit_celsius", (("temperature", "slowdown temp"),), celsius),
    ("fan_ratio", (("", "fan speed"),), ratio),
    ("clock_core_hertz", (("clocks", "graphics"), ("clocks", "sm"), ("clocks", "xpu")), hertz),
    ("clock_sm_hertz", (("clocks", "sm"),), hertz),
    ("clock_memory_hertz", (("clocks", "memory"), ("clocks", "mem")), hertz),
    ("performance_state", (("", "performance state"),), said),
    ("pcie_generation", (("pcie generation", "current"),), whole),
    ("pcie_generation_max", (("pcie generation", "max"),), whole),
    ("pcie_width", (("link width", "current"),), whole),
    ("pcie_width_max", (("link width", "max"),), whole),
    ("pcie_replays", (("", "replays since reset"),), whole),
    ("health_detail", (("", "health"),), said),
)


def cards(lines: Sequence[str]) -> Iterator[DecodedCard]:
    """A card for each head line, with what its tree says; processes are left alone: nobody showed us theirs."""
    for position, tree in enumerate(trees(lines)):
        values: dict[str, Value] = {}
        for key, paths, read in VALUES:
            value = read(tree.first(*paths))
            if value is not None:
                values[key] = value
        index = int(tree.place) if tree.place.isdecimal() else None
        place = None if tree.place.isdecimal() else tree.place
        yield DecodedCard(
            index=position if index is None else index,
            model=said(tree.first(("", "product name"))),
            uuid=said(tree.first(("", "uuid"))),
            serial=said(tree.first(("", "serial number"))),
            pci_address=address(place or tree.first(("pci", "bus id"))),
            values=values,
        )
