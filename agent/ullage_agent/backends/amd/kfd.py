"""The compute driver's own view: /sys/class/kfd/kfd/topology (who is a compute unit) and .../proc (who uses it).

A partition of an MI300 is a topology node of its own with the card's PCI address; its ``gpu_id`` names the files of
processes: proc/<pid>/vram_<gpu_id> in bytes (kernel drivers/gpu/drm/amd/amdkfd, read 2026-11-21).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ullage_agent.backends.holders import identity
from ullage_agent.backends.roster import Attributes
from ullage_contract.errors import NotSupported
from ullage_contract.sample import Value


@dataclass(frozen=True, slots=True)
class Node:
    """One compute node. pci_address: of the card, function 0. memory_bytes: of its own memory banks, or None."""

    gpu_id: int
    pci_address: str
    simd_count: int
    memory_bytes: int | None


def nodes(sysfs: Path) -> tuple[Node, ...]:
    """Every compute node in the kernel's order; () where the compute driver is not there."""
    root = sysfs / "class/kfd/kfd/topology/nodes"
    try:
        names = sorted((name for name in os.listdir(root) if name.isdecimal()), key=int)  # noqa: PTH208
    except OSError:
        return ()
    found = []
    for name in names:
        place = root / name
        try:
            gpu_id = int((place / "gpu_id").read_text(encoding="ascii").strip() or 0)
            properties = _properties(place / "properties")
        except (OSError, ValueError):
            continue  # a node of another maker, or one that may not be read
        if not gpu_id or properties.get("vendor_id", 0x1002) != 0x1002:
            continue
        location = properties.get("location_id", 0)
        found.append(
            Node(
                gpu_id=gpu_id,
                # bits 15..8 bus, 7..3 device; 2..0 function or partition, 31..28 partition in newer kernels
                pci_address=f"{properties.get('domain', 0):04x}:{location >> 8 & 0xFF:02x}:{location >> 3 & 0x1F:02x}.0",
                simd_count=properties.get("simd_count", 0),
                memory_bytes=_memory(place / "mem_banks"),
            )
        )
    return tuple(found)


class Processes:
    """Compute processes of one card, however many partitions it has."""

    def __init__(self, sysfs: Path, proc: Path, gpu_ids: Sequence[int]) -> None:
        self._root = sysfs / "class/kfd/kfd/proc"
        self._proc = proc
        self._files = tuple(f"vram_{gpu_id}" for gpu_id in gpu_ids)

    def read(self) -> list[tuple[Attributes, Mapping[str, Value]]]:
        """A row a process that holds memory of the card. Raises NotSupported where KFD tells nothing."""
        if not self._files:
            raise NotSupported("the compute driver does not list this card")
        try:
            pids = sorted(int(name) for name in os.listdir(self._root) if name.isdecimal())  # noqa: PTH208
        except OSError as e:
            raise NotSupported(f"{self._root}: {e.strerror}") from e
        rows: list[tuple[Attributes, Mapping[str, Value]]] = []
        for pid in pids:
            used = self._used(pid)
            if used:
                rows.append((identity(self._proc, pid), {"process_memory_used_bytes": used}))
        return rows

    def _used(self, pid: int) -> int:
        total = 0
        for name in self._files:
            try:
                total += int((self._root / str(pid) / name).read_text(encoding="ascii").strip())
            except (OSError, ValueError):
                continue  # it ended meanwhile, or never opened this card
        return total


def _properties(path: Path) -> dict[str, int]:
    found = {}
    for line in path.read_text(encoding="ascii", errors="replace").splitlines():
        name, _, value = line.partition(" ")
        if value.strip().isdecimal():
            found[name] = int(value)
    return found


def _memory(banks: Path) -> int | None:
    total = 0
    try:
        names = os.listdir(banks)  # noqa: PTH208
    except OSError:
        return None
    for name in names:
        try:
            total += _properties(banks / name / "properties").get("size_in_bytes", 0)
        except OSError:
            continue
    return total or None
