"""Reading an API server over REST: one document, a list by pages, a watch line by line.

Plain HTTP/1.1 of the standard library: a watch is one response whose lines come for minutes, and its reads end
after a set silence, which cuts connections whose other end is gone. Only GET is ever sent.
Not here: going on after an error (follow.py).
"""

from __future__ import annotations

import email.utils
import http.client
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

import ullage_contract
from ullage_collector.allocation.kubernetes.access import Access
from ullage_contract.clock import Clock
from ullage_contract.errors import UllageError

PAGE_OBJECTS: Final = 500
"""Objects a page — what kubectl and client-go ask for by default, API concepts, "Retrieving large results"."""
_PAGE_BYTES: Final = 256 * 1024 * 1024  # our choice: 500 objects of etcd's bound of 1.5 MiB come nowhere near
_LINE_BYTES: Final = 16 * 1024 * 1024  # our choice: ten times what etcd lets one object be
_LATEST_RETRY_SECONDS: Final = 3600.0  # our choice: nobody means a longer pause than an hour
_ROUNDING_SECONDS: Final = 0.5
"""``Date`` has whole seconds: half of one is the best guess of what was cut off."""

Document = Mapping[str, Any]


class ApiError(UllageError):
    """A request an API server did not answer as asked; the message names server and path, never a secret."""


class Unreachable(ApiError):
    """No connection, or one that ended or fell silent in the middle."""


class Gone(ApiError):
    """410: the version asked for is compacted away; list anew."""


class Busy(ApiError):
    """429 or 5xx. retry_seconds: as Retry-After says, None: it does not."""

    def __init__(self, message: str, retry_seconds: float | None) -> None:
        super().__init__(message)
        self.retry_seconds = retry_seconds


class Denied(ApiError):
    """401 or 403: who we are is not known, or may not read this."""


class Absent(ApiError):
    """404: this server has no such kind."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list. version: of the whole list, the same on every page. more: the token of the next."""

    items: list[Document]
    version: str
    more: str | None


class Client:
    """One thread's connection to one API server; ``cut`` alone may be called by another thread.

    answer_seconds: how long an answer may take to begin, and a silence inside it may last.
    ahead_seconds: by how much the server's clock was ahead of ours at the last answer, to half a second;
        None before the first.
    """

    def __init__(self, access: Access, clock: Clock, *, answer_seconds: float = 30.0) -> None:
        self._access = access
        self._clock = clock
        self._answer_seconds = answer_seconds
        self._connection: http.client.HTTPConnection | None = None
        self._streaming: socket.socket | None = None
        self.ahead_seconds: float | None = None

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Document:
        """One JSON document. Raises ApiError, ConfigError when what we show cannot be read."""
        response = self._ask(path, query or {}, self._answer_seconds)
        try:
            body = response.read(_PAGE_BYTES + 1)
        except (OSError, http.client.HTTPException) as e:
            raise self._lost(path, e) from e
        if len(body) > _PAGE_BYTES:
            self.close()
            raise ApiError(f"{self._access.server}{path}: an answer of more than {_PAGE_BYTES} bytes")
        return self._decoded(body, path)

    def page(self, path: str, more: str | None = None) -> Page:
        """One page of a list, from the newest state. Raises Gone when ``more`` has lapsed, else as ``get``."""
        query = {"limit": str(PAGE_OBJECTS)}
        if more:
            query["continue"] = more
        document = self.get(path, query)
        metadata, items = document.get("metadata"), document.get("items")
        if not isinstance(metadata, dict) or not isinstance(metadata.get("resourceVersion"), str):
            raise ApiError(f"{self._access.server}{path}: no list: it has no metadata.resourceVersion")
        # An empty list is null where a server was written in Go.
        return Page(
            [item for item in items or [] if isinstance(item, dict)],
            metadata["resourceVersion"],
            metadata.get("continue") or None,
        )

    def watch(
        self, path: str, version: str, *, seconds: int, quiet_seconds: float
    ) -> Iterator[tuple[str, Document]]:
        """(type, object) of each change after ``version``, until the server ends the watch in order.

        seconds: how long the server is asked to keep it. quiet_seconds: a longer silence ends it.
        Raises Gone for a 410, as answer or as event; Unreachable when it was cut in the middle, else as ``get``.
        """
        query = {
            "watch": "1", "resourceVersion": version, "allowWatchBookmarks": "true", "timeoutSeconds": str(seconds)
        }  # fmt: skip
        self.close()  # a watch has a connection of its own, dropped with it
        response = self._ask(path, query, quiet_seconds)
        try:
            while True:
                try:
                    line = response.readline(_LINE_BYTES)
                except (OSError, http.client.HTTPException, ValueError) as e:
                    raise self._lost(path, e) from e
                if not line:
                    return
                if not line.endswith(b"\n"):
                    raise Unreachable(f"{self._access.server}{path}: cut in the middle of an object")
                if line.isspace():
                    continue
                yield self._event(line, path)
        finally:
            self.close()

    def cut(self) -> None:
        """End whatever this client waits for, from another thread."""
        stream = self._streaming
        if stream is not None:
            with suppress(OSError):
                stream.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Drop the connection; the next request makes another."""
        connection, self._connection, self._streaming = self._connection, None, None
        if connection is not None:
            with suppress(OSError):
                connection.close()

    # ------------------------------------------------------------------------------------- one request
    def _ask(self, path: str, query: Mapping[str, str], read_seconds: float) -> http.client.HTTPResponse:
        target = f"{self._access.prefix}{path}" + (f"?{urlencode(query)}" if query else "")
        headers = {
            "Accept": "application/json",
            "User-Agent": f"ullage-collector/{ullage_contract.__version__}",
        }
        token = self._access.credential().token
        if token:
            headers["Authorization"] = f"Bearer {token}"
        response = self._send(target, headers, read_seconds, path)
        self._read_clock(response)
        if response.status == 200:
            return response
        raise self._refusal(response, path)

    def _send(
        self, target: str, headers: Mapping[str, str], read_seconds: float, path: str
    ) -> http.client.HTTPResponse:
        """The answer's head. A kept connection that turns out to be closed is replaced once."""
        for kept in (self._connection is not None, False):
            try:
                if self._connection is None or self._connection.sock is None:
                    self._connection = self._access.connect(read_seconds)
                    self._streaming = self._connection.sock
                else:
                    self._connection.sock.settimeout(read_seconds)
                self._connection.request("GET", target, headers=dict(headers))
                return self._connection.getresponse()
            except (OSError, http.client.HTTPException) as e:
                self.close()
                if not kept or isinstance(e, TimeoutError):
                    raise self._lost(path, e) from e
        raise AssertionError("BUG: a request is tried at most twice")

    def _lost(self, path: str, error: Exception) -> Unreachable:
        self.close()
        if isinstance(error, TimeoutError):
            why = "it fell silent"
        elif isinstance(error, ssl.SSLCertVerificationError):
            why = f"its certificate is not trusted: {error.verify_message}"
        else:
            why = f"{type(error).__name__}: {error}"[:200]
        return Unreachable(f"{self._access.server}{path}: {why}")

    def _refusal(self, response: http.client.HTTPResponse, path: str) -> ApiError:
        status = response.status
        try:
            told = str(self._decoded(response.read(64 * 1024), path).get("message") or "")[:200]
        except (ApiError, OSError, http.client.HTTPException):
            told = response.reason[:100]
        self.close()
        text = f"{self._access.server}{path}: {status} {told}".rstrip()
        if status == 410:
            return Gone(text)
        if status == 404:
            return Absent(text)
        if status == 401:
            return Denied(f"{text}; the token or certificate of {self._access.where} is not accepted")
        if status == 403:
            return Denied(f"{text}; deploy/kubernetes/collector-rbac.yaml grants what is needed")
        if status == 429 or status >= 500:
            return Busy(text, _retry_seconds(response.headers.get("Retry-After")))
        return ApiError(text)

    def _event(self, line: bytes, path: str) -> tuple[str, Document]:
        event = self._decoded(line, path)
        word, changed = event.get("type"), event.get("object")
        if not isinstance(word, str) or not isinstance(changed, dict):
            raise ApiError(f"{self._access.server}{path}: a line that is no watch event")
        if word == "ERROR":
            code, told = changed.get("code"), str(changed.get("message") or "")[:200]
            text = f"{self._access.server}{path}: the watch ended with {code} {told}"
            raise Gone(text) if code == 410 else Busy(text, None)
        return word, changed

    def _decoded(self, body: bytes, path: str) -> Document:
        try:
            document = msgspec.json.decode(body)
        except (msgspec.DecodeError, RecursionError) as e:
            raise ApiError(f"{self._access.server}{path}: an answer that is no JSON: {e}") from e
        if not isinstance(document, dict):
            raise ApiError(f"{self._access.server}{path}: an answer that is no object")
        return document

    def _read_clock(self, response: http.client.HTTPResponse) -> None:
        said = response.headers.get("Date")
        if said:
            with suppress(ValueError, TypeError):
                then = email.utils.parsedate_to_datetime(said).timestamp() + _ROUNDING_SECONDS
                self.ahead_seconds = then - self._clock.wall()


def _retry_seconds(text: str | None) -> float | None:
    """Retry-After in seconds; a date is not what API servers send and counts as none."""
    if text is None or not text.strip().isdecimal():
        return None
    return min(float(text), _LATEST_RETRY_SECONDS)
