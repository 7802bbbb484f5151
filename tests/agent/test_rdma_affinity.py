"""Which ports are near a card: read from the PCI tree, and unknown where the tree is a made-up one."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.agent.rdma_tree import pci_device, unpack

from ullage_agent.sources import pci
from ullage_agent.sources.pci import Distance, distance, nearest, place
from ullage_agent.sources.rdma import RdmaPorts


@pytest.fixture
def sysfs(tmp_path: Path) -> Path:
    """Two sockets; on the first a switch with a card and a NIC below it, and a second switch beside."""
    root = tmp_path / "sys"
    switch = "pci0000:10/0000:10:01.0/0000:11:00.0"
    pci_device(root, f"{switch}/0000:12:00.0/0000:13:00.0", numa_node=0)  # card A
    pci_device(root, f"{switch}/0000:12:01.0/0000:14:00.0", numa_node=0)  # NIC beside it
    pci_device(root, f"{switch}/0000:12:02.0/0000:15:00.0/0000:16:00.0/0000:17:00.0", numa_node=0)  # behind 2
    pci_device(root, "pci0000:10/0000:10:02.0/0000:18:00.0", numa_node=0)  # same host bridge
    pci_device(root, "pci0000:40/0000:40:01.0/0000:41:00.0", numa_node=0)  # other bridge, same socket
    pci_device(root, "pci0000:80/0000:80:01.0/0000:81:00.0", numa_node=1)  # other socket
    pci_device(root, "pci0000:c0/0000:c0:01.0/0000:c1:00.0", numa_node=-1)  # the platform does not say
    return root


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ("0000:14:00.0", Distance.PIX),
        ("0000:17:00.0", Distance.PXB),
        ("0000:18:00.0", Distance.PHB),
        ("0000:41:00.0", Distance.NODE),
        ("0000:81:00.0", Distance.SYS),
        ("0000:c1:00.0", None),
    ],
)
def test_distances_are_those_of_topo(sysfs: Path, other: str, expected: Distance | None) -> None:
    card, port = place(sysfs, "00000000:13:00.0"), place(sysfs, other)
    assert card is not None and port is not None
    assert distance(card, port, virtual=False) is expected
    assert distance(port, card, virtual=False) is expected


def test_in_a_virtual_machine_only_a_shared_switch_is_evidence(sysfs: Path) -> None:
    card = place(sysfs, "0000:13:00.0")
    assert card is not None
    for other, expected in (("0000:14:00.0", Distance.PIX), ("0000:18:00.0", None), ("0000:81:00.0", None)):
        port = place(sysfs, other)
        assert port is not None
        assert distance(card, port, virtual=True) is expected


def test_a_flattened_bus_is_unknown_not_guessed(tmp_path: Path) -> None:
    pci_device(tmp_path, "pci0000:00/0000:00:09.0")
    pci_device(tmp_path, "pci0000:00/0000:00:0a.0")
    card, port = place(tmp_path, "0000:00:09.0"), place(tmp_path, "0000:00:0a.0")
    assert card is not None and port is not None
    assert distance(card, port, virtual=False) is None
    assert nearest(card, {"n1/mlx5_0/1": port}, virtual=False) == ([], None)


def test_a_virtual_function_is_where_its_physical_one_is(sysfs: Path) -> None:
    physical = sysfs / "devices/pci0000:10/0000:10:01.0/0000:11:00.0/0000:12:01.0/0000:14:00.0"
    pci_device(sysfs, "pci0000:10/0000:10:01.0/0000:11:00.0/0000:12:01.0/0000:14:00.4", physfn=physical)
    found = place(sysfs, "0000:14:00.4")
    assert found is not None and found.address == "0000:14:00.0"


def test_an_unknown_or_malformed_address_has_no_place(sysfs: Path) -> None:
    assert place(sysfs, "0000:ff:00.0") is None
    assert place(sysfs, "not an address") is None


def test_nearest_ports_leave_management_and_virtual_functions_out(sysfs: Path) -> None:
    root = unpack("ib400_four_ports.txt", sysfs)
    near = "pci0000:10/0000:10:01.0/0000:11:00.0/0000:12:01.0"
    physical = sysfs / "devices" / near / "0000:14:00.0"
    function = pci_device(sysfs, f"{near}/0000:14:00.4", physfn=physical)
    manager = pci_device(sysfs, f"{near}/0000:14:00.1")
    far = sysfs / "devices/pci0000:80/0000:80:01.0/0000:81:00.0"
    for device, target in zip(
        ("mlx5_0", "mlx5_1", "mlx5_2", "mlx5_3"), (physical, far, function, manager), strict=True
    ):
        (root / device / "device").symlink_to(target)
    ports = RdmaPorts("n1", sysfs=sysfs, proc=sysfs / "proc", management=frozenset({"mlx5_3"}))
    roles = {str(f.attributes["device"]): f.attributes["role"] for f in ports.facts()}
    assert roles == {"mlx5_0": "fabric", "mlx5_1": "fabric", "mlx5_2": "virtual", "mlx5_3": "management"}
    assert ports.nearest_ports("0000:13:00.0") == (["n1/mlx5_0/1"], Distance.PIX)
    assert ports.nearest_ports("0000:ff:00.0") == ([], None)
    ports.close()


def test_the_cpu_flag_tells_a_virtual_machine(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nflags\t\t: fpu vme hypervisor lahf_lm\n")
    assert pci.is_virtual(tmp_path / "sys", tmp_path)
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nflags\t\t: fpu vme lahf_lm\n")
    assert not pci.is_virtual(tmp_path / "sys", tmp_path)
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nFeatures\t: fp asimd\n")
    (tmp_path / "sys/class/dmi/id").mkdir(parents=True)
    (tmp_path / "sys/class/dmi/id/sys_vendor").write_text("QEMU\n")
    assert pci.is_virtual(tmp_path / "sys", tmp_path)
