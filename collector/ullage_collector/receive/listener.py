"""The one listener: TCP, TLS with client certificates, and the Unix socket; HTTP/1.1 by httptools.

``/v1/push`` is answered right here; every other path goes to an ASGI app. Everything that comes in is
bounded: connections, header bytes, body bytes, and the time for each. One request at a time a connection:
a client that sends the next one before its answer gets the answer and then the connection's end.
Not here: what a batch is (push.py), who speaks (identity.py).
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Coroutine, Mapping
from enum import Enum, auto
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import unquote

import httptools

from ullage_collector.config import Listen
from ullage_collector.health import Health
from ullage_collector.receive.asgi import App, Exchange, Scope
from ullage_collector.receive.identity import Doorkeeper, Identity, Refusal
from ullage_collector.receive.push import Push, too_large
from ullage_collector.receive.reply import Reply, error
from ullage_contract import wire
from ullage_contract.clock import Clock
from ullage_contract.errors import ConfigError

log = logging.getLogger(__name__)

MAX_HEADER_BYTES: Final = 32 * 1024  # our choice: because honest heads have under 4 KiB, cookies included
MAX_URL_BYTES: Final = 8 * 1024
SWEEP_SECONDS: Final = 0.5
LINGER_SECONDS: Final = 2.0  # our choice: how long an early answer waits to be read before the end
DRAIN_SECONDS: Final = 60.0  # our choice: a reader that takes nothing for a minute is gone
PROGRESS_BYTES: Final = 16 * 1024  # a streamed body keeps its time while at least so much comes
SMALL_BODY_BYTES: Final = 1024 * 1024  # a refused body up to here is read to its end: the connection lives on
_PUSH: Final = wire.PUSH_PATH.encode()


class _Phase(Enum):
    WAITING = auto()  # for a request to begin
    HEAD = auto()
    BODY = auto()
    ANSWERING = auto()
    LINGERING = auto()  # answered early: what still comes is dropped until the peer is done
    CLOSED = auto()


class Connection(asyncio.Protocol):
    """One connection. Called by the loop and the parser; holds at most one request."""

    def __init__(self, listener: Listener, *, unix: bool) -> None:
        self._listener = listener
        self._unix = unix
        self._parser = httptools.HttpRequestParser(self)
        self._phase = _Phase.WAITING
        self._ignoring = False
        self._keep_alive = True
        self._peer_name: str | None = None
        self._identity: Identity | None = None
        self._identity_of: tuple[bytes | None, int] | None = None
        self._identified = False
        self._exchange: Exchange | None = None
        self._writable: asyncio.Future[None] | None = None
        self._reading = True
        self.deadline = listener.clock.monotonic() + listener.settings.header_seconds
        self._reset()

    def _reset(self) -> None:
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._raw_headers: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._progress = 0
        self._refusal: Reply | None = None
        self._is_push = False

    # ---- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        certificate = transport.get_extra_info("peercert")
        if certificate:
            self._peer_name = _common_name(certificate)
        if not self._listener.welcome(self):
            self._write(error(503, "busy", "too many connections", headers=(b"retry-after: 10",), close=True))
            self._close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._phase = _Phase.CLOSED
        self._listener.farewell(self)
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        if self._exchange is not None:
            self._exchange.disconnect()
            self._exchange = None

    def data_received(self, data: bytes) -> None:
        if self._phase is _Phase.LINGERING or self._phase is _Phase.CLOSED:
            return
        if self._phase is _Phase.ANSWERING:
            self._keep_alive = False  # pipelining: the answer under way is the last
            self._ignoring = True
            return
        if self._phase is _Phase.WAITING or self._phase is _Phase.HEAD:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse_now(error(400, "malformed", "this server upgrades to nothing", close=True))
        except httptools.HttpParserError as e:
            if self._phase in (_Phase.ANSWERING, _Phase.LINGERING, _Phase.CLOSED) or self._ignoring:
                self._keep_alive = (
                    False  # what follows the request under way is nonsense; it is still answered
                )
                self._ignoring = True
                return
            self._listener.health.parse_errors += 1
            self._refuse_now(error(400, "malformed", f"not HTTP: {str(e)[:100]}", close=True))
        else:
            in_head = self._phase is _Phase.WAITING or self._phase is _Phase.HEAD
            if in_head and self._head_bytes > MAX_HEADER_BYTES:
                self._refuse_now(_head_too_large())

    def eof_received(self) -> bool:
        # A half-closed peer still gets the answer to its push; an app is told that the peer is gone.
        answering = self._phase is _Phase.ANSWERING and self._is_push
        return answering and not self._transport.get_extra_info("sslcontext")

    def pause_writing(self) -> None:
        if self._writable is None:
            self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        if self._writable is not None:
            if not self._writable.done():
                self._writable.set_result(None)
            self._writable = None

    # ---- httptools

    def on_message_begin(self) -> None:
        if self._phase is not _Phase.WAITING:
            self._ignoring = True
            self._keep_alive = False
            return
        self._phase = _Phase.HEAD
        self.deadline = self._listener.clock.monotonic() + self._listener.settings.header_seconds

    def on_url(self, url: bytes) -> None:
        if not self._ignoring:
            self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._ignoring:
            name = name.lower()
            self._raw_headers.append((name, value))
            self._headers[name] = value

    def on_headers_complete(self) -> None:
        if self._ignoring:
            return
        listener = self._listener
        listener.health.requests += 1
        self._keep_alive = self._parser.should_keep_alive() and not listener.closing
        self._phase = _Phase.BODY
        self.deadline = listener.clock.monotonic() + listener.settings.body_seconds
        size = len(self._url) + sum(len(n) + len(v) for n, v in self._raw_headers)
        if size > MAX_HEADER_BYTES or len(self._url) > MAX_URL_BYTES:
            self._refuse(_head_too_large())
            return
        method = self._parser.get_method()
        path, _, query = self._url.partition(b"?")
        try:
            identity = self._identify(method)
        except Refusal as e:
            self._refuse(error(e.status, e.word, e.message))
            return
        if path == _PUSH:
            self._is_push = True
            refusal = listener.push.admit(method, self._headers, identity)
            if refusal is not None:
                health = listener.health
                health.answers[refusal.status] = health.answers.get(refusal.status, 0) + 1
                self._refuse(refusal)
            else:
                self._continue()
            return
        scope = self._scope(method, path, query, identity)
        self._exchange = Exchange(
            self, scope, keep_alive=self._keep_alive, on_failure=listener.count_app_failure
        )
        self._continue()
        listener.start(self._exchange.run(listener.app))

    def on_body(self, body: bytes) -> None:
        if self._ignoring or self._phase is not _Phase.BODY:
            return
        self._body_bytes += len(body)
        if self._refusal is not None:
            if self._body_bytes > SMALL_BODY_BYTES:
                self._refuse_now(self._refusal)
        elif self._exchange is not None:
            self._progress += len(body)
            if self._progress >= PROGRESS_BYTES:
                self._progress = 0
                self.deadline = self._listener.clock.monotonic() + self._listener.settings.body_seconds
            self._exchange.feed(body)
        elif self._body_bytes > wire.MAX_BODY_BYTES:
            self._refuse_now(too_large())
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        if self._ignoring or self._phase is not _Phase.BODY:
            return
        self._phase = _Phase.ANSWERING
        self.deadline = float("inf")
        if self._refusal is not None:
            self._answer(self._refusal)
        elif self._exchange is not None:
            self._exchange.end()
        else:
            body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
            self._body = []
            assert self._identity is not None
            self._listener.push.receive(self._headers, body, self._identity, self._answer)

    # ---- the request

    def _identify(self, method: bytes) -> Identity | None:
        """Who this is; a kept connection that shows the same token is not asked twice."""
        listener = self._listener
        authorization = self._headers.get(b"authorization")
        key = (authorization, listener.doorkeeper.generation)
        if authorization is not None and key == self._identity_of and not listener.doorkeeper.expiring:
            return self._identity
        self._identity = listener.doorkeeper.identify(
            method=method.decode("latin-1"),
            headers=self._headers,
            peer_name=self._peer_name,
            unix=self._unix,
        )
        self._identity_of = key
        if self._identity is not None and not self._identified:
            self._identified = True
            listener.known(self)
        return self._identity

    def _continue(self) -> None:
        if self._headers.get(b"expect", b"").lower() == b"100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _scope(self, method: bytes, path: bytes, query: bytes, identity: Identity | None) -> Scope:
        text = path.decode("latin-1")
        server = self._transport.get_extra_info("sockname")
        peer = self._transport.get_extra_info("peername")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": self._parser.get_http_version(),
            "method": method.decode("latin-1"),
            "scheme": "https" if self._transport.get_extra_info("sslcontext") else "http",
            "path": unquote(text),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": self._raw_headers,
            "client": tuple(peer[:2]) if isinstance(peer, tuple) else None,
            "server": tuple(server[:2]) if isinstance(server, tuple) else None,
            "state": {"identity": identity},
        }

    def _refuse(self, reply: Reply) -> None:
        """Answer without looking at the body: after it when it is small, now when it is not."""
        self._refusal = reply
        length = int(self._headers.get(b"content-length", b"0") or 0)
        waits = self._headers.get(b"expect", b"").lower() == b"100-continue"
        if reply.close or length > SMALL_BODY_BYTES or waits:
            self._refuse_now(reply)

    def _refuse_now(self, reply: Reply) -> None:
        """Answer in the middle of a request and end; what still comes is read and dropped for a moment."""
        if self._phase in (_Phase.LINGERING, _Phase.CLOSED):
            return
        if self._exchange is not None:
            self._exchange.disconnect()
            started, self._exchange = self._exchange.started, None
            if started:
                self._close()
                return
        self._ignoring = True
        self._write(reply, keep_alive=False)
        self._linger()

    def _answer(self, reply: Reply) -> None:
        if self._phase is _Phase.CLOSED:
            return
        self._write(reply)
        self.finished(keep_alive=not reply.close)

    def _write(self, reply: Reply, *, keep_alive: bool | None = None) -> None:
        keep = self._keep_alive if keep_alive is None else keep_alive
        self._transport.write(reply.encode(keep_alive=keep and not self._ignoring))

    def _linger(self) -> None:
        self._phase = _Phase.LINGERING
        self.deadline = self._listener.clock.monotonic() + LINGER_SECONDS
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def _close(self) -> None:
        self._phase = _Phase.CLOSED
        self._transport.close()

    # ---- asgi.Wire

    def write(self, data: bytes) -> None:
        if self._phase is not _Phase.CLOSED:
            self._transport.write(data)

    async def drain(self) -> None:
        future = self._writable
        if future is not None and not future.done():
            try:
                await asyncio.wait_for(asyncio.shield(future), DRAIN_SECONDS)
            except TimeoutError:
                self._transport.abort()
                raise ConnectionAbortedError("the peer takes nothing") from None
        if self._phase is _Phase.CLOSED:
            raise ConnectionResetError("the peer is gone")

    def pause_reading(self) -> None:
        if self._reading and self._phase is _Phase.BODY and not self._transport.is_closing():
            self._reading = False
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if not self._reading and self._phase is not _Phase.CLOSED and not self._transport.is_closing():
            self._reading = True
            self._transport.resume_reading()
            if self._phase is _Phase.BODY:
                self.deadline = self._listener.clock.monotonic() + self._listener.settings.body_seconds

    def finished(self, *, keep_alive: bool) -> None:
        """An answer is complete: wait for the next request, or end."""
        self._exchange = None
        self.resume_reading()
        if self._phase is _Phase.CLOSED:
            return
        if self._phase is _Phase.BODY:
            self._ignoring = True
            self._linger()
        elif self._ignoring or not (keep_alive and self._keep_alive):
            self._close()
        else:
            self._reset()
            self._phase = _Phase.WAITING
            self.deadline = self._listener.clock.monotonic() + self._listener.settings.idle_seconds

    # ---- listener

    def overdue(self) -> None:
        """Its time is over. The loop's sweep calls this."""
        if self._phase in (_Phase.HEAD, _Phase.BODY):
            if self._phase is _Phase.BODY and not self._reading:
                self.deadline = self._listener.clock.monotonic() + self._listener.settings.body_seconds
                return  # we stopped reading, not the peer
            self._listener.health.timeouts += 1
            self._refuse_now(error(408, "timeout", "the request took too long to arrive", close=True))
        elif self._phase is _Phase.LINGERING:
            self._phase = _Phase.CLOSED
            self._transport.abort()
        else:
            self._close()

    def end(self) -> None:
        """The collector stops: end as soon as the answer under way is out."""
        self._keep_alive = False
        if self._phase is _Phase.WAITING:
            self._close()

    def give_way(self) -> None:
        """Make room for somebody else; only asked of those who never said who they are."""
        self._phase = _Phase.CLOSED
        self._transport.abort()


class Listener:
    """Binds the sockets and keeps the connections. ``listen``, then ``close``; all in one loop."""

    def __init__(
        self,
        settings: Listen,
        *,
        socket_path: Path | None,
        push: Push,
        app: App,
        doorkeeper: Doorkeeper,
        health: Health,
        clock: Clock,
        sweep_seconds: float = SWEEP_SECONDS,
    ) -> None:
        self.settings = settings
        self._sweep_seconds = sweep_seconds
        self.push = push
        self.app = app
        self.doorkeeper = doorkeeper
        self.health = health
        self.clock = clock
        self.closing = False
        self._socket_path = socket_path
        self._servers: list[asyncio.AbstractServer] = []
        self._connections: set[Connection] = set()
        self._unknown: dict[Connection, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._tls: ssl.SSLContext | None = None
        self._tls_stamp: tuple[int, int] = (0, 0)
        self.port = 0

    async def listen(self) -> None:
        """Bind and listen. Raises ConfigError when an address, socket or certificate cannot be used."""
        self.doorkeeper.check_bind()
        loop = asyncio.get_running_loop()
        settings = self.settings
        self._tls = _tls(settings)
        self._tls_stamp = self._stamp()
        try:
            server = await loop.create_server(
                lambda: Connection(self, unix=False),
                settings.host,
                settings.port,
                ssl=self._tls,
                backlog=4096,
                ssl_handshake_timeout=settings.header_seconds if self._tls else None,
            )
        except OSError as e:
            raise ConfigError(
                f"[listen] address = {settings.host}:{settings.port} cannot be bound: {e.strerror or e}"
            ) from e
        self._servers.append(server)
        self.port = server.sockets[0].getsockname()[1]
        if self._socket_path is not None:
            self._servers.append(
                await loop.create_unix_server(
                    lambda: Connection(self, unix=True), sock=_unix_socket(self._socket_path)
                )
            )
        self.start(self._sweep())

    async def close(self, grace_seconds: float = 5.0) -> None:
        """Take no new connection, let answers under way finish, then end the rest."""
        self.closing = True
        for server in self._servers:
            server.close()
        if self._socket_path is not None:
            self._socket_path.unlink(missing_ok=True)
        for connection in list(self._connections):
            connection.end()
        until = asyncio.get_running_loop().time() + grace_seconds
        while self._connections and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(0.02)
        for connection in list(self._connections):
            connection.give_way()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run it beside the connections; it is cancelled when the listener closes."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def count_app_failure(self) -> None:
        self.health.app_errors += 1

    def welcome(self, connection: Connection) -> bool:
        """Whether there is room; somebody who never said who he is makes room when there is none."""
        if len(self._connections) >= self.settings.max_connections:
            self.health.connections_refused += 1
            if not self._unknown:
                return False
            oldest = next(iter(self._unknown))
            self.farewell(oldest)
            oldest.give_way()
        self._connections.add(connection)
        self._unknown[connection] = None
        self.health.connections = len(self._connections)
        return True

    def known(self, connection: Connection) -> None:
        """It said who it is, and was believed."""
        self._unknown.pop(connection, None)

    def farewell(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._unknown.pop(connection, None)
        self.health.connections = len(self._connections)

    async def _sweep(self) -> None:
        """End what is overdue; look for changed tokens and certificates."""
        rounds = 0
        while True:
            await asyncio.sleep(self._sweep_seconds)
            now = self.clock.monotonic()
            for connection in [c for c in self._connections if c.deadline < now]:
                connection.overdue()
            rounds += 1
            if rounds % 4 == 0:
                self.doorkeeper.reload()
            if rounds % 20 == 0:
                self._reload_tls()

    def _stamp(self) -> tuple[int, int]:
        try:
            return (
                self.settings.tls_certificate.stat().st_mtime_ns if self.settings.tls_certificate else 0,
                self.settings.tls_key.stat().st_mtime_ns if self.settings.tls_key else 0,
            )
        except OSError:
            return (0, 0)

    def _reload_tls(self) -> None:
        stamp = self._stamp()
        if self._tls is None or stamp == self._tls_stamp or 0 in stamp:
            return
        assert self.settings.tls_certificate is not None
        try:
            self._tls.load_cert_chain(self.settings.tls_certificate, self.settings.tls_key)
        except (OSError, ssl.SSLError) as e:
            log.error("%s: the new certificate cannot be used: %s", self.settings.tls_certificate, e)
            return
        self._tls_stamp = stamp
        log.info("%s: new certificate in use", self.settings.tls_certificate)


def _tls(settings: Listen) -> ssl.SSLContext | None:
    if settings.tls_certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.tls_certificate, settings.tls_key)
        if settings.client_ca is not None:
            context.load_verify_locations(settings.client_ca)
            context.verify_mode = ssl.CERT_OPTIONAL
    except (OSError, ssl.SSLError) as e:
        raise ConfigError(f"[listen] tls_certificate, tls_key or client_ca cannot be used: {e}") from e
    return context


def _unix_socket(path: Path) -> socket.socket:
    """A bound Unix socket of mode 0600; a stale file is replaced (the caller holds the collector's lock)."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        made.bind(str(path))
    except OSError as e:
        made.close()
        raise ConfigError(
            f"{path}: the socket cannot be made ({e}); choose a shorter --data path or set [listen] socket = false"
        ) from e
    finally:
        os.umask(before)
    made.setblocking(False)
    return made


def _common_name(certificate: Mapping[str, Any]) -> str | None:
    for part in certificate.get("subject", ()):
        for name, value in part:
            if name == "commonName":
                return str(value)
    return None


def _head_too_large() -> Reply:
    return error(431, "too_large", f"the head has more than {MAX_HEADER_BYTES} bytes", close=True)
