"""Ascend chips against an emulated libdcmi.so: units, sentinels, boards of two chips, faults, hangs, losses."""

from __future__ import annotations

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

from ullage_agent.backend import Host
from ullage_agent.backends.ascend import backend
from ullage_agent.backends.ascend.faults import from_file, shipped
from ullage_agent.backends.ascend.reader import open_reader
from ullage_agent.backends.ascend.sources import SOURCES
from ullage_contract.catalogue import Tier, keys
from ullage_contract.errors import ConfigError, NotPresent, ReadingError
from ullage_contract.event import Severity
from ullage_contract.sample import Family

MIB = 1 << 20
DIE = "11111111 22222222 33333333 44444444 0000000A"
UUID = "11111111-22222222-33333333-44444444-0000000A"
OTHER = "11111111-22222222-33333333-44444444-0000000B"

B3: dict[str, object] = {
    "die": DIE,
    "name": "910B3",
    "cores": 20,
    "pci": "0000:c1:00.0",
    "logic": 0,
    "power": 2697,
    "temperature": 52,
    "voltage": 83,
    "health": 0,
    "network": 0,
    "codes": "none",
    "hbm": "65536 60211 49 1600 37",
    "rate2": 87,
    "rate14": 61,
    "rate12": 12,
    "rate4": 3,
    "freq7": 1650,
    "freq9": 1850,
    "ecc2": "5 0 50 1 2 1 0 0",
    "hccs": "2 3",
    "processes": "4711 1073741824 4712 2048",
    "vdevs": "",
}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scenario:
    scenario = Scenario(tmp_path)
    monkeypatch.setenv("ULLAGE_ASCEND_SCENARIO", str(scenario.path))
    scenario["chip 0.0"].update(B3)
    scenario["board 0"]["serial"] = "033WQK10P8000001"
    scenario.write()
    return scenario


def host(tmp_path: Path, **settings: object) -> Host:
    settings.setdefault("library", str(build("ascend")))
    return Host("n1", tmp_path / "sys", tmp_path / "proc", tmp_path / "dev", settings)


@pytest.fixture
def child() -> Iterator[Callable[..., Child]]:
    yield from children()


def bench(tmp_path: Path, **settings: object) -> Bench:
    return Bench(open_reader(host(tmp_path, **settings)))


def unsupported(seen: Seen, card: str = UUID) -> set[str]:
    listed = seen.facts()[card].attributes["unsupported"]
    assert isinstance(listed, list)
    return set(listed)


# ---- one chip


def test_every_number_arrives_in_the_catalogues_unit(world: Scenario, tmp_path: Path) -> None:
    made = bench(tmp_path)
    made.facts()
    reading = made.read().card()
    assert reading.subject == UUID
    assert reading.failed == {}
    assert reading.values == {
        "recovery_action": "none",
        "health": "ok",
        "health_detail": "OK",
        "utilization_ratio": 0.87,
        "tensor_active_ratio": 0.61,
        "vector_active_ratio": 0.12,
        "control_cpu_ratio": 0.03,
        "temperature_celsius": 52.0,
        "clock_sm_hertz": 1650e6,
        "memory_total_bytes": 65536 * MIB,
        "memory_used_bytes": 60211 * MIB,
        "memory_temperature_celsius": 49.0,
        "clock_memory_hertz": 1600e6,
        "memory_bandwidth_ratio": 0.37,
        "power_watts": 269.7,
        "voltage_volts": 0.83,
        "clock_core_max_hertz": 1850e6,
        "ecc_corrected": 5,
        "ecc_uncorrected": 0,
        "ecc_corrected_lifetime": 50,
        "ecc_uncorrected_lifetime": 1,
        "retired_pages": 3,
        "retired_pages_corrected": 2,
        "retired_pages_uncorrected": 1,
        "remap_pending": 0,
        "link_crc_errors": 16,
        "link_replay_errors": 24,
        "processes": 2,
    }
    assert set(reading.values) <= set(SOURCES) | {"health_detail"}


def test_the_bus_says_link_and_errors(world: Scenario, tmp_path: Path) -> None:
    pci_function(tmp_path / "sys", "0000:c1:00.0", "19e5", "d802", "120000")
    put_link(tmp_path / "sys", "0000:c1:00.0")
    made = bench(tmp_path)
    made.facts()
    assert of_the_bus(made.read().card().values) == PCIE_SAYS


def test_facts_say_who_and_where_it_is(world: Scenario, tmp_path: Path) -> None:
    pci_function(tmp_path / "sys", "0000:c1:00.0", "19e5", "d802", "120000", numa_node=1)
    put(tmp_path, {"version.info": "Version=24.1.rc2\nascendhal_version=7"})
    world["system"]["phy_offset"] = 8
    world.write()
    seen = bench(tmp_path, version_file=str(tmp_path / "version.info")).facts()
    facts = seen.facts()[UUID].attributes
    expected = {
        "vendor": "ascend",
        "model": "910B3",
        "uuid": UUID,
        "serial": "033WQK10P8000001",
        "pci_address": "0000:c1:00.0",
        "index": 0,
        "minor": 8,
        "device_node": "/dev/davinci8",
        "numa_node": 1,
        "memory_total_bytes": 65536 * MIB,
        "driver_version": "24.1.rc2",
        "util_kind": "core_mean",
        "partition_mode": "none",
    }
    assert {name: facts.get(name) for name in expected} == expected
    assert "board_id" not in facts and "chip" not in facts
    assert {"fan_ratio", "energy_joules", "board_power_watts"} <= unsupported(seen)


def test_processes_come_with_their_memory_and_name(world: Scenario, tmp_path: Path) -> None:
    put(tmp_path / "proc", {"4711/comm": "python3", "4711/cgroup": "0::/slurm/job_7"})
    made = bench(tmp_path)
    made.facts()
    seen = made.read()
    assert {pid: r.values["process_memory_used_bytes"] for pid, r in seen.processes().items()} == {
        f"{UUID}#4711": 1073741824,
        f"{UUID}#4712": 2048,
    }
    assert seen.facts(Family.PROCESS)[f"{UUID}#4711"].attributes["command"] == "python3"


@pytest.mark.parametrize(
    ("key", "sentinel", "metric"),
    [
        ("power", -1, "power_watts"),
        ("power", 2147483647, "power_watts"),
        ("power", 0, "power_watts"),  # 310B prints 0.0 W while it works
        ("temperature", -300, "temperature_celsius"),
        ("temperature", 2147483647, "temperature_celsius"),
        ("health", 2147483647, "health"),
        ("rate2", 101, "utilization_ratio"),
        ("rate2", -1, "utilization_ratio"),
        ("hbm", "65536 99999 49 1600 37", "memory_used_bytes"),
        ("code_count", 5000, "recovery_action"),
        ("ecc2", "4294967295 0 0 0 0 0 0 0", "ecc_corrected"),
    ],
)
def test_a_sentinel_is_failed_and_never_a_number(
    world: Scenario, tmp_path: Path, key: str, sentinel: object, metric: str
) -> None:
    made = bench(tmp_path)
    made.facts()
    world["chip 0.0"][key] = sentinel
    world.write()
    reading = made.read().card()
    assert reading.failed.get(metric) == "broken"
    assert metric not in reading.values
    assert "temperature_celsius" in {*reading.values, *reading.failed}


def test_what_the_chip_cannot_is_unsupported_and_not_zero(world: Scenario, tmp_path: Path) -> None:
    for key in ("rate14", "voltage", "processes"):
        del world["chip 0.0"][key]
    world.write()
    made = bench(tmp_path)
    assert {"tensor_active_ratio", "voltage_volts", "processes"} <= unsupported(made.facts())
    reading = made.read().card()
    assert not {"tensor_active_ratio", "voltage_volts", "processes"} & {*reading.values, *reading.failed}


def test_a_library_that_lacks_a_symbol_loses_that_metric_alone(world: Scenario, tmp_path: Path) -> None:
    older = build("ascend", hidden=("dcmi_get_device_voltage", "dcmi_get_device_network_health"))
    made = bench(tmp_path, library=str(older))
    assert "voltage_volts" in unsupported(made.facts())
    assert made.read().card().values["power_watts"] == 269.7


def test_ddr_is_the_memory_of_a_chip_without_hbm(world: Scenario, tmp_path: Path) -> None:
    chip = world["chip 0.0"]
    chip.update({"hbm": "0 0 0 0 0", "ddr": "21525 19677 1600", "rate5": 9, "name": "310P3"})
    world.write()
    made = bench(tmp_path)
    made.facts()
    values = made.read(Tier.FAST).card().values
    assert values["memory_total_bytes"] == 21525 * MIB
    assert values["memory_used_bytes"] == 1848 * MIB
    assert values["memory_bandwidth_ratio"] == 0.09


# ---- boards


def test_two_chips_on_one_bus_id_are_two_cards_and_the_controller_has_their_power(
    world: Scenario, tmp_path: Path
) -> None:
    del world["chip 0.0"]["power"]
    world["chip 0.1"].update({**world["chip 0.0"], "die": DIE.replace("A", "B"), "logic": 1})
    world["board 0"]["power"] = 713
    world.write()
    made = bench(tmp_path)
    facts = made.facts().facts()
    assert set(facts) == {UUID, OTHER}
    assert [facts[card].attributes["chip"] for card in (UUID, OTHER)] == [0, 1]
    assert {facts[card].attributes["board_id"] for card in facts} == {"ascend-033WQK10P8000001"}
    readings = made.read(Tier.FAST).cards()
    assert [readings[card].values["board_power_watts"] for card in (UUID, OTHER)] == [71.3, 71.3]
    assert all("power_watts" not in reading.values for reading in readings.values())


def test_power_that_only_chip_0_can_tell_is_the_boards(world: Scenario, tmp_path: Path) -> None:
    second = {**B3, "die": DIE.replace("A", "B"), "logic": 1, "pci": "0000:c2:00.0"}
    del second["power"]
    world["chip 0.1"].update(second)
    world.write()
    made = bench(tmp_path)
    assert "power_watts" in unsupported(made.facts(), OTHER)
    readings = made.read(Tier.FAST).cards()
    assert [readings[card].values["board_power_watts"] for card in (UUID, OTHER)] == [269.7, 269.7]


def test_a_board_counts_its_controller_and_we_do_not(world: Scenario, tmp_path: Path) -> None:
    world["chip 0.1"].update({"type": 1, "die": DIE.replace("A", "B")})
    world.write()
    assert set(bench(tmp_path).facts().facts()) == {UUID}


def test_a_chip_without_a_die_id_is_its_serial_and_number(world: Scenario, tmp_path: Path) -> None:
    world["chip 0.0"]["die"] = "0 0 0 0 0"
    world.write()
    assert set(bench(tmp_path).facts().facts()) == {"ascend-033WQK10P8000001-c0"}


def test_the_generation_with_one_device_id_is_read_alike(world: Scenario, tmp_path: Path) -> None:
    world["system"]["die_type"] = 2
    world.write()
    newer = build("ascend", hidden=("dcmi_init", "dcmi_get_card_list", "dcmi_get_device_power_info"))
    made = bench(tmp_path, library=str(newer))
    assert made.facts().facts()[UUID].attributes["model"] == "910B3"
    values = made.read().card().values
    assert (values["power_watts"], values["utilization_ratio"], values["processes"]) == (269.7, 0.87, 2)


def test_a_library_with_both_sets_and_no_card_in_the_old_one_uses_the_new(
    world: Scenario, tmp_path: Path
) -> None:
    world["system"].update({"flat": 1, "die_type": 2})
    world.write()
    assert set(bench(tmp_path).facts().facts()) == {UUID}


# ---- slices


def test_vnpus_are_slices_with_their_shares(world: Scenario, tmp_path: Path) -> None:
    world["chip 0.0"].update({"vdevs": "100 101", "vdev100": "5 16384 40 1000 250 vir05_1c_16g"})
    world["chip 0.0"]["vdev101"] = "10 32768 0 0 0 vir10_3c_32g"
    world.write()
    made = bench(tmp_path)
    seen = made.facts()
    assert seen.facts()[UUID].attributes["partition_mode"] == "vnpu"
    facts = seen.facts(Family.SLICE)
    assert facts[f"{UUID}/100"].attributes == {
        "vendor": "ascend",
        "model": "910B3",
        "card_id": UUID,
        "profile": "vir05_1c_16g",
        "compute_share": 0.25,
        "memory_share": 0.25,
        "memory_total_bytes": 16384 * MIB,
    }
    slices = {
        r.subject: r.values
        for r in made.read().items
        if getattr(r, "family", None) is Family.SLICE and hasattr(r, "values")
    }
    assert slices[f"{UUID}/100"] == {
        "utilization_ratio": 0.4,
        "memory_total_bytes": 16384 * MIB,
        "memory_used_bytes": 12288 * MIB,
        "memory_ratio": 0.75,
    }
    assert slices[f"{UUID}/101"] == {"utilization_ratio": 0.0, "memory_total_bytes": 32768 * MIB}


# ---- health


def test_a_standing_code_is_told_once_with_its_level(world: Scenario, tmp_path: Path) -> None:
    made = bench(tmp_path)
    made.facts()
    made.read()
    world["chip 0.0"].update({"codes": "80E18402 80E01805", "health": 3})
    world.write()
    seen = made.read()
    told = {event.code: event for event in seen.events("ras")}
    assert told["80E18402"].severity is Severity.FATAL
    assert "Separate" in told["80E18402"].message
    assert told["80E01805"].severity is Severity.INFO
    assert seen.card().values["health"] == "critical"
    assert seen.card().values["health_detail"] == "Critical 80E18402 80E01805"
    assert [e.code for e in made.read().events("ras")] == []


def test_a_code_is_seen_at_a_fast_tick_too(world: Scenario, tmp_path: Path) -> None:
    made = bench(tmp_path)
    made.facts()
    made.read(Tier.FAST)
    world["chip 0.0"]["codes"] = "40F84E00"
    world.write()
    seen = made.read(Tier.FAST)
    (event,) = seen.events("ras")
    assert "40F84E00" in event.message and event.severity is Severity.CRITICAL
    assert seen.card().values["recovery_action"] == "reset"


def test_a_code_that_went_and_came_is_new(world: Scenario, tmp_path: Path) -> None:
    made = bench(tmp_path)
    made.facts()
    for codes, expected in (("80CB8009", 1), ("none", 0), ("80CB8009", 1)):
        world["chip 0.0"]["codes"] = codes
        world.write()
        assert len([e for e in made.read().events("ras") if e.code == "80CB8009"]) == expected


def test_an_unlisted_code_is_a_warning_and_never_healthy(world: Scenario, tmp_path: Path) -> None:
    made = bench(tmp_path)
    made.facts()
    world["chip 0.0"]["codes"] = "DEADBEEF"
    world.write()
    seen = made.read()
    assert [(e.code, e.severity) for e in seen.events("ras") if e.code == "DEADBEEF"] == [
        ("DEADBEEF", Severity.WARNING)
    ]
    assert seen.card().values["health"] == "degraded"


def test_codes_that_cannot_be_read_leave_what_stood(world: Scenario, tmp_path: Path) -> None:
    made = bench(tmp_path)
    world["chip 0.0"]["codes"] = "80CB8009"
    world.write()
    made.facts()
    made.read()
    world["chip 0.0"]["fail"] = "dcmi_get_device_errorcode_v2 -8005"
    world.write()
    assert made.read().card().failed["recovery_action"] == "broken"
    del world["chip 0.0"]["fail"]
    world.write()
    assert [e.code for e in made.read().events("ras") if e.code == "80CB8009"] == []


def test_network_trouble_degrades_and_starting_does_not(world: Scenario, tmp_path: Path) -> None:
    made = bench(tmp_path)
    made.facts()
    world["chip 0.0"]["network"] = 6
    world.write()
    assert made.read().card().values["health"] == "ok"
    world["chip 0.0"]["network"] = 3
    world.write()
    seen = made.read()
    assert seen.card().values["health_detail"] == "OK network unreachable"
    assert "network:3" in {e.code for e in seen.events("ras")}


def test_an_alarm_of_a_310b_is_its_normal_use(world: Scenario, tmp_path: Path) -> None:
    made = bench(tmp_path)
    world["chip 0.0"].update({"health": 2, "name": "310B4"})
    world.write()
    made.facts()
    assert made.read().card().values["health"] == "degraded"


def test_new_uncorrected_errors_are_an_event(world: Scenario, tmp_path: Path) -> None:
    made = bench(tmp_path)
    made.facts()
    made.read()
    world["chip 0.0"]["ecc2"] = "5 2 50 3 2 1 0 1"
    world.write()
    seen = made.read()
    assert [e.severity for e in seen.events("ecc_uncorrected")] == [Severity.CRITICAL]
    assert seen.card().values["remap_pending"] == 1


# ---- loss, permission, hang


def test_a_vanished_card_is_lost_and_its_neighbour_is_not(world: Scenario, tmp_path: Path) -> None:
    world["chip 1.0"].update({**B3, "die": DIE.replace("A", "B"), "logic": 1})
    world.write()
    made = bench(tmp_path)
    made.facts()
    made.read()
    world["chip 0.0"]["gone"] = 1
    world.write()
    seen = made.read()
    assert seen.cards()[UUID].values["health"] == "lost"
    assert set(seen.cards()[UUID].values) == {"health", "health_detail"}
    assert seen.cards()[OTHER].values["power_watts"] == 269.7
    assert [e.subject for e in seen.events("card_lost")] == [UUID]
    del world["chip 0.0"]["gone"]
    world.write()
    back = made.read()
    assert [e.subject for e in back.events("card_back")] == [UUID]
    assert back.cards()[UUID].values["power_watts"] == 269.7


def test_a_broken_list_of_cards_is_the_makers_failure(world: Scenario, tmp_path: Path) -> None:
    made = bench(tmp_path)
    made.facts()
    world["system"]["card_count"] = 4000
    world.write()
    with pytest.raises(ReadingError, match="4000 cards"):
        made.read()


def test_no_permission_says_what_is_missing(world: Scenario, tmp_path: Path) -> None:
    world["system"]["fail"] = "dcmi_init -8002"
    world.write()
    with pytest.raises(ReadingError, match="HwHiAiUser"):
        bench(tmp_path).facts()


def test_no_library_says_what_was_tried(tmp_path: Path) -> None:
    with pytest.raises(NotPresent, match=r"nowhere/libdcmi\.so"):
        bench(tmp_path, library=str(tmp_path / "nowhere/libdcmi.so")).facts()


def test_another_chip_at_the_place_never_gives_its_values_as_the_first_ones(
    world: Scenario, tmp_path: Path
) -> None:
    made = bench(tmp_path)
    made.facts()
    world["chip 0.0"].update({"die": "55555555 2 3 4 A", "power": 1110})
    world.write()
    seen = made.read(Tier.FAST)
    assert seen.cards()[UUID].values["health"] == "lost" and "power_watts" not in seen.cards()[UUID].values
    assert [e.subject for e in seen.events("card_lost")] == [UUID]
    later = made.read(Tier.FAST).cards()
    assert [r.values.get("power_watts") for c, r in later.items() if c != UUID] == [111.0]


def test_a_trouble_of_identity_does_not_make_another_card(world: Scenario, tmp_path: Path) -> None:
    made = bench(tmp_path)
    made.facts()
    world["chip 0.0"]["fail"] = "dcmi_get_device_die_v2 -8006"
    world.write()
    seen = made.read()
    assert set(seen.cards()) == {UUID} and seen.card().values["power_watts"] == 269.7


@pytest.mark.compiler
def test_a_call_that_hangs_costs_that_metric_and_nothing_else(
    world: Scenario, tmp_path: Path, child: Callable[..., Child]
) -> None:
    made = child(backend, host(tmp_path))
    assert made.tick(facts=True).card().values["temperature_celsius"] == 52
    world["chip 0.0"]["hang"] = "dcmi_get_device_temperature"
    world.write()
    made.tick(Tier.FAST)
    seen = made.tick(Tier.FAST)
    assert seen.card().failed["temperature_celsius"] == "deadline"
    assert seen.card().values["power_watts"] == 269.7
    assert seen.card().subject == UUID


@pytest.mark.compiler
def test_once_shows_the_cards_through_the_real_agent(world: Scenario, tmp_path: Path) -> None:
    shown = once(
        tmp_path,
        f'node = "n1"\n[backends.ascend]\nenabled = true\nlibrary = "{build("ascend")}"\n'
        "[backends.nvidia]\nenabled = false\n[sources]\nrdma = false\nkernel_log = false\n",
        ULLAGE_ASCEND_SCENARIO=str(world.path),
    )
    assert UUID in shown
    assert "269.7" in shown


# ---- the fault table


def test_the_shipped_table_knows_huaweis_levels() -> None:
    table = shipped()
    assert len(table) > 300
    assert table.level(0x80E18402).name == "Separate"
    assert table.level(0x40F84E00).action == "reset"
    assert table.level(0xA2301001).name == "Separate"  # listed twice by the maker: the graver counts
    assert table.worst([0x80E01805, 0x40F84E00]) == table.level(0x40F84E00)
    assert table.worst([]) is None


def test_the_makers_own_newer_table_can_be_used(tmp_path: Path, world: Scenario) -> None:
    path = tmp_path / "faultCode.json"
    path.write_text(
        '{"PreSeparateNPUCodes": ["8f18045a"], "SubHealthFaultCodes": ["81078605"]}', encoding="utf-8"
    )
    assert from_file(path).level(0x8F18045A).name == "PreSeparate"
    made = bench(tmp_path, fault_codes=str(path))
    made.facts()
    world["chip 0.0"]["codes"] = "8f18045a"
    world.write()
    assert {e.severity for e in made.read().events("ras")} == {Severity.CRITICAL}


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"SeparateNPUCodes": ["x"]}'])
def test_a_table_that_is_none_is_refused_with_advice(tmp_path: Path, content: str) -> None:
    path = tmp_path / "faultCode.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"faultCode\.json"):
        from_file(path)


def test_every_source_is_a_key_of_the_catalogue() -> None:
    known = {*keys(Family.CARD), *keys(Family.SLICE), *keys(Family.PROCESS)}
    assert set(SOURCES) <= known
