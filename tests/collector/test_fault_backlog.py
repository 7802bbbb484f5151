"""A whole fleet comes back after six hours: its backlog acts on nothing, and what happens meanwhile is acted on as always."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_fleet import UNLIMITED, FaultFleet

from ullage_contract.event import Event
from ullage_contract.sample import Family

AWAY = 6 * 3600.0
WAVE = 10
"""Nodes whose backlog arrives between two looks."""


def backlog(fleet: FaultFleet, node: str, chance: random.Random) -> list[Event]:
    """Six hours of one bad night: programs' faults, and fatal ones that were over or seen to long ago."""
    told = []
    for _ in range(8):
        card = f"{node}-{chance.randrange(8)}"
        ago = chance.uniform(130.0, AWAY)
        kind = chance.choice(
            ("xid 13", "xid 43", "xid 63", "xid 94", "xid 79", "xid 95", "xid 48", "card_lost", "sxid")
        )
        name, _, code = kind.partition(" ")
        told.append(fleet.event(name, card, code=code or None, ago=ago))
    return sorted(told, key=lambda event: event.time)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[FaultFleet]:
    made = FaultFleet(tmp_path, 1250, fleet_nodes=0, breaker=False, **UNLIMITED)
    yield made
    made.close()


@pytest.mark.parametrize(
    "count", [60, pytest.param(1250, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])]
)
def test_a_new_fatal_fault_is_acted_on_at_once_and_nothing_of_the_backlog_is(
    fleet: FaultFleet, count: int
) -> None:
    chance = random.Random(7)
    nodes = [f"n{i}" for i in range(count)]
    faults = {20: (f"n{count - 1}", 3), 40: ("n9", 5)}  # one not back yet, one whose backlog is drained
    expected: set[str] = set()
    for start in range(0, count, WAVE):
        fleet.journal.append(
            [fleet.record(node, *backlog(fleet, node, chance)) for node in nodes[start : start + WAVE]]
        )
        if start in faults:
            node, card = faults[start]
            fleet.journal.append([fleet.record(node, fleet.xid(95, f"{node}-{card}"), sequence=1000)])
            expected.add(f"{node}-{card}")
        fleet.look(1)
        assert fleet.apart() == expected, "with the look that follows its arrival, not after the backlog"
    fleet.restart()
    fleet.look(31)
    assert fleet.apart() == expected
    records = [row for row in fleet.incidents() if row["history"]]
    assert len(records) > count, "the backlog is on record all the same"


def test_a_backlog_that_ends_what_is_open_releases_nothing_that_came_later(fleet: FaultFleet) -> None:
    fleet.push("n0", fleet.event("card_lost", "n0-0"))
    fleet.look(1)
    assert fleet.apart() == {"n0-0"}
    fleet.push("n0", fleet.event("card_back", "n0-0", ago=3600.0))  # told late: of an hour before it was lost
    fleet.look(31)
    fleet.look(31)
    assert fleet.apart() == {"n0-0"}


def test_a_node_with_a_wrong_clock_brings_history_not_news(fleet: FaultFleet) -> None:
    """Its clock is an hour behind or ahead: what it says of the time is shifted back, in both directions."""
    for node, skew in (("n0", -3600.0), ("n1", 3600.0)):
        old = fleet.event("xid", f"{node}-0", code="95", ago=AWAY - skew)
        new = fleet.event("xid", f"{node}-1", code="95", ago=-skew)
        fleet.push(node, old, new, skew=skew)
    fleet.look(1)
    assert fleet.apart() == {"n0-1", "n1-1"}


def test_ports_and_nodes_of_the_backlog_act_on_nothing_either(fleet: FaultFleet) -> None:
    for n in range(20):
        fleet.push(
            f"n{n}",
            fleet.event("port_missing", f"n{n}/mlx5_0/1", ago=AWAY, family=Family.PORT),
            fleet.event("call_hung", f"n{n}", ago=AWAY, family=Family.NODE),
        )
    fleet.look(1)
    fleet.look(300)
    assert fleet.apart() == set()
