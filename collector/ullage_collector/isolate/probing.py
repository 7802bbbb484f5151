"""The policy's probes of an isolated card: the named ones, one after another, asked of the card's own node.

A probe that was refused or never answered is no passed probe, and no failed one either. Which names there are: [isolation.policy]
probes; what a node allows is the node's (docs of the agent). Not here: asking and answering (probes.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from ullage_collector.isolate.actuator import Target
from ullage_collector.isolate.probes import ProbeResult, ProbeState
from ullage_collector.isolate.way_back import ProbeAnswer

ACTOR: Final = "policy"


class Asking(Protocol):
    """What is needed of probes.Probes."""

    def ask(self, incident_id: int | None, card_id: str, probe: str, *, asked_by: str) -> str: ...

    def result(self, probe_id: str) -> ProbeResult: ...


class NamedProbes:
    """A way_back.Prober. names: in the order they run; empty: none is asked for.

    What was asked is remembered by this process; after a restart the probes that had not ended are asked again.
    """

    def __init__(self, probes: Asking, names: Sequence[str]) -> None:
        self._probes = probes
        self._names = tuple(names)
        self._asked: dict[tuple[int, str, str], str] = {}

    def probe(self, isolation_id: int, incident_id: int | None, target: Target) -> ProbeAnswer:
        """PASSED when every probe has passed, else what became of the first that did not. Raises BadInput as ``ask``."""
        if not self._names or target.family != "card":
            return ProbeAnswer.NONE
        for name in self._names:
            key = (isolation_id, target.subject, name)
            if key not in self._asked:
                self._asked[key] = self._probes.ask(incident_id, target.subject, name, asked_by=ACTOR)
            state = self._probes.result(self._asked[key]).state
            if state is ProbeState.WAITING:
                return ProbeAnswer.PENDING
            if state is not ProbeState.PASSED:
                self._forget(isolation_id, target.subject)
                return ProbeAnswer.FAILED if state is ProbeState.FAILED else ProbeAnswer.UNPROBED
        self._forget(isolation_id, target.subject)
        return ProbeAnswer.PASSED

    def forget(self, isolation_id: int) -> None:
        """What was asked for the isolation is no answer to what is asked next."""
        for key in [key for key in list(self._asked) if key[0] == isolation_id]:
            self._asked.pop(key, None)

    def _forget(self, isolation_id: int, card: str) -> None:
        for name in self._names:
            self._asked.pop((isolation_id, card, name), None)
