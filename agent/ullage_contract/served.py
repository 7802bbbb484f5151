"""One reading of one number of a serving process: how many requests it answered, how many run or wait, how many tokens.

It is of a workload, not of a node's hardware, so it is no sample and the catalogue does not know it. Counters are as the
process shows them: running totals that begin anew with it; who keeps them makes increases of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

COUNTERS: Final = ("requests", "prompt_tokens", "generated_tokens")
"""Running totals: requests that came to an end, tokens read and tokens made."""
GAUGES: Final = ("running", "waiting")
"""Requests in work and in the queue at that instant."""
KINDS: Final = (*COUNTERS, *GAUGES)


@dataclass(frozen=True, slots=True)
class Served:
    """One reading.

    workload: its id; of a pod also ``k8s/<cluster>/<namespace>/<pod>``, without the uid. target: tells the processes of one
    workload apart. system: whose metric it is (serving/systems.toml). series: tells the series of one number of one process
    apart; the same text is the same series. kind: one of KINDS. time: seconds since the epoch. value: finite, 0 or more.
    """

    workload: str
    target: str
    system: str
    series: str
    kind: str
    time: float
    value: float
