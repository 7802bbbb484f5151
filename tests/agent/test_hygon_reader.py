"""Hygon DCUs against emulated librocm_smi64 and libhydmi: through ctypes in process, and in a real child."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from tests.agent.maker_bench import PCIE_SAYS, Bench, Child, children, of_the_bus, pci_function, put, put_link
from tests.agent.once import once
from tests.agent.scenario_file import Scenario
from tests.emulators.build import build

from ullage_agent.backend import Host
from ullage_agent.backends.hygon import backend
from ullage_agent.backends.hygon.reader import open_reader
from ullage_agent.detection import detect
from ullage_contract.catalogue import Tier, keys
from ullage_contract.errors import Broken, CardLost, DeadlineExceeded, NotPermitted, NotPresent
from ullage_contract.sample import FACT_NAMES, Family

pytestmark = pytest.mark.compiler

T = TypeVar("T")
GIB = 1 << 30
UUID = "00005443484b3130"
OTHER = "00005443484b3131"
PLACES = ("0000:c1:00.0", "0000:c6:00.0")

K100: dict[str, object] = {
    "bdf": 0xC100,
    "unique_id": int(UUID, 16),
    "serial": "TDCU2305000123",
    "name": "K100_AI",
    "vbios": "113-K100-017",
    "busy": 12,
    "hcu_util": 93.5,
    "cu_util": 71.25,
    "memory_busy": 41,
    "memory_total": 64 * GIB,
    "memory_used": 60 * GIB,
    "power_uw": 312_000_000,
    "power_cap_uw": 400_000_000,
    "temp_0": 54_000,
    "crit_0": 100_000,
    "temp_1": 61_500,
    "temp_2": 58_000,
    "replays": 3,
    "ecc_1": "12 0 0",
    "ecc_4": "1 0 0",
    "pages": "2 0 0",
}
"""Everything our reader asks of a card."""


class Node:
    """Two cards on a recorded bus, the scenario, and a host that finds the emulators."""

    def __init__(self, root: Path) -> None:
        self.sysfs, self.proc = root / "sys", root / "proc"
        self.proc.mkdir()
        self.scenario = Scenario(root)
        self.scenario["system"]["driver"] = "6.3.8-V1.9.2"
        self.scenario["card 0"].update(K100)
        second = {**K100, "bdf": 0xC600, "unique_id": int(OTHER, 16), "serial": "TDCU2305000124"}
        self.scenario["card 1"].update(second)
        for place in PLACES:
            pci_function(
                self.sysfs,
                place,
                "1d94",
                "6210",
                "0b4000",
                current_link_speed="16.0 GT/s PCIe",
                max_link_speed="16.0 GT/s PCIe",
                current_link_width=16,
                max_link_width=16,
            )

    def host(self, *, hidden: tuple[str, ...] = (), old: bool = False, virtual: bool = True) -> Host:
        smi = build("hygon", defines=("OLD_COUNTS",) if old else (), hidden=hidden)
        dmi = str(build("hydmi")) if virtual else "/nowhere/libhydmi.so"
        settings = {"library": str(smi), "virtual_library": dmi, "window_ms": 1}
        return Host("n1", sysfs=self.sysfs, proc=self.proc, settings=settings)

    def bench(self, call: Any = None, **more: Any) -> Bench:
        os.environ["ULLAGE_HYGON_SCENARIO"] = str(self.scenario.write())
        reader = open_reader(self.host(**more))
        return Bench(reader) if call is None else Bench(reader, call)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    before = os.environ.get("ULLAGE_HYGON_SCENARIO")
    yield Node(tmp_path)
    if before is None:
        os.environ.pop("ULLAGE_HYGON_SCENARIO", None)


@pytest.fixture
def child() -> Iterator[Callable[..., Child]]:
    yield from children()


def test_what_the_library_says_is_what_we_say(node: Node) -> None:
    reading = node.bench().read().cards()[UUID]
    assert reading.failed == {}
    assert reading.values == {
        "utilization_ratio": 0.935,
        "sm_active_ratio": 0.7125,
        "memory_bandwidth_ratio": 0.41,
        "memory_total_bytes": 64 * GIB,
        "memory_used_bytes": 60 * GIB,
        "power_watts": pytest.approx(312.0),
        "power_limit_watts": pytest.approx(400.0),
        "temperature_celsius": 54.0,
        "temperature_limit_celsius": 100.0,
        "hotspot_temperature_celsius": 61.5,
        "memory_temperature_celsius": 58.0,
        "pcie_replays": 3,
        "pcie_generation": 4,
        "pcie_generation_max": 4,
        "pcie_width": 16,
        "pcie_width_max": 16,
        "ecc_corrected": 12,
        "ecc_uncorrected": 0,
        "sram_ecc_corrected": 1,
        "sram_ecc_uncorrected": 0,
        "retired_pages": 2,
        "remap_pending": 0,
        "remap_failure": 0,
        "health": "ok",
        "health_detail": "no uncorrectable error in 2 RAS blocks",
        "processes": 0,
    }
    assert set(reading.values) <= set(keys(Family.CARD))


def test_the_bus_says_link_and_errors(node: Node) -> None:
    put_link(node.sysfs, PLACES[0])
    assert of_the_bus(node.bench().read().cards()[UUID].values) == PCIE_SAYS


def test_facts_name_the_card_and_what_it_cannot(node: Node) -> None:
    put(node.sysfs / "module/hycu", {"version": "6.3.8"})
    card = node.bench().facts().facts()[UUID].attributes
    assert card["model"] == "K100_AI"
    assert card["serial"] == "TDCU2305000123"
    assert card["pci_address"] == PLACES[0]
    assert card["driver_version"] == "6.3.8"
    assert card["firmware_version"] == "113-K100-017"
    assert card["partition_mode"] == "none"
    assert set(card) <= set(FACT_NAMES)
    unsupported = set(card["unsupported"] or ())  # type: ignore[arg-type]
    assert {"clock_core_hertz", "energy_joules", "throttle_reasons", "tensor_active_ratio"} <= unsupported
    assert "utilization_ratio" not in unsupported


def test_an_early_release_gives_the_busy_counter_and_no_deferred_errors(node: Node) -> None:
    bench = node.bench(old=True)
    card = bench.facts().facts()[UUID].attributes
    reading = bench.read().cards()[UUID]
    assert reading.values["utilization_ratio"] == 0.12
    assert reading.values["ecc_corrected"] == 12
    assert reading.values["health"] == "ok"
    assert "sm_active_ratio" in set(card["unsupported"] or ())  # type: ignore[arg-type]


def test_clocks_come_from_hwmon_and_never_from_the_librarys_struct(node: Node) -> None:
    files = {
        "freq1_label": "sclk",
        "freq1_input": 1500000000,
        "freq2_label": "mclk",
        "freq2_input": 900000000,
    }
    put(node.sysfs / "bus/pci/devices" / PLACES[0] / "hwmon/hwmon2", files)
    values = node.bench().read().cards()[UUID].values
    assert (values["clock_core_hertz"], values["clock_memory_hertz"]) == (1500e6, 900e6)


@pytest.mark.parametrize(
    ("key", "value", "failed"),
    [
        ("hcu_util", "4294967295", "utilization_ratio"),
        ("power_uw", "0", "power_watts"),
        ("power_uw", "18446744073709551615", "power_watts"),
        ("temp_0", "-274000", "temperature_celsius"),
        ("memory_used", "18446744073709551615", "memory_used_bytes"),
    ],
)
def test_a_sentinel_fails_and_is_no_number(node: Node, key: str, value: str, failed: str) -> None:
    if key == "hcu_util":
        del node.scenario["card 0"]["busy"]
    if key == "power_uw":
        del node.scenario["card 0"]["serial"]
    node.scenario["card 0"][key] = value
    reading = node.bench().read().cards()[UUID]
    assert reading.failed == {failed: "broken"}
    assert failed not in reading.values


def test_a_missing_symbol_is_one_metric_less(node: Node) -> None:
    bench = node.bench(hidden=("rsmi_dev_power_ave_get", "rsmi_dev_temp_metric_get"))
    card = bench.facts().facts()[UUID].attributes
    assert {"power_watts", "temperature_celsius"} <= set(card["unsupported"] or ())  # type: ignore[arg-type]
    reading = bench.read().cards()[UUID]
    assert reading.failed == {}
    assert reading.values["utilization_ratio"] == 0.935


def test_a_release_without_the_average_gives_its_other_power(node: Node) -> None:
    del node.scenario["card 0"]["power_uw"]
    node.scenario["card 0"]["power_now_uw"] = 298_000_000
    assert node.bench().read().cards()[UUID].values["power_watts"] == pytest.approx(298.0)


def test_a_card_off_the_bus_is_lost_and_invents_nothing(node: Node) -> None:
    bench = node.bench()
    bench.read()
    for name in ("rsmi_dev_power_ave_get", "rsmi_dev_memory_usage_get"):
        node.scenario["card 0"][f"fail {name}"] = 3  # the driver's files are gone
    node.scenario.write()
    place = node.sysfs / "bus/pci/devices" / PLACES[0]
    place.rename(node.sysfs / "aside")
    seen = bench.read()
    assert seen.cards()[UUID].values["health"] == "lost"
    assert set(seen.cards()[UUID].values) == {"health", "health_detail"}
    assert seen.cards()[OTHER].values["power_watts"] == pytest.approx(312.0)
    assert [event.kind for event in seen.events()] == ["card_lost"]
    (node.sysfs / "aside").rename(place)
    for name in ("rsmi_dev_power_ave_get", "rsmi_dev_memory_usage_get"):
        del node.scenario["card 0"][f"fail {name}"]
    node.scenario.write()
    seen = bench.read()
    assert [event.kind for event in seen.events()] == ["card_back"]
    assert seen.cards()[UUID].values["power_watts"] == pytest.approx(312.0)


def test_a_files_error_while_it_is_on_the_bus_is_not_a_loss(node: Node) -> None:
    node.scenario["card 0"]["fail rsmi_dev_memory_busy_percent_get"] = 3
    bench = node.bench()
    card = bench.facts().facts()[UUID].attributes
    assert "memory_bandwidth_ratio" in set(card["unsupported"] or ())  # type: ignore[arg-type]
    assert bench.read().cards()[UUID].values["health"] == "ok"


def test_uncorrectable_errors_and_pages_are_the_health(node: Node) -> None:
    bench = node.bench()
    bench.read()
    node.scenario["card 0"]["ecc_1"] = "12 2 0"
    node.scenario["card 0"]["pages"] = "2 1 1"
    node.scenario.write()
    seen = bench.read()
    values = seen.cards()[UUID].values
    assert values["ecc_uncorrected"] == 2
    assert (values["retired_pages"], values["remap_pending"], values["remap_failure"]) == (4, 1, 1)
    assert values["health"] == "critical"
    assert values["health_detail"] == "umc ue=2, 1 pages cannot be retired"
    assert [event.kind for event in seen.events()] == ["ecc_uncorrected", "ras"]


def test_deferred_errors_degrade(node: Node) -> None:
    node.scenario["card 0"]["ecc_4"] = "0 0 5"
    values = node.bench().read().cards()[UUID].values
    assert (values["health"], values["health_detail"]) == ("degraded", "gfx de=5")


def test_vdcus_are_slices_of_their_card(node: Node) -> None:
    node.scenario["card 0"]["cus"] = 60
    node.scenario["vdcu 0"].update(card=0, cus=15, memory_total=16 * GIB, memory_used=4 * GIB, busy=80)
    # number 1 was destroyed: the numbers have a gap
    node.scenario["vdcu 2"].update(card=0, cus=30, memory_total=32 * GIB, memory_used=0, busy=0)
    bench = node.bench()
    known = bench.facts()
    assert known.facts()[UUID].attributes["partition_mode"] == "vdcu"
    assert known.facts()[OTHER].attributes["partition_mode"] == "none"
    part = known.facts(Family.SLICE)[f"{UUID}/vdcu0"].attributes
    assert (part["compute_share"], part["memory_share"], part["profile"]) == (0.25, 0.25, "15cu")
    seen = bench.read()
    slices = {i.subject: i for i in seen.items if getattr(i, "family", None) is Family.SLICE}
    assert slices[f"{UUID}/vdcu0"].values == {  # type: ignore[union-attr]
        "utilization_ratio": 0.8,
        "memory_used_bytes": 4 * GIB,
        "memory_total_bytes": 16 * GIB,
    }
    assert slices[f"{UUID}/vdcu2"].values["utilization_ratio"] == 0.0  # type: ignore[union-attr]


def test_without_the_virtual_library_there_are_cards_and_no_slices(node: Node) -> None:
    seen = node.bench(virtual=False).read()
    assert len(seen.cards()) == 2
    assert not [i for i in seen.items if getattr(i, "family", None) is Family.SLICE]


def test_processes_have_the_size_of_their_card_and_no_arguments(node: Node) -> None:
    node.scenario["process 4711"].update({"cards": "0 1", "vram_0": 5 * GIB, "vram_1": 7 * GIB})
    node.scenario["process 4712"].update({"cards": "1"})
    put(node.proc / "4711", {"comm": "python3", "cgroup": "0::/slurm/job_77"})
    seen = node.bench().read()
    assert seen.cards()[UUID].values["processes"] == 1
    assert seen.cards()[OTHER].values["processes"] == 2
    processes = seen.processes()
    assert processes[f"{UUID}#4711"].values == {"process_memory_used_bytes": 5 * GIB}
    assert processes[f"{OTHER}#4711"].values == {"process_memory_used_bytes": 7 * GIB}
    assert processes[f"{OTHER}#4712"].values == {}  # 0 is this driver's way of not saying
    assert seen.facts(Family.PROCESS)[f"{UUID}#4711"].attributes["command"] == "python3"


def test_no_process_list_is_unsupported_and_never_no_process(node: Node) -> None:
    node.scenario["system"]["no_processes"] = 1
    bench = node.bench()
    assert "processes" in set(bench.facts().facts()[UUID].attributes["unsupported"] or ())  # type: ignore[arg-type]
    assert "processes" not in bench.read().cards()[UUID].values


def test_no_permission_says_what_is_missing(node: Node) -> None:
    node.scenario["system"]["fail rsmi_init"] = 4
    bench = node.bench()
    with pytest.raises(NotPermitted, match="/dev/mkfd"):
        bench.read()


def test_no_library_says_what_was_tried(node: Node) -> None:
    host = Host("n1", sysfs=node.sysfs, proc=node.proc, settings={"library": "/nowhere/librocm_smi64.so"})
    with pytest.raises(NotPresent, match="/nowhere/librocm_smi64"):
        Bench(open_reader(host)).read()


def test_a_broken_library_is_broken(node: Node) -> None:
    node.scenario["system"]["fail rsmi_num_monitor_devices"] = 6
    with pytest.raises(Broken, match="internal exception"):
        node.bench().read()


def test_a_refused_call_fails_its_metric_alone(node: Node) -> None:
    def hung(card: str, name: str, function: Callable[[], T]) -> T:
        if name == "rsmi_dev_memory_usage_get":
            raise DeadlineExceeded("it hung before")
        return function()

    reading = node.bench(call=hung).read().cards()[UUID]
    assert reading.failed == {"memory_used_bytes": "deadline"}
    assert reading.values["utilization_ratio"] == 0.935


def test_a_lost_card_is_lost_for_every_call(node: Node) -> None:
    bench = node.bench()
    bench.read()

    def gone(card: str, name: str, function: Callable[[], T]) -> T:
        if card == UUID:
            raise CardLost("it does not answer")
        return function()

    bench.call = gone
    assert bench.read(Tier.FAST).cards()[UUID].values["health"] == "lost"


def test_a_card_keeps_its_key_while_its_name_cannot_be_read(node: Node) -> None:
    bench = node.bench()
    bench.read()
    for name in ("rsmi_dev_unique_id_get", "rsmi_dev_name_get"):
        node.scenario["card 0"][f"fail {name}"] = 16
    node.scenario.write()
    seen = bench.read()
    assert set(seen.cards()) == {UUID, OTHER} and seen.events() == []
    fresh = node.bench()
    assert set(fresh.read().cards()) == {OTHER}, "of a new card nothing is told before it says who it is"
    del node.scenario["card 0"]["fail rsmi_dev_unique_id_get"]
    node.scenario.write()
    assert set(fresh.read().cards()) == {UUID, OTHER}


def test_another_card_at_the_index_never_gives_its_values_as_the_first_ones(node: Node) -> None:
    bench = node.bench()
    bench.read()
    node.scenario["card 0"].update({"unique_id": 0x77, "power_uw": 99_000_000})
    node.scenario.write()
    seen = bench.read(Tier.FAST)
    assert seen.cards()[UUID].values["health"] == "lost" and "power_watts" not in seen.cards()[UUID].values
    assert "power_watts" in seen.cards()[OTHER].values
    assert [e.subject for e in seen.events("card_lost")] == [UUID]
    later = bench.read(Tier.FAST).cards()
    assert [r.values.get("power_watts") for c, r in later.items() if c not in (UUID, OTHER)] == [99.0]


def test_only_cards_are_hardware_and_not_the_processors_own_functions(tmp_path: Path) -> None:
    sysfs = tmp_path / "sys"
    pci_function(sysfs, "0000:00:00.0", "1d94", "1450", "060000")
    (tmp_path / "dev").mkdir()
    host = Host("n1", sysfs=sysfs, dev=tmp_path / "dev")
    assert not detect(host, backend).present
    pci_function(sysfs, "0000:c1:00.0", "1d94", "6210", "0b4000")
    assert detect(host, backend).cards_expected == 1


def test_a_hang_in_the_real_child_costs_that_metric_and_no_more(
    node: Node, child: Callable[..., Child]
) -> None:
    node.scenario["card 0"]["hang rsmi_dev_memory_usage_get"] = 1
    environment = {"ULLAGE_HYGON_SCENARIO": str(node.scenario.write())}
    one = child(backend, node.host(), environment=environment)
    one.tick(facts=True)
    seen = one.tick()
    card = seen.cards()[UUID]
    assert card.failed["memory_used_bytes"] == "deadline"
    assert card.values["power_watts"] == pytest.approx(312.0)
    assert seen.cards()[OTHER].values["memory_used_bytes"] == 60 * GIB


def test_once_prints_the_cards_of_the_injected_library(node: Node, tmp_path: Path) -> None:
    settings = node.host().settings
    shown = once(
        tmp_path,
        "[backends.hygon]\nenabled = true\n"
        + "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items()),
        ULLAGE_HYGON_SCENARIO=str(node.scenario.write()),
    )
    assert '"K100_AI"' in shown
    assert UUID in shown
