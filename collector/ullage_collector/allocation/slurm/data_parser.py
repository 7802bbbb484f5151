"""JSON of ``squeue --json`` and ``sacct --json`` of every release since Slurm 22.05, as SlurmJob.

The shapes differ by data_parser version: numbers became {set, infinite, number} (0.0.39), states became lists
(0.0.40), nodes of a job's resources moved (0.0.41). Where a field may have two shapes both are read, in any
version; a version nobody has looked at is refused by name, as a field that changed its meaning would not show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from ullage_collector.allocation.room import MIB
from ullage_collector.allocation.slurm import gres, words
from ullage_collector.allocation.slurm.gres import Gres
from ullage_collector.allocation.slurm.job import SlurmJob
from ullage_contract.errors import BadInput

VERSIONS: Final[Mapping[str, str]] = {
    "v0.0.38": "22.05",
    "v0.0.39": "23.02",
    "v0.0.40": "23.11",
    "v0.0.41": "24.05",
    "v0.0.42": "24.11",
    "v0.0.43": "25.05",
    "v0.0.44": "25.11",
    "v0.0.45": "26.05",
    "v0.0.46": "26.11",
}
"""data_parser (until 22.05: openapi plugin) version -> the release it came with; read in SchedMD/slurm,
src/plugins/data_parser and src/plugins/openapi."""


class _Number(msgspec.Struct):
    set: bool = False
    infinite: bool = False
    number: float | int = 0


Number = _Number | int | float | str | None


class _Resources(msgspec.Struct):
    """job_resources: who of the nodes got what, in the order of gres_detail."""

    allocated_nodes: Any = None  # 0.0.38 to 0.0.40
    nodes: Any = None  # a text, or since 0.0.41 {allocation: [{name}]}


class _Live(msgspec.Struct):
    """A job of squeue."""

    job_id: int
    job_state: str | list[str] = ""
    account: str | None = None
    array_job_id: Number = None
    array_task_id: Number = None
    het_job_id: Number = None
    het_job_offset: Number = None
    name: str | None = None
    user_name: str | None = None
    qos: str | None = None
    partition: str | None = None
    resv_name: str | None = None
    comment: str | None = None
    cluster: str | None = None
    restart_cnt: Number = None
    submit_time: Number = None
    eligible_time: Number = None
    start_time: Number = None
    end_time: Number = None
    suspend_time: Number = None
    preempt_time: Number = None
    resize_time: Number = None
    nodes: str | None = None
    tres_alloc_str: str | None = None
    gres_detail: list[str] | None = None
    job_resources: _Resources | None = None


class _Array(msgspec.Struct):
    job_id: Number = None
    task_id: Number = None


class _Het(msgspec.Struct):
    job_id: Number = None
    job_offset: Number = None


class _Time(msgspec.Struct):
    start: Number = None
    end: Number = None
    submission: Number = None
    eligible: Number = None


class _State(msgspec.Struct):
    current: str | list[str] | None = None


class _Reservation(msgspec.Struct):
    name: str | int | None = None  # 22.05 writes the number 0


class _Comment(msgspec.Struct):
    job: str | None = None


class _Tres(msgspec.Struct):
    type: str = ""
    name: str | None = None
    count: Number = None


class _Allocated(msgspec.Struct):
    allocated: list[_Tres] | None = None


class _Past(msgspec.Struct):
    """A job of sacct."""

    job_id: int
    state: _State | None = None
    account: str | None = None
    array: _Array | None = None
    het: _Het | None = None
    name: str | None = None
    user: str | None = None
    qos: str | None = None
    partition: str | None = None
    reservation: _Reservation | None = None
    comment: _Comment | str | None = None
    cluster: str | None = None
    restart_cnt: Number = None
    time: _Time | None = None
    nodes: str | None = None
    tres: _Allocated | None = None


class _Head(msgspec.Struct):
    meta: Any = None


class Error(msgspec.Struct):
    description: str | None = None
    error: str | None = None
    error_number: Number = None


class _Queue(msgspec.Struct):
    jobs: list[_Live] | None = None
    errors: list[Error] | None = None


class _Accounting(msgspec.Struct):
    jobs: list[_Past] | None = None
    errors: list[Error] | None = None


_HEAD: Final = msgspec.json.Decoder(_Head)
_QUEUE: Final = msgspec.json.Decoder(_Queue, strict=False)
_ACCOUNTING: Final = msgspec.json.Decoder(_Accounting, strict=False)


def version(said: bytes) -> str:
    """The data_parser version a document says it is of, e.g. v0.0.40.

    Raises BadInput when it is no JSON of Slurm, or of a version that is not in VERSIONS.
    """
    try:
        meta = _HEAD.decode(said).meta
    except (msgspec.MsgspecError, UnicodeDecodeError) as e:
        raise BadInput(f"Slurm's answer is no JSON: {str(e)[:200]}") from e
    found = _stated(meta)
    if found is None:
        raise BadInput("Slurm's JSON does not say its data_parser version (meta.plugin)")
    if found not in VERSIONS:
        raise BadInput(
            f"Slurm's JSON is of data_parser {found[:60]}, which this Ullage does not read; "
            f"it reads {', '.join(VERSIONS)}; update Ullage, or ask for one of them: --json=v0.0.N"
        )
    return found


def _stated(meta: Any) -> str | None:
    if not isinstance(meta, dict):
        return None
    for key in ("plugin", "plugins"):
        plugin = meta.get(key)
        if not isinstance(plugin, dict):
            continue
        for name in ("data_parser", "type"):
            word = plugin.get(name)
            if isinstance(word, str) and "v0.0." in word:
                return word.rpartition("/")[2].removeprefix("db")
    return None


def read_squeue(said: bytes, names: Sequence[str] = gres.CARDS) -> list[SlurmJob]:
    """The jobs of ``squeue --json``. names: GRES names that are cards.

    Raises BadInput as ``version`` does, and when a field has a shape nobody knows.
    """
    version(said)
    try:
        answer = _QUEUE.decode(said)
        refuse(answer.errors, "squeue")
        return [_live(job, names) for job in answer.jobs or ()]
    except msgspec.MsgspecError as e:
        raise BadInput(f"squeue's JSON: {str(e)[:200]}") from e


def read_sacct(said: bytes) -> list[SlurmJob]:
    """The runs of ``sacct --duplicates --json``. Raises BadInput as ``read_squeue`` does."""
    version(said)
    try:
        answer = _ACCOUNTING.decode(said)
        refuse(answer.errors, "sacct")
        return [_past(job) for job in answer.jobs or ()]
    except msgspec.MsgspecError as e:
        raise BadInput(f"sacct's JSON: {str(e)[:200]}") from e


_NOTHING_FOUND: Final = 9003
"""ESLURM_REST_EMPTY_RESULT (slurm_errno.h): sacct --json of 22.05 answers so when nobody ran."""


def refuse(errors: Sequence[Error] | None, tool: str) -> None:
    """An answer with an error in it is no answer: an empty list of jobs would mean that nobody runs."""
    for error in errors or ():
        if whole(error.error_number) != _NOTHING_FOUND:
            raise BadInput(f"{tool}: {error.error or ''}: {error.description or ''}"[:300])


def _live(job: _Live, names: Sequence[str]) -> SlurmJob:
    listed, doubt = _hosts(job.nodes)
    details: dict[str, tuple[Gres, ...]] = {}
    try:
        details = _by_node(job, listed)
    except BadInput as e:
        doubt = str(e)
    return SlurmJob(
        job_id=job.job_id,
        states=states(job.job_state),
        array_job_id=whole(job.array_job_id) or None,
        array_task_id=whole(job.array_task_id),
        het_job_id=whole(job.het_job_id) or None,
        het_offset=whole(job.het_job_offset),
        name=job.name or None,
        user=job.user_name or None,
        account=words.text(job.account),
        qos=words.text(job.qos),
        partition=words.text(job.partition),
        reservation=words.text(job.resv_name),
        comment=job.comment or None,
        cluster=words.text(job.cluster),
        restarts=whole(job.restart_cnt),
        submit=instant(job.submit_time),
        eligible=instant(job.eligible_time),
        # A resized job has two runs in accounting, cut where it was resized.
        start=_later(instant(job.start_time), instant(job.resize_time)),
        end=instant(job.end_time),
        suspend=instant(job.suspend_time),
        preempt=instant(job.preempt_time),
        nodes=tuple(listed),
        tres=words.tres(job.tres_alloc_str),
        gres=details,
        doubt=doubt,
    )


def _past(job: _Past) -> SlurmJob:
    array, het, time = job.array or _Array(), job.het or _Het(), job.time or _Time()
    reserved = job.reservation.name if job.reservation else None
    listed, doubt = _hosts(job.nodes)
    counts = {}
    for entry in (job.tres.allocated if job.tres else None) or ():
        count = whole(entry.count)
        if count is not None:
            # slurmdbd counts memory in MiB, squeue's text has a unit: bytes here, as there.
            unit = MIB if entry.type == "mem" else 1
            counts[f"{entry.type}/{entry.name}" if entry.name else entry.type] = count * unit
    return SlurmJob(
        job_id=job.job_id,
        states=states((job.state.current if job.state else None) or ""),
        array_job_id=whole(array.job_id) or None,
        array_task_id=whole(array.task_id),
        het_job_id=whole(het.job_id) or None,
        het_offset=whole(het.job_offset),
        name=job.name or None,
        user=job.user or None,
        account=words.text(job.account),
        qos=words.text(job.qos),
        partition=words.text(job.partition),
        reservation=words.text(reserved) if isinstance(reserved, str) else None,
        comment=(job.comment.job if isinstance(job.comment, _Comment) else job.comment) or None,
        cluster=words.text(job.cluster),
        restarts=whole(job.restart_cnt),
        submit=instant(time.submission),
        eligible=instant(time.eligible),
        start=instant(time.start),
        end=instant(time.end),
        nodes=tuple(listed),
        tres=counts,
        doubt=doubt,
    )


def _hosts(written: str | None) -> tuple[list[str], str | None]:
    """The nodes, or none and why: one job's odd record must not hide all the others."""
    try:
        return words.hosts(written), None
    except BadInput as e:
        return [], str(e)


def states(said: str | list[str]) -> tuple[str, ...]:
    """``CANCELLED by 0`` and lists alike. A requeued run's words: the base state first."""
    listed = [said] if isinstance(said, str) else said
    return tuple(word.split()[0].upper() for word in listed if word.split())


def whole(number: Number) -> int | None:
    """None: not set, infinite, or a text that is no number."""
    if isinstance(number, _Number):
        return int(number.number) if number.set and not number.infinite else None
    if isinstance(number, str):
        return int(number) if number.isascii() and number.isdigit() and len(number) < 19 else None
    return None if number is None else int(number)


def instant(number: Number) -> int | None:
    """0 is Slurm's word for never."""
    seconds = whole(number)
    return seconds if seconds is not None and 0 < seconds < 2**36 else None


def _later(one: int | None, other: int | None) -> int | None:
    return one if one is None or other is None else max(one, other)


def _by_node(job: _Live, listed: Sequence[str]) -> dict[str, tuple[Gres, ...]]:
    """gres_detail has one text a node, in the order of the job's resources; without that order only equal
    texts can be given to nodes."""
    details = job.gres_detail or []
    if not details or len(details) != len(listed):
        return {}
    named = _resource_nodes(job.job_resources)
    if len(named) != len(details) or set(named) != set(listed):
        if len(set(details)) > 1:
            return {}
        named = list(listed)
    return {node: gres.read(detail) for node, detail in zip(named, details, strict=True)}


def _resource_nodes(resources: _Resources | None) -> list[str]:
    if resources is None:
        return []
    found = resources.allocated_nodes
    if found is None and isinstance(resources.nodes, dict):
        found = resources.nodes.get("allocation")
    if isinstance(found, dict):  # an object by position, as some 22.05 wrote it
        found = list(found.values())
    if not isinstance(found, list):
        return []
    return [str(node.get("nodename") or node.get("name") or "") for node in found if isinstance(node, dict)]
