"""How near two PCI devices are: which network ports serve a card without crossing a socket.

Read from the device paths of sysfs, where every bridge between the root and a device is one path
element. A virtual machine shows a bus of its own making: there the answer is *unknown*, unless a
shared switch is visible; it is never guessed. Which devices there are is detection.py's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final

from ullage_contract.errors import BadInput
from ullage_contract.identity import pci_address

HYPERVISORS: Final = ("QEMU", "KVM", "VMware", "Xen", "Microsoft Corporation", "Alibaba Cloud", "Amazon EC2")
"""dmi/id/sys_vendor of machines that may be virtual; Amazon's and Alibaba's bare metal say the same, and
there the missing answer is the milder mistake. The CPU flag ``hypervisor`` decides on x86."""


class Distance(IntEnum):
    """The words of ``nvidia-smi topo -m``, nearest first."""

    PIX = 1
    """at most one switch between them"""
    PXB = 2
    """several switches, no host bridge"""
    PHB = 3
    """one PCI host bridge"""
    NODE = 4
    """host bridges of one NUMA node"""
    SYS = 5
    """another socket"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a device sits.

    root: the host bridge's name ("pci0000:15"). bridges: addresses of the bridges on the way, from the root.
    numa_node: None where the platform does not say (-1 in sysfs).
    """

    address: str
    root: str
    bridges: tuple[str, ...]
    numa_node: int | None


def place(sysfs: Path, address: str) -> Place | None:
    """The place of the device at ``address``, or None when sysfs does not show it.

    An SR-IOV function is placed where its physical function is (``physfn``): it has no bridge of its own.
    """
    try:
        device = sysfs / "bus/pci/devices" / pci_address(address)
    except BadInput:
        return None
    if not device.exists():
        return None
    physical = device / "physfn"
    real = (physical if physical.exists() else device).resolve()
    parts = real.parts
    roots = [i for i, part in enumerate(parts) if part.startswith("pci") and ":" in part]
    if not roots:
        return None
    start = roots[-1]
    return Place(
        address=parts[-1],
        root=parts[start],
        bridges=tuple(parts[start + 1 : -1]),
        numa_node=_numa_node(real),
    )


def distance(a: Place, b: Place, *, virtual: bool) -> Distance | None:
    """How far apart two devices are, or None when the machine does not tell.

    virtual: see ``is_virtual``; there only a shared switch counts as evidence. A device right on the
    root bus, without a root port, is a flattened one: real accelerators and NICs sit behind a port.
    """
    if a.root == b.root:
        common = 0
        for left, right in zip(a.bridges, b.bridges, strict=False):
            if left != right:
                break
            common += 1
        if common:
            # Below the last common bridge a switch adds one downstream port on each side.
            below = max(len(a.bridges), len(b.bridges)) - common
            return Distance.PIX if below <= 1 else Distance.PXB
    if virtual or not a.bridges or not b.bridges:
        return None
    if a.root == b.root:
        return Distance.PHB
    if a.numa_node is None or b.numa_node is None:
        return None
    return Distance.NODE if a.numa_node == b.numa_node else Distance.SYS


def nearest(card: Place, ports: Mapping[str, Place], *, virtual: bool) -> tuple[list[str], Distance | None]:
    """The ports at the smallest distance from the card, sorted, with that distance.

    ports: port_id -> place. ([], None) when no distance is known.
    """
    known = {name: found for name, at in ports.items() if (found := distance(card, at, virtual=virtual))}
    if not known:
        return [], None
    best = min(known.values())
    return sorted(name for name, found in known.items() if found is best), best


def is_virtual(sysfs: Path, proc: Path) -> bool:
    """Whether this is a virtual machine: x86 says so in the CPU flags, others by who made the board."""
    try:
        with (proc / "cpuinfo").open(encoding="ascii", errors="replace") as lines:
            for line in lines:
                if line.startswith("flags"):
                    return "hypervisor" in line.split()
    except OSError:
        pass
    vendor = _text(sysfs / "class/dmi/id/sys_vendor")
    return any(name in vendor for name in HYPERVISORS)


def _numa_node(device: Path) -> int | None:
    text = _text(device / "numa_node")
    return int(text) if text.isdecimal() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
