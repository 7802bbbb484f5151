"""What holds for every maker that is read from files: one that never answers, one that may not be read."""

from __future__ import annotations

from pathlib import Path

import intel_tree
import pytest
from intel_tree import I915, XE
from maker_tree import (
    Ticks,
    Tree,
    as_nobody,
    become_nobody,
    facts,
    pipe_in_place_of,
    readings,
    roster_of,
    through_a_child,
)

from ullage_agent.backend import Backend, Reading
from ullage_agent.backends.alveo import backend as alveo
from ullage_agent.backends.intel import backend as intel
from ullage_agent.backends.intel.reader import IntelMaker
from ullage_agent.backends.netint import backend as netint
from ullage_contract.sample import Family


def _intel(tree: Tree) -> Path:
    intel_tree.build(tree)
    return tree.sysfs / "bus/pci/devices" / XE / "hwmon/hwmon3/temp2_input"


def _alveo(tree: Tree) -> Path:
    files = {"dev_offline": 0, "xmc.u.1/xmc_power": 1_000_000, "xmc.u.1/xmc_fpga_temp": 40}
    return tree.function("0000:65:00.1", "10ee:5021", "120000", "xocl", files) / "xmc.u.1/xmc_fpga_temp"


def _netint(tree: Tree) -> Path:
    files = {"nvme/nvme0/state": "live", "nvme/nvme0/hwmon4/name": "nvme", "nvme/nvme0/hwmon4/temp1_input": 1}
    return (
        tree.function("0000:86:00.0", "1d82:0401", "010802", "nvme", files) / "nvme/nvme0/hwmon4/temp1_input"
    )


@pytest.mark.parametrize(
    ("backend", "build", "hangs", "goes_on"),
    [
        (intel, _intel, "temperature_celsius", "clock_core_hertz"),
        (alveo, _alveo, "temperature_celsius", "power_watts"),
        (netint, _netint, "temperature_celsius", "health"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_a_file_that_never_answers_costs_its_own_value_alone(
    tmp_path: Path, backend: Backend, build: object, hangs: str, goes_on: str
) -> None:
    tree = Tree(tmp_path)
    pipe_in_place_of(build(tree))  # type: ignore[operator]
    items = through_a_child(backend, tree.host(tool="/nowhere"), ticks=2, call_seconds=0.5, start_seconds=8.0)
    cards = [i for i in items if isinstance(i, Reading) and i.family is Family.CARD]
    mine = [card for card in cards if I915 not in card.subject]
    assert mine[-1].failed[hangs] == "deadline"
    assert goes_on in mine[-1].values and hangs not in mine[-1].values
    for other in cards:
        if I915 in other.subject:
            assert other.values["clock_core_hertz"] == 1500e6


def test_what_may_not_be_read_fails_as_such_and_the_rest_goes_on() -> None:
    with as_nobody() as place:
        tree, ticks = Tree(place), Ticks()
        intel_tree.build(tree)
        process = tree.process(4711, "python3", {5: ("/dev/dri/renderD128", intel_tree.xe_client(0, 10, 4))})
        (process / "fd").chmod(0)
        (tree.sysfs / "bus/pci/devices" / XE / "hwmon/hwmon3/energy1_input").chmod(0)
        readings(roster_of(IntelMaker(tree.host(), ticks)))  # nobody may not import what is not there yet
        become_nobody()
        roster = roster_of(IntelMaker(tree.host(), ticks))
        fact = facts(roster)[f"n1-{XE}"]
        reading = readings(roster)[f"n1-{XE}"]
        assert fact.attributes["util_kind"] == "duty_cycle"
        assert reading.failed == {
            "memory_used_bytes": "not_permitted",
            "processes": "not_permitted",
            "energy_joules": "not_permitted",
            "power_watts": "not_permitted",
        }
        assert reading.values["temperature_celsius"] == 61.0
