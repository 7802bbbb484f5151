"""agent.toml as frozen dataclasses. Every key, its default and its reason stand in agent.example.toml.

A wrong setting raises ConfigError naming the file, the key, the value and what to write instead;
an unknown key is wrong too, because a misspelt limit would silently be no limit.
Not here: opening any of the files, sockets or URLs the settings name.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from ullage_agent.probes import settings as probes_settings
from ullage_agent.probes.settings import Probes
from ullage_contract import settings
from ullage_contract.errors import BadInput, ConfigError
from ullage_contract.identity import check_id, node_id
from ullage_contract.settings import Table

DEFAULT_PATH: Final = Path("/etc/ullage/agent.toml")
DEFAULT_DATA: Final = Path("/var/lib/ullage")
_EMPTY: Final[Mapping[str, Any]] = MappingProxyType({})
_NO_PATHS: Final[Mapping[str, Path]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Sampling:
    """[sampling]: how often, and how long anything may take. All in seconds."""

    fast_seconds: float = 10.0
    slow_seconds: float = 60.0
    facts_seconds: float = 3600.0
    call_deadline_seconds: float = 2.0
    start_deadline_seconds: float = 20.0
    tick_budget_seconds: float = 8.0


@dataclass(frozen=True, slots=True)
class Sources:
    """[sources]: what is read beside the cards.

    lossless_priority: the RoCE traffic class, 0..7. management_devices: RDMA devices that serve no card.
    """

    rdma: bool = True
    host: bool = True
    kernel_log: bool = True
    processes: bool = True
    lossless_priority: int = 3
    management_devices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Holders:
    """[holders]: who holds which card, as this node sees it.

    jobs_dir: where the scheduler's prolog writes; None when off. owners: whose files count there.
    kubelet_socket: of the PodResources API; None when off. kubelet_seconds: between two questions.
    """

    jobs_dir: Path | None = Path("/run/ullage/jobs")
    owners: tuple[str, ...] = ("root", "slurm")
    kubelet_socket: Path | None = Path("/var/lib/kubelet/pod-resources/kubelet.sock")
    kubelet_seconds: float = 15.0


@dataclass(frozen=True, slots=True)
class Metrics:
    """[metrics]: the Prometheus endpoint. listen is None when switched off."""

    listen: tuple[str, int] | None = ("127.0.0.1", 9735)


@dataclass(frozen=True, slots=True)
class Push:
    """[push]: where batches go. url is None when nothing is pushed."""

    url: str | None = None
    token_file: Path | None = None
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    batch_seconds: float = 30.0
    timeout_seconds: float = 20.0
    retry_max_seconds: float = 300.0


@dataclass(frozen=True, slots=True)
class Spool:
    """[spool]: what waits on disk. The oldest is dropped, and counted, only at the bounds."""

    max_bytes: int = 512 * 1024 * 1024
    max_age_seconds: float = 24 * 3600.0
    quarantine_bytes: int = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Otlp:
    """[otlp]: OpenTelemetry over HTTP. endpoint is None when switched off (nothing is imported then)."""

    endpoint: str | None = None
    headers_file: Path | None = None
    ca_file: Path | None = None
    interval_seconds: float = 60.0
    timeout_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class Inject:
    """[inject]: whether ``ullage-agent inject`` may make faults here, and where. Off by default.

    kmsg: it may also write kernel-log lines to the device, which every reader of the log then sees.
    kernel_log: a recorded log that is read in place of the device; sysfs: a tree whose RDMA ports are read in place
    of the real ones; emulated: maker -> scenario file of the emulator that is its library here. What comes from these
    three is labelled simulated. All are None or empty while allow is off.
    """

    allow: bool = False
    kmsg: bool = False
    kernel_log: Path | None = None
    sysfs: Path | None = None
    emulated: Mapping[str, Path] = field(default_factory=lambda: _NO_PATHS)


@dataclass(frozen=True, slots=True)
class Config:
    """The whole file.

    node: the configured name, else Kubernetes', else Slurm's, else the FQDN (identity.node_id).
    backends: maker -> its [backends.<maker>] table without ``enabled``.
    enabled: maker -> True (use it whatever the detection says) or False (never); absent means detect.
    path: the file it was read from; None for pure defaults.
    """

    node: str
    cluster: str = "default"
    data: Path = DEFAULT_DATA
    log_level: str = "info"
    sampling: Sampling = field(default_factory=Sampling)
    sources: Sources = field(default_factory=Sources)
    holders: Holders = field(default_factory=Holders)
    metrics: Metrics = field(default_factory=Metrics)
    push: Push = field(default_factory=Push)
    spool: Spool = field(default_factory=Spool)
    otlp: Otlp = field(default_factory=Otlp)
    probes: Probes = field(default_factory=Probes)
    inject: Inject = field(default_factory=Inject)
    backends: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: _EMPTY)
    enabled: Mapping[str, bool] = field(default_factory=lambda: _EMPTY)
    path: Path | None = None

    def settings(self, maker: str) -> Mapping[str, Any]:
        """The maker's own table; empty where there is none."""
        return self.backends.get(maker, _EMPTY)

    @property
    def agent_dir(self) -> Path:
        """DIR/agent: state.json, spool, lock. One agent's alone."""
        return self.data / "agent"


def load(
    path: Path | None = None,
    *,
    data: Path | None = None,
    environ: Mapping[str, str] | None = None,
    fqdn: str | None = None,
) -> Config:
    """The settings in ``path``; None means DEFAULT_PATH, whose absence means defaults.

    data: the --data of the command line.
    environ, fqdn: where the node's name may come from (identity.node_id); the process's own by default.
    Raises ConfigError when a named file cannot be read or any setting is wrong.
    """
    document = settings.read(path, DEFAULT_PATH)
    if document is None:
        return _parse({}, None, data, environ, fqdn)
    return _parse(document, path or DEFAULT_PATH, data, environ, fqdn)


def _parse(
    document: Mapping[str, Any],
    path: Path | None,
    data: Path | None,
    environ: Mapping[str, str] | None,
    fqdn: str | None,
) -> Config:
    top = Table(document, str(path or DEFAULT_PATH), "")
    configured = top.text("node")
    try:
        name = node_id(
            configured=configured,
            environ=os.environ if environ is None else environ,
            fqdn=fqdn if fqdn is not None else (None if configured else socket.getfqdn()),
        )
        cluster = check_id("cluster", top.text("cluster") or "default")
    except BadInput as e:
        raise ConfigError(f"{top.file}: {e}") from e
    level = top.word("log_level", "info", ("debug", "info", "warning", "error"))
    backends, enabled = _backends(top)
    config = Config(
        node=name,
        cluster=cluster,
        data=data or DEFAULT_DATA,
        log_level=level,
        sampling=_sampling(top.table("sampling")),
        sources=_sources(top.table("sources")),
        holders=_holders(top.table("holders")),
        metrics=_metrics(top.table("metrics")),
        push=_push(top.table("push")),
        spool=_spool(top.table("spool")),
        otlp=_otlp(top.table("otlp")),
        probes=probes_settings.read(top.table("probes")),
        inject=_inject(top.table("inject")),
        backends=backends,
        enabled=enabled,
        path=path,
    )
    top.finish()
    return config


def _sampling(table: Table) -> Sampling:
    plain = Sampling()
    fast = table.number("fast_seconds", plain.fast_seconds, 1, 3600)
    slow = table.number("slow_seconds", max(plain.slow_seconds, fast), fast, 86400)
    budget = table.number("tick_budget_seconds", 0.8 * fast, 0.1, fast)
    # our choice: a quarter of the tick, because one hung call must leave time to read all else again
    deadline = table.number("call_deadline_seconds", min(plain.call_deadline_seconds, budget / 4), 0.05, 60)
    result = Sampling(
        fast_seconds=fast,
        slow_seconds=slow,
        facts_seconds=table.number("facts_seconds", max(plain.facts_seconds, slow), slow, 86400),
        call_deadline_seconds=deadline,
        start_deadline_seconds=table.number("start_deadline_seconds", plain.start_deadline_seconds, 0.5, 300),
        tick_budget_seconds=budget,
    )
    table.finish()
    if result.call_deadline_seconds >= result.tick_budget_seconds:
        raise table.wrong(
            "call_deadline_seconds",
            result.call_deadline_seconds,
            f"must be less than tick_budget_seconds ({result.tick_budget_seconds:g}), "
            "or one hung call would use up the whole tick",
        )
    return result


def _sources(table: Table) -> Sources:
    plain = Sources()
    result = Sources(
        rdma=table.flag("rdma", plain.rdma),
        host=table.flag("host", plain.host),
        kernel_log=table.flag("kernel_log", plain.kernel_log),
        processes=table.flag("processes", plain.processes),
        lossless_priority=table.whole("lossless_priority", plain.lossless_priority, 0, 7),
        management_devices=table.texts("management_devices"),
    )
    table.finish()
    return result


def _holders(table: Table) -> Holders:
    plain = Holders()
    result = Holders(
        jobs_dir=_place(table, "jobs_dir", plain.jobs_dir),
        owners=table.texts("owners", '["root", "slurm"]') or plain.owners,
        kubelet_socket=_place(table, "kubelet_socket", plain.kubelet_socket),
        kubelet_seconds=table.number("kubelet_seconds", plain.kubelet_seconds, 1, 3600),
    )
    table.finish()
    return result


def _place(table: Table, key: str, default: Path | None) -> Path | None:
    """An absolute path, its default, or None for "off"."""
    if table.text(key) in ("", "off"):
        return None
    return table.path(key) or default


def _metrics(table: Table) -> Metrics:
    text = table.text("listen", "127.0.0.1:9735")
    table.finish()
    if text in (None, "", "off"):
        return Metrics(listen=None)
    host, colon, port = (text or "").rpartition(":")
    if not colon or not port.isdecimal() or not 0 <= int(port) <= 65535:
        raise table.wrong("listen", text, 'write "address:port", e.g. "127.0.0.1:9735", or "off"')
    return Metrics(listen=(host.strip("[]") or "0.0.0.0", int(port)))


def _push(table: Table) -> Push:
    plain = Push()
    url = table.url("url")
    result = Push(
        url=url,
        token_file=table.path("token_file"),
        ca_file=table.path("ca_file"),
        certificate_file=table.path("certificate_file"),
        key_file=table.path("key_file"),
        batch_seconds=table.number("batch_seconds", plain.batch_seconds, 1, 600),
        timeout_seconds=table.number("timeout_seconds", plain.timeout_seconds, 1, 300),
        retry_max_seconds=table.number("retry_max_seconds", plain.retry_max_seconds, 1, 3600),
    )
    table.finish()
    if (result.certificate_file is None) != (result.key_file is None):
        raise table.wrong(
            "certificate_file", result.certificate_file, "certificate_file and key_file go together"
        )
    return result


def _spool(table: Table) -> Spool:
    plain = Spool()
    result = Spool(
        max_bytes=int(table.number("max_bytes", plain.max_bytes, 1_000_000, 1e12)),
        max_age_seconds=table.number("max_age_seconds", plain.max_age_seconds, 60, 90 * 86400),
        quarantine_bytes=int(table.number("quarantine_bytes", plain.quarantine_bytes, 0, 1e12)),
    )
    table.finish()
    return result


def _otlp(table: Table) -> Otlp:
    plain = Otlp()
    result = Otlp(
        endpoint=table.url("endpoint"),
        headers_file=table.path("headers_file"),
        ca_file=table.path("ca_file"),
        interval_seconds=table.number("interval_seconds", plain.interval_seconds, 1, 3600),
        timeout_seconds=table.number("timeout_seconds", plain.timeout_seconds, 1, 300),
    )
    table.finish()
    return result


def _inject(table: Table) -> Inject:
    emulated = table.table("emulated")
    files = {maker: emulated.path(maker) for maker in emulated.content}
    result = Inject(
        allow=table.flag("allow", False),
        kmsg=table.flag("kmsg", False),
        kernel_log=table.path("kernel_log"),
        sysfs=table.path("sysfs"),
        emulated=MappingProxyType({maker: file for maker, file in files.items() if file is not None}),
    )
    table.finish()
    if result.sysfs is not None and result.sysfs.resolve() in (Path("/"), Path("/sys")):
        raise table.wrong(
            "sysfs", str(result.sysfs), "name a tree of your own; the real one is never written to"
        )
    return result if result.allow else Inject()


def _backends(top: Table) -> tuple[Mapping[str, Mapping[str, Any]], Mapping[str, bool]]:
    """Each maker's table; ``enabled`` is ours, everything else is the backend's and passed on as it is."""
    tables: dict[str, Mapping[str, Any]] = {}
    enabled: dict[str, bool] = {}
    for maker, content in top.table("backends").rest().items():
        if not isinstance(content, dict):
            raise top.wrong(f"backends.{maker}", content, f"write a table: [backends.{maker}]")
        own = dict(content)
        choice = own.pop("enabled", "auto")
        if choice not in (True, False, "auto"):
            raise top.wrong(f"backends.{maker}.enabled", choice, 'write true, false or "auto"')
        if choice != "auto":
            enabled[maker] = bool(choice)
        for key, value in own.items():
            if isinstance(value, dict) or not _plain(value):
                raise top.wrong(
                    f"backends.{maker}.{key}", value, "write text, a number, true, false or a list of these"
                )
        tables[maker] = MappingProxyType(own)
    return MappingProxyType(tables), MappingProxyType(enabled)


def _plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(_plain(item) and not isinstance(item, list) for item in value)
    return isinstance(value, str | int | float | bool)
