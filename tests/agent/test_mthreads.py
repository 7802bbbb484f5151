"""Moore Threads cards against an emulated libmtml.so: handles, units, sentinels, MPC, holders, hangs, losses."""

from __future__ import annotations

import ctypes
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.agent.maker_bench import (
    PCIE_SAYS,
    Bench,
    Child,
    children,
    holder,
    of_the_bus,
    pci_function,
    put_link,
)
from tests.agent.once import once
from tests.agent.scenario_file import Scenario
from tests.emulators.build import build

from ullage_agent.backend import Host, Reading
from ullage_agent.backends.holders import Held
from ullage_agent.backends.mthreads import backend
from ullage_agent.backends.mthreads.reader import open_reader
from ullage_agent.backends.mthreads.sources import SOURCES
from ullage_contract.catalogue import Tier, keys
from ullage_contract.errors import NotPresent, ReadingError
from ullage_contract.event import Severity
from ullage_contract.sample import Family

GIB = 1 << 30
UUID = "399282a8-ba01-1475-893c-2eeca9e30201"
OTHER = "399282a8-ba01-1475-893c-2eeca9e30202"

S5000: dict[str, object] = {
    "uuid": UUID,
    "name": "MTT S5000",
    "serial": "MY00000000000001",
    "bios": "4.3.41",
    "pci": "00000000:2a:00.0",
    "link": "5 5 16 16",
    "cores": 8,
    "power": 396660,
    "utilization": 97,
    "temperature": 67,
    "clock": 1750,
    "max_clock": 1900,
    "memory_clock": 8000,
    "video_clock": 1200,
    "memory_total": 80 * GIB,
    "memory_used": 71 * GIB,
    "memory_system": GIB,
    "codec": "5 6",
    "fans": 2,
    "fan_speed": "40 55",
    "fan_rpm": "2000 2600",
    "ecc_mode": 1,
    "ecc": "3 0 30 1",
    "retired": "2 1",
    "pending": 0,
    "mtlinks": "1 1 0",
    "gpu_path": "/dev/mtgpu.0",
    "render_path": "/dev/dri/renderD128",
}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scenario:
    scenario = Scenario(tmp_path)
    monkeypatch.setenv("ULLAGE_MTHREADS_SCENARIO", str(scenario.path))
    scenario["system"]["driver"] = "3.3.5-server"
    scenario["card 0"].update(S5000)
    scenario.write()
    return scenario


@pytest.fixture
def child() -> Iterator[Callable[..., Child]]:
    yield from children()


def host(tmp_path: Path, library: Path | None = None) -> Host:
    # a copy each: the emulator counts the handles that are out
    own = tmp_path / "libmtml.so"
    if not own.exists():
        shutil.copy(library or build("mthreads"), own)
    (tmp_path / "proc").mkdir(exist_ok=True)
    return Host("n1", tmp_path / "sys", tmp_path / "proc", tmp_path / "dev", {"library": str(own)})


def bench(tmp_path: Path, library: Path | None = None) -> Bench:
    return Bench(open_reader(host(tmp_path, library)))


def live(tmp_path: Path) -> int:
    return int(ctypes.CDLL(str(tmp_path / "libmtml.so")).mtmlEmulatorLive())


def test_every_number_arrives_in_the_catalogues_unit(world: Scenario, tmp_path: Path) -> None:
    holder(tmp_path / "proc", 4711, "python3", "/dev/mtgpu.0")
    made = bench(tmp_path)
    made.facts()
    reading = made.read().card()
    assert reading.subject == UUID
    assert reading.failed == {}
    assert reading.values == {
        "utilization_ratio": 0.97,
        "memory_total_bytes": 80 * GIB,
        "memory_used_bytes": 71 * GIB,
        "memory_reserved_bytes": GIB,
        "power_watts": 396.66,
        "temperature_celsius": 67.0,
        "clock_core_hertz": 1.75e9,
        "clock_core_max_hertz": 1.9e9,
        "clock_memory_hertz": 8e9,
        "clock_video_hertz": 1.2e9,
        "encoder_ratio": 0.05,
        "decoder_ratio": 0.06,
        "fan_ratio": 0.55,
        "fan_rpm": 2600.0,
        "pcie_generation": 5,
        "pcie_generation_max": 5,
        "pcie_width": 16,
        "pcie_width_max": 16,
        "ecc_corrected": 3,
        "ecc_uncorrected": 0,
        "ecc_corrected_lifetime": 30,
        "ecc_uncorrected_lifetime": 1,
        "retired_pages": 3,
        "retired_pages_corrected": 2,
        "retired_pages_uncorrected": 1,
        "remap_pending": 0,
        "recovery_action": "none",
        "links_total": 3,
        "links_active": 2,
        "processes": 1,
        "health": "ok",
        "health_detail": "answers, no trouble known",
    }
    assert set(reading.values) <= set(SOURCES)


def test_the_bus_says_link_and_errors_where_the_library_does_not(world: Scenario, tmp_path: Path) -> None:
    pci_function(tmp_path / "sys", "0000:2a:00.0", "1ed5", "0400", "030200")
    put_link(tmp_path / "sys", "0000:2a:00.0")
    world["card 0"]["link"] = "0 0 0 0"
    world.write()
    made = bench(tmp_path)
    made.facts()
    assert of_the_bus(made.read().card().values) == PCIE_SAYS


def test_facts_say_who_and_where_it_is(world: Scenario, tmp_path: Path) -> None:
    pci_function(tmp_path / "sys", "0000:2a:00.0", "1ed5", "0400", "030200", numa_node=1)
    facts = bench(tmp_path).facts().facts()[UUID].attributes
    expected = {
        "vendor": "mthreads",
        "model": "MTT S5000",
        "uuid": UUID,
        "serial": "MY00000000000001",
        "pci_address": "0000:2a:00.0",
        "index": 0,
        "device_node": "/dev/mtgpu.0",
        "numa_node": 1,
        "driver_version": "3.3.5-server",
        "firmware_version": "4.3.41",
        "memory_total_bytes": 80 * GIB,
        "partition_mode": "none",
        "util_kind": "duty_cycle",
    }
    assert {name: facts.get(name) for name in expected} == expected
    assert {"power_limit_watts", "energy_joules"} <= set(facts["unsupported"] or ())  # type: ignore[arg-type]


def test_who_has_a_node_open_is_a_process_of_the_card(world: Scenario, tmp_path: Path) -> None:
    holder(tmp_path / "proc", 4711, "python3", "/dev/mtgpu.0", "/dev/dri/renderD128")
    holder(tmp_path / "proc", 4712, "bash", "/dev/null")
    made = bench(tmp_path)
    made.facts()
    seen = made.read()
    assert set(seen.processes()) == {f"{UUID}#4711"}
    assert seen.facts(Family.PROCESS)[f"{UUID}#4711"].attributes["command"] == "python3"


def test_holders_that_cannot_be_seen_are_not_none(
    world: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = bench(tmp_path)
    made.facts()
    monkeypatch.setattr("ullage_agent.backends.mthreads.reader.scan", lambda proc, nodes: Held({}, False))
    seen = made.read()
    assert seen.card().failed["processes"] == "not_permitted"
    assert seen.processes() == {}


@pytest.mark.parametrize(
    ("key", "sentinel", "metric"),
    [
        ("power", 4294967295, "power_watts"),
        ("power", 0, "power_watts"),
        ("utilization", 4294967295, "utilization_ratio"),
        ("temperature", -1, "temperature_celsius"),
        ("temperature", 4000, "temperature_celsius"),
        ("memory_used", 81 * GIB, "memory_used_bytes"),
        ("memory_total", 18446744073709551615, "memory_total_bytes"),
        ("clock", 0, "clock_core_hertz"),
        ("codec", "300 0", "encoder_ratio"),
        ("pending", 7, "remap_pending"),
        ("retired", "4294967295 0", "retired_pages"),
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
    assert metric not in reading.values and "links_total" in reading.values


def test_what_the_card_cannot_is_unsupported_and_not_zero(world: Scenario, tmp_path: Path) -> None:
    for key in ("fans", "codec", "mtlinks", "retired", "gpu_path", "render_path"):
        del world["card 0"][key]
    world["card 0"]["ecc_mode"] = 0
    world.write()
    made = bench(tmp_path)
    unsupported = set(made.facts().facts()[UUID].attributes["unsupported"] or ())  # type: ignore[arg-type]
    wanted = {"fan_ratio", "encoder_ratio", "links_active", "retired_pages", "ecc_uncorrected", "processes"}
    assert wanted <= unsupported
    reading = made.read().card()
    assert not wanted & {*reading.values, *reading.failed}


def test_a_library_that_lacks_a_symbol_loses_that_metric_alone(world: Scenario, tmp_path: Path) -> None:
    older = build("mthreads", hidden=("mtmlMemoryGetClock", "mtmlDeviceGetMpcMode", "mtmlDeviceInitVpu"))
    made = bench(tmp_path, older)
    unsupported = set(made.facts().facts()[UUID].attributes["unsupported"] or ())  # type: ignore[arg-type]
    assert {"clock_memory_hertz", "encoder_ratio", "clock_video_hertz"} <= unsupported
    assert made.read().card().values["power_watts"] == 396.66


def test_a_link_struct_of_another_release_falls_back_to_the_bus(world: Scenario, tmp_path: Path) -> None:
    world["card 0"]["link"] = "123456 99 77 63"
    world.write()
    pci_function(
        tmp_path / "sys",
        "0000:2a:00.0",
        "1ed5",
        "0400",
        "030200",
        current_link_speed="16.0 GT/s PCIe",
        current_link_width=8,
    )
    made = bench(tmp_path)
    made.facts()
    values = made.read().card().values
    assert (values["pcie_generation"], values["pcie_width"]) == (4, 8)


# ---- slices


def test_mpc_instances_are_slices_and_not_counted_twice(world: Scenario, tmp_path: Path) -> None:
    world["card 0"].update({"mpc_mode": 1, "mpc_type": 1})
    world["mpc 0.0"].update(
        {"instance": 4, "profile": f"1g.20gb {20 * GIB} 2", "utilization": 40, "memory_total": 20 * GIB}
    )
    world["mpc 0.0"]["memory_used"] = 5 * GIB
    # newer libraries count the instance as a device, too
    world["card 1"].update({**S5000, "uuid": OTHER, "mpc_type": 2})
    world.write()
    made = bench(tmp_path)
    seen = made.facts()
    assert set(seen.facts()) == {UUID}
    assert seen.facts()[UUID].attributes["partition_mode"] == "mpc"
    assert seen.facts(Family.SLICE)[f"{UUID}/mpc-4"].attributes == {
        "vendor": "mthreads",
        "card_id": UUID,
        "profile": "1g.20gb",
        "memory_share": 0.25,
        "compute_share": 0.25,
        "memory_total_bytes": 20 * GIB,
    }
    (part,) = (i for i in made.read().items if isinstance(i, Reading) and i.family is Family.SLICE)
    assert part.values == {
        "utilization_ratio": 0.4,
        "memory_total_bytes": 20 * GIB,
        "memory_used_bytes": 5 * GIB,
    }


# ---- health


def test_a_failing_driver_is_critical_while_it_fails(world: Scenario, tmp_path: Path) -> None:
    made = bench(tmp_path)
    made.facts()
    made.read(Tier.FAST)
    world["card 0"]["fail"] = "mtmlDeviceGetPowerUsage 2"
    world.write()
    seen = made.read(Tier.FAST)
    assert seen.card().failed["power_watts"] == "broken"
    assert seen.card().values["health"] == "critical"
    assert [e.severity for e in seen.events("ras")] == [Severity.CRITICAL]
    del world["card 0"]["fail"]
    world.write()
    assert made.read(Tier.FAST).card().values["health"] == "ok"


@pytest.mark.parametrize(
    ("key", "value", "detail"),
    [
        ("pending", 1, "retired pages wait for a reset"),
        ("ecc", "3 2 30 3", "2 uncorrected errors"),
        ("mtlinks", "1 2 0", "MtLink 1 downgraded"),
    ],
)
def test_worn_memory_and_links_degrade(
    world: Scenario, tmp_path: Path, key: str, value: object, detail: str
) -> None:
    made = bench(tmp_path)
    made.facts()
    world["card 0"][key] = value
    world.write()
    values = made.read().card().values
    assert (values["health"], values["health_detail"]) == ("degraded", detail)
    assert values["recovery_action"] == ("drain_and_reset" if key == "pending" else "none")


def test_new_uncorrected_errors_are_an_event(world: Scenario, tmp_path: Path) -> None:
    made = bench(tmp_path)
    made.facts()
    made.read()
    world["card 0"]["ecc"] = "3 1 30 2"
    world.write()
    assert [e.severity for e in made.read().events("ecc_uncorrected")] == [Severity.CRITICAL]


# ---- handles, loss, permission, hang


def test_every_handle_is_given_back_and_none_is_leaked(world: Scenario, tmp_path: Path) -> None:
    world["card 0"].update({"mpc_mode": 1})
    world["mpc 0.0"].update({"instance": 0, "utilization": 1, "memory_total": 20 * GIB, "memory_used": 0})
    world.write()
    made = bench(tmp_path)
    made.facts()
    made.read()
    held = live(tmp_path)
    for _ in range(5):
        made.read()
    assert live(tmp_path) == held
    made.reader.close()
    assert live(tmp_path) == 0


def test_a_vanished_card_is_lost_and_moved_indexes_mix_nobody_up(world: Scenario, tmp_path: Path) -> None:
    world["card 1"].update({**S5000, "uuid": OTHER, "power": 111000, "pci": "00000000:2b:00.0"})
    world.write()
    made = bench(tmp_path)
    made.facts()
    made.read()
    world["card 0"]["gone"] = 1
    world.write()
    seen = made.read()
    assert seen.cards()[UUID].values["health"] == "lost"
    assert set(seen.cards()[UUID].values) == {"health", "health_detail"}
    assert seen.cards()[OTHER].values["power_watts"] == 111.0
    assert [e.subject for e in seen.events("card_lost")] == [UUID]
    del world["card 0"]["gone"]
    world.write()
    back = made.read()
    assert [e.subject for e in back.events("card_back")] == [UUID]
    assert back.cards()[UUID].values["power_watts"] == 396.66


def test_a_trouble_of_identity_does_not_make_another_card(world: Scenario, tmp_path: Path) -> None:
    made = bench(tmp_path)
    made.facts()
    world["card 0"]["fail"] = "mtmlDeviceGetUUID 999"
    world.write()
    seen = made.read()
    assert set(seen.cards()) == {UUID} and seen.card().values["power_watts"] == 396.66
    assert seen.events("card_lost") == []


def test_no_driver_and_no_permission_are_two_answers(world: Scenario, tmp_path: Path) -> None:
    world["system"]["fail"] = "mtmlLibraryInit 1"
    world.write()
    with pytest.raises(NotPresent, match="mtgpu"):
        bench(tmp_path).facts()
    world["system"]["fail"] = "mtmlLibraryInit 5"
    world.write()
    with pytest.raises(ReadingError, match="no permission"):
        bench(tmp_path).facts()


def test_a_mad_count_is_the_makers_failure(world: Scenario, tmp_path: Path) -> None:
    world["system"]["device_count"] = 70000
    world.write()
    with pytest.raises(ReadingError, match="70000"):
        bench(tmp_path).facts()


@pytest.mark.compiler
def test_a_call_that_hangs_costs_that_metric_and_nothing_else(
    world: Scenario, tmp_path: Path, child: Callable[..., Child]
) -> None:
    made = child(backend, host(tmp_path))
    assert made.tick(facts=True).card().values["temperature_celsius"] == 67
    world["card 0"]["hang"] = "mtmlGpuGetTemperature"
    world.write()
    made.tick(Tier.FAST)
    seen = made.tick(Tier.FAST)
    assert seen.card().failed["temperature_celsius"] == "deadline"
    assert (seen.card().values["power_watts"], seen.card().subject) == (396.66, UUID)


@pytest.mark.compiler
def test_once_shows_the_cards_through_the_real_agent(world: Scenario, tmp_path: Path) -> None:
    host(tmp_path)
    shown = once(
        tmp_path,
        f'node = "n1"\n[backends.mthreads]\nenabled = true\nlibrary = "{tmp_path}/libmtml.so"\n'
        "[backends.nvidia]\nenabled = false\n[sources]\nrdma = false\nkernel_log = false\n",
        ULLAGE_MTHREADS_SCENARIO=str(world.path),
    )
    assert UUID in shown and "396.66" in shown


def test_every_source_is_a_key_of_the_catalogue() -> None:
    known = {*keys(Family.CARD), *keys(Family.SLICE), *keys(Family.PROCESS)}
    assert set(SOURCES) <= known
