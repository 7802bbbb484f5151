"""What goes with an incident to a card's maker: the fault, its evidence, the card's facts and serial, what was tried.

One JSON object. Nobody's work is in it: no user, no workload, no department, and of programs of the site only how they
ended. Not here: sending it ([isolation.follow.replace], following.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from ullage_collector.audit import naive_utc
from ullage_collector.sql import statements
from ullage_contract.errors import BadInput

if TYPE_CHECKING:
    import duckdb

SCHEMA_VERSION: Final = 1
BEFORE: Final = timedelta(days=30)  # our choice: because makers ask how often it came before
MOST_ROWS: Final = 1000
_JSON: Final = frozenset({"evidence", "facts", "attributes", "figures"})
PRIVATE: Final = frozenset(
    {"holders", "workload", "workloads", "user", "users", "pid", "process", "comm", "cgroup"}
)
"""Keys of evidence and attributes that may name a person's work; they stay with the site."""


def bundle(cursor: duckdb.DuckDBPyConnection, number: int, now: float) -> dict[str, Any]:
    """The bundle of an incident. now: seconds since the epoch. Raises BadInput for a number nobody knows.

    Times are ISO 8601 in UTC. null: not known.
    """
    sql = statements("bundle")
    found = _rows(cursor, sql["incident"], [number])
    if not found:
        raise BadInput(f"incident {number} is not known; GET /api/v1/incidents?closed=1 lists them")
    incident = found[0]
    at = {"family": incident["family"], "subject": incident["subject"], "cluster": incident["cluster_id"]}
    cards = _rows(cursor, sql["cards"], at)
    node = incident["node_id"] or (cards[0]["node_id"] if cards else None)
    cluster = incident["cluster_id"] or (cards[0]["cluster_id"] if cards else None)
    onset = datetime.fromisoformat(incident["onset"]).replace(tzinfo=None)
    return {
        "schema_version": SCHEMA_VERSION,
        "made_at": _plain(naive_utc(now)),
        "incident": incident,
        "cards": cards,
        "nodes": _rows(cursor, sql["nodes"], {"cluster": cluster, "node": node}),
        "inventory": _rows(cursor, sql["inventory"], {"cards": [card["card_id"] for card in cards]}),
        "events": _rows(
            cursor, sql["events"], {"subject": at["subject"], "since": onset - BEFORE, "most": MOST_ROWS}
        ),
        "earlier_incidents": _rows(cursor, sql["past"], {**at, "number": number, "most": MOST_ROWS}),
        "isolations": _rows(cursor, sql["isolations"], {"number": number}),
        "follows": _rows(cursor, sql["follows"], {"number": number}),
        "probes": _rows(cursor, sql["probes"], {"number": number}),
    }


def _rows(cursor: duckdb.DuckDBPyConnection, sql: str, parameters: Any) -> list[dict[str, Any]]:
    found = cursor.execute(sql, parameters)
    names = [column[0] for column in found.description or ()]
    return [
        {
            name: _without_people(json.loads(value)) if name in _JSON and value is not None else _plain(value)
            for name, value in zip(names, row, strict=True)
        }
        for row in found.fetchall()
    ]


def _plain(value: Any) -> Any:
    return value.replace(tzinfo=UTC).isoformat() if isinstance(value, datetime) else value


def _without_people(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_people(inner) for key, inner in value.items() if key not in PRIVATE}
    if isinstance(value, list):
        return [_without_people(inner) for inner in value]
    return value
