"""stragglers.toml as values; the file [stragglers] of collector.toml names, or the shipped one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final

from ullage_contract import rule_file
from ullage_contract.errors import ConfigError
from ullage_contract.settings import Table

FILE: Final = "stragglers.toml"
FAMILIES: Final = ("card", "port", "host")


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure of a minute. rate: counters, growth a second, added up; else level: gauges added up; else or_level; bits
    and words: 1 where the bit set had one of them. bits_of: times 8 and divided by that gauge; None: as it is.

    matters, ratio: least absolute and relative stand-off from the peers; None: not compared.
    """

    key: str
    rate: tuple[str, ...]
    level: tuple[str, ...]
    or_level: tuple[str, ...]
    bits_of: str | None
    bits: str | None
    words: tuple[str, ...]
    group: str
    matters: float | None
    ratio: float
    alone: bool
    hardware: bool


@dataclass(frozen=True, slots=True)
class Unlike:
    """[unlike]: when a subject stands off its peers. span in minutes; stays: of the distances, for what stands already."""

    span: int
    distance: float
    alone_distance: float
    stays: float
    steady: float
    least_peers: int
    alike_ratio: float
    node_ratio: float
    roles_below: int


@dataclass(frozen=True, slots=True)
class HangRules:
    """[hang]. span, earlier in minutes; *_bytes a second."""

    span: int
    full: float
    power_ratio: float
    busy_ratio: float
    busy_watts_quantile: float
    quiet_bytes: float
    quiet_pcie_bytes: float
    least_usual_bytes: float
    least_ratio: float
    earlier: int
    writing_bytes: float
    learn_hours: int


@dataclass(frozen=True, slots=True)
class Cause:
    """[[cause]]. any: (card, host or port; key; at least)."""

    name: str
    owner: str
    action: str
    any: tuple[tuple[str, str, float], ...]


@dataclass(frozen=True, slots=True)
class Rules:
    """All of it. Minutes; known: share of a span's minutes, 0..1. measures: by family, in order. exempt: globs over workload
    ids that are never judged."""

    window: int
    known: float
    grace: int
    least_cards: int
    labels: tuple[str, ...]
    unlike: Unlike
    hang: HangRules
    starved_span: int
    starved_low: float
    serving: tuple[str, ...]
    causes: tuple[Cause, ...]
    measures: Mapping[str, tuple[Measure, ...]]
    exempt: tuple[str, ...] = ()


@cache
def default_rules() -> Rules:
    """The rules shipped with the package."""
    return parse(rule_file.shipped("ullage_collector.detect.stragglers", FILE), FILE)


def rules_of(part: Mapping[str, Any]) -> Rules:
    """The shipped rules, or the file that [stragglers] rules names, and its exempt workloads. Raises ConfigError."""
    table = Table(part, "collector.toml", "stragglers")
    named = rule_file.named(table)
    exempt = table.texts("exempt", '["slurm/c1/*", "k8s/c1/prod/*"]')
    table.finish()
    if named is None:
        return replace(default_rules(), exempt=exempt)
    return replace(parse(*named), exempt=exempt)


def parse(text: str, where: str) -> Rules:
    """Raises ConfigError naming file and key."""
    top = rule_file.opened(text, where)
    window, gang, unlike = top.table("window"), top.table("gang"), top.table("unlike")
    hang, starved = top.table("hang"), top.table("starved")
    measures = {
        family: tuple(_measure(Table(content, where, family)) for content in top.tables(family))
        for family in FAMILIES
    }
    known = {family: {one.key for one in some} for family, some in measures.items()}
    rules = Rules(
        window=window.whole("window", 15, 5, 120),
        known=window.number("known", 0.6, 0.1, 1),
        grace=window.whole("grace", 30, 0, 1440),
        least_cards=window.whole("least_cards", 2, 1, 1_000_000),
        labels=gang.texts("labels"),
        unlike=Unlike(
            span=unlike.whole("span", 6, 1, 120),
            distance=unlike.number("distance", 6, 1, 1000),
            alone_distance=unlike.number("alone_distance", 9, 1, 1000),
            stays=unlike.number("stays", 0.7, 0.1, 1),
            steady=unlike.number("steady", 0.8, 0.1, 1),
            least_peers=unlike.whole("least_peers", 4, 3, 1000),
            alike_ratio=unlike.number("alike_ratio", 0.05, 0, 1),
            node_ratio=unlike.number("node_ratio", 0.75, 0.1, 1),
            roles_below=unlike.whole("roles_below", 16, 0, 1_000_000),
        ),
        hang=HangRules(
            span=hang.whole("span", 10, 1, 120),
            full=hang.number("full", 0.95, 0, 1),
            power_ratio=hang.number("power_ratio", 0.5, 0, 1),
            busy_ratio=hang.number("busy_ratio", 0.5, 0, 1),
            busy_watts_quantile=hang.number("busy_watts_quantile", 0.9, 0, 1),
            quiet_bytes=hang.number("quiet_bytes", 1e6, 0, 1e12),
            quiet_pcie_bytes=hang.number("quiet_pcie_bytes", 50e6, 0, 1e12),
            least_usual_bytes=hang.number("least_usual_bytes", 50e6, 0, 1e12),
            least_ratio=hang.number("least_ratio", 0.5, 0, 1),
            earlier=hang.whole("earlier", 2, 1, 60),
            writing_bytes=hang.number("writing_bytes", 5e6, 0, 1e12),
            learn_hours=hang.whole("learn_hours", 12, 1, 168),
        ),
        starved_span=starved.whole("span", 10, 1, 120),
        starved_low=starved.number("low", 0.5, 0, 1),
        serving=starved.texts("serving"),
        causes=tuple(_cause(Table(content, where, "cause"), known) for content in top.tables("cause")),
        measures=measures,
    )
    if not measures["card"]:
        raise ConfigError(
            f"{where}: [[card]] is missing: nothing would ever be found; copy the shipped file's"
        )
    for name, span in (
        ("unlike", rules.unlike.span),
        ("hang", rules.hang.span),
        ("starved", rules.starved_span),
    ):
        if span > rules.window:
            raise ConfigError(
                f"{where}: [{name}] span = {span}: write at most [window] window = {rules.window}"
            )
    for table in (window, gang, unlike, hang, starved, top):
        table.finish()
    return rules


def _measure(row: Table) -> Measure:
    matters = row.content.get("matters")
    made = Measure(
        key=row.text("key") or "",
        rate=row.texts("rate"),
        level=row.texts("level"),
        or_level=row.texts("or_level"),
        bits_of=row.text("bits_of"),
        bits=row.text("bits"),
        words=row.texts("words"),
        group=row.text("group") or "",
        matters=None if matters is None else row.number("matters", 0, 0, 1e15),
        ratio=row.number("ratio", 0, 0, 100),
        alone=row.flag("alone", False),
        hardware=row.flag("hardware", False),
    )
    names = (made.key, *made.rate, *made.level, *made.or_level, *filter(None, (made.bits, made.bits_of)))
    for name in names:
        if not name.replace("_", "").isalnum() or not name.isascii():
            raise row.wrong("key", name, "write a name of letters, digits and _")
    if not (made.rate or made.level or made.bits):
        raise row.wrong("level", list(made.level), "write what is read: level, rate or bits")
    if made.matters is not None and not made.group:
        raise row.wrong("group", made.group, "write what it is independent of others by, e.g. power")
    row.finish()
    return made


def _cause(row: Table, known: Mapping[str, set[str]]) -> Cause:
    some = row.content.get("any", [])
    signs: list[tuple[str, str, float]] = []
    for sign in some if isinstance(some, list) else []:
        if not (
            isinstance(sign, list)
            and len(sign) == 3
            and sign[0] in known
            and sign[1] in known[sign[0]]
            and isinstance(sign[2], int | float)
        ):
            raise row.wrong("any", sign, 'write [["host", a key of [[host]], at least], ...]')
        signs.append((sign[0], sign[1], float(sign[2])))
    if not signs:
        raise row.wrong("any", some, 'write [["host", a key of [[host]], at least], ...]')
    cause = Cause(
        name=row.text("name") or "",
        owner=row.word("owner", "holder", ("holder", "platform")),
        action=row.text("action") or "",
        any=tuple(signs),
    )
    if not cause.name or not cause.action:
        raise row.wrong("name", cause.name, "write name and action, e.g. data and speed_up_input")
    row.rest()
    return cause
