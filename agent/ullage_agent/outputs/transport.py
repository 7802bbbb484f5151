"""One kept-alive HTTP or HTTPS connection to one URL, for pushes and for OTLP. Standard library only.

Proxies and redirects are not followed: a batch goes where the configuration says or nowhere. Not here:
what a status means (push.py, otlp.py).
"""

from __future__ import annotations

import http.client
import ipaddress
import logging
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import SplitResult, urlsplit

from ullage_contract import __version__
from ullage_contract.errors import ConfigError

log = logging.getLogger(__name__)

MAX_ANSWER_BYTES: Final = 64 * 1024  # our choice: because our answers have some hundred bytes
TIMEOUT_SECONDS: Final = 10.0  # our choice: because a collector that takes longer is as good as away


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to, and as whom.

    url: http:// or https://, with the whole path. token_file: a bearer token, read anew whenever the file
    changes. ca_file: certificates to trust instead of the system's. cert_file, key_file: our own, for
    collectors that know nodes by certificate. headers: sent with every request. timeout_seconds: of
    connecting, of each read, and of a whole answer's body.
    """

    url: str
    token_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout_seconds: float = TIMEOUT_SECONDS


@dataclass(frozen=True, slots=True)
class Response:
    """An answer, its body cut at MAX_ANSWER_BYTES. ``headers`` have lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class IdleClosed(ConnectionError):
    """A kept connection turned out to be closed when it was used again: no failure, connect and send again."""


class Transport(Protocol):
    """Something that posts over one connection. Used by one thread at a time."""

    def open(self) -> int:
        """Connect unless connected. The number of this connection: another number is another connection.

        Raises OSError.
        """
        ...

    def post(self, body: bytes, headers: Mapping[str, str]) -> Response:
        """Send and wait for the whole answer. Raises IdleClosed, or OSError when there is no answer."""
        ...

    def close(self) -> None:
        """Give the connection back."""
        ...


class HttpTransport:
    """A Transport over http.client."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Raises ConfigError for a URL or a header that cannot be used; files are read when connecting."""
        self._endpoint = endpoint
        self._parts = _checked(endpoint.url)
        for name, value in endpoint.headers.items():
            if not name or any(c in name + value for c in "\r\n\0"):
                raise ConfigError(f"header {name[:40]!r} has a line break or no name; write one line")
        self._target = (self._parts.path or "/") + (f"?{self._parts.query}" if self._parts.query else "")
        self._connection: http.client.HTTPConnection | None = None
        self._token: tuple[float, str] | None = None
        self._generation = 0
        self._used = False
        if endpoint.token_file and self._parts.scheme == "http" and not _is_loopback(self._parts.hostname):
            log.warning("%s is not encrypted: the token travels in clear; use https", endpoint.url)

    def open(self) -> int:
        if self._connection is None:
            try:
                self._connection = self._connect()
            except ValueError as e:
                raise _as_os_error(e) from e
            self._generation += 1
            self._used = False
        return self._generation

    def post(self, body: bytes, headers: Mapping[str, str]) -> Response:
        self.open()
        used, self._used = self._used, True
        try:
            return self._exchange(body, headers)
        except (http.client.HTTPException, OSError, ValueError) as e:
            self.close()
            if used and isinstance(e, ConnectionError):
                raise IdleClosed(str(e)) from e
            raise _as_os_error(e) from e

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _exchange(self, body: bytes, headers: Mapping[str, str]) -> Response:
        everything = {"User-Agent": f"ullage-agent/{__version__}", **self._endpoint.headers, **headers}
        if token := self._read_token():
            everything["Authorization"] = f"Bearer {token}"
        connection = self._connection
        assert connection is not None
        connection.request("POST", self._target, body=body, headers=everything)
        answer = connection.getresponse()
        deadline = time.monotonic() + self._endpoint.timeout_seconds
        read = b""
        while len(read) < MAX_ANSWER_BYTES and (piece := answer.read1(MAX_ANSWER_BYTES - len(read))):
            read += piece
            if time.monotonic() > deadline:
                raise TimeoutError("the answer does not end")
        if answer.length and len(read) < MAX_ANSWER_BYTES:  # fewer bytes than announced
            raise ConnectionError("the answer was cut off")
        response = Response(answer.status, {k.lower(): v for k, v in answer.getheaders()}, read)
        whole = len(read) < MAX_ANSWER_BYTES
        answer.close()  # http.client takes the next request only after this, read to its end or not
        if not whole or answer.will_close:
            self.close()
        return response

    def _connect(self) -> http.client.HTTPConnection:
        host, timeout = self._parts.hostname or "", self._endpoint.timeout_seconds
        connection: http.client.HTTPConnection
        if self._parts.scheme == "https":
            context = _context(self._endpoint)
            connection = http.client.HTTPSConnection(host, self._parts.port, timeout=timeout, context=context)
        else:
            connection = http.client.HTTPConnection(host, self._parts.port, timeout=timeout)
        connection.connect()
        if connection.sock is not None:
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _read_token(self) -> str | None:
        path = self._endpoint.token_file
        if path is None:
            return None
        changed = path.stat().st_mtime
        if self._token is None or self._token[0] != changed:
            token = path.read_text(encoding="ascii").strip()
            if not token or any(c.isspace() for c in token):
                raise OSError(f"{path} holds no token: put one line of text there")
            self._token = (changed, token)
        return self._token[1]


_Files = tuple[Path | None, Path | None, Path | None]
_contexts: dict[_Files, tuple[list[int | None], ssl.SSLContext]] = {}
"""One a set of files, shared by all connections, because the system's certificates alone are a MiB."""


def _context(endpoint: Endpoint) -> ssl.SSLContext:
    """Made anew when a file has changed, so that renewed certificates are used without a restart."""
    files = (endpoint.ca_file, endpoint.cert_file, endpoint.key_file)
    changed = [file.stat().st_mtime_ns if file is not None else None for file in files]
    known = _contexts.get(files)
    if known is not None and known[0] == changed:
        return known[1]
    context = ssl.create_default_context(cafile=_text(endpoint.ca_file))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if endpoint.cert_file is not None:
        context.load_cert_chain(endpoint.cert_file, endpoint.key_file)
    _contexts[files] = (changed, context)
    return context


def _checked(url: str) -> SplitResult:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme not in ("http", "https") or not parts.hostname or port == -1:
        raise ConfigError(f"url {url[:200]!r} is not of the form https://collector:9736")
    if parts.username or parts.password:
        raise ConfigError("a url with a user or password in it is refused: use token_file")
    return parts


def _is_loopback(host: str | None) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _as_os_error(error: Exception) -> OSError:
    if isinstance(error, OSError):
        return error
    return ConnectionError(f"{type(error).__name__}: {str(error)[:200]}")
