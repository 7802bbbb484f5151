"""The fence: a job of ours that holds one card so that no other job gets it. How it is placed and taken away.

Slurm gives a job the lowest free index of a node (seen on 22.05), so with m free cards below the target one array
of m+1 one-card jobs reaches it; the one on the target stays, the others are cancelled as soon as they are seen.
Each of them looks at its own SLURM_JOB_GPUS and ends by itself after ``hold_seconds`` when it is not the target's:
also when the collector died, no healthy card is held longer. Where a job holds the card the array waits for its end
(``--dependency=afterany``): seen on 22.05, it then starts in the scheduler's next pass, before any waiting job.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ullage_collector.isolate.actuator import CommandCall, Run, Target
from ullage_collector.isolate.slurm_calls import JobView, NodeView, SlurmCalls, call
from ullage_contract.clock import Clock
from ullage_contract.errors import ActuatorError

JOB_NAME: Final = "ullage-fence"
LOOK_SECONDS: Final = 0.25  # our choice: because a look is two small questions to slurmctld
MOST_ROUNDS: Final = (
    2  # our choice: because a second array takes every free card, and a third could not take more
)
FOREVER_SECONDS: Final = 30 * 86_400
"""# our choice: because a job without a limit ends in 365 days by squeue, and no sound partition's limit is longer
than a month."""
SOON_SECONDS: Final = 1800  # our choice: because a collector that was away is back by then
_COMMENT: Final = re.compile(r"fence:(\S+):(\S+) (ullage:\S+) index=(\d+)")
_PATIENT: Final = (
    "None",
    "Priority",
    "Resources",
    "Dependency",
    "BeginTime",
    "JobArrayTaskLimit",
    "Prolog",
    "Cleaning",
)
_AWAY: Final = ("ReqNodeNotAvail", "NodeDown", "Nodes")


@dataclass(frozen=True, slots=True)
class FenceSettings:
    """How fences are submitted. Empty texts: not given to sbatch. partition: empty for the best one of the node.

    user: whom the job runs as (--uid; only root may). minutes: of the first time limit, lifted once the fence is
    seen on its card. end_with: what drain "end" does to the job that holds the card: requeue or cancel; empty:
    nothing, it is let finish (who asks for "end" decides when; here is only whether it may be done).
    """

    account: str = "ullage-fence"
    qos: str = "ullage-fence"
    partition: str = ""
    user: str = ""
    priority: int = (
        4_294_967_290  # our choice: because Slurm's own first is 4294901760 and 0xfffffffe means none
    )
    memory: str = "16M"
    minutes: int = 60  # our choice: because a fence that starts while the collector is away must outlast that
    hold_seconds: int = 4  # our choice: because a card may be held 5 s, and the job's end takes a part of it
    settle_seconds: float = 20.0  # our choice: because sched_interval and batch_sched_delay are seconds
    end_with: str = ""


@dataclass(frozen=True, slots=True)
class Fence:
    """One of our jobs. index: the one it has, None while it waits. placed: the one it was meant for."""

    job: JobView
    card_id: str
    incident: str
    marker: str
    placed: int
    index: int | None

    @property
    def there(self) -> bool:
        """It runs on the card it was meant for."""
        return not self.job.waiting and not self.job.leaving and self.index == self.placed

    @property
    def stray(self) -> bool:
        """It runs on another card and is about to end."""
        return not self.job.waiting and self.index != self.placed


def comment(target: Target, index: int) -> str:
    """What marks a job as the fence of this card, incident and index."""
    incident = "none" if target.incident_id is None else str(target.incident_id)
    return f"fence:{target.subject}:{incident} {target.marker} index={index}"


def read_fence(job: JobView, account: str, index: int | None) -> Fence | None:
    """The job as a fence of ours; None when account or comment say that it is none."""
    match = _COMMENT.fullmatch(job.comment)
    if match is None or job.account != account:
        return None
    return Fence(job, match[1], match[2], match[3], int(match[4]), index)


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at a node. mine: fences of the target. used: indices of everybody else; others: whose fence is
    about to leave. holder: the job on the target's card, None where it is free or mine."""

    node: NodeView
    mine: tuple[Fence, ...]
    passing: tuple[Fence, ...]
    used: frozenset[int]
    holder: JobView | None

    def keeper(self) -> Fence | None:
        """The first of mine that runs on its card."""
        return next((fence for fence in self.mine if fence.there), None)

    def below(self, index: int, also_free: Sequence[int] = ()) -> int:
        """How many free cards come before it."""
        return sum(1 for i in range(index) if i not in self.used or i in also_free)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the fence goes. node: Slurm's NodeName. cards: how many indices it has. names: GRES names of cards.
    preempts: whether a waiting job of this partition may push another one out."""

    node: str
    index: int
    cards: int
    gres: str
    names: tuple[str, ...]
    partition: str
    max_minutes: int | None
    preempts: bool


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
                [self._lift("JOB")]
                if self._strays(seen) == []
                else [self._cancel(["OTHERS"]), self._lift("JOB")]
            )
        found = [self._submit(seen)]
        if seen.holder is not None and self._target.drain != "finish":
            found.append(self._notify(seen.holder))
        if seen.holder is not None and self._ends:
            found.append(self._end(seen.holder))
        if seen.holder is None and self._count(seen) > 1:
            found.append(self._cancel(["OTHERS"]))
        return [*found, self._lift("JOB")]

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
                call(run, self._submit(seen, everything=rounds > 1))
                did.append(
                    f"submitted {self._count(seen, everything=rounds > 1)} fences to {self._place.node}"
                )
            elif not seen.node.available and waiting and not strays:
                if sum(fence.job.tasks for fence in waiting) < self._count(seen):
                    call(run, self._submit(seen))
                    self._take_back(run, waiting)
                return [*did, f"waits until {self._place.node} takes work again"]
            elif seen.holder is None and (stale := self._in_vain(waiting)):
                # The job they wait for was requeued: the card is free and they would not start.
                call(run, self._submit(seen))
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
                call(run, self._lift(keeper.job.label))
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
            call(run, self._submit(seen))
            did.append(f"submitted {self._count(seen)} fences for the end of job {holder.label}")
            if self._target.drain != "finish":
                did.append(tell(run, self._notify(holder), holder))
        stale = [fence for fence in waiting if fence not in good]
        if stale:
            self._take_back(run, stale)
            did.append("cancelled fences that waited for something else")
        return did

    def _end_work(self, run: Run, holder: JobView) -> list[str]:
        """End the job that holds the card, the fences being in line already."""
        call(run, self._end(holder))
        did = [f"job {holder.label}: {self._settings.end_with}"]
        if self._settings.end_with == "requeue":
            # A requeued job is not over for afterany: whoever waits for it now waits for nothing.
            for fence in self.look().mine:
                if fence.job.waiting:
                    number = fence.job.label.partition("_")[0]
                    call(run, self._calls.change("scontrol", "update", f"jobid={number}", "dependency="))
        return did

    def _suffices(self, tasks: int, seen: Seen) -> bool:
        needed = self._count(seen)
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
            call(run, self._cancel([fence.job.label for fence in fences]))

    def _strays(self, seen: Seen) -> list[Fence]:
        keeper = seen.keeper()
        return [fence for fence in seen.mine if fence is not keeper]

    def _count(self, seen: Seen, *, everything: bool = False) -> int:
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

    # ---- the calls

    def _submit(self, seen: Seen, *, everything: bool = False) -> CommandCall:
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
            f"--array=0-{self._count(seen, everything=everything) - 1}",
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

    def _lift(self, label: str) -> CommandCall:
        return self._calls.change("scontrol", "update", f"jobid={label}", "timelimit=UNLIMITED")

    def _cancel(self, labels: Sequence[str]) -> CommandCall:
        return self._calls.change("scancel", "--quiet", *labels)

    def _notify(self, holder: JobView) -> CommandCall:
        return notice(self._calls, holder, self._place.node, self._target)

    def _end(self, holder: JobView) -> CommandCall:
        return ending(self._calls, holder, self._settings.end_with)


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


def fences(calls: SlurmCalls, settings: FenceSettings) -> list[Fence]:
    """Every fence of the cluster that waits, runs or leaves, without its index. Raises ActuatorError."""
    found = [read_fence(job, settings.account, None) for job in calls.jobs(f"--account={settings.account}")]
    return [fence for fence in found if fence is not None]


def look(
    calls: SlurmCalls, settings: FenceSettings, node: str, index: int, names: Sequence[str], target: Target
) -> Seen:
    """The node, the target's fences and who holds its card. Raises ActuatorError when Slurm does not answer or
    does not say which indices are used."""
    ours: list[Fence] = []
    for fence in fences(calls, settings):
        if fence.job.waiting:
            ours.append(fence)
        elif node in fence.job.nodes:
            bits = calls.indices(fence.job.label, node, names)
            ours.append(
                Fence(
                    fence.job,
                    fence.card_id,
                    fence.incident,
                    fence.marker,
                    fence.placed,
                    bits[0] if bits else None,
                )
            )
    view = calls.node(node)
    used = used_indices(view, names)
    mine = tuple(fence for fence in ours if fence.marker == target.marker)
    # After the reading of jobs a fence may have started or gone: what it has then is seen at the next look.
    held = {fence.index for fence in mine if fence.index is not None}
    passing = tuple(
        fence
        for fence in ours
        if (fence.marker != target.marker and fence.stray) or (fence in mine and fence.job.leaving)
    )
    holder = None
    if index in used and index not in held:
        holder = _holder(calls, node, index, names)
    return Seen(view, mine, passing, frozenset(used - held), holder)


def _holder(calls: SlurmCalls, node: str, index: int, names: Sequence[str]) -> JobView | None:
    for job in calls.jobs(f"--nodelist={node}"):
        if node in job.nodes and index in (calls.indices(job.label, node, names) or ()):
            return None if _COMMENT.fullmatch(job.comment) else job
    return None


class NotSaid(ActuatorError):
    """Slurm counts the cards jobs have on a node without saying which: so a slurmctld just started, until the
    node has registered, and for good where the cards have no device files."""


def used_indices(node: NodeView, names: Sequence[str]) -> set[int]:
    """The indices that jobs have there. Raises NotSaid."""
    found: set[int] = set()
    for item in node.used:
        if item.name in names and item.count:
            if item.indices is None:
                raise NotSaid(
                    f"Slurm does not say which cards of {node.name} are used, so a fence cannot be aimed; "
                    f"isolate the node {node.name} instead"
                )
            found.update(item.indices)
    return found


def waits_on(job: JobView) -> str:
    """The job as a dependency names it; a het job by its own number."""
    return job.label if re.fullmatch(r"\d+(_\d+)?", job.label) else str(job.job_id)


def patient(reason: str) -> bool:
    """Whether a waiting job of this reason starts by itself; False: a limit, a licence or a reservation keeps it."""
    word = reason.partition(",")[0].strip()
    return word in _PATIENT or (word in _AWAY and "eserved" not in reason)


def in_vain(calls: SlurmCalls, label: str) -> bool:
    """Whether the job of a dependency waits itself, as a requeued one does: afterany holds on then."""
    try:
        return any(job.waiting for job in calls.jobs(f"--jobs={label}", "--states=all"))
    except ActuatorError:
        return False  # squeue does not know it any more: it is over


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
