"""What the agent's tests share: a fake maker whose trouble is a file, and a supervisor over it."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.agent import proof

from ullage_agent.backend import Backend, Host
from ullage_agent.children.dialogue import Item
from ullage_agent.children.supervisor import Deadlines, Supervisor
from ullage_contract.clock import ManualClock

HERE = Path(__file__).parent
PROOFS = proof.proofs()
WATCH = proof.WATCH
WATCH.install()


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """A test that docs/makers.md names as proof must see what it proves."""
    WATCH.begin(pyfuncitem.nodeid)
    random = getattr(pyfuncitem.obj, "is_hypothesis_test", False)  # what it sees differs from run to run
    result = yield
    if not random:
        proof.write(pyfuncitem.nodeid, pyfuncitem.obj, WATCH.seen)
    unseen = set() if proof.WRITE else PROOFS.get(pyfuncitem.nodeid, set()) - WATCH.seen
    assert not unseen, f"docs/makers.md says this test proves {sorted(unseen)}: see tests/agent/proof.py"
    return result


@pytest.fixture
def fake_environment() -> dict[str, str]:
    """So that children find fake_maker."""
    return {**os.environ, "PYTHONPATH": str(HERE)}


@pytest.fixture
def control(tmp_path: Path) -> Path:
    """The directory whose files are the fake maker's troubles."""
    place = tmp_path / "control"
    place.mkdir()
    return place


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def supervise(
    control: Path, clock: ManualClock, fake_environment: dict[str, str]
) -> Iterator[Callable[..., Supervisor]]:
    """Makes supervisors of the fake maker with short deadlines; ends their children afterwards."""
    made: list[Supervisor] = []

    def make(backend: Backend, **more: Any) -> Supervisor:
        host = Host(node_id="n1", settings={"control": str(control)})
        more.setdefault("deadlines", Deadlines(call=0.4, start=8.0))
        supervisor = Supervisor(backend, host, clock, environment=fake_environment, **more)
        made.append(supervisor)
        return supervisor

    yield make
    for supervisor in made:
        supervisor._kill = __import__("ullage_agent.children.process", fromlist=["kill_group"]).kill_group
        supervisor.close()


class Kept(list[Item]):
    """What a supervisor delivered, by kind."""

    def __call__(self, item: Item) -> None:
        self.append(item)

    def of(self, kind: type) -> list[Any]:
        return [item for item in self if isinstance(item, kind)]


@pytest.fixture
def kept() -> Kept:
    return Kept()


__all__ = ["Kept", "replace"]
