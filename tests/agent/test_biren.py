"""Biren through an emulated libbiren-ml.so.1: units, not-available values, SVI instances, links, health, trouble."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.agent.handle_world import World, accounted, unsupported
from tests.agent.maker_bench import Child, children

from ullage_agent.backend import Reading
from ullage_agent.backends.biren import backend
from ullage_agent.backends.biren.reader import open_reader
from ullage_agent.backends.biren.sources import SOURCES
from ullage_contract.catalogue import THROTTLE_REASONS, Tier, bit_names, keys
from ullage_contract.errors import NotPermitted, NotPresent
from ullage_contract.event import Severity
from ullage_contract.sample import Family

GIB = 1 << 30
UUID = "GPU-b1000000-0000-0000-0000-000000000001"
BR166: dict[str, object] = {
    "uuid": UUID,
    "name": "Biren166M",
    "serial": "BR166000001",
    "board_id": "BOARD-1",
    "pci": "0000:3b:00.0",
    "minor": 4,
    "firmware": "2.1.7",
    "memory_total": 64 * GIB,
    "memory_used": 5 * GIB,
    "utilization": "35 12",
    "power_mw": 211500,
    "power_limit_mw": 450000,
    "temperature_0": 51,
    "temperature_1": 60,
    "temperature_3": 44,
    "slowdown": 95,
    "clock_1": 1400,
    "clock_2": 1600,
    "clock_4": 800,
    "clock_max_1": 1500,
    "encoder": 3,
    "decoder": 4,
    "throttle": 5,
    "pcie_tx": 2000,
    "pcie_rx": 3000,
    "generation": 4,
    "generation_max": 5,
    "width": 8,
    "width_max": 16,
    "replays": 6,
    "ecc_corrected": 7,
    "ecc_uncorrected": 0,
    "sram_0_0": 1,
    "sram_0_1": 2,
    "sram_1_1": 0,
    "aer_0": 11,
    "aer_1": 12,
    "aer_2": 13,
    "health": 0,
    "links": 3,
    "link_0": "up",
    "link_1": "up",
    "link_2": "down",
    "link_errors_0": 1,
    "link_errors_1": 2,
    "link_errors_2": 3,
    "link_errors_3": 4,
    "svi": 1,
    "process 4711": GIB,
}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tmp_path, monkeypatch, backend, "brml", open_reader, vendor="1ee0")
    made.system(driver_version="1.11.0", supa_version=1110)
    made.card(0, BR166)
    return made


@pytest.fixture
def make_child() -> Iterator[Callable[..., Child]]:
    yield from children()


def test_every_number_comes_out_in_our_units(world: World) -> None:
    bench = world.bench()
    facts = bench.facts().facts()[UUID]
    seen = bench.read()
    card = seen.card()
    throttle = card.values["throttle_reasons"]
    assert isinstance(throttle, int)
    assert bit_names(THROTTLE_REASONS, throttle) == ["hardware_slowdown", "hardware_power_brake"]
    assert {key: value for key, value in card.values.items() if key != "throttle_reasons"} == {
        "utilization_ratio": 0.35,
        "memory_bandwidth_ratio": 0.12,
        "encoder_ratio": 0.03,
        "decoder_ratio": 0.04,
        "memory_used_bytes": 5 * GIB,
        "memory_total_bytes": 64 * GIB,
        "power_watts": 211.5,
        "power_limit_watts": 450.0,
        "temperature_celsius": 51.0,
        "memory_temperature_celsius": 60.0,
        "board_temperature_celsius": 44.0,
        "temperature_limit_celsius": 95.0,
        "clock_core_hertz": 1.4e9,
        "clock_memory_hertz": 1.6e9,
        "clock_video_hertz": 0.8e9,
        "clock_core_max_hertz": 1.5e9,
        "pcie_tx_bytes_per_second": 2e6,
        "pcie_rx_bytes_per_second": 3e6,
        "pcie_generation": 4,
        "pcie_generation_max": 5,
        "pcie_width": 8,
        "pcie_width_max": 16,
        "pcie_replays": 6,
        "pcie_aer_correctable": 11,
        "pcie_aer_fatal": 12,
        "pcie_aer_nonfatal": 13,
        "ecc_corrected": 7,
        "ecc_uncorrected": 0,
        "sram_ecc_corrected": 3,
        "sram_ecc_uncorrected": 0,
        "links_total": 3,
        "links_active": 2,
        "link_replay_errors": 3,
        "link_recovery_errors": 6,
        "link_crc_errors": 21,
        "health": "ok",
        "health_detail": "ok (0)",
        "processes": 1,
    }
    accounted(facts, card.values, card.failed)
    assert set(card.values) <= set(SOURCES) <= set(keys(Family.CARD)) | set(keys(Family.PROCESS))
    told = facts.attributes
    assert (told["model"], told["serial"], told["board_id"]) == ("Biren166M", "BR166000001", "BOARD-1")
    assert (told["runtime_version"], told["firmware_version"]) == ("1.11", "2.1.7")
    assert told["device_node"] == "/dev/biren/card_4" and told["partition_mode"] == "none"
    assert seen.processes()[f"{UUID}#4711"].values == {"process_memory_used_bytes": GIB}


def test_svi_instances_are_slices_and_never_cards_beside_it(world: World) -> None:
    world.card(0, BR166, svi=2)
    world.scenario["part 0.0"].update({"memory_total": 32 * GIB, "memory_used": GIB, "utilization": "20 1"})
    world.scenario["part 0.1"].update({"memory_total": 32 * GIB, "memory_used": 0, "utilization": "0 0"})
    # a release that counts the instances too: the same serial in the same slot
    world.card(1, BR166, uuid="GPU-instance", pci="0000:3b:00.1")
    bench = world.bench()
    facts = bench.facts()
    assert list(facts.facts()) == [UUID] and facts.facts()[UUID].attributes["partition_mode"] == "svi"
    parts = facts.facts(Family.SLICE)
    assert parts[f"{UUID}/svi0"].attributes["compute_share"] == 0.5 and len(parts) == 2
    rows = {i.subject: i for i in bench.read().items if isinstance(i, Reading) and i.family is Family.SLICE}
    assert rows[f"{UUID}/svi0"].values == {
        "memory_used_bytes": GIB,
        "memory_total_bytes": 32 * GIB,
        "utilization_ratio": 0.2,
        "memory_bandwidth_ratio": 0.01,
    }
    assert rows[f"{UUID}/svi1"].values["memory_used_bytes"] == 0


@pytest.mark.parametrize(
    ("status", "word", "severity"),
    [
        (1, "degraded", Severity.WARNING),
        (2, "critical", Severity.CRITICAL),
        (3, "critical", Severity.CRITICAL),
    ],
)
def test_a_health_status_is_told_once_with_its_number(
    world: World, status: int, word: str, severity: Severity
) -> None:
    bench = world.bench()
    bench.facts()
    bench.read()
    world.scenario["card 0"]["health"] = status
    world.scenario.write()
    seen = bench.read()
    assert seen.card().values["health"] == word
    told = {event.code: event.severity for event in seen.events("ras")}
    assert told[str(status)] is severity
    assert bench.read().events("ras") == []


def test_new_uncorrectable_errors_are_an_event(world: World) -> None:
    bench = world.bench()
    bench.facts()
    bench.read()
    world.scenario["card 0"]["ecc_uncorrected"] = 2
    world.scenario.write()
    (event,) = bench.read().events("ecc_uncorrected")
    assert event.subject == UUID and "0 -> 2" in event.message


def test_minus_one_is_not_available_and_no_number(world: World) -> None:
    world.card(0, BR166, power_mw=-1, ecc_corrected=-1, temperature_1=-1, pcie_tx=-1)
    bench = world.bench()
    facts = bench.facts().facts()[UUID]
    card = bench.read().card()
    gone = {"power_watts", "ecc_corrected", "memory_temperature_celsius", "pcie_tx_bytes_per_second"}
    assert gone <= unsupported(facts) and not gone & set(card.values) and not gone & set(card.failed)
    assert card.values["temperature_celsius"] == 51.0


def test_garbage_is_failed_and_text_that_is_none_is_left_out(world: World) -> None:
    world.card(0, BR166, name="@garbage", utilization="400 1", memory_used=65 * GIB, width=200, health=77)
    bench = world.bench()
    facts = bench.facts().facts()[UUID]
    card = bench.read().card()
    assert "model" not in facts.attributes
    assert {"utilization_ratio", "memory_used_bytes", "health"} <= set(card.failed)
    assert card.failed["pcie_width"] == "broken" and card.values["pcie_generation"] == 4


def test_a_symbol_this_release_lacks_is_unsupported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(
        tmp_path,
        monkeypatch,
        backend,
        "brml",
        open_reader,
        vendor="1ee0",
        hidden=("brmlDeviceGetHealthStatus", "brmlDeviceGetSviMode", "brmlDeviceGetGpuInfo"),
    )
    world.card(0, BR166)
    bench = world.bench()
    facts = bench.facts().facts()[UUID]
    card = bench.read().card()
    assert {"health", "health_detail"} <= unsupported(facts) and "health" not in card.values
    assert card.values["power_watts"] == 211.5


def test_a_card_that_is_counted_and_not_found_is_lost(world: World) -> None:
    world.card(1, BR166, uuid="GPU-other", pci="0000:5e:00.0", serial="BR166000002")
    bench = world.bench()
    bench.facts()
    world.scenario["card 0"]["handle_fails"] = 5
    world.scenario.write()
    seen = bench.read()
    assert [e.subject for e in seen.events("card_lost")] == [UUID]
    assert seen.cards()["GPU-other"].values["power_watts"] == 211.5


def test_a_card_gone_from_the_bus_is_lost_though_the_library_does_not_say(world: World) -> None:
    bench = world.bench()
    bench.facts()
    place = world.root / "sys/bus/pci/devices/0000:3b:00.0"
    place.rename(world.root / "elsewhere")
    seen = bench.read()
    assert seen.card().values["health"] == "lost" and [e.kind for e in seen.events()] == ["card_lost"]
    assert bench.read().events() == []
    (world.root / "elsewhere").rename(place)
    assert [e.kind for e in bench.read().events()] == ["card_back"]


def test_an_identity_that_cannot_be_had_now_keeps_its_card(world: World) -> None:
    bench = world.bench()
    bench.facts()
    world.scenario["card 0"]["fail brmlDeviceGetPciInfo"] = 8  # a timeout
    world.scenario.write()
    seen = bench.read()
    assert seen.events("card_lost") == [] and seen.card().values["power_watts"] == 211.5


def test_a_library_that_forgot_its_init_is_opened_anew(world: World) -> None:
    bench = world.bench()
    bench.facts()
    world.scenario["system"]["fail brmlDeviceGetCount"] = 1
    world.scenario.write()
    with pytest.raises(Exception, match="error 1"):
        bench.read()
    del world.scenario["system"]["fail brmlDeviceGetCount"]
    world.scenario.write()
    assert bench.read().card().values["power_watts"] == 211.5


def test_no_driver_and_no_permission_say_so(world: World) -> None:
    world.scenario["system"]["fail brmlInit"] = 7
    with pytest.raises(NotPresent, match="driver is not loaded"):
        world.bench().facts()
    world.scenario["system"]["fail brmlInit"] = 4
    with pytest.raises(NotPermitted, match="/dev/biren"):
        world.bench().facts()


def test_a_call_that_hangs_costs_its_metric_alone(world: World, make_child: Callable[..., Child]) -> None:
    child = world.child(make_child)
    child.tick(facts=True)
    world.scenario["card 0"]["hang brmlDeviceGetPowerUsage"] = 1
    world.scenario.write()
    child.tick(Tier.FAST)
    card = None
    for _ in range(3):
        child.clock.advance(5)
        card = child.tick(facts=True).cards().get(UUID)
        if card is not None:
            break
    assert card is not None and card.failed["power_watts"] == "deadline"
    assert card.values["utilization_ratio"] == 0.35 and card.values["health"] == "ok"


def test_once_shows_it_through_the_real_agent(world: World) -> None:
    text = world.once()
    assert UUID in text and "211.5" in text
