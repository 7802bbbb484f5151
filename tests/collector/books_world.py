"""A real store with published days and closed periods: for tests of closing, corrections and credits."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Self

from tests.collector.fleet_world import HOUR, NANO

from ullage_collector.publish.facts import due_days, post_corrections, publish_day
from ullage_collector.published import Published
from ullage_collector.store.columns import KINDS
from ullage_collector.store.store import Store
from ullage_contract.clock import ManualClock

FIRST = date(2026, 10, 6)
DAYS = [FIRST + timedelta(days=n) for n in range(3)]
CARD_MINUTE = next(kind for kind in KINDS if kind.name == "card_minute")
NOW = datetime(2026, 10, 12, tzinfo=UTC)


def t(day: int, hour: int = 0, minute: int = 0) -> datetime:
    """An instant of October 2026, naive UTC as the store keeps it."""
    return datetime(2026, 10, day, hour, minute, tzinfo=UTC).replace(tzinfo=None)


class Books:
    """A real store with one card that account nlp holds all the time, and everything published.

    wall: the folder is a copy of one that was made before, and this is its time; see ``kept`` and ``copied``.
    """

    def __init__(self, folder: Path, *, wall: float | None = None) -> None:
        self.clock = ManualClock(NOW.timestamp() if wall is None else wall)
        self.folder = folder
        self.store = Store.open(folder / "collector" / "store.duckdb", clock=self.clock)
        self.root = folder / "published"
        if wall is None:
            self._begin()

    def _begin(self) -> None:
        with self.store.write() as w:
            w.execute(
                "INSERT INTO inventory (inventory_id, card_id, cluster_id, node_id, vendor, model, life, valid_from, "
                "known_from, source) SELECT nextval('record_number'), 'G' || n, 'dc1', 'n1', 'nvidia', 'H800', 'in_service', "
                "TIMESTAMP '2026-10-06', TIMESTAMP '2026-10-01', 'file' FROM range(2) r(n)"
            )
            w.execute(
                "INSERT INTO price (price_id, model, currency, price_micro, assumed, valid_from, known_from, source) "
                "VALUES (nextval('record_number'), 'H800', 'CNY', 20000000, false, TIMESTAMP '2026-01-01', "
                "TIMESTAMP '2026-01-01', 'f')"
            )
            w.execute(
                "INSERT INTO workload (workload_key, workload_id, kind, cluster_id, namespace, origin) "
                "VALUES (1, 'slurm/dc1/7', 'slurm_job', 'dc1', 'nlp', 'real')"
            )
        self.publish()
        with self.store.write() as w:
            w.execute(
                "INSERT INTO allocation (allocation_id, workload_key, card_key, node_key, share_nano, valid_from, known_from, "
                "source, rank) SELECT 1, 1, card_key, node_key, 1000000000, TIMESTAMP '2026-10-06', TIMESTAMP '2026-10-06', "
                "'test', 'work' FROM card WHERE card_id = 'G0'"
            )
        self.rule("old")

    def kept(self) -> tuple[Path, float]:
        """Close the store; what ``copied`` makes others from, as making one takes seconds."""
        self.store.close()
        return self.folder, self.clock.wall()

    @classmethod
    def copied(cls, kept: tuple[Path, float], folder: Path) -> Self:
        """A copy of what was kept, in a folder that is not there yet."""
        shutil.copytree(kept[0], folder)
        return cls(folder, wall=kept[1])

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.clock.wall(), UTC)

    def rule(self, department: str) -> None:
        """From now on it is believed that the account was the department's all along."""
        self.clock.advance(60)
        now = self.now().replace(tzinfo=None)
        with self.store.write() as w:
            w.execute("UPDATE mapping_rule SET known_to = ? WHERE known_to IS NULL", [now])
            w.execute(
                "INSERT INTO mapping_rule (rule_id, match, priority, department_id, valid_from, known_from, source) "
                "VALUES (nextval('record_number'), 'slurm:nlp', 0, ?, TIMESTAMP '2020-01-01', ?, 'import:map.csv')",
                [department, now],
            )
        self.clock.advance(60)

    def price(self, model: str, micro: int, *, start: datetime | None = None, currency: str = "CNY") -> None:
        """From now on it is believed that this was the price since ``start`` (naive UTC; None: all along)."""
        now = self._known()
        with self.store.write() as w:
            w.execute(
                "INSERT INTO price (price_id, model, currency, price_micro, assumed, valid_from, known_from, source) "
                "VALUES (nextval('record_number'), ?, ?, ?, false, ?, ?, 'f')",
                [model, currency, micro, start or t(1), now],
            )
        self.clock.advance(60)

    def own(self, card: str, model: str, start: datetime) -> None:
        """From now on it is believed that this card was owned since ``start``."""
        now = self._known()
        with self.store.write() as w:
            w.execute(
                "INSERT INTO inventory (inventory_id, card_id, cluster_id, node_id, vendor, model, life, valid_from, "
                "known_from, source) VALUES (nextval('record_number'), ?, 'dc1', 'n1', 'nvidia', ?, 'in_service', ?, ?, 'file')",
                [card, model, start, now],
            )
        self.clock.advance(60)

    def hold(self, card: str, start: datetime, end: datetime, share: int) -> None:
        """From now on it is believed that account nlp held the card so."""
        now = self._known()
        with self.store.write() as w:
            w.execute(
                "INSERT INTO allocation (allocation_id, workload_key, card_key, node_key, share_nano, valid_from, valid_to, "
                "known_from, source, rank) SELECT nextval('allocation_number') + 1, 1, card_key, node_key, ?, ?, ?, ?, 'test', "
                "'work' FROM card WHERE card_id = ?",
                [share, start, end, now, card],
            )
        self.clock.advance(60)

    def incident(self, card: str, onset: datetime, closed: datetime) -> None:
        """From now on it is known that the card was broken then."""
        now = self._known()
        with self.store.write() as w:
            w.execute(
                "INSERT INTO incident (incident_id, family, subject, cause, severity, onset, opened_at, closed_at, confirmed, "
                "action, evidence, history, origin) VALUES (nextval('incident_number'), 'card', ?, 'xid-79', 'critical', ?, ?, "
                "?, true, 'isolate_card', '[]', false, 'real')",
                [card, onset, now, closed],
            )
        self.clock.advance(60)

    def minutes(
        self, card: str, start: datetime, count: int, active: float, *, watts: float | None = None
    ) -> None:
        """Minutes of telemetry that came now, all alike. active: the SM's share, 0..1."""
        now = self._known()
        with self.store.write() as w:
            for day in {(start + timedelta(minutes=n)).date() for n in range(count)}:
                table = self.store.days.ensure(
                    w, CARD_MINUTE, day, ("utilization_ratio_max", "sm_active_ratio_max", "power_watts")
                )
                w.execute(
                    f"INSERT INTO {table.name} BY NAME SELECT minute, card_key, node_key, 60 AS covered_seconds, 6 AS samples, "
                    "'real' AS origin, ? AS sm_active_ratio_max, ? AS utilization_ratio_max, ? AS power_watts FROM card, "
                    "(SELECT ?::TIMESTAMP + to_minutes(m) AS minute FROM range(?) r(m)) WHERE card_id = ? AND minute::DATE = ?",
                    [active, active, watts, start, count, card, day],
                )
            w.execute(
                "INSERT INTO touched_day SELECT DISTINCT (?::TIMESTAMP + to_minutes(m))::DATE, ?::TIMESTAMP FROM range(?) r(m) "
                "ON CONFLICT (day) DO UPDATE SET touched_at = excluded.touched_at",
                [start, now, count],
            )
        self.clock.advance(60)

    def _known(self) -> datetime:
        self.clock.advance(60)
        return self.now().replace(tzinfo=None)

    def publish(self) -> dict[date, int]:
        """Every day that is due; day -> published revision."""
        self.clock.advance(60)
        now = self.now()
        made = {
            day: publish_day(self.store, self.root, day, now=now).manifest.revision
            for day in due_days(self.store, through=DAYS[-1], now=now)
        }
        post_corrections(self.store, now=now)
        return made

    def owners(self, day: date) -> Mapping[str, float]:
        """department -> card-hours of a published day, without the platform's."""
        start = datetime(day.year, day.month, day.day, tzinfo=UTC)
        with Published(self.root).open(start, start + timedelta(days=1)) as facts:
            return {
                str(department): int(quantity) / (NANO * HOUR)
                for department, quantity in facts.rows(
                    "SELECT department_id, sum(quantity) FROM segment WHERE department_id <> 'platform' GROUP BY ALL"
                )
            }
