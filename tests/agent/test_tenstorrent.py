"""Tenstorrent: a tt-kmd tree of our own making, and tt-smi's snapshots."""

from __future__ import annotations

from collections.abc import Callable
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
from ullage_agent.backends.roster import Roster
from ullage_agent.backends.tenstorrent import backend
from ullage_agent.backends.tenstorrent.decode import decode
from ullage_agent.backends.tenstorrent.reader import FROZEN_SECONDS, Tenstorrent, open_reader
from ullage_agent.detection import detect
from ullage_contract.catalogue import Tier
from ullage_contract.errors import BadInput

FIXTURES = Path(__file__).parents[1] / "fixtures/tenstorrent"
FIRST = "tenstorrent-0000000000A1B2C3"

SENSORS = {
    "temp1_input": 41500,
    "temp1_label": "asic_temp",
    "temp1_max": 83000,
    "in0_input": 730,
    "curr1_input": 24000,
    "power1_input": 18000000,
    "power1_max": 120000000,
    "fan1_input": 1882,
}


def chip(root: Path, number: int, bus: str, **more: object) -> Path:
    """A Blackhole card; returns its class folder. ``more`` are attributes, None leaves one out."""
    pci = pci_function(
        root / "sys", f"0000:{bus}:00.0", "1e52", "b140", "120000",
        current_link_speed="32.0 GT/s PCIe", max_link_speed="32.0 GT/s PCIe",
        current_link_width=16, max_link_width=16, aer_dev_correctable="RxErr 2\nTOTAL_ERR_COR 2",
    )  # fmt: skip
    put(pci / "hwmon/hwmon5", SENSORS)
    place = root / f"sys/class/tenstorrent/tenstorrent!{number}"
    values: dict[str, object] = {
        "tt_aiclk": 800,
        "tt_card_type": "p150a",
        "tt_serial": "0000046131924062",
        "tt_asic_id": f"0000000000A1B2C{number + 3}",
        "tt_fw_bundle_ver": "19.11.0.0",
        "tt_heartbeat": 100,
        "tt_therm_trip_count": 0,
        **more,
    }
    put(place, {name: value for name, value in values.items() if value is not None})
    link(place / "device", pci.resolve())
    return place


@pytest.fixture
def host(tmp_path: Path) -> Host:
    put(tmp_path / "sys/module/tenstorrent", {"version": "2.4.1"})
    (tmp_path / "proc").mkdir()
    return Host(node_id="n1", sysfs=tmp_path / "sys", proc=tmp_path / "proc", dev=tmp_path / "dev")


child_of = pytest.fixture(children)


def test_a_chips_numbers_come_out_exactly(host: Host, tmp_path: Path) -> None:
    place = chip(tmp_path, 0, "01")
    bench = Bench(open_reader(host))
    facts = bench.facts().facts()[FIRST].attributes
    assert facts["model"] == "p150a" and facts["driver_version"] == "2.4.1"
    assert facts["board_id"] == "0000046131924062" and facts["pci_address"] == "0000:01:00.0"
    assert facts["util_kind"] == "proxy_power"
    put(place, {"tt_heartbeat": 101})
    reading = bench.read().cards()[FIRST]
    assert reading.values == {
        "health": "ok",
        "health_detail": "heartbeat moves",
        "heartbeat": 101,
        "power_watts": 18.0,
        "power_limit_watts": 120.0,
        "utilization_ratio": pytest.approx(0.15),
        "temperature_celsius": 41.5,
        "temperature_limit_celsius": 83.0,
        "voltage_volts": 0.73,
        "current_amperes": 24.0,
        "fan_rpm": 1882.0,
        "clock_core_hertz": 800e6,
        "processes": 0,
        "pcie_generation": 5,
        "pcie_generation_max": 5,
        "pcie_width": 16,
        "pcie_width_max": 16,
        "pcie_aer_correctable": 2,
    }
    assert not reading.failed


def test_the_bus_says_link_and_errors(host: Host, tmp_path: Path) -> None:
    chip(tmp_path, 0, "01")
    put_link(tmp_path / "sys", "0000:01:00.0")
    bench = Bench(open_reader(host))
    bench.facts()
    assert of_the_bus(bench.read().card().values) == PCIE_SAYS


def test_older_firmware_gives_less_and_nothing_is_zero(host: Host, tmp_path: Path) -> None:
    chip(tmp_path, 0, "01", tt_aiclk=None, tt_therm_trip_count=None, tt_asic_id=None, tt_card_type=None)
    (tmp_path / "sys/bus/pci/devices/0000:01:00.0/hwmon/hwmon5/fan1_input").unlink()
    bench = Bench(open_reader(host))
    (facts,) = bench.facts().facts().values()
    assert facts.subject == "tenstorrent-0000046131924062"
    assert facts.attributes["model"] == "blackhole"
    assert {"clock_core_hertz", "fan_rpm", "memory_used_bytes"} <= set(facts.attributes["unsupported"])  # type: ignore[arg-type]
    reading = bench.read().card()
    assert "fan_rpm" not in reading.values and not reading.failed


def test_a_heartbeat_that_stands_still_is_a_hung_chip(host: Host, tmp_path: Path) -> None:
    place = chip(tmp_path, 0, "01")
    now = [0.0]
    bench = Bench(Roster(Tenstorrent(host, monotonic=lambda: now[0])))
    assert "health" not in bench.read().card().values  # one look says nothing yet
    now[0] += FROZEN_SECONDS / 2
    assert bench.read(Tier.FAST).card().values["health"] == "ok"
    now[0] += FROZEN_SECONDS / 2
    seen = bench.read(Tier.FAST)
    assert seen.card().values["health"] == "critical"
    assert "ARC" in str(seen.card().values["health_detail"])
    assert [e.code for e in seen.events()] == ["health:critical"]
    put(place, {"tt_heartbeat": 102})
    assert bench.read(Tier.FAST).card().values["health"] == "ok"


def test_thermal_trips_degrade(host: Host, tmp_path: Path) -> None:
    place = chip(tmp_path, 0, "01", tt_therm_trip_count=2)
    bench = Bench(open_reader(host))
    bench.read()
    put(place, {"tt_heartbeat": 101})
    assert bench.read().card().values["health_detail"] == "therm_trip_count=2"


def test_a_dead_link_is_a_lost_card_and_its_neighbour_goes_on(host: Host, tmp_path: Path) -> None:
    place = chip(tmp_path, 0, "01")
    chip(tmp_path, 1, "02")
    bench = Bench(open_reader(host))
    bench.read()
    put(place, {"tt_heartbeat": 0xFFFFFFFF})
    seen = bench.read()
    assert seen.cards()[FIRST].values["health"] == "lost"
    assert len(seen.cards()) == 2
    assert [e.kind for e in seen.events()] == ["card_lost"]
    other = next(reading for subject, reading in seen.cards().items() if subject != FIRST)
    assert other.values["power_watts"] == 18.0


def test_sensors_of_all_ones_are_broken_not_watts(host: Host, tmp_path: Path) -> None:
    chip(tmp_path, 0, "01")
    put(tmp_path / "sys/bus/pci/devices/0000:01:00.0/hwmon/hwmon5",
        {"power1_input": 0xFFFFFFFF * 1000000, "temp1_input": 65535999})  # fmt: skip
    reading = Bench(open_reader(host)).read().card()
    assert reading.failed["power_watts"] == "broken" and reading.failed["temperature_celsius"] == "broken"
    assert reading.failed["utilization_ratio"] == "broken"
    assert reading.values["voltage_volts"] == 0.73


def test_a_vanished_chip_is_lost_and_comes_back(host: Host, tmp_path: Path) -> None:
    place = chip(tmp_path, 0, "01")
    bench = Bench(open_reader(host))
    bench.read()
    place.rename(tmp_path / "away")
    seen = bench.read()
    assert seen.card().values["health"] == "lost"
    assert [e.kind for e in seen.events()] == ["card_lost"]
    (tmp_path / "away").rename(place)
    assert [e.kind for e in bench.read().events()] == ["card_back"]


def test_a_number_that_is_given_again_is_another_chip(host: Host, tmp_path: Path) -> None:
    """tenstorrent!0 is a link: behind it sits another chip at another place, and the first is lost."""
    first = chip(tmp_path, 0, "01")
    bench = Bench(open_reader(host))
    bench.read()
    first.rename(tmp_path / "away")
    chip(tmp_path, 7, "07").rename(tmp_path / "elsewhere")
    link(first, tmp_path / "elsewhere")
    seen = bench.read()
    second = next(card for card in seen.cards() if card != FIRST)
    assert seen.cards()[FIRST].values["health"] == "lost"
    assert seen.cards()[second].values["power_watts"] == 18.0
    assert bench.facts().facts()[second].attributes["pci_address"] == "0000:07:00.0"


def test_a_chip_that_cannot_say_its_name_now_does_not_become_another_card(host: Host, tmp_path: Path) -> None:
    place = chip(tmp_path, 0, "01")
    bench = Bench(open_reader(host))
    bench.read()
    (place / "tt_asic_id").unlink()
    (place / "tt_asic_id").mkdir()  # a read that fails, and not for want of the attribute
    seen = bench.read()
    assert set(seen.cards()) == {FIRST} and not seen.events()
    assert Bench(open_reader(host)).read().cards() == {}, "a new one waits until it says who it is"


def test_of_two_chips_on_a_board_one_that_is_lost_does_not_rename_the_other(
    host: Host, tmp_path: Path
) -> None:
    first = chip(tmp_path, 0, "01", tt_asic_id=None)
    chip(tmp_path, 1, "02", tt_asic_id=None)
    bench = Bench(open_reader(host))
    bench.read()
    first.rename(tmp_path / "away")
    seen = bench.read()
    assert {card: reading.values.get("health") == "lost" for card, reading in seen.cards().items()} == {
        "tenstorrent-0000046131924062-c0": True,
        "tenstorrent-0000046131924062-c1": False,
    }


def test_two_chips_of_one_board_are_two_cards(host: Host, tmp_path: Path) -> None:
    chip(tmp_path, 0, "01", tt_asic_id=None)
    chip(tmp_path, 1, "02", tt_asic_id=None)
    facts = Bench(open_reader(host)).facts().facts()
    assert sorted(facts) == ["tenstorrent-0000046131924062-c0", "tenstorrent-0000046131924062-c1"]
    assert {f.attributes["board_id"] for f in facts.values()} == {"0000046131924062"}


def test_who_has_the_node_open_is_a_process(host: Host, tmp_path: Path) -> None:
    chip(tmp_path, 0, "01")
    holder(tmp_path / "proc", 812, "ttnn_serve", "/dev/tenstorrent/0")
    holder(tmp_path / "proc", 813, "bash", "/dev/null")
    seen = Bench(open_reader(host)).read()
    assert seen.card().values["processes"] == 1
    assert set(seen.processes()) == {f"{FIRST}#812"}


def test_the_real_child_reads_the_tree(host: Host, tmp_path: Path, child_of: Callable[..., Child]) -> None:
    chip(tmp_path, 0, "01")
    seen = child_of(backend, host).tick(Tier.SLOW, facts=True)
    assert seen.cards()[FIRST].values["power_watts"] == 18.0


def test_hardware_is_detected(tmp_path: Path) -> None:
    host = Host("n1", sysfs=tmp_path / "sys", dev=tmp_path)
    assert not detect(host, backend).present
    chip(tmp_path, 0, "01")
    found = detect(host, backend)
    assert found.present and found.cards_expected == 1
    assert any("class/tenstorrent/tenstorrent!0" in line for line in found.found)


def test_a_board_of_two_chips_is_decoded() -> None:
    decoded = decode((FIXTURES / "tt_smi_board_of_two.json").read_text(encoding="utf-8"))
    assert decoded.driver_version == "TT-KMD 2.4.1"
    left, right = decoded.cards
    assert left.values["power_watts"] == 18.0 and left.values["fan_ratio"] == pytest.approx(0.38)
    assert left.values["fan_rpm"] == 1882 and left.values["pcie_generation"] == 4
    assert left.values["clock_core_max_hertz"] == 1e9 and "clock_core_max_hertz" not in right.values
    assert "health" not in left.values
    assert right.values["health"] == "critical"
    assert not {"power_watts", "power_limit_watts", "heartbeat", "fan_rpm"} & right.values.keys()
    assert "one PCI address" in decoded.notes[0]


@pytest.mark.parametrize("text", ["", "no json", '{"devices": []}', "[1]"])
def test_strange_texts_are_refused(text: str) -> None:
    with pytest.raises(BadInput):
        decode(text)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damaged_texts_never_crash(data: st.DataObject) -> None:
    survives(decode, data.draw(damaged((FIXTURES / "tt_smi_board_of_two.json").read_text(encoding="utf-8"))))
