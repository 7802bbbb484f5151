"""The figures of quotas as the API gives and the command prints them: at an instant in cards, over a stretch in card-hours.

Amounts are exact decimals as text. None: it is not stated, or cannot be said: borrowed and lent where a tree
guarantees nobody anything, headroom of work no quota binds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from ullage_collector.ledger import hours_exact
from ullage_collector.quota.entry import ANY_POOL, NO_POOL, Scope
from ullage_collector.quota.known import Known
from ullage_collector.quota.pools import sizes
from ullage_collector.quota.resources import cards_text
from ullage_collector.quota.steps import Total, total
from ullage_collector.quota.tree import Problem
from ullage_contract.errors import BadInput

AMOUNTS: Final = ("min", "max", "used", "guaranteed_used", "borrowed", "lent", "waiting", "headroom")
"""What is said of each node, in the order it is shown."""
LISTED: Final = 50  # our choice: conflicts and unplaced work that are listed; all are counted


def document(known: Known, *, at_us: int | None = None, tree: str | None = None) -> dict[str, Any]:
    """What is known, as JSON. at_us: figures of that instant, its microsecond being what is known; None: of the stretch.

    tree: that tree alone. Raises BadInput where there are others and not this one.
    """
    instant = at_us is not None
    there = sorted({entry.tree for entry in known.entries})
    if tree is not None and there and tree not in there:
        raise BadInput(f"no quota tree {tree[:80]!r}; there are {', '.join(there)}")
    names = [name for name in there if tree in (None, name)]
    scopes = known.scopes()
    found = []
    for name in names:
        problems = [*_problems(known, name), *_unruled(known, name)]
        held, asked = known.unplaced(name)
        found.append(
            {
                "tree": name,
                "problems": [
                    {"kind": p.kind, "quotas": list(p.names), "message": p.message} for p in problems
                ],
                "unplaced": _amounts({"used": _sum(held, known), "waiting": _sum(asked, known)}, instant),
                "cards": [_scope(known, name, scope, instant) for each, scope in scopes if each == name],
            }
        )
    return {
        "unit": "cards" if instant else "card_hours",
        **(
            {"at": _time(known.from_us)}
            if instant
            else {"from": _time(known.from_us), "to": _time(known.to_us)}
        ),
        "known_at": _time(known.as_of_us),
        "pools": [
            {"pool": name, "cards": count}
            for name, count in sorted(sizes(known.members, known.from_us).items())
        ],
        "conflicts": {
            "count": len(known.pools.conflicts),
            "first": [
                {
                    "card_id": c.card_id,
                    "pools": list(c.pools),
                    "rules": list(c.rules),
                    "from": _time(c.from_us),
                }
                for c in known.pools.conflicts[:LISTED]
            ],
        },
        "sprints": [
            {
                "sprint_id": s.sprint_id,
                "pool": s.pool,
                "department_id": s.department,
                "from": _time(s.from_us),
                "to": _time(s.to_us),
                "reason": s.reason,
                "actor": s.actor,
            }
            for s in known.sprints
        ],
        "trees": found,
        "refused": known.refused[:LISTED],
    }


def _scope(known: Known, tree: str, scope: Scope, instant: bool) -> dict[str, Any]:
    summed = total(known.steps(tree, scope))
    lends = summed.sprint or any(
        e.min_nano is not None for e in known.entries if e.tree == tree and e.scope == scope
    )
    roots = [node for node in summed.nodes.values() if node.node.parent is None]
    whole: dict[str, int | None] = {
        "capacity": summed.capacity,
        "used": summed.used,
        "waiting": summed.waiting,
        "borrowed": (sum(n.borrowed for n in roots) + summed.outside) if lends else None,
        "lent": sum(n.lent for n in roots) if lends else None,
        "unguaranteed_used": summed.unguaranteed if lends else None,
        "over": summed.over,
        "used_outside": summed.outside,
        "waiting_outside": summed.waiting_outside,
    }
    return {
        "pool": scope.pool,
        "resource": scope.resource,
        "vendor": scope.vendor or None,
        "model": scope.model or None,
        "guarantees": lends,
        "sprint": summed.sprint,
        **_amounts(whole, instant),
        "nodes": list(_nodes(summed, lends, instant)),
    }


def _nodes(summed: Total, lends: bool, instant: bool) -> Iterator[dict[str, Any]]:
    depth: dict[str | None, int] = {None: -1}
    for name, node in summed.nodes.items():
        depth[name] = depth.get(node.node.parent, -1) + 1
        amounts: dict[str, int | None] = {
            "min": node.min if node.min_us == node.stood_us else None,
            "max": node.max if node.max_us == node.stood_us else None,
            "used": node.used,
            "guaranteed_used": node.guaranteed_used if lends else None,
            "borrowed": node.borrowed if lends else None,
            "lent": node.lent if lends else None,
            "waiting": node.waiting,
            "headroom": node.headroom,
        }
        yield {
            "quota": name,
            "parent": node.node.parent,
            "depth": depth[name],
            "department_id": node.node.department,
            "owner": node.node.owner,
            "binds": list(node.node.binds),
            **_amounts(amounts, instant),
        }


def _problems(known: Known, tree: str) -> Sequence[Problem]:
    """What is wrong with a tree at any time of the stretch, once."""
    edges = {known.from_us}
    for entry in known.entries:
        if entry.tree == tree and entry.from_us is not None and known.from_us < entry.from_us < known.to_us:
            edges.add(entry.from_us)
    found: dict[Problem, None] = {}
    for edge in sorted(edges):
        for each in known.trees(edge):
            if each.name == tree:
                found.update(dict.fromkeys(each.problems))
    return list(found)


def _unruled(known: Known, tree: str) -> Iterator[Problem]:
    """Sprints that rule nothing in a tree whose limits are on cards of every pool at once."""
    pools = {scope.pool for name, scope in known.scopes() if name == tree}
    for sprint in known.sprints:
        if ANY_POOL in pools and sprint.pool not in pools:
            yield Problem(
                "sprint_unruled",
                tree,
                (sprint.department,),
                f"sprint {sprint.sprint_id} on pool {sprint.pool} rules nothing here: the limits are on cards of all pools",
            )


def _sum(pieces: Iterable[Any], known: Known) -> int:
    return sum(
        piece.nano * (min(piece.to_us, known.to_us) - max(piece.from_us, known.from_us)) for piece in pieces
    )


def _amounts(found: Mapping[str, int | None], instant: bool) -> dict[str, str | None]:
    """Integrals as text; an instant is one microsecond, so that its integral is its nano-shares."""
    return {
        name: None if value is None else cards_text(value) if instant else hours_text(value)
        for name, value in found.items()
    }


def hours_text(quantity: int) -> str:
    """Card-hours of a quantity as a plain decimal: ``36``, ``0.083333333333``."""
    text = format(hours_exact(quantity), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _time(us: int) -> str:
    return (
        datetime.fromtimestamp(us // 1_000_000, UTC)
        .replace(microsecond=us % 1_000_000)
        .isoformat()
        .replace("+00:00", "Z")
    )


# ------------------------------------------------------------------------------------------ for people
def lines(shown: Mapping[str, Any]) -> Iterator[str]:
    """The document as a tree in a table, for a terminal."""
    when = f"at {shown['at']}" if "at" in shown else f"{shown['from']} to {shown['to']}"
    yield f"{shown['unit'].replace('_', '-')}, {when}, as known at {shown['known_at']}"
    for sprint in shown["sprints"]:
        yield (
            f"sprint {sprint['sprint_id']}: pool {sprint['pool']} is {sprint['department_id']}'s from {sprint['from']} to "
            f"{sprint['to']} ({sprint['actor']}: {sprint['reason']})"
        )
    for pool in shown["pools"]:
        yield f"pool {pool['pool']}: {pool['cards']} cards" + (
            " in no pool" if pool["pool"] == NO_POOL else ""
        )
    if shown["conflicts"]["count"]:
        yield f"{shown['conflicts']['count']} cards are claimed by more than one pool; see --json"
    for tree in shown["trees"]:
        yield ""
        yield tree["tree"]
        for problem in tree["problems"]:
            yield f"  ! {problem['message']}"
        for part in tree["cards"]:
            yield from _table(part)
    for text in shown["refused"]:
        yield f"! {text}"


def _table(part: Mapping[str, Any]) -> Iterator[str]:
    scope = Scope(part["pool"], part["resource"], part["vendor"] or "", part["model"] or "")
    more = [f"capacity {part['capacity']}", f"used {part['used']}"]
    more += [f"{name} {part[name]}" for name in ("over", "used_outside") if part[name] not in (None, "0")]
    yield f"  {scope}: {', '.join(more)}{', SPRINT' if part['sprint'] else ''}"
    rows = [["", *AMOUNTS]]
    rows += [
        ["  " * node["depth"] + node["quota"], *("-" if node[a] is None else node[a] for a in AMOUNTS)]
        for node in part["nodes"]
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(t.rjust(w) for t, w in zip(row[1:], widths[1:], strict=True))]
        yield ("    " + "  ".join(cells)).rstrip()
