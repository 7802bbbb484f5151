"""What the store knows of cards that one job held alone for days: what their minutes say, and which models the fleet has.

Cards that are shared, cut or held for less than the window are not judged. Cards whose hours already show that they are busy are not
read minute by minute. Not here: the figures (need.py) and the judgement (finding.py).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from ullage_collector.detect.sizing.finding import Worked, serves
from ullage_collector.detect.sizing.fit import Owned
from ullage_collector.detect.sizing.need import UNKNOWN, Need, figure, spare
from ullage_collector.detect.sizing.settings import Rules
from ullage_collector.detect.stragglers.reading import Jobs, Wanted, asked, source_columns
from ullage_collector.prices import PriceBook
from ullage_collector.sql import fill, statements
from ullage_collector.store.store import naive_utc

if TYPE_CHECKING:
    import duckdb

MINUTE_US: Final = 60_000_000
MINUTES_A_DAY: Final = 1440
CANNOT: Final = {"bandwidth": "memory_bandwidth_ratio", "power": "power_watts"}
"""What a card may say it cannot give, and the figure that goes without."""
MINUTES, HOURS = "card_minute", "card_hour"


def worked_of(cursor: duckdb.DuckDBPyConnection, jobs: Jobs, rules: Rules, through_us: int) -> list[Worked]:
    """Jobs that held whole cards alone over all of their window up to ``through_us``; those whose hours prove them busy are
    left out, those of which too little is known have needs of which nothing is. Raises what the store raises."""
    known = {row: (key, begun) for row, key, _, _, begun in jobs.cards.rows}
    found: list[Worked] = []
    for serving in (False, True):
        days = rules.serving_days if serving else rules.days
        from_us = through_us - days * MINUTES_A_DAY * MINUTE_US
        rows_of: dict[int, list[int]] = {}
        for row, gang in enumerate(jobs.gang_of):
            rows_of.setdefault(gang, []).append(row)
        mine = {
            gang: rows
            for gang, rows in rows_of.items()
            if serves(jobs.gangs[gang], rules) is serving
            and all(row in known and known[row][1] <= from_us for row in rows)
        }
        wanted = [(row, known[row][0], gang, "", from_us) for gang, rows in mine.items() for row in rows]
        needs, busy = _needs(cursor, Wanted(wanted), rules, serving, from_us, through_us)
        for gang, rows in mine.items():
            some = [needs.get(row) for row in rows]
            made = {one[0] for one in some if one is not None}
            listed = {jobs.held[row].model for row in rows}
            if not busy.isdisjoint(rows) or len(made) > 1 or len(listed) != 1 or None in listed:
                continue
            vendor, model = made.pop() if made else ("", "")
            all_of = tuple(UNKNOWN if one is None else one[1] for one in some)
            owner = jobs.gangs[gang]
            found.append(
                Worked(
                    owner, all_of, vendor, model or owner.held[0].model or "", from_us, days * MINUTES_A_DAY
                )
            )
    return found


def _needs(
    cursor: duckdb.DuckDBPyConnection,
    wanted: Wanted,
    rules: Rules,
    serving: bool,
    from_us: int,
    to_us: int,
) -> tuple[dict[int, tuple[tuple[str, str | None], Need]], set[int]]:
    """(row -> ((maker, model as the card calls it), what it needs), rows that are busy)."""
    if not wanted.rows:
        return {}, set()
    minutes = (to_us - from_us) // MINUTE_US
    names = source_columns(cursor, MINUTES)
    suffix = "_max" if serving else ""
    quantile = rules.serving_quantile if serving else rules.quantile
    busy = _busy(cursor, wanted, rules, quantile, from_us, to_us)
    some = Wanted([row for row in wanted.rows if row[0] not in busy])
    if not some.rows:
        return {}, busy
    activity = _activity(names, suffix)
    kept, kept_memory = spare(minutes, quantile) + 1, spare(minutes, rules.memory_quantile) + 1
    with asked(cursor, some):
        rows = cursor.execute(
            fill(
                statements("sizing")["needs"],
                activity=activity,
                bandwidth=_column(names, f"memory_bandwidth_ratio{suffix}"),
                memory=_column(names, "memory_used_bytes_max"),
                watts=_column(names, f"power_watts{suffix}"),
                limit=_column(names, "power_limit_watts"),
                total=_column(names, "memory_total_bytes"),
                active=repr(rules.active),
                kept=str(kept),
                kept_memory=str(kept_memory),
                from_us=str(from_us),
                to_us=str(to_us),
                source=MINUTES,
            )
        ).fetchall()
    return {
        row: ((vendor, model), _need(rest, minutes, quantile, rules)) for row, vendor, model, *rest in rows
    }, busy


def _need(row: Sequence[Any], minutes: int, quantile: float, rules: Rules) -> Need:
    (unsupported, active, total, limit, n_act, act, n_band, band, n_mem, mem, n_watt, watt) = row
    cannot = set(json.loads(unsupported)) if unsupported else set()
    assumed = tuple(name for name, key in CANNOT.items() if key in cannot)
    activity = figure(act, n_act, minutes, quantile)
    memory = figure(mem, n_mem, minutes, rules.memory_quantile)
    return Need(
        activity=activity,
        bandwidth=activity if "bandwidth" in assumed else figure(band, n_band, minutes, quantile),
        memory_bytes=None if memory is None else int(memory),
        watts=figure(watt, n_watt, minutes, quantile),
        active_minutes=int(active or 0),
        total_bytes=None if not total else int(total),
        limit_watts=None if not limit else float(limit),
        assumed=assumed,
    )


def _busy(
    cursor: duckdb.DuckDBPyConnection,
    wanted: Wanted,
    rules: Rules,
    quantile: float,
    from_us: int,
    to_us: int,
) -> set[int]:
    """Rows whose hours prove that more minutes lie above every limit than may: an hour's mean cannot be had otherwise.

    Of an hour with mean m at least (m - limit) / (1 - limit) lies above the limit.
    """
    limit = max(rules.oversized.activity, rules.share.single)
    if limit >= 1 or "sm_active_ratio" not in source_columns(cursor, HOURS):
        return set()
    minutes = (to_us - from_us) // MINUTE_US
    with asked(cursor, wanted):
        rows = cursor.execute(
            fill(
                statements("sizing")["busy"],
                source=HOURS,
                limit=repr(limit),
                from_us=str(from_us),
                to_us=str(to_us),
                spare=str(spare(minutes, quantile) + 1),
            )
        ).fetchall()
    return {int(row) for (row,) in rows}


def _activity(names: set[str], suffix: str) -> str:
    """Compute units or tensor units, whichever is more; where the compute units are not measured, what the maker calls busy."""
    units = [
        f'm."{key}{suffix}"'
        for key in ("sm_active_ratio", "tensor_active_ratio")
        if f"{key}{suffix}" in names
    ]
    busy = _column(names, f"utilization_ratio{suffix}")
    sm = f"sm_active_ratio{suffix}"
    if sm not in names:
        return busy
    return f'CASE WHEN m."{sm}" IS NULL THEN {busy} ELSE greatest({", ".join(units)}) END'


def _column(names: set[str], name: str) -> str:
    return f'm."{name}"' if name in names else "NULL::DOUBLE"


def owned_models(cursor: duckdb.DuckDBPyConnection, prices: PriceBook, now_us: int) -> list[Owned]:
    """Models the fleet owns now, with the price of one where a pool has one: the lowest."""
    found = []
    for vendor, model, made, pools, total in cursor.execute(
        statements("sizing")["models"], {"now": naive_utc(now_us / 1e6)}
    ).fetchall():
        known = [price for pool in pools if (price := prices.at(model, pool or None, now_us)) is not None]
        best = min(known, key=lambda price: (price.price_micro, price.currency), default=None)
        found.append(
            Owned(
                vendor,
                model,
                None if not total else int(total),
                None if best is None else best.price_micro,
                None if best is None else best.currency,
                made,
            )
        )
    return found
