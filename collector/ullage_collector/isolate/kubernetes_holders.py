"""Which pods hold a card, as the allocations say: for evicting and telling those alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from ullage_collector.audit import naive_utc
from ullage_collector.isolate.actuator import Actuator, Target
from ullage_collector.isolate.kubernetes_card import KubernetesCard
from ullage_collector.isolate.kubernetes_node import KubernetesNode
from ullage_collector.isolate.kubernetes_work import Holding
from ullage_collector.sql import statements
from ullage_contract.clock import Clock

if TYPE_CHECKING:
    import duckdb


def ask_store(
    actuators: Iterable[Actuator], connect: Callable[[], duckdb.DuckDBPyConnection], clock: Clock
) -> None:
    """Let the Kubernetes actuators among these ask the store's allocations who holds a card."""
    for actuator in actuators:
        if isinstance(actuator, KubernetesNode | KubernetesCard):
            actuator.holding = holding(connect, clock)


def holding(connect: Callable[[], duckdb.DuckDBPyConnection], clock: Clock) -> Holding:
    """The uids of the pods that hold a target's card; None where no pods of its cluster are followed."""

    def held(target: Target) -> frozenset[str] | None:
        sql, prefix = statements("kubernetes_isolation"), f"k8s/{target.cluster_id}/"
        with connect() as cursor:
            rows = cursor.execute(
                sql["card_holders"],
                {"card": target.subject, "prefix": prefix, "now": naive_utc(clock.wall())},
            ).fetchall()
            known = cursor.execute(sql["pods_known"], {"prefix": prefix}).fetchone()
        if not rows and not (known and known[0]):
            return None
        return frozenset(str(workload).rpartition("/")[2] for (workload,) in rows)

    return held
