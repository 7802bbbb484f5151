"""[[allocation.kubernetes]]: one table a cluster. Every key stands in collector.example.toml."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ullage_collector.allocation.kubernetes.access import Access
from ullage_collector.allocation.kubernetes.kubeconfig import from_file, in_cluster
from ullage_collector.allocation.kubernetes.workloads import Naming
from ullage_contract.clock import Clock
from ullage_contract.errors import BadInput, ConfigError
from ullage_contract.identity import check_id
from ullage_contract.settings import Table


@dataclass(frozen=True, slots=True)
class Settings:
    """One cluster. kubeconfig None: the service account of the pod we run in. context None: the file's current one.

    drivers: DRA drivers of cards besides those known. gather_seconds: how long changes are gathered before they are
    believed. claims: whether resource.k8s.io is asked for at all.
    """

    naming: Naming
    kubeconfig: Path | None = None
    context: str | None = None
    exec_allowed: bool = False
    drivers: tuple[str, ...] = ()
    gather_seconds: float = 1.0
    claims: bool = True

    @property
    def cluster(self) -> str:
        """As the agents of its nodes call it."""
        return self.naming.cluster

    def access(self, clock: Clock) -> Access:
        """Raises ConfigError."""
        if self.kubeconfig is None:
            return in_cluster()
        return from_file(self.kubeconfig, self.context, clock, allow_exec=self.exec_allowed)


def from_part(part: Mapping[str, Any], file: str) -> list[Settings]:
    """The clusters of the [allocation] table, which other sources share. Raises ConfigError."""
    tables = part.get("kubernetes", [])
    if isinstance(tables, Mapping):
        tables = [tables]
    if not isinstance(tables, Sequence) or not all(isinstance(table, Mapping) for table in tables):
        raise ConfigError(
            f"{file}: [allocation] kubernetes: write [[allocation.kubernetes]], a table a cluster"
        )
    found = [_one(Table(table, file, "allocation.kubernetes")) for table in tables]
    names = [settings.cluster for settings in found]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{file}: [[allocation.kubernetes]] cluster = {name!r} stands twice")
    return found


def _one(table: Table) -> Settings:
    cluster = table.text("cluster")
    if not cluster or "/" in cluster:
        raise table.wrong(
            "cluster", cluster, "write the cluster's name as its agents' [push] cluster says, without /"
        )
    try:
        check_id("cluster", cluster)
    except BadInput as e:
        raise table.wrong("cluster", cluster, str(e)) from e
    users = table.texts("user_from", '["label:team/user"]')
    for key in users:
        if key.partition(":")[0] not in ("label", "annotation") or not key.partition(":")[2]:
            raise table.wrong("user_from", key, 'write "label:KEY" or "annotation:KEY"')
    settings = Settings(
        naming=Naming(
            cluster=cluster,
            annotations=table.texts("annotations", '["example.com/*"]'),
            users=users,
            pools=table.texts("node_pool_labels", '["example.com/pool"]'),
        ),
        kubeconfig=table.path("kubeconfig"),
        context=table.text("context"),
        exec_allowed=table.flag("exec", False),
        drivers=table.texts("drivers", '["gpu.example.com"]'),
        gather_seconds=table.number("gather_seconds", 1.0, 0.05, 60),
        claims=table.flag("claims", True),
    )
    if settings.kubeconfig is None and (settings.context or settings.exec_allowed):
        raise table.wrong(
            "kubeconfig", None, "context and exec are of a kubeconfig; name one, or leave them out"
        )
    table.finish()
    return settings
