"""What is due by the schedule, made once each: for a timer that comes by every few minutes.

``DATA/reports/schedule.json`` says up to when slots were taken note of, by kind, and which of them are open. A kind that is
new begins now: its past is nobody's backlog. After an outage what was missed is made, oldest first, the newest few of a kind.
A report whose days are not all published waits for them; one that failed, or was held back because it did not add up, is
tried again at every run until it is given up. Not here: when something is due (schedule.py), making it (edition.py).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from ullage_contract.clock import Clock, utc
from ullage_contract.command import FAILED, GOOD, PARTIAL
from ullage_contract.errors import ConfigError, UllageError
from ullage_reports import alert_settings, alerting, edition, mail_settings, schedule
from ullage_reports import period as periods
from ullage_reports.config import DEFAULT_PATH
from ullage_reports.edition import Edition
from ullage_reports.kept import Kept, holding
from ullage_reports.period import PeriodKind, zone_info
from ullage_reports.schedule import Schedule

STATE: Final = "schedule.json"
MOST: Final = 7
"""Slots of a kind caught up with in one run. our choice: a week of days; what is older is in the weekly and monthly report."""
AHEAD: Final = timedelta(days=1)
"""our choice: a clock is put back by seconds, or was wrong altogether."""
GIVEN_UP: Final = timedelta(hours=24)
"""After its first try. our choice: because by then the next one is due, and somebody has read the timer's failure."""


@dataclass(frozen=True, slots=True)
class _Open:
    """A slot that is due and not made. first: its first try, None: none yet."""

    key: str
    kind: PeriodKind
    label: str
    zone: str
    at: datetime
    first: datetime | None


def show(asked: Edition, clock: Clock) -> int:
    """What comes next, and what is open, on stdout, a line each."""
    plan = _plan(asked)
    zone = zone_info(plan.zone)
    for kind in plan.rules:
        slot = plan.next(kind, utc(clock.wall()))
        sys.stdout.write(f"{kind.value}: next {_local(slot.at, zone)} {plan.zone}, of {slot.period.label}\n")
    with holding(asked.data / "reports" / STATE, wait=True) as kept:
        for one in _opened(kept):
            since = "not tried yet" if one.first is None else f"tried since {_local(one.first, zone)}"
            sys.stdout.write(
                f"{one.kind.value}: open since {_local(one.at, zone)}, of {one.label}: {since}\n"
            )
    return GOOD


def once(asked: Edition, clock: Clock) -> int:
    """Make what is due and not made; the worst exit code of it, GOOD when nothing is due.

    asked: what every report has in common; its kind and label are not looked at. Raises ConfigError without a [schedule],
    StoreError when another run is at it.
    """
    plan = _plan(asked)
    edition.published_below(asked.data)
    mail = plan.mail if plan.mail is not None else mail_settings.load(asked.config) is not None
    with holding(asked.data / "reports" / STATE, wait=False) as kept:
        _note(plan, kept, utc(clock.wall()))
        codes = [
            _turn(
                replace(asked, kind=one.kind, label=one.label, zone=one.zone, mail=mail),
                plan,
                one,
                kept,
                clock,
            )
            for one in _opened(kept)
        ]
    codes += _alerts(asked, clock)
    return FAILED if FAILED in codes else PARTIAL if PARTIAL in codes else GOOD


def _alerts(asked: Edition, clock: Clock) -> list[int]:
    """Whom [alerts] names is told, where there is one; a failure of it is one more exit code and stops no report."""
    try:
        if alert_settings.load(asked.config) is None:
            return []
        published = edition.published_below(asked.data)
        return [
            alerting.once(
                published, asked.config, asked.settings, asked.data, clock, verify=not asked.trust_files
            )
        ]
    except UllageError as e:
        sys.stderr.write(f"ullage-report: alerts: {e}\n")
        return [FAILED]


def _plan(asked: Edition) -> Schedule:
    found = schedule.load(asked.config, asked.zone or asked.settings.zone, asked.settings.fiscal_start_month)
    if found is None:
        raise ConfigError(
            f'{asked.config or DEFAULT_PATH}: there is no [schedule]; write e.g. weekly = "mon 09:00" in it'
        )
    return found


def _note(plan: Schedule, kept: Kept, now: datetime) -> None:
    """Take note of every slot up to now. A clock that goes back a little makes none twice; one that was far ahead is told."""
    noted: dict[str, str] = kept.content.setdefault("noted", {})
    opened: dict[str, dict[str, Any]] = kept.content.setdefault("open", {})
    for gone in [kind for kind in noted if kind not in plan.rules]:
        del noted[gone]
    for kind in plan.rules:
        after = datetime.fromisoformat(noted.setdefault(kind.value, now.isoformat()))
        if after - now > AHEAD:
            sys.stderr.write(
                f"ullage-report: {kind.value}: noted up to {after.isoformat()}, ahead of the clock; begun anew\n"
            )
            after = now
        slots = list(plan.slots(kind, after, now))
        for slot in slots[:-MOST]:
            _tell(kind, slot.period.label, f"passed over: only the newest {MOST} that were missed are made")
        for slot in slots[-MOST:]:
            opened.setdefault(
                slot.key,
                {
                    "kind": kind.value,
                    "label": slot.period.label,
                    "zone": slot.period.zone,
                    "at": slot.at.isoformat(),
                    "first": None,
                },
            )
        noted[kind.value] = max(after, now).isoformat()
    kept.save()


def _opened(kept: Kept) -> list[_Open]:
    """Open slots, the oldest first; what is due at one time in the order of kinds."""
    found: Mapping[str, Mapping[str, Any]] = kept.content.get("open", {})
    kinds = list(PeriodKind)
    return sorted(
        (
            _Open(
                key=key,
                kind=PeriodKind(one["kind"]),
                label=str(one["label"]),
                zone=str(one["zone"]),
                at=datetime.fromisoformat(one["at"]),
                first=None if one["first"] is None else datetime.fromisoformat(one["first"]),
            )
            for key, one in found.items()
        ),
        key=lambda one: (one.at, kinds.index(one.kind)),
    )


def _turn(asked: Edition, plan: Schedule, one: _Open, kept: Kept, clock: Clock) -> int:
    """One open slot: made, left to wait, or given up; its exit code."""
    now = utc(clock.wall())
    if now < one.at + plan.wait and (missing := _missing(asked)):
        _tell(
            one.kind,
            one.label,
            f"waits for {missing} unpublished days, until {one.at + plan.wait:%Y-%m-%d %H:%M} UTC",
        )
        return GOOD
    first = one.first or now
    kept.content["open"][one.key]["first"] = first.isoformat()
    kept.save()
    try:
        made = edition.make(asked, clock)
    except (UllageError, OSError) as e:
        _tell(one.kind, one.label, str(e))
        made = edition.Made(FAILED, written=False)
    if made.written and made.code != FAILED:
        del kept.content["open"][one.key]
    elif now - first >= GIVEN_UP:
        del kept.content["open"][one.key]
        _tell(one.kind, one.label, f"given up after {GIVEN_UP // timedelta(hours=1)} h; make it by hand")
    kept.save()
    return made.code


def _missing(asked: Edition) -> int:
    """How many UTC days of the period nobody has published."""
    published = edition.published_below(asked.data)
    period = periods.parse(asked.kind, asked.label, asked.zone or asked.settings.zone)
    return sum(published.facts(day) is None for day in period.utc_days())


def _local(at: datetime, zone: ZoneInfo) -> str:
    return at.astimezone(zone).strftime("%Y-%m-%d %H:%M")


def _tell(kind: PeriodKind, label: str, text: str) -> None:
    sys.stderr.write(f"ullage-report: {kind.value} {label}: {text}\n")
