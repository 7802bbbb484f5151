"""Windows of maintenance as the store keeps them: dated twice, one row a node. ``in_window`` is what others ask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from ullage_collector.audit import naive_utc
from ullage_collector.sql import statements
from ullage_contract.errors import BadInput

if TYPE_CHECKING:
    import duckdb


class InWindow(Protocol):
    """Who can say whether something is being maintained, for whoever would act on it."""

    def in_window(self, cluster: str, node: str, card: str | None, instant: float) -> bool:
        """Whether the node (or its card) is in a window at ``instant``, seconds since the epoch."""
        ...


@dataclass(frozen=True, slots=True)
class Window:
    """One node's part of a window, as believed now. state: planned, started, ended, cancelled. Times naive UTC."""

    window_id: int
    cluster: str
    node: str
    card: str | None
    valid_from: datetime
    valid_to: datetime
    state: str
    reason: str
    actor: str
    isolation_id: int | None
    known_from: datetime

    def to_json(self) -> dict[str, Any]:
        return {
            "window_id": self.window_id,
            "cluster": self.cluster,
            "node": self.node,
            "card": self.card,
            "from": f"{self.valid_from.isoformat(timespec='seconds')}Z",
            "to": f"{self.valid_to.isoformat(timespec='seconds')}Z",
            "state": self.state,
            "reason": self.reason,
            "actor": self.actor,
            "isolation": self.isolation_id,
        }


class Windows:
    """The store's windows. connect: a cursor of the open store; it is closed after each question."""

    def __init__(self, connect: Callable[[], duckdb.DuckDBPyConnection]) -> None:
        self._connect = connect

    def in_window(self, cluster: str, node: str, card: str | None, instant: float) -> bool:
        """As InWindow says. A window that was begun lasts until it is ended, however long it was planned."""
        cursor = self._connect()
        try:
            row = cursor.execute(
                statements("maintenance")["covers"],
                {"cluster": cluster, "node": node, "card": card, "at": naive_utc(instant)},
            ).fetchone()
        finally:
            cursor.close()
        return bool(row and row[0])


def believed(cursor: duckdb.DuckDBPyConnection, window_id: int | None = None) -> list[Window]:
    """Windows as believed now, newest first. Raises BadInput for a number that is none."""
    rows = cursor.execute(statements("maintenance")["believed"], [window_id]).fetchall()
    if window_id is not None and not rows:
        raise BadInput(f"no window {window_id}; `ullage-collector maintenance list` shows them")
    return [Window(*row) for row in rows]


def keep(
    cursor: duckdb.DuckDBPyConnection,
    nodes: Sequence[tuple[str, str]],
    begin: float,
    end: float,
    *,
    reason: str,
    actor: str,
    now: float,
) -> int:
    """Keep a planned window of nodes (cluster, node); its number. cursor: inside a write. Raises BadInput."""
    if not begin < end:
        raise BadInput("from and to: the window has to end after it begins")
    sql = statements("maintenance")
    (number,) = cursor.execute(sql["next_window"]).fetchone() or (1,)
    for cluster, node in nodes:
        cursor.execute(
            sql["insert_window"],
            [
                number,
                cluster,
                node,
                naive_utc(begin),
                naive_utc(end),
                naive_utc(now),
                "planned",
                reason,
                actor,
                None,
            ],
        )
    return int(number)


def change(
    cursor: duckdb.DuckDBPyConnection,
    window: Window,
    state: str,
    *,
    actor: str,
    now: float,
    begin: float | None = None,
    end: float | None = None,
    isolation_id: int | None = None,
) -> None:
    """One node's part of a window is otherwise from now on; what was believed stays. cursor: inside a write."""
    sql, at = statements("maintenance"), naive_utc(now)
    cursor.execute(sql["no_longer_believed"], [at, window.window_id, window.cluster, window.node])
    cursor.execute(
        sql["insert_window"],
        [
            window.window_id,
            window.cluster,
            window.node,
            window.valid_from if begin is None else naive_utc(begin),
            window.valid_to if end is None else naive_utc(end),
            at,
            state,
            window.reason,
            actor,
            window.isolation_id if isolation_id is None else isolation_id,
        ],
    )
