"""Which workloads are one job: pods of one training run, or a Slurm job that is one by itself."""

from __future__ import annotations

from collections.abc import Sequence

from ullage_collector.mapping import Subject


def gang_name(about: Subject, labels: Sequence[str]) -> str:
    """The job a workload is part of: its own id, unless a label says that it is one of many."""
    said = about.labels or {}
    value = next((said[label] for label in labels if said.get(label)), None)
    return about.workload_id if value is None else f"gang/{about.cluster}/{about.namespace or '-'}/{value}"
