"""[[serving]] of collector.toml: the Prometheus servers that are asked. Every key stands in collector.example.toml."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from ullage_collector.imports.expression import Template
from ullage_collector.serving.systems import System, shipped
from ullage_contract.errors import ConfigError
from ullage_contract.settings import Table

_MATCHER: Final = re.compile(r'^[a-zA-Z_][a-zA-Z0-9_]*(=|!=|=~|!~)"[^"\\\n]*"$')
"""One label matcher as it stands in a selector — Prometheus documentation, "Querying basics"."""
IGNORED_LABELS: Final = ("prometheus_replica",)
"""The external label by which the Prometheus Operator tells two servers of one pair apart (replicaExternalLabelName)."""


@dataclass(frozen=True, slots=True)
class Source:
    """One [[serving]]. name: in tables, logs and metrics. systems: those asked for.

    cluster, namespace, pod, job: templates over labels; job None: the series are of pods; else of Slurm's jobs.
    every_seconds: how often. fresh_seconds: an older sample says nothing. late_seconds: a minute is asked for so long after
    it is over. back_seconds: how much is fetched after an outage at most. ignore_labels: tell copies of one series apart.
    absent_is_zero: nothing of these servers is dropped on the way, so a counter its process does not show has not counted.
    """

    name: str
    url: str
    cluster: Template
    namespace: Template
    pod: Template
    job: Template | None
    systems: tuple[System, ...]
    matchers: tuple[str, ...] = ()
    ignore_labels: frozenset[str] = frozenset(IGNORED_LABELS)
    absent_is_zero: bool = False
    every_seconds: float = 60.0
    fresh_seconds: float = 120.0
    late_seconds: float = 60.0
    back_seconds: float = 86_400.0
    timeout_seconds: float = 20.0
    max_bytes: int = 64 * 1024 * 1024
    token_file: Path | None = None
    user: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    tenant: str | None = None


def sources_of(part: Mapping[str, Any], file: str = "collector.toml") -> tuple[Source, ...]:
    """The sources of the [[serving]] tables. Raises ConfigError."""
    tables: Sequence[Any] = part.get("sources", ())
    found = tuple(_one(Table(content, file, "serving")) for content in tables)
    names = [source.name for source in found]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(
                f"{file}: [[serving]] name = {name!r} stands twice; each source needs a name of its own"
            )
    return found


def _one(table: Table) -> Source:
    url = table.url("url")
    if url is None:
        raise table.wrong("url", url, 'write where its API is, e.g. "http://prometheus.monitoring:9090"')
    known = shipped()
    wanted = table.texts("systems", '["vllm", "sglang"]')
    for name in wanted:
        if name not in known:
            raise table.wrong("systems", name, f"known: {', '.join(sorted(known))}")
    systems = tuple(known[name] for name in wanted) or tuple(s for s in known.values() if not s.plain)
    plain = [system.name for system in systems if system.plain]
    if len(plain) > 1:
        raise table.wrong(
            "systems",
            plain,
            "their metrics have the same names; write a [[serving]] each, told apart by match",
        )
    matchers = table.texts("match", """['team="search"']""")
    for one in matchers:
        if not _MATCHER.match(one):
            raise table.wrong("match", one, """write label matchers, e.g. match = ['namespace=~"prod-.*"']""")
    job = table.text("job")
    namespace, pod = table.text("namespace"), table.text("pod")
    if job and (namespace or pod):
        raise table.wrong(
            "job", job, "job is for Slurm, namespace and pod are for Kubernetes; write a [[serving]] each"
        )
    user, password_file = table.text("user"), table.path("password_file")
    token_file = table.path("token_file")
    if (user is None) != (password_file is None):
        raise table.wrong("user", user, "user and password_file go together")
    if user and token_file:
        raise table.wrong("user", user, "write token_file, or user and password_file")
    if user and (":" in user or not user.isprintable()):
        raise table.wrong("user", user, "no colon may stand in it")
    tenant = table.text("tenant")
    if tenant is not None and not (tenant.isascii() and tenant.isprintable() and tenant.strip() == tenant):
        raise table.wrong("tenant", tenant, "write the tenant's name")
    source = Source(
        name=table.text("name") or urlsplit(url).hostname or "prometheus",
        url=url.rstrip("/"),
        cluster=Template(table.text("cluster", "{cluster|default}") or "default"),
        namespace=Template(namespace or "{namespace}"),
        pod=Template(pod or "{pod}"),
        job=Template(job) if job else None,
        systems=systems,
        matchers=matchers,
        ignore_labels=frozenset(table.texts("ignore_labels") or IGNORED_LABELS),
        absent_is_zero=table.flag("absent_is_zero", False),
        every_seconds=table.number("every_seconds", 60, 15, 3600),
        fresh_seconds=table.number("fresh_seconds", 120, 15, 3600),
        late_seconds=table.number("late_seconds", 60, 0, 3600),
        back_seconds=table.number("back_seconds", 86_400, 600, 6 * 86_400),
        timeout_seconds=table.number("timeout_seconds", 20, 0.1, 600),
        max_bytes=table.whole("max_bytes", 64 * 1024 * 1024, 1024, 2**32),
        token_file=token_file,
        user=user,
        password_file=password_file,
        ca_file=table.path("ca_file"),
        tenant=tenant,
    )
    if "/" in source.name or source.name == "otlp":
        raise table.wrong("name", source.name, "write a word without /, and not otlp")
    table.finish()
    return source
