"""Kunlunxin through an emulated libxpuml.so: units, boards of two devices, virtual functions, states, trouble."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.agent.handle_world import World, accounted, unsupported
from tests.agent.maker_bench import PCIE_SAYS, Child, children, of_the_bus, put_link

from ullage_agent.backends.kunlunxin import backend
from ullage_agent.backends.kunlunxin.reader import open_reader
from ullage_agent.backends.kunlunxin.sources import SOURCES
from ullage_agent.detection import by_ids, pci_devices
from ullage_contract.catalogue import Tier, keys
from ullage_contract.errors import NotPermitted, NotPresent
from ullage_contract.event import Severity
from ullage_contract.sample import Family

GIB = 1 << 30
P800: dict[str, object] = {
    "pci": "0000:03:00.0",
    "pci_device_id": "0x36881d22",
    "serial": "02K00TEST0000001",
    "model": 9999,
    "memory_total": 96 * GIB,
    "memory_used": 3 * GIB,
    "utilization": "87 31",
    "power_mw": 310250,
    "temperature": 61,
    "clock": 1450,
    "state": 201,
    "process 4711": 2 * GIB,
}
FIRST = "kunlunxin-02K00TEST0000001"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tmp_path, monkeypatch, backend, "xpuml", open_reader, vendor="1d22")
    made.system(driver_version="5.0.21.26")
    made.card(0, P800)
    return made


@pytest.fixture
def make_child() -> Iterator[Callable[..., Child]]:
    yield from children()


def test_every_number_comes_out_in_our_units(world: World) -> None:
    bench = world.bench()
    facts = bench.facts().facts()[FIRST]
    seen = bench.read()
    card = seen.card()
    assert card.values == {
        "utilization_ratio": 0.87,
        "memory_bandwidth_ratio": 0.31,
        "memory_used_bytes": 3 * GIB,
        "memory_total_bytes": 96 * GIB,
        "power_watts": 310.25,
        "temperature_celsius": 61.0,
        "clock_core_hertz": 1.45e9,
        "health": "ok",
        "health_detail": "running (201)",
        "reset_required": 0,
        "recovery_action": "none",
        "processes": 1,
    }
    assert not card.failed
    accounted(facts, card.values, card.failed)
    assert set(card.values) <= set(SOURCES) <= set(keys(Family.CARD)) | set(keys(Family.PROCESS))
    assert facts.attributes["model"] == "P800" and facts.attributes["driver_version"] == "5.0.21.26"
    assert facts.attributes["pci_address"] == "0000:03:00.0" and facts.attributes["numa_node"] == 1
    ((subject, row),) = seen.processes().items()
    assert subject == f"{FIRST}#4711" and row.values == {"process_memory_used_bytes": 2 * GIB}


def test_the_bus_says_link_and_errors(world: World) -> None:
    put_link(world.root / "sys", "0000:03:00.0")
    bench = world.bench()
    bench.facts()
    assert of_the_bus(bench.read().card().values) == PCIE_SAYS


def test_a_fast_tick_asks_only_what_is_fast(world: World) -> None:
    bench = world.bench()
    bench.facts()
    card = bench.read(Tier.FAST).card()
    assert "processes" not in card.values and card.values["power_watts"] == 310.25


def test_a_k200_is_two_cards_and_its_power_is_the_boards(world: World) -> None:
    k200 = {"pci": "0000:1a:00.0", "serial": "00000000000002aa", "model": 0, "power_mw": 88250}
    world.card(0, P800, **k200)
    world.card(1, P800, **k200)
    bench = world.bench()
    facts = bench.facts().facts()
    assert list(facts) == ["kunlunxin-00000000000002aa-c0", "kunlunxin-00000000000002aa-c1"]
    assert {f.attributes["board_id"] for f in facts.values()} == {"kunlunxin-00000000000002aa"}
    for card in bench.read().cards().values():
        assert card.values["board_power_watts"] == 88.25 and "power_watts" not in card.values
    assert "power_watts" in unsupported(facts["kunlunxin-00000000000002aa-c0"])


def test_virtual_functions_are_slices_of_their_card(world: World) -> None:
    serial = {"serial": "02K00TEST0000009"}
    world.card(0, P800, pci="0000:1a:00.0", model=200, **serial)
    world.card(1, P800, pci="0000:1a:00.1", model=202, memory_total=7 * GIB, memory_used=GIB, **serial)
    world.card(2, P800, pci="0000:1a:00.2", model=202, memory_total=7 * GIB, utilization="12 0", **serial)
    bench = world.bench()
    facts = bench.facts()
    assert list(facts.facts()) == ["kunlunxin-02K00TEST0000009"]
    slices = facts.facts(Family.SLICE)
    first = slices["kunlunxin-02K00TEST0000009/0000:1a:00.1"]
    assert len(slices) == 2 and first.attributes["compute_share"] == 0.5
    assert first.attributes["card_id"] == "kunlunxin-02K00TEST0000009"
    readings = {
        i.subject: i
        for i in bench.read().items
        if getattr(i, "family", None) is Family.SLICE and hasattr(i, "values")
    }
    assert readings["kunlunxin-02K00TEST0000009/0000:1a:00.2"].values["utilization_ratio"] == 0.12


@pytest.mark.parametrize(
    ("state", "word", "detail"),
    [
        (0, "ok", "unused (0)"),
        (205, "degraded", "in reset (205)"),
        (207, "critical", "error (207)"),
        (208, "critical", "exception (208)"),
    ],
)
def test_a_state_becomes_a_health_word_and_keeps_its_own(
    world: World, state: int, word: str, detail: str
) -> None:
    world.card(0, P800, state=state)
    bench = world.bench()
    bench.facts()
    seen = bench.read()
    assert (seen.card().values["health"], seen.card().values["health_detail"]) == (word, detail)
    assert [e.code for e in seen.events("ras")] == ([str(state)] if word == "critical" else [])
    assert bench.read().events("ras") == []  # told once


def test_a_state_nobody_knows_is_failed_and_not_healthy(world: World) -> None:
    world.card(0, P800, state=999)
    bench = world.bench()
    bench.facts()
    card = bench.read().card()
    assert card.failed["health"] == "broken" and "health" not in card.values


def test_a_required_reset_is_said(world: World) -> None:
    world.scenario["card 0"]["fail xpumlDeviceGetState"] = 16
    bench = world.bench()
    bench.facts()
    seen = bench.read()
    assert seen.card().values["recovery_action"] == "reset" and seen.card().values["reset_required"] == 1
    assert [(e.code, e.severity) for e in seen.events("ras")] == [("reset_required", Severity.CRITICAL)]


def test_garbage_is_failed_and_never_a_number(world: World) -> None:
    world.card(
        0,
        P800,
        utilization="4000000000 7",
        power_mw=70000000,
        temperature=60000,
        memory_used=200 * GIB,
        clock=900000,
    )
    bench = world.bench()
    bench.facts()
    card = bench.read().card()
    wrong = {
        "utilization_ratio",
        "power_watts",
        "temperature_celsius",
        "memory_used_bytes",
        "clock_core_hertz",
    }
    assert wrong <= set(card.failed) and not wrong & set(card.values)


def test_a_symbol_this_release_lacks_is_unsupported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(
        tmp_path,
        monkeypatch,
        backend,
        "xpuml",
        open_reader,
        vendor="1d22",
        hidden=("xpumlDeviceGetPowerUsage", "xpumlDeviceGetComputeRunningProcesses"),
    )
    world.card(0, P800)
    bench = world.bench()
    facts = bench.facts().facts()[FIRST]
    card = bench.read().card()
    assert {"power_watts", "processes"} <= unsupported(facts)
    assert "power_watts" not in card.values and "power_watts" not in card.failed
    assert card.values["temperature_celsius"] == 61.0


def test_a_vanished_card_is_lost_and_comes_back(world: World) -> None:
    world.card(1, P800, pci="0000:05:00.0", serial="02K00TEST0000002")
    bench = world.bench()
    bench.facts()
    world.scenario["card 0"]["lost"] = 1
    world.scenario.write()
    seen = bench.read()
    assert seen.cards()[FIRST].values["health"] == "lost" and len(seen.cards()[FIRST].values) == 2
    assert seen.cards()["kunlunxin-02K00TEST0000002"].values["power_watts"] == 310.25
    assert [(e.subject, e.severity) for e in seen.events("card_lost")] == [(FIRST, Severity.FATAL)]
    assert bench.read().events("card_lost") == []
    del world.scenario["card 0"]["lost"]
    world.scenario.write()
    back = bench.read()
    assert [e.subject for e in back.events("card_back")] == [FIRST]
    assert back.cards()[FIRST].values["power_watts"] == 310.25


def test_an_index_that_moves_does_not_move_the_card(world: World) -> None:
    world.card(1, P800, pci="0000:05:00.0", serial="02K00TEST0000002", power_mw=99000)
    bench = world.bench()
    bench.facts()
    world.scenario["card 0"]["gone"] = 1
    world.scenario.write()
    seen = bench.read()
    assert seen.cards()["kunlunxin-02K00TEST0000002"].values["power_watts"] == 99.0
    assert [e.subject for e in seen.events("card_lost")] == [FIRST]


def test_no_permission_says_what_to_do(world: World) -> None:
    world.scenario["system"]["fail xpumlInit"] = 4
    with pytest.raises(NotPermitted, match="root or make the device nodes readable"):
        world.bench().facts()


def test_a_missing_library_says_what_was_tried(world: World) -> None:
    with pytest.raises(NotPresent, match=r"no-such-file\.so"):
        world.bench(library="/no-such-file.so").facts()


def test_a_call_that_hangs_costs_its_metric_alone(world: World, make_child: Callable[..., Child]) -> None:
    child = world.child(make_child)
    child.tick(facts=True)
    world.scenario["card 0"]["hang xpumlDeviceGetTemperature"] = 1
    world.scenario.write()
    child.tick()
    for _ in range(3):
        child.clock.advance(5)
        card = child.tick(facts=True).cards().get(FIRST)
        if card is not None:
            break
    assert card is not None and card.failed["temperature_celsius"] == "deadline"
    assert card.values["power_watts"] == 310.25 and card.values["health"] == "ok"


def test_it_is_found_on_the_bus_before_anything_is_loaded(world: World) -> None:
    host = world.host()
    found = by_ids(host, backend, pci_devices(host.sysfs))
    assert found.present and found.cards_expected == 1


def test_once_shows_it_through_the_real_agent(world: World) -> None:
    text = world.once()
    assert FIRST in text and "310.25" in text


def test_a_serial_that_cannot_be_read_now_does_not_rename_the_card(world: World) -> None:
    bench = world.bench()
    bench.facts()
    world.scenario["card 0"]["fail xpumlDeviceGetSerial"] = 10  # a timeout
    world.scenario.write()
    seen = bench.read()
    assert list(seen.cards()) == [FIRST] and seen.events() == []


def test_a_card_whose_very_name_hangs_costs_nobody_else(
    world: World, make_child: Callable[..., Child]
) -> None:
    world.card(1, P800, pci="0000:05:00.0", serial="02K00TEST0000002")
    world.scenario["card 0"]["hang xpumlDeviceGetSerial"] = 1
    child = world.child(make_child)
    cards: set[str] = set()
    for _ in range(4):
        cards |= set(child.tick(facts=True).cards())
        child.clock.advance(5)
    assert cards == {"kunlunxin-02K00TEST0000002"}  # and no card of another name in its place
