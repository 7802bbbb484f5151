"""The host's own row: exact numbers from a tree of our own, nothing counted twice, nothing invented."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ullage_agent.backend import Reading
from ullage_agent.source import Source
from ullage_agent.sources.growth import Growth
from ullage_agent.sources.host import HostSource
from ullage_agent.sources.mmpmon import Mmpmon, parse
from ullage_agent.sources.storage import Storage
from ullage_contract.catalogue import Kind, Tier, keys
from ullage_contract.clock import ManualClock
from ullage_contract.sample import FACT_NAMES, Family

FIXTURE = Path(__file__).parent.parent / "fixtures/host"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FIXTURE, tmp_path / "host"))


def full(free: float) -> Any:
    return SimpleNamespace(f_blocks=1000, f_bfree=int(1000 * free), f_bavail=int(1000 * free))


def host(tree: Path, **more: Any) -> HostSource:
    more.setdefault("statvfs", lambda path: full(0.5))
    storage = Storage(tree / "sys", tree / "proc", tree / "root", **more)
    return HostSource(
        "n1", sysfs=tree / "sys", proc=tree / "proc", root=tree / "root", clock=ManualClock(), storage=storage
    )


def read(source: HostSource, tier: Tier = Tier.SLOW) -> Reading:
    (reading,) = source.read(tier)
    return reading


def replace(tree: Path, file: str, old: str, new: str) -> None:
    path = tree / file
    text = path.read_text()
    assert old in text
    with path.open("r+") as out:
        out.write(text.replace(old, new))
        out.truncate()


def test_it_is_a_source_and_speaks_only_the_catalogue(tree: Path) -> None:
    source = host(tree)
    assert isinstance(source, Source)
    read(source)
    reading = read(source)
    known = keys(Family.NODE)
    assert set(reading.values) <= set(known)
    assert reading.failed == {}
    (facts,) = source.facts()
    assert set(facts.attributes) <= set(FACT_NAMES)
    assert list(source.events()) == []
    source.close()


def test_levels_are_exact(tree: Path) -> None:
    values = read(host(tree)).values
    assert values["memory_total_bytes"] == 2113545216 * 1024
    assert values["memory_available_bytes"] == 1048576000 * 1024
    assert values["swap_used_bytes"] == 8192 * 1024
    assert values["load1"] == 12.34
    assert values["uptime_seconds"] == 86400.25
    assert values["fuse_waiting"] == 3
    assert values["bond_slaves_down"] == 1


def test_processor_time_is_a_share_of_the_time_between_two_readings(tree: Path) -> None:
    source = host(tree)
    first = read(source)
    assert "cpu_busy_ratio" not in first.values, "one reading has no time between"
    replace(tree, "proc/stat", "1000 50 500 8000 300 20 30 100", "1040 50 520 8120 310 20 30 110")
    values = read(source).values
    assert values["cpu_busy_ratio"] == pytest.approx((40 + 20 + 10) / 200)
    assert values["cpu_iowait_ratio"] == pytest.approx(10 / 200)
    assert "cpu_busy_ratio" not in read(source).values, "no time passed: nothing is known"


def test_counters_begin_at_zero_with_the_agent_and_count_each_byte_once(tree: Path) -> None:
    source = host(tree)
    first = read(source)
    known = keys(Family.NODE)
    counters = {k: v for k, v in first.values.items() if known[k].kind is Kind.COUNTER}
    assert len(counters) >= 14 and set(counters.values()) == {0}
    assert first.counters_epoch is not None and first.counters_epoch.startswith("agent-")
    replace(tree, "proc/net/dev", "eno1: 10000 100 1 2", "eno1: 11000 100 2 4")
    replace(tree, "proc/net/dev", "bond0: 40000", "bond0: 41000")
    replace(tree, "proc/net/dev", "eno1v0: 70000", "eno1v0: 90000")
    replace(tree, "proc/net/dev", "docker0: 5", "docker0: 5555")
    replace(tree, "proc/net/snmp", "2000 77 0", "2000 80 0")
    replace(
        tree,
        "proc/diskstats",
        "sda 100 5 1000 40 200 6 2000 80 0 5000",
        "sda 100 5 1010 40 200 6 2020 80 0 5500",
    )
    replace(tree, "proc/diskstats", "sda1 100 5 900 40", "sda1 100 5 910 40")
    replace(tree, "proc/diskstats", "nvme0c0n1 100 5 10000", "nvme0c0n1 100 5 20000")
    replace(tree, "proc/pressure/io", "total=9000000", "total=9500000")
    values = read(source).values
    assert (values["network_rx_bytes"], values["network_tx_bytes"]) == (1000, 0)
    assert (values["network_errors"], values["network_drops"]) == (1, 2)
    assert values["tcp_retransmits"] == 3
    assert (values["disk_read_bytes"], values["disk_written_bytes"]) == (10 * 512, 20 * 512)
    assert values["disk_busy_seconds"] == pytest.approx(0.5)
    assert values["pressure_io_seconds"] == pytest.approx(0.5)
    assert values["pressure_io_full_seconds"] == 0


def test_an_interface_that_is_unplugged_takes_nothing_back(tree: Path) -> None:
    source = host(tree)
    read(source)
    replace(tree, "proc/net/dev", "eno2: 30000", "eno2: 30500")
    assert read(source).values["network_rx_bytes"] == 500
    text = (tree / "proc/net/dev").read_text()
    lines = [line for line in text.splitlines(keepends=True) if "eno2" not in line]
    (tree / "proc/net/dev").write_text("".join(lines))
    assert read(source).values["network_rx_bytes"] == 500


def test_one_export_mounted_twice_is_one(tree: Path) -> None:
    source = host(tree)
    read(source)
    # the same statistics are printed once a mount point: both change
    replace(tree, "proc/1/mountstats", "1000000 2000000 300000 400000", "1000100 2000200 300030 400040")
    replace(
        tree,
        "proc/1/mountstats",
        "READ: 100 103 0 20000 1000000 10 900 1000",
        "READ: 110 115 0 20000 1000000 10 900 1500",
    )
    replace(tree, "proc/fs/lustre/llite/scratch-ffff9c0/stats", "31457280", "41457280")
    values = read(source).values
    assert (values["nfs_read_bytes"], values["nfs_written_bytes"]) == (130, 240)
    assert values["nfs_retransmits"] == 2
    assert values["nfs_wait_seconds"] == pytest.approx(0.5)
    assert (values["lustre_read_bytes"], values["lustre_written_bytes"]) == (10_000_000, 0)


def test_the_fullest_local_file_system_counts_and_a_network_one_is_never_asked(tree: Path) -> None:
    asked = []

    def statvfs(path: str) -> Any:
        asked.append(path)
        return full(0.9 if path.endswith("root") else 0.125)

    assert read(host(tree, statvfs=statvfs)).values["filesystem_free_ratio"] == 0.125
    assert asked == [str(tree / "root"), str(tree / "root/data disk")]


def test_a_disk_that_hangs_costs_only_how_full_it_is(tree: Path) -> None:
    source = host(tree, statvfs=lambda path: time.sleep(3600))
    started = time.monotonic()
    reading = read(source)
    assert reading.failed == {"filesystem_free_ratio": "deadline"}
    assert reading.values["load1"] == 12.34
    read(source)
    assert time.monotonic() - started < 10, "the second reading does not wait for it again"


@pytest.mark.parametrize(
    "gone", ["pressure", "net", "diskstats", "1", "fs", "stat", "meminfo", "uptime", "cpuinfo"]
)
def test_a_source_that_is_absent_is_an_absent_metric_and_the_rest_goes_on(tree: Path, gone: str) -> None:
    path = tree / "proc" / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    source = host(tree)
    read(source)
    reading = read(source)
    assert reading.failed == {}
    assert reading.values["load1"] == 12.34
    prefix = {
        "pressure": "pressure_",
        "net": "network_",
        "diskstats": "disk_",
        "1": "nfs_",
        "fs": "lustre_",
    }.get(gone)
    if prefix is not None:
        assert not [key for key in reading.values if key.startswith(prefix)]
    assert len(list(source.facts())) == 1


def test_an_empty_machine_says_nothing(tmp_path: Path) -> None:
    source = HostSource("n1", sysfs=tmp_path, proc=tmp_path, root=tmp_path, clock=ManualClock())
    reading = read(source)
    assert reading.values == {} and reading.failed == {}


def test_a_file_of_another_shape_fails_its_own_part_only(tree: Path) -> None:
    (tree / "proc/loadavg").write_text("no load today\n")
    reading = read(host(tree))
    assert reading.failed == {"load1": "broken"}
    assert reading.values["memory_total_bytes"] == 2113545216 * 1024


def test_fuse_that_we_may_not_read_is_absent_not_zero(tree: Path) -> None:
    (tree / "sys/fs/fuse/connections/41/waiting").unlink()
    assert "fuse_waiting" not in read(host(tree)).values


def test_facts_of_the_node(tree: Path) -> None:
    (facts,) = host(tree).facts()
    assert facts.family is Family.NODE and facts.subject == "n1"
    assert facts.attributes == {
        "machine_id": "0123456789abcdef0123456789abcdef",
        "hostname": "gpu-a017",
        "kernel_version": "5.15.0-101-generic",
        "os_version": "openEuler 22.03 (LTS-SP4)",
        "cpu_model": "Intel(R) Xeon(R) Platinum 8480C",
        "cpu_count": 4,
    }


def test_an_arm_processor_has_a_name_too(tree: Path) -> None:
    (tree / "proc/cpuinfo").write_text("processor\t: 0\nCPU implementer\t: 0x48\nCPU part\t: 0xd01\n")
    (facts,) = host(tree).facts()
    assert facts.attributes["cpu_model"] == "HiSilicon Kunpeng 920"


def test_gpfs_is_asked_by_its_own_tool_and_given_up_when_it_fails(tree: Path, tmp_path: Path) -> None:
    tool = tmp_path / "mmpmon"
    runs = tmp_path / "runs"
    tool.write_text(
        f"#!/bin/sh\necho run >> {runs}\nread command\n"
        'echo "_fs_io_s_ _n_ 10.0.0.1 _nn_ n1 _rc_ 0 _t_ 1 _tu_ 2 _cl_ c1 _fs_ gpfs2 _d_ 2 _br_ 6291456 _bw_ 314572800 _oc_ 10"\n'
    )
    tool.chmod(0o755)
    mmpmon = Mmpmon(tool, is_root=lambda: True)
    assert mmpmon.read() == {"c1/gpfs2": (6291456, 314572800)}
    source = host(tree, mmpmon=mmpmon)
    assert read(source).values["gpfs_read_bytes"] == 0
    assert parse("_fs_io_s_ _n_ 10.0.0.1 _nn_ n1 _rc_ 1 _t_ 1 _tu_ 2 _cl_ - _fs_ -\n") == {}
    tool.write_text(f"#!/bin/sh\necho run >> {runs}\nexit 1\n")
    before = len(runs.read_text().splitlines())
    for _ in range(6):
        assert mmpmon.read() == {}
    assert len(runs.read_text().splitlines()) == before + 3
    assert Mmpmon(tool, is_root=lambda: False).read() == {}


def test_growth_of_parts_that_reset() -> None:
    growth = Growth()
    assert growth.values("k") == {}
    for reading, total in ((100, 0), (150, 50), (20, 70), (25, 75)):
        growth.add("k", "a", reading)
        assert growth.values("k") == {"k": total}
    growth.add("k", "b", 1_000_000)
    assert growth.values("k", "other") == {"k": 75}


def test_this_machine_gives_a_row() -> None:
    source = HostSource("n1")
    read(source)
    reading = read(source)
    assert reading.failed == {}
    assert {"memory_total_bytes", "load1", "uptime_seconds"} <= set(reading.values)
    descriptors = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    read(source)
    assert len(os.listdir("/proc/self/fd")) == descriptors  # noqa: PTH208
    source.close()
