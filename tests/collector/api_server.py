"""A small, strict Kubernetes API server for tests: real HTTP, optional TLS, and whatever goes wrong with one.

Lists by pages, watches with bookmarks, 410 after compaction, 409 on a stale PUT, three patches, 422, tokens with
401 and 403, 429 and 5xx on demand; Pod with binding, status and eviction under disruption budgets, Node, Event,
Lease, ResourceClaim, ResourceSlice, DeviceTaintRule. ``kill`` and ``start`` again on the same port; ``freeze`` leaves
connections half open; ``lose`` cuts a write before or after it took effect. Controllers: api_controllers.py.
What it does is held to a real server by tests/collector/test_kubernetes_contract.py.
"""

from __future__ import annotations

import copy
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import api_controllers
import api_objects
from api_store import Key, ObjectStore, Refused

KINDS: Mapping[str, tuple[str, str, bool]] = {
    "pods": ("", "Pod", True),
    "nodes": ("", "Node", False),
    "namespaces": ("", "Namespace", False),
    "serviceaccounts": ("", "ServiceAccount", True),
    "events": ("", "Event", True),
    "leases": ("coordination.k8s.io/v1", "Lease", True),
    "resourceclaims": ("resource.k8s.io/*", "ResourceClaim", True),
    "resourceslices": ("resource.k8s.io/*", "ResourceSlice", False),
    "devicetaintrules": ("resource.k8s.io/taints", "DeviceTaintRule", False),
    "poddisruptionbudgets": ("policy/v1", "PodDisruptionBudget", True),
}
PATCHES = {
    "application/json-patch+json": api_objects.json_patch,
    "application/merge-patch+json": api_objects.merge_patch,
    "application/strategic-merge-patch+json": api_objects.strategic_patch,
}


class ApiServer:
    """One server. tokens: token to the (verb, resource) pairs it may, "*" for any; None: everybody may everything.

    dra: served versions of resource.k8s.io. taint_rules: those of them with DeviceTaintRule, None: v1 where it is
    served. selector_fields: what this server knows of a rule's selector; the rest is dropped or, where asked for, refused.
    bookmark_seconds: how often watches that asked for it get one. ahead_seconds: by how much its clock is wrong.
    """

    def __init__(
        self,
        *,
        tokens: Mapping[str, set[tuple[str, str]]] | None = None,
        dra: tuple[str, ...] = ("v1",),
        taint_rules: tuple[str, ...] | None = None,
        selector_fields: tuple[str, ...] = ("driver", "pool", "device"),
        bookmark_seconds: float = 0.2,
        ahead_seconds: float = 0.0,
        tls: tuple[Path, Path] | None = None,
        client_ca: Path | None = None,
    ) -> None:
        self.ahead_seconds = ahead_seconds
        self.objects = ObjectStore(lambda: time.time() + self.ahead_seconds)
        self.tokens = tokens
        self.dra = dra
        self.taint_rules = tuple(v for v in dra if v == "v1") if taint_rules is None else taint_rules
        self.selector_fields = selector_fields
        self.bookmark_seconds = bookmark_seconds
        self.requests: list[str] = []
        self.writes: list[tuple[str, str, str]] = []
        """Method, path with query and body of every write that arrived."""
        self.frozen = False
        self.port = 0
        self._tls = tls
        self._client_ca = client_ca
        self.asked: set[tuple[str, str]] = set()
        """Verb and resource of every request that was let through to be authorized."""
        self._faults: list[tuple[int, int | None]] = []
        self._losses: list[str] = []
        self._lines: list[tuple[str, bytes]] = []
        self._server: _Server | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def start(self) -> ApiServer:
        """Serve; after ``kill`` on the same port, with the objects as they are."""
        handler = type("Handler", (_Handler,), {"api": self})
        self._server = _Server(("127.0.0.1", self.port), handler)
        self.port = self._server.server_address[1]
        if self._tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self._tls)
            if self._client_ca:
                context.load_verify_locations(self._client_ca)
                context.verify_mode = ssl.CERT_REQUIRED
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def kill(self) -> None:
        """End at once; every connection is cut, whatever it was in the middle of."""
        server, self._server = self._server, None
        if server is not None:
            server.alive = False
            server.shutdown()
            server.server_close()
            server.cut()
            with self.objects.lock:
                self.objects.lock.notify_all()

    def fail(self, times: int, code: int = 429, retry_after: int | None = 1) -> None:
        """Answer the next requests with an error."""
        self._faults += [(code, retry_after)] * times

    def freeze(self, frozen: bool = True) -> None:
        """Say nothing any more on watches, without closing them: a half-open connection."""
        self.frozen = frozen

    def lose(self, *when: str) -> None:
        """Cut the connection of the next writes, one a word: ``before`` or ``after`` it takes effect, or ``not``."""
        self._losses += when

    def loss(self) -> str:
        return self._losses.pop(0) if self._losses else "not"

    def say(self, resource: str, event: Mapping[str, Any] | bytes) -> None:
        """One more line on every watch of a resource that is open now."""
        line = event if isinstance(event, bytes) else json.dumps(event).encode() + b"\n"
        with self.objects.lock:
            self._lines.append((resource, line))
            self.objects.lock.notify_all()

    def fault(self) -> tuple[int, int | None] | None:
        return self._faults.pop(0) if self._faults else None

    def lines(self, resource: str, after: int) -> tuple[list[bytes], int]:
        return [line for r, line in self._lines[after:] if r == resource], len(self._lines)

    def line_count(self) -> int:
        return len(self._lines)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, *args: Any) -> None:
        self.alive = True
        self._open: set[socket.socket] = set()
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def cut(self) -> None:
        for request in list(self._open):
            with suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that left is no error of ours."""


class _Handler(BaseHTTPRequestHandler):
    api: ClassVar[ApiServer]
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_PUT(self) -> None:
        self._answer("PUT")

    def do_PATCH(self) -> None:
        self._answer("PATCH")

    def do_DELETE(self) -> None:
        self._answer("DELETE")

    def date_time_string(self, timestamp: float | None = None) -> str:
        return formatdate(self.api.objects.now(), usegmt=True)

    # ------------------------------------------------------------------------------- requests
    def _answer(self, method: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        self.api.requests.append(f"{method} {self.path}")
        self._lost = False
        if method != "GET":
            self.api.writes.append((method, self.path, body.decode()))
            loss = self.api.loss()
            self._lost = loss == "after"
            if loss == "before":
                self.close_connection = True
                return
        try:
            fault = self.api.fault()
            if fault is not None:
                raise Refused(
                    fault[0], "TooManyRequests" if fault[0] == 429 else "InternalError", "later", fault[1]
                )
            self._authenticate()
            self._route(method, parts.path.strip("/").split("/"), query, body)
        except Refused as e:
            self._refuse(e)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            self.close_connection = True

    def _authenticate(self) -> None:
        if self.api.tokens is None:
            self._may: set[tuple[str, str]] = {("*", "*")}
            return
        kind, _, token = self.headers.get("Authorization", "").partition(" ")
        if kind != "Bearer" or token not in self.api.tokens:
            raise Refused(401, "Unauthorized", "Unauthorized")
        self._may = self.api.tokens[token]

    def _authorize(self, verb: str, resource: str) -> None:
        self.api.asked.add((verb, resource))
        if not self._may & {(verb, resource), (verb, "*"), ("*", resource), ("*", "*")}:
            raise Refused(
                403, "Forbidden", f'{resource} is forbidden: User "test" cannot {verb} resource "{resource}"'
            )

    def _route(self, method: str, path: list[str], query: dict[str, str], body: bytes) -> None:
        if path == ["version"]:
            return self._send(200, {"major": "1", "minor": "34", "gitVersion": "v1.34.0-stand-in"})
        served = tuple(dict.fromkeys((*self.api.dra, *self.api.taint_rules)))
        if path == ["api", "v1"] or (
            path[:2] == ["apis", "resource.k8s.io"] and path[2:] in [[v] for v in served]
        ):
            return self._send(200, self._resources(path))
        if path == ["apis", "resource.k8s.io"] and served:
            versions = [{"groupVersion": f"resource.k8s.io/{v}", "version": v} for v in served]
            return self._send(200, {"kind": "APIGroup", "apiVersion": "v1", "name": "resource.k8s.io", "versions": versions, "preferredVersion": versions[0]})  # fmt: skip
        group, rest = ("", path[2:]) if path[:2] == ["api", "v1"] else ("/".join(path[1:3]), path[3:])
        namespace = ""
        if len(rest) > 2 and rest[0] == "namespaces":
            namespace, rest = rest[1], rest[2:]
        resource = rest[0] if rest else ""
        known = KINDS.get(resource)
        if known is None or not self._serves(group, known[0]) or (namespace and not known[2]):
            raise Refused(404, "NotFound", "the server could not find the requested resource")
        name, part = (rest[1] if len(rest) > 1 else ""), (rest[2] if len(rest) > 2 else None)
        self._version = group or "v1"
        verb = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}.get(method, "get")
        if method == "GET" and not name:
            verb = "watch" if query.get("watch") in ("1", "true") else "list"
        self._authorize(verb, resource + (f"/{part}" if part else ""))
        if verb == "watch":
            return self._watch(resource, namespace, query)
        if verb == "list":
            return self._list(resource, namespace, query)
        return self._one(method, (resource, namespace, name), part, query, body)

    def _resources(self, path: list[str]) -> dict[str, Any]:
        """What a version of a group has, as discovery says it."""
        group = "" if path[0] == "api" else "/".join(path[1:])
        found: list[dict[str, Any]] = [
            {"name": name, "singularName": "", "namespaced": namespaced, "kind": kind, "verbs": ["get"]}
            for name, (wanted, kind, namespaced) in KINDS.items()
            if self._serves(group, wanted)
        ]
        if not group:
            found.append({"name": "pods/eviction", "singularName": "", "namespaced": True, "group": "policy", "version": "v1", "kind": "Eviction", "verbs": ["create"]})  # fmt: skip
        return {"kind": "APIResourceList", "groupVersion": group or "v1", "resources": found}

    def _serves(self, group: str, wanted: str) -> bool:
        if wanted.endswith("/taints"):
            return group in {f"resource.k8s.io/{v}" for v in self.api.taint_rules}
        return (
            group in {f"resource.k8s.io/{v}" for v in self.api.dra}
            if wanted.endswith("*")
            else group == wanted
        )

    def _one(self, method: str, key: Key, part: str | None, query: dict[str, str], body: bytes) -> None:
        objects = self.api.objects
        manager = query.get("fieldManager") or self.headers.get("User-Agent", "test").split("/")[0]
        if method == "GET":
            return self._send(200, self._typed(key[0], objects.get(key)))
        document = self._body(body) if body else {}
        if key[0] == "devicetaintrules" and method in ("POST", "PUT"):
            self._known_fields(document, query.get("fieldValidation") == "Strict")
        if method == "DELETE":
            grace = document.get("gracePeriodSeconds", query.get("gracePeriodSeconds"))
            given = document.get("preconditions") or {}
            gone = objects.delete(key, None if grace is None else int(grace), given)
            return self._send(200, self._typed(key[0], gone))
        if method == "POST" and part == "binding":
            return self._bind(key, document)
        if method == "POST" and part == "eviction":
            return self._evict(key, document)
        if method == "POST":
            made = objects.create(
                (key[0], key[1], (document.get("metadata") or {}).get("name", "")), document
            )
            return self._send(201, self._typed(key[0], made))
        if method == "PUT":
            return self._send(200, self._typed(key[0], objects.replace(key, document, part, manager)))
        return self._patch(key, part, document, manager)

    def _patch(self, key: Key, part: str | None, document: Any, manager: str) -> None:
        kind = (self.headers.get("Content-Type") or "").split(";")[0]
        if kind not in PATCHES:
            raise Refused(
                415, "UnsupportedMediaType", f"the body of the request was in an unknown format - {kind}"
            )
        objects = self.api.objects
        with objects.lock:
            have = objects.get(key)
            given = (
                document.get("metadata", {}).get("resourceVersion") if isinstance(document, dict) else None
            )
            try:
                new = PATCHES[kind](have, document)
            except api_objects.Invalid as e:
                raise Refused(422, "Invalid", str(e)) from e
            if not given:
                new["metadata"]["resourceVersion"] = have["metadata"]["resourceVersion"]
            self._send(200, self._typed(key[0], objects.replace(key, new, part, manager)))

    def _bind(self, key: Key, document: Mapping[str, Any]) -> None:
        objects = self.api.objects
        with objects.lock:
            pod = objects.get(key)
            if pod["spec"].get("nodeName"):
                raise Refused(
                    409, "Conflict", f'pod {key[2]} is already assigned to node "{pod["spec"]["nodeName"]}"'
                )
            target = (document.get("target") or {}).get("name")
            if not target:
                raise Refused(422, "Invalid", "target.name: Required value")
            pod["spec"]["nodeName"] = target
            conditions = [c for c in pod["status"].get("conditions", []) if c["type"] != "PodScheduled"]
            now = objects.stamp()
            pod["status"]["conditions"] = [
                *conditions,
                {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": now},
            ]
            objects._put(key, pod, "MODIFIED")
        self._send(201, {"kind": "Status", "apiVersion": "v1", "status": "Success", "code": 201})

    def _evict(self, key: Key, document: Mapping[str, Any]) -> None:
        if (document.get("metadata") or {}).get("name") not in (None, key[2]):
            raise Refused(400, "BadRequest", "name in URL does not match name in Eviction object")
        options = document.get("deleteOptions") or {}
        with self.api.objects.lock:
            api_controllers.ask_budgets(self.api.objects, key)
            grace = options.get("gracePeriodSeconds")
            self.api.objects.delete(
                key, None if grace is None else int(grace), options.get("preconditions") or {}
            )
        self._send(201, {"kind": "Status", "apiVersion": "v1", "status": "Success", "code": 201})

    def _known_fields(self, rule: Any, strict: bool) -> None:
        """Fields of a rule's selector this server does not know are refused or dropped, as a server does."""
        spec = rule.get("spec") if isinstance(rule, dict) else None
        selector = (spec or {}).get("deviceSelector") or {}
        for name in set(selector) - set(self.api.selector_fields):
            if strict:
                raise Refused(
                    400, "BadRequest", f'strict decoding error: unknown field "spec.deviceSelector.{name}"'
                )
            del selector[name]
        effects = api_objects.DEVICE_EFFECTS[: 2 if self._version.endswith("v1alpha3") else 3]
        effect = ((spec or {}).get("taint") or {}).get("effect")
        if effect not in effects:
            raise Refused(422, "Invalid", f"spec.taint.effect: Unsupported value: {effect!r}: {effects}")

    # ------------------------------------------------------------------------------- lists and watches
    def _list(self, resource: str, namespace: str, query: dict[str, str]) -> None:
        fits = _selector(query)
        items, revision, more, left = self.api.objects.list(
            resource, namespace, int(query.get("limit") or 0), query.get("continue"), fits
        )
        metadata: dict[str, Any] = {"resourceVersion": str(revision)}
        if more:
            metadata |= {"continue": more, "remainingItemCount": left}
        # As a server does, items of a list come without their kind.
        kind = KINDS[resource][1] + "List"
        self._send(
            200, {"kind": kind, "apiVersion": self._version, "metadata": metadata, "items": items or None}
        )

    def _watch(self, resource: str, namespace: str, query: dict[str, str]) -> None:
        api, fits = self.api, _selector(query)
        version = query.get("resourceVersion") or "0"
        if not version.isdecimal():
            raise Refused(400, "BadRequest", f"invalid resource version {version!r}")
        ends = time.monotonic() + float(query.get("timeoutSeconds") or 1800)
        at, said = int(version), api.line_count()
        if at == 0:
            at = api.objects.revision
        api.objects.changes(resource, namespace, at)  # too old: refused before the first byte
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        bookmark = time.monotonic() + api.bookmark_seconds
        while self.server.alive and time.monotonic() < ends:
            if api.frozen:
                time.sleep(0.02)
                continue
            try:
                changes = api.objects.changes(resource, namespace, at)
            except Refused as e:
                self._chunk({"type": "ERROR", "object": _status(e)})
                break
            for change in changes:
                at = change.revision
                if fits(change.item):
                    self._chunk({"type": change.type, "object": self._typed(resource, change.item)})
            lines, said = api.lines(resource, said)
            for line in lines:
                self._raw(line)
            if query.get("allowWatchBookmarks") in ("1", "true") and time.monotonic() >= bookmark:
                bookmark = time.monotonic() + api.bookmark_seconds
                with api.objects.lock:
                    if not api.objects.changes(resource, namespace, max(at, api.objects.compacted)):
                        at = max(at, api.objects.revision)
                    mark = {"kind": KINDS[resource][1], "apiVersion": self._version, "metadata": {"resourceVersion": str(at), "creationTimestamp": None}}  # fmt: skip
                self._chunk({"type": "BOOKMARK", "object": mark})
            with api.objects.lock:
                if api.objects.revision == at and api.line_count() == said:
                    api.objects.lock.wait(max(0.0, min(ends, bookmark) - time.monotonic()))
        if self.server.alive:
            self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, event: Mapping[str, Any]) -> None:
        self._raw(json.dumps(event).encode() + b"\n")

    def _raw(self, line: bytes) -> None:
        self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
        self.wfile.flush()

    # ------------------------------------------------------------------------------- answers
    def _body(self, body: bytes) -> Any:
        try:
            return json.loads(body)
        except ValueError as e:
            raise Refused(400, "BadRequest", "couldn't decode the body") from e

    def _typed(self, resource: str, item: Mapping[str, Any]) -> dict[str, Any]:
        return {"kind": KINDS[resource][1], "apiVersion": self._version, **copy.deepcopy(dict(item))}

    def _refuse(self, e: Refused) -> None:
        self._send(e.code, _status(e), e.retry_after)

    def _send(self, code: int, document: Mapping[str, Any], retry_after: int | None = None) -> None:
        if self._lost:
            self.close_connection = True
            return
        body = json.dumps(document).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if retry_after is not None:
            self.send_header("Retry-After", str(retry_after))
        self.end_headers()
        self.wfile.write(body)


def _status(e: Refused) -> dict[str, Any]:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": e.message,
        "reason": e.reason,
        "code": e.code,
    }


def _selector(query: Mapping[str, str]) -> Callable[[Any], bool]:
    """Equality of labels and of a few fields."""
    labels = [
        part.split("=", 1) for part in query.get("labelSelector", "").replace("==", "=").split(",") if part
    ]
    fields = [
        part.split("=", 1) for part in query.get("fieldSelector", "").replace("==", "=").split(",") if part
    ]

    def fits(item: Any) -> bool:
        have = item["metadata"].get("labels") or {}
        return all(have.get(k) == v for k, v in labels) and all(_field(item, k) == v for k, v in fields)

    return fits


def _field(item: Any, path: str) -> Any:
    for part in path.split("."):
        item = (item or {}).get(part)
    return item if item is not None else ""
