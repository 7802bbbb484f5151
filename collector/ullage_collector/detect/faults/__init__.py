"""The fault catalogue: rules shipped as TOML, one file a maker beside this one, and a site's own over them.

A site writes [[fault]] tables in a file of its own ([faults] file = "/etc/ullage/faults.toml") or in collector.toml
([[faults.fault]]). One of a shipped name changes only the keys it gives, so ``name`` and ``mode`` are enough to let a
rule act; one of a new name is a rule of its own and stands in front. A wrong rule raises ConfigError with its place.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import cache
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from ullage_collector.detect.fault_rule import (
    BOOT_GRACE_SECONDS,
    LEARN_SAMPLES,
    OF_COUNTERS,
    OF_EVENTS,
    OF_METRICS,
    Again,
    Condition,
    During,
    FaultRule,
    PerLane,
    Share,
    Signal,
    Spread,
)
from ullage_collector.isolate.verdict import Action, Follow, Mode
from ullage_contract.catalogue import THROTTLE_REASONS, Kind, Type, keys
from ullage_contract.errors import ConfigError
from ullage_contract.event import KINDS, Severity
from ullage_contract.sample import Family

_DURATION: Final = re.compile(r"^(\d+(?:\.\d+)?)(s|min|h|d)$")
_SECONDS: Final = {"s": 1, "min": 60, "h": 3600, "d": 86_400}
_TIMES: Final = {
    "over": "over_us",
    "burst": "burst_us",
    "lasting": "lasting_us",
    "down": "down_us",
    "per": "per_us",
    "within": "within_us",
    "grace": "grace_us",
    "exit_after": "exit_after_us",
}
"""Keys that are written as durations, and their fields."""
_OTHER: Final = frozenset(field.name for field in fields(FaultRule)) - frozenset(_TIMES.values())
KNOWN: Final = tuple(sorted(_OTHER | _TIMES.keys()))
"""Every key of a [[fault]] table."""
NEVER: Final = "never"
"""``exit_after = "never"`` takes a shipped way out away: a person ends it."""


@cache
def shipped_tables() -> tuple[Mapping[str, Any], ...]:
    """The shipped rules as they stand, file by file in the order of their names."""
    tables: list[Mapping[str, Any]] = []
    folder = resources.files("ullage_collector.detect.faults")
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".toml"):
            tables += _tables(entry.read_text(encoding="utf-8"), entry.name)
    return tuple(
        sorted(tables, key=lambda table: "vendor" not in table)
    )  # a maker's own before what fits every maker


@cache
def shipped_rules() -> tuple[FaultRule, ...]:
    """The rules that come with the package. Raises ConfigError (BUG) when one is wrong."""
    return _rules(shipped_tables(), "shipped faults")


def parse_rules(text: str, where: str) -> tuple[FaultRule, ...]:
    """Rules of a TOML text. Raises ConfigError naming ``where``, the rule and the key."""
    return _rules(_tables(text, where), where)


def site_rules(
    file: Path | None = None, tables: Sequence[Mapping[str, Any]] = (), where: str = ""
) -> tuple[FaultRule, ...]:
    """The shipped rules with a site's own: those of ``file``, and ``tables`` of collector.toml, which come last.

    Raises ConfigError naming the file, the rule and the key.
    """
    own: list[tuple[Mapping[str, Any], str]] = []
    if file is not None:
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as e:
            raise ConfigError(f"[faults] file: {file}: cannot be read: {e}") from e
        own += [(table, f"{file}: fault {i + 1}") for i, table in enumerate(_tables(text, str(file)))]
    own += [
        (table, f"{where or 'collector.toml'}: [[faults.fault]] {i + 1}") for i, table in enumerate(tables)
    ]
    merged: dict[str, tuple[Mapping[str, Any], str]] = {
        str(table["name"]): (table, "shipped faults") for table in shipped_tables()
    }
    new: dict[str, tuple[Mapping[str, Any], str]] = {}
    for table, place in own:
        name = str(table.get("name", ""))
        if name in merged:
            shipped, _ = merged[name]
            # another signal or condition is another rule: nothing of the shipped one is mixed in
            other = any(
                key in table and table[key] != shipped.get(key) for key in ("kind", "metric", "condition")
            )
            merged[name] = (dict(table) if other else {**shipped, **table}, place)
        else:
            new[name] = ({**new[name][0], **table} if name in new else table, place)
    rules = tuple(_rule(table, place) for table, place in (*new.values(), *merged.values()))
    _check_names(rules, "faults")
    return rules


def rules_of(part: Mapping[str, Any]) -> tuple[FaultRule, ...]:
    """The rules of a collector by its [faults] table: ``file`` and [[faults.fault]]. Raises ConfigError."""
    file = part.get("file")
    if file is not None and not (isinstance(file, str) and file.startswith("/")):
        raise ConfigError(f"[faults] file = {file!r}: write an absolute path")
    tables = part.get("fault", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ConfigError("[faults] fault: write [[faults.fault]] tables")
    return site_rules(Path(file) if file else None, tables)


def _tables(text: str, where: str) -> list[Mapping[str, Any]]:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise ConfigError(f"{where}: not TOML: {e}") from e
    tables = document.get("fault", [])
    if not isinstance(tables, list):
        raise ConfigError(f"{where}: write [[fault]], not [fault]")
    if stray := set(document) - {"fault", "schema_version"}:
        raise ConfigError(f"{where}: {sorted(stray)[0]}: no such key; write [[fault]] tables")
    return tables


def _rules(tables: Sequence[Mapping[str, Any]], where: str) -> tuple[FaultRule, ...]:
    rules = tuple(_rule(table, f"{where}: fault {i + 1}") for i, table in enumerate(tables))
    _check_names(rules, where)
    return rules


def _check_names(rules: Sequence[FaultRule], where: str) -> None:
    names = [rule.name for rule in rules]
    for rule in rules:
        if names.count(rule.name) > 1:
            raise ConfigError(f"{where}: two rules are named {rule.name}")
        if stray := sorted(rule.yields_to - set(names)):
            if where != "faults" and not where.startswith("shipped"):
                continue  # a file by itself may name shipped rules
            raise ConfigError(f"{where} ({rule.name}): yields_to {stray[0]!r} is no rule")


def _rule(table: Mapping[str, Any], where: str) -> FaultRule:
    if stray := set(table) - set(KNOWN):
        raise ConfigError(f"{where}: unknown key {', '.join(sorted(stray))}; known are {', '.join(KNOWN)}")
    name = str(table.get("name", ""))
    signal = Signal(table["signal"]) if table.get("signal") in set(Signal) else None
    if signal is None and "signal" in table:
        raise ConfigError(f"{where} ({name}): signal {table['signal']!r} is none of {', '.join(Signal)}")
    signal = signal or (Signal.METRIC if "metric" in table else Signal.EVENT)
    needed = {
        Signal.EVENT: ("name", "kind", "severity", "action", "confirmed", "source"),
        Signal.METRIC: ("name", "metric", "family", "condition", "severity", "action", "confirmed", "source"),
        Signal.HISTORY: ("name", "family", "condition", "severity", "action", "confirmed", "source"),
        Signal.NONE: ("name", "why", "source"),
    }[signal]
    for key in needed:
        if key not in table:
            raise ConfigError(f"{where}: {key} is missing")
    reading = _Reading(table, f"{where} ({name})")
    rule = reading.rule(signal)
    _check(rule, f"{where} ({name})")
    return rule


class _Reading:
    """One table, key by key."""

    def __init__(self, table: Mapping[str, Any], where: str) -> None:
        self._table = table
        self._where = where

    def rule(self, signal: Signal) -> FaultRule:
        table = self._table
        condition = self.word(
            "condition", Condition, Condition.REPEAT if table.get("times", 1) > 1 else Condition.ONCE
        )
        stateful = condition not in (
            Condition.ONCE,
            Condition.REPEAT,
            Condition.DISTINCT,
            Condition.SAME_WORK,
        )
        us: dict[str, Any] = {
            field: self.duration(key) for key, field in _TIMES.items() if key in table and table[key] != NEVER
        }
        if signal is not Signal.NONE and stateful:
            # a single event that its maker calls fatal is no noise of a start; states and counts are
            us.setdefault("grace_us", round(BOOT_GRACE_SECONDS * 1e6))
        bad = self.number("bad", 1)
        return FaultRule(
            name=str(table["name"]),
            source=str(table["source"]),
            severity=self.word("severity", Severity, Severity.INFO),
            action=self.word("action", Action, Action.OBSERVE),
            confirmed=table.get("confirmed") is True,
            rows=tuple(int(row) for row in table.get("rows", [])),
            says=str(table.get("says", "")),
            vendor=table.get("vendor"),
            signal=signal,
            why=table.get("why"),
            family=table.get("family"),
            kind=table.get("kind"),
            codes=self.texts("codes"),
            unless=table.get("unless"),
            attributes=MappingProxyType(
                {
                    str(key): frozenset(value if isinstance(value, list) else [value])
                    for key, value in dict(table.get("attributes", {})).items()
                }
            ),
            only_severity=self.word("only_severity", Severity) if "only_severity" in table else None,
            metric=table.get("metric"),
            above=self.real("above"),
            below=self.real("below"),
            above_metric=table.get("above_metric"),
            below_metric=table.get("below_metric"),
            words=self.texts("words"),
            bits=self.texts("bits"),
            during=self._during(),
            condition=condition,
            times=self.number("times", 1),
            workloads=self.number("workloads", 0),
            users=self.number("users", 0),
            cards=self.number("cards", 0),
            bad=bad,
            of=self.number("of", bad),
            leave=self.real("leave"),
            learn=self.number("learn", LEARN_SAMPLES),
            follow=self.word("follow", Follow, Follow.NONE),
            mode=self.word("mode", Mode, Mode.SHADOW),
            independent=str(table.get("independent", "")),
            yields_to=self.texts("yields_to"),
            exit=self.texts("exit"),
            again=self._again(),
            spread=self._spread(),
            same=table.get("same"),
            per_lane=self._per_lane(),
            share=self._share(),
            **us,
        )

    def word(self, key: str, of: Any, default: Any = None) -> Any:
        value = self._table.get(key, default)
        if value is None or value not in set(of):
            raise ConfigError(f"{self._where}: {key} {value!r} is none of {', '.join(of)}")
        return of(value)

    def texts(self, key: str) -> frozenset[str]:
        value = self._table.get(key, [])
        if not isinstance(value, list):
            raise ConfigError(f"{self._where}: {key} = {value!r}: write a list of texts")
        return frozenset(str(item) for item in value)

    def number(self, key: str, default: int) -> int:
        value = self._table.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ConfigError(f"{self._where}: {key} = {value!r}: write a whole number")
        return value

    def real(self, key: str) -> float | None:
        value = self._table.get(key)
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value)
        ):
            raise ConfigError(f"{self._where}: {key} = {value!r}: write a number")
        return value

    def duration(self, key: str, table: Mapping[str, Any] | None = None) -> int:
        value = (self._table if table is None else table).get(key)
        match = _DURATION.match(value) if isinstance(value, str) else None
        if match is None:
            raise ConfigError(
                f'{self._where}: {key} = {value!r}: write a duration, e.g. "90s", "10min", "24h", "30d"'
            )
        return round(float(match[1]) * _SECONDS[match[2]] * 1e6)

    def _during(self) -> During | None:
        table = self._sub("during", ("metric", "above"))
        return During(str(table["metric"]), float(table["above"])) if table else None

    def _again(self) -> Again | None:
        table = self._sub("again", ("within",), ("times", "action", "follow"))
        if table is None:
            return None
        of = _Reading({**self._table, "times": 2, **table}, f"{self._where} again")
        return Again(
            of.number("times", 2),
            of.duration("within"),
            of.word("action", Action),
            of.word("follow", Follow, Follow.NONE),
        )

    def _spread(self) -> Spread | None:
        table = self._sub("spread", ("cards", "within", "action"))
        if table is None:
            return None
        of = _Reading(table, f"{self._where} spread")
        return Spread(of.number("cards", 2), of.duration("within"), of.word("action", Action))

    def _per_lane(self) -> PerLane | None:
        table = self._sub("per_lane", ("generation", "width", "rates"))
        if table is None:
            return None
        rates = table["rates"]
        if not isinstance(rates, list) or not rates:
            raise ConfigError(
                f"{self._where}: per_lane rates = {rates!r}: write a rate a generation, from 1 on"
            )
        of = [_Reading({"rate": rate}, f"{self._where} per_lane").real("rate") for rate in rates]
        if any(rate is None or rate <= 0 for rate in of):
            raise ConfigError(f"{self._where}: per_lane rates = {rates!r}: write rates above 0")
        return PerLane(
            str(table["generation"]), str(table["width"]), tuple(rate for rate in of if rate is not None)
        )

    def _share(self) -> Share | None:
        table = self._sub("share", ("ratio", "cards", "of", "within"))
        if table is None:
            return None
        of = _Reading(table, f"{self._where} share")
        ratio, places = of.real("ratio"), of.texts("of")
        if ratio is None or not 0 < ratio <= 1:
            raise ConfigError(f"{self._where}: share ratio = {ratio!r}: write a share from 0 to 1")
        if not places or places - {"node", "rack"}:
            raise ConfigError(f'{self._where}: share of = {sorted(places)!r}: write some of ["node", "rack"]')
        return Share(ratio, max(2, of.number("cards", 2)), places, of.duration("within"))

    def _sub(self, key: str, needed: Sequence[str], more: Sequence[str] = ()) -> Mapping[str, Any] | None:
        table = self._table.get(key)
        if table is None:
            return None
        if not isinstance(table, dict) or set(needed) - set(table) or set(table) - {*needed, *more}:
            raise ConfigError(f"{self._where}: {key} is a table of {', '.join((*needed, *more))}")
        return table


def _check(rule: FaultRule, where: str) -> None:
    """What no single key can tell."""
    if rule.signal is Signal.NONE:
        return
    for kind in ((rule.kind,) if rule.kind else ()) + tuple(sorted(rule.exit)):
        if kind not in KINDS:
            raise ConfigError(f"{where}: {kind!r} is no event kind; see ullage_contract.event.KINDS")
    allowed = {
        Signal.EVENT: OF_EVENTS,
        Signal.METRIC: OF_METRICS,
        Signal.HISTORY: frozenset({Condition.OFFENDER}),
    }[rule.signal]
    if rule.condition not in allowed:
        raise ConfigError(
            f"{where}: condition {rule.condition} is none of {', '.join(sorted(allowed))} of signal {rule.signal}"
        )
    if rule.times < 1 or (rule.times > 1 and not rule.over_us):
        raise ConfigError(f"{where}: times = {rule.times}: give over, the time in which it counts")
    if rule.same is not None and rule.condition is not Condition.REPEAT:
        raise ConfigError(f"{where}: same fits condition repeat alone")
    if rule.per_lane is not None and rule.condition is not Condition.RATE:
        raise ConfigError(f"{where}: per_lane fits condition rate alone")
    if rule.condition is Condition.REPEAT and rule.times < 2:
        raise ConfigError(f"{where}: a repeat needs times of 2 or more")
    if rule.condition in (Condition.STANDS, Condition.FLAP) and not rule.exit:
        raise ConfigError(f"{where}: condition {rule.condition} needs exit, the events that end the state")
    if rule.condition is Condition.SAME_WORK and (rule.cards < 2 or rule.action is not Action.OBSERVE):
        raise ConfigError(
            f"{where}: same_work needs cards of 2 or more, and only observes: work is no hardware"
        )
    if rule.family is not None and rule.family not in set(Family):
        raise ConfigError(f"{where}: family {rule.family!r} is none of {', '.join(Family)}")
    if rule.signal is Signal.METRIC:
        _check_metric(rule, where)
    if not 1 <= rule.bad <= rule.of:
        raise ConfigError(f"{where}: bad = {rule.bad} of {rule.of} samples: write 1 to of")


def _check_metric(rule: FaultRule, where: str) -> None:
    known = keys(Family(rule.family or ""))
    lanes = (rule.per_lane.generation, rule.per_lane.width) if rule.per_lane else ()
    named = (
        rule.metric,
        rule.above_metric,
        rule.below_metric,
        rule.during.metric if rule.during else None,
        *lanes,
    )
    for key in named:
        if key is not None and key not in known:
            raise ConfigError(f"{where}: {key!r} is no metric of a {rule.family}; see docs/metrics.md")
    metric = known[rule.metric or ""]
    growing = metric.kind is Kind.COUNTER
    if (rule.condition in OF_COUNTERS and not growing) or (rule.condition is Condition.SHORT and growing):
        raise ConfigError(
            f"{where}: {metric.key} is a {metric.kind}: condition {rule.condition} does not fit it"
        )
    if rule.condition is Condition.RATE and rule.above is None:
        raise ConfigError(f"{where}: a rate needs above")
    if rule.condition in (Condition.LEVEL, Condition.SHORT) and metric.type is Type.TEXT:
        if not rule.words or rule.words - set(metric.words or rule.words):
            raise ConfigError(f"{where}: words of {metric.key} are some of {', '.join(metric.words)}")
    elif rule.condition is Condition.LEVEL and rule.bits:
        if metric.words != THROTTLE_REASONS or rule.bits - set(THROTTLE_REASONS):
            raise ConfigError(f"{where}: bits are some of {', '.join(THROTTLE_REASONS)}")
    elif rule.condition is Condition.LEVEL and all(
        limit is None for limit in (rule.above, rule.below, rule.above_metric, rule.below_metric)
    ):
        raise ConfigError(f"{where}: a level needs above, below, above_metric, below_metric, words or bits")
