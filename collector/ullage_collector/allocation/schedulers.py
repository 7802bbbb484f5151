"""Which schedulers are asked for a cluster's allocations: [allocation.slurm], [[allocation.kubernetes]].

Not here: what they said, and when (heard.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ullage_collector.allocation.kubernetes import settings as kubernetes
from ullage_collector.allocation.slurm.settings import slurm_settings

SLURM_JOB: Final = "slurm_job"
KUBERNETES_POD: Final = "kubernetes_pod"


def kinds_by_cluster(allocation: Mapping[str, Any], file: str) -> dict[str, tuple[str, ...]]:
    """Kinds of workload by cluster, Slurm's first; a cluster that nobody is asked of is not there.

    Raises ConfigError for a wrong table.
    """
    found: dict[str, tuple[str, ...]] = {
        one.cluster: (SLURM_JOB,) for one in slurm_settings(allocation, file)
    }
    for each in kubernetes.from_part(allocation, file):
        found[each.cluster] = (*found.get(each.cluster, ()), KUBERNETES_POD)
    return found
