"""[closing] of collector.toml: months that are closed by a rule, and what keeps one from it.

[closing]
zone = "Asia/Shanghai"       # whose midnights cut the months; without it no rule closes anything
working_day = 3              # of the month after, on which it is closed; 0: only persons close
time = "18:00"               # local, on that day
coverage = 0.95              # of held time whose use has to be known, 0..1
unpriced_hours = 0.0         # card-hours without a price that may be in it
holidays = ["2026-10-01/2026-10-07"]
working_days = ["2026-10-10"]

A month that is due and not fit is not closed: a finding ``closing_blocked`` says why until it is, or a person closes it.
Not here: closing (closed_periods.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from ullage_collector.detect import findings
from ullage_collector.detect.findings import Found
from ullage_collector.ledger import QUANTITY_PER_CARD_HOUR, hours_exact
from ullage_collector.publish import facts
from ullage_collector.publish.closed_periods import Closing, close, closings, midnight, utc_days
from ullage_collector.sql import statements
from ullage_contract import working_days
from ullage_contract.errors import BadInput, ConfigError
from ullage_contract.settings import Table
from ullage_contract.working_days import WorkingDays

if TYPE_CHECKING:
    from ullage_collector.store.store import Store

BLOCKED: Final = "closing_blocked"
BY: Final = "rule"
"""Who closes where a rule does."""
CATCH_UP: Final = 24  # our choice: because months nobody closed for two years are for a person to look at


@dataclass(frozen=True, slots=True)
class ClosingRule:
    """[closing]. zone None: no rule. working_day 0: only persons close. coverage: 0..1. unpriced: quantity that may lack a price."""

    zone: str | None = None
    working_day: int = 3
    time: time = time(18)
    coverage: float = 0.95
    unpriced: int = 0
    days: WorkingDays = field(default=WorkingDays())

    @property
    def name(self) -> str:
        """What the audit and the statement call it."""
        return f"working day {self.working_day}, {self.time:%H:%M} {self.zone}"


@dataclass(frozen=True, slots=True)
class Due:
    """The next period that is not closed: local days [first, end), and when the rule closes it (aware UTC; None: never).

    blocked: what keeps it from being closed by the rule, one entry a reason; empty: nothing.
    """

    zone: str
    first: date
    end: date
    closes_at: datetime | None
    blocked: tuple[Mapping[str, Any], ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "zone": self.zone,
            "from": self.first.isoformat(),
            "to": self.end.isoformat(),
            "closes_at": None
            if self.closes_at is None
            else self.closes_at.isoformat().replace("+00:00", "Z"),
            "blocked": [dict(reason) for reason in self.blocked],
        }


def rule_of(part: Mapping[str, Any], path: Path | None = None) -> ClosingRule:
    """The rule as [closing] says it. Raises ConfigError naming the key, the value and what to write instead."""
    table = Table(part, str(path or "collector.toml"), "closing")
    plain = ClosingRule()
    zone = table.text("zone")
    if zone is not None:
        try:
            ZoneInfo(zone)
        except (KeyError, ValueError, OSError) as e:
            raise table.wrong("zone", zone, 'write an IANA zone, e.g. "Asia/Shanghai"') from e
    clock = table.text("time", "18:00") or ""
    found = re.fullmatch(r"([01]\d|2[0-3]):([0-5]\d)", clock)
    if found is None:
        raise table.wrong("time", clock, 'write a local time, e.g. "18:00"')
    rule = ClosingRule(
        zone=zone,
        working_day=table.whole("working_day", plain.working_day, 0, 15),
        time=time(int(found[1]), int(found[2])),
        coverage=table.number("coverage", plain.coverage, 0, 1),
        unpriced=round(table.number("unpriced_hours", 0.0, 0, 1e9) * QUANTITY_PER_CARD_HOUR),
        days=working_days.read(table),
    )
    if zone is None and part:
        raise ConfigError(
            f'{path or "collector.toml"}: [closing] names no zone; write zone = "Asia/Shanghai"'
        )
    table.finish()
    return rule


def due(store: Store, rule: ClosingRule) -> Due | None:
    """The earliest month that is over, not closed, and comes after what is closed; None: there is none, or no zone is set.

    Where a person closed some days of a month, what is left of it is the period.
    """
    if rule.zone is None:
        return None
    cursor = store.cursor()
    try:
        closed = closings(cursor)
        published = cursor.execute(statements("closing")["first_published"]).fetchall()[0][0]
    finally:
        cursor.close()
    zone = ZoneInfo(rule.zone)
    if closed:
        first = max(c.ends for c in closed).astimezone(zone).date()
    elif published is not None:
        first = published.replace(day=1)
    else:
        return None
    end = (first.replace(day=1) + timedelta(days=32)).replace(day=1)
    now = datetime.fromtimestamp(store.clock.wall(), UTC)
    if midnight(end, rule.zone) > now:
        return None
    closes_at = None
    if rule.working_day:
        day = rule.days.nth_of_month(end, rule.working_day)
        closes_at = datetime.combine(day, rule.time, zone).astimezone(UTC)
    return Due(rule.zone, first, end, closes_at, tuple(_blocked(store, rule, first, end)))


def step(store: Store, root: Path, rule: ClosingRule) -> list[Closing]:
    """Close what is due by the rule; what cannot be is a finding, told once and kept true. root: DIR/published."""
    done: list[Closing] = []
    if rule.zone is None or not rule.working_day:
        return done
    for _ in range(CATCH_UP):
        now = datetime.fromtimestamp(store.clock.wall(), UTC)
        next_ = due(store, rule)
        if next_ is None or next_.closes_at is None or next_.closes_at > now:
            _tell(store, None, now)
            break
        if not next_.blocked:
            try:
                done.append(
                    close(
                        store,
                        root,
                        next_.first,
                        next_.end,
                        next_.zone,
                        reason=rule.name,
                        actor=BY,
                        rule=rule.name,
                    )
                )
                continue
            except BadInput as e:
                next_ = Due(
                    next_.zone,
                    next_.first,
                    next_.end,
                    next_.closes_at,
                    ({"reason": "refused", "said": str(e)},),
                )
        _tell(store, next_, now)
        break
    return done


def _blocked(store: Store, rule: ClosingRule, first: date, end: date) -> list[Mapping[str, Any]]:
    """Every reason the rule has not to close [first, end)."""
    assert rule.zone is not None
    starts, ends = midnight(first, rule.zone), midnight(end, rule.zone)
    days = utc_days(starts, ends)
    span = {"first": days[0], "last": days[-1]}
    sql = statements("closing")
    found: list[Mapping[str, Any]] = []
    cursor = store.cursor()
    try:
        for reason, name in (("days_not_published", "unpublished"), ("days_not_sealed", "unsealed")):
            missing = [row[0] for row in cursor.execute(sql[name], span).fetchall()]
            if missing:
                found.append({"reason": reason, "days": len(missing), "first": missing[0].isoformat()})
        owned, held, known, unpriced = (
            int(value or 0)
            for value in cursor.execute(
                sql["coverage"],
                {**span, "from_us": _us(starts), "to_us": _us(ends)},
            ).fetchall()[0]
        )
    finally:
        cursor.close()
    stale = facts.stale_days(store, days[0], days[-1])
    if stale:
        found.append({"reason": "days_not_made_again", "days": len(stale), "first": stale[0].isoformat()})
    if not owned:
        found.append({"reason": "nothing_published"})
    if held and known < held * rule.coverage:
        found.append(
            {
                "reason": "use_not_known",
                "known_ratio": round(known / held, 4),
                "least": rule.coverage,
            }
        )
    if unpriced > rule.unpriced:
        found.append(
            {
                "reason": "no_price",
                "card_hours": str(hours_exact(unpriced, 2)),
                "most": str(hours_exact(rule.unpriced, 2)),
            }
        )
    return found


def _tell(store: Store, blocked: Due | None, now: datetime) -> None:
    """Keep the finding of a month that is due and not fit; none: it ends."""
    found = []
    if blocked is not None and blocked.closes_at is not None:
        found.append(
            Found(
                kind=BLOCKED,
                family="fleet",
                subject=f"{blocked.first} to {blocked.end} {blocked.zone}",
                since_us=_us(blocked.closes_at),
                evidence={"blocked": [dict(reason) for reason in blocked.blocked]},
                action="close_period",
            )
        )
    with store.write() as cursor:
        findings.keep(cursor, (BLOCKED,), found, _us(now))


def _us(instant: datetime) -> int:
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
