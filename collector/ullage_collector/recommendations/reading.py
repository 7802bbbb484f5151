"""What recommendations are made of, from the store: open findings and incidents, who holds which card, prices."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ullage_collector.detect.gang import gang_name
from ullage_collector.mapping import subject
from ullage_collector.pricing.now import book_now
from ullage_collector.recommendations.book import ACTIVE
from ullage_collector.recommendations.kinds import Rules
from ullage_collector.recommendations.proposal import (
    Fault,
    Finding,
    Fleet,
    Held,
    Owned,
    Proposal,
    propose,
)
from ullage_collector.sql import statements

if TYPE_CHECKING:
    import duckdb


def proposals(
    cursor: duckdb.DuckDBPyConnection, rules: Rules, now_us: int, labels: Sequence[str] = ()
) -> list[Proposal]:
    """What is proposed at ``now_us``; nothing is counted yet. cursor: for reading. labels: what makes pods one job."""
    sql = statements("recommendations")
    when = {"now": datetime.fromtimestamp(now_us / 1e6, UTC).replace(tzinfo=None)}
    findings = [
        Finding(number, kind, family, subject, json.loads(text), confidence, owner, action)
        for number, kind, family, subject, text, confidence, owner, action in cursor.execute(
            sql["findings"], {"kinds": list(rules.findings)}
        ).fetchall()
    ]
    faults = [Fault(*row) for row in cursor.execute(sql["incidents"]).fetchall()]
    owned = {row[0]: Owned(*row) for row in cursor.execute(sql["owned"], when).fetchall()}
    held = [_held(row, labels) for row in cursor.execute(sql["held"], when).fetchall()]
    prices = book_now(cursor)
    standing = {
        int(number)
        for _, _, _, _, _, state, text, *_ in cursor.execute(sql["standing"]).fetchall()
        if state in ACTIVE
        for number in json.loads(text).get("findings", ())
    }
    return propose(findings, faults, Fleet(held, owned, prices, now_us), rules, standing)


def _held(row: tuple[Any, ...], labels: Sequence[str]) -> Held:
    card, node, share, *about = row
    of = subject(*about)
    names = frozenset({of.workload_id, *(gang_name(of, [label]) for label in labels)})
    return Held(of.workload_id, card, node, share, names)
