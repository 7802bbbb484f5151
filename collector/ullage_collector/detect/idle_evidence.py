"""What a person can check by hand of a quiet gang: the greatest of each signal over all its cards since it fell quiet.

Not here: when it fell quiet (idle.py), and the rest of the evidence (idle_finding.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from ullage_collector.sql import fill, statements

if TYPE_CHECKING:
    import duckdb

    from ullage_collector.states import Signal

Places = Sequence[tuple[int | None, int | None]]
"""(key of a card or slice, key of a node) of each thing a gang holds; None: not known."""


def at_most(
    cursor: duckdb.DuckDBPyConnection,
    signals: Sequence[Signal],
    since_us: Mapping[str, int],
    places: Mapping[str, Places],
    through_us: int,
) -> dict[str, dict[str, float]]:
    """By gang and signal. signals: what makes a minute active. since_us: from when, by gang, as far back as minutes are read."""
    rows = [
        (name, key, since) for name, since in since_us.items() for key, _ in places[name] if key is not None
    ]
    views = {row[0] for row in cursor.execute(statements("states")["views"]).fetchall()}
    if not rows or not views:
        return {}
    names, keys, since = zip(*rows, strict=True)
    cursor.register(
        "idle_since",
        pa.table({"gang": names, "subject_key": pa.array(keys, type=pa.int32()), "from_us": since}),
    )
    found: dict[str, dict[str, float]] = defaultdict(dict)
    try:
        for view in sorted(views):
            _add(cursor, signals, view, min(since), through_us, found)
    finally:
        cursor.unregister("idle_since")
    return found


def _add(
    cursor: duckdb.DuckDBPyConnection,
    signals: Sequence[Signal],
    view: str,
    from_us: int,
    through_us: int,
    found: dict[str, dict[str, float]],
) -> None:
    described = cursor.execute(fill(statements("states")["columns"], source=view)).fetchall()
    columns = {row[0] for row in described}
    wanted: dict[str, str] = {}
    for signal in signals:
        name = f"{signal.key}_{'max' if signal.kind == 'level' else 'increase'}"
        if name in columns and signal.kind == "level":
            wanted[signal.key] = f'max(m."{name}")'
        elif name in columns:
            wanted[f"{signal.key}_per_second"] = f'max(m."{name}" / greatest(m.covered_seconds, 1))'
    if "power_watts_max" in columns:
        wanted["power_watts"] = "max(m.power_watts_max)"
    if not wanted:
        return
    statement = fill(
        statements("idle")["at_most"],
        columns=", ".join(wanted.values()),
        source=view,
        subject="slice_key" if view == "slice_minute" else "card_key",
        from_us=str(from_us),
        to_us=str(through_us),
    )
    for name, *values in cursor.execute(statement).fetchall():
        for key, value in zip(wanted, values, strict=True):
            if value is not None:
                found[name][key] = max(float(value), found[name].get(key, 0.0))
