"""Which days are worked: Monday to Friday, less holidays, with the days that are worked instead.

holidays = ["2026-10-01/2026-10-07"]     # no working days, whatever the weekday; a day, or first/last
working_days = ["2026-10-10"]            # working days although a weekend
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from ullage_contract.settings import Table


@dataclass(frozen=True, slots=True)
class WorkingDays:
    """Local days of one place. A day in both is worked."""

    holidays: frozenset[date] = frozenset()
    working_days: frozenset[date] = frozenset()

    def is_working(self, day: date) -> bool:
        """Whether people work on a day."""
        return day in self.working_days or (day.weekday() < 5 and day not in self.holidays)

    def nth_of_month(self, day: date, number: int) -> date:
        """The working day of that number, 1 or more, in a day's month; its last one, or its last day, where it has fewer."""
        first = day.replace(day=1)
        after = (first + timedelta(days=32)).replace(day=1)
        days = [first + timedelta(days=n) for n in range((after - first).days)]
        working = [day for day in days if self.is_working(day)] or days
        return working[min(number, len(working)) - 1]


def read(table: Table) -> WorkingDays:
    """``holidays`` and ``working_days`` of a table of settings. Raises ConfigError naming the key and the value."""
    return WorkingDays(_days(table, "holidays"), _days(table, "working_days"))


def _days(table: Table, key: str) -> frozenset[date]:
    """Days and spans of days, both ends included."""
    found: set[date] = set()
    for text in table.texts(key, '["2026-10-01/2026-10-07"]'):
        first, _, last = text.partition("/")
        try:
            day, end = date.fromisoformat(first), date.fromisoformat(last or first)
        except ValueError as e:
            raise table.wrong(key, text, 'write days, e.g. "2026-10-01" or "2026-10-01/2026-10-07"') from e
        if not day <= end <= day + timedelta(days=366):
            raise table.wrong(key, text, "write the first day before the last, at most a year")
        while day <= end:
            found.add(day)
            day += timedelta(days=1)
    return frozenset(found)
