"""Questions about the mapping rules, answered from the store as JSON documents: check, coverage, explain.

One function a question; each takes a cursor of the store and plain values. Not here: who may ask (api.py).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from ullage_collector import mapping
from ullage_collector.ledger import hours_exact
from ullage_collector.mapping import Dimension, Mapper, Rule
from ullage_collector.ownership.check import Beaten, Seen, check
from ullage_collector.ownership.departments import leaders
from ullage_collector.ownership.explain import (
    explain,
    lost_json,
    rule_json,
    sentence,
    version,
    written,
)
from ullage_collector.ownership.reading import MOST_DAYS, instant, naive, organisation, us
from ullage_collector.publish import closing
from ullage_collector.sql import fill, statements
from ullage_contract.errors import BadInput

if TYPE_CHECKING:
    import duckdb

TOP: Final = 20  # our choice: because the twenty largest are what somebody writes rules for in one sitting


def _rules(cursor: duckdb.DuckDBPyConnection) -> tuple[list[Rule], dict[int, str], list[str]]:
    """Rules that could count, where each is from, and what is wrong with those that could not."""
    rules, sources, refused = [], {}, []
    for *fields, source in cursor.execute(statements("ownership")["rules"]).fetchall():
        rule = Rule(*fields)
        sources[rule.rule_id] = str(source)
        try:
            mapping.checked(rule)
        except BadInput as e:
            refused.append(str(e))
        else:
            rules.append(rule)
    return rules, sources, refused


# ------------------------------------------------------------------------------- rules
def check_mapping(
    cursor: duckdb.DuckDBPyConnection, at: datetime, days: int, known_at: datetime | None = None
) -> dict[str, Any]:
    """Conflicts, rules without effect, departments that are gone, and coverage over ``days`` days before ``at`` (aware).

    known_at: rules and allocations as believed then; None: now. Raises BadInput for a number of days that is none.
    """
    if not 1 <= days <= MOST_DAYS:
        raise BadInput(f"days {days}: give 1 to {MOST_DAYS}")
    rules, sources, refused = _rules(cursor)
    mapper = Mapper(rules, known_at_us=None if known_at is None else us(known_at))
    at_us, from_us = us(at), us(at - timedelta(days=days))
    found = check(
        mapper,
        _seen(cursor, mapper, from_us, at_us, known_at),
        organisation(cursor),
        from_us=from_us,
        at_us=at_us,
    )

    def said(rule: Rule) -> dict[str, object]:
        return rule_json(rule, sources)

    def beaten(each: Beaten) -> dict[str, object]:
        return {"rule": said(each.rule), "by": said(each.by)}

    return {
        "at": written(at_us),
        "days": days,
        "rules": len(mapper.rules),
        "conflicts": [
            {
                "dimension": each.dimension.value,
                "wins": said(each.winner),
                "loses": said(each.loser),
                "example": each.example,
                "workloads": each.workloads,
                "card_hours": str(hours_exact(each.quantity)),
            }
            for each in found.conflicts
        ],
        "unmatched": [said(rule) for rule in found.unmatched],
        "shadowed": [beaten(each) for each in found.shadowed],
        "never_won": [beaten(each) for each in found.never_won],
        "gone": [{"rule": said(each.rule), "moved_to": each.moved_to} for each in found.gone],
        "refused": refused,
        "coverage": coverage(cursor, at, days),
    }


def _seen(
    cursor: duckdb.DuckDBPyConnection, mapper: Mapper, from_us: int, to_us: int, known_at: datetime | None
) -> list[Seen]:
    query = fill(
        statements("ownership")["seen"],
        known="a.known_to IS NULL"
        if known_at is None
        else "a.known_from <= $known AND (a.known_to IS NULL OR a.known_to > $known)",
        each="w.workload_id" if mapper.by_id else "''",
    )
    given: dict[str, Any] = {"from_us": from_us, "to_us": to_us}
    if known_at is not None:
        given["known"] = naive(known_at)
    return [
        Seen(mapping.subject(*row[:9]), int(row[9]), int(row[10]), int(row[11]), int(row[12]))
        for row in cursor.execute(query, given).fetchall()
    ]


def coverage(cursor: duckdb.DuckDBPyConnection, at: datetime, days: int) -> dict[str, Any]:
    """Of each UTC day whose money is worked out, the share of held card-hours that maps to nothing; and by whom.

    unmapped_share: 0..1 as text, null where nothing was held. Days not worked out are left out, and counted.
    """
    sql = statements("ownership")
    span = {"first": (at - timedelta(days=days)).date(), "last": at.date()}
    held = {row[0]: (int(row[1]), int(row[2])) for row in cursor.execute(sql["coverage"], span).fetchall()}
    made = [row[0] for row in cursor.execute(sql["days"], span).fetchall()]
    listed = [(day, *held.get(day, (0, 0))) for day in made]
    total, unmapped = sum(h for _, h, _ in listed), sum(u for _, _, u in listed)
    return {
        "days": [{"day": day.isoformat(), **_share(h, u)} for day, h, u in listed],
        "days_missing": (span["last"] - span["first"]).days + 1 - len(made),
        **_share(total, unmapped),
        "top_unmapped": [
            {
                "workload_id": workload,
                "kind": kind,
                "cluster_id": cluster,
                "namespace": namespace,
                "user": user,
                "partition": partition,
                "name": name,
                "card_hours": str(hours_exact(int(quantity))),
            }
            for workload, kind, cluster, namespace, user, partition, name, quantity in cursor.execute(
                sql["unmapped"], {**span, "top": TOP}
            ).fetchall()
        ],
    }


def _share(held: int, unmapped: int) -> dict[str, Any]:
    return {
        "held_card_hours": str(hours_exact(held)),
        "unmapped_card_hours": str(hours_exact(unmapped)),
        "unmapped_share": None if not held else f"{unmapped / held:.6f}",
    }


def explain_workload(
    cursor: duckdb.DuckDBPyConnection,
    workload: str,
    now: datetime,
    at: datetime | None = None,
    known_at: datetime | None = None,
) -> dict[str, Any]:
    """Whose a workload is and why; one answer for each pool its cards are in. Times aware.

    workload: its id, or the end of it behind a slash (a job number). at None: the last instant it held a card. known_at None: as
    believed when the period that holds ``at`` was closed, or now where it is open.
    Raises BadInput where nobody, or more than one, has that name.
    """
    row = _workload(cursor, workload)
    first_us, last_us, pools = cursor.execute(
        statements("ownership")["times"], {"workload_key": row[8]}
    ).fetchall()[0]
    if at is None:
        at_us = min(us(now), last_us - 1) if last_us is not None else us(now)
    else:
        at_us = us(at)
    closed = closing.closed_at(cursor, instant(at_us))
    why = ""
    if known_at is None and closed is not None:
        known_at = closed
        why = f"the period is closed and stands as believed at {written(us(closed))}"
    known_us = None if known_at is None else us(known_at)
    rules, sources, _ = _rules(cursor)
    mapper = Mapper(rules, known_at_us=known_us)
    tree = organisation(cursor)
    answers = []
    for pool in pools or [None]:
        subject = replace(mapping.subject(*row[:8]), pool=pool)
        found = explain(mapper, subject, at_us)
        said = found.of(Dimension.DEPARTMENT)
        place = tree.place(str(said.value), at_us, None, known_us)
        answers.append(
            {
                "pool": pool,
                "sentence": sentence(found, place if tree else None, sources, why=why),
                "seen": list(found.seen),
                "department": said.value,
                "path": list(place.path),
                **leaders(place),
                "dimensions": {
                    verdict.dimension.value: {
                        "value": verdict.value,
                        "rule": rule_json(verdict.winner, sources) if verdict.winner else None,
                        "version": version(verdict.winner, sources) if verdict.winner else None,
                        "lost": lost_json(verdict.lost, sources),
                    }
                    for verdict in found.verdicts
                },
                "not_valid_then": lost_json(found.silent, sources),
                "contested": [rule_json(rule, sources) for rule in found.contested],
            }
        )
    return {
        "workload_id": row[0],
        "at": written(at_us),
        "known_at": written(known_us),
        "closed_at": None if closed is None else written(us(closed)),
        "held_from": written(first_us),
        "held_to": written(last_us),
        "answers": answers,
    }


def _workload(cursor: duckdb.DuckDBPyConnection, workload: str) -> tuple[Any, ...]:
    found = cursor.execute(statements("ownership")["workload"], {"id": workload}).fetchall()
    if not found:
        raise BadInput(
            f"no workload {workload[:120]!r}; write its id as GET /api/v1/allocations shows it, or a job's number"
        )
    if found[0][0] != workload and len(found) > 1:
        raise BadInput(
            f"{workload[:120]!r} can be {', '.join(row[0] for row in found[:5])}; write the whole id"
        )
    whole: tuple[Any, ...] = found[0]
    return whole
