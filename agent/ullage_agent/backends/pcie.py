"""What the PCI bus itself says of a card, for makers whose library does not: link, errors, NUMA node.

Read from /sys/bus/pci/devices/ADDRESS (kernel Documentation/ABI/testing/sysfs-bus-pci). Not here: which
devices there are (detection.py) and how near two of them sit (pci.py).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from ullage_agent.backends.roster import Probe
from ullage_agent.backends.sysfs import SysfsFiles
from ullage_contract.catalogue import Tier
from ullage_contract.errors import NotSupported, ReadingError
from ullage_contract.sample import Value

_Ask = Callable[[], dict[str, Value]]

_GENERATION: Final = {"2.5": 1, "5": 2, "5.0": 2, "8": 3, "8.0": 3, "16.0": 4, "32.0": 5, "64.0": 6}
"""GT/s as drivers/pci/probe.c prints it -> link generation."""
_MOST_LANES: Final = 32
"""Widths above are what a dead link's all-ones register reads as (63)."""
_AER: Final = {
    "pcie_aer_correctable": ("aer_dev_correctable", "TOTAL_ERR_COR"),
    "pcie_aer_nonfatal": ("aer_dev_nonfatal", "TOTAL_ERR_NONFATAL"),
    "pcie_aer_fatal": ("aer_dev_fatal", "TOTAL_ERR_FATAL"),
}


class PciFunction:
    """One function of the bus. Its probes raise CardLost when it is not there any more."""

    def __init__(self, sysfs: Path, address: str) -> None:
        self.address = address
        self.files = SysfsFiles(sysfs / "bus/pci/devices" / address)

    @classmethod
    def at(cls, sysfs: Path, address: str) -> PciFunction | None:
        """The function, or None where this bus does not show it (a container's /sys, a masked address)."""
        return cls(sysfs, address) if (sysfs / "bus/pci/devices" / address).is_dir() else None

    @property
    def numa_node(self) -> int | None:
        """None where the platform does not say (-1)."""
        try:
            node = self.files.number("numa_node")
        except ReadingError:
            return None
        return node if node >= 0 else None

    @property
    def driver(self) -> str | None:
        """The kernel driver bound to it, or None."""
        try:
            return (self.files.root / "driver").readlink().name
        except OSError:
            return None

    def probes(self) -> list[Probe]:
        """Link and error probes, all SLOW: they are read from configuration space."""
        return [
            Probe("current_link_speed", ("pcie_generation",), self._generation("pcie_generation", "current"), Tier.SLOW),
            Probe("max_link_speed", ("pcie_generation_max",), self._generation("pcie_generation_max", "max"), Tier.SLOW),
            Probe("current_link_width", ("pcie_width",), self._width("pcie_width", "current"), Tier.SLOW),
            Probe("max_link_width", ("pcie_width_max",), self._width("pcie_width_max", "max"), Tier.SLOW),
            *(Probe(name, (key,), self._errors(key, name, total), Tier.SLOW) for key, (name, total) in _AER.items()),
        ]  # fmt: skip

    def close(self) -> None:
        """Close the descriptors."""
        self.files.close()

    def _generation(self, key: str, which: str) -> _Ask:
        def ask() -> dict[str, Value]:
            text = self.files.text(f"{which}_link_speed").partition(" ")[0]
            if text not in _GENERATION:
                raise NotSupported(f"{self.address}: {which}_link_speed is {text[:20]!r}")
            return {key: _GENERATION[text]}

        return ask

    def _width(self, key: str, which: str) -> _Ask:
        def ask() -> dict[str, Value]:
            lanes = self.files.number(f"{which}_link_width")
            if not 0 < lanes <= _MOST_LANES:
                raise NotSupported(f"{self.address}: {which}_link_width is {lanes}")
            return {key: lanes}

        return ask

    def _errors(self, key: str, name: str, total: str) -> _Ask:
        def ask() -> dict[str, Value]:
            for line in self.files.text(name).splitlines():
                word, _, count = line.partition(" ")
                if word == total and count.strip().isdecimal():
                    return {key: int(count)}
            raise NotSupported(f"{self.address}: {name} has no {total}")

        return ask
