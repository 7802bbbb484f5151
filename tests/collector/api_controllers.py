"""What controllers of a cluster do about taints and disruption budgets, one step when asked. Part of api_server.py.

Written after the Kubernetes documentation ("Taints and tolerations", "Disruptions", "API-initiated eviction", "Device
taints and tolerations"). The budgets of a pod are asked as if their controller had just counted; device taints are
held to no real server, only to its published models and pages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from api_store import Key, ObjectStore, Refused

CORDON_TAINT = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


def ask_budgets(objects: ObjectStore, key: Key) -> None:
    """Raises Refused: 429 where the pod's budget has no disruption left, 500 where it has two budgets."""
    pod = objects.get(key)
    if not _healthy(pod):
        return  # a budget counts what runs and is ready; what is neither may go
    budgets = [b for b in _all(objects, "poddisruptionbudgets", key[1]) if _selects(b, pod)]
    if len(budgets) > 1:
        raise Refused(500, "InternalError", "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.")  # fmt: skip
    for budget in budgets:
        spec = budget["spec"]
        pods = [p for p in _all(objects, "pods", key[1]) if _selects(budget, p)]
        healthy = sum(_healthy(p) for p in pods)
        least = spec["minAvailable"] if "minAvailable" in spec else len(pods) - spec["maxUnavailable"]
        if healthy - 1 < least:
            raise Refused(
                429, "TooManyRequests", "Cannot evict pod as it would violate the pod's disruption budget."
            )


def taint_cordoned(objects: ObjectStore) -> None:
    """The node lifecycle controller: a node that is unschedulable carries the taint for it, another does not."""
    with objects.lock:
        for node in _all(objects, "nodes"):
            taints = node.get("spec", {}).get("taints") or []
            has = any(t["key"] == CORDON_TAINT["key"] for t in taints)
            if has == bool(node.get("spec", {}).get("unschedulable")):
                continue
            kept = [t for t in taints if t["key"] != CORDON_TAINT["key"]]
            node.setdefault("spec", {})["taints"] = kept if has else [*taints, dict(CORDON_TAINT)]
            objects.replace(("nodes", "", node["metadata"]["name"]), node, None, "kube-controller-manager")


def evict_tainted(objects: ObjectStore) -> None:
    """Pods whose node or device has a NoExecute taint they do not tolerate are deleted; nobody's budget is asked."""
    with objects.lock:
        doomed: dict[str, Key] = {}
        for pod in _all(objects, "pods"):
            node = pod["spec"].get("nodeName")
            taints = objects.get(("nodes", "", node)).get("spec", {}).get("taints") or [] if node else []
            if any(t["effect"] == "NoExecute" and not _tolerated(pod, t) for t in taints):
                doomed[pod["metadata"]["uid"]] = _key(pod)
        tainted = {device for device, effect in device_taints(objects) if effect == "NoExecute"}
        for claim in _all(objects, "resourceclaims"):
            results = (
                ((claim.get("status") or {}).get("allocation") or {}).get("devices", {}).get("results", [])
            )
            if any((r["driver"], r["pool"], r["device"]) in tainted for r in results):
                names = {consumer["name"] for consumer in claim["status"].get("reservedFor") or ()}
                for pod in _all(objects, "pods", claim["metadata"]["namespace"]):
                    if pod["metadata"]["name"] in names:
                        doomed[pod["metadata"]["uid"]] = _key(pod)
        for key in doomed.values():
            objects.delete(key, None, {})


def device_taints(objects: ObjectStore) -> Iterator[tuple[tuple[str, str, str], str]]:
    """((driver, pool, device), effect) of every rule and device; a selector that says nothing selects all."""
    rules = _all(objects, "devicetaintrules")
    for given in _all(objects, "resourceslices"):
        spec = given["spec"]
        for device in spec.get("devices") or ():
            here = {"driver": spec["driver"], "pool": spec["pool"]["name"], "device": device["name"]}
            for rule in rules:
                selector = rule["spec"].get("deviceSelector")
                if selector is not None and all(here[k] == v for k, v in selector.items()):
                    yield (here["driver"], here["pool"], here["device"]), rule["spec"]["taint"]["effect"]


def free_devices(objects: ObjectStore) -> list[str]:
    """Names of the devices the scheduler may still give out."""
    tainted = {device for device, effect in device_taints(objects) if effect in ("NoSchedule", "NoExecute")}
    return [
        device["name"]
        for given in _all(objects, "resourceslices")
        for device in given["spec"].get("devices") or ()
        if (given["spec"]["driver"], given["spec"]["pool"]["name"], device["name"]) not in tainted
    ]


def _all(objects: ObjectStore, resource: str, namespace: str = "") -> list[dict[str, Any]]:
    return objects.list(resource, namespace, 0, None, lambda item: True)[0]


def _key(pod: Mapping[str, Any]) -> Key:
    return "pods", pod["metadata"]["namespace"], pod["metadata"]["name"]


def _healthy(pod: Mapping[str, Any]) -> bool:
    status = pod.get("status") or {}
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or ())
    return status.get("phase") == "Running" and ready and "deletionTimestamp" not in pod["metadata"]


def _selects(budget: Mapping[str, Any], pod: Mapping[str, Any]) -> bool:
    wanted = budget["spec"]["selector"].get("matchLabels") or {}
    have = pod["metadata"].get("labels") or {}
    return all(have.get(key) == value for key, value in wanted.items())


def _tolerated(pod: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    for toleration in pod["spec"].get("tolerations") or ():
        if toleration.get("effect") not in (None, "", taint["effect"]):
            continue
        if toleration.get("operator") == "Exists" and toleration.get("key") in (None, "", taint["key"]):
            return True
        if toleration.get("key") == taint["key"] and (toleration.get("value") or "") == (
            taint.get("value") or ""
        ):
            return True
    return False
