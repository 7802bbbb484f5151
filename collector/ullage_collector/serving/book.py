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
from ullage_collector.serving.counting import Counted, Last, Process, Reading, count
from ullage_collector.serving.systems import shipped
from ullage_collector.sql import statements
from ullage_collector.store import incoming
from ullage_contract.served import KINDS, Served

if TYPE_CHECKING:
    import duckdb

OTLP: Final = "otlp"
"""The source of what comes through POST /v1/metrics; no [[serving]] may have its name."""
KEEP_SERIES_SECONDS: Final = 7 * 86_400.0
"""our choice: because what was silent for a week is another process when it is heard of again."""
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


def keep(
    cursor: duckdb.DuckDBPyConnection,
    readings: Sequence[Served],
    *,
    source: str,
    now_us: int,
    nodes: Sequence[int] | None = None,
) -> Kept:
    """Add readings. cursor: inside a write. source: who tells them.

    nodes: for each reading the key of the node that sent it, which speaks for its own workloads alone; None: no node did.
    """
    if not readings:
        return Kept(0, 0, 0, 0)
    times = [round(reading.time * 1e6) for reading in readings]
    holders = _holders(cursor, min(times), max(times))
    own: list[Reading] = []
    senders: Sequence[int | None] = nodes if nodes is not None else [None] * len(readings)
    for reading, at_us, node in zip(readings, times, senders, strict=True):
        holder = _holder(holders.get(reading.workload, ()), at_us, node)
        if holder is not None and reading.kind in KINDS:
            process = Process(holder.key, f"{source}/{reading.system}", reading.target)
            own.append(Reading(process, reading.series, reading.kind, at_us, reading.value))
    counted = count(own, _known(cursor, {reading.process for reading in own}), _lazy(source))
    _write(cursor, counted, now_us)
    return Kept(
        len(own) - counted.late - counted.strange, len(readings) - len(own), counted.late, counted.strange
    )


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
) -> dict[tuple[Process, str, str], Last]:
    rows = incoming.table(_PROCESS, [(p.workload_key, p.source, p.target) for p in processes])
    return {
        (Process(key, source, target), kind, series): Last(at_us, value)
        for key, source, target, kind, series, at_us, value in incoming.fetch(
            cursor, statements("serving")["known"], rows
        )
    }


def _write(cursor: duckdb.DuckDBPyConnection, counted: Counted, now_us: int) -> None:
    sql = statements("serving")
    series: list[tuple[Any, ...]] = [
        (p.workload_key, p.source, p.target, kind, name, last.at_us, last.value)
        for (p, kind, name), last in counted.last.items()
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
    incoming.execute(cursor, sql["put_spans"], spans)
    incoming.execute(cursor, sql["put_hours"], spans)
    if spans.num_rows:
        today = now_us // 86_400_000_000 * 86_400_000_000
        if min(spans.column("start_us").to_pylist()) < today:
            with incoming.registered(cursor, spans):
                cursor.execute(sql["touched_days"], {"now": naive_utc(now_us / 1e6)})
