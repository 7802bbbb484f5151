"""The fields we read are those Kubernetes publishes: held to the models of the package ``kubernetes``.

Each object below has every field our readers look at, and reading it gives what is asserted beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import pytest

from ullage_collector.allocation.kubernetes import claims, nodes, pods
from ullage_collector.allocation.kubernetes.workloads import Naming, workload_id

client = pytest.importorskip("kubernetes.client", reason="the package kubernetes is of the dev extra")

T0, T1 = "2026-11-21T14:00:00Z", "2026-11-21T15:00:00.5Z"
NAMING = Naming("c1", annotations=("example.com/*",))


def nested(annotation: Any) -> Any:
    """The model inside an annotation, None where it is plain."""
    if isinstance(annotation, type) and hasattr(annotation, "model_fields"):
        return annotation
    found = [inner for argument in get_args(annotation) if (inner := nested(argument)) is not None]
    return found[0] if found else None


def check(model: Any, document: Mapping[str, Any], path: str = "") -> None:
    """Every key of the document is a field of the model, all the way down."""
    known = {field.serialization_alias or name: field for name, field in model.model_fields.items()}
    for key, value in document.items():
        here = f"{path}.{key}"
        assert key in known, f"{model.__name__} has no field {here}"
        inner = nested(known[key].annotation)
        if inner is None:
            continue
        is_map = "Dict[" in str(known[key].annotation) or "dict[" in str(known[key].annotation)
        values = value.values() if is_map else value if isinstance(value, list) else [value]
        for item in values:
            if isinstance(item, dict):
                check(inner, item, here)


POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "train-0",
        "namespace": "nlp",
        "uid": "11111111-2222-3333-4444-555555555555",
        "resourceVersion": "1234",
        "creationTimestamp": T0,
        "deletionTimestamp": T1,
        "labels": {"training.kubeflow.org/job-name": "train", "team": "nlp", "pod-template-hash": "abc"},
        "annotations": {"example.com/cost": "a", "other": "b", "scheduling.volcano.sh/queue-name": "q"},
        "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-abc", "uid": "u", "controller": True}
        ],
        "managedFields": [
            {
                "manager": "kubelet",
                "subresource": "status",
                "time": T1,
                "fieldsType": "FieldsV1",
                "fieldsV1": {"f:status": {}},
            }
        ],
    },
    "spec": {
        "nodeName": "n1",
        "schedulerName": "volcano",
        "priorityClassName": "high",
        "resourceClaims": [
            {"name": "a", "resourceClaimName": "direct"},
            {"name": "b", "resourceClaimTemplateName": "t"},
        ],
        "initContainers": [
            {
                "name": "i",
                "image": "i",
                "restartPolicy": "Always",
                "resources": {"limits": {"nvidia.com/gpu": "1"}},
            }
        ],
        "containers": [
            {
                "name": "main",
                "image": "i",
                "resources": {"limits": {"nvidia.com/gpu": "2"}, "requests": {"nvidia.com/gpu": "2"}},
                "env": [{"name": "ORION_RATIO", "value": "50"}, {"name": "TOKEN", "value": "geheim"}],
            }
        ],
    },
    "status": {
        "phase": "Failed",
        "reason": "Evicted",
        "startTime": T0,
        "conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": T0}],
        "resourceClaimStatuses": [{"name": "b", "resourceClaimName": "made"}],
        "extendedResourceClaimStatus": {
            "resourceClaimName": "extended",
            "requestMappings": [
                {"containerName": "main", "resourceName": "nvidia.com/gpu", "requestName": "r"}
            ],
        },
        "containerStatuses": [
            {
                "name": "main",
                "image": "i",
                "imageID": "x",
                "ready": False,
                "restartCount": 2,
                "state": {"terminated": {"exitCode": 1, "finishedAt": T1, "startedAt": T0}},
            }
        ],
        "initContainerStatuses": [
            {
                "name": "i",
                "image": "i",
                "imageID": "x",
                "ready": False,
                "restartCount": 0,
                "state": {"terminated": {"exitCode": 0, "finishedAt": T0}},
            }
        ],
    },
}


def test_a_pods_fields() -> None:
    check(client.V1Pod, POD)
    pod = pods.read(POD, NAMING)
    assert pod is not None
    assert (pod.node, pod.version, pod.phase, pod.from_how) == ("n1", 1234, "Failed", "bound")
    assert pod.from_us == 1_795_269_600_000_000
    assert pod.finished_us == pod.from_us + 3_600_500_000
    assert pod.status_us == pod.finished_us + 1_000_000
    assert pod.deletion_us == pod.finished_us
    assert pod.claims == ("made", "direct", "extended") and pod.claimed == {"nvidia.com/gpu"}
    assert pod.attributes == {"reason": "Evicted", "restarts": 2}
    workload = pod.workload
    assert workload.workload_id == "k8s/c1/nlp/train-0/11111111-2222-3333-4444-555555555555"
    assert workload.labels == {"team": "nlp", "training.kubeflow.org/job-name": "train"}
    assert workload.attributes == {
        "owner_kind": "Deployment",
        "owner": "web",
        "job": "train",
        "queue": "q",
        "priority_class": "high",
        "scheduler": "volcano",
        "annotation:example.com/cost": "a",
    }
    assert "geheim" not in repr(pod)


@pytest.mark.parametrize(
    ("change", "kind", "user"),
    [
        ({"labels": {"notebook-name": "x"}}, "notebook", None),
        (
            {
                "labels": {"component": "singleuser-server"},
                "annotations": {"hub.jupyter.org/username": "ann"},
            },
            "notebook",
            "ann",
        ),
        ({"ownerReferences": [{"kind": "Notebook", "name": "x", "controller": True}]}, "notebook", None),
        ({"labels": {"component": "other"}}, "kubernetes_pod", None),
    ],
)
def test_notebooks_and_their_users(change: dict[str, Any], kind: str, user: str | None) -> None:
    pod = pods.read({**POD, "metadata": {**POD["metadata"], **change}}, NAMING)  # type: ignore[dict-item]
    assert pod is not None
    assert (pod.workload.kind, pod.workload.user) == (kind, user)


def test_labels_are_bounded_and_an_id_always_fits() -> None:
    labels = {f"key-{n:03}": "v" * 60 for n in range(500)}
    pod = pods.read({**POD, "metadata": {**POD["metadata"], "labels": labels}}, NAMING)  # type: ignore[dict-item]
    assert pod is not None
    assert len(pod.workload.labels) == 64 and min(pod.workload.labels) == "key-000"
    long = workload_id("c" * 30, "n" * 63, "p" * 253, "u" * 36)
    assert len(long) == 200 and long.endswith("~/" + "u" * 36)


@pytest.mark.parametrize(
    "text",
    [
        "",
        None,
        5,
        "0001-01-01T00:00:00Z",
        "1970-01-01T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-11-21",
        "x" * 30,
    ],
)
def test_a_time_that_is_none_is_none(text: Any) -> None:
    assert pods.micros(text) is None


def test_times_with_offsets_and_fractions() -> None:
    assert pods.micros("2026-11-21T22:00:00.123456789+08:00") == 1_795_269_600_123_456


NODE = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {
        "name": "n1",
        "resourceVersion": "7",
        "labels": {"topology.kubernetes.io/zone": "z", "secret": "x", "nvidia.com/gpu.replicas": "4"},
        "annotations": {"hami.io/node-nvidia-register": "..."},
        "managedFields": [
            {"manager": "kubelet", "time": T0, "subresource": "status", "fieldsV1": {"f:status": {}}},
            {"manager": "kubectl", "time": T1, "fieldsV1": {"f:metadata": {}}},
        ],
    },
    "status": {
        "capacity": {"cpu": "64", "nvidia.com/gpu": "32"},
        "allocatable": {"cpu": "63", "nvidia.com/gpu": "32", "nvidia.com/mig-1g.10gb": "0"},
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "lastHeartbeatTime": "2026-11-21T14:10:00Z",
                "lastTransitionTime": T0,
            }
        ],
    },
}


def test_a_nodes_fields() -> None:
    check(client.V1Node, NODE)
    node = nodes.read(NODE)
    assert (node.name, node.version, node.skew_seconds) == ("n1", 7, 600.0)
    assert node.offers == {"nvidia.com/gpu": 32} and "secret" not in node.labels
    assert (
        nodes.replicas(node.labels, "nvidia.com/gpu")
        == nodes.replicas(node.labels, "nvidia.com/gpu.shared")
        == 4
    )


CLAIM = {
    "apiVersion": "resource.k8s.io/v1",
    "kind": "ResourceClaim",
    "metadata": {"name": "c", "namespace": "nlp", "uid": "c-uid", "resourceVersion": "9"},
    "spec": {},
    "status": {
        "allocation": {
            "devices": {
                "results": [
                    {
                        "request": "r",
                        "driver": "gpu.nvidia.com",
                        "pool": "n1",
                        "device": "gpu-0",
                        "adminAccess": False,
                        "shareID": "s",
                        "consumedCapacity": {"memory": "10Gi"},
                    },
                    {
                        "request": "r",
                        "driver": "gpu.nvidia.com",
                        "pool": "n1",
                        "device": "gpu-1",
                        "adminAccess": True,
                    },
                ]
            }
        },
        "reservedFor": [
            {"resource": "pods", "name": "p", "uid": "p-uid"},
            {"resource": "things", "apiGroup": "example.com", "name": "t", "uid": "t-uid"},
        ],
    },
}


@pytest.mark.parametrize("version", ["ResourceV1", "V1beta2", "V1beta1"])
def test_a_claims_fields(version: str) -> None:
    check(getattr(client, f"{version}ResourceClaim"), CLAIM)
    claim = claims.read_claim(CLAIM)
    assert [(r.device, r.share_id, dict(r.consumed)) for r in claim.results] == [
        ("gpu-0", "s", {"memory": 10 << 30})
    ]
    assert claim.pods == ("p-uid",)


@pytest.mark.parametrize("version", ["V1", "V1beta2", "V1beta1"])
def test_a_resource_slices_fields(version: str) -> None:
    attributes = {
        "uuid": {"string": "GPU-1"},
        "minor": {"int": 3},
        "vfio": {"bool": False},
        "driverVersion": {"version": "580.1.0"},
    }
    inner = {"attributes": attributes, "capacity": {"memory": {"value": "80Gi"}}}
    device = {"name": "gpu-0", "basic": inner} if version == "V1beta1" else {"name": "gpu-0", **inner}
    document = {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceSlice",
        "metadata": {"name": "s", "resourceVersion": "3"},
        "spec": {
            "driver": "gpu.nvidia.com",
            "nodeName": "n1",
            "pool": {"name": "n1", "generation": 2, "resourceSliceCount": 1},
            "devices": [device],
        },
    }
    check(getattr(client, f"{version}ResourceSlice"), document)
    given = claims.read_slice(document)
    assert (given.driver, given.pool, given.generation, given.node) == ("gpu.nvidia.com", "n1", 2, "n1")
    (read,) = given.devices
    assert read.attributes == {"uuid": "GPU-1", "minor": 3, "vfio": False, "driverVersion": "580.1.0"}
    assert read.capacity == {"memory": 80 << 30}


def test_what_the_tests_write_are_real_objects_too() -> None:
    check(client.V1Binding, {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}})
    check(client.V1Eviction, {"metadata": {"name": "p"}, "deleteOptions": {"gracePeriodSeconds": 0}})
    check(
        client.V1Lease,
        {"metadata": {"name": "l"}, "spec": {"holderIdentity": "a", "leaseDurationSeconds": 15}},
    )
    check(
        client.V1Node,
        {"spec": {"taints": [{"key": "a", "value": "b", "effect": "NoSchedule"}], "unschedulable": True}},
    )
    with pytest.raises(AssertionError, match="has no field"):
        check(client.V1Pod, {"spec": {"nodename": "n1"}})
