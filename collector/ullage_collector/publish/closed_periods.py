"""Closing a period: its money no longer changes, and the evidence it stands on is named.

A closing records the published revisions of its days and of the names and prices. Readers of a closed period take those, so
that a statement rendered again is the same to the byte (published.py). Not here: whose lines a closed day has (closing.py),
and which periods a rule closes (closing_rule.py).
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from ullage_collector import audit
from ullage_collector.publish import facts
from ullage_collector.published import Published
from ullage_collector.sql import statements
from ullage_contract.errors import BadInput

if TYPE_CHECKING:
    import duckdb

    from ullage_collector.store.store import Store

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Closing:
    """A closed period. Times aware UTC; starts and ends are local midnights of ``zone``.

    rule: which rule closed it; None: closed_by is a person. dimensions_revision: the published names and prices it stands on; None: closed
    by an older Ullage, which named none.
    """

    zone: str
    starts: datetime
    ends: datetime
    closed_at: datetime
    closed_by: str
    reason: str | None
    rule: str | None = None
    dimensions_revision: int | None = None

    def to_json(self) -> dict[str, Any]:
        """For the API and the command; days are those of the zone, ``to`` the first no longer in it."""
        zone = ZoneInfo(self.zone)
        return {
            "zone": self.zone,
            "from": self.starts.astimezone(zone).date().isoformat(),
            "to": self.ends.astimezone(zone).date().isoformat(),
            "starts": _written(self.starts),
            "ends": _written(self.ends),
            "closed_at": _written(self.closed_at),
            "closed_by": self.closed_by,
            "rule": self.rule,
            "reason": self.reason,
            "dimensions_revision": self.dimensions_revision,
        }


def closings(connection: duckdb.DuckDBPyConnection) -> list[Closing]:
    """Every closed period, the earliest first."""
    return [
        Closing(
            zone,
            starts.replace(tzinfo=UTC),
            ends.replace(tzinfo=UTC),
            closed.replace(tzinfo=UTC),
            by,
            reason,
            rule,
            dimensions,
        )
        for zone, starts, ends, closed, by, reason, rule, dimensions in connection.execute(
            statements("closing")["closings"]
        ).fetchall()
    ]


def close(
    store: Store,
    root: Path,
    first: date,
    end: date,
    zone: str,
    *,
    reason: str,
    actor: str,
    rule: str | None = None,
) -> Closing:
    """Close the period of the local days [first, end) of an IANA zone, from now on and for good.

    root: DIR/published; the names and prices are published before, so that the closing can name their revision, and after, so that
    readers know of it. rule: which rule does it; None: a person.
    Raises BadInput for a zone nobody knows, a period that is not over, one that shares time with a closed one, or one with
    days that are not published as they are believed now; nothing is changed then.
    """
    if not reason.strip():
        raise BadInput("reason: say why the period is closed; it goes into the audit")
    if end <= first:
        raise BadInput(
            f"--to {end} is not after --from {first}; --to is the first day no longer in the period"
        )
    starts, ends = midnight(first, zone), midnight(end, zone)
    now = datetime.fromtimestamp(store.clock.wall(), UTC)
    if ends > now:
        raise BadInput(f"the period ends on {_written(ends)}, which is not over; close it afterwards")
    with facts.PUBLISHING:
        closing = _close(store, root, Closing(zone, starts, ends, now, actor, reason.strip(), rule))
        facts.publish_names(store, root, now=now)
    log.info("%s to %s (%s) is closed by %s: %s", first, end, zone, actor, closing.reason)
    return closing


def _close(store: Store, root: Path, asked: Closing) -> Closing:
    """See ``close``; the caller publishes nothing else meanwhile."""
    days = utc_days(asked.starts, asked.ends)
    naive = asked.closed_at.replace(tzinfo=None)
    facts.post_corrections(store, now=asked.closed_at)
    stale = facts.stale_days(store, days[0], days[-1])
    sql = statements("closing")
    bounds = {"from": asked.starts.replace(tzinfo=None), "to": asked.ends.replace(tzinfo=None)}
    span = {"first": days[0], "last": days[-1]}
    cursor = store.cursor()
    try:
        _refuse(cursor, bounds, span, stale)
        posted = cursor.execute(sql["posted"]).fetchall()
    finally:
        cursor.close()
    dimensions = facts.publish_names(store, root, now=asked.closed_at).revision
    revisions = _revisions(root, days)
    closing = Closing(
        asked.zone,
        asked.starts,
        asked.ends,
        asked.closed_at,
        asked.closed_by,
        asked.reason,
        asked.rule,
        dimensions,
    )
    with store.write() as connection:
        _refuse(connection, bounds, span, stale)
        if connection.execute(sql["posted"]).fetchall() != posted:
            raise BadInput("a credit or correction was posted just now; look at the figures and close again")
        connection.execute(
            sql["put"],
            {
                **bounds,
                "zone": closing.zone,
                "now": naive,
                "actor": closing.closed_by,
                "reason": closing.reason,
                "rule": closing.rule,
                "dimensions": dimensions,
                "revisions": json.dumps(revisions),
            },
        )
        zone = ZoneInfo(closing.zone)
        local = [at.astimezone(zone).date() for at in (closing.starts, closing.ends)]
        audit.write(
            connection,
            audit.AuditRow(
                at=closing.closed_at.timestamp(),
                actor=closing.closed_by,
                action="close",
                subject=f"{local[0]} to {local[1]} {closing.zone}",
                reason=closing.reason,
                result="closed",
                evidence={
                    "revisions": revisions,
                    "dimensions_revision": dimensions,
                    **({"rule": closing.rule} if closing.rule else {}),
                },
            ),
        )
    return closing


def _refuse(
    connection: duckdb.DuckDBPyConnection,
    bounds: dict[str, datetime],
    span: dict[str, date],
    stale: list[date],
) -> None:
    """Raise BadInput where the period cannot be closed as it stands."""
    sql = statements("closing")
    other = connection.execute(sql["overlapping"], bounds).fetchall()
    if other:
        raise BadInput(
            f"it shares time with the closed period {other[0][1]}Z to {other[0][2]}Z (zone {other[0][0]}); "
            "begin where that one ends"
        )
    if not connection.execute(sql["revisions"], span).fetchall():
        raise BadInput(
            f"no day of it is published ({span['first']} to {span['last']}); run ullage-collector publish"
        )
    missing = [row[0] for row in connection.execute(sql["unpublished"], span).fetchall()]
    if missing:
        raise BadInput(
            f"{len(missing)} days are not published, the first {missing[0]}; "
            f"run ullage-collector publish --day {missing[0]}"
        )
    if stale:
        raise BadInput(
            f"{len(stale)} days are published, but something became known since, the first {stale[0]}; "
            "run ullage-collector publish, look at the figures and close then"
        )


def _revisions(root: Path, days: list[date]) -> dict[str, int]:
    """The newest revision of each day's facts, as the folders say: what a reader would take now."""
    published = Published(root)
    found = ((day, published.facts(day)) for day in days)
    return {day.isoformat(): manifest.revision for day, manifest in found if manifest is not None}


def midnight(day: date, zone: str) -> datetime:
    """A local day's midnight, aware UTC. Raises BadInput for a zone nobody knows."""
    try:
        found = ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        raise BadInput(f'zone {zone[:40]!r} is not known; write an IANA zone, e.g. "Asia/Shanghai"') from None
    return datetime.combine(day, time(), found).astimezone(UTC)


def utc_days(starts: datetime, ends: datetime) -> list[date]:
    """Every UTC day that shares time with [starts, ends), aware UTC."""
    first, last = starts.date(), (ends - timedelta(microseconds=1)).date()
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def _written(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
