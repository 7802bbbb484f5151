"""A fatal Xid takes exactly its card from a real Slurm, from the events' journal to the fence and back again.

Real are collector.toml, journal, store, fault engine, policy, lifecycle, actuators and the Slurm they speak to, each
with the threads that ``serve`` gives it. Not here: the way from the kernel's log to the journal.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import slurm_cluster
from slurm_cluster import CLUSTER, NODES, SlurmCluster
from test_slurm_isolation import World, card_of, end_job_steps

from ullage_collector import config
from ullage_collector.detect.fault_settings import settings_of
from ullage_collector.fault_engine import FaultEngine
from ullage_collector.isolate.actuator import Ran, run_program
from ullage_collector.isolate.assembly import assemble
from ullage_collector.isolate.intent import Intent, State
from ullage_collector.isolate.lifecycle import Lifecycle
from ullage_collector.isolate.places import Places
from ullage_collector.journal import Journal, JournalReader, Record
from ullage_collector.store.store import Store
from ullage_contract import wire
from ullage_contract.clock import SystemClock
from ullage_contract.event import Event, Severity
from ullage_contract.sample import Family, Origin

WHY_NOT = slurm_cluster.why_not()
pytestmark = [
    pytest.mark.skipif(WHY_NOT is not None, reason=WHY_NOT or ""),
    pytest.mark.timeout(900),
]
PATIENCE = 180.0

SETTINGS = """
[isolation]
actuator = "slurm-card"

[isolation.policy]
reconcile_seconds = 1

[[isolation.policy.override]]
rule = "xid_reset_needed"
mode = "automatic"

[[isolation.policy.override]]
rule = "card_lost"
mode = "automatic"

[isolation.slurm-card]
conf = "{conf}"
gres_conf = "{gres}"

[isolation.slurm-node]
conf = "{conf}"
"""
"""What a site writes that lets two rules act by themselves. The limits are those that ship."""


class Crash(BaseException):
    """The process dies here."""


class Collector:
    """The deciding and acting parts of a collector on one folder. ``restart`` forgets all but store and journal."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        etc = world.cluster.folder / "etc"
        settings = folder / "collector.toml"
        settings.write_text(SETTINGS.format(conf=etc / "slurm.conf", gres=etc / "gres.conf"))
        self.config = config.load(settings, data=folder)
        self.events = folder / "events"
        self.journal = Journal(self.events)
        self.clock = SystemClock()
        self.told: list[str] = []
        self._threads: list[threading.Thread] = []
        self._stop = threading.Event()
        self._sequence = 0
        self.restart()

    def restart(self) -> None:
        """New objects, as those of a new process; nothing of them runs yet."""
        self.stop()
        connect = self.world.store.cursor
        self.acting = assemble(self.config, connect, self.clock, pager=self)
        self.engine = FaultEngine(
            connect,
            JournalReader(self.events),
            (),
            self.acting.isolation,
            self.clock,
            decider=self.acting.policy,
            settings=settings_of(self.config.part("faults")),
        )

    def page(self, subject: str, text: str, incident_id: int | None) -> None:
        """Pager: keeps what a person would be told."""
        self.told.append(f"{subject}: {text}")

    def start(self) -> None:
        """Let it run."""
        self._stop.clear()
        self._threads = [
            threading.Thread(target=part.run, args=(self._stop,))
            for part in (self.engine, self.acting.lifecycle)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """It ends, between two steps."""
        self._stop.set()
        for thread in self._threads:
            thread.join(120)
            assert not thread.is_alive()
        self._threads = []

    def judge(self) -> None:
        """The engine alone reads what is in the journal; nothing is carried out."""
        while self.engine.step():
            pass

    def carry_out_until(self, dies: Callable[[Sequence[str]], bool]) -> None:
        """The lifecycle alone, in a process that dies right after the call ``dies`` says."""

        def run(argv: Sequence[str]) -> Ran:
            ran = run_program(argv)
            if dies(argv):
                raise Crash
            return ran

        policy = self.acting.policy
        dying = Lifecycle(policy, self.acting.isolation.choice, policy.surroundings, Places(), run=run)
        with pytest.raises(Crash):
            dying.step()

    def push(self, node: str, number: int, kind: str, code: str | None = None) -> None:
        """The node's agent tells that something just happened to the card of this device number."""
        self._sequence += 1
        event = Event(
            self.clock.wall(),
            kind,
            Severity.FATAL,
            Family.CARD,
            card_of(node, number),
            "kernel_log",
            f"{kind} {code or ''}".strip(),
            code,
            "nvidia",
        )
        stream = f"{node:0>32}"
        body = wire.encode(
            wire.Batch(
                stream,
                self._sequence,
                "events",
                "0.1.0",
                CLUSTER,
                node,
                f"m-{node}",
                "boot-1",
                Origin.REAL,
                events=[event],
            )
        )
        at = round(self.clock.wall() * 1e6)
        self.journal.append([Record(stream, self._sequence, "events", CLUSTER, node, node, at, 0.0, body)])

    # ---- what it shows

    def intents(self) -> list[Intent]:
        """What was decided and has not ended."""
        return list(self.acting.book.live())

    def state(self, subject: str) -> State | None:
        found = [intent.state for intent in self.intents() if intent.subject == subject]
        return found[-1] if found else None

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with self.world.store.cursor() as cursor:
            return list(cursor.execute(query).fetchall())

    def until(self, good: Callable[[], bool], what: str) -> None:
        """Wait as long as a busy machine may need."""
        try:
            self.world.until(good, what, PATIENCE)
        except AssertionError as e:
            now = [(i.subject, i.state.value, i.held_back, i.attempts) for i in self.intents()]
            audit = self.rows("SELECT action, subject, result FROM audit ORDER BY audit_id")
            raise AssertionError(f"{e}\nintents {now}\naudit {audit}\ntold {self.told}") from e

    def fenced(self, node: str, number: int) -> None:
        """Exactly this card is kept, by one fence, and the collector knows that it is."""
        world, card = self.world, card_of(node, number)
        self.until(lambda: self.state(card) is State.ISOLATED, f"{card} is isolated")
        self.until(lambda: [world.card_bits(f) for f in world.fences()] == [{number}], "one fence is on it")

    def close(self) -> None:
        self.stop()
        self.journal.close()


@pytest.fixture(scope="module")
def cluster() -> Iterator[SlurmCluster]:
    with slurm_cluster.slurm_cluster() as made:
        manager = ("sacctmgr", "-i", "-Q")
        made.tool(*manager, "add", "qos", "ullage-fence")
        made.tool(*manager, "modify", "user", "root", "set", "qos+=ullage-fence")
        yield made


@pytest.fixture
def world(cluster: SlurmCluster, tmp_path: Path) -> Iterator[World]:
    store = Store.open(tmp_path / "store.duckdb")
    with store.write() as cursor:
        now_us = round(time.time() * 1e6)
        for node in NODES:
            key = store.identities.node(cursor, CLUSTER, node.name, now_us, "real").key
            for number in node.numbers:
                store.identities.card(cursor, card_of(node.name, number), key, now_us, "real")
        store.identities.flush(cursor)
        cursor.execute("UPDATE card SET minor = regexp_extract(card_id, '[0-9]+$')::INTEGER")
    made = World(cluster, store)
    made.clean()
    try:
        yield made
    finally:
        store.close()


@pytest.fixture
def collector(world: World, tmp_path: Path) -> Iterator[Collector]:
    made = Collector(world, tmp_path)
    try:
        yield made
    finally:
        made.close()


def refused_for_now(world: World, job: str) -> bool:
    """Whether the scheduler has looked at a waiting job and found no room for it."""
    said = world.cluster.tool("squeue", "-h", "-a", "-j", job, "-o", "%T|%r").stdout.strip()
    return said == "PENDING|Resources"


def test_a_fatal_xid_takes_exactly_its_card_beside_running_jobs_until_a_person_gives_it_back(
    world: World, collector: Collector
) -> None:
    beside = [
        world.submit("-w", "g1", "--gres=gpu:h200:2"),
        world.submit("-w", "g1", "--gres=gpu:h200:1", user="games"),
    ]
    world.running(*beside)
    before = [world.job(label) for label in beside]
    held = set[int]().union(*(world.card_bits(label) for label in beside))
    bad = max(set(range(8)) - held) - 1
    card = card_of("g1", bad)
    collector.start()
    collector.push("g1", (bad + 1) % 8, "xid", "13")  # a program's own error: nobody's reason to isolate
    collector.push("g1", bad, "xid", "95")
    collector.fenced("g1", bad)
    assert [world.job(label) for label in beside] == before
    assert {state for state, _ in before} == {"RUNNING"}
    assert world.used("g1") == held | {bad}
    assert world.used("g2") == world.used("m1") == set()
    (intent,) = [one for one in collector.intents() if one.state is not State.SHADOW]
    assert (intent.subject, intent.family, intent.mode, intent.rule) == (
        card,
        "card",
        "automatic",
        "xid_reset_needed",
    )
    said = [row for row in collector.rows("SELECT action, subject, result FROM audit") if row[0] == "isolate"]
    assert {subject for _, subject, _ in said} == {card}
    assert any(f"keeps index {bad} of g1" in result for _, _, result in said)

    world.cluster.tool("scancel", *beside)
    world.until(lambda: world.used("g1") == {bad}, "only the fence is left", PATIENCE)
    seven = world.submit("-w", "g1", "--gres=gpu:h200:7")
    world.running(seven)
    assert world.card_bits(seven) == set(range(8)) - {bad}
    world.cluster.tool("scancel", seven)
    world.until(lambda: world.used("g1") == {bad}, "only the fence is left", PATIENCE)
    eight = world.submit("-w", "g1", "--gres=gpu:h200:8")
    collector.until(lambda: refused_for_now(world, eight), "the scheduler has no room for eight cards")

    collector.acting.isolation.release(card, reason="reset and tested", actor="ada", execute_calls=True)
    world.running(eight)
    assert world.card_bits(eight) == set(range(8))
    assert world.fences() == []
    collector.until(lambda: collector.state(card) is None, "the decision has ended with it")
    ended = collector.rows(
        "SELECT count(*) FROM incident WHERE action = 'isolate_card' AND closed_at IS NULL"
    )
    assert ended == [(0,)]


def test_a_card_that_is_back_is_given_back_by_the_policy_itself(world: World, collector: Collector) -> None:
    card = card_of("m1", 5)  # index 4: device 3 is missing on that node
    collector.start()
    collector.push("m1", 5, "card_lost")
    collector.until(lambda: collector.state(card) is State.ISOLATED, "it is isolated")
    assert [world.card_bits(fence) for fence in world.fences()] == [{4}]
    collector.push("m1", 5, "card_back")
    collector.until(lambda: collector.state(card) is State.PROBATION, "it is back, and watched")
    assert world.fences() == []
    whole = world.submit("-w", "m1", "--gres=gpu:7")
    world.running(whole)


@pytest.mark.parametrize("after", ["the decision", "the first call"])
def test_a_collector_killed_on_the_way_ends_with_one_fence_on_the_card(
    world: World, collector: Collector, after: str
) -> None:
    """New objects on the same store and journal; what the dead ones left in Slurm is found there."""
    collector.push("g1", 4, "xid", "95")
    collector.judge()
    assert collector.state(card_of("g1", 4)) is State.WANTED
    if after == "the first call":
        collector.carry_out_until(lambda argv: "sbatch" in argv)
        assert world.fences() != []
    else:
        assert world.fences() == []
    collector.restart()
    collector.start()
    collector.fenced("g1", 4)
    world.until(lambda: world.used("g1") == {4}, "no healthy card is held", PATIENCE)
    assert collector.rows("SELECT count(*) FROM incident WHERE action = 'isolate_card'") == [(1,)]
    collector.restart()
    collector.start()
    collector.fenced("g1", 4)


def test_a_slurmctld_that_is_away_when_it_is_decided_is_called_when_it_is_back(
    world: World, collector: Collector
) -> None:
    collector.push("g1", 2, "xid", "95")
    collector.judge()
    assert collector.state(card_of("g1", 2)) is State.WANTED
    world.cluster.stop_part("slurmctld")
    collector.start()
    surroundings = collector.acting.policy.surroundings
    collector.until(lambda: surroundings.fleet().unheard == {CLUSTER}, "it has asked in vain")
    assert collector.state(card_of("g1", 2)) is State.WANTED
    world.cluster.start_part("slurmctld")
    collector.fenced("g1", 2)


@pytest.mark.soak
def test_a_slurmctld_killed_while_a_fence_stands_comes_back_with_it(
    world: World, collector: Collector
) -> None:
    collector.start()
    collector.push("g1", 2, "xid", "95")
    collector.fenced("g1", 2)
    job = world.submit("-w", "g1", "--gres=gpu:h200:1")
    world.running(job)
    before = world.job(job)
    time.sleep(6)  # slurmctld writes down every 5 s what it knows
    world.cluster.stop_part("slurmctld", kill=True)
    time.sleep(3)  # looks in between find nobody
    assert collector.state(card_of("g1", 2)) is State.ISOLATED
    world.cluster.start_part("slurmctld")
    world.until(lambda: world.cluster.tool("squeue", check=False).returncode == 0, "slurmctld is back")
    collector.fenced("g1", 2)
    assert world.job(job) == before


def test_a_fence_cancelled_by_hand_is_placed_again(world: World, collector: Collector) -> None:
    collector.start()
    collector.push("g1", 6, "xid", "95")
    collector.fenced("g1", 6)
    first = world.fences()
    world.cluster.tool("scancel", *first)
    collector.until(lambda: world.fences() not in ([], first), "there is another")
    collector.fenced("g1", 6)
    world.until(lambda: world.used("g1") == {6}, "no healthy card is held", PATIENCE)
    (intent,) = [one for one in collector.intents() if one.subject == card_of("g1", 6)]
    assert intent.placed_again == 1


@pytest.mark.soak
def test_a_rebooted_node_has_its_card_fenced_before_a_waiting_job(world: World, collector: Collector) -> None:
    collector.start()
    collector.push("g2", 6, "xid", "95")
    collector.fenced("g2", 6)
    first = world.fences()
    time.sleep(20)  # slurmctld takes a job for lost when it began 15 s before the node's boot
    world.cluster.stop_part("slurmd-g2", kill=True)
    end_job_steps(world)
    world.cluster.start_part("slurmd-g2", "-b")
    collector.until(lambda: world.fences() not in ([], first), "another fence waits or runs")
    eight = world.submit("-w", "g2", "--gres=gpu:h200:8")
    world.cluster.tool("scontrol", "update", "nodename=g2", "state=resume", check=False)
    collector.fenced("g2", 6)
    world.until(lambda: world.used("g2") == {6}, "the card is held, and no other", PATIENCE)
    assert world.job(eight)[0] == "PENDING"


def test_a_drain_set_by_a_person_stays_and_is_shown(world: World, collector: Collector) -> None:
    """Drained before the fault: nothing is called. Drained after it: fence and drain stand side by side."""
    world.cluster.tool("scontrol", "update", "nodename=g2", "state=drain", "reason=ada looks at it")
    collector.start()
    collector.until(
        lambda: bool(collector.acting.policy.surroundings.fleet().others), "the collector has seen the drain"
    )
    collector.push("g2", 3, "xid", "95")
    card = card_of("g2", 3)
    collector.until(lambda: collector.state(card) is State.ADVISED, "it is only advised")
    (shown,) = [one for one in collector.intents() if one.subject == card]
    assert "ada looks at it" in (shown.held_back or "")
    assert world.fences() == []
    assert "ada looks at it" in world.cluster.tool("scontrol", "show", "node", "g2").stdout


@pytest.mark.soak
def test_a_drain_beside_our_fence_outlives_the_fence(world: World, collector: Collector) -> None:
    collector.start()
    collector.push("g1", 3, "xid", "95")
    collector.fenced("g1", 3)
    world.cluster.tool("scontrol", "update", "nodename=g1", "state=drain", "reason=disk is loud")
    collector.until(
        lambda: bool(collector.acting.policy.surroundings.fleet().others), "the collector has seen the drain"
    )
    collector.fenced("g1", 3)
    collector.acting.isolation.release(
        card_of("g1", 3), reason="reset and tested", actor="ada", execute_calls=True
    )
    world.until(lambda: world.fences() == [], "our fence is gone", PATIENCE)
    said = world.cluster.tool("scontrol", "-o", "show", "node", "g1").stdout
    assert "DRAIN" in said and "Reason=disk is loud" in said
