"""One request handed to an ASGI app, its answer streamed back: console, API, OTLP.

Knows the app's protocol and HTTP's framing of bodies; the connection (listener.py) knows sockets, bounds
and time. The peer's identity is in ``scope["state"]["identity"]`` (None: nobody).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, Protocol

from ullage_collector.receive.reply import Reply, error, status_line

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
App = Callable[
    [Scope, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]

READ_AHEAD_BYTES: Final = 256 * 1024  # our choice: because an import is streamed, never gathered


class Wire(Protocol):
    """What an exchange needs of its connection."""

    def write(self, data: bytes) -> None:
        """Send bytes of the answer."""

    async def drain(self) -> None:
        """Wait until the peer has taken enough. Raises ConnectionError when it is gone or too slow."""

    def pause_reading(self) -> None:
        """Take no more of the request's body for now."""

    def resume_reading(self) -> None:
        """Go on taking it."""

    def finished(self, *, keep_alive: bool) -> None:
        """The answer is complete."""


class Exchange:
    """One request and its answer. ``feed``, ``end`` and ``disconnect`` are called by the connection."""

    def __init__(self, wire: Wire, scope: Scope, *, keep_alive: bool, on_failure: Callable[[], None]) -> None:
        self._wire = wire
        self._scope = scope
        self._keep_alive = keep_alive
        self._on_failure = on_failure
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._body_complete = False
        self._body_given = False
        self._disconnected = False
        self._wake = asyncio.Event()
        self._head: bytes | None = None
        self._started = False
        self._done = False
        self._chunked = False
        self._left: int | None = None
        self._bodyless = scope["method"] == "HEAD"

    @property
    def started(self) -> bool:
        """The answer's head has been sent."""
        return self._started

    def feed(self, data: bytes) -> None:
        """Bytes of the request's body."""
        if self._done:
            return
        self._chunks.append(data)
        self._buffered += len(data)
        if self._buffered > READ_AHEAD_BYTES:
            self._wire.pause_reading()
        self._wake.set()

    def end(self) -> None:
        """The request's body is complete."""
        self._body_complete = True
        self._wake.set()

    def disconnect(self) -> None:
        """The connection is gone."""
        self._disconnected = True
        self._wake.set()

    async def run(self, app: App) -> None:
        """Let the app answer; whatever it does, the connection ends up in a defined state."""
        try:
            await app(self._scope, self._receive, self._send)
            if not self._done and not self._disconnected:
                raise RuntimeError("the app ended without a complete answer")
        except Exception as e:
            if isinstance(e, ConnectionError) or self._disconnected:
                self._finish(False)
                return
            log.exception("%s %s failed", self._scope["method"], self._scope["path"])
            self._on_failure()
            if not self._started:
                self._started = True
                reply = error(500, "failed", "the collector failed on this request; its log says why")
                self._wire.write(
                    Reply(reply.status, reply.body, close=True).encode(keep_alive=False, head=self._bodyless)
                )
            self._finish(False)

    def _finish(self, keep_alive: bool) -> None:
        if not self._done:
            self._done = True
            self._chunks.clear()
            self._wire.finished(keep_alive=keep_alive and self._body_complete)

    async def _receive(self) -> Message:
        while True:
            if self._chunks:
                data = b"".join(self._chunks)
                self._chunks.clear()
                self._buffered = 0
                self._wire.resume_reading()
                more = not self._body_complete
                self._body_given = not more
                return {"type": "http.request", "body": data, "more_body": more}
            if self._disconnected or self._done:
                return {"type": "http.disconnect"}
            if self._body_complete and not self._body_given:
                self._body_given = True
                return {"type": "http.request", "body": b"", "more_body": False}
            self._wake.clear()
            await self._wake.wait()

    async def _send(self, message: Message) -> None:
        if self._disconnected:
            raise ConnectionResetError("the peer is gone")
        if message["type"] == "http.response.start":
            self._head = self._encode_head(message)
            return
        if message["type"] != "http.response.body" or (self._head is None and not self._started):
            raise RuntimeError(f"BUG: the app sent {message['type']} out of turn")
        body: bytes = message.get("body", b"")
        more: bool = message.get("more_body", False)
        out: list[bytes] = []
        if self._head is not None:
            out.append(self._head)
            self._head = None
            self._started = True
        if body and not self._bodyless:
            if self._chunked:
                out.append(b"%x\r\n" % len(body))
                out.append(body)
                out.append(b"\r\n")
            else:
                if self._left is not None:
                    self._left -= len(body)
                    if self._left < 0:
                        raise RuntimeError("the app sent more than its content-length")
                out.append(body)
        if not more and self._chunked and not self._bodyless:
            out.append(b"0\r\n\r\n")
        if out:
            self._wire.write(b"".join(out))
        if more:
            await self._wire.drain()
        else:
            self._finish(self._keep_alive and not self._left)

    def _encode_head(self, message: Message) -> bytes:
        status: int = message["status"]
        lines = [status_line(status)]
        length: int | None = None
        for name, value in message.get("headers", ()):
            lowered = name.lower()
            if lowered == b"content-length":
                length = int(value)
            elif lowered in (b"connection", b"transfer-encoding"):
                continue
            if b"\r" in value or b"\n" in value or b"\r" in name or b"\n" in name:
                raise RuntimeError("BUG: a line break in a header of the answer")
            lines.append(name + b": " + value + b"\r\n")
        if status in (204, 304):
            self._bodyless = True
        elif length is None:
            if self._scope["http_version"] == "1.1":
                self._chunked = True
                lines.append(b"transfer-encoding: chunked\r\n")
            else:
                self._keep_alive = False
        if not self._bodyless:
            self._left = length
        if not self._keep_alive:
            lines.append(b"connection: close\r\n")
        lines.append(b"\r\n")
        return b"".join(lines)
