"""Iluvatar through an emulated libixml.so: NVML's names in a library of its own, two-chip boards, health bits, dead chips."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.agent.handle_world import World, accounted, unsupported
from tests.agent.maker_bench import PCIE_SAYS, Child, children, of_the_bus, put_link
from tests.emulators.build import build

from ullage_agent.backends.clibrary import CLibrary
from ullage_agent.backends.iluvatar import backend
from ullage_agent.backends.iluvatar.health import bits, table, verdict
from ullage_agent.backends.iluvatar.reader import open_reader
from ullage_agent.backends.iluvatar.sources import SOURCES
from ullage_contract.catalogue import THROTTLE_REASONS, Tier, bit_names, keys
from ullage_contract.errors import NotPermitted
from ullage_contract.event import Severity
from ullage_contract.sample import Family

GIB = 1 << 30
UUID = "GPU-11111111-0000-0000-0000-000000000001"
OTHER = "GPU-11111111-0000-0000-0000-000000000002"
BI100: dict[str, object] = {
    "uuid": UUID,
    "name": "Iluvatar BI-V100",
    "serial": "21110000001",
    "vbios": "6.8.2",
    "minor": 2,
    "pci": "0000:14:00.0",
    "memory_total": 32 * GIB,
    "memory_used": 6 * GIB,
    "utilization": "44 9",
    "power_mw": 154000,
    "power_limit_mw": 250000,
    "temperature": 57,
    "slowdown": 95,
    "fan": 30,
    "clock_sm": 1500,
    "clock_mem": 1200,
    "clock_max": 1550,
    "pstate": 0,
    "throttle": 4,
    "generation": 4,
    "generation_max": 5,
    "width": 8,
    "width_max": 16,
    "encoder": 7,
    "decoder": 8,
    "pcie_tx": 20,
    "pcie_rx": 30,
    "replays": 1,
    "ecc_single": 5,
    "ecc_double": 0,
    "health": 0,
    "process 4711": GIB,
}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tmp_path, monkeypatch, backend, "ixml", open_reader, vendor="1e3e")
    made.system(driver_version="4.3.0", cuda_version=10020)
    made.card(0, BI100)
    return made


@pytest.fixture
def make_child() -> Iterator[Callable[..., Child]]:
    yield from children()


def test_every_number_comes_out_in_our_units(world: World) -> None:
    (world.root / "dev/iluvatar2").touch()
    bench = world.bench()
    facts = bench.facts().facts()[UUID]
    seen = bench.read()
    card = seen.card()
    throttle = card.values["throttle_reasons"]
    assert isinstance(throttle, int) and bit_names(THROTTLE_REASONS, throttle) == ["software_power_cap"]
    assert {key: value for key, value in card.values.items() if key != "throttle_reasons"} == {
        "utilization_ratio": 0.44,
        "memory_bandwidth_ratio": 0.09,
        "memory_used_bytes": 6 * GIB,
        "memory_total_bytes": 32 * GIB,
        "power_watts": 154.0,
        "power_limit_watts": 250.0,
        "temperature_celsius": 57.0,
        "temperature_limit_celsius": 95.0,
        "fan_ratio": 0.3,
        "clock_core_hertz": 1.5e9,
        "clock_sm_hertz": 1.5e9,
        "clock_memory_hertz": 1.2e9,
        "clock_core_max_hertz": 1.55e9,
        "performance_state": "P0",
        "encoder_ratio": 0.07,
        "decoder_ratio": 0.08,
        "pcie_generation": 4,
        "pcie_generation_max": 5,
        "pcie_width": 8,
        "pcie_width_max": 16,
        "pcie_tx_bytes_per_second": 20000.0,
        "pcie_rx_bytes_per_second": 30000.0,
        "pcie_replays": 1,
        "ecc_corrected": 5,
        "ecc_uncorrected": 0,
        "health": "ok",
        "health_detail": "ok",
        "processes": 1,
    }
    accounted(facts, card.values, card.failed)
    assert set(card.values) <= set(SOURCES) <= set(keys(Family.CARD)) | set(keys(Family.PROCESS))
    told = facts.attributes
    assert (told["model"], told["driver_version"], told["runtime_version"]) == (
        "Iluvatar BI-V100",
        "4.3.0",
        "10.2",
    )
    assert told["device_node"] == "/dev/iluvatar2" and "board_id" not in told
    assert seen.processes()[f"{UUID}#4711"].values == {"process_memory_used_bytes": GIB}


def test_the_bus_says_link_and_errors_where_the_library_does_not(world: World) -> None:
    card = world.card(0, BI100)
    put_link(world.root / "sys", "0000:14:00.0")
    for key in ("generation", "generation_max", "width", "width_max"):
        del card[key]
    bench = world.bench()
    bench.facts()
    assert of_the_bus(bench.read().card().values) == PCIE_SAYS


def test_two_chips_of_a_board_give_its_power_as_the_boards(world: World) -> None:
    board = {"board": 0x1300, "board_power_mw": 208000}
    world.card(0, BI100, position=0, **board)
    world.card(1, BI100, uuid=OTHER, pci="0000:17:00.0", position=1, power_mw=208000, **board)
    bench = world.bench()
    facts = bench.facts().facts()
    assert {f.attributes["board_id"] for f in facts.values()} == {"n1-iluvatar-1300"}
    assert [f.attributes["chip"] for f in facts.values()] == [0, 1]
    for card in bench.read().cards().values():
        assert card.values["board_power_watts"] == 208.0 and "power_watts" not in card.values
    assert "power_watts" in unsupported(facts[OTHER])


def test_a_dead_chip_gives_no_numbers_and_is_critical(world: World) -> None:
    world.card(1, BI100, uuid=OTHER, pci="0000:17:00.0")
    bench = world.bench()
    bench.facts()
    bench.read()
    world.card(0, BI100, power_mw=65535000, temperature=0, utilization="100 100", clock_sm=25, clock_mem=25)
    world.scenario.write()
    seen = bench.read()
    dead = seen.cards()[UUID]
    wrong = {"power_watts", "temperature_celsius", "utilization_ratio", "clock_sm_hertz", "memory_used_bytes"}
    assert not wrong & set(dead.values) and all(dead.failed[key] == "broken" for key in wrong)
    assert dead.values["health"] == "critical" and str(dead.values["health_detail"]).startswith("dead")
    assert "65535W" in {event.code for event in seen.events("ras")}
    assert seen.cards()[OTHER].values["temperature_celsius"] == 57.0


@pytest.mark.parametrize(
    ("raw", "word", "detail"),
    [
        (0, "ok", "ok"),
        (0x4, "degraded", "over-temperature (0x4)"),
        (0xC, "degraded", "over-temperature, over-voltage (0xc)"),
        (0x10, "critical", "ECC (0x10)"),
        (0x44, "critical", "over-temperature, PCIe (0x44)"),
        (0x100, "critical", "bit 0x100 (0x100)"),
    ],
)
def test_health_bits_become_a_word_and_keep_their_names(raw: int, word: str, detail: str) -> None:
    assert verdict(raw) == (word, detail)


def test_the_shipped_table_is_the_headers() -> None:
    assert sorted(table()) == [1, 2, 4, 8, 16, 32, 64]
    assert [bit.name for bit in bits(0x7F)] == [
        "SYSHUB",
        "MC",
        "over-temperature",
        "over-voltage",
        "ECC",
        "memory",
        "PCIe",
    ]


def test_each_bit_is_an_event_of_its_own_told_once(world: World) -> None:
    bench = world.bench()
    bench.facts()
    bench.read()
    world.scenario["card 0"]["health"] = "0x14"
    world.scenario.write()
    told = {event.code: event.severity for event in bench.read().events("ras")}
    assert told["0x4"] is Severity.WARNING and told["0x10"] is Severity.CRITICAL
    assert bench.read().events("ras") == []
    world.scenario["card 0"]["health"] = 0
    world.scenario.write()
    bench.read()
    world.scenario["card 0"]["health"] = "0x10"
    world.scenario.write()
    assert "0x10" in {event.code for event in bench.read().events("ras")}


def test_its_nvml_names_never_meet_nvidias() -> None:
    """Both libraries in one process, each asked through its own handle."""
    nvidia = CLibrary("NVML", (str(build("nvml")),))
    iluvatar = CLibrary("IXML", (str(build("ixml")),))
    nvidia.open()
    iluvatar.open()
    assert iluvatar.has("ixmlDeviceGetHealth") and not nvidia.has("ixmlDeviceGetHealth")
    first, second = nvidia.function("nvmlShutdown"), iluvatar.function("nvmlShutdown")
    import ctypes

    addresses = {ctypes.cast(function, ctypes.c_void_p).value for function in (first, second)}
    assert len(addresses) == 2


def test_an_older_release_without_its_own_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(
        tmp_path,
        monkeypatch,
        backend,
        "ixml",
        open_reader,
        vendor="1e3e",
        hidden=("ixmlDeviceGetHealth", "ixmlDeviceGetEccErros", "ixmlDeviceGetBoardPosition"),
    )
    world.card(0, BI100)
    bench = world.bench()
    facts = bench.facts().facts()[UUID]
    card = bench.read().card()
    assert {"health", "ecc_corrected", "ecc_uncorrected"} <= unsupported(facts)
    assert card.values["power_watts"] == 154.0


def test_power_that_a_container_may_not_see_is_unsupported(world: World) -> None:
    del world.scenario["card 0"]["power_mw"]
    bench = world.bench()
    facts = bench.facts().facts()[UUID]
    card = bench.read().card()
    assert "power_watts" in unsupported(facts) and "power_watts" not in card.values
    assert card.values["temperature_celsius"] == 57.0


def test_a_vanished_chip_is_lost(world: World) -> None:
    world.card(1, BI100, uuid=OTHER, pci="0000:17:00.0")
    bench = world.bench()
    bench.facts()
    world.scenario["card 0"]["lost"] = 1
    world.scenario.write()
    seen = bench.read(Tier.FAST)
    assert seen.cards()[UUID].values["health"] == "lost"
    assert [e.subject for e in seen.events("card_lost")] == [UUID]
    assert seen.cards()[OTHER].values["power_watts"] == 154.0


def test_no_permission_says_what_to_do(world: World) -> None:
    world.scenario["system"]["fail nvmlInit_v2"] = 4
    with pytest.raises(NotPermitted, match="run as root"):
        world.bench().facts()


def test_a_call_that_hangs_costs_its_metric_alone(world: World, make_child: Callable[..., Child]) -> None:
    child = world.child(make_child)
    child.tick(facts=True)
    world.scenario["card 0"]["hang ixmlDeviceGetHealth"] = 1
    world.scenario.write()
    child.tick(Tier.FAST)
    card = None
    for _ in range(3):
        child.clock.advance(5)
        card = child.tick(Tier.FAST).cards().get(UUID)
        if card is not None:
            break
    assert card is not None and card.failed["health"] == "deadline" and "health" not in card.values
    assert card.values["power_watts"] == 154.0


def test_once_shows_it_through_the_real_agent(world: World) -> None:
    text = world.once()
    assert UUID in text and "154.0" in text
