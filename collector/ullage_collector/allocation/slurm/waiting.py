"""Who waits for cards in one Slurm cluster: the pending jobs of ``squeue --json``, as requests of the quota part. Pure.

An array that waits is one record with the list of its tasks. A job that waits for another job, a date, or whoever holds it
does not wait for cards, and is left out. Shards and mps are asked for beside cards and are no cards: they are left out.
Not here: asking Slurm (asking.py), and what requests become (quota/waiting.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from ullage_collector.allocation.holding import NANO
from ullage_collector.allocation.slurm import data_parser, gres, words
from ullage_collector.allocation.slurm.data_parser import Number, instant, states, whole
from ullage_collector.allocation.slurm.gres import Gres
from ullage_collector.allocation.slurm.job import FUTURE_SECONDS, SlurmJob
from ullage_collector.allocation.slurm.runs import SECOND, Known, workload
from ullage_collector.quota.waiting import Request
from ullage_contract.errors import BadInput

FOR_SOMETHING_ELSE: Final = frozenset(
    {
        "Dependency",
        "DependencyNeverSatisfied",
        "JobHeldUser",
        "JobHeldAdmin",
        "JobHoldMaxRequeue",
        "BeginTime",
    }
)
"""Reasons of squeue(1), JOB REASON CODES, with which no free card would start the job."""
_NOT_YET: Final = frozenset({"COMPLETING", "REQUEUE_HOLD", "SPECIAL_EXIT", "REVOKED"})
"""Flags beside PENDING (squeue(1), JOB STATE CODES) of a job that may not start."""
MOST_TASKS: Final = 4_000_001
"""slurm.conf(5): the largest MaxArraySize."""
_MOST_NANO: Final = 2**63 - 1
_TASKS: Final = re.compile(r"(\d{1,9})(?:-(\d{1,9})(?::(\d{1,9}))?)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Pending:
    """One record of a job that has not begun. job: who it is; of a waiting array its number is the array's.

    tasks: how many of an array the record stands for, 1 of a job alone. asked: what each asks for, over all its nodes.
    reason: in Slurm's word, None: not said. doubt: why it is not known how many cards it waits for.
    """

    job: SlurmJob
    tasks: int
    asked: tuple[Gres, ...]
    reason: str | None
    doubt: str | None = None

    @property
    def for_cards(self) -> bool:
        """Free cards would start it: it is not held, and waits for no job and no date."""
        return self.reason not in FOR_SOMETHING_ELSE and _NOT_YET.isdisjoint(self.job.states)


@dataclass(frozen=True, slots=True)
class Waiting:
    """Who waits now. doubts: jobs that wait for cards nobody can count, and why."""

    requests: tuple[Request, ...]
    doubts: tuple[tuple[str, str], ...] = ()


class _Record(msgspec.Struct):
    """A job of squeue, as far as a waiting one has something to say."""

    job_id: int
    job_state: str | list[str] = ""
    state_reason: str | list[str] | None = None
    account: str | None = None
    array_job_id: Number = None
    array_task_id: Number = None
    array_task_string: str | None = None
    het_job_id: Number = None
    het_job_offset: Number = None
    name: str | None = None
    user_name: str | None = None
    qos: str | None = None
    partition: str | None = None
    resv_name: str | None = None
    comment: str | None = None
    submit_time: Number = None
    eligible_time: Number = None
    tres_req_str: str | None = None
    tres_per_job: str | None = None
    tres_per_node: str | None = None
    tres_per_socket: str | None = None
    tres_per_task: str | None = None


class _Queue(msgspec.Struct):
    jobs: list[_Record] | None = None
    errors: list[data_parser.Error] | None = None


_QUEUE: Final = msgspec.json.Decoder(_Queue, strict=False)


def read_pending(said: bytes, names: Sequence[str] = gres.CARDS) -> list[Pending]:
    """The pending jobs of ``squeue --json``. names: GRES names that are cards.

    Others in the answer are passed over: Slurm 22.05 gives all jobs in JSON whatever --states says (seen with 22.05.8).
    Raises BadInput as data_parser.version does, and when a field has a shape nobody knows.
    """
    data_parser.version(said)
    try:
        answer = _QUEUE.decode(said)
        data_parser.refuse(answer.errors, "squeue")
    except msgspec.MsgspecError as e:
        raise BadInput(f"squeue's JSON: {str(e)[:200]}") from e
    return [_pending(record, names) for record in answer.jobs or () if "PENDING" in states(record.job_state)]


def waiting(known: Known, pending: Sequence[Pending], now: float) -> Waiting:
    """The requests of those that wait for cards. now: when they were told, seconds since the epoch.

    A job waits since it was submitted, or since it was free to start where that is later (released, its date come).
    A job that asks for several kinds of cards is a request for each; a fence is none. A partition stays a partition
    and is no queue beside it, as in what a job holds.
    """
    requests: list[Request] = []
    doubts: list[tuple[str, str]] = []
    for each in pending:
        job = each.job
        if not each.for_cards or known.is_fence(job):
            continue
        if each.doubt is not None:
            doubts.append((job.label, each.doubt))
            continue
        since = max(job.submit or 0, job.eligible or 0)
        wanted = [(_resource(item), _nano(item) * each.tasks) for item in each.asked]
        wanted = [(resource, nano) for resource, nano in wanted if nano]
        if not wanted or since > now + FUTURE_SECONDS:
            continue
        if not since or any(nano > _MOST_NANO for _, nano in wanted):
            doubts.append(
                (job.label, "it says no time" if not since else "it asks for more cards than there are")
            )
            continue
        who = workload(known, job)
        requests += [
            Request(who, since * SECOND, nano, resource, reason=each.reason) for resource, nano in wanted
        ]
    return Waiting(tuple(requests), tuple(doubts))


def tasks(written: str) -> int:
    """How many tasks ``0-9,12,20-30:5%2`` names; what follows % is how many may run at once.

    Raises BadInput for a list that is cut short, as squeue does at 64 characters without SLURM_BITSTR_LEN=0, or is none.
    """
    found = 0
    for part in re.sub(r"%\d+", "", written).split(","):
        match = _TASKS.fullmatch(part.strip())
        if match is None:
            raise BadInput(
                f"{written[:80]!r} is no list of array tasks: {part[:20]!r} is no number and no range"
            )
        first, last, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
        if last < first or step < 1:
            raise BadInput(f"{written[:80]!r} is no list of array tasks: {part[:20]!r} runs nowhere")
        found += (last - first) // step + 1
    if found > MOST_TASKS:
        raise BadInput(f"{written[:80]!r} names more tasks than an array may have")
    return found


def _pending(record: _Record, names: Sequence[str]) -> Pending:
    array, task = whole(record.array_job_id) or None, whole(record.array_task_id)
    listed = words.text(record.array_task_string) if array is not None and task is None else None
    reason = record.state_reason
    counts = words.tres(record.tres_req_str)
    asked = tuple(item for item in gres.from_tres(counts, names) if item.name in names)
    count, doubt = 1, None
    if not asked and _names_cards(record, names):
        doubt = (
            "it asks for cards that Slurm does not count: write AccountingStorageTRES=gres/gpu in slurm.conf"
        )
    if asked and listed is not None:
        try:
            count = tasks(listed)
        except BadInput as e:
            doubt = str(e)
    return Pending(
        SlurmJob(
            job_id=record.job_id if array is None or listed is None else array,
            states=states(record.job_state),
            array_job_id=array,
            array_task_id=task,
            het_job_id=whole(record.het_job_id) or None,
            het_offset=whole(record.het_job_offset),
            name=record.name or None,
            user=record.user_name or None,
            account=words.text(record.account),
            qos=words.text(record.qos),
            partition=words.text(record.partition),
            reservation=words.text(record.resv_name),
            comment=record.comment or None,
            submit=instant(record.submit_time),
            eligible=instant(record.eligible_time),
            tres=counts,
        ),
        count,
        asked,
        words.text(reason if isinstance(reason, str | None) else " ".join(reason)),
        doubt,
    )


def _names_cards(record: _Record, names: Sequence[str]) -> bool:
    """Whether its own words ask for cards, which tres_req_str has only where AccountingStorageTRES names them."""
    for written in (record.tres_per_job, record.tres_per_node, record.tres_per_socket, record.tres_per_task):
        try:
            if any(item.name in names and item.count for item in gres.read(written)):
                return True
        except BadInput:
            continue
    return False


def _resource(item: Gres) -> str:
    """As Slurm calls it in TRES: gres/gpu:h200, gres/gpu."""
    return f"gres/{item.name}:{item.type}" if item.type else f"gres/{item.name}"


def _nano(item: Gres) -> int:
    """How much of cards these are; a MIG instance is its share of one, rounded down."""
    share = item.mig_share
    return item.count * (NANO if share is None else int(NANO * share))
