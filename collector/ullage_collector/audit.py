"""The append-only audit: who or what, when, why, evidence, command, result, undo.

Nothing in Ullage updates or deletes a row of it. Written by the connection of the caller's transaction,
so that an act and its row are in the store together or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ullage_collector.sql import statements

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One row.

    at: seconds since the epoch, UTC. actor: token name, user or rule. command: the exact calls as JSON, with
    no secret in them; None when nothing was to be called. undo: what takes it back, or None.
    """

    at: float
    actor: str
    action: str
    subject: str | None
    reason: str | None
    result: str
    evidence: Any = None
    command: Sequence[Any] | None = None
    undo: Sequence[Any] | None = field(default=None)


def naive_utc(seconds: float) -> datetime:
    """Seconds since the epoch as the store keeps times: UTC without a zone."""
    return datetime.fromtimestamp(seconds, tz=UTC).replace(tzinfo=None)


def write(connection: duckdb.DuckDBPyConnection, row: AuditRow) -> None:
    """Append one row in the connection's transaction."""
    connection.execute(
        statements("isolation")["insert_audit"],
        [
            naive_utc(row.at),
            row.actor,
            row.action,
            row.subject,
            row.reason,
            _json(row.evidence),
            _json(row.command),
            row.result,
            _json(row.undo),
        ],
    )


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False, default=str)
