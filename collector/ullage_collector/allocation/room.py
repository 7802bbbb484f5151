"""What a node has free beside its cards, as its scheduler says: the one door by which sources change table ``node_room``.

A source tells all nodes of one cluster at once; a node it tells no more is gone. Only now is kept: who asks about
fragmentation asks about now. Not here: asking a scheduler.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from ullage_collector.sql import statements
from ullage_collector.store import incoming
from ullage_collector.store.store import naive_utc

if TYPE_CHECKING:
    import duckdb

MIB: Final = 1 << 20
_ROW: Final = {
    "source": pa.string(),
    "cluster_id": pa.string(),
    "node_id": pa.string(),
    "cpu_milli": pa.int64(),
    "cpu_free_milli": pa.int64(),
    "memory_mib": pa.int64(),
    "memory_free_mib": pa.int64(),
    "takes_work": pa.bool_(),
    "why": pa.string(),
}


@dataclass(frozen=True, slots=True)
class Room:
    """One node. Thousandths of a processor and MiB that work may take, and what of them is free; None: not said.

    why: it takes no new work (drained, cordoned, down); None: it does.
    """

    node: str
    cpu_milli: int | None
    cpu_free_milli: int | None
    memory_mib: int | None
    memory_free_mib: int | None
    why: str | None = None


def keep_rooms(
    cursor: duckdb.DuckDBPyConnection, source: str, cluster: str, rooms: Iterable[Room], now_us: int
) -> int:
    """Make what ``source`` says of ``cluster`` these, all of them; how many. cursor: inside a write.

    now_us: when it said so, microseconds since the epoch. Amounts below zero (a node that was made smaller) are none.
    """
    sql = statements("fragmentation")
    rows = [
        (
            *(source, cluster, room.node, room.cpu_milli, _free(room.cpu_free_milli)),
            *(room.memory_mib, _free(room.memory_free_mib), room.why is None, room.why),
        )
        for room in {room.node: room for room in rooms}.values()
    ]
    cursor.execute(sql["forget_rooms"], [source, cluster])
    if rows:
        cursor.register("incoming", incoming.table(_ROW, rows))
        cursor.execute(sql["put_rooms"], [naive_utc(now_us / 1e6)])
        cursor.unregister("incoming")
    return len(rows)


def _free(amount: int | None) -> int | None:
    return None if amount is None else max(0, amount)
