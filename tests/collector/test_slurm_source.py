"""Asking Slurm: how often, what while it is away, and what prologs add; with programs that answer from a table."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm_world import (
    AT,
    CLUSTER,
    Programs,
    believed,
    card_of,
    live,
    notes,
    opened,
    past,
    squeue,
    told,
)

from ullage_collector.allocation.book import AllocationBook
from ullage_collector.allocation.slurm import command
from ullage_collector.allocation.slurm.asking import Asking, Pace
from ullage_collector.allocation.slurm.settings import SlurmSettings, slurm_settings
from ullage_collector.allocation.slurm.source import SlurmSource, pieces
from ullage_collector.store.store import Store
from ullage_contract.clock import ManualClock
from ullage_contract.errors import Broken, ConfigError, DeadlineExceeded, NotPresent

NODE = "NodeName={} Gres=gpu:h200:8 State=IDLE\n"
QUIET = {
    "squeue": squeue(),
    "sacct": squeue(),
    "sacctmgr": "root||\nnlp||root\n",
    "scontrol node": NODE.format("g1") + NODE.format("g2"),
    "scontrol reservation": "No reservations in the system\n",
}


class World:
    """A source on a store whose clock the test turns."""

    def __init__(self, store: Store, **settings: object) -> None:
        self.store = store
        self.programs = Programs(dict(QUIET))
        self.settings = SlurmSettings(CLUSTER, **settings)  # type: ignore[arg-type]
        self.source = self.begin()

    def begin(self) -> SlurmSource:
        """As after a restart of the collector."""
        asking = Asking(self.settings, self.programs)
        self.source = SlurmSource(
            asking, self.store, AllocationBook(self.store, "slurm"), chance=random.Random(1)
        )
        return self.source

    def go_on(self, seconds: float) -> None:
        clock = self.store.clock
        assert isinstance(clock, ManualClock)
        end = clock.monotonic() + seconds
        while clock.monotonic() < end:
            wait = self.source.step(clock.wall())
            clock.advance(max(0.01, min(wait, end - clock.monotonic())))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    store = opened(tmp_path)
    yield World(store)
    store.close()


# ------------------------------------------------------------------------------- how often


def test_no_minute_has_more_than_six_rpcs(world: World) -> None:
    world.go_on(1)
    cost = {"squeue": 1, "scontrol reservation": 1, "scontrol node": 2, "sacct": 0, "sacctmgr": 0}
    for _ in range(12):
        before = len(world.programs.asked)
        world.go_on(60)
        asked = [f"{a[0]} {a[-1]}" if a[0] == "scontrol" else a[0] for a in world.programs.asked[before:]]
        rpcs = sum(cost[what] for what in asked)
        assert rpcs <= 6, asked
        assert asked.count("squeue") >= 2
    pending = sum("--states=PENDING" in argv for argv in world.programs.asked)
    assert 5 <= pending <= 7  # every two minutes, a node's turn notwithstanding


def test_what_nodes_have_free_beside_their_cards_is_kept_with_the_same_question(world: World) -> None:
    world.programs.answers["scontrol node"] = (
        "NodeName=g1 CPUAlloc=2 CPUTot=8 RealMemory=1000 AllocMem=400 Gres=gpu:h200:8 State=MIXED\n"
        "NodeName=g2 CPUAlloc=0 CPUTot=8 RealMemory=1000 AllocMem=0 Gres=gpu:h200:8 State=IDLE+DRAIN\n"
    )
    world.go_on(30)
    assert world.programs.count("scontrol") <= 2
    rows = (
        world.store.reader()
        .execute(
            "SELECT source, cluster_id, node_id, cpu_free_milli, memory_free_mib, takes_work, why "
            "FROM ullage.node_room ORDER BY node_id"
        )
        .fetchall()
    )
    assert rows == [
        ("slurm", CLUSTER, "g1", 6000, 600, True, None),
        ("slurm", CLUSTER, "g2", 8000, 1000, False, "drain"),
    ]


def test_no_job_and_no_node_is_asked_for_alone(world: World) -> None:
    world.programs.answers["squeue"] = squeue(*(live(n, AT, f"gpu:h200:1(IDX:{n})") for n in range(8)))
    world.go_on(300)
    assert world.programs.count("squeue") <= 16 + 3
    assert sum("--states=PENDING" in argv for argv in world.programs.asked) <= 3
    assert not any(arg.startswith("--jobs") for argv in world.programs.asked for arg in argv)


def test_a_slow_controller_is_asked_less_and_a_silent_one_least() -> None:
    pace = Pace(20.0, 120.0, random.Random(0))
    assert 20.0 <= pace.after(0.1) <= 22.0
    assert 60.0 <= pace.after(3.0) <= 66.0
    assert 120.0 <= pace.after(40.0) <= 132.0
    waits = [pace.after_failure() for _ in range(5)]
    assert waits[:3] == sorted(waits[:3])
    assert waits[-1] <= 132.0
    assert pace.after(0.1) <= 22.0


def test_the_last_day_is_read_again_in_pieces() -> None:
    found = list(pieces(0.0, 5 * 3600.0))
    assert found == [(10_800.0, 18_000.0), (3_600.0, 10_800.0), (0.0, 3_600.0)]


# ------------------------------------------------------------------------------- somebody is away


def test_a_silent_controller_ends_nothing_and_invents_nothing(world: World) -> None:
    world.programs.answers["squeue"] = squeue(live(1, AT))
    world.go_on(30)
    world.programs.answers["squeue"] = Broken("slurm_load_jobs error: Unable to contact slurm controller")
    world.go_on(600)
    assert believed(world.store) == [("1", 0, None, card_of("g1", 0), "work")]
    assert "end_unknown" not in notes(world.store, "1")


def test_what_ended_while_accounting_was_away_is_learned_to_the_second_later(world: World) -> None:
    world.programs.answers["squeue"] = squeue(live(1, AT))
    world.go_on(30)
    world.programs.answers |= {"sacct": DeadlineExceeded("sacct"), "squeue": squeue()}
    world.go_on(2_400)
    assert believed(world.store) == [("1", 0, None, card_of("g1", 0), "work")]
    assert notes(world.store, "1")["end_unknown"] is True
    # A job nobody saw, that accounting learns of ten minutes after its return.
    world.programs.answers["sacct"] = squeue(past(1, AT, AT + 44))
    world.go_on(600)
    world.programs.answers["sacct"] = squeue(past(1, AT, AT + 44), past(2, AT + 100, AT + 103, "g2", 2))
    world.go_on(120)
    assert believed(world.store) == [("1", 0, 44, card_of("g1", 0), "work"), ("2", 100, 103, "g2:2", "work")]


def test_an_answer_that_makes_no_sense_is_no_answer(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.programs.answers["squeue"] = squeue(live(1, AT))
    world.go_on(30)
    world.programs.answers["squeue"] = squeue().replace("v0.0.44", "v0.0.99")
    world.go_on(300)
    assert believed(world.store) == [("1", 0, None, card_of("g1", 0), "work")]
    assert sum("v0.0.99" in record.message for record in caplog.records) == 1


def test_a_restarted_collector_goes_on_where_it_was(world: World) -> None:
    world.programs.answers["squeue"] = squeue(live(1, AT), live(2, AT, "gpu:h200:1(IDX:1)"))
    world.go_on(30)
    world.begin()
    world.programs.answers |= {"squeue": squeue(live(1, AT)), "sacct": squeue(past(2, AT, AT + 25))}
    world.go_on(30)
    assert believed(world.store) == [
        ("1", 0, None, card_of("g1", 0), "work"),
        ("2", 0, 25, card_of("g1", 1), "work"),
    ]


# ------------------------------------------------------------------------------- prologs


def test_a_prolog_opens_a_run_at_once_and_the_controller_corrects_it(world: World) -> None:
    world.go_on(30)
    told(
        world.store,
        AT + 31,
        "g1",
        job_id="1",
        gpus="3",
        cards="?",
        started_at=AT + 31,
        account="nlp",
        user="u",
    )
    world.go_on(4)
    assert believed(world.store) == [("1", 31, None, card_of("g1", 3), "work")]
    world.programs.answers["squeue"] = squeue(live(1, AT + 30, "gpu:h200:1(IDX:3)"))
    world.go_on(30)
    assert believed(world.store) == [("1", 30, None, card_of("g1", 3), "work")]
    assert notes(world.store, "1")["prolog"] is True


def test_a_job_shorter_than_a_poll_has_its_card_by_the_prolog(world: World) -> None:
    world.go_on(30)
    told(world.store, AT + 31, "g1", job_id="9", gpus="5", cards="?", started_at=AT + 31, account="nlp")
    told(world.store, AT + 33, "g1", "job_ended", job_id="9", gpus="5", cards="?", started_at=AT + 31)
    world.go_on(4)
    assert believed(world.store) == [("9", 31, 33, card_of("g1", 5), "work")]
    # It was a task of an array, and began a second earlier by the controller's clock.
    world.programs.answers["sacct"] = squeue(past(9, AT + 30, AT + 33, array={"job_id": 7, "task_id": 2}))
    world.go_on(90)
    assert believed(world.store) == [("7_2", 30, 33, card_of("g1", 5), "work")]


def test_a_prolog_that_comes_late_still_says_which_card(world: World) -> None:
    world.programs.answers["sacct"] = squeue(past(9, AT + 3, AT + 5))
    world.go_on(90)
    assert believed(world.store) == [("9", 3, 5, "g1:1", "work")]
    told(world.store, AT + 3, "g1", job_id="9", gpus="6", cards="?", started_at=AT + 3)
    world.go_on(4)
    assert believed(world.store) == [("9", 3, 5, card_of("g1", 6), "work")]
    # Everything is read anew after a restart, and nothing changes.
    world.begin()
    world.go_on(90)
    assert believed(world.store) == [("9", 3, 5, card_of("g1", 6), "work")]


def test_a_number_told_by_a_prolog_is_an_index_whatever_card_the_agent_makes_of_it(world: World) -> None:
    world.go_on(30)
    told(world.store, AT + 31, "g1", job_id="1", gpus="3", cards=card_of("g1", 7), started_at=AT + 31)
    world.go_on(4)
    assert believed(world.store) == [("1", 31, None, card_of("g1", 3), "work")]


def test_a_uuid_told_by_a_prolog_wins_over_the_controllers_index(world: World) -> None:
    told(world.store, AT, "g1", job_id="1", gpus="GPU-x", cards=card_of("g1", 7), started_at=AT)
    world.programs.answers["squeue"] = squeue(live(1, AT, "gpu:h200:1(IDX:0)"))
    world.go_on(30)
    assert believed(world.store) == [("1", 0, None, card_of("g1", 7), "work")]


def test_a_job_that_only_a_prolog_ever_told_of_is_dropped(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.go_on(30)
    told(world.store, AT + 31, "g1", job_id="77", gpus="0", cards="?", started_at=AT + 31)
    world.go_on(300)
    assert [row[0] for row in believed(world.store)] == ["77"]
    world.go_on(600)
    assert believed(world.store) == []
    assert sum("slurm/tiny/77" in record.message for record in caplog.records) == 1


def test_the_prolog_of_a_fence_opens_nothing(world: World) -> None:
    world.go_on(30)
    told(
        world.store,
        AT + 31,
        "g1",
        job_id="1",
        gpus="0",
        cards="?",
        started_at=AT + 31,
        account="ullage-fence",
    )
    told(world.store, AT + 31, "g2", job_id="2", gpus="0", cards="?", started_at=AT + 31, account="nlp")
    world.go_on(4)
    assert [row[0] for row in believed(world.store)] == ["2"]
    world.programs.answers["squeue"] = squeue(live(2, AT + 31, node="g2", comment="fence:GPU-g2-0:1"))
    world.go_on(30)
    assert believed(world.store) == []
    assert [fence.card_id for fence in world.source.fences] == [card_of("g2", 0)]


def test_events_that_are_no_jobs_of_slurm_are_passed_over(world: World) -> None:
    world.go_on(3)
    told(world.store, AT + 1, "g1", job_id="x")
    told(world.store, AT + 1, "g1", scheduler="pbs", job_id="3", gpus="0", cards="?")
    told(world.store, AT + 1, "g1", "job_ended", job_id="4", gpus="0", cards="?")
    told(world.store, AT + 1, "g1", job_id="5", gpus=7, cards=None, started_at="soon")
    world.go_on(4)
    assert believed(world.store) == []


# ------------------------------------------------------------------------------- programs and settings


def test_programs_run_without_our_environment_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    run = command.Programs(conf="/etc/x.conf", path="/usr/bin:/bin")
    said = run(("env",), seconds=10).decode().splitlines()
    assert {"TZ=UTC", "SLURM_BITSTR_LEN=0", "SLURM_TIME_FORMAT=%s", "SLURM_CONF=/etc/x.conf"} <= set(said)
    assert not any(line.startswith("SECRET") for line in said)
    assert b"SLURM_TIME_FORMAT" not in run(("env", "-u", "x", "sh", "-c", "env", "--json"), seconds=10)


def test_a_program_that_hangs_fails_or_floods_is_told_apart() -> None:
    python = sys.executable
    with pytest.raises(DeadlineExceeded, match=r"0\.3 s"):
        command.Programs()((python, "-c", "import time; time.sleep(60)"), seconds=0.3)
    with pytest.raises(Broken, match="ended with 3: no controller"):
        command.Programs()(
            (python, "-c", "import sys; print('no controller', file=sys.stderr); sys.exit(3)"), seconds=30
        )
    with pytest.raises(Broken, match="more than 1000 bytes"):
        command.Programs(most_bytes=1000)((python, "-c", "print('x' * 5000)"), seconds=30)
    with pytest.raises(NotPresent, match=r"allocation\.slurm"):
        command.Programs(path="/nowhere")(("squeue",), seconds=1)


def test_settings_are_checked_key_by_key() -> None:
    assert slurm_settings({}) == []
    [one] = slurm_settings({"slurm": {"cluster": "a", "gres_conf": "/etc/slurm/gres.conf", "gres": ["npu"]}})
    assert (one.cluster, str(one.gres_conf), one.gres) == ("a", "/etc/slurm/gres.conf", ("npu",))
    assert [s.cluster for s in slurm_settings({"slurm": [{"cluster": "a"}, {"cluster": "b"}]})] == ["a", "b"]
    for wrong, why in (
        ({}, "cluster"),
        ({"cluster": "a", "pol_seconds": 3}, "did you mean poll_seconds"),
        ({"cluster": "a", "poll_seconds": 0}, "from 2"),
        ({"cluster": "a", "gres": ["shard"]}, "shares of a GPU"),
        ({"cluster": "a", "path": "bin"}, "absolute"),
        ({"cluster": "a\n"}, "cannot be a key"),
    ):
        with pytest.raises(ConfigError, match=why):
            slurm_settings({"slurm": wrong})
    with pytest.raises(ConfigError, match="twice"):
        slurm_settings({"slurm": [{"cluster": "a"}, {"cluster": "a"}]})
    with pytest.raises(ConfigError, match="write a table"):
        slurm_settings({"slurm": "yes"})
