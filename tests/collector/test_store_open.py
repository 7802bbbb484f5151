"""The store opens what it made, widens what it has, and refuses what it does not know."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from pathlib import Path

import duckdb
import pytest
from tests.collector.fleet_fixture import NOON, Fleet, card_sample

from ullage_collector.sql import fill, migrations
from ullage_collector.store import store as store_module
from ullage_collector.store.columns import KINDS, Grain, fixed_columns, kind, metric_columns
from ullage_collector.store.store import Store
from ullage_contract import catalogue
from ullage_contract.clock import ManualClock
from ullage_contract.errors import StoreError
from ullage_contract.sample import Family


def test_an_open_store_has_every_view_with_every_metric(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store.duckdb")
    for each in KINDS:
        described = store.reader().execute(f"DESCRIBE {each.name}").fetchall()
        expected = [c.name for c in fixed_columns(each)] + list(metric_columns(each))
        assert [row[0] for row in described] == expected
        types = {c.name: c.type for c in (*fixed_columns(each), *metric_columns(each).values())}
        assert {row[0]: row[1] for row in described} == types
    store.close()


def test_every_catalogue_metric_has_a_raw_column() -> None:
    for family in Family:
        assert list(metric_columns(kind(family, Grain.SAMPLE))) == list(catalogue.keys(family))


def test_a_store_of_a_newer_version_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "store.duckdb"
    store = Store.open(path)
    with store.write() as cursor:
        cursor.execute("INSERT INTO schema_version VALUES (99, '0099_lake.sql', now()::TIMESTAMP)")
    store.close()
    with pytest.raises(StoreError, match=r"store version 99 \(0099_lake.sql\).*knows"):
        Store.open(path)


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "theirs.duckdb"
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{path}' AS theirs (STORAGE_VERSION 'v1.5.0')")
        connection.execute("CREATE TABLE theirs.accounts (id INTEGER)")
    with pytest.raises(StoreError, match="another program"):
        Store.open(path)


def test_a_torn_file_is_told_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "store.duckdb"
    path.write_bytes(b"no database at all" * 1000)
    with pytest.raises(StoreError, match=r"store\.duckdb"):
        Store.open(path)
    assert path.read_bytes().startswith(b"no database")


def test_migrations_run_once_and_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "store.duckdb"
    Store.open(path).close()
    later = [*migrations(), (len(migrations()) + 1, "9999_later.sql", "CREATE TABLE later (a INTEGER)")]
    monkeypatch.setattr(store_module, "migrations", lambda: later)
    for _ in range(2):
        store = Store.open(path)
        versions = store.reader().execute("SELECT version FROM schema_version ORDER BY 1").fetchall()
        assert [v for (v,) in versions] == list(range(1, len(later) + 1))
        store.close()


def test_a_failed_migration_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "store.duckdb"
    Store.open(path).close()
    broken = [
        *migrations(),
        (len(migrations()) + 1, "9999_broken.sql", "CREATE TABLE half (a INTEGER); SELECT nope"),
    ]
    monkeypatch.setattr(store_module, "migrations", lambda: broken)
    with pytest.raises(StoreError, match=r"9999_broken\.sql"):
        Store.open(path)
    monkeypatch.undo()
    store = Store.open(path)
    assert "half" not in {
        r[0] for r in store.reader().execute("SELECT table_name FROM duckdb_tables()").fetchall()
    }
    store.close()


def test_a_second_process_is_refused_while_the_first_serves(tmp_path: Path) -> None:
    path = tmp_path / "store.duckdb"
    store = Store.open(path)
    code = (
        "import sys; from pathlib import Path\n"
        "from ullage_collector.store.store import Store\n"
        "from ullage_contract.errors import StoreError\n"
        "try: Store.open(Path(sys.argv[1]))\n"
        "except StoreError as e: print(e); sys.exit(7)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 7, done.stderr
    assert "another process" in done.stdout
    store.close()


def test_a_metric_becomes_a_column_when_it_first_comes(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    fleet.push([card_sample("GPU-1", NOON, {"power_watts": 300.0})])
    fleet.writer.drain()
    table = fleet.store.days.table(kind(Family.CARD, Grain.SAMPLE), date(2026, 10, 21))
    assert table is not None
    assert table.columns == {"power_watts"}
    fleet.push([card_sample("GPU-1", NOON + 10, {"power_watts": 301.0, "fan_ratio": 0.5})])
    fleet.reopen()
    fleet.writer.drain()
    assert fleet.rows("SELECT power_watts, fan_ratio FROM card_sample ORDER BY time") == [
        (300.0, None),
        (301.0, 0.5),
    ]
    assert fleet.one("SELECT count(voltage_volts) FROM card_sample") == 0  # never came, still in the view
    fleet.close()


def test_a_rolled_back_day_table_is_forgotten(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store.duckdb")
    samples = kind(Family.CARD, Grain.SAMPLE)
    with pytest.raises(RuntimeError), store.write() as cursor:
        store.days.ensure(cursor, samples, date(2026, 1, 1), ["power_watts"])
        raise RuntimeError
    assert store.days.table(samples, date(2026, 1, 1)) is None
    with store.write() as cursor:
        store.days.ensure(cursor, samples, date(2026, 1, 1), ["power_watts"])
    assert store.reader().execute("SELECT count(*) FROM card_sample").fetchone() == (0,)
    store.close()


def test_a_write_inside_a_write_is_a_bug_not_a_deadlock(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store.duckdb")
    with store.write(), pytest.raises(StoreError, match="BUG"), store.write():
        pass
    store.close()


def test_retention_drops_whole_days_of_telemetry_alone(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, ManualClock(wall=NOON + 3 * 86_400))
    for back in range(4):
        fleet.push([card_sample("GPU-1", NOON + back * 86_400, {"power_watts": float(back)})])
    fleet.writer.drain()
    samples = kind(Family.CARD, Grain.SAMPLE)
    with fleet.store.write() as cursor:
        gone = fleet.store.days.drop_before(cursor, samples, date(2026, 10, 23))
    assert gone == [date(2026, 10, 21), date(2026, 10, 22)]
    assert fleet.rows("SELECT power_watts FROM card_sample ORDER BY 1") == [(2.0,), (3.0,)]
    assert fleet.one("SELECT count(*) FROM card") == 1
    fleet.close()


def test_a_source_reads_only_the_days_it_needs(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, ManualClock(wall=NOON + 86_400))
    for back in range(2):
        fleet.push([card_sample("GPU-1", NOON + back * 86_400, {"power_watts": float(back)})])
    fleet.writer.drain()
    source = fleet.store.days.source(
        kind(Family.CARD, Grain.SAMPLE),
        round(NOON * 1e6),
        round((NOON + 60) * 1e6),
        ["power_watts", "fan_ratio"],
    )
    assert "20261021" in source
    assert "20261022" not in source
    assert fleet.rows(f"SELECT power_watts, fan_ratio FROM ({source})") == [(0.0, None)]
    fleet.close()


def test_a_place_without_a_text_is_a_bug() -> None:
    with pytest.raises(ValueError, match="BUG"):
        fill("SELECT {a}", b="x")


def test_a_store_of_before_isolations_said_where_they_are_is_widened_with_what_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Version 9: two clusters have a node x; the intent says which of them is isolated, and of the incident nothing does."""
    path = tmp_path / "store.duckdb"
    monkeypatch.setattr(store_module, "migrations", lambda: migrations()[:9])
    store = Store.open(path)
    with store.write() as cursor:
        cursor.execute(
            "INSERT INTO node (node_key, cluster_id, node_id, origin) "
            "VALUES (1, 'a', 'x', 'real'), (2, 'b', 'x', 'real'), (3, 'a', 'y', 'real')"
        )
        for number, subject in enumerate(("x", "y", "x"), 1):
            cursor.execute(
                "INSERT INTO isolation (isolation_id, family, subject, reason, actuator, requested_by, isolated_at, "
                "placed, undo) VALUES (?, 'node', ?, 'r', 'slurm-node', 'ada', '2026-11-01', '{}', '[]')",
                [number, subject],
            )
            cursor.execute(
                "INSERT INTO incident (incident_id, family, subject, cause, severity, onset, opened_at, confirmed, "
                "action, evidence, history, origin) VALUES (?, 'node', ?, 'xid', 'fatal', '2026-11-01', "
                "'2026-11-01', true, 'isolate_node', '[]', false, 'real')",
                [number, subject],
            )
        cursor.execute(
            "INSERT INTO isolation_intent (intent_id, state, mode, family, subject, cluster_id, node_id, rule, action, "
            "follow, drain, incident_id, reason, requested_by, whole_node, isolation_id, domains, evidence, attempts, "
            "placed_again, decided_at, changed_at) VALUES (1, 'isolated', 'automatic', 'node', 'x', 'b', 'x', 'xid', "
            "'isolate_node', 'none', 'finish', 1, 'r', 'rule xid', true, 1, '{}', '{}', 0, 0, '2026-11-01', '2026-11-01')"
        )
        cursor.execute(
            'INSERT INTO fault_state (rule, family, "scope", subject, cluster_id, node_id, watched, base, state) '
            "VALUES ('xid', 'node', 'b', 'x', 'b', 'x', false, false, '{}')"
        )
    store.close()
    monkeypatch.undo()
    for _ in range(2):
        store = Store.open(path)
        reader = store.reader()
        placed = reader.execute("SELECT cluster_id, node_id FROM isolation ORDER BY isolation_id").fetchall()
        assert placed == [("b", "x"), ("a", "y"), (None, None)]
        assert reader.execute("SELECT cluster_id FROM incident ORDER BY incident_id").fetchall() == [
            (None,),
            ("a",),
            (None,),
        ]
        assert reader.execute("SELECT count(*) FROM fault_state").fetchall() == [(1,)]
        store.close()
