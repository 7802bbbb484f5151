"""The policy's probes: what a node refused or never answered says nothing of the card."""

from __future__ import annotations

import pytest

from ullage_collector.isolate.actuator import Target
from ullage_collector.isolate.probes import ProbeState
from ullage_collector.isolate.probing import NamedProbes
from ullage_collector.isolate.way_back import ProbeAnswer

CARD = Target("card", "GPU-1", "c1", "n1", "nvidia", 0, None, "xid 79", "ullage:GPU-1")


class Result:
    def __init__(self, state: ProbeState) -> None:
        self.state = state


class Answers:
    """Probes whose states the test sets by name."""

    def __init__(self, **states: ProbeState) -> None:
        self.states = states
        self.asked: list[str] = []

    def ask(self, incident_id: int | None, card_id: str, probe: str, *, asked_by: str) -> str:
        self.asked.append(probe)
        return probe

    def result(self, probe_id: str) -> Result:
        return Result(self.states[probe_id])


@pytest.mark.parametrize(
    ("states", "answer", "asked"),
    [
        ((ProbeState.PASSED, ProbeState.PASSED), ProbeAnswer.PASSED, ["memory", "settled"]),
        ((ProbeState.PASSED, ProbeState.WAITING), ProbeAnswer.PENDING, ["memory", "settled"]),
        ((ProbeState.FAILED, ProbeState.PASSED), ProbeAnswer.FAILED, ["memory"]),
        ((ProbeState.REFUSED, ProbeState.PASSED), ProbeAnswer.UNPROBED, ["memory"]),
        ((ProbeState.PASSED, ProbeState.EXPIRED), ProbeAnswer.UNPROBED, ["memory", "settled"]),
    ],
)
def test_the_first_probe_that_does_not_pass_decides(
    states: tuple[ProbeState, ProbeState], answer: ProbeAnswer, asked: list[str]
) -> None:
    probes = Answers(memory=states[0], settled=states[1])
    prober = NamedProbes(probes, ["memory", "settled"])  # type: ignore[arg-type]
    assert prober.probe(1, 7, CARD) is answer
    assert probes.asked == asked


def test_a_node_is_not_probed_and_neither_is_anything_without_names() -> None:
    probes = Answers(memory=ProbeState.PASSED)
    assert NamedProbes(probes, []).probe(1, None, CARD) is ProbeAnswer.NONE  # type: ignore[arg-type]
    assert probes.asked == []


def test_what_was_asked_before_another_fault_is_no_answer_after_it() -> None:
    probes = Answers(memory=ProbeState.WAITING)
    prober = NamedProbes(probes, ["memory"])  # type: ignore[arg-type]
    assert prober.probe(1, 7, CARD) is ProbeAnswer.PENDING
    assert prober.probe(2, 8, CARD) is ProbeAnswer.PENDING
    prober.forget(1)
    probes.states["memory"] = ProbeState.PASSED
    assert [prober.probe(1, 7, CARD), prober.probe(2, 8, CARD)] == [ProbeAnswer.PASSED] * 2
    assert probes.asked == ["memory", "memory", "memory"]  # the second isolation's probe was still good
