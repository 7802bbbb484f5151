"""Faults made on purpose: only where the settings allow it, through what the real readers read, labelled as made up."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rdma_tree import unpack

from ullage_agent import cli
from ullage_agent.assembly import Agent
from ullage_agent.backends.simulated.faults import parse as parse_simulated
from ullage_agent.commands import inject
from ullage_agent.config import Config, Inject, load
from ullage_agent.injection import mix as mixes
from ullage_agent.injection import scenario as scenarios
from ullage_agent.injection.scenario import Fault
from ullage_agent.injection.targets import Targets, simulated_line
from ullage_agent.registry import load as registry
from ullage_agent.sampler import Sampler
from ullage_agent.sources.kernel_events import INJECTED_MARK, Recognizer
from ullage_agent.sources.kernel_lines import parse_record
from ullage_agent.sources.kernel_log import KernelLog, patterns_of
from ullage_contract.catalogue import Tier
from ullage_contract.clock import ManualClock, SystemClock
from ullage_contract.errors import BadInput, ConfigError
from ullage_contract.event import Event
from ullage_contract.sample import Origin


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(
        node="n1",
        inject=Inject(allow=True),
        backends={"simulated": {"control_file": str(tmp_path / "faults"), "cards": 8}},
        enabled={"simulated": True},
    )


def write(folder: Path, text: str) -> str:
    file = folder / "scenario.toml"
    file.write_text(text, encoding="utf-8")
    return str(file)


LOST = '[[fault]]\nat = 5\ndo = "lost"\ncard = 3\n[[fault]]\nat = 65\ndo = "back"\ncard = 3\n'


# ---- only where it is allowed


def test_nothing_is_injected_where_the_settings_do_not_say_so(config: Config, tmp_path: Path) -> None:
    forbidden = replace(config, inject=Inject())
    with pytest.raises(ConfigError, match="allow is not true"):
        inject.run(forbidden, write(tmp_path, LOST), ManualClock())
    assert not (tmp_path / "faults").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[[fault]]\ntarget = "kernel_log"\ndo = "line"\nline = "x"\n', "kmsg is not true"),
        ('[[fault]]\ntarget = "rdma"\ndo = "port_down"\ndevice = "mlx5_0"\n', "names no tree"),
        ('[[fault]]\ntarget = "emulated"\ndo = "lost"\nmaker = "nvidia"\n', "no scenario file"),
    ],
)
def test_a_place_the_settings_do_not_name_stops_everything_before_the_first_fault(
    config: Config, tmp_path: Path, text: str, says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        inject.run(config, write(tmp_path, LOST + text), ManualClock())
    assert not (tmp_path / "faults").exists()


def test_drill_places_count_only_where_it_is_allowed_and_the_real_sys_is_never_one(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text('node = "n"\n[inject]\nsysfs = "/run/drill"\nkmsg = true\n', encoding="utf-8")
    assert load(file).inject == Inject()
    file.write_text('node = "n"\n[inject]\nallow = true\nsysfs = "/sys/"\n', encoding="utf-8")
    with pytest.raises(ConfigError, match="never written to"):
        load(file)


# ---- scenarios


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "nothing happens"),
        ("[[fault]]\n", "write one of xid"),
        ('[[fault]]\ndo = "explode"\n', "write one of xid"),
        ('[[fault]]\ndo = "lost"\ncrad = 3\n', "did you mean card"),
        ('[[fault]]\ndo = "back"\ncard = 3\n', "ends nothing"),
        ('[[fault]]\ndo = "xid"\ncode = "79; lost card=1"\n', "letters, digits"),
        (
            '[[fault]]\ntarget = "rdma"\ndo = "port_down"\ndevice = "../../etc"\n',
            "letters, digits|plain name",
        ),
        ('[[fault]]\ntarget = "rdma"\ndo = "counter"\ndevice = "mlx5_0"\n', "needs it"),
        ('[[fault]]\ntarget = "kernel_log"\ndo = "line"\nline = "a\\nb"\n', "one line"),
        ('[[fault]]\nat = -1\ndo = "lost"\n', "from 0"),
        ("fault = 3\n", "tables"),
        ("x = 1\n" + LOST, "no key of a scenario"),
        ("not toml", "not TOML"),
    ],
)
def test_a_wrong_scenario_says_what_to_write(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        scenarios.parse(text, "drill.toml")


def test_a_scenario_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(BadInput, match="llama3"):
        scenarios.load("/nowhere/x.toml")


def test_every_shipped_scenario_is_one_and_the_simulated_cards_understand_it(config: Config) -> None:
    for name in scenarios.shipped():
        for fault in inject.planned(config, scenarios.load(name), seconds=3600, seed=1, faster=200_000):
            parse_simulated(simulated_line(fault), 0.0)


# ---- simulated cards


def test_a_lost_card_comes_back_when_the_scenario_says(config: Config, tmp_path: Path) -> None:
    clock = ManualClock()
    began = clock.monotonic()
    made = inject.run(config, write(tmp_path, LOST), clock)
    assert clock.monotonic() == began + 5
    assert (tmp_path / "faults").read_text() == "lost card=3 for=60\n"
    assert made["faults"][0]["wrote"] == "lost card=3 for=60"


def test_a_dry_run_makes_nothing(config: Config, tmp_path: Path) -> None:
    made = inject.run(config, write(tmp_path, LOST), ManualClock(), dry_run=True)
    assert [one["do"] for one in made["faults"]] == ["lost"]
    assert not (tmp_path / "faults").exists()


# ---- the kernel log


def test_an_injected_line_in_a_recorded_log_is_read_by_the_agents_own_reader(
    config: Config, tmp_path: Path
) -> None:
    log = tmp_path / "kmsg"
    log.write_text("6,41,1000000,-;something older\n", encoding="ascii")
    allowed = replace(config, inject=Inject(allow=True, kernel_log=log))
    clock = ManualClock()
    text = '[[fault]]\ntarget = "kernel_log"\ndo = "xid"\npci = "3b:00.0"\ncode = "79"\n'
    inject.run(allowed, write(tmp_path, text), clock)
    assert parse_record(log.read_text().splitlines()[1]).sequence == 42  # type: ignore[union-attr]
    reader = KernelLog(
        patterns_of(registry().backends),
        node_id="n1",
        clock=clock,
        path=log,
        card_of=lambda pci, uuid: f"card-{pci}",
    )
    found: list[Event] = []
    try:
        for _ in range(500):
            found += reader.events()
            if found:
                break
            reader._stopped(0.02)
    finally:
        reader.close()
    assert [(e.kind, e.code, e.subject) for e in found] == [("xid", "79", "card-0000:3b:00.0")]


def test_a_line_in_the_kernels_own_log_says_that_it_was_injected(config: Config, tmp_path: Path) -> None:
    device = tmp_path / "device"
    device.touch()
    allowed = replace(config, inject=Inject(allow=True, kmsg=True))
    fault = Fault(0, "kernel_log", "xid", pci="0000:3b:00.0", code="79")
    Targets(allowed, ManualClock(), kmsg=device).make(fault)
    (line,) = device.read_text().splitlines()
    assert line.startswith("<4>NVRM: Xid (PCI:0000:3b:00): 79,")
    assert line.endswith(INJECTED_MARK)


def test_an_injected_line_is_its_own_event_and_hides_no_real_one() -> None:
    recognizer = Recognizer(
        patterns_of(registry().backends),
        node_id="n",
        card_of=lambda pci, uuid: pci,
        time_of=lambda line: 100.0,
    )
    text = "NVRM: Xid (PCI:0000:3b:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus."
    made = recognizer.feed(parse_record(f"4,1,1,-;{text} {INJECTED_MARK}"))  # type: ignore[arg-type]
    real = recognizer.feed(parse_record(f"4,2,1,-;{text}"))  # type: ignore[arg-type]
    assert made is not None and made.attributes["injected"] == 1
    assert real is not None and "injected" not in real.attributes


def test_whatever_is_injected_leaves_the_agent_as_simulated() -> None:
    class Kept:
        def __init__(self) -> None:
            self.origins: list[Origin] = []

        def events(self, events: Any, *, origin: Origin = Origin.REAL) -> None:
            self.origins.append(origin)

    sink: Any = Kept()
    sampler = Sampler(node_id="n1", clock=ManualClock(), sinks=[sink])
    from ullage_contract.event import Severity
    from ullage_contract.sample import Family

    for attributes in ({"injected": 1}, {}):
        sampler.emit(
            Event(
                1.0,
                "xid",
                Severity.FATAL,
                Family.CARD,
                "GPU-1",
                "kernel_log",
                "x",
                code="79",
                attributes=attributes,
            )
        )
    assert sink.origins == [Origin.SIMULATED, Origin.REAL]


# ---- RDMA trees and emulators


def test_a_port_of_a_drill_tree_goes_down_counts_and_comes_up(config: Config, tmp_path: Path) -> None:
    root = unpack("ib400_four_ports.txt", tmp_path / "sys")
    port = next(root.glob("*/ports/1/state")).parent
    device = port.parents[1].name
    counter = next(file.name for file in sorted((port / "counters").iterdir()) if file.name == "link_downed")
    before = int((port / "counters" / counter).read_text())
    allowed = replace(config, inject=Inject(allow=True, sysfs=tmp_path / "sys"))
    targets = Targets(allowed, ManualClock())
    targets.make(Fault(0, "rdma", "port_down", device=device, port=1))
    assert (port / "state").read_text() == "1: DOWN\n"
    targets.make(Fault(0, "rdma", "counter", device=device, port=1, counter=counter, count=3))
    assert int((port / "counters" / counter).read_text()) == before + 3
    targets.make(Fault(0, "rdma", "port_up", device=device, port=1))
    assert (port / "state").read_text() == "4: ACTIVE\n"
    with pytest.raises(BadInput, match="no counter"):
        targets.make(Fault(0, "rdma", "counter", device=device, port=1, counter="nothing"))
    with pytest.raises(BadInput, match="no port"):
        targets.make(Fault(0, "rdma", "port_down", device="mlx9_9", port=1))


def test_an_emulators_card_is_lost_and_comes_back(config: Config, tmp_path: Path) -> None:
    world = tmp_path / "nvml.txt"
    world.write_text("card 0 uuid GPU-1\ncard 0 power_mw 300000\n", encoding="ascii")
    targets = Targets(replace(config, inject=Inject(allow=True, emulated={"nvidia": world})), ManualClock())
    targets.make(Fault(0, "emulated", "lost", maker="nvidia", card=0))
    assert "card 0 lost 1" in world.read_text()
    targets.make(Fault(0, "emulated", "line", maker="nvidia", line="card 0 field 230 fail 3"))
    targets.make(Fault(0, "emulated", "back", maker="nvidia", card=0))
    assert world.read_text().splitlines()[-1] == "card 0 field 230 fail 3"
    assert "lost" not in world.read_text()


# ---- the mix


def test_the_llama_3_mix_is_what_was_counted() -> None:
    mix = mixes.mix(scenarios.load("llama3"))
    counts = {cause.name: cause.count for cause in mix.causes}
    assert mix.count == 419
    assert (counts["faulty GPU"], counts["GPU HBM3 memory"], counts["network switch or cable"]) == (
        148,
        72,
        35,
    )
    assert (counts["GPU SRAM memory"], counts["GPU system processor"], counts["CPU"]) == (19, 17, 2)
    assert (mix.cards, mix.seconds) == (16_384, 54 * 86_400)
    assert mix.source


def test_a_drawn_mix_has_the_measured_rate_and_shares_and_the_same_seed_the_same_faults() -> None:
    mix = mixes.mix(scenarios.load("llama3"))
    drawn = mixes.draw(mix, nodes=2048, cards=8, seconds=54 * 86_400, seed=1, faster=10)
    assert len(drawn) == pytest.approx(4190, rel=0.05)
    share = sum(one.cause == "faulty GPU" for one in drawn) / len(drawn)
    assert share == pytest.approx(148 / 419, abs=0.03)
    assert drawn == mixes.draw(mix, nodes=2048, cards=8, seconds=54 * 86_400, seed=1, faster=10)
    assert drawn != mixes.draw(mix, nodes=2048, cards=8, seconds=54 * 86_400, seed=2, faster=10)
    assert [one.at for one in drawn] == sorted(one.at for one in drawn)
    assert max(one.node for one in drawn) < 2048 and max(one.place for one in drawn) < 8


def test_more_than_a_fleet_of_faults_is_not_drawn() -> None:
    mix = mixes.mix(scenarios.load("llama3"))
    with pytest.raises(ConfigError, match="at most"):
        mixes.draw(mix, nodes=10_000, cards=8, seconds=365 * 86_400, seed=1, faster=100)


def test_a_mix_on_one_node_that_would_do_nothing_says_so(config: Config) -> None:
    with pytest.raises(ConfigError, match="nothing happens on so few cards"):
        inject.run(config, "llama3", ManualClock(), seconds=60)


# ---- the command


def test_the_command_lists_what_ships_and_what_this_node_allows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "agent.toml"
    file.write_text('node = "n"\n', encoding="utf-8")
    assert cli.main(["--config", str(file), "inject", "list"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {one["name"] for one in document["scenarios"]} >= {"llama3", "one-of-each"}
    assert document["allowed"]["allow"] is False
    assert cli.main(["--config", str(file), "inject", "one-of-each"]) == 2
    assert "allow is not true" in capsys.readouterr().err


# ---- an agent that reads the places of a drill


class Heard:
    """A sink that keeps what came by origin."""

    def __init__(self) -> None:
        self.heard: list[tuple[Origin, str, str]] = []
        self.rows: set[tuple[Origin, str]] = set()

    def facts(self, facts: Any, *, origin: Origin = Origin.REAL) -> None: ...

    def samples(self, samples: Any, *, origin: Origin = Origin.REAL) -> None:
        self.rows |= {(origin, sample.family.value) for sample in samples}

    def events(self, events: Any, *, origin: Origin = Origin.REAL) -> None:
        self.heard += [(origin, event.kind, event.subject) for event in events]

    def sources(self, reports: Any) -> None: ...

    def close(self) -> None: ...


def test_what_an_agent_reads_from_the_places_of_a_drill_is_all_simulated(tmp_path: Path) -> None:
    log, tree = tmp_path / "kmsg", tmp_path / "sys"
    log.touch()
    port = next(unpack("ib400_four_ports.txt", tree).glob("*/ports/1/state")).parent
    device = port.parents[1].name
    config = Config(
        node="n1",
        data=tmp_path,
        inject=Inject(allow=True, kernel_log=log, sysfs=tree),
        enabled={"nvidia": False},
    )
    sink = Heard()
    agent = Agent(config, SystemClock(), root=tmp_path / "root", sinks=[sink], known=registry())
    targets = Targets(config, SystemClock())

    def until(kind: str) -> None:
        for _ in range(200):
            agent.tick(Tier.FAST, patience_seconds=2.0)
            if any(heard == kind for _, heard, _ in sink.heard):
                return
        raise AssertionError(f"no {kind} came: {sink.heard}")

    try:
        agent.tick(Tier.SLOW, patience_seconds=5.0)
        targets.make(Fault(0, "rdma", "port_down", device=device, port=1))
        targets.make(Fault(0, "kernel_log", "xid", pci="0000:3b:00.0", code="79"))
        until("port_down")
        targets.make(Fault(0, "rdma", "port_up", device=device, port=1))
        until("port_up")
        until("xid")
    finally:
        agent.close()
    made = {(origin, kind) for origin, kind, _ in sink.heard if kind in ("port_down", "port_up", "xid")}
    assert made == {(Origin.SIMULATED, "port_down"), (Origin.SIMULATED, "port_up"), (Origin.SIMULATED, "xid")}
    assert (Origin.SIMULATED, "port") in sink.rows and (Origin.REAL, "port") not in sink.rows
    assert (Origin.REAL, "node") in sink.rows
