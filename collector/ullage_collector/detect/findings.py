"""Findings kept true: what a detector finds now is opened, what it finds no more is ended. Nothing is deleted.

A detector is pure and gives all of its kind each time; this compares with the open ones by (kind, family, subject,
key). Money and the console read table ``finding``. Not here: any detector.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ullage_collector.ledger import PLATFORM
from ullage_collector.sql import statements
from ullage_collector.store.store import naive_utc

if TYPE_CHECKING:
    import duckdb


OF_SOMEBODY: Final = ("workload", "department")
"""Families that somebody else owns than the platform."""


@dataclass(frozen=True, slots=True)
class Found:
    """One finding.

    family: card, node, slice, port, workload, pool, department or fleet. subject: its id.
    since_us: from when it is so, microseconds since the epoch. evidence: what a person can check by hand.
    key: tells findings of one kind and subject apart (a process id, a package); part of the evidence.
    confidence: 0..1. owner: whom it concerns; None: nobody knows whose the work is, and of anything but work the platform.
    action: what is suggested, one word or short phrase.
    """

    kind: str
    family: str
    subject: str
    since_us: int
    evidence: Mapping[str, Any] = field(default_factory=dict)
    key: str = ""
    confidence: float = 1.0
    owner: str | None = None
    action: str | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """What one call changed."""

    opened: int
    ended: int
    open: int


def keep(
    cursor: duckdb.DuckDBPyConnection,
    kinds: Iterable[str],
    found: Iterable[Found],
    now_us: int,
    *,
    unjudged: Iterable[str] = (),
) -> Kept:
    """Make the open findings of ``kinds`` those in ``found``. cursor: inside a write.

    A finding that is open already keeps its since and gets the new evidence. unjudged: subjects that could not be
    looked at this time: their open findings stay, because silence is no proof.
    Raises ValueError (BUG) for a finding of another kind.
    """
    kinds = tuple(dict.fromkeys(kinds))
    stays = frozenset(unjudged)
    sql = statements("findings")
    wanted: dict[tuple[str, str, str, str], Found] = {}
    for item in found:
        if item.kind not in kinds:
            raise ValueError(f"BUG: a finding {item.kind!r} given among {kinds}")
        wanted[item.kind, item.family, item.subject, item.key] = item
    standing: dict[tuple[str, str, str, str], tuple[int, str]] = {}
    for kind in kinds:
        for number, family, subject, text in cursor.execute(sql["open_of"], [kind]).fetchall():
            key = str(json.loads(text).get("key", ""))
            standing[kind, family, subject, key] = (number, text)
    ended = 0
    for name, (number, _) in standing.items():
        if name not in wanted and name[2] not in stays:
            cursor.execute(sql["end"], [naive_utc(now_us / 1e6), number])
            ended += 1
    opened = 0
    for name, item in wanted.items():
        owner = item.owner or (None if item.family in OF_SOMEBODY else PLATFORM)
        evidence = {**item.evidence, "key": item.key} if item.key else dict(item.evidence)
        text = json.dumps(evidence, ensure_ascii=False, sort_keys=True, default=str)
        before = standing.get(name)
        if before is None:
            since = naive_utc(item.since_us / 1e6)
            cursor.execute(
                sql["open"],
                [item.kind, item.family, item.subject, since, text, item.confidence, owner, item.action],
            )
            opened += 1
        elif before[1] != text:
            cursor.execute(sql["renew"], [text, item.confidence, owner, item.action, before[0]])
    return Kept(opened, ended, len(standing) - ended + opened)
