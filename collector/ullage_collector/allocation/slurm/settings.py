"""[allocation.slurm] of collector.toml; several clusters are [[allocation.slurm]] tables. Keys: collector.example.toml."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ullage_collector.allocation.slurm import gres
from ullage_collector.allocation.slurm.command import Programs
from ullage_contract.errors import BadInput, ConfigError
from ullage_contract.identity import check_id
from ullage_contract.settings import Table


@dataclass(frozen=True, slots=True)
class SlurmSettings:
    """One Slurm cluster.

    cluster: Ullage's name of it, the agents' `cluster`. gres: GRES names that are cards.
    gres_conf: the site's gres.conf, None where it is not given. accounting: whether there is a slurmdbd.
    """

    cluster: str
    conf: Path | None = None
    path: str = Programs().path
    squeue: str = "squeue"
    sacct: str = "sacct"
    scontrol: str = "scontrol"
    sacctmgr: str = "sacctmgr"
    gres_conf: Path | None = None
    gres: tuple[str, ...] = gres.CARDS
    fence_account: str = "ullage-fence"
    accounting: bool = True
    poll_seconds: float = (
        20.0  # our choice: because with reservations and nodes it is 6 RPCs a minute at most
    )
    slowest_seconds: float = (
        120.0  # our choice: because a controller in trouble is asked twice a minute at least
    )
    accounting_seconds: float = (
        60.0  # our choice: because slurmdbd answers from MariaDB, and has others to serve
    )
    deadline_seconds: float = 60.0  # our choice: because slurm.conf's MessageTimeout is 10 s and tools retry
    late_hours: float = (
        24.0  # our choice: because a slurmdbd that was away a night brings its records in the morning
    )

    def programs(self) -> Programs:
        """Slurm's programs of this cluster."""
        return Programs(conf=str(self.conf) if self.conf else None, path=self.path)


def slurm_settings(part: Mapping[str, Any], file: str = "collector.toml") -> list[SlurmSettings]:
    """The clusters in a part ``allocation``; none where it has no ``slurm``.

    Raises ConfigError for an unknown key, a wrong value, and one cluster twice.
    """
    given = part.get("slurm")
    if given is None:
        return []
    tables = given if isinstance(given, list) else [given]
    if not all(isinstance(table, dict) for table in tables):
        raise ConfigError(
            f"{file}: allocation.slurm = {str(given)[:60]!r}: write a table: [allocation.slurm]"
        )
    found = [_one(Table(table, file, "allocation.slurm")) for table in tables]
    names = [settings.cluster for settings in found]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(
                f"{file}: [allocation.slurm] cluster = {name!r} is there twice; give each its own name"
            )
    return found


def _one(table: Table) -> SlurmSettings:
    cluster = table.text("cluster")
    if not cluster:
        raise table.wrong("cluster", cluster, 'write the cluster\'s name as its agents have it, e.g. "hpc1"')
    try:
        check_id("cluster", cluster)
    except BadInput as e:
        raise table.wrong("cluster", cluster, str(e)) from e
    plain = SlurmSettings(cluster=cluster)
    poll = table.number("poll_seconds", plain.poll_seconds, 2, 600)
    result = SlurmSettings(
        cluster=cluster,
        conf=table.path("conf"),
        path=_folders(table, plain.path),
        squeue=table.text("squeue") or plain.squeue,
        sacct=table.text("sacct") or plain.sacct,
        scontrol=table.text("scontrol") or plain.scontrol,
        sacctmgr=table.text("sacctmgr") or plain.sacctmgr,
        gres_conf=table.path("gres_conf"),
        gres=_names(table, plain.gres),
        fence_account=table.text("fence_account") or plain.fence_account,
        accounting=table.flag("accounting", plain.accounting),
        poll_seconds=poll,
        slowest_seconds=max(poll, table.number("slowest_seconds", plain.slowest_seconds, 2, 3600)),
        accounting_seconds=table.number("accounting_seconds", plain.accounting_seconds, 2, 3600),
        deadline_seconds=table.number("deadline_seconds", plain.deadline_seconds, 1, 600),
        late_hours=table.number("late_hours", plain.late_hours, 1, 24 * 60),
    )
    table.finish()
    return result


def _folders(table: Table, plain: str) -> str:
    found = table.text("path", plain) or plain
    if not all(folder.startswith("/") for folder in found.split(":")):
        raise table.wrong("path", found, 'write absolute folders, e.g. "/opt/slurm/bin:/usr/bin"')
    return found


def _names(table: Table, plain: Sequence[str]) -> tuple[str, ...]:
    names = table.texts("gres", '["gpu", "npu"]') or tuple(plain)
    for name in names:
        if name in gres.SHARES:
            raise table.wrong(
                "gres", name, "shards and mps are shares of a GPU and read without being named here"
            )
    return names
