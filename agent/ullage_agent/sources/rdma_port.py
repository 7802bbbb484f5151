"""One RDMA port of sysfs: its files are opened once and read again and again.

The driver's own time comes on top: on mlx5 every file below counters/ is one firmware query; those below
hw_counters/ are cached by the driver for ``lifespan`` (10 to 12 ms), far less than any tick.
Not here: which ports there are and what happened to them (rdma.py).
"""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ullage_agent.sources import rdma_counters
from ullage_agent.sources.ethtool import Ioctl, Statistics
from ullage_agent.sources.kept_file import KeptFile, names_in, text_of
from ullage_contract.catalogue import Tier
from ullage_contract.errors import BadInput
from ullage_contract.identity import pci_address, port_id
from ullage_contract.sample import Value

STATES: Final = {1: "down", 2: "init", 3: "armed", 4: "active", 5: "active_defer"}
"""enum ib_port_state, include/rdma/ib_verbs.h"""

PHYSICAL_STATES: Final = {
    1: "sleep",
    2: "polling",
    3: "disabled",
    4: "training",
    5: "link_up",
    6: "link_error_recovery",
    7: "phy_test",
}
"""enum ib_port_phys_state, include/rdma/ib_verbs.h"""

_RATE: Final = re.compile(r"^([0-9]+(?:\.[0-9]+)?)\s*Gb/sec(?:\s*\(([0-9]+)X)?")
_ABSENT: Final = frozenset({errno.EINVAL, errno.ENODATA, errno.EOPNOTSUPP})
_GONE: Final = frozenset({errno.ENODEV, errno.ENOENT, errno.ESTALE, errno.EBADF, errno.ENXIO})


def state_word(text: str, words: Mapping[int, str]) -> str | None:
    """``4: ACTIVE`` as our word, by its number; None for a number the kernel header does not name."""
    number = text.partition(":")[0].strip()
    return words.get(int(number)) if number.isdecimal() else None


def rate(text: str) -> tuple[int | None, int | None]:
    """``400 Gb/sec (4X NDR)`` as (bits per second, lanes); None for what the text does not say."""
    match = _RATE.match(text.strip())
    if match is None:
        return None, None
    return round(float(match[1]) * 1e9), int(match[2]) if match[2] else None


@dataclass(slots=True)
class PortReading:
    """One reading. gone: the files have vanished or belong to a driver that was unloaded; nothing is known."""

    values: dict[str, Value]
    failed: dict[str, str]
    gone: bool = False

    @property
    def is_up(self) -> bool | None:
        """Whether the port works: logically active and the link up. None when the state is not known."""
        state = self.values.get("state")
        if state is None:
            return None
        return state in ("active", "active_defer") and self.values.get("physical_state") in ("link_up", None)


class Port:
    """One port. ``open`` finds what it offers; ``read`` reads it. Never raises OSError after ``open``.

    keep: keep descriptors open between readings.
    """

    def __init__(
        self, *, node_id: str, directory: Path, ioctl: Ioctl, lossless_priority: int, sysfs: Path, keep: bool
    ) -> None:
        self.directory = directory
        self.device_directory = directory.parent.parent
        self.device = self.device_directory.name
        self.number = int(directory.name)
        self.id = port_id(node_id, self.device, self.number)
        self.is_virtual = False
        """Belongs to an SR-IOV function whose physical one this host sees; known once it was open."""
        self.unsupported: list[str] = []
        self.netdev: str | None = None
        self.link_layer: str | None = None
        self._sysfs = sysfs
        self._ioctl = ioctl
        self._lossless_priority = lossless_priority
        self._keep = keep
        self._state: KeptFile | None = None
        self._physical: KeptFile | None = None
        self._rate: KeptFile | None = None
        self._counters: list[tuple[str, int, KeptFile]] = []
        self._extended: dict[str, tuple[int, str]] = {}
        self._ethernet: list[tuple[Statistics, tuple[rdma_counters.EthernetSum, ...]]] = []

    def open(self) -> None:
        """Find and open the files. Raises OSError when the port's state cannot be opened at all."""
        self.close()
        self._state = KeptFile(str(self.directory / "state"), keep=self._keep).open()
        self.is_virtual = (self.device_directory / "device/physfn").exists()
        self._physical = self._optional("phys_state")
        self._rate = self._optional("rate")
        self.link_layer = text_of(self.directory / "link_layer") or None
        self.netdev = _netdev(self.directory, self.device_directory, self.number, self.link_layer)
        self._open_counters()
        self._open_ethernet()
        found = {key for key, _, _ in self._counters}
        for _, sums in self._ethernet:
            found.update(each.key for each in sums)
        known = [key for key, _ in (*rdma_counters.CLASSIC.values(), *rdma_counters.HARDWARE.values())]
        known += [statistic.key for statistic in rdma_counters.ETHERNET]
        self.unsupported = sorted({key for key in known if key not in found})

    def close(self) -> None:
        """Give the descriptors back. The port can be opened again."""
        for file in (self._state, self._physical, self._rate, *(file for _, _, file in self._counters)):
            if file is not None:
                file.close()
        self._state = self._physical = self._rate = None
        self._counters = []
        self._ethernet = []

    def read(self, tier: Tier) -> PortReading:
        """State and counters. A file the driver refuses (EINVAL, ENODATA, N/A) is absent, not failed."""
        reading = PortReading({}, {})
        values, failed = reading.values, reading.failed
        try:
            if self._state is None:
                return PortReading({}, {}, gone=True)
            word = state_word(self._state.read().decode("ascii", "replace"), STATES)
        except OSError as e:
            if e.errno in _GONE:
                return PortReading({}, {}, gone=True)
            return PortReading({}, {"state": _reason(e)})
        if word is None:
            failed["state"] = "broken"
        else:
            values["state"] = word
        self._read_link(reading, tier, has_rate=word in ("armed", "active", "active_defer"))
        for key, factor, file in self._counters:
            try:
                raw: int | None = int(file.read())
            except ValueError:  # N/A (no PMA)
                continue
            except OSError as e:
                if e.errno in _GONE:
                    return PortReading({}, {}, gone=True)
                if e.errno not in _ABSENT:
                    failed[key] = _reason(e)
                continue
            if raw == rdma_counters.SATURATED_32 and key in rdma_counters.EXTENDED_KEYS:
                # It stands still there: unknown since when, and no catalogue width would tell the collector.
                raw, factor = self._beyond_32(key)
                if raw is None:
                    failed[key] = "broken"
            if raw is not None and raw >= 0:
                values[key] = raw * factor
        self._read_ethernet(values)
        return reading

    def facts(self) -> dict[str, Value | list[str] | None]:
        """What is fixed while the driver is loaded, under the names of the contract."""
        device = self.device_directory
        place = device / "device"
        facts: dict[str, Value | list[str] | None] = {
            "device": self.device,
            "port": self.number,
            "link_layer": self.link_layer,
            "netdev": self.netdev,
            "hca_type": text_of(device / "hca_type") or None,
            "board_id": text_of(device / "board_id") or None,
            "firmware_version": text_of(device / "fw_ver") or None,
            "node_guid": text_of(device / "node_guid") or None,
            "pci_address": address_of(place),
            "unsupported": list(self.unsupported),
        }
        numa_node = text_of(place / "numa_node")
        if numa_node.isdecimal():
            facts["numa_node"] = int(numa_node)
        physical = place / "physfn"
        if self.is_virtual:
            facts["role"] = "virtual"
            facts["physfn"] = address_of(physical)
        return {name: value for name, value in facts.items() if value is not None}

    def _read_link(self, reading: PortReading, tier: Tier, *, has_rate: bool) -> None:
        if self._physical is not None:
            try:
                text = self._physical.read().decode("ascii", "replace")
                word = state_word(text, PHYSICAL_STATES)
                if word is None:
                    reading.failed["physical_state"] = "broken"
                else:
                    reading.values["physical_state"] = word
            except OSError as e:
                if e.errno not in _ABSENT:
                    reading.failed["physical_state"] = _reason(e)
        # A port that is down prints the slowest rate it knows: no rate is in force there.
        if self._rate is not None and has_rate:
            try:
                bits, lanes = rate(self._rate.read().decode("ascii", "replace"))
            except OSError:
                return
            if bits is not None:
                reading.values["rate_bits_per_second"] = bits
            if lanes is not None and tier is Tier.SLOW:
                reading.values["width_lanes"] = lanes

    def _open_counters(self) -> None:
        taken: set[str] = set()
        for folder, names in (("counters", rdma_counters.CLASSIC), ("hw_counters", rdma_counters.HARDWARE)):
            for name in names_in(self.directory / folder):
                key, factor = names.get(name, ("", 1))
                if not key or key in taken:
                    continue
                try:
                    file = KeptFile(str(self.directory / folder / name), keep=self._keep).open()
                except OSError:
                    continue
                if not _answers(file):
                    file.close()
                    continue
                self._counters.append((key, factor, file))
                taken.add(key)
        self._extended = {}
        for name in names_in(self.directory / "counters_ext"):
            key, factor = rdma_counters.EXTENDED.get(name, ("", 1))
            if key:
                self._extended[key] = (factor, str(self.directory / "counters_ext" / name))

    def _beyond_32(self, key: str) -> tuple[int | None, int]:
        factor, path = self._extended.get(key, (1, ""))
        return (rdma_counters.count(text_of(Path(path))) if path else None), factor

    def _open_ethernet(self) -> None:
        if self.link_layer != "Ethernet" or not self.netdev:
            return
        interface = self._sysfs / "class/net" / self.netdev
        # A bond has no statistics of its own; its members' are added, all or none: a sum over some would
        # fall when one more is missing, and look like a reset.
        members = text_of(interface / "bonding/slaves").split() or [self.netdev]
        for member in members:
            statistics = Statistics(member, self._ioctl)
            try:
                sums = rdma_counters.resolve(statistics.names(), self._lossless_priority)
            except OSError:
                self._ethernet = []
                return
            self._ethernet.append((statistics, sums))

    def _read_ethernet(self, values: dict[str, Value]) -> None:
        total: dict[str, float | int] = {}
        for statistics, sums in self._ethernet:
            wanted = [index for each in sums for index in each.indexes]
            try:
                found = rdma_counters.ethernet_values(sums, statistics.values(wanted))
            except OSError as e:
                if e.errno == errno.EAGAIN:
                    self._ethernet = []
                    self._open_ethernet()
                return
            for key, value in found.items():
                total[key] = total.get(key, 0) + value
        values.update(total)

    def _optional(self, name: str) -> KeptFile | None:
        try:
            return KeptFile(str(self.directory / name), keep=self._keep).open()
        except OSError:
            return None


def address_of(device: Path) -> str | None:
    """The PCI address a device link points to, or None when it points elsewhere (a virtual device)."""
    try:
        return pci_address(device.resolve().name)
    except BadInput:
        return None


def _netdev(port: Path, device: Path, number: int, link_layer: str | None) -> str | None:
    # InfiniBand GIDs have no network device, and asking all 256 would only give errors.
    gids = names_in(port / "gid_attrs/ndevs") if link_layer == "Ethernet" else []
    for entry in sorted(gids, key=lambda name: (len(name), name)):
        if found := text_of(port / "gid_attrs/ndevs" / entry):
            return found
    for name in names_in(device / "device/net"):
        place = text_of(device / "device/net" / name / "dev_port")
        if not place.isdecimal() or int(place) == number - 1:
            return name
    return None


def _answers(file: KeptFile) -> bool:
    """Whether there is a number behind it, or may be one later (an error that is not the driver's 'never')."""
    try:
        return rdma_counters.count(file.read()) is not None
    except OSError as e:
        return e.errno not in _ABSENT and e.errno not in _GONE


def _reason(error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        return "not_permitted"
    return "deadline" if error.errno == errno.ETIMEDOUT else "broken"
