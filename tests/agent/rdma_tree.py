"""A /sys of our own for the RDMA tests: dumps unpacked as class/infiniband, and a PCI bus beside it."""

from __future__ import annotations

from pathlib import Path

FIXTURES = Path(__file__).parent.parent / "fixtures" / "rdma"


def unpack(dump: str, sysfs: Path) -> Path:
    """Write every ``path: value`` line of the fixture ``dump`` below class/infiniband; gives that folder."""
    root = sysfs / "class/infiniband"
    for line in (FIXTURES / dump).read_text().splitlines():
        path, _, value = line.partition(": ")
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(value + "\n")
    return root


def pci_device(sysfs: Path, path: str, *, numa_node: int = -1, physfn: Path | None = None) -> Path:
    """One device at ``path`` below /sys/devices (``pci0000:10/0000:10:01.0/0000:11:00.0``), and its bus link."""
    device = sysfs / "devices" / path
    device.mkdir(parents=True, exist_ok=True)
    (device / "numa_node").write_text(f"{numa_node}\n")
    if physfn is not None:
        (device / "physfn").symlink_to(physfn)
    link = sysfs / "bus/pci/devices" / device.name
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(device)
    return device


def set_file(root: Path, path: str, value: str) -> None:
    """Change one file in place, as the kernel does: kept descriptors see the new text."""
    with (root / path).open("r+") as file:
        file.write(value + "\n")
        file.truncate()
