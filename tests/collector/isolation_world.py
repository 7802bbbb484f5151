"""A small fleet in memory, a scheduler that can be told what to do, and verdicts: for the policy's tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import duckdb

from ullage_collector.detect.fault_rule import Share
from ullage_collector.isolate.actuator import Plan, Run, Standing, Target
from ullage_collector.isolate.book import Book
from ullage_collector.isolate.choice import Choice
from ullage_collector.isolate.following import FollowMeans
from ullage_collector.isolate.freeze import Freeze
from ullage_collector.isolate.intent import Intent, State
from ullage_collector.isolate.isolation import Isolation
from ullage_collector.isolate.lifecycle import Lifecycle
from ullage_collector.isolate.places import Places
from ullage_collector.isolate.policy import Policy
from ullage_collector.isolate.policy_settings import PolicySettings
from ullage_collector.isolate.surroundings import Surroundings, Windows
from ullage_collector.isolate.verdict import Action, Follow, Mode, Turn, Verdict
from ullage_collector.isolate.way_back import Prober
from ullage_collector.sql import migrations
from ullage_contract.clock import ManualClock
from ullage_contract.errors import ActuatorError
from ullage_contract.event import Severity

WHOLE = 1_000_000_000


@dataclass(frozen=True)
class Step:
    """A call of a plan: what it does to the scheduler when it runs."""

    scheduler: Scheduler
    verb: str
    target: Target

    def to_json(self) -> dict[str, Any]:
        return {"command": [self.verb, self.target.subject]}

    def __str__(self) -> str:
        return f"{self.verb} {self.target.subject}"

    def run(self, run: Run) -> list[str]:
        return [self.scheduler.do(self.verb, self.target)]


@dataclass
class Scheduler:
    """Who keeps what from work, by subject. Slow to nothing, and as broken as a test wants it.

    standing: subject -> marker. calls: every call in order. refuse: verbs that fail. silent: it does not answer.
    before, after: called around every call; may raise to be a crash.
    """

    standing_of: dict[str, str] = field(default_factory=dict)
    others: dict[str, str] = field(default_factory=dict)
    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    refuse: set[str] = field(default_factory=set)
    no_card: str | None = None
    silent: bool = False
    before: Any = None
    after: Any = None

    def do(self, verb: str, target: Target) -> str:
        if self.before is not None:
            self.before(verb, target)
        if verb in self.refuse:
            raise ActuatorError(f"{verb} refused")
        self.calls.append(f"{verb} {target.subject}")
        if verb == "isolate":
            assert target.subject not in self.standing_of, f"two fences for {target.subject}"
            self.standing_of[target.subject] = target.marker
        elif verb == "release":
            assert self.standing_of.get(target.subject) == target.marker, "released what was not ours"
            del self.standing_of[target.subject]
        if self.after is not None:
            self.after(verb, target)
        return f"{verb} done"


@dataclass
class FakeActuator:
    """Cards or nodes of one scheduler."""

    scheduler: Scheduler
    name: str
    whole_node: bool

    def plan_isolate(self, target: Target) -> Plan:
        if not self.whole_node and self.scheduler.no_card:
            raise ActuatorError(self.scheduler.no_card)
        verb = "end_work" if target.drain == "end" else "isolate"
        return self._plan(Step(self.scheduler, verb, target))

    def plan_release(self, target: Target) -> Plan:
        standing = self.standing(target)
        if standing is Standing.OTHERS:
            raise ActuatorError(f"what stands at {target.subject} is not ours")
        if standing is Standing.GONE:
            return Plan(self.name, (), (), self.whole_node)
        return self._plan(Step(self.scheduler, "release", target))

    def _plan(self, step: Step) -> Plan:
        return Plan(self.name, (step,), (), self.whole_node)

    def standing(self, target: Target) -> Standing:
        if self.scheduler.silent:
            return Standing.UNKNOWN
        held = self.scheduler.standing_of.get(target.subject)
        if held == target.marker:
            return Standing.OURS  # as every actuator says it, whatever others did to the node besides
        if held or target.subject in self.scheduler.others or target.node_id in self.scheduler.others:
            return Standing.OTHERS
        return Standing.GONE

    def taken_by_others(self, cluster_id: str) -> Mapping[str, str] | None:
        if self.scheduler.silent:
            return None
        changed = {s: m for s, m in self.scheduler.standing_of.items() if not m.startswith("ullage:")}
        return {**{s.partition("-")[0]: m for s, m in changed.items()}, **self.scheduler.others}

    def node_labels(self, cluster_id: str) -> Mapping[str, Mapping[str, str]] | None:
        return None if self.scheduler.silent else self.scheduler.labels


class Pages:
    """A pager that keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def page(self, subject: str, text: str, incident_id: int | None) -> None:
        self.told.append((subject, text))


class World:
    """nodes of cards_per_node cards in cluster c, named n0..; cards are n0-0.. ``restart`` forgets all but the store.

    connect: of a store that is there; None: one in memory.
    """

    def __init__(
        self,
        nodes: int = 20,
        cards_per_node: int = 8,
        *,
        connect: Callable[[], duckdb.DuckDBPyConnection] | None = None,
        **settings: Any,
    ) -> None:
        self.clock = ManualClock(wall=1_795_000_000.0)
        if connect is None:
            self.db = duckdb.connect()
            self.db.execute("SET threads = 1")
            for _, _, text in migrations():
                self.db.execute(text)
            connect = self.db.cursor
        else:
            self.db = connect()
        self.connect = connect
        now = self.naive(self.clock.wall())
        for n in range(nodes):
            self.db.execute(
                "INSERT INTO node (node_key, cluster_id, node_id, origin) VALUES (?, 'c', ?, 'real')",
                [n, f"n{n}"],
            )
            for i in range(cards_per_node):
                self.db.execute(
                    "INSERT INTO card (card_key, card_id, node_key, vendor, card_index, minor, last_seen, origin) "
                    "VALUES (?, ?, ?, 'nvidia', ?, ?, ?, 'real')",
                    [1000 * (n + 1) + i, f"n{n}-{i}", n, i, i, now],
                )
        self.settings = replace(
            PolicySettings(mode=Mode.AUTOMATIC, isolated_ratio=1.0, nodes_per_domain=1000), **settings
        )
        self.scheduler = Scheduler()
        self.pages = Pages()
        self.prober: Prober | None = None
        self.windows: Windows | None = None
        self.follow: FollowMeans | None = None
        self.shares: dict[str, Share] = {}
        self.actuators: dict[str, Any] = {
            "fake-card": FakeActuator(self.scheduler, "fake-card", False),
            "fake-node": FakeActuator(self.scheduler, "fake-node", True),
        }
        self.default: tuple[str, ...] = ("fake-card", "fake-node")
        self.incidents = 0
        self.restart()

    book_type: type[Book] = Book

    def restart(self) -> None:
        """A new process on the same store."""
        self.freeze = Freeze(self.connect, self.clock)
        self.book = self.book_type(self.connect, self.clock)
        choice = Choice(self.actuators, self.default)
        self.surroundings = Surroundings(self.connect, self.clock, choice, self.windows)
        self.policy = Policy(
            self.book, self.freeze, self.surroundings, choice, self.settings, self.pages, self.shares
        )
        places = Places()
        self.lifecycle = Lifecycle(
            self.policy, choice, self.surroundings, places, prober=self.prober, follow=self.follow
        )
        self.isolation = Isolation(
            self.connect,
            self.actuators,
            self.clock,
            default_actuator=self.default,
            freeze=self.freeze,
            places=places,
            on_change=self.policy.sync,
        )

    @staticmethod
    def naive(seconds: float) -> datetime:
        return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)

    def verdict(
        self,
        card: str | None = "n0-0",
        *,
        node: str = "n0",
        rule: str = "xid-fatal",
        action: Action = Action.ISOLATE_CARD,
        mode: Mode = Mode.AUTOMATIC,
        fresh: bool = True,
        incident: int | None = None,
        follow: Follow = Follow.NONE,
        turn: Turn = Turn.OPENED,
        **more: Any,
    ) -> Verdict:
        """A verdict of now, of a new incident unless one is given."""
        if incident is None:
            self.incidents += 1
            incident = self.incidents
        node = card.partition("-")[0] if card else node
        now_us = round(self.clock.wall() * 1e6)
        return Verdict(
            turn=turn,
            incident_id=incident,
            rule=rule,
            family="card" if card else "node",
            subject=card or node,
            cluster_id="c",
            node_id=node,
            card_id=card,
            severity=Severity.FATAL,
            action=action,
            follow=follow,
            mode=mode,
            fresh=fresh,
            first_evidence_us=now_us,
            decided_us=now_us,
            reason=f"{rule} on {card or node}",
            **more,
        )

    def consider(self, *args: Any, **more: Any) -> Verdict:
        """Make a verdict and have it considered."""
        made = self.verdict(*args, **more)
        self.policy.consider(made)
        return made

    def end(self, verdict: Verdict) -> None:
        """Its incident ends."""
        self.policy.consider(replace(verdict, turn=Turn.ENDED, decided_us=round(self.clock.wall() * 1e6)))

    def hold(self, card: str) -> None:
        """A job holds the card from now on."""
        (key,) = self.db.execute("SELECT card_key FROM card WHERE card_id = ?", [card]).fetchone() or (0,)
        self.db.execute(
            "INSERT INTO allocation (allocation_id, workload_key, card_key, share_nano, valid_from, known_from, source) "
            "VALUES (nextval('allocation_number'), 1, ?, ?, ?, ?, 'test')",
            [key, WHOLE, self.naive(self.clock.wall() - 60), self.naive(self.clock.wall() - 60)],
        )

    def drop(self, card: str) -> None:
        """Its job ends."""
        self.db.execute(
            "UPDATE allocation SET valid_to = ? WHERE valid_to IS NULL "
            "AND card_key = (SELECT card_key FROM card WHERE card_id = ?)",
            [self.naive(self.clock.wall()), card],
        )

    def step(self, seconds: float = 0.0) -> None:
        """Let time pass and do what is due."""
        self.clock.advance(seconds)
        self.lifecycle.step()

    def intent(self, subject: str) -> Intent:
        """The newest intent about a subject, live or ended."""
        row = self.db.execute(
            "SELECT intent_id FROM isolation_intent WHERE subject = ? ORDER BY intent_id DESC LIMIT 1",
            [subject],
        ).fetchone()
        assert row is not None, f"no intent about {subject}"
        return read_intent(self.db, int(row[0]))

    def state(self, subject: str) -> State:
        return self.intent(subject).state

    def audit(self, subject: str) -> list[str]:
        """Actions of the audit about a subject, in order."""
        rows = self.db.execute(
            "SELECT action FROM audit WHERE subject = ? ORDER BY audit_id", [subject]
        ).fetchall()
        return [str(action) for (action,) in rows]


def read_intent(db: duckdb.DuckDBPyConnection, intent_id: int) -> Intent:
    """One intent as the store has it."""
    from ullage_collector.isolate import book

    row = db.execute(book._filled("intent"), [intent_id]).fetchone()
    assert row is not None
    return book._read(row)
