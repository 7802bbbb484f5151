"""[schedule] of report.toml: when which report is due, in local time.

[schedule]
daily = "08:00"
weekly = "mon 09:00"
monthly = "workday 3 10:00"              # the third working day of the month after
quarterly = "workday 5 10:00"
yearly = "workday 8 10:00"
holidays = ["2026-10-01/2026-10-07"]     # no working days, whatever the weekday; a day, or first/last
working_days = ["2026-10-10"]            # working days although a weekend
wait_hours = 6                           # a report with unpublished days waits for them so long
mail = true                              # default: where there is a [mail]

Times are of [report] zone. Every local day has each time once: one that a clock change skips is as much later as the clock
was put forward, of one that comes twice it is the earlier. Not here: making what is due (timetable.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Final

from ullage_contract import settings, working_days
from ullage_contract.errors import ConfigError
from ullage_contract.settings import Table
from ullage_contract.working_days import WorkingDays
from ullage_reports import period as periods
from ullage_reports.config import DEFAULT_PATH
from ullage_reports.period import Period, PeriodKind, zone_info

WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MOST_WORKDAY: Final = 15
"""our choice: because every month has so many, also one with the longest holidays."""
_TIME: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
_BY_WORKDAY: Final = (PeriodKind.MONTHLY, PeriodKind.QUARTERLY, PeriodKind.YEARLY)
_EXAMPLES: Final = {
    PeriodKind.DAILY: '"08:00"',
    PeriodKind.WEEKLY: '"mon 09:00"',
    PeriodKind.MONTHLY: '"workday 3 10:00"',
    PeriodKind.QUARTERLY: '"workday 5 10:00"',
    PeriodKind.YEARLY: '"workday 8 10:00"',
}


@dataclass(frozen=True, slots=True)
class Rule:
    """at: local time of day. number: weekday, 0 Monday, of weekly; which working day of the others; 0 of daily."""

    at: time
    number: int = 0


@dataclass(frozen=True, slots=True)
class Slot:
    """One report that is due. at: the instant, aware UTC. period: what it is of, the newest that has ended by then."""

    at: datetime
    period: Period

    @property
    def key(self) -> str:
        """``weekly/2026-W47/Asia/Shanghai``."""
        return f"{self.period.kind}/{self.period.label}/{self.period.zone}"


@dataclass(frozen=True, slots=True)
class Schedule:
    """[schedule]. rules: by kind, those that are wanted. mail None: where there is a [mail]."""

    zone: str
    rules: Mapping[PeriodKind, Rule]
    days: WorkingDays = field(default=WorkingDays())
    wait: timedelta = timedelta(hours=6)
    mail: bool | None = None
    fiscal_start: int = 1

    def slots(self, kind: PeriodKind, after: datetime, until: datetime) -> Iterator[Slot]:
        """What of a kind is due after ``after``, up to and with ``until`` (aware), in order of time."""
        rule = self.rules[kind]
        zone = zone_info(self.zone)
        day = after.astimezone(zone).date() - timedelta(days=1)
        last = until.astimezone(zone).date() + timedelta(days=1)
        while day <= last:
            if self._due_on(kind, rule, day):
                at = datetime.combine(day, rule.at, zone).astimezone(UTC)
                if after < at <= until:
                    yield Slot(at, periods.last(kind, at, self.zone, self.fiscal_start))
            day += timedelta(days=1)

    def next(self, kind: PeriodKind, after: datetime) -> Slot:
        """The first one after ``after``."""
        return next(self.slots(kind, after, after + timedelta(days=400)))

    def _due_on(self, kind: PeriodKind, rule: Rule, day: date) -> bool:
        if kind is PeriodKind.DAILY:
            return True
        if kind is PeriodKind.WEEKLY:
            return day.weekday() == rule.number
        months = (day.month - self.fiscal_start) % 12
        if (kind is PeriodKind.QUARTERLY and months % 3) or (kind is PeriodKind.YEARLY and months):
            return False
        return day == self.days.nth_of_month(day, rule.number)


def load(path: Path | None, zone: str, fiscal_start: int = 1) -> Schedule | None:
    """[schedule] of ``path``; None means DEFAULT_PATH. fiscal_start: month that quarters and years are counted from. None where there is no such table. Raises ConfigError."""
    document = settings.read(path, DEFAULT_PATH)
    if document is None or "schedule" not in document:
        return None
    where = str(path or DEFAULT_PATH)
    if not isinstance(document["schedule"], dict):
        raise ConfigError(f"{where}: schedule is no table; write [schedule]")
    zone_info(zone)
    table = Table(document["schedule"], where, "schedule")
    rules = {kind: rule for kind in PeriodKind if (rule := _rule(table, kind)) is not None}
    made = Schedule(
        zone=zone,
        rules=rules,
        days=working_days.read(table),
        wait=timedelta(hours=table.number("wait_hours", 6, 0, 240)),
        mail=table.flag("mail", False) if "mail" in table.content else None,
        fiscal_start=fiscal_start,
    )
    table.finish()
    if not rules:
        raise table.wrong(
            "weekly", "", f"write when a report is due, e.g. weekly = {_EXAMPLES[PeriodKind.WEEKLY]}"
        )
    return made


def _rule(table: Table, kind: PeriodKind) -> Rule | None:
    text = table.text(kind.value)
    if text is None:
        return None
    *words, clock = text.lower().split() or [""]
    found = _TIME.fullmatch(clock)
    at = time(int(found[1]), int(found[2])) if found else None
    number: int | None = None
    if kind is PeriodKind.DAILY and not words:
        number = 0
    elif kind is PeriodKind.WEEKLY and len(words) == 1 and words[0] in WEEKDAYS:
        number = WEEKDAYS.index(words[0])
    elif kind in _BY_WORKDAY and len(words) == 2 and words[0] == "workday":
        number = int(words[1]) if re.fullmatch(r"\d{1,2}", words[1]) else 0
        number = number if 1 <= number <= MOST_WORKDAY else None
    if at is None or number is None:
        raise table.wrong(kind.value, text, f"write e.g. {kind.value} = {_EXAMPLES[kind]}")
    return Rule(at, number)
