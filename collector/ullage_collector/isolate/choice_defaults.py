"""Which actuators a cluster has where a site names none: its own scheduler's, the card's first and the node's after it.

Not here: what a site names (choice.py, isolation.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ullage_collector.allocation.schedulers import KUBERNETES_POD, SLURM_JOB, kinds_by_cluster

SLURM: Final = ("slurm-card", "slurm-node")
"""Also of clusters whose scheduler nobody reads: our choice, because Slurm's programs answer where they are and refuse
where they are not."""
KUBERNETES: Final = ("kubernetes-card", "kubernetes-node")
OF_KIND: Final = {SLURM_JOB: SLURM, KUBERNETES_POD: KUBERNETES}


def by_scheduler(allocation: Mapping[str, Any], file: str) -> dict[str, tuple[str, ...]]:
    """Actuators by cluster, by who is asked for its allocations ([allocation.slurm], [[allocation.kubernetes]]).

    A cluster that both are asked of is Slurm's nodes and Kubernetes' pods at once: it has all four, Slurm's first, and
    which of them holds a card is the site's to name. Raises ConfigError for a wrong table.
    """
    return {
        cluster: tuple(name for kind in kinds for name in OF_KIND[kind])
        for cluster, kinds in kinds_by_cluster(allocation, file).items()
    }
