"""What a person asks of the notifier: a list of messages, a test message, dead letters once more. For API and command.

Not here: routes (api.py) and printing (cli.py).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from ullage_collector import audit
from ullage_collector.audit import AuditRow, naive_utc
from ullage_collector.notify.message import Message
from ullage_collector.notify.news import News
from ullage_collector.notify.senders import SENDERS
from ullage_collector.notify.settings import Target
from ullage_collector.sql import statements
from ullage_contract.errors import BadInput, ConfigError
from ullage_contract.event import Severity
from ullage_contract.http_post import NotTold

if TYPE_CHECKING:
    from ullage_collector.store.store import Store

STATES: Final = ("gathering", "waiting", "sending", "sent", "dead", "merged")
MOST: Final = 1_000


def listed(
    store: Store,
    targets: Sequence[Target],
    *,
    state: str | None = None,
    target: str | None = None,
    most: int = 100,
) -> dict[str, Any]:
    """Targets (without anything secret) with their counts, and messages, newest first. Raises BadInput for an unknown state."""
    if state is not None and state not in STATES:
        raise BadInput(f"state {state[:40]!r} is none of {', '.join(STATES)}")
    sql = statements("notices")
    cursor = store.cursor()
    try:
        counts = cursor.execute(sql["counts"]).fetchall()
        found = cursor.execute(sql["list_notices"], [state, target, min(most, MOST)])
        names = [column[0] for column in found.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    finally:
        cursor.close()
    for row in rows:
        row["news"] = json.loads(row["news"])
    return {
        "targets": [
            {
                "name": each.name,
                "kind": each.kind,
                "events": list(each.events),
                "severity": each.severity,
                "language": each.language,
                "counts": {word: count for name, word, count, _, _ in counts if name == each.name},
            }
            for each in targets
        ],
        "notices": rows,
    }


def named(targets: Sequence[Target], name: str) -> Target:
    """The target of that name. Raises BadInput saying which there are."""
    for target in targets:
        if target.name == name:
            return target
    there = ", ".join(target.name for target in targets) or "none: add a [[notify]] to collector.toml"
    raise BadInput(f"no [[notify]] is named {name[:60]!r}; there are {there}")


def test(target: Target, now: float) -> dict[str, Any]:
    """Send one test message at once, past the outbox; what became of it."""
    us = round(now * 1e6)
    news = News(
        key=f"test/{us}",
        event="test",
        about=f"test/{us}",
        severity=Severity.INFO,
        family="fleet",
        subject=target.name,
        at_us=us,
        since_us=us,
    )
    try:
        note = SENDERS[target.kind](target, Message(f"{target.name}/{news.key}", [news], now))
    except (NotTold, ConfigError) as e:
        return {"target": target.name, "kind": target.kind, "told": False, "problem": str(e)}
    return {"target": target.name, "kind": target.kind, "told": True, "problem": note}


def retry(store: Store, target: Target, actor: str) -> dict[str, Any]:
    """Dead letters of a target wait again, as if they were new; in the audit."""
    now = store.clock.wall()
    with store.write() as cursor:
        row = cursor.execute(
            statements("notices")["raise_dead"], [naive_utc(now), naive_utc(now), target.name]
        ).fetchone()
        count = int(row[0]) if row else 0
        audit.write(
            cursor,
            AuditRow(now, actor, "notify_retry", target.name, None, f"{count} messages wait again"),
        )
    return {"target": target.name, "waiting_again": count}
