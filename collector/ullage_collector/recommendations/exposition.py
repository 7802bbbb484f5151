"""What stands in the ledger of recommendations, for /metrics: how many by state, what they save a month, what was saved."""

from __future__ import annotations

import logging
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from ullage_collector.ledger import rounded
from ullage_collector.recommendations.book import ACTIVE
from ullage_collector.sql import statements

if TYPE_CHECKING:
    from ullage_collector.store.store import Store

log = logging.getLogger(__name__)

SERIES: Final = (
    ("ullage_recommendations", "recommendations by state"),
    (
        "ullage_recommendations_saving_per_month",
        "what those open or accepted save a month, nothing counted twice",
    ),
    ("ullage_recommendations_saved", "what those that were measured saved over their windows"),
)


def exposition(store: Store) -> str:
    """Lines for /metrics; nothing where the ledger is empty or cannot be read. Money is in units of the currency."""
    try:
        cursor = store.cursor()
        try:
            rows = cursor.execute(statements("recommendations")["counts"]).fetchall()
        finally:
            cursor.close()
    except Exception:
        log.exception("the recommendations could not be read for /metrics")
        return ""
    if not rows:
        return ""
    counts: dict[str, int] = defaultdict(int)
    saving: dict[str, int] = defaultdict(int)
    saved: dict[str, int] = defaultdict(int)
    for state, currency, count, counted, measured in rows:
        counts[state] += count
        if currency is not None and state in ACTIVE and counted is not None:
            saving[currency] += int(counted)
        if currency is not None and measured is not None:
            saved[currency] += int(measured)
    lines = []
    for (metric, meaning), label, values in zip(
        SERIES,
        ("state", "currency", "currency"),
        (
            {state: str(count) for state, count in counts.items()},
            {name: str(rounded(atoms, name)) for name, atoms in saving.items()},
            {name: str(rounded(atoms, name)) for name, atoms in saved.items()},
        ),
        strict=True,
    ):
        if values:
            lines += [f"# HELP {metric} {meaning}", f"# TYPE {metric} gauge"]
            lines += [f'{metric}{{{label}="{name}"}} {value}' for name, value in sorted(values.items())]
    return "\n".join(lines) + "\n"
