"""RDMA ports read from a /sys of our own: what is absent, what is at its limit, what went away."""

from __future__ import annotations

import array
import errno
import os
import shutil
import struct
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from tests.agent.rdma_tree import FIXTURES, pci_device, set_file, unpack

from ullage_agent.backend import Reading
from ullage_agent.source import Source
from ullage_agent.sources import ethtool
from ullage_agent.sources.ethtool import Statistics
from ullage_agent.sources.rdma import RdmaPorts
from ullage_contract.catalogue import Tier, keys
from ullage_contract.clock import ManualClock
from ullage_contract.event import KINDS, Severity
from ullage_contract.sample import FACT_NAMES, Family


class Nics:
    """Stands in for the kernel's SIOCETHTOOL: answers the three commands from a recorded ``ethtool -S``."""

    def __init__(self, statistics: Mapping[str, Mapping[str, int]]) -> None:
        self.statistics = {name: dict(values) for name, values in statistics.items()}
        self.calls = 0

    def __call__(self, interface: str, buffer: array.array[int]) -> None:
        self.calls += 1
        if interface not in self.statistics:
            raise OSError(errno.ENODEV, "no such device")
        names = list(self.statistics[interface])
        (command,) = struct.unpack_from("=I", buffer, 0)
        if command == ethtool.ETHTOOL_GSSET_INFO:
            struct.pack_into("=I", buffer, 16, len(names))
        elif command == ethtool.ETHTOOL_GSTRINGS:
            for i, name in enumerate(names):
                struct.pack_into("32s", buffer, 12 + 32 * i, name.encode())
        elif command == ethtool.ETHTOOL_GSTATS:
            struct.pack_into("=I", buffer, 4, len(names))
            struct.pack_into(f"={len(names)}Q", buffer, 8, *self.statistics[interface].values())


def recorded_statistics(name: str) -> dict[str, int]:
    pairs = [line.rpartition(":") for line in (FIXTURES / name).read_text().splitlines()[1:]]
    return {key.removeprefix("     "): int(value) for key, _, value in pairs}


def source(sysfs: Path, clock: ManualClock | None = None, **more: object) -> RdmaPorts:
    more.setdefault("ioctl", Nics({}))
    return RdmaPorts("n1", sysfs=sysfs, proc=sysfs / "proc", clock=clock or ManualClock(), **more)  # type: ignore[arg-type]


def readings(ports: RdmaPorts, tier: Tier = Tier.FAST) -> dict[str, Reading]:
    return {reading.subject: reading for reading in ports.read(tier)}


@pytest.fixture
def sysfs(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "sys"


def test_it_is_a_source_and_speaks_only_the_catalogue(sysfs: Path) -> None:
    unpack("ib400_four_ports.txt", sysfs)
    unpack("old_two_ports.txt", sysfs)
    unpack("roce_bond.txt", sysfs)
    ports = source(sysfs)
    assert isinstance(ports, Source)
    known = keys(Family.PORT)
    for reading in ports.read(Tier.SLOW):
        assert reading.family is Family.PORT
        for key, value in reading.values.items():
            assert key in known
            if known[key].words:
                assert value in known[key].words
    for facts in ports.facts():
        assert set(facts.attributes) <= set(FACT_NAMES)
        assert facts.attributes["node_id"] == "n1"
    ports.close()


def test_words_are_four_bytes_and_numbers_are_exact(sysfs: Path) -> None:
    unpack("ib400_four_ports.txt", sysfs)
    values = readings(source(sysfs), Tier.SLOW)["n1/mlx5_0/1"].values
    assert values["xmit_data_bytes"] == 51200100200 * 4
    assert values["rcv_data_bytes"] == 51199900100 * 4
    assert values["rx_write_requests"] == 4294967000
    assert values["state"] == "active"
    assert values["physical_state"] == "link_up"
    assert values["rate_bits_per_second"] == 400_000_000_000
    assert values["width_lanes"] == 4
    assert readings(source(sysfs), Tier.SLOW)["n1/mlx5_3/1"].values["width_lanes"] == 2
    assert "width_lanes" not in readings(source(sysfs), Tier.FAST)["n1/mlx5_0/1"].values


def test_no_pma_is_absent_and_told_as_unsupported(sysfs: Path) -> None:
    unpack("iwarp_no_pma.txt", sysfs)
    ports = source(sysfs)
    (reading,) = ports.read(Tier.FAST)
    assert reading.values == {
        "state": "active",
        "physical_state": "link_up",
        "rate_bits_per_second": 10_000_000_000,
    }
    assert reading.failed == {}
    (facts,) = ports.facts()
    unsupported = facts.attributes["unsupported"]
    assert isinstance(unsupported, list)
    assert "link_downed" in unsupported and "xmit_data_bytes" in unsupported


def test_a_saturated_data_counter_is_read_from_counters_ext_or_failed_but_never_believed(sysfs: Path) -> None:
    root = unpack("old_two_ports.txt", sysfs)
    ports = source(sysfs)
    values = readings(ports)["n1/mlx4_0/1"].values
    assert values["xmit_data_bytes"] == 8589934592 * 4
    assert values["xmit_wait"] == 2**32 - 1  # raw: the catalogue says it saturates
    shutil.rmtree(root / "mlx4_0/ports/1/counters_ext")
    reading = readings(source(sysfs))["n1/mlx4_0/1"]
    assert "xmit_data_bytes" not in reading.values
    assert reading.failed["xmit_data_bytes"] == "broken"


def test_a_port_that_is_down_has_no_rate_in_force(sysfs: Path) -> None:
    unpack("old_two_ports.txt", sysfs)
    values = readings(source(sysfs), Tier.SLOW)["n1/mlx4_0/2"].values
    assert values["state"] == "down" and values["physical_state"] == "polling"
    assert "rate_bits_per_second" not in values and "width_lanes" not in values


def test_nonsense_in_a_state_is_broken_and_the_counters_go_on(sysfs: Path) -> None:
    root = unpack("ib400_four_ports.txt", sysfs)
    set_file(root, "mlx5_0/ports/1/state", "9: HOVERING")
    reading = readings(source(sysfs))["n1/mlx5_0/1"]
    assert reading.failed == {"state": "broken"}
    assert reading.values["xmit_packets"] == 48828222


def test_the_ethernet_side_of_a_bond_is_the_sum_of_its_members(sysfs: Path) -> None:
    unpack("roce_bond.txt", sysfs)
    slaves = sysfs / "class/net/bond0/bonding/slaves"
    slaves.parent.mkdir(parents=True)
    slaves.write_text("ens1f0np0 ens1f1np1\n")
    one = recorded_statistics("ethtool_mlx5.txt")
    nics = Nics({"ens1f0np0": one, "ens1f1np1": one})
    ports = source(sysfs, ioctl=nics)
    (reading,) = ports.read(Tier.FAST)
    values = reading.values
    assert values["rx_pause_frames"] == 2 * 1200
    assert values["lossless_rx_pause_frames"] == 2 * 1200
    assert values["lossless_rx_pause_seconds"] == pytest.approx(2 * 0.034567)
    assert values["lossless_discards"] == 2 * 5
    assert values["ecn_marked"] == 2 * 70
    assert values["tx_pause_storm_warnings"] == 2  # its name has a trailing space
    assert values["np_ecn_marked_roce_packets"] == 12345678901
    del nics.statistics["ens1f1np1"]
    (reading,) = ports.read(Tier.FAST)
    assert "rx_pause_frames" not in reading.values, (
        "half a bond is not a bond: a sum over it would look like a reset"
    )


def test_the_lossless_priority_is_the_sites(sysfs: Path) -> None:
    unpack("roce_bond.txt", sysfs)
    nics = Nics({"bond0": recorded_statistics("ethtool_mlx5.txt")})
    (reading,) = source(sysfs, ioctl=nics, lossless_priority=5).read(Tier.FAST)
    assert reading.values["lossless_rx_pause_frames"] == 0
    assert reading.values["rx_pause_frames"] == 1200


def test_queues_added_under_way_are_noticed_and_never_misread(sysfs: Path) -> None:
    unpack("roce_bond.txt", sysfs)
    nics = Nics({"bond0": recorded_statistics("ethtool_mlx5.txt")})
    ports = source(sysfs, ioctl=nics)
    assert next(iter(ports.read(Tier.FAST))).values["rx_discards_phy"] == 5
    nics.statistics["bond0"] = {"rx_new_queue": 99, **nics.statistics["bond0"]}
    assert "rx_discards_phy" not in next(iter(ports.read(Tier.FAST))).values
    assert next(iter(ports.read(Tier.FAST))).values["rx_discards_phy"] == 5


def test_broadcom_names() -> None:
    from ullage_agent.sources.rdma_counters import ethernet_values, resolve

    recorded = recorded_statistics("ethtool_bnxt.txt")
    values = ethernet_values(resolve(recorded, 3), dict(enumerate(recorded.values())))
    assert values == {
        "rx_pause_frames": 31,
        "tx_pause_frames": 42,
        "lossless_rx_pause_frames": 30,
        "lossless_tx_pause_frames": 40,
        "lossless_rx_pause_seconds": 1.5,
        "lossless_tx_pause_seconds": 2.5,
        "rx_crc_errors_phy": 6,
        "rx_discards_phy": 7,
    }


def test_the_real_kernel_answers_the_ioctl() -> None:
    door = ethtool.Socket()
    with pytest.raises(OSError) as none:
        Statistics("no-such-if0", door).names()
    assert none.value.errno == errno.ENODEV
    with pytest.raises(OSError) as loopback:
        Statistics("lo", door).names()
    assert loopback.value.errno == errno.EOPNOTSUPP
    door.close()


def test_one_blip_is_no_event_and_two_readings_are(sysfs: Path) -> None:
    root = unpack("ib400_four_ports.txt", sysfs)
    clock = ManualClock()
    ports = source(sysfs, clock, management=frozenset({"mlx5_3"}))
    readings(ports)
    for state in ("1: DOWN", "4: ACTIVE", "1: DOWN", "4: ACTIVE"):
        set_file(root, "mlx5_0/ports/1/state", state)
        clock.advance(10)
        readings(ports)
    assert list(ports.events()) == []
    set_file(root, "mlx5_0/ports/1/state", "1: DOWN")
    set_file(root, "mlx5_3/ports/1/phys_state", "2: Polling")
    clock.advance(10)
    went_down = clock.wall()
    readings(ports)
    clock.advance(10)
    readings(ports)
    down, management = ports.events()
    assert (down.kind, down.subject, down.severity) == ("port_down", "n1/mlx5_0/1", Severity.CRITICAL)
    assert down.time == went_down, "it is down since the first reading that said so"
    assert (management.kind, management.severity) == ("port_down", Severity.WARNING)
    set_file(root, "mlx5_0/ports/1/state", "4: ACTIVE")
    readings(ports)
    readings(ports)
    (up,) = ports.events()
    assert (up.kind, up.severity, up.attributes["was"]) == ("port_up", Severity.INFO, "down")
    assert {down.kind, up.kind} <= set(KINDS)


def test_a_port_that_was_never_up_makes_no_noise(sysfs: Path) -> None:
    unpack("old_two_ports.txt", sysfs)
    ports = source(sysfs)
    for _ in range(3):
        readings(ports)
    assert list(ports.events()) == []


def test_a_vanished_device_is_missing_until_its_driver_is_back(sysfs: Path, tmp_path: Path) -> None:
    root = unpack("ib400_four_ports.txt", sysfs)
    ports = source(sysfs)
    assert len(readings(ports)) == 4
    (root / "mlx5_1").rename(tmp_path / "aside")
    # A kept descriptor of a plain file outlives the rename, as sysfs' do not: end it as the kernel would.
    ports.close()
    for _ in range(2):
        found = readings(ports)
        assert found["n1/mlx5_1/1"].failed == {"state": "not_present"}
        assert found["n1/mlx5_1/1"].values == {}
        assert found["n1/mlx5_0/1"].values["state"] == "active"
    (missing,) = ports.events()
    assert (missing.kind, missing.subject) == ("port_missing", "n1/mlx5_1/1")
    (tmp_path / "aside").rename(root / "mlx5_1")
    for _ in range(2):
        assert readings(ports)["n1/mlx5_1/1"].values["state"] == "active"
    (back,) = ports.events()
    assert (back.kind, back.attributes["was"]) == ("port_up", "missing")


def test_a_device_that_hangs_costs_its_own_ports_only(sysfs: Path) -> None:
    """Its state is a FIFO nobody writes: opening it blocks in the kernel, as a sick NIC's file does."""
    root = unpack("ib400_four_ports.txt", sysfs)
    fifo = root / "mlx5_1/ports/1/state"
    fifo.unlink()
    os.mkfifo(fifo)
    ports = source(sysfs, device_deadline_seconds=0.2)
    found = readings(ports)
    assert found["n1/mlx5_1/1"].failed == {"state": "deadline"}
    assert [found[f"n1/mlx5_{i}/1"].values["state"] for i in (0, 2, 3)] == ["active"] * 3
    (hung,) = ports.events()
    assert (hung.kind, hung.subject) == ("call_hung", "n1/mlx5_1/1")
    started = time.monotonic()
    again = readings(ports)
    facts = list(ports.facts())
    assert again["n1/mlx5_1/1"].failed == {"state": "deadline"}
    assert len(facts) == 3
    assert list(ports.events()) == [], "told once"
    assert time.monotonic() - started < 5, "a held device is not waited for again"
    with os.fdopen(os.open(fifo, os.O_WRONLY), "w"):
        pass  # the NIC answers again
    fifo.unlink()
    fifo.write_text("4: ACTIVE\n")
    for _ in range(100):
        if readings(ports)["n1/mlx5_1/1"].values.get("state") == "active":
            break
        time.sleep(0.05)
    else:
        pytest.fail("a device that answers again must be read again")


def test_facts_name_firmware_and_network_device(sysfs: Path) -> None:
    root = unpack("roce_bond.txt", sysfs)
    device = pci_device(sysfs, "pci0000:10/0000:10:01.0/0000:11:00.0", numa_node=1)
    (root / "mlx5_bond_0/device").symlink_to(device)
    (facts,) = source(sysfs, management=frozenset({"mlx5_bond_0"})).facts()
    wanted = {
        "device": "mlx5_bond_0",
        "port": 1,
        "netdev": "bond0",
        "link_layer": "Ethernet",
        "hca_type": "MT41692",
        "firmware_version": "32.38.3056",
        "board_id": "MT_0000000884",
        "node_guid": "a088:c203:00aa:bb00",
        "pci_address": "0000:11:00.0",
        "numa_node": 1,
        "role": "management",
    }
    assert {name: facts.attributes[name] for name in wanted} == wanted


def test_many_ports_do_not_use_up_the_descriptors(sysfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unpack("ib400_four_ports.txt", sysfs)
    monkeypatch.setattr("resource.getrlimit", lambda _: (2 * 64 * 2, 4096))
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    ports = source(sysfs)
    found = readings(ports)
    assert len(os.listdir("/proc/self/fd")) - before <= 2 * 64  # noqa: PTH208
    assert all(reading.values["xmit_packets"] == 48828222 for reading in found.values())
    ports.close()
