"""Cards of which more than a whole is handed out now: shares add up to more than one.

Over-subscription is a choice of a site or a mistake of a sharing system; money divides such a card by the sum of its
shares, and this says so. Pure: rows in, findings out. Reservations do not count: they take what work leaves.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ullage_collector.allocation.holding import NANO
from ullage_collector.detect.findings import Found
from ullage_collector.sql import statements
from ullage_collector.store.store import naive_utc

if TYPE_CHECKING:
    import duckdb

KIND: Final = "over_subscribed_card"
MOST_NAMED: Final = 20  # our choice: because a page shows twenty holders and a card rarely has more


@dataclass(frozen=True, slots=True)
class Held:
    """One share of a card held now. memory_share_nano None: not stated."""

    card_id: str
    workload_id: str
    share_nano: int
    memory_share_nano: int | None
    from_us: int


def find(held: Iterable[Held]) -> list[Found]:
    """A finding for every card whose compute or stated memory shares add up to more than the whole.

    since: when the holder that broke the bound began, in the order holders began.
    """
    by_card: dict[str, list[Held]] = {}
    for row in held:
        by_card.setdefault(row.card_id, []).append(row)
    found = []
    for card_id, rows in sorted(by_card.items()):
        rows.sort(key=lambda row: (row.from_us, row.workload_id))
        compute = memory = 0
        since = None
        for row in rows:
            compute += row.share_nano
            memory += row.memory_share_nano or 0
            if since is None and max(compute, memory) > NANO:
                since = row.from_us
        if since is None:
            continue
        found.append(
            Found(
                kind=KIND,
                family="card",
                subject=card_id,
                since_us=since,
                evidence={
                    "share": round(compute / NANO, 6),
                    "memory_share": round(memory / NANO, 6) if memory else None,
                    "holders": len(rows),
                    "workloads": [row.workload_id for row in rows[:MOST_NAMED]],
                },
                action="check_sharing_settings",
            )
        )
    return found


def now_held(cursor: duckdb.DuckDBPyConnection, now_us: int) -> list[Held]:
    """The rows ``find`` judges: what work holds of known cards at an instant, as believed now."""
    rows = cursor.execute(statements("allocation")["held_at"], {"at": naive_utc(now_us / 1e6)}).fetchall()
    return [Held(*row) for row in rows]
