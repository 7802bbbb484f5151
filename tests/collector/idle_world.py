"""A world whose minutes come as time goes on, looked at now and then by an idle watch."""

from __future__ import annotations

from typing import Any

from tests.collector.fleet_world import World, at, us

from ullage_collector.detect.findings import Found
from ullage_collector.detect.idle_rules import rules_of
from ullage_collector.detect.idle_watch import IdleWatch
from ullage_collector.states import default_rules as states_rules

TRAINING = "slurm/dc1/1"


class Watched:
    """A world whose minutes come as time goes on, and a watch that looks at them now and then."""

    def __init__(self, **settings: Any) -> None:
        self.world = World()
        self.settings = settings
        self.watch = IdleWatch(rules_of(settings), states_rules())
        self.unjudged: set[str] = set()

    def hosts(self, node: str, start: float, end: float, *, cpu: float = 0.02, read: float = 0.0) -> None:
        self.world.db.execute(
            "CREATE TABLE IF NOT EXISTS node_minute (minute TIMESTAMP, node_key INTEGER, covered_seconds FLOAT, "
            "cpu_busy_ratio_max FLOAT, nfs_read_bytes_increase DOUBLE)"
        )
        self.world.db.execute(
            f"INSERT INTO node_minute SELECT TIMESTAMP '{at(0)}' + to_minutes(m), ?, 60, ?, ? "
            f"FROM range({round(start * 60)}, {round(end * 60)}) r(m)",
            [self.world.node(node), cpu, read * 60],
        )

    def look(self, hours: float, *, watch: IdleWatch | None = None) -> list[Found]:
        """One look when everything before ``hours`` is rolled up."""
        db = self.world.db
        db.execute("DELETE FROM rollup_through")
        db.execute("INSERT INTO rollup_through VALUES ('minute', ?)", [at(hours)])
        found, self.unjudged = (watch or self.watch).look(db, us(hours) + 90_000_000)
        return found

    def until(self, hours: float, start: float = 0.0) -> list[Found]:
        """A few looks on the way; what the last one found. How often it looks changes nothing but when it says so."""
        for step in range(1, 3):
            self.look(start + (hours - start) * step / 3)
        return self.look(hours)


def busy_then_quiet(
    watched: Watched, *cards: str, workload: str = TRAINING, busy: float = 1.0, end: float = 12.0, **more: Any
) -> None:
    """Cards of node n1 held by one workload: at work for ``busy`` hours, then not."""
    for card in cards:
        watched.world.card(card, **more)
        watched.world.hold(card, workload, 0, None)
        watched.world.minutes(card, 0, busy, 0.9)
        watched.world.minutes(card, busy, end, 0.0)
