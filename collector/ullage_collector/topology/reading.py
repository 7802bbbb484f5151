"""The topology as the store holds it: at an instant, as believed at another; and what is wrong with it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from ullage_collector.sql import statements
from ullage_collector.topology.domains import Port, Row, Subject, Topology
from ullage_collector.topology.relation import RELATIONS
from ullage_contract.settings import Table

if TYPE_CHECKING:
    import duckdb

SOURCE_KINDS: Final = ("csv", "agents", "ibnetdiscover", "lldp", "kubernetes", "slurm")
"""What stands before the colon of a source."""
MOST_ROWS: Final = 200_000
"""our choice: because so many relations are tens of megabytes of JSON; ask for one node's beyond that."""


@cache
def shipped_precedence() -> Mapping[str, tuple[str, ...]]:
    """sources.toml: relation or ``default`` -> source kinds, first wins."""
    text = resources.files("ullage_collector.topology").joinpath("sources.toml").read_text(encoding="utf-8")
    return {name: tuple(order) for name, order in tomllib.loads(text)["precedence"].items()}


def settings_of(part: Mapping[str, Any]) -> tuple[Mapping[str, Sequence[str]], Mapping[str, Any]]:
    """[topology] of collector.toml: precedence (the shipped one with a site's own), and its labels as they stand.

    Raises ConfigError naming the key.
    """
    table = Table(part, "collector.toml", "topology")
    own, labels = table.table("precedence"), table.table("labels").rest()
    table.finish()
    order = dict(shipped_precedence())
    for name in own.content:
        kinds = own.texts(name)
        if name != "default" and name not in RELATIONS:
            raise own.wrong(name, kinds, f"write default or one of {', '.join(RELATIONS)}")
        for kind in kinds:
            if kind not in SOURCE_KINDS:
                raise own.wrong(name, kind, f"write some of {', '.join(SOURCE_KINDS)}")
        order[name] = kinds
    return order, labels


def load(
    connection: duckdb.DuckDBPyConnection,
    at_us: int,
    known_us: int,
    precedence: Mapping[str, Sequence[str]] | None = None,
) -> Topology:
    """What holds at ``at_us`` as believed at ``known_us``; both microseconds since the epoch."""
    sql = statements("topology")
    when = {"at": at_us, "known": known_us}
    rows = [
        Row(
            source,
            cluster,
            family,
            subject,
            relation,
            target,
            json.loads(text) if text else {},
            from_us,
            to_us,
        )
        for source, cluster, family, subject, relation, target, text, from_us, to_us in connection.execute(
            sql["at"], when
        ).fetchall()
    ]
    return Topology(
        rows,
        nodes=connection.execute(sql["nodes"]).fetchall(),
        cards=connection.execute(sql["cards"], when).fetchall(),
        ports=[Port(*row) for row in connection.execute(sql["ports"]).fetchall()],
        precedence=shipped_precedence() if precedence is None else precedence,
    )


def check(topology: Topology) -> dict[str, Any]:
    """Conflicts, unknowns and names nobody knows, as the command prints them."""
    unknown = topology.unknown()
    return {
        "schema_version": 1,
        "nodes": len(topology.nodes),
        "relations": len(topology.rows),
        "sources": sorted({row.source for row in topology.rows}),
        "conflicts": [
            {
                "cluster": c.cluster,
                "family": c.family,
                "subject": c.subject,
                "relation": c.relation,
                "said": [{"source": source, "target": target} for source, target in c.said],
                "believed": c.believed,
            }
            for c in topology.conflicts()
        ],
        "unknown": {
            level: {"nodes": len(nodes), "first": [f"{cluster}/{node}" for cluster, node in nodes[:20]]}
            for level, nodes in unknown.items()
        },
        "strangers": [
            {"source": source, "cluster": cluster, "node": node}
            for source, cluster, node in topology.strangers()
        ],
    }


def as_json(topology: Topology, at_us: int, known_us: int, node: str | None = None) -> dict[str, Any]:
    """Every relation that holds (of one node's subjects, where it is named), and what is wrong with them."""
    rows = [row for row in topology.rows if node is None or _of_node(topology, row, node)]
    return {
        **check(topology),
        "at_us": at_us,
        "known_us": known_us,
        "total": len(rows),
        "rows": [
            {
                "source": row.source,
                "cluster": row.cluster,
                "family": row.family,
                "subject": row.subject,
                "relation": row.relation,
                "target": row.target,
                "attributes": dict(row.attributes),
                "valid_from_us": row.valid_from_us,
                "valid_to_us": row.valid_to_us,
            }
            for row in rows[:MOST_ROWS]
        ],
    }


def _of_node(topology: Topology, row: Row, node: str) -> bool:
    if row.family == "netdev":
        return row.subject.rpartition("/")[0] == node
    if row.family in ("card", "port"):
        place = topology.node_of(Subject(row.family, row.subject))
        return place is not None and place[1] == node
    return row.family == "node" and row.subject == node
