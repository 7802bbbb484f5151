"""The calls that place a fence, exactly as they are made: how many one-card jobs, with which options, and what is told to whom.

Pure but for one question: which cards the job on the target has. Not here: when they are made (slurm_fencing.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from ullage_collector.isolate.actuator import CommandCall, Run, Target
from ullage_collector.isolate.slurm_calls import JobView, SlurmCalls, call
from ullage_collector.isolate.slurm_fence import FenceSettings, Place, Seen, comment
from ullage_contract.errors import ActuatorError

JOB_NAME: Final = "ullage-fence"


class FenceCalls:
    """The calls of one target's fence at one place."""

    def __init__(self, calls: SlurmCalls, settings: FenceSettings, target: Target, place: Place) -> None:
        self._calls = calls
        self._settings = settings
        self._target = target
        self._place = place

    def count(self, seen: Seen, *, everything: bool = False) -> int:
        """How many one-card jobs reach the target: the free cards before it, and one."""
        place = self._place
        if not seen.node.available and not seen.used:
            return place.index + 1
        if everything:
            return max(1, sum(1 for i in range(place.cards) if i not in seen.used))
        freed: Sequence[int] = ()
        if seen.holder is not None:
            freed = self._calls.indices(seen.holder.label, place.node, place.names) or ()
        return seen.below(place.index, freed) + 1

    def submit(self, seen: Seen, *, everything: bool = False) -> CommandCall:
        place, settings = self._place, self._settings
        minutes = settings.minutes if place.names and place.gres.startswith("gpu") else 1
        if place.max_minutes is not None:
            minutes = min(minutes, place.max_minutes)
        options = [
            "--parsable",
            f"--job-name={JOB_NAME}",
            f"--comment={comment(self._target, place.index)}",
            f"--account={settings.account}",
            f"--partition={place.partition}",
            f"--nodelist={place.node}",
            f"--gres={place.gres}:1",
            f"--array=0-{self.count(seen, everything=everything) - 1}",
            "--ntasks=1",
            "--cpus-per-task=1",
            f"--mem={settings.memory}",
            f"--time={minutes}",
            "--no-requeue",
            "--export=ALL",
            "--chdir=/",
            "--output=/dev/null",
        ]
        if settings.qos:
            options.append(f"--qos={settings.qos}")
        if settings.priority:
            options.append(f"--priority={settings.priority}")
        if settings.user:
            options.append(f"--uid={settings.user}")
        if seen.holder is not None:
            options.append(f"--dependency=afterany:{waits_on(seen.holder)}")
        return self._calls.change("sbatch", *options, f"--wrap={self._script()}")

    def _script(self) -> str:
        """Stay on the target, leave any other card. Where SLURM_JOB_GPUS is not set the time limit ends it."""
        k, hold = self._place.index, self._settings.hold_seconds
        return f'case "${{SLURM_JOB_GPUS-{k}}}" in {k}) exec sleep 2147483647;; *) exec sleep {hold};; esac'

    def lift(self, label: str) -> CommandCall:
        return self._calls.change("scontrol", "update", f"jobid={label}", "timelimit=UNLIMITED")

    def cancel(self, labels: Sequence[str]) -> CommandCall:
        return self._calls.change("scancel", "--quiet", *labels)

    def notify(self, holder: JobView) -> CommandCall:
        return notice(self._calls, holder, self._place.node, self._target)

    def end(self, holder: JobView) -> CommandCall:
        return ending(self._calls, holder, self._settings.end_with)


def waits_on(job: JobView) -> str:
    """The job as a dependency names it; a het job by its own number."""
    return job.label if re.fullmatch(r"\d+(_\d+)?", job.label) else str(job.job_id)


def notice(calls: SlurmCalls, job: JobView, node: str, target: Target) -> CommandCall:
    """The call that tells a job's owner, in the job's own output, that something it uses is faulty."""
    what = "A card" if target.family == "card" else "The node"
    text = f"{what} of this job on {node} is faulty ({target.reason}): save your work"
    return calls.change("scontrol", "notify", waits_on(job), text)


def ending(calls: SlurmCalls, job: JobView, end_with: str) -> CommandCall:
    """The call that ends a job: requeue or cancel."""
    if end_with == "requeue":
        return calls.change("scontrol", "requeue", waits_on(job))
    return calls.change("scancel", waits_on(job))


def tell(run: Run, what: CommandCall, job: JobView) -> str:
    """Send a notice; a job that cannot be told is no reason to stop."""
    try:
        call(run, what)
    except ActuatorError as e:
        return f"the owner of job {job.label} could not be told: {e}"
    return f"told the owner of job {job.label}"
