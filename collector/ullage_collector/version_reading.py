"""Versions read from the store for judging and showing: who runs what now, the dated facts, who holds what, what broke."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from ullage_collector.detect import versions as judge
from ullage_collector.detect.findings import Found
from ullage_collector.detect.versions import Fault, Holding, Rules
from ullage_collector.sql import statements
from ullage_collector.versions import NAMES, Ran, Running, spans, table, text_of

if TYPE_CHECKING:
    import duckdb

HEARD_WITHIN: Final = timedelta(days=1)
"""Whose versions count as running now. our choice: a day, in which every agent says all its facts again."""

_FACTS: Final = tuple(dict.fromkeys(fact for _, fact in NAMES))


def running(connection: duckdb.DuckDBPyConnection, now_us: int) -> list[Running]:
    """One row a version of a card, node or port heard within the last day."""
    sql = statements("versions")
    now = _naive(now_us)
    when = {"since": now - HEARD_WITHIN}
    since = {
        (family, subject, fact): from_us
        for family, subject, fact, from_us in connection.execute(sql["since"], {"names": _FACTS}).fetchall()
    }
    found: list[Running] = []
    groups: dict[tuple[str, str], Counter[str]] = {}

    def add(
        family: str,
        subject: str,
        place: tuple[str, str],
        fact: str,
        value: Any,
        *,
        group: str,
        kind: str,
        vendor: str = "",
    ) -> None:
        version = text_of(value)
        if version is not None:
            name = NAMES[family, fact]
            at = since.get((family, subject, fact))
            found.append(Running(family, subject, *place, name, version, group, kind, vendor, at))

    cards = connection.execute(sql["cards"], {**when, "now": now}).fetchall()
    for card, cluster, node, vendor, model, pool, driver, firmware, runtime in cards:
        group = pool or f"{cluster}/{model}"
        groups.setdefault((cluster, node), Counter())[group] += 1
        said = {"driver_version": driver, "firmware_version": firmware, "runtime_version": runtime}
        for fact, value in said.items():
            add("card", card, (cluster, node), fact, value, group=group, kind=model, vendor=vendor)
    for cluster, node, kernel, os, agent in connection.execute(sql["nodes"], when).fetchall():
        said = {"kernel_version": kernel, "os_version": os, "agent_version": agent}
        for fact, value in said.items():
            add("node", node, (cluster, node), fact, value, group=_group(groups, cluster, node), kind="")
    for port, cluster, node, kind, firmware in connection.execute(sql["ports"], when).fetchall():
        group = _group(groups, cluster, node)
        add("port", port, (cluster, node), "firmware_version", firmware, group=group, kind=kind)
    return found


def _group(groups: dict[tuple[str, str], Counter[str]], cluster: str, node: str) -> str:
    """The group most of a node's cards are in; a node without cards is among those of its cluster."""
    counted = groups.get((cluster, node))
    return min(counted, key=lambda name: (-counted[name], name)) if counted else cluster


def ran(connection: duckdb.DuckDBPyConnection, since_us: int) -> list[Ran]:
    """What everybody ran from ``since_us`` on, and just before."""
    sql = statements("versions")["facts"]
    return spans(connection.execute(sql, {"names": _FACTS, "since": _naive(since_us)}).fetchall())


def ran_by(connection: duckdb.DuckDBPyConnection, subjects: list[str]) -> list[Ran]:
    """All that these cards, nodes or ports ever ran."""
    sql = statements("versions")["facts_of"]
    return spans(connection.execute(sql, {"names": _FACTS, "subjects": subjects}).fetchall())


def judged(connection: duckdb.DuckDBPyConnection, rules: Rules, now_us: int) -> list[Found]:
    """Every finding about versions at ``now_us``."""
    sql = statements("versions")
    now = running(connection, now_us)
    holdings = [
        Holding(*row) for row in connection.execute(sql["holdings"], {"now": _naive(now_us)}).fetchall()
    ]
    since_us = now_us - rules.look_back_us
    faults = [
        Fault(number, family, subject, cause, onset_us, node, tuple(cards or ()))
        for number, family, subject, cause, onset_us, node, cards in connection.execute(
            sql["faults"], {"since": _naive(since_us)}
        ).fetchall()
    ]
    changes = ran(connection, since_us - rules.change_us) if faults else []
    return [
        *judge.drift(now, rules, now_us),
        *judge.drift_in_jobs(now, holdings, rules, now_us),
        *judge.below_minimum(now, rules, now_us),
        *judge.before_faults(changes, faults, rules, now_us),
    ]


def as_json(connection: duckdb.DuckDBPyConnection, rules: Rules, now_us: int) -> dict[str, Any]:
    """Versions by model with counts, and what is odd among them."""
    return {
        "schema_version": 1,
        "versions": table(running(connection, now_us)),
        "findings": [
            {
                "kind": found.kind,
                "family": found.family,
                "subject": found.subject,
                "since_us": found.since_us,
                "confidence": found.confidence,
                "action": found.action,
                "evidence": dict(found.evidence),
            }
            for found in judged(connection, rules, now_us)
        ],
    }


def history_json(connection: duckdb.DuckDBPyConnection, subject: str) -> dict[str, Any]:
    """What one card, node or port ran when."""
    return {
        "schema_version": 1,
        "subject": subject,
        "ran": [
            {
                "family": item.family,
                "name": item.name,
                "version": item.version,
                "from_us": item.from_us,
                "to_us": item.to_us,
            }
            for item in ran_by(connection, [subject])
        ],
    }


def _naive(us: int) -> datetime:
    return datetime.fromtimestamp(us / 1e6, UTC).replace(tzinfo=None)
