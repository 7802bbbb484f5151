"""A listener with real journals and real sockets in a thread of its own, for tests of the front."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from ullage_collector.config import Listen
from ullage_collector.front import build
from ullage_collector.health import Health
from ullage_collector.journal import START, Journal, JournalReader, Record
from ullage_collector.receive.commit import Committer
from ullage_collector.receive.identity import Doorkeeper, Role, Tokens, add_token
from ullage_collector.receive.listener import Listener
from ullage_collector.receive.notices import Notices
from ullage_collector.receive.otlp import Otlp
from ullage_collector.receive.push import AskedOf, Push
from ullage_collector.receive.streams import StreamRow, Streams
from ullage_contract import wire
from ullage_contract.clock import ManualClock
from ullage_contract.event import Event, Severity
from ullage_contract.sample import Family, Origin, Sample

STREAM = "0123456789abcdef" * 2
HEADERS = {"Content-Type": wire.CONTENT_TYPE, "Content-Encoding": "gzip"}


@dataclass
class Pressure:
    """What a test says is pending."""

    pending: int = 0

    def pending_bytes(self, lane: str) -> int:
        return self.pending


@dataclass(frozen=True)
class Got:
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Front:
    """Use as a context manager. ``clock`` is turned by the test; ``port`` is the TCP port."""

    def __init__(
        self,
        directory: Path,
        *,
        listen: Listen | None = None,
        tokens: bool = False,
        app: Any = None,
        journal: Callable[[Path], Journal] = Journal,
        rows: tuple[StreamRow, ...] = (),
        asked_of: AskedOf = lambda cluster, node: (),
    ) -> None:
        self.directory = directory
        self.clock = ManualClock()
        self.health = Health(started_at=self.clock.wall())
        self.pressure = Pressure()
        self.tokens_path = directory / "tokens.toml"
        self.token: dict[str, str] = {}
        if tokens:
            self.token["gpu-a01"] = self.add_token("gpu-a01", Role.NODE)
            self.token["viewer"] = self.add_token("viewer", Role.VIEWER)
            self.token["admin"] = self.add_token("admin", Role.ADMIN)
        self.settings = listen or Listen(port=0, header_seconds=5, body_seconds=20, idle_seconds=60)
        self.socket_path = directory / "c.sock"
        self._app = app
        self._journal = journal
        self._rows = rows
        self._asked_of = asked_of
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.streams = Streams()

    def add_token(self, name: str, role: Role, **more: Any) -> str:
        return add_token(
            self.tokens_path,
            name=name,
            role=role,
            node=name if role is Role.NODE else None,
            now=self.clock.wall(),
            **more,
        )

    def __enter__(self) -> Front:
        self._thread.start()
        assert self._ready.wait(20)
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(self, *exc: object) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        try:
            uvloop.run(self._serve())  # as serve does
        except BaseException as e:
            self._failure = e
            self._ready.set()

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        tokens = Tokens(self.tokens_path)
        tokens.load()
        self.doorkeeper = Doorkeeper(tokens, self.settings, self.clock, b"k" * 32)
        self.journals = {lane: self._journal(self.directory / lane) for lane in wire.LANES}
        self.streams.recover(self._rows, [JournalReader(self.directory / lane) for lane in wire.LANES])
        committers = {lane: Committer(journal, self.loop, lane) for lane, journal in self.journals.items()}
        self.committers = committers
        push = Push(
            committers=committers,
            streams=self.streams,
            notices=Notices(committers["events"], self.clock),
            pressure=self.pressure,
            max_pending_bytes=1000,
            health=self.health,
            clock=self.clock,
            asked_of=self._asked_of,
        )
        otlp = Otlp(
            samples=committers["samples"],
            pressure=self.pressure,
            max_pending_bytes=1000,
            health=self.health,
            clock=self.clock,
            nonce="test",
        )
        app = self._app or build(
            health=self.health, doorkeeper=self.doorkeeper, otlp=otlp, exposition=lambda: "up 1\n"
        )
        self.listener = Listener(
            self.settings,
            socket_path=self.socket_path,
            push=push,
            app=app,
            doorkeeper=self.doorkeeper,
            health=self.health,
            clock=self.clock,
            sweep_seconds=0.05,
        )
        try:
            await self.listener.listen()
            self.port = self.listener.port
            self._ready.set()
            await self._stop.wait()
            await self.listener.close(grace_seconds=0.2)
        finally:
            for committer in committers.values():
                await asyncio.to_thread(committer.stop)
            for journal in self.journals.values():
                journal.close()

    # ---- speaking to it

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        connection: http.client.HTTPConnection | None = None,
    ) -> Got:
        made = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        made.request(method, path, body, dict(headers or {}))
        response = made.getresponse()
        got = Got(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        if connection is None:
            made.close()
        return got

    def push(
        self, body: bytes, *, token: str | None = None, sent_at: float | str | None = None, **more: Any
    ) -> Got:
        headers = dict(HEADERS)
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if sent_at is not None:
            headers[wire.SENT_AT_HEADER] = str(sent_at)
        return self.request("POST", wire.PUSH_PATH, body, headers, **more)

    def raw(self, data: bytes, *, until_closed: bool = True, timeout: float = 10.0) -> bytes:
        """Send bytes, then read until the peer closes (or once)."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as made:
            with suppress(OSError):
                made.sendall(data)
            found = b""
            while True:
                try:
                    part = made.recv(65536)
                except ConnectionResetError:
                    break
                found += part
                if not part or not until_closed:
                    break
            return found

    def journalled(self, lane: str = "samples") -> list[Record]:
        return [record for record, _ in JournalReader(self.directory / lane).read(START, 10**9)]

    def settle(self) -> None:
        """Until nothing waits for a journal."""
        deadline = time.monotonic() + 20
        while any(committer.waiting_bytes for committer in self.committers.values()):
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def run(self, awaitable: Awaitable[Any]) -> Any:
        async def waited() -> Any:
            return await awaitable

        return asyncio.run_coroutine_threadsafe(waited(), self.loop).result(20)


def batch(
    sequence: int = 1,
    *,
    now: float = 1_800_000_000.0,
    stream: str = STREAM,
    node: str = "gpu-a01",
    cluster: str = "c1",
    lane: str = "samples",
    machine_id: str | None = "m1",
    power: float = 300.0,
    cards: int = 2,
) -> bytes:
    """A wire body: ``cards`` card rows, or one event."""
    return wire.encode(
        wire.Batch(
            stream=stream,
            sequence=sequence,
            lane=lane,
            agent="test",
            cluster=cluster,
            node=node,
            machine_id=machine_id,
            boot_id="b1",
            origin=Origin.REAL,
            samples=[
                Sample(Family.CARD, f"GPU-{i}", now, 100.0, 10.0, {"power_watts": power})
                for i in range(cards)
            ]
            if lane == "samples"
            else [],
            events=[
                Event(
                    now, "xid", Severity.FATAL, Family.CARD, "GPU-0", "kernel_log", "Xid 79", "79", "nvidia"
                )
            ]
            if lane == "events"
            else [],
        )
    )


def client_context(ca: Path, certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(ca))
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    return context
