"""A store with pools, quotas, holdings and requests on it: for tests of quota figures as they are known at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ullage_collector.config import Store as StoreSettings
from ullage_collector.quota.imports import import_file
from ullage_collector.quota.known import Known, read
from ullage_collector.quota.readers import Given
from ullage_collector.quota.show import document
from ullage_collector.store.store import Store, naive_utc
from ullage_contract.clock import ManualClock

DAWN = 1_792_540_800
"""2026-10-21T00:00:00Z; hours of tests are counted from it."""
HOUR_US = 3_600_000_000
CARD = 10**9
NOON = 12.0


def us(hours: float) -> int:
    return DAWN * 1_000_000 + round(hours * HOUR_US)


def at(hours: float) -> Any:
    return naive_utc(us(hours) / 1e6)


class QuotaWorld:
    """Times are hours of 2026-10-21, UTC. ``now`` turns the clock."""

    def __init__(self, folder: Path, now: float = NOON) -> None:
        self.folder = folder
        self.clock = ManualClock(wall=DAWN + now * 3600)
        self.store = Store.open(folder / "store.duckdb", StoreSettings(threads=1), self.clock)
        self._cards: dict[str, tuple[int, int]] = {}
        self._nodes: dict[str, int] = {}
        self._workloads: dict[str, int] = {}
        self._key = 1000

    def close(self) -> None:
        self.store.close()

    def now(self, hours: float) -> None:
        self.clock.turn(wall=DAWN + hours * 3600) if hasattr(self.clock, "turn") else None

    def key(self) -> int:
        self._key += 1
        return self._key

    def run(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with self.store.write() as cursor:
            return cursor.execute(sql, list(values)).fetchall()

    def node(self, name: str, cluster: str = "dc1") -> int:
        if name not in self._nodes:
            self._nodes[name] = self.key()
            self.run(
                "INSERT INTO node (node_key, cluster_id, node_id, origin) VALUES (?, ?, ?, 'real')",
                self._nodes[name],
                cluster,
                name,
            )
        return self._nodes[name]

    def cards(
        self,
        count: int,
        *,
        node: str = "n1",
        model: str = "H800",
        vendor: str = "nvidia",
        cluster: str = "dc1",
        pool: str | None = None,
        life: str = "in_service",
        start: float = -2400.0,
        end: float | None = None,
    ) -> list[str]:
        names = []
        for _ in range(count):
            name = f"G{len(self._cards) + 1}"
            key = self.key()
            self._cards[name] = (key, self.node(node, cluster))
            self.run(
                "INSERT INTO card (card_key, card_id, node_key, vendor, model, origin) VALUES (?,?,?,?,?,'real')",
                *(key, name, self._nodes[node], vendor, model),
            )
            self.run(
                "INSERT INTO inventory (inventory_id, card_id, cluster_id, node_id, vendor, model, pool, life, valid_from, "
                "valid_to, known_from, source) VALUES (?,?,?,?,?,?,?,?,?,?,?,'test.csv')",
                *(self.key(), name, cluster, node, vendor, model, pool, life),
                *(at(start), None if end is None else at(end), at(-2400)),
            )
            names.append(name)
        return names

    def hold(
        self,
        workload: str,
        cards: list[str],
        start: float,
        end: float | None,
        *,
        share: int = CARD,
        known: float | None = None,
        rank: str = "work",
        **more: Any,
    ) -> None:
        for card in cards:
            self.run(
                "INSERT INTO allocation (allocation_id, workload_key, card_key, node_key, share_nano, valid_from, valid_to, "
                "known_from, source, \"rank\") VALUES (?,?,?,?,?,?,?,?,'test',?)",
                *(self.key(), self.workload(workload, **more), *self._cards[card], share),
                *(at(start), None if end is None else at(end), at(start if known is None else known), rank),
            )

    def workload(self, name: str, **more: Any) -> int:
        """``k8s/<cluster>/<namespace>/<pod>`` or ``slurm/<cluster>/<job>`` with namespace given."""
        if name not in self._workloads:
            self._workloads[name] = self.key()
            parts = name.split("/")
            namespace = more.get("namespace", parts[2] if len(parts) > 3 else None)
            self.run(
                "INSERT INTO workload (workload_key, workload_id, kind, cluster_id, user_name, namespace, partition, labels, "
                "origin, attributes) VALUES (?,?,?,?,?,?,?,?,'real',?)",
                *(self._workloads[name], name, more.get("kind", "kubernetes_pod"), parts[1]),
                *(
                    more.get("user"),
                    namespace,
                    more.get("partition"),
                    more.get("labels"),
                    more.get("attributes"),
                ),
            )
        return self._workloads[name]

    def rule(self, match: str, department: str, start: float = -2400.0, known: float = -2400.0) -> None:
        self.run(
            "INSERT INTO mapping_rule (rule_id, match, priority, department_id, valid_from, known_from, source) "
            "VALUES (nextval('record_number'),?,0,?,?,?,'test')",
            *(match, department, at(start), at(known)),
        )

    def bring(self, kind: str, text: str, name: str, **more: Any) -> Any:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        given = Given(
            cluster=more.pop("cluster", None),
            pool=more.pop("pool", "*"),
            guaranteed=more.pop("guaranteed", False),
        )
        return import_file(self.store, kind, path, given=given, **more)

    def known(self, start: float, end: float, known: float | None = None) -> Known:
        as_of = round(self.clock.wall() * 1e6) if known is None else us(known)
        return read(self.store.reader(), us(start), us(end), as_of_us=as_of)

    def figures(
        self, hour: float, known: float | None = None
    ) -> dict[tuple[str, str], dict[str, str | None]]:
        """(tree, quota) -> what is shown of it at an instant; of trees with one kind of cards."""
        shown = self.shown(hour, known)
        return {
            (tree["tree"], node["quota"]): node
            for tree in shown["trees"]
            for part in tree["cards"]
            for node in part["nodes"]
        }

    def shown(self, hour: float, known: float | None = None) -> dict[str, Any]:
        as_of = round(self.clock.wall() * 1e6) if known is None else us(known)
        found = read(self.store.reader(), us(hour), us(hour) + 1, as_of_us=as_of)
        return document(found, at_us=us(hour))

    def summed(self, start: float, end: float, known: float | None = None) -> dict[str, Any]:
        return document(self.known(start, end, known))
