"""The NVIDIA reader against our emulated library: in a real child, through the real loader."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.agent.nvml_world import FIRST, H100, SECOND, THIRD, Machine, World, without

from ullage_contract import catalogue
from ullage_contract.catalogue import THROTTLE_REASONS, Tier
from ullage_contract.clock import ManualClock
from ullage_contract.event import Severity
from ullage_contract.sample import FACT_NAMES, Family

pytestmark = pytest.mark.compiler


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def machine(world: World, clock: ManualClock) -> Iterator[Callable[..., Machine]]:
    made: list[Machine] = []

    def make(**more: Any) -> Machine:
        world.write()
        made.append(Machine(world, clock, **more))
        return made[-1]

    yield make
    for one in made:
        one.close()


def bits(*words: str) -> int:
    return sum(1 << THROTTLE_REASONS.index(word) for word in words)


def drivers_list(proc: Path, cards: dict[str, str]) -> None:
    """What /proc/driver/nvidia/gpus shows."""
    for pci, uuid in cards.items():
        place = proc / "driver/nvidia/gpus" / pci
        place.mkdir(parents=True)
        (place / "information").write_text(f"Model: \t H100\nGPU UUID: \t {uuid}\n", encoding="utf-8")


def test_what_the_library_says_is_what_we_say(world: World, machine: Callable[..., Machine]) -> None:
    world.add(0, FIRST, "00000000:3B:00.0")
    tick = machine().tick()
    reading = tick.readings()[FIRST]
    assert reading.failed == {}
    assert reading.values == {
        "utilization_ratio": 0.97,
        "memory_bandwidth_ratio": 0.41,
        "encoder_ratio": 0.03,
        "decoder_ratio": 0.04,
        "memory_used_bytes": 20780679168,
        "memory_total_bytes": 85520809984,
        "memory_reserved_bytes": 502267904,
        "memory_host_used_bytes": 20781727744,
        "temperature_celsius": 59.0,
        "memory_temperature_celsius": 54.0,
        "temperature_margin_celsius": 26.0,
        "power_watts": 631.95,
        "power_instant_watts": 625.68,
        "power_limit_watts": 700.0,
        "energy_joules": 123456.789,
        "clock_core_hertz": 1980e6,
        "clock_core_max_hertz": 1980e6,
        "clock_sm_hertz": 1965e6,
        "clock_memory_hertz": 2619e6,
        "clock_video_hertz": 1545e6,
        "throttle_reasons": bits("software_power_cap", "hardware_thermal"),
        "throttle_power_seconds": 5.0,
        "throttle_thermal_seconds": 1.5,
        "throttle_hardware_seconds": 0.75,
        "performance_state": "P0",
        "pcie_tx_bytes": 5000,
        "pcie_rx_bytes": 6000,
        "pcie_generation": 5,
        "pcie_generation_max": 5,
        "pcie_width": 16,
        "pcie_width_max": 16,
        "pcie_replays": 9,
        "pcie_aer_correctable": 11,
        "pcie_aer_nonfatal": 12,
        "pcie_aer_fatal": 13,
        "link_tx_bytes": 1000 * 1024,
        "link_rx_bytes": 2000 * 1024,
        "links_total": 3,
        "links_active": 2,
        "link_crc_errors": 43,
        "link_replay_errors": 23,
        "link_recovery_errors": 24,
        "fabric_state": "completed",
        "ecc_corrected": 7,
        "ecc_uncorrected": 0,
        "ecc_corrected_lifetime": 70,
        "ecc_uncorrected_lifetime": 2,
        "sram_ecc_corrected": 1,
        "sram_ecc_uncorrected": 0,
        "retired_pages": 3,
        "retired_pages_corrected": 2,
        "retired_pages_uncorrected": 1,
        "remap_pending": 0,
        "remap_failure": 0,
        "recovery_action": "none",
        "reset_required": 0,
        "health": "ok",
        "health_detail": "no complaint",
        "sm_active_ratio": 0.735,
        "sm_occupancy_ratio": 0.4125,
        "tensor_active_ratio": 0.125,
        "fp64_active_ratio": 0.0,
        "fp32_active_ratio": 0.0625,
        "fp16_active_ratio": 0.5,
        "processes": 0,
    }
    attributes = tick.facts()[FIRST].attributes
    assert attributes["model"] == "NVIDIA H100 80GB HBM3"
    assert attributes["pci_address"] == "0000:3b:00.0"
    assert attributes["device_node"] == "/dev/nvidia0"
    assert attributes["power_limit_default_watts"] == 700.0
    assert attributes["driver_version"] == "590.48.01" and attributes["runtime_version"] == "13.1"
    assert attributes["util_kind"] == "kernel_resident" and attributes["partition_mode"] == "none"
    assert set(attributes) <= set(FACT_NAMES)
    unsupported = attributes["unsupported"]
    assert isinstance(unsupported, list)
    assert set(unsupported) == set(catalogue.keys(Family.CARD)) - set(reading.values)


def test_a_card_with_a_fan_and_a_slowdown_threshold_says_both(
    world: World, machine: Callable[..., Machine]
) -> None:
    card = world.add(0, FIRST, "00000000:3B:00.0", fan="37", temperature_slowdown="93")
    without(card, ["temperature_margin"])
    values = machine().tick().readings()[FIRST].values
    assert (values["fan_ratio"], values["temperature_limit_celsius"]) == (0.37, 93.0)
    assert "temperature_margin_celsius" not in values


def test_a_fast_tick_reads_fast_metrics_only(world: World, machine: Callable[..., Machine]) -> None:
    world.add(0, FIRST, "00000000:3B:00.0")
    values = machine().tick().tick(Tier.FAST).readings()[FIRST].values
    table = catalogue.keys(Family.CARD)
    # the card's cry for a reset comes with every tick: a minute is long beside a dying card
    assert [key for key in values if table[key].tier is Tier.SLOW] == ["recovery_action"]
    assert values["power_watts"] == 631.95 and values["health"] == "ok"


def test_an_old_driver_lacks_symbols_and_fields(world: World, machine: Callable[..., Machine]) -> None:
    world.system["driver_version"] = "470.57.02"
    card = world.add(0, FIRST, "00000000:3B:00.0", power_mw="300000", energy_mj="5000", pcie_replays="4")
    without(
        card, ["field 185", "field 186", "field 83", "field 230", "field 226", "field 94", "gpm_supported"]
    )
    without(card, ["field 197", "field 198"])
    card.update(pcie_tx_kbps="7", pcie_rx_kbps="8")
    hidden = (
        "nvmlDeviceGetMemoryInfo_v2",
        "nvmlDeviceGetComputeRunningProcesses_v3",
        "nvmlDeviceGetCurrentClocksEventReasons",
        "nvmlDeviceGetMarginTemperature",
        "nvmlDeviceGetGpuFabricInfoV",
        "nvmlGpmQueryDeviceSupport",
    )
    tick = machine(hidden=hidden).tick()
    reading = tick.readings()[FIRST]
    assert reading.failed == {}
    values = reading.values
    assert values["memory_used_bytes"] == 20780679168 + 502267904  # v1 counts the reserve as used
    assert "memory_reserved_bytes" not in values and "sm_active_ratio" not in values
    assert (values["power_watts"], values["energy_joules"], values["pcie_replays"]) == (300.0, 5.0, 4)
    assert (values["pcie_tx_bytes_per_second"], values["pcie_rx_bytes_per_second"]) == (7000.0, 8000.0)
    assert values["throttle_reasons"] == bits("software_power_cap", "hardware_thermal")
    assert values["fabric_state"] == "completed" and values["processes"] == 0
    # 269 to 271 meant something else before R580
    assert values["throttle_thermal_seconds"] == 9.0 and "throttle_hardware_seconds" not in values
    unsupported = tick.facts()[FIRST].attributes["unsupported"]
    assert isinstance(unsupported, list)
    assert {"memory_reserved_bytes", "power_instant_watts", "recovery_action", "pcie_tx_bytes"} <= set(
        unsupported
    )


def test_a_driver_without_field_values_is_asked_by_calls(
    world: World, machine: Callable[..., Machine]
) -> None:
    world.add(0, FIRST, "00000000:3B:00.0", power_mw="300000", ecc_corrected="1", ecc_uncorrected="0")
    values = machine(hidden=("nvmlDeviceGetFieldValues",)).tick().readings()[FIRST].values
    assert (values["power_watts"], values["ecc_corrected"], values["ecc_uncorrected"]) == (300.0, 1, 0)
    assert "memory_temperature_celsius" not in values


def test_what_is_not_available_is_absent_and_never_zero(
    world: World, machine: Callable[..., Machine]
) -> None:
    card = world.add(0, FIRST, "00000000:3B:00.0")
    card.update({"field 185": "uint 4294967295", "field 83": "ull 18446744073709551615"})
    card.update({"field 82": "fail 999", "bar1_used": "18446744073709551615"})
    without(card, ["utilization", "clock_memory", "field 144"])
    reading = machine().tick().readings()[FIRST]
    for key in ("power_watts", "energy_joules", "utilization_ratio", "clock_memory_hertz", "remap_pending"):
        assert key not in reading.values and key not in reading.failed
    assert reading.failed == {"memory_temperature_celsius": "broken"}
    assert "memory_host_used_bytes" not in reading.values


def test_nonsense_is_broken(world: World, machine: Callable[..., Machine]) -> None:
    card = world.add(0, FIRST, "00000000:3B:00.0")
    card.update({"field 185": "uint 65535000", "temperature": "4000", "memory_used": "99999999999999"})
    card.update({"field 230": "uint 77", "fabric_state": "9", "gpm 2": "nan"})
    reading = machine().tick().readings()[FIRST]
    for key in ("power_watts", "temperature_celsius", "memory_used_bytes", "recovery_action", "fabric_state"):
        assert reading.failed[key] == "broken" and key not in reading.values
    assert reading.failed["sm_active_ratio"] == "broken"
    assert reading.failed["health"] == "broken"  # a signal that cannot be read is not health


def test_a_smaller_type_after_a_larger_one_leaves_nothing_behind(
    world: World, machine: Callable[..., Machine]
) -> None:
    card = world.add(0, FIRST, "00000000:3B:00.0")
    card["field 83"] = "ull 18374686479671623680"
    one = machine()
    one.tick()
    card["field 83"] = "uint 5000"
    world.write()
    assert one.tick(Tier.FAST).readings()[FIRST].values["energy_joules"] == 5.0
    card["field 83"] = "double 2500.5"
    world.write()
    assert one.tick(Tier.FAST).readings()[FIRST].values["energy_joules"] == 2.5005


def test_missing_permission_is_said(world: World, machine: Callable[..., Machine]) -> None:
    world.add(0, FIRST, "00000000:3B:00.0", **{"fail nvmlDeviceGetUtilizationRates": "4"})
    reading = machine().tick().readings()[FIRST]
    assert reading.failed == {
        "utilization_ratio": "not_permitted",
        "memory_bandwidth_ratio": "not_permitted",
    }
    assert reading.values["power_watts"] == 631.95


def test_without_the_library_the_maker_says_so(world: World, machine: Callable[..., Machine]) -> None:
    one = machine(library=False).tick()
    assert one.report is not None and not one.report.success
    assert "libnvidia-ml.so.1 is not found" in (one.report.message or "")


def test_a_driver_that_is_not_loaded_is_said(world: World, machine: Callable[..., Machine]) -> None:
    world.system["fail nvmlInitWithFlags"] = "9"
    one = machine().tick()
    assert one.report is not None and "driver is not loaded" in (one.report.message or "")
    del world.system["fail nvmlInitWithFlags"]
    world.add(0, FIRST, "00000000:3B:00.0")
    world.write()
    assert FIRST in one.tick().readings()


@pytest.mark.parametrize("how", ["lost", "gone", "handle_fails"])
def test_a_lost_card_is_lost_and_the_others_go_on(
    how: str, world: World, machine: Callable[..., Machine]
) -> None:
    world.add(0, FIRST, "00000000:3B:00.0")
    second = world.add(1, SECOND, "00000000:4C:00.0")
    world.add(2, THIRD, "00000000:5D:00.0", utilization="7 1")
    one = machine()
    assert set(one.tick().readings()) == {FIRST, SECOND, THIRD}
    second[how] = "999" if how == "handle_fails" else "1"
    world.write()
    one.tick()
    lost = one.readings()[SECOND]
    assert lost.values["health"] == "lost" and set(lost.values) == {"health", "health_detail"}
    assert lost.failed == {}
    assert one.readings()[THIRD].values["utilization_ratio"] == 0.07  # by UUID, although its index moved
    assert [(e.kind, e.subject, e.severity) for e in one.events()] == [("card_lost", SECOND, Severity.FATAL)]
    assert one.events()[0].attributes["pci_address"] == "0000:4c:00.0"
    one.tick(Tier.FAST)
    assert one.readings()[SECOND].values["health"] == "lost" and one.events() == []
    one.tick(facts=True)
    assert one.facts()[SECOND].attributes["model"] == "NVIDIA H100 80GB HBM3"
    del second[how]
    world.write()
    one.tick()
    assert [e.kind for e in one.events()] == ["card_back"]
    assert one.readings()[SECOND].values["power_watts"] == 631.95


def test_a_card_lost_before_we_started_is_named_by_the_drivers_list(
    world: World, machine: Callable[..., Machine], tmp_path: Path
) -> None:
    world.add(0, FIRST, "00000000:3B:00.0")
    world.add(1, SECOND, "00000000:4C:00.0", lost="1")
    drivers_list(tmp_path / "proc", {"0000:3b:00.0": FIRST, "0000:4c:00.0": SECOND})
    one = machine(proc=tmp_path / "proc").tick()
    assert [(e.kind, e.subject, e.attributes["pci_address"]) for e in one.events()] == [
        ("card_lost", SECOND, "0000:4c:00.0")
    ]
    assert one.tick().events() == []


def test_a_card_whose_very_name_hangs_is_unknown_and_the_others_go_on(
    world: World, machine: Callable[..., Machine], tmp_path: Path
) -> None:
    world.add(0, FIRST, "00000000:3B:00.0")
    world.add(1, SECOND, "00000000:4C:00.0", **{"hang nvmlDeviceGetUUID": "1"})
    drivers_list(tmp_path / "proc", {"0000:3b:00.0": FIRST, "0000:4c:00.0": SECOND})
    one = machine(proc=tmp_path / "proc").tick()
    assert [e.attributes["call"] for e in one.events("call_hung")] == ["nvmlDeviceGetUUID"]
    one.tick()
    assert one.readings()[FIRST].values["power_watts"] == 631.95
    held = one.readings()[SECOND]
    assert held.values == {} and held.failed == {"health": "deadline"}
    assert one.events("card_lost") == []


def test_a_call_that_never_returns_costs_its_own_values(
    world: World, machine: Callable[..., Machine]
) -> None:
    world.add(0, FIRST, "00000000:3B:00.0")
    one = machine()
    one.tick()
    world.cards[0]["hang nvmlDeviceGetTemperature"] = "1"
    world.write()
    one.tick()
    assert [e.attributes["call"] for e in one.events("call_hung")] == ["nvmlDeviceGetTemperature"]
    reading = one.tick(Tier.FAST).readings()[FIRST]
    assert reading.failed == {"temperature_celsius": "deadline"}
    assert reading.values["power_watts"] == 631.95


def test_what_a_card_could_and_suddenly_cannot_is_trouble_until_it_is_asked_anew(
    world: World, machine: Callable[..., Machine]
) -> None:
    card = world.add(0, FIRST, "00000000:3B:00.0")
    one = machine()
    one.tick()
    utilization = card.pop("utilization")
    energy = card.pop("field 83")
    world.write()
    reading = one.tick(Tier.FAST).readings()[FIRST]
    broken = {"utilization_ratio", "memory_bandwidth_ratio", "energy_joules"}
    assert reading.failed == dict.fromkeys(broken, "broken")
    assert one.tick(Tier.FAST, facts=True).readings()[FIRST].failed == {}
    assert broken <= set(one.facts()[FIRST].attributes["unsupported"] or [])
    card.update({"utilization": utilization, "field 83": energy})
    world.write()
    assert broken <= set(one.tick(Tier.FAST, facts=True).readings()[FIRST].values)


def test_a_library_that_was_closed_under_us_is_opened_again(
    world: World, machine: Callable[..., Machine]
) -> None:
    world.add(0, FIRST, "00000000:3B:00.0")
    one = machine()
    one.tick()
    world.system["fail nvmlDeviceGetCount_v2"] = "1"
    world.write()
    one.tick()
    assert one.report is not None and not one.report.success
    del world.system["fail nvmlDeviceGetCount_v2"]
    world.write()
    reading = one.tick().readings()[FIRST]
    assert reading.failed == {} and reading.values["power_watts"] == 631.95
    assert one.events("card_lost", "card_back") == []


def test_mig_instances_are_slices_and_shared_memory_is_counted_once(
    world: World, machine: Callable[..., Machine]
) -> None:
    card = world.add(0, FIRST, "00000000:3B:00.0", mig_mode="1", max_mig_devices="7")
    without(
        card,
        ["utilization", "field 142", "field 143", "field 144", "field 145", "link 0", "link 1", "link 2"],
    )
    instances = ((2, 0, "1c.3g.40gb", 3, 1), (2, 1, "2c.3g.40gb", 3, 2), (9, 0, "1g.10gb", 1, 1))
    for number, (gi, ci, profile, gi_slices, ci_slices) in enumerate(instances):
        world.migs[0, number] = {
            "uuid": f"MIG-{number}",
            "name": f"NVIDIA H100 80GB HBM3 MIG {profile}",
            "gi": str(gi),
            "ci": str(ci),
            "gi_slices": str(gi_slices),
            "ci_slices": str(ci_slices),
            "memory_total": str((40 if gi == 2 else 10) << 30),
            "memory_used": str((gi * 100) << 20),
            "gpm 1": "25",
            "gpm 2": "20",
            "gpm 10": "5",
        }
    card["process 4711"] = f"{1 << 30} 2 1"
    one = machine().tick()
    whole = one.readings()[FIRST]
    assert (
        whole.failed == {} and "utilization_ratio" not in whole.values and "links_active" not in whole.values
    )
    slices = one.readings(Family.SLICE)
    assert slices[f"{FIRST}/gi2-ci0"].values == {
        "memory_used_bytes": 200 << 20,
        "memory_total_bytes": 40 << 30,
        "memory_reserved_bytes": 0,
    }
    assert slices[f"{FIRST}/gi2-ci1"].values == {}  # the same pool, and nobody knows who was busy
    assert slices[f"{FIRST}/gi9-ci0"].values["utilization_ratio"] == 0.25
    assert slices[f"{FIRST}/gi9-ci0"].values["memory_bandwidth_ratio"] == 0.05
    facts = one.facts(Family.SLICE)
    shares = [facts[f"{FIRST}/{name}"].attributes for name in ("gi2-ci0", "gi2-ci1", "gi9-ci0")]
    assert [a["profile"] for a in shares] == ["1c.3g.40gb", "2c.3g.40gb", "1g.10gb"]
    assert [a["uuid"] for a in shares] == ["MIG-0", "MIG-1", "MIG-2"]
    assert [a["compute_share"] for a in shares] == [1 / 7, 2 / 7, 1 / 7]
    assert [a["memory_share"] for a in shares] == [(40 << 30) / 85520809984, 0.0, (10 << 30) / 85520809984]
    assert all(set(a) <= set(FACT_NAMES) for a in shares)
    assert one.facts()[FIRST].attributes["partition_mode"] == "mig"
    assert one.readings(Family.PROCESS)[f"{FIRST}#4711"].values["process_memory_used_bytes"] == 1 << 30


def test_mig_switched_on_while_running_shows_at_the_next_slow_tick(
    world: World, machine: Callable[..., Machine]
) -> None:
    card = world.add(0, FIRST, "00000000:3B:00.0", max_mig_devices="7")
    one = machine()
    assert one.tick().readings(Family.SLICE) == {}
    card["mig_mode"] = "1"
    del card["utilization"]
    world.migs[0, 0] = {
        "uuid": "MIG-0",
        "name": "X MIG 7g.80gb",
        "gi": "0",
        "ci": "0",
        "gi_slices": "7",
        "ci_slices": "7",
        "memory_total": str(80 << 30),
        "memory_used": "0",
    }
    world.write()
    one.tick()
    assert set(one.readings(Family.SLICE)) == {f"{FIRST}/gi0-ci0"}
    assert one.facts(Family.SLICE)[f"{FIRST}/gi0-ci0"].attributes["compute_share"] == 1.0
    assert "utilization_ratio" in (one.facts()[FIRST].attributes["unsupported"] or [])
    card["mig_mode"] = "0"
    card["utilization"] = "1 1"
    world.migs.clear()
    world.write()
    one.tick()
    assert one.readings(Family.SLICE) == {}
    assert one.readings()[FIRST].values["utilization_ratio"] == 0.01


@pytest.mark.parametrize(
    ("change", "word", "detail"),
    [
        ({"field 230": "uint 1"}, "critical", "recovery_action=reset"),
        ({"field 230": "uint 3"}, "degraded", "recovery_action=drain_p2p"),
        ({"field 145": "uint 1"}, "critical", "remap_failure"),
        ({"field 4": "ull 2"}, "critical", "ecc_uncorrected=2"),
        ({"field 144": "uint 1"}, "degraded", "remap_pending"),
        ({"fabric_status": "15"}, "degraded", "fabric_state=failed"),
    ],
)
def test_the_cards_own_complaints_are_its_health(
    change: dict[str, str], word: str, detail: str, world: World, machine: Callable[..., Machine]
) -> None:
    world.add(0, FIRST, "00000000:3B:00.0").update(change)
    one = machine()
    values = one.tick().readings()[FIRST].values
    assert (values["health"], values["health_detail"]) == (word, detail)
    assert one.tick(Tier.FAST).readings()[FIRST].values["health"] == word


def test_a_card_that_gives_no_signal_has_no_health(world: World, machine: Callable[..., Machine]) -> None:
    card = world.add(0, FIRST, "00000000:3B:00.0")
    without(card, ["field 230", "field 226", "field 4", "field 144", "field 145"])
    one = machine().tick()
    reading = one.readings()[FIRST]
    assert "health" not in reading.values and "health" not in reading.failed
    assert "health" in (one.facts()[FIRST].attributes["unsupported"] or [])


def test_a_card_that_requires_a_reset_says_so(world: World, machine: Callable[..., Machine]) -> None:
    world.add(0, FIRST, "00000000:3B:00.0", **{"fail nvmlDeviceGetUtilizationRates": "16"})
    values = machine().tick().readings()[FIRST].values
    assert values["reset_required"] == 1 and values["health"] == "critical"


def test_a_new_recovery_action_and_new_errors_are_events(
    world: World, machine: Callable[..., Machine]
) -> None:
    card = world.add(0, FIRST, "00000000:3B:00.0")
    card["field 4"] = "ull 3"
    one = machine()
    assert one.tick().events() == []  # errors from before we looked are a value, not news
    card.update({"field 4": "ull 5", "field 230": "uint 4"})
    world.write()
    events = {e.kind: e for e in one.tick().events()}
    assert events["recovery_action"].code == "drain_and_reset"
    assert events["ecc_uncorrected"].attributes["count"] == 2
    assert one.tick().events() == []


def test_processes_have_a_name_and_never_arguments(
    world: World, machine: Callable[..., Machine], tmp_path: Path
) -> None:
    place = tmp_path / "proc/4711"
    place.mkdir(parents=True)
    (place / "comm").write_text("python3\n", encoding="utf-8")
    (place / "cmdline").write_text("python3\0--token\0secret\0", encoding="utf-8")
    (place / "cgroup").write_text("0::/kubepods/pod1/abc\n", encoding="utf-8")
    (place / "stat").write_text(
        "4711 (python3) S " + " ".join(str(n) for n in range(3, 50)), encoding="utf-8"
    )
    card = world.add(0, FIRST, "00000000:3B:00.0")
    card.update({"process 4711": "NA", "process 99": "1048576", "process_util 4711": "55"})
    one = machine(proc=tmp_path / "proc").tick()
    readings = one.readings(Family.PROCESS)
    assert readings[f"{FIRST}#4711"].values == {"process_utilization_ratio": 0.55}  # memory not available
    assert readings[f"{FIRST}#99"].values == {"process_memory_used_bytes": 1048576}
    attributes = one.facts(Family.PROCESS)[f"{FIRST}#4711"].attributes
    assert (attributes["command"], attributes["cgroup"]) == ("python3", "/kubepods/pod1/abc")
    assert "secret" not in str(one.items)
    assert one.readings()[FIRST].values["processes"] == 2
    card["process 5000"] = "1"
    world.write()
    one.tick()
    assert set(one.facts(Family.PROCESS)) == {f"{FIRST}#5000"}  # only the new one


def test_nvlink_5_counters_are_summed_over_links(world: World, machine: Callable[..., Machine]) -> None:
    card = world.add(0, FIRST, "00000000:3B:00.0")
    without(card, ["field 138", "field 139", "field 38", "field 45", "field 52", "field 59"])
    for link in range(3):
        card.update({f"field 202@{link}": f"ull {link + 1}", f"field 204@{link}": "ull 10"})
        card.update({f"field 208@{link}": "ull 1", f"field 215@{link}": "ull 2"})
    values = machine().tick().readings()[FIRST].values
    assert (values["link_tx_bytes"], values["link_rx_bytes"]) == (6, 30)
    assert (values["link_crc_errors"], values["link_recovery_errors"]) == (3, 6)
    assert "link_replay_errors" not in values


def test_pages_are_retired_where_rows_are_not_remapped(world: World, machine: Callable[..., Machine]) -> None:
    card = world.add(0, FIRST, "00000000:3B:00.0")
    without(card, ["field 142", "field 143", "field 144", "field 145"])
    card.update({"field 29": "uint 4", "field 30": "uint 1", "field 31": "uint 1"})
    values = machine().tick().readings()[FIRST].values
    assert (values["retired_pages"], values["remap_pending"]) == (5, 1)
    assert "remap_failure" not in values


def test_a_card_without_a_readable_name_of_its_own_does_not_stop_the_others(
    world: World, machine: Callable[..., Machine]
) -> None:
    world.add(0, "\x01\x02", "00000000:3B:00.0")
    world.add(1, SECOND, "00000000:4C:00.0", serial="\x7f\x7f")
    one = machine().tick()
    assert set(one.readings()) == {SECOND}
    assert "serial" not in one.facts()[SECOND].attributes
    assert [(e.kind, e.subject) for e in one.events()] == [("card_lost", "n1")]


def test_a_machine_without_cards_has_none(world: World, machine: Callable[..., Machine]) -> None:
    one = machine().tick()
    assert one.report is not None and one.report.success and one.items == []


def test_every_source_named_in_the_description_is_a_catalogue_key() -> None:
    from ullage_agent.backends.nvidia import backend

    known = set(catalogue.keys(Family.CARD)) | set(catalogue.keys(Family.PROCESS))
    assert set(backend.sources) <= known
    assert len(H100) > 60
