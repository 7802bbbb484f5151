"""What a recommendation saved once it was done: the cost of its subject before against after, over equal windows.

Both windows are whole UTC days of published facts; the day it was done lies in neither. The window is as long as the rules say,
shorter where less is known before; what is not known yet is not measured yet. Lines count at their own prices. What was lost of
the window after more than of the one before saved nothing: idle cards that nobody sees any more cost as before.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Final

from ullage_collector.ledger import UNKNOWN, hours_exact
from ullage_collector.recommendations.kinds import Measure, Rules
from ullage_collector.sql import statements

if TYPE_CHECKING:
    import duckdb

_NAMES: Final = {"work": "workloads", "cards": "cards"}


def measured(cursor: duckdb.DuckDBPyConnection, rules: Rules) -> list[tuple[int, dict[str, Any]]]:
    """(recommendation_id, values of query ``saved``) of every one that is done and can be measured now."""
    found = []
    for number, kind_name, family, subject, currency, done_at, text in cursor.execute(
        statements("recommendations")["to_measure"]
    ).fetchall():
        kind = rules.kinds.get(kind_name)
        if kind is None or kind.measure is None:
            continue
        names = _subject(kind.measure, family, subject, json.loads(text))
        values = (
            _measure(cursor, kind.measure, names, currency, done_at.date(), rules.measure_days)
            if names
            else None
        )
        if values is not None:
            found.append((number, values))
    return found


def _subject(measure: Measure, family: str, subject: str, evidence: dict[str, list[str]]) -> list[str]:
    """Names of workloads, cards or pools whose lines are compared; [] where nobody said."""
    if measure.of == "pool":
        return [subject] if family == "pool" else []
    return list(evidence.get(_NAMES[measure.of], ()))


def _measure(
    cursor: duckdb.DuckDBPyConnection,
    measure: Measure,
    names: Sequence[str],
    currency: str,
    done: date,
    most_days: int,
) -> dict[str, Any] | None:
    """None: one of the windows is not known whole yet."""
    sql = statements("recommendations")
    span = {"first": done - timedelta(days=most_days), "last": done + timedelta(days=most_days)}
    known = {row[0] for row in cursor.execute(sql["known_days"], span).fetchall()}
    days = 0
    while days < most_days and done - timedelta(days=days + 1) in known:
        days += 1
    after = done + timedelta(days=1)
    if not days or any(after + timedelta(days=n) not in known for n in range(days)):
        return None
    before = done - timedelta(days=days)

    def cost(states: Sequence[str], first: date) -> tuple[int, int]:
        asked = {
            "first": first,
            "past": first + timedelta(days=days),
            "states": list(states),
            "names": list(names),
            "currency": currency,
        }
        ((atoms, unpriced),) = cursor.execute(sql[f"cost_of_{measure.of}"], asked).fetchall()
        return int(atoms), int(unpriced)

    costs = [cost(measure.states, first) for first in (before, after)]
    lost = (
        [cost((UNKNOWN,), first)[0] for first in (before, after)] if UNKNOWN not in measure.states else [0, 0]
    )
    more_lost = max(0, min(lost[1] - lost[0], costs[0][0] - costs[1][0]))
    left_out = sum(unpriced for _, unpriced in costs)
    return {
        "days": days,
        "before": before,
        "after": after,
        "before_atoms": costs[0][0],
        "after_atoms": costs[1][0] + more_lost,
        "saved": costs[0][0] - costs[1][0] - more_lost,
        "method": f"cost of its {measure.of} in {', '.join(measure.states)}: {days} days from {before} less "
        f"{days} days from {after}, at the lines' own prices"
        + ("; time afterwards of which nobody knows is not saved" if more_lost else "")
        + (f"; {hours_exact(left_out, 2)} card-hours without a price are in neither" if left_out else ""),
    }
