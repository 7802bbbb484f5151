"""A scenario drawn from how often causes were seen: so many cards, so many days, so many of each.

    [mix]
    cards = 16384
    days = 54
    [[mix.cause]]
    name = "faulty GPU"
    count = 148
    do = [{ do = "xid", code = "79" }, { do = "lost", for = 1800 }]     # [] is seen by no card and no port

Every cause is a Poisson process at its measured rate a card and second; each time one card or port is struck.
The same seed gives the same faults.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from ullage_agent.injection.scenario import ACTIONS, Fault, Scenario
from ullage_contract.errors import ConfigError
from ullage_contract.settings import Table

DAY_SECONDS: Final = 86_400.0
MOST_DRAWN: Final = 100_000


@dataclass(frozen=True, slots=True)
class Cause:
    """name; count: how often it was seen. do: what is made each time, without time and place; () nothing."""

    name: str
    count: int
    do: tuple[Fault, ...]


@dataclass(frozen=True, slots=True)
class Mix:
    """Causes seen on ``cards`` cards within ``seconds``. source: who says so."""

    cards: int
    seconds: float
    source: str
    causes: tuple[Cause, ...]

    @property
    def count(self) -> int:
        """All interruptions, those that are seen by no card and no port among them."""
        return sum(cause.count for cause in self.causes)


@dataclass(frozen=True, slots=True)
class Struck:
    """One draw: node and card (or port) by place, what is made there, and why."""

    at: float
    node: int
    place: int
    cause: str
    faults: tuple[Fault, ...]


def mix(scenario: Scenario) -> Mix:
    """The scenario's mix. Raises ConfigError."""
    if scenario.mix is None:
        raise ConfigError(f"{scenario.title}: it has no [mix]")
    table = Table(scenario.mix, scenario.title, "mix")
    causes = scenario.mix.get("cause", [])
    result = Mix(
        cards=table.whole("cards", 0, 1, 10**7),
        seconds=table.number("days", 0, 0.001, 3660) * DAY_SECONDS,
        source=table.text("source") or "",
        causes=tuple(_cause(entry, scenario.title, i) for i, entry in enumerate(causes, 1)),
    )
    if not result.causes:
        raise table.wrong("cause", causes, "write [[mix.cause]] tables")
    return result


def draw(mix: Mix, *, nodes: int, cards: int, seconds: float, seed: int, faster: float = 1.0) -> list[Struck]:
    """What happens on ``nodes`` x ``cards`` within ``seconds``, by time. faster: so many times the measured rate.

    Raises ConfigError when that would be more than MOST_DRAWN.
    """
    expected = mix.count / mix.cards / mix.seconds * nodes * cards * seconds * faster
    if expected > MOST_DRAWN:
        raise ConfigError(
            f"{expected:.0f} faults would be drawn, at most {MOST_DRAWN} are: take less time or fewer cards"
        )
    draw = random.Random(seed)
    struck = []
    for cause in mix.causes:
        rate = cause.count / mix.cards / mix.seconds * nodes * cards * faster
        at = draw.expovariate(rate) if rate > 0 else seconds
        while at < seconds:
            node, place = draw.randrange(nodes), draw.randrange(cards)
            struck.append(Struck(round(at, 3), node, place, cause.name, cause.do))
            at += draw.expovariate(rate)
    return sorted(struck, key=lambda one: (one.at, one.node, one.place))


def on_one_node(struck: list[Struck], *, ports: int) -> list[Fault]:
    """The faults of node 0 with their time and place; causes that nothing sees make none."""
    return [
        replace(fault, at=one.at, card=one.place, port=one.place % ports if ports else 0, cause=one.cause)
        for one in struck
        if one.node == 0
        for fault in one.faults
    ]


def _cause(entry: Any, file: str, number: int) -> Cause:
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{file}: mix.cause {number} is no table")
    table = Table(entry, file, f"mix.cause {number}")
    steps = entry.get("do", [])
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise table.wrong("do", steps, 'write a list of tables, e.g. do = [{ do = "lost" }]')
    made = tuple(_step(step, file, number) for step in steps)
    return Cause(table.text("name") or f"cause {number}", table.whole("count", 0, 0, 10**9), made)


def _step(step: dict[str, Any], file: str, number: int) -> Fault:
    table = Table(step, file, f"mix.cause {number} do")
    lasts = table.number("for", 0.0, 0.0, 10 * DAY_SECONDS)
    fault = Fault(
        at=0.0,
        target="simulated",
        do=table.word("do", "", ACTIONS["simulated"]),
        code=table.text("code") or "",
        count=table.whole("count", 1, 1, 2**31),
        for_seconds=lasts or None,
    )
    table.finish()
    return fault
