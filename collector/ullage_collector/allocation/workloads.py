"""Who holds, as table ``workload`` keeps it: made when it is met, told anew when its source says otherwise.

Not dated: a job's account or a pod's labels are as they were last said. Not here: what they hold (book.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Set
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from ullage_collector.allocation.holding import Workload
from ullage_collector.sql import statements
from ullage_collector.store import incoming

if TYPE_CHECKING:
    import duckdb

_COLUMNS: Final = {
    "workload_id": pa.string(),
    "kind": pa.string(),
    "cluster_id": pa.string(),
    "name": pa.string(),
    "user_name": pa.string(),
    "namespace": pa.string(),
    "partition": pa.string(),
    "labels": pa.string(),
    "scenario": pa.string(),
    "origin": pa.string(),
    "attributes": pa.string(),
}
_SAID_ANEW: Final = (3, 4, 5, 6, 7, 8, 10)
"""Columns that may change in a workload's life; what its source no longer says stays."""

Known = Mapping[str, tuple[Any, ...]]
"""By workload id: its key, and the columns of _SAID_ANEW as they stand."""


def known(cursor: duckdb.DuckDBPyConnection, workload_ids: Iterable[str]) -> Known:
    """Those of these workloads that the store knows."""
    ids = incoming.table({"workload_id": pa.string()}, [(text,) for text in workload_ids])
    found = incoming.fetch(cursor, statements("allocation")["workloads"], ids)
    return {row[0]: row[1:] for row in found}


def differing(standing: Known, said: Mapping[str, Workload], origin: str) -> list[tuple[Any, ...]]:
    """Rows of workloads that are known and now said otherwise."""
    found = []
    for text, before in standing.items():
        now = _row(said[text], origin)
        told = (now[column] for column in _SAID_ANEW)
        if any(new is not None and new != old for new, old in zip(told, before[1:], strict=True)):
            found.append(now)
    return found


def keep(
    cursor: duckdb.DuckDBPyConnection, said: Mapping[str, Workload], holders: Set[str], origin: str
) -> dict[str, int]:
    """Keys of the workloads, by id; those of ``holders`` that are new are made. cursor: inside a write."""
    sql = statements("allocation")
    standing = known(cursor, said)
    changed = incoming.table(_COLUMNS, differing(standing, said, origin))
    incoming.execute(cursor, sql["set_workloads"], changed)
    new = [_row(w, origin) for text, w in said.items() if text in holders and text not in standing]
    incoming.execute(cursor, sql["put_workloads"], incoming.table(_COLUMNS, new))
    return {text: row[0] for text, row in known(cursor, said).items()}


def written(flat: Mapping[str, Any]) -> str | None:
    """A flat mapping as JSON with its keys in order; None for nothing."""
    return json.dumps(dict(flat), ensure_ascii=False, sort_keys=True) if flat else None


def _row(workload: Workload, origin: str) -> tuple[Any, ...]:
    return (
        workload.workload_id,
        workload.kind,
        workload.cluster,
        workload.name,
        workload.user,
        workload.namespace,
        workload.partition,
        written(workload.labels),
        workload.scenario,
        origin,
        written(workload.attributes),
    )
