"""A source's statement kept true: what it says holds from when it says so, what it no longer says ends there.

A statement is everything its source knows at one instant; it holds until the source's next one. So a late statement about an
earlier time changes only the time up to when the source next spoke, or last said the same again. The same statement
again changes nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from ullage_collector.sql import statements
from ullage_collector.store import incoming
from ullage_collector.topology.relation import Relation

if TYPE_CHECKING:
    import duckdb

Span = tuple[int, int | None]
"""[from, to) in microseconds since the epoch; to None: still so."""

_ROW: Final = {
    "source": pa.string(),
    "cluster_id": pa.string(),
    "family": pa.string(),
    "subject": pa.string(),
    "relation": pa.string(),
    "target": pa.string(),
    "attributes": pa.string(),
    "valid_from": incoming.TIMESTAMP,
    "valid_to": incoming.TIMESTAMP,
    "known_from": incoming.TIMESTAMP,
}
_GONE: Final = {"topology_id": pa.int64(), "known": incoming.TIMESTAMP}


@dataclass(frozen=True, slots=True)
class Kept:
    """What a statement changed. added, ended: relations that begin or end by it. unchanged: said before already."""

    added: int
    ended: int
    unchanged: int

    @property
    def changed(self) -> bool:
        return bool(self.added or self.ended)


def keep(
    cursor: duckdb.DuckDBPyConnection,
    source: str,
    cluster: str,
    relations: Iterable[Relation],
    at_us: int,
    now_us: int,
    digest: str | None = None,
) -> Kept:
    """Keep what ``source`` says of ``cluster`` from ``at_us`` on. cursor: inside a write.

    source: kind:name, e.g. ``csv:racks.csv``. now_us: the instant from which it is known.
    """
    sql = statements("topology")
    whose = {"source": source, "cluster": cluster}
    until = cursor.execute(sql["next_statement"], {**whose, "at": at_us}).fetchall()[0][0]
    standing: dict[tuple[str, ...], list[tuple[int, Span]]] = {}
    for number, *names, attributes, from_us, to_us in cursor.execute(sql["believed_of"], whose).fetchall():
        key = (*names, attributes or "")
        standing.setdefault(key, []).append((number, (from_us, to_us)))
    said = {_key(relation) for relation in relations}
    gone: list[tuple[int, int]] = []
    rows: list[tuple[Any, ...]] = []
    added = ended = unchanged = 0
    for key in dict.fromkeys([*standing, *sorted(said)]):
        before = [span for _, span in standing.get(key, ())]
        after = joined([*cut(before, at_us, until), *([(at_us, until)] if key in said else [])])
        if sorted(before, key=_start) == after:
            unchanged += key in said
            continue
        added += key in said
        ended += key not in said
        gone += [(number, now_us) for number, span in standing.get(key, ()) if span not in after]
        rows += [
            (source, cluster, *key[:4], key[4] or None, *span, now_us) for span in after if span not in before
        ]
    incoming.execute(cursor, sql["disbelieve"], incoming.table(_GONE, gone))
    incoming.execute(cursor, sql["believe"], incoming.table(_ROW, rows))
    found = Kept(added, ended, unchanged)
    if found.changed:
        given = {**whose, "at": at_us, "now": now_us, "relations": len(said), "digest": digest}
        cursor.execute(sql["put_statement"], given)
    else:
        cursor.execute(sql["confirm"], {**whose, "at": at_us})
    return found


def cut(spans: Sequence[Span], from_us: int, to_us: int | None) -> list[Span]:
    """What is left of ``spans`` outside [from_us, to_us)."""
    left: list[Span] = []
    for start, end in spans:
        if (end is not None and end <= from_us) or (to_us is not None and start >= to_us):
            left.append((start, end))
            continue
        if start < from_us:
            left.append((start, from_us))
        if to_us is not None and (end is None or end > to_us):
            left.append((to_us, end))
    return left


def joined(spans: Iterable[Span]) -> list[Span]:
    """The same time in as few spans as there can be, in order."""
    found: list[Span] = []
    for start, end in sorted(spans, key=_start):
        if found and (found[-1][1] is None or found[-1][1] >= start):
            before = found[-1]
            last = None if before[1] is None or end is None else max(before[1], end)
            found[-1] = (before[0], last)
        else:
            found.append((start, end))
    return found


def _start(span: Span) -> int:
    return span[0]


def _key(relation: Relation) -> tuple[str, str, str, str, str]:
    attributes = json.dumps(dict(relation.attributes), ensure_ascii=False, sort_keys=True)
    return (
        relation.family,
        relation.subject,
        relation.relation,
        relation.target,
        attributes if relation.attributes else "",
    )
