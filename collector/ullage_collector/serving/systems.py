"""systems.toml as values: which serving system shows which number under which name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from ullage_contract import rule_file
from ullage_contract.errors import ConfigError
from ullage_contract.served import COUNTERS, KINDS
from ullage_contract.settings import Table

FILE: Final = "systems.toml"
_NAME: Final = re.compile(r"^[a-zA-Z_:][a-zA-Z0-9_:]*$")
"""A metric's name — Prometheus documentation, "Data model"."""


@dataclass(frozen=True, slots=True)
class System:
    """One [[system]]. names: kind of number -> metric names, the newest version's first. model: label, None: it has none."""

    name: str
    source: str
    names: Mapping[str, tuple[str, ...]]
    model: str | None
    only: Mapping[str, str]
    lazy: bool
    plain: bool

    def kind_of(self, metric: str) -> str | None:
        """Which number a metric is, None for none of ours. OpenTelemetry may take ``_total`` from a counter's name."""
        for kind, names in self.names.items():
            if metric in names or (kind in COUNTERS and f"{metric}_total" in names):
                return kind
        return None

    def counts(self, labels: Mapping[str, str]) -> bool:
        """False for a series that says for another rank what one of rank 0 says."""
        return all(labels.get(name, value) == value for name, value in self.only.items())


@cache
def shipped() -> Mapping[str, System]:
    """The systems shipped with the package, by name."""
    return parse(rule_file.shipped("ullage_collector.serving", FILE), FILE)


@cache
def by_prefix() -> Mapping[str, tuple[System, str]]:
    """Metric name -> system and kind of number, of those whose names are their own; without ``_total``, too."""
    found: dict[str, tuple[System, str]] = {}
    for system in shipped().values():
        if system.plain:
            continue
        for kind, names in system.names.items():
            for name in names:
                found[name] = (system, kind)
                if kind in COUNTERS:
                    found.setdefault(name.removesuffix("_total"), (system, kind))
    return found


def parse(text: str, where: str) -> dict[str, System]:
    """Raises ConfigError naming file and key."""
    top = rule_file.opened(text, where)
    found: dict[str, System] = {}
    for content in top.tables("system"):
        row = Table(content, where, "system")
        name, source = row.text("name") or "", row.text("source") or ""
        if not name or name in found:
            raise row.wrong("name", name, "write a word that no other system has")
        if not source.startswith("https://"):
            raise row.wrong("source", source, "write the page that documents the names")
        names = {kind: row.texts(kind) for kind in KINDS}
        for kind, given in names.items():
            for one in given:
                if not _NAME.match(one):
                    raise row.wrong(kind, one, "write a metric's name")
        if not names["requests"]:
            raise row.wrong("requests", [], "name the counter of requests")
        only = row.table("only")
        found[name] = System(
            name=name,
            source=source,
            names={kind: given for kind, given in names.items() if given},
            model=row.text("model"),
            only={key: only.text(key) or "" for key in tuple(only.content)},
            lazy=row.flag("lazy", False),
            plain=row.flag("plain", False),
        )
        row.finish()
    top.finish()
    if not found:
        raise ConfigError(f"{where}: no [[system]]")
    return found
