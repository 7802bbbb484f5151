"""Closed periods as readers know them: which published revisions a statement of one stands on, for good.

Not here: reading files (published.py), and closing (publish/closed_periods.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class PeriodClosing:
    """A closed period: [starts_us, ends_us), microseconds since the epoch, local midnights of ``zone``.

    closed_at: aware UTC. rule: which rule closed it; None: closed_by is a person. dimensions_revision, revisions: the published names,
    and day -> facts, that it stands on; None and empty: closed by an older Ullage, which named none.
    """

    zone: str
    starts_us: int
    ends_us: int
    closed_at: datetime
    closed_by: str
    rule: str | None
    reason: str | None
    dimensions_revision: int | None
    revisions: Mapping[date, int]


@dataclass(frozen=True, slots=True)
class Pins:
    """What a span that is wholly closed is read from. last: the closing that was made last: from then on nothing changes.

    revisions: day -> revision of its facts; a day that is not named was not published.
    """

    last: PeriodClosing
    dimensions_revision: int
    revisions: Mapping[date, int]


def of_row(row: Sequence[Any]) -> PeriodClosing:
    """A row of view ``closing``, its columns in order."""
    zone, starts, ends, closed_at, by, rule, reason, dimensions, revisions = row
    return PeriodClosing(
        zone=str(zone),
        starts_us=_us(starts),
        ends_us=_us(ends),
        closed_at=closed_at.replace(tzinfo=UTC),
        closed_by=str(by),
        rule=rule,
        reason=reason,
        dimensions_revision=dimensions,
        revisions={date.fromisoformat(d): int(n) for d, n in json.loads(revisions or "{}").items()},
    )


def pins(closings: Iterable[PeriodClosing], from_us: int, to_us: int) -> Pins | None:
    """What [from_us, to_us) stands on where every instant of it is closed; None where some is open, or where an older Ullage
    closed some of it."""
    inside = sorted(
        (c for c in closings if c.starts_us < to_us and c.ends_us > from_us), key=lambda c: c.starts_us
    )
    at = from_us
    for closing in inside:
        if closing.starts_us > at:
            return None
        at = max(at, closing.ends_us)
    if at < to_us or not inside:
        return None
    last = max(inside, key=lambda c: (c.closed_at, c.starts_us))
    if last.dimensions_revision is None or not all(c.revisions for c in inside):
        return None
    revisions: dict[date, int] = {}
    for closing in inside:
        for day, revision in closing.revisions.items():
            # A day at an edge is in both: the later one holds the closed lines of the earlier as they are.
            revisions[day] = max(revision, revisions.get(day, 0))
    return Pins(last, last.dimensions_revision, revisions)


def _us(naive: datetime) -> int:
    return (naive.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
