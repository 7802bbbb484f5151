"""The ledger of recommendations: opened by findings, decided by people, ended by either. Every change is in the audit.

open -> accepted -> done -> saved; open or accepted -> rejected; open -> lapsed when its findings ended by themselves. An
accepted one whose findings ended is done. What was rejected or done is not proposed again as long as the same finding is open.

Not here: what is proposed (proposal.py), and what was saved (saved.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from ullage_collector import audit
from ullage_collector.audit import AuditRow, naive_utc
from ullage_collector.ledger import ATOMS_PER_UNIT
from ullage_collector.recommendations.kinds import Rules
from ullage_collector.recommendations.proposal import Proposal, counted
from ullage_collector.sql import statements
from ullage_contract.errors import BadInput

if TYPE_CHECKING:
    import duckdb

STATES: Final = ("open", "accepted", "done", "saved", "rejected", "lapsed")
ACTIVE: Final = ("open", "accepted")
"""States of a row that its findings keep true."""
LEDGER: Final = "recommendations"
"""Who acts where no person does."""
FOUND_ENDED: Final = "its finding ended"
OTHERWISE: Final = "its finding proposes something else now"
MOST_ROWS: Final = (
    10_000  # our choice: because a page or script that wants more should read the published file
)
_FROM: Final[Mapping[str, tuple[str, ...]]] = {
    "accept": ("open",),
    "done": ("open", "accepted"),
    "reject": ("open", "accepted"),
}
"""What a person may do to a row, and in which states."""


@dataclass(frozen=True, slots=True)
class Renewed:
    """What one round did. open: open or accepted now."""

    opened: int
    ended: int
    open: int


def renew(
    connection: duckdb.DuckDBPyConnection, proposed: Sequence[Proposal], rules: Rules, now_us: int
) -> Renewed:
    """Make the open rows those that are proposed. connection: inside a write. proposed: all of them, as of ``now_us``.

    What was settled or is too small to bother anybody counts nothing, so that what is left may count it.
    """
    sql = statements("recommendations")
    active: dict[tuple[str, str, str, str], tuple[int, str, Mapping[str, Any]]] = {}
    settled: set[tuple[str, str, int]] = set()
    said: dict[int, tuple[Any, ...]] = {}
    for number, kind, family, subject, cluster, state, text, *rest in connection.execute(
        sql["standing"]
    ).fetchall():
        evidence = json.loads(text)
        said[number] = (*rest, text)
        if state in ACTIVE:
            scope = (cluster or "") if family == "node" else ""
            active[kind, family, scope, subject] = (number, state, evidence)
        else:
            settled |= _ids(kind, evidence)
    kept = [
        one
        for one in proposed
        if one.key in active or not (_small(one) or _ids(one.kind.name, one.evidence) & settled)
    ]
    wanted = {one.key: one for one in counted(kept, rules)}
    elsewhere = {number for one in wanted.values() for number in _numbers(one.evidence)}
    still = _still_open(connection, [evidence for _, _, evidence in active.values()])
    ended = 0
    for key, (number, state, evidence) in active.items():
        here = wanted.get(key)
        if here is not None:
            # A statement for each row that says the same would hold the store for seconds.
            values = _values(here)
            if tuple(values.values()) != said[number]:
                connection.execute(sql["renew"], {"id": number, **values})
        elif not (_numbers(evidence) & still):
            _end_by_itself(connection, number, state, now_us, FOUND_ENDED)
            ended += 1
        elif _numbers(evidence) <= elsewhere:
            _end_by_itself(connection, number, state, now_us, OTHERWISE)
            ended += 1
    opened = 0
    for key, one in wanted.items():
        if key in active:
            continue
        now = naive_utc(now_us / 1e6)
        connection.execute(
            sql["open"],
            {
                "kind": one.kind.name,
                "family": one.family,
                "subject": one.subject,
                "cluster": one.cluster,
                "risk": one.kind.risk,
                "effort": one.kind.effort,
                "now": now,
                "due": (now + timedelta(days=one.kind.due_days)).date(),
                **_values(one),
            },
        )
        opened += 1
    return Renewed(opened, ended, len(active) - ended + opened)


def decide(
    connection: duckdb.DuckDBPyConnection, number: int, word: str, *, actor: str, reason: str, now: float
) -> None:
    """What a person says of one. word: accept, done or reject. connection: inside a write. reason: "" where none is given.

    Raises BadInput for an unknown number or word, a state it cannot be said in, and a rejection without a reason.
    """
    if word not in _FROM:
        raise BadInput(f"{word[:20]!r}: write one of {', '.join(_FROM)}")
    found = rows(connection, only=number)
    if not found:
        raise BadInput(f"no recommendation {number}; list shows them")
    row = found[0]
    if row["state"] not in _FROM[word]:
        raise BadInput(
            f"recommendation {number} is {row['state']}; only {' or '.join(_FROM[word])} can be: {word}"
        )
    if word == "reject" and not reason.strip():
        raise BadInput("reason: say why it is rejected; whoever looks next time wants to know")
    _change(
        connection,
        number,
        {"accept": "accept", "done": "done", "reject": "end"}[word],
        {"reject": "rejected"}.get(word),
        actor=actor,
        reason=reason.strip() or None,
        now=now,
        result={"accept": "accepted", "done": "done", "reject": "rejected"}[word],
        evidence=row["evidence"],
    )


def rows(
    connection: duckdb.DuckDBPyConnection,
    *,
    only: int | None = None,
    state: str | None = None,
    most: int = MOST_ROWS,
) -> list[dict[str, Any]]:
    """Rows as the table has them, JSON columns read; those to be decided first, then by money. Raises BadInput for another state."""
    if state is not None and state not in STATES:
        raise BadInput(f"state {state[:20]!r}: write one of {', '.join(STATES)}")
    found = connection.execute(
        statements("recommendations")["rows"], {"only": only, "state": state, "most": most}
    )
    names = [column[0] for column in found.description or ()]
    told = []
    for values in found.fetchall():
        row = dict(zip(names, values, strict=True))
        for name in ("shared_with", "evidence"):
            row[name] = json.loads(row[name])
        told.append(row)
    return told


def note_saved(
    connection: duckdb.DuckDBPyConnection, number: int, values: Mapping[str, Any], now: float
) -> None:
    """Keep what was measured. values: the parameters of query ``saved`` besides id and now. connection: inside a write."""
    connection.execute(
        statements("recommendations")["saved"], {"id": number, "now": naive_utc(now), **values}
    )
    audit.write(
        connection,
        AuditRow(
            now, LEDGER, "recommendation", str(number), None, "saved", {k: str(v) for k, v in values.items()}
        ),
    )


def _end_by_itself(
    connection: duckdb.DuckDBPyConnection, number: int, state: str, now_us: int, reason: str
) -> None:
    done = state == "accepted"
    _change(
        connection,
        number,
        "done" if done else "end",
        None if done else "lapsed",
        actor=LEDGER,
        reason=reason,
        now=now_us / 1e6,
        result="done" if done else "lapsed",
        evidence=None,
    )


def _change(
    connection: duckdb.DuckDBPyConnection,
    number: int,
    query: str,
    state: str | None,
    *,
    actor: str,
    reason: str | None,
    now: float,
    result: str,
    evidence: Any,
) -> None:
    parameters = {"id": number, "now": naive_utc(now), "actor": actor, "reason": reason}
    if state is not None:
        parameters["state"] = state
    connection.execute(statements("recommendations")[query], parameters)
    audit.write(connection, AuditRow(now, actor, "recommendation", str(number), reason, result, evidence))


def _values(one: Proposal) -> dict[str, Any]:
    """What a round may change, in the order in which query ``standing`` says it, the evidence last."""
    return {
        "department": one.department,
        "owner": one.owner,
        "confidence": one.confidence,
        "currency": one.currency,
        "month": one.month,
        "counted": one.counted,
        "formula": one.formula,
        "unpriced": one.unpriced,
        "shared": json.dumps([f"{kind} {subject}" for kind, subject in one.shared_with], ensure_ascii=False),
        "evidence": json.dumps(one.evidence, ensure_ascii=False, sort_keys=True),
    }


def _small(one: Proposal) -> bool:
    """Whether its money is known and nobody should be bothered with it. What is not known is not small."""
    return one.month is not None and one.month < int(one.kind.least * ATOMS_PER_UNIT)


def _numbers(evidence: Mapping[str, Any]) -> set[tuple[str, int]]:
    return {(what, number) for _, what, number in _ids("", evidence)}


def _ids(kind: str, evidence: Mapping[str, Any]) -> set[tuple[str, str, int]]:
    return {
        (kind, what, int(number)) for what in ("findings", "incidents") for number in evidence.get(what, ())
    }


def _still_open(
    connection: duckdb.DuckDBPyConnection, evidence: Iterable[Mapping[str, Any]]
) -> set[tuple[str, int]]:
    """Which of the findings and incidents that rows stand on are open; one may be and propose nothing just now."""
    sql = statements("recommendations")
    some = list(evidence)
    found: set[tuple[str, int]] = set()
    for what in ("findings", "incidents"):
        numbers = sorted({int(number) for one in some for number in one.get(what, ())})
        if numbers:
            found |= {
                (what, int(row[0]))
                for row in connection.execute(sql[f"open_{what}"], {"ids": numbers}).fetchall()
            }
    return found
