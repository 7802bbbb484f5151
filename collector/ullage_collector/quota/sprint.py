"""Sprints: all cards of a pool for one department for a time, as a dated fact with a reason and a name.

While one rules, its department's min is all cards of the pool, and everybody else's min there is 0. Nothing is changed
in the quotas themselves: it is laid over them when figures are made, so that it ends by itself.
Cancelling one that has begun ends it at that instant; what was until then stays so. One pool has one sprint at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ullage_collector.audit import AuditRow, naive_utc
from ullage_collector.audit import write as write_audit
from ullage_collector.quota.division import Shape
from ullage_collector.quota.entry import ANY_POOL, Scope
from ullage_collector.quota.tree import NO_LIMIT, Limit, Node, Tree
from ullage_collector.sql import statements
from ullage_contract.errors import BadInput

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True, slots=True)
class Sprint:
    """One sprint over [from_us, to_us), microseconds since the epoch."""

    sprint_id: int
    pool: str
    department: str
    from_us: int
    to_us: int
    reason: str = ""
    actor: str = ""

    def rules(self, scope: Scope, instant_us: int) -> bool:
        """Whether it rules these cards at an instant. Quotas over all pools at once are not ruled by any."""
        return scope.pool == self.pool and scope.pool != ANY_POOL and self.from_us <= instant_us < self.to_us


def shaped(tree: Tree, scope: Scope, sprint: Sprint | None, capacity: int) -> tuple[tuple[Node, ...], Shape]:
    """The tree's nodes and limits on one kind of cards, with a sprint laid over them.

    capacity: nano-shares of the cards there are. A tree without a node of the sprint's department gets one, a root
    named as the department.
    """
    limits = tree.limits(scope)
    nodes = tree.nodes
    if sprint is None:
        return nodes, _shape(nodes, [limits.get(node.name, NO_LIMIT) for node in nodes])
    theirs = _top_nodes(nodes, sprint.department)
    if not theirs:
        own = Node(
            sprint.department, None, sprint.department, None, None, (f"department={sprint.department}",)
        )
        nodes, theirs = (*nodes, own), [own.name]
    stated = [limits.get(name, NO_LIMIT).min_nano or 0 for name in theirs]
    parts = dict(zip(theirs, _parts(capacity, stated if any(stated) else [1] * len(theirs)), strict=True))
    parents = {node.name: node.parent for node in nodes}
    given = dict.fromkeys(parents, 0)
    inside: set[str] = set()
    for node in nodes:  # parents before children
        if node.name in parts or (node.parent is not None and node.parent in inside):
            inside.add(node.name)
    for name, part in parts.items():
        at: str | None = name
        while at is not None:
            given[at] += part
            at = parents[at]
    found = []
    for node in nodes:
        limit = limits.get(node.name, NO_LIMIT)
        low = limit.min_nano if node.name in inside and node.name not in parts else given[node.name]
        high = limit.max_nano
        if high is not None and given[node.name]:
            high = max(high, given[node.name])
        found.append(Limit(low, high, limit.lend_nano))
    return nodes, _shape(nodes, found)


def _parts(capacity: int, weights: list[int]) -> list[int]:
    """All cards over the department's nodes: as their own min are to each other, else evenly; they add up exactly."""
    whole, through, given, parts = sum(weights), 0, 0, []
    for weight in weights:
        through += weight
        upto = capacity * through // whole
        parts.append(upto - given)
        given = upto
    return parts


def _top_nodes(nodes: tuple[Node, ...], department: str) -> list[str]:
    """Nodes of a department or below it, whose parent is not one."""
    theirs: set[str] = set()
    top = []
    for node in nodes:
        own = node.department is not None and (
            node.department == department or node.department.startswith(f"{department}/")
        )
        if own or (node.parent is not None and node.parent in theirs):
            theirs.add(node.name)
            if node.parent not in theirs:
                top.append(node.name)
    return top


def _shape(nodes: tuple[Node, ...], limits: list[Limit]) -> Shape:
    numbers = {node.name: i for i, node in enumerate(nodes)}
    return Shape(
        [-1 if node.parent is None else numbers[node.parent] for node in nodes],
        [limit.min_nano for limit in limits],
        [limit.max_nano for limit in limits],
        [limit.lend_nano for limit in limits],
    )


def declare(
    cursor: duckdb.DuckDBPyConnection,
    pool: str,
    department: str,
    from_us: int,
    to_us: int,
    *,
    reason: str,
    actor: str,
    now: float,
) -> Sprint:
    """Write a sprint down, with its row in the audit. cursor: inside a write; now: seconds since the epoch.

    Raises BadInput for no reason, an end before the beginning, a pool or department nobody knows, and another sprint
    on the pool at any time of it.
    """
    sql = statements("quota")
    if not reason.strip():
        raise BadInput("a sprint needs a reason: --reason TEXT")
    if to_us <= from_us:
        raise BadInput(f"the sprint on {pool} ends ({_text(to_us)}) before it begins ({_text(from_us)})")
    if pool == ANY_POOL or not cursor.execute(sql["pool_known"], {"pool": pool}).fetchall()[0][0]:
        raise BadInput(f"no pool {pool[:60]!r}: no rule or quota names it; import pools first")
    if not cursor.execute(sql["department_known"], {"department": department}).fetchall()[0][0]:
        raise BadInput(f"no department {department[:60]!r}: import the organisation or a mapping first")
    for number, other, begins, ends in cursor.execute(
        sql["sprints_between"], {"pool": pool, "from": naive_utc(from_us / 1e6), "to": naive_utc(to_us / 1e6)}
    ).fetchall():
        raise BadInput(
            f"pool {pool} has sprint {number} of {other} from {begins}Z to {ends}Z: cancel it first, or choose "
            "another time"
        )
    number = cursor.execute(sql["next_sprint"]).fetchall()[0][0]
    at = naive_utc(now)
    cursor.execute(
        sql["put_sprint"],
        [
            number,
            pool,
            department,
            naive_utc(from_us / 1e6),
            naive_utc(to_us / 1e6),
            at,
            reason.strip(),
            actor,
        ],
    )
    write_audit(
        cursor,
        AuditRow(
            at=now,
            actor=actor,
            action="quota_sprint",
            subject=pool,
            reason=reason.strip(),
            result="declared",
            evidence={"sprint": number, "department": department, "from": _text(from_us), "to": _text(to_us)},
            undo=["ullage-collector", "quota", "sprint", "--cancel", str(number)],
        ),
    )
    return Sprint(number, pool, department, from_us, to_us, reason.strip(), actor)


def cancel(
    cursor: duckdb.DuckDBPyConnection, number: int, *, reason: str, actor: str, now: float
) -> Sprint | None:
    """Take a sprint back, with a row in the audit: from now on where it has begun, wholly where it has not.

    What is left of it, None: nothing. cursor: inside a write. Raises BadInput where there is none, or it is over.
    """
    sql = statements("quota")
    rows = cursor.execute(sql["sprint"], [number]).fetchall()
    if not rows:
        raise BadInput(f"no sprint {number}; ullage-collector quota show lists those there are")
    pool, department, from_us, to_us, why, who = rows[0]
    now_us = round(now * 1e6)
    if to_us <= now_us:
        raise BadInput(f"sprint {number} on {pool} is over since {_text(to_us)}")
    at = naive_utc(now)
    cursor.execute(sql["end_sprint"], [at, number])
    left = None
    if from_us < now_us:
        cursor.execute(
            sql["put_sprint"], [number, pool, department, naive_utc(from_us / 1e6), at, at, why, who]
        )
        left = Sprint(number, pool, department, from_us, now_us, why, who)
    write_audit(
        cursor,
        AuditRow(
            at=now,
            actor=actor,
            action="quota_sprint_cancel",
            subject=pool,
            reason=reason.strip() or None,
            result="ended" if left else "withdrawn",
            evidence={"sprint": number, "department": department, "from": _text(from_us), "to": _text(to_us)},
        ),
    )
    return left


def _text(us: int) -> str:
    return datetime.fromtimestamp(us / 1e6, UTC).isoformat().replace("+00:00", "Z")
