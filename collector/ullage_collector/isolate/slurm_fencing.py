"""The fence: a job of ours that holds one card so that no other job gets it. How it is placed and taken away.

Slurm gives a job the lowest free index of a node (seen on 22.05), so with m free cards below the target one array
of m+1 one-card jobs reaches it; the one on the target stays, the others are cancelled as soon as they are seen.
Each of them looks at its own SLURM_JOB_GPUS and ends by itself after ``hold_seconds`` when it is not the target's:
also when the collector died, no healthy card is held longer. Where a job holds the card the array waits for its end
(``--dependency=afterany``): seen on 22.05, it then starts in the scheduler's next pass, before any waiting job.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, Final

from ullage_collector.isolate.actuator import CommandCall, Run, Target
from ullage_collector.isolate.slurm_calls import JobView, SlurmCalls, call
from ullage_collector.isolate.slurm_fence import (
    LOOK_SECONDS,
    Fence,
    FenceSettings,
    NotSaid,
    Place,
    Seen,
    in_vain,
    look,
    patient,
)
from ullage_collector.isolate.slurm_fence_calls import FenceCalls, tell, waits_on
from ullage_contract.clock import Clock
from ullage_contract.errors import ActuatorError

MOST_ROUNDS: Final = (
    2  # our choice: because a second array takes every free card, and a third could not take more
)
FOREVER_SECONDS: Final = 30 * 86_400
"""# our choice: because a job without a limit ends in 365 days by squeue, and no sound partition's limit is longer
than a month."""


class Fencing:
    """The procedure that places a fence. One at a time a node; see the module for what a crash leaves.

    after: called once it has changed what stands.
    """

    def __init__(
        self,
        calls: SlurmCalls,
        settings: FenceSettings,
        target: Target,
        place: Place,
        clock: Clock,
        seen: Seen | None = None,
        *,
        after: Callable[[], None] = lambda: None,
    ) -> None:
        self._calls = calls
        self._after = after
        self._settings = settings
        self._target = target
        self._place = place
        self._clock = clock
        self._first = seen
        self._made = FenceCalls(calls, settings, target, place)

    # ---- what it would do

    def to_json(self) -> dict[str, Any]:
        return {"procedure": "slurm fence", "commands": [list(made.argv) for made in self.may_call()]}

    def __str__(self) -> str:
        return "; ".join(str(made) for made in self.may_call())

    def may_call(self) -> list[CommandCall]:
        """The calls that change something, in order, as the node is now."""
        seen = self._first or self.look()
        if seen.keeper() is not None:
            return (
                [self._made.lift("JOB")]
                if self._strays(seen) == []
                else [self._made.cancel(["OTHERS"]), self._made.lift("JOB")]
            )
        found = [self._made.submit(seen)]
        if seen.holder is not None and self._target.drain != "finish":
            found.append(self._made.notify(seen.holder))
        if seen.holder is not None and self._ends:
            found.append(self._made.end(seen.holder))
        if seen.holder is None and self._made.count(seen) > 1:
            found.append(self._made.cancel(["OTHERS"]))
        return [*found, self._made.lift("JOB")]

    # ---- doing it

    def run(self, run: Run) -> list[str]:
        """Place the fence, or leave it waiting for the job that holds the card. Raises ActuatorError."""
        try:
            return self._settle(run)
        except ActuatorError:
            with contextlib.suppress(ActuatorError):
                self._sweep(run)
            raise
        finally:
            self._after()

    def look(self) -> Seen:
        """What stands on the node now. Raises ActuatorError when Slurm does not answer."""
        return look(
            self._calls, self._settings, self._place.node, self._place.index, self._place.names, self._target
        )

    def _settle(self, run: Run) -> list[str]:
        did: list[str] = []
        rounds = 0
        ended: str | None = None
        until = self._clock.monotonic() + self._settings.settle_seconds
        while True:
            try:
                seen = self.look()
            except NotSaid:
                if self._clock.monotonic() >= until:
                    raise
                self._clock.sleep(LOOK_SECONDS)
                continue
            keeper = seen.keeper()
            if keeper is not None:
                return did + self._keep(run, seen, keeper)
            waiting = [fence for fence in seen.mine if fence.job.waiting]
            strays = [fence for fence in seen.mine if fence.stray]
            self._refuse(waiting)
            if seen.holder is not None and not strays and seen.holder.label != ended:
                did += self._wait_for(run, seen, waiting)
                if not self._ends:
                    return [*did, f"waits for the end of job {seen.holder.label}, which holds the card"]
                did += self._end_work(run, seen.holder)
                ended = seen.holder.label
            elif self._clock.monotonic() >= until:
                return did + self._give_up(seen, waiting)
            elif not waiting and strays:
                # All of them got other cards: somebody took or gave back one in the same second.
                self._take_back(run, [fence for fence in strays if not fence.job.leaving])
            elif not waiting and not seen.passing and seen.holder is None:
                rounds += 1
                if rounds > MOST_ROUNDS:
                    raise ActuatorError(
                        f"no fence got index {self._place.index} of {self._place.node} though it is free: Slurm "
                        f"does not give the lowest free card there; isolate the node {self._place.node} instead"
                    )
                call(run, self._made.submit(seen, everything=rounds > 1))
                did.append(
                    f"submitted {self._made.count(seen, everything=rounds > 1)} fences to {self._place.node}"
                )
            elif not seen.node.available and waiting and not strays:
                if sum(fence.job.tasks for fence in waiting) < self._made.count(seen):
                    call(run, self._made.submit(seen))
                    self._take_back(run, waiting)
                return [*did, f"waits until {self._place.node} takes work again"]
            elif seen.holder is None and (stale := self._in_vain(waiting)):
                # The job they wait for was requeued: the card is free and they would not start.
                call(run, self._made.submit(seen))
                self._take_back(run, stale)
            self._clock.sleep(LOOK_SECONDS)

    def _give_up(self, seen: Seen, waiting: Sequence[Fence]) -> list[str]:
        if not seen.node.available and waiting:
            return [f"waits until {self._place.node} takes work again"]
        why = waiting[0].job.reason if waiting else "they got other cards"
        if seen.holder is not None:
            why = f"job {seen.holder.label} does not end"
        raise ActuatorError(
            f"no fence started on index {self._place.index} of {self._place.node} within "
            f"{self._settings.settle_seconds:g} s ({why}); isolate the node {self._place.node} instead"
        )

    def _in_vain(self, waiting: Sequence[Fence]) -> list[Fence]:
        return [f for f in waiting if f.job.waits_for and in_vain(self._calls, f.job.waits_for)]

    @property
    def _ends(self) -> bool:
        return self._target.drain == "end" and self._settings.end_with != ""

    def _keep(self, run: Run, seen: Seen, keeper: Fence) -> list[str]:
        did = []
        others = [fence for fence in seen.mine if fence is not keeper and not fence.job.leaving]
        if others:
            self._take_back(run, others)
            did.append(f"cancelled {sum(fence.job.tasks for fence in others)} others")
        end = keeper.job.end
        if end is not None and end - self._clock.wall() < FOREVER_SECONDS:
            try:
                call(run, self._made.lift(keeper.job.label))
                did.append("lifted its time limit")
            except ActuatorError as e:
                did.append(
                    f"its time limit stands, it ends in {(end - self._clock.wall()) / 3600:.1f} h: {e}"
                )
        return [*did, f"job {keeper.job.label} keeps index {self._place.index} of {self._place.node}"]

    def _wait_for(self, run: Run, seen: Seen, waiting: Sequence[Fence]) -> list[str]:
        """A job holds the card: fences that wait for its end, as many as will be needed then."""
        holder = seen.holder
        assert holder is not None
        did = []
        wanted = waits_on(holder)
        good = [f for f in waiting if f.job.waits_for == wanted and self._suffices(f.job.tasks, seen)][:1]
        if not good:
            call(run, self._made.submit(seen))
            did.append(f"submitted {self._made.count(seen)} fences for the end of job {holder.label}")
            if self._target.drain != "finish":
                did.append(tell(run, self._made.notify(holder), holder))
        stale = [fence for fence in waiting if fence not in good]
        if stale:
            self._take_back(run, stale)
            did.append("cancelled fences that waited for something else")
        return did

    def _end_work(self, run: Run, holder: JobView) -> list[str]:
        """End the job that holds the card, the fences being in line already."""
        call(run, self._made.end(holder))
        did = [f"job {holder.label}: {self._settings.end_with}"]
        if self._settings.end_with == "requeue":
            # A requeued job is not over for afterany: whoever waits for it now waits for nothing.
            for fence in self.look().mine:
                if fence.job.waiting:
                    number = fence.job.label.partition("_")[0]
                    call(run, self._calls.change("scontrol", "update", f"jobid={number}", "dependency="))
        return did

    def _suffices(self, tasks: int, seen: Seen) -> bool:
        needed = self._made.count(seen)
        # Fences too many would push out somebody where partitions preempt; elsewhere they end by themselves.
        return tasks == needed if self._place.preempts else tasks >= needed

    def _refuse(self, waiting: Sequence[Fence]) -> None:
        for fence in waiting:
            if not patient(fence.job.reason):
                raise ActuatorError(
                    f"Slurm does not start the fence on {self._place.node}: {fence.job.reason} "
                    f"(account {self._settings.account}, QOS {self._settings.qos or 'default'}, partition "
                    f"{self._place.partition}); lift that limit, or isolate the node {self._place.node} instead"
                )

    def _sweep(self, run: Run) -> None:
        """Nothing of the target's is left but a fence on its card."""
        seen = self.look()
        keeper = seen.keeper()
        self._take_back(run, [f for f in seen.mine if f is not keeper and not f.job.leaving])

    def _take_back(self, run: Run, fences: Sequence[Fence]) -> None:
        if fences:
            call(run, self._made.cancel([fence.job.label for fence in fences]))

    def _strays(self, seen: Seen) -> list[Fence]:
        keeper = seen.keeper()
        return [fence for fence in seen.mine if fence is not keeper]
