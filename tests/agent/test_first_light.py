"""The whole way from a maker's C library to the sinks: eight NVIDIA cards, MIG on one, one lost, one that hangs.

The library is the emulator; everything else is what runs on a server: detection in a tree, the real
child process, the real reader, the sampler with its threads.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from tests.emulators.build import build

from ullage_agent.assembly import Agent
from ullage_agent.commands.snapshot import Gathered, document
from ullage_agent.config import Config, Sampling, Sources
from ullage_agent.sampler import Tick
from ullage_contract.catalogue import Tier
from ullage_contract.clock import ManualClock
from ullage_contract.sample import Family, Sample

pytestmark = pytest.mark.compiler

CARDS = [f"GPU-0000000{i}-1111-2222-3333-444444444444" for i in range(8)]
MIG_CARD, LOST_CARD, HANGING_CARD = 3, 5, 6
CALL_SECONDS = 0.5


def _world() -> list[str]:
    lines = ["system driver_version 590.48.01", "system cuda_version 13010"]
    for i, uuid in enumerate(CARDS):
        lines += [
            f"card {i} uuid {uuid}",
            f"card {i} name NVIDIA H100 80GB HBM3",
            f"card {i} pci 00000000:{0x10 + i:02X}:00.0",
            f"card {i} serial 16521230000{i}",
            f"card {i} power_mw {300_250 + 1000 * i}",
            f"card {i} temperature {50 + i}",
            f"card {i} memory_total {80 << 30}",
            f"card {i} memory_used {i << 30}",
            f"card {i} memory_reserved {512 << 20}",
            f"card {i} memory_free {(80 - i) << 30}",
        ]
        if i != MIG_CARD:
            lines.append(f"card {i} utilization {90 + i} {40 + i}")
    lines += [
        f"card {MIG_CARD} mig_mode 1",
        f"card {MIG_CARD} max_mig_devices 7",
        f"mig {MIG_CARD} 0 uuid MIG-aaaaaaaa-1111-2222-3333-444444444444",
        f"mig {MIG_CARD} 0 gi 1",
        f"mig {MIG_CARD} 0 ci 0",
        f"mig {MIG_CARD} 0 name NVIDIA H100 80GB HBM3 MIG 3g.40gb",
        f"mig {MIG_CARD} 0 memory_total {40 << 30}",
        f"mig {MIG_CARD} 0 memory_used {7 << 30}",
        f"mig {MIG_CARD} 0 memory_free {33 << 30}",
    ]
    return lines


@pytest.fixture
def scenario(tmp_path: Path) -> Callable[..., None]:
    """Writes the world the emulator plays; more lines come behind."""
    file = tmp_path / "world.txt"

    def write(*more: str) -> None:
        aside = tmp_path / "world.new"
        aside.write_text("\n".join([*_world(), *more]) + "\n")
        aside.replace(file)
        time.sleep(0.02)  # the emulator looks at the file at most every 10 ms

    write()
    return write


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    library = build("nvml")
    return {
        **os.environ,
        "LD_LIBRARY_PATH": str(library.parent),
        "ULLAGE_NVML_SCENARIO": str(tmp_path / "world.txt"),
    }


@pytest.fixture
def server(tmp_path: Path) -> Path:
    """The tree of a server with eight NVIDIA cards on its bus."""
    root = tmp_path / "server"
    for i in range(8):
        place = root / f"sys/bus/pci/devices/0000:{0x10 + i:02x}:00.0"
        place.mkdir(parents=True)
        for name, value in (("vendor", "0x10de"), ("device", "0x2330"), ("class", "0x030200")):
            (place / name).write_text(value + "\n")
    (root / "proc/sys/kernel/random").mkdir(parents=True)
    (root / "proc/sys/kernel/random/boot_id").write_text("6d2a7a3e-0000-4000-8000-000000000001\n")
    (root / "dev").mkdir()
    return root


@pytest.fixture
def light(
    server: Path, environment: dict[str, str], scenario: Callable[..., None], clock: ManualClock
) -> Iterator[tuple[Agent, Gathered]]:
    gathered = Gathered()
    config = Config(
        node="n1",
        sampling=Sampling(call_deadline_seconds=CALL_SECONDS),
        sources=Sources(rdma=False, host=False, kernel_log=False),
    )
    agent = Agent(config, clock, root=server, sinks=[gathered], environment=environment)
    yield agent, gathered
    agent.close()


def _cards(tick: Tick) -> dict[int, Sample]:
    return {CARDS.index(s.subject): s for s in tick.every() if s.family is Family.CARD}


def _told(gathered: Gathered) -> list[tuple[str, str]]:
    return [(event.kind, event.subject) for _, event in gathered.events_seen]


def test_eight_cards_give_their_exact_values(light: tuple[Agent, Gathered]) -> None:
    agent, gathered = light
    tick = agent.tick(Tier.SLOW, patience_seconds=30)
    assert [(r.name, r.success, r.children) for r in tick.reports] == [("nvidia", True, 1)]
    cards = _cards(tick)
    assert sorted(cards) == list(range(8))
    for i, card in cards.items():
        assert card.values["power_watts"] == 300.25 + i
        assert card.values["temperature_celsius"] == 50.0 + i
        assert card.values["memory_used_bytes"] == i << 30
        assert card.values["memory_total_bytes"] == 80 << 30
        assert card.values["memory_reserved_bytes"] == 512 << 20
        if i != MIG_CARD:
            assert card.values["utilization_ratio"] == (90 + i) / 100
        assert not card.failed
    assert "utilization_ratio" not in cards[MIG_CARD].values, "MIG has none, and none is not zero"
    (part,) = [s for s in tick.every() if s.family is Family.SLICE]
    assert part.subject.startswith(CARDS[MIG_CARD] + "/")
    assert part.values["memory_used_bytes"] == 7 << 30
    assert not [kind for kind, _ in _told(gathered)]
    node = next(s for s in tick.every() if s.family is Family.NODE)
    assert (node.values["cards_expected"], node.values["cards_seen"]) == (8, 8)


def test_one_lost_and_one_hanging_cost_only_what_is_lost_and_hangs(
    light: tuple[Agent, Gathered], scenario: Callable[..., None], clock: ManualClock
) -> None:
    agent, gathered = light
    agent.tick(Tier.SLOW, patience_seconds=30)
    healthy = _cards(agent.tick(Tier.FAST))
    scenario(
        f"card {LOST_CARD} lost 1",
        f"card {HANGING_CARD} hang nvmlDeviceGetPowerUsage",
    )
    clock.advance(10)
    tick = agent.tick(Tier.FAST)
    assert tick.duration_seconds < 8.0, "the hang ended within the tick's budget"
    cards = _cards(tick)
    assert sorted(cards) == list(range(8))
    assert cards[LOST_CARD].values["health"] == "lost"
    assert set(cards[LOST_CARD].values) <= {"health", "health_detail"}, "nothing is invented for a lost card"
    assert cards[HANGING_CARD].failed["power_watts"] == "deadline"
    assert "power_watts" not in cards[HANGING_CARD].values
    same = {"power_watts", "temperature_celsius", "utilization_ratio", "memory_used_bytes"}
    for i in set(range(8)) - {LOST_CARD}:
        for key in same & healthy[i].values.keys():
            if (i, key) != (HANGING_CARD, "power_watts"):
                assert cards[i].values[key] == healthy[i].values[key], (i, key)
    assert [s.values["memory_used_bytes"] for s in tick.every() if s.family is Family.SLICE] == [7 << 30]
    told = _told(gathered)
    assert ("call_hung", CARDS[HANGING_CARD]) in told
    assert ("card_lost", CARDS[LOST_CARD]) in told
    node = next(s for s in tick.every() if s.family is Family.NODE)
    assert node.values["cards_seen"] == 7
    found = document(agent, tick, gathered)
    shown = {card["index"]: card for card in found["cards"]}
    assert shown[LOST_CARD]["values"]["health"] == "lost"
    assert shown[HANGING_CARD]["failed"]["power_watts"] == "deadline"
    assert found["makers"]["nvidia"]["children"] == 1


def _children(own: psutil.Process) -> int:
    """Living children of ours: one that was killed may stand as a zombie until it is waited for."""
    return sum(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in own.children())


def test_an_hour_with_a_hanging_card_grows_nothing(
    light: tuple[Agent, Gathered], scenario: Callable[..., None], clock: ManualClock
) -> None:
    agent, gathered = light
    agent.tick(Tier.SLOW, patience_seconds=30)
    scenario(
        f"card {LOST_CARD} lost 1",
        f"card {HANGING_CARD} hang nvmlDeviceGetPowerUsage",
    )
    (supervisor,) = agent.sampler.supervisors
    own = psutil.Process()
    first_children = _children(own)  # ours, and what other tests of this process left
    most_children = most_descriptors = 0
    complete = 0
    for number in range(360):
        clock.advance(10)
        tick = agent.tick(Tier.SLOW if number % 6 == 0 else Tier.FAST)
        if number == 10:
            most_descriptors = own.num_fds()
        most_children = max(most_children, len(own.children()))
        assert tick.duration_seconds < 8.0
        cards = _cards(tick)
        complete += all(
            "power_watts" in cards[i].values for i in range(8) if i not in (LOST_CARD, HANGING_CARD)
        )
        assert cards[HANGING_CARD].failed.get("power_watts") == "deadline"
        assert "temperature_celsius" in cards[HANGING_CARD].values
    assert complete == 360, "no tick of any healthy card was lost"
    assert most_children <= first_children + 2, "the one that is being ended, the next, and a neighbour's"
    settled = time.monotonic() + 10
    while _children(own) > first_children and time.monotonic() < settled:
        time.sleep(0.05)  # one that was just killed takes a moment to die
    assert _children(own) <= first_children
    assert supervisor.stuck == 0
    assert own.num_fds() <= most_descriptors
    hangs = [pair for pair in _told(gathered) if pair[0] == "call_hung"]
    assert len(hangs) == 6, "tried again after 1, 2, 4, 8, 16 minutes and no oftener"
    assert supervisor.started == 7
    assert [pair for pair in _told(gathered) if pair[0] == "card_lost"] == [("card_lost", CARDS[LOST_CARD])]


def test_a_card_that_comes_back_is_told_and_read_again(
    light: tuple[Agent, Gathered], scenario: Callable[..., None], clock: ManualClock
) -> None:
    agent, gathered = light
    agent.tick(Tier.SLOW, patience_seconds=30)
    scenario(f"card {LOST_CARD} lost 1")
    clock.advance(60)
    agent.tick(Tier.SLOW)
    scenario()
    clock.advance(60)
    agent.tick(Tier.SLOW)
    clock.advance(10)
    tick = agent.tick(Tier.FAST)
    assert _cards(tick)[LOST_CARD].values["power_watts"] == 300.25 + LOST_CARD
    assert [kind for kind, _ in _told(gathered)] == ["card_lost", "card_back"]


def test_once_prints_it_all(
    tmp_path: Path, environment: dict[str, str], scenario: Callable[..., None]
) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(
        f'node = "n1"\n[sampling]\ncall_deadline_seconds = {CALL_SECONDS}\n[backends.nvidia]\nenabled = true\n'
    )
    scenario(f"card {HANGING_CARD} hang nvmlDeviceGetTemperature")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "ullage_agent",
            "once",
            "--json",
            "--config",
            str(file),
            "--data",
            str(tmp_path),
        ],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode in (0, 3), done.stderr
    found = json.loads(done.stdout)
    assert [card["card_id"] for card in found["cards"]] == CARDS
    assert found["cards"][HANGING_CARD]["failed"]["temperature_celsius"] == "deadline"
    assert found["cards"][HANGING_CARD]["values"]["power_watts"] == 300.25 + HANGING_CARD
    assert found["cards"][MIG_CARD]["slices"][0]["values"]["memory_used_bytes"] == 7 << 30
    assert found["cards"][0]["model"] == "NVIDIA H100 80GB HBM3"
    assert [e["kind"] for e in found["events"] if e["source"] == "agent"] == ["call_hung"]
