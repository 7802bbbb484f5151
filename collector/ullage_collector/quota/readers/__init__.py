"""Readers of quotas as each scheduler writes them: text in, neutral entries out. Pure; a reader for each form.

Kubernetes' objects are read as JSON (``kubectl get ... -o json``), one object, a List, or several one after another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from ullage_collector.quota.entry import Reading
from ullage_collector.quota.readers import ack, koordinator, kueue, plain, slurm, volcano
from ullage_collector.quota.readers.objects import Given, objects
from ullage_contract.errors import BadInput

Reader = Callable[[str, Given], Reading]

FORMATS: Final[Mapping[str, Reader]] = MappingProxyType(
    {
        "kueue": kueue.read,
        "volcano": volcano.read,
        "koordinator": koordinator.read,
        "ack": ack.read,
        "slurm": slurm.read,
        "plain": plain.read,
    }
)
DATED: Final = ("plain",)
"""Forms whose files carry dates of their own and say the whole history; the others are a snapshot of now."""

_KINDS: Final = {
    ("kueue.x-k8s.io", "ClusterQueue"): "kueue",
    ("kueue.x-k8s.io", "Cohort"): "kueue",
    ("kueue.x-k8s.io", "LocalQueue"): "kueue",
    ("kueue.x-k8s.io", "ResourceFlavor"): "kueue",
    ("scheduling.volcano.sh", "Queue"): "volcano",
    ("scheduling.sigs.k8s.io", "ElasticQuota"): "koordinator",
    ("scheduling.x-k8s.io", "ElasticQuota"): "koordinator",
    ("scheduling.sigs.k8s.io", "ElasticQuotaTree"): "ack",
    ("scheduling.x-k8s.io", "ElasticQuotaTree"): "ack",
}


def detect(text: str, name: str) -> str:
    """The form of a file, by its name or its content. Raises BadInput when nobody can tell."""
    if name.endswith((".toml", ".csv")):
        return "plain"
    first = text.lstrip().partition("\n")[0]
    if "|" in first and ("GrpTRES" in first or "MaxTRES" in first):
        return "slurm"
    if text.lstrip()[:1] in ("{", "[") or "apiVersion:" in text[:2000]:
        for item in objects(text):
            group = str(item.get("apiVersion", "")).partition("/")[0]
            known = _KINDS.get((group, str(item.get("kind", ""))))
            if known:
                return known
        raise BadInput(
            f"{name}: no object of Kueue, Volcano, Koordinator or ACK in it; name it with --format"
        )
    raise BadInput(f"{name}: its form is not known; name it with --format {'|'.join(FORMATS)}")


__all__ = ["DATED", "FORMATS", "Given", "Reader", "detect"]
