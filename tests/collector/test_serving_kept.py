"""Requests kept: hours that are published with their day, and five minutes that go before them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import duckdb
from tests.collector.fleet_world import DAY, us
from tests.collector.serving_world import NOON, POD, ServingStore

from ullage_collector.config import Store as StoreSettings
from ullage_collector.publish.files import publish_facts_day
from ullage_collector.published import Published
from ullage_collector.serving.book import keep
from ullage_collector.sql import migrations
from ullage_collector.store.retention import Retention
from ullage_contract.served import Served


def test_hours_are_published_with_their_day_and_late_ones_make_it_due_again(
    served: ServingStore, tmp_path: Path
) -> None:
    served.prometheus.vllm("chat-0", lambda at: at // 60)
    served.rounds(1)
    assert served.rows("SELECT * FROM touched_day") == [], "today is not published yet"
    served.clock.advance(86_400)
    late = [Served("k8s/dc1/web/chat-0", "t", "vllm", "s", "requests", NOON + n * 60, n) for n in range(4)]
    with served.store.write() as cursor:
        keep(cursor, late, source="otlp", now_us=round(served.clock.wall() * 1e6))
    assert served.rows("SELECT day FROM touched_day") == [(DAY.date(),)]
    cursor = served.store.cursor()
    now = datetime.fromtimestamp(served.clock.wall(), UTC)
    publish_facts_day(cursor, tmp_path / "p", DAY.date(), status="provisional", now=now)
    cursor.close()
    with Published(tmp_path / "p").open(DAY, now) as facts:
        rows = facts.rows(
            "SELECT workload_id, hour_us, requests, prompt_tokens, generated_tokens, covered_seconds FROM serving"
        )
    assert rows == [(POD, us(11), 59, 590, 5900, 59 * 60.0), (POD, us(12), 3, None, None, 180.0)]


def test_five_minutes_go_with_the_minutes_and_hours_stay(served: ServingStore) -> None:
    served.prometheus.vllm("chat-0", lambda at: at // 60)
    served.rounds(1)
    retention = Retention(served.store, StoreSettings(threads=1))
    day = served.clock.wall()
    retention.step(datetime.fromtimestamp(day + 34 * 86_400, UTC))
    assert served.rows("SELECT count(*) > 0 FROM serving") == [(True,)]
    assert served.rows("SELECT count(*) FROM serving_series") == [(0,)]
    retention.step(datetime.fromtimestamp(day + 36 * 86_400, UTC))
    assert served.rows("SELECT count(*) FROM serving") == [(0,)]
    assert served.rows("SELECT count(*) > 0 FROM serving_hour") == [(True,)]
    retention.step(datetime.fromtimestamp(day + 801 * 86_400, UTC))
    assert served.rows("SELECT count(*) FROM serving_hour") == [(0,)]


def test_a_store_that_kept_requests_with_an_index_keeps_them_without_it() -> None:
    database = duckdb.connect()
    plain = next(version for version, file, _ in migrations() if file.endswith("serving_plain.sql"))
    for version, _, text in migrations():
        if version == plain:
            database.execute(
                "INSERT INTO serving VALUES (1, 's/vllm', 't', '2026-10-07', 5, NULL, 7, 1, NULL, 300000000, 0)"
            )
            database.execute(
                "INSERT INTO serving_hour VALUES (1, '2026-10-07', 's/vllm', 5, NULL, 7, 1, NULL, 1, 300)"
            )
        database.execute(text)
    assert database.execute("SELECT requests, prompt_tokens, covered_us FROM serving").fetchall() == [
        (5, None, 300_000_000)
    ]
    assert database.execute("SELECT requests, covered_seconds FROM serving_hour").fetchall() == [(5, 300)]
    assert database.execute(
        "SELECT count(*) FROM duckdb_constraints() WHERE table_name IN ('serving', 'serving_hour') AND constraint_type LIKE 'PRIMARY%'"
    ).fetchall() == [(0,)]
