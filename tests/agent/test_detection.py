"""Hardware is noticed by PCI ids, device nodes and sysfs files, in a tree of ours as well as on the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from ullage_agent import detection, makers
from ullage_agent.backend import Backend, Detection, Host
from ullage_agent.config import Config
from ullage_agent.registry import Registry

ACME = Backend(
    name="acme",
    title="Acme",
    pci=(("1d93", ("0302", "1200")),),
    device_nodes=("acme[0-9]*",),
    sysfs_nodes=("class/acme/*",),
    reader="fake_maker:FakeReader",
)


def _pci(root: Path, address: str, vendor: str, device: str, class_code: str) -> Path:
    place = root / "sys/bus/pci/devices" / address
    place.mkdir(parents=True)
    for name, value in (("vendor", vendor), ("device", device), ("class", class_code)):
        (place / name).write_text(f"0x{value}\n")
    return place


@pytest.fixture
def host(tmp_path: Path) -> Host:
    for name in ("sys/class", "dev", "proc"):
        (tmp_path / name).mkdir(parents=True)
    return Host(node_id="n1", sysfs=tmp_path / "sys", proc=tmp_path / "proc", dev=tmp_path / "dev")


def test_a_card_on_the_bus_is_found_and_counted(tmp_path: Path, host: Host) -> None:
    _pci(tmp_path, "0000:3b:00.0", "1d93", "0001", "120000")
    _pci(tmp_path, "0000:5e:00.0", "1d93", "0001", "030200")
    _pci(tmp_path, "0000:00:1f.0", "1d93", "0009", "060100")
    _pci(tmp_path, "0000:01:00.0", "10de", "2330", "030200")
    found = detection.detect(host, ACME)
    assert found.present
    assert found.cards_expected == 2
    assert found.found == (
        "PCI 0000:3b:00.0 1d93:0001 class 120000",
        "PCI 0000:5e:00.0 1d93:0001 class 030200",
    )
    assert found.why_not is None


def test_virtual_functions_and_cards_given_to_virtual_machines_are_not_expected(
    tmp_path: Path, host: Host
) -> None:
    physical = _pci(tmp_path, "0000:3b:00.0", "1d93", "0001", "120000")
    (_pci(tmp_path, "0000:3b:00.1", "1d93", "0001", "120000") / "physfn").symlink_to(physical)
    (_pci(tmp_path, "0000:3c:00.0", "1d93", "0001", "120000") / "driver").symlink_to(
        "/bus/pci/drivers/vfio-pci"
    )
    assert detection.detect(host, ACME).cards_expected == 1


def test_device_ids_narrow(tmp_path: Path, host: Host) -> None:
    _pci(tmp_path, "0000:3b:00.0", "1d93", "0001", "120000")
    narrow = Backend(name="acme", title="Acme", pci=(("1d93", ()),), pci_devices=frozenset({"0002"}))
    assert not detection.detect(host, narrow).present


def test_a_device_node_alone_is_enough_and_the_bus_then_cannot_count(tmp_path: Path, host: Host) -> None:
    _pci(tmp_path, "0000:00:1f.0", "8086", "0009", "060100")
    (tmp_path / "dev/acme0").touch()
    (tmp_path / "sys/class/acme/a0").mkdir(parents=True)
    found = detection.detect(host, ACME)
    assert found.found == ("/dev/acme0", "/sys/class/acme/a0")
    assert found.cards_expected is None


def test_nothing_here_says_what_was_looked_for(host: Host) -> None:
    found = detection.detect(host, ACME)
    assert not found.present
    assert found.tried == ("PCI 1d93:* class 0302 or 1200", "/dev/acme[0-9]*", "/sys/class/acme/*")
    assert "no PCI bus" in (found.why_not or "")


def test_a_detector_that_raises_is_its_makers_trouble_alone(host: Host) -> None:
    broken = Backend(name="x", title="X", detector="no_such_module:detect")
    found = detection.detect(host, broken)
    assert not found.present
    assert "its detector failed" in (found.why_not or "")


def _detector(host: Host, backend: Backend) -> Detection:
    return Detection(True, ("a licence dongle",), ("dongle",), cards_expected=4)


def test_a_makers_own_detector_is_asked(host: Host) -> None:
    own = Backend(name="x", title="X", detector=f"{__name__}:_detector")
    assert detection.detect(host, own).found == ("a licence dongle",)


def test_the_configuration_is_above_the_detection(tmp_path: Path, host: Host) -> None:
    simulated = Backend(name="sim", title="Sim", reader="fake_maker:FakeReader", simulated=True)
    known = Registry((ACME, simulated))
    plain = makers.find(known, Config(node="n1"), host)
    assert plain.used() == []
    assert "never detected" in (plain.every[1].detection.why_not or "")
    _pci(tmp_path, "0000:3b:00.0", "1d93", "0001", "120000")
    assert [m.backend.name for m in makers.find(known, Config(node="n1"), host).used()] == ["acme"]
    turned = Config(node="n1", enabled={"acme": False, "sim": True}, backends={"sim": {"cards": 2}})
    found = makers.find(known, turned, host)
    assert [m.backend.name for m in found.used()] == ["sim"]
    assert found.used()[0].host.settings == {"cards": 2}
    assert "switched off" in (found.every[0].detection.why_not or "")
    assert found.cards_expected() == 0
    forced = makers.find(
        known, Config(node="n1", enabled={"acme": True}), Host(node_id="n1", sysfs=tmp_path / "no")
    )
    assert forced.used()[0].detection.cards_expected is None


def test_hardware_without_a_reader_is_said_not_used(tmp_path: Path, host: Host) -> None:
    (tmp_path / "dev/acme0").touch()
    found = makers.find(
        Registry((Backend(name="acme", title="A", device_nodes=("acme*",)),)), Config(node="n"), host
    )
    assert found.used() == []
    assert "only decodes" in (found.every[0].detection.why_not or "")
