"""Who waits for cards in Slurm: read from every version of squeue, counted task by task, told in full or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from slurm_world import AT, CLUSTER, Programs, live, opened, squeue, waits

from ullage_collector.allocation.book import AllocationBook
from ullage_collector.allocation.slurm import data_parser
from ullage_collector.allocation.slurm.asking import Asking, Turns
from ullage_collector.allocation.slurm.runs import Known
from ullage_collector.allocation.slurm.settings import SlurmSettings
from ullage_collector.allocation.slurm.source import SlurmSource
from ullage_collector.allocation.slurm.waiting import read_pending, tasks, waiting
from ullage_collector.quota.imports import import_file
from ullage_collector.quota.known import read
from ullage_collector.quota.readers import Given
from ullage_collector.quota.show import document
from ullage_contract.clock import ManualClock
from ullage_contract.errors import BadInput, Broken

RECORDED = Path(__file__).parents[1] / "fixtures" / "slurm" / "squeue_pending_v0.0.38.json"
RECORDED_AT = 1_795_274_400
CARD = 10**9
NUMBERS = ("array_job_id", "array_task_id", "array_max_tasks", "het_job_id", "het_job_offset")
TIMES = ("submit_time", "eligible_time")


def in_version(version: str) -> bytes:
    """The recorded queue as each later version writes it: the published types of its JOB_INFO fields."""
    said = json.loads(RECORDED.read_text())
    if version == "v0.0.38":
        return json.dumps(said).encode()
    said["meta"] = {"plugin": {"data_parser": f"data_parser/{version}"}}
    for job in said["jobs"]:
        for name in (*NUMBERS, *(TIMES if version >= "v0.0.40" else ())):
            job[name] = {"set": job[name] is not None, "infinite": False, "number": job[name] or 0}
        if version >= "v0.0.40":
            job["job_state"] = [job["job_state"]]
        job["tres_per_node"] = job["tres_per_node"].replace("gres:gpu", "gres/gpu")
    return json.dumps(said).encode()


@pytest.mark.parametrize("version", data_parser.VERSIONS)
def test_who_waits_reads_the_same_in_every_version(version: str) -> None:
    found = waiting(Known(CLUSTER), read_pending(in_version(version)), RECORDED_AT)
    assert found.doubts == ()
    # 10 and 15 are held, 11 waits for a job, 12 for a date; 13 asks for no card; 1 to 3 run.
    assert {
        request.workload.workload_id.removeprefix("slurm/tiny/"): (
            request.cards_nano // CARD,
            request.resource,
            request.reason,
            request.workload.user,
            request.workload.namespace,
            request.workload.partition,
        )
        for request in found.requests
    } == {
        "4": (2, "gres/gpu:h200", "Resources", "daemon", "nlp", "batch"),
        "5": (2, "gres/gpu", "Priority", "games", "vision", "batch"),  # one on each of two nodes
        "6": (3, "gres/gpu:h200", "Resources", "games", "vision", "spare"),
        "7": (14, "gres/gpu:h200", "Priority", "backup", "search", "batch"),  # 0-9,12,20,25,30%2
        "8": (29, "gres/gpu", "Priority", "backup", "search", "batch"),
        "9": (26, "gres/gpu", "Priority", "backup", "search", "batch"),  # 0-100:4
        "14": (1, "gres/gpu:h200", "Priority", "daemon", "nlp", "batch"),
        "16+0": (1, "gres/gpu:h200", "Resources", "backup", "search", "batch"),
        "16+1": (2, "gres/gpu:h200", "Resources", "backup", "search", "batch"),
    }
    assert {request.workload.labels["slurm-qos"] for request in found.requests} == {"normal"}
    assert {request.asked_us for request in found.requests} == {1795274374_000000, 1795274376_000000}


@pytest.mark.parametrize(
    ("written", "count"),
    [
        ("0-9%2,12,20-30:5", 14),
        ("0-9,12,20-30:5%2", 14),
        ("7", 1),
        ("0-100:4", 26),
        ("1-3%1", 3),
        ("0-4000000", 4_000_001),
    ],
)
def test_tasks_of_an_array_are_counted(written: str, count: int) -> None:
    assert tasks(written) == count


@pytest.mark.parametrize("written", ["1,4,8,15-...", "5-1", "a", "1-9:0", "", "0-4000001", "1--2"])
def test_a_list_of_tasks_that_is_cut_or_none_is_refused(written: str) -> None:
    with pytest.raises(BadInput, match="array"):
        tasks(written)


def asked(*jobs: dict[str, Any], now: float = AT, known: Known | None = None) -> dict[tuple[str, str], float]:
    found = waiting(known or Known(CLUSTER), read_pending(squeue(*jobs).encode()), now)
    return {
        (r.workload.workload_id.rpartition("/")[2], str(r.resource)): r.cards_nano / CARD
        for r in found.requests
    }


def test_a_slice_counts_its_share_and_a_shard_is_no_card() -> None:
    assert asked(
        waits(1, "cpu=1,gres/gpu=2,gres/gpu:1g.10gb=2"),
        waits(2, "cpu=1,gres/shard=4"),
        waits(3, "cpu=1,gres/gpu=3,gres/gpu:h100=1,gres/gpu:h200=2,gres/shard=1"),
        waits(4, "cpu=1,gres/npu=8"),
    ) == {
        ("1", "gres/gpu:1g.10gb"): 2 * (CARD // 7) / CARD,
        ("3", "gres/gpu:h100"): 1,
        ("3", "gres/gpu:h200"): 2,
        ("4", "gres/npu"): 8,
    }


def test_who_may_not_start_yet_does_not_wait_for_cards() -> None:
    later = {"set": True, "infinite": False, "number": AT + 3600}
    assert (
        asked(
            *(
                waits(n, state_reason=reason)
                for n, reason in enumerate(
                    ("Dependency", "DependencyNeverSatisfied", "JobHeldUser", "JobHeldAdmin", "BeginTime")
                )
            ),
            waits(10, eligible_time=later),
            waits(11, job_state=["PENDING", "REQUEUE_HOLD"]),
            waits(12, job_state=["RUNNING"]),
            waits(13, account="ullage-fence"),
            waits(14, comment="fence:GPU-x:1"),
        )
        == {}
    )
    assert asked(waits(10, eligible_time=later), now=AT + 3700) == {("10", "gres/gpu:h200"): 2}


def test_a_released_job_waits_since_it_was_released() -> None:
    released = waits(1, eligible_time={"set": True, "infinite": False, "number": AT - 5})
    [request] = waiting(Known(CLUSTER), read_pending(squeue(released).encode()), AT).requests
    assert request.asked_us == (AT - 5) * 1_000_000


def test_one_job_nobody_can_count_hides_no_other() -> None:
    jobs = [
        waits(1, array_job_id=1, array_task_string="1,2,..."),
        waits(2, "cpu=1", tres_per_node="gres/gpu:h200:8"),
        waits(3, "cpu=1,gres/gpu=999999999999999999"),
        waits(4, submit_time=None, eligible_time=None),
        waits(5),
        waits(6, "cpu=1", array_job_id=6, array_task_string="1,2,..."),  # of no card
    ]
    found = waiting(Known(CLUSTER), read_pending(squeue(*jobs).encode()), AT)
    assert [r.workload.workload_id for r in found.requests] == ["slurm/tiny/5"]
    doubts = dict(found.doubts)
    assert doubts.keys() == {"1", "2", "3", "4"}
    assert "AccountingStorageTRES=gres/gpu" in doubts["2"]


# ------------------------------------------------------------------------------- told to the store


class World:
    """A source on a store whose clock the test turns."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = opened(folder)
        self.programs = Programs(
            {
                "squeue": squeue(),
                "scontrol node": "NodeName=g1 Gres=gpu:h200:8 State=IDLE\n",
                "scontrol reservation": "No reservations in the system\n",
            }
        )
        self.begin()

    def begin(self) -> None:
        """As after a restart of the collector."""
        asking = Asking(SlurmSettings(CLUSTER, accounting=False), self.programs)
        self.source = SlurmSource(asking, self.store, AllocationBook(self.store, "slurm"))

    def go_on(self, seconds: float) -> None:
        clock = self.store.clock
        assert isinstance(clock, ManualClock)
        end = clock.monotonic() + seconds
        while clock.monotonic() < end:
            wait = self.source.step(clock.wall())
            clock.advance(max(0.01, min(wait, end - clock.monotonic())))

    def requests(self, known: str = "known_to IS NULL") -> list[tuple[str, float, int, int | None, str]]:
        """(job, cards, from, to, reason), seconds since AT."""
        cursor = self.store.cursor()
        rows = cursor.execute(
            "SELECT workload_id, cards_nano, epoch_us(valid_from) // 1000000, epoch_us(valid_to) // 1000000, reason"
            f" FROM request WHERE {known} ORDER BY workload_id, valid_from"
        ).fetchall()
        cursor.close()
        return [
            (name.rpartition("/")[2], nano / CARD, a - AT, None if b is None else b - AT, reason)
            for name, nano, a, b, reason in rows
        ]

    def shown(self) -> dict[str, str]:
        """What ``quota show`` has of who waits now, by quota."""
        now_us = round(self.store.clock.wall() * 1e6)
        found = document(read(self.store.reader(), now_us, now_us + 1, as_of_us=now_us), at_us=now_us)
        return {
            node["quota"]: node["waiting"]
            for tree in found["trees"]
            for part in tree["cards"]
            if part["model"] is None
            for node in part["nodes"]
        }


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.store.close()


def test_the_same_told_again_and_after_a_restart_changes_nothing(world: World) -> None:
    world.programs.answers["squeue"] = squeue(waits(1))
    world.go_on(150)
    assert world.requests() == [("1", 2, -60, None, "Resources")]
    world.begin()
    world.go_on(600)
    assert world.requests("true") == [("1", 2, -60, None, "Resources")]


def test_who_started_or_was_cancelled_waits_no_more(world: World) -> None:
    world.programs.answers["squeue"] = squeue(waits(1), waits(2), waits(3))
    world.go_on(100)
    world.programs.answers["squeue"] = squeue(live(1, AT + 110), waits(3, state_reason="JobHeldUser"))
    world.go_on(150)
    ended = {job: to for job, _, _, to, _ in world.requests()}
    assert ended.keys() == {"1", "2", "3"}
    assert all(to is not None and 100 <= to <= 250 for to in ended.values())


def test_a_job_that_was_held_for_a_while_did_not_wait_meanwhile(world: World) -> None:
    world.programs.answers["squeue"] = squeue(waits(1))
    world.go_on(100)
    world.programs.answers["squeue"] = squeue(waits(1, state_reason="JobHeldUser"))
    world.go_on(300)
    world.programs.answers["squeue"] = squeue(waits(1))
    world.go_on(150)
    (_, _, first, held, _), (_, _, again, to, _) = world.requests()
    assert held is not None
    assert (first, to) == (-60, None)
    assert held < 250 and again >= 400


def test_an_array_waits_for_less_as_its_tasks_begin(world: World) -> None:
    array = {"set": True, "infinite": False, "number": 7}
    world.programs.answers["squeue"] = squeue(waits(7, array_job_id=array, array_task_string="0-9%2"))
    world.go_on(100)
    world.programs.answers["squeue"] = squeue(
        live(8, AT + 110, array_job_id=array, array_task_id={"set": True, "infinite": False, "number": 0}),
        waits(7, array_job_id=array, array_task_string="1-9%2"),
    )
    world.go_on(150)
    assert [(job, cards, to is None) for job, cards, _, to, _ in world.requests()] == [
        ("7", 20, False),
        ("7", 18, True),
    ]


@pytest.mark.parametrize("answer", [Broken("no controller"), '{"meta": {}}', squeue()[:-20]])
def test_nothing_is_told_while_slurm_does_not_answer_in_full(world: World, answer: str | Exception) -> None:
    world.programs.answers["squeue PENDING"] = squeue(waits(1))
    world.go_on(150)
    world.programs.answers["squeue PENDING"] = answer
    world.go_on(400)
    assert world.requests("true") == [("1", 2, -60, None, "Resources")]
    world.programs.answers["squeue"] = Broken("no controller")
    world.programs.answers["squeue PENDING"] = squeue()
    world.go_on(400)
    assert world.requests("true") == [("1", 2, -60, None, "Resources")]


def test_a_job_nobody_can_count_is_told_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.programs.answers["squeue"] = squeue(waits(2, "cpu=1", tres_per_node="gres:gpu:8"), waits(5))
    world.go_on(900)
    assert [job for job, *_ in world.requests()] == ["5"]
    assert sum("AccountingStorageTRES" in record.message for record in caplog.records) == 1


def test_who_waits_is_shown_in_its_account_and_above_it(world: World) -> None:
    tree = "Cluster|Account|User|Partition|ParentName|Share|GrpTRES\ntiny|root|||||\n"
    tree += "tiny|nlp|||root|1|gres/gpu=8\ntiny|vision|||root|1|gres/gpu=4\n"
    path = world.folder / "assoc.txt"
    path.write_text(tree)
    import_file(world.store, "quotas", path, given=Given(cluster=None, pool="*", guaranteed=False))
    world.programs.answers["squeue"] = squeue(waits(1), waits(2, "gres/gpu=4", account="vision"))
    world.go_on(150)
    assert world.shown() == {"root": "6", "nlp": "2", "vision": "4"}
    world.programs.answers["squeue"] = squeue(waits(1))
    world.go_on(150)
    assert world.shown() == {"root": "2", "nlp": "2", "vision": "0"}


# ------------------------------------------------------------------------------- how often


def test_a_slow_answer_is_asked_for_at_most_a_fortieth_of_the_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = world.store.clock
    assert isinstance(clock, ManualClock)
    monkeypatch.setattr("ullage_collector.allocation.slurm.asking.time.monotonic", clock.monotonic)
    answer = world.programs.__class__.__call__

    def slowly(self: Programs, argv: tuple[str, ...], *, seconds: float) -> bytes:
        if "--states=PENDING" in argv:
            clock.advance(10.0)
        return answer(self, argv, seconds=seconds)

    monkeypatch.setattr(Programs, "__call__", slowly)
    world.go_on(1000)
    asked = sum("--states=PENDING" in argv for argv in world.programs.asked)
    assert 2 <= asked <= 3


def test_no_sliding_minute_has_more_than_its_turns_and_everybody_has_one() -> None:
    clock = ManualClock(wall=float(AT))
    turns = Turns(clock, 20.0)
    costs = {"nodes": 2, "reservations": 1, "waiting": 1}
    due = dict.fromkeys(costs, 0.0)
    period = {"nodes": 120.0, "reservations": 60.0, "waiting": 120.0}  # nodes: while nobody answers
    taken: list[tuple[float, int, str]] = []
    while clock.monotonic() < 3600:
        for who, cost in costs.items():
            now = clock.monotonic()
            if now >= due[who] and turns.take(cost):
                taken.append((now, cost, who))
                due[who] = now + period[who]
        clock.advance(20.7)
    for at, _, _ in taken:
        assert sum(cost for then, cost, _ in taken if at - 60 < then <= at) <= 3
    assert {who: sum(1 for *_, name in taken if name == who) >= 20 for who in costs} == dict.fromkeys(
        costs, True
    )


def test_a_cluster_that_is_asked_seldom_leaves_room_for_all_at_once() -> None:
    turns = Turns(ManualClock(wall=float(AT)), 600.0)
    assert [turns.take(2), turns.take(1), turns.take(1), turns.take(2)] == [True, True, True, False]
