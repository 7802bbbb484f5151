"""The rows the reconciliation judges, read from the store; and its result in one object for command and API."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ullage_collector.detect.inventory import Heard, Owned, Reconciled, Stranger, reconcile
from ullage_collector.inventory.life import Rules
from ullage_collector.sql import statements

if TYPE_CHECKING:
    import duckdb


def reconciled(
    connection: duckdb.DuckDBPyConnection, rules: Rules, now_us: int, since_us: int | None
) -> tuple[Reconciled, list[Stranger]]:
    """List and agents compared at ``now_us``, and the cards nobody lists.

    since_us: from when this collector listens; None: nobody serves, so silence is measured against whoever was heard last.
    """
    sql = statements("inventory")
    now = datetime.fromtimestamp(now_us / 1e6, UTC).replace(tzinfo=None)
    owned = [Owned(*row) for row in connection.execute(sql["owned"], {"now": now}).fetchall()]
    strangers = [Stranger(*row) for row in connection.execute(sql["strangers"], {"now": now}).fetchall()]
    if since_us is None:
        newest = connection.execute(sql["newest_seen"]).fetchall()[0][0]
        heard = Heard(0, min(now_us, newest) if newest is not None else 0)
    else:
        heard = Heard(since_us, now_us)
    return reconcile(owned, strangers, rules, heard, now_us), strangers


def as_json(result: Reconciled, strangers: list[Stranger]) -> dict[str, Any]:
    """What the command prints and the API answers; cards nobody lists stand as ``unlisted_card``."""
    rows = [
        {
            "kind": found.kind,
            "family": found.family,
            "subject": found.subject,
            "since_us": found.since_us,
            "confidence": found.confidence,
            "action": found.action,
            "evidence": dict(found.evidence),
        }
        for found in result.found
    ]
    rows += [
        {
            "kind": "unlisted_card",
            "family": "card",
            "subject": stranger.card_id,
            "since_us": stranger.first_seen_us,
            "confidence": 1.0,
            "action": "list_in_inventory",
            "evidence": {
                "cluster": stranger.cluster,
                "node": stranger.node,
                "model": stranger.model,
                "serial": stranger.serial,
            },
        }
        for stranger in strangers
    ]
    return {"schema_version": 1, "findings": rows, "not_judged": len(set(result.unjudged))}
