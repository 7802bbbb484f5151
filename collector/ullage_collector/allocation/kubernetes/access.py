"""How an API server is reached and what we show it: address, certificates, token. Opens connections, sends nothing.

TLS is always verified; plain HTTP is for a proxy on this machine only, as a token would go in the clear.
Secrets are kept out of every repr and message. Not here: where the settings come from (kubeconfig.py) and
requests (client.py).
"""

from __future__ import annotations

import http.client
import ipaddress
import os
import socket
import ssl
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from ullage_contract.errors import ConfigError

CONNECT_SECONDS: Final = 10.0  # our choice: because a connect over a continent takes a tenth
_KEEPALIVE: Final = (  # our choice: a peer that vanished is noticed by the kernel in about a minute
    (socket.TCP_KEEPIDLE, 30),
    (socket.TCP_KEEPINTVL, 10),
    (socket.TCP_KEEPCNT, 3),
)


@dataclass(frozen=True, slots=True)
class Credential:
    """What we show: a bearer token, a client certificate with its key (PEM), both or nothing."""

    token: str | None = field(default=None, repr=False)
    certificate: bytes | None = field(default=None, repr=False)
    key: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Access:
    """One API server. Everything that may change on disk is read again for each connection or request.

    server: https://host:port/prefix. authority: the CA's PEM, None: the system's. server_name: whom the
    certificate must name, None: the host. credential: asked before each request.
    where: for messages: the file, context or service account this came from.
    """

    server: str
    credential: Callable[[], Credential]
    where: str
    authority: Callable[[], bytes] | None = None
    server_name: str | None = None

    @property
    def prefix(self) -> str:
        """What stands before every path."""
        return urlsplit(self.server).path.rstrip("/")

    def connect(self, read_seconds: float) -> http.client.HTTPConnection:
        """A fresh connection whose reads end after ``read_seconds`` of silence.

        Raises OSError or ssl.SSLError when there is none, ConfigError when a certificate cannot be used.
        """
        parts = urlsplit(self.server)
        host, tls = parts.hostname or "", parts.scheme == "https"
        port = parts.port or (443 if tls else 80)
        connection = http.client.HTTPConnection(host, port)
        connection.auto_open = 0  # it would open a socket of its own, without TLS
        raw = socket.create_connection((host, port), timeout=CONNECT_SECONDS)
        try:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in _KEEPALIVE:
                raw.setsockopt(socket.IPPROTO_TCP, option, value)
            if tls:
                raw = self._context().wrap_socket(raw, server_hostname=self.server_name or host)
            raw.settimeout(read_seconds)
        except BaseException:
            raw.close()
            raise
        connection.sock = raw
        return connection

    def _context(self) -> ssl.SSLContext:
        try:
            authority = self.authority() if self.authority is not None else None
            context = ssl.create_default_context(cadata=authority.decode("ascii") if authority else None)
            shown = self.credential()
            if shown.certificate is not None and shown.key is not None:
                _load_chain(context, shown.certificate, shown.key)
        except (ssl.SSLError, UnicodeDecodeError, ValueError) as e:
            raise ConfigError(f"{self.where}: a certificate or key cannot be used: {e}") from e
        except OSError as e:
            raise ConfigError(f"{self.where}: {e.filename or 'a file'} cannot be read: {e.strerror}") from e
        return context


def checked_server(server: str, where: str) -> str:
    """``server`` itself if it may be used. Raises ConfigError: no URL, or plain HTTP beyond this machine."""
    parts = urlsplit(server)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise ConfigError(f"{where}: server = {server[:80]!r}: write https://host:port")
    if parts.scheme == "http" and not _loopback(parts.hostname):
        raise ConfigError(
            f"{where}: server = {server[:80]!r}: plain HTTP is for this machine only; write https"
        )
    return server


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _load_chain(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """The ssl module reads certificates from files alone: one of ours for a moment, mode 0600."""
    handle, name = tempfile.mkstemp(prefix="ullage-tls-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(certificate.rstrip() + b"\n" + key)
        context.load_cert_chain(name)
    finally:
        Path(name).unlink(missing_ok=True)
