"""What an API server says of objects before it keeps them: names, labels, taints, amounts; and its three patches.

Written after the Kubernetes documentation ("Object names and IDs", "Labels and selectors", "Taints and tolerations",
"Update API objects in place using kubectl patch"); what it says is checked against a real server by the
contract tests. Part of the stand-in api_server.py.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any

SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$")
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
DEVICE_EFFECTS = ("NoSchedule", "NoExecute", "None")  # the last is of later versions
AMOUNT = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$")
NATIVE = ("cpu", "memory", "ephemeral-storage", "storage", "pods")


class Invalid(Exception):
    """422. field and reason as the server's status says them."""

    def __init__(self, field: str, value: Any, reason: str) -> None:
        super().__init__(f"{field}: Invalid value: {value!r}: {reason}")


def check(resource: str, item: Mapping[str, Any]) -> None:
    """Raises Invalid for what a server would not keep."""
    metadata = item["metadata"]
    name = metadata.get("name", "")
    if not isinstance(name, str) or len(name) > 253 or not SUBDOMAIN.match(name):
        raise Invalid(
            "metadata.name", name, "a lowercase RFC 1123 subdomain must consist of lower case letters"
        )
    namespace = metadata.get("namespace")
    if namespace is not None and (len(namespace) > 63 or not LABEL.match(namespace)):
        raise Invalid("metadata.namespace", namespace, "a lowercase RFC 1123 label")
    for key, value in (metadata.get("labels") or {}).items():
        check_key("metadata.labels", key)
        check_label("metadata.labels", value)
    for key, value in (metadata.get("annotations") or {}).items():
        check_key("metadata.annotations", key.lower())
        if not isinstance(value, str):
            raise Invalid("metadata.annotations", value, "must be text")
    if resource == "nodes":
        check_taints((item.get("spec") or {}).get("taints") or [])
    if resource == "pods":
        check_pod(item)
    if resource == "devicetaintrules":
        check_rule(item)
    if resource == "events":
        about = item.get("involvedObject") or {}
        if (about.get("namespace") or "default") != namespace:
            raise Invalid(
                "involvedObject.namespace", about.get("namespace"), "does not match event.namespace"
            )


def check_rule(rule: Mapping[str, Any]) -> None:
    """A DeviceTaintRule. A selector without anything in it is valid, and selects every device there is."""
    spec = rule.get("spec") or {}
    taint, selector = spec.get("taint") or {}, spec.get("deviceSelector") or {}
    check_key("spec.taint.key", taint.get("key") or "")
    check_label("spec.taint.value", taint.get("value") or "")
    if taint.get("effect") not in DEVICE_EFFECTS:
        raise Invalid("spec.taint.effect", taint.get("effect"), f"supported values: {DEVICE_EFFECTS}")
    for name, pattern, most in (("driver", SUBDOMAIN, 63), ("device", LABEL, 63)):
        value = selector.get(name)
        if value is not None and (len(value) > most or not pattern.match(value)):
            raise Invalid(f"spec.deviceSelector.{name}", value, "must be a DNS name")
    pool = selector.get("pool")
    if pool is not None and (len(pool) > 253 or not all(SUBDOMAIN.match(part) for part in pool.split("/"))):
        raise Invalid("spec.deviceSelector.pool", pool, "must be DNS subdomains between slashes")


def check_key(field: str, key: str) -> None:
    """A qualified name: an optional DNS prefix, a slash, a name of at most 63 characters."""
    prefix, slash, name = key.rpartition("/")
    if slash and (len(prefix) > 253 or not SUBDOMAIN.match(prefix)):
        raise Invalid(field, key, "prefix part must be a DNS subdomain")
    if not name or len(name) > 63 or not QUALIFIED.match(name):
        raise Invalid(field, key, "name part must consist of alphanumeric characters, '-', '_' or '.'")


def check_label(field: str, value: Any) -> None:
    if not isinstance(value, str) or len(value) > 63 or (value and not QUALIFIED.match(value)):
        raise Invalid(
            field, value, "a valid label must be an empty string or consist of alphanumeric characters"
        )


def check_taints(taints: list[Any]) -> None:
    seen = set()
    for taint in taints:
        check_key("spec.taints.key", taint.get("key") or "")
        check_label("spec.taints.value", taint.get("value") or "")
        if taint.get("effect") not in EFFECTS:
            raise Invalid("spec.taints.effect", taint.get("effect"), f"supported values: {EFFECTS}")
        if (taint["key"], taint["effect"]) in seen:
            raise Invalid("spec.taints", taint["key"], "taints must be unique by key and effect pair")
        seen.add((taint["key"], taint["effect"]))


def check_pod(pod: Mapping[str, Any]) -> None:
    containers = (pod.get("spec") or {}).get("containers")
    if not containers:
        raise Invalid("spec.containers", containers, "Required value")
    for container in [*containers, *(pod["spec"].get("initContainers") or [])]:
        if not LABEL.match(container.get("name") or ""):
            raise Invalid("spec.containers.name", container.get("name"), "a lowercase RFC 1123 label")
        if not container.get("image"):
            raise Invalid("spec.containers.image", None, "Required value")
        resources = container.get("resources") or {}
        limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
        for name, amount in [*limits.items(), *requests.items()]:
            check_key("spec.containers.resources", name)
            if not AMOUNT.match(str(amount)):
                raise Invalid(
                    "spec.containers.resources", amount, "quantities must match the regular expression"
                )
            if "/" in name and not str(amount).isdecimal():
                raise Invalid("spec.containers.resources", amount, "must be an integer")
            if "/" not in name and name not in NATIVE and not name.startswith("hugepages-"):
                raise Invalid("spec.containers.resources", name, "must be a standard resource for containers")
        for name, amount in requests.items():
            if "/" in name and limits.get(name) != amount:
                raise Invalid("spec.containers.resources.requests", amount, f"must be equal to {name} limit")


def defaults(resource: str, item: dict[str, Any]) -> None:
    """What a server fills in that we read."""
    if resource == "devicetaintrules":
        item["metadata"]["generation"] = 1
    if resource != "pods":
        return
    spec = item["spec"]
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("schedulerName", "default-scheduler")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    item.setdefault("status", {}).setdefault("phase", "Pending")
    for container in [*spec["containers"], *(spec.get("initContainers") or [])]:
        resources = container.setdefault("resources", {})
        for name, amount in (resources.get("limits") or {}).items():
            resources.setdefault("requests", {}).setdefault(name, amount)


KEYS = {"containers": "name", "initContainers": "name", "conditions": "type", "env": "name"}
KEYS |= {"ownerReferences": "uid", "reservedFor": "uid", "volumes": "name"}
"""Lists that strategic merge merges by a key; the others, taints among them, are replaced whole."""


def merge_patch(item: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = dict(item) if isinstance(item, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def strategic_patch(item: Any, patch: Any) -> Any:
    """A merge patch whose known lists are merged by their key; $patch: delete takes an entry out."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    if patch.get("$patch") == "replace":
        return {k: v for k, v in patch.items() if k != "$patch"}
    merged = dict(item) if isinstance(item, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, list) and key in KEYS:
            merged[key] = _merged_list(merged.get(key) or [], value, KEYS[key])
        elif not key.startswith("$"):
            merged[key] = strategic_patch(merged.get(key), value)
    return merged


def _merged_list(have: list[Any], patch: list[Any], key: str) -> list[Any]:
    result = list(have)
    for entry in patch:
        if entry.get("$patch") == "replace":
            result = []
            continue
        at = next((n for n, other in enumerate(result) if other.get(key) == entry.get(key)), None)
        if entry.get("$patch") == "delete":
            if at is not None:
                del result[at]
        elif at is None:
            result.append(copy.deepcopy(entry))
        else:
            result[at] = strategic_patch(result[at], entry)
    return result


def json_patch(item: Any, patch: Any) -> Any:
    """RFC 6902. Raises Invalid where a path is not there or a test does not hold."""
    document = copy.deepcopy(item)
    for step in patch:
        path = [p.replace("~1", "/").replace("~0", "~") for p in step["path"].split("/")[1:]]
        try:
            if step["op"] == "test":
                if _at(document, path) != step.get("value"):
                    raise Invalid(step["path"], step.get("value"), "testing value failed")
            elif step["op"] in ("add", "replace"):
                if step["op"] == "replace":
                    _at(document, path)
                _set(document, path, copy.deepcopy(step["value"]), insert=step["op"] == "add")
            elif step["op"] == "remove":
                _remove(document, path)
            elif step["op"] in ("copy", "move"):
                source = [p.replace("~1", "/").replace("~0", "~") for p in step["from"].split("/")[1:]]
                value = copy.deepcopy(_at(document, source))
                if step["op"] == "move":
                    _remove(document, source)
                _set(document, path, value, insert=True)
            else:
                raise Invalid("op", step["op"], "unknown operation")
        except (KeyError, IndexError, ValueError, TypeError) as e:
            raise Invalid(step["path"], step.get("value"), "the path does not exist") from e
    return document


def _at(document: Any, path: list[str]) -> Any:
    for part in path:
        document = document[int(part)] if isinstance(document, list) else document[part]
    return document


def _set(document: Any, path: list[str], value: Any, *, insert: bool) -> None:
    parent, last = _at(document, path[:-1]), path[-1]
    if isinstance(parent, list):
        if last == "-":
            parent.append(value)
        elif insert:
            if int(last) > len(parent):
                raise IndexError(last)
            parent.insert(int(last), value)
        else:
            parent[int(last)] = value
    else:
        parent[last] = value


def _remove(document: Any, path: list[str]) -> None:
    parent, last = _at(document, path[:-1]), path[-1]
    if isinstance(parent, list):
        del parent[int(last)]
    else:
        del parent[last]
