"""FuriosaAI: the emulated library through the real loader and child, and furiosa-smi's outputs."""

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
    put,
    put_link,
    straight,
)
from tests.emulators.build import build

from ullage_agent.backend import Host
from ullage_agent.backends.furiosa import backend
from ullage_agent.backends.furiosa.decode import decode
from ullage_agent.backends.furiosa.reader import Furiosa, open_reader
from ullage_contract.catalogue import Tier
from ullage_contract.errors import BadInput, NotPresent

FIXTURES = Path(__file__).parents[1] / "fixtures/furiosa"
FIRST = "3E93AE7C-E8EA-4C62-BED6-0000000000A0"
SECOND = "3E93AE7C-E8EA-4C62-BED6-0000000000A1"
CARD: Mapping[str, object] = {
    "name": "npu0",
    "serial": "RNGDTEST01",
    "uuid": FIRST,
    "bdf": "0000:17:00.0",
    "firmware": "1.11.0 cfd5306",
    "alive": 1,
    "core_mhz": 1000,
    "memory_mhz": 6000,
    "power": 40.32,
    "temperature": "33.01 28.5",
    "counters": "1700000000 1000 100",
    "governor": 0,
    "pcie": "5 16 16",
}


class World:
    """The scenario file; ``write`` waits until the library would see it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "scenario.txt"
        self.system: dict[str, object] = {"driver": "2.0.1 aa"}
        self.cards: dict[int, dict[str, object]] = {}

    def add(self, number: int, **more: object) -> dict[str, object]:
        card = {**CARD, "name": f"npu{number}", **{k.replace("__", " "): v for k, v in more.items()}}
        self.cards[number] = card
        return card

    def write(self) -> None:
        lines = [f"system {key} {value}" for key, value in self.system.items()]
        lines += [f"card {n} {key} {value}" for n, card in self.cards.items() for key, value in card.items()]
        aside = self.path.with_suffix(".new")
        aside.write_text("\n".join(lines) + "\n", encoding="utf-8")
        aside.replace(self.path)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tmp_path)
    monkeypatch.setenv("ULLAGE_FURIOSA_SCENARIO", str(made.path))
    made.add(0)
    made.add(1, uuid=SECOND, serial="RNGDTEST02", bdf="0000:2a:00.0")
    made.write()
    return made


@pytest.fixture
def bench(world: World, tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(*, defines: tuple[str, ...] = (), hidden: tuple[str, ...] = ()) -> Bench:
        (tmp_path / "proc").mkdir(exist_ok=True)
        put(tmp_path / "dev/rngd", {"npu0mgmt": "", "npu0pe0-3": "", "npu1mgmt": ""})
        host = Host(
            node_id="n1",
            sysfs=tmp_path / "sys",
            proc=tmp_path / "proc",
            dev=tmp_path / "dev",
            settings={"library": str(build("furiosa", defines, hidden))},
        )
        made.append(Bench(open_reader(host)))
        return made[-1]

    yield make
    for one in made:
        one.reader.close()


child_of = pytest.fixture(children)


@pytest.mark.compiler
def test_a_cards_numbers_come_out_exactly(bench: Callable[..., Bench], world: World, tmp_path: Path) -> None:
    holder(tmp_path / "proc", 900, "furiosa-llm", "/dev/rngd/npu0pe0-3")
    made = bench()
    facts = made.facts().facts()[FIRST].attributes
    assert (facts["model"], facts["serial"], facts["pci_address"]) == ("RNGD", "RNGDTEST01", "0000:17:00.0")
    assert (facts["firmware_version"], facts["driver_version"]) == ("1.11.0, cfd5306", "2.0.1, aa")
    world.cards[0]["counters"] = "1700000010 11000 8100"  # 8000 of 10000 cycles busy
    world.write()
    seen = made.read()
    assert seen.cards()[FIRST].values == {
        "health": "ok",
        "health_detail": "alive",
        "utilization_ratio": pytest.approx(0.8),
        "power_watts": pytest.approx(40.32),
        "temperature_celsius": 33.01,
        "board_temperature_celsius": 28.5,
        "clock_core_hertz": 1e9,
        "clock_memory_hertz": 6e9,
        "performance_state": "performance",
        "pcie_generation": 5,
        "pcie_width": 16,
        "pcie_width_max": 16,
        "processes": 1,
    }
    assert not seen.cards()[FIRST].failed
    assert set(seen.processes()) == {f"{FIRST}#900"}


@pytest.mark.compiler
def test_the_bus_says_link_and_errors_where_the_library_does_not(
    bench: Callable[..., Bench], world: World, tmp_path: Path
) -> None:
    pci_function(tmp_path / "sys", "0000:17:00.0", "1ed2", "0001", "120000")
    put_link(tmp_path / "sys", "0000:17:00.0")
    del world.cards[0]["pcie"]
    world.write()
    made = bench()
    made.facts()
    assert of_the_bus(made.read().cards()[FIRST].values) == PCIE_SAYS


@pytest.mark.compiler
def test_counters_that_do_not_move_say_nothing_and_a_reset_neither(
    bench: Callable[..., Bench], world: World
) -> None:
    made = bench()
    made.facts()
    assert "utilization_ratio" not in made.read(Tier.FAST).cards()[FIRST].values  # the same instant
    world.cards[0]["counters"] = "1700000010 500 50"  # began anew
    world.write()
    assert "utilization_ratio" not in made.read(Tier.FAST).cards()[FIRST].values
    world.cards[0]["counters"] = "1700000020 1500 50"
    world.write()
    assert made.read(Tier.FAST).cards()[FIRST].values["utilization_ratio"] == 0.0


@pytest.mark.compiler
def test_an_early_release_is_read_by_its_own_layout(bench: Callable[..., Bench], world: World) -> None:
    world.cards[0]["memory"] = "51002736640 1073741824"
    world.write()
    made = bench(defines=("OLD",))
    made.facts()
    world.cards[0]["counters"] = "1700000010 2000 350"
    world.write()
    reading = made.read().cards()[FIRST]
    assert reading.values["utilization_ratio"] == pytest.approx(0.25)
    assert reading.values["memory_used_bytes"] == 1073741824
    assert reading.values["memory_total_bytes"] == 51002736640


@pytest.mark.compiler
def test_a_symbol_a_release_lacks_is_one_metric_less(bench: Callable[..., Bench]) -> None:
    made = bench(hidden=("furiosa_smi_get_device_power_consumption",))
    unsupported = made.facts().facts()[FIRST].attributes["unsupported"]
    assert {"power_watts", "memory_used_bytes"} <= set(unsupported)  # type: ignore[arg-type]
    reading = made.read().cards()[FIRST]
    assert "power_watts" not in reading.values and not reading.failed
    assert reading.values["temperature_celsius"] == 33.01


@pytest.mark.compiler
@pytest.mark.parametrize(
    ("key", "value", "metric"),
    [
        ("power", "-3", "power_watts"),
        ("power", "1e300", "power_watts"),
        ("temperature", "nan nan", "temperature_celsius"),
        ("temperature", "99999 20", "temperature_celsius"),
        ("cores", "4000000000", "utilization_ratio"),
    ],
)
def test_garbage_is_broken_and_the_rest_comes(
    bench: Callable[..., Bench], world: World, key: str, value: str, metric: str
) -> None:
    world.cards[0][key] = value
    world.write()
    reading = bench().read().cards()[FIRST]
    assert reading.failed[metric] == "broken" and metric not in reading.values
    assert reading.values["clock_core_hertz"] == 1e9


@pytest.mark.compiler
def test_a_dead_card_is_critical_and_a_lost_one_lost(bench: Callable[..., Bench], world: World) -> None:
    made = bench()
    made.read()
    world.cards[0]["alive"] = 0
    world.write()
    seen = made.read()
    assert seen.cards()[FIRST].values["health_detail"] == "not alive"
    assert [(e.kind, e.code) for e in seen.events()] == [("ras", "health:critical")]
    world.cards[0]["lost"] = 1
    world.write()
    seen = made.read()
    assert seen.cards()[FIRST].values["health"] == "lost"
    assert [e.subject for e in seen.events("card_lost")] == [FIRST]
    assert seen.cards()[SECOND].values["health"] == "ok"


@pytest.mark.compiler
def test_a_card_is_its_uuid_when_indexes_move(bench: Callable[..., Bench], world: World) -> None:
    made = bench()
    made.read()
    world.cards = {0: {**world.cards[1], "name": "npu0"}, 1: {**world.cards[0], "name": "npu1", "power": 77}}
    world.write()
    assert made.read().cards()[FIRST].values["power_watts"] == 77


@pytest.mark.compiler
def test_handles_that_moved_between_two_looks_mix_nobody_up(
    bench: Callable[..., Bench], world: World
) -> None:
    made = bench()
    made.read()
    world.cards = {0: {**world.cards[1], "name": "npu0"}, 1: {**world.cards[0], "name": "npu1", "power": 77}}
    world.write()
    seen = made.read(Tier.FAST)
    assert seen.cards()[FIRST].values["power_watts"] == 77 and not seen.events()


@pytest.mark.compiler
def test_a_card_that_will_not_say_its_name_now_is_asked_on(bench: Callable[..., Bench], world: World) -> None:
    made = bench()
    made.read()
    world.cards[0]["fail furiosa_smi_get_device_info"] = 7
    world.write()
    seen = made.read()
    assert seen.cards()[FIRST].values["power_watts"] == pytest.approx(40.32)
    assert not seen.events("card_lost")


@pytest.mark.compiler
def test_what_is_missing_is_said(bench: Callable[..., Bench], world: World, tmp_path: Path) -> None:
    world.cards[0]["fail furiosa_smi_get_device_temperature"] = 8
    world.write()
    assert bench().read().cards()[FIRST].failed["temperature_celsius"] == "not_permitted"
    maker = Furiosa(Host(node_id="n1", settings={"library": str(tmp_path / "absent.so")}))
    with pytest.raises(NotPresent, match="install the maker's driver"):
        maker.open(straight)


@pytest.mark.compiler
def test_the_real_child_outlives_a_call_that_hangs(
    child_of: Callable[..., Child], world: World, tmp_path: Path
) -> None:
    world.cards[0]["hang furiosa_smi_get_device_temperature"] = 1
    world.write()
    host = Host(
        node_id="n1", sysfs=tmp_path, proc=tmp_path, dev=tmp_path, settings={"library": str(build("furiosa"))}
    )
    child = child_of(backend, host, environment=dict(os.environ))
    seen = child.tick(Tier.SLOW, facts=True)
    for _ in range(3):
        seen = child.tick(Tier.SLOW, facts=True)
        if len(seen.cards()) == 2:
            break
        time.sleep(0.05)
    reading = seen.cards()[FIRST]
    assert reading.failed["temperature_celsius"] == "deadline"
    assert reading.values["power_watts"] == pytest.approx(40.32)
    assert seen.cards()[SECOND].values["temperature_celsius"] == 33.01


def test_columns_are_read_by_their_heads() -> None:
    wide = decode((FIXTURES / "info_wide.txt").read_text(encoding="utf-8"))
    assert [c.serial for c in wide.cards] == ["RNGDTEST01", "RNGDTEST02"]
    assert [c.values.get("temperature_celsius") for c in wide.cards] == [30.18, None]
    status = decode((FIXTURES / "status_memory.txt").read_text(encoding="utf-8"))
    assert status.cards[0].values["utilization_ratio"] == pytest.approx(0.85)
    assert status.cards[0].values["memory_total_bytes"] == round(47.5 * (1 << 30))
    assert [c.values["health"] for c in status.cards] == ["ok", "critical"]
    assert [c.extra["cores_occupied"] for c in status.cards] == [2, 0]


def test_who_holds_what_is_decoded() -> None:
    decoded = decode((FIXTURES / "ps.txt").read_text(encoding="utf-8"))
    assert [c.index for c in decoded.cards] == [0, 2]
    assert [p["pid"] for p in decoded.cards[0].processes or ()] == [132529, 132700]
    assert (decoded.cards[0].processes or ())[0]["cores"] == "0-3"
    listed = decode('[{"pid": 7, "device": "npu3:4-7", "memory_usage": 1024, "command": "serve"}]')
    assert listed.cards[0].index == 3
    assert (listed.cards[0].processes or ())[0]["memory_used_bytes"] == 1024


def test_json_of_two_releases_is_decoded() -> None:
    status = decode((FIXTURES / "status.json").read_text(encoding="utf-8"))
    assert [c.values.get("utilization_ratio") for c in status.cards] == [0.25, None]
    assert [c.values["health"] for c in status.cards] == ["ok", "critical"]
    info = decode(
        '[{"arch":"rngd","dev_name":"npu4","temperature":"33.0°C","power":"41 W","pci_bdf":"0000:27:00.0"}]'
    )
    assert info.cards[0].index == 4 and info.cards[0].values["power_watts"] == 41.0


@pytest.mark.parametrize("text", ["", "x", "{}", "[]", "+--+\n|a|\n+--+"])
def test_strange_texts_are_refused(text: str) -> None:
    with pytest.raises(BadInput):
        decode(text)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_damaged_texts_never_crash(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["info_wide.txt", "status_memory.txt", "ps.txt", "status.json"]))
    survives(decode, data.draw(damaged((FIXTURES / name).read_text(encoding="utf-8"))))
