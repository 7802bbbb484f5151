"""Who a pod is: its workload with owner, user, queue and labels, from the pod alone; no call per pod.

A pod names its controller, and of a ReplicaSet the name less the pod's template hash is the Deployment's. Group,
queue and user keys are those their projects document; sites add theirs in the settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from ullage_collector.allocation.holding import Workload
from ullage_contract.identity import MAX_ID_LENGTH
from ullage_contract.sample import Value

MOST_LABELS: Final = 64  # our choice: because a pod of a large platform carries about thirty
MOST_LABEL_BYTES: Final = 8192  # our choice: because labels stand beside every workload for ever
_LONGEST_ANNOTATION: Final = 256  # our choice: names and numbers fit, documents name nobody

_NOISE: Final = frozenset(
    {
        "pod-template-hash",
        "controller-revision-hash",
        "pod-template-generation",
        "controller-uid",
        "batch.kubernetes.io/controller-uid",
        "statefulset.kubernetes.io/pod-name",
    }
)
"""Labels controllers make for themselves: new for every pod or revision, and no rule maps by them."""

_GROUPS: Final = (
    # (key of a label, attribute) — the documentation of the project before the slash
    ("batch.kubernetes.io/job-name", "job"),
    ("job-name", "job"),
    ("training.kubeflow.org/job-name", "job"),
    ("training.kubeflow.org/replica-type", "role"),
    ("jobset.sigs.k8s.io/jobset-name", "jobset"),
    ("leaderworkerset.sigs.k8s.io/name", "leaderworkerset"),
    ("ray.io/cluster", "raycluster"),
    ("ray.io/node-type", "role"),
    ("volcano.sh/job-name", "job"),
    ("workflows.argoproj.io/workflow", "workflow"),
    ("spark-app-name", "spark_app"),
    ("serving.kserve.io/inferenceservice", "inference_service"),
    ("serving.knative.dev/service", "inference_service"),
)
_QUEUES: Final = (
    # labels and annotations alike
    "kueue.x-k8s.io/queue-name",
    "scheduling.volcano.sh/queue-name",
    "volcano.sh/queue-name",
    "quota.scheduling.koordinator.sh/name",
    "yunikorn.apache.org/queue",
    "kai.scheduler/queue",
    "runai/queue",
)
_NOTEBOOK_LABELS: Final = (("notebook-name", "*"), ("component", "singleuser-server"))
"""Kubeflow's notebook controller and JupyterHub's KubeSpawner put these on the pods they make."""

NODE_POOLS: Final = (
    "ullage.dev/node-pool",
    "cloud.google.com/gke-nodepool",
    "eks.amazonaws.com/nodegroup",
    "karpenter.sh/nodepool",
    "kubernetes.azure.com/agentpool",
    "alibabacloud.com/nodepool-id",
    "node.volcengine.com/node-pool-id",
    "cce.cloud.com/cce-nodepool",
    "node-pool",
)
"""Labels of a node that name its pool, the first that is there counts: each cloud's documentation of node pools."""
USERS: Final = ("annotation:hub.jupyter.org/username", "label:hub.jupyter.org/username")
"""JupyterHub's KubeSpawner says whose server it is; nothing else in Kubernetes says who made a pod."""


@dataclass(frozen=True, slots=True)
class Naming:
    """What a site adds. annotations: globs of annotations that are kept. users, pools: keys tried before ours."""

    cluster: str
    annotations: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    pools: tuple[str, ...] = ()


def workload_id(cluster: str, namespace: str, name: str, uid: str) -> str:
    """``k8s/<cluster>/<namespace>/<pod>/<uid>``; the pod's name is cut with ``~`` where it would be too long."""
    whole = f"k8s/{cluster}/{namespace}/{name}/{uid}"
    over = len(whole) - MAX_ID_LENGTH
    return whole if over <= 0 else f"k8s/{cluster}/{namespace}/{name[: -over - 1]}~/{uid}"


def workload(pod: Mapping[str, Any], naming: Naming) -> Workload:
    """The workload of a pod as JSON gives it. Raises KeyError where it has no metadata."""
    metadata = pod["metadata"]
    labels = _texts(metadata.get("labels"))
    annotations = _texts(metadata.get("annotations"))
    spec = pod.get("spec") or {}
    owner_kind, owner = _owner(metadata, labels)
    attributes: dict[str, Value] = {}
    if owner_kind and owner:
        attributes |= {"owner_kind": owner_kind, "owner": owner}
    for key, attribute in _GROUPS:
        if labels.get(key):
            attributes.setdefault(attribute, labels[key])
    queue = next((said[key] for key in _QUEUES for said in (labels, annotations) if said.get(key)), None)
    if queue:
        attributes["queue"] = queue
    if spec.get("priorityClassName"):
        attributes["priority_class"] = str(spec["priorityClassName"])
    if spec.get("schedulerName") not in (None, "", "default-scheduler"):
        attributes["scheduler"] = str(spec["schedulerName"])
    notebook = owner_kind == "Notebook" or any(
        fnmatchcase(labels.get(key, ""), value) for key, value in _NOTEBOOK_LABELS if key in labels
    )
    return Workload(
        workload_id=workload_id(naming.cluster, metadata["namespace"], metadata["name"], metadata["uid"]),
        kind="notebook" if notebook else "kubernetes_pod",
        cluster=naming.cluster,
        name=metadata["name"],
        user=_user(labels, annotations, naming),
        namespace=metadata["namespace"],
        labels=_bounded({key: value for key, value in labels.items() if key not in _NOISE}),
        attributes=attributes | _annotations(annotations, naming),
    )


def node_pool(labels: Mapping[str, str], naming: Naming) -> str | None:
    """The pool a node's labels name, None where they name none."""
    return next((labels[key] for key in (*naming.pools, *NODE_POOLS) if labels.get(key)), None)


def _owner(metadata: Mapping[str, Any], labels: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Kind and name of the controller; of a ReplicaSet of a Deployment the Deployment's."""
    for owner in metadata.get("ownerReferences") or ():
        if not owner.get("controller"):
            continue
        kind, name = str(owner.get("kind") or ""), str(owner.get("name") or "")
        suffix = "-" + labels.get("pod-template-hash", "")
        if kind == "ReplicaSet" and len(suffix) > 1 and name.endswith(suffix):
            return "Deployment", name.removesuffix(suffix)
        return kind or None, name or None
    return None, None


def _user(labels: Mapping[str, str], annotations: Mapping[str, str], naming: Naming) -> str | None:
    for key in (*naming.users, *USERS):
        place, _, name = key.partition(":")
        found = (annotations if place == "annotation" else labels).get(name)
        if found:
            return found[:200]
    return None


def _annotations(annotations: Mapping[str, str], naming: Naming) -> dict[str, str]:
    """Those the site asked for, as ``annotation:<key>``: what mapping rules see as annotations."""
    wanted = {
        f"annotation:{key}": value[:_LONGEST_ANNOTATION]
        for key, value in annotations.items()
        if any(fnmatchcase(key, glob) for glob in naming.annotations)
    }
    return _bounded(wanted)


def _bounded(wanted: Mapping[str, str]) -> dict[str, str]:
    """In key order while they fit."""
    kept: dict[str, str] = {}
    left = MOST_LABEL_BYTES
    for key in sorted(wanted):
        left -= len(key.encode()) + len(wanted[key].encode())
        if len(kept) == MOST_LABELS or left < 0:
            break
        kept[key] = wanted[key]
    return kept


def _texts(given: Any) -> dict[str, str]:
    return {str(k): str(v) for k, v in given.items()} if isinstance(given, dict) else {}
