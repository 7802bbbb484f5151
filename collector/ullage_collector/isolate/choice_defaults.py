"""Which actuators a cluster has where a site names none: its own scheduler's, the card's first and the node's after it.

Not here: what a site names (choice.py, isolation.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ullage_collector.allocation.kubernetes import settings as kubernetes
from ullage_collector.allocation.slurm.settings import slurm_settings

SLURM: Final = ("slurm-card", "slurm-node")
"""Also of clusters whose scheduler nobody reads: our choice, because Slurm's programs answer where they are and refuse
where they are not."""
KUBERNETES: Final = ("kubernetes-card", "kubernetes-node")


def by_scheduler(allocation: Mapping[str, Any], file: str) -> dict[str, tuple[str, ...]]:
    """Actuators by cluster, by who is asked for its allocations ([allocation.slurm], [[allocation.kubernetes]]).

    A cluster that both are asked of is Slurm's nodes and Kubernetes' pods at once: it has all four, Slurm's first, and
    which of them holds a card is the site's to name. Raises ConfigError for a wrong table.
    """
    found: dict[str, tuple[str, ...]] = {one.cluster: SLURM for one in slurm_settings(allocation, file)}
    for each in kubernetes.from_part(allocation, file):
        found[each.cluster] = (*found.get(each.cluster, ()), *KUBERNETES)
    return found
