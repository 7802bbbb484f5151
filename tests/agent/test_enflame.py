"""Enflame through an emulated libefml.so: both sets of calls, their different orders, RMA, ECC, error records, slices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.agent.handle_world import World, accounted, unsupported
from tests.agent.maker_bench import PCIE_SAYS, Child, children, of_the_bus, put_link

from ullage_agent.backend import Reading
from ullage_agent.backends.enflame import backend
from ullage_agent.backends.enflame.reader import open_reader
from ullage_agent.backends.enflame.sources import SOURCES
from ullage_contract.catalogue import Tier, keys
from ullage_contract.errors import NotPermitted, NotPresent
from ullage_contract.event import Severity
from ullage_contract.sample import Family

GIB = 1 << 30
MIB = 1 << 20
UUID = "TR6YTEST0001"
OTHER = "TR6YTEST0002"
S60: dict[str, object] = {
    "uuid": UUID,
    "name": "S60",
    "serial": "A0A1TEST00001",
    "firmware": "33.6.5",
    "pci": "0000:17:00.0",
    "memory_total": 42 * GIB,
    "memory_used": 2 * GIB,
    "utilization": "55 6",
    "power_mw": 128500,
    "power_limit_mw": 300000,
    "temperature": 46,
    "slowdown": 100,
    "clock_0": 1300,
    "clock_1": 1310,
    "clock_2": 7000,
    "clock_3": 900,
    "clock_max": 1500,
    "fan": 20,
    "pcie_tx": 5,
    "pcie_rx": 6,
    "generation": 4,
    "generation_max": 5,
    "width": 8,
    "width_max": 16,
    "encoder": 1,
    "decoder": 2,
    "old_temperature": "46.2 51.5 40.5",
    "voltage": "0.702",
    "health": 1,
    "ecc": "3 0 0",
    "rma": 0,
    "ports": 4,
    "connected": 3,
    "process 4711": GIB,
}
OLD: dict[str, object] = {
    "old_usage": "12.5",
    "old_memory": "2000 42976",
    "old_power": "96.5 300",
    "old_clocks": "1300 7000",
}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tmp_path, monkeypatch, backend, "efml", open_reader, vendor="1e36")
    made.system(driver_version="1.4.3.4")
    made.card(0, S60)
    return made


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A release that has the calls by index alone."""
    made = World(tmp_path, monkeypatch, backend, "efml", open_reader, vendor="1e36", defines=("INDEX_ONLY",))
    made.system(driver_version="1.2.0.301")
    made.card(0, S60, **OLD)
    return made


@pytest.fixture
def make_child() -> Iterator[Callable[..., Child]]:
    yield from children()


def test_every_number_comes_out_in_our_units(world: World) -> None:
    bench = world.bench()
    facts = bench.facts().facts()[UUID]
    seen = bench.read()
    card = seen.card()
    assert card.values == {
        "utilization_ratio": 0.55,
        "memory_bandwidth_ratio": 0.06,
        "encoder_ratio": 0.01,
        "decoder_ratio": 0.02,
        "memory_used_bytes": 2 * GIB,
        "memory_total_bytes": 42 * GIB,
        "power_watts": 128.5,
        "power_limit_watts": 300.0,
        "temperature_celsius": 46.0,
        "memory_temperature_celsius": 51.5,
        "board_temperature_celsius": 40.5,
        "temperature_limit_celsius": 100.0,
        "fan_ratio": 0.2,
        "clock_core_hertz": 1.3e9,
        "clock_sm_hertz": 1.31e9,
        "clock_memory_hertz": 7e9,
        "clock_video_hertz": 9e8,
        "clock_core_max_hertz": 1.5e9,
        "voltage_volts": 0.702,
        "pcie_tx_bytes_per_second": 5000.0,
        "pcie_rx_bytes_per_second": 6000.0,
        "pcie_generation": 4,
        "pcie_generation_max": 5,
        "pcie_width": 8,
        "pcie_width_max": 16,
        "links_total": 4,
        "links_active": 3,
        "ecc_corrected": 3,
        "ecc_uncorrected": 0,
        "remap_pending": 0,
        "recovery_action": "none",
        "health": "ok",
        "health_detail": "healthy",
        "processes": 1,
    }
    assert not card.failed
    accounted(facts, card.values, card.failed)
    assert set(card.values) <= set(SOURCES) <= set(keys(Family.CARD)) | set(keys(Family.PROCESS))
    told = facts.attributes
    assert (told["model"], told["serial"], told["firmware_version"]) == ("S60", "A0A1TEST00001", "33.6.5")
    assert told["driver_version"] == "1.4.3.4" and told["partition_mode"] == "none"
    assert seen.processes()[f"{UUID}#4711"].values == {"process_memory_used_bytes": GIB}


def test_the_bus_says_link_and_errors_where_the_library_does_not(old: World) -> None:
    put_link(old.root / "sys", "0000:17:00.0")
    bench = old.bench()
    bench.facts()
    assert of_the_bus(bench.read().card().values) == PCIE_SAYS


def test_the_two_sets_of_calls_count_differently_and_the_cards_do_not(world: World) -> None:
    world.card(1, S60, uuid=OTHER, serial="A0A1TEST00002", pci="0000:c1:00.0", power_mw=99000, ecc="9 0 0")
    bench = world.bench()
    bench.facts()
    cards = bench.read().cards()
    assert (cards[UUID].values["power_watts"], cards[UUID].values["ecc_corrected"]) == (128.5, 3)
    assert (cards[OTHER].values["power_watts"], cards[OTHER].values["ecc_corrected"]) == (99.0, 9)


def test_either_layout_of_the_pci_struct_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, monkeypatch, backend, "efml", open_reader, vendor="1e36", defines=("LEGACY_PCI",))
    world.card(0, S60)
    bench = world.bench()
    assert bench.facts().facts()[UUID].attributes["pci_address"] == "0000:17:00.0"
    assert bench.read().card().values["ecc_corrected"] == 3


def test_a_release_without_calls_by_handle_is_read_by_index(old: World) -> None:
    bench = old.bench()
    facts = bench.facts().facts()[UUID]
    card = bench.read().card()
    assert card.values == {
        "utilization_ratio": 0.125,
        "memory_used_bytes": 2000 * MIB,
        "memory_total_bytes": 42976 * MIB,
        "power_watts": 96.5,
        "power_limit_watts": 300.0,
        "temperature_celsius": pytest.approx(46.2, abs=1e-5),
        "memory_temperature_celsius": 51.5,
        "board_temperature_celsius": 40.5,
        "clock_core_hertz": 1.3e9,
        "clock_memory_hertz": 7e9,
        "voltage_volts": 0.702,
        "links_total": 4,
        "links_active": 3,
        "ecc_corrected": 3,
        "ecc_uncorrected": 0,
        "remap_pending": 0,
        "recovery_action": "none",
        "health": "ok",
        "health_detail": "healthy",
        "processes": 1,
    }
    accounted(facts, card.values, card.failed)


def test_what_the_calls_by_handle_refuse_is_asked_by_index(world: World) -> None:
    card = world.card(0, S60, **OLD)
    del card["power_mw"], card["power_limit_mw"]
    bench = world.bench()
    bench.facts()
    values = bench.read().card().values
    assert (values["power_watts"], values["power_limit_watts"]) == (96.5, 300.0)
    assert values["utilization_ratio"] == 0.55  # the calls by handle come first


def test_an_rma_hint_asks_for_replacement(world: World) -> None:
    bench = world.bench()
    bench.facts()
    bench.read()
    world.scenario["card 0"]["rma"] = 1
    world.scenario.write()
    seen = bench.read()
    values = seen.card().values
    assert (values["health"], values["recovery_action"]) == ("critical", "replace")
    assert values["health_detail"] == "RMA asked for"
    assert ("rma", Severity.CRITICAL) in {(e.code, e.severity) for e in seen.events("ras")}
    assert bench.read(Tier.FAST).card().values["health"] == "critical"  # the hint lasts between slow readings


def test_a_pending_blacklist_waits_for_a_reset(world: World) -> None:
    world.card(0, S60, ecc="3 1 1")
    bench = world.bench()
    bench.facts()
    seen = bench.read()
    values = seen.card().values
    assert (values["health"], values["remap_pending"]) == ("degraded", 1)
    assert values["recovery_action"] == "drain_and_reset"
    assert [(e.code, e.severity) for e in seen.events("ras")] == [("pdblack", Severity.WARNING)]


def test_a_card_that_is_not_healthy_is_critical(world: World) -> None:
    world.card(0, S60, health=0)
    bench = world.bench()
    bench.facts()
    seen = bench.read()
    assert (seen.card().values["health"], seen.card().values["health_detail"]) == ("critical", "not healthy")
    assert [e.code for e in seen.events("ras")] == ["health"]


def test_old_error_records_are_history_and_new_ones_are_events(world: World) -> None:
    world.card(0, S60, record_0="17 1 6 1700000000")
    bench = world.bench()
    bench.facts()
    assert bench.read().events("ras") == []
    world.scenario["card 0"]["record_1"] = "33 2 7 1700000900"
    world.scenario.write()
    (event,) = bench.read().events("ras")
    assert event.code == "0x21@1700000900" and "function level reset, source PCIe" in event.message
    assert bench.read().events("ras") == []


def test_virtual_devices_are_slices(world: World) -> None:
    world.scenario["part 0.2"].update({"memory": "512 10240", "usage": "7.5"})
    bench = world.bench()
    assert list(bench.facts().facts(Family.SLICE)) == [f"{UUID}/vgcu2"]
    rows = {i.subject: i for i in bench.read().items if isinstance(i, Reading) and i.family is Family.SLICE}
    assert rows[f"{UUID}/vgcu2"].values == {
        "memory_used_bytes": 512 * MIB,
        "memory_total_bytes": 10240 * MIB,
        "utilization_ratio": 0.075,
    }


def test_functions_that_share_a_serial_number_are_told_apart(world: World) -> None:
    """In a virtual machine both functions are cards; neither UUID nor serial tells them apart."""
    first = world.card(0, S60, mode=5, pci="0000:2e:00.0")
    second = world.card(1, S60, mode=5, pci="0000:2f:00.0")
    for card in (first, second):
        del card["uuid"]
    bench = world.bench()
    facts = bench.facts().facts()
    assert list(facts) == ["enflame-A0A1TEST00001", "enflame-A0A1TEST00001-0000:2f:00.0"]
    assert {f.attributes["partition_mode"] for f in facts.values()} == {"sriov"}


def test_functions_beside_their_card_are_not_counted_again(world: World) -> None:
    world.card(0, S60, mode=4)
    world.card(1, S60, mode=5, uuid=OTHER, pci="0000:17:00.1")
    assert list(world.bench().facts().facts()) == [UUID]


def test_garbage_is_failed_and_never_a_number(world: World, old: World) -> None:
    world.card(
        0, S60, utilization="101 0", power_mw=99999999, memory_used=43 * GIB, temperature=4000, width=0
    )
    bench = world.bench()
    bench.facts()
    card = bench.read().card()
    wrong = {"utilization_ratio", "power_watts", "memory_used_bytes", "pcie_width"}
    assert wrong <= set(card.failed) and not wrong & set(card.values)
    assert card.values["temperature_celsius"] == pytest.approx(46.2, abs=1e-5)  # by index it is there


def test_no_number_by_index_is_no_number(old: World) -> None:
    old.card(0, S60, old_usage="nan", old_power="inf 300", old_memory="50000 42976")
    bench = old.bench()
    bench.facts()
    card = bench.read().card()
    wrong = {"utilization_ratio", "power_watts", "memory_used_bytes"}
    assert wrong <= set(card.failed) and not wrong & set(card.values)


def test_a_symbol_this_release_lacks_is_unsupported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(
        tmp_path,
        monkeypatch,
        backend,
        "efml",
        open_reader,
        vendor="1e36",
        hidden=("EfmlGetDevHealth", "EfmlGetDevRmaStatus", "EfmlGetErrorRecords", "EfmlGetVdevList"),
    )
    world.card(0, S60)
    bench = world.bench()
    facts = bench.facts().facts()[UUID]
    card = bench.read().card()
    assert {"health", "health_detail", "recovery_action"} <= unsupported(facts)
    assert card.values["power_watts"] == 128.5


def test_a_vanished_card_is_lost(world: World) -> None:
    world.card(1, S60, uuid=OTHER, serial="A0A1TEST00002", pci="0000:c1:00.0")
    bench = world.bench()
    bench.facts()
    world.scenario["card 0"]["lost"] = 1
    world.scenario.write()
    seen = bench.read(Tier.FAST)
    assert seen.cards()[UUID].values["health"] == "lost"
    assert [e.subject for e in seen.events("card_lost")] == [UUID]
    assert seen.cards()[OTHER].values["power_watts"] == 128.5


def test_an_index_that_moved_never_gives_another_cards_values(old: World) -> None:
    """The calls by index count backwards: the last card that drops out moves the first."""
    old.card(1, {**S60, **OLD}, uuid=OTHER, serial="A0A1TEST00002", pci="0000:c1:00.0", old_power="77 300")
    bench = old.bench()
    before = {card: reading.values["power_watts"] for card, reading in bench.read().cards().items()}
    old.scenario["card 1"]["gone"] = 1
    old.scenario.write()
    seen = bench.read(Tier.FAST)
    (gone,) = [card for card in before if seen.cards()[card].values.get("health") == "lost"]
    assert "power_watts" not in seen.cards()[gone].values
    assert [e.subject for e in seen.events()] == [gone], "who only moved was never lost"
    assert {c: r.values["power_watts"] for c, r in seen.cards().items() if c != gone} == {
        card: watts for card, watts in before.items() if card != gone
    }


def test_no_driver_and_no_permission_say_so(world: World) -> None:
    world.scenario["system"]["fail efmlInit_v2"] = 9
    world.scenario["system"]["fail EfmlInit"] = 6
    with pytest.raises(NotPresent, match="driver is not loaded"):
        world.bench().facts()
    world.scenario["system"]["fail efmlInit_v2"] = 4
    with pytest.raises(NotPermitted, match="run as root"):
        world.bench().facts()


def test_one_set_of_calls_is_enough(world: World) -> None:
    world.scenario["system"]["fail EfmlInit"] = 254
    bench = world.bench()
    (facts,) = bench.facts().facts().values()
    card = bench.read().card()
    assert card.values["power_watts"] == 128.5 and "health" in unsupported(facts)


def test_a_call_that_hangs_costs_its_metric_alone(world: World, make_child: Callable[..., Child]) -> None:
    child = world.child(make_child)
    child.tick(facts=True)
    world.scenario["card 0"]["hang efmlDeviceGetPowerUsage"] = 1
    world.scenario.write()
    child.tick(Tier.FAST)
    card = None
    for _ in range(3):
        child.clock.advance(5)
        card = child.tick(Tier.FAST).cards().get(UUID)
        if card is not None:
            break
    assert card is not None and card.failed["power_watts"] == "deadline"
    assert card.values["utilization_ratio"] == 0.55 and card.values["health"] == "ok"


def test_once_shows_it_through_the_real_agent(world: World) -> None:
    text = world.once()
    assert UUID in text and "128.5" in text


def test_one_card_that_hangs_at_its_place_costs_nobody_else(
    world: World, make_child: Callable[..., Child]
) -> None:
    world.card(1, S60, uuid=OTHER, serial="A0A1TEST00002", pci="0000:c1:00.0")
    world.scenario["card 0"]["hang EfmlGetDevInfo"] = 1
    child = world.child(make_child)
    cards: set[str] = set()
    for _ in range(4):
        cards |= set(child.tick(facts=True).cards())
        child.clock.advance(5)
    assert cards == {OTHER}  # and no card of another name in the place of the first
