"""One run of one Slurm job, in neutral words: what squeue and sacct of any release are read into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from ullage_collector.allocation.slurm.gres import Gres

ENDED: Final = frozenset(
    [
        "BOOT_FAIL",
        "CANCELLED",
        "COMPLETED",
        "DEADLINE",
        "FAILED",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "PREEMPTED",
        "TIMEOUT",
        "REQUEUED",
        "REVOKED",
        "LAUNCH_FAILED",
        "RECONFIG_FAIL",
    ]
)
"""States of a run that is over (squeue(1), JOB STATE CODES)."""


FUTURE_SECONDS: Final = 60.0
"""# our choice: because clocks of one cluster agree within seconds, and a requeued job waits two minutes."""


@dataclass(frozen=True, slots=True)
class SlurmJob:
    """One run. Times are seconds since the epoch, UTC; None: not so far, or not said.

    job_id: Slurm's own number, of an array task and of a part of a heterogeneous job too.
    states: the base state first, then flags (COMPLETING, CONFIGURING ...), as Slurm spells them.
    restarts: how often it was requeued; None: not said (sacct before 24.11).
    nodes: as expanded. tres: allocated over all nodes, name to count.
    gres: by node what it got, with indices where known; a node that is not in it: not said.
    doubt: what of its record could not be read; the rest of it is there.
    """

    job_id: int
    states: tuple[str, ...]
    array_job_id: int | None = None
    array_task_id: int | None = None
    het_job_id: int | None = None
    het_offset: int | None = None
    name: str | None = None
    user: str | None = None
    account: str | None = None
    qos: str | None = None
    partition: str | None = None
    reservation: str | None = None
    comment: str | None = None
    cluster: str | None = None
    restarts: int | None = None
    submit: int | None = None
    eligible: int | None = None
    start: int | None = None
    end: int | None = None
    suspend: int | None = None
    preempt: int | None = None
    nodes: tuple[str, ...] = ()
    tres: Mapping[str, int] = field(default_factory=dict)
    gres: Mapping[str, tuple[Gres, ...]] = field(default_factory=dict)
    doubt: str | None = None

    @property
    def label(self) -> str:
        """As people write it: 17, of an array 17_3, of a heterogeneous job 17+1."""
        if self.array_job_id and self.array_task_id is not None:
            return f"{self.array_job_id}_{self.array_task_id}"
        if self.het_job_id:
            return f"{self.het_job_id}+{self.het_offset or 0}"
        return str(self.job_id)

    @property
    def completing(self) -> bool:
        """It ended and the nodes are still cleaned up."""
        return "COMPLETING" in self.states

    @property
    def suspended(self) -> bool:
        """Stopped by somebody; its cards stay its own."""
        return "SUSPENDED" in self.states or "STOPPED" in self.states

    @property
    def began(self) -> bool:
        """It has held nodes: a pending job's start is a forecast."""
        return self.start is not None and bool(self.nodes) and "PENDING" not in self.states[:1]

    @property
    def over(self) -> bool:
        """Its end is the past: of a running job squeue's end is the time limit's."""
        return self.completing or any(state in ENDED for state in self.states)

    def is_forecast(self, now: float) -> bool:
        """Its times are a plan. A requeued job that still cleans up is written COMPLETING alone by Slurm 22.05, with
        the start and end it is to have next."""
        latest = now + FUTURE_SECONDS
        return (self.start or 0) > latest or (self.over and (self.end is None or self.end > latest))

    @property
    def state(self) -> str:
        """The base state in small letters; completing where that is all that is said."""
        return (self.states[0] if self.states else "unknown").lower()
