"""placement.toml as values; the file [placement] of collector.toml names, or the shipped one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any, Final

from ullage_contract import rule_file
from ullage_contract.catalogue import Kind, keys
from ullage_contract.sample import Family
from ullage_contract.settings import Table

FILE: Final = "placement.toml"
SECOND: Final = "second"


@dataclass(frozen=True, slots=True)
class Sign:
    """One way a port shows congestion. per: a counter ``key`` is a share of, or "second". stops: seconds a second that
    are the congested share of the time themselves."""

    key: str
    per: str
    at_least: float
    stops: bool


@dataclass(frozen=True, slots=True)
class Rules:
    """The file as values; what each means, and why it is so, stands in the shipped one. Ratios 0..1, grace and minutes in
    minutes, least_bytes a second."""

    least_nodes: int
    least_more_groups: int
    minutes: int
    least_bytes: float
    grace: int
    communication_ratio: Fraction
    congested_ratio: Fraction
    signs: tuple[Sign, ...]


@cache
def default_rules() -> Rules:
    """The rules shipped with the package."""
    return parse_rules(rule_file.shipped("ullage_collector.detect.placement", FILE), FILE)


def rules_of(part: Mapping[str, Any]) -> Rules:
    """The rules [placement] of collector.toml names: ``rules = FILE``; without it those shipped. Raises ConfigError."""
    return rule_file.chosen(part, "placement", parse_rules, default_rules)


def parse_rules(text: str, where: str) -> Rules:
    """Rules of a TOML text. Raises ConfigError naming ``where`` and the key."""
    top = rule_file.opened(text, where)
    job, loss = top.table("job"), top.table("loss")
    rules = Rules(
        least_nodes=job.whole("least_nodes", 2, 2, 1_000_000),
        least_more_groups=job.whole("least_more_groups", 1, 1, 1_000_000),
        minutes=job.whole("minutes", 30, 1, 1440),
        least_bytes=job.number("least_bytes", 50e6, 0, 1e15),
        grace=job.whole("grace", 30, 0, 10_080),
        communication_ratio=_exact(loss.number("communication_ratio", 0.2, 0, 1)),
        congested_ratio=_exact(loss.number("congested_ratio", 0.25, 0, 1)),
        signs=tuple(_sign(Table(row, where, "sign")) for row in top.tables("sign")),
    )
    for table in (job, loss, top):
        table.finish()
    return rules


def _sign(row: Table) -> Sign:
    key, per = row.text("key") or "", row.text("per", SECOND) or SECOND
    counters = {name for name, metric in keys(Family.PORT).items() if metric.kind is Kind.COUNTER}
    for name, value in (("key", key), ("per", per)):
        if value not in counters and not (name == "per" and value == SECOND):
            raise row.wrong(name, value, "write a counter of a port, e.g. out_of_sequence")
    sign = Sign(key, per, row.number("at_least", 0, 0, 1e12), row.flag("stops", False))
    if sign.stops and sign.per != SECOND:
        raise row.wrong("stops", True, 'only seconds a second stop a port: write per = "second"')
    row.finish()
    return sign


def _exact(value: float) -> Fraction:
    """As it is written, 0.2 and not its nearest binary neighbour: money is made of it."""
    return Fraction(str(value))
