"""When an intent is looked after next."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ullage_collector.isolate.agenda import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, Agenda
from ullage_collector.isolate.intent import State
from ullage_contract.clock import ManualClock


@pytest.fixture
def often() -> Iterator[None]:
    """Threads take turns so often that what is not safe fails at once."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("often")
def test_nodes_side_by_side_do_not_disturb_who_asks_what_is_due() -> None:
    agenda = Agenda(ManualClock().monotonic)
    known = set(range(0, 4000, 2))

    def node(first: int) -> None:
        for _ in range(5):
            for number in range(first, 4000, 4):
                agenda.put_off(number)
                agenda.early(number)

    with ThreadPoolExecutor(4) as nodes:
        busy = [nodes.submit(node, first) for first in range(4)]
        while not all(done.done() for done in busy):
            agenda.forget_all_but(known)
        for done in busy:
            done.result()
    agenda.forget_all_but(known)
    assert agenda.paused(0)
    assert not agenda.paused(1)


def test_a_pause_grows_to_its_limit_and_begins_anew_when_it_went_well() -> None:
    clock = ManualClock()
    agenda = Agenda(clock.monotonic)
    for _ in range(10):
        agenda.put_off(1)
    assert agenda.paused(1)
    intent = cast(Any, SimpleNamespace(intent_id=1, state=State.ISOLATED, place=("c", "n")))
    clock.advance(LONGEST_PAUSE_SECONDS - 1)
    assert agenda.due([intent]) == {}
    clock.advance(1)
    assert agenda.due([intent]) == {("c", "n"): [1]}
    agenda.settled(1)
    assert not agenda.paused(1)
    agenda.put_off(1)
    clock.advance(FIRST_PAUSE_SECONDS)
    assert agenda.due([intent]) == {("c", "n"): [1]}
