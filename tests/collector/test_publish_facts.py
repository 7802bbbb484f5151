"""From an open store to published facts: one picture, short writes, late knowledge makes days again."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from ullage_collector.publish.facts import due_days, publish_day, publish_names
from ullage_collector.published import Published
from ullage_collector.store.store import Store
from ullage_contract.clock import ManualClock

DAY = date(2026, 10, 7)
NOW = datetime(2026, 10, 8, 1, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.open(tmp_path / "collector" / "store.duckdb", clock=ManualClock(NOW.timestamp()))
    with store.write() as w:
        w.execute(
            "INSERT INTO inventory (inventory_id, card_id, cluster_id, node_id, vendor, model, life, valid_from, known_from, "
            "source) VALUES (nextval('record_number'), 'G1', 'dc1', 'n1', 'nvidia', 'H800', 'in_service', "
            "TIMESTAMP '2026-10-06', TIMESTAMP '2026-10-01', 'file')"
        )
        w.execute(
            "INSERT INTO price (price_id, model, currency, price_micro, assumed, valid_from, known_from, source) VALUES "
            "(nextval('record_number'), 'H800', 'CNY', 20000000, false, TIMESTAMP '2026-01-01', TIMESTAMP '2026-01-01', 'f')"
        )
    return store


def cost(root: Path, day: date) -> int:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    with Published(root).open(start, start + timedelta(days=1)) as facts:
        return int(
            facts.rows("SELECT coalesce(sum(atoms), 0) // 3600000000000000000000000 FROM segment")[0][0]
        )


def test_a_day_of_a_real_store_is_published_and_noted_once(store: Store, tmp_path: Path) -> None:
    root = tmp_path / "published"
    for _ in range(2):
        made = publish_day(store, root, DAY, now=NOW)
        publish_names(store, root, now=NOW)
    assert (made.manifest.revision, made.manifest.status) == (1, "provisional")
    assert not made.states.changed
    assert cost(root, DAY) == 480
    rows = store.reader().execute("SELECT what, day, revision FROM published ORDER BY what").fetchall()
    assert rows == [("dimensions", None, 1), ("facts", DAY, 1)]


def test_every_day_since_the_first_card_is_due_until_it_is_sealed(store: Store, tmp_path: Path) -> None:
    root = tmp_path / "published"
    assert due_days(store, through=DAY + timedelta(days=5), now=NOW) == [date(2026, 10, 6), DAY]
    later = NOW + timedelta(days=3)
    for day in due_days(store, through=DAY, now=later):
        assert publish_day(store, root, day, now=later).manifest.status == "sealed"
    assert due_days(store, through=DAY, now=later) == []


def test_what_becomes_known_late_makes_its_days_due_again(store: Store, tmp_path: Path) -> None:
    root = tmp_path / "published"
    later = NOW + timedelta(days=3)
    for day in due_days(store, through=DAY, now=later):
        publish_day(store, root, day, now=later)
    with store.write() as w:
        w.execute("UPDATE price SET known_to = ?", [(later + timedelta(hours=1)).replace(tzinfo=None)])
        w.execute(
            "INSERT INTO price (price_id, model, currency, price_micro, assumed, valid_from, known_from, source) VALUES "
            "(nextval('record_number'), 'H800', 'CNY', 22000000, false, TIMESTAMP '2026-10-07', ?, 'f')",
            [(later + timedelta(hours=1)).replace(tzinfo=None)],
        )
    much_later = later + timedelta(hours=2)
    assert due_days(store, through=DAY, now=much_later) == [date(2026, 10, 6), DAY]
    made = publish_day(store, root, DAY, now=much_later)
    assert (made.states.revision, made.manifest.revision) == (2, 2)
    assert cost(root, DAY) == 528
    publish_day(store, root, date(2026, 10, 6), now=much_later)  # its price was taken back: unpriced now
    assert cost(root, date(2026, 10, 6)) == 0
    assert due_days(store, through=DAY, now=much_later) == []
    store.close()


def test_late_knowledge_that_changes_nothing_is_looked_at_once(store: Store, tmp_path: Path) -> None:
    root = tmp_path / "published"
    later = NOW + timedelta(days=3)
    for day in due_days(store, through=DAY, now=later):
        publish_day(store, root, day, now=later)
    with store.write() as w:
        w.execute(
            "INSERT INTO mapping_rule (rule_id, match, priority, department_id, valid_from, known_from, source) VALUES "
            "(nextval('record_number'), 'slurm:nobody', 0, 'x', TIMESTAMP '2026-10-07', ?, 'f')",
            [(later + timedelta(hours=1)).replace(tzinfo=None)],
        )
    much_later = later + timedelta(hours=2)
    assert due_days(store, through=DAY, now=much_later) == [DAY]
    assert publish_day(store, root, DAY, now=much_later).manifest.revision == 1
    assert due_days(store, through=DAY, now=much_later) == []
    store.close()


def test_a_store_without_cards_has_nothing_due(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store.duckdb", clock=ManualClock(NOW.timestamp()))
    assert due_days(store, through=DAY, now=NOW) == []
    made = publish_day(store, tmp_path / "published", DAY, now=NOW)
    assert made.states.rows == 0
    assert cost(tmp_path / "published", DAY) == 0
    store.close()
