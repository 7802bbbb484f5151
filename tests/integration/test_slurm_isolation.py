"""Isolation on a real Slurm: one card fenced beside running work, whatever crashes, restarts or is done by hand."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import slurm_cluster
from slurm_cluster import CLUSTER, NODES, SlurmCluster

from ullage_collector.allocation.book import AllocationBook
from ullage_collector.allocation.slurm.asking import Asking
from ullage_collector.allocation.slurm.settings import SlurmSettings
from ullage_collector.allocation.slurm.source import SlurmSource
from ullage_collector.isolate import slurm_card, slurm_node
from ullage_collector.isolate.actuator import Ran, Standing, Target, execute, run_program
from ullage_collector.isolate.slurm_card import SlurmCard
from ullage_collector.isolate.slurm_node import SlurmNode
from ullage_collector.store.store import Store
from ullage_contract.errors import ActuatorError

WHY_NOT = slurm_cluster.why_not()
pytestmark = [
    pytest.mark.skipif(WHY_NOT is not None, reason=WHY_NOT or ""),
    pytest.mark.timeout(600),
]

EXTRA = """AccountingStorageEnforce=associations,limits,qos
PartitionName=whole Nodes=g2 OverSubscribe=EXCLUSIVE State=UP PriorityTier=1 MaxTime=INFINITE
"""
LOOK = 0.2


class World:
    """The cluster, a store that knows its cards, and both actuators."""

    def __init__(self, cluster: SlurmCluster, store: Store) -> None:
        self.cluster = cluster
        self.store = store
        self.card = self.actuator()
        self.node: SlurmNode = slurm_node.actuator({"conf": self.conf, "end_with": "requeue"})

    @property
    def conf(self) -> str:
        return str(self.cluster.folder / "etc" / "slurm.conf")

    def actuator(self, **more: object) -> SlurmCard:
        made = slurm_card.actuator(
            {"conf": self.conf, "gres_conf": str(self.cluster.folder / "etc" / "gres.conf"), **more}
        )
        made.read_from(self.store.cursor)
        return made

    def target(self, node: str, number: int, *, incident: int | None = 17) -> Target:
        """The card whose device file has this number."""
        card = card_of(node, number)
        return Target(
            family="card",
            subject=card,
            cluster_id=CLUSTER,
            node_id=node,
            vendor="nvidia",
            minor=number,
            pci_address=None,
            reason="Xid 79",
            marker=f"ullage:{card}",
            incident_id=incident,
        )

    # ---- what Slurm shows, read by the test itself

    def used(self, node: str) -> set[int]:
        said = self.cluster.tool("scontrol", "-o", "-d", "show", "node", node).stdout
        listed = said.partition("GresUsed=")[2].partition("IDX:")[2].partition(")")[0]
        return numbers(listed)

    def card_bits(self, job: str) -> set[int]:
        said = self.cluster.tool("scontrol", "-o", "-d", "show", "job", job).stdout
        return numbers(said.partition("(IDX:")[2].partition(")")[0])

    def fences(self) -> list[str]:
        """Labels of all jobs of the fence account that wait or run."""
        said = self.cluster.tool(
            "squeue", "-h", "-a", "-r", "-A", "ullage-fence", "-t", "PD,R,CF", "-o", "%i"
        )
        return said.stdout.split()

    def job(self, label: str) -> tuple[str, str]:
        """State and start of a job."""
        said = self.cluster.tool("squeue", "-h", "-a", "-t", "all", "-j", label, "-o", "%T|%S").stdout
        state, _, start = said.strip().partition("|")
        return state, start

    def submit(self, *options: str, script: str = "sleep 600", user: str = "daemon") -> str:
        return self.cluster.submit(user, script, *options)

    def until(self, good: Callable[[], bool], what: str, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not good():
            if time.monotonic() > deadline:
                queue = self.cluster.tool("squeue", "-a", check=False).stdout
                raise AssertionError(f"never came: {what}\n{queue}")
            time.sleep(LOOK)

    def running(self, *labels: str) -> None:
        for label in labels:
            self.until(lambda label=label: self.job(label)[0] == "RUNNING", f"job {label} runs")  # type: ignore[misc]

    def isolate(self, target: Target, actuator: SlurmCard | None = None) -> list[str]:
        return execute((actuator or self.card).plan_isolate(target))

    def clean(self) -> None:
        """No job, no drain, every node idle."""
        for user in (*slurm_cluster.USERS, "root"):
            self.cluster.tool("scancel", "--quiet", f"--user={user}", check=False)
        for node in NODES:
            self.cluster.tool("scontrol", "update", f"nodename={node.name}", "state=resume", check=False)
        self.until(
            lambda: set(self.cluster.tool("sinfo", "-h", "-N", "-o", "%t").stdout.split()) == {"idle"},
            "all nodes idle",
            90,
        )


def card_of(node: str, number: int) -> str:
    return f"GPU-{node}-{number}"


def numbers(listed: str) -> set[int]:
    found: set[int] = set()
    for part in listed.split(","):
        low, _, high = part.partition("-")
        if low.isdigit():
            found.update(range(int(low), int(high or low) + 1))
    return found


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with slurm_cluster.slurm_cluster(extra=EXTRA) as cluster:
        manager = ("sacctmgr", "-i", "-Q")
        cluster.tool(*manager, "add", "qos", "ullage-fence", "tight")
        cluster.tool(*manager, "modify", "qos", "tight", "set", "GrpTRES=gres/gpu=2")
        cluster.tool(*manager, "modify", "user", "root", "set", "qos+=ullage-fence,tight")
        store = Store.open(tmp_path_factory.mktemp("store") / "store.duckdb")
        with store.write() as cursor:
            now_us = round(time.time() * 1e6)
            for node in NODES:
                key = store.identities.node(cursor, CLUSTER, node.name, now_us, "real").key
                for number in node.numbers:
                    store.identities.card(cursor, card_of(node.name, number), key, now_us, "real")
            store.identities.flush(cursor)
            cursor.execute("UPDATE card SET minor = regexp_extract(card_id, '[0-9]+$')::INTEGER")
        try:
            yield World(cluster, store)
        finally:
            store.close()


@pytest.fixture
def world(big: World) -> Iterator[World]:
    big.clean()
    big.card = big.actuator()
    yield big


def test_exactly_the_faulty_card_is_taken_and_other_jobs_go_on(world: World) -> None:
    """Device 5 of a node without device 3 is index 4: the number of the file is not the index."""
    first = world.submit("-w", "m1", "--gres=gpu:2")
    second = world.submit("-w", "m1", "--gres=gpu:1", user="games")
    world.running(first, second)
    before = {label: world.job(label) for label in (first, second)}
    target = world.target("m1", 5)
    assert world.card.standing(target) is Standing.GONE
    world.isolate(target)
    assert world.used("m1") == {0, 1, 2, 4}
    assert len(world.fences()) == 1
    assert world.card_bits(world.fences()[0]) == {4}
    assert {label: world.job(label) for label in (first, second)} == before
    assert world.card.standing(target) is Standing.OURS
    assert world.card.standing(world.target("m1", 6)) is Standing.GONE
    assert world.isolate(target)[-1].endswith("keeps index 4 of m1")
    assert len(world.fences()) == 1


def test_seven_cards_still_work_eight_do_not_and_release_brings_the_card_back(world: World) -> None:
    target = world.target("g1", 3)
    world.isolate(target)
    seven = world.submit("-w", "g1", "--gres=gpu:h200:7")
    world.running(seven)
    assert world.card_bits(seven) == {0, 1, 2, 4, 5, 6, 7}
    world.cluster.tool("scancel", seven)
    world.until(lambda: world.used("g1") == {3}, "only the fence is left")
    eight = world.submit("-w", "g1", "--gres=gpu:h200:8")
    time.sleep(7)  # two passes of the scheduler
    assert world.job(eight)[0] == "PENDING"
    execute(world.card.plan_release(target))
    world.running(eight)
    assert world.card_bits(eight) == set(range(8))
    assert world.fences() == []
    world.until(lambda: world.card.standing(target) is Standing.GONE, "nothing of ours stands")
    assert world.card.plan_release(target).calls == ()


def test_a_busy_card_is_taken_before_any_waiting_job_and_nothing_is_interrupted(world: World) -> None:
    holder = world.submit("-w", "g1", "--gres=gpu:h200:6", script="sleep 16")
    beside = world.submit("-w", "g1", "--gres=gpu:h200:2")
    world.running(holder, beside)
    bad = min(world.card_bits(holder)) + 2
    before = world.job(holder), world.job(beside)
    waiting = [world.submit("-w", "g1", f"--gres=gpu:h200:{n}", user="games") for n in (1, 4, 3)]
    target = world.target("g1", bad)
    plan = world.card.plan_isolate(target)
    assert "is let finish" in " ".join(plan.notes)
    assert execute(plan)[-1] == f"waits for the end of job {holder}, which holds the card"
    assert world.card.standing(target) is Standing.OURS
    assert (world.job(holder), world.job(beside)) == before
    world.until(lambda: any(world.card_bits(f) == {bad} for f in world.fences()), "the fence is on the card")
    world.running(waiting[0])
    for label in waiting:
        assert bad not in world.card_bits(label)
    assert world.job(beside) == before[1]
    world.until(lambda: len(world.fences()) == 1, "only one fence stays, without anybody looking")
    assert world.card.standing(target) is Standing.OURS


def test_a_job_that_may_be_preempted_is_not_by_a_fence(world: World) -> None:
    """Jobs of partition spare give way to those of batch, where the fence goes."""
    holder = world.submit("-w", "g1", "--gres=gpu:h200:7", "-p", "spare")
    world.running(holder)
    before = world.job(holder)
    target = world.target("g1", 5)
    world.isolate(target)
    time.sleep(7)  # two passes of the scheduler
    assert world.job(holder) == before
    assert world.card.standing(target) is Standing.OURS
    one = world.submit("-w", "g1", "--gres=gpu:h200:1", "-p", "spare")
    world.running(one)
    world.cluster.tool("scancel", holder)
    world.until(lambda: world.used("g1") == {5, 7}, "the fence has the card, and healthy cards are free")


def test_work_is_requeued_only_where_that_was_asked_for_and_the_card_is_then_taken(world: World) -> None:
    holder = world.submit("-w", "g1", "--gres=gpu:h200:8")
    world.running(holder)
    target = replace(world.target("g1", 6), drain="end")
    world.isolate(target)
    time.sleep(1)
    assert world.job(holder)[0] == "RUNNING"  # the settings do not allow it
    allowed = world.actuator(end_with="requeue")
    world.isolate(target, allowed)
    assert world.used("g1") == {6}
    assert world.job(holder)[0] == "PENDING"
    assert allowed.standing(target) is Standing.OURS


CRASHING = """
import os, pickle, signal, sys
from ullage_collector.isolate.actuator import execute, run_program
from ullage_collector.isolate import slurm_card
from ullage_collector.allocation.slurm.cards import Card
settings, target, cards, at, after = pickle.loads(bytes.fromhex(sys.argv[1]))
made = slurm_card.actuator(settings)
made._cards = lambda cluster: cards
calls = 0
def run(argv):
    global calls
    calls += 1
    if calls == at and not after:
        os.kill(os.getpid(), signal.SIGKILL)
    ran = run_program(argv)
    if calls == at and after:
        os.kill(os.getpid(), signal.SIGKILL)
    return ran
execute(made.plan_isolate(target), run=run)
"""


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    "at", [pytest.param(1, marks=pytest.mark.soak), 2, pytest.param(3, marks=pytest.mark.soak)]
)
def test_what_a_killed_run_left_the_next_one_finishes(world: World, at: int, after: bool) -> None:
    """Killed with kill -9 before and after each of its calls: submit, cancel the others, lift the time limit."""
    import pickle

    from ullage_collector.allocation.slurm.cards import Card

    target = world.target("g1", 4)
    settings = {"conf": world.conf, "gres_conf": str(world.cluster.folder / "etc" / "gres.conf")}
    cards = [Card("g1", card_of("g1", n), n, None, time.time()) for n in range(8)]
    said = pickle.dumps((settings, target, cards, at, after)).hex()
    done = subprocess.run(
        [sys.executable, "-c", CRASHING, said], check=False, capture_output=True, timeout=120
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    world.isolate(target)
    assert len(world.fences()) == 1
    assert world.card_bits(world.fences()[0]) == {4}
    world.until(lambda: world.used("g1") == {4}, "no healthy card is held")
    assert world.card.standing(target) is Standing.OURS


def test_fences_of_a_dead_run_leave_healthy_cards_by_themselves(world: World) -> None:
    """Killed right after submitting, and nobody comes: the one on the card stays, the others end."""
    target = world.target("g1", 5)

    class Dead(Exception):
        pass

    def run(argv: Sequence[str]) -> Ran:
        ran = run_program(argv)
        if "sbatch" in argv:
            raise Dead
        return ran

    with pytest.raises(Dead):
        execute(world.card.plan_isolate(target), run=run)
    world.until(lambda: 5 in world.used("g1"), "the fence started")
    world.until(lambda: world.used("g1") == {5}, "the others ended")
    assert len(world.fences()) == 1


def test_slurmctld_restarted_in_the_middle_ends_in_the_decided_state(world: World) -> None:
    target = world.target("g1", 2)
    time.sleep(6)  # slurmctld writes down every 5 s what it knows; jobs of other tests must not come back

    def run(argv: Sequence[str]) -> Ran:
        ran = run_program(argv)
        if "sbatch" in argv:
            world.cluster.stop_part("slurmctld", kill=True)
            world.cluster.start_part("slurmctld")
        return ran

    try:
        execute(world.card.plan_isolate(target), run=run)
    except ActuatorError:
        pass
    world.until(lambda: world.cluster.tool("squeue", check=False).returncode == 0, "slurmctld is back")
    world.isolate(target)
    assert world.card.standing(target) is Standing.OURS
    world.until(lambda: world.used("g1") == {2}, "one card is held")
    world.cluster.stop_part("slurmctld")
    time.sleep(1.1)
    assert world.card.standing(target) is Standing.UNKNOWN
    world.cluster.start_part("slurmctld")
    world.until(lambda: world.cluster.tool("squeue", check=False).returncode == 0, "slurmctld is back")
    world.until(lambda: world.card.standing(target) is Standing.OURS, "the fence outlives slurmctld")


def test_a_fence_cancelled_by_hand_is_seen_and_placed_anew(world: World) -> None:
    target = world.target("g1", 7)
    world.isolate(target)
    world.cluster.tool("scancel", *world.fences())
    world.until(lambda: world.card.standing(target) is Standing.GONE, "it is gone")
    world.isolate(target)
    assert world.card.standing(target) is Standing.OURS
    world.until(lambda: world.used("g1") == {7}, "one card is held")


@pytest.mark.soak
def test_a_rebooted_node_gets_its_fence_again_before_other_work(world: World) -> None:
    target = world.target("g2", 6)
    world.isolate(target)
    time.sleep(20)  # slurmctld takes a job for lost when it began 15 s before the node's boot
    world.cluster.stop_part("slurmd-g2", kill=True)
    end_job_steps(world)
    world.cluster.start_part("slurmd-g2", "-b")
    world.until(lambda: world.card.standing(target) is Standing.GONE, "the fence went with the node", 120)
    eight = world.submit("-w", "g2", "--gres=gpu:h200:8")
    world.isolate(target)
    assert world.card.standing(target) is Standing.OURS
    # slurmctld calls a node that was rebooted by itself down, until somebody resumes it or it registers again.
    world.cluster.tool("scontrol", "update", "nodename=g2", "state=resume", check=False)
    world.until(lambda: world.used("g2") == {6}, "the card is held, and no other")
    assert world.job(eight)[0] == "PENDING"
    assert world.card.standing(target) is Standing.OURS


def test_a_node_that_takes_no_work_is_fenced_when_it_does(world: World) -> None:
    """Drained by a person: that drain stays; when it is taken back the fence is in front of a waiting job."""
    world.cluster.tool("scontrol", "update", "nodename=g2", "state=drain", "reason=ada looks at it")
    target = world.target("g2", 3)
    assert world.isolate(target) == ["submitted 4 fences to g2", "waits until g2 takes work again"]
    assert world.card.standing(target) is Standing.OURS
    eight = world.submit("-w", "g2", "--gres=gpu:h200:8")
    assert "ada looks at it" in world.cluster.tool("scontrol", "show", "node", "g2").stdout
    world.cluster.tool("scontrol", "update", "nodename=g2", "state=resume")
    world.until(lambda: world.used("g2") == {3}, "the fence was first")
    assert world.job(eight)[0] == "PENDING"


def test_an_exclusive_partition_and_a_limit_are_refused_and_the_node_is_proposed(world: World) -> None:
    target = world.target("g2", 4)
    with pytest.raises(ActuatorError, match=r"whole gives whole nodes only.*isolate the node g2 instead"):
        world.actuator(partition="whole").plan_isolate(target)
    with pytest.raises(ActuatorError, match=r"QOSGrpGRES.*QOS tight.*isolate the node g2 instead"):
        execute(world.actuator(qos="tight").plan_isolate(target))
    assert world.fences() == []
    with pytest.raises(ActuatorError, match=r"sbatch ended with 1: .*[Ii]nvalid qos"):
        execute(world.actuator(qos="nobody").plan_isolate(target))
    assert "jobs of partition whole take whole nodes" in " ".join(world.card.plan_isolate(target).notes)
    with pytest.raises(ActuatorError, match=r"not proven.*isolate the node g2 instead"):
        world.card.plan_isolate(replace(target, subject="GPU-elsewhere"))
    without = slurm_card.actuator({"conf": world.conf})
    without.read_from(world.store.cursor)
    with pytest.raises(ActuatorError, match=r"minor numbers are not 0 to n-1; give gres_conf"):
        without.plan_isolate(world.target("m1", 5))


def test_a_fence_is_isolation_and_never_an_allocation(world: World, tmp_path: Path) -> None:
    world.running(world.submit("-w", "g1", "--gres=gpu:h200:1"))
    world.isolate(world.target("g1", 6))
    settings = SlurmSettings(
        CLUSTER, conf=Path(world.conf), gres_conf=world.cluster.folder / "etc" / "gres.conf"
    )
    source = SlurmSource(
        Asking(settings, settings.programs()), world.store, AllocationBook(world.store, "slurm")
    )
    world.until(
        lambda: (source.step(time.time()), len(source.fences) == 1)[1], "the source saw the fence", 90
    )
    (fence,) = source.fences
    assert (fence.card_id, fence.index) == (card_of("g1", 6), 6)
    assert (fence.comment or "").startswith("fence:GPU-g1-6:17 ")
    cursor = world.store.cursor()
    held = cursor.execute(
        "SELECT DISTINCT w.namespace, c.card_id FROM allocation a JOIN workload w USING (workload_key)"
        " LEFT JOIN card c USING (card_key) WHERE a.known_to IS NULL AND a.valid_to IS NULL"
    ).fetchall()
    cursor.close()
    assert held == [("nlp", card_of("g1", 0))]


def test_a_drain_set_by_a_person_stays_and_ours_is_taken_back(world: World) -> None:
    target = Target("node", "g2", CLUSTER, "g2", None, None, None, "Xid 79", "ullage:g2", 17)

    def state() -> str:
        return world.cluster.tool("scontrol", "-o", "show", "node", "g2").stdout

    execute(world.node.plan_isolate(target))
    assert "Reason=ullage:g2 incident 17: Xid 79 [root@" in state()
    assert world.node.standing(target) is Standing.OURS
    assert world.node.taken_by_others(CLUSTER) == {}
    assert world.node.plan_isolate(target).calls == ()
    execute(world.node.plan_release(target))
    assert "DRAIN" not in state()
    plan = world.node.plan_isolate(target)
    world.cluster.tool("scontrol", "update", "nodename=g2", "state=drain", "reason=disk is loud")
    with pytest.raises(ActuatorError, match="kept from new work already by root"):
        execute(plan)  # drained by a person between plan and call
    time.sleep(1.1)
    assert world.node.standing(target) is Standing.OTHERS
    assert world.node.taken_by_others(CLUSTER) == {"g2": "root: disk is loud"}
    with pytest.raises(ActuatorError, match="left alone"):
        world.node.plan_release(target)
    assert "Reason=disk is loud" in state()


def test_jobs_of_a_drained_node_are_told_or_requeued_as_was_asked(world: World) -> None:
    told = world.cluster.folder / "jobs" / "told"
    job = world.submit("-w", "g2", "--gres=gpu:h200:2", f"--output={told}")
    world.running(job)
    target = Target("node", "g2", CLUSTER, "g2", None, None, None, "Xid 79", "ullage:g2", 17)
    execute(world.node.plan_isolate(replace(target, drain="notify")))
    world.until(lambda: "save your work" in told.read_text(), "its owner is told")
    assert world.job(job)[0] == "RUNNING"
    fenced = world.target("g2", 7)  # on a drained node it waits
    world.isolate(fenced)
    execute(world.node.plan_isolate(replace(target, drain="end")))
    world.until(lambda: world.job(job)[0] == "PENDING", "it is requeued")
    assert world.card.standing(fenced) is not Standing.UNKNOWN


def end_job_steps(world: World) -> None:
    """As a reboot does: end what runs of jobs, here all of the cluster's."""
    mark = os.fsencode(f"{world.cluster.folder}/")
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            name = (entry / "cmdline").read_bytes()
            around = (entry / "environ").read_bytes()
        except OSError:
            continue
        if (name.startswith(b"slurmstepd") or b"sleep" in name) and (mark in around or mark in name):
            os.kill(int(entry.name), signal.SIGKILL)
