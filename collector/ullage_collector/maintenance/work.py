"""``maintenance plan|start|end|list``: what each of them reads and does, for the command and the API alike.

Taking a node out is an isolation like any other, with the reason ``maintenance: ...``; giving it back is its release. In the
ledger the time is ``isolated`` as soon as nobody holds the card, so it is in no idle rate. Not here: what isolation does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Protocol

from ullage_collector import audit
from ullage_collector.audit import AuditRow, naive_utc
from ullage_collector.fleet_now import FleetNow
from ullage_collector.maintenance import windows
from ullage_collector.maintenance.proposal import Free, Hold, Move, propose
from ullage_collector.ownership.reading import organisation
from ullage_collector.sql import statements
from ullage_collector.topology.hostlist import expand
from ullage_collector.topology.reading import load
from ullage_contract.errors import ActuatorError, BadInput

if TYPE_CHECKING:
    import duckdb

    from ullage_collector.isolate.isolation import Outcome
    from ullage_collector.store.store import Store

REASON: Final = "maintenance: "
FREE_STATE: Final = "unallocated_idle"
"""What can take work: heard of, whole and nobody's. Unknown, faulty and isolated cards cannot."""
LEVELS: Final = (
    "rack",
    "room",
    "leaf_switch",
)
"""Levels of the topology a window can be named by, as ``rack:r12``."""


class Isolates(Protocol):
    """The two methods of isolate.isolation.Isolation that are used here."""

    def isolate(self, subject: str, *, reason: str, actor: str, execute_calls: bool = False) -> Outcome: ...

    def release(self, subject: str, *, reason: str, actor: str, execute_calls: bool = False) -> Outcome: ...


@dataclass(frozen=True, slots=True)
class Asked:
    """named: nodes (Slurm's list form), CLUSTER/NODE, or LEVEL:NAME of the topology. Times: seconds since the epoch."""

    named: str
    begin: float
    end: float
    reason: str
    actor: str


def nodes_of(cursor: duckdb.DuckDBPyConnection, named: str, now: float) -> list[tuple[str, str]]:
    """The (cluster, node) that a text names, in order. Raises BadInput for what names nothing or is in several clusters."""
    known = [(str(c), str(n)) for c, n in cursor.execute(statements("maintenance")["nodes"]).fetchall()]
    level, colon, name = named.partition(":")
    if colon and level in LEVELS:
        topology = load(cursor, round(now * 1e6), round(now * 1e6))
        found = [(c, n) for c, n in known if topology.place(c, n, level) == name]
        if not found:
            raise BadInput(
                f"no node is known to be in {level} {name[:60]!r}; `ullage-collector topology check` shows what is known"
            )
        return found
    chosen: list[tuple[str, str]] = []
    for word in expand(named):
        cluster, slash, node = word.partition("/")
        there = [(c, n) for c, n in known if ((c, n) == (cluster, node) if slash else n == word)]
        if not there:
            raise BadInput(
                f"{word[:80]!r} is no node that Ullage knows; or write LEVEL:NAME with {', '.join(LEVELS)}"
            )
        if len(there) > 1:
            raise BadInput(f"node {word[:80]!r} is in several clusters: write CLUSTER/{word[:80]}")
        chosen += [pair for pair in there if pair not in chosen]
    if not chosen:
        raise BadInput("name at least one node")
    return chosen


def plan(store: Store, fleet: FleetNow, asked: Asked, *, announce: bool = False) -> dict[str, Any]:
    """Who holds what on the nodes and until when, where it could go, whom to tell what. Keeps and announces when asked to.

    An announcement is an audit row a department (action ``maintenance_announced``): whoever wants news of maintenance hears it.
    """
    now = store.clock.wall()
    if not asked.begin < asked.end:
        raise BadInput("--from and --to: the window has to end after it begins")
    cursor = store.cursor()
    try:
        nodes = nodes_of(cursor, asked.named, now)
        holds = _holds(cursor, fleet, now)
        elsewhere = [
            window
            for window in windows.believed(cursor)
            if window.state in ("planned", "started")
            and window.valid_from < naive_utc(asked.end)
            and window.valid_to > naive_utc(asked.begin)
        ]
    finally:
        cursor.close()
    gone = set(nodes)
    away = gone | {(window.cluster, window.node) for window in elsewhere}
    mine = [hold for hold in holds if (hold.cluster, hold.node) in gone]
    found = propose(mine, _free(fleet, away), round(asked.begin * 1e6))
    messages = _messages(asked, mine, found.moves)
    window_id = None
    if announce:
        reason = _reason(asked.reason)
        with store.write() as writer:
            window_id = windows.keep(
                writer, nodes, asked.begin, asked.end, reason=reason, actor=asked.actor, now=now
            )
            for message in messages:
                audit.write(
                    writer,
                    AuditRow(
                        now,
                        asked.actor,
                        "maintenance_announced",
                        str(message["department"] or "platform"),
                        str(message["text"]["en"]),
                        f"window {window_id}",
                        evidence={"nodes": [f"{c}/{n}" for c, n in nodes], "users": message["users"]},
                        undo=[f"ullage-collector maintenance end {window_id} --execute"],
                    ),
                )
    return {
        "window_id": window_id,
        "from": _written(asked.begin),
        "to": _written(asked.end),
        "reason": asked.reason,
        "nodes": [{"cluster": c, "node": n} for c, n in nodes],
        "held": [_hold_json(hold) for hold in mine],
        "over_before": [hold.workload for hold in found.over_before],
        "moves": [
            {"workload": move.hold.workload, "from_node": move.hold.node, "cards": move.hold.cards,
             "model": move.hold.model, "to_node": move.to, "why_not": move.why or None}
            for move in found.moves
        ],
        "free_after": [{"cluster": f.cluster, "node": f.node, "model": f.model, "cards": f.cards} for f in found.left],
        "messages": messages,
        "is": "a proposal: nothing was moved",
    }  # fmt: skip


def start(
    store: Store, isolation: Isolates, asked: Asked, *, window_id: int | None = None, execute: bool = False
) -> dict[str, Any]:
    """Isolate each node of a window, of a kept one or a new one; a dry run unless ``execute``. One refusal stops no other."""
    now = store.clock.wall()
    chosen = _window(store, window_id, ("planned",)) if window_id is not None else []
    if window_id is None:
        cursor = store.cursor()
        try:
            nodes = nodes_of(cursor, asked.named, now)
        finally:
            cursor.close()
        if execute:
            with store.write() as writer:
                window_id = windows.keep(
                    writer,
                    nodes,
                    asked.begin,
                    asked.end,
                    reason=_reason(asked.reason),
                    actor=asked.actor,
                    now=now,
                )
            chosen = _window(store, window_id, ("planned",))
    else:
        nodes = [(window.cluster, window.node) for window in chosen]
    by_node = {(window.cluster, window.node): window for window in chosen}
    results = []
    for cluster, node in nodes:
        window = by_node.get((cluster, node))
        reason = REASON + (window.reason if window else _reason(asked.reason))

        # No expiry: a window that takes longer than planned must not give a node back by itself.
        def act(name: str, reason: str = reason) -> Outcome:
            return isolation.isolate(name, reason=reason, actor=asked.actor, execute_calls=execute)

        result, outcome = _tried(f"{cluster}/{node}", act)
        if outcome is not None and execute and window is not None:
            with store.write() as writer:
                windows.change(
                    writer, window, "started", actor=asked.actor, now=now,
                    begin=min(now, window.valid_from.replace(tzinfo=UTC).timestamp()),
                    isolation_id=outcome.isolation_id,
                )  # fmt: skip
        results.append(result)
    return {
        "window_id": window_id,
        "executed": execute,
        "nodes": results,
        "failed": sum("error" in r for r in results),
    }


def end(
    store: Store, isolation: Isolates, window_id: int, *, reason: str, actor: str, execute: bool = False
) -> dict[str, Any]:
    """Release each node that was taken out for a window, and cancel what was never begun; a dry run unless ``execute``."""
    results = []
    for window in _window(store, window_id, ("planned", "started")):
        name = f"{window.cluster}/{window.node}"
        result: dict[str, Any] = {"node": name, "calls": []}
        outcome = None
        if window.state == "started":

            def act(name: str) -> Outcome:
                return isolation.release(name, reason=REASON + reason, actor=actor, execute_calls=execute)

            result, outcome = _tried(name, act)
        if execute and (window.state == "planned" or outcome is not None):
            now = store.clock.wall()
            with store.write() as writer:
                windows.change(
                    writer, window, "ended" if window.state == "started" else "cancelled", actor=actor, now=now,
                    end=now if window.state == "started" else None,
                )  # fmt: skip
        results.append(result)
    return {
        "window_id": window_id,
        "executed": execute,
        "nodes": results,
        "failed": sum("error" in r for r in results),
    }


def listed(store: Store) -> dict[str, Any]:
    """Every window as believed now, newest first."""
    cursor = store.cursor()
    try:
        return {"windows": [window.to_json() for window in windows.believed(cursor)]}
    finally:
        cursor.close()


def _tried(name: str, act: Callable[[str], Outcome]) -> tuple[dict[str, Any], Outcome | None]:
    try:
        outcome = act(name)
    except (BadInput, ActuatorError) as e:
        return {"node": name, "calls": [], "error": str(e)}, None
    return {"node": name, "calls": list(outcome.calls), "notes": list(outcome.notes)}, outcome


def _window(store: Store, window_id: int, states: Sequence[str]) -> list[windows.Window]:
    cursor = store.cursor()
    try:
        found = [window for window in windows.believed(cursor, window_id) if window.state in states]
    finally:
        cursor.close()
    if not found:
        raise BadInput(f"window {window_id} has nothing that is {' or '.join(states)}")
    return found


def _holds(cursor: duckdb.DuckDBPyConnection, fleet: FleetNow, now: float) -> list[Hold]:
    departments: dict[str, str] = {}
    for card in fleet.cards()[1]:
        if card.workload_id is not None and card.department is not None:
            departments.setdefault(card.workload_id, card.department)
    tree = organisation(cursor).tree(round(now * 1e6))
    found = []
    for row in cursor.execute(statements("maintenance")["held"], {"now": naive_utc(now)}).fetchall():
        cluster, node, workload, _, name, user, model, rank, share, since, planned = row
        department = departments.get(workload)
        known = tree.place(department).department if department is not None else None
        found.append(
            Hold(
                cluster, node, workload, model, share, since,
                until_us=None if planned is None else round(planned * 1e6),
                name=name, user=user, department=department, owner=known.owner if known else None,
                reserved=rank == "reserved",
            )
        )  # fmt: skip
    return found


def _free(fleet: FleetNow, away: set[tuple[str, str]]) -> list[Free]:
    counts: dict[tuple[str, str, str], int] = {}
    for card in fleet.cards()[1]:
        place = (card.cluster_id, card.node_id)
        if card.state == FREE_STATE and not card.held_nano and place not in away:
            key = (*place, card.model)
            counts[key] = counts.get(key, 0) + 1
    return [Free(*key, cards=number) for key, number in sorted(counts.items())]


def _messages(asked: Asked, holds: Sequence[Hold], moves: Sequence[Move]) -> list[dict[str, Any]]:
    """One message a department, ready to send. None: holders nobody's rule maps to a department."""
    targets = {id(move.hold): move.to for move in moves}
    by_department: dict[str | None, list[Hold]] = {}
    for hold in holds:
        by_department.setdefault(hold.department, []).append(hold)
    found = []
    for department, mine in sorted(by_department.items(), key=lambda item: item[0] or ""):
        users = sorted({hold.user for hold in mine if hold.user})
        lines: Mapping[str, list[str]] = {"zh": [], "en": []}
        for hold in mine:
            to = targets.get(id(hold))
            until = None if hold.until_us is None else _written(hold.until_us / 1e6)
            lines["zh"].append(
                f"{hold.workload}({hold.user or '用户未知'}):{hold.node} 上 {hold.cards} 张 {hold.model},"
                f"预计结束 {until or '未知'},可迁往 {to or '暂无合适节点'}"
            )
            lines["en"].append(
                f"{hold.workload} ({hold.user or 'user unknown'}): {hold.cards} {hold.model} on {hold.node}, "
                f"ends {until or 'unknown'}, could go to {to or 'no node for now'}"
            )
        span = f"{_written(asked.begin)} – {_written(asked.end)}"
        found.append(
            {
                "department": department,
                "owner": next((hold.owner for hold in mine if hold.owner), None),
                "users": users,
                "text": {
                    "zh": f"维护 {span}:{asked.reason}。请在此之前保存或迁移:" + ";".join(lines["zh"]),
                    "en": f"Maintenance {span}: {asked.reason}. Please save or move before: "
                    + "; ".join(lines["en"]),
                },
            }
        )
    return found


def _hold_json(hold: Hold) -> dict[str, Any]:
    return {
        "workload": hold.workload,
        "name": hold.name,
        "cluster": hold.cluster,
        "node": hold.node,
        "model": hold.model,
        "cards": str(hold.share_nano / 1_000_000_000),
        "user": hold.user,
        "department": hold.department,
        "owner": hold.owner,
        "since": _written(hold.since_us / 1e6),
        "until": "unknown" if hold.until_us is None else _written(hold.until_us / 1e6),
        "reserved": hold.reserved,
    }


def _reason(text: str) -> str:
    cleaned = " ".join(text.split())
    if not cleaned:
        raise BadInput("give a reason; it goes into the audit and to whoever is told")
    return cleaned[:150]


def _written(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
