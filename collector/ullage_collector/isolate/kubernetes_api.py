"""Writing to an API server: one request at a time, each with its field manager, and what its refusals mean.

Reads go through the client that follows allocations; it never writes, so the writes are here, each on a connection
of its own. Whether a write whose connection was lost took effect is for who sent it to look at (kubernetes_write.py).
"""

from __future__ import annotations

import http.client
import re
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

import ullage_contract
from ullage_collector.allocation.kubernetes.access import Access
from ullage_collector.allocation.kubernetes.client import (
    PAGE_OBJECTS,
    Absent,
    ApiError,
    Busy,
    Client,
    Denied,
    Document,
    Unreachable,
)
from ullage_contract.clock import Clock
from ullage_contract.errors import ActuatorError, ConfigError

JSON: Final = "application/json"
MERGE: Final = "application/merge-patch+json"
STRATEGIC: Final = "application/strategic-merge-patch+json"
_ANSWER_SECONDS: Final = 10.0  # our choice: because an API server answers a single object in milliseconds
_ANSWER_BYTES: Final = 16 * 1024 * 1024  # our choice: ten times what etcd lets one object be
_POOL: Final = 4  # our choice: as many readers as act at once; more make connections of their own
_LATEST_RETRY_SECONDS: Final = 30.0  # our choice: who acts on a fault does not wait longer for one request
_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
"""Lower case letters, digits, - and . — "Object Names and IDs", DNS subdomain names."""
_VERSION: Final = re.compile(r'"resourceVersion":"[^"]*"')
RBAC: Final = "deploy/kubernetes/isolation-rbac.yaml"


class Conflict(ApiError):
    """409: changed since it was read, there already, or another object of the same name."""


class Refused(ApiError):
    """400, 405, 415 or 422: the server will never take this request."""


@dataclass(frozen=True, slots=True)
class ApiCall:
    """One write as it is sent. url: whole, with its query. body: the document, None: no body. No secret in it.

    varying: texts in the body that are made when it is planned (its time, names made of it). Read as text the call
    has words in their place and for the version it was planned at, so that who approved it approved the next plan too.
    """

    method: str
    url: str
    content: str
    body: Document | None
    varying: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {"method": self.method, "url": self.url, "content_type": self.content, "body": self.body}

    def __str__(self) -> str:
        text = _VERSION.sub('"resourceVersion":"<as read>"', self.text())
        for part in self.varying:
            text = text.replace(part, "<time>")
        return f"{self.method} {self.url} {text}".rstrip()

    def text(self) -> str:
        """The body as it is sent."""
        return "" if self.body is None else msgspec.json.encode(self.body).decode("utf-8")


class Api:
    """One cluster's API server, for any thread. manager: what the server notes as the writer of a field."""

    def __init__(self, access: Access, clock: Clock, *, manager: str) -> None:
        self._access = access
        self.clock = clock
        self.manager = manager
        self._lock = threading.Lock()
        self._readers: list[Client] = []

    @property
    def server(self) -> str:
        """https://host:port/prefix, for messages."""
        return self._access.server.rstrip("/")

    # ------------------------------------------------------------------------------------- reading
    def get(self, path: str, query: Mapping[str, str] | None = None) -> Document:
        """One document. Raises ApiError."""
        with self._reader() as client:
            return client.get(path, query)

    def found(self, path: str) -> Document | None:
        """One document, None where it is not there. Raises ApiError for any other answer."""
        try:
            return self.get(path)
        except Absent:
            return None

    def items(self, path: str, query: Mapping[str, str] | None = None) -> Iterator[Document]:
        """Every object of a list, page by page. Raises ApiError; what came before it is then not the whole."""
        asked = {**(query or {}), "limit": str(PAGE_OBJECTS)}
        while True:
            page = self.get(path, asked)
            yield from (item for item in page.get("items") or () if isinstance(item, dict))
            more = (page.get("metadata") or {}).get("continue")
            if not more:
                return
            asked["continue"] = more

    # ------------------------------------------------------------------------------------- writing
    def call(
        self,
        method: str,
        path: str,
        body: Document | None,
        *,
        content: str = JSON,
        strict: bool = False,
        varying: tuple[str, ...] = (),
    ) -> ApiCall:
        """The write as it will be sent. strict: a field the server does not know is refused, never dropped."""
        query = {} if method == "DELETE" else {"fieldManager": self.manager}
        if strict:
            query["fieldValidation"] = "Strict"
        url = f"{self.server}{path}" + (f"?{urlencode(query)}" if query else "")
        return ApiCall(method, url, content, body, varying)

    def send(self, call: ApiCall) -> Document:
        """Send a write once; the answer's document.

        Raises Conflict, Refused, Denied, Absent, Busy; Unreachable when nobody knows whether it took effect.
        """
        path = call.url.removeprefix(self.server)
        try:
            connection = self._access.connect(_ANSWER_SECONDS)
        except ConfigError as e:
            raise ApiError(str(e)) from e
        except OSError as e:
            raise Unreachable(f"{self.server}{path}: {_why(e)}") from e
        try:
            headers = {
                "Accept": JSON,
                "Content-Type": call.content,
                "User-Agent": f"ullage-collector/{ullage_contract.__version__}",
            }
            token = self._access.credential().token
            if token:
                headers["Authorization"] = f"Bearer {token}"
            connection.request(
                call.method, f"{self._access.prefix}{path}", call.text().encode("utf-8") or None, headers
            )
            response = connection.getresponse()
            body = response.read(_ANSWER_BYTES)
        except ConfigError as e:
            raise ApiError(str(e)) from e
        except (OSError, http.client.HTTPException) as e:
            raise Unreachable(f"{self.server}{path}: {_why(e)}") from e
        finally:
            connection.close()
        if response.status in (200, 201, 202):
            return _document(body)
        raise self._refusal(response, body, call.method, path)

    def _refusal(self, response: http.client.HTTPResponse, body: bytes, method: str, path: str) -> ApiError:
        status = response.status
        told = str(_document(body).get("message") or response.reason or "")[:300]
        text = f"{method} {self.server}{path.partition('?')[0]}: {status} {told}".rstrip()
        if status == 409:
            return Conflict(text)
        if status == 404:
            return Absent(text)
        if status in (401, 403):
            return Denied(f"{text}; {RBAC} grants what is needed")
        if status == 429 or status >= 500:
            said = response.headers.get("Retry-After", "")
            wait = min(float(said), _LATEST_RETRY_SECONDS) if said.isdecimal() else None
            return Busy(text, wait)
        return Refused(text)

    @contextmanager
    def _reader(self) -> Iterator[Client]:
        with self._lock:
            client = self._readers.pop() if self._readers else None
        client = client or Client(self._access, self.clock, answer_seconds=_ANSWER_SECONDS)
        try:
            yield client
        except ConfigError as e:
            client.close()
            raise ApiError(str(e)) from e
        except ApiError:
            client.close()
            raise
        with self._lock:
            if len(self._readers) < _POOL:
                self._readers.append(client)
                return
        client.close()


def node_path(node_id: str) -> str:
    """The path of a node. Raises ActuatorError for what can be no node's name, which may come from an agent."""
    if len(node_id) > 253 or not _SUBDOMAIN.fullmatch(node_id):
        raise ActuatorError(
            f"{node_id[:80]!r} can be no node's name in Kubernetes: the agent's node_id is not what Kubernetes calls it"
        )
    return f"/api/v1/nodes/{node_id}"


@contextmanager
def planning() -> Iterator[None]:
    """What a server refuses or leaves unanswered while something is planned is an ActuatorError."""
    try:
        yield
    except ApiError as e:
        raise ActuatorError(str(e)) from e


def _document(body: bytes) -> Document:
    """The answer, empty where it is no object: a proxy's page says nothing to us."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it fell silent"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    return f"{type(error).__name__}: {error}"[:200]
