"""NETINT VPUs: NVMe's files without a tool, the tool's report with one, in whatever form its release knows."""

from __future__ import annotations

import stat
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from maker_tree import Tree, facts, readings, roster_of, through_a_child, told
from mutations import survives
from tests.agent.maker_bench import PCIE_SAYS, of_the_bus, put_link

from ullage_agent.backend import Host, Reading
from ullage_agent.backends.netint import backend
from ullage_agent.backends.netint.decode import decode
from ullage_agent.backends.netint.reader import NetintMaker
from ullage_agent.backends.roster import Roster
from ullage_agent.detection import detect
from ullage_contract.catalogue import keys
from ullage_contract.errors import BadInput
from ullage_contract.sample import FACT_NAMES, Family

FIXTURES = Path(__file__).parent.parent / "fixtures/netint"
QUADRA = "netint-Q1A108A11FC060-0012"
ADDRESS = "0000:86:00.0"


def text(name: str) -> str:
    return (FIXTURES / name).read_text(encoding="utf-8")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path)
    tree.function(
        ADDRESS,
        "1d82:0401",
        "010802",
        "nvme",
        {
            "numa_node": 2,
            "current_link_speed": "16.0 GT/s PCIe",
            "current_link_width": 4,
            "nvme/nvme0/state": "live",
            "nvme/nvme0/serial": "Q1A108A11FC060-0012",
            "nvme/nvme0/model": "QuadraT1A",
            "nvme/nvme0/firmware_rev": "5006rKr2",
            "nvme/nvme0/nvme0n1/size": 8,
            "nvme/nvme0/hwmon4/name": "nvme",
            "nvme/nvme0/hwmon4/temp1_label": "Composite",
            "nvme/nvme0/hwmon4/temp1_input": 47850,
        },
    )
    tree.function("0000:01:00.0", "1d82:0101", "010802", "nvme", {"nvme/nvme9/serial": "SSD"})
    return tree


@pytest.fixture
def tool(tmp_path: Path) -> Callable[..., str]:
    """A stand-in for ni_rsrc_mon: prints a report again and again, knows only some forms, notes its starts."""

    def make(report: str, *, knows: tuple[str, ...] = ("json2",), hang: bool = False) -> str:
        path = tmp_path / "ni_rsrc_mon"
        path.write_text(
            textwrap.dedent(f"""\
                #!{sys.executable}
                import sys, time
                open({str(tmp_path / "starts")!r}, "a").write(" ".join(sys.argv[1:]) + "\\n")
                if sys.argv[4] not in {knows!r}:
                    sys.exit("Error: unknown selection for outputFormat: " + sys.argv[4])
                if {hang!r}:
                    time.sleep(600)
                print("*" * 50, flush=True)
                while True:
                    print(open({str(tmp_path / "report")!r}).read().strip().removeprefix("*" * 50), flush=True)
                    time.sleep(0.1)
                """)
        )
        (tmp_path / "report").write_text(report)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return str(path)

    return make


@pytest.fixture
def roster_with(tree: Tree) -> Iterator[Callable[[Host], Roster]]:
    made: list[Roster] = []

    def make(host: Host) -> Roster:
        made.append(roster_of(NetintMaker(host)))
        return made[-1]

    yield make
    for roster in made:
        roster.close()


def eventually(roster: Roster, key: str = "encoder_ratio", card: str = QUADRA) -> Reading:
    """The first reading with the tool's values: it needs a moment to print."""
    until = time.monotonic() + 20
    while True:
        reading = readings(roster)[card]
        if (key in reading.values and not reading.failed) or time.monotonic() > until:
            return reading
        time.sleep(0.05)


def test_vpus_are_found_and_the_makers_ssds_are_not(tree: Tree) -> None:
    found = detect(tree.host(), backend)
    assert found.present and found.cards_expected == 1


def test_every_value_comes_out_exactly(
    roster_with: Callable[[Host], Roster], tree: Tree, tool: Callable[..., str]
) -> None:
    tree.process(50, "ffmpeg", {3: ("/dev/nvme0", ""), 4: ("/dev/nvme0n1", "")})
    tree.process(51, "ni_rsrc_mon", {3: ("/dev/nvme0", "")})
    roster = roster_with(tree.host(tool=tool(text("json2.txt"))))
    reading = eventually(roster)
    assert not reading.failed
    assert reading.values == {
        "health": "ok",
        "health_detail": "live",
        "temperature_celsius": 47.85,
        "utilization_ratio": 0.62,
        "decoder_ratio": 0.11,
        "encoder_ratio": 0.62,
        "control_cpu_ratio": 0.33,
        "memory_ratio": 0.47,
        "power_watts": 17.25,
        "pcie_tx_bytes_per_second": 600e6,
        "processes": 1,
        "pcie_generation": 4,
        "pcie_width": 4,
    }
    attributes = facts(roster)[QUADRA].attributes
    assert attributes["model"] == "QuadraT1A"
    assert attributes["serial"] == "Q1A108A11FC060-0012"
    assert attributes["firmware_version"] == "5006rKr2"
    assert attributes["device_node"] == "/dev/nvme0"
    assert attributes["util_kind"] == "duty_cycle"
    assert set(attributes) <= set(FACT_NAMES)


def test_the_bus_says_link_and_errors(roster_with: Callable[[Host], Roster], tree: Tree) -> None:
    put_link(tree.sysfs, ADDRESS)
    assert of_the_bus(readings(roster_with(tree.host()))[QUADRA].values) == PCIE_SAYS


def test_the_tool_is_started_once_for_all_readings(
    roster_with: Callable[[Host], Roster], tree: Tree, tool: Callable[..., str], tmp_path: Path
) -> None:
    roster = roster_with(tree.host(tool=tool(text("json2.txt")), interval=7))
    eventually(roster)
    for _ in range(10):
        readings(roster)
    assert (tmp_path / "starts").read_text() == "-n 7 -o json2\n"


def test_a_release_that_knows_only_text_is_asked_for_text(
    roster_with: Callable[[Host], Roster], tree: Tree, tool: Callable[..., str], tmp_path: Path
) -> None:
    roster = roster_with(tree.host(tool=tool(text("text.txt"), knows=("text",))))
    reading = eventually(roster)
    assert reading.values["encoder_ratio"] == 0.62
    assert reading.values["utilization_ratio"] == 0.8, "the AI engine was the busiest"
    assert reading.values["power_watts"] == 17.25
    assert [line.split()[-1] for line in (tmp_path / "starts").read_text().splitlines()] == [
        "json2",
        "json1",
        "text",
    ]
    unsupported = facts(roster)[QUADRA].attributes["unsupported"]
    assert isinstance(unsupported, list) and "control_cpu_ratio" in unsupported


def test_without_the_tool_nvme_still_tells_who_it_is_and_how_it_is(
    roster_with: Callable[[Host], Roster], tree: Tree
) -> None:
    roster = roster_with(tree.host(tool="/nowhere/ni_rsrc_mon"))
    unsupported = facts(roster)[QUADRA].attributes["unsupported"]
    assert isinstance(unsupported, list) and {"utilization_ratio", "power_watts"} <= set(unsupported)
    reading = readings(roster)[QUADRA]
    assert reading.values["health"] == "ok" and reading.values["temperature_celsius"] == 47.85
    assert not reading.failed


def test_a_tool_that_hangs_costs_only_its_own_values(
    roster_with: Callable[[Host], Roster], tree: Tree, tool: Callable[..., str]
) -> None:
    roster = roster_with(tree.host(tool=tool(text("json2.txt"), hang=True)))
    started = time.monotonic()
    reading = readings(roster)[QUADRA]
    assert time.monotonic() - started < 5, "one wait for all of its values, not one each"
    assert reading.failed["encoder_ratio"] == "broken"
    assert reading.values["health"] == "ok" and reading.values["pcie_generation"] == 4


def test_a_device_the_tool_does_not_list_fails_and_is_not_zero(
    roster_with: Callable[[Host], Roster], tree: Tree, tool: Callable[..., str]
) -> None:
    roster = roster_with(tree.host(tool=tool(text("json2.txt").replace("nvme0", "nvme7"))))
    time.sleep(0.5)
    reading = readings(roster)[QUADRA]
    assert reading.failed["encoder_ratio"] == "broken" and "encoder_ratio" not in reading.values


def test_a_dead_controller_is_critical_and_a_vanished_one_lost(
    roster_with: Callable[[Host], Roster], tree: Tree
) -> None:
    roster = roster_with(tree.host(tool="/nowhere/ni_rsrc_mon"))
    facts(roster)
    readings(roster)
    tree.write(f"bus/pci/devices/{ADDRESS}", {"nvme/nvme0/state": "dead"})
    assert readings(roster)[QUADRA].values["health"] == "critical"
    tree.remove(ADDRESS)
    assert readings(roster)[QUADRA].values["health"] == "lost"
    assert [event.kind for event in told(roster)] == ["ras", "card_lost"]


def test_a_real_child_gives_the_same(tree: Tree, tool: Callable[..., str]) -> None:
    host = tree.host(tool=tool(text("json2.txt")))
    items = through_a_child(backend, host, ticks=3)
    cards = [i for i in items if isinstance(i, Reading) and i.family is Family.CARD]
    assert cards[-1].values["encoder_ratio"] == 0.62
    assert cards[-1].values["temperature_celsius"] == 47.85


def test_the_description_names_only_what_there_is() -> None:
    assert set(backend.sources) <= set(keys(Family.CARD))


# ---- decode


def test_text_of_two_cards() -> None:
    found = decode(text("text.txt"))
    assert (found.tool, found.format) == ("ni_rsrc_mon", "text")
    assert found.extra["tool_version"] == "5006rKr2"
    first, second = found.cards
    assert first.index == 0
    assert first.serial == "Q1A108A11FC060-0012"
    assert first.values == {
        "utilization_ratio": 0.8,
        "decoder_ratio": 0.11,
        "encoder_ratio": 0.62,
        "memory_ratio": 0.47,
        "temperature_celsius": 48.0,
        "power_watts": 17.25,
    }
    assert first.extra["sessions"] == {"decoder": 10, "encoder": 9, "scaler": 7, "ai": 1}
    assert second.values == {
        "utilization_ratio": 0.0,
        "decoder_ratio": 0.0,
        "encoder_ratio": 0.0,
        "memory_ratio": 0.01,
    }, "0 K is no temperature and N/A no power"


def test_logans_text() -> None:
    found = decode(text("logan.txt"))
    assert found.tool == "ni_rsrc_mon_logan"
    card = found.cards[0]
    assert card.values == {
        "utilization_ratio": 0.4,
        "decoder_ratio": 0.25,
        "encoder_ratio": 0.4,
        "memory_ratio": 0.2,
    }
    assert card.extra["namespace"] == "/dev/nvme3n1"


def test_full_text_has_gaps_and_they_are_no_values() -> None:
    card = decode(text("full.txt")).cards[0]
    assert card.values == {
        "utilization_ratio": 0.62,
        "decoder_ratio": 0.11,
        "encoder_ratio": 0.62,
        "control_cpu_ratio": 0.33,
        "memory_ratio": 0.47,
        "pcie_tx_bytes_per_second": 600e6,
    }
    assert card.extra["firmware"] == "5006rKr2"


def test_simple_text_is_the_firmwares_load_alone() -> None:
    found = decode(text("simple.txt"))
    assert [card.values for card in found.cards] == [{"control_cpu_ratio": 0.33}, {"control_cpu_ratio": 0.02}]


def test_json_in_pieces_with_bare_words_and_trailing_commas() -> None:
    found = decode(text("json.txt"))
    assert len(found.cards) == 1
    card = found.cards[0]
    assert card.pci_address == "0000:86:00.0"
    assert card.values["decoder_ratio"] == 0.11 and card.values["encoder_ratio"] == 0.62


def test_json_that_was_cut_off_keeps_what_it_has() -> None:
    whole = text("json2.txt")
    found = decode(whole[: whole.index('"pcies"')])
    assert found.cards[0].values["encoder_ratio"] == 0.62
    assert found.notes == ["truncated: the JSON is cut off"]


@pytest.mark.parametrize("foreign", ["", "hello", '{"a": 1}', "/dev/sda: 5%"])
def test_a_text_that_is_not_the_tools_is_bad_input(foreign: str) -> None:
    with pytest.raises(BadInput):
        decode(foreign)


def test_damage_raises_nothing_but_bad_input() -> None:
    survives(decode, [path.read_text() for path in sorted(FIXTURES.glob("*.txt"))])
