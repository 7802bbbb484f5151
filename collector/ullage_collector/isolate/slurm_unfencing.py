"""Taking a fence away: every job of ours that is marked for the target is cancelled and seen gone, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ullage_collector.isolate.actuator import CommandCall, Run, Target
from ullage_collector.isolate.slurm_calls import SlurmCalls, call
from ullage_collector.isolate.slurm_fence import LOOK_SECONDS, FenceSettings, fences
from ullage_contract.clock import Clock
from ullage_contract.errors import ActuatorError


class Unfencing:
    """The procedure that takes every fence of a target away, and nothing else."""

    def __init__(
        self,
        calls: SlurmCalls,
        settings: FenceSettings,
        target: Target,
        clock: Clock,
        *,
        after: Callable[[], None] = lambda: None,
    ) -> None:
        self._calls = calls
        self._after = after
        self._settings = settings
        self._target = target
        self._clock = clock

    def to_json(self) -> dict[str, Any]:
        return {"procedure": "slurm unfence", "commands": [list(self._cancel(["FENCE"]).argv)]}

    def __str__(self) -> str:
        return f"{self._cancel(['FENCE'])} # the jobs of account {self._settings.account} marked {self._target.marker}"

    def run(self, run: Run) -> list[str]:
        """Cancel them and see them gone. Raises ActuatorError when one stays."""
        try:
            return self._cancelled(run)
        finally:
            self._after()

    def _cancelled(self, run: Run) -> list[str]:
        until = self._clock.monotonic() + self._settings.settle_seconds
        did: list[str] = []
        asked: set[str] = set()
        while True:
            here = [f.job for f in fences(self._calls, self._settings) if f.marker == self._target.marker]
            here = [job for job in here if not job.leaving]
            if not here:
                return did or ["no fence of it stands"]
            if not asked.issuperset(job.label for job in here):
                call(run, self._cancel([job.label for job in here]))
                asked.update(job.label for job in here)
                did += [f"cancelled job {job.label}" for job in here]
            if self._clock.monotonic() >= until:
                raise ActuatorError(
                    f"job {here[0].label} does not end though it was cancelled; scancel it by hand"
                )
            self._clock.sleep(LOOK_SECONDS)

    def _cancel(self, labels: Sequence[str]) -> CommandCall:
        return self._calls.change("scancel", "--quiet", *labels)
