"""A bench for a maker's reader: in this process without the watch, or in its real child under a supervisor."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ullage_agent.backend import Backend, Call, Host, Reader, Reading
from ullage_agent.children.dialogue import Item
from ullage_agent.children.supervisor import Deadlines, Supervisor
from ullage_agent.source import SourceReport
from ullage_contract.catalogue import Tier
from ullage_contract.clock import ManualClock
from ullage_contract.event import Event
from ullage_contract.sample import Facts, Family

T = TypeVar("T")


def straight(card: str, name: str, function: Callable[[], T]) -> T:
    """``Call`` without the watch."""
    return function()


def put(root: Path, files: Mapping[str, object]) -> None:
    """Small files below root, made with their folders; a trailing newline as sysfs has it."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n", encoding="utf-8")


def pci_function(
    sysfs: Path, address: str, vendor: str, device: str, class_code: str, **more: object
) -> Path:
    """A function on the recorded bus; returns its folder."""
    place = sysfs / "bus/pci/devices" / address
    put(
        place,
        {
            "vendor": f"0x{vendor}",
            "device": f"0x{device}",
            "class": f"0x{class_code}",
            "numa_node": -1,
            **more,
        },
    )
    return place


PCIE_LINK = {
    "current_link_speed": "16.0 GT/s PCIe",
    "max_link_speed": "32.0 GT/s PCIe",
    "current_link_width": 8,
    "max_link_width": 16,
    "aer_dev_correctable": "RxErr 2\nBadTLP 1\nBadDLLP 0\nRollover 0\nTimeout 4\nNonFatalErr 0\nTOTAL_ERR_COR 7",
    "aer_dev_nonfatal": "Undefined 0\nDLP 0\nCmpltTO 3\nUnsupReq 0\nTOTAL_ERR_NONFATAL 3",
    "aer_dev_fatal": "Undefined 0\nDLP 1\nMalfTLP 0\nTOTAL_ERR_FATAL 1",
}
"""A function's files of its link, half as fast and half as wide as it can be, and of its errors, as the kernel prints
them (Documentation/ABI/testing/sysfs-bus-pci, sysfs-bus-pci-devices-aer_stats)."""
PCIE_SAYS = {
    "pcie_generation": 4,
    "pcie_generation_max": 5,
    "pcie_width": 8,
    "pcie_width_max": 16,
    "pcie_aer_correctable": 7,
    "pcie_aer_nonfatal": 3,
    "pcie_aer_fatal": 1,
}
"""What a reader makes of them."""


def put_link(sysfs: Path, address: str) -> None:
    """The files of PCIE_LINK for a function that is on the recorded bus."""
    place = sysfs / "bus/pci/devices" / address
    assert place.is_dir(), f"{address} is not on the bus of this test"
    put(place, PCIE_LINK)


def of_the_bus(values: Mapping[str, object]) -> dict[str, object]:
    """The values that the bus can say, of all of a card."""
    return {key: values[key] for key in PCIE_SAYS if key in values}


def link(place: Path, target: Path | str) -> None:
    """A symbolic link, its folder made."""
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)


def holder(proc: Path, pid: int, command: str, *nodes: str) -> None:
    """A process that has these device nodes open."""
    put(proc / str(pid), {"comm": command, "cgroup": f"0::/job_{pid}"})
    (proc / str(pid) / "fd").mkdir(exist_ok=True)
    for number, node in enumerate(nodes, start=3):
        link(proc / str(pid) / "fd" / str(number), node)


@dataclass
class Seen:
    """What one question gave, by kind."""

    items: list[Item] = field(default_factory=list)

    def cards(self) -> dict[str, Reading]:
        return {i.subject: i for i in self.items if isinstance(i, Reading) and i.family is Family.CARD}

    def card(self) -> Reading:
        (only,) = self.cards().values()
        return only

    def processes(self) -> dict[str, Reading]:
        return {i.subject: i for i in self.items if isinstance(i, Reading) and i.family is Family.PROCESS}

    def facts(self, family: Family = Family.CARD) -> dict[str, Facts]:
        return {i.subject: i for i in self.items if isinstance(i, Facts) and i.family is family}

    def events(self, *kinds: str) -> list[Event]:
        return [i for i in self.items if isinstance(i, Event) and (not kinds or i.kind in kinds)]


class Bench:
    """A reader in this process."""

    def __init__(self, reader: Reader, call: Call = straight) -> None:
        self.reader = reader
        self.call = call

    def facts(self) -> Seen:
        return Seen([*self.reader.facts(self.call), *self.reader.events(self.call)])

    def read(self, tier: Tier = Tier.SLOW) -> Seen:
        return Seen([*self.reader.read(tier, self.call), *self.reader.events(self.call)])


class Child:
    """The maker's real child process under a supervisor."""

    def __init__(
        self, backend: Backend, host: Host, *, environment: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        more.setdefault("deadlines", Deadlines(call=1.0, start=20.0))
        self.clock = ManualClock()
        self.supervisor = Supervisor(
            backend, host, self.clock, environment={**os.environ, **(environment or {})}, **more
        )
        self.report: SourceReport | None = None

    def tick(self, tier: Tier = Tier.SLOW, *, facts: bool = False) -> Seen:
        seen = Seen()
        self.report = self.supervisor.tick(tier, seen.items.append, facts=facts)
        return seen

    def close(self) -> None:
        self.supervisor.close()


def children() -> Iterator[Callable[..., Child]]:
    """Body of a fixture: makes Child benches, closes them afterwards."""
    made: list[Child] = []

    def make(backend: Backend, host: Host, **more: Any) -> Child:
        made.append(Child(backend, host, **more))
        return made[-1]

    yield make
    for child in made:
        child.close()
