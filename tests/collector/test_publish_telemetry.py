"""Published telemetry days: whole, verified, revised when late rows come, and never poorer than what was there."""

from __future__ import annotations

import shutil
import socket
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from tests.collector.fleet_fixture import NOON, Fleet, card_sample

from ullage_collector.config import Config
from ullage_collector.config import Store as StoreSettings
from ullage_collector.imports import map as maps
from ullage_collector.imports.door import import_file
from ullage_collector.publish import publisher, telemetry
from ullage_collector.published import Published
from ullage_collector.revision import Manifest, newest
from ullage_collector.store import backup
from ullage_collector.store.columns import Grain, kind
from ullage_collector.store.retention import Retention
from ullage_collector.store.store import Store
from ullage_contract.clock import ManualClock
from ullage_contract.errors import BadInput
from ullage_contract.sample import Family, Sample

DAY = date(2026, 10, 21)
NEXT = datetime(2026, 10, 22, 0, 30, tzinfo=UTC)


@pytest.fixture
def fleet(tmp_path: Path):
    fleet = Fleet(tmp_path)
    yield fleet
    fleet.close()


def push_hours(fleet: Fleet, first: float, hours: int, card: str = "GPU-1", stream: str = "a" * 32) -> None:
    for hour in range(hours):
        start = first + 3600 * hour
        fleet.push(
            [
                card_sample(
                    card, start + 60 * m, {"utilization_ratio": 0.5, "energy_joules": 60.0 * m}, interval=60
                )
                for m in range(60)
            ],
            at=start + 3600,
            stream=stream,
        )
    fleet.writer.drain()


def publish(fleet: Fleet, now: datetime) -> Manifest:
    fleet.rollup.catch_up(round(now.timestamp() * 1e6))
    return telemetry.publish_day(fleet.store, fleet.folder / "published", DAY, now=now)


def read(manifest: Manifest, name: str, what: str) -> list[tuple]:
    return duckdb.sql(f"SELECT {what} FROM read_parquet('{manifest.path(name)}')").fetchall()


def test_a_published_day_is_sorted_and_names_no_key_of_the_store(fleet: Fleet) -> None:
    push_hours(fleet, NOON, 2, "GPU-2")
    push_hours(fleet, NOON, 2, "GPU-1", "b" * 32)
    fleet.push([Sample(Family.NODE, "n1", NOON, 1.0, 60.0, {"load1": 3.0})])
    fleet.writer.drain()
    manifest = publish(fleet, NEXT)
    manifest.verify()
    assert manifest.revision == 1
    rows = read(manifest, "card_minute.parquet", "card_id, minute")
    assert rows == sorted(rows)
    assert len(rows) == 240
    columns = duckdb.sql(
        f"SELECT * FROM read_parquet('{manifest.path('card_minute.parquet')}') LIMIT 0"
    ).columns
    assert columns[:9] == [
        "minute",
        "card_id",
        "node_id",
        "cluster_id",
        "vendor",
        "model",
        "covered_seconds",
        "samples",
        "origin",
    ]
    assert not [c for c in columns if c.endswith("_key")]
    assert "power_watts" not in columns  # nobody gave it that day
    assert read(manifest, "card_hour.parquet", "count(*), sum(covered_seconds)") == [(4, 14_400.0)]
    assert read(manifest, "node_hour.parquet", "node_id, load1_max") == [("n1", 3.0)]
    assert manifest.facts["files"]["card_minute"]["rows"] == 240
    assert manifest.facts["files"]["card_minute"]["subjects"] == 2
    assert all(file.name != "port_hour.parquet" for file in manifest.files)


def test_the_same_day_again_is_the_same_revision(fleet: Fleet) -> None:
    push_hours(fleet, NOON, 1)
    first = publish(fleet, NEXT)
    assert publish(fleet, NEXT + timedelta(hours=1)).digest == first.digest


def test_late_rows_make_a_new_revision_and_readers_take_it(fleet: Fleet) -> None:
    push_hours(fleet, NOON, 1)
    fleet.clock.advance(13 * 3600)
    first = publish(fleet, NEXT)
    assert telemetry.due_days(fleet.store, through=DAY, now=NEXT) == []
    fleet.clock.advance(60)
    push_hours(fleet, NOON + 3600, 1)
    later = datetime.fromtimestamp(fleet.clock.wall(), UTC)
    assert telemetry.due_days(fleet.store, through=DAY, now=later) == [DAY]
    second = publish(fleet, later)
    assert second.revision == first.revision + 1
    last = newest(fleet.folder / "published" / "telemetry" / f"day={DAY}")
    assert last is not None
    assert last.revision == second.revision
    assert read(second, "card_minute.parquet", "count(*)") == [(120,)]
    first.verify()  # the old one stands as it was


def test_a_day_is_sealed_when_every_stream_has_passed_it(fleet: Fleet) -> None:
    push_hours(fleet, NOON, 1)
    push_hours(fleet, NOON, 1, "GPU-2", "b" * 32)
    assert publish(fleet, NEXT).status == "provisional"
    midnight = datetime(2026, 10, 22, tzinfo=UTC).timestamp()
    fleet.push([card_sample("GPU-1", midnight + 5, {"power_watts": 1.0})], at=midnight + 6)
    fleet.writer.drain()
    assert publish(fleet, NEXT).status == "provisional"  # the other stream has not
    fleet.push([card_sample("GPU-2", midnight + 5, {"power_watts": 1.0})], at=midnight + 6, stream="b" * 32)
    fleet.writer.drain()
    assert publish(fleet, NEXT).status == "sealed"


def test_a_day_is_sealed_after_48_hours_whoever_is_silent(fleet: Fleet) -> None:
    push_hours(fleet, NOON, 1)
    assert publish(fleet, datetime(2026, 10, 23, 23, 59, tzinfo=UTC)).status == "provisional"
    assert publish(fleet, datetime(2026, 10, 24, 0, 0, tzinfo=UTC)).status == "sealed"


def test_retention_drops_telemetry_alone_and_minutes_only_when_sealed(fleet: Fleet) -> None:
    push_hours(fleet, NOON, 2)
    retention = Retention(fleet.store, StoreSettings(hot_days=2, minute_days=10))
    late = datetime(2026, 12, 1, tzinfo=UTC)
    fleet.rollup.catch_up(round(late.timestamp() * 1e6))
    assert retention.step(late) == [("card_sample", DAY)]  # not published: its minutes are the only copy
    publish(fleet, late)
    assert retention.step(late) == [("card_minute", DAY)]
    assert fleet.one("SELECT count(*) FROM card_minute") == 0
    assert fleet.one("SELECT count(*) FROM card_hour") == 2
    assert fleet.one("SELECT count(*) FROM card") == 1


def test_raw_rows_stay_until_their_minutes_are_made(fleet: Fleet) -> None:
    push_hours(fleet, NOON, 1)
    retention = Retention(fleet.store, StoreSettings(hot_days=1, minute_days=10))
    assert retention.step(datetime(2026, 12, 1, tzinfo=UTC)) == []
    assert fleet.one("SELECT count(*) FROM card_sample") == 60


def test_history_that_comes_after_the_day_was_dropped_adds_and_takes_nothing_away(fleet: Fleet) -> None:
    push_hours(fleet, NOON, 2)
    late = datetime(2026, 12, 1, tzinfo=UTC)
    fleet.clock.advance(late.timestamp() - fleet.clock.wall())
    publish(fleet, late)
    Retention(fleet.store, StoreSettings(hot_days=2, minute_days=10)).step(late)
    path = fleet.folder / "late.csv"
    path.write_text(
        "time,node_id,card_id,vendor,model,utilization_ratio,power_watts\n"
        "2026-10-21 12:00,n1,GPU-1,nvidia,H800,0.1,99\n"  # there already, in the published day alone
        "2026-10-21 18:00,n1,GPU-1,nvidia,H800,0.9,300\n"
    )
    import_file(
        fleet.store,
        "telemetry",
        path,
        maps.parse(maps.load(None).text.replace("{cluster_id|main}", "c1"), "m"),
    )
    fleet.clock.advance(60)
    second = publish(fleet, datetime.fromtimestamp(fleet.clock.wall(), UTC))
    assert second.revision == 2
    assert read(second, "card_minute.parquet", "count(*), count(DISTINCT minute), count(power_watts)") == [
        (121, 121, 2)
    ]


def test_publishing_everything_makes_telemetry_facts_and_names(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, ManualClock(wall=NOON))
    push_hours(fleet, NOON, 2)
    fleet.clock.advance(20 * 3600)
    now = datetime.fromtimestamp(fleet.clock.wall(), UTC)
    root = Config(data=tmp_path).published_dir
    outcome = publisher.publish(fleet.store, root, now=now)
    assert outcome.failed == []
    assert [day for day, _, _ in outcome.telemetry] == [DAY]
    assert [day for day, _, _ in outcome.facts] == [DAY]
    assert Published(root).days() == [DAY]
    again = publisher.publish(fleet.store, root, now=now + timedelta(minutes=10))
    assert again.telemetry == []
    assert all(revision == 1 for _, revision, _ in again.facts)
    fleet.close()


def test_one_day_that_fails_does_not_stop_the_others(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    push_hours(fleet, NOON, 1)
    midnight = datetime(2026, 10, 22, tzinfo=UTC).timestamp()
    push_hours(fleet, midnight, 1)
    fleet.clock.advance(3 * 86_400)
    root = fleet.folder / "published"
    real = telemetry.publish_day

    def sick(store: Store, root: Path, day: date, **more: object) -> Manifest:
        if day == DAY:
            raise OSError(28, "No space left on device")
        return real(store, root, day, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(telemetry, "publish_day", sick)
    outcome = publisher.publish(fleet.store, root, now=datetime.fromtimestamp(fleet.clock.wall(), UTC))
    assert [what for what, _ in outcome.failed] == [f"telemetry {DAY}"]
    assert [day for day, _, _ in outcome.telemetry] == [DAY + timedelta(days=1)]


def test_a_backup_while_writing_is_whole_and_opens_as_a_store(fleet: Fleet, tmp_path: Path) -> None:
    push_hours(fleet, NOON, 2)
    publish(fleet, NEXT)
    (tmp_path / "tokens.toml").write_text("secret")
    served = socket.socket(socket.AF_UNIX)
    served.bind(str(tmp_path / "collector.sock"))  # as in the folder of a collector that serves
    out = tmp_path / "backup"
    fleet.push([card_sample("GPU-1", NOON + 7200, {"power_watts": 1.0})])
    with fleet.store.write() as cursor:  # a writer in the middle of something does not hold it up
        cursor.execute("INSERT INTO touched_day VALUES ('2020-01-01', now()::TIMESTAMP)")
        done = backup.back_up(fleet.store, tmp_path / "published", out)
    served.close()
    assert done["published_files"] > 0
    assert not [p for p in out.rglob("*") if "token" in p.name or p.name == "session.key"]
    fleet.writer.drain()  # the served store goes on
    restored = Store.open(out / "collector" / "store.duckdb")
    reader = restored.reader()
    assert reader.execute("SELECT count(*), sum(covered_seconds) FROM card_minute").fetchall() == [
        (120, 7200.0)
    ]
    assert reader.execute("SELECT count(*) FROM touched_day WHERE day = '2020-01-01'").fetchall() == [(0,)]
    with restored.write() as cursor:
        key = restored.identities.card(cursor, "GPU-new", 1, None, "real")
        restored.identities.flush(cursor)
    assert key > 2
    restored.close()
    for manifest in (out / "published").rglob("manifest.json"):
        found = newest(manifest.parent.parent)
        assert found is not None
        found.verify()
    with pytest.raises(BadInput, match="there already"):
        backup.back_up(fleet.store, tmp_path / "published", out)


def test_a_restored_backup_takes_again_what_came_since_and_doubles_nothing(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path / "a")
    push_hours(fleet, NOON, 1)
    backup.back_up(fleet.store, tmp_path / "published", tmp_path / "backup")
    fleet.store.close()
    shutil.copy(tmp_path / "backup" / "collector" / "store.duckdb", tmp_path / "a" / "store.duckdb")
    (tmp_path / "a" / "store.duckdb.wal").unlink(missing_ok=True)
    fleet.open()
    push_hours(fleet, NOON + 3600, 1)
    assert fleet.one("SELECT count(*), count(DISTINCT time) FROM card_sample") == 120
    fleet.close()


def test_a_failed_backup_leaves_nothing_half_made(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_hours(fleet, NOON, 1)

    def full(path: Path) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backup, "sha256", full)
    with pytest.raises(Exception, match="No space"):
        backup.back_up(fleet.store, tmp_path / "published", tmp_path / "backup")
    assert not [p for p in tmp_path.iterdir() if "backup" in p.name]


def test_a_copied_day_has_the_kinds_it_should() -> None:
    assert {file.of.name for file in telemetry.FILES} >= {
        "card_minute",
        "card_hour",
        "port_hour",
        "node_hour",
    }
    assert kind(Family.CARD, Grain.MINUTE) in {file.of for file in telemetry.FILES}
