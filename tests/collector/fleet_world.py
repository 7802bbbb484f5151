"""A small fleet in a store of its own, built row by row: for tests of states, money and published days."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb

from ullage_collector.sql import migrations

DAY = datetime(2026, 10, 7, tzinfo=UTC)
LATER = datetime(2026, 11, 1, tzinfo=UTC)
US = 1_000_000
HOUR = 3_600 * US
NANO = 10**9


def at(hours: float = 0.0, *, day: datetime = DAY) -> datetime:
    """``hours`` after the test day's midnight, naive UTC as the store keeps it."""
    return (day + timedelta(hours=hours)).replace(tzinfo=None)


def us(hours: float, *, day: datetime = DAY) -> int:
    return int(day.timestamp()) * US + round(hours * HOUR)


class World:
    """One DuckDB in memory with the store's tables. Keys are given in the order things are added."""

    def __init__(self, *, minutes: bool = True, path: str = ":memory:") -> None:
        self.db = duckdb.connect(path)
        self.db.execute("SET threads = 1")
        for _, _, text in migrations():
            self.db.execute(text)
        if minutes:
            self.db.execute(
                "CREATE TABLE card_minute (minute TIMESTAMP, card_key INTEGER, node_key INTEGER, covered_seconds FLOAT, "
                "samples INTEGER, origin VARCHAR, utilization_ratio FLOAT, utilization_ratio_max FLOAT, "
                "sm_active_ratio_max FLOAT, power_watts FLOAT, power_watts_max FLOAT, power_limit_watts FLOAT, "
                "pcie_rx_bytes_increase DOUBLE)"
            )
        self.nodes: dict[str, int] = {}
        self.cards: dict[str, int] = {}
        self.workloads: dict[str, int] = {}
        self._next = 1000

    def key(self) -> int:
        self._next += 1
        return self._next

    def node(self, name: str = "n1", cluster: str = "dc1") -> int:
        if name not in self.nodes:
            self.nodes[name] = self.key()
            self.db.execute(
                "INSERT INTO node (node_key, cluster_id, node_id, origin) VALUES (?, ?, ?, 'real')",
                [self.nodes[name], cluster, name],
            )
        return self.nodes[name]

    def card(
        self,
        name: str,
        model: str = "H800",
        node: str = "n1",
        *,
        vendor: str = "nvidia",
        origin: str = "real",
        first_seen: datetime | None = None,
        own: bool = True,
        life: str = "in_service",
        start: datetime | None = None,
        end: datetime | None = None,
        pool: str | None = None,
    ) -> int:
        self.cards[name] = self.key()
        self.db.execute(
            "INSERT INTO card (card_key, card_id, node_key, vendor, model, origin, first_seen) VALUES (?,?,?,?,?,?,?)",
            [self.cards[name], name, self.node(node), vendor, model, origin, first_seen],
        )
        if own:
            self.own(name, model, node, life=life, start=start, end=end, pool=pool, vendor=vendor)
        return self.cards[name]

    def own(
        self,
        card: str,
        model: str = "H800",
        node: str = "n1",
        *,
        life: str = "in_service",
        start: datetime | None = None,
        end: datetime | None = None,
        pool: str | None = None,
        vendor: str = "nvidia",
        cluster: str = "dc1",
        known: datetime | None = None,
    ) -> int:
        number = self.key()
        self.db.execute(
            "INSERT INTO inventory (inventory_id, card_id, cluster_id, node_id, vendor, model, pool, life, valid_from, "
            "valid_to, known_from, source) VALUES (?,?,?,?,?,?,?,?,?,?,?,'test.csv')",
            [
                number,
                card,
                cluster,
                node,
                vendor,
                model,
                pool,
                life,
                start or at(-2400),
                end,
                known or at(-2400),
            ],
        )
        return number

    def workload(self, name: str, **more: Any) -> int:
        if name not in self.workloads:
            self.workloads[name] = self.key()
            source = name.split("/", 1)[0]
            self.db.execute(
                "INSERT INTO workload (workload_key, workload_id, kind, cluster_id, user_name, namespace, partition, "
                "labels, scenario, origin) VALUES (?,?,?,?,?,?,?,?,?,'real')",
                [
                    self.workloads[name],
                    name,
                    more.get("kind", "slurm_job" if source == "slurm" else "kubernetes_pod"),
                    more.get("cluster", "dc1"),
                    more.get("user"),
                    more.get(
                        "namespace",
                        name.split("/")[2 if name.count("/") == 4 else -2] if "/" in name else None,
                    ),
                    more.get("partition"),
                    json.dumps(more["labels"]) if "labels" in more else None,
                    more.get("scenario"),
                ],
            )
        return self.workloads[name]

    def hold(
        self,
        card: str | None,
        workload: str,
        start: float,
        end: float | None,
        share: int = NANO,
        *,
        node: str = "n1",
        known: datetime | None = None,
        day: datetime = DAY,
        slice_key: int | None = None,
        rank: str = "work",
    ) -> int:
        number = self.key()
        self.db.execute(
            "INSERT INTO allocation (allocation_id, workload_key, card_key, slice_key, node_key, share_nano, valid_from, "
            "valid_to, known_from, source, \"rank\") VALUES (?,?,?,?,?,?,?,?,?,'test',?)",
            [
                number,
                self.workload(workload),
                None if card is None else self.cards[card],
                slice_key,
                self.node(node),
                share,
                at(start, day=day),
                None if end is None else at(end, day=day),
                known or at(-2400),
                rank,
            ],
        )
        return number

    def price(
        self,
        model: str,
        micro: int,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        pool: str | None = None,
        currency: str = "CNY",
        assumed: bool = False,
        known: datetime | None = None,
    ) -> int:
        number = self.key()
        self.db.execute(
            "INSERT INTO price (price_id, model, pool, currency, price_micro, assumed, valid_from, valid_to, known_from, "
            "source) VALUES (?,?,?,?,?,?,?,?,?,'list.csv')",
            [number, model, pool, currency, micro, assumed, start or at(-2400), end, known or at(-2400)],
        )
        return number

    def rule(
        self,
        match: str,
        department: str | None,
        *,
        priority: int = 0,
        business: str | None = None,
        scenario: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        known: datetime | None = None,
    ) -> int:
        number = self.key()
        self.db.execute(
            "INSERT INTO mapping_rule (rule_id, match, priority, department_id, business, scenario, valid_from, valid_to, "
            "known_from, source) VALUES (?,?,?,?,?,?,?,?,?,'map.csv')",
            [
                number,
                match,
                priority,
                department,
                business,
                scenario,
                start or at(-2400),
                end,
                known or at(-2400),
            ],
        )
        return number

    def department(self, path: str, name: str | None = None, parent: str | None = None) -> None:
        self.db.execute(
            "INSERT INTO department (department_id, name, parent_id, valid_from, known_from) VALUES (?,?,?,?,?)",
            [path, name or path, parent, at(-2400), at(-2400)],
        )

    def incident(
        self,
        subject: str,
        onset: float,
        closed: float | None,
        *,
        family: str = "card",
        confirmed: bool = True,
        action: str = "isolate_card",
        cause: str = "xid-79",
    ) -> int:
        number = self.key()
        self.db.execute(
            "INSERT INTO incident (incident_id, family, subject, cause, severity, onset, opened_at, closed_at, confirmed, "
            "action, evidence, history, origin) VALUES (?,?,?,?,'critical',?,?,?,?,?,'[]',false,'real')",
            [
                number,
                family,
                subject,
                cause,
                at(onset),
                at(onset),
                None if closed is None else at(closed),
                confirmed,
                action,
            ],
        )
        return number

    def isolate(
        self,
        subject: str,
        start: float,
        end: float | None,
        *,
        family: str = "card",
        incident: int | None = None,
        reason: str = "xid-79",
    ) -> int:
        number = self.key()
        self.db.execute(
            "INSERT INTO isolation (isolation_id, family, subject, incident_id, reason, actuator, requested_by, isolated_at, "
            "released_at, placed, undo) VALUES (?,?,?,?,?,'command','rule',?,?,'{}','{}')",
            [number, family, subject, incident, reason, at(start), None if end is None else at(end)],
        )
        return number

    def minutes(
        self, card: str, start: float, end: float, util: float | None, *, covered: float = 60.0, **more: float
    ) -> None:
        """Minutes of telemetry over [start, end) hours, all alike; ``util`` None: a row without the value."""
        first, last = round(start * 60), round(end * 60)
        names = [
            "minute",
            "card_key",
            "covered_seconds",
            "origin",
            "utilization_ratio",
            "utilization_ratio_max",
            *more,
        ]
        self.db.execute(
            f"INSERT INTO card_minute ({', '.join(names)}) "
            f"SELECT TIMESTAMP '{at(0)}' + to_minutes(m), {', '.join('?' * (len(names) - 1))} "
            f"FROM range({first}, {last}) r(m)",
            [self.cards[card], covered, "real", util, util, *more.values()],
        )

    def lines(self) -> list[dict[str, Any]]:
        """Table ``segment`` as dictionaries, ordered."""
        cursor = self.db.execute(
            "SELECT * FROM segment ORDER BY card_key, from_us, workload_key NULLS LAST, state"
        )
        names = [d[0] for d in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def card_hours(lines: Iterable[dict[str, Any]]) -> dict[tuple[str, str], float]:
    """(department, state) -> card-hours."""
    found: dict[tuple[str, str], int] = {}
    for line in lines:
        key = (line["department_id"], line["state"])
        found[key] = found.get(key, 0) + line["share_nano"] * (line["to_us"] - line["from_us"])
    return {key: amount / (NANO * HOUR) for key, amount in found.items()}


def cost(lines: Iterable[dict[str, Any]]) -> dict[tuple[str, str], int]:
    """(department, state) -> atoms; an unpriced line costs nothing here."""
    found: dict[tuple[str, str], int] = {}
    for line in lines:
        key = (line["department_id"], line["state"])
        amount = line["share_nano"] * (line["to_us"] - line["from_us"]) * (line["price_micro"] or 0)
        found[key] = found.get(key, 0) + amount
    return found
