"""Faults of the past from a file: records of what was, never an action. They cost what they cost from their onset."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from ullage_collector.imports.map import Map
from ullage_collector.imports.money import table_entries
from ullage_collector.imports.report import Report
from ullage_collector.imports.source import Source
from ullage_collector.sql import fill, statements
from ullage_collector.store import incoming
from ullage_contract.errors import BadInput, ConfigError
from ullage_contract.event import Severity
from ullage_contract.sample import Family

if TYPE_CHECKING:
    import duckdb

    from ullage_collector.store.store import Store

ACTIONS: Final = ("observe", "isolate_card", "isolate_node", "reset", "reboot", "replace")
_INCIDENT: Final = {
    "family": pa.string(),
    "subject": pa.string(),
    "cause": pa.string(),
    "severity": pa.string(),
    "vendor": pa.string(),
    "code": pa.string(),
    "onset": incoming.TIMESTAMP,
    "closed_at": incoming.TIMESTAMP,
    "confirmed": pa.bool_(),
    "action": pa.string(),
    "evidence": pa.string(),
    "cluster_id": pa.string(),
    "origin": pa.string(),
}
_SAME: Final = (
    "a.family = i.family AND a.subject = i.subject AND a.cause = i.cause AND a.onset = i.onset "
    "AND (i.family <> 'node' OR i.cluster_id IS NULL OR a.cluster_id IS NULL OR a.cluster_id = i.cluster_id)"
)


def import_incidents(
    store: Store, cursor: duckdb.DuckDBPyConnection, source: Source, given: Map, report: Report
) -> None:
    """Import the file's incidents, in one transaction."""
    spec = given.records.get("incidents")
    if spec is None:
        raise ConfigError(f"{given.name} has no [incidents]")
    rows = []
    for number, entry in table_entries(cursor, source, spec, report):
        report.rows_read += 1
        try:
            rows.append((*_incident(entry), given.origin.value))
        except BadInput as e:
            report.refuse(number, str(e))
    once = {(row[0], row[1], row[2], row[6], row[11]): row for row in rows}
    sql = statements("imports")
    with store.write() as writer:
        incoming.execute(writer, sql["stage_records"], incoming.table(_INCIDENT, once.values()))
        if not once:
            return
        present = writer.execute(fill(sql["present_incidents"], same=_SAME)).fetchall()[0][0]
        added = writer.execute(fill(sql["put_incidents"], same=_SAME)).fetchall()[0][0]
    report.rows_added += added
    report.rows_present += present + len(rows) - len(once)


def _incident(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    def text(name: str) -> str | None:
        value = entry.get(name)
        return None if value is None else str(value)

    subject, cause = text("subject"), text("cause")
    if subject is None or cause is None:
        raise BadInput("no subject" if subject is None else "no cause")
    family, severity, action = text("family"), text("severity"), text("action")
    if family not in [f.value for f in Family]:
        raise BadInput(f"family {family!r} is none of {', '.join(Family)}")
    if severity not in [s.value for s in Severity]:
        raise BadInput(f"severity {severity!r} is none of {', '.join(Severity)}")
    if action not in ACTIONS:
        raise BadInput(f"action {action!r} is none of {', '.join(ACTIONS)}")
    onset, closed = entry.get("onset"), entry.get("closed_at")
    if not isinstance(onset, int):
        raise BadInput(f"onset {str(onset)[:40]!r} is no time")
    if closed is not None and not isinstance(closed, int):
        raise BadInput(f"closed_at {str(closed)[:40]!r} is no time")
    if closed is not None and closed < onset:
        raise BadInput("it is closed before it begins")
    confirmed = (text("confirmed") or "").lower() in ("true", "1", "yes")
    evidence = json.dumps([{"imported": True, "message": text("message")}], ensure_ascii=False)
    return (
        family,
        subject,
        cause,
        severity,
        text("vendor"),
        text("code"),
        onset,
        closed,
        confirmed,
        action,
        evidence,
        text("cluster") if family == Family.NODE else None,
    )
