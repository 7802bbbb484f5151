"""Who asked for cards and does not run: the one door by which sources change table ``request``.

A source tells all that wait on one cluster now. What it told before and tells no more has ended now; what changed
ended now and goes on as it is told; the same told twice changes nothing. Nothing is deleted.
Not here: asking a scheduler.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from ullage_collector.allocation.holding import Workload
from ullage_collector.sql import statements
from ullage_collector.store import incoming
from ullage_contract.errors import BadInput

if TYPE_CHECKING:
    import duckdb

_ENDED: Final[Mapping[str, Any]] = {
    "request_id": pa.int64(),
    "ended": incoming.TIMESTAMP,
    "known": incoming.TIMESTAMP,
}
_REASON: Final[Mapping[str, Any]] = {"request_id": pa.int64(), "reason": pa.string()}
_ROW: Final[Mapping[str, Any]] = {
    "source": pa.string(),
    "cluster_id": pa.string(),
    "workload_id": pa.string(),
    "kind": pa.string(),
    "asked_at": incoming.TIMESTAMP,
    "cards_nano": pa.int64(),
    "resource": pa.string(),
    "queue": pa.string(),
    "user_name": pa.string(),
    "namespace": pa.string(),
    "partition": pa.string(),
    "labels": pa.string(),
    "reason": pa.string(),
    "valid_from": incoming.TIMESTAMP,
    "known_from": incoming.TIMESTAMP,
}


@dataclass(frozen=True, slots=True)
class Request:
    """One workload that waits for cards.

    asked_us: since when, microseconds since the epoch. cards_nano: how many, 1e9 a card; a share of one is less.
    resource: as it asks for them (``nvidia.com/gpu``, ``gres/gpu:h200``), None: not said. queue: the scheduler's
    queue, None: it has none. reason: why it waits, in the scheduler's word. A workload that asks for several
    resources is a request for each.
    """

    workload: Workload
    asked_us: int
    cards_nano: int
    resource: str | None = None
    queue: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """What one telling changed: begun, ended (also what goes on changed), and how many wait now."""

    begun: int
    ended: int
    waiting: int


def keep_waiting(
    cursor: duckdb.DuckDBPyConnection, source: str, cluster: str, requests: Iterable[Request], now_us: int
) -> Kept:
    """Make the open requests of ``source`` on ``cluster`` those in ``requests``: all that wait there now.

    cursor: inside a write. now_us: when the source said so, microseconds since the epoch. A request begins when it
    was asked, also when it is told later; it ends when it is told no more, and one that is told again begins again now
    (held for a while, say). Call it only after the source answered in full: silence is no proof that nobody waits.
    Raises BadInput for a request of another cluster or for no cards; then nothing is changed.
    """
    sql = statements("quota")
    wanted: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for request in requests:
        name, told = _row(source, cluster, request, now_us)
        wanted[name] = told
    ended: list[tuple[Any, ...]] = []
    begun: list[tuple[Any, ...]] = []
    reasons: list[tuple[Any, ...]] = []
    standing: set[tuple[Any, ...]] = set()
    for number, workload_id, kind, asked, *rest in cursor.execute(
        sql["waiting"], [source, cluster]
    ).fetchall():
        *said, since_us = rest
        name = (workload_id, said[1], asked)
        told_now = wanted.get(name)
        if told_now is not None and _content(told_now) == (kind, *said[:-1]):
            standing.add(name)
            if told_now[12] != said[-1]:
                reasons.append((number, told_now[12]))
            continue
        end_us = max(now_us, since_us)
        ended.append((number, end_us, now_us))
        if told_now is not None:
            begun.append((*told_now[:-2], end_us, now_us))
            standing.add(name)
    new = {name: told for name, told in wanted.items() if name not in standing}
    before = set(incoming.fetch(cursor, sql["waited"], incoming.table(_ROW, new.values())))
    begun += [
        (*told[:-2], max(now_us, told[4]), now_us) if name in before else told for name, told in new.items()
    ]
    gone = incoming.table(_ENDED, ended)
    incoming.execute(cursor, sql["end_request"], gone)
    incoming.execute(cursor, sql["retire_request"], gone)
    incoming.execute(cursor, sql["put_request"], incoming.table(_ROW, begun))
    incoming.execute(cursor, sql["renew_reason"], incoming.table(_REASON, reasons))
    return Kept(len(begun), len(ended), len(wanted))


def _row(source: str, cluster: str, request: Request, now_us: int) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """A request's name, and its columns."""
    workload = request.workload
    if workload.cluster != cluster:
        raise BadInput(f"{workload.workload_id}: of cluster {workload.cluster!r}, told for {cluster!r}")
    if not 0 < request.cards_nano < 2**63:
        raise BadInput(f"{workload.workload_id}: waits for {request.cards_nano} nano-shares of a card")
    asked = request.asked_us
    labels = json.dumps(workload.labels, ensure_ascii=False, sort_keys=True) if workload.labels else None
    queue = request.queue
    told = (
        *(
            source,
            cluster,
            workload.workload_id,
            workload.kind,
            asked,
            request.cards_nano,
            request.resource,
            queue,
        ),
        *(workload.user, workload.namespace, workload.partition, labels, request.reason, asked, now_us),
    )
    return (workload.workload_id, request.resource, asked), told


def _content(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """What is compared: all but names and instants. A newer reason to wait is noted, it makes no new request."""
    return (row[3], *row[5:12])
