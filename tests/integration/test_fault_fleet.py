"""A fleet of 2,048 cards in fast-forward: hard faults are named and acted on in seconds, healthy cards are left alone.

Real: the journal with its batches, the fault engine with every shipped rule, correlation, the policy with its breaker,
the lifecycle, the store on disk, all by an injected clock. Stood in for: agents (their batches are written here), the
scheduler, and the reading of samples: rows are handed to the engine as its reader would hand them on, and of the
healthy fleet's samples only those are made that some rule could care about. Jobs are not allocated, so rules that ask
who held a card (application Xids of two users) stay silent here; test_fault_thresholds has them.

ULLAGE_FLEET_DAYS (15) and ULLAGE_FLEET_SEEDS (3) set the soak form.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import pytest
from fault_fleet import DAY, UNLIMITED, FaultFleet, automatic
from fault_world import bad, good, sample

from ullage_agent.injection import mix as mixes
from ullage_agent.injection import scenario
from ullage_collector.detect.fault_rule import Condition, FaultRule
from ullage_collector.detect.faults import shipped_rules
from ullage_collector.isolate.verdict import Action, Mode
from ullage_collector.journal import Record
from ullage_contract.event import Event, Severity
from ullage_contract.sample import Family

NODES: Final = 256
CARDS: Final = 8
NAMED_WITHIN: Final = 30.0
ACTED_WITHIN: Final = 30.0
REPAIR_SECONDS: Final = 5400.0

NOISE_A_DAY: Final = {
    "program": 60,
    "contained": 10,
    "port_blip": 20,
    "blind": 6,
    "hung_call": 6,
    "link_hint": 8,
    "counters": 60,
    "levels": 60,
    "agent_restart": 24,
    "reboot": 8,
    "late": 20,
    "wrong_clock": 6,
    "clock_step": 3,
    "collector_restart": 4,
}
"""our choice: what a fleet of this size shows on a bad day while every card is healthy; above what public traces say."""


def automatic_all() -> tuple[FaultRule, ...]:
    """Every rule that isolates acts by itself: more than a site would let any do, so that each is held to it."""
    return tuple(
        replace(rule, mode=Mode.AUTOMATIC) if rule.action is not Action.OBSERVE else rule
        for rule in shipped_rules()
    )


RULES: Final = {rule.name: rule for rule in automatic_all()}
LEVELS: Final = [
    rule
    for rule in RULES.values()
    if rule.condition is Condition.LEVEL and rule.family == "card" and rule.bad > 1 and rule.action.strength
]
"""Rules that want several bad samples: less than that is noise."""


@dataclass
class Days:
    """A healthy fleet's noise, one kind after the other; ``make`` tells one of them to the fleet.

    sent: the last batch of each node, for agents that send it again.
    """

    fleet: FaultFleet
    chance: random.Random
    boots: dict[str, int] = field(default_factory=dict)
    sent: dict[str, Record] = field(default_factory=dict)
    later: list[tuple[float, str, Event]] = field(default_factory=list)
    counted: dict[str, int] = field(default_factory=dict)

    def node(self) -> str:
        return f"n{self.chance.randrange(NODES)}"

    def card(self, node: str) -> str:
        return f"{node}-{self.chance.randrange(CARDS)}"

    def push(self, node: str, *events: Event, skew: float = 0.0) -> None:
        record = self.fleet.record(node, *events, boot=f"boot-{self.boots.get(node, 0)}", skew=skew)
        self.sent[node] = record
        self.fleet.journal.append([record])

    def make(self, kind: str) -> None:
        self.counted[kind] = self.counted.get(kind, 0) + 1
        getattr(self, f"_{kind}")(self.node())

    def due(self) -> None:
        """What ends later ends now."""
        now = self.fleet.clock.wall()
        ready = [one for one in self.later if one[0] <= now]
        self.later = [one for one in self.later if one[0] > now]
        for _, node, event in ready:
            self.push(node, replace(event, time=now))

    def _program(self, node: str) -> None:
        """A program fails on all cards it holds."""
        code = self.chance.choice((13, 31, 43, 45))
        first = self.chance.randrange(CARDS)
        cards = range(first, min(CARDS, first + self.chance.choice((1, 1, 2, 8))))
        fleet = self.fleet
        self.push(node, *(fleet.xid(code, f"{node}-{i}", severity=Severity.WARNING) for i in cards))

    def _contained(self, node: str) -> None:
        card, fleet = self.card(node), self.fleet
        code = self.chance.choice((63, 92, 94))
        self.push(node, fleet.xid(code, card, severity=Severity.WARNING))
        if code == 94:  # the library counts it, the kernel says that it was contained
            self.push(node, fleet.event("ecc_uncorrected", card, severity=Severity.CRITICAL))

    def _port_blip(self, node: str) -> None:
        port = f"{node}/mlx5_{self.chance.randrange(CARDS)}/1"
        event = self.fleet.event("port_down", port, family=Family.PORT, severity=Severity.CRITICAL)
        self.push(node, event)
        self._then("port_up", node, event, self.chance.uniform(1, 200))

    def _blind(self, node: str) -> None:
        event = self.fleet.event("source_blind", node, family=Family.NODE, severity=Severity.WARNING)
        self.push(node, event)
        self._then("source_back", node, event, self.chance.uniform(60, 7200))

    def _hung_call(self, node: str) -> None:
        event = self.fleet.event("call_hung", node, family=Family.NODE, severity=Severity.WARNING)
        self.push(node, event)
        self._then("backend_back", node, event, self.chance.uniform(10, 60))

    def _link_hint(self, node: str) -> None:
        """One nonfatal line of a link, or a receiver that was slow."""
        self.push(node, self.fleet.xid(74, self.card(node), severity=Severity.WARNING))

    def _counters(self, node: str) -> None:
        """Counters that grow as they do on healthy cards."""
        now = round(self.fleet.clock.wall() * 1e6)
        key, most = self.chance.choice((("pcie_replays", 2), ("ecc_corrected", 50), ("link_crc_errors", 20)))
        self.fleet.show(
            *(
                sample(at=now - i * 10_000_000, subject=self.card(node), node=node, growth={key: most * 1.0})
                for i in (2, 1, 0)
            )
        )

    def _levels(self, node: str) -> None:
        """One bad sample fewer than a rule wants, then good ones; or a gap in between."""
        rule = self.chance.choice(LEVELS)
        card, now = self.card(node), round(self.fleet.clock.wall() * 1e6)
        values = [bad(rule)] * (rule.bad - 1) + [good(rule)] * (rule.of + 1)
        count = len(values)
        self.fleet.show(
            *(
                sample(rule, at=now - (count - i) * 10_000_000, subject=card, node=node, values=one)
                for i, one in enumerate(values)
                if i % 7 != 6  # samples are missing now and then
            )
        )

    def _agent_restart(self, node: str) -> None:
        """It sends what it is not sure of again."""
        if node in self.sent:
            self.fleet.journal.append([self.sent[node]])

    def _reboot(self, node: str) -> None:
        """Cards are not there yet when the agent looks first."""
        self.boots[node] = self.boots.get(node, 0) + 1
        seen = sample(
            at=round(self.fleet.clock.wall() * 1e6),
            subject=node,
            node=node,
            family="node",
            values={"cards_seen": float(self.chance.randrange(CARDS))},
            expected={"cards_seen": float(CARDS)},
            uptime=30.0,
        )
        self.fleet.show(seen, replace(seen, time_us=seen.time_us + 10_000_000, uptime_seconds=40.0))
        self.push(node)

    def _late(self, node: str) -> None:
        """Out of a spool: fatal hours ago, and seen to since."""
        code = self.chance.choice((48, 79, 95))
        self.push(node, self.fleet.xid(code, self.card(node), ago=self.chance.uniform(1000, 40_000)))

    def _wrong_clock(self, node: str) -> None:
        skew = self.chance.choice((-7200.0, -900.0, 900.0, 7200.0))
        old = self.fleet.xid(79, self.card(node), ago=20_000 - skew)
        self.push(node, old, skew=skew)

    def _clock_step(self, node: str) -> None:
        self.fleet.clock.step_wall(self.chance.choice((-600.0, -30.0, 30.0, 600.0)))

    def _collector_restart(self, node: str) -> None:
        self.fleet.restart()

    def _then(self, kind: str, node: str, began: Event, seconds: float) -> None:
        ends = replace(began, kind=kind, severity=Severity.INFO, message=kind)
        self.later.append((self.fleet.clock.wall() + seconds, node, ends))


def times(chance: random.Random, days: float) -> list[tuple[float, str]]:
    """When what happens, seconds from the start, by time."""
    found = []
    for kind, count in NOISE_A_DAY.items():
        at = chance.expovariate(count / DAY)
        while at < days * DAY:
            found.append((at, kind))
            at += chance.expovariate(count / DAY)
    return sorted(found)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path


def healthy_days(folder: Path, seed: int, days: float) -> tuple[set[str], dict[str, int]]:
    """What was isolated in so many days in which nothing was broken, and how much noise of each kind there was."""
    fleet = FaultFleet(folder, NODES, CARDS, rules=automatic_all(), **UNLIMITED)
    noise = Days(fleet, random.Random(seed))
    calls: set[str] = set()
    try:
        began = fleet.clock.monotonic()
        for at, kind in times(random.Random(seed + 1), days):
            # the monotonic clock leads: steps of the wall clock do not move the day
            left = began + at - fleet.clock.monotonic()
            while left > 900.0:
                fleet.clock.advance(900.0)
                noise.due()
                fleet.look()
                left -= 900.0
            fleet.clock.advance(max(0.0, left))
            noise.due()
            noise.make(kind)
            silent = noise.node()  # a node is away now and then: the others are heard
            fleet.heard(*(node for node in noise.sent if node != silent))
            fleet.look()
        fleet.look(31)
        calls = {call.partition(" ")[2] for call in fleet.scheduler.calls if call.startswith("isolate")}
    finally:
        fleet.close()
    return calls, noise.counted


def test_a_day_of_noise_isolates_nobody(folder: Path) -> None:
    isolated, noise = healthy_days(folder, seed=1, days=1.0)
    assert isolated == set()
    assert set(noise) == set(NOISE_A_DAY), "every kind of noise came"


def test_the_noise_is_just_below_what_isolates(folder: Path) -> None:
    """One bad sample more of any of these rules, and its card is isolated: the day above could have failed."""
    fleet = FaultFleet(folder, NODES, CARDS, rules=automatic_all(), **UNLIMITED)
    try:
        assert len(LEVELS) >= 3
        for place, rule in enumerate(LEVELS):
            node, now = f"n{place * 20}", round(fleet.clock.wall() * 1e6)
            shown = (
                sample(rule, at=now - i * 10_000_000, subject=f"{node}-0", node=node, values=bad(rule))
                for i in reversed(range(rule.bad))
            )
            fleet.show(*shown)
            fleet.look(1)
            assert fleet.apart() & {node, f"{node}-0"}, rule.name
    finally:
        fleet.close()


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(int(os.environ.get("ULLAGE_FLEET_SEEDS", "3"))))
def test_fifteen_days_of_noise_isolate_no_node_and_one_card_at_most(folder: Path, seed: int) -> None:
    isolated, _ = healthy_days(folder, seed=100 + seed, days=float(os.environ.get("ULLAGE_FLEET_DAYS", "15")))
    assert {subject for subject in isolated if "-" not in subject} == set()
    assert len(isolated) <= 1


# -------------------------------------------------------------------------------- faults

_MADE: Final = {"xid": "xid", "lost": "card_lost", "ecc": "ecc_uncorrected", "port_down": "port_down"}
"""What the simulated reader tells of each fault of the mix."""
_WINDOW: Final = {"port_down": 240.0}
"""Windows of rules that wait: port_down stands after four minutes."""


@dataclass
class Outcome:
    """Of one struck card or port: whether it was named and acted on in time, and what was isolated instead."""

    struck: int = 0
    named: int = 0
    acted: int = 0
    missed: list[str] = field(default_factory=list)
    wrong: set[str] = field(default_factory=set)


def strike(fleet: FaultFleet, noise: Days, struck: mixes.Struck, outcome: Outcome) -> None:
    """One draw of the mix: its events come as the agent would send them, then the clock goes in steps of five seconds."""
    node, card = f"n{struck.node}", f"n{struck.node}-{struck.place}"
    port = f"{node}/mlx5_{struck.place}/1"
    on_port = any(fault.do == "port_down" for fault in struck.faults)
    subject = port if on_port else card
    takes_node = any(fault.do == "xid" and fault.code == "79" for fault in struck.faults)
    right = node if takes_node else card
    before = fleet.apart()
    for fault in struck.faults:
        family, of = (Family.PORT, port) if on_port else (Family.CARD, card)
        code = fault.code or None
        noise.push(
            node, fleet.event(_MADE[fault.do], of, code=code, family=family, severity=Severity.CRITICAL)
        )
    outcome.struck += 1
    window = max(_WINDOW.get(_MADE[fault.do], 0.0) for fault in struck.faults)
    waited, named, acted = 0.0, False, on_port  # a port that is down is told; nobody is isolated for it
    while waited <= window + max(NAMED_WITHIN, ACTED_WITHIN) and not (named and acted):
        fleet.clock.advance(5)
        fleet.heard(node)  # it samples on
        fleet.look()
        waited += 5
        named = named or any(row["subject"] == subject for row in fleet.incidents(closed=False))
        acted = acted or bool(fleet.apart() & {right, node})
    outcome.named += named
    outcome.acted += acted
    if not (named and acted):
        outcome.missed.append(f"{struck.cause} on {card}: named {named}, acted {acted}")
    outcome.wrong |= fleet.apart() - before - {right, node}
    if on_port:
        noise.push(node, fleet.event("port_up", port, family=Family.PORT, severity=Severity.INFO))


def repair(fleet: FaultFleet, node: str) -> None:
    """People see to the node: what stands there is given back, its incidents are closed."""
    for subject in sorted(fleet.apart()):
        if subject == node or subject.startswith(f"{node}-"):
            fleet.isolation.release(subject, reason="replaced", actor="ada", execute_calls=True)
    with fleet.store.write() as db:
        db.execute(
            "UPDATE incident SET closed_at = opened_at, closed_by = 'ada' WHERE node_id = ? AND closed_at IS NULL",
            [node],
        )
    fleet.engine.forget_closed()
    fleet.look(1)


def mixed_days(folder: Path, seed: int, *, days: float, faster: float, noisy: bool = True) -> Outcome:
    """Llama 3's causes on the fleet, ``faster`` times their rate, among the noise of healthy cards."""
    fleet = FaultFleet(
        folder,
        NODES,
        CARDS,
        rules=automatic(),
        # three nodes at once stay as rare as at the mix's own rate
        fleet_within_seconds=300.0 / faster,
        breaker_window_seconds=300.0 / faster,
        **UNLIMITED,
    )
    noise, outcome = Days(fleet, random.Random(seed)), Outcome()
    drawn = mixes.draw(
        mixes.mix(scenario.load("llama3")),
        nodes=NODES,
        cards=CARDS,
        seconds=days * DAY,
        seed=seed,
        faster=faster,
    )
    hard = [one for one in drawn if one.faults]  # causes that no card and no port shows are not ours to see
    events: list[tuple[float, str, mixes.Struck | None]] = [(one.at, "", one) for one in hard]
    if noisy:
        events += [
            (at, kind, None) for at, kind in times(random.Random(seed + 1), days) if kind != "clock_step"
        ]
    mended: list[tuple[float, str]] = []
    try:
        began = fleet.clock.monotonic()
        for at, kind, struck in sorted(events, key=lambda one: one[0]):
            fleet.clock.advance(max(0.0, began + at - fleet.clock.monotonic()))
            noise.due()
            fleet.look()
            for due, node in [one for one in mended if one[0] <= at]:
                repair(fleet, node)
                mended.remove((due, node))
            if struck is None:
                noise.make(kind)
                before = fleet.apart()
                fleet.look()
                outcome.wrong |= fleet.apart() - before
            else:
                strike(fleet, noise, struck, outcome)
                mended.append((at + REPAIR_SECONDS, f"n{struck.node}"))
    finally:
        fleet.close()
    return outcome


def test_faults_of_the_llama_3_mix_are_named_and_acted_on_in_seconds(folder: Path) -> None:
    outcome = mixed_days(folder, seed=3, days=0.25, faster=120)
    assert outcome.struck >= 15
    assert outcome.named >= 0.99 * outcome.struck, outcome.missed
    assert outcome.acted >= 0.99 * outcome.struck, outcome.missed
    assert outcome.wrong == set()


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(int(os.environ.get("ULLAGE_FLEET_SEEDS", "3"))))
def test_days_of_the_mix_among_noise(folder: Path, seed: int) -> None:
    outcome = mixed_days(folder, seed=200 + seed, days=5.0, faster=60)
    assert outcome.struck >= 150
    assert outcome.named >= 0.99 * outcome.struck, outcome.missed
    assert outcome.acted >= 0.99 * outcome.struck, outcome.missed
    assert outcome.wrong == set()
