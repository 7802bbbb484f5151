"""Four makers in one server, under the real agent: each is exact, absent ones cost nothing, one's trouble is its own."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.agent.makers_server import EXPECTED, NAMES, MakersServer

from ullage_agent import registry
from ullage_agent.assembly import Agent
from ullage_agent.commands.snapshot import Gathered
from ullage_agent.sampler import Tick
from ullage_contract.catalogue import Tier
from ullage_contract.clock import ManualClock
from ullage_contract.sample import Family, Sample

PATIENCE_SECONDS = 60.0


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., tuple[MakersServer, Agent]]]:
    agents: list[Agent] = []

    def made(**more: object) -> tuple[MakersServer, Agent]:
        server = MakersServer(tmp_path / str(len(agents)), **more)  # type: ignore[arg-type]
        agents.append(server.agent(clock=ManualClock(), sinks=(Gathered(),)))
        return server, agents[-1]

    for number in range(4):
        (tmp_path / str(number)).mkdir()
    yield made
    for agent in agents:
        agent.close()


def cards(tick: Tick) -> dict[str, Sample]:
    return {sample.subject: sample for sample in tick.every() if sample.family is Family.CARD}


def exact(sample: Sample, maker: str) -> None:
    """Every number of the scenario, and nothing failed."""
    assert {key: sample.values.get(key) for key in EXPECTED[maker]} == dict(EXPECTED[maker]), sample
    assert sample.failed == {}


def children() -> set[int]:
    """Processes this one started and has not ended."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        try:
            found |= {int(pid) for pid in (task / "children").read_text().split()}
        except OSError:
            continue
    return found


def test_every_makers_cards_are_there_with_their_own_numbers(
    make: Callable[..., tuple[MakersServer, Agent]],
) -> None:
    server, agent = make()
    for tier in (Tier.SLOW, Tier.FAST):
        seen = cards(agent.tick(tier, patience_seconds=PATIENCE_SECONDS))
        assert set(seen) == {card for found in server.cards.values() for card in found}
        for maker, found in server.cards.items():
            for card in found:
                exact(seen[card], maker)
    book = agent.sampler.book
    for maker, found in server.cards.items():
        assert {book.attributes(Family.CARD, card)["vendor"] for card in found} == {maker}


def test_makers_that_are_not_here_have_no_process(make: Callable[..., tuple[MakersServer, Agent]]) -> None:
    before = children()
    _, agent = make()
    agent.tick(Tier.FAST, patience_seconds=PATIENCE_SECONDS)
    assert len(registry.load().backends) > 2 * len(NAMES)
    assert sorted(one.name for one in agent.sampler.supervisors) == list(NAMES)
    mine = [pid for one in agent.sampler.supervisors for pid in one.pids()]
    assert len(mine) == len(NAMES)
    assert children() - before == set(mine)


@pytest.mark.parametrize("what", ["hang", "crash", "garbage"])
@pytest.mark.parametrize("sick", ["ascend", "cambricon", "metax"])
def test_one_makers_trouble_leaves_the_other_three_exact(
    sick: str, what: str, make: Callable[..., tuple[MakersServer, Agent]]
) -> None:
    server, agent = make()
    agent.tick(Tier.SLOW, patience_seconds=PATIENCE_SECONDS)
    server.trouble(sick, what)
    for _ in range(3):
        seen = cards(agent.tick(Tier.FAST, patience_seconds=PATIENCE_SECONDS))
        for maker, found in server.cards.items():
            for card in found:
                if maker != sick:
                    exact(seen[card], maker)
                elif card in seen:  # what it does say is true
                    known = {k: v for k, v in seen[card].values.items() if k in EXPECTED[maker]}
                    assert known.items() <= EXPECTED[maker].items()
    if what != "garbage":  # the call is known by now: only what it gives is missing
        failed = seen[server.cards[sick][0]].failed
        assert "temperature_celsius" in failed and all("temperature" in key for key in failed)
        exact(seen[server.cards[sick][1]], sick)


def test_a_killed_child_comes_back_and_nobody_else_noticed(
    make: Callable[..., tuple[MakersServer, Agent]],
) -> None:
    server, agent = make()
    agent.tick(Tier.SLOW, patience_seconds=PATIENCE_SECONDS)
    (nvidia,) = [one for one in agent.sampler.supervisors if one.name == "nvidia"]
    (victim,) = nvidia.pids()
    os.kill(victim, signal.SIGKILL)
    end = time.monotonic() + 30
    while victim in nvidia.pids() and time.monotonic() < end:
        time.sleep(0.02)
    clock = agent.sampler._clock
    assert isinstance(clock, ManualClock)
    for _ in range(4):
        clock.advance(60)
        seen = cards(agent.tick(Tier.FAST, patience_seconds=PATIENCE_SECONDS))
        for maker, found in server.cards.items():
            for card in found:
                if maker != "nvidia":
                    exact(seen[card], maker)
    for card in server.cards["nvidia"]:
        exact(seen[card], "nvidia")
    assert all(one.started == (2 if one is nvidia else 1) for one in agent.sampler.supervisors)
