"""Cards and nodes that come back again and again: a finding, and an incident for a person.

Not here: who is one (detect/correlation.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ullage_collector.audit import naive_utc
from ullage_collector.detect.correlation import Isolated, Offender, offenders
from ullage_collector.detect.fault_rule import FaultRule
from ullage_collector.detect.findings import Found, keep
from ullage_collector.incident_book import Open, key_of
from ullage_collector.incident_turns import Turns
from ullage_collector.isolate.verdict import Turn
from ullage_collector.sql import statements
from ullage_contract.sample import Origin

if TYPE_CHECKING:
    from collections.abc import Mapping

    import duckdb

OFFENDER: Final = "repeat_offender"
"""Kind of the findings about cards and nodes that come back again and again."""


def look_for_offenders(
    connection: duckdb.DuckDBPyConnection, rules: Mapping[str, FaultRule], turns: Turns, now_us: int
) -> list[Offender]:
    """Keep the findings as they are now and open incidents for new ones, in the caller's transaction. Those found."""
    longest = max((rule.over_us for rule in rules.values() if rule.signal == "history"), default=0)
    rows = connection.execute(
        statements("incidents")["isolations_since"], [naive_utc((now_us - longest) / 1e6)]
    ).fetchall()
    past = [
        Isolated(cluster, node, subject if family == "card" else None, at_us)
        for family, subject, cluster, node, at_us in rows
    ]
    found = offenders(rules, past, now_us)
    keep(connection, [OFFENDER], [_finding(one) for one in found], now_us)
    for offender in found:
        _open(connection, offender, rules[offender.rule], turns)
    return found


def _open(connection: duckdb.DuckDBPyConnection, offender: Offender, rule: FaultRule, turns: Turns) -> None:
    if turns.book.get(key_of(offender.rule, offender.family, offender.cluster, offender.subject)) is not None:
        return
    sql = statements("incidents")
    row = connection.execute(
        sql["last_closed"], [offender.rule, offender.subject, offender.cluster]
    ).fetchone()
    if row is not None and row[0] is not None and row[0] >= offender.last_us:
        return  # a person has dealt with these
    one = Open(
        incident_id=0,
        cause=rule.name,
        family=offender.family,
        subject=offender.subject,
        cluster=offender.cluster,
        node=offender.node,
        vendor=None,
        code=None,
        severity=rule.severity,
        action=rule.action,
        follow=rule.follow,
        mode=rule.mode,
        fresh=True,
        first_us=offender.first_us,
        at_us=offender.last_us,
        reason=f"{rule.name}: isolated {offender.times} times in {rule.over_us / 8.64e10:g} d",
        origin=Origin.REAL.value,
        evidence=[
            {"times": offender.times, "first": offender.first_us / 1e6, "last": offender.last_us / 1e6}
        ],
    )
    turns.book.open(connection, one, money=False, message=one.reason)
    turns.tell(one, Turn.OPENED)


def _finding(one: Offender) -> Found:
    return Found(
        OFFENDER,
        one.family,
        one.subject,
        one.first_us,
        {"cluster": one.cluster, "node": one.node, "isolations": one.times, "last_us": one.last_us},
        key=one.rule,
        action="decide_about_replacement",
    )
