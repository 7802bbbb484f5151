"""Rebellions: the emulated library through the real loader and child, and rbln-smi's outputs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
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
    of_the_bus,
    pci_function,
    put_link,
)
from tests.emulators.build import build

from ullage_agent.backend import Host
from ullage_agent.backends.rebellions import backend
from ullage_agent.backends.rebellions.decode import decode
from ullage_agent.backends.rebellions.reader import open_reader
from ullage_agent.detection import detect
from ullage_contract.catalogue import Tier
from ullage_contract.errors import BadInput

FIXTURES = Path(__file__).parents[1] / "fixtures/rebellions"
NPU: Mapping[str, object] = {
    "name": "RBLN-CA22",
    "serial": 0x4123,
    "dram": 17179869184,
    "memory": "2576980377 16857735168",
    "temperature": 41,
    "power_uw": 18100000,
    "pstate": 2,
    "utilization": 98,
    "kernel": "3.5.1",
    "firmware": "3.5.0",
    "numa_node": 1,
}


def uuid(number: int) -> str:
    return f"c7d8aa00-0000-0000-0000-00000000000{number}"


class World:
    """The scenario file."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "scenario.txt"
        self.system: dict[str, object] = {}
        self.cards: dict[int, dict[str, object]] = {}

    def add(self, number: int, **more: object) -> None:
        own = {"uuid": uuid(number), "bus_id": f"0000:c{number}:00.0", "serial": 0x4123 + number}
        card = {**NPU, **own, **more}
        self.cards[number] = {key: value for key, value in card.items() if value is not None}

    def write(self) -> None:
        lines = [f"system {key} {value}" for key, value in self.system.items()]
        lines += [f"card {n} {key} {value}" for n, card in self.cards.items() for key, value in card.items()]
        aside = self.path.with_suffix(".new")
        aside.write_text("\n".join(lines) + "\n", encoding="utf-8")
        aside.replace(self.path)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tmp_path)
    monkeypatch.setenv("ULLAGE_REBELLIONS_SCENARIO", str(made.path))
    made.add(0)
    made.add(1)
    made.write()
    return made


def host(tmp_path: Path, hidden: tuple[str, ...] = ()) -> Host:
    (tmp_path / "proc").mkdir(exist_ok=True)
    library = str(build("rebellions", hidden=hidden))
    return Host(node_id="n1", sysfs=tmp_path / "sys", proc=tmp_path / "proc", settings={"library": library})


@pytest.fixture
def bench(world: World, tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(hidden: tuple[str, ...] = ()) -> Bench:
        made.append(Bench(open_reader(host(tmp_path, hidden))))
        return made[-1]

    yield make
    for one in made:
        one.reader.close()


child_of = pytest.fixture(children)


@pytest.mark.compiler
def test_an_npus_numbers_come_out_exactly(bench: Callable[..., Bench], tmp_path: Path) -> None:
    pci_function(tmp_path / "sys", "0000:c0:00.0", "1eff", "1220", "120000",
                 current_link_speed="32.0 GT/s PCIe", current_link_width=16)  # fmt: skip
    holder(tmp_path / "proc", 4711, "python3", "/dev/rbln0")
    made = bench()
    facts = made.facts().facts()[uuid(0)].attributes
    assert (facts["model"], facts["driver_version"], facts["firmware_version"]) == (
        "RBLN-CA22",
        "3.5.1",
        "3.5.0",
    )
    assert (facts["serial"], facts["device_node"], facts["pci_address"]) == (
        "0000000000004123", "/dev/rbln0", "0000:c0:00.0",
    )  # fmt: skip
    assert "board_id" not in facts
    seen = made.read()
    assert seen.cards()[uuid(0)].values == {
        "utilization_ratio": 0.98,
        "temperature_celsius": 41.0,
        "power_watts": pytest.approx(18.1),
        "performance_state": "P2",
        "health": "ok",
        "health_detail": "P2",
        "memory_total_bytes": 17179869184,
        "memory_used_bytes": 2576980377,
        "processes": 1,
        "pcie_generation": 5,
        "pcie_width": 16,
    }
    assert not seen.cards()[uuid(0)].failed
    assert set(seen.processes()) == {f"{uuid(0)}#4711"}


@pytest.mark.compiler
def test_the_bus_says_link_and_errors(bench: Callable[..., Bench], tmp_path: Path) -> None:
    pci_function(tmp_path / "sys", "0000:c0:00.0", "1eff", "1220", "120000")
    put_link(tmp_path / "sys", "0000:c0:00.0")
    made = bench()
    made.facts()
    cards = made.read().cards()
    assert of_the_bus(cards[uuid(0)].values) == PCIE_SAYS
    assert of_the_bus(cards[uuid(1)].values) == {}


@pytest.mark.compiler
def test_a_board_of_four_has_one_power_and_it_is_the_boards(
    bench: Callable[..., Bench], world: World
) -> None:
    world.cards.clear()
    world.add(0, name="RBLN-CA25", power_uw=45200000)
    for number in (1, 2, 3):
        world.add(number, name=None, power_uw=0)
    world.add(4)
    world.write()
    made = bench()
    facts = made.facts().facts()
    assert [facts[uuid(n)].attributes.get("chip") for n in range(5)] == [0, 1, 2, 3, None]
    assert len({facts[uuid(n)].attributes["board_id"] for n in range(4)}) == 1
    assert facts[uuid(3)].attributes["model"] == "RBLN-CA25"
    cards = made.read().cards()
    assert [cards[uuid(n)].values.get("board_power_watts") for n in range(5)] == [
        pytest.approx(45.2), None, None, None, None,
    ]  # fmt: skip
    assert [cards[uuid(n)].values.get("power_watts") for n in range(5)] == [None] * 4 + [pytest.approx(18.1)]
    assert "board_power_watts" in facts[uuid(1)].attributes["unsupported"]  # type: ignore[operator]


@pytest.mark.compiler
def test_p_states_are_health(bench: Callable[..., Bench], world: World) -> None:
    made = bench()
    made.read()
    world.cards[0]["pstate"] = 12
    world.cards[1]["pstate"] = 10
    world.write()
    seen = made.read()
    assert seen.cards()[uuid(0)].values["health"] == "critical"
    assert "hangs" in str(seen.cards()[uuid(0)].values["health_detail"])
    assert seen.cards()[uuid(1)].values["health"] == "degraded"
    assert sorted(str(e.code) for e in seen.events()) == ["health:critical", "health:degraded"]


@pytest.mark.compiler
def test_a_window_that_does_not_span_the_memory_is_no_memory_in_use(
    bench: Callable[..., Bench], world: World
) -> None:
    world.cards[0]["memory"] = "4096 1048576"
    world.write()
    made = bench()
    assert "memory_used_bytes" in made.facts().facts()[uuid(0)].attributes["unsupported"]  # type: ignore[operator]
    assert "memory_used_bytes" not in made.read().cards()[uuid(0)].values


@pytest.mark.compiler
@pytest.mark.parametrize(
    ("key", "value", "metric"),
    [
        ("temperature", "4000000", "temperature_celsius"),
        ("utilization", "4294967295", "utilization_ratio"),
        ("memory", "99999999999 16857735168", "memory_used_bytes"),
        ("fail rblnmlDeviceGetPowerUsage", "5", "power_watts"),
        ("fail rblnmlDeviceGetPowerUsage", "999", "power_watts"),
    ],
)
def test_garbage_is_broken_and_the_rest_comes(
    bench: Callable[..., Bench], world: World, key: str, value: str, metric: str
) -> None:
    world.cards[0][key] = value
    world.write()
    reading = bench().read().cards()[uuid(0)]
    assert reading.failed[metric] == "broken" and metric not in reading.values
    assert reading.values["performance_state"] == "P2"


@pytest.mark.compiler
def test_a_missing_symbol_a_refusal_and_a_lost_npu_are_three_answers(
    bench: Callable[..., Bench], world: World
) -> None:
    world.cards[0]["fail rblnmlDeviceGetTemperature"] = 3
    world.write()
    made = bench(hidden=("rblnmlDeviceGetUtilization",))
    assert "utilization_ratio" in made.facts().facts()[uuid(0)].attributes["unsupported"]  # type: ignore[operator]
    assert made.read().cards()[uuid(0)].failed == {"temperature_celsius": "not_permitted"}
    world.cards[1]["gone"] = 1
    world.write()
    seen = made.read()
    assert seen.cards()[uuid(1)].values["health"] == "lost"
    assert [e.subject for e in seen.events("card_lost")] == [uuid(1)]
    assert seen.cards()[uuid(0)].values["performance_state"] == "P2"


@pytest.mark.compiler
def test_another_npu_behind_the_handle_never_gives_its_values_as_the_first_ones(
    bench: Callable[..., Bench], world: World
) -> None:
    made = bench()
    (first, *_) = made.read().cards()
    world.cards[0].update({"uuid": "another", "temperature": 11})
    world.write()
    seen = made.read(Tier.FAST)
    assert seen.cards()[first].values["health"] == "lost"
    assert "temperature_celsius" not in seen.cards()[first].values
    assert [e.subject for e in seen.events("card_lost")] == [first]


@pytest.mark.compiler
def test_the_real_child_outlives_a_call_that_hangs(
    child_of: Callable[..., Child], world: World, tmp_path: Path
) -> None:
    world.cards[0]["hang rblnmlDeviceGetPowerState"] = 1
    world.write()
    child = child_of(backend, host(tmp_path), environment=dict(os.environ))
    for _ in range(4):
        seen = child.tick(Tier.SLOW, facts=True)
        if len(seen.cards()) == 2:
            break
        time.sleep(0.05)
    reading = seen.cards()[uuid(0)]
    assert reading.failed["performance_state"] == "deadline" and reading.failed["health"] == "deadline"
    assert reading.values["temperature_celsius"] == 41.0
    assert seen.cards()[uuid(1)].values["health"] == "ok"


def test_hardware_is_detected(tmp_path: Path) -> None:
    assert not detect(Host("n1", sysfs=tmp_path, dev=tmp_path), backend).present
    pci_function(tmp_path, "0000:c0:00.0", "1eff", "1220", "120000")
    assert detect(Host("n1", sysfs=tmp_path, dev=tmp_path), backend).cards_expected == 1


def test_json_is_decoded() -> None:
    decoded = decode((FIXTURES / "rbln_smi.json").read_text(encoding="utf-8"))
    assert decoded.driver_version == "3.5.1"
    first, second = decoded.cards
    assert first.values["power_watts"] == pytest.approx(18.1)
    assert first.values["utilization_ratio"] == pytest.approx(0.987)
    assert [p["pid"] for p in first.processes or ()] == [4711] and second.processes == []
    assert "power_watts" not in second.values
    assert [c.values["health"] for c in decoded.cards] == ["ok", "critical"]


def test_the_table_and_its_contexts_are_decoded() -> None:
    decoded = decode((FIXTURES / "rbln_smi_contexts.txt").read_text(encoding="utf-8"))
    assert [c.model for c in decoded.cards] == ["RBLN-CA25", None, "RBLN-CA22"]
    assert [c.extra.get("board") for c in decoded.cards] == [0, 0, 1]
    assert [p["pid"] for p in decoded.cards[0].processes or ()] == [4711]
    assert decoded.cards[1].processes == []
    text = (FIXTURES / "rbln_smi_contexts.txt").read_text(encoding="utf-8")
    assert decoded.driver_version == "3.5.1"
    assert decode(text.replace("3.5.1", "N/A  ")).driver_version is None


@pytest.mark.parametrize("text", ["", "x", "{}", '{"devices": 3}', "+--+\n|a|\n+--+"])
def test_strange_texts_are_refused(text: str) -> None:
    if text.startswith('{"devices"'):
        assert decode(text).cards == []
        return
    with pytest.raises(BadInput):
        decode(text)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_damaged_texts_never_crash(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["rbln_smi.json", "rbln_smi_contexts.txt"]))
    survives(decode, data.draw(damaged((FIXTURES / name).read_text(encoding="utf-8"))))
