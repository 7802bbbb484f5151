"""What a fence is, and what stands on a node: our jobs by their comment, everybody's cards by index.

Not here: placing one (slurm_fencing.py), taking it away (slurm_unfencing.py), the calls' words (slurm_fence_calls.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ullage_collector.isolate.actuator import Target
from ullage_collector.isolate.slurm_calls import JobView, NodeView, SlurmCalls
from ullage_contract.errors import ActuatorError

LOOK_SECONDS: Final = 0.25  # our choice: because a look is two small questions to slurmctld
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
