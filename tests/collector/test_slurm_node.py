"""Whose drain a node's drain is: by reason and user, read in one question. The real Slurm's part is in
tests/integration/test_slurm_isolation.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from ullage_collector.isolate import slurm_node
from ullage_collector.isolate.actuator import Ran, Standing, Target, execute
from ullage_collector.isolate.slurm_calls import SlurmCalls
from ullage_collector.isolate.slurm_node import NodeDrains, SlurmNode
from ullage_contract.clock import ManualClock
from ullage_contract.errors import ActuatorError, Broken, ConfigError

NODE = Target("node", "g1", "c", "g1", None, None, None, "Xid 79", "ullage:g1", 17)


class Slurm:
    def __init__(self, *lines: str) -> None:
        self.lines = lines
        self.jobs: tuple[str, ...] = ()
        self.asked: list[str] = []
        self.called: list[str] = []
        self.silent = False
        self.refused: set[str] = set()

    def read(self, argv: Sequence[str], *, seconds: float) -> bytes:
        self.asked.append(argv[0])
        if self.silent:
            raise Broken("sinfo ended with 1: Unable to contact slurm controller")
        return "\n".join(self.lines if argv[0] == "sinfo" else self.jobs).encode()

    def run(self, argv: Sequence[str]) -> Ran:
        words = " ".join(argv)
        self.called.append(words)
        refused = any(word in words for word in self.refused)
        return Ran(1, "", "job is already finished") if refused else Ran(0, "", "")


def made(slurm: Slurm, end_with: str = "", clock: ManualClock | None = None) -> SlurmNode:
    return SlurmNode(
        NodeDrains(SlurmCalls(read=slurm.read), "ullage", end_with), clock=clock or ManualClock()
    )


@pytest.mark.parametrize(
    ("line", "standing"),
    [
        ("g1|idle|Unknown|none", Standing.GONE),
        ("g1|mixed|ullage|none", Standing.GONE),
        ("g1|drained|ullage|ullage:g1 incident 17: Xid 79", Standing.OURS),
        ("g1|draining*|ullage|ullage:GPU-1 Xid 79", Standing.OURS),
        ("g1|drained|root|ullage:g1 incident 17: Xid 79", Standing.OTHERS),  # somebody set it anew
        ("g1|drained|ullage|kept for ada", Standing.OTHERS),
        ("g1|drained|root|NHC: check_fs failed | /scratch", Standing.OTHERS),
        ("g1|down*|slurm|Not responding", Standing.OTHERS),
        ("g1|idle|ullage|ullage:g1 left over", Standing.GONE),
        ("g2|idle|Unknown|none", Standing.UNKNOWN),
    ],
)
def test_a_drain_is_ours_by_reason_and_user(line: str, standing: Standing) -> None:
    slurm = Slurm(line, line)
    actuator = made(slurm)
    assert actuator.standing(NODE) is standing
    if standing is Standing.OTHERS:
        for plan in (actuator.plan_isolate, actuator.plan_release):
            with pytest.raises(ActuatorError, match="left alone"):
                plan(NODE)


def test_a_thousand_nodes_are_one_question_a_second() -> None:
    slurm = Slurm(*(f"g{n}|idle|Unknown|none" for n in range(1000)))
    clock = ManualClock()
    actuator = made(slurm, clock=clock)
    for n in range(1000):
        actuator.standing(replace(NODE, node_id=f"g{n}"))
    assert slurm.asked == ["sinfo"]
    clock.advance(1.1)
    actuator.standing(NODE)
    assert slurm.asked == ["sinfo", "sinfo"]


def test_others_are_named_and_ours_are_not_among_them() -> None:
    slurm = Slurm(
        "g1|drained|ullage|ullage:g1 x",
        "g2|drained|root|disk",
        "g3|idle|Unknown|none",
        "g4|down*|Unknown|none",
    )
    assert made(slurm).taken_by_others("c") == {"g2": "root: disk", "g4": "nobody known: down"}
    slurm.silent = True
    assert made(slurm).taken_by_others("c") is None
    assert made(slurm).standing(NODE) is Standing.UNKNOWN


def test_a_node_that_is_down_is_undrained_and_not_called_idle() -> None:
    slurm = Slurm("g1|down*|ullage|ullage:g1 x")
    assert "state=undrain" in str(made(slurm).plan_release(NODE).calls[0])
    slurm.lines = ("g1|drained|ullage|ullage:g1 x",)
    assert "state=resume" in str(made(slurm).plan_release(NODE).calls[0])


def test_a_drain_that_came_between_plan_and_call_is_left_alone() -> None:
    slurm = Slurm("g1|drained|ullage|ullage:g1 x")
    release = made(slurm).plan_release(NODE)
    slurm.lines = ("g1|drained|root|disk",)
    with pytest.raises(ActuatorError, match="left alone"):
        execute(release, run=slurm.run)
    slurm.lines = ("g1|idle|Unknown|none",)
    assert execute(release, run=slurm.run) == ["it is not drained any more"]
    slurm.silent = True
    with pytest.raises(ActuatorError, match="does not answer"):
        execute(release, run=slurm.run)
    assert slurm.called == []


JOBS = (
    "41|41|RUNNING|nlp|1|2|(null)|g1|None|(null)",
    "42_3|44|RUNNING|nlp|1|2|(null)|g1|None|(null)",
    "43|43|RUNNING|ullage-fence|1|2|(null)|g1|None|fence:GPU-1:17 ullage:GPU-1 index=1",
    "45|45|COMPLETING|nlp|1|2|(null)|g1|None|(null)",
)


def test_jobs_are_let_finish_told_or_ended_as_asked_and_fences_never() -> None:
    slurm = Slurm("g1|mixed|Unknown|none")
    slurm.jobs = JOBS
    execute(made(slurm).plan_isolate(NODE), run=slurm.run)
    assert len(slurm.called) == 1
    slurm.called.clear()
    slurm.refused = {"notify 41"}
    did = execute(made(slurm).plan_isolate(replace(NODE, drain="notify")), run=slurm.run)
    assert [("notify 41" in call, "notify 42_3" in call) for call in slurm.called[1:]] == [
        (True, False),
        (False, True),
    ]
    assert "could not be told: scontrol ended with 1: job is already finished" in did[1]
    slurm.called.clear()
    execute(made(slurm).plan_isolate(replace(NODE, drain="end")), run=slurm.run)
    assert not any("requeue" in call or "scancel" in call for call in slurm.called)
    slurm.called.clear()
    execute(made(slurm, "cancel").plan_isolate(replace(NODE, drain="end")), run=slurm.run)
    assert [call.partition("scancel ")[2] for call in slurm.called[1:]] == ["41", "42_3"]


def test_settings_are_checked() -> None:
    made = slurm_node.actuator({"clusters": {"b": {"conf": "/etc/b.conf", "user": "svc"}}})
    assert made._of(replace(NODE, cluster_id="b")).user == "svc"
    assert "SLURM_CONF=/etc/b.conf" in str(made.plan_isolate(replace(NODE, cluster_id="b")).calls[0])
    for wrong in ({"scontrl": "x"}, {"end_with": "kill"}, {"clusters": 3}, {"conf": "slurm.conf"}):
        with pytest.raises(ConfigError):
            slurm_node.actuator(wrong)
