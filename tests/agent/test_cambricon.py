"""Cambricon cards against an emulated libcndev.so: versions, units, sentinels, incidents, slices, XIDs, hangs, losses."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.agent.maker_bench import (
    PCIE_SAYS,
    Bench,
    Child,
    Seen,
    children,
    of_the_bus,
    pci_function,
    put,
    put_link,
)
from tests.agent.once import once
from tests.agent.scenario_file import Scenario
from tests.emulators.build import build

from ullage_agent.backend import Host, Reading
from ullage_agent.backends.cambricon import backend
from ullage_agent.backends.cambricon.incidents import CODES
from ullage_agent.backends.cambricon.reader import open_reader
from ullage_agent.backends.cambricon.sources import SOURCES
from ullage_contract.catalogue import THROTTLE_REASONS, Tier, bits_of, keys
from ullage_contract.errors import NotPermitted, NotPresent
from ullage_contract.event import Severity
from ullage_contract.sample import Family

MIB = 1 << 20
UUID = "77013006-2457-0000-0000-000000000001"
OTHER = "77013006-2457-0000-0000-000000000002"

MLU590: dict[str, object] = {
    "uuid": UUID,
    "sn": "b4000123456",
    "pci": "0000:0f:00.0",
    "name": "MLU590-M9",
    "driver": "5.10.31",
    "cores": 32,
    "memory": "81920 71123 512",
    "utilization": 98,
    "cpu": 4,
    "codec": "10 30 7",
    "power": "402 550",
    "temperature": "58 41 63 60",
    "frequency": "1000 1600 1300",
    "voltage": 870,
    "throttle": "1 0 0 0 1 0",
    "memecc": "1 0 2 5 0 50 1",
    "ecc": "77 7",
    "processes": "4711 1048576 4712 8",
    "health": "1 4 0",
    "heartbeat": 12345,
    "replays": 9,
    "pcie": "5000 6000",
    "ports": 3,
    "macs": "1 0 3",
    "link_counters": "100 200 3 4 5",
    "rows_v2": "2 1",
    "pages": "8 9",
    "repair": "0 0 0",
}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scenario:
    scenario = Scenario(tmp_path)
    monkeypatch.setenv("ULLAGE_CAMBRICON_SCENARIO", str(scenario.path))
    scenario["card 0"].update(MLU590)
    scenario.write()
    return scenario


@pytest.fixture
def child() -> Iterator[Callable[..., Child]]:
    yield from children()


def host(tmp_path: Path, library: Path | None = None) -> Host:
    # a copy each: the emulator's queue of XIDs lives as long as its library
    own = tmp_path / "libcndev.so"
    if not own.exists():
        shutil.copy(library or build("cambricon"), own)
    return Host("n1", tmp_path / "sys", tmp_path / "proc", tmp_path / "dev", {"library": str(own)})


def bench(tmp_path: Path, library: Path | None = None) -> Bench:
    return Bench(open_reader(host(tmp_path, library)))


def slices(seen: Seen) -> dict[str, Reading]:
    return {i.subject: i for i in seen.items if isinstance(i, Reading) and i.family is Family.SLICE}


def test_every_number_arrives_in_the_catalogues_unit(world: Scenario, tmp_path: Path) -> None:
    made = bench(tmp_path)
    made.facts()
    reading = made.read().card()
    assert reading.subject == UUID
    assert reading.failed == {}
    assert reading.values == {
        "health": "ok",
        "health_detail": "good",
        "utilization_ratio": 0.98,
        "memory_total_bytes": 81920 * MIB,
        "memory_used_bytes": 71123 * MIB,
        "memory_reserved_bytes": 512 * MIB,
        "power_watts": 402.0,
        "power_limit_watts": 550.0,
        "temperature_celsius": 58.0,
        "board_temperature_celsius": 41.0,
        "memory_temperature_celsius": 63.0,
        "clock_core_hertz": 1e9,
        "clock_core_max_hertz": 1.3e9,
        "clock_memory_hertz": 1.6e9,
        "throttle_reasons": bits_of(THROTTLE_REASONS, ["software_power_cap", "hardware_power_brake"]),
        "encoder_ratio": 0.2,
        "decoder_ratio": 0.07,
        "control_cpu_ratio": 0.04,
        "pcie_rx_bytes": 5000,
        "pcie_tx_bytes": 6000,
        "link_rx_bytes": 300,
        "link_tx_bytes": 600,
        "link_replay_errors": 9,
        "link_crc_errors": 27,
        "links_total": 3,
        "links_active": 2,
        "ecc_corrected": 5,
        "ecc_uncorrected": 0,
        "ecc_corrected_lifetime": 50,
        "ecc_uncorrected_lifetime": 1,
        "sram_ecc_corrected": 1,
        "sram_ecc_uncorrected": 2,
        "retired_pages": 3,
        "retired_pages_corrected": 2,
        "retired_pages_uncorrected": 1,
        "remap_pending": 0,
        "remap_failure": 0,
        "recovery_action": "none",
        "heartbeat": 12345,
        "pcie_replays": 9,
        "voltage_volts": 0.87,
        "processes": 2,
    }
    assert set(reading.values) <= set(SOURCES)


def test_the_bus_says_link_and_errors(world: Scenario, tmp_path: Path) -> None:
    pci_function(tmp_path / "sys", "0000:0f:00.0", "cabc", "0590", "120000")
    put_link(tmp_path / "sys", "0000:0f:00.0")
    made = bench(tmp_path)
    made.facts()
    assert of_the_bus(made.read().card().values) == PCIE_SAYS


def test_facts_say_who_and_where_it_is(world: Scenario, tmp_path: Path) -> None:
    pci_function(tmp_path / "sys", "0000:0f:00.0", "cabc", "0590", "120000", numa_node=1)
    facts = bench(tmp_path).facts().facts()[UUID].attributes
    expected = {
        "vendor": "cambricon",
        "model": "MLU590-M9",
        "uuid": UUID,
        "serial": "b4000123456",
        "pci_address": "0000:0f:00.0",
        "index": 0,
        "numa_node": 1,
        "device_node": "/dev/cambricon_dev0",
        "driver_version": "5.10.31",
        "firmware_version": "1.1.6",
        "memory_total_bytes": 81920 * MIB,
        "partition_mode": "none",
        "util_kind": "core_mean",
    }
    assert {name: facts.get(name) for name in expected} == expected
    assert "energy_joules" in (facts["unsupported"] or ())  # type: ignore[operator]


@pytest.mark.parametrize("version", [6, 5, 4])
def test_a_library_of_an_older_api_is_spoken_to_in_its_version(
    world: Scenario, tmp_path: Path, version: int
) -> None:
    world["system"]["version"] = version
    world.write()
    made = bench(tmp_path)
    made.facts()
    values = made.read().card().values
    assert (values["utilization_ratio"], values["temperature_celsius"], values["processes"]) == (
        0.98,
        58.0,
        2,
    )


def test_a_library_before_v2_gives_what_it_has(world: Scenario, tmp_path: Path) -> None:
    hidden = (
        "cndevGetMemoryUsageV2",
        "cndevGetDevicePowerInfo",
        "cndevGetCardHealthStateV2",
        "cndevGetMemEccCounter",
        "cndevGetRemappedRowsV2",
        "cndevGetRepairStatus",
        "cndevEventHandleCreate",
    )
    made = bench(tmp_path, build("cambricon", hidden=hidden))
    unsupported = made.facts().facts()[UUID].attributes["unsupported"]
    values = made.read().card().values
    assert (values["memory_used_bytes"], values["power_watts"], values["health"]) == (
        71123 * MIB,
        402.0,
        "ok",
    )
    assert (values["ecc_corrected"], values["ecc_uncorrected"]) == (77, 7)
    assert (values["retired_pages_corrected"], values["retired_pages_uncorrected"]) == (8, 9)
    assert {"memory_reserved_bytes", "remap_pending", "ecc_corrected_lifetime"} <= set(unsupported or ())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("key", "sentinel", "metric"),
    [
        ("power", "-1 550", "power_watts"),
        ("power", "0 550", "power_watts"),
        ("memory", "81920 99999 0", "memory_used_bytes"),
        ("memory", "-1 -1 -1", "memory_total_bytes"),
        ("utilization", 255, "utilization_ratio"),
        ("utilization", -1, "utilization_ratio"),
        ("temperature", "-1 -1 -1 -1", "temperature_celsius"),
        ("frequency", "0 0 0", "clock_core_hertz"),
        ("incident_count", 4000000000, "health"),
        ("pcie", "-1 -1", "pcie_rx_bytes"),
        ("voltage", -1, "voltage_volts"),
    ],
)
def test_a_sentinel_is_failed_and_never_a_number(
    world: Scenario, tmp_path: Path, key: str, sentinel: object, metric: str
) -> None:
    made = bench(tmp_path)
    made.facts()
    world["card 0"][key] = sentinel
    world.write()
    reading = made.read().card()
    assert reading.failed.get(metric) == "broken"
    assert metric not in reading.values and "heartbeat" in reading.values


def test_a_sensor_that_is_not_there_is_left_out(world: Scenario, tmp_path: Path) -> None:
    world["card 0"]["temperature"] = "0 41 0 60"
    world.write()
    made = bench(tmp_path)
    made.facts()
    values = made.read().card().values
    assert (values["temperature_celsius"], values["board_temperature_celsius"]) == (60.0, 41.0)
    assert "memory_temperature_celsius" not in values


def test_more_processes_than_room_are_all_listed(world: Scenario, tmp_path: Path) -> None:
    put(tmp_path / "proc", {"1000/comm": "python3"})
    world["card 0"]["many"] = 200
    world.write()
    made = bench(tmp_path)
    made.facts()
    seen = made.read()
    assert seen.card().values["processes"] == 200
    assert seen.processes()[f"{UUID}#1000"].values == {"process_memory_used_bytes": 1024}
    assert seen.facts(Family.PROCESS)[f"{UUID}#1000"].attributes["command"] == "python3"


def test_soft_slices_show_their_quota_and_use(world: Scenario, tmp_path: Path) -> None:
    world["card 0"]["smlu"] = f"3 25 20 {20480 * MIB} {1024 * MIB} 25.20gb"
    world.write()
    made = bench(tmp_path)
    seen = made.facts()
    assert seen.facts()[UUID].attributes["partition_mode"] == "smlu"
    assert seen.facts(Family.SLICE)[f"{UUID}/smlu-3"].attributes == {
        "vendor": "cambricon",
        "card_id": UUID,
        "profile": "25.20gb",
        "compute_share": 0.25,
        "memory_share": 0.25,
        "memory_total_bytes": 20480 * MIB,
    }
    assert slices(made.read())[f"{UUID}/smlu-3"].values == {
        "utilization_ratio": 0.8,
        "memory_used_bytes": 1024 * MIB,
        "memory_total_bytes": 20480 * MIB,
    }


def test_hard_slices_show_their_shares(world: Scenario, tmp_path: Path) -> None:
    world["card 0"]["mim"] = "1 8 10240 2m.10gb"
    world.write()
    seen = bench(tmp_path).facts()
    assert seen.facts()[UUID].attributes["partition_mode"] == "mim"
    attributes = seen.facts(Family.SLICE)[f"{UUID}/mim-1"].attributes
    assert (attributes["compute_share"], attributes["memory_share"]) == (0.25, 0.125)


# ---- health


def test_incidents_are_told_once_with_cambricons_name(world: Scenario, tmp_path: Path) -> None:
    made = bench(tmp_path)
    made.facts()
    made.read()
    del world["card 0"]["repair"]
    world["card 0"].update(
        {"health": "1 4 10", "incidents": f"16:10:{CODES.index('PENDING_ROW_REMAP')}:bank7 1:10:5:gen3"}
    )
    world.write()
    made.facts()
    seen = made.read()
    told = {event.code: event for event in seen.events("ras")}
    assert told["PENDING_ROW_REMAP"].severity is Severity.WARNING
    assert "memory: PENDING_ROW_REMAP: bank7" in told["PENDING_ROW_REMAP"].message
    values = seen.card().values
    assert (values["health"], values["health_detail"]) == (
        "degraded",
        "good WARN PENDING_ROW_REMAP PCIE_GENERATION",
    )
    assert (values["remap_pending"], values["recovery_action"]) == (1, "drain_and_reset")
    assert [e.code for e in made.read().events("ras")] == []


@pytest.mark.parametrize(
    ("state", "incidents", "word"),
    [
        ("0 4 0", "", "critical"),
        ("1 5 0", "", "critical"),
        ("1 2 0", "", "degraded"),
        ("1 4 10", "", "degraded"),
        ("1 4 20", "", "critical"),
        ("1 4 10", f"16:10:{CODES.index('DBE_VIOLATION')}:x", "critical"),
        ("7 4 0", "", "critical"),
        ("1 99 0", "", "degraded"),
    ],
)
def test_states_in_our_words(world: Scenario, tmp_path: Path, state: str, incidents: str, word: str) -> None:
    world["card 0"].update({"health": state, "incidents": incidents})
    world.write()
    made = bench(tmp_path)
    made.facts()
    assert made.read(Tier.FAST).card().values["health"] == word


def test_a_card_that_only_says_in_problem_is_critical(world: Scenario, tmp_path: Path) -> None:
    made = bench(tmp_path)
    made.facts()
    world["card 0"]["fail"] = "cndevGetCardHealthStateV2 18"
    world.write()
    reading = made.read().card()
    assert (reading.values["health"], reading.values["power_watts"]) == ("critical", 402.0)
    world["card 0"]["fail"] = "cndevGetDeviceUtilizationInfo 18"
    world.write()
    assert made.read().card().failed["utilization_ratio"] == "broken"


def test_xids_come_as_events_of_their_card(world: Scenario, tmp_path: Path) -> None:
    made = bench(tmp_path)
    made.facts()
    assert made.read(Tier.FAST).events() == []
    world["system"].update({"xid0": "0 17", "xid1": "0 18"})
    world.write()
    events = made.read(Tier.FAST).events("ras")
    assert [(e.code, e.subject, e.severity) for e in events] == [
        ("xid:0x11", UUID, Severity.WARNING),
        ("xid:0x12", UUID, Severity.WARNING),
    ]
    assert made.read(Tier.FAST).events() == []


def test_new_uncorrected_errors_are_an_event(world: Scenario, tmp_path: Path) -> None:
    made = bench(tmp_path)
    made.facts()
    made.read()
    world["card 0"]["memecc"] = "1 0 2 5 1 50 2"
    world.write()
    assert [e.severity for e in made.read().events("ecc_uncorrected")] == [Severity.CRITICAL]


# ---- loss, permission, hang


def test_a_vanished_card_is_lost_and_moved_indexes_mix_nobody_up(world: Scenario, tmp_path: Path) -> None:
    world["card 1"].update({**MLU590, "uuid": OTHER, "power": "111 550", "pci": "0000:12:00.0"})
    world.write()
    made = bench(tmp_path)
    made.facts()
    made.read()
    world["card 0"]["gone"] = 1
    world.write()
    fast = made.read(Tier.FAST)
    assert set(fast.cards()[UUID].values) == {"health", "health_detail"}
    seen = made.read()
    assert seen.cards()[UUID].values["health"] == "lost"
    assert seen.cards()[OTHER].values["power_watts"] == 111.0
    assert [e.subject for e in [*fast.events("card_lost"), *seen.events("card_lost")]] == [UUID]
    del world["card 0"]["gone"]
    world.write()
    back = made.read()
    assert [e.subject for e in back.events("card_back")] == [UUID]
    assert back.cards()[UUID].values["power_watts"] == 402.0


@pytest.mark.compiler
def test_a_handle_that_is_an_index_never_gives_another_cards_values(world: Scenario, tmp_path: Path) -> None:
    for number, watts in ((1, "111 550"), (2, "222 550")):
        uuid = f"7701300{6 + number}-0000-0000-0000-000000000000"
        world[f"card {number}"].update(
            {**MLU590, "uuid": uuid, "power": watts, "pci": f"0000:1{number}:00.0"}
        )
    world.write()
    made = bench(tmp_path, build("cambricon", defines=("INDEX_HANDLES",)))
    first, second, third = made.facts().facts()
    world["card 1"]["gone"] = 1
    world.write()
    seen = made.read(Tier.FAST)
    watts = {card: reading.values.get("power_watts") for card, reading in seen.cards().items()}
    assert watts == {first: 402.0, second: None, third: 222.0}
    assert seen.cards()[second].values["health"] == "lost"
    assert [e.subject for e in seen.events()] == [second], "who only moved was never lost"


def test_no_driver_and_no_permission_are_two_answers(world: Scenario, tmp_path: Path) -> None:
    world["system"]["fail"] = "cndevInit 1"
    world.write()
    with pytest.raises(NotPresent, match="driver is not loaded"):
        bench(tmp_path).facts()
    world["system"]["fail"] = "cndevInit 13"
    world.write()
    with pytest.raises(NotPermitted, match="cambricon_dev"):
        bench(tmp_path).facts()


def test_a_machine_without_cards_is_no_error(world: Scenario, tmp_path: Path) -> None:
    world["system"]["fail"] = "cndevGetDeviceCount 12"
    world.write()
    assert bench(tmp_path).facts().items == []


def test_a_trouble_of_identity_does_not_make_another_card(world: Scenario, tmp_path: Path) -> None:
    made = bench(tmp_path)
    made.facts()
    world["card 0"]["fail"] = "cndevGetUUID 17"
    world.write()
    seen = made.read()
    assert set(seen.cards()) == {UUID} and seen.card().values["power_watts"] == 402.0
    assert seen.events("card_lost") == []


@pytest.mark.compiler
def test_a_call_that_hangs_costs_that_metric_and_nothing_else(
    world: Scenario, tmp_path: Path, child: Callable[..., Child]
) -> None:
    made = child(backend, host(tmp_path))
    assert made.tick(facts=True).card().values["temperature_celsius"] == 58
    world["card 0"]["hang"] = "cndevGetTemperatureInfo"
    world.write()
    made.tick(Tier.FAST)
    seen = made.tick(Tier.FAST)
    assert seen.card().failed["temperature_celsius"] == "deadline"
    assert (seen.card().values["power_watts"], seen.card().subject) == (402.0, UUID)


@pytest.mark.compiler
def test_once_shows_the_cards_through_the_real_agent(world: Scenario, tmp_path: Path) -> None:
    host(tmp_path)
    shown = once(
        tmp_path,
        f'node = "n1"\n[backends.cambricon]\nenabled = true\nlibrary = "{tmp_path}/libcndev.so"\n'
        "[backends.nvidia]\nenabled = false\n[sources]\nrdma = false\nkernel_log = false\n",
        ULLAGE_CAMBRICON_SCENARIO=str(world.path),
    )
    assert UUID in shown and "402.0" in shown


def test_every_source_is_a_key_of_the_catalogue() -> None:
    known = {*keys(Family.CARD), *keys(Family.SLICE), *keys(Family.PROCESS)}
    assert set(SOURCES) <= known
