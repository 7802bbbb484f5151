"""Objects, revisions and a log of changes, as etcd keeps them for an API server. Part of the stand-in api_server.py.

One revision counts all writes. A list is of one revision however many pages it takes; a watch begins behind a
revision and is refused (410) when the log no longer reaches back to it.
"""

from __future__ import annotations

import base64
import copy
import json
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import api_objects

Key = tuple[str, str, str]
"""Resource, namespace (empty: none), name."""


class Refused(Exception):
    """An HTTP status with the reason of its Status document."""

    def __init__(self, code: int, reason: str, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.code, self.reason, self.message, self.retry_after = code, reason, message, retry_after


@dataclass(frozen=True)
class Change:
    """One entry of the log; ``item`` as it was after it (of a deletion: as it was, with the deletion's revision)."""

    revision: int
    key: Key
    type: str
    item: Mapping[str, Any]


class ObjectStore:
    """All objects of one server. now: seconds since the epoch, what the server's times are made of."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self.now = now
        self.lock = threading.Condition()
        self.revision = 1000
        self.compacted = self.revision
        self._objects: dict[Key, dict[str, Any]] = {}
        self._log: list[Change] = []
        self._pages: dict[str, tuple[int, list[dict[str, Any]]]] = {}

    def stamp(self) -> str:
        """Now, as a server writes it: whole seconds."""
        return datetime.fromtimestamp(int(self.now()), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    # ----------------------------------------------------------------------------- reading
    def get(self, key: Key) -> dict[str, Any]:
        with self.lock:
            if key not in self._objects:
                raise Refused(404, "NotFound", f'{key[0]} "{key[2]}" not found')
            return copy.deepcopy(self._objects[key])

    def list(
        self, resource: str, namespace: str, limit: int, token: str | None, fits: Callable[[Any], bool]
    ) -> tuple[list[dict[str, Any]], int, str | None, int]:
        """Items, the list's revision, the token of the next page, how many are left."""
        with self.lock:
            if token:
                try:
                    name = json.loads(base64.urlsafe_b64decode(token))["page"]
                except (ValueError, KeyError, TypeError) as e:
                    raise Refused(400, "BadRequest", "continue key is not valid") from e
                revision, items = self._pages.get(name, (0, []))
                if revision < self.compacted:
                    raise Refused(410, "Expired", "The provided continue parameter is too old")
            else:
                revision = self.revision
                items = [
                    copy.deepcopy(item)
                    for key, item in sorted(self._objects.items())
                    if key[0] == resource and namespace in ("", key[1]) and fits(item)
                ]
            page, rest = (items[:limit], items[limit:]) if limit else (items, [])
            more = None
            if rest:
                name = uuid.uuid4().hex
                self._pages[name] = (revision, rest)
                more = base64.urlsafe_b64encode(json.dumps({"v": 1, "page": name}).encode()).decode()
            return page, revision, more, len(rest)

    def changes(self, resource: str, namespace: str, after: int) -> list[Change]:
        """Changes behind a revision. Raises Refused 410 when the log does not reach back to it."""
        with self.lock:
            if after < self.compacted:
                raise Refused(410, "Expired", f"too old resource version: {after} ({self.compacted})")
            return [
                c
                for c in self._log
                if c.revision > after and c.key[0] == resource and namespace in ("", c.key[1])
            ]

    # ----------------------------------------------------------------------------- writing
    def create(self, key: Key, item: dict[str, Any]) -> dict[str, Any]:
        with self.lock:
            item = copy.deepcopy(item)
            metadata = item.setdefault("metadata", {})
            if metadata.get("resourceVersion"):
                raise Refused(422, "Invalid", "resourceVersion should not be set on objects to be created")
            if not key[2] and metadata.get("generateName"):
                metadata["name"] = metadata["generateName"] + uuid.uuid4().hex[:5]
                key = (key[0], key[1], metadata["name"])
            if key[1]:
                metadata.setdefault("namespace", key[1])
                if metadata["namespace"] != key[1]:
                    raise Refused(400, "BadRequest", "the namespace of the provided object does not match")
            self._check(key[0], item)
            api_objects.defaults(key[0], item)
            if key in self._objects:
                raise Refused(409, "AlreadyExists", f'{key[0]} "{key[2]}" already exists')
            metadata["uid"] = str(uuid.uuid4())
            metadata["creationTimestamp"] = self.stamp()
            metadata["managedFields"] = []
            return self._put(key, item, "ADDED")

    def replace(self, key: Key, item: dict[str, Any], part: str | None, manager: str) -> dict[str, Any]:
        """A PUT, of the whole or of a part (status). A stale resourceVersion is a conflict."""
        with self.lock:
            have = self._objects.get(key)
            if have is None:
                raise Refused(404, "NotFound", f'{key[0]} "{key[2]}" not found')
            given = item.get("metadata", {}).get("resourceVersion")
            if given and given != have["metadata"]["resourceVersion"]:
                raise Refused(
                    409,
                    "Conflict",
                    f'Operation cannot be fulfilled on {key[0]} "{key[2]}": the object has been modified; '
                    "please apply your changes to the latest version and try again",
                )
            if item.get("metadata", {}).get("uid", have["metadata"]["uid"]) != have["metadata"]["uid"]:
                raise Refused(409, "Conflict", "Precondition failed: UID in precondition does not match")
            new = copy.deepcopy(have)
            if part == "status":
                new["status"] = copy.deepcopy(item.get("status", {}))
            else:
                status = new.get("status")
                new = copy.deepcopy(item)
                for name in ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"):
                    if name in have["metadata"]:
                        new["metadata"][name] = have["metadata"][name]
                new["metadata"]["managedFields"] = copy.deepcopy(have["metadata"].get("managedFields", []))
                if status is not None:
                    new["status"] = status
                if key[0] == "pods" and _pod_fixed(new) != _pod_fixed(have):
                    raise Refused(
                        422, "Invalid", "spec: Forbidden: pod updates may not change fields other than image"
                    )
            self._check(key[0], new)
            if {k: v for k, v in new.items() if k != "metadata"} == {
                k: v for k, v in have.items() if k != "metadata"
            } and _meta(new) == _meta(have):
                return copy.deepcopy(have)  # a write that changes nothing makes no revision
            if "generation" in have["metadata"]:
                new["metadata"]["generation"] = have["metadata"]["generation"] + (
                    new.get("spec") != have.get("spec")
                )
            _managed(new, part, manager, self.stamp(), have)
            return self._put(key, new, "MODIFIED")

    def delete(self, key: Key, grace: int | None, expected: Mapping[str, Any]) -> dict[str, Any]:
        """Pods on a node get their grace: they stay, marked, until a deletion without any."""
        with self.lock:
            have = self._objects.get(key)
            if have is None:
                raise Refused(404, "NotFound", f'{key[0]} "{key[2]}" not found')
            if expected.get("uid") not in (None, have["metadata"]["uid"]):
                raise Refused(409, "Conflict", "Precondition failed: UID in precondition does not match")
            if expected.get("resourceVersion") not in (None, have["metadata"]["resourceVersion"]):
                raise Refused(
                    409, "Conflict", "Precondition failed: ResourceVersion in precondition does not match"
                )
            bound = key[0] == "pods" and have.get("spec", {}).get("nodeName")
            if bound and have.get("status", {}).get("phase") not in ("Succeeded", "Failed"):
                grace = have["spec"].get("terminationGracePeriodSeconds", 30) if grace is None else grace
            else:
                grace = 0
            if grace:
                if "deletionTimestamp" not in have["metadata"]:
                    new = copy.deepcopy(have)
                    ends = datetime.fromtimestamp(int(self.now()) + grace, UTC)
                    new["metadata"]["deletionTimestamp"] = ends.strftime("%Y-%m-%dT%H:%M:%SZ")
                    new["metadata"]["deletionGracePeriodSeconds"] = grace
                    return self._put(key, new, "MODIFIED")
                return copy.deepcopy(have)
            del self._objects[key]
            self.revision += 1
            gone = copy.deepcopy(have)
            gone["metadata"]["resourceVersion"] = str(self.revision)
            self._log.append(Change(self.revision, key, "DELETED", gone))
            self.lock.notify_all()
            return gone

    def compact(self) -> None:
        """Forget all history: watches and pages from before now are too old."""
        with self.lock:
            # One more write elsewhere in the cluster, so that nobody's version is the newest.
            self.revision += 1
            self.compacted = self.revision
            self._log.clear()
            self.lock.notify_all()

    def _check(self, resource: str, item: Mapping[str, Any]) -> None:
        try:
            api_objects.check(resource, item)
        except api_objects.Invalid as e:
            raise Refused(422, "Invalid", str(e)) from e

    def _put(self, key: Key, item: dict[str, Any], type_: str) -> dict[str, Any]:
        self.revision += 1
        item["metadata"]["resourceVersion"] = str(self.revision)
        self._objects[key] = item
        self._log.append(Change(self.revision, key, type_, copy.deepcopy(item)))
        self.lock.notify_all()
        return copy.deepcopy(item)


def _pod_fixed(pod: Mapping[str, Any]) -> Any:
    """What of a pod's spec no update may change; resources of its containers above all."""
    spec = copy.deepcopy(pod.get("spec") or {})
    for container in spec.get("containers", []) + spec.get("initContainers", []):
        container.pop("image", None)
    for name in ("activeDeadlineSeconds", "tolerations"):
        spec.pop(name, None)
    return spec


def _meta(item: Mapping[str, Any]) -> Any:
    return {k: v for k, v in item["metadata"].items() if k not in ("resourceVersion", "managedFields")}


def _managed(
    item: dict[str, Any], part: str | None, manager: str, stamp: str, have: Mapping[str, Any]
) -> None:
    """The note of who wrote what when: of a spec, which of its fields were written last by whom."""
    entries = item["metadata"].setdefault("managedFields", [])
    fields: dict[str, Any] = {"f:status": {}} if part == "status" else {"f:metadata": {}}
    old, new = have.get("spec") or {}, item.get("spec") or {}
    changed = {f"f:{name}" for name in {*old, *new} if old.get(name) != new.get(name)}
    held: dict[str, Any] = {}
    for entry in entries:
        of_spec = entry["fieldsV1"].get("f:spec", {})
        for name in changed & set(of_spec):
            del of_spec[name]
        if entry["manager"] == manager and part is None:
            held |= of_spec
    held |= {name: {} for name in changed if name[2:] in new}
    if held and part is None:
        fields["f:spec"] = held
    entries[:] = [
        e for e in entries if (e["manager"], "f:status" in e["fieldsV1"]) != (manager, part == "status")
    ]
    entry = {"manager": manager, "operation": "Update", "apiVersion": "v1", "time": stamp}
    entry |= {"fieldsType": "FieldsV1", "fieldsV1": fields}
    if part:
        entry["subresource"] = part
    entries.append(entry)
