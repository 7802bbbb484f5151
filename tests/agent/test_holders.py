"""Who holds a card: processes with its node open, found again cheaply, and PCI functions as files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.agent.maker_bench import holder, pci_function, put

from ullage_agent.backends import holders
from ullage_agent.backends.pcie import PciFunction
from ullage_agent.backends.sysfs import glance
from ullage_agent.backends.toolstream import ToolStream, find_tool
from ullage_contract.errors import CardLost, NotPermitted, NotPresent, NotSupported

NODE = "/dev/accel/accel0"


def test_a_process_is_found_by_what_it_opens_and_forgotten_when_it_closes(tmp_path: Path) -> None:
    holder(tmp_path, 41, "train", "/dev/null", NODE, NODE)
    holder(tmp_path, 42, "shell", "/dev/null")
    watch = holders.Watch(tmp_path)
    assert watch.scan([NODE, "/dev/accel/accel1"]) == holders.Held({NODE: (41,)}, True)
    (tmp_path / "42/fd/9").symlink_to(NODE)
    assert watch.scan([NODE]).by_node == {NODE: (41, 42)}
    for name in ("4", "5"):
        (tmp_path / "41/fd" / name).unlink()
    assert watch.scan([NODE]).by_node == {NODE: (42,)}


def test_a_descriptor_that_changed_under_its_number_is_seen_within_some_scans(tmp_path: Path) -> None:
    holder(tmp_path, 41, "train", "/dev/null")
    watch = holders.Watch(tmp_path)
    assert watch.scan([NODE]).by_node == {}
    (tmp_path / "41/fd/3").unlink()
    (tmp_path / "41/fd/3").symlink_to(NODE)
    assert any(watch.scan([NODE]).by_node for _ in range(holders.LOOK_AGAIN))


def test_other_nodes_are_looked_for_anew(tmp_path: Path) -> None:
    holder(tmp_path, 41, "train", NODE)
    watch = holders.Watch(tmp_path)
    assert watch.scan(["/dev/other"]).by_node == {}
    assert watch.scan([NODE]).by_node == {NODE: (41,)}


def test_no_proc_is_not_nobody(tmp_path: Path) -> None:
    assert holders.Watch(tmp_path / "absent").scan([NODE]) == holders.Held({}, False)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look into every process")
def test_a_process_that_may_not_be_looked_into_is_said(tmp_path: Path) -> None:
    holder(tmp_path, 41, "train", NODE)
    (tmp_path / "41/fd").chmod(0)
    assert not holders.Watch(tmp_path).scan([NODE]).complete


def test_the_real_proc_shows_this_users_own_files(tmp_path: Path) -> None:
    import subprocess

    held = tmp_path / "held"
    held.write_text("x")
    with held.open() as file:
        child = subprocess.Popen(["sleep", "30"], stdin=file)
    try:
        assert holders.Watch(Path("/proc")).scan([str(held)]).by_node == {str(held): (child.pid,)}
    finally:
        child.kill()
        child.wait()


def test_a_process_is_named_without_its_arguments(tmp_path: Path) -> None:
    holder(tmp_path, 41, "train", NODE)
    put(
        tmp_path / "41",
        {"cmdline": "train --token=secret", "cgroup": "12:pids:/a\n1:name=systemd:/kubepods/pod1/c1"},
    )
    known = holders.identity(tmp_path, 41)
    assert known["command"] == "train" and known["cgroup"] == "/kubepods/pod1/c1"
    assert "secret" not in str(known)
    assert holders.identity(tmp_path, 99) == {"pid": 99}


def test_a_functions_link_and_errors_are_read(tmp_path: Path) -> None:
    place = pci_function(
        tmp_path, "0000:01:00.0", "1234", "5678", "120000",
        current_link_speed="8.0 GT/s PCIe", max_link_speed="Unknown", current_link_width=63, max_link_width=16,
        aer_dev_correctable="RxErr 1\nTOTAL_ERR_COR 5", aer_dev_fatal="nothing",
    )  # fmt: skip
    assert PciFunction.at(tmp_path, "0000:02:00.0") is None
    function = PciFunction.at(tmp_path, "0000:01:00.0")
    assert function is not None and function.numa_node is None and function.driver is None
    answers: dict[str, object] = {}
    for probe in function.probes():
        try:
            answers.update(probe.ask())
        except NotSupported:
            answers[probe.gives[0]] = None
    assert answers == {
        "pcie_generation": 3,
        "pcie_generation_max": None,
        "pcie_width": None,  # what a dead link's register reads as
        "pcie_width_max": 16,
        "pcie_aer_correctable": 5,
        "pcie_aer_nonfatal": None,
        "pcie_aer_fatal": None,
    }
    function.close()
    place.rename(tmp_path / "away")
    with pytest.raises(CardLost):
        function.probes()[0].ask()


def test_a_tool_that_is_not_there_stays_not_there(tmp_path: Path) -> None:
    stream = ToolStream([str(tmp_path / "absent")])
    for _ in range(2):  # also within the pause before it is tried again
        with pytest.raises(NotPresent):
            stream.latest()
    plain = tmp_path / "plain"
    plain.write_text("no program")
    refused = ToolStream([str(plain)])
    for _ in range(2):
        with pytest.raises(NotPermitted):
            refused.latest()


def test_a_tool_is_found_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "some-smi"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    assert find_tool("some-smi", (str(tmp_path),)) == str(tool)
    monkeypatch.setenv("PATH", f"/nowhere:{tmp_path}")
    assert find_tool("some-smi") == str(tool)
    assert find_tool("some-smi", setting="/opt/x") == "/opt/x"
    assert find_tool("other-smi") == "other-smi"


def test_a_glance_keeps_nothing_open(tmp_path: Path) -> None:
    (tmp_path / "version").write_text(" 1.2\n")
    before = len(list(Path("/proc/self/fd").iterdir()))
    assert [glance(tmp_path / "version") for _ in range(20)] == ["1.2"] * 20
    assert glance(tmp_path / "absent") is None
    assert len(list(Path("/proc/self/fd").iterdir())) == before
