"""Readings of serving processes into the store: whose they are, what they add, each once.

A reading is of the workload that held cards under that id at that instant; a pod is named without its uid as metrics know
none, and of two pods of one name the one that held then is meant. What is of nobody is counted and left out: a process
without cards of ours costs none. Rows, and what the next readings are compared with, are written in one transaction.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from ullage_collector.audit import naive_utc
from ullage_collector.serving.counting import Counted, Last, Process, Reading, Series, count
from ullage_collector.serving.systems import shipped
from ullage_collector.sql import statements
from ullage_collector.store import incoming
from ullage_contract.served import KINDS, Served

if TYPE_CHECKING:
    import duckdb

OTLP: Final = "otlp"
"""The source of what comes through POST /v1/metrics; no [[serving]] may have its name."""
KEEP_SERIES_SECONDS: Final = 7 * 86_400.0
"""our choice: because what was silent for a week is another process when it is heard of again, and what is told later than
that is not counted: the five minutes it would belong to may be gone."""
_PROCESS: Final = {"workload_key": pa.int32(), "source": pa.string(), "target": pa.string()}
_SERIES: Final = {
    **_PROCESS,
    "kind": pa.string(),
    "series": pa.string(),
    "at_us": pa.int64(),
    "value": pa.float64(),
}
_SPAN: Final = {
    **_PROCESS,
    "start_us": pa.int64(),
    "requests": pa.float64(),
    "prompt_tokens": pa.float64(),
    "generated_tokens": pa.float64(),
    "running": pa.float64(),
    "waiting": pa.float64(),
    "covered_us": pa.int64(),
    "resets": pa.int32(),
}


@dataclass(frozen=True, slots=True)
class Kept:
    """What one call did. ownerless: readings of nobody who held cards then. late: not newer than what is known."""

    taken: int
    ownerless: int
    late: int
    strange: int


@dataclass(frozen=True, slots=True)
class Holder:
    """Who held cards from .. to, microseconds since the epoch. nodes: keys of the nodes."""

    key: int
    from_us: int
    to_us: int
    nodes: frozenset[int]


@dataclass(frozen=True, slots=True)
class Made:
    """What readings come to, worked out and not written yet."""

    counted: Counted
    kept: Kept


def keep(
    cursor: duckdb.DuckDBPyConnection,
    readings: Sequence[Served],
    *,
    source: str,
    now_us: int,
    nodes: Sequence[int] | None = None,
) -> Kept:
    """Add readings: ``work_out`` and ``write`` in one. cursor: inside a write."""
    made = work_out(cursor, readings, source=source, now_us=now_us, nodes=nodes)
    write(cursor, made, now_us)
    return made.kept


def work_out(
    cursor: duckdb.DuckDBPyConnection,
    readings: Sequence[Served],
    *,
    source: str,
    now_us: int,
    nodes: Sequence[int] | None = None,
) -> Made:
    """What readings add to what is there. cursor: for reading; nobody else may add for this source meanwhile.

    source: who tells them. nodes: for each reading the key of the node that sent it, which speaks for its own workloads
    alone; None: no node did.
    """
    oldest = now_us - round(KEEP_SERIES_SECONDS * 1e6)
    times = [round(reading.time * 1e6) for reading in readings]
    young = [at_us for at_us in times if at_us > oldest]
    if not young:
        return Made(Counted(), Kept(0, 0, len(readings), 0))
    holders = _holders(cursor, min(young), max(young))
    senders: Sequence[int | None] = nodes if nodes is not None else [None] * len(readings)
    processes: dict[tuple[int, str, str], Process] = {}
    own: list[Reading] = []
    old = 0
    for reading, at_us, node in zip(readings, times, senders, strict=True):
        if at_us <= oldest:
            old += 1
            continue
        holder = _holder(holders.get(reading.workload, ()), at_us, node)
        if holder is None or reading.kind not in KINDS:
            continue
        name = (holder.key, reading.system, reading.target)
        process = processes.get(name)
        if process is None:
            process = processes[name] = Process(holder.key, f"{source}/{reading.system}", reading.target)
        own.append(Reading(process, reading.series, reading.kind, at_us, reading.value))
    counted = count(own, _known(cursor, processes.values()), _lazy(source))
    kept = Kept(
        taken=len(own) - counted.late - counted.strange,
        ownerless=len(readings) - old - len(own),
        late=old + counted.late,
        strange=counted.strange,
    )
    return Made(counted, kept)


def _lazy(source: str) -> frozenset[str]:
    return frozenset(f"{source}/{system.name}" for system in shipped().values() if system.lazy)


def _holders(cursor: duckdb.DuckDBPyConnection, from_us: int, to_us: int) -> dict[str, list[Holder]]:
    found: dict[str, list[Holder]] = defaultdict(list)
    rows = cursor.execute(statements("serving")["holders"], {"from_us": from_us, "to_us": to_us}).fetchall()
    for key, workload, start, end, nodes in rows:
        holder = Holder(key, start, end, frozenset(node for node in nodes if node is not None))
        found[workload].append(holder)
        if workload.startswith("k8s/") and workload.count("/") == 4:
            found[workload.rpartition("/")[0]].append(holder)
    return found


def _holder(candidates: Iterable[Holder], at_us: int, node_key: int | None) -> Holder | None:
    """Who of them held at that instant; of several the one that began last."""
    held = [
        one
        for one in candidates
        if one.from_us <= at_us < one.to_us and (node_key is None or node_key in one.nodes)
    ]
    return max(held, key=lambda one: (one.from_us, one.key), default=None)


def _known(
    cursor: duckdb.DuckDBPyConnection, processes: Iterable[Process]
) -> dict[Process, dict[Series, Last]]:
    named = {(p.workload_key, p.source, p.target): p for p in processes}
    found: dict[Process, dict[Series, Last]] = defaultdict(dict)
    rows = incoming.table(_PROCESS, named)
    for *name, kind, series, at_us, value in incoming.fetch(cursor, statements("serving")["known"], rows):
        found[named[name[0], name[1], name[2]]][kind, series] = Last(at_us, value)
    return found


def write(cursor: duckdb.DuckDBPyConnection, made: Made, now_us: int) -> None:
    """Keep what was worked out. cursor: inside a write."""
    sql, counted = statements("serving"), made.counted
    series: list[tuple[Any, ...]] = [
        (p.workload_key, p.source, p.target, kind, name, last.at_us, last.value)
        for p, changed in counted.last.items()
        for (kind, name), last in changed.items()
    ]
    incoming.execute(cursor, sql["put_series"], incoming.table(_SERIES, series))
    spans = incoming.table(
        _SPAN,
        [
            (
                *(p.workload_key, p.source, p.target, start, span.requests, span.prompt_tokens),
                *(span.generated_tokens, span.running, span.waiting, span.covered_us, span.resets),
            )
            for (p, start), span in counted.spans.items()
        ],
    )
    if not spans.num_rows:
        return
    oldest = {"from_us": min(start for _, start in counted.spans)}
    with incoming.registered(cursor, spans):
        cursor.execute(sql["merge_spans"], oldest)
    cursor.execute(sql["drop_merged"], oldest)
    cursor.execute(sql["put_merged"])
    cursor.execute(sql["merge_hours"], oldest)
    cursor.execute(sql["drop_merged_hours"], oldest)
    cursor.execute(sql["put_merged_hours"])
    cursor.execute(sql["touched_days"], {"now": naive_utc(now_us / 1e6)})
