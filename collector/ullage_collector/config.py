"""collector.toml as frozen dataclasses. Every key, its default and its reason stand in collector.example.toml.

A wrong setting raises ConfigError naming the file, the key, the value and what to write instead; an
unknown key is wrong too, because a misspelt limit would silently be no limit.
Not here: opening any of the files and sockets the settings name.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from ullage_contract import settings
from ullage_contract.settings import Table

DEFAULT_PATH: Final = Path("/etc/ullage/collector.toml")
DEFAULT_DATA: Final = Path("/var/lib/ullage")
MIB: Final = 1024 * 1024
_EMPTY: Final[Mapping[str, Any]] = MappingProxyType({})

PARTS: Final = (
    "isolation",
    "detect",
    "console",
    "allocation",
    "publish",
    "faults",
    "states",
    "inventory",
    "topology",
    "versions",
    "fragmentation",
    "idle",
    "stragglers",
    "placement",
    "uneven",
    "sizing",
    "recommendations",
    "closing",
)
"""Tables that belong to one part, which reads and checks them itself."""


@dataclass(frozen=True, slots=True)
class Listen:
    """[listen]: where and how. tls_* None: plain HTTP. client_ca: who may sign client certificates."""

    host: str = "127.0.0.1"
    port: int = 9736
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    client_ca: Path | None = None
    socket: bool = True
    max_connections: int = 20_000  # our choice: because ten thousand nodes keep one or two each
    header_seconds: float = 10.0  # our choice: because headers of an honest client come in one packet
    body_seconds: float = 60.0  # our choice: because 4 MiB over a bad link take less
    idle_seconds: float = 120.0  # our choice: because agents push every 10 to 60 s on a kept connection
    hosts: tuple[str, ...] = ()

    @property
    def loopback(self) -> bool:
        """Bound where only this machine reaches it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


@dataclass(frozen=True, slots=True)
class Receive:
    """[receive]: how much may wait between the receiver and the store, in bytes."""

    max_pending_bytes: int = 1024 * MIB  # our choice: because 10,000 nodes fill it in about half an hour
    reserve_bytes: int = 256 * MIB  # our choice: because the store needs room to check-point and drain
    segment_bytes: int = 64 * MIB
    quarantine_bytes: int = 256 * MIB


@dataclass(frozen=True, slots=True)
class Store:
    """[store]: the database. url None: DIR/collector/store.duckdb."""

    url: str | None = None
    memory_bytes: int = 2048 * MIB
    threads: int = 2
    hot_days: int = 3
    minute_days: int = 35


@dataclass(frozen=True, slots=True)
class Config:
    """The whole file. path: where it was read from; None for pure defaults.

    parts: the tables of PARTS as they stand, each read by its own part.
    """

    data: Path = DEFAULT_DATA
    log_level: str = "info"
    listen: Listen = field(default_factory=Listen)
    receive: Receive = field(default_factory=Receive)
    store: Store = field(default_factory=Store)
    parts: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: _EMPTY)
    path: Path | None = None

    def part(self, name: str) -> Mapping[str, Any]:
        """A part's own table; empty where there is none."""
        return self.parts.get(name, _EMPTY)

    @property
    def collector_dir(self) -> Path:
        """DIR/collector: store, journal, tokens, lock. One process's alone."""
        return self.data / "collector"

    @property
    def journal_dir(self) -> Path:
        """DIR/collector/journal: one directory a lane, samples and events."""
        return self.collector_dir / "journal"

    @property
    def quarantine_dir(self) -> Path:
        """Batches that were acknowledged and later could not be stored."""
        return self.collector_dir / "quarantine"

    @property
    def published_dir(self) -> Path:
        """DIR/published: what reports read."""
        return self.data / "published"

    @property
    def store_path(self) -> Path:
        """The store's file, of the URL or the default. Only meaningful for ``duckdb://`` URLs."""
        if self.store.url and self.store.url.startswith("duckdb://"):
            return Path(self.store.url.removeprefix("duckdb://"))
        return self.collector_dir / "store.duckdb"

    @property
    def tokens_path(self) -> Path:
        """DIR/collector/tokens.toml."""
        return self.collector_dir / "tokens.toml"

    @property
    def socket_path(self) -> Path:
        """DIR/collector.sock: the operator's door on this machine."""
        return self.data / "collector.sock"


def load(path: Path | None = None, *, data: Path | None = None) -> Config:
    """The settings in ``path``; None means DEFAULT_PATH, whose absence means defaults.

    data: the --data of the command line.
    Raises ConfigError when a named file cannot be read or any setting is wrong.
    """
    document = settings.read(path, DEFAULT_PATH)
    if document is None:
        return Config(data=data or DEFAULT_DATA)
    return _parse(document, path or DEFAULT_PATH, data)


def _parse(document: Mapping[str, Any], path: Path, data: Path | None) -> Config:
    top = Table(document, str(path), "")
    config = Config(
        data=data or top.path("data") or DEFAULT_DATA,
        log_level=top.word("log_level", "info", ("debug", "info", "warning", "error")),
        listen=_listen(top.table("listen")),
        receive=_receive(top.table("receive")),
        store=_store(top.table("store")),
        parts=MappingProxyType(
            {name: top.table(name).content for name in PARTS}
            | {"notify": {"targets": top.tables("notify")}, "serving": {"sources": top.tables("serving")}}
        ),
        path=path,
    )
    top.finish()
    return config


def _listen(table: Table) -> Listen:
    plain = Listen()
    text = table.text("address", "127.0.0.1:9736") or ""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 <= int(port) <= 65535:
        raise table.wrong("address", text, 'write "address:port", e.g. "127.0.0.1:9736"')
    certificate, key = table.path("tls_certificate"), table.path("tls_key")
    if (certificate is None) != (key is None):
        raise table.wrong("tls_certificate", str(certificate), "tls_certificate and tls_key go together")
    client_ca = table.path("client_ca")
    if client_ca is not None and certificate is None:
        raise table.wrong("client_ca", str(client_ca), "client certificates need tls_certificate and tls_key")
    result = Listen(
        host=host.strip("[]"),
        port=int(port),
        tls_certificate=certificate,
        tls_key=key,
        client_ca=client_ca,
        socket=table.flag("socket", plain.socket),
        max_connections=table.whole("max_connections", plain.max_connections, 1, 1_000_000),
        header_seconds=table.number("header_seconds", plain.header_seconds, 0.1, 600),
        body_seconds=table.number("body_seconds", plain.body_seconds, 0.1, 3600),
        idle_seconds=table.number("idle_seconds", plain.idle_seconds, 1, 3600),
        hosts=table.texts("hosts"),
    )
    table.finish()
    return result


def _receive(table: Table) -> Receive:
    plain = Receive()
    result = Receive(
        max_pending_bytes=table.whole("max_pending_bytes", plain.max_pending_bytes, 64 * 1024, 2**50),
        reserve_bytes=table.whole("reserve_bytes", plain.reserve_bytes, 0, 2**50),
        segment_bytes=table.whole("segment_bytes", plain.segment_bytes, 64 * 1024, 2**30),
        quarantine_bytes=table.whole("quarantine_bytes", plain.quarantine_bytes, 0, 2**50),
    )
    table.finish()
    return result


def _store(table: Table) -> Store:
    plain = Store()
    url = table.text("url")
    if url and not url.startswith(("duckdb:///", "ducklake:")):
        raise table.wrong("url", url, 'write "duckdb:///path/store.duckdb" or "ducklake:postgres:..."')
    result = Store(
        url=url or None,
        memory_bytes=table.whole("memory_bytes", plain.memory_bytes, 128 * MIB, 2**50),
        threads=table.whole("threads", plain.threads, 1, 1024),
        hot_days=table.whole("hot_days", plain.hot_days, 1, 3660),
        minute_days=table.whole("minute_days", plain.minute_days, 1, 3660),
    )
    table.finish()
    return result
