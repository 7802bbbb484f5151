"""What the host knows of the processes on the cards is filled in for every maker in one place."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.agent.maker_bench import put

from ullage_agent.backend import Reading
from ullage_agent.children.dialogue import Item
from ullage_agent.holders.processes import TICKS_PER_SECOND, Processes
from ullage_agent.sampler import Sampler
from ullage_agent.source import SourceReport
from ullage_agent.worker import Deliver
from ullage_contract.catalogue import Tier
from ullage_contract.clock import ManualClock, SystemClock
from ullage_contract.sample import Facts, Family, Origin

BOOT = 1_790_000_000


def process(proc: Path, pid: int, *, ticks: int = 500, cgroup: str = "/system.slice/x.service") -> None:
    put(
        proc / str(pid),
        {
            "comm": "train (v2) x",
            "cgroup": f"0::{cgroup}",
            "stat": f"{pid} (train (v2) x) S 1 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 {ticks} 100 5 18446744073709551615",
        },
    )


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    put(tmp_path, {"stat": f"cpu  1 2 3\nintr 5\nbtime {BOOT}\nprocesses 3"})
    return tmp_path


def facts(pid: int, **more: object) -> Facts:
    return Facts(Family.PROCESS, f"GPU-1#{pid}", 5.0, {"card_id": "GPU-1", "pid": pid, **more})  # type: ignore[dict-item]


def test_start_and_holder_are_filled_in(proc: Path) -> None:
    process(proc, 41, ticks=12_345, cgroup="/system.slice/slurmstepd.scope/job_7/step_0/user/task_0")
    known = Processes(proc, ManualClock()).complete(facts(41)).attributes
    assert known["started_at"] == BOOT + 12_345 / TICKS_PER_SECOND
    assert (known["holder_kind"], known["holder_id"]) == ("slurm_job", "7")
    assert known["command"] == "train (v2) x" and known["card_id"] == "GPU-1"
    assert known["cgroup"] == "/system.slice/slurmstepd.scope/job_7/step_0/user/task_0"


def test_a_makers_own_words_stay_and_none_of_its_gaps_hides_the_hosts(proc: Path) -> None:
    process(proc, 41)
    known = (
        Processes(proc, ManualClock())
        .complete(facts(41, command="python3", user=None, vendor="x"))
        .attributes
    )
    assert known["command"] == "python3" and known["vendor"] == "x" and known["user"] is not None


def test_of_v1_controllers_the_cgroup_that_names_the_holder_is_told(proc: Path) -> None:
    process(proc, 41)
    put(
        proc / "41",
        {
            "cgroup": "9:freezer:/slurm/uid_1/job_5/step_0\n0::/system.slice/slurmd.service/a/longer/path/still"
        },
    )
    known = (
        Processes(proc, ManualClock()).complete(facts(41, cgroup="/system.slice/slurmd.service")).attributes
    )
    assert (known["cgroup"], known["holder_id"]) == ("/slurm/uid_1/job_5/step_0", "5")


def test_a_pid_used_again_is_another_process(proc: Path) -> None:
    processes = Processes(proc, ManualClock())
    process(proc, 41, ticks=100, cgroup="/docker/" + "a" * 64)
    first = processes.complete(facts(41)).attributes
    process(proc, 41, ticks=900, cgroup="/user.slice/user-5.slice/session-1.scope")
    second = processes.complete(facts(41)).attributes
    assert (first["holder_kind"], second["holder_kind"]) == ("container", "user_session")
    assert second["started_at"] != first["started_at"]


def test_a_process_that_ended_keeps_what_was_known_and_a_stranger_gets_nothing(proc: Path) -> None:
    processes = Processes(proc, ManualClock())
    process(proc, 41)
    before = processes.complete(facts(41))
    (proc / "41/stat").unlink()
    assert processes.complete(facts(41)) == before
    stranger = facts(99)
    assert processes.complete(stranger) is stranger
    for odd in (Facts(Family.PROCESS, "GPU-1#x", 5.0, {}), Facts(Family.PROCESS, "GPU-1", 5.0, {"pid": -3})):
        assert processes.complete(odd) is odd


def test_a_pid_is_read_from_the_subject_where_the_maker_says_none(proc: Path) -> None:
    process(proc, 41)
    known = Processes(proc, ManualClock()).complete(Facts(Family.PROCESS, "GPU-1#41", 5.0, {"pid": None}))
    assert known.attributes["holder_kind"] == "systemd_unit" and known.attributes["pid"] == 41


def test_a_clock_that_was_set_moves_the_start_of_new_processes_only(proc: Path) -> None:
    clock = ManualClock()
    processes = Processes(proc, clock)
    process(proc, 41, ticks=100)
    process(proc, 42, ticks=100)
    first = processes.complete(facts(41)).attributes["started_at"]
    put(proc, {"stat": f"btime {BOOT + 3600}"})
    assert processes.complete(facts(42)).attributes["started_at"] == first
    clock.step_wall(3600)
    assert processes.complete(facts(41)).attributes["started_at"] == first
    process(proc, 43, ticks=100)
    assert processes.complete(facts(43)).attributes["started_at"] == first + 3600  # type: ignore[operator]


def test_a_real_process_of_this_machine_is_known() -> None:
    before = time.time()
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "--secret"])
    try:
        known = Processes(Path("/proc"), SystemClock()).complete(facts(child.pid)).attributes
    finally:
        child.kill()
        child.wait()
    started = known["started_at"]
    assert isinstance(started, float) and before - 3 < started < time.time() + 3  # btime is in whole seconds
    assert known["holder_kind"] and "secret" not in str(known)
    assert os.path.basename(str(known["command"])).startswith("python")  # noqa: PTH119


class Maker:
    """Says that process 41 is on a card."""

    name = "maker"

    def tick(self, tier: Tier, deliver: Deliver, *, facts: bool = False) -> SourceReport:
        items: list[Item] = [
            Facts(Family.PROCESS, "GPU-1#41", 5.0, {"card_id": "GPU-1", "pid": 41}),
            Reading(Family.PROCESS, "GPU-1#41", {}),
        ]
        for item in items:
            deliver(item)
        return SourceReport(self.name, True, 0.0)

    def close(self) -> None: ...


def test_every_makers_processes_are_completed_by_the_sampler_but_never_simulated_ones(proc: Path) -> None:
    process(proc, 41)
    clock = ManualClock()
    for origin, expected in ((Origin.REAL, "systemd_unit"), (Origin.SIMULATED, None)):
        sampler = Sampler(node_id="n1", clock=clock, process_facts=Processes(proc, clock).complete)
        sampler.add(Maker(), origin)
        sampler.tick(Tier.SLOW)
        assert sampler.book.attributes(Family.PROCESS, "GPU-1#41").get("holder_kind") == expected
        sampler.close()
