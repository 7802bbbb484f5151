"""Intel GPUs: what the drivers' files say comes out exactly; what they do not say is not made up."""

from __future__ import annotations

import shutil
from pathlib import Path

import intel_tree
import pytest
from intel_tree import I915, XE, i915_client, xe_client
from maker_tree import Ticks, Tree, facts, readings, roster_of, through_a_child, told
from tests.agent.maker_bench import PCIE_SAYS, of_the_bus, put_link

from ullage_agent.backend import Reading
from ullage_agent.backends.drm_clients import Busy, DrmClients, parse_fdinfo
from ullage_agent.backends.intel import backend
from ullage_agent.backends.intel.reader import IntelMaker
from ullage_agent.backends.roster import Roster
from ullage_agent.detection import detect
from ullage_contract.catalogue import THROTTLE_REASONS, Tier, bits_of, keys
from ullage_contract.sample import FACT_NAMES, Facts, Family

FLEX, MAX = f"n1-{XE}", f"n1-{I915}"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path)
    intel_tree.build(tree)
    return tree


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


@pytest.fixture
def roster(tree: Tree, ticks: Ticks) -> Roster:
    return roster_of(IntelMaker(tree.host(), ticks))


def test_discrete_cards_are_found_and_the_processors_own_graphics_are_not(tree: Tree) -> None:
    found = detect(tree.host(), backend)
    assert found.present and found.cards_expected == 2
    assert [line.split()[1] for line in found.found] == [XE, I915]
    assert detect(tree.host(integrated=True), backend).cards_expected == 3


def test_a_server_with_only_the_processors_graphics_has_no_card(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.function("0000:00:02.0", "8086:a780", "030000", "i915")
    found = detect(tree.host(), backend)
    assert not found.present and found.why_not is not None and "8086" in found.why_not


def test_every_value_of_an_xe_card_comes_out_exactly(roster: Roster, ticks: Ticks, tree: Tree) -> None:
    tree.process(4711, "python3", {5: ("/dev/dri/renderD128", xe_client(1000, 10_000, 4096))})
    facts(roster)
    ticks.now += 10
    tree.write(f"bus/pci/devices/{XE}", {"hwmon/hwmon3/energy1_input": 6_230_000_000})
    tree.process(4711, "python3", {5: ("/dev/dri/renderD128", xe_client(21_000, 20_000, 8192))})
    reading = readings(roster)[FLEX]
    assert not reading.failed
    assert reading.values == {
        "utilization_ratio": 0.5,  # 20000 cycles of 10000 passed, on 4 engines
        "memory_used_bytes": 8192 * 1024,
        "memory_total_bytes": 17163091968,
        "energy_joules": 6230.0,
        "power_watts": 123.0,
        "temperature_celsius": 61.0,
        "memory_temperature_celsius": 72.0,
        "clock_core_hertz": 2050e6,
        "throttle_reasons": bits_of(THROTTLE_REASONS, ["software_power_cap", "current_limit"]),
        "power_limit_watts": 150.0,
        "voltage_volts": pytest.approx(0.812),
        "fan_rpm": 1800,
        "temperature_limit_celsius": 100.0,
        "clock_core_max_hertz": 2400e6,
        "clock_video_hertz": 1025e6,
        "processes": 1,
        "pcie_generation": 4,  # of the card's upstream port: the GPU's own link inside it says 2.5 GT/s x1
        "pcie_generation_max": 4,
        "pcie_width": 16,
        "pcie_width_max": 16,
        "pcie_aer_correctable": 2,
    }
    assert "health" not in reading.values, "mainline xe gives no verdict: no word is no health"


def test_every_value_of_an_i915_card_comes_out_exactly(roster: Roster, ticks: Ticks, tree: Tree) -> None:
    facts(roster)
    ticks.now += 10
    tree.write(
        f"bus/pci/devices/{I915}",
        {
            "hwmon/hwmon4/energy1_input": 12_000_000_000,
            # half and a quarter of the ten seconds asleep
            "drm/card2/gt/gt0/rc6_residency_ms": 6_000,
            "drm/card2/gt/gt1/rc6_residency_ms": 4_500,
        },
    )
    reading = readings(roster)[MAX]
    assert reading.values["utilization_ratio"] == pytest.approx(0.625), "no user is seen, but it was awake"
    assert reading.values["power_watts"] == 500.0, "the device's hwmon, not a tile's"
    assert reading.values["memory_total_bytes"] == 137438953472
    assert reading.values["clock_core_hertz"] == 1500e6, "the mean of the tiles"
    assert reading.values["voltage_volts"] == pytest.approx(0.7)
    assert reading.values["throttle_reasons"] == 0
    assert reading.values["sram_ecc_corrected"] == 5
    assert reading.values["ecc_uncorrected"] == 0
    assert reading.values["health"] == "ok"
    assert reading.values["pcie_generation"] == 5
    assert "power_limit_watts" not in reading.values, "0 is how the driver says there is no limit"
    unsupported = facts(roster)[MAX].attributes["unsupported"]
    assert isinstance(unsupported, list)
    assert {"power_limit_watts", "fan_rpm", "temperature_celsius", "clock_video_hertz"} <= set(unsupported)
    assert "ecc_corrected" in unsupported, "the driver counts fatal errors of the memory alone"


def test_the_bus_says_link_and_errors(roster: Roster, tree: Tree) -> None:
    put_link(tree.sysfs, I915)
    put_link(tree.sysfs, XE)
    found = readings(roster)
    assert of_the_bus(found[MAX].values) == PCIE_SAYS
    full = {"pcie_generation": 4, "pcie_generation_max": 4, "pcie_width": 16, "pcie_width_max": 16}
    assert of_the_bus(found[FLEX].values) == {**PCIE_SAYS, **full}, (
        "the link of its own switch, its own errors"
    )


def test_facts_say_who_the_cards_are(roster: Roster) -> None:
    found = facts(roster)
    assert set(found) == {FLEX, MAX}
    flex = found[FLEX].attributes
    assert flex["model"] == "Intel Data Center GPU Flex 170"
    assert flex["vendor"] == "intel"
    assert flex["pci_address"] == XE
    assert flex["numa_node"] == 1
    assert flex["device_node"] == "/dev/dri/renderD128"
    assert flex["power_limit_default_watts"] == 150.0
    assert flex["partition_mode"] == "none"
    assert found[MAX].attributes["driver_version"] == "I915_25.2.57_PSB_250224.65"
    for fact in found.values():
        assert set(fact.attributes) <= set(FACT_NAMES)


def test_a_file_shared_by_processes_counts_once_and_every_client_of_i915_has_its_share(
    roster: Roster, ticks: Ticks, tree: Tree
) -> None:
    def users(first: int, second: int) -> None:
        shared = i915_client(first, 100, client=9)
        tree.process(100, "main", {4: ("/dev/dri/renderD129", shared)})
        tree.process(101, "worker", {4: ("/dev/dri/renderD129", shared), 7: ("/etc/passwd", "pos:\t0\n")})
        tree.process(102, "other", {9: ("/dev/dri/renderD129", i915_client(second, 28, client=10))})

    users(0, 0)
    facts(roster)
    readings(roster)
    ticks.now += 10
    users(10_000_000_000, 5_000_000_000)
    reading = readings(roster)[MAX]
    assert reading.values["utilization_ratio"] == pytest.approx(0.75)
    assert reading.values["memory_used_bytes"] == 128 << 20
    assert reading.values["processes"] == 3
    rows = readings(roster, family=Family.PROCESS)
    assert rows[f"{MAX}#100"].values == {
        "process_memory_used_bytes": 100 << 20,
        "process_utilization_ratio": pytest.approx(0.5),
    }
    assert set(rows) == {f"{MAX}#100", f"{MAX}#102"}


def test_process_facts_name_the_command_and_the_job_and_no_arguments(roster: Roster, tree: Tree) -> None:
    tree.process(4711, "python3", {5: ("/dev/dri/renderD128", xe_client(0, 10, 4))})
    facts(roster)
    found = [f for f in roster.read(Tier.SLOW, lambda c, n, f: f()) if isinstance(f, Facts)]
    process = next(f for f in found if f.family is Family.PROCESS)
    assert process.subject == f"{FLEX}#4711"
    assert process.attributes["command"] == "python3"
    assert process.attributes["cgroup"] == "/system.slice/slurmstepd.scope/job_77"


def test_without_sight_of_all_processes_sums_fail_and_busy_is_time_awake(tree: Tree, ticks: Ticks) -> None:
    """A pid namespace of one's own hides the others: what is summed over users would be too low."""
    (tree.proc / "self/ns").mkdir(parents=True)
    (tree.proc / "self/ns/pid").symlink_to("pid:[4026532999]")
    roster = roster_of(IntelMaker(tree.host(), ticks))
    assert facts(roster)[FLEX].attributes["util_kind"] == "duty_cycle"
    ticks.now += 10
    tree.write(f"bus/pci/devices/{XE}", {"tile0/gt0/gtidle/idle_residency_ms": 507_500})
    tree.write(f"bus/pci/devices/{XE}", {"tile0/gt1/gtidle/idle_residency_ms": 910_000})
    reading = readings(roster)[FLEX]
    assert reading.failed["memory_used_bytes"] == "not_permitted"
    assert reading.failed["processes"] == "not_permitted"
    assert reading.values["utilization_ratio"] == pytest.approx(0.25)


def test_the_first_reading_has_no_rate_and_does_not_invent_one(roster: Roster) -> None:
    values = readings(roster)[FLEX].values
    assert "power_watts" not in values and "utilization_ratio" not in values
    assert values["energy_joules"] == 5000.0


def test_a_counter_that_began_anew_gives_no_power(roster: Roster, ticks: Ticks, tree: Tree) -> None:
    readings(roster)
    ticks.now += 10
    tree.write(f"bus/pci/devices/{XE}", {"hwmon/hwmon3/energy1_input": 1_000_000})
    assert "power_watts" not in readings(roster)[FLEX].values
    ticks.now += 10
    tree.write(f"bus/pci/devices/{XE}", {"hwmon/hwmon3/energy1_input": 501_000_000})
    assert readings(roster)[FLEX].values["power_watts"] == 50.0


def test_a_sleeping_card_is_not_woken_and_is_idle(roster: Roster, tree: Tree) -> None:
    readings(roster)
    tree.write(f"bus/pci/devices/{XE}", {"power/runtime_status": "suspended"})
    reading = readings(roster)[FLEX]
    assert reading.values["utilization_ratio"] == 0.0
    for key in ("energy_joules", "temperature_celsius", "clock_core_hertz", "power_watts", "health"):
        assert key not in reading.values and key not in reading.failed


def test_nonsense_fails_and_the_others_go_on(roster: Roster, tree: Tree) -> None:
    tree.write(
        f"bus/pci/devices/{XE}",
        {"hwmon/hwmon3/temp2_input": "garbage", "hwmon/hwmon3/temp3_input": 999_000_000},
    )
    reading = readings(roster)[FLEX]
    assert reading.failed["temperature_celsius"] == "broken"
    assert reading.failed["memory_temperature_celsius"] == "broken"
    assert reading.values["clock_core_hertz"] == 2050e6
    assert readings(roster)[MAX].values["health"] == "ok"


def test_a_card_that_reads_as_all_ones_is_lost(roster: Roster, tree: Tree) -> None:
    facts(roster)
    tree.write(f"bus/pci/devices/{XE}", {"config": b"\xff\xff\xff\xff"})
    reading = readings(roster)[FLEX]
    assert reading.values["health"] == "lost"
    assert "temperature_celsius" not in reading.values
    assert [(e.kind, e.subject) for e in told(roster)] == [("card_lost", FLEX)]


def test_a_card_that_vanished_is_lost_and_comes_back(roster: Roster, tree: Tree) -> None:
    facts(roster)
    tree.remove(XE)
    assert readings(roster)[FLEX].values["health"] == "lost"
    assert readings(roster)[MAX].values["health"] == "ok"
    tree.function(XE, "8086:56c0", "038000", "xe", intel_tree.XE_FILES, above=intel_tree.XE_SWITCH)
    assert readings(roster)[FLEX].values["temperature_celsius"] == 61.0
    assert [e.kind for e in told(roster)] == ["card_lost", "card_back"]


def test_a_fatal_error_is_an_event_with_the_drivers_own_name(roster: Roster, tree: Tree) -> None:
    facts(roster)
    readings(roster)
    place = "drm/card2/gt/gt1/error_counter/soc_fatal_hbm_ss0_0"
    tree.write(f"bus/pci/devices/{I915}", {"drm/card2/gt/gt0/error_counter/fatal_guc": 1, place: 0})
    reading = readings(roster)[MAX]
    assert reading.values["health"] == "critical"
    assert reading.values["health_detail"] == "1 uncorrectable errors counted by gt0/fatal_guc"
    assert reading.values["sram_ecc_uncorrected"] == 1
    codes = [(event.kind, event.code) for event in told(roster)]
    assert ("ras", "gt0/fatal_guc") in codes
    assert ("ecc_uncorrected", None) in codes
    readings(roster)
    assert told(roster) == [], "told once"


def test_survivability_mode_is_critical(roster: Roster, tree: Tree) -> None:
    tree.write(f"bus/pci/devices/{XE}", {"survivability_mode": "Runtime"})
    assert readings(roster)[FLEX].values["health"] == "critical"


def test_virtual_functions_and_passed_through_cards_are_not_cards(roster: Roster, tree: Tree) -> None:
    virtual = tree.function("0000:4d:00.1", "8086:56c0", "038000", "xe", above=intel_tree.XE_SWITCH)
    (virtual / "physfn").symlink_to(tree.sysfs / "bus/pci/devices" / XE)
    tree.function("0000:ba:00.0", "8086:56c0", "038000", "vfio-pci", above="0000:b9:00.0")
    tree.write(f"bus/pci/devices/{XE}", {"sriov_numvfs": 4})
    found = facts(roster)
    assert set(found) == {FLEX, MAX}
    assert found[FLEX].attributes["partition_mode"] == "sriov"


def test_a_driver_with_fewer_files_has_fewer_values_and_no_trouble(roster: Roster, tree: Tree) -> None:
    for name in ("hwmon", "tile0/gt0/freq0/throttle", "tile0/gt1"):
        shutil.rmtree(tree.sysfs / "bus/pci/devices" / XE / name)
    unsupported = facts(roster)[FLEX].attributes["unsupported"]
    assert isinstance(unsupported, list)
    assert {"power_watts", "energy_joules", "temperature_celsius", "clock_video_hertz"} <= set(unsupported)
    reading = readings(roster)[FLEX]
    assert not reading.failed
    assert reading.values["clock_core_hertz"] == 2050e6


def test_a_real_child_gives_the_same(tree: Tree) -> None:
    items = through_a_child(backend, tree.host())
    cards = {i.subject: i for i in items if isinstance(i, Reading) and i.family is Family.CARD}
    assert cards[FLEX].values["temperature_celsius"] == 61.0
    assert cards[MAX].values["sram_ecc_corrected"] == 5
    assert {i.subject for i in items if isinstance(i, Facts) and i.family is Family.CARD} == {FLEX, MAX}


def test_the_description_names_only_what_there_is() -> None:
    assert set(backend.sources) <= set(keys(Family.CARD)) | set(keys(Family.PROCESS))


# ---- fdinfo


def test_fdinfo_of_a_file_that_is_no_card_is_none() -> None:
    assert parse_fdinfo("pos:\t0\nflags:\t02\nmnt_id:\t9\n") is None


def test_a_new_user_of_xe_is_measured_by_the_rate_learnt(tmp_path: Path) -> None:
    tree, ticks = Tree(tmp_path), Ticks()
    clients, busy = DrmClients(tree.proc, ("xe",), ticks), Busy(XE)
    place = tree.process(1, "a", {3: ("/dev/dri/renderD128", xe_client(0, 1000, 4))})
    assert busy.usage(clients.look()) is None
    ticks.now += 10
    tree.process(1, "a", {3: ("/dev/dri/renderD128", xe_client(2000, 2000, 4))})
    assert busy.usage(clients.look()).ratio == pytest.approx(0.5)  # type: ignore[union-attr]
    shutil.rmtree(place)
    ticks.now += 60
    assert busy.usage(clients.look()).ratio == 0.0  # type: ignore[union-attr]
    tree.process(2, "b", {3: ("/dev/dri/renderD128", xe_client(4000, 12_000, 4, client=8))})
    ticks.now += 10  # 100 cycles a second were learnt: 1000 passed
    assert busy.usage(clients.look()).ratio == pytest.approx(1.0)  # type: ignore[union-attr]


def test_a_value_that_falls_behind_is_no_negative_work(tmp_path: Path) -> None:
    tree, ticks = Tree(tmp_path), Ticks()
    clients, busy = DrmClients(tree.proc, ("xe",), ticks), Busy(XE)
    for cycles, total in ((5000, 1000), (4000, 2000)):
        tree.process(1, "a", {3: ("/dev/dri/renderD128", xe_client(cycles, total, 4))})
        usage = busy.usage(clients.look())
        ticks.now += 60
    assert usage is not None and usage.ratio == 0.0
