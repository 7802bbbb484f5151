"""Qualcomm Cloud AI: a tree of the qaic driver of our own making, a stand-in qaic-util, and the tool's outputs."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.agent.damage import damaged, survives
from tests.agent.maker_bench import (
    PCIE_SAYS,
    Bench,
    Child,
    children,
    holder,
    link,
    of_the_bus,
    pci_function,
    put,
    put_link,
)

from ullage_agent.backend import Host
from ullage_agent.backends.qualcomm import backend
from ullage_agent.backends.qualcomm.decode import decode
from ullage_agent.backends.qualcomm.reader import open_reader
from ullage_agent.detection import detect
from ullage_contract.catalogue import Tier
from ullage_contract.errors import BadInput

FIXTURES = Path(__file__).parents[1] / "fixtures/qualcomm"
TEXT = (FIXTURES / "qaic_util_q.txt").read_text(encoding="utf-8")
SENSORS = {
    "power1_input": 75500000,
    "power1_max": 150000000,
    "temp1_input": 41000,
    "temp2_input": 52000000,  # microdegrees, as the SDK's driver writes them
    "temp2_crit": 95000,
    "power_level": 1,
    "throttle_percent": 0,
}


def soc(
    root: Path, number: int, bus: str, *, sensors: bool = True, node: bool = True, **more: object
) -> Path:
    place = pci_function(
        root / "sys", f"0000:{bus}:00.0", "17cb", "a100", "ff0000",
        current_link_speed="16.0 GT/s PCIe", current_link_width=8, ce_count=3, ue_count=0, ue_nonfatal_count=0,
        **more,
    )  # fmt: skip
    if sensors:
        put(place / "hwmon/hwmon3", SENSORS)
    if node:
        (place / f"accel/accel{number}").mkdir(parents=True)
    link(place / "driver", "../../../../bus/pci/drivers/qaic")
    return place


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(text: str | None = TEXT) -> Bench:
        made.append(Bench(open_reader(host(tmp_path, text))))
        return made[-1]

    yield make
    for one in made:
        one.reader.close()


def host(tmp_path: Path, text: str | None = TEXT) -> Host:
    (tmp_path / "proc").mkdir(exist_ok=True)
    tool = tmp_path / "qaic-util"
    if text is not None:
        (tmp_path / "answer").write_text(text, encoding="utf-8")
        tool.write_text(f"#!/bin/sh\ncat {tmp_path}/answer\n", encoding="utf-8")
        tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    return Host(
        node_id="n1",
        sysfs=tmp_path / "sys",
        proc=tmp_path / "proc",
        dev=tmp_path,
        settings={"lister": str(tool)},
    )


child_of = pytest.fixture(children)


def test_a_socs_numbers_come_out_exactly(bench: Callable[..., Bench], tmp_path: Path) -> None:
    soc(tmp_path, 0, "83")
    holder(tmp_path / "proc", 77, "qaic-runner", "/dev/accel/accel0")
    made = bench()
    facts = made.facts().facts()["n1-0000:83:00.0"].attributes
    assert (facts["model"], facts["device_node"], facts["memory_total_bytes"]) == (
        "Ultra",
        "/dev/accel/accel0",
        32 << 30,
    )
    seen = made.read()
    assert seen.card().values == {
        "health": "ok",
        "health_detail": "no trouble seen",
        "board_power_watts": 75.5,
        "power_limit_watts": 150.0,
        "temperature_celsius": 52.0,
        "board_temperature_celsius": 41.0,
        "temperature_limit_celsius": 95.0,
        "performance_state": "full power",
        "throttle_reasons": 0,
        "ecc_corrected": 3,
        "ecc_uncorrected": 0,
        "memory_total_bytes": 32 << 30,
        "processes": 1,
        "pcie_generation": 4,
        "pcie_width": 8,
    }
    assert not seen.card().failed
    assert set(seen.processes()) == {"n1-0000:83:00.0#77"}
    assert "utilization_ratio" in facts["unsupported"]  # type: ignore[operator]


def test_the_bus_says_link_and_errors(bench: Callable[..., Bench], tmp_path: Path) -> None:
    soc(tmp_path, 0, "83")
    put_link(tmp_path / "sys", "0000:83:00.0")
    made = bench()
    made.facts()
    assert of_the_bus(made.read().card().values) == PCIE_SAYS


def test_power_is_the_boards_and_a_cards_only_when_alone_on_it(
    bench: Callable[..., Bench], tmp_path: Path
) -> None:
    for number, bus in enumerate(("83", "84", "c3")):
        soc(tmp_path, number, bus)
    made = bench(TEXT.replace("Status:Error", "Status:Ready"))
    facts = made.facts().facts()
    assert [facts[f"n1-0000:{b}:00.0"].attributes.get("chip") for b in ("83", "84", "c3")] == [0, 1, None]
    assert facts["n1-0000:83:00.0"].attributes["board_id"] == facts["n1-0000:84:00.0"].attributes["board_id"]
    cards = made.read().cards()
    assert [cards[f"n1-0000:{b}:00.0"].values.get("power_watts") for b in ("83", "84", "c3")] == [
        None,
        None,
        75.5,
    ]
    assert all(reading.values["board_power_watts"] == 75.5 for reading in cards.values())


def test_without_telemetry_and_tool_the_counters_remain(bench: Callable[..., Bench], tmp_path: Path) -> None:
    soc(tmp_path, 0, "83", sensors=False)
    made = bench(None)
    (facts,) = made.facts().facts().values()
    assert facts.attributes["model"] == "Cloud AI 100"
    assert {"board_power_watts", "temperature_celsius", "memory_total_bytes"} <= set(
        facts.attributes["unsupported"]
    )  # type: ignore[arg-type]
    reading = made.read().card()
    assert reading.values["health"] == "ok" and reading.values["ecc_corrected"] == 3 and not reading.failed


def test_errors_throttling_and_a_dead_boot_are_health(bench: Callable[..., Bench], tmp_path: Path) -> None:
    place = soc(tmp_path, 0, "83")
    soc(tmp_path, 1, "84", node=False)
    made = bench()
    cards = made.read().cards()
    assert "did not boot" in str(cards["n1-0000:84:00.0"].values["health_detail"])
    put(place, {"hwmon/hwmon3/throttle_percent": 20})
    reading = made.read().cards()["n1-0000:83:00.0"]
    assert reading.values["health_detail"] == "throttled by 20 %" and reading.values["throttle_reasons"] != 0
    put(place, {"ue_count": 1})
    seen = made.read()
    assert seen.cards()["n1-0000:83:00.0"].values["health"] == "critical"
    assert {e.kind for e in seen.events()} == {"ecc_uncorrected", "ras"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is told the truth by the tool")
def test_what_the_tool_calls_an_error_is_critical(bench: Callable[..., Bench], tmp_path: Path) -> None:
    soc(tmp_path, 2, "c3")
    assert bench().read().card().values["health_detail"] == "qaic-util says Error"


@pytest.mark.parametrize("name", ["power1_input", "temp2_input", "throttle_percent", "power_level"])
def test_garbage_is_broken_and_the_rest_comes(bench: Callable[..., Bench], tmp_path: Path, name: str) -> None:
    place = soc(tmp_path, 0, "83")
    put(place / "hwmon/hwmon3", {name: 9_999_999_999_999})
    reading = bench().read().card()
    assert "broken" in reading.failed.values()
    assert reading.values["board_temperature_celsius"] == 41.0


def test_a_soc_that_falls_off_the_bus_is_lost(bench: Callable[..., Bench], tmp_path: Path) -> None:
    place = soc(tmp_path, 0, "83")
    soc(tmp_path, 1, "84")
    made = bench()
    made.read()
    place.rename(tmp_path / "away")
    seen = made.read()
    assert seen.cards()["n1-0000:83:00.0"].values["health"] == "lost"
    assert [e.subject for e in seen.events("card_lost")] == ["n1-0000:83:00.0"]
    assert seen.cards()["n1-0000:84:00.0"].values["health"] == "ok"


def test_a_soc_passed_through_is_not_this_hosts(bench: Callable[..., Bench], tmp_path: Path) -> None:
    place = soc(tmp_path, 0, "83")
    (place / "driver").unlink()
    link(place / "driver", "../../../../bus/pci/drivers/vfio-pci")
    assert not bench().facts().facts()


def test_the_real_child_reads_the_tree(tmp_path: Path, child_of: Callable[..., Child]) -> None:
    soc(tmp_path, 0, "83")
    seen = child_of(backend, host(tmp_path)).tick(Tier.SLOW, facts=True)
    assert seen.card().values["board_power_watts"] == 75.5


def test_modems_are_no_accelerators(tmp_path: Path) -> None:
    pci_function(tmp_path / "sys", "0000:01:00.0", "17cb", "0306", "028000")
    assert not detect(host(tmp_path), backend).present
    soc(tmp_path, 0, "83")
    assert detect(host(tmp_path), backend).cards_expected == 1


def test_blocks_are_decoded() -> None:
    decoded = decode(TEXT)
    assert [c.index for c in decoded.cards] == [0, 1, 2]
    assert [c.pci_address for c in decoded.cards] == ["0000:83:00.0", "0000:84:00.0", "0000:c3:00.0"]
    first = decoded.cards[0]
    assert first.values["memory_used_bytes"] == 8 << 30 and first.values["clock_core_hertz"] == 1e9
    assert first.values["clock_memory_hertz"] == 2133e6
    assert first.values["temperature_celsius"] == 52.0 and first.values["board_power_watts"] == 75.5
    assert first.board_id == "PN471-12-0001" and first.extra["nsp_occupied_ratio"] == 0.875
    assert [c.values["health_detail"] for c in decoded.cards] == ["Ready", "Ready", "Error"]
    assert "memory_total_bytes" not in decoded.cards[2].values


def test_json_is_decoded() -> None:
    (card,) = decode((FIXTURES / "qaic_util.json").read_text(encoding="utf-8")).cards
    assert card.values["memory_used_bytes"] == 8 << 30 and card.extra["nsp_free"] == 2


@pytest.mark.parametrize("text", ["", "x", "{}", "Status:Ready", "[1,2]"])
def test_strange_texts_are_refused(text: str) -> None:
    with pytest.raises(BadInput):
        decode(text)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_damaged_texts_never_crash(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["qaic_util_q.txt", "qaic_util.json"]))
    survives(decode, data.draw(damaged((FIXTURES / name).read_text(encoding="utf-8"))))
