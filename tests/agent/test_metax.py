"""MetaX through an emulated libmxsml.so: units, boards, sGPU and virtual functions, limited cards, PCI events, trouble."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.agent.handle_world import World, accounted, unsupported
from tests.agent.maker_bench import PCIE_SAYS, Child, children, of_the_bus, put_link

from ullage_agent.backend import Reading
from ullage_agent.backends.metax import backend
from ullage_agent.backends.metax.reader import open_reader
from ullage_agent.backends.metax.sources import SOURCES
from ullage_contract.catalogue import THROTTLE_REASONS, Tier, bit_names, keys
from ullage_contract.errors import NotPermitted, NotPresent
from ullage_contract.event import Severity
from ullage_contract.sample import Family

GIB = 1 << 30
KIB = 1 << 10
UUID = "GPU-c5000000-0000-0000-0000-000000000001"
OTHER = "GPU-c5000000-0000-0000-0000-000000000002"
C500: dict[str, object] = {
    "uuid": UUID,
    "name": "MXC500",
    "pci": "0000:0e:00.0",
    "brand": 2,
    "mode": 0,
    "serial": "AENATEST000001",
    "bios": "1.30.0.0",
    "driver": "3.4.4",
    "memory": "846264 67108864",
    "usage_4": 73,
    "usage_1": 2,
    "usage_2": 3,
    "power": "40000 30000 25500",
    "power_limit": 350000,
    "temperature_0": 5150,
    "temperature_1": 10800,
    "temperature_15": 4825,
    "fan": 2400,
    "clock_11": "1500 1480",
    "clock_3": "1600",
    "dpm_1": "800 1200 1600",
    "throttle": "0x44",
    "pcie": "16.0 8",
    "pcie_max": "32.0 16",
    "throughput": "12 34",
    "ports": "1 1 1 2 0 4 5",
    "ecc": "1 0 7 0 2",
    "sgpu": 0,
    "process 4711": GIB,
}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tmp_path, monkeypatch, backend, "mxsml", open_reader, vendor="9999")
    made.system(maca_version="3.3.0.15", rescan=1)
    made.card(0, C500)
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
    assert bit_names(THROTTLE_REASONS, throttle) == ["software_power_cap", "software_thermal"]
    assert {key: value for key, value in card.values.items() if key != "throttle_reasons"} == {
        "utilization_ratio": 0.73,
        "encoder_ratio": 0.02,
        "decoder_ratio": 0.03,
        "memory_used_bytes": 846264 * KIB,
        "memory_total_bytes": 64 * GIB,
        "power_watts": 95.5,
        "power_limit_watts": 350.0,
        "temperature_celsius": 51.5,
        "hotspot_temperature_celsius": 51.5,
        "memory_temperature_celsius": 48.25,
        "fan_rpm": 2400,
        "temperature_limit_celsius": 108.0,
        "clock_core_hertz": 1.5e9,
        "clock_memory_hertz": 1.6e9,
        "clock_core_max_hertz": 1.6e9,
        "pcie_generation": 4,
        "pcie_width": 8,
        "pcie_generation_max": 5,
        "pcie_width_max": 16,
        "pcie_rx_bytes_per_second": 12e6,
        "pcie_tx_bytes_per_second": 34e6,
        "links_total": 5,
        "links_active": 3,
        "ecc_corrected": 7,
        "ecc_uncorrected": 0,
        "sram_ecc_corrected": 1,
        "sram_ecc_uncorrected": 0,
        "retired_pages": 2,
        "health": "ok",
        "health_detail": "available",
        "processes": 1,
    }
    # of power and board power a card gives one, by how many sit on its board
    accounted(facts, {**card.values, "board_power_watts": 0}, card.failed)
    assert set(card.values) <= set(SOURCES) <= set(keys(Family.CARD)) | set(keys(Family.PROCESS))
    told = facts.attributes
    assert (told["model"], told["driver_version"], told["firmware_version"]) == (
        "MXC500",
        "3.4.4",
        "1.30.0.0",
    )
    assert told["runtime_version"] == "3.3.0.15" and told["board_id"] == "metax-AENATEST000001"
    # the process is on two cards: only what it holds here counts
    assert seen.processes()[f"{UUID}#4711"].values == {"process_memory_used_bytes": GIB}


def test_a_card_without_a_fan_or_stacked_memory_says_neither(world: World) -> None:
    card = world.card(0, C500)
    del card["fan"], card["temperature_15"]
    bench = world.bench()
    facts = bench.facts().facts()[UUID]
    assert {"fan_rpm", "memory_temperature_celsius"} <= unsupported(facts)
    assert not {"fan_rpm", "memory_temperature_celsius"} & set(bench.read().card().values)


def test_the_bus_says_link_and_errors_where_the_library_does_not(world: World) -> None:
    card = world.card(0, C500)
    put_link(world.root / "sys", "0000:0e:00.0")
    del card["pcie"], card["pcie_max"]
    bench = world.bench()
    bench.facts()
    assert of_the_bus(bench.read().card().values) == PCIE_SAYS


def test_an_n_card_is_asked_by_its_own_units(world: World) -> None:
    card = world.card(0, C500, brand=1, usage_0=41, clock_1="1300", clock_2="1000", dpm_0="1400")
    del card["usage_4"], card["clock_11"], card["clock_3"], card["dpm_1"]
    bench = world.bench()
    bench.facts()
    values = bench.read().card().values
    assert (values["utilization_ratio"], values["clock_core_hertz"]) == (0.41, 1.3e9)
    assert (values["clock_memory_hertz"], values["clock_core_max_hertz"]) == (1e9, 1.4e9)


def test_cards_of_one_board_give_its_power_as_the_boards(world: World) -> None:
    world.card(1, C500, uuid=OTHER, pci="0000:0f:00.0")
    bench = world.bench()
    bench.facts()
    for card in bench.read().cards().values():
        assert card.values["board_power_watts"] == 95.5 and "power_watts" not in card.values


def test_sgpus_are_slices(world: World) -> None:
    world.card(0, C500, sgpu=1)
    world.scenario["part 0.1"].update(
        {"quota": "25 16384", "uuid": "sGPU-1", "memory": f"{GIB} {16 * GIB}", "usage": 1234}
    )
    world.scenario["part 0.7"].update(
        {"quota": "50 8192", "uuid": "sGPU-7", "memory": f"0 {8 * GIB}", "usage": 0}
    )
    bench = world.bench()
    facts = bench.facts()
    assert facts.facts()[UUID].attributes["partition_mode"] == "sgpu"
    part = facts.facts(Family.SLICE)[f"{UUID}/sgpu1"]
    assert part.attributes["compute_share"] == 0.25 and part.attributes["memory_total_bytes"] == 16 * GIB
    assert part.attributes["uuid"] == "sGPU-1" and part.attributes["card_id"] == UUID
    rows = {i.subject: i for i in bench.read().items if isinstance(i, Reading) and i.family is Family.SLICE}
    assert rows[f"{UUID}/sgpu1"].values == {
        "memory_used_bytes": GIB,
        "memory_total_bytes": 16 * GIB,
        "utilization_ratio": pytest.approx(0.1234),
    }
    assert set(rows) == {f"{UUID}/sgpu1", f"{UUID}/sgpu7"}


def test_virtual_functions_are_slices_of_the_physical_card(world: World) -> None:
    world.card(0, C500, mode=1)
    world.scenario["part 0.2"].update(
        {"pci": "0000:0e:00.2", "uuid": "VF-2", "memory": "1024 8388608", "usage_4": 9}
    )
    bench = world.bench()
    facts = bench.facts()
    assert list(facts.facts()) == [UUID]
    assert facts.facts(Family.SLICE)[f"{UUID}/0000:0e:00.2"].attributes["uuid"] == "VF-2"
    rows = {i.subject: i for i in bench.read().items if isinstance(i, Reading) and i.family is Family.SLICE}
    assert rows[f"{UUID}/0000:0e:00.2"].values["memory_used_bytes"] == 1024 * KIB
    assert rows[f"{UUID}/0000:0e:00.2"].values["utilization_ratio"] == 0.09


def test_a_virtual_function_alone_in_a_virtual_machine_is_a_card(world: World) -> None:
    world.card(0, C500, mode=2)
    bench = world.bench()
    assert bench.facts().facts()[UUID].attributes["partition_mode"] == "sriov"


def test_a_card_that_is_not_available_says_why(world: World) -> None:
    bench = world.bench()
    bench.facts()
    bench.read()
    world.scenario["card 0"]["unavailable"] = "5 double bit ECC"
    world.scenario.write()
    seen = bench.read()
    assert seen.card().values["health"] == "critical"
    assert seen.card().values["health_detail"] == "not available: double bit ECC (5)"
    assert "unavailable:5" in {event.code for event in seen.events("ras")}
    assert bench.read().events("ras") == []


def test_a_limited_card_keeps_its_name_and_is_critical(world: World) -> None:
    world.card(1, C500, uuid=OTHER, pci="0000:0f:00.0", serial="AENATEST000002")
    bench = world.bench()
    bench.facts()
    world.scenario["card 0"]["limited"] = 1
    world.scenario.write()
    seen = bench.read()
    assert seen.events("card_lost") == []
    assert seen.cards()[UUID].values["health"] == "critical"
    assert "power_watts" not in seen.cards()[UUID].values
    assert [(e.code, e.severity) for e in seen.events("ras") if e.code == "limited"] == [
        ("limited", Severity.CRITICAL)
    ]
    assert seen.cards()[OTHER].values["power_watts"] == 95.5


@pytest.mark.parametrize(
    ("kind", "code", "severity"),
    [(0, "AER_UE:4", Severity.CRITICAL), (1, "AER_CE:4", Severity.WARNING), (3, "DBE:4", Severity.CRITICAL)],
)
def test_a_pci_event_is_told_once_by_its_name(world: World, kind: int, code: str, severity: Severity) -> None:
    bench = world.bench()
    bench.facts()
    bench.read()
    world.scenario["card 0"][f"event_{kind}"] = "4 2 Data Link Protocol"
    world.scenario.write()
    told = {event.code: event for event in bench.read().events("ras")}
    assert told[code].severity is severity and "Data Link Protocol" in told[code].message
    assert bench.read().events("ras") == []


def test_a_link_port_that_is_down_is_told(world: World) -> None:
    world.card(0, C500, ports="1 1 1 1 1 1 1")
    bench = world.bench()
    bench.facts()
    assert bench.read().card().values["links_active"] == 7
    world.scenario["card 0"]["ports"] = "1 1 1 1 1 1 3"
    world.scenario.write()
    seen = bench.read()
    assert [e.message for e in seen.events("ras") if e.code == "metaxlink"] == ["MetaXLink ports down: 6"]
    assert seen.card().values["links_active"] == 6


def test_an_older_release_lists_processes_the_old_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, monkeypatch, backend, "mxsml", open_reader, vendor="9999", defines=("OLD",))
    world.system(rescan=1)
    world.card(0, C500)
    bench = world.bench()
    facts = bench.facts()
    assert facts.facts()[UUID].attributes["partition_mode"] == "none" and not facts.facts(Family.SLICE)
    assert bench.read().processes()[f"{UUID}#4711"].values == {"process_memory_used_bytes": GIB}


def test_an_index_that_moved_never_gives_another_cards_values(world: World) -> None:
    third = "GPU-c5000000-0000-0000-0000-000000000003"
    world.card(1, C500, uuid=OTHER, pci="0000:0f:00.0", serial="AENATEST000002", power="10000 0 0")
    world.card(2, C500, uuid=third, pci="0000:10:00.0", serial="AENATEST000003", power="20000 0 0")
    bench = world.bench()
    bench.facts()
    world.scenario["card 1"]["gone"] = 1
    world.scenario.write()
    seen = bench.read(Tier.FAST)
    watts = {card: reading.values.get("power_watts") for card, reading in seen.cards().items()}
    assert watts == {UUID: 95.5, OTHER: None, third: 20.0}
    assert seen.cards()[OTHER].values["health"] == "lost"
    assert [e.subject for e in seen.events()] == [OTHER], "who only moved was never lost"


def test_a_card_that_cannot_be_named_after_the_indexes_moved_tells_nothing(world: World) -> None:
    """Not known whose values they are: failed, and never the values of the card that sat there before."""
    world.card(1, C500, uuid=OTHER, pci="0000:0f:00.0", serial="AENATEST000002", power="10000 0 0")
    bench = world.bench()
    bench.facts()
    world.scenario["card 0"]["gone"] = 1
    world.scenario["card 1"]["fail mxSmlGetDeviceInfo"] = 5
    world.scenario.write()
    for tier in (Tier.FAST, Tier.SLOW):
        for reading in bench.read(tier).cards().values():
            assert "power_watts" not in reading.values


def test_a_sysfs_error_of_one_call_is_that_metrics_alone(world: World) -> None:
    del world.scenario["card 0"]["throttle"]  # driver 2.12 answers "Sysfs error"
    bench = world.bench()
    bench.facts()
    card = bench.read().card()
    assert card.failed["throttle_reasons"] == "broken" and card.values["power_watts"] == 95.5


def test_garbage_is_failed_and_never_a_number(world: World) -> None:
    world.card(
        0,
        C500,
        usage_4=-3,
        temperature_0=99900,
        memory="9 8",
        power="4294000000 1 1",
        pcie="3.3 8",
        name="@garbage",
    )
    bench = world.bench()
    facts = bench.facts().facts()[UUID]
    card = bench.read().card()
    wrong = {"utilization_ratio", "temperature_celsius", "memory_used_bytes", "power_watts"}
    assert wrong <= set(card.failed) and not wrong & set(card.values)
    assert "model" not in facts.attributes


def test_a_symbol_this_release_lacks_is_unsupported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(
        tmp_path,
        monkeypatch,
        backend,
        "mxsml",
        open_reader,
        vendor="9999",
        hidden=("mxSmlGetTotalEccErrors", "mxSmlGetBoardPowerLimit"),
    )
    world.system(rescan=1)
    world.card(0, C500)
    bench = world.bench()
    facts = bench.facts().facts()[UUID]
    card = bench.read().card()
    assert {"ecc_uncorrected", "retired_pages", "power_limit_watts"} <= unsupported(facts)
    assert card.values["power_watts"] == 95.5


def test_cards_are_discovered_anew_after_one_failed(world: World, make_child: Callable[..., Child]) -> None:
    """The library finds cards once; a card that came back is seen because it is asked to look again."""
    del world.scenario["system"]["rescan"]
    world.card(1, C500, uuid=OTHER, pci="0000:0f:00.0", serial="AENATEST000002")
    child = world.child(make_child)
    assert set(child.tick(facts=True).cards()) == {UUID, OTHER}
    world.scenario["card 1"]["gone"] = 1
    world.scenario.write()
    child.tick()
    seen = [child.tick() for _ in range(2)]
    assert (
        seen[-1].cards()[OTHER].values.get("health") == "lost"
        and seen[-1].cards()[UUID].values["power_watts"] == 95.5
    )
    del world.scenario["card 1"]["gone"]
    world.scenario.write()
    events = [event for _ in range(3) for event in child.tick().events("card_back")]
    assert [event.subject for event in events] == [OTHER]


def test_no_card_and_no_permission_say_so(world: World, make_child: Callable[..., Child]) -> None:
    world.scenario["system"]["fail mxSmlInit"] = 2
    with pytest.raises(NotPresent, match="no MetaX device"):
        world.bench().facts()
    world.scenario["system"]["fail mxSmlInit"] = 8
    with pytest.raises(NotPermitted, match="/dev/mxcd"):
        world.bench().facts()


def test_a_call_that_hangs_costs_its_metric_alone(world: World, make_child: Callable[..., Child]) -> None:
    child = world.child(make_child)
    child.tick(facts=True)
    world.scenario["card 0"]["hang mxSmlGetBoardPowerInfo"] = 1
    world.scenario.write()
    child.tick(Tier.FAST)
    card = None
    for _ in range(3):
        child.clock.advance(5)
        card = child.tick(Tier.FAST).cards().get(UUID)
        if card is not None:
            break
    assert card is not None and card.failed["power_watts"] == "deadline"
    assert card.values["utilization_ratio"] == 0.73 and card.values["health"] == "ok"


def test_once_shows_it_through_the_real_agent(world: World) -> None:
    text = world.once()
    assert UUID in text and "95.5" in text


def test_an_alarm_that_cannot_be_asked_now_is_not_told_again(world: World) -> None:
    world.card(0, C500, event_3="1 1 device base")
    bench = world.bench()
    bench.facts()
    assert "DBE:1" in {event.code for event in bench.read().events("ras")}
    world.scenario["card 0"]["fail mxSmlGetPciEventInfo"] = 4
    world.scenario.write()
    assert bench.read().events("ras") == []
    del world.scenario["card 0"]["fail mxSmlGetPciEventInfo"]
    world.scenario.write()
    assert bench.read().events("ras") == []
