"""[isolation.kubernetes-node] and [isolation.kubernetes-card]: how each cluster is reached, and what is opted in to.

Nothing is opened here: an installed actuator that no cluster uses needs no access. Every key stands in
collector.example.toml.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ullage_collector.allocation.kubernetes.kubeconfig import from_file, in_cluster
from ullage_collector.isolate.kubernetes_api import Api
from ullage_contract.clock import Clock
from ullage_contract.errors import ActuatorError, ConfigError
from ullage_contract.settings import Table

FILE: Final = "collector.toml"
MAINTENANCE_TAINTS: Final = (
    "*maintenance*",
    "*quarantine*",
    "*repair*",
    "*unhealthy*",
    "*drain*",
    "*broken*",
)
"""Our choice: keys by which people and their tools say that they took a node; other taints are told apart from those
that nodes carry all their life (a pool, a team, cards) by nothing at all, so they are shown and count for nothing."""


@dataclass(frozen=True, slots=True)
class Work:
    """What becomes of pods where a rule ends the work.

    evict: by the eviction API, which asks the disruption budgets; else by a NoExecute taint, which does not.
    evict_seconds: how long refusals are tried again. grace_seconds: None: each pod's own.
    bare: also pods without a controller, which nobody makes again.
    """

    evict: bool = True
    evict_seconds: float = 20.0
    grace_seconds: int | None = None
    bare: bool = False


@dataclass(frozen=True, slots=True)
class Reach:
    """How one cluster is reached. kubeconfig None: the service account of the pod we run in."""

    kubeconfig: Path | None = None
    context: str | None = None
    exec_allowed: bool = False


class Servers:
    """The API servers by cluster. Without tables by cluster, the one access is for one cluster, the first asked for."""

    def __init__(
        self, name: str, clusters: Mapping[str, Reach], only: Reach | None, manager: str, clock: Clock
    ) -> None:
        self._name, self._clusters, self._only, self._manager = name, dict(clusters), only, manager
        self._clock = clock
        self._lock = threading.Lock()
        self._made: dict[str, Api] = {}
        self._only_for: str | None = None

    def api(self, cluster_id: str) -> Api:
        """Raises ActuatorError: nobody said how this cluster is reached, or what was said cannot be used."""
        with self._lock:
            made = self._made.get(cluster_id)
            if made is None:
                made = self._made[cluster_id] = self._make(cluster_id)
            return made

    def _make(self, cluster_id: str) -> Api:
        table = f"[isolation.{self._name}.clusters.{cluster_id}]"
        reach = self._clusters.get(cluster_id)
        if reach is None:
            # Two clusters may have nodes of one name: whose the only access is has to be certain.
            if self._only is None or self._only_for not in (None, cluster_id):
                raise ActuatorError(f"nobody said how cluster {cluster_id} is reached: add {table}")
            reach = self._only
        try:
            access = (
                from_file(reach.kubeconfig, reach.context, self._clock, allow_exec=reach.exec_allowed)
                if reach.kubeconfig is not None
                else in_cluster()
            )
        except ConfigError as e:
            raise ActuatorError(f"{table}: {e}") from e
        if cluster_id not in self._clusters:
            self._only_for = cluster_id
        return Api(access, self._clock, manager=self._manager)


def servers(table: Table, name: str, clock: Clock) -> Servers:
    """From ``field_manager``, ``kubeconfig``, ``context``, ``exec`` and ``clusters``. Raises ConfigError."""
    manager = table.text("field_manager", "ullage") or ""
    if not 0 < len(manager) <= 128 or not manager.isprintable():
        # A field manager has at most 128 printable characters — API reference, "fieldManager".
        raise table.wrong("field_manager", manager, "write 1 to 128 printable characters")
    only = _reach(table)
    given = table.table("clusters").rest()
    clusters = {}
    for cluster, content in given.items():
        if not isinstance(content, dict):
            raise table.wrong("clusters", content, f"write a table: [isolation.{name}.clusters.{cluster}]")
        own = Table(content, FILE, f"isolation.{name}.clusters.{cluster}")
        clusters[cluster] = _reach(own)
        own.finish()
    if clusters and only != Reach():
        raise table.wrong("kubeconfig", str(only.kubeconfig), "write it into the tables of the clusters")
    return Servers(name, clusters, None if clusters else only, manager, clock)


def work(table: Table) -> Work:
    """From ``end_with``, ``evict_seconds``, ``grace_seconds`` and ``bare_pods``. Raises ConfigError."""
    return Work(
        evict=table.word("end_with", "evict", ("evict", "no_execute")) == "evict",
        evict_seconds=table.number("evict_seconds", 20.0, 0, 600),
        grace_seconds=table.whole("grace_seconds", 0, 0, 86_400) if "grace_seconds" in table.content else None,
        bare=table.flag("bare_pods", False),
    )  # fmt: skip


def _reach(table: Table) -> Reach:
    reach = Reach(table.path("kubeconfig"), table.text("context"), table.flag("exec", False))
    if reach.kubeconfig is None and (reach.context or reach.exec_allowed):
        raise table.wrong(
            "kubeconfig", None, "context and exec are of a kubeconfig; name one, or leave them out"
        )
    return reach


def maintenance_taints(table: Table) -> tuple[str, ...]:
    """The shipped globs of taint keys and ``maintenance_taints``."""
    return (*MAINTENANCE_TAINTS, *table.texts("maintenance_taints", '["example.com/held-*"]'))


def own_table(content: Mapping[str, Any], name: str) -> Table:
    """The actuator's own table, to be asked key by key and finished."""
    return Table(content, FILE, f"isolation.{name}")
