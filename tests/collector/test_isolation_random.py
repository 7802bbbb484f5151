"""The state machine of docs/isolation.md under everything at once: crashes between any two steps, late and repeated
verdicts, restarts, freezes, stepping clocks, people and a scheduler that forgets, refuses and keeps silent."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

import duckdb
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.collector.isolation_world import World

from ullage_collector.isolate.actuator import Target
from ullage_collector.isolate.answers import exit_of
from ullage_collector.isolate.book import Book
from ullage_collector.isolate.follow_call import Ended, FollowCall, Outcome
from ullage_collector.isolate.follow_settings import FollowMode, FollowSettings, Hook
from ullage_collector.isolate.following import FollowMeans, Key
from ullage_collector.isolate.intent import COUNTED, STANDS, Intent, State, waits_for_person
from ullage_collector.isolate.verdict import Action, Follow, Mode, Turn, Verdict
from ullage_contract.errors import ActuatorError, BadInput

NODES, CARDS = 5, 4
MOST_APART = NODES * CARDS // 2
CARD = st.builds(lambda n, i: f"n{n}-{i}", st.integers(0, NODES - 1), st.integers(0, CARDS - 1))
NODE = st.integers(0, NODES - 1).map(lambda n: f"n{n}")


class Crash(BaseException):
    """kill -9, as far as the code under test can tell: nothing may catch it."""


class Fuse:
    """Counts the points at which a process can die; burns at the one a test chose."""

    def __init__(self) -> None:
        self.left: int | None = None

    def point(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                self.left = None
                raise Crash


class Machine(RuleBasedStateMachine):
    """Rules are what can happen; invariants what always holds."""

    def __init__(self) -> None:
        super().__init__()
        self.fuse = fuse = Fuse()

        class Mortal(Book):
            def _commit(self, cursor: duckdb.DuckDBPyConnection) -> None:
                fuse.point()
                super()._commit(cursor)
                fuse.point()

        self.world = World(
            NODES,
            CARDS,
            isolated_ratio=0.5,
            nodes_per_domain=2,
            breaker=False,
            probation_seconds=7200,
            node_instead_of_card=Mode.AUTOMATIC,
        )
        self.world.book_type = Mortal
        self.hooks: list[Key] = []
        self.forbidden: list[str] = []
        self.world.follow = FollowMeans(
            settings=FollowSettings(
                hooks={
                    follow: Hook(
                        argv=("/bin/true", "{node}", "{incident}", "{follow}"), mode=FollowMode.AUTOMATIC
                    )
                    for follow in (Follow.RESET, Follow.REBOOT, Follow.REPLACE)
                }
            ),
            ends_itself=lambda rule: rule == "pcie",
            heard=lambda cluster: self.world.clock.wall(),
            run=self.noted_hook,
            start=lambda work: work(),
        )
        self.world.scheduler.before = self.before
        self.world.scheduler.after = lambda verb, target: fuse.point()
        self.world.restart()
        self.verdicts: list[Verdict] = []
        self.called: dict[int, tuple[float, str]] = {}
        self.stepped_ahead = False

    def before(self, verb: str, target: Target) -> None:
        """Just before a call takes effect: it may be none that is forbidden."""
        self.fuse.point()
        if verb != "isolate":
            return
        assert not self.world.freeze.frozen, f"{verb} {target.subject} while frozen"
        intent = self.world.book.about("c", target.family, target.subject)
        if intent is None or not intent.automatic or intent.placed_again or intent.intent_id in self.called:
            return
        now = self.world.clock.monotonic()
        self.called[intent.intent_id] = (now, intent.family)
        lately = [family for at, family in self.called.values() if now - at < 600]
        assert lately.count("card") <= 2 and lately.count("node") <= 1, (
            "more than the limits allow in ten minutes"
        )
        apart = self.cards_of(target.subject) | {
            card for subject in self.world.scheduler.standing_of for card in self.cards_of(subject)
        }
        assert len(apart) <= MOST_APART, "more cards isolated at once than the limit allows"

    def noted_hook(self, call: FollowCall) -> Ended:
        """What goes wrong in a hook never stops the lifecycle; here it is kept for ``nothing_forbidden_was_run``."""
        try:
            return self.run_hook(call)
        except AssertionError as e:
            self.forbidden.append(str(e))
            raise

    def run_hook(self, call: FollowCall) -> Ended:
        """A reset or reboot runs: only on what stands, is free, is not frozen and was not run before."""
        self.fuse.point()
        _, node, incident, follow = call.argv
        key = (int(incident), Follow(follow))
        assert key not in self.hooks, f"{follow} of incident {incident} twice"
        self.hooks.append(key)
        assert not self.world.freeze.frozen, f"{follow} while frozen"
        row = self.world.db.execute(
            "SELECT subject, state FROM isolation_follow WHERE incident_id = ? AND follow = ?", list(key)
        ).fetchone()
        assert row is not None and row[1] == "running", "run before the store said so"
        assert str(row[0]) in self.world.scheduler.standing_of, f"{follow} of {row[0]}, which is not isolated"
        if key[1] is not Follow.REPLACE:
            held = {
                str(card)
                for (card,) in self.world.db.execute(
                    "SELECT c.card_id FROM allocation a JOIN card c USING (card_key) WHERE a.valid_to IS NULL"
                ).fetchall()
            }
            assert not held & self.cards_of(str(row[0])), f"{follow} under running work"
        if key[1] is Follow.REBOOT:
            assert str(row[0]) == node, "a node rebooted for one of its cards"
        self.fuse.point()
        return Ended(self.hook_ends, "told")

    hook_ends = Outcome.DONE

    @rule(ends=st.sampled_from(list(Outcome)))
    def hooks_end(self, ends: Outcome) -> None:
        self.hook_ends = ends

    @staticmethod
    def cards_of(subject: str) -> set[str]:
        return {subject} if "-" in subject else {f"{subject}-{i}" for i in range(CARDS)}

    def alive(self, act: Any) -> None:
        """Do it; after a crash another process begins."""
        try:
            act()
        except Crash:
            self.restart_now()
        except (BadInput, ActuatorError):
            pass

    def restart_now(self) -> None:
        self.fuse.left = None
        if self.stepped_ahead:  # nobody can tell a jump during a restart from time that passed
            self.called.clear()
            self.stepped_ahead = False
        self.world.restart()

    @initialize(points=st.integers(0, 12))
    def begin(self, points: int) -> None:
        self.fuse.left = points

    @rule(points=st.integers(0, 12))
    def die_soon(self, points: int) -> None:
        self.fuse.left = points

    @rule()
    def restart(self) -> None:
        self.restart_now()

    @rule(
        card=CARD,
        action=st.sampled_from([Action.ISOLATE_CARD, Action.DRAIN_CARD, Action.ISOLATE_NODE]),
        mode=st.sampled_from([Mode.AUTOMATIC] * 3 + [Mode.APPROVE, Mode.SHADOW]),
        fresh=st.sampled_from([True, True, True, False]),
        side=st.sampled_from(["xid", "pcie"]),
        follow=st.sampled_from([Follow.NONE, Follow.RESET, Follow.REBOOT]),
    )
    def fault(self, card: str, action: Action, mode: Mode, fresh: bool, side: str, follow: Follow) -> None:
        made = self.world.verdict(card, action=action, mode=mode, fresh=fresh, rule=side, follow=follow)
        self.verdicts.append(made)
        self.alive(lambda: self.world.policy.consider(made))

    @rule(
        card=CARD,
        follow=st.sampled_from([Follow.RESET, Follow.REBOOT, Follow.REPLACE]),
        node=st.booleans(),
        ends=st.sampled_from(list(Outcome)),
        points=st.none() | st.integers(0, 40),
    )
    def fault_that_is_followed(
        self, card: str, follow: Follow, node: bool, ends: Outcome, points: int | None
    ) -> None:
        """The way to a hook is long: here a fault goes it at once, and dies anywhere on it."""
        self.hook_ends = ends
        self.world.clock.advance(601)
        action = Action.ISOLATE_NODE if node else Action.ISOLATE_CARD
        made = self.world.verdict(card, action=action, follow=follow)
        self.verdicts.append(made)
        self.fuse.left = points
        for seconds in (0, 5, 31, 31):
            self.world.clock.advance(seconds)
            self.alive(lambda: self.world.policy.consider(made))
            self.alive(self.world.lifecycle.step)

    @rule(data=st.data(), turn=st.sampled_from([Turn.OPENED, Turn.WORSENED, Turn.ENDED, Turn.ENDED]))
    def say_again(self, data: st.DataObject, turn: Turn) -> None:
        """An old verdict twice or late, a worse one, or the end."""
        if not self.verdicts:
            return
        old = data.draw(st.sampled_from(self.verdicts))
        now_us = round(self.world.clock.wall() * 1e6)
        if turn is Turn.WORSENED:
            old = replace(old, turn=turn, action=Action.ISOLATE_NODE, decided_us=now_us, follow=Follow.RESET)
        elif turn is Turn.ENDED:
            old = replace(old, turn=turn, decided_us=now_us)
        self.alive(lambda: self.world.policy.consider(old))

    @rule(seconds=st.sampled_from([0, 1, 5, 31, 100, 601, 1900, 7300]))
    def time_passes(self, seconds: int) -> None:
        self.world.clock.advance(seconds)
        self.alive(self.world.lifecycle.step)

    @rule(seconds=st.sampled_from([-7200, -200, -5, 5, 200, 7200]))
    def clock_steps(self, seconds: int) -> None:
        self.world.clock.step_wall(seconds)
        self.stepped_ahead = self.stepped_ahead or seconds > 0

    @rule(frozen=st.booleans())
    def freeze(self, frozen: bool) -> None:
        word = self.world.freeze.freeze if frozen else self.world.freeze.unfreeze
        self.alive(lambda: word(reason="test", actor="ada"))

    @rule(node=NODE)
    def others_drain(self, node: str) -> None:
        self.world.scheduler.others[node] = "root: disk"

    @rule(node=NODE)
    def others_resume(self, node: str) -> None:
        self.world.scheduler.others.pop(node, None)

    @rule(data=st.data(), how=st.sampled_from(["cancelled", "changed"]))
    def touch_ours(self, data: st.DataObject, how: str) -> None:
        standing = self.world.scheduler.standing_of
        ours = sorted(subject for subject, marker in standing.items() if marker.startswith("ullage:"))
        if ours:
            subject = data.draw(st.sampled_from(ours))
            if how == "cancelled":
                del standing[subject]
            else:
                standing[subject] = "root: mine now"

    @rule(node=NODE)
    def others_end_theirs(self, node: str) -> None:
        standing = self.world.scheduler.standing_of
        for subject in [
            s for s, marker in standing.items() if marker == "root: mine now" and s.startswith(node)
        ]:
            del standing[subject]

    @rule(
        silent=st.booleans(),
        refuse=st.sampled_from([set(), {"isolate"}, {"release"}, {"isolate", "release"}]),
    )
    def scheduler_is(self, silent: bool, refuse: set[str]) -> None:
        self.world.scheduler.silent = silent
        self.world.scheduler.refuse = set(refuse)

    @rule(card=CARD, what=st.sampled_from(["isolate", "release", "hold", "drop"]))
    def person(self, card: str, what: str) -> None:
        isolation = self.world.isolation
        if what in ("hold", "drop"):
            getattr(self.world, what)(card)
        elif (
            what == "isolate"
            and not self.world.scheduler.silent
            and card not in self.world.scheduler.standing_of
        ):
            until = self.world.clock.wall() + 3600
            self.alive(
                lambda: isolation.isolate(card, reason="x", actor="bob", execute_calls=True, until=until)
            )
        elif what == "release":
            self.alive(lambda: isolation.release(card, reason="x", actor="bob", execute_calls=True))

    @rule(data=st.data(), yes=st.booleans())
    def decide(self, data: st.DataObject, yes: bool) -> None:
        asked = [
            i for i in self.world.book.live() if i.state in (State.ASKED, State.ADVISED) and i.incident_id
        ]
        if asked:
            number = data.draw(st.sampled_from([i.incident_id for i in asked])) or 0
            policy = self.world.policy
            self.alive(
                lambda: (
                    policy.approve(number, actor="ada")
                    if yes
                    else policy.deny(number, actor="ada", reason="no")
                )
            )

    # ---- what always holds

    @invariant()
    def one_intent_a_target(self) -> None:
        keys = [intent.key for intent in self.world.book.live()]
        assert len(keys) == len(set(keys))

    @invariant()
    def nothing_forbidden_was_run(self) -> None:
        assert self.forbidden == []

    @invariant()
    def memory_is_what_the_store_has(self) -> None:
        assert self.world.book.live() == type(self.world.book)(self.world.connect, self.world.clock).live()

    @invariant()
    def what_stands_is_known_and_has_a_row(self) -> None:
        rows = {
            str(subject)
            for (subject,) in self.world.db.execute(
                "SELECT subject FROM isolation WHERE released_at IS NULL"
            ).fetchall()
        }
        for subject, marker in self.world.scheduler.standing_of.items():
            if marker.startswith("ullage:"):
                assert subject in rows, f"{subject} stands and no row says so"

    @invariant()
    def everything_has_a_way_out(self) -> None:
        for intent in self.world.book.live():
            assert exit_of(as_row(intent, [c.incident_id for c in self.world.book.causes(intent.intent_id)]))

    def teardown(self) -> None:
        """All faults end, nobody interferes any more: then, with people giving back what is theirs, nothing stands."""
        world = self.world
        self.fuse.left = None
        world.scheduler.silent, world.scheduler.refuse = False, set()
        world.scheduler.others.clear()
        standing = world.scheduler.standing_of
        for subject in [s for s, marker in standing.items() if not marker.startswith("ullage:")]:
            del standing[subject]
        for verdict in self.verdicts:
            world.end(verdict)
        for _ in range(12):
            world.step(7300)
        left = [intent for intent in world.book.live() if intent.state in (*COUNTED, *STANDS)]
        assert all(waits_for_person(i) or i.mode == "person" for i in left), left
        for intent in left:
            with suppress(BadInput):
                world.isolation.release(intent.subject, reason="end", actor="bob", execute_calls=True)
        for _ in range(3):
            world.step(7300)
        assert standing == {}, "something of ours stands for ever"
        assert world.db.execute("SELECT count(*) FROM isolation WHERE released_at IS NULL").fetchone() == (0,)


def as_row(intent: Intent, causes: list[int]) -> dict[str, Any]:
    from datetime import UTC, datetime

    until = intent.expires_at
    return {
        "state": intent.state.value,
        "mode": intent.mode,
        "follow": intent.follow.value,
        "held_back": intent.held_back,
        "open_incidents": causes,
        "closed_at": None,
        "expires_at": None if until is None else datetime.fromtimestamp(until, UTC),
    }


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=25,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
