"""Probes in their process: a real libcuda built from C, real commands, real kills, a real cgroup where there can be one."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest
from scenario_file import Scenario
from tests.emulators.build import build

from ullage_agent.probes import cgroup
from ullage_agent.probes.process import Job, ProbeProcess
from ullage_contract.asked import ProbeOutcome

PCI = "0000:3b:00.0"
UUID = "GPU-5fd4f087-86f3-7a43-b711-4771313afc50"
CARD: dict[str, str | None] = {"card": "0", "minor": "0", "pci": PCI, "uuid": UUID}
LIMITS = {"memory_bytes": 40 * 1024 * 1024, "least_bytes_per_second": 0.0}


@pytest.fixture
def world(tmp_path: Path) -> Scenario:
    scenario = Scenario(tmp_path)
    scenario["device 0"].update(pci=PCI, uuid=UUID, memory=48 << 20)
    scenario["device 1"].update(pci="0000:5e:00.0", uuid="GPU-00000000-0000-0000-0000-000000000001")
    return scenario


@pytest.fixture
def process(world: Scenario) -> ProbeProcess:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "LD_LIBRARY_PATH": str(build("cuda").parent),
        "ULLAGE_CUDA_SCENARIO": str(world.write()),
    }
    return ProbeProcess(environment=environment)


def job(probe: str, **more: object) -> Job:
    fields: dict[str, object] = {"probe": probe, "card": CARD, "deadline_seconds": 60.0, "limits": LIMITS}
    return Job(**{**fields, **more})  # type: ignore[arg-type]


def command(*words: str, **more: object) -> Job:
    return job("diagnose", argv=(sys.executable, "-c", *words), **more)


# ---- memory


def test_good_memory_holds_every_pattern_and_the_figures_say_how_much(process: ProbeProcess) -> None:
    found = process.run(job("memory"), "t")
    assert found is not None
    assert (found.outcome, found.reason) == (ProbeOutcome.PASSED, "41943040 bytes held every pattern")
    assert (found.figures["tested_bytes"], found.figures["patterns"]) == (41_943_040, 5)


def test_one_flipped_bit_fails_and_is_located(process: ProbeProcess, world: Scenario) -> None:
    world["device 0"]["stuck"] = f"{35 * 1024 * 1024 + 2} 3"
    world.write()
    found = process.run(job("memory"), "t")
    assert found is not None
    assert found.outcome is ProbeOutcome.FAILED
    assert (found.figures["wrong_words"], found.figures["first_offset_bytes"]) == (1, 35 * 1024 * 1024)
    assert found.figures["wrong_bits"] == 1 << 19


def test_a_bit_beyond_what_was_tested_is_not_found_and_passing_is_no_proof(
    process: ProbeProcess, world: Scenario
) -> None:
    world["device 0"]["stuck"] = f"{47 * 1024 * 1024} 3"
    world.write()
    found = process.run(job("memory"), "t")
    assert found is not None and found.outcome is ProbeOutcome.PASSED


def test_two_places_that_are_one_are_found(process: ProbeProcess, world: Scenario) -> None:
    world["device 0"]["alias"] = 32 * 1024 * 1024
    world.write()
    found = process.run(job("memory"), "t")
    assert found is not None and found.outcome is ProbeOutcome.FAILED


@pytest.mark.parametrize(
    ("trouble", "outcome", "says"),
    [
        ("fail cuMemcpyDtoH_v2 214", ProbeOutcome.FAILED, "CUDA_ERROR_ECC_UNCORRECTABLE"),
        ("fail cuDevicePrimaryCtxRetain 46", ProbeOutcome.REFUSED, "another process"),
        ("fail cuMemAlloc_v2 2", ProbeOutcome.REFUSED, "no memory"),
        ("crash cuMemsetD32_v2 1", ProbeOutcome.FAILED, "SIGSEGV"),
    ],
)
def test_what_a_call_answers_is_the_cards_or_is_not(
    process: ProbeProcess, world: Scenario, trouble: str, outcome: ProbeOutcome, says: str
) -> None:
    word, function, code = trouble.split()
    world["device 0"][f"{word} {function}"] = code
    world.write()
    found = process.run(job("memory"), "t")
    assert found is not None and found.outcome is outcome
    assert says in found.reason


def test_another_card_at_the_address_is_not_tested(process: ProbeProcess) -> None:
    found = process.run(job("memory", card={**CARD, "pci": "0000:5e:00.0"}), "t")
    assert found is not None and found.outcome is ProbeOutcome.REFUSED
    assert "another card" in found.reason


def test_without_the_makers_runtime_nothing_is_said_of_the_card(tmp_path: Path) -> None:
    plain = {k: v for k, v in os.environ.items() if k != "LD_LIBRARY_PATH"}
    found = ProbeProcess(environment={**plain, "PYTHONPATH": os.pathsep.join(sys.path)}).run(
        job("memory"), "t"
    )
    assert found is not None
    if "cannot be loaded" not in found.reason:
        pytest.skip("this machine has a CUDA driver")
    assert found.outcome is ProbeOutcome.REFUSED


# ---- bandwidth


def test_copies_are_measured_and_judged_only_against_what_the_site_wants(process: ProbeProcess) -> None:
    small = {**LIMITS, "memory_bytes": 1}
    found = process.run(job("bandwidth", limits=small), "t")
    assert found is not None and found.outcome is ProbeOutcome.REFUSED  # 48 MiB hold one block, not two
    assert "no memory" in found.reason


def test_a_slow_copy_fails_where_a_least_is_set(process: ProbeProcess, world: Scenario) -> None:
    world["device 0"]["memory"] = 80 << 20
    world.write()
    free = process.run(job("bandwidth"), "t")
    assert free is not None and free.outcome is ProbeOutcome.PASSED
    assert "not judged" in free.reason and float(free.figures["to_card_bytes_per_second"]) > 1e6
    slow = process.run(job("bandwidth", limits={**LIMITS, "least_bytes_per_second": 1e15}), "t")
    assert slow is not None and slow.outcome is ProbeOutcome.FAILED


# ---- commands


def test_a_diagnosis_is_judged_by_its_exit_code_and_its_last_line_is_kept(process: ProbeProcess) -> None:
    good = process.run(command("print('Pass\\x07 - all\\n+----+')"), "t")
    assert good is not None and good.outcome is ProbeOutcome.PASSED
    assert good.reason.endswith("Pass - all") or "Pass" in good.reason
    bad = process.run(command("print('Fail'); raise SystemExit(226)"), "t")
    assert bad is not None and (bad.outcome, bad.figures["exit_code"]) == (ProbeOutcome.FAILED, 226)
    unable = process.run(command("raise SystemExit(3)", not_run=(3,)), "t")
    assert unable is not None and unable.outcome is ProbeOutcome.REFUSED


def test_a_program_that_is_not_there_says_nothing_of_the_card(process: ProbeProcess) -> None:
    found = process.run(job("diagnose", argv=("/nowhere/dcgmi", "diag")), "t")
    assert found is not None and (found.outcome, found.reason) == (
        ProbeOutcome.REFUSED,
        "/nowhere/dcgmi: No such file or directory",
    )


def test_a_flood_of_output_is_cut(process: ProbeProcess) -> None:
    found = process.run(
        command("import sys\nfor i in range(200): sys.stdout.write('x' * 65536)\nprint('\\nend')"), "t"
    )
    assert found is not None and found.reason.endswith(": end")


# ---- deadlines and kills


def test_a_probe_that_hangs_is_killed_with_all_it_started_and_failed(
    process: ProbeProcess, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    text = (
        "import os, subprocess, sys, time\n"
        f"child = subprocess.Popen(['/bin/sleep', '600'])\n"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        "time.sleep(600)"
    )
    found = process.run(command(text, deadline_seconds=3.0), "t")
    assert found is not None and found.outcome is ProbeOutcome.FAILED
    assert "did not end within 3 s and was killed" in found.reason
    for pid in map(int, pids.read_text().split()):
        until = time.monotonic() + 10
        while time.monotonic() < until and _alive(pid):
            time.sleep(0.02)
        assert not _alive(pid)
    assert not process.stuck


def test_a_call_into_the_driver_that_never_returns_is_killed_too(
    process: ProbeProcess, world: Scenario
) -> None:
    world["device 0"]["hang cuMemAlloc_v2"] = 1
    world.write()
    found = process.run(job("memory", deadline_seconds=3.0), "t")
    assert found is not None and found.outcome is ProbeOutcome.FAILED


def test_an_agent_that_stops_ends_its_probe_and_judges_nothing() -> None:
    stopping = ProbeProcess(stopping=lambda: True)
    assert stopping.run(command("import time; time.sleep(600)"), "t") is None


def _alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


# ---- the cgroup


def test_it_sits_in_a_group_of_its_own_that_is_gone_afterwards(tmp_path: Path) -> None:
    parent = cgroup.own_group()
    trial = cgroup.make("ullage-test-trial", parent)
    if trial.path is None:
        pytest.skip(f"no cgroup v2 can be written here: {trial.why_not}")
    assert trial.end()
    seen = tmp_path / "cgroup"
    process = ProbeProcess(environment={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    text = f"open({str(seen)!r}, 'w').write(open('/proc/self/cgroup').read())"
    found = process.run(command(text), "ullage-test-probe")
    assert found is not None and found.figures["own_cgroup"] == 1
    assert "/ullage-test-probe" in seen.read_text()
    assert parent is not None and not (parent / "ullage-test-probe").exists()


def test_what_escapes_the_session_is_ended_with_the_group(tmp_path: Path) -> None:
    if cgroup.make("ullage-test-trial").path is None:
        pytest.skip("no cgroup v2 can be written here")
    cgroup.ProbeGroup(Path(str(cgroup.own_group())) / "ullage-test-trial").end()
    pid_file = tmp_path / "pid"
    text = (
        "import subprocess\n"
        f"p = subprocess.Popen(['/bin/sleep', '600'], start_new_session=True, stdout=subprocess.DEVNULL)\n"
        f"open({str(pid_file)!r}, 'w').write(str(p.pid))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ProbeProcess(environment=environment).run(command(text), "ullage-test-escape")
    pid = int(pid_file.read_text())
    alive = _alive(pid)
    if alive:
        os.kill(pid, signal.SIGKILL)
    assert not alive


def test_where_no_group_can_be_made_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    assert cgroup.make("x", proc=tmp_path).why_not == "there is no cgroup v2 here"
    assert "no cgroup v2" in str(cgroup.make("x", tmp_path).why_not)
    assert not (tmp_path / "x").exists()
