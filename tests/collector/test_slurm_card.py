"""The fence's decisions against a stand-in for slurmctld: every branch, exact calls, no real Slurm.

tests/integration/test_slurm_isolation.py holds the same against a real one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pytest

from ullage_collector.allocation.slurm.cards import Card
from ullage_collector.isolate import slurm_card
from ullage_collector.isolate.actuator import Procedure, Ran, Standing, Target, execute
from ullage_collector.isolate.slurm_calls import SlurmCalls
from ullage_collector.isolate.slurm_card import ClusterFences, SlurmCard
from ullage_collector.isolate.slurm_fence import FenceSettings
from ullage_contract.clock import ManualClock
from ullage_contract.errors import ActuatorError, ConfigError, DeadlineExceeded

FOREVER = 1_800_000_000 + 365 * 86_400


@dataclass
class Job:
    label: str
    account: str
    state: str
    bits: tuple[int, ...] = ()
    comment: str = ""
    waits_for: str | None = None
    reason: str = "None"
    end: int | None = None


@dataclass
class Slurm:
    """One node of eight cards. Fences start at the pass after ``starts_after`` looks, on the lowest free index."""

    clock: ManualClock
    jobs: dict[str, Job] = field(default_factory=dict)
    states: str = "IDLE"
    configured: str = "gpu:h200:8"
    partitions: str = "PartitionName=batch State=UP PriorityTier=10 OverSubscribe=NO MaxTime=UNLIMITED"
    config: str = "SelectType = select/cons_tres\nPreemptType = preempt/none"
    reason: str | None = None
    starts: bool = True
    order: tuple[int, ...] = tuple(range(8))
    says_indices: bool = True
    silent: bool = False
    called: list[str] = field(default_factory=list)
    refuse: str = ""
    number: int = 100
    before_start: Callable[[Slurm], None] | None = None

    def used(self) -> set[int]:
        return {bit for job in self.jobs.values() for bit in job.bits}

    # ---- reading

    def read(self, argv: Sequence[str], *, seconds: float) -> bytes:
        if self.silent:
            raise DeadlineExceeded("squeue did not answer within 15 s")
        words = " ".join(argv)
        if "show config" in words:
            return self.config.encode()
        if "show partition" in words:
            return self.partitions.encode()
        if "show node" in words:
            used = ",".join(str(bit) for bit in sorted(self.used()))
            listed = f"(IDX:{used or 'N/A'})" if self.says_indices else ""
            return (
                f"NodeName=g1 Gres={self.configured} GresUsed=gpu:h200:{len(self.used())}{listed} "
                f"State={self.states} Partitions=batch,spare Version=22.05.8"
            ).encode()
        if "show job" in words:
            job = self.jobs.get(argv[-1])
            if job is None or not job.bits:
                return b"JobId=1"
            bits = ",".join(str(bit) for bit in job.bits)
            return f"JobId=1 Nodes=g1 CPU_IDs=0 Mem=0 GRES=gpu:h200:{len(job.bits)}(IDX:{bits})".encode()
        if argv[0] == "squeue":
            if "--account" in words:
                self.schedule()
            return "\n".join(self.line(job) for job in self.jobs.values() if self.shown(job, words)).encode()
        raise AssertionError(words)

    def shown(self, job: Job, words: str) -> bool:
        if match := re.search(r"--account=(\S+)", words):
            return job.account == match[1]
        if match := re.search(r"--jobs=(\S+)", words):
            return job.label == match[1]
        return job.state != "PENDING"

    def line(self, job: Job) -> str:
        nodes = "" if job.state == "PENDING" else "g1"
        depends = f"afterany:{job.waits_for}(unfulfilled)" if job.waits_for else "(null)"
        end = "NONE" if job.end is None else str(job.end)
        return (
            f"{job.label}|{job.label.partition('_')[0]}|{job.state}|{job.account}|1800000000|{end}|{depends}|"
            f"{nodes}|{job.reason}|{job.comment or '(null)'}"
        )

    def schedule(self) -> None:
        if not self.starts or self.states != "IDLE":
            return
        waiting = [job for job in self.jobs.values() if job.state == "PENDING"]
        if self.before_start is not None and waiting:
            act, self.before_start = self.before_start, None
            act(self)
        for job in [
            job for job in self.jobs.values() if job.state == "PENDING" and job.account == "ullage-fence"
        ]:
            if job.waits_for in self.jobs or job.reason != "None":
                continue
            match = re.fullmatch(r"(\d+)_\[0-(\d+)\]", job.label)
            assert match is not None
            del self.jobs[job.label]
            left = []
            for task in range(int(match[2]) + 1):
                free = [bit for bit in self.order if bit not in self.used()]
                if not free:
                    left.append(task)
                    continue
                label = f"{match[1]}_{task}"
                self.jobs[label] = replace(
                    job, label=label, state="RUNNING", bits=(free[0],), waits_for=None, end=1_800_003_600
                )
            if left:
                label = f"{match[1]}_[{left[0]}-{left[-1]}]"
                self.jobs[label] = replace(job, label=label, reason="Resources", waits_for=None)

    # ---- changing

    def run(self, argv: Sequence[str]) -> Ran:
        at = next(i for i, word in enumerate(argv) if word in ("sbatch", "scancel", "scontrol"))
        words = list(argv[at:])
        self.called.append(" ".join(words[:2]) if words[0] != "scancel" else " ".join(words))
        if self.refuse:
            return Ran(1, "", f"sbatch: error: {self.refuse}")
        if words[0] == "sbatch":
            options = dict(word.removeprefix("--").partition("=")[::2] for word in words[1:])
            self.number += 1
            label = f"{self.number}_[{options['array']}]"
            self.jobs[label] = Job(
                label,
                options["account"],
                "PENDING",
                comment=options["comment"],
                waits_for=options.get("dependency", "").partition(":")[2] or None,
            )
        elif words[0] == "scancel":
            for label in words[1:]:
                self.jobs.pop(label, None)
        elif words[1] == "requeue":
            self.jobs[words[2]] = replace(self.jobs[words[2]], state="PENDING", bits=())
        elif words[1] == "update":
            label = words[2].partition("=")[2]
            if words[3] == "dependency=":
                for job in self.jobs.values():
                    if job.label.startswith(f"{label}_"):
                        job.waits_for = None
            else:
                self.jobs[label].end = None
        return Ran(0, "", "")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def slurm(clock: ManualClock) -> Slurm:
    return Slurm(clock)


def actuator(slurm: Slurm, **settings: object) -> SlurmCard:
    fence = FenceSettings(**settings)  # type: ignore[arg-type]
    cards = [Card("g1", f"GPU-{n}", n, f"0000:{16 + n:02x}:00.0", 1.0) for n in range(8)]
    return SlurmCard(
        ClusterFences(SlurmCalls(read=slurm.read), fence),
        known_cards=lambda cluster: cards,
        clock=slurm.clock,
    )


def target(number: int, **more: object) -> Target:
    card = f"GPU-{number}"
    plain = Target("card", card, "c", "g1", "nvidia", number, None, "Xid 79", f"ullage:{card}", 17)
    return replace(plain, **more)  # type: ignore[arg-type]


def working(slurm: Slurm, label: str, *bits: int) -> None:
    slurm.jobs[label] = Job(label, "nlp", "RUNNING", bits, end=FOREVER)


def fences(slurm: Slurm) -> dict[str, tuple[int, ...]]:
    return {job.label: job.bits for job in slurm.jobs.values() if job.account == "ullage-fence"}


def test_no_more_cards_are_asked_for_than_lie_before_the_target(slurm: Slurm) -> None:
    working(slurm, "7", 0, 1, 3)
    plan = actuator(slurm).plan_isolate(target(5))
    (call,) = plan.calls
    assert "--array=0-2" in str(call)  # 2, 4 and the target
    assert isinstance(call, Procedure)
    assert execute(plan, run=slurm.run)[-1] == "job 101_2 keeps index 5 of g1"
    assert slurm.called == ["sbatch --parsable", "scancel --quiet 101_0 101_1", "scontrol update"]
    assert fences(slurm) == {"101_2": (5,)}
    assert slurm.jobs["7"].bits == (0, 1, 3)


def test_a_dry_run_shows_the_exact_submission_and_calls_nothing(slurm: Slurm) -> None:
    shown = str(actuator(slurm, user="ullage").plan_isolate(target(0)).calls[0])
    for part in (
        "env -i PATH=",
        "'--comment=fence:GPU-0:17 ullage:GPU-0 index=0'",
        "--account=ullage-fence",
        "--qos=ullage-fence",
        "--uid=ullage",
        "--nodelist=g1",
        "--gres=gpu:h200:1",
        "--no-requeue",
        "--priority=4294967290",
        "timelimit=UNLIMITED",
    ):
        assert part in shown
    assert slurm.called == []


def test_the_second_run_does_nothing_and_another_incident_is_the_same_fence(slurm: Slurm) -> None:
    made = actuator(slurm)
    execute(made.plan_isolate(target(3)), run=slurm.run)
    slurm.called.clear()
    execute(made.plan_isolate(target(3, incident_id=18)), run=slurm.run)
    assert slurm.called == []


def test_fences_that_missed_are_taken_back_and_all_free_cards_are_tried_once(slurm: Slurm) -> None:
    slurm.order = (7, 6, 5, 4, 3, 2, 1, 0)  # as where a site's patch gives the highest first
    done = execute(actuator(slurm).plan_isolate(target(1)), run=slurm.run)
    assert done[-1].endswith("keeps index 1 of g1")
    assert list(fences(slurm).values()) == [(1,)]
    assert done[:2] == ["submitted 2 fences to g1", "submitted 8 fences to g1"]


def test_a_scheduler_that_never_gives_the_card_is_told_and_nothing_is_left(slurm: Slurm) -> None:
    slurm.order = (0, 1, 3, 4, 5, 6, 7)
    with pytest.raises(ActuatorError, match=r"no fence started on index 2.*isolate the node g1 instead"):
        execute(actuator(slurm).plan_isolate(target(2)), run=slurm.run)
    assert fences(slurm) == {}


def test_a_card_taken_in_the_same_second_is_waited_for_and_no_other_stays_held(slurm: Slurm) -> None:
    slurm.before_start = lambda it: working(it, "9", 0)
    done = execute(actuator(slurm).plan_isolate(target(0)), run=slurm.run)
    assert done[-1] == "waits for the end of job 9, which holds the card"
    assert [(job.waits_for, job.state) for job in slurm.jobs.values() if job.account == "ullage-fence"] == [
        ("9", "PENDING")
    ]


@pytest.mark.parametrize("drain", ["finish", "notify", "end"])
def test_running_work_is_never_ended_unless_the_settings_allow_it(slurm: Slurm, drain: str) -> None:
    working(slurm, "9", 2, 3, 4, 5)
    execute(actuator(slurm).plan_isolate(target(4, drain=drain)), run=slurm.run)
    assert slurm.jobs["9"].state == "RUNNING"
    assert [call for call in slurm.called if "requeue" in call or call.startswith("scancel")] == []
    assert ("scontrol notify" in slurm.called) == (drain != "finish")
    # Free before it are 0 and 1, and once the job ends its own 2 and 3.
    assert [job.label for job in slurm.jobs.values() if job.waits_for == "9"] == ["101_[0-4]"]


def test_the_wait_is_ours_until_it_is_for_the_wrong_job(slurm: Slurm, clock: ManualClock) -> None:
    working(slurm, "9", 4)
    made = actuator(slurm)
    execute(made.plan_isolate(target(4)), run=slurm.run)
    assert made.standing(target(4)) is Standing.OURS
    del slurm.jobs["9"]
    slurm.starts = False
    working(slurm, "10", 4)
    clock.advance(2)
    assert made.standing(target(4)) is Standing.GONE
    execute(made.plan_isolate(target(4)), run=slurm.run)
    assert [job.waits_for for job in slurm.jobs.values() if job.account == "ullage-fence"] == ["10"]
    clock.advance(2)
    assert made.standing(target(4)) is Standing.OURS


def test_fences_in_front_of_a_card_just_given_back_are_ours(slurm: Slurm, clock: ManualClock) -> None:
    working(slurm, "9", 4)
    made = actuator(slurm)
    execute(made.plan_isolate(target(4)), run=slurm.run)
    slurm.starts = False
    del slurm.jobs["9"]
    clock.advance(2)
    assert made.standing(target(4)) is Standing.OURS


@pytest.mark.parametrize("end_with", ["requeue", "cancel"])
def test_ended_work_makes_room_for_the_fence(slurm: Slurm, end_with: str) -> None:
    working(slurm, "9", 0, 1, 2)
    made = actuator(slurm, end_with=end_with)
    execute(made.plan_isolate(target(1, drain="end")), run=slurm.run)
    slurm.clock.advance(2)
    assert made.standing(target(1)) is Standing.OURS
    assert list(fences(slurm).values()) == [(1,)]
    assert slurm.jobs.get("9") is None or slurm.jobs["9"].state == "PENDING"


@pytest.mark.parametrize(
    "reason",
    [
        "QOSGrpGRES",
        "AssocGrpGRES",
        "Licenses",
        "PartitionTimeLimit",
        "ReqNodeNotAvail, Reserved for maintenance",
        "JobHeldAdmin",
    ],
)
def test_a_limit_is_named_the_node_is_proposed_and_nothing_is_left(slurm: Slurm, reason: str) -> None:
    def limit(it: Slurm) -> None:
        for job in it.jobs.values():
            job.reason = reason

    slurm.before_start = limit
    with pytest.raises(ActuatorError, match=f"{re.escape(reason)}.*isolate the node g1 instead"):
        execute(actuator(slurm).plan_isolate(target(2)), run=slurm.run)
    assert fences(slurm) == {}


def test_a_fence_that_does_not_start_in_time_is_taken_back(slurm: Slurm) -> None:
    slurm.starts = False
    with pytest.raises(ActuatorError, match="within 20 s"):
        execute(actuator(slurm).plan_isolate(target(2)), run=slurm.run)
    assert fences(slurm) == {}


def test_what_sbatch_refuses_is_said_in_its_words(slurm: Slurm) -> None:
    slurm.refuse = "Batch job submission failed: Invalid account"
    with pytest.raises(ActuatorError, match=r"sbatch ended with 1: sbatch: error: .*Invalid account"):
        execute(actuator(slurm).plan_isolate(target(2)), run=slurm.run)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"partitions": "PartitionName=batch State=UP OverSubscribe=EXCLUSIVE"}, "whole nodes only"),
        ({"partitions": "PartitionName=batch State=DOWN"}, "batch is down"),
        ({"partitions": "PartitionName=batch State=UP ExclusiveUser=YES"}, "one user"),
        ({"partitions": "PartitionName=batch State=UP ReqResv=YES"}, "reservations only"),
        ({"partitions": "PartitionName=batch State=UP AllowAccounts=nlp"}, "does not allow account"),
        ({"partitions": "PartitionName=batch State=UP DenyQos=ullage-fence"}, "denies QOS"),
        ({"partitions": "PartitionName=other State=UP"}, "not in partition"),
        ({"configured": "gpu:h200:4,gpu:a100:4"}, "several types"),
        ({"configured": "gpu:h200:8,shard:64"}, "shares of cards"),
        ({"configured": "gpu:h200:7"}, "not proven: Slurm has 7 cards there, the agent sees 8"),
        ({"config": "SelectType = select/linear"}, "not select/cons_tres"),
        ({"says_indices": False}, "does not say which cards"),
    ],
)
def test_where_a_fence_would_not_be_exact_the_node_is_proposed(
    slurm: Slurm, change: dict[str, object], why: str
) -> None:
    working(slurm, "9", 7)
    for name, value in change.items():
        setattr(slurm, name, value)
    with pytest.raises(ActuatorError, match=f"{why}.*isolate the node g1 instead"):
        actuator(slurm).plan_isolate(target(2))
    assert slurm.called == []


def test_a_fence_that_others_would_push_out_is_refused_and_the_first_looked_at_is_chosen(
    slurm: Slurm,
) -> None:
    slurm.config = "SelectType = select/cons_tres\nPreemptType = preempt/partition_prio"
    slurm.partitions = (
        "PartitionName=batch State=UP PriorityTier=10 PreemptMode=REQUEUE\n"
        "PartitionName=spare State=UP PriorityTier=1 PreemptMode=REQUEUE"
    )
    assert "--partition=batch" in str(actuator(slurm).plan_isolate(target(2)).calls[0])
    with pytest.raises(ActuatorError, match="would be preempted"):
        actuator(slurm, partition="spare").plan_isolate(target(2))


def test_a_short_time_limit_of_the_partition_is_kept_to(slurm: Slurm) -> None:
    slurm.partitions = "PartitionName=batch State=UP MaxTime=00:30:00"
    assert "--time=30 " in str(actuator(slurm).plan_isolate(target(2)).calls[0])


def test_a_fence_about_to_end_counts_as_gone_and_isolating_again_lifts_its_limit(
    slurm: Slurm, clock: ManualClock
) -> None:
    made = actuator(slurm)
    execute(made.plan_isolate(target(2)), run=slurm.run)
    (label,) = fences(slurm)
    slurm.jobs[label].end = round(clock.wall()) + 600
    clock.advance(2)
    assert made.standing(target(2)) is Standing.GONE
    execute(made.plan_isolate(target(2)), run=slurm.run)
    clock.advance(2)
    assert made.standing(target(2)) is Standing.OURS
    assert list(fences(slurm)) == [label]


def test_standing_tells_gone_others_and_unknown_apart(slurm: Slurm, clock: ManualClock) -> None:
    made = actuator(slurm)
    assert made.standing(target(2)) is Standing.GONE
    slurm.jobs["5"] = Job(
        "5", "ullage-fence", "RUNNING", (2,), "fence:GPU-2:3 ullage:other index=2", end=FOREVER
    )
    clock.advance(2)
    assert made.standing(target(2)) is Standing.OTHERS
    with pytest.raises(ActuatorError, match="another fence already"):
        made.plan_isolate(target(2))
    slurm.silent = True
    clock.advance(2)
    assert made.standing(target(2)) is Standing.UNKNOWN
    with pytest.raises(ActuatorError, match="Slurm does not answer"):
        made.plan_release(target(2))


def test_release_cancels_only_fences_with_the_targets_marker(slurm: Slurm) -> None:
    made = actuator(slurm)
    execute(made.plan_isolate(target(2)), run=slurm.run)
    execute(made.plan_isolate(target(6)), run=slurm.run)
    working(slurm, "9", 0)
    slurm.jobs["5"] = Job("5", "ullage-fence", "RUNNING", (7,), "by hand, ada")
    slurm.called.clear()
    assert made.standing(target(2)) is Standing.OURS
    execute(made.plan_release(target(2)), run=slurm.run)
    assert made.standing(target(2)) is Standing.GONE  # in the same second
    assert slurm.called == ["scancel --quiet 101_2"]
    assert sorted(bit for job in slurm.jobs.values() for bit in job.bits) == [0, 6, 7]
    assert made.plan_release(target(2)).calls == ()


def test_a_node_that_takes_no_work_gets_its_fences_first_when_it_does(
    slurm: Slurm, clock: ManualClock
) -> None:
    slurm.states = "DOWN+NOT_RESPONDING"
    made = actuator(slurm)
    assert execute(made.plan_isolate(target(3)), run=slurm.run)[-1] == "waits until g1 takes work again"
    assert made.standing(target(3)) is Standing.OURS
    slurm.states = "IDLE"
    clock.advance(2)
    made.standing(target(3))
    execute(made.plan_isolate(target(3)), run=slurm.run)
    assert list(fences(slurm).values()) == [(3,)]


def test_settings_are_checked_and_a_cluster_may_differ() -> None:
    made = slurm_card.actuator({"account": "a", "clusters": {"hpc2": {"conf": "/etc/slurm2/slurm.conf"}}})
    own = made._of(target(1, cluster_id="hpc2"))
    assert (own.calls.conf, own.fence.account) == ("/etc/slurm2/slurm.conf", "a")
    assert made._of(target(1)).calls.conf is None
    with pytest.raises(ConfigError, match="did you mean account"):
        slurm_card.actuator({"acount": "a"})
    with pytest.raises(ConfigError, match="write one of"):
        slurm_card.actuator({"end_with": "kill"})
    with pytest.raises(ConfigError, match="a table a cluster"):
        slurm_card.actuator({"clusters": ["hpc2"]})
    with pytest.raises(ActuatorError, match="use slurm-node"):
        made.plan_isolate(replace(target(1), family="node"))
