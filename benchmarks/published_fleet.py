"""Published days of a made-up fleet, written as Parquet directly: what a statement of ten thousand cards is measured on.

Not a model of how lines come about (states.py does that): only their number, their widths and how values repeat are like
those of a real fleet. Jobs of a whole node last about 36 hours, jobs of a card about 14; a card is held four hours of five, three
lines of ten are cut within the hour, one card in 25 is shared by two. Cards are of five makers and every line is labelled simulated.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import duckdb

from ullage_collector.published import DIMENSIONS, Published
from ullage_collector.revision import write_revision
from ullage_collector.sql import statements

CARDS_A_NODE: Final = 8
_MODELS: Final = """(VALUES (0, 'nvidia', 'NVIDIA H800', 20123456), (1, 'nvidia', 'NVIDIA H20', 9750000),
    (2, 'ascend', 'Ascend 910B3', 7250000), (3, 'cambricon', 'MLU590-M9', 5333333), (4, 'hygon', 'DCU K100-AI', 4100000))
    m(place, vendor, model, price_micro)"""

_CARDS: Final = f"""
CREATE TABLE fleet AS
SELECT i AS number, 'GPU-' || md5(i::VARCHAR)[:8] || '-' || lpad(i::VARCHAR, 6, '0') AS card_id, i // {CARDS_A_NODE} AS node,
       'gpu-' || lpad((i // {CARDS_A_NODE})::VARCHAR, 5, '0') AS node_id, 'dc' || (1 + i // {CARDS_A_NODE} % 3) AS cluster_id, m.vendor,
       m.model, m.price_micro, 1 + m.place AS price_id,
       ['main', 'main', 'serving'][1 + i // {CARDS_A_NODE} % 3] AS pool
FROM range($cards) t(i) JOIN {_MODELS} ON m.place = i // {CARDS_A_NODE} % 5;
"""

# A slot of a card is a stretch of one holder. Whole nodes (two in three) are held for 36 hours, single cards for 14.
_LINES: Final = """
WITH hours AS (
    SELECT f.*, ($midnight + h * 3600000000)::BIGINT AS hour_us, $number * 24 + h AS n, f.node % 3 < 2 AS whole
    FROM fleet f, range(24) t(h)
), slots AS (
    SELECT *, CASE WHEN whole THEN (n + node * 7) // 36 ELSE (n + number * 5) // 14 END AS slot,
           CASE WHEN whole THEN node ELSE 1000000 + number END AS holder
    FROM hours
), drawn AS (
    SELECT *, hash(holder * 1000003 + slot) AS job, hash(number * 100003 + n) AS dice FROM slots
), worded AS (
    SELECT *, job % 100 < 80 AS held, NOT whole AND number % 8 = 3 AS shared,
           'slurm/' || cluster_id || '/' || (100000 + holder % 1000000 * 60 + slot) AS workload_id,
           CASE WHEN job % 50 = 49 THEN '__unallocated__' ELSE 'division' || (job // 100 % 6) || '/team' || (job // 100 % 60) END AS department_id,
           CASE WHEN whole THEN 'training' WHEN job % 3 = 0 THEN 'development' ELSE 'inference' END AS scenario,
           'product' || (job // 1000 % 20) AS business,
           CASE WHEN dice % 1000 < 3 THEN 'faulty' WHEN dice % 1000 < 5 THEN 'isolated' END AS out_of_order,
           (CASE WHEN dice % 10 < 3 THEN 1 + dice // 10 % 59 ELSE 0 END)::BIGINT AS cut
    FROM drawn
), parts AS (
    SELECT *, part, CASE WHEN part = 0 THEN hour_us ELSE hour_us + cut * 60000000 END AS from_us,
           CASE WHEN part = 0 AND cut > 0 THEN hour_us + cut * 60000000 ELSE hour_us + 3600000000 END AS to_us
    FROM (SELECT *, unnest(CASE WHEN cut = 0 THEN [0] ELSE [0, 1] END) AS part FROM worded)
), shares AS (
    SELECT *, share, CASE WHEN share = 1 THEN 500000000 WHEN shared AND held AND out_of_order IS NULL THEN 500000000 ELSE 1000000000 END
        AS share_nano
    FROM (SELECT *, unnest(CASE WHEN shared AND held AND out_of_order IS NULL THEN [0, 1] ELSE [0] END) AS share FROM parts)
), states AS (
    SELECT *, CASE WHEN out_of_order IS NOT NULL THEN out_of_order WHEN NOT held THEN 'unallocated_idle' WHEN share = 1 THEN 'fragmented'
                   WHEN dice % 200 = 7 THEN 'unknown' WHEN (dice // 7 + part) % 6 = 0 THEN 'allocated_idle' ELSE 'used' END AS state
    FROM shares
), payers AS (SELECT *, state IN ('used', 'allocated_idle', 'unknown') AS pays FROM states)
SELECT card_id || '@' || from_us || '#' || (1 + share) AS line_id, card_id, node_id, cluster_id, vendor, model, card_id AS board_id,
       pool, from_us, to_us, state, share_nano::BIGINT AS share_nano, CASE WHEN pays THEN workload_id END AS workload_id,
       CASE WHEN pays THEN department_id ELSE 'platform' END AS department_id, CASE WHEN pays THEN business END AS business,
       CASE WHEN pays THEN scenario END AS scenario, 'CNY' AS currency, price_micro::BIGINT AS price_micro, price_id::BIGINT AS price_id,
       ((to_us - from_us)::HUGEINT * share_nano * price_micro)::DECIMAL(38, 0) AS cost_atoms, 'simulated' AS origin,
       CASE WHEN state = 'unknown' THEN 'no_telemetry' END AS reason,
       concat_ws(' ', 'inventory=' || number, CASE WHEN pays THEN 'allocation=' || (holder * 60 + slot) || ' rule=' || (job // 100 % 60) END,
                 'price=' || price_id, CASE WHEN out_of_order IS NOT NULL THEN 'incident=' || (1 + dice % 40) END) AS source_rows
FROM payers ORDER BY card_id, from_us, line_id
"""

_COVERAGE: Final = """
SELECT card_id, any_value(node_id) AS node_id, any_value(cluster_id) AS cluster_id, from_us // 3600000000 * 3600000000 AS hour_us,
       sum((to_us - from_us) * share_nano)::BIGINT AS owned_quantity,
       sum((to_us - from_us) * share_nano) FILTER (state IN ('used', 'allocated_idle', 'unknown'))::BIGINT AS held_quantity,
       sum((to_us - from_us) * share_nano) FILTER (state IN ('used', 'allocated_idle'))::BIGINT AS known_quantity,
       3600::DOUBLE AS telemetry_seconds
FROM lines GROUP BY card_id, from_us // 3600000000 ORDER BY card_id, hour_us
"""

# Of every held hour: matrix units are told by NVIDIA and Ascend cards, the others tell compute units alone.
_ACTIVITY: Final = """
SELECT card_id, workload_id, any_value(vendor) AS vendor, any_value(model) AS model, from_us // 3600000000 * 3600000000 AS hour_us,
       sum((to_us - from_us) * share_nano) / 1e15 AS covered_seconds,
       sum((to_us - from_us) * share_nano) FILTER (vendor IN ('nvidia', 'ascend')) / 1e15 AS tensor_seconds,
       sum((to_us - from_us) * share_nano * 0.25) FILTER (vendor IN ('nvidia', 'ascend') AND state = 'used') / 1e15 AS tensor_active_seconds,
       sum((to_us - from_us) * share_nano) / 1e15 AS sm_seconds,
       sum((to_us - from_us) * share_nano * 0.5) FILTER (state = 'used') / 1e15 AS sm_active_seconds
FROM lines WHERE state IN ('used', 'allocated_idle')
GROUP BY card_id, workload_id, from_us // 3600000000 ORDER BY card_id, hour_us, workload_id
"""

_SUMS: Final = """
SELECT state, currency, sum((to_us - from_us)::HUGEINT * share_nano)::VARCHAR, sum(cost_atoms)::VARCHAR, count(*)
FROM lines GROUP BY ALL ORDER BY ALL
"""

_DIMENSIONS: Final = {
    "card": "SELECT card_id, node_id, cluster_id, vendor, model, 'S' || number AS serial, card_id AS board_id, "
    "(80::UBIGINT << 30)::UBIGINT AS memory_total_bytes, TIMESTAMP '2026-01-01' AS first_seen, TIMESTAMP '2026-11-01' AS last_seen, "
    "'simulated' AS origin, pool, 'in_service' AS life, true AS listed FROM fleet ORDER BY card_id",
    "node": "SELECT DISTINCT node_id, cluster_id, NULL::VARCHAR AS machine_id, TIMESTAMP '2026-01-01' AS first_seen, "
    "TIMESTAMP '2026-11-01' AS last_seen, false AS clock_wrong, 'simulated' AS origin FROM fleet ORDER BY cluster_id, node_id",
    "workload": "SELECT workload_id, 'slurm_job' AS kind, cluster_id, 'job ' || workload_id AS name, 'user' || hash(workload_id) % 300 "
    "AS user_name, department_id AS namespace, NULL::VARCHAR AS partition, '{}' AS labels, scenario, 'simulated' AS origin "
    "FROM held ORDER BY workload_id",
    "department": "SELECT * FROM (SELECT 'division' || d AS department_id, 'Division ' || d AS name, NULL::VARCHAR AS parent_id "
    "FROM range(6) t(d) UNION ALL SELECT 'division' || t % 6 || '/team' || t, '团队 ' || t, 'division' || t % 6 FROM range(60) t(t)), "
    "(SELECT NULL::VARCHAR AS owner, NULL::VARCHAR AS cost_center, TIMESTAMP '2026-01-01' AS valid_from, NULL::TIMESTAMP AS valid_to, "
    "TIMESTAMP '2026-01-01' AS known_from, NULL::TIMESTAMP AS known_to, NULL::VARCHAR AS deputy, NULL::VARCHAR AS source_key, "
    "'benchmark' AS source) ORDER BY department_id",
    "price": f"SELECT 1 + place AS price_id, model, NULL::VARCHAR AS pool, 'CNY' AS currency, price_micro::BIGINT AS price_micro, false AS assumed, "
    "TIMESTAMP '2026-01-01' AS valid_from, NULL::TIMESTAMP AS valid_to, TIMESTAMP '2026-01-01' AS known_from, "
    f"NULL::TIMESTAMP AS known_to, 'benchmark' AS source FROM {_MODELS} ORDER BY price_id",
}


def publish(root: Path, first: date, days: int, cards: int, now: datetime) -> int:
    """Write ``days`` published UTC days from ``first`` on, and the dimensions, below ``root``; how many lines there are.

    now: when they are said to be published. The same arguments give the same bytes.
    """
    db = duckdb.connect(":memory:", config={"threads": 2, "memory_limit": "2GB"})
    db.execute(_CARDS, {"cards": cards})
    db.execute(
        "CREATE TABLE held (workload_id VARCHAR PRIMARY KEY, cluster_id VARCHAR, department_id VARCHAR, scenario VARCHAR)"
    )
    total = 0
    for number in range(days):
        day = first + timedelta(days=number)
        midnight = (day - date(1970, 1, 1)).days * 86_400_000_000
        db.execute(
            f"CREATE OR REPLACE TEMP TABLE lines AS {_LINES}", {"midnight": midnight, "number": number}
        )
        db.execute(
            "INSERT OR IGNORE INTO held SELECT DISTINCT ON (workload_id) workload_id, cluster_id, department_id, scenario FROM lines "
            "WHERE workload_id IS NOT NULL ORDER BY workload_id"
        )
        sums = db.execute(_SUMS).fetchall()
        rows = sum(row[4] for row in sums)
        total += rows

        def write(folder: Path, sums: list[Any] = sums, rows: int = rows) -> Mapping[str, Any]:
            _copy(db, "SELECT * FROM lines", folder / "segments.parquet")
            _copy(db, _COVERAGE, folder / "coverage.parquet")
            _copy(db, _ACTIVITY, folder / "activity.parquet")
            return {
                "states_revision": 1,
                "rows": rows,
                "origins": ["simulated"],
                "sums": [{"state": s, "currency": c, "quantity": q, "atoms": a} for s, c, q, a, _ in sums],
            }

        write_revision(
            root / "facts" / f"day={day}", what="facts", day=day, status="sealed", now=now, write=write
        )

    def dimensions(folder: Path) -> Mapping[str, Any]:
        for name in DIMENSIONS:
            if name not in _DIMENSIONS:
                db.execute(statements("published")[f"empty_{name}"])
            _copy(db, _DIMENSIONS.get(name, f'SELECT * FROM "{name}"'), folder / f"{name}.parquet")
        return {}

    write_revision(
        root / "dimensions", what="dimensions", day=None, status="sealed", now=now, write=dimensions
    )
    db.close()
    assert Published(root).dimensions() is not None
    return total


def _copy(db: duckdb.DuckDBPyConnection, query: str, path: Path) -> None:
    db.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet, COMPRESSION zstd)")
