"""idle_finding.toml as values, and what [idle] of collector.toml adds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, Final

from ullage_collector.detect.idle_settings import IdleSettings, default_settings, settings_of
from ullage_collector.detect.usual import UsualRules
from ullage_contract import rule_file
from ullage_contract.errors import ConfigError
from ullage_contract.settings import Table

FILE: Final = "idle_finding.toml"


class Grade(IntEnum):
    """How far a finding goes. Nothing here acts: the highest asks a person."""

    NOTE = 0
    TELL_OWNER = 1
    PROPOSE_RECLAIM = 2

    @property
    def word(self) -> str:
        """As it stands in settings, evidence and the finding's action."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Use:
    """One [[use]]. Times in seconds. why: why the grade is bound, None where it is not. requests: judged by them, too."""

    name: str
    scenarios: tuple[str, ...]
    sources: tuple[str, ...]
    grace: float
    tell: float
    propose: float
    unseen: float
    most: Grade
    why: str | None = None
    requests: bool = False


@dataclass(frozen=True, slots=True)
class HostSignal:
    """One way a host shows work. kind: level (a ratio's greatest) or rate (a counter's increase a second)."""

    key: str
    kind: str
    at_least: float


@dataclass(frozen=True, slots=True)
class RequestRules:
    """[requests], and what [idle] of collector.toml adds. minimum_replicas: globs over workload ids, the first that fits."""

    window_seconds: float = 86_400.0
    known_ratio: float = 0.99
    minimum_default: int = 1
    minimum_keys: tuple[str, ...] = ()
    service_labels: tuple[str, ...] = ()
    minimum_replicas: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class IdleRules:
    """All of it. exempt: globs over workload ids that are never judged. thresholds: of quiet that lasts (idle.toml)."""

    gang_labels: tuple[str, ...]
    hosts: tuple[HostSignal, ...]
    bridge_seconds: float
    look_back_seconds: float
    goes_on_seconds: float
    goes_on_probability: float
    uses: tuple[Use, ...]
    exempt: tuple[str, ...] = ()
    requests: RequestRules = RequestRules()
    thresholds: IdleSettings = field(default_factory=default_settings)
    usual: UsualRules = field(default_factory=UsualRules)

    def use(self, scenario: str | None, source: str, *, serving: bool = False) -> Use:
        """What a workload's work is for. source: its kind, as table ``workload`` has it. The last row fits everything.

        serving: its requests are counted, so that where nobody says what it is for it is online inference.
        """
        if scenario:
            word = scenario.casefold()
            return next(
                use for use in self.uses if any(fnmatchcase(word, glob.casefold()) for glob in use.scenarios)
            )
        if serving and (served := next((use for use in self.uses if use.requests), None)):
            return served
        return next((use for use in self.uses if source in use.sources), self.uses[-1])


@cache
def default_rules() -> IdleRules:
    """The rules shipped with the package."""
    return parse(rule_file.shipped("ullage_collector.detect", FILE), FILE)


def parse(text: str, where: str) -> IdleRules:
    """Raises ConfigError naming file and key."""
    top = rule_file.opened(text, where)
    gang, watch, requests = top.table("gang"), top.table("watch"), top.table("requests")
    usual = top.table("usual")
    hosts, uses = [], []
    for content in top.tables("host"):
        row = Table(content, where, "host")
        key = row.text("key") or ""
        if not key.replace("_", "").isalnum() or not key.isascii():
            raise row.wrong("key", key, "write a metric of the node")
        kind = row.word("kind", "level", ("level", "rate"))
        hosts.append(HostSignal(key, kind, row.number("at_least", 0, 0, 1e15)))
        row.finish()
    for content in top.tables("use"):
        uses.append(_use(Table(content, where, "use")))
    if not uses or "*" not in uses[-1].scenarios:
        raise ConfigError(f'{where}: [[use]]: the last one has to fit everything; write scenarios = ["*"]')
    rules = IdleRules(
        gang_labels=gang.texts("labels"),
        hosts=tuple(hosts),
        bridge_seconds=watch.number("bridge_seconds", 660, 60, 86_400),
        look_back_seconds=watch.number("look_back_seconds", 43_200, 600, 7 * 86_400),
        goes_on_seconds=watch.number("goes_on_seconds", 3600, 60, 86_400),
        goes_on_probability=watch.number("goes_on_probability", 0.5, 0, 1),
        uses=tuple(uses),
        requests=RequestRules(
            window_seconds=requests.number("window_seconds", 86_400, 3600, 30 * 86_400),
            known_ratio=requests.number("known_ratio", 0.99, 0.5, 1),
            minimum_default=requests.whole("minimum_default", 1, 0, 100_000),
            minimum_keys=requests.texts("minimum_keys"),
            service_labels=requests.texts("service_labels"),
        ),
        usual=UsualRules(
            days=usual.whole("days", 14, 1, 60),
            least_days=usual.whole("least_days", 3, 1, 60),
            weeks=usual.whole("weeks", 4, 0, 12),
            least_weeks=usual.whole("least_weeks", 2, 1, 12),
            share=usual.number("share", 0.8, 0.5, 1),
            slack_seconds=usual.number("slack_seconds", 3600, 0, 43_200),
            worked_seconds=usual.number("worked_seconds", 3600, 0, 86_400),
        ),
    )
    for table in (gang, watch, requests, usual, top):
        table.finish()
    return rules


def _use(row: Table) -> Use:
    words = [grade.word for grade in Grade]
    use = Use(
        name=row.text("name") or "",
        scenarios=row.texts("scenarios"),
        sources=row.texts("sources"),
        grace=row.number("grace", 1800, 0, 30 * 86_400),
        tell=row.number("tell", 7200, 60, 30 * 86_400),
        propose=row.number("propose", 18_000, 60, 30 * 86_400),
        unseen=row.number("unseen", 86_400, 60, 30 * 86_400),
        most=Grade(words.index(row.word("most", "note", words))),
        why=row.text("why"),
        requests=row.flag("requests", False),
    )
    if not use.name:
        raise row.wrong("name", use.name, "write a word, e.g. training")
    row.finish()
    return use


def rules_of(part: Mapping[str, Any]) -> IdleRules:
    """The shipped rules, or the files that [idle] rules and thresholds name, and its exempt workloads. Raises ConfigError."""
    table = Table(part, "collector.toml", "idle")
    table.path("thresholds")
    named = rule_file.named(table)
    exempt = table.texts("exempt", '["slurm/c1/*", "k8s/c1/prod/*"]')
    said = table.table("minimum_replicas")
    minimum = tuple((glob, said.whole(glob, 1, 0, 100_000)) for glob in tuple(said.content))
    table.finish()
    rules = default_rules() if named is None else parse(*named)
    return replace(
        rules,
        exempt=exempt,
        requests=replace(rules.requests, minimum_replicas=minimum),
        thresholds=settings_of(part),
    )
